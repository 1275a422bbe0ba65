/*
 * Check of the LevelDB rows (docs/index-format.md, section 4): one walk over
 * all of them decodes each strictly and adds what it says to sums that do not
 * depend on order: H and G rows must hold what their slots say, the numbers of a
 * chunk are those of its blocks, counts are the M row's.  check_cross.c then
 * compares rows with the flat files and with each other.
 */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_coin.h"
#include "lib/exi_token.h"

/* Rows between two looks at the clock. */
#define STEP_ROWS 4096

void
check_bad_row(struct check_rows *w, enum check_part part,
              const struct check_row *row, const char *what)
{
    char hex[2 * EXI_KEY_MAX + 1];
    size_t n = row->keylen < EXI_KEY_MAX ? row->keylen : EXI_KEY_MAX;

    for (size_t i = 0; i < n; i++) {
        static const char digits[] = "0123456789abcdef";

        hex[2 * i] = digits[row->key[i] >> 4];
        hex[2 * i + 1] = digits[row->key[i] & 15];
    }
    hex[2 * n] = '\0';
    check_found(w->c, part, "row %s: %s", hex, what);
}

/*
 * Chunks: the numbers of a row lie in [low, high).
 */

static int
chunk_first(struct check_rows *w, uint32_t chunk, uint64_t *txnum)
{
    if (chunk > w->c->m.height) {
        *txnum = w->c->m.tx_count;
        return EXI_OK;
    }
    return check_first(w->c, chunk, txnum);
}

/* next: chunk of the next row of the bucket (or script), if it has one. */
static int
chunk_bounds(struct check_rows *w, uint32_t chunk, bool has_next, uint32_t next)
{
    int rc = chunk_first(w, chunk, &w->low);

    w->high = w->c->m.tx_count;
    if (rc == EXI_OK && has_next) {
        rc = chunk_first(w, next, &w->high);
    }
    return rc;
}

static bool
in_chunk(const struct check_rows *w, uint64_t txnum)
{
    return txnum >= w->low && txnum < w->high;
}

/*
 * History.
 */

static void
add_entry(struct check_rows *w, const uint8_t key[EXI_SKEY_LEN], uint64_t txnum)
{
    uint8_t b[16] = { 0 };

    memcpy(b, key, EXI_SKEY_LEN);
    check_add(&w->c->r->history, exi_be64(b), exi_be64(b + 8), txnum, 0);
}

/* A list of numbers; *n grows by their count.  False: malformed. */
static bool
read_list(struct check_rows *w, const uint8_t skey[EXI_SKEY_LEN],
          struct exi_rd list, uint64_t base, uint64_t *last, uint64_t *n)
{
    uint64_t txnum = base;
    bool first = true;
    int rc;

    while ((rc = exi_txnums_next(&list, &txnum, &first)) == 1) {
        if (!in_chunk(w, txnum) || (*n > 0 && txnum <= *last)) {
            return false;
        }
        *last = txnum;
        ++*n;
        add_entry(w, skey, txnum);
    }
    return rc == 0;
}

/* The G rows of a slot must hold count entries. */
static int
check_slot(struct check_rows *w, const struct check_row *row,
           const struct exi_skey *s, uint32_t chunk, uint64_t count)
{
    uint64_t n = 0, last = 0;
    uint16_t part = 0;
    struct exi_key k;
    struct check_row g;
    int rc;

    exi_key_heavy(&k, s, chunk, 0);
    exi_rodb_iter_seek(w->heavy, k.b, k.len);
    while (
        (rc = exi_rodb_iter_row(w->heavy, &g.key, &g.keylen, &g.val, &g.vallen))
            == 1
        && g.keylen == k.len && memcmp(g.key, k.b, EXI_KEY_HEAVY_PREFIX) == 0) {
        exi_key_heavy(&k, s, chunk, part++);
        if (memcmp(g.key, k.b, k.len) != 0) {
            check_bad_row(w, CHECK_HISTORY, &g, "a part before it is missing");
        }
        if (!read_list(w, s->b, exi_rd(g.val, g.vallen), 0, &last, &n)) {
            check_bad_row(w, CHECK_HISTORY, &g,
                          "malformed, or numbers out of order");
            break;
        }
        w->heavy_found++;
        exi_rodb_iter_next(w->heavy);
    }
    if (rc >= 0 && n != count) {
        check_bad_row(w, CHECK_HISTORY, row,
                      "G rows do not hold what a slot says");
    }
    return rc < 0 ? rc : EXI_OK;
}

