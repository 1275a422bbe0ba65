/*
 * Initial sync of an empty index: asks the node for the hashes of all blocks
 * that are to be settled, starts a source for them and lets the bulk sync do
 * the rest.  What it does not finish goes on at the next call.
 */
#include "initial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bulk.h"
#include "log.h"
#include "progress.h"
#include "source.h"

/* A chain that is shorter is settled block by block in a few seconds. */
#define LEAST_BLOCKS 2000
#define LEAST_TXS    200000

#define MB         ((size_t) 1 << 20)
#define OWN_MEMORY (48 * MB) /* program, libraries, LevelDB */
#define CHECKPOINT 60000     /* ms */

struct run {
    struct sync *s;
    struct source *source;
    uint32_t to;
    uint64_t expected_txs;
    enum bulk_phase phase;
    uint64_t start_ms; /* of the phase */
    uint64_t start_txs;
    uint64_t start_bytes;
    double start_done;
};

/* Transactions of the node's chain, about. */
static uint64_t
expected_txs(struct sync *s)
{
    json_t *r = NULL;
    uint64_t n = 0;

    if (rpc_call(s->rpc, "getchaintxstats", json_array(), &r) == EXI_OK) {
        n = (uint64_t) json_integer_value(json_object_get(r, "txcount"));
        json_decref(r);
    }
    return n;
}

/*
 * Progress.
 */

static void
tell(struct run *r, const struct bulk_progress *b)
{
    static const char *const names[] = { "reading blocks (1 of 4)",
                                         "joining (2 of 4)",
                                         "indexing transactions (3 of 4)",
                                         "indexing scripts (4 of 4)",
                                         "linking (4 of 4)" };
    double sec = (double) (sync_now_ms() - r->start_ms + 1) / 1000;
    double rate = (b->done - r->start_done) / sec;
    struct progress p = { .phase = names[b->phase],
                          .done = b->done,
                          .total = b->total,
                          .height = b->height,
                          .target = r->to,
                          .block_time = b->time,
                          .tx_count = b->txs,
                          .bytes_per_s = rate,
                          .eta_s = -1 };

    if (b->phase == BULK_READ) {
        /* Blocks differ in size: time left goes by transactions. */
        p.bytes_per_s = (double) (b->bytes - r->start_bytes) / sec;
        rate = (double) (b->txs - r->start_txs) / sec;
        p.tx_per_s = (uint64_t) rate;
        if (rate > 0 && r->expected_txs > b->txs) {
            p.eta_s = (int64_t) ((double) (r->expected_txs - b->txs) / rate);
        }
    } else if (rate > 0) {
        p.eta_s = (int64_t) ((b->total - b->done) / rate);
    }
    progress_tell(&r->s->status, &p);
}

static int
progress(void *ctx, const struct bulk_progress *p)
{
    struct run *r = ctx;

    if (*r->s->stop) {
        if (r->source != NULL) {
            source_cancel(r->source);
        }
        return 1;
    }
    if (p->phase != r->phase || r->start_ms == 0) {
        r->phase = p->phase;
        r->start_ms = sync_now_ms();
        r->start_txs = p->txs;
        r->start_bytes = p->bytes;
        r->start_done = p->done;
    }
    tell(r, p);
    return 0;
}

/*
 * Source.
 */

static int
next_block(void *ctx, struct source_block *b)
{
    struct run *r = ctx;

    return source_next(r->source, b);
}

static void
give_back(void *ctx, struct source_block *b)
{
    struct run *r = ctx;

    source_give_back(r->source, b);
}

static int
reject(void *ctx, struct source_block *b)
{
    struct run *r = ctx;

    return source_reject(r->source, b);
}

enum source_kind
initial_source_kind(const char *name)
{
    static const char *const names[] = { "auto", "files", "rest", "rpc" };

    for (int i = 1; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum source_kind) i;
        }
    }
    return SOURCE_AUTO;
}

size_t
initial_source_memory(const struct sync *s)
{
    size_t n = (size_t) s->conf->memory_mb * MB / 8;

    return n < 24 * MB ? 24 * MB : n > 192 * MB ? 192 * MB : n;
}

static int
start_source(struct run *r, uint32_t from, const struct exi_blkid *hashes)
{
    static const char *const names[] = { "", "block files", "REST", "RPC" };
    const struct conf *conf = r->s->conf;
    struct source_opts o = { .rpc = &r->s->rpc_opts,
                             .blocks_dir = conf->blocks_dir,
                             .magic = r->s->coin->magic,
                             .kind = initial_source_kind(conf->block_source),
                             .memory = initial_source_memory(r->s) };
    char why[512] = "";
    int rc = source_start(&r->source, &o, from, hashes,
                          (size_t) r->to - from + 1, why, sizeof(why));

    if (rc != EXI_OK) {
        log_error("source", "%s", why);
        return rc;
    }
    log_info("sync", "initial sync of blocks %u to %u from %s", from, r->to,
             names[source_kind(r->source)]);
    return EXI_OK;
}

