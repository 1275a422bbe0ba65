/*
 * Look-ups: the rows of all sorted runs as one.  Of the rows with one key the
 * one with the highest sequence number counts; if it says "deleted", there is
 * none.
 *
 * There are few runs (one after the initial sync), so their rows are compared
 * one by one.  A run that has nothing in the range asked for is out at once:
 * by the keys in the MANIFEST without touching a table, by the index without
 * touching a block.  All runs are asked even if one lacks something (EXI_ECOLD),
 * so that one round finds what each of them lacks.
 */
#include "exi_rodb_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A place in a run. */
struct place {
    const uint8_t *key;
    const uint8_t *val;
    size_t keylen;
    size_t vallen;
    uint64_t tag;
    size_t at; /* table of the run; row in memory */
    struct exi_table_pos pos;
};

/* What is looked for. */
struct range {
    struct exi_rodb *db;
    struct exi_cold *cold;
    size_t prefix; /* bytes of the key that all rows share */
    size_t keylen;
    uint8_t key[EXI_ROWKEY_MAX];
};

struct exi_rodb_iter {
    struct range r;
    int state;    /* 1: at a row, 0: at the end, or an error */
    size_t nlive; /* places that are at a row */
    size_t cur;   /* index in live[] */
    size_t nruns; /* with the one in memory, which is the first */
    size_t *live; /* behind places */
    uint8_t last[EXI_ROWKEY_MAX];
    struct place places[];
};

/*
 * Damage.
 */

/* Keeps the first text; readers' threads may come at the same time. */
static int
damaged(struct exi_rodb *db, const struct exi_rodb_table *x,
        const struct exi_table_pos *pos)
{
    int none = 0;

    if (atomic_compare_exchange_strong(&db->damage_state, &none, 1)) {
        snprintf(db->damage, sizeof db->damage,
                 "%s/%06" PRIu64 ".ldb: %s, at byte %" PRIu64, db->dir,
                 x->number, pos->why, pos->at);
        atomic_store(&db->damage_state, 2);
    }
    return EXI_EIO;
}

/*
 * One run.
 */

static inline bool
in_range(const struct range *r, const uint8_t *key, size_t keylen)
{
    return r->prefix == 0
           || (keylen >= r->prefix && memcmp(key, r->key, r->prefix) == 0);
}

/* The row that a table gave, rc: what it returned with it. */
static int
take_row(const struct range *r, const struct exi_rodb_table *x, struct place *p,
         int rc)
{
    const struct exi_rowblock *b = &p->pos.row;

    if (rc == EXI_EFORMAT) {
        return damaged(r->db, x, &p->pos);
    }
    if (rc == 1) {
        p->key = b->key;
        p->keylen = b->keylen;
        p->val = b->val;
        p->vallen = b->vallen;
        p->tag = exi_rowblock_tag(b);
    }
    return rc;
}

/* From the table p->at on, which may have no more rows: the first of the next
 * one; rc as above. */
static int
go_on(const struct range *r, const struct exi_run *run, struct place *p, int rc)
{
    const struct exi_rodb_table *x = &run->v[p->at];

    rc = take_row(r, x, p, rc);
    while (rc == 0 && p->at + 1 < run->n) {
        x = &run->v[++p->at];
        if (!in_range(r, x->small, x->smalllen)) {
            return 0;
        }
        rc = take_row(
            r, x, p,
            exi_table_seek(&p->pos, x->t, r->cold, r->key, 0, r->prefix));
    }
    return rc;
}

