/*
 * Batch -> rows (docs/index-format.md section 4).
 *
 * Each kind of row is made from an array of records, sorted, then written in
 * key order into one write batch, which is what LevelDB takes best.
 */
#include "settle_int.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exi_token.h"

/* What the making of rows shares. */
struct rows {
    const struct settle_batch *b;
    const struct exi_params *params;
    struct settle_db_batch *wb;
    struct settle_rec *rec; /* room for max records, twice */
    struct settle_rec *tmp;
    struct settle_buf buf;
    struct settle_buf list;
    uint64_t *txnums; /* of one heavy script */
    size_t cap_txnums;
    uint32_t chunk;
    struct exi_meta *m;
};

uint8_t *
settle_buf_add(struct settle_buf *b, size_t n)
{
    if (settle_grow(&b->p, &b->cap, b->len + n, 1) != EXI_OK) {
        return NULL;
    }
    b->len += n;
    return b->p + b->len - n;
}

int
settle_buf_varint(struct settle_buf *b, uint64_t v)
{
    uint8_t *p = settle_buf_add(b, EXI_VARINT_MAX);

    if (p == NULL) {
        return EXI_ENOMEM;
    }
    b->len -= EXI_VARINT_MAX - exi_put_varint(p, v);
    return EXI_OK;
}

static int
put(struct rows *r, const struct exi_key *k, const void *val, size_t vallen)
{
    return settle_db_put(r->wb, k->b, k->len, val, vallen);
}

/* Puts r->buf under a bucket's key. */
static int
put_bucket(struct rows *r, enum exi_kind kind, uint32_t bucket)
{
    struct exi_key k;

    exi_key_bucket(&k, kind, bucket, r->chunk);
    r->m->row_count++;
    return put(r, &k, r->buf.p, r->buf.len);
}

static uint64_t
txnum_of(const struct rows *r, uint32_t tx)
{
    return r->b->first_txnum + tx;
}

/*
 * `T`: records are sorted by the bytes of the txid that the row holds or that
 * choose it, then by number.
 */
static size_t
txid_records(struct rows *r)
{
    const struct settle_batch *b = r->b;
    unsigned bytes = r->params->txid_bits / 8u + 3;
    uint64_t mask = ~(uint64_t) 0 << (64 - 8 * bytes);
    size_t n = 0;

    for (uint32_t tx = 0; tx < b->ntx; tx++) {
        if (b->ndead != 0 && settle_batch_dead(b, tx)) {
            continue;
        }
        r->rec[n].hi = exi_be64(b->txids[tx].b) & mask;
        r->rec[n].lo = 0;
        r->rec[n].v = tx;
        r->rec[n].w = 0;
        n++;
    }
    settle_sort(r->rec, r->tmp, n);
    return n;
}

static int
txid_rows(struct rows *r)
{
    uint8_t bits = r->params->txid_bits;
    size_t n = txid_records(r), i = 0;

    while (i < n) {
        uint64_t top = r->rec[i].hi >> (64 - bits);
        int rc;

        r->buf.len = 0;
        for (; i < n && r->rec[i].hi >> (64 - bits) == top; i++) {
            uint8_t *p = settle_buf_add(&r->buf, EXI_TXID_ENTRY);
            uint32_t tx = r->rec[i].v;

            if (p == NULL) {
                return EXI_ENOMEM;
            }
            exi_txid_entry(p, &r->b->txids[tx], bits, txnum_of(r, tx));
        }
        rc = put_bucket(r, EXI_KIND_TXID, (uint32_t) (top << (32 - bits)));
        if (rc != EXI_OK) {
            return rc;
        }
    }
    return EXI_OK;
}

static struct exi_skey
rec_skey(const struct settle_rec *rec)
{
    struct exi_skey s;

    exi_put_be64(s.b, rec->hi);
    exi_put_be32(s.b + 8, (uint32_t) (rec->lo >> 16));
    s.b[12] = (uint8_t) (rec->lo >> 8);
    s.b[13] = (uint8_t) rec->lo;
    return s;
}

