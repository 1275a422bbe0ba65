/*
 * The unconfirmed view: makes the live mempool equal to the node's.
 *
 * The node's list of txids is compared with the live layer; what is gone is
 * removed, what is new is fetched and added parents first, all in one commit,
 * and only if the node's tip is still ours after the list was read (else the
 * list belongs to another block, and the next turn does it again).
 */
#include "sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fees.h"
#include "lib/exi_hex.h"
#include "lib/exi_tx.h"
#include "log.h"
#include "rpc_json.h"

#define FETCH_BATCH 200 /* transactions asked for at once */
#define ADD_CHUNK 5000  /* transactions in one commit at most */
#define FACTS_MS 60000
#define HIST_MS 30000
#define HIST_SMALL 5000 /* below it the histogram follows every change */
#define PASSES_MAX 64

/* Open-addressing set of txids. */
struct txset {
    struct exi_txid *slot;
    uint8_t *used;
    size_t mask;
};

static int
txset_init(struct txset *t, size_t n)
{
    size_t cap = 16;

    while (cap < n * 2) {
        cap *= 2;
    }
    t->mask = cap - 1;
    t->slot = malloc(cap * sizeof(*t->slot));
    t->used = calloc(cap, 1);
    return t->slot != NULL && t->used != NULL ? EXI_OK : EXI_ENOMEM;
}

static void
txset_free(struct txset *t)
{
    free(t->slot);
    free(t->used);
}

static size_t
txset_find(const struct txset *t, const struct exi_txid *id)
{
    uint64_t h;
    size_t i;

    memcpy(&h, id->b, sizeof(h));
    for (i = h & t->mask; t->used[i]; i = (i + 1) & t->mask) {
        if (memcmp(t->slot[i].b, id->b, EXI_HASH_LEN) == 0) {
            break;
        }
    }
    return i;
}

static void
txset_add(struct txset *t, const struct exi_txid *id)
{
    size_t i = txset_find(t, id);

    t->slot[i] = *id;
    t->used[i] = 1;
}

/* A list of txids. */
struct txlist {
    struct exi_txid *v;
    size_t n, cap;
};

