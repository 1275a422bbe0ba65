/*
 * What is not in memory: threads of an nginx thread pool read it, never the
 * worker's event loop.
 *
 * A view of the index that must not wait (exi_view_nowait) notes what its
 * queries lack.  A request in which that happened is put aside with its text;
 * a task reads the noted ranges into the page cache; then the request is run
 * again from the start, as often as it lacks something.  Answers thus come in
 * the order in which they are ready, as those of calls to the node do.
 *
 * A slice of a long request (ngx_electrumx_task.c, _job.c) is not run again
 * from its start: it goes on at the entry that it was at.
 *
 * A task knows descriptors, offsets and its own memory, nothing of nginx's and
 * nothing of the index.  A session has at most NGX_ELECTRUMX_COLD_SESSION tasks
 * under way, a worker NGX_ELECTRUMX_COLD_TASKS; the others wait, and sessions
 * take turns.  No more input is read from a session while
 * NGX_ELECTRUMX_COLD_FULL of its requests are put aside.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_COLD_TASKS     32       /* threads of nginx's default */
#define NGX_ELECTRUMX_COLD_SESSION   8
#define NGX_ELECTRUMX_COLD_FULL      64

/* descriptors: one for each file of the index, and the connections */
#define NGX_ELECTRUMX_FILES          65536

/* A request put aside. */

struct ngx_electrumx_cold_s {
    ngx_queue_t                  queue;       /* in the session's waiting */
    ngx_electrumx_session_t     *session;
    ngx_electrumx_batch_t       *batch;
    ngx_electrumx_call_t        *call;        /* answered by the node; or
                                                 NULL */
    ngx_uint_t                   ok;          /* its answer is in text */
    ngx_str_t                    text;        /* of the request */
    ngx_uint_t                   rounds;
    struct exi_cold_list        *list;        /* NULL: runs again */
};


/* s->cold, made when a request of a session is first put aside. */

typedef struct {
    ngx_queue_t                  queue;       /* in ngx_electrumx_cold_wait */
    ngx_queue_t                  requests;    /* that wait for a task */
    ngx_uint_t                   waiting;     /* of them */
    ngx_uint_t                   running;     /* tasks */
} ngx_electrumx_colds_t;


/* A task.  The thread touches list, store and failed only. */

struct ngx_electrumx_read_s {
    ngx_thread_task_t            task;
    struct exi_cold_list        *list;
    struct exi_store            *store;       /* to refresh */
    int                          failed;

    ngx_electrumx_index_t       *index;
    ngx_electrumx_cold_t        *cold;        /* or */
    void                       (*handler)(void *data);
    void                       (*ready)(void *data, ngx_uint_t failed);
    void                        *data;
    ngx_electrumx_read_t       **owner;       /* of ready() */
};


static ngx_int_t ngx_electrumx_cold_aside(ngx_electrumx_req_t *r,
    ngx_str_t *text, ngx_int_t rc);
static ngx_electrumx_cold_t *ngx_electrumx_cold_new(ngx_electrumx_req_t *r,
    ngx_str_t *text);
static void ngx_electrumx_cold_begin(ngx_electrumx_cold_t *cold);
static ngx_int_t ngx_electrumx_cold_start(ngx_electrumx_cold_t *cold);
static void ngx_electrumx_cold_next(void);
static void ngx_electrumx_cold_again(ngx_electrumx_cold_t *cold);
static void ngx_electrumx_cold_run(ngx_electrumx_cold_t *cold);
static void ngx_electrumx_cold_failed(ngx_electrumx_cold_t *cold);
static void ngx_electrumx_cold_free(ngx_electrumx_cold_t *cold);
static ngx_electrumx_read_t *ngx_electrumx_read_new(
    ngx_electrumx_index_t *index);
static ngx_int_t ngx_electrumx_read_post(ngx_electrumx_read_t *t);
static void ngx_electrumx_read_thread(void *data, ngx_log_t *log);
static void ngx_electrumx_read_done(ngx_event_t *ev);


