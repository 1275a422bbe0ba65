/*
 * A script's history piece by piece, for histories that are too long to be
 * read at once.
 *
 * The live rows were gathered before (exi_read_rows.c), and the generation gets a
 * reference: the picture is that of the snapshot however long it is read.  `H`
 * rows are walked in key order, which is the order of the transactions; the
 * cursor remembers the key it goes on from, so that a step that failed can be
 * done again (placed = false: seek first).  So is one that lacked something
 * (EXI_ECOLD), from the entry that it was at; lists are copied, as what is known
 * of pages becomes old while a client reads.
 *
 * Work is counted, not timed: a step ends after so many units.
 */
#include "exi_store.h"

#include <stdlib.h>

/* Units of work: an entry that is given out, one that is passed over, a row. */
#define UNITS_ENTRY 16
#define UNITS_PASS  1
#define UNITS_ROW   64

enum where {
    AT_ROW,
    IN_LIST,
    IN_PARTS,
    AT_END
};

struct exi_cursor {
    struct exi_store *store;
    struct exi_gen *gen;
    struct exi_cold cold;
    uint32_t epoch;              /* of the iterators' places */
    struct exi_rodb_iter *rows;  /* `H`; made at the first step */
    struct exi_rodb_iter *parts; /* `G` */
    struct exi_skey key;
    enum where where;
    uint32_t chunk; /* of the row to read, or being read */
    uint16_t part;  /* next `G` row of the chunk */
    bool rows_placed;
    bool parts_placed;
    struct exi_rd list; /* in copy */
    uint8_t *copy;
    size_t copycap;
    uint64_t txnum;
    bool first;
    uint64_t left;    /* entries of the heavy chunk still to come */
    uint64_t skip;    /* entries still to be passed over */
    uint64_t passed;  /* settled entries so far */
    uint64_t settled; /* all of them, when counted */
    bool counted;
    bool ready; /* txnum was read and not given out yet */
    bool some;  /* last is set */
    uint64_t last;
    uint64_t lo; /* range: txnums, then heights of live ones */
    uint64_t hi;
    uint64_t from;
    uint64_t to;
    uint32_t height;       /* of the last entry */
    struct exi_rows *live; /* or NULL */
    size_t item;           /* of them, the next one */
    size_t end;            /* behind the last one */
    size_t nconfirmed;
};

static struct exi_cursor *
new_cursor(struct exi_store *store, struct exi_gen *gen, bool nowait,
           const struct exi_skey *s)
{
    struct exi_cursor *c = calloc(1, sizeof *c);

    if (c != NULL) {
        c->store = store;
        c->gen = exi_store_ref_gen(store, gen);
        c->cold.nowait = nowait;
        c->key = *s;
        c->hi = c->to = UINT64_MAX;
    }
    return c;
}

int
exi_cursor_new(struct exi_view *v, const struct exi_skey *s,
               struct exi_cursor **out)
{
    *out = new_cursor(v->s, v->h.gen, v->cold.nowait, s);
    return *out != NULL ? EXI_OK : EXI_ENOMEM;
}

int
exi_cursor_of(struct exi_rows *rows, unsigned flags, struct exi_cursor **out)
{
    struct exi_cursor *c;

    if (rows->step != EXI_GATHER_DONE) {
        return EXI_EAPI;
    }
    c = new_cursor(rows->store, rows->gen, rows->nowait, &rows->key);
    if (c == NULL) {
        return EXI_ENOMEM;
    }
    c->live = exi_rows_ref(rows);
    c->item = flags & EXI_HIST_CONFIRMED ? rows->first : rows->nconfirmed;
    c->end = flags & EXI_HIST_MEMPOOL ? rows->n : rows->nconfirmed;
    if (flags & EXI_HIST_CONFIRMED) {
        c->nconfirmed = exi_rows_confirmed(rows);
    } else {
        c->where = AT_END;
        c->counted = true;
    }
    *out = c;
    return EXI_OK;
}

void
exi_cursor_free(struct exi_cursor *c)
{
    if (c == NULL) {
        return;
    }
    if (c->rows != NULL) {
        exi_rodb_iter_free(c->rows);
    }
    if (c->parts != NULL) {
        exi_rodb_iter_free(c->parts);
    }
    exi_cold_clear(&c->cold);
    exi_rows_unref(c->live);
    exi_store_unref_gen(c->store, c->gen);
    free(c->copy);
    free(c);
}

