/*
 * Outer states of the indexer:
 *
 *   connect_node -> open_settled -> [check_settled -> initial_sync ->
 *   build_live -> follow]* ; the loop starts over after a deep reorg or when
 *   the node ran far ahead.
 *
 * Node trouble never ends the program: it waits and says so once.
 */
#include "sync.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/exi_coin.h"
#include "lib/exi_hex.h"
#include "log.h"
#include "window.h"

#define RETRY_MS      1000
#define OVER_MOST_MS  60000
#define DISK_RETRY_MS 10000
/* While the node's messages tell what is new: between two looks at it all the
 * same; between two turns with nothing to do, and with something put off. */
#define LOOK_MS 2000
#define IDLE_MS 1000
#define SOON_MS 100
/* Between two turns when messages are not enough: there was a gap, say. */
#define AGAIN_MS 500

uint64_t
sync_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

void
sync_ring(struct sync *s)
{
    const struct exi_live_state *st = live_state(s->live);

    s->status.height = st->tip_height;
    s->status.mempool = st->mempool_count;
    bell_ring(s->bell, st->instance, st->seq);
}

void
sync_wait(struct sync *s, uint64_t ms, bool tip)
{
    struct pollfd p[4] = { { s->wake_fd, POLLIN, 0 },
                           { -1, POLLIN, 0 },
                           { -1, POLLIN, 0 },
                           { -1, POLLIN, 0 } };

    if (tip && s->notify != NULL) {
        p[1].fd = notify_fd(s->notify);
    }
    if (tip && s->settler != NULL) {
        p[2].fd = settler_fd(s->settler);
    }
    if (tip && s->feed != NULL) {
        p[3].fd = feed_fd(s->feed);
    }
    if (!*s->stop && poll(p, 4, (int) ms) > 0 && p[1].revents != 0) {
        s->tip_news |= notify_clear(s->notify);
    }
}

void
sync_node_trouble(struct sync *s, int err)
{
    const struct rpc_error *e = rpc_error(s->rpc);
    enum state st = s->live != NULL ? STATE_STALE : STATE_CONNECTING;

    switch (err) {
    case EXI_EAUTH:
        status_set(&s->status, st, "no access to the node: %s", e->message);
        break;
    case EXI_EWARMUP:
        status_set(&s->status, st, "the node is still starting: %s",
                   e->message);
        break;
    case EXI_ENET:
        status_set(&s->status, st, "the node does not answer: %s", e->message);
        break;
    case EXI_EANSWER:
        status_set(&s->status, st, "the node's answer makes no sense: %s",
                   e->message);
        break;
    default:
        status_set(&s->status, st, "trouble with the node: %s (%s)",
                   *e->message ? e->message : exi_strerror(err),
                   exi_strerror(err));
        break;
    }
}

bool
sync_is_node_error(int rc)
{
    return rc == EXI_ENET || rc == EXI_EAUTH || rc == EXI_EWARMUP
           || rc == EXI_ENODE || rc == EXI_EANSWER;
}

int
sync_fetch(struct sync *s, const struct exi_blkid *hash)
{
    return rpc_block(s->rpc, hash, &s->block);
}

/* Is this the network of the settings?  EXI_OK, EXI_EAPI (said), node errors. */
static int
check_network(struct sync *s)
{
    struct exi_blkid have, want;
    char hex[65];
    int rc = rpc_hash_at(s->rpc, 0, &have);

    if (rc != EXI_OK) {
        return rc;
    }
    if (exi_unhex_display(want.b, s->coin->genesis, 64) != EXI_OK) {
        return EXI_EAPI;
    }
    if (memcmp(have.b, want.b, EXI_HASH_LEN) == 0) {
        return EXI_OK;
    }
    exi_hex_display(hex, have.b);
    hex[64] = '\0';
    log_error("sync",
              "wrong network: the node's genesis block is %s, but network = "
              "%s has %s",
              hex, s->coin->network, s->coin->genesis);
    return EXI_EAPI;
}

