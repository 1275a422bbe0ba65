/*
 * Loading blocks into a new live environment: the rows into LMDB, sorted.  In
 * the first chunk each database is filled from one end to the other, which
 * copies and splits no page.  A commit after each of the large ones keeps
 * short what LMDB remembers of a transaction, and the bound of its room exact.
 */
#include "live_load_int.h"

#include <stdlib.h>

#define AHEAD 12 /* rows between prefetch and use */

/*
 * A row whose key comes after all keys there are, if `last`.  Should it not
 * (rows are sorted by 16 bytes of a txid), its place is looked for.
 */
static int
put(struct live *l, enum live_db db, const void *key, size_t keylen,
    const void *val, size_t vallen, bool last)
{
    int rc = EXI_EFORMAT;

    if (last) {
        rc = live_put(l, db, key, keylen, val, vallen, MDB_APPEND);
    }
    if (rc == EXI_EFORMAT) {
        rc = live_put(l, db, key, keylen, val, vallen, MDB_NOOVERWRITE);
    }
    return rc;
}

static bool
first_chunk(const struct load *ld)
{
    return ld->from == 0;
}

static int
again(struct live *l)
{
    int rc = live_commit(l, EXI_CHANGE_ALL);

    return rc ? rc : live_begin(l);
}

static int
put_block(struct load *ld, const struct load_block *b)
{
    struct live *l = ld->l;
    int rc;

    if (memcmp(b->raw + 4, l->now.st.tip.b, EXI_HASH_LEN) != 0) {
        return EXI_EAPI;
    }
    rc = live_buf_need(&l->ids, (size_t) b->b.ntx * 8);
    if (rc == EXI_OK) {
        rc = live_buf_need(&l->txids, (size_t) b->b.ntx * EXI_HASH_LEN);
    }
    if (rc) {
        return rc;
    }
    for (uint32_t i = 0; i < b->b.ntx; i++) {
        exi_put_le64(l->ids.p + (size_t) i * 8, ld->first_id + b->first + i);
    }
    memcpy(l->txids.p, b->txids, (size_t) b->b.ntx * EXI_HASH_LEN);
    return live_store_block(l, &b->b, b->height, &b->hash);
}

static int
put_raws(struct load *ld)
{
    uint8_t key[8];
    int rc = EXI_OK;

    for (size_t i = 0; i < ld->ntx && rc == EXI_OK; i++) {
        exi_put_be64(key, ld->first_id + i);
        rc = put(ld->l, LIVE_RAW, key, sizeof key, ld->txs[i]->tx.raw,
                 ld->txs[i]->tx.size, true);
    }
    return rc;
}

/* The record of a key that begins with a txid. */
static struct settle_rec
rec_of(const uint8_t *txid, uint32_t v, uint32_t w)
{
    struct settle_rec r = { exi_be64(txid), exi_be64(txid + 8), v, w };

    return r;
}

static int
put_txids(struct load *ld, struct settle_rec *r)
{
    uint8_t val[8];
    int rc = EXI_OK;

    for (size_t i = 0; i < ld->ntx; i++) {
        r[i] = rec_of(ld->txs[i]->txid.b, (uint32_t) i, 0);
    }
    settle_sort(r, r + ld->ntx, ld->ntx);
    for (size_t i = 0; i < ld->ntx && rc == EXI_OK; i++) {
        if (i + AHEAD < ld->ntx) {
            __builtin_prefetch(&ld->txs[r[i + AHEAD].v]->txid);
        }
        exi_put_le64(val, ld->first_id + r[i].v);
        rc = put(ld->l, LIVE_TXID, ld->txs[r[i].v]->txid.b, EXI_HASH_LEN, val,
                 sizeof val, first_chunk(ld));
    }
    return rc;
}

/* An input and who has it. */
struct spent {
    uint8_t key[LIVE_OUTPOINT_KEY];
    uint32_t number;
};

static size_t
collect_spent(const struct load *ld, struct spent *s, struct settle_rec *r)
{
    size_t n = 0;

    for (size_t i = 0; i < ld->ntx; i++) {
        const struct exi_tx *tx = &ld->txs[i]->tx;
        const uint8_t *p = tx->ins;
        struct exi_txin in;

        for (uint32_t k = 0; k < tx->nin && !tx->coinbase; k++) {
            p = exi_txin_next(&in, p);
            live_outpoint(s[n].key, in.prev_txid, in.prev_index);
            s[n].number = (uint32_t) i;
            r[n] = rec_of(in.prev_txid, in.prev_index, (uint32_t) n);
            n++;
        }
    }
    return n;
}

