/*
 * rpc_hex.c: an answer in any pieces is decoded, or given back as the text it
 * was; rpc_call_hex() against scripted daemons.
 */
#include "rpc_int.h"

#include "exi_hex.h"
#include "fakehttp.h"
#include "rnd.h"
#include "tap.h"

#define DIGITS    "0123456789abcdefABCDEF"
#define GOOD_TAIL "\",\"error\":null,\"id\":1}\n"

/* Feeds a text in random pieces; true: decoded. */
static bool
feed(struct rpc_buf *out, const char *text, size_t len)
{
    struct rpc_hex h;
    bool decoded = false;
    int rc = EXI_OK;

    rpc_hex_begin(&h, out);
    for (size_t i = 0; rc == EXI_OK && i < len;) {
        size_t n = 1 + (size_t) rnd_below(rnd_below(4) == 0 ? len : 5);

        n = n < len - i ? n : len - i;
        rc = rpc_hex_data(&h, out, text + i, n);
        i += n;
    }
    if (rc == EXI_OK) {
        rc = rpc_hex_end(&h, out, &decoded);
    }
    each(rc == EXI_OK, "%d for %.60s", rc, text);
    return decoded;
}

static bool
same(const struct rpc_buf *b, const void *p, size_t n)
{
    return b->len == n && (n == 0 || memcmp(b->data, p, n) == 0);
}

/* {"result":"<digits of n random bytes>` + tail; *bytes: those bytes. */
static size_t
compose(char *text, uint8_t *bytes, size_t n, const char *tail)
{
    size_t len = (size_t) sprintf(text, "{\"result\":\"");

    rnd_fill(bytes, n);
    exi_hex(text + len, bytes, n);
    len += 2 * n;
    return len + (size_t) sprintf(text + len, "%s", tail);
}

static void
test_decoded(void)
{
    struct rpc_buf out = { NULL, 0, 0 };
    uint8_t bytes[300];
    char text[800];

    for (int i = 0; i < 2000; i++) {
        size_t n = (size_t) rnd_below(sizeof(bytes) + 1);
        size_t len = compose(text, bytes, n, GOOD_TAIL);

        if (i % 3 == 0) {
            for (size_t k = 11; k < 11 + 2 * n; k++) {
                text[k] -= text[k] >= 'a' ? 32 : 0;
            }
        }
        each(feed(&out, text, len), "%zu bytes are decoded", n);
        each(same(&out, bytes, n), "%zu bytes", n);
    }
    each_done("what a node sends");
    rpc_buf_free(&out);
}

/* Anything else comes out as it was. */
static void
test_text(void)
{
    static const char *const odd[] = {
        "",
        "{",
        "{\"result\":",
        "{\"result\":\"",
        "{\"result\":\"0",
        "{\"result\":\"00",
        "{\"result\":\"0\",\"error\":null,\"id\":1}",
        "{\"result\":\"000\",\"error\":null,\"id\":1}",
        "{\"result\":\"00\"",
        "{\"result\":\"00\",\"error\":null,",
        "{\"result\":\"00\",\"error\":null",
        "{\"result\":\"00\",\"error\":{\"code\":-5,\"message\":\"x\"},\"id\":"
        "1}",
        "{\"result\":\"0\\u0030\",\"error\":null,\"id\":1}",
        "{\"result\":\"00g0\",\"error\":null,\"id\":1}",
        "{\"result\":\"00\",\"id\":1,\"error\":null}",
        "{\"result\":\"00\" ,\"error\":null,\"id\":1}",
        "{ \"result\":\"00\",\"error\":null,\"id\":1}",
        "{\"result\":null,\"error\":{\"code\":-8,\"message\":\"no\"},\"id\":1}",
        "{\"jsonrpc\":\"2.0\",\"result\":\"00\",\"id\":1}",
        "[{\"result\":\"00\",\"error\":null,\"id\":1}]",
        "Work queue depth exceeded",
        "{\"result\":\"00\",\"error\":null,\"id\":\"a long one: "
        "0123456789012345678901234567890123456789012345678901234567890123\"}"
    };
    struct rpc_buf out = { NULL, 0, 0 };
    uint8_t bytes[300];
    char text[800];

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        for (int k = 0; k < 50; k++) {
            each(!feed(&out, odd[i], strlen(odd[i])), "text: %s", odd[i]);
            each(same(&out, odd[i], strlen(odd[i])), "as it was: %s", odd[i]);
        }
    }
    each_done("something else");
    for (int i = 0; i < 3000; i++) {
        size_t len =
            compose(text, bytes, (size_t) rnd_below(sizeof(bytes)), GOOD_TAIL);
        size_t at = (size_t) rnd_below(len);

        text[at] = (char) rnd_below(256);
        if (!feed(&out, text, len)) {
            each(same(&out, text, len), "byte %zu", at);
        } else {
            each((at >= 11 && at < len - 22 && text[at] != 0
                  && strchr(DIGITS, text[at]))
                     || text[len - 1] == '\r' || text[len - 1] == '\n',
                 "decoded though byte %zu is %02x", at, text[at] & 0xff);
        }
    }
    each_done("one byte changed");
    rpc_buf_free(&out);
}

