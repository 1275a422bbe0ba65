/*
 * blockchain.block.*, blockchain.header.* and blockchain.headers.*.
 */

#include "ngx_electrumx_rpc.h"


static ngx_int_t ngx_electrumx_header_proof(ngx_electrumx_req_t *r,
    uint64_t height, uint64_t cp_height);
static ngx_int_t ngx_electrumx_header_list(ngx_electrumx_req_t *r,
    uint64_t start, uint64_t count);
static ngx_int_t ngx_electrumx_header_at(ngx_electrumx_req_t *r,
    uint32_t height);
static ngx_int_t ngx_electrumx_header_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);


/* {"branch":[...],"root":"..."} without the braces. */

static ngx_int_t
ngx_electrumx_header_proof(ngx_electrumx_req_t *r, uint64_t height,
    uint64_t cp_height)
{
    int              rc;
    size_t           i, n;
    uint32_t         tip;
    struct exi_jw   *jw;
    struct exi_hash  root, branch[EXI_MERKLE_MAX];

    tip = exi_view_state(r->view)->tip_height;

    if (height > cp_height || cp_height > tip) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                   "require header height %uL <= cp_height %uL "
                   "<= chain height %uD", height, cp_height, tip);
    }

    rc = exi_header_proof(r->view, (uint32_t) height, (uint32_t) cp_height,
                          &root, branch, &n);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "header proof");
    }

    jw = &r->out->jw;

    exi_jw_lit(jw, "\"branch\":[");

    for (i = 0; i < n; i++) {
        if (i) {
            exi_jw_char(jw, ',');
        }

        exi_jw_hash(jw, branch[i].b);
    }

    exi_jw_lit(jw, "],\"root\":");
    exi_jw_hash(jw, root.b);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_block_header(ngx_electrumx_req_t *r)
{
    int             rc;
    uint8_t         header[EXI_HEADER_LEN];
    uint64_t        height, cp_height;
    struct exi_jw  *jw;

    height = r->args[0].num;
    cp_height = r->args[1].num;

    rc = EXI_ENOTFOUND;

    if (height <= exi_view_state(r->view)->tip_height) {
        rc = exi_header(r->view, (uint32_t) height, header);
    }

    if (rc == EXI_ENOTFOUND) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                   "height %uL out of range", height);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "header");
    }

    jw = &r->out->jw;

    if (cp_height == 0) {
        exi_jw_hex(jw, header, EXI_HEADER_LEN);
        return NGX_OK;
    }

    exi_jw_char(jw, '{');

    if (ngx_electrumx_header_proof(r, height, cp_height) != NGX_OK) {
        return NGX_ERROR;
    }

    exi_jw_lit(jw, ",\"header\":");
    exi_jw_hex(jw, header, EXI_HEADER_LEN);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_block_headers(ngx_electrumx_req_t *r)
{
    uint32_t        tip;
    uint64_t        start, count, cp_height;
    struct exi_jw  *jw;

    start = r->args[0].num;
    count = ngx_min(r->args[1].num, NGX_ELECTRUMX_MAX_HEADERS);
    cp_height = r->args[2].num;

    tip = exi_view_state(r->view)->tip_height;

    if (start > tip) {
        count = 0;

    } else if (count > tip - start + 1) {
        count = tip - start + 1;
    }

    jw = &r->out->jw;

    exi_jw_char(jw, '{');

    if (ngx_electrumx_header_list(r, start, count) != NGX_OK) {
        return NGX_ERROR;
    }

    exi_jw_lit(jw, ",\"count\":");
    exi_jw_u64(jw, count);
    exi_jw_lit(jw, ",\"max\":");
    exi_jw_u64(jw, NGX_ELECTRUMX_MAX_HEADERS);

    if (count && cp_height) {
        exi_jw_char(jw, ',');

        if (ngx_electrumx_header_proof(r, start + count - 1, cp_height)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    exi_jw_char(jw, '}');

    return NGX_OK;
}


/* A list from 1.6 on, one string before. */

static ngx_int_t
ngx_electrumx_header_list(ngx_electrumx_req_t *r, uint64_t start,
    uint64_t count)
{
    int             rc;
    uint8_t         header[EXI_HEADER_LEN];
    uint64_t        i;
    ngx_uint_t      list;
    struct exi_jw  *jw;

    jw = &r->out->jw;
    list = (r->session->protocol >= NGX_ELECTRUMX_V(1, 6, 0));

    if (list) {
        exi_jw_lit(jw, "\"headers\":[");

    } else {
        exi_jw_lit(jw, "\"hex\":\"");
    }

    for (i = 0; i < count; i++) {

        rc = exi_header(r->view, (uint32_t) (start + i), header);

        if (rc != EXI_OK) {
            return ngx_electrumx_fail_exi(r, rc, "header");
        }

        if (!list) {
            exi_jw_hex_part(jw, header, EXI_HEADER_LEN);
            continue;
        }

        if (i) {
            exi_jw_char(jw, ',');
        }

        exi_jw_hex(jw, header, EXI_HEADER_LEN);
    }

    exi_jw_char(jw, list ? ']' : '"');

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_headers_subscribe(ngx_electrumx_req_t *r)
{
    ngx_electrumx_subs_catch_up(r->index, r->view);

    if (ngx_electrumx_headers_get_tip(r) != NGX_OK) {
        return NGX_ERROR;
    }

    r->session->headers_sub = 1;

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_headers_unsubscribe(ngx_electrumx_req_t *r)
{
    if (r->session->headers_sub) {
        exi_jw_lit(&r->out->jw, "true");

    } else {
        exi_jw_lit(&r->out->jw, "false");
    }

    r->session->headers_sub = 0;

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_headers_get_tip(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_header_at(r, exi_view_state(r->view)->tip_height);
}


static ngx_int_t
ngx_electrumx_header_at(ngx_electrumx_req_t *r, uint32_t height)
{
    int             rc;
    uint8_t         header[EXI_HEADER_LEN];
    struct exi_jw  *jw;

    rc = exi_header(r->view, height, header);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "header");
    }

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"hex\":");
    exi_jw_hex(jw, header, EXI_HEADER_LEN);
    exi_jw_lit(jw, ",\"height\":");
    exi_jw_u64(jw, height);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


/* By height, or by block hash: the node knows its height. */

ngx_int_t
ngx_electrumx_header_get(ngx_electrumx_req_t *r)
{
    u_char                 params[EXI_HASH_LEN * 2 + 4];
    uint64_t               height;
    ngx_str_t              text;
    struct exi_blkid       hash;
    ngx_electrumx_json_t  *v;

    v = r->args[0].value;

    if (v->type == NGX_ELECTRUMX_JSON_STRING
        && exi_unhex_display(hash.b, (char *) v->start, v->len) == EXI_OK)
    {
        params[0] = '[';
        params[1] = '"';
        exi_hex_display((char *) params + 2, hash.b);
        params[sizeof(params) - 2] = '"';
        params[sizeof(params) - 1] = ']';

        text.data = params;
        text.len = sizeof(params);

        return ngx_electrumx_call(r, "blockheight", &text,
                                  ngx_electrumx_header_done, NULL);
    }

    if ((v->type != NGX_ELECTRUMX_JSON_NUMBER
         && v->type != NGX_ELECTRUMX_JSON_STRING)
        || ngx_electrumx_json_uint(v->start, v->len, &height) != NGX_OK)
    {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "block: a height or a block hash expected");
    }

    if (height > exi_view_state(r->view)->tip_height) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                   "height %uL out of range", height);
    }

    return ngx_electrumx_header_at(r, (uint32_t) height);
}


/* The node may know more blocks than there are in our chain. */

static ngx_int_t
ngx_electrumx_header_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    char              hex[EXI_HASH_LEN * 2];
    uint64_t          height;
    struct exi_blkid  hash;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_view(r) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_electrumx_json_uint(json, len, &height) == NGX_OK
        && height <= exi_view_state(r->view)->tip_height
        && exi_block_hash(r->view, (uint32_t) height, &hash) == EXI_OK)
    {
        exi_hex_display(hex, hash.b);

        if (ngx_memcmp(hex, call->params.data + 2, sizeof(hex)) == 0) {
            return ngx_electrumx_header_at(r, (uint32_t) height);
        }
    }

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                              "no block with this hash in the chain");
}


ngx_int_t
ngx_electrumx_block_stats(ngx_electrumx_req_t *r)
{
    u_char     buf[32];
    ngx_str_t  params;

    if (r->args[0].num > exi_view_state(r->view)->tip_height) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                   "height %uL out of range", r->args[0].num);
    }

    params.data = buf;
    params.len = ngx_sprintf(buf, "[%uL]", r->args[0].num) - buf;

    return ngx_electrumx_call(r, "blockstats", &params,
                              ngx_electrumx_finish_raw, NULL);
}
