/*
 * chain_plan against a naive answer, over random trees of blocks.
 */
#include "../lib/tap.h"

#include "../lib/rnd.h"
#include "chain.h"

#include <stdlib.h>

#define BLOCKS 60

/* A tree: block i has parent[i] < i; its hash has i in the first byte. */
static struct {
    int parent[BLOCKS];
    uint32_t height[BLOCKS];
    int ours[BLOCKS]; /* our chain, by height */
    int calls_left;   /* parent() fails when it reaches 0 */
} t;

static struct exi_blkid
hash_of(int i)
{
    struct exi_blkid h;

    memset(&h, 0x5a, sizeof(h));
    h.b[0] = (uint8_t) i;
    return h;
}

static int
ours(void *ctx, uint32_t height, struct exi_blkid *out)
{
    (void) ctx;
    *out = hash_of(t.ours[height]);
    return EXI_OK;
}

static int
parent(void *ctx, const struct exi_blkid *hash, struct exi_blkid *prev,
       uint32_t *height)
{
    int i = hash->b[0];

    (void) ctx;
    if (t.calls_left-- == 0) {
        return EXI_ENET;
    }
    *prev = hash_of(i == 0 ? 0 : t.parent[i]);
    *height = t.height[i];
    return EXI_OK;
}

static const struct chain_io io = { ours, parent, NULL };

static void
make_tree(int bushy)
{
    t.parent[0] = -1;
    t.height[0] = 0;
    t.calls_left = -1;
    for (int i = 1; i < BLOCKS; i++) {
        t.parent[i] =
            rnd() % 100 < (uint64_t) bushy ? (int) (rnd() % i) : i - 1;
        t.height[i] = t.height[t.parent[i]] + 1;
    }
}

static void
follow_to(int tip)
{
    for (int i = tip; i >= 0; i = t.parent[i]) {
        t.ours[t.height[i]] = i;
    }
}

static bool
on_ours(int i, int tip)
{
    return t.height[i] <= t.height[tip] && t.ours[t.height[i]] == i;
}

static void
check(int tip, int best, uint32_t floor)
{
    struct exi_blkid a = hash_of(tip), b = hash_of(best);
    struct chain_plan p;
    int at = best, rc, n = 0;

    while (!on_ours(at, tip)) {
        at = t.parent[at];
        n++;
    }
    rc = chain_plan(&p, &io, t.height[tip], &a, &b, floor, BLOCKS);
    if (t.height[at] < floor) {
        each(rc == EXI_ESTALE, "fork at %u below %u: %d", t.height[at], floor,
             rc);
        return;
    }
    each(rc == EXI_OK && p.fork == t.height[at] && p.nconnect == (uint32_t) n,
         "tip %d best %d: rc %d fork %u connect %u", tip, best, rc, p.fork,
         p.nconnect);
    at = best;
    for (int i = n; rc == EXI_OK && i > 0; i--, at = t.parent[at]) {
        each(p.connect[i - 1].b[0] == at, "order of blocks");
    }
    chain_plan_free(&p);
}

static void
random_trees(void)
{
    int tip;

    for (int round = 0; round < 3000; round++) {
        make_tree((int) (rnd() % 60));
        tip = (int) (rnd() % BLOCKS);
        follow_to(tip);
        check(tip, (int) (rnd() % BLOCKS),
              (uint32_t) (rnd() % (t.height[tip] + 1)));
    }
    each_done("random trees: fork and blocks to connect");
}

static void
limits(void)
{
    struct exi_blkid a = hash_of(10), b = hash_of(50);
    struct chain_plan p;

    make_tree(0);
    follow_to(10);
    is_int(chain_plan(&p, &io, 10, &a, &b, 0, 40), EXI_OK, "40 of 40");
    is_int(p.nconnect, 40, "... to connect");
    chain_plan_free(&p);
    is_int(chain_plan(&p, &io, 10, &a, &b, 0, 39), EXI_ELIMIT, "40 of 39");
    t.calls_left = 5;
    is_int(chain_plan(&p, &io, 10, &a, &b, 0, 40), EXI_ENET,
           "a callback's error is passed on");
    t.calls_left = -1;
    is_int(chain_plan(&p, &io, 10, &a, &a, 0, 40), EXI_OK, "nothing to do");
    ok(p.fork == 10 && p.nconnect == 0, "... and nothing planned");
    b = hash_of(4);
    is_int(chain_plan(&p, &io, 10, &a, &b, 2, 40), EXI_OK,
           "node went back along our chain");
    ok(p.fork == 4 && p.nconnect == 0, "... six blocks to disconnect");
    is_int(chain_plan(&p, &io, 10, &a, &b, 6, 40), EXI_ESTALE,
           "... below what is settled");
}

int
main(void)
{
    rnd_init();
    subtest("random", random_trees);
    subtest("limits", limits);
    return done_testing();
}
