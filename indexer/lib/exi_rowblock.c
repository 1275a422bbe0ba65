/*
 * Rows of a block; see the header.  A key is put together in the place it is
 * kept in: what it shares with the one before it stands there already.
 */
#include "exi_rowblock.h"

bool
exi_rowblock_long_head(const uint8_t **p, const uint8_t *end, uint32_t *shared,
                       uint32_t *rest, uint32_t *vallen)
{
    struct exi_rd rd = exi_rd(*p, (size_t) (end - *p));
    uint64_t a = exi_rd_varint(&rd), b = exi_rd_varint(&rd),
             c = exi_rd_varint(&rd);

    if (rd.bad || a > EXI_ROWKEY_MAX + EXI_ROWTAG
        || b > EXI_ROWKEY_MAX + EXI_ROWTAG || c > UINT32_MAX
        || b + c > exi_rd_left(&rd)) {
        return false;
    }
    *p = rd.p;
    *shared = (uint32_t) a;
    *rest = (uint32_t) b;
    *vallen = (uint32_t) c;
    return true;
}

int
exi_rowblock_begin(struct exi_rowblock *b, const uint8_t *p, size_t n)
{
    uint32_t k;

    if (n < 4) {
        return EXI_EFORMAT;
    }
    k = exi_le32(p + n - 4);
    if (k == 0 || k > (n - 4) / 4) {
        return EXI_EFORMAT;
    }
    b->p = b->next = p;
    b->end = p + n - 4 - (size_t) k * 4;
    b->nrestarts = k;
    b->keylen = b->shared = 0;
    memset(b->key, 0, EXI_ROWTAG);
    return EXI_OK;
}

/* At a restart point: nothing stands in b->key that could be shared. */
static int
read_row(struct exi_rowblock *b, bool restart)
{
    const uint8_t *p = b->next;
    uint32_t shared, rest, vallen, len;

    if (p == b->end) {
        return 0;
    }
    if (!exi_rowblock_head(&p, b->end, &shared, &rest, &vallen)) {
        return EXI_EFORMAT;
    }
    len = shared + rest;
    if (shared > (restart ? 0 : b->keylen + EXI_ROWTAG) || len < EXI_ROWTAG
        || len > EXI_ROWKEY_MAX + EXI_ROWTAG) {
        return EXI_EFORMAT;
    }
    memcpy(b->key + shared, p, rest);
    b->shared = shared;
    b->keylen = len - EXI_ROWTAG;
    b->val = p + rest;
    b->vallen = vallen;
    b->next = b->val + vallen;
    return b->key[b->keylen] <= EXI_ROW_VALUE ? 1 : EXI_EFORMAT;
}

int
exi_rowblock_next(struct exi_rowblock *b)
{
    return read_row(b, b->next == b->p);
}

/* Restart point i: where its row begins, and its key without tag. */
static int
restart(const struct exi_rowblock *b, uint32_t i, const uint8_t **row,
        const uint8_t **key, uint32_t *keylen)
{
    uint32_t at = exi_le32(b->end + (size_t) i * 4), shared, vallen;

    if (at >= (size_t) (b->end - b->p)) {
        return EXI_EFORMAT;
    }
    *row = *key = b->p + at;
    if (!exi_rowblock_head(key, b->end, &shared, keylen, &vallen) || shared != 0
        || *keylen < EXI_ROWTAG) {
        return EXI_EFORMAT;
    }
    *keylen -= EXI_ROWTAG;
    return EXI_OK;
}

/* Goes to the last restart point whose key is below the one looked for. */
static int
seek_restart(struct exi_rowblock *b, const uint8_t *key, size_t keylen)
{
    uint32_t lo = 0, hi = b->nrestarts, len;
    const uint8_t *row, *k;

    b->next = b->p;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        int rc = restart(b, mid, &row, &k, &len);
        if (rc) {
            return rc;
        }
        if (exi_key_order(k, len, key, keylen) < 0) {
            lo = mid;
            b->next = row;
        } else {
            hi = mid;
        }
    }
    return EXI_OK;
}

/*
 * `same` bytes of the last row's key are those of the key looked for, then it
 * was less: a row that shares more bytes than these with it is less, too.
 */
int
exi_rowblock_seek(struct exi_rowblock *b, const uint8_t *key, size_t keylen)
{
    int rc = seek_restart(b, key, keylen);
    size_t same = 0, waslen = 0, n;
    bool first = true;

    if (rc) {
        return rc;
    }
    while ((rc = read_row(b, first)) == 1) {
        if (first || b->shared <= same || waslen <= same) {
            n = b->keylen < keylen ? b->keylen : keylen;
            same = b->shared < same ? b->shared : same;
            same = same < n ? same : n;
            while (same < n && b->key[same] == key[same]) {
                same++;
            }
            if (same == keylen
                || (same < b->keylen && b->key[same] > key[same])) {
                return 1;
            }
        }
        first = false;
        waslen = b->keylen;
    }
    return rc;
}
