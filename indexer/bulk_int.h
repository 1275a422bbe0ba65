/*
 * Inside of the bulk sync (bulk*.c): not for others.
 *
 *   bulk.c         open, phases, threads, the end
 *   bulk_state.c   state file, checkpoints
 *   bulk_temp.c    partition files
 *   bulk_parse.c   a block -> what the index needs of it (any thread)
 *   bulk_read.c    phase read: blocks in order, flat files
 *   bulk_table.c   hash table of recent unspent outputs
 *   bulk_join.c    phase join
 *   bulk_sort.c    partition -> sorted records in memory
 *   bulk_rows.c    phases txids and rows: tasks; T, O, S rows
 *   bulk_hist.c    H, G and U rows
 */
#ifndef BULK_INT_H
#define BULK_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "bulk.h"
#include "settle_int.h"
#include "settle_load.h"

/* Transaction number and output index in one integer. */
#define BULK_INDEX_BITS 24
#define BULK_WHERE(txnum, index)                                               \
    ((uint64_t) (txnum) << BULK_INDEX_BITS | (uint64_t) (index))

/* An output with rows.  80 bits of keyed hash stand for its outpoint. */
struct bulk_coin {
    uint64_t fp; /* 0: none (a free slot) */
    uint16_t fp2;
    struct exi_skey s;
    uint64_t where; /* BULK_WHERE */
    int64_t value_sat;
};

/* An input. */
struct bulk_spend {
    uint64_t fp;
    uint16_t fp2;
};

/* Secret of the fingerprints. */
struct bulk_key {
    uint64_t k[8];
};

/*
 * Partition files.
 */
enum bulk_kind {
    BULK_K_HIST,     /* history of an output, by script key */
    BULK_K_UTXO,     /* unspent output, by script key */
    BULK_K_TXID,     /* by txid */
    BULK_K_CREATE,   /* struct bulk_coin, by fingerprint */
    BULK_K_SPEND,    /* input, by fingerprint */
    BULK_K_OUTPOINT, /* unspent output, by txnum */
    BULK_K_SPENDER,  /* spent output, by txnum */
    BULK_KINDS
};

/* Bytes of records; HIST is of variable length, this is its longest. */
#define BULK_HIST_MAX     28
#define BULK_UTXO_LEN     29
#define BULK_TXID_LEN     12
#define BULK_SPEND_LEN    15
#define BULK_OUTPOINT_LEN 22
#define BULK_PIECE_LEN    23 /* instead, of a coin with tokens */
#define BULK_SPENDER_LEN  13
#define BULK_REC_MAX      40

/* All partitions of a kind, 2^bits of them. */
struct bulk_temp {
    char dir[FS_PATH_MAX];
    enum bulk_kind kind;
    unsigned bits;
    atomic_ullong *len; /* bytes in each file */
    uint32_t removed;   /* files before this one were removed */
};

/* One thread's buffers for a kind. */
struct bulk_out {
    struct bulk_temp *t;
    uint8_t *buf; /* size bytes for each partition */
    uint32_t *fill;
    uint32_t size;
    int rc; /* of the last flush that failed */
};

/* A partition being read, in pieces. */
struct bulk_in {
    int fd;
    uint64_t left; /* bytes not in buf yet */
    uint64_t off;
    uint8_t *buf; /* BULK_IN_SIZE */
    const uint8_t *p;
    const uint8_t *end;
};
#define BULK_IN_SIZE (256u << 10)

/* A record to be sorted: by a, b, c. */
struct bulk_rec {
    uint64_t a, b, c, d;
};

/* Growing flat records not written yet. */
struct bulk_flatbuf {
    uint8_t *p;
    size_t n; /* records */
    size_t cap;
};

struct bulk_table {
    struct bulk_coin *slots;
    uint64_t nslots;
    uint64_t max_slots;
    uint64_t count;
};

/* Token data of an output. */
struct bulk_token {
    size_t out;  /* into outs */
    uint32_t at; /* in token_bytes */
    uint32_t len;
};

/* What a block gives. */
struct bulk_unit {
    struct bulk_unit *next; /* in the list of free ones */
    uint32_t height;
    struct exi_blkid hash;
    uint8_t header[EXI_HEADER_LEN];
    uint32_t size;
    uint32_t ntx;
    struct exi_hash *txids;
    uint32_t *offsets;
    uint32_t *nin;  /* inputs of a transaction; none of a coinbase */
    uint32_t *nout; /* outputs with rows */
    struct bulk_spend *ins;
    struct bulk_coin *outs; /* where: index only */
    struct bulk_token *tokens;
    uint8_t *token_bytes;
    size_t nins, nouts, ntokens, ntoken_bytes;
    struct exi_hash *leaves; /* scratch */
    size_t cap_tx, cap_offsets, cap_nin, cap_nout, cap_ins, cap_outs,
        cap_leaves, cap_tokens, cap_token_bytes;
};

