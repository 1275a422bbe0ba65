/*
 * Token prefix: ef, category id (32 bytes), a byte of flags and capability,
 * then as the flags say a commitment (compact size, bytes) and an amount
 * (compact size).
 */
#include "exi_token.h"

#include "exi_coin.h"

#define HAS_RESERVED   0x80
#define HAS_COMMITMENT 0x40
#define HAS_NFT        0x20
#define HAS_AMOUNT     0x10
#define CAPABILITY     0x0f
#define MINTING        2

/* Do flags and capability fit each other? */
static bool
sane(uint8_t flags)
{
    if (flags & HAS_RESERVED || !(flags & (HAS_NFT | HAS_AMOUNT))
        || (flags & CAPABILITY) > MINTING) {
        return false;
    }
    return flags & HAS_NFT || !(flags & (HAS_COMMITMENT | CAPABILITY));
}

/* 1 ... INT64_MAX, or 0: it is not. */
static uint64_t
positive(struct exi_rd *rd)
{
    uint64_t v = exi_rd_compact(rd);

    return rd->bad || v > INT64_MAX ? 0 : v;
}

int
exi_token_parse(struct exi_token *t, size_t *len, const uint8_t *script,
                size_t scriptlen)
{
    struct exi_token x = { 0 };
    struct exi_rd rd;
    uint8_t flags;

    if (scriptlen < 34 || script[0] != EXI_TOKEN_PREFIX) {
        return EXI_EFORMAT;
    }
    rd = exi_rd(script + 1, scriptlen - 1);
    x.category = exi_rd_bytes(&rd, EXI_HASH_LEN);
    flags = exi_rd_u8(&rd);
    if (rd.bad || !sane(flags)) {
        return EXI_EFORMAT;
    }
    x.nft = flags & HAS_NFT;
    x.capability = flags & CAPABILITY;
    if (flags & HAS_COMMITMENT) {
        uint64_t n = positive(&rd);

        if (n == 0 || n > EXI_TOKEN_COMMITMENT_MAX) {
            return EXI_EFORMAT;
        }
        x.commitmentlen = (size_t) n;
        x.commitment = exi_rd_bytes(&rd, (size_t) n);
    }
    if (flags & HAS_AMOUNT) {
        x.amount = (int64_t) positive(&rd);
        if (x.amount == 0) {
            return EXI_EFORMAT;
        }
    }
    if (rd.bad) {
        return EXI_EFORMAT;
    }
    *t = x;
    *len = (size_t) (rd.p - script);
    return EXI_OK;
}

size_t
exi_token_strip(struct exi_txout *out, unsigned coin)
{
    struct exi_token t;
    size_t len;

    if (!(coin & EXI_COIN_TOKENS) || out->scriptlen == 0
        || out->script[0] != EXI_TOKEN_PREFIX || out->value_sat < 0
        || out->value_sat >= EXI_VALUE_TOKENS
        || exi_token_parse(&t, &len, out->script, out->scriptlen) != EXI_OK) {
        return 0;
    }
    out->script += len;
    out->scriptlen -= (uint32_t) len;
    out->value_sat |= EXI_VALUE_TOKENS;
    return len;
}

bool
exi_outpoint_len_right(size_t len, unsigned coin)
{
    return len == EXI_SKEY_LEN
           || (coin & EXI_COIN_TOKENS && len > EXI_SKEY_LEN
               && len <= EXI_SKEY_LEN + EXI_TOKEN_MAX);
}
