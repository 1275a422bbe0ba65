/*
 * Live layer: mempool transactions.
 *
 * EXI_TXF_UNCONF_INPUT is kept exact: it is set iff an input is an output of
 * a mempool transaction.  It can only change when a parent is confirmed
 * (live_flag_again) or disconnected (live_flag_unconf): a parent that goes
 * takes its children with it, and one that comes has none yet.
 */
#include "live_int.h"

#include <stdlib.h>

/*
 * The set of local ids in the mempool.
 */

static int
pool_grow(struct live_pool *p, size_t word)
{
    size_t n = word * 2 < 1024 ? 1024 : word * 2;
    uint64_t *w = realloc(p->words, n * sizeof *w);

    if (w == NULL) {
        return EXI_ENOMEM;
    }
    memset(w + p->nwords, 0, (n - p->nwords) * sizeof *w);
    p->words = w;
    p->nwords = n;
    return EXI_OK;
}

int
live_pool_flip(struct live *l, uint64_t id)
{
    struct live_pool *p = &l->pool;
    int rc = EXI_OK;

    if (id / 64 >= p->nwords) {
        rc = pool_grow(p, (size_t) (id / 64));
    }
    if (rc == EXI_OK) {
        rc = live_ids_add(&p->flips, id);
    }
    if (rc == EXI_OK) {
        p->words[id / 64] ^= 1ull << id % 64;
    }
    return rc;
}

void
live_pool_undo(struct live_pool *p)
{
    for (size_t i = 0; i < p->flips.n; i++) {
        uint64_t id = p->flips.v[i];
        p->words[id / 64] ^= 1ull << id % 64;
    }
    p->flips.n = 0;
}

int
live_pool_enter(struct live *l, uint64_t id, uint32_t vsize)
{
    l->now.st.mempool_count++;
    l->now.st.mempool_vsize += vsize;
    return live_pool_flip(l, id);
}

int
live_pool_leave(struct live *l, uint64_t id, uint32_t vsize)
{
    l->now.st.mempool_count--;
    l->now.st.mempool_vsize -= vsize;
    return live_pool_flip(l, id);
}

/* Calls fn for the transaction of one bit. */
static int
each_one(struct live *l, uint64_t id, live_each_pt fn, void *ctx)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    return fn(ctx, &t);
}

int
live_mempool_each(struct live *l, live_each_pt fn, void *ctx)
{
    const struct live_pool *p = &l->pool;
    MDB_txn *txn;
    int rc = live_read_begin(l, &txn);

    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < p->nwords && rc == EXI_OK; i++) {
        for (uint64_t w = p->words[i]; w != 0 && rc == EXI_OK; w &= w - 1) {
            uint64_t id = i * 64 + (uint64_t) __builtin_ctzll(w);
            rc = each_one(l, id, fn, ctx);
        }
    }
    live_read_end(l);
    return rc;
}

/*
 * -1 and 0.
 */

static int
flag_put(struct live *l, uint64_t id, struct exi_live_tx *t, uint32_t flags)
{
    int rc;

    if (t->flags == flags) {
        return EXI_OK;
    }
    t->flags = flags;
    rc = live_touch_tx(l, t);
    return rc ? rc : live_tx_put(l, id, t, 0);
}

int
live_flag_unconf(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    return rc ? rc : flag_put(l, id, &t, t.flags | EXI_TXF_UNCONF_INPUT);
}

/* Is the transaction a mempool transaction: 1, 0 or an error. */
static int
is_mempool(struct live *l, const uint8_t *txid)
{
    struct exi_txid id32;
    struct exi_live_tx t;
    uint64_t id;
    int rc;

    memcpy(id32.b, txid, EXI_HASH_LEN);
    rc = live_find(l, &id32, &id);
    if (rc) {
        return rc == EXI_ENOTFOUND ? 0 : rc;
    }
    rc = live_tx_get(l, id, &t);
    return rc ? rc : t.height == 0;
}

int
live_unconf_input(struct live *l, const struct exi_tx *tx)
{
    const uint8_t *p = tx->ins;
    struct exi_txin in;
    int rc = 0;

    for (uint32_t i = 0; i < tx->nin && rc == 0; i++) {
        p = exi_txin_next(&in, p);
        rc = is_mempool(l, in.prev_txid);
    }
    return rc;
}

