/*
 * server.*: version negotiation, ping, banner, donation address, features,
 * peers.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_CLIENT_MAX     100      /* bytes of its name */


static void ngx_electrumx_server_client(ngx_electrumx_session_t *s,
    ngx_electrumx_json_t *name);


static const char  ngx_electrumx_zeros[] =
    "0000000000000000000000000000000000000000000000000000000000000000";


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


ngx_uint_t
ngx_electrumx_client_in(ngx_electrumx_session_t *s, ngx_array_t *addresses)
{
    return addresses && s->connection
           && ngx_cidr_match(s->connection->sockaddr, addresses) == NGX_OK;
}


ngx_int_t
ngx_electrumx_server_donation(ngx_electrumx_req_t *r)
{
    exi_jw_str(&r->out->jw, (char *) r->index->donation.data,
               r->index->donation.len);

    return NGX_OK;
}
