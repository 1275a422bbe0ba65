/*
 * A script's unspent outputs piece by piece; as exi_read_cursor.c.
 */
#include "exi_store.h"
#include "exi_token.h"

#include <stdlib.h>

struct exi_utxos {
    struct exi_store *store;
    struct exi_gen *gen;
    struct exi_cold cold;
    uint32_t epoch;             /* of the iterator's place */
    struct exi_rodb_iter *iter; /* `U`; made at the first step */
    struct exi_skey key;
    uint64_t txnum; /* the row to go on from */
    uint32_t index;
    bool placed; /* the iterator stands there */
    bool end;    /* no more settled ones */
    uint32_t height;
    struct exi_rows *live; /* or NULL */
    size_t item;           /* of them, the next one */
    uint32_t fund;         /* of its outputs */
};

static struct exi_utxos *
new_utxos(struct exi_store *store, struct exi_gen *gen, bool nowait,
          const struct exi_skey *s)
{
    struct exi_utxos *c = calloc(1, sizeof *c);

    if (c != NULL) {
        c->store = store;
        c->gen = exi_store_ref_gen(store, gen);
        c->cold.nowait = nowait;
        c->key = *s;
    }
    return c;
}

int
exi_utxos_new(struct exi_view *v, const struct exi_skey *s,
              struct exi_utxos **out)
{
    *out = new_utxos(v->s, v->h.gen, v->cold.nowait, s);
    return *out != NULL ? EXI_OK : EXI_ENOMEM;
}

int
exi_utxos_of(struct exi_rows *rows, struct exi_utxos **out)
{
    struct exi_utxos *c;

    if (rows->step != EXI_GATHER_DONE) {
        return EXI_EAPI;
    }
    c = new_utxos(rows->store, rows->gen, rows->nowait, &rows->key);
    if (c == NULL) {
        return EXI_ENOMEM;
    }
    c->live = exi_rows_ref(rows);
    c->item = rows->first;
    *out = c;
    return EXI_OK;
}

void
exi_utxos_free(struct exi_utxos *c)
{
    if (c == NULL) {
        return;
    }
    if (c->iter != NULL) {
        exi_rodb_iter_free(c->iter);
    }
    exi_cold_clear(&c->cold);
    exi_rows_unref(c->live);
    exi_store_unref_gen(c->store, c->gen);
    free(c);
}

int
exi_utxos_cold_take(struct exi_utxos *c, struct exi_cold_list **out)
{
    return exi_cold_take(&c->cold, out);
}

void
exi_utxos_rewind(struct exi_utxos *c)
{
    c->txnum = c->index = c->height = 0;
    c->item = c->live != NULL ? c->live->first : 0;
    c->fund = 0;
    c->placed = c->end = false;
}

void
exi_utxos_block(const struct exi_utxos *c, uint32_t *height,
                struct exi_blkid *block)
{
    *height = c->gen->m.height;
    *block = c->gen->m.block;
}

/* A step: as that of a cursor. */
static void
begin_step(struct exi_utxos *c)
{
    exi_cold_begin(&c->cold);
    if (c->cold.epoch - c->epoch > 1) {
        c->placed = false;
        c->epoch = c->cold.epoch;
    }
}

/* The next settled one: 1, 0: none. */
static int
next_row(struct exi_utxos *c, uint64_t *txnum, uint32_t *index,
         int64_t *value_sat)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    int rc;

    if (c->iter == NULL) {
        c->iter = exi_rodb_iter_new(c->gen->db, &c->cold);
        if (c->iter == NULL) {
            return EXI_ENOMEM;
        }
    }
    exi_key_utxo(&k, &c->key, c->txnum, c->index);
    if (!c->placed) {
        exi_rodb_iter_seek_in(c->iter, k.b, k.len, EXI_KEY_UTXO_PREFIX);
    }
    rc = exi_rodb_iter_row(c->iter, &key, &keylen, &val, &vallen);
    if (rc == EXI_ECOLD && c->placed) {
        /* it was moved here by a step before, which noted what it lacked */
        exi_rodb_iter_seek_in(c->iter, k.b, k.len, EXI_KEY_UTXO_PREFIX);
        rc = exi_rodb_iter_row(c->iter, &key, &keylen, &val, &vallen);
    }
    c->placed = rc >= 0;
    if (rc != 1) {
        return rc;
    }
    if (keylen < EXI_KEY_UTXO_PREFIX
        || memcmp(key, k.b, EXI_KEY_UTXO_PREFIX) != 0) {
        return 0;
    }
    rc = exi_utxo_parse(key, keylen, val, vallen, txnum, index, value_sat);
    return rc ? rc : 1;
}

