/*
 * exi_script.h.  The first script hash is the example that the Electrum
 * protocol gives: the address of the genesis block as P2PKH.
 */
#include "exi_script.h"

#include "exi_hex.h"
#include "exi_sha256.h"
#include "rnd.h"
#include "tap.h"

static void
is_hash(const char *script_hex, const char *want)
{
    uint8_t script[200];
    size_t len = strlen(script_hex) / 2;
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };
    struct exi_shash h;

    is_int(exi_unhex(script, script_hex, 2 * len), EXI_OK, "hex");
    exi_script_hash(&h, script, len);
    exi_hex_display(hex, h.b);
    is_str(hex, want, "%s", script_hex[0] ? script_hex : "empty script");
}

static void
test_hash(void)
{
    is_hash("76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac",
            "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161");
    is_hash("",
            "55b852781b9995a44c939b64e441ae2724b96f99c8f4fb9a141cfc9842c4b0e3");
    is_hash("51",
            "6032c38c0bc0e91e726f1e55e1832e434509001a7aed5cfd881b6ef07215e84a");
}

static void
test_key(void)
{
    uint8_t script[120];
    struct exi_shash h;
    struct exi_skey k;

    for (size_t n = 0; n <= sizeof(script); n++) {
        uint8_t want[EXI_HASH_LEN];

        rnd_fill(script, n);
        exi_script_hash(&h, script, n);
        exi_sha256(want, script, n);
        each(memcmp(h.b, want, sizeof(want)) == 0, "hash of %zu bytes", n);
        k = exi_skey(&h);
        each(memcmp(k.b, want, EXI_SKEY_LEN) == 0, "key of %zu bytes", n);
    }
    each_done("single SHA-256, its first 14 bytes");
}

static void
test_unspendable(void)
{
    static const uint8_t s[] = { 0x6a, 0x00, 0x6a, 0x51, 0x00, 0x00 };

    ok(exi_script_unspendable(s, 1), "6a");
    ok(exi_script_unspendable(s, 3), "6a 00 6a");
    ok(exi_script_unspendable(s + 1, 2), "00 6a");
    ok(exi_script_unspendable(s + 1, 3), "00 6a 51");
    ok(!exi_script_unspendable(s + 1, 1), "00 is cut off before 6a");
    ok(!exi_script_unspendable(s, 0), "empty");
    ok(!exi_script_unspendable(NULL, 0), "NULL, no bytes");
    ok(!exi_script_unspendable(s + 3, 1), "51");
    ok(!exi_script_unspendable(s + 4, 2), "00 00");
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t two[] = { (uint8_t) a, (uint8_t) b };

            each(exi_script_unspendable(two, 2)
                     == (a == 0x6a || (a == 0 && b == 0x6a)),
                 "%02x %02x", a, b);
        }
    }
    each_done("every two bytes");
}

int
main(void)
{
    rnd_init();
    subtest("script hash", test_hash);
    subtest("script key", test_key);
    subtest("unspendable", test_unspendable);
    return done_testing();
}
