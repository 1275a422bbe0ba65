/*
 * What a session reads.
 *
 * All input is read into one buffer of the worker; what a session keeps is an
 * unfinished message (in.line, in.ws) or input that was read but had to wait
 * (pend).  A turn of a session is bounded in time, messages and bytes; then it
 * is posted behind the other events.  Nothing is read while too much is queued
 * for the client, too many of its requests wait for a disk, or it waits for too
 * many long answers (stopped): the session's step goes on when that is over.
 */

#include "ngx_electrumx_session.h"

#include <time.h>


#define NGX_ELECTRUMX_READ_SIZE     32768

/* bounds of a turn */
#define NGX_ELECTRUMX_TURN_READS    8
#define NGX_ELECTRUMX_TURN_MSGS     128
#define NGX_ELECTRUMX_TURN_NSEC     500000


typedef struct {
    ngx_uint_t         msgs;
    ngx_uint_t         over;       /* a bound was reached */
    struct timespec    start;
} ngx_electrumx_turn_t;


static ngx_int_t ngx_electrumx_input_pend(ngx_electrumx_session_t *s,
    u_char *p, size_t n);
static ngx_int_t ngx_electrumx_input_recv(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn);
static ngx_int_t ngx_electrumx_input_feed(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn, u_char **pos, u_char *end);
static ngx_int_t ngx_electrumx_input_may_go_on(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn);
static ngx_int_t ngx_electrumx_input_event(ngx_electrumx_session_t *s,
    ngx_electrumx_in_e in, u_char *msg, size_t len);
static ngx_int_t ngx_electrumx_input_control(ngx_electrumx_session_t *s,
    ngx_electrumx_in_e in, u_char *msg, size_t len);
static void *ngx_electrumx_input_resize(void *p, size_t size);


static u_char  *ngx_electrumx_read_buf;


ngx_int_t
ngx_electrumx_input_init(ngx_electrumx_session_t *s, u_char *pre, size_t prelen)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (ngx_electrumx_read_buf == NULL) {

        ngx_electrumx_read_buf = ngx_alloc(NGX_ELECTRUMX_READ_SIZE,
                                           ngx_cycle->log);
        if (ngx_electrumx_read_buf == NULL) {
            return NGX_ERROR;
        }
    }

    if (s->framing == NGX_ELECTRUMX_WS) {
        ngx_electrumx_ws_init(&io->in.ws, s->index->max_request,
                              ngx_electrumx_input_resize);
    } else {
        ngx_electrumx_line_init(&io->in.line, s->index->max_request,
                                ngx_electrumx_input_resize);
    }

    return ngx_electrumx_input_pend(s, pre, prelen);
}


void
ngx_electrumx_input_free(ngx_electrumx_session_t *s)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (io->pend) {
        ngx_free(io->pend);
        io->pend = NULL;
    }

    if (s->framing == NGX_ELECTRUMX_WS) {
        ngx_electrumx_ws_free(&io->in.ws);

    } else {
        ngx_electrumx_line_free(&io->in.line);
    }
}


void
ngx_electrumx_input_read(ngx_electrumx_session_t *s)
{
    ngx_int_t              rc;
    ngx_uint_t             i;
    ngx_event_t           *rev;
    ngx_electrumx_io_t    *io;
    ngx_electrumx_turn_t   turn;

    io = s->io;
    rev = s->connection->read;

    turn.msgs = 0;
    turn.over = 0;
    (void) clock_gettime(CLOCK_MONOTONIC, &turn.start);

    rc = NGX_AGAIN;

    for (i = 0; i < NGX_ELECTRUMX_TURN_READS; i++) {

        if (s->dead) {
            return;
        }

        if (io->stopped) {
            rc = NGX_OK;
            break;
        }

        if (io->pend) {
            rc = ngx_electrumx_input_feed(s, &turn, &io->pend_pos,
                                            io->pend_end);
            if (rc == NGX_OK) {
                ngx_free(io->pend);
                io->pend = NULL;
            }

        } else {
            rc = ngx_electrumx_input_recv(s, &turn);
        }

        if (rc != NGX_OK) {
            break;
        }
    }

    if (rc == NGX_ERROR || s->dead) {
        ngx_electrumx_session_abort(s);
        return;
    }

    /* there may be more, but others come first; a turn that is over may have
       left input, or its end, in the socket, and nothing in pend: no event
       comes for that again */

    if (!io->stopped
        && (io->pend || turn.over || i == NGX_ELECTRUMX_TURN_READS))
    {
        ngx_post_event(&io->work, &ngx_posted_next_events);
    }

    if (ngx_handle_read_event(rev, rev->eof ? NGX_CLOSE_EVENT : 0) != NGX_OK) {
        ngx_electrumx_session_abort(s);
    }
}


