/*
 * The read-only handle: reads what the writer wrote, in whatever state the copy
 * was taken, changes nothing in the directory, starts no thread, shares
 * mappings, and reports damage instead of wrong data.
 */
#include "../lib/tap.h"

#include "../lib/rnd.h"
#include "exi_rodb.h"
#include "settle_db.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Rows of the database with many level-0 tables. */
#define COMPACT_ROWS 20000

static char dir[200];
static char err[512];

__attribute__((format(printf, 1, 2))) static void
shell(const char *fmt, ...)
{
    char cmd[2400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    if (system(cmd) != 0) {
        diag("failed: %s", cmd);
    }
}

/* Row i as of generation g: some rows change, some are deleted. */
static size_t
row_value(uint8_t *val, uint32_t i, unsigned g)
{
    uint32_t x = i * 2654435761u + (i % 7 == 0 ? g : 0);
    size_t len = 20 + x % 100;

    memset(val, (int) (x >> 8), len);
    memcpy(val, &i, 4);
    return len;
}

static bool
row_exists(uint32_t i, unsigned g)
{
    return i % 11 != 5 || g % 2 == 0;
}

static void
row_key(uint8_t key[8], uint32_t i)
{
    uint32_t x = __builtin_bswap32(i * 2654435761u);

    memcpy(key, &x, 4);
    memcpy(key + 4, &i, 4);
}

static struct settle_db *
open_writer(const char *name, int create)
{
    struct settle_db *db = NULL;
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (create) {
        mkdir(path, 0755);
    }
    if (settle_db_open(&db, path, create, err, sizeof(err)) != EXI_OK) {
        diag("%s", err);
    }
    return db;
}

/* Writes rows from ... to as of g in one batch. */
static void
write_rows(struct settle_db *db, uint32_t from, uint32_t to, unsigned g)
{
    struct settle_db_batch *b = settle_db_batch_new();
    uint8_t key[8], val[200];

    for (uint32_t i = from; i < to; i++) {
        row_key(key, i);
        if (row_exists(i, g)) {
            size_t len = row_value(val, i, g);
            each(settle_db_put(b, key, 8, val, len) == EXI_OK, "put");
        } else {
            each(settle_db_delete(b, key, 8) == EXI_OK, "delete");
        }
    }
    each(settle_db_write(db, b, err, sizeof(err)) == EXI_OK, "%s", err);
    settle_db_batch_free(b);
}

/* Are rows 0 ... n as of g there, and no others? */
static bool
rows_right(struct exi_rodb *db, uint32_t n, unsigned g)
{
    const uint8_t *v, *k;
    uint8_t key[8], want[200];
    struct exi_rodb_iter *it;
    size_t vlen, klen;
    uint32_t seen = 0, exist = 0;
    int rc;

    for (uint32_t i = 0; i < n + 100; i++) {
        bool there = i < n && row_exists(i, g);

        row_key(key, i);
        rc = exi_rodb_get(db, NULL, key, 8, &v, &vlen);
        if (rc != (there ? EXI_OK : EXI_ENOTFOUND)) {
            diag("row %u: %d", i, rc);
            return false;
        }
        if (there
            && (row_value(want, i, g) != vlen || memcmp(v, want, vlen) != 0)) {
            diag("row %u is wrong", i);
            return false;
        }
        if (rc == EXI_OK) {
        }
        exist += there;
    }
    it = exi_rodb_iter_new(db, NULL);
    exi_rodb_iter_seek(it, "", 0);
    for (; (rc = exi_rodb_iter_row(it, &k, &klen, &v, &vlen)) == 1; seen++) {
        exi_rodb_iter_next(it);
    }
    exi_rodb_iter_next(it);
    exi_rodb_iter_free(it);
    if (rc != 0 || seen != exist) {
        diag("iterator: %d, %u rows, not %u", rc, seen, exist);
    }
    return rc == 0 && seen == exist;
}

static struct exi_rodb *
open_reader(const char *name)
{
    struct exi_rodb *db = NULL;
    char path[300];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    err[0] = '\0';
    rc = exi_rodb_open(&db, path, err, sizeof(err));
    if (rc != EXI_OK && err[0] == '\0') {
        diag("no text for error %d", rc);
    }
    return db;
}

static int
open_error(const char *name)
{
    struct exi_rodb *db = NULL;
    char path[300];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    rc = exi_rodb_open(&db, path, err, sizeof(err));
    exi_rodb_close(db);
    return rc;
}

static unsigned
count_dir(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;

    while (d != NULL && readdir(d) != NULL) {
        n++;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

/* Lines of /proc/self/maps that name a table. */
static unsigned
count_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[600];
    unsigned n = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        n += strstr(line, ".ldb") != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

/* Names, sizes, times and contents of a directory, as text. */
static char *
fingerprint(const char *name)
{
    static char text[2][20000];
    static int which;
    char cmd[700];
    FILE *f;
    size_t n;

    snprintf(cmd, sizeof(cmd),
             "cd '%s/%s' && ls -la --time-style=full-iso && md5sum *", dir,
             name);
    f = popen(cmd, "r");
    which = !which;
    n = fread(text[which], 1, sizeof(text[which]) - 1, f);
    text[which][n] = '\0';
    pclose(f);
    return text[which];
}

static void
copy(const char *from, const char *to)
{
    char a[300], b[300];

    snprintf(a, sizeof(a), "%s/%s", dir, from);
    snprintf(b, sizeof(b), "%s/%s", dir, to);
    shell("mkdir '%2$s' && cp -l '%1$s'/*.ldb '%2$s' 2>/dev/null; "
          "cp '%1$s'/CURRENT '%1$s'/MANIFEST-* '%1$s'/*.log '%2$s'",
          a, b);
}

/* Reads a copy and finds that nothing moved. */
static void
reads_clean(const char *name, uint32_t n, unsigned g, const char *what)
{
    char before[20000];
    unsigned threads = count_dir("/proc/self/task");
    struct exi_rodb *db;

    snprintf(before, sizeof(before), "%s", fingerprint(name));
    db = open_reader(name);
    ok(db != NULL && rows_right(db, n, g), "%s: rows (%s)", what, err);
    exi_rodb_close(db);
    is_str(fingerprint(name), before, "%s: directory as before", what);
    is_int(count_dir("/proc/self/task"), threads, "%s: no thread", what);
}

/* States of a database at which copies are taken. */
static void
test_states(void)
{
    struct settle_db *db = open_writer("w", 1);

    copy("w", "empty");
    reads_clean("empty", 0, 0, "empty");
    write_rows(db, 0, 1000, 0);
    copy("w", "log");
    reads_clean("log", 1000, 0, "log only");
    is_int(settle_db_flush(db, err, sizeof(err)), EXI_OK, "flush");
    copy("w", "table");
    reads_clean("table", 1000, 0, "flushed");
    write_rows(db, 0, 1000, 1);
    write_rows(db, 1000, 5000, 1);
    copy("w", "both");
    reads_clean("both", 5000, 1, "table and log");
    settle_db_close(db);
    db = open_writer("w", 0);
    ok(db != NULL, "writer opens again");
    copy("w", "again");
    reads_clean("again", 5000, 1, "opened again");
    settle_db_close(db);
    each_done("writes");
}

/* Four level-0 tables at once: opening schedules a compaction. */
static void
test_compaction(void)
{
    struct settle_db *db = open_writer("c", 1);
    uint32_t n = COMPACT_ROWS;

    settle_db_hold(db);
    for (unsigned g = 0; g < 7; g++) {
        char name[20];

        write_rows(db, 0, n, g);
        each(settle_db_flush(db, err, sizeof(err)) == EXI_OK, "flush");
        snprintf(name, sizeof(name), "c%u", g);
        copy("c", name);
    }
    settle_db_release(db);
    settle_db_close(db);
    each_done("writes");
    for (unsigned g = 0; g < 7; g++) {
        char name[20];

        snprintf(name, sizeof(name), "c%u", g);
        reads_clean(name, n, g, name);
    }
}

/* Tens of thousands of misses make LevelDB want to compact by seeks. */
static void
test_seeks(void)
{
    struct exi_rodb *db = open_reader("c3");
    unsigned threads = count_dir("/proc/self/task");
    const uint8_t *v;
    size_t vlen;
    uint32_t x;

    for (unsigned i = 0; i < 50000; i++) {
        x = (uint32_t) rnd();
        if (exi_rodb_get(db, NULL, &x, 4, &v, &vlen) != EXI_ENOTFOUND) {
            each(false, "found what is not there");
        }
    }
    each(rows_right(db, COMPACT_ROWS, 3), "rows");
    each_done("after many misses");
    is_int(count_dir("/proc/self/task"), threads, "no thread");
    exi_rodb_close(db);
}

/* Handles of several copies share their tables; removal does not hurt. */
static void
test_sharing(void)
{
    struct exi_rodb *a, *b;
    unsigned one;
    char path[300];

    is_int(count_maps(), 0, "nothing is mapped");
    a = open_reader("again");
    one = count_maps();
    copy("again", "linked");
    b = open_reader("linked");
    ok(one > 0, "tables are mapped");
    is_int(count_maps(), one, "and not twice");
    exi_rodb_close(a);
    is_int(count_maps(), one, "still");
    snprintf(path, sizeof(path), "%s/again", dir);
    shell("rm -rf '%s' '%s/linked'", path, dir);
    ok(rows_right(b, 5000, 1), "reads go on after removal");
    exi_rodb_close(b);
    is_int(count_maps(), 0, "unmapped");
}

static void *
thread(void *arg)
{
    return rows_right(arg, 5000, 1) ? arg : NULL;
}

static void
test_threads(void)
{
    struct exi_rodb *db = open_reader("both");
    pthread_t t[4];
    void *r;

    for (int i = 0; i < 4; i++) {
        pthread_create(&t[i], NULL, thread, db);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &r);
        ok(r == db, "thread %d", i);
    }
    exi_rodb_close(db);
}

/* Path of the i-th table of a copy. */
static void
table(char path[600], const char *name, unsigned i)
{
    char cmd[700];
    FILE *f;
    size_t n;

    snprintf(cmd, sizeof(cmd), "ls '%s/%s'/*.ldb | sed -n %up", dir, name,
             i + 1);
    f = popen(cmd, "r");
    n = fread(path, 1, 599, f);
    path[n] = '\0';
    path[strcspn(path, "\n")] = '\0';
    pclose(f);
}

/* A copy that shares no inode with others, so that it can be damaged. */
static void
copy_apart(const char *from, const char *to)
{
    char a[300], b[300];

    snprintf(a, sizeof(a), "%s/%s", dir, from);
    snprintf(b, sizeof(b), "%s/%s", dir, to);
    shell("rm -rf '%2$s'; cp -r '%1$s' '%2$s'", a, b);
}

/* Changes one byte of each table in turn: errors, never wrong data. */
static void
test_damage(void)
{
    char path[600];
    unsigned wrong = 0, errors = 0;

    for (unsigned i = 0; i < 30; i++) {
        struct exi_rodb *db;
        struct stat st;
        FILE *f;

        copy_apart("table", "hurt");
        table(path, "hurt", 0);
        stat(path, &st);
        f = fopen(path, "r+");
        fseek(f, (long) rnd_below((uint64_t) st.st_size), SEEK_SET);
        fputc(rnd() & 0xff, f);
        fclose(f);
        db = open_reader("hurt");
        if (db == NULL) {
            errors++;
            continue;
        }
        for (uint32_t k = 0; k < 1000; k++) {
            const uint8_t *v;
            uint8_t key[8], want[200];
            size_t vlen;
            int rc;

            row_key(key, k);
            rc = exi_rodb_get(db, NULL, key, 8, &v, &vlen);
            errors += rc == EXI_EIO;
            wrong += row_exists(k, 0) != (rc == EXI_OK) && rc != EXI_EIO;
            if (rc == EXI_OK) {
                wrong +=
                    row_value(want, k, 0) != vlen || memcmp(v, want, vlen) != 0;
            }
        }
        exi_rodb_close(db);
    }
    is_int(wrong, 0, "no wrong row");
    ok(errors > 0, "damage is reported (%u times)", errors);
}

static void
test_missing(void)
{
    char path[600];

    is_int(open_error("nothing"), EXI_ESTALE, "no directory");
    copy_apart("both", "hurt");
    table(path, "hurt", 0);
    unlink(path);
    ok(open_error("hurt") < 0, "no table: %s", err);
    copy_apart("both", "hurt");
    each(truncate(path, 0) == 0, "truncate");
    ok(open_error("hurt") < 0 || open_error("hurt") == EXI_OK, "empty table");
    snprintf(path, sizeof(path), "%s/hurt/CURRENT", dir);
    each(truncate(path, 3) == 0, "truncate");
    ok(open_error("hurt") < 0, "damaged CURRENT: %s", err);
    unlink(path);
    each_done("damaged");
    is_int(open_error("hurt"), EXI_ESTALE, "no CURRENT: %s", err);
    /* What an unfinished compaction leaves in a copy. */
    copy_apart("both", "hurt");
    snprintf(path, sizeof(path), "%s/hurt/000990.ldb", dir);
    shell("echo unfinished >'%s'; : >'%s/hurt/000991.ldb'", path, dir);
    reads_clean("hurt", 5000, 1, "abandoned tables");
}

/* Writer: a second process is refused, values too long are an error. */
static void
test_writer(void)
{
    struct settle_db *db = open_writer("w", 0), *two = NULL;
    char path[300];
    uint8_t key[8], buf[200], want[200];
    size_t len = 0;

    snprintf(path, sizeof(path), "%s/w", dir);
    is_int(settle_db_open(&two, path, 0, err, sizeof(err)), EXI_EBUSY,
           "opened twice: %s", err);
    snprintf(path, sizeof(path), "%s/none", dir);
    ok(settle_db_open(&two, path, 0, err, sizeof(err)) < 0, "%s", err);
    row_key(key, 3);
    is_int(settle_db_get(db, key, 8, buf, sizeof(buf), &len), EXI_OK, "get");
    is_int(len, row_value(want, 3, 1), "length");
    is_mem(buf, want, len, "value");
    is_int(settle_db_get(db, key, 8, buf, 10, &len), EXI_EFORMAT, "too long");
    is_int(settle_db_get(db, key, 7, buf, 10, &len), EXI_ENOTFOUND, "none");
    settle_db_close(db);
    settle_db_close(NULL);
}

/*
 * A log to be replayed, and foreign tables under the numbers that are taken
 * next, as links to inodes that others may read: those must not be truncated.
 */
static void
test_stray_tables(void)
{
    struct settle_db *db;
    struct stat st;
    char path[300];

    copy_apart("log", "stray");
    snprintf(path, sizeof(path), "%s/foreign", dir);
    shell("head -c 5000 /dev/zero >'%s'; for i in $(seq 1 60); do "
          "ln '%s' '%s/stray/'$(printf %%06d $i).ldb; done",
          path, path, dir);
    db = open_writer("stray", 0);
    ok(db != NULL, "opens");
    is_int(settle_db_flush(db, err, sizeof(err)), EXI_OK, "flush");
    settle_db_close(db);
    is_int(stat(path, &st), 0, "the foreign inode is there");
    is_int(st.st_size, 5000, "and as it was");
    reads_clean("stray", 1000, 0, "replayed");
}

int
main(void)
{
    const char *base = getenv("TMPDIR");

    rnd_init();
    snprintf(dir, sizeof(dir), "%s/exi-rodb.XXXXXX", base ? base : "/tmp");
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    subtest("states", test_states);
    subtest("compaction due", test_compaction);
    subtest("compaction by seeks", test_seeks);
    subtest("sharing", test_sharing);
    subtest("threads", test_threads);
    subtest("damage", test_damage);
    subtest("missing and abandoned files", test_missing);
    subtest("writer", test_writer);
    subtest("stray tables", test_stray_tables);
    shell("rm -rf -- '%s'", dir);
    return done_testing();
}
