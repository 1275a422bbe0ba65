/*
 * Live layer: the rows of one transaction, and look-ups among them.
 *
 * live_rows_gather() reads only, so that a transaction can be refused before
 * anything is written; live_rows_insert() writes; live_rows_remove() is its
 * inverse and needs nothing but the transaction's own record and raw bytes.
 */
#include "live_int.h"

#include <stdlib.h>

#include "lib/exi_coin.h"
#include "lib/exi_script.h"
#include "lib/exi_token.h"

void
live_outpoint(uint8_t out[LIVE_OUTPOINT_KEY], const uint8_t *txid,
              uint32_t index)
{
    memcpy(out, txid, EXI_HASH_LEN);
    exi_put_be32(out + EXI_HASH_LEN, index);
}

/* Local id as a value. */
static int
id_value(const MDB_val *val, uint64_t *id)
{
    if (val->mv_size != 8) {
        return EXI_EFORMAT;
    }
    *id = exi_le64(val->mv_data);
    return EXI_OK;
}

int
live_find(struct live *l, const struct exi_txid *txid, uint64_t *id)
{
    MDB_val val;
    int rc = live_get(l, LIVE_TXID, txid->b, sizeof txid->b, &val);

    return rc ? rc : id_value(&val, id);
}

int
live_tx_get(struct live *l, uint64_t id, struct exi_live_tx *t)
{
    uint8_t key[8];
    MDB_val val;
    int rc;

    exi_put_be64(key, id);
    rc = live_get(l, LIVE_TX, key, sizeof key, &val);
    return rc ? rc : exi_live_tx_decode(t, val.mv_data, val.mv_size);
}

int
live_tx_put(struct live *l, uint64_t id, const struct exi_live_tx *t,
            unsigned flags)
{
    uint8_t key[8];
    size_t n = EXI_LIVE_TX_FIXED + (size_t) t->nscripts * EXI_SKEY_LEN;
    int rc = live_buf_need(&l->rec, n);

    if (rc) {
        return rc;
    }
    exi_put_be64(key, id);
    n = exi_live_tx_encode(l->rec.p, t);
    return live_put(l, LIVE_TX, key, sizeof key, l->rec.p, n, flags);
}

int
live_tx_parsed(struct live *l, uint64_t id, struct exi_tx *tx)
{
    uint8_t key[8];
    MDB_val val;
    int rc;

    exi_put_be64(key, id);
    rc = live_get(l, LIVE_RAW, key, sizeof key, &val);
    return rc ? rc : exi_tx_parse_whole(tx, val.mv_data, val.mv_size);
}

int
live_spender(struct live *l, const uint8_t *txid, uint32_t index, uint64_t *id)
{
    uint8_t key[LIVE_OUTPOINT_KEY];
    MDB_val val;
    int rc;

    live_outpoint(key, txid, index);
    rc = live_get(l, LIVE_SPEND, key, sizeof key, &val);
    return rc ? rc : id_value(&val, id);
}

int
live_spenders(struct live *l, const struct exi_txid *txid, struct live_ids *out)
{
    uint8_t key[LIVE_OUTPOINT_KEY];
    MDB_val k = { sizeof key, key }, val;
    MDB_cursor *c;
    uint64_t id;
    int rc, op = MDB_SET_RANGE;

    live_outpoint(key, txid->b, 0);
    rc = live_err(mdb_cursor_open(l->txn, l->dbi[LIVE_SPEND], &c));
    if (rc) {
        return rc;
    }
    while ((rc = live_err(mdb_cursor_get(c, &k, &val, op))) == EXI_OK
           && memcmp(k.mv_data, txid->b, EXI_HASH_LEN) == 0) {
        rc = id_value(&val, &id);
        if (rc == EXI_OK) {
            rc = live_ids_add(out, id);
        }
        if (rc) {
            break;
        }
        op = MDB_NEXT;
    }
    mdb_cursor_close(c);
    return rc == EXI_ENOTFOUND ? EXI_OK : rc;
}

