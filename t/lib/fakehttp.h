/*
 * A scripted HTTP server on a free port of 127.0.0.1, for the C unit tests that
 * need a node: each connection has a thread, each request is answered by the
 * function given to fake_start().  Include once.
 *
 *     static bool answer(struct fake *f, int fd, const struct fake_request *q)
 *     {
 *         fake_result(fd, "42");    or fake_error(), fake_http(), fake_send()
 *         return true;              false: hang up
 *     }
 *     struct fake *f = fake_start(answer, ctx);
 *     ... "http://127.0.0.1:%u", f->port ...
 *     fake_stop(f);
 */
#ifndef FAKEHTTP_H
#define FAKEHTTP_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAKE_UNUSED __attribute__((unused))
#define FAKE_CONNS  256
#define FAKE_BODY   (1 << 20)

struct fake;

struct fake_request {
    unsigned number;  /* 1 = first of this server */
    unsigned on_conn; /* 1 = first of its connection */
    const char *line; /* "POST / HTTP/1.1" */
    const char *head; /* all header lines */
    const char *body; /* "" if none */
};

typedef bool (*fake_answer_pt)(struct fake *f, int fd,
                               const struct fake_request *q);

struct fake {
    int fd;
    unsigned port;
    fake_answer_pt answer;
    void *ctx;
    pthread_t thread;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t changed;
    bool stop;
    bool released; /* fake_hang() returns */
    unsigned hanging;
    unsigned requests;
    unsigned nconns;
    int conns[FAKE_CONNS];
    pthread_t threads[FAKE_CONNS];
};

struct fake_conn {
    struct fake *f;
    int fd;
};

FAKE_UNUSED static void
fake_send(int fd, const void *buf, size_t len)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return;
        }
        p += n;
        len -= (size_t) n;
    }
}

FAKE_UNUSED static void
fake_http(int fd, int status, const char *more, const char *body)
{
    char head[512];
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n",
                     status, more, strlen(body));

    fake_send(fd, head, (size_t) n);
    fake_send(fd, body, strlen(body));
}

FAKE_UNUSED static void
fake_result(int fd, const char *json)
{
    size_t size = strlen(json) + 64;
    char *body = malloc(size);

    snprintf(body, size, "{\"result\":%s,\"error\":null,\"id\":1}\n", json);
    fake_http(fd, 200, "", body);
    free(body);
}

FAKE_UNUSED static void
fake_error(int fd, int code, const char *message)
{
    char body[2048];

    snprintf(body, sizeof(body),
             "{\"result\":null,\"error\":{\"code\":%d,\"message\":\"%s\"},"
             "\"id\":1}\n",
             code, message);
    fake_http(fd, code == -32601 ? 404 : 500, "", body);
}

/* Waits for fake_release() or fake_stop(). */
FAKE_UNUSED static void
fake_hang(struct fake *f)
{
    pthread_mutex_lock(&f->mutex);
    f->hanging++;
    pthread_cond_broadcast(&f->changed);
    while (!f->released && !f->stop) {
        pthread_cond_wait(&f->changed, &f->mutex);
    }
    f->hanging--;
    pthread_mutex_unlock(&f->mutex);
}

