/*
 * A random chain with the naive model of its index, for tests of the settled
 * layer.  Block h depends on what is below it and on its seed only, so two
 * models with equal seeds up to a height have equal blocks up to there.
 *
 * The model says which rows an index of blocks 0 ... height must have, as
 * "facts": sorted, fixed-size byte strings (kind first), which the test makes
 * out of the real rows as well.
 *
 *     H  script key 14, txnum 5              one history entry
 *     U  script key 14, txnum 5, index 4, amount 8
 *     O  txnum 5, index 4, script key 14
 *     T  bucket 4, 3 bytes of the txid, txnum 5
 *     S  txnum 5, index 4, spending txnum 5
 */
#ifndef CHAINMODEL_H
#define CHAINMODEL_H

#include "blockbuild.h"
#include "rnd.h"

#include "exi_format.h"
#include "exi_script.h"

#define CM_UNUSED __attribute__((unused))
#define CM_FACT   36

struct cm_tx {
    struct exi_txid txid;
    uint32_t height;
    uint32_t pos;
    uint32_t offset;
    size_t first_in, nin;   /* into ins */
    size_t first_out, nout; /* into outs */
};

struct cm_out {
    int64_t value_sat;
    int script;   /* number of the script; -1: has no rows */
    size_t tx;    /* txnum */
    size_t spent; /* txnum of the spender + 1, or 0 */
};

struct cm_block {
    uint8_t *raw;
    size_t rawlen;
    struct exi_blkid hash;
    size_t tx_count; /* in blocks up to this one */
};

struct cm {
    struct cm_block *blocks;
    size_t nblocks;
    struct cm_tx *txs;
    size_t ntxs;
    struct cm_out *outs;
    size_t nouts;
    size_t *ins; /* outs they spend */
    size_t nins;
    size_t *coins; /* unspent outs with rows */
    size_t ncoins;
    uint64_t seed;
    unsigned scripts; /* different ones to pick from */
    unsigned txs_max; /* in a block */
};

struct cm_facts {
    uint8_t (*v)[CM_FACT];
    size_t n;
    size_t cap;
};

/* Grows by doubling: n elements are in use. */
#define CM_ROOM(p, n)                                                          \
    do {                                                                       \
        if (((n) & ((n) -1)) == 0) {                                           \
            (p) = realloc((p), ((n) ? (n) *2 : 1) * sizeof(*(p)));             \
        }                                                                      \
    } while (0)

/* Script number i, its length; script is of 40 bytes. */
static size_t
cm_script(uint8_t *script, int i)
{
    if (i < 0) {
        script[0] = i == -1 ? 0x6a : 0x00;
        script[1] = 0x6a;
        script[2] = 0x01;
        return 3;
    }
    script[0] = 0x51;
    exi_put_le32(script + 1, (uint32_t) i * 2654435761u);
    return 5 + (size_t) (i % 30);
}

static struct exi_skey
cm_skey(int i)
{
    uint8_t script[40] = { 0 };
    struct exi_shash h;

    exi_script_hash(&h, script, cm_script(script, i));
    return exi_skey(&h);
}

CM_UNUSED static void
cm_fact(struct cm_facts *f, const void *kind, const void *a, size_t alen,
        const void *b, size_t blen, const void *c, size_t clen)
{
    uint8_t *p;

    CM_ROOM(f->v, f->n);
    p = f->v[f->n++];
    memset(p, 0, CM_FACT);
    p[0] = *(const uint8_t *) kind;
    memcpy(p + 1, a, alen);
    if (blen != 0) {
        memcpy(p + 1 + alen, b, blen);
    }
    if (clen != 0) {
        memcpy(p + 1 + alen + blen, c, clen);
    }
}

static int
cm_compare(const void *a, const void *b)
{
    return memcmp(a, b, CM_FACT);
}

CM_UNUSED static void
cm_sort(struct cm_facts *f)
{
    if (f->n != 0) {
        qsort(f->v, f->n, CM_FACT, cm_compare);
    }
}

/*
 * Is tx replaced by a later one below ntxs with the same txid?  A coinbase by a
 * coinbase, a transaction by one that spends a coinbase which came twice.
 */
static bool
cm_replaced(const struct cm *m, size_t tx, size_t ntxs)
{
    for (size_t i = m->blocks[m->txs[tx].height].tx_count; i < ntxs; i++) {
        if ((m->txs[i].pos == 0) == (m->txs[tx].pos == 0)
            && memcmp(&m->txs[i].txid, &m->txs[tx].txid, EXI_HASH_LEN) == 0) {
            return true;
        }
    }
    return false;
}

