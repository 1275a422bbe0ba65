/*
 * Views: one snapshot at a time of the live environment with a generation that
 * fits it.  Transaction, cursor and iterators are kept from one snapshot to
 * the next; exi_view_tidy() takes from idle views what is no longer current,
 * so that they hold no lease.
 */
#include "exi_store.h"

#include <stdlib.h>

#define RETRIES 8

int
exi_view_new(struct exi_store *s, struct exi_view **out)
{
    struct exi_view *v = calloc(1, sizeof *v);

    if (v == NULL) {
        return EXI_ENOMEM;
    }
    v->s = s;
    pthread_mutex_lock(&s->lock);
    v->next = s->views;
    s->views = v;
    pthread_mutex_unlock(&s->lock);
    *out = v;
    return EXI_OK;
}

static void
drop_gen(struct exi_store *s, struct exi_held *h)
{
    if (h->iter != NULL) {
        exi_rodb_iter_free(h->iter);
    }
    if (h->heavy != NULL) {
        exi_rodb_iter_free(h->heavy);
    }
    exi_store_unref_gen(s, h->gen);
    h->iter = h->heavy = NULL;
    h->gen = NULL;
}

static void
drop(struct exi_store *s, struct exi_held *h)
{
    if (h->hist != NULL) {
        mdb_cursor_close(h->hist);
    }
    if (h->txn != NULL) {
        mdb_txn_abort(h->txn);
    }
    drop_gen(s, h);
    exi_store_unref_env(s, h->env);
    memset(h, 0, sizeof *h);
}

void
exi_view_free(struct exi_view *v)
{
    struct exi_view **p;
    struct exi_store *s;

    if (v == NULL) {
        return;
    }
    s = v->s;
    pthread_mutex_lock(&s->lock);
    for (p = &s->views; *p != v; p = &(*p)->next) {
    }
    *p = v->next;
    pthread_mutex_unlock(&s->lock);
    drop(s, &v->h);
    exi_cold_clear(&v->cold);
    free(v);
}

static bool
outdated(const struct exi_view *v)
{
    return (v->h.env != NULL && v->h.env != v->s->env)
           || (v->h.gen != NULL && v->h.gen != v->s->gen);
}

void
exi_view_tidy(struct exi_store *s)
{
    struct exi_held h;
    struct exi_view *v;

    do {
        pthread_mutex_lock(&s->lock);
        for (v = s->views; v != NULL; v = v->next) {
            if (!v->active && outdated(v)) {
                h = v->h;
                memset(&v->h, 0, sizeof v->h);
                break;
            }
        }
        pthread_mutex_unlock(&s->lock);
        if (v != NULL) {
            drop(s, &h);
        }
    } while (v != NULL);
}

/* Marks the view as in use and gives it the store's environment and
 * generation. */
static void
take(struct exi_view *v, struct exi_held *old)
{
    struct exi_store *s = v->s;

    pthread_mutex_lock(&s->lock);
    v->active = true;
    if (outdated(v)) {
        *old = v->h;
        memset(&v->h, 0, sizeof v->h);
    }
    if (v->h.env == NULL && s->env != NULL) {
        v->h.env = s->env;
        s->env->refs++;
    }
    if (v->h.gen == NULL && s->gen != NULL) {
        v->h.gen = s->gen;
        s->gen->refs++;
    }
    pthread_mutex_unlock(&s->lock);
}

static void
release(struct exi_view *v)
{
    pthread_mutex_lock(&v->s->lock);
    v->active = false;
    pthread_mutex_unlock(&v->s->lock);
}

/* A new snapshot of the live layer and its state. */
static int
snapshot(struct exi_view *v)
{
    struct exi_held *h = &v->h;
    MDB_val k = { 5, (void *) "state" }, val;
    int rc = h->txn ? mdb_txn_renew(h->txn)
                    : mdb_txn_begin(h->env->env, NULL, MDB_RDONLY, &h->txn);

    if (rc) {
        return exi_store_mdb_err(rc);
    }
    rc = mdb_get(h->txn, h->env->dbi[EXI_DB_META], &k, &val);
    if (rc == 0) {
        rc = exi_live_state_decode(&v->st, val.mv_data, val.mv_size);
    } else {
        rc = rc == MDB_NOTFOUND ? EXI_EFORMAT : exi_store_mdb_err(rc);
    }
    if (rc) {
        mdb_txn_reset(h->txn);
    }
    return rc;
}

