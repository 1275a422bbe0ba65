/*
 * bell.h: the socket protocol of docs/index-format.md section 7, with workers
 * played here and a scripted node behind.
 */
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

static void
node_set(int error, int status, bool hang_all)
{
    pthread_mutex_lock(&node.mutex);
    node.error = error;
    node.status = status;
    node.hang_all = hang_all;
    node.seen[0] = '\0';
    pthread_mutex_unlock(&node.mutex);
}

static bool
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

static unsigned
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

static void
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

static bool
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

static bool
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

static int
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

static void
put_frame(int fd, char type, const void *body, size_t len)
{
    uint8_t head[5];

    exi_put_le32(head, (uint32_t) len + 1);
    head[4] = (uint8_t) type;
    fake_send(fd, head, 5);
    fake_send(fd, body, len);
}

static void
put_hello(int fd, uint32_t protocol)
{
    uint8_t body[8];

    exi_put_le32(body, protocol);
    exi_put_le32(body + 4, (uint32_t) getpid());
    put_frame(fd, 'H', body, sizeof(body));
}

static int
worker(void)
{
    int fd = dial();

    put_hello(fd, 1);
    return fd;
}

static void
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

static bool
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
static char
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

static bool
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
static void
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

static void
is_call(int fd, const char *name, const char *params, int status,
        const char *json)
{
    static uint64_t id = 0x1122334455667788;

    put_call(fd, ++id, name, params);
    is_reply(fd, id, status, json, params);
}

static void
is_state(int fd, const char *json)
{
    uint8_t *body;
    size_t len;

    is_int(get_frame(fd, &body, &len), 'S', "state frame");
    is_str((char *) body, json, "state");
    free(body);
}

static void
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

static struct bell *
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

