/*
 * rpc.h against scripted daemons: what each kind of answer or silence means,
 * passwords, failover, cancelling, REST.
 */
#include "rpc.h"

#include <time.h>

#include "exi_hex.h"
#include "exi_sha256.h"
#include "fakehttp.h"
#include "tap.h"

#define HASH_A                                                                 \
    "00000000000000000000000000000000000000000000000000000000000000aa"
#define HASH_B                                                                 \
    "00000000000000000000000000000000000000000000000000000000000000bb"

static char why[512];

/* A handle on one or two servers; extra is "user:pass@" or "". */
static struct rpc *
handle(struct fake *a, struct fake *b, const char *extra, const char *cookie,
       long timeout_ms)
{
    struct rpc_opts o = { .cookie = cookie, .timeout_ms = timeout_ms };
    struct rpc *r = NULL;
    char urls[256];
    int n;

    n = snprintf(urls, sizeof(urls), "http://%s127.0.0.1:%u", extra, a->port);
    if (b != NULL) {
        snprintf(urls + n, sizeof(urls) - (size_t) n, ",http://127.0.0.1:%u",
                 b->port);
    }
    o.urls = urls;
    if (rpc_new(&r, &o, why, sizeof(why)) != EXI_OK) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    return r;
}

/* Calls "ask" and drops the result. */
static int
ask(struct rpc *r)
{
    json_t *v = NULL;
    int rc = rpc_call(r, "ask", NULL, &v);

    json_decref(v);
    return rc;
}

