/*
 * Jobs: the midstate of a long history, the sum of many outputs.  A job belongs
 * to nobody: each one who waits for it does a slice of it when it is his turn,
 * so a script is computed once in a worker however many ask, the work goes on
 * when one of them leaves, and more of them get it sooner.
 *
 * A job reads the picture it began with and leaves what it found with the
 * known things; whoever waited asks again and then finds it there, under a
 * view of that moment.  So nothing can fall between a job's picture and the
 * answer.
 */

#include "ngx_electrumx_heavy.h"


static ngx_electrumx_job_t *ngx_electrumx_job_find(
    ngx_electrumx_state_t *state, struct exi_view *view,
    ngx_electrumx_job_e kind, const u_char *key);
static int ngx_electrumx_job_open(ngx_electrumx_job_t *job,
    struct exi_view *view);
static int ngx_electrumx_job_open_status(ngx_electrumx_job_t *job,
    struct exi_view *view);
static ngx_int_t ngx_electrumx_job_settled(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter);
static ngx_int_t ngx_electrumx_job_aside(ngx_electrumx_job_t *job);
static void ngx_electrumx_job_ready(void *data, ngx_uint_t failed);
static int ngx_electrumx_job_status(ngx_electrumx_job_t *job);
static int ngx_electrumx_job_entry(void *ctx, const struct exi_hist *h);
static int ngx_electrumx_job_sum(ngx_electrumx_job_t *job);


int
ngx_electrumx_job_get(ngx_electrumx_index_t *index, struct exi_view *view,
    ngx_electrumx_job_e kind, const u_char *key, ngx_electrumx_job_t **result)
{
    int                     rc;
    ngx_electrumx_job_t    *job;
    ngx_electrumx_state_t  *state;

    state = ngx_electrumx_state(index);
    job = ngx_electrumx_job_find(state, view, kind, key);

    if (job) {
        job->refs++;
        *result = job;
        return EXI_OK;
    }

    job = ngx_calloc(sizeof(ngx_electrumx_job_t), ngx_cycle->log);

    if (job == NULL) {
        return EXI_ENOMEM;
    }

    job->state = state;
    job->index = index;
    job->kind = kind;
    job->refs = 1;
    ngx_queue_init(&job->waiters);
    ngx_memcpy(job->key.b, key, EXI_SKEY_LEN);

    rc = ngx_electrumx_job_open(job, view);

    if (rc != EXI_OK) {
        ngx_free(job);
        return rc;
    }

    ngx_queue_insert_tail(&state->jobs, &job->queue);
    job->listed = 1;
    *result = job;

    return EXI_OK;
}


static ngx_electrumx_job_t *
ngx_electrumx_job_find(ngx_electrumx_state_t *state, struct exi_view *view,
    ngx_electrumx_job_e kind, const u_char *key)
{
    ngx_queue_t          *q;
    ngx_electrumx_job_t  *job;

    for (q = ngx_queue_head(&state->jobs);
         q != ngx_queue_sentinel(&state->jobs);
         q = ngx_queue_next(q))
    {
        job = ngx_queue_data(q, ngx_electrumx_job_t, queue);

        if (job->kind == kind
            && ngx_memcmp(job->key.b, key, EXI_SKEY_LEN) == 0
            && (kind < NGX_ELECTRUMX_JOB_ROWS
                || ngx_electrumx_gather_same(job, view)))
        {
            return job;
        }
    }

    return NULL;
}


static int
ngx_electrumx_job_open(ngx_electrumx_job_t *job, struct exi_view *view)
{
    switch (job->kind) {

    case NGX_ELECTRUMX_JOB_STATUS:
        return ngx_electrumx_job_open_status(job, view);

    case NGX_ELECTRUMX_JOB_SUM:
        return exi_utxos_new(view, &job->key, &job->utxos);

    default:
        return ngx_electrumx_gather_open(job, view);
    }
}


static int
ngx_electrumx_job_open_status(ngx_electrumx_job_t *job, struct exi_view *view)
{
    int  rc;

    rc = exi_cursor_new(view, &job->key, &job->cursor);

    if (rc != EXI_OK) {
        return rc;
    }

    ngx_electrumx_known_mid(job->state->known, job->key.b, &job->mid);

    rc = job->mid.st.n ? exi_view_has(view, job->mid.height, &job->mid.block)
                       : 0;

    if (rc < 0) {
        exi_cursor_free(job->cursor);
        return rc;
    }

    if (rc) {
        exi_cursor_skip(job->cursor, job->mid.st.n);

    } else {
        exi_status_init(&job->mid.st);
    }

    return EXI_OK;
}


void
ngx_electrumx_job_unref(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter)
{
    if (waiter) {
        ngx_electrumx_waiter_remove(waiter);
    }

    if (--job->refs) {
        return;
    }

    ngx_electrumx_job_unlist(job);
    ngx_electrumx_cold_forget(job->read);

    exi_cursor_free(job->cursor);
    exi_utxos_free(job->utxos);
    ngx_electrumx_gather_free(job);
    ngx_free(job);
}


