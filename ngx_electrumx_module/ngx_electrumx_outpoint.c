/*
 * blockchain.outpoint.* and blockchain.transaction.subscribe: what became of
 * an output, from the index.
 *
 * The index knows the spender of every output that a live transaction spends,
 * and which settled outputs are unspent.  For an output that was spent in the
 * settled chain it may have `S` rows; else the node is asked for the funding
 * transaction (whose script gives the candidates: the script's history) and
 * then for that candidate which has the output among its inputs.
 */

#include "ngx_electrumx_rpc.h"
#include "exi_token.h"


#define NGX_ELECTRUMX_CANDIDATES      100
#define NGX_ELECTRUMX_CANDIDATE_LEN   160     /* of its JSON text */


typedef struct {
    struct exi_view          *view;
    struct exi_txid           funder;
    int32_t                   height;
    u_char                   *pos;
    u_char                   *first;
    ngx_uint_t                n;
} ngx_electrumx_candidates_t;


static ngx_int_t ngx_electrumx_outpoint_arg(ngx_electrumx_req_t *r,
    ngx_electrumx_outpoint_t *o);
static ngx_int_t ngx_electrumx_outpoint_answer(ngx_electrumx_req_t *r,
    ngx_uint_t subscribe);
static ngx_int_t ngx_electrumx_watch(ngx_electrumx_req_t *r,
    ngx_electrumx_outpoint_t *o, ngx_electrumx_spend_t *st);
static ngx_int_t ngx_electrumx_watch_drop(ngx_electrumx_req_t *r,
    ngx_electrumx_outpoint_t *o);
static int ngx_electrumx_spend_live(struct exi_view *view,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    ngx_electrumx_spend_t *st);
static int ngx_electrumx_spend_settled(struct exi_view *view,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    ngx_electrumx_spend_t *st);
static ngx_int_t ngx_electrumx_outpoint_ask(ngx_electrumx_req_t *r,
    const ngx_electrumx_outpoint_t *o);
static ngx_int_t ngx_electrumx_outpoint_raw(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);
static ngx_int_t ngx_electrumx_outpoint_search(ngx_electrumx_req_t *r,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    const struct exi_txout *out);
static int ngx_electrumx_candidate(void *ctx, const struct exi_hist *h);
static ngx_int_t ngx_electrumx_outpoint_found(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);


ngx_int_t
ngx_electrumx_outpoint_get_status(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_outpoint_answer(r, 0);
}


ngx_int_t
ngx_electrumx_outpoint_subscribe(ngx_electrumx_req_t *r)
{
    ngx_electrumx_subs_catch_up(r->index, r->view);

    return ngx_electrumx_outpoint_answer(r, 1);
}