/* Script key of a bucket and suffix; false: they do not fit. */
static bool
script_key(struct exi_skey *s, uint32_t bucket, const uint8_t *suffix,
           uint8_t bits)
{
    uint8_t b[4];
    size_t skip = bits / 8;

    exi_put_be32(b, bucket);
    memcpy(s->b, b, skip);
    memcpy(s->b + skip, suffix, EXI_SKEY_LEN - skip);
    return exi_bucket(s->b, bits) == bucket;
}

static int
check_history(struct check_rows *w, const struct check_row *row)
{
    uint8_t bits = w->c->m.params.script_bits;
    size_t suffixlen = EXI_SKEY_LEN - bits / 8;
    struct exi_rd rd = exi_rd(row->val, row->vallen);
    uint32_t bucket = exi_be32(row->key + 1), chunk = exi_key_chunk(row->key);
    uint64_t base = exi_rd_varint(&rd);
    const uint8_t *before = NULL;
    int rc = EXI_OK;

    if (rd.bad || exi_rd_left(&rd) == 0) {
        check_bad_row(w, CHECK_HISTORY, row, "malformed");
        return EXI_OK;
    }
    while (rc == EXI_OK && exi_rd_left(&rd) > 0) {
        const uint8_t *suffix = exi_rd_bytes(&rd, suffixlen), *list;
        uint64_t head = exi_rd_varint(&rd), n = 0, last = 0, count;
        struct exi_skey s;
        struct exi_rd in;

        list = head >> 1 <= exi_rd_left(&rd)
                   ? exi_rd_bytes(&rd, (size_t) (head >> 1))
                   : NULL;
        if (rd.bad || list == NULL || !script_key(&s, bucket, suffix, bits)
            || (before != NULL && memcmp(before, suffix, suffixlen) >= 0)) {
            check_bad_row(w, CHECK_HISTORY, row,
                          "malformed, or scripts out of order");
            return EXI_OK;
        }
        before = suffix;
        in = exi_rd(list, (size_t) (head >> 1));
        if (head & 1) {
            count = exi_rd_varint(&in);
            if (in.bad || exi_rd_left(&in) != 0) {
                check_bad_row(w, CHECK_HISTORY, row, "malformed");
                return EXI_OK;
            }
            rc = check_slot(w, row, &s, chunk, count);
        } else if (!read_list(w, s.b, in, base, &last, &n) || n == 0) {
            check_bad_row(w, CHECK_HISTORY, row,
                          "malformed, or numbers out of order");
            return EXI_OK;
        }
    }
    return rc;
}

/*
 * Transaction numbers.
 */

void
check_add_txid(struct check_sum *sum, uint32_t bucket, const uint8_t more[3],
               uint64_t txnum)
{
    check_add(sum, bucket,
              (uint64_t) more[0] << 16 | (uint64_t) more[1] << 8 | more[2],
              txnum, 1);
}

static int
check_txid_row(struct check_rows *w, const struct check_row *row)
{
    uint32_t bucket = exi_be32(row->key + 1);
    size_t n = row->vallen / EXI_TXID_ENTRY;

    if (n == 0 || row->vallen % EXI_TXID_ENTRY != 0) {
        check_bad_row(w, CHECK_TXNUMS, row, "malformed");
        return EXI_OK;
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *e = row->val + i * EXI_TXID_ENTRY;
        uint64_t txnum = exi_be40(e + 3);

        if (!in_chunk(w, txnum)
            || (i > 0 && memcmp(e - EXI_TXID_ENTRY, e, EXI_TXID_ENTRY) >= 0)) {
            check_bad_row(w, CHECK_TXNUMS, row, "numbers out of order");
            return EXI_OK;
        }
        if (w->seen[txnum / 8] & 1 << txnum % 8) {
            check_bad_row(w, CHECK_TXNUMS, row,
                          "a transaction has two entries");
        }
        w->seen[txnum / 8] |= (uint8_t) (1 << txnum % 8);
        check_add_txid(&w->t, bucket, e, txnum);
    }
    return EXI_OK;
}

