/*
 * Addresses: base58check, bech32 and bech32m, cashaddr, read only.
 *
 * All are base conversions with a checksum; an address is accepted when the
 * checksum, the version and the length fit, and nothing else.
 */
#include "exi_address.h"

#include <string.h>

#include "exi_sha256.h"

#define BASE58_LEN 25 /* version, hash of 20 bytes, checksum of 4 */

/* One row for each network of the indexer's coin table. */
static const struct exi_address_kinds kinds_of[] = {
    { "mainnet", 0, 5, 5, "bc", NULL },
    { "testnet", 111, 196, 196, "tb", NULL },
    { "testnet4", 111, 196, 196, "tb", NULL },
    { "signet", 111, 196, 196, "tb", NULL },
    { "regtest", 111, 196, 196, "bcrt", NULL },
    { "litecoin", 48, 50, 5, "ltc", NULL },
    { "litecoin-testnet", 111, 58, 196, "tltc", NULL },
    { "litecoin-regtest", 111, 58, 196, "rltc", NULL },
    { "bitcoincash", 0, 5, 5, NULL, "bitcoincash" },
    { "bitcoincash-testnet", 111, 196, 196, NULL, "bchtest" },
    { "bitcoincash-testnet4", 111, 196, 196, NULL, "bchtest" },
    { "bitcoincash-scalenet", 111, 196, 196, NULL, "bchtest" },
    { "bitcoincash-chipnet", 111, 196, 196, NULL, "bchtest" },
    { "bitcoincash-regtest", 111, 196, 196, NULL, "bchreg" },
};

const struct exi_address_kinds *
exi_address_kinds(const char *network)
{
    for (size_t i = 0; i < sizeof kinds_of / sizeof kinds_of[0]; i++) {
        if (strcmp(kinds_of[i].network, network) == 0) {
            return &kinds_of[i];
        }
    }
    return NULL;
}

/*
 * base58check.
 */

/* Exactly BASE58_LEN bytes, leading zeros as many as there are leading ones. */
static int
unbase58(uint8_t out[BASE58_LEN], const char *s, size_t len)
{
    static const char digits[] =
        "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    size_t ones = 0, zeros = 0;

    memset(out, 0, BASE58_LEN);
    for (size_t i = 0; i < len; i++) {
        const char *d = s[i] ? strchr(digits, s[i]) : NULL;
        uint32_t carry;

        if (d == NULL) {
            return EXI_EFORMAT;
        }
        carry = (uint32_t) (d - digits);
        for (size_t k = BASE58_LEN; k-- > 0;) {
            carry += (uint32_t) out[k] * 58;
            out[k] = (uint8_t) carry;
            carry >>= 8;
        }
        if (carry != 0) {
            return EXI_EFORMAT;
        }
    }
    while (ones < len && s[ones] == '1') {
        ones++;
    }
    while (zeros < BASE58_LEN && out[zeros] == 0) {
        zeros++;
    }
    return ones == zeros ? EXI_OK : EXI_EFORMAT;
}

static void
p2pkh_script(uint8_t *script, size_t *scriptlen, const uint8_t *hash)
{
    memcpy(script, "\x76\xa9\x14", 3);
    memcpy(script + 3, hash, 20);
    memcpy(script + 23, "\x88\xac", 2);
    *scriptlen = 25;
}

static void
p2sh_script(uint8_t *script, size_t *scriptlen, const uint8_t *hash)
{
    memcpy(script, "\xa9\x14", 2);
    memcpy(script + 2, hash, 20);
    script[22] = 0x87;
    *scriptlen = 23;
}

static int
base58_script(uint8_t *script, size_t *scriptlen,
              const struct exi_address_kinds *kinds, const char *s, size_t len)
{
    uint8_t raw[BASE58_LEN], check[EXI_HASH_LEN];

    if (unbase58(raw, s, len) != EXI_OK) {
        return EXI_EFORMAT;
    }
    exi_sha256d(check, raw, BASE58_LEN - 4);
    if (memcmp(check, raw + BASE58_LEN - 4, 4) != 0) {
        return EXI_EFORMAT;
    }
    if (raw[0] == kinds->p2pkh) {
        p2pkh_script(script, scriptlen, raw + 1);
        return EXI_OK;
    }
    if (raw[0] == kinds->p2sh || raw[0] == kinds->p2sh2) {
        p2sh_script(script, scriptlen, raw + 1);
        return EXI_OK;
    }
    return EXI_EFORMAT;
}

