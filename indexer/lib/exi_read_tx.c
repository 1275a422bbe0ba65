/* Queries about one transaction, facts and changes. */
#include "exi_store.h"

/* Local id of a live transaction; EXI_ENOTFOUND. */
static int
live_id(struct exi_view *v, const struct exi_txid *txid, uint64_t *id)
{
    MDB_val val;
    int rc = exi_view_get(v, EXI_DB_TXID, txid->b, sizeof txid->b, &val);

    if (rc) {
        return rc;
    }
    if (val.mv_size != 8) {
        return EXI_EFORMAT;
    }
    *id = exi_le64(val.mv_data);
    return EXI_OK;
}

/* Height as wallets see it. */
static int32_t
shown_height(const struct exi_live_tx *t)
{
    return t->height == 0 && (t->flags & EXI_TXF_UNCONF_INPUT) ? -1 : t->height;
}

static int
find_live(struct exi_view *v, const struct exi_txid *txid,
          struct exi_txpos *out)
{
    struct exi_txpos pos = { .live = true };
    struct exi_live_tx t;
    int rc = live_id(v, txid, &pos.id);

    if (rc == EXI_OK) {
        rc = exi_view_live_tx(v, pos.id, &t);
    }
    if (rc) {
        return rc;
    }
    pos.height = shown_height(&t);
    pos.confirmed = t.height > 0;
    pos.pos = t.pos;
    pos.fee_sat = t.fee_sat;
    if (pos.confirmed) {
        rc = exi_block_hash(v, (uint32_t) t.height, &pos.block);
    }
    if (rc == EXI_OK) {
        *out = pos;
    }
    return rc;
}

/* Checks the candidates of a `T` row against the txids; the last one wins.
 * EXI_ECOLD: all that are not in memory were noted. */
static int
match_row(struct exi_view *v, const struct exi_txid *txid, const uint8_t *val,
          size_t vallen, uint64_t *txnum, bool *found)
{
    uint8_t bits = v->h.gen->m.params.txid_bits;
    uint64_t candidate;
    size_t pos = 0;
    int got, rc = EXI_OK;

    while ((got = exi_txid_find(val, vallen, txid, bits, &pos, &candidate))
           == 1) {
        const uint8_t *p;
        int have;
        exi_gen_ahead(v->h.gen, EXI_FLAT_TXOFFSETS, candidate);
        have = exi_view_flat(v, EXI_FLAT_TXIDS, candidate, &p);
        if (have == EXI_ECOLD) {
            rc = have;
            continue;
        }
        if (have) {
            return have;
        }
        if (memcmp(p, txid->b, EXI_HASH_LEN) == 0) {
            *txnum = candidate;
            *found = true;
        }
    }
    return got ? got : rc;
}

/*
 * All chunks of the bucket: of the two coinbases that there are twice, the
 * later one counts.
 */
