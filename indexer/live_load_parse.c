/*
 * Loading blocks into a new live environment: a block -> transactions, txids
 * and script keys.  Most of the hashing is here; it knows nothing of other
 * blocks, so any number of threads do it.
 */
#include "live_load_int.h"

#include <stdlib.h>

#include "lib/exi_merkle.h"
#include "lib/exi_script.h"
#include "lib/exi_sha256.h"

void
load_block_free(struct load_block *b)
{
    free(b->raw);
    free(b->tx);
    free(b->e);
    free(b->txids);
    free(b->values.p);
    memset(b, 0, sizeof *b);
}

/* Room for n more effects. */
static int
room(struct load_block *b, size_t n)
{
    size_t cap = b->cap_e ? b->cap_e : 1024;
    struct live_effect *e;

    if (b->ne + n <= b->cap_e) {
        return EXI_OK;
    }
    while (cap < b->ne + n) {
        cap *= 2;
    }
    e = realloc(b->e, cap * sizeof *e);
    if (e == NULL) {
        return EXI_ENOMEM;
    }
    b->e = e;
    b->cap_e = cap;
    return EXI_OK;
}

static int
parse_outs(struct load_block *b, struct load_tx *t)
{
    const uint8_t *p = t->tx.outs;
    struct exi_txout out;
    struct exi_shash h;

    for (uint32_t i = 0; i < t->tx.nout; i++) {
        struct live_effect *e = &b->e[b->ne];
        p = exi_txout_next(&out, p);
        if (out.value_sat < 0
            || __builtin_add_overflow(t->out_sat, out.value_sat, &t->out_sat)) {
            return EXI_EFORMAT;
        }
        if (exi_script_unspendable(out.script, out.scriptlen)) {
            continue;
        }
        exi_script_hash(&h, out.script, out.scriptlen);
        memset(e, 0, sizeof *e);
        e->s = exi_skey(&h);
        e->index = e->order = i;
        e->value_sat = out.value_sat;
        b->ne++;
        t->nout++;
    }
    return EXI_OK;
}

static void
parse_ins(struct load_block *b, const struct load_tx *t)
{
    const uint8_t *p = t->tx.ins;
    struct exi_txin in;

    for (uint32_t i = 0; i < t->tx.nin && !t->tx.coinbase; i++) {
        struct live_effect *e = &b->e[b->ne++];
        p = exi_txin_next(&in, p);
        memset(e, 0, sizeof *e);
        e->spend = true;
        e->index = in.prev_index;
        e->order = i;
        e->prev_txid = in.prev_txid;
        b->nin++;
    }
}

static int
parse_tx(struct load_block *b, uint32_t pos)
{
    struct load_tx *t = &b->tx[pos];
    size_t ne = b->ne;
    int rc;

    if (t->tx.coinbase != (pos == 0)) {
        return EXI_EFORMAT;
    }
    exi_tx_id(&t->txid, &t->tx);
    memcpy(b->txids + (size_t) pos * EXI_HASH_LEN, t->txid.b, EXI_HASH_LEN);
    t->block = b;
    rc = room(b, (size_t) t->tx.nin + t->tx.nout);
    if (rc == EXI_OK) {
        rc = parse_outs(b, t);
    }
    if (rc == EXI_OK) {
        parse_ins(b, t);
        t->n = (uint32_t) (b->ne - ne);
    }
    return rc;
}

static int
check_root(const struct load_block *b)
{
    struct exi_hash root,
        *leaves = malloc(((size_t) b->b.ntx + 1) * sizeof *leaves);
    int rc = EXI_ENOMEM;

    if (leaves != NULL) {
        memcpy(leaves, b->txids, (size_t) b->b.ntx * sizeof *leaves);
        rc = exi_merkle(&root, NULL, NULL, leaves, b->b.ntx, 0);
    }
    if (rc == EXI_OK && memcmp(root.b, b->raw + 36, EXI_HASH_LEN) != 0) {
        rc = EXI_EFORMAT;
    }
    free(leaves);
    return rc;
}

/* The effects have their place now. */
static void
give_effects(struct load_block *b)
{
    struct live_effect *e = b->e;

    for (uint32_t i = 0; i < b->b.ntx; i++) {
        b->tx[i].e = e;
        e += b->tx[i].n;
    }
}

int
load_parse(struct load_block *b)
{
    uint8_t hash[EXI_HASH_LEN];
    uint32_t n = 0;
    int rc = exi_block_open(&b->b, b->raw, b->rawlen);

    if (rc || b->b.ntx == 0) {
        return EXI_EFORMAT;
    }
    exi_sha256d(hash, b->raw, EXI_HEADER_LEN);
    if (memcmp(hash, b->hash.b, EXI_HASH_LEN) != 0) {
        return EXI_EFORMAT;
    }
    b->tx = calloc(b->b.ntx, sizeof *b->tx);
    b->txids = malloc((size_t) b->b.ntx * EXI_HASH_LEN);
    if (b->tx == NULL || b->txids == NULL) {
        return EXI_ENOMEM;
    }
    while (n < b->b.ntx && (rc = exi_block_next(&b->b, &b->tx[n].tx)) == 1) {
        rc = parse_tx(b, n++);
        if (rc) {
            return rc;
        }
    }
    if (n == b->b.ntx) {
        struct exi_tx none;
        rc = exi_block_next(&b->b, &none);
    }
    if (rc != 0 || n != b->b.ntx) {
        return EXI_EFORMAT;
    }
    give_effects(b);
    return check_root(b);
}
