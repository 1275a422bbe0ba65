/*
 * Settling beside the tip: what is deep enough is given to the settle thread
 * (settler.h), what it has published is put on the list of the live layer.
 *
 * The live layer looks settled outputs up in the newest listed generation.
 * That is right whatever the settle thread has made durable since: all blocks
 * above that generation are live (rule 2: live_floor is not above its height
 * + 1), so an output made there is found in live rows, one made at or below
 * it is unspent in it exactly when no settled block up to there spends it, and
 * spends above it are `spend` rows.
 */
#include "sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* Blocks given at once at most: a job's memory and time are bounded. */
#define JOB_BLOCKS    500
#define DISK_AGAIN_MS 10000
#define NODE_AGAIN_MS 1000

uint32_t
follow_floor(const struct sync *s)
{
    return s->settling_to > s->settled.height ? s->settling_to
                                              : s->settled.height;
}

bool
follow_quiet(struct sync *s)
{
    s->settling_to = 0;
    s->settle_again_ms = 0;
    s->settle_says[0] = '\0';
    return settler_quiet(s->settler, s->wake_fd) && !*s->stop;
}

static const struct exi_live_gen *
newest(const struct sync *s)
{
    const struct exi_live_state *st = live_state(s->live);

    return &st->gens[st->ngens - 1];
}

/* Puts a new generation on the list; when it is full, in place of the oldest
 * but one, so that readers of the lowest rows keep theirs. */
static int
list_generation(struct sync *s, const struct exi_live_gen *gen)
{
    const struct exi_live_state *st = live_state(s->live);
    struct exi_live_gen list[EXI_LIVE_GENS_MAX];
    uint32_t n = st->ngens;
    int rc;

    memcpy(list, st->gens, n * sizeof(list[0]));
    if (n == EXI_LIVE_GENS_MAX) {
        memmove(list + 1, list + 2, (n - 2) * sizeof(list[0]));
        n--;
    }
    list[n++] = *gen;
    rc = live_begin(s->live);
    if (rc != EXI_OK) {
        return rc;
    }
    rc = live_generations(s->live, list, n);
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_SETTLED);
    } else {
        live_abort(s->live);
    }
    return rc;
}

/* Lists the new generation and looks up in it from now on. */
static int
take_generation(struct sync *s, const struct settler_result *r)
{
    int rc = list_generation(s, &r->gen);

    if (rc != EXI_OK) {
        settler_bury(s->settler, r->past);
        return rc;
    }
    settler_bury(s->settler, s->past);
    s->past = r->past;
    s->published_ms = sync_now_ms();
    blockpos_update(s->blockpos, s->settle);
    log_info("settle", "settled up to block %u, generation %llu", r->gen.height,
             (unsigned long long) r->gen.number);
    sync_ring(s);
    return EXI_OK;
}

/* Notes a failure that passes by itself; EXI_OK: it is such a one. */
static int
trouble(struct sync *s, const struct settler_result *r)
{
    char *says = s->settle_says;
    size_t max = sizeof(s->settle_says);

    switch (r->rc) {
    case EXI_ESPACE:
    case EXI_EIO:
        s->settle_again_ms = sync_now_ms() + DISK_AGAIN_MS;
        snprintf(says, max, "settling: %s; trying again every %d s",
                 r->rc == EXI_ESPACE ? "no space left on the disk"
                                     : "cannot write",
                 DISK_AGAIN_MS / 1000);
        return EXI_OK;
    case EXI_ENOTFOUND:
        s->settle_again_ms = sync_now_ms() + DISK_AGAIN_MS;
        snprintf(says, max,
                 "settling: the node does not have a block of %u "
                 "to %u (pruned?)",
                 s->settled.height + 1, s->settling_to);
        return EXI_OK;
    case EXI_ENET:
    case EXI_EAUTH:
    case EXI_EWARMUP:
    case EXI_ENODE:
    case EXI_EANSWER:
        s->settle_again_ms = sync_now_ms() + NODE_AGAIN_MS;
        snprintf(says, max, "settling: %.100s", r->message);
        return EXI_OK;
    default:
        return r->rc;
    }
}

/* Takes the result of the last job, if it is there. */
static int
take_result(struct sync *s)
{
    struct settler_result r;
    int rc;

    if (!settler_take(s->settler, &r)) {
        return EXI_OK;
    }
    s->settled = r.settled;
    if (r.rc != EXI_OK) {
        rc = trouble(s, &r);
    } else {
        s->settle_says[0] = '\0';
        rc = r.past != NULL ? take_generation(s, &r) : EXI_OK;
    }
    s->tidy_more = r.rc == EXI_OK && r.tidy_more;
    s->settling_to = 0;
    return rc;
}

/* Hashes of the live blocks settled + 1 ... to. */
static int
job_blocks(struct sync *s, struct settler_job *job, uint32_t to)
{
    int rc = EXI_OK;

    job->first = s->settled.height + 1;
    job->hashes = calloc(to - s->settled.height, sizeof(*job->hashes));
    if (job->hashes == NULL) {
        return EXI_ENOMEM;
    }
    for (uint32_t h = job->first; h <= to && rc == EXI_OK; h++) {
        rc = live_block_hash(s->live, h, &job->hashes[job->n++]);
    }
    if (rc != EXI_OK) {
        free(job->hashes);
    }
    return rc;
}

/* Height up to which blocks are to be settled now; settled.height: none. */
static uint32_t
target(const struct sync *s)
{
    uint32_t tip = live_state(s->live)->tip_height, have = s->settled.height;
    uint32_t window = (uint32_t) s->conf->live_window;
    uint32_t batch = (uint32_t) s->conf->settle_batch;

    if (tip < window + batch || tip - window - batch < have) {
        return have;
    }
    return tip - window - have > JOB_BLOCKS ? have + JOB_BLOCKS : tip - window;
}

int
follow_settle(struct sync *s)
{
    struct settler_job job = { .have = 0 };
    uint32_t to;
    int rc = take_result(s);

    if (rc != EXI_OK || settler_busy(s->settler)
        || sync_now_ms() < s->settle_again_ms) {
        return rc;
    }
    to = target(s);
    if (to == s->settled.height && newest(s)->height >= to && !s->prune_due
        && !s->tidy_more) {
        return EXI_OK;
    }
    if (to == s->settled.height) {
        job.tidy = s->tidy_more ? SETTLER_TIDY_ALL : SETTLER_TIDY_NOT;
    } else if (to - s->settled.height < JOB_BLOCKS) {
        job.tidy = SETTLER_TIDY_FOLD;
    }
    job.have = newest(s)->number;
    if (to > s->settled.height) {
        rc = job_blocks(s, &job, to);
        if (rc != EXI_OK) {
            return rc;
        }
        s->settling_to = to;
    }
    if (s->prune_due) {
        const struct exi_live_state *st = live_state(s->live);

        memcpy(job.keep, st->gens, st->ngens * sizeof(job.keep[0]));
        job.nkeep = st->ngens;
        s->prune_due = false;
    }
    settler_give(s->settler, &job);
    return EXI_OK;
}
