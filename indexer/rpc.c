/*
 * JSON-RPC and REST over libcurl: one request at a time, kept connections,
 * failover between daemons.
 *
 * A daemon that can't serve (no connection, no answer in time, wrong password,
 * still starting, not a node) is put off for 0.25 ... 4 s and the next one is
 * asked, each at most once a request; if all are put off, the one whose time
 * comes first is asked all the same, so that a call never waits in here.  A
 * daemon that answers stays the one that is asked.
 */
#include "rpc_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/exi_hex.h"

#define RPC_TIMEOUT_MS         30000
#define RPC_CONNECT_TIMEOUT_MS 5000
#define RPC_BACKOFF_MIN_MS     250
#define RPC_BACKOFF_MAX_MS     4000
#define RPC_BODY_KEEP          ((size_t) 1 << 20)

/* Says what an answer means (EXI_*), and takes what it wants from q->out. */
typedef int (*rpc_judge_pt)(struct rpc *r, struct rpc_daemon *d,
                            const struct rpc_request *q, void *ctx);

static int64_t
rpc_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Length without a UTF-8 character that the end of the text cuts. */
static size_t
rpc_whole(const char *text, size_t len)
{
    size_t lead = len;

    while (lead > 0 && ((unsigned char) text[lead - 1] & 0xc0) == 0x80) {
        lead--;
    }
    if (lead > 0 && ((unsigned char) text[lead - 1] & 0x80) != 0) {
        unsigned char c = (unsigned char) text[lead - 1];
        size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

        if (len - (lead - 1) < want) {
            return lead - 1;
        }
    }
    return len;
}

int
rpc_fail(struct rpc *r, int rc, int code, const char *fmt, ...)
{
    char *m = r->error.message;
    size_t n = sizeof(r->error.message) - 1;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m, sizeof(r->error.message), fmt, ap);
    va_end(ap);
    r->error.code = code;
    if (strlen(m) == n) {
        m[rpc_whole(m, n)] = '\0';
    }
    return rc;
}

/* ---- making and freeing ---- */

static int
rpc_headers(struct rpc *r)
{
    static const char *const lines[] = { "Content-Type: application/json",
                                         "Expect:" /* no 100-continue */ };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct curl_slist *l = curl_slist_append(r->headers, lines[i]);

        if (l == NULL) {
            return EXI_ENOMEM;
        }
        r->headers = l;
    }
    return EXI_OK;
}

static void
rpc_global(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
rpc_new(struct rpc **out, const struct rpc_opts *o, char *why, size_t whylen)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct rpc *r = calloc(1, sizeof(*r));
    int rc = EXI_ENOMEM;

    snprintf(why, whylen, "out of memory");
    pthread_once(&once, rpc_global);
    if (r == NULL) {
        return rc;
    }
    r->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : RPC_TIMEOUT_MS;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->easy = curl_easy_init();
    r->multi = curl_multi_init();
    if (r->wake_fd < 0 || r->easy == NULL || r->multi == NULL
        || rpc_headers(r) != EXI_OK) {
        goto done;
    }
    if (o->cookie != NULL && (r->cookie_path = strdup(o->cookie)) == NULL) {
        goto done;
    }
    rc = rpc_http_setup(r, o->connect_timeout_ms > 0 ? o->connect_timeout_ms
                                                     : RPC_CONNECT_TIMEOUT_MS);
    if (rc != EXI_OK) {
        snprintf(why, whylen, "this libcurl lacks what the indexer needs");
        goto done;
    }
    rc = rpc_url_list(r, o, why, whylen);
done:
    if (rc != EXI_OK) {
        rpc_free(r);
        return rc;
    }
    why[0] = '\0';
    *out = r;
    return EXI_OK;
}

void
rpc_free(struct rpc *r)
{
    if (r == NULL) {
        return;
    }
    curl_easy_cleanup(r->easy);
    curl_multi_cleanup(r->multi);
    curl_slist_free_all(r->headers);
    if (r->wake_fd >= 0) {
        close(r->wake_fd);
    }
    rpc_url_free(r);
    rpc_buf_free(&r->body);
    free(r->cookie_path);
    free(r->cookie);
    free(r);
}

const struct rpc_error *
rpc_error(const struct rpc *r)
{
    return &r->error;
}

const char *
rpc_daemon(const struct rpc *r)
{
    return r->daemons[r->cur].base;
}

