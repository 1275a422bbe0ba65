/*
 * Newline framing: messages end with LF or CRLF, empty lines are ignored.
 *
 * A line is over-long as soon as it has more than max bytes before its end; one
 * byte more is kept back, because it may be the CR of a CRLF.
 */

#include "ngx_electrumx_line.h"

#include <string.h>


#define NGX_ELECTRUMX_ACC_MIN  512


static ngx_electrumx_in_e ngx_electrumx_line_end(ngx_electrumx_line_t *l,
    u_char *p, size_t n, u_char **msg, size_t *len);
static ngx_electrumx_in_e ngx_electrumx_line_keep(ngx_electrumx_line_t *l,
    const u_char *p, size_t n);


int
ngx_electrumx_acc_add(ngx_electrumx_acc_t *acc, const u_char *p, size_t n)
{
    size_t   size;
    u_char  *data;

    if (n == 0) {
        return 0;
    }

    if (n > acc->size - acc->len) {
        if (n > SIZE_MAX / 2 - acc->len) {
            return -1;
        }

        size = acc->size ? acc->size : NGX_ELECTRUMX_ACC_MIN;

        while (size < acc->len + n) {
            size *= 2;
        }

        data = acc->resize(acc->data, size);
        if (data == NULL) {
            return -1;
        }

        acc->data = data;
        acc->size = size;
    }

    memcpy(acc->data + acc->len, p, n);
    acc->len += n;

    return 0;
}


void
ngx_electrumx_acc_free(ngx_electrumx_acc_t *acc)
{
    if (acc->data) {
        (void) acc->resize(acc->data, 0);
    }

    acc->data = NULL;
    acc->len = 0;
    acc->size = 0;
}


void
ngx_electrumx_line_init(ngx_electrumx_line_t *l, size_t max,
    void *(*resize)(void *p, size_t size))
{
    memset(l, 0, sizeof(ngx_electrumx_line_t));

    l->max = max;
    l->acc.resize = resize;
}


ngx_electrumx_in_e
ngx_electrumx_line_next(ngx_electrumx_line_t *l, u_char **pos, u_char *end,
    u_char **msg, size_t *len)
{
    size_t               n;
    u_char              *p, *nl;
    ngx_electrumx_in_e   rc;

    if (l->taken) {
        ngx_electrumx_acc_free(&l->acc);
        l->taken = 0;
    }

    while (*pos < end) {

        p = *pos;
        nl = memchr(p, '\n', end - p);

        if (nl == NULL) {
            *pos = end;
            return ngx_electrumx_line_keep(l, p, end - p);
        }

        n = nl - p;
        *pos = nl + 1;

        if (l->skip) {
            l->skip = 0;
            continue;
        }

        rc = ngx_electrumx_line_end(l, p, n, msg, len);

        if (rc != NGX_ELECTRUMX_IN_AGAIN) {
            return rc;
        }
    }

    return NGX_ELECTRUMX_IN_AGAIN;
}


/* A newline was found behind the n bytes at p: AGAIN for an empty line. */

static ngx_electrumx_in_e
ngx_electrumx_line_end(ngx_electrumx_line_t *l, u_char *p, size_t n,
    u_char **msg, size_t *len)
{
    if (l->acc.len) {

        if (n > l->max + 1 - l->acc.len) {
            ngx_electrumx_acc_free(&l->acc);
            return NGX_ELECTRUMX_IN_OVERSIZED;
        }

        if (ngx_electrumx_acc_add(&l->acc, p, n) != 0) {
            return NGX_ELECTRUMX_IN_NOMEM;
        }

        l->taken = 1;
        p = l->acc.data;
        n = l->acc.len;
    }

    if (n > 0 && p[n - 1] == '\r') {
        n--;
    }

    if (n > l->max) {
        return NGX_ELECTRUMX_IN_OVERSIZED;
    }

    if (n == 0) {
        ngx_electrumx_acc_free(&l->acc);
        l->taken = 0;
        return NGX_ELECTRUMX_IN_AGAIN;
    }

    *msg = p;
    *len = n;

    return NGX_ELECTRUMX_IN_MESSAGE;
}


/* The line goes on behind the n bytes at p. */

static ngx_electrumx_in_e
ngx_electrumx_line_keep(ngx_electrumx_line_t *l, const u_char *p, size_t n)
{
    if (l->skip) {
        return NGX_ELECTRUMX_IN_AGAIN;
    }

    if (n > l->max + 1 - l->acc.len) {
        ngx_electrumx_acc_free(&l->acc);
        l->skip = 1;
        return NGX_ELECTRUMX_IN_OVERSIZED;
    }

    if (ngx_electrumx_acc_add(&l->acc, p, n) != 0) {
        return NGX_ELECTRUMX_IN_NOMEM;
    }

    return NGX_ELECTRUMX_IN_AGAIN;
}


void
ngx_electrumx_line_free(ngx_electrumx_line_t *l)
{
    ngx_electrumx_acc_free(&l->acc);

    l->taken = 0;
    l->skip = 0;
}
