/*
 * JSON-RPC 2.0, 1.0 and the "loose" dialect between them (no "jsonrpc" member,
 * answered as 2.0): requests, notifications, batches, errors.
 *
 * A message is read once into a flat array of values (ngx_electrumx_json.h)
 * that the worker keeps; a request lives on the stack; the result is written
 * by the handler straight into the outgoing message, between a head and a tail
 * of the envelope, and taken back if it fails or grows too large.  All reads
 * of one message happen in one view of the index.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_VALUES         256      /* slots kept */
#define NGX_ELECTRUMX_MAX_VALUES     262144   /* slots, at most */
#define NGX_ELECTRUMX_POOL_KEPT      1048576  /* bytes */
#define NGX_ELECTRUMX_BATCH_HELD     16384    /* of an empty batch */


/* What the worker needs for the message at hand; there is only one at a
   time. */

typedef struct {
    ngx_pool_t                  *pool;
    size_t                       used;        /* allocated since it was made */
    ngx_uint_t                   dirty;
    struct exi_view             *view;        /* begun */
    int                          error;       /* of its beginning */
    ngx_electrumx_json_t        *more;        /* slots for a long message */
    ngx_electrumx_json_t         values[NGX_ELECTRUMX_VALUES];
} ngx_electrumx_message_t;


static ngx_int_t ngx_electrumx_rpc_parse(u_char *msg, size_t len,
    ngx_electrumx_json_t **v);
static void ngx_electrumx_rpc_refuse(ngx_electrumx_session_t *s,
    ngx_int_t code, const char *message);
static void ngx_electrumx_rpc_single(ngx_electrumx_session_t *s,
    ngx_electrumx_json_t *v);
static void ngx_electrumx_rpc_batch(ngx_electrumx_session_t *s,
    ngx_electrumx_json_t *v);
static void ngx_electrumx_rpc_member(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *v);
static ngx_int_t ngx_electrumx_rpc_run(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *method, ngx_electrumx_json_t *params,
    ngx_str_t *text);
static ngx_int_t ngx_electrumx_rpc_strict(ngx_electrumx_req_t *r);
static ngx_int_t ngx_electrumx_rpc_envelope(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *v, ngx_electrumx_json_t **method,
    ngx_electrumx_json_t **params);
static ngx_int_t ngx_electrumx_rpc_dialect(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *v);
static void *ngx_electrumx_rpc_arena(void *ctx, size_t n);


static ngx_electrumx_message_t  ngx_electrumx_message;

const struct exi_arena  ngx_electrumx_arena = {
    ngx_electrumx_rpc_arena, NULL
};


void
ngx_electrumx_rpc_message(ngx_electrumx_session_t *s, u_char *msg, size_t len)
{
    ngx_int_t              rc;
    ngx_electrumx_json_t  *v;

    rc = ngx_electrumx_rpc_parse(msg, len, &v);

    if (rc == NGX_ELECTRUMX_JSON_INVALID) {
        ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_PARSE_ERROR,
                                 "parse error: the message is not JSON");

    } else if (rc == NGX_ELECTRUMX_JSON_DEEP) {
        ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_INVALID_REQUEST,
                                 "invalid request: nested too deeply");

    } else if (rc == NGX_ELECTRUMX_JSON_MORE) {
        ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_INVALID_REQUEST,
                                 "invalid request: too many values");

    } else if (v->type == NGX_ELECTRUMX_JSON_ARRAY) {
        ngx_electrumx_rpc_batch(s, v);

    } else {
        ngx_electrumx_rpc_single(s, v);
    }

    ngx_electrumx_message_end();
}


void
ngx_electrumx_rpc_again(ngx_electrumx_req_t *r, u_char *text, size_t len)
{
    size_t                 start;
    ngx_electrumx_json_t  *v;

    if (ngx_electrumx_rpc_parse(text, len, &v) > 0) {
        r->session->nrequests--;
        r->index->requests--;
        ngx_electrumx_rpc_member(r, v);
        return;
    }

    /* it was read before: only memory can have run out */

    ngx_str_set(&r->id, "null");

    start = ngx_electrumx_answer_begin(r);

    ngx_electrumx_answer(r, start,
                         ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                            "internal error: out of memory"));
}


