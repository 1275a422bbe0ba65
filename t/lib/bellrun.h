/*
 * A bell with workers played here and a scripted node behind, for its unit
 * tests.
 */
#ifndef BELLRUN_H
#define BELLRUN_H

#include "bell_int.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "exi_bytes.h"
#include "fakehttp.h"
#include "log.h"
#include "tap.h"

#define BELL_UNUSED __attribute__((unused))

#define TXID  "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
#define BLOCK "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
#define OTHER "00000000000000000000000000000000000000000000000000000000000000aa"

/* The genesis block of regtest: header, count, its one transaction. */
#define GENESIS_HEADER                                                         \
    "01000000"                                                                 \
    "0000000000000000000000000000000000000000000000000000000000000000"         \
    "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"         \
    "dae5494dffff7f2002000000"
#define GENESIS_TX                                                             \
    "0100000001000000000000000000000000000000000000000000000000000000000000"   \
    "0000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f323030"   \
    "39204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e6420626169"   \
    "6c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe"   \
    "5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4"   \
    "f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"

static char dir[] = "/tmp/exi-bell-XXXXXX";
static char path[64];
static char why[512];

/* ---- the node ---- */

/* Guarded by mutex: what the node does. */
static struct {
    pthread_mutex_t mutex;
    char seen[4096]; /* "method params\n" of each request */
    bool hang_all;
    int error;  /* to all */
    int status; /* HTTP, to all */
} node = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static BELL_UNUSED void
node_set(int error, int status, bool hang_all)
{
    pthread_mutex_lock(&node.mutex);
    node.error = error;
    node.status = status;
    node.hang_all = hang_all;
    node.seen[0] = '\0';
    pthread_mutex_unlock(&node.mutex);
}

static BELL_UNUSED bool
node_saw(const char *text)
{
    bool found;

    pthread_mutex_lock(&node.mutex);
    found = strstr(node.seen, text) != NULL;
    if (!found) {
        diag("seen: %s", node.seen);
    }
    pthread_mutex_unlock(&node.mutex);
    return found;
}

static BELL_UNUSED unsigned
node_count(const char *text)
{
    unsigned n = 0;

    pthread_mutex_lock(&node.mutex);
    for (const char *p = node.seen; (p = strstr(p, text)) != NULL; p++) {
        n++;
    }
    pthread_mutex_unlock(&node.mutex);
    return n;
}

static BELL_UNUSED void
node_big(int fd)
{
    size_t len = (size_t) 1 << 20;
    char *text = malloc(len + 3);

    memset(text, 'x', len + 2);
    text[0] = text[len + 1] = '"';
    text[len + 2] = '\0';
    fake_result(fd, text);
    free(text);
}

static const struct {
    const char *request; /* how the noted request begins */
    int error;
    const char *answer; /* result, or the error's message */
} node_table[] = {
    { "sendrawtransaction [\"beef\"]", 0, "\"" TXID "\"" },
    { "sendrawtransaction", -26, "min relay fee not met" },
    { "submitpackage [[\"aa\",\"bb\"]]", 0,
      "{\"package_msg\":\"success\",\"tx-results\":{\"x\":{\"fees\":{"
      "\"base\":0.00010000,\"effective-feerate\":21000000.00000001}}}}" },
    { "submitpackage", -32601, "Method not found" },
    { "testmempoolaccept [[\"aa\"]]", 0,
      "[{\"txid\":\"t\",\"allowed\":false}]" },
    { "estimatesmartfee [6]", 0, "{\"feerate\":0.00001000,\"blocks\":6}" },
    { "estimatesmartfee [6,\"ECONOMICAL\"]", 0,
      "{\"feerate\":0.00012345,\"blocks\":6}" },
    { "estimatesmartfee [2", 0, "{\"errors\":[\"none\"],\"blocks\":2}" },
    { "estimatesmartfee", -8, "Invalid estimate_mode" },
    { "getrawtransaction [\"" OTHER "\",false,\"" BLOCK "\"]", 0, "\"beef\"" },
    { "getrawtransaction [\"" OTHER "\",true,\"" BLOCK "\"]", 0,
      "{\"in_active_chain\":true,\"txid\":\"" OTHER "\",\"vout\":[{\"value\":"
      "0.00010000},{\"value\":21000000.00000001},{\"value\":5.00000000}]}" },
    { "getrawtransaction [\"" OTHER "\",true]", 0, "{\"txid\":\"x\"}" },
    { "getrawtransaction", -5, "No such transaction" },
    { "getblockhash [0]", 0, "\"" BLOCK "\"" },
    { "getblockcount [1", -1, "too many" },
    { "getblock [\"" BLOCK "\",0]", 0,
      "\"" GENESIS_HEADER "01" GENESIS_TX "\"" },
    { "getblock", -1, "Block not available (pruned data)" },
    { "getmempoolinfo []", 0,
      "{\"mempoolminfee\":0.00001000,\"total_fee\":0.00000000}" },
};

