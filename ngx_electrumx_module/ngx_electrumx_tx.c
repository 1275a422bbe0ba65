/*
 * blockchain.transaction.*.
 *
 * Raw transactions of the live window and the mempool come from the index, the
 * others from the node's block files or, where those are not at hand, from the
 * node, asked by txid and block hash: it needs no txindex.
 */

#include "ngx_electrumx_rpc.h"


static ngx_int_t ngx_electrumx_tx_first(ngx_electrumx_req_t *r,
    const struct exi_txid *txid);
static ngx_int_t ngx_electrumx_tx_not_in(ngx_electrumx_req_t *r,
    uint64_t height);
static ngx_int_t ngx_electrumx_tx_branch(ngx_electrumx_req_t *r,
    uint32_t height, uint32_t pos);


ngx_int_t
ngx_electrumx_tx_get(ngx_electrumx_req_t *r)
{
    int               rc;
    size_t            len;
    u_char           *settled;
    ngx_uint_t        verbose;
    const uint8_t    *raw;
    struct exi_txid   txid;
    struct exi_txpos  pos;

    verbose = (ngx_uint_t) r->args[1].num;
    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = exi_tx_find(r->view, &txid, &pos);

    if (rc == EXI_ENOTFOUND) {

        /* the node may have it before the index does; else it has the words */

        return ngx_electrumx_tx_ask(r, txid.b, NULL, verbose,
                                    ngx_electrumx_finish_raw, NULL);
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

    if (!verbose
        && ngx_electrumx_blocks_tx(r->index, &txid, &pos, &settled) == NGX_OK)
    {
        exi_jw_hex(&r->out->jw, settled, pos.size);
        return NGX_OK;
    }

    return ngx_electrumx_tx_ask(r, txid.b, &pos, verbose,
                                ngx_electrumx_finish_raw, NULL);
}


/* Calls: rawtx [txid, blockhash, height], verbosetx [txid, blockhash]; outside
   of a block [txid, null]. */

ngx_int_t
ngx_electrumx_tx_ask(ngx_electrumx_req_t *r, const u_char *txid,
    const struct exi_txpos *pos, ngx_uint_t verbose,
    ngx_electrumx_finish_pt finish, ngx_electrumx_call_t **call)
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
                              finish, call);
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
