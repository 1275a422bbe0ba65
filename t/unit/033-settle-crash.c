/*
 * Kills and full disks: the settled layer is as of its last commit, goes on
 * from there, and ends with the rows of an undisturbed build.  Meanwhile reader
 * processes open generations and must find each of them right.
 *
 * All writing is done in child processes: LevelDB's thread does not survive a
 * fork, so the parent must never have had one.
 */
#include "../lib/tap.h"

#include "../lib/faults.h"
#include "../lib/settlecheck.h"

#include <sys/file.h>
#include <sys/wait.h>

#define BLOCKS 48
#define BATCH  6

static struct cm m;
static const char *dir;
static char why[512];

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static struct settle *
open_in(const char *data)
{
    struct settle_opts o = sc_opts(&m, data);
    struct settle *s = NULL;

    o.tidy_after = 1;

    why[0] = '\0';
    return settle_open(&s, &o, why, sizeof(why)) == EXI_OK ? s : NULL;
}

static const char *
fresh(void)
{
    static char path[300];
    static int n;

    snprintf(path, sizeof(path), "%s/%d", dir, n++);
    if (mkdir(path, 0755) != 0) {
        diag("%s: %s", path, strerror(errno));
    }
    return path;
}

/* The generation is held by a lease: it must be whole and right. */
static int
read_one(const char *data, const char *name)
{
    char path[600], lease[700];
    struct stat a, b;
    int fd, rc = 0;

    snprintf(path, sizeof(path), "%s/generations/%s", data, name);
    snprintf(lease, sizeof(lease), "%s/lease", path);
    fd = open(lease, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    if (flock(fd, LOCK_SH) == 0 && fstat(fd, &a) == 0 && stat(lease, &b) == 0
        && a.st_ino == b.st_ino) {
        if (!sc_generation(path, &m, NULL)) {
            printf("# reader, generation %s: %s\n", name, sc_error);
            rc = 1;
        }
    }
    close(fd);
    return rc;
}

/* Reads all generations; 0: all right, else the number of wrong ones. */
static int
read_all(const char *data, unsigned *seen)
{
    char path[600];
    struct dirent *e;
    uint64_t n;
    int wrong = 0;
    DIR *d;

    snprintf(path, sizeof(path), "%s/generations", data);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strlen(e->d_name) == 10 && sscanf(e->d_name, "%lu", &n) == 1) {
            wrong += read_one(data, e->d_name);
            ++*seen;
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return wrong;
}

/* A process that reads until there is a file "stop". */
static pid_t
start_reader(const char *data)
{
    unsigned seen = 0;
    char stop[400];
    int wrong = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid != 0) {
        return pid;
    }
    snprintf(stop, sizeof(stop), "%s/stop", data);
    while (wrong == 0 && access(stop, F_OK) != 0) {
        wrong = read_all(data, &seen);
        usleep(2000);
    }
    fflush(stdout);
    _exit(wrong != 0 ? 1 : seen == 0 ? 2 : 0);
}

/* Settles from where the directory stands to its end, a generation a batch. */
static int
work(const char *data, uint32_t last)
{
    struct settle *s = open_in(data);
    struct exi_live_gen g;
    bool more;
    int rc = s == NULL ? EXI_EIO : EXI_OK;

    while (rc == EXI_OK) {
        uint32_t next = settle_any(s) ? settle_meta(s)->height + 1 : 0;
        uint32_t to = next + BATCH - 1;

        if (settle_any(s)) {
            rc = settle_publish(s, &g);
            settle_prune(s, &g, 1);
        }
        /* Folds, and rewrites where a batch is a multiple of four. */
        if (rc == EXI_OK) {
            rc = settle_tidy(s, next / BATCH % 4 == 0, sc_never, NULL, &more);
        }
        if (rc != EXI_OK || next > last) {
            break;
        }
        rc = sc_settle(s, &m, next, to < last ? to : last);
    }
    settle_close(s);
    return rc;
}

/* Runs fn in a child; whether it returned true. */
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

