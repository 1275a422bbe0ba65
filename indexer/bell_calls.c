/*
 * The table of calls: what each asks of the node and how the answer looks.
 *
 * A handler writes its result (JSON) and returns EXI_OK, or returns the error
 * of the question it asked; bell_call_run() has the words for that.  Wallets
 * see these words: no addresses, paths or passwords in them.
 */
#include "bell_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/exi_hex.h"
#include "lib/exi_tx.h"
#include "rpc_json.h"

#define BELL_FEES_MAX 64
#define BELL_FEES_MS  10000
#define BELL_MODE_MAX 16

/* Bitcoin Core: RPC_MISC_ERROR, RPC_INVALID_ADDRESS_OR_KEY. */
#define NODE_MISC      (-1)
#define NODE_NOT_FOUND (-5)
#define NODE_NO_METHOD (-32601)

/* A call being carried out. */
struct bell_ask {
    struct rpc *rpc;
    struct bell_fees *fees;
    const json_t *params; /* an array */
    const char *pass;     /* the setting passthrough */
    struct rpc_buf *out;
};

struct bell_method {
    const char *name;
    int (*run)(struct bell_ask *a);
    int refused; /* code for the wallet when the node says no */
    bool keep;   /* carried out even if the worker is gone */
};

/* ---- fee estimates ---- */

struct bell_fee {
    json_int_t target;
    char mode[BELL_MODE_MAX]; /* "" = none given */
    int64_t until_ms;
    size_t len;
    char text[RPC_JSON_REAL_MAX];
};

struct bell_fees {
    pthread_mutex_t mutex;
    uint64_t flushes; /* an answer asked for before a flush is not kept */
    size_t next;
    struct bell_fee fee[BELL_FEES_MAX];
};

struct bell_fees *
bell_fees_new(void)
{
    struct bell_fees *f = calloc(1, sizeof(*f));

    if (f != NULL) {
        pthread_mutex_init(&f->mutex, NULL);
    }
    return f;
}

void
bell_fees_free(struct bell_fees *f)
{
    if (f != NULL) {
        pthread_mutex_destroy(&f->mutex);
        free(f);
    }
}

void
bell_fees_flush(struct bell_fees *f)
{
    pthread_mutex_lock(&f->mutex);
    f->flushes++;
    memset(f->fee, 0, sizeof(f->fee));
    pthread_mutex_unlock(&f->mutex);
}

static int64_t
bell_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Fills fee->text from a fresh entry; *flushes for bell_fees_put(). */
static bool
bell_fees_get(struct bell_fees *f, struct bell_fee *fee, uint64_t *flushes)
{
    int64_t now = bell_now_ms();
    bool found = false;

    pthread_mutex_lock(&f->mutex);
    *flushes = f->flushes;
    for (size_t i = 0; i < BELL_FEES_MAX && !found; i++) {
        const struct bell_fee *e = &f->fee[i];

        found = e->until_ms > now && e->target == fee->target
                && strcmp(e->mode, fee->mode) == 0;
        if (found) {
            *fee = *e;
        }
    }
    pthread_mutex_unlock(&f->mutex);
    return found;
}

static void
bell_fees_put(struct bell_fees *f, struct bell_fee *fee, uint64_t flushes)
{
    fee->until_ms = bell_now_ms() + BELL_FEES_MS;
    pthread_mutex_lock(&f->mutex);
    if (f->flushes == flushes) {
        f->fee[f->next] = *fee;
        f->next = (f->next + 1) % BELL_FEES_MAX;
    }
    pthread_mutex_unlock(&f->mutex);
}

/* ---- parameters ---- */

static const char *
bell_string(const struct bell_ask *a, size_t i)
{
    return json_string_value(json_array_get(a->params, i));
}

/* Not given or null. */
static bool
bell_absent(const struct bell_ask *a, size_t i)
{
    const json_t *v = json_array_get(a->params, i);

    return v == NULL || json_is_null(v);
}