static ngx_queue_t  ngx_electrumx_cold_wait;  /* sessions, in turn */
static ngx_uint_t   ngx_electrumx_cold_tasks; /* for requests, under way */


/* Requests */

void
ngx_electrumx_cold_text(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v,
    ngx_str_t *text)
{
    ngx_electrumx_json_raw(v, text);

    if (text->len && memchr(text->data, '\\', text->len)) {
        ngx_electrumx_cold_copy(r, text);
    }
}


void
ngx_electrumx_cold_copy(ngx_electrumx_req_t *r, ngx_str_t *text)
{
    u_char  *p;

    if (r->index->threads == NULL || r->cold || text->data == NULL) {
        return;
    }

    p = ngx_electrumx_alloc(text->len);

    if (p) {
        ngx_memcpy(p, text->data, text->len);
    }

    text->data = p;
}


ngx_int_t
ngx_electrumx_cold_request(ngx_electrumx_req_t *r, ngx_str_t *text,
    ngx_int_t rc)
{
    if (r->view == NULL || !exi_view_cold(r->view)) {
        return rc;
    }

    return ngx_electrumx_cold_aside(r, text, rc);
}


ngx_int_t
ngx_electrumx_cold_call(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, ngx_str_t *json, ngx_int_t rc, ngx_uint_t *kept)
{
    if (r->view == NULL || !exi_view_cold(r->view)) {
        return rc;
    }

    rc = ngx_electrumx_cold_aside(r, json, rc);

    if (r->cold && r->cold->list) {
        r->cold->call = call;
        r->cold->ok = ok;
        *kept = 1;
    }

    return rc;
}


/* r->cold->list is set if it was put aside. */

static ngx_int_t
ngx_electrumx_cold_aside(ngx_electrumx_req_t *r, ngx_str_t *text, ngx_int_t rc)
{
    struct exi_cold_list  *list;
    ngx_electrumx_cold_t  *cold;

    if (exi_view_cold_take(r->view, &list) != EXI_OK) {
        goto nomem;
    }

    if (rc == NGX_AGAIN) {

        /* it went on without what it lacked, and waits for the node */

        exi_cold_free(list);
        return rc;
    }

    if (r->cold == NULL) {
        r->cold = text->data ? ngx_electrumx_cold_new(r, text) : NULL;
    }

    cold = r->cold;

    if (cold == NULL) {
        exi_cold_free(list);
        goto nomem;
    }

    if (cold->rounds++ == NGX_ELECTRUMX_COLD_ROUNDS) {
        exi_cold_free(list);
        return ngx_electrumx_fail_exi(r, EXI_ELIMIT, "reading");
    }

    r->close = 0;
    cold->list = list;

    ngx_electrumx_cold_begin(cold);

    return NGX_AGAIN;

nomem:

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                              "internal error: out of memory");
}


static ngx_electrumx_cold_t *
ngx_electrumx_cold_new(ngx_electrumx_req_t *r, ngx_str_t *text)
{
    ngx_electrumx_cold_t     *cold;
    ngx_electrumx_colds_t    *colds;
    ngx_electrumx_session_t  *s;

    s = r->session;

    if (s->cold == NULL) {

        colds = ngx_calloc(sizeof(ngx_electrumx_colds_t), ngx_cycle->log);

        if (colds == NULL) {
            return NULL;
        }

        ngx_queue_init(&colds->requests);
        s->cold = colds;
    }

    cold = ngx_calloc(sizeof(ngx_electrumx_cold_t) + text->len,
                      ngx_cycle->log);

    if (cold == NULL) {
        return NULL;
    }

    cold->session = s;
    cold->batch = r->batch;

    cold->text.data = (u_char *) cold + sizeof(ngx_electrumx_cold_t);
    cold->text.len = text->len;
    ngx_memcpy(cold->text.data, text->data, text->len);

    ngx_electrumx_session_ref(s);
    s->ncold++;

    if (r->batch) {
        r->batch->pending++;
    }

    return cold;
}


ngx_uint_t
ngx_electrumx_cold_full(ngx_electrumx_session_t *s)
{
    return s->ncold >= NGX_ELECTRUMX_COLD_FULL;
}


