/*
 * Fuzz target: exi_tx_parse and exi_tx_parse_whole.  What is accepted must
 * give itself back through the iterators, and must not be accepted without
 * its last byte.
 */
#include "fuzz.h"

#include "exi_tx.h"
#include "txcheck.h"

static void
check_exact(const struct exi_tx *tx, const uint8_t *buf)
{
    struct exi_tx other;
    int rc;

    rc = exi_tx_parse(&other, buf, tx->size - 1);
    FUZZ_ASSERT(rc == EXI_EFORMAT);
    rc = exi_tx_parse_whole(&other, buf, tx->size);
    FUZZ_ASSERT(rc == EXI_OK);
    FUZZ_ASSERT(other.size == tx->size);
    FUZZ_ASSERT(other.stripped_size == tx->stripped_size);
    FUZZ_ASSERT(other.hogex == tx->hogex && other.coinbase == tx->coinbase);
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    struct exi_tx tx;

    if (exi_tx_parse(&tx, buf, buflen) == EXI_OK) {
        FUZZ_ASSERT(txcheck(&tx, buf, buflen));
        check_exact(&tx, buf);
    }
    if (exi_tx_parse_whole(&tx, buf, buflen) == EXI_OK) {
        FUZZ_ASSERT(tx.size == buflen);
        FUZZ_ASSERT(txcheck(&tx, buf, buflen));
    }
    return 0;
}
