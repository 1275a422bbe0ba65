/*
 * Duplicate coinbases (BIP 30): blocks 91880 and 91842 of Bitcoin's main chain
 * have coinbases with the txids of those of 91722 and 91812.  The later
 * transaction replaces the earlier in `T`, `H`, `G`, `U` and `O`; the flat
 * files keep both.
 *
 * It is the one case in which a settled row is read and written again.  The
 * replaced transaction has no inputs and the same outputs as the new one, so
 * the rows that name it are those of its txid's and its scripts' buckets; each
 * such row is rewritten without the numbers of all replaced transactions.
 */
#include "settle_int.h"

#include <stdlib.h>
#include <string.h>

struct dup {
    struct settle *s;
    struct settle_db_batch *wb;
    struct exi_meta *m;
    struct settle_buf row;  /* the row made anew */
    struct settle_buf list; /* a list in it */
    uint64_t *txnums;       /* of one script */
    size_t ntxnums;
    size_t cap_txnums;
    bool changed; /* the row differs from the old one */
    uint8_t part[EXI_HEAVY_PART * EXI_VARINT_MAX];
};

static bool
is_replaced(const struct dup *d, uint64_t txnum)
{
    const struct settle_batch *b = &d->s->batch;

    for (size_t i = 0; i < b->ndup; i++) {
        if (b->dups[i].old_txnum == txnum) {
            return true;
        }
    }
    return false;
}

/* Reads a list of txnums without replaced ones into d->txnums; *found grows by
 * the number of those. */
static int
read_list(struct dup *d, struct exi_rd list, uint64_t base, uint32_t *found)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if (is_replaced(d, txnum)) {
            ++*found;
            continue;
        }
        rc = settle_grow(&d->txnums, &d->cap_txnums, d->ntxnums + 1,
                         sizeof(*d->txnums));
        if (rc != EXI_OK) {
            return rc;
        }
        d->txnums[d->ntxnums++] = txnum;
    }
    return rc;
}

static int
delete_key(struct dup *d, const struct exi_key *k)
{
    d->m->row_count--;
    return settle_db_delete(d->wb, k->b, k->len);
}

/* The `G` rows of a script and chunk, made anew if they name a replaced one;
 * the number of entries is left in d->ntxnums. */
