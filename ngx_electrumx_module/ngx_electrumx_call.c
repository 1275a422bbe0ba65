/*
 * Calls to the node for requests: a session has at most max_calls of them
 * under way, a worker at most NGX_ELECTRUMX_CALLS; the others wait, and
 * sessions take turns.  A call owns its memory and keeps its session; when the
 * client has gone its answer is dropped.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_CALLS      200          /* of 256 the indexer takes */
#define NGX_ELECTRUMX_FACT       512          /* values of a small object */


static ngx_electrumx_call_t *ngx_electrumx_call_new(ngx_electrumx_req_t *r,
    ngx_str_t *params);
static void ngx_electrumx_call_free(ngx_electrumx_call_t *call);
static ngx_int_t ngx_electrumx_call_begin(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call);
static ngx_int_t ngx_electrumx_call_start(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call);
static ngx_int_t ngx_electrumx_call_wait(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call);
static void ngx_electrumx_call_reply(void *data, ngx_uint_t ok, u_char *json,
    size_t len);
static void ngx_electrumx_call_answer(ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len);
static void ngx_electrumx_calls_next(ngx_electrumx_index_t *index);
static void ngx_electrumx_call_unlink(ngx_electrumx_state_t *state,
    ngx_electrumx_waiting_t *w, ngx_electrumx_call_t *call);


ngx_int_t
ngx_electrumx_call(ngx_electrumx_req_t *r, const char *name, ngx_str_t *params,
    ngx_electrumx_finish_pt finish, ngx_electrumx_call_t **result)
{
    ngx_electrumx_call_t     *call;
    ngx_electrumx_state_t    *state;
    ngx_electrumx_session_t  *s;

    s = r->session;
    state = ngx_electrumx_state(r->index);

    call = state ? ngx_electrumx_call_new(r, params) : NULL;

    if (call == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    call->name = name;
    call->finish = finish;

    if (ngx_electrumx_holds_much(s)
        || ngx_electrumx_call_begin(state, call) != NGX_OK)
    {
        ngx_electrumx_call_free(call);
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BUSY,
                           "server busy: too many requests wait for the node");
    }

    ngx_electrumx_session_ref(s);

    if (r->batch) {
        r->batch->pending++;
    }

    if (result) {
        *result = call;
    }

    return NGX_AGAIN;
}


/* The call, its parameters and the request's id, in one piece. */

static ngx_electrumx_call_t *
ngx_electrumx_call_new(ngx_electrumx_req_t *r, ngx_str_t *params)
{
    size_t                    size;
    u_char                   *p;
    ngx_electrumx_call_t     *call;
    ngx_electrumx_waiting_t  *w;

    if (r->session->rpc == NULL) {

        w = ngx_alloc(sizeof(ngx_electrumx_waiting_t), ngx_cycle->log);

        if (w == NULL) {
            return NULL;
        }

        ngx_queue_init(&w->calls);
        w->ncalls = 0;
        w->held = 0;
        w->session = r->session;
        r->session->rpc = w;
    }

    size = sizeof(ngx_electrumx_call_t) + params->len + r->id.len;

    call = ngx_alloc(size, ngx_cycle->log);

    if (call == NULL) {
        return NULL;
    }

    call->held = 0;
    ngx_electrumx_hold(r->session, &call->held, size);

    p = (u_char *) call + sizeof(ngx_electrumx_call_t);

    call->session = r->session;
    call->batch = r->batch;
    call->dialect = r->dialect;
    call->number = 0;

    call->params.data = p;
    call->params.len = params->len;
    p = ngx_cpymem(p, params->data, params->len);

    call->id.data = p;
    call->id.len = r->id.len;
    ngx_memcpy(p, r->id.data, r->id.len);

    return call;
}


static void
ngx_electrumx_call_free(ngx_electrumx_call_t *call)
{
    ngx_electrumx_hold(call->session, &call->held, 0);

    ngx_free(call);
}


void
ngx_electrumx_hold(ngx_electrumx_session_t *s, size_t *held, size_t size)
{
    ngx_electrumx_waiting_t  *w;

    w = s->rpc;

    if (w) {
        w->held = w->held - *held + size;
        *held = size;
    }
}


ngx_uint_t
ngx_electrumx_holds_much(ngx_electrumx_session_t *s)
{
    ngx_electrumx_waiting_t  *w;

    w = s->rpc;

    return w && w->held > s->index->max_queue + s->index->max_request;
}


ngx_uint_t
ngx_electrumx_rpc_pending(ngx_electrumx_session_t *s)
{
    ngx_electrumx_waiting_t  *w;

    w = s->rpc;

    return s->ncalls + (w ? w->ncalls : 0) + ngx_electrumx_tasks(s);
}


