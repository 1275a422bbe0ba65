/*
 * Initial sync, and catching up after a long stop: settles all blocks deeper
 * than the live window.  An empty index of a long chain is made at once
 * (initial_bulk.c); else blocks are settled in batches bounded by memory, and
 * generations are published on the way.  Resumable at any kill: a batch is
 * durable or it never was.
 */
#include "initial.h"

#include <stdio.h>
#include <string.h>

#include "lib/exi_bytes.h"
#include "lib/exi_hex.h"
#include "log.h"
#include "progress.h"

int
initial_hashes(struct sync *s, uint32_t from, uint32_t *n,
               struct exi_blkid *out)
{
    json_t *params[INITIAL_HASHES], *results[INITIAL_HASHES];
    const char *hex;
    uint32_t got = 0;
    bool stop = false;
    int rc;

    for (uint32_t i = 0; i < *n; i++) {
        params[i] = json_pack("[I]", (json_int_t) from + i);
    }
    rc = rpc_batch(s->rpc, "getblockhash", params, *n, results);
    if (rc != EXI_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < *n; i++) {
        hex = json_string_value(results[i]);
        if (!stop && hex != NULL
            && exi_unhex_display(out[got].b, hex, strlen(hex)) == EXI_OK) {
            got++;
        } else {
            stop = true;
        }
        json_decref(results[i]);
    }
    *n = got;
    return EXI_OK;
}

/* Where it began. */
struct begin {
    uint64_t start_ms;
    uint64_t start_txs;
    uint64_t bytes;
    uint64_t last_ms;
    uint32_t start_height;
};

static void
show_progress(struct sync *s, struct begin *b, uint32_t height, uint32_t target)
{
    uint64_t now = sync_now_ms(), ms = now - b->start_ms + 1;
    const struct exi_meta *m = settle_meta(s->settle);
    struct progress p = { .phase = "settling blocks",
                          .done = height,
                          .total = target,
                          .height = height,
                          .target = target };

    if (now - b->last_ms < 200 && height != target) {
        return;
    }
    b->last_ms = now;
    p.tx_count = settle_any(s->settle) ? m->tx_count : 0;
    p.block_time = exi_le32(s->block.data + 68);
    p.tx_per_s = (p.tx_count - b->start_txs) * 1000 / ms;
    p.bytes_per_s = (double) b->bytes * 1000 / (double) ms;
    p.eta_s = (int64_t) ((uint64_t) (target - height) * ms / 1000
                         / (height - b->start_height + 1));
    progress_tell(&s->status, &p);
}

static int
commit_batch(struct sync *s)
{
    int rc;

    if (settle_batch_blocks(s->settle) == 0) {
        return EXI_OK;
    }
    rc = settle_commit(s->settle);
    if (rc == EXI_OK) {
        s->status.settled = settle_meta(s->settle)->height;
        s->status.tx_count = settle_meta(s->settle)->tx_count;
    }
    return rc;
}

/* Generations worth having on the way: near tip - 5,000 and tip - 1,000. */
static bool
publish_here(uint32_t height, uint32_t before, uint32_t tip)
{
    return (tip > 5000 && before < tip - 5000 && height >= tip - 5000)
           || (tip > 1000 && before < tip - 1000 && height >= tip - 1000);
}

/* Commits when the batch is large, publishes at the milestones. */
static int
maybe_commit(struct sync *s, uint32_t tip)
{
    size_t most = (size_t) s->conf->memory_mb * (1 << 20) / 8;
    uint32_t before =
        settle_any(s->settle) ? settle_meta(s->settle)->height : 0;
    struct exi_live_gen gen;
    int rc;

    if (settle_batch_bytes(s->settle) < most) {
        return EXI_OK;
    }
    rc = commit_batch(s);
    if (rc == EXI_OK
        && publish_here(settle_meta(s->settle)->height, before, tip)) {
        rc = settle_publish(s->settle, &gen);
    }
    return rc;
}

static int
sync_range(struct sync *s, uint32_t from, uint32_t to, uint32_t tip,
           struct begin *p)
{
    struct exi_blkid hashes[INITIAL_HASHES];
    uint32_t n =
        to - from + 1 < INITIAL_HASHES ? to - from + 1 : INITIAL_HASHES;
    int rc = initial_hashes(s, from, &n, hashes);

    for (uint32_t i = 0; i < n && rc == EXI_OK && !*s->stop; i++) {
        rc = sync_fetch(s, &hashes[i]);
        if (rc == EXI_OK) {
            rc = settle_add(s->settle, from + i, s->block.data, s->block.len);
        }
        if (rc == EXI_OK) {
            rc = maybe_commit(s, tip);
            p->bytes += s->block.len;
            show_progress(s, p, from + i, to);
        }
    }
    return rc == EXI_OK && n == 0 ? EXI_ESTALE : rc;
}

/* Height up to which blocks are settled with the node's tip at `tip`. */
static uint32_t
settle_target(const struct sync *s, uint32_t tip)
{
    return tip > (uint32_t) s->conf->live_window
               ? tip - (uint32_t) s->conf->live_window
               : 0;
}

int
initial_sync(struct sync *s)
{
    struct begin p;
    struct rpc_chain c;
    struct exi_live_gen gen;
    uint32_t next, to;
    int rc;

    memset(&p, 0, sizeof(p));
    p.start_ms = sync_now_ms();
    if (settle_any(s->settle)) {
        p.start_txs = settle_meta(s->settle)->tx_count;
        p.start_height = settle_meta(s->settle)->height;
    }
    for (;;) {
        rc = rpc_chain(s->rpc, &c);
        if (rc != EXI_OK || *s->stop) {
            return rc;
        }
        next = settle_any(s->settle) ? settle_meta(s->settle)->height + 1 : 0;
        next += settle_batch_blocks(s->settle);
        to = settle_target(s, c.blocks);
        if (next > to) {
            break;
        }
        s->status.target = c.blocks;
        rc = initial_bulk_wanted(s, to) ? initial_bulk(s, to)
                                        : sync_range(s, next, to, c.blocks, &p);
        if (rc != EXI_OK) {
            return rc;
        }
    }
    log_progress_end();
    rc = commit_batch(s);
    s->status.rate = 0;
    return rc == EXI_OK ? settle_publish(s->settle, &gen) : rc;
}
