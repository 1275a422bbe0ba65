/*
 * Loading blocks into a new live environment: threads and chunks.
 *
 * A chunk is as many blocks as fit into o->bytes.  Threads take and parse them;
 * then they work out the rows of what inputs spend, while the caller's thread
 * writes those that need no look-up (live_load_int.h).  All writing is done by
 * the caller's thread.
 */
#include "live_load_int.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define TICK_MS 100

static void
failed(struct load *ld, int rc)
{
    int none = EXI_OK;

    if (rc) {
        atomic_compare_exchange_strong(&ld->rc, &none, rc);
    }
}

/*
 * Reading.
 */

/* A copy of the bytes, which the source wants back. */
static int
copy_parse(struct load_block *b, const struct source_block *s)
{
    load_block_free(b);
    b->height = s->height;
    b->hash = s->hash;
    b->raw = malloc(s->rawlen + 1);
    if (b->raw == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(b->raw, s->raw, s->rawlen);
    b->rawlen = s->rawlen;
    return load_parse(b);
}

static int
read_block(struct load *ld, struct source_block *s)
{
    const struct live_load_opts *o = ld->o;
    struct load_block *b = &ld->blocks[s->height - ld->base];
    int rc = copy_parse(b, s);

    if (rc == EXI_EFORMAT && o->reject(o->ctx, s) == EXI_OK) {
        rc = copy_parse(b, s);
    }
    atomic_fetch_add(&ld->held, s->rawlen);
    o->give_back(o->ctx, s);
    return rc;
}

/* Thread: takes blocks until the chunk is full. */
static int
read_blocks(struct load_worker *w)
{
    struct load *ld = w->ld;
    struct source_block s;
    int rc = EXI_OK;

    while (rc == EXI_OK && atomic_load(&ld->rc) == EXI_OK
           && atomic_load(&ld->held) < ld->o->bytes
           && atomic_fetch_add(&ld->taken, 1) < ld->o->blocks) {
        rc = ld->o->next(ld->o->ctx, &s);
        if (rc == 1) {
            rc = s.height - ld->base < ld->o->blocks ? read_block(ld, &s)
                                                     : EXI_EAPI;
        } else if (rc == 0) {
            rc = EXI_EAPI; /* fewer than were said */
        }
    }
    return rc;
}

/*
 * Threads.
 */

/* Does one step after the other until it is told to end. */
static void *
run(void *arg)
{
    struct load_worker *w = arg;
    struct load *ld = w->ld;
    unsigned seen = 0;

    pthread_mutex_lock(&ld->lock);
    for (;;) {
        load_step_pt step;
        while (ld->round == seen) {
            pthread_cond_wait(&ld->work, &ld->lock);
        }
        seen = ld->round;
        step = ld->step;
        if (step == NULL) {
            break;
        }
        pthread_mutex_unlock(&ld->lock);
        failed(ld, step(w));
        pthread_mutex_lock(&ld->lock);
        if (--ld->running == 0) {
            pthread_cond_signal(&ld->idle);
        }
    }
    pthread_mutex_unlock(&ld->lock);
    return NULL;
}

/* All threads begin a step; NULL: they end. */
static void
start(struct load *ld, load_step_pt step)
{
    pthread_mutex_lock(&ld->lock);
    ld->step = step;
    ld->round++;
    ld->running = ld->nthreads;
    pthread_cond_broadcast(&ld->work);
    pthread_mutex_unlock(&ld->lock);
}

/* Waits for the end of the step.  First error of all so far. */
static int
finish(struct load *ld)
{
    struct timespec t;

    pthread_mutex_lock(&ld->lock);
    while (ld->running > 0) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += TICK_MS * 1000000L;
        t.tv_sec += t.tv_nsec / 1000000000L;
        t.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&ld->idle, &ld->lock, &t) == ETIMEDOUT) {
            pthread_mutex_unlock(&ld->lock);
            ld->o->tick(ld->o->ctx);
            pthread_mutex_lock(&ld->lock);
        }
    }
    pthread_mutex_unlock(&ld->lock);
    return atomic_load(&ld->rc);
}

