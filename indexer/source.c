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

#include "lib/exi_sha256.h"

#define SOURCE_WINDOW    4096 /* slots; a power of two */
#define SOURCE_READERS   2    /* threads that read files at a time */
#define SOURCE_PARALLEL  8
#define SOURCE_MOST      64 /* threads */
#define SOURCE_MEMORY    ((size_t) 64 << 20)
#define SOURCE_BLOCK_MAX ((size_t) 32 << 20)
#define SOURCE_RUN_LEAST ((size_t) 64 << 10)
#define SOURCE_RUN_MOST  ((size_t) 2 << 20)
#define SOURCE_UNKNOWN   ((size_t) 4000000)  /* Bitcoin's largest block */
#define SOURCE_AHEAD     ((size_t) 32 << 20) /* the system is told of */

/* What a worker does next. */
struct source_job {
    size_t pos;
    size_t n; /* 1, if from the node */
    size_t bytes;
    bool file;
    size_t advise_from;
    size_t advise_to;
};

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

/* Waits with s->mutex held; a tick at most, as a signal handler that cancels
 * can't wake anybody. */
static void
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

/* ---- memory ---- */

bool
source_fits(const struct exi_blkid *hash, const uint8_t *raw, size_t len,
            size_t max)
{
    struct exi_blkid got;

    if (len < SOURCE_BLOCK_MIN || len > max) {
        return false;
    }
    exi_sha256d(got.b, raw, EXI_HEADER_LEN);
    return memcmp(got.b, hash->b, EXI_HASH_LEN) == 0;
}

/* Takes data (also on failure). */
static struct source_chunk *
chunk_new(uint8_t *data, size_t bytes)
{
    struct source_chunk *c = data != NULL ? calloc(1, sizeof(*c)) : NULL;

    if (c == NULL) {
        free(data);
        return NULL;
    }
    c->data = data;
    c->bytes = bytes;
    return c;
}

static void
chunk_free(struct source_chunk *c)
{
    if (c != NULL) {
        free(c->data);
        free(c);
    }
}

static void
chunk_link(struct source *s, struct source_chunk *c)
{
    c->prev = NULL;
    c->next = s->chunks;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    s->chunks = c;
}

