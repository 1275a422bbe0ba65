/*
 * Is what a node sent the block that it was asked for?
 */
#ifndef BLOCKCHECK_H
#define BLOCKCHECK_H

#include <stddef.h>

#include "lib/exi_err.h"
#include "lib/exi_types.h"

/*
 * raw: a serialized block of len bytes.  EXI_OK: its header is that of `hash`
 * and its transactions, witnesses apart, are those that the header commits to.
 * EXI_EFORMAT: they are not; EXI_ENOMEM.  Any thread.
 */
int blockcheck(const struct exi_blkid *hash, const uint8_t *raw,
               size_t len) EXI_MUST_CHECK;

#endif /* BLOCKCHECK_H */
