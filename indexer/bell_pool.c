/*
 * The queue of calls and the threads that carry them out, each with its own
 * handle to the node.  A call is in the queue, with a thread, or in the list
 * of finished ones; the socket thread puts it in and takes it out.
 */
#include "bell_int.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Below the time after which the socket thread answers in our place. */
#define BELL_NODE_TIMEOUT_MS 25000

struct bell_thread {
    struct bell_pool *pool;
    struct rpc *rpc;
    pthread_t id;
};

struct bell_pool {
    struct bell_thread threads[BELL_THREADS_MAX];
    unsigned nthreads; /* with a handle */
    unsigned nstarted;
    struct bell_fees *fees;
    const char *passthrough;
    int wake_fd;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t more;
    struct bell_call_list queue;
    struct bell_call_list done;
    size_t nqueued;
    size_t bytes; /* of the parameters in the queue */
    bool stop;
};

struct bell_call *
bell_call_new(const void *name, size_t namelen, const void *params,
              size_t paramslen)
{
    struct bell_call *c = calloc(1, sizeof(*c));

    if (c == NULL || (c->params = malloc(paramslen + 1)) == NULL) {
        free(c);
        return NULL;
    }
    if (namelen < sizeof(c->name)) { /* a longer one is no call's name */
        memcpy(c->name, name, namelen);
    }
    memcpy(c->params, params, paramslen);
    c->params[paramslen] = '\0';
    c->paramslen = paramslen;
    return c;
}

void
bell_call_free(struct bell_call *c)
{
    if (c != NULL) {
        rpc_buf_free(&c->out);
        free(c->params);
        free(c);
    }
}

/* Call with the mutex held. */
static void
bell_pool_remove(struct bell_pool *p, struct bell_call *c)
{
    TAILQ_REMOVE(&p->queue, c, queue);
    p->nqueued--;
    p->bytes -= c->paramslen;
}

/* The next call to carry out; NULL: the pool stops. */
static struct bell_call *
bell_pool_take(struct bell_pool *p)
{
    struct bell_call *c = NULL;

    pthread_mutex_lock(&p->mutex);
    while (!p->stop && TAILQ_EMPTY(&p->queue)) {
        pthread_cond_wait(&p->more, &p->mutex);
    }
    if (!p->stop) {
        c = TAILQ_FIRST(&p->queue);
        bell_pool_remove(p, c);
    }
    pthread_mutex_unlock(&p->mutex);
    return c;
}

static void
bell_pool_finish(struct bell_pool *p, struct bell_call *c)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&p->mutex);
    TAILQ_INSERT_TAIL(&p->done, c, queue);
    pthread_mutex_unlock(&p->mutex);
    if (write(p->wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: it is awake */
    }
}

static void *
bell_pool_thread(void *arg)
{
    struct bell_thread *t = (struct bell_thread *) arg;
    struct bell_call *c;

    while ((c = bell_pool_take(t->pool)) != NULL) {
        bell_call_run(c, t->rpc, t->pool->fees, t->pool->passthrough);
        bell_pool_finish(t->pool, c);
    }
    return NULL;
}

static int
bell_pool_handles(struct bell_pool *p, const struct rpc_opts *o,
                  unsigned threads, char *why, size_t whylen)
{
    struct rpc_opts own = *o;

    if (own.timeout_ms <= 0 || own.timeout_ms > BELL_NODE_TIMEOUT_MS) {
        own.timeout_ms = BELL_NODE_TIMEOUT_MS;
    }
    while (p->nthreads < threads) {
        struct bell_thread *t = &p->threads[p->nthreads];
        int rc = rpc_new(&t->rpc, &own, why, whylen);

        if (rc != EXI_OK) {
            return rc;
        }
        t->pool = p;
        p->nthreads++;
    }
    return EXI_OK;
}

/* Signals are the main thread's. */
static int
bell_pool_threads(struct bell_pool *p, char *why, size_t whylen)
{
    sigset_t all, old;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (err == 0 && p->nstarted < p->nthreads) {
        struct bell_thread *t = &p->threads[p->nstarted];

        err = pthread_create(&t->id, NULL, bell_pool_thread, t);
        p->nstarted += err == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err != 0) {
        snprintf(why, whylen, "cannot start a thread: %s", strerror(err));
        return EXI_EIO;
    }
    return EXI_OK;
}

int
bell_pool_start(struct bell_pool **out, const struct bell_opts *o, int wake_fd,
                char *why, size_t whylen)
{
    struct bell_pool *p = calloc(1, sizeof(*p));
    unsigned threads = o->threads > 0 ? o->threads : BELL_THREADS;
    int rc;

    snprintf(why, whylen, "out of memory");
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->more, NULL);
    TAILQ_INIT(&p->queue);
    TAILQ_INIT(&p->done);
    p->wake_fd = wake_fd;
    p->passthrough = o->passthrough;
    if (threads > BELL_THREADS_MAX) {
        threads = BELL_THREADS_MAX;
    }
    p->fees = bell_fees_new();
    rc = p->fees == NULL ? EXI_ENOMEM
                         : bell_pool_handles(p, o->rpc, threads, why, whylen);
    if (rc == EXI_OK) {
        rc = bell_pool_threads(p, why, whylen);
    }
    if (rc != EXI_OK) {
        bell_pool_stop(p);
        return rc;
    }
    *out = p;
    return EXI_OK;
}

static void
bell_pool_free_list(struct bell_call_list *list)
{
    struct bell_call *c;

    while ((c = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, c, queue);
        bell_call_free(c);
    }
}

void
bell_pool_stop(struct bell_pool *p)
{
    if (p == NULL) {
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < p->nthreads; i++) {
        rpc_cancel(p->threads[i].rpc);
    }
    for (unsigned i = 0; i < p->nstarted; i++) {
        pthread_join(p->threads[i].id, NULL);
    }
    for (unsigned i = 0; i < p->nthreads; i++) {
        rpc_free(p->threads[i].rpc);
    }
    bell_pool_free_list(&p->queue);
    bell_pool_free_list(&p->done);
    bell_fees_free(p->fees);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

bool
bell_pool_put(struct bell_pool *p, struct bell_call *c)
{
    bool room;

    pthread_mutex_lock(&p->mutex);
    room = p->nqueued < BELL_QUEUE_MAX
           && (p->nqueued == 0 || p->bytes + c->paramslen <= BELL_QUEUE_BYTES);
    if (room) {
        TAILQ_INSERT_TAIL(&p->queue, c, queue);
        p->nqueued++;
        p->bytes += c->paramslen;
        pthread_cond_signal(&p->more);
    }
    pthread_mutex_unlock(&p->mutex);
    return room;
}

bool
bell_pool_withdraw(struct bell_pool *p, struct bell_call *c)
{
    struct bell_call *q;

    pthread_mutex_lock(&p->mutex);
    TAILQ_FOREACH(q, &p->queue, queue)
    {
        if (q == c) {
            bell_pool_remove(p, c);
            break;
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return q != NULL;
}

struct bell_call *
bell_pool_done(struct bell_pool *p)
{
    struct bell_call *c;

    pthread_mutex_lock(&p->mutex);
    c = TAILQ_FIRST(&p->done);
    if (c != NULL) {
        TAILQ_REMOVE(&p->done, c, queue);
    }
    pthread_mutex_unlock(&p->mutex);
    return c;
}

struct bell_fees *
bell_pool_fees(struct bell_pool *p)
{
    return p->fees;
}
