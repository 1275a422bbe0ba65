/*
 * Requests that take longer than a turn.  A session's tasks are done one after
 * the other, in the order in which they were asked; the session is a runner.
 *
 *     list     a list too long to be written at once: ngx_electrumx_list.c
 *     parked   waits for a job, then the request is run again
 *
 *     new --> step the job --> run again --> answered, or parked anew
 *
 * A slice that needs what is not in memory is put aside until that was read,
 * and goes on at the entry that it was at; what was sent before stays sent.
 *
 * When the client is gone all of it is given back at once.
 */

#include "ngx_electrumx_task.h"


static void ngx_electrumx_task_free(ngx_electrumx_task_t *task);
static void ngx_electrumx_task_end(ngx_electrumx_task_t *task);

static ngx_int_t ngx_electrumx_tasks_run(ngx_electrumx_runner_t *runner);
static ngx_int_t ngx_electrumx_task_step(ngx_electrumx_task_t *task);
static void ngx_electrumx_task_ready(void *data, ngx_uint_t failed);
static ngx_int_t ngx_electrumx_task_parked(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_again(ngx_electrumx_task_t *task);


/* New tasks */

ngx_int_t
ngx_electrumx_task_park(ngx_electrumx_req_t *r, ngx_uint_t kind)
{
    int                    rc;
    ngx_electrumx_task_t  *task;

    task = ngx_electrumx_task_new(r);

    if (task == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_electrumx_job_get(r->index, r->view, kind, r->args[0].hash,
                               &task->job);

    if (rc == EXI_EBUSY) {
        task->crowded = 1;
        rc = EXI_OK;
    }

    return ngx_electrumx_task_add(r, task, rc);
}


ngx_electrumx_task_t *
ngx_electrumx_task_new(ngx_electrumx_req_t *r)
{
    size_t                  size;
    u_char                 *p;
    ngx_uint_t              i;
    ngx_electrumx_task_t   *task;
    ngx_electrumx_tasks_t  *tasks;

    tasks = r->session->heavy;

    if (tasks && tasks->held > r->index->max_queue + r->index->max_request) {
        (void) ngx_electrumx_fail(r, NGX_ELECTRUMX_BUSY,
                       "server busy: too many long requests wait");
        return NULL;
    }

    size = sizeof(ngx_electrumx_task_t) + r->id.len + r->args[0].str.len;

    task = ngx_alloc(size, ngx_cycle->log);

    if (task == NULL) {
        (void) ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
        return NULL;
    }

    ngx_memzero(task, sizeof(ngx_electrumx_task_t));

    task->session = r->session;
    task->batch = r->batch;
    task->method = r->method;
    task->dialect = r->dialect;
    task->held = size;

    ngx_memcpy(task->args, r->args, sizeof(task->args));

    for (i = 0; i < NGX_ELECTRUMX_MAX_ARGS; i++) {
        task->args[i].value = NULL;
    }

    p = (u_char *) task + sizeof(ngx_electrumx_task_t);

    task->id.data = p;
    task->id.len = r->id.len;

    if (r->id.len) {
        p = ngx_cpymem(p, r->id.data, r->id.len);
    }

    task->args[0].str.data = p;

    if (r->args[0].str.len) {
        ngx_memcpy(p, r->args[0].str.data, r->args[0].str.len);
    }

    return task;
}


ngx_int_t
ngx_electrumx_task_add(ngx_electrumx_req_t *r, ngx_electrumx_task_t *task,
    int rc)
{
    ngx_electrumx_tasks_t    *tasks;
    ngx_electrumx_session_t  *s;

    s = r->session;

    if (rc != EXI_OK) {
        ngx_electrumx_task_free(task);
        return ngx_electrumx_fail_exi(r, rc, "long request");
    }

    tasks = s->heavy;

    if (tasks == NULL) {
        tasks = ngx_calloc(sizeof(ngx_electrumx_tasks_t), ngx_cycle->log);

        if (tasks == NULL) {
            ngx_electrumx_task_free(task);
            return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                      "internal error: out of memory");
        }

        tasks->runner.run = ngx_electrumx_tasks_run;
        tasks->session = s;
        ngx_queue_init(&tasks->tasks);
        s->heavy = tasks;
    }

    task->waiter.runner = &tasks->runner;
    tasks->held += task->held;
    tasks->n++;
    ngx_queue_insert_tail(&tasks->tasks, &task->queue);

    if (r->batch) {
        r->batch->pending++;
    }

    ngx_electrumx_runner_start(&tasks->runner);

    return NGX_AGAIN;
}


void
ngx_electrumx_task_hold(ngx_electrumx_task_t *task, size_t size)
{
    ngx_electrumx_tasks_t  *tasks;

    tasks = task->session->heavy;

    task->held += size;
    tasks->held += size;
}


static void
ngx_electrumx_task_free(ngx_electrumx_task_t *task)
{
    if (task->out) {
        ngx_electrumx_out_drop(task->out);
    }

    if (task->job) {
        ngx_electrumx_job_unref(task->job, &task->waiter);
    }

    ngx_electrumx_waiter_remove(&task->waiter);
    ngx_electrumx_cold_forget(task->read);

    exi_cursor_free(task->cursor);
    exi_utxos_free(task->utxos);

    ngx_free(task);
}


/* It has been answered. */

static void
ngx_electrumx_task_end(ngx_electrumx_task_t *task)
{
    ngx_electrumx_batch_t    *batch;
    ngx_electrumx_tasks_t    *tasks;
    ngx_electrumx_session_t  *s;

    s = task->session;
    tasks = s->heavy;
    batch = task->batch;

    ngx_queue_remove(&task->queue);
    tasks->n--;
    tasks->held -= task->held;

    ngx_electrumx_task_free(task);

    if (batch) {
        ngx_electrumx_batch_done(s, batch);
    }

    ngx_electrumx_session_wake(s);
}


/* What the session asks */

ngx_uint_t
ngx_electrumx_tasks(ngx_electrumx_session_t *s)
{
    ngx_electrumx_tasks_t  *tasks;

    tasks = s->heavy;

    return tasks ? tasks->n : 0;
}


ngx_uint_t
ngx_electrumx_tasks_full(ngx_electrumx_session_t *s)
{
    return ngx_electrumx_tasks(s) >= NGX_ELECTRUMX_TASKS;
}


void
ngx_electrumx_tasks_writable(ngx_electrumx_session_t *s)
{
    ngx_electrumx_tasks_t  *tasks;

    tasks = s->heavy;

    if (tasks && tasks->n) {
        ngx_electrumx_runner_start(&tasks->runner);
    }
}


void
ngx_electrumx_tasks_closed(ngx_electrumx_session_t *s)
{
    ngx_electrumx_task_t   *task;
    ngx_electrumx_tasks_t  *tasks;

    tasks = s->heavy;

    if (tasks == NULL) {
        return;
    }

    ngx_electrumx_runner_stop(&tasks->runner);

    while (tasks->n) {
        task = ngx_queue_data(ngx_queue_head(&tasks->tasks),
                              ngx_electrumx_task_t, queue);
        ngx_electrumx_task_end(task);
    }

    s->heavy = NULL;
    ngx_free(tasks);
}


/* Turns */

static ngx_int_t
ngx_electrumx_tasks_run(ngx_electrumx_runner_t *runner)
{
    ngx_int_t               rc;
    ngx_electrumx_task_t   *task;
    ngx_electrumx_tasks_t  *tasks;

    tasks = (ngx_electrumx_tasks_t *) runner;

    if (tasks->n == 0 || tasks->session->dead) {
        return NGX_OK;
    }

    task = ngx_queue_data(ngx_queue_head(&tasks->tasks), ngx_electrumx_task_t,
                          queue);

    rc = ngx_electrumx_task_step(task);

    ngx_electrumx_message_end();

    if (rc == NGX_BUSY) {
        return NGX_OK;
    }

    if (rc == NGX_OK) {
        ngx_electrumx_task_end(task);
    }

    return tasks->n ? NGX_AGAIN : NGX_OK;
}


/* A slice: NGX_OK: answered, NGX_AGAIN: there is more, NGX_BUSY: goes on when
   the client, a thread or somebody else has done something. */

static ngx_int_t
ngx_electrumx_task_step(ngx_electrumx_task_t *task)
{
    if (task->read) {
        return NGX_BUSY;
    }

    if (task->failed) {
        ngx_electrumx_task_break(task, EXI_EIO);
        return NGX_OK;
    }

    return task->form ? ngx_electrumx_list_step(task)
                      : ngx_electrumx_task_parked(task);
}


ngx_int_t
ngx_electrumx_task_aside(ngx_electrumx_task_t *task, int rc,
    struct exi_cold_list *list)
{
    if (rc == EXI_OK && task->rounds++ == NGX_ELECTRUMX_COLD_ROUNDS) {
        exi_cold_free(list);
        rc = EXI_ELIMIT;
    }

    if (rc != EXI_OK
        || ngx_electrumx_cold_read(task->session->index, list,
                                   ngx_electrumx_task_ready, task, &task->read)
           != NGX_OK)
    {
        ngx_electrumx_task_break(task, EXI_EIO);
        return NGX_OK;
    }

    return NGX_BUSY;
}


static void
ngx_electrumx_task_ready(void *data, ngx_uint_t failed)
{
    ngx_electrumx_task_t  *task;

    task = data;
    task->failed = (failed != 0);

    ngx_electrumx_runner_start(task->waiter.runner);
}


void
ngx_electrumx_task_req(ngx_electrumx_task_t *task, ngx_electrumx_req_t *r)
{
    ngx_memzero(r, sizeof(ngx_electrumx_req_t));

    r->session = task->session;
    r->index = task->session->index;
    r->batch = task->batch;
    r->id = task->id;
    r->dialect = task->dialect;
    r->method = task->method;

    ngx_memcpy(r->args, task->args, sizeof(task->args));
}


/* Parked: when the job is done the request is run again, as if it came now. */

static ngx_int_t
ngx_electrumx_task_parked(ngx_electrumx_task_t *task)
{
    int        error;
    ngx_int_t  rc;

    if (task->crowded) {
        task->crowded = 0;
        return ngx_electrumx_job_crowd(task->session->index, &task->waiter);
    }

    if (task->job == NULL) {
        return ngx_electrumx_task_again(task);
    }

    rc = ngx_electrumx_job_step(task->job, &task->waiter, &error);

    if (rc != NGX_OK) {
        return rc;
    }

    if (error != EXI_OK) {
        ngx_electrumx_task_fail(task, error);
        return NGX_OK;
    }

    return ngx_electrumx_task_again(task);
}


static ngx_int_t
ngx_electrumx_task_again(ngx_electrumx_task_t *task)
{
    int                    error;
    size_t                 start;
    ngx_int_t              rc;
    ngx_electrumx_req_t    r;
    struct exi_cold_list  *list;

    ngx_electrumx_task_req(task, &r);

    r.job = task->job;
    r.out = r.batch ? r.batch->out : ngx_electrumx_out_new(r.session);

    if (r.out == NULL) {
        ngx_electrumx_session_close(r.session, NGX_ERROR);
        return NGX_OK;
    }

    start = ngx_electrumx_answer_begin(&r);
    rc = ngx_electrumx_view(&r);

    if (rc == NGX_OK) {
        rc = r.method->handler(&r);
    }

    if (rc != NGX_AGAIN && r.view && exi_view_cold(r.view)) {

        /* what it has done does not count */

        list = NULL;
        error = exi_view_cold_take(r.view, &list);

        r.close = 0;
        ngx_electrumx_answer(&r, start, NGX_AGAIN);

        return ngx_electrumx_task_aside(task, error, list);
    }

    ngx_electrumx_answer(&r, start, rc);

    return NGX_OK;
}


void
ngx_electrumx_task_fail(ngx_electrumx_task_t *task, int rc)
{
    size_t               start;
    ngx_electrumx_req_t  r;

    ngx_electrumx_task_req(task, &r);

    r.out = r.batch ? r.batch->out : ngx_electrumx_out_new(r.session);

    if (r.out == NULL) {
        ngx_electrumx_session_close(r.session, NGX_ERROR);
        return;
    }

    if (rc == EXI_ELIMIT) {
        (void) ngx_electrumx_fail(&r, NGX_ELECTRUMX_HISTORY_TOO_LARGE,
                                  "history too large");

    } else if (rc == EXI_EHEAVY) {
        (void) ngx_electrumx_failf(&r, NGX_ELECTRUMX_INVALID_REQUEST,
                                   "response too large (over %uz bytes)",
                                   r.index->max_response);

    } else if (rc == EXI_EBUSY) {
        (void) ngx_electrumx_fail(&r, NGX_ELECTRUMX_BUSY,
                                  "server busy: this took too long");

    } else {
        (void) ngx_electrumx_fail_exi(&r, rc, "long request");
    }

    start = ngx_electrumx_answer_begin(&r);
    ngx_electrumx_answer(&r, start, NGX_ERROR);
}


void
ngx_electrumx_task_break(ngx_electrumx_task_t *task, int rc)
{
    ngx_electrumx_session_t  *s;

    if (task->batch || task->out == NULL) {
        ngx_electrumx_task_fail(task, rc);
        return;
    }

    /* the beginning of the answer has left: it can't be made an error */

    s = task->session;

    ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                  "electrumx \"%V\": long answer broken off: %s",
                  &s->index->name, exi_strerror(rc));
    ngx_electrumx_session_close(s, NGX_ERROR);
}
