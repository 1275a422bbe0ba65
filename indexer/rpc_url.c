/*
 * The daemon_url setting: a comma list of URLs.  Messages say which one and
 * what is wrong with it, but never repeat it: it holds a password.
 */
#include "rpc_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RPC_URL_SHAPE                                                          \
    "is not like http://user:password@host:port (signs such as / ? # @ in a "  \
    "password are written %%2F %%3F %%23 %%40)"

/* Position in the list, for messages. */
struct rpc_url_why {
    char *buf;
    size_t len;
    size_t number;
};

static int __attribute__((format(printf, 2, 3)))
rpc_url_fail(struct rpc_url_why *w, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(w->buf, w->len, "daemon_url, URL %zu: ", w->number);

    if (n > 0 && (size_t) n < w->len) {
        va_start(ap, fmt);
        vsnprintf(w->buf + n, w->len - (size_t) n, fmt, ap);
        va_end(ap);
    }
    return EXI_EAPI;
}

/* A part of the URL as a new string (freed with free()), or NULL: it has none,
 * or *nomem is set. */
static char *
rpc_url_part(CURLU *u, CURLUPart part, unsigned flags, bool *nomem)
{
    char *s = NULL;
    char *copy = NULL;
    CURLUcode rc = curl_url_get(u, part, &s, flags);

    if (rc == CURLUE_OK) {
        copy = strdup(s);
        curl_free(s);
    }
    *nomem |= rc == CURLUE_OUT_OF_MEMORY || (rc == CURLUE_OK && copy == NULL);
    return copy;
}

static int
rpc_url_base(struct rpc_daemon *d, CURLU *u, unsigned default_port)
{
    bool nomem = false;
    char *scheme = rpc_url_part(u, CURLUPART_SCHEME, 0, &nomem);
    char *host = rpc_url_part(u, CURLUPART_HOST, 0, &nomem);
    char *port = rpc_url_part(u, CURLUPART_PORT, 0, &nomem);
    int rc = EXI_ENOMEM;
    int n;

    if (scheme == NULL || host == NULL || nomem) {
        goto done;
    }
    if (port != NULL) {
        n = asprintf(&d->base, "%s://%s:%s", scheme, host, port);
    } else if (default_port != 0) {
        n = asprintf(&d->base, "%s://%s:%u", scheme, host, default_port);
    } else {
        n = asprintf(&d->base, "%s://%s", scheme, host);
    }
    if (n >= 0) {
        rc = EXI_OK;
    } else {
        d->base = NULL;
    }
done:
    free(scheme);
    free(host);
    free(port);
    return rc;
}

static bool
rpc_url_has(CURLU *u, CURLUPart part)
{
    char *s = NULL;
    bool has = curl_url_get(u, part, &s, 0) == CURLUE_OK;

    curl_free(s);
    return has;
}

static bool
rpc_url_http(CURLU *u)
{
    char *s = NULL;
    bool http = curl_url_get(u, CURLUPART_SCHEME, &s, 0) == CURLUE_OK
                && (strcmp(s, "http") == 0 || strcmp(s, "https") == 0);

    curl_free(s);
    return http;
}

static int
rpc_url_fill(struct rpc_daemon *d, CURLU *u, unsigned default_port,
             struct rpc_url_why *w)
{
    bool nomem = false;
    bool more =
        rpc_url_has(u, CURLUPART_QUERY) || rpc_url_has(u, CURLUPART_FRAGMENT);

    if (!rpc_url_http(u)) {
        return rpc_url_fail(w, "must begin with http:// or https://");
    }
    d->user = rpc_url_part(u, CURLUPART_USER, CURLU_URLDECODE, &nomem);
    d->pass = rpc_url_part(u, CURLUPART_PASSWORD, CURLU_URLDECODE, &nomem);
    d->path = rpc_url_part(u, CURLUPART_PATH, 0, &nomem);
    /* A '/' in a password makes the user the host and the rest the path. */
    if (more || (d->path != NULL && strchr(d->path, '@') != NULL)) {
        return rpc_url_fail(w, RPC_URL_SHAPE);
    }
    if (d->user != NULL && d->pass == NULL) {
        d->pass = strdup("");
    }
    if (nomem || d->path == NULL || rpc_url_base(d, u, default_port) != EXI_OK
        || (d->user != NULL && d->pass == NULL)) {
        rpc_url_fail(w, "out of memory");
        return EXI_ENOMEM;
    }
    return EXI_OK;
}

static int
rpc_url_one(struct rpc *r, const char *text, size_t len, unsigned default_port,
            struct rpc_url_why *w)
{
    CURLU *u = curl_url();
    char *url = strndup(text, len);
    bool scheme = url != NULL && strstr(url, "://") != NULL;
    char *full = NULL;
    int rc;

    if (u == NULL || url == NULL
        || asprintf(&full, "%s%s", scheme ? "" : "http://", url) < 0) {
        full = NULL;
        rpc_url_fail(w, "out of memory");
        rc = EXI_ENOMEM;
        goto done;
    }
    if (curl_url_set(u, CURLUPART_URL, full, CURLU_NON_SUPPORT_SCHEME)
        != CURLUE_OK) {
        rc = rpc_url_fail(w, RPC_URL_SHAPE);
        goto done;
    }
    rc = rpc_url_fill(&r->daemons[r->ndaemons++], u, default_port, w);
done:
    curl_url_cleanup(u);
    free(url);
    free(full);
    return rc;
}

int
rpc_url_list(struct rpc *r, const struct rpc_opts *o, char *why, size_t whylen)
{
    struct rpc_url_why w = { why, whylen, 0 };
    const char *p = o->urls != NULL ? o->urls : "";

    for (;;) {
        const char *end;
        size_t len;
        int rc;

        p += strspn(p, " \t,");
        if (*p == '\0') {
            break;
        }
        w.number++;
        end = p + strcspn(p, " \t,");
        len = (size_t) (end - p);
        rc = r->ndaemons == RPC_DAEMONS_MAX
                 ? rpc_url_fail(&w, "more than %d are not supported",
                                RPC_DAEMONS_MAX)
                 : rpc_url_one(r, p, len, o->default_port, &w);
        if (rc != EXI_OK) {
            return rc;
        }
        p = end;
    }
    if (r->ndaemons == 0) {
        w.number = 1;
        return rpc_url_fail(&w, "is missing");
    }
    return EXI_OK;
}

void
rpc_url_free(struct rpc *r)
{
    for (size_t i = 0; i < r->ndaemons; i++) {
        struct rpc_daemon *d = &r->daemons[i];

        free(d->base);
        free(d->path);
        free(d->user);
        free(d->pass);
    }
    r->ndaemons = 0;
}
