/*
 * Inside of the JSON-RPC room: requests, the method table, calls to the node,
 * subscriptions.  Only the files below "rpc" in ngx_electrumx.h's picture
 * include it.
 */

#ifndef _NGX_ELECTRUMX_RPC_H_INCLUDED_
#define _NGX_ELECTRUMX_RPC_H_INCLUDED_


#include "ngx_electrumx.h"
#include "ngx_electrumx_args.h"
#include "exi_tx.h"


/* error codes (docs/protocol.md) */
#define NGX_ELECTRUMX_PARSE_ERROR       -32700
#define NGX_ELECTRUMX_INVALID_REQUEST   -32600
#define NGX_ELECTRUMX_NO_METHOD         -32601
#define NGX_ELECTRUMX_BAD_ARGUMENTS     -32602
#define NGX_ELECTRUMX_INTERNAL          -32603
#define NGX_ELECTRUMX_BAD_REQUEST       1
#define NGX_ELECTRUMX_DAEMON_ERROR      2
#define NGX_ELECTRUMX_HISTORY_TOO_LARGE 10001
#define NGX_ELECTRUMX_BUSY              -102

/* flags of a method */
#define NGX_ELECTRUMX_NOISE             8     /* as a notification: ignored */
#define NGX_ELECTRUMX_VIEW              1     /* reads the index: has a view */
#define NGX_ELECTRUMX_NODE              2     /* may call the node */
#define NGX_ELECTRUMX_EXTRA             4     /* superfluous arguments pass */
#define NGX_ELECTRUMX_TRUSTED           16    /* for electrumx_passthrough */

#define NGX_ELECTRUMX_MAX_HEADERS       2016  /* of one block.headers */


typedef struct ngx_electrumx_req_s     ngx_electrumx_req_t;
typedef struct ngx_electrumx_batch_s   ngx_electrumx_batch_t;
typedef struct ngx_electrumx_call_s    ngx_electrumx_call_t;
typedef struct ngx_electrumx_cold_s    ngx_electrumx_cold_t;
typedef struct ngx_electrumx_read_s    ngx_electrumx_read_t;
typedef struct ngx_electrumx_job_s     ngx_electrumx_job_t;


/*
 * A handler writes the result as JSON to r->out->jw and returns NGX_OK; or
 * returns what ngx_electrumx_fail() and its like return; or NGX_AGAIN after
 * ngx_electrumx_call().
 */

typedef ngx_int_t (*ngx_electrumx_handler_pt)(ngx_electrumx_req_t *r);


/* `since` of methods that other servers added to the specification's */
#define NGX_ELECTRUMX_OTHER             NGX_ELECTRUMX_V(99, 0, 0)


typedef struct {
    ngx_str_t                    name;
    ngx_electrumx_handler_pt     handler;
    ngx_uint_t                   since;       /* protocol versions of the */
    ngx_uint_t                   until;       /* specification; 0: no end */
    ngx_uint_t                   flags;
    ngx_uint_t                   cost;        /* hundredths of a unit */
    ngx_electrumx_param_t        params[NGX_ELECTRUMX_MAX_ARGS + 1];
} ngx_electrumx_method_t;


typedef enum {
    NGX_ELECTRUMX_JSONRPC_LOOSE = 0,          /* no "jsonrpc": as 2.0 */
    NGX_ELECTRUMX_JSONRPC_1,
    NGX_ELECTRUMX_JSONRPC_2
} ngx_electrumx_dialect_e;


/* A request under way: on the stack of whoever answers it. */

struct ngx_electrumx_req_s {
    ngx_electrumx_session_t     *session;
    ngx_electrumx_index_t       *index;
    ngx_electrumx_out_t         *out;
    ngx_electrumx_batch_t       *batch;       /* or NULL */
    ngx_electrumx_cold_t        *cold;        /* run again; or NULL */
    ngx_electrumx_job_t         *job;         /* that it waited for; or NULL */
    struct exi_view             *view;        /* begun, or NULL */
    ngx_str_t                    id;          /* as it came; empty: none */
    ngx_electrumx_dialect_e      dialect;

