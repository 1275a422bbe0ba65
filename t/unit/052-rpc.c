/*
 * rpc.h against scripted daemons: what each kind of answer or silence means,
 * passwords, failover, cancelling, URLs.
 */
#include "rpcrun.h"

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
    rpc_no_proxy();
    subtest("call", test_call);
    subtest("failures", test_failures);
    subtest("long error", test_long_error);
    subtest("slow", test_slow);
    subtest("password in the URL", test_url_password);
    subtest("cookie", test_cookie);
    subtest("failover", test_failover);
    subtest("cancel", test_cancel);
    subtest("URLs", test_urls);
    return done_testing();
}
