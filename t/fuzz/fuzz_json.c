/*
 * Fuzz target: ngx_electrumx_json_parse, then the arguments and the version
 * of what was read.  What is accepted must be whole: each value's text is
 * accepted by itself with as many slots, and jansson accepts it too; what
 * jansson accepts is accepted.
 */
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

#include "ngx_electrumx_args.h"

#define SLOTS    4096
#define TEXT_MAX 65536

static ngx_electrumx_json_t v[SLOTS];
static ngx_electrumx_json_t part[SLOTS];

static void
check_parts(ngx_int_t n)
{
    FUZZ_ASSERT(n <= SLOTS && v[0].skip == (uint32_t) n);
    for (ngx_int_t i = 0; i < n && i < 64; i++) {
        ngx_str_t raw;

        FUZZ_ASSERT(v[i].skip >= 1 && i + (ngx_int_t) v[i].skip <= n);
        ngx_electrumx_json_raw(&v[i], &raw);
        FUZZ_ASSERT(ngx_electrumx_json_parse(part, SLOTS, raw.data, raw.len)
                    == (ngx_int_t) v[i].skip);
        FUZZ_ASSERT(part[0].type == v[i].type && part[0].n == v[i].n);
    }
}

static void
check_jansson(const uint8_t *buf, size_t buflen, ngx_int_t n)
{
    json_error_t e;
    json_t *j = json_loadb((const char *) buf, buflen, JSON_DECODE_ANY, &e);

    if (j == NULL) {
        FUZZ_ASSERT(n < 0
                    || json_error_code(&e) == json_error_numeric_overflow);
    } else if (memchr(buf, '\0', buflen) == NULL) { /* jansson stops there */
        FUZZ_ASSERT(n != NGX_ELECTRUMX_JSON_INVALID);
    }
    json_decref(j);
}

static void
check_args(void)
{
    static const ngx_electrumx_param_t param[] = {
        { "height", NGX_ELECTRUMX_ARG_UINT, 1, 0, NULL },
        { "mode", NGX_ELECTRUMX_ARG_ANY, 1, 0, NULL },
        { "hash", NGX_ELECTRUMX_ARG_HASH, 1, 0, NULL },
        { "raw", NGX_ELECTRUMX_ARG_HEXES, 1, 0, NULL },
        { NULL, NGX_ELECTRUMX_ARG_ANY, 0, 0, NULL },
    };
    ngx_electrumx_arg_t args[NGX_ELECTRUMX_MAX_ARGS];
    char why[80] = "";
    ngx_uint_t version;
    ngx_str_t spelling;

    if (ngx_electrumx_args(param, v, 0, args, why, sizeof(why)) != NGX_OK) {
        FUZZ_ASSERT(why[0] != '\0' && memchr(why, '\0', sizeof(why)) != NULL);
    }
    if (ngx_electrumx_version_choose(v, 10400, 10600, &version, &spelling)
        == NGX_OK) {
        FUZZ_ASSERT(version >= 10400 && version <= 10600);
    }
}

/* Strings that were decoded are decoded: a second time changes nothing. */
static void
check_strings(ngx_int_t n)
{
    for (ngx_int_t i = 0; i < n; i++) {
        uint32_t len = v[i].len;

        if (v[i].type == NGX_ELECTRUMX_JSON_STRING) {
            ngx_electrumx_json_unescape(&v[i]);
            FUZZ_ASSERT(v[i].plain && v[i].len <= len);
            len = v[i].len;
            ngx_electrumx_json_unescape(&v[i]);
            FUZZ_ASSERT(v[i].len == len);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    u_char *text;
    ngx_int_t n;

    if (buflen > TEXT_MAX) {
        return 0;
    }
    text = malloc(buflen + !buflen);
    FUZZ_ASSERT(text != NULL);
    memcpy(text, buf, buflen);
    n = ngx_electrumx_json_parse(v, SLOTS, text, buflen);
    check_jansson(buf, buflen, n);
    if (n > 0) {
        check_parts(n);
        check_args();
        check_strings(n);
    }
    free(text);
    return 0;
}
