/*
 * chaingen: one transaction: which outputs it spends, what it pays to whom,
 * its bytes.
 *
 * The order in which random numbers are drawn is part of the chain.
 */
#include "chaingen.h"

struct cg_block cg_block;
int64_t cg_cold_cap;
uint64_t cg_next_single = CG_SINGLE;

struct txout {
    int64_t value;
    uint64_t key;
    uint32_t when; /* as in cg_add_utxo() */
    int kind;
};

/* The transaction being made. */
static struct {
    uint32_t in[CG_MAX_IN]; /* slots */
    uint32_t nin;
    struct txout out[CG_MAX_OUT + 1];
    uint32_t nout;
    int64_t sum; /* of the inputs */
    int64_t fee;
    uint32_t txno;
    uint32_t height;
    double progress;
    bool witness;
    int opret; /* position of the OP_RETURN output, or -1 */
} tx;

static const double in_light[4] = { 0.75, 0.95, 1.0, 1.0 };
static const double in_heavy[4] = { 0.15, 0.45, 0.75, 1.0 };
static const double out_share[5] = { 0.12, 0.72, 0.87, 0.95, 1.0 };

/* 1 ... n by cumulated shares. */
static uint32_t
draw(const double *cdf, uint32_t n)
{
    double u = cg_rndf();
    uint32_t i = 0;

    while (i < n - 1 && u >= cdf[i]) {
        i++;
    }
    return i + 1;
}

/* Blocks until an output is spent. */
static uint32_t
lifetime(void)
{
    const struct cg_opts *o = &cg_opts;
    double u = cg_rndf(), v;

    if (u < o->age_same) {
        return 0;
    }
    if (u < o->age_same + o->age_long) {
        return (uint32_t) cg_log_uniform(1, o->age_long_max + 1.0);
    }
    v = 1 - cg_rndf(); /* exponential with mean age_mean, at least 1 */
    return 1
           + (uint32_t) (-cg_log2(v) * 0.69314718055994531
                         * (o->age_mean > 1 ? o->age_mean - 1 : 0));
}

/* ---- inputs ---- */

static uint32_t
count_inputs(uint32_t remaining)
{
    uint32_t n = draw(cg_ready.n > 1.9 * remaining ? in_heavy : in_light, 4);

    if (cg_chance(cg_opts.consolidate)) {
        n = 60 + (uint32_t) cg_below(CG_MAX_IN - 59);
    }
    if (cg_ready.n == 0) {
        n = n > 50 ? n : 1;
    }
    if (n > (uint64_t) cg_ready.n + cg_cold.n) {
        n = cg_ready.n + cg_cold.n;
    }
    return n;
}

static size_t
age_class(uint32_t age)
{
    return age == 0      ? 0
           : age == 1    ? 1
           : age <= 6    ? 2
           : age <= 144  ? 3
           : age <= 1000 ? 4
                         : 5;
}

static void
choose_inputs(uint32_t remaining)
{
    tx.nin = count_inputs(remaining);
    tx.sum = 0;
    tx.witness = false;
    for (uint32_t i = 0; i < tx.nin; i++) {
        bool cold =
            cg_ready.n == 0 || (cg_cold.n > 0 && cg_chance(cg_opts.cold_spend));
        const struct cg_utxo *u;
        int kind;

        tx.in[i] = cg_pop(cold ? &cg_cold : &cg_ready);
        u = &cg_utxos[tx.in[i]];
        tx.sum += u->value;
        kind = cg_key_kind(u->key);
        tx.witness |= kind == CG_P2WSH || kind == CG_P2SH_P2WSH;
        cg_touch(u->key, -u->value, -1, tx.txno);
        if (u->key >= CG_SINGLE) {
            cg_reserve(&cg_spent, u->key, 0);
        }
        cg_totals.kind_utxos[kind]--;
        cg_totals.utxos--;
        cg_totals.age[age_class(tx.height - u->height)]++;
    }
    cg_totals.ins += tx.nin;
    cg_totals.amount -= tx.sum;
}

/* ---- outputs ---- */

static uint64_t
count_keys(void)
{
    uint64_t n = (uint64_t) ((double) cg_pool * tx.progress);

    return n >= 64 ? n : cg_pool < 64 ? cg_pool : 64;
}

