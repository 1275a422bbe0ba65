/*
 * Inside of the live layer (live*.c): not for others.  Functions return EXI_OK
 * or an error; after an error the transaction under way is to be aborted unless
 * said otherwise.  Pointers into LMDB are good until the same named database
 * is changed; writes to other ones leave them alone.
 */
#ifndef LIVE_INT_H
#define LIVE_INT_H

#include <lmdb.h>

#include "live.h"

enum live_db {
    LIVE_META,
    LIVE_BLOCK,
    LIVE_BLOCKTX,
    LIVE_BLOCKIDS,
    LIVE_TX,
    LIVE_RAW,
    LIVE_TXID,
    LIVE_HIST,
    LIVE_SPEND,
    LIVE_LOG,
    LIVE_DB_N
};

#define LIVE_LOG_RECORDS    65536
#define LIVE_LOG_BYTES      (64u << 20)
#define LIVE_LOG_RECORD_MAX (4u << 20)
#define LIVE_OUTPOINT_KEY   (EXI_HASH_LEN + 4)

/* Scratch memory that only grows. */
struct live_buf {
    uint8_t *p;
    size_t cap;
};

/* List of local ids. */
struct live_ids {
    uint64_t *v;
    size_t n;
    size_t cap;
};

/* Set of script keys; a slot is in use when its stamp is the set's. */
struct live_slot {
    struct exi_skey s;
    uint32_t stamp;
};
struct live_set {
    struct live_slot *slots;
    size_t nslots; /* power of two, or 0 */
    size_t n;
    uint32_t stamp;
    uint64_t seed;
    bool full; /* more than a change record holds: all changed */
};

/* Local ids that are in the mempool, one bit each (18 MB for a year of
 * mainnet); flips are kept for abort. */
struct live_pool {
    uint64_t *words;
    size_t nwords;
    struct live_ids flips;
};

/* What one transaction does to one script by one output or input. */
struct live_effect {
    struct exi_skey s;
    bool spend;
    uint32_t index; /* of the output, or of the one spent */
    uint32_t order; /* number of the output or input */
    int64_t value_sat;
    const uint8_t *prev_txid; /* spend only: 32 bytes */
};

/* Output look-up that goes on where the last one ended. */
struct live_prev {
    bool valid;
    bool confirmed;
    struct exi_txid txid;
    struct exi_tx tx;
    const uint8_t *p; /* output number `next` */
    uint32_t next;
};

/* One transaction with its inputs resolved. */
struct live_rows {
    struct exi_tx tx;
    struct exi_txid txid;
    struct live_effect *e;        /* by script, outputs first */
    struct exi_live_fund *fund;   /* scratch for one `hist` row */
    struct exi_live_spend *spend; /* as fund */
    size_t n;
    size_t cap;
    int64_t in_sat;
    int64_t out_sat;
    bool unconf; /* an input is an output of a mempool transaction */
    struct live_prev prev;
};

/* Upper bound of the pages that the transaction under way has taken. */
struct live_space {
    int fd; /* LMDB's own descriptor of data.mdb */
    uint64_t psize;
    uint64_t map;              /* bytes */
    uint64_t allocated;        /* bytes of the file that have room on disk */
    uint64_t end;              /* bytes in use at the begin */
    uint64_t pages[LIVE_DB_N]; /* at the begin */
    uint64_t touches[LIVE_DB_N];
    uint64_t appended; /* bytes of rows that went behind all others */
    uint64_t fresh;    /* bytes of other inserted rows */
    uint64_t inserts;  /* rows: each may split a page, one of 30 does */
    uint64_t overflow; /* pages of large values */
    uint64_t quick;    /* coarse bound; exact one is computed beyond it */
    uint64_t quick_max;
};

/* What live_abort() brings back. */
struct live_mark {
    struct exi_live_state st;
    uint64_t next_id;
    uint64_t tx_count; /* of the chain up to the tip */
    uint64_t log_bytes;
};

struct live {
    struct live_opts o;
    char *dir;     /* DATA */
    char name[34]; /* below DATA/live */
    int lease_fd;
    bool served; /* live/CURRENT named it */
    MDB_env *env;
    MDB_dbi dbi[LIVE_DB_N];
    MDB_txn *txn;  /* the change under way, or NULL */
    MDB_txn *rtxn; /* for reading in between; reset when not in use */
    struct live_mark now;
    struct live_mark saved;
    uint32_t low; /* lowest height whose block changed; UINT32_MAX: none */
    struct live_set touched;
    struct live_pool pool;
    struct live_space space;
    struct live_rows rows;
    struct live_ids children;
    struct live_ids stack;
    struct live_ids again; /* positions in the block, see connect_txs() */
    struct live_buf rec;   /* an encoded `tx` record or `hist` value */
    struct live_buf ids;   /* `blocktx` */
    struct live_buf txids; /* `blockids` */
};

/*
 * live.c
 */
int live_err(int mdb_rc);
uint64_t live_now_ms(void);
int live_buf_need(struct live_buf *b, size_t n) EXI_MUST_CHECK;
int live_ids_add(struct live_ids *l, uint64_t id) EXI_MUST_CHECK;
/* Transaction for reading: the one under way, else rtxn renewed. */
int live_read_begin(struct live *l, MDB_txn **txn) EXI_MUST_CHECK;
void live_read_end(struct live *l);
int live_get(struct live *l, enum live_db db, const void *key, size_t keylen,
             MDB_val *val) EXI_MUST_CHECK;
int live_put(struct live *l, enum live_db db, const void *key, size_t keylen,
             const void *val, size_t vallen, unsigned flags) EXI_MUST_CHECK;
