/*
 * load: idle connections, as wallets keep them: each subscribes to the headers
 * and to scripts, then waits.  A connection that the server closes comes back
 * at once and subscribes again.
 *
 * Commands on stdin, one a line, each answered by one line of NAME=VALUE:
 *
 *     stat    connections that are up (all subscribed), how many times one came
 *             back, notifications of scripts since "mark", connections that got
 *             one, time of the first and the last (Unix, ms), and of the last
 *             change of any kind (connection, answer, notification)
 *     mark    the same, then begins to count anew
 *
 * Ends with stdin.  Script 0 of connection i is what load_subscription() says,
 * so that a test can make a transaction that touches it.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256

/* New connections under way at a time. */
#define OPENING 200

/* Until a connection is up: version, headers, scripts. */
#define ANSWERS (load_opts.subs + 2)

struct client {
    struct load_conn conn;
    uint32_t answers; /* subscriptions that were answered */
    bool notified;
};

static struct client *clients;
static int epfd;
static uint32_t up, opening, waiting;
static uint32_t *queue; /* connections to open; `waiting` of them */
static uint64_t errors, notes, comebacks;
static uint32_t notified;
static double first_ms, last_ms, change_ms;

static double
unix_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

static void
complain(const char *msg, size_t n)
{
    if (errors++ == 0) {
        fprintf(stderr, "load: error: %.*s\n", (int) (n < 300 ? n : 300), msg);
    }
}

/* ---- a connection ---- */

static void
open_some(void)
{
    while (waiting > 0 && opening < OPENING) {
        struct client *c = &clients[queue[--waiting]];

        c->answers = 0;
        if (!load_connect(&c->conn, epfd)) {
            load_die("connect to port %u: %s", load_opts.port, strerror(errno));
        }
        opening++;
    }
}

static void
subscribe(struct client *c)
{
    static const char headers[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":"
                                  "\"blockchain.headers.subscribe\","
                                  "\"params\":[]}";
    char buf[LOAD_REQUEST_MAX];

    load_put(&c->conn, buf, load_hello(buf));
    load_put(&c->conn, headers, sizeof(headers) - 1);
    for (uint32_t i = 0; i < load_opts.subs; i++) {
        load_put(&c->conn, buf,
                 load_subscription(buf, c->conn.number, i, i + 1));
    }
}

static void
note(struct client *c, const char *msg, size_t n)
{
    if (memmem(msg, n, "scripthash.subscribe", 20) == NULL) {
        return;
    }
    last_ms = unix_ms();
    if (notes++ == 0) {
        first_ms = last_ms;
    }
    notified += !c->notified;
    c->notified = true;
}

static void
message(struct client *c, const char *msg, size_t n)
{
    uint64_t id;

    switch (load_check(msg, n, &id)) {
    case LOAD_ANSWER:
        if (++c->answers == ANSWERS) {
            up++;
            opening--;
        }
        break;
    case LOAD_NOTE:
        note(c, msg, n);
        break;
    case LOAD_ERROR:
        complain(msg, n);
        break;
    }
}

static void
gone(struct client *c)
{
    if (c->answers == ANSWERS) {
        up--;
    } else {
        opening--;
    }
    load_close(&c->conn);
    comebacks++;
    queue[waiting++] = c->conn.number;
}

static void
event(struct client *c, uint32_t events)
{
    const char *msg;
    size_t n;
    bool alive = true;

    change_ms = unix_ms();
    if (events & EPOLLIN) {
        alive = load_fill(&c->conn);
        while (load_next(&c->conn, &msg, &n)) {
            message(c, msg, n);
        }
        alive = alive && !c->conn.ended;
    }
    if (c->conn.upgraded && !c->conn.asked) {
        c->conn.asked = true;
        subscribe(c);
    }
    if (!alive || (events & (EPOLLERR | EPOLLHUP))
        || !load_flush(&c->conn, epfd)) {
        gone(c);
        return;
    }
    load_trim(&c->conn);
}

/* ---- commands ---- */

static void
stat_line(void)
{
    printf("up=%u comebacks=%llu errors=%llu notes=%llu notified=%u "
           "first_ms=%.1f last_ms=%.1f change_ms=%.1f\n",
           up, (unsigned long long) comebacks, (unsigned long long) errors,
           (unsigned long long) notes, notified, first_ms, last_ms, change_ms);
    fflush(stdout);
}

static void
begin_anew(void)
{
    for (uint32_t i = 0; i < load_opts.idle; i++) {
        clients[i].notified = false;
    }
    comebacks = notes = 0;
    notified = 0;
    first_ms = last_ms = 0;
}

/* False: stdin ended. */
static bool
command(void)
{
    static char buf[1024];
    static size_t len;
    ssize_t n = read(0, buf + len, sizeof(buf) - len - 1);
    char *nl;

    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
    len += (size_t) n;
    buf[len] = '\0';
    while ((nl = strchr(buf, '\n')) != NULL) {
        stat_line();
        if (strncmp(buf, "mark", 4) == 0) {
            begin_anew();
        }
        len -= (size_t) (nl + 1 - buf);
        memmove(buf, nl + 1, len + 1);
    }
    return true;
}

static void
start(void)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

    clients = calloc(load_opts.idle, sizeof(*clients));
    queue = calloc(load_opts.idle, sizeof(*queue));
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (clients == NULL || queue == NULL || epfd < 0
        || epoll_ctl(epfd, EPOLL_CTL_ADD, 0, &ev) != 0) {
        load_die("cannot start");
    }
    for (uint32_t i = load_opts.idle; i-- > 0;) {
        clients[i].conn.number = i;
        clients[i].conn.fd = -1;
        queue[waiting++] = i;
    }
}

int
load_idle(void)
{
    struct epoll_event ev[EVENTS];
    bool more = true;

    start();
    while (more) {
        int n;

        open_some();
        n = epoll_wait(epfd, ev, EVENTS, 1000);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == NULL) {
                more = command();
            } else {
                event(ev[i].data.ptr, ev[i].events);
            }
        }
    }
    for (uint32_t i = 0; i < load_opts.idle; i++) {
        load_close(&clients[i].conn);
    }
    free(clients);
    free(queue);
    return errors > 0;
}