/* A list of strings, not empty. */
static json_t *
bell_strings(const struct bell_ask *a, size_t i)
{
    json_t *list = json_array_get(a->params, i);
    json_t *v;
    size_t k;

    json_array_foreach(list, k, v)
    {
        if (!json_is_string(v)) {
            return NULL;
        }
    }
    return json_array_size(list) > 0 ? list : NULL;
}

static bool
bell_hash(const struct bell_ask *a, size_t i, uint8_t out[EXI_HASH_LEN])
{
    const char *hex = bell_string(a, i);

    return hex != NULL && exi_unhex_display(out, hex, strlen(hex)) == EXI_OK;
}

/* ---- handlers ---- */

/* The node's answer as it is. */
static int
bell_pass(struct bell_ask *a, const char *method, json_t *params)
{
    json_t *v = NULL;
    int rc = rpc_call(a->rpc, method, params, &v);

    if (rc == EXI_OK) {
        rc = rpc_json_text(a->out, v);
    }
    json_decref(v);
    return rc;
}

static int
bell_broadcast(struct bell_ask *a)
{
    const char *hex = bell_string(a, 0);

    if (hex == NULL) {
        return EXI_EAPI;
    }
    return bell_pass(a, "sendrawtransaction", json_pack("[s]", hex));
}

static int
bell_broadcast_package(struct bell_ask *a)
{
    json_t *list = bell_strings(a, 0);

    if (list == NULL) {
        return EXI_EAPI;
    }
    return bell_pass(a, "submitpackage", json_pack("[O]", list));
}

static int
bell_testmempoolaccept(struct bell_ask *a)
{
    json_t *list = bell_strings(a, 0);

    if (list == NULL) {
        return EXI_EAPI;
    }
    return bell_pass(a, "testmempoolaccept", json_pack("[O]", list));
}

/* The estimate as text in fee, -1 if the node has none. */
static int
bell_ask_fee(struct bell_ask *a, const char *mode, struct bell_fee *fee)
{
    json_t *params = json_pack("[I]", fee->target);
    const json_t *rate;
    json_t *v = NULL;
    int rc;

    if (mode != NULL) {
        json_array_append_new(params, json_string(mode));
    }
    rc = rpc_call(a->rpc, "estimatesmartfee", params, &v);
    if (rc != EXI_OK) {
        return rc;
    }
    rate = json_object_get(v, "feerate");
    if (json_is_number(rate)) {
        fee->len = rpc_json_real(fee->text, json_number_value(rate));
    } else {
        memcpy(fee->text, "-1", 3);
        fee->len = 2;
    }
    json_decref(v);
    return EXI_OK;
}

static int
bell_estimatefee(struct bell_ask *a)
{
    const json_t *target = json_array_get(a->params, 0);
    const char *mode = bell_string(a, 1);
    struct bell_fee fee = { 0 };
    uint64_t flushes = 0;
    bool cached;
    int rc;

    if (!json_is_integer(target) || (mode == NULL && !bell_absent(a, 1))) {
        return EXI_EAPI;
    }
    fee.target = json_integer_value(target);
    cached = mode == NULL || (strlen(mode) < BELL_MODE_MAX && mode[0] != '\0');
    if (cached && mode != NULL) {
        snprintf(fee.mode, sizeof(fee.mode), "%s", mode);
    }
    if (!cached || !bell_fees_get(a->fees, &fee, &flushes)) {
        rc = bell_ask_fee(a, mode, &fee);
        if (rc != EXI_OK) {
            return rc;
        }
        if (cached) {
            bell_fees_put(a->fees, &fee, flushes);
        }
    }
    return rpc_buf_add(a->out, fee.text, fee.len);
}

/* [txid, verbose] or [txid, verbose, blockhash] for getrawtransaction. */
static json_t *
bell_getraw_params(const struct bell_ask *a, bool verbose)
{
    json_t *params = json_pack("[s,b]", bell_string(a, 0), (int) verbose);

    if (params != NULL && !bell_absent(a, 1)) {
        json_array_append_new(params, json_string(bell_string(a, 1)));
    }
    return params;
}

