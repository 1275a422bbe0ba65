/*
 * A merge sort that can stop anywhere and go on; see the header.
 */
#include "exi_runs.h"

#include <stdlib.h>
#include <string.h>

#define RUN 256

/* Merging an element takes a fraction of what it takes to sort it into a run. */
#define MERGES 8

void
exi_runs_begin(struct exi_runs *r, void *v, size_t n, size_t size,
               int (*compare)(const void *a, const void *b))
{
    memset(r, 0, sizeof *r);
    r->v = v;
    r->n = n;
    r->size = size;
    r->compare = compare;
}

void
exi_runs_end(struct exi_runs *r)
{
    free(r->to);
    r->to = NULL;
}

static uint8_t *
at(const struct exi_runs *r, size_t i)
{
    return r->v + i * r->size;
}

static size_t
end_of(const struct exi_runs *r, size_t from, size_t width)
{
    return width < r->n - from ? from + width : r->n;
}

/* Whether elements from ... to - 1 and the one before them are in order. */
static bool
in_order(const struct exi_runs *r, size_t from, size_t to)
{
    for (size_t i = from > 0 ? from : 1; i < to; i++) {
        if (r->compare(at(r, i - 1), at(r, i)) > 0) {
            return false;
        }
    }
    return true;
}

/* Makes the next run; `mixed` also if it is in order by itself only. */
static void
make_run(struct exi_runs *r)
{
    size_t to = end_of(r, r->i, RUN);

    if (!in_order(r, r->i, to)) {
        qsort(at(r, r->i), to - r->i, r->size, r->compare);
        r->mixed |= to - r->i < r->n;
    }
    r->i = to;
}

/* Goes to the pair of runs that begins at lo. */
static void
open_pair(struct exi_runs *r, size_t lo)
{
    r->lo = r->i = r->k = lo;
    r->j = end_of(r, lo, r->width);
}

/* Merges the pair at hand until it or the work is done. */
static void
merge(struct exi_runs *r, size_t *work)
{
    size_t mid = end_of(r, r->lo, r->width);
    size_t hi = end_of(r, mid, r->width);

    for (; r->k<hi && * work> 0; --*work) {
        bool first =
            r->i < mid
            && (r->j == hi || r->compare(at(r, r->i), at(r, r->j)) <= 0);
        memcpy(r->to + r->k++ * r->size, at(r, first ? r->i++ : r->j++),
               r->size);
    }
    if (r->k == hi && hi < r->n) {
        open_pair(r, hi);
    }
}

/* All pairs of this width are merged: the next width. */
static void
next_width(struct exi_runs *r)
{
    uint8_t *v = r->v;

    r->v = r->to;
    r->to = v;
    r->width *= 2;
    open_pair(r, 0);
}

int
exi_runs_step(struct exi_runs *r, size_t budget)
{
    size_t work = budget * MERGES;

    for (size_t n = 0; r->width == 0 && r->i < r->n; n += RUN) {
        if (n > 0 && n + RUN > budget) {
            return 1;
        }
        make_run(r);
    }
    if (!r->mixed) {
        return EXI_OK;
    }
    if (r->width == 0) {
        r->to = malloc(r->n * r->size);
        if (r->to == NULL) {
            return EXI_ENOMEM;
        }
        r->width = RUN;
        open_pair(r, 0);
        return 1;
    }
    while (r->width < r->n) {
        if (work == 0) {
            return 1;
        }
        merge(r, &work);
        if (r->k == r->n) {
            next_width(r);
        }
    }
    return EXI_OK;
}