int
exi_cursor_cold_take(struct exi_cursor *c, struct exi_cold_list **out)
{
    return exi_cold_take(&c->cold, out);
}

void
exi_cursor_cold_give(struct exi_cursor *c, struct exi_view *v)
{
    exi_cold_move(&v->cold, &c->cold);
}

void
exi_cursor_skip(struct exi_cursor *c, uint64_t n)
{
    c->skip = n;
}

int
exi_cursor_range(struct exi_cursor *c, uint64_t from, uint64_t to)
{
    const struct exi_gen *g = c->gen;

    c->from = from;
    c->to = to;
    c->lo = exi_gen_first(g, from);
    c->hi = exi_gen_first(g, to);
    return c->lo > c->hi ? EXI_EAPI : EXI_OK;
}

void
exi_cursor_block(const struct exi_cursor *c, uint32_t *height,
                 struct exi_blkid *block)
{
    *height = c->gen->m.height;
    *block = c->gen->m.block;
}

/*
 * Rows.
 */

/* A step: iterators that stand in blocks of which nothing is known any more
 * seek again. */
static void
begin_step(struct exi_cursor *c)
{
    exi_cold_begin(&c->cold);
    if (c->cold.epoch - c->epoch > 1) {
        c->rows_placed = c->parts_placed = false;
        c->epoch = c->cold.epoch;
    }
}

/* Stands at the first `H` row of the bucket from c->chunk on: 1, 0: none. */
static int
place_row(struct exi_cursor *c, const uint8_t **val, size_t *vallen)
{
    uint8_t bits = c->gen->m.params.script_bits;
    const uint8_t *key;
    struct exi_key k;
    size_t keylen;
    int rc;

    if (c->rows == NULL) {
        c->rows = exi_rodb_iter_new(c->gen->db, &c->cold);
        if (c->rows == NULL) {
            return EXI_ENOMEM;
        }
    }
    exi_key_bucket(&k, EXI_KIND_HISTORY, exi_bucket(c->key.b, bits), c->chunk);
    if (!c->rows_placed) {
        exi_rodb_iter_seek_in(c->rows, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
    }
    rc = exi_rodb_iter_row(c->rows, &key, &keylen, val, vallen);
    if (rc == EXI_ECOLD && c->rows_placed) {
        /* it was moved here by a step before, which noted what it lacked */
        exi_rodb_iter_seek_in(c->rows, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
        rc = exi_rodb_iter_row(c->rows, &key, &keylen, val, vallen);
    }
    c->rows_placed = rc >= 0;
    if (rc == 1
        && (keylen != EXI_KEY_BUCKET_LEN
            || memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) != 0)) {
        return 0;
    }
    if (rc == 1) {
        c->chunk = exi_key_chunk(key);
    }
    return rc;
}

static void
next_row(struct exi_cursor *c)
{
    c->where = c->chunk == UINT32_MAX ? AT_END : AT_ROW;
    c->chunk++;
    if (c->rows_placed) {
        exi_rodb_iter_next(c->rows);
    }
}

static int
begin_list(struct exi_cursor *c, struct exi_rd list, uint64_t base)
{
    size_t n = exi_rd_left(&list);

    if (n > c->copycap) {
        uint8_t *p = realloc(c->copy, n);
        if (p == NULL) {
            return EXI_ENOMEM;
        }
        c->copy = p;
        c->copycap = n;
    }
    if (n > 0) {
        memcpy(c->copy, exi_rd_bytes(&list, n), n);
    }
    c->list = exi_rd(c->copy, n);
    c->txnum = base;
    c->first = true;
    return EXI_OK;
}

/* Entries of a list: bytes that end a varint. */
static uint64_t
list_count(const struct exi_rd *list)
{
    struct exi_rd rd = *list;
    size_t len = exi_rd_left(&rd);
    const uint8_t *p = exi_rd_bytes(&rd, len);
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        n += !(p[i] & 0x80);
    }
    return n;
}

/* The slot of the script in the row that comes next: 1, 0: no more rows,
 * EXI_ENOTFOUND: this row has none. */