static bool
says(struct rpc *r, const char *part)
{
    return ok(strstr(rpc_error(r)->message, part) != NULL, "says \"%s\": %s",
              part, rpc_error(r)->message);
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- plain calls ---- */

static char last_body[4096];

static bool
answer_42(struct fake *f, int fd, const struct fake_request *q)
{
    (void) f;
    snprintf(last_body, sizeof(last_body), "%s", q->body);
    fake_result(fd, "{\"n\":42}");
    return true;
}

static void
test_call(void)
{
    struct fake *f = fake_start(answer_42, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 5000);
    json_t *v = NULL;

    is_int(rpc_call(r, "ask", json_pack("[s,i,b]", "x", 7, 1), &v), EXI_OK,
           "call");
    is_int(json_integer_value(json_object_get(v, "n")), 42, "result");
    json_decref(v);
    is_str(last_body,
           "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ask\","
           "\"params\":[\"x\",7,true]}",
           "request");
    is_int(ask(r), EXI_OK, "again, without parameters");
    ok(strstr(last_body, "\"params\":[]") != NULL, "an empty list then");
    is_int(fake_connections(f), 1, "the connection was kept");
    ok(strncmp(rpc_daemon(r), "http://127.0.0.1:", 17) == 0, "rpc_daemon");
    rpc_free(r);
    fake_stop(f);
}

/* ---- answers that are failures ---- */

static struct {
    const char *name;
    int status; /* 0: send body as it is and hang up */
    const char *more;
    const char *body;
    int want;
    int code;
    const char *words;
} const failures[] = {
    { "node's error", 500, "",
      "{\"result\":null,\"error\":{\"code\":-25,\"message\":\"no way\"},"
      "\"id\":1}",
      EXI_ENODE, -25, "no way" },
    { "node's error, JSON-RPC 2.0", 200, "",
      "{\"error\":{\"code\":-5,\"message\":\"gone\"},\"id\":1}", EXI_ENODE, -5,
      "gone" },
    { "unknown method", 404, "",
      "{\"result\":null,\"error\":{\"code\":-32601,\"message\":\"Method not "
      "found\"},\"id\":1}",
      EXI_ENODE, -32601, "Method not found" },
    { "error without words", 500, "", "{\"error\":{\"code\":-1}}", EXI_ENODE,
      -1, "no reason" },
    { "warmup", 500, "",
      "{\"result\":null,\"error\":{\"code\":-28,\"message\":\"Loading\"},"
      "\"id\":1}",
      EXI_EWARMUP, -28, "Loading" },
    { "wants a password", 401, "", "", EXI_EAUTH, 0, "wants a password" },
    { "address not allowed", 403, "", "", EXI_EAUTH, 0, "rpcallowip" },
    { "work queue full", 503, "", "Work queue depth exceeded", EXI_ENET, 0,
      "Work queue depth exceeded" },
    { "a proxy's error", 502, "", "<html>Bad gateway</html>", EXI_ENET, 0,
      "HTTP 502" },
    { "500 without JSON", 500, "", "oops", EXI_ENET, 0, "HTTP 500" },
    { "a web server", 200, "", "<html>It works</html>", EXI_EANSWER, 0,
      "not in JSON" },
    { "a web server, 404", 404, "", "<html>no</html>", EXI_EANSWER, 0,
      "HTTP 404" },
    { "a redirect", 302, "Location: http://127.0.0.1:1/\r\n", "", EXI_EANSWER,
      0, "HTTP 302" },
    { "no answer in it", 200, "", "{\"id\":1}", EXI_EANSWER, 0,
      "not as JSON-RPC" },
    { "a list", 200, "", "[]", EXI_EANSWER, 0, "not as JSON-RPC" },
    { "an empty body", 200, "", "", EXI_EANSWER, 0, "not in JSON" },
    { "no answer at all", 0, "", "", EXI_ENET, 0, "does not answer" },
    { "half a head", 0, "", "HTTP/1.1 200 O", EXI_ENET, 0, "does not answer" },
    { "half a body", 0, "",
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\":1,\"err",
      EXI_ENET, 0, "does not answer" },
    { "not HTTP", 0, "", "SSH-2.0-OpenSSH_9.2\r\n", EXI_ENET, 0,
      "does not answer" },
};

static size_t failure;

static bool
answer_failure(struct fake *f, int fd, const struct fake_request *q)
{
    (void) f;
    (void) q;
    if (failures[failure].status == 0) {
        fake_send(fd, failures[failure].body, strlen(failures[failure].body));
        return false;
    }
    fake_http(fd, failures[failure].status, failures[failure].more,
              failures[failure].body);
    return true;
}

static void
test_failures(void)
{
    for (failure = 0; failure < sizeof(failures) / sizeof(failures[0]);
         failure++) {
        struct fake *f = fake_start(answer_failure, NULL);
        struct rpc *r = handle(f, NULL, "", NULL, 5000);

        is_int(ask(r), failures[failure].want, "%s", failures[failure].name);
        is_int(rpc_error(r)->code, failures[failure].code, "its code");
        says(r, failures[failure].words);
        rpc_free(r);
        fake_stop(f);
    }
}

static bool
answer_long_error(struct fake *f, int fd, const struct fake_request *q)
{
    char message[1200] = "x";

    (void) f;
    (void) q;
    for (size_t i = 1; i + 3 < sizeof(message); i += 2) {
        memcpy(message + i, "\xc3\xa4", 3); /* a with dots */
    }
    fake_error(fd, -26, message);
    return true;
}

static void
test_long_error(void)
{
    struct fake *f = fake_start(answer_long_error, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 5000);
    json_t *s;

    is_int(ask(r), EXI_ENODE, "a long error");
    ok(strlen(rpc_error(r)->message) > 500, "most of it is there");
    s = json_string(rpc_error(r)->message);
    ok(s != NULL, "not cut inside a character");
    json_decref(s);
    rpc_free(r);
    fake_stop(f);
}

/* ---- silence ---- */

static bool
answer_never(struct fake *f, int fd, const struct fake_request *q)
{
    (void) fd;
    (void) q;
    fake_hang(f);
    return false;
}

static bool
answer_drip(struct fake *f, int fd, const struct fake_request *q)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n"
                               "{\"result\":5,\"error\":null}";
    const struct timespec pause = { 0, 2000000 };

    (void) f;
    (void) q;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        fake_send(fd, text + i, 1);
        nanosleep(&pause, NULL);
    }
    return true;
}

