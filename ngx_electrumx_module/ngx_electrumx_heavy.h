/*
 * Work that takes longer than a turn of the event loop: it is cut into slices,
 * and everybody who has some gets a slice in turn.
 *
 *     turns    runners of the worker, one after the other       _turns.c
 *     tasks    a session's long requests, a runner each session _task.c
 *     jobs     what is computed of a script, for whoever asks   _job.c
 *     known    what jobs found out, kept for the next time      _known.c
 */

#ifndef _NGX_ELECTRUMX_HEAVY_H_INCLUDED_
#define _NGX_ELECTRUMX_HEAVY_H_INCLUDED_


#include "ngx_electrumx_rpc.h"


/* Entries of a history that a request may read at once; more are a task. */
#define NGX_ELECTRUMX_LIGHT          256

/* Entries of a slice, and slices of a turn of the event loop. */
#define NGX_ELECTRUMX_SLICE          512
#define NGX_ELECTRUMX_TURN_SLICES    4

/* Tasks of a session from which on nothing more is read from it. */
#define NGX_ELECTRUMX_TASKS          8

/* Scripts a worker remembers something of, for each index: about 2 MB. */
#define NGX_ELECTRUMX_KNOWN          8192

/* Entries from which on a script is worth remembering. */
#define NGX_ELECTRUMX_WORTH          128


/* turns */

typedef struct ngx_electrumx_runner_s  ngx_electrumx_runner_t;

struct ngx_electrumx_runner_s {
    ngx_queue_t                  queue;
    ngx_uint_t                   active;

    /* does a slice: NGX_AGAIN: there is more; NGX_DONE: the same, but that was
       as much as a turn may be; NGX_OK: nothing now */
    ngx_int_t                  (*run)(ngx_electrumx_runner_t *runner);
};

/* Lets it run in the next turns; nothing if it does already. */
void ngx_electrumx_runner_start(ngx_electrumx_runner_t *runner);
void ngx_electrumx_runner_stop(ngx_electrumx_runner_t *runner);


/* known */

typedef struct ngx_electrumx_known_s   ngx_electrumx_known_t;

/* NULL: out of memory. */
ngx_electrumx_known_t *ngx_electrumx_known_new(void);
void ngx_electrumx_known_free(ngx_electrumx_known_t *known);

/* Copies what is known of the script; cleared if nothing is. */
void ngx_electrumx_known_mid(ngx_electrumx_known_t *known, const u_char *key,
    struct exi_mid *mid);
void ngx_electrumx_known_sum(ngx_electrumx_known_t *known, const u_char *key,
    struct exi_sum *sum);

/* Remembers it, if it is worth it; forgets what was not used for longest. */
void ngx_electrumx_known_set_mid(ngx_electrumx_known_t *known,
    const u_char *key, const struct exi_mid *mid);
void ngx_electrumx_known_set_sum(ngx_electrumx_known_t *known,
    const u_char *key, const struct exi_sum *sum);


/* jobs */

typedef enum {
    NGX_ELECTRUMX_JOB_STATUS = 0,             /* midstate of the history */
    NGX_ELECTRUMX_JOB_SUM                     /* sum of the outputs */
} ngx_electrumx_job_e;

typedef struct ngx_electrumx_job_s     ngx_electrumx_job_t;

/* Who waits until a job can go on; zero but the runner, before the first
   step. */

typedef struct {
    ngx_queue_t                  queue;       /* in job->waiters; zero: not */
    ngx_electrumx_runner_t      *runner;
} ngx_electrumx_waiter_t;

/*
 * The job that finds this out of the script, with a reference: one that others
 * wait for, too, or a new one on the picture of the view.  EXI_OK,
 * EXI_ENOMEM ...
 */
int ngx_electrumx_job_get(ngx_electrumx_index_t *index, struct exi_view *view,
    ngx_electrumx_job_e kind, const u_char *key, ngx_electrumx_job_t **job);
void ngx_electrumx_job_unref(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter);

/* Does a slice of it: NGX_AGAIN; NGX_BUSY: something has to be read first, the
   waiter's runner is started then; NGX_OK: it is known now, or *error says why
   not. */
ngx_int_t ngx_electrumx_job_step(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter, int *error);


#endif /* _NGX_ELECTRUMX_HEAVY_H_INCLUDED_ */
