/*
 * exi_json_writer.h: with buffers of every small size, with more() failing at
 * each call, strings against a table of UTF-8 borders and against jansson,
 * which reads back what was written.
 */
#include "exi_json_writer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "rnd.h"
#include "tap.h"

#define OUT_MAX 400000

static uint8_t out[OUT_MAX];

/* An owner that hands out heap blocks of `step` bytes and collects into out. */
struct sink {
    struct exi_jw w;
    uint8_t *block;
    size_t len;
    size_t step;
    int calls;
    int fail_at; /* this call of more() fails; 0: none */
    size_t most; /* largest need */
};

static void
sink_take(struct sink *s)
{
    if (s->block != NULL) {
        size_t n = (size_t) (s->w.pos - s->block);

        memcpy(out + s->len, s->block, n);
        s->len += n;
        free(s->block);
        s->block = NULL;
    }
}

static int
sink_more(struct exi_jw *w, size_t need)
{
    struct sink *s = w->ctx;
    size_t n = need > s->step ? need : s->step;

    s->most = need > s->most ? need : s->most;
    if (++s->calls == s->fail_at) {
        return EXI_ENOMEM;
    }
    sink_take(s);
    s->block = malloc(n);
    w->pos = s->block;
    w->end = s->block + n;
    return EXI_OK;
}

static void
sink_open(struct sink *s, size_t step)
{
    memset(s, 0, sizeof(*s));
    s->w.more = sink_more;
    s->w.ctx = s;
    s->step = step;
}

static void
sink_close(struct sink *s)
{
    sink_take(s);
}

static bool
sink_is(struct sink *s, const char *want, size_t len)
{
    sink_take(s);
    s->w.pos = s->w.end = NULL;
    return s->len == len && memcmp(out, want, len) == 0;
}

static const char *const hash_text =
    "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";

/* One of everything, and what it must come to. */
static void
write_all(struct exi_jw *w)
{
    uint8_t hash[EXI_HASH_LEN];

    for (int i = 0; i < EXI_HASH_LEN; i++) {
        hash[i] = (uint8_t) i;
    }
    exi_jw_lit(w, "{\"id\":");
    exi_jw_u64(w, UINT64_MAX);
    exi_jw_lit(w, ",\"s\":");
    exi_jw_str(w, "a\"b\\c\n\x01\x7f\xc3\xa4\xff", 11);
    exi_jw_char(w, ',');
    exi_jw_i64(w, INT64_MIN);
    exi_jw_char(w, ',');
    exi_jw_hash(w, hash);
    exi_jw_char(w, ',');
    exi_jw_hex(w, hash, 10);
    exi_jw_hex_part(w, hash + 30, 2);
    exi_jw_raw(w, hash_text, 64);
    exi_jw_raw(w, NULL, 0);
    exi_jw_lit(w, "}");
}

static const char all_text[] =
    "{\"id\":18446744073709551615,\"s\":"
    "\"a\\\"b\\\\c\\n\\u0001\x7f\xc3\xa4\xef\xbf\xbd\",-9223372036854775808,"
    "\"1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100\","
    "\"00010203040506070809\"1e1f"
    "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100}";

static void
test_cuts(void)
{
    struct sink s;
    int calls = 0;

    for (size_t step = 1; step <= 4096; step++) {
        sink_open(&s, step);
        write_all(&s.w);
        each(sink_is(&s, all_text, sizeof(all_text) - 1) && s.w.err == EXI_OK,
             "blocks of %zu", step);
        each(s.most <= EXI_JW_NEED_MAX, "need %zu", s.most);
        calls = step == 1 ? s.calls : calls;
        sink_close(&s);
    }
    each_done("blocks of 1 to 4096 bytes");
    for (int i = 1; i <= calls; i++) {
        sink_open(&s, 1);
        s.fail_at = i;
        write_all(&s.w);
        each(s.w.err == EXI_ENOMEM && s.calls == i, "failure %d: %d calls", i,
             s.calls);
        sink_take(&s);
        each(s.len < sizeof(all_text) && memcmp(out, all_text, s.len) == 0,
             "failure %d: what was written before", i);
        s.w.pos = s.w.end = NULL;
        sink_close(&s);
    }
    each_done("each call of more() fails once");
}

/* The first block ends at every place. */
static void
test_first_block(void)
{
    struct sink s;

    for (size_t first = 0; first < sizeof(all_text) + 80; first++) {
        sink_open(&s, 4096);
        s.block = malloc(first ? first : 1);
        s.w.pos = s.block;
        s.w.end = s.block + first;
        write_all(&s.w);
        each(sink_is(&s, all_text, sizeof(all_text) - 1), "first of %zu",
             first);
        each(s.calls <= 1, "%d calls", s.calls);
        sink_close(&s);
    }
    each_done("one cut at every place");
}

