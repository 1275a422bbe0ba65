/*
 * Runners of a worker take turns: in each turn of the event loop a few of them
 * do one slice each, then all other connections are looked at.  So a turn is
 * bounded however many have work, and each of them gets the same share.
 */

#include "ngx_electrumx_heavy.h"


static void ngx_electrumx_turns_handler(ngx_event_t *ev);


static ngx_queue_t  ngx_electrumx_runners;
static ngx_event_t  ngx_electrumx_turns;


void
ngx_electrumx_runner_start(ngx_electrumx_runner_t *runner)
{
    if (runner->active) {
        return;
    }

    if (ngx_electrumx_runners.next == NULL) {
        ngx_queue_init(&ngx_electrumx_runners);
        ngx_electrumx_turns.handler = ngx_electrumx_turns_handler;
        ngx_electrumx_turns.log = ngx_cycle->log;
    }

    runner->active = 1;
    ngx_queue_insert_tail(&ngx_electrumx_runners, &runner->queue);

    if (!ngx_electrumx_turns.posted) {
        ngx_post_event(&ngx_electrumx_turns, &ngx_posted_next_events);
    }
}


void
ngx_electrumx_runner_stop(ngx_electrumx_runner_t *runner)
{
    if (runner->active) {
        runner->active = 0;
        ngx_queue_remove(&runner->queue);
    }
}


static void
ngx_electrumx_turns_handler(ngx_event_t *ev)
{
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_electrumx_runner_t  *runner;

    for (n = 0; n < NGX_ELECTRUMX_TURN_SLICES; n++) {

        if (ngx_queue_empty(&ngx_electrumx_runners)) {
            return;
        }

        q = ngx_queue_head(&ngx_electrumx_runners);
        runner = ngx_queue_data(q, ngx_electrumx_runner_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_electrumx_runners, q);

        rc = runner->run(runner);

        if (rc != NGX_AGAIN) {
            ngx_electrumx_runner_stop(runner);
        }
    }

    if (!ngx_queue_empty(&ngx_electrumx_runners) && !ev->posted) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}
