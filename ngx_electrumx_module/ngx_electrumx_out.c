/*
 * What a session sends: messages are written into blocks of memory and queued
 * on the session; one write at the end of the event sends all of them.
 *
 * A message that fits behind the last queued one is copied there, so that many
 * small answers become few buffers (few system calls; with TLS few records);
 * a small first one moves to a small block, so that a notification to every
 * session of a worker does not take a large block for each.
 *
 * A streamed message is queued block by block as it is written (WebSocket: each
 * one a fragment); other messages wait behind it in a queue of their own, but
 * for control frames, which may stand between fragments.
 */

#include "ngx_electrumx_session.h"


/* room in front of a message for the head of a WebSocket frame */
#define NGX_ELECTRUMX_HEADROOM      16

/* longest piece that exi_jw asks for */
#define NGX_ELECTRUMX_PIECE         4096

/* sessions with a broadcast that are sent to in a turn */
#define NGX_ELECTRUMX_LATER         256


static void ngx_electrumx_out_room(ngx_electrumx_out_t *out);
static int ngx_electrumx_out_more(struct exi_jw *w, size_t need);
static int ngx_electrumx_out_piece(struct exi_jw *w, size_t need);
static size_t ngx_electrumx_out_frame(ngx_electrumx_out_t *out);
static void ngx_electrumx_out_fragment(ngx_electrumx_out_t *out,
    ngx_uint_t fin);
static void ngx_electrumx_out_finish(ngx_electrumx_out_t *out);
static void ngx_electrumx_out_unstream(ngx_electrumx_out_t *out);
static void ngx_electrumx_out_queue(ngx_electrumx_session_t *s,
    ngx_uint_t behind, ngx_chain_t *first, ngx_chain_t *last, size_t size);
static void ngx_electrumx_out_copy(ngx_buf_t *b, ngx_chain_t *from);
static void ngx_electrumx_out_later(ngx_event_t *ev);


static ngx_queue_t            ngx_electrumx_later;      /* of steps */
static ngx_event_t            ngx_electrumx_later_event;
static ngx_electrumx_out_t   *ngx_electrumx_out_free;


ngx_electrumx_out_t *
ngx_electrumx_out_new(ngx_electrumx_session_t *s)
{
    ngx_buf_t            *b;
    ngx_chain_t          *cl;
    ngx_electrumx_out_t  *out;

    cl = ngx_electrumx_block_get(1);
    if (cl == NULL) {
        return NULL;
    }

    out = ngx_electrumx_out_free;

    if (out) {
        ngx_electrumx_out_free = NULL;

    } else {
        out = ngx_alloc(sizeof(ngx_electrumx_out_t), ngx_cycle->log);
        if (out == NULL) {
            ngx_electrumx_block_put(cl);
            return NULL;
        }
    }

    ngx_memzero(out, sizeof(ngx_electrumx_out_t));

    b = cl->buf;
    b->pos = b->start + NGX_ELECTRUMX_HEADROOM;
    b->last = b->pos;

    out->session = s;
    out->first = cl;
    out->last = cl;
    out->limit = s->index->max_response;
    out->jw.more = ngx_electrumx_out_more;
    out->jw.ctx = out;

    ngx_electrumx_out_room(out);

    return out;
}


/* Room for the writer: up to the limit, and in each block one byte less than
   there is, so that the newline at the end always fits. */

static void
ngx_electrumx_out_room(ngx_electrumx_out_t *out)
{
    size_t      size, used;
    ngx_buf_t  *b;

    b = out->last->buf;
    size = b->end - b->last - 1;
    used = out->size + (b->last - b->pos);

    if (size > out->limit - used) {
        size = out->limit - used;
    }

    out->jw.pos = b->last;
    out->jw.end = b->last + size;
}


static int
ngx_electrumx_out_more(struct exi_jw *w, size_t need)
{
    ngx_buf_t            *b;
    ngx_chain_t          *cl;
    ngx_electrumx_out_t  *out;

    out = w->ctx;

    if (need > NGX_ELECTRUMX_PIECE) {
        return EXI_EAPI;
    }

    if (need > out->limit - ngx_electrumx_out_size(out)) {
        return EXI_ELIMIT;
    }

    cl = ngx_electrumx_block_get(1);
    if (cl == NULL) {
        return EXI_ENOMEM;
    }

    b = out->last->buf;
    b->last = w->pos;

    out->size += b->last - b->pos;
    out->last->next = cl;
    out->last = cl;

    ngx_electrumx_out_room(out);

    return EXI_OK;
}


