/*
 * Fuzz target: ngx_electrumx_rpc.c and the table of methods.  A message gets
 * the answers that a second reading of it expects: one, none, or an array of
 * so many, each with the request's id, all of it JSON; views are ended,
 * nothing is lost.  Arguments that reach a handler are what its row says.
 *
 * Byte 0: what handlers do (two bits for each request in turn: a result, an
 * error, an answer later, a result that is too long); byte 1: version and
 * longest answer; the rest is the message.
 *
 * The handlers, nginx's pools and the output are stand-ins below.
 */
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"

#define exi_view_begin fuzz_view_begin
#define exi_view_end   fuzz_view_end
#include "ngx_electrumx_rpc.c"

#include "ngx_electrumx_answer.c"

#define MAX_BATCH  12
#define MAX_TEXT   32768
#define MAX_LATER  64
#define OUT_ROOM   (1 << 16)
#define READ_SLOTS 8192
#define TOLD_SLOTS 32768

/* ---- nginx ---- */

static ngx_log_t fuzz_log;
static ngx_cycle_t fuzz_cycle = { .log = &fuzz_log };
volatile ngx_cycle_t *ngx_cycle = &fuzz_cycle;

struct piece {
    struct piece *next;
};
static struct piece *pieces;
static ngx_pool_t the_pool = { .max = 4095 };

void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return malloc(size);
}

ngx_pool_t *
ngx_create_pool(size_t size, ngx_log_t *log)
{
    return &the_pool;
}

void *
ngx_palloc(ngx_pool_t *pool, size_t size)
{
    struct piece *p = malloc(sizeof(*p) + size);

    FUZZ_ASSERT(p != NULL && pool == &the_pool);
    p->next = pieces;
    pieces = p;
    return p + 1;
}

void
ngx_reset_pool(ngx_pool_t *pool)
{
    while (pieces != NULL) {
        struct piece *next = pieces->next;

        free(pieces);
        pieces = next;
    }
}

void
ngx_destroy_pool(ngx_pool_t *pool)
{
    ngx_reset_pool(pool);
}

void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
                   const char *fmt, ...)
{
}

/* Only the conversions that the files above use: %*s %V %uz %uL. */
u_char *
ngx_vslprintf(u_char *buf, u_char *last, const char *fmt, va_list args)
{
    while (*fmt != '\0' && buf < last) {
        char number[24];
        const u_char *text = (const u_char *) fmt;
        size_t n = 1;

        if (strncmp(fmt, "%*s", 3) == 0) {
            n = va_arg(args, size_t);
            text = va_arg(args, u_char *);
            fmt += 3;
        } else if (strncmp(fmt, "%V", 2) == 0) {
            const ngx_str_t *v = va_arg(args, ngx_str_t *);

            n = v->len;
            text = v->data;
            fmt += 2;
        } else if (strncmp(fmt, "%uz", 3) == 0 || strncmp(fmt, "%uL", 3) == 0) {
            n = (size_t) snprintf(number, sizeof(number), "%llu",
                                  (unsigned long long) va_arg(args, uint64_t));
            text = (u_char *) number;
            fmt += 3;
        } else {
            FUZZ_ASSERT(*fmt != '%');
            fmt++;
        }
        n = n < (size_t) (last - buf) ? n : (size_t) (last - buf);
        if (n != 0) {
            memcpy(buf, text, n);
        }
        buf += n;
    }
    return buf;
}

/* ---- the session ---- */

static ngx_electrumx_index_t the_index;
static ngx_electrumx_session_t the_session;
static ngx_connection_t the_connection;
static int view_begun, outs, nsent, nclosed;
static u_char *sent;
static size_t sentlen;

time_t
ngx_electrumx_age(ngx_electrumx_index_t *index, const struct exi_live_state *st)
{
    (void) index;
    (void) st;
    return 0;
}

int
exi_view_begin(struct exi_view *view)
{
    FUZZ_ASSERT(!view_begun);
    view_begun = 1;
    return EXI_OK;
}

void
exi_view_end(struct exi_view *view)
{
    FUZZ_ASSERT(view_begun);
    view_begun = 0;
}

struct out {
    ngx_electrumx_out_t out; /* first */
    uint8_t buf[OUT_ROOM];
};

