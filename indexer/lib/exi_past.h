/*
 * One published generation without a live layer: what the indexer looks up in
 * the settled chain while another thread goes on settling.  The generation
 * never changes, so no lock is needed and nothing waits for the disk's writes.
 */
#ifndef EXI_PAST_H
#define EXI_PAST_H

#include "exi_format.h"
#include "exi_reader.h"

struct exi_past;

/*
 * Opens a generation of data_dir and holds its lease until exi_past_close().
 * log: as exi_store_new().  May read files for milliseconds.  EXI_ESTALE: it is
 * not there or being removed; EXI_EFORMAT, EXI_EVERSION, EXI_EIO, EXI_ENOMEM.
 * Any thread opens and closes; one thread at a time uses it.
 */
int exi_past_open(struct exi_past **out, const char *data_dir,
                  const struct exi_live_gen *gen, exi_log_pt log,
                  void *log_ctx) EXI_MUST_CHECK;
/* NULL is allowed. */
void exi_past_close(struct exi_past *p);

/*
 * Output that is unspent at the generation's height: its script key and amount
 * in satoshi.  EXI_ENOTFOUND: unknown, spent or without rows (OP_RETURN,
 * genesis); EXI_EFORMAT, EXI_EIO.
 */
int exi_past_prevout(struct exi_past *p, const struct exi_txid *txid,
                     uint32_t index, struct exi_skey *script,
                     int64_t *value_sat) EXI_MUST_CHECK;

#endif /* EXI_PAST_H */
