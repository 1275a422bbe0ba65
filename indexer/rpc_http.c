/*
 * One HTTP request to one daemon: buffers, password, transfer, and what the
 * status of the answer says.
 *
 * The multi interface is used for one transfer at a time because a long poll
 * must be ended from another thread or a signal handler: an eventfd is polled
 * together with the connection.
 */
#include "rpc_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RPC_COOKIE_MAX 512
#define RPC_POLL_MS    1000

void
rpc_buf_free(struct rpc_buf *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}

int
rpc_buf_room(struct rpc_buf *b, size_t len)
{
    size_t cap = b->cap < 512 ? 512 : b->cap;
    uint8_t *p;

    if (len <= b->cap - b->len) {
        return EXI_OK;
    }
    if (len > SIZE_MAX / 4 - b->len) {
        return EXI_ENOMEM;
    }
    while (cap < b->len + len) {
        cap *= 2;
    }
    p = realloc(b->data, cap);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    b->data = p;
    b->cap = cap;
    return EXI_OK;
}

int
rpc_buf_add(struct rpc_buf *b, const void *data, size_t len)
{
    if (rpc_buf_room(b, len) != EXI_OK) {
        return EXI_ENOMEM;
    }
    if (len > 0) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
    return EXI_OK;
}

static size_t
rpc_on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct rpc_request *q = (struct rpc_request *) ctx;
    bool half = q->hex != NULL && q->hex->state != RPC_HEX_TEXT;
    size_t limit = half ? q->limit / 2 : q->limit;

    if (q->out->len > limit || size * n > limit - q->out->len) {
        return 0;
    }
    if (q->hex != NULL) {
        return rpc_hex_data(q->hex, q->out, data, size * n) == EXI_OK ? size * n
                                                                      : 0;
    }
    return rpc_buf_add(q->out, data, size * n) == EXI_OK ? size * n : 0;
}

#define RPC_SET(opt, value)                                                    \
    (rc |= curl_easy_setopt(r->easy, (opt), (value)) != CURLE_OK)

int
rpc_http_setup(struct rpc *r, long connect_timeout_ms)
{
    int rc = 0;

    RPC_SET(CURLOPT_NOSIGNAL, 1L);
    RPC_SET(CURLOPT_PROXY, "");
    RPC_SET(CURLOPT_PROTOCOLS_STR, "http,https");
    RPC_SET(CURLOPT_FOLLOWLOCATION, 0L);
    RPC_SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    RPC_SET(CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
    RPC_SET(CURLOPT_TCP_KEEPALIVE, 1L);
    RPC_SET(CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms);
    RPC_SET(CURLOPT_WRITEFUNCTION, rpc_on_body);
    RPC_SET(CURLOPT_ERRORBUFFER, r->curl_error);
    return rc == 0 ? EXI_OK : EXI_EAPI;
}

/* ---- the password ---- */

bool
rpc_http_cookie(struct rpc *r)
{
    char buf[RPC_COOKIE_MAX];
    ssize_t n = -1;
    char *fresh;
    bool changed;
    int fd;

    if (r->cookie_path == NULL) {
        return false;
    }
    fd = open(r->cookie_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, buf, sizeof(buf) - 1);
        close(fd);
    }
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\r\n")] = '\0';
    fresh = strchr(buf, ':') != NULL ? strdup(buf) : NULL;
    changed =
        fresh != NULL && (r->cookie == NULL || strcmp(fresh, r->cookie) != 0);
    free(r->cookie);
    r->cookie = fresh;
    return changed;
}

static int
rpc_set_auth(struct rpc *r, const struct rpc_daemon *d)
{
    char cookie[RPC_COOKIE_MAX] = "";
    const char *user = d->user;
    const char *pass = d->pass;
    int rc = 0;

    if (user == NULL && r->cookie == NULL) {
        rpc_http_cookie(r);
    }
    if (user == NULL && r->cookie != NULL) {
        char *colon;

        snprintf(cookie, sizeof(cookie), "%s", r->cookie);
        colon = strchr(cookie, ':'); /* rpc_http_cookie() saw one */
        if (colon != NULL) {
            *colon = '\0';
            user = cookie;
            pass = colon + 1;
        }
    }
    RPC_SET(CURLOPT_USERNAME, user);
    RPC_SET(CURLOPT_PASSWORD, pass);
    return rc == 0 ? EXI_OK : EXI_ENOMEM;
}

static int
rpc_fail_auth(struct rpc *r, const struct rpc_daemon *d)
{
    if (d->user != NULL) {
        return rpc_fail(r, EXI_EAUTH, 0,
                        "%s refuses the user name or password of daemon_url",
                        d->base);
    }
    if (r->cookie_path == NULL) {
        return rpc_fail(r, EXI_EAUTH, 0,
                        "%s wants a password: set daemon_cookie, or give one "
                        "in daemon_url",
                        d->base);
    }
    if (r->cookie == NULL) {
        return rpc_fail(r, EXI_EAUTH, 0,
                        "%s wants a password and cookie file %s has none (%s)",
                        d->base, r->cookie_path,
                        access(r->cookie_path, R_OK) == 0 ? "not a cookie file"
                                                          : strerror(errno));
    }
    return rpc_fail(r, EXI_EAUTH, 0,
                    "%s refuses the password of cookie file %s", d->base,
                    r->cookie_path);
}

