/*
 * Going back to a published generation, which generations are kept, leases.
 * As in 033-settle-crash.c, what is killed runs in child processes, before the
 * parent opens anything itself.
 */
#include "../lib/tap.h"

#include "../lib/faults.h"
#include "../lib/settlecheck.h"

#include <sys/file.h>
#include <sys/wait.h>

#define FORK 21 /* first block that differs */

static struct cm a, b; /* equal below FORK */
static const char *dir;
static char why[512];

static const char *
fresh(void)
{
    static char path[300];
    static int n;

    snprintf(path, sizeof(path), "%s/%d-%d", dir, (int) getpid(), n++);
    mkdir(path, 0755);
    return path;
}

static struct settle *
open_in(const char *data, uint32_t keep)
{
    struct settle_opts o = sc_opts(&a, data);
    struct settle *s = NULL;

    o.keep_generations = keep;
    if (settle_open(&s, &o, why, sizeof(why)) != EXI_OK) {
        diag("open: %s", why);
    }
    return s;
}

static const char *
gen_dir(const char *data, uint64_t number)
{
    static char path[400];

    snprintf(path, sizeof(path), "%s/generations/%010llu", data,
             (unsigned long long) number);
    return path;
}

static bool
gen_right(const char *data, uint64_t number, const struct cm *m)
{
    bool good = sc_generation(gen_dir(data, number), m, NULL);

    if (!good) {
        diag("generation %llu: %s", (unsigned long long) number, sc_error);
    }
    return good;
}

/* Settles up to a height of a model and publishes; the generation's number. */
static uint64_t
go_to(struct settle *s, const struct cm *m, uint32_t height)
{
    uint32_t next = settle_any(s) ? settle_meta(s)->height + 1 : 0;
    struct exi_live_gen g = { .number = 0 };
    int rc = next <= height ? sc_settle(s, m, next, height) : EXI_OK;

    if (rc == EXI_OK) {
        rc = settle_publish(s, &g);
    }
    if (rc != EXI_OK) {
        diag("to %u: %d", height, rc);
    }
    return g.number;
}

static void
test_fallback(void)
{
    const char *data = fresh();
    struct settle *s = open_in(data, 1);
    uint64_t g10, g20, g30, g40, g;
    struct exi_live_gen list[8];
    struct exi_blkid hash;

    g10 = go_to(s, &a, 10);
    g20 = go_to(s, &a, 20);
    g30 = go_to(s, &a, 30);
    ok(g10 == 1 && g20 == 2 && g30 == 3, "numbers");
    is_int(go_to(s, &a, 30), 3, "nothing new is not published again");
    is_int(settle_generations(s, list, 8), 3, "three generations");
    ok(list[0].number == 3 && list[0].height == 30 && list[2].number == 1,
       "newest first");
    is_int(settle_generations(s, list, 2), 2, "at most two");
    is_int(settle_fallback(s, 9, why, sizeof(why)), EXI_EAPI, "none such: %s",
           why);
    is_int(settle_add(s, 31, b.blocks[31].raw, b.blocks[31].rawlen), EXI_EAPI,
           "the other branch does not link");

    is_int(settle_fallback(s, g20, why, sizeof(why)), EXI_OK, "fall back");
    is_int(settle_meta(s)->height, 20, "height");
    is_int(go_to(s, &b, 20), 4, "published anew: numbers ascend");
    g40 = go_to(s, &b, 40);
    is_int(g40, 5, "numbers go on");
    ok(gen_right(data, g40, &b), "the new branch");
    ok(gen_right(data, g30, &a), "the old one as it was");
    ok(gen_right(data, g20, &b) && gen_right(data, g20, &a), "the common part");
    is_int(settle_block_hash(s, 30, &hash), EXI_OK, "a block");
    is_mem(&hash, &b.blocks[30].hash, 32, "of the new branch");
    settle_close(s);

    s = open_in(data, 1);
    is_int(settle_meta(s)->height, 40, "open again");
    is_int(settle_fallback(s, g10, why, sizeof(why)), EXI_OK, "further back");
    g = go_to(s, &a, 35);
    ok(g == 6 && gen_right(data, g, &a), "and to the first branch again");
    is_int(settle_fallback(s, 0, why, sizeof(why)), EXI_OK, "to nothing");
    ok(!settle_any(s), "nothing is settled");
    g = go_to(s, &b, 25);
    ok(g == 7 && gen_right(data, g, &b), "from the start");
    ok(gen_right(data, 6, &a) && gen_right(data, g40, &b)
           && gen_right(data, g10, &a),
       "others as they were");
    settle_close(s);
    s = open_in(data, 1);
    g = go_to(s, &b, 40);
    ok(g == 8 && gen_right(data, g, &b), "on after opening again");
    settle_close(s);
}

