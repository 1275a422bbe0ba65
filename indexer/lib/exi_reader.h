/*
 * Read-only door to DATA/: settled generation + live layer as one chain, and
 * the queries of the Electrum protocol over it.
 *
 * A store is what a process keeps open; a view is one snapshot of it.
 * Processes: any number; open after fork.  Threads: exi_store_* by one thread
 * (the event loop), but exi_store_refresh may be run by another; a view by one
 * thread at a time, several views may be in use by several threads.
 */
#ifndef EXI_READER_H
#define EXI_READER_H

#include "exi_err.h"
#include "exi_format.h"
#include "exi_status.h"
#include "exi_types.h"

struct exi_cold_list;
struct exi_store;
struct exi_view;

/* Called with one line of text for the log: level 0 error, 1 warning, 2 info;
 * by any thread that refreshes the store or begins a view. */
typedef void (*exi_log_pt)(void *ctx, int level, const char *text);

/*
 * Makes a store for data_dir (copied).  Opens nothing yet and never fails for
 * what is on disk: exi_store_refresh does that.  A process has one store at most
 * for a directory: LMDB loses its locks when an environment is opened twice.
 * EXI_ENOMEM.
 */
int exi_store_new(struct exi_store **out, const char *data_dir, exi_log_pt log,
                  void *log_ctx) EXI_MUST_CHECK;

/* Closes all; no view may be in use. */
void exi_store_free(struct exi_store *s);

/*
 * Looks at live/CURRENT and the snapshot's list: switches to another live
 * environment, opens the newest listed generation, drops those not needed.
 * Cheap (two stats) when nothing changed.  May do file I/O of milliseconds.
 * EXI_OK, EXI_ENOTREADY (no live environment yet; what is open stays usable),
 * EXI_EVERSION, EXI_EFORMAT, EXI_EIO (logged).
 */
int exi_store_refresh(struct exi_store *s);

/*
 * Whether the newest environment and generation are open, so that a refresh has
 * nothing to do: two stats and a look at the live layer.  Not while another
 * thread refreshes.
 */
bool exi_store_current(struct exi_store *s);

/* A view of the store, empty; EXI_ENOMEM. */
int exi_view_new(struct exi_store *s, struct exi_view **out) EXI_MUST_CHECK;
void exi_view_free(struct exi_view *v);

/*
 * Takes a snapshot: renews the LMDB read transaction, reads the state and pins
 * a generation that the snapshot lists (opening one, or refreshing the store, if
 * need be).  EXI_OK; EXI_ENOTREADY: nothing to serve (now); EXI_EAPI: it has
 * one already; EXI_EIO, EXI_EFORMAT.
 */
int exi_view_begin(struct exi_view *v) EXI_MUST_CHECK;

/* Ends the snapshot; pointers got from it are no longer good. */
void exi_view_end(struct exi_view *v);

/*
 * nowait: queries fail with EXI_ECOLD instead of waiting for a disk; what they
 * lacked is to be read by another thread, then they are run again from the
 * start (exi_cold.h).  A callback may have been called by then: what it has
 * made is to be thrown away.  The live layer is in memory as a rule (written
 * since the machine was started) and read without asking.  New views wait.
 */
void exi_view_nowait(struct exi_view *v, bool nowait);

/* Whether a query of this snapshot has failed so since the last take. */
bool exi_view_cold(const struct exi_view *v);

/* How many entries and rows the queries of this snapshot have looked at. */
uint64_t exi_view_work(const struct exi_view *v);

/* What those queries lacked, yours (exi_cold_free).  EXI_ENOTFOUND: nothing;
 * EXI_ENOMEM. */
int exi_view_cold_take(struct exi_view *v,
                       struct exi_cold_list **out) EXI_MUST_CHECK;

/* State of the snapshot; good until exi_view_end. */
const struct exi_live_state *exi_view_state(const struct exi_view *v);
const struct exi_params *exi_view_params(const struct exi_view *v);

/*
 * Blocks.
 */

/* 80 bytes of header.  EXI_ENOTFOUND: above the tip. */
int exi_header(struct exi_view *v, uint32_t height,
               uint8_t out[EXI_HEADER_LEN]) EXI_MUST_CHECK;

