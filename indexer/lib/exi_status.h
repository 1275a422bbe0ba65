/*
 * Electrum status of a script hash (protocol basics, "status"): SHA-256 of
 * "txid:height:" for each transaction, in protocol order.  Any thread.
 */
#ifndef EXI_STATUS_H
#define EXI_STATUS_H

#include "exi_sha256.h"

struct exi_status {
    struct exi_sha256 sha;
    uint64_t n; /* transactions added */
};

void exi_status_init(struct exi_status *s);

/* Adds one transaction; height > 0, or 0 / -1 in the mempool. */
void exi_status_add(struct exi_status *s, const struct exi_txid *txid,
                    int32_t height);

/*
 * Ends it: true and the digest (shown not reversed), or false when nothing was
 * added (the protocol's null status).
 */
bool exi_status_final(struct exi_status *s, uint8_t out[EXI_HASH_LEN]);

#endif /* EXI_STATUS_H */
