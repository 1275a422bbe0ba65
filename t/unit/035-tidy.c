/*
 * Tidying: the settled layer holds the same facts whatever steps are taken
 * between the batches, readers are right at every generation, and after a pass
 * each bucket has one row.  Random chains in random batches with random steps;
 * heavy scripts and duplicates one by one.  When a pass has ended, what it made
 * is published, once.
 */
#include "../lib/tap.h"

#include "../lib/settlecheck.h"

#include <dirent.h>
#include <pthread.h>

#include "check.h"

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
published_right(struct settle *s, const struct cm *m, const char *data)
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
    settle_prune(s, &g, 1);
    return g.height == settle_meta(s)->height;
}

/* The database that is written, closed. */
static bool
read_epoch(struct sc *c, const struct settle *s, const char *data)
{
    char path[400], epoch[32] = "";
    FILE *f;

    sc_error[0] = '\0';
    memset(c, 0, sizeof(*c));
    c->params = *settle_params(s);

    snprintf(path, sizeof(path), "%s/settled/CURRENT", data);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%10s", epoch) != 1) {
        diag("%s", path);
    }
    if (f != NULL) {
        fclose(f);
    }
    snprintf(path, sizeof(path), "%s/settled/%s/db", data, epoch);
    if (!sc_read_db(c, path)) {
        diag("%s", sc_error);
        return false;
    }
    return true;
}

/* Folds, or rewrites all. */
static void
tidy(struct settle *s, bool all)
{
    bool more;
    int rc = settle_tidy(s, all, sc_never, NULL, &more);

    each(rc == EXI_OK, "tidy: %d", rc);
}

/* All of the model's facts are there, one row for each bucket, or, where the
 * recent run is too small for a rewrite, two of few. */
static bool
is_tidy(struct settle *s, const struct cm *m, const char *data)
{
    struct cm_facts want;
    struct sc c;
    bool good = read_epoch(&c, s, data);

    cm_facts(m, &want, settle_meta(s)->height, settle_params(s));
    good = good && sc_same_facts(&c.facts, &want) && c.meta.row_count == c.rows
           && c.meta.hist_count == c.hist;
    if (!good || c.again > c.rows / 32 || !c.tidied) {
        diag("%s, rows %llu %llu, %llu not merged", sc_error,
             (unsigned long long) c.meta.row_count, (unsigned long long) c.rows,
             (unsigned long long) c.again);
        good = false;
    }
    free(want.v);
    free(c.facts.v);
    return good;
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

/* Batches of random sizes with random steps between, sometimes reopened. */
static void
random_chain(bool spender)
{
    struct cm m = { .scripts = 20 + (unsigned) rnd_below(60), .txs_max = 9 };
    const char *data = fresh();
    uint32_t next = 0;
    struct settle *s;

    cm_grow(&m, 40 + rnd_below(40), rnd());
    s = open_in(&m, data, spender, 1 + rnd_below(4000));
    while (s != NULL && next < m.nblocks) {
        uint32_t to = next + (uint32_t) rnd_below(rnd_below(4) ? 4 : 20);

        to = to < m.nblocks ? to : (uint32_t) m.nblocks - 1;
        each(sc_settle(s, &m, next, to) == EXI_OK, "settle %u", next);
        for (unsigned i = (unsigned) rnd_below(3); i > 0; i--) {
            tidy(s, rnd_below(3) == 0);
        }
        each(published_right(s, &m, data), "height %u", to);
        if (rnd_below(6) == 0) {
            settle_close(s);
            s = open_in(&m, data, spender, 1);
        }
        next = to + 1;
    }
    tidy(s, rnd_below(2) == 0);
    settle_close(s);
    /* Whatever was left by the pass under way: one more. */
    s = open_in(&m, data, spender, 1);
    tidy(s, true);
    each(is_tidy(s, &m, data), "end");
    each(published_right(s, &m, data) && check_passes(data), "check");
    settle_close(s);
    sc_remove(data);
    cm_free(&m);
}

static void
test_random(void)
{
    for (int i = 0; i < 12; i++) {
        random_chain(i % 2 == 0);
    }
    each_done("random chains, batches and steps");
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
            tidy(s, rnd_below(2) == 0);
        }
        each(published_right(s, &m, data), "height %u", h);
    }
    tidy(s, true);
    each(is_tidy(s, &m, data), "end");
    each(published_right(s, &m, data) && check_passes(data), "check");
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
            tidy(s, true);
            each(published_right(s, &m, data), "height %u", to);
        }
        tidy(s, true);
        each(is_tidy(s, &m, data), "end");
        settle_close(s);
        sc_remove(data);
        cm_free(&m);
    }
    each_done("duplicates");
}

