/*
 * server.*: version negotiation, ping, banner, donation address, features,
 * peers.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_BANNER_MAX     16384    /* bytes of the file */
#define NGX_ELECTRUMX_BANNER_CHECK   60       /* seconds */
#define NGX_ELECTRUMX_CLIENT_MAX     100      /* bytes of its name */


/* A report service: "tcp://host:port", "[v6]" in brackets. */

typedef struct {
    const char                *key;           /* of server.features */
    u_char                     letter;        /* of server.peers, or 0 */
    ngx_str_t                  host;
    ngx_uint_t                 port;
} ngx_electrumx_service_t;


static void ngx_electrumx_server_client(ngx_electrumx_session_t *s,
    ngx_electrumx_json_t *name);
static void ngx_electrumx_banner_refresh(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state);
static ngx_int_t ngx_electrumx_banner_read(ngx_electrumx_state_t *state,
    ngx_fd_t fd, ngx_file_info_t *fi);
static ngx_int_t ngx_electrumx_banner_expand(ngx_electrumx_req_t *r,
    ngx_str_t *text, ngx_str_t *result);
static void ngx_electrumx_banner_variable(ngx_electrumx_req_t *r,
    ngx_uint_t n, ngx_str_t *value, u_char *buf);
static ngx_int_t ngx_electrumx_service(ngx_str_t *text,
    ngx_electrumx_service_t *service);
static void ngx_electrumx_features_services(ngx_electrumx_req_t *r);
static void ngx_electrumx_features_hosts(ngx_electrumx_req_t *r);
static void ngx_electrumx_features_host(ngx_electrumx_req_t *r,
    ngx_uint_t first, ngx_str_t *host);
static void ngx_electrumx_server_peer(ngx_electrumx_req_t *r,
    ngx_uint_t first, ngx_str_t *host);
static ngx_uint_t ngx_electrumx_host_seen(ngx_str_t *hosts, ngx_uint_t n,
    ngx_str_t *host);


static const char  ngx_electrumx_zeros[] =
    "0000000000000000000000000000000000000000000000000000000000000000";

static ngx_str_t  ngx_electrumx_banner_names[] = {
    ngx_string("$SERVER_VERSION"),
    ngx_string("$SERVER_SUBVERSION"),
    ngx_string("$DAEMON_VERSION"),
    ngx_string("$DAEMON_SUBVERSION"),
    ngx_string("$DONATION_ADDRESS"),
    ngx_null_string
};


static ngx_inline ngx_uint_t
ngx_electrumx_is_hex(u_char c)
{
    return (c >= '0' && c <= '9')
           || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}


ngx_int_t
ngx_electrumx_server_version(ngx_electrumx_req_t *r)
{
    size_t                    len;
    char                      buf[16];
    struct exi_jw            *jw;
    ngx_str_t                 spelling, wanted;
    ngx_uint_t                version;
    ngx_electrumx_json_t     *value;
    ngx_electrumx_session_t  *s;

    s = r->session;

    if (s->protocol) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                                  "server.version already sent");
    }

    value = r->args[1].value;

    if (ngx_electrumx_version_choose(value, NGX_ELECTRUMX_PROTOCOL_MIN,
                                     NGX_ELECTRUMX_PROTOCOL_MAX, &version,
                                     &spelling)
        != NGX_OK)
    {
        r->close = 1;

        ngx_electrumx_json_raw(value, &wanted);

        if (value->type == NGX_ELECTRUMX_JSON_STRING) {
            wanted.data = value->start;
            wanted.len = value->len;
        }

        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                   "unsupported protocol version: %*s",
                                   ngx_min(wanted.len, 100), wanted.data);
    }

    if (version >= NGX_ELECTRUMX_V(1, 6, 0) && s->nrequests > 1) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
               "server.version must be the first message from 1.6 on");
    }

    s->protocol = version;

    ngx_electrumx_server_client(s, r->args[0].value);

    jw = &r->out->jw;

    exi_jw_lit(jw, "[\"" NGX_ELECTRUMX_SERVER "\",\"");

    if (spelling.len) {
        exi_jw_raw(jw, spelling.data, spelling.len);

    } else {
        len = ngx_electrumx_version_text(version, buf);
        exi_jw_raw(jw, buf, len);
    }

    exi_jw_lit(jw, "\"]");

    return NGX_OK;
}


