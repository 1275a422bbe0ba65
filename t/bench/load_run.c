/*
 * load: requests as fast as the server answers them.  Each connection has a
 * fixed number of requests under way; the id of a request is its slot, so
 * answers may come in any order.
 */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 256

/* Latency: 16 classes for each power of two of ns. */
#define SUB     16
#define CLASSES (64 * SUB)

enum phase {
    WARMING,
    MEASURING,
    ENDING
};

struct slot {
    uint64_t sent; /* ns; 0: free */
};

struct worker {
    pthread_t thread;
    int epfd;
    uint32_t first, n; /* connections */
    struct load_conn *conns;
    uint64_t random;
    uint64_t sent;
    uint64_t done;
    uint64_t errors;
    uint64_t classes[CLASSES];
    char example[200]; /* of an error */
};

static struct worker *workers;
static volatile int phase;

/* ---- latency ---- */

static size_t
class_of(uint64_t ns)
{
    unsigned bits = ns < SUB ? 4 : 63 - (unsigned) __builtin_clzll(ns);

    return (bits - 4) * SUB + ((ns >> (bits - 4)) & (SUB - 1)) + SUB;
}

static double
class_us(size_t class)
{
    size_t bits = class / SUB - 1;

    return (double) (((uint64_t) SUB + class % SUB) << bits) / 1e3;
}

/* ---- CPU ---- */

/* ns that the threads of a process have run. */
static uint64_t
cpu_of(int pid)
{
    char cmd[128];
    unsigned long long ns, sum = 0;
    FILE *f;

    snprintf(cmd, sizeof(cmd), "cat /proc/%d/task/*/schedstat", pid);
    f = popen(cmd, "r");
    while (f != NULL && fscanf(f, "%llu %*u %*u", &ns) == 1) {
        sum += ns;
    }
    if (f == NULL || pclose(f) != 0) {
        load_die("process %d: no CPU time", pid);
    }
    return sum;
}

/* ---- a connection ---- */

static void
failed(struct worker *w, const char *msg, size_t n)
{
    n = n < sizeof(w->example) - 1 ? n : sizeof(w->example) - 1;
    if (w->errors++ == 0) {
        memcpy(w->example, msg, n);
    }
}

static void
ask(struct worker *w, struct load_conn *c, uint32_t slot)
{
    struct slot *s = (struct slot *) c->user + slot;
    char buf[LOAD_REQUEST_MAX];

    if (phase == ENDING
        || (load_opts.requests > 0 && w->sent >= load_opts.requests)) {
        return;
    }
    w->sent++;
    s->sent = load_now();
    load_put(c, buf, load_request(buf, load_opts.kind, slot, &w->random));
}

static void
answered(struct worker *w, struct load_conn *c, const char *msg, size_t n,
         uint64_t now)
{
    struct slot *slots = c->user;
    uint64_t id = UINT64_MAX;
    enum load_answer a = load_check(msg, n, &id);

    if (a == LOAD_NOTE || (a == LOAD_ANSWER && id == LOAD_HELLO)) {
        return;
    }
    if (a == LOAD_ERROR && id == UINT64_MAX) {
        failed(w, msg, n);
        return;
    }
    if (id >= load_opts.pipeline || slots[id].sent == 0) {
        failed(w, "an answer to no request", 23);
        return;
    }
    if (a == LOAD_ERROR
        || (load_opts.kind != LOAD_PING && load_opts.kind != LOAD_MIX
            && load_is_empty(msg, n))) {
        failed(w, msg, n);
    }
    w->classes[class_of(now - slots[id].sent)]++;
    w->done++;
    slots[id].sent = 0;
    ask(w, c, (uint32_t) id);
}

static void
event(struct worker *w, struct load_conn *c, uint32_t events)
{
    char buf[LOAD_REQUEST_MAX];
    const char *msg;
    size_t n;
    uint64_t now;
    bool alive = true;

    if (!c->up) {
        if (!load_flush(c, w->epfd)) {
            load_die("connect to port %u: refused", load_opts.port);
        }
    }
    if (events & EPOLLIN) {
        alive = load_fill(c);
        now = load_now();
        while (load_next(c, &msg, &n)) {
            answered(w, c, msg, n, now);
        }
    }
    if (c->upgraded && !c->asked) {
        c->asked = true;
        load_put(c, buf, load_hello(buf));
        for (uint32_t i = 0; i < load_opts.pipeline; i++) {
            ask(w, c, i);
        }
    }
    if (!alive || !load_flush(c, w->epfd)) {
        load_die("the server closed connection %u", c->number);
    }
}

