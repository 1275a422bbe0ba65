/*
 * One client: its life, its timers and its events.  Knows no transport but the
 * connection's recv and send_chain, so plain and TLS, stream and http are the
 * same here.
 *
 *     read event --> input --> rpc --> out --+
 *        ^             |                     | posted: step
 *        |  posted:    | too long at a time, v
 *        +-- work <----+ or queue full    flush --> destroy
 *
 * Only step destroys a session, and it always runs on its own, never below a
 * frame of rpc or subscribe: whatever happens elsewhere only marks the session
 * and posts step.
 *
 * There is always a read timer, which is not cancelable, so that a worker that
 * shuts down waits for its sessions.
 */

#include "ngx_electrumx_session.h"


#define NGX_ELECTRUMX_DRAIN_TIME    5000    /* ms, random up to */
#define NGX_ELECTRUMX_CLOSE_WAIT    2000    /* ms, for the client's end */
#define NGX_ELECTRUMX_EOF_WAIT      35000   /* ms, for answers of the node */

#define NGX_ELECTRUMX_SESSIONS      NGX_ELECTRUMX_KEEP(64)


/* A session and its inside in one piece. */

typedef struct {
    ngx_electrumx_session_t    session;     /* first */
    ngx_electrumx_io_t         io;
    ngx_queue_t                free;
} ngx_electrumx_client_t;


static ngx_electrumx_client_t *ngx_electrumx_client_alloc(void);
static void ngx_electrumx_session_attach(ngx_electrumx_session_t *s,
    ngx_connection_t *c);
static void ngx_electrumx_session_set_timer(ngx_electrumx_session_t *s);
static void ngx_electrumx_session_timeout(ngx_electrumx_session_t *s);
static void ngx_electrumx_session_drain(ngx_electrumx_session_t *s);

static void ngx_electrumx_session_read_handler(ngx_event_t *rev);
static void ngx_electrumx_session_write_handler(ngx_event_t *wev);
static void ngx_electrumx_session_work_handler(ngx_event_t *ev);
static void ngx_electrumx_session_step_handler(ngx_event_t *ev);

static void ngx_electrumx_session_step(ngx_electrumx_session_t *s);
static ngx_int_t ngx_electrumx_session_send_close(ngx_electrumx_session_t *s);
static ngx_int_t ngx_electrumx_session_done(ngx_electrumx_session_t *s);
static void ngx_electrumx_session_half_close(ngx_electrumx_session_t *s);
static void ngx_electrumx_session_destroy(ngx_electrumx_session_t *s,
    ngx_int_t rc);


static uint64_t      ngx_electrumx_last_id;
static ngx_queue_t   ngx_electrumx_free_clients;
static ngx_uint_t    ngx_electrumx_nfree_clients;


/* life: create, references, close */

ngx_electrumx_session_t *
ngx_electrumx_session_create(ngx_connection_t *c, ngx_electrumx_index_t *index,
    ngx_electrumx_framing_e framing,
    void (*finalize)(ngx_electrumx_session_t *s, ngx_int_t rc), void *data,
    u_char *pre, size_t prelen)
{
    ngx_electrumx_io_t       *io;
    ngx_electrumx_client_t   *client;
    ngx_electrumx_session_t  *s;

    client = ngx_electrumx_client_alloc();
    if (client == NULL) {
        return NULL;
    }

    s = &client->session;
    io = &client->io;

    s->io = io;
    s->index = index;
    s->framing = framing;
    s->finalize = finalize;
    s->data = data;
    s->id = ++ngx_electrumx_last_id;

    io->refs = 1;
    io->last_request = ngx_current_msec;

    if (ngx_electrumx_input_init(s, pre, prelen) != NGX_OK) {
        ngx_free(client);
        return NULL;
    }

    ngx_queue_insert_tail(&index->sessions, &s->queue);

    index->nsessions++;
    index->accepted++;

    ngx_electrumx_session_attach(s, c);

    return s;
}


