/*
 * What is to be sent to one worker: a buffer of frames, and descriptors of
 * block files that leave with the first byte of their frames (SCM_RIGHTS).
 */
#include "bell_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/exi_bytes.h"

#define BELL_HEAD 5 /* length and type of a frame */

int
bell_out_frame(struct bell_out *o, char type, const void *head, size_t headlen,
               const void *body, size_t bodylen)
{
    uint8_t start[BELL_HEAD];

    exi_put_le32(start, (uint32_t) (1 + headlen + bodylen));
    start[4] = (uint8_t) type;
    if (rpc_buf_room(&o->buf, sizeof(start) + headlen + bodylen) != EXI_OK
        || rpc_buf_add(&o->buf, start, sizeof(start)) != EXI_OK
        || rpc_buf_add(&o->buf, head, headlen) != EXI_OK) {
        return EXI_ENOMEM;
    }
    return rpc_buf_add(&o->buf, body, bodylen);
}

size_t
bell_out_end(const struct bell_out *o)
{
    return o->buf.len;
}

bool
bell_out_may_pass(const struct bell_out *o)
{
    return o->nfiles < BELL_FILES;
}

void
bell_out_pass(struct bell_out *o, size_t at, int fd)
{
    o->files[o->nfiles++] = (struct bell_file){ at, fd };
}

size_t
bell_out_unsent(const struct bell_out *o)
{
    return o->buf.len - o->sent;
}

/* Sends up to n bytes, with a descriptor if fd is not -1. */
static ssize_t
send_bytes(const struct bell_out *o, int to, size_t n, int fd)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { o->buf.data + o->sent, n };
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
    return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The next piece: up to where a descriptor is due, or with it. */
static ssize_t
send_piece(struct bell_out *o, int to)
{
    const struct bell_file *f = o->files;
    size_t n = bell_out_unsent(o);
    ssize_t sent;

    if (o->nfiles == 0) {
        return send_bytes(o, to, n, -1);
    }
    if (f->at > o->sent) {
        return send_bytes(o, to, f->at - o->sent, -1);
    }
    if (o->nfiles > 1) {
        n = f[1].at - o->sent;
    }
    sent = send_bytes(o, to, n, f->fd);
    if (sent > 0) {
        close(f->fd);
        o->nfiles--;
        memmove(o->files, o->files + 1, o->nfiles * sizeof(*f));
    }
    return sent;
}

/* Moves what is unsent to the front when that is the smaller part. */
static void
compact(struct bell_out *o)
{
    if (o->sent == o->buf.len) {
        o->sent = o->buf.len = 0;
        if (o->buf.cap > BELL_KEEP) {
            rpc_buf_free(&o->buf);
        }
    } else if (o->sent > o->buf.len / 2) {
        o->buf.len -= o->sent;
        memmove(o->buf.data, o->buf.data + o->sent, o->buf.len);
        for (size_t i = 0; i < o->nfiles; i++) {
            o->files[i].at -= o->sent;
        }
        o->sent = 0;
    }
}

int
bell_out_flush(struct bell_out *o, int fd)
{
    int rc = EXI_OK;

    while (o->sent < o->buf.len) {
        ssize_t n = send_piece(o, fd);

        if (n > 0) {
            o->sent += (size_t) n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            rc = n < 0 && errno == EAGAIN ? EXI_OK : EXI_EIO;
            break;
        }
    }
    compact(o);
    return rc;
}

void
bell_out_free(struct bell_out *o)
{
    while (o->nfiles > 0) {
        close(o->files[--o->nfiles].fd);
    }
    rpc_buf_free(&o->buf);
}
