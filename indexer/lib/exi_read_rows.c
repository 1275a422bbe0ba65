/*
 * A script's live rows, gathered piece by piece, for scripts that have too many
 * to copy them at once: an entry for each transaction in protocol order, what
 * it funds, what it spends, how the balance changes.
 *
 *     ROWS    copied from the snapshot, which is let go at the end of this
 *     ORDER   transactions into protocol order
 *     SPENT   spent outputs ascending, so that one is found
 *     DONE    constant: cursors read it, any number of them
 *
 * All rows of the snapshot are taken, also those of blocks that the generation
 * has; `first` is the first one above it.
 */
#include "exi_store.h"
#include "exi_token.h"

#include <errno.h>
#include <stdlib.h>

#define START 64

/* Bytes of a row's value that count as one unit of work. */
#define WORK_FX 512

int
exi_rows_new(struct exi_view *v, const struct exi_skey *s,
             struct exi_rows **out)
{
    struct exi_rows *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL) {
        return EXI_ENOMEM;
    }
    r->refs = 1;
    r->store = v->s;
    r->gen = exi_store_ref_gen(v->s, v->h.gen);
    r->st = v->st;
    r->nowait = v->cold.nowait;
    r->key = *s;
    r->snap = exi_view_share(v);
    rc = r->snap == NULL ? ENOMEM : 0;
    if (rc == 0) {
        rc = mdb_cursor_open(r->snap->txn, r->snap->env->dbi[EXI_DB_HIST],
                             &r->hist);
    }
    if (rc == 0) {
        rc =
            mdb_cursor_open(r->snap->txn, r->snap->env->dbi[EXI_DB_TX], &r->tx);
    }
    if (rc) {
        exi_rows_unref(r);
        return exi_store_mdb_err(rc);
    }
    *out = r;
    return EXI_OK;
}

struct exi_rows *
exi_rows_ref(struct exi_rows *r)
{
    r->refs++;
    return r;
}

/* Nothing more is read from the snapshot. */
static void
let_go(struct exi_rows *r)
{
    if (r->hist != NULL) {
        mdb_cursor_close(r->hist);
    }
    if (r->tx != NULL) {
        mdb_cursor_close(r->tx);
    }
    if (r->snap != NULL) {
        exi_snap_unref(r->snap);
    }
    r->hist = r->tx = NULL;
    r->snap = NULL;
}

void
exi_rows_unref(struct exi_rows *r)
{
    if (r == NULL || --r->refs > 0) {
        return;
    }
    let_go(r);
    exi_store_unref_gen(r->store, r->gen);
    if (r->step == EXI_GATHER_ORDER) {
        r->v = (struct exi_row *) r->sort.v;
    } else if (r->step == EXI_GATHER_SPENT) {
        r->spent = (struct exi_spent *) r->sort.v;
    }
    exi_runs_end(&r->sort);
    free(r->v);
    free(r->funds);
    free(r->spent);
    free(r);
}

bool
exi_rows_same(const struct exi_rows *r, const struct exi_view *v)
{
    return r->st.instance == v->st.instance && r->st.seq == v->st.seq
           && r->gen == v->h.gen;
}

const struct exi_live_state *
exi_rows_state(const struct exi_rows *r)
{
    return &r->st;
}

size_t
exi_rows_size(const struct exi_rows *r)
{
    return sizeof *r + r->cap * sizeof *r->v + r->funds_cap * sizeof *r->funds
           + r->spent_cap * sizeof *r->spent;
}

/*
 * Gathering.
 */

/* Makes room for one more in *p. */
static int
grow(void **p, size_t *cap, size_t n, size_t size)
{
    size_t want = *cap > 0 ? *cap * 2 : START;
    void *q;

    if (n < *cap) {
        return EXI_OK;
    }
    if (want > UINT32_MAX) {
        return EXI_ENOMEM;
    }
    q = realloc(*p, want * size);
    if (q == NULL) {
        return EXI_ENOMEM;
    }
    *p = q;
    *cap = want;
    return EXI_OK;
}

static int
add_delta(struct exi_row *row, int64_t value_sat, int sign)
{
    if (value_sat < 0) {
        return EXI_EFORMAT;
    }
    return __builtin_add_overflow(
               row->delta_sat, sign * EXI_VALUE_SAT(value_sat), &row->delta_sat)
               ? EXI_EFORMAT
               : EXI_OK;
}

static int
add_funds(struct exi_rows *r, struct exi_row *row, struct exi_rd *rd,
          uint64_t n)
{
    struct exi_live_fund f;
    int rc = EXI_OK;

    for (; n > 0 && rc == EXI_OK; n--) {
        exi_live_fx_fund(rd, &f);
        rc = rd->bad ? EXI_EFORMAT : add_delta(row, f.value_sat, 1);
        if (rc == EXI_OK) {
            rc = grow((void **) &r->funds, &r->funds_cap, r->nfunds,
                      sizeof *r->funds);
        }
        if (rc == EXI_OK) {
            r->funds[r->nfunds++] = f;
            row->nfunds++;
        }
    }
    return rc;
}

static int
add_spends(struct exi_rows *r, struct exi_row *row, struct exi_rd *rd,
           uint64_t n)
{
    struct exi_live_spend s;
    int rc = EXI_OK;

    for (; n > 0 && rc == EXI_OK; n--) {
        exi_live_fx_spend(rd, &s);
        rc = rd->bad ? EXI_EFORMAT : add_delta(row, s.value_sat, -1);
        if (rc == EXI_OK) {
            rc = grow((void **) &r->spent, &r->spent_cap, r->nspent,
                      sizeof *r->spent);
        }
        if (rc == EXI_OK) {
            r->spent[r->nspent++] = (struct exi_spent){ s.txid, s.index };
        }
    }
    return rc;
}

