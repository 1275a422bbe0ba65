/*
 * Databases of many shapes, written by LevelDB itself: levels, overlapping
 * tables, changed and deleted rows, versions kept for a snapshot, rows in a log
 * only, keys and values of all lengths.  What is read of them must be what
 * LevelDB's own iterator gave.  Then each byte of a small one is changed in
 * turn: an error or the right answer, never a wrong one.
 */
#include "../lib/tap.h"

#include "../lib/rnd.h"
#include "exi_rodb.h"

#include <dirent.h>
#include <fcntl.h>
#include <leveldb/c.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHAPES  24
#define KEY_MAX 40

struct row {
    uint8_t key[KEY_MAX];
    size_t keylen;
    uint8_t *val;
    size_t vallen;
};

static char dir[200];
static char err[512];
static struct row *rows; /* what LevelDB says, in order */
static size_t nrows, caprows;

__attribute__((format(printf, 1, 2))) static void
shell(const char *fmt, ...)
{
    char cmd[1200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    if (system(cmd) != 0) {
        diag("failed: %s", cmd);
    }
}

/*
 * Writing.
 */

/* Kinds of keys: like those of buckets, of outputs with long common parts,
 * short ones of any length. */
static size_t
make_key(uint8_t key[KEY_MAX], unsigned kind, unsigned spread)
{
    size_t len = 0;

    switch (kind) {
    case 0:
        key[len++] = (uint8_t) (rnd_below(2) ? 'H' : 'T');
        key[len++] = (uint8_t) rnd_below(2);
        key[len++] = (uint8_t) rnd_below(spread / 64 + 1);
        key[len++] = (uint8_t) rnd_below(64);
        key[len++] = 0;
        for (; len < 8; len++) {
            key[len] = 0;
        }
        key[len++] = (uint8_t) rnd_below(3);
        return len;
    case 1:
        key[len++] = 'U';
        memset(key + len, (int) rnd_below(spread / 500 + 1), 14);
        len += 14;
        key[len++] = (uint8_t) rnd_below(2);
        key[len++] = (uint8_t) rnd_below(256);
        if (rnd_below(8) == 0) {
            key[len++] = 0xff;
        }
        return len;
    default:
        len = (size_t) rnd_below(5);
        for (size_t i = 0; i < len; i++) {
            key[i] = (uint8_t) (rnd_below(4) ? rnd_below(3) : 0xfd + i);
        }
        return len;
    }
}

struct shape {
    unsigned kinds; /* of keys */
    unsigned spread;
    unsigned n; /* changes */
    unsigned longest;
    unsigned compact; /* one time in so many */
    bool keep;        /* a snapshot keeps versions */
    bool compress;
    leveldb_comparator_t *order;
};

static leveldb_t *
open_db(const char *path, const struct shape *s, leveldb_options_t **o)
{
    leveldb_t *db;
    char *e = NULL;

    *o = leveldb_options_create();
    leveldb_options_set_create_if_missing(*o, 1);
    leveldb_options_set_compression(*o, s->compress ? leveldb_snappy_compression
                                                    : leveldb_no_compression);
    leveldb_options_set_write_buffer_size(*o, 65536 << rnd_below(4));
    leveldb_options_set_max_file_size(*o, 1 << 20);
    leveldb_options_set_block_size(*o, (size_t) 1024 << rnd_below(3));
    leveldb_options_set_block_restart_interval(*o, 1 + (int) rnd_below(20));
    if (s->order != NULL) {
        leveldb_options_set_comparator(*o, s->order);
    }
    db = leveldb_open(*o, path, &e);
    each(e == NULL, "%s", e ? e : "");
    return db;
}

static void
change(leveldb_t *db, const leveldb_writeoptions_t *w, const struct shape *s)
{
    static uint8_t val[300000];
    uint8_t key[KEY_MAX];
    size_t len = make_key(key, (unsigned) rnd_below(s->kinds), s->spread), n;
    char *e = NULL;

    if (rnd_below(4) == 0) {
        leveldb_delete(db, w, (char *) key, len, &e);
    } else {
        n = (size_t) rnd_below(rnd_below(50) ? 100 : s->longest);
        memset(val, (int) rnd(), n);
        leveldb_put(db, w, (char *) key, len, (char *) val, n, &e);
    }
    each(e == NULL, "%s", e ? e : "");
}

static void
compact_some(leveldb_t *db)
{
    uint8_t a[2] = { (uint8_t) rnd_below(256), 0 }, b[2] = { 0xff, 0xff };

    b[0] = (uint8_t) (a[0] + rnd_below(256u - a[0]));
    leveldb_compact_range(db, rnd_below(2) ? (char *) a : NULL, 1,
                          rnd_below(2) ? (char *) b : NULL, 2);
}

static void
forget(void)
{
    for (size_t i = 0; i < nrows; i++) {
        free(rows[i].val);
    }
    nrows = 0;
}

static void
take_rows(leveldb_t *db)
{
    leveldb_readoptions_t *ro = leveldb_readoptions_create();
    leveldb_iterator_t *it = leveldb_create_iterator(db, ro);

    forget();
    for (leveldb_iter_seek_to_first(it); leveldb_iter_valid(it);
         leveldb_iter_next(it)) {
        const char *k, *v;
        struct row *r;

        if (nrows == caprows) {
            caprows = caprows ? caprows * 2 : 1000;
            rows = realloc(rows, caprows * sizeof *rows);
        }
        r = &rows[nrows++];
        k = leveldb_iter_key(it, &r->keylen);
        memcpy(r->key, k, r->keylen);
        v = leveldb_iter_value(it, &r->vallen);
        r->val = malloc(r->vallen + 1);
        memcpy(r->val, v, r->vallen);
    }
    leveldb_iter_destroy(it);
    leveldb_readoptions_destroy(ro);
}

/* Writes a database, and `rows`. */
static void
write_db(const char *path, const struct shape *s)
{
    leveldb_writeoptions_t *w = leveldb_writeoptions_create();
    const leveldb_snapshot_t *snap = NULL;
    leveldb_options_t *o;
    leveldb_t *db = open_db(path, s, &o);

    for (unsigned i = 0; i < s->n; i++) {
        if (s->keep && i == s->n / 3) {
            snap = leveldb_create_snapshot(db);
        }
        change(db, w, s);
        if (rnd_below(s->compact) == 0) {
            compact_some(db);
        }
    }
    take_rows(db);
    if (snap != NULL) {
        leveldb_release_snapshot(db, snap);
    }
    leveldb_close(db);
    leveldb_options_destroy(o);
    leveldb_writeoptions_destroy(w);
}

/*
 * Reading.
 */

static int
order(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    int c = memcmp(a, b, alen < blen ? alen : blen);

    return c ? c : (alen > blen) - (alen < blen);
}

/* Index of the first row not below the key. */
static size_t
first_from(const uint8_t *key, size_t len)
{
    size_t lo = 0, hi = nrows;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (order(rows[mid].key, rows[mid].keylen, key, len) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static bool
same_row(const struct row *r, const uint8_t *k, size_t klen, const uint8_t *v,
         size_t vlen)
{
    return r->keylen == klen && memcmp(r->key, k, klen) == 0
           && r->vallen == vlen && memcmp(r->val, v, vlen) == 0;
}

/* At most `most` rows from the place of the iterator on: as many as there are,
 * the right ones, then the end.  < 0: an error, but no wrong row before it. */
static int
compare_rows(struct exi_rodb_iter *it, size_t i, const uint8_t *prefix,
             size_t prefixlen, size_t most)
{
    const uint8_t *k, *v;
    size_t klen, vlen;
    int rc;

    for (; most > 0; most--, i++) {
        bool some =
            i < nrows && rows[i].keylen >= prefixlen
            && (prefixlen == 0 || memcmp(rows[i].key, prefix, prefixlen) == 0);

        rc = exi_rodb_iter_row(it, &k, &klen, &v, &vlen);
        if (rc < 0) {
            return rc;
        }
        if (rc != some || (some && !same_row(&rows[i], k, klen, v, vlen))) {
            return 0;
        }
        if (!some) {
            exi_rodb_iter_next(it);
            return exi_rodb_iter_row(it, &k, &klen, &v, &vlen) == 0;
        }
        exi_rodb_iter_next(it);
    }
    return 1;
}

/* 1: the answer is right, 0: it is not, < 0: an error. */
static int
compare_get(struct exi_rodb *db, struct exi_cold *cold, const uint8_t *key,
            size_t len)
{
    size_t i = first_from(key, len), vlen;
    bool some = i < nrows && order(rows[i].key, rows[i].keylen, key, len) == 0;
    const uint8_t *v;
    int rc = exi_rodb_get(db, cold, key, len, &v, &vlen);

    if (rc == EXI_OK) {
        return some && same_row(&rows[i], key, len, v, vlen);
    }
    return rc == EXI_ENOTFOUND ? !some : rc;
}

/* A key near one that is there, or any. */
static size_t
some_key(uint8_t key[KEY_MAX], const struct shape *s)
{
    size_t i = nrows ? (size_t) rnd_below(nrows) : 0, len;

    if (nrows == 0 || rnd_below(3) == 0) {
        return make_key(key, (unsigned) rnd_below(s->kinds), s->spread);
    }
    len = rows[i].keylen;
    memcpy(key, rows[i].key, len);
    switch (rnd_below(5)) {
    case 0:
        key[len++] = (uint8_t) (rnd_below(2) ? 0 : 255);
        break;
    case 1:
        len -= len > 0;
        break;
    case 2:
        if (len > 0) {
            key[rnd_below(len)] ^= (uint8_t) (1 << rnd_below(8));
        }
        break;
    default:
        break;
    }
    return len;
}

/* All rows, and look-ups of all kinds. */
static void
compare(struct exi_rodb *db, struct exi_cold *cold, const struct shape *s)
{
    struct exi_rodb_iter *it = exi_rodb_iter_new(db, cold);

    exi_rodb_iter_seek(it, "", 0);
    each(compare_rows(it, 0, NULL, 0, SIZE_MAX) == 1, "all rows");
    for (int i = 0; i < 4000; i++) {
        uint8_t key[KEY_MAX];
        size_t len = some_key(key, s), prefix = (size_t) rnd_below(len + 1);

        if (rnd_below(3) == 0) {
            each(compare_get(db, cold, key, len) == 1, "get");
        } else if (rnd_below(3) == 0) {
            exi_rodb_iter_seek(it, key, len);
            each(compare_rows(it, first_from(key, len), NULL, 0,
                              (size_t) rnd_below(50))
                     == 1,
                 "seek");
        } else {
            exi_rodb_iter_seek_in(it, key, len, prefix);
            each(compare_rows(it, first_from(key, len), key, prefix,
                              (size_t) rnd_below(200))
                     == 1,
                 "seek in a range");
        }
    }
    exi_rodb_iter_free(it);
}

static void
random_shape(struct shape *s)
{
    memset(s, 0, sizeof *s);
    s->kinds = 1 + (unsigned) rnd_below(3);
    s->spread = 1 + (unsigned) rnd_below(8000);
    s->n = (unsigned) rnd_below(rnd_below(3) ? 30000 : 50);
    s->longest = rnd_below(3) ? 1000 : 300000;
    s->compact = 1 + (unsigned) rnd_below(s->n + 1);
    s->compact = s->compact < 2000 ? 2000 : s->compact;
    s->keep = rnd_below(2);
}

static void
one_shape(const char *path, const struct shape *s)
{
    struct exi_cold cold = { .nowait = true };
    struct exi_rodb *db = NULL;
    int rc;

    write_db(path, s);
    rc = exi_rodb_open(&db, path, err, sizeof err);
    each(rc == EXI_OK, "open: %d %s", rc, err);
    if (rc == EXI_OK) {
        compare(db, NULL, s);
        exi_cold_begin(&cold);
        compare(db, &cold, s); /* all was just read */
        exi_cold_clear(&cold);
        ok(true, "%zu rows of %u changes, %zu runs", nrows, s->n,
           exi_rodb_runs(db));
        is_str(exi_rodb_damage(db), "", "no damage");
    }
    exi_rodb_close(db);
    shell("rm -rf -- '%s'", path);
}

static void
test_shapes(void)
{
    char path[300];
    struct shape s;

    for (int i = 0; i < SHAPES; i++) {
        random_shape(&s);
        if (i < 3) {
            s.n = (unsigned) i; /* nothing, one row, two changes */
        }
        snprintf(path, sizeof path, "%s/shape%d", dir, i);
        one_shape(path, &s);
    }
    each_done("look-ups in all shapes");
}

/*
 * What is none of ours.
 */

static int
backwards(void *ctx, const char *a, size_t alen, const char *b, size_t blen)
{
    (void) ctx;
    return -order((const uint8_t *) a, alen, (const uint8_t *) b, blen);
}

static const char *
order_name(void *ctx)
{
    (void) ctx;
    return "backwards";
}

static void
no_destructor(void *ctx)
{
    (void) ctx;
}

static void
test_foreign(void)
{
    struct shape s = {
        .kinds = 3, .spread = 3000, .n = 20000, .longest = 10, .compact = 5000
    };
    struct exi_rodb *db = NULL;
    char path[300];
    int rc;

    s.order =
        leveldb_comparator_create(NULL, no_destructor, backwards, order_name);
    snprintf(path, sizeof path, "%s/order", dir);
    write_db(path, &s);
    rc = exi_rodb_open(&db, path, err, sizeof err);
    is_int(rc, EXI_EFORMAT, "another order of keys: %s", err);
    ok(strstr(err, "/MANIFEST-") != NULL, "... names the file");
    leveldb_comparator_destroy(s.order);
    s.order = NULL;
    s.compress = true;
    s.longest = 5000;
    snprintf(path, sizeof path, "%s/compress", dir);
    write_db(path, &s);
    rc = exi_rodb_open(&db, path, err, sizeof err);
    if (rc == EXI_OK) {
        struct exi_rodb_iter *it = exi_rodb_iter_new(db, NULL);

        exi_rodb_iter_seek(it, "", 0);
        rc = compare_rows(it, 0, NULL, 0, SIZE_MAX);
        is_int(rc, EXI_EIO, "compressed blocks");
        snprintf(err, sizeof err, "%s", exi_rodb_damage(db));
        exi_rodb_iter_free(it);
        exi_rodb_close(db);
    } else {
        is_int(rc, EXI_EFORMAT, "a compressed index");
    }
    ok(strstr(err, "compressed") != NULL && strstr(err, ".ldb: ") != NULL, "%s",
       err);
    each_done("written");
}

/*
 * Damage.
 */

/* 1: all is right, 0: something is wrong, < 0: an error. */
static int
read_all(const char *path)
{
    struct exi_rodb *db = NULL;
    struct exi_rodb_iter *it;
    int rc = exi_rodb_open(&db, path, err, sizeof err), got = 1;

    if (rc) {
        return err[0] != '\0' ? rc : 0;
    }
    it = exi_rodb_iter_new(db, NULL);
    exi_rodb_iter_seek(it, "", 0);
    rc = compare_rows(it, 0, NULL, 0, SIZE_MAX);
    exi_rodb_iter_free(it);
    for (size_t i = 0; i < nrows && got != 0; i += 7) {
        got = compare_get(db, NULL, rows[i].key, rows[i].keylen);
    }
    if ((rc < 0 || got < 0) && exi_rodb_damage(db)[0] == '\0') {
        rc = 0;
    }
    exi_rodb_close(db);
    return got == 0 ? 0 : rc;
}

/* Each byte of a file in turn; what it is changed to is drawn. */
static void
damage_file(const char *path, const char *name)
{
    unsigned right = 0, errors = 0, wrong = 0;
    char file[600];
    struct stat st;
    int fd;

    snprintf(file, sizeof file, "%s/%s", path, name);
    fd = open(file, O_RDWR);
    each(fd >= 0 && fstat(fd, &st) == 0, "%s", file);
    for (off_t i = 0; i < st.st_size; i++) {
        uint8_t was = 0, is;
        int rc;

        each(pread(fd, &was, 1, i) == 1, "read");
        is = was ^ (uint8_t) (1 + rnd_below(255));
        each(pwrite(fd, &is, 1, i) == 1, "write");
        rc = read_all(path);
        if (rc == 0) {
            diag("%s: byte %lld: %02x -> %02x: a wrong answer", name,
                 (long long) i, was, is);
        }
        wrong += rc == 0;
        right += rc == 1;
        errors += rc < 0;
        each(pwrite(fd, &was, 1, i) == 1, "write");
    }
    is_int(wrong, 0, "%s: no wrong answer", name);
    ok(errors > 0, "%u of %lld bytes noticed, %u do not matter", errors,
       (long long) st.st_size, right);
    close(fd);
}

static void
test_damage(void)
{
    struct shape s = {
        .kinds = 2, .spread = 1500, .n = 500, .longest = 100, .compact = 100000
    };
    leveldb_writeoptions_t *w = leveldb_writeoptions_create();
    leveldb_options_t *o;
    char path[300];
    struct dirent *e;
    leveldb_t *db;
    DIR *d;

    snprintf(path, sizeof path, "%s/damage", dir);
    for (int i = 0; i < 3; i++) { /* opening makes a table of the log */
        db = open_db(path, &s, &o);
        for (unsigned k = 0; k < 150; k++) {
            change(db, w, &s);
        }
        if (i == 0) {
            leveldb_compact_range(db, NULL, 0, NULL, 0);
        }
        take_rows(db);
        leveldb_close(db);
        leveldb_options_destroy(o);
    }
    leveldb_writeoptions_destroy(w);
    is_int(read_all(path), 1, "undamaged");
    d = opendir(path);
    while ((e = readdir(d)) != NULL) {
        if (strstr(e->d_name, ".ldb") || strstr(e->d_name, ".log")
            || strstr(e->d_name, "MANIFEST-")
            || strcmp(e->d_name, "CURRENT") == 0) {
            damage_file(path, e->d_name);
        }
    }
    closedir(d);
    is_int(read_all(path), 1, "undamaged again");
    each_done("files");
}

int
main(void)
{
    const char *base = getenv("TMPDIR");

    rnd_init();
    snprintf(dir, sizeof(dir), "%s/exi-shapes.XXXXXX", base ? base : "/tmp");
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    subtest("shapes", test_shapes);
    subtest("not of ours", test_foreign);
    subtest("each byte changed", test_damage);
    forget();
    free(rows);
    shell("rm -rf -- '%s'", dir);
    return done_testing();
}