ngx_int_t
ngx_electrumx_outpoint_unsubscribe(ngx_electrumx_req_t *r)
{
    ngx_electrumx_outpoint_t  o;

    if (ngx_electrumx_outpoint_arg(r, &o) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_electrumx_watch_drop(r, &o);
}


ngx_int_t
ngx_electrumx_tx_subscribe(ngx_electrumx_req_t *r)
{
    int                       rc;
    ngx_electrumx_spend_t     st;
    ngx_electrumx_outpoint_t  o;

    ngx_electrumx_subs_catch_up(r->index, r->view);

    ngx_memcpy(o.txid.b, r->args[0].hash, EXI_HASH_LEN);
    o.index = 0;
    o.whole = 1;

    rc = ngx_electrumx_spend(r->view, &o, &st);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    if (ngx_electrumx_watch(r, &o, &st) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_electrumx_spend_write(&r->out->jw, &o, &st);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_tx_unsubscribe(ngx_electrumx_req_t *r)
{
    ngx_electrumx_outpoint_t  o;

    ngx_memcpy(o.txid.b, r->args[0].hash, EXI_HASH_LEN);
    o.index = 0;
    o.whole = 1;

    return ngx_electrumx_watch_drop(r, &o);
}


static ngx_int_t
ngx_electrumx_outpoint_arg(ngx_electrumx_req_t *r,
    ngx_electrumx_outpoint_t *o)
{
    if (r->args[1].num > UINT32_MAX) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "txout_idx: less than 2^32 expected");
    }

    ngx_memcpy(o->txid.b, r->args[0].hash, EXI_HASH_LEN);
    o->index = (uint32_t) r->args[1].num;
    o->whole = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_outpoint_answer(ngx_electrumx_req_t *r, ngx_uint_t subscribe)
{
    int                       rc;
    ngx_electrumx_spend_t     st;
    ngx_electrumx_outpoint_t  o;

    if (ngx_electrumx_outpoint_arg(r, &o) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_electrumx_spend(r->view, &o, &st);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "outpoint");
    }

    if (subscribe && ngx_electrumx_watch(r, &o, &st) != NGX_OK) {
        return NGX_ERROR;
    }

    if (st.deep) {
        return ngx_electrumx_outpoint_ask(r, &o);
    }

    ngx_electrumx_spend_write(&r->out->jw, &o, &st);

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_watch(ngx_electrumx_req_t *r, ngx_electrumx_outpoint_t *o,
    ngx_electrumx_spend_t *st)
{
    int  rc;

    rc = ngx_electrumx_watch_add(r->session, o, st, &r->args[0].str);

    if (rc == EXI_EAPI) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                    "too many subscriptions: at most %ui in one session",
                    r->index->max_subs);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "subscription");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_watch_drop(ngx_electrumx_req_t *r, ngx_electrumx_outpoint_t *o)
{
    if (ngx_electrumx_watch_remove(r->session, o)) {
        exi_jw_lit(&r->out->jw, "true");

    } else {
        exi_jw_lit(&r->out->jw, "false");
    }

    return NGX_OK;
}


/* Statuses */

int
ngx_electrumx_spend(struct exi_view *view, const ngx_electrumx_outpoint_t *o,
    ngx_electrumx_spend_t *st)
{
    int               rc;
    struct exi_txpos  pos;

    ngx_memzero(st, sizeof(ngx_electrumx_spend_t));

    rc = exi_tx_find(view, &o->txid, &pos);

    if (rc == EXI_ENOTFOUND) {
        return EXI_OK;
    }

    if (rc != EXI_OK) {
        return rc;
    }

    st->funded = 1;
    st->funder_height = pos.height;

    if (o->whole) {
        return EXI_OK;
    }

    rc = pos.live ? ngx_electrumx_spend_live(view, o, &pos, st)
                  : ngx_electrumx_spend_settled(view, o, &pos, st);

    if (rc != EXI_OK || st->deep || !st->funded || st->spent) {
        return rc;
    }

    rc = exi_spender_live(view, &o->txid, o->index, &st->spender,
                          &st->spender_height);

    st->spent = (rc == EXI_OK);

    return (rc == EXI_ENOTFOUND) ? EXI_OK : rc;
}


static int
ngx_electrumx_spend_live(struct exi_view *view,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    ngx_electrumx_spend_t *st)
{
    int                rc;
    struct exi_txout   out;
    struct exi_shash   hash;

    rc = ngx_electrumx_txout(view, pos, o->index, &out);

    if (rc == EXI_ENOTFOUND) {
        st->funded = 0;
        return EXI_OK;
    }

    if (rc == EXI_OK) {
        exi_token_strip(&out, ngx_electrumx_coin(view));
        exi_script_hash(&hash, out.script, out.scriptlen);
        st->script = exi_skey(&hash);
        st->has_script = 1;
    }

    return rc;
}


static int
ngx_electrumx_spend_settled(struct exi_view *view,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    ngx_electrumx_spend_t *st)
{
    int  rc;

    rc = exi_outpoint_unspent(view, pos, o->index, &st->script);

    if (rc == EXI_OK) {
        st->has_script = 1;
        return EXI_OK;
    }

    if (rc == EXI_ENOTFOUND) {
        rc = exi_spender_settled(view, pos, o->index, &st->spender,
                                 &st->spender_height);

        if (rc == EXI_OK) {
            st->spent = 1;

        } else if (rc == EXI_ENOTFOUND || rc == EXI_EAPI) {
            st->deep = 1;
            rc = EXI_OK;
        }
    }

    return rc;
}


void
ngx_electrumx_spend_write(struct exi_jw *jw,
    const ngx_electrumx_outpoint_t *o, const ngx_electrumx_spend_t *st)
{
    if (o->whole) {

        if (st->funded) {
            exi_jw_i64(jw, ngx_max(st->funder_height, 0));

        } else {
            exi_jw_lit(jw, "null");
        }

        return;
    }

    exi_jw_char(jw, '{');

    if (st->funded) {
        exi_jw_lit(jw, "\"funder_height\":");
        exi_jw_i64(jw, st->funder_height);
    }

    if (st->funded && st->spent) {
        exi_jw_lit(jw, ",\"spender_txhash\":");
        exi_jw_hash(jw, st->spender.b);
        exi_jw_lit(jw, ",\"spender_height\":");
        exi_jw_i64(jw, st->spender_height);
    }

    exi_jw_char(jw, '}');
}


/* What was spent in the settled chain */

static ngx_int_t
ngx_electrumx_outpoint_ask(ngx_electrumx_req_t *r,
    const ngx_electrumx_outpoint_t *o)
{
    int                    rc;
    ngx_int_t              again;
    struct exi_txpos       pos;
    ngx_electrumx_call_t  *call;

    rc = exi_tx_find(r->view, &o->txid, &pos);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "transaction");
    }

    again = ngx_electrumx_tx_ask(r, o->txid.b, &pos, 0,
                                 ngx_electrumx_outpoint_raw, &call);

    if (again == NGX_AGAIN) {
        call->number = o->index;
    }

    return again;
}


