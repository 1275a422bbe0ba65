/*
 * A script's unspent outputs piece by piece; as exi_read_cursor.c.  What the
 * live layer changes is copied when the cursor is made.
 */
#include "exi_store.h"

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
    struct exi_spent *spent;
    size_t nspent;
    size_t item;
    size_t nitems;
    struct exi_utxo items[];
};

int
exi_utxos_new(struct exi_view *v, const struct exi_arena *a,
              const struct exi_skey *s, bool live, struct exi_utxos **out)
{
    struct exi_live_unspent l = { .n = 0 };
    struct exi_utxos *c;
    int rc = live ? exi_view_live_unspent(v, a, s, &l) : EXI_OK;

    if (rc) {
        return rc;
    }
    c = calloc(1, sizeof *c + l.n * sizeof *l.u + l.nspent * sizeof *l.spent);
    if (c == NULL) {
        return EXI_ENOMEM;
    }
    c->store = v->s;
    c->gen = exi_store_ref_gen(v->s, v->h.gen);
    c->cold.nowait = v->cold.nowait;
    c->key = *s;
    c->spent = (struct exi_spent *) (c->items + l.n);
    c->nitems = l.n;
    c->nspent = l.nspent;
    if (l.n > 0) {
        memcpy(c->items, l.u, l.n * sizeof *l.u);
    }
    if (l.nspent > 0) {
        memcpy(c->spent, l.spent, l.nspent * sizeof *l.spent);
    }
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
    exi_store_unref_gen(c->store, c->gen);
    free(c);
}

int
exi_utxos_cold_take(struct exi_utxos *c, struct exi_cold_list **out)
{
    return exi_cold_take(&c->cold, out);
}

size_t
exi_utxos_size(const struct exi_utxos *c)
{
    return sizeof *c + c->nitems * sizeof *c->items
           + c->nspent * sizeof *c->spent;
}

void
exi_utxos_rewind(struct exi_utxos *c)
{
    c->txnum = c->index = c->height = 0;
    c->item = 0;
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
    if (exi_spent_find(c->spent, c->nspent, p, index)) {
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

int
exi_utxos_next(struct exi_utxos *c, uint32_t budget, exi_utxo_pt fn, void *ctx)
{
    uint64_t txnum;
    uint32_t index;
    int64_t value;
    int rc = EXI_OK;

    begin_step(c);
    while (!c->end && budget-- > 0) {
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
    while (c->end && c->item < c->nitems && budget-- > 0) {
        rc = fn(ctx, &c->items[c->item++]);
        if (rc) {
            return rc;
        }
    }
    return !c->end || c->item < c->nitems;
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
