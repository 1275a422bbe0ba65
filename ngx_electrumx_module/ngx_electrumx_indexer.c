/*
 * A worker's end of the indexer's socket, DATA/socket: the bell, the indexer's
 * state, and calls to the node (docs/index-format.md, section 7).
 *
 * The connection comes and goes; calls under way when it goes, and calls made
 * while it is gone, end with an error, which is delivered by a posted event.
 * Nothing here keeps a worker that shuts down alive: the socket has no timer of
 * its own, deadlines are looked at from the index's timer, which is cancelable.
 */

#include "ngx_electrumx.h"

#include <sys/un.h>


#define NGX_ELECTRUMX_CALLS         256     /* under way, at most */
#define NGX_ELECTRUMX_CALL_TIMEOUT  30000   /* ms */
#define NGX_ELECTRUMX_NAME_MAX      64

#define NGX_ELECTRUMX_FRAME_MAX     (16 * 1024 * 1024)
#define NGX_ELECTRUMX_FRAME_HEAD    5       /* length and type */
#define NGX_ELECTRUMX_CALL_HEAD     9       /* id and length of the name */
#define NGX_ELECTRUMX_STATE_MAX     65536

#define NGX_ELECTRUMX_IN_SIZE       16384   /* the buffer's usual size */
#define NGX_ELECTRUMX_OUT_MAX       (64 * 1024 * 1024)
#define NGX_ELECTRUMX_TURN_FRAMES   64


typedef struct {
    uint64_t                    id;         /* 0: a free slot */
    ngx_electrumx_reply_pt      reply;
    void                       *data;
    ngx_msec_t                  start;
    ngx_uint_t                  failed;     /* the posted event ends it */
} ngx_electrumx_call_t;


typedef struct ngx_electrumx_frame_s  ngx_electrumx_frame_t;

struct ngx_electrumx_frame_s {
    ngx_electrumx_frame_t      *next;
    u_char                     *pos;
    u_char                     *last;       /* the bytes follow */
};


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


static ngx_int_t ngx_electrumx_indexer_connect(ngx_electrumx_indexer_t *ix);
static int ngx_electrumx_indexer_open(ngx_electrumx_indexer_t *ix);
static int ngx_electrumx_indexer_address(ngx_electrumx_indexer_t *ix,
    struct sockaddr_un *sa);
