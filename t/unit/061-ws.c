/*
 * ngx_electrumx_ws: RFC 6455, rule by rule.
 */
#include "tap.h"
#include "rnd.h"

#include "framing.h"

static const struct cuts WHOLE = { .next = cut_once };

/* Input that is being built. */
static struct {
    uint8_t buf[300000];
    size_t len;
    uint8_t mask[4];
} in;

static void
begin(void)
{
    in.len = 0;
    memcpy(in.mask, "\x37\xfa\x21\x3d", 4);
}

static void
bytes(const void *p, size_t n)
{
    memcpy(in.buf + in.len, p, n);
    in.len += n;
}

/* A frame: first byte, length of the length (0 = as short as can be). */
static void
frame_as(unsigned first, size_t lenlen, const void *p, size_t n)
{
    uint8_t head[14] = { (uint8_t) first };
    size_t k = 2;

    if (lenlen == 0) {
        lenlen = n < 126 ? 1 : n < 65536 ? 2 : 8;
    }
    if (lenlen == 1) {
        head[1] = (uint8_t) (0x80 | n);
    } else {
        head[1] = lenlen == 2 ? 0xfe : 0xff;
        for (size_t i = 0; i < lenlen; i++) {
            head[k++] = (uint8_t) ((uint64_t) n >> 8 * (lenlen - 1 - i));
        }
    }
    memcpy(head + k, in.mask, 4);
    bytes(head, k + 4);
    for (size_t i = 0; i < n; i++) {
        in.buf[in.len++] = ((const uint8_t *) p)[i] ^ in.mask[i & 3];
    }
}

static void
frame(unsigned first, const char *s)
{
    frame_as(first, 0, s, strlen(s));
}

static void
same(size_t max, const char *want, const char *name)
{
    char *got = ws_trace(in.buf, in.len, max, WHOLE);
    size_t step = in.len > 3000 ? in.len / 1500 : 1;

    is_str(got, want, "%s", name);
    free(got);
    for (size_t i = 1; i < in.len; i += step) {
        got = ws_trace(in.buf, in.len, max,
                       (struct cuts){ .next = cut_once, .at = i });
        each(strcmp(got, want) == 0, "%s: cut at %zu: %s", name, i, got);
        free(got);
    }
    for (size_t i = 1; i < 9; i++) {
        got = ws_trace(in.buf, in.len, max,
                       (struct cuts){ .next = cut_steps, .step = i });
        each(strcmp(got, want) == 0, "%s: steps of %zu: %s", name, i, got);
        free(got);
    }
}

/* One frame alone. */
static void
one(unsigned first, const char *s, const char *want, const char *name)
{
    begin();
    frame(first, s);
    same(1000, want, name);
}