static ngx_int_t
ngx_electrumx_rpc_parse(u_char *msg, size_t len, ngx_electrumx_json_t **v)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    *v = ngx_electrumx_message.values;

    rc = ngx_electrumx_json_parse(*v, NGX_ELECTRUMX_VALUES, msg, len);

    for (n = NGX_ELECTRUMX_VALUES * 16;
         rc == NGX_ELECTRUMX_JSON_MORE && n <= NGX_ELECTRUMX_MAX_VALUES;
         n *= 8)
    {
        if (ngx_electrumx_message.more) {
            ngx_free(ngx_electrumx_message.more);
        }

        *v = ngx_alloc(n * sizeof(ngx_electrumx_json_t), ngx_cycle->log);
        ngx_electrumx_message.more = *v;

        if (*v == NULL) {
            return NGX_ELECTRUMX_JSON_MORE;
        }

        rc = ngx_electrumx_json_parse(*v, n, msg, len);
    }

    return rc;
}


void
ngx_electrumx_message_end(void)
{
    ngx_electrumx_message_t  *m;

    m = &ngx_electrumx_message;

    if (m->view) {
        exi_view_end(m->view);
        m->view = NULL;
    }

    m->error = EXI_OK;

    if (m->more) {
        ngx_free(m->more);
        m->more = NULL;
    }

    if (!m->dirty) {
        return;
    }

    m->dirty = 0;

    if (m->used > NGX_ELECTRUMX_POOL_KEPT) {
        ngx_destroy_pool(m->pool);
        m->pool = NULL;
        m->used = 0;
        return;
    }

    ngx_reset_pool(m->pool);
}


void *
ngx_electrumx_alloc(size_t size)
{
    ngx_electrumx_message_t  *m;

    m = &ngx_electrumx_message;

    if (m->pool == NULL) {

        /* of the cycle's log: the pool outlives a session's */

        m->pool = ngx_create_pool(16384, ngx_cycle->log);

        if (m->pool == NULL) {
            return NULL;
        }
    }

    m->dirty = 1;

    if (size <= m->pool->max) {
        m->used += size;
    }

    return ngx_palloc(m->pool, size);
}


static void *
ngx_electrumx_rpc_arena(void *ctx, size_t n)
{
    return ngx_electrumx_alloc(n);
}


void
ngx_electrumx_rpc_oversized(ngx_electrumx_session_t *s)
{
    ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_INVALID_REQUEST,
                             "invalid request: the message is too long");
}


void
ngx_electrumx_rpc_closed(ngx_electrumx_session_t *s)
{
    ngx_electrumx_tasks_closed(s);
    ngx_electrumx_subs_closed(s);
    ngx_electrumx_calls_closed(s);
    ngx_electrumx_cold_closed(s);
}


/* The error for a message that holds no request. */