static ngx_int_t ngx_electrumx_indexer_hello(ngx_electrumx_indexer_t *ix);
static void ngx_electrumx_indexer_disconnect(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_indexer_send(ngx_electrumx_indexer_t *ix,
    u_char type, u_char *head, size_t headlen, u_char *body, size_t len);
static ngx_int_t ngx_electrumx_indexer_flush(ngx_electrumx_indexer_t *ix);
static void ngx_electrumx_indexer_clear(ngx_electrumx_indexer_t *ix);

static void ngx_electrumx_indexer_read_handler(ngx_event_t *rev);
static void ngx_electrumx_indexer_write_handler(ngx_event_t *wev);
static void ngx_electrumx_indexer_work_handler(ngx_event_t *ev);
static void ngx_electrumx_indexer_bell_handler(ngx_event_t *ev);
static void ngx_electrumx_indexer_fail_handler(ngx_event_t *ev);

static void ngx_electrumx_indexer_read(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_indexer_room(ngx_electrumx_indexer_t *ix);
static ngx_int_t ngx_electrumx_indexer_frames(ngx_electrumx_indexer_t *ix,
    ngx_uint_t *n);
static ngx_int_t ngx_electrumx_indexer_frame(ngx_electrumx_indexer_t *ix,
    u_char type, u_char *p, size_t len);
static ngx_int_t ngx_electrumx_indexer_state(ngx_electrumx_indexer_t *ix,
    u_char *p, size_t len);
static ngx_int_t ngx_electrumx_indexer_reply(ngx_electrumx_indexer_t *ix,
    u_char *p, size_t len);
static void ngx_electrumx_indexer_end(ngx_electrumx_indexer_t *ix,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);

static u_char *ngx_electrumx_put32(u_char *p, uint32_t v);
static u_char *ngx_electrumx_put64(u_char *p, uint64_t v);
static uint32_t ngx_electrumx_get32(u_char *p);
static uint64_t ngx_electrumx_get64(u_char *p);


static ngx_str_t  ngx_electrumx_unreachable =
    ngx_string("{\"code\":2,\"message\":\"the indexer is not reachable\"}");
static ngx_str_t  ngx_electrumx_late =
    ngx_string("{\"code\":2,\"message\":\"the node did not answer in time\"}");


/* from the core module */

ngx_int_t
ngx_electrumx_indexer_init(ngx_electrumx_index_t *index, ngx_cycle_t *cycle)
{
    ngx_electrumx_indexer_t  *ix;

    ix = ngx_pcalloc(cycle->pool, sizeof(ngx_electrumx_indexer_t));
    if (ix == NULL) {
        return NGX_ERROR;
    }

    ix->index = index;
    ix->cycle = cycle;
    ix->out_last = &ix->out;

    ix->bell.data = ix;
    ix->bell.log = cycle->log;
    ix->bell.handler = ngx_electrumx_indexer_bell_handler;

    ix->fail.data = ix;
    ix->fail.log = cycle->log;
    ix->fail.handler = ngx_electrumx_indexer_fail_handler;

    ix->work.data = ix;
    ix->work.log = cycle->log;
    ix->work.handler = ngx_electrumx_indexer_work_handler;

    index->indexer = ix;

    (void) ngx_electrumx_indexer_connect(ix);

    return NGX_OK;
}


/* At exit: no callbacks any more. */

void
ngx_electrumx_indexer_done(ngx_electrumx_index_t *index)
{
    ngx_electrumx_indexer_t  *ix;

    ix = index->indexer;

    if (ix == NULL) {
        return;
    }

    ngx_electrumx_indexer_disconnect(ix);

    if (ix->bell.posted) {
        ngx_delete_posted_event(&ix->bell);
    }

    if (ix->fail.posted) {
        ngx_delete_posted_event(&ix->fail);
    }

    if (ix->in) {
        ngx_free(ix->in);
    }

    if (index->state.data) {
        ngx_free(index->state.data);
        ngx_str_null(&index->state);
    }

    index->indexer = NULL;
}


/* Each second: connects again, ends calls that wait for too long. */

void
ngx_electrumx_indexer_tick(ngx_electrumx_index_t *index)
{
    ngx_uint_t                i;
    ngx_electrumx_call_t     *call;
    ngx_electrumx_indexer_t  *ix;

    ix = index->indexer;

    if (ix == NULL) {
        return;
    }

    if (ix->connection == NULL && !ngx_exiting) {
        (void) ngx_electrumx_indexer_connect(ix);
    }

    for (i = 0; ix->ncalls && i < NGX_ELECTRUMX_CALLS; i++) {

        call = &ix->calls[i];

        if (call->id && !call->failed
            && ngx_current_msec - call->start >= NGX_ELECTRUMX_CALL_TIMEOUT)
        {
            ngx_electrumx_indexer_end(ix, call, 0, ngx_electrumx_late.data,
                                      ngx_electrumx_late.len);
        }
    }
}


/* calls */

ngx_int_t
ngx_electrumx_indexer_call(ngx_electrumx_index_t *index, const char *name,
    u_char *params, size_t len, ngx_electrumx_reply_pt reply, void *data)
{
    u_char                   *p;
    u_char                    head[NGX_ELECTRUMX_CALL_HEAD
                                   + NGX_ELECTRUMX_NAME_MAX];
    size_t                    namelen;
    ngx_uint_t                i;
    ngx_electrumx_call_t     *call;
    ngx_electrumx_indexer_t  *ix;

    ix = index->indexer;
    namelen = ngx_strlen(name);

    if (ix == NULL || ix->ncalls == NGX_ELECTRUMX_CALLS
        || namelen > NGX_ELECTRUMX_NAME_MAX)
    {
        return NGX_ERROR;
    }

    /* the slot's number is the low part of the id */

    for (i = 0; ix->calls[i].id; i++) { /* void */ }

    call = &ix->calls[i];
    call->id = ++ix->last_id * NGX_ELECTRUMX_CALLS + i;
    call->reply = reply;
    call->data = data;
    call->start = ngx_current_msec;
    call->failed = 0;

    if (ix->connection) {
        p = ngx_electrumx_put64(head, call->id);
        *p++ = (u_char) namelen;
        p = ngx_cpymem(p, name, namelen);

        if (ngx_electrumx_indexer_send(ix, 'C', head, p - head, params, len)
            != NGX_OK)
        {
            call->id = 0;
            return NGX_ERROR;
        }
    }

    ix->ncalls++;

    if (ix->connection == NULL) {
        call->failed = 1;
        ngx_post_event(&ix->fail, &ngx_posted_events);
    }

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_indexer_file(ngx_electrumx_index_t *index, uint32_t number)
{
    u_char                    body[4];
    ngx_electrumx_indexer_t  *ix;

    ix = index->indexer;

    if (ix == NULL || ix->connection == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_electrumx_put32(body, number);

    return ngx_electrumx_indexer_send(ix, 'F', body, sizeof(body), NULL, 0);
}


/* Ends a call; its slot is free before the callback runs. */

static void
ngx_electrumx_indexer_end(ngx_electrumx_indexer_t *ix,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len)
{
    void                    *data;
    ngx_electrumx_reply_pt   reply;

    reply = call->reply;
    data = call->data;

    call->id = 0;
    ix->ncalls--;

    reply(data, ok, json, len);
}


static void
ngx_electrumx_indexer_fail_handler(ngx_event_t *ev)
{
    ngx_uint_t                i;
    ngx_electrumx_indexer_t  *ix;

    ix = ev->data;

    for (i = 0; ix->ncalls && i < NGX_ELECTRUMX_CALLS; i++) {

        if (ix->calls[i].id && ix->calls[i].failed) {
            ngx_electrumx_indexer_end(ix, &ix->calls[i], 0,
                                      ngx_electrumx_unreachable.data,
                                      ngx_electrumx_unreachable.len);
        }
    }
}


/* connection */

static ngx_int_t
ngx_electrumx_indexer_connect(ngx_electrumx_indexer_t *ix)
{
    int                fd;
    ngx_connection_t  *c;

    fd = ngx_electrumx_indexer_open(ix);

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
    c->read->handler = ngx_electrumx_indexer_read_handler;
    c->write->handler = ngx_electrumx_indexer_write_handler;
    c->write->ready = 1;

    ix->connection = c;
    ix->refused = 0;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_electrumx_indexer_hello(ix) != NGX_OK)
    {
        ngx_electrumx_indexer_disconnect(ix);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* A connected socket, or -1. */

static int
ngx_electrumx_indexer_open(ngx_electrumx_indexer_t *ix)
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

    dir = ngx_electrumx_indexer_address(ix, &sa);

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
ngx_electrumx_indexer_address(ngx_electrumx_indexer_t *ix,
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
ngx_electrumx_indexer_hello(ngx_electrumx_indexer_t *ix)
{
    u_char  *p, buf[8];

    p = ngx_electrumx_put32(buf, 1);
    (void) ngx_electrumx_put32(p, (uint32_t) ngx_pid);

    return ngx_electrumx_indexer_send(ix, 'H', buf, sizeof(buf), NULL, 0);
}


/* The connection is gone; calls under way end by a posted event. */

static void
ngx_electrumx_indexer_disconnect(ngx_electrumx_indexer_t *ix)
{
    ngx_uint_t  i;

    if (ix->connection) {
        ngx_close_connection(ix->connection);
        ix->connection = NULL;
    }

    if (ix->work.posted) {
        ngx_delete_posted_event(&ix->work);
    }

    ngx_electrumx_indexer_clear(ix);

    ix->in_len = 0;
    ix->index->state.len = 0;
    ngx_electrumx_blocks_reset(ix->index);

    if (ix->ncalls == 0) {
        return;
    }

    for (i = 0; i < NGX_ELECTRUMX_CALLS; i++) {
        ix->calls[i].failed = 1;
    }

    ngx_post_event(&ix->fail, &ngx_posted_events);
}


/* output */

static ngx_int_t
ngx_electrumx_indexer_send(ngx_electrumx_indexer_t *ix, u_char type,
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
ngx_electrumx_indexer_write_handler(ngx_event_t *wev)
{
    ngx_connection_t         *c;
    ngx_electrumx_indexer_t  *ix;

    c = wev->data;
    ix = c->data;

    if (ngx_electrumx_indexer_flush(ix) != NGX_OK) {
        ngx_electrumx_indexer_disconnect(ix);
    }
}


static ngx_int_t
ngx_electrumx_indexer_flush(ngx_electrumx_indexer_t *ix)
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
ngx_electrumx_indexer_clear(ngx_electrumx_indexer_t *ix)
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
ngx_electrumx_indexer_read_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    ngx_electrumx_indexer_read(c->data);
}


static void
ngx_electrumx_indexer_work_handler(ngx_event_t *ev)
{
    ngx_electrumx_indexer_read(ev->data);
}


static void
ngx_electrumx_indexer_read(ngx_electrumx_indexer_t *ix)
{
    ssize_t            n;
    ngx_uint_t         nframes;
    ngx_connection_t  *c;

    c = ix->connection;
    nframes = 0;

    if (c->close && c->error) {
        ngx_electrumx_indexer_disconnect(ix);
        return;
    }

    while (nframes < NGX_ELECTRUMX_TURN_FRAMES) {

        if (ngx_electrumx_indexer_frames(ix, &nframes) != NGX_OK
            || ngx_electrumx_indexer_room(ix) != NGX_OK)
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
    ngx_electrumx_indexer_disconnect(ix);
}


/* Room for the rest of the frame, and a large buffer back to its usual size
   when it is empty. */

static ngx_int_t
ngx_electrumx_indexer_room(ngx_electrumx_indexer_t *ix)
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
ngx_electrumx_indexer_frames(ngx_electrumx_indexer_t *ix, ngx_uint_t *n)
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


static ngx_int_t
ngx_electrumx_indexer_frame(ngx_electrumx_indexer_t *ix, u_char type,
    u_char *p, size_t len)
{
    switch (type) {

    case 'S':
        return ngx_electrumx_indexer_state(ix, p, len);

    case 'B':
        if (len != 16) {
            return NGX_ERROR;
        }

        ngx_post_event(&ix->bell, &ngx_posted_events);
        return NGX_OK;

    case 'R':
        return ngx_electrumx_indexer_reply(ix, p, len);

    case 'F':
        return ngx_electrumx_blocks_frame(ix->index, p, len);

    default:
        return NGX_ERROR;
    }
}


static ngx_int_t
ngx_electrumx_indexer_state(ngx_electrumx_indexer_t *ix, u_char *p, size_t len)
{
    u_char     *data;
    ngx_str_t  *state;

    if (len == 0 || len > NGX_ELECTRUMX_STATE_MAX || p[0] != '{') {
        return NGX_ERROR;
    }

    data = ngx_alloc(len, ix->cycle->log);
    if (data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(data, p, len);

    state = &ix->index->state;

    if (state->data) {
        ngx_free(state->data);
    }

    state->data = data;
    state->len = len;

    /* becoming ready may mean that there is an index to serve from now */

    ngx_post_event(&ix->bell, &ngx_posted_events);

    return NGX_OK;
}


static void
ngx_electrumx_indexer_bell_handler(ngx_event_t *ev)
{
    ngx_electrumx_indexer_t  *ix;

    ix = ev->data;

    if (ix->index->store) {
        (void) exi_store_refresh(ix->index->store);
    }

    ngx_electrumx_subs_changed(ix->index);
}


static ngx_int_t
ngx_electrumx_indexer_reply(ngx_electrumx_indexer_t *ix, u_char *p, size_t len)
{
    uint64_t               id;
    ngx_electrumx_call_t  *call;

    if (len < 9 || p[8] > 1) {
        return NGX_ERROR;
    }

    id = ngx_electrumx_get64(p);
    call = &ix->calls[id % NGX_ELECTRUMX_CALLS];

    /* an unknown id: the call has ended already, by its timeout */

    if (id == 0 || call->id != id || call->failed) {
        return NGX_OK;
    }

    ngx_electrumx_indexer_end(ix, call, p[8] == 0, p + 9, len - 9);

    return NGX_OK;
}


/* little-endian integers */

static u_char *
ngx_electrumx_put32(u_char *p, uint32_t v)
{
    *p++ = (u_char) v;
    *p++ = (u_char) (v >> 8);
    *p++ = (u_char) (v >> 16);
    *p++ = (u_char) (v >> 24);

    return p;
}


static u_char *
ngx_electrumx_put64(u_char *p, uint64_t v)
{
    p = ngx_electrumx_put32(p, (uint32_t) v);

    return ngx_electrumx_put32(p, (uint32_t) (v >> 32));
}


static uint32_t
ngx_electrumx_get32(u_char *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t) p[3] << 24;
}


static uint64_t
ngx_electrumx_get64(u_char *p)
{
    return ngx_electrumx_get32(p) | (uint64_t) ngx_electrumx_get32(p + 4) << 32;
}
