/*
 * THE coin table: what differs between networks.  Constant; any thread.
 */
#ifndef COINS_H
#define COINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/exi_types.h"

struct coin {
    const char *network; /* setting: mainnet testnet testnet4 signet regtest
                            litecoin litecoin-testnet litecoin-regtest */
    const char *chain;   /* getblockchaininfo "chain": main test regtest ... */
    const char *genesis; /* block hash, display order */
    uint16_t rpc_port;
    uint32_t magic;              /* message start, LE as in block files */
    uint16_t tcp_port, ssl_port; /* Electrum defaults */
    bool allow_custom_genesis;   /* signet: custom ones differ by magic only */
};

/* By name of the setting, or NULL. */
const struct coin *coin_find(const char *network);
/* i-th row, NULL after the last: for messages that list the names. */
const struct coin *coin_at(size_t i);

#endif /* COINS_H */
