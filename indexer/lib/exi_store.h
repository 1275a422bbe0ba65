/*
 * Inside of the read-only side (exi_store_*.c, exi_read_*.c): not for others.
 *
 * store -- env (live environment) and gen (generation), both counted: the store
 * holds the newest, each view what it works with; the last one closes.
 * Counts and the store's pointers change under store->lock; opening (slow) is
 * done under store->opening, which is taken first.
 */
#ifndef EXI_STORE_H
#define EXI_STORE_H

#include <lmdb.h>
#include <pthread.h>
#include <sys/stat.h>

#include "exi_cold.h"
#include "exi_merkle_cache.h"
#include "exi_reader.h"
#include "exi_rodb.h"
#include "exi_runs.h"

enum exi_db {
    EXI_DB_META,
    EXI_DB_BLOCK,
    EXI_DB_BLOCKIDS,
    EXI_DB_TX,
    EXI_DB_RAW,
    EXI_DB_TXID,
    EXI_DB_HIST,
    EXI_DB_SPEND,
    EXI_DB_LOG,
    EXI_DB_N
};

/* Memory for middle levels of Merkle trees: at 4,000 transactions a block those
 * of 3,600 blocks. */
#define EXI_STORE_MERKLE (32u << 20)

#define EXI_ENV_NAME 33 /* 16 hex digits, '-', 16 hex digits */

/* A live environment. */
struct exi_env {
    unsigned refs;
    char name[EXI_ENV_NAME + 1];
    int lease_fd;
    MDB_env *env;
    MDB_dbi dbi[EXI_DB_N];
    MDB_txn *txn; /* of exi_store_refresh(); reset when not in use */
};

/* A segment of a flat file, shared by the generations that link it: mapped, or
 * (transaction counts, which are looked through with each height) a copy. */
struct exi_seg {
    unsigned refs;
    dev_t dev;
    ino_t ino;
    uint8_t *base;
    size_t len;
    size_t filled;         /* bytes of a copy; of a mapping: len */
    struct exi_file *file; /* NULL: a copy */
};

struct exi_flat_map {
    uint64_t count; /* records that count */
    uint8_t shift;
    uint32_t record;
    uint32_t nsegs;
    const uint8_t **base; /* nsegs */
    struct exi_seg **segs;
};

/* A generation. */
struct exi_gen {
    unsigned refs;
    struct exi_manifest m;
    int lease_fd;
    struct exi_rodb *db;
    struct exi_flat_map flat[EXI_FLAT_N];
};

struct exi_store {
    char *dir;
    exi_log_pt log;
    void *log_ctx;
    char last_log[256];         /* not said twice in a row */
    pthread_mutex_t refreshing; /* taken before the others */
    pthread_mutex_t opening;
    pthread_mutex_t lock;
    struct exi_env *env;
    struct exi_gen *gen;
    struct exi_view *views;
    struct stat current; /* of live/CURRENT when env was opened */
    struct exi_mcache *merkle;
    uint64_t bad_gen; /* newest generation that could not be opened */
};

/* Entries of one script that fit a view without the arena. */
#define EXI_VIEW_NUMS  512
#define EXI_VIEW_ITEMS 32

/* A live transaction and where it stands. */
struct exi_place {
    struct exi_txid txid;
    int32_t height; /* 0: mempool */
    uint32_t pos;
    int64_t fee_sat; /* mempool only, else -1 */
    bool unconf;     /* mempool: has an unconfirmed input */
};

/* What a live transaction does to the script asked for. */
struct exi_item {
    struct exi_place at;
    const uint8_t *fx; /* `hist` value */
    size_t fxlen;
};

/* A snapshot that outlives its view. */
struct exi_snap {
    unsigned refs; /* one thread */
    struct exi_store *store;
    struct exi_env *env;
    MDB_txn *txn;
};

/* What a view keeps between its snapshots. */
struct exi_held {
    struct exi_env *env;
    MDB_txn *txn;
    MDB_cursor *hist;
    struct exi_gen *gen;
    struct exi_rodb_iter *iter;  /* `H`, `T`, `U` */
    struct exi_rodb_iter *heavy; /* `G`, made at first use */
};

struct exi_view {
    struct exi_store *s;
    struct exi_view *next;
    bool active;           /* between begin and end; changes under the lock */
    bool hist_ready;       /* h.hist was renewed in this snapshot */
    struct exi_snap *snap; /* h.txn, if others have it, too; else NULL */
    struct exi_held h;
    struct exi_live_state st;
    struct exi_cold cold; /* what the query at hand lacks */
    uint64_t work;        /* entries and rows looked at in this snapshot */
    uint64_t nums[EXI_VIEW_NUMS];
    struct exi_item items[EXI_VIEW_ITEMS];
};

/*
 * exi_store_read.c
 */
