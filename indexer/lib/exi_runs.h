/*
 * Sorts an array piece by piece: runs of a few hundred elements are sorted one
 * by one, then merged pair by pair.  Stable between runs; an array that is in
 * order already is only looked through.
 */
#ifndef EXI_RUNS_H
#define EXI_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exi_err.h"

struct exi_runs {
    uint8_t *v; /* of malloc; the caller takes it back from here */
    size_t n;
    size_t size; /* of an element, bytes */
    int (*compare)(const void *a, const void *b);
    uint8_t *to;  /* the merged ones; as large as v */
    size_t width; /* of the runs being merged; 0: runs are being made */
    size_t lo;    /* first run of the pair */
    size_t i;     /* next element of the first run, of the second, merged */
    size_t j;
    size_t k;
    bool mixed; /* v is not in order */
};

/* Begins: v (malloc, n elements; NULL if there are none) is the sorter's until
 * the end. */
void exi_runs_begin(struct exi_runs *r, void *v, size_t n, size_t size,
                    int (*compare)(const void *a, const void *b));

/* Does as much work as sorting about `budget` elements into a run takes.  1:
 * there is more; 0: r->v is sorted; EXI_ENOMEM. */
int exi_runs_step(struct exi_runs *r, size_t budget) EXI_MUST_CHECK;

/* Frees what the sorter has beside r->v; the array is the caller's again. */
void exi_runs_end(struct exi_runs *r);

#endif /* EXI_RUNS_H */