static int
rewrite_heavy(struct dup *d, const struct exi_skey *s, uint32_t chunk,
              uint32_t *found)
{
    uint32_t parts = 0, rows;
    struct exi_key k;
    size_t len;
    int rc;

    for (;; parts++) {
        exi_key_heavy(&k, s, chunk, (uint16_t) parts);
        rc =
            settle_db_get(d->s->db, k.b, k.len, d->part, sizeof(d->part), &len);
        if (rc == EXI_OK) {
            rc = read_list(d, exi_rd(d->part, len), 0, found);
        }
        if (rc != EXI_OK) {
            break;
        }
    }
    if (rc != EXI_ENOTFOUND || *found == 0) {
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    rc = settle_rows_heavy(d->wb, &d->list, s, chunk, d->txnums, d->ntxnums,
                           &rows);
    for (; rc == EXI_OK && rows < parts; rows++) {
        exi_key_heavy(&k, s, chunk, (uint16_t) rows);
        rc = delete_key(d, &k);
    }
    return rc;
}

/* d->list = what the row says of the script: a count or the numbers. */
static int
make_list(struct dup *d, bool heavy, uint64_t base)
{
    int rc = EXI_OK;

    d->list.len = 0;
    if (heavy) {
        return settle_buf_varint(&d->list, d->ntxnums);
    }
    for (size_t i = 0; rc == EXI_OK && i < d->ntxnums; i++) {
        rc = settle_buf_varint(&d->list, d->txnums[i] - base);
        base = d->txnums[i];
    }
    return rc;
}

static int
row_bytes(struct dup *d, const void *p, size_t n)
{
    uint8_t *to = settle_buf_add(&d->row, n);

    if (to == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(to, p, n);
    return EXI_OK;
}

/* One script of an `H` row. */
static int
rewrite_script(struct dup *d, const struct exi_skey *s, size_t skip,
               uint32_t chunk, struct exi_rd list, bool heavy, uint64_t base)
{
    size_t before = exi_rd_left(&list);
    const uint8_t *old = list.p;
    uint32_t found = 0;
    int rc;

    d->ntxnums = 0;
    rc = heavy ? rewrite_heavy(d, s, chunk, &found)
               : read_list(d, list, base, &found);
    if (rc != EXI_OK) {
        return rc;
    }
    if (found != 0) {
        d->changed = true;
        d->m->hist_count -= found;
        if (d->ntxnums == 0) {
            return EXI_OK;
        }
        rc = make_list(d, heavy, base);
        old = d->list.p;
        before = d->list.len;
    }
    if (rc == EXI_OK) {
        rc = row_bytes(d, s->b + skip, EXI_SKEY_LEN - skip);
    }
    if (rc == EXI_OK) {
        rc = settle_buf_varint(&d->row, before * 2 + heavy);
    }
    return rc == EXI_OK ? row_bytes(d, old, before) : rc;
}

/* d->row = the `H` row without replaced transactions; empty: nothing left. */
static int
rewrite_hist(struct dup *d, const uint8_t *key, const uint8_t *val,
             size_t vallen)
{
    size_t skip = d->s->params.script_bits / 8u, header;
    struct exi_rd rd = exi_rd(val, vallen);
    uint64_t base = exi_rd_varint(&rd), head;
    const uint8_t *p;
    struct exi_skey s;
    int rc = settle_buf_varint(&d->row, base);

    header = d->row.len;
    memcpy(s.b, key + 1, 4);
    while (rc == EXI_OK && !rd.bad && exi_rd_left(&rd) > 0) {
        p = exi_rd_bytes(&rd, EXI_SKEY_LEN - skip);
        head = exi_rd_varint(&rd);
        if (rd.bad || head / 2 > exi_rd_left(&rd)) {
            return EXI_EFORMAT;
        }
        memcpy(s.b + skip, p, EXI_SKEY_LEN - skip);
        p = exi_rd_bytes(&rd, (size_t) (head / 2));
        rc = rewrite_script(d, &s, skip, exi_key_chunk(key),
                            exi_rd(p, (size_t) (head / 2)), head & 1, base);
    }
    if (d->row.len == header) {
        d->row.len = 0;
    }
    return rd.bad ? EXI_EFORMAT : rc;
}

/* The same for a `T` row. */
static int
rewrite_txids(struct dup *d, const uint8_t *val, size_t vallen)
{
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i + EXI_TXID_ENTRY <= vallen;
         i += EXI_TXID_ENTRY) {
        if (is_replaced(d, exi_be40(val + i + 3))) {
            d->changed = true;
        } else {
            rc = row_bytes(d, val + i, EXI_TXID_ENTRY);
        }
    }
    return rc;
}

static int
rewrite_row(struct dup *d, enum exi_kind kind, const uint8_t *key,
            const uint8_t *val, size_t vallen)
{
    struct exi_key k;
    int rc;

    d->row.len = 0;
    d->changed = false;
    rc = kind == EXI_KIND_TXID ? rewrite_txids(d, val, vallen)
                               : rewrite_hist(d, key, val, vallen);
    if (rc != EXI_OK || !d->changed) {
        return rc;
    }
    memcpy(k.b, key, EXI_KEY_BUCKET_LEN);
    k.len = EXI_KEY_BUCKET_LEN;
    if (d->row.len == 0) {
        return delete_key(d, &k);
    }
    return settle_db_put(d->wb, k.b, k.len, d->row.p, d->row.len);
}

/* All rows of a bucket. */
static int
rewrite_bucket(struct dup *d, enum exi_kind kind, uint32_t bucket)
{
    struct settle_db_iter *it = settle_iter(d->s);
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    int rc;

    if (it == NULL) {
        return EXI_ENOMEM;
    }
    exi_key_bucket(&k, kind, bucket, 0);
    settle_db_iter_seek(it, k.b, k.len);
    while ((rc = settle_db_iter_row(it, &key, &keylen, &val, &vallen)) == 1
           && keylen == EXI_KEY_BUCKET_LEN
           && memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        rc = rewrite_row(d, kind, key, val, vallen);
        if (rc != EXI_OK) {
            return rc;
        }
        settle_db_iter_next(it);
    }
    return rc < 0 ? rc : EXI_OK;
}

/* Buckets that name replaced transactions, ascending by kind and number. */
static size_t
list_buckets(const struct settle *s, struct settle_rec *rec)
{
    const struct settle_batch *b = &s->batch;
    size_t n = 0;

    for (size_t i = 0; i < b->ndup; i++) {
        uint32_t tx = b->dups[i].tx;

        rec[n].hi = EXI_KIND_TXID;
        rec[n++].lo = exi_bucket(b->txids[tx].b, s->params.txid_bits);
        for (uint32_t k = b->first_out[tx]; k < b->first_out[tx + 1]; k++) {
            if (b->outs[k].state != OUT_NO_ROWS) {
                rec[n].hi = EXI_KIND_HISTORY;
                rec[n++].lo = exi_bucket(b->outs[k].s.b, s->params.script_bits);
            }
        }
    }
    settle_sort(rec, rec + n, n);
    return n;
}

int
settle_dup_outs(struct settle *s)
{
    struct settle_batch *b = &s->batch;
    int rc = EXI_OK;

    for (size_t i = 0; i < b->ndup; i++) {
        uint32_t tx = b->dups[i].tx, first = b->first_out[tx];

        for (uint32_t k = first; k < b->first_out[tx + 1]; k++) {
            struct settle_del d = { .txnum = b->dups[i].old_txnum,
                                    .index = k - first,
                                    .replaced = true };

            rc = settle_find_out(s, d.txnum, d.index, &d.s);
            if (rc == EXI_ENOTFOUND) {
                continue;
            }
            if (rc == EXI_OK) {
                rc = settle_grow(&b->dels, &b->cap_del, b->ndel + 1,
                                 sizeof(*b->dels));
            }
            if (rc != EXI_OK) {
                return rc;
            }
            b->dels[b->ndel++] = d;
        }
    }
    return EXI_OK;
}

int
settle_dup_rows(struct settle *s, struct settle_db_batch *wb,
                struct exi_meta *m)
{
    const struct settle_batch *b = &s->batch;
    struct settle_rec *rec = NULL;
    struct dup *d = NULL;
    size_t n = b->ndup;
    int rc = EXI_ENOMEM;

    if (n == 0) {
        return EXI_OK;
    }
    for (size_t i = 0; i < b->ndup; i++) {
        uint32_t tx = b->dups[i].tx;
        n += b->first_out[tx + 1] - b->first_out[tx];
    }
    d = calloc(1, sizeof(*d));
    rec = calloc(n * 2, sizeof(*rec));
    if (d == NULL || rec == NULL) {
        goto done;
    }
    d->s = s;
    d->wb = wb;
    d->m = m;
    n = list_buckets(s, rec);
    rc = EXI_OK;
    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        if (i == 0 || rec[i].hi != rec[i - 1].hi
            || rec[i].lo != rec[i - 1].lo) {
            rc = rewrite_bucket(d, (enum exi_kind) rec[i].hi,
                                (uint32_t) rec[i].lo);
        }
    }

done:
    if (d != NULL) {
        free(d->row.p);
        free(d->list.p);
        free(d->txnums);
    }
    free(d);
    free(rec);
    return rc;
}
