/*
 * An artificial chain with a mempool, and a naive model of all answers.
 * Include rnd.h first.
 *
 * Transactions and blocks are made once (struct lb) and never change; where
 * each transaction stands is in struct lb_state, which can be copied.  A
 * transaction's number is above those of its parents.
 */
#ifndef LIVEBUILD_H
#define LIVEBUILD_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_hex.h"
#include "lib/exi_merkle.h"
#include "lib/exi_reader.h"
#include "lib/exi_script.h"
#include "lib/exi_sha256.h"
#include "lib/exi_status.h"
#include "lib/exi_token.h"

#define LB_UNUSED __attribute__((unused))

#define LB_SCRIPTS    24
#define LB_MAX_TX     12000
#define LB_MAX_BLOCKS 3000
#define LB_MAX_HEIGHT 2000
#define LB_MAX_IN     4
#define LB_MAX_OUT    5
#define LB_BLOCK_TX   40

#define LB_ABSENT -2
#define LB_POOL   -1 /* or the height of the block */

struct lb_out {
    int script; /* -1: OP_RETURN */
    int64_t value;
    bool tokens; /* has a token prefix */
};
struct lb_in {
    int tx;
    uint32_t index;
};
struct lb_tx {
    struct exi_txid id;
    uint8_t *raw;
    size_t len;
    int nin; /* 0: coinbase */
    int nout;
    struct lb_in in[LB_MAX_IN];
    struct lb_out out[LB_MAX_OUT];
    int64_t fee;
};
struct lb_block {
    struct exi_blkid hash;
    uint8_t header[EXI_HEADER_LEN];
    int prev; /* number, or -1 */
    int height;
    uint8_t *raw;
    size_t len;
    int ntx;
    int tx[LB_BLOCK_TX];
};
struct lb_state {
    int height;
    int chain[LB_MAX_HEIGHT];
    int where[LB_MAX_TX];
    int pos[LB_MAX_TX];
};
/* Bitcoin Cash: tokens, and blocks in the order of txids. */
static bool lb_cash;

/* Prefix of an output with tokens: an amount of 5 of the category 11...11. */
static const uint8_t lb_token[] = { 0xef, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                    0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                    0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                    0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                    0x11, 0x11, 0x11, 0x11, 0x11, 0x10, 0x05 };

struct lb {
    struct lb_tx tx[LB_MAX_TX];
    int ntx;
    struct lb_block block[LB_MAX_BLOCKS];
    int nblocks;
    uint8_t script[LB_SCRIPTS][25];
    struct exi_skey skey[LB_SCRIPTS];
    struct lb_state st;
};

/*
 * Making.
 */

struct lb_bytes {
    uint8_t b[20000];
    size_t n;
};

LB_UNUSED static void
lb_put(struct lb_bytes *m, const void *p, size_t n)
{
    if (n > sizeof m->b - m->n) {
        abort();
    }
    memcpy(m->b + m->n, p, n);
    m->n += n;
}

LB_UNUSED static void
lb_le(struct lb_bytes *m, uint64_t v, int n)
{
    for (; n > 0; n--, v >>= 8) {
        uint8_t c = (uint8_t) v;
        lb_put(m, &c, 1);
    }
}

/* One serialization of a transaction; height for the coinbase's script. */
LB_UNUSED static void
lb_serialize(const struct lb *lb, struct lb_bytes *m, const struct lb_tx *t,
             bool witness, uint32_t nonce)
{
    static const uint8_t zero[32], op_return[] = { 0x6a, 2, 7, 7 };

    lb_le(m, 2, 4);
    if (witness) {
        lb_le(m, 0x0100, 2);
    }
    lb_le(m, t->nin ? (uint64_t) t->nin : 1, 1);
    for (int i = 0; i < t->nin; i++) {
        lb_put(m, lb->tx[t->in[i].tx].id.b, 32);
        lb_le(m, t->in[i].index, 4);
        lb_le(m, 0, 1);
        lb_le(m, 0xfffffffe, 4);
    }
    if (t->nin == 0) {
        lb_put(m, zero, 32);
        lb_le(m, 0xffffffff, 4);
        lb_le(m, 5, 1);
        lb_le(m, 4, 1);
        lb_le(m, nonce, 4);
        lb_le(m, 0xffffffff, 4);
    }
    lb_le(m, (uint64_t) t->nout, 1);
    for (int i = 0; i < t->nout; i++) {
        int s = t->out[i].script;
        lb_le(m, (uint64_t) t->out[i].value, 8);
        lb_le(m,
              (s < 0 ? sizeof op_return : sizeof lb->script[0])
                  + (t->out[i].tokens ? sizeof lb_token : 0),
              1);
        if (t->out[i].tokens) {
            lb_put(m, lb_token, sizeof lb_token);
        }
        lb_put(m, s < 0 ? op_return : lb->script[s],
               s < 0 ? sizeof op_return : sizeof lb->script[0]);
    }
    for (int i = 0; witness && i < (t->nin ? t->nin : 1); i++) {
        lb_le(m, 1, 1);
        lb_le(m, 3, 1);
        lb_le(m, 0xabcdef, 3);
    }
    lb_le(m, nonce, 4);
}

