/*
 * The unix socket DATA/socket: wakes the nginx workers and carries their calls
 * to the node (docs/index-format.md section 7).  Owns its threads: one for the
 * socket, some for the calls; no function here waits for a worker or the node.
 */
#ifndef BELL_H
#define BELL_H

#include "blockpos.h"
#include "rpc.h"

struct bell;

struct bell_opts {
    const char *path;
    unsigned mode;              /* permission bits of the socket, 0660 */
    const struct rpc_opts *rpc; /* used during bell_start() only */
    unsigned threads;           /* for calls, 0 = 4, at most 16 */
    long call_timeout_ms;       /* a call ends as an error, 0 = 30,000 */
    const char *passthrough;    /* setting; NULL: nothing.  The caller's until
                                   bell_stop() */
    struct blockpos *files;     /* block files for the workers, or NULL */
};

/* Binds (a left-over socket of a dead indexer is replaced) and starts the
 * threads.  EXI_EIO, EXI_EAPI, EXI_ENOMEM: why has the sentence. */
int bell_start(struct bell **out, const struct bell_opts *o, char *why,
               size_t whylen) EXI_MUST_CHECK;
/* Ends calls under way, joins the threads, removes the socket; NULL is fine. */
void bell_stop(struct bell *b);

/* Rings: every worker gets (instance, seq); joined with rings not yet sent.  A
 * worker that comes later gets the last one after its hello. */
void bell_ring(struct bell *b, uint64_t instance, uint64_t seq);

/* New state (JSON text, copied): sent to every worker now and to new ones. */
void bell_state(struct bell *b, const char *json, size_t len);

/* Forgets fee estimates: to be called before the ring of a new block. */
void bell_flush(struct bell *b);

/* Workers connected now. */
unsigned bell_workers(struct bell *b);

#endif /* BELL_H */