/*
 * Resolving.
 */

/* Points l->rows.prev at a live transaction.  EXI_ENOTFOUND: it is not live. */
static int
prev_open(struct live *l, const uint8_t *txid)
{
    struct live_prev *p = &l->rows.prev;
    struct exi_live_tx t;
    uint64_t id;
    int rc;

    p->valid = false;
    memcpy(p->txid.b, txid, EXI_HASH_LEN);
    rc = live_find(l, &p->txid, &id);
    if (rc) {
        return rc;
    }
    rc = live_tx_get(l, id, &t);
    if (rc == EXI_OK) {
        rc = live_tx_parsed(l, id, &p->tx);
    }
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    p->confirmed = t.height > 0;
    p->next = 0;
    p->p = p->tx.outs;
    p->valid = true;
    return EXI_OK;
}

/* Output of a live transaction. */
static int
prev_output(struct live *l, const uint8_t *txid, uint32_t index,
            struct exi_txout *out)
{
    struct live_prev *p = &l->rows.prev;

    if (!p->valid || memcmp(p->txid.b, txid, EXI_HASH_LEN) != 0) {
        int rc = prev_open(l, txid);
        if (rc) {
            return rc;
        }
    }
    if (index < p->next) {
        p->next = 0;
        p->p = p->tx.outs;
    }
    if (index >= p->tx.nout) {
        return EXI_ENOTFOUND;
    }
    while (p->next <= index) {
        p->p = exi_txout_next(out, p->p);
        p->next++;
    }
    return EXI_OK;
}

/* Script key and amount of what an input spends. */
static int
resolve(struct live *l, const struct exi_txin *in, struct live_effect *e)
{
    struct exi_txid txid;
    struct exi_txout out;
    struct exi_shash h;
    int rc = prev_output(l, in->prev_txid, in->prev_index, &out);

    if (rc == EXI_OK) {
        exi_token_strip(&out, l->o.coin);
        if (exi_script_unspendable(out.script, out.scriptlen)) {
            return EXI_ENOTFOUND;
        }
        exi_script_hash(&h, out.script, out.scriptlen);
        e->s = exi_skey(&h);
        e->value_sat = out.value_sat;
        l->rows.unconf |= !l->rows.prev.confirmed;
        return EXI_OK;
    }
    if (rc != EXI_ENOTFOUND || l->rows.prev.valid) {
        return rc;
    }
    memcpy(txid.b, in->prev_txid, EXI_HASH_LEN);
    return l->o.prevout(l->o.prevout_ctx, &txid, in->prev_index, &e->s,
                        &e->value_sat);
}

static int
add_value(int64_t *sum, int64_t v, unsigned coin)
{
    if (coin & EXI_COIN_TOKENS) {
        v = EXI_VALUE_SAT(v);
    }
    if (v < 0 || __builtin_add_overflow(*sum, v, sum)) {
        return EXI_EFORMAT;
    }
    return EXI_OK;
}

static int
gather_outputs(struct live *l)
{
    struct live_rows *r = &l->rows;
    const uint8_t *p = r->tx.outs;
    struct exi_txout out;
    struct exi_shash h;

    for (uint32_t i = 0; i < r->tx.nout; i++) {
        struct live_effect *e = &r->e[r->n];
        p = exi_txout_next(&out, p);
        exi_token_strip(&out, l->o.coin);
        if (add_value(&r->out_sat, out.value_sat, l->o.coin)) {
            return EXI_EFORMAT;
        }
        if (exi_script_unspendable(out.script, out.scriptlen)) {
            continue;
        }
        exi_script_hash(&h, out.script, out.scriptlen);
        e->s = exi_skey(&h);
        e->spend = false;
        e->index = e->order = i;
        e->value_sat = out.value_sat;
        r->n++;
    }
    return EXI_OK;
}