LB_UNUSED static struct lb *
lb_new(void)
{
    struct lb *lb = calloc(1, sizeof *lb);
    struct exi_shash h;

    for (int i = 0; i < LB_SCRIPTS; i++) {
        uint8_t *s = lb->script[i];
        s[0] = 0x76;
        s[1] = 0xa9;
        s[2] = 0x14;
        exi_put_le32(s + 3, (uint32_t) i * 77777 + 5);
        s[23] = 0x88;
        s[24] = 0xac;
        exi_script_hash(&h, s, 25);
        lb->skey[i] = exi_skey(&h);
    }
    for (int i = 0; i < LB_MAX_TX; i++) {
        lb->st.where[i] = LB_ABSENT;
    }
    lb->st.height = -1;
    return lb;
}

LB_UNUSED static void
lb_free(struct lb *lb)
{
    for (int i = 0; i < lb->ntx; i++) {
        free(lb->tx[i].raw);
    }
    for (int i = 0; i < lb->nblocks; i++) {
        free(lb->block[i].raw);
    }
    free(lb);
}

/* Serializes the transaction being made; returns its number. */
LB_UNUSED static int
lb_seal_tx(struct lb *lb, bool witness)
{
    struct lb_tx *t = &lb->tx[lb->ntx];
    struct lb_bytes *m = calloc(1, sizeof *m);
    uint32_t nonce = (uint32_t) lb->ntx + 1000;

    lb_serialize(lb, m, t, false, nonce);
    exi_sha256d(t->id.b, m->b, m->n);
    if (witness) {
        m->n = 0;
        lb_serialize(lb, m, t, true, nonce);
    }
    t->len = m->n;
    t->raw = malloc(m->n);
    memcpy(t->raw, m->b, m->n);
    free(m);
    if (lb->ntx + 1 == LB_MAX_TX) {
        abort();
    }
    return lb->ntx++;
}

/* Splits `sum` to random scripts and seals. */
LB_UNUSED static int
lb_finish_tx(struct lb *lb, int64_t sum)
{
    struct lb_tx *t = &lb->tx[lb->ntx];

    t->nout = (int) rnd_below(LB_MAX_OUT) + 1;
    t->fee = t->nin ? (int64_t) rnd_below((uint64_t) sum / 10 + 1) : 0;
    sum -= t->fee;
    for (int i = 0; i < t->nout; i++) {
        int64_t part =
            i + 1 == t->nout ? sum : (int64_t) rnd_below((uint64_t) sum + 1);
        t->out[i].value = part;
        t->out[i].script = rnd_below(10) == 0  ? -1
                           : rnd_below(3) == 0 ? 0
                                               : (int) rnd_below(LB_SCRIPTS);
        t->out[i].tokens = lb_cash && t->nin != 0 && rnd_below(3) == 0;
        sum -= part;
    }
    return lb_seal_tx(lb, rnd_below(2));
}

/* Number of the mempool or chain transaction that spends an output, or -1. */
LB_UNUSED static int
lb_spender(const struct lb *lb, const struct lb_state *st, int tx,
           uint32_t index)
{
    for (int i = tx + 1; i < lb->ntx; i++) {
        for (int j = 0; st->where[i] != LB_ABSENT && j < lb->tx[i].nin; j++) {
            if (lb->tx[i].in[j].tx == tx && lb->tx[i].in[j].index == index) {
                return i;
            }
        }
    }
    return -1;
}

/* A random output that `may` allows, or false. */
typedef bool (*lb_ok_pt)(const struct lb *lb, const struct lb_state *st, int tx,
                         uint32_t index);
