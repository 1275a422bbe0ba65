/*
 * Radix sort (settle_sort.h): a few stable passes over the highest bits of hi
 * that differ at all, as many as n needs to leave short runs; then each run is
 * finished by comparing.  Runs that are in order already, such as all entries
 * of one script, cost one look; a run made long on purpose goes to qsort.
 */
#include "settle_sort.h"

#include <stdlib.h>
#include <string.h>

#define RADIX_BITS 11
#define RADIX      (1u << RADIX_BITS)
#define RUN_SHORT  24

static int
compare(const void *x, const void *y)
{
    const struct settle_rec *a = x, *b = y;

    if (a->hi != b->hi) {
        return a->hi < b->hi ? -1 : 1;
    }
    if (a->lo != b->lo) {
        return a->lo < b->lo ? -1 : 1;
    }
    if (a->v != b->v) {
        return a->v < b->v ? -1 : 1;
    }
    return (a->w > b->w) - (a->w < b->w);
}

static void
insertion(struct settle_rec *a, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct settle_rec x = a[i];
        size_t k = i;

        for (; k > 0 && compare(&x, &a[k - 1]) < 0; k--) {
            a[k] = a[k - 1];
        }
        a[k] = x;
    }
}

static void
finish_run(struct settle_rec *a, size_t n)
{
    size_t i = 1;

    while (i < n && compare(&a[i - 1], &a[i]) <= 0) {
        i++;
    }
    if (i >= n) {
        return;
    }
    if (n <= RUN_SHORT) {
        insertion(a, n);
    } else {
        qsort(a, n, sizeof(*a), compare);
    }
}

static void
pass(struct settle_rec *to, const struct settle_rec *from, size_t n,
     unsigned shift)
{
    uint32_t at[RADIX] = { 0 }, sum = 0;

    for (size_t i = 0; i < n; i++) {
        at[from[i].hi >> shift & (RADIX - 1)]++;
    }
    for (size_t i = 0; i < RADIX; i++) {
        uint32_t c = at[i];

        at[i] = sum;
        sum += c;
    }
    for (size_t i = 0; i < n; i++) {
        to[at[from[i].hi >> shift & (RADIX - 1)]++] = from[i];
    }
}

void
settle_sort(struct settle_rec *a, struct settle_rec *tmp, size_t n)
{
    struct settle_rec *from = a, *to = tmp, *t;
    uint64_t differ = 0;
    unsigned width, passes = 0, shift = 0;
    size_t i, k;

    for (i = 1; i < n; i++) {
        differ |= a[i].hi ^ a[0].hi;
    }
    if (differ != 0 && n > RUN_SHORT) {
        width = 64 - (unsigned) __builtin_clzll(differ);
        passes = (64 - (unsigned) __builtin_clzll(n) + 3 + RADIX_BITS - 1)
                 / RADIX_BITS;
        shift = width > passes * RADIX_BITS ? width - passes * RADIX_BITS : 0;
    } else {
        shift = 63;
    }
    for (i = 0; i < passes && shift + i * RADIX_BITS < 64; i++) {
        pass(to, from, n, shift + (unsigned) i * RADIX_BITS);
        t = from;
        from = to;
        to = t;
    }
    if (from != a) {
        memcpy(a, from, n * sizeof(*a));
    }
    if (passes == 0) {
        finish_run(a, n);
        return;
    }
    for (i = 0; i < n; i = k) {
        for (k = i + 1; k < n && a[k].hi >> shift == a[i].hi >> shift; k++) {
        }
        finish_run(a + i, k - i);
    }
}
