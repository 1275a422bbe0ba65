/*
 * blockchain.scripthash.* and blockchain.scriptpubkey.*: the first argument
 * gives the hash in both; the answers of 1.7 are objects.
 */

#include "ngx_electrumx_heavy.h"
#include "exi_coin.h"
#include "exi_token.h"


#define NGX_ELECTRUMX_FOUND  2                /* ends a query */

/* entries and live rows that the members of a batch may read at once, all
   together; and that each of them may then */
#define NGX_ELECTRUMX_BATCH_WORK   8192
#define NGX_ELECTRUMX_BATCH_LIGHT  16


static uint64_t ngx_electrumx_light(ngx_electrumx_req_t *r);
static ngx_int_t ngx_electrumx_token_filter(ngx_electrumx_req_t *r,
    enum exi_tokens *tokens);
static ngx_int_t ngx_electrumx_history(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form);
static ngx_int_t ngx_electrumx_mempool(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form);
static ngx_int_t ngx_electrumx_unspent(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form);
static ngx_int_t ngx_electrumx_list(ngx_electrumx_req_t *r, ngx_uint_t flags,
    uint64_t from, uint64_t to, const ngx_electrumx_list_form_t *form);
static ngx_int_t ngx_electrumx_rows_end(ngx_electrumx_req_t *r, int rc,
    ngx_electrumx_rows_t *rows, const ngx_electrumx_list_form_t *form);
static void ngx_electrumx_status(ngx_electrumx_req_t *r, const u_char *status,
    ngx_uint_t some);
static ngx_int_t ngx_electrumx_first(ngx_electrumx_req_t *r,
    struct exi_hist *first, ngx_uint_t *some);
static int ngx_electrumx_first_row(void *ctx, const struct exi_hist *h);


/* The lists of 1.7 are members of an object. */

static const ngx_electrumx_list_form_t  ngx_electrumx_plain = {
    ngx_string("["), ngx_string("]")
};

static const ngx_electrumx_list_form_t  ngx_electrumx_in_history = {
    ngx_string("{\"history\":["), ngx_string("]}")
};

static const ngx_electrumx_list_form_t  ngx_electrumx_in_utxos = {
    ngx_string("{\"utxos\":["), ngx_string("]}")
};


static ngx_inline void
ngx_electrumx_skey(struct exi_skey *key, const u_char *hash)
{
    ngx_memcpy(key->b, hash, EXI_SKEY_LEN);
}


/* How many entries the request may read at once. */

static uint64_t
ngx_electrumx_light(ngx_electrumx_req_t *r)
{
    return r->batch
           && exi_view_work(r->view) > r->batch->work
                                       + NGX_ELECTRUMX_BATCH_WORK
           ? NGX_ELECTRUMX_BATCH_LIGHT : NGX_ELECTRUMX_LIGHT;
}


ngx_int_t
ngx_electrumx_get_balance(ngx_electrumx_req_t *r)
{
    int                     rc;
    int64_t                 confirmed, unconfirmed;
    struct exi_jw          *jw;
    enum exi_tokens         tokens;
    struct exi_sum          sum;
    struct exi_skey         key;
    ngx_electrumx_known_t  *known;

    if (ngx_electrumx_token_filter(r, &tokens) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_electrumx_skey(&key, r->args[0].hash);

    known = ngx_electrumx_state(r->index)->known;

    if (ngx_electrumx_coin(r->view) & EXI_COIN_TOKENS) {

        /* sums are kept of all outputs only */

        known = NULL;
        rc = exi_balance(r->view, &ngx_electrumx_arena, &key, tokens,
                         &confirmed, &unconfirmed);

    } else if (r->job && r->job->kind == NGX_ELECTRUMX_JOB_LIVE_BALANCE) {

        known = NULL;
        confirmed = r->job->confirmed;
        unconfirmed = r->job->unconfirmed;
        rc = EXI_OK;

    } else {
        ngx_electrumx_known_sum(known, key.b, &sum);

        rc = exi_balance_from(r->view, &ngx_electrumx_arena, &key,
                              ngx_electrumx_light(r), &sum, &confirmed,
                              &unconfirmed);
    }

    if (rc == EXI_EHEAVY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_SUM);
    }

    if (known && (rc == EXI_OK || rc == EXI_EMANY)) {
        ngx_electrumx_known_set_sum(known, key.b, &sum);
    }

    if (rc == EXI_EMANY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_LIVE_BALANCE);
    }

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
    return ngx_electrumx_history(r, &ngx_electrumx_plain);
}


