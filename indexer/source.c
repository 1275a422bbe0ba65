/*
 * Blocks in chain order, read ahead by threads.
 *
 * Workers take blocks strictly in order: a run of them from the block files
 * (source_files.c), or one from the node (source_http.c).  A block is admitted
 * when its bytes fit into what is left of `memory`; one from the node, whose
 * size nobody knows yet, counts as 4 MB until it is there.  Each admitted
 * block has a slot in a ring until it is handed out.
 *
 * A block that could not be had keeps its slot and is tried again: one that
 * is bad in the files at once and from the node, one that the node failed to
 * give after source_next() has told its caller.  Until then no work begins.
 * As later blocks may fill the memory, the block that is handed out next may
 * exceed it then, by itself.
 */
#include "source_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOURCE_PARALLEL  8
#define SOURCE_MOST      64 /* threads */
#define SOURCE_MEMORY    ((size_t) 64 << 20)
#define SOURCE_BLOCK_MAX ((size_t) 32 << 20)
#define SOURCE_RUN_LEAST ((size_t) 64 << 10)
#define SOURCE_RUN_MOST  ((size_t) 2 << 20)

/* ---- time ---- */

int64_t
source_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
source_pause(struct source *s, long ms)
{
    int64_t until = source_now_ms() + ms;
    int64_t left;

    while (!atomic_load(&s->cancelled)
           && (left = until - source_now_ms()) > 0) {
        struct timespec ts = { 0, 0 };

        ts.tv_nsec =
            (long) (left < SOURCE_TICK_MS ? left : SOURCE_TICK_MS) * 1000000;
        nanosleep(&ts, NULL);
    }
}

void
source_wait(struct source *s, pthread_cond_t *cond)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += SOURCE_TICK_MS * 1000000L;
    if (ts.tv_nsec >= 1000000000L) {
        ts.tv_nsec -= 1000000000L;
        ts.tv_sec++;
    }
    pthread_cond_timedwait(cond, &s->mutex, &ts);
}

/* ---- callers ---- */

static void
source_hand_out(struct source *s, struct source_block *b)
{
    struct source_slot *slot = source_slot_at(s, s->next_out);

    b->height = s->from + (uint32_t) s->next_out;
    b->hash = s->hashes[s->next_out];
    b->raw = slot->raw;
    b->rawlen = slot->len;
    b->priv = slot->chunk;
    atomic_fetch_add(&s->bytes, slot->len);
    memset(slot, 0, sizeof(*slot));
    s->next_out++;
    source_wake(s);
}

/* One look at what there is: 1, 0, an error, or EXI_EBUSY: wait. */
static int
source_look(struct source *s, struct source_block *b)
{
    enum source_state state;
    int rc;

    if (atomic_load(&s->cancelled)) {
        snprintf(s->why, sizeof(s->why), "the request was given up");
        return EXI_ENET;
    }
    if (s->next_out == s->n) {
        return 0;
    }
    state = source_slot_at(s, s->next_out)->state;
    if (state == SLOT_READY) {
        source_hand_out(s, b);
        return 1;
    }
    if (s->fail != EXI_OK && state != SLOT_BUSY) {
        rc = s->fail;
        s->fail = EXI_OK;
        pthread_cond_signal(&s->work);
        return rc;
    }
    return EXI_EBUSY;
}

