/*
 * Queries about one script: history, unspent outputs, balance, status.
 *
 * Settled rows up to the generation's height; live rows of blocks above it and
 * of the mempool.  What live transactions spend is in their own `hist` rows of
 * the same script, so no outpoint has to be looked up.
 */
#include "exi_store.h"

#include <stdlib.h>

#include "exi_status.h"

/* Transaction numbers of a script's settled history. */
struct nums {
    uint64_t *v;
    size_t n;
    size_t cap;
    uint64_t limit; /* 0: none */
    const struct exi_arena *a;
};

/* What the live layer says of a script. */
struct items {
    struct exi_item *v;
    size_t n;
    size_t cap;
    size_t nconfirmed; /* the first ones; the others are in the mempool */
};

/*
 * Settled history.
 */

static int
add_nums(struct nums *t, struct exi_rd list, uint64_t base, uint64_t end)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if (txnum >= end) {
            return EXI_EFORMAT;
        }
        if (t->limit != 0 && t->n >= t->limit) {
            return EXI_ELIMIT;
        }
        rc = exi_view_grow(t->a, (void **) &t->v, &t->cap, t->n, sizeof *t->v);
        if (rc) {
            return rc;
        }
        t->v[t->n++] = txnum;
    }
    return rc;
}

/* `G` rows of one chunk, which hold `count` entries. */
static int
add_heavy(struct exi_view *v, struct nums *t, const struct exi_skey *s,
          uint32_t chunk, uint64_t count)
{
    const uint8_t *key, *val;
    size_t keylen, vallen, before = t->n;
    struct exi_key k;
    int rc;

    if (t->limit != 0 && count > t->limit - t->n) {
        return EXI_ELIMIT;
    }
    if (v->h.heavy == NULL) {
        v->h.heavy = exi_rodb_iter_new(v->h.gen->db);
        if (v->h.heavy == NULL) {
            return EXI_ENOMEM;
        }
    }
    exi_key_heavy(&k, s, chunk, 0);
    exi_rodb_iter_seek(v->h.heavy, k.b, k.len);
    while ((rc = exi_rodb_iter_row(v->h.heavy, &key, &keylen, &val, &vallen))
               == 1
           && keylen == k.len && memcmp(key, k.b, EXI_KEY_HEAVY_PREFIX) == 0) {
        rc = add_nums(t, exi_rd(val, vallen), 0, v->h.gen->m.tx_count);
        if (rc) {
            return rc;
        }
        exi_rodb_iter_next(v->h.heavy);
    }
    if (rc < 0) {
        return rc;
    }
    return t->n - before == count ? EXI_OK : EXI_EFORMAT;
}

static int
add_row(struct exi_view *v, struct nums *t, const struct exi_skey *s,
        const uint8_t *key, const uint8_t *val, size_t vallen)
{
    struct exi_hist_slot slot;
    int rc =
        exi_hist_find(&slot, val, vallen, s, v->h.gen->m.params.script_bits);

    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    if (slot.heavy) {
        return add_heavy(v, t, s, exi_key_chunk(key), slot.count);
    }
    return add_nums(t, slot.list, slot.base, v->h.gen->m.tx_count);
}

/* The settled history, ascending. */
static int
settled_nums(struct exi_view *v, struct nums *t, const struct exi_skey *s)
{
    uint8_t bits = v->h.gen->m.params.script_bits;
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    int rc;

    exi_key_bucket(&k, EXI_KIND_HISTORY, exi_bucket(s->b, bits), 0);
    exi_rodb_iter_seek(v->h.iter, k.b, k.len);
    while ((rc = exi_rodb_iter_row(v->h.iter, &key, &keylen, &val, &vallen))
               == 1
           && keylen == EXI_KEY_BUCKET_LEN
           && memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        rc = add_row(v, t, s, key, val, vallen);
        if (rc) {
            return rc;
        }
        exi_rodb_iter_next(v->h.iter);
    }
    return rc < 0 ? rc : EXI_OK;
}

/*
 * Live rows.
 */

static int
compare_display(const uint8_t *a, const uint8_t *b)
{
    for (int i = EXI_HASH_LEN; i-- > 0;) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return 0;
}

/* Confirmed by place in the chain, then mempool: 0 before -1, by txid. */
static int
compare_items(const void *x, const void *y)
{
    const struct exi_item *a = x, *b = y;

    if ((a->height == 0) != (b->height == 0)) {
        return a->height == 0 ? 1 : -1;
    }
    if (a->height == 0) {
        return a->unconf != b->unconf ? (int) a->unconf - (int) b->unconf
                                      : compare_display(a->txid.b, b->txid.b);
    }
    if (a->height != b->height) {
        return a->height < b->height ? -1 : 1;
    }
    return (a->pos > b->pos) - (a->pos < b->pos);
}

