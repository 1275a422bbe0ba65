/*
 * Phase rows, by script: H, G and U rows of a range of partitions
 * (docs/index-format.md, section 4).
 */
#include "bulk_int.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 0

static const uint8_t *
decode_skey(const uint8_t *p, uint32_t part, unsigned bits, struct bulk_rec *r)
{
    r->a = (uint64_t) (part >> (bits - 8)) << 56 | exi_be64(p) >> 8;
    r->b = (uint64_t) exi_be32(p + 7) << 32 | (uint64_t) p[11] << 24
           | (uint64_t) p[12] << 16;
    return p + EXI_SKEY_LEN - 1;
}

/* c: txnum, d: txnum of the spender or 0. */
static size_t
decode_hist(const uint8_t *p, uint32_t part, unsigned bits, struct bulk_rec *r)
{
    const uint8_t *q = decode_skey(p, part, bits, r);
    unsigned shift = 0;
    uint64_t v = 0;

    r->c = exi_be40(q);
    q += 5;
    do {
        v |= (uint64_t) (*q & 0x7f) << shift;
        shift += 7;
    } while (*q++ & 0x80 && shift < 64);
    r->d = v != 0 ? r->c + v : 0;
    return (size_t) (q - p);
}

/* c: BULK_WHERE, d: amount. */
static size_t
decode_utxo(const uint8_t *p, uint32_t part, unsigned bits, struct bulk_rec *r)
{
    decode_skey(p, part, bits, r);
    r->c = exi_be64(p + 13);
    r->d = exi_be64(p + 21);
    return BULK_UTXO_LEN;
}

/* The history entry of an unspent output. */
static size_t
decode_utxo_hist(const uint8_t *p, uint32_t part, unsigned bits,
                 struct bulk_rec *r)
{
    decode_skey(p, part, bits, r);
    r->c = exi_be64(p + 13) >> BULK_INDEX_BITS;
    r->d = 0;
    return BULK_UTXO_LEN;
}

static struct exi_skey
rec_skey(const struct bulk_rec *r)
{
    struct exi_skey s;

    exi_put_be64(s.b, r->a);
    exi_put_be32(s.b + 8, (uint32_t) (r->b >> 32));
    s.b[12] = (uint8_t) (r->b >> 24);
    s.b[13] = (uint8_t) (r->b >> 16);
    return s;
}

static bool
same_script(const struct bulk_rec *x, const struct bulk_rec *y)
{
    return x->a == y->a && x->b == y->b;
}

/* Sorts by the bits from `bit` down: in place, whatever the order was. */
static void
sort_txnums(uint64_t *v, size_t n, unsigned bit)
{
    size_t i = 0, k = n;

    if (n <= 24) {
        for (i = 1; i < n; i++) {
            uint64_t x = v[i];

            for (k = i; k > 0 && v[k - 1] > x; k--) {
                v[k] = v[k - 1];
            }
            v[k] = x;
        }
        return;
    }
    while (i < k) {
        if (v[i] >> bit & 1) {
            uint64_t x = v[--k];

            v[k] = v[i];
            v[i] = x;
        } else {
            i++;
        }
    }
    if (bit > 0) {
        sort_txnums(v, i, bit - 1);
        sort_txnums(v + i, n - i, bit - 1);
    }
}

/* Was the transaction replaced by a later one with its txid? */
static inline bool
is_dead(const struct bulk_maker *m, uint64_t txnum)
{
    return m->b->st.ndead != 0 && bulk_dead(m->b, txnum);
}

/* m->txnums = what n records of a script say, ascending, each once. */
static int
script_txnums(struct bulk_maker *m, const struct bulk_rec *r, size_t n,
              size_t *ntx)
{
    size_t k = 0, u = 0;
    int rc = settle_grow(&m->txnums, &m->cap_txnums, n * 2, sizeof(*m->txnums));

    if (rc != EXI_OK) {
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_dead(m, r[i].c)) {
            m->txnums[k++] = r[i].c;
        }
        if (r[i].d != 0 && !is_dead(m, r[i].d)) {
            m->txnums[k++] = r[i].d;
        }
    }
    sort_txnums(m->txnums, k, 39);
    for (size_t i = 0; i < k; i++) {
        if (u == 0 || m->txnums[i] != m->txnums[u - 1]) {
            m->txnums[u++] = m->txnums[i];
        }
    }
    *ntx = u;
    return EXI_OK;
}

/* m->list = n numbers as differences, the first to base. */
static int
make_list(struct bulk_maker *m, const uint64_t *v, size_t n, uint64_t base)
{
    uint8_t *p;

    m->list.len = 0;
    p = settle_buf_add(&m->list, n * EXI_VARINT_MAX);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        p += exi_put_varint(p, v[i] - base);
        base = v[i];
    }
    m->list.len = (size_t) (p - m->list.p);
    return EXI_OK;
}

/* G rows of a script; m->list becomes its entry in the H row. */
static int
heavy_rows(struct bulk_maker *m, const struct exi_skey *s, size_t n)
{
    struct exi_key k;
    unsigned part = 0;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < n; i += EXI_HEAVY_PART, part++) {
        size_t some = n - i < EXI_HEAVY_PART ? n - i : EXI_HEAVY_PART;

        if (part > UINT16_MAX) {
            return EXI_ELIMIT;
        }
        rc = make_list(m, m->txnums + i, some, 0);
        if (rc == EXI_OK) {
            exi_key_heavy(&k, s, CHUNK, (uint16_t) part);
            rc =
                settle_load_add(m->load[1], k.b, k.len, m->list.p, m->list.len);
        }
    }
    m->counts.rows += part;
    m->list.len = 0;
    return rc == EXI_OK ? settle_buf_varint(&m->list, n) : rc;
}

