/*
 * SHA-256 (FIPS 180-4) by OpenSSL's Init/Update/Final, which use SHA-NI.
 * No errors; any thread (a context belongs to one at a time).
 */
#ifndef EXI_SHA256_H
#define EXI_SHA256_H

#include <openssl/sha.h>

#include "exi_types.h"

struct exi_sha256 {
    SHA256_CTX c;
};

void exi_sha256_init(struct exi_sha256 *s);
void exi_sha256_update(struct exi_sha256 *s, const void *buf, size_t buflen);
void exi_sha256_final(struct exi_sha256 *s, uint8_t out[EXI_HASH_LEN]);

/* One shot, single. */
void exi_sha256(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen);

/* One shot, double: Bitcoin's hash of headers and transactions. */
void exi_sha256d(uint8_t out[EXI_HASH_LEN], const void *buf, size_t buflen);

/* Ends a context as double SHA-256. */
void exi_sha256d_final(struct exi_sha256 *s, uint8_t out[EXI_HASH_LEN]);

/* SHA-256d of left || right: an inner node of a Merkle tree; out may be left
 * or right. */
void exi_sha256d_pair(uint8_t out[EXI_HASH_LEN], const uint8_t *left,
                      const uint8_t *right);

#endif /* EXI_SHA256_H */