/*
 * Unspent outputs.
 */

static void
add_output(struct check_sum *sum, const uint8_t skey[EXI_SKEY_LEN],
           uint64_t txnum, uint64_t index)
{
    uint8_t b[16] = { 0 };

    memcpy(b, skey, EXI_SKEY_LEN);
    check_add(sum, exi_be64(b), exi_be64(b + 8), txnum, index);
}

static int
check_utxo(struct check_rows *w, const struct check_row *row)
{
    struct exi_rd rd = exi_rd(row->val, row->vallen);
    uint64_t txnum, value = exi_rd_varint(&rd);
    uint32_t index;

    if (row->keylen < EXI_KEY_UTXO_PREFIX
        || exi_key_utxo_parse(row->key, row->keylen, &txnum, &index) != EXI_OK
        || rd.bad || exi_rd_left(&rd) != 0 || value > INT64_MAX
        || txnum >= w->c->m.tx_count) {
        check_bad_row(w, CHECK_UNSPENT, row, "malformed");
        return EXI_OK;
    }
    add_output(&w->u, row->key + 1, txnum, index);
    check_add(&w->c->r->unspent, exi_be64(row->key + 1), value, txnum, index);
    return EXI_OK;
}

static int
check_outpoint(struct check_rows *w, const struct check_row *row)
{
    struct exi_rd rd = exi_rd(row->key, row->keylen);
    const uint8_t *num;
    uint32_t index;

    exi_rd_bytes(&rd, 1);
    num = exi_rd_bytes(&rd, 5);
    index = exi_rd_ovarint(&rd);
    if (rd.bad || exi_rd_left(&rd) != 0
        || !exi_outpoint_len_right(row->vallen,
                                   exi_coin_flags(w->c->m.params.network))
        || exi_be40(num) >= w->c->m.tx_count) {
        check_bad_row(w, CHECK_UNSPENT, row, "malformed");
        return EXI_OK;
    }
    add_output(&w->o, row->val, exi_be40(num), index);
    return EXI_OK;
}

/*
 * Spenders.
 */

/* May a transaction spend an output of the other? */
static bool
may_spend(const struct check_rows *w, uint64_t by, uint64_t txnum)
{
    return exi_coin_flags(w->c->m.params.network) & EXI_COIN_CTOR ? by != txnum
                                                                  : by > txnum;
}

static int
check_spender(struct check_rows *w, const struct check_row *row)
{
    struct exi_rd rd = exi_rd(row->val, row->vallen);
    uint64_t base = exi_rd_varint(&rd), group = exi_be32(row->key + 1);
    uint64_t before = 0;
    bool first = true;

    while (!rd.bad && exi_rd_left(&rd) > 0) {
        uint64_t low = exi_rd_varint(&rd);
        uint64_t index = exi_rd_ovarint(&rd), by = base + exi_rd_varint(&rd);
        uint64_t order = low << 32 | index;

        if (rd.bad || low >= 64 || !in_chunk(w, by)
            || !may_spend(w, by, group * 64 + low)
            || (!first && order <= before)) {
            check_bad_row(w, CHECK_SPENDERS, row, "malformed, or out of order");
            return EXI_OK;
        }
        first = false;
        before = order;
        check_add(&w->c->r->spenders, group * 64 + low, index, by, 2);
    }
    if (rd.bad || first) {
        check_bad_row(w, CHECK_SPENDERS, row, "malformed");
    }
    return EXI_OK;
}

/*
 * The walk.
 */