static ngx_electrumx_client_t *
ngx_electrumx_client_alloc(void)
{
    ngx_queue_t             *q;
    ngx_electrumx_client_t  *client;

    if (ngx_electrumx_free_clients.next == NULL) {
        ngx_queue_init(&ngx_electrumx_free_clients);
    }

    if (ngx_queue_empty(&ngx_electrumx_free_clients)) {
        client = ngx_alloc(sizeof(ngx_electrumx_client_t), ngx_cycle->log);
        if (client == NULL) {
            return NULL;
        }

    } else {
        q = ngx_queue_head(&ngx_electrumx_free_clients);
        ngx_queue_remove(q);
        ngx_electrumx_nfree_clients--;

        client = ngx_queue_data(q, ngx_electrumx_client_t, free);
    }

    ngx_memzero(client, sizeof(ngx_electrumx_client_t));

    return client;
}


/* Takes over an nginx connection and starts to read. */

static void
ngx_electrumx_session_attach(ngx_electrumx_session_t *s, ngx_connection_t *c)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    s->connection = c;

    c->data = s;
    c->log->action = "serving an electrum client";

    /* "idle" makes a worker that shuts down call the read handler once */

    c->idle = 1;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    c->read->handler = ngx_electrumx_session_read_handler;
    c->write->handler = ngx_electrumx_session_write_handler;

    if (ngx_tcp_nodelay(c) != NGX_OK) {
        ngx_log_debug0(NGX_LOG_DEBUG_EVENT, c->log, 0,
                       "electrumx: no TCP_NODELAY");
    }

#if (NGX_SSL)
    if (c->ssl) {
        c->ssl->buffer = 0;
        c->ssl->no_wait_shutdown = 1;
        ngx_ssl_free_buffer(c);
    }
#endif

    io->step.data = s;
    io->step.log = c->log;
    io->step.handler = ngx_electrumx_session_step_handler;

    io->work.data = s;
    io->work.log = c->log;
    io->work.handler = ngx_electrumx_session_work_handler;

    ngx_electrumx_session_set_timer(s);

    if (ngx_exiting) {
        ngx_electrumx_session_drain(s);
    }

    ngx_post_event(&io->work, &ngx_posted_events);
}


void
ngx_electrumx_session_ref(ngx_electrumx_session_t *s)
{
    ngx_electrumx_io(s)->refs++;
}


void
ngx_electrumx_session_unref(ngx_electrumx_session_t *s)
{
    ngx_electrumx_client_t  *client;

    if (--ngx_electrumx_io(s)->refs) {
        return;
    }

    client = (ngx_electrumx_client_t *) s;

    if (ngx_electrumx_nfree_clients + 1 > NGX_ELECTRUMX_SESSIONS) {
        ngx_free(client);
        return;
    }

    ngx_queue_insert_head(&ngx_electrumx_free_clients, &client->free);
    ngx_electrumx_nfree_clients++;
}


void
ngx_electrumx_session_close(ngx_electrumx_session_t *s, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        ngx_electrumx_session_end(s, NGX_ELECTRUMX_WS_NORMAL);

    } else {
        ngx_electrumx_session_abort(s);
    }
}


/* Closes when all is sent; code: of the close frame. */

void
ngx_electrumx_session_end(ngx_electrumx_session_t *s, ngx_uint_t code)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (s->closing || s->dead) {
        return;
    }

    s->closing = 1;
    io->close_code = code;

    ngx_post_event(&io->step, &ngx_posted_events);
}


void
ngx_electrumx_session_wake(ngx_electrumx_session_t *s)
{
    if (s->connection && !s->dead) {
        ngx_post_event(&ngx_electrumx_io(s)->step, &ngx_posted_events);
    }
}


/* Closes at once. */

void
ngx_electrumx_session_abort(ngx_electrumx_session_t *s)
{
    if (s->dead) {
        return;
    }

    s->dead = 1;

    ngx_post_event(&ngx_electrumx_io(s)->step, &ngx_posted_events);
}


static void
ngx_electrumx_session_destroy(ngx_electrumx_session_t *s, ngx_int_t rc)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    s->dead = 1;

    ngx_electrumx_rpc_closed(s);

    if (io->step.posted) {
        ngx_delete_posted_event(&io->step);
    }

    if (io->work.posted) {
        ngx_delete_posted_event(&io->work);
    }

    ngx_electrumx_out_clear(s);

    ngx_electrumx_input_free(s);

    ngx_queue_remove(&s->queue);
    s->index->nsessions--;

    s->connection->idle = 0;
    s->finalize(s, rc);
    s->connection = NULL;

    ngx_electrumx_session_unref(s);
}