static bool
wait_workers(struct bell *b, unsigned n)
{
    const struct timespec pause = { 0, 2000000 };

    for (int i = 0; i < 2500 && bell_workers(b) != n; i++) {
        nanosleep(&pause, NULL);
    }
    return bell_workers(b) == n;
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- tests ---- */

static void
refuse(const char *where, const char *url, int rc, const char *part)
{
    struct rpc_opts r = { .urls = url };
    struct bell_opts o = { .path = where, .mode = 0600, .rpc = &r };
    struct bell *b = NULL;

    is_int(bell_start(&b, &o, why, sizeof(why)), rc, "refused: %s", part);
    ok(strstr(why, part) != NULL, "says: %s", why);
}

static void
test_socket(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    char moved[80];
    int fd;
    struct stat st;

    ok(stat(path, &st) == 0 && S_ISSOCK(st.st_mode), "there");
    is_int(st.st_mode & 0777, 0600, "its permissions");
    snprintf(moved, sizeof(moved), "%s.moved", path);
    ok(rename(path, moved) == 0, "moved away");
    bell_stop(b);
    ok(stat(moved, &st) == 0, "a socket of another name is left alone");
    ok(rename(moved, path) == 0, "left over, as by a killed indexer");
    b = start(f, 0, 0);
    fd = dial();
    ok(fd >= 0, "replaced");
    close(fd);
    bell_stop(b);
    ok(stat(path, &st) != 0, "removed");
    bell_stop(NULL);
    fake_stop(f);
}

static void
test_refused(void)
{
    char name[200];
    FILE *file;

    snprintf(name, sizeof(name), "%s/none/socket", dir);
    refuse(name, "http://h", EXI_EIO, "none/socket: No such file");
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    refuse(name, "http://h", EXI_EIO, "too long for a socket");
    file = fopen(path, "we");
    fclose(file);
    refuse(path, "http://h", EXI_EIO, "is there and not a socket");
    unlink(path);
    refuse(path, "ftp://h", EXI_EAPI, "daemon_url, URL 1");
    ok(access(path, F_OK) != 0, "nothing is left behind");
}

static void
test_news(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int one = worker(), two;

    ok(wait_workers(b, 1), "a worker");
    bell_state(b, "{\"state\":\"syncing\"}", 19);
    is_state(one, "{\"state\":\"syncing\"}");
    bell_ring(b, 0x0102030405060708, 5);
    is_bell(one, 0x0102030405060708, 5);
    two = worker();
    is_state(two, "{\"state\":\"syncing\"}");
    is_bell(two, 0x0102030405060708, 5);
    ok(wait_workers(b, 2), "two workers");
    bell_ring(b, 1, 6);
    is_bell(one, 1, 6);
    is_bell(two, 1, 6);
    close(one);
    ok(wait_workers(b, 1), "one left");
    bell_state(b, "{}", 2);
    is_state(two, "{}");
    close(two);
    bell_stop(b);
    fake_stop(f);
}

/* A worker that does not read for a while gets few bells, the last one right. */
static void
test_joined(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();
    uint64_t seq = 0, last;
    unsigned bells = 0;
    bool rising = true;

    ok(wait_workers(b, 1), "a worker");
    for (uint64_t i = 1; i <= 200000; i++) {
        bell_ring(b, 1, i);
    }
    while (seq != 200000) {
        uint8_t *body;
        size_t len;

        if (get_frame(fd, &body, &len) != 'B') {
            free(body);
            break;
        }
        last = seq;
        seq = exi_le64(body + 8);
        rising &= seq > last;
        bells++;
        free(body);
    }
    is_int(seq, 200000, "the last one came");
    ok(rising, "in order");
    ok(bells < 100000, "%u bells", bells);
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_calls(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();

    is_call(fd, "broadcast", "[\"beef\"]", 0, "\"" TXID "\"");
    is_call(fd, "broadcast", "[\"dead\"]", 1,
            "{\"code\":1,\"message\":\"min relay fee not met\"}");
    is_call(fd, "broadcast_package", "[[\"aa\",\"bb\"],false]", 0,
            "{\"package_msg\":\"success\",\"tx-results\":{\"x\":{\"fees\":{"
            "\"base\":0.0001,\"effective-feerate\":21000000.00000001}}}}");
    is_call(fd, "broadcast_package", "[[\"aa\"],true]", 1,
            "{\"code\":-32601,\"message\":\"Method not found\"}");
    is_call(fd, "testmempoolaccept", "[[\"aa\"]]", 0,
            "[{\"txid\":\"t\",\"allowed\":false}]");
    is_call(fd, "mempoolinfo", "[]", 0,
            "{\"mempoolminfee\":0.00001,\"total_fee\":0.0}");
    is_call(fd, "verbosetx", "[\"" OTHER "\",\"" BLOCK "\"]", 0,
            "{\"txid\":\"" OTHER "\",\"vout\":[{\"value\":0.0001},"
            "{\"value\":21000000.00000001},{\"value\":5.0}]}");
    is_call(fd, "verbosetx", "[\"" OTHER "\",null]", 0, "{\"txid\":\"x\"}");
    is_call(fd, "verbosetx", "[\"" TXID "\"]", 1,
            "{\"code\":2,\"message\":\"No such transaction\"}");
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_rawtx(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();

    is_call(fd, "rawtx", "[\"" OTHER "\",\"" BLOCK "\",7]", 0, "\"beef\"");
    is_call(fd, "rawtx", "[\"" TXID "\",\"" BLOCK "\",0]", 0,
            "\"" GENESIS_TX "\"");
    ok(node_saw("getblock "), "cut from the block");
    is_call(fd, "rawtx", "[\"" TXID "\",null,0]", 0, "\"" GENESIS_TX "\"");
    ok(node_saw("getblockhash [0]"), "found by height");
    is_call(fd, "rawtx", "[\"" TXID "\",null,null]", 1,
            "{\"code\":2,\"message\":\"No such transaction\"}");
    is_call(fd, "rawtx", "[\"" TXID "\",\"" OTHER "\",5]", 1,
            "{\"code\":2,\"message\":\"the node has neither this "
            "transaction nor its block\"}");
    is_call(fd, "rawtx", "[\"" BLOCK "\",\"" BLOCK "\",0]", 1,
            "{\"code\":2,\"message\":\"the node has neither this "
            "transaction nor its block\"}");
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_fees(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();

    is_call(fd, "estimatefee", "[6,null]", 0, "0.00001");
    is_call(fd, "estimatefee", "[6]", 0, "0.00001");
    is_int(node_count("estimatesmartfee"), 1, "asked once");
    is_call(fd, "estimatefee", "[6,\"ECONOMICAL\"]", 0, "0.00012345");
    is_call(fd, "estimatefee", "[6,\"ECONOMICAL\"]", 0, "0.00012345");
    is_int(node_count("estimatesmartfee"), 2, "another mode, another answer");
    is_call(fd, "estimatefee", "[2,null]", 0, "-1");
    bell_flush(b);
    is_call(fd, "estimatefee", "[6,null]", 0, "0.00001");
    is_int(node_count("estimatesmartfee"), 4, "asked again after a flush");
    is_call(fd, "estimatefee", "[7,\"a mode that is longer than others\"]", 1,
            "{\"code\":1,\"message\":\"Invalid estimate_mode\"}");
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_bad_calls(void)
{
    static const char params[] =
        "{\"code\":-32602,\"message\":\"wrong parameters\"}";
    static const char unknown[] =
        "{\"code\":-32601,\"message\":\"unknown call\"}";
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();

    is_call(fd, "stop", "[]", 1, unknown);
    is_call(fd, "", "[]", 1, unknown);
    is_call(fd, "a name that is longer than any call has", "[]", 1, unknown);
    is_call(fd, "broadcast", "[]", 1, params);
    is_call(fd, "broadcast", "[5]", 1, params);
    is_call(fd, "broadcast", "", 1, params);
    is_call(fd, "broadcast", "{\"a\":1}", 1, params);
    is_call(fd, "broadcast", "[\"beef\"", 1, params);
    is_call(fd, "broadcast_package", "[[]]", 1, params);
    is_call(fd, "broadcast_package", "[[\"aa\",5]]", 1, params);
    is_call(fd, "testmempoolaccept", "[\"aa\"]", 1, params);
    is_call(fd, "estimatefee", "[\"6\"]", 1, params);
    is_call(fd, "estimatefee", "[6,7]", 1, params);
    is_call(fd, "rawtx", "[\"abc\",null,1]", 1, params);
    is_call(fd, "rawtx", "[\"" TXID "\",5,1]", 1, params);
    is_call(fd, "verbosetx", "[\"" TXID "\",\"xyz\"]", 1, params);
    is_int(fake_requests(f), 0, "the node was not asked");
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

/* The methods of the setting and no others. */
static void
test_passthrough(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();
    const char *no = "{\"code\":1,\"message\":\"the indexer does not pass "
                     "this method on\"}";

    is_call(fd, "passthrough", "[\"getmempoolinfo\",null]", 0,
            "{\"mempoolminfee\":0.00001,\"total_fee\":0.0}");
    is_call(fd, "passthrough", "[\"getmempoolinfo\"]", 0,
            "{\"mempoolminfee\":0.00001,\"total_fee\":0.0}");
    is_call(fd, "passthrough", "[\"getblockcount\",[1,{\"a\":[]}]]", 1,
            "{\"code\":2,\"message\":\"too many\"}");
    ok(node_saw("getblockcount [1,{\"a\":[]}]"), "with its parameters");
    is_int(node_count("\n"), 3, "three were asked");
    is_call(fd, "passthrough", "[\"getblock\",[]]", 1, no);
    is_call(fd, "passthrough", "[\"get\",[]]", 1, no);
    is_call(fd, "passthrough", "[\"\",[]]", 1, no);
    is_call(fd, "passthrough", "[\"stop\",[]]", 1, no);
    is_call(fd, "passthrough", "[\"getblockcount\",5]", 1,
            "{\"code\":-32602,\"message\":\"wrong parameters\"}");
    is_call(fd, "passthrough", "[5]", 1,
            "{\"code\":-32602,\"message\":\"wrong parameters\"}");
    is_int(node_count("\n"), 3, "the node was not asked");
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_pass_list(void)
{
    ok(bell_pass_allowed("read", "getblock"), "read: getblock");
    ok(!bell_pass_allowed("read", "dumpprivkey"), "read: no keys");
    ok(!bell_pass_allowed("read", "sendtoaddress"), "read: no sending");
    ok(!bell_pass_allowed("read", "all"), "read: no other word");
    ok(bell_pass_allowed("all", "sendtoaddress"), "all: anything");
    ok(!bell_pass_allowed("all", "stop"), "all: but not stop");
    ok(!bell_pass_allowed("none", "getblock"), "none: nothing");
    ok(!bell_pass_allowed("", "getblock"), "empty: nothing");
    ok(!bell_pass_allowed(NULL, "getblock"), "not given: nothing");
    ok(bell_pass_allowed("a,stop, b", "b"), "a list: the last");
    ok(bell_pass_allowed("a,stop, b", "a"), "a list: the first");
    ok(!bell_pass_allowed("a,stop, b", "stop"), "a list: never stop");
    ok(!bell_pass_allowed("ab", "a"), "a list: whole words");
}

static void
test_node_away(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();

    node_set(-28, 0, false);
    is_call(fd, "mempoolinfo", "[]", 1,
            "{\"code\":2,\"message\":\"the node is still starting: "
            "Loading\"}");
    node_set(0, 401, false);
    is_call(fd, "mempoolinfo", "[]", 1,
            "{\"code\":2,\"message\":\"the indexer has no access to the "
            "node\"}");
    node_set(0, 200, false);
    is_call(fd, "mempoolinfo", "[]", 1,
            "{\"code\":2,\"message\":\"the node's answer makes no sense\"}");
    fake_stop(f);
    is_call(fd, "broadcast", "[\"beef\"]", 1,
            "{\"code\":2,\"message\":\"the node is not reachable\"}");
    close(fd);
    bell_stop(b);
}

static void
test_deadline(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 300);
    int fd = worker();
    int64_t begin = now_ms();

    put_call(fd, 1, "broadcast", "[\"hang\"]");
    put_call(fd, 2, "mempoolinfo", "[]");
    is_reply(fd, 1, 1,
             "{\"code\":2,\"message\":\"the node did not answer in time\"}",
             "under way");
    is_reply(fd, 2, 1,
             "{\"code\":2,\"message\":\"the node did not answer in time\"}",
             "waiting");
    ok(now_ms() - begin >= 300 && now_ms() - begin < 3000, "took %d ms",
       (int) (now_ms() - begin));
    fake_release(f, true);
    is_call(fd, "estimatefee", "[6]", 0, "0.00001");
    ok(!node_count("getmempoolinfo"), "the one that waited was not asked");
    fake_release(f, false);
    put_call(fd, 3, "broadcast", "[\"hang\"]");
    fake_wait_hanging(f, 1);
    begin = now_ms();
    bell_stop(b);
    ok(now_ms() - begin < 1000, "stops at once: %d ms",
       (int) (now_ms() - begin));
    close(fd);
    fake_stop(f);
}

static void
test_busy(void)
{
    static const char busy[] = "{\"code\":-102,\"message\":\"server busy\"}";
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 0);
    int fds[5];
    unsigned replies = 0;

    node_set(0, 0, true);
    for (int w = 0; w < 5; w++) {
        fds[w] = worker();
        for (uint64_t i = 0; i < 256 && w < 4; i++) {
            put_call(fds[w], i, "mempoolinfo", "[]");
        }
    }
    put_call(fds[0], 999, "mempoolinfo", "[]");
    is_reply(fds[0], 999, 1, busy, "257th of a worker");
    fake_wait_hanging(f, 1);
    for (int w = 0; w < 4; w++) { /* a reply shows that all before was read */
        put_call(fds[w], 999, "mempoolinfo", "[]");
        is_reply(fds[w], 999, 1, busy, "all are in");
    }
    put_call(fds[4], 1, "mempoolinfo", "[]"); /* 1 under way, 1,023 wait */
    put_call(fds[4], 2, "mempoolinfo", "[]");
    is_reply(fds[4], 2, 1, busy, "1,025th that waits");
    node_set(0, 0, false);
    fake_release(f, true);
    is_reply(fds[4], 1, 0, "{\"mempoolminfee\":0.00001,\"total_fee\":0.0}",
             "the one before it");
    for (int w = 0; w < 4; w++) {
        uint8_t *body;
        size_t len;

        for (int i = 0; i < 256; i++) {
            replies += get_frame(fds[w], &body, &len) == 'R' && body[8] == 0;
            free(body);
        }
    }
    is_int(replies, 1024, "all others are answered");
    for (int w = 0; w < 5; w++) {
        close(fds[w]);
    }
    bell_stop(b);
    fake_stop(f);
}

static void
test_unread(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker(), other = worker();
    uint8_t *body;
    size_t len;
    unsigned replies = 0;

    ok(wait_workers(b, 2), "two workers");
    for (uint64_t i = 0; i < 40; i++) {
        put_call(fd, i, "networkinfo", "[]");
    }
    ok(wait_workers(b, 1), "the one that does not read is dropped");
    while (get_frame(fd, &body, &len) == 'R') {
        replies++;
        free(body);
    }
    free(body);
    ok(replies < 30, "%u of 40 MB", replies);
    put_call(other, 1, "networkinfo", "[]");
    ok(get_frame(other, &body, &len) == 'R' && len == ((1u << 20) + 11),
       "the other is served");
    free(body);
    close(fd);
    close(other);
    bell_stop(b);
    fake_stop(f);
}

/* What a worker gone leaves behind: only broadcasts are still carried out. */
static void
test_gone(void)
{
    const struct timespec pause = { 0, 2000000 };
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 0);
    int fd = worker(), other = worker();

    put_call(fd, 1, "broadcast", "[\"hang\"]");
    put_call(fd, 2, "mempoolinfo", "[]");
    put_call(fd, 3, "broadcast", "[\"beef\"]");
    fake_wait_hanging(f, 1);
    ok(wait_workers(b, 2), "two workers");
    close(fd);
    ok(wait_workers(b, 1), "one is gone");
    fake_release(f, true);
    is_call(other, "estimatefee", "[6]", 0, "0.00001");
    for (int i = 0; i < 1000 && !node_count("[\"beef\"]"); i++) {
        nanosleep(&pause, NULL);
    }
    ok(node_saw("sendrawtransaction [\"beef\"]"), "the broadcast went out");
    is_int(node_count("getmempoolinfo"), 0, "the question did not");
    close(other);
    bell_stop(b);
    fake_stop(f);
}

static void
test_malformed(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int good = worker(), fd;
    char hello[13] = "\x09\0\0\0H\x01\0\0\0\x05\0\0\0";

    ok(wait_workers(b, 1), "a good one");
    fd = dial();
    fake_send(fd, "\0\0\0\0", 4);
    ok(hung_up(fd), "empty frame");
    close(fd);
    fd = dial();
    fake_send(fd, "\x01\0\0\x01", 4);
    ok(hung_up(fd), "frame of 16 MB and a byte");
    close(fd);
    fd = dial();
    put_hello(fd, 2);
    ok(hung_up(fd), "another protocol");
    close(fd);
    fd = dial();
    put_frame(fd, 'H', "abc", 3);
    ok(hung_up(fd), "short hello");
    close(fd);
    fd = dial();
    put_call(fd, 1, "mempoolinfo", "[]");
    ok(hung_up(fd), "call before hello");
    close(fd);
    fd = worker();
    put_hello(fd, 1);
    ok(hung_up(fd), "hello twice");
    close(fd);
    fd = worker();
    put_frame(fd, 'C', "12345678\x20name", 13);
    ok(hung_up(fd), "name longer than the frame");
    close(fd);
    fd = worker();
    put_frame(fd, 'X', "", 0);
    ok(hung_up(fd), "unknown type");
    close(fd);
    fd = dial();
    for (size_t i = 0; i < sizeof(hello); i++) {
        fake_send(fd, hello + i, 1);
    }
    ok(wait_workers(b, 2), "byte by byte");
    is_call(fd, "estimatefee", "[6]", 0, "0.00001");
    is_call(good, "estimatefee", "[6]", 0, "0.00001");
    close(fd);
    close(good);
    bell_stop(b);
    fake_stop(f);
}

int
main(void)
{
    if (mkdtemp(dir) == NULL || !log_set_level("error")) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/socket", dir);
    subtest("socket", test_socket);
    subtest("refused", test_refused);
    subtest("state and bell", test_news);
    subtest("joined bells", test_joined);
    subtest("calls", test_calls);
    subtest("rawtx", test_rawtx);
    subtest("fees", test_fees);
    subtest("bad calls", test_bad_calls);
    subtest("passthrough", test_passthrough);
    subtest("what passthrough allows", test_pass_list);
    subtest("node away", test_node_away);
    subtest("deadline", test_deadline);
    subtest("busy", test_busy);
    subtest("worker that does not read", test_unread);
    subtest("worker gone", test_gone);
    subtest("malformed frames", test_malformed);
    rmdir(dir);
    return done_testing();
}
