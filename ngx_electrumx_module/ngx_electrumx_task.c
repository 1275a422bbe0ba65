/*
 * Requests that take longer than a turn.  A session's tasks are done one after
 * the other, in the order in which they were asked; the session is a runner.
 *
 *     stream   a list too long to be written at once: counted (or measured)
 *              first, so that an error is known before the first byte leaves;
 *              then each slice writes entries while the client takes them.
 *              A member of a batch is written to memory and joins the batch.
 *     parked   waits for a job, then the request is run again
 *
 *     new --> count --> write <--> paused (the client reads slowly)
 *     new --> step the job --> run again --> answered, or parked anew
 *
 * A slice that needs what is not in memory is put aside until that was read,
 * and goes on at the entry that it was at; what was sent before stays sent.
 *
 * When the client is gone all of it is given back at once.
 */

#include "ngx_electrumx_heavy.h"


typedef struct {
    ngx_electrumx_runner_t       runner;      /* first */
    ngx_queue_t                  tasks;
    ngx_uint_t                   n;
    size_t                       held;        /* bytes of them */
    ngx_electrumx_session_t     *session;
} ngx_electrumx_tasks_t;


typedef struct {
    ngx_queue_t                  queue;       /* in tasks->tasks */
    ngx_electrumx_session_t     *session;
    ngx_electrumx_batch_t       *batch;
    const ngx_electrumx_method_t  *method;
    ngx_electrumx_dialect_e      dialect;
    ngx_str_t                    id;
    ngx_electrumx_arg_t          args[NGX_ELECTRUMX_MAX_ARGS];
    size_t                       held;

    ngx_electrumx_job_t         *job;         /* parked */
    ngx_electrumx_waiter_t       waiter;

    ngx_electrumx_read_t        *read;        /* what it lacks, or NULL */
    ngx_uint_t                   rounds;      /* without progress */

    struct exi_cursor           *cursor;      /* streams: one of these */
    struct exi_utxos            *utxos;
    ngx_uint_t                   flags;       /* history: EXI_HIST_*; 0: unspent
                                                 outputs */
    uint64_t                     from;        /* history: heights */
    uint64_t                     to;
    const ngx_electrumx_list_form_t  *form;
    ngx_electrumx_rows_t         rows;
    ngx_electrumx_out_t         *out;         /* NULL: not begun */
    size_t                       size;        /* of the list, measured */
    unsigned                     counted:1;
    unsigned                     failed:1;    /* the disk has */
} ngx_electrumx_task_t;


static ngx_electrumx_task_t *ngx_electrumx_task_new(ngx_electrumx_req_t *r);
static ngx_int_t ngx_electrumx_task_list(ngx_electrumx_req_t *r,
    ngx_uint_t flags, uint64_t from, uint64_t to,
    const ngx_electrumx_list_form_t *form);
static int ngx_electrumx_task_open(ngx_electrumx_task_t *task,
    struct exi_view *view);