    const ngx_electrumx_method_t  *method;
    ngx_electrumx_arg_t          args[NGX_ELECTRUMX_MAX_ARGS];

    ngx_uint_t                   close;       /* the session, after this */
    ngx_int_t                    code;        /* error */
    ngx_str_t                    message;
    u_char                       text[512];   /* room for short messages */
};


/* Answers of one batch; lives until its last call has been answered. */

struct ngx_electrumx_batch_s {
    ngx_electrumx_out_t         *out;
    size_t                       held;        /* bytes, as counted */
    ngx_uint_t                   pending;     /* calls, + 1 while it is read */
    ngx_uint_t                   answers;
    ngx_uint_t                   close;       /* the session, after it */
    uint64_t                     work;        /* of the view before it */
};


/*
 * A call to the node for a request.  finish() gets a request of its own (no
 * arguments, no view) and writes the result or fails, as a handler does.
 */

typedef ngx_int_t (*ngx_electrumx_finish_pt)(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);

struct ngx_electrumx_call_s {
    ngx_queue_t                  queue;       /* in the session's waiting */
    ngx_electrumx_session_t     *session;
    ngx_electrumx_batch_t       *batch;
    ngx_electrumx_finish_pt      finish;
    const char                  *name;
    ngx_str_t                    params;      /* JSON array */
    ngx_str_t                    id;
    ngx_electrumx_dialect_e      dialect;
    size_t                       held;        /* bytes, as counted */
    ngx_uint_t                   number;      /* finish's own */
};


/* s->rpc, made for a session's first call. */

typedef struct {
    ngx_queue_t                  queue;       /* in state->waiting */
    ngx_queue_t                  calls;       /* that wait */
    ngx_uint_t                   ncalls;      /* of them */
    size_t                       held;        /* bytes of calls and batches
                                                 that are not answered yet */
    ngx_electrumx_session_t     *session;
} ngx_electrumx_waiting_t;


/* A banner's file as it was read last. */

typedef struct {
    ngx_str_t                    text;
    time_t                       checked;
    time_t                       mtime;
} ngx_electrumx_banner_t;


/* What a worker keeps for an index beside its subscriptions. */

typedef struct {
    ngx_queue_t                  waiting;     /* ngx_electrumx_waiting_t of
                                                 sessions, in turn */
    ngx_uint_t                   ncalls;      /* under way */

    ngx_queue_t                  jobs;        /* ngx_electrumx_job.c */
    ngx_queue_t                  crowd;       /* ngx_electrumx_waiter_t */
    ngx_uint_t                   ngathers;    /* under way */
    struct ngx_electrumx_known_s  *known;

    ngx_electrumx_banner_t       banner;
    ngx_electrumx_banner_t       tor_banner;

    ngx_msec_t                   noise;       /* of the mempool, last time */
    ngx_uint_t                   block;       /* noise of a block is due */
} ngx_electrumx_state_t;


/* rpc */

/* The error to answer; message: constant text, or a format with arguments (cut
   to the room of r->text).  Both return NGX_ERROR. */
ngx_int_t ngx_electrumx_fail(ngx_electrumx_req_t *r, ngx_int_t code,
    const char *message);
ngx_int_t ngx_cdecl ngx_electrumx_failf(ngx_electrumx_req_t *r, ngx_int_t code,
    const char *fmt, ...);

/* The error for an index that is older than stale_after.  NGX_ERROR. */
ngx_int_t ngx_electrumx_fail_old(ngx_electrumx_req_t *r);

/* The error for a result of libexi; what: for the log.  Returns NGX_ERROR. */
ngx_int_t ngx_electrumx_fail_exi(ngx_electrumx_req_t *r, int rc,
    const char *what);

