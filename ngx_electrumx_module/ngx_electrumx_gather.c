/*
 * Jobs of scripts with many live rows: the rows are gathered once for all who
 * ask while the snapshot is the same, also while answers are written of them.
 *
 *     ROWS            a runner of its own, as it keeps the LMDB snapshot: it
 *                     waits for nobody but its turn; a few at a time (the
 *                     others are the crowd), and not for ever
 *     LIVE_STATUS     the settled midstate and the rows, hashed
 *     LIVE_BALANCE    the settled sum and the rows, added
 *
 * What was found out is of the snapshot, not of the moment when it is used:
 * lists and balances are answered so; subscriptions look what has changed since
 * (ngx_electrumx_recheck.c).
 */

#include "ngx_electrumx_heavy.h"


static int ngx_electrumx_gather_settled(ngx_electrumx_job_t *job,
    struct exi_view *view);
static ngx_int_t ngx_electrumx_gather_run(ngx_electrumx_runner_t *runner);
static void ngx_electrumx_gather_end(ngx_electrumx_job_t *job);
static int ngx_electrumx_gather_status(ngx_electrumx_job_t *job);
static int ngx_electrumx_gather_balance(ngx_electrumx_job_t *job);


int
ngx_electrumx_gather_open(ngx_electrumx_job_t *job, struct exi_view *view)
{
    int  rc;

    if (job->kind != NGX_ELECTRUMX_JOB_ROWS) {
        rc = ngx_electrumx_gather_settled(job, view);

        return rc ? rc : ngx_electrumx_job_get(job->index, view,
                                               NGX_ELECTRUMX_JOB_ROWS,
                                               job->key.b, &job->on);
    }

    if (job->state->ngathers >= NGX_ELECTRUMX_GATHERS) {
        return EXI_EBUSY;
    }

    rc = exi_rows_new(view, &job->key, &job->rows);

    if (rc == EXI_OK) {
        job->state->ngathers++;
        job->started = ngx_current_msec;
        job->runner.run = ngx_electrumx_gather_run;
        ngx_electrumx_runner_start(&job->runner);
    }

    return rc;
}


/* The settled part, which was found out before: at most a few entries more. */

static int
ngx_electrumx_gather_settled(ngx_electrumx_job_t *job, struct exi_view *view)
{
    if (job->kind == NGX_ELECTRUMX_JOB_LIVE_BALANCE) {
        ngx_electrumx_known_sum(job->state->known, job->key.b, &job->sum);

        return exi_script_sum(view, &job->key, NGX_ELECTRUMX_LIGHT,
                              &job->sum);
    }

    ngx_electrumx_known_mid(job->state->known, job->key.b, &job->mid);

    return exi_script_mid(view, &ngx_electrumx_arena, &job->key,
                          ngx_electrumx_history_limit(job->index),
                          NGX_ELECTRUMX_LIGHT, &job->mid);
}


ngx_uint_t
ngx_electrumx_gather_same(ngx_electrumx_job_t *job, struct exi_view *view)
{
    struct exi_rows  *rows;

    rows = job->on ? job->on->rows : job->rows;

    return rows && exi_rows_same(rows, view);
}


void
ngx_electrumx_gather_free(ngx_electrumx_job_t *job)
{
    if (job->on) {
        ngx_electrumx_job_unref(job->on, NULL);
    }

    if (job->rows == NULL) {
        return;
    }

    exi_rows_unref(job->rows);

    if (!job->done) {
        ngx_electrumx_runner_stop(&job->runner);
        ngx_electrumx_gather_end(job);
    }
}


/* Turns of one that gathers. */

static ngx_int_t
ngx_electrumx_gather_run(ngx_electrumx_runner_t *runner)
{
    int                   rc;
    ngx_electrumx_job_t  *job;

    job = (ngx_electrumx_job_t *) runner;

    rc = exi_rows_gather(job->rows, NGX_ELECTRUMX_SLICE);

    if (rc == 1
        && ngx_current_msec - job->started > NGX_ELECTRUMX_GATHER_TIME)
    {
        rc = EXI_EBUSY;
    }

    if (rc == 1) {
        return NGX_AGAIN;
    }

    job->done = 1;
    job->error = rc;

    if (rc != EXI_OK) {
        ngx_electrumx_job_unlist(job);
        exi_rows_unref(job->rows);
        job->rows = NULL;
    }

    ngx_electrumx_job_wake(job);
    ngx_electrumx_gather_end(job);

    return NGX_OK;
}


/* There is room for another one; when none is left nobody else would wake
   those who wait. */

static void
ngx_electrumx_gather_end(ngx_electrumx_job_t *job)
{
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_electrumx_state_t   *state;
    ngx_electrumx_waiter_t  *waiter;

    state = job->state;
    state->ngathers--;

    for (n = 0; !ngx_queue_empty(&state->crowd); n++) {

        if (n >= NGX_ELECTRUMX_GATHERS && state->ngathers) {
            return;
        }

        q = ngx_queue_head(&state->crowd);
        waiter = ngx_queue_data(q, ngx_electrumx_waiter_t, queue);

        ngx_electrumx_waiter_remove(waiter);
        ngx_electrumx_runner_start(waiter->runner);
    }
}


ngx_int_t
ngx_electrumx_job_crowd(ngx_electrumx_index_t *index,
    ngx_electrumx_waiter_t *waiter)
{
    ngx_electrumx_state_t  *state;

    state = ngx_electrumx_state(index);

    if (state->ngathers < NGX_ELECTRUMX_GATHERS) {
        return NGX_AGAIN;
    }

    if (waiter->queue.next == NULL) {
        ngx_queue_insert_tail(&state->crowd, &waiter->queue);
    }

    return NGX_BUSY;
}


/* A slice, by who waits for it. */

ngx_int_t
ngx_electrumx_gather_step(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter)
{
    int                   rc;
    ngx_electrumx_job_t  *on;

    on = job->on ? job->on : job;

    if (!on->done) {
        ngx_electrumx_job_wait(on, waiter);
        return NGX_BUSY;
    }

    if (on->error) {
        rc = on->error;

    } else if (job->kind == NGX_ELECTRUMX_JOB_LIVE_BALANCE) {
        rc = ngx_electrumx_gather_balance(job);

    } else {
        rc = ngx_electrumx_gather_status(job);
    }

    if (rc == 1) {
        return NGX_AGAIN;
    }

    job->done = 1;
    job->error = rc;

    if (rc != EXI_OK) {
        ngx_electrumx_job_unlist(job);
    }

    return NGX_OK;
}


static int
ngx_electrumx_gather_status(ngx_electrumx_job_t *job)
{
    int                     rc;
    uint64_t                limit;
    const struct exi_rows  *rows;

    rows = job->on->rows;

    if (!job->counted) {

        limit = ngx_electrumx_history_limit(job->index);

        if (job->mid.st.n + exi_rows_confirmed(rows) > limit) {
            return EXI_ELIMIT;
        }

        job->counted = 1;
        job->st = job->mid.st;
    }

    rc = exi_rows_status(rows, &job->st, &job->at, NGX_ELECTRUMX_SLICE);

    if (rc == EXI_OK) {
        job->some = exi_status_final(&job->st, job->status);
    }

    return rc;
}


static int
ngx_electrumx_gather_balance(ngx_electrumx_job_t *job)
{
    int  rc;

    rc = exi_rows_balance(job->on->rows, &job->sum, &job->confirmed,
                          &job->unconfirmed);

    if (rc == EXI_OK) {
        ngx_electrumx_known_set_sum(job->state->known, job->key.b, &job->sum);
    }

    return rc;
}
