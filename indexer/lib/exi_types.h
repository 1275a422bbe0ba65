/*
 * Types shared by the indexer and the nginx module.
 *
 * Every hash is kept in internal byte order, as SHA-256 gives it; only the
 * *_display functions of exi_hex.h reverse bytes.
 */
#ifndef EXI_TYPES_H
#define EXI_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXI_HASH_LEN   32
#define EXI_SKEY_LEN   14
#define EXI_HEADER_LEN 80

/* Longest branch of a Merkle tree that any function here returns. */
#define EXI_MERKLE_MAX 40

/* Transaction id: SHA-256d of the serialization without witness (BIP 144). */
struct exi_txid {
    uint8_t b[EXI_HASH_LEN];
};

/* Block id: SHA-256d of the 80-byte header. */
struct exi_blkid {
    uint8_t b[EXI_HASH_LEN];
};

/* Any other 32-byte hash: Merkle nodes, statuses. */
struct exi_hash {
    uint8_t b[EXI_HASH_LEN];
};

/* Script hash: single SHA-256 of the scriptPubKey, not reversed. */
struct exi_shash {
    uint8_t b[EXI_HASH_LEN];
};

/* Script key: the first 14 bytes of the script hash (docs/index-format.md). */
struct exi_skey {
    uint8_t b[EXI_SKEY_LEN];
};

/*
 * Memory for one query: alloc() returns n bytes aligned for any type or NULL;
 * what it returned lives until its owner drops the arena (an nginx pool, say).
 */
struct exi_arena {
    void *(*alloc)(void *ctx, size_t n);
    void *ctx;
};

#endif /* EXI_TYPES_H */
