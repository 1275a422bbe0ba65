/*
 * blockchain.transaction.broadcast, .broadcast_package and .testmempoolaccept:
 * transactions for the node.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_PACKAGE_VALUES  4096    /* of submitpackage's answer */


static ngx_int_t ngx_electrumx_tx_list(ngx_electrumx_req_t *r,
    const char *rest, ngx_str_t *params);
static ngx_int_t ngx_electrumx_accept_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static void ngx_electrumx_accept_tx(struct exi_jw *jw,
    ngx_electrumx_json_t *tx);
static void ngx_electrumx_json_member(struct exi_jw *jw,
    ngx_electrumx_json_t *object, const char *name);
static ngx_int_t ngx_electrumx_broadcast_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_package_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_package_result(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *result);
static void ngx_electrumx_json_copy(struct exi_jw *jw,
    ngx_electrumx_json_t *v);


ngx_int_t
ngx_electrumx_broadcast(ngx_electrumx_req_t *r)
{
    u_char     *p;
    ngx_str_t   params, *raw;

    raw = &r->args[0].str;

    p = ngx_electrumx_alloc(raw->len + 4);

    if (p == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    params.data = p;
    params.len = raw->len + 4;

    *p++ = '[';
    *p++ = '"';
    p = ngx_cpymem(p, raw->data, raw->len);
    *p++ = '"';
    *p = ']';

    return ngx_electrumx_call(r, "broadcast", &params,
                              ngx_electrumx_broadcast_done, NULL);
}


/* The error has the node's reason and the transaction, as ElectrumX's. */

static ngx_int_t
ngx_electrumx_broadcast_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len)
{
    u_char     *p;
    size_t      size;
    ngx_int_t   code;
    ngx_str_t   text;

    if (ok) {
        return ngx_electrumx_finish_raw(r, call, ok, json, len);
    }

    ngx_electrumx_node_error(json, len, &code, &text);

    if (code != NGX_ELECTRUMX_BAD_REQUEST) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    /* params is ["hex"] */

    size = sizeof("the transaction was rejected by network rules.\n\n\n[]")
           + text.len + call->params.len;

    p = ngx_electrumx_alloc(size);

    if (p == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    r->code = NGX_ELECTRUMX_BAD_REQUEST;
    r->message.data = p;
    r->message.len = ngx_snprintf(p, size,
                     "the transaction was rejected by network rules.\n\n"
                     "%V\n[%*s]", &text, call->params.len - 4,
                     call->params.data + 2)
                     - p;

    return NGX_ERROR;
}


/* Parameters "[[hex, ...]" and what follows them. */

static ngx_int_t
ngx_electrumx_tx_list(ngx_electrumx_req_t *r, const char *rest,
    ngx_str_t *params)
{
    u_char                *p;
    size_t                 size;
    uint32_t               i;
    ngx_electrumx_json_t  *txs, *v;

    txs = r->args[0].value;
    size = sizeof("[[]") + ngx_strlen(rest);
    v = txs + 1;

    for (i = 0; i < txs->n; i++) {
        size += v[i].len + 3;
    }

    p = ngx_electrumx_alloc(size);

    if (p == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    params->data = p;

    *p++ = '[';
    *p++ = '[';

    for (i = 0; i < txs->n; i++) {
        if (i) {
            *p++ = ',';
        }

        *p++ = '"';
        p = ngx_cpymem(p, v[i].start, v[i].len);
        *p++ = '"';
    }

    *p++ = ']';
    p = ngx_cpymem(p, rest, ngx_strlen(rest));

    params->len = p - params->data;

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_broadcast_package(ngx_electrumx_req_t *r)
{
    ngx_int_t              rc;
    ngx_str_t              params;
    ngx_electrumx_call_t  *call;

    if (ngx_electrumx_tx_list(r, r->args[1].num ? ",true]" : ",false]",
                              &params)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_electrumx_call(r, "broadcast_package", &params,
                            ngx_electrumx_package_done, &call);

    if (rc == NGX_AGAIN) {
        call->number = (ngx_uint_t) r->args[1].num;
    }

    return rc;
}


static ngx_int_t
ngx_electrumx_package_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    u_char                *p;
    size_t                 size;
    ngx_int_t              code;
    ngx_str_t              text;
    ngx_electrumx_json_t  *v;

    if (!ok) {
        ngx_electrumx_node_error(json, len, &code, &text);

        if (code != NGX_ELECTRUMX_BAD_REQUEST) {
            return ngx_electrumx_fail_node(r, json, len);
        }

        size = sizeof("the tx package was rejected by network rules.\n\n.")
               + text.len;

        p = ngx_electrumx_alloc(size);

        if (p == NULL) {
            return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                      "internal error: out of memory");
        }

        r->code = NGX_ELECTRUMX_BAD_REQUEST;
        r->message.data = p;
        r->message.len = ngx_snprintf(p, size, "the tx package was rejected "
                                      "by network rules.\n\n%V.", &text)
                         - p;

        return NGX_ERROR;
    }

    if (call->number) {
        return ngx_electrumx_finish_raw(r, call, ok, json, len);
    }

    v = ngx_electrumx_alloc(NGX_ELECTRUMX_PACKAGE_VALUES
                            * sizeof(ngx_electrumx_json_t));

    if (v == NULL
        || ngx_electrumx_json_parse(v, NGX_ELECTRUMX_PACKAGE_VALUES, json, len)
           < 0)
    {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                  "internal error: the answer of the node is not understood");
    }

    return ngx_electrumx_package_result(r, v);
}


/* {"success": bool, "errors": [{"txid", "error"}]}, without errors if none. */

static ngx_int_t
ngx_electrumx_package_result(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *result)
{
    uint32_t               i, n;
    ngx_uint_t             errors;
    struct exi_jw         *jw;
    ngx_electrumx_json_t  *message, *txs, *v, *error, *txid;

    jw = &r->out->jw;
    errors = 0;

    message = ngx_electrumx_json_get(result, "package_msg");
    txs = ngx_electrumx_json_get(result, "tx-results");

    if (message && ngx_electrumx_json_is(message, "success", 7)) {
        exi_jw_lit(jw, "{\"success\":true");

    } else {
        exi_jw_lit(jw, "{\"success\":false");
    }

    n = (txs && txs->type == NGX_ELECTRUMX_JSON_OBJECT) ? txs->n : 0;
    v = txs + 1;

    for (i = 0; i < n; i++) {

        v++;
        error = ngx_electrumx_json_get(v, "error");
        txid = ngx_electrumx_json_get(v, "txid");
        v += v->skip;

        if (error == NULL || txid == NULL) {
            continue;
        }

        if (errors++) {
            exi_jw_char(jw, ',');

        } else {
            exi_jw_lit(jw, ",\"errors\":[");
        }

        exi_jw_lit(jw, "{\"txid\":");
        ngx_electrumx_json_copy(jw, txid);
        exi_jw_lit(jw, ",\"error\":");
        ngx_electrumx_json_copy(jw, error);
        exi_jw_char(jw, '}');
    }

    if (errors) {
        exi_jw_char(jw, ']');
    }

    exi_jw_char(jw, '}');

    return NGX_OK;
}


static void
ngx_electrumx_json_copy(struct exi_jw *jw, ngx_electrumx_json_t *v)
{
    ngx_str_t  raw;

    ngx_electrumx_json_raw(v, &raw);

    exi_jw_raw(jw, raw.data, raw.len);
}


/* Calls: testmempoolaccept [[hex, ...]]. */

ngx_int_t
ngx_electrumx_testmempoolaccept(ngx_electrumx_req_t *r)
{
    ngx_str_t  params;

    if (ngx_electrumx_tx_list(r, "]", &params) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_electrumx_call(r, "testmempoolaccept", &params,
                              ngx_electrumx_accept_done, NULL);
}


static ngx_int_t
ngx_electrumx_accept_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    uint32_t               i, n;
    ngx_electrumx_json_t  *v;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    v = ngx_electrumx_alloc(NGX_ELECTRUMX_PACKAGE_VALUES
                            * sizeof(ngx_electrumx_json_t));

    if (v == NULL
        || ngx_electrumx_json_parse(v, NGX_ELECTRUMX_PACKAGE_VALUES, json, len)
           < 0
        || v->type != NGX_ELECTRUMX_JSON_ARRAY)
    {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                  "internal error: the answer of the node is not understood");
    }

    exi_jw_char(&r->out->jw, '[');

    n = v->n;
    v++;

    for (i = 0; i < n; i++) {
        if (i) {
            exi_jw_char(&r->out->jw, ',');
        }

        ngx_electrumx_accept_tx(&r->out->jw, v);
        v += v->skip;
    }

    exi_jw_char(&r->out->jw, ']');

    return NGX_OK;
}