/* Writes the transaction of the block in hex. */
static int
bell_cut(struct bell_ask *a, const struct rpc_buf *raw,
         const struct exi_txid *want)
{
    struct exi_block block;
    struct exi_txid id;
    struct exi_tx tx;
    int rc = exi_block_open(&block, raw->data, raw->len);

    if (rc != EXI_OK) {
        return rc;
    }
    while ((rc = exi_block_next(&block, &tx)) == 1) {
        exi_tx_id(&id, &tx);
        if (memcmp(id.b, want->b, sizeof(id.b)) == 0) {
            size_t len = (size_t) tx.size * 2;

            a->out->len = 0;
            if (rpc_buf_room(a->out, len + 2) != EXI_OK) {
                return EXI_ENOMEM;
            }
            a->out->data[0] = a->out->data[len + 1] = '"';
            exi_hex((char *) a->out->data + 1, tx.raw, tx.size);
            a->out->len = len + 2;
            return EXI_OK;
        }
    }
    return rc == 0 ? EXI_ENOTFOUND : rc;
}

/* The whole block is fetched (another daemon may have it) and cut. */
static int
bell_rawtx_block(struct bell_ask *a, const struct exi_txid *want)
{
    const json_t *height = json_array_get(a->params, 2);
    json_int_t h = json_integer_value(height);
    struct rpc_buf raw = { NULL, 0, 0 };
    struct exi_blkid hash;
    int rc = EXI_OK;

    if (!bell_hash(a, 1, hash.b)) {
        if (!json_is_integer(height) || h < 0 || h > (json_int_t) UINT32_MAX) {
            return EXI_ENODE; /* nowhere to look: what the node said holds */
        }
        rc = rpc_hash_at(a->rpc, (uint32_t) h, &hash);
    }
    if (rc == EXI_OK) {
        rc = rpc_block(a->rpc, &hash, &raw);
    }
    if (rc == EXI_OK) {
        rc = bell_cut(a, &raw, want);
    }
    rpc_buf_free(&raw);
    return rc;
}

static int
bell_rawtx(struct bell_ask *a)
{
    struct exi_txid txid;
    uint8_t block[EXI_HASH_LEN];
    int code;
    int rc;

    if (!bell_hash(a, 0, txid.b)
        || (!bell_absent(a, 1) && !bell_hash(a, 1, block))) {
        return EXI_EAPI;
    }
    rc = bell_pass(a, "getrawtransaction", bell_getraw_params(a, false));
    code = rpc_error(a->rpc)->code;
    if (rc == EXI_ENODE && (code == NODE_NOT_FOUND || code == NODE_MISC)) {
        rc = bell_rawtx_block(a, &txid);
    }
    return rc;
}

static int
bell_verbosetx(struct bell_ask *a)
{
    uint8_t hash[EXI_HASH_LEN];
    json_t *v = NULL;
    int rc;

    if (!bell_hash(a, 0, hash)
        || (!bell_absent(a, 1) && !bell_hash(a, 1, hash))) {
        return EXI_EAPI;
    }
    rc = rpc_call(a->rpc, "getrawtransaction", bell_getraw_params(a, true), &v);
    if (rc == EXI_OK) {
        json_object_del(v, "in_active_chain"); /* only when a block is named */
        rc = rpc_json_text(a->out, v);
    }
    json_decref(v);
    return rc;
}

static int
bell_mempoolinfo(struct bell_ask *a)
{
    return bell_pass(a, "getmempoolinfo", NULL);
}

static int
bell_networkinfo(struct bell_ask *a)
{
    return bell_pass(a, "getnetworkinfo", NULL);
}

