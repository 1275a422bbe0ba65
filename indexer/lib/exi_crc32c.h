/*
 * CRC-32C (Castagnoli), as LevelDB's tables use it; with the instruction of
 * x86-64 CPUs that have it, some eight times as fast as LevelDB's own.
 */
#ifndef EXI_CRC32C_H
#define EXI_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CRC-32C of n bytes (RFC 3720, appendix B.4).  Any thread. */
uint32_t exi_crc32c(const void *p, size_t n);

/* The same without special instructions: for tests. */
uint32_t exi_crc32c_portable(const void *p, size_t n);

/*
 * Is a block of a LevelDB table whole?  p: the block and its trailer of 5 bytes
 * (1 kind, 4 LE masked CRC-32C of block and kind), n bytes in all.
 */
bool exi_crc32c_block(const void *p, size_t n);

#ifdef __cplusplus
}
#endif

#endif /* EXI_CRC32C_H */
