/*
 * Fuzz target: exi_block_open and exi_block_next.  Transactions lie end to
 * end, there are as many as the block says, and an end or an error is final.
 */
#include "fuzz.h"

#include "exi_tx.h"
#include "txcheck.h"

/* Transactions from the block's first one on; returns the last result. */
static int
read_all(struct exi_block *b)
{
    const uint8_t *end = b->buf + b->size, *at = b->rd.p;
    struct exi_tx tx;
    uint32_t n = 0;
    int rc;

    while ((rc = exi_block_next(b, &tx)) == 1) {
        FUZZ_ASSERT(tx.raw == at);
        FUZZ_ASSERT(txcheck(&tx, at, (size_t) (end - at)));
        at += tx.size;
        n++;
    }
    FUZZ_ASSERT(n <= b->ntx);
    FUZZ_ASSERT(rc == EXI_EFORMAT || (rc == 0 && n == b->ntx));
    FUZZ_ASSERT(rc != 0 || at == end || (tx.hogex && n >= 2));
    return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    struct exi_block b;
    struct exi_tx tx;
    int rc, again;

    if (exi_block_open(&b, buf, buflen) != EXI_OK) {
        return 0;
    }
    FUZZ_ASSERT(b.header == buf && b.size == buflen && b.ntx != 0);
    rc = read_all(&b);
    again = exi_block_next(&b, &tx);
    FUZZ_ASSERT(again == rc);
    return 0;
}