static size_t ngx_electrumx_task_size(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_first(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_add(ngx_electrumx_req_t *r,
    ngx_electrumx_task_t *task, int rc, size_t size);
static void ngx_electrumx_task_free(ngx_electrumx_task_t *task);
static void ngx_electrumx_task_end(ngx_electrumx_task_t *task);

static ngx_int_t ngx_electrumx_tasks_run(ngx_electrumx_runner_t *runner);
static void ngx_electrumx_task_req(ngx_electrumx_task_t *task,
    ngx_electrumx_req_t *r);
static ngx_int_t ngx_electrumx_task_step(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_aside(ngx_electrumx_task_t *task,
    int rc, struct exi_cold_list *list);
static ngx_int_t ngx_electrumx_task_cold(ngx_electrumx_task_t *task);
static void ngx_electrumx_task_ready(void *data, ngx_uint_t failed);
static ngx_int_t ngx_electrumx_task_job(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_count(ngx_electrumx_task_t *task);
static int ngx_electrumx_task_measure(void *ctx, const struct exi_utxo *u);
static size_t ngx_electrumx_task_digits(uint64_t n);
static void ngx_electrumx_task_fail(ngx_electrumx_task_t *task, int rc);
static void ngx_electrumx_task_break(ngx_electrumx_task_t *task, int rc);
static ngx_int_t ngx_electrumx_task_begin(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_task_write(ngx_electrumx_task_t *task);
static void ngx_electrumx_task_written(ngx_electrumx_task_t *task);


/* New tasks */

ngx_int_t
ngx_electrumx_task_history(ngx_electrumx_req_t *r, ngx_uint_t flags,
    uint64_t from, uint64_t to, const ngx_electrumx_list_form_t *form)
{
    return ngx_electrumx_task_list(r, flags, from, to, form);
}


ngx_int_t
ngx_electrumx_task_unspent(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form)
{
    return ngx_electrumx_task_list(r, 0, 0, 0, form);
}


/* A member of a batch is read from the view of the batch, another one from that
   of its first slice: taking the live rows may be a long slice. */

static ngx_int_t
ngx_electrumx_task_list(ngx_electrumx_req_t *r, ngx_uint_t flags,
    uint64_t from, uint64_t to, const ngx_electrumx_list_form_t *form)
{
    int                    rc;
    ngx_electrumx_task_t  *task;

    task = ngx_electrumx_task_new(r);

    if (task == NULL) {
        return NGX_ERROR;
    }

    task->form = form;
    task->flags = flags;
    task->from = from;
    task->to = to;

    rc = r->batch ? ngx_electrumx_task_open(task, r->view) : EXI_OK;

    return ngx_electrumx_task_add(r, task, rc, ngx_electrumx_task_size(task));
}


static int
ngx_electrumx_task_open(ngx_electrumx_task_t *task, struct exi_view *view)
{
    int              rc;
    struct exi_skey  key;

    ngx_memcpy(key.b, task->args[0].hash, EXI_SKEY_LEN);

    if (task->flags == 0) {
        return exi_utxos_new(view, &ngx_electrumx_arena, &key, 1,
                             &task->utxos);
    }

    rc = exi_cursor_new(view, &ngx_electrumx_arena, &key,
                        (unsigned) task->flags, &task->cursor);

    return rc ? rc : exi_cursor_range(task->cursor, task->from, task->to);
}


static size_t
ngx_electrumx_task_size(ngx_electrumx_task_t *task)
{
    if (task->cursor) {
        return exi_cursor_size(task->cursor);
    }

    return task->utxos ? exi_utxos_size(task->utxos) : 0;
}


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

    return ngx_electrumx_task_add(r, task, rc, 0);
}


/* The task, the request's id and its first argument, in one piece; NULL: the
   error is in r. */

static ngx_electrumx_task_t *
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


/* Lets it wait for its turn, unless making it failed (rc). */

static ngx_int_t
ngx_electrumx_task_add(ngx_electrumx_req_t *r, ngx_electrumx_task_t *task,
    int rc, size_t size)
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
    task->held += size;
    tasks->held += task->held;
    tasks->n++;
    ngx_queue_insert_tail(&tasks->tasks, &task->queue);

    if (r->batch) {
        r->batch->pending++;
    }

    ngx_electrumx_runner_start(&tasks->runner);

    return NGX_AGAIN;
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

    if (rc == NGX_DONE) {
        return NGX_DONE;
    }

    if (rc == NGX_OK) {
        ngx_electrumx_task_end(task);
    }

    return tasks->n ? NGX_AGAIN : NGX_OK;
}


/* A slice: NGX_OK: answered, NGX_AGAIN: there is more, NGX_DONE: so, after a
   long slice, NGX_BUSY: goes on when the client, or a thread, has read. */

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

    if (task->job) {
        return ngx_electrumx_task_job(task);
    }

    if (task->cursor == NULL && task->utxos == NULL) {
        return ngx_electrumx_task_first(task);
    }

    if (!task->counted) {
        return ngx_electrumx_task_count(task);
    }

    if (task->out == NULL && ngx_electrumx_task_begin(task) != NGX_OK) {
        return NGX_OK;
    }

    return ngx_electrumx_task_write(task);
}


/* rc: of taking the list of what it lacks. */

static ngx_int_t
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


/* The same for its cursor. */

static ngx_int_t
ngx_electrumx_task_cold(ngx_electrumx_task_t *task)
{
    int                    rc;
    struct exi_cold_list  *list;

    list = NULL;

    rc = task->utxos ? exi_utxos_cold_take(task->utxos, &list)
                     : exi_cursor_cold_take(task->cursor, &list);

    return ngx_electrumx_task_aside(task, rc, list);
}


static void
ngx_electrumx_task_ready(void *data, ngx_uint_t failed)
{
    ngx_electrumx_task_t  *task;

    task = data;
    task->failed = (failed != 0);

    ngx_electrumx_runner_start(task->waiter.runner);
}


static void
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
ngx_electrumx_task_job(ngx_electrumx_task_t *task)
{
    int                    error;
    size_t                 start;
    ngx_int_t              rc;
    ngx_electrumx_req_t    r;
    struct exi_cold_list  *list;

    rc = ngx_electrumx_job_step(task->job, &task->waiter, &error);

    if (rc != NGX_OK) {
        return rc;
    }

    if (error != EXI_OK) {
        ngx_electrumx_task_fail(task, error);
        return NGX_OK;
    }

    ngx_electrumx_task_req(task, &r);

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


/* The first slice of a list takes its picture. */

static ngx_int_t
ngx_electrumx_task_first(ngx_electrumx_task_t *task)
{
    int                     rc;
    size_t                  size;
    ngx_electrumx_req_t     r;
    ngx_electrumx_tasks_t  *tasks;

    ngx_electrumx_task_req(task, &r);

    rc = EXI_ENOTREADY;

    if (ngx_electrumx_view(&r) == NGX_OK) {
        rc = ngx_electrumx_task_open(task, r.view);
    }

    if (rc != EXI_OK) {
        ngx_electrumx_task_fail(task, rc);
        return NGX_OK;
    }

    tasks = task->session->heavy;
    size = ngx_electrumx_task_size(task);

    task->held += size;
    tasks->held += size;

    return NGX_DONE;
}


/* Counts entries, or measures outputs, whose number of digits differs more. */

static ngx_int_t
ngx_electrumx_task_count(ngx_electrumx_task_t *task)
{
    int                     rc;
    uint64_t                size;
    uint32_t                height;
    struct exi_blkid        block;
    ngx_electrumx_index_t  *index;

    index = task->session->index;

    if (task->utxos) {
        rc = exi_utxos_next(task->utxos, NGX_ELECTRUMX_SLICE,
                            ngx_electrumx_task_measure, task);
        size = task->size;

    } else {
        rc = exi_cursor_count(task->cursor, NGX_ELECTRUMX_SLICE,
                              ngx_electrumx_history_limit(index));

        exi_cursor_block(task->cursor, &height, &block);

        size = exi_cursor_settled(task->cursor)
               * (sizeof(",{\"tx_hash\":\"\",\"height\":}") - 1 + 64
                  + ngx_electrumx_task_digits(height))
               + exi_cursor_live(task->cursor) * (uint64_t) 128;
    }

    if (rc == EXI_ECOLD) {
        return ngx_electrumx_task_cold(task);
    }

    task->rounds = 0;

    if (rc == EXI_OK && size + task->id.len + 256 > index->max_response) {
        rc = EXI_EHEAVY;
    }

    if (rc == 1) {
        return NGX_AGAIN;
    }

    if (rc != EXI_OK) {
        ngx_electrumx_task_fail(task, rc);
        return NGX_OK;
    }

    if (task->utxos) {
        exi_utxos_rewind(task->utxos);
    }

    task->counted = 1;

    return NGX_AGAIN;
}


static int
ngx_electrumx_task_measure(void *ctx, const struct exi_utxo *u)
{
    ngx_electrumx_task_t  *task;

    task = ctx;

    task->size += sizeof(",{\"tx_hash\":\"\",\"tx_pos\":,\"height\":,"
                         "\"value\":}") - 1
                  + 64
                  + ngx_electrumx_task_digits(u->index)
                  + ngx_electrumx_task_digits((uint64_t) u->height)
                  + ngx_electrumx_task_digits((uint64_t) u->value_sat);

    return task->size > task->session->index->max_response ? EXI_EHEAVY
                                                           : EXI_OK;
}


static size_t
ngx_electrumx_task_digits(uint64_t n)
{
    size_t  digits;

    for (digits = 1; n >= 10; digits++) {
        n /= 10;
    }

    return digits;
}


/* Answers with the error of libexi, before anything was sent. */

static void
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

    } else {
        (void) ngx_electrumx_fail_exi(&r, rc, "long request");
    }

    start = ngx_electrumx_answer_begin(&r);
    ngx_electrumx_answer(&r, start, NGX_ERROR);
}


static ngx_int_t
ngx_electrumx_task_begin(ngx_electrumx_task_t *task)
{
    ngx_electrumx_req_t  r;

    task->out = ngx_electrumx_out_new(task->session);

    if (task->out == NULL) {
        ngx_electrumx_session_close(task->session, NGX_ERROR);
        return NGX_ERROR;
    }

    task->rows.jw = &task->out->jw;
    task->rows.n = 0;
    task->rows.from = 0;
    task->rows.to = UINT64_MAX;

    if (task->batch == NULL) {
        ngx_electrumx_out_stream(task->out);

        ngx_electrumx_task_req(task, &r);
        r.out = task->out;
        (void) ngx_electrumx_answer_begin(&r);
    }

    exi_jw_raw(&task->out->jw, task->form->open.data, task->form->open.len);

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_task_write(ngx_electrumx_task_t *task)
{
    int                       rc;
    ngx_electrumx_session_t  *s;

    s = task->session;

    if (task->batch == NULL
        && ngx_electrumx_out_unsent(s)
           >= ngx_min(NGX_ELECTRUMX_WINDOW, s->index->max_queue))
    {
        return NGX_BUSY;
    }

    if (task->utxos) {
        rc = exi_utxos_next(task->utxos, NGX_ELECTRUMX_SLICE,
                            ngx_electrumx_unspent_row, &task->rows);
    } else {
        rc = exi_cursor_next(task->cursor, NGX_ELECTRUMX_SLICE,
                             ngx_electrumx_history_row, &task->rows);
    }

    if (rc == EXI_ECOLD) {
        return ngx_electrumx_task_cold(task);
    }

    task->rounds = 0;

    if (rc == 1) {
        return NGX_AGAIN;
    }

    if (rc == EXI_OK) {
        exi_jw_raw(&task->out->jw, task->form->close.data,
                   task->form->close.len);
        ngx_electrumx_task_written(task);
        return NGX_OK;
    }

    ngx_electrumx_task_break(task, rc == EXI_ELIMIT ? EXI_EHEAVY : rc);

    return NGX_OK;
}


/* Ends it with the error, wherever it is. */

static void
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


static void
ngx_electrumx_task_written(ngx_electrumx_task_t *task)
{
    size_t               start;
    ngx_electrumx_req_t  r;

    ngx_electrumx_task_req(task, &r);

    if (task->batch) {
        r.out = task->batch->out;
        start = ngx_electrumx_answer_begin(&r);
        ngx_electrumx_out_join(r.out, task->out);
        task->out = NULL;
        ngx_electrumx_answer(&r, start, NGX_OK);
        return;
    }

    r.out = task->out;
    task->out = NULL;

    ngx_electrumx_answer_end(&r);

    if (r.out->jw.err != EXI_OK) {
        ngx_electrumx_session_close(r.session, NGX_ERROR);
    }

    ngx_electrumx_out_send(r.out);
}
