/*
 * Blocks -> batch in memory.
 *
 * An input's output is looked for among the batch's own transactions first
 * (hash table of txids), then in the settled index (`T` -> txnum -> `O`).
 * Outputs made and spent within the batch never become rows.  History is
 * gathered with repetitions, which are dropped after sorting.
 *
 * Where blocks may be in canonical order (EXI_COIN_CTOR), all outputs of a
 * block are entered before its inputs are looked up.
 *
 * Blocks come from the node, which has validated them.  Checked here is what
 * would break the index: the form, the link, the Merkle root, that no
 * transaction comes twice in a block and that every input has an output.
 */
#include "settle_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/exi_coin.h"
#include "lib/exi_merkle.h"
#include "lib/exi_script.h"
#include "lib/exi_sha256.h"
#include "lib/exi_token.h"
#include "lib/exi_tx.h"

/* Transactions and outputs of a batch: numbers fit 32 bits by far. */
#define BATCH_MAX (1u << 30)

int
settle_grow(void *p, size_t *cap, size_t need, size_t size)
{
    void *old, *q;
    size_t n = *cap ? *cap : 64;

    if (need <= *cap) {
        return EXI_OK;
    }
    while (n < need) {
        n += n / 2 + 1;
    }
    memcpy(&old, p, sizeof(old));
    q = realloc(old, n * size);
    if (q == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(p, &q, sizeof(q));
    *cap = n;
    return EXI_OK;
}

void
settle_batch_init(struct settle_batch *b)
{
    memset(b, 0, sizeof(*b));
    if (getrandom(&b->hash_key, sizeof(b->hash_key), 0)
        != (ssize_t) sizeof(b->hash_key)) {
        b->hash_key = (uint64_t) (uintptr_t) b * 0x9e3779b97f4a7c15u;
    }
    b->hash_key |= 1;
}

void
settle_batch_free(struct settle_batch *b)
{
    free(b->headers);
    free(b->txcounts);
    free(b->sizes);
    free(b->hmerkle);
    free(b->txids);
    free(b->offsets);
    free(b->first_out);
    free(b->outs);
    free(b->tokens);
    free(b->token_bytes);
    free(b->hist);
    free(b->dels);
    free(b->spends);
    free(b->dups);
    free(b->dead);
    free(b->slots);
    free(b->leaves);
    memset(b, 0, sizeof(*b));
}

void
settle_batch_reset(struct settle_batch *b)
{
    b->nblocks = 0;
    b->nhmerkle = b->ntx = b->nout = b->nhist = b->ndel = 0;
    b->nspend = b->ndup = b->ndead = 0;
    b->ntoken = b->ntoken_bytes = 0;
    if (b->nslots != 0) {
        memset(b->slots, 0, b->nslots * sizeof(*b->slots));
    }
}

bool
settle_batch_dead(const struct settle_batch *b, uint32_t tx)
{
    for (size_t i = 0; i < b->ndead; i++) {
        if (b->dead[i] == tx) {
            return true;
        }
    }
    return false;
}

/* Slot that holds the txid, or the empty one where it belongs. */
static size_t
slot_of(const struct settle_batch *b, const uint8_t *txid)
{
    size_t i =
        (size_t) ((exi_le64(txid) * b->hash_key) >> 20) & (b->nslots - 1);

    while (b->slots[i] != 0
           && memcmp(b->txids[b->slots[i] - 1].b, txid, EXI_HASH_LEN) != 0) {
        i = (i + 1) & (b->nslots - 1);
    }
    return i;
}

/* Room for one more transaction in the hash table (at most half full). */
static int
slots_grow(struct settle_batch *b)
{
    uint32_t *old = b->slots;
    size_t n = b->nslots ? b->nslots * 2 : 1024, nold = b->nslots;

    if ((b->ntx + 1) * 2 <= b->nslots) {
        return EXI_OK;
    }
    b->slots = calloc(n, sizeof(*b->slots));
    if (b->slots == NULL) {
        b->slots = old;
        return EXI_ENOMEM;
    }
    b->nslots = n;
    for (size_t i = 0; i < nold; i++) {
        if (old[i] != 0) {
            b->slots[slot_of(b, b->txids[old[i] - 1].b)] = old[i];
        }
    }
    free(old);
    return EXI_OK;
}

/* The transaction touches the script. */
static int
add_hist(struct settle_batch *b, const struct exi_skey *s, uint32_t tx)
{
    struct settle_rec *r = b->hist + b->nhist;
    uint64_t hi = exi_be64(s->b);
    uint64_t lo = (uint64_t) exi_be32(s->b + 8) << 16 | (uint64_t) s->b[12] << 8
                  | s->b[13];
    int rc;

    if (b->nhist > 0 && r[-1].v == tx && r[-1].hi == hi && r[-1].lo == lo) {
        return EXI_OK;
    }
    rc = settle_grow(&b->hist, &b->cap_hist, b->nhist + 1, sizeof(*b->hist));
    if (rc != EXI_OK) {
        return rc;
    }
    r = b->hist + b->nhist++;
    r->hi = hi;
    r->lo = lo;
    r->v = tx;
    r->w = 0;
    return EXI_OK;
}

/* Spends an output of the batch. */
static int
spend_batch(struct settle_batch *b, uint32_t owner, uint32_t index, uint32_t tx)
{
    uint32_t first = b->first_out[owner];
    struct settle_out *o;

    if (index >= b->first_out[owner + 1] - first) {
        return EXI_EFORMAT;
    }
    o = &b->outs[first + index];
    if (o->state != OUT_UNSPENT || owner == tx) {
        return EXI_EFORMAT;
    }
    o->state = OUT_SPENT;
    return add_hist(b, &o->s, tx);
}

/* Spends a settled output. */
static int
spend_settled(struct settle *s, const struct exi_txid *txid, uint32_t index,
              uint32_t tx, uint64_t *txnum)
{
    struct settle_batch *b = &s->batch;
    struct settle_del d = { .index = index };
    int rc = settle_find_txid(s, txid, &d.txnum);

    if (rc == EXI_OK) {
        rc = settle_find_out(s, d.txnum, index, &d.s);
    }
    if (rc == EXI_ENOTFOUND) {
        return EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        rc = settle_grow(&b->dels, &b->cap_del, b->ndel + 1, sizeof(*b->dels));
    }
    if (rc == EXI_OK) {
        b->dels[b->ndel++] = d;
        *txnum = d.txnum;
        rc = add_hist(b, &d.s, tx);
    }
    return rc;
}

static int
add_input(struct settle *s, const struct exi_txin *in, uint32_t tx)
{
    struct settle_batch *b = &s->batch;
    uint32_t owner = b->slots[slot_of(b, in->prev_txid)];
    struct exi_txid txid;
    uint64_t txnum;
    int rc;

    if (owner != 0) {
        rc = spend_batch(b, owner - 1, in->prev_index, tx);
        txnum = b->first_txnum + owner - 1;
    } else {
        memcpy(txid.b, in->prev_txid, EXI_HASH_LEN);
        rc = spend_settled(s, &txid, in->prev_index, tx, &txnum);
    }
    if (rc != EXI_OK || !s->params.spender) {
        return rc;
    }
    rc = settle_grow(&b->spends, &b->cap_spend, b->nspend + 1,
                     sizeof(*b->spends));
    if (rc == EXI_OK) {
        struct settle_spend *p = &b->spends[b->nspend++];

        p->txnum = txnum;
        p->index = in->prev_index;
        p->by = tx;
    }
    return rc;
}

static int
add_inputs(struct settle *s, const struct exi_tx *t, uint32_t tx)
{
    const uint8_t *p = t->ins;
    struct exi_txin in;
    int rc = EXI_OK;

    for (uint32_t i = 0; rc == EXI_OK && i < t->nin; i++) {
        p = exi_txin_next(&in, p);
        rc = add_input(s, &in, tx);
    }
    return rc;
}

const uint8_t *
settle_batch_token(const struct settle_batch *b, uint32_t out, size_t *len)
{
    size_t low = 0, high = b->ntoken;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (b->tokens[mid].out < out) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == b->ntoken || b->tokens[low].out != out) {
        *len = 0;
        return NULL;
    }
    *len = b->tokens[low].len;
    return b->token_bytes + b->tokens[low].at;
}

