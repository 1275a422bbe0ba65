/*
 * Subscribed scripts whose status may be out of date: rechecked in turns, each
 * once however many are subscribed, and told.  A script whose status takes a
 * job first goes from the dirty ones to the heavy ones, so that the others are
 * not delayed; it stays dirty until then.
 */

#include "ngx_electrumx_subscribe.h"


#define NGX_ELECTRUMX_TURN_MS        5


static ngx_int_t ngx_electrumx_subs_elapsed(struct timespec *start);
static void ngx_electrumx_subs_header(ngx_electrumx_session_t *s,
    const uint8_t *header, uint32_t height);
static void ngx_electrumx_subs_put(ngx_electrumx_subs_t *subs,
    ngx_electrumx_dirty_t *list, uint32_t i);
static uint32_t ngx_electrumx_subs_take(ngx_electrumx_subs_t *subs,
    ngx_electrumx_dirty_t *list);
static int ngx_electrumx_subs_check(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view);
static ngx_int_t ngx_electrumx_subs_job(ngx_electrumx_subs_t *subs,
    struct exi_view *view);
static int ngx_electrumx_subs_begin(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view);
static void ngx_electrumx_subs_found(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view, ngx_electrumx_job_t *job, int rc);
static void ngx_electrumx_subs_set(ngx_electrumx_subs_t *subs, uint32_t i,
    const u_char *status, ngx_uint_t some);
static int ngx_electrumx_subs_touched(void *ctx, uint64_t seq,
    const struct exi_live_change *c);
static void ngx_electrumx_subs_too_large(ngx_electrumx_subs_t *subs,
    uint32_t i);
static void ngx_electrumx_subs_notify(ngx_electrumx_subs_t *subs, uint32_t i);
static void ngx_electrumx_subs_send(ngx_electrumx_sub_t *sub,
    ngx_electrumx_script_t *script);


void
ngx_electrumx_subs_dirty(ngx_electrumx_subs_t *subs, uint32_t i)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    script->flags |= NGX_ELECTRUMX_DIRTY;

    if (!(script->flags & NGX_ELECTRUMX_QUEUED)) {
        ngx_electrumx_subs_put(subs, &subs->dirty, i);
    }
}


/* A script is in one list at most. */

static void
ngx_electrumx_subs_put(ngx_electrumx_subs_t *subs, ngx_electrumx_dirty_t *list,
    uint32_t i)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    script->flags |= NGX_ELECTRUMX_QUEUED;
    script->dirty = 0;

    if (list->first) {
        ngx_electrumx_script(&subs->table, list->last)->dirty = i;

    } else {
        list->first = i;
    }

    list->last = i;
}


/* The first one, which leaves the list; 0: without subscribers, it is gone. */

static uint32_t
ngx_electrumx_subs_take(ngx_electrumx_subs_t *subs, ngx_electrumx_dirty_t *list)
{
    uint32_t                 i;
    ngx_electrumx_script_t  *script;

    i = list->first;
    script = ngx_electrumx_script(&subs->table, i);

    list->first = script->dirty;
    script->flags &= ~NGX_ELECTRUMX_QUEUED;

    if (script->subs == 0) {
        ngx_electrumx_script_free(&subs->table, i);
        return 0;
    }

    return i;
}


ngx_int_t
ngx_electrumx_subs_drain(ngx_electrumx_subs_t *subs, struct exi_view *view)
{
    int              rc;
    uint32_t         i, cold;
    ngx_uint_t       n;
    struct timespec  start;

    clock_gettime(CLOCK_MONOTONIC, &start);

    cold = 0;

    for (n = 0; subs->dirty.first && subs->dirty.first != cold; n++) {

        if (n == NGX_ELECTRUMX_TURN) {
            return NGX_AGAIN;
        }

        if (n && ngx_electrumx_subs_elapsed(&start) >= NGX_ELECTRUMX_TURN_MS) {
            return NGX_AGAIN;
        }

        i = ngx_electrumx_subs_take(subs, &subs->dirty);

        if (i == 0) {
            continue;
        }

        rc = ngx_electrumx_subs_check(subs, i, view);

        ngx_electrumx_message_end();

        if (rc == EXI_ECOLD) {

            /* behind the others; round once */

            ngx_electrumx_subs_dirty(subs, i);
            cold = cold ? cold : i;
            continue;
        }

        if (rc != EXI_OK) {

            /* at the next tick */

            ngx_electrumx_subs_dirty(subs, i);
            return NGX_OK;
        }
    }

    return NGX_OK;
}


