/*
 * Bulk sync of a file of blocks (magic, size, block, as the node's block files
 * and chaingen write them; in order, genesis block first), without a node:
 *
 *     bench_bulk FILE DATA_DIR [memory_mb [threads [checkpoint_ms [spender]]]]
 *
 * Prints time by phase, memory, temporary disk and the size of the index by
 * kind of row, and compares the index with FILE.samples.tsv, which chaingen
 * writes.  DATA_DIR must be empty, or hold an unfinished run.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bulk.h"
#include "exi_bytes.h"
#include "exi_hex.h"
#include "exi_rodb.h"
#include "exi_script.h"
#include "exi_sha256.h"
#include "log.h"

#include "blockfile.h"

/* What H values consist of. */
struct hist_parts {
    uint64_t scripts, heads, lists; /* heads and lists: bytes */
};

static void
count_hist(struct hist_parts *h, const uint8_t *val, size_t vallen,
           uint8_t bits)
{
    struct exi_rd r = exi_rd(val, vallen);
    size_t left;
    uint64_t n;

    (void) exi_rd_varint(&r);
    while (!r.bad && exi_rd_left(&r) > 0) {
        left = exi_rd_left(&r);
        (void) exi_rd_bytes(&r, EXI_SKEY_LEN - bits / 8u);
        n = exi_rd_varint(&r) / 2;
        h->heads += left - exi_rd_left(&r);
        (void) exi_rd_bytes(&r, n);
        h->lists += n;
        h->scripts++;
    }
}

/* Rows, keys and values by kind. */
static void
show_rows(const char *data, const struct exi_live_gen *g, double txs,
          const struct exi_meta *m, uint8_t bits)
{
    struct hist_parts h = { 0, 0, 0 };
    struct exi_rodb *db = NULL;
    struct exi_rodb_iter *it;
    const uint8_t *key, *val;
    size_t keylen, vallen;
    char path[1200], err[256];
    uint64_t rows[256] = { 0 }, keys[256] = { 0 }, vals[256] = { 0 };

    snprintf(path, sizeof(path), "%s/generations/%010llu/db", data,
             (unsigned long long) g->number);
    if (exi_rodb_open(&db, path, err, sizeof(err)) != EXI_OK) {
        fprintf(stderr, "%s: %s\n", path, err);
        return;
    }
    it = exi_rodb_iter_new(db, NULL);
    exi_rodb_iter_seek(it, "", 0);
    while (exi_rodb_iter_row(it, &key, &keylen, &val, &vallen) == 1) {
        rows[key[0]]++;
        keys[key[0]] += keylen;
        vals[key[0]] += vallen;
        if (key[0] == EXI_KIND_HISTORY) {
            count_hist(&h, val, vallen, bits);
        }
        exi_rodb_iter_next(it);
    }
    exi_rodb_iter_free(it);
    exi_rodb_close(db);
    for (int k = 0; k < 256; k++) {
        if (rows[k] != 0) {
            printf("%c rows   %10llu  keys + values %7.1f MB  %6.2f bytes/tx\n",
                   k, (unsigned long long) rows[k],
                   (double) (keys[k] + vals[k]) / 1e6,
                   (double) (keys[k] + vals[k]) / txs);
        }
    }
    printf("per tx: %.2f history entries, %.2f scripts, %.2f unspent outputs; "
           "H: %.2f bytes a script, %.2f an entry\n",
           (double) m->hist_count / txs, (double) h.scripts / txs,
           (double) m->utxo_count / txs, (double) h.heads / (double) h.scripts,
           (double) (h.lists + vals[EXI_KIND_HEAVY]) / (double) m->hist_count);
}