static int
put_spent(struct load *ld, const struct spent *s, const struct settle_rec *r,
          size_t n)
{
    uint8_t val[8];
    int rc = EXI_OK;

    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        const struct spent *x = &s[r[i].w];
        if (i + AHEAD < n) {
            __builtin_prefetch(&s[r[i + AHEAD].w]);
        }
        exi_put_le64(val, ld->first_id + x->number);
        rc = put(ld->l, LIVE_SPEND, x->key, sizeof x->key, val, sizeof val,
                 first_chunk(ld));
    }
    return rc;
}

static int
put_spends(struct load *ld, size_t nin)
{
    struct spent *s = malloc((nin + 1) * sizeof *s);
    struct settle_rec *r = malloc((2 * nin + 1) * sizeof *r);
    int rc = EXI_ENOMEM;

    if (s != NULL && r != NULL) {
        size_t n = collect_spent(ld, s, r);
        settle_sort(r, r + n, n);
        rc = put_spent(ld, s, r, n);
    }
    free(s);
    free(r);
    return rc;
}

int
load_put_early(struct load *ld)
{
    struct settle_rec *r = malloc((2 * ld->ntx + 1) * sizeof *r);
    size_t nin = 0;
    int rc = r ? live_begin(ld->l) : EXI_ENOMEM;

    if (rc) {
        free(r);
        return rc;
    }
    ld->l->now.next_id += ld->ntx;
    for (size_t i = ld->from; i < ld->to && rc == EXI_OK; i++) {
        nin += ld->blocks[i].nin;
        rc = put_block(ld, &ld->blocks[i]);
    }
    if (rc == EXI_OK) {
        rc = put_raws(ld);
    }
    if (rc == EXI_OK) {
        rc = again(ld->l);
    }
    if (rc == EXI_OK) {
        rc = put_txids(ld, r);
    }
    if (rc == EXI_OK) {
        rc = put_spends(ld, nin);
    }
    if (rc == EXI_OK) {
        rc = live_commit(ld->l, EXI_CHANGE_ALL);
    }
    free(r);
    live_abort(ld->l);
    return rc;
}

static const uint8_t *
value_of(const struct load *ld, const struct settle_rec *r)
{
    return ld->blocks[ld->owner[r->v]].values.p + r->w;
}

static int
put_hists(struct load *ld)
{
    uint8_t key[EXI_LIVE_HIST_KEY];
    int rc = EXI_OK;

    for (size_t i = 0; i < ld->nhist && rc == EXI_OK; i++) {
        const struct settle_rec *r = &ld->hist[i];
        const uint8_t *val = value_of(ld, r);

        if (i + AHEAD < ld->nhist) {
            __builtin_prefetch(value_of(ld, r + AHEAD));
        }
        exi_put_be64(key, r->hi);
        exi_put_be32(key + 8, (uint32_t) (r->lo >> 32));
        key[12] = (uint8_t) (r->lo >> 24);
        key[13] = (uint8_t) (r->lo >> 16);
        exi_put_be64(key + EXI_SKEY_LEN, ld->first_id + r->v);
        rc = put(ld->l, LIVE_HIST, key, sizeof key, val + 4, exi_le32(val),
                 first_chunk(ld));
    }
    return rc;
}

static int
put_records(struct load *ld)
{
    uint8_t key[8];
    int rc = EXI_OK;

    for (size_t i = 0; i < ld->ntx && rc == EXI_OK; i++) {
        const struct load_tx *t = ld->txs[i];
        exi_put_be64(key, ld->first_id + i);
        rc = put(ld->l, LIVE_TX, key, sizeof key, t->block->values.p + t->rec,
                 t->reclen, true);
    }
    return rc;
}

int
load_put_late(struct load *ld)
{
    int rc = live_begin(ld->l);

    if (rc) {
        return rc;
    }
    rc = put_hists(ld);
    if (rc == EXI_OK) {
        rc = again(ld->l);
    }
    if (rc == EXI_OK) {
        rc = put_records(ld);
    }
    if (rc == EXI_OK) {
        rc = live_commit(ld->l, EXI_CHANGE_ALL);
    }
    live_abort(ld->l);
    return rc;
}
