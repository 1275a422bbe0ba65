/*
 * server.banner: the text of a file with its variables filled in.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_BANNER_MAX     16384    /* bytes of the file */
#define NGX_ELECTRUMX_BANNER_CHECK   60       /* seconds */


static void ngx_electrumx_banner_refresh(ngx_electrumx_banner_t *banner,
    ngx_str_t *file);
static ngx_int_t ngx_electrumx_banner_read(ngx_electrumx_banner_t *banner,
    ngx_fd_t fd, ngx_file_info_t *fi);
static ngx_int_t ngx_electrumx_banner_expand(ngx_electrumx_req_t *r,
    ngx_str_t *text, ngx_str_t *result);
static void ngx_electrumx_banner_variable(ngx_electrumx_req_t *r,
    ngx_uint_t n, ngx_str_t *value, u_char *buf);


static ngx_str_t  ngx_electrumx_banner_names[] = {
    ngx_string("$SERVER_VERSION"),
    ngx_string("$SERVER_SUBVERSION"),
    ngx_string("$DAEMON_VERSION"),
    ngx_string("$DAEMON_SUBVERSION"),
    ngx_string("$DONATION_ADDRESS"),
    ngx_null_string
};


ngx_int_t
ngx_electrumx_server_banner(ngx_electrumx_req_t *r)
{
    ngx_str_t                text, result, *file;
    ngx_electrumx_state_t   *state;
    ngx_electrumx_banner_t  *banner;

    ngx_str_set(&text, "You are connected to $SERVER_SUBVERSION.");

    state = ngx_electrumx_state(r->index);

    if (state) {
        file = &r->index->banner;
        banner = &state->banner;

        if (r->index->tor_banner.len
            && ngx_electrumx_client_in(r->session, r->index->tor_from))
        {
            file = &r->index->tor_banner;
            banner = &state->tor_banner;
        }

        if (file->len) {
            ngx_electrumx_banner_refresh(banner, file);
        }

        if (banner->text.data) {
            text = banner->text;
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
ngx_electrumx_banner_refresh(ngx_electrumx_banner_t *banner, ngx_str_t *file)
{
    ngx_fd_t         fd;
    ngx_file_info_t  fi;

    if (banner->checked
        && ngx_time() - banner->checked < NGX_ELECTRUMX_BANNER_CHECK)
    {
        return;
    }

    banner->checked = ngx_time();

    /* a FIFO must not stop the worker */

    fd = ngx_open_file(file->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, ngx_errno,
                      ngx_open_file_n " \"%V\" failed", file);
        return;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "banner \"%V\" is not a regular file", file);

    } else if (banner->text.data == NULL
               || banner->mtime != ngx_file_mtime(&fi))
    {
        if (ngx_electrumx_banner_read(banner, fd, &fi) != NGX_OK) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, ngx_errno,
                          "reading banner \"%V\" failed", file);
        }
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", file);
    }
}


static ngx_int_t
ngx_electrumx_banner_read(ngx_electrumx_banner_t *banner, ngx_fd_t fd,
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

    if (banner->text.data) {
        ngx_free(banner->text.data);
    }

    banner->text.data = p;
    banner->text.len = (size_t) n;
    banner->mtime = ngx_file_mtime(fi);

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


void
ngx_electrumx_banners_free(ngx_electrumx_state_t *state)
{
    if (state->banner.text.data) {
        ngx_free(state->banner.text.data);
    }

    if (state->tor_banner.text.data) {
        ngx_free(state->tor_banner.text.data);
    }
}