/* ---- one transfer ---- */

static int
rpc_set_request(struct rpc *r, const struct rpc_daemon *d,
                struct rpc_request *q)
{
    char url[1024];
    int rc = 0;
    int n = snprintf(url, sizeof(url), "%s%s", d->base,
                     q->path != NULL ? q->path : d->path);

    if (n < 0 || (size_t) n >= sizeof(url)) {
        return rpc_fail(r, EXI_EAPI, 0, "the URL is too long");
    }
    RPC_SET(CURLOPT_URL, url);
    RPC_SET(CURLOPT_TIMEOUT_MS, q->timeout_ms);
    RPC_SET(CURLOPT_WRITEDATA, q);
    RPC_SET(CURLOPT_HTTPHEADER, q->path != NULL ? NULL : r->headers);
    if (q->path != NULL) {
        RPC_SET(CURLOPT_HTTPGET, 1L);
    } else {
        RPC_SET(CURLOPT_POST, 1L);
        RPC_SET(CURLOPT_POSTFIELDS, q->body);
        RPC_SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) q->bodylen);
    }
    if (rc != 0 || rpc_set_auth(r, d) != EXI_OK) {
        return rpc_fail(r, EXI_ENOMEM, 0, "out of memory");
    }
    return EXI_OK;
}

/* Runs the easy handle until it is done or cancelled. */
static CURLcode
rpc_perform(struct rpc *r)
{
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    CURLMsg *msg;
    struct curl_waitfd wake = { .fd = r->wake_fd, .events = CURL_WAIT_POLLIN };
    int running = 1;
    int left;

    if (curl_multi_add_handle(r->multi, r->easy) != CURLM_OK) {
        return CURLE_FAILED_INIT;
    }
    while (!rpc_cancelled(r)
           && curl_multi_perform(r->multi, &running) == CURLM_OK
           && running > 0) {
        if (curl_multi_poll(r->multi, &wake, 1, RPC_POLL_MS, NULL)
            != CURLM_OK) {
            break;
        }
    }
    while ((msg = curl_multi_info_read(r->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            code = msg->data.result;
        }
    }
    curl_multi_remove_handle(r->multi, r->easy);
    return code;
}

/* The answer is whole. */
static int
rpc_end_hex(struct rpc *r, struct rpc_request *q)
{
    if (q->hex != NULL && rpc_hex_end(q->hex, q->out, &q->decoded) != EXI_OK) {
        return rpc_fail(r, EXI_ENOMEM, 0, "out of memory");
    }
    return EXI_OK;
}

/* Why a transfer failed, in the same words each time: libcurl's own have
 * milliseconds and bytes, and each would be news to the log. */
static const char *
rpc_curl_words(const struct rpc *r, CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
        return curl_easy_strerror(code);
    default:
        return r->curl_error[0] != '\0' ? r->curl_error
                                        : curl_easy_strerror(code);
    }
}

int
rpc_http(struct rpc *r, struct rpc_daemon *d, struct rpc_request *q)
{
    CURLcode code;
    int rc = rpc_set_request(r, d, q);

    if (rc != EXI_OK) {
        return rc;
    }
    q->out->len = 0;
    if (q->hex != NULL) {
        rpc_hex_begin(q->hex, q->out);
    }
    q->status = 0;
    r->curl_error[0] = '\0';
    code = rpc_perform(r);
    if (code == CURLE_OK) {
        curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &q->status);
        return rpc_end_hex(r, q);
    }
    if (rpc_cancelled(r)) {
        return rpc_fail(r, EXI_ENET, 0, "the request was given up");
    }
    if (code == CURLE_WRITE_ERROR) {
        return rpc_fail(r, EXI_EANSWER, 0,
                        "%s sent an answer of more than %zu MB", d->base,
                        q->limit >> 20);
    }
    return rpc_fail(r, EXI_ENET, 0, "%s does not answer: %s", d->base,
                    rpc_curl_words(r, code));
}

int
rpc_http_snippet(const struct rpc_request *q)
{
    size_t n = 0;

    while (n < q->out->len && n < 200 && q->out->data[n] >= ' '
           && q->out->data[n] != '<') {
        n++;
    }
    return (int) n;
}

int
rpc_http_judge(struct rpc *r, const struct rpc_daemon *d,
               const struct rpc_request *q)
{
    static const char warmup[] = "Service temporarily unavailable: ";
    const char *text = (const char *) q->out->data;
    int n = rpc_http_snippet(q);
    int skip = (int) sizeof(warmup) - 1;

    if (q->status == 401) {
        return rpc_fail_auth(r, d);
    }
    if (q->status == 403) {
        return rpc_fail(r, EXI_EAUTH, 0,
                        "%s does not allow this address (HTTP 403, see the "
                        "node's rpcallowip)",
                        d->base);
    }
    if (q->status == 503 && n >= skip
        && memcmp(text, warmup, (size_t) skip) == 0) {
        return rpc_fail(r, EXI_EWARMUP, RPC_CODE_WARMUP, "%.*s", n - skip,
                        text + skip);
    }
    if (q->status == 502 || q->status == 503 || q->status == 504) {
        return rpc_fail(r, EXI_ENET, 0, "%s is busy (HTTP %ld %.*s)", d->base,
                        q->status, n, n > 0 ? text : "");
    }
    return EXI_OK;
}