/* Block hash.  EXI_ENOTFOUND: above the tip. */
int exi_block_hash(struct exi_view *v, uint32_t height,
                   struct exi_blkid *out) EXI_MUST_CHECK;

/* Proof for header `height` in the tree of headers 0 ... cp_height (display:
 * blockchain.block.header with cp_height).  EXI_EAPI: not height <= cp <= tip. */
int exi_header_proof(struct exi_view *v, uint32_t height, uint32_t cp_height,
                     struct exi_hash *root, struct exi_hash *branch,
                     size_t *nbranch) EXI_MUST_CHECK;

/* Whether that block is in the settled chain of the view's generation: 1, 0, or
 * the error of exi_block_hash(). */
int exi_view_has(struct exi_view *v, uint32_t height,
                 const struct exi_blkid *block) EXI_MUST_CHECK;

/* Number of transactions of a block.  EXI_ENOTFOUND. */
int exi_block_ntx(struct exi_view *v, uint32_t height,
                  uint32_t *ntx) EXI_MUST_CHECK;

/* Txid at a position.  EXI_ENOTFOUND: no such block or position. */
int exi_block_txid(struct exi_view *v, uint32_t height, uint32_t pos,
                   struct exi_txid *out) EXI_MUST_CHECK;

/* Merkle branch of the transaction at pos.  EXI_ENOTFOUND, EXI_ENOMEM. */
int exi_block_branch(struct exi_view *v, const struct exi_arena *a,
                     uint32_t height, uint32_t pos, struct exi_hash *branch,
                     size_t *nbranch) EXI_MUST_CHECK;

/*
 * Transactions.
 */
struct exi_txpos {
    int32_t height; /* > 0 (or 0 with confirmed) in a block; 0 / -1 mempool */
    bool confirmed;
    bool live;              /* raw bytes are in the live layer */
    uint32_t pos;           /* in the block */
    uint64_t id;            /* local id (live) or txnum (settled) */
    int64_t fee_sat;        /* live only, else -1 */
    uint32_t offset;        /* settled only: in the serialized block */
    uint32_t size;          /* settled only: serialized size */
    struct exi_blkid block; /* confirmed only */
};

/* Finds a transaction.  EXI_ENOTFOUND. */
int exi_tx_find(struct exi_view *v, const struct exi_txid *txid,
                struct exi_txpos *out) EXI_MUST_CHECK;

/* Raw bytes of a live transaction, until exi_view_end.  EXI_ENOTFOUND: it is
 * settled (ask the node with pos->block). */
int exi_tx_raw(struct exi_view *v, const struct exi_txpos *pos,
               const uint8_t **raw, size_t *rawlen) EXI_MUST_CHECK;

/* Live transaction that spends an outpoint.  EXI_ENOTFOUND. */
int exi_spender_live(struct exi_view *v, const struct exi_txid *txid,
                     uint32_t index, struct exi_txid *spender,
                     int32_t *height) EXI_MUST_CHECK;

/* Whether an output of a settled transaction is unspent in the settled chain
 * (a live transaction may spend it): its script.  EXI_ENOTFOUND: it is spent,
 * not indexed or does not exist; EXI_EAPI: pos is live. */
int exi_outpoint_unspent(struct exi_view *v, const struct exi_txpos *pos,
                         uint32_t index,
                         struct exi_skey *script) EXI_MUST_CHECK;

/* Settled transaction that spends a settled output.  EXI_ENOTFOUND; EXI_EAPI:
 * pos is live, or this data directory has no `S` rows. */
int exi_spender_settled(struct exi_view *v, const struct exi_txpos *pos,
                        uint32_t index, struct exi_txid *spender,
                        int32_t *height) EXI_MUST_CHECK;

/* A transaction in the mempool. */
struct exi_recent {
    struct exi_txid txid;
    int64_t fee_sat;
    uint32_t vsize;
};

/*
 * The last transactions that came into the mempool (or went back into it), the
 * newest first: at most *n, which is set.  EXI_EFORMAT, EXI_ENOMEM, EXI_EIO.
 */
int exi_mempool_recent(struct exi_view *v, struct exi_recent *out,
                       size_t *n) EXI_MUST_CHECK;

/*
 * Scripts.  Callbacks are called in protocol order; a non-zero return value
 * ends the query and is returned from it.
 */
