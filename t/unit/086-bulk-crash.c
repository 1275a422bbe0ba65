/*
 * Bulk sync that is killed at any system call, or runs out of space: what is
 * done goes on from the last checkpoint and ends with the same index.
 */
#include "../lib/tap.h"

#include "../lib/settlecheck.h"
#include "../lib/bulkrun.h"
#include "../lib/faults.h"

#include <sys/wait.h>

#define BLOCKS 90

static const char *dir;
static char why[512];
static struct cm m = { .scripts = 40, .txs_max = 20 };

int
syncfs(int fd)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_syncfs, fd);
}

int
truncate(const char *path, off_t len)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_truncate, path, len);
}

/* A fresh data directory; its name is good until the second next one. */
static const char *
fresh(void)
{
    static char paths[2][300];
    static int n;
    char *path = paths[n & 1];

    snprintf(path, sizeof(paths[0]), "%s/%d", dir, n++);
    mkdir(path, 0755);
    return path;
}

static struct settle *
open_in(const char *data)
{
    struct settle_opts o = sc_opts(&m, data);
    struct settle *s = NULL;

    if (settle_open(&s, &o, why, sizeof(why)) != EXI_OK) {
        diag("open: %s", why);
    }
    return s;
}

static bool
published_right(struct settle *s, const char *data)
{
    struct exi_live_gen g;
    char path[400];
    uint32_t height;

    if (settle_publish(s, &g) != EXI_OK) {
        diag("publish");
        return false;
    }
    snprintf(path, sizeof(path), "%s/generations/%010llu", data,
             (unsigned long long) g.number);
    if (!sc_generation(path, &m, &height)) {
        diag("%s", sc_error);
        return false;
    }
    return height == BLOCKS - 1;
}

/* All that there is to do, from wherever it is. */
static int
sync_all(const char *data, const struct bulk_opts *o)
{
    struct settle *s = open_in(data);
    int rc = s == NULL ? EXI_EIO : EXI_OK;

    if (rc == EXI_OK && !settle_any(s)) {
        rc = br_sync(s, &m, BLOCKS - 1, o, why, sizeof(why));
    }
    settle_close(s);
    return rc;
}

/* sync_all() in a process that dies at system call number `at`; true: it was
 * done before that. */
static bool
sync_killed(const char *data, const struct bulk_opts *o, long at)
{
    pid_t pid;
    int status;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        fault_set(FAULT_KILL, at);
        _exit(sync_all(data, o) == EXI_OK ? 0 : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return false;
    }
    if (WIFEXITED(status)) {
        each(WEXITSTATUS(status) == 0, "killed at call %ld: exit %d", at,
             WEXITSTATUS(status));
        return true;
    }
    return false;
}

/* Calls of a whole run. */
static long
count_calls(const struct bulk_opts *o)
{
    const char *data = fresh();
    long n;

    fault_set(FAULT_KILL, 1L << 60);
    each(sync_all(data, o) == EXI_OK, "a whole run");
    n = fault_calls;
    fault_reset();
    sc_remove(data);
    return n;
}

static struct bulk_opts
opts(unsigned i)
{
    static const size_t memory[] = { 1 << 20, 30000, 3000 };
    struct bulk_opts o = { .memory = memory[i % 3],
                           .threads = 1 + i % 2,
                           .expected_txs = 2000,
                           .checkpoint_ms = i % 4 == 3 ? 10 : 0 };

    return o;
}

static bool
right_at_last(const char *data)
{
    struct settle *s = open_in(data);
    bool good = s != NULL && settle_any(s) && published_right(s, data);

    settle_close(s);
    return good;
}

/* One kill somewhere, then to the end. */
static void
test_once(void)
{
    for (unsigned i = 0; i < 60; i++) {
        struct bulk_opts o = opts(i);
        static long calls[12];
        const char *data = fresh();
        long at;

        if (calls[i % 12] == 0) {
            calls[i % 12] = count_calls(&o);
        }
        /* Half of them near the end, where the phases are short. */
        at = (long) rnd_below((uint64_t) calls[i % 12]) + 1;
        at = i % 2 ? at : calls[i % 12] - at / 8;
        sync_killed(data, &o, at);
        each(sync_all(data, &o) == EXI_OK, "%u: after call %ld: %s", i, at,
             why);
        each(right_at_last(data), "%u: after call %ld", i, at);
        sc_remove(data);
    }
    each_done("killed once");
}

/* Killed again and again. */
static void
test_often(void)
{
    for (unsigned i = 0; i < 6; i++) {
        struct bulk_opts o = opts(i);
        const char *data = fresh();
        long max = 3000;
        int kills = 0;

        o.checkpoint_ms = 0;
        while (
            kills < 500
            && !sync_killed(data, &o, (long) rnd_below((uint64_t) max) + 1)) {
            kills++;
            max += kills % 20 == 0 ? 3000 : 0;
        }
        diag("%d kills", kills);
        each(right_at_last(data), "%u: after %d kills", i, kills);
        sc_remove(data);
    }
    each_done("killed often");
}

/* No space from some call on; then there is space again. */
static void
test_space(void)
{
    for (unsigned i = 0; i < 40; i++) {
        struct bulk_opts o = opts(i);
        const char *data = fresh();
        struct settle *s = open_in(data);
        long calls;
        int rc;

        fault_set(FAULT_SPACE, (long) rnd_below(i % 2 ? 40000 : 4000) + 1);
        rc = br_sync(s, &m, BLOCKS - 1, &o, why, sizeof(why));
        calls = fault_calls;
        fault_reset();
        each(rc == EXI_OK || rc == EXI_ESPACE, "%u: %d at call %ld: %s", i, rc,
             calls, why);
        if (rc != EXI_OK) {
            rc = br_sync(s, &m, BLOCKS - 1, &o, why, sizeof(why));
            each(rc == EXI_OK, "%u: %d after call %ld: %s", i, rc, calls, why);
        }
        each(published_right(s, data), "%u: after call %ld", i, calls);
        settle_close(s);
        sc_remove(data);
    }
    each_done("no space");
}

int
main(void)
{
    /* Many errors are provoked, and logged. */
    if (getenv("EXI_TEST_LOG") == NULL
        && freopen("/dev/null", "w", stderr) == NULL) {
        return 1;
    }
    rnd_init();
    /* Hundreds of syncs: in memory, if there is such a file system. */
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 0);
    }
    dir = sc_tmp();
    cm_grow(&m, BLOCKS, rnd());
    subtest("killed once", test_once);
    subtest("killed often", test_often);
    subtest("no space left", test_space);
    cm_free(&m);
    sc_remove(dir);
    return done_testing();
}
