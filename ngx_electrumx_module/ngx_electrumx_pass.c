/*
 * daemon.passthrough (Fulcrum): a request for the node in the client's words,
 * from clients that electrumx_passthrough names.  Which methods may be asked
 * is the indexer's to say (its setting passthrough).
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_PASS_NAME      64       /* bytes of a method's name */


static ngx_uint_t ngx_electrumx_pass_name(ngx_str_t *name);
static ngx_int_t ngx_electrumx_pass_finish(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);


ngx_int_t
ngx_electrumx_passthrough(ngx_electrumx_req_t *r)
{
    u_char                *p;
    ngx_str_t              params, raw;
    ngx_electrumx_json_t  *value;

    value = r->args[1].value;

    if (value == NULL) {
        ngx_str_set(&raw, "null");

    } else if (value->type != NGX_ELECTRUMX_JSON_ARRAY) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "params: an array expected");

    } else {
        ngx_electrumx_json_raw(value, &raw);
    }

    if (!ngx_electrumx_pass_name(&r->args[0].str))
    {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_ARGUMENTS,
                                  "method: the name of a method expected");
    }

    params.data = ngx_electrumx_alloc(raw.len + r->args[0].str.len + 8);

    if (params.data == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_INTERNAL,
                                  "internal error: out of memory");
    }

    p = ngx_sprintf(params.data, "[\"%V\",", &r->args[0].str);
    p = ngx_cpymem(p, raw.data, raw.len);
    *p++ = ']';

    params.len = p - params.data;

    return ngx_electrumx_call(r, "passthrough", &params,
                              ngx_electrumx_pass_finish, NULL);
}


/* Letters and digits, so that it needs no escape. */

static ngx_uint_t
ngx_electrumx_pass_name(ngx_str_t *name)
{
    size_t  i;
    u_char  c;

    if (name->len == 0 || name->len > NGX_ELECTRUMX_PASS_NAME) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (((c | 0x20) < 'a' || (c | 0x20) > 'z') && (c < '0' || c > '9')
            && c != '_')
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_electrumx_pass_finish(ngx_electrumx_req_t *r, ngx_electrumx_call_t *call,
    ngx_uint_t ok, u_char *json, size_t len)
{
    ngx_int_t  code;
    ngx_str_t  text;

    if (ok) {
        return ngx_electrumx_finish_raw(r, call, ok, json, len);
    }

    /* the indexer's refusal; the node's errors have other codes */

    ngx_electrumx_node_error(json, len, &code, &text);

    if (code == NGX_ELECTRUMX_BAD_REQUEST) {
        return ngx_electrumx_failf(r, code, "%V", &text);
    }

    return ngx_electrumx_fail_node(r, json, len);
}