struct exi_hist {
    struct exi_txid txid;
    int32_t height; /* > 0 (0 = genesis only if confirmed), 0 / -1 mempool */
    bool confirmed;
    int64_t fee_sat; /* mempool only, else -1 */
};
typedef int (*exi_hist_pt)(void *ctx, const struct exi_hist *h);

#define EXI_HIST_CONFIRMED 1
#define EXI_HIST_MEMPOOL   2

/*
 * History: confirmed in chain order, then mempool by (height 0 before -1, txid
 * as displayed) (protocol 1.6; blockchain.scripthash.get_history and
 * get_mempool).  flags: EXI_HIST_*.  limit: most confirmed entries, 0 = none;
 * EXI_ELIMIT before the first callback when there are more.
 * EXI_ENOMEM, EXI_EFORMAT, EXI_EIO.
 */
int exi_history(struct exi_view *v, const struct exi_arena *a,
                const struct exi_skey *s, unsigned flags, uint64_t limit,
                exi_hist_pt fn, void *ctx) EXI_MUST_CHECK;

/* The same if all entries are at most `light`; else EXI_EHEAVY, or EXI_ELIMIT,
 * before the first callback; light + 1 are looked at at most. */
int exi_history_light(struct exi_view *v, const struct exi_arena *a,
                      const struct exi_skey *s, unsigned flags, uint64_t limit,
                      uint64_t light, exi_hist_pt fn, void *ctx) EXI_MUST_CHECK;

struct exi_utxo {
    struct exi_txid txid;
    uint32_t index;
    int32_t height; /* 0 = mempool */
    int64_t value_sat;
    bool tokens; /* holds tokens; only of coins with EXI_COIN_TOKENS */
};
typedef int (*exi_utxo_pt)(void *ctx, const struct exi_utxo *u);

/* Which outputs of a coin with EXI_COIN_TOKENS count; of other coins all do. */
enum exi_tokens {
    EXI_TOKENS_INCLUDE,
    EXI_TOKENS_EXCLUDE,
    EXI_TOKENS_ONLY
};

/* Confirmed balance and the mempool's change to it, in satoshi. */
int exi_balance(struct exi_view *v, const struct exi_arena *a,
                const struct exi_skey *s, enum exi_tokens tokens,
                int64_t *confirmed_sat,
                int64_t *unconfirmed_sat) EXI_MUST_CHECK;

/* Unspent outputs: confirmed by (chain order, index), then mempool ones; those
 * spent in the mempool are left out.  limit as above (rows). */
int exi_unspent(struct exi_view *v, const struct exi_arena *a,
                const struct exi_skey *s, enum exi_tokens tokens,
                uint64_t limit, exi_utxo_pt fn, void *ctx) EXI_MUST_CHECK;

/*
 * Token data (exi_token_parse) of an unspent output that has tokens, as
 * exi_unspent() told it: *len bytes, at most EXI_TOKEN_MAX, into out.
 * EXI_EFORMAT: the index is damaged; EXI_EIO.
 */
int exi_utxo_token(struct exi_view *v, const struct exi_utxo *u, uint8_t *out,
                   size_t *len) EXI_MUST_CHECK;

/* Status (exi_status.h): *some false = null.  limit as exi_history. */
int exi_script_status(struct exi_view *v, const struct exi_arena *a,
                      const struct exi_skey *s, uint64_t limit,
                      uint8_t out[EXI_HASH_LEN], bool *some) EXI_MUST_CHECK;

/*
 * The same from what was known before, and not more than `light` settled
 * entries at once: EXI_EHEAVY when there are more (read them with a cursor);
 * nor more than so many live ones: EXI_EMANY (gather them; *mid has the settled
 * ones then).  *mid is a midstate of the script (st.n 0: none), used if the view's chain has
 * its block, and becomes that of the view's generation.
 */
struct exi_mid {
    uint32_t height; /* of the block it belongs to */
    struct exi_blkid block;
    struct exi_status st; /* after all entries up to that block; n of them */
};
int exi_script_status_from(struct exi_view *v, const struct exi_arena *a,
                           const struct exi_skey *s, uint64_t limit,
                           uint64_t light, struct exi_mid *mid,
                           uint8_t out[EXI_HASH_LEN],
                           bool *some) EXI_MUST_CHECK;
