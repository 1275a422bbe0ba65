/*
 * What a request is answered with: the envelope around a result, and errors in
 * words.  A result is written straight into the outgoing message, between head
 * and tail, and taken back when it fails or grows too large.
 */

#include "ngx_electrumx_rpc.h"


static void ngx_electrumx_answer_error(ngx_electrumx_req_t *r);
static void ngx_electrumx_answer_undo(ngx_electrumx_req_t *r, size_t start);
static ngx_int_t ngx_electrumx_fail_state(ngx_electrumx_req_t *r);
static uint64_t ngx_electrumx_state_number(u_char *json, size_t len,
    const char *name);


size_t
ngx_electrumx_answer_begin(ngx_electrumx_req_t *r)
{
    size_t          start;
    struct exi_jw  *jw;

    jw = &r->out->jw;
    start = ngx_electrumx_out_size(r->out);

    if (r->batch && r->batch->answers) {
        exi_jw_char(jw, ',');
    }

    if (r->dialect == NGX_ELECTRUMX_JSONRPC_1) {
        exi_jw_lit(jw, "{\"result\":");

    } else {
        exi_jw_lit(jw, "{\"jsonrpc\":\"2.0\",\"result\":");
    }

    return start;
}


void
ngx_electrumx_answer(ngx_electrumx_req_t *r, size_t start, ngx_int_t rc)
{
    if (rc == NGX_AGAIN || (rc == NGX_OK && r->id.len == 0)) {
        ngx_electrumx_answer_undo(r, start);

    } else if (rc == NGX_OK) {
        ngx_electrumx_answer_end(r);

        if (r->out->jw.err != EXI_OK) {
            rc = ngx_electrumx_failf(r, NGX_ELECTRUMX_INVALID_REQUEST,
                                     "response too large (over %uz bytes)",
                                     r->index->max_response);
        }
    }

    if (rc == NGX_ERROR) {
        r->index->errors++;
        ngx_electrumx_answer_undo(r, start);

        if (r->id.len) {
            ngx_electrumx_answer_error(r);

            if (r->out->jw.err != EXI_OK) {
                (void) ngx_electrumx_fail(r, NGX_ELECTRUMX_INVALID_REQUEST,
                                          "response too large");
                ngx_electrumx_answer_undo(r, start);
                r->out->limit += r->id.len + 256;
                ngx_electrumx_answer_error(r);
            }
        }
    }

    if (r->batch) {
        r->batch->answers += (rc != NGX_AGAIN && r->id.len);
        r->batch->close |= r->close;
        return;
    }

    if (rc == NGX_AGAIN || r->id.len == 0) {
        ngx_electrumx_out_drop(r->out);

    } else {
        ngx_electrumx_out_send(r->out);
    }

    if (r->close) {
        ngx_electrumx_session_close(r->session, NGX_OK);
    }
}


void
ngx_electrumx_answer_end(ngx_electrumx_req_t *r)
{
    struct exi_jw  *jw;

    jw = &r->out->jw;

    if (r->dialect == NGX_ELECTRUMX_JSONRPC_1) {
        exi_jw_lit(jw, ",\"error\":null");
    }

    exi_jw_lit(jw, ",\"id\":");
    exi_jw_raw(jw, r->id.data, r->id.len);
    exi_jw_char(jw, '}');
}


static void
ngx_electrumx_answer_error(ngx_electrumx_req_t *r)
{
    struct exi_jw  *jw;

    jw = &r->out->jw;

    if (r->batch && r->batch->answers) {
        exi_jw_char(jw, ',');
    }

    if (r->dialect == NGX_ELECTRUMX_JSONRPC_1) {
        exi_jw_lit(jw, "{\"result\":null,\"error\":{\"code\":");

    } else {
        exi_jw_lit(jw, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":");
    }

    exi_jw_i64(jw, r->code);
    exi_jw_lit(jw, ",\"message\":");
    exi_jw_str(jw, (char *) r->message.data, r->message.len);
    exi_jw_lit(jw, "},\"id\":");
    exi_jw_raw(jw, r->id.data, r->id.len);
    exi_jw_char(jw, '}');
}


