/*
 * Unspent outputs and balance of one script.  What live transactions spend is
 * in their own `hist` rows of the same script, so no outpoint is looked up.
 *
 * The txids of settled outputs are asked for when their rows are read and looked
 * at when the live rows are known: memory answers them side by side.
 */
#include "exi_coin.h"
#include "exi_store.h"
#include "exi_token.h"

#include <stdlib.h>

/* An output of a `U` row. */
struct settled {
    uint64_t txnum;
    uint32_t index;
    int64_t value_sat;
};

struct unspent {
    struct exi_view *v;
    const struct exi_arena *a;
    struct settled *rows;
    size_t nrows;
    size_t rows_cap;
    size_t most;             /* rows to read for now */
    struct exi_spent *spent; /* ascending */
    size_t nspent;
    size_t spent_cap;
    struct exi_utxo *u;
    size_t n;
    size_t cap;
    uint64_t limit;
    bool coin_tokens; /* amounts may have EXI_VALUE_TOKENS */
    enum exi_tokens tokens;
};

#define UNSPENT_START 16

/* Settled outputs that are read before the live rows. */
#define UNSPENT_EARLY 32

int
exi_spent_compare(const void *x, const void *y)
{
    const struct exi_spent *a = x, *b = y;
    uint64_t p = exi_be64(a->txid.b), q = exi_be64(b->txid.b);
    int c;

    if (p != q) {
        return p < q ? -1 : 1;
    }
    c = memcmp(a->txid.b, b->txid.b, EXI_HASH_LEN);
    return c ? c : (a->index > b->index) - (a->index < b->index);
}

/* Has the view's coin tokens? */
static bool
coin_tokens(const struct exi_view *v)
{
    return exi_coin_flags(exi_view_params(v)->network) & EXI_COIN_TOKENS;
}

/* Takes the flag off an amount; false: the output does not count. */
static bool
counts(int64_t *value_sat, bool *tokens, enum exi_tokens want)
{
    *tokens = *value_sat & EXI_VALUE_TOKENS;
    *value_sat = EXI_VALUE_SAT(*value_sat);
    return want == EXI_TOKENS_INCLUDE || (want == EXI_TOKENS_ONLY) == *tokens;
}

bool
exi_spent_find(const struct exi_spent *spent, size_t n, const uint8_t *txid,
               uint32_t index)
{
    struct exi_spent key;

    if (n == 0) {
        return false;
    }
    memcpy(key.txid.b, txid, EXI_HASH_LEN);
    key.index = index;
    return bsearch(&key, spent, n, sizeof key, exi_spent_compare) != NULL;
}

static int
add_output(struct unspent *t, const uint8_t *txid, uint32_t index,
           int32_t height, int64_t value_sat)
{
    struct exi_utxo *u;
    bool tokens = false;
    int rc;

    if (t->coin_tokens && !counts(&value_sat, &tokens, t->tokens)) {
        return EXI_OK;
    }
    if (exi_spent_find(t->spent, t->nspent, txid, index)) {
        return EXI_OK;
    }
    if (t->limit != 0 && t->n >= t->limit) {
        return EXI_ELIMIT;
    }
    rc = exi_view_grow(t->a, (void **) &t->u, &t->cap, t->n, sizeof *t->u);
    if (rc) {
        return rc;
    }
    u = &t->u[t->n++];
    memcpy(u->txid.b, txid, EXI_HASH_LEN);
    u->index = index;
    u->height = height;
    u->value_sat = value_sat;
    u->tokens = tokens;
    return EXI_OK;
}

