/*
 * What the files of chaingen share: options, random numbers, hashes, keys,
 * outputs that can be spent, totals.
 *
 * Every key is a 64-bit id; its kind of script and its script are pure
 * functions of (seed, id):
 *
 *   id < cg_pool                      pool keys: reused, popular by Zipf's law,
 *                                     with exact statistics
 *   cg_pool ... cg_pool + 15          miners' keys: paid by coinbases only
 *   id >= 2^32                        single-use keys: paid once (history 1
 *                                     unspent, 2 spent)
 *
 * Spendable kinds need no signature: S = <8-byte nonce> [OP_2DROP] OP_DROP
 * OP_TRUE, as P2WSH(S), P2SH(S), P2SH-P2WSH(S) or bare (always <nonce> OP_DROP
 * OP_TRUE).  With padding (default) S drops two more items, so that inputs
 * carry a dummy signature and a dummy public key.
 */
#ifndef CHAINGEN_H
#define CHAINGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CG_COIN          100000000LL
#define CG_HALVING       150
#define CG_MATURITY      100
#define CG_MAX_WEIGHT    4000000
#define CG_GENESIS_TIME  1296688602u
#define CG_MAX_IN        250
#define CG_MAX_OUT       800
#define CG_SINGLE        ((uint64_t) 1 << 32)
#define CG_MINERS        16
#define CG_NIL           UINT32_MAX
#define CG_GONE          UINT64_MAX /* key of an output that is spent */
#define CG_MIN_OUT       600        /* smallest but of a coinbase, sat */
#define CG_MEAN_OUT      (2.34 + 0.0004 * 500)
#define CG_MAX_BLOCK_TXS 70000

/* No transaction is begun above this weight; one weighs less than 320,000. */
#define CG_WEIGHT_STOP (CG_MAX_WEIGHT - 420000)

enum cg_kind {
    CG_P2WSH,
    CG_P2SH,
    CG_P2SH_P2WSH,
    CG_BARE, /* the last one that can be spent */
    CG_P2PKH,
    CG_P2WPKH,
    CG_P2TR,
    CG_KINDS
};

struct cg_opts {
    uint32_t blocks;
    uint32_t after; /* the last ones of them, in a file of their own */
    double txs_per_block;
    double growth;
    double plateau;
    uint64_t seed;
    double reuse;
    double zipf;
    uint64_t pool_keys; /* 0: derived */
    double lookalike;
    double op_return;
    double age_same;
    double age_mean;
    double age_long;
    uint32_t age_long_max;
    double cold_spend;
    double utxo_growth;
    double consolidate;
    double payout;
    bool pad;
    bool with_genesis;
    int64_t end_time;
    uint32_t interval;
    const char *out;
    const char *side;
    uint32_t split_mb;
    uint32_t samples;
    uint32_t dump_utxos;
};

/* An output that can be spent. */
struct cg_utxo {
    uint8_t txid[32];
    int64_t value;
    uint64_t key; /* CG_GONE: the slot is free */
    uint32_t vout;
    uint32_t next; /* slot in a list */
    uint32_t height;
};

struct cg_vec {
    uint32_t *v;
    uint32_t n;
    uint32_t cap;
};

/* Of a pool's or miner's key. */
struct cg_stat {
    uint32_t hist;
    uint32_t last_tx;
    uint32_t utxos;
    uint32_t outs;
    int64_t balance;
};

/* A sample of the single-use keys that were seen. */
struct cg_sample {
    uint64_t key;
    int64_t value;
};
struct cg_reservoir {
    struct cg_sample *v;
    uint64_t seen;
};

/* A sample of the transactions. */
struct cg_txsample {
    uint8_t txid[32];
    uint32_t height;
    uint32_t pos;
};

struct cg_totals {
    uint64_t txs, ins, outs, opret, utxos, bytes, single, reused;
    uint64_t weight_max, witness_txs;
    uint64_t kind_outs[CG_KINDS];
    uint64_t kind_utxos[CG_KINDS];
    uint64_t age[6];
    int64_t amount, fees;
};

/* The block being made. */
struct cg_block {
    uint8_t *txs; /* after the coinbase */
    size_t txslen;
    size_t stripped; /* their bytes without witness */
    uint8_t (*txids)[32];
    uint8_t (*wtxids)[32];
    uint32_t ntx;
    int64_t fees;
    double p_cold; /* share of outputs that stay unspent for long */
};

extern struct cg_opts cg_opts;
extern const char *const cg_kind_name[CG_KINDS];
extern uint64_t cg_pool;
extern struct cg_totals cg_totals;
extern struct cg_stat *cg_stats; /* cg_pool + CG_MINERS */
extern struct cg_utxo *cg_utxos; /* slots */
extern uint32_t cg_nutxos;
extern struct cg_vec cg_ready;
extern struct cg_vec cg_cold;
extern uint32_t *cg_due; /* by height: slots that become ready */
extern struct cg_reservoir cg_look, cg_spent;
extern struct cg_txsample *cg_txs; /* cg_opts.samples */
extern uint64_t cg_txs_seen;
extern struct cg_block cg_block;
extern int64_t cg_cold_cap; /* largest value that stays unspent for long */
extern uint64_t cg_next_single;
extern uint8_t cg_prev_hash[32];