int exi_store_mdb_err(int mdb_rc);
void exi_store_say(struct exi_store *s, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Is the generation in the list and does it reach the live rows? */
bool exi_store_fits(const struct exi_live_state *st, const struct exi_gen *g);
/*
 * A generation that fits st with a new reference: the store's, or the newest
 * listed one that can be opened, which becomes the store's.  EXI_ESTALE: all
 * are gone, st is old.
 */
int exi_store_gen(struct exi_store *s, const struct exi_live_state *st,
                  struct exi_gen **out) EXI_MUST_CHECK;
/* One more reference to a generation that is held; returns it. */
struct exi_gen *exi_store_ref_gen(struct exi_store *s, struct exi_gen *g);
void exi_store_unref_gen(struct exi_store *s, struct exi_gen *g);
void exi_store_unref_env(struct exi_store *s, struct exi_env *e);

/*
 * exi_store_view.c
 */
/* Lets go of what idle views hold and the store does not use any more. */
void exi_view_tidy(struct exi_store *s);
/* The view's snapshot with a new reference: it stays when the view ends, which
 * keeps the writer from using pages again (exi_snap_unref() soon).  NULL: out
 * of memory. */
struct exi_snap *exi_view_share(struct exi_view *v) EXI_MUST_CHECK;
void exi_snap_unref(struct exi_snap *s);

/*
 * exi_store_gen.c
 */
/* Shared flock on a lease.  EXI_ESTALE: it is about to be removed; EXI_EIO. */
int exi_lease_flock(int fd) EXI_MUST_CHECK;

/* Opens a listed generation; near (or NULL) is one to share segments with.
 * EXI_ESTALE: it is (being) removed. */
int exi_gen_open(struct exi_store *s, const struct exi_live_gen *want,
                 const struct exi_gen *near,
                 struct exi_gen **out) EXI_MUST_CHECK;
void exi_gen_close(struct exi_gen *g);

/* Record of a flat file, or NULL: beyond what counts.  Touching it may have to
 * wait for a disk, unless it is a transaction count: see exi_view_flat(). */
static inline const uint8_t *
exi_gen_flat(const struct exi_gen *g, enum exi_flat f, uint64_t i)
{
    const struct exi_flat_map *m = &g->flat[f];

    if (i >= m->count) {
        return NULL;
    }
    return m->base[i >> m->shift] + (i & ((1ull << m->shift) - 1)) * m->record;
}

/* The same for a query: EXI_OK, EXI_EFORMAT (beyond what counts), EXI_ECOLD,
 * EXI_EIO.  A query that needs several records asks for all of them before it
 * returns EXI_ECOLD. */
static inline int
exi_gen_look(const struct exi_gen *g, struct exi_cold *cold, enum exi_flat f,
             uint64_t i, const uint8_t **p)
{
    const struct exi_flat_map *m = &g->flat[f];
    const struct exi_seg *seg;

    if (i >= m->count) {
        return EXI_EFORMAT;
    }
    seg = m->segs[i >> m->shift];
    *p = exi_gen_flat(g, f, i);
    return seg->file == NULL
               ? EXI_OK
               : exi_cold_check(cold, seg->file, (uint64_t) (*p - seg->base),
                                m->record);
}

static inline int
exi_view_flat(struct exi_view *v, enum exi_flat f, uint64_t i,
              const uint8_t **p)
{
    return exi_gen_look(v->h.gen, &v->cold, f, i, p);
}

/* Begins to fetch a record that will be looked at soon; never waits. */
static inline void
exi_gen_ahead(const struct exi_gen *g, enum exi_flat f, uint64_t i)
{
    const uint8_t *p = exi_gen_flat(g, f, i);

    if (p != NULL) {
        exi_prefetch(p);
    }
}

/*
 * exi_store_env.c
 */
/* Opens the live environment `name`.  EXI_ESTALE: it is being removed;
 * EXI_ENOTREADY: of another boot. */
int exi_env_open(struct exi_store *s, const char *name,
                 struct exi_env **out) EXI_MUST_CHECK;
void exi_env_close(struct exi_env *e);
/* State as of now, through the environment's own transaction. */
int exi_env_state(struct exi_env *e, struct exi_live_state *st) EXI_MUST_CHECK;

/*
 * exi_read_util.c: look-ups inside a snapshot.
 */
int exi_view_get(struct exi_view *v, enum exi_db db, const void *key,
                 size_t keylen, MDB_val *val) EXI_MUST_CHECK;
/* Record of a local id; EXI_EFORMAT when it is not there. */
int exi_view_live_tx(struct exi_view *v, uint64_t id,
                     struct exi_live_tx *t) EXI_MUST_CHECK;
/* The same record from its row; tip: of the snapshot. */
int exi_live_tx_of(struct exi_live_tx *t, const MDB_val *val,
                   uint32_t tip) EXI_MUST_CHECK;
/* Row of `block`; EXI_ENOTFOUND. */
int exi_view_live_block(struct exi_view *v, uint32_t height,
                        struct exi_live_block *b) EXI_MUST_CHECK;
/* Height of a settled transaction, which is at least `from`. */
int exi_view_height(const struct exi_view *v, uint64_t txnum, uint32_t from,
                    uint32_t *height) EXI_MUST_CHECK;
/* The same for a generation; fast when it is not far from `from`. */
int exi_gen_height(const struct exi_gen *g, uint64_t txnum, uint32_t from,
                   uint32_t *height) EXI_MUST_CHECK;
/* Transactions in blocks below a height; all above the generation's. */
uint64_t exi_gen_first(const struct exi_gen *g, uint64_t height);
/* Transactions in blocks 0 ... height - 1 of the settled chain. */
int exi_view_first(const struct exi_view *v, uint32_t height,
                   uint64_t *txnum) EXI_MUST_CHECK;
/* Makes room for n + 1 elements of `size` in *p (from the arena, doubling). */
int exi_view_grow(const struct exi_arena *a, void **p, size_t *cap, size_t n,
                  size_t size) EXI_MUST_CHECK;

/* What the live layer says of a script. */
struct exi_items {
    struct exi_item *v;
    size_t n;
    size_t cap;
    size_t nconfirmed; /* the first ones; the others are in the mempool */
};

/*
 * exi_read_tx.c
 */
/* Number of a transaction of the generation; uses h.gen and h.iter only.
 * EXI_ENOTFOUND. */
int exi_view_txnum(struct exi_view *v, const struct exi_txid *txid,
                   uint64_t *txnum) EXI_MUST_CHECK;

/*
 * exi_read_items.c
 */
/* Live rows of a script above the generation and in the mempool, in protocol
 * order; good until the next call or the end of the snapshot.  EXI_EMANY: more
 * than `most` (0: any number). */
int exi_view_items(struct exi_view *v, struct exi_items *t,
                   const struct exi_arena *a, const struct exi_skey *s,
                   uint64_t most) EXI_MUST_CHECK;
/* The same above another height than the generation's (live_floor - 1 or
 * more). */
int exi_view_items_above(struct exi_view *v, struct exi_items *t,
                         const struct exi_arena *a, const struct exi_skey *s,
                         uint64_t most, uint32_t height) EXI_MUST_CHECK;
/* A transaction's place from its record. */
void exi_place_of(struct exi_place *at, const struct exi_live_tx *tx);
/* Protocol order: confirmed by place in the chain, then the mempool. */
int exi_place_compare(const struct exi_place *a, const struct exi_place *b);
/* The place as an entry of a history. */
void exi_place_hist(struct exi_hist *h, const struct exi_place *at);

/*
 * exi_read_rows.c
 */

/* A live transaction of a script, gathered. */
struct exi_row {
    struct exi_place at; /* first */
    int64_t delta_sat;   /* funds less spends */
    uint32_t fund;       /* of exi_rows.funds, the first and how many */
    uint32_t nfunds;
};

/* An output that a live transaction spends. */
struct exi_spent {
    struct exi_txid txid;
    uint32_t index;
};

enum exi_gather {
    EXI_GATHER_ROWS,
    EXI_GATHER_ORDER,
    EXI_GATHER_SPENT,
    EXI_GATHER_DONE
};

struct exi_rows {
    unsigned refs; /* one thread */
    struct exi_store *store;
    struct exi_gen *gen;
    struct exi_live_state st;
    bool nowait; /* of the view */
    struct exi_skey key;
    enum exi_gather step;
    struct exi_snap *snap; /* until all rows are copied */
    MDB_cursor *hist;
    MDB_cursor *tx;
    struct exi_runs sort;
    struct exi_row *v; /* in protocol order when done */
    size_t n;
    size_t cap;
    size_t first;      /* the first one above the generation */
    size_t nconfirmed; /* all of them, also below it */
    struct exi_live_fund *funds;
    size_t nfunds;
    size_t funds_cap;
    struct exi_spent *spent; /* ascending when done */
    size_t nspent;
    size_t spent_cap;
};

/*
 * exi_read_unspent.c
 */
int exi_spent_compare(const void *x, const void *y);
bool exi_spent_find(const struct exi_spent *spent, size_t n,
                    const uint8_t *txid, uint32_t index);
/* A `U` row's parts.  EXI_EFORMAT. */
int exi_utxo_parse(const uint8_t *key, size_t keylen, const uint8_t *val,
                   size_t vallen, uint64_t *txnum, uint32_t *index,
                   int64_t *value_sat) EXI_MUST_CHECK;

#endif /* EXI_STORE_H */
