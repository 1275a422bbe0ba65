/*
 * coins.h: the genesis hashes are those of the genesis headers (as bitcoind 29
 * and litecoind 0.21 give them), and the rows are whole.
 */
#include "coins.h"

#include "exi_address.h"
#include "exi_hex.h"
#include "exi_sha256.h"
#include "tap.h"

/* Version 1 and no previous block. */
#define HEAD                                                                   \
    "01000000"                                                                 \
    "0000000000000000000000000000000000000000000000000000000000000000"
#define BITCOIN_ROOT                                                           \
    "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
#define TESTNET4_ROOT                                                          \
    "4e7b2b9128fe0291db0693af2ae418b767e657cd407e80cb1434221eaea7a07a"
#define LITECOIN_ROOT                                                          \
    "d9ced4ed1130f7b7faad9be25323ffafa33232a17c3edf6cfd97bee6bafbdd97"

static const struct {
    const char *network;
    const char *chain;
    const char *header;
    unsigned port;
    unsigned p2pkh, p2sh, p2sh2;
    const char *hrp;
    const char *magic;
} want[] = {
    { "mainnet", "main", HEAD BITCOIN_ROOT "29ab5f49ffff001d1dac2b7c", 8332, 0,
      5, 5, "bc", "f9beb4d9" },
    { "testnet", "test", HEAD BITCOIN_ROOT "dae5494dffff001d1aa4ae18", 18332,
      111, 196, 196, "tb", "0b110907" },
    { "testnet4", "testnet4", HEAD TESTNET4_ROOT "046f3566ffff001dbb0c7817",
      48332, 111, 196, 196, "tb", "1c163f28" },
    { "signet", "signet", HEAD BITCOIN_ROOT "008f4d5fae77031e8ad22203", 38332,
      111, 196, 196, "tb", "0a03cf40" },
    { "regtest", "regtest", HEAD BITCOIN_ROOT "dae5494dffff7f2002000000", 18443,
      111, 196, 196, "bcrt", "fabfb5da" },
    { "litecoin", "main", HEAD LITECOIN_ROOT "b9aa8e4ef0ff0f1ecd513f7c", 9332,
      48, 50, 5, "ltc", "fbc0b6db" },
    { "litecoin-testnet", "test", HEAD LITECOIN_ROOT "f60ba158f0ff0f1ee1790400",
      19332, 111, 58, 196, "tltc", "fdd2c8f1" },
    { "litecoin-regtest", "regtest",
      HEAD LITECOIN_ROOT "dae5494dffff7f2000000000", 19443, 111, 58, 196,
      "rltc", "fabfb5da" },
};

#define NWANT (sizeof(want) / sizeof(want[0]))

static void
test_genesis(size_t i, const struct coin *c)
{
    uint8_t header[EXI_HEADER_LEN], hash[EXI_HASH_LEN];
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };

    ok(strlen(want[i].header) == 2 * sizeof(header)
           && exi_unhex(header, want[i].header, 2 * sizeof(header)) == EXI_OK,
       "header of %s", c->network);
    exi_sha256d(hash, header, sizeof(header));
    exi_hex_display(hex, hash);
    is_str(c->genesis, hex, "genesis hash of %s", c->network);
}

/* The library has the coin's addresses. */
static void
test_addresses(size_t i, const struct coin *c)
{
    const struct exi_address_kinds *k = exi_address_kinds(c->network);

    if (ok(k != NULL, "addresses of %s are known", c->network)) {
        is_str(k->hrp, want[i].hrp, "hrp");
        is_int(k->p2pkh, want[i].p2pkh, "p2pkh");
        is_int(k->p2sh, want[i].p2sh, "p2sh");
        is_int(k->p2sh2, want[i].p2sh2, "older p2sh");
    }
}

static void
test_row(size_t i, const struct coin *c)
{
    uint8_t magic[4] = { (uint8_t) c->magic, (uint8_t) (c->magic >> 8),
                         (uint8_t) (c->magic >> 16),
                         (uint8_t) (c->magic >> 24) };
    char hex[9] = { 0 };

    exi_hex(hex, magic, 4);
    is_str(c->network, want[i].network, "row %zu", i);
    is_str(c->chain, want[i].chain, "chain");
    is_str(hex, want[i].magic, "magic as it stands in block files");
    is_int(c->rpc_port, want[i].port, "port");
    ok(c->tcp_port > 0 && c->ssl_port > 0, "Electrum ports");
    is_int(c->allow_custom_genesis, strcmp(c->network, "signet") == 0,
           "custom genesis");
    ok(coin_find(c->network) == c, "found by name");
    test_genesis(i, c);
    test_addresses(i, c);
}

int
main(void)
{
    for (size_t i = 0; i < NWANT; i++) {
        const struct coin *c = coin_at(i);

        if (ok(c != NULL, "there is row %zu", i)) {
            test_row(i, c);
        }
    }
    ok(coin_at(NWANT) == NULL, "and no more");
    ok(coin_at((size_t) -1) == NULL, "far behind the end");
    ok(coin_find("") == NULL, "no name");
    ok(coin_find("Mainnet") == NULL, "names are as they are written");
    return done_testing();
}