static int
add_item(struct exi_view *v, struct items *t, const struct exi_arena *a,
         const uint8_t *key, const MDB_val *val)
{
    struct exi_live_tx tx;
    struct exi_item *i;
    int rc = exi_view_live_tx(v, exi_be64(key + EXI_SKEY_LEN), &tx);

    if (rc) {
        return rc;
    }
    if (tx.height > 0 && (uint32_t) tx.height <= v->h.gen->m.height) {
        return EXI_OK; /* the generation has it */
    }
    rc = exi_view_grow(a, (void **) &t->v, &t->cap, t->n, sizeof *t->v);
    if (rc) {
        return rc;
    }
    i = &t->v[t->n++];
    i->txid = tx.txid;
    i->height = tx.height;
    i->pos = tx.pos;
    i->unconf = tx.flags & EXI_TXF_UNCONF_INPUT;
    i->fee_sat = tx.height > 0 ? -1 : tx.fee_sat;
    i->fx = val->mv_data;
    i->fxlen = val->mv_size;
    t->nconfirmed += tx.height > 0;
    return EXI_OK;
}

static int
hist_cursor(struct exi_view *v)
{
    int rc = 0;

    if (v->h.hist == NULL) {
        rc = mdb_cursor_open(v->h.txn, v->h.env->dbi[EXI_DB_HIST], &v->h.hist);
    } else if (!v->hist_ready) {
        rc = mdb_cursor_renew(v->h.txn, v->h.hist);
    }
    v->hist_ready = rc == 0;
    return exi_store_mdb_err(rc);
}

/* Live rows of the script, in protocol order. */
static int
live_items(struct exi_view *v, struct items *t, const struct exi_arena *a,
           const struct exi_skey *s)
{
    MDB_cursor_op op = MDB_SET_RANGE;
    MDB_val k = { EXI_SKEY_LEN, (void *) s->b }, val;
    int rc = hist_cursor(v);

    t->v = v->items;
    t->cap = EXI_VIEW_ITEMS;
    t->n = t->nconfirmed = 0;
    while (rc == EXI_OK) {
        rc = exi_store_mdb_err(mdb_cursor_get(v->h.hist, &k, &val, op));
        if (rc || k.mv_size != EXI_LIVE_HIST_KEY
            || memcmp(k.mv_data, s->b, EXI_SKEY_LEN) != 0) {
            break;
        }
        rc = add_item(v, t, a, k.mv_data, &val);
        op = MDB_NEXT;
    }
    if (rc && rc != EXI_ENOTFOUND) {
        return rc;
    }
    if (t->n > 1) {
        qsort(t->v, t->n, sizeof *t->v, compare_items);
    }
    return EXI_OK;
}

/*
 * History and status.
 */

static int
emit_nums(struct exi_view *v, const struct nums *t, exi_hist_pt fn, void *ctx)
{
    struct exi_hist h = { .confirmed = true, .fee_sat = -1 };
    uint32_t height = 0;
    int rc = EXI_OK;

    for (size_t i = 0; i < t->n && rc == EXI_OK; i++) {
        const uint8_t *p = exi_gen_flat(v->h.gen, EXI_FLAT_TXIDS, t->v[i]);
        if (p == NULL || (i > 0 && t->v[i] <= t->v[i - 1])) {
            return EXI_EFORMAT;
        }
        rc = exi_view_height(v, t->v[i], height, &height);
        if (rc == EXI_OK) {
            memcpy(h.txid.b, p, EXI_HASH_LEN);
            h.height = (int32_t) height;
            rc = fn(ctx, &h);
        }
    }
    return rc;
}

static int
emit_items(const struct items *t, unsigned flags, exi_hist_pt fn, void *ctx)
{
    size_t i = flags & EXI_HIST_CONFIRMED ? 0 : t->nconfirmed;
    size_t end = flags & EXI_HIST_MEMPOOL ? t->n : t->nconfirmed;
    int rc = EXI_OK;

    for (; i < end && rc == EXI_OK; i++) {
        const struct exi_item *it = &t->v[i];
        struct exi_hist h = { .txid = it->txid,
                              .height = it->height,
                              .confirmed = it->height > 0,
                              .fee_sat = it->fee_sat };
        if (!h.confirmed && it->unconf) {
            h.height = -1;
        }
        rc = fn(ctx, &h);
    }
    return rc;
}

