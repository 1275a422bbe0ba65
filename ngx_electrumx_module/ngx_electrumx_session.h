/*
 * Inside of a session: what ngx_electrumx_session.c, _input.c, _out.c and
 * _block.c share; nobody else includes it.
 */

#ifndef _NGX_ELECTRUMX_SESSION_H_INCLUDED_
#define _NGX_ELECTRUMX_SESSION_H_INCLUDED_


#include "ngx_electrumx.h"
#include "ngx_electrumx_line.h"
#include "ngx_electrumx_ws.h"


/* How many pieces a free list keeps: with the sanitizer none, so that it sees
   every late use. */

#if defined(__SANITIZE_ADDRESS__)
#define NGX_ELECTRUMX_KEEP(n)  0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NGX_ELECTRUMX_KEEP(n)  0
#endif
#endif

#ifndef NGX_ELECTRUMX_KEEP
#define NGX_ELECTRUMX_KEEP(n)  (n)
#endif


typedef struct {
    ngx_chain_t               *first;       /* unsent blocks */
    ngx_chain_t               *last;

    ngx_electrumx_out_t       *stream;      /* a message that is being sent */
    ngx_chain_t               *behind;      /* blocks that wait for its end */
    ngx_chain_t               *behind_last;
    size_t                     nbehind;     /* their bytes, in s->queued */

    union {
        ngx_electrumx_line_t   line;
        ngx_electrumx_ws_t     ws;
    } in;

    u_char                    *pend;        /* read, not yet parsed */
    u_char                    *pend_pos;
    u_char                    *pend_end;

    ngx_event_t                step;        /* posted: write, close */
    ngx_event_t                work;        /* posted: go on reading */

    ngx_msec_t                 last_request;
    ngx_msec_t                 drain_at;
    ngx_msec_t                 close_at;    /* waits for the client no longer */
    ngx_uint_t                 refs;
    ngx_uint_t                 close_code;  /* of the close frame, or 0 */

    unsigned                   eof:1;       /* the client sends no more */
    unsigned                   stopped:1;   /* not reading: queue is full */
    unsigned                   draining:1;  /* the worker shuts down */
    unsigned                   close_sent:1;
    unsigned                   close_read:1;
    unsigned                   waiting:1;   /* close_at is set */
    unsigned                   later:1;     /* step waits with a broadcast */
} ngx_electrumx_io_t;


#define ngx_electrumx_io(s)  ((ngx_electrumx_io_t *) (s)->io)


/* Ends a session when all is sent; code: of the close frame. */
void ngx_electrumx_session_end(ngx_electrumx_session_t *s, ngx_uint_t code);

/* Ends it at once: marks it and posts its step. */
void ngx_electrumx_session_abort(ngx_electrumx_session_t *s);


/* input */

/* Prepares to read; pre are bytes already read (copied).  NGX_ERROR: out of
   memory. */
ngx_int_t ngx_electrumx_input_init(ngx_electrumx_session_t *s, u_char *pre,
    size_t prelen);
void ngx_electrumx_input_free(ngx_electrumx_session_t *s);

/* A turn: reads and handles what there is, up to the bounds. */
void ngx_electrumx_input_read(ngx_electrumx_session_t *s);

/* Reads without looking, before the connection is closed: input left unread
   would make the system reset it, and the client lose what was sent last. */
void ngx_electrumx_input_discard(ngx_electrumx_session_t *s);

void ngx_electrumx_input_exit(void);


/* blocks */

#define NGX_ELECTRUMX_BLOCK_SMALL   1024      /* bytes, with its head */

/* An empty block, a link of its own (large: 16 KB, else the size above): all of
   it, buf->start ... end, is the caller's until it is put back.  NULL: out of
   memory. */
ngx_chain_t *ngx_electrumx_block_get(ngx_uint_t large);
void ngx_electrumx_block_put(ngx_chain_t *cl);

/* All of a chain; NULL is allowed. */
void ngx_electrumx_blocks_put(ngx_chain_t *cl);

/* Frees the lists. */
void ngx_electrumx_blocks_exit(void);


/* output */

/* Queues a WebSocket control frame of up to 125 bytes. */
ngx_int_t ngx_electrumx_out_control(ngx_electrumx_session_t *s,
    ngx_uint_t opcode, u_char *data, size_t len);

/* Writes what the connection takes: NGX_OK all, NGX_AGAIN some, NGX_ERROR. */
ngx_int_t ngx_electrumx_out_flush(ngx_electrumx_session_t *s);

/* Drops the queue. */
void ngx_electrumx_out_clear(ngx_electrumx_session_t *s);


#endif /* _NGX_ELECTRUMX_SESSION_H_INCLUDED_ */
