/*
 * History and status of one script: settled rows up to the generation's
 * height, then live rows of blocks above it and of the mempool.
 */
#include "exi_store.h"

#include "exi_status.h"

/* Transaction numbers of a script's settled history. */
struct nums {
    uint64_t *v;
    size_t n;
    size_t cap;
    uint64_t limit; /* 0: none */
    const struct exi_arena *a;
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
        v->h.heavy = exi_rodb_iter_new(v->h.gen->db, &v->cold);
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
 * History and status.
 */

/* Entries whose txids are fetched ahead: memory answers them side by side. */
#define AHEAD 16

static void
fetch_ahead(const struct exi_view *v, const struct nums *t, size_t i)
{
    const uint8_t *p;

    if (i < t->n) {
        p = exi_gen_flat(v->h.gen, EXI_FLAT_TXIDS, t->v[i]);
        __builtin_prefetch(p);
    }
}

static int
emit_nums(struct exi_view *v, const struct nums *t, exi_hist_pt fn, void *ctx)
{
    struct exi_hist h = { .confirmed = true, .fee_sat = -1 };
    uint32_t height = 0;
    bool cold = false;
    int rc = EXI_OK;

    for (size_t i = 0; i < AHEAD; i++) {
        fetch_ahead(v, t, i);
    }
    for (size_t i = 0; i < t->n && rc == EXI_OK; i++) {
        fetch_ahead(v, t, i + AHEAD);
        const uint8_t *p;
        rc = exi_view_flat(v, EXI_FLAT_TXIDS, t->v[i], &p);
        if (rc == EXI_OK && i > 0 && t->v[i] <= t->v[i - 1]) {
            rc = EXI_EFORMAT;
        }
        if (cold || rc) {
            cold |= rc == EXI_ECOLD;
            rc = rc == EXI_ECOLD ? EXI_OK : rc;
            continue;
        }
        rc = exi_view_height(v, t->v[i], height, &height);
        if (rc == EXI_OK) {
            memcpy(h.txid.b, p, EXI_HASH_LEN);
            h.height = (int32_t) height;
            rc = fn(ctx, &h);
        }
    }
    return rc == EXI_OK && cold ? EXI_ECOLD : rc;
}

static int
emit_items(const struct exi_items *t, unsigned flags, exi_hist_pt fn, void *ctx)
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
    struct exi_items items;
    int rc = exi_view_items(v, &items, a, s);

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