/* Whom an output pays; left: how many are still to come, this one too. */
static uint64_t
choose_key(uint32_t left, uint64_t nkeys)
{
    uint64_t in_key = cg_utxos[tx.in[0]].key;
    const struct cg_totals *t = &cg_totals;
    double p = cg_opts.reuse;

    if (left == 1 && in_key < cg_pool && cg_chance(0.5)) {
        return in_key; /* change back to the sender */
    }
    p *= (double) t->reused > p * (double) (t->reused + t->single) ? 0.7 : 1.3;
    if (nkeys > 0 && cg_chance(p)) {
        return cg_chance(0.75) ? cg_zipf(nkeys) : nkeys - 1 - cg_zipf(nkeys);
    }
    return cg_next_single++;
}

/* Value of an output of which `left` are still to come and `rest` is left. */
static int64_t
choose_value(uint32_t left, int64_t rest, bool stays)
{
    int64_t v;

    if (left == 1) {
        return rest;
    }
    v = stays ? cg_log_uniform(CG_MIN_OUT, (double) cg_cold_cap)
              : (int64_t) ((double) rest / left * (0.1 + 1.8 * cg_rndf()));
    return v > rest - (int64_t) CG_MIN_OUT * (left - 1) ? rest / left : v;
}

static void
choose_output(struct txout *out, uint32_t left, int64_t *rest, uint64_t nkeys)
{
    bool stays;
    uint32_t life;

    out->key = choose_key(left, nkeys);
    out->kind = cg_key_kind(out->key);
    stays = !cg_spendable(out->kind) || cg_chance(cg_block.p_cold);
    if (left == 1 && stays && *rest > cg_cold_cap) { /* money must move */
        stays = false;
        while (!cg_spendable(out->kind)) {
            out->key = cg_next_single++;
            out->kind = cg_key_kind(out->key);
        }
    }
    out->value = choose_value(left, *rest, stays);
    *rest -= out->value;
    out->when = CG_NIL;
    if (!stays) {
        life = lifetime();
        out->when = life > 0 ? tx.height + life : 0;
    }
}

static void
choose_outputs(void)
{
    uint32_t n = cg_chance(cg_opts.payout)
                     ? 200 + (uint32_t) cg_below(CG_MAX_OUT - 199)
                     : draw(out_share, 5);
    int64_t rest, most;
    uint64_t nkeys = count_keys();

    tx.fee = (int64_t) ((tx.nin * 70 + n * 36 + 11) * cg_exp2(cg_rndf() * 4.3));
    tx.fee = tx.fee > tx.sum / 10 ? tx.sum / 10 : tx.fee;
    rest = tx.sum - tx.fee;
    most = rest / (CG_MIN_OUT * 10);
    if (n > most) {
        n = most < 1 ? 1 : (uint32_t) most;
    }
    tx.nout = n;
    for (uint32_t i = 0; i < n; i++) {
        choose_output(&tx.out[i], n - i, &rest, nkeys);
    }
    if (n > 1) { /* the last is the change: at a random place */
        size_t j = (size_t) cg_below(n);
        struct txout t = tx.out[j];

        tx.out[j] = tx.out[n - 1];
        tx.out[n - 1] = t;
    }
    cg_block.fees += tx.fee;
    cg_totals.fees += tx.fee;
}

/* ---- bytes ---- */

/* scriptSig without its length's place: it is at most 252 bytes. */
static uint8_t *
write_script_sig(uint8_t *p, uint64_t key, int kind, const uint8_t *s, size_t n)
{
    uint8_t *len = p++;

    if (kind == CG_P2SH) {
        if (cg_opts.pad) {
            p = cg_key_dummies(p, key);
        }
        *p++ = (uint8_t) n;
        p = cg_wbytes(p, s, n);
    } else if (kind == CG_P2SH_P2WSH) {
        *p++ = 34;
        *p++ = 0;
        *p++ = 32;
        cg_sha256(s, n, p);
        p += 32;
    }
    *len = (uint8_t) (p - len - 1);
    return p;
}

static uint8_t *
write_witness(uint8_t *w, uint64_t key, int kind, const uint8_t *s, size_t n)
{
    if (kind != CG_P2WSH && kind != CG_P2SH_P2WSH) {
        *w++ = 0;
        return w;
    }
    *w++ = cg_opts.pad ? 3 : 1;
    if (cg_opts.pad) {
        w = cg_key_dummies(w, key);
    }
    *w++ = (uint8_t) n;
    return cg_wbytes(w, s, n);
}

