/*
 * blockchain.transaction.*.
 *
 * Raw transactions of the live window and the mempool come from the index, the
 * others from the node, asked by txid and block hash: it needs no txindex.
 */

#include "ngx_electrumx_rpc.h"


static ngx_int_t ngx_electrumx_tx_ask(ngx_electrumx_req_t *r,
    const u_char *txid, const struct exi_txpos *pos, ngx_uint_t verbose);
static ngx_int_t ngx_electrumx_tx_first(ngx_electrumx_req_t *r,
    const struct exi_txid *txid);
static ngx_int_t ngx_electrumx_tx_not_in(ngx_electrumx_req_t *r,
    uint64_t height);
static ngx_int_t ngx_electrumx_tx_branch(ngx_electrumx_req_t *r,
    uint32_t height, uint32_t pos);
static ngx_int_t ngx_electrumx_broadcast_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_package_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_package_result(ngx_electrumx_req_t *r,
    ngx_electrumx_json_t *result);
static void ngx_electrumx_json_copy(struct exi_jw *jw,
    ngx_electrumx_json_t *v);


#define NGX_ELECTRUMX_PACKAGE_VALUES  4096    /* of submitpackage's answer */


ngx_int_t
ngx_electrumx_tx_get(ngx_electrumx_req_t *r)
{
    int               rc;
    size_t            len;
    ngx_uint_t        verbose;
    const uint8_t    *raw;
    struct exi_txid   txid;
    struct exi_txpos  pos;

    verbose = (ngx_uint_t) r->args[1].num;
    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = exi_tx_find(r->view, &txid, &pos);

    if (rc == EXI_ENOTFOUND) {

        /* the node may have it before the index does; else it has the words */

        return ngx_electrumx_tx_ask(r, txid.b, NULL, verbose);
    }

    if (rc == EXI_OK && pos.live && !verbose) {

        rc = exi_tx_raw(r->view, &pos, &raw, &len);

        if (rc == EXI_OK) {
            exi_jw_hex(&r->out->jw, raw, len);
            return NGX_OK;
        }

        if (rc == EXI_ENOTFOUND) {
            rc = EXI_OK;
        }
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    return ngx_electrumx_tx_ask(r, txid.b, &pos, verbose);
}


/* Calls: rawtx [txid, blockhash, height], verbosetx [txid, blockhash]; outside
   of a block [txid, null]. */

static ngx_int_t
ngx_electrumx_tx_ask(ngx_electrumx_req_t *r, const u_char *txid,
    const struct exi_txpos *pos, ngx_uint_t verbose)
{
    u_char     *p, buf[256];
    ngx_str_t   params;

    p = buf;

    *p++ = '[';
    *p++ = '"';
    exi_hex_display((char *) p, txid);
    p += EXI_HASH_LEN * 2;
    *p++ = '"';
    *p++ = ',';

    if (pos && pos->confirmed) {
        *p++ = '"';
        exi_hex_display((char *) p, pos->block.b);
        p += EXI_HASH_LEN * 2;
        *p++ = '"';

        if (!verbose) {
            p = ngx_sprintf(p, ",%D", pos->height);
        }

    } else {
        p = ngx_cpymem(p, "null", 4);
    }

    *p++ = ']';

    params.data = buf;
    params.len = p - buf;

    return ngx_electrumx_call(r, verbose ? "verbosetx" : "rawtx", &params,
                              ngx_electrumx_finish_raw, NULL);
}


ngx_int_t
ngx_electrumx_tx_get_merkle(ngx_electrumx_req_t *r)
{
    int               rc;
    uint32_t          height, pos;
    struct exi_jw    *jw;
    struct exi_txid   txid;
    struct exi_txpos  found;

    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = exi_tx_find(r->view, &txid, &found);

    if (rc == EXI_ENOTFOUND || (rc == EXI_OK && !found.confirmed)) {
        return ngx_electrumx_tx_not_in(r, r->args[1].num);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    height = (uint32_t) found.height;
    pos = found.pos;

    if (r->args[1].value && r->args[1].num != height) {

        if (ngx_electrumx_tx_first(r, &txid) != NGX_OK) {
            return NGX_ERROR;
        }

        height = (uint32_t) r->args[1].num;
        pos = 0;
    }

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"block_height\":");
    exi_jw_u64(jw, height);
    exi_jw_lit(jw, ",\"merkle\":");

    if (ngx_electrumx_tx_branch(r, height, pos) != NGX_OK) {
        return NGX_ERROR;
    }

    exi_jw_lit(jw, ",\"pos\":");
    exi_jw_u64(jw, pos);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


/* Whether it is the coinbase of the block asked for, too: in two cases a later
   coinbase has the same txid. */

static ngx_int_t
ngx_electrumx_tx_first(ngx_electrumx_req_t *r, const struct exi_txid *txid)
{
    int              rc;
    uint64_t         height;
    struct exi_txid  first;

    height = r->args[1].num;

    if (height > exi_view_state(r->view)->tip_height) {
        return ngx_electrumx_tx_not_in(r, height);
    }

    rc = exi_block_txid(r->view, (uint32_t) height, 0, &first);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "block");
    }

    if (ngx_memcmp(first.b, txid->b, EXI_HASH_LEN) != 0) {
        return ngx_electrumx_tx_not_in(r, height);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_tx_not_in(ngx_electrumx_req_t *r, uint64_t height)
{
    char  txid[EXI_HASH_LEN * 2];

    exi_hex_display(txid, r->args[0].hash);

    return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                               "tx %*s not in block at height %uL",
                               sizeof(txid), txid, height);
}


static ngx_int_t
ngx_electrumx_tx_branch(ngx_electrumx_req_t *r, uint32_t height, uint32_t pos)
{
    int              rc;
    size_t           i, n;
    struct exi_jw   *jw;
    struct exi_hash  branch[EXI_MERKLE_MAX];

    rc = exi_block_branch(r->view, &ngx_electrumx_arena, height, pos, branch,
                          &n);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "merkle branch");
    }

    jw = &r->out->jw;

    exi_jw_char(jw, '[');

    for (i = 0; i < n; i++) {
        if (i) {
            exi_jw_char(jw, ',');
        }

        exi_jw_hash(jw, branch[i].b);
    }

    exi_jw_char(jw, ']');

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_tx_id_from_pos(ngx_electrumx_req_t *r)
{
    int              rc;
    uint64_t         height, pos;
    struct exi_jw   *jw;
    struct exi_txid  txid;

    height = r->args[0].num;
    pos = r->args[1].num;

    rc = EXI_ENOTFOUND;

    if (height <= exi_view_state(r->view)->tip_height && pos <= UINT32_MAX) {
        rc = exi_block_txid(r->view, (uint32_t) height, (uint32_t) pos, &txid);
    }

    if (rc == EXI_ENOTFOUND) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                 "no tx at position %uL in block at height %uL",
                                 pos, height);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "block");
    }

    jw = &r->out->jw;

    if (!r->args[2].num) {
        exi_jw_hash(jw, txid.b);
        return NGX_OK;
    }

    exi_jw_lit(jw, "{\"tx_hash\":");
    exi_jw_hash(jw, txid.b);
    exi_jw_lit(jw, ",\"merkle\":");

    if (ngx_electrumx_tx_branch(r, (uint32_t) height, (uint32_t) pos)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    exi_jw_char(jw, '}');

    return NGX_OK;
}


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


ngx_int_t
ngx_electrumx_broadcast_package(ngx_electrumx_req_t *r)
{
    u_char                *p;
    size_t                 size;
    uint32_t               i;
    ngx_int_t              rc;
    ngx_str_t              params;
    ngx_electrumx_json_t  *txs, *v;
    ngx_electrumx_call_t  *call;

    txs = r->args[0].value;
    size = sizeof("[[],false]");
    v = txs + 1;

    for (i = 0; i < txs->n; i++) {
        size += v[i].len + 3;
    }

    p = ngx_electrumx_alloc(size);

    if (p == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    params.data = p;

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

    p = ngx_cpymem(p, "],", 2);

    if (r->args[1].num) {
        p = ngx_cpymem(p, "true]", 5);

    } else {
        p = ngx_cpymem(p, "false]", 6);
    }

    params.len = p - params.data;

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
