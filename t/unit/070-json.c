/*
 * ngx_electrumx_json.h: a table of texts, raw spellings, escapes, and random
 * texts that jansson reads too: both must accept the same and see the same
 * values.
 */
#include "ngx_electrumx_json.h"

#include <jansson.h>
#include <stdlib.h>

#include "rnd.h"
#include "tap.h"

#define SLOTS    512
#define TEXT_MAX 4096

static ngx_electrumx_json_t v[SLOTS];
static u_char text[TEXT_MAX];

/* Parses a copy without a byte behind it, so that a sanitizer sees overruns. */
static ngx_int_t
parse(const char *s, size_t len)
{
    static u_char *copy;

    free(copy);
    copy = malloc(len ? len : 1);
    memcpy(copy, s, len);
    return ngx_electrumx_json_parse(v, SLOTS, copy, len);
}

static void
test_accepted(void)
{
    static const struct {
        const char *text;
        int slots;
    } t[] = {
        { "null", 1 },
        { " true ", 1 },
        { "\t\r\n false\n", 1 },
        { "0", 1 },
        { "-0", 1 },
        { "-12.5e+7", 1 },
        { "1E5", 1 },
        { "123456789012345678901234567890", 1 },
        { "1e999999", 1 },
        { "\"\"", 1 },
        { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", 1 },
        { "\"\\ud83d\\ude00\"", 1 },
        { "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"", 1 },
        { "[]", 1 },
        { "[ ]", 1 },
        { "{}", 1 },
        { "{ }", 1 },
        { "[1,[2,{\"a\":3}],\"x\"]", 8 },
        { "{\"id\":1,\"method\":\"server.ping\",\"params\":[]}", 7 },
        { " { \"a\" : [ 1 , 2 ] , \"b\" : { } } ", 7 },
        { "{\"a\":1,\"a\":2}", 5 },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        ngx_int_t n = parse(t[i].text, strlen(t[i].text));

        each(n == t[i].slots && v[0].skip == (uint32_t) n, "%s: %ld", t[i].text,
             (long) n);
    }
    each_done("accepted");
}

static void
test_refused(void)
{
    static const char *const t[] = {
        "",
        " ",
        "\n",
        "nul",
        "nulll",
        "True",
        "1 2",
        "01",
        "-",
        "-a",
        "+1",
        ".5",
        "1.",
        "1.e5",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "\"",
        "\"abc",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\x1f\"",
        "\"\\x\"",
        "\"\\",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud83d\\ude0",
        "\"\x80\"",
        "\"\xc0\xaf\"",
        "\"\xc1\x81\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xc3",
        "\"\xe2\x82",
        "\"\xe2\x82\"",
        "\"\xf0\x9f\x98\"",
        "\xef\xbb\xbf{}",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{} {}",
        "'a'",
        "/**/1",
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        ngx_int_t n = parse(t[i], strlen(t[i]));

        each(n == NGX_ELECTRUMX_JSON_INVALID, "%s: %ld", t[i], (long) n);
    }
    each(parse("\"a\0b\"", 5) == NGX_ELECTRUMX_JSON_INVALID, "NUL in a string");
    each(parse("1\0", 2) == NGX_ELECTRUMX_JSON_INVALID, "NUL after it");
    each_done("refused");
}

static void
test_limits(void)
{
    static const char small[] = "[1,2,{\"a\":3}]";
    char deep[2 * NGX_ELECTRUMX_JSON_DEPTH + 2];
    ngx_int_t n;

    memset(deep, '[', NGX_ELECTRUMX_JSON_DEPTH + 1);
    memset(deep + NGX_ELECTRUMX_JSON_DEPTH + 1, ']',
           NGX_ELECTRUMX_JSON_DEPTH + 1);
    is_int(parse(deep + 1, 2 * NGX_ELECTRUMX_JSON_DEPTH),
           NGX_ELECTRUMX_JSON_DEPTH, "as deep as allowed");
    is_int(parse(deep, sizeof(deep)), NGX_ELECTRUMX_JSON_DEEP, "one deeper");

    memcpy(text, small, sizeof(small) - 1);
    for (ngx_uint_t max = 0; max < 6; max++) {
        n = ngx_electrumx_json_parse(v, max, text, sizeof(small) - 1);
        each(n == NGX_ELECTRUMX_JSON_MORE, "%d slots", (int) max);
    }
    each_done("too few slots");
    is_int(ngx_electrumx_json_parse(v, 6, text, sizeof(small) - 1), 6,
           "just enough slots");
}

/* Ids and arguments come back as they were written. */
static void
test_raw(void)
{
    static const char *const t[] = {
        "1",
        "-0",
        "1.0",
        "1e2",
        "18446744073709551616",
        "0.10",
        "\"a\\u0062\\/\"",
        "\"\"",
        "null",
        "true",
        "[1, 2]",
        "{\"a\" :1}",
    };
    char message[256];
    ngx_str_t raw;

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        snprintf(message, sizeof(message), "{\"x\":[1],\"id\" : %s ,\"y\":2}",
                 t[i]);
        if (parse(message, strlen(message)) < 0) {
            each(false, "%s", t[i]);
            continue;
        }
        ngx_electrumx_json_raw(ngx_electrumx_json_get(v, "id"), &raw);
        each(raw.len == strlen(t[i]) && memcmp(raw.data, t[i], raw.len) == 0,
             "%s", t[i]);
    }
    each_done("raw text");
}

static void
test_names(void)
{
    static const char twice[] = "{\"a\":1,\"b\":2,\"\\u0061\":3,\"aa\":4}";
    ngx_electrumx_json_t *found;

    parse(twice, sizeof(twice) - 1);
    found = ngx_electrumx_json_get(v, "a");
    ok(found && found->start[0] == '3', "the last of equal names, escaped");
    ok(ngx_electrumx_json_get(v, "c") == NULL, "no such name");
    ok(ngx_electrumx_json_get(v, "") == NULL, "empty name");
    parse("[1]", 3);
    ok(ngx_electrumx_json_get(v, "a") == NULL, "not an object");
    parse("\"id\"", 4);
    ok(ngx_electrumx_json_is(v, "id", 2), "is");
    ok(!ngx_electrumx_json_is(v, "idx", 3), "is not: longer");
    ok(!ngx_electrumx_json_is(v, "i", 1), "is not: shorter");
    parse("7", 1);
    ok(!ngx_electrumx_json_is(v, "7", 1), "a number is no string");
}

static void
test_uint(void)
{
    static const struct {
        const char *text;
        long long value;
    } t[] = {
        { "0", 0 },
        { "00", 0 },
        { "7", 7 },
        { "9223372036854775799", 9223372036854775799 },
        { "5.0", 5 },
        { "5.000", 5 },
        { "", -1 },
        { "-1", -1 },
        { "-0", -1 },
        { "5.", -1 },
        { "5.01", -1 },
        { ".0", -1 },
        { "1e2", -1 },
        { " 1", -1 },
        { "1 ", -1 },
        { "9223372036854775808", -1 },
        { "18446744073709551616", -1 },
        { "99999999999999999999999", -1 },
        { "abc", -1 },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        uint64_t n = 0;
        ngx_int_t rc = ngx_electrumx_json_uint((const u_char *) t[i].text,
                                               strlen(t[i].text), &n);

        each(t[i].value < 0 ? rc == NGX_DECLINED
                            : rc == NGX_OK && n == (uint64_t) t[i].value,
             "%s: %ld, %llu", t[i].text, (long) rc, (unsigned long long) n);
    }
    each_done("unsigned integers");
}

/* ---- against jansson ---- */

static bool same(ngx_electrumx_json_t *a, json_t *b);

static bool
same_array(ngx_electrumx_json_t *a, json_t *b)
{
    ngx_electrumx_json_t *e = a + 1;

    if (!json_is_array(b) || json_array_size(b) != a->n) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (!same(e, json_array_get(b, i))) {
            return false;
        }
        e += e->skip;
    }
    return true;
}

