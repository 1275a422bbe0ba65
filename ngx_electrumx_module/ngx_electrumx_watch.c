/*
 * Subscriptions to outpoints and transactions; see the header.
 *
 * Change records name what they touch by 14 bytes, of a script's hash or of a
 * transaction's id.  A spender touches the script of the output that it
 * spends, so a watch is rechecked only when something happened to it.  An
 * output of a transaction that nobody has seen yet is found by the id.
 */

#include "ngx_electrumx_watch.h"


static ngx_queue_t *ngx_electrumx_watch_slot(ngx_electrumx_watches_t *w,
    const u_char *key);
static ngx_int_t ngx_electrumx_watches_grow(ngx_electrumx_watches_t *w);
static void ngx_electrumx_watch_link(ngx_electrumx_watches_t *w,
    ngx_electrumx_link_t *link, const u_char *key);
static void ngx_electrumx_watch_unlink(ngx_electrumx_watches_t *w,
    ngx_electrumx_link_t *link);
static ngx_electrumx_watch_t *ngx_electrumx_watch_find(
    ngx_electrumx_watches_t *w, ngx_electrumx_session_t *s,
    const ngx_electrumx_outpoint_t *o);
static void ngx_electrumx_watch_dirty(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch);
static void ngx_electrumx_watch_tell(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch, const ngx_electrumx_spend_t *st);
static void ngx_electrumx_watch_free(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch);
static ngx_uint_t ngx_electrumx_spend_same(const ngx_electrumx_spend_t *a,
    const ngx_electrumx_spend_t *b);
static void ngx_electrumx_watch_send(ngx_electrumx_watch_t *watch);


void
ngx_electrumx_watches_init(ngx_electrumx_watches_t *w,
    ngx_electrumx_index_t *index, uint64_t seed)
{
    ngx_memzero(w, sizeof(ngx_electrumx_watches_t));

    w->index = index;
    w->seed = seed;

    ngx_queue_init(&w->dirty);
}


void
ngx_electrumx_watches_done(ngx_electrumx_watches_t *w)
{
    if (w->slots) {
        ngx_free(w->slots);
    }

    w->slots = NULL;
    w->nslots = 0;
    w->nlinks = 0;
}


/* The table: chains of links */

static ngx_queue_t *
ngx_electrumx_watch_slot(ngx_electrumx_watches_t *w, const u_char *key)
{
    uint64_t  a, b;

    ngx_memcpy(&a, key, 8);
    ngx_memcpy(&b, key + EXI_SKEY_LEN - 8, 8);

    a = (a ^ w->seed) * 0x9e3779b97f4a7c15ULL;
    a = ((a ^ (a >> 29)) + b) * 0xbf58476d1ce4e5b9ULL;

    return &w->slots[(a ^ (a >> 32)) & (w->nslots - 1)];
}


static ngx_int_t
ngx_electrumx_watches_grow(ngx_electrumx_watches_t *w)
{
    uint32_t               i, n;
    ngx_queue_t           *old, *q;
    ngx_electrumx_link_t  *link;

    old = w->slots;
    n = w->nslots;

    q = ngx_alloc((n ? (size_t) n * 2 : 64) * sizeof(ngx_queue_t),
                  ngx_cycle->log);

    if (q == NULL) {
        return NGX_ERROR;
    }

    w->slots = q;
    w->nslots = n ? n * 2 : 64;

    for (i = 0; i < w->nslots; i++) {
        ngx_queue_init(&w->slots[i]);
    }

    for (i = 0; i < n; i++) {

        while (!ngx_queue_empty(&old[i])) {
            q = ngx_queue_head(&old[i]);
            ngx_queue_remove(q);

            link = ngx_queue_data(q, ngx_electrumx_link_t, queue);
            ngx_queue_insert_tail(ngx_electrumx_watch_slot(w, link->key), q);
        }
    }

    if (old) {
        ngx_free(old);
    }

    return NGX_OK;
}


static void
ngx_electrumx_watch_link(ngx_electrumx_watches_t *w,
    ngx_electrumx_link_t *link, const u_char *key)
{
    ngx_memcpy(link->key, key, EXI_SKEY_LEN);

    ngx_queue_insert_tail(ngx_electrumx_watch_slot(w, key), &link->queue);

    link->linked = 1;
    w->nlinks++;
}


static void
ngx_electrumx_watch_unlink(ngx_electrumx_watches_t *w,
    ngx_electrumx_link_t *link)
{
    if (link->linked) {
        ngx_queue_remove(&link->queue);
        link->linked = 0;
        w->nlinks--;
    }
}


