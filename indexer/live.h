/*
 * The live layer: the only LMDB writer (docs/architecture.md, "The cut";
 * docs/index-format.md section 6).  Main thread only.
 *
 * Every change happens between live_begin() and live_commit(), which is one
 * LMDB transaction = one consistent picture for readers, with its change
 * record.  On any error from a function in between call live_abort(): nothing
 * of it is then visible.
 */
#ifndef LIVE_H
#define LIVE_H

#include "lib/exi_format.h"
#include "lib/exi_tx.h"

struct live;

/* Finds an unspent settled output: as settle_prevout(). */
typedef int (*live_prevout_pt)(void *ctx, const struct exi_txid *txid,
                               uint32_t index, struct exi_skey *script,
                               int64_t *value_sat);

struct live_opts {
    const char *data_dir;
    size_t map_bytes; /* LMDB map size: address space, not memory */
    unsigned coin;    /* flags of exi_coin.h */
    live_prevout_pt prevout;
    void *prevout_ctx;
};

/*
 * Makes a new, empty environment in a new directory below live/, not yet named
 * by live/CURRENT.  Its tip is the newest generation's block (gens ascending,
 * ngens >= 1); tx_count is the chain's up to there.  The settled layer must not
 * be ahead of that generation (publish first), or prevout() would not find what
 * the next blocks spend.  The first live_begin() ... live_commit() calls fill
 * it.  EXI_EAPI, EXI_EIO, EXI_ESPACE (posix_fallocate).
 */
int live_create(struct live **out, const struct live_opts *o,
                const struct exi_live_gen *gens, size_t ngens,
                uint64_t tx_count) EXI_MUST_CHECK;

/* Names it in live/CURRENT (rename) and removes the directories of all others
 * that no process uses any more (flock on live/<name>/lease, held shared by
 * readers: as a generation's lease). */
int live_serve(struct live *l) EXI_MUST_CHECK;

/* Closes; the directory stays (workers go on reading it) if it was served, else
 * it is removed. */
void live_close(struct live *l);

int live_begin(struct live *l) EXI_MUST_CHECK;
void live_abort(struct live *l);
/* Writes state and change record (kind; ALL and SETTLED carry no scripts).
 * EXI_ESPACE: no room; nothing happened. */
int live_commit(struct live *l, enum exi_change kind) EXI_MUST_CHECK;

/* State as of the last commit, or of the transaction under way. */
const struct exi_live_state *live_state(const struct live *l);

/*
 * Connects a block on the tip: checks the link (EXI_EAPI), inserts unknown
 * transactions, confirms known ones, removes conflicting mempool transactions
 * with their descendants, turns -1 into 0.  EXI_EFORMAT: malformed, or an
 * input's output is unknown.
 */
int live_connect(struct live *l, uint32_t height, const struct exi_blkid *hash,
                 const uint8_t *raw, size_t rawlen) EXI_MUST_CHECK;

/* Disconnects the tip block (height > live floor - 1 and above the newest
 * listed generation, else EXI_EAPI); its
 * transactions go to the mempool (flag PROVISIONAL), its coinbase and that
 * one's descendants are removed. */
int live_disconnect(struct live *l) EXI_MUST_CHECK;

/*
 * Adds a mempool transaction.  EXI_OK also when it is there already (clears
 * PROVISIONAL).  EXI_ENOTFOUND: an input is unknown or spent in a live block;
 * EXI_EBUSY: conflicts with another mempool transaction (remove that first).
 * In both cases nothing was changed and the transaction need not be aborted.
 */
int live_mempool_add(struct live *l, const uint8_t *raw, size_t rawlen,
                     uint64_t time_ms) EXI_MUST_CHECK;

/* Removes a mempool transaction and all its descendants; EXI_ENOTFOUND. */
int live_mempool_remove(struct live *l,
                        const struct exi_txid *txid) EXI_MUST_CHECK;

/* Is it in the mempool (1), in a live block (2) or neither (0); or an error. */
int live_has(struct live *l, const struct exi_txid *txid) EXI_MUST_CHECK;

/* Calls fn for each mempool transaction (order of arrival); fn must not change
 * the layer; non-zero ends it and is returned. */
typedef int (*live_each_pt)(void *ctx, const struct exi_live_tx *tx);
int live_mempool_each(struct live *l, live_each_pt fn,
                      void *ctx) EXI_MUST_CHECK;

/* Hash of a live block.  EXI_ENOTFOUND. */
int live_block_hash(struct live *l, uint32_t height,
                    struct exi_blkid *out) EXI_MUST_CHECK;

/* Stores a fact (`meta`): JSON text. */
int live_fact(struct live *l, const char *name, const char *json,
              size_t len) EXI_MUST_CHECK;

/* Replaces the list of valid generations (ascending, 1 ... 8).  EXI_EAPI: one
 * is not of this chain or above the tip, or none reaches the live floor. */
int live_generations(struct live *l, const struct exi_live_gen *gens,
                     size_t ngens) EXI_MUST_CHECK;

/* Removes the blocks below new_floor with all their rows, at most max_blocks of
 * them (so that a transaction stays short); *done says whether all are gone.
 * EXI_EAPI: the newest listed generation does not hold all below new_floor. */
int live_trim(struct live *l, uint32_t new_floor, uint32_t max_blocks,
              bool *done) EXI_MUST_CHECK;

/* Reaps reader slots of dead processes. */
void live_reap(struct live *l);

#endif /* LIVE_H */
