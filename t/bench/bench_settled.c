/*
 * What months of settling do to look-ups and size: a chain's first blocks are
 * loaded in bulk, the others settled in batches and tidied as the indexer does
 * while it follows the tip; then everything is compared with a bulk load of the
 * whole chain.
 *
 *     bench_settled FILE DATA_DIR BULK_BLOCKS [batch [every [after]]]
 *
 * FILE as for bench_bulk, with FILE.samples.tsv beside it.  After each batch
 * what is due is folded, the index is published, then rewritten if that is due.
 * every: look-ups are measured after so many batches (0: at the end only), each
 * time also those of the generation of before, in turns, so that what keeps the
 * machine busy slows both; their ratio is what counts.  after: KB settled
 * before a fold, 0 = the usual share, -1 = no tidying.
 * DATA_DIR must be empty.  The answers of both indexes must be equal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "exi_hex.h"
#include "exi_reader.h"
#include "exi_script.h"
#include "live.h"
#include "log.h"
#include "settle.h"

#include "blockfile.h"

#define SAMPLES 2000
#define ROUNDS  3
#define TURNS   5
#define TIMES   1000

enum what {
    HISTORY,
    BALANCE,
    UNSPENT,
    TXNUM,
    MERKLE,
    HEAVY,
    WHATS
};
static const char *const names[WHATS] = { "history of about 10",
                                          "balance",
                                          "unspent",
                                          "txid -> place",
                                          "merkle branch of 1,250",
                                          "history of 80-1,000" };

/* Scripts to ask for, txids to look up. */
struct samples {
    struct exi_skey ten[SAMPLES], many[SAMPLES];
    size_t nten, nmany;
    struct exi_txid txids[SAMPLES];
    size_t ntxids;
};

/* CPU microseconds an answer, and a sum over all of them. */
struct result {
    double us[WHATS];
    uint64_t sum[WHATS];
};

/* Memory of one answer. */
static uint8_t arena_mem[64 << 20];
static size_t arena_used;

static void *
arena_alloc(void *ctx, size_t n)
{
    size_t at = arena_used;

    (void) ctx;
    n = (n + 15) & ~(size_t) 15;
    if (n > sizeof(arena_mem) - at) {
        return NULL;
    }
    arena_used += n;
    return arena_mem + at;
}

static void
fail(const char *what, int rc)
{
    fprintf(stderr, "%s: %s\n", what, exi_strerror(rc));
    exit(1);
}

static void
read_samples(struct samples *s, const char *file)
{
    char path[1200], line[4096], hex[2048], kind[32];
    unsigned long long hist;
    uint8_t script[1024];
    struct exi_shash h;
    FILE *f;

    snprintf(path, sizeof(path), "%s.samples.tsv", file);
    f = fopen(path, "r");
    if (f == NULL) {
        die(path);
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%*s %*s %llu %*s %*s %31s %2047s", &hist, kind, hex)
                != 3
            || exi_unhex(script, hex, strlen(hex)) != EXI_OK) {
            continue;
        }
        exi_script_hash(&h, script, strlen(hex) / 2);
        if (hist >= 8 && hist <= 12 && s->nten < SAMPLES) {
            s->ten[s->nten++] = exi_skey(&h);
        } else if (hist >= 80 && hist <= 1100 && s->nmany < SAMPLES) {
            s->many[s->nmany++] = exi_skey(&h);
        }
    }
    fclose(f);
}

static int
sum_hist(void *ctx, const struct exi_hist *h)
{
    *(uint64_t *) ctx += exi_le64(h->txid.b) + (uint64_t) h->height;
    return 0;
}

static int
sum_utxo(void *ctx, const struct exi_utxo *u)
{
    *(uint64_t *) ctx += exi_le64(u->txid.b) + u->index;
    *(uint64_t *) ctx += (uint64_t) u->value_sat;
    return 0;
}