/* Starts it, or lets it wait. */

static ngx_int_t
ngx_electrumx_call_begin(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call)
{
    if (call->session->ncalls < call->session->index->max_calls
        && state->ncalls < NGX_ELECTRUMX_CALLS
        && ngx_electrumx_call_start(state, call) == NGX_OK)
    {
        return NGX_OK;
    }

    return ngx_electrumx_call_wait(state, call);
}


static ngx_int_t
ngx_electrumx_call_start(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call)
{
    if (ngx_electrumx_indexer_call(call->session->index, call->name,
                                   call->params.data, call->params.len,
                                   ngx_electrumx_call_reply, call)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    call->session->ncalls++;
    state->ncalls++;

    return NGX_OK;
}


/* Only behind calls under way: their replies start those that wait. */

static ngx_int_t
ngx_electrumx_call_wait(ngx_electrumx_state_t *state,
    ngx_electrumx_call_t *call)
{
    ngx_electrumx_session_t  *s;
    ngx_electrumx_waiting_t  *w;

    s = call->session;
    w = s->rpc;

    if (state->ncalls == 0) {
        return NGX_ERROR;
    }

    if (w->ncalls++ == 0) {
        ngx_queue_insert_tail(&state->waiting, &w->queue);
    }

    ngx_queue_insert_tail(&w->calls, &call->queue);

    return NGX_OK;
}


static void
ngx_electrumx_call_reply(void *data, ngx_uint_t ok, u_char *json, size_t len)
{
    ngx_electrumx_call_t     *call;
    ngx_electrumx_index_t    *index;
    ngx_electrumx_state_t    *state;
    ngx_electrumx_session_t  *s;

    call = data;
    s = call->session;
    index = s->index;

    s->ncalls--;

    state = ngx_electrumx_state(index);

    if (state) {
        state->ncalls--;
    }

    ngx_electrumx_call_answer(call, ok, json, len);
    ngx_electrumx_calls_next(index);
}


/* Answers the request and frees the call. */

static void
ngx_electrumx_call_answer(ngx_electrumx_call_t *call, ngx_uint_t ok,
    u_char *json, size_t len)
{
    ngx_electrumx_req_t       r;
    ngx_electrumx_session_t  *s;

    s = call->session;

    if (s->connection == NULL || s->dead) {
        ngx_electrumx_call_done(call);
        return;
    }

    ngx_electrumx_rpc_init(&r, s);

    r.batch = call->batch;
    r.out = r.batch ? r.batch->out : ngx_electrumx_out_new(s);

    if (r.out == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        ngx_electrumx_call_done(call);
        return;
    }

    ngx_electrumx_call_finish(&r, call, ok, json, len);
}


/* finish() may take the answer apart in its place, and be run again. */

void
ngx_electrumx_call_finish(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    size_t      start;
    u_char     *copy;
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_uint_t  kept;

    r->id = call->id;
    r->dialect = call->dialect;

    text.data = json;
    text.len = len;
    copy = json;

    if (r->index->threads && call->finish != ngx_electrumx_finish_raw) {

        copy = ngx_electrumx_alloc(len);

        if (copy) {
            ngx_memcpy(copy, json, len);
        }
    }

    start = ngx_electrumx_answer_begin(r);

    if (copy) {
        rc = call->finish(r, call, ok, copy, len);

    } else {
        rc = ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                "internal error: out of memory");
    }

    kept = 0;
    rc = ngx_electrumx_cold_call(r, call, ok, &text, rc, &kept);

    ngx_electrumx_answer(r, start, rc);
    ngx_electrumx_message_end();

    if (!kept) {
        ngx_electrumx_call_done(call);
    }
}


void
ngx_electrumx_call_done(ngx_electrumx_call_t *call)
{
    ngx_electrumx_session_t  *s;

    s = call->session;

    if (call->batch) {
        ngx_electrumx_batch_done(s, call->batch);
    }

    if (s->connection) {
        ngx_electrumx_session_wake(s);
    }

    ngx_electrumx_call_free(call);
    ngx_electrumx_session_unref(s);
}


/* Starts calls that wait, one of each session in turn. */

