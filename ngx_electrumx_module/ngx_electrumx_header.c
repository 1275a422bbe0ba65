/*
 * blockchain.block.* and blockchain.headers.subscribe.
 */

#include "ngx_electrumx_rpc.h"


static ngx_int_t ngx_electrumx_header_proof(ngx_electrumx_req_t *r,
    uint64_t height, uint64_t cp_height);
static ngx_int_t ngx_electrumx_header_list(ngx_electrumx_req_t *r,
    uint64_t start, uint64_t count);


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
    int             rc;
    uint8_t         header[EXI_HEADER_LEN];
    uint32_t        tip;
    struct exi_jw  *jw;

    ngx_electrumx_subs_catch_up(r->index, r->view);

    tip = exi_view_state(r->view)->tip_height;

    rc = exi_header(r->view, tip, header);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "header");
    }

    r->session->headers_sub = 1;

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"hex\":");
    exi_jw_hex(jw, header, EXI_HEADER_LEN);
    exi_jw_lit(jw, ",\"height\":");
    exi_jw_u64(jw, tip);
    exi_jw_char(jw, '}');

    return NGX_OK;
}