static void
ngx_electrumx_answer_undo(ngx_electrumx_req_t *r, size_t start)
{
    ngx_electrumx_out_rewind(r->out, start);
    r->out->jw.err = EXI_OK;
}


/* Errors */

ngx_int_t
ngx_electrumx_fail(ngx_electrumx_req_t *r, ngx_int_t code,
    const char *message)
{
    r->code = code;
    r->message.data = (u_char *) message;
    r->message.len = ngx_strlen(message);

    return NGX_ERROR;
}


ngx_int_t ngx_cdecl
ngx_electrumx_failf(ngx_electrumx_req_t *r, ngx_int_t code, const char *fmt,
    ...)
{
    u_char   *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf(r->text, r->text + sizeof(r->text), fmt, args);
    va_end(args);

    r->code = code;
    r->message.data = r->text;
    r->message.len = p - r->text;

    return NGX_ERROR;
}


ngx_int_t
ngx_electrumx_fail_exi(ngx_electrumx_req_t *r, int rc, const char *what)
{
    ngx_log_t  *log;

    if (rc == EXI_ENOTREADY) {
        return ngx_electrumx_fail_state(r);
    }

    if (rc == EXI_ECOLD) {

        /* not seen by the client: it will be run again */

        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: not in memory");
    }

    log = r->session->connection ? r->session->connection->log
                                 : ngx_cycle->log;

    ngx_log_error(NGX_LOG_ERR, log, 0, "electrumx \"%V\": %s: %s",
                  &r->index->name, what, exi_strerror(rc));

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                              "internal error: the index could not be read");
}


/* Nobody knows any more what the node has. */

ngx_int_t
ngx_electrumx_fail_old(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_failf(r, NGX_ELECTRUMX_INTERNAL,
                               "the index is out of date: it was not kept "
                               "up to date for more than %T s",
                               r->index->stale_after);
}


/* What the indexer is doing and how far it is, from its last state frame. */

static ngx_int_t
ngx_electrumx_fail_state(ngx_electrumx_req_t *r)
{
    size_t                len;
    u_char               *json;
    uint64_t              done, all;
    ngx_electrumx_json_t  state;

    json = r->index->state.data;
    len = r->index->state.len;

    if (len == 0 || ngx_electrumx_pick(json, len, "state", &state) != NGX_OK) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                   "the index is not ready: the indexer is not running");
    }

    done = ngx_electrumx_state_number(json, len, "height");
    all = ngx_electrumx_state_number(json, len, "target");

    if (all) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_INTERNAL,
                               "the index is not ready: %*s, block %uL of %uL",
                               (size_t) state.len, state.start, done, all);
    }

    /* the node's height is not known yet */

    return ngx_electrumx_failf(r, NGX_ELECTRUMX_INTERNAL,
                               "the index is not ready: %*s, block %uL",
                               (size_t) state.len, state.start, done);
}


ngx_uint_t
ngx_electrumx_state_ready(ngx_str_t *state)
{
    ngx_electrumx_json_t  word;

    return ngx_electrumx_pick(state->data, state->len, "state", &word)
           == NGX_OK
           && word.len == 5 && ngx_strncmp(word.start, "ready", 5) == 0;
}


/* A number of the state; 0: it has none of that name. */

static uint64_t
ngx_electrumx_state_number(u_char *json, size_t len, const char *name)
{
    uint64_t              n;
    ngx_electrumx_json_t  v;

    if (ngx_electrumx_pick(json, len, name, &v) != NGX_OK
        || ngx_electrumx_json_uint(v.start, v.len, &n) != NGX_OK)
    {
        return 0;
    }

    return n;
}
