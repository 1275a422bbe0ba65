/*
 * Setters of the directives in an "electrumx" block.
 */

#include "ngx_electrumx_conf.h"


static char *ngx_electrumx_check_host(ngx_str_t *host);
static ngx_int_t ngx_electrumx_address_of(ngx_str_t *text, ngx_cidr_t *cidr);


/* A file or directory; relative to the prefix. */

char *
ngx_electrumx_set_path(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *path, *value;

    path = (ngx_str_t *) (p + cmd->offset);

    if (path->data) {
        return (char *) "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return (char *) "has no path";
    }

    *path = value[1];

    if (ngx_conf_full_name(cf->cycle, path, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (path->len > 1 && path->data[path->len - 1] == '/') {
        path->data[--path->len] = '\0';
    }

    return NGX_CONF_OK;
}


char *
ngx_electrumx_set_hosts(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char          *rv;
    ngx_str_t     *value, *host;
    ngx_uint_t     i;
    ngx_array_t  **hosts;

    hosts = (ngx_array_t **) (p + cmd->offset);
    value = cf->args->elts;

    if (*hosts == NULL) {
        *hosts = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
        if (*hosts == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {

        rv = ngx_electrumx_check_host(&value[i]);

        if (rv != NGX_CONF_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s", &value[i],
                               rv);
            return NGX_CONF_ERROR;
        }

        host = ngx_array_push(*hosts);
        if (host == NULL) {
            return NGX_CONF_ERROR;
        }

        *host = value[i];
    }

    return NGX_CONF_OK;
}


/* SCHEME://HOST:PORT, with brackets around an IPv6 address. */

static char *
ngx_electrumx_check_host(ngx_str_t *host)
{
    size_t             len;
    u_char            *p, *port, *last;
    ngx_int_t          n;
    ngx_uint_t         i;
    static ngx_str_t   schemes[] = {
        ngx_string("tcp://"),
        ngx_string("ssl://"),
        ngx_string("ws://"),
        ngx_string("wss://"),
        ngx_null_string
    };

    last = host->data + host->len;

    for (i = 0; schemes[i].len; i++) {
        len = schemes[i].len;

        if (host->len > len
            && ngx_strncmp(host->data, schemes[i].data, len) == 0)
        {
            break;
        }
    }

    if (schemes[i].len == 0) {
        return (char *) "must begin with tcp://, ssl://, ws:// or wss://";
    }

    p = host->data + schemes[i].len;

    for (port = last; port > p && port[-1] != ':'; port--) { /* void */ }

    if (port <= p + 1) {
        return (char *) "must end with HOST:PORT";
    }

    for (i = 0; p + i < port - 1; i++) {
        if (p[i] <= ' ' || p[i] == '/' || p[i] == '"' || p[i] == '\\') {
            return (char *) "has no valid host";
        }
    }

    n = ngx_atoi(port, last - port);

    if (n < 1 || n > 65535) {
        return (char *) "has no valid port";
    }

    return NGX_CONF_OK;
}


char *
ngx_electrumx_set_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    time_t     *field;
    ngx_str_t  *value;

    field = (time_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*field != NGX_CONF_UNSET) {
        return (char *) "is duplicate";
    }

    if (value[1].len == 3 && ngx_strncmp(value[1].data, "off", 3) == 0) {
        *field = 0;
        return NGX_CONF_OK;
    }

    *field = ngx_parse_time(&value[1], 1);

    if (*field == (time_t) NGX_ERROR || *field == 0) {
        return (char *) "must be a time in seconds or more, or \"off\"";
    }

    return NGX_CONF_OK;
}


char *
ngx_electrumx_check_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t                  *value = data;
    ngx_electrumx_bounds_t  *bounds = post;

    if (*value < bounds->low || *value > bounds->high) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "value must be between %uz and %uz",
                           bounds->low, bounds->high);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_electrumx_check_msec(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t              *value = data;
    ngx_electrumx_bounds_t  *bounds = post;

    if (*value < bounds->low || *value > bounds->high) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "time must be between 1ms and 24h");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* Addresses and networks, "unix:". */

char *
ngx_electrumx_set_addresses(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_int_t      rc;
    ngx_str_t     *value;
    ngx_cidr_t    *cidr;
    ngx_uint_t     i;
    ngx_array_t  **list;

    list = (ngx_array_t **) (p + cmd->offset);
    value = cf->args->elts;

    if (*list == NULL) {
        *list = ngx_array_create(cf->pool, 4, sizeof(ngx_cidr_t));
        if (*list == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {

        cidr = ngx_array_push(*list);
        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        rc = ngx_electrumx_address_of(&value[i], cidr);

        if (rc == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is no address or network", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DONE) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "low address bits of %V are meaningless",
                               &value[i]);
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_electrumx_address_of(ngx_str_t *text, ngx_cidr_t *cidr)
{
#if (NGX_HAVE_UNIX_DOMAIN)

    if (text->len == 5 && ngx_strncmp(text->data, "unix:", 5) == 0) {
        ngx_memzero(cidr, sizeof(ngx_cidr_t));
        cidr->family = AF_UNIX;
        return NGX_OK;
    }

#endif

    return ngx_ptocidr(text, cidr);
}


/* Tor runs beside the server, unless the operator says where. */

char *
ngx_electrumx_init_tor(ngx_conf_t *cf, ngx_electrumx_index_t *index)
{
    ngx_cidr_t         *cidr;
    ngx_uint_t          i;

    static ngx_str_t    local[] = {
        ngx_string("127.0.0.0/8"),
        ngx_string("::1")
    };

    if (index->tor_banner.len == 0 || index->tor_from) {
        return NGX_CONF_OK;
    }

    index->tor_from = ngx_array_create(cf->pool, 2, sizeof(ngx_cidr_t));
    if (index->tor_from == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < 2; i++) {

        cidr = ngx_array_push(index->tor_from);
        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        (void) ngx_electrumx_address_of(&local[i], cidr);
    }

    return NGX_CONF_OK;
}


/* The thread pool that reads what is not in memory, or "off". */

char *
ngx_electrumx_set_threads(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t              *value;
    ngx_electrumx_index_t  *index;

    index = conf;
    value = cf->args->elts;

    if (index->threads != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        index->threads = NULL;
        return NGX_CONF_OK;
    }

    index->threads = ngx_thread_pool_add(cf, &value[1]);

    return index->threads ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_electrumx_init_threads(ngx_conf_t *cf, ngx_electrumx_index_t *index)
{
    if (index->threads == NGX_CONF_UNSET_PTR) {

        index->threads = ngx_thread_pool_add(cf, NULL);

        if (index->threads == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}