/* {"txid", "wtxid", "allowed"?, "reason"?} */

static void
ngx_electrumx_accept_tx(struct exi_jw *jw, ngx_electrumx_json_t *tx)
{
    ngx_uint_t             i;
    ngx_electrumx_json_t  *v;

    static const char  *reasons[] = {
        "package-error", "reject-details", "reject-reason", NULL
    };

    exi_jw_lit(jw, "{\"txid\":");
    ngx_electrumx_json_member(jw, tx, "txid");
    exi_jw_lit(jw, ",\"wtxid\":");
    ngx_electrumx_json_member(jw, tx, "wtxid");

    v = ngx_electrumx_json_get(tx, "allowed");

    if (v && (v->type == NGX_ELECTRUMX_JSON_TRUE
              || v->type == NGX_ELECTRUMX_JSON_FALSE))
    {
        exi_jw_lit(jw, ",\"allowed\":");
        ngx_electrumx_json_copy(jw, v);
    }

    for (i = 0; reasons[i]; i++) {
        v = ngx_electrumx_json_get(tx, reasons[i]);

        if (v && v->type == NGX_ELECTRUMX_JSON_STRING && v->len) {
            exi_jw_lit(jw, ",\"reason\":");
            ngx_electrumx_json_copy(jw, v);
            break;
        }
    }

    exi_jw_char(jw, '}');
}


static void
ngx_electrumx_json_member(struct exi_jw *jw, ngx_electrumx_json_t *object,
    const char *name)
{
    ngx_electrumx_json_t  *v;

    v = ngx_electrumx_json_get(object, name);

    if (v) {
        ngx_electrumx_json_copy(jw, v);

    } else {
        exi_jw_lit(jw, "null");
    }
}
