/*
 * Lists that are too long to be written at once, a kind of tasks.
 *
 *     new --> gather --> count --> write <--> paused (the client reads slowly)
 *
 * The live rows are gathered first, for all who ask for them; then the list is
 * counted (or measured), so that an error is known before the first byte
 * leaves; then each slice writes entries while the client takes them.  A member
 * of a batch is written to memory and joins the batch.
 */

#include "ngx_electrumx_task.h"


static ngx_int_t ngx_electrumx_list_new(ngx_electrumx_req_t *r,
    ngx_uint_t flags, uint64_t from, uint64_t to,
    const ngx_electrumx_list_form_t *form);
static int ngx_electrumx_list_gather(ngx_electrumx_task_t *task,
    struct exi_view *view);
static ngx_int_t ngx_electrumx_list_first(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_list_open(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_list_cold(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_list_count(ngx_electrumx_task_t *task);
static int ngx_electrumx_list_measure(void *ctx, const struct exi_utxo *u);
static size_t ngx_electrumx_list_digits(uint64_t n);
static ngx_int_t ngx_electrumx_list_begin(ngx_electrumx_task_t *task);
static ngx_int_t ngx_electrumx_list_write(ngx_electrumx_task_t *task);
static void ngx_electrumx_list_written(ngx_electrumx_task_t *task);


ngx_int_t
ngx_electrumx_task_history(ngx_electrumx_req_t *r, ngx_uint_t flags,
    uint64_t from, uint64_t to, const ngx_electrumx_list_form_t *form)
{
    return ngx_electrumx_list_new(r, flags, from, to, form);
}


ngx_int_t
ngx_electrumx_task_unspent(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form)
{
    return ngx_electrumx_list_new(r, 0, 0, 0, form);
}


/* A member of a batch is of the picture of the batch, unless too many are
   gathered; another one of that of its first slice. */

static ngx_int_t
ngx_electrumx_list_new(ngx_electrumx_req_t *r, ngx_uint_t flags,
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

    rc = r->batch ? ngx_electrumx_list_gather(task, r->view) : EXI_OK;

    return ngx_electrumx_task_add(r, task, rc == EXI_EBUSY ? EXI_OK : rc);
}


static int
ngx_electrumx_list_gather(ngx_electrumx_task_t *task, struct exi_view *view)
{
    return ngx_electrumx_job_get(task->session->index, view,
                                 NGX_ELECTRUMX_JOB_ROWS, task->args[0].hash,
                                 &task->job);
}


ngx_int_t
ngx_electrumx_list_step(ngx_electrumx_task_t *task)
{
    if (task->job == NULL) {
        return ngx_electrumx_list_first(task);
    }

    if (task->cursor == NULL && task->utxos == NULL) {
        return ngx_electrumx_list_open(task);
    }

    if (!task->counted) {
        return ngx_electrumx_list_count(task);
    }

    if (task->out == NULL && ngx_electrumx_list_begin(task) != NGX_OK) {
        return NGX_OK;
    }

    return ngx_electrumx_list_write(task);
}


/* The first slice takes the picture. */

static ngx_int_t
ngx_electrumx_list_first(ngx_electrumx_task_t *task)
{
    int                  rc;
    ngx_electrumx_req_t  r;

    ngx_electrumx_task_req(task, &r);

    rc = EXI_ENOTREADY;

    if (ngx_electrumx_view(&r) == NGX_OK) {
        rc = ngx_electrumx_list_gather(task, r.view);
    }

    if (rc == EXI_EBUSY) {
        return ngx_electrumx_job_crowd(r.index, &task->waiter);
    }

    if (rc != EXI_OK) {
        ngx_electrumx_task_fail(task, rc);
        return NGX_OK;
    }

    return NGX_AGAIN;
}


/* When the live rows are there. */

static ngx_int_t
ngx_electrumx_list_open(ngx_electrumx_task_t *task)
{
    int        rc;
    ngx_int_t  step;

    step = ngx_electrumx_job_step(task->job, &task->waiter, &rc);

    if (step != NGX_OK) {
        return step;
    }

    if (rc == EXI_OK && task->flags == 0) {
        rc = exi_utxos_of(task->job->rows, &task->utxos);

    } else if (rc == EXI_OK) {
        rc = exi_cursor_of(task->job->rows, (unsigned) task->flags,
                           &task->cursor);

        if (rc == EXI_OK) {
            rc = exi_cursor_range(task->cursor, task->from, task->to);
        }
    }

    if (rc != EXI_OK) {
        ngx_electrumx_task_fail(task, rc);
        return NGX_OK;
    }

    ngx_electrumx_task_hold(task, exi_rows_size(task->job->rows));

    return NGX_AGAIN;
}


/* Its cursor lacks something. */

static ngx_int_t
ngx_electrumx_list_cold(ngx_electrumx_task_t *task)
{
    int                    rc;
    struct exi_cold_list  *list;

    list = NULL;

    rc = task->utxos ? exi_utxos_cold_take(task->utxos, &list)
                     : exi_cursor_cold_take(task->cursor, &list);

    return ngx_electrumx_task_aside(task, rc, list);
}


/* Counts entries, or measures outputs, whose number of digits differs more. */

static ngx_int_t
ngx_electrumx_list_count(ngx_electrumx_task_t *task)
{
    int                     rc;
    uint64_t                size;
    uint32_t                height;
    struct exi_blkid        block;
    ngx_electrumx_index_t  *index;

    index = task->session->index;

    if (task->utxos) {
        rc = exi_utxos_next(task->utxos, NGX_ELECTRUMX_SLICE,
                            ngx_electrumx_list_measure, task);
        size = task->size;

    } else {
        rc = exi_cursor_count(task->cursor, NGX_ELECTRUMX_SLICE,
                              ngx_electrumx_history_limit(index));

        exi_cursor_block(task->cursor, &height, &block);

        size = exi_cursor_settled(task->cursor)
               * (sizeof(",{\"tx_hash\":\"\",\"height\":}") - 1 + 64
                  + ngx_electrumx_list_digits(height))
               + exi_cursor_live(task->cursor) * (uint64_t) 128;
    }

    if (rc == EXI_ECOLD) {
        return ngx_electrumx_list_cold(task);
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
ngx_electrumx_list_measure(void *ctx, const struct exi_utxo *u)
{
    ngx_electrumx_task_t  *task;

    task = ctx;

    task->size += sizeof(",{\"tx_hash\":\"\",\"tx_pos\":,\"height\":,"
                         "\"value\":}") - 1
                  + 64
                  + ngx_electrumx_list_digits(u->index)
                  + ngx_electrumx_list_digits((uint64_t) u->height)
                  + ngx_electrumx_list_digits((uint64_t) u->value_sat);

    return task->size > task->session->index->max_response ? EXI_EHEAVY
                                                           : EXI_OK;
}


static size_t
ngx_electrumx_list_digits(uint64_t n)
{
    size_t  digits;

    for (digits = 1; n >= 10; digits++) {
        n /= 10;
    }

    return digits;
}


static ngx_int_t
ngx_electrumx_list_begin(ngx_electrumx_task_t *task)
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
ngx_electrumx_list_write(ngx_electrumx_task_t *task)
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
        return ngx_electrumx_list_cold(task);
    }

    task->rounds = 0;

    if (rc == 1) {
        return NGX_AGAIN;
    }

    if (rc == EXI_OK) {
        exi_jw_raw(&task->out->jw, task->form->close.data,
                   task->form->close.len);
        ngx_electrumx_list_written(task);
        return NGX_OK;
    }

    ngx_electrumx_task_break(task, rc == EXI_ELIMIT ? EXI_EHEAVY : rc);

    return NGX_OK;
}


static void
ngx_electrumx_list_written(ngx_electrumx_task_t *task)
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
