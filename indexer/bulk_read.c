/*
 * Phase read.
 *
 * Threads take blocks from the source, parse and hash them on their own, and
 * put what they found into a ring by height.  Whoever completes the next
 * height in line becomes the sequencer and works off what is ready: numbers
 * transactions, lets inputs meet their outputs in the table, writes records
 * and flat files.  So the sequential part needs no thread of its own, and no
 * thread waits for it unless the ring is full.
 */
#include "bulk_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_coin.h"
#include "lib/exi_merkle.h"
#include "log.h"

#define RING       512
#define AHEAD      12 /* outpoints between prefetch and use */
#define FLAT_BYTES (512u << 10)
#define OUT_MAX    (32u << 10)
#define OUT_MIN    256

struct reader {
    struct bulk *b;
    const struct bulk_source *src;
    size_t max_held;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct bulk_unit *ready[RING];
    struct bulk_unit *free;
    uint32_t taken; /* blocks asked for */
    uint32_t next;  /* block that comes next in line */
    size_t held;    /* bytes of units that wait for it */
    size_t spare;   /* of free ones */
    bool sequencing;
    bool ended; /* the source has no more, or failed */
    int src_rc;
};

/*
 * Sequential part.
 */

static int
put_spent(struct bulk *b, const struct bulk_coin *c, uint64_t spent)
{
    int rc = bulk_put_hist(&b->out[BULK_K_HIST], c, spent);

    if (rc == EXI_OK && b->params.spender) {
        rc = bulk_put_spender(&b->out[BULK_K_SPENDER], b, c, spent);
    }
    return rc;
}

static int
spill_one(void *ctx, const struct bulk_coin *c)
{
    struct bulk *b = ctx;

    b->stats.spills++;
    return bulk_put_create(&b->out[BULK_K_CREATE], c);
}

/* The older half leaves a table that is full. */
static int
make_room(struct bulk *b)
{
    int rc = bulk_table_grow(&b->table);

    if (rc != 0) {
        return rc == 1 ? EXI_OK : rc;
    }
    return bulk_table_evict(&b->table, bulk_table_median(&b->table), spill_one,
                            b);
}

/*
 * An output whose outpoint is in the table: a duplicate coinbase.  The older
 * one goes where unspent ones go; the join notices if it is another outpoint.
 */
static int
put_coin(struct bulk *b, struct bulk_coin *c)
{
    struct bulk_coin old;

    if (bulk_table_full(&b->table, 1)) {
        int rc = make_room(b);

        if (rc != EXI_OK) {
            return rc;
        }
    }
    if (!bulk_table_put(&b->table, c, &old)) {
        return EXI_OK;
    }
    if ((old.where ^ c->where) << (64 - BULK_INDEX_BITS) != 0) {
        log_error("bulk", "fingerprints of two outpoints are equal");
        return EXI_EFORMAT;
    }
    return spill_one(b, &old);
}

static int
take_input(struct bulk *b, const struct bulk_spend *in, uint64_t txnum)
{
    struct bulk_coin c;

    if (bulk_table_take(&b->table, in, &c)) {
        return put_spent(b, &c, txnum);
    }
    b->stats.misses++;
    return bulk_put_spend(&b->out[BULK_K_SPEND], in, txnum);
}

static void
prefetch_first(const struct bulk *b, const struct bulk_unit *u)
{
    for (size_t i = 0; i < AHEAD && i < u->nins; i++) {
        bulk_table_prefetch(&b->table, u->ins[i].fp);
    }
    for (size_t i = 0; i < AHEAD && i < u->nouts; i++) {
        bulk_table_prefetch(&b->table, u->outs[i].fp);
    }
}

/* Inputs of transaction number i, from number *in on. */
static inline int
add_ins(struct bulk *b, const struct bulk_unit *u, uint32_t i, size_t *in)
{
    size_t k = *in, end = k + u->nin[i];
    int rc = EXI_OK;

    for (; rc == EXI_OK && k < end; k++) {
        if (k + AHEAD < u->nins) {
            bulk_table_prefetch(&b->table, u->ins[k + AHEAD].fp);
        }
        rc = take_input(b, &u->ins[k], b->st.txs + i);
    }
    *in = k;
    return rc;
}

