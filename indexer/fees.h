/*
 * Fee histogram of the mempool (Electrum: mempool.get_fee_histogram), with
 * ElectrumX's choice of bins.  One thread.
 */
#ifndef FEES_H
#define FEES_H

#include <stdint.h>

#include "lib/exi_err.h"

struct fees;

struct fees *fees_new(void); /* NULL: no memory */
void fees_free(struct fees *f);

/* Counts one transaction: fee in satoshi, size in virtual bytes. */
int fees_add(struct fees *f, int64_t fee_sat, uint32_t vsize) EXI_MUST_CHECK;

/*
 * JSON array [[rate, vsize], ...] with rates in sat/vB, descending; the caller
 * frees it.  NULL: no memory.  Sorts what was added.
 */
char *fees_histogram(struct fees *f);

#endif /* FEES_H */