static void
test_slow(void)
{
    struct fake *f = fake_start(answer_never, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 300);
    int64_t begin = now_ms();
    int dead_fd;
    struct fake dead = { .port = fake_dead_port(&dead_fd) };
    json_t *v = NULL;

    is_int(ask(r), EXI_ENET, "no answer in time");
    ok(now_ms() - begin >= 300 && now_ms() - begin < 2000, "took %d ms",
       (int) (now_ms() - begin));
    is_int(rpc_call_timeout(r, "ask", NULL, 50, &v), EXI_ENET, "shorter");
    rpc_free(r);
    fake_stop(f);

    f = fake_start(answer_drip, NULL);
    r = handle(f, NULL, "", NULL, 5000);
    is_int(ask(r), EXI_OK, "byte by byte");
    rpc_free(r);
    fake_stop(f);

    r = handle(&dead, NULL, "me:secret@", NULL, 5000);
    is_int(ask(r), EXI_ENET, "nobody listens");
    says(r, "does not answer");
    ok(strstr(rpc_error(r)->message, "secret") == NULL, "no password in it");
    rpc_free(r);
    close(dead_fd);
}

/* ---- passwords ---- */

static const char *expected_auth; /* Basic ... */

static bool
answer_auth(struct fake *f, int fd, const struct fake_request *q)
{
    (void) f;
    if (strstr(q->head, expected_auth) == NULL) {
        fake_http(fd, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
    } else {
        fake_result(fd, "1");
    }
    return true;
}

static void
write_cookie(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    if (f != NULL) {
        fputs(text, f);
        fclose(f);
    }
}

static void
test_url_password(void)
{
    struct fake *f = fake_start(answer_auth, NULL);
    struct rpc *r;

    expected_auth = "Authorization: Basic bWU6cC93QCNx"; /* me:p/w@#q */
    r = handle(f, NULL, "me:p%2Fw%40%23q@", NULL, 5000);
    is_int(ask(r), EXI_OK, "decoded");
    is_int(fake_requests(f), 1, "sent at once");
    rpc_free(r);
    r = handle(f, NULL, "me:wrongsecret@", "/nonexistent", 5000);
    is_int(ask(r), EXI_EAUTH, "refused");
    says(r, "daemon_url");
    ok(strstr(rpc_error(r)->message, "wrongsecret") == NULL, "no password");
    rpc_free(r);
    r = handle(f, NULL, "", NULL, 5000);
    is_int(ask(r), EXI_EAUTH, "none given");
    says(r, "daemon_cookie");
    rpc_free(r);
    fake_stop(f);
}

static void
test_cookie(void)
{
    char path[] = "/tmp/exi-cookie-XXXXXX";
    struct fake *f = fake_start(answer_auth, NULL);
    struct rpc *r;
    int fd = mkstemp(path);

    close(fd);
    r = handle(f, NULL, "", path, 5000);
    expected_auth = "Authorization: Basic X19jb29raWVfXzphYg=="; /* ...:ab */
    is_int(ask(r), EXI_EAUTH, "the file is empty");
    says(r, "not a cookie file");
    write_cookie(path, "__cookie__:ab\n");
    is_int(ask(r), EXI_OK, "read anew");
    is_int(ask(r), EXI_OK, "kept");
    expected_auth = "Authorization: Basic X19jb29raWVfXzpjZA=="; /* ...:cd */
    write_cookie(path, "__cookie__:cd");
    is_int(ask(r), EXI_OK, "the node was started again: read after the 401");
    is_int(fake_requests(f), 5, "one request more for it");
    write_cookie(path, "__cookie__:ee");
    expected_auth = "never";
    is_int(ask(r), EXI_EAUTH, "wrong");
    says(r, path);
    ok(strstr(rpc_error(r)->message, "__cookie__") == NULL, "no password");
    unlink(path);
    is_int(ask(r), EXI_EAUTH, "the file is gone");
    says(r, "No such file");
    rpc_free(r);
    fake_stop(f);
}

/* ---- several daemons ---- */

/* ctx is the name; "dead" makes it hang up. */
struct peer {
    pthread_mutex_t mutex;
    int mode; /* 0 answers, 1 hangs up, 2 warmup, 3 refuses the password */
};

static bool
answer_peer(struct fake *f, int fd, const struct fake_request *q)
{
    struct peer *p = f->ctx;
    int mode;

    (void) q;
    pthread_mutex_lock(&p->mutex);
    mode = p->mode;
    pthread_mutex_unlock(&p->mutex);
    switch (mode) {
    case 0:
        fake_result(fd, "1");
        return true;
    case 2:
        fake_error(fd, -28, "Verifying");
        return true;
    case 3:
        fake_http(fd, 401, "", "");
        return true;
    default:
        return false;
    }
}

static void
set_mode(struct peer *p, int mode)
{
    pthread_mutex_lock(&p->mutex);
    p->mode = mode;
    pthread_mutex_unlock(&p->mutex);
}

static void
test_failover(void)
{
    const struct timespec pause = { 0, 300000000 };
    struct peer pa = { PTHREAD_MUTEX_INITIALIZER, 1 };
    struct peer pb = { PTHREAD_MUTEX_INITIALIZER, 0 };
    struct fake *a = fake_start(answer_peer, &pa);
    struct fake *b = fake_start(answer_peer, &pb);
    struct rpc *r = handle(a, b, "", NULL, 5000);
    unsigned tried;

    is_int(ask(r), EXI_OK, "the first is down, the second answers");
    tried = fake_requests(a);
    is_int(ask(r), EXI_OK, "again");
    is_int(fake_requests(a), tried, "the first was not asked");
    set_mode(&pb, 2);
    set_mode(&pa, 0);
    is_int(ask(r), EXI_OK, "the second starts, the first is back");
    is_int(ask(r), EXI_OK, "again");
    is_int(fake_requests(b), 3, "the second was asked once more");
    set_mode(&pa, 1);
    nanosleep(&pause, NULL);
    is_int(ask(r), EXI_EWARMUP, "both fail: the more telling reason");
    says(r, "Verifying");
    set_mode(&pb, 3);
    is_int(ask(r), EXI_EAUTH, "wrong password is more telling still");
    set_mode(&pa, 0);
    set_mode(&pb, 0);
    is_int(ask(r), EXI_OK, "put off both, asked all the same");
    rpc_free(r);
    fake_stop(a);
    fake_stop(b);
}

/* ---- cancelling ---- */

static void *
cancel_soon(void *arg)
{
    struct rpc **r = arg;
    const struct timespec pause = { 0, 100000000 };

    nanosleep(&pause, NULL);
    rpc_cancel(*r);
    return NULL;
}

static void
test_cancel(void)
{
    struct fake *f = fake_start(answer_never, NULL);
    struct rpc *r = handle(f, f, "", NULL, 30000);
    int64_t begin = now_ms();
    pthread_t t;
    json_t *v = NULL;

    pthread_create(&t, NULL, cancel_soon, &r);
    is_int(ask(r), EXI_ENET, "cancelled");
    ok(now_ms() - begin < 600, "at once: %d ms", (int) (now_ms() - begin));
    pthread_join(t, NULL);
    is_int(fake_requests(f), 1, "no other daemon was asked");
    ok(rpc_cancelled(r), "stays so");
    is_int(ask(r), EXI_ENET, "later calls, too");
    is_int(fake_requests(f), 1, "without asking");
    rpc_resume(r);
    is_int(rpc_call_timeout(r, "ask", NULL, 50, &v), EXI_ENET, "resumed");
    ok(fake_requests(f) > 1, "asks again");
    rpc_free(r);
    fake_stop(f);
}

/* ---- batches ---- */

static const char *batch_answer;

static bool
answer_batch(struct fake *f, int fd, const struct fake_request *q)
{
    (void) f;
    snprintf(last_body, sizeof(last_body), "%s", q->body);
    fake_http(fd, 200, "", batch_answer);
    return true;
}

static int
batch(struct rpc *r, json_t **results, size_t n)
{
    json_t *params[3] = { json_pack("[i]", 0), json_pack("[i]", 1),
                          json_pack("[i]", 2) };

    for (size_t i = n; i < 3; i++) {
        json_decref(params[i]);
    }
    return rpc_batch(r, "ask", params, n, results);
}

static void
test_batch(void)
{
    struct fake *f = fake_start(answer_batch, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 5000);
    json_t *v[3];

    batch_answer = "[{\"id\":2,\"result\":\"c\",\"error\":null},"
                   "{\"id\":1,\"result\":null,\"error\":{\"code\":-5,"
                   "\"message\":\"gone\"}},"
                   "{\"id\":0,\"result\":\"a\"}]";
    is_int(batch(r, v, 3), EXI_OK, "in any order, one failed");
    is_str(json_string_value(v[0]), "a", "first");
    ok(v[1] == NULL, "failed");
    is_str(json_string_value(v[2]), "c", "third");
    is_int(rpc_error(r)->code, -5, "why the second failed");
    json_decref(v[0]);
    json_decref(v[2]);
    ok(strstr(last_body, "\"id\":1,\"method\":\"ask\",\"params\":[1]}") != NULL,
       "request: %s", last_body);

    batch_answer = "[{\"id\":0,\"result\":1},{\"id\":0,\"result\":2},"
                   "{\"id\":9,\"result\":3}]";
    is_int(batch(r, v, 3), EXI_OK, "ids twice and unknown");
    is_int(json_integer_value(v[0]), 1, "the first counts");
    ok(v[1] == NULL && v[2] == NULL, "the others are none");
    json_decref(v[0]);

    batch_answer = "[{\"id\":0,\"result\":1},{\"id\":1,\"result\":null,"
                   "\"error\":{\"code\":-28,\"message\":\"Loading\"}},"
                   "{\"id\":2,\"result\":1}]";
    is_int(batch(r, v, 3), EXI_EWARMUP, "starting");
    ok(v[0] == NULL && v[1] == NULL && v[2] == NULL, "no results then");
    batch_answer = "{\"result\":null,\"error\":{\"code\":-32600,\"message\":"
                   "\"too much\"}}";
    is_int(batch(r, v, 3), EXI_ENODE, "refused as a whole");
    batch_answer = "[{\"id\":0,\"result\":1}]";
    is_int(batch(r, v, 3), EXI_EANSWER, "too few answers");
    batch_answer = "[1,2,3]";
    is_int(batch(r, v, 3), EXI_EANSWER, "no answers");
    f->requests = 0;
    is_int(batch(r, v, 0), EXI_OK, "nothing to ask");
    is_int(fake_requests(f), 0, "not asked");
    rpc_free(r);
    fake_stop(f);
}

/* ---- REST and blocks ---- */

static bool
answer_rest(struct fake *f, int fd, const struct fake_request *q)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";

    (void) f;
    if (strstr(q->line, "GET /rest/ok ") != NULL) {
        fake_send(fd, head, sizeof(head) - 1);
        fake_send(fd, "a\0b", 3);
    } else if (strstr(q->line, "/rest/pruned ") != NULL) {
        fake_http(fd, 404, "", "abc not available (pruned data)\r\n");
    } else if (strstr(q->line, "/rest/starting ") != NULL) {
        fake_http(fd, 503, "", "Service temporarily unavailable: Loading\r\n");
    } else if (strstr(q->line, "/rest/busy ") != NULL) {
        fake_http(fd, 503, "", "Work queue depth exceeded");
    } else if (strstr(q->line, "/rest/bad ") != NULL) {
        fake_http(fd, 400, "", "Invalid hash: x\r\n");
    } else {
        fake_http(fd, 404, "", "");
    }
    return true;
}

