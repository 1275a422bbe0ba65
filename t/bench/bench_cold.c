/*
 * What look-ups cost when nothing is in the page cache, and what asking for
 * residency costs when all of it is.  DATA_DIR as bench_bulk leaves it:
 *
 *     bench_cold prepare FILE DATA_DIR       a live layer, DATA_DIR/cold.keys
 *     bench_cold history|balance DATA_DIR [n [wait]]
 *     bench_cold warm DATA_DIR [n]
 *     bench_cold drop DIR                    files below it, from the page cache
 *
 * history, balance: of n random scripts with 2 entries, after the files were
 * dropped from the page cache; as a worker does it (ask, read what is noted,
 * run again), or waiting in page faults.  Prints reads, rounds and time for
 * each look-up.  warm: histories of 10 entries, CPU time of both ways.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "exi_cold.h"
#include "exi_reader.h"
#include "exi_rodb.h"
#include "exi_sha256.h"
#include "live.h"
#include "settle.h"

#define KEYS 20000 /* kept of each length */

struct keys {
    uint32_t n[2];
    struct exi_skey k[2][KEYS]; /* of 2 and of 10 entries */
};

static struct keys keys;
static uint64_t seed = 88172645463325252u;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void
must(int rc, const char *what)
{
    if (rc != EXI_OK) {
        fprintf(stderr, "%s: %s\n", what, exi_strerror(rc));
        exit(1);
    }
}

