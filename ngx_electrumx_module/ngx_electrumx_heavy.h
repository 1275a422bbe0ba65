/*
 * Work that takes longer than a turn of the event loop: it is cut into slices,
 * and everybody who has some gets a slice in turn.
 *
 *     turns    runners of the worker, one after the other       _turns.c
 *     tasks    a session's long requests, a runner each session _task.c
 *     lists    those that are streamed                          _list.c
 *     jobs     what is computed of a script, for whoever asks   _job.c
 *     gathers  jobs that need its live rows                     _gather.c
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

/* Scripts whose live rows are gathered at a time: each keeps a snapshot; and
   how long one may, in ms. */
#define NGX_ELECTRUMX_GATHERS        8
#define NGX_ELECTRUMX_GATHER_TIME    10000

/* Scripts a worker remembers something of, for each index: about 2 MB. */
#define NGX_ELECTRUMX_KNOWN          8192

/* Entries from which on a script is worth remembering. */
#define NGX_ELECTRUMX_WORTH          128


/* turns */

typedef struct ngx_electrumx_runner_s  ngx_electrumx_runner_t;

struct ngx_electrumx_runner_s {
    ngx_queue_t                  queue;
    ngx_uint_t                   active;

    /* does a slice: NGX_AGAIN: there is more; else nothing now */
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
    NGX_ELECTRUMX_JOB_STATUS = 0,             /* midstate of the settled
                                                 history */
    NGX_ELECTRUMX_JOB_SUM,                    /* sum of the settled outputs */
    NGX_ELECTRUMX_JOB_ROWS,                   /* live rows */
    NGX_ELECTRUMX_JOB_LIVE_STATUS,            /* with them: the status */
    NGX_ELECTRUMX_JOB_LIVE_BALANCE
} ngx_electrumx_job_e;

/* Who waits until a job can go on; zero but the runner, before the first
   step. */

typedef struct {
    ngx_queue_t                  queue;       /* in job->waiters or the state's
                                                 crowd; zero: not */
    ngx_electrumx_runner_t      *runner;
} ngx_electrumx_waiter_t;


struct ngx_electrumx_job_s {
    ngx_electrumx_runner_t       runner;      /* first; of ROWS */
    ngx_queue_t                  queue;       /* in state->jobs, if listed */
    ngx_electrumx_state_t       *state;
    ngx_electrumx_index_t       *index;
    ngx_electrumx_job_e          kind;
    ngx_uint_t                   refs;
    int                          error;
    struct exi_skey              key;
    ngx_queue_t                  waiters;
    unsigned                     listed:1;    /* others may share it */
    unsigned                     done:1;
    unsigned                     counted:1;
    unsigned                     some:1;      /* there is a status */

    struct exi_mid               mid;
    struct exi_sum               sum;

    /* settled ones */
    struct exi_cursor           *cursor;      /* STATUS */
    struct exi_utxos            *utxos;       /* SUM */
    ngx_electrumx_read_t        *read;        /* what it lacks, or NULL */
    ngx_uint_t                   rounds;      /* without progress */

    /* live ones */
    struct exi_rows             *rows;        /* ROWS */
    ngx_msec_t                   started;
    ngx_electrumx_job_t         *on;          /* LIVE_*: of its ROWS */
    struct exi_status            st;          /* LIVE_STATUS: so far */
    size_t                       at;
    int64_t                      confirmed;   /* LIVE_BALANCE */
    int64_t                      unconfirmed;
    u_char                       status[EXI_HASH_LEN];
};

/*
 * The job that finds this out of the script, with a reference: one that others
 * wait for, too, or a new one on the picture of the view.  Live ones are
 * shared as long as the picture is the same.  EXI_OK; EXI_EBUSY: too many
 * gather rows, ngx_electrumx_job_crowd(); EXI_ENOMEM ...
 */
int ngx_electrumx_job_get(ngx_electrumx_index_t *index, struct exi_view *view,
    ngx_electrumx_job_e kind, const u_char *key, ngx_electrumx_job_t **job);

/* waiter: or NULL */
void ngx_electrumx_job_unref(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter);

/* Does a slice of it: NGX_AGAIN; NGX_BUSY: something has to be done first, the
   waiter's runner is started then; NGX_OK: it is known now, or *error says why
   not (EXI_EBUSY: it took too long). */
ngx_int_t ngx_electrumx_job_step(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter, int *error);

/* NGX_BUSY: the waiter's runner is started when another job may be begun;
   NGX_AGAIN: it may be now. */
ngx_int_t ngx_electrumx_job_crowd(ngx_electrumx_index_t *index,
    ngx_electrumx_waiter_t *waiter);

/* Waits no more. */
void ngx_electrumx_waiter_remove(ngx_electrumx_waiter_t *waiter);


/* inside of jobs */

void ngx_electrumx_job_wait(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter);
void ngx_electrumx_job_wake(ngx_electrumx_job_t *job);
void ngx_electrumx_job_unlist(ngx_electrumx_job_t *job);

int ngx_electrumx_gather_open(ngx_electrumx_job_t *job, struct exi_view *view);
void ngx_electrumx_gather_free(ngx_electrumx_job_t *job);
ngx_uint_t ngx_electrumx_gather_same(ngx_electrumx_job_t *job,
    struct exi_view *view);
ngx_int_t ngx_electrumx_gather_step(ngx_electrumx_job_t *job,
    ngx_electrumx_waiter_t *waiter);


#endif /* _NGX_ELECTRUMX_HEAVY_H_INCLUDED_ */
