/*
 * The thread that receives the node's ZMQ messages.
 *
 *     look for addresses --none--> sleep LOOK_MS --+
 *      ^   |                                       |
 *      |   some: connect, receive until LOOK_MS are over
 *      +---+---------------------------------------+
 *
 * Connections are kept when a later look finds the same addresses.  Events wait
 * in a queue of bounded size; beyond it they are dropped and FEED_LOST takes
 * their place.
 */
#include "feed.h"

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

#include "feed_zmq.h"
#include "log.h"

#define LOOK_MS       30000
#define FIRST_LOOK_MS 1000
#define QUEUE_MAX     200000
#define ADDRESSES_MAX 8

#define RPC_CODE_NO_METHOD (-32601)

/* What to listen to. */
struct feed_where {
    char address[ADDRESSES_MAX][FEED_ADDRESS_MAX];
    size_t n;
    unsigned topics;
};

struct feed {
    struct rpc *rpc;
    const char *setting; /* NULL: ask the node */
    pthread_t thread;
    bool started;
    int fd;      /* events are there */
    int stop_fd; /* it is time to stop */
    atomic_uint topics;

    /* thread only */
    struct feed_where where;
    struct feed_sock *sock;
    struct feed_counts counts;
    bool warned; /* of an address that can't be reached */
    bool failed; /* the last try to listen did: said once */

    pthread_mutex_t mutex; /* guards the rest */
    struct feed_event *events;
    size_t n, cap;
};

/*
 * Addresses.
 */

/* Host part of "scheme://host:port": its place and length. */
static const char *
host_of(const char *url, size_t *len)
{
    const char *p = strstr(url, "://"), *end;

    p = p == NULL ? url : p + 3;
    end = *p == '[' ? strchr(p, ']') : NULL;
    if (end != NULL) {
        end++;
    } else {
        end = p + strcspn(p, ":/");
    }
    *len = (size_t) (end - p);
    return p;
}

static bool
host_in(const char *host, size_t len, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strlen(*list) == len && memcmp(*list, host, len) == 0) {
            return true;
        }
    }
    return false;
}

bool
feed_address(char out[FEED_ADDRESS_MAX], const char *address, const char *base)
{
    static const char *const any[] = { "*", "0.0.0.0", "[::]", NULL };
    static const char *const here[] = { "localhost", "127.0.0.1", "[::1]",
                                        NULL };
    size_t nodelen, len;
    const char *node = host_of(base, &nodelen), *host;
    bool local = host_in(node, nodelen, here);
    int n;

    if (strncmp(address, "ipc://", 6) == 0) {
        n = snprintf(out, FEED_ADDRESS_MAX, "%s", address);
        return local && n > 0 && n < FEED_ADDRESS_MAX;
    }
    if (strncmp(address, "tcp://", 6) != 0) {
        return false;
    }
    host = host_of(address, &len);
    if (host_in(host, len, any)) {
        n = snprintf(out, FEED_ADDRESS_MAX, "tcp://%.*s%s", (int) nodelen, node,
                     host + len);
    } else if (host_in(host, len, here) && !local) {
        return false;
    } else {
        n = snprintf(out, FEED_ADDRESS_MAX, "%s", address);
    }
    return n > 0 && n < FEED_ADDRESS_MAX;
}

static void
where_add(struct feed_where *w, const char *address)
{
    for (size_t i = 0; i < w->n; i++) {
        if (strcmp(w->address[i], address) == 0) {
            return;
        }
    }
    if (w->n < ADDRESSES_MAX) {
        snprintf(w->address[w->n++], FEED_ADDRESS_MAX, "%s", address);
    }
}

static unsigned
topic_of(const char *type)
{
    return strcmp(type, "pubsequence") == 0    ? FEED_SEQUENCE
           : strcmp(type, "pubhashblock") == 0 ? FEED_HASHBLOCK
           : strcmp(type, "pubhashtx") == 0    ? FEED_HASHTX
                                               : 0;
}

/* Adds the addresses of the topics `wanted`. */
static void
pick(struct feed *f, struct feed_where *w, const json_t *list, unsigned wanted)
{
    char address[FEED_ADDRESS_MAX];

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(o, "type"));
        const char *at = json_string_value(json_object_get(o, "address"));
        unsigned topic = type == NULL ? 0 : topic_of(type);

        if (at == NULL || (topic & wanted) == 0) {
            continue;
        }
        if (feed_address(address, at, rpc_daemon(f->rpc))) {
            where_add(w, address);
            w->topics |= topic;
        } else if (!f->warned) {
            f->warned = true;
            log_warn("zmq",
                     "the node's %s can't be reached from here: not "
                     "used",
                     at);
        }
    }
}

