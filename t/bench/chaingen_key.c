/*
 * chaingen: hashes, and the scripts of the keys.
 */
#include "chaingen.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "exi_sha256.h"

const char *const cg_kind_name[CG_KINDS] = { "p2wsh", "p2sh",  "p2sh-p2wsh",
                                             "bare",  "p2pkh", "p2wpkh",
                                             "p2tr" };

static uint64_t key_seed;

/* ---- hashes ---- */

void
cg_sha256(const void *p, size_t n, uint8_t out[32])
{
    exi_sha256(out, p, n);
}

void
cg_sha256d(const void *p, size_t n, uint8_t out[32])
{
    exi_sha256d(out, p, n);
}

/* RIPEMD160(SHA256(p)). */
static void
hash160(const void *p, size_t n, uint8_t out[20])
{
    static EVP_MD_CTX *c;
    uint8_t t[32];

    if (c == NULL) {
        c = EVP_MD_CTX_new();
    }
    cg_sha256(p, n, t);
    if (c == NULL || EVP_DigestInit_ex(c, EVP_ripemd160(), NULL) != 1
        || EVP_DigestUpdate(c, t, sizeof(t)) != 1
        || EVP_DigestFinal_ex(c, out, NULL) != 1) {
        cg_die("this OpenSSL has no RIPEMD-160");
    }
}

void
cg_merkle(uint8_t (*h)[32], size_t n, uint8_t out[32])
{
    while (n > 1) {
        if (n % 2 != 0) {
            memcpy(h[n], h[n - 1], 32);
            n++;
        }
        for (size_t i = 0; i < n; i += 2) {
            cg_sha256d(h[i], 64, h[i / 2]);
        }
        n /= 2;
    }
    memcpy(out, h[0], 32);
}

void
cg_hex_reversed(char *dst, const uint8_t *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sprintf(dst + 2 * i, "%02x", h[n - 1 - i]);
    }
}

void
cg_hex(char *dst, const uint8_t *h, size_t n)
{
    *dst = '\0';
    for (size_t i = 0; i < n; i++) {
        sprintf(dst + 2 * i, "%02x", h[i]);
    }
}

/* ---- keys ---- */

void
cg_key_seed(uint64_t mixed_seed)
{
    key_seed = mixed_seed;
}

int
cg_key_kind(uint64_t key)
{
    /* The heaviest keys have fixed kinds, so that each kind has a heavy key. */
    static const uint8_t top[16] = {
        CG_P2WSH,      CG_P2SH,       CG_P2WPKH, CG_P2SH_P2WSH,
        CG_P2WSH,      CG_BARE,       CG_P2SH,   CG_P2TR,
        CG_P2SH_P2WSH, CG_P2WSH,      CG_P2WSH,  CG_P2PKH,
        CG_P2SH,       CG_P2SH_P2WSH, CG_P2WSH,  CG_BARE
    };
    uint64_t m;
    uint32_t u;

    if (key < 16 && key < cg_pool && cg_opts.lookalike > 0) {
        return top[key];
    }
    m = cg_mix(cg_mix(key ^ key_seed) + 0x5bd1e995);
    u = (uint32_t) m % 100;
    if (!(key >= cg_pool && key < CG_SINGLE)
        && (double) (m >> 32) * 0x1p-32 < cg_opts.lookalike) {
        return u < 40 ? CG_P2PKH : u < 75 ? CG_P2WPKH : CG_P2TR;
    }
    return u < 50   ? CG_P2WSH
           : u < 70 ? CG_P2SH_P2WSH
           : u < 92 ? CG_P2SH
                    : CG_BARE;
}

size_t
cg_key_inner(uint64_t key, int kind, uint8_t *s)
{
    uint8_t *p = s;

    *p++ = 8;
    p = cg_w64(p, cg_mix(key ^ key_seed)); /* all scripts differ */
    if (cg_opts.pad && kind != CG_BARE) {
        *p++ = 0x6d; /* OP_2DROP */
    }
    *p++ = 0x75; /* OP_DROP */
    *p++ = 0x51; /* OP_TRUE */
    return (size_t) (p - s);
}

static void
key_bytes(uint64_t key, uint8_t out[32])
{
    uint64_t m = cg_mix(key ^ key_seed);

    for (int i = 0; i < 4; i++) {
        m = cg_mix(m + 0xa5a5a5a5);
        cg_w64(out + 8 * i, m);
    }
}

/* OP_HASH160 <hash of b> OP_EQUAL */
static size_t
script_p2sh(const uint8_t *b, size_t n, uint8_t *s)
{
    s[0] = 0xa9;
    s[1] = 20;
    s[22] = 0x87;
    hash160(b, n, s + 2);
    return 23;
}

static size_t
script_p2wsh(const uint8_t *b, size_t n, uint8_t *s)
{
    s[0] = 0;
    s[1] = 32;
    cg_sha256(b, n, s + 2);
    return 34;
}

/* Kinds that look like others' and are never spent. */
static size_t
script_lookalike(uint64_t key, int kind, uint8_t *s)
{
    static const uint8_t head[3] = { 0x76, 0xa9, 20 };
    uint8_t b[32];

    key_bytes(key, b);
    if (kind == CG_P2TR) {
        s[0] = 0x51;
        s[1] = 32;
        memcpy(s + 2, b, 32);
        return 34;
    }
    if (kind == CG_P2WPKH) {
        s[0] = 0;
        s[1] = 20;
        memcpy(s + 2, b, 20);
        return 22;
    }
    memcpy(s, head, sizeof(head));
    memcpy(s + 3, b, 20);
    s[23] = 0x88;
    s[24] = 0xac;
    return 25;
}

size_t
cg_key_script(uint64_t key, int kind, uint8_t *s)
{
    uint8_t in[16], b[34];
    size_t n;

    if (!cg_spendable(kind)) {
        return script_lookalike(key, kind, s);
    }
    if (kind == CG_BARE) {
        return cg_key_inner(key, kind, s);
    }
    n = cg_key_inner(key, kind, in);
    if (kind == CG_P2WSH) {
        return script_p2wsh(in, n, s);
    }
    if (kind == CG_P2SH) {
        return script_p2sh(in, n, s);
    }
    return script_p2sh(b, script_p2wsh(in, n, b), s);
}

uint8_t *
cg_key_dummies(uint8_t *p, uint64_t key)
{
    uint8_t r[64];
    uint8_t hi;

    cg_fill(r, sizeof(r));
    hi = r[0] >> 7;
    *p++ = 71 + hi;
    *p++ = 0x30;
    *p++ = 68 + hi;
    *p++ = 2;
    *p++ = 32 + hi;
    if (hi != 0) {
        *p++ = 0;
    }
    p = cg_wbytes(p, r, 32);
    *p++ = 2;
    *p++ = 32;
    r[32] &= 0x7f;
    p = cg_wbytes(p, r + 32, 32);
    *p++ = 1;
    *p++ = 33;
    *p++ = 2 + (key & 1);
    key_bytes(key + 0x1234567, p);
    return p + 32;
}
