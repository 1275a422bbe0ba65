/*
 * exi_bytes.h: fixed integers, varint, ovarint, CompactSize and the cursor
 * that stays bad.  The samples are those of docs/index-format.md.
 */
#include "exi_bytes.h"

#include "rnd.h"
#include "tap.h"

static const uint8_t eight[8] = {
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef
};

static void
test_fixed(void)
{
    uint8_t buf[8];

    is_int(exi_le16(eight), 0x2301, "le16");
    is_int(exi_le32(eight), 0x67452301, "le32");
    ok(exi_le64(eight) == 0xefcdab8967452301u, "le64");
    is_int(exi_be32(eight), 0x01234567, "be32");
    is_int(exi_be40(eight), 0x0123456789, "be40");
    is_int(exi_be64(eight), 0x0123456789abcdef, "be64");
    exi_put_le32(buf, 0x67452301);
    is_mem(buf, eight, 4, "put_le32");
    exi_put_le64(buf, 0xefcdab8967452301u);
    is_mem(buf, eight, 8, "put_le64");
    exi_put_be32(buf, 0x01234567);
    is_mem(buf, eight, 4, "put_be32");
    exi_put_be40(buf, 0x0123456789);
    is_mem(buf, eight, 5, "put_be40");
    exi_put_be64(buf, 0x0123456789abcdef);
    is_mem(buf, eight, 8, "put_be64");
}

struct sample {
    uint64_t v;
    const char *bytes;
    size_t len;
};
#define SAMPLE(v, s)                                                           \
    {                                                                          \
        v, s, sizeof(s) - 1                                                    \
    }
#define NSAMPLES(a) (sizeof(a) / sizeof((a)[0]))