/* Begins the view of the message being answered: NGX_OK and r->view, or
   NGX_ERROR and the error in r. */
ngx_int_t ngx_electrumx_view(ngx_electrumx_req_t *r);

/* Memory that is good until the message is answered. */
void *ngx_electrumx_alloc(size_t size);
extern const struct exi_arena  ngx_electrumx_arena;

/* An empty request of the session. */
void ngx_electrumx_rpc_init(ngx_electrumx_req_t *r,
    ngx_electrumx_session_t *s);

/* Runs a request that was put aside from its text, which is changed. */
void ngx_electrumx_rpc_again(ngx_electrumx_req_t *r, u_char *text, size_t len);

/* Writes what precedes the result; returns where the answer starts. */
size_t ngx_electrumx_answer_begin(ngx_electrumx_req_t *r);

/* Completes the answer (rc: of the handler); one that is no member of a batch
   is sent. */
void ngx_electrumx_answer(ngx_electrumx_req_t *r, size_t start, ngx_int_t rc);

/* Writes what follows the result; of a streamed answer. */
void ngx_electrumx_answer_end(ngx_electrumx_req_t *r);

/* A message has been answered as far as possible now: ends the view, frees the
   memory. */
void ngx_electrumx_message_end(void);

/* One pending part of a batch is done: sends it after the last one. */
void ngx_electrumx_batch_done(ngx_electrumx_session_t *s,
    ngx_electrumx_batch_t *batch);

/* Whether a session waits for so many bytes of answers that it may not begin
   to wait for more; counted by ngx_electrumx_hold(). */
ngx_uint_t ngx_electrumx_holds_much(ngx_electrumx_session_t *s);
void ngx_electrumx_hold(ngx_electrumx_session_t *s, size_t *held, size_t size);

/* Most entries of a history that fit an answer. */
#define ngx_electrumx_history_limit(index)                                    \
    ((index)->max_response > 199 ? ((index)->max_response - 100) / 99 : 1)


/* scripts */

/* What a list of the protocol is written with. */

typedef struct {
    ngx_str_t                    open;        /* up to and with the "[" */
    ngx_str_t                    close;
} ngx_electrumx_list_form_t;

typedef struct {
    struct exi_jw               *jw;
    struct exi_view             *view;        /* for outputs with tokens */
    ngx_uint_t                   n;
    uint64_t                     from;        /* confirmed ones: heights */
    uint64_t                     to;          /* from <= height < to */
} ngx_electrumx_rows_t;

/* Write one entry; ctx: ngx_electrumx_rows_t. */
int ngx_electrumx_history_row(void *ctx, const struct exi_hist *h);
int ngx_electrumx_unspent_row(void *ctx, const struct exi_utxo *u);

/* Status of the script (14 bytes of key) in the view.  EXI_EHEAVY, EXI_EMANY:
   to be found out by a job first, JOB_STATUS or JOB_LIVE_STATUS; EXI_ELIMIT:
   the history is too large. */
int ngx_electrumx_script_status(ngx_electrumx_index_t *index,
    struct exi_view *view, const u_char *key, uint64_t light, u_char *status,
    bool *some);


/* tasks */

/*
 * The request, which has r->view, is answered later, in slices.  NGX_AGAIN, to
 * be returned by the handler; NGX_ERROR: the error is in r.
 * history: flags EXI_HIST_*, confirmed entries with from <= height < to.
 * park: run the handler again when a job of that kind (ngx_electrumx_job_e) is
 * done.
 */
ngx_int_t ngx_electrumx_task_history(ngx_electrumx_req_t *r, ngx_uint_t flags,
    uint64_t from, uint64_t to, const ngx_electrumx_list_form_t *form);
ngx_int_t ngx_electrumx_task_unspent(ngx_electrumx_req_t *r,
    const ngx_electrumx_list_form_t *form);
ngx_int_t ngx_electrumx_task_park(ngx_electrumx_req_t *r, ngx_uint_t kind);

