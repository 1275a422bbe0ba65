/*
 * The subscribed ZMQ socket.  libzmq connects again by itself; its monitor tells
 * when a connection came or went, as messages are lost in between.
 */
#include "feed_zmq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_ZMQ

#include <zmq.h>

#define MONITOR "inproc://link"
/* Messages that wait in the socket: 10 MB. */
#define QUEUE        100000
#define HEARTBEAT_MS 10000

struct feed_sock {
    void *ctx;
    void *sub;
    void *monitor;
};

bool
feed_sock_there(void)
{
    return true;
}

static int
set(void *sock, int option, int value)
{
    return zmq_setsockopt(sock, option, &value, sizeof(value));
}

static int
prepare(struct feed_sock *s)
{
    s->ctx = zmq_ctx_new();
    if (s->ctx == NULL) {
        return -1;
    }
    s->sub = zmq_socket(s->ctx, ZMQ_SUB);
    if (s->sub == NULL || set(s->sub, ZMQ_RCVHWM, QUEUE) != 0
        || set(s->sub, ZMQ_LINGER, 0) != 0 || set(s->sub, ZMQ_IPV6, 1) != 0
        || set(s->sub, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) != 0
        || zmq_socket_monitor(s->sub, MONITOR,
                              ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED)
               != 0) {
        return -1;
    }
    s->monitor = zmq_socket(s->ctx, ZMQ_PAIR);
    return s->monitor == NULL || set(s->monitor, ZMQ_LINGER, 0) != 0
                   || zmq_connect(s->monitor, MONITOR) != 0
               ? -1
               : 0;
}

struct feed_sock *
feed_sock_new(char *why, size_t whylen)
{
    struct feed_sock *s = calloc(1, sizeof(*s));

    if (s == NULL || prepare(s) != 0) {
        snprintf(why, whylen, "%s",
                 s == NULL ? "out of memory" : zmq_strerror(zmq_errno()));
        feed_sock_free(s);
        return NULL;
    }
    return s;
}

void
feed_sock_free(struct feed_sock *s)
{
    if (s == NULL) {
        return;
    }
    if (s->sub != NULL) {
        zmq_socket_monitor(s->sub, NULL, 0);
        zmq_close(s->sub);
    }
    if (s->monitor != NULL) {
        zmq_close(s->monitor);
    }
    if (s->ctx != NULL) {
        zmq_ctx_term(s->ctx);
    }
    free(s);
}

int
feed_sock_connect(struct feed_sock *s, const char *address)
{
    return zmq_connect(s->sub, address) == 0 ? EXI_OK : EXI_EAPI;
}

int
feed_sock_subscribe(struct feed_sock *s, const char *topic)
{
    return zmq_setsockopt(s->sub, ZMQ_SUBSCRIBE, topic, strlen(topic)) == 0
               ? EXI_OK
               : EXI_EAPI;
}

/* One part of a message, cut to max; *more: another one follows.  -1: none. */
static int
part(void *sock, void *buf, size_t max, size_t *len, bool *more)
{
    int n = zmq_recv(sock, buf, max, ZMQ_DONTWAIT), value = 0;
    size_t size = sizeof(value);

    if (n < 0 || zmq_getsockopt(sock, ZMQ_RCVMORE, &value, &size) != 0) {
        return -1;
    }
    *len = (size_t) n < max ? (size_t) n : max;
    *more = value != 0;
    return 0;
}

/* A message of three parts; others are read and dropped. */
static bool
receive(struct feed_sock *s, struct feed_msg *m)
{
    uint8_t rest[16];
    size_t len;
    bool more, good = false;

    if (part(s->sub, m->topic, sizeof(m->topic), &m->topiclen, &more) != 0) {
        return false;
    }
    if (more && part(s->sub, m->body, sizeof(m->body), &m->bodylen, &more) == 0
        && more
        && part(s->sub, m->number, sizeof(m->number), &m->numberlen, &more)
               == 0) {
        good = !more;
    }
    while (more && part(s->sub, rest, sizeof(rest), &len, &more) == 0) {
        /* too many parts */
    }
    return good;
}

enum feed_news
feed_sock_wait(struct feed_sock *s, int stop_fd, long ms, struct feed_msg *m)
{
    zmq_pollitem_t p[3] = { { s->monitor, -1, ZMQ_POLLIN, 0 },
                            { s->sub, -1, ZMQ_POLLIN, 0 },
                            { NULL, stop_fd, ZMQ_POLLIN, 0 } };
    uint8_t rest[256];
    size_t len;
    bool more;

    if (zmq_poll(p, 3, ms) <= 0 || p[2].revents != 0) {
        return FEED_NEWS_NONE;
    }
    if (p[0].revents != 0) {
        while (part(s->monitor, rest, sizeof(rest), &len, &more) == 0) {
            /* which of both it was does not matter */
        }
        return FEED_NEWS_LINK;
    }
    return receive(s, m) ? FEED_NEWS_MESSAGE : FEED_NEWS_NONE;
}

#else /* HAVE_ZMQ */

bool
feed_sock_there(void)
{
    return false;
}

struct feed_sock *
feed_sock_new(char *why, size_t whylen)
{
    snprintf(why, whylen, "built without libzmq");
    return NULL;
}

void
feed_sock_free(struct feed_sock *s)
{
    (void) s;
}

int
feed_sock_connect(struct feed_sock *s, const char *address)
{
    (void) s;
    (void) address;
    return EXI_EAPI;
}

int
feed_sock_subscribe(struct feed_sock *s, const char *topic)
{
    (void) s;
    (void) topic;
    return EXI_EAPI;
}

enum feed_news
feed_sock_wait(struct feed_sock *s, int stop_fd, long ms, struct feed_msg *m)
{
    (void) s;
    (void) stop_fd;
    (void) ms;
    (void) m;
    return FEED_NEWS_NONE;
}

#endif /* HAVE_ZMQ */
