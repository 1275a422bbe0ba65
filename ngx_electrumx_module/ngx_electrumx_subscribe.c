/*
 * Subscriptions of a worker's sessions to one index, and what is sent when
 * something changes.
 *
 *     script --subs--> sub --next--> sub ...     all subscribers of a script
 *     session --subscriptions--> sub --snext--> sub ...
 *
 * A script is in the table once, with its status; all its subscribers have
 * been told that status.  A change record makes scripts dirty; dirty scripts
 * are rechecked in turns of bounded length, each under one view, and what has
 * changed is sent.  Invariant: unless it is dirty, a script's status is that
 * of every view up to (instance, seq).  So a new subscriber of a known script
 * needs no look at its history, and no change can fall between a status and
 * the subscription.
 *
 * Records are read before anything is computed from a view, and the header
 * notification is sent there and then: it precedes the statuses of its block.
 *
 * The table is ngx_electrumx_subs.c's.
 */

#include "ngx_electrumx_rpc.h"
#include "ngx_electrumx_subs.h"
#include "ngx_electrumx_watch.h"


#define NGX_ELECTRUMX_TURN           500      /* scripts in a turn */
#define NGX_ELECTRUMX_TURN_MS        5


struct ngx_electrumx_subs_s {
    ngx_electrumx_state_t        state;
    ngx_electrumx_index_t       *index;
    ngx_electrumx_table_t        table;
    ngx_electrumx_watches_t      watches;

    ngx_uint_t                   started;
    uint64_t                     instance;    /* changes seen so far */
    uint64_t                     seq;
    uint32_t                     tip_height;
    struct exi_blkid             tip;

    uint32_t                     dirty_first;
    uint32_t                     dirty_last;
    ngx_event_t                  event;       /* next turn */
};


static void ngx_electrumx_subs_turn(ngx_electrumx_subs_t *subs);
static void ngx_electrumx_subs_event(ngx_event_t *ev);
static void ngx_electrumx_subs_fetched(void *data);
static ngx_int_t ngx_electrumx_subs_drain(ngx_electrumx_subs_t *subs,
    struct exi_view *view);
static ngx_int_t ngx_electrumx_subs_elapsed(struct timespec *start);
static int ngx_electrumx_subs_change(void *ctx, uint64_t seq,
    const struct exi_live_change *c);
static void ngx_electrumx_subs_all_dirty(ngx_electrumx_subs_t *subs);
static void ngx_electrumx_subs_dirty(ngx_electrumx_subs_t *subs, uint32_t i);
static void ngx_electrumx_subs_tip(ngx_electrumx_subs_t *subs,
    struct exi_view *view);
static void ngx_electrumx_subs_header(ngx_electrumx_session_t *s,
    const uint8_t *header, uint32_t height);
static int ngx_electrumx_subs_recheck(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view);
static void ngx_electrumx_subs_notify(ngx_electrumx_subs_t *subs, uint32_t i);
static void ngx_electrumx_subs_send(ngx_electrumx_sub_t *sub,
    ngx_electrumx_script_t *script);
static int ngx_electrumx_subs_status(ngx_electrumx_subs_t *subs,
    struct exi_view *view, const u_char *key, u_char *status, bool *some);
static int ngx_electrumx_subs_script(ngx_electrumx_subs_t *subs,
    struct exi_view *view, const u_char *hash, uint32_t *i);
static void ngx_electrumx_subs_release(ngx_electrumx_subs_t *subs,
    uint32_t i);


static ngx_inline void
ngx_electrumx_subs_tail(u_char *tail, const u_char *hash,
    ngx_electrumx_by_e by)
{
    ngx_memcpy(tail, hash + EXI_SKEY_LEN, EXI_HASH_LEN - EXI_SKEY_LEN);
    tail[NGX_ELECTRUMX_TAIL - 1] = (u_char) by;
}


ngx_int_t
ngx_electrumx_subs_init(ngx_electrumx_index_t *index, ngx_cycle_t *cycle)
{
    ngx_electrumx_subs_t  *subs;

    subs = ngx_calloc(sizeof(ngx_electrumx_subs_t), cycle->log);

    if (subs == NULL) {
        return NGX_ERROR;
    }

    subs->index = index;

    ngx_electrumx_table_init(&subs->table, (uint64_t) ngx_random() << 33
                                           ^ (uint64_t) ngx_random() << 11
                                           ^ (uint64_t) ngx_random());

    ngx_electrumx_watches_init(&subs->watches, index, subs->table.seed);

    subs->event.handler = ngx_electrumx_subs_event;
    subs->event.data = subs;
    subs->event.log = cycle->log;

    ngx_queue_init(&subs->state.waiting);

    index->subs = subs;

    return NGX_OK;
}