static int
ask_script(struct exi_view *v, const struct exi_arena *a, enum what what,
           const struct exi_skey *k, uint64_t *sum)
{
    int64_t sat = 0, unconfirmed;
    int rc;

    switch (what) {
    case BALANCE:
        rc = exi_balance(v, a, k, EXI_TOKENS_INCLUDE, &sat, &unconfirmed);
        *sum += (uint64_t) sat;
        return rc;
    case UNSPENT:
        return exi_unspent(v, a, k, EXI_TOKENS_INCLUDE, 0, sum_utxo, sum);
    default:
        return exi_history(v, a, k, EXI_HIST_CONFIRMED, 0, sum_hist, sum);
    }
}

static int
ask_tx(struct exi_view *v, const struct exi_arena *a, enum what what,
       const struct exi_txid *txid, uint64_t *sum)
{
    struct exi_hash branch[EXI_MERKLE_MAX];
    struct exi_txpos pos;
    size_t n = 0;
    int rc = exi_tx_find(v, txid, &pos);

    if (rc == EXI_OK && what == MERKLE) {
        rc = exi_block_branch(v, a, (uint32_t) pos.height, pos.pos, branch, &n);
    }
    *sum += rc == EXI_OK ? pos.id + n : 0;
    return rc;
}

static int
ask(struct exi_view *v, const struct samples *s, enum what what, size_t i,
    uint64_t *sum)
{
    struct exi_arena a = { arena_alloc, NULL };

    arena_used = 0;
    if (what == TXNUM || what == MERKLE) {
        return ask_tx(v, &a, what, &s->txids[i], sum);
    }
    return ask_script(v, &a, what, what == HEAVY ? &s->many[i] : &s->ten[i],
                      sum);
}

/* Txids evenly from the chain that is served, the same for equal chains. */
static void
pick_txids(struct samples *s, struct exi_view *v, uint32_t height)
{
    s->ntxids = 0;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint32_t h = 1 + (uint32_t) ((uint64_t) i * (height - 1) / SAMPLES);
        uint32_t n;

        if (exi_block_ntx(v, h, &n) == EXI_OK
            && exi_block_txid(v, h, (i * 7919u) % n, &s->txids[s->ntxids])
                   == EXI_OK) {
            s->ntxids++;
        }
    }
}

static void
measure_one(struct exi_view *v, const struct samples *s, enum what what,
            struct result *r)
{
    size_t n = what == TXNUM || what == MERKLE ? s->ntxids
               : what == HEAVY                 ? s->nmany
                                               : s->nten;
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        double t = now(CLOCK_THREAD_CPUTIME_ID);

        r->sum[what] = 0;
        for (size_t i = 0; i < n; i++) {
            int rc = ask(v, s, what, i, &r->sum[what]);

            if (rc != EXI_OK) {
                fail(names[what], rc);
            }
        }
        t = now(CLOCK_THREAD_CPUTIME_ID) - t;
        best = t < best ? t : best;
    }
    r->us[what] = n == 0 ? 0 : best * 1e6 / (double) n;
}

static int
no_prevout(void *ctx, const struct exi_txid *txid, uint32_t index,
           struct exi_skey *script, int64_t *value_sat)
{
    (void) ctx;
    (void) txid;
    (void) index;
    (void) script;
    (void) value_sat;
    return EXI_ENOTFOUND;
}

static void
say(void *ctx, int level, const char *text)
{
    (void) ctx;
    fprintf(stderr, "store %d: %s\n", level, text);
}

/* Serves a generation from an empty live layer and asks. */
static void
measure(struct settle *s, const char *data, const struct exi_live_gen *gen,
        struct samples *sam, struct result *r)
{
    struct live_opts o = { .data_dir = data,
                           .map_bytes = 64 << 20,
                           .prevout = no_prevout };
    struct exi_store *store = NULL;
    struct exi_view *v = NULL;
    struct live *l = NULL;
    int rc = live_create(&l, &o, gen, 1, settle_meta(s)->tx_count);