/* From the connection's pool: at most once a session, at most 100 bytes. */

static void
ngx_electrumx_server_client(ngx_electrumx_session_t *s,
    ngx_electrumx_json_t *name)
{
    size_t   len;
    u_char  *p;

    if (name == NULL || name->len == 0 || s->connection == NULL) {
        return;
    }

    if (name->type == NGX_ELECTRUMX_JSON_STRING) {
        ngx_electrumx_json_unescape(name);
    }

    len = ngx_min(name->len, NGX_ELECTRUMX_CLIENT_MAX);

    /* whole characters */

    while (len && len < name->len && (name->start[len] & 0xc0) == 0x80) {
        len--;
    }

    p = ngx_pnalloc(s->connection->pool, len);

    if (p == NULL) {
        return;
    }

    ngx_memcpy(p, name->start, len);

    s->client.data = p;
    s->client.len = len;
}


/* From 1.7 on the client says how long the answer is. */

ngx_int_t
ngx_electrumx_server_ping(ngx_electrumx_req_t *r)
{
    size_t           i;
    uint64_t         len;
    ngx_str_t       *data;
    struct exi_jw   *jw;

    jw = &r->out->jw;

    if (r->session->protocol < NGX_ELECTRUMX_V(1, 7, 0)) {
        exi_jw_lit(jw, "null");
        return NGX_OK;
    }

    data = &r->args[1].str;

    for (i = 0; i < data->len; i++) {
        if (!ngx_electrumx_is_hex(data->data[i])) {
            return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                      "data: hex digits expected");
        }
    }

    len = r->args[0].num;

    if (len > r->index->max_response) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                                  "pong_len value too high");
    }

    exi_jw_lit(jw, "{\"data\":\"");

    for ( /* void */ ; len && jw->err == EXI_OK; len -= i) {
        i = ngx_min(len, sizeof(ngx_electrumx_zeros) - 1);
        exi_jw_raw(jw, ngx_electrumx_zeros, i);
    }

    exi_jw_lit(jw, "\"}");

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_server_banner(ngx_electrumx_req_t *r)
{
    ngx_str_t               text, result;
    ngx_electrumx_state_t  *state;

    ngx_str_set(&text, "You are connected to $SERVER_SUBVERSION.");

    state = ngx_electrumx_state(r->index);

    if (state && r->index->banner.len) {
        ngx_electrumx_banner_refresh(r->index, state);

        if (state->banner.data) {
            text = state->banner;
        }
    }

    if (ngx_electrumx_banner_expand(r, &text, &result) != NGX_OK) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    exi_jw_str(&r->out->jw, (char *) result.data, result.len);

    return NGX_OK;
}


/* Reads the file again when it has changed; looks at most once a minute. */

static void
ngx_electrumx_banner_refresh(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state)
{
    ngx_fd_t         fd;
    ngx_file_info_t  fi;

    if (state->banner_checked
        && ngx_time() - state->banner_checked < NGX_ELECTRUMX_BANNER_CHECK)
    {
        return;
    }

    state->banner_checked = ngx_time();

    /* a FIFO must not stop the worker */

    fd = ngx_open_file(index->banner.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, ngx_errno,
                      ngx_open_file_n " \"%V\" failed", &index->banner);
        return;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "banner \"%V\" is not a regular file", &index->banner);

    } else if (state->banner.data == NULL
               || state->banner_mtime != ngx_file_mtime(&fi))
    {
        if (ngx_electrumx_banner_read(state, fd, &fi) != NGX_OK) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, ngx_errno,
                          "reading banner \"%V\" failed", &index->banner);
        }
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &index->banner);
    }
}


