/*
 * bell_calls.c, bell_pass.c: what each call asks of the node and answers, over
 * the socket.
 */
#include "bellrun.h"

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
all(void)
{
    subtest("calls", test_calls);
    subtest("rawtx", test_rawtx);
    subtest("fees", test_fees);
    subtest("bad calls", test_bad_calls);
    subtest("passthrough", test_passthrough);
    subtest("what passthrough allows", test_pass_list);
    subtest("node away", test_node_away);
}

int
main(void)
{
    return bell_main(all);
}