    if (rc == EXI_OK) {
        rc = live_serve(l);
    }
    if (rc == EXI_OK) {
        rc = exi_store_new(&store, data, say, NULL);
    }
    if (rc == EXI_OK) {
        rc = exi_store_refresh(store);
    }
    if (rc == EXI_OK) {
        rc = exi_view_new(store, &v);
    }
    if (rc == EXI_OK) {
        rc = exi_view_begin(v);
    }
    if (rc != EXI_OK) {
        fail("view", rc);
    }
    if (sam->ntxids == 0) {
        pick_txids(sam, v, gen->height);
    }
    for (enum what w = HISTORY; w < WHATS; w++) {
        measure_one(v, sam, w, r);
    }
    exi_view_end(v);
    exi_view_free(v);
    exi_store_free(store);
    live_close(l);
}

static uint64_t
du(const char *data, const char *what)
{
    unsigned long long kb = 0;
    char cmd[1200];
    FILE *f;

    snprintf(cmd, sizeof(cmd), "du -sk '%s'/settled/0*/%s", data, what);
    f = popen(cmd, "r");
    if (f == NULL || fscanf(f, "%llu", &kb) != 1) {
        kb = 0;
    }
    if (f != NULL) {
        pclose(f);
    }
    return kb * 1024;
}

static uint64_t
written(void)
{
    unsigned long long n = 0;
    char line[128];
    FILE *f = fopen("/proc/self/io", "r");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "wchar: %llu", &n) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

/* Loads blocks 0 ... n - 1 into a new directory. */
static struct settle *
load(struct blocks *b, const char *data, uint32_t n, uint64_t txs,
     uint64_t after)
{
    struct bulk_source src = { next_block, give_back, NULL, b };
    struct settle_opts so = { .data_dir = data,
                              .network = "regtest",
                              .keep_generations = 1,
                              .expected_txs = txs,
                              .tidy_after = after };
    struct bulk_opts o = { .checkpoint_ms = 600000,
                           .memory = (size_t) 1 << 30,
                           .expected_txs = txs };
    struct bulk *bulk = NULL;
    struct settle *s;
    uint8_t header[80];
    char why[512] = "";
    int rc;

    mkdir(data, 0755);
    if (pread(b->fd, header, 80, 8) != 80) {
        die("genesis");
    }
    exi_sha256d(so.genesis.b, header, 80);
    rc = settle_open(&s, &so, why, sizeof(why));
    if (rc == EXI_OK) {
        rc = bulk_open(&bulk, s, &o);
    }
    b->next = 0;
    b->n = n;
    if (rc == EXI_OK) {
        rc = bulk_read(bulk, &src, n - 1);
    }
    if (rc == EXI_OK) {
        rc = bulk_finish(bulk, why, sizeof(why));
    }
    bulk_close(bulk);
    if (rc != EXI_OK) {
        fail(why, rc);
    }
    return s;
}

struct tidying {
    double cpu_s, longest_s, longest_cpu_s;
    uint64_t bytes, folds, rewrites;
};

static bool
never(void *ctx)
{
    (void) ctx;
    return false;
}

/* Folds, or with `all` also rewrites, if due. */
static bool
tidy(struct settle *s, bool all, struct tidying *t)
{
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t before = written();
    bool more;
    int rc = settle_tidy(s, all, never, NULL, &more);

    if (rc != EXI_OK) {
        fail("tidy", rc);
    }
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    t->cpu_s += cpu;
    t->longest_cpu_s = cpu > t->longest_cpu_s ? cpu : t->longest_cpu_s;
    t->longest_s = wall > t->longest_s ? wall : t->longest_s;
    t->bytes += written() - before;
    return more;
}

/* Publishes; true: there is a new generation. */
static bool
publish(struct settle *s, struct exi_live_gen *gen)
{
    uint64_t number = gen->number;
    int rc = settle_publish(s, gen);

    if (rc != EXI_OK) {
        fail("publish", rc);
    }
    return gen->number != number;
}

/* Removes generations but the first and the newest. */
static void
prune(struct settle *s, const struct exi_live_gen *first,
      const struct exi_live_gen *gen)
{
    struct exi_live_gen keep[2] = { *first, *gen };

    settle_prune(s, keep, 2);
}