/* Asks the node; false: it did not answer. */
static bool
ask(struct feed *f, struct feed_where *w)
{
    json_t *list = NULL;
    int rc = rpc_call(f->rpc, "getzmqnotifications", NULL, &list);

    if (rc == EXI_OK) {
        pick(f, w, list, FEED_SEQUENCE);
        if (w->topics == 0) {
            pick(f, w, list, FEED_HASHBLOCK | FEED_HASHTX);
        }
        json_decref(list);
    }
    return rc == EXI_OK
           || (rc == EXI_ENODE
               && rpc_error(f->rpc)->code == RPC_CODE_NO_METHOD);
}

/* The setting's addresses; what they offer is seen when it comes. */
static void
read_setting(const struct feed *f, struct feed_where *w)
{
    char address[FEED_ADDRESS_MAX];
    const char *p = f->setting;

    while (*p != '\0') {
        size_t n = strcspn(p, ", ");

        if (n > 0 && n < sizeof(address)) {
            memcpy(address, p, n);
            address[n] = '\0';
            where_add(w, address);
        }
        p += n;
        p += strspn(p, ", ");
    }
    w->topics = FEED_SEQUENCE | FEED_HASHBLOCK | FEED_HASHTX;
}

/*
 * Queue.
 */

static void
push(struct feed *f, const struct feed_event *e)
{
    const uint64_t one = 1;
    size_t cap;

    pthread_mutex_lock(&f->mutex);
    cap = f->cap ? f->cap * 2 : 256;
    if (f->n == f->cap && f->n < QUEUE_MAX) {
        struct feed_event *v = realloc(f->events, cap * sizeof(*v));

        if (v != NULL) {
            f->events = v;
            f->cap = cap;
        }
    }
    if (f->n < f->cap) {
        f->events[f->n++] = *e;
    } else if (f->n > 0) {
        f->n = 1;
        f->events[0] = (struct feed_event){ .kind = FEED_LOST };
    }
    if (write(f->fd, &one, sizeof(one)) < 0) {
        /* the counter is full: readable anyway */
    }
    pthread_mutex_unlock(&f->mutex);
}

static void
push_lost(struct feed *f)
{
    const struct feed_event e = { .kind = FEED_LOST };

    push(f, &e);
}

size_t
feed_take(struct feed *f, struct feed_event **out)
{
    uint64_t count;
    size_t n;

    pthread_mutex_lock(&f->mutex);
    n = f->n;
    *out = n > 0 ? f->events : NULL;
    if (n > 0) {
        f->events = NULL;
        f->n = f->cap = 0;
    }
    if (read(f->fd, &count, sizeof(count)) < 0) {
        /* nothing there: fine */
    }
    pthread_mutex_unlock(&f->mutex);
    return n;
}

/*
 * Receiving.
 */

static void
hang_up(struct feed *f)
{
    if (f->sock != NULL) {
        feed_sock_free(f->sock);
        f->sock = NULL;
        atomic_store(&f->topics, 0);
        log_info("zmq", "not listening any more");
        push_lost(f);
    }
}

static int
subscribe(struct feed *f, const struct feed_where *w)
{
    static const char *const names[] = { "sequence", "hashblock", "hashtx" };
    int rc = EXI_OK;

    for (unsigned i = 0; i < 3 && rc == EXI_OK; i++) {
        if ((w->topics & 1u << i) != 0) {
            rc = feed_sock_subscribe(f->sock, names[i]);
        }
    }
    for (size_t i = 0; i < w->n && rc == EXI_OK; i++) {
        rc = feed_sock_connect(f->sock, w->address[i]);
    }
    return rc;
}

static void
listen_to(struct feed *f, const struct feed_where *w)
{
    char why[256] = "an address is not valid";

    hang_up(f);
    f->where = *w;
    memset(&f->counts, 0, sizeof(f->counts));
    if (w->n == 0) {
        return;
    }
    f->sock = feed_sock_new(why, sizeof(why));
    if (f->sock == NULL || subscribe(f, w) != EXI_OK) {
        if (!f->failed) {
            log_warn("zmq", "%s: %s", w->address[0], why);
        }
        f->failed = true;
        feed_sock_free(f->sock);
        f->sock = NULL;
        return;
    }
    f->failed = false;
    log_info("zmq", "listening to %s%s", w->address[0],
             w->n > 1 ? " and others" : "");
    atomic_store(&f->topics, w->topics);
    push_lost(f);
}