/* Waits until the node answers and is of our network. */
static int
connect_node(struct sync *s)
{
    int rc;

    while (!*s->stop) {
        rc = check_network(s);
        if (rc == EXI_OK || rc == EXI_EAPI) {
            return rc;
        }
        sync_node_trouble(s, rc);
        sync_wait(s, RETRY_MS, false);
    }
    return EXI_OK;
}

/* Transactions in the node's chain, roughly; for the size of buckets. */
static uint64_t
expected_txs(struct sync *s)
{
    json_t *r = NULL;
    uint64_t n = 0;

    if (rpc_call(s->rpc, "getchaintxstats", json_array(), &r) == EXI_OK) {
        n = (uint64_t) json_integer_value(json_object_get(r, "txcount"));
        json_decref(r);
    }
    return n;
}

/* Does the data directory have an index already? */
static bool
has_format(const struct sync *s)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/FORMAT", s->conf->data_dir);
    return access(path, F_OK) == 0;
}

static int
open_settled(struct sync *s)
{
    struct settle_opts o;
    char why[512];
    int rc;

    memset(&o, 0, sizeof(o));
    o.data_dir = s->conf->data_dir;
    o.network = s->coin->network;
    o.spender = s->conf->spender;
    o.keep_generations = (uint32_t) s->conf->keep_generations;
    o.expected_txs = has_format(s) ? 0 : expected_txs(s);
    if (exi_unhex_display(o.genesis.b, s->coin->genesis, 64) != EXI_OK) {
        return EXI_EAPI;
    }
    rc = settle_open(&s->settle, &o, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("settle", "%s", why);
    }
    if (rc == EXI_EFORMAT || rc == EXI_EIO) {
        log_error("settle",
                  "\"electrumx-indexer check --repair\" with the same "
                  "settings finds out what is damaged and makes it again");
    }
    return rc;
}

/* Newest published generation that is in the node's chain; 0: none. */
static int
find_generation(struct sync *s, uint64_t *number)
{
    struct exi_live_gen g[64];
    struct exi_blkid at;
    size_t n = settle_generations(s->settle, g, 64);
    int rc;

    *number = 0;
    for (size_t i = 0; i < n; i++) {
        rc = rpc_hash_at(s->rpc, g[i].height, &at);
        if (rc == EXI_OK && memcmp(&at, &g[i].block, sizeof(at)) == 0) {
            *number = g[i].number;
            return EXI_OK;
        }
        if (rc != EXI_OK && rc != EXI_ENOTFOUND) {
            return rc;
        }
    }
    return EXI_OK;
}

static int
fall_back(struct sync *s)
{
    char why[512];
    uint64_t number;
    int rc = find_generation(s, &number);

    if (rc != EXI_OK) {
        return rc;
    }
    log_warn("sync",
             "reorganisation deeper than the settled height %u: going back "
             "to %s %llu",
             settle_meta(s->settle)->height,
             number ? "generation" : "an empty index, generation",
             (unsigned long long) number);
    rc = settle_fallback(s->settle, number, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("settle", "%s", why);
    }
    return rc;
}

/*
 * Is what we settled part of the node's chain?  EXI_OK; EXI_ESTALE: no;
 * EXI_ENOTREADY: the node is behind us on the same chain; node errors.
 */
static int
check_settled(struct sync *s)
{
    const struct exi_meta *m = settle_meta(s->settle);
    struct exi_blkid at;
    struct rpc_chain c;
    int rc;

    if (!settle_any(s->settle)) {
        return EXI_OK;
    }
    rc = rpc_hash_at(s->rpc, m->height, &at);
    if (rc == EXI_OK) {
        return memcmp(&at, &m->block, sizeof(at)) == 0 ? EXI_OK : EXI_ESTALE;
    }
    if (rc != EXI_ENOTFOUND || (rc = rpc_chain(s->rpc, &c)) != EXI_OK) {
        return rc;
    }
    s->status.target = c.blocks;
    rc = settle_block_hash(s->settle, c.blocks, &at);
    if (rc != EXI_OK) {
        return rc == EXI_ENOTFOUND ? EXI_ENOTREADY : rc;
    }
    return memcmp(&at, &c.best, sizeof(at)) == 0 ? EXI_ENOTREADY : EXI_ESTALE;
}