static BELL_UNUSED bool
node_special(struct fake *f, int fd, const struct fake_request *q,
             const char *request)
{
    bool hang;
    int error, status;

    pthread_mutex_lock(&node.mutex);
    hang = node.hang_all || strstr(request, "hang") != NULL;
    error = node.error;
    status = node.status;
    snprintf(node.seen + strlen(node.seen),
             sizeof(node.seen) - strlen(node.seen), "%s\n", request);
    pthread_mutex_unlock(&node.mutex);
    if (hang) {
        fake_hang(f);
    }
    if (error != 0) {
        fake_error(fd, error, "Loading");
    } else if (status != 0) {
        fake_http(fd, status, "", "");
    } else if (strncmp(q->line, "GET ", 4) == 0) {
        fake_http(fd, 404, "", "");
    } else if (strncmp(request, "getnetworkinfo", 14) == 0) {
        node_big(fd);
    } else {
        return false;
    }
    return true;
}

static BELL_UNUSED bool
node_answer(struct fake *f, int fd, const struct fake_request *q)
{
    json_t *body = json_loads(q->body, 0, NULL);
    char *params = json_dumps(json_object_get(body, "params"), JSON_COMPACT);
    const char *method = json_string_value(json_object_get(body, "method"));
    char request[512];

    snprintf(request, sizeof(request), "%s %s", method ? method : q->line,
             params ? params : "");
    free(params);
    json_decref(body);
    if (node_special(f, fd, q, request)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(node_table) / sizeof(node_table[0]); i++) {
        const char *want = node_table[i].request;

        if (strncmp(request, want, strlen(want)) == 0) {
            if (node_table[i].error != 0) {
                fake_error(fd, node_table[i].error, node_table[i].answer);
            } else {
                fake_result(fd, node_table[i].answer);
            }
            return true;
        }
    }
    return false;
}

/* ---- workers ---- */

static BELL_UNUSED int
dial(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct timeval limit = { 8, 0 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *) &a, sizeof(a)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return fd;
}

static BELL_UNUSED void
put_frame(int fd, char type, const void *body, size_t len)
{
    uint8_t head[5];

    exi_put_le32(head, (uint32_t) len + 1);
    head[4] = (uint8_t) type;
    fake_send(fd, head, 5);
    fake_send(fd, body, len);
}

static BELL_UNUSED void
put_hello(int fd, uint32_t protocol)
{
    uint8_t body[8];

    exi_put_le32(body, protocol);
    exi_put_le32(body + 4, (uint32_t) getpid());
    put_frame(fd, 'H', body, sizeof(body));
}

static BELL_UNUSED int
worker(void)
{
    int fd = dial();

    put_hello(fd, 1);
    return fd;
}