/* A piece of the phases txids and rows. */
struct bulk_task {
    enum bulk_kind kind; /* HIST: with UTXO */
    uint32_t from, to;   /* partitions from ... to - 1 */
    uint64_t bytes;      /* of input */
    bool done;
    bool removed; /* its input was */
};

/* What the index has in all. */
struct bulk_counts {
    uint64_t utxos, hist, rows;
};

/* Written to the state file, with the lengths of the partition files. */
struct bulk_state {
    enum bulk_phase phase;
    uint32_t blocks; /* read */
    struct exi_blkid tip;
    uint64_t txs;
    uint64_t coins; /* in the table's file */
    uint8_t dump;   /* which of the two files, or 2: none */
    struct bulk_key key;
    uint8_t bits[BULK_KINDS];
    uint8_t span;    /* 1 << span transactions in a partition by txnum */
    uint32_t joined; /* partitions */
    struct bulk_counts counts;
    uint64_t *dead; /* replaced transactions, ascending */
    size_t ndead;
    struct bulk_task *tasks; /* of both phases; done: recorded here */
    size_t ntasks;
    struct settle_table *tables;
    size_t ntables;
    uint64_t next_table;
};

struct bulk {
    struct settle *settle;
    struct bulk_opts o;
    struct exi_params params;
    unsigned coin; /* exi_coin.h */
    unsigned threads;
    char dir[FS_PATH_MAX]; /* settled/<epoch>/bulk */
    struct bulk_state st;
    struct bulk_temp temp[BULK_KINDS];
    struct flat *flat;
    pthread_mutex_t flat_lock; /* for reading it in several threads */
    struct bulk_flatbuf fbuf[EXI_FLAT_N];
    struct bulk_table table;
    struct bulk_out out[BULK_KINDS]; /* phase read */
    uint64_t saved_ms;               /* when the last checkpoint was */
    uint64_t flat_kicked;            /* txids whose writing was begun */
    size_t cap_dead, cap_tables;

    /* Progress: any thread writes, the main thread reads. */
    atomic_ullong bytes, done, total;
    atomic_uint height, time;
    atomic_ullong txs;
    atomic_int stop; /* what the progress function said, or an error */

    pthread_mutex_t lock; /* tasks, tables, counts, dead */
    struct bulk_stats stats;
    double phase_wall, phase_cpu; /* at its begin */
};

/* bulk.c */

uint64_t bulk_now_ms(void);
/* Adds the time from one to the other to the statistics of a phase. */
void bulk_phase_begin(struct bulk *b);
void bulk_phase_end(struct bulk *b, enum bulk_phase phase);
/* Runs fn in n threads and tells progress; the first error, or what the
 * progress function returned. */
typedef int (*bulk_work_pt)(struct bulk *b, unsigned worker, void *ctx);
int bulk_run(struct bulk *b, unsigned n, bulk_work_pt fn,
             void *ctx) EXI_MUST_CHECK;
/* Memory for one of n threads, beside its output buffers. */
size_t bulk_share(const struct bulk *b);
/* Remembers how much temporary data there is. */
void bulk_note_temp(struct bulk *b);
/* Txid of a transaction that was read.  Any thread, but not in phase read. */
int bulk_txid(struct bulk *b, uint64_t txnum,
              struct exi_txid *out) EXI_MUST_CHECK;
bool bulk_dead(const struct bulk *b, uint64_t txnum);

/* bulk_state.c */

/* EXI_ENOTFOUND: there is none; EXI_EFORMAT: damaged. */
int bulk_state_load(struct bulk *b) EXI_MUST_CHECK;
bool bulk_checkpoint_due(const struct bulk *b);
/* Makes all that was written durable, then the state.  Buffers must have been
 * flushed and no other thread may write temporary files. */
int bulk_checkpoint(struct bulk *b) EXI_MUST_CHECK;

/* Makes all files below the bulk directory durable. */
int bulk_sync(const struct bulk *b) EXI_MUST_CHECK;

/* bulk_temp.c */

int bulk_temp_init(struct bulk_temp *t, const char *dir, enum bulk_kind kind,
                   unsigned bits) EXI_MUST_CHECK;