static const struct sample varints[] = {
    SAMPLE(0, "\x00"),
    SAMPLE(1, "\x01"),
    SAMPLE(127, "\x7f"),
    SAMPLE(128, "\x80\x01"),
    SAMPLE(300, "\xac\x02"),
    SAMPLE(16383, "\xff\x7f"),
    SAMPLE(16384, "\x80\x80\x01"),
    SAMPLE(0xffffffff, "\xff\xff\xff\xff\x0f"),
    SAMPLE(UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
};

static const struct sample ovarints[] = {
    SAMPLE(0, "\x00"),
    SAMPLE(127, "\x7f"),
    SAMPLE(128, "\x80\x80"),
    SAMPLE(300, "\x81\x2c"),
    SAMPLE(16383, "\xbf\xff"),
    SAMPLE(16384, "\xc0\x40\x00"),
    SAMPLE(0x1fffff, "\xdf\xff\xff"),
    SAMPLE(0x200000, "\xe0\x20\x00\x00"),
    SAMPLE(0xfffffff, "\xef\xff\xff\xff"),
    SAMPLE(0x10000000, "\xf0\x10\x00\x00\x00"),
    SAMPLE(0xffffffff, "\xf0\xff\xff\xff\xff"),
};

static const struct sample compacts[] = {
    SAMPLE(0, "\x00"),
    SAMPLE(252, "\xfc"),
    SAMPLE(253, "\xfd\xfd\x00"),
    SAMPLE(0xffff, "\xfd\xff\xff"),
    SAMPLE(0x10000, "\xfe\x00\x00\x01\x00"),
    SAMPLE(0xffffffff, "\xfe\xff\xff\xff\xff"),
    SAMPLE(0x100000000, "\xff\x00\x00\x00\x00\x01\x00\x00\x00"),
    SAMPLE(UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
};

typedef uint64_t (*read_pt)(struct exi_rd *r);

static uint64_t
rd_ovarint(struct exi_rd *r)
{
    return exi_rd_ovarint(r);
}

/* Reads each sample and each shorter start of it. */
static void
check_samples(const char *name, read_pt read, const struct sample *s, size_t n)
{
    for (; n != 0; n--, s++) {
        struct exi_rd r = exi_rd(s->bytes, s->len);

        each(read(&r) == s->v && !r.bad && exi_rd_left(&r) == 0, "%s %llu",
             name, (unsigned long long) s->v);
        for (size_t cut = 0; cut < s->len; cut++) {
            r = exi_rd(s->bytes, cut);
            each(read(&r) == 0 && r.bad, "%s %llu cut to %zu", name,
                 (unsigned long long) s->v, cut);
        }
    }
    each_done(name);
}

static void
test_samples(void)
{
    uint8_t buf[EXI_VARINT_MAX];

    check_samples("varint samples", exi_rd_varint, varints, NSAMPLES(varints));
    check_samples("ovarint samples", rd_ovarint, ovarints, NSAMPLES(ovarints));
    check_samples("CompactSize samples", exi_rd_compact, compacts,
                  NSAMPLES(compacts));
    for (size_t i = 0; i < NSAMPLES(varints); i++) {
        each(exi_put_varint(buf, varints[i].v) == varints[i].len
                 && memcmp(buf, varints[i].bytes, varints[i].len) == 0,
             "put_varint sample %zu", i);
    }
    for (size_t i = 0; i < NSAMPLES(ovarints); i++) {
        each(exi_put_ovarint(buf, (uint32_t) ovarints[i].v) == ovarints[i].len
                 && memcmp(buf, ovarints[i].bytes, ovarints[i].len) == 0,
             "put_ovarint sample %zu", i);
    }
    each_done("samples written");
}

static void
check_bad(const char *name, read_pt read, const char *bytes, size_t len)
{
    struct exi_rd r = exi_rd(bytes, len);

    (void) read(&r);
    each(r.bad, "%s of %zu bytes, %02x first", name, len, (uint8_t) bytes[0]);
}
#define BAD(name, read, s) check_bad(name, read, s, sizeof(s) - 1)

static void
test_refused(void)
{
    BAD("overlong varint", exi_rd_varint, "\x80\x00");
    BAD("overlong varint", exi_rd_varint, "\xff\x80\x00");
    BAD("overlong varint", exi_rd_varint,
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00");
    BAD("varint of 65 bits", exi_rd_varint,
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
    BAD("varint of 11 bytes", exi_rd_varint,
        "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
    each_done("varints refused");

    BAD("overlong ovarint", rd_ovarint, "\x80\x7f");
    BAD("overlong ovarint", rd_ovarint, "\xc0\x3f\xff");
    BAD("overlong ovarint", rd_ovarint, "\xe0\x1f\xff\xff");
    BAD("overlong ovarint", rd_ovarint, "\xf0\x0f\xff\xff\xff");
    for (char c = '\xf1'; c != 0; c++) {
        char buf[] = { c, '\x7f', '\x7f', '\x7f', '\x7f', '\x7f' };
        check_bad("ovarint", rd_ovarint, buf, sizeof(buf));
    }
    each_done("ovarints refused");

    BAD("overlong CompactSize", exi_rd_compact, "\xfd\xfc\x00");
    BAD("overlong CompactSize", exi_rd_compact, "\xfe\xff\xff\x00\x00");
    BAD("overlong CompactSize", exi_rd_compact,
        "\xff\xff\xff\xff\xff\x00\x00\x00\x00");
    each_done("CompactSizes refused");
}

/* -1, 0, 1 as the bytes of two encodings compare. */
static int
order(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    int c = memcmp(a, b, alen < blen ? alen : blen);

    return c != 0 ? (c > 0) - (c < 0) : (alen > blen) - (alen < blen);
}

static void
test_random(void)
{
    uint8_t a[EXI_VARINT_MAX], b[EXI_VARINT_MAX];

    for (int i = 0; i < 100000; i++) {
        uint64_t v = rnd_bits(64);
        uint32_t x = (uint32_t) rnd_bits(32), y = (uint32_t) rnd_bits(32);
        size_t alen = exi_put_varint(a, v), blen;
        struct exi_rd r = exi_rd(a, alen);

        each(exi_rd_varint(&r) == v && !r.bad && exi_rd_left(&r) == 0,
             "varint %llu", (unsigned long long) v);
        alen = exi_put_ovarint(a, x);
        blen = exi_put_ovarint(b, y);
        r = exi_rd(a, alen);
        each(exi_rd_ovarint(&r) == x && !r.bad && exi_rd_left(&r) == 0,
             "ovarint %u", x);
        each(order(a, alen, b, blen) == (x > y) - (x < y), "order of %u, %u", x,
             y);
    }
    each_done("random numbers");
}

/* Whatever the reader accepts is what the writer writes. */
static void
test_canonical(void)
{
    uint8_t in[EXI_VARINT_MAX], out[EXI_VARINT_MAX];

    for (int i = 0; i < 100000; i++) {
        struct exi_rd r = exi_rd(in, sizeof(in));
        uint64_t v;
        size_t used;

        rnd_fill(in, sizeof(in));
        v = exi_rd_varint(&r);
        used = sizeof(in) - exi_rd_left(&r);
        each(r.bad
                 || (exi_put_varint(out, v) == used
                     && memcmp(in, out, used) == 0),
             "varint %d", i);
        r = exi_rd(in, sizeof(in));
        v = exi_rd_ovarint(&r);
        used = sizeof(in) - exi_rd_left(&r);
        each(r.bad
                 || (exi_put_ovarint(out, (uint32_t) v) == used
                     && memcmp(in, out, used) == 0),
             "ovarint %d", i);
    }
    each_done("one form only");
}

static void
test_cursor(void)
{
    struct exi_rd r = exi_rd(eight, sizeof(eight));

    is_int(exi_rd_left(&r), 8, "all is left");
    is_int(exi_rd_u8(&r), 0x01, "u8");
    is_int(exi_rd_le32(&r), 0x89674523, "le32");
    ok(exi_rd_bytes(&r, 0) == eight + 5, "no bytes are a pointer");
    ok(exi_rd_bytes(&r, 4) == NULL && r.bad, "4 of 3 bytes are not");
    ok(exi_rd_bytes(&r, 1) == NULL && r.bad, "nor is one, after that");
    is_int(exi_rd_u8(&r), 0, "u8 of a bad cursor");
    is_int(exi_rd_le64(&r), 0, "le64 of a bad cursor");
    is_int((long long) exi_rd_varint(&r), 0, "varint of a bad cursor");
    is_int(exi_rd_ovarint(&r), 0, "ovarint of a bad cursor");
    is_int((long long) exi_rd_compact(&r), 0, "CompactSize of a bad cursor");
    ok(r.bad, "it stays bad");
    r = exi_rd(eight, sizeof(eight));
    ok(exi_rd_le64(&r) == 0xefcdab8967452301u && !r.bad, "le64");
    ok(exi_rd_bytes(&r, SIZE_MAX) == NULL && r.bad, "SIZE_MAX bytes");
}

int
main(void)
{
    rnd_init();
    subtest("fixed size", test_fixed);
    subtest("samples", test_samples);
    subtest("refused", test_refused);
    subtest("random", test_random);
    subtest("canonical", test_canonical);
    subtest("cursor", test_cursor);
    return done_testing();
}