/* Replaces the generation by one that fits the snapshot. */
static int
change_gen(struct exi_view *v)
{
    struct exi_gen *g;
    int rc = exi_store_gen(v->s, &v->st, &g);

    if (rc) {
        mdb_txn_reset(v->h.txn);
        return rc;
    }
    drop_gen(v->s, &v->h);
    v->h.gen = g;
    return EXI_OK;
}

/* EXI_ESTALE: what the environment lists is gone. */
static int
begin_once(struct exi_view *v)
{
    struct exi_held old = { 0 };
    int rc = EXI_ENOTREADY;

    take(v, &old);
    drop(v->s, &old);
    v->hist_ready = false;
    v->work = 0;
    exi_cold_begin(&v->cold);
    if (v->h.env != NULL) {
        rc = EXI_ESTALE;
    }
    for (int i = 0; i < RETRIES && rc == EXI_ESTALE; i++) {
        rc = snapshot(v);
        if (rc == EXI_OK && !exi_store_fits(&v->st, v->h.gen)) {
            rc = change_gen(v);
        }
    }
    if (rc == EXI_OK && v->h.iter == NULL) {
        v->h.iter = exi_rodb_iter_new(v->h.gen->db, &v->cold);
        if (v->h.iter == NULL) {
            mdb_txn_reset(v->h.txn);
            rc = EXI_ENOMEM;
        }
    }
    if (rc) {
        release(v);
    }
    return rc;
}

/*
 * A dead indexer's environment may list generations that its successor has
 * removed: then the successor's environment is the one to look at.
 */
int
exi_view_begin(struct exi_view *v)
{
    int rc;

    if (v->active) {
        return EXI_EAPI;
    }
    rc = begin_once(v);
    for (int i = 0; i < 3 && rc == EXI_ESTALE; i++) {
        (void) exi_store_refresh(v->s);
        rc = begin_once(v);
    }
    return rc == EXI_ESTALE ? EXI_ENOTREADY : rc;
}

void
exi_view_end(struct exi_view *v)
{
    if (!v->active) {
        return;
    }
    if (v->snap != NULL) {
        exi_snap_unref(v->snap);
        v->snap = NULL;
        v->h.txn = NULL; /* the snapshot's */
    } else {
        mdb_txn_reset(v->h.txn);
    }
    release(v);
}

struct exi_snap *
exi_view_share(struct exi_view *v)
{
    if (v->snap == NULL) {
        v->snap = calloc(1, sizeof *v->snap);
        if (v->snap == NULL) {
            return NULL;
        }
        v->snap->refs = 1; /* the view's */
        v->snap->store = v->s;
        v->snap->env = v->h.env;
        v->snap->txn = v->h.txn;
        pthread_mutex_lock(&v->s->lock);
        v->h.env->refs++;
        pthread_mutex_unlock(&v->s->lock);
    }
    v->snap->refs++;
    return v->snap;
}

void
exi_snap_unref(struct exi_snap *s)
{
    if (--s->refs > 0) {
        return;
    }
    mdb_txn_abort(s->txn);
    exi_store_unref_env(s->store, s->env);
    free(s);
}

uint64_t
exi_view_work(const struct exi_view *v)
{
    return v->work;
}

const struct exi_live_state *
exi_view_state(const struct exi_view *v)
{
    return &v->st;
}

const struct exi_params *
exi_view_params(const struct exi_view *v)
{
    return &v->h.gen->m.params;
}

/*
 * Reads that must not wait.
 */

void
exi_view_nowait(struct exi_view *v, bool nowait)
{
    v->cold.nowait = nowait;
    exi_cold_begin(&v->cold);
}

bool
exi_view_cold(const struct exi_view *v)
{
    return v->cold.n > 0;
}

int
exi_view_cold_take(struct exi_view *v, struct exi_cold_list **out)
{
    return exi_cold_take(&v->cold, out);
}
