/*
 * What the workers of source.h do: what is read next, and what became of it.
 */
#include "source_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_sha256.h"

#define WORK_UNKNOWN ((size_t) 4000000)  /* Bitcoin's largest block */
#define WORK_AHEAD   ((size_t) 32 << 20) /* the system is told of */

/* What a worker does next. */
struct source_job {
    size_t pos;
    size_t n; /* 1, if from the node */
    size_t bytes;
    bool file;
    size_t advise_from;
    size_t advise_to;
};

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

void
source_chunk_free(struct source_chunk *c)
{
    if (c != NULL) {
        free(c->data);
        free(c);
    }
}

void
source_chunk_link(struct source *s, struct source_chunk *c)
{
    c->prev = NULL;
    c->next = s->chunks;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    s->chunks = c;
}

/* Drops a reference; the chunk is to be freed if it was the last. */
struct source_chunk *
source_chunk_unref(struct source *s, struct source_chunk *c)
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
    size_t n = s->block_max < WORK_UNKNOWN ? s->block_max : WORK_UNKNOWN;

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

    while (source_slot_at(s, pos)->state != SLOT_AGAIN) {
        pos++;
    }
    slot = source_slot_at(s, pos);
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
    if (s->ahead < WORK_AHEAD / 2) {
        while (pos < s->n && s->ahead < WORK_AHEAD) {
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
        source_slot_at(s, pos)->reserved = job->bytes;
    }
    for (size_t i = 0; i < job->n; i++) {
        source_slot_at(s, pos + i)->state = SLOT_BUSY;
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
    source_slot_at(s, pos)->state = SLOT_AGAIN;
    s->nagain++;
}

static void
slot_ready(struct source *s, size_t pos, struct source_chunk *c,
           const uint8_t *raw, uint32_t len)
{
    struct source_slot *slot = source_slot_at(s, pos);

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
        struct source_slot *slot = source_slot_at(s, job->pos + i);

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
        source_chunk_free(c);
    } else {
        atomic_store(&s->kind, SOURCE_FILES);
        source_chunk_link(s, c);
    }
}

/* c: the block, or NULL. */
static void
node_done(struct source *s, const struct source_job *job,
          struct source_chunk *c, enum source_kind kind)
{
    struct source_slot *slot = source_slot_at(s, job->pos);
    size_t before = s->used;

    s->used -= slot->reserved;
    if (job->pos != s->next_out && c->bytes > slot->reserved
        && !source_room(s, c->bytes)) {
        s->used = before;
        slot->len = (uint32_t) c->bytes; /* it needs that much */
        slot_again(s, job->pos);
        source_chunk_free(c);
        return;
    }
    s->used += c->bytes;
    source_chunk_link(s, c);
    slot_ready(s, job->pos, c, c->data, (uint32_t) c->bytes);
    atomic_store(&s->kind, (int) kind);
}

/* Wakes who can go on now. */
void
source_wake(struct source *s)
{
    if (s->fail != EXI_OK
        || source_slot_at(s, s->next_out)->state == SLOT_READY) {
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
int
source_ask_node(struct source *s, struct rpc *r, const struct exi_blkid *hash,
                struct source_chunk **out, enum source_kind *kind,
                const char **words)
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
    int rc =
        source_ask_node(s, w->rpc, &s->hashes[job->pos], &c, &kind, &words);

    pthread_mutex_lock(&s->mutex);
    s->nhttp--;
    if (rc == EXI_OK) {
        node_done(s, job, c, kind);
    } else {
        source_fail(s, job->pos, rc, words);
    }
}

void *
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
