/*
 * Sorting of the compact records that a settle batch turns into rows.
 */
#ifndef SETTLE_SORT_H
#define SETTLE_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Ordered by hi, lo, v, w. */
struct settle_rec {
    uint64_t hi;
    uint64_t lo;
    uint32_t v;
    uint32_t w;
};

/*
 * Sorts n records (n < 2^32) in place; tmp has room for as many.  Fastest when
 * hi is evenly spread or when equal (hi, lo) come in the order of v.
 * Any thread.
 */
void settle_sort(struct settle_rec *a, struct settle_rec *tmp, size_t n);

#endif /* SETTLE_SORT_H */