static ngx_electrumx_watch_t *
ngx_electrumx_watch_find(ngx_electrumx_watches_t *w,
    ngx_electrumx_session_t *s, const ngx_electrumx_outpoint_t *o)
{
    ngx_queue_t           *q, *slot;
    ngx_electrumx_link_t  *link;

    if (w->nslots == 0) {
        return NULL;
    }

    slot = ngx_electrumx_watch_slot(w, o->txid.b);

    for (q = ngx_queue_head(slot); q != slot; q = ngx_queue_next(q)) {

        link = ngx_queue_data(q, ngx_electrumx_link_t, queue);

        if (link == &link->watch->txid_link && link->watch->session == s
            && link->watch->outpoint.index == o->index
            && link->watch->outpoint.whole == o->whole
            && ngx_memcmp(link->watch->outpoint.txid.b, o->txid.b,
                          EXI_HASH_LEN)
               == 0)
        {
            return link->watch;
        }
    }

    return NULL;
}


/* Changes */

void
ngx_electrumx_watches_touch(ngx_electrumx_watches_t *w, const u_char *key)
{
    ngx_queue_t           *q, *slot;
    ngx_electrumx_link_t  *link;

    if (w->nlinks == 0) {
        return;
    }

    slot = ngx_electrumx_watch_slot(w, key);

    for (q = ngx_queue_head(slot); q != slot; q = ngx_queue_next(q)) {

        link = ngx_queue_data(q, ngx_electrumx_link_t, queue);

        if (ngx_memcmp(link->key, key, EXI_SKEY_LEN) == 0) {
            ngx_electrumx_watch_dirty(w, link->watch);
        }
    }
}


void
ngx_electrumx_watches_all(ngx_electrumx_watches_t *w)
{
    uint32_t               i;
    ngx_queue_t           *q;
    ngx_electrumx_link_t  *link;

    for (i = 0; i < w->nslots; i++) {

        for (q = ngx_queue_head(&w->slots[i]);
             q != &w->slots[i];
             q = ngx_queue_next(q))
        {
            link = ngx_queue_data(q, ngx_electrumx_link_t, queue);
            ngx_electrumx_watch_dirty(w, link->watch);
        }
    }
}


static void
ngx_electrumx_watch_dirty(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch)
{
    if (!watch->dirty) {
        watch->dirty = 1;
        ngx_queue_insert_tail(&w->dirty, &watch->queue);
    }
}


ngx_int_t
ngx_electrumx_watches_drain(ngx_electrumx_watches_t *w, struct exi_view *view,
    ngx_uint_t max)
{
    int                     rc;
    ngx_queue_t            *q, *cold;
    ngx_uint_t              n;
    ngx_electrumx_spend_t   st;
    ngx_electrumx_watch_t  *watch;

    cold = NULL;

    for (n = 0; !ngx_queue_empty(&w->dirty); n++) {

        if (n == max) {
            return NGX_AGAIN;
        }

        q = ngx_queue_head(&w->dirty);

        if (q == cold) {
            return NGX_OK;
        }

        watch = ngx_queue_data(q, ngx_electrumx_watch_t, queue);

        rc = ngx_electrumx_spend(view, &watch->outpoint, &st);

        if (rc == EXI_ECOLD) {

            /* behind the others; round once */

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&w->dirty, q);
            cold = cold ? cold : q;
            continue;
        }

        if (rc != EXI_OK) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "electrumx \"%V\": status of an outpoint: %s",
                          &w->index->name, exi_strerror(rc));
            return NGX_OK;
        }

        ngx_queue_remove(q);
        watch->dirty = 0;

        /* what only the node can tell lies below what a change can touch */

        if (!st.deep) {
            ngx_electrumx_watch_tell(w, watch, &st);
        }
    }

    return NGX_OK;
}


static void
ngx_electrumx_watch_tell(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch, const ngx_electrumx_spend_t *st)
{
    if (st->has_script && !watch->script_link.linked) {
        ngx_electrumx_watch_link(w, &watch->script_link, st->script.b);
    }

    if (watch->known && ngx_electrumx_spend_same(&watch->told, st)) {
        return;
    }

    watch->told = *st;
    watch->known = 1;

    ngx_electrumx_watch_send(watch);
}


static ngx_uint_t
ngx_electrumx_spend_same(const ngx_electrumx_spend_t *a,
    const ngx_electrumx_spend_t *b)
{
    return a->funded == b->funded && a->spent == b->spent
           && (!a->funded || a->funder_height == b->funder_height)
           && (!a->spent || (a->spender_height == b->spender_height
                             && ngx_memcmp(a->spender.b, b->spender.b,
                                           EXI_HASH_LEN)
                                == 0));
}


/* The txid is spelled as the client wrote it. */

