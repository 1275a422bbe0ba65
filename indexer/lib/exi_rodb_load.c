/*
 * MANIFEST -> sorted runs.  It is a log of version edits: tables that came and
 * went, by level, since the database was opened for writing.  What is left at
 * its end are the tables of the generation.
 *
 *     edit: varint tag, then
 *         1 comparator: bytes           2 log: varint number
 *         3 next file: varint           4 last sequence: varint
 *         5 place of a compaction: varint level, bytes key
 *         6 table gone: varint level, varint number
 *         7 new table: varint level, number, length, bytes smallest, largest key
 *         9 previous log: varint number
 *     bytes: varint length, then these
 *
 * Tables of level 0 may overlap, the one with the higher number is newer; those
 * of another level do not, and are older than all of the levels above.
 */
#include "exi_rodb_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "exi_dblog.h"

#define COMPARATOR   "leveldb.BytewiseComparator"
#define MANIFEST_MAX ((size_t) 1 << 30)
#define NONE         UINT32_MAX
#define GONE         EXI_RODB_LEVELS /* level of a slot that is free */

/* The tables so far, found by level and number. */
struct tables {
    struct exi_rodb_table *v;
    uint32_t n;
    uint32_t cap;
    uint32_t live;
    uint32_t free;   /* first free slot; chain[] has the next one */
    uint32_t *chain; /* of v[i] */
    uint32_t *heads;
    uint32_t nheads; /* a power of two */
};

struct state {
    struct exi_rodb *db;
    int dirfd;
    const char *name;
    struct exi_text *err;
    struct tables t;
    struct exi_rodb_logs *logs;
    bool compared;
    bool logged;
};

static int
damaged(struct state *s, const char *why)
{
    return exi_rodb_say(s->err, EXI_EFORMAT, "%s/%s: %s", s->db->dir, s->name,
                        why);
}

/*
 * The set of tables.
 */

static uint32_t *
head_of(struct tables *t, unsigned level, uint64_t number)
{
    uint64_t h = (number * EXI_RODB_LEVELS + level) * 0x9e3779b97f4a7c15u;

    return &t->heads[(h >> 32) & (t->nheads - 1)];
}

static int
rehash(struct tables *t)
{
    uint32_t n = t->nheads ? t->nheads * 2 : 256;
    uint32_t *heads = malloc(n * sizeof *heads);

    if (heads == NULL) {
        return EXI_ENOMEM;
    }
    memset(heads, 0xff, n * sizeof *heads);
    free(t->heads);
    t->heads = heads;
    t->nheads = n;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->v[i].level != GONE) {
            uint32_t *h = head_of(t, t->v[i].level, t->v[i].number);
            t->chain[i] = *h;
            *h = i;
        }
    }
    return EXI_OK;
}

static int
grow(struct tables *t)
{
    uint32_t cap = t->cap ? t->cap * 2 : 256;
    struct exi_rodb_table *v;
    uint32_t *chain;

    if (cap > NONE / 2) {
        return EXI_EFORMAT;
    }
    v = realloc(t->v, cap * sizeof *v);
    if (v == NULL) {
        return EXI_ENOMEM;
    }
    t->v = v;
    chain = realloc(t->chain, cap * sizeof *chain);
    if (chain == NULL) {
        return EXI_ENOMEM;
    }
    t->chain = chain;
    t->cap = cap;
    return EXI_OK;
}

/* What is not there is not missed. */
static void
drop(struct tables *t, unsigned level, uint64_t number)
{
    uint32_t *p = t->nheads ? head_of(t, level, number) : NULL;

    while (p != NULL && *p != NONE) {
        uint32_t i = *p;
        if (t->v[i].number == number && t->v[i].level == level) {
            *p = t->chain[i];
            t->v[i].level = GONE;
            t->chain[i] = t->free;
            t->free = i;
            t->live--;
            return;
        }
        p = &t->chain[i];
    }
}

static int
add(struct tables *t, const struct exi_rodb_table *x)
{
    uint32_t i, *h;
    int rc = EXI_OK;

    drop(t, x->level, x->number);
    if (t->free == NONE && t->n == t->cap) {
        rc = grow(t);
    }
    if (rc == EXI_OK && t->live >= t->nheads) {
        rc = rehash(t);
    }
    if (rc) {
        return rc;
    }
    i = t->free != NONE ? t->free : t->n++;
    t->free = i == t->free ? t->chain[i] : t->free;
    t->v[i] = *x;
    h = head_of(t, x->level, x->number);
    t->chain[i] = *h;
    *h = i;
    t->live++;
    return EXI_OK;
}

