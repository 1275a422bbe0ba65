/*
 * Tip following: from our tip to the node's best block.
 *
 * Walks from the node's best block towards genesis until a block is one of
 * ours; what was walked over is to be connected, what we have above the
 * meeting point is to be disconnected.  Never looks below `floor`: a fork that
 * deep is for the caller (fallback to an older generation).
 */
#include "chain.h"

#include <stdlib.h>
#include <string.h>

static bool
same(const struct exi_blkid *a, const struct exi_blkid *b)
{
    return memcmp(a->b, b->b, EXI_HASH_LEN) == 0;
}

/* Is `hash` our block at `height`?  1, 0 or an error. */
static int
is_ours(const struct chain_io *io, uint32_t tip_height, uint32_t floor,
        uint32_t height, const struct exi_blkid *hash)
{
    struct exi_blkid mine;
    int rc;

    if (height > tip_height || height < floor) {
        return 0;
    }
    rc = io->ours(io->ctx, height, &mine);
    return rc != EXI_OK ? rc : same(&mine, hash);
}

static int
push(struct chain_plan *p, uint32_t *cap, const struct exi_blkid *hash)
{
    struct exi_blkid *q;
    uint32_t more = *cap ? *cap * 2 : 16;

    if (p->nconnect == *cap) {
        q = realloc(p->connect, more * sizeof(*q));
        if (q == NULL) {
            return EXI_ENOMEM;
        }
        p->connect = q;
        *cap = more;
    }
    p->connect[p->nconnect++] = *hash;
    return EXI_OK;
}

static void
reverse(struct chain_plan *p)
{
    struct exi_blkid t;

    for (uint32_t i = 0, j = p->nconnect; i + 1 < j; i++) {
        j--;
        t = p->connect[i];
        p->connect[i] = p->connect[j];
        p->connect[j] = t;
    }
}

static int
walk(struct chain_plan *p, const struct chain_io *io, uint32_t tip_height,
     const struct exi_blkid *best, uint32_t floor, uint32_t max)
{
    struct exi_blkid at = *best, prev;
    uint32_t height, cap = 0;
    int rc;

    for (;;) {
        rc = io->parent(io->ctx, &at, &prev, &height);
        if (rc != EXI_OK) {
            return rc;
        }
        rc = is_ours(io, tip_height, floor, height, &at);
        if (rc != 0) {
            p->fork = height;
            return rc < 0 ? rc : EXI_OK;
        }
        if (height <= floor) {
            return EXI_ESTALE;
        }
        if (p->nconnect >= max) {
            return EXI_ELIMIT;
        }
        rc = push(p, &cap, &at);
        if (rc != EXI_OK) {
            return rc;
        }
        at = prev;
    }
}

int
chain_plan(struct chain_plan *p, const struct chain_io *io, uint32_t tip_height,
           const struct exi_blkid *tip, const struct exi_blkid *best,
           uint32_t floor, uint32_t max)
{
    int rc;

    memset(p, 0, sizeof(*p));
    if (same(tip, best)) {
        p->fork = tip_height;
        return EXI_OK;
    }
    rc = walk(p, io, tip_height, best, floor, max);
    if (rc != EXI_OK) {
        chain_plan_free(p);
        return rc;
    }
    reverse(p);
    return EXI_OK;
}

void
chain_plan_free(struct chain_plan *p)
{
    free(p->connect);
    memset(p, 0, sizeof(*p));
}
