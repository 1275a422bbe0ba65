/*
 * Rows of a bucket -> one row (docs/index-format.md, "Merged rows").
 *
 * Each settle batch writes rows of its own; tidying makes one of all that a
 * bucket has, under the chunk of the first.  The others are deleted in the same
 * write batch, so that every reader sees either all of the old or the new one.
 * Whatever is read is checked as if it came from a stranger: a damaged row ends
 * the merge with EXI_EFORMAT and nothing is written.
 *
 * A heavy script's list is extended, not made anew: only its last `G` row is
 * read and written again.
 */
#include "settle_int.h"

#include <stdlib.h>
#include <string.h>

/* A script in an `H` row that is being read. */
struct part {
    struct exi_rd rd; /* what follows it */
    struct exi_rd list;
    uint64_t base;
    uint32_t chunk;
    const uint8_t *suffix; /* NULL: the row is at its end */
    bool heavy;
};

struct settle_merge {
    struct settle *s;
    struct settle_db_batch *wb;
    struct settle_row *rows;
    size_t nrows;
    size_t cap_rows;
    struct settle_buf vals; /* of the rows */
    struct settle_buf out;
    struct settle_buf list;
    uint64_t *nums; /* of one script, ascending */
    size_t nnums;
    size_t cap_nums;
    struct part *parts; /* one for each row */
    size_t cap_parts;
    struct settle_rec *rec;
    size_t nrec;
    size_t cap_rec;
    int64_t row_diff; /* H, G and T rows more than before */
    uint8_t key[EXI_KEY_BUCKET_PREFIX];
    uint8_t heavy[EXI_HEAVY_PART * EXI_VARINT_MAX];
};

int
settle_merge_new(struct settle_merge **out, struct settle *s,
                 struct settle_db_batch *wb)
{
    struct settle_merge *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        return EXI_ENOMEM;
    }
    m->s = s;
    m->wb = wb;
    *out = m;
    return EXI_OK;
}

void
settle_merge_free(struct settle_merge *m)
{
    if (m == NULL) {
        return;
    }
    free(m->rows);
    free(m->vals.p);
    free(m->out.p);
    free(m->list.p);
    free(m->nums);
    free(m->parts);
    free(m->rec);
    free(m);
}

int64_t
settle_merge_row_diff(const struct settle_merge *m)
{
    return m->row_diff;
}

static int
append(struct settle_buf *b, const void *p, size_t n)
{
    uint8_t *to = settle_buf_add(b, n);

    if (to == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(to, p, n);
    return EXI_OK;
}

/*
 * Lists of numbers.
 */

/* Adds a list to m->nums, which must stay ascending. */
static int
add_list(struct settle_merge *m, struct exi_rd list, uint64_t base)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if (m->nnums > 0 && txnum <= m->nums[m->nnums - 1]) {
            return EXI_EFORMAT;
        }
        rc =
            settle_grow(&m->nums, &m->cap_nums, m->nnums + 1, sizeof(*m->nums));
        if (rc != EXI_OK) {
            return rc;
        }
        m->nums[m->nnums++] = txnum;
    }
    return rc;
}

/* `G` rows part ... of a script and chunk, `count` entries in all of them;
 * remove: they are deleted. */
static int
add_heavy(struct settle_merge *m, const struct exi_skey *s, uint32_t chunk,
          uint64_t count, uint64_t part, bool remove)
{
    uint64_t parts = (count + EXI_HEAVY_PART - 1) / EXI_HEAVY_PART;
    size_t before = m->nnums, len;
    struct exi_key k;
    int rc = parts <= UINT16_MAX + 1u ? EXI_OK : EXI_EFORMAT;

    for (uint64_t i = part; rc == EXI_OK && i < parts; i++) {
        exi_key_heavy(&k, s, chunk, (uint16_t) i);
        rc = settle_db_get(m->s->db, k.b, k.len, m->heavy, sizeof(m->heavy),
                           &len);
        if (rc == EXI_ENOTFOUND) {
            return EXI_EFORMAT;
        }
        if (rc == EXI_OK) {
            rc = add_list(m, exi_rd(m->heavy, len), 0);
        }
        if (rc == EXI_OK && remove) {
            rc = settle_db_delete(m->wb, k.b, k.len);
            m->row_diff--;
        }
    }
    if (rc == EXI_OK && m->nnums - before != count - part * EXI_HEAVY_PART) {
        rc = EXI_EFORMAT;
    }
    return rc;
}

