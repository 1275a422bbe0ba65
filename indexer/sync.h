/*
 * Follows the node: initial sync, live layer, tip, mempool, settling
 * (docs/architecture.md, "Life of a block").  All of it runs in the main
 * thread; the pieces share this structure.
 *
 *   sync.c     outer states: node there? -> settled layer -> initial sync ->
 *              live layer -> follow; fallback after a deep reorg
 *   initial.c  settles all that is deeper than the window
 *   follow.c   the tip: connect, disconnect, settle, trim
 *   mempool.c  the mempool and the facts about it
 */
#ifndef SYNC_H
#define SYNC_H

#include <signal.h>

#include "bell.h"
#include "blockpos.h"
#include "coins.h"
#include "conf.h"
#include "live.h"
#include "notify.h"
#include "rpc.h"
#include "settle.h"
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
    struct status status;
    struct rpc_buf block; /* the block being read */

    /* mempool.c: what the node said last, to see at low cost if it changed */
    struct rpc_buf mempool_info;
    uint64_t facts_ms;   /* monotonic, when facts were last refreshed */
    uint64_t hist_ms;    /* ... the fee histogram */
    uint64_t network_ms;         /* ... the node's network info */
    bool mempool_dirty;  /* compare although the node says nothing changed */

    /* follow.c */
    uint64_t published_ms; /* monotonic, newest generation listed */
};

/*
 * Runs until *stop is set; EXI_OK then.  Another value: it can't go on, what
 * has been logged says why.
 */
int sync_run(struct sync *s);

/*
 * Fetches a block into s->block and checks hash and Merkle root.
 * EXI_ENOTFOUND: the node does not have it; EXI_EFORMAT: not what was asked
 * for; or an error of rpc.h.
 */
int sync_fetch(struct sync *s, const struct exi_blkid *hash) EXI_MUST_CHECK;

/* Monotonic clock in milliseconds. */
uint64_t sync_now_ms(void);

/* Rings the bell with the live layer's sequence number. */
void sync_ring(struct sync *s);

/*
 * Sleeps up to ms or until a signal, or (with `tip`) news from the node.
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

/* Settles and publishes what is deeper than the window, lists it. */
int follow_settle(struct sync *s) EXI_MUST_CHECK;

/* Removes live rows that no reader needs any more. */
int follow_trim(struct sync *s) EXI_MUST_CHECK;

/*
 * Makes the live mempool equal to the node's, if our tip is still the node's.
 * EXI_OK also when the tip moved meanwhile (nothing was removed then).
 */
int mempool_sync(struct sync *s, bool served) EXI_MUST_CHECK;

/* Refreshes the facts that workers serve (mempool info, fee histogram, node's
 * network info) when they are due. */
int mempool_facts(struct sync *s) EXI_MUST_CHECK;

#endif /* SYNC_H */
