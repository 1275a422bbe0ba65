/* What both programs must know of a coin beyond how its addresses begin. */
#ifndef EXI_COIN_H
#define EXI_COIN_H

/* Flags of a coin; 0 for those that are like Bitcoin. */
enum {
    /* Blocks may be in canonical order (by txid, the coinbase first): a
     * transaction may spend an output of a later one of its block. */
    EXI_COIN_CTOR = 1,
    /* Output scripts may begin with token data (exi_token.h). */
    EXI_COIN_TOKENS = 2,
    /* Protocol versions below 1.6 are those of Electrum Cash. */
    EXI_COIN_CASH = 4,
};

/* Flags of a network (exi_params.network).  Any thread. */
unsigned exi_coin_flags(const char *network);

#endif /* EXI_COIN_H */
