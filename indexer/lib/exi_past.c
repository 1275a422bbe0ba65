/*
 * One generation, read without a live layer (exi_past.h): a view that has a
 * generation and no snapshot, for the look-ups that need nothing else.
 */
#include "exi_past.h"
#include "exi_coin.h"
#include "exi_token.h"

#include <stdlib.h>
#include <string.h>

#include "exi_store.h"

struct exi_past {
    bool twin;           /* the generation is another one's */
    struct exi_store *s; /* knows the directory and the log; opens nothing */
    struct exi_view v;   /* h.gen and h.iter only */
};

int
exi_past_open(struct exi_past **out, const char *data_dir,
              const struct exi_live_gen *gen, exi_log_pt log, void *log_ctx)
{
    struct exi_past *p = calloc(1, sizeof *p);
    int rc;

    if (p == NULL) {
        return EXI_ENOMEM;
    }
    rc = exi_store_new(&p->s, data_dir, log, log_ctx);
    if (rc == EXI_OK) {
        p->v.s = p->s;
        rc = exi_gen_open(p->s, gen, NULL, &p->v.h.gen);
    }
    if (rc == EXI_OK) {
        p->v.h.iter = exi_rodb_iter_new(p->v.h.gen->db, NULL);
        rc = p->v.h.iter == NULL ? EXI_ENOMEM : EXI_OK;
    }
    if (rc) {
        exi_past_close(p);
        return rc;
    }
    *out = p;
    return EXI_OK;
}

int
exi_past_twin(struct exi_past **out, const struct exi_past *p)
{
    struct exi_past *t = calloc(1, sizeof *t);

    if (t == NULL) {
        return EXI_ENOMEM;
    }
    t->twin = true;
    t->v.h.gen = p->v.h.gen;
    t->v.h.iter = exi_rodb_iter_new(t->v.h.gen->db, NULL);
    if (t->v.h.iter == NULL) {
        exi_past_close(t);
        return EXI_ENOMEM;
    }
    *out = t;
    return EXI_OK;
}

void
exi_past_close(struct exi_past *p)
{
    if (p == NULL) {
        return;
    }
    if (p->v.h.iter != NULL) {
        exi_rodb_iter_free(p->v.h.iter);
    }
    if (p->v.h.gen != NULL && !p->twin) {
        exi_gen_close(p->v.h.gen);
    }
    if (p->s != NULL) {
        exi_store_free(p->s);
    }
    free(p);
}

/* Value of a `U` row. */
static int
parse_value(const uint8_t *val, size_t vallen, int64_t *value_sat)
{
    struct exi_rd rd = exi_rd(val, vallen);
    uint64_t v = exi_rd_varint(&rd);

    if (rd.bad || exi_rd_left(&rd) != 0 || v > INT64_MAX) {
        return EXI_EFORMAT;
    }
    *value_sat = (int64_t) v;
    return EXI_OK;
}

/* Amount of an unspent output: there is an `O` row, so there is a `U` row. */
static int
find_value(const struct exi_past *p, const struct exi_skey *script,
           uint64_t txnum, uint32_t index, int64_t *value_sat)
{
    const uint8_t *val;
    struct exi_key k;
    size_t vallen;
    int rc;

    exi_key_utxo(&k, script, txnum, index);
    rc = exi_rodb_get(p->v.h.gen->db, NULL, k.b, k.len, &val, &vallen);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    rc = parse_value(val, vallen, value_sat);
    return rc;
}

int
exi_past_prevout(struct exi_past *p, const struct exi_txid *txid,
                 uint32_t index, struct exi_skey *script, int64_t *value_sat)
{
    struct exi_txpos pos = { .live = false };
    struct exi_skey k;
    int rc = exi_view_txnum(&p->v, txid, &pos.id);

    if (rc == EXI_OK) {
        rc = exi_outpoint_unspent(&p->v, &pos, index, &k);
    }
    if (rc == EXI_OK) {
        rc = find_value(p, &k, pos.id, index, value_sat);
    }
    if (rc == EXI_OK) {
        *script = k;
    }
    return rc;
}

