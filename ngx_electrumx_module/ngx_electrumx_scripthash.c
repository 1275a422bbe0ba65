/*
 * blockchain.scripthash.* and blockchain.scriptpubkey.*: the first argument
 * gives the hash in both; the answers of 1.7 are objects.
 */

#include "ngx_electrumx_rpc.h"
#include "exi_coin.h"
#include "exi_token.h"


#define NGX_ELECTRUMX_FOUND  1                /* ends a query */


typedef struct {
    struct exi_jw             *jw;
    struct exi_view           *view;          /* unspent outputs only */
    ngx_uint_t                 n;
    uint64_t                   from;          /* confirmed ones: heights */
    uint64_t                   to;            /* from <= height < to */
} ngx_electrumx_rows_t;


static ngx_int_t ngx_electrumx_token_filter(ngx_electrumx_req_t *r,
    enum exi_tokens *tokens);
static ngx_int_t ngx_electrumx_history(ngx_electrumx_req_t *r,
    ngx_uint_t flags);
static int ngx_electrumx_history_row(void *ctx, const struct exi_hist *h);
static int ngx_electrumx_unspent_row(void *ctx, const struct exi_utxo *u);
static ngx_int_t ngx_electrumx_rows_end(ngx_electrumx_req_t *r, int rc,
    const char *what);
static ngx_int_t ngx_electrumx_wrapped(ngx_electrumx_req_t *r,
    ngx_int_t rc);
static void ngx_electrumx_status(ngx_electrumx_req_t *r, const u_char *status,
    ngx_uint_t some);
static int ngx_electrumx_first_row(void *ctx, const struct exi_hist *h);


static ngx_inline void
ngx_electrumx_skey(struct exi_skey *key, const u_char *hash)
{
    ngx_memcpy(key->b, hash, EXI_SKEY_LEN);
}


ngx_int_t
ngx_electrumx_get_balance(ngx_electrumx_req_t *r)
{
    int              rc;
    int64_t          confirmed, unconfirmed;
    struct exi_jw   *jw;
    enum exi_tokens  tokens;
    struct exi_skey  key;

    if (ngx_electrumx_token_filter(r, &tokens) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_electrumx_skey(&key, r->args[0].hash);

    rc = exi_balance(r->view, &ngx_electrumx_arena, &key, tokens, &confirmed,
                     &unconfirmed);

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "balance");
    }

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"confirmed\":");
    exi_jw_i64(jw, confirmed);
    exi_jw_lit(jw, ",\"unconfirmed\":");
    exi_jw_i64(jw, unconfirmed);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


/*
 * The second argument of get_balance and listunspent (Electrum Cash): clients
 * below 1.5 know nothing of tokens and must not spend them by accident.
 */

static ngx_int_t
ngx_electrumx_token_filter(ngx_electrumx_req_t *r, enum exi_tokens *tokens)
{
    ngx_str_t   *name;
    ngx_uint_t   i;

    static const ngx_str_t  names[] = {
        ngx_string("include_tokens"),         /* as enum exi_tokens */
        ngx_string("exclude_tokens"),
        ngx_string("tokens_only"),
    };

    name = &r->args[1].str;

    if (!(exi_coin_flags(exi_view_params(r->view)->network)
          & EXI_COIN_TOKENS))
    {
        if (r->args[1].value) {
            return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                      "token_filter: this coin has no tokens");
        }

        *tokens = EXI_TOKENS_INCLUDE;
        return NGX_OK;
    }

    if (r->args[1].value == NULL) {
        *tokens = r->session->protocol >= NGX_ELECTRUMX_V(1, 5, 0)
                  ? EXI_TOKENS_INCLUDE : EXI_TOKENS_EXCLUDE;
        return NGX_OK;
    }

    for (i = 0; i < sizeof(names) / sizeof(ngx_str_t); i++) {

        if (name->len == names[i].len
            && ngx_strncasecmp(name->data, names[i].data, name->len) == 0)
        {
            *tokens = (enum exi_tokens) i;
            return NGX_OK;
        }
    }

    return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
               "token_filter: include_tokens, exclude_tokens or tokens_only"
               " expected");
}


ngx_int_t
ngx_electrumx_get_history(ngx_electrumx_req_t *r)
{
    if (r->args[2].num == UINT64_MAX) {
        return ngx_electrumx_history(r, EXI_HIST_CONFIRMED|EXI_HIST_MEMPOOL);
    }

    if (r->args[1].num > r->args[2].num) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "to_height: less than from_height");
    }

    return ngx_electrumx_history(r, EXI_HIST_CONFIRMED);
}


ngx_int_t
ngx_electrumx_get_mempool(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_history(r, EXI_HIST_MEMPOOL);
}


