/*
 * Live layer: connecting, disconnecting and trimming blocks.
 *
 * A transaction's rows do not say where it stands, so a block made of known
 * mempool transactions rewrites one record for each.
 *
 * Where blocks may be in canonical order (EXI_COIN_CTOR) a block is gone over
 * twice: first each transaction is confirmed, or announced if it is unknown, so
 * that its outputs can be found; then inputs are looked at.
 */
#include "live_int.h"

#include <stdlib.h>

#include "lib/exi_coin.h"
#include "lib/exi_sha256.h"

/*
 * Connecting.
 */

/* Header, hash and link to the tip. */
static int
check_link(const struct live *l, const struct exi_block *b, uint32_t height,
           const struct exi_blkid *hash)
{
    const struct exi_live_state *st = &l->now.st;
    uint8_t h[EXI_HASH_LEN];

    if (height != st->tip_height + 1 || height > INT32_MAX
        || memcmp(b->header + 4, st->tip.b, EXI_HASH_LEN) != 0) {
        return EXI_EAPI;
    }
    exi_sha256d(h, b->header, EXI_HEADER_LEN);
    return memcmp(h, hash->b, EXI_HASH_LEN) ? EXI_EFORMAT : EXI_OK;
}

/* Removes the mempool transactions that spend what tx spends. */
static int
clear_conflicts(struct live *l, const struct exi_tx *tx)
{
    const uint8_t *p = tx->ins;
    struct exi_txin in;
    uint64_t by;
    int rc;

    for (uint32_t i = 0; i < tx->nin && !tx->coinbase; i++) {
        p = exi_txin_next(&in, p);
        rc = live_spender(l, in.prev_txid, in.prev_index, &by);
        if (rc == EXI_OK) {
            rc = live_pool_remove(l, by);
        }
        if (rc && rc != EXI_ENOTFOUND) {
            return rc;
        }
    }
    return EXI_OK;
}

/* The block may have another witness than the mempool had. */
static int
refresh_raw(struct live *l, uint64_t id, const struct exi_tx *tx)
{
    uint8_t key[8];
    MDB_val val;
    int rc;

    exi_put_be64(key, id);
    rc = live_get(l, LIVE_RAW, key, sizeof key, &val);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    if (val.mv_size == tx->size
        && memcmp(val.mv_data, tx->raw, tx->size) == 0) {
        return EXI_OK;
    }
    return live_put(l, LIVE_RAW, key, sizeof key, tx->raw, tx->size, 0);
}

/* EXI_EFORMAT: an input is an output of a mempool transaction. */
static int
inputs_confirmed(struct live *l, const struct exi_tx *tx)
{
    int rc = live_unconf_input(l, tx);

    return rc > 0 ? EXI_EFORMAT : rc;
}

/* A mempool transaction is in the block. */
static int
confirm(struct live *l, uint64_t id, const struct exi_tx *tx, uint32_t height,
        uint32_t pos)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    if (rc || t.height > 0) {
        return rc && rc != EXI_ENOTFOUND ? rc : EXI_EFORMAT;
    }
    if (t.flags & EXI_TXF_UNCONF_INPUT) {
        rc = l->o.coin & EXI_COIN_CTOR ? live_ids_add(&l->again, pos)
                                       : inputs_confirmed(l, tx);
        if (rc) {
            return rc;
        }
    }
    rc = refresh_raw(l, id, tx);
    if (rc == EXI_OK) {
        rc = live_pool_leave(l, id, t.vsize);
    }
    if (rc == EXI_OK) {
        rc = live_touch_tx(l, &t);
    }
    if (rc == EXI_OK) {
        rc = live_spenders(l, &t.txid, &l->children);
    }
    if (rc) {
        return rc;
    }
    t.height = (int32_t) height;
    t.pos = pos;
    t.size = tx->size;
    t.vsize = exi_tx_vsize(tx);
    t.flags &= ~(uint32_t) (EXI_TXF_UNCONF_INPUT | EXI_TXF_PROVISIONAL);
    return live_tx_put(l, id, &t, 0);
}

static int
gather_unknown(struct live *l, const struct exi_tx *tx,
               const struct exi_txid *txid)
{
    int rc = live_rows_gather(l, tx, txid);

    return rc == EXI_ENOTFOUND || (rc == EXI_OK && l->rows.unconf) ? EXI_EFORMAT
                                                                   : rc;
}

static int
connect_unknown(struct live *l, const struct exi_tx *tx,
                const struct exi_txid *txid, uint32_t height, uint32_t pos,
                uint64_t *id)
{
    int rc = clear_conflicts(l, tx);

    if (rc == EXI_OK && l->o.coin & EXI_COIN_CTOR) {
        return live_rows_announce(l, tx, txid, (int32_t) height, pos, id);
    }
    if (rc == EXI_OK) {
        rc = gather_unknown(l, tx, txid);
    }
    return rc ? rc
              : live_rows_insert(l, (int32_t) height, pos, l->now.st.time_ms,
                                 id);
}