/*
 * bech32, bech32m.
 */

#define BECH32  1u
#define BECH32M 0x2bc830a3u

static uint32_t
polymod_step(uint32_t chk, uint8_t value)
{
    static const uint32_t generator[5] = { 0x3b6a57b2, 0x26508e6d, 0x1ea119fa,
                                           0x3d4233dd, 0x2a1462b3 };
    uint32_t top = chk >> 25;

    chk = (chk & 0x1ffffff) << 5 ^ value;
    for (int i = 0; i < 5; i++) {
        if (top >> i & 1) {
            chk ^= generator[i];
        }
    }
    return chk;
}

/* The address in lower case; EXI_EFORMAT: mixed case or a strange character. */
static int
lower(char out[EXI_ADDRESS_MAX], const char *s, size_t len)
{
    bool has_lower = false, has_upper = false;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c < 33 || c > 126) {
            return EXI_EFORMAT;
        }
        if (c >= 'A' && c <= 'Z') {
            has_upper = true;
            c = (char) (c | 0x20);
        } else if (c >= 'a' && c <= 'z') {
            has_lower = true;
        }
        out[i] = c;
    }
    return has_lower && has_upper ? EXI_EFORMAT : EXI_OK;
}

/* Value of a character, or -1. */
static int
value_of(char c)
{
    static const char digits[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const char *d = c ? strchr(digits, c) : NULL;

    return d == NULL ? -1 : (int) (d - digits);
}

/* Values of the data part; *chk becomes what the checksum comes to. */
static int
bech32_values(uint8_t *values, const char *s, size_t len, const char *hrp,
              uint32_t *chk)
{
    *chk = 1;
    for (const char *p = hrp; *p != '\0'; p++) {
        *chk = polymod_step(*chk, (uint8_t) *p >> 5);
    }
    *chk = polymod_step(*chk, 0);
    for (const char *p = hrp; *p != '\0'; p++) {
        *chk = polymod_step(*chk, *p & 31);
    }
    for (size_t i = 0; i < len; i++) {
        int v = value_of(s[i]);

        if (v < 0) {
            return EXI_EFORMAT;
        }
        values[i] = (uint8_t) v;
        *chk = polymod_step(*chk, values[i]);
    }
    return EXI_OK;
}

/* Groups of 5 bits to bytes; what is left over must be fewer than 5 zeros. */
static int
bech32_program(uint8_t *out, size_t *outlen, const uint8_t *values, size_t n)
{
    uint32_t acc = 0, bits = 0;
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        acc = (acc << 5 | values[i]) & 0xfff;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            if (len == 40) {
                return EXI_EFORMAT;
            }
            out[len++] = (uint8_t) (acc >> bits);
        }
    }
    if (bits >= 5 || (acc & ((1u << bits) - 1)) != 0 || len < 2) {
        return EXI_EFORMAT;
    }
    *outlen = len;
    return EXI_OK;
}

static int
bech32_script(uint8_t *script, size_t *scriptlen,
              const struct exi_address_kinds *kinds, const char *s, size_t len)
{
    size_t hrplen = strlen(kinds->hrp), n;
    char text[EXI_ADDRESS_MAX];
    uint8_t values[EXI_ADDRESS_MAX];
    uint32_t chk;

    if (lower(text, s, len) != EXI_OK || len < hrplen + 1 + 1 + 6
        || memcmp(text, kinds->hrp, hrplen) != 0 || text[hrplen] != '1') {
        return EXI_EFORMAT;
    }
    n = len - hrplen - 1;
    if (bech32_values(values, text + hrplen + 1, n, kinds->hrp, &chk) != EXI_OK
        || values[0] > 16 || chk != (values[0] == 0 ? BECH32 : BECH32M)
        || bech32_program(script + 2, &n, values + 1, n - 7) != EXI_OK
        || (values[0] == 0 && n != 20 && n != 32)) {
        return EXI_EFORMAT;
    }
    script[0] = (uint8_t) (values[0] == 0 ? 0 : 0x50 + values[0]);
    script[1] = (uint8_t) n;
    *scriptlen = n + 2;
    return EXI_OK;
}