static void
messages(void)
{
    begin();
    bytes("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    same(1000, "M 5 Hello\n", "the masked text of section 5.7");
    one(0x81, "{}", "M 2 {}\n", "text");
    one(0x82, "{}", "M 2 {}\n", "binary is taken as text");
    one(0x81, "{}\n", "M 2 {}\n", "a newline at the end is cut off");
    one(0x81, "{}\r\n", "M 2 {}\n", "so is CRLF");
    one(0x81, "{\n}\n\n", "M 4 {\\0a}\\0a\n", "but one only");
    one(0x81, "", "", "an empty message is ignored");
    one(0x81, "\n", "", "so is a newline alone");

    begin();
    frame(0x81, "a");
    frame(0x82, "b");
    frame(0x81, "c");
    same(1000, "M 1 a\nM 1 b\nM 1 c\n", "messages one after the other");

    begin();
    memset(in.mask, 0, 4);
    frame(0x81, "zero");
    same(1000, "M 4 zero\n", "a mask of zeros");
    each_done("however they are cut");
}

static void
fragments(void)
{
    begin();
    frame(0x01, "Hel");
    frame(0x80, "lo");
    same(1000, "M 5 Hello\n", "two fragments");

    begin();
    frame(0x01, "");
    frame(0x00, "a");
    frame(0x00, "");
    frame(0x00, "b");
    frame(0x80, "");
    frame(0x81, "c");
    same(1000, "M 2 ab\nM 1 c\n", "empty fragments");

    begin();
    frame(0x02, "");
    frame(0x80, "");
    frame(0x81, "c");
    same(1000, "M 1 c\n", "only empty fragments");

    begin();
    frame(0x01, "a");
    frame(0x89, "ping");
    frame(0x00, "b");
    frame(0x8a, "");
    frame(0x80, "c");
    same(1000, "P ping\nG\nM 3 abc\n", "control frames between them");

    begin();
    frame(0x01, "a");
    frame(0x88, "");
    frame(0x80, "b");
    same(1000, "C 1005\n", "a close between them");

    begin();
    frame(0x01, "a");
    frame(0x81, "b");
    same(1000, "E 1002\n", "a new text before the end");

    begin();
    frame(0x01, "a");
    frame(0x02, "b");
    same(1000, "E 1002\n", "a new binary before the end");

    one(0x80, "a", "E 1002\n", "a continuation of nothing");
    one(0x00, "a", "E 1002\n", "a continuation of nothing, not the last");

    begin();
    frame(0x81, "a");
    frame(0x80, "b");
    same(1000, "M 1 a\nE 1002\n", "a continuation of a whole message");
    each_done("however they are cut");
}

static void
control(void)
{
    char long_data[126];

    memset(long_data, 'x', 125);
    long_data[125] = 0;

    one(0x89, "", "P\n", "ping");
    one(0x89, "data", "P data\n", "ping with data");
    one(0x8a, "data", "G data\n", "pong");

    begin();
    frame(0x8a, long_data);
    frame(0x81, "a");
    {
        char *got = ws_trace(in.buf, in.len, 1000, WHOLE);

        ok(got[0] == 'G' && strlen(got) == 2 + 125 + 1 + 6,
           "125 bytes of data");
        free(got);
    }

    begin();
    frame_as(0x89, 2, long_data, 125);
    same(1000, "E 1002\n", "a ping with a 16-bit length");
    begin();
    frame_as(0x89, 0, in.buf, 126);
    same(1000, "E 1002\n", "a ping of 126 bytes");
    one(0x09, "a", "E 1002\n", "a fragmented ping");
    one(0x08, "", "E 1002\n", "a fragmented close");
    each_done("however they are cut");
}

static void
broken_heads(void)
{
    for (unsigned b = 0; b < 256; b++) {
        bool fine = (b & 0x70) == 0 && (b & 0x80)
                    && ((b & 15) == 1 || (b & 15) == 2 || (b & 15) == 8
                        || (b & 15) == 9 || (b & 15) == 10);
        char *got;

        if (b == 1 || b == 2) {
            continue;
        }
        begin();
        frame(b, "");
        frame(0x89, "");
        got = ws_trace(in.buf, in.len, 1000, WHOLE);
        each(fine ? got[0] != 'E' : strcmp(got, "E 1002\n") == 0,
             "first byte %02x: %s", b, got);
        free(got);
    }
    each_done("reserved bits and operations");

    begin();
    bytes("\x81\x05Hello", 7);
    same(1000, "E 1002\n", "not masked");
    begin();
    bytes("\x88\x00", 2);
    same(1000, "E 1002\n", "a close that is not masked");
    begin();
    bytes("\x89\x00", 2);
    same(1000, "E 1002\n", "a ping that is not masked");

    begin();
    frame_as(0x81, 2, "Hello", 5);
    same(1000, "E 1002\n", "16 bits for a length of 5");
    begin();
    frame_as(0x81, 2, in.buf, 125);
    same(1000, "E 1002\n", "16 bits for a length of 125");
    begin();
    frame_as(0x81, 8, in.buf, 126);
    same(1000, "E 1002\n", "64 bits for a length of 126");
    begin();
    frame_as(0x81, 8, in.buf, 65535);
    same(100000, "E 1002\n", "64 bits for a length of 65535");
    begin();
    bytes("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x01mask", 14);
    same(1000, "E 1002\n", "the highest bit of a length");
    each_done("however they are cut");
}

static void
lengths(void)
{
    static const size_t sizes[] = { 1,   124,   125,   126,   127,  255,
                                    256, 65534, 65535, 65536, 70000 };
    static char text[70001];
    char want[32];

    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char *got;

        begin();
        frame_as(0x81, 0, text, sizes[i]);
        frame(0x81, "next");
        snprintf(want, sizeof(want), "M %zu xx", sizes[i]);
        for (size_t step = 1; step < 200000; step = step * 3 + 1) {
            got = ws_trace(in.buf, in.len, 70000,
                           (struct cuts){ .next = cut_steps, .step = step });
            each(strncmp(got, want, strlen(want) - 2) == 0
                     && strstr(got, "\nM 4 next\n") != NULL,
                 "%zu bytes in steps of %zu: %.20s", sizes[i], step, got);
            free(got);
        }
    }
    each_done("messages around the steps of the length");
}

