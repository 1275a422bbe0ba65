/*
 * Cache of the middle levels of blocks' Merkle trees: a hash table of blocks,
 * which are in a list, too, the last used first.  Hashing is done outside of
 * the lock, on copies of the few nodes that a branch needs.
 */
#include "exi_merkle_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 16384 /* power of two */

#define GROUP ((size_t) 1 << (EXI_MCACHE_HIGH - EXI_MCACHE_LOW))

struct block {
    struct block *chain; /* of the slot */
    struct block *newer; /* in the list */
    struct block *older;
    struct exi_blkid hash;
    size_t nlow;
    size_t nhigh; /* 0: the tree ends below */
    struct exi_hash nodes[];
};

struct exi_mcache {
    pthread_mutex_t lock;
    size_t bound;
    size_t size;
    struct block *newest;
    struct block *oldest;
    struct block *slots[SLOTS];
};

int
exi_mcache_new(struct exi_mcache **out, size_t bound)
{
    struct exi_mcache *c = calloc(1, sizeof *c);

    if (c == NULL) {
        return EXI_ENOMEM;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->bound = bound;
    *out = c;
    return EXI_OK;
}

void
exi_mcache_free(struct exi_mcache *c)
{
    struct block *b, *next;

    if (c == NULL) {
        return;
    }
    for (b = c->newest; b != NULL; b = next) {
        next = b->older;
        free(b);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Block hashes end in zeros, their first bytes are as good as random. */
static struct block **
slot_of(struct exi_mcache *c, const struct exi_blkid *hash)
{
    uint32_t h;

    memcpy(&h, hash->b, sizeof h);
    return &c->slots[h & (SLOTS - 1)];
}

static size_t
size_of(const struct block *b)
{
    return sizeof *b + (b->nlow + b->nhigh) * sizeof b->nodes[0];
}

static void
unlist(struct exi_mcache *c, struct block *b)
{
    *(b->newer ? &b->newer->older : &c->newest) = b->older;
    *(b->older ? &b->older->newer : &c->oldest) = b->newer;
}

static void
list(struct exi_mcache *c, struct block *b)
{
    b->newer = NULL;
    b->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = b;
    c->newest = b;
}

static struct block *
find(struct exi_mcache *c, const struct exi_blkid *hash)
{
    struct block *b = *slot_of(c, hash);

    while (b != NULL && memcmp(b->hash.b, hash->b, sizeof hash->b) != 0) {
        b = b->chain;
    }
    return b;
}

static void
forget_oldest(struct exi_mcache *c)
{
    struct block *b = c->oldest, **p = slot_of(c, &b->hash);

    while (*p != b) {
        p = &(*p)->chain;
    }
    *p = b->chain;
    unlist(c, b);
    c->size -= size_of(b);
    free(b);
}

/* Nodes of both levels, and how many of the lower are of our group. */
static size_t
copy_nodes(const struct block *b, size_t pos, struct exi_hash *low,
           struct exi_hash *high)
{
    size_t first = pos & ~(GROUP - 1);
    size_t n = b->nlow - first < GROUP ? b->nlow - first : GROUP;

    memcpy(low, b->nodes + first, n * sizeof *low);
    memcpy(high, b->nodes + b->nlow, b->nhigh * sizeof *high);
    return n;
}

static size_t
nodes_of_level(uint32_t ntx, unsigned level)
{
    return (((size_t) ntx - 1) >> level) + 1;
}

int
exi_mcache_branch(struct exi_mcache *c, const struct exi_arena *a,
                  const struct exi_blkid *block, uint32_t ntx, size_t pos,
                  struct exi_hash *branch, size_t *nbranch)
{
    size_t nlow = nodes_of_level(ntx, EXI_MCACHE_LOW), n = 0, nhigh = 0, in;
    struct exi_hash low[GROUP], root, *high;
    unsigned depth = exi_merkle_depth(nlow), done;
    struct block *b;

    high =
        a->alloc(a->ctx, nodes_of_level(ntx, EXI_MCACHE_HIGH) * sizeof *high);
    if (high == NULL) {
        return EXI_ENOMEM;
    }
    pthread_mutex_lock(&c->lock);
    b = find(c, block);
    if (b != NULL && b->nlow == nlow) {
        n = copy_nodes(b, pos, low, high);
        nhigh = b->nhigh;
        unlist(c, b);
        list(c, b);
    }
    pthread_mutex_unlock(&c->lock);
    if (n == 0) {
        return EXI_ENOTFOUND;
    }
    done = depth < EXI_MCACHE_HIGH - EXI_MCACHE_LOW
               ? depth
               : EXI_MCACHE_HIGH - EXI_MCACHE_LOW;
    in = pos & (GROUP - 1);
    exi_merkle_up(low, &n, &in, done, branch);
    *nbranch = done;
    if (nhigh > 1) {
        int rc = exi_merkle(&root, branch + done, &n, high, nhigh,
                            pos >> (EXI_MCACHE_HIGH - EXI_MCACHE_LOW));

        *nbranch += n;
        return rc;
    }
    return EXI_OK;
}

void
exi_mcache_add(struct exi_mcache *c, const struct exi_blkid *block,
               uint32_t ntx, struct exi_hash *nodes)
{
    size_t nlow = nodes_of_level(ntx, EXI_MCACHE_LOW), pos = 0, n = nlow;
    size_t nhigh = nlow > GROUP ? nodes_of_level(ntx, EXI_MCACHE_HIGH) : 0;
    struct block *b = malloc(sizeof *b + (nlow + nhigh) * sizeof *nodes);

    if (b == NULL
        || size_of(&(struct block){ .nlow = nlow, .nhigh = nhigh })
               > c->bound) {
        free(b);
        return;
    }
    b->hash = *block;
    b->nlow = nlow;
    b->nhigh = nhigh;
    memcpy(b->nodes, nodes, nlow * sizeof *nodes);
    if (nhigh > 0) {
        exi_merkle_up(nodes, &n, &pos, EXI_MCACHE_HIGH - EXI_MCACHE_LOW, NULL);
        memcpy(b->nodes + nlow, nodes, nhigh * sizeof *nodes);
    }
    pthread_mutex_lock(&c->lock);
    if (find(c, block) != NULL) {
        free(b);
    } else {
        b->chain = *slot_of(c, block);
        *slot_of(c, block) = b;
        list(c, b);
        c->size += size_of(b);
        while (c->size > c->bound) {
            forget_oldest(c);
        }
    }
    pthread_mutex_unlock(&c->lock);
}
