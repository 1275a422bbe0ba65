/*
 * Addresses: base58check, bech32 and bech32m, read only.
 *
 * Both are base conversions with a checksum; an address is accepted when the
 * checksum, the version and the length fit, and nothing else.
 */
#include "exi_address.h"

#include <string.h>

#include "exi_sha256.h"

#define BASE58_LEN 25 /* version, hash of 20 bytes, checksum of 4 */

/* One row for each network of the indexer's coin table. */
static const struct exi_address_kinds kinds_of[] = {
    { "mainnet", 0, 5, 5, "bc" },
    { "testnet", 111, 196, 196, "tb" },
    { "testnet4", 111, 196, 196, "tb" },
    { "signet", 111, 196, 196, "tb" },
    { "regtest", 111, 196, 196, "bcrt" },
    { "litecoin", 48, 50, 5, "ltc" },
    { "litecoin-testnet", 111, 58, 196, "tltc" },
    { "litecoin-regtest", 111, 58, 196, "rltc" },
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
        memcpy(script, "\x76\xa9\x14", 3);
        memcpy(script + 3, raw + 1, 20);
        memcpy(script + 23, "\x88\xac", 2);
        *scriptlen = 25;
        return EXI_OK;
    }
    if (raw[0] == kinds->p2sh || raw[0] == kinds->p2sh2) {
        memcpy(script, "\xa9\x14", 2);
        memcpy(script + 2, raw + 1, 20);
        script[22] = 0x87;
        *scriptlen = 23;
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

/* Values of the data part; *chk becomes what the checksum comes to. */
static int
bech32_values(uint8_t *values, const char *s, size_t len, const char *hrp,
              uint32_t *chk)
{
    static const char digits[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

    *chk = 1;
    for (const char *p = hrp; *p != '\0'; p++) {
        *chk = polymod_step(*chk, (uint8_t) *p >> 5);
    }
    *chk = polymod_step(*chk, 0);
    for (const char *p = hrp; *p != '\0'; p++) {
        *chk = polymod_step(*chk, *p & 31);
    }
    for (size_t i = 0; i < len; i++) {
        const char *d = s[i] ? strchr(digits, s[i]) : NULL;

        if (d == NULL) {
            return EXI_EFORMAT;
        }
        values[i] = (uint8_t) (d - digits);
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

int
exi_address_script(uint8_t *script, size_t *scriptlen,
                   const struct exi_address_kinds *kinds, const char *address,
                   size_t len)
{
    if (len == 0 || len > EXI_ADDRESS_MAX) {
        return EXI_EFORMAT;
    }
    if (bech32_script(script, scriptlen, kinds, address, len) == EXI_OK) {
        return EXI_OK;
    }
    return base58_script(script, scriptlen, kinds, address, len);
}