ngx_int_t
ngx_electrumx_spk_history(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_history(r, &ngx_electrumx_in_history);
}


static ngx_int_t
ngx_electrumx_history(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form)
{
    uint64_t  from, to;

    from = r->args[1].num;
    to = r->args[2].num;

    if (from > to) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "to_height: less than from_height");
    }

    return ngx_electrumx_list(r, to == UINT64_MAX
                                 ? EXI_HIST_CONFIRMED|EXI_HIST_MEMPOOL
                                 : EXI_HIST_CONFIRMED,
                              from, to, form);
}


ngx_int_t
ngx_electrumx_get_mempool(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_mempool(r, &ngx_electrumx_plain);
}


ngx_int_t
ngx_electrumx_spk_mempool(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_mempool(r, &ngx_electrumx_in_history);
}


static ngx_int_t
ngx_electrumx_mempool(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form)
{
    return ngx_electrumx_list(r, EXI_HIST_MEMPOOL, 0, UINT64_MAX, form);
}


/* All at once, or as a task. */

static ngx_int_t
ngx_electrumx_list(ngx_electrumx_req_t *r, ngx_uint_t flags, uint64_t from,
    uint64_t to, const ngx_electrumx_list_form_t *form)
{
    int                   rc;
    struct exi_skey       key;
    ngx_electrumx_rows_t  rows;

    ngx_electrumx_skey(&key, r->args[0].hash);

    rows.jw = &r->out->jw;
    rows.n = 0;
    rows.from = from;
    rows.to = to;

    exi_jw_raw(rows.jw, form->open.data, form->open.len);

    rc = exi_history_light(r->view, &ngx_electrumx_arena, &key,
                           (unsigned) flags,
                           ngx_electrumx_history_limit(r->index),
                           ngx_electrumx_light(r), ngx_electrumx_history_row,
                           &rows);

    if (rc == EXI_EHEAVY) {
        return ngx_electrumx_task_history(r, flags, from, to, form);
    }

    return ngx_electrumx_rows_end(r, rc, &rows, form);
}


int
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
    return ngx_electrumx_unspent(r, &ngx_electrumx_plain);
}


ngx_int_t
ngx_electrumx_spk_listunspent(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_unspent(r, &ngx_electrumx_in_utxos);
}


static ngx_int_t
ngx_electrumx_unspent(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form)
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

    exi_jw_raw(rows.jw, form->open.data, form->open.len);

    /* nor do the slices of a long list know of tokens */

    rc = exi_unspent(r->view, &ngx_electrumx_arena, &key, tokens,
                     (ngx_electrumx_coin(r->view) & EXI_COIN_TOKENS)
                     ? 0 : ngx_electrumx_light(r),
                     ngx_electrumx_unspent_row, &rows);

    if (rc == EXI_ELIMIT && rows.n == 0) {
        return ngx_electrumx_task_unspent(r, form);
    }

    return ngx_electrumx_rows_end(r, rc, &rows, form);
}


int
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
ngx_electrumx_rows_end(ngx_electrumx_req_t *r, int rc,
    ngx_electrumx_rows_t *rows, const ngx_electrumx_list_form_t *form)
{
    if (r->out->jw.err != EXI_OK) {
        return NGX_OK;
    }

    if (rc == EXI_ELIMIT) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_HISTORY_TOO_LARGE,
                                  "history too large");
    }

    if (rc != EXI_OK) {
        return ngx_electrumx_fail_exi(r, rc, "script");
    }

    exi_jw_raw(&r->out->jw, form->close.data, form->close.len);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_get_status(ngx_electrumx_req_t *r)
{
    int     rc;
    bool    some;
    u_char  status[EXI_HASH_LEN];

    if (r->job && r->job->kind == NGX_ELECTRUMX_JOB_LIVE_STATUS) {
        ngx_electrumx_status(r, r->job->status, r->job->some);
        return NGX_OK;
    }

    some = 0;

    rc = ngx_electrumx_script_status(r->index, r->view, r->args[0].hash,
                                     ngx_electrumx_light(r), status, &some);

    if (rc == EXI_EHEAVY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_STATUS);
    }

    if (rc == EXI_EMANY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_LIVE_STATUS);
    }

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