size_t
ngx_electrumx_out_size(ngx_electrumx_out_t *out)
{
    return out->size + (out->jw.pos - out->last->buf->pos);
}


void
ngx_electrumx_out_rewind(ngx_electrumx_out_t *out, size_t size)
{
    size_t        n;
    ngx_chain_t  *cl;

    if (size > ngx_electrumx_out_size(out)) {
        return;
    }

    out->last->buf->last = out->jw.pos;
    out->size = 0;

    for (cl = out->first; cl->next; cl = cl->next) {
        n = cl->buf->last - cl->buf->pos;

        if (size - out->size <= n) {
            break;
        }

        out->size += n;
    }

    ngx_electrumx_blocks_put(cl->next);

    cl->next = NULL;
    cl->buf->last = cl->buf->pos + (size - out->size);
    out->last = cl;
    out->jw.err = EXI_OK;

    ngx_electrumx_out_room(out);
}


void
ngx_electrumx_out_drop(ngx_electrumx_out_t *out)
{
    if (out->stream) {
        ngx_electrumx_out_unstream(out);
    }

    ngx_electrumx_blocks_put(out->first);

    if (ngx_electrumx_out_free == NULL && NGX_ELECTRUMX_KEEP(1)) {
        ngx_electrumx_out_free = out;
        return;
    }

    ngx_free(out);
}


void
ngx_electrumx_out_join(ngx_electrumx_out_t *out, ngx_electrumx_out_t *from)
{
    size_t       size;
    ngx_buf_t   *b;

    size = ngx_electrumx_out_size(from);

    if (out->jw.err == EXI_OK) {
        out->jw.err = from->jw.err;
    }

    if (out->jw.err == EXI_OK
        && size > out->limit - ngx_electrumx_out_size(out))
    {
        out->jw.err = EXI_ELIMIT;
    }

    if (out->jw.err == EXI_OK) {
        b = out->last->buf;
        b->last = out->jw.pos;
        out->size += b->last - b->pos;

        from->last->buf->last = from->jw.pos;
        out->size += from->size;

        out->last->next = from->first;
        out->last = from->last;
        from->first = NULL;

        ngx_electrumx_out_room(out);
    }

    ngx_electrumx_out_drop(from);
}


/* Streams */

void
ngx_electrumx_out_stream(ngx_electrumx_out_t *out)
{
    out->stream = 1;
    out->limit = NGX_MAX_SIZE_T_VALUE;
    out->jw.more = ngx_electrumx_out_piece;

    ngx_electrumx_out_room(out);

    ngx_electrumx_io(out->session)->stream = out;
}


/* The block is full: it leaves, unless nobody is there to take it. */

static int
ngx_electrumx_out_piece(struct exi_jw *w, size_t need)
{
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_electrumx_io_t       *io;
    ngx_electrumx_out_t      *out;
    ngx_electrumx_session_t  *s;

    out = w->ctx;
    s = out->session;
    io = s->io;

    if (need > NGX_ELECTRUMX_PIECE) {
        return EXI_EAPI;
    }

    if (s->dead || io->close_sent) {
        cl = out->first;

    } else {
        cl = ngx_electrumx_block_get(1);
        if (cl == NULL) {
            return EXI_ENOMEM;
        }

        ngx_electrumx_out_fragment(out, 0);
    }

    b = cl->buf;
    b->pos = b->start + NGX_ELECTRUMX_HEADROOM;
    b->last = b->pos;

    out->first = cl;
    out->last = cl;

    ngx_electrumx_out_room(out);

    return EXI_OK;
}


/* Queues the block of a stream. */

static void
ngx_electrumx_out_fragment(ngx_electrumx_out_t *out, ngx_uint_t fin)
{
    size_t      n;
    u_char      head[NGX_ELECTRUMX_WS_HEAD_MAX];
    ngx_buf_t  *b;

    b = out->first->buf;
    b->last = out->jw.pos;

    if (out->session->framing == NGX_ELECTRUMX_WS) {

        n = ngx_electrumx_ws_head(head, out->begun ? NGX_ELECTRUMX_WS_MORE
                                                   : NGX_ELECTRUMX_WS_TEXT,
                                  b->last - b->pos);
        if (!fin) {
            head[0] &= ~NGX_ELECTRUMX_WS_FIN;
        }

        b->pos -= n;
        ngx_memcpy(b->pos, head, n);

    } else if (fin) {
        *b->last++ = LF;
    }

    out->begun = 1;

    ngx_electrumx_out_queue(out->session, 0, out->first, out->first,
                            b->last - b->pos);
    out->first = NULL;
}


