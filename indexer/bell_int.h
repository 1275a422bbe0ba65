/*
 * What the files of the bell share; for nobody else.
 *
 *     bell.c        the socket: workers, frames, deadlines   (socket thread)
 *     bell_pool.c   queue of calls and the threads that carry them out
 *     bell_calls.c  the table of calls: what each asks of the node
 *     bell_pass.c   which methods of the node the call passthrough may name
 */
#ifndef BELL_INT_H
#define BELL_INT_H

#include <pthread.h>
#include <sys/queue.h>

#include "bell.h"

/* docs/index-format.md section 7. */
#define BELL_PROTOCOL     1
#define BELL_FRAME_MAX    ((size_t) 16 << 20)
#define BELL_WORKER_CALLS 256

#define BELL_QUEUE_MAX   1024
#define BELL_QUEUE_BYTES ((size_t) 64 << 20)
#define BELL_THREADS     4
#define BELL_THREADS_MAX 16
#define BELL_NAME_MAX    32

/* Codes of errors that the wallets see. */
#define BELL_CODE_REFUSED 1 /* the node says no */
#define BELL_CODE_DAEMON  2 /* the node can't say */
#define BELL_CODE_BUSY    (-102)
#define BELL_CODE_METHOD  (-32601)
#define BELL_CODE_PARAMS  (-32602)

struct bell_worker;

struct bell_call {
    /* socket thread only */
    struct bell_worker *worker; /* NULL: nobody waits for the answer */
    uint64_t id;
    int64_t deadline_ms;
    TAILQ_ENTRY(bell_call) all; /* while worker != NULL */

    /* whoever has it: socket thread, queue (under its mutex), call thread */
    TAILQ_ENTRY(bell_call) queue;
    char name[BELL_NAME_MAX];
    char *params; /* JSON text */
    size_t paramslen;
    bool failed;        /* out has an error */
    struct rpc_buf out; /* JSON text */
};
TAILQ_HEAD(bell_call_list, bell_call);

/* params is copied; NULL: out of memory. */
struct bell_call *bell_call_new(const void *name, size_t namelen,
                                const void *params, size_t paramslen);
void bell_call_free(struct bell_call *c);

/* ---- bell_pool.c ---- */

struct bell_pool;

/* wake_fd: eventfd that is written when a call is done. */
int bell_pool_start(struct bell_pool **out, const struct bell_opts *o,
                    int wake_fd, char *why, size_t whylen) EXI_MUST_CHECK;
/* Frees all calls it has, too. */
void bell_pool_stop(struct bell_pool *p);
/* Takes the call, or returns false: too many wait. */
bool bell_pool_put(struct bell_pool *p, struct bell_call *c);
/* Takes a call back; false: it is being carried out, or is done. */
bool bell_pool_withdraw(struct bell_pool *p, struct bell_call *c);
/* The next finished call, now the caller's, or NULL. */
struct bell_call *bell_pool_done(struct bell_pool *p);
struct bell_fees *bell_pool_fees(struct bell_pool *p);

/* ---- bell_calls.c ---- */

/* Fee estimates of the last seconds. */
struct bell_fees;
struct bell_fees *bell_fees_new(void);
void bell_fees_free(struct bell_fees *f);
void bell_fees_flush(struct bell_fees *f);

/* Carries a call out: fills c->out and c->failed.  pass: as the setting. */
void bell_call_run(struct bell_call *c, struct rpc *r, struct bell_fees *f,
                   const char *pass);
/* Makes an error the answer. */
void bell_call_fail(struct bell_call *c, int code, const char *message);
/* Is it carried out even if its worker is gone. */
bool bell_call_keep(const struct bell_call *c);

/* ---- bell_pass.c ---- */

/* Whether the setting (none, read, all or names with commas; NULL is none)
 * lets a method of the node be called by its name; "stop" never is. */
bool bell_pass_allowed(const char *list, const char *method);

#endif /* BELL_INT_H */
