/*
 * Electrum over WebSocket, and a status page.
 *
 * The upgrade follows RFC 6455 section 4.2.  The answer 101 goes through
 * nginx's own filters; then the connection is handed to a session, and the
 * request stays alive below it (it is logged and freed when the session ends).
 * The hand-over happens in an event of its own, because nginx looks at the
 * request once more when a content handler has returned.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <ngx_sha1.h>

#include "ngx_electrumx.h"


#define NGX_HTTP_ELECTRUMX_KEY_LEN  24    /* of 16 bytes in base64 */


typedef struct {
    ngx_electrumx_index_t    *pass;
    ngx_electrumx_index_t    *status;
} ngx_http_electrumx_loc_conf_t;


typedef struct {
    ngx_http_request_t       *request;
    ngx_event_t               start;
} ngx_http_electrumx_ctx_t;


/* What the request's head says about an upgrade. */

typedef struct {
    ngx_str_t                 key;
    ngx_uint_t                nkeys;
    unsigned                  upgrade:1;
    unsigned                  connection:1;
    unsigned                  version:1;
} ngx_http_electrumx_head_t;


static ngx_int_t ngx_http_electrumx_handler(ngx_http_request_t *r);
static void ngx_http_electrumx_read_head(ngx_http_request_t *r,
    ngx_http_electrumx_head_t *head);
static void ngx_http_electrumx_read_line(ngx_table_elt_t *h,
    ngx_http_electrumx_head_t *head);
static ngx_uint_t ngx_http_electrumx_is(ngx_table_elt_t *h, const char *name);
static ngx_uint_t ngx_http_electrumx_has_token(ngx_str_t *list,
    const char *token);
static ngx_int_t ngx_http_electrumx_check_key(ngx_str_t *key);
static ngx_int_t ngx_http_electrumx_refuse(ngx_http_request_t *r);
static ngx_int_t ngx_http_electrumx_accept(ngx_http_request_t *r,
    ngx_str_t *key);
static ngx_int_t ngx_http_electrumx_accept_value(ngx_http_request_t *r,
    ngx_str_t *key, ngx_str_t *value);
static ngx_int_t ngx_http_electrumx_add_header(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
static void ngx_http_electrumx_cleanup(void *data);
static void ngx_http_electrumx_flush(ngx_http_request_t *r);
static void ngx_http_electrumx_sent(ngx_http_request_t *r);
static void ngx_http_electrumx_start(ngx_event_t *ev);
static void ngx_http_electrumx_finalize(ngx_electrumx_session_t *es,
    ngx_int_t rc);

static ngx_int_t ngx_http_electrumx_status_handler(ngx_http_request_t *r);
static u_char *ngx_http_electrumx_status_json(ngx_electrumx_index_t *index,
    u_char *p, u_char *last, ngx_uint_t *ready);
static ngx_int_t ngx_http_electrumx_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body);

static void *ngx_http_electrumx_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_electrumx_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_http_handler_pt ngx_http_electrumx_content(
    ngx_http_electrumx_loc_conf_t *elcf);