void bulk_temp_free(struct bulk_temp *t);
/* Cuts all files to their recorded lengths. */
int bulk_temp_cut(struct bulk_temp *t) EXI_MUST_CHECK;
/* Removes the files of partitions from ... to - 1. */
void bulk_temp_remove(struct bulk_temp *t, uint32_t from, uint32_t to);
uint64_t bulk_temp_bytes(const struct bulk_temp *t, uint32_t from, uint32_t to);
int bulk_out_init(struct bulk_out *o, struct bulk_temp *t,
                  uint32_t size) EXI_MUST_CHECK;
void bulk_out_free(struct bulk_out *o);
int bulk_out_flush(struct bulk_out *o) EXI_MUST_CHECK;
int bulk_out_flush_one(struct bulk_out *o, uint32_t part) EXI_MUST_CHECK;
int bulk_in_open(struct bulk_in *in, const struct bulk_temp *t,
                 uint32_t part) EXI_MUST_CHECK;
/* At least BULK_REC_MAX bytes from in->p on, or all that is left; false at the
 * end of the file or after a read error (in->left is not 0 then). */
bool bulk_in_fill(struct bulk_in *in);
void bulk_in_close(struct bulk_in *in);

/* Room for a record of at most BULK_REC_MAX bytes; NULL: a write failed.
 * The caller adds its length to o->fill[part]. */
static inline uint8_t *
bulk_out_room(struct bulk_out *o, uint32_t part)
{
    if (o->fill[part] + BULK_REC_MAX > o->size
        && (o->rc = bulk_out_flush_one(o, part)) != EXI_OK) {
        return NULL;
    }
    return o->buf + (size_t) part * o->size + o->fill[part];
}

/* Partition of a hash that begins with h. */
static inline uint32_t
bulk_part(const uint8_t *h, unsigned bits)
{
    return exi_be32(h) >> (32 - bits);
}

/* Partition by transaction number. */
static inline uint32_t
bulk_part_tx(const struct bulk *b, uint64_t txnum)
{
    uint64_t p = txnum >> b->st.span;
    uint64_t last = (1u << b->st.bits[BULK_K_OUTPOINT]) - 1;

    return (uint32_t) (p < last ? p : last);
}

/* The records (docs/index-format.md, section 8).  spent: txnum, 0 = unspent.
 * EXI_EIO, EXI_ESPACE. */
int bulk_put_hist(struct bulk_out *o, const struct bulk_coin *c,
                  uint64_t spent) EXI_MUST_CHECK;
int bulk_put_txid(struct bulk_out *o, const struct exi_hash *txid,
                  uint64_t txnum) EXI_MUST_CHECK;
int bulk_put_create(struct bulk_out *o,
                    const struct bulk_coin *c) EXI_MUST_CHECK;
int bulk_put_spend(struct bulk_out *o, const struct bulk_spend *in,
                   uint64_t txnum) EXI_MUST_CHECK;
int bulk_put_utxo(struct bulk_out *o, const struct bulk_coin *c) EXI_MUST_CHECK;
int bulk_put_outpoint(struct bulk_out *o, const struct bulk *b,
                      const struct bulk_coin *c) EXI_MUST_CHECK;
/* Token data of the output at `where`. */
int bulk_put_token(struct bulk_out *o, const struct bulk *b, uint64_t where,
                   const uint8_t *data, size_t len) EXI_MUST_CHECK;
int bulk_put_spender(struct bulk_out *o, const struct bulk *b,
                     const struct bulk_coin *c, uint64_t spent) EXI_MUST_CHECK;

/* bulk_parse.c */

void bulk_unit_free(struct bulk_unit *u);
size_t bulk_unit_bytes(const struct bulk_unit *u);
/* coin: flags of exi_coin.h.  EXI_EFORMAT: not a valid block; EXI_ELIMIT;
 * EXI_ENOMEM. */
int bulk_parse(struct bulk_unit *u, const struct bulk_key *key, unsigned coin,
               uint32_t height, const uint8_t *raw,
               size_t rawlen) EXI_MUST_CHECK;

/* bulk_table.c */

int bulk_table_init(struct bulk_table *t, uint64_t max_bytes) EXI_MUST_CHECK;
void bulk_table_free(struct bulk_table *t);
/* Has no room for n more. */
bool bulk_table_full(const struct bulk_table *t, uint64_t n);
/* Makes it larger: 1; 0: it has its full size; EXI_ENOMEM: entries are lost. */
int bulk_table_grow(struct bulk_table *t) EXI_MUST_CHECK;
/* Enters *c; true: an entry of the same outpoint was there, now in *old. */
bool bulk_table_put(struct bulk_table *t, const struct bulk_coin *c,
                    struct bulk_coin *old);
