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
 * A script whose status takes a job first goes from the dirty ones to the heavy
 * ones, so that the others are not delayed; it stays dirty until then.
 *
 * The subscriptions of a session that is gone are taken out in turns, too.
 *
 * The table is ngx_electrumx_subs.c's; rechecking and telling
 * ngx_electrumx_recheck.c's.
 */

#include "ngx_electrumx_subscribe.h"


#define NGX_ELECTRUMX_LEAVE          1000     /* subscriptions in a turn */


static void ngx_electrumx_subs_turn(ngx_electrumx_subs_t *subs);
static void ngx_electrumx_subs_event(ngx_event_t *ev);
static void ngx_electrumx_subs_fetched(void *data);
static int ngx_electrumx_subs_change(void *ctx, uint64_t seq,
    const struct exi_live_change *c);
static void ngx_electrumx_subs_all_dirty(ngx_electrumx_subs_t *subs);
static int ngx_electrumx_subs_script(ngx_electrumx_subs_t *subs,
    struct exi_view *view, const u_char *hash, uint64_t light,
    ngx_electrumx_job_t *job, uint32_t *i);
static ngx_int_t ngx_electrumx_subs_forget(ngx_electrumx_subs_t *subs,
    ngx_electrumx_session_t *s, ngx_uint_t n);


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

    subs->runner.run = ngx_electrumx_subs_heavy;
    subs->waiter.runner = &subs->runner;
    subs->leave.run = ngx_electrumx_subs_leave;
    ngx_queue_init(&subs->leaving);

    ngx_queue_init(&subs->state.waiting);
    ngx_queue_init(&subs->state.jobs);
    ngx_queue_init(&subs->state.crowd);

    subs->state.known = ngx_electrumx_known_new();

    if (subs->state.known == NULL) {
        ngx_free(subs);
        return NGX_ERROR;
    }

    index->subs = subs;

    return NGX_OK;
}