/* Until the settled layer agrees with the node. */
static int
agree(struct sync *s)
{
    int rc;

    while (!*s->stop) {
        rc = check_settled(s);
        if (rc == EXI_OK) {
            return rc;
        }
        if (rc == EXI_ENOTREADY) {
            status_set(&s->status,
                       s->live != NULL ? STATE_STALE : STATE_CONNECTING,
                       "the node is behind: its tip is %u, ours is settled up "
                       "to %u",
                       s->status.target, settle_meta(s->settle)->height);
        } else if (rc == EXI_ESTALE) {
            rc = fall_back(s);
            if (rc == EXI_OK) {
                continue;
            }
        }
        if (sync_is_node_error(rc)) {
            sync_node_trouble(s, rc);
        } else if (rc != EXI_ENOTREADY) {
            return rc;
        }
        sync_wait(s, RETRY_MS, false);
    }
    return EXI_OK;
}

/* Waits after a failed write: disk full or the like.  Said once. */
static void
disk_trouble(struct sync *s, const char *what, int rc)
{
    status_set(&s->status, s->live != NULL ? STATE_STALE : STATE_SYNCING,
               "%s: %s; trying again every %d s", what,
               rc == EXI_ESPACE ? "no space left on the disk" : "cannot write",
               DISK_RETRY_MS / 1000);
    sync_wait(s, DISK_RETRY_MS, false);
}

static int
prevout(void *ctx, const struct exi_txid *txid, uint32_t index,
        struct exi_skey *script, int64_t *value_sat)
{
    struct sync *s = ctx;

    return exi_past_prevout(s->past, txid, index, script, value_sat);
}

static void
say_past(void *ctx, int level, const char *text)
{
    (void) ctx;
    log_line(level == 0 ? LOG_ERROR_ : LOG_WARN_, "settle", "%s", text);
}

/* The settled layer as the live one will see it. */
static int
open_past(struct sync *s, const struct exi_live_gen *gen)
{
    exi_past_close(s->past);
    s->past = NULL;
    s->settled = *settle_meta(s->settle);
    return exi_past_open(&s->past, s->conf->data_dir, gen, say_past, NULL);
}

/* The node's chain and mempool as they are at one moment: what comes while they
 * are read is read, too. */
static int
fill_live(struct sync *s)
{
    int rc;

    s->mempool_dirty = true;
    do {
        rc = follow_tip(s, false);
        if (rc == EXI_OK && !*s->stop) {
            s->status.height = live_state(s->live)->tip_height;
            status_set(&s->status, STATE_LOADING, "reading the mempool");
            rc = mempool_sync(s, false, false);
        }
    } while (rc == EXI_OK && s->mempool_dirty && !*s->stop);
    return rc;
}

/* New live environment up to the node's tip and mempool, then served; if it was
 * time to stop meanwhile it is not: it lacks something. */
