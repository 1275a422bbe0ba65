/*
 * Where a transaction stands and what an unspent output is: Fulcrum's
 * blockchain.transaction.get_height, .get_confirmed_blockhash and
 * blockchain.utxo.get_info.
 */

#include "ngx_electrumx_rpc.h"
#include "exi_coin.h"
#include "exi_token.h"


static ngx_int_t ngx_electrumx_utxo_ask(ngx_electrumx_req_t *r,
    const struct exi_txpos *pos);
static ngx_int_t ngx_electrumx_utxo_done(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static void ngx_electrumx_utxo(ngx_electrumx_req_t *r, struct exi_txout *out,
    size_t token, const struct exi_txpos *pos);


ngx_int_t
ngx_electrumx_tx_get_height(ngx_electrumx_req_t *r)
{
    int               rc;
    struct exi_txid   txid;
    struct exi_txpos  pos;

    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = exi_tx_find(r->view, &txid, &pos);

    if (rc == EXI_ENOTFOUND) {
        exi_jw_lit(&r->out->jw, "null");
        return NGX_OK;
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    exi_jw_i64(&r->out->jw, pos.confirmed ? pos.height : 0);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_tx_get_blockhash(ngx_electrumx_req_t *r)
{
    int               rc;
    uint8_t           header[EXI_HEADER_LEN];
    struct exi_jw    *jw;
    struct exi_txid   txid;
    struct exi_txpos  pos;

    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = exi_tx_find(r->view, &txid, &pos);

    if (rc == EXI_ENOTFOUND || (rc == EXI_OK && !pos.confirmed)) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                                  "no confirmed transaction with this hash");
    }

    if (rc == EXI_OK) {
        rc = exi_header(r->view, (uint32_t) pos.height, header);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"block_hash\":");
    exi_jw_hash(jw, pos.block.b);
    exi_jw_lit(jw, ",\"block_height\":");
    exi_jw_i64(jw, pos.height);

    if (r->args[1].num) {
        exi_jw_lit(jw, ",\"block_header\":");
        exi_jw_hex(jw, header, EXI_HEADER_LEN);
    }

    exi_jw_char(jw, '}');

    return NGX_OK;
}


/* Unspent as seen with the mempool; null for others. */

ngx_int_t
ngx_electrumx_utxo_info(ngx_electrumx_req_t *r)
{
    int               rc;
    size_t            token;
    int32_t           height;
    uint32_t          index;
    struct exi_skey   key;
    struct exi_txid   txid, by;
    struct exi_txout  out;
    struct exi_txpos  pos;

    ngx_memcpy(txid.b, r->args[0].hash, EXI_HASH_LEN);

    rc = EXI_ENOTFOUND;
    index = (uint32_t) r->args[1].num;

    if (r->args[1].num < UINT32_MAX) {
        rc = exi_tx_find(r->view, &txid, &pos);
    }

    if (rc == EXI_OK) {
        rc = exi_spender_live(r->view, &txid, index, &by, &height);

        if (rc == EXI_OK) {
            rc = EXI_ENOTFOUND;

        } else if (rc == EXI_ENOTFOUND) {
            rc = pos.live ? ngx_electrumx_txout(r->view, &pos, index, &out)
                          : exi_outpoint_unspent(r->view, &pos, index, &key);
        }
    }

    if (rc == EXI_OK && !pos.live) {
        return ngx_electrumx_utxo_ask(r, &pos);
    }

    token = 0;

    if (rc == EXI_OK) {
        token = exi_token_strip(&out, ngx_electrumx_coin(r->view));
    }

    if (rc == EXI_ENOTFOUND
        || (rc == EXI_OK && exi_script_unspendable(out.script, out.scriptlen)))
    {
        exi_jw_lit(&r->out->jw, "null");
        return NGX_OK;
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "output");
    }

    ngx_electrumx_utxo(r, &out, token, &pos);

    return NGX_OK;
}


unsigned
ngx_electrumx_coin(const struct exi_view *view)
{
    return exi_coin_flags(exi_view_params(view)->network);
}


int
ngx_electrumx_txout(struct exi_view *view, const struct exi_txpos *pos,
    uint32_t index, struct exi_txout *out)
{
    int             rc;
    size_t          len;
    struct exi_tx   tx;
    const uint8_t  *raw;

    rc = exi_tx_raw(view, pos, &raw, &len);

    if (rc == EXI_OK) {
        rc = exi_tx_parse_whole(&tx, raw, len);
    }

    return (rc == EXI_OK) ? ngx_electrumx_tx_output(&tx, index, out) : rc;
}