/* Its outputs, from number *out on, and its txid. */
static inline int
add_outs(struct bulk *b, const struct bulk_unit *u, uint32_t i, size_t *out)
{
    uint64_t txnum = b->st.txs + i;
    size_t k = *out, end = k + u->nout[i];
    int rc = EXI_OK;

    for (; rc == EXI_OK && k < end; k++) {
        if (k + AHEAD < u->nouts) {
            bulk_table_prefetch(&b->table, u->outs[k + AHEAD].fp);
        }
        u->outs[k].where |= BULK_WHERE(txnum, 0);
        rc = put_coin(b, &u->outs[k]);
    }
    *out = k;
    return rc == EXI_OK
               ? bulk_put_txid(&b->out[BULK_K_TXID], &u->txids[i], txnum)
               : rc;
}

/* A block in canonical order: outputs first, inputs may be before them. */
static int
add_txs_any_order(struct bulk *b, struct bulk_unit *u)
{
    size_t in = 0, out = 0;
    int rc = EXI_OK;

    for (uint32_t i = 0; rc == EXI_OK && i < u->ntx; i++) {
        rc = add_outs(b, u, i, &out);
    }
    for (uint32_t i = 0; rc == EXI_OK && i < u->ntx; i++) {
        rc = add_ins(b, u, i, &in);
    }
    return rc;
}

/* Token data of the block's outputs, whose places are known now. */
static int
add_tokens(struct bulk *b, const struct bulk_unit *u)
{
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < u->ntokens; i++) {
        const struct bulk_token *t = &u->tokens[i];

        rc = bulk_put_token(&b->out[BULK_K_OUTPOINT], b, u->outs[t->out].where,
                            u->token_bytes + t->at, t->len);
    }
    return rc;
}

static int
add_txs(struct bulk *b, struct bulk_unit *u)
{
    size_t in = 0, out = 0;
    int rc = EXI_OK;

    prefetch_first(b, u);
    if (b->coin & EXI_COIN_CTOR) {
        rc = add_txs_any_order(b, u);
        return rc == EXI_OK ? add_tokens(b, u) : rc;
    }
    for (uint32_t i = 0; rc == EXI_OK && i < u->ntx; i++) {
        rc = add_ins(b, u, i, &in);
        if (rc == EXI_OK) {
            rc = add_outs(b, u, i, &out);
        }
    }
    return rc;
}

/*
 * Flat files, through buffers: blocks may be tiny.
 */

static int
flat_flush(struct bulk *b, enum exi_flat f)
{
    struct bulk_flatbuf *x = &b->fbuf[f];
    int rc = flat_append(b->flat, f, x->p, x->n);

    x->n = 0;
    if (rc != EXI_OK) {
        log_error("bulk", "flat files: %s", strerror(errno));
    }
    return rc == EXI_ENOTFOUND ? EXI_EIO : rc;
}

static int
flat_put(struct bulk *b, enum exi_flat f, const void *records, size_t n)
{
    struct bulk_flatbuf *x = &b->fbuf[f];
    size_t size = exi_flat_defs[f].record;
    int rc = settle_grow(&x->p, &x->cap, (x->n + n) * size, 1);

    if (rc == EXI_OK) {
        memcpy(x->p + x->n * size, records, n * size);
        x->n += n;
        rc = x->n * size >= FLAT_BYTES ? flat_flush(b, f) : EXI_OK;
    }
    return rc;
}

