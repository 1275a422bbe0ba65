/*
 * Types and prototypes shared inside the module.
 *
 * Rooms (each arrow is a call):
 *
 *   stream / http adapters -> session -> rpc -> methods -> handlers -> exi_*
 *                                ^         \-> subscribe
 *            indexer socket ----/-------------^ (bell)
 *
 * All of it runs in a worker's event loop; nothing here blocks for longer than
 * a warm read of the index: what is not in memory is read by threads, which
 * know nothing of all this (cold).  Hashes are in internal byte order.
 */

#ifndef _NGX_ELECTRUMX_H_INCLUDED_
#define _NGX_ELECTRUMX_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include "exi_cold.h"
#include "exi_bytes.h"
#include "exi_err.h"
#include "exi_format.h"
#include "exi_hex.h"
#include "exi_json_writer.h"
#include "exi_reader.h"
#include "exi_script.h"
#include "exi_types.h"


#define NGX_ELECTRUMX_VERSION        "0.1.0"
#define NGX_ELECTRUMX_SERVER         "ElectrumX-nginx " NGX_ELECTRUMX_VERSION

/* protocol versions as numbers: 1.4.2 is 10402 */
#define NGX_ELECTRUMX_V(a, b, c)     ((a) * 10000 + (b) * 100 + (c))
#define NGX_ELECTRUMX_PROTOCOL_MIN   NGX_ELECTRUMX_V(1, 4, 0)
#define NGX_ELECTRUMX_PROTOCOL_MAX   NGX_ELECTRUMX_V(1, 7, 0)


/* Unsent bytes of a session from which on a stream pauses (or max_queue, if
   that is less). */
#define NGX_ELECTRUMX_WINDOW         131072


typedef struct ngx_electrumx_index_s     ngx_electrumx_index_t;
typedef struct ngx_electrumx_session_s   ngx_electrumx_session_t;
typedef struct ngx_electrumx_out_s       ngx_electrumx_out_t;
typedef struct ngx_electrumx_subs_s      ngx_electrumx_subs_t;
typedef struct ngx_electrumx_indexer_s   ngx_electrumx_indexer_t;
typedef struct ngx_electrumx_blocks_s    ngx_electrumx_blocks_t;


/*
 * One "electrumx NAME { ... }" block: its settings (set while the
 * configuration is read, then constant) and what a worker keeps open for it.
 */

struct ngx_electrumx_index_s {
    ngx_str_t                  name;
    ngx_str_t                  data;           /* DATA directory, NUL-ended */

    /* settings; sizes in bytes, times in ms */
    size_t                     max_request;    /* 1m */
    size_t                     max_response;   /* 8100000 */
    ngx_uint_t                 max_batch;      /* members, 1000 */
    ngx_uint_t                 max_subs;       /* a session, 100000 */
    ngx_uint_t                 max_calls;      /* a session, 32 */
    size_t                     max_queue;      /* unsent bytes, 1m: reading
                                                  stops above it */
    ngx_msec_t                 idle_timeout;   /* 600s */
    ngx_msec_t                 send_timeout;   /* 60s without progress */
    ngx_str_t                  banner;         /* file, or empty */
    ngx_str_t                  tor_banner;     /* the same for Tor's clients */
    ngx_array_t               *tor_from;       /* ngx_cidr_t, or NULL */
    ngx_array_t               *passthrough;    /* ngx_cidr_t that may use
                                                  daemon.passthrough, or NULL */
    ngx_str_t                  donation;       /* address, or empty */
    ngx_array_t               *hosts;          /* ngx_str_t report services */
    ngx_flag_t                 strict;         /* methods as ElectrumX, off */
    time_t                     stale_after;    /* s, 24h; 0: never refused */
    ngx_thread_pool_t         *threads;        /* read from disks; NULL: off,
                                                  the worker waits */

    /* worker state, from init_process on */
    struct exi_store          *store;
    struct exi_view           *view;
    ngx_electrumx_indexer_t   *indexer;
    ngx_electrumx_blocks_t    *blocks;         /* or NULL */
    ngx_electrumx_subs_t      *subs;           /* ngx_electrumx_subscribe.c's */
    ngx_event_t                timer;          /* refresh, reconnect: 1s,
                                                  cancelable */
    ngx_queue_t                sessions;       /* by their member queue */
    ngx_str_t                  state;          /* JSON of the indexer's last `S`
                                                  frame, or empty */
    time_t                     fresh;          /* Unix s: when a frame last said
                                                  "ready"; 0: none did */
    unsigned                   ready:1;        /* the last one did */

