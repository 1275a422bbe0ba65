/*
 * blockchain.address.*: the methods of scripts by address.  The specification
 * dropped them in 1.3; Fulcrum and older clients know them.
 */

#include "ngx_electrumx_rpc.h"
#include "exi_address.h"


static ngx_int_t ngx_electrumx_address(ngx_electrumx_req_t *r);


/* The script hash of the address becomes the first argument's. */

static ngx_int_t
ngx_electrumx_address(ngx_electrumx_req_t *r)
{
    size_t                           len;
    uint8_t                          script[EXI_ADDRESS_SCRIPT_MAX];
    ngx_str_t                       *address;
    struct exi_shash                 hash;
    const struct exi_address_kinds  *kinds;

    kinds = exi_address_kinds(exi_view_params(r->view)->network);

    if (kinds == NULL) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BAD_REQUEST,
                      "the addresses of this network are not known here");
    }

    address = &r->args[0].str;

    if (exi_address_script(script, &len, kinds, (char *) address->data,
                           address->len)
        != EXI_OK)
    {
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST,
                                   "%*s is not a valid address",
                                   ngx_min(address->len, 100), address->data);
    }

    exi_script_hash(&hash, script, len);
    ngx_memcpy(r->args[0].hash, hash.b, EXI_HASH_LEN);

    return NGX_OK;
}


#define ngx_electrumx_by_address(r, handler)                                  \
    (ngx_electrumx_address(r) == NGX_OK ? handler(r) : NGX_ERROR)


ngx_int_t
ngx_electrumx_address_balance(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_get_balance);
}


ngx_int_t
ngx_electrumx_address_history(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_get_history);
}


ngx_int_t
ngx_electrumx_address_mempool(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_get_mempool);
}


ngx_int_t
ngx_electrumx_address_unspent(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_listunspent);
}


ngx_int_t
ngx_electrumx_address_status(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_get_status);
}


ngx_int_t
ngx_electrumx_address_first_use(ngx_electrumx_req_t *r)
{
    return ngx_electrumx_by_address(r, ngx_electrumx_get_first_use);
}


ngx_int_t
ngx_electrumx_address_scripthash(ngx_electrumx_req_t *r)
{
    if (ngx_electrumx_address(r) != NGX_OK) {
        return NGX_ERROR;
    }

    exi_jw_hash(&r->out->jw, r->args[0].hash);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_address_subscribe(ngx_electrumx_req_t *r)
{
    if (ngx_electrumx_address(r) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_electrumx_subscribe_by(r, NGX_ELECTRUMX_BY_ADDRESS);
}


ngx_int_t
ngx_electrumx_address_unsubscribe(ngx_electrumx_req_t *r)
{
    if (ngx_electrumx_address(r) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_electrumx_unsubscribe_by(r, NGX_ELECTRUMX_BY_ADDRESS);
}
