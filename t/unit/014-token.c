/*
 * exi_token.h: vectors of the token prefix's rules (CHIP-2022-02), what is
 * stripped of an output, and that every change of a length is noticed.
 */
#include "exi_coin.h"
#include "exi_hex.h"
#include "exi_token.h"
#include "rnd.h"
#include "tap.h"

#include <string.h>

#define C   "1111111111111111222222222222222233333333333333334444444444444444"
#define TEN "00112233445566778899"

static const struct {
    const char *script; /* hex, behind ef and C */
    int len;            /* of the token data behind those, -1: malformed */
    int64_t amount;
    int nft; /* capability, -1: none */
    size_t commitment;
} vectors[] = {
    { "1001", 2, 1, -1, 0 },
    { "10fcaabb", 2, 252, -1, 0 },
    { "10fdfd0051", 4, 253, -1, 0 },
    { "10fe0000010051", 6, 65536, -1, 0 },
    { "10ff0000000001000000", 10, 0x100000000, -1, 0 },
    { "10ffffffffffffffff7f", 10, INT64_MAX, -1, 0 },
    { "20", 1, 0, 0, 0 },
    { "21", 1, 0, 1, 0 },
    { "2251", 1, 0, 2, 0 },
    { "3201", 2, 1, 2, 0 },
    { "600a" TEN "51", 12, 0, 0, 10 },
    { "710a" TEN "05", 13, 5, 1, 10 },
    /* nothing, amount 0, too large, longer forms than needed, cut */
    { "00", -1, 0, 0, 0 },
    { "1000", -1, 0, 0, 0 },
    { "10ff0000000000000080", -1, 0, 0, 0 },
    { "10fdfc00", -1, 0, 0, 0 },
    { "10feffff0000", -1, 0, 0, 0 },
    { "10ffffffffff00000000", -1, 0, 0, 0 },
    { "10fd01", -1, 0, 0, 0 },
    { "10", -1, 0, 0, 0 },
    /* capabilities and commitments without an NFT, unknown ones, reserved */
    { "1101", -1, 0, 0, 0 },
    { "5001aa01", -1, 0, 0, 0 },
    { "23", -1, 0, 0, 0 },
    { "2f", -1, 0, 0, 0 },
    { "a0", -1, 0, 0, 0 },
    { "9001", -1, 0, 0, 0 },
    { "40", -1, 0, 0, 0 },
    { "6000", -1, 0, 0, 0 },
    { "60fd0a00" TEN, -1, 0, 0, 0 },
    { "6002aa", -1, 0, 0, 0 },
    { "60", -1, 0, 0, 0 },
    { "", -1, 0, 0, 0 },
};

static size_t
script_of(uint8_t *out, const char *hex)
{
    out[0] = EXI_TOKEN_PREFIX;
    if (exi_unhex(out + 1, C, 64) != EXI_OK
        || exi_unhex(out + 33, hex, strlen(hex)) != EXI_OK) {
        return 0;
    }
    return 33 + strlen(hex) / 2;
}

static void
test_vectors(void)
{
    uint8_t script[200];

    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        size_t n = script_of(script, vectors[i].script), len = 0;
        struct exi_token t = { 0 };
        int rc = exi_token_parse(&t, &len, script, n);

        if (vectors[i].len < 0) {
            is_int(rc, EXI_EFORMAT, "malformed: %s", vectors[i].script);
            continue;
        }
        ok(rc == EXI_OK && len == 33 + (size_t) vectors[i].len
               && t.amount == vectors[i].amount
               && t.nft == (vectors[i].nft >= 0)
               && (!t.nft || t.capability == vectors[i].nft)
               && t.commitmentlen == vectors[i].commitment
               && t.category == script + 1,
           "%s", vectors[i].script);
    }
}

/* What is left of an output; by coin. */
static void
test_strip(void)
{
    uint8_t script[200];
    size_t n = script_of(script, "1005"
                                 "6a51");
    struct exi_txout out = { .value_sat = 700,
                             .script = script,
                             .scriptlen = (uint32_t) n };

    is_int(exi_token_strip(&out, 0), 0, "a coin without tokens");
    ok(out.script == script && out.value_sat == 700, "stays as it is");
    is_int(exi_token_strip(&out, EXI_COIN_TOKENS), 35, "token data");
    ok(out.script == script + 35 && out.scriptlen == 2, "locking script");
    ok(out.value_sat == (700 | EXI_VALUE_TOKENS)
           && EXI_VALUE_SAT(out.value_sat) == 700,
       "flag in the amount");
    is_int(exi_token_strip(&out, EXI_COIN_TOKENS), 0, "not again");
    out = (struct exi_txout){ 700, script, 35 };
    is_int(exi_token_strip(&out, EXI_COIN_TOKENS), 35, "no script behind them");
    is_int(out.scriptlen, 0, "an empty one");
    for (uint32_t i = 0; i < 35; i++) {
        out = (struct exi_txout){ 700, script, i };
        each(exi_token_strip(&out, EXI_COIN_TOKENS) == 0 && out.scriptlen == i
                 && out.value_sat == 700,
             "cut to %u", i);
    }
    each_done("cut token data are part of the script");
}

/* Longest commitments; random bytes never lead out of the script. */
static void
test_limits(void)
{
    uint8_t script[800];
    struct exi_token t;
    size_t len;

    memset(script, 0x55, sizeof script);
    script_of(script, "60fd0802");
    is_int(exi_token_parse(&t, &len, script, 37 + 520), EXI_OK, "520 bytes");
    is_int(t.commitmentlen, EXI_TOKEN_COMMITMENT_MAX, "commitment");
    ok(len <= EXI_TOKEN_MAX, "room");
    is_int(exi_token_parse(&t, &len, script, 36 + 520), EXI_EFORMAT, "cut");
    script_of(script, "60fd0902");
    is_int(exi_token_parse(&t, &len, script, 800), EXI_EFORMAT, "521 bytes");
    for (int i = 0; i < 20000; i++) {
        size_t n = (size_t) rnd_below(80);

        for (size_t k = 0; k < n; k++) {
            script[k] = (uint8_t) rnd();
        }
        script[0] = EXI_TOKEN_PREFIX;
        script[33] = (uint8_t) rnd_below(128);
        if (exi_token_parse(&t, &len, script, n) == EXI_OK) {
            each(len <= n && (t.nft || t.amount > 0) && t.amount >= 0
                     && (t.commitmentlen == 0
                         || t.commitment + t.commitmentlen <= script + len),
                 "%zu of %zu bytes", len, n);
        }
    }
    each_done("random prefixes");
}

int
main(void)
{
    rnd_init();
    subtest("vectors", test_vectors);
    subtest("strip", test_strip);
    subtest("limits", test_limits);
    return done_testing();
}