static void
cm_fact_out(const struct cm *m, struct cm_facts *f, size_t out, uint32_t index,
            size_t ntxs)
{
    const struct cm_out *o = &m->outs[out];
    uint8_t tx[5], num[12];
    struct exi_skey s;

    if (o->script < 0 || (o->spent != 0 && o->spent - 1 < ntxs)) {
        return;
    }
    s = cm_skey(o->script);
    exi_put_be40(tx, o->tx);
    exi_put_be32(num, index);
    exi_put_be64(num + 4, (uint64_t) o->value_sat);
    cm_fact(f, "U", s.b, EXI_SKEY_LEN, tx, 5, num, 12);
    cm_fact(f, "O", tx, 5, num, 4, s.b, EXI_SKEY_LEN);
}

/* History of one transaction, each script once. */
static void
cm_fact_hist(const struct cm *m, struct cm_facts *f, size_t tx)
{
    const struct cm_tx *t = &m->txs[tx];
    size_t n = t->nin + t->nout, k = f->n;
    uint8_t num[5];

    exi_put_be40(num, tx);
    for (size_t i = 0; i < n; i++) {
        size_t out =
            i < t->nin ? m->ins[t->first_in + i] : t->first_out + i - t->nin;
        struct exi_skey s;
        size_t j;

        if (m->outs[out].script < 0) {
            continue;
        }
        s = cm_skey(m->outs[out].script);
        for (j = k; j < f->n && memcmp(f->v[j] + 1, s.b, EXI_SKEY_LEN) != 0;
             j++) {
        }
        if (j == f->n) {
            cm_fact(f, "H", s.b, EXI_SKEY_LEN, num, 5, NULL, 0);
        }
    }
}

static void
cm_fact_tx(const struct cm *m, struct cm_facts *f, size_t tx, size_t ntxs,
           const struct exi_params *p)
{
    const struct cm_tx *t = &m->txs[tx];
    uint8_t num[5], bucket[4], idx[9];

    exi_put_be40(num, tx);
    if (p->spender) {
        for (size_t i = 0; i < t->nin; i++) {
            const struct cm_out *o = &m->outs[m->ins[t->first_in + i]];
            uint8_t from[5];

            exi_put_be40(from, o->tx);
            exi_put_be32(idx, (uint32_t) (m->ins[t->first_in + i]
                                          - m->txs[o->tx].first_out));
            cm_fact(f, "S", from, 5, idx, 4, num, 5);
        }
    }
    if (cm_replaced(m, tx, ntxs)) {
        return;
    }
    exi_put_be32(bucket, exi_bucket(t->txid.b, p->txid_bits));
    cm_fact(f, "T", bucket, 4, t->txid.b + p->txid_bits / 8, 3, num, 5);
    cm_fact_hist(m, f, tx);
    for (size_t i = 0; i < t->nout; i++) {
        cm_fact_out(m, f, t->first_out + i, (uint32_t) i, ntxs);
    }
}

/* All facts of blocks 0 ... height, sorted.  The caller frees f->v. */
CM_UNUSED static void
cm_facts(const struct cm *m, struct cm_facts *f, uint32_t height,
         const struct exi_params *p)
{
    size_t ntxs = m->blocks[height].tx_count;

    memset(f, 0, sizeof(*f));
    for (size_t tx = 0; tx < ntxs; tx++) {
        cm_fact_tx(m, f, tx, ntxs, p);
    }
    cm_sort(f);
}

/* Takes the coin at i. */
static size_t
cm_take(struct cm *m, size_t i)
{
    size_t out = m->coins[i];

    m->coins[i] = m->coins[--m->ncoins];
    return out;
}

/* Adds a transaction to the block under way; script[i] for each output. */
CM_UNUSED static void
cm_tx(struct cm *m, struct bb *b, const size_t *ins, size_t nins, uint64_t tag,
      const int *script, size_t nout)
{
    struct bb_in *in = malloc((nins + 1) * sizeof(*in));
    struct bb_out *out = malloc(nout * sizeof(*out));
    uint8_t *code = calloc(nout, 40);
    uint32_t height = (uint32_t) m->nblocks;
    struct cm_tx *t;

    CM_ROOM(m->txs, m->ntxs);
    t = &m->txs[m->ntxs];
    memset(t, 0, sizeof(*t));
    t->height = height;
    t->pos = (uint32_t) b->nids;
    t->offset = (uint32_t) b->txslen; /* completed in cm_close */
    t->first_in = m->nins;
    t->nin = nins;
    t->first_out = m->nouts;
    t->nout = nout;
    for (size_t i = 0; i < nins; i++) {
        struct cm_out *o = &m->outs[ins[i]];

        in[i].txid = m->txs[o->tx].txid;
        in[i].index = (uint32_t) (ins[i] - m->txs[o->tx].first_out);
        o->spent = m->ntxs + 1;
        CM_ROOM(m->ins, m->nins);
        m->ins[m->nins++] = ins[i];
    }
    for (size_t i = 0; i < nout; i++) {
        out[i].scriptlen = cm_script(code + 40 * i, script[i]);
        out[i].script = code + 40 * i;
        /* A coinbase is made of its tag alone, so that it can come twice. */
        out[i].value_sat = nins == 0 ? 5000000000 : (int64_t) rnd_bits(40);
        CM_ROOM(m->outs, m->nouts);
        m->outs[m->nouts++] = (struct cm_out){
            .value_sat = out[i].value_sat,
            .script = height == 0 || script[i] < 0 ? -1 : script[i],
            .tx = m->ntxs,
        };
    }
    bb_tx(b, &t->txid, nins ? in : NULL, nins ? nins : tag, out, nout,
          rnd_below(2) != 0);
    m->ntxs++;
    free(in);
    free(out);
    free(code);
}