static void
test_rest(void)
{
    struct fake *f = fake_start(answer_rest, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 5000);
    struct rpc_buf buf = { NULL, 0, 0 };

    is_int(rpc_rest(r, "/rest/ok", &buf), EXI_OK, "found");
    is_int(buf.len, 3, "length");
    is_mem(buf.data, "a\0b", 3, "bytes");
    is_int(rpc_rest(r, "/rest/ok", &buf), EXI_OK, "again");
    is_int(buf.len, 3, "replaced, not appended");
    is_int(rpc_rest(r, "/rest/pruned", &buf), EXI_ENOTFOUND, "404 in words");
    says(r, "pruned data");
    is_int(rpc_rest(r, "/rest/off", &buf), EXI_ENODE, "404 without words");
    is_int(rpc_rest(r, "/rest/bad", &buf), EXI_ENODE, "400");
    is_int(rpc_rest(r, "/rest/starting", &buf), EXI_EWARMUP, "warmup");
    is_str(rpc_error(r)->message, "Loading", "in the node's words");
    is_int(rpc_rest(r, "/rest/busy", &buf), EXI_ENET, "busy");
    rpc_buf_free(&buf);
    rpc_free(r);
    fake_stop(f);
}

/* A block of one small transaction, full of `fill`. */
#define BLOCK_LEN (EXI_HEADER_LEN + 1 + 60)

