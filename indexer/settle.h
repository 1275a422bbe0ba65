/*
 * The settled layer: the only LevelDB writer (docs/architecture.md, "Life of a
 * block", docs/index-format.md sections 1-5).  Main thread only; not across
 * fork (LevelDB has a thread): daemonize before settle_open.
 *
 * After a failed write (EXI_EIO, EXI_ESPACE) everything can still be read.  The
 * next function that writes opens the database again; that may find the failed
 * batch durable after all, so look at settle_meta() again before adding blocks
 * (settle_add says EXI_EAPI otherwise).
 *
 * What a reader does with a generation: flock(LOCK_SH) on its `lease`, open it,
 * then see that the lease is still there under its name.  The lock is taken
 * exclusively here for moments only (settle_leased, settle_prune), so a reader
 * may wait for it; with LOCK_NB it must try again.
 */
#ifndef SETTLE_H
#define SETTLE_H

#include "lib/exi_format.h"

struct settle;

struct settle_opts {
    const char *data_dir;
    const char *network;
    struct exi_blkid genesis;
    uint64_t expected_txs; /* node's transaction count, for a new directory */
    bool spender;
    /* Depths at which generations are kept for fallbacks, >= 1: 100, 1000,
     * 5000, 20000 ... blocks below the settled height.  For each there is one
     * between the depth and about twice of it (at most two directories). */
    uint32_t keep_generations;
    /* For a repair: the epoch is not opened, and nothing but
     * settle_generations(), settle_discard() and settle_fallback() may be called
     * before the latter has succeeded. */
    bool no_epoch;
    /* Bytes settled before they are folded; 0: the usual share of the tables.
     * For tests. */
    uint64_t tidy_after;
};

/*
 * Opens or makes the settled layer under data_dir (which must exist and be
 * locked by the caller).  A kill left nothing to repair: flat bytes beyond the
 * M row do not count, *.tmp and dead.* generations are removed.
 * why (of whylen >= 512 bytes) gets a sentence for the operator on failure:
 * EXI_EVERSION other format, EXI_EAPI other network or genesis, EXI_EIO,
 * EXI_EFORMAT, EXI_ESPACE, EXI_EBUSY another process has the database.
 * The spender setting of an existing directory wins over o->spender.
 */
int settle_open(struct settle **out, const struct settle_opts *o, char *why,
                size_t whylen) EXI_MUST_CHECK;
void settle_close(struct settle *s);

/* True when at least one block (the genesis block) is settled. */
bool settle_any(const struct settle *s);
/* What is durable now (height, hash, counts); valid only if settle_any(). */
const struct exi_meta *settle_meta(const struct settle *s);
const struct exi_params *settle_params(const struct settle *s);

/*
 * Adds the next block (height = last added + 1, linked to it: EXI_EAPI
 * otherwise, and the batch stays as it is) to the batch in memory.  raw: the
 * whole serialized block, not needed afterwards.
 * EXI_EFORMAT: not a valid block, or an input whose output is unknown or spent;
 * EXI_EIO, EXI_ENOMEM, EXI_ELIMIT (2^30 transactions): the batch is dropped.
 */
int settle_add(struct settle *s, uint32_t height, const uint8_t *raw,
               size_t rawlen) EXI_MUST_CHECK;
/* Memory that the batch takes, its commit (rows, LevelDB's copies) included. */
size_t settle_batch_bytes(const struct settle *s);
uint32_t settle_batch_blocks(const struct settle *s);

/* Makes the batch durable: flat files synced, then one synced write batch.
 * On failure (EXI_EIO, EXI_ESPACE, EXI_ENOMEM; EXI_EFORMAT: a settled output is
 * spent twice) the batch is dropped, the index is as before and the caller may
 * add the same blocks again later.  EXI_OK also when there is nothing to do. */
int settle_commit(struct settle *s) EXI_MUST_CHECK;

/* Drops what was added since the last commit. */
void settle_abort(struct settle *s);

/*
 * Publishes the durable state as a new generation (does nothing when the newest
 * has it already, and it was not tidied since); *gen describes it.
 * Numbers ascend, also over fallbacks.
 * EXI_EAPI: nothing is settled; EXI_EIO, EXI_ESPACE: nothing was published.
 */
int settle_publish(struct settle *s, struct exi_live_gen *gen) EXI_MUST_CHECK;

/* True: what is under way has to end soon. */
typedef bool (*settle_stop_pt)(void *ctx);

/*
 * Keeps the settled layer as compact and quick as after the initial sync
 * (docs/architecture.md, "Tidying"): folds what was settled into the recent
 * run, or, with `all`, merges that into the base run when it has become large;
 * returns at once when nothing is due.  *more: with `all` there is something to
 * do now.  To be called by the owner of s when no blocks are added.
 * Takes seconds, a rewrite of base as long as reading and writing all tables;
 * stop is asked often, and ends it within about a second with EXI_ESTALE and
 * nothing done.  Readers see the effect in the next generation, which
 * settle_publish then makes.
 * EXI_ESPACE, EXI_EIO, EXI_ENOMEM: nothing was done, to be tried again later;
 * EXI_EFORMAT: a damaged row, will not be tried again.  *more is false then.
 */
int settle_tidy(struct settle *s, bool all, settle_stop_pt stop, void *ctx,
                bool *more) EXI_MUST_CHECK;

/* Removes generation directories that are not among `keep`, have no lease, are
 * not kept for a fallback and are not the newest. */
void settle_prune(struct settle *s, const struct exi_live_gen *keep,
                  size_t nkeep);

/* Makes a generation no generation any more (its manifest is removed): it will
 * not be published, listed or gone back to; readers that have it keep it. */
int settle_discard(struct settle *s, uint64_t number) EXI_MUST_CHECK;

/* True if a reader holds a lease on the generation. */
bool settle_leased(const struct settle *s, uint64_t number);

/* Published generations, newest first, those of a branch that was left by a
 * fallback included; returns how many were written.  (A fallback target is one
 * whose block is in the node's chain.) */
size_t settle_generations(const struct settle *s, struct exi_live_gen *out,
                          size_t max);

/*
 * Goes back to a published generation: makes a new epoch from it and opens that
 * (number 0: an empty epoch).  The old epoch's directory is removed; readers of
 * generations are not affected.  The batch is dropped.  On failure all is as
 * before, why says what is wrong: EXI_EAPI no such generation, EXI_EFORMAT it is
 * damaged, EXI_EIO, EXI_ESPACE.
 */
int settle_fallback(struct settle *s, uint64_t number, char *why,
                    size_t whylen) EXI_MUST_CHECK;

/* Hash of a settled block.  EXI_ENOTFOUND. */
int settle_block_hash(struct settle *s, uint32_t height,
                      struct exi_blkid *out) EXI_MUST_CHECK;

/*
 * Unspent output at the durable height: its script key and amount.
 * EXI_ENOTFOUND: unknown, spent or without rows (OP_RETURN, genesis).
 */
int settle_prevout(struct settle *s, const struct exi_txid *txid,
                   uint32_t index, struct exi_skey *script,
                   int64_t *value_sat) EXI_MUST_CHECK;

/* Number of a settled transaction.  EXI_ENOTFOUND. */
int settle_txnum(struct settle *s, const struct exi_txid *txid,
                 uint64_t *txnum) EXI_MUST_CHECK;

#endif /* SETTLE_H */