static bool
same_object(ngx_electrumx_json_t *a, json_t *b)
{
    const char *name;
    json_t *value;

    if (!json_is_object(b) || json_object_size(b) > a->n) {
        return false;
    }
    json_object_foreach(b, name, value)
    {
        ngx_electrumx_json_t *m = ngx_electrumx_json_get(a, name);

        if (m == NULL || !same(m, value)) {
            return false;
        }
    }
    return true;
}

static bool
same_number(ngx_electrumx_json_t *a, json_t *b)
{
    char buf[TEXT_MAX];
    uint64_t n;

    memcpy(buf, a->start, a->len);
    buf[a->len] = '\0';
    if (!a->plain) {
        return json_is_real(b) && strtod(buf, NULL) == json_real_value(b);
    }
    if (!json_is_integer(b)
        || strtoll(buf, NULL, 10) != json_integer_value(b)) {
        return false;
    }
    return ngx_electrumx_json_uint(a->start, a->len, &n) != NGX_OK
           || n == (uint64_t) json_integer_value(b);
}

static bool
same(ngx_electrumx_json_t *a, json_t *b)
{
    switch (a->type) {
    case NGX_ELECTRUMX_JSON_NULL:
        return json_is_null(b);
    case NGX_ELECTRUMX_JSON_FALSE:
        return json_is_false(b);
    case NGX_ELECTRUMX_JSON_TRUE:
        return json_is_true(b);
    case NGX_ELECTRUMX_JSON_NUMBER:
        return same_number(a, b);
    case NGX_ELECTRUMX_JSON_STRING:
        ngx_electrumx_json_unescape(a);
        return json_is_string(b) && json_string_length(b) == a->len
               && memcmp(json_string_value(b), a->start, a->len) == 0;
    case NGX_ELECTRUMX_JSON_ARRAY:
        return same_array(a, b);
    case NGX_ELECTRUMX_JSON_OBJECT:
        return same_object(a, b);
    }
    return false;
}

