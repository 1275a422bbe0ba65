/*
 * bench_live DIR [TXS]: the live layer with a large mempool (default 300,000).
 *
 * Generated transactions (1-3 inputs of settled outputs or of each other, 2
 * outputs) are added as a comparison at the start adds them; then come blocks
 * of 4,000 of them, one of 4,000 that were never seen, and single additions.
 * A process that reads snapshots all the while reports its longest wait.
 * Prints times, memory and file size.  DIR must be empty; it is left there.
 */
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fees.h"
#include "lib/exi_sha256.h"
#include "live.h"
#include "rnd.h"

#define CHUNK    5000
#define BLOCK_TX 4000
#define BLOCKS   5
#define SINGLES  2000
#define VALUE    1000000

struct tx {
    uint8_t raw[420];
    uint32_t len;
    struct exi_txid id;
};

/* What the reading process found; shared memory. */
struct reading {
    volatile int go;
    volatile double worst_ms;
    volatile unsigned long snapshots;
    volatile long waits; /* snapshots in which it gave up the CPU to wait */
};

static struct tx *txs;
static size_t ntx;
static size_t next_parent;
static pid_t reader;

static double
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e3 + (double) t.tv_nsec / 1e6;
}

static void
must(int rc, const char *what)
{
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", what, exi_strerror(rc));
        if (reader > 0) {
            kill(reader, SIGKILL);
        }
        exit(1);
    }
}

/* Every output that is not of a transaction made here is settled. */
static int
prevout(void *ctx, const struct exi_txid *txid, uint32_t index,
        struct exi_skey *script, int64_t *value_sat)
{
    (void) ctx;
    memcpy(script->b, txid->b, EXI_SKEY_LEN);
    script->b[0] ^= (uint8_t) index;
    *value_sat = VALUE;
    return EXI_OK;
}

static uint8_t *
random_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *p++ = (uint8_t) rnd();
    }
    return p;
}

/* An input: one in four is the first output of an earlier transaction. */
static uint8_t *
input(uint8_t *p, size_t i, bool first)
{
    if (first && i > 100 && next_parent < i && rnd() % 4 == 0) {
        next_parent += 1 + rnd() % 4;
    }
    if (first && i > 100 && next_parent < i && rnd() % 4 == 0) {
        memcpy(p, txs[next_parent++].id.b, EXI_HASH_LEN);
        memset(p + EXI_HASH_LEN, 0, 4);
        p += EXI_HASH_LEN + 4;
    } else {
        p = random_bytes(p, EXI_HASH_LEN);
        exi_put_le32(p, (uint32_t) (rnd() % 4));
        p += 4;
    }
    *p++ = 0; /* script */
    memset(p, 0xff, 4);
    return p + 4;
}

static uint8_t *
output(uint8_t *p, uint64_t value)
{
    exi_put_le64(p, value);
    p[8] = 22;
    p[9] = 0;
    p[10] = 20;
    return random_bytes(p + 11, 20);
}

static void
make_tx(size_t i)
{
    struct tx *t = &txs[i];
    uint8_t *p = t->raw, nin = (uint8_t) (1 + rnd() % 10 / 8 + rnd() % 10 / 9);
    struct exi_tx parsed;

    exi_put_le32(p, 2);
    p += 4;
    *p++ = nin;
    for (uint8_t k = 0; k < nin; k++) {
        p = input(p, i, k == 0 && i < ntx - BLOCK_TX);
    }
    *p++ = 2;
    p = output(p, VALUE / 3);
    p = output(p, VALUE / 8 + rnd() % 10000);
    memset(p, 0, 4);
    t->len = (uint32_t) (p + 4 - t->raw);
    must(exi_tx_parse_whole(&parsed, t->raw, t->len), "transaction");
    exi_tx_id(&t->id, &parsed);
}

static double
cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3
           + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static double
rss_mb(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    long anon = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        (void) sscanf(line, "RssAnon: %ld", &anon);
    }
    if (f != NULL) {
        fclose(f);
    }
    return (double) anon / 1024;
}

static double
file_mb(const char *dir)
{
    char cmd[600], text[64] = "0";
    FILE *f;

    snprintf(cmd, sizeof(cmd), "du -sm '%s/live' | cut -f1", dir);
    f = popen(cmd, "r");
    if (f != NULL) {
        (void) !fgets(text, sizeof(text), f);
        pclose(f);
    }
    return atof(text);
}

/* Adds transactions from ... from + n - 1 in one commit. */
static void
add(struct live *l, size_t from, size_t n)
{
    must(live_begin(l), "begin");
    for (size_t i = from; i < from + n; i++) {
        must(live_mempool_add(l, txs[i].raw, txs[i].len, 1), "add");
    }
    must(live_commit(l, EXI_CHANGE_MEMPOOL), "commit");
}

/* A block of n transactions from `from` on; its bytes. */
static uint8_t *
make_block(const struct live *l, size_t from, size_t n, size_t *len,
           struct exi_blkid *hash)
{
    static const uint8_t coinbase[] = "\x01\0\0\0\x01";
    const struct exi_live_state *st = live_state(l);
    uint8_t *raw = calloc(n + 1, sizeof(struct tx)), *p = raw;

    exi_put_le32(p, 1);
    memcpy(p + 4, st->tip.b, EXI_HASH_LEN);
    p = random_bytes(p + 36, 44);
    *p++ = 0xfd;
    *p++ = (uint8_t) (n + 1);
    *p++ = (uint8_t) ((n + 1) >> 8);
    memcpy(p, coinbase, 5);
    memset(p + 5, 0, 32);
    memset(p + 37, 0xff, 4);
    p += 41;
    *p++ = 4;
    exi_put_le32(p, st->tip_height + 1);
    memset(p + 4, 0xff, 4);
    p[8] = 1;
    p = output(p + 9, VALUE);
    memset(p, 0, 4);
    p += 4;
    for (size_t i = from; i < from + n; i++) {
        memcpy(p, txs[i].raw, txs[i].len);
        p += txs[i].len;
    }
    *len = (size_t) (p - raw);
    exi_sha256d(hash->b, raw, EXI_HEADER_LEN);
    return raw;
}