static bool
same_script(const struct settle_rec *a, const struct settle_rec *b)
{
    return a->hi == b->hi && a->lo == b->lo;
}

/* History records without repetitions and replaced transactions. */
static size_t
hist_records(struct rows *r)
{
    const struct settle_batch *b = r->b;
    size_t n = 0;

    if (b->nhist == 0) {
        return 0;
    }
    memcpy(r->rec, b->hist, b->nhist * sizeof(*r->rec));
    settle_sort(r->rec, r->tmp, b->nhist);
    for (size_t i = 0; i < b->nhist; i++) {
        const struct settle_rec *x = &r->rec[i];

        if (n > 0 && same_script(&r->rec[n - 1], x)
            && r->rec[n - 1].v == x->v) {
            continue;
        }
        if (b->ndead != 0 && settle_batch_dead(b, x->v)) {
            continue;
        }
        r->rec[n++] = *x;
    }
    return n;
}

int
settle_rows_heavy(struct settle_db_batch *wb, struct settle_buf *buf,
                  const struct exi_skey *s, uint32_t chunk,
                  const uint64_t *txnums, size_t n, uint32_t *rows)
{
    struct exi_key k;
    int rc = EXI_OK;

    *rows = 0;
    for (size_t i = 0; rc == EXI_OK && i < n;) {
        size_t end = n - i < EXI_HEAVY_PART ? n : i + EXI_HEAVY_PART;
        uint64_t last = 0;

        if (*rows > UINT16_MAX) {
            return EXI_ELIMIT;
        }
        buf->len = 0;
        for (; rc == EXI_OK && i < end; i++) {
            rc = settle_buf_varint(buf, txnums[i] - last);
            last = txnums[i];
        }
        if (rc == EXI_OK) {
            exi_key_heavy(&k, s, chunk, (uint16_t) *rows);
            rc = settle_db_put(wb, k.b, k.len, buf->p, buf->len);
        }
        ++*rows;
    }
    return rc;
}

/* The list of a heavy script goes to `G` rows; r->list gets its count. */
static int
heavy_list(struct rows *r, const struct settle_rec *rec, size_t n)
{
    struct exi_skey s = rec_skey(rec);
    uint32_t rows;
    int rc = settle_grow(&r->txnums, &r->cap_txnums, n, sizeof(*r->txnums));

    if (rc != EXI_OK) {
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        r->txnums[i] = txnum_of(r, rec[i].v);
    }
    rc = settle_rows_heavy(r->wb, &r->list, &s, r->chunk, r->txnums, n, &rows);
    r->m->row_count += rows;
    r->list.len = 0;
    return rc == EXI_OK ? settle_buf_varint(&r->list, n) : rc;
}

static int
light_list(struct rows *r, const struct settle_rec *rec, size_t n,
           uint32_t base)
{
    int rc = EXI_OK;

    r->list.len = 0;
    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        rc = settle_buf_varint(&r->list, rec[i].v - base);
        base = rec[i].v;
    }
    return rc;
}

/* One script's part of an `H` row, of n records. */
static int
hist_script(struct rows *r, const struct settle_rec *rec, size_t n,
            uint32_t base)
{
    size_t skip = r->params->script_bits / 8u;
    struct exi_skey s = rec_skey(rec);
    bool heavy = n > EXI_HEAVY_MIN;
    uint8_t *p;
    int rc = heavy ? heavy_list(r, rec, n) : light_list(r, rec, n, base);

    if (rc != EXI_OK) {
        return rc;
    }
    p = settle_buf_add(&r->buf, EXI_SKEY_LEN - skip);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(p, s.b + skip, EXI_SKEY_LEN - skip);
    rc = settle_buf_varint(&r->buf, r->list.len * 2 + heavy);
    if (rc != EXI_OK) {
        return rc;
    }
    p = settle_buf_add(&r->buf, r->list.len);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(p, r->list.p, r->list.len);
    return EXI_OK;
}