void
ngx_electrumx_job_unlist(ngx_electrumx_job_t *job)
{
    if (job->listed) {
        job->listed = 0;
        ngx_queue_remove(&job->queue);
    }
}


ngx_int_t
ngx_electrumx_job_step(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter, int *error)
{
    ngx_int_t  rc;

    if (!job->done) {
        rc = (job->kind >= NGX_ELECTRUMX_JOB_ROWS)
             ? ngx_electrumx_gather_step(job, waiter)
             : ngx_electrumx_job_settled(job, waiter);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    *error = job->error;

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_job_settled(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter)
{
    int  rc;

    if (job->read) {
        ngx_electrumx_job_wait(job, waiter);
        return NGX_BUSY;
    }

    if (job->error) {
        rc = job->error;

    } else if (job->kind == NGX_ELECTRUMX_JOB_SUM) {
        rc = ngx_electrumx_job_sum(job);

    } else {
        rc = ngx_electrumx_job_status(job);
    }

    if (rc == 1) {
        job->rounds = 0;
        return NGX_AGAIN;
    }

    if (rc == EXI_ECOLD) {

        if (ngx_electrumx_job_aside(job) == NGX_OK) {
            ngx_electrumx_job_wait(job, waiter);
            return NGX_BUSY;
        }

        rc = EXI_EIO;
    }

    /* its cursor has read all: the generation is let go */

    exi_cursor_free(job->cursor);
    exi_utxos_free(job->utxos);
    job->cursor = NULL;
    job->utxos = NULL;

    job->done = 1;
    job->error = rc;
    ngx_electrumx_job_unlist(job);

    return NGX_OK;
}


/* It goes on where it is when what it lacks was read. */

static ngx_int_t
ngx_electrumx_job_aside(ngx_electrumx_job_t *job)
{
    int                    rc;
    struct exi_cold_list  *list;

    if (job->rounds++ == NGX_ELECTRUMX_COLD_ROUNDS) {
        return NGX_ERROR;
    }

    rc = job->utxos ? exi_utxos_cold_take(job->utxos, &list)
                    : exi_cursor_cold_take(job->cursor, &list);

    if (rc != EXI_OK) {
        return NGX_ERROR;
    }

    return ngx_electrumx_cold_read(job->index, list, ngx_electrumx_job_ready,
                                   job, &job->read);
}


static void
ngx_electrumx_job_ready(void *data, ngx_uint_t failed)
{
    ngx_electrumx_job_t  *job;

    job = data;

    if (failed) {
        job->error = EXI_EIO;
    }

    ngx_electrumx_job_wake(job);
}


/* Those who wait */

void
ngx_electrumx_job_wait(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter)
{
    if (waiter->queue.next == NULL) {
        ngx_queue_insert_tail(&job->waiters, &waiter->queue);
    }
}


void
ngx_electrumx_job_wake(ngx_electrumx_job_t *job)
{
    ngx_queue_t             *q;
    ngx_electrumx_waiter_t  *waiter;

    while (!ngx_queue_empty(&job->waiters)) {
        q = ngx_queue_head(&job->waiters);
        waiter = ngx_queue_data(q, ngx_electrumx_waiter_t, queue);

        ngx_electrumx_waiter_remove(waiter);
        ngx_electrumx_runner_start(waiter->runner);
    }
}


void
ngx_electrumx_waiter_remove(ngx_electrumx_waiter_t *waiter)
{
    if (waiter->queue.next) {
        ngx_queue_remove(&waiter->queue);
        waiter->queue.next = NULL;
    }
}


/* Settled ones */

/* A slice: 1: there is more; EXI_OK, or the error. */

static int
ngx_electrumx_job_status(ngx_electrumx_job_t *job)
{
    int       rc;
    uint64_t  limit;

    if (!job->counted) {

        limit = ngx_electrumx_history_limit(job->index);
        rc = exi_cursor_count(job->cursor, NGX_ELECTRUMX_SLICE, limit);

        if (rc == EXI_OK) {
            job->counted = 1;
            return 1;
        }

        return rc;
    }

    rc = exi_cursor_next(job->cursor, NGX_ELECTRUMX_SLICE,
                         ngx_electrumx_job_entry, &job->mid.st);

    if (rc == EXI_OK) {
        exi_cursor_block(job->cursor, &job->mid.height, &job->mid.block);
        ngx_electrumx_known_set_mid(job->state->known, job->key.b, &job->mid);
    }

    return rc;
}


static int
ngx_electrumx_job_entry(void *ctx, const struct exi_hist *h)
{
    exi_status_add(ctx, &h->txid, h->height);

    return EXI_OK;
}


static int
ngx_electrumx_job_sum(ngx_electrumx_job_t *job)
{
    int  rc;

    rc = exi_utxos_sum(job->utxos, NGX_ELECTRUMX_SLICE, &job->sum);

    if (rc == EXI_OK) {
        ngx_electrumx_known_set_sum(job->state->known, job->key.b, &job->sum);
    }

    return rc;
}
