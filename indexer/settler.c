/*
 * The settle thread.
 *
 *     idle --give--> fetch, settle_add ... --> commit --> tidy --> publish, open
 *      ^                                                               |
 *      +---take--- result <------------- prune <-----------------------+
 *
 * A step that fails ends the job; the index is then as settle.h says and the
 * result tells what is durable.  settler_quiet() and settler_stop() end a job
 * between two blocks or steps, and requests to the node at once; only a write
 * to the disk is waited for.
 */
#include "settler.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "sync.h"

#define BURY_MAX 16

struct settler {
    const char *data_dir;
    struct settle *settle;
    size_t batch_bytes;
    struct rpc *rpc;
    pthread_t thread;
    bool started;
    int fd;
    bool busy; /* main thread's: given and not taken */

    struct rpc_buf block; /* thread only: the block being read */
    atomic_bool give_up;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t changed;
    bool stop;
    bool ended; /* the thread has */
    bool todo;
    bool done;
    struct settler_job job;
    struct settler_result result;
    struct exi_past *buried[BURY_MAX];
    size_t nburied;
};

/*
 * The job, in the thread.
 */

static void
say(void *ctx, int level, const char *text)
{
    (void) ctx;
    if (level == 0) {
        log_error("settle", "%s", text);
    } else {
        log_warn("settle", "%s", text);
    }
}

/* Height that is settled next. */
static uint32_t
next_height(const struct settler *s)
{
    return settle_any(s->settle) ? settle_meta(s->settle)->height + 1 : 0;
}

/* Fetches and adds the job's blocks, makes them durable. */
static int
settle_blocks(struct settler *s, const struct settler_job *job)
{
    int rc = EXI_OK;

    for (uint32_t i = 0; i < job->n && rc == EXI_OK; i++) {
        if (job->first + i < next_height(s)) {
            continue;
        }
        if (atomic_load(&s->give_up)) {
            rc = EXI_ESTALE;
            break;
        }
        rc = rpc_block(s->rpc, &job->hashes[i], &s->block);
        if (rc == EXI_OK) {
            rc = settle_add(s->settle, job->first + i, s->block.data,
                            s->block.len);
        }
        if (rc == EXI_OK && settle_batch_bytes(s->settle) >= s->batch_bytes) {
            rc = settle_commit(s->settle);
        }
    }
    if (rc == EXI_OK) {
        return settle_commit(s->settle);
    }
    settle_abort(s->settle);
    return rc;
}

/* Publishes what is durable; opens it, if the main thread has not got it. */
static int
publish(struct settler *s, const struct settler_job *job,
        struct settler_result *r)
{
    int rc;

    if (atomic_load(&s->give_up)) {
        return EXI_ESTALE;
    }
    rc = settle_publish(s->settle, &r->gen);
    if (rc == EXI_OK && r->gen.number != job->have) {
        rc = exi_past_open(&r->past, s->data_dir, &r->gen, say, NULL);
    }
    return rc;
}

static bool
has_to_stop(void *ctx)
{
    struct settler *s = ctx;

    return atomic_load(&s->give_up);
}

/* Tidying fails as settling does, and the next batch shows that. */
static void
tidy(struct settler *s, const struct settler_job *job, struct settler_result *r)
{
    if (job->tidy == SETTLER_TIDY_NOT || atomic_load(&s->give_up)) {
        return;
    }
    if (settle_tidy(s->settle, job->tidy == SETTLER_TIDY_ALL, has_to_stop, s,
                    &r->tidy_more)
        != EXI_OK) {
        log_debug("settle", "tidying has to wait");
    }
}

static void
run_job(struct settler *s, const struct settler_job *job,
        struct settler_result *r)
{
    memset(r, 0, sizeof(*r));
    r->rc = settle_blocks(s, job);
    if (r->rc == EXI_OK) {
        tidy(s, job, r);
    }
    if (r->rc == EXI_OK) {
        r->rc = publish(s, job, r);
    }
    if (r->rc == EXI_OK && job->nkeep > 0) {
        settle_prune(s->settle, job->keep, job->nkeep);
    }
    r->settled = *settle_meta(s->settle);
    if (r->rc != EXI_OK) {
        snprintf(r->message, sizeof(r->message), "%.200s",
                 rpc_error(s->rpc)->message);
    }
}

/* Closes what was buried; the mutex is held and let go meanwhile. */
static void
close_buried(struct settler *s)
{
    while (s->nburied > 0) {
        struct exi_past *p = s->buried[--s->nburied];

        pthread_mutex_unlock(&s->mutex);
        exi_past_close(p);
        pthread_mutex_lock(&s->mutex);
    }
}

