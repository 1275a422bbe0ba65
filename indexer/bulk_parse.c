/*
 * A block -> what the bulk sync needs of it: txids, fingerprints of the
 * outpoints that it spends and makes, script keys.  This is where the hashing
 * is, and it knows nothing of other blocks, so any number of threads do it.
 *
 * The fingerprint of an outpoint is 80 bits of a hash with a secret of the
 * bulk sync: nobody can prepare outpoints with equal ones, and of 4e9 outputs
 * two have equal ones by chance with a probability of 7e-6 (that is noticed).
 */
#include "bulk_int.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exi_merkle.h"
#include "lib/exi_script.h"
#include "lib/exi_sha256.h"
#include "lib/exi_token.h"
#include "lib/exi_tx.h"

/* What is shared by all outputs of a transaction. */
struct fp_base {
    uint64_t lo, hi;
};

static inline struct fp_base
fp_begin(const struct bulk_key *k, const uint8_t *txid)
{
    unsigned __int128 h = (unsigned __int128) (exi_le64(txid) ^ k->k[0])
                              * (exi_le64(txid + 8) ^ k->k[1])
                          + (unsigned __int128) (exi_le64(txid + 16) ^ k->k[2])
                                * (exi_le64(txid + 24) ^ k->k[3]);
    struct fp_base f = { (uint64_t) h, (uint64_t) (h >> 64) };

    return f;
}

static inline void
fp_end(const struct bulk_key *k, struct fp_base f, uint32_t index, uint64_t *fp,
       uint16_t *fp2)
{
    uint64_t x = f.lo + index * 0x9e3779b97f4a7c15u;
    unsigned __int128 m = (unsigned __int128) (x ^ k->k[4]) * (f.hi ^ k->k[5]);

    *fp = (uint64_t) m ^ (uint64_t) (m >> 64);
    *fp += *fp == 0;
    *fp2 = (uint16_t) ((x * (k->k[6] | 1) + f.hi * (k->k[7] | 1)) >> 48);
}

void
bulk_unit_free(struct bulk_unit *u)
{
    if (u != NULL) {
        free(u->txids);
        free(u->offsets);
        free(u->nin);
        free(u->nout);
        free(u->ins);
        free(u->outs);
        free(u->tokens);
        free(u->token_bytes);
        free(u->leaves);
        free(u);
    }
}

size_t
bulk_unit_bytes(const struct bulk_unit *u)
{
    return u->cap_tx * sizeof(*u->txids) + u->cap_leaves * sizeof(*u->leaves)
           + (u->cap_offsets + u->cap_nin + u->cap_nout) * 4
           + u->cap_ins * sizeof(*u->ins) + u->cap_outs * sizeof(*u->outs)
           + u->cap_tokens * sizeof(*u->tokens) + u->cap_token_bytes;
}

/* Room for n transactions. */
static int
unit_room(struct bulk_unit *u, size_t n)
{
    int rc = settle_grow(&u->txids, &u->cap_tx, n, sizeof(*u->txids));

    if (rc == EXI_OK) {
        rc = settle_grow(&u->offsets, &u->cap_offsets, n, 4);
    }
    if (rc == EXI_OK) {
        rc = settle_grow(&u->nin, &u->cap_nin, n, 4);
    }
    if (rc == EXI_OK) {
        rc = settle_grow(&u->nout, &u->cap_nout, n, 4);
    }
    return rc;
}

static int
parse_ins(struct bulk_unit *u, const struct bulk_key *key,
          const struct exi_tx *t)
{
    const uint8_t *p = t->ins;
    struct exi_txin in;
    int rc =
        settle_grow(&u->ins, &u->cap_ins, u->nins + t->nin, sizeof(*u->ins));

    if (rc != EXI_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < t->nin; i++) {
        struct bulk_spend *s = &u->ins[u->nins++];

        p = exi_txin_next(&in, p);
        fp_end(key, fp_begin(key, in.prev_txid), in.prev_index, &s->fp,
               &s->fp2);
    }
    return EXI_OK;
}

/* Notes token data of the output that is next in u->outs. */
static int
note_token(struct bulk_unit *u, const uint8_t *data, size_t len)
{
    int rc = settle_grow(&u->tokens, &u->cap_tokens, u->ntokens + 1,
                         sizeof(*u->tokens));

    if (rc == EXI_OK) {
        rc = settle_grow(&u->token_bytes, &u->cap_token_bytes,
                         u->ntoken_bytes + len, 1);
    }
    if (rc == EXI_OK) {
        u->tokens[u->ntokens++] =
            (struct bulk_token){ .out = u->nouts,
                                 .at = (uint32_t) u->ntoken_bytes,
                                 .len = (uint32_t) len };
        memcpy(u->token_bytes + u->ntoken_bytes, data, len);
        u->ntoken_bytes += len;
    }
    return rc;
}