int
exi_history(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, unsigned flags, uint64_t limit,
            exi_hist_pt fn, void *ctx)
{
    struct nums nums = { v->nums, 0, EXI_VIEW_NUMS, limit, a };
    struct items items;
    int rc = live_items(v, &items, a, s);

    if (rc == EXI_OK && (flags & EXI_HIST_CONFIRMED)) {
        rc = settled_nums(v, &nums, s);
        if (rc == EXI_OK && limit != 0 && nums.n + items.nconfirmed > limit) {
            rc = EXI_ELIMIT;
        }
    }
    if (rc == EXI_OK) {
        rc = emit_nums(v, &nums, fn, ctx);
    }
    return rc ? rc : emit_items(&items, flags, fn, ctx);
}

static int
add_status(void *ctx, const struct exi_hist *h)
{
    exi_status_add(ctx, &h->txid, h->height);
    return EXI_OK;
}

int
exi_script_status(struct exi_view *v, const struct exi_arena *a,
                  const struct exi_skey *s, uint64_t limit,
                  uint8_t out[EXI_HASH_LEN], bool *some)
{
    struct exi_status st;
    int rc;

    exi_status_init(&st);
    rc = exi_history(v, a, s, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, limit,
                     add_status, &st);
    if (rc == EXI_OK) {
        *some = exi_status_final(&st, out);
    }
    return rc;
}

/*
 * Unspent outputs.
 */

/* An output that a live transaction spends. */
struct spent {
    struct exi_txid txid;
    uint32_t index;
};

struct unspent {
    struct exi_view *v;
    const struct exi_arena *a;
    struct spent *spent; /* ascending */
    size_t nspent;
    size_t spent_cap;
    struct exi_utxo *u;
    size_t n;
    size_t cap;
    uint64_t limit;
};

#define UNSPENT_START 16

static int
compare_spent(const void *x, const void *y)
{
    const struct spent *a = x, *b = y;
    int c = memcmp(a->txid.b, b->txid.b, EXI_HASH_LEN);

    return c ? c : (a->index > b->index) - (a->index < b->index);
}

static int
add_output(struct unspent *t, const uint8_t *txid, uint32_t index,
           int32_t height, int64_t value_sat)
{
    struct spent key;
    struct exi_utxo *u;
    int rc;

    if (t->nspent > 0) {
        memcpy(key.txid.b, txid, EXI_HASH_LEN);
        key.index = index;
        if (bsearch(&key, t->spent, t->nspent, sizeof key, compare_spent)) {
            return EXI_OK;
        }
    }
    if (t->limit != 0 && t->n >= t->limit) {
        return EXI_ELIMIT;
    }
    rc = exi_view_grow(t->a, (void **) &t->u, &t->cap, t->n, sizeof *t->u);
    if (rc) {
        return rc;
    }
    u = &t->u[t->n++];
    memcpy(u->txid.b, txid, EXI_HASH_LEN);
    u->index = index;
    u->height = height;
    u->value_sat = value_sat;
    return EXI_OK;
}

/* Collects what the live transactions spend of the script. */
static int
add_spends(struct unspent *t, const struct exi_item *it)
{
    struct exi_live_spend s;
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc;

    while (n-- > 0) {
        exi_live_fx_fund(&rd, &f);
    }
    for (n = exi_live_fx_nspend(&rd); n > 0 && !rd.bad; n--) {
        exi_live_fx_spend(&rd, &s);
        rc = exi_view_grow(t->a, (void **) &t->spent, &t->spent_cap, t->nspent,
                           sizeof *t->spent);
        if (rc) {
            return rc;
        }
        t->spent[t->nspent].txid = s.txid;
        t->spent[t->nspent++].index = s.index;
    }
    return rd.bad ? EXI_EFORMAT : EXI_OK;
}

static int
add_funds(struct unspent *t, const struct exi_item *it)
{
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc = EXI_OK;

    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_fund(&rd, &f);
        if (rd.bad || f.value_sat < 0) {
            return EXI_EFORMAT;
        }
        rc = add_output(t, it->txid.b, f.index, it->height, f.value_sat);
    }
    return rd.bad ? EXI_EFORMAT : rc;
}

/* A `U` row's parts. */
static int
parse_utxo(const uint8_t *key, size_t keylen, const uint8_t *val, size_t vallen,
           uint64_t *txnum, uint32_t *index, int64_t *value_sat)
{
    struct exi_rd rd = exi_rd(val, vallen);
    uint64_t value = exi_rd_varint(&rd);

    if (rd.bad || exi_rd_left(&rd) > 0 || value > INT64_MAX) {
        return EXI_EFORMAT;
    }
    *value_sat = (int64_t) value;
    return exi_key_utxo_parse(key, keylen, txnum, index);
}

typedef int (*utxo_row_pt)(void *ctx, uint64_t txnum, uint32_t index,
                           int64_t value_sat);