static bool
at_once(void *ctx)
{
    ++*(unsigned *) ctx;
    return true;
}

/* When something is due, and that it can be stopped. */
static void
test_due(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    const char *data = fresh();
    unsigned asked = 0;
    struct settle *s;
    struct sc c;
    bool more = true;

    cm_grow(&m, 30, rnd());
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
    ok(read_epoch(&c, s, data) && c.again > 0, "rows are not merged");
    free(c.facts.v);
    settle_close(s);
    s = open_in(&m, data, false, 100);
    is_int(settle_tidy(s, false, sc_never, NULL, &more), EXI_OK,
           "all is new: nothing to fold");
    ok(more, "but to rewrite");
    is_int(settle_tidy(s, true, at_once, &asked, &more), EXI_ESTALE, "stopped");
    ok(asked > 0 && read_epoch(&c, s, data) && c.again > 0, "all is as before");
    free(c.facts.v);
    is_int(settle_tidy(s, true, sc_never, NULL, &more), EXI_OK, "rewritten");
    ok(!more && is_tidy(s, &m, data), "one row a bucket");
    is_int(sc_settle(s, &m, 20, 29), EXI_OK, "one more batch");
    ok(read_epoch(&c, s, data) && c.again > 0 && c.tidy.fresh > 100
           && c.tidy.base.known && c.tidy.base.height == 19,
       "what came then is known to be new");
    free(c.facts.v);
    tidy(s, true);
    ok(is_tidy(s, &m, data), "one row a bucket");
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

/* Small databases: each sorted run is a table. */
static void
test_publish(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    struct exi_live_gen first, second, third;
    const char *data = fresh();
    struct settle *s;
    bool more;

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
    is_int(settle_tidy(s, false, sc_never, NULL, &more), EXI_OK, "a look");
    ok(more, "a rewrite is due");
    is_int(settle_publish(s, &second), EXI_OK, "publish");
    ok(second.number == first.number, "nothing new");
    tidy(s, true);
    is_int(settle_publish(s, &second), EXI_OK, "publish after the pass");
    ok(second.number == first.number + 1 && second.height == first.height,
       "a new generation of the same height");
    /* tables of H, of M and P, of the others */
    is_int(count_names(data, second.number, ".ldb"), 3, "one sorted run");
    ok(published_right(s, &m, data), "it is right");
    is_int(count_names(data, 0, ""), 1, "the one that it replaces is pruned");
    ok(check_passes(data), "the full check passes");
    is_int(settle_publish(s, &third), EXI_OK, "publish again");
    ok(third.number == second.number, "not twice");
    tidy(s, true);
    is_int(settle_publish(s, &third), EXI_OK,
           "after a step that finds nothing");
    ok(third.number == second.number, "nothing new");
    for (uint32_t h = 12; h < 216; h += 4) {
        each(sc_settle(s, &m, h, h + 3) == EXI_OK, "settle %u", h);
        each(settle_publish(s, &first) == EXI_OK, "publish");
        tidy(s, true);
        each(settle_publish(s, &second) == EXI_OK
                 && second.number == first.number + 1,
             "publish after the pass");
        settle_prune(s, &second, 1);
    }
    each_done("51 batches and passes");
    /* the newest, one at least 100 deep, one that will be */
    is_int(count_names(data, 0, ""), 3, "kept generations do not pile up");
    ok(second.number % 2 == 0, "the later one of a height has an even number");
    for (uint64_t n = 1; n < second.number; n += 2) {
        each(count_names(data, n, ".ldb") == 0, "%llu", (unsigned long long) n);
    }
    each_done("none is kept that a pass has replaced");
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
        tidy(s, rnd_below(2) == 0);
        each(settle_publish(s, &newer) == EXI_OK, "publish");
        settle_prune(s, &g, 1);
    }
    each_done("batches and steps beside a reader");
    r.stop = true;
    pthread_join(reader, NULL);
    ok(r.good, "the generation stayed right (%u times read): %s", r.times,
       sc_error);
    ok(published_right(s, &m, data), "the newest is right");
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
    subtest("when it is due", test_due);
    subtest("readers", test_readers);
    subtest("publishing", test_publish);
    sc_remove(dir);
    return done_testing();
}
