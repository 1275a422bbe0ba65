/*
 * The tip: connects and disconnects blocks in the live layer, and trims the
 * live rows that no reader needs any more.
 *
 * A block that extends the tip is one commit.  A reorganisation is one commit
 * with all its disconnects and connects, so that readers see the old chain or
 * the new one.
 */
#include "sync.h"

#include <string.h>

#include "chain.h"
#include "lib/exi_hex.h"
#include "lib/exi_sha256.h"
#include "log.h"

/* Blocks connected without settling first, beyond the window. */
#define AHEAD_MAX        500
#define TRIM_BLOCKS      10
#define TRIM_DEADLINE_MS 30000

static int
our_hash(void *ctx, uint32_t height, struct exi_blkid *out)
{
    struct sync *s = ctx;
    const struct exi_live_state *st = live_state(s->live);
    const struct exi_live_gen *last = &st->gens[st->ngens - 1];

    if (height == last->height) {
        *out = last->block;
        return EXI_OK;
    }
    return live_block_hash(s->live, height, out);
}

static int
node_parent(void *ctx, const struct exi_blkid *hash, struct exi_blkid *prev,
            uint32_t *height)
{
    struct sync *s = ctx;
    bool active;

    return rpc_header(s->rpc, hash, prev, height, &active);
}

static int
make_plan(struct sync *s, struct chain_plan *p)
{
    const struct exi_live_state *st = live_state(s->live);
    struct chain_io io = { our_hash, node_parent, s };
    struct exi_blkid best;
    int rc = rpc_best(s->rpc, &best);

    if (rc != EXI_OK) {
        return rc;
    }
    return chain_plan(p, &io, st->tip_height, &st->tip, &best, follow_floor(s),
                      (uint32_t) s->conf->live_window + AHEAD_MAX);
}

static void
say_block(struct sync *s, uint32_t before)
{
    const struct exi_live_state *st = live_state(s->live);
    char hex[65];

    exi_hex_display(hex, st->tip.b);
    hex[64] = '\0';
    if (st->tip_height != before) {
        log_info("follow", "block %u %s, mempool %u", st->tip_height, hex,
                 st->mempool_count);
    }
}

/* Connects plan's block i, which is in s->block. */
static int
connect_one(struct sync *s, const struct chain_plan *p, uint32_t i)
{
    return live_connect(s->live, p->fork + 1 + i, &p->connect[i], s->block.data,
                        s->block.len);
}

/* The blocks that extend the tip, each a commit of its own. */
static int
extend(struct sync *s, const struct chain_plan *p, bool served)
{
    uint32_t before = live_state(s->live)->tip_height;
    int rc = EXI_OK;

    for (uint32_t i = 0; i < p->nconnect && !*s->stop; i++) {
        rc = sync_fetch(s, &p->connect[i]);
        if (rc == EXI_OK) {
            rc = live_begin(s->live);
        }
        if (rc != EXI_OK) {
            return rc;
        }
        rc = connect_one(s, p, i);
        if (rc == EXI_OK) {
            rc = live_commit(s->live, EXI_CHANGE_BLOCK);
        } else {
            live_abort(s->live);
        }
        if (rc != EXI_OK) {
            return rc;
        }
        s->mempool_dirty |= !mempool_fed(s);
        s->facts_ms = 0;
        if (served) {
            bell_flush(s->bell);
            sync_ring(s);
        }
    }
    if (served) {
        say_block(s, before);
    }
    return rc;
}

static int
reorg_steps(struct sync *s, const struct chain_plan *p)
{
    int rc = EXI_OK;

    while (rc == EXI_OK && live_state(s->live)->tip_height > p->fork) {
        rc = live_disconnect(s->live);
    }
    /* fetched one by one in here: 200 large blocks would not fit in memory;
     * should the node fail, the transaction is dropped */
    for (uint32_t i = 0; rc == EXI_OK && i < p->nconnect; i++) {
        rc = sync_fetch(s, &p->connect[i]);
        if (rc == EXI_OK) {
            rc = connect_one(s, p, i);
        }
    }
    return rc;
}

/* Disconnects and connects in one commit. */
static int
reorganise(struct sync *s, const struct chain_plan *p, bool served)
{
    uint32_t old = live_state(s->live)->tip_height;
    int rc = live_begin(s->live);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = reorg_steps(s, p);
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_REORG);
    } else {
        live_abort(s->live);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    log_info("follow",
             "reorganisation: %u blocks undone above height %u, %u "
             "connected",
             old - p->fork, p->fork, p->nconnect);
    s->mempool_dirty = true;
    if (served) {
        bell_flush(s->bell);
        sync_ring(s);
        say_block(s, old);
    }
    return EXI_OK;
}

int
follow_tip(struct sync *s, bool served)
{
    struct chain_plan p;
    int rc = make_plan(s, &p);

    if (rc != EXI_OK) {
        return rc;
    }
    s->looked_ms = sync_now_ms();
    s->status.target = p.fork + p.nconnect;
    if (p.fork < live_state(s->live)->tip_height) {
        rc = reorganise(s, &p, served);
    } else {
        rc = extend(s, &p, served);
    }
    chain_plan_free(&p);
    return rc;
}

/* Does a reader still hold one of the generations before the last listed? */
static bool
old_in_use(struct sync *s)
{
    const struct exi_live_state *st = live_state(s->live);

    for (uint32_t i = 0; i + 1 < st->ngens; i++) {
        if (settle_leased(s->settle, st->gens[i].number)) {
            return true;
        }
    }
    return false;
}

/* One commit: list only the newest generation, drop some rows below it. */
static int
trim_some(struct sync *s, bool *done)
{
    struct exi_live_gen last;
    int rc = live_begin(s->live);

    if (rc != EXI_OK) {
        return rc;
    }
    last = live_state(s->live)->gens[live_state(s->live)->ngens - 1];
    rc = live_generations(s->live, &last, 1);
    if (rc == EXI_OK) {
        rc = live_trim(s->live, last.height + 1, TRIM_BLOCKS, done);
    }
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_SETTLED);
    } else {
        live_abort(s->live);
    }
    return rc;
}

int
follow_trim(struct sync *s)
{
    const struct exi_live_state *st = live_state(s->live);
    const struct exi_live_gen *last = &st->gens[st->ngens - 1];
    bool done = false;
    int rc;

    live_reap(s->live);
    if (st->ngens == 1 && st->live_floor == last->height + 1) {
        return EXI_OK;
    }
    if (old_in_use(s) && sync_now_ms() - s->published_ms < TRIM_DEADLINE_MS) {
        return EXI_OK;
    }
    rc = trim_some(s, &done);
    if (rc == EXI_OK && done) {
        s->prune_due = true;
        sync_ring(s);
    }
    return rc;
}