/* A row of `hist` with its transaction. */
static int
add_row(struct exi_rows *r, const MDB_val *key, const MDB_val *val)
{
    MDB_val k = { 8, (uint8_t *) key->mv_data + EXI_SKEY_LEN }, rec;
    struct exi_live_tx tx;
    struct exi_row *row;
    struct exi_rd rd;
    uint64_t n;
    int rc = exi_store_mdb_err(mdb_cursor_get(r->tx, &k, &rec, MDB_SET));

    if (rc == EXI_OK) {
        rc = exi_live_tx_of(&tx, &rec, r->st.tip_height);
    } else if (rc == EXI_ENOTFOUND) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        rc = grow((void **) &r->v, &r->cap, r->n, sizeof *r->v);
    }
    if (rc) {
        return rc;
    }
    row = &r->v[r->n];
    memset(row, 0, sizeof *row);
    exi_place_of(&row->at, &tx);
    row->fund = (uint32_t) r->nfunds;
    n = exi_live_fx_open(&rd, val->mv_data, val->mv_size);
    rc = add_funds(r, row, &rd, n);
    if (rc == EXI_OK) {
        rc = add_spends(r, row, &rd, exi_live_fx_nspend(&rd));
    }
    if (rc == EXI_OK && rd.bad) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        r->n++;
        r->nconfirmed += row->at.height > 0;
    }
    return rc;
}

static int
compare_rows(const void *x, const void *y)
{
    const struct exi_row *a = x, *b = y;

    return exi_place_compare(&a->at, &b->at);
}

/* Copies rows: 1: there are more. */
static int
gather_rows(struct exi_rows *r, uint32_t budget)
{
    MDB_cursor_op op = MDB_NEXT;
    MDB_val k, val;
    int rc = EXI_OK;

    if (r->n == 0) {
        k = (MDB_val){ EXI_SKEY_LEN, r->key.b };
        op = MDB_SET_RANGE;
    }
    for (uint64_t work = 0; work < budget; work++) {
        rc = exi_store_mdb_err(mdb_cursor_get(r->hist, &k, &val, op));
        if (rc || k.mv_size != EXI_LIVE_HIST_KEY
            || memcmp(k.mv_data, r->key.b, EXI_SKEY_LEN) != 0) {
            let_go(r);
            exi_runs_begin(&r->sort, r->v, r->n, sizeof *r->v, compare_rows);
            r->step = EXI_GATHER_ORDER;
            return rc == EXI_OK || rc == EXI_ENOTFOUND ? 1 : rc;
        }
        rc = add_row(r, &k, &val);
        if (rc) {
            return rc;
        }
        work += val.mv_size / WORK_FX;
        op = MDB_NEXT;
    }
    return 1;
}

size_t
exi_rows_above(const struct exi_rows *r, uint32_t height)
{
    size_t lo = 0, hi = r->nconfirmed;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((uint32_t) r->v[mid].at.height > height) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

int
exi_rows_gather(struct exi_rows *r, uint32_t budget)
{
    int rc = EXI_OK;

    switch (r->step) {
    case EXI_GATHER_ROWS:
        return gather_rows(r, budget);
    case EXI_GATHER_ORDER:
        rc = exi_runs_step(&r->sort, budget);
        if (rc) {
            return rc;
        }
        r->v = (struct exi_row *) r->sort.v;
        exi_runs_end(&r->sort);
        r->first = exi_rows_above(r, r->gen->m.height);
        exi_runs_begin(&r->sort, r->spent, r->nspent, sizeof *r->spent,
                       exi_spent_compare);
        r->step = EXI_GATHER_SPENT;
        return 1;
    case EXI_GATHER_SPENT:
        rc = exi_runs_step(&r->sort, budget);
        if (rc) {
            return rc;
        }
        r->spent = (struct exi_spent *) r->sort.v;
        exi_runs_end(&r->sort);
        r->step = EXI_GATHER_DONE;
        return EXI_OK;
    case EXI_GATHER_DONE:
        return EXI_OK;
    }
    return EXI_EAPI;
}

/*
 * What is known when all are there.
 */

size_t
exi_rows_confirmed(const struct exi_rows *r)
{
    return r->nconfirmed - r->first;
}

bool
exi_rows_first(const struct exi_rows *r, struct exi_hist *h)
{
    if (r->first == r->n) {
        return false;
    }
    exi_place_hist(h, &r->v[r->first].at);
    return true;
}

int
exi_rows_status(const struct exi_rows *r, struct exi_status *st, size_t *at,
                uint32_t budget)
{
    struct exi_hist h;

    for (; r->first + *at < r->n; ++*at) {
        if (budget-- == 0) {
            return 1;
        }
        exi_place_hist(&h, &r->v[r->first + *at].at);
        exi_status_add(st, &h.txid, h.height);
    }
    return EXI_OK;
}

int
exi_rows_balance(const struct exi_rows *r, struct exi_sum *sum,
                 int64_t *confirmed_sat, int64_t *unconfirmed_sat)
{
    int64_t confirmed = sum->sat, settled = sum->sat, unconfirmed = 0;

    for (size_t i = exi_rows_above(r, sum->height); i < r->n; i++) {
        if (__builtin_add_overflow(
                i < r->nconfirmed ? confirmed : unconfirmed, r->v[i].delta_sat,
                i < r->nconfirmed ? &confirmed : &unconfirmed)) {
            return EXI_EFORMAT;
        }
        if (i < r->first) {
            settled = confirmed;
        }
    }
    sum->height = r->gen->m.height;
    sum->block = r->gen->m.block;
    sum->sat = settled;
    *confirmed_sat = confirmed;
    *unconfirmed_sat = unconfirmed;
    return EXI_OK;
}
