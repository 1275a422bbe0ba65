/*
 * How far the initial sync is, said in the same words by the progress bar, the
 * log, status.json, the socket's state frames and so `electrumx-ctl status`.
 * Main thread.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "status.h"

struct progress {
    const char *phase;   /* "reading blocks"; stays valid until the end */
    double done, total;  /* of the phase, in whatever unit */
    uint32_t height;     /* last block that was read */
    uint32_t target;     /* last one to be read */
    uint32_t block_time; /* of the header of the former, Unix; 0: unknown */
    uint64_t tx_count;   /* transactions read */
    uint64_t tx_per_s;   /* 0: none are read in this phase */
    double bytes_per_s;
    int64_t eta_s; /* until the phase ends; -1: unknown */
};

/* Room for any text of progress_eta(). */
#define PROGRESS_ETA_MAX 40

/* "45 s", "12 min", "3 h 20 min", "2 d 5 h", "?". */
void progress_eta(char out[PROGRESS_ETA_MAX], int64_t eta_s);

/* Draws the bar or logs a line, sets *s and tells it; both at bounded rates. */
void progress_tell(struct status *s, const struct progress *p);

#endif /* PROGRESS_H */
