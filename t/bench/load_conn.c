/*
 * load: a connection over TCP or TLS, messages as lines or as WebSocket frames.
 * Never blocks; written data is kept until the socket takes it.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536

static SSL_CTX *tls;

/* ---- buffers ---- */

static char *
room(char **buf, size_t *pos, size_t *len, size_t *cap, size_t n)
{
    if (*pos > 0 && *pos == *len) {
        *pos = *len = 0;
    }
    if (*cap - *len<n && * pos> 0) {
        memmove(*buf, *buf + *pos, *len - *pos);
        *len -= *pos;
        *pos = 0;
    }
    if (*cap - *len < n) {
        *cap = (*len + n) * 2;
        *buf = load_realloc(*buf, *cap);
    }
    return *buf + *len;
}

static void
put_raw(struct load_conn *c, const void *p, size_t n)
{
    memcpy(room(&c->out, &c->outpos, &c->outlen, &c->outcap, n), p, n);
    c->outlen += n;
}

void
load_trim(struct load_conn *c)
{
    if (c->outpos == c->outlen) {
        free(c->out);
        c->out = NULL;
        c->outpos = c->outlen = c->outcap = 0;
    }
    if (c->inpos == c->inlen) {
        free(c->in);
        c->in = NULL;
        c->inpos = c->inlen = c->incap = 0;
    }
}

/* ---- connecting ---- */

static void
watch(const struct load_conn *c, int epfd, int op, bool out)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP,
                              .data.ptr = (void *) (uintptr_t) c };

    if (out) {
        ev.events |= EPOLLOUT;
    }
    if (epoll_ctl(epfd, op, c->fd, &ev) != 0) {
        load_die("epoll_ctl: %s", strerror(errno));
    }
}

/* Many connections to one port need more than one address to come from. */
static void
bind_source(int fd, uint32_t number)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    int on = 1;

    if (load_opts.sources == 0) {
        return;
    }
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % load_opts.sources);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0) {
        load_die("bind: %s", strerror(errno));
    }
}

static void
put_upgrade(struct load_conn *c)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
                               "Upgrade: websocket\r\n"
                               "Connection: Upgrade\r\n"
                               "Sec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
                               "\r\n";

    put_raw(c, head, sizeof(head) - 1);
}

static void
make_tls(struct load_conn *c)
{
    if (tls == NULL) {
        tls = SSL_CTX_new(TLS_client_method());
        if (tls == NULL) {
            load_die("no TLS");
        }
        SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS
                                  | SSL_MODE_ENABLE_PARTIAL_WRITE
                                  | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    c->ssl = SSL_new(tls);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        load_die("no TLS");
    }
    SSL_set_connect_state(c->ssl);
}

bool
load_connect(struct load_conn *c, int epfd)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t) load_opts.port) };
    int on = 1;

    if (inet_pton(AF_INET, load_opts.host, &a.sin_addr) != 1) {
        load_die("%s: not an IPv4 address", load_opts.host);
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        load_die("socket: %s", strerror(errno));
    }
    bind_source(c->fd, c->number);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (struct sockaddr *) &a, sizeof(a)) != 0
        && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    if (load_opts.tls) {
        make_tls(c);
    }
    c->up = c->asked = c->ended = false;
    c->upgraded = !load_opts.ws;
    c->outpos = c->outlen = c->inpos = c->inlen = 0;
    if (load_opts.ws) {
        put_upgrade(c);
    }
    c->want_out = true;
    watch(c, epfd, EPOLL_CTL_ADD, true);
    return true;
}

void
load_close(struct load_conn *c)
{
    if (c->ssl != NULL) {
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    c->up = false;
    c->outpos = c->outlen = c->inpos = c->inlen = 0;
    load_trim(c);
}

/* ---- writing ---- */

/* Client's frames are masked (RFC 6455, 5.3). */
static void
put_frame(struct load_conn *c, const char *msg, size_t n)
{
    static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    uint8_t head[8] = { 0x81, (uint8_t) (0x80 | n) };
    size_t len = 2;
    char *p;

    if (n > 125) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t) (n >> 8);
        head[3] = (uint8_t) n;
        len = 4;
    }
    memcpy(head + len, mask, 4);
    put_raw(c, head, len + 4);
    p = room(&c->out, &c->outpos, &c->outlen, &c->outcap, n);
    for (size_t i = 0; i < n; i++) {
        p[i] = (char) ((uint8_t) msg[i] ^ mask[i & 3]);
    }
    c->outlen += n;
}