static int
out_more(struct exi_jw *w, size_t need)
{
    struct out *o = w->ctx;
    size_t used = (size_t) (w->pos - o->buf);

    FUZZ_ASSERT(o->out.limit <= OUT_ROOM && used <= o->out.limit);
    if (need > o->out.limit - used) {
        return EXI_ELIMIT;
    }
    w->end = o->buf + o->out.limit;
    return EXI_OK;
}

ngx_electrumx_out_t *
ngx_electrumx_out_new(ngx_electrumx_session_t *s)
{
    struct out *o = malloc(sizeof(*o));

    FUZZ_ASSERT(o != NULL);
    memset(&o->out, 0, sizeof(o->out));
    o->out.session = s;
    o->out.limit = s->index->max_response;
    o->out.jw.pos = o->out.jw.end = o->buf;
    o->out.jw.more = out_more;
    o->out.jw.ctx = o;
    outs++;
    return &o->out;
}

size_t
ngx_electrumx_out_size(ngx_electrumx_out_t *out)
{
    return (size_t) (out->jw.pos - ((struct out *) out)->buf);
}

void
ngx_electrumx_out_rewind(ngx_electrumx_out_t *out, size_t size)
{
    FUZZ_ASSERT(size <= ngx_electrumx_out_size(out));
    out->jw.pos = ((struct out *) out)->buf + size;
}

void
ngx_electrumx_out_drop(ngx_electrumx_out_t *out)
{
    outs--;
    free(out);
}

void
ngx_electrumx_out_send(ngx_electrumx_out_t *out)
{
    FUZZ_ASSERT(out->jw.err == EXI_OK && nsent == 0);
    nsent++;
    sentlen = ngx_electrumx_out_size(out);
    sent = malloc(sentlen + !sentlen);
    FUZZ_ASSERT(sent != NULL && sentlen != 0);
    memcpy(sent, ((struct out *) out)->buf, sentlen);
    ngx_electrumx_out_drop(out);
}

void
ngx_electrumx_session_close(ngx_electrumx_session_t *s, ngx_int_t rc)
{
    nclosed++;
}

void
ngx_electrumx_hold(ngx_electrumx_session_t *s, size_t *held, size_t size)
{
    *held = size;
}

ngx_int_t
ngx_electrumx_pick(u_char *json, size_t len, const char *name,
                   ngx_electrumx_json_t *v)
{
    return NGX_DECLINED;
}

ngx_uint_t
ngx_electrumx_client_in(ngx_electrumx_session_t *s, ngx_array_t *cidrs)
{
    return 1;
}

void
ngx_electrumx_subs_closed(ngx_electrumx_session_t *s)
{
}

void
ngx_electrumx_calls_closed(ngx_electrumx_session_t *s)
{
}

/* Everything is in memory. */

ngx_int_t
ngx_electrumx_refresh(ngx_electrumx_index_t *index)
{
    return NGX_OK;
}

void
ngx_electrumx_cold_text(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v,
                        ngx_str_t *text)
{
    ngx_str_null(text);
}

void
ngx_electrumx_cold_copy(ngx_electrumx_req_t *r, ngx_str_t *text)
{
    (void) r;
    (void) text;
}

ngx_int_t
ngx_electrumx_cold_request(ngx_electrumx_req_t *r, ngx_str_t *text,
                           ngx_int_t rc)
{
    return rc;
}

void
ngx_electrumx_cold_closed(ngx_electrumx_session_t *s)
{
}

/* Nothing takes long. */

void
ngx_electrumx_tasks_closed(ngx_electrumx_session_t *s)
{
}

/* ---- handlers ---- */

/* A request that is answered later. */
struct later {
    ngx_electrumx_batch_t *batch;
    ngx_electrumx_dialect_e dialect;
    u_char *id;
    size_t idlen;
};
static struct later later[MAX_LATER];
static int nlater, nhandled;
static unsigned doings;

static void
check_text(const ngx_str_t *s, const ngx_electrumx_json_t *v)
{
    FUZZ_ASSERT(v->type == NGX_ELECTRUMX_JSON_STRING && v->plain);
    FUZZ_ASSERT(s->data == v->start && s->len == v->len);
}