static int
gather_inputs(struct live *l)
{
    struct live_rows *r = &l->rows;
    const uint8_t *p = r->tx.ins;
    struct exi_txin in;
    int rc;

    for (uint32_t i = 0; i < r->tx.nin && !r->tx.coinbase; i++) {
        struct live_effect *e = &r->e[r->n];
        p = exi_txin_next(&in, p);
        rc = resolve(l, &in, e);
        if (rc == EXI_OK) {
            rc = add_value(&r->in_sat, e->value_sat, l->o.coin);
        }
        if (rc) {
            return rc;
        }
        e->spend = true;
        e->index = in.prev_index;
        e->order = i;
        e->prev_txid = in.prev_txid;
        r->n++;
    }
    return EXI_OK;
}

static int
compare(const void *a, const void *b)
{
    const struct live_effect *x = a, *y = b;
    int c = memcmp(x->s.b, y->s.b, EXI_SKEY_LEN);

    if (c == 0) {
        c = (int) x->spend - (int) y->spend;
    }
    return c ? c : (x->order > y->order) - (x->order < y->order);
}

/* Most transactions have few effects. */
void
live_rows_sort(struct live_effect *e, size_t n)
{
    if (n > 16) {
        qsort(e, n, sizeof *e, compare);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct live_effect x = e[i];
        size_t k = i;

        for (; k > 0 && compare(&x, &e[k - 1]) < 0; k--) {
            e[k] = e[k - 1];
        }
        e[k] = x;
    }
}

size_t
live_rows_same(const struct live_effect *e, size_t n)
{
    size_t i = 1;

    while (i < n && memcmp(&e[0].s, &e[i].s, EXI_SKEY_LEN) == 0) {
        i++;
    }
    return i;
}

/* Room for n effects and for as many of each kind in one `hist` row. */
int
live_rows_need(struct live_rows *r, size_t n)
{
    n = n < 64 ? 64 : n;
    if (n <= r->cap) {
        return EXI_OK;
    }
    free(r->e);
    free(r->fund);
    free(r->spend);
    r->cap = 0;
    r->e = malloc(n * sizeof *r->e);
    r->fund = malloc(n * sizeof *r->fund);
    r->spend = malloc(n * sizeof *r->spend);
    if (r->e == NULL || r->fund == NULL || r->spend == NULL) {
        return EXI_ENOMEM;
    }
    r->cap = n;
    return EXI_OK;
}

int
live_rows_gather(struct live *l, const struct exi_tx *tx,
                 const struct exi_txid *txid)
{
    struct live_rows *r = &l->rows;
    int rc = live_rows_need(r, (size_t) tx->nin + tx->nout);

    if (rc) {
        return rc;
    }
    r->tx = *tx;
    r->txid = *txid;
    r->n = 0;
    r->in_sat = r->out_sat = 0;
    r->unconf = false;
    r->prev.valid = false;
    rc = gather_inputs(l);
    if (rc == EXI_OK) {
        rc = gather_outputs(l);
    }
    if (rc == EXI_OK) {
        live_rows_sort(r->e, r->n);
    }
    return rc;
}

/*
 * Writing.
 */

size_t
live_rows_fx(struct live_rows *r, uint8_t *out, const struct live_effect *e,
             size_t n)
{
    size_t nfund = 0, nspend = 0;

    for (size_t i = 0; i < n; i++) {
        if (e[i].spend) {
            struct exi_live_spend *s = &r->spend[nspend++];
            memcpy(s->txid.b, e[i].prev_txid, EXI_HASH_LEN);
            s->index = e[i].index;
            s->value_sat = e[i].value_sat;
        } else {
            r->fund[nfund].index = e[i].index;
            r->fund[nfund++].value_sat = e[i].value_sat;
        }
    }
    return exi_live_fx_encode(out, r->fund, nfund, r->spend, nspend);
}

