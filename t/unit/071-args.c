/*
 * ngx_electrumx_args.h: arguments of each type, by position and by name, the
 * words of each error; versions and their negotiation.
 */
#include "ngx_electrumx_args.h"

#include <stdlib.h>

#include "exi_hex.h"
#include "tap.h"

#define HASH      "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
#define NAMED(s)  "{\"h\":\"" HASH "\"" s "}"
#define LISTED(s) "[\"" HASH "\"" s "]"

#define V(a, b, c) ((a) *10000 + (b) *100 + (c))

static ngx_electrumx_json_t v[256];
static ngx_electrumx_arg_t args[NGX_ELECTRUMX_MAX_ARGS];
static char why[512];
static char text[4096];

static ngx_electrumx_json_t *
json(const char *s)
{
    if (s == NULL) {
        return NULL;
    }
    strcpy(text, s);
    if (ngx_electrumx_json_parse(v, 256, (u_char *) text, strlen(text)) < 0) {
        diag("no JSON: %s", s);
        exit(1);
    }
    return v;
}

static const ngx_electrumx_param_t some[] = {
    { "h", NGX_ELECTRUMX_ARG_HASH, 0, 0, "hash" },
    { "n", NGX_ELECTRUMX_ARG_UINT, 1, 42, NULL },
    { "b", NGX_ELECTRUMX_ARG_BOOL, 1, 0, NULL },
    { NULL, NGX_ELECTRUMX_ARG_ANY, 0, 0, NULL },
};

static const char *
check(const ngx_electrumx_param_t *param, const char *s, bool extra)
{
    why[0] = '\0';
    if (ngx_electrumx_args(param, json(s), extra, args, why, sizeof(why))
        == NGX_OK) {
        return "";
    }
    return why;
}

static const char *
checked(const ngx_electrumx_param_t *param, const char *s, ngx_uint_t flags)
{
    why[0] = '\0';
    (void) !ngx_electrumx_args(param, json(s), flags, args, why, sizeof(why));
    return why;
}

/* What ElectrumX requires and what it does not know. */
static void
test_strict(void)
{
    static const ngx_electrumx_param_t p[] = {
        { "r", NGX_ELECTRUMX_ARG_UINT, NGX_ELECTRUMX_REQUIRED, 0, NULL },
        { "l", NGX_ELECTRUMX_ARG_UINT, NGX_ELECTRUMX_LENIENT, 0, NULL },
        { "a", NGX_ELECTRUMX_ARG_UINT, NGX_ELECTRUMX_ADDED, 5, NULL },
        { NULL, NGX_ELECTRUMX_ARG_ANY, NGX_ELECTRUMX_REQUIRED, 0, NULL },
    };
    ngx_uint_t strict = NGX_ELECTRUMX_ARGS_STRICT;
    ngx_uint_t both = NGX_ELECTRUMX_ARGS_STRICT | NGX_ELECTRUMX_ARGS_EXTRA;

    is_str(checked(p, "[1]", 0), "", "one is enough");
    is_int(args[2].num, 5, "default of the added one");
    is_str(checked(p, "[1,2,3]", 0), "", "all of them");
    is_str(checked(p, "{\"r\":1,\"a\":7}", 0), "", "by name");
    is_int(args[2].num, 7, "value of the added one");
    is_str(checked(p, "[1]", strict), "l: missing argument", "strict: one");
    is_str(checked(p, "[1,null]", strict), "l: a non-negative integer expected",
           "strict: null is no number");
    is_str(checked(p, "[1,2]", strict), "", "strict: two");
    is_int(args[2].num, 5, "strict: default of the added one");
    is_str(checked(p, "[1,2,3]", strict),
           "too many arguments: 3 given, at most 2 taken", "strict: three");
    is_str(checked(p, "{\"r\":1,\"l\":2,\"a\":3}", strict),
           "unknown argument: a", "strict: by name");
    is_str(checked(p, "[1,2,3]", both), "", "strict: superfluous ones pass");
    is_int(args[2].num, 5, "but do not count");
    is_str(checked(p, "{\"r\":1,\"l\":2,\"a\":3}", both), "", "by name, too");
    is_int(args[2].num, 5, "but do not count");
}

