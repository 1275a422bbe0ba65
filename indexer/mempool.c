/*
 * The unconfirmed view: makes the live mempool equal to the node's.
 *
 * By events, where the node tells them (feed.h): what came is fetched and added
 * parents first, what left is removed, in one commit.  The work is that of the
 * changes, whatever the mempool holds.
 *
 * By comparison, where it does not, when events were lost, and now and then: the
 * node's list of txids is compared with the live layer; all in one commit, and
 * only if the node's tip is still ours after the list was read (else the list
 * belongs to another block, and the next turn does it again).
 */
#include "sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/exi_hex.h"
#include "lib/exi_tx.h"
#include "log.h"
#include "rpc_json.h"

#define FETCH_BATCH 200  /* transactions asked for at once */
#define ADD_CHUNK   5000 /* transactions in one commit at most */
#define PASSES_MAX  64
#define COMPARE_MS  600000 /* between comparisons while events do */
#define AGAIN_MS    500    /* between comparisons that events ask for */

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
    uint64_t number;     /* of the node's list, where it is told */
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

/* The node's list; *number: where the mempool's numbering was. */
static int
read_node(struct sync *s, struct diff *d, bool numbered)
{
    json_t *r = NULL;
    const json_t *list, *number;
    int rc = rpc_call(s->rpc, "getrawmempool",
                      numbered ? json_pack("[bb]", 0, 1) : json_array(), &r);

    if (rc != EXI_OK) {
        return rc;
    }
    list = numbered ? json_object_get(r, "txids") : r;
    number = json_object_get(r, "mempool_sequence");
    if (!json_is_array(list) || (numbered && !json_is_integer(number))) {
        rc = EXI_EFORMAT;
    } else {
        d->number = (uint64_t) json_integer_value(number);
        rc = read_list(s, d, list);
    }
    json_decref(r);
    return rc;
}

