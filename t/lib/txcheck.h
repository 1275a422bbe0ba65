/*
 * What must hold for every transaction that exi_tx_parse accepts: shared by
 * the unit tests and the fuzz targets.
 */
#ifndef TXCHECK_H
#define TXCHECK_H

#include "exi_sha256.h"
#include "exi_tx.h"

#define TXCHECK_UNUSED __attribute__((unused))

/* Hashes and counts what a serialization without witness consists of. */
struct txcheck {
    struct exi_sha256 sha;
    uint64_t len;
};

static void
txcheck_put(struct txcheck *c, const void *buf, size_t len)
{
    exi_sha256_update(&c->sha, buf, len);
    c->len += len;
}

static void
txcheck_compact(struct txcheck *c, uint32_t v)
{
    uint8_t b[5] = { (uint8_t) v };

    if (v < 0xfd) {
        txcheck_put(c, b, 1);
    } else if (v < 0x10000) {
        b[0] = 0xfd;
        b[1] = (uint8_t) v;
        b[2] = (uint8_t) (v >> 8);
        txcheck_put(c, b, 3);
    } else {
        b[0] = 0xfe;
        exi_put_le32(b + 1, v);
        txcheck_put(c, b, 5);
    }
}

static void
txcheck_ins(struct txcheck *c, const struct exi_tx *tx)
{
    const uint8_t *p = tx->ins;

    txcheck_compact(c, tx->nin);
    for (uint32_t i = 0; i < tx->nin; i++) {
        struct exi_txin in;
        uint8_t num[4];

        p = exi_txin_next(&in, p);
        txcheck_put(c, in.prev_txid, EXI_HASH_LEN);
        exi_put_le32(num, in.prev_index);
        txcheck_put(c, num, 4);
        txcheck_compact(c, in.scriptlen);
        txcheck_put(c, in.script, in.scriptlen);
        exi_put_le32(num, in.sequence);
        txcheck_put(c, num, 4);
    }
}

/* Returns where the iterator ended. */
static const uint8_t *
txcheck_outs(struct txcheck *c, const struct exi_tx *tx)
{
    const uint8_t *p = tx->outs;

    txcheck_compact(c, tx->nout);
    for (uint32_t i = 0; i < tx->nout; i++) {
        struct exi_txout out;
        uint8_t num[8];

        p = exi_txout_next(&out, p);
        exi_put_le64(num, (uint64_t) out.value_sat);
        txcheck_put(c, num, 8);
        txcheck_compact(c, out.scriptlen);
        txcheck_put(c, out.script, out.scriptlen);
    }
    return p;
}

/*
 * True if the iterators give back the serialization that the id and the
 * stripped size speak of, inside the buflen bytes at buf.
 */
TXCHECK_UNUSED static bool
txcheck(const struct exi_tx *tx, const uint8_t *buf, size_t buflen)
{
    struct txcheck c = { .len = 0 };
    struct exi_txid id;
    uint8_t want[EXI_HASH_LEN];
    bool good;

    if (tx->raw != buf || tx->size > buflen || tx->stripped_size > tx->size
        || exi_tx_vsize(tx) > tx->size || tx->nin == 0 || tx->nout == 0) {
        return false;
    }
    exi_sha256_init(&c.sha);
    txcheck_put(&c, buf, 4);
    txcheck_ins(&c, tx);
    good = txcheck_outs(&c, tx) == tx->outs_end;
    txcheck_put(&c, buf + tx->size - 4, 4);
    exi_sha256d_final(&c.sha, want);
    exi_tx_id(&id, tx);
    return good && c.len == tx->stripped_size
           && memcmp(id.b, want, EXI_HASH_LEN) == 0;
}

#endif /* TXCHECK_H */
