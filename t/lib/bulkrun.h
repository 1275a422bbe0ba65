/*
 * Bulk sync of a model's chain, for tests and with blocks from memory.
 * Include after settlecheck.h.
 */
#ifndef BULKRUN_H
#define BULKRUN_H

#include <pthread.h>

#include "bulk.h"

#define BR_UNUSED __attribute__((unused))

/* Blocks number next ... to - 1 of a model; fail_at fails once, with error. */
struct br_source {
    const struct cm *m;
    pthread_mutex_t lock;
    uint32_t next, to;
    uint32_t fail_at; /* 0: none */
    int error;
    /* This block is replaced; NULL: none is. */
    const uint8_t *raw;
    size_t rawlen;
    uint32_t bad;
    bool mend;
};

static int
br_next(void *ctx, struct source_block *b)
{
    struct br_source *s = ctx;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    if (s->fail_at != 0 && s->next == s->fail_at) {
        s->fail_at = 0;
        rc = s->error;
    } else if (s->next < s->to) {
        const struct cm_block *k = &s->m->blocks[s->next];

        b->height = s->next;
        b->hash = k->hash;
        b->raw = s->raw != NULL && s->bad == s->next ? s->raw : k->raw;
        b->rawlen = s->raw != NULL && s->bad == s->next ? s->rawlen : k->rawlen;
        if (s->raw != NULL && s->bad == s->next && b->rawlen >= 80) {
            exi_sha256d(b->hash.b, b->raw, 80);
        }
        s->next++;
        rc = 1;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void
br_give_back(void *ctx, struct source_block *b)
{
    (void) ctx;
    (void) b;
}

/* The right bytes instead of replaced ones, if `mend` is set. */
static int
br_reject(void *ctx, struct source_block *b)
{
    struct br_source *s = ctx;

    if (!s->mend) {
        return EXI_ENODE;
    }
    b->raw = s->m->blocks[b->height].raw;
    b->rawlen = s->m->blocks[b->height].rawlen;
    b->hash = s->m->blocks[b->height].hash;
    return EXI_OK;
}

/* Reads the blocks that are missing up to `to`. */
BR_UNUSED static int
br_read(struct bulk *b, struct br_source *s, uint32_t to)
{
    struct bulk_source src = { br_next, br_give_back, br_reject, s };

    s->next = bulk_blocks(b, NULL);
    s->to = to + 1;
    pthread_mutex_init(&s->lock, NULL);
    return bulk_read(b, &src, to);
}

/* All of it: blocks 0 ... to of the model. */
BR_UNUSED static int
br_sync(struct settle *s, const struct cm *m, uint32_t to,
        const struct bulk_opts *o, char *why, size_t whylen)
{
    struct br_source src = { .m = m };
    struct bulk *b = NULL;
    int rc = bulk_open(&b, s, o);

    if (rc == EXI_OK && bulk_reading(b)) {
        rc = br_read(b, &src, to);
    }
    if (rc == EXI_OK) {
        rc = bulk_finish(b, why, whylen);
    }
    bulk_close(b);
    return rc;
}

#endif /* BULKRUN_H */
