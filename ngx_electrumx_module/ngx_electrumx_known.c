/*
 * What a worker remembers of scripts with long histories or many outputs, so
 * that a new transaction costs what is new and not the whole history.
 *
 * Nothing here is ever wrong, it can only be of no use any more: each thing
 * belongs to a block, and libexi takes it only if that block is in the chain
 * of the view (a deep reorganisation makes it useless).  Bounded: what was not
 * used for longest goes first.
 */

#include "ngx_electrumx_heavy.h"


#define NGX_ELECTRUMX_KNOWN_SLOTS    4096     /* a power of two */


typedef struct ngx_electrumx_fact_s    ngx_electrumx_fact_t;

struct ngx_electrumx_fact_s {
    ngx_queue_t                  queue;       /* by use, the last one first */
    ngx_electrumx_fact_t        *next;        /* in its slot */
    u_char                       key[EXI_SKEY_LEN];
    u_char                       kind;        /* ngx_electrumx_job_e */
    union {
        struct exi_mid           mid;
        struct exi_sum           sum;
    };
};

struct ngx_electrumx_known_s {
    ngx_queue_t                  used;
    ngx_uint_t                   n;
    uint64_t                     seed;
    ngx_electrumx_fact_t        *slots[NGX_ELECTRUMX_KNOWN_SLOTS];
};


static ngx_electrumx_fact_t **ngx_electrumx_fact_find(
    ngx_electrumx_known_t *known, const u_char *key, ngx_electrumx_job_e kind);
static ngx_electrumx_fact_t *ngx_electrumx_fact_get(
    ngx_electrumx_known_t *known, const u_char *key, ngx_electrumx_job_e kind,
    ngx_uint_t make);
static void ngx_electrumx_fact_forget(ngx_electrumx_known_t *known);


ngx_electrumx_known_t *
ngx_electrumx_known_new(void)
{
    ngx_electrumx_known_t  *known;

    known = ngx_calloc(sizeof(ngx_electrumx_known_t), ngx_cycle->log);

    if (known) {
        ngx_queue_init(&known->used);
        known->seed = (uint64_t) ngx_random() << 31 ^ (uint64_t) ngx_random();
    }

    return known;
}


void
ngx_electrumx_known_free(ngx_electrumx_known_t *known)
{
    if (known == NULL) {
        return;
    }

    while (known->n) {
        ngx_electrumx_fact_forget(known);
    }

    ngx_free(known);
}


/* Where the pointer to it is, or would be. */

static ngx_electrumx_fact_t **
ngx_electrumx_fact_find(ngx_electrumx_known_t *known, const u_char *key,
    ngx_electrumx_job_e kind)
{
    uint64_t                h;
    ngx_electrumx_fact_t  **p;

    /* keys are hashes, but their owners choose them */

    ngx_memcpy(&h, key + 4, sizeof(uint64_t));
    h = (h ^ known->seed) * 0x9e3779b97f4a7c15ULL;

    p = &known->slots[(h >> 40) & (NGX_ELECTRUMX_KNOWN_SLOTS - 1)];

    while (*p && ((*p)->kind != kind
                  || ngx_memcmp((*p)->key, key, EXI_SKEY_LEN) != 0))
    {
        p = &(*p)->next;
    }

    return p;
}


static ngx_electrumx_fact_t *
ngx_electrumx_fact_get(ngx_electrumx_known_t *known, const u_char *key,
    ngx_electrumx_job_e kind, ngx_uint_t make)
{
    ngx_electrumx_fact_t  *fact, **p;

    p = ngx_electrumx_fact_find(known, key, kind);
    fact = *p;

    if (fact) {
        ngx_queue_remove(&fact->queue);
        ngx_queue_insert_head(&known->used, &fact->queue);
        return fact;
    }

    if (!make) {
        return NULL;
    }

    if (known->n == NGX_ELECTRUMX_KNOWN) {
        ngx_electrumx_fact_forget(known);
        p = ngx_electrumx_fact_find(known, key, kind);
    }

    fact = ngx_calloc(sizeof(ngx_electrumx_fact_t), ngx_cycle->log);

    if (fact == NULL) {
        return NULL;
    }

    ngx_memcpy(fact->key, key, EXI_SKEY_LEN);
    fact->kind = (u_char) kind;

    *p = fact;
    ngx_queue_insert_head(&known->used, &fact->queue);
    known->n++;

    return fact;
}


static void
ngx_electrumx_fact_forget(ngx_electrumx_known_t *known)
{
    ngx_queue_t           *q;
    ngx_electrumx_fact_t  *fact;

    q = ngx_queue_last(&known->used);
    fact = ngx_queue_data(q, ngx_electrumx_fact_t, queue);

    ngx_queue_remove(q);
    *ngx_electrumx_fact_find(known, fact->key, fact->kind) = fact->next;
    known->n--;

    ngx_free(fact);
}


void
ngx_electrumx_known_mid(ngx_electrumx_known_t *known, const u_char *key,
    struct exi_mid *mid)
{
    ngx_electrumx_fact_t  *fact;

    fact = known->n ? ngx_electrumx_fact_get(known, key,
                                             NGX_ELECTRUMX_JOB_STATUS, 0)
                    : NULL;

    if (fact) {
        *mid = fact->mid;

    } else {
        mid->st.n = 0;
    }
}


void
ngx_electrumx_known_sum(ngx_electrumx_known_t *known, const u_char *key,
    struct exi_sum *sum)
{
    ngx_electrumx_fact_t  *fact;

    fact = known->n ? ngx_electrumx_fact_get(known, key,
                                             NGX_ELECTRUMX_JOB_SUM, 0)
                    : NULL;

    if (fact) {
        *sum = fact->sum;

    } else {
        ngx_memzero(sum, sizeof(struct exi_sum));
    }
}


void
ngx_electrumx_known_set_mid(ngx_electrumx_known_t *known, const u_char *key,
    const struct exi_mid *mid)
{
    ngx_electrumx_fact_t  *fact;

    if (mid->st.n < NGX_ELECTRUMX_WORTH) {
        return;
    }

    fact = ngx_electrumx_fact_get(known, key, NGX_ELECTRUMX_JOB_STATUS, 1);

    if (fact) {
        fact->mid = *mid;
    }
}


void
ngx_electrumx_known_set_sum(ngx_electrumx_known_t *known, const u_char *key,
    const struct exi_sum *sum)
{
    ngx_electrumx_fact_t  *fact;

    if (sum->n < NGX_ELECTRUMX_WORTH) {
        return;
    }

    fact = ngx_electrumx_fact_get(known, key, NGX_ELECTRUMX_JOB_SUM, 1);

    if (fact) {
        fact->sum = *sum;
    }
}
