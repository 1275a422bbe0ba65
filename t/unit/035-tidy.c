/*
 * Tidying: the settled layer holds the same facts however it was folded and
 * rewritten between the batches, readers are right at every generation, and the
 * rows of a bucket are one.  Random chains in random batches, some on top of an
 * initial sync, with stops and fallbacks; heavy scripts and duplicates one by
 * one; what earlier programs left.  What tidying has made is published, once.
 */
#include "../lib/tap.h"

#include "../lib/settlecheck.h"

#include "../lib/bulkrun.h"

#include <dirent.h>
#include <pthread.h>

#include "check.h"
#include "settle_db.h"
#include "settle_runs.h"

static const char *dir;
static char why[512];

static const char *
fresh(void)
{
    static char path[300];
    static int n;

    snprintf(path, sizeof(path), "%s/%d", dir, n++);
    mkdir(path, 0755);
    return path;
}

static struct settle *
open_in(const struct cm *m, const char *data, bool spender, uint64_t after)
{
    struct settle_opts o = sc_opts(m, data);
    struct settle *s = NULL;

    o.spender = spender;
    o.tidy_after = after;
    if (settle_open(&s, &o, why, sizeof(why)) != EXI_OK) {
        diag("open: %s", why);
    }
    return s;
}

/* Publishes and holds the generation against the model. */
static bool
published_right(struct settle *s, const struct cm *m, const char *data,
                bool prune)
{
    struct exi_live_gen g;
    char path[400];
    int rc = settle_publish(s, &g);

    snprintf(path, sizeof(path), "%s/generations/%010llu", data,
             (unsigned long long) g.number);
    if (rc != EXI_OK || !sc_generation(path, m, NULL)) {
        diag("publish: %d %s", rc, sc_error);
        return false;
    }
    if (prune) {
        settle_prune(s, &g, 1);
    }
    return g.height == settle_meta(s)->height;
}

/* A file of settled/<epoch in use>/. */
static void
epoch_path(char path[600], const char *data, const char *name)
{
    char epoch[16] = "";
    FILE *f;

    snprintf(path, 600, "%s/settled/CURRENT", data);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%10s", epoch) != 1) {
        diag("%s can't be read", path);
    }
    if (f != NULL) {
        fclose(f);
    }
    snprintf(path, 600, "%s/settled/%s/%s", data, epoch, name);
}

/* The database that is written; chunks up to `base` are base's. */
static bool
read_epoch(struct sc *c, const struct settle *s, const char *data,
           uint32_t base)
{
    char path[600];

    sc_error[0] = '\0';
    memset(c, 0, sizeof(*c));
    c->params = *settle_params(s);
    c->base = base;
    epoch_path(path, data, "db");
    if (!sc_read_db(c, path)) {
        diag("%s", sc_error);
        return false;
    }
    return true;
}

/* Bytes of tables: of base, of the recent run, of what is not folded. */
struct shape {
    uint64_t base, recent, fresh;
};

static struct shape
shape_of(const char *data)
{
    struct shape z = { 0, 0, 0 };
    struct settle_runs *r = NULL;
    char path[600];

    epoch_path(path, data, "db");
    if (settle_runs_open(&r, path, why, sizeof(why)) != EXI_OK) {
        diag("%s", why);
        return z;
    }
    z.base = settle_runs_bytes(r, 6, 6);
    z.recent = settle_runs_bytes(r, 5, 5);
    z.fresh = settle_runs_bytes(r, 0, 4);
    settle_runs_free(r);
    return z;
}

/* Stops when it was asked so often. */
static bool
after_some(void *ctx)
{
    unsigned *n = ctx;

    return (*n)-- == 0;
}

static int
fold(struct settle *s)
{
    bool more;

    return settle_tidy(s, false, sc_never, NULL, &more);
}

/* Until there is nothing more to do; how many times that took. */
static unsigned
tidy_all(struct settle *s)
{
    unsigned n = 0;
    bool more = true;

    while (more) {
        int rc = settle_tidy(s, true, sc_never, NULL, &more);

        each(rc == EXI_OK, "tidy: %d", rc);
        n++;
        if (rc != EXI_OK || n > 3) {
            break;
        }
    }
    each(n <= 3, "tidying ends");
    return n;
}