static char *ngx_http_electrumx_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_electrumx_commands[] = {

    { ngx_string("electrumx_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_electrumx_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_electrumx_loc_conf_t, pass),
      NULL },

    { ngx_string("electrumx_status"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_electrumx_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_electrumx_loc_conf_t, status),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_electrumx_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_electrumx_create_loc_conf,    /* create location configuration */
    ngx_http_electrumx_merge_loc_conf      /* merge location configuration */
};


extern ngx_module_t  ngx_http_electrumx_module;

ngx_module_t  ngx_http_electrumx_module = {
    NGX_MODULE_V1,
    &ngx_http_electrumx_module_ctx,        /* module context */
    ngx_http_electrumx_commands,           /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* upgrade */

static ngx_int_t
ngx_http_electrumx_handler(ngx_http_request_t *r)
{
    ngx_str_t                   version;
    ngx_http_electrumx_head_t   head;

    if (r != r->main) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    ngx_http_electrumx_read_head(r, &head);

    if (r->method != NGX_HTTP_GET
        || r->http_version != NGX_HTTP_VERSION_11
        || !head.upgrade || !head.connection)
    {
        return ngx_http_electrumx_refuse(r);
    }

    if (!head.version) {
        ngx_str_set(&version, "13");

        if (ngx_http_electrumx_add_header(r, "Sec-WebSocket-Version", &version)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_electrumx_refuse(r);
    }

    if (head.nkeys != 1 || ngx_http_electrumx_check_key(&head.key) != NGX_OK
        || r->headers_in.content_length_n > 0 || r->headers_in.chunked)
    {
        return NGX_HTTP_BAD_REQUEST;
    }

    return ngx_http_electrumx_accept(r, &head.key);
}


static void
ngx_http_electrumx_read_head(ngx_http_request_t *r,
    ngx_http_electrumx_head_t *head)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_memzero(head, sizeof(ngx_http_electrumx_head_t));

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            ngx_http_electrumx_read_line(&h[i], head);
        }
    }
}


static void
ngx_http_electrumx_read_line(ngx_table_elt_t *h,
    ngx_http_electrumx_head_t *head)
{
    if (ngx_http_electrumx_is(h, "Upgrade")) {

        if (ngx_http_electrumx_has_token(&h->value, "websocket")) {
            head->upgrade = 1;
        }

    } else if (ngx_http_electrumx_is(h, "Connection")) {

        if (ngx_http_electrumx_has_token(&h->value, "upgrade")) {
            head->connection = 1;
        }

    } else if (ngx_http_electrumx_is(h, "Sec-WebSocket-Key")) {

        head->key = h->value;
        head->nkeys++;

    } else if (ngx_http_electrumx_is(h, "Sec-WebSocket-Version")) {

        head->version = (h->value.len == 2
                         && ngx_strncmp(h->value.data, "13", 2) == 0);
    }
}


static ngx_uint_t
ngx_http_electrumx_is(ngx_table_elt_t *h, const char *name)
{
    return h->key.len == ngx_strlen(name)
           && ngx_strncasecmp(h->key.data, (u_char *) name, h->key.len) == 0;
}


/* Whether a comma-separated list has a token, in any case. */

static ngx_uint_t
ngx_http_electrumx_has_token(ngx_str_t *list, const char *token)
{
    size_t   len;
    u_char  *p, *last, *start, *end;

    len = ngx_strlen(token);
    p = list->data;
    last = p + list->len;

    while (p < last) {

        start = p;

        while (p < last && *p != ',') {
            p++;
        }

        end = p++;

        while (start < end && (*start == ' ' || *start == '\t')) {
            start++;
        }

        while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if ((size_t) (end - start) == len
            && ngx_strncasecmp(start, (u_char *) token, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_electrumx_check_key(ngx_str_t *key)
{
    u_char     buf[ngx_base64_decoded_length(NGX_HTTP_ELECTRUMX_KEY_LEN)];
    ngx_str_t  bytes;

    if (key->len != NGX_HTTP_ELECTRUMX_KEY_LEN) {
        return NGX_ERROR;
    }

    bytes.data = buf;

    if (ngx_decode_base64(&bytes, key) != NGX_OK || bytes.len != 16) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* Not a WebSocket request, or one of another version. */

static ngx_int_t
ngx_http_electrumx_refuse(ngx_http_request_t *r)
{
    ngx_str_t  upgrade, connection, type, body;

    ngx_str_set(&upgrade, "websocket");
    ngx_str_set(&connection, "upgrade");
    ngx_str_set(&type, "text/plain");
    ngx_str_set(&body, "This is a WebSocket endpoint (RFC 6455, version 13) "
                       "that speaks the Electrum protocol.\n");

    /* HTTP/2 knows neither */

    if (r->http_version <= NGX_HTTP_VERSION_11
        && (ngx_http_electrumx_add_header(r, "Upgrade", &upgrade) != NGX_OK
            || ngx_http_electrumx_add_header(r, "Connection", &connection)
               != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&r->headers_out.status_line, "426 Upgrade Required");

    return ngx_http_electrumx_send(r, 426, &type, &body);
}


static ngx_int_t
ngx_http_electrumx_accept(ngx_http_request_t *r, ngx_str_t *key)
{
    ngx_int_t                  rc;
    ngx_str_t                  upgrade, accept;
    ngx_http_cleanup_t        *cln;
    ngx_http_electrumx_ctx_t  *ctx;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_electrumx_ctx_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_electrumx_ctx_t));

    ctx->request = r;
    ctx->start.data = ctx;
    ctx->start.log = r->connection->log;
    ctx->start.handler = ngx_http_electrumx_start;

    cln->handler = ngx_http_electrumx_cleanup;
    ngx_http_set_ctx(r, ctx, ngx_http_electrumx_module);

    ngx_str_set(&upgrade, "websocket");

    if (ngx_http_electrumx_accept_value(r, key, &accept) != NGX_OK
        || ngx_http_electrumx_add_header(r, "Upgrade", &upgrade) != NGX_OK
        || ngx_http_electrumx_add_header(r, "Sec-WebSocket-Accept", &accept)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    if (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR) {
        return NGX_ERROR;
    }

    r->main->count++;
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_electrumx_flush;

    ngx_http_electrumx_sent(r);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_electrumx_accept_value(ngx_http_request_t *r, ngx_str_t *key,
    ngx_str_t *value)
{
    u_char      hash[20];
    ngx_str_t   sum;
    ngx_sha1_t  sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, key->data, key->len);
    ngx_sha1_update(&sha1, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    ngx_sha1_final(hash, &sha1);

    sum.data = hash;
    sum.len = sizeof(hash);

    value->data = ngx_pnalloc(r->pool, ngx_base64_encoded_length(sum.len));
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(value, &sum);

    return NGX_OK;
}


static ngx_int_t
ngx_http_electrumx_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;

    return NGX_OK;
}


static void
ngx_http_electrumx_cleanup(void *data)
{
    ngx_http_electrumx_ctx_t  *ctx = data;

    if (ctx->start.posted) {
        ngx_delete_posted_event(&ctx->start);
    }
}


/* The answer did not go out at once. */

static void
ngx_http_electrumx_flush(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (c->write->timedout) {
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    ngx_http_electrumx_sent(r);
}


static void
ngx_http_electrumx_sent(ngx_http_request_t *r)
{
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_electrumx_ctx_t  *ctx;

    c = r->connection;

    if (!r->out && !r->buffered && !c->buffered) {

        r->write_event_handler = ngx_http_request_empty_handler;

        ctx = ngx_http_get_module_ctx(r, ngx_http_electrumx_module);
        ngx_post_event(&ctx->start, &ngx_posted_events);

        return;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!c->write->timer_set) {
        ngx_add_timer(c->write, clcf->send_timeout);
    }

    if (ngx_handle_write_event(c->write, clcf->send_lowat) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static void
ngx_http_electrumx_start(ngx_event_t *ev)
{
    u_char                         *pre;
    ngx_connection_t               *c;
    ngx_http_request_t             *r;
    ngx_electrumx_session_t        *es;
    ngx_http_electrumx_ctx_t       *ctx;
    ngx_http_electrumx_loc_conf_t  *elcf;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    elcf = ngx_http_get_module_loc_conf(r, ngx_http_electrumx_module);

    pre = r->header_in->pos;
    r->header_in->pos = r->header_in->last;

    es = ngx_electrumx_session_create(c, elcf->pass, NGX_ELECTRUMX_WS,
                                      ngx_http_electrumx_finalize, r, pre,
                                      r->header_in->last - pre);
    if (es == NULL) {
        ngx_http_finalize_request(r, NGX_ERROR);
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_electrumx_finalize(ngx_electrumx_session_t *es, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = es->data;
    c = r->connection;

    c->data = r;
    r->request_length += es->received;

    /* no lingering: the session has waited for the client's end itself */

    c->read->ready = 0;

    ngx_http_finalize_request(r, rc == NGX_OK ? NGX_OK : NGX_ERROR);
    ngx_http_run_posted_requests(c);
}


/* status */

static ngx_int_t
ngx_http_electrumx_status_handler(ngx_http_request_t *r)
{
    u_char                         *p;
    size_t                          size;
    ngx_str_t                       type, body;
    ngx_uint_t                      ready;
    ngx_electrumx_index_t          *index;
    ngx_http_electrumx_loc_conf_t  *elcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    elcf = ngx_http_get_module_loc_conf(r, ngx_http_electrumx_module);
    index = elcf->status;

    size = 1024 + index->state.len;

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;
    p = ngx_http_electrumx_status_json(index, p, p + size, &ready);
    body.len = p - body.data;

    ngx_str_set(&type, "application/json");

    return ngx_http_electrumx_send(r, ready ? NGX_HTTP_OK
                                            : NGX_HTTP_SERVICE_UNAVAILABLE,
                                   &type, &body);
}


/* Ready: there is an index to answer from. */

static u_char *
ngx_http_electrumx_status_json(ngx_electrumx_index_t *index, u_char *p,
    u_char *last, ngx_uint_t *ready)
{
    int64_t                       settled;
    char                          hash[2 * EXI_HASH_LEN];
    const struct exi_params      *params;
    const struct exi_live_state  *st;

    *ready = index->view && exi_view_begin(index->view) == EXI_OK;

    p = ngx_slprintf(p, last, "{\"version\":\"%s\",\"ready\":%s",
                     NGX_ELECTRUMX_VERSION, *ready ? "true" : "false");

    if (*ready) {
        st = exi_view_state(index->view);
        params = exi_view_params(index->view);

        exi_hex_display(hash, st->tip.b);

        settled = st->ngens ? (int64_t) st->gens[st->ngens - 1].height : -1;

        p = ngx_slprintf(p, last,
                         ",\"network\":\"%s\",\"height\":%uD"
                         ",\"hash\":\"%*s\",\"settled_height\":%L"
                         ",\"mempool\":%uD,\"changed\":%uL"
                         ",\"stale\":%s,\"age\":%T",
                         params->network, st->tip_height,
                         sizeof(hash), hash, settled,
                         st->mempool_count, st->time_ms,
                         ngx_electrumx_stale(index, st) ? "true" : "false",
                         ngx_electrumx_age(index, st));

        exi_view_end(index->view);
    }

    p = ngx_slprintf(p, last,
                     ",\"worker\":{\"pid\":%P,\"sessions\":%ui"
                     ",\"accepted\":%uL,\"requests\":%uL,\"errors\":%uL"
                     ",\"notifications\":%uL,\"cold\":{\"tasks\":%uL"
                     ",\"ranges\":%uL,\"bytes\":%uL}},\"indexer\":",
                     ngx_pid, index->nsessions, index->accepted,
                     index->requests, index->errors, index->notifications,
                     index->cold_tasks, index->cold_ranges,
                     index->cold_bytes);

    if (index->state.len) {
        return ngx_slprintf(p, last, "%V}\n", &index->state);
    }

    return ngx_slprintf(p, last, "null}\n");
}


static ngx_int_t
ngx_http_electrumx_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body)
{
    ngx_http_complex_value_t  cv;

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = *body;

    return ngx_http_send_response(r, status, type, &cv);
}


/* configuration */

static void *
ngx_http_electrumx_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_electrumx_loc_conf_t));
}


/* "if" and "limit_except" blocks have what their location has. */

static char *
ngx_http_electrumx_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_electrumx_loc_conf_t  *prev = parent;
    ngx_http_electrumx_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if ((clcf->noname || clcf->lmt_excpt) && clcf->handler == NULL
        && !conf->pass && !conf->status)
    {
        conf->pass = prev->pass;
        conf->status = prev->status;

        if (clcf->lmt_excpt) {
            clcf->handler = ngx_http_electrumx_content(conf);
        }
    }

    return NGX_CONF_OK;
}


static ngx_http_handler_pt
ngx_http_electrumx_content(ngx_http_electrumx_loc_conf_t *elcf)
{
    if (elcf->pass) {
        return ngx_http_electrumx_handler;
    }

    return elcf->status ? ngx_http_electrumx_status_handler : NULL;
}


static char *
ngx_http_electrumx_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t                      *value;
    ngx_electrumx_index_t         **index;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_electrumx_loc_conf_t  *elcf;

    elcf = conf;

    if (elcf->pass || elcf->status) {
        return (char *) "is duplicate";
    }

    value = cf->args->elts;
    index = (ngx_electrumx_index_t **) (p + cmd->offset);

    *index = ngx_electrumx_ref(cf, &value[1]);
    if (*index == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_electrumx_content(elcf);

    return NGX_CONF_OK;
}
