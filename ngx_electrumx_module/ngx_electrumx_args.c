/*
 * Arguments and versions; see the header.
 */

#include "ngx_electrumx_args.h"
#include "exi_hex.h"
#include "exi_script.h"

#include <stdio.h>


static ngx_int_t ngx_electrumx_args_list(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen);
static ngx_int_t ngx_electrumx_args_named(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen);
static ngx_uint_t ngx_electrumx_arg_optional(
    const ngx_electrumx_param_t *param, ngx_uint_t flags);
static ngx_uint_t ngx_electrumx_arg_known(const ngx_electrumx_param_t *param,
    ngx_uint_t flags);
static const char *ngx_electrumx_arg(ngx_electrumx_arg_type_e type,
    ngx_electrumx_json_t *v, ngx_electrumx_arg_t *arg);
static ngx_uint_t ngx_electrumx_arg_named(ngx_electrumx_json_t *v,
    const ngx_electrumx_param_t *param);
static const char *ngx_electrumx_arg_script(ngx_electrumx_json_t *v,
    ngx_electrumx_arg_t *arg);
static const char *ngx_electrumx_arg_uint(ngx_electrumx_json_t *v,
    ngx_electrumx_arg_t *arg);
static const char *ngx_electrumx_arg_bool(ngx_electrumx_json_t *v,
    ngx_electrumx_arg_t *arg);
static const char *ngx_electrumx_arg_hexes(ngx_electrumx_json_t *v);
static ngx_uint_t ngx_electrumx_arg_is_hex(ngx_electrumx_json_t *v);