/* First table of the run whose largest key is not below the key. */
static size_t
find_table(const struct range *r, const struct exi_run *run)
{
    const uint64_t *heads = &r->db->heads[run->v - r->db->tables];
    uint64_t head = exi_table_head(r->key, r->keylen);
    size_t lo = 0, hi = run->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct exi_rodb_table *x = &run->v[mid];
        if (heads[mid] < head
            || (heads[mid] == head
                && exi_key_order(x->large, x->largelen, r->key, r->keylen)
                       < 0)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Finds the block: 1; 0: the run has no such rows. */
static int
run_find(const struct range *r, const struct exi_run *run, struct place *p)
{
    const struct exi_rodb_table *x;
    int rc;

    p->at = find_table(r, run);
    if (p->at == run->n) {
        return 0;
    }
    x = &run->v[p->at];
    if (r->prefix > 0 && !in_range(r, x->small, x->smalllen)
        && exi_key_order(x->small, x->smalllen, r->key, r->keylen) > 0) {
        return 0;
    }
    rc = exi_table_find(&p->pos, x->t, r->cold, r->key, r->keylen);
    if (rc == 0) { /* the MANIFEST says that there is a larger key */
        p->pos.why = "its index ends too soon";
        p->pos.at = 0;
        rc = EXI_EFORMAT;
    }
    return rc == EXI_EFORMAT ? damaged(r->db, x, &p->pos) : rc;
}

static int
run_enter(const struct range *r, const struct exi_run *run, struct place *p)
{
    return go_on(
        r, run, p,
        exi_table_enter(&p->pos, r->cold, r->key, r->keylen, r->prefix));
}

static int
run_next(const struct range *r, const struct exi_run *run, struct place *p)
{
    return go_on(r, run, p,
                 exi_table_next(&p->pos, r->cold, r->key, r->prefix));
}

/*
 * The rows in memory.
 */

static int
mem_row(const struct range *r, struct place *p)
{
    const struct exi_memrow *m;

    if (p->at == r->db->nrows) {
        return 0;
    }
    m = &r->db->rows[p->at];
    if (!in_range(r, m->key, m->keylen)) {
        return 0;
    }
    p->key = m->key;
    p->keylen = m->keylen;
    p->val = m->val;
    p->vallen = m->vallen;
    p->tag = m->tag;
    return 1;
}

static int
mem_seek(const struct range *r, struct place *p)
{
    size_t lo = 0, hi = r->db->nrows;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct exi_memrow *m = &r->db->rows[mid];
        if (exi_key_order(m->key, m->keylen, r->key, r->keylen) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    p->at = lo;
    return mem_row(r, p);
}

/* Run 0 is the one in memory.  Two steps: 1, 0: no such rows; an error. */
static int
place_find(const struct range *r, size_t run, struct place *p)
{
    return run > 0 ? run_find(r, &r->db->runs[run - 1], p) : mem_seek(r, p);
}

static int
place_enter(const struct range *r, size_t run, struct place *p)
{
    return run > 0 ? run_enter(r, &r->db->runs[run - 1], p) : 1;
}

static int
place_next(const struct range *r, size_t run, struct place *p)
{
    if (run > 0) {
        return run_next(r, &r->db->runs[run - 1], p);
    }
    p->at++;
    return mem_row(r, p);
}

/*
 * Point look-ups.
 */

static bool
set_range(struct range *r, const void *key, size_t keylen, size_t prefix)
{
    if (keylen > EXI_ROWKEY_MAX) {
        return false;
    }
    if (keylen > 0) {
        memcpy(r->key, key, keylen);
    }
    r->keylen = keylen;
    r->prefix = prefix < keylen ? prefix : keylen;
    return true;
}

int
exi_rodb_get(struct exi_rodb *db, struct exi_cold *cold, const void *key,
             size_t keylen, const uint8_t **val, size_t *vallen)
{
    struct range r = { .db = db, .cold = cold };
    bool cold_some = false;
    struct place p;
    int rc;

    if (!set_range(&r, key, keylen, keylen)) {
        return EXI_ENOTFOUND;
    }
    for (size_t run = 0; run <= db->nruns; run++) {
        rc = place_find(&r, run, &p);
        if (rc == 1) {
            rc = place_enter(&r, run, &p);
        }
        if (rc == EXI_ECOLD) {
            cold_some = true;
            continue;
        }
        if (rc < 0) {
            return rc;
        }
        if (rc == 0 || p.keylen != keylen) {
            continue;
        }
        if (cold_some) {
            break;
        }
        if ((p.tag & 0xff) != EXI_ROW_VALUE) {
            return EXI_ENOTFOUND;
        }
        *val = p.val;
        *vallen = p.vallen;
        return EXI_OK;
    }
    return cold_some ? EXI_ECOLD : EXI_ENOTFOUND;
}

/*
 * Iterators.
 */

struct exi_rodb_iter *
exi_rodb_iter_new(struct exi_rodb *db, struct exi_cold *cold)
{
    size_t n = db->nruns + 1;
    struct exi_rodb_iter *it =
        malloc(sizeof *it + n * (sizeof it->places[0] + sizeof *it->live));

    if (it != NULL) {
        it->r.db = db;
        it->r.cold = cold;
        it->r.prefix = it->r.keylen = 0;
        it->state = 0;
        it->nlive = it->cur = 0;
        it->nruns = n;
        it->live = (size_t *) &it->places[n];
    }
    return it;
}

void
exi_rodb_iter_free(struct exi_rodb_iter *it)
{
    free(it);
}

static struct place *
place_of(struct exi_rodb_iter *it, size_t i)
{
    return &it->places[it->live[i]];
}

/* What moving the place live[i] gave; false: it is not live any more. */
static bool
stays(struct exi_rodb_iter *it, size_t i, int rc)
{
    if (rc == 1) {
        return true;
    }
    if (rc < 0 && it->state != EXI_EIO) {
        it->state = rc;
    }
    it->live[i] = it->live[--it->nlive];
    return false;
}

/* Goes behind all rows with the key of the one at hand. */
static void
pass_key(struct exi_rodb_iter *it)
{
    struct place *p = place_of(it, it->cur);
    size_t len = p->keylen;

    memcpy(it->last, p->key, len);
    for (size_t i = 0; i < it->nlive;) {
        p = place_of(it, i);
        if (p->keylen != len || memcmp(p->key, it->last, len) != 0) {
            i++;
            continue;
        }
        (void) stays(it, i, place_next(&it->r, it->live[i], p));
    }
}

/* Of the places' rows the one that comes first; of one key the newest. */
static void
pick(struct exi_rodb_iter *it)
{
    struct place *best = place_of(it, 0), *p;
    int c;

    it->cur = 0;
    for (size_t i = 1; i < it->nlive; i++) {
        p = place_of(it, i);
        c = exi_key_order(p->key, p->keylen, best->key, best->keylen);
        if (c < 0 || (c == 0 && p->tag > best->tag)) {
            best = p;
            it->cur = i;
        }
    }
}

/* Settles on the next row that is there. */
static void
find_row(struct exi_rodb_iter *it)
{
    while (it->state == 1) {
        if (it->nlive == 0) {
            it->state = 0;
            return;
        }
        pick(it);
        if ((place_of(it, it->cur)->tag & 0xff) == EXI_ROW_VALUE) {
            return;
        }
        pass_key(it);
    }
}

void
exi_rodb_iter_seek_in(struct exi_rodb_iter *it, const void *key, size_t keylen,
                      size_t prefix)
{
    it->nlive = 0;
    it->state = 1;
    if (!set_range(&it->r, key, keylen, prefix)) {
        it->state = EXI_EAPI;
        return;
    }
    for (size_t run = 0; run < it->nruns; run++) {
        it->live[it->nlive++] = run;
        (void) stays(it, it->nlive - 1,
                     place_find(&it->r, run, &it->places[run]));
    }
    for (size_t i = 0; i < it->nlive;) {
        i += stays(it, i, place_enter(&it->r, it->live[i], place_of(it, i)));
    }
    find_row(it);
}

void
exi_rodb_iter_seek(struct exi_rodb_iter *it, const void *key, size_t keylen)
{
    exi_rodb_iter_seek_in(it, key, keylen, 0);
}

void
exi_rodb_iter_next(struct exi_rodb_iter *it)
{
    if (it->state == 1) {
        pass_key(it);
        find_row(it);
    }
}

int
exi_rodb_iter_row(struct exi_rodb_iter *it, const uint8_t **key, size_t *keylen,
                  const uint8_t **val, size_t *vallen)
{
    const struct place *p;

    if (it->state == 1) {
        p = place_of(it, it->cur);
        *key = p->key;
        *keylen = p->keylen;
        *val = p->val;
        *vallen = p->vallen;
    }
    return it->state;
}