static void
too_big(void)
{
    char text[20];

    memset(text, 'x', sizeof(text));
    begin();
    frame_as(0x81, 0, text, 10);
    same(10, "M 10 xxxxxxxxxx\n", "a message of the limit");
    begin();
    frame_as(0x81, 0, text, 11);
    same(10, "O 1009\n", "a byte more");
    begin();
    frame_as(0x81, 0, text, 13);
    same(10, "O 1009\n", "three bytes more");
    text[10] = '\n';
    begin();
    frame_as(0x81, 0, text, 11);
    same(10, "M 10 xxxxxxxxxx\n", "the newline does not count");
    text[10] = '\r';
    text[11] = '\n';
    begin();
    frame_as(0x81, 0, text, 12);
    same(10, "M 10 xxxxxxxxxx\n", "nor does CRLF");

    begin();
    frame(0x01, "xxxxx");
    frame(0x00, "xxxxx");
    frame(0x80, "xxx");
    same(10, "O 1009\n", "fragments are added up");
    begin();
    frame(0x01, "xxxxx");
    frame(0x80, "xxxxx");
    frame(0x81, "xxxxxxxxxx");
    same(10, "M 10 xxxxxxxxxx\nM 10 xxxxxxxxxx\n", "for each message");
    begin();
    bytes("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask", 14);
    same(10, "O 1009\n", "the largest length");
    begin();
    bytes("\x01\x81mask\x0c\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask", 21);
    same(10, "O 1009\n", "the largest length in a fragment");
    each_done("however they are cut");
}

static void
closing(void)
{
    static const struct {
        unsigned first, last;
        bool valid;
    } codes[] = { { 0, 999, false },     { 1000, 1003, true },
                  { 1004, 1006, false }, { 1007, 1014, true },
                  { 1015, 2999, false }, { 3000, 4999, true },
                  { 5000, 65535, false } };
    char want[32];

    one(0x88, "", "C 1005\n", "no code");
    one(0x88, "\x03", "E 1002\n", "half a code");
    begin();
    frame_as(0x88, 0, "\x03\xe8", 2);
    frame(0x81, "late");
    same(1000, "C 1000\n", "nothing is read after it");
    begin();
    frame_as(0x88, 0, "\x03\xe9going \xe2\x82\xac", 11);
    same(1000, "C 1001 going \\e2\\82\\ac\n", "with a reason");
    begin();
    frame_as(0x88, 0, "\x03\xe8\xff", 3);
    same(1000, "E 1007\n", "a reason that is not UTF-8");
    begin();
    frame_as(0x88, 0, "\x03\xe8\xe2\x82", 4);
    same(1000, "E 1007\n", "a reason that ends within a character");
    each_done("however they are cut");

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        for (unsigned c = codes[i].first; c <= codes[i].last; c++) {
            uint8_t code[2] = { (uint8_t) (c >> 8), (uint8_t) c };
            char *got;

            begin();
            frame_as(0x88, 0, code, 2);
            got = ws_trace(in.buf, in.len, 1000, WHOLE);
            snprintf(want, sizeof(want), "C %u\n", c);
            each(strcmp(got, codes[i].valid ? want : "E 1002\n") == 0,
                 "code %u: %s", c, got);
            free(got);
        }
    }
    each_done("every code");
}

