/*
 * Errors of requests: code and text, kept in the request until its answer is
 * written (ngx_electrumx_rpc.c).
 */

#include "ngx_electrumx_rpc.h"


static ngx_int_t ngx_electrumx_fail_state(ngx_electrumx_req_t *r);


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


/* What the indexer is doing, from its last state frame. */

static ngx_int_t
ngx_electrumx_fail_state(ngx_electrumx_req_t *r)
{
    size_t                len;
    u_char               *json;
    uint64_t              done, all;
    ngx_electrumx_json_t  state, height, target;

    json = r->index->state.data;
    len = r->index->state.len;

    if (len == 0 || ngx_electrumx_pick(json, len, "state", &state) != NGX_OK) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                   "the index is not ready: the indexer is not running");
    }

    if (ngx_electrumx_pick(json, len, "height", &height) != NGX_OK
        || ngx_electrumx_pick(json, len, "target", &target) != NGX_OK
        || ngx_electrumx_json_uint(height.start, height.len, &done) != NGX_OK
        || ngx_electrumx_json_uint(target.start, target.len, &all) != NGX_OK
        || all == 0)
    {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_INTERNAL,
                                   "the index is not ready: %*s",
                                   (size_t) state.len, state.start);
    }

    return ngx_electrumx_failf(r, NGX_ELECTRUMX_INTERNAL,
                               "the index is not ready: %*s, block %uL of %uL",
                               (size_t) state.len, state.start, done, all);
}