    unsigned                   refreshing:1;   /* a thread opens files */
    unsigned                   fetching:1;     /* a thread reads for the
                                                  subscriptions */

    /* counters of this worker */
    ngx_uint_t                 nsessions;
    uint64_t                   accepted;
    uint64_t                   requests;
    uint64_t                   errors;
    uint64_t                   notifications;
    uint64_t                   cold_tasks;     /* given to threads */
    uint64_t                   cold_ranges;    /* read by them */
    uint64_t                   cold_bytes;
};


/* how a subscription names its script */

typedef enum {
    NGX_ELECTRUMX_BY_HASH = 0,
    NGX_ELECTRUMX_BY_SCRIPT,
    NGX_ELECTRUMX_BY_ADDRESS
} ngx_electrumx_by_e;


typedef enum {
    NGX_ELECTRUMX_LINE = 0,    /* TCP, TLS: messages end with a newline */
    NGX_ELECTRUMX_WS           /* WebSocket text messages, RFC 6455 */
} ngx_electrumx_framing_e;


/*
 * One client.  Made by ngx_electrumx_session_create(), of the worker's free
 * list and not of a pool, because it may outlive its connection: it lives until
 * its reference count is zero.
 */

struct ngx_electrumx_session_s {
    ngx_connection_t          *connection;     /* NULL once it is gone */
    ngx_electrumx_index_t     *index;
    ngx_electrumx_framing_e    framing;
    ngx_queue_t                queue;          /* in index->sessions */
    uint64_t                   id;             /* of the worker, never reused */

    /* adapter: ends the nginx session or request; called once */
    void                     (*finalize)(ngx_electrumx_session_t *s,
                                         ngx_int_t rc);
    void                      *data;           /* adapter's */

    /* owned by ngx_electrumx_rpc.c and the handlers */
    ngx_uint_t                 protocol;       /* NGX_ELECTRUMX_V(), 0 = none
                                                  negotiated: served as 1.4 */
    ngx_str_t                  client;         /* name, cut to 100 bytes */
    ngx_uint_t                 nrequests;
    ngx_uint_t                 ncalls;         /* node calls under way */
    ngx_uint_t                 nnotified;      /* about the present change */
    void                      *rpc;            /* more of rpc's own */
    void                      *cold;           /* ngx_electrumx_cold.c's */
    ngx_uint_t                 ncold;          /* requests put aside */
    void                      *heavy;          /* tasks, or NULL */

    /* owned by ngx_electrumx_subscribe.c */
    void                      *subscriptions;
    ngx_queue_t                watches;        /* zero: none yet */
    ngx_queue_t                leaving;        /* when the client has gone */
    ngx_uint_t                 nsubs;
    unsigned                   headers_sub:1;

    /* owned by ngx_electrumx_session.c */
    size_t                     queued;         /* unsent bytes */
    off_t                      received;
    unsigned                   closing:1;      /* close when all is sent */
    unsigned                   dead:1;         /* nothing may be sent */
    void                      *io;
};


/*
 * An outgoing message being written: a chain of buffers of the worker's own
 * free list.  Write with exi_jw_*(&out->jw, ...); out->jw.err is EXI_ELIMIT
 * when it grew above index->max_response.
 */

struct ngx_electrumx_out_s {
    struct exi_jw              jw;
    ngx_electrumx_session_t   *session;
    ngx_chain_t               *first;
    ngx_chain_t               *last;
    size_t                     size;           /* bytes in full buffers */
    size_t                     limit;
    unsigned                   stream:1;       /* full buffers are sent */
    unsigned                   begun:1;        /* one was */
};


/* session: what rpc and subscribe use (ngx_electrumx_session.c) */

/* New empty message; NULL: out of memory. */
ngx_electrumx_out_t *ngx_electrumx_out_new(ngx_electrumx_session_t *s);

/* Bytes written so far, and back to such a length (to undo a member). */
size_t ngx_electrumx_out_size(ngx_electrumx_out_t *out);
void ngx_electrumx_out_rewind(ngx_electrumx_out_t *out, size_t size);