/* The `hist` row of the effects e[0 ... n - 1], which are of one script. */
static int
put_hist(struct live *l, uint64_t id, const struct live_effect *e, size_t n)
{
    uint8_t key[EXI_LIVE_HIST_KEY];
    size_t len;
    int rc = live_buf_need(&l->rec, EXI_LIVE_FX_MAX(n, n));

    if (rc) {
        return rc;
    }
    len = live_rows_fx(&l->rows, l->rec.p, e, n);
    memcpy(key, e->s.b, EXI_SKEY_LEN);
    exi_put_be64(key + EXI_SKEY_LEN, id);
    return live_put(l, LIVE_HIST, key, sizeof key, l->rec.p, len,
                    MDB_NOOVERWRITE);
}

static int
put_spends(struct live *l, uint64_t id)
{
    const struct live_rows *r = &l->rows;
    uint8_t key[LIVE_OUTPOINT_KEY], val[8];
    int rc = EXI_OK;

    exi_put_le64(val, id);
    for (size_t i = 0; i < r->n && rc == EXI_OK; i++) {
        if (r->e[i].spend) {
            live_outpoint(key, r->e[i].prev_txid, r->e[i].index);
            rc = live_put(l, LIVE_SPEND, key, sizeof key, val, sizeof val,
                          MDB_NOOVERWRITE);
        }
    }
    return rc;
}

/* All `hist` rows; the script keys, ascending, into *scripts (malloc'd). */
static int
put_scripts(struct live *l, uint64_t id, uint8_t **scripts, uint32_t *nscripts)
{
    const struct live_rows *r = &l->rows;
    uint8_t *keys = malloc(r->n * EXI_SKEY_LEN + 1);
    uint32_t n = 0;
    int rc = keys ? EXI_OK : EXI_ENOMEM;

    for (size_t i = 0, j; i < r->n && rc == EXI_OK; i = j) {
        j = i + live_rows_same(r->e + i, r->n - i);
        memcpy(keys + (size_t) n++ * EXI_SKEY_LEN, r->e[i].s.b, EXI_SKEY_LEN);
        rc = put_hist(l, id, &r->e[i], j - i);
    }
    *scripts = keys;
    *nscripts = n;
    return rc;
}

static int
put_txid_raw(struct live *l, uint64_t id, const struct exi_tx *tx,
             const struct exi_txid *txid)
{
    uint8_t key[8], val[8];
    int rc;

    exi_put_le64(val, id);
    rc = live_put(l, LIVE_TXID, txid->b, sizeof txid->b, val, sizeof val,
                  MDB_NOOVERWRITE);
    if (rc) {
        return rc;
    }
    exi_put_be64(key, id);
    return live_put(l, LIVE_RAW, key, sizeof key, tx->raw, tx->size,
                    MDB_APPEND);
}

/* The record of l->rows, scripts aside. */
static struct exi_live_tx
record(const struct live_rows *r, int32_t height, uint32_t pos,
       uint64_t time_ms)
{
    struct exi_live_tx t = { .txid = r->txid, .height = height, .pos = pos };

    t.fee_sat = r->in_sat > r->out_sat ? r->in_sat - r->out_sat : 0;
    if (r->tx.coinbase) {
        t.fee_sat = -1;
        t.flags |= EXI_TXF_COINBASE;
    }
    if (r->unconf) {
        t.flags |= EXI_TXF_UNCONF_INPUT;
    }
    t.size = r->tx.size;
    t.vsize = exi_tx_vsize(&r->tx);
    t.time_ms = time_ms;
    return t;
}

/* What live_rows_insert() writes beyond txid and raw bytes. */
static int
put_rest(struct live *l, uint64_t id, struct exi_live_tx *t, unsigned flags)
{
    uint8_t *scripts = NULL;
    int rc = put_spends(l, id);

    if (rc == EXI_OK) {
        rc = put_scripts(l, id, &scripts, &t->nscripts);
    }
    if (rc == EXI_OK) {
        t->scripts = scripts;
        rc = live_tx_put(l, id, t, flags);
    }
    if (rc == EXI_OK) {
        rc = live_touch_tx(l, t);
    }
    free(scripts);
    return rc;
}

