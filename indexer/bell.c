/*
 * The socket thread: workers, frames, deadlines of calls.
 *
 *     accept -> [hello] -> frames in: calls -> pool -> replies out
 *                       -> bell and state frames out
 *
 * Bell and state frames are written only when all before them has left, so
 * that any number of rings to a worker that is slow to read becomes one.
 * Replies are queued; a worker with more than 16 MB of them unread is dropped.
 * A worker is freed after the round of events in which it died, because other
 * events of the round may still point to it.
 */
#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bell_int.h"
#include "lib/exi_bytes.h"
#include "log.h"

#define BELL_TIMEOUT_MS      30000
#define BELL_WORKERS_MAX     1024
#define BELL_UNREAD_MAX      BELL_FRAME_MAX
#define BELL_READ_SIZE       ((size_t) 64 << 10)
#define BELL_KEEP            ((size_t) 256 << 10)
#define BELL_EVENTS          64
#define BELL_ACCEPT_AGAIN_MS 100
#define BELL_HEAD            5 /* length and type of a frame */

#define BELL_FILES           16 /* descriptors on their way to a worker */

/* A descriptor that leaves with the byte at `at` of a worker's output. */
struct bell_file {
    size_t at;
    int fd;
};

struct bell_worker {
    TAILQ_ENTRY(bell_worker) link;
    int fd;
    uint32_t pid;
    bool hello;
    bool dead;
    bool want_state;
    bool want_bell;
    bool polls_out;
    unsigned ncalls;
    struct rpc_buf in;
    struct rpc_buf out;
    size_t sent; /* of out */
    struct bell_file files[BELL_FILES];
    size_t nfiles;
};

struct bell {
    /* socket thread only, once it runs */
    int epoll_fd;
    int listen_fd;
    int wake_fd;
    bool deaf; /* accept() failed: not polled for a moment */
    long call_timeout_ms;
    TAILQ_HEAD(, bell_worker) workers;
    unsigned nworkers;
    struct bell_call_list calls; /* not answered, by deadline */
    struct rpc_buf state;        /* last state, JSON */
    uint64_t instance;
    uint64_t seq;
    bool rung;
    char *path;
    dev_t dev; /* of our socket: only that one is removed */
    ino_t ino;

    struct bell_pool *pool;
    struct blockpos *files;
    pthread_t thread;
    bool started;
    atomic_uint hellos;
    atomic_bool stop;

    pthread_mutex_t mutex; /* guards what the other threads leave: */
    uint64_t new_instance;
    uint64_t new_seq;
    bool new_ring;
    struct rpc_buf new_state;
    bool has_new_state;
};

static int64_t
bell_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
bell_wake(struct bell *b)
{
    const uint64_t one = 1;

    if (write(b->wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: it is awake */
    }
}

/* ---- frames out ---- */

static void
bell_watch(struct bell *b, struct bell_worker *w, bool out)
{
    struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0),
                              .data.ptr = w };

    if (w->polls_out != out) {
        w->polls_out = out;
        epoll_ctl(b->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev);
    }
}