static int
read_node(void *ctx, uint64_t index, struct exi_hash *out)
{
    struct bulk *b = ctx;
    uint64_t written = flat_count(b->flat, EXI_FLAT_HMERKLE);

    if (index < written) {
        return flat_read(b->flat, EXI_FLAT_HMERKLE, index, 1, out);
    }
    if (index - written >= b->fbuf[EXI_FLAT_HMERKLE].n) {
        return EXI_EFORMAT;
    }
    memcpy(out->b,
           b->fbuf[EXI_FLAT_HMERKLE].p + (index - written) * EXI_HASH_LEN,
           EXI_HASH_LEN);
    return EXI_OK;
}

static int
add_flat(struct bulk *b, struct bulk_unit *u)
{
    struct exi_hash leaf, nodes[64];
    uint8_t count[8], size[4];
    size_t n;
    int rc;

    for (uint32_t i = 0; i < u->ntx; i++) {
        exi_put_le32((uint8_t *) &u->offsets[i], u->offsets[i]);
    }
    exi_put_le64(count, b->st.txs + u->ntx);
    exi_put_le32(size, u->size);
    memcpy(leaf.b, u->hash.b, EXI_HASH_LEN);
    rc = exi_hmerkle_append(nodes, &n, u->height, &leaf, read_node, b);
    if (rc == EXI_OK) {
        rc = flat_put(b, EXI_FLAT_HMERKLE, nodes, n);
    }
    if (rc == EXI_OK) {
        rc = flat_put(b, EXI_FLAT_HEADERS, u->header, 1);
    }
    if (rc == EXI_OK) {
        rc = flat_put(b, EXI_FLAT_TXCOUNTS, count, 1);
    }
    if (rc == EXI_OK) {
        rc = flat_put(b, EXI_FLAT_BLOCKSIZES, size, 1);
    }
    if (rc == EXI_OK) {
        rc = flat_put(b, EXI_FLAT_TXIDS, u->txids, u->ntx);
    }
    return rc == EXI_OK ? flat_put(b, EXI_FLAT_TXOFFSETS, u->offsets, u->ntx)
                        : rc;
}

static int
check_link(const struct bulk *b, const struct bulk_unit *u)
{
    const uint8_t *want = b->st.tip.b, *got = u->header + 4;

    if (u->height == 0) {
        want = b->params.genesis.b;
        got = u->hash.b;
    }
    return memcmp(want, got, EXI_HASH_LEN) == 0 ? EXI_OK : EXI_EAPI;
}

