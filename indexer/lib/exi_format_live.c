/*
 * Encodes and decodes the values of the live layer (docs/index-format.md,
 * section 6).  Pure functions over the caller's buffers.
 */
#include "exi_format.h"

/* Bytes before the list of generations, and of one of them. */
#define STATE_FIXED 96
#define STATE_GEN   44

size_t
exi_live_state_encode(uint8_t out[EXI_LIVE_STATE_MAX],
                      const struct exi_live_state *s)
{
    uint8_t *p = out + STATE_FIXED;

    exi_put_le32(out, EXI_LIVE_MAGIC);
    exi_put_le32(out + 4, EXI_LIVE_VERSION);
    exi_put_le64(out + 8, s->instance);
    exi_put_le64(out + 16, s->seq);
    exi_put_le64(out + 24, s->oldest_seq);
    exi_put_le32(out + 32, s->tip_height);
    memcpy(out + 36, s->tip.b, EXI_HASH_LEN);
    exi_put_le32(out + 68, s->live_floor);
    exi_put_le32(out + 72, s->mempool_count);
    exi_put_le64(out + 76, s->mempool_vsize);
    exi_put_le64(out + 84, s->time_ms);
    exi_put_le32(out + 92, s->ngens);
    for (uint32_t i = 0; i < s->ngens; i++) {
        exi_put_le64(p, s->gens[i].number);
        exi_put_le32(p + 8, s->gens[i].height);
        memcpy(p + 12, s->gens[i].block.b, EXI_HASH_LEN);
        p += STATE_GEN;
    }
    return (size_t) (p - out);
}

int
exi_live_state_decode(struct exi_live_state *s, const uint8_t *buf,
                      size_t buflen)
{
    const uint8_t *p = buf + STATE_FIXED;

    if (buflen < STATE_FIXED || exi_le32(buf) != EXI_LIVE_MAGIC) {
        return EXI_EFORMAT;
    }
    if (exi_le32(buf + 4) != EXI_LIVE_VERSION) {
        return EXI_EVERSION;
    }
    s->ngens = exi_le32(buf + 92);
    if (s->ngens == 0 || s->ngens > EXI_LIVE_GENS_MAX
        || buflen != STATE_FIXED + (size_t) s->ngens * STATE_GEN) {
        return EXI_EFORMAT;
    }
    s->instance = exi_le64(buf + 8);
    s->seq = exi_le64(buf + 16);
    s->oldest_seq = exi_le64(buf + 24);
    s->tip_height = exi_le32(buf + 32);
    memcpy(s->tip.b, buf + 36, EXI_HASH_LEN);
    s->live_floor = exi_le32(buf + 68);
    s->mempool_count = exi_le32(buf + 72);
    s->mempool_vsize = exi_le64(buf + 76);
    s->time_ms = exi_le64(buf + 84);
    for (uint32_t i = 0; i < s->ngens; i++, p += STATE_GEN) {
        s->gens[i].number = exi_le64(p);
        s->gens[i].height = exi_le32(p + 8);
        memcpy(s->gens[i].block.b, p + 12, EXI_HASH_LEN);
    }
    return EXI_OK;
}

size_t
exi_live_tx_encode(uint8_t *out, const struct exi_live_tx *t)
{
    size_t n = (size_t) t->nscripts * EXI_SKEY_LEN;

    memcpy(out, t->txid.b, EXI_HASH_LEN);
    exi_put_le32(out + 32, (uint32_t) t->height);
    exi_put_le32(out + 36, t->pos);
    exi_put_le64(out + 40, (uint64_t) t->fee_sat);
    exi_put_le32(out + 48, t->size);
    exi_put_le32(out + 52, t->vsize);
    exi_put_le32(out + 56, t->flags);
    exi_put_le64(out + 60, t->time_ms);
    exi_put_le32(out + 68, t->nscripts);
    exi_put_le32(out + 72, 0);
    if (n > 0) {
        memmove(out + EXI_LIVE_TX_FIXED, t->scripts, n);
    }
    return EXI_LIVE_TX_FIXED + n;
}

int
exi_live_tx_decode(struct exi_live_tx *t, const uint8_t *buf, size_t buflen)
{
    if (buflen < EXI_LIVE_TX_FIXED) {
        return EXI_EFORMAT;
    }
    t->nscripts = exi_le32(buf + 68);
    if (buflen - EXI_LIVE_TX_FIXED != (uint64_t) t->nscripts * EXI_SKEY_LEN) {
        return EXI_EFORMAT;
    }
    memcpy(t->txid.b, buf, EXI_HASH_LEN);
    t->height = (int32_t) exi_le32(buf + 32);
    t->pos = exi_le32(buf + 36);
    t->fee_sat = (int64_t) exi_le64(buf + 40);
    t->size = exi_le32(buf + 48);
    t->vsize = exi_le32(buf + 52);
    t->flags = exi_le32(buf + 56);
    t->time_ms = exi_le64(buf + 60);
    t->scripts = buf + EXI_LIVE_TX_FIXED;
    return EXI_OK;
}

