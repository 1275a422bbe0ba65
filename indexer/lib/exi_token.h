/*
 * CashTokens: token data in front of an output's locking script (CHIP-2022-02,
 * "Token Prefix").  Any thread; no allocation.
 */
#ifndef EXI_TOKEN_H
#define EXI_TOKEN_H

#include "exi_tx.h"

#define EXI_TOKEN_PREFIX 0xef

/* Longest commitment; the network's own limit is far below. */
#define EXI_TOKEN_COMMITMENT_MAX 520
/* Longest token data. */
#define EXI_TOKEN_MAX (1 + 32 + 1 + 3 + EXI_TOKEN_COMMITMENT_MAX + 9)

/*
 * In the amounts of the index (`U` rows, `hist` values) of a coin with
 * EXI_COIN_TOKENS: the output holds tokens.  Amounts of outputs are far below;
 * EXI_VALUE_SAT() is the amount itself.
 */
#define EXI_VALUE_TOKENS (INT64_C(1) << 62)
#define EXI_VALUE_SAT(v) ((v) & ~EXI_VALUE_TOKENS)

struct exi_token {
    const uint8_t *category; /* 32 bytes, internal order */
    const uint8_t *commitment;
    size_t commitmentlen;
    int64_t amount; /* fungible tokens, 0: none */
    bool nft;
    uint8_t capability; /* 0 none, 1 mutable, 2 minting; nft only */
};

/*
 * Reads token data at the start of a script; *len becomes its length, the
 * prefix byte included.  EXI_EFORMAT: there is none, or it is malformed and so
 * is part of the locking script.
 */
int exi_token_parse(struct exi_token *t, size_t *len, const uint8_t *script,
                    size_t scriptlen) EXI_MUST_CHECK;

/*
 * Of a coin with these flags (exi_coin.h): moves out->script behind token data
 * and sets EXI_VALUE_TOKENS in out->value_sat; without token data out stays as
 * it is.  Returns the length of the token data: they end at out->script.
 */
size_t exi_token_strip(struct exi_txout *out, unsigned coin);

/* May the value of an `O` row of a coin with these flags be so long?  It is a
 * script key, then token data if there are any. */
bool exi_outpoint_len_right(size_t len, unsigned coin);

#endif /* EXI_TOKEN_H */
