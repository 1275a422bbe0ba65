/*
 * chaingen: makes large valid regtest chains, fast, the same for the same
 * options.
 *
 * Writes blocks 1 ... N (magic, LE32 size, block) for "bitcoind -regtest
 * -checkblockindex=0 -loadblock=FILE" or, with --split-mb, files blkN.dat with
 * the genesis block for -reindex, and side files with what is true of the
 * chain (chaingen_side.c).  chaingen.h says what the keys are.
 */
#include "chaingen.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

struct cg_opts cg_opts = {
    .blocks = 2000,
    .txs_per_block = 100,
    .growth = 1.5,
    .plateau = 0.7,
    .seed = 1,
    .reuse = 0.35,
    .zipf = 1.0,
    .lookalike = 0.08,
    .op_return = 0.03,
    .age_same = 0.15,
    .age_mean = 4,
    .age_long = 0.2,
    .age_long_max = 3000,
    .cold_spend = 0.02,
    .utxo_growth = 0.4,
    .consolidate = 0.001,
    .payout = 0.0004,
    .pad = true,
    .interval = 600,
    .samples = 1000,
    .dump_utxos = 1000,
};
uint64_t cg_pool;

void
cg_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("chaingen: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

void *
cg_realloc(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL && n > 0) {
        cg_die("out of memory (%zu bytes)", n);
    }
    return p;
}

static void *
zeroed(size_t n, size_t size)
{
    void *p = cg_realloc(NULL, n * size);

    memset(p, 0, n * size);
    return p;
}

/* ---- options ---- */

enum type {
    FLAG,
    U32,
    I64,
    U64,
    REAL,
    TEXT
};

static bool help;
static const char *spend_age;

