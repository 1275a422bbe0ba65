/*
 * Is what a node sent the block that it was asked for?  Everything behind it
 * may rely on that, so a node that is damaged, or something between it and us,
 * is found out before a byte is indexed, and another node can be asked.
 */
#include "blockcheck.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exi_merkle.h"
#include "lib/exi_sha256.h"
#include "lib/exi_tx.h"

/* Fills txids, as many as the header of the block says. */
static int
read_txids(struct exi_block *b, struct exi_hash *txids)
{
    struct exi_txid id;
    struct exi_tx tx;
    uint32_t n = 0;
    int rc;

    while ((rc = exi_block_next(b, &tx)) == 1) {
        exi_tx_id(&id, &tx);
        memcpy(txids[n++].b, id.b, EXI_HASH_LEN);
    }
    return rc;
}

/*
 * A list whose end is there twice has the root of the list without that: an
 * odd last node of a level is paired with itself (CVE-2012-2459).
 */
static bool
end_twice(const struct exi_hash *txids, size_t n)
{
    for (size_t k = 1; 2 * k <= n; k *= 2) {
        if (memcmp(txids + n - k, txids + n - 2 * k, k * sizeof(*txids)) == 0) {
            return true;
        }
    }
    return false;
}

static int
check_root(const struct exi_block *b, struct exi_hash *txids)
{
    struct exi_hash root;
    int rc = exi_merkle(&root, NULL, NULL, txids, b->ntx, 0);

    if (rc != EXI_OK || memcmp(root.b, b->header + 36, EXI_HASH_LEN) != 0) {
        return EXI_EFORMAT;
    }
    return EXI_OK;
}

int
blockcheck(const struct exi_blkid *hash, const uint8_t *raw, size_t len)
{
    struct exi_hash *txids;
    uint8_t id[EXI_HASH_LEN];
    struct exi_block b;
    int rc = exi_block_open(&b, raw, len);

    if (rc != EXI_OK || b.ntx == 0) {
        return EXI_EFORMAT;
    }
    exi_sha256d(id, raw, EXI_HEADER_LEN);
    if (memcmp(id, hash->b, EXI_HASH_LEN) != 0) {
        return EXI_EFORMAT;
    }
    txids = malloc(b.ntx * sizeof(*txids));
    if (txids == NULL) {
        return EXI_ENOMEM;
    }
    rc = read_txids(&b, txids);
    if (rc == EXI_OK && end_twice(txids, b.ntx)) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        rc = check_root(&b, txids);
    }
    free(txids);
    return rc;
}