static int
start_threads(struct load *ld)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&ld->lock, NULL);
    pthread_cond_init(&ld->work, NULL);
    pthread_cond_init(&ld->idle, &attr);
    pthread_condattr_destroy(&attr);
    for (unsigned i = 0; i < ld->o->threads; i++) {
        struct load_worker *w = &ld->workers[i];
        w->ld = ld;
        w->number = i;
        if (pthread_create(&w->thread, NULL, run, w) != 0) {
            break;
        }
        ld->nthreads++;
    }
    if (ld->nthreads == 0) {
        return EXI_ENOMEM;
    }
    /* No thread has begun a step yet. */
    ld->has_barrier =
        pthread_barrier_init(&ld->barrier, NULL, ld->nthreads) == 0;
    return ld->has_barrier ? EXI_OK : EXI_ENOMEM;
}

static void
end_threads(struct load *ld)
{
    start(ld, NULL);
    for (unsigned i = 0; i < ld->nthreads; i++) {
        struct load_worker *w = &ld->workers[i];
        pthread_join(w->thread, NULL);
        free(w->asks.v);
        free(w->scratch.e);
        free(w->scratch.fund);
        free(w->scratch.spend);
        free(w->scripts.p);
    }
    if (ld->has_barrier) {
        pthread_barrier_destroy(&ld->barrier);
    }
    pthread_cond_destroy(&ld->idle);
    pthread_cond_destroy(&ld->work);
    pthread_mutex_destroy(&ld->lock);
}

/*
 * Chunks.
 */

/* What earlier chunks wrote, for the threads to read. */
static int
open_earlier(struct load *ld)
{
    int rc = EXI_OK;

    for (unsigned i = 0; ld->from > 0 && i < ld->nthreads && rc == EXI_OK;
         i++) {
        rc = live_err(
            mdb_txn_begin(ld->l->env, NULL, MDB_RDONLY, &ld->workers[i].rtxn));
    }
    return rc;
}

static void
close_earlier(struct load *ld)
{
    for (unsigned i = 0; i < ld->nthreads; i++) {
        if (ld->workers[i].rtxn != NULL) {
            mdb_txn_abort(ld->workers[i].rtxn);
            ld->workers[i].rtxn = NULL;
        }
    }
}

static int
load_chunk(struct load *ld)
{
    int rc;

    atomic_store(&ld->held, 0);
    atomic_store(&ld->turn, 0);
    atomic_store(&ld->turn2, 0);
    start(ld, read_blocks);
    rc = finish(ld);
    if (rc) {
        return rc;
    }
    ld->to = atomic_load(&ld->taken);
    ld->to = ld->to < ld->o->blocks ? ld->to : ld->o->blocks;
    ld->first_id = ld->l->now.next_id;
    rc = load_index(ld);
    if (rc == EXI_OK) {
        rc = open_earlier(ld);
    }
    if (rc) {
        close_earlier(ld);
        return rc;
    }
    start(ld, load_rows);
    failed(ld, load_put_early(ld));
    rc = finish(ld);
    close_earlier(ld);
    return rc ? rc : load_put_late(ld);
}

static int
load_all(struct load *ld)
{
    int rc = EXI_OK;

    while (rc == EXI_OK && ld->from < ld->o->blocks) {
        rc = load_chunk(ld);
        if (rc == EXI_OK) {
            load_forget(ld);
            ld->from = ld->to;
        }
    }
    if (rc) {
        ld->to = ld->o->blocks; /* read, or empty */
        load_forget(ld);
    }
    return rc;
}

static bool
usable(const struct live *l, const struct live_load_opts *o)
{
    return l->txn == NULL && !l->served && l->now.next_id == 1 && o->threads > 0
           && o->threads <= LIVE_LOAD_THREADS
           && o->blocks <= INT32_MAX - l->now.st.tip_height;
}

int
live_load(struct live *l, const struct live_load_opts *o)
{
    struct load *ld;
    int rc;

    if (!usable(l, o)) {
        return EXI_EAPI;
    }
    ld = calloc(1, sizeof *ld);
    if (ld == NULL) {
        return EXI_ENOMEM;
    }
    ld->l = l;
    ld->o = o;
    ld->base = l->now.st.tip_height + 1;
    ld->seed = l->touched.seed;
    ld->blocks = calloc((size_t) o->blocks + 1, sizeof *ld->blocks);
    rc = start_threads(ld);
    if (rc == EXI_OK && ld->blocks == NULL) {
        rc = EXI_ENOMEM;
    }
    if (rc == EXI_OK) {
        rc = load_all(ld);
    }
    end_threads(ld);
    free(ld->blocks);
    free(ld);
    return rc;
}