void
load_put(struct load_conn *c, const char *msg, size_t n)
{
    if (load_opts.ws) {
        put_frame(c, msg, n);
        return;
    }
    put_raw(c, msg, n);
    put_raw(c, "\n", 1);
}

/* Bytes moved; 0: would block; -1: broken. */
static ssize_t
tls_result(struct load_conn *c, int n)
{
    int e;

    if (n > 0) {
        return n;
    }
    e = SSL_get_error(c->ssl, n);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t
write_some(struct load_conn *c)
{
    size_t n = c->outlen - c->outpos;
    ssize_t k;

    if (c->ssl != NULL) {
        return tls_result(c, SSL_write(c->ssl, c->out + c->outpos,
                                       (int) (n < READ_SIZE ? n : READ_SIZE)));
    }
    k = send(c->fd, c->out + c->outpos, n, MSG_NOSIGNAL);
    return k < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : k;
}

bool
load_flush(struct load_conn *c, int epfd)
{
    int e = 0;
    socklen_t len = sizeof(e);
    bool want;

    if (!c->up) {
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0 || e != 0) {
            return false;
        }
        c->up = true;
    }
    while (c->outpos < c->outlen) {
        ssize_t n = write_some(c);

        if (n < 0) {
            return false;
        }
        if (n == 0) {
            break;
        }
        c->outpos += (size_t) n;
    }
    want = c->outpos < c->outlen && (c->ssl == NULL || !SSL_want_read(c->ssl));
    if (want != c->want_out) {
        c->want_out = want;
        watch(c, epfd, EPOLL_CTL_MOD, want);
    }
    return true;
}

/* ---- reading ---- */

bool
load_fill(struct load_conn *c)
{
    for (;;) {
        char *p = room(&c->in, &c->inpos, &c->inlen, &c->incap, READ_SIZE);
        ssize_t n;

        if (c->ssl != NULL) {
            n = tls_result(c, SSL_read(c->ssl, p, READ_SIZE));
        } else {
            n = recv(c->fd, p, READ_SIZE, 0);
            if (n == 0) {
                return false;
            }
            n = n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
        }
        if (n < 0) {
            return false;
        }
        c->inlen += (size_t) n;
        if (n < READ_SIZE && (c->ssl == NULL || n == 0)) {
            return true;
        }
    }
}

/* The answer to the upgrade, once it is whole. */
static void
read_upgrade(struct load_conn *c)
{
    const char *p = c->in + c->inpos;
    const char *end = memmem(p, c->inlen - c->inpos, "\r\n\r\n", 4);

    if (end == NULL) {
        return;
    }
    if (memcmp(p, "HTTP/1.1 101", 12) != 0) {
        load_die("no WebSocket: %.*s", (int) (end - p), p);
    }
    c->inpos += (size_t) (end + 4 - p);
    c->upgraded = true;
}

static bool
next_frame(struct load_conn *c, const char **msg, size_t *n)
{
    const uint8_t *p = (const uint8_t *) c->in + c->inpos;
    size_t have = c->inlen - c->inpos, head = 2, len;

    if (have < 2) {
        return false;
    }
    len = p[1];
    head += len == 126 ? 2 : len == 127 ? 8 : 0;
    if (have < head) {
        return false;
    }
    for (size_t i = 2, v = 0; i < head; i++) {
        v = v << 8 | p[i];
        len = v;
    }
    if (have - head < len) {
        return false;
    }
    c->inpos += head + len;
    if ((p[0] & 0x0f) == 8) {
        c->ended = true;
        return false;
    }
    *msg = (const char *) p + head;
    *n = len;
    return true;
}

bool
load_next(struct load_conn *c, const char **msg, size_t *n)
{
    const char *p, *end;

    if (c->inpos == c->inlen) {
        return false;
    }
    if (!c->upgraded) {
        read_upgrade(c);
        if (!c->upgraded) {
            return false;
        }
    }
    if (load_opts.ws) {
        return next_frame(c, msg, n);
    }
    p = c->in + c->inpos;
    end = memchr(p, '\n', c->inlen - c->inpos);
    if (end == NULL) {
        return false;
    }
    *msg = p;
    *n = (size_t) (end - p);
    c->inpos += *n + 1;
    return true;
}
