/*
 * The first blocks of a new live environment, many at once: the window, while
 * nobody is served from it.  The same rows as live_connect() makes.
 */
#ifndef LIVE_LOAD_H
#define LIVE_LOAD_H

#include "lib/exi_past.h"
#include "live.h"
#include "source.h"

struct live_load_opts {
    uint32_t blocks;  /* how many next() gives, from the tip on */
    size_t bytes;     /* of blocks worked on at once, about; memory is 4 times
                         as much */
    unsigned threads; /* beside the caller's, 1 ... LIVE_LOAD_THREADS */
    void *ctx;
    /* As source_next(), source_give_back() and source_reject(); called by all
     * threads. */
    int (*next)(void *ctx, struct source_block *b);
    void (*give_back)(void *ctx, struct source_block *b);
    int (*reject)(void *ctx, struct source_block *b);
    /* As exi_past_prevouts(); thread: 0 ... threads - 1, each of them one call
     * at a time. */
    int (*prevouts)(void *ctx, unsigned thread, struct exi_past_out *v,
                    size_t n);
    /* Called some times a second in the caller's thread: makes next() fail
     * soon if it is time to stop. */
    void (*tick)(void *ctx);
};

#define LIVE_LOAD_THREADS 8

/*
 * Connects o->blocks blocks on the tip of an environment that is new, empty and
 * not served.  Commits several times; after an error the environment is of no
 * use (live_close).  EXI_EAPI: it is not empty, is being changed or served, or
 * a block does not link; EXI_EFORMAT: malformed, or an input's output is
 * unknown or spent; else as next() and live_commit().  Main thread.
 */
int live_load(struct live *l, const struct live_load_opts *o) EXI_MUST_CHECK;

#endif /* LIVE_LOAD_H */
