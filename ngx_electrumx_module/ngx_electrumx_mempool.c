/*
 * Fees and the mempool: from the facts that the indexer keeps in the live
 * layer, else from the node.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_NINFO    3
#define NGX_ELECTRUMX_NRECENT  10             /* of mempool.recent */


static ngx_int_t ngx_electrumx_fee_mode(ngx_electrumx_req_t *r,
    const char **mode);
static uint64_t ngx_electrumx_fee_target(uint64_t blocks);
static ngx_int_t ngx_electrumx_relayfee_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_info_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_info_write(ngx_electrumx_req_t *r, u_char *json,
    size_t len);


static const char  *ngx_electrumx_info_names[NGX_ELECTRUMX_NINFO] = {
    "mempoolminfee", "minrelaytxfee", "incrementalrelayfee"
};


/* Facts: estimate.<blocks>.<mode>, mode "" if none was given. */

ngx_int_t
ngx_electrumx_estimatefee(ngx_electrumx_req_t *r)
{
    u_char       name[64], *p;
    size_t       len;
    uint64_t     blocks;
    ngx_str_t    params;
    const char  *mode, *json;

    mode = "";

    if (ngx_electrumx_fee_mode(r, &mode) != NGX_OK) {
        return NGX_ERROR;
    }

    blocks = ngx_electrumx_fee_target(r->args[0].num);

    if (ngx_electrumx_view(r) == NGX_OK) {

        p = ngx_snprintf(name, sizeof(name) - 1, "estimate.%uL.%s", blocks,
                         mode);
        *p = '\0';

        if (exi_fact(r->view, (char *) name, &json, &len) == EXI_OK) {
            exi_jw_raw(&r->out->jw, json, len);
            return NGX_OK;
        }
    }

    if (*mode) {
        p = ngx_snprintf(name, sizeof(name), "[%uL,\"%s\"]", blocks, mode);

    } else {
        p = ngx_snprintf(name, sizeof(name), "[%uL,null]", blocks);
    }

    params.data = name;
    params.len = p - name;

    return ngx_electrumx_call(r, "estimatefee", &params,
                              ngx_electrumx_finish_raw, NULL);
}


/* A mode that is no string counts as none: *mode stays. */

static ngx_int_t
ngx_electrumx_fee_mode(ngx_electrumx_req_t *r, const char **mode)
{
    ngx_uint_t   i;
    ngx_str_t   *given;

    static const char  *modes[] = { "CONSERVATIVE", "ECONOMICAL", NULL };

    given = &r->args[1].str;

    if (given->data == NULL) {
        return NGX_OK;
    }

    for (i = 0; modes[i]; i++) {

        if (given->len == ngx_strlen(modes[i])
            && ngx_strncasecmp(given->data, (u_char *) modes[i], given->len)
               == 0)
        {
            *mode = modes[i];
            return NGX_OK;
        }
    }

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                              "unknown estimatefee mode");
}


/* ElectrumX's buckets: fewer different questions to the node; 25 is what the
   Electrum wallet asks for. */

static uint64_t
ngx_electrumx_fee_target(uint64_t blocks)
{
    if (blocks <= 1) {
        return 1;
    }

    if (blocks <= 12 || blocks == 25) {
        return blocks;
    }

    if (blocks <= 48) {
        return blocks / 2 * 2;
    }

    if (blocks <= 1008) {
        return blocks / 24 * 24;
    }

    return 1008;
}


ngx_int_t
ngx_electrumx_relayfee(ngx_electrumx_req_t *r)
{
    ngx_str_t             params;
    ngx_electrumx_json_t  fee;

    if (ngx_electrumx_view(r) == NGX_OK
        && ngx_electrumx_pick_fact(r, "network", "relayfee", &fee) == NGX_OK)
    {
        exi_jw_raw(&r->out->jw, fee.start, fee.len);
        return NGX_OK;
    }

    ngx_str_set(&params, "[]");

    return ngx_electrumx_call(r, "networkinfo", &params,
                              ngx_electrumx_relayfee_done, NULL);
}


