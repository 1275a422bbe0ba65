/*
 * exi_merkle_cache.h: a branch put together of 16 leaves and what is kept is
 * the branch of the whole tree; blocks are forgotten, the one not asked for
 * longest first.
 */
#include "exi_merkle_cache.h"

#include <stdlib.h>

#include "rnd.h"
#include "tap.h"

#define NMAX  5000
#define GROUP (1u << EXI_MCACHE_LOW)

static struct exi_hash leaves[NMAX], work[NMAX], nodes[NMAX];

static void *
alloc(void *ctx, size_t n)
{
    static uint8_t memory[NMAX * EXI_HASH_LEN];

    (void) ctx;
    return n <= sizeof(memory) ? memory : NULL;
}

static void *
no_memory(void *ctx, size_t n)
{
    (void) ctx;
    (void) n;
    return NULL;
}

static const struct exi_arena arena = { alloc, NULL };
static const struct exi_arena empty = { no_memory, NULL };

/* A block known by its number of transactions. */
static struct exi_blkid
block_of(uint32_t ntx)
{
    struct exi_blkid b = { { 0 } };

    b.b[0] = (uint8_t) ntx;
    b.b[1] = (uint8_t) (ntx >> 8);
    b.b[9] = 1;
    return b;
}

static void
add(struct exi_mcache *c, uint32_t ntx)
{
    struct exi_blkid id = block_of(ntx);
    size_t n = ntx, pos = 0;

    memcpy(nodes, leaves, n * sizeof(*nodes));
    exi_merkle_up(nodes, &n, &pos, EXI_MCACHE_LOW, NULL);
    exi_mcache_add(c, &id, ntx, nodes);
}

static int
ask(struct exi_mcache *c, uint32_t ntx, uint32_t pos, struct exi_hash *branch,
    size_t *n)
{
    struct exi_blkid id = block_of(ntx);

    return exi_mcache_branch(c, &arena, &id, ntx, pos >> EXI_MCACHE_LOW, branch,
                             n);
}

static void
check(struct exi_mcache *c, uint32_t ntx, uint32_t pos)
{
    struct exi_hash want[EXI_MERKLE_MAX], have[EXI_MERKLE_MAX], root;
    uint32_t first = pos & ~(GROUP - 1);
    size_t nwant = 0, nhave = 0, in = pos - first;
    size_t n = ntx - first < GROUP ? ntx - first : GROUP;

    memcpy(work, leaves, ntx * sizeof(*work));
    if (!each(exi_merkle(&root, want, &nwant, work, ntx, pos) == EXI_OK,
              "whole, n %u pos %u", ntx, pos)) {
        return;
    }
    memcpy(work, leaves + first, n * sizeof(*work));
    exi_merkle_up(work, &n, &in, EXI_MCACHE_LOW, have);
    if (!each(ask(c, ntx, pos, have + EXI_MCACHE_LOW, &nhave) == EXI_OK,
              "kept, n %u pos %u", ntx, pos)) {
        return;
    }
    each(nhave + EXI_MCACHE_LOW == nwant
             && memcmp(want, have, nwant * sizeof(*want)) == 0,
         "branch, n %u pos %u", ntx, pos);
}

static void
test_branches(void)
{
    struct exi_mcache *c = NULL;

    is_int(exi_mcache_new(&c, 64 << 20), EXI_OK, "new");
    for (uint32_t ntx = GROUP + 1; ntx <= 300; ntx++) {
        add(c, ntx);
        for (uint32_t i = 0; i < 8; i++) {
            check(c, ntx, (uint32_t) rnd_below(ntx));
        }
        check(c, ntx, ntx - 1);
    }
    for (int i = 0; i < 100; i++) {
        uint32_t ntx = 300 + (uint32_t) rnd_below(NMAX - 300);

        add(c, ntx);
        check(c, ntx, (uint32_t) rnd_below(ntx));
        check(c, ntx, ntx - 1);
    }
    each_done("branches of 17 to 5000 leaves");
    exi_mcache_free(c);
}

static void
test_bound(void)
{
    struct exi_hash branch[EXI_MERKLE_MAX];
    struct exi_blkid id = block_of(1000);
    struct exi_mcache *c = NULL;
    size_t n;

    /* about three blocks of 1,000 */
    is_int(exi_mcache_new(&c, 3 * 71 * 32 + 400), EXI_OK, "new, small");
    is_int(ask(c, 1000, 5, branch, &n), EXI_ENOTFOUND, "empty");
    add(c, 1000);
    add(c, 1001);
    add(c, 1002);
    is_int(ask(c, 1000, 5, branch, &n), EXI_OK, "the first of three");
    add(c, 1003);
    is_int(ask(c, 1000, 5, branch, &n), EXI_OK, "just asked for: kept");
    is_int(ask(c, 1001, 5, branch, &n), EXI_ENOTFOUND, "the oldest: forgotten");
    is_int(ask(c, 1003, 5, branch, &n), EXI_OK, "the newest");
    add(c, NMAX);
    is_int(ask(c, NMAX, 5, branch, &n), EXI_ENOTFOUND, "larger than the bound");
    is_int(ask(c, 1003, 5, branch, &n), EXI_OK, "... drives out nothing");
    is_int(exi_mcache_branch(c, &empty, &id, 1000, 0, branch, &n), EXI_ENOMEM,
           "no memory");
    is_int(exi_mcache_branch(c, &arena, &id, 2000, 0, branch, &n),
           EXI_ENOTFOUND, "another number of transactions");
    exi_mcache_free(c);
    exi_mcache_free(NULL);
}

int
main(void)
{
    rnd_init();
    for (size_t i = 0; i < NMAX; i++) {
        rnd_fill(leaves[i].b, sizeof(leaves[i].b));
    }
    test_branches();
    test_bound();
    return done_testing();
}