static ngx_int_t
ngx_electrumx_outpoint_raw(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    int                       rc;
    struct exi_tx             tx;
    struct exi_txout          out;
    struct exi_txpos          pos;
    ngx_electrumx_spend_t     st;
    ngx_electrumx_outpoint_t  o;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_view(r) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&st, sizeof(ngx_electrumx_spend_t));

    o.index = (uint32_t) call->number;
    o.whole = 0;

    rc = ngx_electrumx_tx_answered(call, json, len, &o.txid, &tx);

    if (rc == EXI_OK) {
        rc = exi_tx_find(r->view, &o.txid, &pos);
    }

    if (rc == EXI_OK) {
        rc = ngx_electrumx_tx_output(&tx, o.index, &out);

        if (rc == EXI_OK) {
            exi_token_strip(&out, ngx_electrumx_coin(r->view));
        }
        st.funded = (rc == EXI_OK);
        st.funder_height = pos.height;

        if (rc == EXI_ENOTFOUND) {
            rc = EXI_OK;
        }
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "outpoint");
    }

    if (!st.funded || pos.height == 0
        || exi_script_unspendable(out.script, out.scriptlen))
    {
        ngx_electrumx_spend_write(&r->out->jw, &o, &st);
        return NGX_OK;
    }

    return ngx_electrumx_outpoint_search(r, &o, &pos, &out);
}


/* Calls: spender [txid, index, [[txid, blockhash, height], ...]]. */