static uint8_t *
write_inputs(uint8_t *p, uint8_t **w, uint32_t sequence)
{
    p = cg_wvar(p, tx.nin);
    for (uint32_t i = 0; i < tx.nin; i++) {
        const struct cg_utxo *u = &cg_utxos[tx.in[i]];
        int kind = cg_key_kind(u->key);
        uint8_t s[16];
        size_t n = cg_key_inner(u->key, kind, s);

        p = cg_wbytes(p, u->txid, sizeof(u->txid));
        p = cg_w32(p, u->vout);
        p = write_script_sig(p, u->key, kind, s, n);
        p = cg_w32(p, sequence);
        *w = write_witness(*w, u->key, kind, s, n);
    }
    return p;
}

/* 20 ... 80 bytes of data. */
static uint8_t *
write_op_return(uint8_t *p)
{
    uint8_t n = (uint8_t) (20 + cg_below(61));

    p = cg_w64(p, 0);
    *p++ = n + 2 + (n > 75);
    *p++ = 0x6a;
    if (n > 75) {
        *p++ = 0x4c;
    }
    *p++ = n;
    cg_fill(p, n);
    cg_totals.outs++;
    cg_totals.opret++;
    return p + n;
}

static uint8_t *
write_outputs(uint8_t *p)
{
    uint32_t v = 0;

    tx.opret = cg_chance(cg_opts.op_return) ? (int) cg_below(tx.nout + 1) : -1;
    p = cg_wvar(p, tx.nout + (tx.opret >= 0));
    for (int i = 0; v < tx.nout || i == tx.opret; i++) {
        size_t n;

        if (i == tx.opret) {
            p = write_op_return(p);
            continue;
        }
        p = cg_w64(p, (uint64_t) tx.out[v].value);
        n = cg_key_script(tx.out[v].key, tx.out[v].kind, p + 1);
        *p = (uint8_t) n;
        p += 1 + n;
        v++;
    }
    return p;
}

/* Appends the transaction to the block; raw: without witness. */
static void
append(const uint8_t *raw, size_t n, const uint8_t *witness, size_t wn)
{
    struct cg_block *b = &cg_block;
    uint8_t *start = b->txs + b->txslen, *t;

    cg_sha256d(raw, n, b->txids[b->ntx]);
    if (tx.witness) {
        t = cg_wbytes(start, raw, 4);
        *t++ = 0;
        *t++ = 1;
        t = cg_wbytes(t, raw + 4, n - 8);
        t = cg_wbytes(t, witness, wn);
        t = cg_wbytes(t, raw + n - 4, 4);
        cg_sha256d(start, (size_t) (t - start), b->wtxids[b->ntx]);
        cg_totals.witness_txs++;
    } else {
        t = cg_wbytes(start, raw, n);
        memcpy(b->wtxids[b->ntx], b->txids[b->ntx], 32);
    }
    b->txslen += (size_t) (t - start);
    b->stripped += n;
    b->ntx++;
}

static void
serialize(void)
{
    static uint8_t raw[CG_MAX_IN * 200 + CG_MAX_OUT * 50 + 256];
    static uint8_t witness[CG_MAX_IN * 140];
    bool locktime = cg_chance(0.3);
    uint32_t sequence = locktime         ? 0xfffffffe
                        : cg_chance(0.7) ? 0xfffffffd
                                         : 0xffffffff;
    uint8_t *w = witness;
    uint8_t *p = cg_w32(raw, cg_chance(0.85) ? 2 : 1);

    p = write_inputs(p, &w, sequence);
    p = write_outputs(p);
    p = cg_w32(p, locktime ? tx.height - 1 : 0);
    append(raw, (size_t) (p - raw), witness, (size_t) (w - witness));
}

void
cg_make_tx(uint32_t height, uint32_t remaining, double progress)
{
    const uint8_t *txid = cg_block.txids[cg_block.ntx];

    tx.txno = (uint32_t) ++cg_totals.txs;
    tx.height = height;
    tx.progress = progress;
    choose_inputs(remaining);
    choose_outputs();
    serialize();
    for (uint32_t i = 0; i < tx.nin; i++) {
        cg_free_utxo(tx.in[i]);
    }
    for (uint32_t v = 0; v < tx.nout; v++) {
        const struct txout *out = &tx.out[v];
        uint32_t vout = v + (tx.opret >= 0 && (int) v >= tx.opret);

        cg_count_output(out->key, out->kind, out->value, tx.txno);
        if (cg_spendable(out->kind)) {
            cg_add_utxo(txid, vout, out->value, out->key, height, out->when);
        }
    }
}
