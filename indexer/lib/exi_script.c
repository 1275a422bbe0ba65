/*
 * Output scripts, as far as an index cares about them: their hash, and whether
 * they are worth a row.  Scripts are never run or classified.
 */
#include "exi_script.h"

#include "exi_sha256.h"

#define OP_FALSE  0x00
#define OP_RETURN 0x6a

void
exi_script_hash(struct exi_shash *out, const uint8_t *script, size_t scriptlen)
{
    exi_sha256(out->b, script, scriptlen);
}

bool
exi_script_unspendable(const uint8_t *script, size_t scriptlen)
{
    if (scriptlen >= 1 && script[0] == OP_RETURN) {
        return true;
    }
    return scriptlen >= 2 && script[0] == OP_FALSE && script[1] == OP_RETURN;
}
