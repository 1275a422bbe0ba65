/*
 * The connection to the indexer's socket, DATA/socket: making it, frames out
 * and in.  What they mean is ngx_electrumx_indexer.c's.
 *
 * Nothing is sent or read but from the event loop, so no call ends inside the
 * function that makes it.
 */

#include "ngx_electrumx_indexer.h"

#include <sys/un.h>


#define NGX_ELECTRUMX_FRAME_MAX     (16 * 1024 * 1024)
#define NGX_ELECTRUMX_FRAME_HEAD    5       /* length and type */

#define NGX_ELECTRUMX_IN_SIZE       16384   /* the buffer's usual size */
#define NGX_ELECTRUMX_OUT_MAX       (64 * 1024 * 1024)
#define NGX_ELECTRUMX_TURN_FRAMES   64


struct ngx_electrumx_frame_s {
    ngx_electrumx_frame_t      *next;
    u_char                     *pos;
    u_char                     *last;       /* the bytes follow */
};


static int ngx_electrumx_socket_open(ngx_electrumx_indexer_t *ix);
static int ngx_electrumx_socket_address(ngx_electrumx_indexer_t *ix,
    struct sockaddr_un *sa);
static ngx_int_t ngx_electrumx_socket_hello(ngx_electrumx_indexer_t *ix);
static void ngx_electrumx_socket_disconnect(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_socket_flush(ngx_electrumx_indexer_t *ix);
static void ngx_electrumx_socket_clear(ngx_electrumx_indexer_t *ix);
static void ngx_electrumx_socket_read_handler(ngx_event_t *rev);
static void ngx_electrumx_socket_write_handler(ngx_event_t *wev);
static void ngx_electrumx_socket_work_handler(ngx_event_t *ev);
static void ngx_electrumx_socket_read(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_socket_room(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_socket_frames(ngx_electrumx_indexer_t *ix,
    ngx_uint_t *n);


void
ngx_electrumx_socket_init(ngx_electrumx_indexer_t *ix)
{
    ix->out_last = &ix->out;

    ix->work.data = ix;
    ix->work.log = ix->cycle->log;
    ix->work.handler = ngx_electrumx_socket_work_handler;
}


void
ngx_electrumx_socket_done(ngx_electrumx_indexer_t *ix)
{
    ngx_electrumx_socket_disconnect(ix);

    if (ix->in) {
        ngx_free(ix->in);
        ix->in = NULL;
    }
}


ngx_int_t
ngx_electrumx_socket_connect(ngx_electrumx_indexer_t *ix)
{
    int                fd;
    ngx_connection_t  *c;

    fd = ngx_electrumx_socket_open(ix);

    if (fd == -1) {
        return NGX_DECLINED;
    }

    c = ngx_get_connection(fd, ix->cycle->log);
    if (c == NULL) {
        (void) ngx_close_socket(fd);
        return NGX_ERROR;
    }

    c->recv = ngx_recv;
    c->send = ngx_send;
    c->log = ix->cycle->log;
    c->data = ix;

    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_electrumx_socket_read_handler;
    c->write->handler = ngx_electrumx_socket_write_handler;
    c->write->ready = 1;

    ix->connection = c;
    ix->refused = 0;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_electrumx_socket_hello(ix) != NGX_OK)
    {
        ngx_electrumx_socket_disconnect(ix);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* A connected socket, or -1. */

static int
ngx_electrumx_socket_open(ngx_electrumx_indexer_t *ix)
{
    int                 fd, dir, rc;
    ngx_err_t           err;
    struct sockaddr_un  sa;

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (fd == -1) {
        ngx_log_error(NGX_LOG_ERR, ix->cycle->log, ngx_socket_errno,
                      "socket() for the indexer failed");
        return -1;
    }

    dir = ngx_electrumx_socket_address(ix, &sa);

    /* a unix socket connects at once or not at all */

    rc = connect(fd, (struct sockaddr *) &sa, sizeof(struct sockaddr_un));
    err = ngx_socket_errno;

    if (dir != -1) {
        (void) close(dir);
    }

    if (rc == 0) {
        return fd;
    }

    if (!ix->refused) {
        ix->refused = 1;
        ngx_log_error(NGX_LOG_NOTICE, ix->cycle->log, err,
                      "electrumx \"%V\": no indexer at \"%V/socket\"",
                      &ix->index->name, &ix->index->data);
    }

    (void) ngx_close_socket(fd);

    return -1;
}


/* Address of the socket.  The path of an address is short; a longer one goes
   through a descriptor of its directory, which is returned, else -1. */

static int
ngx_electrumx_socket_address(ngx_electrumx_indexer_t *ix,
    struct sockaddr_un *sa)
{
    int      dir;
    u_char  *p, *last;

    ngx_memzero(sa, sizeof(struct sockaddr_un));

    sa->sun_family = AF_UNIX;
    dir = -1;

    p = (u_char *) sa->sun_path;
    last = p + sizeof(sa->sun_path) - 1;

    if (ix->index->data.len + sizeof("/socket") <= sizeof(sa->sun_path)) {
        (void) ngx_slprintf(p, last, "%V/socket", &ix->index->data);
        return dir;
    }

    dir = open((char *) ix->index->data.data,
               O_PATH|O_DIRECTORY|O_CLOEXEC);

    (void) ngx_slprintf(p, last, "/proc/self/fd/%d/socket", dir);

    return dir;
}


static ngx_int_t
ngx_electrumx_socket_hello(ngx_electrumx_indexer_t *ix)
{
    u_char  *p, buf[8];

    p = ngx_electrumx_put32(buf, 1);
    (void) ngx_electrumx_put32(p, (uint32_t) ngx_pid);

    return ngx_electrumx_socket_send(ix, 'H', buf, sizeof(buf), NULL, 0);
}


static void
ngx_electrumx_socket_disconnect(ngx_electrumx_indexer_t *ix)
{
    if (ix->connection) {
        ngx_close_connection(ix->connection);
        ix->connection = NULL;
    }

    if (ix->work.posted) {
        ngx_delete_posted_event(&ix->work);
    }

    ngx_electrumx_socket_clear(ix);

    ix->in_len = 0;

    ngx_electrumx_indexer_lost(ix);
}


/* output */

ngx_int_t
ngx_electrumx_socket_send(ngx_electrumx_indexer_t *ix, u_char type,
    u_char *head, size_t headlen, u_char *body, size_t len)
{
    size_t                  size;
    u_char                 *p;
    ngx_electrumx_frame_t  *f;

    if (len > NGX_ELECTRUMX_FRAME_MAX - 1 - headlen) {
        return NGX_ERROR;
    }

    size = NGX_ELECTRUMX_FRAME_HEAD + headlen + len;

    if (size > NGX_ELECTRUMX_OUT_MAX - ix->out_size) {
        return NGX_ERROR;
    }

    f = ngx_alloc(sizeof(ngx_electrumx_frame_t) + size, ix->cycle->log);
    if (f == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) f + sizeof(ngx_electrumx_frame_t);

    f->next = NULL;
    f->pos = p;
    f->last = p + size;

    p = ngx_electrumx_put32(p, (uint32_t) (1 + headlen + len));
    *p++ = type;
    p = ngx_cpymem(p, head, headlen);

    if (len) {
        ngx_memcpy(p, body, len);
    }

    *ix->out_last = f;
    ix->out_last = &f->next;
    ix->out_size += size;

    /* sent by the event loop: an error must not end calls from here */

    ngx_post_event(ix->connection->write, &ngx_posted_events);

    return NGX_OK;
}


static void
ngx_electrumx_socket_write_handler(ngx_event_t *wev)
{
    ngx_connection_t         *c;
    ngx_electrumx_indexer_t  *ix;

    c = wev->data;
    ix = c->data;

    if (ngx_electrumx_socket_flush(ix) != NGX_OK) {
        ngx_electrumx_socket_disconnect(ix);
    }
}


static ngx_int_t
ngx_electrumx_socket_flush(ngx_electrumx_indexer_t *ix)
{
    ssize_t                 n;
    ngx_connection_t       *c;
    ngx_electrumx_frame_t  *f;

    c = ix->connection;

    while (ix->out && c->write->ready) {

        f = ix->out;
        n = c->send(c, f->pos, f->last - f->pos);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        f->pos += n;
        ix->out_size -= n;

        if (f->pos < f->last) {
            continue;
        }

        ix->out = f->next;

        if (ix->out == NULL) {
            ix->out_last = &ix->out;
        }

        ngx_free(f);
    }

    return ngx_handle_write_event(c->write, 0);
}


static void
ngx_electrumx_socket_clear(ngx_electrumx_indexer_t *ix)
{
    ngx_electrumx_frame_t  *f, *next;

    for (f = ix->out; f; f = next) {
        next = f->next;
        ngx_free(f);
    }

    ix->out = NULL;
    ix->out_last = &ix->out;
    ix->out_size = 0;
}


/* input */

static void
ngx_electrumx_socket_read_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    ngx_electrumx_socket_read(c->data);
}


static void
ngx_electrumx_socket_work_handler(ngx_event_t *ev)
{
    ngx_electrumx_socket_read(ev->data);
}


static void
ngx_electrumx_socket_read(ngx_electrumx_indexer_t *ix)
{
    ssize_t            n;
    ngx_uint_t         nframes;
    ngx_connection_t  *c;

    c = ix->connection;
    nframes = 0;

    if (c->close && c->error) {
        ngx_electrumx_socket_disconnect(ix);
        return;
    }

    while (nframes < NGX_ELECTRUMX_TURN_FRAMES) {

        if (ngx_electrumx_socket_frames(ix, &nframes) != NGX_OK
            || ngx_electrumx_socket_room(ix) != NGX_OK)
        {
            goto gone;
        }

        if (!c->read->ready || nframes == NGX_ELECTRUMX_TURN_FRAMES) {
            break;
        }

        n = ngx_electrumx_blocks_recv(ix->index, c, ix->in + ix->in_len,
                                      ix->in_size - ix->in_len);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            goto gone;
        }

        ix->in_len += n;
    }

    if (nframes == NGX_ELECTRUMX_TURN_FRAMES) {
        ngx_post_event(&ix->work, &ngx_posted_next_events);
    }

    if (ngx_handle_read_event(c->read, 0) == NGX_OK) {
        return;
    }

gone:

    ngx_log_error(NGX_LOG_NOTICE, c->log, 0,
                  "electrumx \"%V\": connection to the indexer ended",
                  &ix->index->name);
    ngx_electrumx_socket_disconnect(ix);
}


/* Room for the rest of the frame, and a large buffer back to its usual size
   when it is empty. */

static ngx_int_t
ngx_electrumx_socket_room(ngx_electrumx_indexer_t *ix)
{
    size_t   size;
    u_char  *p;

    size = ix->in_size;

    if (ix->in_len == ix->in_size) {
        size = size ? size * 2 : NGX_ELECTRUMX_IN_SIZE;

    } else if (ix->in_len == 0 && size > NGX_ELECTRUMX_IN_SIZE) {
        size = NGX_ELECTRUMX_IN_SIZE;
    }

    if (size == ix->in_size) {
        return NGX_OK;
    }

    p = ngx_alloc(size, ix->cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ix->in) {
        ngx_memcpy(p, ix->in, ix->in_len);
        ngx_free(ix->in);
    }

    ix->in = p;
    ix->in_size = size;

    return NGX_OK;
}


/* Handles the whole frames in the buffer, up to the turn's bound. */

static ngx_int_t
ngx_electrumx_socket_frames(ngx_electrumx_indexer_t *ix, ngx_uint_t *n)
{
    size_t   pos, len;
    u_char  *p;

    pos = 0;

    while (*n < NGX_ELECTRUMX_TURN_FRAMES && ix->in_len - pos >= 4) {

        p = ix->in + pos;
        len = ngx_electrumx_get32(p);

        if (len < 1 || len > NGX_ELECTRUMX_FRAME_MAX) {
            ngx_log_error(NGX_LOG_ERR, ix->cycle->log, 0,
                          "electrumx \"%V\": the indexer sent a frame "
                          "of %uz bytes", &ix->index->name, len);
            return NGX_ERROR;
        }

        if (ix->in_len - pos < 4 + len) {
            break;
        }

        pos += 4 + len;
        (*n)++;

        if (ngx_electrumx_indexer_frame(ix, p[4], p + 5, len - 1) != NGX_OK) {
            ngx_log_error(NGX_LOG_ERR, ix->cycle->log, 0,
                          "electrumx \"%V\": the indexer sent a malformed "
                          "frame", &ix->index->name);
            return NGX_ERROR;
        }
    }

    if (pos) {
        ngx_memmove(ix->in, ix->in + pos, ix->in_len - pos);
        ix->in_len -= pos;
    }

    return NGX_OK;
}
