/*
 * server.features and server.peers.subscribe: what this server says of itself,
 * its report services.  Other servers are neither looked for nor taken.
 */

#include "ngx_electrumx_rpc.h"


/* A report service: "tcp://host:port", "[v6]" in brackets. */

typedef struct {
    const char                *key;           /* of server.features */
    u_char                     letter;        /* of server.peers, or 0 */
    ngx_str_t                  host;
    ngx_uint_t                 port;
} ngx_electrumx_service_t;


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
