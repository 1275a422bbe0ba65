/*
 * A partition -> sorted records in memory.
 *
 * The files are read twice: first to count how many records fall into each of
 * up to 4,096 equal ranges, then to put each record into its range, which is
 * sorted in place.  If not all records fit into the memory, the second step is
 * repeated for one run of ranges after the other.
 */
#include "bulk_int.h"

#include <stdlib.h>
#include <string.h>

#define RUN_SHORT   16
#define PER_RANGE   12 /* records aimed at */
#define DEPTH_LIMIT 64

static inline bool
less(const struct bulk_rec *x, const struct bulk_rec *y)
{
    if (x->a != y->a) {
        return x->a < y->a;
    }
    return x->b != y->b ? x->b < y->b : x->c < y->c;
}

static void
insertion(struct bulk_rec *r, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct bulk_rec x = r[i];
        size_t k = i;

        for (; k > 0 && less(&x, &r[k - 1]); k--) {
            r[k] = r[k - 1];
        }
        r[k] = x;
    }
}

static inline void
swap(struct bulk_rec *x, struct bulk_rec *y)
{
    struct bulk_rec t = *x;

    *x = *y;
    *y = t;
}

static void
sift_down(struct bulk_rec *r, size_t i, size_t n)
{
    for (size_t k = 2 * i + 1; k < n; i = k, k = 2 * i + 1) {
        if (k + 1 < n && less(&r[k], &r[k + 1])) {
            k++;
        }
        if (!less(&r[i], &r[k])) {
            return;
        }
        swap(&r[i], &r[k]);
    }
}

static void
heap_sort(struct bulk_rec *r, size_t n)
{
    for (size_t i = n / 2; i > 0; i--) {
        sift_down(r, i - 1, n);
    }
    for (size_t i = n; i > 1; i--) {
        swap(&r[0], &r[i - 1]);
        sift_down(r, 0, i - 1);
    }
}

/* Median of first, middle and last goes to the middle. */
static void
median(struct bulk_rec *r, size_t n)
{
    struct bulk_rec *m = &r[n / 2], *z = &r[n - 1];

    if (less(m, r)) {
        swap(m, r);
    }
    if (less(z, m)) {
        swap(z, m);
        if (less(m, r)) {
            swap(m, r);
        }
    }
}

/* Quicksort; a range that divides badly is left to the heap. */
static void
quick_sort(struct bulk_rec *r, size_t n, unsigned depth)
{
    while (n > RUN_SHORT) {
        struct bulk_rec pivot;
        size_t i = 0, k = n - 1;

        if (depth-- == 0) {
            heap_sort(r, n);
            return;
        }
        median(r, n);
        pivot = r[n / 2];
        for (;; i++, k--) {
            while (less(&r[i], &pivot)) {
                i++;
            }
            while (less(&pivot, &r[k])) {
                k--;
            }
            if (i >= k) {
                break;
            }
            swap(&r[i], &r[k]);
        }
        /* [0, k] <= pivot <= (k, n): the smaller part first. */
        if (k + 1 <= n - k - 1) {
            quick_sort(r, k + 1, depth);
            r += k + 1;
            n -= k + 1;
        } else {
            quick_sort(r + k + 1, n - k - 1, depth);
            n = k + 1;
        }
    }
    insertion(r, n);
}

void
bulk_sort(struct bulk_rec *r, size_t n)
{
    size_t i = 1;

    while (i < n && !less(&r[i], &r[i - 1])) {
        i++;
    }
    if (i < n) {
        quick_sort(r, n, DEPTH_LIMIT);
    }
}

int
bulk_sorter_init(struct bulk_sorter *s, size_t memory)
{
    s->cap = 0;
    s->rec = NULL;
    s->limit = memory / sizeof(*s->rec);
    s->limit = s->limit > 64 ? s->limit : 64;
    s->at = malloc((((size_t) 1 << BULK_RADIX_BITS) + 1) * sizeof(*s->at));
    s->inbuf = calloc(1, BULK_IN_SIZE + BULK_REC_MAX);
    return s->at != NULL && s->inbuf != NULL ? EXI_OK : EXI_ENOMEM;
}

void
bulk_sorter_free(struct bulk_sorter *s)
{
    free(s->rec);
    free(s->at);
    free(s->inbuf);
    memset(s, 0, sizeof(*s));
}

/* The ranges of a job, and the run of them that is being sorted. */
struct ranges {
    const struct bulk_sort_job *j;
    unsigned bits;     /* 1 << bits ranges */
    unsigned shift;    /* range = (a - low) >> shift */
    uint32_t from, to; /* of the run */
};