/* Entries of a script in its H row of chunk 0. */
static uint64_t
history(struct exi_rodb *db, const struct exi_skey *k, uint8_t bits)
{
    struct exi_hist_slot slot;
    const uint8_t *val;
    size_t vallen;
    struct exi_key key;
    uint64_t n = 0, txnum;
    bool first = true;

    exi_key_bucket(&key, EXI_KIND_HISTORY, exi_bucket(k->b, bits), 0);
    if (exi_rodb_get(db, NULL, key.b, key.len, &val, &vallen) != EXI_OK) {
        return 0;
    }
    if (exi_hist_find(&slot, val, vallen, k, bits) == EXI_OK) {
        txnum = slot.base;
        while (!slot.heavy
               && exi_txnums_next(&slot.list, &txnum, &first) == 1) {
            n++;
        }
        n = slot.heavy ? slot.count : n;
    }
    return n;
}

/* Unspent outputs of a script and their amounts. */
static uint64_t
unspent(struct exi_rodb_iter *it, const struct exi_skey *k, uint64_t *sat)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    struct exi_key from;
    uint64_t n = 0;

    exi_key_utxo(&from, k, 0, 0);
    *sat = 0;
    exi_rodb_iter_seek(it, from.b, EXI_KEY_UTXO_PREFIX);
    while (exi_rodb_iter_row(it, &key, &keylen, &val, &vallen) == 1
           && keylen > EXI_KEY_UTXO_PREFIX
           && memcmp(key, from.b, EXI_KEY_UTXO_PREFIX) == 0) {
        struct exi_rd r = exi_rd(val, vallen);

        *sat += exi_rd_varint(&r);
        n++;
        exi_rodb_iter_next(it);
    }
    return n;
}

/* Compares with what chaingen knows of its scripts; 0: all is right. */
static int
check_samples(const char *file, const char *data, const struct exi_live_gen *g,
              uint8_t bits)
{
    char path[1200], line[4096], hex[2048], err[256];
    unsigned long long hist, utxos, sat, checked = 0, wrong = 0;
    struct exi_rodb *db = NULL;
    struct exi_rodb_iter *it;
    uint8_t script[1024];
    struct exi_shash h;
    FILE *f;

    snprintf(path, sizeof(path), "%s.samples.tsv", file);
    f = fopen(path, "r");
    snprintf(path, sizeof(path), "%s/generations/%010llu/db", data,
             (unsigned long long) g->number);
    if (f == NULL || exi_rodb_open(&db, path, err, sizeof(err)) != EXI_OK) {
        return 0;
    }
    it = exi_rodb_iter_new(db, NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        struct exi_skey k;
        uint64_t sum, n;

        if (sscanf(line, "%*s %*s %llu %llu %llu %*s %2047s", &hist, &utxos,
                   &sat, hex)
                != 4
            || exi_unhex(script, hex, strlen(hex)) != EXI_OK) {
            continue;
        }
        exi_script_hash(&h, script, strlen(hex) / 2);
        k = exi_skey(&h);
        n = unspent(it, &k, &sum);
        checked++;
        wrong += n != utxos || sum != sat || history(db, &k, bits) != hist;
    }
    fclose(f);
    exi_rodb_iter_free(it);
    exi_rodb_close(db);
    printf("%llu scripts compared with the samples, %llu differ\n", checked,
           wrong);
    return wrong != 0;
}

static void
show_du(const char *data, const char *what, double txs)
{
    char cmd[1200];
    unsigned long long kb = 0;
    FILE *f;

    snprintf(cmd, sizeof(cmd), "du -sk '%s'/settled/0*/%s", data, what);
    f = popen(cmd, "r");
    if (f != NULL && fscanf(f, "%llu", &kb) == 1) {
        printf("%-5s on disk %7.1f MB  %6.2f bytes/tx\n", what,
               (double) kb * 1024 / 1e6, (double) kb * 1024 / txs);
    }
    if (f != NULL) {
        pclose(f);
    }
}

static int
progress(void *ctx, const struct bulk_progress *p)
{
    static const char *const names[] = { "read", "join", "txids", "rows",
                                         "link" };
    static double last;
    double t = now(CLOCK_MONOTONIC);

    (void) ctx;
    if (t - last > 1 && isatty(2)) {
        fprintf(stderr, "%s %.0f %%, block %u, %llu tx\n", names[p->phase],
                100 * p->done / p->total, p->height,
                (unsigned long long) p->txs);
        last = t;
    }
    return 0;
}