static void
on_message(struct feed *f, const struct feed_msg *m)
{
    struct feed_event e;
    bool lost = false;
    int rc = feed_read(&f->counts, m->topic, m->topiclen, m->body, m->bodylen,
                       m->number, m->numberlen, &e, &lost);

    if (rc != EXI_OK) {
        return;
    }
    if (lost) {
        log_debug("zmq", "messages were lost");
        push_lost(f);
    }
    push(f, &e);
}

static int64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Receives until ms are over or it is time to stop. */
static void
receive(struct feed *f, long ms)
{
    int64_t until = now_ms() + ms, left;
    struct feed_msg m;

    while ((left = until - now_ms()) > 0 && !rpc_cancelled(f->rpc)) {
        switch (feed_sock_wait(f->sock, f->stop_fd, (long) left, &m)) {
        case FEED_NEWS_MESSAGE:
            on_message(f, &m);
            break;
        case FEED_NEWS_LINK:
            memset(&f->counts, 0, sizeof(f->counts));
            push_lost(f);
            break;
        case FEED_NEWS_NONE:
            break;
        }
    }
}

static bool
same(const struct feed_where *a, const struct feed_where *b)
{
    if (a->n != b->n || a->topics != b->topics) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->address[i], b->address[i]) != 0) {
            return false;
        }
    }
    return true;
}

static void *
feed_thread(void *arg)
{
    struct feed *f = arg;

    while (!rpc_cancelled(f->rpc)) {
        struct feed_where w = { .n = 0 };
        bool answered = true;

        if (f->setting != NULL) {
            read_setting(f, &w);
        } else {
            answered = ask(f, &w);
        }
        if (answered && (!same(&w, &f->where) || f->sock == NULL)) {
            listen_to(f, &w);
        }
        if (f->sock != NULL) {
            receive(f, LOOK_MS);
        } else {
            struct pollfd p = { f->stop_fd, POLLIN, 0 };

            (void) poll(&p, 1, answered ? LOOK_MS : FIRST_LOOK_MS);
        }
    }
    return NULL;
}

/*
 * Start and stop.
 */

/* Signals are the main thread's. */
static int
run(struct feed *f, char *why, size_t whylen)
{
    sigset_t all, old;
    int err;

    f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->fd < 0 || f->stop_fd < 0) {
        snprintf(why, whylen, "eventfd: %s", strerror(errno));
        return EXI_EIO;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&f->thread, NULL, feed_thread, f);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    f->started = err == 0;
    if (err != 0) {
        snprintf(why, whylen, "cannot start a thread: %s", strerror(err));
        return EXI_EIO;
    }
    return EXI_OK;
}

int
feed_start(struct feed **out, const struct rpc_opts *o, const char *setting,
           char *why, size_t whylen)
{
    struct feed *f;
    int rc;

    if (!feed_sock_there()) {
        snprintf(why, whylen, "built without libzmq");
        return EXI_ENOTREADY;
    }
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        snprintf(why, whylen, "out of memory");
        return EXI_ENOMEM;
    }
    f->fd = f->stop_fd = -1;
    f->setting = strcmp(setting, "auto") == 0 ? NULL : setting;
    pthread_mutex_init(&f->mutex, NULL);
    rc = rpc_new(&f->rpc, o, why, whylen);
    if (rc == EXI_OK) {
        rc = run(f, why, whylen);
    }
    if (rc != EXI_OK) {
        feed_stop(f);
        return rc;
    }
    *out = f;
    return EXI_OK;
}

void
feed_stop(struct feed *f)
{
    const uint64_t one = 1;

    if (f == NULL) {
        return;
    }
    if (f->started) {
        rpc_cancel(f->rpc);
        if (write(f->stop_fd, &one, sizeof(one)) < 0) {
            /* the counter is full: readable anyway */
        }
        pthread_join(f->thread, NULL);
    }
    feed_sock_free(f->sock);
    rpc_free(f->rpc);
    free(f->events);
    if (f->fd >= 0) {
        close(f->fd);
    }
    if (f->stop_fd >= 0) {
        close(f->stop_fd);
    }
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

int
feed_fd(const struct feed *f)
{
    return f->fd;
}

unsigned
feed_topics(const struct feed *f)
{
    return atomic_load(&f->topics);
}