static const struct option_row {
    const char *name;
    enum type type;
    void *value;
    double lo, hi;
    const char *arg;
    const char *text;
} rows[] = {
    { "out", TEXT, &cg_opts.out, 0, 0, "FILE",
      "block file to write (with --split-mb: a directory)" },
    { "side", TEXT, &cg_opts.side, 0, 0, "PREFIX",
      "side files PREFIX.json, .samples.tsv, .txs.tsv, .utxos.tsv [--out]" },
    { "blocks", U32, &cg_opts.blocks, 1, 5e6, "N",
      "blocks after genesis [2000]" },
    { "after", U32, &cg_opts.after, 1, 1e6, "N",
      "the last N blocks go to FILE.after; side files of the chain before "
      "them, "
      "and PREFIX.after.json and so on of all of it" },
    { "txs-per-block", REAL, &cg_opts.txs_per_block, 1, 20000, "X",
      "mean transactions per block over the whole chain [100]" },
    { "growth", REAL, &cg_opts.growth, 0, 10, "G",
      "block size grows as (x/plateau)^G, x = share of the chain done [1.5]" },
    { "plateau", REAL, &cg_opts.plateau, 0.01, 1, "P",
      "share of the chain after which blocks stop growing [0.7]" },
    { "seed", U64, &cg_opts.seed, 0, 0, "S",
      "same seed, options and --end-time: same bytes [1]" },
    { "reuse", REAL, &cg_opts.reuse, 0, 1, "F",
      "share of outputs paid to reused scripts [0.35]" },
    { "zipf", REAL, &cg_opts.zipf, 0, 3, "S",
      "exponent of the popularity of reused scripts [1.0]" },
    { "pool-keys", U64, &cg_opts.pool_keys, 1, 1e9, "N",
      "number of reused scripts [expected reused outputs / 12]" },
    { "lookalike", REAL, &cg_opts.lookalike, 0, 0.9, "F",
      "share of scripts that are P2PKH/P2WPKH/P2TR, never spent [0.08]" },
    { "op-return", REAL, &cg_opts.op_return, 0, 1, "F",
      "share of transactions with an OP_RETURN output [0.03]" },
    { "spend-age", TEXT, &spend_age, 0, 0, "S,M,L,X",
      "blocks until an output is spent: share S in the same block, share L "
      "log-uniform in 1..X, others exponential with mean M [0.15,4,0.2,3000]" },
    { "cold-spend", REAL, &cg_opts.cold_spend, 0, 1, "F",
      "share of inputs that spend long-lived outputs [0.02]" },
    { "utxo-growth", REAL, &cg_opts.utxo_growth, 0, 2, "G",
      "outputs left unspent per transaction, on average [0.4]" },
    { "consolidate", REAL, &cg_opts.consolidate, 0, 1, "F",
      "share of transactions with 60..250 inputs [0.001]" },
    { "payout", REAL, &cg_opts.payout, 0, 1, "F",
      "share of transactions with 200..800 outputs [0.0004]" },
    { "no-pad", FLAG, &cg_opts.pad, 0, 0, NULL,
      "no signature- and key-sized dummies in inputs" },
    { "end-time", I64, &cg_opts.end_time, 0, 4e9, "T",
      "unix time of the last block [now]" },
    { "interval", U32, &cg_opts.interval, 1, 1e6, "SECS",
      "mean block interval [600]" },
    { "split-mb", U32, &cg_opts.split_mb, 5, 2000, "M",
      "M MiB files, the genesis block first (for -reindex)" },
    { "with-genesis", FLAG, &cg_opts.with_genesis, 0, 0, NULL,
      "write the genesis block first" },
    { "samples", U32, &cg_opts.samples, 0, 1e7, "N",
      "most sample scripts per class [1000]" },
    { "dump-utxos", U32, &cg_opts.dump_utxos, 0, 1e7, "N",
      "spendable outputs to list [1000]" },
    { "help", FLAG, &help, 0, 0, NULL, "this text" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void
usage(FILE *f)
{
    fprintf(f, "usage: chaingen --out FILE [options]\n");
    for (size_t i = 0; i < ROWS; i++) {
        fprintf(f, "  --%s%s%s\n        %s\n", rows[i].name,
                rows[i].arg != NULL ? " " : "",
                rows[i].arg != NULL ? rows[i].arg : "", rows[i].text);
    }
}

static void
set_option(const struct option_row *r, const char *arg)
{
    char *end = NULL;
    double v = r->type >= U32 && r->type <= REAL ? strtod(arg, &end) : 0;

    if (end != NULL && (end == arg || *end != '\0')) {
        cg_die("--%s: '%s' is not a number", r->name, arg);
    }
    if (end != NULL && r->hi > 0 && !(v >= r->lo && v <= r->hi)) {
        cg_die("--%s: not in %g..%g", r->name, r->lo, r->hi);
    }
    switch (r->type) {
    case FLAG:
        *(bool *) r->value ^= true;
        break;
    case U32:
        *(uint32_t *) r->value = (uint32_t) v;
        break;
    case I64:
        *(int64_t *) r->value = (int64_t) v;
        break;
    case U64:
        *(uint64_t *) r->value = strtoull(arg, NULL, 0);
        break;
    case REAL:
        *(double *) r->value = v;
        break;
    case TEXT:
        *(const char **) r->value = arg;
        break;
    }
}

static void
set_spend_age(void)
{
    struct cg_opts *o = &cg_opts;

    if (spend_age == NULL) {
        return;
    }
    if (sscanf(spend_age, "%lf,%lf,%lf,%u", &o->age_same, &o->age_mean,
               &o->age_long, &o->age_long_max)
            != 4
        || o->age_same < 0 || o->age_long < 0 || o->age_same + o->age_long > 1
        || o->age_mean < 1 || o->age_mean > 1e5 || o->age_long_max < 1
        || o->age_long_max > 5000000) {
        cg_die("--spend-age: four numbers SAME,MEAN,LONG,LONGMAX");
    }
}

static void
set_times(void)
{
    struct cg_opts *o = &cg_opts;
    int64_t span;

    if (o->end_time == 0) {
        o->end_time = time(NULL);
    }
    span = o->end_time - CG_GENESIS_TIME - 1;
    if (span < (int64_t) o->blocks + 1) {
        cg_die("--end-time is too early for %u blocks", o->blocks);
    }
    if ((int64_t) o->interval * o->blocks > span) {
        o->interval = (uint32_t) (span / o->blocks);
    }
}

static void
read_options(int argc, char **argv)
{
    struct option list[ROWS + 1] = { { NULL, 0, NULL, 0 } };
    int c, i = 0;

    for (size_t k = 0; k < ROWS; k++) {
        list[k].name = rows[k].name;
        list[k].has_arg = rows[k].type == FLAG ? 0 : 1;
    }
    while ((c = getopt_long(argc, argv, "", list, &i)) == 0) {
        set_option(&rows[i], optarg);
    }
    if (help || c != -1 || cg_opts.out == NULL || optind != argc) {
        usage(help ? stdout : stderr);
        exit(help ? 0 : 2);
    }
    if (cg_opts.side == NULL) {
        cg_opts.side = cg_opts.out;
    }
    if (cg_opts.after >= cg_opts.blocks
        || (cg_opts.after > 0 && cg_opts.split_mb > 0)) {
        cg_die("--after: fewer than --blocks, and not with --split-mb");
    }
    set_spend_age();
    set_times();
    if (cg_opts.split_mb > 0 && mkdir(cg_opts.out, 0777) != 0
        && errno != EEXIST) {
        cg_die("%s: %s", cg_opts.out, strerror(errno));
    }
}

/* ---- the chain ---- */

static double total_txs;

static void
prepare(void)
{
    const struct cg_opts *o = &cg_opts;
    uint64_t mixed = cg_mix(o->seed ^ 0x636861696e67656eu);

    cg_key_seed(mixed);
    cg_seed(mixed);
    total_txs = o->txs_per_block * o->blocks;
    if (total_txs > 4e9) {
        cg_die("more than 4e9 transactions");
    }
    cg_pool = o->pool_keys > 0
                  ? o->pool_keys
                  : (uint64_t) (o->reuse * CG_MEAN_OUT * total_txs / 12) + 64;
    if (o->reuse == 0) {
        cg_pool = 0;
    }
    cg_stats = zeroed(cg_pool + CG_MINERS, sizeof(*cg_stats));
    cg_due = zeroed((size_t) o->blocks + 1, sizeof(*cg_due));
    memset(cg_due, 0xff, ((size_t) o->blocks + 1) * sizeof(*cg_due));
    cg_block.txs = zeroed(CG_MAX_WEIGHT + (1 << 20), 1);
    cg_block.txids = zeroed(CG_MAX_BLOCK_TXS, 32);
    cg_block.wtxids = zeroed(CG_MAX_BLOCK_TXS, 32);
    cg_look.v = zeroed((size_t) o->samples + 1, sizeof(*cg_look.v));
    cg_spent.v = zeroed((size_t) o->samples + 1, sizeof(*cg_spent.v));
    cg_txs = zeroed((size_t) o->samples + 1, sizeof(*cg_txs));
}

/* Long-lived outputs may bind about 30 % of the 15,000 coins that regtest ever
 * issues. */
static void
prepare_cold_cap(void)
{
    double outs = cg_opts.utxo_growth * total_txs + 1000;

    cg_cold_cap = 1000000;
    while (cg_cold_cap > 2 * CG_MIN_OUT
           && (double) (cg_cold_cap - CG_MIN_OUT)
                      / (cg_log2((double) cg_cold_cap / CG_MIN_OUT) * 0.693)
                      * outs
                  > 0.3 * 15000 * CG_COIN) {
        cg_cold_cap = cg_cold_cap * 9 / 10;
    }
}

/* Weight of block h: blocks grow until the plateau. */
static double
curve(uint32_t h)
{
    double x = (double) (h - CG_MATURITY) / (cg_opts.blocks - CG_MATURITY);

    x /= cg_opts.plateau;
    return 0.01 + cg_pow(x < 1 ? x : 1, cg_opts.growth);
}

/* Share of outputs to leave unspent, so that their number grows as wanted. */
static double
cold_share(uint32_t h, uint32_t n)
{
    const struct cg_opts *o = &cg_opts;
    double goal =
        (double) h + o->utxo_growth * (double) (cg_totals.txs - h + 1);
    double base =
        (o->utxo_growth - o->lookalike * CG_MEAN_OUT + o->cold_spend * 2)
        / CG_MEAN_OUT;
    double p =
        base
        + (goal - (double) cg_totals.utxos) / (CG_MEAN_OUT * (n + 1.0) * 10);

    if (cg_ready.n + cg_cold.n < 50) {
        return 0; /* pay out first */
    }
    return p < 0 ? 0 : p > 0.6 ? 0.6 : p;
}

/* The transactions of block h; *carry: what earlier blocks lacked. */
static void
fill_block(uint32_t h, double want, double *carry)
{
    double noisy = want * (0.6 + 0.8 * cg_rndf()) + *carry;
    double done = (double) (h - CG_MATURITY) / (cg_opts.blocks - CG_MATURITY);
    double most = want * 2 + 50;
    uint32_t n = noisy > 0 ? (uint32_t) (noisy + 0.5) : 0, made = 0;

    n = n > 60000 ? 60000 : n;
    cg_block.p_cold = cold_share(h, n);
    while (made < n && (cg_ready.n > 0 || cg_cold.n > 0)
           && 3 * cg_block.stripped + cg_block.txslen < CG_WEIGHT_STOP) {
        cg_make_tx(h, n - made, done);
        made++;
    }
    *carry += want - made;
    if (*carry > most && cg_ready.n + cg_cold.n > 1000) {
        *carry = most;
    }
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}

static void
begin_block(uint32_t h)
{
    cg_block.txslen = cg_block.stripped = 0;
    cg_block.ntx = 1;
    cg_block.fees = 0;
    for (uint32_t i = cg_due[h], next; i != CG_NIL; i = next) {
        next = cg_utxos[i].next;
        cg_push(&cg_ready, i);
    }
}

/* Side files of the chain so far; what follows is the same without them. */
static void
begin_after(uint32_t h, int64_t t, double start)
{
    cg_seed_keep();
    cg_write_side("", h, t, now() - start);
    cg_seed_back();
    cg_open_after();
}

static void
make_chain(double start)
{
    const struct cg_opts *o = &cg_opts;
    double sum = 0, carry = 0, txs = total_txs - o->blocks;

    for (uint32_t h = CG_MATURITY + 1; h <= o->blocks; h++) {
        sum += curve(h);
    }
    for (uint32_t h = 1; h <= o->blocks; h++) {
        int64_t t = o->end_time - (int64_t) (o->blocks - h) * o->interval;

        begin_block(h);
        if (h > CG_MATURITY && txs > 0) {
            fill_block(h, txs * curve(h) / sum, &carry);
        }
        if (h < o->blocks) {
            t += (int64_t) cg_below(o->interval);
        }
        cg_finish_block(h, (uint32_t) t);
        if (h + o->after == o->blocks && o->after > 0) {
            begin_after(h, t, start);
        }
        if (h % 1000 == 0 || h == o->blocks) {
            fprintf(stderr,
                    "height %u: %" PRIu64 " txs, %" PRIu64
                    " utxos, %.0f MB, %.0f tx/s (ready %u, cold %u)\n",
                    h, cg_totals.txs, cg_totals.utxos,
                    (double) cg_totals.bytes / 1e6,
                    (double) cg_totals.txs / (now() - start), cg_ready.n,
                    cg_cold.n);
        }
    }
}

int
main(int argc, char **argv)
{
    double start = now();

    read_options(argc, argv);
    prepare();
    prepare_cold_cap();
    cg_open_out();
    cg_write_genesis();
    make_chain(start);
    if ((double) cg_totals.txs < 0.97 * total_txs
        && cg_opts.blocks > 2 * CG_MATURITY) {
        fprintf(stderr,
                "chaingen: warning: %" PRIu64 " of %.0f transactions: too few "
                "outputs to spend, or full blocks\n",
                cg_totals.txs, total_txs);
    }
    cg_close_out();
    cg_write_side(cg_opts.after > 0 ? ".after" : "", cg_opts.blocks,
                  cg_opts.end_time, now() - start);
    free(cg_stats);
    free(cg_due);
    free(cg_utxos);
    free(cg_ready.v);
    free(cg_cold.v);
    free(cg_block.txs);
    free(cg_block.txids);
    free(cg_block.wtxids);
    free(cg_look.v);
    free(cg_spent.v);
    free(cg_txs);
    return 0;
}
