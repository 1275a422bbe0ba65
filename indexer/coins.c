/*
 * The coin table.  Genesis hashes and magics are those that bitcoind 29 and
 * litecoind 0.21 report (t/unit/051-coins.c checks the genesis hashes against
 * the headers).  How addresses begin is lib/exi_address.c's, which both
 * programs need.
 */
#include "coins.h"

#include <string.h>

/* The four bytes of a message start as they stand in block files. */
#define MAGIC(a, b, c, d)                                                      \
    ((uint32_t) (a) | (uint32_t) (b) << 8 | (uint32_t) (c) << 16               \
     | (uint32_t) (d) << 24)

static const struct coin coins[] = {
    { .network = "mainnet",
      .chain = "main",
      .genesis = "000000000019d6689c085ae165831e93"
                 "4ff763ae46a2a6c172b3f1b60a8ce26f",
      .rpc_port = 8332,
      .magic = MAGIC(0xf9, 0xbe, 0xb4, 0xd9),
      .tcp_port = 50001,
      .ssl_port = 50002 },
    { .network = "testnet",
      .chain = "test",
      .genesis = "000000000933ea01ad0ee984209779ba"
                 "aec3ced90fa3f408719526f8d77f4943",
      .rpc_port = 18332,
      .magic = MAGIC(0x0b, 0x11, 0x09, 0x07),
      .tcp_port = 51001,
      .ssl_port = 51002 },
    { .network = "testnet4",
      .chain = "testnet4",
      .genesis = "00000000da84f2bafbbc53dee25a72ae"
                 "507ff4914b867c565be350b0da8bf043",
      .rpc_port = 48332,
      .magic = MAGIC(0x1c, 0x16, 0x3f, 0x28),
      .tcp_port = 51001,
      .ssl_port = 51002 },
    { .network = "signet",
      .chain = "signet",
      .genesis = "00000008819873e925422c1ff0f99f7c"
                 "c9bbb232af63a077a480a3633bee1ef6",
      .rpc_port = 38332,
      .magic = MAGIC(0x0a, 0x03, 0xcf, 0x40),
      .tcp_port = 51001,
      .ssl_port = 51002,
      .allow_custom_genesis = true },
    { .network = "regtest",
      .chain = "regtest",
      .genesis = "0f9188f13cb7b2c71f2a335e3a4fc328"
                 "bf5beb436012afca590b1a11466e2206",
      .rpc_port = 18443,
      .magic = MAGIC(0xfa, 0xbf, 0xb5, 0xda),
      .tcp_port = 51001,
      .ssl_port = 51002 },
    { .network = "litecoin",
      .chain = "main",
      .genesis = "12a765e31ffd4059bada1e25190f6e98"
                 "c99d9714d334efa41a195a7e7e04bfe2",
      .rpc_port = 9332,
      .magic = MAGIC(0xfb, 0xc0, 0xb6, 0xdb),
      .tcp_port = 50001,
      .ssl_port = 50002 },
    { .network = "litecoin-testnet",
      .chain = "test",
      .genesis = "4966625a4b2851d9fdee139e56211a0d"
                 "88575f59ed816ff5e6a63deb4e3e29a0",
      .rpc_port = 19332,
      .magic = MAGIC(0xfd, 0xd2, 0xc8, 0xf1),
      .tcp_port = 51001,
      .ssl_port = 51002 },
    { .network = "litecoin-regtest",
      .chain = "regtest",
      .genesis = "530827f38f93b43ed12af0b3ad25a288"
                 "dc02ed74d6d7857862df51fc56c416f9",
      .rpc_port = 19443,
      .magic = MAGIC(0xfa, 0xbf, 0xb5, 0xda),
      .tcp_port = 51001,
      .ssl_port = 51002 },
};

const struct coin *
coin_at(size_t i)
{
    return i < sizeof(coins) / sizeof(coins[0]) ? &coins[i] : NULL;
}

const struct coin *
coin_find(const char *network)
{
    for (size_t i = 0; i < sizeof(coins) / sizeof(coins[0]); i++) {
        if (strcmp(coins[i].network, network) == 0) {
            return &coins[i];
        }
    }
    return NULL;
}
