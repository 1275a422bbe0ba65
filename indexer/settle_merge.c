/*
 * Rows of a bucket -> one row (docs/index-format.md, "Merged rows").
 *
 * Each settle batch writes rows of its own; folding makes one of those that a
 * bucket has, under the chunk of the first.  Whatever is read is checked as if
 * it came from a stranger: a damaged row ends the fold with EXI_EFORMAT.
 *
 * `G` rows are of the same scripts in the same order as those in `H` rows, so
 * they stream by: of a heavy script no more than what one row holds is in
 * memory, and full rows of the first chunk are passed on as they are.
 */
#include "settle_fold.h"

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

/* A row of the bucket. */
struct row {
    uint32_t chunk;
    size_t at; /* of its value in vals */
    size_t len;
};

struct settle_merge {
    struct settle *s;
    struct settle_fold *f;
    struct row *rows;
    size_t nrows;
    size_t cap_rows;
    struct settle_buf vals; /* of the rows */
    struct settle_buf out;
    struct settle_buf list;
    uint64_t *nums; /* of one script, ascending, not written yet */
    size_t nnums;
    size_t cap_nums;
    uint64_t last;     /* the highest number of the script so far */
    uint64_t parts;    /* its `G` rows written so far */
    struct part *part; /* one for each row */
    size_t cap_part;
    struct settle_rec *rec;
    size_t nrec;
    size_t cap_rec;
    uint64_t tag; /* the highest of the rows' */
    uint8_t key[EXI_KEY_BUCKET_PREFIX];
};

int
settle_merge_new(struct settle_merge **out, struct settle *s,
                 struct settle_fold *f)
{
    struct settle_merge *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        return EXI_ENOMEM;
    }
    m->s = s;
    m->f = f;
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
    free(m->part);
    free(m->rec);
    free(m);
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

/* Adds a list to m->nums, which must stay ascending; *n how many there were. */
static int
add_list(struct settle_merge *m, struct exi_rd list, uint64_t base, uint64_t *n)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    *n = 0;
    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if ((m->nnums > 0 || m->parts > 0) && txnum <= m->last) {
            return EXI_EFORMAT;
        }
        rc =
            settle_grow(&m->nums, &m->cap_nums, m->nnums + 1, sizeof(*m->nums));
        if (rc != EXI_OK) {
            return rc;
        }
        m->nums[m->nnums++] = m->last = txnum;
        ++*n;
    }
    return rc;
}

/* Key of the next `G` row of a script. */
static int
next_part(struct settle_merge *m, const struct exi_skey *s, struct exi_key *k)
{
    if (m->parts > UINT16_MAX) {
        return EXI_EFORMAT;
    }
    exi_key_heavy(k, s, m->rows[0].chunk, (uint16_t) m->parts++);
    return EXI_OK;
}

/* Writes what is in m->nums as `G` rows; all: also the last one, not full. */
static int
put_parts(struct settle_merge *m, const struct exi_skey *s, bool all)
{
    size_t at = 0;
    int rc = EXI_OK;

    while (rc == EXI_OK
           && (m->nnums - at >= EXI_HEAVY_PART || (all && m->nnums > at))) {
        size_t n =
            m->nnums - at < EXI_HEAVY_PART ? m->nnums - at : EXI_HEAVY_PART;
        uint64_t before = 0;
        struct exi_key k;

        m->list.len = 0;
        for (size_t i = at; rc == EXI_OK && i < at + n; i++) {
            rc = settle_buf_varint(&m->list, m->nums[i] - before);
            before = m->nums[i];
        }
        if (rc == EXI_OK) {
            rc = next_part(m, s, &k);
        }
        if (rc == EXI_OK) {
            rc = settle_fold_put(m->f, &k, m->tag, m->list.p, m->list.len);
        }
        at += n;
    }
    m->nnums -= at;
    memmove(m->nums, m->nums + at, m->nnums * sizeof(*m->nums));
    return rc;
}