/* Adds one script of n records to the row. */
static int
hist_script(struct bulk_maker *m, const struct bulk_rec *r, size_t n,
            uint64_t base)
{
    size_t skip = m->b->params.script_bits / 8u, suffix = EXI_SKEY_LEN - skip;
    struct exi_skey s = rec_skey(r);
    size_t ntx;
    bool heavy;
    uint8_t *p;
    int rc = script_txnums(m, r, n, &ntx);

    if (rc != EXI_OK || ntx == 0) {
        return rc;
    }
    heavy = ntx > EXI_HEAVY_MIN;
    rc = heavy ? heavy_rows(m, &s, ntx) : make_list(m, m->txnums, ntx, base);
    if (rc != EXI_OK) {
        return rc;
    }
    p = settle_buf_add(&m->row, suffix + EXI_VARINT_MAX + m->list.len);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(p, s.b + skip, suffix);
    p += suffix;
    p += exi_put_varint(p, m->list.len * 2 + heavy);
    memcpy(p, m->list.p, m->list.len);
    m->row.len = (size_t) (p - m->row.p) + m->list.len;
    m->counts.hist += ntx;
    return EXI_OK;
}

/* Lowest txnum that the row will have; UINT64_MAX: none. */
static uint64_t
row_base(const struct bulk_maker *m, const struct bulk_rec *r, size_t n)
{
    uint64_t base = UINT64_MAX;

    for (size_t i = 0; i < n; i++) {
        uint64_t v = r[i].c;

        if (is_dead(m, v)) {
            v = r[i].d != 0 && !is_dead(m, r[i].d) ? r[i].d : UINT64_MAX;
        }
        base = v < base ? v : base;
    }
    return base;
}

/* One H row: n records of a bucket. */
static int
hist_row(struct bulk_maker *m, const struct bulk_rec *r, size_t n)
{
    unsigned shift = 64u - m->b->params.script_bits;
    uint64_t base = row_base(m, r, n);
    struct exi_key key;
    size_t i, k;
    int rc;

    if (base == UINT64_MAX) {
        return EXI_OK;
    }
    m->row.len = 0;
    rc = settle_buf_varint(&m->row, base);
    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && same_script(&r[i], &r[k]); k++) {
        }
        rc = hist_script(m, r + i, k - i, base);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    exi_key_bucket(&key, EXI_KIND_HISTORY,
                   (uint32_t) (r->a >> shift << shift >> 32), CHUNK);
    m->counts.rows++;
    return settle_load_add(m->load[0], key.b, key.len, m->row.p, m->row.len);
}

static int
hist_sorted(void *ctx, struct bulk_rec *r, size_t n)
{
    struct bulk_maker *m = ctx;
    unsigned shift = 64u - m->b->params.script_bits;
    size_t i, k;
    int rc = EXI_OK;

    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r[k].a >> shift == r[i].a >> shift; k++) {
        }
        rc = hist_row(m, r + i, k - i);
    }
    return rc;
}

static int
utxo_sorted(void *ctx, struct bulk_rec *r, size_t n)
{
    struct bulk_maker *m = ctx;
    uint8_t val[EXI_VARINT_MAX];
    struct exi_key k;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        uint64_t txnum = r[i].c >> BULK_INDEX_BITS;
        struct exi_skey s;

        if (is_dead(m, txnum)) {
            continue;
        }
        s = rec_skey(&r[i]);
        exi_key_utxo(&k, &s, txnum,
                     (uint32_t) r[i].c & ((1u << BULK_INDEX_BITS) - 1));
        rc = settle_load_add(m->load[2], k.b, k.len, val,
                             exi_put_varint(val, r[i].d));
        m->counts.utxos++;
    }
    return rc;
}

/* The job of one partition of script keys. */
static void
skey_job(const struct bulk_maker *m, struct bulk_sort_job *j, uint32_t part)
{
    unsigned bits = m->b->st.bits[BULK_K_HIST];

    memset(j, 0, sizeof(*j));
    j->part = part;
    j->low = (uint64_t) part << (64 - bits);
    j->width = 64 - bits;
    j->ctx = (void *) (uintptr_t) m;
}

int
bulk_hist_task(struct bulk_maker *m, uint32_t from, uint32_t to)
{
    struct bulk_temp *h = &m->b->temp[BULK_K_HIST];
    struct bulk_temp *u = &m->b->temp[BULK_K_UTXO];
    struct bulk_sort_job j;
    int rc = EXI_OK;

    for (uint32_t i = from; rc == EXI_OK && i < to; i++) {
        skey_job(m, &j, i);
        j.t[0] = h;
        j.decode[0] = decode_hist;
        j.t[1] = u;
        j.decode[1] = decode_utxo_hist;
        j.row = 64u - m->b->params.script_bits;
        j.fn = hist_sorted;
        rc = bulk_sort_run(&m->sorter, &j);
        if (rc == EXI_OK) {
            skey_job(m, &j, i);
            j.t[0] = u;
            j.decode[0] = decode_utxo;
            j.fn = utxo_sorted;
            rc = bulk_sort_run(&m->sorter, &j);
        }
        atomic_fetch_add(&m->b->done, h->len[i] + u->len[i]);
        if (rc == EXI_OK && (rc = atomic_load(&m->b->stop)) != 0) {
            return rc;
        }
    }
    return rc;
}