static int
parse_outs(struct bulk_unit *u, const struct bulk_key *key, unsigned coin,
           const struct exi_tx *t, const uint8_t *txid)
{
    struct fp_base base = fp_begin(key, txid);
    const uint8_t *p = t->outs;
    struct exi_txout x;
    struct exi_shash h;
    size_t token;
    int rc = settle_grow(&u->outs, &u->cap_outs, u->nouts + t->nout,
                         sizeof(*u->outs));

    if (rc == EXI_OK && t->nout >> BULK_INDEX_BITS != 0) {
        rc = EXI_ELIMIT;
    }
    if (rc != EXI_OK) {
        return rc;
    }
    for (uint32_t i = 0; rc == EXI_OK && i < t->nout; i++) {
        struct bulk_coin *c = &u->outs[u->nouts];

        p = exi_txout_next(&x, p);
        token = exi_token_strip(&x, coin);
        if (exi_script_unspendable(x.script, x.scriptlen)) {
            continue;
        }
        exi_script_hash(&h, x.script, x.scriptlen);
        fp_end(key, base, i, &c->fp, &c->fp2);
        c->s = exi_skey(&h);
        c->where = i;
        c->value_sat = x.value_sat;
        if (token > 0) {
            rc = note_token(u, x.script - token, token);
        }
        u->nouts++;
    }
    return rc;
}

/* Transaction number i of the block. */
static int
parse_tx(struct bulk_unit *u, const struct bulk_key *key, unsigned coin,
         const struct exi_tx *t, const uint8_t *raw, uint32_t i)
{
    size_t nins = u->nins, nouts = u->nouts;
    struct exi_txid txid;
    int rc = EXI_OK;

    if (t->coinbase != (i == 0)) {
        return EXI_EFORMAT;
    }
    exi_tx_id(&txid, t);
    memcpy(u->txids[i].b, txid.b, EXI_HASH_LEN);
    u->offsets[i] = (uint32_t) (t->raw - raw);
    if (!t->coinbase) {
        rc = parse_ins(u, key, t);
    }
    /* Outputs of the genesis block have no rows. */
    if (rc == EXI_OK && u->height != 0) {
        rc = parse_outs(u, key, coin, t, txid.b);
    }
    u->nin[i] = (uint32_t) (u->nins - nins);
    u->nout[i] = (uint32_t) (u->nouts - nouts);
    return rc;
}

static int
check_root(struct bulk_unit *u)
{
    struct exi_hash root;
    int rc =
        settle_grow(&u->leaves, &u->cap_leaves, u->ntx, sizeof(*u->leaves));

    if (rc == EXI_OK) {
        memcpy(u->leaves, u->txids, u->ntx * sizeof(*u->leaves));
        rc = exi_merkle(&root, NULL, NULL, u->leaves, u->ntx, 0);
    }
    if (rc == EXI_OK && memcmp(root.b, u->header + 36, EXI_HASH_LEN) != 0) {
        rc = EXI_EFORMAT;
    }
    return rc;
}

/*
 * A Merkle tree with an odd level has the same root as one whose last nodes
 * come twice: such a block is not the one that its hash was given for.
 */
static bool
last_twice(const struct bulk_unit *u)
{
    for (size_t n = 1; n * 2 <= u->ntx; n *= 2) {
        if (memcmp(u->txids + u->ntx - n, u->txids + u->ntx - 2 * n,
                   n * sizeof(*u->txids))
            == 0) {
            return true;
        }
    }
    return false;
}

int
bulk_parse(struct bulk_unit *u, const struct bulk_key *key, unsigned coin,
           uint32_t height, const uint8_t *raw, size_t rawlen)
{
    struct exi_block bl;
    struct exi_tx t;
    int rc = exi_block_open(&bl, raw, rawlen);

    if (rc != EXI_OK || (rc = unit_room(u, bl.ntx)) != EXI_OK) {
        return rc;
    }
    u->height = height;
    u->ntx = bl.ntx;
    u->size = bl.size;
    u->nins = u->nouts = u->ntokens = u->ntoken_bytes = 0;
    memcpy(u->header, raw, EXI_HEADER_LEN);
    exi_sha256d(u->hash.b, raw, EXI_HEADER_LEN);
    for (uint32_t i = 0; (rc = exi_block_next(&bl, &t)) == 1; i++) {
        rc = parse_tx(u, key, coin, &t, raw, i);
        if (rc != EXI_OK) {
            return rc;
        }
    }
    if (rc == EXI_OK) {
        rc = check_root(u);
    }
    return rc == EXI_OK && last_twice(u) ? EXI_EFORMAT : rc;
}