static int
build_live(struct sync *s)
{
    struct live_opts o;
    struct exi_live_gen gen;
    struct live *old = s->live;
    int rc;

    memset(&o, 0, sizeof(o));
    o.data_dir = s->conf->data_dir;
    o.map_bytes = (size_t) s->conf->live_map_mb << 20;
    o.coin = exi_coin_flags(s->conf->network);
    o.prevout = prevout;
    o.prevout_ctx = s;
    rc = settle_publish(s->settle, &gen);
    if (rc != EXI_OK) {
        return rc;
    }
    if (old != NULL) {
        live_close(old);
        s->live = NULL;
    }
    s->status.height = s->status.settled = settle_meta(s->settle)->height;
    rc = open_past(s, &gen);
    if (rc != EXI_OK) {
        return rc;
    }
    blockpos_update(s->blockpos, s->settle);
    status_set(&s->status, STATE_LOADING, "reading recent blocks");
    rc = live_create(&s->live, &o, &gen, 1, settle_meta(s->settle)->tx_count);
    if (rc == EXI_OK) {
        rc = window_load(s);
    }
    if (rc == EXI_OK) {
        rc = fill_live(s);
    }
    if (rc == EXI_OK && !*s->stop) {
        s->facts_ms = s->hist_ms = s->stored_ms = 0;
        rc = mempool_facts(s);
    }
    if (rc == EXI_OK && !*s->stop) {
        rc = live_serve(s->live);
    }
    if ((rc != EXI_OK || *s->stop) && s->live != NULL) {
        live_close(s->live);
        s->live = NULL;
    }
    return rc;
}

/* The chain and the mempool, as far as there is something to do. */
static int
follow_node(struct sync *s)
{
    struct feed_event *events = NULL;
    bool tip, look;
    size_t n = mempool_take(s, &events, &tip);
    int rc = EXI_OK;

    look = !mempool_fed(s) || sync_now_ms() - s->looked_ms >= LOOK_MS;
    if (look || tip || s->tip_news) {
        s->tip_news = false;
        rc = follow_tip(s, true);
    }
    if (rc == EXI_OK) {
        rc = mempool_events(s, events, n);
    }
    free(events);
    if (rc != EXI_OK) {
        s->mempool_dirty = true; /* the events are gone */
        return rc;
    }
    return mempool_sync(s, true, look);
}

/* One turn of following.  EXI_OK: go on. */
static int
follow_once(struct sync *s)
{
    int rc = follow_node(s);

    if (rc == EXI_OK) {
        rc = mempool_facts(s);
    }
    if (rc == EXI_OK) {
        rc = follow_settle(s);
    }
    if (rc == EXI_OK) {
        rc = follow_trim(s);
    }
    return rc;
}

/* How long to sleep if nothing comes. */
static uint64_t
pause_ms(const struct sync *s)
{
    uint64_t poll = (uint64_t) s->conf->poll_ms;

    if (!mempool_fed(s)) {
        return s->feed != NULL && feed_topics(s->feed) != 0 && poll > AGAIN_MS
                   ? AGAIN_MS
                   : poll;
    }
    return s->facts_ms == 0 || s->mempool_dirty ? SOON_MS : IDLE_MS;
}

static void
say_ready(struct sync *s)
{
    const struct exi_live_state *st = live_state(s->live);

    s->status.height = st->tip_height;
    s->status.settled = s->settled.height;
    s->status.mempool = st->mempool_count;
    s->status.target = st->tip_height;
    s->status.tx_count = s->settled.tx_count;
    status_set(&s->status, STATE_READY, "%s", s->settle_says);
    status_tell(&s->status, false);
}

/* Follows until something needs the outer states: its reason is returned. */
static int
follow(struct sync *s)
{
    int rc;

    say_ready(s);
    sync_ring(s);
    while (!*s->stop) {
        rc = follow_once(s);
        if (rc == EXI_OK) {
            say_ready(s);
            sync_wait(s, pause_ms(s), true);
        } else if (sync_is_node_error(rc) || rc == EXI_ENOTFOUND) {
            sync_node_trouble(s, rc);
            sync_wait(s, RETRY_MS, false);
        } else if (rc == EXI_ESPACE) {
            disk_trouble(s, "following the chain", rc);
        } else {
            return rc;
        }
    }
    return EXI_OK;
}

/* From the settled layer to following; returns why that ended. */
static int
one_round(struct sync *s)
{
    int rc;

    if (!follow_quiet(s)) {
        return EXI_OK;
    }
    rc = agree(s);
    if (rc == EXI_OK && !*s->stop) {
        rc = initial_sync(s);
    }
    if (rc == EXI_OK && !*s->stop) {
        rc = build_live(s);
    }
    if (rc == EXI_OK && !*s->stop) {
        rc = follow(s);
    }
    return rc;
}