void
ngx_electrumx_subs_done(ngx_electrumx_index_t *index)
{
    ngx_queue_t           *q;
    ngx_electrumx_subs_t  *subs;

    subs = index->subs;

    if (subs == NULL) {
        return;
    }

    if (subs->event.posted) {
        ngx_delete_posted_event(&subs->event);
    }

    ngx_electrumx_banners_free(&subs->state);

    ngx_electrumx_runner_stop(&subs->runner);
    ngx_electrumx_runner_stop(&subs->leave);

    ngx_electrumx_waiter_remove(&subs->waiter);

    if (subs->job) {
        ngx_electrumx_job_unref(subs->job, &subs->waiter);
    }

    while (!ngx_queue_empty(&subs->leaving)) {
        q = ngx_queue_head(&subs->leaving);
        ngx_queue_remove(q);
        ngx_electrumx_session_unref(ngx_queue_data(q, ngx_electrumx_session_t,
                                                   leaving));
    }

    ngx_electrumx_known_free(subs->state.known);

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


void
ngx_electrumx_subs_fetch(ngx_electrumx_subs_t *subs, struct exi_view *view)
{
    (void) ngx_electrumx_cold_fetch(subs->index, view,
                                    ngx_electrumx_subs_fetched, subs);
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

    if (subs->heavy.first) {
        ngx_electrumx_runner_start(&subs->runner);
    }

    rc = ngx_electrumx_subs_drain(subs, view);

    if (rc == NGX_OK) {
        rc = ngx_electrumx_watches_drain(&subs->watches, view,
                                         NGX_ELECTRUMX_TURN);
    }

    /* those that lack something come back when it was read */

    ngx_electrumx_subs_fetch(subs, view);

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

    if ((subs->dirty.first || !ngx_queue_empty(&subs->watches.dirty))
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


/* Subscribing */

int
ngx_electrumx_subs_add(ngx_electrumx_session_t *s, struct exi_view *view,
    ngx_electrumx_by_e by, const ngx_str_t *spelling, const u_char *hash,
    uint64_t light, ngx_electrumx_job_t *job, u_char *status,
    ngx_uint_t *some)
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

    rc = ngx_electrumx_subs_script(subs, view, hash, light, job, &i);

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
    const u_char *hash, uint64_t light, ngx_electrumx_job_t *job, uint32_t *i)
{
    int                      rc;
    bool                     some;
    u_char                   status[EXI_HASH_LEN];
    ngx_electrumx_script_t  *script;

    if (job && job->kind != NGX_ELECTRUMX_JOB_LIVE_STATUS) {
        job = NULL;
    }

    if (*i) {
        script = ngx_electrumx_script(&subs->table, *i);

        if (!(script->flags & NGX_ELECTRUMX_DIRTY)) {
            return EXI_OK;
        }

        if (job == NULL) {
            return ngx_electrumx_subs_recheck(subs, *i, view);
        }

        ngx_electrumx_subs_live(subs, *i, view, job);
        return EXI_OK;
    }

    some = 0;

    rc = job ? EXI_OK
             : ngx_electrumx_script_status(subs->index, view, hash, light,
                                           status, &some);

    if (rc != EXI_OK) {
        return rc;
    }

    *i = ngx_electrumx_script_new(&subs->table, hash);

    if (*i == 0) {
        return EXI_ENOMEM;
    }

    if (job) {
        ngx_electrumx_subs_live(subs, *i, view, job);
        return EXI_OK;
    }

    script = ngx_electrumx_script(&subs->table, *i);

    if (some) {
        script->flags = NGX_ELECTRUMX_SOME;
        ngx_memcpy(script->status, status, EXI_HASH_LEN);
    }

    return EXI_OK;
}


/* A script without subscribers goes, unless the list of dirty ones has it. */

void
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
    ngx_electrumx_subs_t  *subs;

    s->headers_sub = 0;

    ngx_electrumx_watches_closed(s);

    subs = s->index->subs;

    if (subs == NULL) {
        s->subscriptions = NULL;
        s->nsubs = 0;
        return;
    }

    if (ngx_electrumx_subs_forget(subs, s, NGX_ELECTRUMX_LEAVE) == NGX_AGAIN) {
        ngx_electrumx_session_ref(s);
        ngx_queue_insert_tail(&subs->leaving, &s->leaving);
        ngx_electrumx_runner_start(&subs->leave);
    }
}


/* Takes out some of its subscriptions: NGX_AGAIN when there are more. */

static ngx_int_t
ngx_electrumx_subs_forget(ngx_electrumx_subs_t *subs,
    ngx_electrumx_session_t *s, ngx_uint_t n)
{
    uint32_t  i, k;

    while ((k = ngx_electrumx_first(s)) != 0) {

        if (n-- == 0) {
            return NGX_AGAIN;
        }

        i = ngx_electrumx_sub(&subs->table, k)->script;

        ngx_electrumx_sub_free(&subs->table, k);
        ngx_electrumx_subs_release(subs, i);
    }

    if (subs->table.scripts.n == 0) {
        ngx_electrumx_table_done(&subs->table);
    }

    return NGX_OK;
}


ngx_int_t
ngx_electrumx_subs_leave(ngx_electrumx_runner_t *runner)
{
    ngx_queue_t              *q;
    ngx_electrumx_subs_t     *subs;
    ngx_electrumx_session_t  *s;

    subs = (ngx_electrumx_subs_t *)
               ((u_char *) runner - offsetof(ngx_electrumx_subs_t, leave));

    q = ngx_queue_head(&subs->leaving);
    s = ngx_queue_data(q, ngx_electrumx_session_t, leaving);

    if (ngx_electrumx_subs_forget(subs, s, NGX_ELECTRUMX_LEAVE) == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ngx_queue_remove(q);
    ngx_electrumx_session_unref(s);

    return ngx_queue_empty(&subs->leaving) ? NGX_OK : NGX_AGAIN;
}
