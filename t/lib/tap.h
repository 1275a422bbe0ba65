/*
 * TAP for the C unit tests, which are one file each: include this once.
 *
 *     ok(a == b, "name with %d", n);        one numbered line
 *     is_int(got, want, "name");            also shows both values
 *     is_mem(got, want, len, "name");       also shows both as hex
 *     is_str(got, want, "name");            NULL is equal to NULL only
 *     subtest("name", function);            one line for all in function()
 *     each(a == b, "case %d", i);           in loops: a line only on failure,
 *     each_done("name");                    then one for all since the last
 *     skip("name", "reason");
 *     return done_testing();                at the end of main()
 *
 * All but each_done, subtest and done_testing return whether they passed.
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TAP_UNUSED    __attribute__((unused))
#define TAP_PRINTF(n) __attribute__((unused, format(printf, n, n + 1)))

/* Counts of this level; subtest() begins with new ones. */
static struct {
    int depth;
    int run;
    int failed;
    int each_run;
    int each_failed;
} tap;

/* Failed cases of one each() loop that are shown. */
#define TAP_EACH_SHOWN 10

/* A line that begins with #, at the level's indent. */
TAP_PRINTF(1)
static void
diag(const char *fmt, ...)
{
    va_list ap;

    printf("%*s# ", 4 * tap.depth, "");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

TAP_UNUSED static bool
tap_line(bool pass, const char *file, int line, const char *fmt, va_list ap)
{
    tap.run++;
    printf("%*s%sok %d - ", 4 * tap.depth, "", pass ? "" : "not ", tap.run);
    vprintf(fmt, ap);
    putchar('\n');
    if (!pass) {
        tap.failed++;
        diag("failed at %s:%d", file, line);
    }
    fflush(stdout);
    return pass;
}

TAP_PRINTF(4)
static bool
tap_ok(bool pass, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tap_line(pass, file, line, fmt, ap);
    va_end(ap);
    return pass;
}

TAP_PRINTF(5)
static bool
tap_is_int(long long got, long long want, const char *file, int line,
           const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!tap_line(got == want, file, line, fmt, ap)) {
        diag("     got: %lld", got);
        diag("expected: %lld", want);
    }
    va_end(ap);
    return got == want;
}

TAP_UNUSED static void
tap_dump(const char *name, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    printf("%*s# %s: ", 4 * tap.depth, "", name);
    for (size_t i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
    putchar('\n');
}

TAP_PRINTF(6)
static bool
tap_is_mem(const void *got, const void *want, size_t len, const char *file,
           int line, const char *fmt, ...)
{
    bool pass = len == 0 || memcmp(got, want, len) == 0;
    va_list ap;

    va_start(ap, fmt);
    if (!tap_line(pass, file, line, fmt, ap)) {
        tap_dump("     got", got, len);
        tap_dump("expected", want, len);
    }
    va_end(ap);
    return pass;
}

TAP_PRINTF(5)
static bool
tap_is_str(const char *got, const char *want, const char *file, int line,
           const char *fmt, ...)
{
    bool pass =
        got == NULL || want == NULL ? got == want : strcmp(got, want) == 0;
    va_list ap;

    va_start(ap, fmt);
    if (!tap_line(pass, file, line, fmt, ap)) {
        diag("     got: %s", got ? got : "(NULL)");
        diag("expected: %s", want ? want : "(NULL)");
    }
    va_end(ap);
    return pass;
}

TAP_PRINTF(4)
static bool
tap_each(bool pass, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    tap.each_run++;
    if (pass || tap.each_failed++ >= TAP_EACH_SHOWN) {
        return pass;
    }
    printf("%*s# %s:%d: ", 4 * tap.depth, "", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    return false;
}

#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, want, ...)                                                 \
    tap_is_int((long long) (got), (long long) (want), __FILE__, __LINE__,      \
               __VA_ARGS__)
#define is_mem(got, want, len, ...)                                            \
    tap_is_mem((got), (want), (len), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, ...)                                                 \
    tap_is_str((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define each(cond, ...) tap_each((cond), __FILE__, __LINE__, __VA_ARGS__)

/* One line for all each() since the last one; none at all is a failure. */
#define each_done(name)                                                        \
    do {                                                                       \
        if (tap.each_failed != 0) {                                            \
            diag("%d of %d cases failed", tap.each_failed, tap.each_run);      \
        }                                                                      \
        ok(tap.each_run != 0 && tap.each_failed == 0, "%s (%d cases)", (name), \
           tap.each_run);                                                      \
        tap.each_run = tap.each_failed = 0;                                    \
    } while (0)

TAP_UNUSED static void
skip(const char *name, const char *reason)
{
    tap.run++;
    printf("%*sok %d - %s # SKIP %s\n", 4 * tap.depth, "", tap.run, name,
           reason);
}

#define subtest(name, fn) tap_subtest((name), (fn), __FILE__, __LINE__)

TAP_UNUSED static void
tap_subtest(const char *name, void (*fn)(void), const char *file, int line)
{
    int run = tap.run, failed = tap.failed, inner_failed;

    printf("%*s# Subtest: %s\n", 4 * tap.depth, "", name);
    tap.depth++;
    tap.run = tap.failed = 0;
    fn();
    printf("%*s1..%d\n", 4 * tap.depth, "", tap.run);
    inner_failed = tap.failed + tap.each_failed + (tap.run == 0);
    tap.depth--;
    tap.run = run;
    tap.failed = failed;
    tap.each_run = tap.each_failed = 0;
    tap_ok(inner_failed == 0, file, line, "%s", name);
}

/* Prints the plan; the exit status: 0 if all passed. */
TAP_UNUSED static int
done_testing(void)
{
    printf("1..%d\n", tap.run);
    fflush(stdout);
    return tap.failed + tap.each_failed == 0 && tap.run != 0 ? 0 : 1;
}

#endif /* TAP_H */