/* Damaged generations are refused; the index stays what it was. */
static void
test_damaged(void)
{
    const char *data = fresh();
    struct settle *s = open_in(data, 1);
    uint64_t g10 = go_to(s, &a, 10), g20 = go_to(s, &a, 20);
    struct exi_live_gen list[8];
    char cmd[1000];

    go_to(s, &a, 30);
    snprintf(cmd, sizeof(cmd), "rm '%s'/db/*.ldb", gen_dir(data, g10));
    is_int(system(cmd), 0, "tables are gone");
    ok(settle_fallback(s, g10, why, sizeof(why)) < 0, "refused: %s", why);
    is_int(settle_meta(s)->height, 30, "as before");
    snprintf(cmd, sizeof(cmd), "rm '%s/flat/txids.000000'", gen_dir(data, g20));
    is_int(system(cmd), 0, "a segment is gone");
    ok(settle_fallback(s, g20, why, sizeof(why)) < 0, "refused: %s", why);
    ok(gen_right(data, go_to(s, &a, 33), &a), "goes on");
    settle_close(s);
    snprintf(cmd, sizeof(cmd), "sed -i 's/^height 20/height 19/' '%s/manifest'",
             gen_dir(data, g20));
    is_int(system(cmd), 0, "a changed manifest");
    s = open_in(data, 1);
    is_int(settle_generations(s, list, 8), 3, "is not listed");
    is_int(settle_fallback(s, g20, why, sizeof(why)), EXI_EAPI, "%s", why);
    is_int(settle_meta(s)->height, 33, "as before");
    settle_close(s);
}

/* Which are there: bit n for number n. */
static unsigned
there(const char *data)
{
    unsigned bits = 0;

    for (uint64_t n = 1; n < 32; n++) {
        bits |= (access(gen_dir(data, n), F_OK) == 0 ? 1u : 0) << n;
    }
    return bits;
}

static void
test_prune(void)
{
    const char *data = fresh();
    struct settle *s = open_in(data, 1);
    struct exi_live_gen list[16], keep[2] = { { .number = 0 } };
    char path[500];
    int fd;

    for (uint32_t h = 2; h <= 30; h += 4) {
        go_to(s, &a, h);
    }
    is_int(there(data), 0x1fe, "eight generations");
    ok(!settle_leased(s, 3), "no lease");
    snprintf(path, sizeof(path), "%s/lease", gen_dir(data, 3));
    fd = open(path, O_RDONLY);
    is_int(flock(fd, LOCK_SH), 0, "a lease");
    ok(settle_leased(s, 3), "is seen");
    ok(!settle_leased(s, 99), "none of what is not there");
    keep[0].number = 5;
    keep[1].number = 6;
    settle_prune(s, keep, 2);
    /* The lowest is kept for fallbacks: it sinks deep enough one day. */
    is_int(there(data), 0x16a, "kept: lowest, leased, listed, newest");
    is_int(settle_generations(s, list, 16), 5, "in the list too");
    close(fd);
    settle_prune(s, NULL, 0);
    is_int(there(data), 0x102, "lowest and newest");
    settle_prune(s, NULL, 0);
    is_int(there(data), 0x102, "again");
    settle_close(s);
    s = open_in(data, 1);
    is_int(settle_generations(s, list, 16), 2, "after opening again");
    is_int(go_to(s, &a, 31), 9, "the next number");
    settle_close(s);
    snprintf(path, sizeof(path),
             "test -z \"$(ls '%s/generations' | grep -v "
             "'^0')\"",
             data);
    is_int(system(path), 0, "nothing else is left");
}