/* timers */

static void
ngx_electrumx_session_set_timer(ngx_electrumx_session_t *s)
{
    ngx_msec_t           at;
    ngx_msec_int_t       wait;
    ngx_electrumx_io_t  *io;

    io = s->io;

    at = io->last_request + s->index->idle_timeout;

    if (io->draining && (ngx_msec_int_t) (io->drain_at - at) < 0) {
        at = io->drain_at;
    }

    if (io->waiting) {
        at = io->close_at;
    }

    wait = (ngx_msec_int_t) (at - ngx_current_msec);

    ngx_add_timer(s->connection->read, ngx_max(wait, 1));
}


static void
ngx_electrumx_session_timeout(ngx_electrumx_session_t *s)
{
    ngx_msec_t           now;
    ngx_electrumx_io_t  *io;

    io = s->io;
    now = ngx_current_msec;

    if (io->waiting) {

        if ((ngx_msec_int_t) (io->close_at - now) <= 0) {

            /* a long answer ends, or the client takes nothing for too long */

            if (!s->closing && ngx_electrumx_tasks(s)) {
                io->close_at = now + NGX_ELECTRUMX_EOF_WAIT;

            } else {
                ngx_electrumx_session_abort(s);
            }
        }

    } else if (io->draining && (ngx_msec_int_t) (io->drain_at - now) <= 0) {

        ngx_electrumx_session_end(s, NGX_ELECTRUMX_WS_GOING_AWAY);
        io->drain_at = now + NGX_ELECTRUMX_DRAIN_TIME;

    } else if (ngx_electrumx_tasks(s)) {

        io->last_request = now;

    } else if (now - io->last_request >= s->index->idle_timeout) {

        ngx_log_error(NGX_LOG_INFO, s->connection->log, NGX_ETIMEDOUT,
                      "client sent no request");
        ngx_electrumx_session_end(s, NGX_ELECTRUMX_WS_GOING_AWAY);
        io->last_request = now;
    }

    ngx_electrumx_session_set_timer(s);
}


/* The worker shuts down: sessions end at random times, so that their wallets
   do not come back all at once. */

static void
ngx_electrumx_session_drain(ngx_electrumx_session_t *s)
{
    ngx_electrumx_io_t  *io;

    io = s->io;

    io->draining = 1;
    io->drain_at = ngx_current_msec
                   + (ngx_msec_t) ngx_random() % NGX_ELECTRUMX_DRAIN_TIME;

    ngx_electrumx_session_set_timer(s);
}


/* events */

static void
ngx_electrumx_session_read_handler(ngx_event_t *rev)
{
    ngx_connection_t         *c;
    ngx_electrumx_session_t  *s;

    c = rev->data;
    s = c->data;

    if (rev->timedout) {
        rev->timedout = 0;
        ngx_electrumx_session_timeout(s);
    }

    if (c->close) {

        if (c->error) {
            ngx_electrumx_session_abort(s);
            return;
        }

        /* called once from outside of the event loop: nothing may be read now,
           what is posted here would not be looked at soon */

        if (!ngx_electrumx_io(s)->draining) {
            ngx_electrumx_session_drain(s);
            return;
        }
    }

    ngx_electrumx_input_read(s);
}


static void
ngx_electrumx_session_write_handler(ngx_event_t *wev)
{
    ngx_connection_t         *c;
    ngx_electrumx_session_t  *s;

    c = wev->data;
    s = c->data;

    if (wev->timedout) {
        wev->timedout = 0;
        c->timedout = 1;

        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client does not read");
        ngx_electrumx_session_abort(s);
        return;
    }

    ngx_electrumx_session_step(s);
}


static void
ngx_electrumx_session_work_handler(ngx_event_t *ev)
{
    ngx_electrumx_input_read(ev->data);
}


static void
ngx_electrumx_session_step_handler(ngx_event_t *ev)
{
    ngx_electrumx_session_step(ev->data);
}


/* output and end */