static int
lazy_more(struct exi_jw *w, size_t need)
{
    (void) w;
    (void) need;
    return EXI_OK;
}

static void
test_bad_owner(void)
{
    uint8_t one;
    struct exi_jw w = { .pos = &one, .end = &one + 1, .more = lazy_more };

    exi_jw_lit(&w, "ab");
    is_int(w.err, EXI_EAPI, "more() that gives no room is an error");
    exi_jw_char(&w, 'c');
    exi_jw_hash(&w, (const uint8_t *) all_text);
    is_int(w.err, EXI_EAPI, "it stays");
}

static void
test_numbers(void)
{
    struct sink s;
    char want[32];

    for (int i = 0; i < 200000; i++) {
        uint64_t u = rnd_bits(64);
        int n;

        if (i < 66) { /* powers of ten and their neighbours, and 0 */
            u = 1;
            for (int k = 0; k < i / 3 && k < 19; k++) {
                u *= 10;
            }
            u = u + (uint64_t) (i % 3) - 1;
        }
        sink_open(&s, 64);
        exi_jw_u64(&s.w, u);
        n = snprintf(want, sizeof(want), "%" PRIu64, u);
        each(sink_is(&s, want, (size_t) n), "u64 %s", want);
        s.len = 0;
        exi_jw_i64(&s.w, (int64_t) u);
        n = snprintf(want, sizeof(want), "%" PRId64, (int64_t) u);
        each(sink_is(&s, want, (size_t) n), "i64 %s", want);
        sink_close(&s);
    }
    each_done("numbers as printf writes them");
}

static bool
str_is(const char *in, size_t inlen, const char *want, size_t len)
{
    struct sink s;
    bool pass;

    sink_open(&s, 1000);
    exi_jw_char(&s.w, '>');
    exi_jw_str(&s.w, in, inlen);
    pass = sink_is(&s, want, len);
    sink_close(&s);
    return pass;
}

#define FFFD "\xef\xbf\xbd"
#define PAIR(in, out)                                                          \
    {                                                                          \
        in, sizeof(in) - 1, ">\"" out "\"", sizeof(out) - 1 + 3                \
    }

static const struct {
    const char *in;
    size_t inlen;
    const char *out;
    size_t outlen;
} strings[] = {
    PAIR("", ""),
    PAIR("plain / text", "plain / text"),
    PAIR("\"\\", "\\\"\\\\"),
    PAIR("\b\f\n\r\t", "\\b\\f\\n\\r\\t"),
    PAIR("\0", "\\u0000"),
    PAIR("\x1f\x20\x7f", "\\u001f\x20\x7f"),
    PAIR("\xc2\x80", "\xc2\x80"),                                 /* first */
    PAIR("\xdf\xbf", "\xdf\xbf"),                                 /* of 2 */
    PAIR("\xe0\xa0\x80", "\xe0\xa0\x80"),                         /* of 3 */
    PAIR("\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"), /* D7FF */
    PAIR("\xef\xbf\xbf", "\xef\xbf\xbf"),
    PAIR("\xf0\x90\x80\x80", "\xf0\x90\x80\x80"),
    PAIR("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"), /* 10FFFF */
    PAIR("\x80", FFFD),
    PAIR("a\xbf\x62", "a" FFFD "b"),
    PAIR("\xc0\x80", FFFD FFFD),                   /* overlong 0 */
    PAIR("\xc1\xbf", FFFD FFFD),                   /* overlong 7F */
    PAIR("\xe0\x9f\xbf", FFFD FFFD FFFD),          /* overlong 7FF */
    PAIR("\xf0\x8f\xbf\xbf", FFFD FFFD FFFD FFFD), /* overlong FFFF */
    PAIR("\xed\xa0\x80", FFFD FFFD FFFD),          /* surrogate D800 */
    PAIR("\xed\xbf\xbf", FFFD FFFD FFFD),          /* surrogate DFFF */
    PAIR("\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD), /* 110000 */
    PAIR("\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD),
    PAIR("\xff\xfe", FFFD FFFD),
    PAIR("\xc3", FFFD), /* cut off */
    PAIR("\xe2\x82", FFFD FFFD),
    PAIR("\xf0\x9f\x98", FFFD FFFD FFFD),
    PAIR("\xc3\xc3\xa4", FFFD "\xc3\xa4"), /* cut off by another */
    PAIR("\xe2\x82\"", FFFD FFFD "\\\""),
};

static void
test_strings(void)
{
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        char *copy = malloc(strings[i].inlen + 1);

        memcpy(copy, strings[i].in, strings[i].inlen);
        each(str_is(copy, strings[i].inlen, strings[i].out, strings[i].outlen),
             "string %zu", i);
        free(copy);
        copy = malloc(strings[i].inlen ? strings[i].inlen : 1);
        memcpy(copy, strings[i].in, strings[i].inlen);
        each(str_is(copy, strings[i].inlen, strings[i].out, strings[i].outlen),
             "string %zu at the end of its block", i);
        free(copy);
    }
    each_done("table of strings");
}

/* UTF-8 of a code point, as RFC 3629 defines it; returns the length. */
static size_t
utf8_put(char *p, uint32_t c)
{
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (n == 1) {
        p[0] = (char) c;
        return 1;
    }
    for (size_t i = n - 1; i != 0; i--, c >>= 6) {
        p[i] = (char) (0x80 | (c & 0x3f));
    }
    p[0] = (char) (lead[n] | c);
    return n;
}

static void
test_code_points(void)
{
    struct sink s;

    sink_open(&s, 4096);
    for (uint32_t c = 0x80; c < 0x120000; c++) {
        bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        char in[4];
        size_t n = utf8_put(in, c), want = valid ? n : 3 * n;

        s.len = 0;
        exi_jw_str(&s.w, in, n);
        sink_take(&s);
        s.w.pos = s.w.end = NULL;
        each(s.len == want + 2
                 && memcmp(out + 1, valid ? in : FFFD, valid ? n : 3) == 0,
             "U+%X", c);
    }
    each_done("every code point");
    sink_close(&s);
}

/* A string of code points, some plain, some to be escaped, some rare. */
static size_t
random_string(char *p, size_t max)
{
    size_t len = 0;

    while (len + 4 <= max) {
        uint32_t c = (uint32_t) rnd_bits(21);

        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
            continue;
        }
        len += utf8_put(p + len, c);
    }
    return len;
}