int
exi_view_txnum(struct exi_view *v, const struct exi_txid *txid, uint64_t *txnum)
{
    uint8_t bits = v->h.gen->m.params.txid_bits;
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    bool found = false, cold = false;
    int rc;

    exi_key_bucket(&k, EXI_KIND_TXID, exi_bucket(txid->b, bits), 0);
    exi_rodb_iter_seek_in(v->h.iter, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
    while ((rc = exi_rodb_iter_row(v->h.iter, &key, &keylen, &val, &vallen))
               == 1
           && keylen >= EXI_KEY_BUCKET_PREFIX
           && memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        rc = match_row(v, txid, val, vallen, txnum, &found);
        if (rc < 0 && rc != EXI_ECOLD) {
            return rc;
        }
        cold |= rc == EXI_ECOLD;
        exi_rodb_iter_next(v->h.iter);
    }
    if (rc < 0 || cold) {
        return rc < 0 ? rc : EXI_ECOLD;
    }
    return found ? EXI_OK : EXI_ENOTFOUND;
}

/* Where it begins and ends in its block: where the next one begins, or the
 * block ends. */
static int
find_extent(struct exi_view *v, struct exi_txpos *pos)
{
    uint32_t height = (uint32_t) pos->height;
    const uint8_t *from = NULL, *to = NULL;
    uint64_t next;
    int got, rc = exi_view_first(v, height + 1, &next);

    if (rc) {
        return rc;
    }
    rc = exi_view_flat(v, EXI_FLAT_TXOFFSETS, pos->id, &from);
    got = pos->id + 1 < next
              ? exi_view_flat(v, EXI_FLAT_TXOFFSETS, pos->id + 1, &to)
              : exi_view_flat(v, EXI_FLAT_BLOCKSIZES, height, &to);
    if (rc || got) {
        return rc ? rc : got;
    }
    if (exi_le32(to) <= exi_le32(from)) {
        return EXI_EFORMAT;
    }
    pos->offset = exi_le32(from);
    pos->size = exi_le32(to) - pos->offset;
    return EXI_OK;
}

static int
find_settled(struct exi_view *v, const struct exi_txid *txid,
             struct exi_txpos *out)
{
    struct exi_txpos pos = { .confirmed = true, .fee_sat = -1 };
    uint64_t first;
    uint32_t height = 0;
    int got, rc = exi_view_txnum(v, txid, &pos.id);

    if (rc == EXI_OK) {
        rc = exi_view_height(v, pos.id, 0, &height);
    }
    if (rc == EXI_OK) {
        rc = exi_view_first(v, height, &first);
    }
    if (rc) {
        return rc;
    }
    if (first > pos.id) {
        return EXI_EFORMAT;
    }
    pos.height = (int32_t) height;
    pos.pos = (uint32_t) (pos.id - first);
    rc = exi_block_hash(v, height, &pos.block);
    got = find_extent(v, &pos);
    rc = got ? got : rc;
    if (rc == EXI_OK) {
        *out = pos;
    }
    return rc;
}

int
exi_tx_find(struct exi_view *v, const struct exi_txid *txid,
            struct exi_txpos *out)
{
    int rc = find_live(v, txid, out);

    return rc == EXI_ENOTFOUND ? find_settled(v, txid, out) : rc;
}

int
exi_tx_raw(struct exi_view *v, const struct exi_txpos *pos, const uint8_t **raw,
           size_t *rawlen)
{
    uint8_t key[8];
    MDB_val val;
    int rc;

    if (!pos->live) {
        return EXI_ENOTFOUND;
    }
    exi_put_be64(key, pos->id);
    rc = exi_view_get(v, EXI_DB_RAW, key, sizeof key, &val);
    if (rc == EXI_OK) {
        *raw = val.mv_data;
        *rawlen = val.mv_size;
    }
    return rc;
}

int
exi_spender_live(struct exi_view *v, const struct exi_txid *txid,
                 uint32_t index, struct exi_txid *spender, int32_t *height)
{
    uint8_t key[EXI_HASH_LEN + 4];
    struct exi_live_tx t;
    MDB_val val;
    int rc;

    memcpy(key, txid->b, EXI_HASH_LEN);
    exi_put_be32(key + EXI_HASH_LEN, index);
    rc = exi_view_get(v, EXI_DB_SPEND, key, sizeof key, &val);
    if (rc) {
        return rc;
    }
    if (val.mv_size != 8) {
        return EXI_EFORMAT;
    }
    rc = exi_view_live_tx(v, exi_le64(val.mv_data), &t);
    if (rc == EXI_OK) {
        *spender = t.txid;
        *height = shown_height(&t);
    }
    return rc;
}

/*
 * Local ids ascend, so the newest stand at the end; a new block's transactions
 * that were never in the mempool do, too, thus the bound.
 */
#define RECENT_STEPS 20000

int
exi_mempool_recent(struct exi_view *v, struct exi_recent *out, size_t *n)
{
    MDB_cursor *c;
    MDB_cursor_op op = MDB_LAST;
    struct exi_live_tx t;
    size_t found = 0;
    MDB_val k, val;
    int rc = exi_store_mdb_err(
        mdb_cursor_open(v->h.txn, v->h.env->dbi[EXI_DB_TX], &c));

    if (rc) {
        return rc;
    }
    for (int i = 0; i < RECENT_STEPS && found < *n
                    && found < v->st.mempool_count && rc == EXI_OK;
         i++, op = MDB_PREV) {
        rc = exi_store_mdb_err(mdb_cursor_get(c, &k, &val, op));
        if (rc == EXI_OK) {
            rc = exi_live_tx_decode(&t, val.mv_data, val.mv_size);
        }
        if (rc == EXI_OK && t.height == 0) {
            out[found].txid = t.txid;
            out[found].fee_sat = t.fee_sat;
            out[found++].vsize = t.vsize;
        }
    }
    mdb_cursor_close(c);
    if (rc && rc != EXI_ENOTFOUND) {
        return rc;
    }
    *n = found;
    return EXI_OK;
}

int
exi_fact(struct exi_view *v, const char *name, const char **json, size_t *len)
{
    size_t n = strlen(name);
    MDB_val val;
    int rc;

    if (n == 0 || n > 64 || strcmp(name, "state") == 0) {
        return EXI_ENOTFOUND;
    }
    rc = exi_view_get(v, EXI_DB_META, name, n, &val);
    if (rc == EXI_OK) {
        *json = val.mv_data;
        *len = val.mv_size;
    }
    return rc;
}

/* Records from `seq` to the last, which must be there. */
static int
each_change(MDB_cursor *c, uint64_t seq, uint64_t last, exi_change_pt fn,
            void *ctx)
{
    struct exi_live_change change;
    MDB_cursor_op op = MDB_SET_KEY;
    uint8_t key[8];
    MDB_val k = { sizeof key, key }, val;
    int rc = EXI_OK;

    exi_put_be64(key, seq);
    for (; seq <= last && rc == EXI_OK; seq++, op = MDB_NEXT) {
        rc = exi_store_mdb_err(mdb_cursor_get(c, &k, &val, op));
        if (rc == EXI_ENOTFOUND
            || (rc == EXI_OK
                && (k.mv_size != 8 || exi_be64(k.mv_data) != seq))) {
            return EXI_EFORMAT;
        }
        if (rc == EXI_OK) {
            rc = exi_live_change_decode(&change, val.mv_data, val.mv_size);
        }
        if (rc == EXI_OK) {
            rc = fn(ctx, seq, &change);
        }
    }
    return rc;
}

int
exi_changes(struct exi_view *v, uint64_t instance, uint64_t after,
            exi_change_pt fn, void *ctx)
{
    MDB_cursor *c;
    int rc;

    if (instance != v->st.instance || after > v->st.seq
        || after + 1 < v->st.oldest_seq) {
        return EXI_ESTALE;
    }
    if (after == v->st.seq) {
        return EXI_OK;
    }
    rc = exi_store_mdb_err(
        mdb_cursor_open(v->h.txn, v->h.env->dbi[EXI_DB_LOG], &c));
    if (rc) {
        return rc;
    }
    rc = each_change(c, after + 1, v->st.seq, fn, ctx);
    mdb_cursor_close(c);
    return rc;
}