static void
ngx_electrumx_session_step(ngx_electrumx_session_t *s)
{
    ngx_int_t            rc;
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (s->dead) {
        ngx_electrumx_session_destroy(s, NGX_ERROR);
        return;
    }

    if (s->closing
        && (io->close_read || ngx_electrumx_tasks(s) == 0)
        && ngx_electrumx_session_send_close(s) != NGX_OK)
    {
        ngx_electrumx_session_destroy(s, NGX_ERROR);
        return;
    }

    rc = ngx_electrumx_out_flush(s);

    if (rc == NGX_ERROR) {
        ngx_electrumx_session_destroy(s, NGX_ERROR);
        return;
    }

    if (ngx_electrumx_out_unsent(s)
        < ngx_min(NGX_ELECTRUMX_WINDOW, s->index->max_queue) / 2)
    {
        ngx_electrumx_tasks_writable(s);
    }

    if (io->stopped && s->queued <= s->index->max_queue / 2
        && !ngx_electrumx_cold_full(s) && !ngx_electrumx_tasks_full(s))
    {
        io->stopped = 0;
        ngx_post_event(&io->work, &ngx_posted_next_events);
    }

    if (rc == NGX_OK && ngx_electrumx_session_done(s) == NGX_OK) {
        ngx_electrumx_session_destroy(s, NGX_OK);
    }
}


/* The close frame goes behind all that was queued, once. */

static ngx_int_t
ngx_electrumx_session_send_close(ngx_electrumx_session_t *s)
{
    size_t               n;
    u_char               frame[4];
    ngx_electrumx_io_t  *io;

    io = s->io;

    if (s->framing != NGX_ELECTRUMX_WS || io->close_sent) {
        return NGX_OK;
    }

    n = ngx_electrumx_ws_close(frame, io->close_code);

    if (ngx_electrumx_out_control(s, NGX_ELECTRUMX_WS_CLOSE, frame + 2, n - 2)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    io->close_sent = 1;

    return NGX_OK;
}


/* All is sent; NGX_OK: the session can go. */

static ngx_int_t
ngx_electrumx_session_done(ngx_electrumx_session_t *s)
{
    ngx_msec_t           wait;
    ngx_electrumx_io_t  *io;

    io = s->io;
    wait = NGX_ELECTRUMX_CLOSE_WAIT;

    if (s->closing) {

        if (ngx_electrumx_tasks(s) && !io->close_read) {
            return NGX_AGAIN;
        }

        if (s->framing == NGX_ELECTRUMX_LINE || io->close_read || io->eof) {
            ngx_electrumx_input_discard(s);
            return NGX_OK;
        }

    } else if (io->eof) {

        /* only a plain TCP client can be half there, waiting for answers */

        if ((ngx_electrumx_rpc_pending(s) == 0 && s->ncold == 0)
            || s->framing == NGX_ELECTRUMX_WS)
        {
            return NGX_OK;
        }

#if (NGX_SSL)
        if (s->connection->ssl) {
            return NGX_OK;
        }
#endif

        wait = NGX_ELECTRUMX_EOF_WAIT;

    } else {
        return NGX_AGAIN;
    }

    if (!io->waiting) {
        io->waiting = 1;
        io->close_at = ngx_current_msec + wait;
        ngx_electrumx_session_set_timer(s);

        if (s->framing == NGX_ELECTRUMX_WS && io->in.ws.done) {
            ngx_electrumx_session_half_close(s);
        }
    }

    return NGX_AGAIN;
}


/* After a broken frame the client's close frame can't be found any more: it is
   told the end, and its own is waited for. */

static void
ngx_electrumx_session_half_close(ngx_electrumx_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

#if (NGX_SSL)
    if (c->ssl) {
        (void) SSL_shutdown(c->ssl->connection);
        ERR_clear_error();
        return;
    }
#endif

    (void) ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN);
}


void
ngx_electrumx_session_exit(void)
{
    ngx_queue_t             *q;
    ngx_electrumx_client_t  *client;

    ngx_electrumx_input_exit();

    if (ngx_electrumx_free_clients.next == NULL) {
        return;
    }

    while (!ngx_queue_empty(&ngx_electrumx_free_clients)) {

        q = ngx_queue_head(&ngx_electrumx_free_clients);
        ngx_queue_remove(q);

        client = ngx_queue_data(q, ngx_electrumx_client_t, free);
        ngx_free(client);
    }

    ngx_electrumx_nfree_clients = 0;
}