bool bulk_table_take(struct bulk_table *t, const struct bulk_spend *in,
                     struct bulk_coin *out);
/* Takes out all entries below `where` and gives them to fn. */
typedef int (*bulk_table_pt)(void *ctx, const struct bulk_coin *c);
int bulk_table_evict(struct bulk_table *t, uint64_t where, bulk_table_pt fn,
                     void *ctx) EXI_MUST_CHECK;
/* A `where` below which about half of the entries are. */
uint64_t bulk_table_median(const struct bulk_table *t);
/* All entries to a new file. */
int bulk_table_save(const struct bulk_table *t,
                    const char *path) EXI_MUST_CHECK;
/* Calls fn with each of the n entries in such a file. */
int bulk_table_each(const char *path, uint64_t n, bulk_table_pt fn,
                    void *ctx) EXI_MUST_CHECK;

static inline uint64_t
bulk_table_home(const struct bulk_table *t, uint64_t fp)
{
    return (uint64_t) ((unsigned __int128) fp * t->nslots >> 64);
}

static inline void
bulk_table_prefetch(const struct bulk_table *t, uint64_t fp)
{
    const char *p = (const char *) &t->slots[bulk_table_home(t, fp)];

    __builtin_prefetch(p, 1);
    __builtin_prefetch(p + 64, 1);
}

/* bulk_read.c */

int bulk_read_begin(struct bulk *b) EXI_MUST_CHECK;
/* Fills the table from the file of a checkpoint. */
int bulk_read_restore(struct bulk *b, const char *path) EXI_MUST_CHECK;
/* Frees what only the phase read needs. */
void bulk_read_end(struct bulk *b);
/* All buffers to files. */
int bulk_read_flush(struct bulk *b) EXI_MUST_CHECK;
/* Everything in the table goes to the partition files. */
int bulk_read_spill(struct bulk *b) EXI_MUST_CHECK;

/* bulk_join.c */

int bulk_join(struct bulk *b) EXI_MUST_CHECK;

/* bulk_sort.c */

void bulk_sort(struct bulk_rec *r, size_t n);

/* Turns the bytes at p into a record; its length. */
typedef size_t (*bulk_decode_pt)(const uint8_t *p, uint32_t part, unsigned bits,
                                 struct bulk_rec *out);
/* Takes records in order: whole rows at a time. */
typedef int (*bulk_sorted_pt)(void *ctx, struct bulk_rec *r, size_t n);

/* One thread's memory for sorting. */
struct bulk_sorter {
    struct bulk_rec *rec;
    size_t cap;   /* records */
    size_t limit; /* use no more if possible */
    uint64_t *at; /* BULK_RADIX + 1 counts */
    uint8_t *inbuf;
};
#define BULK_RADIX_BITS 12
int bulk_sorter_init(struct bulk_sorter *s, size_t memory) EXI_MUST_CHECK;
void bulk_sorter_free(struct bulk_sorter *s);

/* What is sorted: files of one partition, and how `a` is spread in it. */
struct bulk_sort_job {
    const struct bulk_temp *t[2]; /* the second may be NULL */
    bulk_decode_pt decode[2];
    uint32_t part;
    uint64_t low;   /* lowest a */
    unsigned width; /* a - low < 1 << width, but in the last partition */
    unsigned row;   /* records with equal (a - low) >> row stay together */
    bulk_sorted_pt fn;
    void *ctx;
};
int bulk_sort_run(struct bulk_sorter *s,
                  const struct bulk_sort_job *j) EXI_MUST_CHECK;

/* bulk_rows.c */

/* A thread at work on a task. */
struct bulk_maker {
    struct bulk *b;
    struct bulk_sorter sorter;
    struct settle_load *load[3]; /* HIST: H, G, U; else the first */
    struct settle_buf row, list; /* row: also an O row under way */
    uint64_t *txnums;
    size_t cap_txnums;
    struct bulk_counts counts; /* of the task */
    uint64_t *dead;            /* found by the task */
    size_t ndead, cap_dead;
};
int bulk_rows_plan(struct bulk *b) EXI_MUST_CHECK;
int bulk_rows(struct bulk *b, enum bulk_phase phase) EXI_MUST_CHECK;
/* Removes what tasks have used and the state says so. */
void bulk_rows_clean(struct bulk *b);
/* Tables of a phase that the state does not know: removed. */
int bulk_rows_recover(struct bulk *b) EXI_MUST_CHECK;

/* bulk_hist.c */

int bulk_hist_task(struct bulk_maker *m, uint32_t from,
                   uint32_t to) EXI_MUST_CHECK;

#endif /* BULK_INT_H */