static int
txlist_push(struct txlist *l, const struct exi_txid *id)
{
    struct exi_txid *v;
    size_t cap;

    if (l->n == l->cap) {
        cap = l->cap ? l->cap * 2 : 256;
        v = realloc(l->v, cap * sizeof(*v));
        if (v == NULL) {
            return EXI_ENOMEM;
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = *id;
    return EXI_OK;
}

/* Raw transactions fetched, waiting to be added. */
struct rawtx {
    uint8_t *raw;
    size_t len;
    bool done;
};

struct diff {
    struct txset node;   /* what the node has */
    struct txlist gone;  /* what we have and the node has not */
    struct txlist fresh; /* what the node has and we have not */
    struct rawtx *txs;   /* of fresh */
    bool moved;          /* the tip changed meanwhile */
};

static void
diff_free(struct diff *d)
{
    for (size_t i = 0; d->txs != NULL && i < d->fresh.n; i++) {
        free(d->txs[i].raw);
    }
    free(d->txs);
    free(d->gone.v);
    free(d->fresh.v);
    txset_free(&d->node);
}

/* The node's list -> d->node and d->fresh. */
static int
read_list(struct sync *s, struct diff *d, const json_t *list)
{
    size_t n = json_array_size(list);
    struct exi_txid id;
    const char *hex;
    int rc = txset_init(&d->node, n);

    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        hex = json_string_value(json_array_get(list, i));
        if (hex == NULL
            || exi_unhex_display(id.b, hex, strlen(hex)) != EXI_OK) {
            return EXI_EFORMAT;
        }
        txset_add(&d->node, &id);
        rc = live_has(s->live, &id);
        if (rc == 0) {
            rc = txlist_push(&d->fresh, &id);
        } else if (rc > 0) {
            rc = EXI_OK;
        }
    }
    return rc;
}

static int
note_gone(void *ctx, const struct exi_live_tx *tx)
{
    struct diff *d = ctx;

    return d->node.used[txset_find(&d->node, &tx->txid)]
               ? EXI_OK
               : txlist_push(&d->gone, &tx->txid);
}

static int
take_raw(struct rawtx *t, const json_t *result)
{
    const char *hex = json_string_value(result);
    size_t n = json_string_length(result);

    if (hex == NULL) {
        return EXI_OK; /* gone since the list was made */
    }
    t->raw = malloc(n / 2 + 1);
    if (t->raw == NULL) {
        return EXI_ENOMEM;
    }
    t->len = n / 2;
    return exi_unhex(t->raw, hex, n);
}

/* Fetches n of the new transactions from `from` on. */
static int
fetch_some(struct sync *s, struct diff *d, size_t from, size_t n)
{
    json_t *params[FETCH_BATCH], *results[FETCH_BATCH];
    char hex[64];
    int rc, err = EXI_OK;

    for (size_t i = 0; i < n; i++) {
        exi_hex_display(hex, d->fresh.v[from + i].b);
        params[i] = json_pack("[s#b]", hex, 64, 0);
    }
    rc = rpc_batch(s->rpc, "getrawtransaction", params, n, results);
    if (rc != EXI_OK) {
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        rc = take_raw(&d->txs[from + i], results[i]);
        err = err == EXI_OK ? rc : err;
        json_decref(results[i]);
    }
    return err;
}

static int
fetch_fresh(struct sync *s, struct diff *d)
{
    size_t n;
    int rc = EXI_OK;

    d->txs = calloc(d->fresh.n + 1, sizeof(*d->txs));
    if (d->txs == NULL) {
        return EXI_ENOMEM;
    }
    for (size_t i = 0; i < d->fresh.n && rc == EXI_OK && !*s->stop; i += n) {
        n = d->fresh.n - i < FETCH_BATCH ? d->fresh.n - i : FETCH_BATCH;
        rc = fetch_some(s, d, i, n);
        if (d->fresh.n > ADD_CHUNK) {
            log_progress("mempool", (double) (i + n), (double) d->fresh.n, "");
        }
    }
    return rc;
}

/* Is the node's best block our tip?  1, 0 or an error. */
static int
same_tip(struct sync *s)
{
    struct exi_blkid best;
    int rc = rpc_best(s->rpc, &best);

    if (rc != EXI_OK) {
        return rc;
    }
    return memcmp(&best, &live_state(s->live)->tip, sizeof(best)) == 0;
}

static int
make_diff(struct sync *s, struct diff *d)
{
    json_t *list = NULL;
    int rc = rpc_call(s->rpc, "getrawmempool", json_array(), &list);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = read_list(s, d, list);
    json_decref(list);
    if (rc == EXI_OK) {
        rc = live_mempool_each(s->live, note_gone, d);
    }
    if (rc == EXI_OK) {
        rc = fetch_fresh(s, d);
    }
    if (rc == EXI_OK) {
        rc = same_tip(s);
        d->moved = rc == 0;
        rc = rc > 0 ? EXI_OK : rc;
    }
    return rc;
}

static uint64_t
unix_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* One pass over what is not added yet; *progress counts what went in.  A
 * transaction whose parent comes later in the list waits for the next pass. */
static int
add_pass(struct sync *s, struct diff *d, size_t *progress, size_t most)
{
    uint64_t now = unix_ms();
    int rc;

    *progress = 0;
    for (size_t i = 0; i < d->fresh.n && *progress < most; i++) {
        if (d->txs[i].done || d->txs[i].raw == NULL) {
            continue;
        }
        rc = live_mempool_add(s->live, d->txs[i].raw, d->txs[i].len, now);
        if (rc == EXI_OK) {
            d->txs[i].done = true;
            (*progress)++;
        } else if (rc == EXI_EFORMAT) {
            log_warn("mempool", "the node sent a malformed transaction");
            d->txs[i].done = true;
        } else if (rc != EXI_ENOTFOUND && rc != EXI_EBUSY) {
            return rc;
        }
    }
    return EXI_OK;
}

static int
remove_gone(struct sync *s, struct diff *d)
{
    int rc;

    for (size_t i = 0; i < d->gone.n; i++) {
        rc = live_mempool_remove(s->live, &d->gone.v[i]);
        if (rc != EXI_OK && rc != EXI_ENOTFOUND) {
            return rc;
        }
    }
    d->gone.n = 0;
    return EXI_OK;
}

/* One commit: what is gone, and up to ADD_CHUNK new ones. */
static int
apply_chunk(struct sync *s, struct diff *d, bool *more)
{
    size_t got, total = 0;
    int rc = live_begin(s->live);

    *more = false;
    if (rc != EXI_OK) {
        return rc;
    }
    rc = remove_gone(s, d);
    for (int pass = 0; rc == EXI_OK && pass < PASSES_MAX; pass++) {
        rc = add_pass(s, d, &got, ADD_CHUNK - total);
        total += got;
        if (got == 0 || total >= ADD_CHUNK) {
            *more = total >= ADD_CHUNK;
            break;
        }
    }
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_MEMPOOL);
    } else {
        live_abort(s->live);
    }
    return rc;
}

