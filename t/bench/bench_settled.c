/*
 * What months of settling do to look-ups and size: a chain's first blocks are
 * loaded in bulk, the others settled in batches with tidying between them, as
 * the indexer does while it follows the tip; then everything is compared with
 * a bulk load of the whole chain.
 *
 *     bench_settled FILE DATA_DIR BULK_BLOCKS [batch [tidy_mb [every]]]
 *
 * FILE as for bench_bulk, with FILE.samples.tsv beside it.  tidy_mb: what one
 * step goes over, 0 = no tidying; steps are taken after each batch until none
 * is due.  every: look-ups are also measured after so many batches.  DATA_DIR
 * must be empty.  The answers of both indexes must be equal.
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
#define ROUNDS  5

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
        rc = exi_balance(v, a, k, &sat, &unconfirmed);
        *sum += (uint64_t) sat;
        return rc;
    case UNSPENT:
        return exi_unspent(v, a, k, 0, sum_utxo, sum);
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
    pick_txids(sam, v, gen->height);
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
load(struct blocks *b, const char *data, uint32_t n, uint64_t txs)
{
    struct bulk_source src = { next_block, give_back, NULL, b };
    struct settle_opts so = { .data_dir = data,
                              .network = "regtest",
                              .keep_generations = 1,
                              .expected_txs = txs };
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
    double cpu_s, longest_s;
    uint64_t bytes, steps;
};

/* As many steps as are due. */
static void
tidy(struct settle *s, uint64_t step, struct tidying *t)
{
    bool more = step != 0;

    while (more) {
        double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        uint64_t before = written();
        int rc = settle_tidy(s, step, &more);

        if (rc != EXI_OK) {
            fail("tidy", rc);
        }
        wall = now(CLOCK_MONOTONIC) - wall;
        t->cpu_s += now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        t->longest_s = wall > t->longest_s ? wall : t->longest_s;
        t->bytes += written() - before;
        t->steps++;
    }
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

/* Settles the blocks from `from` on. */
static void
settle_all(struct settle *s, struct blocks *b, const char *data, uint32_t from,
           uint32_t batch, uint64_t step, uint32_t every, struct samples *sam,
           struct result *r, struct tidying *t)
{
    struct exi_live_gen gen;
    uint64_t before = written();
    uint32_t n = 0;
    int rc;

    for (uint32_t h = from; h < b->n; h += batch) {
        settle_some(s, b, h, h + batch < b->n ? h + batch : b->n);
        rc = settle_publish(s, &gen);
        if (rc != EXI_OK) {
            fail("publish", rc);
        }
        settle_prune(s, &gen, 1);
        n++;
        if (every != 0 && n % every == 0) {
            char when[64];

            measure(s, data, &gen, sam, r);
            snprintf(when, sizeof(when), "after %u batches", n);
            show(when, r);
        }
        if (h + batch < b->n) {
            tidy(s, step, t);
        }
    }
    measure(s, data, &gen, sam, r);
    show("after all batches", r);
    printf("%u batches, written: all %.1f MB, tidying %.1f MB in %llu steps, "
           "%.2f CPU s, the longest %.2f s\n",
           n, (double) (written() - before) / 1e6, (double) t->bytes / 1e6,
           (unsigned long long) t->steps, t->cpu_s, t->longest_s);
}

int
main(int argc, char **argv)
{
    static struct blocks b = { .fd = -1 };
    static struct samples sam;
    struct result before, after, fresh;
    struct tidying t = { 0 };
    uint32_t bulk, total, batch, every;
    uint64_t step, size[2];
    struct exi_live_gen gen;
    char dir[2][1100];
    struct settle *s;
    int wrong = 0;

    if (argc < 4) {
        fprintf(stderr, "bench_settled FILE DATA_DIR BULK_BLOCKS [batch "
                        "[tidy_mb [every]]]\n");
        return 2;
    }
    mkdir(argv[2], 0755);
    snprintf(dir[0], sizeof(dir[0]), "%s/settled", argv[2]);
    snprintf(dir[1], sizeof(dir[1]), "%s/fresh", argv[2]);
    bulk = (uint32_t) atoi(argv[3]);
    batch = argc > 4 ? (uint32_t) atoi(argv[4]) : 10;
    step = (uint64_t) (argc > 5 ? atoi(argv[5]) : 16) << 20;
    every = argc > 6 ? (uint32_t) atoi(argv[6]) : 0;
    scan(&b, argv[1]);
    total = b.n;
    read_samples(&sam, argv[1]);
    printf("%u blocks, %llu transactions; %u in bulk\n", b.n,
           (unsigned long long) b.txs, bulk);
    printf("CPU us:");
    for (int w = 0; w < WHATS; w++) {
        printf(" %s%s", names[w], w + 1 < WHATS ? "," : "\n");
    }
    s = load(&b, dir[0], bulk, b.txs);
    if (settle_publish(s, &gen) != EXI_OK) {
        return 1;
    }
    measure(s, dir[0], &gen, &sam, &before);
    show("before", &before);
    b.n = total;
    settle_all(s, &b, dir[0], bulk, batch, step, every, &sam, &after, &t);
    settle_close(s);
    s = load(&b, dir[1], total, b.txs);
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
