/*
 * Live rows of one script: blocks above the generation's height and the
 * mempool, in protocol order.
 */
#include "exi_store.h"

#include <stdlib.h>

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
int
exi_place_compare(const struct exi_place *a, const struct exi_place *b)
{
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
compare_items(const void *x, const void *y)
{
    const struct exi_item *a = x, *b = y;

    return exi_place_compare(&a->at, &b->at);
}

void
exi_place_of(struct exi_place *at, const struct exi_live_tx *tx)
{
    at->txid = tx->txid;
    at->height = tx->height;
    at->pos = tx->pos;
    at->unconf = tx->flags & EXI_TXF_UNCONF_INPUT;
    at->fee_sat = tx->height > 0 ? -1 : tx->fee_sat;
}

static int
add_item(struct exi_view *v, struct exi_items *t, const struct exi_arena *a,
         const uint8_t *key, const MDB_val *val, uint64_t most, uint32_t above)
{
    struct exi_live_tx tx;
    struct exi_item *i;
    int rc = exi_view_live_tx(v, exi_be64(key + EXI_SKEY_LEN), &tx);

    if (rc) {
        return rc;
    }
    if (tx.height > 0 && (uint32_t) tx.height <= above) {
        return EXI_OK; /* settled */
    }
    if (most != 0 && t->n >= most) {
        return EXI_EMANY;
    }
    rc = exi_view_grow(a, (void **) &t->v, &t->cap, t->n, sizeof *t->v);
    if (rc) {
        return rc;
    }
    i = &t->v[t->n++];
    exi_place_of(&i->at, &tx);
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

/* Most scripts' items come in order. */
static bool
in_order(const struct exi_items *t)
{
    for (size_t i = 1; i < t->n; i++) {
        if (compare_items(&t->v[i - 1], &t->v[i]) > 0) {
            return false;
        }
    }
    return true;
}

void
exi_place_hist(struct exi_hist *h, const struct exi_place *at)
{
    h->txid = at->txid;
    h->height = at->height;
    h->confirmed = at->height > 0;
    h->fee_sat = at->fee_sat;
    if (!h->confirmed && at->unconf) {
        h->height = -1;
    }
}

int
exi_view_items(struct exi_view *v, struct exi_items *t,
               const struct exi_arena *a, const struct exi_skey *s,
               uint64_t most)
{
    return exi_view_items_above(v, t, a, s, most, v->h.gen->m.height);
}

int
exi_view_items_above(struct exi_view *v, struct exi_items *t,
                     const struct exi_arena *a, const struct exi_skey *s,
                     uint64_t most, uint32_t height)
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
        v->work++;
        rc = add_item(v, t, a, k.mv_data, &val, most, height);
        op = MDB_NEXT;
    }
    if (rc && rc != EXI_ENOTFOUND) {
        return rc;
    }
    if (!in_order(t)) {
        qsort(t->v, t->n, sizeof *t->v, compare_items);
    }
    return EXI_OK;
}
