/*
 * ngx_electrumx_line: newline framing.
 */
#include "tap.h"
#include "rnd.h"

#include "framing.h"

static const struct cuts WHOLE = { .next = cut_once };

/* The same trace in one piece, cut once at every byte, and in steps. */
static void
same(const void *in, size_t inlen, size_t max, const char *want,
     const char *name)
{
    char *got = line_trace(in, inlen, max, WHOLE);

    is_str(got, want, "%s", name);
    free(got);

    for (size_t i = 1; i < inlen; i++) {
        got = line_trace(in, inlen, max,
                         (struct cuts){ .next = cut_once, .at = i });
        each(strcmp(got, want) == 0, "%s: cut at %zu: %s", name, i, got);
        free(got);
    }
    for (size_t i = 1; i < 9; i++) {
        got = line_trace(in, inlen, max,
                         (struct cuts){ .next = cut_steps, .step = i });
        each(strcmp(got, want) == 0, "%s: steps of %zu: %s", name, i, got);
        free(got);
    }
}

#define SAME(in, max, want) same((in), sizeof(in) - 1, (max), (want), #in)

static void
lines(void)
{
    SAME("", 8, "");
    SAME("a\n", 8, "M 1 a\n");
    SAME("a\r\n", 8, "M 1 a\n");
    SAME("ab\ncd\r\nef", 8, "M 2 ab\nM 2 cd\n");
    SAME("\n\r\n\n a\n\n", 8, "M 2  a\n");
    SAME("\r\r\n", 8, "M 1 \\0d\n");
    SAME("a\rb\n", 8, "M 3 a\\0db\n");
    SAME("a\0b\n", 8, "M 3 a\\00b\n");
    SAME("\xff\xfe\n", 8, "M 2 \\ff\\fe\n");
    each_done("however they are cut");
}

static void
long_lines(void)
{
    SAME("12345678\n", 8, "M 8 12345678\n");
    SAME("12345678\r\n", 8, "M 8 12345678\n");
    SAME("123456789\nb\n", 8, "O\nM 1 b\n");
    SAME("123456789\r\nb\n", 8, "O\nM 1 b\n");
    SAME("12345678\rx\nb\n", 8, "O\nM 1 b\n");
    SAME("12345678\r\r\nb\n", 8, "O\nM 1 b\n");
    SAME("1234567890123456789012345678901234567890\nb\nc\n", 8,
         "O\nM 1 b\nM 1 c\n");
    SAME("123456789\n123456789\n\n123456789", 8, "O\nO\n");
    SAME("1234567890", 8, "O\n");
    SAME("12345678", 8, "");
    SAME("12\n1\n", 1, "O\nM 1 1\n");
    each_done("however they are cut");
}

/* Reported as soon as it is certain, and only once. */
static void
long_line_at_once(void)
{
    struct trace t = { 0 };
    ngx_electrumx_line_t l;
    struct cuts c = { .next = cut_steps, .step = 1000 };
    char *big = malloc(100000);

    memset(big, 'x', 100000);
    trace_add(&t, "", 0);
    ngx_electrumx_line_init(&l, 2000, framing_resize);
    framing_feed(&t, &l, NULL, big, 2001, &c);
    is_str(t.text, "", "one byte more may be a CR");
    framing_feed(&t, &l, NULL, big, 1, &c);
    is_str(t.text, "O\n", "two bytes more are too many");
    is_int(framing_mem.live, 0, "nothing is kept of it");
    framing_feed(&t, &l, NULL, big, 100000, &c);
    is_str(t.text, "O\n", "the rest is not reported again");
    is_int(framing_mem.live, 0, "nor kept");
    framing_feed(&t, &l, NULL, "\nok\n", 4, &c);
    is_str(t.text, "O\nM 2 ok\n", "the next line is read");
    ngx_electrumx_line_free(&l);
    free(t.text);
    free(big);
}

/* An idle parser keeps no memory; a whole line is not copied. */
static void
memory(void)
{
    ngx_electrumx_line_t l;
    u_char in[] = "first\nsecond\nth", more[] = "ird\n";
    u_char *pos = in, *end = in + sizeof(in) - 1, *msg;
    size_t len;

    ngx_electrumx_line_init(&l, 100, framing_resize);
    ngx_electrumx_line_next(&l, &pos, end, &msg, &len);
    ok(msg == in && len == 5, "first line, where it lies");
    ngx_electrumx_line_next(&l, &pos, end, &msg, &len);
    ok(msg == in + 6 && len == 6, "second line too");
    is_int(framing_mem.live, 0, "no memory so far");
    is_int(ngx_electrumx_line_next(&l, &pos, end, &msg, &len),
           NGX_ELECTRUMX_IN_AGAIN, "no third line");
    is_int(framing_mem.live, 1, "its beginning is kept");
    memset(in, '?', sizeof(in));
    pos = more;
    end = more + 4;
    is_int(ngx_electrumx_line_next(&l, &pos, end, &msg, &len),
           NGX_ELECTRUMX_IN_MESSAGE, "third line");
    ok(len == 5 && memcmp(msg, "third", 5) == 0, "it is put together");
    is_int(ngx_electrumx_line_next(&l, &pos, end, &msg, &len),
           NGX_ELECTRUMX_IN_AGAIN, "no more");
    is_int(framing_mem.live, 0, "nothing is kept");
    ngx_electrumx_line_free(&l);
}

/* The n-th allocation fails. */
static void
no_memory(void)
{
    char in[5000];
    int n;

    memset(in, 'x', sizeof(in));
    in[sizeof(in) - 1] = '\n';
    for (n = 1; n < 20; n++) {
        char *got;

        framing_mem.count = 0;
        framing_mem.fail_at = n;
        got = line_trace(in, sizeof(in), 10000,
                         (struct cuts){ .next = cut_steps, .step = 7 });
        each(framing_mem.live == 0, "memory left with failure %d", n);
        if (framing_mem.count < n) {
            each(got[0] == 'M', "all went well");
            free(got);
            break;
        }
        each(strcmp(got, "N\n") == 0, "failure %d is reported", n);
        free(got);
    }
    framing_mem.fail_at = 0;
    each_done("a failing allocation");
    ok(n > 2 && n < 20, "several allocations");
}

static size_t
cut_random(struct cuts *c, size_t left)
{
    size_t n = 1 + rnd_below(c->step);

    return n < left ? n : left;
}

static void
random_lines(void)
{
    static const char chars[] = "ab\n\r ";

    for (int i = 0; i < 3000; i++) {
        char in[200];
        size_t n = rnd_below(sizeof(in)), max = 1 + rnd_below(12);
        char *want, *got;

        for (size_t j = 0; j < n; j++) {
            in[j] = chars[rnd_below(rnd_below(4) ? 2 : 5)];
        }
        want = line_trace(in, n, max, WHOLE);
        got = line_trace(
            in, n, max,
            (struct cuts){ .next = cut_random, .step = 1 + i % 20u });
        each(strcmp(got, want) == 0, "case %d", i);
        free(got);
        free(want);
    }
    each_done("random lines, cut at random");
}

int
main(void)
{
    rnd_init();
    subtest("lines", lines);
    subtest("over-long lines", long_lines);
    subtest("over-long lines are reported at once", long_line_at_once);
    subtest("memory", memory);
    subtest("no memory", no_memory);
    subtest("random input", random_lines);
    is_int(framing_mem.live, 0, "no memory is lost");
    return done_testing();
}
