/*
 * rpc_json.h: numbers come out as the node wrote them, or shorter, and are
 * still the same number.
 */
#include "rpc_json.h"

#include <math.h>
#include <stdlib.h>

#include "rnd.h"
#include "tap.h"

static void
is_real(double v, const char *want)
{
    char text[RPC_JSON_REAL_MAX];
    size_t len = rpc_json_real(text, v);

    is_str(text, want, "%.17g", v);
    is_int(len, strlen(want), "length");
}

static void
test_reals(void)
{
    is_real(0.0001, "0.0001");
    is_real(0.00001, "0.00001");
    is_real(0.00000001, "0.00000001");
    is_real(-0.00000001, "-0.00000001");
    is_real(0.0, "0.0");
    is_real(1.0, "1.0");
    is_real(0.1, "0.1");
    is_real(9.95, "9.95");
    is_real(1.10, "1.1");
    is_real(0.1 + 0.2, "0.30000000000000004");
    is_real(20999999.9769, "20999999.9769");
    is_real(21000000.00000001, "21000000.00000001");
    is_real(20999999.99999999, "20999999.99999999");
    is_real(67108863.99999999, "67108863.99999999");
    is_real(84000000.5, "84000000.5");
    is_real(0.999998123456789, "0.999998123456789");
    is_real(1e22, "1e+22");
    is_real(123456789012.0, "123456789012.0");
    is_real(4.656542373906925e-10, "4.656542373906925e-10");
    is_real(126411437451912.23, "126411437451912.23");
    is_real(5e-324, "4.94065645841247e-324");
}

/* Every amount, written with 8 decimals as the node does, read and written. */
static void
test_amounts(void)
{
    for (int i = 0; i < 300000; i++) {
        long long sat = (long long) (rnd()
                                     % (i % 3 == 0   ? 2100000000000001ull
                                        : i % 3 == 1 ? 100000000ull
                                                     : 6710886400000000ull));
        char node[64], text[RPC_JSON_REAL_MAX], *p;
        double v;

        snprintf(node, sizeof(node), "%lld.%08lld", sat / 100000000,
                 sat % 100000000);
        v = strtod(node, NULL);
        rpc_json_real(text, v);
        for (p = node + strlen(node); p[-1] == '0' && p[-2] != '.'; p--) {
            p[-1] = '\0';
        }
        each(strcmp(text, node) == 0, "%s, not %s", text, node);
    }
    each_done("amounts come back, without zeros at the end");
}

static void
test_any_double(void)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = rnd();
        char text[RPC_JSON_REAL_MAX];
        double v;
        json_t *j;

        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v)) {
            continue;
        }
        each(rpc_json_real(text, v) < sizeof(text) - 8, "length of %s", text);
        j = json_loads(text, JSON_DECODE_ANY, NULL);
        each(json_is_real(j) && json_real_value(j) == v, "%.17g: %s", v, text);
        json_decref(j);
    }
    each_done("any double comes back as the same double");
}

static void
is_text(const char *in, const char *want)
{
    struct rpc_buf out = { NULL, 0, 0 };
    json_t *v = json_loads(in, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    is_int(rpc_json_text(&out, v), EXI_OK, "written");
    ok(rpc_buf_add(&out, "", 1) == EXI_OK, "terminated");
    is_str((char *) out.data, want, "%s", in);
    json_decref(v);
    rpc_buf_free(&out);
}

static void
test_text(void)
{
    is_text("[]", "[]");
    is_text("{}", "{}");
    is_text(" { \"z\" : 1 , \"a\" : [ 0.00010000 , { } , [ ] ] } ",
            "{\"z\":1,\"a\":[0.0001,{},[]]}");
    is_text("[true,false,null,-5,9223372036854775807]",
            "[true,false,null,-5,9223372036854775807]");
    is_text("{\"a\\\"b\\n\":\"c\\\\\\u0001\\u00e4\"}",
            "{\"a\\\"b\\n\":\"c\\\\\\u0001\xc3\xa4\"}");
    is_text("\"x\"", "\"x\"");
    is_text("1.00000000", "1.0");
    is_text("{\"vout\":[{\"value\":0.00001000,\"n\":0},"
            "{\"value\":12.50000000,\"n\":1}]}",
            "{\"vout\":[{\"value\":0.00001,\"n\":0},"
            "{\"value\":12.5,\"n\":1}]}");
}

static void
test_error(void)
{
    struct rpc_buf out = { NULL, 0, 0 };

    is_int(rpc_json_error(&out, -26, "bad \"x\"\n"), EXI_OK, "error");
    ok(rpc_buf_add(&out, "", 1) == EXI_OK, "terminated");
    is_str((char *) out.data, "{\"code\":-26,\"message\":\"bad \\\"x\\\"\\n\"}",
           "its text");
    out.len = 0;
    is_int(rpc_json_text(&out, NULL), EXI_ENOMEM, "no value");
    rpc_buf_free(&out);
}

int
main(void)
{
    rnd_init();
    subtest("reals", test_reals);
    subtest("amounts", test_amounts);
    subtest("any double", test_any_double);
    subtest("text", test_text);
    subtest("error", test_error);
    return done_testing();
}