static void *
run_worker(void *arg)
{
    struct worker *w = arg;
    struct epoll_event ev[EVENTS];
    bool idle = false;

    for (uint32_t i = 0; i < w->n; i++) {
        w->conns[i].number = w->first + i;
        w->conns[i].user = calloc(load_opts.pipeline, sizeof(struct slot));
        if (!load_connect(&w->conns[i], w->epfd)) {
            load_die("connect to port %u: %s", load_opts.port, strerror(errno));
        }
    }
    while (!idle) {
        int n = epoll_wait(w->epfd, ev, EVENTS, 100);

        for (int i = 0; i < n; i++) {
            event(w, ev[i].data.ptr, ev[i].events);
        }
        idle =
            w->done + w->errors >= w->sent
            && (phase == ENDING
                || (load_opts.requests > 0 && w->sent >= load_opts.requests));
        if (w->errors > 1000) {
            break;
        }
    }
    for (uint32_t i = 0; i < w->n; i++) {
        load_close(&w->conns[i]);
        free(w->conns[i].user);
    }
    close(w->epfd);
    return NULL;
}

/* ---- all of it ---- */

struct mark {
    uint64_t time;
    uint64_t done;
    uint64_t classes[CLASSES];
    uint64_t cpu[sizeof(load_opts.pids) / sizeof(load_opts.pids[0])];
};

static void
take_mark(struct mark *m)
{
    memset(m, 0, sizeof(*m));
    for (uint32_t i = 0; i < load_opts.threads; i++) {
        m->done += workers[i].done;
        for (size_t k = 0; k < CLASSES; k++) {
            m->classes[k] += workers[i].classes[k];
        }
    }
    m->time = load_now();
    for (size_t i = 0; i < load_opts.npids; i++) {
        m->cpu[i] = cpu_of(load_opts.pids[i]);
    }
}

static double
quantile(const struct mark *a, const struct mark *b, double q)
{
    uint64_t n = 0, want = (uint64_t) ((double) (b->done - a->done) * q);

    for (size_t k = 0; k < CLASSES; k++) {
        n += b->classes[k] - a->classes[k];
        if (n > want) {
            return class_us(k);
        }
    }
    return 0;
}

static void
report(const struct mark *a, const struct mark *b)
{
    double n = (double) (b->done - a->done), cpu = 0;
    double seconds = (double) (b->time - a->time) / 1e9;
    uint64_t errors = 0;

    for (uint32_t i = 0; i < load_opts.threads; i++) {
        errors += workers[i].errors;
    }
    printf("requests=%.0f errors=%llu seconds=%.3f rps=%.0f p50_us=%.1f "
           "p99_us=%.1f",
           n, (unsigned long long) errors, seconds, n / seconds,
           quantile(a, b, 0.5), quantile(a, b, 0.99));
    for (size_t i = 0; i < load_opts.npids && n > 0; i++) {
        double us = (double) (b->cpu[i] - a->cpu[i]) / 1e3 / n;

        cpu += us;
        printf(" cpu_us_%d=%.3f", load_opts.pids[i], us);
    }
    printf(" cpu_us=%.3f\n", cpu);
}

static void
wait_for(double seconds)
{
    struct timespec ts = {
        (time_t) seconds, (long) ((seconds - (double) (time_t) seconds) * 1e9)
    };

    nanosleep(&ts, NULL);
}

static void
start(void)
{
    uint32_t each = load_opts.connections / load_opts.threads;

    workers = calloc(load_opts.threads, sizeof(*workers));
    for (uint32_t i = 0; i < load_opts.threads; i++) {
        struct worker *w = &workers[i];

        w->first = i * each;
        w->n =
            i + 1 < load_opts.threads ? each : load_opts.connections - w->first;
        w->conns = calloc(w->n, sizeof(*w->conns));
        w->random = load_opts.seed + i;
        w->epfd = epoll_create1(EPOLL_CLOEXEC);
        if (w->conns == NULL || w->epfd < 0
            || pthread_create(&w->thread, NULL, run_worker, w) != 0) {
            load_die("cannot start");
        }
    }
}

int
load_run(void)
{
    static struct mark a, b;
    uint64_t errors = 0;

    start();
    if (load_opts.requests == 0) {
        wait_for(load_opts.warmup);
    }
    take_mark(&a);
    phase = MEASURING;
    if (load_opts.requests == 0) {
        wait_for(load_opts.seconds);
        take_mark(&b);
        phase = ENDING;
    }
    for (uint32_t i = 0; i < load_opts.threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    if (load_opts.requests > 0) {
        take_mark(&b);
    }
    report(&a, &b);
    for (uint32_t i = 0; i < load_opts.threads; i++) {
        if (workers[i].errors > 0) {
            fprintf(stderr, "load: error: %s\n", workers[i].example);
        }
        errors += workers[i].errors;
        free(workers[i].conns);
    }
    free(workers);
    return errors > 0 || b.done == a.done;
}