static void
ngx_electrumx_rpc_refuse(ngx_electrumx_session_t *s, ngx_int_t code,
    const char *message)
{
    size_t               start;
    ngx_electrumx_req_t  r;

    ngx_electrumx_rpc_init(&r, s);

    r.out = ngx_electrumx_out_new(s);

    if (r.out == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    s->nrequests++;
    s->index->requests++;

    ngx_str_set(&r.id, "null");

    start = ngx_electrumx_answer_begin(&r);

    ngx_electrumx_answer(&r, start, ngx_electrumx_fail(&r, code, message));
}


void
ngx_electrumx_rpc_init(ngx_electrumx_req_t *r, ngx_electrumx_session_t *s)
{
    r->session = s;
    r->index = s->index;
    r->out = NULL;
    r->batch = NULL;
    r->cold = NULL;
    r->job = NULL;
    r->view = NULL;
    r->id.len = 0;
    r->dialect = NGX_ELECTRUMX_JSONRPC_LOOSE;
    r->method = NULL;
    r->close = 0;
    r->code = 0;
}


static void
ngx_electrumx_rpc_single(ngx_electrumx_session_t *s, ngx_electrumx_json_t *v)
{
    ngx_electrumx_req_t  r;

    ngx_electrumx_rpc_init(&r, s);

    r.out = ngx_electrumx_out_new(s);

    if (r.out == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    ngx_electrumx_rpc_member(&r, v);
}


static void
ngx_electrumx_rpc_batch(ngx_electrumx_session_t *s, ngx_electrumx_json_t *v)
{
    uint32_t                i, n;
    ngx_electrumx_req_t     r;
    ngx_electrumx_batch_t  *batch;

    n = v->n;

    if (n == 0) {
        ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_INVALID_REQUEST,
                                 "invalid request: the batch is empty");
        return;
    }

    if (n > s->index->max_batch) {
        ngx_electrumx_rpc_refuse(s, NGX_ELECTRUMX_INVALID_REQUEST,
                          "invalid request: the batch has too many members");
        return;
    }

    batch = ngx_alloc(sizeof(ngx_electrumx_batch_t), ngx_cycle->log);

    if (batch == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    batch->out = ngx_electrumx_out_new(s);

    if (batch->out == NULL) {
        ngx_free(batch);
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    batch->held = 0;
    batch->pending = 1;
    batch->answers = 0;
    batch->close = 0;
    batch->work = ngx_electrumx_message.view
                  ? exi_view_work(ngx_electrumx_message.view) : 0;

    exi_jw_char(&batch->out->jw, '[');

    v++;

    for (i = 0; i < n; i++) {
        ngx_electrumx_rpc_init(&r, s);

        r.out = batch->out;
        r.batch = batch;

        ngx_electrumx_rpc_member(&r, v);

        v += v->skip;
    }

    ngx_electrumx_batch_done(s, batch);
}


void
ngx_electrumx_batch_done(ngx_electrumx_session_t *s,
    ngx_electrumx_batch_t *batch)
{
    if (--batch->pending) {
        ngx_electrumx_hold(s, &batch->held,
                           NGX_ELECTRUMX_BATCH_HELD
                           + ngx_electrumx_out_size(batch->out));
        return;
    }

    ngx_electrumx_hold(s, &batch->held, 0);

    if (batch->answers == 0 || s->connection == NULL || s->dead) {
        ngx_electrumx_out_drop(batch->out);

    } else {
        batch->out->limit += 1;
        exi_jw_char(&batch->out->jw, ']');

        ngx_electrumx_out_send(batch->out);

        if (batch->close) {
            ngx_electrumx_session_close(s, NGX_OK);
        }
    }

    ngx_free(batch);
}


static void
ngx_electrumx_rpc_member(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v)
{
    size_t                 start;
    ngx_int_t              rc;
    ngx_str_t              text;
    ngx_electrumx_json_t  *method, *params;

    r->session->nrequests++;
    r->index->requests++;

    ngx_electrumx_cold_text(r, v, &text);

    if (v->type != NGX_ELECTRUMX_JSON_OBJECT) {
        ngx_str_set(&r->id, "null");

        start = ngx_electrumx_answer_begin(r);
        rc = ngx_electrumx_fail(r, NGX_ELECTRUMX_INVALID_REQUEST,
                                "invalid request: not an object");

    } else {
        rc = ngx_electrumx_rpc_envelope(r, v, &method, &params);
        start = ngx_electrumx_answer_begin(r);

        if (rc == NGX_OK) {
            rc = ngx_electrumx_rpc_run(r, method, params, &text);
            rc = ngx_electrumx_cold_request(r, &text, rc);
        }
    }

    ngx_electrumx_answer(r, start, rc);
}


/* Takes the members of a request apart. */

static ngx_int_t
ngx_electrumx_rpc_envelope(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v,
    ngx_electrumx_json_t **method, ngx_electrumx_json_t **params)
{
    uint32_t               i, n;
    ngx_int_t              rc;
    ngx_electrumx_json_t  *id, *jsonrpc;

    id = NULL;
    jsonrpc = NULL;
    *method = NULL;
    *params = NULL;

    n = v->n;
    v++;

    for (i = 0; i < n; i++) {

        if (ngx_electrumx_json_is(v, "id", 2)) {
            id = v + 1;

        } else if (ngx_electrumx_json_is(v, "method", 6)) {
            *method = v + 1;

        } else if (ngx_electrumx_json_is(v, "params", 6)) {
            *params = v + 1;

        } else if (ngx_electrumx_json_is(v, "jsonrpc", 7)) {
            jsonrpc = v + 1;
        }

        v++;
        v += v->skip;
    }

    rc = ngx_electrumx_rpc_dialect(r, jsonrpc);

    if (id && (id->type != NGX_ELECTRUMX_JSON_NULL
               || r->dialect != NGX_ELECTRUMX_JSONRPC_1))
    {
        ngx_electrumx_json_raw(id, &r->id);
    }

    if (rc == NGX_OK && (*method == NULL
                         || (*method)->type != NGX_ELECTRUMX_JSON_STRING))
    {
        rc = ngx_electrumx_fail(r, NGX_ELECTRUMX_INVALID_REQUEST,
                          "invalid request: \"method\" must be a string");
    }

    if (rc == NGX_OK && *params
        && (*params)->type != NGX_ELECTRUMX_JSON_ARRAY
        && (*params)->type != NGX_ELECTRUMX_JSON_OBJECT
        && (*params)->type != NGX_ELECTRUMX_JSON_NULL)
    {
        rc = ngx_electrumx_fail(r, NGX_ELECTRUMX_INVALID_REQUEST,
                 "invalid request: \"params\" must be an array or an object");
    }

    if (rc != NGX_OK && r->id.len == 0) {
        ngx_str_set(&r->id, "null");
    }

    return rc;
}


static ngx_int_t
ngx_electrumx_rpc_dialect(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v)
{
    if (v == NULL) {
        return NGX_OK;
    }

    if (ngx_electrumx_json_is(v, "2.0", 3)) {
        r->dialect = NGX_ELECTRUMX_JSONRPC_2;
        return NGX_OK;
    }

    if (ngx_electrumx_json_is(v, "1.0", 3)) {
        r->dialect = NGX_ELECTRUMX_JSONRPC_1;
        return NGX_OK;
    }

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_INVALID_REQUEST,
                   "invalid request: \"jsonrpc\" must be \"2.0\" or \"1.0\"");
}


static ngx_int_t
ngx_electrumx_rpc_run(ngx_electrumx_req_t *r, ngx_electrumx_json_t *method,
    ngx_electrumx_json_t *params, ngx_str_t *text)
{
    ngx_int_t   rc;
    ngx_uint_t  flags;

    ngx_electrumx_json_unescape(method);

    r->method = ngx_electrumx_method(method->start, method->len);

    if (r->index->strict) {
        rc = ngx_electrumx_rpc_strict(r);

        if (rc != NGX_OK) {
            return (rc == NGX_DONE) ? NGX_OK : rc;
        }
    }

    if (r->method == NULL) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_NO_METHOD,
                                   "unknown method \"%*s\"",
                                   (size_t) ngx_min(method->len, 100),
                                   method->start);
    }

    if ((r->method->flags & NGX_ELECTRUMX_TRUSTED)
        && !ngx_electrumx_client_in(r->session, r->index->passthrough))
    {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_NO_METHOD,
                                   "%V is not for this client",
                                   &r->method->name);
    }

    if ((r->method->flags & NGX_ELECTRUMX_NOISE) && r->id.len == 0) {
        return NGX_OK;
    }

    flags = r->index->strict ? NGX_ELECTRUMX_ARGS_STRICT : 0;

    if ((r->method->flags & NGX_ELECTRUMX_EXTRA)
        || (!r->index->strict
            && r->session->protocol >= NGX_ELECTRUMX_V(1, 6, 0)))
    {
        flags |= NGX_ELECTRUMX_ARGS_EXTRA;
    }

    if (r->method->params[0].type == NGX_ELECTRUMX_ARG_SCRIPT) {
        ngx_electrumx_cold_copy(r, text);
    }

    if (ngx_electrumx_args(r->method->params, params, flags, r->args,
                           (char *) r->text, sizeof(r->text))
        != NGX_OK)
    {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  (char *) r->text);
    }

    if ((r->method->flags & NGX_ELECTRUMX_VIEW)
        && ngx_electrumx_view(r) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return r->method->handler(r);
}


