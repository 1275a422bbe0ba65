/*
 * Fee histogram: hand-made cases of ElectrumX's bins.
 */
#include "../lib/tap.h"

#include "fees.h"

#include <stdlib.h>

static struct fees *f;

static void
add(double rate, uint32_t vsize)
{
    if (fees_add(f, (int64_t) (rate * vsize + 0.5), vsize) != EXI_OK) {
        ok(false, "no memory");
    }
}

static void
histogram_is(const char *want, const char *name)
{
    char *json = fees_histogram(f);

    is_str(json, want, "%s", name);
    free(json);
    fees_free(f);
    f = fees_new();
}

int
main(void)
{
    f = fees_new();
    histogram_is("[]", "no transactions");
    add(5, 29000);
    histogram_is("[]", "what does not fill a bin is not reported");
    add(5, 30001);
    histogram_is("[[5.0,30001]]", "one full bin");
    add(1, 20000);
    add(10, 20000);
    add(3.5, 20000);
    histogram_is("[[3.5,40000]]", "highest rates first; the tail is dropped");
    add(10, 20000);
    add(2, 70000);
    histogram_is("[[10.0,20000],[2.0,70000]]",
                 "a rate worth more than two bins does not join the others");
    add(10, 31000);
    add(9, 32000);
    add(8, 34000);
    histogram_is("[[10.0,31000],[8.0,66000]]", "each bin is a tenth larger");
    add(1.26, 40000);
    histogram_is("[[1.2,40000]]", "rates are rounded down to tenths");
    is_int(fees_add(f, -1, 100), EXI_OK, "a coinbase has no fee");
    is_int(fees_add(f, 100, 0), EXI_OK, "no size");
    histogram_is("[]", "... and neither counts");
    fees_free(f);
    return done_testing();
}
