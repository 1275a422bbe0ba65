/*
 * Decides how to get from our tip to the node's: which blocks to disconnect
 * and which to connect.  No I/O of its own: asks through callbacks.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "lib/exi_err.h"
#include "lib/exi_types.h"

struct chain_io {
    /* Our block hash at a height floor ... tip.  Errors are passed on. */
    int (*ours)(void *ctx, uint32_t height, struct exi_blkid *out);
    /* Parent and height of a block of the node.  Errors are passed on. */
    int (*parent)(void *ctx, const struct exi_blkid *hash,
                  struct exi_blkid *prev, uint32_t *height);
    void *ctx;
};

struct chain_plan {
    uint32_t fork;             /* height of the last common block */
    uint32_t nconnect;         /* blocks fork + 1 ... fork + nconnect */
    struct exi_blkid *connect; /* ascending; owned: chain_plan_free() */
};

/*
 * Plan from our tip (height tip_height, hash tip) to the node's best block.
 * floor: height of the highest block that is never undone (settled).
 * EXI_OK; EXI_ESTALE: the fork is below floor; EXI_ELIMIT: more than max blocks
 * to connect; EXI_ENOMEM; or a callback's error.  Disconnect all above fork.
 */
int chain_plan(struct chain_plan *p, const struct chain_io *io,
               uint32_t tip_height, const struct exi_blkid *tip,
               const struct exi_blkid *best, uint32_t floor,
               uint32_t max) EXI_MUST_CHECK;
void chain_plan_free(struct chain_plan *p);

#endif /* CHAIN_H */