/* Collects what the live transactions spend of the script. */
static int
add_spends(struct unspent *t, const struct exi_item *it)
{
    struct exi_live_spend s;
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc;

    while (n-- > 0) {
        exi_live_fx_fund(&rd, &f);
    }
    for (n = exi_live_fx_nspend(&rd); n > 0 && !rd.bad; n--) {
        exi_live_fx_spend(&rd, &s);
        rc = exi_view_grow(t->a, (void **) &t->spent, &t->spent_cap, t->nspent,
                           sizeof *t->spent);
        if (rc) {
            return rc;
        }
        t->spent[t->nspent].txid = s.txid;
        t->spent[t->nspent++].index = s.index;
    }
    return rd.bad ? EXI_EFORMAT : EXI_OK;
}

static int
add_funds(struct unspent *t, const struct exi_item *it)
{
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc = EXI_OK;

    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_fund(&rd, &f);
        if (rd.bad || f.value_sat < 0) {
            return EXI_EFORMAT;
        }
        rc = add_output(t, it->at.txid.b, f.index, it->at.height, f.value_sat);
    }
    return rd.bad ? EXI_EFORMAT : rc;
}

int
exi_utxo_parse(const uint8_t *key, size_t keylen, const uint8_t *val,
               size_t vallen, uint64_t *txnum, uint32_t *index,
               int64_t *value_sat)
{
    struct exi_rd rd = exi_rd(val, vallen);
    uint64_t value = exi_rd_varint(&rd);

    if (rd.bad || exi_rd_left(&rd) > 0 || value > INT64_MAX) {
        return EXI_EFORMAT;
    }
    *value_sat = (int64_t) value;
    return exi_key_utxo_parse(key, keylen, txnum, index);
}

typedef int (*utxo_row_pt)(void *ctx, uint64_t txnum, uint32_t index,
                           int64_t value_sat);

/* The script's first `U` row. */
static void
seek_utxo(struct exi_view *v, const struct exi_skey *s)
{
    struct exi_key k;

    exi_key_utxo(&k, s, 0, 0);
    exi_rodb_iter_seek_in(v->h.iter, k.b, EXI_KEY_UTXO_PREFIX,
                          EXI_KEY_UTXO_PREFIX);
}

/* Each of them from the one at hand on, until there are no more (EXI_OK) or the
 * callback returns something: then the next call begins with that row. */
static int
each_utxo(struct exi_view *v, utxo_row_pt fn, void *ctx)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    int rc;

    while ((rc = exi_rodb_iter_row(v->h.iter, &key, &keylen, &val, &vallen))
           == 1) {
        rc = exi_utxo_parse(key, keylen, val, vallen, &txnum, &index, &value);
        if (rc == EXI_OK) {
            rc = fn(ctx, txnum, index, value);
        }
        if (rc) {
            return rc;
        }
        v->work++;
        exi_rodb_iter_next(v->h.iter);
    }
    return rc;
}

/* 1: enough for now. */
static int
keep_row(void *ctx, uint64_t txnum, uint32_t index, int64_t value_sat)
{
    struct unspent *t = ctx;
    int64_t sat = value_sat;
    bool tokens;
    int rc;

    if (t->coin_tokens && !counts(&sat, &tokens, t->tokens)) {
        return EXI_OK;
    }
    if (t->nrows >= t->most) {
        return 1;
    }
    rc = exi_view_grow(t->a, (void **) &t->rows, &t->rows_cap, t->nrows,
                       sizeof *t->rows);
    if (rc) {
        return rc;
    }
    t->rows[t->nrows++] = (struct settled){ txnum, index, value_sat };
    return EXI_OK;
}

/* All at once, as a processor waits for a page's address before it goes on far
 * beyond a prefetch. */
static void
ask_txids(const struct unspent *t, size_t from)
{
    for (size_t i = from; i < t->nrows; i++) {
        exi_gen_ahead(t->v->h.gen, EXI_FLAT_TXIDS, t->rows[i].txnum);
    }
}