static ngx_int_t
ngx_electrumx_banner_read(ngx_electrumx_state_t *state, ngx_fd_t fd,
    ngx_file_info_t *fi)
{
    size_t   size;
    u_char  *p;
    ssize_t  n;

    size = ngx_min(ngx_file_size(fi), NGX_ELECTRUMX_BANNER_MAX);

    p = ngx_alloc(size + 1, ngx_cycle->log);

    if (p == NULL) {
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, p, size);

    if (n < 0) {
        ngx_free(p);
        return NGX_ERROR;
    }

    if (state->banner.data) {
        ngx_free(state->banner.data);
    }

    state->banner.data = p;
    state->banner.len = (size_t) n;
    state->banner_mtime = ngx_file_mtime(fi);

    return NGX_OK;
}


/* Replaces the variables; values are shorter than 256 bytes. */

static ngx_int_t
ngx_electrumx_banner_expand(ngx_electrumx_req_t *r, ngx_str_t *text,
    ngx_str_t *result)
{
    u_char      *p, *last, *dst, *end, buf[256];
    ngx_str_t    value, *name;
    ngx_uint_t   i;

    dst = ngx_electrumx_alloc(text->len * 2 + 4096);

    if (dst == NULL) {
        return NGX_ERROR;
    }

    end = dst + text->len * 2 + 4096;

    result->data = dst;

    p = text->data;
    last = text->data + text->len;

    while (p < last && dst < end) {

        name = NULL;
        i = 0;

        if (*p == '$') {
            for (name = ngx_electrumx_banner_names; name->len; name++) {

                if ((size_t) (last - p) >= name->len
                    && ngx_memcmp(p, name->data, name->len) == 0)
                {
                    break;
                }

                i++;
            }
        }

        if (name == NULL || name->len == 0) {
            *dst++ = *p++;
            continue;
        }

        ngx_electrumx_banner_variable(r, i, &value, buf);

        dst = ngx_cpymem(dst, value.data,
                         ngx_min(value.len, (size_t) (end - dst)));
        p += name->len;
    }

    result->len = dst - result->data;

    return NGX_OK;
}


static void
ngx_electrumx_banner_variable(ngx_electrumx_req_t *r, ngx_uint_t n,
    ngx_str_t *value, u_char *buf)
{
    uint64_t               version;
    ngx_electrumx_json_t   v;

    value->data = buf;
    value->len = 0;

    switch (n) {

    case 0:
        ngx_str_set(value, NGX_ELECTRUMX_VERSION);
        return;

    case 1:
        ngx_str_set(value, NGX_ELECTRUMX_SERVER);
        return;

    case 4:
        *value = r->index->donation;
        return;
    }

    /* of the node: empty as long as there is no index */

    if (ngx_electrumx_view(r) != NGX_OK
        || ngx_electrumx_pick_fact(r, "network",
                                   n == 2 ? "version" : "subversion", &v)
           != NGX_OK)
    {
        return;
    }

    if (n == 3) {
        value->len = ngx_min(v.len, 256);
        ngx_memcpy(buf, v.start, value->len);

    } else if (ngx_electrumx_json_uint(v.start, v.len, &version) == NGX_OK) {
        value->len = ngx_snprintf(buf, 256, "%uL.%uL.%uL", version / 10000,
                                  version / 100 % 100, version % 100)
                     - buf;
    }
}