void
exi_live_block_encode(uint8_t out[EXI_LIVE_BLOCK_LEN],
                      const struct exi_live_block *b)
{
    memmove(out, b->header, EXI_HEADER_LEN);
    memcpy(out + 80, b->hash.b, EXI_HASH_LEN);
    exi_put_le32(out + 112, b->ntx);
    exi_put_le32(out + 116, b->size);
    exi_put_le64(out + 120, b->tx_count);
}

int
exi_live_block_decode(struct exi_live_block *b, const uint8_t *buf,
                      size_t buflen)
{
    if (buflen != EXI_LIVE_BLOCK_LEN) {
        return EXI_EFORMAT;
    }
    b->header = buf;
    memcpy(b->hash.b, buf + 80, EXI_HASH_LEN);
    b->ntx = exi_le32(buf + 112);
    b->size = exi_le32(buf + 116);
    b->tx_count = exi_le64(buf + 120);
    return EXI_OK;
}

size_t
exi_live_fx_encode(uint8_t *out, const struct exi_live_fund *fund, size_t nfund,
                   const struct exi_live_spend *spend, size_t nspend)
{
    uint8_t *p = out;

    p += exi_put_varint(p, nfund);
    for (size_t i = 0; i < nfund; i++) {
        p += exi_put_varint(p, fund[i].index);
        p += exi_put_varint(p, (uint64_t) fund[i].value_sat);
    }
    p += exi_put_varint(p, nspend);
    for (size_t i = 0; i < nspend; i++) {
        memcpy(p, spend[i].txid.b, EXI_HASH_LEN);
        p += EXI_HASH_LEN;
        p += exi_put_varint(p, spend[i].index);
        p += exi_put_varint(p, (uint64_t) spend[i].value_sat);
    }
    return (size_t) (p - out);
}

uint64_t
exi_live_fx_open(struct exi_rd *rd, const uint8_t *buf, size_t buflen)
{
    *rd = exi_rd(buf, buflen);
    return exi_live_fx_nspend(rd);
}

void
exi_live_fx_fund(struct exi_rd *rd, struct exi_live_fund *out)
{
    out->index = (uint32_t) exi_rd_varint(rd);
    out->value_sat = (int64_t) exi_rd_varint(rd);
}

uint64_t
exi_live_fx_nspend(struct exi_rd *rd)
{
    uint64_t n = exi_rd_varint(rd);

    /* each entry takes two bytes at least */
    if (n > exi_rd_left(rd)) {
        rd->bad = true;
    }
    return rd->bad ? 0 : n;
}

void
exi_live_fx_spend(struct exi_rd *rd, struct exi_live_spend *out)
{
    const uint8_t *txid = exi_rd_bytes(rd, EXI_HASH_LEN);

    if (txid != NULL) {
        memcpy(out->txid.b, txid, EXI_HASH_LEN);
    }
    out->index = (uint32_t) exi_rd_varint(rd);
    out->value_sat = (int64_t) exi_rd_varint(rd);
}

size_t
exi_live_change_encode(uint8_t *out, const struct exi_live_change *c)
{
    size_t n = (size_t) c->nscripts * EXI_SKEY_LEN;

    out[0] = (uint8_t) c->kind;
    exi_put_le32(out + 1, c->tip_height);
    exi_put_le32(out + 5, c->low_height);
    exi_put_le32(out + 9, c->nscripts);
    if (n > 0) {
        memmove(out + EXI_LIVE_CHANGE_FIXED, c->scripts, n);
    }
    return EXI_LIVE_CHANGE_FIXED + n;
}

int
exi_live_change_decode(struct exi_live_change *c, const uint8_t *buf,
                       size_t buflen)
{
    if (buflen < EXI_LIVE_CHANGE_FIXED || buf[0] < EXI_CHANGE_MEMPOOL
        || buf[0] > EXI_CHANGE_SETTLED) {
        return EXI_EFORMAT;
    }
    c->nscripts = exi_le32(buf + 9);
    if (buflen - EXI_LIVE_CHANGE_FIXED
        != (uint64_t) c->nscripts * EXI_SKEY_LEN) {
        return EXI_EFORMAT;
    }
    c->kind = (enum exi_change) buf[0];
    c->tip_height = exi_le32(buf + 1);
    c->low_height = exi_le32(buf + 5);
    c->scripts = buf + EXI_LIVE_CHANGE_FIXED;
    return EXI_OK;
}