LB_UNUSED static bool
lb_pick(const struct lb *lb, const struct lb_state *st, lb_ok_pt may, int *tx,
        uint32_t *index)
{
    for (int i = 0; i < 60; i++) {
        /* young ones are likelier */
        int back = (int) rnd_below(rnd_below(2) ? 30 : (uint64_t) lb->ntx);
        *tx = lb->ntx - 1 - back;
        if (*tx < 1 || st->where[*tx] == LB_ABSENT) {
            continue;
        }
        *index = (uint32_t) rnd_below((uint64_t) lb->tx[*tx].nout);
        if (lb->tx[*tx].out[*index].script >= 0 && may(lb, st, *tx, *index)) {
            return true;
        }
    }
    return false;
}

LB_UNUSED static bool
lb_ok_unspent(const struct lb *lb, const struct lb_state *st, int tx,
              uint32_t index)
{
    return lb_spender(lb, st, tx, index) < 0;
}

/* Makes a transaction of outputs that `may` allows; -1: none found.  It is not
 * placed anywhere. */
LB_UNUSED static int
lb_make_tx(struct lb *lb, const struct lb_state *st, lb_ok_pt may)
{
    struct lb_tx *t = &lb->tx[lb->ntx];
    int want = (int) rnd_below(LB_MAX_IN) + 1;
    int64_t sum = 0;

    t->nin = 0;
    for (int i = 0; i < want; i++) {
        struct lb_in in;
        bool twice = false;
        if (!lb_pick(lb, st, may, &in.tx, &in.index)) {
            continue;
        }
        for (int j = 0; j < t->nin; j++) {
            twice |= t->in[j].tx == in.tx && t->in[j].index == in.index;
        }
        if (!twice) {
            t->in[t->nin++] = in;
            sum += lb->tx[in.tx].out[in.index].value;
        }
    }
    return t->nin ? lb_finish_tx(lb, sum) : -1;
}

/*
 * Changing a state.
 */

/* Removes a transaction and its descendants. */
LB_UNUSED static void
lb_remove(const struct lb *lb, struct lb_state *st, int tx)
{
    st->where[tx] = LB_ABSENT;
    for (int i = tx + 1; i < lb->ntx; i++) {
        for (int j = 0; st->where[i] != LB_ABSENT && j < lb->tx[i].nin; j++) {
            if (lb->tx[i].in[j].tx == tx) {
                lb_remove(lb, st, i);
            }
        }
    }
}

/* Removes all that spend an output, but `self`. */
LB_UNUSED static void
lb_remove_rivals(const struct lb *lb, struct lb_state *st, struct lb_in out,
                 int self)
{
    for (int i = out.tx + 1; i < lb->ntx; i++) {
        for (int j = 0; st->where[i] != LB_ABSENT && j < lb->tx[i].nin; j++) {
            if (i != self && lb->tx[i].in[j].tx == out.tx
                && lb->tx[i].in[j].index == out.index) {
                lb_remove(lb, st, i);
            }
        }
    }
}

LB_UNUSED static void
lb_connect(const struct lb *lb, struct lb_state *st, int block)
{
    const struct lb_block *b = &lb->block[block];

    st->chain[++st->height] = block;
    for (int i = 0; i < b->ntx; i++) {
        const struct lb_tx *t = &lb->tx[b->tx[i]];
        for (int j = 0; j < t->nin; j++) {
            lb_remove_rivals(lb, st, t->in[j], b->tx[i]);
        }
        st->where[b->tx[i]] = b->height;
        st->pos[b->tx[i]] = i;
    }
}

LB_UNUSED static void
lb_disconnect(const struct lb *lb, struct lb_state *st)
{
    const struct lb_block *b = &lb->block[st->chain[st->height--]];

    for (int i = 0; i < b->ntx; i++) {
        st->where[b->tx[i]] = LB_POOL;
    }
    lb_remove(lb, st, b->tx[0]);
}