/*
 * What ElectrumX would not do.  It knows a method in its versions only, carries
 * out no notification but server.ping of 1.7, and ends sessions that begin with
 * anything but server.version.  NGX_OK: go on; NGX_DONE: nothing to do.
 */

static ngx_int_t
ngx_electrumx_rpc_strict(ngx_electrumx_req_t *r)
{
    ngx_uint_t  version, notification, first;

    version = r->session->protocol;
    notification = (r->id.len == 0);
    first = r->method && r->method->handler == ngx_electrumx_server_version;

    if (version == 0 && (!first || notification)) {
        r->close = 1;
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                                  "use server.version to identify client");
    }

    if (notification) {
        return NGX_DONE;
    }

    if (r->method && !first && !ngx_electrumx_method_in(r->method, version)) {
        r->method = NULL;
    }

    return NGX_OK;
}


/* View */

ngx_int_t
ngx_electrumx_view(ngx_electrumx_req_t *r)
{
    int                       rc;
    ngx_electrumx_index_t    *index;
    ngx_electrumx_message_t  *m;

    m = &ngx_electrumx_message;

    if (m->view) {
        r->view = m->view;
        return NGX_OK;
    }

    index = r->index;
    rc = m->error;

    if (rc == EXI_OK) {

        rc = EXI_ENOTREADY;

        if (index->view) {
            rc = exi_view_begin(index->view);

            if (rc == EXI_ENOTREADY
                && ngx_electrumx_refresh(index) == NGX_OK)
            {
                rc = exi_view_begin(index->view);
            }
        }
    }

    if (rc != EXI_OK) {
        m->error = rc;
        return ngx_electrumx_fail_exi(r, rc, "view");
    }

    if (index->stale_after
        && ngx_electrumx_age(index, exi_view_state(index->view))
           > index->stale_after)
    {
        exi_view_end(index->view);
        return ngx_electrumx_fail_old(r);
    }

    m->view = index->view;
    r->view = index->view;

    return NGX_OK;
}