/* Sends up to n bytes, with a descriptor if fd is not -1. */
static ssize_t
bell_send(const struct bell_worker *w, size_t n, int fd)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { w->out.data + w->sent, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct cmsghdr *c;

    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.buf;
        msg.msg_controllen = sizeof(control.buf);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(w->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The next piece of output: up to where a descriptor is due, or with it. */
static ssize_t
bell_send_piece(struct bell_worker *w)
{
    const struct bell_file *f = w->files;
    size_t n = w->out.len - w->sent;
    ssize_t sent;

    if (w->nfiles == 0) {
        return bell_send(w, n, -1);
    }
    if (f->at > w->sent) {
        return bell_send(w, f->at - w->sent, -1);
    }
    if (w->nfiles > 1) {
        n = f[1].at - w->sent;
    }
    sent = bell_send(w, n, f->fd);
    if (sent > 0) {
        close(f->fd);
        w->nfiles--;
        memmove(w->files, w->files + 1, w->nfiles * sizeof(*f));
    }
    return sent;
}

/* Sends what can be sent now. */
static void
bell_flush_out(struct bell *b, struct bell_worker *w)
{
    while (!w->dead && w->sent < w->out.len) {
        ssize_t n = bell_send_piece(w);

        if (n > 0) {
            w->sent += (size_t) n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            w->dead = true;
        }
    }
    if (w->sent == w->out.len) {
        w->sent = w->out.len = 0;
        if (w->out.cap > BELL_KEEP) {
            rpc_buf_free(&w->out);
        }
    } else if (w->sent > w->out.len / 2) {
        w->out.len -= w->sent;
        memmove(w->out.data, w->out.data + w->sent, w->out.len);
        for (size_t i = 0; i < w->nfiles; i++) {
            w->files[i].at -= w->sent;
        }
        w->sent = 0;
    }
    bell_watch(b, w, w->out.len > 0);
}

/* Queues a frame made of two parts. */
static void
bell_frame(struct bell_worker *w, char type, const void *head, size_t headlen,
           const void *body, size_t bodylen)
{
    uint8_t start[BELL_HEAD];

    if (w->dead) {
        return;
    }
    if (w->out.len - w->sent > BELL_UNREAD_MAX) {
        log_warn("bell", "worker %u does not read what it asked for, dropped",
                 w->pid);
        w->dead = true;
        return;
    }
    exi_put_le32(start, (uint32_t) (1 + headlen + bodylen));
    start[4] = (uint8_t) type;
    if (rpc_buf_room(&w->out, sizeof(start) + headlen + bodylen) != EXI_OK
        || rpc_buf_add(&w->out, start, sizeof(start)) != EXI_OK
        || rpc_buf_add(&w->out, head, headlen) != EXI_OK
        || rpc_buf_add(&w->out, body, bodylen) != EXI_OK) {
        w->dead = true; /* out of memory */
    }
}

static void
bell_frame_ring(struct bell *b, struct bell_worker *w)
{
    uint8_t body[16];

    exi_put_le64(body, b->instance);
    exi_put_le64(body + 8, b->seq);
    bell_frame(w, 'B', NULL, 0, body, sizeof(body));
}

/* Sends, and adds state and bell when nothing else waits. */
static void
bell_pump(struct bell *b, struct bell_worker *w)
{
    bell_flush_out(b, w);
    if (w->dead || !w->hello || w->out.len > 0) {
        return;
    }
    if (w->want_state) {
        w->want_state = false;
        bell_frame(w, 'S', NULL, 0, b->state.data, b->state.len);
    }
    if (w->want_bell) {
        w->want_bell = false;
        bell_frame_ring(b, w);
    }
    if (w->out.len > 0) {
        bell_flush_out(b, w);
    }
}

/* ---- calls ---- */

static void
bell_reply(struct bell_worker *w, uint64_t id, bool failed, const void *json,
           size_t len)
{
    uint8_t head[9];

    exi_put_le64(head, id);
    head[8] = failed;
    bell_frame(w, 'R', head, sizeof(head), json, len);
}

/* Answers a call; nobody waits for it any more. */
static void
bell_answer(struct bell *b, struct bell_call *c)
{
    struct bell_worker *w = c->worker;

    if (w == NULL) {
        return;
    }
    if (c->out.len > BELL_FRAME_MAX - 10) {
        bell_call_fail(c, BELL_CODE_DAEMON, "the answer is too long");
    }
    bell_reply(w, c->id, c->failed, c->out.data, c->out.len);
    TAILQ_REMOVE(&b->calls, c, all);
    w->ncalls--;
    c->worker = NULL;
}

/* An error without a call: id is the worker's. */
static void
bell_reply_error(struct bell_worker *w, uint64_t id, int code,
                 const char *message)
{
    struct bell_call c = { .id = id };

    bell_call_fail(&c, code, message);
    bell_reply(w, id, true, c.out.data, c.out.len);
    rpc_buf_free(&c.out);
}

static void
bell_on_call(struct bell *b, struct bell_worker *w, struct exi_rd *rd)
{
    uint64_t id = exi_rd_le64(rd);
    size_t namelen = exi_rd_u8(rd);
    const uint8_t *name = exi_rd_bytes(rd, namelen);
    struct bell_call *c;

    if (rd->bad) {
        log_warn("bell", "worker %u sends a malformed call, dropped", w->pid);
        w->dead = true;
        return;
    }
    c = w->ncalls < BELL_WORKER_CALLS
            ? bell_call_new(name, namelen, rd->p, exi_rd_left(rd))
            : NULL;
    if (c == NULL || !bell_pool_put(b->pool, c)) {
        bell_call_free(c);
        bell_reply_error(w, id, BELL_CODE_BUSY, "server busy");
        return;
    }
    /* A thread may have it by now: only our own fields are touched. */
    c->worker = w;
    c->id = id;
    c->deadline_ms = bell_now_ms() + b->call_timeout_ms;
    TAILQ_INSERT_TAIL(&b->calls, c, all);
    w->ncalls++;
}

static void
bell_collect(struct bell *b)
{
    struct bell_call *c;

    while ((c = bell_pool_done(b->pool)) != NULL) {
        struct bell_worker *w = c->worker;

        bell_answer(b, c);
        bell_call_free(c);
        if (w != NULL) {
            bell_pump(b, w);
        }
    }
}

/* Ends calls whose time is over; returns ms until the next, -1: none. */
static int
bell_expire(struct bell *b)
{
    int64_t now = bell_now_ms();
    struct bell_call *c;

    while ((c = TAILQ_FIRST(&b->calls)) != NULL && c->deadline_ms <= now) {
        struct bell_worker *w = c->worker;

        bell_reply_error(w, c->id, BELL_CODE_DAEMON,
                         "the node did not answer in time");
        TAILQ_REMOVE(&b->calls, c, all);
        w->ncalls--;
        c->worker = NULL;
        if (!bell_call_keep(c) && bell_pool_withdraw(b->pool, c)) {
            bell_call_free(c);
        }
        bell_pump(b, w);
    }
    return c == NULL ? -1 : (int) (c->deadline_ms - now);
}

/* ---- block files ---- */

/* Answers with the file's number, its key and, if it could be opened, its
 * descriptor. */
static void
bell_on_file(struct bell *b, struct bell_worker *w, struct exi_rd *rd)
{
    uint8_t body[4 + 1 + BLOCKPOS_KEY] = { 0 };
    uint32_t number = exi_rd_le32(rd);
    size_t at = w->out.len;
    int fd = -1;

    if (rd->bad) {
        log_warn("bell", "worker %u sends a malformed frame, dropped", w->pid);
        w->dead = true;
        return;
    }
    if (w->nfiles < BELL_FILES) {
        fd = blockpos_file(b->files, number, body + 5);
    }
    exi_put_le32(body, number);
    body[4] = fd >= 0;
    bell_frame(w, 'F', NULL, 0, body, sizeof(body));
    if (fd >= 0 && w->dead) {
        close(fd);
    } else if (fd >= 0) {
        w->files[w->nfiles++] = (struct bell_file){ at, fd };
    }
}

/* ---- workers ---- */

static void
bell_on_hello(struct bell *b, struct bell_worker *w, struct exi_rd *rd)
{
    uint32_t protocol = exi_rd_le32(rd);

    w->pid = exi_rd_le32(rd);
    if (rd->bad || w->hello || protocol != BELL_PROTOCOL) {
        log_warn("bell", "worker %u speaks protocol %u, not %d, dropped",
                 w->pid, protocol, BELL_PROTOCOL);
        w->dead = true;
        return;
    }
    w->hello = true;
    w->want_state = b->state.len > 0;
    w->want_bell = b->rung;
    atomic_fetch_add(&b->hellos, 1);
    log_debug("bell", "worker %u is here", w->pid);
}

static void
bell_on_frame(struct bell *b, struct bell_worker *w, const uint8_t *frame,
              size_t len)
{
    struct exi_rd rd = exi_rd(frame + 1, len - 1);

    if (frame[0] == 'H') {
        bell_on_hello(b, w, &rd);
    } else if (frame[0] == 'C' && w->hello) {
        bell_on_call(b, w, &rd);
    } else if (frame[0] == 'F' && w->hello) {
        bell_on_file(b, w, &rd);
    } else {
        log_warn("bell", "worker %u sends a frame that is not known, dropped",
                 w->pid);
        w->dead = true;
    }
}

/* Takes whole frames from the buffer. */
static void
bell_parse(struct bell *b, struct bell_worker *w)
{
    size_t at = 0;

    while (!w->dead && w->in.len - at >= 4) {
        size_t len = exi_le32(w->in.data + at);

        if (len < 1 || len > BELL_FRAME_MAX) {
            log_warn("bell", "worker %u sends a frame of %zu bytes, dropped",
                     w->pid, len);
            w->dead = true;
        } else if (w->in.len - at - 4 < len) {
            break;
        } else {
            bell_on_frame(b, w, w->in.data + at + 4, len);
            at += 4 + len;
        }
    }
    w->in.len -= at;
    if (w->in.len > 0 && at > 0) {
        memmove(w->in.data, w->in.data + at, w->in.len);
    } else if (w->in.len == 0 && w->in.cap > BELL_KEEP) {
        rpc_buf_free(&w->in);
    }
}

static void
bell_on_input(struct bell *b, struct bell_worker *w)
{
    ssize_t n;

    if (rpc_buf_room(&w->in, BELL_READ_SIZE) != EXI_OK) {
        w->dead = true;
        return;
    }
    n = recv(w->fd, w->in.data + w->in.len, w->in.cap - w->in.len,
             MSG_DONTWAIT);
    if (n > 0) {
        w->in.len += (size_t) n;
        bell_parse(b, w);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        w->dead = true;
    }
}

static void
bell_worker_free(struct bell *b, struct bell_worker *w)
{
    struct bell_call *c = TAILQ_FIRST(&b->calls);

    while (c != NULL) {
        struct bell_call *next = TAILQ_NEXT(c, all);

        if (c->worker == w) {
            TAILQ_REMOVE(&b->calls, c, all);
            c->worker = NULL;
            if (!bell_call_keep(c) && bell_pool_withdraw(b->pool, c)) {
                bell_call_free(c);
            }
        }
        c = next;
    }
    if (w->hello) {
        atomic_fetch_sub(&b->hellos, 1);
        log_debug("bell", "worker %u is gone", w->pid);
    }
    TAILQ_REMOVE(&b->workers, w, link);
    b->nworkers--;
    while (w->nfiles > 0) {
        close(w->files[--w->nfiles].fd);
    }
    close(w->fd);
    rpc_buf_free(&w->in);
    rpc_buf_free(&w->out);
    free(w);
}

static void
bell_bury(struct bell *b)
{
    struct bell_worker *w = TAILQ_FIRST(&b->workers);

    while (w != NULL) {
        struct bell_worker *next = TAILQ_NEXT(w, link);

        if (w->dead) {
            bell_worker_free(b, w);
        }
        w = next;
    }
}

static void
bell_admit(struct bell *b, int fd)
{
    struct bell_worker *w = NULL;
    struct epoll_event ev = { .events = EPOLLIN };

    if (b->nworkers < BELL_WORKERS_MAX) {
        w = calloc(1, sizeof(*w));
    }
    ev.data.ptr = w;
    if (w == NULL || epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        log_warn("bell", "a worker was turned away: %u are connected",
                 b->nworkers);
        free(w);
        close(fd);
        return;
    }
    w->fd = fd;
    TAILQ_INSERT_TAIL(&b->workers, w, link);
    b->nworkers++;
}

static void
bell_listen(struct bell *b, bool on)
{
    struct epoll_event ev = { .events = on ? EPOLLIN : 0,
                              .data.ptr = &b->listen_fd };

    b->deaf = !on;
    epoll_ctl(b->epoll_fd, EPOLL_CTL_MOD, b->listen_fd, &ev);
}

static void
bell_accept(struct bell *b)
{
    int fd = accept4(b->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        bell_admit(b, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        log_warn("bell", "accept: %s", strerror(errno));
        bell_listen(b, false); /* no descriptors: not in a tight loop */
    }
}

/* ---- the thread ---- */

/* Takes what bell_ring() and bell_state() left. */
static void
bell_take_news(struct bell *b)
{
    struct bell_worker *w;
    uint64_t count;
    bool ring, state;

    if (read(b->wake_fd, &count, sizeof(count)) < 0) {
        /* nothing there: fine */
    }
    pthread_mutex_lock(&b->mutex);
    ring = b->new_ring;
    state = b->has_new_state;
    b->new_ring = b->has_new_state = false;
    if (ring) {
        b->instance = b->new_instance;
        b->seq = b->new_seq;
        b->rung = true;
    }
    if (state) {
        struct rpc_buf old = b->state;

        b->state = b->new_state;
        b->new_state = old;
    }
    pthread_mutex_unlock(&b->mutex);
    TAILQ_FOREACH(w, &b->workers, link)
    {
        w->want_bell |= ring && w->hello;
        w->want_state |= state && w->hello;
        bell_pump(b, w);
    }
}

static void
bell_on_event(struct bell *b, const struct epoll_event *ev)
{
    struct bell_worker *w;

    if (ev->data.ptr == &b->listen_fd) {
        bell_accept(b);
    } else if (ev->data.ptr == &b->wake_fd) {
        bell_take_news(b);
        bell_collect(b);
    } else {
        w = (struct bell_worker *) ev->data.ptr;
        if (!w->dead && (ev->events & ~(uint32_t) EPOLLOUT) != 0) {
            bell_on_input(b, w);
        }
        if (!w->dead) {
            bell_pump(b, w);
        }
    }
}

static void *
bell_thread(void *arg)
{
    struct bell *b = (struct bell *) arg;
    struct epoll_event events[BELL_EVENTS];

    while (!atomic_load(&b->stop)) {
        int wait_ms = bell_expire(b);
        int n;

        bell_bury(b);
        if (b->deaf && (wait_ms < 0 || wait_ms > BELL_ACCEPT_AGAIN_MS)) {
            wait_ms = BELL_ACCEPT_AGAIN_MS;
        }
        n = epoll_wait(b->epoll_fd, events, BELL_EVENTS, wait_ms);
        if (b->deaf) {
            bell_listen(b, true);
        }
        for (int i = 0; i < n; i++) {
            bell_on_event(b, &events[i]);
        }
        bell_bury(b);
    }
    return NULL;
}

/* ---- start and stop ---- */

static int __attribute__((format(printf, 3, 4)))
bell_why(char *why, size_t whylen, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, whylen, fmt, ap);
    va_end(ap);
    return EXI_EIO;
}

/*
 * Bound under another name and renamed: the socket is never there with other
 * permissions, and one of a dead indexer is replaced at once.
 */
static int
bell_bind(struct bell *b, const struct bell_opts *o, char *why, size_t whylen)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct stat st;
    int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s.new", o->path);

    if (n < 0 || (size_t) n >= sizeof(a.sun_path)) {
        return bell_why(why, whylen,
                        "the name %s is too long for a socket: at most %zu "
                        "bytes",
                        o->path, sizeof(a.sun_path) - 5);
    }
    if (lstat(o->path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        return bell_why(why, whylen, "%s is there and not a socket", o->path);
    }
    b->listen_fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(a.sun_path);
    if (b->listen_fd < 0
        || bind(b->listen_fd, (struct sockaddr *) &a, sizeof(a)) != 0
        || chmod(a.sun_path, o->mode) != 0
        || listen(b->listen_fd, SOMAXCONN) != 0 || lstat(a.sun_path, &st) != 0
        || rename(a.sun_path, o->path) != 0) {
        n = errno;
        unlink(a.sun_path);
        return bell_why(why, whylen, "cannot make the socket %s: %s", o->path,
                        strerror(n));
    }
    b->dev = st.st_dev;
    b->ino = st.st_ino;
    b->path = strdup(o->path);
    return b->path != NULL ? EXI_OK : bell_why(why, whylen, "out of memory");
}

static int
bell_epoll(struct bell *b, char *why, size_t whylen)
{
    struct epoll_event listening = { .events = EPOLLIN,
                                     .data.ptr = &b->listen_fd };
    struct epoll_event waking = { .events = EPOLLIN, .data.ptr = &b->wake_fd };

    b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->epoll_fd < 0 || b->wake_fd < 0
        || epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->listen_fd, &listening) != 0
        || epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->wake_fd, &waking) != 0) {
        return bell_why(why, whylen, "epoll: %s", strerror(errno));
    }
    return EXI_OK;
}