int
source_next(struct source *s, struct source_block *b)
{
    int rc;

    pthread_mutex_lock(&s->mutex);
    s->inside++;
    while ((rc = source_look(s, b)) == EXI_EBUSY) {
        source_wait(s, &s->ready);
    }
    s->inside--;
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

void
source_give_back(struct source *s, struct source_block *b)
{
    struct source_chunk *c = b->priv;

    if (c == NULL) {
        return;
    }
    b->priv = NULL;
    b->raw = NULL;
    pthread_mutex_lock(&s->mutex);
    c = source_chunk_unref(s, c);
    if (c != NULL) {
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->mutex);
    source_chunk_free(c);
}

/* Counts the block that replaces a bad one, or notes why there is none. */
static void
reject_done(struct source *s, struct source_chunk *c, const char *words)
{
    pthread_mutex_lock(&s->mutex);
    if (c != NULL) {
        c->refs = 1;
        s->used += c->bytes;
        source_chunk_link(s, c);
    } else {
        snprintf(s->why, sizeof(s->why), "%s", words);
    }
    pthread_mutex_unlock(&s->mutex);
}

int
source_reject(struct source *s, struct source_block *b)
{
    struct source_chunk *c = NULL;
    const char *words;
    enum source_kind kind;
    int rc;

    pthread_mutex_lock(&s->mutex);
    s->inside++;
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_lock(&s->rpc_mutex);
    atomic_store(&s->doubt, true);
    rc = source_ask_node(s, s->rpc, &b->hash, &c, &kind, &words);
    reject_done(s, c, words);
    pthread_mutex_unlock(&s->rpc_mutex);
    if (rc == EXI_OK) {
        source_give_back(s, b);
        b->raw = c->data;
        b->rawlen = c->bytes;
        b->priv = c;
    }
    pthread_mutex_lock(&s->mutex);
    s->inside--;
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

enum source_kind
source_kind(const struct source *s)
{
    return (enum source_kind) atomic_load(&s->kind);
}

uint64_t
source_bytes(const struct source *s)
{
    return atomic_load(&s->bytes);
}

void
source_why(struct source *s, char *why, size_t whylen)
{
    pthread_mutex_lock(&s->mutex);
    snprintf(why, whylen, "%s", s->why);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- starting and stopping ---- */

/* Block files, if they are wanted and there are any. */
static int
start_files(struct source *s, const struct source_opts *o, char *why,
            size_t whylen)
{
    int rc = EXI_EIO;

    if (o->kind == SOURCE_REST || o->kind == SOURCE_RPC) {
        return EXI_OK;
    }
    snprintf(why, whylen, "the node's folder of block files is not known");
    if (o->blocks_dir != NULL) {
        rc = source_files_open(&s->files, o, s->hashes, s->n, why, whylen);
    }
    if (rc == EXI_OK && s->files.found == 0 && s->n > 0) {
        source_files_close(&s->files);
        snprintf(why, whylen, "%s has none of the blocks", o->blocks_dir);
        rc = EXI_EIO;
    }
    if (rc == EXI_OK) {
        atomic_store(&s->kind, SOURCE_FILES);
    } else if (rc == EXI_EIO && o->kind == SOURCE_AUTO) {
        rc = EXI_OK;
    }
    return rc;
}

static int
start_threads(struct source *s, const struct rpc_opts *o, char *why,
              size_t whylen)
{
    int rc = o != NULL ? rpc_new(&s->rpc, o, why, whylen) : EXI_OK;

    for (unsigned i = 0; i < s->nworkers && rc == EXI_OK; i++) {
        s->workers[i].s = s;
        source_fds_init(&s->workers[i].fds);
        if (o != NULL) {
            rc = rpc_new(&s->workers[i].rpc, o, why, whylen);
        }
    }
    while (rc == EXI_OK && s->nthreads < s->nworkers) {
        struct source_worker *w = &s->workers[s->nthreads];

        if (pthread_create(&w->thread, NULL, source_thread, w) != 0) {
            snprintf(why, whylen, "no more threads");
            rc = EXI_ENOMEM;
        } else {
            s->nthreads++;
        }
    }
    return rc;
}

static void
start_locks(struct source *s)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->rpc_mutex, NULL);
    pthread_cond_init(&s->work, &attr);
    pthread_cond_init(&s->ready, &attr);
    pthread_condattr_destroy(&attr);
}

static void
start_sizes(struct source *s, const struct source_opts *o)
{
    s->want = o->kind;
    s->memory = o->memory;
    s->block_max = o->block_max;
    s->run_max = o->memory / 16;
    if (s->run_max < SOURCE_RUN_LEAST) {
        s->run_max = SOURCE_RUN_LEAST;
    } else if (s->run_max > SOURCE_RUN_MOST) {
        s->run_max = SOURCE_RUN_MOST;
    }
    s->parallel = o->parallel;
    s->nworkers = s->parallel < SOURCE_READERS ? SOURCE_READERS : s->parallel;
    atomic_store(&s->limit, s->parallel);
    atomic_store(&s->typical, (size_t) 64 << 10);
    atomic_store(&s->kind, o->kind == SOURCE_RPC ? SOURCE_RPC : SOURCE_REST);
}

static int
start_arrays(struct source *s, uint32_t from, const struct exi_blkid *hashes,
             size_t n)
{
    s->from = from;
    s->n = n;
    s->hashes = malloc((n + 1) * sizeof(*s->hashes));
    s->slots = calloc(SOURCE_WINDOW, sizeof(*s->slots));
    s->workers = calloc(s->nworkers, sizeof(*s->workers));
    if (s->hashes == NULL || s->slots == NULL || s->workers == NULL) {
        return EXI_ENOMEM;
    }
    if (n > 0) {
        memcpy(s->hashes, hashes, n * sizeof(*hashes));
    }
    return EXI_OK;
}

int
source_start(struct source **out, const struct source_opts *opts, uint32_t from,
             const struct exi_blkid *hashes, size_t n, char *why, size_t whylen)
{
    struct source_opts o = *opts;
    struct source *s = calloc(1, sizeof(*s));
    int rc;

    snprintf(why, whylen, "out of memory");
    if (s == NULL) {
        return EXI_ENOMEM;
    }
    o.memory = o.memory > 0 ? o.memory : SOURCE_MEMORY;
    o.block_max = o.block_max > 0 && o.block_max < SOURCE_BLOCK_MAX
                      ? o.block_max
                      : SOURCE_BLOCK_MAX;
    o.parallel = o.parallel > 0 ? o.parallel : SOURCE_PARALLEL;
    o.parallel = o.parallel < SOURCE_MOST ? o.parallel : SOURCE_MOST;
    s->files.dir = -1;
    start_locks(s);
    start_sizes(s, &o);
    rc = start_arrays(s, from, hashes, n);
    if (rc == EXI_OK) {
        rc = start_files(s, &o, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = start_threads(s, o.rpc, why, whylen);
    }
    if (rc != EXI_OK) {
        source_stop(s);
        return rc;
    }
    why[0] = '\0';
    *out = s;
    return EXI_OK;
}

void
source_cancel(struct source *s)
{
    atomic_store(&s->cancelled, true);
    for (unsigned i = 0; s->workers != NULL && i < s->nworkers; i++) {
        if (s->workers[i].rpc != NULL) {
            rpc_cancel(s->workers[i].rpc);
        }
    }
    if (s->rpc != NULL) {
        rpc_cancel(s->rpc);
    }
}

static void
stop_threads(struct source *s)
{
    source_cancel(s);
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->work);
    pthread_cond_broadcast(&s->ready);
    while (s->inside > 0) {
        source_wait(s, &s->ready);
    }
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < s->nthreads; i++) {
        pthread_join(s->workers[i].thread, NULL);
    }
}

void
source_stop(struct source *s)
{
    struct source_chunk *c;

    if (s == NULL) {
        return;
    }
    stop_threads(s);
    while ((c = s->chunks) != NULL) {
        s->chunks = c->next;
        source_chunk_free(c);
    }
    for (unsigned i = 0; s->workers != NULL && i < s->nworkers; i++) {
        rpc_free(s->workers[i].rpc);
        if (s->workers[i].s != NULL) {
            source_fds_close(&s->workers[i].fds);
        }
    }
    rpc_free(s->rpc);
    source_files_close(&s->files);
    free(s->workers);
    free(s->slots);
    free(s->hashes);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->rpc_mutex);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