/* ---- over HTTP ---- */

static struct {
    const char *name;
    int status;
    const char *body;
    int want;
    const char *bytes; /* hex */
} const answers[] = {
    { "as a node answers", 200, "{\"result\":\"00ff7f" GOOD_TAIL, EXI_OK,
      "00ff7f" },
    { "other order", 200, "{\"id\":1,\"error\":null,\"result\":\"0102\"}",
      EXI_OK, "0102" },
    { "JSON-RPC 2.0", 200, "{\"jsonrpc\":\"2.0\",\"result\":\"0102\",\"id\":1}",
      EXI_OK, "0102" },
    { "escapes", 200, "{\"result\":\"a\\u0062\",\"error\":null,\"id\":1}",
      EXI_OK, "ab" },
    { "nothing", 200, "{\"result\":\"" GOOD_TAIL, EXI_OK, "" },
    { "odd", 200, "{\"result\":\"abc" GOOD_TAIL, EXI_EFORMAT, "" },
    { "no digit", 200, "{\"result\":\"abcx" GOOD_TAIL, EXI_EFORMAT, "" },
    { "a number", 200, "{\"result\":7,\"error\":null,\"id\":1}", EXI_EFORMAT,
      "" },
    { "cut", 200, "{\"result\":\"abcd", EXI_EFORMAT, "" },
    { "garbage behind", 200, "{\"result\":\"abcd\",\"error\":null,}",
      EXI_EFORMAT, "" },
    { "the node's error", 500,
      "{\"result\":null,\"error\":{\"code\":-5,\"message\":\"gone\"},\"id\":1}",
      EXI_ENODE, "" },
    { "an error with a result", 500,
      "{\"result\":\"abcd\",\"error\":{\"code\":-5,\"message\":\"gone\"}}",
      EXI_ENODE, "" },
    { "busy", 503, "Work queue depth exceeded", EXI_ENET, "" },
};

static bool
answer(struct fake *f, int fd, const struct fake_request *q)
{
    size_t i = *(size_t *) f->ctx;

    (void) q;
    fake_http(fd, answers[i].status, "", answers[i].body);
    return true;
}

static void
test_http(void)
{
    struct rpc_buf out = { NULL, 0, 0 };
    size_t i = 0;
    struct fake *f = fake_start(answer, &i);
    char urls[64], why[512], hex[64];
    struct rpc_opts o = { .urls = urls, .timeout_ms = 5000 };
    struct rpc *r = NULL;

    snprintf(urls, sizeof(urls), "http://127.0.0.1:%u", f->port);
    is_int(rpc_new(&r, &o, why, sizeof(why)), EXI_OK, "handle");
    for (; i < sizeof(answers) / sizeof(answers[0]); i++) {
        int rc = rpc_call_hex(r, "getblock", json_pack("[s,i]", "00", 0), &out);

        is_int(rc, answers[i].want, "%s", answers[i].name);
        if (rc == EXI_OK) {
            exi_hex(hex, out.data, out.len);
            hex[2 * out.len] = '\0';
            is_str(hex, answers[i].bytes, "%s: bytes", answers[i].name);
        }
    }
    rpc_free(r);
    fake_stop(f);
    rpc_buf_free(&out);
}

int
main(void)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    rnd_init();
    subtest("decoded", test_decoded);
    subtest("text", test_text);
    subtest("over HTTP", test_http);
    return done_testing();
}
