/*
 * Inside of the initial sync (initial*.c): not for others; sync.h has
 * initial_sync().
 */
#ifndef INITIAL_H
#define INITIAL_H

#include "source.h"
#include "sync.h"

#define INITIAL_HASHES 500 /* block hashes asked for at once */

/* Hashes of blocks from ... from + *n - 1 (at most INITIAL_HASHES); *n becomes
 * how many the node has.  An error of the node. */
int initial_hashes(struct sync *s, uint32_t from, uint32_t *n,
                   struct exi_blkid *out) EXI_MUST_CHECK;

/* Is the index empty and the chain up to `to` long, or is there a bulk sync to
 * go on with? */
bool initial_bulk_wanted(struct sync *s, uint32_t to);

/* Settles blocks 0 ... to of an empty index at once.  EXI_OK: done, or stopped
 * (settle_any() is false then); else as initial_sync(). */
int initial_bulk(struct sync *s, uint32_t to) EXI_MUST_CHECK;

/* What the setting `block_source` says. */
enum source_kind initial_source_kind(const char *name);

/* Memory for blocks that were read ahead. */
size_t initial_source_memory(const struct sync *s);

#endif /* INITIAL_H */
