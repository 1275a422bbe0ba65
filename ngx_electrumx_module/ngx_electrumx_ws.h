/*
 * Messages out of a byte stream, part two: WebSocket frames, RFC 6455, the
 * server's side.  Plain C, no nginx.
 *
 * Text and binary messages are taken alike (some clients send binary); both
 * must be UTF-8, which is checked as the bytes come.  No extensions.
 */

#ifndef _NGX_ELECTRUMX_WS_H_INCLUDED_
#define _NGX_ELECTRUMX_WS_H_INCLUDED_


#include "ngx_electrumx_line.h"


#define NGX_ELECTRUMX_WS_FIN         0x80
#define NGX_ELECTRUMX_WS_MORE        0x0    /* continues a message */
#define NGX_ELECTRUMX_WS_TEXT        0x1
#define NGX_ELECTRUMX_WS_BINARY      0x2
#define NGX_ELECTRUMX_WS_CLOSE       0x8
#define NGX_ELECTRUMX_WS_PING        0x9
#define NGX_ELECTRUMX_WS_PONG        0xa

/* status codes of a close frame, RFC 6455 section 7.4.1 */
#define NGX_ELECTRUMX_WS_NORMAL      1000
#define NGX_ELECTRUMX_WS_GOING_AWAY  1001
#define NGX_ELECTRUMX_WS_PROTOCOL    1002
#define NGX_ELECTRUMX_WS_NO_STATUS   1005    /* never sent */
#define NGX_ELECTRUMX_WS_BAD_DATA    1007
#define NGX_ELECTRUMX_WS_TOO_BIG     1009
#define NGX_ELECTRUMX_WS_INTERNAL    1011

#define NGX_ELECTRUMX_WS_CTL_MAX     125     /* payload of a control frame */
#define NGX_ELECTRUMX_WS_HEAD_MAX    10      /* of a server's frame */


typedef struct {
    uint8_t                left;        /* continuation bytes to come */
    uint8_t                low;         /* bounds of the next one */
    uint8_t                high;
} ngx_electrumx_utf8_t;


typedef struct {
    ngx_electrumx_acc_t    acc;         /* the message so far */
    size_t                 max;         /* bytes of a message */
    uint64_t               left;        /* payload bytes of the frame to come */
    uint64_t               total;       /* of the message, with this frame */
    uint16_t               code;        /* of CLOSE, ERROR, OVERSIZED */
    ngx_electrumx_utf8_t   utf8;
    u_char                 head[14];    /* of the frame, as far as known */
    uint8_t                nhead;
    uint8_t                mask[4];
    uint8_t                nmask;       /* payload bytes so far, mod 4 */
    uint8_t                nctl;
    u_char                 ctl[NGX_ELECTRUMX_WS_CTL_MAX];
    unsigned               opcode:4;
    unsigned               fin:1;
    unsigned               payload:1;   /* head is complete */
    unsigned               open:1;      /* in a fragmented message */
    unsigned               taken:1;     /* acc was handed out */
    unsigned               done:1;      /* closed or failed: input is ignored */
} ngx_electrumx_ws_t;


/* A parser of messages up to max bytes. */
void ngx_electrumx_ws_init(ngx_electrumx_ws_t *ws, size_t max,
    void *(*resize)(void *p, size_t size));

/*
 * Takes input from *pos (moving it) up to end; the input is unmasked in place.
 * MESSAGE: *msg and *len are a message without a newline at its end, never
 * empty; PING, PONG, CLOSE: their data; good until the next call or as long as
 * the input is, whichever is shorter.  CLOSE, ERROR, OVERSIZED: ws->code is set
 * (CLOSE: NO_STATUS if the frame had none), all further input is ignored.
 */
ngx_electrumx_in_e ngx_electrumx_ws_next(ngx_electrumx_ws_t *ws,
    u_char **pos, u_char *end, u_char **msg, size_t *len);

/* Gives back what it keeps. */
void ngx_electrumx_ws_free(ngx_electrumx_ws_t *ws);

/* Head of an unmasked, unfragmented frame with len bytes of payload: writes up
   to NGX_ELECTRUMX_WS_HEAD_MAX bytes, returns how many. */
size_t ngx_electrumx_ws_head(u_char *out, unsigned opcode, uint64_t len);

/* A whole close frame without reason into out[4]; NO_STATUS: an empty one.
   Returns its length. */
size_t ngx_electrumx_ws_close(u_char *out, unsigned code);

/* Goes on checking; 0, or -1 at the first byte that can't be.  A text is whole
   when u->left is 0. */
int ngx_electrumx_utf8_check(ngx_electrumx_utf8_t *u, const u_char *p,
    size_t n);


#endif /* _NGX_ELECTRUMX_WS_H_INCLUDED_ */