static void
show(const struct bulk_stats *st, double wall, double cpu, double txs)
{
    static const char *const names[] = { "read", "join", "txids", "rows",
                                         "link" };
    struct rusage ru;

    for (int i = 0; i < BULK_PHASES; i++) {
        printf("%-6s wall %7.2f s   CPU %7.2f s   %5.2f CPU s per million "
               "tx\n",
               names[i], st->wall_s[i], st->cpu_s[i], st->cpu_s[i] / txs * 1e6);
    }
    printf("all    wall %7.2f s   CPU %7.2f s   %5.2f CPU s per million tx   "
           "%.0f tx/s\n",
           wall, cpu, cpu / txs * 1e6, txs / wall);
    getrusage(RUSAGE_SELF, &ru);
    printf("peak memory %ld MB, temporary files %.1f MB (%.1f bytes/tx), "
           "%llu spilled, %llu missed\n",
           ru.ru_maxrss / 1024, (double) st->temp_bytes / 1e6,
           (double) st->temp_bytes / txs, (unsigned long long) st->spills,
           (unsigned long long) st->misses);
}

int
main(int argc, char **argv)
{
    struct blocks b = { .fd = -1 };
    struct bulk_source src = { next_block, give_back, NULL, &b };
    struct settle_opts so = { .network = "regtest", .keep_generations = 1 };
    struct bulk_opts o = { .checkpoint_ms = 60000, .progress = progress };
    struct bulk *bulk = NULL;
    struct bulk_stats st;
    struct settle *s;
    struct exi_live_gen gen;
    uint8_t header[80];
    char why[512] = "";
    double wall, cpu;
    int rc;

    if (argc < 3) {
        fprintf(stderr, "bench_bulk FILE DATA_DIR [memory_mb [threads "
                        "[checkpoint_ms [spender]]]]\n");
        return 2;
    }
    scan(&b, argv[1]);
    if (pread(b.fd, header, 80, 8) != 80) {
        die(argv[1]);
    }
    exi_sha256d(so.genesis.b, header, 80);
    so.data_dir = argv[2];
    so.expected_txs = o.expected_txs = b.txs;
    so.spender = argc > 6 && atoi(argv[6]) != 0;
    o.memory = (size_t) (argc > 3 ? atoi(argv[3]) : 2048) << 20;
    o.threads = argc > 4 ? (unsigned) atoi(argv[4]) : 0;
    o.checkpoint_ms = argc > 5 ? (unsigned) atoi(argv[5]) : 60000;
    log_set_level("debug");
    mkdir(argv[2], 0755);
    rc = settle_open(&s, &so, why, sizeof(why));
    if (rc != EXI_OK) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    wall = now(CLOCK_MONOTONIC);
    cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    rc = bulk_open(&bulk, s, &o);
    if (rc == EXI_OK) {
        b.next = bulk_blocks(bulk, NULL);
        printf("%u blocks, %llu transactions, %.1f MB; memory %zu MB; "
               "begins at block %u\n",
               b.n, (unsigned long long) b.txs, (double) b.bytes / 1e6,
               o.memory >> 20, b.next);
        rc = bulk_reading(bulk) ? bulk_read(bulk, &src, b.n - 1) : EXI_OK;
    }
    if (rc == EXI_OK) {
        rc = bulk_finish(bulk, why, sizeof(why));
    }
    if (rc != EXI_OK) {
        fprintf(stderr, "%s %s\n", exi_strerror(rc), why);
        return 1;
    }
    bulk_stats(bulk, &st);
    bulk_close(bulk);
    rc = settle_publish(s, &gen);
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    show(&st, wall, cpu, (double) b.txs);
    if (rc == EXI_OK) {
        show_rows(argv[2], &gen, (double) b.txs, settle_meta(s),
                  settle_params(s)->script_bits);
        rc = check_samples(argv[1], argv[2], &gen,
                           settle_params(s)->script_bits);
    }
    settle_close(s);
    show_du(argv[2], "db", (double) b.txs);
    show_du(argv[2], "flat", (double) b.txs);
    return rc == EXI_OK ? 0 : 1;
}