/* Reads once: NGX_OK, NGX_AGAIN (nothing to read now, or what was read has to
   wait), NGX_ERROR. */

static ngx_int_t
ngx_electrumx_input_recv(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn)
{
    u_char              *pos, *end;
    ssize_t              n;
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_electrumx_io_t  *io;

    io = s->io;
    c = s->connection;

    if (io->eof || !c->read->ready) {
        return NGX_AGAIN;
    }

    n = c->recv(c, ngx_electrumx_read_buf, NGX_ELECTRUMX_READ_SIZE);

    if (n == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (n == 0) {
        io->eof = 1;
        ngx_post_event(&io->step, &ngx_posted_events);
        return NGX_AGAIN;
    }

    s->received += n;

    pos = ngx_electrumx_read_buf;
    end = pos + n;

    rc = ngx_electrumx_input_feed(s, turn, &pos, end);

    if (rc == NGX_AGAIN) {
        return ngx_electrumx_input_pend(s, pos, end - pos) == NGX_OK
               ? NGX_AGAIN : NGX_ERROR;
    }

    return rc;
}


/* Keeps input for later. */

static ngx_int_t
ngx_electrumx_input_pend(ngx_electrumx_session_t *s, u_char *p, size_t n)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (n == 0) {
        return NGX_OK;
    }

    io->pend = ngx_alloc(n, ngx_cycle->log);
    if (io->pend == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(io->pend, p, n);

    io->pend_pos = io->pend;
    io->pend_end = io->pend + n;

    return NGX_OK;
}


/* Handles the messages in the input: NGX_OK all is used, NGX_AGAIN the rest has
   to wait, NGX_ERROR. */

static ngx_int_t
ngx_electrumx_input_feed(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn, u_char **pos, u_char *end)
{
    size_t               len;
    u_char              *msg;
    ngx_int_t            rc;
    ngx_electrumx_in_e   in;
    ngx_electrumx_io_t  *io;

    io = s->io;

    for ( ;; ) {

        /* closing: a line client's input is no longer looked at, a WebSocket
           client's only for its close frame */

        if (s->closing && s->framing == NGX_ELECTRUMX_LINE) {
            *pos = end;
            return NGX_OK;
        }

        msg = NULL;
        len = 0;

        if (s->framing == NGX_ELECTRUMX_WS) {
            in = ngx_electrumx_ws_next(&io->in.ws, pos, end, &msg, &len);

        } else {
            in = ngx_electrumx_line_next(&io->in.line, pos, end, &msg, &len);
        }

        if (in == NGX_ELECTRUMX_IN_AGAIN) {
            return NGX_OK;
        }

        rc = ngx_electrumx_input_event(s, in, msg, len);
        if (rc != NGX_OK) {
            return rc;
        }

        if (ngx_electrumx_input_may_go_on(s, turn) != NGX_OK) {
            return NGX_AGAIN;
        }
    }
}


static ngx_int_t
ngx_electrumx_input_may_go_on(ngx_electrumx_session_t *s,
    ngx_electrumx_turn_t *turn)
{
    struct timespec  now;

    if (s->dead) {
        return NGX_ERROR;
    }

    if (s->queued > s->index->max_queue || ngx_electrumx_cold_full(s)
        || ngx_electrumx_tasks_full(s))
    {
        ngx_electrumx_io(s)->stopped = 1;
        return NGX_AGAIN;
    }

    if (++turn->msgs >= NGX_ELECTRUMX_TURN_MSGS) {
        turn->over = 1;
        return NGX_AGAIN;
    }

    (void) clock_gettime(CLOCK_MONOTONIC, &now);

    if ((now.tv_sec - turn->start.tv_sec) * 1000000000
        + (now.tv_nsec - turn->start.tv_nsec) > NGX_ELECTRUMX_TURN_NSEC)
    {
        turn->over = 1;
        return NGX_AGAIN;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_input_event(ngx_electrumx_session_t *s, ngx_electrumx_in_e in,
    u_char *msg, size_t len)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    switch (in) {

    case NGX_ELECTRUMX_IN_MESSAGE:

        if (!s->closing) {
            io->last_request = ngx_current_msec;
            ngx_electrumx_rpc_message(s, msg, len);
        }

        return NGX_OK;

    case NGX_ELECTRUMX_IN_OVERSIZED:

        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "client sent a message of more than %uz bytes",
                      s->index->max_request);

        if (!s->closing) {
            ngx_electrumx_rpc_oversized(s);
        }

        if (s->framing == NGX_ELECTRUMX_WS) {
            ngx_electrumx_session_end(s, NGX_ELECTRUMX_WS_TOO_BIG);
        }

        return NGX_OK;

    case NGX_ELECTRUMX_IN_NOMEM:
        return NGX_ERROR;

    case NGX_ELECTRUMX_IN_AGAIN:
    case NGX_ELECTRUMX_IN_PING:
    case NGX_ELECTRUMX_IN_PONG:
    case NGX_ELECTRUMX_IN_CLOSE:
    case NGX_ELECTRUMX_IN_ERROR:
        break;
    }

    return ngx_electrumx_input_control(s, in, msg, len);
}


/* WebSocket's own events. */

static ngx_int_t
ngx_electrumx_input_control(ngx_electrumx_session_t *s,
    ngx_electrumx_in_e in, u_char *msg, size_t len)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    switch (in) {

    case NGX_ELECTRUMX_IN_PING:

        io->last_request = ngx_current_msec;

        if (s->closing) {
            return NGX_OK;
        }

        return ngx_electrumx_out_control(s, NGX_ELECTRUMX_WS_PONG, msg, len);

    case NGX_ELECTRUMX_IN_CLOSE:

        /* answered with the same code; answers under way are not waited for */

        io->close_read = 1;
        ngx_electrumx_session_end(s, io->in.ws.code);
        ngx_post_event(&io->step, &ngx_posted_events);

        return NGX_OK;

    case NGX_ELECTRUMX_IN_ERROR:

        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "client broke the WebSocket protocol, code %ui",
                      (ngx_uint_t) io->in.ws.code);
        ngx_electrumx_session_end(s, io->in.ws.code);

        return NGX_OK;

    default:
        return NGX_OK;
    }
}


void
ngx_electrumx_input_discard(ngx_electrumx_session_t *s)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    c = s->connection;
    c->read->ready = !ngx_electrumx_io(s)->eof;

    for (i = 0; i < NGX_ELECTRUMX_TURN_READS; i++) {

        if (!c->read->ready
            || c->recv(c, ngx_electrumx_read_buf, NGX_ELECTRUMX_READ_SIZE) <= 0)
        {
            return;
        }
    }
}


static void *
ngx_electrumx_input_resize(void *p, size_t size)
{
    void  *new;

    if (size == 0) {
        ngx_free(p);
        return NULL;
    }

    new = realloc(p, size);

    if (new == NULL) {
        ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                      "realloc(%uz) failed", size);
    }

    return new;
}


void
ngx_electrumx_input_exit(void)
{
    if (ngx_electrumx_read_buf) {
        ngx_free(ngx_electrumx_read_buf);
        ngx_electrumx_read_buf = NULL;
    }
}