/* Outputs of the last transaction can be spent from now on. */
CM_UNUSED static void
cm_mature(struct cm *m, size_t tx)
{
    for (size_t i = 0; i < m->txs[tx].nout; i++) {
        if (m->outs[m->txs[tx].first_out + i].script >= 0) {
            CM_ROOM(m->coins, m->ncoins);
            m->coins[m->ncoins++] = m->txs[tx].first_out + i;
        }
    }
}

/* Ends the block under way. */
CM_UNUSED static void
cm_close(struct cm *m, struct bb *b)
{
    size_t first = m->nblocks ? m->blocks[m->nblocks - 1].tx_count : 0;
    struct cm_block *k;

    CM_ROOM(m->blocks, m->nblocks);
    k = &m->blocks[m->nblocks++];
    bb_finish(b, &k->hash);
    k->raw = malloc(b->rawlen);
    memcpy(k->raw, b->raw, b->rawlen);
    k->rawlen = b->rawlen;
    k->tx_count = m->ntxs;
    for (size_t i = first; i < m->ntxs; i++) {
        m->txs[i].offset += (uint32_t) (b->rawlen - b->txslen);
    }
}

/* Begins block number m->nblocks. */
CM_UNUSED static void
cm_open(struct cm *m, struct bb *b)
{
    bb_begin(b, m->nblocks ? &m->blocks[m->nblocks - 1].hash : NULL,
             (uint32_t) m->seed);
}

static int
cm_pick_script(const struct cm *m)
{
    unsigned r = (unsigned) rnd_below(20);

    if (r < 2) {
        return -1 - (int) r;
    }
    return (int) (r < 6 ? rnd_below(3) : rnd_below(m->scripts));
}

static void
cm_random_tx(struct cm *m, struct bb *b)
{
    size_t ins[8], nin = 1 + (size_t) rnd_below(4);
    int script[8];
    size_t nout = 1 + (size_t) rnd_below(5);

    nin = nin < m->ncoins ? nin : m->ncoins;
    for (size_t i = 0; i < nin; i++) {
        /* Recent ones more often, so that blocks spend their own. */
        size_t back = (size_t) rnd_bits(20) % m->ncoins;

        ins[i] = cm_take(m, m->ncoins - 1 - back);
    }
    for (size_t i = 0; i < nout; i++) {
        script[i] = cm_pick_script(m);
    }
    cm_tx(m, b, ins, nin, 0, script, nout);
    cm_mature(m, m->ntxs - 1);
}

/* A block of random transactions; coinbase: what its tag is. */
CM_UNUSED static void
cm_random_block(struct cm *m, uint64_t seed)
{
    struct bb b = { 0 };
    uint64_t saved = rnd_state;
    unsigned n;
    int script[2];

    m->seed = seed;
    rnd_state = seed * 1000003 + m->nblocks;
    n = (unsigned) rnd_below(m->txs_max + 1);
    cm_open(m, &b);
    script[0] = (int) rnd_below(m->scripts);
    script[1] = -1;
    cm_tx(m, &b, NULL, 0, m->nblocks * 65536 + (seed & 0xffff), script, 2);
    for (unsigned i = 0; i < n && m->ncoins > 0; i++) {
        cm_random_tx(m, &b);
    }
    cm_mature(m, m->blocks == NULL ? 0 : m->blocks[m->nblocks - 1].tx_count);
    cm_close(m, &b);
    bb_free(&b);
    rnd_state = saved;
}

/* Adds random blocks until there are n. */
CM_UNUSED static void
cm_grow(struct cm *m, size_t n, uint64_t seed)
{
    while (m->nblocks < n) {
        cm_random_block(m, seed);
    }
}

CM_UNUSED static void
cm_free(struct cm *m)
{
    for (size_t i = 0; i < m->nblocks; i++) {
        free(m->blocks[i].raw);
    }
    free(m->blocks);
    free(m->txs);
    free(m->outs);
    free(m->ins);
    free(m->coins);
    memset(m, 0, sizeof(*m));
}

#endif /* CHAINMODEL_H */