/* Notes token data of the output added last. */
static int
add_token(struct settle_batch *b, const uint8_t *data, size_t len)
{
    int rc = settle_grow(&b->tokens, &b->cap_token, b->ntoken + 1,
                         sizeof(*b->tokens));

    if (rc == EXI_OK) {
        rc = settle_grow(&b->token_bytes, &b->cap_token_bytes,
                         b->ntoken_bytes + len, 1);
    }
    if (rc == EXI_OK && b->ntoken_bytes + len > UINT32_MAX) {
        rc = EXI_ELIMIT;
    }
    if (rc == EXI_OK) {
        b->tokens[b->ntoken++] =
            (struct settle_token){ .out = (uint32_t) b->nout - 1,
                                   .at = (uint32_t) b->ntoken_bytes,
                                   .len = (uint32_t) len };
        memcpy(b->token_bytes + b->ntoken_bytes, data, len);
        b->ntoken_bytes += len;
    }
    return rc;
}

/*
 * Outputs of a transaction; none of the genesis block have rows.  Their history
 * is added by add_output_hist().
 */
static int
add_outputs(struct settle *s, const struct exi_tx *t, bool genesis)
{
    struct settle_batch *b = &s->batch;
    const uint8_t *p = t->outs;
    struct exi_txout x;
    struct exi_shash h;
    size_t token;
    int rc =
        settle_grow(&b->outs, &b->cap_out, b->nout + t->nout, sizeof(*b->outs));

    for (uint32_t i = 0; rc == EXI_OK && i < t->nout; i++) {
        struct settle_out *o = &b->outs[b->nout++];

        p = exi_txout_next(&x, p);
        token = exi_token_strip(&x, s->coin);
        o->value_sat = x.value_sat;
        o->state = OUT_NO_ROWS;
        if (genesis || exi_script_unspendable(x.script, x.scriptlen)) {
            continue;
        }
        exi_script_hash(&h, x.script, x.scriptlen);
        o->s = exi_skey(&h);
        o->state = OUT_UNSPENT;
        if (token > 0) {
            rc = add_token(b, x.script - token, token);
        }
    }
    return rc;
}

