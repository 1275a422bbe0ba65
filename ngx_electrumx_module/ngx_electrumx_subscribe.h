/*
 * Inside of the subscriptions: what ngx_electrumx_subscribe.c and
 * ngx_electrumx_recheck.c share; nobody else includes it.
 */

#ifndef _NGX_ELECTRUMX_SUBSCRIBE_H_INCLUDED_
#define _NGX_ELECTRUMX_SUBSCRIBE_H_INCLUDED_


#include "ngx_electrumx_heavy.h"
#include "ngx_electrumx_subs.h"
#include "ngx_electrumx_watch.h"


#define NGX_ELECTRUMX_TURN           500      /* scripts in a turn */


/* Scripts in a list by their member dirty. */

typedef struct {
    uint32_t                     first;
    uint32_t                     last;
} ngx_electrumx_dirty_t;


struct ngx_electrumx_subs_s {
    ngx_electrumx_runner_t       runner;      /* first; of the heavy ones */
    ngx_electrumx_dirty_t         heavy;
    ngx_electrumx_job_t         *job;         /* of the first of them */
    ngx_electrumx_waiter_t       waiter;      /* for it */

    ngx_electrumx_runner_t       leave;
    ngx_queue_t                  leaving;     /* sessions by their queue */

    ngx_electrumx_state_t        state;
    ngx_electrumx_index_t       *index;
    ngx_electrumx_table_t        table;
    ngx_electrumx_watches_t      watches;

    ngx_uint_t                   started;
    uint64_t                     instance;    /* changes seen so far */
    uint64_t                     seq;
    uint32_t                     tip_height;
    struct exi_blkid             tip;

    ngx_electrumx_dirty_t         dirty;
    ngx_event_t                  event;       /* next turn */
};


/* subscribe */

/* A script without subscribers goes, unless a list has it. */
void ngx_electrumx_subs_release(ngx_electrumx_subs_t *subs, uint32_t i);

/* Rechecks again when what the view's queries lacked was read. */
void ngx_electrumx_subs_fetch(ngx_electrumx_subs_t *subs,
    struct exi_view *view);

/* Runner: takes out subscriptions of sessions that are gone. */
ngx_int_t ngx_electrumx_subs_leave(ngx_electrumx_runner_t *runner);


/* recheck */

/* The script's status may be out of date. */
void ngx_electrumx_subs_dirty(ngx_electrumx_subs_t *subs, uint32_t i);

/* Rechecks dirty scripts for a while: NGX_AGAIN when some are left. */
ngx_int_t ngx_electrumx_subs_drain(ngx_electrumx_subs_t *subs,
    struct exi_view *view);

/* Runner: the same for heavy ones. */
ngx_int_t ngx_electrumx_subs_heavy(ngx_electrumx_runner_t *runner);

/* Makes the script's status that of the view, and tells it.  EXI_EHEAVY,
   EXI_EMANY; EXI_ELIMIT: the history became too large, the script is gone. */
int ngx_electrumx_subs_recheck(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view);

/* The same from a job LIVE_STATUS, which is of an earlier snapshot: the script
   stays dirty, or becomes so, if it was touched since. */
void ngx_electrumx_subs_live(ngx_electrumx_subs_t *subs, uint32_t i,
    struct exi_view *view, ngx_electrumx_job_t *job);

/* Tells the tip. */
void ngx_electrumx_subs_tip(ngx_electrumx_subs_t *subs, struct exi_view *view);


#endif /* _NGX_ELECTRUMX_SUBSCRIBE_H_INCLUDED_ */