/* Runs work() in a child with a fault; returns its wait status. */
static int
run_child(const char *data, enum fault kind, long at)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int out = open("/dev/null", O_WRONLY);

        dup2(out, 2);
        fault_set(kind, at);
        work(data, BLOCKS - 1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

/* Settled state is some block of the chain, with its look-ups. */
static bool
state_right(const char *data)
{
    struct settle *s = open_in(data);
    unsigned seen = 0;
    bool good = s != NULL;

    if (!good) {
        diag("open: %s", why);
        return false;
    }
    if (settle_any(s)) {
        const struct exi_meta *meta = settle_meta(s);

        good = meta->height < BLOCKS
               && memcmp(&meta->block, &m.blocks[meta->height].hash, 32) == 0
               && meta->tx_count == m.blocks[meta->height].tx_count;
    }
    for (size_t i = 0; good && i < m.ntxs; i += 7) {
        bool there = settle_any(s) && i < settle_meta(s)->tx_count;
        uint64_t txnum;
        int rc = settle_txnum(s, &m.txs[i].txid, &txnum);

        good = there ? rc == EXI_OK && txnum == i : rc == EXI_ENOTFOUND;
    }
    settle_close(s);
    return good && read_all(data, &seen) == 0;
}

/* The end of all: everything is there. */
static bool
end_right(const char *data)
{
    struct settle *s;
    struct exi_live_gen g;
    char path[400];
    int rc = work(data, BLOCKS - 1);

    s = rc == EXI_OK ? open_in(data) : NULL;
    if (s == NULL || settle_publish(s, &g) != EXI_OK) {
        diag("work: %d, %s", rc, why);
        settle_close(s);
        return false;
    }
    settle_close(s);
    snprintf(path, sizeof(path), "%s/generations/%010llu", data,
             (unsigned long long) g.number);
    if (g.height != BLOCKS - 1 || !sc_generation(path, &m, NULL)) {
        diag("%s", sc_error);
        return false;
    }
    return true;
}

/* No .tmp and no dead. names are left after an open. */
static bool
no_litter(const char *data)
{
    char cmd[800];

    snprintf(cmd, sizeof(cmd),
             "test -z \"$(ls '%s' '%s/generations' '%s/settled' | "
             "grep -e '[.]tmp$' -e '^dead')\"",
             data, data, data);
    return system(cmd) == 0;
}

/* Calls of an undisturbed run, written to a file. */
static bool
counted_work(const char *data)
{
    char path[400];
    long calls;
    FILE *f;
    int rc;

    fault_set(FAULT_NONE, 0);
    rc = work(data, BLOCKS - 1);
    calls = fault_calls;
    snprintf(path, sizeof(path), "%s/calls", data);
    f = fopen(path, "w");
    fprintf(f, "%ld", calls);
    fclose(f);
    return rc == EXI_OK;
}

static long
count_calls(void)
{
    const char *data = fresh();
    char path[400];
    long n = 0;
    FILE *f;

    ok(in_child(counted_work, data), "undisturbed build");
    snprintf(path, sizeof(path), "%s/calls", data);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%ld", &n) != 1) {
        n = 100;
    }
    if (f != NULL) {
        fclose(f);
    }
    ok(in_child(end_right, data), "is right");
    sc_remove(data);
    return n;
}

/* A kill before call number at, in a directory of its own. */
static void
kill_at(long at)
{
    const char *data = fresh();
    int status = run_child(data, FAULT_KILL, at);

    each(WIFSIGNALED(status) || WIFEXITED(status), "child");
    each(in_child(state_right, data), "state after a kill at call %ld", at);
    each(no_litter(data), "litter after a kill at call %ld", at);
    each(in_child(end_right, data), "end after a kill at call %ld", at);
    sc_remove(data);
}

static void
test_kill_points(void)
{
    long calls = count_calls(), step = calls / 25;
    double start = now();

    diag("%ld calls", calls);
    if (getenv("TEST_LONG") != NULL) {
        step = 1;
    }
    for (long at = 1 + (long) rnd_below((uint64_t) step); at < calls;
         at += step) {
        kill_at(at);
        if (step > 1 && now() - start > 3) {
            break;
        }
    }
    each_done("kills at calls");
}