ngx_int_t
ngx_electrumx_args(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen)
{
    ngx_int_t    rc;
    ngx_uint_t   i, optional;
    const char  *wrong;

    for (i = 0; param[i].name; i++) {
        args[i].value = NULL;
        args[i].num = param[i].value;
        args[i].str.len = 0;
        args[i].str.data = NULL;
    }

    if (params && params->type == NGX_ELECTRUMX_JSON_ARRAY) {
        rc = ngx_electrumx_args_list(param, params, flags, args, why, whylen);

    } else if (params && params->type == NGX_ELECTRUMX_JSON_OBJECT) {
        rc = ngx_electrumx_args_named(param, params, flags, args, why, whylen);

    } else {
        rc = NGX_OK;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; param[i].name; i++) {

        optional = ngx_electrumx_arg_optional(&param[i], flags);

        if (args[i].value == NULL
            || (optional && args[i].value->type == NGX_ELECTRUMX_JSON_NULL))
        {
            args[i].value = NULL;

            if (optional) {
                continue;
            }

            (void) snprintf(why, whylen, "%s: missing argument",
                            param[i].name);
            return NGX_DECLINED;
        }

        wrong = ngx_electrumx_arg(param[i].type, args[i].value, &args[i]);

        if (wrong) {
            (void) snprintf(why, whylen, "%s: %s", param[i].name, wrong);
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_electrumx_arg_optional(const ngx_electrumx_param_t *param,
    ngx_uint_t flags)
{
    switch (param->need) {

    case NGX_ELECTRUMX_REQUIRED:
        return 0;

    case NGX_ELECTRUMX_LENIENT:
        return !(flags & NGX_ELECTRUMX_ARGS_STRICT);

    case NGX_ELECTRUMX_OPTIONAL:
    case NGX_ELECTRUMX_ADDED:
        return 1;
    }

    return 0;
}


/* Whether there is such a parameter: those added stand behind all others. */

static ngx_uint_t
ngx_electrumx_arg_known(const ngx_electrumx_param_t *param, ngx_uint_t flags)
{
    return param->name && !(param->need == NGX_ELECTRUMX_ADDED
                            && (flags & NGX_ELECTRUMX_ARGS_STRICT));
}


static ngx_int_t
ngx_electrumx_args_list(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen)
{
    uint32_t               i;
    ngx_electrumx_json_t  *v;

    v = params + 1;

    for (i = 0; i < params->n; i++) {

        if (!ngx_electrumx_arg_known(&param[i], flags)) {

            if (flags & NGX_ELECTRUMX_ARGS_EXTRA) {
                return NGX_OK;
            }

            (void) snprintf(why, whylen,
                            "too many arguments: %u given, at most %u taken",
                            (unsigned) params->n, (unsigned) i);
            return NGX_DECLINED;
        }

        args[i].value = v;
        v += v->skip;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_args_named(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen)
{
    int                    len;
    uint32_t               i;
    ngx_uint_t             k;
    ngx_electrumx_json_t  *v;

    v = params + 1;

    for (i = 0; i < params->n; i++) {

        for (k = 0; ngx_electrumx_arg_known(&param[k], flags); k++) {
            if (ngx_electrumx_arg_named(v, &param[k])) {
                args[k].value = v + 1;
                break;
            }
        }

        if (!ngx_electrumx_arg_known(&param[k], flags)
            && !(flags & NGX_ELECTRUMX_ARGS_EXTRA))
        {
            len = (v->len < 64) ? (int) v->len : 64;
            (void) snprintf(why, whylen, "unknown argument: %.*s", len,
                            v->start);
            return NGX_DECLINED;
        }

        v++;
        v += v->skip;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_electrumx_arg_named(ngx_electrumx_json_t *v,
    const ngx_electrumx_param_t *param)
{
    return ngx_electrumx_json_is(v, param->name, ngx_strlen(param->name))
           || (param->alias
               && ngx_electrumx_json_is(v, param->alias,
                                        ngx_strlen(param->alias)));
}


/* Returns NULL or what was expected. */

static const char *
ngx_electrumx_arg(ngx_electrumx_arg_type_e type, ngx_electrumx_json_t *v,
    ngx_electrumx_arg_t *arg)
{
    if (v->type == NGX_ELECTRUMX_JSON_STRING) {
        ngx_electrumx_json_unescape(v);
        arg->str.data = v->start;
        arg->str.len = v->len;
    }

    switch (type) {

    case NGX_ELECTRUMX_ARG_HASH:
        if (v->type != NGX_ELECTRUMX_JSON_STRING
            || exi_unhex_display(arg->hash, (char *) v->start, v->len)
               != EXI_OK)
        {
            return "64 hex digits expected";
        }

        return NULL;

    case NGX_ELECTRUMX_ARG_SCRIPT:
        return ngx_electrumx_arg_script(v, arg);

    case NGX_ELECTRUMX_ARG_END:
        if (v->len == 2 && ngx_strncmp(v->start, "-1", 2) == 0
            && (v->type == NGX_ELECTRUMX_JSON_NUMBER
                || v->type == NGX_ELECTRUMX_JSON_STRING))
        {
            arg->num = UINT64_MAX;
            return NULL;
        }

        return ngx_electrumx_arg_uint(v, arg)
               ? "a non-negative integer or -1 expected" : NULL;

    case NGX_ELECTRUMX_ARG_UINT:
        return ngx_electrumx_arg_uint(v, arg);

    case NGX_ELECTRUMX_ARG_BOOL:
        return ngx_electrumx_arg_bool(v, arg);

    case NGX_ELECTRUMX_ARG_STRING:
        return (v->type == NGX_ELECTRUMX_JSON_STRING) ? NULL
                                                      : "a string expected";

    case NGX_ELECTRUMX_ARG_HEX:
        return ngx_electrumx_arg_is_hex(v) ? NULL : "hex digits expected";

    case NGX_ELECTRUMX_ARG_HEXES:
        return ngx_electrumx_arg_hexes(v);

    case NGX_ELECTRUMX_ARG_ANY:
        return NULL;
    }

    return "not supported";
}


/* Decoded in place: a byte is written where its two digits were read. */

static const char *
ngx_electrumx_arg_script(ngx_electrumx_json_t *v, ngx_electrumx_arg_t *arg)
{
    struct exi_shash  hash;

    if (v->type != NGX_ELECTRUMX_JSON_STRING
        || exi_unhex(v->start, (char *) v->start, v->len) != EXI_OK)
    {
        return "a script in hex digits expected";
    }

    v->len /= 2;
    arg->str.len = v->len;

    exi_script_hash(&hash, v->start, v->len);
    ngx_memcpy(arg->hash, hash.b, EXI_HASH_LEN);

    return NULL;
}


static const char *
ngx_electrumx_arg_uint(ngx_electrumx_json_t *v, ngx_electrumx_arg_t *arg)
{
    if ((v->type == NGX_ELECTRUMX_JSON_NUMBER
         || v->type == NGX_ELECTRUMX_JSON_STRING)
        && ngx_electrumx_json_uint(v->start, v->len, &arg->num) == NGX_OK)
    {
        return NULL;
    }

    return "a non-negative integer expected";
}


static const char *
ngx_electrumx_arg_bool(ngx_electrumx_json_t *v, ngx_electrumx_arg_t *arg)
{
    if (v->type == NGX_ELECTRUMX_JSON_TRUE) {
        arg->num = 1;
        return NULL;
    }

    if (v->type == NGX_ELECTRUMX_JSON_FALSE) {
        arg->num = 0;
        return NULL;
    }

    if (v->type == NGX_ELECTRUMX_JSON_NUMBER
        && ngx_electrumx_json_uint(v->start, v->len, &arg->num) == NGX_OK
        && arg->num <= 1)
    {
        return NULL;
    }

    return "true or false expected";
}


static const char *
ngx_electrumx_arg_hexes(ngx_electrumx_json_t *v)
{
    uint32_t  i, n;

    if (v->type != NGX_ELECTRUMX_JSON_ARRAY || v->n == 0) {
        return "a non-empty array of hex strings expected";
    }

    n = v->n;
    v++;

    for (i = 0; i < n; i++) {

        if (v->type == NGX_ELECTRUMX_JSON_STRING) {
            ngx_electrumx_json_unescape(v);
        }

        if (!ngx_electrumx_arg_is_hex(v)) {
            return "a non-empty array of hex strings expected";
        }

        v += v->skip;
    }

    return NULL;
}


static ngx_uint_t
ngx_electrumx_arg_is_hex(ngx_electrumx_json_t *v)
{
    u_char    c;
    uint32_t  i;

    if (v->type != NGX_ELECTRUMX_JSON_STRING || v->len == 0 || v->len % 2) {
        return 0;
    }

    for (i = 0; i < v->len; i++) {
        c = v->start[i];

        if (c >= '0' && c <= '9') {
            continue;
        }

        c = (u_char) (c | 0x20);

        if (c < 'a' || c > 'f') {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
ngx_electrumx_version_parse(const ngx_str_t *text, ngx_uint_t *version)
{
    size_t      i;
    ngx_uint_t  part[3], n, digits;

    ngx_memzero(part, sizeof(part));

    n = 0;
    digits = 0;

    for (i = 0; i < text->len; i++) {

        if (text->data[i] == '.') {

            if (digits == 0) {
                return NGX_DECLINED;
            }

            n++;
            digits = 0;
            continue;
        }

        if (text->data[i] < '0' || text->data[i] > '9') {
            return NGX_DECLINED;
        }

        digits++;

        if (n < 3) {
            part[n] = part[n] * 10 + (ngx_uint_t) (text->data[i] - '0');
            part[n] = ngx_min(part[n], 99);
        }
    }

    if (digits == 0) {
        return NGX_DECLINED;
    }

    *version = part[0] * 10000 + part[1] * 100 + part[2];

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_version_choose(ngx_electrumx_json_t *wanted,
    ngx_uint_t server_min, ngx_uint_t server_max, ngx_uint_t *version,
    ngx_str_t *spelling)
{
    ngx_str_t              low, high;
    ngx_uint_t             min, max, chosen;
    ngx_electrumx_json_t  *v;

    if (wanted == NULL) {
        ngx_str_set(&low, "1.4");
        high = low;

    } else if (wanted->type == NGX_ELECTRUMX_JSON_STRING) {
        ngx_electrumx_json_unescape(wanted);
        low.data = wanted->start;
        low.len = wanted->len;
        high = low;

    } else {
        v = wanted + 1;

        if (wanted->type != NGX_ELECTRUMX_JSON_ARRAY || wanted->n != 2
            || v[0].type != NGX_ELECTRUMX_JSON_STRING
            || v[1].type != NGX_ELECTRUMX_JSON_STRING)
        {
            return NGX_DECLINED;
        }

        ngx_electrumx_json_unescape(&v[0]);
        ngx_electrumx_json_unescape(&v[1]);

        low.data = v[0].start;
        low.len = v[0].len;
        high.data = v[1].start;
        high.len = v[1].len;
    }

    if (ngx_electrumx_version_parse(&low, &min) != NGX_OK
        || ngx_electrumx_version_parse(&high, &max) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    chosen = ngx_min(max, server_max);

    if (chosen < min || chosen < server_min) {
        return NGX_DECLINED;
    }

    *version = chosen;

    if (chosen == max) {
        *spelling = high;

    } else if (chosen == min) {
        *spelling = low;

    } else {
        spelling->len = 0;
    }

    return NGX_OK;
}


size_t
ngx_electrumx_version_text(ngx_uint_t version, char *buf)
{
    int       n;
    unsigned  a, b, c;

    a = (unsigned) (version / 10000 % 100);
    b = (unsigned) (version / 100 % 100);
    c = (unsigned) (version % 100);

    n = c ? snprintf(buf, 16, "%u.%u.%u", a, b, c)
          : snprintf(buf, 16, "%u.%u", a, b);

    return (n > 0) ? (size_t) n : 0;
}
