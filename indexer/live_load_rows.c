/*
 * Loading blocks into a new live environment: what inputs spend, and the rows
 * made of it.  Each thread takes one block after the other; three steps with
 * all threads between them at the same step:
 *
 *   1. Outputs of the chunk's own transactions (a table by txid), else of
 *      earlier chunks (live rows), else noted as settled; those all at once.
 *   2. Effects by script; `hist` values and `tx` records into the block's own
 *      memory.
 *   3. One thread sorts the `hist` rows of the chunk.
 *
 * The table's places are mixed with a secret, as anyone can choose txids at
 * some cost.
 */
#include "live_load_int.h"

#include <stdlib.h>

#include "lib/exi_script.h"

/*
 * The chunk's transactions.
 */

static size_t
place(const struct load *ld, const uint8_t *txid)
{
    uint64_t h = (exi_le64(txid) ^ ld->seed) * 0x9e3779b97f4a7c15u;

    h ^= h >> 29;
    h = (h + exi_le64(txid + 8)) * 0xbf58476d1ce4e5b9u;
    return (size_t) (h >> 20) & ld->mask;
}

/* Transaction of the chunk with that txid, or NULL. */
static struct load_tx *
find(const struct load *ld, const uint8_t *txid, uint32_t *number)
{
    for (size_t i = place(ld, txid); ld->table[i] != 0;
         i = (i + 1) & ld->mask) {
        struct load_tx *t = ld->txs[ld->table[i] - 1];
        if (memcmp(t->txid.b, txid, EXI_HASH_LEN) == 0) {
            *number = ld->table[i] - 1;
            return t;
        }
    }
    return NULL;
}

static int
enter(struct load *ld, uint32_t number)
{
    const uint8_t *txid = ld->txs[number]->txid.b;
    uint32_t other;
    size_t i;

    if (find(ld, txid, &other) != NULL) {
        return EXI_EFORMAT;
    }
    for (i = place(ld, txid); ld->table[i] != 0; i = (i + 1) & ld->mask) {
    }
    ld->table[i] = number + 1;
    return EXI_OK;
}

/* Memory for the chunk's ntx transactions and ne effects. */
static int
index_room(struct load *ld, size_t ne)
{
    size_t slots = 1024;

    while (slots < ld->ntx * 2) {
        slots *= 2;
    }
    ld->mask = slots - 1;
    ld->txs = malloc((ld->ntx + 1) * sizeof(*ld->txs));
    ld->owner = malloc((ld->ntx + 1) * sizeof(*ld->owner));
    ld->table = calloc(slots, sizeof(*ld->table));
    ld->hist = malloc((ne + 1) * sizeof(*ld->hist));
    ld->hist_tmp = malloc((ne + 1) * sizeof(*ld->hist_tmp));
    return ld->txs && ld->owner && ld->table && ld->hist && ld->hist_tmp
               ? EXI_OK
               : EXI_ENOMEM;
}

int
load_index(struct load *ld)
{
    size_t ne = 0;
    uint32_t n = 0;
    int rc;

    ld->ntx = 0;
    for (size_t i = ld->from; i < ld->to; i++) {
        struct load_block *b = &ld->blocks[i];
        b->first_hist = ne;
        ld->ntx += b->b.ntx;
        ne += b->ne;
    }
    if (ld->ntx >= UINT32_MAX) {
        return EXI_ELIMIT;
    }
    rc = index_room(ld, ne);
    for (size_t i = ld->from; i < ld->to && rc == EXI_OK; i++) {
        struct load_block *b = &ld->blocks[i];
        b->first = n;
        for (uint32_t k = 0; k < b->b.ntx && rc == EXI_OK; k++) {
            ld->txs[n] = &b->tx[k];
            ld->owner[n] = (uint32_t) i;
            rc = enter(ld, n++);
        }
    }
    return rc;
}

void
load_forget(struct load *ld)
{
    for (size_t i = ld->from; i < ld->to; i++) {
        load_block_free(&ld->blocks[i]);
    }
    free(ld->txs);
    free(ld->owner);
    free(ld->table);
    free(ld->hist);
    free(ld->hist_tmp);
    ld->txs = NULL;
    ld->owner = ld->table = NULL;
    ld->hist = ld->hist_tmp = NULL;
}

/*
 * Step 1.
 */

/* An output of another transaction of the chunk. */
static int
from_chunk(const struct load_tx *t, uint32_t index, struct live_effect *e)
{
    uint32_t low = 0, high = t->nout;

    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (t->e[mid].index < index) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == t->nout || t->e[low].index != index) {
        return EXI_EFORMAT;
    }
    e->s = t->e[low].s;
    e->value_sat = t->e[low].value_sat;
    return EXI_OK;
}

static int
get(const struct load_worker *w, enum live_db db, const void *key, size_t len,
    MDB_val *val)
{
    MDB_val k = { len, (void *) key };

    return live_err(mdb_get(w->rtxn, w->ld->l->dbi[db], &k, val));
}