/* Kills at any moment, in one directory, with readers that go on. */
static void
test_kill_times(void)
{
    const char *data = fresh();
    pid_t readers[2];
    unsigned kills = 0;
    char stop[400];
    double start = now();

    for (int i = 0; i < 2; i++) {
        readers[i] = start_reader(data);
    }
    for (int i = 0; i < 60 && now() - start < 3; i++) {
        int status;
        pid_t pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            _exit(work(data, BLOCKS - 1) == EXI_OK ? 0 : 1);
        }
        usleep((useconds_t) rnd_below(8000));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        kills += WIFSIGNALED(status);
        each(in_child(state_right, data), "state after kill %u", kills);
    }
    each_done("kills at any time");
    ok(in_child(end_right, data), "the end is right after %u kills", kills);
    snprintf(stop, sizeof(stop), "%s/stop", data);
    close(open(stop, O_CREAT | O_WRONLY, 0644));
    for (int i = 0; i < 2; i++) {
        int status = -1;

        waitpid(readers[i], &status, 0);
        is_int(status, 0, "reader %d saw right generations only", i);
    }
}

/*
 * No space from some call on: an error, no change; with space again it goes on
 * in the same process.
 */
static void
space_at(long at)
{
    const char *data = fresh();
    struct settle *s = open_in(data);
    struct exi_live_gen g;
    bool more;
    uint32_t h = 0;
    int rc = EXI_OK;

    fault_set(FAULT_SPACE, at);
    while (rc == EXI_OK && h < BLOCKS / 2) {
        rc = sc_settle(s, &m, h, h + BATCH - 1);
        if (rc == EXI_OK) {
            h += BATCH;
            rc = settle_publish(s, &g);
        }
        if (rc == EXI_OK) {
            rc = settle_tidy(s, h / BATCH % 2 == 0, sc_never, NULL, &more);
        }
    }
    each(rc == EXI_OK || rc == EXI_ESPACE || rc == EXI_EIO, "error %d", rc);
    /* Still full: still an error, or nothing to do. */
    if (h < BLOCKS / 2 && rc != EXI_OK) {
        each(sc_settle(s, &m, h, h + BATCH - 1) != EXI_EFORMAT, "again");
    }
    fault_reset();
    /* Longer than the pause between tries to open it again. */
    usleep(rc == EXI_OK ? 0 : 210000);
    h = settle_any(s) ? settle_meta(s)->height + 1 : 0;
    rc = sc_settle(s, &m, h, h + BATCH - 1);
    if (rc == EXI_EAPI) {
        /* The failed batch turned out to be durable. */
        h = settle_meta(s)->height + 1;
        rc = sc_settle(s, &m, h, h + BATCH - 1);
    }
    each(h % BATCH == 0, "a whole batch or none: %u", h);
    each(rc == EXI_OK, "goes on: %d", rc);
    each(settle_publish(s, &g) == EXI_OK, "publishes");
    settle_close(s);
    each(state_right(data), "state, no space at call %ld", at);
    each(end_right(data), "end, no space at call %ld", at);
    sc_remove(data);
}

static void
test_space(void)
{
    double start = now();
    long calls = 250, step = getenv("TEST_LONG") != NULL ? 1 : 9;

    /* Errors are logged: not part of what is tested here. */
    fflush(stderr);
    if (freopen("/dev/null", "w", stderr) == NULL) {
        diag("stderr stays");
    }
    for (long at = 1 + (long) rnd_below((uint64_t) step); at < calls;
         at += step) {
        space_at(at);
        if (step > 1 && now() - start > 2) {
            break;
        }
    }
    each_done("no space at calls");
}

/* No space while a new directory is made. */
static void
test_space_open(void)
{
    for (long at = 1; at < 60; at += 3) {
        const char *data = fresh();
        struct settle *s;

        fault_set(FAULT_SPACE, at);
        s = open_in(data);
        fault_reset();
        each(s != NULL || why[0] != '\0', "a reason, call %ld", at);
        settle_close(s);
        s = open_in(data);
        each(s != NULL && !settle_any(s), "opens later, call %ld: %s", at, why);
        settle_close(s);
        sc_remove(data);
    }
    each_done("no space while opening");
}

int
main(void)
{
    rnd_init();
    dir = sc_tmp();
    m.scripts = 40;
    m.txs_max = 6;
    cm_grow(&m, BLOCKS, rnd());
    subtest("killed at a system call", test_kill_points);
    subtest("killed at any time", test_kill_times);
    subtest("no space while opening", test_space_open);
    subtest("no space", test_space);
    cm_free(&m);
    sc_remove(dir);
    return done_testing();
}
