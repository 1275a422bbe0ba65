/*
 * Fee histogram.  Rates are kept as tenths of a satoshi per virtual byte,
 * rounded down.  Bins from the highest rate: the first aims at 30,000 virtual
 * bytes, each next at 1.1 times as much; a rate that alone is more than two
 * bins' worth does not join what was gathered before it; what is left below
 * the last full bin is not reported.
 */
#include "fees.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BIN  30000.0
#define BIN_GROWTH 1.1

struct item {
    uint64_t rate10; /* sat/vB times 10 */
    uint64_t vsize;
};

struct fees {
    struct item *v;
    size_t n, cap;
};

struct fees *
fees_new(void)
{
    return calloc(1, sizeof(struct fees));
}

void
fees_free(struct fees *f)
{
    if (f != NULL) {
        free(f->v);
        free(f);
    }
}

int
fees_add(struct fees *f, int64_t fee_sat, uint32_t vsize)
{
    struct item *v;
    size_t cap;

    if (fee_sat < 0 || vsize == 0) {
        return EXI_OK;
    }
    if (f->n == f->cap) {
        cap = f->cap ? f->cap * 2 : 1024;
        v = realloc(f->v, cap * sizeof(*v));
        if (v == NULL) {
            return EXI_ENOMEM;
        }
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n].rate10 = (uint64_t) fee_sat * 10 / vsize;
    f->v[f->n++].vsize = vsize;
    return EXI_OK;
}

static int
by_rate(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return x->rate10 > y->rate10 ? -1 : x->rate10 < y->rate10;
}

/* Adds up equal rates, in place. */
static void
merge(struct fees *f)
{
    size_t n = 0;

    if (f->n > 0) {
        qsort(f->v, f->n, sizeof(*f->v), by_rate);
    }
    for (size_t i = 0; i < f->n; i++) {
        if (n > 0 && f->v[n - 1].rate10 == f->v[i].rate10) {
            f->v[n - 1].vsize += f->v[i].vsize;
        } else {
            f->v[n++] = f->v[i];
        }
    }
    f->n = n;
}

struct text {
    char *p;
    size_t len, cap;
};

static void
emit(struct text *t, uint64_t rate10, uint64_t vsize)
{
    t->len += (size_t) snprintf(t->p + t->len, t->cap - t->len,
                                "%s[%" PRIu64 ".%" PRIu64 ",%" PRIu64 "]",
                                t->len > 1 ? "," : "", rate10 / 10, rate10 % 10,
                                vsize);
}

char *
fees_histogram(struct fees *f)
{
    double bin = FIRST_BIN;
    uint64_t sum = 0, last = 0;
    struct text t;

    merge(f);
    t.cap = 64 * f->n + 16;
    t.p = malloc(t.cap);
    if (t.p == NULL) {
        return NULL;
    }
    t.p[0] = '[';
    t.len = 1;
    for (size_t i = 0; i < f->n; i++) {
        if ((double) f->v[i].vsize > 2 * bin && sum > 0) {
            emit(&t, last, sum);
            sum = 0;
            bin *= BIN_GROWTH;
        }
        sum += f->v[i].vsize;
        if ((double) sum > bin) {
            emit(&t, f->v[i].rate10, sum);
            sum = 0;
            bin *= BIN_GROWTH;
        }
        last = f->v[i].rate10;
    }
    memcpy(t.p + t.len, "]", 2);
    return t.p;
}
