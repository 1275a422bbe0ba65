/*
 * Live layer: one change = one LMDB transaction, its state and change record,
 * generations and facts.  The only LMDB writer is live*.c.
 *
 * Everything in memory that a change moves is in struct live_mark (copied at
 * the begin) or can be undone (mempool bits), so that live_abort() leaves
 * the layer as it was.
 */
#include "live_int.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

int
live_err(int mdb_rc)
{
    switch (mdb_rc) {
    case 0:
        return EXI_OK;
    case MDB_NOTFOUND:
        return EXI_ENOTFOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return EXI_ESPACE;
    case ENOMEM:
        return EXI_ENOMEM;
    case MDB_KEYEXIST:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        return EXI_EFORMAT;
    default:
        if (mdb_rc > 0) {
            errno = mdb_rc;
        }
        return EXI_EIO;
    }
}

uint64_t
live_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

int
live_buf_need(struct live_buf *b, size_t n)
{
    uint8_t *p;
    size_t cap = b->cap ? b->cap : 4096;

    if (n <= b->cap) {
        return EXI_OK;
    }
    while (cap < n) {
        cap *= 2;
    }
    p = realloc(b->p, cap);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    b->p = p;
    b->cap = cap;
    return EXI_OK;
}

int
live_ids_add(struct live_ids *l, uint64_t id)
{
    size_t cap = l->cap ? l->cap * 2 : 256;
    uint64_t *v;

    if (l->n == l->cap) {
        v = realloc(l->v, cap * sizeof *v);
        if (v == NULL) {
            return EXI_ENOMEM;
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = id;
    return EXI_OK;
}

int
live_read_begin(struct live *l, MDB_txn **txn)
{
    int rc;

    if (l->txn != NULL) {
        *txn = l->txn;
        return EXI_OK;
    }
    if (l->rtxn == NULL) {
        rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &l->rtxn);
    } else {
        rc = mdb_txn_renew(l->rtxn);
    }
    *txn = l->rtxn;
    return live_err(rc);
}

void
live_read_end(struct live *l)
{
    if (l->txn == NULL && l->rtxn != NULL) {
        mdb_txn_reset(l->rtxn);
    }
}

int
live_get(struct live *l, enum live_db db, const void *key, size_t keylen,
         MDB_val *val)
{
    MDB_val k = { keylen, (void *) key };

    return live_err(mdb_get(l->txn ? l->txn : l->rtxn, l->dbi[db], &k, val));
}

int
live_put(struct live *l, enum live_db db, const void *key, size_t keylen,
         const void *val, size_t vallen, unsigned flags)
{
    MDB_val k = { keylen, (void *) key };
    MDB_val v = { vallen, (void *) val };
    enum live_write how = flags & MDB_APPEND            ? LIVE_APPEND
                          : db == LIVE_TX && flags == 0 ? LIVE_KEEP
                                                        : LIVE_INSERT;
    int rc = live_space_take(l, db, keylen + vallen, how);

    if (rc) {
        return rc;
    }
    return live_err(mdb_put(l->txn, l->dbi[db], &k, &v, flags));
}

int
live_del(struct live *l, enum live_db db, const void *key, size_t keylen)
{
    MDB_val k = { keylen, (void *) key };
    int rc = live_space_take(l, db, 0, LIVE_KEEP);

    if (rc) {
        return rc;
    }
    rc = live_err(mdb_del(l->txn, l->dbi[db], &k, NULL));
    return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
}

int
live_begin(struct live *l)
{
    int rc;

    if (l->txn != NULL) {
        return EXI_EAPI;
    }
    rc = live_err(mdb_txn_begin(l->env, NULL, 0, &l->txn));
    if (rc) {
        l->txn = NULL;
        return rc;
    }
    l->saved = l->now;
    l->low = UINT32_MAX;
    rc = live_space_begin(l);
    if (rc) {
        live_abort(l);
    }
    return rc;
}

void
live_abort(struct live *l)
{
    if (l->txn == NULL) {
        return;
    }
    mdb_txn_abort(l->txn);
    l->txn = NULL;
    l->now = l->saved;
    live_pool_undo(&l->pool);
    live_touch_clear(&l->touched);
}

/* Removes change records until one more of `add` bytes is within the bounds. */
static int
trim_log(struct live *l, size_t add)
{
    struct exi_live_state *st = &l->now.st;
    uint8_t key[8];
    MDB_val val;
    int rc;

    while (st->oldest_seq <= st->seq
           && (st->seq - st->oldest_seq + 2 > LIVE_LOG_RECORDS
               || l->now.log_bytes + add > LIVE_LOG_BYTES)) {
        exi_put_be64(key, st->oldest_seq);
        rc = live_get(l, LIVE_LOG, key, sizeof key, &val);
        if (rc) {
            return rc;
        }
        l->now.log_bytes -= val.mv_size;
        rc = live_del(l, LIVE_LOG, key, sizeof key);
        if (rc) {
            return rc;
        }
        st->oldest_seq++;
    }
    return EXI_OK;
}

static int
write_record(struct live *l, enum exi_change kind)
{
    uint8_t key[8], *rec = NULL;
    size_t len = 0;
    int rc = live_touch_record(l, kind, &rec, &len);

    if (rc == EXI_OK) {
        rc = trim_log(l, len);
    }
    if (rc == EXI_OK) {
        exi_put_be64(key, ++l->now.st.seq);
        l->now.log_bytes += len;
        rc = live_put(l, LIVE_LOG, key, sizeof key, rec, len, MDB_APPEND);
    }
    free(rec);
    return rc;
}

static int
write_state(struct live *l)
{
    uint8_t buf[EXI_LIVE_STATE_MAX];
    size_t len;

    l->now.st.time_ms = live_now_ms();
    len = exi_live_state_encode(buf, &l->now.st);
    return live_put(l, LIVE_META, "state", 5, buf, len, 0);
}

int
live_commit(struct live *l, enum exi_change kind)
{
    int rc;

    if (l->txn == NULL) {
        return EXI_EAPI;
    }
    rc = write_record(l, kind);
    if (rc == EXI_OK) {
        rc = write_state(l);
    }
    if (rc) {
        live_abort(l);
        return rc;
    }
    rc = live_err(mdb_txn_commit(l->txn));
    l->txn = NULL;
    live_touch_clear(&l->touched);
    if (rc) {
        l->now = l->saved;
        live_pool_undo(&l->pool);
        return rc;
    }
    l->pool.flips.n = 0;
    return EXI_OK;
}

const struct exi_live_state *
live_state(const struct live *l)
{
    return &l->now.st;
}

int
live_fact(struct live *l, const char *name, const char *json, size_t len)
{
    size_t n = strlen(name);

    if (l->txn == NULL || n == 0 || n > 64 || strcmp(name, "state") == 0) {
        return EXI_EAPI;
    }
    return live_put(l, LIVE_META, name, n, json, len, 0);
}

/* A generation of the list must be of this chain and not above its tip. */
static int
check_gen(struct live *l, const struct exi_live_gen *g)
{
    struct exi_blkid hash;
    int rc;

    if (g->height > l->now.st.tip_height) {
        return EXI_EAPI;
    }
    if (g->height < l->now.st.live_floor) {
        return EXI_OK;
    }
    rc = live_block_hash(l, g->height, &hash);
    if (rc) {
        return rc;
    }
    return memcmp(&hash, &g->block, sizeof hash) ? EXI_EAPI : EXI_OK;
}

int
live_generations(struct live *l, const struct exi_live_gen *gens, size_t ngens)
{
    bool fits = false;

    if (l->txn == NULL || ngens == 0 || ngens > EXI_LIVE_GENS_MAX) {
        return EXI_EAPI;
    }
    for (size_t i = 0; i < ngens; i++) {
        int rc = check_gen(l, &gens[i]);
        if (rc) {
            return rc;
        }
        if (i > 0 && gens[i].number <= gens[i - 1].number) {
            return EXI_EAPI;
        }
        fits |= gens[i].height + 1 >= l->now.st.live_floor;
    }
    if (!fits) {
        return EXI_EAPI;
    }
    memcpy(l->now.st.gens, gens, ngens * sizeof *gens);
    l->now.st.ngens = (uint32_t) ngens;
    return EXI_OK;
}

int
live_block_hash(struct live *l, uint32_t height, struct exi_blkid *out)
{
    struct exi_live_block b;
    uint8_t key[4];
    MDB_txn *txn;
    MDB_val val;
    int rc = live_read_begin(l, &txn);

    if (rc) {
        return rc;
    }
    exi_put_be32(key, height);
    rc = live_get(l, LIVE_BLOCK, key, sizeof key, &val);
    if (rc == EXI_OK) {
        rc = exi_live_block_decode(&b, val.mv_data, val.mv_size);
    }
    if (rc == EXI_OK) {
        *out = b.hash;
    }
    live_read_end(l);
    return rc;
}

int
live_has(struct live *l, const struct exi_txid *txid)
{
    struct exi_live_tx t;
    uint64_t id;
    MDB_txn *txn;
    int rc = live_read_begin(l, &txn);

    if (rc) {
        return rc;
    }
    rc = live_find(l, txid, &id);
    if (rc == EXI_OK) {
        rc = live_tx_get(l, id, &t);
        rc = rc ? rc : t.height > 0 ? 2 : 1;
    } else if (rc == EXI_ENOTFOUND) {
        rc = 0;
    }
    live_read_end(l);
    return rc;
}

void
live_reap(struct live *l)
{
    int dead;

    (void) mdb_reader_check(l->env, &dead);
}