static void
settle_some(struct settle *s, struct blocks *b, uint32_t from, uint32_t to)
{
    int rc = EXI_OK;

    for (uint32_t h = from; rc == EXI_OK && h < to; h++) {
        uint8_t *raw = malloc(b->size[h]);

        if (raw == NULL
            || pread(b->fd, raw, b->size[h], (off_t) b->at[h])
                   != (ssize_t) b->size[h]) {
            die("read");
        }
        rc = settle_add(s, h, raw, b->size[h]);
        free(raw);
    }
    if (rc == EXI_OK) {
        rc = settle_commit(s);
    }
    if (rc != EXI_OK) {
        fail("settle", rc);
    }
}

static void
show(const char *when, const struct result *r)
{
    printf("%-28s", when);
    for (int w = 0; w < WHATS; w++) {
        printf(" %8.2f", r->us[w]);
    }
    printf("\n");
    fflush(stdout);
}

/* The lower of what was measured. */
static void
note_best(struct result *best, const struct result *r)
{
    for (int w = 0; w < WHATS; w++) {
        best->us[w] =
            best->us[w] == 0 || r->us[w] < best->us[w] ? r->us[w] : best->us[w];
        best->sum[w] = r->sum[w];
    }
}

/* States of the settled layer that look-ups are measured in. */
enum state {
    FOLDED,
    UNFOLDED,
    REWRITTEN,
    STATES
};
static const char *const state_names[STATES] = { "after a fold",
                                                 "before a fold",
                                                 "after a rewrite" };

struct run {
    struct settle *s;
    struct blocks *b;
    const char *data;
    struct samples *sam;
    struct exi_live_gen first, gen;
    struct tidying t;
    uint32_t every;
    double ratio[STATES][WHATS][TIMES];
    unsigned n[STATES];
};

/* Look-ups of the newest generation as often as those of the first one. */
static void
compare(struct run *r, enum state state, unsigned batches)
{
    struct result first = { .us = { 0 } }, now = { .us = { 0 } };

    printf("%4u batches, %-16s", batches, state_names[state]);
    for (int i = 0; i < TURNS; i++) {
        struct result one;

        measure(r->s, r->data, &r->first, r->sam, &one);
        note_best(&first, &one);
        measure(r->s, r->data, &r->gen, r->sam, &one);
        note_best(&now, &one);
    }
    for (int w = 0; w < WHATS; w++) {
        double ratio = now.us[w] / first.us[w];

        r->ratio[state][w][r->n[state]] = ratio;
        printf(" %6.2f", ratio);
    }
    r->n[state] += r->n[state] + 1 < TIMES;
    printf("\n");
    fflush(stdout);
}

/* A batch as the settle thread does it. */
static void
one_batch(struct run *r, uint32_t from, uint32_t to, unsigned n, bool tidying)
{
    uint64_t before = r->t.bytes;
    bool more = false, folded;

    settle_some(r->s, r->b, from, to);
    if (tidying) {
        more = tidy(r->s, false, &r->t);
    }
    folded = r->t.bytes != before;
    r->t.folds += folded;
    publish(r->s, &r->gen);
    prune(r->s, &r->first, &r->gen);
    if (r->every != 0 && n % r->every == 0 && !more) {
        compare(r, folded ? FOLDED : UNFOLDED, n);
    }
    if (more) {
        tidy(r->s, true, &r->t);
        r->t.rewrites++;
        publish(r->s, &r->gen);
        prune(r->s, &r->first, &r->gen);
        if (r->every != 0) {
            compare(r, REWRITTEN, n);
        }
    }
}

static int
compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Median and highest of the ratios in a state. */
static void
show_ratios(struct run *r, enum state state)
{
    unsigned n = r->n[state];

    for (int w = 0; w < WHATS; w++) {
        qsort(r->ratio[state][w], n, sizeof(double), compare_doubles);
    }
    for (int most = 0; most < 2 && n > 0; most++) {
        printf("%-8s %-16s", most ? "highest" : "median", state_names[state]);
        for (int w = 0; w < WHATS; w++) {
            printf(" %6.2f", r->ratio[state][w][most ? n - 1 : n / 2]);
        }
        printf("  (%u times)\n", n);
    }
}

