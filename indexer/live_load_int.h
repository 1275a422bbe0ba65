/*
 * Inside of live_load*.c: not for others.  A chunk of blocks goes through
 *
 *   parse  (threads)  bytes -> transactions, txids, script keys of outputs
 *   put    (caller)   rows that need no more than that
 *   rows   (threads, meanwhile)  what inputs spend; `hist` rows, `tx` records
 *   put    (caller)   these
 */
#ifndef LIVE_LOAD_INT_H
#define LIVE_LOAD_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "live_int.h"
#include "live_load.h"
#include "settle_sort.h"

/* A transaction of the chunk. */
struct load_tx {
    struct exi_tx tx;
    struct exi_txid txid;
    struct load_block *block;
    struct live_effect *e; /* outputs by index, then inputs; at the end by
                              script */
    uint32_t nout;         /* of them: outputs that have rows */
    uint32_t n;
    int64_t out_sat;
    size_t rec; /* its `tx` record in block->values */
    uint32_t reclen;
};

/* A block of the chunk; memory of its own. */
struct load_block {
    uint32_t height;
    struct exi_blkid hash;
    uint8_t *raw;
    size_t rawlen;
    struct exi_block b; /* header, ntx, size */
    struct load_tx *tx; /* b.ntx */
    uint32_t first;     /* number of the first one in the chunk */
    struct live_effect *e;
    size_t ne;
    size_t cap_e;
    size_t nin;             /* inputs, coinbases aside */
    uint8_t *txids;         /* value of `blockids` */
    struct live_buf values; /* `hist` values, each behind 4 LE length, and `tx`
                               records */
    size_t used;            /* of values */
    size_t first_hist;      /* its room in the chunk's `hist` */
    size_t nhist;
};

/* Settled outputs that one thread looks up. */
struct load_asks {
    struct exi_past_out *v;
    size_t n;
    size_t cap;
};

struct load_worker;
typedef int (*load_step_pt)(struct load_worker *w);

struct load_worker {
    struct load *ld;
    unsigned number;
    pthread_t thread;
    MDB_txn *rtxn; /* earlier chunks, or NULL */
    struct load_asks asks;
    struct live_rows scratch; /* fund and spend only */
    struct live_buf scripts;
};

struct load {
    struct live *l;
    const struct live_load_opts *o;
    struct load_worker workers[LIVE_LOAD_THREADS];
    unsigned nthreads;
    pthread_mutex_t lock;
    pthread_cond_t work; /* there is a step to do */
    pthread_cond_t idle; /* all have done it */
    unsigned round;      /* number of the step, under the lock */
    unsigned running;    /* threads that have not done it, under the lock */
    load_step_pt step;
    pthread_barrier_t barrier; /* of all threads, in load_rows() */
    bool has_barrier;
    atomic_int rc;      /* first error */
    atomic_size_t turn; /* next block of a step that goes block by block */
    atomic_size_t turn2;

    uint32_t base;             /* height of blocks[0] */
    struct load_block *blocks; /* o->blocks; those of the chunk are filled */
    size_t from, to;           /* the chunk */
    atomic_size_t taken;       /* blocks asked for, of all */
    atomic_size_t held;        /* bytes of the chunk */
    uint64_t first_id;         /* local id of transaction 0 of the chunk */

    struct load_tx **txs; /* of the chunk, in chain order */
    size_t ntx;
    uint32_t *owner; /* their blocks' places in blocks */
    uint32_t *table; /* by txid: number + 1 */
    size_t mask;
    uint64_t seed;

    struct settle_rec *hist; /* script key, number, place of the value */
    struct settle_rec *hist_tmp;
    size_t nhist;
};

/*
 * live_load_parse.c
 */

/* Checks and parses a block; b->raw is set.  EXI_EFORMAT: not the block of its
 * hash; EXI_ENOMEM.  Any thread. */
int load_parse(struct load_block *b) EXI_MUST_CHECK;
void load_block_free(struct load_block *b);

/*
 * live_load_rows.c
 */

/* Numbers the chunk's transactions and makes the table. */
int load_index(struct load *ld) EXI_MUST_CHECK;
/* Forgets the chunk. */
void load_forget(struct load *ld);
/* Thread: what inputs spend, `hist` rows sorted, `tx` records. */
int load_rows(struct load_worker *w) EXI_MUST_CHECK;

/*
 * live_load_put.c
 */

/* Rows of blocks, `raw`, `txid`, `spend`. */
int load_put_early(struct load *ld) EXI_MUST_CHECK;
/* `hist` and `tx`, after load_rows(). */
int load_put_late(struct load *ld) EXI_MUST_CHECK;

#endif /* LIVE_LOAD_INT_H */