static ngx_int_t
ngx_electrumx_history(ngx_electrumx_req_t *r, ngx_uint_t flags)
{
    int                   rc;
    struct exi_skey       key;
    ngx_electrumx_rows_t  rows;

    ngx_electrumx_skey(&key, r->args[0].hash);

    rows.jw = &r->out->jw;
    rows.n = 0;
    rows.from = 0;
    rows.to = UINT64_MAX;

    if (flags & EXI_HIST_CONFIRMED) {
        rows.from = r->args[1].num;
        rows.to = r->args[2].num;
    }

    exi_jw_char(rows.jw, '[');

    rc = exi_history(r->view, &ngx_electrumx_arena, &key, (unsigned) flags,
                     ngx_electrumx_history_limit(r->index),
                     ngx_electrumx_history_row, &rows);

    return ngx_electrumx_rows_end(r, rc, "history");
}


static int
ngx_electrumx_history_row(void *ctx, const struct exi_hist *h)
{
    struct exi_jw         *jw;
    ngx_electrumx_rows_t  *rows;

    rows = ctx;
    jw = rows->jw;

    if (h->confirmed && ((uint64_t) h->height < rows->from
                         || (uint64_t) h->height >= rows->to))
    {
        return EXI_OK;
    }

    if (rows->n++) {
        exi_jw_lit(jw, ",{\"tx_hash\":");

    } else {
        exi_jw_lit(jw, "{\"tx_hash\":");
    }

    exi_jw_hash(jw, h->txid.b);
    exi_jw_lit(jw, ",\"height\":");
    exi_jw_i64(jw, h->height);

    if (!h->confirmed) {
        exi_jw_lit(jw, ",\"fee\":");
        exi_jw_i64(jw, h->fee_sat);
    }

    exi_jw_char(jw, '}');

    return jw->err;
}


ngx_int_t
ngx_electrumx_listunspent(ngx_electrumx_req_t *r)
{
    int                   rc;
    enum exi_tokens       tokens;
    struct exi_skey       key;
    ngx_electrumx_rows_t  rows;

    if (ngx_electrumx_token_filter(r, &tokens) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_electrumx_skey(&key, r->args[0].hash);

    rows.jw = &r->out->jw;
    rows.view = r->view;
    rows.n = 0;

    exi_jw_char(rows.jw, '[');

    rc = exi_unspent(r->view, &ngx_electrumx_arena, &key, tokens, 0,
                     ngx_electrumx_unspent_row, &rows);

    return ngx_electrumx_rows_end(r, rc, "unspent outputs");
}


static int
ngx_electrumx_unspent_row(void *ctx, const struct exi_utxo *u)
{
    int                    rc;
    size_t                 len;
    uint8_t                data[EXI_TOKEN_MAX];
    struct exi_jw         *jw;
    ngx_electrumx_rows_t  *rows;

    rows = ctx;
    jw = rows->jw;

    if (rows->n++) {
        exi_jw_lit(jw, ",{\"tx_hash\":");

    } else {
        exi_jw_lit(jw, "{\"tx_hash\":");
    }

    exi_jw_hash(jw, u->txid.b);
    exi_jw_lit(jw, ",\"tx_pos\":");
    exi_jw_u64(jw, u->index);
    exi_jw_lit(jw, ",\"height\":");
    exi_jw_i64(jw, u->height);
    exi_jw_lit(jw, ",\"value\":");
    exi_jw_i64(jw, u->value_sat);

    if (u->tokens) {
        rc = exi_utxo_token(rows->view, u, data, &len);

        if (rc != EXI_OK) {
            return rc;
        }

        ngx_electrumx_token_data(jw, data, len);
    }

    exi_jw_char(jw, '}');

    return jw->err;
}


/* An answer that outgrew its limit is told by the envelope. */

static ngx_int_t
ngx_electrumx_rows_end(ngx_electrumx_req_t *r, int rc, const char *what)
{
    if (r->out->jw.err != EXI_OK) {
        return NGX_OK;
    }

    if (rc == EXI_ELIMIT) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_HISTORY_TOO_LARGE,
                                  "history too large");
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, what);
    }

    exi_jw_char(&r->out->jw, ']');

    return NGX_OK;
}


/* The lists of 1.7 are members of an object. */

ngx_int_t
ngx_electrumx_spk_history(ngx_electrumx_req_t *r)
{
    exi_jw_lit(&r->out->jw, "{\"history\":");

    return ngx_electrumx_wrapped(r, ngx_electrumx_get_history(r));
}


ngx_int_t
ngx_electrumx_spk_mempool(ngx_electrumx_req_t *r)
{
    exi_jw_lit(&r->out->jw, "{\"history\":");

    return ngx_electrumx_wrapped(r, ngx_electrumx_get_mempool(r));
}


