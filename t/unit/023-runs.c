/*
 * exi_runs.h: arrays of many sizes and orders, sorted piece by piece, against
 * qsort(); equal elements of different runs stay as they came; a step does no
 * more than its budget.
 */
#include "exi_runs.h"

#include "rnd.h"
#include "tap.h"

/* The runs of exi_runs.c. */
#define RUN 256

struct element {
    uint32_t key;
    uint32_t place; /* where it was, or its run */
};

static uint64_t compared;

static int
by_key(const void *x, const void *y)
{
    const struct element *a = x, *b = y;

    compared++;
    return (a->key > b->key) - (a->key < b->key);
}

static int
by_both(const void *x, const void *y)
{
    const struct element *a = x, *b = y;

    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return (a->place > b->place) - (a->place < b->place);
}

static struct element *
make(size_t n, uint64_t keys, bool by_run)
{
    struct element *v = malloc((n + 1) * sizeof *v);

    for (size_t i = 0; v != NULL && i < n; i++) {
        v[i].key = (uint32_t) rnd_below(keys);
        v[i].place = (uint32_t) (by_run ? i / RUN : i);
    }
    return v;
}

/* Steps it took; -1: an error. */
static int
sort(struct element **v, size_t n, size_t budget,
     int (*compare)(const void *, const void *))
{
    struct exi_runs r;
    int steps = 1, rc;

    exi_runs_begin(&r, *v, n, sizeof **v, compare);
    while ((rc = exi_runs_step(&r, budget)) == 1) {
        steps++;
    }
    *v = (struct element *) (void *) r.v;
    exi_runs_end(&r);
    return rc ? -1 : steps;
}

static void
one(size_t n, uint64_t keys, size_t budget)
{
    struct element *v = make(n, keys, false);
    struct element *want = malloc((n + 1) * sizeof *want);

    if (v == NULL || want == NULL) {
        ok(false, "memory");
    } else {
        memcpy(want, v, n * sizeof *v);
        qsort(want, n, sizeof *want, by_both);
        each(sort(&v, n, budget, by_both) > 0
                 && memcmp(v, want, n * sizeof *v) == 0,
             "%zu elements of %llu, %zu at a time", n,
             (unsigned long long) keys, budget);
    }
    free(v);
    free(want);
}

static void
test_sizes(void)
{
    static const size_t edge[] = { 0,       1,       2,       RUN - 1,
                                   RUN,     RUN + 1, 2 * RUN, 2 * RUN + 1,
                                   3 * RUN, 4 * RUN, 5 * RUN };

    for (size_t i = 0; i < sizeof edge / sizeof edge[0]; i++) {
        one(edge[i], 1, 1);
        one(edge[i], 7, 1);
        one(edge[i], UINT32_MAX, 512);
    }
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t) rnd_below(20 * RUN);

        one(n, 1 + rnd_below(rnd_below(2) ? 10 : UINT32_MAX),
            1 + (size_t) rnd_below(1000));
    }
    each_done("as qsort() does it");
}

/* What is in order needs no memory and one look at each. */
static void
test_ordered(void)
{
    size_t n = 10 * RUN;
    struct element *v = make(n, 1, false), *before = v;
    struct exi_runs r;

    for (size_t i = 0; i < n; i++) {
        v[i].key = (uint32_t) i / 3;
    }
    compared = 0;
    exi_runs_begin(&r, v, n, sizeof *v, by_key);
    while (exi_runs_step(&r, RUN) == 1) {
        each(r.to == NULL, "no copy");
    }
    each_done("no memory");
    ok(r.v == (uint8_t *) before, "stays where it is");
    is_int(compared, n - 1, "comparisons");
    exi_runs_end(&r);

    /* each run is in order by itself, but they are not */
    for (size_t i = 0; i < n; i++) {
        v[i].key = (uint32_t) (n - i / RUN * RUN + i % RUN);
    }
    ok(sort(&v, n, RUN, by_key) > 0, "runs in the wrong order");
    for (size_t i = 1; i < n; i++) {
        each(v[i - 1].key <= v[i].key, "element %zu", i);
    }
    each_done("sorted");
    free(v);
}

static void
test_stable(void)
{
    size_t n = 9 * RUN + 10;
    struct element *v = make(n, 5, true);

    ok(sort(&v, n, 100, by_key) > 0, "sorted");
    for (size_t i = 1; i < n; i++) {
        each(v[i - 1].key < v[i].key
                 || (v[i - 1].key == v[i].key && v[i - 1].place <= v[i].place),
             "element %zu", i);
    }
    each_done("equal ones of different runs stay as they came");
    free(v);
}

/* No step compares much more than sorting `budget` elements does. */
static void
test_budget(void)
{
    size_t n = 100 * RUN, most = 0, steps = 0;
    struct element *v = make(n, UINT32_MAX, false);
    struct exi_runs r;
    int rc;

    exi_runs_begin(&r, v, n, sizeof *v, by_key);
    do {
        compared = 0;
        rc = exi_runs_step(&r, 2 * RUN);
        most = compared > most ? (size_t) compared : most;
        steps++;
    } while (rc == 1);
    is_int(rc, EXI_OK, "sorted");
    ok(steps > 50, "in %zu steps", steps);
    ok(most <= 2 * RUN * 9, "%zu comparisons at most", most);
    exi_runs_end(&r);
    free(r.v);
}

int
main(void)
{
    rnd_init();
    subtest("sizes, orders, budgets", test_sizes);
    subtest("in order already", test_ordered);
    subtest("stable between runs", test_stable);
    subtest("a step is bounded", test_budget);
    return done_testing();
}