/* The slow and plain way. */
static bool
is_utf8(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n) {
        uint32_t c = p[i];
        size_t len = c < 0x80       ? 1
                     : c >> 5 == 6  ? 2
                     : c >> 4 == 14 ? 3
                     : c >> 3 == 30 ? 4
                                    : 0;

        if (len == 0 || len > n - i) {
            return false;
        }
        if (len > 1) {
            c &= 0xffu >> (len + 1);
        }
        for (size_t k = 1; k < len; k++) {
            if (p[i + k] >> 6 != 2) {
                return false;
            }
            c = c << 6 | (p[i + k] & 63);
        }
        if ((len == 2 && c < 0x80) || (len == 3 && c < 0x800)
            || (len == 4 && c < 0x10000) || c > 0x10ffff
            || (c >= 0xd800 && c < 0xe000)) {
            return false;
        }
        i += len;
    }
    return true;
}

static bool
checked(const uint8_t *p, size_t n)
{
    ngx_electrumx_utf8_t u = { 0 };

    return ngx_electrumx_utf8_check(&u, p, n) == 0 && u.left == 0;
}

static void
utf8(void)
{
    uint8_t p[24];

    for (unsigned a = 0; a < 65536; a++) {
        p[0] = (uint8_t) (a >> 8);
        p[1] = (uint8_t) a;
        each(checked(p, 2) == is_utf8(p, 2), "%04x", a);
    }
    each_done("all strings of two bytes");
    for (unsigned a = 0; a < 32 * 65536; a++) {
        p[0] = (uint8_t) (0xe0 + (a >> 16));
        p[1] = (uint8_t) (a >> 8);
        p[2] = (uint8_t) a;
        p[3] = 0x80;
        each(checked(p, 3) == is_utf8(p, 3), "%02x %04x", p[0], a & 0xffff);
        each(checked(p, 4) == is_utf8(p, 4), "%02x %04x 80", p[0], a & 0xffff);
    }
    each_done("strings of three and four bytes that begin a long character");
    for (int i = 0; i < 100000; i++) {
        size_t n = rnd_below(sizeof(p)), cut;
        ngx_electrumx_utf8_t u = { 0 };
        bool good;

        for (size_t j = 0; j < n; j++) {
            p[j] = (uint8_t) (rnd_below(4) ? 'a' : rnd());
        }
        if (n > 4 && rnd_below(2)) {
            memcpy(p + rnd_below(n - 3), "\xf0\x9f\x98\x80", 4);
        }
        cut = rnd_below(n + 1);
        good = ngx_electrumx_utf8_check(&u, p, cut) == 0
               && ngx_electrumx_utf8_check(&u, p + cut, n - cut) == 0
               && u.left == 0;
        each(good == is_utf8(p, n), "case %d", i);
    }
    each_done("random strings, cut");
}

static void
utf8_in_messages(void)
{
    one(0x81, "\xce\xba\xe1\xbd\xb9", "M 5 \\ce\\ba\\e1\\bd\\b9\n", "text");
    one(0x81,
        "ab\xff"
        "cd",
        "E 1007\n", "not UTF-8");
    one(0x82, "ab\xff", "E 1007\n", "binary is checked too");
    one(0x81, "ab\xe1\xbd", "E 1007\n", "the end of a character is missing");
    one(0x81, "\xed\xa0\x80", "E 1007\n", "a surrogate");
    one(0x81, "\xc0\xaf", "E 1007\n", "an overlong form");
    one(0x81, "\xf4\x90\x80\x80", "E 1007\n", "above U+10FFFF");

    begin();
    frame(0x01, "\xf0\x9f");
    frame(0x89, "\xff");
    frame(0x00, "\x98");
    frame(0x80, "\x80");
    same(1000, "P \\ff\nM 4 \\f0\\9f\\98\\80\n",
         "a character in several fragments, a ping between them");
    begin();
    frame(0x01, "\xf0\x9f");
    frame(0x80, "a");
    same(1000, "E 1007\n", "a character that the next fragment breaks");
    begin();
    frame(0x01, "\xf0\x9f");
    frame(0x80, "");
    same(1000, "E 1007\n", "a character that the last fragment lacks");
    each_done("however they are cut");

    /* the error comes with the byte, not at the end of the message */

    begin();
    frame(0x01, "good \xff");
    same(1000, "E 1007\n", "an unfinished message");
    each_done("however it is cut");
}

