/* Look-ups inside a snapshot that several queries share. */
#include "exi_store.h"

int
exi_view_get(struct exi_view *v, enum exi_db db, const void *key, size_t keylen,
             MDB_val *val)
{
    MDB_val k = { keylen, (void *) key };

    return exi_store_mdb_err(mdb_get(v->h.txn, v->h.env->dbi[db], &k, val));
}

int
exi_live_tx_of(struct exi_live_tx *t, const MDB_val *val, uint32_t tip)
{
    int rc = exi_live_tx_decode(t, val->mv_data, val->mv_size);

    if (rc == EXI_OK && (t->height < 0 || (uint32_t) t->height > tip)) {
        rc = EXI_EFORMAT;
    }
    return rc;
}

int
exi_view_live_tx(struct exi_view *v, uint64_t id, struct exi_live_tx *t)
{
    uint8_t key[8];
    MDB_val val;
    int rc;

    exi_put_be64(key, id);
    rc = exi_view_get(v, EXI_DB_TX, key, sizeof key, &val);
    if (rc == EXI_OK) {
        rc = exi_live_tx_of(t, &val, v->st.tip_height);
    }
    return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
}

int
exi_view_live_block(struct exi_view *v, uint32_t height,
                    struct exi_live_block *b)
{
    uint8_t key[4];
    MDB_val val;
    int rc;

    exi_put_be32(key, height);
    rc = exi_view_get(v, EXI_DB_BLOCK, key, sizeof key, &val);
    return rc ? rc : exi_live_block_decode(b, val.mv_data, val.mv_size);
}

int
exi_view_first(const struct exi_view *v, uint32_t height, uint64_t *txnum)
{
    const uint8_t *p;

    if (height == 0) {
        *txnum = 0;
        return EXI_OK;
    }
    p = exi_gen_flat(v->h.gen, EXI_FLAT_TXCOUNTS, height - 1);
    if (p == NULL) {
        return EXI_EFORMAT;
    }
    *txnum = exi_le64(p);
    return EXI_OK;
}

/* Whether the block at a height or one below it holds the transaction. */
static bool
reaches(const struct exi_gen *g, uint32_t height, uint64_t txnum)
{
    return exi_le64(exi_gen_flat(g, EXI_FLAT_TXCOUNTS, height)) > txnum;
}

/* Where the height would be if all blocks behind `from` were alike. */
static uint32_t
guess_height(const struct exi_gen *g, uint64_t txnum, uint32_t from)
{
    uint64_t first = exi_gen_first(g, from);
    uint64_t blocks = g->m.height - from + 1, n;

    if (txnum <= first) {
        return from;
    }
    n = (txnum - first) * blocks / (g->m.tx_count - first);
    return from + (uint32_t) (n < blocks ? n : blocks - 1);
}

/* The first height whose cumulative count is above txnum: from a guess on in
 * steps that double, then halves. */
int
exi_gen_height(const struct exi_gen *g, uint64_t txnum, uint32_t from,
               uint32_t *height)
{
    uint32_t lo = from, hi, step = 1;

    if (txnum >= g->m.tx_count || from > g->m.height) {
        return EXI_EFORMAT;
    }
    hi = guess_height(g, txnum, from);
    if (hi > lo && reaches(g, hi - 1, txnum)) {
        hi--;
        while (hi - lo > step && reaches(g, hi - step, txnum)) {
            hi -= step;
            step *= 2;
        }
        lo = hi - lo > step ? hi - step + 1 : lo;
    } else {
        lo = hi;
    }
    while (!reaches(g, hi, txnum)) {
        lo = hi + 1;
        hi = step < g->m.height - hi ? hi + step : g->m.height;
        if (lo > hi) {
            return EXI_EFORMAT;
        }
        step *= 2;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (reaches(g, mid, txnum)) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    *height = lo;
    return EXI_OK;
}

int
exi_view_height(const struct exi_view *v, uint64_t txnum, uint32_t from,
                uint32_t *height)
{
    return exi_gen_height(v->h.gen, txnum, from, height);
}

uint64_t
exi_gen_first(const struct exi_gen *g, uint64_t height)
{
    if (height > g->m.height) {
        return g->m.tx_count;
    }
    return height == 0
               ? 0
               : exi_le64(exi_gen_flat(g, EXI_FLAT_TXCOUNTS, height - 1));
}

int
exi_view_grow(const struct exi_arena *a, void **p, size_t *cap, size_t n,
              size_t size)
{
    size_t want = *cap * 2;
    void *q;

    if (n < *cap) {
        return EXI_OK;
    }
    if (a == NULL || want > SIZE_MAX / 2 / size) {
        return EXI_ENOMEM;
    }
    q = a->alloc(a->ctx, want * size);
    if (q == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(q, *p, n * size);
    *p = q;
    *cap = want;
    return EXI_OK;
}
