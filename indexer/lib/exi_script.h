/* scriptPubKey -> script hash (Electrum protocol, "script hashes"). */
#ifndef EXI_SCRIPT_H
#define EXI_SCRIPT_H

#include "exi_types.h"

/* SHA-256 of the script, not reversed.  Any thread. */
void exi_script_hash(struct exi_shash *out, const uint8_t *script,
                     size_t scriptlen);

/* The 14-byte key of a script hash. */
static inline struct exi_skey
exi_skey(const struct exi_shash *h)
{
    struct exi_skey k;
    for (size_t i = 0; i < EXI_SKEY_LEN; i++) {
        k.b[i] = h->b[i];
    }
    return k;
}

/*
 * True for scripts that have no history: those that start with OP_RETURN (6a)
 * or OP_FALSE OP_RETURN (00 6a), as in ElectrumX.
 */
bool exi_script_unspendable(const uint8_t *script, size_t scriptlen);

#endif /* EXI_SCRIPT_H */