static void
make_block(uint8_t b[BLOCK_LEN], uint8_t fill)
{
    uint8_t *tx = b + EXI_HEADER_LEN + 1;

    memset(b, fill, BLOCK_LEN);
    b[EXI_HEADER_LEN] = 1;
    tx[4] = 1;  /* inputs; 36 bytes are what is spent */
    tx[41] = 0; /* length of its script */
    tx[46] = 1; /* outputs */
    tx[55] = 0; /* length of its script */
    exi_sha256d(b + 36, tx, 60);
}

/* That of 'r' over REST, that of 0xaa over JSON-RPC. */
static bool
answer_blocks(struct fake *f, int fd, const struct fake_request *q)
{
    const char *have = f->ctx; /* "rest", "rpc", "none" or "bad" */
    char head[80], text[2 * BLOCK_LEN + 3] = "\"";
    uint8_t block[BLOCK_LEN];

    if (strncmp(q->line, "GET /rest/block/", 16) == 0) {
        if (strcmp(have, "rest") == 0 || strcmp(have, "bad") == 0) {
            make_block(block, 'r');
            block[BLOCK_LEN - 1] ^= strcmp(have, "bad") == 0;
            snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
                     BLOCK_LEN);
            fake_send(fd, head, strlen(head));
            fake_send(fd, block, BLOCK_LEN);
        } else {
            fake_http(fd, 404, "", "");
        }
    } else if (strstr(q->body, "\"getblock\",\"params\":[\"") == NULL
               || strcmp(have, "none") == 0) {
        fake_error(fd, -1, "Block not available (pruned data)");
    } else {
        make_block(block, 0xaa);
        exi_hex(text + 1, block, BLOCK_LEN);
        strcpy(text + 1 + 2 * BLOCK_LEN, "\"");
        fake_result(fd, text);
    }
    return true;
}