static BELL_UNUSED void
put_call(int fd, uint64_t id, const char *name, const char *params)
{
    uint8_t body[2048];
    size_t n = strlen(name);

    exi_put_le64(body, id);
    body[8] = (uint8_t) n;
    memcpy(body + 9, name, n);
    memcpy(body + 9 + n, params, strlen(params));
    put_frame(fd, 'C', body, 9 + n + strlen(params));
}

static BELL_UNUSED bool
get_bytes(int fd, void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = recv(fd, p, len, 0);

        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t) n;
    }
    return true;
}

/* Type of the next frame, its body with a terminator (free it); 0: hung up. */
static BELL_UNUSED char
get_frame(int fd, uint8_t **body, size_t *len)
{
    uint8_t head[5];

    *body = NULL;
    if (!get_bytes(fd, head, 5)) {
        return 0;
    }
    *len = exi_le32(head) - 1;
    *body = malloc(*len + 1);
    (*body)[*len] = '\0';
    return get_bytes(fd, *body, *len) ? (char) head[4] : 0;
}

static BELL_UNUSED bool
hung_up(int fd)
{
    uint8_t *body;
    size_t len;
    char type;

    do {
        type = get_frame(fd, &body, &len);
        free(body);
    } while (type != 0);
    return errno != EAGAIN;
}

/* Expects the answer to a call. */
static BELL_UNUSED void
is_reply(int fd, uint64_t id, int status, const char *json, const char *name)
{
    uint8_t *body;
    size_t len;
    char type = get_frame(fd, &body, &len);

    if (ok(type == 'R' && len >= 9 && exi_le64(body) == id, "%s: reply",
           name)) {
        is_int(body[8], status, "%s: status", name);
        is_str((char *) body + 9, json, "%s: JSON", name);
    }
    free(body);
}

static BELL_UNUSED void
is_call(int fd, const char *name, const char *params, int status,
        const char *json)
{
    static uint64_t id = 0x1122334455667788;

    put_call(fd, ++id, name, params);
    is_reply(fd, id, status, json, params);
}

static BELL_UNUSED void
is_state(int fd, const char *json)
{
    uint8_t *body;
    size_t len;

    is_int(get_frame(fd, &body, &len), 'S', "state frame");
    is_str((char *) body, json, "state");
    free(body);
}

static BELL_UNUSED void
is_bell(int fd, uint64_t instance, uint64_t seq)
{
    uint8_t *body;
    size_t len;

    if (is_int(get_frame(fd, &body, &len), 'B', "bell frame")
        && is_int(len, 16, "length")) {
        is_int(exi_le64(body), instance, "instance");
        is_int(exi_le64(body + 8), seq, "sequence");
    }
    free(body);
}

/* ---- setting up ---- */

static BELL_UNUSED struct bell *
start(struct fake *f, unsigned threads, long call_timeout_ms)
{
    char url[64];
    struct rpc_opts r = { .urls = url };
    struct bell_opts o = { .path = path,
                           .mode = 0600,
                           .rpc = &r,
                           .threads = threads,
                           .call_timeout_ms = call_timeout_ms,
                           .passthrough = "getblockcount, getmempoolinfo" };
    struct bell *b = NULL;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", f->port);
    node_set(0, 0, false);
    if (bell_start(&b, &o, why, sizeof(why)) != EXI_OK) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    return b;
}

static BELL_UNUSED bool
wait_workers(struct bell *b, unsigned n)
{
    const struct timespec pause = { 0, 2000000 };

    for (int i = 0; i < 2500 && bell_workers(b) != n; i++) {
        nanosleep(&pause, NULL);
    }
    return bell_workers(b) == n;
}

static BELL_UNUSED int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Runs the subtests that `all` calls, with a directory for the socket. */
static int
bell_main(void (*all)(void))
{
    if (mkdtemp(dir) == NULL || !log_set_level("error")) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/socket", dir);
    all();
    rmdir(dir);
    return done_testing();
}

#endif /* BELLRUN_H */
