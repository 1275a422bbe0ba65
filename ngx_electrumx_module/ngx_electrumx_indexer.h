/*
 * Inside of a worker's end of the indexer's socket: what
 * ngx_electrumx_indexer.c and _socket.c share; nobody else includes it.
 */

#ifndef _NGX_ELECTRUMX_INDEXER_H_INCLUDED_
#define _NGX_ELECTRUMX_INDEXER_H_INCLUDED_


#include "ngx_electrumx.h"


#define NGX_ELECTRUMX_CALLS         256     /* under way, at most */


typedef struct {
    uint64_t                    id;         /* 0: a free slot */
    ngx_electrumx_reply_pt      reply;
    void                       *data;
    ngx_msec_t                  start;
    ngx_uint_t                  failed;     /* the posted event ends it */
} ngx_electrumx_call_t;


typedef struct ngx_electrumx_frame_s  ngx_electrumx_frame_t;


struct ngx_electrumx_indexer_s {
    ngx_electrumx_index_t      *index;
    ngx_cycle_t                *cycle;
    ngx_connection_t           *connection; /* or NULL */
    ngx_uint_t                  refused;    /* logged */

    u_char                     *in;         /* received, from the start of a
                                               frame on */
    size_t                      in_len;
    size_t                      in_size;

    ngx_electrumx_frame_t      *out;        /* to send */
    ngx_electrumx_frame_t     **out_last;
    size_t                      out_size;

    ngx_electrumx_call_t        calls[NGX_ELECTRUMX_CALLS];
    ngx_uint_t                  ncalls;
    uint64_t                    last_id;

    ngx_event_t                 bell;       /* posted: something changed */
    ngx_event_t                 fail;       /* posted: calls have failed */
    ngx_event_t                 work;       /* posted: go on reading */
};


/* indexer */

/* One frame from the indexer; p is good during the call only.  NGX_ERROR:
   malformed. */
ngx_int_t ngx_electrumx_indexer_frame(ngx_electrumx_indexer_t *ix,
    u_char type, u_char *p, size_t len);

/* The connection is gone; calls under way end by a posted event. */
void ngx_electrumx_indexer_lost(ngx_electrumx_indexer_t *ix);


/* socket */

void ngx_electrumx_socket_init(ngx_electrumx_indexer_t *ix);
void ngx_electrumx_socket_done(ngx_electrumx_indexer_t *ix);

/* Connects ix, which has no connection.  NGX_DECLINED: there is no indexer;
   NGX_ERROR. */
ngx_int_t ngx_electrumx_socket_connect(ngx_electrumx_indexer_t *ix);

/* Queues a frame of head and body on the connection, both copied.  NGX_ERROR:
   too large, too much is unsent, or out of memory. */
ngx_int_t ngx_electrumx_socket_send(ngx_electrumx_indexer_t *ix, u_char type,
    u_char *head, size_t headlen, u_char *body, size_t len);


/* little-endian integers */

static ngx_inline u_char *
ngx_electrumx_put32(u_char *p, uint32_t v)
{
    *p++ = (u_char) v;
    *p++ = (u_char) (v >> 8);
    *p++ = (u_char) (v >> 16);
    *p++ = (u_char) (v >> 24);

    return p;
}


static ngx_inline u_char *
ngx_electrumx_put64(u_char *p, uint64_t v)
{
    p = ngx_electrumx_put32(p, (uint32_t) v);

    return ngx_electrumx_put32(p, (uint32_t) (v >> 32));
}


static ngx_inline uint32_t
ngx_electrumx_get32(u_char *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t) p[3] << 24;
}


static ngx_inline uint64_t
ngx_electrumx_get64(u_char *p)
{
    return ngx_electrumx_get32(p) | (uint64_t) ngx_electrumx_get32(p + 4) << 32;
}


#endif /* _NGX_ELECTRUMX_INDEXER_H_INCLUDED_ */