static void
test_block(void)
{
    char rest[] = "rest", rpc[] = "rpc", none[] = "none", wrong[] = "bad";
    struct fake *with = fake_start(answer_blocks, rest);
    struct fake *without = fake_start(answer_blocks, rpc);
    struct fake *pruned = fake_start(answer_blocks, none);
    struct fake *bad = fake_start(answer_blocks, wrong);
    struct rpc_buf buf = { NULL, 0, 0 };
    struct exi_blkid a, b;
    struct rpc *r;
    uint8_t bytes[BLOCK_LEN];

    make_block(bytes, 0xaa);
    exi_sha256d(a.b, bytes, EXI_HEADER_LEN);
    make_block(bytes, 'r');
    exi_sha256d(b.b, bytes, EXI_HEADER_LEN);
    r = handle(with, NULL, "", NULL, 5000);
    is_int(rpc_block(r, &b, &buf), EXI_OK, "over REST");
    ok(buf.len == BLOCK_LEN && buf.data[79] == 'r', "the block");
    rpc_free(r);

    r = handle(without, NULL, "", NULL, 5000);
    is_int(rpc_block(r, &a, &buf), EXI_OK, "REST is off: getblock");
    ok(buf.len == BLOCK_LEN && buf.data[79] == 0xaa, "the block");
    is_int(fake_requests(without), 2, "both were tried");
    is_int(rpc_block(r, &a, &buf), EXI_OK, "again");
    is_int(fake_requests(without), 3, "REST is not tried again");
    rpc_free(r);

    r = handle(pruned, NULL, "", NULL, 5000);
    is_int(rpc_block(r, &a, &buf), EXI_ENOTFOUND, "pruned");
    rpc_free(r);
    r = handle(pruned, with, "", NULL, 5000);
    is_int(rpc_block(r, &b, &buf), EXI_OK, "another daemon has it");
    is_int(ask(r), EXI_ENODE, "other calls");
    is_int(fake_requests(with), 2, "still go to the first");
    rpc_free(r);
    r = handle(with, NULL, "", NULL, 5000);
    is_int(rpc_block(r, &a, &buf), EXI_EANSWER, "another block");
    ok(strstr(rpc_error(r)->message, "something else than block") != NULL,
       "says so");
    rpc_free(r);
    r = handle(with, without, "", NULL, 5000);
    is_int(rpc_block(r, &a, &buf), EXI_OK,
           "another daemon sends the right one");
    ok(buf.len == BLOCK_LEN && buf.data[79] == 0xaa, "the block");
    rpc_free(r);
    r = handle(bad, NULL, "", NULL, 5000);
    is_int(rpc_block(r, &b, &buf), EXI_EANSWER, "its header, another content");
    ok(strstr(rpc_error(r)->message, "something else than block") != NULL,
       "says so");
    rpc_free(r);
    r = handle(bad, with, "", NULL, 5000);
    is_int(rpc_block(r, &b, &buf), EXI_OK, "another daemon sends all of it");
    rpc_free(r);
    rpc_buf_free(&buf);
    fake_stop(with);
    fake_stop(without);
    fake_stop(pruned);
    fake_stop(bad);
}