/* The transaction funds scripts; its outputs are added. */
static int
add_output_hist(struct settle_batch *b, uint32_t tx)
{
    int rc = EXI_OK;

    for (uint32_t i = b->first_out[tx];
         rc == EXI_OK && i < b->first_out[tx + 1]; i++) {
        if (b->outs[i].state != OUT_NO_ROWS) {
            rc = add_hist(b, &b->outs[i].s, tx);
        }
    }
    return rc;
}

/* A transaction of the batch is replaced by a later one with its txid. */
static int
replace_in_batch(struct settle_batch *b, uint32_t old)
{
    int rc =
        settle_grow(&b->dead, &b->cap_dead, b->ndead + 1, sizeof(*b->dead));

    if (rc != EXI_OK) {
        return rc;
    }
    b->dead[b->ndead++] = old;
    for (uint32_t i = b->first_out[old]; i < b->first_out[old + 1]; i++) {
        if (b->outs[i].state != OUT_NO_ROWS) {
            b->outs[i].state = OUT_REPLACED;
        }
    }
    return EXI_OK;
}

/* Only a coinbase can have the txid of a settled transaction (BIP 30). */
static int
check_settled_dup(struct settle *s, const struct exi_txid *txid, uint32_t tx)
{
    struct settle_batch *b = &s->batch;
    uint64_t old;
    int rc = settle_find_txid(s, txid, &old);

    if (rc != EXI_OK) {
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    rc = settle_grow(&b->dups, &b->cap_dup, b->ndup + 1, sizeof(*b->dups));
    if (rc == EXI_OK) {
        b->dups[b->ndup].old_txnum = old;
        b->dups[b->ndup].tx = tx;
        b->ndup++;
    }
    return rc;
}

/* Enters the txid of tx, whose outputs are added, into the table. */
static int
add_txid(struct settle *s, const struct exi_tx *t, uint32_t tx,
         uint32_t block_first)
{
    struct settle_batch *b = &s->batch;
    size_t slot = slot_of(b, b->txids[tx].b);
    uint32_t old = b->slots[slot];

    b->slots[slot] = tx + 1;
    if (old == 0) {
        return t->coinbase && s->any ? check_settled_dup(s, &b->txids[tx], tx)
                                     : EXI_OK;
    }
    if (old - 1 >= block_first) {
        return EXI_EFORMAT;
    }
    return replace_in_batch(b, old - 1);
}

/* Room for one more transaction. */
static int
tx_room(struct settle_batch *b)
{
    size_t cap = b->cap_tx, c = cap;
    int rc;

    if (b->ntx + 2 <= cap) {
        return slots_grow(b);
    }
    rc = settle_grow(&b->txids, &c, cap + 2, sizeof(*b->txids));
    if (rc == EXI_OK) {
        c = cap;
        rc = settle_grow(&b->offsets, &c, cap + 2, sizeof(*b->offsets));
    }
    if (rc == EXI_OK) {
        c = cap;
        rc = settle_grow(&b->first_out, &c, cap + 2, sizeof(*b->first_out));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    b->cap_tx = c;
    return slots_grow(b);
}

/* A transaction with its outputs, and its inputs unless they come later. */
static int
add_tx(struct settle *s, const struct exi_tx *t, uint32_t offset,
       uint32_t block_first, bool genesis)
{
    struct settle_batch *b = &s->batch;
    uint32_t tx = (uint32_t) b->ntx;
    bool later = s->coin & EXI_COIN_CTOR;
    int rc = tx_room(b);

    if (rc != EXI_OK) {
        return rc;
    }
    exi_tx_id(&b->txids[tx], t);
    b->offsets[tx] = offset;
    b->first_out[tx] = (uint32_t) b->nout;
    /* Not in the table yet: it can't spend its own outputs. */
    rc = t->coinbase || later ? EXI_OK : add_inputs(s, t, tx);
    if (rc == EXI_OK) {
        rc = add_outputs(s, t, genesis);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    b->first_out[tx + 1] = (uint32_t) b->nout;
    b->ntx++;
    rc = later ? EXI_OK : add_output_hist(b, tx);
    return rc == EXI_OK ? add_txid(s, t, tx, block_first) : rc;
}

/* The inputs of a block whose transactions are added, and all its history. */
static int
add_later(struct settle *s, const struct exi_block *block, uint32_t first)
{
    struct exi_block bl;
    uint32_t tx = first;
    struct exi_tx t;
    int rc = exi_block_open(&bl, block->buf, block->size);

    if (rc != EXI_OK) {
        return rc;
    }
    while ((rc = exi_block_next(&bl, &t)) == 1) {
        rc = t.coinbase ? EXI_OK : add_inputs(s, &t, tx);
        if (rc == EXI_OK) {
            rc = add_output_hist(&s->batch, tx++);
        }
        if (rc != EXI_OK) {
            return rc;
        }
    }
    return rc;
}

/* All transactions of a block: one coinbase, the first. */
static int
add_txs(struct settle *s, struct exi_block *bl, bool genesis)
{
    uint32_t first = (uint32_t) s->batch.ntx;
    struct exi_tx t;
    int rc;

    while ((rc = exi_block_next(bl, &t)) == 1) {
        if (t.coinbase != (s->batch.ntx == first)) {
            return EXI_EFORMAT;
        }
        rc = add_tx(s, &t, (uint32_t) (t.raw - bl->buf), first, genesis);
        if (rc != EXI_OK) {
            return rc;
        }
    }
    if (rc == EXI_OK && s->batch.ntx == first) {
        return EXI_EFORMAT;
    }
    return rc == EXI_OK && s->coin & EXI_COIN_CTOR ? add_later(s, bl, first)
                                                   : rc;
}

static int
check_root(struct settle_batch *b, const uint8_t *header, size_t first)
{
    size_t n = b->ntx - first;
    struct exi_hash root;
    int rc = settle_grow(&b->leaves, &b->cap_leaves, n, sizeof(*b->leaves));

    if (rc == EXI_OK) {
        memcpy(b->leaves, b->txids + first, n * EXI_HASH_LEN);
        rc = exi_merkle(&root, NULL, NULL, b->leaves, n, 0);
    }
    if (rc == EXI_OK && memcmp(root.b, header + 36, EXI_HASH_LEN) != 0) {
        rc = EXI_EFORMAT;
    }
    return rc;
}

/* Node of the header tree, durable or of the batch. */
static int
read_node(void *ctx, uint64_t index, struct exi_hash *out)
{
    struct settle *s = ctx;
    uint64_t durable = flat_count(s->flat, EXI_FLAT_HMERKLE);

    if (index < durable) {
        return flat_read(s->flat, EXI_FLAT_HMERKLE, index, 1, out);
    }
    if (index - durable >= s->batch.nhmerkle) {
        return EXI_EFORMAT;
    }
    *out = s->batch.hmerkle[index - durable];
    return EXI_OK;
}

static int
add_header(struct settle *s, uint32_t height, const uint8_t *raw, size_t rawlen,
           const struct exi_blkid *hash)
{
    struct settle_batch *b = &s->batch;
    struct exi_hash leaf, nodes[64];
    size_t n, c = b->cap_blocks, k = b->nblocks;
    int rc = settle_grow(&b->headers, &c, k + 1, EXI_HEADER_LEN);

    if (rc == EXI_OK) {
        c = b->cap_blocks;
        rc = settle_grow(&b->txcounts, &c, k + 1, sizeof(*b->txcounts));
    }
    if (rc == EXI_OK) {
        c = b->cap_blocks;
        rc = settle_grow(&b->sizes, &c, k + 1, sizeof(*b->sizes));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    b->cap_blocks = c;
    memcpy(leaf.b, hash->b, EXI_HASH_LEN);
    rc = exi_hmerkle_append(nodes, &n, height, &leaf, read_node, s);
    if (rc == EXI_OK) {
        rc = settle_grow(&b->hmerkle, &b->cap_hmerkle, b->nhmerkle + n,
                         sizeof(*b->hmerkle));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    memcpy(b->hmerkle + b->nhmerkle, nodes, n * sizeof(*nodes));
    b->nhmerkle += n;
    memcpy(b->headers + k * EXI_HEADER_LEN, raw, EXI_HEADER_LEN);
    b->txcounts[k] = b->first_txnum + b->ntx;
    b->sizes[k] = (uint32_t) rawlen;
    b->nblocks++;
    b->tip = *hash;
    return EXI_OK;
}

/* Is it the block that comes next? */
static int
check_link(const struct settle *s, uint32_t height, const uint8_t *header,
           const struct exi_blkid *hash)
{
    const struct settle_batch *b = &s->batch;
    const struct exi_blkid *tip = b->nblocks ? &b->tip : &s->meta.block;
    uint32_t next = (s->any ? s->meta.height + 1 : 0) + b->nblocks;

    if (height != next) {
        return EXI_EAPI;
    }
    if (height == 0) {
        tip = &s->params.genesis;
        return memcmp(hash->b, tip->b, EXI_HASH_LEN) == 0 ? EXI_OK : EXI_EAPI;
    }
    return memcmp(header + 4, tip->b, EXI_HASH_LEN) == 0 ? EXI_OK : EXI_EAPI;
}

static int
add_block(struct settle *s, struct exi_block *bl, uint32_t height,
          const struct exi_blkid *hash)
{
    struct settle_batch *b = &s->batch;
    size_t first = b->ntx;
    int rc;

    if (b->ntx + bl->ntx > BATCH_MAX || b->nout > BATCH_MAX) {
        return EXI_ELIMIT;
    }
    if (b->nblocks == 0) {
        b->first_height = height;
        b->first_txnum = s->any ? s->meta.tx_count : 0;
    }
    rc = add_txs(s, bl, height == 0);
    if (rc == EXI_OK) {
        rc = check_root(b, bl->header, first);
    }
    if (rc == EXI_OK) {
        rc = add_header(s, height, bl->buf, bl->size, hash);
    }
    return rc;
}

int
settle_add(struct settle *s, uint32_t height, const uint8_t *raw, size_t rawlen)
{
    struct exi_block bl;
    struct exi_blkid hash;
    int rc = settle_writable(s);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = exi_block_open(&bl, raw, rawlen);
    if (rc == EXI_OK) {
        exi_sha256d(hash.b, raw, EXI_HEADER_LEN);
        rc = check_link(s, height, raw, &hash);
        if (rc == EXI_EAPI) {
            return rc;
        }
    }
    if (rc == EXI_OK) {
        rc = add_block(s, &bl, height, &hash);
    }
    if (rc != EXI_OK) {
        settle_abort(s);
    }
    return rc;
}

/*
 * What is held now, and at the peak of the commit: the records sorted a second
 * time, and the rows once in the write batch and once in LevelDB's memtable.
 */
size_t
settle_batch_bytes(const struct settle *s)
{
    const struct settle_batch *b = &s->batch;
    size_t held = (size_t) b->nblocks * (EXI_HEADER_LEN + 12)
                  + b->nhmerkle * sizeof(*b->hmerkle)
                  + b->ntx * (sizeof(*b->txids) + 8)
                  + b->nslots * sizeof(*b->slots) + b->nout * sizeof(*b->outs)
                  + b->nhist * sizeof(*b->hist) + b->ndel * sizeof(*b->dels)
                  + b->nspend * sizeof(*b->spends)
                  + b->ntoken * sizeof(*b->tokens) + b->ntoken_bytes;
    size_t peak = b->ntx * 100 + b->nhist * (sizeof(*b->hist) + 100)
                  + b->nout * 200 + b->ndel * 150 + b->nspend * 60
                  + b->ntoken_bytes * 2;

    return held + peak;
}

uint32_t
settle_batch_blocks(const struct settle *s)
{
    return s->batch.nblocks;
}

void
settle_abort(struct settle *s)
{
    settle_batch_reset(&s->batch);
    settle_iter_drop(s);
}