/* Starts its task, or lets it wait behind others. */

static void
ngx_electrumx_cold_begin(ngx_electrumx_cold_t *cold)
{
    ngx_electrumx_colds_t  *colds;

    colds = cold->session->cold;

    if (ngx_electrumx_cold_wait.next == NULL) {
        ngx_queue_init(&ngx_electrumx_cold_wait);
    }

    if (colds->waiting++ == 0) {
        ngx_queue_insert_tail(&ngx_electrumx_cold_wait, &colds->queue);
    }

    ngx_queue_insert_tail(&colds->requests, &cold->queue);

    ngx_electrumx_cold_next();
}


/* Starts what waits, one request of each session in turn. */

static void
ngx_electrumx_cold_next(void)
{
    ngx_queue_t            *q, *last, *head;
    ngx_electrumx_cold_t   *cold;
    ngx_electrumx_colds_t  *colds;

    last = NULL;

    if (ngx_electrumx_cold_wait.next == NULL) {
        ngx_queue_init(&ngx_electrumx_cold_wait);
    }

    while (!ngx_queue_empty(&ngx_electrumx_cold_wait)
           && ngx_electrumx_cold_tasks < NGX_ELECTRUMX_COLD_TASKS)
    {
        q = ngx_queue_head(&ngx_electrumx_cold_wait);

        if (q == last) {
            return;
        }

        colds = ngx_queue_data(q, ngx_electrumx_colds_t, queue);
        ngx_queue_remove(q);

        if (colds->running >= NGX_ELECTRUMX_COLD_SESSION) {
            ngx_queue_insert_tail(&ngx_electrumx_cold_wait, q);
            last = last ? last : q;
            continue;
        }

        last = NULL;

        head = ngx_queue_head(&colds->requests);
        cold = ngx_queue_data(head, ngx_electrumx_cold_t, queue);
        ngx_queue_remove(head);

        if (--colds->waiting) {
            ngx_queue_insert_tail(&ngx_electrumx_cold_wait, q);
        }

        if (ngx_electrumx_cold_start(cold) != NGX_OK) {

            /* put back; tried again when a task ends or at the next tick */

            if (colds->waiting++ == 0) {
                ngx_queue_insert_tail(&ngx_electrumx_cold_wait, q);
            }

            ngx_queue_insert_head(&colds->requests, head);
            return;
        }
    }
}


static ngx_int_t
ngx_electrumx_cold_start(ngx_electrumx_cold_t *cold)
{
    ngx_electrumx_read_t   *t;
    ngx_electrumx_colds_t  *colds;

    colds = cold->session->cold;
    t = ngx_electrumx_read_new(cold->session->index);

    if (t == NULL) {
        return NGX_ERROR;
    }

    t->list = cold->list;
    t->cold = cold;

    if (ngx_electrumx_read_post(t) != NGX_OK) {
        return NGX_ERROR;
    }

    colds->running++;
    ngx_electrumx_cold_tasks++;

    return NGX_OK;
}


/* What it lacked was read: runs it. */

static void
ngx_electrumx_cold_again(ngx_electrumx_cold_t *cold)
{
    ngx_electrumx_session_t  *s;

    s = cold->session;

    exi_cold_free(cold->list);
    cold->list = NULL;

    if (s->connection && !s->dead) {
        ngx_electrumx_cold_run(cold);
    }

    if (cold->list == NULL) {
        ngx_electrumx_cold_free(cold);
    }
}


