/*
 * Middle levels of the Merkle trees of blocks, kept in memory: with them a
 * branch costs some 30 hashes instead of one for each transaction of its block.
 * A block is known by its hash, so nothing kept ever becomes wrong.
 */
#ifndef EXI_MERKLE_CACHE_H
#define EXI_MERKLE_CACHE_H

#include "exi_err.h"
#include "exi_merkle.h"
#include "exi_types.h"

/* Levels that are kept: nodes above 16 and above 128 transactions.  A block
 * whose tree is not higher than the first is not kept. */
#define EXI_MCACHE_LOW  4
#define EXI_MCACHE_HIGH 7

struct exi_mcache;

/* bound: bytes of memory.  EXI_ENOMEM. */
int exi_mcache_new(struct exi_mcache **out, size_t bound) EXI_MUST_CHECK;
void exi_mcache_free(struct exi_mcache *c);

/*
 * Branch from node `pos` of level EXI_MCACHE_LOW of a block of ntx transactions
 * up to its root: *n siblings.  EXI_ENOTFOUND: the block is not there;
 * EXI_ENOMEM: the arena's.  Any thread.
 */
int exi_mcache_branch(struct exi_mcache *c, const struct exi_arena *a,
                      const struct exi_blkid *block, uint32_t ntx, size_t pos,
                      struct exi_hash *branch, size_t *n) EXI_MUST_CHECK;

/*
 * Keeps a block: nodes are all of level EXI_MCACHE_LOW, and are used up.
 * Forgets the blocks not asked for longest; may keep nothing (no memory, or
 * larger than the bound).  Any thread.
 */
void exi_mcache_add(struct exi_mcache *c, const struct exi_blkid *block,
                    uint32_t ntx, struct exi_hash *nodes);

#endif /* EXI_MERKLE_CACHE_H */
