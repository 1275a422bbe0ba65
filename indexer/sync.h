/*
 * Follows the node: initial sync, live layer, tip, mempool, settling
 * (docs/architecture.md, "Life of a block").  All of it runs in the main
 * thread, but what settler.h says; the pieces share this structure.
 *
 *   sync.c     outer states: node there? -> settled layer -> initial sync ->
 *              live layer -> follow; fallback after a deep reorg
 *   initial.c  settles all that is deeper than the window
 *   window.c   the first blocks of a live layer
 *   follow.c   the tip: connect, disconnect, trim
 *   follow_settle.c  what the settle thread gets and gives back
 *   mempool.c  the mempool
 *   mempool_facts.c  the facts about it
 */
#ifndef SYNC_H
#define SYNC_H

#include <signal.h>

#include "bell.h"
#include "blockpos.h"
#include "coins.h"
#include "conf.h"
#include "feed.h"
#include "live.h"
#include "notify.h"
#include "rpc.h"
#include "settle.h"
#include "settler.h"
#include "status.h"

struct sync {
    const struct conf *conf;
    const struct coin *coin;
    volatile sig_atomic_t *stop; /* set by the signal handler */
    int wake_fd;                 /* eventfd: readable after a signal */
    struct rpc *rpc;
    struct rpc_opts rpc_opts;
    struct bell *bell;
    struct blockpos *blockpos; /* NULL: no block files */
    struct notify *notify;
    struct settle *settle;
    struct live *live;
    struct exi_past *past; /* the newest listed generation */
    struct status status;
    struct rpc_buf block;   /* the block being read */
    uint64_t over_ms;       /* monotonic, when it last started over; 0: never */
    uint64_t over_pause_ms; /* ... and waited for so long */

    /* mempool.c: what the node said last, to see at low cost if it changed */
    struct rpc_buf mempool_info;
    uint64_t facts_ms;     /* monotonic, when facts were last refreshed */
    uint64_t stored_ms;    /* ... any of them were stored */
    uint64_t hist_ms;      /* ... the fee histogram */
    uint64_t hist_cost_ms; /* how long that took */
    uint64_t network_ms;   /* ... the node's network info */
    bool mempool_dirty;    /* compare although the node says nothing changed */
    uint64_t info_ms;      /* when mempool_info was read */
    int64_t info_size;     /* its number of transactions */
    uint64_t compared_ms;  /* when the last comparison began */
    struct feed *feed;     /* NULL: no ZMQ */
    struct feed_track track;
    bool differed; /* the last look showed another number than ours */
    bool silent;   /* the feed should have told something and did not */

    /* follow.c */
    bool tip_news;         /* the tip watcher woke us */
    uint64_t looked_ms;    /* monotonic, when the node's tip was asked for */
    uint64_t published_ms; /* monotonic, newest generation listed */

    /* follow_settle.c */
    struct settler *settler;
    struct exi_meta settled;  /* what was durable when last heard of */
    uint32_t settling_to;     /* height of the last block of the job, or 0 */
    uint64_t settle_again_ms; /* monotonic: not before, after a failure */
    bool prune_due;           /* with the next job */
    bool tidy_more;           /* tidying may have something to do */
    char settle_says[160];    /* for the operator; "": all is well */
};

/*
 * Runs until *stop is set; EXI_OK then.  Another value: it can't go on, what
 * has been logged says why.
 */
int sync_run(struct sync *s);

/*
 * Fetches a block into s->block and checks hash and Merkle root.
 * Errors of rpc.h.
 */
int sync_fetch(struct sync *s, const struct exi_blkid *hash) EXI_MUST_CHECK;

/* Is it trouble with the node, which passes by itself? */
bool sync_is_node_error(int rc);

/* Monotonic clock in milliseconds. */
uint64_t sync_now_ms(void);

/* Rings the bell with the live layer's sequence number. */
void sync_ring(struct sync *s);

/*
 * Sleeps up to ms or until a signal, or (with `tip`) news from the node or the
 * settle thread.
 */
void sync_wait(struct sync *s, uint64_t ms, bool tip);

/* One line for the operator about a failed node call, and the state; the same
 * trouble is logged once. */
void sync_node_trouble(struct sync *s, int err);

/*
 * Settles all that is deeper than the window and publishes it.  EXI_OK: done,
 * or stopped; EXI_ESTALE, EXI_EAPI: a reorganisation came in between, look
 * again; or an error of the node or the disk.
 */
int initial_sync(struct sync *s) EXI_MUST_CHECK;

/*
 * Takes the live layer from its tip to the node's best block.  served: each
 * block (a reorg as a whole) is a commit of its own and rings.
 * EXI_OK: our tip was the node's best block when asked; EXI_ESTALE: the fork is
 * below the settled height; EXI_ELIMIT: the node is so far ahead that settling
 * first is better; or an error of the node or the disk.
 */
int follow_tip(struct sync *s, bool served) EXI_MUST_CHECK;

/*
 * Gives the settle thread what is deeper than the window, lists what it has
 * published.  EXI_OK also while it works or after a failure that it will try
 * again (s->settle_says); else as settle_commit().
 */
int follow_settle(struct sync *s) EXI_MUST_CHECK;

/* Removes live rows that no reader needs any more. */
int follow_trim(struct sync *s) EXI_MUST_CHECK;

/* Height below which the live layer is not to be undone: it is settled, or
 * being settled. */
uint32_t follow_floor(const struct sync *s);

/* Before the outer states work on s->settle: waits until the settle thread has
 * let go of it.  False: it is time to stop. */
bool follow_quiet(struct sync *s);

/*
 * Makes the live mempool equal to the node's, if our tip is still the node's and
 * there is a reason to compare.  look: it is time to check that events did not
 * fail us.  EXI_OK also when the tip moved meanwhile (nothing was removed then).
 */
int mempool_sync(struct sync *s, bool served, bool look) EXI_MUST_CHECK;

/* Do events alone keep the mempool now? */
bool mempool_fed(const struct sync *s);

/*
 * Takes the events that came, those that the last comparison had left out;
 * returns how many.  *out is the caller's to free().  *tip: the node's tip is to
 * be looked at.
 */
size_t mempool_take(struct sync *s, struct feed_event **out, bool *tip);

/* Adds and removes what events say, rings. */
int mempool_events(struct sync *s, const struct feed_event *e,
                   size_t n) EXI_MUST_CHECK;

/* Refreshes the facts that workers serve (mempool info, fee histogram, node's
 * network info) when they are due. */
int mempool_facts(struct sync *s) EXI_MUST_CHECK;
bool mempool_facts_due(const struct sync *s);

#endif /* SYNC_H */