/* An output of an earlier chunk's transaction.  EXI_ENOTFOUND: it is none. */
static int
from_live(const struct load_worker *w, struct live_effect *e)
{
    uint8_t key[8];
    struct exi_txout out;
    struct exi_shash h;
    struct exi_tx tx;
    const uint8_t *p;
    MDB_val val;
    int rc;

    if (w->rtxn == NULL) {
        return EXI_ENOTFOUND;
    }
    rc = get(w, LIVE_TXID, e->prev_txid, EXI_HASH_LEN, &val);
    if (rc || val.mv_size != 8) {
        return rc ? rc : EXI_EFORMAT;
    }
    exi_put_be64(key, exi_le64(val.mv_data));
    rc = get(w, LIVE_RAW, key, sizeof key, &val);
    if (rc == EXI_OK) {
        rc = exi_tx_parse_whole(&tx, val.mv_data, val.mv_size);
    }
    if (rc || e->index >= tx.nout) {
        return EXI_EFORMAT;
    }
    p = tx.outs;
    for (uint32_t i = 0; i <= e->index; i++) {
        p = exi_txout_next(&out, p);
    }
    if (exi_script_unspendable(out.script, out.scriptlen)) {
        return EXI_EFORMAT;
    }
    exi_script_hash(&h, out.script, out.scriptlen);
    e->s = exi_skey(&h);
    e->value_sat = out.value_sat;
    return EXI_OK;
}

/* A settled output, to be looked up with the others. */
static int
ask(struct load_asks *a, struct live_effect *e)
{
    size_t cap = a->cap ? a->cap * 2 : 4096;
    struct exi_past_out *v;

    if (a->n == a->cap) {
        v = realloc(a->v, cap * sizeof *v);
        if (v == NULL) {
            return EXI_ENOMEM;
        }
        a->v = v;
        a->cap = cap;
    }
    v = &a->v[a->n++];
    v->txid = e->prev_txid;
    v->index = e->index;
    v->tag = e;
    return EXI_OK;
}

static int
resolve_tx(struct load_worker *w, struct load_tx *t, uint32_t number)
{
    uint32_t parent;
    int rc = EXI_OK;

    for (uint32_t i = t->nout; i < t->n && rc == EXI_OK; i++) {
        struct live_effect *e = &t->e[i];
        const struct load_tx *p = find(w->ld, e->prev_txid, &parent);

        if (p != NULL) {
            rc = parent < number ? from_chunk(p, e->index, e) : EXI_EFORMAT;
        } else {
            rc = from_live(w, e);
            rc = rc == EXI_ENOTFOUND ? ask(&w->asks, e) : rc;
        }
    }
    return rc;
}

/* Next block of a step, or NULL. */
static struct load_block *
next_block(struct load *ld, atomic_size_t *turn)
{
    size_t i = atomic_fetch_add(turn, 1);

    return i < ld->to - ld->from && atomic_load(&ld->rc) == EXI_OK
               ? &ld->blocks[ld->from + i]
               : NULL;
}

