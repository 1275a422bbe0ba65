/*
 * exi_sha256.h against the examples that NIST publishes for FIPS 180-4, and
 * its short cuts against the plain way for every length around block borders.
 */
#include "exi_sha256.h"

#include "exi_hex.h"
#include "rnd.h"
#include "tap.h"

static void
is_digest(const uint8_t got[EXI_HASH_LEN], const char *want, const char *name)
{
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };

    exi_hex(hex, got, EXI_HASH_LEN);
    is_str(hex, want, "%s", name);
}

static void
is_text(const char *text, const char *want)
{
    uint8_t out[EXI_HASH_LEN];

    exi_sha256(out, text, strlen(text));
    is_digest(out, want, text[0] ? text : "empty");
}

static void
test_nist(void)
{
    uint8_t out[EXI_HASH_LEN], block[1000];
    struct exi_sha256 s;

    is_text("",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    is_text("abc", "ba7816bf8f01cfea414140de5dae2223"
                   "b00361a396177a9cb410ff61f20015ad");
    is_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039"
            "a33ce45964ff2167f6ecedd419db06c1");
    is_text("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
            "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b049237"
            "0b249b11e8f07a51afac45037afee9d1");
    memset(block, 'a', sizeof(block));
    exi_sha256_init(&s);
    for (int i = 0; i < 1000; i++) {
        exi_sha256_update(&s, block, sizeof(block));
    }
    exi_sha256_final(&s, out);
    is_digest(out,
              "cdc76e5c9914fb9281a1c7e284d73e67"
              "f1809a48a497200e046d39ccc7112cd0",
              "a million times a");
}

/* The definition: no short cuts. */
static void
plain(uint8_t out[EXI_HASH_LEN], const uint8_t *buf, size_t n)
{
    struct exi_sha256 s;

    exi_sha256_init(&s);
    exi_sha256_update(&s, buf, n);
    exi_sha256_final(&s, out);
}

static void
test_double(void)
{
    uint8_t buf[260], once[EXI_HASH_LEN], twice[EXI_HASH_LEN];
    uint8_t got[EXI_HASH_LEN];
    struct exi_sha256 s;

    rnd_fill(buf, sizeof(buf));
    for (size_t n = 0; n <= sizeof(buf); n++) {
        plain(once, buf, n);
        plain(twice, once, sizeof(once));
        exi_sha256(got, buf, n);
        each(memcmp(got, once, sizeof(got)) == 0, "single, %zu bytes", n);
        exi_sha256d(got, buf, n);
        each(memcmp(got, twice, sizeof(got)) == 0, "double, %zu bytes", n);
        exi_sha256_init(&s);
        exi_sha256_update(&s, buf, n / 3);
        exi_sha256_update(&s, buf + n / 3, n - n / 3);
        exi_sha256d_final(&s, got);
        each(memcmp(got, twice, sizeof(got)) == 0, "in parts, %zu bytes", n);
    }
    each_done("each length");
    exi_sha256d(got, "hello", 5);
    is_digest(
        got, "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50",
        "double of hello");
}

static void
test_pair(void)
{
    uint8_t pair[2 * EXI_HASH_LEN], want[EXI_HASH_LEN], got[EXI_HASH_LEN];
    uint8_t copy[2 * EXI_HASH_LEN];

    for (int i = 0; i < 100; i++) {
        rnd_fill(pair, sizeof(pair));
        exi_sha256d(want, pair, sizeof(pair));
        exi_sha256d_pair(got, pair, pair + EXI_HASH_LEN);
        each(memcmp(got, want, sizeof(got)) == 0, "pair %d", i);
        memcpy(copy, pair, sizeof(pair));
        exi_sha256d_pair(copy, copy, copy + EXI_HASH_LEN);
        each(memcmp(copy, want, sizeof(want)) == 0, "over left %d", i);
        memcpy(copy, pair, sizeof(pair));
        exi_sha256d_pair(copy + EXI_HASH_LEN, copy, copy + EXI_HASH_LEN);
        each(memcmp(copy + EXI_HASH_LEN, want, sizeof(want)) == 0,
             "over right %d", i);
    }
    each_done("pairs");
    memcpy(copy, pair, EXI_HASH_LEN);
    memcpy(copy + EXI_HASH_LEN, pair, EXI_HASH_LEN);
    exi_sha256d(want, copy, sizeof(copy));
    exi_sha256d_pair(pair, pair, pair);
    is_mem(pair, want, EXI_HASH_LEN, "a node with itself, over itself");
}

static void
test_alias(void)
{
    uint8_t buf[100], want[EXI_HASH_LEN];

    rnd_fill(buf, sizeof(buf));
    plain(want, buf, 40);
    exi_sha256(buf, buf, 40);
    is_mem(buf, want, EXI_HASH_LEN, "digest over the message");
    exi_sha256(want, NULL, 0);
    is_digest(
        want,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "NULL, no bytes");
}

int
main(void)
{
    rnd_init();
    subtest("FIPS 180-4 examples", test_nist);
    subtest("double", test_double);
    subtest("pair", test_pair);
    subtest("aliases", test_alias);
    return done_testing();
}