/* Only makes the midstate that of the view's generation.  EXI_EHEAVY,
 * EXI_ELIMIT. */
int exi_script_mid(struct exi_view *v, const struct exi_arena *a,
                   const struct exi_skey *s, uint64_t limit, uint64_t light,
                   struct exi_mid *mid) EXI_MUST_CHECK;

/*
 * Balance from a known sum of the settled outputs, or from at most `light` of
 * them (0: any number): EXI_EHEAVY; and of live rows: EXI_EMANY (*sum is known
 * then).  A sum is used if the view's chain has its
 * block and all live rows above that; it becomes that of the view's generation.
 */
struct exi_sum {
    bool known;
    uint32_t height; /* of the block it belongs to */
    struct exi_blkid block;
    int64_t sat;
    uint64_t n; /* outputs it was made of */
};
int exi_balance_from(struct exi_view *v, const struct exi_arena *a,
                     const struct exi_skey *s, uint64_t light,
                     struct exi_sum *sum, int64_t *confirmed_sat,
                     int64_t *unconfirmed_sat) EXI_MUST_CHECK;

/* Only makes the sum one that fits the view.  EXI_EHEAVY. */
int exi_script_sum(struct exi_view *v, const struct exi_skey *s, uint64_t light,
                   struct exi_sum *sum) EXI_MUST_CHECK;

/*
 * A script's live rows, gathered piece by piece: of the view's snapshot, which
 * is kept until they are all copied, and with its generation.  The snapshot
 * keeps the writer from using pages again, so nobody may let it wait for
 * anything but its turn.  Counted; all references by one thread, freed before
 * the store.
 */
struct exi_rows;
/* With a reference; nothing is read yet.  EXI_ENOMEM, EXI_EIO. */
int exi_rows_new(struct exi_view *v, const struct exi_skey *s,
                 struct exi_rows **out) EXI_MUST_CHECK;
struct exi_rows *exi_rows_ref(struct exi_rows *r);
void exi_rows_unref(struct exi_rows *r); /* NULL is allowed */
/* Does as much as copying `budget` rows.  1: there is more to do; 0: all is
 * there; EXI_EFORMAT, EXI_ENOMEM, EXI_EIO: they are of no use. */
int exi_rows_gather(struct exi_rows *r, uint32_t budget) EXI_MUST_CHECK;

/* Whether they are what the view would gather. */
bool exi_rows_same(const struct exi_rows *r, const struct exi_view *v);
/* Of the snapshot; as long as the rows. */
const struct exi_live_state *exi_rows_state(const struct exi_rows *r);
/* Bytes they take. */
size_t exi_rows_size(const struct exi_rows *r);

/* When all are there: the first one of a confirmed height above this one, or
 * of the mempool (of those below the generation, too). */
size_t exi_rows_above(const struct exi_rows *r, uint32_t height);
/* How many are confirmed above the generation. */
size_t exi_rows_confirmed(const struct exi_rows *r);
/* The first above the generation; false: none. */
bool exi_rows_first(const struct exi_rows *r, struct exi_hist *h);
/* Adds up to `budget` of them from *at (0 at first) on to the midstate of the
 * generation, which becomes the script's status.  1: there are more; 0. */
int exi_rows_status(const struct exi_rows *r, struct exi_status *st, size_t *at,
                    uint32_t budget) EXI_MUST_CHECK;
/* Balance from a sum that fits the view they are of; it becomes that of the
 * generation.  EXI_EFORMAT.  Not of coins with tokens. */
int exi_rows_balance(const struct exi_rows *r, struct exi_sum *sum,
                     int64_t *confirmed_sat,
                     int64_t *unconfirmed_sat) EXI_MUST_CHECK;

/*
 * Cursors: the same answers piece by piece.  A cursor keeps the generation and
 * the live rows, so all of it is one picture.  It is freed before the store;
 * one thread at a time.  A step that returns an error may be repeated, unless
 * the callback made it; after EXI_ECOLD (the view must not wait) what
 * *_cold_take() gives is to be read before, and it goes on at the entry that it
 * was at.
 */
struct exi_cursor;

