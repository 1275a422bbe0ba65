/*
 * Serialized transactions and blocks for tests: made field by field, once with
 * and once without witness, so that ids and sizes can be known without the
 * parser.  Include rnd.h first.
 */
#ifndef TXMAKE_H
#define TXMAKE_H

#include <stdint.h>
#include <string.h>

#include "exi_sha256.h"
#include "exi_types.h"

#define TXMAKE_UNUSED __attribute__((unused))

/* Bytes being written; what does not fit is dropped and noted. */
struct made {
    uint8_t *b;
    size_t len;
    size_t cap;
    bool full;
};

static void
made_put(struct made *m, const void *buf, size_t len)
{
    if (len > m->cap - m->len) {
        m->full = true;
    } else if (len != 0) {
        memcpy(m->b + m->len, buf, len);
        m->len += len;
    }
}

/* The low n bytes of v, lowest first. */
static void
made_le(struct made *m, uint64_t v, unsigned n)
{
    for (; n != 0; n--, v >>= 8) {
        uint8_t b = (uint8_t) v;
        made_put(m, &b, 1);
    }
}

static void
made_compact(struct made *m, uint64_t v)
{
    if (v < 0xfd) {
        made_le(m, v, 1);
    } else if (v < 0x10000) {
        made_le(m, 0xfd, 1);
        made_le(m, v, 2);
    } else {
        made_le(m, 0xfe, 1);
        made_le(m, v, 4);
    }
}

static void
made_random(struct made *m, size_t len)
{
    for (; len != 0; len--) {
        made_le(m, rnd(), 1);
    }
}

/* What txmake() is to make, and what it made. */
struct txmake {
    unsigned nin;
    unsigned nout;
    unsigned max_script; /* longest script or witness item */
    uint8_t flags;       /* 0, 1 witness, 8 empty MWEB part, 9 */
    bool coinbase;
    struct exi_txid id; /* result, as the next two */
    size_t size;
    size_t stripped;
};

static void
txmake_ins(struct made *m, const struct txmake *t)
{
    made_compact(m, t->nin);
    for (unsigned i = 0; i < t->nin; i++) {
        size_t n = (size_t) rnd_below(t->max_script + 1);

        if (t->coinbase) {
            static const uint8_t zero[EXI_HASH_LEN];
            made_put(m, zero, sizeof(zero));
            made_le(m, UINT32_MAX, 4);
        } else {
            made_random(m, EXI_HASH_LEN);
            made_le(m, rnd_bits(12), 4);
        }
        made_compact(m, n);
        made_random(m, n);
        made_le(m, 0xfffffffd, 4);
    }
}

static void
txmake_outs(struct made *m, const struct txmake *t)
{
    made_compact(m, t->nout);
    for (unsigned i = 0; i < t->nout; i++) {
        size_t n = (size_t) rnd_below(t->max_script + 1);

        made_le(m, rnd_bits(50), 8);
        made_compact(m, n);
        made_random(m, n);
    }
}

/* Input 0 always has an item, as a node wants it. */
static void
txmake_witnesses(struct made *m, const struct txmake *t)
{
    for (unsigned i = 0; i < t->nin; i++) {
        unsigned items = (unsigned) rnd_below(4) + (i == 0);

        made_compact(m, items);
        for (; items != 0; items--) {
            size_t n = (size_t) rnd_below(t->max_script + 1);
            made_compact(m, n);
            made_random(m, n);
        }
    }
}

/* Appends a transaction to m and notes its id and sizes. */
TXMAKE_UNUSED static void
txmake(struct made *m, struct txmake *t)
{
    size_t start = m->len, body;
    uint32_t locktime = (uint32_t) rnd_bits(20);
    struct exi_sha256 s;
    uint8_t num[4] = { 2, 0, 0, 0 };

    made_put(m, num, 4);
    if (t->flags != 0) {
        made_le(m, 0, 1);
        made_le(m, t->flags, 1);
    }
    body = m->len;
    txmake_ins(m, t);
    txmake_outs(m, t);
    exi_sha256_init(&s);
    exi_sha256_update(&s, num, 4);
    exi_sha256_update(&s, m->b + body, m->len - body);
    for (unsigned i = 0; i < 4; i++) {
        num[i] = (uint8_t) (locktime >> (8 * i));
    }
    exi_sha256_update(&s, num, 4);
    exi_sha256d_final(&s, t->id.b);
    t->stripped = m->len - body + 8;
    if (t->flags & 1) {
        txmake_witnesses(m, t);
    }
    if (t->flags & 8) {
        made_le(m, 0, 1);
    }
    made_le(m, locktime, 4);
    t->size = m->len - start;
}

#endif /* TXMAKE_H */
