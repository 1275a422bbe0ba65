/*
 * Builds blocks for tests: chosen inputs and outputs, true txids, Merkle roots
 * and links; no proof of work, no signatures.  Include once.
 *
 *     struct bb b = { 0 };
 *     bb_begin(&b, prev_hash_or_NULL, nonce);
 *     bb_tx(&b, &txid, NULL, tag, outs, nouts, false);        coinbase
 *     bb_tx(&b, &txid, ins, nins, outs, nouts, witness);      others
 *     bb_finish(&b, &hash);      b.raw, b.rawlen until the next bb_begin
 *     bb_free(&b);
 */
#ifndef BLOCKBUILD_H
#define BLOCKBUILD_H

#include <stdlib.h>
#include <string.h>

#include "exi_bytes.h"
#include "exi_merkle.h"
#include "exi_sha256.h"

#define BB_UNUSED __attribute__((unused))

struct bb_in {
    struct exi_txid txid;
    uint32_t index;
};

struct bb_out {
    int64_t value_sat;
    const uint8_t *script;
    size_t scriptlen;
};

struct bb {
    uint8_t *raw; /* result: the block */
    size_t rawlen;
    uint8_t *txs;
    size_t txslen;
    size_t txscap;
    struct exi_hash *ids;
    size_t nids;
    size_t capids;
    struct exi_blkid prev;
    uint32_t nonce;
};

/* Bytes being put somewhere. */
struct bb_w {
    uint8_t *p;
    size_t n;
};

static void
bb_put(struct bb_w *w, const void *buf, size_t len)
{
    if (len != 0) {
        memcpy(w->p + w->n, buf, len);
        w->n += len;
    }
}

static void
bb_le(struct bb_w *w, uint64_t v, unsigned n)
{
    for (; n != 0; n--, v >>= 8) {
        w->p[w->n++] = (uint8_t) v;
    }
}

static void
bb_compact(struct bb_w *w, uint64_t v)
{
    if (v < 0xfd) {
        bb_le(w, v, 1);
    } else if (v < 0x10000) {
        bb_le(w, 0xfd, 1);
        bb_le(w, v, 2);
    } else {
        bb_le(w, 0xfe, 1);
        bb_le(w, v, 4);
    }
}

BB_UNUSED static void
bb_begin(struct bb *b, const struct exi_blkid *prev, uint32_t nonce)
{
    memset(&b->prev, 0, sizeof(b->prev));
    if (prev != NULL) {
        b->prev = *prev;
    }
    b->nonce = nonce;
    b->txslen = 0;
    b->nids = 0;
}

/* Inputs (ins NULL: a coinbase's, with the number `n` in its script) ... */
static void
bb_ins(struct bb_w *w, const struct bb_in *ins, uint64_t n)
{
    bb_compact(w, ins == NULL ? 1 : n);
    if (ins == NULL) {
        static const uint8_t zero[EXI_HASH_LEN];

        bb_put(w, zero, sizeof(zero));
        bb_le(w, UINT32_MAX, 4);
        bb_compact(w, 8);
        bb_le(w, n, 8);
        bb_le(w, UINT32_MAX, 4);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        bb_put(w, ins[i].txid.b, EXI_HASH_LEN);
        bb_le(w, ins[i].index, 4);
        bb_compact(w, 0);
        bb_le(w, 0xfffffffd, 4);
    }
}

static void
bb_outs(struct bb_w *w, const struct bb_out *outs, size_t n)
{
    bb_compact(w, n);
    for (size_t i = 0; i < n; i++) {
        bb_le(w, (uint64_t) outs[i].value_sat, 8);
        bb_compact(w, outs[i].scriptlen);
        bb_put(w, outs[i].script, outs[i].scriptlen);
    }
}

/*
 * Adds a transaction and says its txid.  ins NULL: a coinbase, and nins is the
 * number that makes its txid differ from others'.
 */
BB_UNUSED static void
bb_tx(struct bb *b, struct exi_txid *txid, const struct bb_in *ins,
      uint64_t nins, const struct bb_out *outs, size_t nouts, bool witness)
{
    size_t most = 200 + (ins ? (size_t) nins * 60 : 0);
    struct bb_w w = { NULL, 0 };
    struct exi_sha256 sha;
    size_t body;

    for (size_t i = 0; i < nouts; i++) {
        most += outs[i].scriptlen + 20;
    }
    if (b->txslen + most > b->txscap) {
        b->txscap = (b->txslen + most) * 2;
        b->txs = realloc(b->txs, b->txscap);
    }
    if (b->nids == b->capids) {
        b->capids = b->capids * 2 + 16;
        b->ids = realloc(b->ids, b->capids * sizeof(*b->ids));
    }
    w.p = b->txs + b->txslen;
    bb_le(&w, 2, 4);
    if (witness) {
        bb_le(&w, 0x0100, 2);
    }
    body = w.n;
    bb_ins(&w, ins, nins);
    bb_outs(&w, outs, nouts);
    exi_sha256_init(&sha);
    exi_sha256_update(&sha, w.p, 4);
    exi_sha256_update(&sha, w.p + body, w.n - body);
    for (uint64_t i = 0; witness && i < (ins ? nins : 1); i++) {
        bb_le(&w, 0x770101, 3); /* one item of one byte */
    }
    bb_le(&w, 0, 4);
    exi_sha256_update(&sha, w.p + w.n - 4, 4);
    exi_sha256d_final(&sha, txid->b);
    memcpy(b->ids[b->nids++].b, txid->b, EXI_HASH_LEN);
    b->txslen += w.n;
}

/* Completes the block. */
BB_UNUSED static void
bb_finish(struct bb *b, struct exi_blkid *hash)
{
    struct exi_hash *scratch = malloc((b->nids + 1) * sizeof(*scratch));
    struct exi_hash root;
    struct bb_w w;

    memset(&root, 0, sizeof(root));
    memcpy(scratch, b->ids, b->nids * sizeof(*scratch));
    if (exi_merkle(&root, NULL, NULL, scratch, b->nids, 0) != EXI_OK) {
        abort();
    }
    free(scratch);
    b->raw = realloc(b->raw, b->txslen + 100);
    w.p = b->raw;
    w.n = 0;
    bb_le(&w, 0x20000000, 4);
    bb_put(&w, b->prev.b, EXI_HASH_LEN);
    bb_put(&w, root.b, EXI_HASH_LEN);
    bb_le(&w, 1231006505u, 4);
    bb_le(&w, 0x207fffff, 4);
    bb_le(&w, b->nonce, 4);
    exi_sha256d(hash->b, b->raw, EXI_HEADER_LEN);
    bb_compact(&w, b->nids);
    bb_put(&w, b->txs, b->txslen);
    b->rawlen = w.n;
}

BB_UNUSED static void
bb_free(struct bb *b)
{
    free(b->raw);
    free(b->txs);
    free(b->ids);
    memset(b, 0, sizeof(*b));
}

#endif /* BLOCKBUILD_H */