/* All of the model's facts are there.  What of `H`, `T` and `S` is above base
 * is one row a bucket after a fold, and all is after a rewrite. */
static bool
is_right(struct settle *s, const struct cm *m, const char *data, bool folded)
{
    struct shape z = shape_of(data);
    struct cm_facts want;
    struct sc c;
    bool good = read_epoch(&c, s, data, UINT32_MAX);

    if (good && folded && c.tidy.base.known) {
        free(c.facts.v);
        good = read_epoch(&c, s, data, c.tidy.base.height);
        good = good && c.apart == 0 && z.fresh == 0 && c.tidy.fresh == 0
               && (z.recent != 0 || c.again == 0);
    }
    if (!good) {
        diag("%llu apart, %llu again, tables %llu %llu %llu",
             (unsigned long long) c.apart, (unsigned long long) c.again,
             (unsigned long long) z.base, (unsigned long long) z.recent,
             (unsigned long long) z.fresh);
    }
    cm_facts(m, &want, settle_meta(s)->height, settle_params(s));
    if (!sc_same_facts(&c.facts, &want) || c.meta.row_count != c.rows
        || c.meta.hist_count != c.hist) {
        diag("%s, rows %llu %llu", sc_error,
             (unsigned long long) c.meta.row_count,
             (unsigned long long) c.rows);
        good = false;
    }
    free(want.v);
    free(c.facts.v);
    return good;
}

/* After a rewrite. */
static bool
is_tidy(struct settle *s, const struct cm *m, const char *data)
{
    struct shape z = shape_of(data);

    if (z.recent != 0 || z.fresh != 0) {
        diag("was not rewritten: %llu, %llu", (unsigned long long) z.recent,
             (unsigned long long) z.fresh);
        return false;
    }
    return is_right(s, m, data, true);
}

/* The command's full check of the newest generation finds nothing. */
static bool
check_passes(const char *data)
{
    struct check_opts o = { .data_dir = data, .full = true, .quiet = true };
    struct check_result r;
    int rc = check_run(&o, &r);
    bool good = rc == EXI_OK && r.total == 0 && r.history.n > 0;

    if (!good) {
        diag("check: %d, %llu findings", rc, (unsigned long long) r.total);
    }
    check_result_free(&r);
    return good;
}

/* Loads the first blocks as the initial sync does. */
static uint32_t
load_some(struct settle *s, const struct cm *m, uint32_t to)
{
    struct bulk_opts o = { .memory = 1 << 20,
                           .threads = 2,
                           .expected_txs = 4000,
                           .checkpoint_ms = 60000 };
    int rc = br_sync(s, m, to, &o, why, sizeof(why));

    each(rc == EXI_OK, "bulk: %d %s", rc, why);
    return to + 1;
}

/* Goes back to some generation, if there is one; the next block. */
static uint32_t
go_back(struct settle *s, uint32_t next)
{
    struct exi_live_gen g[8];
    size_t n = settle_generations(s, g, 8);
    int rc;

    if (n == 0) {
        return next;
    }
    n = rnd_below(n);
    rc = settle_fallback(s, g[n].number, why, sizeof(why));
    each(rc == EXI_OK, "fallback: %d %s", rc, why);
    each(settle_meta(s)->height == g[n].height, "height");
    return g[n].height + 1;
}

/* What may happen between two batches. */
static void
tidy_some(struct settle *s, const struct cm *m, const char *data)
{
    unsigned n = (unsigned) rnd_below(40);
    struct exi_meta before = *settle_meta(s);
    bool more = true;
    int rc;

    switch (rnd_below(4)) {
    case 0:
        return;
    case 1:
        rc = settle_tidy(s, rnd_below(2) == 0, after_some, &n, &more);
        each(rc == EXI_OK || (rc == EXI_ESTALE && !more), "stopped: %d", rc);
        if (rc == EXI_ESTALE) {
            each(memcmp(&before, settle_meta(s), sizeof(before)) == 0, "meta");
            each(is_right(s, m, data, false), "after a stop");
        }
        return;
    case 2:
        each(fold(s) == EXI_OK, "fold");
        return;
    default:
        tidy_all(s);
        each(is_right(s, m, data, true), "after tidying");
    }
}