static int
find_slot(struct exi_cursor *c, struct exi_hist_slot *slot, uint64_t *count)
{
    const uint8_t *val;
    size_t vallen;
    int rc = place_row(c, &val, &vallen);

    if (rc != 1) {
        return rc;
    }
    rc =
        exi_hist_find(slot, val, vallen, &c->key, c->gen->m.params.script_bits);
    if (rc) {
        return rc;
    }
    *count = slot->heavy ? slot->count : list_count(&slot->list);
    return 1;
}

int
exi_cursor_count(struct exi_cursor *c, uint32_t budget, uint64_t limit)
{
    uint64_t work = (uint64_t) budget * UNITS_ENTRY, count;
    struct exi_hist_slot slot;
    int rc;

    if (c->counted) {
        return EXI_OK;
    }
    begin_step(c);
    for (bool some = false; !c->counted; some = true) {
        if (some && work < UNITS_ROW) {
            return 1;
        }
        rc = find_slot(c, &slot, &count);
        if (rc == 0) {
            c->counted = true;
            break;
        }
        if (rc < 0 && rc != EXI_ENOTFOUND) {
            return rc;
        }
        if (rc == 1) {
            c->settled += count;
        }
        if (limit != 0 && c->settled + c->nconfirmed > limit) {
            return EXI_ELIMIT;
        }
        work -= work < UNITS_ROW ? work : UNITS_ROW;
        next_row(c);
        if (c->where == AT_END) {
            c->counted = true;
        }
    }
    c->where = AT_ROW;
    c->chunk = 0;
    c->rows_placed = false;
    return limit != 0 && c->nconfirmed > limit ? EXI_ELIMIT : EXI_OK;
}

uint64_t
exi_cursor_settled(const struct exi_cursor *c)
{
    return c->settled;
}

size_t
exi_cursor_live(const struct exi_cursor *c)
{
    return c->end - c->item;
}

/*
 * Entries.
 */

/* Goes to the script's next list. */
static int
open_row(struct exi_cursor *c, uint64_t *work)
{
    struct exi_hist_slot slot;
    uint64_t count;
    int rc = find_slot(c, &slot, &count);

    *work += UNITS_ROW;
    if (rc == 0) {
        c->where = AT_END;
        return EXI_OK;
    }
    if (rc < 0 && rc != EXI_ENOTFOUND) {
        return rc;
    }
    if (rc == 1 && count > c->skip) {
        rc = begin_list(c, slot.heavy ? exi_rd(NULL, 0) : slot.list, slot.base);
        if (rc) {
            return rc;
        }
        c->where = slot.heavy ? IN_PARTS : IN_LIST;
        c->left = count;
        c->part = 0;
        c->parts_placed = false;
        return EXI_OK;
    }
    if (rc == 1) {
        c->skip -= count;
        c->passed += count;
    }
    next_row(c);
    return EXI_OK;
}

/* Goes to the next `G` row of the chunk. */
static int
open_part(struct exi_cursor *c, uint64_t *work)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    int rc;

    if (c->left == 0) {
        next_row(c);
        return EXI_OK;
    }
    if (c->parts == NULL) {
        c->parts = exi_rodb_iter_new(c->gen->db, &c->cold);
        if (c->parts == NULL) {
            return EXI_ENOMEM;
        }
    }
    exi_key_heavy(&k, &c->key, c->chunk, c->part);
    if (!c->parts_placed) {
        exi_rodb_iter_seek_in(c->parts, k.b, k.len, EXI_KEY_HEAVY_PREFIX);
    } else {
        exi_rodb_iter_next(c->parts);
    }
    rc = exi_rodb_iter_row(c->parts, &key, &keylen, &val, &vallen);
    c->parts_placed = rc == 1;
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || keylen != k.len || memcmp(key, k.b, k.len) != 0
        || vallen == 0) {
        return EXI_EFORMAT;
    }
    rc = begin_list(c, exi_rd(val, vallen), 0);
    if (rc) {
        c->parts_placed = false;
        return rc;
    }
    *work += UNITS_ROW;
    c->part++;
    return EXI_OK;
}