/* Frames the message and queues it; takes it.  Sent at the end of the present
   event (coalesced), never held back longer.  On a dead session: dropped. */
void ngx_electrumx_out_send(ngx_electrumx_out_t *out);

/* The same for what many sessions are told: who has nothing else to be told is
   sent to after those who have, some at a time. */
void ngx_electrumx_out_broadcast(ngx_electrumx_out_t *out);

/* Gives it back unsent. */
void ngx_electrumx_out_drop(ngx_electrumx_out_t *out);

/* Makes an empty message one that leaves while it is written; those that are
   sent meanwhile wait behind it.  One at a time of a session.  What was written
   can't be taken back; limits are the writer's affair. */
void ngx_electrumx_out_stream(ngx_electrumx_out_t *out);

/* Unsent bytes that do not wait behind a stream. */
size_t ngx_electrumx_out_unsent(ngx_electrumx_session_t *s);

/* Appends a message to another and takes it; out->jw.err is EXI_ELIMIT if that
   is too long. */
void ngx_electrumx_out_join(ngx_electrumx_out_t *out,
    ngx_electrumx_out_t *from);

/* Ends a session: close after all queued bytes are sent (rc NGX_OK), or at once
   (NGX_ERROR).  Only marks and posts: s stays valid until the event ends. */
void ngx_electrumx_session_close(ngx_electrumx_session_t *s, ngx_int_t rc);

/* Looks at the session again: something it may have waited for is done. */
void ngx_electrumx_session_wake(ngx_electrumx_session_t *s);

/* Keeps the session's memory while an asynchronous call refers to it. */
void ngx_electrumx_session_ref(ngx_electrumx_session_t *s);
void ngx_electrumx_session_unref(ngx_electrumx_session_t *s);



/* session: what the adapters use */

/*
 * Makes a session on an accepted (and, for TLS and WebSocket, fully negotiated)
 * connection and starts reading; `pre` are bytes already read (may be empty).
 * The session takes over c->read/write handlers.  NULL: out of memory.
 */
ngx_electrumx_session_t *ngx_electrumx_session_create(ngx_connection_t *c,
    ngx_electrumx_index_t *index, ngx_electrumx_framing_e framing,
    void (*finalize)(ngx_electrumx_session_t *s, ngx_int_t rc), void *data,
    u_char *pre, size_t prelen);


/* rpc (ngx_electrumx_rpc.c): what the session calls */

/* One complete message (no newline, not NUL-ended; UTF-8 not yet checked for
   LINE).  Answers through out_send, now or later. */
void ngx_electrumx_rpc_message(ngx_electrumx_session_t *s, u_char *msg,
    size_t len);

/* A message that could not be framed (longer than max_request): answers
   -32600 with the reason. */
void ngx_electrumx_rpc_oversized(ngx_electrumx_session_t *s);

/* The connection is gone: forget subscriptions and pending work. */
void ngx_electrumx_rpc_closed(ngx_electrumx_session_t *s);

/* Requests whose answers are still to come: calls to the node under way or
   waiting, long ones. */
ngx_uint_t ngx_electrumx_rpc_pending(ngx_electrumx_session_t *s);

/* Long requests (ngx_electrumx_task.c): how many, whether so many that no more
   may come; they may go on writing. */
ngx_uint_t ngx_electrumx_tasks(ngx_electrumx_session_t *s);
ngx_uint_t ngx_electrumx_tasks_full(ngx_electrumx_session_t *s);
void ngx_electrumx_tasks_writable(ngx_electrumx_session_t *s);


/* subscribe (ngx_electrumx_subscribe.c) */

ngx_int_t ngx_electrumx_subs_init(ngx_electrumx_index_t *index,
    ngx_cycle_t *cycle);
void ngx_electrumx_subs_done(ngx_electrumx_index_t *index);

/* Bell or timer: reads the change log and notifies.  Cheap if nothing new. */
void ngx_electrumx_subs_changed(ngx_electrumx_index_t *index);


/* cold (ngx_electrumx_cold.c) */

/*
 * Opens what is new of the index: in a thread if the index has a pool.  NGX_OK:
 * done; NGX_AGAIN: under way; NGX_ERROR.
 */
ngx_int_t ngx_electrumx_refresh(ngx_electrumx_index_t *index);

