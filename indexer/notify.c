/*
 * The tip watcher.
 *
 *     look --known hash--> long poll --another hash--> wake main
 *      ^ |                  |     |
 *      | failure            |     no such method: sleep poll_ms, look
 *      +--pause <-----------+ failure
 *
 * The pause doubles from 0.25 to 1 s until a long poll succeeds again (or a look,
 * where there are no long polls): a node that answers one but not the other can't
 * make it spin.  A long poll that returns early with nothing new (a node does
 * that while it shuts down) is followed by a pause too.
 *
 * Newer nodes take the tip that we know and return at once if theirs differs;
 * with older ones a block that comes between two long polls is told late.
 */
#include "notify.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/exi_hex.h"

#define NOTIFY_PAUSE_MIN_MS 250
#define NOTIFY_PAUSE_MAX_MS 1000

#define RPC_CODE_NO_METHOD (-32601)

struct notify {
    struct rpc *rpc;
    pthread_t thread;
    bool started;
    int fd;
    long poll_ms;
    long answer_ms; /* for an answer after a long poll's own time */

    /* thread only */
    struct exi_blkid best;
    bool known;     /* best is what the node last said */
    bool long_poll; /* the node has it, as far as known ... */
    bool names_tip; /* ... and takes the tip that we know as argument */
    long pause_ms;

    pthread_mutex_t mutex; /* guards stop */
    pthread_cond_t stopping;
    bool stop;
};

static int64_t
notify_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Sleeps; false: it is time to stop. */
static bool
notify_sleep(struct notify *n, long ms)
{
    struct timespec until;
    bool stop;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&n->mutex);
    while (!n->stop && rc == 0) {
        rc = pthread_cond_timedwait(&n->stopping, &n->mutex, &until);
    }
    stop = n->stop;
    pthread_mutex_unlock(&n->mutex);
    return !stop;
}

/* Takes in the best hash; wakes the main loop if it is another one. */
static void
notify_best(struct notify *n, const struct exi_blkid *best)
{
    const uint64_t one = 1;

    if (n->known && memcmp(best->b, n->best.b, sizeof(best->b)) == 0) {
        return;
    }
    n->best = *best;
    n->known = true;
    if (write(n->fd, &one, sizeof(one)) < 0) {
        /* the counter is full: readable anyway */
    }
}

static int
notify_look(struct notify *n)
{
    struct exi_blkid best;
    int rc = rpc_best(n->rpc, &best);

    if (rc == EXI_OK) {
        notify_best(n, &best);
        n->pause_ms = n->long_poll ? n->pause_ms : NOTIFY_PAUSE_MIN_MS;
    }
    return rc;
}

/* [ms] or [ms, hash that we know]; NULL when out of memory. */
static json_t *
notify_params(const struct notify *n)
{
    json_t *params = json_pack("[i]", NOTIFY_LONG_POLL_MS);
    char hex[2 * EXI_HASH_LEN];

    if (params != NULL && n->names_tip) {
        exi_hex_display(hex, n->best.b);
        json_array_append_new(params, json_stringn(hex, sizeof(hex)));
    }
    return params;
}

/* One long poll. */
static int
notify_wait(struct notify *n, struct exi_blkid *best)
{
    json_t *v = NULL;
    const char *hex;
    int rc = rpc_call_timeout(n->rpc, "waitfornewblock", notify_params(n),
                              NOTIFY_LONG_POLL_MS + n->answer_ms, &v);

    if (rc != EXI_OK) {
        return rc;
    }
    hex = json_string_value(json_object_get(v, "hash"));
    if (hex == NULL || exi_unhex_display(best->b, hex, strlen(hex)) != EXI_OK) {
        rc = EXI_EANSWER;
    }
    json_decref(v);
    return rc;
}

/* The node did not answer (well): the main loop is woken when it is back; false:
 * stop. */
static bool
notify_pause(struct notify *n)
{
    long ms = n->pause_ms;

    n->known = false;
    n->long_poll = n->names_tip = true; /* another node may come */
    n->pause_ms = ms * 2 > NOTIFY_PAUSE_MAX_MS ? NOTIFY_PAUSE_MAX_MS : ms * 2;
    return notify_sleep(n, ms);
}