static int
connect_tx(struct live *l, const struct exi_tx *tx, uint32_t height,
           uint32_t pos)
{
    struct exi_txid txid;
    uint64_t id;
    int rc;

    if (tx->coinbase != (pos == 0)) {
        return EXI_EFORMAT;
    }
    exi_tx_id(&txid, tx);
    rc = live_find(l, &txid, &id);
    if (rc == EXI_OK) {
        rc = confirm(l, id, tx, height, pos);
    } else if (rc == EXI_ENOTFOUND) {
        rc = connect_unknown(l, tx, &txid, height, pos, &id);
    }
    if (rc == EXI_OK) {
        memcpy(l->txids.p + (size_t) pos * EXI_HASH_LEN, txid.b, EXI_HASH_LEN);
        exi_put_le64(l->ids.p + (size_t) pos * 8, id);
    }
    return rc;
}

/* The inputs of the transaction at pos; those from local id `first` on are
 * announced.  *next: into l->again. */
static int
connect_inputs(struct live *l, const struct exi_tx *tx, uint32_t height,
               uint32_t pos, uint64_t first, size_t *next)
{
    uint64_t id = exi_le64(l->ids.p + (size_t) pos * 8);
    struct exi_txid txid;
    int rc;

    if (id < first) {
        if (*next == l->again.n || l->again.v[*next] != pos) {
            return EXI_OK;
        }
        (*next)++;
        return inputs_confirmed(l, tx);
    }
    memcpy(txid.b, l->txids.p + (size_t) pos * EXI_HASH_LEN, EXI_HASH_LEN);
    rc = gather_unknown(l, tx, &txid);
    return rc ? rc
              : live_rows_complete(l, (int32_t) height, pos, l->now.st.time_ms,
                                   id);
}

/* Canonical order: the second time over a block. */
static int
connect_again(struct live *l, const struct exi_block *block, uint32_t height,
              uint64_t first)
{
    struct exi_block b;
    struct exi_tx tx;
    uint32_t pos = 0;
    size_t next = 0;
    int rc = exi_block_open(&b, block->buf, block->size), got = 0;

    while (rc == EXI_OK && (got = exi_block_next(&b, &tx)) == 1) {
        rc = connect_inputs(l, &tx, height, pos++, first, &next);
    }
    return rc ? rc : got;
}

static int
connect_txs(struct live *l, struct exi_block *b, uint32_t height)
{
    uint64_t first = l->now.next_id;
    struct exi_tx tx;
    uint32_t pos = 0;
    int rc, got;

    rc = live_buf_need(&l->ids, (size_t) b->ntx * 8);
    if (rc == EXI_OK) {
        rc = live_buf_need(&l->txids, (size_t) b->ntx * EXI_HASH_LEN);
    }
    if (rc) {
        return rc;
    }
    l->children.n = l->again.n = 0;
    while ((got = exi_block_next(b, &tx)) == 1) {
        rc = connect_tx(l, &tx, height, pos++);
        if (rc) {
            return rc;
        }
    }
    if (got < 0 || pos == 0) {
        return EXI_EFORMAT;
    }
    return l->o.coin & EXI_COIN_CTOR ? connect_again(l, b, height, first)
                                     : EXI_OK;
}

int
live_store_block(struct live *l, const struct exi_block *b, uint32_t height,
                 const struct exi_blkid *hash)
{
    struct exi_live_block v = { .header = b->header,
                                .hash = *hash,
                                .ntx = b->ntx,
                                .size = b->size,
                                .tx_count = l->now.tx_count + b->ntx };
    uint8_t key[4], val[EXI_LIVE_BLOCK_LEN];
    int rc;

    exi_put_be32(key, height);
    exi_live_block_encode(val, &v);
    rc = live_put(l, LIVE_BLOCK, key, sizeof key, val, sizeof val, 0);
    if (rc == EXI_OK) {
        rc = live_put(l, LIVE_BLOCKTX, key, sizeof key, l->ids.p,
                      (size_t) b->ntx * 8, 0);
    }
    if (rc == EXI_OK) {
        rc = live_put(l, LIVE_BLOCKIDS, key, sizeof key, l->txids.p,
                      (size_t) b->ntx * EXI_HASH_LEN, 0);
    }
    if (rc == EXI_OK) {
        l->now.tx_count = v.tx_count;
        l->now.st.tip_height = height;
        l->now.st.tip = *hash;
        l->low = height < l->low ? height : l->low;
    }
    return rc;
}

int
live_connect(struct live *l, uint32_t height, const struct exi_blkid *hash,
             const uint8_t *raw, size_t rawlen)
{
    struct exi_block b;
    int rc;

    if (l->txn == NULL) {
        return EXI_EAPI;
    }
    rc = exi_block_open(&b, raw, rawlen);
    if (rc == EXI_OK) {
        rc = check_link(l, &b, height, hash);
    }
    if (rc == EXI_OK) {
        l->now.st.time_ms = live_now_ms();
        rc = connect_txs(l, &b, height);
    }
    if (rc == EXI_OK) {
        rc = live_store_block(l, &b, height, hash);
    }
    for (size_t i = 0; i < l->children.n && rc == EXI_OK; i++) {
        rc = live_flag_again(l, l->children.v[i]);
    }
    return rc;
}