static int
add_settled(struct unspent *t, const struct settled *row)
{
    uint32_t from = t->n > 0 ? (uint32_t) t->u[t->n - 1].height : 0, height;
    const uint8_t *p;
    int rc = exi_view_flat(t->v, EXI_FLAT_TXIDS, row->txnum, &p);

    if (rc == EXI_OK) {
        rc = exi_view_height(t->v, row->txnum, from, &height);
    }
    return rc ? rc
              : add_output(t, p, row->index, (int32_t) height, row->value_sat);
}

/* The rows that were read; EXI_ECOLD: all txids that lack are noted. */
static int
add_rows(struct unspent *t)
{
    size_t ncold = 0;

    for (size_t i = 0; i < t->nrows; i++) {
        int rc = add_settled(t, &t->rows[i]);
        if (rc == EXI_ECOLD) {
            ncold++;
            if (t->limit != 0 && t->n + ncold > t->limit) {
                return EXI_ELIMIT;
            }
        } else if (rc) {
            return rc;
        }
    }
    return ncold > 0 ? EXI_ECOLD : EXI_OK;
}

/* Items and what they spend. */
static int
gather_spent(struct unspent *t, const struct exi_skey *s,
             struct exi_items *items)
{
    int rc = exi_view_items(t->v, items, t->a, s, t->limit);

    rc = rc == EXI_EMANY ? EXI_ELIMIT : rc;
    for (size_t i = 0; i < items->n && rc == EXI_OK; i++) {
        rc = add_spends(t, &items->v[i]);
    }
    if (rc == EXI_OK && t->nspent > 1) {
        qsort(t->spent, t->nspent, sizeof *t->spent, exi_spent_compare);
    }
    return rc;
}

/* Rows and items.  Each output that is spent takes one row away at most, so
 * that with more rows than these the limit is exceeded. */
static int
gather_rows(struct unspent *t, const struct exi_skey *s,
            struct exi_items *items)
{
    size_t early;
    int rc, some;

    t->most = UNSPENT_EARLY;
    seek_utxo(t->v, s);
    some = each_utxo(t->v, keep_row, t);
    if (some < 0) {
        return some;
    }
    ask_txids(t, 0);
    rc = gather_spent(t, s, items);
    if (rc == EXI_OK && some == 1) {
        early = t->nrows;
        t->most = t->limit != 0 ? t->limit + t->nspent : SIZE_MAX;
        rc = each_utxo(t->v, keep_row, t);
        rc = rc == 1 ? EXI_ELIMIT : rc;
        ask_txids(t, early);
    }
    return rc;
}

/* All that is unspent, in protocol order, into t->u. */
static int
gather_unspent(struct unspent *t, const struct exi_skey *s)
{
    struct exi_items items;
    int got, rc = gather_rows(t, s, &items);

    if (rc == EXI_OK || rc == EXI_ECOLD) {
        got = add_rows(t);
        rc = got ? got : rc;
    }
    for (size_t i = 0; rc == EXI_OK && i < items.n; i++) {
        rc = add_funds(t, &items.v[i]);
    }
    return rc;
}

int
exi_unspent(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, enum exi_tokens tokens, uint64_t limit,
            exi_utxo_pt fn, void *ctx)
{
    struct settled rows[UNSPENT_START];
    struct exi_spent spent[UNSPENT_START];
    struct exi_utxo u[UNSPENT_START];
    struct unspent t = { .v = v,
                         .a = a,
                         .rows = rows,
                         .rows_cap = UNSPENT_START,
                         .spent = spent,
                         .spent_cap = UNSPENT_START,
                         .u = u,
                         .cap = UNSPENT_START,
                         .limit = limit,
                         .coin_tokens = coin_tokens(v),
                         .tokens = tokens };
    int rc = gather_unspent(&t, s);

    for (size_t i = 0; i < t.n && rc == EXI_OK; i++) {
        rc = fn(ctx, &t.u[i]);
    }
    return rc;
}

/*
 * Balance.
 */

/* A sum of amounts. */
struct sum {
    int64_t sat;
    uint64_t n;
    uint64_t light; /* 0: any number */
    bool coin_tokens;
    enum exi_tokens tokens;
};