static void
block(struct live *l, size_t from, const char *what)
{
    struct exi_blkid hash;
    size_t len;
    uint8_t *raw = make_block(l, from, BLOCK_TX, &len, &hash);
    double t0 = now_ms(), cpu = cpu_ms(), t1;

    must(live_begin(l), "begin");
    must(live_connect(l, live_state(l)->tip_height + 1, &hash, raw, len),
         "connect");
    t1 = now_ms();
    must(live_commit(l, EXI_CHANGE_BLOCK), "commit");
    printf("block of %d, %s: connect %.1f ms, commit %.1f ms, CPU %.1f ms\n",
           BLOCK_TX, what, t1 - t0, now_ms() - t1, cpu_ms() - cpu);
    free(raw);
}

static int
note_fee(void *ctx, const struct exi_live_tx *tx)
{
    return fees_add(ctx, tx->fee_sat, tx->vsize);
}

static void
histogram(struct live *l)
{
    struct fees *f = fees_new();
    double t0 = now_ms();
    char *json;

    must(live_mempool_each(l, note_fee, f), "each");
    json = fees_histogram(f);
    printf("fee histogram: %.1f ms\n", now_ms() - t0);
    free(json);
    fees_free(f);
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static void
singles(struct live *l, size_t from)
{
    static double t[SINGLES];

    for (size_t i = 0; i < SINGLES; i++) {
        t[i] = now_ms();
        add(l, from + i, 1);
        t[i] = now_ms() - t[i];
    }
    qsort(t, SINGLES, sizeof(*t), by_value);
    printf("one more transaction, a commit each: median %.3f ms, p99 %.3f ms\n",
           t[SINGLES / 2], t[SINGLES * 99 / 100]);
}

/* The reading process: snapshots as workers take them, until it is killed. */
static void
read_on(const char *dir, struct reading *r)
{
    char path[600], name[64] = "";
    char state[] = "state";
    MDB_val key = { 5, state }, val;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    FILE *f;

    while (!r->go) {
        usleep(1000);
    }
    snprintf(path, sizeof(path), "%s/live/CURRENT", dir);
    f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%63s", name) != 1) {
        _exit(1);
    }
    snprintf(path, sizeof(path), "%s/live/%s", dir, name);
    if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 16) != 0
        || mdb_env_open(env, path, MDB_RDONLY | MDB_NOTLS, 0) != 0
        || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0
        || mdb_dbi_open(txn, "meta", 0, &dbi) != 0
        || mdb_txn_commit(txn) != 0
        || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0) {
        _exit(1);
    }
    for (;;) {
        double t0, took;
        struct rusage a, b;

        mdb_txn_reset(txn);
        getrusage(RUSAGE_SELF, &a);
        t0 = now_ms();
        if (mdb_txn_renew(txn) != 0 || mdb_get(txn, dbi, &key, &val) != 0) {
            _exit(1);
        }
        took = now_ms() - t0;
        getrusage(RUSAGE_SELF, &b);
        r->waits += b.ru_nvcsw - a.ru_nvcsw;
        r->snapshots++;
        if (took > r->worst_ms) {
            r->worst_ms = took;
        }
        usleep(50);
    }
}

static struct live *
make_live(const char *dir)
{
    struct live_opts o = { .data_dir = dir,
                           .map_bytes = (size_t) 8 << 30,
                           .prevout = prevout };
    struct exi_live_gen gen = { .number = 1, .height = 800000 };
    struct live *l;

    random_bytes(gen.block.b, EXI_HASH_LEN);
    must(live_create(&l, &o, &gen, 1, 1000000), "live_create");
    must(live_serve(l), "live_serve");
    return l;
}

int
main(int argc, char **argv)
{
    struct reading *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t n = argc > 2 ? (size_t) atol(argv[2]) : 300000, at;
    double t0, cpu, base;
    struct live *l;

    if (argc < 2 || r == MAP_FAILED || n < 100000) {
        fprintf(stderr, "usage: bench_live DIR [TXS], at least 100000\n");
        return 2;
    }
    reader = fork();
    if (reader == 0) {
        read_on(argv[1], r);
    }
    ntx = n + BLOCK_TX + SINGLES;
    txs = calloc(ntx, sizeof(*txs));
    for (size_t i = 0; i < ntx; i++) {
        make_tx(i);
    }
    base = rss_mb();
    l = make_live(argv[1]);
    r->go = 1;
    cpu = cpu_ms();
    t0 = now_ms();
    for (at = 0; at < n; at += CHUNK) {
        add(l, at, n - at < CHUNK ? n - at : CHUNK);
    }
    printf("%zu transactions: %.1f s, CPU %.1f us each; own memory %.1f MB, "
           "file %.0f MB\n",
           n, (now_ms() - t0) / 1e3, (cpu_ms() - cpu) * 1e3 / (double) n,
           rss_mb() - base, file_mb(argv[1]));
    histogram(l);
    singles(l, n);
    for (size_t i = 0; i < BLOCKS; i++) {
        block(l, i * BLOCK_TX, "known");
    }
    block(l, n + SINGLES, "not seen before");
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    printf("a reader took %lu snapshots meanwhile, waited for something in %ld "
           "of them, the slowest took %.2f ms\n",
           r->snapshots, r->waits, r->worst_ms);
    live_close(l);
    free(txs);
    return 0;
}