/* Seals a block of b->tx[0 ... ntx - 1] on `prev` (-1: genesis). */
LB_UNUSED static int
lb_seal(struct lb *lb, int prev)
{
    struct lb_block *b = &lb->block[lb->nblocks];
    struct exi_hash ids[LB_BLOCK_TX], root;
    struct lb_bytes *m = calloc(1, sizeof *m);

    for (int i = 0; i < b->ntx; i++) {
        memcpy(ids[i].b, lb->tx[b->tx[i]].id.b, 32);
    }
    if (exi_merkle(&root, NULL, NULL, ids, (size_t) b->ntx, 0)) {
        abort();
    }
    b->prev = prev;
    b->height = prev < 0 ? 0 : lb->block[prev].height + 1;
    lb_le(m, 0x20000000, 4);
    lb_put(m, prev < 0 ? ids[0].b : lb->block[prev].hash.b, 32);
    if (prev < 0) {
        memset(m->b + 4, 0, 32);
    }
    lb_put(m, root.b, 32);
    lb_le(m, 1600000000u + (uint32_t) lb->nblocks, 4);
    lb_le(m, 0x207fffff, 4);
    lb_le(m, (uint32_t) lb->nblocks, 4);
    memcpy(b->header, m->b, EXI_HEADER_LEN);
    exi_sha256d(b->hash.b, m->b, EXI_HEADER_LEN);
    lb_le(m, (uint64_t) b->ntx, 1);
    for (int i = 0; i < b->ntx; i++) {
        lb_put(m, lb->tx[b->tx[i]].raw, lb->tx[b->tx[i]].len);
    }
    b->raw = malloc(m->n);
    memcpy(b->raw, m->b, m->n);
    b->len = m->n;
    free(m);
    if (lb->nblocks + 1 == LB_MAX_BLOCKS) {
        abort();
    }
    return lb->nblocks++;
}

/* For fresh transactions of a block: outputs of the chain and the block. */
LB_UNUSED static bool
lb_ok_chain(const struct lb *lb, const struct lb_state *st, int tx,
            uint32_t index)
{
    return st->where[tx] >= 0 && lb_spender(lb, st, tx, index) < 0;
}

/* Canonical order: by txid as displayed, the coinbase first. */
LB_UNUSED static void
lb_canonical(const struct lb *lb, struct lb_block *b)
{
    for (int i = 2; i < b->ntx; i++) {
        int t = b->tx[i], k = i;

        for (; k > 1; k--) {
            const uint8_t *x = lb->tx[t].id.b, *y = lb->tx[b->tx[k - 1]].id.b;
            int j = 31;

            while (j > 0 && x[j] == y[j]) {
                j--;
            }
            if (x[j] >= y[j]) {
                break;
            }
            b->tx[k] = b->tx[k - 1];
        }
        b->tx[k] = t;
    }
}

/* Random order with parents before children; the coinbase stays first. */
LB_UNUSED static void
lb_shuffle(const struct lb *lb, struct lb_block *b)
{
    if (lb_cash) {
        lb_canonical(lb, b);
        return;
    }
    for (int n = 0; n < 2 * b->ntx; n++) {
        int i = 1 + (int) rnd_below((uint64_t) b->ntx);
        bool child = false;
        if (i + 1 >= b->ntx) {
            continue;
        }
        for (int j = 0; j < lb->tx[b->tx[i + 1]].nin; j++) {
            child |= lb->tx[b->tx[i + 1]].in[j].tx == b->tx[i];
        }
        if (!child) {
            int t = b->tx[i];
            b->tx[i] = b->tx[i + 1];
            b->tx[i + 1] = t;
        }
    }
}

/*
 * Makes a block on the state's tip: some of its mempool, and `fresh` others
 * that nobody has seen, which may conflict with the rest of the mempool.
 */
LB_UNUSED static int
lb_make_block(struct lb *lb, const struct lb_state *st, unsigned percent,
              int fresh)
{
    struct lb_block *b = &lb->block[lb->nblocks];
    struct lb_state *w = malloc(sizeof *w);
    int prev = st->height < 0 ? -1 : st->chain[st->height], n = lb->ntx;

    *w = *st;
    b->ntx = 0;
    lb->tx[lb->ntx].nin = 0;
    b->tx[b->ntx++] = lb_finish_tx(lb, 5000000000);
    for (int i = 0; i < n; i++) {
        bool in = w->where[i] == LB_POOL && rnd_below(100) < percent
                  && b->ntx < LB_BLOCK_TX - 10;
        for (int j = 0; in && j < lb->tx[i].nin; j++) {
            in = w->where[lb->tx[i].in[j].tx] >= 0;
        }
        if (in) {
            w->where[i] = st->height + 1;
            b->tx[b->ntx++] = i;
        } else if (w->where[i] == LB_POOL) {
            w->where[i] = LB_ABSENT; /* its inputs are free for others */
        }
    }
    for (int i = 0; i < fresh; i++) {
        int t = lb_make_tx(lb, w, lb_ok_chain);
        if (t >= 0) {
            w->where[t] = st->height + 1;
            b->tx[b->ntx++] = t;
        }
    }
    free(w);
    lb_shuffle(lb, b);
    return lb_seal(lb, prev);
}

#include "livedump.h"

#endif /* LIVEBUILD_H */