/*
 * cashaddr.
 */

#define CASH_CHECKSUM 8  /* values */
#define CASH_VALUES   54 /* 33 bytes */

static uint64_t
cash_step(uint64_t chk, uint8_t value)
{
    static const uint64_t generator[5] = { 0x98f2bc8e61, 0x79b76d99e2,
                                           0xf33e5fb3c4, 0xae2eabe2a8,
                                           0x1e4f43e470 };
    uint64_t top = chk >> 35;

    chk = (chk & 0x07ffffffff) << 5 ^ value;
    for (int i = 0; i < 5; i++) {
        if (top >> i & 1) {
            chk ^= generator[i];
        }
    }
    return chk;
}

/* What a version byte and a hash of n bytes stand for. */
static int
cash_kind(uint8_t *script, size_t *scriptlen, uint8_t version,
          const uint8_t *hash, size_t n)
{
    unsigned type = version >> 3, size = version & 7;

    if (size == 0 && n == 20 && (type == 0 || type == 2)) {
        p2pkh_script(script, scriptlen, hash);
        return EXI_OK;
    }
    if (size == 0 && n == 20 && (type == 1 || type == 3)) {
        p2sh_script(script, scriptlen, hash);
        return EXI_OK;
    }
    if (size == 3 && n == 32 && (type == 1 || type == 3)) {
        memcpy(script, "\xaa\x20", 2);
        memcpy(script + 2, hash, 32);
        script[34] = 0x87;
        *scriptlen = 35;
        return EXI_OK;
    }
    return EXI_EFORMAT;
}

/* The part behind the prefix, in lower case. */
static int
cash_payload(uint8_t *script, size_t *scriptlen, const char *prefix,
             const char *s, size_t n)
{
    uint8_t values[EXI_ADDRESS_MAX], raw[40];
    uint64_t chk = 1;
    size_t rawlen;

    if (n <= CASH_CHECKSUM || n > CASH_VALUES + CASH_CHECKSUM) {
        return EXI_EFORMAT;
    }
    for (const char *p = prefix; *p != '\0'; p++) {
        chk = cash_step(chk, *p & 31);
    }
    chk = cash_step(chk, 0);
    for (size_t i = 0; i < n; i++) {
        int v = value_of(s[i]);

        if (v < 0) {
            return EXI_EFORMAT;
        }
        values[i] = (uint8_t) v;
        chk = cash_step(chk, values[i]);
    }
    if (chk != 1
        || bech32_program(raw, &rawlen, values, n - CASH_CHECKSUM) != EXI_OK) {
        return EXI_EFORMAT;
    }
    return cash_kind(script, scriptlen, raw[0], raw + 1, rawlen - 1);
}

static int
cash_script(uint8_t *script, size_t *scriptlen,
            const struct exi_address_kinds *kinds, const char *s, size_t len)
{
    size_t plen = strlen(kinds->cash);
    char text[EXI_ADDRESS_MAX];
    const char *p = text;

    if (lower(text, s, len) != EXI_OK) {
        return EXI_EFORMAT;
    }
    if (len > plen && text[plen] == ':'
        && memcmp(text, kinds->cash, plen) == 0) {
        p += plen + 1;
        len -= plen + 1;
    }
    return cash_payload(script, scriptlen, kinds->cash, p, len);
}

int
exi_address_script(uint8_t *script, size_t *scriptlen,
                   const struct exi_address_kinds *kinds, const char *address,
                   size_t len)
{
    if (len == 0 || len > EXI_ADDRESS_MAX) {
        return EXI_EFORMAT;
    }
    if (kinds->hrp != NULL
        && bech32_script(script, scriptlen, kinds, address, len) == EXI_OK) {
        return EXI_OK;
    }
    if (kinds->cash != NULL
        && cash_script(script, scriptlen, kinds, address, len) == EXI_OK) {
        return EXI_OK;
    }
    return base58_script(script, scriptlen, kinds, address, len);
}