static ngx_int_t
ngx_electrumx_relayfee_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    ngx_electrumx_json_t  fee;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_pick(json, len, "relayfee", &fee) != NGX_OK) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_DAEMON_ERROR,
                                  "daemon error: no relay fee");
    }

    exi_jw_raw(&r->out->jw, fee.start, fee.len);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_fee_histogram(ngx_electrumx_req_t *r)
{
    size_t       len;
    const char  *json;

    if (exi_fact(r->view, "fees", &json, &len) == EXI_OK) {
        exi_jw_raw(&r->out->jw, json, len);

    } else {
        exi_jw_lit(&r->out->jw, "[]");
    }

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_mempool_info(ngx_electrumx_req_t *r)
{
    size_t       len;
    ngx_str_t    params;
    const char  *json;

    if (ngx_electrumx_view(r) == NGX_OK
        && exi_fact(r->view, "mempoolinfo", &json, &len) == EXI_OK
        && ngx_electrumx_info_write(r, (u_char *) json, len) == NGX_OK)
    {
        return NGX_OK;
    }

    ngx_str_set(&params, "[]");

    return ngx_electrumx_call(r, "mempoolinfo", &params,
                              ngx_electrumx_info_done, NULL);
}


static ngx_int_t
ngx_electrumx_info_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_info_write(r, json, len) != NGX_OK) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_DAEMON_ERROR,
                                  "daemon error: no mempool information");
    }

    return NGX_OK;
}


/* Nodes that know no incrementalrelayfee have none. */

static ngx_int_t
ngx_electrumx_info_write(ngx_electrumx_req_t *r, u_char *json, size_t len)
{
    ngx_uint_t             i, n;
    struct exi_jw         *jw;
    ngx_electrumx_json_t   fee[NGX_ELECTRUMX_NINFO];

    for (i = 0; i < NGX_ELECTRUMX_NINFO; i++) {

        if (ngx_electrumx_pick(json, len, ngx_electrumx_info_names[i], &fee[i])
            != NGX_OK)
        {
            fee[i].len = 0;
        }
    }

    if (fee[0].len == 0) {
        return NGX_DECLINED;
    }

    jw = &r->out->jw;
    n = 0;

    exi_jw_char(jw, '{');

    for (i = 0; i < NGX_ELECTRUMX_NINFO; i++) {

        if (fee[i].len == 0) {
            continue;
        }

        if (n++) {
            exi_jw_char(jw, ',');
        }

        exi_jw_char(jw, '"');
        exi_jw_raw(jw, ngx_electrumx_info_names[i],
                   ngx_strlen(ngx_electrumx_info_names[i]));
        exi_jw_lit(jw, "\":");
        exi_jw_raw(jw, fee[i].start, fee[i].len);
    }

    exi_jw_char(jw, '}');

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_mempool_recent(ngx_electrumx_req_t *r)
{
    int                 rc;
    size_t              i, n;
    struct exi_jw      *jw;
    struct exi_recent   recent[NGX_ELECTRUMX_NRECENT];

    n = NGX_ELECTRUMX_NRECENT;

    rc = exi_mempool_recent(r->view, recent, &n);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "mempool");
    }

    jw = &r->out->jw;

    exi_jw_char(jw, '[');

    for (i = 0; i < n; i++) {
        if (i) {
            exi_jw_char(jw, ',');
        }

        exi_jw_lit(jw, "{\"txid\":");
        exi_jw_hash(jw, recent[i].txid.b);
        exi_jw_lit(jw, ",\"fee\":");
        exi_jw_i64(jw, recent[i].fee_sat);
        exi_jw_lit(jw, ",\"vsize\":");
        exi_jw_u64(jw, recent[i].vsize);
        exi_jw_char(jw, '}');
    }

    exi_jw_char(jw, ']');

    return NGX_OK;
}
