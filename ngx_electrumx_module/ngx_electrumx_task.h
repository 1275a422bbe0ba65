/*
 * Inside of the tasks: what ngx_electrumx_task.c and ngx_electrumx_list.c
 * share; nobody else includes it.
 */

#ifndef _NGX_ELECTRUMX_TASK_H_INCLUDED_
#define _NGX_ELECTRUMX_TASK_H_INCLUDED_


#include "ngx_electrumx_heavy.h"


typedef struct {
    ngx_electrumx_runner_t       runner;      /* first */
    ngx_queue_t                  tasks;
    ngx_uint_t                   n;
    size_t                       held;        /* bytes of them */
    ngx_electrumx_session_t     *session;
} ngx_electrumx_tasks_t;


typedef struct {
    ngx_queue_t                  queue;       /* in tasks->tasks */
    ngx_electrumx_session_t     *session;
    ngx_electrumx_batch_t       *batch;
    const ngx_electrumx_method_t  *method;
    ngx_electrumx_dialect_e      dialect;
    ngx_str_t                    id;
    ngx_electrumx_arg_t          args[NGX_ELECTRUMX_MAX_ARGS];
    size_t                       held;

    ngx_electrumx_job_t         *job;         /* parked: what it waits for;
                                                 list: its live rows */
    ngx_electrumx_waiter_t       waiter;

    ngx_electrumx_read_t        *read;        /* what it lacks, or NULL */
    ngx_uint_t                   rounds;      /* without progress */

    struct exi_cursor           *cursor;      /* lists: one of these */
    struct exi_utxos            *utxos;
    ngx_uint_t                   flags;       /* history: EXI_HIST_*; 0: unspent
                                                 outputs */
    uint64_t                     from;        /* history: heights */
    uint64_t                     to;
    const ngx_electrumx_list_form_t  *form;   /* NULL: parked */
    ngx_electrumx_rows_t         rows;
    ngx_electrumx_out_t         *out;         /* NULL: not begun */
    size_t                       size;        /* of the list, measured */
    unsigned                     crowded:1;   /* parked: for any job */
    unsigned                     counted:1;
    unsigned                     failed:1;    /* the disk has */
} ngx_electrumx_task_t;


/* task */

/* A task of the request: itself, the request's id and its first argument, in
   one piece; NULL: the error is in r. */
ngx_electrumx_task_t *ngx_electrumx_task_new(ngx_electrumx_req_t *r);

/* Lets it wait for its turn, unless making it failed (rc).  NGX_AGAIN;
   NGX_ERROR: it is gone, the error is in r. */
ngx_int_t ngx_electrumx_task_add(ngx_electrumx_req_t *r,
    ngx_electrumx_task_t *task, int rc);

/* So many bytes more are held for it. */
void ngx_electrumx_task_hold(ngx_electrumx_task_t *task, size_t size);

/* The request again, as if it came now. */
void ngx_electrumx_task_req(ngx_electrumx_task_t *task,
    ngx_electrumx_req_t *r);

/* Puts it aside until what it lacks was read; rc: of taking the list.
   NGX_BUSY; NGX_OK: it has been answered. */
ngx_int_t ngx_electrumx_task_aside(ngx_electrumx_task_t *task, int rc,
    struct exi_cold_list *list);

/* Answers with the error of libexi, before anything was sent. */
void ngx_electrumx_task_fail(ngx_electrumx_task_t *task, int rc);

/* Ends it with the error, wherever it is. */
void ngx_electrumx_task_break(ngx_electrumx_task_t *task, int rc);


/* list */

/* A slice of a list; as ngx_electrumx_task_step(). */
ngx_int_t ngx_electrumx_list_step(ngx_electrumx_task_t *task);


#endif /* _NGX_ELECTRUMX_TASK_H_INCLUDED_ */
