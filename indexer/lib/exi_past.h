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

/* An output to be looked up with others. */
struct exi_past_out {
    const uint8_t *txid; /* 32 bytes */
    uint32_t index;
    void *tag; /* the caller's */
    uint64_t txnum;
    struct exi_skey script; /* found */
    int64_t value_sat;      /* found */
};

/*
 * exi_past_prevout() of n outputs at once, in the order of the rows; v is in another order then.  EXI_ENOTFOUND:
 * one of them was not found.
 */
int exi_past_prevouts(struct exi_past *p, struct exi_past_out *v,
                      size_t n) EXI_MUST_CHECK;

/* Another handle on the generation of p, for another thread; to be closed
 * before p.  EXI_ENOMEM. */
int exi_past_twin(struct exi_past **out,
                  const struct exi_past *p) EXI_MUST_CHECK;

#endif /* EXI_PAST_H */