static void
test_lists(void)
{
    static const struct {
        const char *params;
        bool extra;
        const char *why;
        uint64_t n;
        uint64_t b;
    } t[] = {
        { LISTED(""), 0, "", 42, 0 },
        { LISTED(",7"), 0, "", 7, 0 },
        { LISTED(",\"7\""), 0, "", 7, 0 },
        { LISTED(",7.0"), 0, "", 7, 0 },
        { LISTED(",null"), 0, "", 42, 0 },
        { LISTED(",7,true"), 0, "", 7, 1 },
        { LISTED(",7,false"), 0, "", 7, 0 },
        { LISTED(",7,1"), 0, "", 7, 1 },
        { LISTED(",7,null"), 0, "", 7, 0 },
        { LISTED(",7,true,9"), 1, "", 7, 1 },
        { LISTED(",7,true,9"), 0,
          "too many arguments: 4 given, at most 3 taken", 0, 0 },
        { NULL, 0, "h: missing argument", 0, 0 },
        { "null", 0, "h: missing argument", 0, 0 },
        { "[]", 0, "h: missing argument", 0, 0 },
        { "{}", 0, "h: missing argument", 0, 0 },
        { "[null]", 0, "h: 64 hex digits expected", 0, 0 },
        { "[\"00\"]", 0, "h: 64 hex digits expected", 0, 0 },
        { "[\"" HASH "00\"]", 0, "h: 64 hex digits expected", 0, 0 },
        { "[7]", 0, "h: 64 hex digits expected", 0, 0 },
        { "[[]]", 0, "h: 64 hex digits expected", 0, 0 },
        { LISTED(",-1"), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",1.5"), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",true"), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",\"x\""), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",\"\""), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",{}"), 0, "n: a non-negative integer expected", 0, 0 },
        { LISTED(",99999999999999999999"), 0,
          "n: a non-negative integer expected", 0, 0 },
        { LISTED(",7,2"), 0, "b: true or false expected", 0, 0 },
        { LISTED(",7,\"true\""), 0, "b: true or false expected", 0, 0 },
        { LISTED(",7,[]"), 0, "b: true or false expected", 0, 0 },
        { NAMED(""), 0, "", 42, 0 },
        { NAMED(",\"b\":true"), 0, "", 42, 1 },
        { NAMED(",\"\\u0062\":true,\"n\":3"), 0, "", 3, 1 },
        { NAMED(",\"n\":3,\"n\":4"), 0, "", 4, 0 },
        { NAMED(",\"x\":3"), 0, "unknown argument: x", 0, 0 },
        { NAMED(",\"x\":[[3]],\"n\":5"), 1, "", 5, 0 },
        { "{\"n\":3}", 0, "h: missing argument", 0, 0 },
    };
    uint8_t want[EXI_HASH_LEN];

    ok(exi_unhex_display(want, HASH, 64) == EXI_OK, "hash");
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        const char *got = check(some, t[i].params, t[i].extra);

        each(strcmp(got, t[i].why) == 0, "%s: %s", t[i].params, got);
        if (*got == '\0') {
            each(memcmp(args[0].hash, want, sizeof(want)) == 0
                     && args[0].str.len == 64 && args[1].num == t[i].n
                     && args[2].num == t[i].b,
                 "%s: values", t[i].params);
        }
    }
    each_done("by position and by name");
}