static inline uint32_t
range_of(const struct ranges *g, uint64_t a)
{
    uint64_t i = (a - g->j->low) >> g->shift, last = (1u << g->bits) - 1;

    return (uint32_t) (i < last ? i : last);
}

/* Calls count or place for each record of a file. */
static int
each_record(struct bulk_sorter *s, const struct ranges *g, unsigned file,
            bool place)
{
    const struct bulk_temp *t = g->j->t[file];
    bulk_decode_pt decode = g->j->decode[file];
    struct bulk_in in = { .buf = s->inbuf };
    struct bulk_rec r;
    size_t n;
    int rc = bulk_in_open(&in, t, g->j->part);

    while (rc == EXI_OK && bulk_in_fill(&in)) {
        do {
            uint32_t i;

            n = decode(in.p, g->j->part, t->bits, &r);
            if (n > (size_t) (in.end - in.p)) {
                rc = EXI_EFORMAT;
                break;
            }
            in.p += n;
            i = range_of(g, r.a);
            if (!place) {
                s->at[i]++;
            } else if (i >= g->from && i < g->to) {
                s->rec[s->at[i]++] = r;
            }
        } while (in.end - in.p >= BULK_REC_MAX);
    }
    if (rc == EXI_OK && in.left != 0) {
        rc = EXI_EIO;
    }
    bulk_in_close(&in);
    return rc;
}

static int
each_file(struct bulk_sorter *s, const struct ranges *g, bool place)
{
    int rc = each_record(s, g, 0, place);

    if (rc == EXI_OK && g->j->t[1] != NULL) {
        rc = each_record(s, g, 1, place);
    }
    return rc;
}

static int
room(struct bulk_sorter *s, size_t n)
{
    if (n <= s->cap) {
        return EXI_OK;
    }
    free(s->rec);
    s->cap = n + n / 8 < s->limit ? n + n / 8 : n;
    s->rec = malloc(s->cap * sizeof(*s->rec));
    if (s->rec == NULL) {
        s->cap = 0;
        return EXI_ENOMEM;
    }
    return EXI_OK;
}

/* Sorts the records of g->from ... g->to - 1, of which s->at has the counts. */
static int
sort_run(struct bulk_sorter *s, const struct ranges *g, size_t n)
{
    uint64_t sum = 0, start = 0;
    int rc = room(s, n);

    for (uint32_t i = g->from; i < g->to; i++) {
        uint64_t c = s->at[i];

        s->at[i] = sum;
        sum += c;
    }
    if (rc == EXI_OK) {
        rc = each_file(s, g, true);
    }
    for (uint32_t i = g->from; rc == EXI_OK && i < g->to; i++) {
        bulk_sort(s->rec + start, s->at[i] - start);
        start = s->at[i];
    }
    return rc == EXI_OK ? g->j->fn(g->j->ctx, s->rec, n) : rc;
}

/* Ranges that hold about PER_RANGE records of the estimated n. */
static void
choose_ranges(struct ranges *g, const struct bulk_sort_job *j, uint64_t n)
{
    g->j = j;
    g->bits = 0;
    while (g->bits < BULK_RADIX_BITS && g->bits < j->width
           && n >> g->bits > PER_RANGE) {
        g->bits++;
    }
    g->shift = j->width - g->bits;
    g->shift = g->shift < 64 ? g->shift : 63;
}

/* Does a new run begin before range i without cutting a row? */
static bool
may_cut(const struct ranges *g, uint32_t i)
{
    return g->shift >= g->j->row || i % (1u << (g->j->row - g->shift)) == 0;
}

int
bulk_sort_run(struct bulk_sorter *s, const struct bulk_sort_job *j)
{
    uint64_t bytes = j->t[0]->len[j->part], n, held = 0, sum = 0;
    struct ranges g;
    int rc;

    bytes += j->t[1] != NULL ? j->t[1]->len[j->part] : 0;
    choose_ranges(&g, j, bytes / 20);
    n = (uint64_t) 1 << g.bits;
    memset(s->at, 0, (n + 1) * sizeof(*s->at));
    rc = each_file(s, &g, false);
    g.from = 0;
    for (uint32_t i = 0; rc == EXI_OK && i < n; i++) {
        /* sum: of this row so far; held: of the rows before it */
        if (may_cut(&g, i)) {
            held += sum;
            sum = 0;
        }
        sum += s->at[i];
        if (held > 0 && held + sum > s->limit) {
            g.to = i;
            while (!may_cut(&g, g.to)) {
                g.to--;
            }
            rc = sort_run(s, &g, held);
            g.from = g.to;
            held = 0;
        }
    }
    g.to = (uint32_t) n;
    return rc == EXI_OK && held + sum > 0 ? sort_run(s, &g, held + sum) : rc;
}