static void
check_arg(const ngx_electrumx_param_t *p, const ngx_electrumx_arg_t *a)
{
    const ngx_electrumx_json_t *v = a->value;
    struct exi_shash hash;
    uint8_t bytes[EXI_HASH_LEN];

    if (v == NULL) {
        FUZZ_ASSERT(p->need != NGX_ELECTRUMX_REQUIRED && a->num == p->value
                    && a->str.len == 0);
        return;
    }
    switch (p->type) {
    case NGX_ELECTRUMX_ARG_HASH:
        check_text(&a->str, v);
        FUZZ_ASSERT(exi_unhex_display(bytes, (char *) a->str.data, a->str.len)
                    == EXI_OK);
        FUZZ_ASSERT(memcmp(bytes, a->hash, sizeof(bytes)) == 0);
        break;
    case NGX_ELECTRUMX_ARG_SCRIPT:
        check_text(&a->str, v);
        exi_script_hash(&hash, a->str.data, a->str.len);
        FUZZ_ASSERT(memcmp(hash.b, a->hash, EXI_HASH_LEN) == 0);
        break;
    case NGX_ELECTRUMX_ARG_UINT:
        FUZZ_ASSERT(a->num <= INT64_MAX);
        break;
    case NGX_ELECTRUMX_ARG_END:
        FUZZ_ASSERT(a->num <= INT64_MAX || a->num == UINT64_MAX);
        break;
    case NGX_ELECTRUMX_ARG_BOOL:
        FUZZ_ASSERT(a->num <= 1);
        break;
    case NGX_ELECTRUMX_ARG_STRING:
        check_text(&a->str, v);
        break;
    case NGX_ELECTRUMX_ARG_HEX:
        check_text(&a->str, v);
        FUZZ_ASSERT(a->str.len != 0 && a->str.len % 2 == 0);
        FUZZ_ASSERT(strspn((char *) a->str.data, "0123456789abcdefABCDEF")
                    >= a->str.len);
        break;
    case NGX_ELECTRUMX_ARG_HEXES:
        FUZZ_ASSERT(v->type == NGX_ELECTRUMX_JSON_ARRAY && v->n != 0);
        break;
    case NGX_ELECTRUMX_ARG_ANY:
        break;
    }
}

static void
write_args(ngx_electrumx_req_t *r)
{
    struct exi_jw *jw = &r->out->jw;

    exi_jw_char(jw, '[');
    for (int i = 0; r->method->params[i].name; i++) {
        ngx_electrumx_arg_t *a = &r->args[i];

        if (i != 0) {
            exi_jw_char(jw, ',');
        }
        if (r->method->params[i].type == NGX_ELECTRUMX_ARG_SCRIPT) {
            exi_jw_hex(jw, a->str.data, a->str.len);
        } else if (a->str.len != 0) {
            exi_jw_str(jw, (char *) a->str.data, a->str.len);
        } else {
            exi_jw_u64(jw, a->num);
        }
    }
    exi_jw_char(jw, ']');
}

static ngx_int_t
answer_later(ngx_electrumx_req_t *r)
{
    struct later *l = &later[nlater];

    if (nlater == MAX_LATER) {
        return ngx_electrumx_fail(r, NGX_ELECTRUMX_BUSY, "busy");
    }
    nlater++;
    l->batch = r->batch;
    l->dialect = r->dialect;
    l->idlen = r->id.len;
    l->id = malloc(r->id.len + !r->id.len);
    FUZZ_ASSERT(l->id != NULL);
    if (r->id.len != 0) {
        memcpy(l->id, r->id.data, r->id.len);
    }
    if (r->batch) {
        r->batch->pending++;
    }
    return NGX_AGAIN;
}

/* Stands for every handler. */
static ngx_int_t
handle(ngx_electrumx_req_t *r)
{
    unsigned doing = doings >> (nhandled++ * 2) % 8 & 3;

    FUZZ_ASSERT(!(r->method->flags & NGX_ELECTRUMX_VIEW) || r->view != NULL);
    for (int i = 0; r->method->params[i].name; i++) {
        FUZZ_ASSERT(i < NGX_ELECTRUMX_MAX_ARGS);
        check_arg(&r->method->params[i], &r->args[i]);
    }
    switch (doing) {
    case 0:
        write_args(r);
        return NGX_OK;
    case 1:
        return ngx_electrumx_failf(r, NGX_ELECTRUMX_BAD_REQUEST, "%*s",
                                   r->id.len, r->id.data);
    case 2:
        return answer_later(r);
    default:
        for (int i = 0; i < 300; i++) {
            exi_jw_lit(&r->out->jw, i ? ",12345678" : "[12345678");
        }
        exi_jw_char(&r->out->jw, ']');
        return NGX_OK;
    }
}