static double
now(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void *
no_memory(void *ctx, size_t n)
{
    (void) ctx;
    return malloc(n); /* long histories only */
}
static const struct exi_arena arena = { no_memory, NULL };

/*
 * Preparing.
 */

static FILE *
key_file(const char *data, const char *mode)
{
    char path[1200];
    FILE *f;

    snprintf(path, sizeof path, "%s/cold.keys", data);
    f = fopen(path, mode);
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    return f;
}

/* Scripts of chaingen's transactions are not known here: rows say their keys,
 * but for the bits of the bucket, which stand in the row's key. */
static void
add_row(const uint8_t *key, const uint8_t *val, size_t vallen, uint8_t bits)
{
    struct exi_rd rd = exi_rd(val, vallen);
    size_t skip = bits / 8, n = EXI_SKEY_LEN - skip;

    (void) exi_rd_varint(&rd);
    while (!rd.bad && exi_rd_left(&rd) > 0) {
        const uint8_t *suffix = exi_rd_bytes(&rd, n);
        uint64_t head = exi_rd_varint(&rd), count = 0;
        struct exi_skey s;
        int which;
        if (rd.bad || head & 1) {
            (void) exi_rd_varint(&rd);
            continue;
        }
        struct exi_rd list =
            exi_rd(exi_rd_bytes(&rd, head / 2), (size_t) (head / 2));
        for (; exi_rd_left(&list) > 0 && !list.bad; count++) {
            (void) exi_rd_varint(&list);
        }
        if (rd.bad || (count != 2 && count != 10)) {
            continue;
        }
        memcpy(s.b, key + 1, skip);
        memcpy(s.b + skip, suffix, n);
        which = count == 10;
        if (keys.n[which] < KEYS) {
            keys.k[which][keys.n[which]++] = s;
        } else if (rnd() % 16 == 0) {
            keys.k[which][rnd() % KEYS] = s;
        }
    }
}

static void
sample(const char *data, const struct exi_live_gen *g, uint8_t bits)
{
    const uint8_t *key, *val;
    size_t keylen, vallen;
    char path[1200], err[256];
    struct exi_rodb *db;
    struct exi_rodb_iter *it;
    FILE *f;

    snprintf(path, sizeof path, "%s/generations/%010llu/db", data,
             (unsigned long long) g->number);
    must(exi_rodb_open(&db, path, err, sizeof err), path);
    it = exi_rodb_iter_new(db, NULL);
    exi_rodb_iter_seek(it, "H", 1);
    while (exi_rodb_iter_row(it, &key, &keylen, &val, &vallen) == 1
           && key[0] == 'H') {
        add_row(key, val, vallen, bits);
        exi_rodb_iter_next(it);
    }
    exi_rodb_iter_free(it);
    exi_rodb_close(db);
    f = key_file(data, "w");
    must(fwrite(&keys, sizeof keys, 1, f) == 1 && fclose(f) == 0 ? EXI_OK
                                                                 : EXI_EIO,
         "cold.keys");
    printf("%u scripts of 2 entries, %u of 10\n", keys.n[0], keys.n[1]);
}

static int
prevout(void *ctx, const struct exi_txid *txid, uint32_t index,
        struct exi_skey *script, int64_t *value_sat)
{
    return settle_prevout(ctx, txid, index, script, value_sat);
}

static int
prepare(const char *file, const char *data)
{
    struct settle_opts so = { .network = "regtest",
                              .data_dir = data,
                              .expected_txs = 1,
                              .keep_generations = 1 };
    struct live_opts lo = { .data_dir = data, .map_bytes = 64u << 20 };
    struct exi_live_gen gens[EXI_LIVE_GENS_MAX];
    struct settle *s;
    struct live *l;
    uint8_t header[EXI_HEADER_LEN];
    char why[512] = "";
    size_t n;
    int fd = open(file, O_RDONLY);

    must(fd >= 0 && pread(fd, header, sizeof header, 8) == sizeof header
             ? EXI_OK
             : EXI_EIO,
         file);
    exi_sha256d(so.genesis.b, header, sizeof header);
    must(settle_open(&s, &so, why, sizeof why), why);
    lo.prevout = prevout;
    lo.prevout_ctx = s;
    n = settle_generations(s, gens, 1);
    must(n > 0 ? EXI_OK : EXI_ENOTFOUND, "generation");
    must(live_create(&l, &lo, gens, n, settle_meta(s)->tx_count), "live layer");
    must(live_begin(l), "live layer");
    must(live_commit(l, EXI_CHANGE_ALL), "live layer");
    must(live_serve(l), "live layer");
    sample(data, &gens[n - 1], settle_params(s)->script_bits);
    live_close(l);
    settle_close(s);
    return 0;
}

/*
 * Measuring.
 */

/* Drops what is not mapped by anybody. */
static void
drop(const char *dir)
{
    char path[1400];
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        int fd;
        if (e->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_type == DT_DIR) {
            drop(path);
            continue;
        }
        fd = open(path, O_RDONLY);
        if (fd >= 0) {
            (void) fdatasync(fd);
            (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

static int
count(void *ctx, const struct exi_hist *h)
{
    (void) h;
    ++*(uint64_t *) ctx;
    return EXI_OK;
}

static int
ask(struct exi_view *v, const struct exi_skey *s, bool balance, uint64_t *n)
{
    int64_t a, b;

    return balance ? exi_balance(v, &arena, s, EXI_TOKENS_INCLUDE, &a, &b)
                   : exi_history(v, &arena, s, 3, 0, count, n);
}

static long
faults(void)
{
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);
    return ru.ru_majflt;
}

static struct exi_view *
open_view(const char *data)
{
    struct exi_store *s;
    struct exi_view *v;
    double t = now(CLOCK_MONOTONIC);

    must(exi_store_new(&s, data, NULL, NULL), data);
    must(exi_store_refresh(s), data);
    must(exi_view_new(s, &v), data);
    printf("opened in %.1f ms\n", (now(CLOCK_MONOTONIC) - t) * 1e3);
    return v;
}

static int
by_double(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}

static int
cold(const char *data, bool balance, uint32_t n, bool waits)
{
    uint64_t ranges = 0, bytes = 0, rounds = 0, entries = 0, reads[8] = { 0 };
    double *took = malloc(n * sizeof *took), sum = 0, loop = 0, t;
    struct exi_view *v;
    long before;

    drop(data);
    v = open_view(data);
    exi_view_nowait(v, !waits);
    before = faults();
    for (uint32_t i = 0; i < n; i++) {
        const struct exi_skey *s = &keys.k[0][rnd() % keys.n[0]];
        uint64_t of_this = 0;
        int rc;
        t = now(CLOCK_MONOTONIC);
        do {
            struct exi_cold_list *l;
            double at = now(CLOCK_MONOTONIC);
            entries = 0;
            must(exi_view_begin(v), "view");
            rc = ask(v, s, balance, &entries);
            exi_view_end(v);
            loop += now(CLOCK_MONOTONIC) - at;
            if (rc == EXI_ECOLD) {
                must(exi_view_cold_take(v, &l), "take");
                of_this += l->n;
                bytes += l->bytes;
                rounds++;
                must(exi_cold_read(l), "read");
                exi_cold_free(l);
            }
        } while (rc == EXI_ECOLD);
        must(rc, "look-up");
        took[i] = now(CLOCK_MONOTONIC) - t;
        sum += took[i];
        ranges += of_this;
        reads[of_this < 7 ? of_this : 7]++;
    }
    qsort(took, n, sizeof *took, by_double);
    printf("%u look-ups: %.2f reads, %.2f rounds, %.1f KB each; %.1f us, "
           "median %.1f, p99 %.1f; in the loop %.1f us; %.2f major faults\n",
           n, (double) ranges / n, (double) rounds / n,
           (double) bytes / n / 1024, sum / n * 1e6, took[n / 2] * 1e6,
           took[n - n / 100 - 1] * 1e6, loop / n * 1e6,
           (double) (faults() - before) / n);
    printf("reads:");
    for (int i = 0; i < 8; i++) {
        printf("  %d%s %.1f %%", i, i == 7 ? "+" : "",
               100.0 * (double) reads[i] / n);
    }
    printf("\n");
    free(took);
    return 0;
}

static double
warm_once(struct exi_view *v, bool nowait, uint32_t n)
{
    uint64_t entries = 0;
    double t;

    exi_view_nowait(v, nowait);
    t = now(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < n; i++) {
        struct exi_cold_list *l;
        int rc;
        must(exi_view_begin(v), "view");
        rc = ask(v, &keys.k[1][rnd() % keys.n[1]], false, &entries);
        exi_view_end(v);
        if (rc == EXI_ECOLD) {
            must(exi_view_cold_take(v, &l), "take");
            must(exi_cold_read(l), "read");
            exi_cold_free(l);
        }
    }
    return (now(CLOCK_PROCESS_CPUTIME_ID) - t) / n * 1e6;
}

static int
warm(const char *data, uint32_t n)
{
    struct exi_view *v = open_view(data);
    double best[2] = { 1e9, 1e9 };

    for (int i = 0; i < 12; i++) {
        double us = warm_once(v, i % 2 == 1, n);
        printf("%s %.2f us of CPU a history of 10\n",
               i % 2 ? "asks: " : "waits:", us);
        if (i > 1 && us < best[i % 2]) {
            best[i % 2] = us;
        }
    }
    printf("best: waits %.2f, asks %.2f: %+.1f %%\n", best[0], best[1],
           100 * (best[1] / best[0] - 1));
    return 0;
}

int
main(int argc, char **argv)
{
    uint32_t n = argc > 3 ? (uint32_t) atoi(argv[3]) : 10000;
    FILE *f;

    if (argc == 4 && strcmp(argv[1], "prepare") == 0) {
        return prepare(argv[2], argv[3]);
    }
    if (argc == 3 && strcmp(argv[1], "drop") == 0) {
        drop(argv[2]);
        return 0;
    }
    if (argc < 3 || n == 0) {
        fprintf(stderr, "bench_cold prepare FILE DATA_DIR\n"
                        "bench_cold history|balance DATA_DIR [n [wait]]\n"
                        "bench_cold warm DATA_DIR [n]\n"
                        "bench_cold drop DIR\n");
        return 2;
    }
    f = key_file(argv[2], "r");
    must(fread(&keys, sizeof keys, 1, f) == 1 ? EXI_OK : EXI_EIO, "cold.keys");
    fclose(f);
    must(keys.n[0] > 0 && keys.n[1] > 0 ? EXI_OK : EXI_ENOTFOUND, "scripts");
    if (strcmp(argv[1], "warm") == 0) {
        return warm(argv[2], n);
    }
    return cold(argv[2], strcmp(argv[1], "balance") == 0, n, argc > 4);
}