static void
ngx_electrumx_out_finish(ngx_electrumx_out_t *out)
{
    ngx_electrumx_out_fragment(out, 1);
    ngx_electrumx_out_drop(out);
}


/* What waited behind it comes next. */

static void
ngx_electrumx_out_unstream(ngx_electrumx_out_t *out)
{
    ngx_electrumx_io_t  *io;

    io = out->session->io;

    out->stream = 0;
    io->stream = NULL;

    if (io->behind) {
        ngx_electrumx_out_queue(out->session, 0, io->behind, io->behind_last,
                                0);
    }

    io->behind = NULL;
    io->behind_last = NULL;
    io->nbehind = 0;
}


size_t
ngx_electrumx_out_unsent(ngx_electrumx_session_t *s)
{
    return s->queued - ngx_electrumx_io(s)->nbehind;
}


void
ngx_electrumx_out_send(ngx_electrumx_out_t *out)
{
    size_t                    size;
    ngx_buf_t                *b;
    ngx_uint_t                behind;
    ngx_chain_t              *cl, *last;
    ngx_electrumx_io_t       *io;
    ngx_electrumx_session_t  *s;

    s = out->session;
    io = s->io;

    if (s->dead || io->close_sent) {
        ngx_electrumx_out_drop(out);
        return;
    }

    if (out->jw.err != EXI_OK) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "incomplete message dropped: %s",
                      exi_strerror(out->jw.err));
        ngx_electrumx_out_drop(out);
        return;
    }

    if (out->stream) {
        ngx_electrumx_out_finish(out);
        return;
    }

    behind = (io->stream != NULL);
    last = behind ? io->behind_last : io->last;

    size = ngx_electrumx_out_frame(out);

    if (last && size <= (size_t) (last->buf->end - last->buf->last)) {
        ngx_electrumx_out_copy(last->buf, out->first);
        ngx_electrumx_out_queue(s, behind, NULL, NULL, size);
        ngx_electrumx_out_drop(out);
        return;
    }

    if (last == NULL && size <= NGX_ELECTRUMX_BLOCK_SMALL / 2) {

        cl = ngx_electrumx_block_get(0);

        if (cl) {
            b = cl->buf;
            ngx_electrumx_out_copy(b, out->first);
            ngx_electrumx_out_queue(s, behind, cl, cl, size);
            ngx_electrumx_out_drop(out);
            return;
        }
    }

    ngx_electrumx_out_queue(s, behind, out->first, out->last, size);

    out->first = NULL;
    ngx_electrumx_out_drop(out);
}


/* A new block is told to every session: those that have nothing else to be told
   wait in a queue of their own, so that the others are not behind all of them
   and no turn is long. */

void
ngx_electrumx_out_broadcast(ngx_electrumx_out_t *out)
{
    ngx_uint_t                posted;
    ngx_event_t              *ev;
    ngx_electrumx_io_t       *io;
    ngx_electrumx_session_t  *s;

    s = out->session;
    io = s->io;
    posted = io->step.posted;

    ngx_electrumx_out_send(out);

    if (posted || !io->step.posted) {
        return;
    }

    if (ngx_electrumx_later.next == NULL) {
        ngx_queue_init(&ngx_electrumx_later);
    }

    ngx_delete_posted_event(&io->step);
    ngx_post_event(&io->step, &ngx_electrumx_later);
    io->later = 1;

    ev = &ngx_electrumx_later_event;
    ev->log = ngx_cycle->log;
    ev->handler = ngx_electrumx_out_later;

    ngx_post_event(ev, &ngx_posted_next_events);
}


