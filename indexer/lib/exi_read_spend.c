/*
 * Queries about one settled output: whether it is unspent (`O` rows), and what
 * spent it (`S` rows, in data directories that have them).
 */
#include "exi_coin.h"
#include "exi_store.h"
#include "exi_token.h"

int
exi_outpoint_unspent(struct exi_view *v, const struct exi_txpos *pos,
                     uint32_t index, struct exi_skey *script)
{
    const uint8_t *val;
    struct exi_key k;
    size_t vallen;
    int rc;

    if (pos->live) {
        return EXI_EAPI;
    }
    exi_key_outpoint(&k, pos->id, index);
    rc = exi_rodb_get(v->h.gen->db, &v->cold, k.b, k.len, &val, &vallen);
    if (rc) {
        return rc;
    }
    if (exi_outpoint_len_right(vallen,
                               exi_coin_flags(exi_view_params(v)->network))) {
        memcpy(script->b, val, EXI_SKEY_LEN);
    } else {
        rc = EXI_EFORMAT;
    }
    return rc;
}

/* One `S` row: EXI_OK and *by, or EXI_ENOTFOUND. */
static int
find_in_row(const uint8_t *val, size_t vallen, uint64_t txnum, uint32_t index,
            uint64_t *by)
{
    struct exi_rd rd = exi_rd(val, vallen);
    uint64_t base = exi_rd_varint(&rd);

    while (!rd.bad && exi_rd_left(&rd) > 0) {
        uint64_t low = exi_rd_varint(&rd);
        uint32_t i = exi_rd_ovarint(&rd);
        uint64_t diff = exi_rd_varint(&rd);

        if (!rd.bad && low == txnum % 64 && i == index) {
            *by = base + diff;
            return *by > txnum ? EXI_OK : EXI_EFORMAT;
        }
    }
    return rd.bad ? EXI_EFORMAT : EXI_ENOTFOUND;
}

static int
find_spender(struct exi_view *v, uint64_t txnum, uint32_t index, uint64_t *by)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key k;
    int rc;

    exi_key_bucket(&k, EXI_KIND_SPENDER, (uint32_t) (txnum / 64), 0);
    exi_rodb_iter_seek_in(v->h.iter, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
    while ((rc = exi_rodb_iter_row(v->h.iter, &key, &keylen, &val, &vallen))
               == 1
           && keylen == EXI_KEY_BUCKET_LEN
           && memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        rc = find_in_row(val, vallen, txnum, index, by);
        if (rc != EXI_ENOTFOUND) {
            return rc;
        }
        exi_rodb_iter_next(v->h.iter);
    }
    return rc < 0 ? rc : EXI_ENOTFOUND;
}

int
exi_spender_settled(struct exi_view *v, const struct exi_txpos *pos,
                    uint32_t index, struct exi_txid *spender, int32_t *height)
{
    const uint8_t *p;
    uint64_t by;
    uint32_t h;
    int rc;

    if (pos->live || !v->h.gen->m.params.spender) {
        return EXI_EAPI;
    }
    rc = find_spender(v, pos->id, index, &by);
    if (rc == EXI_OK) {
        rc = exi_view_height(v, by, (uint32_t) pos->height, &h);
    }
    if (rc == EXI_OK) {
        rc = exi_view_flat(v, EXI_FLAT_TXIDS, by, &p);
    }
    if (rc) {
        return rc;
    }
    memcpy(spender->b, p, EXI_HASH_LEN);
    *height = (int32_t) h;
    return EXI_OK;
}