static bool
answer_huge(struct fake *f, int fd, const struct fake_request *q)
{
    static char chunk[1 << 20];
    char head[128];
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                     RPC_REST_MAX + 1);

    (void) f;
    (void) q;
    fake_send(fd, head, (size_t) n);
    for (size_t i = 0; i <= RPC_REST_MAX / sizeof(chunk); i++) {
        fake_send(fd, chunk, sizeof(chunk));
    }
    return false;
}

static void
test_huge(void)
{
    struct fake *f = fake_start(answer_huge, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 20000);
    struct rpc_buf buf = { NULL, 0, 0 };

    is_int(rpc_rest(r, "/rest/x", &buf), EXI_EANSWER, "too long");
    says(r, "more than 64 MB");
    ok(buf.len <= RPC_REST_MAX, "not kept");
    rpc_buf_free(&buf);
    rpc_free(r);
    fake_stop(f);
}

/* ---- questions ---- */

static const char *node_answer;
static int node_error;

static bool
answer_node(struct fake *f, int fd, const struct fake_request *q)
{
    (void) f;
    (void) q;
    if (node_error != 0) {
        fake_error(fd, node_error, "no");
    } else {
        fake_result(fd, node_answer);
    }
    return true;
}

static void
test_chain(struct rpc *r)
{
    struct rpc_chain c;

    node_answer = "{\"chain\":\"main\",\"blocks\":7,\"headers\":9,"
                  "\"bestblockhash\":\"" HASH_B "\","
                  "\"verificationprogress\":0.5,"
                  "\"initialblockdownload\":true,\"pruned\":true}";
    is_int(rpc_chain(r, &c), EXI_OK, "rpc_chain");
    ok(c.blocks == 7 && c.headers == 9 && c.ibd && c.pruned && c.progress > 0.49
           && c.best.b[0] == 0xbb,
       "its fields");
    node_answer =
        "{\"blocks\":-1,\"headers\":9,\"bestblockhash\":\"" HASH_B "\"}";
    is_int(rpc_chain(r, &c), EXI_EANSWER, "negative height");
    node_answer = "{\"blocks\":1,\"headers\":9,\"bestblockhash\":\"ab\"}";
    is_int(rpc_chain(r, &c), EXI_EANSWER, "short hash");
    is_int(c.blocks, 7, "left as it was");
}

static void
test_hashes(struct rpc *r)
{
    struct exi_blkid h;

    node_answer = "\"" HASH_B "\"";
    is_int(rpc_best(r, &h), EXI_OK, "rpc_best");
    is_int(h.b[0], 0xbb, "internal order");
    is_int(rpc_hash_at(r, 5, &h), EXI_OK, "rpc_hash_at");
    node_answer = "5";
    is_int(rpc_best(r, &h), EXI_EANSWER, "not a hash");
    is_int(rpc_hash_at(r, 5, &h), EXI_EANSWER, "not a hash");
    node_error = -8;
    is_int(rpc_hash_at(r, 5, &h), EXI_ENOTFOUND, "above the tip");
    node_error = -1;
    is_int(rpc_hash_at(r, 5, &h), EXI_ENODE, "another error");
    node_error = 0;
}