/* Each `U` row of the script. */
static int
each_utxo(struct exi_view *v, const struct exi_skey *s, utxo_row_pt fn,
          void *ctx)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    int rc;

    exi_key_utxo(&k, s, 0, 0);
    exi_rodb_iter_seek(v->h.iter, k.b, EXI_KEY_UTXO_PREFIX);
    while ((rc = exi_rodb_iter_row(v->h.iter, &key, &keylen, &val, &vallen))
               == 1
           && keylen >= EXI_KEY_UTXO_PREFIX
           && memcmp(key, k.b, EXI_KEY_UTXO_PREFIX) == 0) {
        rc = parse_utxo(key, keylen, val, vallen, &txnum, &index, &value);
        if (rc == EXI_OK) {
            rc = fn(ctx, txnum, index, value);
        }
        if (rc) {
            return rc;
        }
        exi_rodb_iter_next(v->h.iter);
    }
    return rc < 0 ? rc : EXI_OK;
}

static int
add_settled(void *ctx, uint64_t txnum, uint32_t index, int64_t value_sat)
{
    struct unspent *t = ctx;
    uint32_t from = t->n > 0 ? (uint32_t) t->u[t->n - 1].height : 0, height;
    const uint8_t *p = exi_gen_flat(t->v->h.gen, EXI_FLAT_TXIDS, txnum);
    int rc;

    if (p == NULL) {
        return EXI_EFORMAT;
    }
    rc = exi_view_height(t->v, txnum, from, &height);
    return rc ? rc : add_output(t, p, index, (int32_t) height, value_sat);
}

/* All that is unspent, in protocol order, into t->u. */
static int
gather_unspent(struct unspent *t, const struct exi_skey *s)
{
    struct items items;
    int rc = live_items(t->v, &items, t->a, s);

    for (size_t i = 0; i < items.n && rc == EXI_OK; i++) {
        rc = add_spends(t, &items.v[i]);
    }
    if (rc == EXI_OK && t->nspent > 1) {
        qsort(t->spent, t->nspent, sizeof *t->spent, compare_spent);
    }
    if (rc == EXI_OK) {
        rc = each_utxo(t->v, s, add_settled, t);
    }
    for (size_t i = 0; i < items.n && rc == EXI_OK; i++) {
        rc = add_funds(t, &items.v[i]);
    }
    return rc;
}

int
exi_unspent(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, uint64_t limit, exi_utxo_pt fn, void *ctx)
{
    struct spent spent[UNSPENT_START];
    struct exi_utxo u[UNSPENT_START];
    struct unspent t = { .v = v,
                         .a = a,
                         .spent = spent,
                         .spent_cap = UNSPENT_START,
                         .u = u,
                         .cap = UNSPENT_START,
                         .limit = limit };
    int rc = gather_unspent(&t, s);

    for (size_t i = 0; i < t.n && rc == EXI_OK; i++) {
        rc = fn(ctx, &t.u[i]);
    }
    return rc;
}

/*
 * Balance.
 */

static int
add_sat(int64_t *sum, int64_t value_sat)
{
    return __builtin_add_overflow(*sum, value_sat, sum) ? EXI_EFORMAT : EXI_OK;
}

static int
add_value(void *ctx, uint64_t txnum, uint32_t index, int64_t value_sat)
{
    (void) txnum;
    (void) index;
    return add_sat(ctx, value_sat);
}

/* Adds what a live transaction changes. */
static int
add_effect(int64_t *sum, const struct exi_item *it)
{
    struct exi_live_spend s = { .value_sat = 0 };
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc = EXI_OK;

    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_fund(&rd, &f);
        rc =
            rd.bad || f.value_sat < 0 ? EXI_EFORMAT : add_sat(sum, f.value_sat);
    }
    n = rc ? 0 : exi_live_fx_nspend(&rd);
    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_spend(&rd, &s);
        rc = rd.bad || s.value_sat < 0 ? EXI_EFORMAT
                                       : add_sat(sum, -s.value_sat);
    }
    return rd.bad ? EXI_EFORMAT : rc;
}

int
exi_balance(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, int64_t *confirmed_sat,
            int64_t *unconfirmed_sat)
{
    int64_t confirmed = 0, unconfirmed = 0;
    struct items items;
    int rc = live_items(v, &items, a, s);

    if (rc == EXI_OK) {
        rc = each_utxo(v, s, add_value, &confirmed);
    }
    for (size_t i = 0; i < items.n && rc == EXI_OK; i++) {
        rc = add_effect(i < items.nconfirmed ? &confirmed : &unconfirmed,
                        &items.v[i]);
    }
    if (rc == EXI_OK) {
        *confirmed_sat = confirmed;
        *unconfirmed_sat = unconfirmed;
    }
    return rc;
}