/* m->nums as `G` rows from number `kept` on, in place of `old` rows; m->list
 * gets the count of all entries. */
static int
put_heavy(struct settle_merge *m, const struct exi_skey *s, uint32_t chunk,
          uint64_t kept, uint64_t old)
{
    uint32_t rows;
    int rc = settle_rows_heavy(m->wb, &m->list, s, chunk, (uint32_t) kept,
                               m->nums, m->nnums, &rows);

    m->row_diff += (int64_t) rows - (int64_t) old;
    m->list.len = 0;
    if (rc == EXI_OK) {
        rc = settle_buf_varint(&m->list, kept * EXI_HEAVY_PART + m->nnums);
    }
    return rc;
}

static int
put_light(struct settle_merge *m, uint64_t base)
{
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < m->nnums; i++) {
        rc = settle_buf_varint(&m->list, m->nums[i] - base);
        base = m->nums[i];
    }
    return rc;
}

/*
 * `H` rows.
 */

/* Steps to the next script of a row. */
static int
next_script(struct part *p, size_t suffixlen)
{
    uint64_t head;

    if (exi_rd_left(&p->rd) == 0) {
        p->suffix = NULL;
        return p->rd.bad ? EXI_EFORMAT : EXI_OK;
    }
    p->suffix = exi_rd_bytes(&p->rd, suffixlen);
    head = exi_rd_varint(&p->rd);
    if (p->rd.bad || head / 2 > exi_rd_left(&p->rd)) {
        return EXI_EFORMAT;
    }
    p->heavy = head & 1;
    p->list =
        exi_rd(exi_rd_bytes(&p->rd, (size_t) (head / 2)), (size_t) (head / 2));
    return EXI_OK;
}

/* The lowest suffix that a row stands at, or NULL. */
static const uint8_t *
lowest(const struct settle_merge *m, size_t suffixlen)
{
    const uint8_t *low = NULL;

    for (size_t i = 0; i < m->nrows; i++) {
        const uint8_t *s = m->parts[i].suffix;

        if (s != NULL && (low == NULL || memcmp(s, low, suffixlen) < 0)) {
            low = s;
        }
    }
    return low;
}

/*
 * Gathers what row i says of a script.  *kept: full `G` rows of the first chunk
 * that stay; *old: those that are written again.
 */
static int
gather(struct settle_merge *m, size_t i, const struct exi_skey *s,
       uint64_t *kept, uint64_t *old)
{
    struct part *p = &m->parts[i];
    uint64_t count;

    if (!p->heavy) {
        return add_list(m, p->list, p->base);
    }
    count = exi_rd_varint(&p->list);
    if (p->list.bad || count == 0) {
        return EXI_EFORMAT;
    }
    if (i > 0) {
        return add_heavy(m, s, p->chunk, count, 0, true);
    }
    *kept = (count - 1) / EXI_HEAVY_PART;
    *old = 1;
    return add_heavy(m, s, p->chunk, count, *kept, false);
}

