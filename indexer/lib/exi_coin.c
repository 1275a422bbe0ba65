/*
 * Coins that differ from Bitcoin in what an index must know.  Bitcoin Cash has
 * canonical order since November 2018 and CashTokens since May 2023; the flags
 * hold for its whole chain, since older blocks are in an order that also fits
 * and old outputs that look like token outputs cannot be spent any more.
 */
#include "exi_coin.h"

#include <stddef.h>
#include <string.h>

static const char *const cash[] = {
    "bitcoincash",          "bitcoincash-testnet", "bitcoincash-testnet4",
    "bitcoincash-scalenet", "bitcoincash-chipnet", "bitcoincash-regtest",
};

unsigned
exi_coin_flags(const char *network)
{
    for (size_t i = 0; i < sizeof cash / sizeof cash[0]; i++) {
        if (strcmp(cash[i], network) == 0) {
            return EXI_COIN_CTOR | EXI_COIN_TOKENS | EXI_COIN_CASH;
        }
    }
    return 0;
}
