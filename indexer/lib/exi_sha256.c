/*
 * SHA-256 over OpenSSL's low-level functions.  They are deprecated in favour
 * of EVP, whose context handling costs more than hashing one block does; this
 * file is the only one that calls them.
 *
 * Most of what is hashed here is short: a script, a digest, two Merkle nodes.
 * For those the padding is laid out by hand and the compression function is
 * called directly, once per 64-byte block.
 */
#include "exi_sha256.h"

#include "exi_bytes.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define BLOCK 64
/* Longest message whose padding (80, length) fits into the same block. */
#define ONE_BLOCK_MAX 55

static void
put_state(uint8_t out[EXI_HASH_LEN], const SHA256_CTX *c)
{
    for (size_t i = 0; i < 8; i++) {
        exi_put_be32(out + 4 * i, c->h[i]);
    }
}

/* Digest of a message of at most ONE_BLOCK_MAX bytes. */
static void
hash_short(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen)
{
    SHA256_CTX c;
    uint8_t block[BLOCK] = { 0 };

    if (buflen != 0) {
        memcpy(block, buf, buflen);
    }
    block[buflen] = 0x80;
    exi_put_be32(block + BLOCK - 4, (uint32_t) (buflen * 8));
    SHA256_Init(&c);
    SHA256_Transform(&c, block);
    put_state(out, &c);
}

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
    hash_short(out, out, EXI_HASH_LEN);
}

void
exi_sha256(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen)
{
    struct exi_sha256 s;

    if (buflen <= ONE_BLOCK_MAX) {
        hash_short(out, buf, buflen);
        return;
    }
    exi_sha256_init(&s);
    exi_sha256_update(&s, buf, buflen);
    exi_sha256_final(&s, out);
}

void
exi_sha256d(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen)
{
    exi_sha256(out, buf, buflen);
    hash_short(out, out, EXI_HASH_LEN);
}

void
exi_sha256d_pair(uint8_t out[EXI_HASH_LEN], const uint8_t *left,
                 const uint8_t *right)
{
    /* Second block of every 64-byte message: 80, zeros, 512 bits. */
    static const uint8_t padding[BLOCK] = { [0] = 0x80, [BLOCK - 2] = 0x02 };
    SHA256_CTX c;
    uint8_t block[BLOCK];

    memcpy(block, left, EXI_HASH_LEN);
    memcpy(block + EXI_HASH_LEN, right, EXI_HASH_LEN);
    SHA256_Init(&c);
    SHA256_Transform(&c, block);
    SHA256_Transform(&c, padding);
    put_state(block, &c);
    hash_short(out, block, EXI_HASH_LEN);
}