void
rpc_cancel(struct rpc *r)
{
    const uint64_t one = 1;
    int saved = errno;

    atomic_store(&r->cancelled, true);
    if (write(r->wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: it is readable */
    }
    errno = saved;
}

void
rpc_resume(struct rpc *r)
{
    uint64_t count;

    if (read(r->wake_fd, &count, sizeof(count)) < 0) {
        /* it was not cancelled */
    }
    atomic_store(&r->cancelled, false);
}

bool
rpc_cancelled(const struct rpc *r)
{
    return atomic_load(&r->cancelled);
}

/* ---- failover ---- */

/* One daemon's answer; with a cookie a 401 is tried again if the file has
 * changed, as it does when the node starts. */
static int
rpc_try(struct rpc *r, struct rpc_daemon *d, struct rpc_request *q,
        rpc_judge_pt judge, void *ctx)
{
    int rc = rpc_http(r, d, q);

    if (rc == EXI_OK && q->status == 401 && d->user == NULL
        && rpc_http_cookie(r)) {
        rc = rpc_http(r, d, q);
    }
    if (rc == EXI_OK) {
        rc = rpc_http_judge(r, d, q);
    }
    if (rc == EXI_OK) {
        rc = judge(r, d, q, ctx);
    }
    return rc;
}

/* How telling a failure is; 0: an answer, no reason to ask another daemon. */
static int
rpc_rank(int rc)
{
    switch (rc) {
    case EXI_ENET:
        return 1;
    case EXI_EANSWER:
        return 2;
    case EXI_EWARMUP:
        return 3;
    case EXI_EAUTH:
        return 4;
    default:
        return 0;
    }
}

/* The daemon to ask next: from the current one on the first that is not put
 * off, else the one whose time comes first; NULL: all were tried. */
static struct rpc_daemon *
rpc_pick(struct rpc *r)
{
    struct rpc_daemon *best = NULL;
    int64_t now = rpc_now_ms();

    for (size_t i = 0; i < r->ndaemons; i++) {
        struct rpc_daemon *d = &r->daemons[(r->cur + i) % r->ndaemons];

        if (d->tried) {
            continue;
        }
        if (d->down_until_ms <= now) {
            return d;
        }
        if (best == NULL || d->down_until_ms < best->down_until_ms) {
            best = d;
        }
    }
    return best;
}

static void
rpc_put_off(struct rpc *r, struct rpc_daemon *d)
{
    d->backoff_ms = d->backoff_ms == 0 ? RPC_BACKOFF_MIN_MS : d->backoff_ms * 2;
    if (d->backoff_ms > RPC_BACKOFF_MAX_MS) {
        d->backoff_ms = RPC_BACKOFF_MAX_MS;
    }
    d->down_until_ms = rpc_now_ms() + d->backoff_ms;
    d->no_rest = false; /* it may come back with other settings */
    free(r->cookie);    /* and with another password */
    r->cookie = NULL;
}

void
rpc_give_up(struct rpc *r)
{
    rpc_put_off(r, &r->daemons[r->cur]);
    r->cur = (r->cur + 1) % r->ndaemons;
}

static int
rpc_run(struct rpc *r, struct rpc_request *q, rpc_judge_pt judge, void *ctx)
{
    struct rpc_error error = r->error;
    struct rpc_daemon *d;
    int worst = EXI_ENET;

    for (size_t i = 0; i < r->ndaemons; i++) {
        r->daemons[i].tried = false;
    }
    while (!rpc_cancelled(r) && (d = rpc_pick(r)) != NULL) {
        int rc = rpc_try(r, d, q, judge, ctx);

        d->tried = true;
        r->cur = (size_t) (d - r->daemons);
        if (rpc_rank(rc) == 0) {
            d->down_until_ms = d->backoff_ms = 0;
            return rc;
        }
        rpc_put_off(r, d);
        if (rpc_rank(rc) >= rpc_rank(worst)) {
            worst = rc;
            error = r->error;
        }
    }
    r->error = error;
    if (rpc_cancelled(r)) {
        return rpc_fail(r, EXI_ENET, 0, "the request was given up");
    }
    r->cur = (r->cur + 1) % r->ndaemons;
    return worst;
}

/* ---- JSON-RPC ---- */

/* {"jsonrpc":"1.0","id":id,"method":method,"params":params}, or NULL. */
static json_t *
rpc_envelope(size_t id, const char *method, json_t *params)
{
    json_t *o = json_object();
    int rc;

    if (params == NULL) {
        params = json_array();
    }
    rc = json_object_set_new(o, "jsonrpc", json_string("1.0"));
    rc |= json_object_set_new(o, "id", json_integer((json_int_t) id));
    rc |= json_object_set_new(o, "method", json_string(method));
    rc |= json_object_set_new(o, "params", params);
    if (rc != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* The body as JSON. */
static int
rpc_parse(struct rpc *r, const struct rpc_daemon *d,
          const struct rpc_request *q, json_t **out)
{
    json_error_t e;
    json_t *v = json_loadb((const char *) q->out->data, q->out->len,
                           JSON_ALLOW_NUL, &e);

    if (v != NULL) {
        *out = v;
        return EXI_OK;
    }
    if (q->status != 200) {
        return rpc_fail(r, q->status >= 500 ? EXI_ENET : EXI_EANSWER, 0,
                        "%s answers HTTP %ld: is a node there?", d->base,
                        q->status);
    }
    return rpc_fail(r, EXI_EANSWER, 0, "%s answers, but not in JSON (%s)",
                    d->base, e.text);
}

/* Looks at one reply object: its result, borrowed, or its error. */
static int
rpc_reply(struct rpc *r, const struct rpc_daemon *d, const json_t *reply,
          json_t **result)
{
    const json_t *error = json_object_get(reply, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    int code = (int) json_integer_value(json_object_get(error, "code"));
    json_t *v = json_object_get(reply, "result");

    if (json_is_object(error)) {
        return rpc_fail(r, code == RPC_CODE_WARMUP ? EXI_EWARMUP : EXI_ENODE,
                        code, "%s", message != NULL ? message : "no reason");
    }
    if (v == NULL || (error != NULL && !json_is_null(error))) {
        return rpc_fail(r, EXI_EANSWER, 0, "%s answers, but not as JSON-RPC",
                        d->base);
    }
    *result = v;
    return EXI_OK;
}

static int
rpc_judge_call(struct rpc *r, struct rpc_daemon *d, const struct rpc_request *q,
               void *ctx)
{
    json_t *reply = NULL;
    json_t *result;
    int rc = rpc_parse(r, d, q, &reply);

    if (rc == EXI_OK) {
        rc = rpc_reply(r, d, reply, &result);
    }
    if (rc == EXI_OK) {
        *(json_t **) ctx = json_incref(result);
    }
    json_decref(reply);
    return rc;
}

/* An answer that should be hex digits; as text it is parsed. */
static int
rpc_judge_hex(struct rpc *r, struct rpc_daemon *d, const struct rpc_request *q,
              void *ctx)
{
    struct rpc_buf *out = (struct rpc_buf *) ctx;
    json_t *v = NULL;
    size_t len;
    int rc;

    if (q->decoded && q->status == 200) {
        return EXI_OK;
    }
    rc = rpc_judge_call(r, d, q, &v);
    out->len = 0;
    len = json_string_length(v);
    if (rc == EXI_OK && rpc_buf_room(out, len / 2) != EXI_OK) {
        rc = rpc_fail(r, EXI_ENOMEM, 0, "out of memory");
    }
    if (rc == EXI_OK
        && (!json_is_string(v)
            || exi_unhex(out->data, json_string_value(v), len) != EXI_OK)) {
        rc = rpc_fail(r, EXI_EANSWER, 0, "%s answers, but not in hex", d->base);
    }
    if (rc == EXI_OK) {
        out->len = len / 2;
    }
    json_decref(v);
    return rc;
}

/* Sends a JSON text (taken) and has its answer judged.  hex: the answer goes
 * to it, decoded if it can be. */
static int
rpc_post(struct rpc *r, char *body, long timeout_ms, rpc_judge_pt judge,
         void *ctx, struct rpc_buf *hex)
{
    struct rpc_hex state;
    struct rpc_request q = { .body = body,
                             .timeout_ms = timeout_ms,
                             .limit = RPC_JSON_MAX,
                             .out = hex != NULL ? hex : &r->body,
                             .hex = hex != NULL ? &state : NULL };
    int rc;

    if (body == NULL) {
        return rpc_fail(r, EXI_ENOMEM, 0, "out of memory");
    }
    q.bodylen = strlen(body);
    rc = rpc_run(r, &q, judge, ctx);
    if (r->body.cap > RPC_BODY_KEEP) {
        rpc_buf_free(&r->body);
    }
    free(body);
    return rc;
}

int
rpc_call_timeout(struct rpc *r, const char *method, json_t *params,
                 long timeout_ms, json_t **result)
{
    json_t *o = rpc_envelope(1, method, params);
    char *body = json_dumps(o, JSON_COMPACT);

    json_decref(o);
    return rpc_post(r, body, timeout_ms, rpc_judge_call, result, NULL);
}

int
rpc_call_hex(struct rpc *r, const char *method, json_t *params,
             struct rpc_buf *out)
{
    json_t *o = rpc_envelope(1, method, params);
    char *body = json_dumps(o, JSON_COMPACT);

    json_decref(o);
    return rpc_post(r, body, r->timeout_ms, rpc_judge_hex, out, out);
}

int
rpc_call(struct rpc *r, const char *method, json_t *params, json_t **result)
{
    return rpc_call_timeout(r, method, params, r->timeout_ms, result);
}

struct rpc_batch_ctx {
    json_t **results;
    size_t n;
};

static void
rpc_batch_clear(struct rpc_batch_ctx *b)
{
    for (size_t i = 0; i < b->n; i++) {
        json_decref(b->results[i]);
        b->results[i] = NULL;
    }
}

static int
rpc_judge_items(struct rpc *r, const struct rpc_daemon *d, json_t *replies,
                struct rpc_batch_ctx *b)
{
    struct rpc_error first = { 0, "" };
    size_t i;
    json_t *reply;

    json_array_foreach(replies, i, reply)
    {
        json_int_t id = json_integer_value(json_object_get(reply, "id"));
        json_t *result = NULL;
        int rc = rpc_reply(r, d, reply, &result);

        if (rc == EXI_EWARMUP || rc == EXI_EANSWER) {
            return rc;
        }
        if (rc != EXI_OK) {
            first = first.message[0] == '\0' ? r->error : first;
        } else if (id >= 0 && (size_t) id < b->n && b->results[id] == NULL) {
            b->results[id] = json_incref(result);
        }
    }
    if (first.message[0] != '\0') {
        r->error = first;
    }
    return EXI_OK;
}

static int
rpc_judge_batch(struct rpc *r, struct rpc_daemon *d,
                const struct rpc_request *q, void *ctx)
{
    struct rpc_batch_ctx *b = (struct rpc_batch_ctx *) ctx;
    json_t *replies = NULL;
    json_t *unused;
    int rc = rpc_parse(r, d, q, &replies);

    if (rc != EXI_OK) {
        return rc;
    }
    if (json_array_size(replies) == b->n) {
        rc = rpc_judge_items(r, d, replies, b);
    } else {
        rc = rpc_reply(r, d, replies, &unused);
        if (rc == EXI_OK || rc == EXI_EANSWER) {
            rc = rpc_fail(r, EXI_EANSWER, 0, "%s does not answer a batch",
                          d->base);
        }
    }
    if (rc != EXI_OK) {
        rpc_batch_clear(b);
    }
    json_decref(replies);
    return rc;
}

int
rpc_batch(struct rpc *r, const char *method, json_t **params, size_t n,
          json_t **results)
{
    struct rpc_batch_ctx b = { results, n };
    json_t *list = json_array();
    char *body = NULL;
    int failed = 0;

    for (size_t i = 0; i < n; i++) {
        results[i] = NULL;
        failed |=
            json_array_append_new(list, rpc_envelope(i, method, params[i]));
    }
    if (n > 0) {
        body = failed ? NULL : json_dumps(list, JSON_COMPACT);
    }
    json_decref(list);
    return n == 0 ? EXI_OK
                  : rpc_post(r, body, r->timeout_ms, rpc_judge_batch, &b, NULL);
}

/* ---- REST ---- */

/*
 * A node with REST off has no handler for the path: 404 and an empty body.
 * With REST on a 404 says in words what was not found.
 */
static int
rpc_judge_rest(struct rpc *r, struct rpc_daemon *d, const struct rpc_request *q,
               void *ctx)
{
    const char *text = (const char *) q->out->data;
    int n = rpc_http_snippet(q);

    (void) ctx;
    if (q->status == 200) {
        return EXI_OK;
    }
    if (q->status == 404 && n > 0) {
        return rpc_fail(r, EXI_ENOTFOUND, 0, "%.*s", n, text);
    }
    return rpc_fail(r, EXI_ENODE, 0, "%s answers HTTP %ld to REST %s %.*s",
                    d->base, q->status, q->path, n, n > 0 ? text : "");
}

int
rpc_rest(struct rpc *r, const char *path, struct rpc_buf *buf)
{
    struct rpc_request q = { .path = path,
                             .timeout_ms = r->timeout_ms,
                             .limit = RPC_REST_MAX,
                             .out = buf };

    return rpc_run(r, &q, rpc_judge_rest, NULL);
}