static void
test_header(struct rpc *r)
{
    struct exi_blkid h = { { 0 } }, prev;
    uint32_t height;
    bool active;

    node_answer = "{\"height\":5,\"confirmations\":3,"
                  "\"previousblockhash\":\"" HASH_A "\"}";
    is_int(rpc_header(r, &h, &prev, &height, &active), EXI_OK, "rpc_header");
    ok(prev.b[0] == 0xaa && height == 5 && active, "its fields");
    node_answer = "{\"height\":5,\"confirmations\":-1,"
                  "\"previousblockhash\":\"" HASH_A "\"}";
    is_int(rpc_header(r, &h, &prev, &height, &active), EXI_OK, "a stale one");
    ok(!active, "is not active");
    node_answer = "{\"height\":0,\"confirmations\":3}";
    is_int(rpc_header(r, &h, &prev, &height, &active), EXI_OK, "genesis");
    is_int(prev.b[0], 0, "nothing before it");
    node_answer = "{\"height\":1,\"confirmations\":3}";
    is_int(rpc_header(r, &h, &prev, &height, &active), EXI_EANSWER,
           "another without a link");
    node_error = -5;
    is_int(rpc_header(r, &h, &prev, &height, &active), EXI_ENOTFOUND,
           "unknown");
    node_error = 0;
}

static void
test_questions(void)
{
    struct fake *f = fake_start(answer_node, NULL);
    struct rpc *r = handle(f, NULL, "", NULL, 5000);

    test_chain(r);
    test_hashes(r);
    test_header(r);
    rpc_free(r);
    fake_stop(f);
}

/* ---- URLs ---- */

static int
url(const char *urls, unsigned port, char *base, size_t size)
{
    struct rpc_opts o = { .urls = urls, .default_port = port };
    struct rpc *r = NULL;
    int rc = rpc_new(&r, &o, why, sizeof(why));

    base[0] = '\0';
    if (rc == EXI_OK) {
        snprintf(base, size, "%s", rpc_daemon(r));
    }
    rpc_free(r);
    return rc;
}

static void
test_urls(void)
{
    char base[256];

    static const char *const good[][2] = {
        { "http://h:1", "http://h:1" },
        { "http://u:p@h:1/wallet/x", "http://h:1" },
        { "https://h", "https://h:8332" },
        { "u:p@h", "http://h:8332" },
        { "10.0.0.1:5", "http://10.0.0.1:5" },
        { " http://a:1 , http://b:2,", "http://a:1" },
        { "http://[::1]:7", "http://[::1]:7" }
    };
    static const char *const bad[] = { "",
                                       " , ",
                                       "ftp://h:1",
                                       "http://",
                                       "http://h:x",
                                       "http://h:0x1",
                                       "http://h:99999",
                                       "http://h:1/?q",
                                       "http://h#f",
                                       "http://u:secret/1@h:1",
                                       "http://u:secret#1@h:1",
                                       "http://u:1/secret@h:1",
                                       "http://h:1,ftp://h" };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        is_int(url(good[i][0], 8332, base, sizeof(base)), EXI_OK, "%s",
               good[i][0]);
        is_str(base, good[i][1], "shown as");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(url(bad[i], 8332, base, sizeof(base)), EXI_EAPI, "bad: %s",
               bad[i]);
        ok(strncmp(why, "daemon_url, URL ", 16) == 0
               && strstr(why, "secret") == NULL,
           "says: %s", why);
    }
    ok(strstr(why, "URL 2") != NULL, "says which");
    is_int(url("http://h", 0, base, sizeof(base)), EXI_OK, "no port at all");
    is_str(base, "http://h", "then the scheme's");
}

int
main(void)
{
    /* A proxy would get every request, the password with it. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);

    subtest("call", test_call);
    subtest("failures", test_failures);
    subtest("long error", test_long_error);
    subtest("slow", test_slow);
    subtest("password in the URL", test_url_password);
    subtest("cookie", test_cookie);
    subtest("failover", test_failover);
    subtest("cancel", test_cancel);
    subtest("batch", test_batch);
    subtest("REST", test_rest);
    subtest("block", test_block);
    subtest("huge answer", test_huge);
    subtest("questions", test_questions);
    subtest("URLs", test_urls);
    return done_testing();
}