static int
add_unit(struct bulk *b, struct bulk_unit *u)
{
    int rc = check_link(b, u);

    if (rc == EXI_OK) {
        rc = add_txs(b, u);
    }
    if (rc == EXI_OK) {
        rc = add_flat(b, u);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    b->st.blocks++;
    b->st.txs += u->ntx;
    b->st.tip = u->hash;
    atomic_store(&b->height, u->height);
    atomic_store(&b->time, exi_le32(u->header + 68));
    atomic_store(&b->txs, b->st.txs);
    atomic_fetch_add(&b->bytes, u->size);
    atomic_fetch_add(&b->done, 1);
    return bulk_checkpoint_due(b) ? bulk_checkpoint(b) : EXI_OK;
}

/*
 * Parallel part.  Functions with _locked are called with the lock held.
 */

static struct bulk_unit *
unit_locked(struct reader *r)
{
    struct bulk_unit *u = r->free;

    if (u != NULL) {
        r->free = u->next;
        r->spare -= bulk_unit_bytes(u);
        return u;
    }
    return calloc(1, sizeof(*u));
}

/* Keeps some for later. */
static void
unit_back_locked(struct reader *r, struct bulk_unit *u)
{
    size_t bytes = bulk_unit_bytes(u);

    if (r->spare + bytes > r->max_held / 4) {
        bulk_unit_free(u);
        return;
    }
    r->spare += bytes;
    u->next = r->free;
    r->free = u;
}

/* Works off what is ready, in order. */
static int
sequence_locked(struct reader *r)
{
    struct bulk_unit *u;
    int rc = EXI_OK;

    if (r->sequencing) {
        return rc;
    }
    r->sequencing = true;
    while (rc == EXI_OK && (u = r->ready[r->next % RING]) != NULL) {
        r->ready[r->next % RING] = NULL;
        r->held -= bulk_unit_bytes(u);
        pthread_mutex_unlock(&r->lock);
        rc = add_unit(r->b, u);
        pthread_mutex_lock(&r->lock);
        unit_back_locked(r, u);
        r->next++;
        pthread_cond_broadcast(&r->changed);
    }
    r->sequencing = false;
    return rc;
}

/* Waits until a block may be taken; false: there are no more. */
static bool
may_take_locked(struct reader *r)
{
    while (!r->ended && !atomic_load(&r->b->stop)
           && (r->taken - r->next >= RING
               || (r->held > r->max_held && r->taken != r->next))) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    return !r->ended && !atomic_load(&r->b->stop);
}

static int
parse(const struct reader *r, struct bulk_unit *u,
      const struct source_block *blk)
{
    int rc = bulk_parse(u, &r->b->st.key, r->b->coin, blk->height, blk->raw,
                        blk->rawlen);

    return rc == EXI_OK
                   && memcmp(u->hash.b, blk->hash.b, sizeof(blk->hash.b)) != 0
               ? EXI_EFORMAT
               : rc;
}

/* Takes a block and parses it into u; 1, 0: no more, or an error. */
static int
take_block(struct reader *r, struct bulk_unit *u)
{
    struct source_block blk;
    int rc = r->src->next(r->src->ctx, &blk);

    if (rc != 1) {
        pthread_mutex_lock(&r->lock);
        r->ended = true;
        if (rc != 0 && r->src_rc == EXI_OK) {
            r->src_rc = rc;
        }
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        return 0;
    }
    rc = parse(r, u, &blk);
    if (rc == EXI_EFORMAT && r->src->reject != NULL) {
        log_warn("bulk", "block %u is damaged: trying the node", blk.height);
        rc = r->src->reject(r->src->ctx, &blk);
        if (rc == EXI_OK) {
            rc = parse(r, u, &blk);
        }
    }
    if (rc == EXI_EFORMAT) {
        log_error("bulk", "block %u is damaged", blk.height);
    }
    r->src->give_back(r->src->ctx, &blk);
    return rc == EXI_OK ? 1 : rc;
}

static int
read_worker(struct bulk *b, unsigned worker, void *ctx)
{
    struct reader *r = ctx;
    struct bulk_unit *u;
    int rc = 1;

    (void) b;
    (void) worker;
    pthread_mutex_lock(&r->lock);
    while (rc == 1 && may_take_locked(r)) {
        r->taken++;
        u = unit_locked(r);
        if (u == NULL) {
            rc = EXI_ENOMEM;
            break;
        }
        pthread_mutex_unlock(&r->lock);
        rc = take_block(r, u);
        pthread_mutex_lock(&r->lock);
        if (rc == 1 && u->height - r->next >= RING) {
            rc = EXI_EAPI;
        }
        if (rc == 1) {
            r->ready[u->height % RING] = u;
            r->held += bulk_unit_bytes(u);
            rc = sequence_locked(r);
            rc = rc == EXI_OK ? 1 : rc;
        } else {
            unit_back_locked(r, u);
        }
    }
    r->ended = r->ended || rc < 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return rc < 0 ? rc : EXI_OK;
}

static void
free_units(struct reader *r)
{
    struct bulk_unit *u, *next;

    for (u = r->free; u != NULL; u = next) {
        next = u->next;
        bulk_unit_free(u);
    }
    for (unsigned i = 0; i < RING; i++) {
        bulk_unit_free(r->ready[i]);
    }
}

int
bulk_read(struct bulk *b, const struct bulk_source *src, uint32_t to)
{
    struct reader *r;
    int rc, src_rc;

    if (b->st.phase != BULK_READ || b->st.blocks > to) {
        return b->st.phase == BULK_READ ? EXI_OK : EXI_EAPI;
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return EXI_ENOMEM;
    }
    r->b = b;
    r->src = src;
    r->max_held = b->o.memory / 12;
    r->taken = r->next = b->st.blocks;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    atomic_store(&b->done, b->st.blocks);
    atomic_store(&b->total, (uint64_t) to + 1);
    bulk_phase_begin(b);
    rc = bulk_run(b, b->threads, read_worker, r);
    bulk_phase_end(b, BULK_READ);
    src_rc = r->src_rc;
    free_units(r);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
    if (rc > 0
        || (rc == EXI_OK && (src_rc != EXI_OK || bulk_checkpoint_due(b)))) {
        int saved = bulk_checkpoint(b);

        rc = saved == EXI_OK ? rc : saved;
    }
    return rc == EXI_OK ? src_rc : rc;
}

/*
 * Begin and end.
 */

static const enum bulk_kind written[] = { BULK_K_HIST,    BULK_K_TXID,
                                          BULK_K_CREATE,  BULK_K_SPEND,
                                          BULK_K_SPENDER, BULK_K_OUTPOINT };
#define NWRITTEN (sizeof(written) / sizeof(written[0]))

/* Does phase read write that kind?  (OUTPOINT: token data) */
static bool
is_written(const struct bulk *b, enum bulk_kind kind)
{
    return (kind != BULK_K_SPENDER || b->params.spender)
           && (kind != BULK_K_OUTPOINT || b->coin & EXI_COIN_TOKENS);
}

/* Size of a partition's buffer, so that all of them take `bytes`. */
static uint32_t
out_size(const struct bulk *b, size_t bytes)
{
    size_t parts = 0;

    for (size_t i = 0; i < NWRITTEN; i++) {
        if (written[i] != BULK_K_OUTPOINT || is_written(b, written[i])) {
            parts += (size_t) 1 << b->st.bits[written[i]];
        }
    }
    bytes /= parts;
    return (uint32_t) (bytes > OUT_MAX   ? OUT_MAX
                       : bytes < OUT_MIN ? OUT_MIN
                                         : bytes);
}

int
bulk_read_begin(struct bulk *b)
{
    uint32_t size = out_size(b, b->o.memory / 10);
    int rc = bulk_table_init(&b->table, b->o.memory / 2);

    for (size_t i = 0; rc == EXI_OK && i < NWRITTEN; i++) {
        if (is_written(b, written[i])) {
            rc = bulk_out_init(&b->out[written[i]], &b->temp[written[i]], size);
        }
    }
    return rc;
}

static int
restore_one(void *ctx, const struct bulk_coin *c)
{
    struct bulk_coin copy = *c;

    return put_coin(ctx, &copy);
}

/* The memory may be less than it was: then some of them are spilled. */
int
bulk_read_restore(struct bulk *b, const char *path)
{
    return bulk_table_each(path, b->st.coins, restore_one, b);
}

void
bulk_read_end(struct bulk *b)
{
    for (size_t i = 0; i < NWRITTEN; i++) {
        bulk_out_free(&b->out[written[i]]);
    }
    for (int i = 0; i < EXI_FLAT_N; i++) {
        free(b->fbuf[i].p);
        memset(&b->fbuf[i], 0, sizeof(b->fbuf[i]));
    }
    bulk_table_free(&b->table);
}

int
bulk_read_flush(struct bulk *b)
{
    int rc = EXI_OK;

    for (int i = 0; rc == EXI_OK && i < EXI_FLAT_N; i++) {
        rc = flat_flush(b, (enum exi_flat) i);
    }
    for (size_t i = 0; rc == EXI_OK && i < NWRITTEN; i++) {
        if (b->out[written[i]].buf != NULL) {
            rc = bulk_out_flush(&b->out[written[i]]);
        }
    }
    return rc;
}

int
bulk_read_spill(struct bulk *b)
{
    int rc = bulk_table_evict(&b->table, UINT64_MAX, spill_one, b);

    return rc == EXI_OK ? bulk_read_flush(b) : rc;
}
