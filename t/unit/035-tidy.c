/*
 * Tidying: the settled layer holds the same facts whatever steps are taken
 * between the batches, readers are right at every generation, and after a pass
 * each bucket has one row.  Random chains in random batches with random steps;
 * heavy scripts, duplicates and what a damaged row does one by one.
 */
#include "../lib/tap.h"

#include "../lib/settlecheck.h"

#include <pthread.h>

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
    char path[400];

    sc_error[0] = '\0';
    memset(c, 0, sizeof(*c));
    c->params = *settle_params(s);
    snprintf(path, sizeof(path), "%s/settled/0000000001/db", data);
    if (!sc_read_db(c, path)) {
        diag("%s", sc_error);
        return false;
    }
    return true;
}

/* Steps until there is nothing more to do; how many there were. */
static unsigned
tidy_all(struct settle *s, uint64_t bytes)
{
    unsigned n = 0;
    bool more = true;

    while (more) {
        int rc = settle_tidy(s, bytes, &more);

        each(rc == EXI_OK, "step: %d", rc);
        n++;
        if (rc != EXI_OK || n > 100000) {
            break;
        }
    }
    return n;
}

/* All of the model's facts are there, one row for each bucket. */
static bool
is_tidy(struct settle *s, const struct cm *m, const char *data)
{
    struct cm_facts want;
    struct sc c;
    bool good = read_epoch(&c, s, data);

    cm_facts(m, &want, settle_meta(s)->height, settle_params(s));
    good = good && sc_same_facts(&c.facts, &want) && c.meta.row_count == c.rows
           && c.meta.hist_count == c.hist;
    if (!good || c.again != 0 || !c.tidied) {
        diag("%s, rows %llu %llu, %llu not merged", sc_error,
             (unsigned long long) c.meta.row_count, (unsigned long long) c.rows,
             (unsigned long long) c.again);
        good = false;
    }
    free(want.v);
    free(c.facts.v);
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
    bool more;

    cm_grow(&m, 40 + rnd_below(40), rnd());
    s = open_in(&m, data, spender, 1 + rnd_below(4000));
    while (s != NULL && next < m.nblocks) {
        uint32_t to = next + (uint32_t) rnd_below(rnd_below(4) ? 4 : 20);

        to = to < m.nblocks ? to : (uint32_t) m.nblocks - 1;
        each(sc_settle(s, &m, next, to) == EXI_OK, "settle %u", next);
        for (unsigned i = (unsigned) rnd_below(5); i > 0; i--) {
            each(settle_tidy(s, 1 + rnd_below(3000), &more) == EXI_OK, "tidy");
        }
        each(published_right(s, &m, data), "height %u", to);
        if (rnd_below(6) == 0) {
            settle_close(s);
            s = open_in(&m, data, spender, 1);
        }
        next = to + 1;
    }
    tidy_all(s, 1 + rnd_below(3000));
    settle_close(s);
    /* Whatever was left by the pass under way: one more. */
    s = open_in(&m, data, spender, 1);
    tidy_all(s, UINT64_MAX);
    tidy_all(s, UINT64_MAX);
    each(is_tidy(s, &m, data), "end");
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
            tidy_all(s, 1 + rnd_below(20000));
        }
        each(published_right(s, &m, data), "height %u", h);
    }
    tidy_all(s, UINT64_MAX);
    tidy_all(s, UINT64_MAX);
    each(is_tidy(s, &m, data), "end");
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
            tidy_all(s, 300);
            each(published_right(s, &m, data), "height %u", to);
        }
        tidy_all(s, UINT64_MAX);
        tidy_all(s, UINT64_MAX);
        each(is_tidy(s, &m, data), "end");
        settle_close(s);
        sc_remove(data);
        cm_free(&m);
    }
    each_done("duplicates");
}

/* When a pass is due, and that it ends. */
static void
test_due(void)
{
    struct cm m = { .scripts = 30, .txs_max = 9 };
    const char *data = fresh();
    struct settle *s;
    struct sc c;
    bool more = true;

    cm_grow(&m, 30, rnd());
    s = open_in(&m, data, false, 0);
    is_int(settle_tidy(s, UINT64_MAX, &more), EXI_OK, "nothing is settled");
    ok(!more, "nothing to do");
    for (uint32_t h = 0; h < 20; h += 5) {
        each(sc_settle(s, &m, h, h + 4) == EXI_OK, "settle");
    }
    each_done("four batches");
    is_int(settle_tidy(s, UINT64_MAX, &more), EXI_OK, "too little is settled");
    ok(read_epoch(&c, s, data) && c.again > 0, "rows are not merged");
    free(c.facts.v);
    settle_close(s);
    s = open_in(&m, data, false, 100);
    is_int(settle_tidy(s, 1, &more), EXI_OK, "now it is enough");
    ok(more, "there is more after a small step");
    ok(tidy_all(s, 2000) > 1, "further steps");
    ok(is_tidy(s, &m, data), "one row a bucket");
    ok(tidy_all(s, 2000) == 1, "nothing more");
    is_int(sc_settle(s, &m, 20, 29), EXI_OK, "one more batch");
    ok(read_epoch(&c, s, data) && c.again > 0 && c.tidy.next.len == 0
           && c.tidy.fresh > 100,
       "the end of the pass and what came then is durable");
    free(c.facts.v);
    tidy_all(s, UINT64_MAX);
    ok(is_tidy(s, &m, data), "one row a bucket");
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
        tidy_all(s, 1 + rnd_below(5000));
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
    sc_remove(dir);
    return done_testing();
}