/* Gives a settled one out unless the live layer spends it. */
static int
give(struct exi_utxos *c, uint64_t txnum, uint32_t index, int64_t value_sat,
     exi_utxo_pt fn, void *ctx)
{
    struct exi_utxo u = { .index = index, .value_sat = value_sat };
    const uint8_t *p;
    int rc = exi_gen_look(c->gen, &c->cold, EXI_FLAT_TXIDS, txnum, &p);

    if (rc) {
        return rc;
    }
    if (c->live != NULL
        && exi_spent_find(c->live->spent, c->live->nspent, p, index)) {
        return EXI_OK;
    }
    rc = exi_gen_height(c->gen, txnum, c->height, &c->height);
    if (rc) {
        return rc;
    }
    memcpy(u.txid.b, p, EXI_HASH_LEN);
    u.height = (int32_t) c->height;
    return fn(ctx, &u);
}

/* Goes behind the row just read. */
static void
pass(struct exi_utxos *c, uint64_t txnum, uint32_t index)
{
    c->txnum = txnum;
    c->index = index + 1;
    exi_rodb_iter_next(c->iter);
}

/* Asks for the txids of the rows to come, too; the place stays. */
static void
look_ahead(struct exi_utxos *c, uint32_t n)
{
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    const uint8_t *p;
    int rc = EXI_OK;

    while (n-- > 0 && (rc == EXI_OK || rc == EXI_ECOLD)) {
        exi_rodb_iter_next(c->iter);
        if (next_row(c, &txnum, &index, &value) != 1) {
            break;
        }
        rc = exi_gen_look(c->gen, &c->cold, EXI_FLAT_TXIDS, txnum, &p);
    }
    c->placed = false;
}

/* Gives the outputs of live transactions: 1: there are more. */
static int
give_live(struct exi_utxos *c, uint32_t budget, exi_utxo_pt fn, void *ctx)
{
    const struct exi_rows *r = c->live;

    for (; r != NULL && c->item < r->n; c->item++, c->fund = 0) {
        const struct exi_row *row = &r->v[c->item];
        for (; c->fund < row->nfunds; c->fund++) {
            const struct exi_live_fund *f = &r->funds[row->fund + c->fund];
            struct exi_utxo u = { row->at.txid, f->index, row->at.height,
                                  EXI_VALUE_SAT(f->value_sat), false };
            if (budget-- == 0) {
                return 1;
            }
            if (!exi_spent_find(r->spent, r->nspent, u.txid.b, u.index)) {
                int rc = fn(ctx, &u);
                if (rc) {
                    return rc;
                }
            }
        }
        if (budget == 0) {
            return 1;
        }
        budget--;
    }
    return EXI_OK;
}

int
exi_utxos_next(struct exi_utxos *c, uint32_t budget, exi_utxo_pt fn, void *ctx)
{
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    int rc = EXI_OK;

    begin_step(c);
    for (; !c->end && budget > 0; budget--) {
        rc = next_row(c, &txnum, &index, &value);
        if (rc == 0) {
            c->end = true;
            break;
        }
        if (rc == 1) {
            rc = give(c, txnum, index, value, fn, ctx);
            if (rc == EXI_ECOLD) {
                look_ahead(c, budget);
            }
        }
        if (rc) {
            return rc;
        }
        pass(c, txnum, index);
    }
    return c->end ? give_live(c, budget, fn, ctx) : 1;
}

int
exi_utxos_sum(struct exi_utxos *c, uint32_t budget, struct exi_sum *sum)
{
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    int rc;

    begin_step(c);
    while (!c->end && budget-- > 0) {
        rc = next_row(c, &txnum, &index, &value);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            c->end = true;
            break;
        }
        if (__builtin_add_overflow(sum->sat, value, &sum->sat)) {
            return EXI_EFORMAT;
        }
        sum->n++;
        pass(c, txnum, index);
    }
    if (c->end) {
        sum->known = true;
        exi_utxos_block(c, &sum->height, &sum->block);
    }
    return !c->end;
}
