/*
 * Fuzz target: ngx_electrumx_line.  However the input is cut, the lines are
 * those that the plain reading below finds.  Byte 0: longest message less
 * one; byte 1: length of the pieces less one; the rest is the input.
 */
#include "fuzz.h"

#include "framing.h"

static void
expected_line(struct trace *t, const uint8_t *p, size_t n, size_t max)
{
    if (n != 0 && p[n - 1] == '\r') {
        n--;
    }
    if (n > max) {
        trace_event(t, 'O', -1, NULL, 0);
    } else if (n != 0) {
        trace_event(t, 'M', (int) n, p, n);
    }
}

static char *
expected(const uint8_t *p, size_t n, size_t max)
{
    struct trace t = { 0 };
    const uint8_t *nl;

    trace_add(&t, "", 0);
    while (n != 0 && (nl = memchr(p, '\n', n)) != NULL) {
        expected_line(&t, p, (size_t) (nl - p), max);
        n -= (size_t) (nl - p) + 1;
        p = nl + 1;
    }
    if (n > max + 1) {
        trace_event(&t, 'O', -1, NULL, 0);
    }
    return t.text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    char *want, *got;
    size_t max;

    if (buflen < 2) {
        return 0;
    }
    max = buf[0] + 1u;
    want = expected(buf + 2, buflen - 2, max);
    got = line_trace(buf + 2, buflen - 2, max,
                     (struct cuts){ .next = cut_steps, .step = buf[1] + 1u });
    FUZZ_ASSERT(strcmp(got, want) == 0);
    FUZZ_ASSERT(framing_mem.live == 0);
    free(got);
    free(want);
    return 0;
}