/* One `H` row of n records of one bucket. */
static int
hist_row(struct rows *r, const struct settle_rec *rec, size_t n)
{
    uint8_t bits = r->params->script_bits;
    uint32_t base = rec[0].v;
    size_t i, k;
    int rc;

    for (i = 1; i < n; i++) {
        base = rec[i].v < base ? rec[i].v : base;
    }
    r->buf.len = 0;
    rc = settle_buf_varint(&r->buf, txnum_of(r, base));
    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && same_script(&rec[i], &rec[k]); k++) {
        }
        rc = hist_script(r, rec + i, k - i, base);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    return put_bucket(r, EXI_KIND_HISTORY,
                      (uint32_t) (rec[0].hi >> (64 - bits)) << (32 - bits));
}

static int
hist_rows(struct rows *r)
{
    unsigned shift = 64u - r->params->script_bits;
    size_t n = hist_records(r), i, k;
    int rc = EXI_OK;

    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r->rec[k].hi >> shift == r->rec[i].hi >> shift;
             k++) {
        }
        rc = hist_row(r, r->rec + i, k - i);
    }
    r->m->hist_count += n;
    return rc;
}

/* Unspent outputs of the batch, by transaction and index. */
static size_t
out_records(struct rows *r)
{
    const struct settle_batch *b = r->b;
    size_t n = 0;

    for (uint32_t tx = 0; tx < b->ntx; tx++) {
        for (uint32_t i = b->first_out[tx]; i < b->first_out[tx + 1]; i++) {
            const struct settle_out *o = &b->outs[i];

            if (o->state == OUT_UNSPENT) {
                r->rec[n].hi = exi_be64(o->s.b);
                r->rec[n].lo = (uint64_t) exi_be32(o->s.b + 8) << 16
                               | (uint64_t) o->s.b[12] << 8 | o->s.b[13];
                r->rec[n].v = tx;
                r->rec[n].w = i;
                n++;
            }
        }
    }
    return n;
}

static int
put_outpoint(struct rows *r, const struct settle_rec *x)
{
    uint8_t val[EXI_SKEY_LEN + EXI_TOKEN_MAX];
    const uint8_t *token;
    struct exi_key k;
    size_t len;

    exi_key_outpoint(&k, txnum_of(r, x->v), x->w - r->b->first_out[x->v]);
    memcpy(val, r->b->outs[x->w].s.b, EXI_SKEY_LEN);
    token = settle_batch_token(r->b, x->w, &len);
    if (len > 0) {
        memcpy(val + EXI_SKEY_LEN, token, len);
    }
    return put(r, &k, val, EXI_SKEY_LEN + len);
}

static int
put_utxo(struct rows *r, const struct settle_rec *x)
{
    const struct settle_out *o = &r->b->outs[x->w];
    uint8_t val[EXI_VARINT_MAX];
    struct exi_key k;

    exi_key_utxo(&k, &o->s, txnum_of(r, x->v), x->w - r->b->first_out[x->v]);
    return put(r, &k, val, exi_put_varint(val, (uint64_t) o->value_sat));
}

/* `O` rows in the order of the chain, `U` rows in that of the scripts. */
static int
out_rows(struct rows *r)
{
    size_t n = out_records(r), i;
    int rc = EXI_OK;

    for (i = 0; rc == EXI_OK && i < n; i++) {
        rc = put_outpoint(r, &r->rec[i]);
    }
    if (rc == EXI_OK) {
        settle_sort(r->rec, r->tmp, n);
    }
    for (i = 0; rc == EXI_OK && i < n; i++) {
        rc = put_utxo(r, &r->rec[i]);
    }
    r->m->utxo_count += n;
    return rc;
}

static int
delete_out(struct rows *r, const struct settle_del *d)
{
    struct exi_key k;
    int rc;

    exi_key_outpoint(&k, d->txnum, d->index);
    rc = settle_db_delete(r->wb, k.b, k.len);
    if (rc != EXI_OK) {
        return rc;
    }
    exi_key_utxo(&k, &d->s, d->txnum, d->index);
    r->m->utxo_count--;
    return settle_db_delete(r->wb, k.b, k.len);
}