/* One `G` row of a script; keep: it is a full one of the first chunk. */
static int
add_part(struct settle_merge *m, const struct exi_skey *s, uint32_t chunk,
         uint64_t part, bool keep, uint64_t *n)
{
    struct settle_raw row;
    struct exi_key k;
    int rc;

    exi_key_heavy(&k, s, chunk, (uint16_t) part);
    rc = settle_fold_heavy_take(m->f, &k, &row);
    if (rc == EXI_OK && keep) {
        /* Not read: what follows it is above the last row's numbers. */
        m->parts++;
        *n = EXI_HEAVY_PART;
        return settle_fold_put(m->f, &k, row.tag, row.val, row.vallen);
    }
    return rc == EXI_OK ? add_list(m, exi_rd(row.val, row.vallen), 0, n) : rc;
}

/* All `G` rows of a script and chunk, `count` entries in them. */
static int
add_heavy(struct settle_merge *m, const struct exi_skey *s, uint32_t chunk,
          uint64_t count)
{
    uint64_t parts = (count + EXI_HEAVY_PART - 1) / EXI_HEAVY_PART, sum = 0;
    bool first = chunk == m->rows[0].chunk;
    int rc = count > 0 && parts <= UINT16_MAX + 1u ? EXI_OK : EXI_EFORMAT;

    for (uint64_t i = 0; rc == EXI_OK && i < parts; i++) {
        uint64_t n = 0;

        rc = add_part(m, s, chunk, i, first && i + 1 < parts, &n);
        if (rc == EXI_OK) {
            rc = put_parts(m, s, false);
        }
        sum += n;
    }
    return rc == EXI_OK && sum != count ? EXI_EFORMAT : rc;
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
        const uint8_t *s = m->part[i].suffix;

        if (s != NULL && (low == NULL || memcmp(s, low, suffixlen) < 0)) {
            low = s;
        }
    }
    return low;
}

/* Does row i have the script? */
static bool
has_script(const struct settle_merge *m, size_t i, const struct exi_skey *s,
           size_t skip)
{
    return m->part[i].suffix != NULL
           && memcmp(m->part[i].suffix, s->b + skip, EXI_SKEY_LEN - skip) == 0;
}

/* Gathers what row i says of a script; *count grows by its entries. */
static int
gather(struct settle_merge *m, size_t i, const struct exi_skey *s,
       uint64_t *count)
{
    struct part *p = &m->part[i];
    uint64_t n;
    int rc;

    if (p->heavy) {
        n = exi_rd_varint(&p->list);
        rc = p->list.bad ? EXI_EFORMAT : add_heavy(m, s, p->chunk, n);
    } else {
        rc = add_list(m, p->list, p->base, &n);
    }
    *count += n;
    return rc;
}

/* The only list of a script, relative to another base. */
static int
rebase(struct settle_merge *m, struct part *p, uint64_t base)
{
    uint64_t first = exi_rd_varint(&p->list);
    int rc = p->list.bad ? EXI_EFORMAT
                         : settle_buf_varint(&m->list, p->base - base + first);

    return rc == EXI_OK ? append(&m->list, p->list.p, exi_rd_left(&p->list))
                        : rc;
}

/* m->list = the lists of all rows that have the script. */
static int
join_lists(struct settle_merge *m, const struct exi_skey *s, size_t skip,
           uint64_t base, bool *heavy)
{
    uint64_t count = 0;
    struct exi_key k;
    int rc = EXI_OK;

    if (*heavy) {
        exi_key_heavy(&k, s, m->rows[0].chunk, 0);
        rc = settle_fold_heavy_to(m->f, &k);
    }
    for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
        if (has_script(m, i, s, skip)) {
            rc = gather(m, i, s, &count);
        }
    }
    if (rc == EXI_OK && !*heavy && m->nnums > EXI_HEAVY_MIN) {
        *heavy = true;
        exi_key_heavy(&k, s, m->rows[0].chunk, 0);
        rc = settle_fold_heavy_to(m->f, &k);
    }
    if (rc == EXI_OK && *heavy) {
        rc = put_parts(m, s, true);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    m->list.len = 0;
    return *heavy ? settle_buf_varint(&m->list, count) : put_light(m, base);
}