static void
test_jansson(void)
{
    char in[600];

    for (int i = 0; i < 5000; i++) {
        size_t n = random_string(in, (size_t) rnd_below(sizeof(in)));
        struct sink s;
        json_t *v;

        sink_open(&s, 1 + (size_t) rnd_bits(10));
        exi_jw_str(&s.w, in, n);
        sink_take(&s);
        v = json_loadb((char *) out, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                       NULL);
        each(v != NULL && json_string_length(v) == n
                 && memcmp(json_string_value(v), in, n) == 0,
             "string %d of %zu bytes", i, n);
        json_decref(v);
        s.w.pos = s.w.end = NULL;
        sink_close(&s);
    }
    each_done("jansson reads what was written");
    for (int i = 0; i < 5000; i++) {
        size_t n = (size_t) rnd_below(60);
        struct sink s;
        json_t *v;

        rnd_fill(in, n);
        sink_open(&s, 8);
        exi_jw_str(&s.w, in, n);
        sink_take(&s);
        v = json_loadb((char *) out, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                       NULL);
        each(v != NULL, "%zu random bytes", n);
        json_decref(v);
        s.w.pos = s.w.end = NULL;
        sink_close(&s);
    }
    each_done("random bytes come out as JSON");
}

static void
test_long(void)
{
    size_t n = 100000;
    uint8_t *buf = malloc(n);
    char *want = malloc(2 * n + 3);
    struct sink s;

    rnd_fill(buf, n);
    want[0] = '"';
    for (size_t i = 0; i < n; i++) {
        snprintf(want + 1 + 2 * i, 3, "%02x", buf[i]);
    }
    want[2 * n + 1] = '"';
    for (size_t step = 1; step < 9000; step = step * 3 + 1) {
        sink_open(&s, step);
        exi_jw_hex(&s.w, buf, n);
        each(sink_is(&s, want, 2 * n + 2), "hex in blocks of %zu", step);
        s.len = 0;
        exi_jw_raw(&s.w, want, 2 * n + 2);
        each(sink_is(&s, want, 2 * n + 2), "raw in blocks of %zu", step);
        sink_close(&s);
    }
    each_done("long pieces");
    free(want);
    free(buf);
}

int
main(void)
{
    rnd_init();
    subtest("cuts", test_cuts);
    subtest("first block", test_first_block);
    subtest("bad owner", test_bad_owner);
    subtest("numbers", test_numbers);
    subtest("strings", test_strings);
    subtest("code points", test_code_points);
    subtest("jansson", test_jansson);
    subtest("long pieces", test_long);
    return done_testing();
}