static void
heads_out(void)
{
    uint8_t head[NGX_ELECTRUMX_WS_HEAD_MAX + 1];

    is_int(ngx_electrumx_ws_head(head, 1, 0), 2, "head of no payload");
    is_mem(head, "\x81\x00", 2, "its bytes");
    is_int(ngx_electrumx_ws_head(head, 1, 125), 2, "of 125 bytes");
    is_mem(head, "\x81\x7d", 2, "its bytes");
    is_int(ngx_electrumx_ws_head(head, 10, 126), 4, "of 126 bytes");
    is_mem(head, "\x8a\x7e\x00\x7e", 4, "its bytes");
    is_int(ngx_electrumx_ws_head(head, 1, 65535), 4, "of 65535 bytes");
    is_mem(head, "\x81\x7e\xff\xff", 4, "its bytes");
    is_int(ngx_electrumx_ws_head(head, 1, 65536), 10, "of 65536 bytes");
    is_mem(head, "\x81\x7f\0\0\0\0\0\1\0\0", 10, "its bytes");
    is_int(ngx_electrumx_ws_close(head, 1002), 4, "a close frame");
    is_mem(head, "\x88\x02\x03\xea", 4, "its bytes");
    is_int(ngx_electrumx_ws_close(head, NGX_ELECTRUMX_WS_NO_STATUS), 2,
           "a close frame without code");
    is_mem(head, "\x88\x00", 2, "its bytes");
}

static void
memory(void)
{
    ngx_electrumx_ws_t ws;
    u_char *pos, *end, *msg;
    size_t len;
    int n;

    begin();
    frame(0x81, "Hello");
    pos = in.buf;
    end = in.buf + in.len;
    ngx_electrumx_ws_init(&ws, 100, framing_resize);
    is_int(ngx_electrumx_ws_next(&ws, &pos, end, &msg, &len),
           NGX_ELECTRUMX_IN_MESSAGE, "a message");
    ok(msg == in.buf + 6 && len == 5, "is handed out where it lies");
    is_int(framing_mem.live, 0, "and nothing is kept");
    ngx_electrumx_ws_free(&ws);

    begin();
    for (n = 0; n < 500; n++) {
        frame(n == 0 ? 0x01 : n == 499 ? 0x80 : 0x00, "0123456789");
    }
    for (n = 1; n < 20; n++) {
        char *got;

        framing_mem.count = 0;
        framing_mem.fail_at = n;
        got = ws_trace(in.buf, in.len, 10000, WHOLE);
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
random_frames(void)
{
    static const uint8_t firsts[] = { 0x81, 0x01, 0x00, 0x80, 0x89,
                                      0x8a, 0x82, 0x02, 0x88, 0x83 };

    for (int i = 0; i < 3000; i++) {
        char *want, *got;
        size_t nframes = 1 + rnd_below(12);

        begin();
        for (size_t j = 0; j < nframes; j++) {
            char text[400];
            size_t n = rnd_bits(8);

            for (size_t k = 0; k < n; k++) {
                text[k] = (char) (rnd_below(300) ? 'a' + rnd_below(26) : 0xce);
            }
            rnd_fill(in.mask, 4);
            frame_as(firsts[rnd_below(rnd_below(20) ? 7 : 10)], 0, text, n);
        }
        if (rnd_below(4) == 0) {
            in.buf[rnd_below(in.len)] ^= (uint8_t) (1u << rnd_below(8));
        }
        want = ws_trace(in.buf, in.len, 300, WHOLE);
        got = ws_trace(
            in.buf, in.len, 300,
            (struct cuts){ .next = cut_random, .step = 1 + (size_t) i % 50 });
        each(strcmp(got, want) == 0, "case %d", i);
        free(got);
        free(want);
    }
    each_done("random frames, cut at random");
}

int
main(void)
{
    rnd_init();
    subtest("messages", messages);
    subtest("fragments", fragments);
    subtest("control frames", control);
    subtest("heads that break the rules", broken_heads);
    subtest("lengths", lengths);
    subtest("too big", too_big);
    subtest("close", closing);
    subtest("UTF-8", utf8);
    subtest("UTF-8 in messages", utf8_in_messages);
    subtest("frames of the server", heads_out);
    subtest("memory", memory);
    subtest("random input", random_frames);
    is_int(framing_mem.live, 0, "no memory is lost");
    return done_testing();
}
