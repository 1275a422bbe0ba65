/*
 * Folding: the rows of LevelDB's levels 0 ... n become one sorted run in level
 * n, each written once (docs/architecture.md, "Tidying").
 *
 *     rows, H ... U  --> merged by bucket (settle_merge.c) --> tables
 *     `G` rows       --> taken along as `H` rows name their scripts
 *     deeper levels  --> tables linked
 *
 * What says that a row of a deeper level was removed is kept as long as such a
 * row may be there; so are rows that replace one of a deeper level, unmerged.
 * Which ones may: the P row tells up to which block deeper levels reach, and
 * which of their tables it speaks of.
 */
#include "settle_fold.h"

#include <stdlib.h>
#include <string.h>

/* Rows between two looks at whether to stop. */
#define STOP_ROWS 256

/* Rows of tables, by where they lie between the M row and the others. */
enum {
    OUT_HEAVY,
    OUT_HISTORY,
    OUT_META,
    OUT_REST,
    OUTS
};

struct settle_fold {
    struct settle *s;
    const struct settle_fold_opts *o;
    struct settle_cursor *rows;
    struct settle_cursor *heavy; /* `G` rows not written yet */
    struct settle_merge *merge;
    struct settle_load *out[OUTS];
    struct exi_tidy_base below; /* how far deeper levels reach */
    uint64_t next;              /* number of the next table */
    int64_t row_diff;           /* H, G and T rows more than before */
    unsigned since_stop;
    bool taken; /* the row at which `heavy` stands */
};

static uint64_t
next_number(void *ctx)
{
    struct settle_fold *f = ctx;

    return f->next++;
}

static bool
is_last(const struct settle_fold *f)
{
    return f->o->level == SETTLE_LAST_LEVEL;
}

/* Rows that the M row counts. */
static bool
is_counted(uint8_t kind)
{
    return kind == EXI_KIND_HISTORY || kind == EXI_KIND_HEAVY
           || kind == EXI_KIND_TXID;
}

static bool
is_row(uint64_t tag)
{
    return (tag & 0xff) == SETTLE_TAG_ROW;
}

static int
out_of(uint8_t kind)
{
    switch (kind) {
    case EXI_KIND_HEAVY:
        return OUT_HEAVY;
    case EXI_KIND_HISTORY:
        return OUT_HISTORY;
    case EXI_KIND_META:
        return OUT_META;
    default:
        return OUT_REST;
    }
}

static int
put(struct settle_fold *f, const uint8_t *key, size_t keylen, uint64_t tag,
    const uint8_t *val, size_t vallen)
{
    struct settle_load *l = f->out[out_of(key[0])];
    int rc;

    if (++f->since_stop >= STOP_ROWS) {
        f->since_stop = 0;
        if (f->o->stop(f->o->stop_ctx)) {
            return EXI_ESTALE;
        }
    }
    f->row_diff += is_counted(key[0]) && is_row(tag);
    rc = settle_load_add_tagged(
        l, key, keylen, is_last(f) ? SETTLE_TAG_FIRST : tag, val, vallen);
    if (rc == EXI_EIO) {
        rc = settle_load_end(l, f->s->err, sizeof(f->s->err));
    }
    /* Wrong order: that of the input. */
    return rc == EXI_EAPI ? EXI_EFORMAT : rc;
}

int
settle_fold_put(struct settle_fold *f, const struct exi_key *k, uint64_t tag,
                const uint8_t *val, size_t vallen)
{
    return put(f, k->b, k->len, tag, val, vallen);
}

/*
 * What deeper levels may have.
 */

static struct exi_tidy_base
base_now(const struct settle *s, uint64_t number)
{
    struct exi_tidy_base b = { true, s->meta.height, s->meta.tx_count, number };

    return b;
}

/*
 * The P row is right about deeper levels unless LevelDB, or an earlier program,
 * moved rows there.  Then they may have anything that is settled.
 */
static void
look_below(struct settle_fold *f)
{
    const struct settle_table *t;
    size_t n = settle_runs_tables(f->o->runs, &t);
    uint64_t highest = 0;

    for (size_t i = 0; i < n; i++) {
        if (t[i].level > f->o->level && t[i].number > highest) {
            highest = t[i].number;
        }
    }
    f->below = f->s->tidy.base;
    if (!f->below.known || highest > f->below.number) {
        f->below = base_now(f->s, highest);
    }
}