/* Each settled output is removed once; spent twice is an error. */
static int
delete_rows(struct rows *r)
{
    const struct settle_batch *b = r->b;
    int rc = EXI_OK;

    for (size_t i = 0; i < b->ndel; i++) {
        r->rec[i].hi = b->dels[i].txnum;
        r->rec[i].lo = b->dels[i].index;
        r->rec[i].v = (uint32_t) i;
        r->rec[i].w = 0;
    }
    settle_sort(r->rec, r->tmp, b->ndel);
    for (size_t i = 0; rc == EXI_OK && i < b->ndel; i++) {
        const struct settle_del *d = &b->dels[r->rec[i].v];

        if (i > 0 && same_script(&r->rec[i - 1], &r->rec[i])) {
            if (!d->replaced && !b->dels[r->rec[i - 1].v].replaced) {
                return EXI_EFORMAT;
            }
            continue;
        }
        rc = delete_out(r, d);
    }
    return rc;
}

/* One `S` row of n records of one group of 64 transactions. */
static int
spender_row(struct rows *r, const struct settle_rec *rec, size_t n)
{
    uint32_t base = rec[0].v;
    size_t i;
    int rc;

    for (i = 1; i < n; i++) {
        base = rec[i].v < base ? rec[i].v : base;
    }
    r->buf.len = 0;
    rc = settle_buf_varint(&r->buf, txnum_of(r, base));
    for (i = 0; rc == EXI_OK && i < n; i++) {
        uint8_t *p;

        rc = settle_buf_varint(&r->buf, rec[i].hi % 64);
        p = rc == EXI_OK ? settle_buf_add(&r->buf, EXI_OVARINT_MAX) : NULL;
        if (p == NULL) {
            return EXI_ENOMEM;
        }
        r->buf.len -= EXI_OVARINT_MAX;
        r->buf.len += exi_put_ovarint(p, (uint32_t) rec[i].lo);
        rc = settle_buf_varint(&r->buf, rec[i].v - base);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    r->m->row_count--; /* not counted */
    return put_bucket(r, EXI_KIND_SPENDER, (uint32_t) (rec[0].hi / 64));
}

static int
spender_rows(struct rows *r)
{
    const struct settle_batch *b = r->b;
    size_t n = b->nspend, i, k;
    int rc = EXI_OK;

    for (i = 0; i < n; i++) {
        r->rec[i].hi = b->spends[i].txnum;
        r->rec[i].lo = b->spends[i].index;
        r->rec[i].v = b->spends[i].by;
        r->rec[i].w = 0;
    }
    settle_sort(r->rec, r->tmp, n);
    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r->rec[k].hi / 64 == r->rec[i].hi / 64; k++) {
        }
        rc = spender_row(r, r->rec + i, k - i);
    }
    return rc;
}

static size_t
most_records(const struct settle_batch *b)
{
    size_t n = b->ntx;

    n = b->nhist > n ? b->nhist : n;
    n = b->nout > n ? b->nout : n;
    n = b->ndel > n ? b->ndel : n;
    return b->nspend > n ? b->nspend : n;
}

int
settle_rows(struct settle *s, struct settle_db_batch *wb, struct exi_meta *m)
{
    size_t n = most_records(&s->batch);
    struct rows r = { .b = &s->batch,
                      .params = &s->params,
                      .wb = wb,
                      .m = m,
                      .chunk = s->batch.first_height };
    int rc = EXI_ENOMEM;

    r.rec = malloc(n * sizeof(*r.rec));
    r.tmp = malloc(n * sizeof(*r.tmp));
    if (r.rec == NULL || r.tmp == NULL) {
        goto done;
    }
    rc = txid_rows(&r);
    if (rc == EXI_OK) {
        rc = hist_rows(&r);
    }
    if (rc == EXI_OK) {
        rc = delete_rows(&r);
    }
    if (rc == EXI_OK) {
        rc = out_rows(&r);
    }
    if (rc == EXI_OK) {
        rc = spender_rows(&r);
    }

done:
    free(r.rec);
    free(r.tmp);
    free(r.buf.p);
    free(r.list.p);
    free(r.txnums);
    return rc;
}
