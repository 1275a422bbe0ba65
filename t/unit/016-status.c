/*
 * exi_status.h: the worked example of the Electrum protocol (a regtest address
 * with three confirmed and three unconfirmed transactions), and other heights
 * against printf.
 */
#include "exi_status.h"

#include "exi_hex.h"
#include "rnd.h"
#include "tap.h"

struct entry {
    const char *txid;
    int32_t height;
};

static const struct entry example[] = {
    { "a6c9c361bd0bc536d6a22648efbf8f9b200e425ef6c3a7a9669dc444c532a347",
      2472 },
    { "9c42f84b2fcdaff676ba25d9d4941741cc0d1a01cce0c23fdc4c0b2afa38431c",
      2473 },
    { "770f2d4371b3fabb902dd9a103e2dd005fcd3971181078fca4a2a1d6ff127b30",
      2473 },
    { "80b19848aed792565ab7c5a79b7c2a00fbf985741579396ebe0ab6098e607311", 0 },
    { "e02a1dadfa83b996b24175df807b271ea5d02937ef5b35c195fac1e1bdc3198f", 0 },
    { "bb4c8ab438c13b89ca80d1d5bee25b0b6b7f55673f4d801998ba97db161d9e85", -1 },
};

static void
test_example(void)
{
    uint8_t out[EXI_HASH_LEN];
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };
    struct exi_status s;

    exi_status_init(&s);
    for (size_t i = 0; i < sizeof(example) / sizeof(example[0]); i++) {
        struct exi_txid id;

        is_int(exi_unhex_display(id.b, example[i].txid, 64), EXI_OK, "txid %zu",
               i);
        exi_status_add(&s, &id, example[i].height);
    }
    is_int(s.n, 6, "counted");
    ok(exi_status_final(&s, out), "there is a status");
    exi_hex(hex, out, sizeof(out));
    is_str(hex,
           "78e96c6562cafa71c115503b9411fdfdc595a45031e2ab76ff75162fe1b0590d",
           "status");
}

static void
test_null(void)
{
    uint8_t out[EXI_HASH_LEN];
    struct exi_status s;

    memset(out, 7, sizeof(out));
    exi_status_init(&s);
    ok(!exi_status_final(&s, out), "no transactions: null");
    ok(out[0] == 7 && out[31] == 7, "out is left alone");
}

/* Status of n entries with random ids, and its text by printf. */
static bool
same_as_printf(const int32_t *heights, size_t n)
{
    char text[16 * 80];
    size_t len = 0;
    uint8_t got[EXI_HASH_LEN], want[EXI_HASH_LEN];
    struct exi_status s;

    exi_status_init(&s);
    for (size_t i = 0; i < n; i++) {
        struct exi_txid id;

        rnd_fill(id.b, sizeof(id.b));
        exi_status_add(&s, &id, heights[i]);
        exi_hex_display(text + len, id.b);
        len += 64;
        len += (size_t) snprintf(text + len, 16, ":%ld:", (long) heights[i]);
    }
    exi_sha256(want, text, len);
    return exi_status_final(&s, got) && memcmp(got, want, sizeof(got)) == 0;
}

static void
test_heights(void)
{
    static const int32_t edges[] = { 1, 9,  10,        99,        100, -1,
                                     0, -9, INT32_MAX, INT32_MIN, -10 };

    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        each(same_as_printf(&edges[i], 1), "height %ld", (long) edges[i]);
    }
    each_done("one entry");
    for (int i = 0; i < 2000; i++) {
        int32_t heights[16];
        size_t n = 1 + (size_t) rnd_below(16);

        for (size_t k = 0; k < n; k++) {
            heights[k] = (int32_t) rnd_bits(32);
        }
        each(same_as_printf(heights, n), "%zu entries", n);
    }
    each_done("random entries");
}

int
main(void)
{
    rnd_init();
    subtest("example of the protocol", test_example);
    subtest("nothing", test_null);
    subtest("heights", test_heights);
    return done_testing();
}