static void *
settler_thread(void *arg)
{
    struct settler *s = arg;
    const uint64_t one = 1;

    pthread_mutex_lock(&s->mutex);
    while (!s->stop) {
        close_buried(s);
        if (s->todo) {
            struct settler_job job = s->job;
            struct settler_result result;

            s->todo = false;
            pthread_mutex_unlock(&s->mutex);
            run_job(s, &job, &result);
            free(job.hashes);
            pthread_mutex_lock(&s->mutex);
            s->result = result;
            s->done = true;
            if (write(s->fd, &one, sizeof(one)) < 0) {
                /* the counter is full: readable anyway */
            }
        } else if (!s->stop && s->nburied == 0) {
            pthread_cond_wait(&s->changed, &s->mutex);
        }
    }
    s->ended = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/*
 * The main thread's side.
 */

/* Signals are the main thread's. */
static int
run(struct settler *s, char *why, size_t whylen)
{
    sigset_t all, old;
    int err;

    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0) {
        snprintf(why, whylen, "eventfd: %s", strerror(errno));
        return EXI_EIO;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&s->thread, NULL, settler_thread, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    s->started = err == 0;
    if (err != 0) {
        snprintf(why, whylen, "cannot start a thread: %s", strerror(err));
        return EXI_EIO;
    }
    return EXI_OK;
}

int
settler_start(struct settler **out, const struct settler_opts *o,
              struct settle *settle, char *why, size_t whylen)
{
    struct settler *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;
    int rc;

    if (s == NULL) {
        snprintf(why, whylen, "out of memory");
        return EXI_ENOMEM;
    }
    s->fd = -1;
    s->data_dir = o->data_dir;
    s->settle = settle;
    s->batch_bytes = o->batch_bytes;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    rc = rpc_new(&s->rpc, &o->rpc, why, whylen);
    if (rc == EXI_OK) {
        rc = run(s, why, whylen);
    }
    if (rc != EXI_OK) {
        /* there is no thread to wait for */
        (void) !settler_stop(s, 0);
        return rc;
    }
    *out = s;
    return EXI_OK;
}

/* Tells the thread to end and waits for it; false: in vain. */
static bool
end_thread(struct settler *s, unsigned wait_ms)
{
    struct timespec until;
    bool ended;
    int err = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long) (wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    atomic_store(&s->give_up, true);
    rpc_cancel(s->rpc);
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    while (!s->ended && err == 0) {
        err = pthread_cond_timedwait(&s->changed, &s->mutex, &until);
    }
    ended = s->ended;
    pthread_mutex_unlock(&s->mutex);
    if (ended) {
        pthread_join(s->thread, NULL);
    } else {
        pthread_detach(s->thread);
    }
    return ended;
}

bool
settler_stop(struct settler *s, unsigned wait_ms)
{
    if (s == NULL) {
        return true;
    }
    if (s->started && !end_thread(s, wait_ms)) {
        return false;
    }
    if (s->todo) {
        free(s->job.hashes);
    }
    if (s->done) {
        exi_past_close(s->result.past);
    }
    while (s->nburied > 0) {
        exi_past_close(s->buried[--s->nburied]);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    rpc_free(s->rpc);
    rpc_buf_free(&s->block);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
    return true;
}

bool
settler_busy(const struct settler *s)
{
    return s->busy;
}

void
settler_give(struct settler *s, const struct settler_job *job)
{
    pthread_mutex_lock(&s->mutex);
    s->job = *job;
    s->todo = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    s->busy = true;
}

bool
settler_take(struct settler *s, struct settler_result *out)
{
    uint64_t count;
    bool done;

    if (!s->busy) {
        return false;
    }
    pthread_mutex_lock(&s->mutex);
    done = s->done;
    if (done) {
        *out = s->result;
        s->done = false;
        s->busy = false;
        if (read(s->fd, &count, sizeof(count)) < 0) {
            /* it was written under the mutex: can't be */
        }
    }
    pthread_mutex_unlock(&s->mutex);
    return done;
}

int
settler_fd(const struct settler *s)
{
    return s->fd;
}

bool
settler_quiet(struct settler *s, int stop_fd)
{
    struct settler_result r;
    bool over = true;

    if (!s->busy) {
        return true;
    }
    atomic_store(&s->give_up, true);
    rpc_cancel(s->rpc);
    while (over && !settler_take(s, &r)) {
        struct pollfd p[2] = { { s->fd, POLLIN, 0 }, { stop_fd, POLLIN, 0 } };

        over = poll(p, 2, -1) < 0 || p[1].revents == 0;
    }
    if (over) {
        exi_past_close(r.past);
        rpc_resume(s->rpc);
        atomic_store(&s->give_up, false);
    }
    return over;
}

void
settler_bury(struct settler *s, struct exi_past *past)
{
    bool room;

    if (past == NULL) {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    room = s->nburied < BURY_MAX;
    if (room) {
        s->buried[s->nburied++] = past;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    if (!room) {
        exi_past_close(past);
    }
}