FAKE_UNUSED static void
fake_release(struct fake *f, bool released)
{
    pthread_mutex_lock(&f->mutex);
    f->released = released;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

/* Waits until n requests hang. */
FAKE_UNUSED static void
fake_wait_hanging(struct fake *f, unsigned n)
{
    pthread_mutex_lock(&f->mutex);
    while (f->hanging < n) {
        pthread_cond_wait(&f->changed, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
}

FAKE_UNUSED static unsigned
fake_requests(struct fake *f)
{
    unsigned n;

    pthread_mutex_lock(&f->mutex);
    n = f->requests;
    pthread_mutex_unlock(&f->mutex);
    return n;
}

FAKE_UNUSED static unsigned
fake_connections(struct fake *f)
{
    unsigned n;

    pthread_mutex_lock(&f->mutex);
    n = f->nconns;
    pthread_mutex_unlock(&f->mutex);
    return n;
}

/* Reads one request into buf (size bytes) and cuts it up; false: hung up. */
static bool
fake_read(int fd, char *buf, size_t size, struct fake_request *q)
{
    size_t len = 0, want = 0;
    char *end = NULL;

    while (end == NULL || len < want) {
        ssize_t n = recv(fd, buf + len, size - 1 - len, 0);
        const char *p;

        if (n <= 0) {
            return false;
        }
        len += (size_t) n;
        buf[len] = '\0';
        if (end == NULL && (end = strstr(buf, "\r\n\r\n")) != NULL) {
            p = strcasestr(buf, "\r\nContent-Length:");
            want = (size_t) (end - buf) + 4;
            want += p != NULL && p < end ? (size_t) atol(p + 17) : 0;
        }
    }
    *end = '\0';
    q->body = end + 4;
    q->line = buf;
    q->head = "";
    end = strstr(buf, "\r\n");
    if (end != NULL) {
        *end = '\0';
        q->head = end + 2;
    }
    return true;
}

static void *
fake_conn_thread(void *arg)
{
    struct fake_conn c = *(struct fake_conn *) arg;
    char *buf = malloc(FAKE_BODY);
    struct fake_request q = { 0 };
    bool go = true;

    free(arg);
    while (go && fake_read(c.fd, buf, FAKE_BODY, &q)) {
        pthread_mutex_lock(&c.f->mutex);
        q.number = ++c.f->requests;
        pthread_cond_broadcast(&c.f->changed);
        pthread_mutex_unlock(&c.f->mutex);
        q.on_conn++;
        go = c.f->answer(c.f, c.fd, &q);
    }
    shutdown(c.fd, SHUT_RDWR); /* closed by fake_stop() */
    free(buf);
    return NULL;
}

static void
fake_admit(struct fake *f, int fd)
{
    struct fake_conn *c = malloc(sizeof(*c));
    const int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->f = f;
    c->fd = fd;
    pthread_mutex_lock(&f->mutex);
    if (f->stop || f->nconns == FAKE_CONNS
        || pthread_create(&f->threads[f->nconns], NULL, fake_conn_thread, c)
               != 0) {
        close(fd);
        free(c);
    } else {
        f->conns[f->nconns++] = fd;
    }
    pthread_mutex_unlock(&f->mutex);
}

static void *
fake_thread(void *arg)
{
    struct fake *f = arg;
    int fd;

    while ((fd = accept(f->fd, NULL, NULL)) >= 0) {
        fake_admit(f, fd);
    }
    return NULL;
}

FAKE_UNUSED static struct fake *
fake_start(fake_answer_pt answer, void *ctx)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    struct fake *f = calloc(1, sizeof(*f));

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->answer = answer;
    f->ctx = ctx;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->fd, (struct sockaddr *) &a, sizeof(a)) != 0
        || listen(f->fd, 64) != 0
        || getsockname(f->fd, (struct sockaddr *) &a, &len) != 0
        || pthread_create(&f->thread, NULL, fake_thread, f) != 0) {
        perror("fake_start");
        exit(1);
    }
    f->port = ntohs(a.sin_port);
    return f;
}

FAKE_UNUSED static void
fake_stop(struct fake *f)
{
    pthread_mutex_lock(&f->mutex);
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    shutdown(f->fd, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    for (unsigned i = 0; i < f->nconns; i++) {
        shutdown(f->conns[i], SHUT_RDWR);
        pthread_join(f->threads[i], NULL);
        close(f->conns[i]);
    }
    close(f->fd);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

/* A port of 127.0.0.1 on which nobody listens: bound by us, so that nobody can
 * take it either; close(*fd) gives it back. */
FAKE_UNUSED static unsigned
fake_dead_port(int *fd)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(*fd, (struct sockaddr *) &a, sizeof(a)) != 0
        || getsockname(*fd, (struct sockaddr *) &a, &len) != 0) {
        perror("fake_dead_port");
        exit(1);
    }
    return ntohs(a.sin_port);
}

#endif /* FAKEHTTP_H */