#define HANDLER(name)                                                          \
    ngx_int_t ngx_electrumx_##name(ngx_electrumx_req_t *r)                     \
    {                                                                          \
        return handle(r);                                                      \
    }

/* All handlers of the table. */
HANDLER(address_balance)
HANDLER(address_first_use)
HANDLER(address_history)
HANDLER(address_mempool)
HANDLER(address_scripthash)
HANDLER(address_status)
HANDLER(address_subscribe)
HANDLER(address_unspent)
HANDLER(address_unsubscribe)
HANDLER(block_header)
HANDLER(block_headers)
HANDLER(block_stats)
HANDLER(broadcast)
HANDLER(broadcast_package)
HANDLER(estimatefee)
HANDLER(fee_histogram)
HANDLER(get_balance)
HANDLER(get_first_use)
HANDLER(get_history)
HANDLER(get_mempool)
HANDLER(get_status)
HANDLER(header_get)
HANDLER(headers_get_tip)
HANDLER(headers_subscribe)
HANDLER(headers_unsubscribe)
HANDLER(listunspent)
HANDLER(mempool_info)
HANDLER(mempool_recent)
HANDLER(outpoint_get_status)
HANDLER(outpoint_subscribe)
HANDLER(outpoint_unsubscribe)
HANDLER(passthrough)
HANDLER(relayfee)
HANDLER(server_add_peer)
HANDLER(server_banner)
HANDLER(server_donation)
HANDLER(server_features)
HANDLER(server_peers)
HANDLER(server_ping)
HANDLER(server_version)
HANDLER(spk_history)
HANDLER(spk_listunspent)
HANDLER(spk_mempool)
HANDLER(spk_subscribe)
HANDLER(spk_unsubscribe)
HANDLER(subscribe)
HANDLER(testmempoolaccept)
HANDLER(tx_get)
HANDLER(tx_get_blockhash)
HANDLER(tx_get_height)
HANDLER(tx_get_merkle)
HANDLER(tx_id_from_pos)
HANDLER(tx_subscribe)
HANDLER(tx_unsubscribe)
HANDLER(unsubscribe)
HANDLER(utxo_info)

/* As ngx_electrumx_call.c does when the node has answered. */
static void
finish_later(void)
{
    for (int i = 0; i < nlater; i++) {
        struct later *l = &later[i];
        ngx_electrumx_req_t r;
        size_t start;

        ngx_electrumx_rpc_init(&r, &the_session);
        r.batch = l->batch;
        r.dialect = l->dialect;
        r.id.data = l->id;
        r.id.len = l->idlen;
        r.out = l->batch ? l->batch->out : ngx_electrumx_out_new(&the_session);
        start = ngx_electrumx_answer_begin(&r);
        exi_jw_lit(&r.out->jw, "\"later\"");
        ngx_electrumx_answer(&r, start, NGX_OK);
        ngx_electrumx_message_end();
        if (l->batch) {
            ngx_electrumx_batch_done(&the_session, l->batch);
        }
        free(l->id);
    }
    nlater = 0;
}

/* ---- what is expected ---- */

static ngx_electrumx_json_t asked[READ_SLOTS], told[TOLD_SLOTS];

static ngx_uint_t
is_type(const ngx_electrumx_json_t *v, unsigned types)
{
    return v == NULL || (types >> v->type & 1);
}

/* Whether a member of a message must be answered, and with which id. */
static int
answered(ngx_electrumx_json_t *v, ngx_str_t *id)
{
    ngx_electrumx_json_t *i, *rpc;
    int one, valid;

    ngx_str_set(id, "null");
    if (v->type != NGX_ELECTRUMX_JSON_OBJECT) {
        return 1;
    }
    i = ngx_electrumx_json_get(v, "id");
    rpc = ngx_electrumx_json_get(v, "jsonrpc");
    one = rpc != NULL && ngx_electrumx_json_is(rpc, "1.0", 3);
    valid = rpc == NULL || one || ngx_electrumx_json_is(rpc, "2.0", 3);
    valid = valid && ngx_electrumx_json_get(v, "method") != NULL
            && is_type(ngx_electrumx_json_get(v, "method"),
                       1u << NGX_ELECTRUMX_JSON_STRING)
            && is_type(ngx_electrumx_json_get(v, "params"),
                       1u << NGX_ELECTRUMX_JSON_ARRAY
                           | 1u << NGX_ELECTRUMX_JSON_OBJECT
                           | 1u << NGX_ELECTRUMX_JSON_NULL);
    if (i == NULL || (one && i->type == NGX_ELECTRUMX_JSON_NULL)) {
        return !valid;
    }
    ngx_electrumx_json_raw(i, id);
    return 1;
}