/*
 * Edits.
 */

static const uint8_t *
read_bytes(struct exi_rd *rd, size_t *len)
{
    uint64_t n = exi_rd_varint(rd);

    if (n > exi_rd_left(rd)) {
        rd->bad = true;
        return NULL;
    }
    *len = (size_t) n;
    return exi_rd_bytes(rd, *len);
}

static const uint8_t *
read_key(struct exi_rd *rd, uint32_t *keylen, uint64_t *tag)
{
    size_t n;
    const uint8_t *p = read_bytes(rd, &n);

    if (p == NULL || n < EXI_ROWTAG || n > EXI_ROWKEY_MAX + EXI_ROWTAG) {
        rd->bad = true;
        return NULL;
    }
    *keylen = (uint32_t) n - EXI_ROWTAG;
    *tag = exi_le64(p + *keylen);
    return p;
}

static unsigned
read_level(struct exi_rd *rd)
{
    uint64_t level = exi_rd_varint(rd);

    rd->bad |= level >= EXI_RODB_LEVELS;
    return rd->bad ? 0 : (unsigned) level;
}

/* In the order of LevelDB's rows: of one key the highest tag comes first. */
static int
row_order(const uint8_t *a, uint32_t alen, uint64_t atag, const uint8_t *b,
          uint32_t blen, uint64_t btag)
{
    int c = exi_key_order(a, alen, b, blen);

    return c ? c : (atag < btag) - (atag > btag);
}

static int
new_table(struct state *s, struct exi_rd *rd)
{
    struct exi_rodb_table x = { .t = NULL };

    x.level = read_level(rd);
    x.number = exi_rd_varint(rd);
    x.len = exi_rd_varint(rd);
    x.small = read_key(rd, &x.smalllen, &x.smalltag);
    x.large = read_key(rd, &x.largelen, &x.largetag);
    if (rd->bad
        || row_order(x.small, x.smalllen, x.smalltag, x.large, x.largelen,
                     x.largetag)
               > 0) {
        rd->bad = true;
        return EXI_OK;
    }
    return add(&s->t, &x);
}

/* What came in an edit counts after what went in it. */
static int
read_tables(struct state *s, struct exi_rd rd, bool gone)
{
    int rc = EXI_OK;
    size_t len;

    while (rc == EXI_OK && !rd.bad && exi_rd_left(&rd) > 0) {
        uint64_t tag = exi_rd_varint(&rd), number;
        struct exi_rodb_table skip;
        unsigned level;
        const uint8_t *p;

        switch (tag) {
        case 1:
            p = read_bytes(&rd, &len);
            if (p != NULL
                && (len != strlen(COMPARATOR)
                    || memcmp(p, COMPARATOR, len) != 0)) {
                return damaged(s, "its keys are in another order");
            }
            s->compared = true;
            break;
        case 2:
            s->logs->from = exi_rd_varint(&rd);
            s->logged = true;
            break;
        case 9:
            s->logs->also = exi_rd_varint(&rd);
            break;
        case 3:
        case 4:
            (void) exi_rd_varint(&rd);
            break;
        case 5:
            (void) read_level(&rd);
            (void) read_bytes(&rd, &len);
            break;
        case 6:
            level = read_level(&rd);
            number = exi_rd_varint(&rd);
            if (gone && !rd.bad) {
                drop(&s->t, level, number);
            }
            break;
        case 7:
            if (!gone) {
                rc = new_table(s, &rd);
                break;
            }
            (void) read_level(&rd);
            (void) exi_rd_varint(&rd);
            (void) exi_rd_varint(&rd);
            (void) read_key(&rd, &skip.smalllen, &skip.smalltag);
            (void) read_key(&rd, &skip.largelen, &skip.largetag);
            break;
        default:
            rd.bad = true;
        }
    }
    if (rc == EXI_OK && rd.bad) {
        rc = damaged(s, "an edit is damaged");
    }
    return rc;
}

