/*
 * exi_address.h: vectors of BIP 173, BIP 350, CashAddr, base58 addresses with known
 * scripts, and that no change of one character is accepted.
 */
#include "exi_address.h"
#include "exi_hex.h"
#include "tap.h"

#include <string.h>

struct vector {
    const char *network;
    const char *address;
    const char *script; /* hex, NULL: no address */
};

static const struct vector vectors[] = {
    { "mainnet", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
      "0014751e76e8199196d454941c45d1b3a323f1433bd6" },
    { "testnet",
      "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
      "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262" },
    { "mainnet",
      "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5"
      "nd6y",
      "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3"
      "a323f1433bd6" },
    { "mainnet", "BC1SW50QGDZ25J", "6002751e" },
    { "mainnet", "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
      "5210751e76e8199196d454941c45d1b3a323" },
    { "testnet",
      "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
      "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433" },
    { "testnet",
      "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
      "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433" },
    { "mainnet",
      "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
      "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" },
    { "mainnet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
      "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac" },
    { "mainnet", "1111111111111111111114oLvT2",
      "76a914000000000000000000000000000000000000000088ac" },
    { "mainnet", "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
      "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87" },
    /* cashaddr: the specification's P2PKH and P2SH, the types of CHIP-2022-02
       that know tokens, 32 bytes, without prefix, upper case, legacy */
    { "bitcoincash", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    { "bitcoincash", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    { "bitcoincash", "QPM2QSZNHKS23Z7629MMS6S4CWEF74VCWVY22GDX6A",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    { "bitcoincash", "1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggu",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    { "bitcoincash", "bitcoincash:ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq",
      "a91476a04053bda0a88bda5177b86a15c3b29f55987387" },
    { "bitcoincash", "3CWFddi6m4ndiGyKqzYvsFYagqDLPVMTzC",
      "a91476a04053bda0a88bda5177b86a15c3b29f55987387" },
    { "bitcoincash", "bitcoincash:zpm2qsznhks23z7629mms6s4cwef74vcwvrqekrq9w",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    { "bitcoincash", "bitcoincash:rpm2qsznhks23z7629mms6s4cwef74vcwv59yeyr7n",
      "a91476a04053bda0a88bda5177b86a15c3b29f55987387" },
    { "bitcoincash-chipnet",
      "bchtest:pvqqzqsrqszsvpcgpy9qkrqdpc83qygjzv2p29shrqv35xcur50p75dfqqc8x",
      "aa20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f8"
      "7" },
    { "bitcoincash-testnet4",
      "bchtest:rvqqzqsrqszsvpcgpy9qkrqdpc83qygjzv2p29shrqv35xcur50p7x74pee7d",
      "aa20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f8"
      "7" },
    { "bitcoincash-regtest",
      "bchreg:qpm2qsznhks23z7629mms6s4cwef74vcwv6ycwvz78",
      "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac" },
    /* cashaddr: P2PKH of 32 bytes, size and hash differ, unknown type, reserved
       bit, another network's prefix, said or not, mixed case, bech32 */
    { "bitcoincash-testnet",
      "bchtest:qvqqzqsrqszsvpcgpy9qkrqdpc83qygjzv2p29shrqv35xcur50p7as85cvlh",
      NULL },
    { "bitcoincash-testnet",
      "bchtest:zvqqzqsrqszsvpcgpy9qkrqdpc83qygjzv2p29shrqv35xcur50p70rm4pdxu",
      NULL },
    { "bitcoincash-testnet",
      "bchtest:qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqwvkr8enl", NULL },
    { "bitcoincash-testnet",
      "bchtest:ypm2qsznhks23z7629mms6s4cwef74vcwvwvp6na2w", NULL },
    { "bitcoincash-testnet",
      "bchtest:spm2qsznhks23z7629mms6s4cwef74vcwv36mfygn5", NULL },
    { "bitcoincash-regtest",
      "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a", NULL },
    { "bitcoincash-regtest", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
      NULL },
    { "bitcoincash", "bitcoincash:Qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
      NULL },
    { "bitcoincash", "bitcoincash:", NULL },
    { "bitcoincash", "bitcoincash", NULL },
    { "bitcoincash", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", NULL },
    { "mainnet", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
      NULL },
    /* of another network, checksum of the other kind, wrong lengths, mixed
       case, bits left over */
    { "testnet", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", NULL },
    { "mainnet",
      "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", NULL },
    { "mainnet",
      "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", NULL },
    { "mainnet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", NULL },
    { "mainnet",
      "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", NULL },
    { "mainnet", "bc1pw5dgrnzv", NULL },
    { "mainnet", "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", NULL },
    { "mainnet",
      "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253"
      "zgeav",
      NULL },
    { "mainnet", "bc1gmk9yu", NULL },
    { "mainnet", "", NULL },
    { "mainnet", "bc1", NULL },
    { "mainnet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", NULL },
    { "mainnet", "11A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", NULL },
    { "mainnet", "A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", NULL },
    { "regtest", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", NULL },
};

static int
script_of(char hex[2 * EXI_ADDRESS_SCRIPT_MAX + 1], const char *network,
          const char *address, size_t len)
{
    uint8_t script[EXI_ADDRESS_SCRIPT_MAX];
    size_t scriptlen;
    int rc = exi_address_script(script, &scriptlen, exi_address_kinds(network),
                                address, len);

    if (rc == EXI_OK) {
        exi_hex(hex, script, scriptlen);
        hex[scriptlen * 2] = '\0';
    }
    return rc;
}

static void
test_vectors(void)
{
    char hex[2 * EXI_ADDRESS_SCRIPT_MAX + 1];

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        int rc = script_of(hex, v->network, v->address, strlen(v->address));

        if (v->script == NULL) {
            each(rc == EXI_EFORMAT, "no address: %s", v->address);
        } else {
            each(rc == EXI_OK && strcmp(hex, v->script) == 0, "address: %s",
                 v->address);
        }
    }
    ok(exi_address_kinds("dogecoin") == NULL, "a network that is not known");
}

/* One other character, or one more or less, is never an address. */
static void
test_changes(void)
{
    char hex[2 * EXI_ADDRESS_SCRIPT_MAX + 1];
    char s[128];

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        size_t len = strlen(v->address);

        for (size_t k = 0; v->script != NULL && k < len; k++) {
            for (int c = 1; c < 256; c++) {
                memcpy(s, v->address, len + 1);
                if (s[k] == (char) c) {
                    continue;
                }
                s[k] = (char) c;
                each(script_of(hex, v->network, s, len) == EXI_EFORMAT,
                     "%s: character %zu is %d", v->address, k, c);
            }
            each(script_of(hex, v->network, v->address, k) == EXI_EFORMAT,
                 "%s: %zu characters", v->address, k);
        }
    }
    ok(true, "each changed address was looked at");
}

int
main(void)
{
    subtest("vectors", test_vectors);
    subtest("changes", test_changes);
    return done_testing();
}