/* Whether the transaction spends the output; 1, 0 or an error. */
static int
bell_spends(struct bell_ask *a, const json_t *candidate,
            const struct exi_txid *txid, uint32_t index)
{
    const char *id = json_string_value(json_array_get(candidate, 0));
    const char *block = json_string_value(json_array_get(candidate, 1));
    json_t *v = NULL;
    uint8_t *raw = NULL;
    struct exi_txin in;
    struct exi_tx tx;
    size_t len;
    int rc = EXI_EAPI;

    if (id == NULL || block == NULL) {
        return rc;
    }
    rc = rpc_call(a->rpc, "getrawtransaction",
                  json_pack("[s,b,s]", id, 0, block), &v);
    if (rc == EXI_OK && !json_is_string(v)) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        len = json_string_length(v);
        raw = malloc(len / 2 + 1);
        rc = raw == NULL ? EXI_ENOMEM
                         : exi_unhex(raw, json_string_value(v), len);
    }
    if (rc == EXI_OK) {
        rc = exi_tx_parse_whole(&tx, raw, len / 2);
    }
    if (rc == EXI_OK) {
        const uint8_t *p = tx.ins;

        for (uint32_t i = 0; i < tx.nin && rc == 0; i++) {
            p = exi_txin_next(&in, p);
            rc = in.prev_index == index
                 && memcmp(in.prev_txid, txid->b, EXI_HASH_LEN) == 0;
        }
    }
    free(raw);
    json_decref(v);
    return rc;
}

/* The candidate that spends an output, or null. */
static int
bell_spender(struct bell_ask *a)
{
    const json_t *index = json_array_get(a->params, 1);
    const json_t *list = json_array_get(a->params, 2);
    struct exi_txid txid;
    json_t *v;
    size_t i;

    if (!bell_hash(a, 0, txid.b) || !json_is_integer(index)
        || json_integer_value(index) < 0
        || json_integer_value(index) > (json_int_t) UINT32_MAX) {
        return EXI_EAPI;
    }
    json_array_foreach(list, i, v)
    {
        int rc = bell_spends(a, v, &txid, (uint32_t) json_integer_value(index));

        if (rc != 0) {
            return rc < 0 ? rc : rpc_json_text(a->out, v);
        }
    }
    return rpc_buf_add(a->out, "null", 4);
}

/* Height of a block that the node knows by its hash. */
static int
bell_blockheight(struct bell_ask *a)
{
    uint8_t hash[EXI_HASH_LEN];
    json_t *v = NULL;
    int rc;

    if (!bell_hash(a, 0, hash)) {
        return EXI_EAPI;
    }
    rc = rpc_call(a->rpc, "getblockheader", json_pack("[s]", bell_string(a, 0)),
                  &v);
    if (rc == EXI_OK) {
        json_t *height = json_object_get(v, "height");

        rc = json_is_integer(height) ? rpc_json_text(a->out, height)
                                     : EXI_EFORMAT;
    }
    json_decref(v);
    return rc;
}

static int
bell_blockstats(struct bell_ask *a)
{
    json_t *height = json_array_get(a->params, 0);

    if (!json_is_integer(height)) {
        return EXI_EAPI;
    }
    return bell_pass(a, "getblockstats",
                     json_pack("[O,[s,s,s,s,s,s]]", height, "height",
                               "blockhash", "feerate_percentiles",
                               "total_weight", "txs", "time"));
}

/* [method, params]: any method that the setting allows. */
static int
bell_passthrough(struct bell_ask *a)
{
    const char *method = bell_string(a, 0);
    json_t *params = json_array_get(a->params, 1);

    if (method == NULL
        || !(bell_absent(a, 1) || json_is_array(params)
             || json_is_object(params))) {
        return EXI_EAPI;
    }
    if (!bell_pass_allowed(a->pass, method)) {
        return EXI_EBUSY;
    }
    return bell_pass(a, method, bell_absent(a, 1) ? NULL : json_incref(params));
}

