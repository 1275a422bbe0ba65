/*
 * SHA-256 over OpenSSL's low-level functions.  They are deprecated in favour
 * of EVP, whose context handling costs more than hashing a block of 64 bytes
 * does; this file is the only one that calls them.
 *
 * With SHA-NI the compression function is nearly all of the time (about 40 ns
 * a block): padding laid out by hand and SHA256_Transform gain 4 % at most and
 * are not worth their lines.
 */
#include "exi_sha256.h"

#include <string.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

void
exi_sha256_init(struct exi_sha256 *s)
{
    SHA256_Init(&s->c);
}

void
exi_sha256_update(struct exi_sha256 *s, const void *buf, size_t buflen)
{
    SHA256_Update(&s->c, buf, buflen);
}

void
exi_sha256_final(struct exi_sha256 *s, uint8_t out[EXI_HASH_LEN])
{
    SHA256_Final(out, &s->c);
}

void
exi_sha256d_final(struct exi_sha256 *s, uint8_t out[EXI_HASH_LEN])
{
    SHA256_Final(out, &s->c);
    exi_sha256(out, out, EXI_HASH_LEN);
}

void
exi_sha256(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen)
{
    SHA256_CTX c;

    SHA256_Init(&c);
    SHA256_Update(&c, buf, buflen);
    SHA256_Final(out, &c);
}

void
exi_sha256d(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen)
{
    exi_sha256(out, buf, buflen);
    exi_sha256(out, out, EXI_HASH_LEN);
}

void
exi_sha256d_pair(uint8_t out[EXI_HASH_LEN], const uint8_t *left,
                 const uint8_t *right)
{
    uint8_t pair[2 * EXI_HASH_LEN];

    memcpy(pair, left, EXI_HASH_LEN);
    memcpy(pair + EXI_HASH_LEN, right, EXI_HASH_LEN);
    exi_sha256d(out, pair, sizeof(pair));
}
