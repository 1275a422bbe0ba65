/*
 * Messages out of a byte stream, part one: lines.  Plain C, no nginx: unit
 * tests and fuzzers link these files alone.
 *
 * Input comes in pieces of any size.  A message that lies whole in one piece is
 * handed out where it lies; only the beginning of an unfinished one is copied
 * and kept, so that an idle connection keeps nothing.  What is handed out never
 * depends on where the input was cut.
 */

#ifndef _NGX_ELECTRUMX_LINE_H_INCLUDED_
#define _NGX_ELECTRUMX_LINE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


/* What a parser found. */

typedef enum {
    NGX_ELECTRUMX_IN_AGAIN = 0,     /* all input is used, give more */
    NGX_ELECTRUMX_IN_MESSAGE,
    NGX_ELECTRUMX_IN_OVERSIZED,     /* LINE: skipped; WS: fatal, code 1009 */
    NGX_ELECTRUMX_IN_NOMEM,         /* fatal */

    /* WebSocket only */
    NGX_ELECTRUMX_IN_PING,          /* message = application data */
    NGX_ELECTRUMX_IN_PONG,
    NGX_ELECTRUMX_IN_CLOSE,         /* message = reason; last event */
    NGX_ELECTRUMX_IN_ERROR          /* fatal, close with the parser's code */
} ngx_electrumx_in_e;


/*
 * Bytes of an unfinished message.  resize works as realloc does: NULL is out of
 * memory and leaves p as it is; size 0 frees p.
 */

typedef struct {
    u_char    *data;
    size_t     len;
    size_t     size;
    void    *(*resize)(void *p, size_t size);
} ngx_electrumx_acc_t;


/* Appends n bytes; 0, or -1 when out of memory (nothing changes then). */
int ngx_electrumx_acc_add(ngx_electrumx_acc_t *acc, const u_char *p, size_t n);

/* Empties it and gives its memory back. */
void ngx_electrumx_acc_free(ngx_electrumx_acc_t *acc);


typedef struct {
    ngx_electrumx_acc_t    acc;
    size_t                 max;         /* bytes of a message */
    unsigned               taken:1;     /* acc was handed out */
    unsigned               skip:1;      /* in an over-long line */
} ngx_electrumx_line_t;


/* A parser of messages up to max bytes. */
void ngx_electrumx_line_init(ngx_electrumx_line_t *l, size_t max,
    void *(*resize)(void *p, size_t size));

/*
 * Takes input from *pos (moving it) up to end.  MESSAGE: *msg and *len are one
 * line without LF or CRLF, never empty, good until the next call or as long as
 * the input is, whichever is shorter.  OVERSIZED: once for each line longer
 * than max, the rest of it is skipped.  AGAIN, NOMEM.
 */
ngx_electrumx_in_e ngx_electrumx_line_next(ngx_electrumx_line_t *l,
    u_char **pos, u_char *end, u_char **msg, size_t *len);

/* Gives back what it keeps; the parser is as new. */
void ngx_electrumx_line_free(ngx_electrumx_line_t *l);


#endif /* _NGX_ELECTRUMX_LINE_H_INCLUDED_ */
