/*
 * Questions to the node: the calls that the indexer makes, with their answers
 * as C values.  A field that is missing or of another type is EXI_EANSWER.
 */
#include "rpc_int.h"

#include <string.h>

#include "blockcheck.h"
#include "lib/exi_hex.h"

/* Bitcoin Core's codes: RPC_INVALID_ADDRESS_OR_KEY, RPC_INVALID_PARAMETER,
 * RPC_MISC_ERROR. */
#define RPC_CODE_NOT_FOUND    (-5)
#define RPC_CODE_OUT_OF_RANGE (-8)
#define RPC_CODE_MISC         (-1)

int
rpc_bad_answer(struct rpc *r, const char *method)
{
    rpc_fail(r, EXI_EANSWER, 0, "%s: %s: unexpected answer", rpc_daemon(r),
             method);
    rpc_give_up(r);
    return EXI_EANSWER;
}

static bool
rpc_get_hash(struct exi_blkid *out, const json_t *v)
{
    const char *hex = json_string_value(v);

    return hex != NULL && exi_unhex_display(out->b, hex, strlen(hex)) == EXI_OK;
}

static bool
rpc_get_u32(uint32_t *out, const json_t *v)
{
    json_int_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < 0 || n > (json_int_t) UINT32_MAX) {
        return false;
    }
    *out = (uint32_t) n;
    return true;
}

/* [hash] or [hash, second]; NULL when out of memory. */
static json_t *
rpc_hash_params(const struct exi_blkid *hash, json_t *second)
{
    json_t *params = json_array();
    char hex[2 * EXI_HASH_LEN];
    int rc;

    exi_hex_display(hex, hash->b);
    rc = json_array_append_new(params, json_stringn(hex, sizeof(hex)));
    if (second != NULL) {
        rc |= json_array_append_new(params, second);
    }
    if (rc != 0) {
        json_decref(params);
        return NULL;
    }
    return params;
}

int
rpc_chain(struct rpc *r, struct rpc_chain *out)
{
    struct rpc_chain c = { 0 };
    json_t *v = NULL;
    int rc = rpc_call(r, "getblockchaininfo", NULL, &v);

    if (rc != EXI_OK) {
        return rc;
    }
    if (!rpc_get_u32(&c.blocks, json_object_get(v, "blocks"))
        || !rpc_get_u32(&c.headers, json_object_get(v, "headers"))
        || !rpc_get_hash(&c.best, json_object_get(v, "bestblockhash"))) {
        rc = rpc_bad_answer(r, "getblockchaininfo");
    } else {
        c.ibd = json_is_true(json_object_get(v, "initialblockdownload"));
        c.pruned = json_is_true(json_object_get(v, "pruned"));
        c.progress =
            json_number_value(json_object_get(v, "verificationprogress"));
        *out = c;
    }
    json_decref(v);
    return rc;
}

int
rpc_best(struct rpc *r, struct exi_blkid *out)
{
    json_t *v = NULL;
    int rc = rpc_call(r, "getbestblockhash", NULL, &v);

    if (rc == EXI_OK && !rpc_get_hash(out, v)) {
        rc = rpc_bad_answer(r, "getbestblockhash");
    }
    json_decref(v);
    return rc;
}

int
rpc_hash_at(struct rpc *r, uint32_t height, struct exi_blkid *out)
{
    json_t *v = NULL;
    int rc =
        rpc_call(r, "getblockhash", json_pack("[I]", (json_int_t) height), &v);

    if (rc == EXI_ENODE && r->error.code == RPC_CODE_OUT_OF_RANGE) {
        return EXI_ENOTFOUND;
    }
    if (rc == EXI_OK && !rpc_get_hash(out, v)) {
        rc = rpc_bad_answer(r, "getblockhash");
    }
    json_decref(v);
    return rc;
}

int
rpc_header(struct rpc *r, const struct exi_blkid *hash, struct exi_blkid *prev,
           uint32_t *height, bool *active)
{
    struct exi_blkid p = { { 0 } };
    const json_t *link;
    json_t *v = NULL;
    uint32_t h;
    int rc =
        rpc_call(r, "getblockheader", rpc_hash_params(hash, json_true()), &v);

    if (rc == EXI_ENODE && r->error.code == RPC_CODE_NOT_FOUND) {
        return EXI_ENOTFOUND;
    }
    if (rc != EXI_OK) {
        return rc;
    }
    link = json_object_get(v, "previousblockhash"); /* genesis has none */
    if (!rpc_get_u32(&h, json_object_get(v, "height"))
        || !json_is_integer(json_object_get(v, "confirmations"))
        || (link != NULL ? !rpc_get_hash(&p, link) : h != 0)) {
        rc = rpc_bad_answer(r, "getblockheader");
    } else {
        *prev = p;
        *height = h;
        *active = json_integer_value(json_object_get(v, "confirmations")) >= 0;
    }
    json_decref(v);
    return rc;
}

static int
rpc_block_rest(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    static const char head[] = "/rest/block/";
    char path[sizeof(head) + 2 * EXI_HASH_LEN + sizeof(".bin")];
    char *p = path + sizeof(head) - 1;

    memcpy(path, head, sizeof(head));
    exi_hex_display(p, hash->b);
    memcpy(p + 2 * EXI_HASH_LEN, ".bin", sizeof(".bin"));
    return rpc_rest(r, path, buf);
}

static int
rpc_block_hex(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    int rc = rpc_call_hex(r, "getblock", rpc_hash_params(hash, json_integer(0)),
                          buf);

    if (rc == EXI_ENODE
        && (r->error.code == RPC_CODE_NOT_FOUND
            || r->error.code == RPC_CODE_MISC)) {
        return EXI_ENOTFOUND;
    }
    return rc;
}

static int
rpc_block_ask(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    if (!r->daemons[r->cur].no_rest) {
        int rc = rpc_block_rest(r, hash, buf);

        if (rc != EXI_ENODE) {
            return rc;
        }
        r->daemons[r->cur].no_rest = true;
    }
    return rpc_block_hex(r, hash, buf);
}

/* Whatever one daemon sends: is it that block? */
static int
rpc_block_one(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    int rc = rpc_block_ask(r, hash, buf);
    char hex[2 * EXI_HASH_LEN + 1] = "";

    exi_hex_display(hex, hash->b);
    if (rc == EXI_ENOTFOUND) {
        rpc_fail(r, rc, 0, "%s does not have block %s (pruned?)", rpc_daemon(r),
                 hex);
    }
    if (rc == EXI_OK) {
        rc = blockcheck(hash, buf->data, buf->len);
        if (rc == EXI_EFORMAT) {
            rc = rpc_fail(r, EXI_EANSWER, 0,
                          "%s sends something else than block %s",
                          rpc_daemon(r), hex);
        }
    }
    return rc;
}

int
rpc_block(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    int rc = rpc_block_one(r, hash, buf);
    struct rpc_error error = r->error;
    size_t first = r->cur;

    /* One of several daemons may be pruned, behind, or damaged. */
    for (size_t i = 1;
         (rc == EXI_ENOTFOUND || rc == EXI_EANSWER) && i < r->ndaemons; i++) {
        r->cur = (first + i) % r->ndaemons;
        if (rpc_block_one(r, hash, buf) == EXI_OK) {
            rc = EXI_OK;
        }
    }
    r->cur = first;
    r->error = rc == EXI_OK ? r->error : error;
    return rc;
}