/* One script of all rows that have it. */
static int
merge_script(struct settle_merge *m, const struct exi_skey *s, size_t skip,
             uint64_t base)
{
    size_t n = 0, only = 0;
    bool heavy = false;
    int rc;

    m->nnums = 0;
    m->parts = 0;
    m->last = 0;
    m->list.len = 0;
    for (size_t i = 0; i < m->nrows; i++) {
        if (has_script(m, i, s, skip)) {
            heavy |= m->part[i].heavy;
            only = i;
            n++;
        }
    }
    if (n == 1 && !heavy) {
        rc = rebase(m, &m->part[only], base);
    } else if (n == 1 && only == 0) {
        rc = append(&m->list, m->part[0].list.p, exi_rd_left(&m->part[0].list));
    } else {
        rc = join_lists(m, s, skip, base, &heavy);
    }
    if (rc == EXI_OK) {
        rc = append(&m->out, s->b + skip, EXI_SKEY_LEN - skip);
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
    int rc = settle_grow(&m->part, &m->cap_part, m->nrows, sizeof(*m->part));

    for (size_t i = 0; rc == EXI_OK && i < m->nrows; i++) {
        struct part *p = &m->part[i];

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
            if (has_script(m, i, &s, skip)) {
                rc = next_script(&m->part[i], suffixlen);
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
read_spends(struct settle_merge *m, const struct row *row, uint64_t *lowest_by)
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

static int
put_row(struct settle_merge *m, const uint8_t *val, size_t len)
{
    struct exi_key k;

    memcpy(k.b, m->key, EXI_KEY_BUCKET_PREFIX);
    exi_put_be32(k.b + EXI_KEY_BUCKET_PREFIX, m->rows[0].chunk);
    k.len = EXI_KEY_BUCKET_LEN;
    return settle_fold_put(m->f, &k, m->tag, val, len);
}

static int
merge_rows(struct settle_merge *m)
{
    m->out.len = 0;
    m->nrec = 0;
    switch (m->key[0]) {
    case EXI_KIND_HISTORY:
        return merge_hist(m);
    case EXI_KIND_TXID:
        return merge_txids(m);
    default:
        return merge_spends(m);
    }
}

int
settle_merge_end(struct settle_merge *m)
{
    int rc = EXI_OK;

    if (m->nrows == 1) {
        rc = put_row(m, m->vals.p, m->vals.len);
    } else if (m->nrows > 1) {
        rc = merge_rows(m);
        if (rc == EXI_OK) {
            rc = put_row(m, m->out.p, m->out.len);
        }
    }
    m->nrows = 0;
    m->vals.len = 0;
    m->tag = 0;
    return rc;
}

int
settle_merge_reach(struct settle_merge *m, const uint8_t *key, size_t keylen)
{
    if (m->nrows == 0
        || (keylen == EXI_KEY_BUCKET_LEN
            && memcmp(m->key, key, sizeof(m->key)) == 0)) {
        return EXI_OK;
    }
    return settle_merge_end(m);
}

int
settle_merge_add(struct settle_merge *m, const struct settle_raw *row)
{
    int rc =
        settle_grow(&m->rows, &m->cap_rows, m->nrows + 1, sizeof(*m->rows));

    if (rc != EXI_OK) {
        return rc;
    }
    memcpy(m->key, row->key, sizeof(m->key));
    m->tag = row->tag > m->tag ? row->tag : m->tag;
    m->rows[m->nrows].chunk = exi_key_chunk(row->key);
    m->rows[m->nrows].at = m->vals.len;
    m->rows[m->nrows++].len = row->vallen;
    return append(&m->vals, row->val, row->vallen);
}