static void
ngx_electrumx_out_later(ngx_event_t *ev)
{
    ngx_uint_t                n;
    ngx_event_t              *step;
    ngx_electrumx_session_t  *s;

    for (n = 0; n < NGX_ELECTRUMX_LATER; n++) {

        if (ngx_queue_empty(&ngx_electrumx_later)) {
            return;
        }

        step = ngx_queue_data(ngx_queue_head(&ngx_electrumx_later),
                              ngx_event_t, queue);
        s = step->data;

        ngx_delete_posted_event(step);
        ngx_electrumx_io(s)->later = 0;

        ngx_post_event(step, &ngx_posted_events);
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


/* Makes the message ready for the wire; its size. */

static size_t
ngx_electrumx_out_frame(ngx_electrumx_out_t *out)
{
    size_t      size, n;
    u_char      head[NGX_ELECTRUMX_WS_HEAD_MAX];
    ngx_buf_t  *b;

    size = ngx_electrumx_out_size(out);
    b = out->last->buf;
    b->last = out->jw.pos;

    if (out->session->framing == NGX_ELECTRUMX_LINE) {
        *b->last++ = LF;
        return size + 1;
    }

    n = ngx_electrumx_ws_head(head, NGX_ELECTRUMX_WS_TEXT, size);

    b = out->first->buf;
    b->pos -= n;
    ngx_memcpy(b->pos, head, n);

    return size + n;
}


static void
ngx_electrumx_out_copy(ngx_buf_t *b, ngx_chain_t *from)
{
    for ( /* void */ ; from; from = from->next) {
        b->last = ngx_cpymem(b->last, from->buf->pos,
                             from->buf->last - from->buf->pos);
    }
}


/* Queues blocks; size: bytes that are new in the queues. */

static void
ngx_electrumx_out_queue(ngx_electrumx_session_t *s, ngx_uint_t behind,
    ngx_chain_t *first, ngx_chain_t *last, size_t size)
{
    ngx_chain_t         **head, **tail;
    ngx_electrumx_io_t   *io;

    io = s->io;

    head = behind ? &io->behind : &io->first;
    tail = behind ? &io->behind_last : &io->last;

    if (first) {
        if (*tail) {
            (*tail)->next = first;

        } else {
            *head = first;
        }

        *tail = last;
    }

    s->queued += size;

    if (behind) {
        io->nbehind += size;
        return;
    }

    if (io->later) {
        io->later = 0;
        ngx_delete_posted_event(&io->step);
    }

    ngx_post_event(&io->step, &ngx_posted_events);
}


ngx_int_t
ngx_electrumx_out_control(ngx_electrumx_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    size_t               n;
    u_char               head[NGX_ELECTRUMX_WS_HEAD_MAX];
    ngx_buf_t           *b;
    ngx_chain_t         *cl;
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (len > NGX_ELECTRUMX_WS_CTL_MAX) {
        return NGX_ERROR;
    }

    n = ngx_electrumx_ws_head(head, opcode, len);
    cl = io->last;

    if (cl == NULL || n + len > (size_t) (cl->buf->end - cl->buf->last)) {

        cl = ngx_electrumx_block_get(0);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        ngx_electrumx_out_queue(s, 0, cl, cl, 0);
    }

    b = cl->buf;
    b->last = ngx_cpymem(b->last, head, n);

    if (len) {
        b->last = ngx_cpymem(b->last, data, len);
    }

    ngx_electrumx_out_queue(s, 0, NULL, NULL, n + len);

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_out_flush(ngx_electrumx_session_t *s)
{
    off_t                sent;
    ngx_chain_t         *cl, *rest;
    ngx_connection_t    *c;
    ngx_electrumx_io_t  *io;

    io = s->io;
    c = s->connection;

    if (io->first == NULL) {
        return NGX_OK;
    }

    sent = c->sent;

    rest = c->send_chain(c, io->first, 0);
    if (rest == NGX_CHAIN_ERROR) {
        return NGX_ERROR;
    }

    sent = c->sent - sent;

    while (io->first != rest) {
        cl = io->first;
        io->first = cl->next;
        ngx_electrumx_block_put(cl);
    }

    if (rest == NULL) {
        io->last = NULL;
        s->queued = io->nbehind;

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

    } else {
        s->queued -= ngx_min((size_t) sent, ngx_electrumx_out_unsent(s));

        if (sent > 0 || !c->write->timer_set) {
            ngx_add_timer(c->write, s->index->send_timeout);
        }
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return rest ? NGX_AGAIN : NGX_OK;
}


void
ngx_electrumx_out_clear(ngx_electrumx_session_t *s)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    ngx_electrumx_blocks_put(io->first);
    ngx_electrumx_blocks_put(io->behind);

    io->first = NULL;
    io->last = NULL;
    io->behind = NULL;
    io->behind_last = NULL;
    io->nbehind = 0;
    s->queued = 0;
}


void
ngx_electrumx_out_exit(void)
{
    ngx_electrumx_blocks_exit();

    if (ngx_electrumx_out_free) {
        ngx_free(ngx_electrumx_out_free);
        ngx_electrumx_out_free = NULL;
    }
}