static void
ngx_electrumx_cold_run(ngx_electrumx_cold_t *cold)
{
    u_char                *text;
    ngx_electrumx_req_t    r;
    ngx_electrumx_call_t  *call;

    ngx_electrumx_rpc_init(&r, cold->session);

    r.cold = cold;
    r.batch = cold->batch;
    r.out = r.batch ? r.batch->out : ngx_electrumx_out_new(cold->session);

    if (r.out == NULL) {
        ngx_electrumx_session_close(cold->session, NGX_ERROR);
        return;
    }

    call = cold->call;

    if (call) {
        cold->call = NULL;
        ngx_electrumx_call_finish(&r, call, cold->ok, cold->text.data,
                                  cold->text.len);
        return;
    }

    text = ngx_electrumx_alloc(cold->text.len);

    if (text) {
        ngx_memcpy(text, cold->text.data, cold->text.len);
        ngx_electrumx_rpc_again(&r, text, cold->text.len);

    } else {
        ngx_electrumx_session_close(cold->session, NGX_ERROR);

        if (r.batch == NULL) {
            ngx_electrumx_out_drop(r.out);
        }
    }

    ngx_electrumx_message_end();
}


/* The system could not read it. */

static void
ngx_electrumx_cold_failed(ngx_electrumx_cold_t *cold)
{
    cold->rounds = NGX_ELECTRUMX_COLD_ROUNDS;

    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "electrumx \"%V\": a file of the index can't be read",
                  &cold->session->index->name);
}


static void
ngx_electrumx_cold_free(ngx_electrumx_cold_t *cold)
{
    ngx_electrumx_session_t  *s;

    s = cold->session;

    if (cold->list) {
        exi_cold_free(cold->list);
    }

    if (cold->call) {
        ngx_electrumx_call_done(cold->call);
    }

    if (cold->batch) {
        ngx_electrumx_batch_done(s, cold->batch);
    }

    ngx_free(cold);

    if (--s->ncold == 0 && s->connection == NULL && s->cold) {
        ngx_free(s->cold);
        s->cold = NULL;
    }

    ngx_electrumx_session_wake(s);
    ngx_electrumx_session_unref(s);
}


void
ngx_electrumx_cold_closed(ngx_electrumx_session_t *s)
{
    ngx_queue_t            *q;
    ngx_electrumx_colds_t  *colds;

    colds = s->cold;

    if (colds == NULL) {
        return;
    }

    if (colds->waiting) {
        ngx_queue_remove(&colds->queue);
        colds->waiting = 0;
    }

    while (!ngx_queue_empty(&colds->requests)) {
        q = ngx_queue_head(&colds->requests);
        ngx_queue_remove(q);
        ngx_electrumx_cold_free(ngx_queue_data(q, ngx_electrumx_cold_t,
                                               queue));
    }

    if (s->ncold == 0) {
        ngx_free(colds);
        s->cold = NULL;
    }
}


/* Subscriptions, files */