/* One script of all rows that have it. */
static int
merge_script(struct settle_merge *m, const struct exi_skey *s, size_t skip,
             uint64_t base)
{
    size_t suffixlen = EXI_SKEY_LEN - skip, n = 0, only = 0;
    uint64_t kept = 0, old = 0;
    bool heavy = false;
    int rc = EXI_OK;

    m->nnums = 0;
    m->list.len = 0;
    for (size_t i = 0; i < m->nrows; i++) {
        if (m->parts[i].suffix != NULL
            && memcmp(m->parts[i].suffix, s->b + skip, suffixlen) == 0) {
            heavy |= m->parts[i].heavy;
            only = i;
            n++;
        }
    }
    if (n == 1 && (heavy ? only == 0 : m->parts[only].base == base)) {
        rc = append(&m->list, m->parts[only].list.p,
                    exi_rd_left(&m->parts[only].list));
    } else {
        for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
            if (m->parts[i].suffix != NULL
                && memcmp(m->parts[i].suffix, s->b + skip, suffixlen) == 0) {
                rc = gather(m, i, s, &kept, &old);
            }
        }
        heavy |= m->nnums > EXI_HEAVY_MIN;
        if (rc == EXI_OK) {
            rc = heavy ? put_heavy(m, s, m->rows[0].chunk, kept, old)
                       : put_light(m, base);
        }
    }
    if (rc == EXI_OK) {
        rc = append(&m->out, s->b + skip, suffixlen);
    }
    if (rc == EXI_OK) {
        rc = settle_buf_varint(&m->out, m->list.len * 2 + heavy);
    }
    return rc == EXI_OK ? append(&m->out, m->list.p, m->list.len) : rc;
}

/* Opens the rows; *base is the lowest of theirs. */
static int
open_parts(struct settle_merge *m, size_t suffixlen, uint64_t *base)
{
    int rc = settle_grow(&m->parts, &m->cap_parts, m->nrows, sizeof(*m->parts));

    for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
        struct part *p = &m->parts[i];

        p->rd = exi_rd(m->vals.p + m->rows[i].at, m->rows[i].len);
        p->base = exi_rd_varint(&p->rd);
        p->chunk = m->rows[i].chunk;
        if (i == 0 || p->base < *base) {
            *base = p->base;
        }
        rc = p->rd.bad ? EXI_EFORMAT : next_script(p, suffixlen);
    }
    return rc;
}

static int
merge_hist(struct settle_merge *m)
{
    size_t skip = m->s->params.script_bits / 8u;
    size_t suffixlen = EXI_SKEY_LEN - skip;
    const uint8_t *low;
    struct exi_skey s;
    uint64_t base = 0;
    int rc = open_parts(m, suffixlen, &base);

    if (rc == EXI_OK) {
        rc = settle_buf_varint(&m->out, base);
    }
    memcpy(s.b, m->key + 1, 4);
    while (rc == EXI_OK && (low = lowest(m, suffixlen)) != NULL) {
        memcpy(s.b + skip, low, suffixlen);
        rc = merge_script(m, &s, skip, base);
        for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
            struct part *p = &m->parts[i];

            if (p->suffix != NULL
                && memcmp(p->suffix, s.b + skip, suffixlen) == 0) {
                rc = next_script(p, suffixlen);
            }
        }
    }
    return rc;
}

/*
 * `T` and `S` rows.
 */

/* Room for one more record, and for as many to sort with. */
static struct settle_rec *
new_rec(struct settle_merge *m)
{
    if (settle_grow(&m->rec, &m->cap_rec, 2 * (m->nrec + 1), sizeof(*m->rec))
        != EXI_OK) {
        return NULL;
    }
    memset(&m->rec[m->nrec], 0, sizeof(*m->rec));
    return &m->rec[m->nrec++];
}

static int
merge_txids(struct settle_merge *m)
{
    if (m->vals.len % EXI_TXID_ENTRY != 0) {
        return EXI_EFORMAT;
    }
    for (size_t i = 0; i < m->vals.len; i += EXI_TXID_ENTRY) {
        struct settle_rec *r = new_rec(m);

        if (r == NULL) {
            return EXI_ENOMEM;
        }
        r->hi = exi_be64(m->vals.p + i);
    }
    settle_sort(m->rec, m->rec + m->nrec, m->nrec);
    for (size_t i = 0; i < m->nrec; i++) {
        uint8_t *p = settle_buf_add(&m->out, EXI_TXID_ENTRY);

        if (p == NULL) {
            return EXI_ENOMEM;
        }
        exi_put_be64(p, m->rec[i].hi);
    }
    return EXI_OK;
}

/* Entries of one `S` row as records: hi = transaction in the group, lo = output
 * index, v and w = high and low half of the spender's number. */