static void
check_meta(struct check_rows *w, const struct check_row *row)
{
    const struct exi_manifest *m = &w->c->m;
    struct exi_tidy tidy;

    if (row->keylen == EXI_KEY_TIDY_LEN
        && memcmp(row->key, EXI_KEY_TIDY, EXI_KEY_TIDY_LEN) == 0) {
        if (exi_tidy_decode(&tidy, row->val, row->vallen) != EXI_OK) {
            check_bad_row(w, CHECK_ROWS, row, "malformed");
        }
        return;
    }
    w->meta_seen =
        row->keylen == 1
        && exi_meta_decode(&w->meta, row->val, row->vallen) == EXI_OK;
    if (!w->meta_seen || w->meta.height != m->height
        || w->meta.tx_count != m->tx_count
        || memcmp(&w->meta.block, &m->block, sizeof(m->block)) != 0) {
        check_bad_row(w, CHECK_ROWS, row, "M row is not the manifest's");
    }
}

static int
check_row(struct check_rows *w, const struct check_row *row)
{
    switch (row->key[0]) {
    case EXI_KIND_META:
        check_meta(w, row);
        return EXI_OK;
    case EXI_KIND_HISTORY:
        return check_history(w, row);
    case EXI_KIND_HEAVY:
        w->heavy_rows++;
        return EXI_OK;
    case EXI_KIND_TXID:
        return check_txid_row(w, row);
    case EXI_KIND_UTXO:
        return check_utxo(w, row);
    case EXI_KIND_OUTPOINT:
        return check_outpoint(w, row);
    case EXI_KIND_SPENDER:
        return check_spender(w, row);
    default:
        check_bad_row(w, CHECK_ROWS, row, "of no known kind");
        return EXI_OK;
    }
}

/* Rows with a chunk wait for the next one, which bounds theirs. */
static bool
has_chunk(const struct check_row *row)
{
    return row->key[0] == EXI_KIND_HISTORY || row->key[0] == EXI_KIND_TXID
           || row->key[0] == EXI_KIND_SPENDER;
}

struct held {
    uint8_t *p;
    size_t cap;
    struct check_row row;
    bool some;
};

static int
hold(struct held *h, const struct check_row *row)
{
    size_t n = row->keylen + row->vallen;

    if (h->p == NULL || n > h->cap) {
        size_t cap = n + n / 2 + 1;
        uint8_t *p = realloc(h->p, cap);

        if (p == NULL) {
            return EXI_ENOMEM;
        }
        h->p = p;
        h->cap = cap;
    }
    memcpy(h->p, row->key, row->keylen);
    memcpy(h->p + row->keylen, row->val, row->vallen);
    h->row.key = h->p;
    h->row.keylen = row->keylen;
    h->row.val = h->p + row->keylen;
    h->row.vallen = row->vallen;
    h->some = true;
    return EXI_OK;
}

/* The row that was held, now that the next one is known. */
static int
release(struct check_rows *w, struct held *h, const struct check_row *next)
{
    uint32_t chunk;
    bool same;
    int rc;

    if (!h->some) {
        return EXI_OK;
    }
    h->some = false;
    if (h->row.keylen != EXI_KEY_BUCKET_LEN) {
        check_bad_row(w, CHECK_ROWS, &h->row, "key of a wrong length");
        return EXI_OK;
    }
    chunk = exi_key_chunk(h->row.key);
    if (chunk > w->c->m.height) {
        check_bad_row(w, CHECK_ROWS, &h->row,
                      "of a chunk above the settled height");
        return EXI_OK;
    }
    same = next != NULL && next->keylen == EXI_KEY_BUCKET_LEN
           && memcmp(next->key, h->row.key, EXI_KEY_BUCKET_PREFIX) == 0;
    rc = chunk_bounds(w, chunk, same, same ? exi_key_chunk(next->key) : 0);
    return rc == EXI_OK ? check_row(w, &h->row) : rc;
}

static bool
walk_step(struct check_rows *w, const struct check_row *row)
{
    char what[] = "rows X";

    what[5] = (char) row->key[0];
    return check_step(
        w->c, what,
        row->keylen >= 3 ? (uint64_t) row->key[1] << 8 | row->key[2] : 0,
        1 << 16);
}