/* Batches of random sizes with random steps between, sometimes reopened. */
static void
random_chain(bool spender, bool bulk)
{
    struct cm m = { .scripts = 20 + (unsigned) rnd_below(60),
                    .txs_max = 9,
                    .cash = bulk && spender };
    const char *data = fresh();
    uint32_t next = 0;
    struct settle *s;
    unsigned back = 3;

    cm_grow(&m, 60 + rnd_below(60), rnd());
    s = open_in(&m, data, spender, 1);
    if (s != NULL && bulk) {
        next = load_some(s, &m, 20 + (uint32_t) rnd_below(20));
    }
    while (s != NULL && next < m.nblocks) {
        uint32_t to = next + (uint32_t) rnd_below(rnd_below(4) ? 2 : 12);
        int rc;

        to = to < m.nblocks ? to : (uint32_t) m.nblocks - 1;
        rc = sc_settle(s, &m, next, to);
        each(rc == EXI_OK, "settle %u: %d", next, rc);
        if (rc != EXI_OK) {
            break;
        }
        tidy_some(s, &m, data);
        each(published_right(s, &m, data, rnd_below(4) != 0), "height %u", to);
        next = to + 1;
        if (rnd_below(6) == 0) {
            settle_close(s);
            s = open_in(&m, data, spender, 1);
        }
        if (rnd_below(8) == 0 && back > 0) {
            back--;
            next = go_back(s, next);
            each(is_right(s, &m, data, false), "after a fallback");
        }
    }
    tidy_all(s);
    each(is_right(s, &m, data, true), "end");
    each(published_right(s, &m, data, true) && check_passes(data), "check");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

static void
test_random(void)
{
    for (int i = 0; i < 12; i++) {
        random_chain(i % 2 == 0, i % 4 < 2);
    }
    each_done("random chains, batches and steps");
}

/* Many folds in a row on what the initial sync made, then a rewrite. */
static void
test_folds(void)
{
    struct cm m = { .scripts = 60, .txs_max = 30 };
    const char *data = fresh();
    unsigned folds = 0, rewrites = 0;
    struct settle *s;
    uint32_t next;

    cm_grow(&m, 400, rnd());
    m.txs_max = 2;
    cm_grow(&m, 480, rnd());
    s = open_in(&m, data, true, 1);
    next = load_some(s, &m, 399);
    for (; s != NULL && next < m.nblocks; next++) {
        struct shape a = shape_of(data), b;

        each(sc_settle(s, &m, next, next) == EXI_OK, "settle %u", next);
        each(fold(s) == EXI_OK, "fold");
        b = shape_of(data);
        if (b.recent == a.recent) {
            tidy_all(s);
            each(is_tidy(s, &m, data), "rewrite at %u", next);
            rewrites++;
        } else {
            each(b.base == a.base, "base stays");
            each(is_right(s, &m, data, true), "fold at %u", next);
            folds++;
        }
        each(published_right(s, &m, data, true), "height %u", next);
    }
    each_done("batches on top of an initial sync");
    ok(folds > rewrites && rewrites > 0, "%u folds, %u rewrites", folds,
       rewrites);
    ok(check_passes(data), "the full check passes");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

/* P rows as earlier programs wrote them: base is not known. */
static void
old_row(const char *data, const char *val, size_t len)
{
    struct settle_db_batch *b = settle_db_batch_new();
    struct settle_db *db = NULL;
    char path[600];
    int rc;

    epoch_path(path, data, "db");
    rc = settle_db_open(&db, path, 0, why, sizeof(why));
    if (rc == EXI_OK) {
        rc = settle_db_put(b, EXI_KEY_TIDY, EXI_KEY_TIDY_LEN, val, len);
    }
    if (rc == EXI_OK) {
        rc = settle_db_write(db, b, why, sizeof(why));
    }
    each(rc == EXI_OK, "P row: %d", rc);
    settle_db_batch_free(b);
    settle_db_close(db);
}

static void
test_old(void)
{
    static const struct {
        const char *val;
        size_t len;
    } rows[] = {
        { "\x90\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 },
        { "\x90\1\0\0\0\0\0\0\x10\0\0\0\0\0\0\0T\1\2\3\4\0\0\0\7", 25 },
        { "\x90\1\0\0\0\0\0\0\x10\0\0\0\0\0\0\0O\1\2\3\4\0\0\0\7"
          "abcdef",
          31 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cm m = { .scripts = 40, .txs_max = 12 };
        const char *data = fresh();
        struct settle *s;

        cm_grow(&m, 200, rnd());
        s = open_in(&m, data, true, 1);
        load_some(s, &m, 159);
        each(sc_settle(s, &m, 160, 162) == EXI_OK, "settle");
        settle_close(s);
        old_row(data, rows[i].val, rows[i].len);
        s = open_in(&m, data, true, 1);
        for (uint32_t h = 163; s != NULL && h < 200; h++) {
            each(sc_settle(s, &m, h, h) == EXI_OK, "settle %u", h);
            each(fold(s) == EXI_OK, "fold");
            each(is_right(s, &m, data, false), "fold at %u", h);
            each(published_right(s, &m, data, true), "height %u", h);
            if (h % 12 == 0) {
                tidy_all(s);
            }
        }
        each(check_passes(data), "check");
        settle_close(s);
        sc_remove(data);
        cm_free(&m);
    }
    each_done("P rows of earlier programs");
}

/* A block with n transactions that touch script 2, one in ten script 5. */
static void
heavy_block(struct cm *m, unsigned n)
{
    struct bb b = { 0 };
    int two[2] = { 2, 2 };
    size_t coin;

    cm_open(m, &b);
    cm_tx(m, &b, NULL, 0, 1000 + m->nblocks, two, 1);
    coin = m->nouts - 1;
    for (unsigned k = 1; k < n; k++) {
        int out[2] = { k % 10 == 0 ? 5 : 2, 2 };

        cm_tx(m, &b, &coin, 1, 0, out, 1);
        coin = m->nouts - 1;
    }
    cm_close(m, &b);
    bb_free(&b);
}

/*
 * Light lists that become heavy together, heavy ones that grow by light and
 * heavy ones, parts that are just full.
 */
static void
heavy_chain(const unsigned *sizes, size_t n)
{
    struct cm m = { .scripts = 10, .txs_max = 4 };
    const char *data = fresh();
    struct settle *s;

    cm_grow(&m, 1, 1);
    for (size_t i = 0; i < n; i++) {
        heavy_block(&m, sizes[i]);
    }
    s = open_in(&m, data, true, 1);
    for (uint32_t h = 0; s != NULL && h < m.nblocks; h++) {
        each(sc_settle(s, &m, h, h) == EXI_OK, "settle %u", h);
        if (h % 2 == 0 || rnd_below(2) == 0) {
            tidy_all(s);
        } else {
            each(fold(s) == EXI_OK, "fold");
        }
        each(is_right(s, &m, data, false), "rows at %u", h);
        each(published_right(s, &m, data, true), "height %u", h);
    }
    tidy_all(s);
    each(is_right(s, &m, data, true), "end");
    each(published_right(s, &m, data, true) && check_passes(data), "check");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

static void
test_heavy(void)
{
    static const unsigned a[] = { 600, 600, 3, 4096, 5000, 1, 2, 9000, 700 };
    static const unsigned b[] = { 4096, 4096, 4096, 1, 1025, 1024 };
    static const unsigned c[] = { 1, 1500, 1, 1500, 2600, 8192, 1 };

    heavy_chain(a, sizeof(a) / sizeof(a[0]));
    heavy_chain(b, sizeof(b) / sizeof(b[0]));
    heavy_chain(c, sizeof(c) / sizeof(c[0]));
    each_done("heavy scripts");
}

/* A coinbase that replaces one whose rows are merged. */
static void
test_duplicates(void)
{
    for (uint32_t batch = 1; batch < 12; batch += 5) {
        struct cm m = { .scripts = 10, .txs_max = 4 };
        const char *data = fresh();
        struct settle *s;

        for (uint32_t h = 0; h < 40; h++) {
            struct bb b = { 0 };
            int script = (int) (h % 7);
            bool dup = h == 10 || h == 20;

            cm_open(&m, &b);
            script = dup ? 3 : script;
            cm_tx(&m, &b, NULL, 0, dup ? 4242 : h, &script, 1);
            cm_close(&m, &b);
            bb_free(&b);
        }
        s = open_in(&m, data, true, 1);
        for (uint32_t h = 0; s != NULL && h < 40; h += batch) {
            uint32_t to = h + batch < 40 ? h + batch - 1 : 39;

            each(sc_settle(s, &m, h, to) == EXI_OK, "settle %u", h);
            each(fold(s) == EXI_OK, "fold");
            if (rnd_below(2) == 0) {
                tidy_all(s);
            }
            each(published_right(s, &m, data, true), "height %u", to);
        }
        tidy_all(s);
        each(is_right(s, &m, data, true), "end");
        each(published_right(s, &m, data, true) && check_passes(data), "check");
        settle_close(s);
        sc_remove(data);
        cm_free(&m);
    }
    each_done("duplicates");
}

/* When something is due, and that it ends. */
static void
test_due(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    const char *data = fresh();
    struct settle *s;
    bool more = true;
    struct sc c;

    cm_grow(&m, 20, rnd());
    m.txs_max = 30;
    cm_grow(&m, 320, rnd());
    m.txs_max = 2;
    cm_grow(&m, 322, rnd());
    s = open_in(&m, data, false, 0);
    is_int(settle_tidy(s, true, sc_never, NULL, &more), EXI_OK,
           "nothing is settled");
    ok(!more, "nothing to do");
    for (uint32_t h = 0; h < 20; h += 5) {
        each(sc_settle(s, &m, h, h + 4) == EXI_OK, "settle");
    }
    each_done("four batches");
    is_int(settle_tidy(s, true, sc_never, NULL, &more), EXI_OK,
           "too little is settled");
    ok(read_epoch(&c, s, data, 0) && c.again > 0, "rows are not merged");
    free(c.facts.v);
    settle_close(s);
    s = open_in(&m, data, false, 100);
    is_int(fold(s), EXI_OK, "nothing to fold into yet");
    ok(read_epoch(&c, s, data, 0) && c.again > 0, "rows are not merged");
    free(c.facts.v);
    is_int(settle_tidy(s, false, sc_never, NULL, &more), EXI_OK,
           "asked for less");
    ok(more, "a rewrite is due");
    is_int(settle_tidy(s, true, sc_never, NULL, &more), EXI_OK,
           "now it is done");
    ok(!more, "there is no more");
    ok(is_tidy(s, &m, data), "one row a bucket");
    is_int(sc_settle(s, &m, 20, 319), EXI_OK, "a large batch");
    ok(tidy_all(s) == 1 && is_tidy(s, &m, data), "merged into base at once");
    is_int(sc_settle(s, &m, 320, 321), EXI_OK, "a small one");
    ok(read_epoch(&c, s, data, 0) && c.again > 0 && c.tidy.fresh > 100
           && c.tidy.base.known && c.tidy.base.height == 319,
       "what came since is durable");
    free(c.facts.v);
    ok(tidy_all(s) == 1 && is_right(s, &m, data, true), "folded");
    ok(shape_of(data).recent != 0, "into the recent run");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

/* Tables of a generation, or directories in generations/ (number 0). */
static unsigned
count_names(const char *data, uint64_t number, const char *suffix)
{
    char path[400];
    unsigned n = 0;
    struct dirent *e;
    DIR *d;

    snprintf(path, sizeof(path), "%s/generations", data);
    if (number != 0) {
        snprintf(path, sizeof(path), "%s/generations/%010llu/db", data,
                 (unsigned long long) number);
    }
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name), tail = strlen(suffix);

        n += e->d_name[0] != '.' && len > tail
             && strcmp(e->d_name + len - tail, suffix) == 0;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

/* What tidying made is published, once. */
static void
test_publish(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    struct exi_live_gen first, second, third;
    const char *data = fresh();
    struct settle *s;

    cm_grow(&m, 220, rnd());
    s = open_in(&m, data, true, 1);
    for (uint32_t h = 0; s != NULL && h < 12; h += 4) {
        each(sc_settle(s, &m, h, h + 3) == EXI_OK, "settle");
        settle_close(s);
        s = open_in(&m, data, true, 1); /* makes a table of the log */
    }
    each(settle_publish(s, &first) == EXI_OK, "publish");
    each_done("three batches, published");
    ok(count_names(data, first.number, ".ldb") > 1, "several sorted runs");
    tidy_all(s);
    is_int(settle_publish(s, &second), EXI_OK, "publish");
    ok(second.number == first.number + 1 && second.height == first.height,
       "a new generation of the same height");
    ok(published_right(s, &m, data, true), "it is right");
    is_int(count_names(data, 0, ""), 1, "the one that it replaces is pruned");
    ok(check_passes(data), "the full check passes");
    is_int(settle_publish(s, &third), EXI_OK, "publish again");
    ok(third.number == second.number, "not twice");
    tidy_all(s);
    is_int(settle_publish(s, &third), EXI_OK, "when nothing was due");
    ok(third.number == second.number, "nothing new");
    for (uint32_t h = 12; h < 216; h += 4) {
        each(sc_settle(s, &m, h, h + 3) == EXI_OK, "settle %u", h);
        each(settle_publish(s, &first) == EXI_OK, "publish");
        tidy_all(s);
        each(settle_publish(s, &second) == EXI_OK
                 && second.number == first.number + 1,
             "publish after tidying");
        settle_prune(s, &second, 1);
    }
    each_done("51 batches, tidied");
    /* the newest, one at least 100 deep, one that will be */
    is_int(count_names(data, 0, ""), 3, "kept generations do not pile up");
    ok(second.number % 2 == 0, "the later one of a height has an even number");
    for (uint64_t n = 1; n < second.number; n += 2) {
        each(count_names(data, n, ".ldb") == 0, "%llu", (unsigned long long) n);
    }
    each_done("none is kept that was replaced");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

/* Reads one generation again and again while others are made. */
struct reading {
    const struct cm *m;
    char path[400];
    volatile bool stop;
    unsigned times;
    bool good;
};

static void *
read_on(void *arg)
{
    struct reading *r = arg;

    do {
        r->good = r->good && sc_generation(r->path, r->m, NULL);
        r->times++;
    } while (!r->stop && r->good);
    return NULL;
}

/* A generation stays what it is while its rows are merged away. */
static void
test_readers(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    struct reading r = { .m = &m, .good = true };
    const char *data = fresh();
    struct exi_live_gen g;
    pthread_t reader;
    struct settle *s;

    cm_grow(&m, 60, rnd());
    s = open_in(&m, data, true, 1);
    for (uint32_t h = 0; h < 30; h += 3) {
        each(sc_settle(s, &m, h, h + 2) == EXI_OK, "settle");
    }
    each(settle_publish(s, &g) == EXI_OK, "publish");
    snprintf(r.path, sizeof(r.path), "%s/generations/%010llu", data,
             (unsigned long long) g.number);
    pthread_create(&reader, NULL, read_on, &r);
    for (uint32_t h = 30; h < 60; h++) {
        struct exi_live_gen newer;

        each(sc_settle(s, &m, h, h) == EXI_OK, "settle");
        tidy_all(s);
        each(settle_publish(s, &newer) == EXI_OK, "publish");
        settle_prune(s, &g, 1);
    }
    each_done("batches and steps beside a reader");
    r.stop = true;
    pthread_join(reader, NULL);
    ok(r.good, "the generation stayed right (%u times read): %s", r.times,
       sc_error);
    ok(published_right(s, &m, data, true), "the newest is right");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

int
main(void)
{
    rnd_init();
    dir = sc_tmp();
    subtest("random chains", test_random);
    subtest("heavy scripts", test_heavy);
    subtest("duplicates", test_duplicates);
    subtest("many folds", test_folds);
    subtest("earlier programs", test_old);
    subtest("when it is due", test_due);
    subtest("readers", test_readers);
    subtest("publishing", test_publish);
    sc_remove(dir);
    return done_testing();
}