/* An amount of the index to or (sign -1) from a sum. */
static int
add_sat(struct sum *sum, int64_t value_sat, int sign)
{
    bool tokens;

    if (value_sat < 0) {
        return EXI_EFORMAT;
    }
    if (sum->coin_tokens && !counts(&value_sat, &tokens, sum->tokens)) {
        return EXI_OK;
    }
    return __builtin_add_overflow(sum->sat, sign * value_sat, &sum->sat)
               ? EXI_EFORMAT
               : EXI_OK;
}

static int
add_value(void *ctx, uint64_t txnum, uint32_t index, int64_t value_sat)
{
    struct sum *t = ctx;

    (void) txnum;
    (void) index;
    if (t->light != 0 && t->n >= t->light) {
        return EXI_EHEAVY;
    }
    t->n++;
    return add_sat(t, value_sat, 1);
}

/* Adds what a live transaction changes. */
static int
add_effect(struct sum *sum, const struct exi_item *it)
{
    struct exi_live_spend s = { .value_sat = 0 };
    struct exi_live_fund f;
    struct exi_rd rd;
    uint64_t n = exi_live_fx_open(&rd, it->fx, it->fxlen);
    int rc = EXI_OK;

    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_fund(&rd, &f);
        rc = rd.bad ? EXI_EFORMAT : add_sat(sum, f.value_sat, 1);
    }
    n = rc ? 0 : exi_live_fx_nspend(&rd);
    while (n-- > 0 && rc == EXI_OK) {
        exi_live_fx_spend(&rd, &s);
        rc = rd.bad ? EXI_EFORMAT : add_sat(sum, s.value_sat, -1);
    }
    return rd.bad ? EXI_EFORMAT : rc;
}

/* Whether a sum and the live rows above it are the whole chain of the view:
 * rule 2 of docs/architecture.md, "The cut".  1, 0, or an error. */
static int
sum_fits(struct exi_view *v, const struct exi_sum *sum)
{
    if (!sum->known || v->st.live_floor > (uint64_t) sum->height + 1) {
        return 0;
    }
    return exi_view_has(v, sum->height, &sum->block);
}

/* The sum as of the view's generation. */
static int
settled_sum(struct exi_view *v, const struct exi_skey *s,
            enum exi_tokens tokens, uint64_t light, struct exi_sum *sum)
{
    struct sum t = { .light = light,
                     .coin_tokens = coin_tokens(v),
                     .tokens = tokens };
    int rc;

    seek_utxo(v, s);
    rc = each_utxo(v, add_value, &t);
    if (rc == EXI_OK) {
        sum->known = true;
        sum->height = v->h.gen->m.height;
        sum->block = v->h.gen->m.block;
        sum->sat = t.sat;
        sum->n = t.n;
    }
    return rc;
}

/* Makes the sum one that fits the view. */
static int
fit_sum(struct exi_view *v, const struct exi_skey *s, enum exi_tokens tokens,
        uint64_t light, struct exi_sum *sum)
{
    int rc = sum_fits(v, sum);

    if (rc == 0) {
        return settled_sum(v, s, tokens, light, sum);
    }
    return rc == 1 ? EXI_OK : rc;
}