int
live_flag_again(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    struct exi_tx tx;
    int rc = live_tx_get(l, id, &t);

    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    if (t.height > 0 || !(t.flags & EXI_TXF_UNCONF_INPUT)) {
        return EXI_OK;
    }
    rc = live_tx_parsed(l, id, &tx);
    if (rc == EXI_OK) {
        rc = live_unconf_input(l, &tx);
    }
    if (rc) {
        return rc < 0 ? rc : EXI_OK;
    }
    return flag_put(l, id, &t, t.flags & ~(uint32_t) EXI_TXF_UNCONF_INPUT);
}

/*
 * Adding and removing.
 */

/*
 * EXI_OK: all inputs are free.  EXI_ENOTFOUND: one is spent in a live block;
 * EXI_EBUSY: by another mempool transaction.
 */
static int
check_spends(struct live *l, const struct exi_tx *tx)
{
    const uint8_t *p = tx->ins;
    struct exi_live_tx t;
    struct exi_txin in;
    bool busy = false;
    uint64_t by;
    int rc;

    for (uint32_t i = 0; i < tx->nin; i++) {
        p = exi_txin_next(&in, p);
        rc = live_spender(l, in.prev_txid, in.prev_index, &by);
        if (rc == EXI_ENOTFOUND) {
            continue;
        }
        if (rc == EXI_OK) {
            rc = live_tx_get(l, by, &t);
        }
        if (rc) {
            return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
        }
        if (t.height > 0) {
            return EXI_ENOTFOUND;
        }
        busy = true;
    }
    return busy ? EXI_EBUSY : EXI_OK;
}

/* It is live already. */
static int
seen_again(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    if (t.height > 0) {
        return EXI_ENOTFOUND;
    }
    if (!(t.flags & EXI_TXF_PROVISIONAL)) {
        return EXI_OK;
    }
    t.flags &= ~(uint32_t) EXI_TXF_PROVISIONAL;
    return live_tx_put(l, id, &t, 0);
}

int
live_mempool_add(struct live *l, const uint8_t *raw, size_t rawlen,
                 uint64_t time_ms)
{
    struct exi_txid txid;
    struct exi_tx tx;
    uint64_t id;
    int rc;

    if (l->txn == NULL) {
        return EXI_EAPI;
    }
    rc = exi_tx_parse_whole(&tx, raw, rawlen);
    if (rc || tx.coinbase) {
        return EXI_EFORMAT;
    }
    exi_tx_id(&txid, &tx);
    rc = live_find(l, &txid, &id);
    if (rc != EXI_ENOTFOUND) {
        return rc ? rc : seen_again(l, id);
    }
    rc = check_spends(l, &tx);
    if (rc == EXI_OK || rc == EXI_EBUSY) {
        int found = live_rows_gather(l, &tx, &txid);
        rc = found ? found : rc;
    }
    if (rc == EXI_OK) {
        rc = live_rows_insert(l, 0, 0, time_ms, &id);
    }
    return rc ? rc : live_pool_enter(l, id, exi_tx_vsize(&tx));
}

/* One of live_pool_remove()'s; its children go onto the stack. */
static int
remove_one(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    if (rc) {
        /* A child by two outputs is on the stack twice. */
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    if (t.height > 0) {
        return EXI_EFORMAT;
    }
    rc = live_spenders(l, &t.txid, &l->stack);
    if (rc == EXI_OK) {
        rc = live_touch_tx(l, &t);
    }
    if (rc == EXI_OK) {
        rc = live_pool_leave(l, id, t.vsize);
    }
    return rc ? rc : live_rows_remove(l, id);
}

int
live_pool_remove(struct live *l, uint64_t id)
{
    int rc;

    l->stack.n = 0;
    rc = live_ids_add(&l->stack, id);
    while (rc == EXI_OK && l->stack.n > 0) {
        rc = remove_one(l, l->stack.v[--l->stack.n]);
    }
    return rc;
}

int
live_mempool_remove(struct live *l, const struct exi_txid *txid)
{
    struct exi_live_tx t;
    uint64_t id;
    int rc;

    if (l->txn == NULL) {
        return EXI_EAPI;
    }
    rc = live_find(l, txid, &id);
    if (rc) {
        return rc;
    }
    rc = live_tx_get(l, id, &t);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    return t.height > 0 ? EXI_ENOTFOUND : live_pool_remove(l, id);
}