/* May a deeper level have a row of this key? */
static bool
may_be_below(const struct settle_fold *f, const uint8_t *key, size_t keylen)
{
    if (is_last(f)) {
        return false;
    }
    switch (key[0]) {
    case EXI_KIND_HISTORY:
    case EXI_KIND_TXID:
    case EXI_KIND_SPENDER:
        return keylen != EXI_KEY_BUCKET_LEN
               || exi_key_chunk(key) <= f->below.height;
    case EXI_KIND_HEAVY:
        return keylen < EXI_KEY_HEAVY_PREFIX
               || exi_be32(key + EXI_KEY_HEAVY_PREFIX - 4) <= f->below.height;
    case EXI_KIND_OUTPOINT:
        return keylen < 6 || exi_be40(key + 1) < f->below.txs;
    case EXI_KIND_UTXO:
        return keylen < EXI_KEY_UTXO_PREFIX + 5
               || exi_be40(key + EXI_KEY_UTXO_PREFIX) < f->below.txs;
    default:
        return true;
    }
}

/*
 * `G` rows.
 */

/* The next one; 1, 0 at the end of the kind, or an error. */
static int
heavy_row(struct settle_fold *f, struct settle_raw *row)
{
    int rc = settle_cursor_row(f->heavy, row);

    return rc == 1 && (row->keylen == 0 || row->key[0] != EXI_KIND_HEAVY) ? 0
                                                                          : rc;
}

static int
compare(const struct settle_raw *row, const struct exi_key *k)
{
    size_t n = row->keylen < k->len ? row->keylen : k->len;
    int order = memcmp(row->key, k->b, n);

    return order != 0 ? order : (row->keylen > k->len) - (row->keylen < k->len);
}

/* Writes a row as it is, or leaves out what has no use any more. */
static int
pass(struct settle_fold *f, const struct settle_raw *row)
{
    f->row_diff -= is_counted(row->key[0]) && is_row(row->tag);
    if (!is_row(row->tag) && !may_be_below(f, row->key, row->keylen)) {
        return EXI_OK;
    }
    return put(f, row->key, row->keylen, row->tag, row->val, row->vallen);
}

/* k == NULL: all. */
static int
pass_heavy(struct settle_fold *f, const struct exi_key *k)
{
    struct settle_raw row;
    int rc;

    if (f->taken) {
        settle_cursor_next(f->heavy);
        f->taken = false;
    }
    while ((rc = heavy_row(f, &row)) == 1
           && (k == NULL || compare(&row, k) < 0)) {
        rc = pass(f, &row);
        if (rc != EXI_OK) {
            return rc;
        }
        settle_cursor_next(f->heavy);
    }
    return rc < 0 ? rc : EXI_OK;
}

int
settle_fold_heavy_to(struct settle_fold *f, const struct exi_key *k)
{
    return pass_heavy(f, k);
}

int
settle_fold_heavy_take(struct settle_fold *f, const struct exi_key *k,
                       struct settle_raw *row)
{
    int rc = pass_heavy(f, k);

    rc = rc == EXI_OK ? heavy_row(f, row) : rc;
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || compare(row, k) != 0 || !is_row(row->tag)) {
        return EXI_EFORMAT;
    }
    f->row_diff--;
    f->taken = true;
    return EXI_OK;
}

/*
 * The walk.
 */

/* Is it a row that is merged with others of its bucket?  Of those that replace
 * one of a deeper level, each must go on replacing its own. */
static bool
is_merged(const struct settle_fold *f, const struct settle_raw *row)
{
    return row->keylen == EXI_KEY_BUCKET_LEN && is_row(row->tag)
           && (row->key[0] == EXI_KIND_HISTORY || row->key[0] == EXI_KIND_TXID
               || row->key[0] == EXI_KIND_SPENDER)
           && !may_be_below(f, row->key, row->keylen);
}

static int
fold_row(struct settle_fold *f, const struct settle_raw *row)
{
    int rc = settle_merge_reach(f->merge, row->key, row->keylen);

    if (rc != EXI_OK || row->key[0] == EXI_KIND_META) {
        return rc;
    }
    if (!is_merged(f, row)) {
        return pass(f, row);
    }
    f->row_diff -= is_counted(row->key[0]);
    return settle_merge_add(f->merge, row);
}

static int
fold_rows(struct settle_fold *f)
{
    struct settle_raw row;
    int rc;

    while ((rc = settle_cursor_row(f->rows, &row)) == 1) {
        rc = fold_row(f, &row);
        if (rc != EXI_OK) {
            return rc;
        }
        settle_cursor_next(f->rows);
    }
    if (rc == EXI_OK) {
        rc = settle_merge_end(f->merge);
    }
    return rc == EXI_OK ? pass_heavy(f, NULL) : rc;
}