/* Drops a reference; the chunk is to be freed if it was the last. */
static struct source_chunk *
chunk_unref(struct source *s, struct source_chunk *c)
{
    if (--c->refs > 0) {
        return NULL;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        s->chunks = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    s->used -= c->bytes;
    return c;
}

static struct source_slot *
slot_at(const struct source *s, size_t pos)
{
    return &s->slots[pos % SOURCE_WINDOW];
}

static bool
source_room(const struct source *s, size_t bytes)
{
    return s->used <= s->memory && bytes <= s->memory - s->used;
}

static bool
source_in_files(const struct source *s, size_t pos)
{
    return s->files.recs != NULL && s->files.recs[pos].len != 0;
}

/* What a block from the node counts as before it is there.  JSON-RPC needs
 * twice that, for the text. */
static size_t
source_unknown(const struct source *s)
{
    size_t n = s->block_max < SOURCE_UNKNOWN ? s->block_max : SOURCE_UNKNOWN;

    return s->want == SOURCE_RPC || atomic_load(&s->no_rest) ? 2 * n : n;
}

/* ---- what to do next (all with s->mutex held) ---- */

static bool
worker_free(const struct source *s, bool file)
{
    return file ? s->nfile < SOURCE_READERS : s->nhttp < atomic_load(&s->limit);
}

/* The first block that is to be tried again, if there is room for it now. */
static bool
take_again(struct source *s, struct source_job *job)
{
    struct source_slot *slot;
    size_t pos = s->next_out, want;

    while (slot_at(s, pos)->state != SLOT_AGAIN) {
        pos++;
    }
    slot = slot_at(s, pos);
    job->file = source_in_files(s, pos) && !slot->nofile;
    want = job->file ? source_files_bytes(&s->files, pos, false)
                     : source_unknown(s);
    want = want < slot->len ? slot->len : want;
    want = want > slot->reserved ? want - slot->reserved : 0;
    if (!worker_free(s, job->file)
        || (!source_room(s, want) && pos != s->next_out)) {
        return false;
    }
    slot->reserved += want;
    s->used += want;
    s->nagain--;
    slot->state = SLOT_BUSY;
    job->pos = pos;
    job->n = 1;
    job->bytes = slot->reserved;
    return true;
}

/* How many blocks from next_in on are read from the files in one go; 0: it is
 * better to wait for more room. */
static size_t
run_length(const struct source *s, size_t *bytes)
{
    size_t pos = s->next_in, n = 1;

    *bytes = source_files_bytes(&s->files, pos, false);
    if (!source_room(s, *bytes) && s->used != 0) {
        return 0;
    }
    while (n < SOURCE_RUN && pos + n < s->n
           && pos + n - s->next_out < SOURCE_WINDOW
           && source_in_files(s, pos + n)) {
        size_t more = source_files_bytes(&s->files, pos + n, true);

        if (*bytes + more > s->run_max) {
            break;
        }
        if (!source_room(s, *bytes + more)) {
            return *bytes < s->run_max / 2 && s->used != 0 ? 0 : n;
        }
        *bytes += more;
        n++;
    }
    return n;
}

/* Moves the range the system was told of, in steps that are worth a call. */
static void
take_advice(struct source *s, struct source_job *job)
{
    size_t pos = s->advised;

    for (size_t i = 0; i < job->n && s->next_in + i < pos; i++) {
        s->ahead -= s->files.recs[s->next_in + i].len;
    }
    if (pos < s->next_in + job->n) {
        pos = s->next_in + job->n;
    }
    job->advise_from = pos;
    if (s->ahead < SOURCE_AHEAD / 2) {
        while (pos < s->n && s->ahead < SOURCE_AHEAD) {
            s->ahead += s->files.recs[pos++].len;
        }
    }
    job->advise_to = s->advised = pos;
}

/* The next blocks that nobody has taken yet. */
static bool
take_new(struct source *s, struct source_job *job)
{
    size_t pos = s->next_in;

    if (pos == s->n || pos - s->next_out >= SOURCE_WINDOW) {
        return false;
    }
    job->file = source_in_files(s, pos);
    if (!worker_free(s, job->file)) {
        return false;
    }
    job->pos = pos;
    if (job->file) {
        job->n = run_length(s, &job->bytes);
        if (job->n == 0) {
            return false;
        }
        take_advice(s, job);
    } else {
        job->n = 1;
        job->bytes = source_unknown(s);
        if (!source_room(s, job->bytes) && s->used != 0) {
            return false;
        }
        slot_at(s, pos)->reserved = job->bytes;
    }
    for (size_t i = 0; i < job->n; i++) {
        slot_at(s, pos + i)->state = SLOT_BUSY;
    }
    s->used += job->bytes;
    s->next_in += job->n;
    return true;
}

static bool
source_take(struct source *s, struct source_job *job)
{
    memset(job, 0, sizeof(*job));
    if (s->fail != EXI_OK
        || !((s->nagain > 0 && take_again(s, job)) || take_new(s, job))) {
        return false;
    }
    if (job->file) {
        s->nfile++;
    } else {
        s->nhttp++;
    }
    return true;
}

/* ---- what came of it (all with s->mutex held) ---- */

static void
slot_again(struct source *s, size_t pos)
{
    slot_at(s, pos)->state = SLOT_AGAIN;
    s->nagain++;
}

static void
slot_ready(struct source *s, size_t pos, struct source_chunk *c,
           const uint8_t *raw, uint32_t len)
{
    struct source_slot *slot = slot_at(s, pos);

    slot->chunk = c;
    slot->raw = raw;
    slot->len = len;
    slot->state = SLOT_READY;
    slot->reserved = 0;
    c->refs++;
}

/* The caller of source_next() is told of the first block that failed. */
static void
source_fail(struct source *s, size_t pos, int rc, const char *words)
{
    slot_again(s, pos);
    if (s->fail == EXI_OK || pos < s->fail_pos) {
        s->fail = rc;
        s->fail_pos = pos;
        snprintf(s->why, sizeof(s->why), "%s", words);
    }
}

static void
files_done(struct source *s, const struct source_job *job,
           struct source_chunk *c, const struct source_piece *pieces)
{
    s->nfile--;
    for (size_t i = 0; i < job->n; i++) {
        struct source_slot *slot = slot_at(s, job->pos + i);

        slot->reserved = 0;
        if (c == NULL) {
            source_fail(s, job->pos + i, EXI_ENOMEM, "out of memory");
        } else if (pieces[i].good) {
            slot_ready(s, job->pos + i, c, pieces[i].raw, pieces[i].len);
        } else {
            slot->nofile = true;
            slot_again(s, job->pos + i);
        }
    }
    if (c == NULL || c->refs == 0) {
        s->used -= job->bytes;
        chunk_free(c);
    } else {
        atomic_store(&s->kind, SOURCE_FILES);
        chunk_link(s, c);
    }
}

/* c: the block, or NULL. */
static void
node_done(struct source *s, const struct source_job *job,
          struct source_chunk *c, enum source_kind kind)
{
    struct source_slot *slot = slot_at(s, job->pos);
    size_t before = s->used;

    s->used -= slot->reserved;
    if (job->pos != s->next_out && c->bytes > slot->reserved
        && !source_room(s, c->bytes)) {
        s->used = before;
        slot->len = (uint32_t) c->bytes; /* it needs that much */
        slot_again(s, job->pos);
        chunk_free(c);
        return;
    }
    s->used += c->bytes;
    c->node = true;
    chunk_link(s, c);
    slot_ready(s, job->pos, c, c->data, (uint32_t) c->bytes);
    atomic_store(&s->kind, (int) kind);
}

/* Wakes who can go on now. */
static void
source_wake(struct source *s)
{
    if (s->fail != EXI_OK || slot_at(s, s->next_out)->state == SLOT_READY) {
        pthread_cond_broadcast(&s->ready);
    }
    pthread_cond_signal(&s->work);
}

/* ---- workers ---- */

static void
work_files(struct source_worker *w, const struct source_job *job)
{
    struct source *s = w->s;
    struct source_chunk *c = chunk_new(malloc(job->bytes), job->bytes);

    if (job->advise_to > job->advise_from) {
        source_files_advise(&s->files, &w->fds, job->advise_from,
                            job->advise_to);
    }
    if (c != NULL) {
        source_files_read(&s->files, &w->fds, job->pos, job->n, s->hashes,
                          c->data, w->pieces);
    }
    pthread_mutex_lock(&s->mutex);
    files_done(s, job, c, w->pieces);
}

/* Asks the node; takes no lock.  *words: the reason of a failure. */
static int
ask_node(struct source *s, struct rpc *r, const struct exi_blkid *hash,
         struct source_chunk **out, enum source_kind *kind, const char **words)
{
    struct rpc_buf buf = { NULL, 0, 0 };
    uint8_t *data;
    int rc;

    *words = "the block files lack a block, and there is no node to ask";
    if (r == NULL) {
        return EXI_ENOTFOUND;
    }
    rc = source_http_get(s, r, hash, &buf, kind, words);
    if (rc != EXI_OK) {
        rpc_buf_free(&buf);
        return rc;
    }
    data = realloc(buf.data, buf.len); /* gives back what is too much */
    *out = chunk_new(data != NULL ? data : buf.data, buf.len);
    *words = "out of memory";
    return *out != NULL ? EXI_OK : EXI_ENOMEM;
}

static void
work_node(struct source_worker *w, const struct source_job *job)
{
    struct source *s = w->s;
    enum source_kind kind = SOURCE_RPC;
    struct source_chunk *c = NULL;
    const char *words;
    int rc = ask_node(s, w->rpc, &s->hashes[job->pos], &c, &kind, &words);

    pthread_mutex_lock(&s->mutex);
    s->nhttp--;
    if (rc == EXI_OK) {
        node_done(s, job, c, kind);
    } else {
        source_fail(s, job->pos, rc, words);
    }
}

static void *
source_thread(void *arg)
{
    struct source_worker *w = arg;
    struct source *s = w->s;
    struct source_job job;

    pthread_mutex_lock(&s->mutex);
    while (!atomic_load(&s->cancelled)) {
        if (!source_take(s, &job)) {
            source_wait(s, &s->work);
            continue;
        }
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->mutex);
        if (job.file) {
            work_files(w, &job);
        } else {
            work_node(w, &job);
        }
        source_wake(s);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- callers ---- */

static void
source_hand_out(struct source *s, struct source_block *b)
{
    struct source_slot *slot = slot_at(s, s->next_out);

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
    state = slot_at(s, s->next_out)->state;
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
    c = chunk_unref(s, c);
    if (c != NULL) {
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->mutex);
    chunk_free(c);
}

/* Counts the block that replaces a bad one, or notes why there is none. */
static void
reject_done(struct source *s, struct source_chunk *c, const char *words)
{
    pthread_mutex_lock(&s->mutex);
    if (c != NULL) {
        c->node = true;
        c->refs = 1;
        s->used += c->bytes;
        chunk_link(s, c);
    } else {
        snprintf(s->why, sizeof(s->why), "%s", words);
    }
    pthread_mutex_unlock(&s->mutex);
}

int
source_reject(struct source *s, struct source_block *b)
{
    const struct source_chunk *old = b->priv;
    struct source_chunk *c = NULL;
    const char *words = "the node's block is damaged";
    enum source_kind kind;
    int rc = EXI_ENODE;

    pthread_mutex_lock(&s->mutex);
    s->inside++;
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_lock(&s->rpc_mutex);
    if (!old->node) {
        rc = ask_node(s, s->rpc, &b->hash, &c, &kind, &words);
    }
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
        chunk_free(c);
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
