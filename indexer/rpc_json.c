/*
 * JSON text of jansson values.
 *
 * A decimal of at most 8 places below 2^26 is n / 10^8 with n < 2^53, and the
 * division of these two exact doubles is rounded as strtod() rounds the text;
 * so n / 1e8 == v proves that the n found by rounding is the number that the
 * node wrote: neighbouring amounts are different doubles there.  (Above, they
 * are not, and the last place was lost when jansson read it.)
 */
#include "rpc_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAT_PER_COIN 100000000LL
#define AMOUNT_MAX   67108864.0 /* 2^26 */

static size_t
rpc_json_amount(char *out, long long n)
{
    unsigned long long u =
        n < 0 ? 0 - (unsigned long long) n : (unsigned long long) n;
    int len = snprintf(out, RPC_JSON_REAL_MAX, "%s%llu.%08llu",
                       n < 0 ? "-" : "", u / SAT_PER_COIN, u % SAT_PER_COIN);

    while (out[len - 1] == '0' && out[len - 2] != '.') {
        len--;
    }
    out[len] = '\0';
    return (size_t) len;
}

size_t
rpc_json_real(char out[RPC_JSON_REAL_MAX], double v)
{
    if (fabs(v) < AMOUNT_MAX) {
        long long n = llround(v * (double) SAT_PER_COIN);

        if ((double) n / (double) SAT_PER_COIN == v) {
            return rpc_json_amount(out, n);
        }
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, RPC_JSON_REAL_MAX, "%.*g", digits, v);
        if (strtod(out, NULL) == v) {
            break;
        }
    }
    if (strpbrk(out, ".e") == NULL) {
        strcat(out, ".0");
    }
    return strlen(out);
}

static int
rpc_json_append(const char *buf, size_t len, void *ctx)
{
    return rpc_buf_add((struct rpc_buf *) ctx, buf, len) == EXI_OK ? 0 : -1;
}

static int
rpc_json_leaf(struct rpc_buf *out, const json_t *v)
{
    char text[RPC_JSON_REAL_MAX];

    if (json_is_real(v)) {
        return rpc_buf_add(out, text, rpc_json_real(text, json_real_value(v)));
    }
    return json_dump_callback(v, rpc_json_append, out,
                              JSON_COMPACT | JSON_ENCODE_ANY)
                   == 0
               ? EXI_OK
               : EXI_ENOMEM;
}

static int
rpc_json_array(struct rpc_buf *out, const json_t *v)
{
    size_t n = json_array_size(v);
    int rc = rpc_buf_add(out, "[", 1);

    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        rc = i > 0 ? rpc_buf_add(out, ",", 1) : EXI_OK;
        if (rc == EXI_OK) {
            rc = rpc_json_text(out, json_array_get(v, i));
        }
    }
    return rc == EXI_OK ? rpc_buf_add(out, "]", 1) : rc;
}

static int
rpc_json_key(struct rpc_buf *out, const char *key, bool first)
{
    json_t *s = json_string(key);
    int rc = s == NULL ? EXI_ENOMEM : EXI_OK;

    if (rc == EXI_OK && !first) {
        rc = rpc_buf_add(out, ",", 1);
    }
    if (rc == EXI_OK) {
        rc = rpc_json_leaf(out, s);
    }
    json_decref(s);
    return rc == EXI_OK ? rpc_buf_add(out, ":", 1) : rc;
}

static int
rpc_json_object(struct rpc_buf *out, const json_t *v)
{
    json_t *object =
        (json_t *) (uintptr_t) v; /* jansson's iterator: no const */
    const char *key;
    json_t *value;
    bool first = true;
    int rc = rpc_buf_add(out, "{", 1);

    json_object_foreach(object, key, value)
    {
        if (rc == EXI_OK) {
            rc = rpc_json_key(out, key, first);
        }
        if (rc == EXI_OK) {
            rc = rpc_json_text(out, value);
        }
        if (rc != EXI_OK) {
            return rc;
        }
        first = false;
    }
    return rc == EXI_OK ? rpc_buf_add(out, "}", 1) : rc;
}

int
rpc_json_text(struct rpc_buf *out, const json_t *v)
{
    if (json_is_object(v)) {
        return rpc_json_object(out, v);
    }
    if (json_is_array(v)) {
        return rpc_json_array(out, v);
    }
    return v != NULL ? rpc_json_leaf(out, v) : EXI_ENOMEM;
}

int
rpc_json_error(struct rpc_buf *out, int code, const char *message)
{
    json_t *error = json_object();
    int rc = EXI_ENOMEM;

    if (json_object_set_new(error, "code", json_integer(code)) == 0
        && json_object_set_new(error, "message", json_string(message)) == 0) {
        rc = rpc_json_text(out, error);
    }
    json_decref(error);
    return rc;
}
