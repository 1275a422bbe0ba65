/*
 * Measures source.h: reads a node's whole chain and prints MB/s and CPU
 * seconds per GB of this process (the node's own are not in it).
 *
 *     bench_source URL KIND [BLOCKS_DIR [PARALLEL [MEMORY_MB [CONSUMERS]]]]
 *
 * URL: http://user:password@host:port; KIND: files, rest, rpc, auto;
 * BLOCKS_DIR: the node's blocks folder, "-" for none.  The consumers touch
 * each byte's cache line and give the block back.
 */
#include "source.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "coins.h"
#include "exi_hex.h"

#define BENCH_BATCH 500
#define BENCH_MOST  16

static struct source *src;
static volatile uint64_t sink;

static double
bench_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}

static double
bench_cpu(double *sys)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    *sys = (double) u.ru_stime.tv_sec + (double) u.ru_stime.tv_usec * 1e-6;
    return (double) u.ru_utime.tv_sec + (double) u.ru_utime.tv_usec * 1e-6
           + *sys;
}

static long
bench_rss_mb(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss / 1024;
}

static void
bench_die(const char *what, const char *why)
{
    fprintf(stderr, "bench_source: %s: %s\n", what, why);
    exit(1);
}

static uint32_t
bench_magic(struct rpc *r)
{
    struct exi_blkid genesis;
    char hex[2 * EXI_HASH_LEN];
    const struct coin *c;

    if (rpc_hash_at(r, 0, &genesis) != EXI_OK) {
        bench_die("node", rpc_error(r)->message);
    }
    exi_hex_display(hex, genesis.b);
    for (size_t i = 0; (c = coin_at(i)) != NULL; i++) {
        if (memcmp(c->genesis, hex, sizeof(hex)) == 0) {
            return c->magic;
        }
    }
    bench_die("node", "unknown network");
    return 0;
}

static void
bench_batch(struct rpc *r, uint32_t from, size_t n, struct exi_blkid *out)
{
    json_t *params[BENCH_BATCH], *results[BENCH_BATCH];

    for (size_t i = 0; i < n; i++) {
        params[i] = json_pack("[I]", (json_int_t) (from + i));
    }
    if (rpc_batch(r, "getblockhash", params, n, results) != EXI_OK) {
        bench_die("getblockhash", rpc_error(r)->message);
    }
    for (size_t i = 0; i < n; i++) {
        const char *hex = json_string_value(results[i]);

        if (hex == NULL
            || exi_unhex_display(out[i].b, hex, strlen(hex)) != EXI_OK) {
            bench_die("getblockhash", "no hash");
        }
        json_decref(results[i]);
    }
}

static struct exi_blkid *
bench_hashes(struct rpc *r, size_t *n)
{
    struct rpc_chain c;
    struct exi_blkid *out;

    if (rpc_chain(r, &c) != EXI_OK) {
        bench_die("node", rpc_error(r)->message);
    }
    *n = (size_t) c.blocks + 1;
    out = malloc(*n * sizeof(*out));
    for (size_t i = 0; i < *n; i += BENCH_BATCH) {
        bench_batch(r, (uint32_t) i,
                    *n - i < BENCH_BATCH ? *n - i : BENCH_BATCH, out + i);
    }
    return out;
}

static void *
bench_consume(void *arg)
{
    struct source_block b;
    uint64_t sum = 0;
    int rc;

    (void) arg;
    while ((rc = source_next(src, &b)) == 1) {
        for (size_t i = 0; i < b.rawlen; i += 64) {
            sum += b.raw[i];
        }
        source_give_back(src, &b);
    }
    if (rc != 0) {
        char why[512];

        source_why(src, why, sizeof(why));
        bench_die(exi_strerror(rc), why);
    }
    sink = sum;
    return NULL;
}

static void
bench_run(struct source_opts *o, const struct exi_blkid *hashes, size_t n,
          unsigned consumers)
{
    static const char *const kinds[] = { "auto", "files", "REST", "RPC" };
    pthread_t threads[BENCH_MOST];
    double sys0, sys1, scan, cpu0 = bench_cpu(&sys0), t0 = bench_now();
    double cpu, t, gb;
    char why[512];

    if (source_start(&src, o, 0, hashes, n, why, sizeof(why)) != EXI_OK) {
        bench_die("source_start", why);
    }
    scan = bench_now() - t0;
    for (unsigned i = 0; i < consumers; i++) {
        pthread_create(&threads[i], NULL, bench_consume, NULL);
    }
    for (unsigned i = 0; i < consumers; i++) {
        pthread_join(threads[i], NULL);
    }
    t = bench_now() - t0;
    cpu = bench_cpu(&sys1) - cpu0;
    gb = (double) source_bytes(src) / 1e9;
    printf("%-5s parallel %2u memory %4zu MB: %zu blocks, %.2f GB, start "
           "%.3f s, %.2f s, %.0f MB/s, %.2f CPU s/GB (%.2f system), "
           "peak %ld MB\n",
           kinds[source_kind(src)], o->parallel, o->memory >> 20, n, gb, scan,
           t, gb * 1e3 / t, cpu / gb, (sys1 - sys0) / gb, bench_rss_mb());
    source_stop(src);
}

static enum source_kind
bench_kind(const char *s)
{
    return strcmp(s, "files") == 0  ? SOURCE_FILES
           : strcmp(s, "rest") == 0 ? SOURCE_REST
           : strcmp(s, "rpc") == 0  ? SOURCE_RPC
                                    : SOURCE_AUTO;
}

int
main(int argc, char **argv)
{
    struct rpc_opts ro = { 0 };
    struct source_opts o = { .rpc = &ro, .parallel = 8, .memory = 256 << 20 };
    unsigned consumers = 1;
    struct exi_blkid *hashes;
    struct rpc *r = NULL;
    char why[512];
    size_t n;

    if (argc < 3) {
        bench_die("usage", "URL KIND [BLOCKS_DIR [PARALLEL [MEMORY_MB "
                           "[CONSUMERS]]]]");
    }
    ro.urls = argv[1];
    o.kind = bench_kind(argv[2]);
    if (argc > 3 && strcmp(argv[3], "-") != 0) {
        o.blocks_dir = argv[3];
    }
    o.parallel = argc > 4 ? (unsigned) atoi(argv[4]) : o.parallel;
    o.memory = argc > 5 ? (size_t) atoi(argv[5]) << 20 : o.memory;
    consumers = argc > 6 ? (unsigned) atoi(argv[6]) : consumers;
    consumers = consumers < BENCH_MOST ? consumers : BENCH_MOST;
    if (rpc_new(&r, &ro, why, sizeof(why)) != EXI_OK) {
        bench_die("URL", why);
    }
    o.magic = bench_magic(r);
    hashes = bench_hashes(r, &n);
    bench_run(&o, hashes, n, consumers);
    rpc_free(r);
    free(hashes);
    return 0;
}
