/*
 * The settle thread: fetches blocks that are deep enough once more, settles,
 * publishes and prunes, so that a slow disk never delays the tip.
 *
 * Whose is struct settle?  The main thread's until settler_give(), then the
 * settle thread's, and the main thread's again from the settler_take() that
 * returns true (or settler_quiet()) on.  There is one job at a time.  In
 * between, the main thread looks settled outputs up in the newest listed
 * generation (exi_past.h), which never changes; of settle.h it may call
 * settle_leased() only.
 *
 * All functions are the main thread's.
 */
#ifndef SETTLER_H
#define SETTLER_H

#include "lib/exi_past.h"
#include "rpc.h"
#include "settle.h"

struct settler;

struct settler_opts {
    const char *data_dir; /* kept, not copied */
    struct rpc_opts rpc;  /* a connection of its own is made */
    size_t batch_bytes;   /* of settle_batch_bytes(): committed beyond it */
};

/* One piece of work, in this order. */
struct settler_job {
    /* Blocks to settle: heights first ... first + n - 1.  The thread frees the
     * list; those that turn out to be settled already are passed over. */
    struct exi_blkid *hashes;
    uint32_t first;
    uint32_t n;
    /* Then what is durable is published, unless the newest generation has it.
     * Number of the newest generation that is open already. */
    uint64_t have;
    /* Then generations that are not among these are removed (0: none are). */
    struct exi_live_gen keep[EXI_LIVE_GENS_MAX];
    size_t nkeep;
    /* Before publishing: not, folding only, or rewriting too (settle_tidy). */
    enum settler_tidy {
        SETTLER_TIDY_NOT,
        SETTLER_TIDY_FOLD,
        SETTLER_TIDY_ALL
    } tidy;
};

struct settler_result {
    int rc;                  /* of the first step that failed */
    char message[256];       /* of the node, where rc is an error of it */
    struct exi_meta settled; /* what is durable now, also after a failure */
    struct exi_live_gen gen; /* past != NULL: the new generation ... */
    struct exi_past *past;   /* ... opened; the caller's (settler_bury()) */
    bool tidy_more;          /* a rewrite is due */
};

/* Starts the thread, idle.  EXI_EAPI, EXI_EIO, EXI_ENOMEM: why (of whylen bytes)
 * has the sentence. */
int settler_start(struct settler **out, const struct settler_opts *o,
                  struct settle *settle, char *why,
                  size_t whylen) EXI_MUST_CHECK;

/*
 * Ends the thread and frees all; NULL is fine.  A job under way is given up at
 * its next step.  false: the disk did not answer within wait_ms; the thread is
 * left alone then, neither s nor its struct settle may be touched any more, and
 * the process had better end by _exit(): a kill there does no harm.
 */
bool settler_stop(struct settler *s, unsigned wait_ms) EXI_MUST_CHECK;

/* Is a job under way (or its result not taken)? */
bool settler_busy(const struct settler *s);

/* Begins a job; it must not be busy.  *job is copied. */
void settler_give(struct settler *s, const struct settler_job *job);

/* The result of a job that is over; false: none. */
bool settler_take(struct settler *s, struct settler_result *out);

/* An eventfd, readable when a result is there to take; for poll(). */
int settler_fd(const struct settler *s);

/*
 * Gives up the job under way and waits until it is over (a write to the disk
 * is not given up); its result is dropped.  false: stop_fd, an eventfd,
 * became readable before.
 */
bool settler_quiet(struct settler *s, int stop_fd);

/* Closes an opened generation (NULL is fine) in the thread: unmapping a large
 * one takes a while. */
void settler_bury(struct settler *s, struct exi_past *past);

#endif /* SETTLER_H */