ngx_int_t
ngx_electrumx_cold_fetch(ngx_electrumx_index_t *index, struct exi_view *view,
    void (*handler)(void *data), void *data)
{
    struct exi_cold_list  *list;
    ngx_electrumx_read_t  *t;

    switch (exi_view_cold_take(view, &list)) {

    case EXI_OK:
        break;

    case EXI_ENOTFOUND:
        return NGX_DECLINED;

    default:
        return NGX_ERROR;
    }

    t = index->fetching ? NULL : ngx_electrumx_read_new(index);

    if (t == NULL) {
        exi_cold_free(list);
        return NGX_ERROR;
    }

    t->list = list;
    t->handler = handler;
    t->data = data;

    if (ngx_electrumx_read_post(t) != NGX_OK) {
        exi_cold_free(list);
        return NGX_ERROR;
    }

    index->fetching = 1;

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_cold_read(ngx_electrumx_index_t *index,
    struct exi_cold_list *list, void (*ready)(void *data, ngx_uint_t failed),
    void *data, ngx_electrumx_read_t **owner)
{
    ngx_electrumx_read_t  *t;

    t = ngx_electrumx_read_new(index);

    if (t) {
        t->list = list;
        t->ready = ready;
        t->data = data;
        t->owner = owner;
    }

    if (t == NULL || ngx_electrumx_read_post(t) != NGX_OK) {
        exi_cold_free(list);
        return NGX_ERROR;
    }

    *owner = t;

    return NGX_OK;
}


void
ngx_electrumx_cold_forget(ngx_electrumx_read_t *t)
{
    if (t) {
        *t->owner = NULL;
        t->owner = NULL;
    }
}


ngx_int_t
ngx_electrumx_refresh(ngx_electrumx_index_t *index)
{
    ngx_electrumx_read_t  *t;

    ngx_electrumx_cold_next();

    if (index->threads == NULL) {
        return (exi_store_refresh(index->store) == EXI_OK) ? NGX_OK
                                                           : NGX_ERROR;
    }

    if (index->refreshing) {
        return NGX_AGAIN;
    }

    if (exi_store_current(index->store)) {
        return NGX_OK;
    }

    t = ngx_electrumx_read_new(index);

    if (t == NULL) {
        return NGX_ERROR;
    }

    t->store = index->store;

    if (ngx_electrumx_read_post(t) != NGX_OK) {
        return NGX_ERROR;
    }

    index->refreshing = 1;

    return NGX_AGAIN;
}


/* Tasks */

static ngx_electrumx_read_t *
ngx_electrumx_read_new(ngx_electrumx_index_t *index)
{
    ngx_electrumx_read_t  *t;

    t = ngx_calloc(sizeof(ngx_electrumx_read_t), ngx_cycle->log);

    if (t) {
        t->index = index;
        t->task.ctx = t;
        t->task.handler = ngx_electrumx_read_thread;
        t->task.event.data = t;
        t->task.event.handler = ngx_electrumx_read_done;
        t->task.event.log = ngx_cycle->log;
    }

    return t;
}


/* Takes the task, also when it fails; its list stays the caller's then. */

static ngx_int_t
ngx_electrumx_read_post(ngx_electrumx_read_t *t)
{
    if (ngx_thread_task_post(t->index->threads, &t->task) != NGX_OK) {
        ngx_free(t);
        return NGX_ERROR;
    }

    if (t->list) {
        t->index->cold_tasks++;
        t->index->cold_ranges += t->list->n;
        t->index->cold_bytes += t->list->bytes;
    }

    return NGX_OK;
}


static void
ngx_electrumx_read_thread(void *data, ngx_log_t *log)
{
    ngx_electrumx_read_t  *t;

    t = data;

    if (t->store) {
        (void) exi_store_refresh(t->store);

    } else {
        t->failed = (exi_cold_read(t->list) != EXI_OK);
    }
}


static void
ngx_electrumx_read_done(ngx_event_t *ev)
{
    ngx_electrumx_cold_t   *cold;
    ngx_electrumx_read_t   *t;
    ngx_electrumx_colds_t  *colds;

    t = ev->data;
    cold = t->cold;

    if (t->store) {
        t->index->refreshing = 0;

    } else if (cold) {
        ngx_electrumx_cold_tasks--;

        colds = cold->session->cold;
        colds->running--;

        if (t->failed) {
            ngx_electrumx_cold_failed(cold);
        }

        ngx_electrumx_cold_again(cold);
        ngx_electrumx_cold_next();

    } else if (t->ready) {
        exi_cold_free(t->list);

        if (t->owner) {
            *t->owner = NULL;
            t->ready(t->data, t->failed);
        }

    } else {
        t->index->fetching = 0;
        exi_cold_free(t->list);

        if (!t->failed) {
            t->handler(t->data);
        }
    }

    ngx_free(t);
}


/* Descriptors */

void
ngx_electrumx_files(ngx_cycle_t *cycle)
{
    struct rlimit     rl;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (ccf->rlimit_nofile != NGX_CONF_UNSET
        || getrlimit(RLIMIT_NOFILE, &rl) == -1
        || rl.rlim_cur >= NGX_ELECTRUMX_FILES || rl.rlim_cur == rl.rlim_max)
    {
        return;
    }

    rl.rlim_cur = (rl.rlim_max == RLIM_INFINITY)
                  ? NGX_ELECTRUMX_FILES
                  : ngx_min(rl.rlim_max, NGX_ELECTRUMX_FILES);

    if (setrlimit(RLIMIT_NOFILE, &rl) == -1) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                      "setrlimit(RLIMIT_NOFILE, %i) failed",
                      (ngx_int_t) rl.rlim_cur);
    }
}