static void
ngx_electrumx_watch_send(ngx_electrumx_watch_t *watch)
{
    char                  text[EXI_HASH_LEN * 2];
    ngx_uint_t            i;
    struct exi_jw        *jw;
    ngx_electrumx_out_t  *out;

    out = ngx_electrumx_out_new(watch->session);

    if (out == NULL) {
        ngx_electrumx_session_close(watch->session, NGX_ERROR);
        return;
    }

    exi_hex_display(text, watch->outpoint.txid.b);

    for (i = 0; i < EXI_HASH_LEN * 2; i++) {

        if ((watch->upper >> i) & 1) {
            text[i] = (char) ngx_toupper(text[i]);
        }
    }

    jw = &out->jw;

    exi_jw_lit(jw, "{\"jsonrpc\":\"2.0\",\"method\":\"blockchain.");

    if (watch->outpoint.whole) {
        exi_jw_lit(jw, "transaction.subscribe\",\"params\":[\"");

    } else {
        exi_jw_lit(jw, "outpoint.subscribe\",\"params\":[\"");
    }

    exi_jw_raw(jw, text, sizeof(text));
    exi_jw_lit(jw, "\",");

    if (!watch->outpoint.whole) {
        exi_jw_u64(jw, watch->outpoint.index);
        exi_jw_char(jw, ',');
    }

    ngx_electrumx_spend_write(jw, &watch->outpoint, &watch->told);
    exi_jw_lit(jw, "]}");

    ngx_electrumx_out_send(out);

    watch->session->nnotified++;
    watch->session->index->notifications++;
}


/* Subscribing */

int
ngx_electrumx_watch_add(ngx_electrumx_session_t *s,
    const ngx_electrumx_outpoint_t *o, const ngx_electrumx_spend_t *st,
    const ngx_str_t *spelling)
{
    size_t                    i;
    ngx_electrumx_watch_t    *watch;
    ngx_electrumx_watches_t  *w;

    w = ngx_electrumx_watches(s->index);

    if (w == NULL) {
        return EXI_ENOMEM;
    }

    watch = ngx_electrumx_watch_find(w, s, o);

    if (watch == NULL) {

        if (s->nsubs >= s->index->max_subs) {
            return EXI_EAPI;
        }

        if (w->nlinks + 2 > w->nslots
            && ngx_electrumx_watches_grow(w) != NGX_OK)
        {
            return EXI_ENOMEM;
        }

        watch = ngx_calloc(sizeof(ngx_electrumx_watch_t), ngx_cycle->log);

        if (watch == NULL) {
            return EXI_ENOMEM;
        }

        watch->session = s;
        watch->outpoint = *o;
        watch->txid_link.watch = watch;
        watch->script_link.watch = watch;

        ngx_electrumx_watch_link(w, &watch->txid_link, o->txid.b);

        if (s->watches.next == NULL) {
            ngx_queue_init(&s->watches);
        }

        ngx_queue_insert_tail(&s->watches, &watch->owned);
        s->nsubs++;
    }

    if (st->has_script && !watch->script_link.linked) {
        ngx_electrumx_watch_link(w, &watch->script_link, st->script.b);
    }

    watch->told = *st;
    watch->known = !st->deep;
    watch->upper = 0;

    for (i = 0; i < spelling->len && i < EXI_HASH_LEN * 2; i++) {
        if (spelling->data[i] >= 'A' && spelling->data[i] <= 'F') {
            watch->upper |= (uint64_t) 1 << i;
        }
    }

    return EXI_OK;
}


ngx_uint_t
ngx_electrumx_watch_remove(ngx_electrumx_session_t *s,
    const ngx_electrumx_outpoint_t *o)
{
    ngx_electrumx_watch_t    *watch;
    ngx_electrumx_watches_t  *w;

    w = ngx_electrumx_watches(s->index);
    watch = w ? ngx_electrumx_watch_find(w, s, o) : NULL;

    if (watch == NULL) {
        return 0;
    }

    ngx_electrumx_watch_free(w, watch);

    return 1;
}


void
ngx_electrumx_watches_closed(ngx_electrumx_session_t *s)
{
    ngx_electrumx_watches_t  *w;

    w = ngx_electrumx_watches(s->index);

    if (w == NULL || s->watches.next == NULL) {
        return;
    }

    while (!ngx_queue_empty(&s->watches)) {
        ngx_electrumx_watch_free(w, ngx_queue_data(ngx_queue_head(&s->watches),
                                              ngx_electrumx_watch_t, owned));
    }

    if (w->nlinks == 0) {
        ngx_electrumx_watches_done(w);
    }
}


static void
ngx_electrumx_watch_free(ngx_electrumx_watches_t *w,
    ngx_electrumx_watch_t *watch)
{
    if (watch->dirty) {
        ngx_queue_remove(&watch->queue);
    }

    ngx_electrumx_watch_unlink(w, &watch->txid_link);
    ngx_electrumx_watch_unlink(w, &watch->script_link);

    ngx_queue_remove(&watch->owned);
    watch->session->nsubs--;

    ngx_free(watch);
}
