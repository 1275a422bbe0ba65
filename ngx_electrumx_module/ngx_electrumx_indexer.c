/*
 * A worker's end of the indexer's socket: calls to the node, the bell and the
 * indexer's state (docs/index-format.md, section 7).  The connection under it
 * is ngx_electrumx_socket.c's.
 *
 * It comes and goes; calls under way when it goes, and calls made while it
 * can't be had, end with an error, which is delivered by a posted event.
 * Nothing here keeps a worker that shuts down alive: deadlines are looked at
 * from the index's timer, which is cancelable.
 */

#include "ngx_electrumx_indexer.h"


#define NGX_ELECTRUMX_CALL_TIMEOUT  30000   /* ms */
#define NGX_ELECTRUMX_NAME_MAX      64
#define NGX_ELECTRUMX_CALL_HEAD     9       /* id and length of the name */
#define NGX_ELECTRUMX_STATE_MAX     65536


static void ngx_electrumx_indexer_bell_handler(ngx_event_t *ev);
static void ngx_electrumx_indexer_fail_handler(ngx_event_t *ev);
static ngx_int_t ngx_electrumx_indexer_state(ngx_electrumx_indexer_t *ix,
    u_char *p, size_t len);
static ngx_int_t ngx_electrumx_indexer_reply(ngx_electrumx_indexer_t *ix,
    u_char *p, size_t len);
static void ngx_electrumx_indexer_end(ngx_electrumx_indexer_t *ix,
    ngx_electrumx_call_t *call, ngx_uint_t ok, u_char *json, size_t len);


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

    ix->bell.data = ix;
    ix->bell.log = cycle->log;
    ix->bell.handler = ngx_electrumx_indexer_bell_handler;

    ix->fail.data = ix;
    ix->fail.log = cycle->log;
    ix->fail.handler = ngx_electrumx_indexer_fail_handler;

    index->indexer = ix;

    ngx_electrumx_socket_init(ix);
    (void) ngx_electrumx_socket_connect(ix);

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

    ngx_electrumx_socket_done(ix);

    if (ix->bell.posted) {
        ngx_delete_posted_event(&ix->bell);
    }

    if (ix->fail.posted) {
        ngx_delete_posted_event(&ix->fail);
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
        (void) ngx_electrumx_socket_connect(ix);
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

    /* a restarted indexer need not wait for the tick */

    if (ix->connection == NULL && !ngx_exiting) {
        (void) ngx_electrumx_socket_connect(ix);
    }

    if (ix->connection) {
        p = ngx_electrumx_put64(head, call->id);
        *p++ = (u_char) namelen;
        p = ngx_cpymem(p, name, namelen);

        if (ngx_electrumx_socket_send(ix, 'C', head, p - head, params, len)
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

    return ngx_electrumx_socket_send(ix, 'F', body, sizeof(body), NULL, 0);
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


ngx_int_t
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


/* The connection is gone; calls under way end by a posted event. */

void
ngx_electrumx_indexer_lost(ngx_electrumx_indexer_t *ix)
{
    ngx_uint_t  i;

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