static int
balance(struct exi_view *v, const struct exi_arena *a, const struct exi_skey *s,
        enum exi_tokens tokens, uint64_t light, struct exi_sum *sum,
        int64_t *confirmed_sat, int64_t *unconfirmed_sat)
{
    struct sum confirmed = { .coin_tokens = coin_tokens(v), .tokens = tokens };
    struct sum unconfirmed = confirmed;
    struct exi_sum from = *sum;
    struct exi_items items;
    int rc = fit_sum(v, s, tokens, light, &from);

    if (rc == EXI_OK) {
        rc = exi_view_items_above(v, &items, a, s, light, from.height);
        *sum = rc == EXI_EMANY ? from : *sum;
    }
    if (rc) {
        return rc;
    }
    confirmed.sat = from.sat;
    from.height = v->h.gen->m.height;
    from.block = v->h.gen->m.block;
    for (size_t i = 0; i < items.n && rc == EXI_OK; i++) {
        rc = add_effect(i < items.nconfirmed ? &confirmed : &unconfirmed,
                        &items.v[i]);
        if (i < items.nconfirmed
            && (uint32_t) items.v[i].at.height <= from.height) {
            from.sat = confirmed.sat;
        }
    }
    if (rc == EXI_OK) {
        *sum = from;
        *confirmed_sat = confirmed.sat;
        *unconfirmed_sat = unconfirmed.sat;
    }
    return rc;
}

int
exi_script_sum(struct exi_view *v, const struct exi_skey *s, uint64_t light,
               struct exi_sum *sum)
{
    return fit_sum(v, s, EXI_TOKENS_INCLUDE, light, sum);
}

int
exi_balance_from(struct exi_view *v, const struct exi_arena *a,
                 const struct exi_skey *s, uint64_t light, struct exi_sum *sum,
                 int64_t *confirmed_sat, int64_t *unconfirmed_sat)
{
    return balance(v, a, s, EXI_TOKENS_INCLUDE, light, sum, confirmed_sat,
                   unconfirmed_sat);
}

int
exi_balance(struct exi_view *v, const struct exi_arena *a,
            const struct exi_skey *s, enum exi_tokens tokens,
            int64_t *confirmed_sat, int64_t *unconfirmed_sat)
{
    struct exi_sum none = { .known = false };

    return balance(v, a, s, tokens, 0, &none, confirmed_sat, unconfirmed_sat);
}

/*
 * Token data.
 */

/* Of a live transaction's output. */
static int
token_live(struct exi_view *v, const struct exi_txpos *pos, uint32_t index,
           uint8_t *out, size_t *len)
{
    struct exi_txout x;
    const uint8_t *raw, *p;
    struct exi_tx tx;
    size_t n;
    int rc = exi_tx_raw(v, pos, &raw, &n);

    if (rc == EXI_OK) {
        rc = exi_tx_parse_whole(&tx, raw, n);
    }
    if (rc || index >= tx.nout) {
        return rc ? rc : EXI_EFORMAT;
    }
    p = tx.outs;
    for (uint32_t i = 0; i <= index; i++) {
        p = exi_txout_next(&x, p);
    }
    n = exi_token_strip(&x, EXI_COIN_TOKENS);
    memcpy(out, x.script - n, n);
    *len = n;
    return n > 0 ? EXI_OK : EXI_EFORMAT;
}

/* Of a settled one's: behind the script key of its `O` row. */
static int
token_settled(struct exi_view *v, uint64_t txnum, uint32_t index, uint8_t *out,
              size_t *len)
{
    const uint8_t *val;
    struct exi_key k;
    size_t n;
    int rc;

    exi_key_outpoint(&k, txnum, index);
    rc = exi_rodb_get(v->h.gen->db, &v->cold, k.b, k.len, &val, &n);
    if (rc) {
        return rc;
    }
    if (n > EXI_SKEY_LEN && exi_outpoint_len_right(n, EXI_COIN_TOKENS)) {
        *len = n - EXI_SKEY_LEN;
        memcpy(out, val + EXI_SKEY_LEN, *len);
    } else {
        rc = EXI_EFORMAT;
    }
    return rc;
}

int
exi_utxo_token(struct exi_view *v, const struct exi_utxo *u, uint8_t *out,
               size_t *len)
{
    struct exi_txpos pos;
    int rc = exi_tx_find(v, &u->txid, &pos);

    if (rc == EXI_OK) {
        rc = pos.live ? token_live(v, &pos, u->index, out, len)
                      : token_settled(v, pos.id, u->index, out, len);
    }
    return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
}
