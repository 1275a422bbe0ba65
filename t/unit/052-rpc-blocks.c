/*
 * rpc.h against scripted daemons: batches, REST, blocks, and the questions of
 * rpc_node.c.
 */
#include "rpcrun.h"

static char last_body[4096];

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

int
main(void)
{
    rpc_no_proxy();
    subtest("batch", test_batch);
    subtest("REST", test_rest);
    subtest("block", test_block);
    subtest("huge answer", test_huge);
    subtest("questions", test_questions);
    return done_testing();
}
