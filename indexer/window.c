/*
 * The blocks of the window into a new live environment, at once: read ahead
 * from where the initial sync has its blocks, by threads (live_load.h).
 *
 * It is a quick way to do what follow_tip() does; what is not for it (few
 * blocks, a fork, a node far ahead) is left to that.
 */
#include "window.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "initial.h"
#include "lib/exi_coin.h"
#include "live_load.h"
#include "log.h"

#define LEAST_BLOCKS 4
#define MB           ((size_t) 1 << 20)
#define FILE_BYTES   (128 * MB) /* of a block file */
#define BLOCK_BYTES  (4 * MB)
#define THREADS      4

struct window {
    struct sync *s;
    struct source *source;
    struct exi_past *past[THREADS];
    unsigned threads;
    struct exi_blkid *hashes; /* of the tip and the n blocks above it */
    uint32_t n;
};

/*
 * What live_load() asks for.
 */

static int
next(void *ctx, struct source_block *b)
{
    struct window *w = ctx;

    return source_next(w->source, b);
}

static void
give_back(void *ctx, struct source_block *b)
{
    struct window *w = ctx;

    source_give_back(w->source, b);
}

static int
reject(void *ctx, struct source_block *b)
{
    struct window *w = ctx;

    return source_reject(w->source, b);
}

static int
prevouts(void *ctx, unsigned thread, struct exi_past_out *v, size_t n)
{
    struct window *w = ctx;

    return exi_past_prevouts(w->past[thread], v, n);
}

static void
tick(void *ctx)
{
    struct window *w = ctx;

    if (*w->s->stop) {
        source_cancel(w->source);
    }
}

/*
 * Preparing.
 */

/* Number of the newest of the node's block files, or 0. */
static uint32_t
newest_file(const char *dir)
{
    DIR *d = dir != NULL ? opendir(dir) : NULL;
    const struct dirent *e;
    uint32_t newest = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        unsigned n;
        if (sscanf(e->d_name, "blk%9u.dat", &n) == 1 && n > newest) {
            newest = n;
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return newest;
}

/* The node writes files one after the other, so the window is in the last
 * ones; a block that is not comes from the node. */
static uint32_t
first_file(const struct window *w)
{
    uint32_t newest = newest_file(w->s->conf->blocks_dir);
    uint32_t files = (uint32_t) (w->n * BLOCK_BYTES / FILE_BYTES) + 4;

    return newest > files ? newest - files : 0;
}

/*
 * How many blocks there are above our tip, and their hashes.  w->n is 0: they
 * are not to be loaded this way.
 */
static int
ask_hashes(struct window *w)
{
    const struct exi_live_state *st = live_state(w->s->live);
    struct rpc_chain c;
    uint32_t got = 0, all;
    int rc = rpc_chain(w->s->rpc, &c);

    if (rc != EXI_OK || c.blocks < st->tip_height + LEAST_BLOCKS
        || c.blocks - st->tip_height
               > (uint32_t) w->s->conf->live_window + WINDOW_AHEAD) {
        return rc;
    }
    all = c.blocks - st->tip_height + 1;
    w->hashes = malloc(all * sizeof(*w->hashes));
    if (w->hashes == NULL) {
        return EXI_ENOMEM;
    }
    while (got < all) {
        uint32_t some = all - got < INITIAL_HASHES ? all - got : INITIAL_HASHES;

        rc = initial_hashes(w->s, st->tip_height + got, &some, w->hashes + got);
        if (rc != EXI_OK) {
            return rc;
        }
        if (some == 0) {
            return EXI_OK; /* the chain became shorter */
        }
        got += some;
    }
    if (memcmp(w->hashes, &st->tip, sizeof(*w->hashes)) == 0) {
        w->n = all - 1;
    }
    return EXI_OK;
}

static int
open_source(struct window *w)
{
    const struct conf *conf = w->s->conf;
    enum source_kind kind = initial_source_kind(conf->block_source);
    struct source_opts o = { .rpc = &w->s->rpc_opts,
                             .blocks_dir = conf->blocks_dir,
                             .magic = w->s->coin->magic,
                             .kind = kind == SOURCE_FILES ? SOURCE_AUTO : kind,
                             .memory = initial_source_memory(w->s),
                             .first_file = first_file(w) };
    uint32_t from = live_state(w->s->live)->tip_height + 1;
    char why[512] = "";
    int rc = source_start(&w->source, &o, from, w->hashes + 1, w->n, why,
                          sizeof(why));

    if (rc != EXI_OK) {
        log_error("source", "%s", why);
    }
    return rc;
}

/* As many threads as processors, each with a handle of its own. */
static int
open_past(struct window *w)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    int rc = EXI_OK;

    n = n < 1 ? 1 : n > THREADS ? THREADS : n;
    while (rc == EXI_OK && w->threads < (unsigned) n) {
        rc = exi_past_twin(&w->past[w->threads], w->s->past);
        w->threads += rc == EXI_OK;
    }
    return rc;
}

/*
 * All of it.
 */

static int
load(struct window *w)
{
    struct live_load_opts o = { .blocks = w->n,
                                .bytes =
                                    (size_t) w->s->conf->memory_mb * MB / 16,
                                .threads = w->threads,
                                .ctx = w,
                                .next = next,
                                .give_back = give_back,
                                .reject = reject,
                                .prevouts = prevouts,
                                .tick = tick };
    uint64_t start_ms = sync_now_ms();
    char why[512] = "";
    int rc;

    o.bytes = o.bytes < 128 * MB ? o.bytes : 128 * MB;
    rc = live_load(w->s->live, &o);
    if (rc == EXI_OK) {
        log_debug("sync", "%u recent blocks: %.2f s", w->n,
                  (double) (sync_now_ms() - start_ms) / 1000);
    } else if (!*w->s->stop) {
        source_why(w->source, why, sizeof(why));
        log_warn("sync", "reading recent blocks: %s",
                 *why ? why : exi_strerror(rc));
    }
    return rc;
}

int
window_load(struct sync *s)
{
    struct window w = { .s = s };
    int rc;

    /* Canonical order and tokens are follow_tip()'s alone. */
    if (exi_coin_flags(s->conf->network) != 0) {
        return EXI_OK;
    }
    rc = ask_hashes(&w);
    if (rc == EXI_OK && w.n > 0) {
        rc = open_source(&w);
        if (rc == EXI_OK) {
            rc = open_past(&w);
        }
        if (rc == EXI_OK) {
            rc = load(&w);
        }
    }
    source_stop(w.source);
    for (unsigned i = 0; i < w.threads; i++) {
        exi_past_close(w.past[i]);
    }
    free(w.hashes);
    return rc;
}