static int
walk(struct check_rows *w)
{
    struct held h = { .some = false };
    struct check_row row;
    uint64_t n = 0;
    int rc, err = EXI_OK;

    exi_rodb_iter_seek(w->it, "", 0);
    while ((rc = exi_rodb_iter_row(w->it, &row.key, &row.keylen, &row.val,
                                   &row.vallen))
           == 1) {
        if (row.keylen == 0) {
            check_found(w->c, CHECK_ROWS, "a row with an empty key");
        } else {
            if (n++ % STEP_ROWS == 0 && !walk_step(w, &row)) {
                err = EXI_ESTALE;
            }
            if (err == EXI_OK) {
                err = release(w, &h, &row);
            }
            if (err == EXI_OK) {
                err = has_chunk(&row) ? hold(&h, &row) : check_row(w, &row);
            }
            if (err != EXI_OK) {
                break;
            }
        }
        exi_rodb_iter_next(w->it);
    }
    if (rc == EXI_EIO || err == EXI_EIO) {
        check_found(
            w->c, CHECK_ROWS, "a table can't be read behind row kind %c%s%s",
            h.some ? h.row.key[0] : '-', *exi_rodb_damage(w->c->db) ? ": " : "",
            exi_rodb_damage(w->c->db));
        err = EXI_OK;
    } else if (err == EXI_OK) {
        err = release(w, &h, NULL);
    }
    free(h.p);
    return err;
}

/* Counts of the M row against what was met. */
static void
compare_counts(struct check_rows *w)
{
    const struct check_result *r = w->c->r;

    if (!w->meta_seen) {
        check_found(w->c, CHECK_ROWS, "there is no M row");
        return;
    }
    if (r->history.n != w->meta.hist_count) {
        check_found(w->c, CHECK_HISTORY,
                    "%" PRIu64 " entries, the M row says %" PRIu64,
                    r->history.n, w->meta.hist_count);
    }
    if (w->u.n != w->meta.utxo_count) {
        check_found(w->c, CHECK_UNSPENT,
                    "%" PRIu64 " outputs, the M row says %" PRIu64, w->u.n,
                    w->meta.utxo_count);
    }
    if (w->heavy_rows != w->heavy_found) {
        check_found(w->c, CHECK_HISTORY,
                    "%" PRIu64 " G rows, H rows name %" PRIu64 " of them",
                    w->heavy_rows, w->heavy_found);
    }
    if (r->spenders.n > 0 && !w->c->m.params.spender) {
        check_found(w->c, CHECK_SPENDERS, "S rows without the setting");
    }
}

int
check_rows_open(struct check_rows *w, struct check *c)
{
    memset(w, 0, sizeof(*w));
    w->c = c;
    w->it = exi_rodb_iter_new(c->db, NULL);
    w->heavy = exi_rodb_iter_new(c->db, NULL);
    w->seen = calloc(1, (size_t) (c->m.tx_count / 8 + 1));
    return w->it != NULL && w->heavy != NULL && w->seen != NULL ? EXI_OK
                                                                : EXI_ENOMEM;
}

void
check_rows_close(struct check_rows *w)
{
    exi_rodb_iter_free(w->it);
    exi_rodb_iter_free(w->heavy);
    free(w->seen);
}

int
check_rows(struct check *c)
{
    uint64_t unreadable;
    struct check_rows w;
    int rc = check_rows_open(&w, c);

    if (rc == EXI_OK) {
        rc = walk(&w);
    }
    /* After an unreadable table the rest would be told as missing. */
    unreadable = c->r->findings[CHECK_ROWS];
    if (rc == EXI_OK && unreadable == 0) {
        compare_counts(&w);
    }
    /* Nor can wrong txids say what is wrong with T rows. */
    if (rc == EXI_OK && unreadable == 0 && c->r->findings[CHECK_TXIDS] == 0) {
        rc = check_compare_txids(&w);
    }
    if (rc == EXI_OK && unreadable == 0) {
        rc = check_compare_outputs(&w);
    }
    check_rows_close(&w);
    return rc;
}