static int
read_spends(struct settle_merge *m, const struct settle_row *row,
            uint64_t *lowest_by)
{
    struct exi_rd rd = exi_rd(m->vals.p + row->at, row->len);
    uint64_t base = exi_rd_varint(&rd);

    while (!rd.bad && exi_rd_left(&rd) > 0) {
        struct settle_rec *r = new_rec(m);
        uint64_t by;

        if (r == NULL) {
            return EXI_ENOMEM;
        }
        r->hi = exi_rd_varint(&rd);
        r->lo = exi_rd_ovarint(&rd);
        by = base + exi_rd_varint(&rd);
        r->v = (uint32_t) (by >> 32);
        r->w = (uint32_t) by;
        if (r->hi > 63) {
            return EXI_EFORMAT;
        }
        *lowest_by = by < *lowest_by ? by : *lowest_by;
    }
    return rd.bad ? EXI_EFORMAT : EXI_OK;
}

static int
put_spend(struct settle_merge *m, const struct settle_rec *r, uint64_t base)
{
    uint8_t b[2 * EXI_VARINT_MAX + EXI_OVARINT_MAX];
    size_t n = exi_put_varint(b, r->hi);

    n += exi_put_ovarint(b + n, (uint32_t) r->lo);
    n += exi_put_varint(b + n, ((uint64_t) r->v << 32 | r->w) - base);
    return append(&m->out, b, n);
}

static int
merge_spends(struct settle_merge *m)
{
    uint64_t base = UINT64_MAX;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
        rc = read_spends(m, &m->rows[i], &base);
    }
    if (rc == EXI_OK) {
        settle_sort(m->rec, m->rec + m->nrec, m->nrec);
        rc = settle_buf_varint(&m->out, base);
    }
    for (size_t i = 0; rc == EXI_OK && i < m->nrec; i++) {
        rc = put_spend(m, &m->rec[i], base);
    }
    return rc;
}

/*
 * Buckets.
 */

/* The merged row in place of the others. */
static int
replace(struct settle_merge *m)
{
    struct exi_key k;
    int rc = EXI_OK;

    memcpy(k.b, m->key, EXI_KEY_BUCKET_PREFIX);
    k.len = EXI_KEY_BUCKET_LEN;
    for (size_t i = m->nrows; rc == EXI_OK && i-- > 1;) {
        exi_put_be32(k.b + EXI_KEY_BUCKET_PREFIX, m->rows[i].chunk);
        rc = settle_db_delete(m->wb, k.b, k.len);
    }
    exi_put_be32(k.b + EXI_KEY_BUCKET_PREFIX, m->rows[0].chunk);
    if (rc == EXI_OK) {
        rc = settle_db_put(m->wb, k.b, k.len, m->out.p, m->out.len);
    }
    if (m->key[0] != EXI_KIND_SPENDER) {
        m->row_diff -= (int64_t) m->nrows - 1;
    }
    return rc;
}

int
settle_merge_end(struct settle_merge *m)
{
    int rc = EXI_OK;

    if (m->nrows > 1) {
        m->out.len = 0;
        m->nrec = 0;
        rc = m->key[0] == EXI_KIND_HISTORY ? merge_hist(m)
             : m->key[0] == EXI_KIND_TXID  ? merge_txids(m)
                                           : merge_spends(m);
        if (rc == EXI_OK) {
            rc = replace(m);
        }
    }
    m->nrows = 0;
    m->vals.len = 0;
    return rc;
}

int
settle_merge_add(struct settle_merge *m, const uint8_t *key, const uint8_t *val,
                 size_t vallen)
{
    int rc = EXI_OK;

    if (m->nrows > 0 && memcmp(m->key, key, sizeof(m->key)) != 0) {
        rc = settle_merge_end(m);
    }
    if (rc == EXI_OK) {
        rc =
            settle_grow(&m->rows, &m->cap_rows, m->nrows + 1, sizeof(*m->rows));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    memcpy(m->key, key, sizeof(m->key));
    m->rows[m->nrows].chunk = exi_key_chunk(key);
    m->rows[m->nrows].at = m->vals.len;
    m->rows[m->nrows++].len = vallen;
    return append(&m->vals, val, vallen);
}