static int
make_diff(struct sync *s, struct diff *d, bool numbered)
{
    int rc = read_node(s, d, numbered);

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
 * Reads the node's summary, which is a fact for workers too.  1: it is another
 * one than before, 0, or an error.
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
    s->info_ms = sync_now_ms();
    s->info_size = json_integer_value(json_object_get(info, "size"));
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

/* What the feed listens to. */
static unsigned
topics(const struct sync *s)
{
    return s->feed == NULL ? 0 : feed_topics(s->feed);
}

/* Compares with the node's list. */
static int
compare(struct sync *s, bool served)
{
    bool numbered = (topics(s) & FEED_SEQUENCE) != 0;
    struct diff d;
    int rc;

    s->mempool_dirty = true;
    s->compared_ms = sync_now_ms();
    memset(&d, 0, sizeof(d));
    rc = make_diff(s, &d, numbered);
    if (rc == EXI_OK && !d.moved) {
        rc = apply(s, &d, served);
        s->mempool_dirty = rc != EXI_OK;
        s->facts_ms = 0;
        if (rc == EXI_OK && numbered) {
            feed_track_compared(&s->track, d.number);
        }
    }
    diff_free(&d);
    return rc;
}

bool
mempool_fed(const struct sync *s)
{
    return !s->silent && !feed_track_due(&s->track)
           && (topics(s) & FEED_SEQUENCE) != 0;
}

/*
 * Events should have told all: has the node another number of transactions than
 * we, twice, and told nothing in between?  Then it is not to be relied upon
 * until it tells something.
 */
static void
look_for_silence(struct sync *s)
{
    bool differs = s->info_size != (int64_t) live_state(s->live)->mempool_count;

    if (differs && s->differed) {
        log_warn("zmq", "the node's mempool changed without a message: "
                        "comparing again");
        s->silent = true;
    }
    s->differed = differs;
}

/* While events do: is a comparison due?  1, 0 or an error. */
static int
fed_due(struct sync *s, bool look)
{
    uint64_t now = sync_now_ms(), since = now - s->compared_ms;
    int rc = EXI_OK;

    if (look
        || (s->facts_ms == 0
            && now - s->info_ms >= (uint64_t) s->conf->poll_ms)) {
        rc = summary_changed(s);
        if (rc < 0) {
            return rc;
        }
        if (rc > 0) {
            s->facts_ms = 0;
        }
    }
    if (look) {
        look_for_silence(s);
    }
    return s->silent || since >= COMPARE_MS
           || (s->mempool_dirty && since >= AGAIN_MS);
}

/* Without events: is a comparison due?  1, 0 or an error. */
static int
unfed_due(struct sync *s)
{
    uint64_t now = sync_now_ms();
    int rc;

    /* events that are not enough wake us often */
    if (topics(s) != 0 && s->compared_ms != 0 && now - s->compared_ms < AGAIN_MS
        && now - s->info_ms < (uint64_t) s->conf->poll_ms) {
        return 0;
    }
    rc = summary_changed(s);
    return rc < 0 ? rc
                  : rc > 0 || s->mempool_dirty
                        || ((topics(s) & FEED_SEQUENCE) != 0
                            && feed_track_due(&s->track));
}

int
mempool_sync(struct sync *s, bool served, bool look)
{
    int rc;

    if (!served) {
        rc = summary_changed(s);
        return rc < 0 ? rc : compare(s, served);
    }
    rc = mempool_fed(s) ? fed_due(s, look) : unfed_due(s);
    return rc > 0 ? compare(s, served) : rc;
}

/*
 * Events.
 */

/* The last word on each transaction, into d->fresh and d->gone; the order of
 * what came is kept. */
static int
read_events(struct sync *s, struct diff *d, const struct feed_event *e,
            size_t n)
{
    int rc = txset_init(&d->node, n);

    for (size_t i = n; i-- > 0 && rc == EXI_OK;) {
        bool gone = e[i].kind == FEED_REMOVE;

        if ((!gone && e[i].kind != FEED_ADD && e[i].kind != FEED_TX)
            || d->node.used[txset_find(&d->node, &e[i].txid)]) {
            continue;
        }
        txset_add(&d->node, &e[i].txid);
        rc = live_has(s->live, &e[i].txid);
        if (gone && rc == 1) {
            rc = txlist_push(&d->gone, &e[i].txid);
        } else if (!gone && rc == 0) {
            rc = txlist_push(&d->fresh, &e[i].txid);
        } else {
            rc = rc < 0 ? rc : EXI_OK;
        }
    }
    for (size_t i = 0, j = d->fresh.n; i + 1 < j; i++) {
        struct exi_txid t = d->fresh.v[--j];

        d->fresh.v[j] = d->fresh.v[i];
        d->fresh.v[i] = t;
    }
    return rc;
}

/* Something that the node has could not be added: a comparison will tell. */
static void
check_left(struct sync *s, const struct diff *d)
{
    for (size_t i = 0; i < d->fresh.n; i++) {
        if (d->txs[i].raw != NULL && !d->txs[i].done
            && live_has(s->live, &d->fresh.v[i]) == 0) {
            s->mempool_dirty = true;
            return;
        }
    }
}

int
mempool_events(struct sync *s, const struct feed_event *e, size_t n)
{
    struct diff d;
    int rc;

    if (n == 0) {
        return EXI_OK;
    }
    memset(&d, 0, sizeof(d));
    rc = read_events(s, &d, e, n);
    if (rc == EXI_OK && d.fresh.n + d.gone.n > 0) {
        rc = fetch_fresh(s, &d);
        if (rc == EXI_OK) {
            rc = apply(s, &d, true);
        }
        if (rc == EXI_OK) {
            check_left(s, &d);
        }
        s->facts_ms = 0;
    }
    if (rc != EXI_OK) {
        s->mempool_dirty = true;
    }
    diff_free(&d);
    return rc;
}

size_t
mempool_take(struct sync *s, struct feed_event **out, bool *tip)
{
    size_t n = s->feed == NULL ? 0 : feed_take(s->feed, out), kept = 0;

    *tip = false;
    for (size_t i = 0; i < n; i++) {
        const struct feed_event *e = &(*out)[i];
        bool apply_it = feed_track_event(&s->track, e) == FEED_APPLY;

        *tip |= e->kind == FEED_BLOCK || e->kind == FEED_LOST;
        if (e->kind == FEED_ADD || e->kind == FEED_REMOVE) {
            s->silent = s->differed = false;
        }
        if (apply_it) {
            (*out)[kept++] = *e;
        }
    }
    return kept;
}