ngx_int_t
ngx_electrumx_spk_listunspent(ngx_electrumx_req_t *r)
{
    exi_jw_lit(&r->out->jw, "{\"utxos\":");

    return ngx_electrumx_wrapped(r, ngx_electrumx_listunspent(r));
}


static ngx_int_t
ngx_electrumx_wrapped(ngx_electrumx_req_t *r, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        exi_jw_char(&r->out->jw, '}');
    }

    return rc;
}


ngx_int_t
ngx_electrumx_get_status(ngx_electrumx_req_t *r)
{
    int              rc;
    bool             some;
    u_char           status[EXI_HASH_LEN];
    struct exi_skey  key;

    ngx_electrumx_skey(&key, r->args[0].hash);

    rc = exi_script_status(r->view, &ngx_electrumx_arena, &key,
                           ngx_electrumx_history_limit(r->index), status,
                           &some);

    if (rc == EXI_ELIMIT) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_HISTORY_TOO_LARGE,
                                  "history too large");
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "status");
    }

    ngx_electrumx_status(r, status, some);

    return NGX_OK;
}


static void
ngx_electrumx_status(ngx_electrumx_req_t *r, const u_char *status,
    ngx_uint_t some)
{
    if (some) {
        exi_jw_hex(&r->out->jw, status, EXI_HASH_LEN);

    } else {
        exi_jw_lit(&r->out->jw, "null");
    }
}


/* The first transaction of a script; in the mempool its block is all zeros. */

ngx_int_t
ngx_electrumx_get_first_use(ngx_electrumx_req_t *r)
{
    int               rc;
    struct exi_jw    *jw;
    struct exi_hist   first;
    struct exi_skey   key;
    struct exi_blkid  block;

    ngx_electrumx_skey(&key, r->args[0].hash);

    rc = exi_history(r->view, &ngx_electrumx_arena, &key,
                     EXI_HIST_CONFIRMED|EXI_HIST_MEMPOOL, 0,
                     ngx_electrumx_first_row, &first);

    jw = &r->out->jw;

    if (rc == EXI_OK) {
        exi_jw_lit(jw, "null");
        return NGX_OK;
    }

    ngx_memzero(block.b, EXI_HASH_LEN);

    if (rc == NGX_ELECTRUMX_FOUND) {
        rc = first.confirmed
             ? exi_block_hash(r->view, (uint32_t) first.height, &block)
             : EXI_OK;
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "first use");
    }

    exi_jw_lit(jw, "{\"block_hash\":");
    exi_jw_hash(jw, block.b);
    exi_jw_lit(jw, ",\"height\":");
    exi_jw_i64(jw, first.confirmed ? first.height : 0);
    exi_jw_lit(jw, ",\"block_height\":");
    exi_jw_i64(jw, first.confirmed ? first.height : 0);
    exi_jw_lit(jw, ",\"tx_hash\":");
    exi_jw_hash(jw, first.txid.b);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


static int
ngx_electrumx_first_row(void *ctx, const struct exi_hist *h)
{
    *(struct exi_hist *) ctx = *h;

    return NGX_ELECTRUMX_FOUND;
}


ngx_int_t
ngx_electrumx_subscribe(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_subscribe_by(r, NGX_ELECTRUMX_BY_HASH);
}


ngx_int_t
ngx_electrumx_spk_subscribe(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_subscribe_by(r, NGX_ELECTRUMX_BY_SCRIPT);
}


ngx_int_t
ngx_electrumx_subscribe_by(ngx_electrumx_req_t *r, ngx_electrumx_by_e by)
{
    int         rc;
    u_char      status[EXI_HASH_LEN];
    ngx_uint_t  some;

    ngx_electrumx_subs_catch_up(r->index, r->view);

    rc = ngx_electrumx_subs_add(r->session, r->view, by, &r->args[0].str,
                                r->args[0].hash, status, &some);

    if (rc == EXI_ELIMIT) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_HISTORY_TOO_LARGE,
                                  "history too large");
    }

    if (rc == EXI_EAPI) {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                    "too many subscriptions: at most %ui in one session",
                    r->index->max_subs);
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "status");
    }

    ngx_electrumx_status(r, status, some);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_unsubscribe(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_unsubscribe_by(r, NGX_ELECTRUMX_BY_HASH);
}


ngx_int_t
ngx_electrumx_spk_unsubscribe(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_unsubscribe_by(r, NGX_ELECTRUMX_BY_SCRIPT);
}


ngx_int_t
ngx_electrumx_unsubscribe_by(ngx_electrumx_req_t *r, ngx_electrumx_by_e by)
{
    if (ngx_electrumx_subs_remove(r->session, by, r->args[0].hash)) {
        exi_jw_lit(&r->out->jw, "true");

    } else {
        exi_jw_lit(&r->out->jw, "false");
    }

    return NGX_OK;
}