/* Rechecks one that is in no list: it may be a heavy one then.  Errors are
   logged. */

static int
ngx_electrumx_subs_check(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view)
{
    int  rc;

    if (!(ngx_electrumx_script(&subs->table, i)->flags & NGX_ELECTRUMX_DIRTY))
    {
        return EXI_OK;
    }

    rc = ngx_electrumx_subs_recheck(subs, i, view);

    if (rc == EXI_EHEAVY || rc == EXI_EMANY) {
        ngx_electrumx_subs_put(subs, &subs->heavy, i);
        ngx_electrumx_runner_start(&subs->runner);
        return EXI_OK;
    }

    if (rc == EXI_OK || rc == EXI_ELIMIT) {
        return EXI_OK;
    }

    if (rc == EXI_ECOLD) {
        return rc;
    }

    ngx_log_error(NGX_LOG_ERR, subs->event.log, 0,
                  "electrumx \"%V\": status of a script: %s",
                  &subs->index->name, exi_strerror(rc));

    return rc;
}


ngx_int_t
ngx_electrumx_subs_heavy(ngx_electrumx_runner_t *runner)
{
    ngx_int_t              rc;
    struct exi_view       *view;
    ngx_electrumx_subs_t  *subs;

    subs = (ngx_electrumx_subs_t *) runner;
    view = subs->index->view;

    if (subs->heavy.first == 0) {
        return NGX_OK;
    }

    if (view == NULL || exi_view_begin(view) != EXI_OK) {

        /* the timer tries again */

        return NGX_OK;
    }

    rc = ngx_electrumx_subs_job(subs, view);

    ngx_electrumx_message_end();
    ngx_electrumx_subs_fetch(subs, view);
    exi_view_end(view);

    return rc == NGX_OK && subs->heavy.first ? NGX_AGAIN : rc;
}


/* A slice for the first of the heavy ones. */

static ngx_int_t
ngx_electrumx_subs_job(ngx_electrumx_subs_t *subs, struct exi_view *view)
{
    int                      rc;
    uint32_t                 i;
    ngx_int_t                step;
    ngx_electrumx_job_t     *job;
    ngx_electrumx_script_t  *script;

    i = subs->heavy.first;
    script = ngx_electrumx_script(&subs->table, i);
    rc = EXI_OK;

    if (script->subs && (script->flags & NGX_ELECTRUMX_DIRTY)) {

        if (subs->job == NULL) {
            rc = ngx_electrumx_subs_begin(subs, i, view);
        }

        if (rc == EXI_EBUSY) {
            return ngx_electrumx_job_crowd(subs->index, &subs->waiter);
        }

        if (rc == EXI_OK && subs->job) {
            step = ngx_electrumx_job_step(subs->job, &subs->waiter, &rc);

            if (step != NGX_OK) {
                return step;
            }
        }
    }

    job = subs->job;
    subs->job = NULL;

    if (ngx_electrumx_subs_take(subs, &subs->heavy)) {
        ngx_electrumx_subs_found(subs, i, view, job, rc);
    }

    if (job) {
        ngx_electrumx_job_unref(job, &subs->waiter);
    }

    return NGX_OK;
}


/* The job that it takes, if it takes one. */

static int
ngx_electrumx_subs_begin(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view)
{
    int                  rc;
    ngx_electrumx_job_e  kind;

    ngx_electrumx_subs_catch_up(subs->index, view);

    rc = ngx_electrumx_subs_recheck(subs, i, view);

    if (rc != EXI_EHEAVY && rc != EXI_EMANY) {
        return rc;
    }

    kind = (rc == EXI_EHEAVY) ? NGX_ELECTRUMX_JOB_STATUS
                              : NGX_ELECTRUMX_JOB_LIVE_STATUS;

    return ngx_electrumx_job_get(subs->index, view, kind,
                                 ngx_electrumx_script(&subs->table, i)->key,
                                 &subs->job);
}


/* The script, which has left the list, and what its job came to. */