ngx_int_t
ngx_electrumx_server_donation(ngx_electrumx_req_t *r)
{
    exi_jw_str(&r->out->jw, (char *) r->index->donation.data,
               r->index->donation.len);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_server_features(ngx_electrumx_req_t *r)
{
    size_t          len;
    char            buf[16];
    struct exi_jw  *jw;

    jw = &r->out->jw;

    exi_jw_lit(jw, "{\"hosts\":");
    ngx_electrumx_features_hosts(r);
    exi_jw_lit(jw, ",\"pruning\":null,\"server_version\":\""
                   NGX_ELECTRUMX_SERVER "\",\"protocol_min\":\"");

    len = ngx_electrumx_version_text(NGX_ELECTRUMX_PROTOCOL_MIN, buf);
    exi_jw_raw(jw, buf, len);

    exi_jw_lit(jw, "\",\"protocol_max\":\"");

    len = ngx_electrumx_version_text(NGX_ELECTRUMX_PROTOCOL_MAX, buf);
    exi_jw_raw(jw, buf, len);

    exi_jw_lit(jw, "\",\"genesis_hash\":");
    exi_jw_hash(jw, exi_view_params(r->view)->genesis.b);

    if (r->session->protocol < NGX_ELECTRUMX_V(1, 7, 0)) {
        exi_jw_lit(jw, ",\"hash_function\":\"sha256\"");
    }

    exi_jw_lit(jw, ",\"services\":");
    ngx_electrumx_features_services(r);
    exi_jw_char(jw, '}');

    return NGX_OK;
}


static void
ngx_electrumx_features_services(ngx_electrumx_req_t *r)
{
    ngx_str_t       *host;
    ngx_uint_t       i;
    struct exi_jw   *jw;

    jw = &r->out->jw;

    exi_jw_char(jw, '[');

    if (r->index->hosts) {
        host = r->index->hosts->elts;

        for (i = 0; i < r->index->hosts->nelts; i++) {
            if (i) {
                exi_jw_char(jw, ',');
            }

            exi_jw_str(jw, (char *) host[i].data, host[i].len);
        }
    }

    exi_jw_char(jw, ']');
}


static void
ngx_electrumx_features_hosts(ngx_electrumx_req_t *r)
{
    ngx_str_t                *hosts;
    ngx_uint_t                i, n;
    struct exi_jw            *jw;
    ngx_electrumx_service_t   service;

    jw = &r->out->jw;
    n = 0;

    exi_jw_char(jw, '{');

    if (r->index->hosts) {
        hosts = r->index->hosts->elts;

        for (i = 0; i < r->index->hosts->nelts; i++) {

            if (ngx_electrumx_service(&hosts[i], &service) != NGX_OK
                || ngx_electrumx_host_seen(hosts, i, &service.host))
            {
                continue;
            }

            if (n++) {
                exi_jw_char(jw, ',');
            }

            ngx_electrumx_features_host(r, i, &service.host);
        }
    }

    exi_jw_char(jw, '}');
}


/* A host with the ports of all its services, the first of which is known. */

static void
ngx_electrumx_features_host(ngx_electrumx_req_t *r, ngx_uint_t first,
    ngx_str_t *host)
{
    ngx_str_t                *hosts;
    ngx_uint_t                i, n;
    struct exi_jw            *jw;
    ngx_electrumx_service_t   service;

    jw = &r->out->jw;
    hosts = r->index->hosts->elts;
    n = 0;

    exi_jw_str(jw, (char *) host->data, host->len);
    exi_jw_lit(jw, ":{");

    for (i = first; i < r->index->hosts->nelts; i++) {

        if (ngx_electrumx_service(&hosts[i], &service) != NGX_OK
            || service.host.len != host->len
            || ngx_memcmp(service.host.data, host->data, host->len) != 0)
        {
            continue;
        }

        if (n++) {
            exi_jw_char(jw, ',');
        }

        exi_jw_char(jw, '"');
        exi_jw_raw(jw, service.key, ngx_strlen(service.key));
        exi_jw_lit(jw, "\":");
        exi_jw_u64(jw, service.port);
    }

    exi_jw_char(jw, '}');
}


/* Whether one of the first n services is of that host. */

static ngx_uint_t
ngx_electrumx_host_seen(ngx_str_t *hosts, ngx_uint_t n, ngx_str_t *host)
{
    ngx_uint_t               i;
    ngx_electrumx_service_t  service;

    for (i = 0; i < n; i++) {

        if (ngx_electrumx_service(&hosts[i], &service) == NGX_OK
            && service.host.len == host->len
            && ngx_memcmp(service.host.data, host->data, host->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_electrumx_service(ngx_str_t *text, ngx_electrumx_service_t *service)
{
    u_char      *p, *last;
    ngx_int_t    port;
    ngx_uint_t   i;

    static const struct {
        ngx_str_t    scheme;
        const char  *key;
        u_char       letter;
    } schemes[] = {
        { ngx_string("tcp://"), "tcp_port", 't' },
        { ngx_string("ssl://"), "ssl_port", 's' },
        { ngx_string("tls://"), "ssl_port", 's' },
        { ngx_string("ws://"), "ws_port", 0 },
        { ngx_string("wss://"), "wss_port", 0 },
        { ngx_null_string, NULL, 0 }
    };

    for (i = 0; schemes[i].key; i++) {

        if (text->len <= schemes[i].scheme.len
            || ngx_strncasecmp(text->data, schemes[i].scheme.data,
                               schemes[i].scheme.len) != 0)
        {
            continue;
        }

        service->key = schemes[i].key;
        service->letter = schemes[i].letter;
        service->host.data = text->data + schemes[i].scheme.len;

        last = text->data + text->len;

        for (p = last; p > service->host.data && p[-1] != ':'; p--) {
            /* void */
        }

        if (p == service->host.data) {
            return NGX_DECLINED;
        }

        port = ngx_atoi(p, last - p);
        service->host.len = p - 1 - service->host.data;

        if (port < 1 || port > 65535 || service->host.len == 0) {
            return NGX_DECLINED;
        }

        service->port = (ngx_uint_t) port;

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/* Only ourselves: servers are not looked for (docs/protocol.md). */

ngx_int_t
ngx_electrumx_server_peers(ngx_electrumx_req_t *r)
{
    ngx_str_t                *hosts;
    ngx_uint_t                i, n;
    struct exi_jw            *jw;
    ngx_electrumx_service_t   service;

    jw = &r->out->jw;
    n = 0;

    exi_jw_char(jw, '[');

    hosts = r->index->hosts ? r->index->hosts->elts : NULL;

    for (i = 0; hosts && i < r->index->hosts->nelts; i++) {

        if (ngx_electrumx_service(&hosts[i], &service) != NGX_OK
            || ngx_electrumx_host_seen(hosts, i, &service.host))
        {
            continue;
        }

        if (n++) {
            exi_jw_char(jw, ',');
        }

        ngx_electrumx_server_peer(r, i, &service.host);
    }

    exi_jw_char(jw, ']');

    return NGX_OK;
}


/* [address, host, ["v1.6", "s50002", "t50001"]] */

static void
ngx_electrumx_server_peer(ngx_electrumx_req_t *r, ngx_uint_t first,
    ngx_str_t *host)
{
    char                      buf[16];
    size_t                    len;
    ngx_str_t                *hosts;
    ngx_uint_t                i;
    struct exi_jw            *jw;
    ngx_electrumx_service_t   service;

    jw = &r->out->jw;
    hosts = r->index->hosts->elts;

    exi_jw_char(jw, '[');
    exi_jw_str(jw, (char *) host->data, host->len);
    exi_jw_char(jw, ',');
    exi_jw_str(jw, (char *) host->data, host->len);
    exi_jw_lit(jw, ",[\"v");

    len = ngx_electrumx_version_text(NGX_ELECTRUMX_PROTOCOL_MAX, buf);
    exi_jw_raw(jw, buf, len);
    exi_jw_char(jw, '"');

    for (i = first; i < r->index->hosts->nelts; i++) {

        if (ngx_electrumx_service(&hosts[i], &service) != NGX_OK
            || service.letter == 0
            || service.host.len != host->len
            || ngx_memcmp(service.host.data, host->data, host->len) != 0)
        {
            continue;
        }

        exi_jw_lit(jw, ",\"");
        exi_jw_raw(jw, &service.letter, 1);
        exi_jw_u64(jw, service.port);
        exi_jw_char(jw, '"');
    }

    exi_jw_lit(jw, "]]");
}


/* Servers that offer themselves are not taken (docs/protocol.md). */

ngx_int_t
ngx_electrumx_server_add_peer(ngx_electrumx_req_t *r)
{
    exi_jw_lit(&r->out->jw, "false");

    return NGX_OK;
}