static int
bell_run(struct bell *b, char *why, size_t whylen)
{
    sigset_t all, old;
    int err;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&b->thread, NULL, bell_thread, b);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    b->started = err == 0;
    return err == 0 ? EXI_OK
                    : bell_why(why, whylen, "cannot start a thread: %s",
                               strerror(err));
}

int
bell_start(struct bell **out, const struct bell_opts *o, char *why,
           size_t whylen)
{
    struct bell *b = calloc(1, sizeof(*b));
    int rc;

    if (b == NULL) {
        bell_why(why, whylen, "out of memory");
        return EXI_ENOMEM;
    }
    b->epoll_fd = b->listen_fd = b->wake_fd = -1;
    b->call_timeout_ms =
        o->call_timeout_ms > 0 ? o->call_timeout_ms : BELL_TIMEOUT_MS;
    b->files = o->files;
    TAILQ_INIT(&b->workers);
    TAILQ_INIT(&b->calls);
    pthread_mutex_init(&b->mutex, NULL);
    rc = bell_bind(b, o, why, whylen);
    if (rc == EXI_OK) {
        rc = bell_epoll(b, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = bell_pool_start(&b->pool, o, b->wake_fd, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = bell_run(b, why, whylen);
    }
    if (rc != EXI_OK) {
        bell_stop(b);
        return rc;
    }
    *out = b;
    return EXI_OK;
}

static void
bell_remove_socket(struct bell *b)
{
    struct stat st;

    if (b->path != NULL && lstat(b->path, &st) == 0 && st.st_dev == b->dev
        && st.st_ino == b->ino) {
        unlink(b->path);
    }
    free(b->path);
}

static void
bell_close(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void
bell_stop(struct bell *b)
{
    struct bell_worker *w;

    if (b == NULL) {
        return;
    }
    atomic_store(&b->stop, true);
    if (b->started) {
        bell_wake(b);
        pthread_join(b->thread, NULL);
    }
    while ((w = TAILQ_FIRST(&b->workers)) != NULL) {
        bell_worker_free(b, w);
    }
    bell_pool_stop(b->pool); /* frees the calls */
    bell_remove_socket(b);
    bell_close(b->listen_fd);
    bell_close(b->epoll_fd);
    bell_close(b->wake_fd);
    rpc_buf_free(&b->state);
    rpc_buf_free(&b->new_state);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

/* ---- for the other threads ---- */

void
bell_ring(struct bell *b, uint64_t instance, uint64_t seq)
{
    pthread_mutex_lock(&b->mutex);
    b->new_instance = instance;
    b->new_seq = seq;
    b->new_ring = true;
    pthread_mutex_unlock(&b->mutex);
    bell_wake(b);
}

void
bell_state(struct bell *b, const char *json, size_t len)
{
    pthread_mutex_lock(&b->mutex);
    b->new_state.len = 0;
    b->has_new_state =
        len < BELL_FRAME_MAX && rpc_buf_add(&b->new_state, json, len) == EXI_OK;
    pthread_mutex_unlock(&b->mutex);
    bell_wake(b);
}

void
bell_flush(struct bell *b)
{
    bell_fees_flush(bell_pool_fees(b->pool));
}

unsigned
bell_workers(struct bell *b)
{
    return atomic_load(&b->hellos);
}