static void
test_types(void)
{
    static const struct {
        ngx_electrumx_arg_type_e type;
        const char *value;
        const char *why;
    } t[] = {
        { NGX_ELECTRUMX_ARG_STRING, "\"\"", "" },
        { NGX_ELECTRUMX_ARG_STRING, "\"a\\u0062\"", "" },
        { NGX_ELECTRUMX_ARG_STRING, "7", "x: a string expected" },
        { NGX_ELECTRUMX_ARG_STRING, "null", "x: a string expected" },
        { NGX_ELECTRUMX_ARG_HEX, "\"00fF\"", "" },
        { NGX_ELECTRUMX_ARG_HEX, "\"\\u0030\\u0030\"", "" },
        { NGX_ELECTRUMX_ARG_HEX, "\"\"", "x: hex digits expected" },
        { NGX_ELECTRUMX_ARG_HEX, "\"0\"", "x: hex digits expected" },
        { NGX_ELECTRUMX_ARG_HEX, "\"0g\"", "x: hex digits expected" },
        { NGX_ELECTRUMX_ARG_HEX, "\"0 \"", "x: hex digits expected" },
        { NGX_ELECTRUMX_ARG_HEX, "7", "x: hex digits expected" },
        { NGX_ELECTRUMX_ARG_SCRIPT, "\"\"", "" },
        { NGX_ELECTRUMX_ARG_SCRIPT, "\"00fF\"", "" },
        { NGX_ELECTRUMX_ARG_SCRIPT, "\"0\"",
          "x: a script in hex digits expected" },
        { NGX_ELECTRUMX_ARG_SCRIPT, "7", "x: a script in hex digits expected" },
        { NGX_ELECTRUMX_ARG_END, "-1", "" },
        { NGX_ELECTRUMX_ARG_END, "\"-1\"", "" },
        { NGX_ELECTRUMX_ARG_END, "12", "" },
        { NGX_ELECTRUMX_ARG_END, "-2",
          "x: a non-negative integer or -1 expected" },
        { NGX_ELECTRUMX_ARG_END, "[1]",
          "x: a non-negative integer or -1 expected" },
        { NGX_ELECTRUMX_ARG_HEXES, "[\"00\"]", "" },
        { NGX_ELECTRUMX_ARG_HEXES, "[\"00\",\"\\u0031f\"]", "" },
        { NGX_ELECTRUMX_ARG_HEXES, "[]",
          "x: a non-empty array of hex strings expected" },
        { NGX_ELECTRUMX_ARG_HEXES, "\"00\"",
          "x: a non-empty array of hex strings expected" },
        { NGX_ELECTRUMX_ARG_HEXES, "[\"00\",7]",
          "x: a non-empty array of hex strings expected" },
        { NGX_ELECTRUMX_ARG_HEXES, "[\"00\",\"0\"]",
          "x: a non-empty array of hex strings expected" },
        { NGX_ELECTRUMX_ARG_ANY, "{\"a\":[]}", "" },
        { NGX_ELECTRUMX_ARG_ANY, "null", "" },
    };
    ngx_electrumx_param_t param[2] = { { "x", 0, 0, 0, NULL },
                                       { NULL, 0, 0, 0, NULL } };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        char list[256];

        snprintf(list, sizeof(list), "[%s]", t[i].value);
        param[0].type = t[i].type;
        each(strcmp(check(param, list, false), t[i].why) == 0, "%s: %s",
             t[i].value, why);
    }
    each_done("types");
    param[0].type = NGX_ELECTRUMX_ARG_STRING;
    check(param, "[\"a\\u0062\"]", false);
    ok(args[0].str.len == 2 && memcmp(args[0].str.data, "ab", 2) == 0,
       "strings are decoded");
}

static void
test_version_numbers(void)
{
    static const struct {
        const char *text;
        long version;
    } t[] = {
        { "1.4", V(1, 4, 0) },
        { "1.4.0", V(1, 4, 0) },
        { "1.4.2", V(1, 4, 2) },
        { "1.10", V(1, 10, 0) },
        { "1", V(1, 0, 0) },
        { "01.04", V(1, 4, 0) },
        { "1.4.2.9", V(1, 4, 2) },
        { "1.100", V(1, 99, 0) },
        { "1.99999999999999999999999", V(1, 99, 0) },
        { "", -1 },
        { ".", -1 },
        { "1.", -1 },
        { ".4", -1 },
        { "1..4", -1 },
        { "1.4a", -1 },
        { "v1.4", -1 },
        { "-1", -1 },
        { " 1.4", -1 },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        ngx_str_t s = { strlen(t[i].text), (u_char *) t[i].text };
        ngx_uint_t n = 0;
        ngx_int_t rc = ngx_electrumx_version_parse(&s, &n);

        each(t[i].version < 0 ? rc == NGX_DECLINED
                              : rc == NGX_OK && n == (ngx_uint_t) t[i].version,
             "%s: %ld", t[i].text, (long) n);
    }
    each_done("numbers");
}