int
live_rows_insert(struct live *l, int32_t height, uint32_t pos, uint64_t time_ms,
                 uint64_t *id)
{
    struct live_rows *r = &l->rows;
    struct exi_live_tx t = record(r, height, pos, time_ms);
    uint64_t new_id = l->now.next_id++;
    int rc = put_txid_raw(l, new_id, &r->tx, &r->txid);

    if (rc == EXI_OK) {
        rc = put_rest(l, new_id, &t, MDB_APPEND);
    }
    *id = new_id;
    return rc;
}

int
live_rows_announce(struct live *l, const struct exi_tx *tx,
                   const struct exi_txid *txid, int32_t height, uint32_t pos,
                   uint64_t *id)
{
    struct exi_live_tx t = { .txid = *txid, .height = height, .pos = pos };
    uint64_t new_id = l->now.next_id++;
    int rc = put_txid_raw(l, new_id, tx, txid);

    if (rc == EXI_OK) {
        rc = live_tx_put(l, new_id, &t, MDB_APPEND);
    }
    *id = new_id;
    return rc;
}

int
live_rows_complete(struct live *l, int32_t height, uint32_t pos,
                   uint64_t time_ms, uint64_t id)
{
    struct exi_live_tx t = record(&l->rows, height, pos, time_ms);

    return put_rest(l, id, &t, 0);
}

/* Removes the `spend` rows that are the transaction's own. */
static int
del_spends(struct live *l, uint64_t id, const struct exi_tx *tx)
{
    uint8_t key[LIVE_OUTPOINT_KEY];
    const uint8_t *p = tx->ins;
    struct exi_txin in;
    uint64_t by;
    int rc;

    for (uint32_t i = 0; i < tx->nin && !tx->coinbase; i++) {
        p = exi_txin_next(&in, p);
        rc = live_spender(l, in.prev_txid, in.prev_index, &by);
        if (rc == EXI_OK && by == id) {
            live_outpoint(key, in.prev_txid, in.prev_index);
            rc = live_del(l, LIVE_SPEND, key, sizeof key);
        }
        if (rc && rc != EXI_ENOTFOUND) {
            return rc;
        }
    }
    return EXI_OK;
}

static int
del_hists(struct live *l, uint64_t id, const struct exi_live_tx *t)
{
    uint8_t key[EXI_LIVE_HIST_KEY];
    int rc = EXI_OK;

    exi_put_be64(key + EXI_SKEY_LEN, id);
    for (uint32_t i = 0; i < t->nscripts && rc == EXI_OK; i++) {
        memcpy(key, t->scripts + (size_t) i * EXI_SKEY_LEN, EXI_SKEY_LEN);
        rc = live_del(l, LIVE_HIST, key, sizeof key);
    }
    return rc;
}

int
live_rows_remove(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    struct exi_tx tx;
    uint8_t key[8];
    int rc;

    rc = live_tx_get(l, id, &t);
    if (rc == EXI_OK) {
        rc = live_tx_parsed(l, id, &tx);
    }
    if (rc == EXI_OK) {
        rc = del_spends(l, id, &tx);
    }
    if (rc == EXI_OK) {
        rc = del_hists(l, id, &t);
    }
    if (rc == EXI_OK) {
        rc = live_del(l, LIVE_TXID, t.txid.b, sizeof t.txid.b);
    }
    exi_put_be64(key, id);
    if (rc == EXI_OK) {
        rc = live_del(l, LIVE_RAW, key, sizeof key);
    }
    if (rc == EXI_OK) {
        rc = live_del(l, LIVE_TX, key, sizeof key);
    }
    return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
}