int
ngx_electrumx_script_status(ngx_electrumx_index_t *index,
    struct exi_view *view, const u_char *key, uint64_t light, u_char *status,
    bool *some)
{
    int                     rc;
    struct exi_mid          mid;
    struct exi_skey         skey;
    ngx_electrumx_known_t  *known;

    ngx_electrumx_skey(&skey, key);

    known = ngx_electrumx_state(index)->known;

    ngx_electrumx_known_mid(known, key, &mid);

    rc = exi_script_status_from(view, &ngx_electrumx_arena, &skey,
                                ngx_electrumx_history_limit(index), light,
                                &mid, status, some);

    if (rc == EXI_OK || rc == EXI_EMANY) {
        ngx_electrumx_known_set_mid(known, key, &mid);
    }

    return rc;
}


/* The first transaction of a script; in the mempool its block is all zeros. */

ngx_int_t
ngx_electrumx_get_first_use(ngx_electrumx_req_t *r)
{
    int               rc;
    ngx_uint_t        some;
    struct exi_jw    *jw;
    struct exi_hist   first;
    struct exi_blkid  block;

    rc = ngx_electrumx_first(r, &first, &some);

    if (rc != NGX_OK) {
        return rc;
    }

    jw = &r->out->jw;

    if (!some) {
        exi_jw_lit(jw, "null");
        return NGX_OK;
    }

    ngx_memzero(block.b, EXI_HASH_LEN);

    if (first.confirmed) {
        rc = exi_block_hash(r->view, (uint32_t) first.height, &block);

        if (rc != EXI_OK) {
            return ngx_electrumx_fail_exi(r, rc, "first use");
        }
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


/* One entry of a cursor, so that the others are not read; without any the first
   of the live ones. */

static ngx_int_t
ngx_electrumx_first(ngx_electrumx_req_t *r, struct exi_hist *first,
    ngx_uint_t *some)
{
    int                 rc;
    struct exi_skey     key;
    struct exi_cursor  *cursor;

    *some = 0;

    if (r->job && ngx_memcmp(exi_rows_state(r->job->rows)->tip.b,
                             exi_view_state(r->view)->tip.b, EXI_HASH_LEN)
                  == 0)
    {
        *some = exi_rows_first(r->job->rows, first);
        return NGX_OK;
    }

    ngx_electrumx_skey(&key, r->args[0].hash);

    rc = exi_cursor_new(r->view, &key, &cursor);

    if (rc == EXI_OK) {

        do {
            rc = exi_cursor_next(cursor, NGX_ELECTRUMX_SLICE,
                                 ngx_electrumx_first_row, first);
        } while (rc == 1);

        exi_cursor_cold_give(cursor, r->view);
        exi_cursor_free(cursor);
    }

    if (rc == EXI_OK) {
        rc = exi_history_light(r->view, &ngx_electrumx_arena, &key,
                               EXI_HIST_CONFIRMED|EXI_HIST_MEMPOOL, 0,
                               ngx_electrumx_light(r),
                               ngx_electrumx_first_row, first);
    }

    if (rc == EXI_EHEAVY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_ROWS);
    }

    if (rc != EXI_OK && rc != NGX_ELECTRUMX_FOUND) {
        return ngx_electrumx_fail_exi(r, rc, "first use");
    }

    *some = (rc == NGX_ELECTRUMX_FOUND);

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
                                r->args[0].hash, ngx_electrumx_light(r),
                                r->job, status, &some);

    if (rc == EXI_EHEAVY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_STATUS);
    }

    if (rc == EXI_EMANY) {
        return ngx_electrumx_task_park(r, NGX_ELECTRUMX_JOB_LIVE_STATUS);
    }

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
