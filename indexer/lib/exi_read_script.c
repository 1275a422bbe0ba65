/*
 * History and status of one script: settled rows up to the generation's
 * height, then live rows of blocks above it and of the mempool.  All at once:
 * exi_read_cursor.c is for what is too long for that.
 */
#include "exi_store.h"

#include "exi_status.h"

/* Transaction numbers of a script's settled history. */
struct nums {
    uint64_t *v;
    size_t n;
    size_t cap;
    uint64_t limit; /* 0: none */
    uint64_t skip;  /* first entries that are not wanted */
    const struct exi_arena *a;
};

/*
 * Settled history.
 */

static int
add_nums(struct nums *t, const struct exi_gen *g, struct exi_rd list,
         uint64_t base)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if (txnum >= g->m.tx_count) {
            return EXI_EFORMAT;
        }
        if (t->skip > 0) {
            t->skip--;
            continue;
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
    uint64_t skipped = t->skip;
    int rc;

    if (count <= t->skip) {
        t->skip -= count;
        return EXI_OK;
    }
    if (t->limit != 0 && count - t->skip > t->limit - t->n) {
        return EXI_ELIMIT;
    }
    if (v->h.heavy == NULL) {
        v->h.heavy = exi_rodb_iter_new(v->h.gen->db, &v->cold);
        if (v->h.heavy == NULL) {
            return EXI_ENOMEM;
        }
    }
    exi_key_heavy(&k, s, chunk, 0);
    exi_rodb_iter_seek_in(v->h.heavy, k.b, k.len, EXI_KEY_HEAVY_PREFIX);
    while ((rc = exi_rodb_iter_row(v->h.heavy, &key, &keylen, &val, &vallen))
               == 1
           && keylen == k.len && memcmp(key, k.b, EXI_KEY_HEAVY_PREFIX) == 0) {
        rc = add_nums(t, v->h.gen, exi_rd(val, vallen), 0);
        if (rc) {
            return rc;
        }
        exi_rodb_iter_next(v->h.heavy);
    }
    if (rc < 0) {
        return rc;
    }
    return t->n - before == count - skipped ? EXI_OK : EXI_EFORMAT;
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
    return add_nums(t, v->h.gen, slot.list, slot.base);
}

/* The txids are looked at when all is known of the script; they are asked for
 * here, all at once, so that memory answers them side by side. */
static void
ask_txids(const struct exi_gen *g, const struct nums *t)
{
    for (size_t i = 0; i < t->n; i++) {
        exi_gen_ahead(g, EXI_FLAT_TXIDS, t->v[i]);
    }
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
    exi_rodb_iter_seek_in(v->h.iter, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
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
    v->work += t->n;
    ask_txids(v->h.gen, t);
    return rc < 0 ? rc : EXI_OK;
}

/*
 * History and status.
 */

static int
emit_nums(struct exi_view *v, const struct nums *t, exi_hist_pt fn, void *ctx)
{
    struct exi_hist h = { .confirmed = true, .fee_sat = -1 };
    uint32_t height = 0;
    bool cold = false;
    int rc = EXI_OK;

    for (size_t i = 0; i < t->n && rc == EXI_OK; i++) {
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
    struct exi_hist h;
    int rc = EXI_OK;

    for (; i < end && rc == EXI_OK; i++) {
        exi_place_hist(&h, &t->v[i].at);
        rc = fn(ctx, &h);
    }
    return rc;
}

int
exi_history_light(struct exi_view *v, const struct exi_arena *a,
                  const struct exi_skey *s, unsigned flags, uint64_t limit,
                  uint64_t light, exi_hist_pt fn, void *ctx)
{
    bool confirmed = flags & EXI_HIST_CONFIRMED;
    uint64_t most = light == 0 || (limit != 0 && limit < light) ? limit : light;
    struct nums nums = { v->nums, 0, EXI_VIEW_NUMS, most, 0, a };
    struct exi_items items;
    int rc = confirmed ? settled_nums(v, &nums, s) : EXI_OK;

    if (rc) {
        return rc == EXI_ELIMIT && most != limit ? EXI_EHEAVY : rc;
    }
    rc = exi_view_items(v, &items, a, s, light);
    if (rc == EXI_EMANY) {
        return EXI_EHEAVY;
    }
    if (rc == EXI_OK && confirmed && limit != 0
        && nums.n + items.nconfirmed > limit) {
        rc = EXI_ELIMIT;
    }
    if (rc == EXI_OK && light != 0 && nums.n + items.n > light) {
        rc = EXI_EHEAVY;
    }
    if (rc == EXI_OK) {
        rc = emit_nums(v, &nums, fn, ctx);
    }
    return rc ? rc : emit_items(&items, flags, fn, ctx);
}

int
exi_history(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, unsigned flags, uint64_t limit,
            exi_hist_pt fn, void *ctx)
{
    return exi_history_light(v, a, s, flags, limit, 0, fn, ctx);
}

static int
add_status(void *ctx, const struct exi_hist *h)
{
    exi_status_add(ctx, &h->txid, h->height);
    return EXI_OK;
}

int
exi_script_mid(struct exi_view *v, const struct exi_arena *a,
               const struct exi_skey *s, uint64_t limit, uint64_t light,
               struct exi_mid *mid)
{
    struct nums nums = { v->nums, 0, EXI_VIEW_NUMS, light, 0, a };
    struct exi_mid m = *mid;
    int rc;

    if (m.st.n != 0) {
        rc = exi_view_has(v, m.height, &m.block);
        if (rc < 0) {
            return rc;
        }
        m.st.n = rc ? m.st.n : 0;
    }
    if (m.st.n == 0) {
        exi_status_init(&m.st);
    } else if (limit != 0 && m.st.n > limit) {
        return EXI_ELIMIT;
    }
    nums.skip = m.st.n;
    rc = settled_nums(v, &nums, s);
    if (rc) {
        return rc == EXI_ELIMIT ? EXI_EHEAVY : rc;
    }
    if (nums.skip > 0) {
        return EXI_EFORMAT;
    }
    if (limit != 0 && m.st.n + nums.n > limit) {
        return EXI_ELIMIT;
    }
    rc = emit_nums(v, &nums, add_status, &m.st);
    if (rc == EXI_OK) {
        m.height = v->h.gen->m.height;
        m.block = v->h.gen->m.block;
        *mid = m;
    }
    return rc;
}

int
exi_script_status_from(struct exi_view *v, const struct exi_arena *a,
                       const struct exi_skey *s, uint64_t limit, uint64_t light,
                       struct exi_mid *mid, uint8_t out[EXI_HASH_LEN],
                       bool *some)
{
    struct exi_items items;
    struct exi_status st;
    int rc = exi_script_mid(v, a, s, limit, light, mid);

    if (rc == EXI_OK) {
        rc = exi_view_items(v, &items, a, s, light);
    }
    if (rc == EXI_OK && limit != 0 && mid->st.n + items.nconfirmed > limit) {
        rc = EXI_ELIMIT;
    }
    if (rc) {
        return rc;
    }
    st = mid->st;
    (void) emit_items(&items, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, add_status,
                      &st);
    *some = exi_status_final(&st, out);
    return EXI_OK;
}

int
exi_script_status(struct exi_view *v, const struct exi_arena *a,
                  const struct exi_skey *s, uint64_t limit,
                  uint8_t out[EXI_HASH_LEN], bool *some)
{
    struct exi_mid none = { .st = { .n = 0 } };

    return exi_script_status_from(v, a, s, limit, 0, &none, out, some);
}