void
ngx_electrumx_subs_done(ngx_electrumx_index_t *index)
{
    ngx_electrumx_subs_t  *subs;

    subs = index->subs;

    if (subs == NULL) {
        return;
    }

    if (subs->event.posted) {
        ngx_delete_posted_event(&subs->event);
    }

    ngx_electrumx_banners_free(&subs->state);
    ngx_electrumx_table_done(&subs->table);
    ngx_electrumx_watches_done(&subs->watches);

    ngx_free(subs);
    index->subs = NULL;
}


ngx_electrumx_state_t *
ngx_electrumx_state(ngx_electrumx_index_t *index)
{
    return index->subs ? &index->subs->state : NULL;
}


ngx_electrumx_watches_t *
ngx_electrumx_watches(ngx_electrumx_index_t *index)
{
    return index->subs ? &index->subs->watches : NULL;
}


/* Changes */

void
ngx_electrumx_subs_changed(ngx_electrumx_index_t *index)
{
    if (index->subs == NULL || index->store == NULL || index->view == NULL) {
        return;
    }

    (void) ngx_electrumx_refresh(index);

    ngx_electrumx_subs_turn(index->subs);
}


static void
ngx_electrumx_subs_fetched(void *data)
{
    ngx_electrumx_subs_turn(data);
}


static void
ngx_electrumx_subs_event(ngx_event_t *ev)
{
    ngx_electrumx_subs_turn(ev->data);
}


static void
ngx_electrumx_subs_turn(ngx_electrumx_subs_t *subs)
{
    ngx_int_t         rc;
    struct exi_view  *view;

    view = subs->index->view;

    if (view == NULL || exi_view_begin(view) != EXI_OK) {
        return;
    }

    ngx_electrumx_subs_catch_up(subs->index, view);

    rc = ngx_electrumx_subs_drain(subs, view);

    if (rc == NGX_OK) {
        rc = ngx_electrumx_watches_drain(&subs->watches, view,
                                         NGX_ELECTRUMX_TURN);
    }

    /* those that lack something come back when it was read */

    (void) ngx_electrumx_cold_fetch(subs->index, view,
                                    ngx_electrumx_subs_fetched, subs);

    exi_view_end(view);

    if (rc == NGX_OK) {
        ngx_electrumx_noise_send(subs->index, &subs->state);
    }

    if (rc == NGX_AGAIN && !subs->event.posted) {
        ngx_post_event(&subs->event, &ngx_posted_next_events);
    }
}


void
ngx_electrumx_subs_catch_up(ngx_electrumx_index_t *index,
    struct exi_view *view)
{
    int                           rc;
    ngx_electrumx_subs_t         *subs;
    const struct exi_live_state  *state;

    subs = index->subs;

    if (subs == NULL) {
        return;
    }

    state = exi_view_state(view);

    if (subs->started && subs->instance == state->instance
        && subs->seq >= state->seq)
    {
        return;
    }

    if (!subs->started) {
        subs->started = 1;
        subs->tip_height = state->tip_height;
        subs->tip = state->tip;

    } else if (subs->table.scripts.n || subs->watches.nlinks) {
        rc = exi_changes(view, subs->instance, subs->seq,
                         ngx_electrumx_subs_change, subs);

        if (rc != EXI_OK) {
            ngx_log_error(NGX_LOG_INFO, subs->event.log, 0,
                          "electrumx \"%V\": checking all subscriptions: %s",
                          &index->name, exi_strerror(rc));

            ngx_electrumx_subs_all_dirty(subs);
        }
    }

    subs->instance = state->instance;
    subs->seq = state->seq;

    if (subs->tip_height != state->tip_height
        || ngx_memcmp(subs->tip.b, state->tip.b, EXI_HASH_LEN) != 0)
    {
        subs->tip_height = state->tip_height;
        subs->tip = state->tip;

        ngx_electrumx_noise_block(index, &subs->state);
        ngx_electrumx_subs_tip(subs, view);
    }

    if ((subs->dirty_first || !ngx_queue_empty(&subs->watches.dirty))
        && !subs->event.posted)
    {
        ngx_post_event(&subs->event, &ngx_posted_next_events);
    }
}