static int
same_id(ngx_electrumx_json_t *answer, const ngx_str_t *id)
{
    ngx_electrumx_json_t *v = ngx_electrumx_json_get(answer, "id");
    ngx_str_t raw;

    FUZZ_ASSERT(answer->type == NGX_ELECTRUMX_JSON_OBJECT && v != NULL);
    ngx_electrumx_json_raw(v, &raw);
    return raw.len == id->len && memcmp(raw.data, id->data, raw.len) == 0;
}

/* Batches are answered in any order: each expected id is there once more. */
static void
check_batch(ngx_electrumx_json_t *batch, uint32_t expected)
{
    ngx_str_t id, other;
    ngx_electrumx_json_t *v = batch + 1;

    FUZZ_ASSERT(told[0].type == NGX_ELECTRUMX_JSON_ARRAY);
    FUZZ_ASSERT(told[0].n == expected);
    for (uint32_t i = 0; i < batch->n; i++, v += v->skip) {
        ngx_electrumx_json_t *w = batch + 1, *a = told + 1;
        int want = 0, got = 0;

        if (!answered(v, &id)) {
            continue;
        }
        for (uint32_t k = 0; k < batch->n; k++, w += w->skip) {
            want += answered(w, &other) && other.len == id.len
                    && memcmp(other.data, id.data, id.len) == 0;
        }
        for (uint32_t k = 0; k < told[0].n; k++, a += a->skip) {
            got += same_id(a, &id);
        }
        FUZZ_ASSERT(got == want);
    }
}

static void
check_answer(ngx_int_t nasked)
{
    ngx_str_t id = ngx_string("null");
    uint32_t expected = 0;
    int batch = 0;

    if (nasked > 0 && asked[0].type != NGX_ELECTRUMX_JSON_ARRAY) {
        expected = (uint32_t) answered(asked, &id);
    } else if (nasked > 0 && asked[0].n != 0 && asked[0].n <= MAX_BATCH) {
        ngx_electrumx_json_t *v = asked + 1;

        batch = 1;
        for (uint32_t i = 0; i < asked[0].n; i++, v += v->skip) {
            expected += (uint32_t) answered(v, &id);
        }
    } else {
        expected = 1;
    }
    FUZZ_ASSERT(nsent == (expected != 0));
    if (nsent == 0) {
        return;
    }
    FUZZ_ASSERT(ngx_electrumx_json_parse(told, TOLD_SLOTS, sent, sentlen) > 0);
    if (batch) {
        check_batch(asked, expected);
    } else {
        FUZZ_ASSERT(same_id(told, &id));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    static const ngx_uint_t versions[] = { 0, 10400, 10600, 10700 };
    u_char *msg, *copy;
    ngx_int_t nasked;
    size_t len;

    if (buflen < 2 || buflen > MAX_TEXT) {
        return 0;
    }
    len = buflen - 2;
    msg = malloc(len + !len);
    copy = malloc(len + !len);
    FUZZ_ASSERT(msg != NULL && copy != NULL);
    memcpy(msg, buf + 2, len);
    memcpy(copy, buf + 2, len);
    nasked = ngx_electrumx_json_parse(asked, READ_SLOTS, copy, len);

    doings = buf[0];
    the_index.strict = 0;
    the_index.max_batch = MAX_BATCH;
    the_index.max_response = 200 + (buf[1] >> 2) * 40u;
    the_index.view = (struct exi_view *) &the_index;
    the_session.index = &the_index;
    the_session.connection = &the_connection;
    the_session.protocol = versions[buf[1] & 3];
    nsent = nhandled = nclosed = 0;

    ngx_electrumx_rpc_message(&the_session, msg, len);
    free(msg);
    FUZZ_ASSERT(!view_begun && pieces == NULL);
    finish_later();
    FUZZ_ASSERT(outs == 0 && nclosed == 0 && pieces == NULL);
    if (nasked != NGX_ELECTRUMX_JSON_MORE) {
        check_answer(nasked);
    }
    if (nsent != 0) {
        free(sent);
    }
    free(copy);
    return 0;
}

#include "ngx_electrumx_methods.c"