/* A round came to nothing for a reason that should pass: longer and longer
 * pauses, while it does not. */
static void
start_over(struct sync *s, int rc)
{
    uint64_t pause = RETRY_MS;

    if (s->over_ms != 0 && sync_now_ms() - s->over_ms < 2 * OVER_MOST_MS) {
        pause = 2 * s->over_pause_ms;
    }
    s->over_pause_ms = pause < OVER_MOST_MS ? pause : OVER_MOST_MS;
    s->over_ms = sync_now_ms();
    log_warn("sync", "starting over in %u s: %s",
             (unsigned) (s->over_pause_ms / 1000), exi_strerror(rc));
    sync_wait(s, s->over_pause_ms, false);
}

/* After a round: is it worth another one?  Waits where that helps. */
static bool
recoverable(struct sync *s, int rc)
{
    log_progress_end();
    if (!follow_quiet(s)) {
        return true;
    }
    settle_abort(s->settle);
    switch (rc) {
    case EXI_OK:
    case EXI_ESTALE:
    case EXI_ELIMIT:
        return true;
    case EXI_EAPI: /* a block that does not link: the chain moved */
    case EXI_EFORMAT:
        start_over(s, rc);
        return true;
    case EXI_ESPACE:
    case EXI_EIO:
        disk_trouble(s, "writing the index", rc);
        return true;
    case EXI_ENOTFOUND:
    case EXI_ENET:
    case EXI_EAUTH:
    case EXI_EWARMUP:
    case EXI_ENODE:
    case EXI_EANSWER:
        sync_node_trouble(s, rc);
        sync_wait(s, RETRY_MS, false);
        return true;
    default:
        return false;
    }
}

static void
start_notify(struct sync *s)
{
    char why[512];
    int rc = notify_start(&s->notify, &s->rpc_opts, (unsigned) s->conf->poll_ms,
                          why, sizeof(why));

    if (rc != EXI_OK) {
        log_warn("sync", "no tip watcher, polling only: %s", why);
        s->notify = NULL;
    }
}

static void
start_feed(struct sync *s)
{
    char why[512];
    int rc;

    if (strcmp(s->conf->zmq, "off") == 0) {
        return;
    }
    rc = feed_start(&s->feed, &s->rpc_opts, s->conf->zmq, why, sizeof(why));
    if (rc != EXI_OK) {
        log_warn("sync", "no ZMQ, polling only: %s", why);
        s->feed = NULL;
    }
}

static int
start_settler(struct sync *s)
{
    struct settler_opts o = { s->conf->data_dir, s->rpc_opts,
                              ((size_t) s->conf->memory_mb << 20) / 8 };
    char why[512];
    int rc = settler_start(&s->settler, &o, s->settle, why, sizeof(why));

    if (rc != EXI_OK) {
        log_error("sync", "settle thread: %s", why);
    }
    s->tidy_more = true;
    return rc;
}

int
sync_run(struct sync *s)
{
    int rc = EXI_OK;

    /* a wrong data directory is said before the node is waited for */
    if (has_format(s)) {
        rc = open_settled(s);
    }
    if (rc == EXI_OK) {
        rc = connect_node(s);
    }
    if (rc == EXI_OK && !*s->stop && s->settle == NULL) {
        rc = open_settled(s);
    }
    if (rc != EXI_OK || *s->stop) {
        return rc;
    }
    rc = start_settler(s);
    if (rc != EXI_OK) {
        return rc;
    }
    start_notify(s);
    start_feed(s);
    do {
        rc = one_round(s);
    } while (!*s->stop && recoverable(s, rc));
    if (rc != EXI_OK && !*s->stop) {
        log_error("sync", "%s", exi_strerror(rc));
    }
    return *s->stop ? EXI_OK : rc;
}