/* The M and P rows, in a table of their own and the last one. */
static int
put_state(struct settle_fold *f)
{
    static const uint8_t key[1] = { EXI_KIND_META };
    uint64_t tag = (settle_runs_sequence(f->o->runs) + 1) << 8 | SETTLE_TAG_ROW;
    struct exi_tidy t = { 0, f->below };
    struct exi_meta m = f->s->meta;
    uint8_t meta[EXI_META_LEN], tidy[EXI_TIDY_MAX];
    int rc;

    m.row_count += (uint64_t) f->row_diff;
    if (is_last(f)) {
        t.base = base_now(f->s, f->next);
    }
    exi_meta_encode(meta, &m);
    rc = put(f, key, sizeof(key), tag, meta, sizeof(meta));
    return rc == EXI_OK
               ? put(f, (const uint8_t *) EXI_KEY_TIDY, EXI_KEY_TIDY_LEN, tag,
                     tidy, exi_tidy_encode(tidy, &t))
               : rc;
}

/*
 * The files.
 */

struct tables {
    struct settle_table *v;
    size_t n;
    size_t cap;
};

static int
add_table(struct tables *t, const struct settle_table *table)
{
    int rc = settle_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v));

    if (rc == EXI_OK) {
        t->v[t->n++] = *table;
    }
    return rc;
}

static int
table_path(char path[FS_PATH_MAX], const char *dir, uint64_t number)
{
    return fs_path(path, "%s/%06llu.ldb", dir, (unsigned long long) number);
}

/* Ends, syncs and lists the tables that were written. */
static int
end_tables(struct settle_fold *f, struct tables *all)
{
    char path[FS_PATH_MAX];
    int rc = EXI_OK;

    for (int i = 0; rc == EXI_OK && i < OUTS; i++) {
        const struct settle_table *t;
        size_t n;

        rc = settle_load_end(f->out[i], f->s->err, sizeof(f->s->err));
        n = settle_load_tables(f->out[i], &t);
        for (size_t k = 0; rc == EXI_OK && k < n; k++) {
            rc = f->o->stop(f->o->stop_ctx)
                     ? EXI_ESTALE
                     : table_path(path, f->o->to, t[k].number);
            if (rc == EXI_OK) {
                rc = fs_sync_file(path);
            }
            if (rc == EXI_OK) {
                rc = add_table(all, &t[k]);
            }
            if (rc == EXI_OK) {
                all->v[all->n - 1].level = f->o->level;
            }
        }
    }
    return rc;
}

/* Links and lists the tables of deeper levels. */
static int
link_tables(struct settle_fold *f, struct tables *all)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    const struct settle_table *t;
    size_t n = settle_runs_tables(f->o->runs, &t);
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        if (t[i].level <= f->o->level) {
            continue;
        }
        rc = table_path(from, f->o->from, t[i].number);
        if (rc == EXI_OK) {
            rc = table_path(to, f->o->to, t[i].number);
        }
        if (rc == EXI_OK) {
            rc = fs_link(from, to);
        }
        if (rc == EXI_OK) {
            rc = add_table(all, &t[i]);
        }
    }
    return rc;
}

static int
make_db(struct settle_fold *f)
{
    uint64_t sequence = is_last(f) ? 1 : settle_runs_sequence(f->o->runs) + 1;
    struct tables all = { NULL, 0, 0 };
    int rc = end_tables(f, &all);

    if (rc == EXI_OK) {
        rc = link_tables(f, &all);
    }
    if (rc == EXI_OK) {
        rc = settle_load_manifest(f->o->to, all.v, all.n, f->next, sequence,
                                  f->s->err, sizeof(f->s->err));
    }
    free(all.v);
    return rc == EXI_OK ? fs_sync_dir(f->o->to) : rc;
}

static int
begin(struct settle_fold *f)
{
    int rc = settle_merge_new(&f->merge, f->s, f);

    for (int i = 0; rc == EXI_OK && i < OUTS; i++) {
        rc = settle_load_new(&f->out[i], f->o->to, next_number, f);
    }
    if (rc == EXI_OK) {
        rc = settle_cursor_new(&f->heavy, f->o->runs, f->o->level,
                               EXI_KIND_HEAVY);
    }
    if (rc == EXI_OK) {
        rc = settle_cursor_new(&f->rows, f->o->runs, f->o->level,
                               EXI_KIND_HISTORY);
    }
    return rc;
}

int
settle_fold_run(struct settle *s, const struct settle_fold_opts *o)
{
    struct settle_fold f = { .s = s,
                             .o = o,
                             .next = settle_runs_next(o->runs) };
    int rc = begin(&f);

    if (rc == EXI_OK) {
        look_below(&f);
        rc = fold_rows(&f);
    }
    if (rc == EXI_OK) {
        rc = put_state(&f);
    }
    if (rc == EXI_OK) {
        rc = make_db(&f);
    }
    for (int i = 0; i < OUTS; i++) {
        settle_load_free(f.out[i]);
    }
    settle_cursor_free(f.rows);
    settle_cursor_free(f.heavy);
    settle_merge_free(f.merge);
    return rc;
}