static ngx_int_t
ngx_electrumx_outpoint_search(ngx_electrumx_req_t *r,
    const ngx_electrumx_outpoint_t *o, const struct exi_txpos *pos,
    const struct exi_txout *out)
{
    int                         rc;
    ngx_str_t                   params;
    struct exi_skey             key;
    struct exi_shash            hash;
    ngx_electrumx_candidates_t  c;

    exi_script_hash(&hash, out->script, out->scriptlen);
    key = exi_skey(&hash);

    params.data = ngx_electrumx_alloc((NGX_ELECTRUMX_CANDIDATES + 1)
                                      * NGX_ELECTRUMX_CANDIDATE_LEN);

    if (params.data == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    c.view = r->view;
    c.funder = o->txid;
    c.height = pos->height;
    c.n = 0;

    c.pos = params.data;
    *c.pos++ = '[';
    *c.pos++ = '"';
    exi_hex_display((char *) c.pos, o->txid.b);
    c.pos = ngx_sprintf(c.pos + EXI_HASH_LEN * 2, "\",%uD,[", o->index);
    c.first = c.pos;

    rc = exi_history(r->view, &ngx_electrumx_arena, &key, EXI_HIST_CONFIRMED,
                     ngx_electrumx_history_limit(r->index),
                     ngx_electrumx_candidate, &c);

    if (rc == EXI_ELIMIT) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                   "the spender is not indexed, and the script of the "
                   "output has too many transactions to look through");
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "history");
    }

    *c.pos++ = ']';
    *c.pos++ = ']';
    params.len = c.pos - params.data;

    return ngx_electrumx_call(r, "spender", &params,
                              ngx_electrumx_outpoint_found, NULL);
}


static int
ngx_electrumx_candidate(void *ctx, const struct exi_hist *h)
{
    int                          rc;
    u_char                      *p;
    struct exi_blkid             block;
    ngx_electrumx_candidates_t  *c;

    c = ctx;

    if (h->height < c->height
        || ngx_memcmp(h->txid.b, c->funder.b, EXI_HASH_LEN) == 0)
    {
        return EXI_OK;
    }

    if (c->n++ == NGX_ELECTRUMX_CANDIDATES) {
        return EXI_ELIMIT;
    }

    rc = exi_block_hash(c->view, (uint32_t) h->height, &block);

    if (rc != EXI_OK) {
        return rc;
    }

    p = c->pos;

    if (p != c->first) {
        *p++ = ',';
    }

    *p++ = '[';
    *p++ = '"';
    exi_hex_display((char *) p, h->txid.b);
    p = ngx_cpymem(p + EXI_HASH_LEN * 2, "\",\"", 3);
    exi_hex_display((char *) p, block.b);
    c->pos = ngx_sprintf(p + EXI_HASH_LEN * 2, "\",%D]", h->height);

    return EXI_OK;
}


/* The answer is a candidate, or null. */

static ngx_int_t
ngx_electrumx_outpoint_found(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len)
{
    int                       rc;
    uint64_t                  height;
    struct exi_txpos          pos;
    ngx_electrumx_json_t      v[8];
    ngx_electrumx_spend_t     st;
    ngx_electrumx_outpoint_t  o;

    if (!ok) {
        return ngx_electrumx_fail_node(r, json, len);
    }

    if (ngx_electrumx_view(r) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&st, sizeof(ngx_electrumx_spend_t));
    o.index = 0;
    o.whole = 0;

    rc = EXI_EFORMAT;

    if (ngx_electrumx_json_parse(v, 8, json, len) > 0) {
        rc = exi_unhex_display(o.txid.b, (char *) call->params.data + 2,
                               EXI_HASH_LEN * 2);
    }

    if (rc == EXI_OK && v[0].type == NGX_ELECTRUMX_JSON_ARRAY) {
        st.spent = 1;

        if (v[0].n != 3
            || ngx_electrumx_json_uint(v[3].start, v[3].len, &height) != NGX_OK
            || height > INT32_MAX)
        {
            rc = EXI_EFORMAT;

        } else {
            st.spender_height = (int32_t) height;
            rc = exi_unhex_display(st.spender.b, (char *) v[1].start,
                                   v[1].len);
        }
    }

    if (rc == EXI_OK) {
        rc = exi_tx_find(r->view, &o.txid, &pos);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "spender");
    }

    st.funded = 1;
    st.funder_height = pos.height;

    ngx_electrumx_spend_write(&r->out->jw, &o, &st);

    return NGX_OK;
}
