/*
 * What the indexer is doing, for people and tools: DATA/status.json (replaced
 * by rename) and the state frames of the socket.  Main thread.
 */
#ifndef STATUS_H
#define STATUS_H

#include "bell.h"

enum state {
    STATE_CONNECTING,
    STATE_SYNCING,
    STATE_LOADING,
    STATE_READY,
    STATE_STALE
};

struct status {
    const char *data_dir;
    const char *network;
    struct bell *bell; /* may be NULL */
    enum state state;
    uint32_t height;   /* tip served, or last block read while syncing */
    uint32_t settled;  /* height of the settled layer */
    uint32_t target;   /* the node's height */
    uint32_t mempool;  /* transactions */
    uint64_t tx_count; /* settled transactions */
    uint64_t rate;     /* tx/s while syncing, else 0 */
    /* Initial sync (progress.h); phase NULL: not in it. */
    const char *phase;
    double part;         /* of the phase that is done, 0 ... 1 */
    uint32_t block_time; /* of the last block read, Unix */
    double bytes_per_s;
    int64_t eta_s;     /* until the phase ends; -1: unknown */
    char message[256]; /* one sentence; "" = nothing to say */
    uint64_t last_ms;  /* when it was written, monotonic */
};

/*
 * Tells the present contents of *s: at once when `now`, else at most once a
 * second.  A file that can't be written is logged once and otherwise ignored.
 */
void status_tell(struct status *s, bool now);

/* Sets state and sentence (printf) and tells at once; logs when they change. */
void status_set(struct status *s, enum state state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *status_name(enum state state);

/* Removes status.json: clean stop. */
void status_remove(struct status *s);

#endif /* STATUS_H */