/* Over hundreds of blocks there is always something to fall back to. */
static void
test_kept_depths(void)
{
    struct cm m = { .scripts = 5, .txs_max = 0 };
    const char *data = fresh();
    struct settle *s;
    struct settle_opts o;
    size_t most = 0;

    cm_grow(&m, 600, 7);
    o = sc_opts(&m, data);
    o.keep_generations = 2;
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_OK, "open");
    for (uint32_t h = 9; h < 600; h += 15) {
        struct exi_live_gen list[32];
        uint32_t depth = 0;
        uint64_t g = go_to(s, &m, h);
        size_t n;

        n = settle_generations(s, list, 32);
        settle_prune(s, list, 1);
        n = settle_generations(s, list, 32);
        most = n > most ? n : most;
        for (size_t i = 0; i < n; i++) {
            uint32_t d = h - list[i].height;

            if (d >= 100 && (depth == 0 || d < depth)) {
                depth = d;
            }
        }
        each(g != 0 && (h < 110 || (depth >= 100 && depth < 230)),
             "height %u: %u", h, depth);
    }
    each_done("one 100 ... 230 blocks deep");
    ok(most <= 6, "at most %zu were there", most);
    settle_close(s);
    cm_free(&m);
}

/*
 * Kills while falling back.
 */

static int
run_fallback(const char *data, long at)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct settle *s = open_in(data, 1);
        int rc;

        fault_set(FAULT_KILL, at);
        rc = settle_fallback(s, 2, why, sizeof(why));
        fault_reset();
        settle_close(s);
        _exit(rc == EXI_OK ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return status;
}

/* In a child: prepares a directory, or checks one. */
static bool
in_child(bool (*fn)(const char *data), const char *data)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        bool good = fn(data);

        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return status == 0;
}

static bool
prepare(const char *data)
{
    struct settle *s = open_in(data, 1);
    bool good =
        go_to(s, &a, 10) == 1 && go_to(s, &a, 20) == 2 && go_to(s, &a, 30) == 3;

    settle_close(s);
    return good;
}

/* Either where it was or where it fell back to; goes on from there. */
static bool
check(const char *data)
{
    struct settle *s = open_in(data, 1);
    uint32_t h = s != NULL ? settle_meta(s)->height : 0;
    const struct cm *m = h == 20 ? &b : &a;
    bool good = (h == 20 || h == 30) && gen_right(data, go_to(s, m, 38), m)
                && gen_right(data, 1, &a) && gen_right(data, 2, &a)
                && gen_right(data, 3, &a);

    settle_close(s);
    return good;
}

static void
test_kills(void)
{
    long step = getenv("TEST_LONG") != NULL ? 1 : 6;
    char cmd[900], data[300];
    unsigned kills = 0;
    char first[300];

    snprintf(first, sizeof(first), "%s", fresh());
    ok(in_child(prepare, first), "prepared");
    for (long at = 1 + (long) rnd_below((uint64_t) step);; at += step) {
        int status;

        snprintf(data, sizeof(data), "%s", fresh());
        snprintf(cmd, sizeof(cmd), "cp -r '%s/.' '%s'", first, data);
        each(system(cmd) == 0, "copy");
        status = run_fallback(data, at);
        each(in_child(check, data), "after call %ld", at);
        sc_remove(data);
        if (!WIFSIGNALED(status)) {
            break;
        }
        kills++;
    }
    each_done("killed while falling back");
    ok(kills > 3, "%u kills", kills);
}

int
main(void)
{
    uint64_t seed;

    rnd_init();
    dir = sc_tmp();
    seed = rnd();
    a.scripts = b.scripts = 30;
    a.txs_max = b.txs_max = 8;
    cm_grow(&a, FORK, seed);
    cm_grow(&a, 41, seed + 1);
    cm_grow(&b, FORK, seed);
    cm_grow(&b, 41, seed + 2);
    subtest("killed while falling back", test_kills);
    subtest("fall back", test_fallback);
    subtest("damaged generations", test_damaged);
    subtest("prune and leases", test_prune);
    subtest("kept for fallbacks", test_kept_depths);
    cm_free(&a);
    cm_free(&b);
    sc_remove(dir);
    return done_testing();
}