static const struct bell_method bell_methods[] = {
    { "broadcast", bell_broadcast, BELL_CODE_REFUSED, true },
    { "broadcast_package", bell_broadcast_package, BELL_CODE_REFUSED, true },
    { "testmempoolaccept", bell_testmempoolaccept, BELL_CODE_REFUSED, false },
    { "estimatefee", bell_estimatefee, BELL_CODE_REFUSED, false },
    { "rawtx", bell_rawtx, BELL_CODE_DAEMON, false },
    { "verbosetx", bell_verbosetx, BELL_CODE_DAEMON, false },
    { "mempoolinfo", bell_mempoolinfo, BELL_CODE_DAEMON, false },
    { "spender", bell_spender, BELL_CODE_DAEMON, false },
    { "blockheight", bell_blockheight, BELL_CODE_DAEMON, false },
    { "blockstats", bell_blockstats, BELL_CODE_DAEMON, false },
    { "networkinfo", bell_networkinfo, BELL_CODE_DAEMON, false },
    { "passthrough", bell_passthrough, BELL_CODE_DAEMON, true },
};

/* ---- carrying out ---- */

static const struct bell_method *
bell_method(const char *name)
{
    for (size_t i = 0; i < sizeof(bell_methods) / sizeof(bell_methods[0]);
         i++) {
        if (strcmp(bell_methods[i].name, name) == 0) {
            return &bell_methods[i];
        }
    }
    return NULL;
}

bool
bell_call_keep(const struct bell_call *c)
{
    const struct bell_method *m = bell_method(c->name);

    return m != NULL && m->keep;
}

void
bell_call_fail(struct bell_call *c, int code, const char *message)
{
    c->failed = true;
    c->out.len = 0;
    if (rpc_json_error(&c->out, code, message) != EXI_OK) {
        c->out.len = 0; /* the frame says "error" all the same */
    }
}

/* The node answered with an error, in its own words. */
static void
bell_refused(struct bell_call *c, const struct bell_method *m,
             const struct rpc_error *e)
{
    bell_call_fail(c, e->code == NODE_NO_METHOD ? NODE_NO_METHOD : m->refused,
                   e->message);
}

/* An error code of rpc_*() in words for wallets. */
static const char *
bell_words(int rc)
{
    switch (rc) {
    case EXI_ENET:
        return "the node is not reachable";
    case EXI_EAUTH:
        return "the indexer has no access to the node";
    case EXI_ENOTFOUND:
        return "the node has neither this transaction nor its block";
    case EXI_EFORMAT:
        return "the node's answer makes no sense";
    case EXI_ENOMEM:
        return "out of memory";
    default:
        return "the node cannot be asked";
    }
}

static void
bell_explain(struct bell_call *c, const struct bell_method *m, struct rpc *r,
             int rc)
{
    const struct rpc_error *e = rpc_error(r);
    char message[sizeof(e->message) + 32];

    if (rc == EXI_ENODE) {
        bell_refused(c, m, e);
    } else if (rc == EXI_EAPI) {
        bell_call_fail(c, BELL_CODE_PARAMS, "wrong parameters");
    } else if (rc == EXI_EBUSY) {
        bell_call_fail(c, BELL_CODE_REFUSED,
                       "the indexer does not pass this method on");
    } else if (rc == EXI_EWARMUP) {
        snprintf(message, sizeof(message), "the node is still starting: %s",
                 e->message);
        bell_call_fail(c, BELL_CODE_DAEMON, message);
    } else {
        bell_call_fail(c, BELL_CODE_DAEMON, bell_words(rc));
    }
}

void
bell_call_run(struct bell_call *c, struct rpc *r, struct bell_fees *f,
              const char *pass)
{
    const struct bell_method *m = bell_method(c->name);
    json_t *params;
    struct bell_ask a = { .rpc = r, .fees = f, .pass = pass, .out = &c->out };
    int rc;

    if (m == NULL) {
        bell_call_fail(c, BELL_CODE_METHOD, "unknown call");
        return;
    }
    params = json_loadb(c->params, c->paramslen, 0, NULL);
    a.params = params;
    rc = json_is_array(params) ? m->run(&a) : EXI_EAPI;
    if (rc != EXI_OK) {
        bell_explain(c, m, r, rc);
    }
    json_decref(params);
}
