/*
 * Subscriptions to outpoints and transactions: each watch belongs to one
 * session and keeps the status it was told last.  A watch is found through two
 * keys of change records: the first bytes of its transaction's id and, once
 * the output is known, its script.
 */

#ifndef _NGX_ELECTRUMX_WATCH_H_INCLUDED_
#define _NGX_ELECTRUMX_WATCH_H_INCLUDED_


#include "ngx_electrumx_rpc.h"


typedef struct ngx_electrumx_watch_s   ngx_electrumx_watch_t;


typedef struct {
    ngx_queue_t                  queue;       /* in its slot */
    ngx_electrumx_watch_t       *watch;
    u_char                       key[EXI_SKEY_LEN];
    u_char                       linked;
} ngx_electrumx_link_t;


struct ngx_electrumx_watch_s {
    ngx_queue_t                  owned;       /* in session->watches */
    ngx_queue_t                  queue;       /* in watches->dirty */
    ngx_electrumx_link_t         txid_link;
    ngx_electrumx_link_t         script_link;
    ngx_electrumx_session_t     *session;
    ngx_electrumx_outpoint_t     outpoint;
    ngx_electrumx_spend_t        told;
    uint64_t                     upper;       /* bit n: digit n is A ... F */
    unsigned                     dirty:1;
    unsigned                     known:1;     /* told is what it says */
};


typedef struct {
    ngx_electrumx_index_t       *index;
    ngx_queue_t                 *slots;
    uint32_t                     nslots;      /* a power of two, or 0 */
    uint32_t                     nlinks;
    uint64_t                     seed;
    ngx_queue_t                  dirty;
} ngx_electrumx_watches_t;


void ngx_electrumx_watches_init(ngx_electrumx_watches_t *w,
    ngx_electrumx_index_t *index, uint64_t seed);

/* Frees the table; sessions have been closed or never will be served again. */
void ngx_electrumx_watches_done(ngx_electrumx_watches_t *w);

/* Something happened to what has this key; to anything. */
void ngx_electrumx_watches_touch(ngx_electrumx_watches_t *w,
    const u_char *key);
void ngx_electrumx_watches_all(ngx_electrumx_watches_t *w);

/* Rechecks dirty ones, at most `max` of them: NGX_AGAIN when some are left.  An
   error is logged; the rest waits for the next tick. */
ngx_int_t ngx_electrumx_watches_drain(ngx_electrumx_watches_t *w,
    struct exi_view *view, ngx_uint_t max);

/* The worker's watches of an index, or NULL (ngx_electrumx_subscribe.c). */
ngx_electrumx_watches_t *ngx_electrumx_watches(ngx_electrumx_index_t *index);


#endif /* _NGX_ELECTRUMX_WATCH_H_INCLUDED_ */
