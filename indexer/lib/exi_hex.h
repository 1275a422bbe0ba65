/* Hexadecimal.  Any thread; no state. */
#ifndef EXI_HEX_H
#define EXI_HEX_H

#include "exi_err.h"
#include "exi_types.h"

/* Writes 2 * buflen lower-case digits at out, no terminator. */
void exi_hex(char *out, const uint8_t *buf, size_t buflen);

/*
 * Writes the 64 digits of a 32-byte hash in display order (bytes reversed):
 * how the Electrum protocol and Bitcoin's RPC spell txids, block hashes,
 * script hashes and Merkle nodes.  No terminator.
 */
void exi_hex_display(char *out, const uint8_t hash[EXI_HASH_LEN]);

/*
 * Reads hexlen digits of either case into out (hexlen / 2 bytes).
 * EXI_EFORMAT: odd length or another character; out is then undefined.
 */
int exi_unhex(uint8_t *out, const char *hex, size_t hexlen) EXI_MUST_CHECK;

/* Reads exactly 64 digits in display order into internal order. */
int exi_unhex_display(uint8_t hash[EXI_HASH_LEN], const char *hex,
                      size_t hexlen) EXI_MUST_CHECK;

#endif /* EXI_HEX_H */