/* Settles the blocks from `from` on. */
static void
settle_all(struct run *r, uint32_t from, uint32_t batch, bool tidying)
{
    uint64_t before = written();
    unsigned n = 0;

    for (uint32_t h = from; h < r->b->n; h += batch) {
        one_batch(r, h, h + batch < r->b->n ? h + batch : r->b->n, ++n,
                  tidying);
    }
    for (int i = 0; i < STATES; i++) {
        show_ratios(r, (enum state) i);
    }
    printf("%u batches, written: all %.1f MB, tidying %.1f MB by %llu folds "
           "and %llu rewrites, %.2f CPU s, the longest %.2f s, %.2f CPU s\n",
           n, (double) (written() - before) / 1e6, (double) r->t.bytes / 1e6,
           (unsigned long long) r->t.folds, (unsigned long long) r->t.rewrites,
           r->t.cpu_s, r->t.longest_s, r->t.longest_cpu_s);
}

int
main(int argc, char **argv)
{
    static struct blocks b = { .fd = -1 };
    static struct samples sam;
    static struct run r = { .b = &b, .sam = &sam };
    struct result before, after, fresh;
    struct exi_live_gen gen;
    uint32_t bulk, total, batch;
    uint64_t size[2];
    char dir[2][1100];
    struct settle *s;
    int wrong = 0;
    long after_kb;

    if (argc < 4) {
        fprintf(stderr, "bench_settled FILE DATA_DIR BULK_BLOCKS [batch "
                        "[every [after]]]\n");
        return 2;
    }
    mkdir(argv[2], 0755);
    snprintf(dir[0], sizeof(dir[0]), "%s/settled", argv[2]);
    snprintf(dir[1], sizeof(dir[1]), "%s/fresh", argv[2]);
    bulk = (uint32_t) atoi(argv[3]);
    batch = argc > 4 ? (uint32_t) atoi(argv[4]) : 10;
    r.every = argc > 5 ? (uint32_t) atoi(argv[5]) : 0;
    after_kb = argc > 6 ? atol(argv[6]) : 0;
    scan(&b, argv[1]);
    total = b.n;
    read_samples(&sam, argv[1]);
    printf("%u blocks, %llu transactions; %u in bulk\n", b.n,
           (unsigned long long) b.txs, bulk);
    printf("CPU us:");
    for (int w = 0; w < WHATS; w++) {
        printf(" %s%s", names[w], w + 1 < WHATS ? "," : "\n");
    }
    r.s = load(&b, dir[0], bulk, b.txs,
               after_kb > 0 ? (uint64_t) after_kb << 10 : 0);
    r.data = dir[0];
    if (settle_publish(r.s, &r.first) != EXI_OK) {
        return 1;
    }
    measure(r.s, dir[0], &r.first, &sam, &before);
    show("before", &before);
    b.n = total;
    r.gen = r.first;
    settle_all(&r, bulk, batch, after_kb >= 0);
    sam.ntxids = 0;
    measure(r.s, dir[0], &r.gen, &sam, &after);
    show("after all batches", &after);
    settle_close(r.s);
    s = load(&b, dir[1], total, b.txs, 0);
    if (settle_publish(s, &gen) != EXI_OK) {
        return 1;
    }
    measure(s, dir[1], &gen, &sam, &fresh);
    show("fresh load of all", &fresh);
    settle_close(s);
    for (int i = 0; i < 2; i++) {
        size[i] = du(dir[i], "db") + du(dir[i], "flat");
        printf("%-8s db %8.1f MB, flat %8.1f MB\n", i ? "fresh" : "settled",
               (double) du(dir[i], "db") / 1e6,
               (double) du(dir[i], "flat") / 1e6);
    }
    printf("size: %.3f of a fresh load;", (double) size[0] / (double) size[1]);
    for (int w = 0; w < WHATS; w++) {
        printf(" %.2f", after.us[w] / fresh.us[w]);
        wrong += after.sum[w] != fresh.sum[w];
    }
    printf(" times its CPU; %d kinds of answers differ\n", wrong);
    return wrong != 0;
}
