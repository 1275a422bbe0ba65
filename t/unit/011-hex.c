/* exi_hex.h and exi_err.h. */
#include "exi_hex.h"

#include "rnd.h"
#include "tap.h"

#define GUARD 'Z'

static void
test_write(void)
{
    const uint8_t buf[] = { 0x00, 0x0f, 0xf0, 0x9a, 0xff };
    char out[12];

    memset(out, GUARD, sizeof(out));
    exi_hex(out, buf, sizeof(buf));
    is_mem(out, "000ff09affZZ", 12, "digits, no terminator");
    memset(out, GUARD, sizeof(out));
    exi_hex(out, buf, 0);
    is_int(out[0], GUARD, "nothing of nothing");
    for (unsigned v = 0; v < 256; v++) {
        uint8_t b = (uint8_t) v;
        char want[3];

        snprintf(want, sizeof(want), "%02x", v);
        exi_hex(out, &b, 1);
        each(memcmp(out, want, 2) == 0, "byte %u", v);
    }
    each_done("each byte");
}

static int
naive_digit(int c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void
test_read(void)
{
    uint8_t out[4];

    for (int i = 0; i < 65536; i++) {
        char hex[2] = { (char) (i >> 8), (char) i };
        int hi = naive_digit((uint8_t) hex[0]);
        int lo = naive_digit((uint8_t) hex[1]);
        int rc = exi_unhex(out, hex, 2);

        if (hi < 0 || lo < 0) {
            each(rc == EXI_EFORMAT, "%04x is refused", i);
        } else {
            each(rc == EXI_OK && out[0] == hi * 16 + lo, "%04x", i);
        }
    }
    each_done("each pair of characters");
    is_int(exi_unhex(out, "", 0), EXI_OK, "empty");
    is_int(exi_unhex(out, "123", 3), EXI_EFORMAT, "odd length");
    is_int(exi_unhex(out, "12345g", 6), EXI_EFORMAT, "bad at the end");
    is_int(exi_unhex(out, "x2345f", 6), EXI_EFORMAT, "bad at the start");
    is_int(exi_unhex(out, "aAfF09Zz", 6), EXI_OK, "no more than told");
    is_mem(out, "\xaa\xff\x09", 3, "both cases");
}

static void
test_display(void)
{
    static const char text[] =
        "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3eff";
    uint8_t want[EXI_HASH_LEN], got[EXI_HASH_LEN];
    char out[66];

    for (int i = 0; i < EXI_HASH_LEN; i++) {
        want[EXI_HASH_LEN - 1 - i] = (uint8_t) (0x20 + i);
    }
    want[0] = 0xff;
    is_int(exi_unhex_display(got, text, 64), EXI_OK, "read");
    is_mem(got, want, EXI_HASH_LEN, "reversed");
    memset(out, GUARD, sizeof(out));
    exi_hex_display(out, got);
    is_mem(out, text, 64, "written");
    is_mem(out + 64, "ZZ", 2, "no terminator");
    is_int(exi_unhex_display(got, text, 62), EXI_EFORMAT, "too short");
    is_int(exi_unhex_display(got, text, 65), EXI_EFORMAT, "too long");
    is_int(exi_unhex_display(got, text, 0), EXI_EFORMAT, "empty");
    for (int i = 0; i < 64; i++) {
        memcpy(out, text, 64);
        out[i] = 'g';
        each(exi_unhex_display(got, out, 64) == EXI_EFORMAT, "character %d", i);
    }
    each_done("bad characters");
}

static void
test_round(void)
{
    uint8_t in[200], back[200];
    char hex[400];

    for (int i = 0; i < 2000; i++) {
        size_t n = (size_t) rnd_below(sizeof(in) + 1);

        rnd_fill(in, n);
        exi_hex(hex, in, n);
        each(exi_unhex(back, hex, 2 * n) == EXI_OK && memcmp(in, back, n) == 0,
             "%zu bytes", n);
    }
    each_done("there and back");
}

static void
test_errors(void)
{
    const char *unknown = exi_strerror(1);

    for (int e = EXI_OK; e >= EXI_EMANY; e--) {
        const char *text = exi_strerror(e);

        each(text != NULL && *text != 0 && strcmp(text, unknown) != 0,
             "text of %d", e);
        for (int f = EXI_OK; f > e; f--) {
            each(strcmp(text, exi_strerror(f)) != 0, "%d, %d differ", e, f);
        }
    }
    each_done("each code has its text");
    is_str(exi_strerror(EXI_EMANY - 1), unknown, "unknown code");
    is_str(exi_strerror(-12345), unknown, "unknown code");
}

int
main(void)
{
    rnd_init();
    subtest("exi_hex", test_write);
    subtest("exi_unhex", test_read);
    subtest("display order", test_display);
    subtest("round trip", test_round);
    subtest("exi_strerror", test_errors);
    return done_testing();
}