/* The session is gone: forgets its tasks. */
void ngx_electrumx_tasks_closed(ngx_electrumx_session_t *s);


/* methods */

/* Method of that name, or NULL. */
const ngx_electrumx_method_t *ngx_electrumx_method(const u_char *name,
    size_t len);

/* Whether the specification has it in that version. */
ngx_uint_t ngx_electrumx_method_in(const ngx_electrumx_method_t *m,
    ngx_uint_t version);

ngx_int_t ngx_electrumx_server_version(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_ping(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_banner(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_passthrough(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_donation(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_features(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_peers(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_server_add_peer(ngx_electrumx_req_t *r);

ngx_int_t ngx_electrumx_block_header(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_block_headers(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_headers_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_headers_unsubscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_headers_get_tip(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_header_get(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_block_stats(ngx_electrumx_req_t *r);

ngx_int_t ngx_electrumx_get_balance(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_get_history(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_get_mempool(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_listunspent(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_get_status(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_get_first_use(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_unsubscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_subscribe_by(ngx_electrumx_req_t *r,
    ngx_electrumx_by_e by);
ngx_int_t ngx_electrumx_unsubscribe_by(ngx_electrumx_req_t *r,
    ngx_electrumx_by_e by);
ngx_int_t ngx_electrumx_address_balance(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_history(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_mempool(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_unspent(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_status(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_first_use(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_scripthash(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_address_unsubscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_spk_history(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_spk_mempool(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_spk_listunspent(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_spk_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_spk_unsubscribe(ngx_electrumx_req_t *r);

ngx_int_t ngx_electrumx_broadcast(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_broadcast_package(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_testmempoolaccept(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_get(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_get_merkle(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_id_from_pos(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_get_height(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_get_blockhash(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_utxo_info(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_tx_unsubscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_outpoint_subscribe(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_outpoint_get_status(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_outpoint_unsubscribe(ngx_electrumx_req_t *r);

ngx_int_t ngx_electrumx_estimatefee(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_relayfee(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_fee_histogram(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_mempool_info(ngx_electrumx_req_t *r);
ngx_int_t ngx_electrumx_mempool_recent(ngx_electrumx_req_t *r);


/* server */

/* Whether the session's client is at one of the addresses (ngx_cidr_t; NULL:
   none). */
ngx_uint_t ngx_electrumx_client_in(ngx_electrumx_session_t *s,
    ngx_array_t *addresses);

/* At exit: what banners keep. */
void ngx_electrumx_banners_free(ngx_electrumx_state_t *state);


/* noise */

/* There is a new tip: counts what each session is told of it. */
void ngx_electrumx_noise_block(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state);

/* All that has changed has been told: sends the noise that is due. */
void ngx_electrumx_noise_send(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state);


/* call */

/*
 * Asks the node for the request; params: JSON array, copied.  NGX_AGAIN: it
 * will be answered by finish(); *call (if not NULL) may be given a number.
 * NGX_ERROR: the error is in r.
 */
ngx_int_t ngx_electrumx_call(ngx_electrumx_req_t *r, const char *name,
    ngx_str_t *params, ngx_electrumx_finish_pt finish,
    ngx_electrumx_call_t **call);

/* Runs finish() of a call on (a copy of) the node's answer; the call stays the
   caller's.  NGX_AGAIN: another call, or the request was put aside. */
void ngx_electrumx_call_finish(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);

/* Ends the pending part of a batch, the memory and the reference of a call that
   has been answered. */
void ngx_electrumx_call_done(ngx_electrumx_call_t *call);

/* The session is gone: drops its waiting calls. */
void ngx_electrumx_calls_closed(ngx_electrumx_session_t *s);

/* Reads an error {"code", "message"}: code 1 means that the node said no; text
   is good as long as json. */
void ngx_electrumx_node_error(u_char *json, size_t len, ngx_int_t *code,
    ngx_str_t *text);

/* finish(): answer with the node's result as it is; error 2 otherwise. */
ngx_int_t ngx_electrumx_finish_raw(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);

/* Error 2 in words for a node's error. */
ngx_int_t ngx_electrumx_fail_node(ngx_electrumx_req_t *r, u_char *json,
    size_t len);

/* Text of a member of a JSON object; NGX_DECLINED: it is not there. */
ngx_int_t ngx_electrumx_pick(u_char *json, size_t len, const char *name,
    ngx_electrumx_json_t *value);

/* Same for the object stored under the name of a fact; needs r->view. */
ngx_int_t ngx_electrumx_pick_fact(ngx_electrumx_req_t *r, const char *fact,
    const char *name, ngx_electrumx_json_t *value);


/* cold: requests that need what is not in memory (ngx_electrumx_cold.c) */

/* Each round reads something that was not there before: only a machine that
   drops pages as fast as they are read comes near. */
#define NGX_ELECTRUMX_COLD_ROUNDS    1000

/* The request's text as it came, before its strings are decoded in place; good
   as long as the message. */
void ngx_electrumx_cold_text(ngx_electrumx_req_t *r, ngx_electrumx_json_t *v,
    ngx_str_t *text);

/* Copies that text, because an argument will be decoded in place; when out of
   memory, text->data is NULL. */
void ngx_electrumx_cold_copy(ngx_electrumx_req_t *r, ngx_str_t *text);

/*
 * After a handler that returned rc: when one of its queries lacked something,
 * what it has done does not count, and the request is put aside until that was
 * read: NGX_AGAIN.  Else, or when that can't be: what is to be answered.
 */
ngx_int_t ngx_electrumx_cold_request(ngx_electrumx_req_t *r, ngx_str_t *text,
    ngx_int_t rc);

/* The same after finish(): json is the node's answer as it came.  The call
   belongs to the request put aside if *kept. */
ngx_int_t ngx_electrumx_cold_call(ngx_electrumx_req_t *r,
    ngx_electrumx_call_t *call, ngx_uint_t ok, ngx_str_t *json, ngx_int_t rc,
    ngx_uint_t *kept);

/* Has what the view's queries lacked read, then calls handler(data); one at a
   time for an index.  NGX_DECLINED: nothing lacked; NGX_ERROR: not now. */
ngx_int_t ngx_electrumx_cold_fetch(ngx_electrumx_index_t *index,
    struct exi_view *view, void (*handler)(void *data), void *data);

/*
 * For a slice: has the list read, which is taken, then calls ready(data,
 * failed); *owner is the read until then.  NGX_ERROR: not now (no call).
 */
ngx_int_t ngx_electrumx_cold_read(ngx_electrumx_index_t *index,
    struct exi_cold_list *list, void (*ready)(void *data, ngx_uint_t failed),
    void *data, ngx_electrumx_read_t **owner);

/* Its owner goes: ready() will not be called.  NULL is allowed. */
void ngx_electrumx_cold_forget(ngx_electrumx_read_t *t);

/* The session is gone: drops what has not begun. */
void ngx_electrumx_cold_closed(ngx_electrumx_session_t *s);


/* transactions */

/* Asks the node for a transaction of the block at pos (NULL, or unconfirmed: of
   its mempool); as ngx_electrumx_call(). */
ngx_int_t ngx_electrumx_tx_ask(ngx_electrumx_req_t *r, const u_char *txid,
    const struct exi_txpos *pos, ngx_uint_t verbose,
    ngx_electrumx_finish_pt finish, ngx_electrumx_call_t **call);

/* finish() of such a call that was not verbose: takes the answer apart, in its
   place; tx is good as long as json.  EXI_EFORMAT. */
int ngx_electrumx_tx_answered(ngx_electrumx_call_t *call, u_char *json,
    size_t len, struct exi_txid *txid, struct exi_tx *tx);

/* An output of a live transaction, good until the view ends; of any other.
   EXI_ENOTFOUND: it has no such output. */
int ngx_electrumx_txout(struct exi_view *view, const struct exi_txpos *pos,
    uint32_t index, struct exi_txout *out);
int ngx_electrumx_tx_output(const struct exi_tx *tx, uint32_t index,
    struct exi_txout *out);

/* Flags of the view's coin (exi_coin.h). */
unsigned ngx_electrumx_coin(const struct exi_view *view);

/* Adds a member token_data, with a comma before it, to an object. */
void ngx_electrumx_token_data(struct exi_jw *jw, const uint8_t *data,
    size_t len);


/* outpoints */

/* An output, or a whole transaction. */

typedef struct {
    struct exi_txid              txid;
    uint32_t                     index;
    ngx_uint_t                   whole;
} ngx_electrumx_outpoint_t;


/* What became of it; heights of the mempool are 0 and -1. */

typedef struct {
    struct exi_txid              spender;
    int32_t                      funder_height;
    int32_t                      spender_height;
    struct exi_skey              script;      /* of the output */
    unsigned                     funded:1;
    unsigned                     spent:1;
    unsigned                     has_script:1;
    unsigned                     deep:1;      /* not known: spent in the settled
                                                 chain, or there is none */
} ngx_electrumx_spend_t;


/* Status as the view has it; EXI_OK, EXI_EFORMAT, EXI_EIO ... */
int ngx_electrumx_spend(struct exi_view *view,
    const ngx_electrumx_outpoint_t *o, ngx_electrumx_spend_t *st);

/* Its JSON; not of a deep one. */
void ngx_electrumx_spend_write(struct exi_jw *jw,
    const ngx_electrumx_outpoint_t *o, const ngx_electrumx_spend_t *st);

/* Subscribes the session, which has been told st.  EXI_EAPI: it has too many
   subscriptions; EXI_ENOMEM. */
int ngx_electrumx_watch_add(ngx_electrumx_session_t *s,
    const ngx_electrumx_outpoint_t *o, const ngx_electrumx_spend_t *st,
    const ngx_str_t *spelling);

/* Whether it was subscribed. */
ngx_uint_t ngx_electrumx_watch_remove(ngx_electrumx_session_t *s,
    const ngx_electrumx_outpoint_t *o);

void ngx_electrumx_watches_closed(ngx_electrumx_session_t *s);


/* subscribe */

/* What the worker keeps for the index; NULL: out of memory at start. */
ngx_electrumx_state_t *ngx_electrumx_state(ngx_electrumx_index_t *index);

/* Sends what changed up to the view; before any subscribe is answered. */
void ngx_electrumx_subs_catch_up(ngx_electrumx_index_t *index,
    struct exi_view *view);

/*
 * Subscribes the session to a script as spelled: a hash (64 digits, either
 * case) or an address (no character of it needs an escape in JSON).
 * light: as of ngx_electrumx_script_status(); job: LIVE_STATUS of the script,
 * done, or another one, or NULL.  *some false: the status is null.  EXI_EHEAVY,
 * EXI_EMANY, EXI_ELIMIT: history too large, or EXI_ENOMEM ...: not
 * subscribed.
 */
int ngx_electrumx_subs_add(ngx_electrumx_session_t *s, struct exi_view *view,
    ngx_electrumx_by_e by, const ngx_str_t *spelling, const u_char *hash,
    uint64_t light, ngx_electrumx_job_t *job, u_char *status,
    ngx_uint_t *some);

/* Whether it was subscribed. */
ngx_uint_t ngx_electrumx_subs_remove(ngx_electrumx_session_t *s,
    ngx_electrumx_by_e by, const u_char *hash);

/* Forgets all subscriptions of a session. */
void ngx_electrumx_subs_closed(ngx_electrumx_session_t *s);


#endif /* _NGX_ELECTRUMX_RPC_H_INCLUDED_ */