/* A long poll and what follows from it; false: stop. */
static bool
notify_long_poll(struct notify *n)
{
    int64_t begin = notify_now_ms();
    struct exi_blkid best;
    bool news;
    int rc = notify_wait(n, &best);

    if (rc == EXI_ENODE && rpc_error(n->rpc)->code == RPC_CODE_NO_METHOD) {
        n->long_poll = false;
        return true;
    }
    if (rc == EXI_ENODE && n->names_tip) {
        n->names_tip = false; /* it wants one argument only */
        return true;
    }
    if (rc != EXI_OK) {
        return notify_pause(n);
    }
    n->pause_ms = NOTIFY_PAUSE_MIN_MS;
    news = memcmp(best.b, n->best.b, sizeof(best.b)) != 0;
    notify_best(n, &best);
    if (!news && notify_now_ms() - begin < NOTIFY_LONG_POLL_MS / 2) {
        return notify_sleep(n, NOTIFY_PAUSE_MIN_MS);
    }
    return true;
}

static void *
notify_thread(void *arg)
{
    struct notify *n = (struct notify *) arg;
    bool go = true;

    while (go && !rpc_cancelled(n->rpc)) {
        if (n->known && n->long_poll) {
            go = notify_long_poll(n);
        } else if (notify_look(n) != EXI_OK) {
            go = notify_pause(n);
        } else {
            go = n->long_poll || notify_sleep(n, n->poll_ms);
        }
    }
    return NULL;
}

/* Signals are the main thread's. */
static int
notify_run(struct notify *n, char *why, size_t whylen)
{
    sigset_t all, old;
    int err;

    n->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (n->fd < 0) {
        snprintf(why, whylen, "eventfd: %s", strerror(errno));
        return EXI_EIO;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&n->thread, NULL, notify_thread, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    n->started = err == 0;
    if (err != 0) {
        snprintf(why, whylen, "cannot start a thread: %s", strerror(err));
        return EXI_EIO;
    }
    return EXI_OK;
}

int
notify_start(struct notify **out, const struct rpc_opts *o, unsigned poll_ms,
             char *why, size_t whylen)
{
    struct notify *n = calloc(1, sizeof(*n));
    pthread_condattr_t attr;
    int rc;

    if (n == NULL) {
        snprintf(why, whylen, "out of memory");
        return EXI_ENOMEM;
    }
    n->fd = -1;
    n->poll_ms = (long) poll_ms;
    n->answer_ms = o->timeout_ms > 0 ? o->timeout_ms : 30000;
    n->pause_ms = NOTIFY_PAUSE_MIN_MS;
    n->long_poll = n->names_tip = true;
    pthread_mutex_init(&n->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->stopping, &attr);
    pthread_condattr_destroy(&attr);
    rc = rpc_new(&n->rpc, o, why, whylen);
    if (rc == EXI_OK) {
        rc = notify_run(n, why, whylen);
    }
    if (rc != EXI_OK) {
        notify_stop(n);
        return rc;
    }
    *out = n;
    return EXI_OK;
}

void
notify_stop(struct notify *n)
{
    if (n == NULL) {
        return;
    }
    pthread_mutex_lock(&n->mutex);
    n->stop = true;
    pthread_cond_broadcast(&n->stopping);
    pthread_mutex_unlock(&n->mutex);
    if (n->started) {
        rpc_cancel(n->rpc);
        pthread_join(n->thread, NULL);
    }
    rpc_free(n->rpc);
    if (n->fd >= 0) {
        close(n->fd);
    }
    pthread_cond_destroy(&n->stopping);
    pthread_mutex_destroy(&n->mutex);
    free(n);
}

int
notify_fd(const struct notify *n)
{
    return n->fd;
}

bool
notify_clear(struct notify *n)
{
    uint64_t count;

    return read(n->fd, &count, sizeof(count)) > 0;
}