static void
test_negotiation(void)
{
    static const struct {
        const char *wanted;
        long version;         /* -1: none in common */
        const char *spelling; /* "": the server's own */
    } t[] = {
        { NULL, V(1, 4, 0), "1.4" },
        { "\"1.4\"", V(1, 4, 0), "1.4" },
        { "\"1.4.0\"", V(1, 4, 0), "1.4.0" },
        { "\"1.4.2\"", V(1, 4, 2), "1.4.2" },
        { "\"1.5.3\"", V(1, 5, 3), "1.5.3" },
        { "\"1.6\"", V(1, 6, 0), "1.6" },
        { "\"1.6.0\"", V(1, 6, 0), "1.6.0" },
        { "\"1\\u002e6\"", V(1, 6, 0), "1.6" },
        { "\"1.3\"", -1, NULL },
        { "\"1.7\"", -1, NULL },
        { "\"1.6.1\"", -1, NULL },
        { "\"2\"", -1, NULL },
        { "\"\"", -1, NULL },
        { "\"x\"", -1, NULL },
        { "[\"1.4\",\"1.6\"]", V(1, 6, 0), "1.6" },
        { "[\"1.4\",\"1.6.0\"]", V(1, 6, 0), "1.6.0" },
        { "[\"1.4\",\"1.4.2\"]", V(1, 4, 2), "1.4.2" },
        { "[\"1.1\",\"1.4\"]", V(1, 4, 0), "1.4" },
        { "[\"1.4\",\"1.7\"]", V(1, 6, 0), "" },
        { "[\"1.6.0\",\"1.7\"]", V(1, 6, 0), "1.6.0" },
        { "[\"0\",\"99.99\"]", V(1, 6, 0), "" },
        { "[\"1.4\",\"1.10\"]", V(1, 6, 0), "" },
        { "[\"1.7\",\"1.8\"]", -1, NULL },
        { "[\"1.0\",\"1.3\"]", -1, NULL },
        { "[\"1.6\",\"1.4\"]", -1, NULL },
        { "[\"1.4\"]", -1, NULL },
        { "[\"1.4\",\"1.5\",\"1.6\"]", -1, NULL },
        { "[1.4,1.6]", -1, NULL },
        { "[]", -1, NULL },
        { "{}", -1, NULL },
        { "1.4", -1, NULL },
        { "true", -1, NULL },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        ngx_str_t s = { 0, NULL };
        ngx_uint_t n = 0;
        ngx_int_t rc = ngx_electrumx_version_choose(
            json(t[i].wanted), V(1, 4, 0), V(1, 6, 0), &n, &s);

        if (t[i].version < 0) {
            each(rc == NGX_DECLINED, "%s: none", t[i].wanted);
            continue;
        }
        each(rc == NGX_OK && n == (ngx_uint_t) t[i].version
                 && s.len == strlen(t[i].spelling)
                 && (s.len == 0 || memcmp(s.data, t[i].spelling, s.len) == 0),
             "%s: %ld %.*s", t[i].wanted, (long) n, (int) s.len, s.data);
    }
    each_done("negotiation");
}

static void
test_version_text(void)
{
    char buf[16];

    is_int(ngx_electrumx_version_text(V(1, 6, 0), buf), 3, "length");
    is_str(buf, "1.6", "1.6");
    is_int(ngx_electrumx_version_text(V(1, 4, 2), buf), 5, "length");
    is_str(buf, "1.4.2", "1.4.2");
    is_int(ngx_electrumx_version_text(V(99, 99, 99), buf), 8, "length");
    is_str(buf, "99.99.99", "the longest");
}

int
main(void)
{
    subtest("lists", test_lists);
    subtest("types", test_types);
    subtest("version numbers", test_version_numbers);
    subtest("negotiation", test_negotiation);
    subtest("version text", test_version_text);
    subtest("strict", test_strict);
    return done_testing();
}