int
ngx_electrumx_tx_output(const struct exi_tx *tx, uint32_t index,
    struct exi_txout *out)
{
    uint32_t        i;
    const uint8_t  *p;

    if (index >= tx->nout) {
        return EXI_ENOTFOUND;
    }

    p = tx->outs;

    for (i = 0; i <= index; i++) {
        p = exi_txout_next(out, p);
    }

    return EXI_OK;
}


/* The index has only a part of the script's hash: the node has the script. */

static ngx_int_t
ngx_electrumx_utxo_ask(ngx_electrumx_req_t *r, const struct exi_txpos *pos)
{
    ngx_int_t              rc;
    ngx_electrumx_call_t  *call;

    rc = ngx_electrumx_tx_ask(r, r->args[0].hash, pos, 0,
                              ngx_electrumx_utxo_done, &call);

    if (rc == NGX_AGAIN) {
        call->number = (ngx_uint_t) r->args[1].num;
    }

    return rc;
}


static ngx_int_t
ngx_electrumx_utxo_done(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    int               rc;
    size_t            token;
    struct exi_tx     tx;
    struct exi_txid   txid;
    struct exi_txout  out;
    struct exi_txpos  pos;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_view(r) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_electrumx_tx_answered(call, json, len, &txid, &tx);

    if (rc == EXI_OK) {
        rc = ngx_electrumx_tx_output(&tx, (uint32_t) call->number, &out);
    }

    if (rc == EXI_OK) {
        rc = exi_tx_find(r->view, &txid, &pos);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "output");
    }

    token = exi_token_strip(&out, ngx_electrumx_coin(r->view));

    ngx_electrumx_utxo(r, &out, token, &pos);

    return NGX_OK;
}


int
ngx_electrumx_tx_answered(ngx_electrumx_call_t *call, u_char *json,
    size_t len, struct exi_txid *txid, struct exi_tx *tx)
{
    int  rc;

    /* params: ["txid",... ; json: "hex" */

    if (call->params.len < 2 + EXI_HASH_LEN * 2 || len < 2
        || json[0] != '"' || json[len - 1] != '"')
    {
        return EXI_EFORMAT;
    }

    rc = exi_unhex_display(txid->b, (char *) call->params.data + 2,
                           EXI_HASH_LEN * 2);

    if (rc == EXI_OK) {
        rc = exi_unhex(json, (char *) json + 1, len - 2);
    }

    return (rc == EXI_OK) ? exi_tx_parse_whole(tx, json, (len - 2) / 2) : rc;
}


/* {category, amount, nft: {capability, commitment}}, as Fulcrum's. */

void
ngx_electrumx_token_data(struct exi_jw *jw, const uint8_t *data, size_t len)
{
    size_t            n;
    struct exi_token  t;

    static const char  *names[] = { "none", "mutable", "minting" };

    if (exi_token_parse(&t, &n, data, len) != EXI_OK || n != len) {
        return;
    }

    exi_jw_lit(jw, ",\"token_data\":{\"category\":");
    exi_jw_hash(jw, t.category);
    exi_jw_lit(jw, ",\"amount\":\"");
    exi_jw_i64(jw, t.amount);
    exi_jw_char(jw, '"');

    if (t.nft) {
        exi_jw_lit(jw, ",\"nft\":{\"capability\":\"");
        exi_jw_raw(jw, names[t.capability], ngx_strlen(names[t.capability]));
        exi_jw_lit(jw, "\",\"commitment\":");
        exi_jw_hex(jw, t.commitment, t.commitmentlen);
        exi_jw_char(jw, '}');
    }

    exi_jw_char(jw, '}');
}


/* Token data of so many bytes, if any, stand before the script. */

static void
ngx_electrumx_utxo(ngx_electrumx_req_t *r, struct exi_txout *out,
    size_t token, const struct exi_txpos *pos)
{
    struct exi_jw     *jw;
    struct exi_shash   hash;

    exi_script_hash(&hash, out->script, out->scriptlen);

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"value\":");
    exi_jw_i64(jw, token ? EXI_VALUE_SAT(out->value_sat) : out->value_sat);
    exi_jw_lit(jw, ",\"scripthash\":");
    exi_jw_hash(jw, hash.b);

    if (pos->confirmed) {
        exi_jw_lit(jw, ",\"confirmed_height\":");
        exi_jw_i64(jw, pos->height);
    }

    if (token) {
        ngx_electrumx_token_data(jw, out->script - token, token);
    }

    exi_jw_char(jw, '}');
}