static size_t
random_text(char *out)
{
    static const char *const piece[] = {
        "{",           "}",         "[",        "]",
        ",",           ":",         "\"",       "\"id\"",
        "\"method\":", "null",      "true",     "false",
        "0",           "1",         "-",        "12",
        ".5",          "e3",        "E-2",      " ",
        "\n",          "\\",        "\\u0041",  "\\ud83d",
        "\\ude00",     "\\n",       "\xc3\xa9", "\xf0\x9f\x98\x80",
        "\xe2",        "\x80",      "a",        "\"params\":[",
        "]}",          "{\"a\":1}", "[1,2]",    "\"x\"",
        "99999999999", "\x01",
    };
    size_t len = 0;

    for (uint64_t n = 1 + rnd_below(12); n; n--) {
        const char *p = piece[rnd_below(sizeof(piece) / sizeof(piece[0]))];

        memcpy(out + len, p, strlen(p));
        len += strlen(p);
    }
    return len;
}

/* A good message with some bytes changed, cut out or doubled. */
static size_t
changed_text(char *out)
{
    static const char *const good[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"server.ping\"}",
        "[{\"id\":\"a\\u00e9\",\"params\":[1,true,null,-2.5e3,\"x\"]},{}]",
        "{\"params\":{\"height\":5,\"cp_height\":1e1},\"id\":null}",
        "{\"a\":{\"b\":[[],{\"c\":\"\xe2\x82\xac\\ud83d\\ude00\"}]}}",
    };
    const char *g = good[rnd_below(sizeof(good) / sizeof(good[0]))];
    size_t len = strlen(g);

    memcpy(out, g, len);
    for (uint64_t n = rnd_below(4); n; n--) {
        size_t at = rnd_below(len);

        switch (rnd_below(4)) {
        case 0:
            out[at] = (char) rnd_below(256);
            break;
        case 1:
            out[at] = "{}[],:\"\\0-e."[rnd_below(12)];
            break;
        case 2:
            memmove(out + at, out + at + 1, --len - at);
            break;
        default:
            memmove(out + at + 1, out + at, len++ - at);
        }
    }
    return len;
}

static void
test_jansson(void)
{
    char s[TEXT_MAX];
    int accepted = 0;

    for (int i = 0; i < 200000; i++) {
        size_t len = i % 2 ? changed_text(s) : random_text(s);
        ngx_int_t n = parse(s, len);
        json_error_t e;
        json_t *j = json_loadb(s, len, JSON_DECODE_ANY, &e);
        bool both = (n > 0) == (j != NULL);

        if (memchr(s, 0, len) != NULL) { /* jansson takes some of them */
            each(n <= 0, "a NUL byte is refused");
            json_decref(j);
            continue;
        }
        if (j == NULL && n > 0
            && json_error_code(&e) == json_error_numeric_overflow) {
            continue; /* jansson's numbers are smaller */
        }
        each(both && (j == NULL || same(v, j)), "%.*s: %ld, %s", (int) len, s,
             (long) n, j ? "accepted" : e.text);
        accepted += j != NULL;
        json_decref(j);
    }
    each_done("as jansson");
    ok(accepted > 1000, "%d texts were accepted", accepted);
}

int
main(void)
{
    rnd_init();
    subtest("accepted", test_accepted);
    subtest("refused", test_refused);
    subtest("limits", test_limits);
    subtest("raw text", test_raw);
    subtest("names", test_names);
    subtest("integers", test_uint);
    subtest("jansson", test_jansson);
    return done_testing();
}