/* The settled history of the view's generation.  EXI_ENOMEM. */
int exi_cursor_new(struct exi_view *v, const struct exi_skey *s,
                   struct exi_cursor **out) EXI_MUST_CHECK;
/* All of it; flags as exi_history.  EXI_EAPI: not all rows are there;
 * EXI_ENOMEM. */
int exi_cursor_of(struct exi_rows *rows, unsigned flags,
                  struct exi_cursor **out) EXI_MUST_CHECK;
void exi_cursor_free(struct exi_cursor *c); /* NULL is allowed */

/* As exi_view_cold_take(). */
int exi_cursor_cold_take(struct exi_cursor *c,
                         struct exi_cold_list **out) EXI_MUST_CHECK;
/* Lets the view's queries have lacked what the cursor has. */
void exi_cursor_cold_give(struct exi_cursor *c, struct exi_view *v);

/* Before the first entry: passes over the first n settled ones. */
void exi_cursor_skip(struct exi_cursor *c, uint64_t n);
/* Confirmed ones only with from <= height < to.  EXI_EAPI: from > to. */
int exi_cursor_range(struct exi_cursor *c, uint64_t from,
                     uint64_t to) EXI_MUST_CHECK;
/* The block up to which the settled entries go. */
void exi_cursor_block(const struct exi_cursor *c, uint32_t *height,
                      struct exi_blkid *block);

/* Counts the settled entries (not only those of the range) before the first
 * one is read.  budget: about as much work as so many entries are.  1: call it
 * again; 0; EXI_ELIMIT: more confirmed ones than limit (0: none). */
int exi_cursor_count(struct exi_cursor *c, uint32_t budget,
                     uint64_t limit) EXI_MUST_CHECK;
uint64_t exi_cursor_settled(const struct exi_cursor *c); /* when counted */
size_t exi_cursor_live(const struct exi_cursor *c);

/* Gives out about `budget` entries: 1: there are more; 0: that was the last
 * one; what fn returned; EXI_EFORMAT, EXI_EIO, EXI_ENOMEM. */
int exi_cursor_next(struct exi_cursor *c, uint32_t budget, exi_hist_pt fn,
                    void *ctx) EXI_MUST_CHECK;

struct exi_utxos;
/* Settled ones of the view's generation, whatever became of them.  EXI_ENOMEM. */
int exi_utxos_new(struct exi_view *v, const struct exi_skey *s,
                  struct exi_utxos **out) EXI_MUST_CHECK;
/* All that are unspent.  EXI_EAPI: not all rows are there; EXI_ENOMEM. */
int exi_utxos_of(struct exi_rows *rows, struct exi_utxos **out) EXI_MUST_CHECK;
void exi_utxos_free(struct exi_utxos *c); /* NULL is allowed */
int exi_utxos_cold_take(struct exi_utxos *c,
                        struct exi_cold_list **out) EXI_MUST_CHECK;
/* To the first one again. */
void exi_utxos_rewind(struct exi_utxos *c);
/* As exi_cursor_next. */
int exi_utxos_next(struct exi_utxos *c, uint32_t budget, exi_utxo_pt fn,
                   void *ctx) EXI_MUST_CHECK;
/* Adds `budget` settled ones to the sum, all zero before: 1: there are more; 0:
 * it is known now. */
int exi_utxos_sum(struct exi_utxos *c, uint32_t budget,
                  struct exi_sum *sum) EXI_MUST_CHECK;
/* As exi_cursor_block. */
void exi_utxos_block(const struct exi_utxos *c, uint32_t *height,
                     struct exi_blkid *block);

/*
 * Facts and changes.
 */

/* JSON text stored under a name of `meta`, until exi_view_end.  EXI_ENOTFOUND. */
int exi_fact(struct exi_view *v, const char *name, const char **json,
             size_t *len) EXI_MUST_CHECK;

/*
 * Change records with sequence > after, ascending; scripts are good during the
 * callback.  EXI_ESTALE: some of them are no longer kept (or `instance` is not
 * the snapshot's): recompute all.
 */
typedef int (*exi_change_pt)(void *ctx, uint64_t seq,
                             const struct exi_live_change *c);
int exi_changes(struct exi_view *v, uint64_t instance, uint64_t after,
                exi_change_pt fn, void *ctx) EXI_MUST_CHECK;

#endif /* EXI_READER_H */