/* Whether the session waits for so many reads that its input has to wait. */
ngx_uint_t ngx_electrumx_cold_full(ngx_electrumx_session_t *s);

/* The index needs a descriptor for each of its files: raises the process's
   limit, unless worker_rlimit_nofile sets it. */
void ngx_electrumx_files(ngx_cycle_t *cycle);


/* indexer socket (ngx_electrumx_indexer.c) */

/* Answer to a call: ok and JSON result, or not ok and JSON {"code","message"}.
   json is good during the callback only. */
typedef void (*ngx_electrumx_reply_pt)(void *data, ngx_uint_t ok, u_char *json,
    size_t len);

/*
 * Calls the indexer (docs/index-format.md, section 7).  params: JSON array
 * text, copied.  The callback is called exactly once: with the reply, or with
 * an error when the indexer is gone, overloaded or 30 s have passed; never
 * before this function has returned.  NGX_ERROR: out of memory, or too many
 * calls (then no callback).
 */
ngx_int_t ngx_electrumx_indexer_call(ngx_electrumx_index_t *index,
    const char *name, u_char *params, size_t len, ngx_electrumx_reply_pt reply,
    void *data);

/* Connects (non-blocking), keeps trying from the index's timer. */
ngx_int_t ngx_electrumx_indexer_init(ngx_electrumx_index_t *index,
    ngx_cycle_t *cycle);
void ngx_electrumx_indexer_done(ngx_electrumx_index_t *index);
void ngx_electrumx_indexer_tick(ngx_electrumx_index_t *index);


/* Asks for a block file of the node: it comes to ngx_electrumx_blocks_frame().
   NGX_ERROR: not connected, or out of memory. */
ngx_int_t ngx_electrumx_indexer_file(ngx_electrumx_index_t *index,
    uint32_t number);


/* block files (ngx_electrumx_blocks.c) */

ngx_int_t ngx_electrumx_blocks_init(ngx_electrumx_index_t *index,
    ngx_cycle_t *cycle);
void ngx_electrumx_blocks_done(ngx_electrumx_index_t *index);

/* The connection to the indexer is gone: closes all files. */
void ngx_electrumx_blocks_reset(ngx_electrumx_index_t *index);

/* As c->recv, on the indexer's socket: keeps descriptors that come along. */
ssize_t ngx_electrumx_blocks_recv(ngx_electrumx_index_t *index,
    ngx_connection_t *c, u_char *buf, size_t size);

/* An `F` frame without its head.  NGX_ERROR: malformed. */
ngx_int_t ngx_electrumx_blocks_frame(ngx_electrumx_index_t *index, u_char *p,
    size_t len);

/*
 * A settled transaction: pos->size bytes at *raw, good until the next call,
 * checked against its txid.  NGX_DECLINED: not at hand, the node knows it.
 */
ngx_int_t ngx_electrumx_blocks_tx(ngx_electrumx_index_t *index,
    const struct exi_txid *txid, const struct exi_txpos *pos, u_char **raw);


/* Whether the indexer's state (JSON) is "ready" (ngx_electrumx_answer.c) */
ngx_uint_t ngx_electrumx_state_ready(ngx_str_t *state);


/* core module (ngx_electrumx_module.c) */

/* Index by name, or NULL; for the adapters' directives. */
ngx_electrumx_index_t *ngx_electrumx_find(ngx_cycle_t *cycle, ngx_str_t *name);

/* The same while the configuration is read: the block may come later; that it
   came is checked at the end. */
ngx_electrumx_index_t *ngx_electrumx_ref(ngx_conf_t *cf, ngx_str_t *name);

/* Seconds since the snapshot was last known to be what the node has: since the
   indexer said so, or since it changed the snapshot. */
time_t ngx_electrumx_age(ngx_electrumx_index_t *index,
    const struct exi_live_state *st);

/* Whether that can't be said of it now: the indexer is gone, silent, or without
   its node. */
ngx_uint_t ngx_electrumx_stale(ngx_electrumx_index_t *index,
    const struct exi_live_state *st);

/* Frees the worker's free lists, at exit (ngx_electrumx_session.c, _out.c). */
void ngx_electrumx_session_exit(void);
void ngx_electrumx_out_exit(void);

extern ngx_module_t  ngx_electrumx_module;


#endif /* _NGX_ELECTRUMX_H_INCLUDED_ */