static int
resolve(struct load_worker *w)
{
    const struct live_load_opts *o = w->ld->o;
    struct load_block *b;
    int rc = EXI_OK;

    w->asks.n = 0;
    while (rc == EXI_OK && (b = next_block(w->ld, &w->ld->turn)) != NULL) {
        for (uint32_t i = 0; i < b->b.ntx && rc == EXI_OK; i++) {
            rc = resolve_tx(w, &b->tx[i], b->first + i);
        }
    }
    if (rc == EXI_OK && w->asks.n > 0) {
        rc = o->prevouts(o->ctx, w->number, w->asks.v, w->asks.n);
        rc = rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    for (size_t i = 0; rc == EXI_OK && i < w->asks.n; i++) {
        struct live_effect *e = w->asks.v[i].tag;
        e->s = w->asks.v[i].script;
        e->value_sat = w->asks.v[i].value_sat;
    }
    return rc;
}

/*
 * Step 2.
 */

/* Room for n more bytes of values. */
static int
values(struct load_block *b, size_t n, uint8_t **p)
{
    int rc = b->used + n > UINT32_MAX ? EXI_ELIMIT
                                      : live_buf_need(&b->values, b->used + n);

    if (rc == EXI_OK) {
        *p = b->values.p + b->used;
    }
    return rc;
}

static int
add_hist(struct load_worker *w, const struct load_tx *t, uint32_t number,
         const struct live_effect *e, size_t n)
{
    struct load_block *b = t->block;
    struct settle_rec *r = &w->ld->hist[b->first_hist + b->nhist];
    uint8_t *p = NULL;
    size_t len;
    int rc = values(b, 4 + EXI_LIVE_FX_MAX(n, n), &p);

    if (rc) {
        return rc;
    }
    len = live_rows_fx(&w->scratch, p + 4, e, n);
    exi_put_le32(p, (uint32_t) len);
    r->hi = exi_be64(e->s.b);
    r->lo = (uint64_t) exi_be32(e->s.b + 8) << 32 | (uint64_t) e->s.b[12] << 24
            | (uint64_t) e->s.b[13] << 16;
    r->v = number;
    r->w = (uint32_t) b->used;
    b->used += 4 + len;
    b->nhist++;
    return EXI_OK;
}

static int
add_record(struct load_tx *t, uint32_t pos, int64_t in_sat, uint64_t time_ms,
           const uint8_t *scripts, uint32_t nscripts)
{
    struct exi_live_tx r = { .txid = t->txid,
                             .height = (int32_t) t->block->height,
                             .pos = pos,
                             .size = t->tx.size,
                             .vsize = exi_tx_vsize(&t->tx),
                             .time_ms = time_ms,
                             .nscripts = nscripts,
                             .scripts = scripts };
    uint8_t *p = NULL;
    int rc = values(t->block,
                    EXI_LIVE_TX_FIXED + (size_t) nscripts * EXI_SKEY_LEN, &p);

    if (rc) {
        return rc;
    }
    r.fee_sat = in_sat > t->out_sat ? in_sat - t->out_sat : 0;
    if (t->tx.coinbase) {
        r.fee_sat = -1;
        r.flags = EXI_TXF_COINBASE;
    }
    t->rec = t->block->used;
    t->reclen = (uint32_t) exi_live_tx_encode(p, &r);
    t->block->used += t->reclen;
    return EXI_OK;
}

static int
sum_inputs(const struct load_tx *t, int64_t *sum)
{
    *sum = 0;
    for (uint32_t i = t->nout; i < t->n; i++) {
        if (t->e[i].value_sat < 0
            || __builtin_add_overflow(*sum, t->e[i].value_sat, sum)) {
            return EXI_EFORMAT;
        }
    }
    return EXI_OK;
}

static int
make_tx(struct load_worker *w, struct load_tx *t, uint32_t pos,
        uint64_t time_ms)
{
    uint32_t number = t->block->first + pos, nscripts = 0;
    uint8_t *scripts;
    int64_t in_sat;
    int rc = sum_inputs(t, &in_sat);

    if (rc == EXI_OK) {
        rc = live_rows_need(&w->scratch, t->n);
    }
    if (rc == EXI_OK) {
        rc = live_buf_need(&w->scripts, (size_t) t->n * EXI_SKEY_LEN);
    }
    if (rc) {
        return rc;
    }
    live_rows_sort(t->e, t->n);
    scripts = w->scripts.p;
    for (size_t i = 0, j; i < t->n && rc == EXI_OK; i = j) {
        j = i + live_rows_same(t->e + i, t->n - i);
        memcpy(scripts + (size_t) nscripts++ * EXI_SKEY_LEN, t->e[i].s.b,
               EXI_SKEY_LEN);
        rc = add_hist(w, t, number, &t->e[i], j - i);
    }
    return rc ? rc : add_record(t, pos, in_sat, time_ms, scripts, nscripts);
}

static int
make_rows(struct load_worker *w)
{
    uint64_t now = live_now_ms();
    struct load_block *b;
    int rc = EXI_OK;

    while (rc == EXI_OK && (b = next_block(w->ld, &w->ld->turn2)) != NULL) {
        for (uint32_t i = 0; i < b->b.ntx && rc == EXI_OK; i++) {
            rc = make_tx(w, &b->tx[i], i, now);
        }
    }
    return rc;
}

/*
 * Step 3.
 */

/* Rows of all blocks without the room that was too much, ascending. */
static void
sort_hist(struct load *ld)
{
    size_t n = 0;

    for (size_t i = ld->from; i < ld->to; i++) {
        const struct load_block *b = &ld->blocks[i];
        memmove(ld->hist + n, ld->hist + b->first_hist,
                b->nhist * sizeof *ld->hist);
        n += b->nhist;
    }
    ld->nhist = n;
    settle_sort(ld->hist, ld->hist_tmp, n);
}

/* Waits until all threads are here; is all well with all of them? */
static bool
meet(struct load *ld, int rc)
{
    int none = EXI_OK;

    if (rc) {
        atomic_compare_exchange_strong(&ld->rc, &none, rc);
    }
    (void) pthread_barrier_wait(&ld->barrier);
    return atomic_load(&ld->rc) == EXI_OK;
}

int
load_rows(struct load_worker *w)
{
    int rc = resolve(w);

    /* Whatever happened: no thread may miss a meeting. */
    if (meet(w->ld, rc)) {
        rc = make_rows(w);
    }
    if (meet(w->ld, rc) && w->number == 0) {
        sort_hist(w->ld);
    }
    return rc;
}