static int
ngx_electrumx_subs_change(void *ctx, uint64_t seq,
    const struct exi_live_change *c)
{
    uint32_t               i, n;
    const u_char          *key;
    ngx_electrumx_subs_t  *subs;

    subs = ctx;

    if (c->kind == EXI_CHANGE_ALL) {
        ngx_electrumx_subs_all_dirty(subs);
        return EXI_OK;
    }

    for (n = 0; n < c->nscripts; n++) {

        key = c->scripts + (size_t) n * EXI_SKEY_LEN;
        i = ngx_electrumx_script_find(&subs->table, key);

        if (i) {
            ngx_electrumx_subs_dirty(subs, i);
        }

        ngx_electrumx_watches_touch(&subs->watches, key);
    }

    return EXI_OK;
}


static void
ngx_electrumx_subs_all_dirty(ngx_electrumx_subs_t *subs)
{
    uint32_t  i;

    ngx_electrumx_watches_all(&subs->watches);

    for (i = 1; i <= subs->table.scripts.last; i++) {
        if (ngx_electrumx_script(&subs->table, i)->subs) {
            ngx_electrumx_subs_dirty(subs, i);
        }
    }
}


static void
ngx_electrumx_subs_dirty(ngx_electrumx_subs_t *subs, uint32_t i)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    script->flags |= NGX_ELECTRUMX_DIRTY;

    if (script->flags & NGX_ELECTRUMX_QUEUED) {
        return;
    }

    script->flags |= NGX_ELECTRUMX_QUEUED;
    script->dirty = 0;

    if (subs->dirty_first) {
        ngx_electrumx_script(&subs->table, subs->dirty_last)->dirty = i;

    } else {
        subs->dirty_first = i;
    }

    subs->dirty_last = i;
}


/* Rechecks dirty scripts for a while: NGX_AGAIN when some are left. */