/* EXI_EFORMAT when there is no such row. */
int live_del(struct live *l, enum live_db db, const void *key,
             size_t keylen) EXI_MUST_CHECK;

/*
 * live_touch.c: scripts of the change record.
 */
int live_touch(struct live *l, const uint8_t *scripts,
               uint32_t nscripts) EXI_MUST_CHECK;
/* The transaction itself (by its id) and its scripts. */
int live_touch_tx(struct live *l, const struct exi_live_tx *t) EXI_MUST_CHECK;
void live_touch_clear(struct live_set *s);
/* Change record (malloc'd, *len bytes) of what was touched. */
int live_touch_record(struct live *l, enum exi_change kind, uint8_t **out,
                      size_t *len) EXI_MUST_CHECK;

/*
 * live_env.c: room in the file.
 */
int live_space_begin(struct live *l) EXI_MUST_CHECK;
enum live_write {
    LIVE_KEEP,   /* of a row as large as it was, or a removal (0 bytes) */
    LIVE_INSERT, /* of a new or larger row */
    LIVE_APPEND  /* of a new one behind all others */
};
/* Before a write of so many bytes. */
int live_space_take(struct live *l, enum live_db db, size_t bytes,
                    enum live_write how) EXI_MUST_CHECK;

/*
 * live_rows.c: rows of one transaction.
 */
void live_outpoint(uint8_t out[LIVE_OUTPOINT_KEY], const uint8_t *txid,
                   uint32_t index);
/* Local id; EXI_ENOTFOUND. */
int live_find(struct live *l, const struct exi_txid *txid,
              uint64_t *id) EXI_MUST_CHECK;
int live_tx_get(struct live *l, uint64_t id,
                struct exi_live_tx *t) EXI_MUST_CHECK;
int live_tx_put(struct live *l, uint64_t id, const struct exi_live_tx *t,
                unsigned flags) EXI_MUST_CHECK;
int live_tx_parsed(struct live *l, uint64_t id,
                   struct exi_tx *tx) EXI_MUST_CHECK;
/* Local id of the transaction that spends an output; EXI_ENOTFOUND. */
int live_spender(struct live *l, const uint8_t *txid, uint32_t index,
                 uint64_t *id) EXI_MUST_CHECK;
/* Appends the local ids of all that spend outputs of txid. */
int live_spenders(struct live *l, const struct exi_txid *txid,
                  struct live_ids *out) EXI_MUST_CHECK;
/* Resolves the inputs of tx into l->rows; changes no row.  EXI_ENOTFOUND: an
 * input's output is unknown. */
int live_rows_gather(struct live *l, const struct exi_tx *tx,
                     const struct exi_txid *txid) EXI_MUST_CHECK;
/* Inserts l->rows as a new transaction and touches its scripts. */
int live_rows_insert(struct live *l, int32_t height, uint32_t pos,
                     uint64_t time_ms, uint64_t *id) EXI_MUST_CHECK;
/* The same in two steps for a transaction of a block: first what others need to
 * spend its outputs, then, gathered into l->rows, all the rest. */
int live_rows_announce(struct live *l, const struct exi_tx *tx,
                       const struct exi_txid *txid, int32_t height,
                       uint32_t pos, uint64_t *id) EXI_MUST_CHECK;
int live_rows_complete(struct live *l, int32_t height, uint32_t pos,
                       uint64_t time_ms, uint64_t id) EXI_MUST_CHECK;
/* Removes all rows of a transaction. */
int live_rows_remove(struct live *l, uint64_t id) EXI_MUST_CHECK;

/* Room for n effects of one transaction. */
int live_rows_need(struct live_rows *r, size_t n) EXI_MUST_CHECK;
/* Effects by script, outputs first. */
void live_rows_sort(struct live_effect *e, size_t n);
/* How many of the n >= 1 sorted effects are of the first one's script. */
size_t live_rows_same(const struct live_effect *e, size_t n);
/* `hist` value of n effects of one script (out: EXI_LIVE_FX_MAX(n, n) bytes);
 * r has room for them.  Returns its length. */
size_t live_rows_fx(struct live_rows *r, uint8_t *out,
                    const struct live_effect *e, size_t n);

/*
 * live_block.c
 */

/* Rows of a block whose local ids and txids are in l->ids and l->txids; the tip
 * moves to it. */
int live_store_block(struct live *l, const struct exi_block *b, uint32_t height,
                     const struct exi_blkid *hash) EXI_MUST_CHECK;

/*
 * live_mempool.c
 */
int live_pool_flip(struct live *l, uint64_t id) EXI_MUST_CHECK;
void live_pool_undo(struct live_pool *p);
/* Counts a transaction into or out of the mempool. */
int live_pool_enter(struct live *l, uint64_t id, uint32_t vsize) EXI_MUST_CHECK;
int live_pool_leave(struct live *l, uint64_t id, uint32_t vsize) EXI_MUST_CHECK;
/* Sets EXI_TXF_UNCONF_INPUT. */
int live_flag_unconf(struct live *l, uint64_t id) EXI_MUST_CHECK;
/* Computes EXI_TXF_UNCONF_INPUT anew if it is (still) a mempool transaction. */
int live_flag_again(struct live *l, uint64_t id) EXI_MUST_CHECK;
/* Is an input an output of a mempool transaction: 1, 0 or an error. */
int live_unconf_input(struct live *l, const struct exi_tx *tx) EXI_MUST_CHECK;
/* Removes a mempool transaction with its descendants. */
int live_pool_remove(struct live *l, uint64_t id) EXI_MUST_CHECK;

#endif /* LIVE_INT_H */