/*
 * Many at once: each kind of row in the order of its keys, so that the iterator
 * finds the next row in the block that it has read and checked.
 */

static int
by_txid(const void *a, const void *b)
{
    const struct exi_past_out *x = a, *y = b;

    return memcmp(x->txid, y->txid, EXI_HASH_LEN);
}

static int
by_txnum(const void *a, const void *b)
{
    const struct exi_past_out *x = a, *y = b;

    if (x->txnum != y->txnum) {
        return x->txnum < y->txnum ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

static int
by_script(const void *a, const void *b)
{
    const struct exi_past_out *x = a, *y = b;
    int c = memcmp(x->script.b, y->script.b, EXI_SKEY_LEN);

    return c ? c : by_txnum(a, b);
}

/* The row of just that key.  EXI_ENOTFOUND. */
static int
row_at(struct exi_past *p, const struct exi_key *k, const uint8_t **val,
       size_t *vallen)
{
    const uint8_t *key;
    size_t keylen;
    int rc;

    exi_rodb_iter_seek_in(p->v.h.iter, k->b, k->len, k->len);
    rc = exi_rodb_iter_row(p->v.h.iter, &key, &keylen, val, vallen);
    if (rc < 0) {
        return rc;
    }
    return rc == 1 && keylen == k->len && memcmp(key, k->b, keylen) == 0
               ? EXI_OK
               : EXI_ENOTFOUND;
}

static int
find_txnums(struct exi_past *p, struct exi_past_out *v, size_t n)
{
    struct exi_txid txid;
    int rc = EXI_OK;

    qsort(v, n, sizeof *v, by_txid);
    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        if (i > 0 && memcmp(v[i].txid, v[i - 1].txid, EXI_HASH_LEN) == 0) {
            v[i].txnum = v[i - 1].txnum;
            continue;
        }
        memcpy(txid.b, v[i].txid, EXI_HASH_LEN);
        rc = exi_view_txnum(&p->v, &txid, &v[i].txnum);
    }
    return rc;
}

static int
find_scripts(struct exi_past *p, struct exi_past_out *v, size_t n)
{
    unsigned coin = exi_coin_flags(p->v.h.gen->m.params.network);
    const uint8_t *val;
    struct exi_key k;
    size_t vallen;
    int rc = EXI_OK;

    qsort(v, n, sizeof *v, by_txnum);
    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        exi_key_outpoint(&k, v[i].txnum, v[i].index);
        rc = row_at(p, &k, &val, &vallen);
        if (rc == EXI_OK && !exi_outpoint_len_right(vallen, coin)) {
            rc = EXI_EFORMAT;
        }
        if (rc == EXI_OK) {
            memcpy(v[i].script.b, val, EXI_SKEY_LEN);
        }
    }
    return rc;
}

static int
find_values(struct exi_past *p, struct exi_past_out *v, size_t n)
{
    const uint8_t *val;
    struct exi_key k;
    size_t vallen;
    int rc = EXI_OK;

    qsort(v, n, sizeof *v, by_script);
    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        exi_key_utxo(&k, &v[i].script, v[i].txnum, v[i].index);
        rc = row_at(p, &k, &val, &vallen);
        if (rc == EXI_OK) {
            rc = parse_value(val, vallen, &v[i].value_sat);
        } else if (rc == EXI_ENOTFOUND) {
            rc = EXI_EFORMAT;
        }
    }
    return rc;
}

int
exi_past_prevouts(struct exi_past *p, struct exi_past_out *v, size_t n)
{
    int rc = n > 0 ? find_txnums(p, v, n) : EXI_OK;

    if (rc == EXI_OK) {
        rc = find_scripts(p, v, n);
    }
    return rc ? rc : find_values(p, v, n);
}