static ngx_int_t
ngx_electrumx_subs_drain(ngx_electrumx_subs_t *subs, struct exi_view *view)
{
    int                      rc;
    uint32_t                 i, cold;
    ngx_uint_t               n;
    struct timespec          start;
    ngx_electrumx_script_t  *script;

    clock_gettime(CLOCK_MONOTONIC, &start);

    cold = 0;

    for (n = 0; subs->dirty_first && subs->dirty_first != cold; n++) {

        if (n == NGX_ELECTRUMX_TURN) {
            return NGX_AGAIN;
        }

        if (n && ngx_electrumx_subs_elapsed(&start) >= NGX_ELECTRUMX_TURN_MS) {
            return NGX_AGAIN;
        }

        i = subs->dirty_first;
        script = ngx_electrumx_script(&subs->table, i);

        subs->dirty_first = script->dirty;
        script->flags &= ~NGX_ELECTRUMX_QUEUED;

        if (script->subs == 0) {
            ngx_electrumx_script_free(&subs->table, i);
            continue;
        }

        if (!(script->flags & NGX_ELECTRUMX_DIRTY)) {
            continue;
        }

        rc = ngx_electrumx_subs_recheck(subs, i, view);

        ngx_electrumx_message_end();

        if (rc == EXI_ECOLD) {

            /* behind the others; round once */

            ngx_electrumx_subs_dirty(subs, i);
            cold = cold ? cold : i;
            continue;
        }

        if (rc != EXI_OK && rc != EXI_ELIMIT) {
            ngx_log_error(NGX_LOG_ERR, subs->event.log, 0,
                          "electrumx \"%V\": status of a script: %s",
                          &subs->index->name, exi_strerror(rc));

            /* at the next tick */

            ngx_electrumx_subs_dirty(subs, i);
            return NGX_OK;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_subs_elapsed(struct timespec *start)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (now.tv_sec - start->tv_sec) * 1000
           + (now.tv_nsec - start->tv_nsec) / 1000000;
}


/* EXI_ELIMIT: the history became too large, the script is gone. */

static int
ngx_electrumx_subs_recheck(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view)
{
    int                      rc;
    bool                     some;
    u_char                   status[EXI_HASH_LEN];
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    rc = ngx_electrumx_subs_status(subs, view, script->key, status, &some);

    if (rc == EXI_ELIMIT) {
        script->flags &= ~(NGX_ELECTRUMX_DIRTY|NGX_ELECTRUMX_SOME);

        ngx_electrumx_subs_notify(subs, i);

        while (script->subs) {
            ngx_electrumx_sub_free(&subs->table, script->subs);
        }

        ngx_electrumx_subs_release(subs, i);
    }

    if (rc != EXI_OK) {
        return rc;
    }

    script->flags &= ~NGX_ELECTRUMX_DIRTY;

    if (some == ((script->flags & NGX_ELECTRUMX_SOME) != 0)
        && (!some || ngx_memcmp(status, script->status, EXI_HASH_LEN) == 0))
    {
        return EXI_OK;
    }

    if (some) {
        script->flags |= NGX_ELECTRUMX_SOME;
        ngx_memcpy(script->status, status, EXI_HASH_LEN);

    } else {
        script->flags &= ~NGX_ELECTRUMX_SOME;
    }

    ngx_electrumx_subs_notify(subs, i);

    return EXI_OK;
}


static int
ngx_electrumx_subs_status(ngx_electrumx_subs_t *subs, struct exi_view *view,
    const u_char *key, u_char *status, bool *some)
{
    struct exi_skey  skey;

    ngx_memcpy(skey.b, key, EXI_SKEY_LEN);

    return exi_script_status(view, &ngx_electrumx_arena, &skey,
                             ngx_electrumx_history_limit(subs->index), status,
                             some);
}


/* Notifications */

static void
ngx_electrumx_subs_tip(ngx_electrumx_subs_t *subs, struct exi_view *view)
{
    int                       rc;
    uint8_t                   header[EXI_HEADER_LEN];
    ngx_queue_t              *q;
    ngx_electrumx_session_t  *s;

    rc = exi_header(view, subs->tip_height, header);

    if (rc == EXI_ECOLD) {

        /* the tip is live as a rule; here its header was settled just now, and
           a notification can't be run again */

        exi_view_nowait(view, 0);
        rc = exi_header(view, subs->tip_height, header);
        exi_view_nowait(view, 1);
    }

    if (rc != EXI_OK) {
        ngx_log_error(NGX_LOG_ERR, subs->event.log, 0,
                      "electrumx \"%V\": header of the tip: %s",
                      &subs->index->name, exi_strerror(rc));
        return;
    }

    for (q = ngx_queue_head(&subs->index->sessions);
         q != ngx_queue_sentinel(&subs->index->sessions);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_electrumx_session_t, queue);

        if (s->headers_sub) {
            ngx_electrumx_subs_header(s, header, subs->tip_height);
        }
    }
}


static void
ngx_electrumx_subs_header(ngx_electrumx_session_t *s, const uint8_t *header,
    uint32_t height)
{
    ngx_electrumx_out_t  *out;

    out = ngx_electrumx_out_new(s);

    if (out == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    exi_jw_lit(&out->jw, "{\"jsonrpc\":\"2.0\","
                         "\"method\":\"blockchain.headers.subscribe\","
                         "\"params\":[{\"hex\":");
    exi_jw_hex(&out->jw, header, EXI_HEADER_LEN);
    exi_jw_lit(&out->jw, ",\"height\":");
    exi_jw_u64(&out->jw, height);
    exi_jw_lit(&out->jw, "}]}");

    ngx_electrumx_out_broadcast(out);

    s->nnotified++;
    s->index->notifications++;
}


static void
ngx_electrumx_subs_notify(ngx_electrumx_subs_t *subs, uint32_t i)
{
    uint32_t                 k;
    ngx_electrumx_sub_t     *sub;
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    for (k = script->subs; k; k = sub->next) {
        sub = ngx_electrumx_sub(&subs->table, k);
        ngx_electrumx_subs_send(sub, script);
    }
}


static void
ngx_electrumx_subs_send(ngx_electrumx_sub_t *sub,
    ngx_electrumx_script_t *script)
{
    ngx_electrumx_out_t  *out;

    out = ngx_electrumx_out_new(sub->session);

    if (out == NULL) {
        ngx_electrumx_session_close(sub->session, NGX_ERROR);
        return;
    }

    exi_jw_lit(&out->jw, "{\"jsonrpc\":\"2.0\",\"method\":\"blockchain.");
    ngx_electrumx_sub_name(sub, script, &out->jw);

    if (script->flags & NGX_ELECTRUMX_SOME) {
        exi_jw_lit(&out->jw, "\",");
        exi_jw_hex(&out->jw, script->status, EXI_HASH_LEN);
        exi_jw_lit(&out->jw, "]}");

    } else {
        exi_jw_lit(&out->jw, "\",null]}");
    }

    ngx_electrumx_out_send(out);

    sub->session->nnotified++;
    sub->session->index->notifications++;
}


/* Subscribing */

int
ngx_electrumx_subs_add(ngx_electrumx_session_t *s, struct exi_view *view,
    ngx_electrumx_by_e by, const ngx_str_t *spelling, const u_char *hash,
    u_char *status, ngx_uint_t *some)
{
    u_char                   tail[NGX_ELECTRUMX_TAIL];
    int                      rc;
    uint32_t                 i, k;
    ngx_electrumx_subs_t    *subs;
    ngx_electrumx_script_t  *script;

    subs = s->index->subs;

    if (subs == NULL) {
        return EXI_ENOMEM;
    }

    i = ngx_electrumx_script_find(&subs->table, hash);
    k = 0;

    ngx_electrumx_subs_tail(tail, hash, by);

    if (i) {
        k = ngx_electrumx_sub_find(&subs->table, s, i, tail);
    }

    if (k == 0 && s->nsubs >= s->index->max_subs) {
        return EXI_EAPI;
    }

    rc = ngx_electrumx_subs_script(subs, view, hash, &i);

    if (rc != EXI_OK) {
        return rc;
    }

    script = ngx_electrumx_script(&subs->table, i);

    if (k == 0) {
        k = ngx_electrumx_sub_new(&subs->table, s, i, tail);
    }

    if (k == 0) {
        ngx_electrumx_subs_release(subs, i);
        return EXI_ENOMEM;
    }

    if (ngx_electrumx_sub_spell(ngx_electrumx_sub(&subs->table, k), spelling)
        != NGX_OK)
    {
        ngx_electrumx_sub_free(&subs->table, k);
        ngx_electrumx_subs_release(subs, i);
        return EXI_ENOMEM;
    }

    *some = (script->flags & NGX_ELECTRUMX_SOME) != 0;
    ngx_memcpy(status, script->status, EXI_HASH_LEN);

    return EXI_OK;
}


/* Makes the script's status that of the view; *i: its number, 0: a new one. */

static int
ngx_electrumx_subs_script(ngx_electrumx_subs_t *subs, struct exi_view *view,
    const u_char *hash, uint32_t *i)
{
    int                      rc;
    bool                     some;
    u_char                   status[EXI_HASH_LEN];
    ngx_electrumx_script_t  *script;

    if (*i) {
        script = ngx_electrumx_script(&subs->table, *i);

        if (script->flags & NGX_ELECTRUMX_DIRTY) {
            return ngx_electrumx_subs_recheck(subs, *i, view);
        }

        return EXI_OK;
    }

    rc = ngx_electrumx_subs_status(subs, view, hash, status, &some);

    if (rc != EXI_OK) {
        return rc;
    }

    *i = ngx_electrumx_script_new(&subs->table, hash);

    if (*i == 0) {
        return EXI_ENOMEM;
    }

    script = ngx_electrumx_script(&subs->table, *i);

    if (some) {
        script->flags = NGX_ELECTRUMX_SOME;
        ngx_memcpy(script->status, status, EXI_HASH_LEN);
    }

    return EXI_OK;
}


/* A script without subscribers goes, unless the list of dirty ones has it. */

static void
ngx_electrumx_subs_release(ngx_electrumx_subs_t *subs, uint32_t i)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    if (script->subs == 0 && !(script->flags & NGX_ELECTRUMX_QUEUED)) {
        ngx_electrumx_script_free(&subs->table, i);
    }
}


ngx_uint_t
ngx_electrumx_subs_remove(ngx_electrumx_session_t *s, ngx_electrumx_by_e by,
    const u_char *hash)
{
    u_char                 tail[NGX_ELECTRUMX_TAIL];
    uint32_t               i, k;
    ngx_electrumx_subs_t  *subs;

    subs = s->index->subs;

    if (subs == NULL) {
        return 0;
    }

    i = ngx_electrumx_script_find(&subs->table, hash);

    if (i == 0) {
        return 0;
    }

    ngx_electrumx_subs_tail(tail, hash, by);

    k = ngx_electrumx_sub_find(&subs->table, s, i, tail);

    if (k == 0) {
        return 0;
    }

    ngx_electrumx_sub_free(&subs->table, k);
    ngx_electrumx_subs_release(subs, i);

    return 1;
}


void
ngx_electrumx_subs_closed(ngx_electrumx_session_t *s)
{
    uint32_t               i, k;
    ngx_electrumx_subs_t  *subs;

    s->headers_sub = 0;

    ngx_electrumx_watches_closed(s);

    subs = s->index->subs;

    if (subs == NULL) {
        s->subscriptions = NULL;
        s->nsubs = 0;
        return;
    }

    while ((k = ngx_electrumx_first(s)) != 0) {

        i = ngx_electrumx_sub(&subs->table, k)->script;

        ngx_electrumx_sub_free(&subs->table, k);
        ngx_electrumx_subs_release(subs, i);
    }

    if (subs->table.scripts.n == 0) {
        ngx_electrumx_table_done(&subs->table);
    }
}