static void
ngx_electrumx_calls_next(ngx_electrumx_index_t *index)
{
    ngx_queue_t              *q;
    ngx_uint_t                n;
    ngx_electrumx_call_t     *call;
    ngx_electrumx_state_t    *state;
    ngx_electrumx_waiting_t  *w;

    state = ngx_electrumx_state(index);

    for (n = 0; state && n < NGX_ELECTRUMX_CALLS; n++) {

        if (ngx_queue_empty(&state->waiting)
            || state->ncalls >= NGX_ELECTRUMX_CALLS)
        {
            return;
        }

        q = ngx_queue_head(&state->waiting);
        w = ngx_queue_data(q, ngx_electrumx_waiting_t, queue);
        ngx_queue_remove(q);

        if (w->session->ncalls >= index->max_calls) {
            ngx_queue_insert_tail(&state->waiting, q);
            continue;
        }

        call = ngx_queue_data(ngx_queue_head(&w->calls), ngx_electrumx_call_t,
                              queue);

        if (ngx_electrumx_call_start(state, call) == NGX_OK) {
            ngx_electrumx_call_unlink(state, w, call);
            continue;
        }

        if (state->ncalls) {
            ngx_queue_insert_head(&state->waiting, q);
            return;
        }

        /* nothing is under way that would come back here: give it up */

        ngx_electrumx_call_unlink(state, w, call);
        ngx_electrumx_call_answer(call, 0, (u_char *) "null", 4);
    }
}


/* Takes the first call of a session that is out of the queue itself. */

static void
ngx_electrumx_call_unlink(ngx_electrumx_state_t *state,
    ngx_electrumx_waiting_t *w, ngx_electrumx_call_t *call)
{
    ngx_queue_remove(&call->queue);

    if (--w->ncalls) {
        ngx_queue_insert_tail(&state->waiting, &w->queue);
    }
}


void
ngx_electrumx_calls_closed(ngx_electrumx_session_t *s)
{
    ngx_queue_t              *q;
    ngx_electrumx_call_t     *call;
    ngx_electrumx_waiting_t  *w;

    w = s->rpc;

    if (w == NULL) {
        return;
    }

    s->rpc = NULL;

    if (w->ncalls) {
        ngx_queue_remove(&w->queue);
    }

    while (!ngx_queue_empty(&w->calls)) {
        q = ngx_queue_head(&w->calls);
        call = ngx_queue_data(q, ngx_electrumx_call_t, queue);
        ngx_queue_remove(q);

        if (call->batch) {
            ngx_electrumx_batch_done(s, call->batch);
        }

        ngx_electrumx_call_free(call);
        ngx_electrumx_session_unref(s);
    }

    ngx_free(w);
}


/* Results */

ngx_int_t
ngx_electrumx_finish_raw(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    exi_jw_raw(&r->out->jw, json, len);

    return NGX_OK;
}


void
ngx_electrumx_node_error(u_char *json, size_t len, ngx_int_t *code,
    ngx_str_t *text)
{
    uint64_t              n;
    ngx_uint_t            minus;
    ngx_electrumx_json_t  v;

    *code = 0;
    ngx_str_set(text, "the node does not answer");

    if (ngx_electrumx_pick(json, len, "code", &v) == NGX_OK
        && v.type == NGX_ELECTRUMX_JSON_NUMBER)
    {
        minus = (v.start[0] == '-');

        if (ngx_electrumx_json_uint(v.start + minus, v.len - minus, &n)
            == NGX_OK)
        {
            *code = minus ? - (ngx_int_t) n : (ngx_int_t) n;
        }
    }

    if (ngx_electrumx_pick(json, len, "message", &v) == NGX_OK
        && v.type == NGX_ELECTRUMX_JSON_STRING)
    {
        ngx_electrumx_json_unescape(&v);
        text->data = v.start;
        text->len = v.len;
    }
}


ngx_int_t
ngx_electrumx_fail_node(ngx_electrumx_req_t *r, u_char *json, size_t len)
{
    ngx_int_t  code;
    ngx_str_t  text;

    ngx_electrumx_node_error(json, len, &code, &text);

    switch (code) {

    case NGX_ELECTRUMX_BUSY:
    case NGX_ELECTRUMX_NO_METHOD:
        return ngx_electrumx_failf(r, code, "%V", &text);

    default:
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_DAEMON_ERROR,
                                   "daemon error: %V", &text);
    }
}


ngx_int_t
ngx_electrumx_pick(u_char *json, size_t len, const char *name,
    ngx_electrumx_json_t *value)
{
    ngx_electrumx_json_t  *found;
    ngx_electrumx_json_t   v[NGX_ELECTRUMX_FACT];

    if (ngx_electrumx_json_parse(v, NGX_ELECTRUMX_FACT, json, len) < 0) {
        return NGX_DECLINED;
    }

    found = ngx_electrumx_json_get(v, name);

    if (found == NULL) {
        return NGX_DECLINED;
    }

    *value = *found;

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_pick_fact(ngx_electrumx_req_t *r, const char *fact,
    const char *name, ngx_electrumx_json_t *value)
{
    size_t       len;
    const char  *json;

    if (exi_fact(r->view, fact, &json, &len) != EXI_OK) {
        return NGX_DECLINED;
    }

    return ngx_electrumx_pick((u_char *) json, len, name, value);
}