static void
ngx_electrumx_subs_found(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view, ngx_electrumx_job_t *job, int rc)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    if (rc == EXI_ELIMIT) {
        ngx_electrumx_subs_too_large(subs, i);
        return;
    }

    if (rc == EXI_OK) {
        ngx_electrumx_subs_catch_up(subs->index, view);

        if (script->flags & NGX_ELECTRUMX_QUEUED) {
            return;
        }

        if (job && job->kind == NGX_ELECTRUMX_JOB_LIVE_STATUS) {
            ngx_electrumx_subs_live(subs, i, view, job);
            return;
        }

        rc = ngx_electrumx_subs_check(subs, i, view);
    }

    if (rc != EXI_OK) {
        ngx_electrumx_subs_dirty(subs, i);
    }
}


static ngx_int_t
ngx_electrumx_subs_elapsed(struct timespec *start)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (now.tv_sec - start->tv_sec) * 1000
           + (now.tv_nsec - start->tv_nsec) / 1000000;
}


int
ngx_electrumx_subs_recheck(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view)
{
    int                      rc;
    bool                     some;
    u_char                   status[EXI_HASH_LEN];
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    rc = ngx_electrumx_script_status(subs->index, view, script->key,
                                     NGX_ELECTRUMX_LIGHT, status, &some);

    if (rc == EXI_ELIMIT) {
        ngx_electrumx_subs_too_large(subs, i);
    }

    if (rc != EXI_OK) {
        return rc;
    }

    script->flags &= ~NGX_ELECTRUMX_DIRTY;
    ngx_electrumx_subs_set(subs, i, status, some);

    return EXI_OK;
}


void
ngx_electrumx_subs_live(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view, ngx_electrumx_job_t *job)
{
    ngx_electrumx_script_t       *script;
    const struct exi_live_state  *st;

    script = ngx_electrumx_script(&subs->table, i);
    st = exi_rows_state(job->on->rows);

    if (exi_changes(view, st->instance, st->seq, ngx_electrumx_subs_touched,
                    script->key)
        == EXI_OK)
    {
        script->flags &= ~NGX_ELECTRUMX_DIRTY;

    } else {
        ngx_electrumx_subs_dirty(subs, i);

        if (!subs->event.posted) {
            ngx_post_event(&subs->event, &ngx_posted_next_events);
        }
    }

    ngx_electrumx_subs_set(subs, i, job->status, job->some);
}


/* Ends the look through the changes when one touches the script (ctx: key). */

static int
ngx_electrumx_subs_touched(void *ctx, uint64_t seq,
    const struct exi_live_change *c)
{
    int       order;
    uint32_t  lo, hi, mid;

    if (c->kind == EXI_CHANGE_ALL) {
        return EXI_ESTALE;
    }

    lo = 0;
    hi = c->nscripts;

    while (lo < hi) {
        mid = lo + (hi - lo) / 2;
        order = ngx_memcmp(c->scripts + (size_t) mid * EXI_SKEY_LEN, ctx,
                           EXI_SKEY_LEN);

        if (order == 0) {
            return EXI_ESTALE;
        }

        if (order < 0) {
            lo = mid + 1;

        } else {
            hi = mid;
        }
    }

    return EXI_OK;
}


/* Sets a status and tells it, if it is another one. */

static void
ngx_electrumx_subs_set(ngx_electrumx_subs_t *subs, uint32_t i,
    const u_char *status, ngx_uint_t some)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    if (some == ((script->flags & NGX_ELECTRUMX_SOME) != 0)
        && (!some || ngx_memcmp(status, script->status, EXI_HASH_LEN) == 0))
    {
        return;
    }

    if (some) {
        script->flags |= NGX_ELECTRUMX_SOME;
        ngx_memcpy(script->status, status, EXI_HASH_LEN);

    } else {
        script->flags &= ~NGX_ELECTRUMX_SOME;
    }

    ngx_electrumx_subs_notify(subs, i);
}


/* Its history is: the subscribers are told for the last time. */

static void
ngx_electrumx_subs_too_large(ngx_electrumx_subs_t *subs, uint32_t i)
{
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(&subs->table, i);

    script->flags &= ~(NGX_ELECTRUMX_DIRTY|NGX_ELECTRUMX_SOME);

    ngx_electrumx_subs_notify(subs, i);

    while (script->subs) {
        ngx_electrumx_sub_free(&subs->table, script->subs);
    }

    ngx_electrumx_subs_release(subs, i);
}


/* Notifications */

void
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

    if (sub->session->connection == NULL) {
        return;
    }

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