static int
read_edits(struct state *s, uint8_t *p, size_t len)
{
    struct exi_dblog log;
    const uint8_t *rec;
    size_t n;
    int rc;

    exi_dblog_begin(&log, p, len);
    while ((rc = exi_dblog_next(&log, &rec, &n)) == 1) {
        rc = read_tables(s, exi_rd(rec, n), true);
        if (rc == EXI_OK) {
            rc = read_tables(s, exi_rd(rec, n), false);
        }
        if (rc) {
            return rc;
        }
    }
    if (rc) {
        return damaged(s, log.why);
    }
    return s->compared && s->logged ? EXI_OK : damaged(s, "it is not complete");
}

/*
 * Runs.
 */

/* By level; those of level 0 the newest first. */
static int
by_place(const void *a, const void *b)
{
    const struct exi_rodb_table *x = a, *y = b;

    if (x->level != y->level) {
        return x->level < y->level ? -1 : 1;
    }
    if (x->level == 0) {
        return (x->number < y->number) - (x->number > y->number);
    }
    return row_order(x->small, x->smalllen, x->smalltag, y->small, y->smalllen,
                     y->smalltag);
}

/* Takes the tables over from the set. */
static void
take_tables(struct state *s)
{
    struct exi_rodb *db = s->db;
    struct exi_rodb_table *v = s->t.v;
    size_t n = 0;

    for (uint32_t i = 0; i < s->t.n; i++) {
        if (v[i].level != GONE) {
            v[n++] = v[i];
        }
    }
    if (n > 0) {
        qsort(v, n, sizeof *v, by_place);
    }
    db->tables = v;
    db->ntables = n;
    s->t.v = NULL;
}

static int
make_runs(struct state *s)
{
    struct exi_rodb *db = s->db;
    struct exi_rodb_table *v = db->tables;
    size_t n = db->ntables;

    db->runs = calloc(n + 1, sizeof *db->runs);
    db->heads = malloc((n + 1) * sizeof *db->heads);
    if (db->runs == NULL || db->heads == NULL) {
        return EXI_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        db->heads[i] = exi_table_head(v[i].large, v[i].largelen);
        if (i == 0 || v[i].level == 0 || v[i].level != v[i - 1].level) {
            db->runs[db->nruns++].v = &v[i];
        } else if (row_order(v[i - 1].large, v[i - 1].largelen,
                             v[i - 1].largetag, v[i].small, v[i].smalllen,
                             v[i].smalltag)
                   >= 0) {
            return damaged(s, "tables of a level overlap");
        }
        db->runs[db->nruns - 1].n++;
    }
    return EXI_OK;
}

static int
open_tables(struct state *s)
{
    struct exi_rodb *db = s->db;
    const char *why = "";
    char name[40];

    for (size_t i = 0; i < db->ntables; i++) {
        struct exi_rodb_table *x = &db->tables[i];
        int rc;

        snprintf(name, sizeof name, "%06" PRIu64 ".ldb", x->number);
        rc = exi_table_open(&x->t, s->dirfd, name, x->len, &why);
        if (rc) {
            return exi_rodb_say(s->err, rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc,
                                "%s/%s: %s%s%s", db->dir, name, why,
                                rc == EXI_EIO ? ": " : "",
                                rc == EXI_EIO ? strerror(errno) : "");
        }
    }
    return EXI_OK;
}

int
exi_rodb_load(struct exi_rodb *db, int dirfd, const char *name,
              struct exi_rodb_logs *logs, struct exi_text *err)
{
    struct state s = { .db = db, .dirfd = dirfd, .name = name, .err = err };
    size_t len;
    int rc;

    s.logs = logs;
    s.t.free = NONE;
    rc = exi_rodb_read(dirfd, name, MANIFEST_MAX, &db->manifest, &len);
    if (rc) {
        return exi_rodb_say(err, rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc,
                            "%s/%s: it can't be read", db->dir, name);
    }
    rc = read_edits(&s, db->manifest, len);
    if (rc == EXI_OK) {
        take_tables(&s);
        rc = make_runs(&s);
    }
    if (rc == EXI_OK) {
        rc = open_tables(&s);
    }
    free(s.t.v);
    free(s.t.chain);
    free(s.t.heads);
    return rc;
}