/* The next number: 1; 0: none in this list. */
static int
next_num(struct exi_cursor *c)
{
    int rc;

    if (c->ready) {
        return 1;
    }
    rc = exi_txnums_next(&c->list, &c->txnum, &c->first);
    if (rc != 1) {
        return rc;
    }
    if (c->left-- == 0 || c->txnum >= c->gen->m.tx_count
        || (c->some && c->txnum <= c->last)) {
        return EXI_EFORMAT;
    }
    c->ready = c->some = true;
    c->last = c->txnum;
    c->passed++;
    return 1;
}

/* Asks for the txids of the entries to come, too. */
static void
look_ahead(struct exi_cursor *c, uint64_t n)
{
    struct exi_rd list = c->list;
    uint64_t txnum = c->txnum;
    bool first = c->first;
    const uint8_t *p;

    while (n-- > 0 && exi_txnums_next(&list, &txnum, &first) == 1
           && txnum < c->hi) {
        int rc = exi_gen_look(c->gen, &c->cold, EXI_FLAT_TXIDS, txnum, &p);
        if (rc && rc != EXI_ECOLD) {
            return;
        }
    }
}

/* Should a read fail, the entry is still there for the next step; ahead: so
 * many more may be given out by this one. */
static int
give(struct exi_cursor *c, uint64_t ahead, exi_hist_pt fn, void *ctx)
{
    struct exi_hist h = { .confirmed = true, .fee_sat = -1 };
    const uint8_t *p;
    int rc = exi_gen_look(c->gen, &c->cold, EXI_FLAT_TXIDS, c->txnum, &p);

    if (rc == EXI_ECOLD) {
        look_ahead(c, ahead);
    }
    if (rc == EXI_OK) {
        rc = exi_gen_height(c->gen, c->txnum, c->height, &c->height);
    }
    if (rc) {
        return rc;
    }
    memcpy(h.txid.b, p, EXI_HASH_LEN);
    h.height = (int32_t) c->height;
    c->ready = false;
    return fn(ctx, &h);
}

/* Entries of the list until it or the work is at its end. */
static int
give_list(struct exi_cursor *c, uint64_t *work, uint64_t most, exi_hist_pt fn,
          void *ctx)
{
    int rc = 1;

    while (*work < most && (rc = next_num(c)) == 1) {
        *work += UNITS_PASS;
        if (c->skip > 0) {
            c->skip--;
            c->ready = false;
        } else if (c->txnum >= c->hi) {
            c->where = AT_END;
            c->settled = c->passed;
            return EXI_OK;
        } else if (c->txnum >= c->lo) {
            *work += UNITS_ENTRY;
            rc = give(c, *work < most ? (most - *work) / UNITS_ENTRY : 0, fn,
                      ctx);
            if (rc) {
                return rc;
            }
            rc = 1;
        } else {
            c->ready = false;
        }
    }
    if (rc != 0) {
        return rc < 0 ? rc : EXI_OK;
    }
    if (c->where == IN_PARTS) {
        return open_part(c, work);
    }
    if (c->left != 0) {
        return EXI_EFORMAT;
    }
    next_row(c);
    return EXI_OK;
}

static int
give_items(struct exi_cursor *c, uint64_t *work, uint64_t most, exi_hist_pt fn,
           void *ctx)
{
    struct exi_hist h;
    int rc = EXI_OK;

    while (c->item < c->end && *work < most && rc == EXI_OK) {
        exi_place_hist(&h, &c->live->v[c->item++].at);
        *work += UNITS_ENTRY;
        if (!h.confirmed
            || ((uint64_t) h.height >= c->from
                && (uint64_t) h.height < c->to)) {
            rc = fn(ctx, &h);
        }
    }
    return rc;
}

int
exi_cursor_next(struct exi_cursor *c, uint32_t budget, exi_hist_pt fn,
                void *ctx)
{
    uint64_t work = 0, most = (uint64_t) budget * UNITS_ENTRY;
    int rc = EXI_OK;

    begin_step(c);
    while (c->where != AT_END && work < most && rc == EXI_OK) {
        rc = c->where == AT_ROW ? open_row(c, &work)
                                : give_list(c, &work, most, fn, ctx);
    }
    if (rc == EXI_OK && c->where == AT_END) {
        if (c->counted && c->passed != c->settled) {
            return EXI_EFORMAT;
        }
        rc = give_items(c, &work, most, fn, ctx);
    }
    if (rc) {
        return rc;
    }
    return c->where != AT_END || c->item < c->end;
}