static int
apply(struct sync *s, struct diff *d, bool served)
{
    bool more = d->gone.n > 0 || d->fresh.n > 0;
    int rc = EXI_OK;

    while (more && rc == EXI_OK) {
        rc = apply_chunk(s, d, &more);
        if (rc == EXI_OK && served) {
            sync_ring(s);
        }
    }
    return rc;
}

/*
 * Has the node's mempool changed since the last comparison?  Its summary says
 * so at low cost; 1, 0 or an error.  Stores the summary for the workers.
 */
static int
summary_changed(struct sync *s)
{
    json_t *info = NULL;
    struct rpc_buf text = { NULL, 0, 0 };
    int rc = rpc_call(s->rpc, "getmempoolinfo", json_array(), &info);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = rpc_json_text(&text, info);
    json_decref(info);
    if (rc == EXI_OK) {
        rc = text.len != s->mempool_info.len
             || memcmp(text.data, s->mempool_info.data, text.len) != 0;
        rpc_buf_free(&s->mempool_info);
        s->mempool_info = text;
        return rc;
    }
    rpc_buf_free(&text);
    return rc;
}

int
mempool_sync(struct sync *s, bool served)
{
    struct diff d;
    int rc = summary_changed(s);

    if (rc < 0 || (rc == 0 && !s->mempool_dirty)) {
        return rc;
    }
    s->mempool_dirty = true;
    memset(&d, 0, sizeof(d));
    rc = make_diff(s, &d);
    if (rc == EXI_OK && !d.moved) {
        rc = apply(s, &d, served);
        s->mempool_dirty = rc != EXI_OK;
        s->facts_ms = 0;
    }
    diff_free(&d);
    return rc;
}

/*
 * Facts.
 */

static int
note_fee(void *ctx, const struct exi_live_tx *tx)
{
    return fees_add(ctx, tx->fee_sat, tx->vsize);
}

static int
fact_histogram(struct sync *s)
{
    struct fees *f = fees_new();
    char *json;
    int rc;

    if (f == NULL) {
        return EXI_ENOMEM;
    }
    rc = live_mempool_each(s->live, note_fee, f);
    json = rc == EXI_OK ? fees_histogram(f) : NULL;
    if (rc == EXI_OK) {
        rc = json == NULL ? EXI_ENOMEM
                          : live_fact(s->live, "fees", json, strlen(json));
    }
    free(json);
    fees_free(f);
    return rc;
}

/* Node's network info; nothing when it can't be had. */
static void
ask_network(struct sync *s, struct rpc_buf *text)
{
    json_t *r = NULL;

    if (rpc_call(s->rpc, "getnetworkinfo", json_array(), &r) == EXI_OK) {
        if (rpc_json_text(text, r) != EXI_OK) {
            text->len = 0;
        }
        json_decref(r);
    }
}

static int
store_text(struct sync *s, const char *name, const struct rpc_buf *text)
{
    return text->len == 0 ? EXI_OK
                          : live_fact(s->live, name, (const char *) text->data,
                                      text->len);
}

static int
store_facts(struct sync *s, const struct rpc_buf *network, bool histogram)
{
    int rc = live_begin(s->live);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = store_text(s, "mempoolinfo", &s->mempool_info);
    if (rc == EXI_OK) {
        rc = store_text(s, "network", network);
    }
    if (rc == EXI_OK && histogram) {
        rc = fact_histogram(s);
    }
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_MEMPOOL);
    } else {
        live_abort(s->live);
    }
    return rc;
}

int
mempool_facts(struct sync *s)
{
    uint64_t now = sync_now_ms();
    bool histogram = live_state(s->live)->mempool_count < HIST_SMALL
                     || now - s->hist_ms >= HIST_MS || s->hist_ms == 0;
    struct rpc_buf network = { NULL, 0, 0 };
    int rc;

    if (s->facts_ms != 0 && now - s->facts_ms < FACTS_MS) {
        return EXI_OK;
    }
    if (s->network_ms == 0 || now - s->network_ms >= FACTS_MS) {
        ask_network(s, &network);
        s->network_ms = now;
    }
    rc = store_facts(s, &network, histogram);
    rpc_buf_free(&network);
    if (rc == EXI_OK) {
        s->facts_ms = now;
        s->hist_ms = histogram ? now : s->hist_ms;
    }
    return rc;
}