/*
 * Disconnecting.
 */

/* Block row of a live height and a copy of its local ids in l->ids. */
static int
load_block(struct live *l, uint32_t height, struct exi_live_block *b)
{
    uint8_t key[4];
    MDB_val val;
    int rc;

    exi_put_be32(key, height);
    rc = live_get(l, LIVE_BLOCK, key, sizeof key, &val);
    if (rc == EXI_OK) {
        rc = exi_live_block_decode(b, val.mv_data, val.mv_size);
    }
    if (rc == EXI_OK) {
        rc = live_get(l, LIVE_BLOCKTX, key, sizeof key, &val);
    }
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    if (val.mv_size != (size_t) b->ntx * 8 || b->ntx == 0) {
        return EXI_EFORMAT;
    }
    rc = live_buf_need(&l->ids, val.mv_size);
    if (rc == EXI_OK) {
        memcpy(l->ids.p, val.mv_data, val.mv_size);
    }
    return rc;
}

static int
delete_block(struct live *l, uint32_t height)
{
    uint8_t key[4];
    int rc;

    exi_put_be32(key, height);
    rc = live_del(l, LIVE_BLOCK, key, sizeof key);
    if (rc == EXI_OK) {
        rc = live_del(l, LIVE_BLOCKTX, key, sizeof key);
    }
    return rc ? rc : live_del(l, LIVE_BLOCKIDS, key, sizeof key);
}

/* Makes a transaction of the block a mempool transaction. */
static int
unconfirm(struct live *l, uint64_t id)
{
    struct exi_live_tx t;
    int rc = live_tx_get(l, id, &t);

    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    l->children.n = 0;
    rc = live_spenders(l, &t.txid, &l->children);
    if (rc == EXI_OK) {
        rc = live_touch_tx(l, &t);
    }
    if (rc == EXI_OK) {
        rc = live_pool_enter(l, id, t.vsize);
    }
    if (rc) {
        return rc;
    }
    t.height = 0;
    t.pos = 0;
    t.flags |= EXI_TXF_PROVISIONAL;
    rc = live_tx_put(l, id, &t, 0);
    for (size_t i = 0; i < l->children.n && rc == EXI_OK; i++) {
        rc = live_flag_unconf(l, l->children.v[i]);
    }
    return rc;
}

int
live_disconnect(struct live *l)
{
    struct exi_live_state *st = &l->now.st;
    struct exi_live_block b;
    struct exi_blkid prev;
    uint32_t height = st->tip_height;
    int rc;

    if (l->txn == NULL || height < st->live_floor
        || height <= st->gens[st->ngens - 1].height) {
        return EXI_EAPI;
    }
    rc = load_block(l, height, &b);
    if (rc) {
        return rc;
    }
    memcpy(prev.b, b.header + 4, EXI_HASH_LEN);
    for (uint32_t i = b.ntx; i-- > 0 && rc == EXI_OK;) {
        rc = unconfirm(l, exi_le64(l->ids.p + (size_t) i * 8));
    }
    if (rc == EXI_OK) {
        rc = live_pool_remove(l, exi_le64(l->ids.p));
    }
    if (rc == EXI_OK) {
        rc = delete_block(l, height);
    }
    if (rc == EXI_OK) {
        st->tip_height = height - 1;
        st->tip = prev;
        l->now.tx_count -= b.ntx;
        l->low = height < l->low ? height : l->low;
    }
    return rc;
}

/*
 * Trimming.
 */

static int
trim_block(struct live *l, uint32_t height)
{
    struct exi_live_block b;
    int rc = load_block(l, height, &b);

    for (uint32_t i = 0; rc == EXI_OK && i < b.ntx; i++) {
        rc = live_rows_remove(l, exi_le64(l->ids.p + (size_t) i * 8));
    }
    return rc ? rc : delete_block(l, height);
}

/* Does a listed generation hold what is below the new floor? */
static bool
covered(const struct exi_live_state *st, uint32_t new_floor)
{
    return new_floor <= st->gens[st->ngens - 1].height + 1;
}

int
live_trim(struct live *l, uint32_t new_floor, uint32_t max_blocks, bool *done)
{
    struct exi_live_state *st = &l->now.st;
    int rc = EXI_OK;

    if (l->txn == NULL || !covered(st, new_floor)) {
        return EXI_EAPI;
    }
    while (st->live_floor < new_floor && max_blocks-- > 0 && rc == EXI_OK) {
        rc = trim_block(l, st->live_floor);
        if (rc == EXI_OK) {
            st->live_floor++;
        }
    }
    if (rc == EXI_OK) {
        *done = st->live_floor >= new_floor;
    }
    return rc;
}
