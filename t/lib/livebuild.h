/*
 * An artificial chain with a mempool, and a naive model of all answers.
 * Include rnd.h first.
 *
 * Transactions and blocks are made once (struct lb) and never change; where
 * each transaction stands is in struct lb_state, which can be copied.  A
 * transaction's number is above those of its parents.  Dumps are text, one
 * line an answer, so that a difference can be read.
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
        lb_le(m, s < 0 ? sizeof op_return : sizeof lb->script[0], 1);
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

/* Random order with parents before children; the coinbase stays first. */
LB_UNUSED static void
lb_shuffle(const struct lb *lb, struct lb_block *b)
{
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

/*
 * Dumps.
 */

struct lb_text {
    char *p;
    size_t n;
    size_t cap;
};

__attribute__((format(printf, 2, 3), unused)) static void
lb_say(struct lb_text *t, const char *fmt, ...)
{
    va_list ap;

    if (t->cap - t->n < 1024) {
        t->cap = t->cap ? t->cap * 2 : 65536;
        t->p = realloc(t->p, t->cap);
    }
    va_start(ap, fmt);
    t->n += (size_t) vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
}

LB_UNUSED static void
lb_say_hash(struct lb_text *t, const uint8_t *h)
{
    char hex[65] = "";

    exi_hex_display(hex, h);
    lb_say(t, "%s", hex);
}

struct lb_entry {
    int tx;
    int height; /* 0, -1 in the mempool */
    int pos;
    const uint8_t *id;
};

LB_UNUSED static int
lb_compare(const void *x, const void *y)
{
    const struct lb_entry *a = x, *b = y;
    bool pa = a->height < 1, pb = b->height < 1;

    if (pa != pb) {
        return pa ? 1 : -1;
    }
    if (a->height != b->height) {
        return pa ? b->height - a->height : a->height - b->height;
    }
    if (!pa) {
        return a->pos - b->pos;
    }
    for (int i = 31; i >= 0; i--) {
        if (a->id[i] != b->id[i]) {
            return a->id[i] - b->id[i];
        }
    }
    return 0;
}

LB_UNUSED static bool
lb_touches(const struct lb *lb, int tx, int script)
{
    const struct lb_tx *t = &lb->tx[tx];

    for (int i = 0; i < t->nout; i++) {
        if (t->out[i].script == script) {
            return true;
        }
    }
    for (int i = 0; i < t->nin; i++) {
        if (lb->tx[t->in[i].tx].out[t->in[i].index].script == script) {
            return true;
        }
    }
    return false;
}

/* The script's history; returns the number of entries. */
LB_UNUSED static int
lb_history(const struct lb *lb, const struct lb_state *st, int script,
           struct lb_entry *out)
{
    int n = 0;

    for (int i = 1; i < lb->ntx; i++) { /* 0: genesis has no rows */
        if (st->where[i] == LB_ABSENT || !lb_touches(lb, i, script)) {
            continue;
        }
        out[n].tx = i;
        out[n].height = st->where[i];
        out[n].pos = st->pos[i];
        out[n].id = lb->tx[i].id.b;
        if (st->where[i] == LB_POOL) {
            out[n].height = 0;
            for (int j = 0; j < lb->tx[i].nin; j++) {
                if (st->where[lb->tx[i].in[j].tx] == LB_POOL) {
                    out[n].height = -1;
                }
            }
        }
        n++;
    }
    qsort(out, (size_t) n, sizeof *out, lb_compare);
    return n;
}

LB_UNUSED static void
lb_model_status(struct lb_text *t, const struct lb *lb,
                const struct lb_entry *e, int n)
{
    struct exi_status s;
    uint8_t d[32];

    exi_status_init(&s);
    for (int i = 0; i < n; i++) {
        exi_status_add(&s, &lb->tx[e[i].tx].id, e[i].height);
    }
    lb_say(t, "status ");
    if (exi_status_final(&s, d)) {
        lb_say_hash(t, d);
    }
    lb_say(t, "\n");
}

/* All answers about one script, from the model. */
LB_UNUSED static void
lb_model_script(struct lb_text *t, const struct lb *lb,
                const struct lb_state *st, int script)
{
    struct lb_entry *e = malloc(LB_MAX_TX * sizeof *e);
    int n = lb_history(lb, st, script, e);
    int64_t conf = 0, unconf = 0;

    lb_say(t, "script %d\n", script);
    for (int i = 0; i < n; i++) {
        lb_say_hash(t, e[i].id);
        lb_say(t, " %d %lld\n", e[i].height,
               e[i].height > 0 ? -1 : (long long) lb->tx[e[i].tx].fee);
    }
    for (int i = 0; i < n; i++) {
        const struct lb_tx *x = &lb->tx[e[i].tx];
        int64_t *sum = e[i].height > 0 ? &conf : &unconf;
        for (int j = 0; j < x->nin; j++) {
            const struct lb_out *o = &lb->tx[x->in[j].tx].out[x->in[j].index];
            *sum -= o->script == script ? o->value : 0;
        }
        for (int j = 0; j < x->nout; j++) {
            if (x->out[j].script != script) {
                continue;
            }
            *sum += x->out[j].value;
            if (lb_spender(lb, st, e[i].tx, (uint32_t) j) < 0) {
                lb_say(t, "unspent ");
                lb_say_hash(t, x->id.b);
                lb_say(t, ":%d %d %lld\n", j, e[i].height > 0 ? e[i].height : 0,
                       (long long) x->out[j].value);
            }
        }
    }
    lb_say(t, "balance %lld %lld\n", (long long) conf, (long long) unconf);
    lb_model_status(t, lb, e, n);
    free(e);
}

/* Blocks and transactions, from the model. */
LB_UNUSED static void
lb_model_chain(struct lb_text *t, const struct lb *lb,
               const struct lb_state *st)
{
    lb_say(t, "tip %d\n", st->height);
    for (int h = 0; h <= st->height; h++) {
        const struct lb_block *b = &lb->block[st->chain[h]];
        lb_say(t, "block %d ", h);
        lb_say_hash(t, b->hash.b);
        lb_say(t, " %d", b->ntx);
        for (int i = 0; i < b->ntx; i++) {
            lb_say(t, " %02x%02x", lb->tx[b->tx[i]].id.b[0],
                   lb->tx[b->tx[i]].id.b[1]);
        }
        lb_say(t, "\n");
    }
    for (int i = 0; i < lb->ntx; i++) {
        if (st->where[i] >= 0) {
            lb_say(t, "tx %d in %d:%d\n", i, st->where[i], st->pos[i]);
        } else if (st->where[i] == LB_POOL) {
            lb_say(t, "tx %d mempool %lld\n", i, (long long) lb->tx[i].fee);
        } else {
            lb_say(t, "tx %d none\n", i);
        }
    }
}

LB_UNUSED static void *
lb_alloc(void *ctx, size_t n)
{
    (void) ctx;
    return malloc(n); /* lost: tests are short */
}
static const struct exi_arena lb_arena LB_UNUSED = { lb_alloc, NULL };

LB_UNUSED static int
lb_hist_cb(void *ctx, const struct exi_hist *h)
{
    lb_say_hash(ctx, h->txid.b);
    lb_say(ctx, " %d %lld\n", h->height, (long long) h->fee_sat);
    return h->confirmed == (h->height > 0) ? 0 : EXI_EFORMAT;
}

LB_UNUSED static int
lb_utxo_cb(void *ctx, const struct exi_utxo *u)
{
    lb_say(ctx, "unspent ");
    lb_say_hash(ctx, u->txid.b);
    lb_say(ctx, ":%u %d %lld\n", u->index, u->height, (long long) u->value_sat);
    return 0;
}

/* All answers about one script, from a view. */
LB_UNUSED static int
lb_view_script(struct lb_text *t, const struct lb *lb, struct exi_view *v,
               int script)
{
    const struct exi_skey *s = &lb->skey[script];
    int64_t conf, unconf;
    uint8_t d[32];
    bool some;
    int rc;

    lb_say(t, "script %d\n", script);
    rc = exi_history(v, &lb_arena, s, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, 0,
                     lb_hist_cb, t);
    if (rc == EXI_OK) {
        rc = exi_unspent(v, &lb_arena, s, 0, lb_utxo_cb, t);
    }
    if (rc == EXI_OK) {
        rc = exi_balance(v, &lb_arena, s, &conf, &unconf);
    }
    if (rc == EXI_OK) {
        lb_say(t, "balance %lld %lld\n", (long long) conf, (long long) unconf);
        rc = exi_script_status(v, &lb_arena, s, 0, d, &some);
    }
    if (rc == EXI_OK) {
        lb_say(t, "status ");
        if (some) {
            lb_say_hash(t, d);
        }
        lb_say(t, "\n");
    }
    return rc;
}

LB_UNUSED static int
lb_view_block(struct lb_text *t, struct exi_view *v, uint32_t h)
{
    uint8_t header[EXI_HEADER_LEN], d[32];
    struct exi_hash branch[EXI_MERKLE_MAX], root, leaf;
    struct exi_blkid hash;
    struct exi_txid id;
    size_t n;
    uint32_t ntx;
    int rc = exi_block_hash(v, h, &hash);

    rc = rc ? rc : exi_header(v, h, header);
    rc = rc ? rc : exi_block_ntx(v, h, &ntx);
    if (rc) {
        return rc;
    }
    exi_sha256d(d, header, sizeof header);
    if (memcmp(d, hash.b, 32) != 0) {
        return EXI_EFORMAT;
    }
    lb_say(t, "block %u ", h);
    lb_say_hash(t, hash.b);
    lb_say(t, " %u", ntx);
    for (uint32_t i = 0; i < ntx && rc == EXI_OK; i++) {
        rc = exi_block_txid(v, h, i, &id);
        lb_say(t, " %02x%02x", id.b[0], id.b[1]);
        rc = rc ? rc : exi_block_branch(v, &lb_arena, h, i, branch, &n);
        if (rc == EXI_OK) {
            memcpy(leaf.b, id.b, 32);
            exi_merkle_climb(&root, &leaf, branch, n, i);
            rc = memcmp(root.b, header + 36, 32) ? EXI_EFORMAT : EXI_OK;
        }
    }
    lb_say(t, "\n");
    return rc;
}

/* Blocks and transactions, from a view. */
LB_UNUSED static int
lb_view_chain(struct lb_text *t, const struct lb *lb, struct exi_view *v)
{
    const struct exi_live_state *st = exi_view_state(v);
    const uint8_t *raw;
    size_t len;
    int rc = EXI_OK;

    lb_say(t, "tip %u\n", st->tip_height);
    for (uint32_t h = 0; h <= st->tip_height && rc == EXI_OK; h++) {
        rc = lb_view_block(t, v, h);
    }
    for (int i = 0; i < lb->ntx && rc == EXI_OK; i++) {
        struct exi_txpos p;
        rc = exi_tx_find(v, &lb->tx[i].id, &p);
        if (rc == EXI_ENOTFOUND) {
            lb_say(t, "tx %d none\n", i);
            rc = EXI_OK;
            continue;
        }
        if (rc) {
            break;
        }
        if (p.confirmed) {
            lb_say(t, "tx %d in %d:%u\n", i, p.height, p.pos);
        } else {
            lb_say(t, "tx %d mempool %lld\n", i, (long long) p.fee_sat);
        }
        rc = exi_tx_raw(v, &p, &raw, &len);
        if (rc == EXI_OK
            && (len != lb->tx[i].len || memcmp(raw, lb->tx[i].raw, len))) {
            rc = EXI_EFORMAT;
        }
        rc = rc == EXI_ENOTFOUND && !p.live ? EXI_OK : rc;
    }
    return rc;
}

/* Are two dumps equal?  If not, shows the first lines that differ. */
LB_UNUSED static bool
lb_same(const struct lb_text *got, const struct lb_text *want)
{
    size_t i = 0, line = 0;

    while (i < got->n && i < want->n && got->p[i] == want->p[i]) {
        if (got->p[i++] == '\n') {
            line = i;
        }
    }
    if (i == got->n && i == want->n) {
        return true;
    }
    printf("# got:  %.*s\n", (int) strcspn(got->p + line, "\n"), got->p + line);
    printf("# want: %.*s\n", (int) strcspn(want->p + line, "\n"),
           want->p + line);
    return false;
}

#endif /* LIVEBUILD_H */