/* Hashes of blocks from ... r->to: the caller frees them. */
static int
ask_all_hashes(struct run *r, uint32_t from, struct exi_blkid **out)
{
    size_t n = (size_t) r->to - from + 1, got = 0;
    struct exi_blkid *h = malloc(n * sizeof(*h));
    int rc = h == NULL ? EXI_ENOMEM : EXI_OK;

    while (rc == EXI_OK && got < n && !*r->s->stop) {
        uint32_t some =
            n - got < INITIAL_HASHES ? (uint32_t) (n - got) : INITIAL_HASHES;
        uint32_t want = some;

        log_progress("asking for block hashes", (double) got, (double) n, "");
        rc = initial_hashes(r->s, from + (uint32_t) got, &some, h + got);
        got += some;
        if (rc == EXI_OK && some < want) {
            rc = EXI_ESTALE;
        }
    }
    if (rc != EXI_OK || *r->s->stop) {
        free(h);
        return rc == EXI_OK ? EXI_ESTALE : rc;
    }
    *out = h;
    return EXI_OK;
}

static void
say_failure(struct run *r, int rc)
{
    char why[512] = "";

    source_why(r->source, why, sizeof(why));
    log_warn("sync", "reading blocks: %s", *why ? why : exi_strerror(rc));
}

/* Reads the blocks that are missing. */
static int
read_blocks(struct run *r, struct bulk *b)
{
    struct bulk_source src = { next_block, give_back, reject, r };
    struct exi_blkid *hashes = NULL;
    uint32_t from = bulk_blocks(b, NULL);
    int rc;

    if (from > r->to) {
        return EXI_OK;
    }
    rc = ask_all_hashes(r, from, &hashes);
    if (rc == EXI_OK) {
        rc = start_source(r, from, hashes);
        free(hashes);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    rc = bulk_read(b, &src, r->to);
    if (rc < 0) {
        say_failure(r, rc);
    }
    source_stop(r->source);
    r->source = NULL;
    return rc;
}

/*
 * All of it.
 */

/* Is what was read before part of the node's chain?  EXI_ESTALE: no. */
static int
check_tip(struct sync *s, const struct bulk *b)
{
    struct exi_blkid tip, at;
    uint32_t n = bulk_blocks(b, &tip);
    int rc;

    if (n == 0) {
        return EXI_OK;
    }
    rc = rpc_hash_at(s->rpc, n - 1, &at);
    if (rc == EXI_ENOTFOUND) {
        return EXI_ESTALE;
    }
    if (rc == EXI_OK && memcmp(&at, &tip, sizeof(at)) != 0) {
        rc = EXI_ESTALE;
    }
    return rc;
}

static int
open_bulk(struct run *r, struct bulk **b)
{
    size_t memory = (size_t) r->s->conf->memory_mb * MB - OWN_MEMORY
                    - initial_source_memory(r->s);
    struct bulk_opts o = { .memory = memory,
                           .expected_txs = r->expected_txs,
                           .checkpoint_ms = CHECKPOINT,
                           .progress = progress,
                           .ctx = r };
    int rc = bulk_open(b, r->s->settle, &o);

    if (rc == EXI_OK && (rc = check_tip(r->s, *b)) == EXI_ESTALE) {
        log_warn("sync", "unfinished initial sync is of another chain: "
                         "removed");
        bulk_close(*b);
        *b = NULL;
        rc = bulk_drop(r->s->settle);
        if (rc == EXI_OK) {
            rc = bulk_open(b, r->s->settle, &o);
        }
    }
    return rc;
}

static void
say_done(const struct bulk *b, uint64_t start_ms)
{
    static const char *const names[] = { "reading", "joining", "transactions",
                                         "scripts", "linking" };
    struct bulk_stats st;

    bulk_stats(b, &st);
    for (int i = 0; i < BULK_PHASES; i++) {
        log_debug("sync", "%s: %.2f s, %.2f s of CPU", names[i], st.wall_s[i],
                  st.cpu_s[i]);
    }
    log_info("sync",
             "initial sync done in %.1f s, temporary files took %.1f "
             "MB",
             (double) (sync_now_ms() - start_ms) / 1000,
             (double) st.temp_bytes / 1e6);
}

bool
initial_bulk_wanted(struct sync *s, uint32_t to)
{
    if (settle_any(s->settle) || settle_batch_blocks(s->settle) != 0) {
        return false;
    }
    return bulk_exists(s->settle) || to >= LEAST_BLOCKS
           || expected_txs(s) >= LEAST_TXS;
}

int
initial_bulk(struct sync *s, uint32_t to)
{
    struct run r = { .s = s, .to = to, .expected_txs = expected_txs(s) };
    uint64_t start_ms = sync_now_ms();
    struct bulk *b = NULL;
    char why[512] = "";
    int rc = open_bulk(&r, &b);

    if (rc == EXI_OK && bulk_reading(b)) {
        rc = read_blocks(&r, b);
    }
    if (rc == EXI_OK && !*s->stop) {
        rc = bulk_finish(b, why, sizeof(why));
        if (rc < 0) {
            log_error("sync", "initial sync: %s", why);
        }
    }
    log_progress_end();
    if (rc == EXI_OK && settle_any(s->settle)) {
        say_done(b, start_ms);
        s->status.settled = settle_meta(s->settle)->height;
        s->status.tx_count = settle_meta(s->settle)->tx_count;
    }
    bulk_close(b);
    if (rc == EXI_EFORMAT && bulk_drop(s->settle) != EXI_OK) {
        return EXI_EIO;
    }
    s->status.rate = 0;
    return rc > 0 ? EXI_OK : rc;
}