/* ---- chaingen.c ---- */

/* Prints a message and ends the program. */
void cg_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void *cg_realloc(void *p, size_t n); /* never NULL */

/* ---- chaingen_rand.c: the same seed gives the same numbers everywhere ---- */

uint64_t cg_mix(uint64_t z); /* bijective */
void cg_seed(uint64_t seed);
/* Puts the state aside, or takes it back: what is drawn in between changes no
 * later number. */
void cg_seed_keep(void);
void cg_seed_back(void);
uint64_t cg_rnd(void);
double cg_rndf(void); /* [0, 1) */
bool cg_chance(double p);
uint64_t cg_below(uint64_t n); /* [0, n) */
void cg_fill(uint8_t *p, size_t n);
double cg_log2(double x);
double cg_pow(double b, double e);
uint64_t cg_zipf(uint64_t n); /* k in [0, n), P(k) ~ 1 / (k + 1)^zipf */
int64_t cg_log_uniform(double lo, double hi);
double cg_exp2(double x);

/* ---- chaingen_key.c: bytes, hashes, scripts ---- */

void cg_sha256(const void *p, size_t n, uint8_t out[32]);
void cg_sha256d(const void *p, size_t n, uint8_t out[32]);
/* Destroys h, which has room for one more. */
void cg_merkle(uint8_t (*h)[32], size_t n, uint8_t out[32]);
void cg_hex_reversed(char *dst, const uint8_t *h, size_t n);
void cg_hex(char *dst, const uint8_t *h, size_t n);

static inline uint8_t *
cg_w32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++, v >>= 8) {
        p[i] = (uint8_t) v;
    }
    return p + 4;
}

static inline uint8_t *
cg_w64(uint8_t *p, uint64_t v)
{
    return cg_w32(cg_w32(p, (uint32_t) v), (uint32_t) (v >> 32));
}

static inline uint8_t *
cg_wbytes(uint8_t *p, const void *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}

/* CompactSize. */
static inline uint8_t *
cg_wvar(uint8_t *p, uint32_t v)
{
    if (v < 0xfd) {
        *p = (uint8_t) v;
        return p + 1;
    }
    *p = v <= 0xffff ? 0xfd : 0xfe;
    cg_w32(p + 1, v);
    return p + (v <= 0xffff ? 3 : 5);
}

static inline bool
cg_spendable(int kind)
{
    return kind <= CG_BARE;
}

void cg_key_seed(uint64_t mixed_seed);
int cg_key_kind(uint64_t key);
/* S of a spendable kind: at most 12 bytes; returns the length. */
size_t cg_key_inner(uint64_t key, int kind, uint8_t *s);
/* scriptPubKey: at most 34 bytes; returns the length. */
size_t cg_key_script(uint64_t key, int kind, uint8_t *s);
/* Two length-prefixed dummies, as long as a DER signature and a public key. */
uint8_t *cg_key_dummies(uint8_t *p, uint64_t key);

/* ---- chaingen_utxo.c ---- */

void cg_push(struct cg_vec *a, uint32_t x);
/* Takes an output out of a vector at random. */
uint32_t cg_pop(struct cg_vec *a);
void cg_touch(uint64_t key, int64_t delta, int dutxo, uint32_t txno);
/* The transactions of cg_block to the sample; its numbers are of their own, so
 * that the chain does not depend on it. */
void cg_reserve_txs(uint32_t height);
void cg_reserve(struct cg_reservoir *r, uint64_t key, int64_t value);
void cg_count_output(uint64_t key, int kind, int64_t value, uint32_t txno);
/* when: 0 ready now, CG_NIL cold, else the height at which it becomes ready
 * (never, if past the end). */
void cg_add_utxo(const uint8_t txid[32], uint32_t vout, int64_t value,
                 uint64_t key, uint32_t height, uint32_t when);
void cg_free_utxo(uint32_t slot);

/* ---- chaingen_tx.c, chaingen_block.c, chaingen_side.c ---- */

/* Adds a transaction to cg_block; remaining: how many are still wanted,
 * progress: share of the chain that is done. */
void cg_make_tx(uint32_t height, uint32_t remaining, double progress);

void cg_open_out(void);
void cg_open_after(void); /* for the blocks of --after */
void cg_close_out(void);
void cg_write_genesis(void); /* if wanted; sets cg_prev_hash */
void cg_finish_block(uint32_t height, uint32_t time);

/* The side files of the chain up to a height, the last block's time with it;
 * infix: "", or what stands between prefix and ending. */
void cg_write_side(const char *infix, uint32_t height, int64_t time,
                   double seconds);

#endif /* CHAINGEN_H */
