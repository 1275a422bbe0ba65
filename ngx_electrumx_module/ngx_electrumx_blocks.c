/*
 * Settled transactions out of the node's block files.
 *
 * DATA/blockpos says where a block lies, the index where the transaction is in
 * it; the file's descriptor comes from the indexer over its socket, because
 * the node's folder is closed to others (docs/index-format.md, sections 7, 9).
 * Only what is in the page cache is read, so nothing blocks here; and what was
 * read counts only if it has the txid asked for.  In every other case, as no
 * files, no position, not in memory, another node's files: the node is asked.
 */

#include "ngx_electrumx.h"
#include "exi_tx.h"

#include <sys/resource.h>
#include <sys/uio.h>


#define NGX_ELECTRUMX_RAW_MAX      131072   /* longest one read here */
#define NGX_ELECTRUMX_FILES_MIN    16
#define NGX_ELECTRUMX_FILES_MAX    4096
#define NGX_ELECTRUMX_FDS          16       /* received, not yet named */
#define NGX_ELECTRUMX_FILE_RETRY   10000    /* ms */
#define NGX_ELECTRUMX_KEY          8


/* One of the block files, by number modulo the slots. */

typedef struct {
    uint32_t                  number;
    int                       fd;           /* -1: asked for, or not there */
    ngx_msec_t                asked;
    ngx_uint_t                used;
    u_char                    key[NGX_ELECTRUMX_KEY];
} ngx_electrumx_file_t;


struct ngx_electrumx_blocks_s {
    int                       positions;    /* DATA/blockpos, or -1 */
    time_t                    tried;        /* to open it */
    ngx_electrumx_file_t     *files;
    uint32_t                  mask;         /* number of slots - 1 */
    int                       fds[NGX_ELECTRUMX_FDS];
    ngx_uint_t                nfds;
    u_char                    raw[NGX_ELECTRUMX_RAW_MAX];
};


static uint32_t ngx_electrumx_blocks_slots(void);
static ngx_int_t ngx_electrumx_blocks_take(ngx_electrumx_blocks_t *b,
    struct msghdr *msg);
static ngx_int_t ngx_electrumx_blocks_place(ngx_electrumx_index_t *index,
    uint32_t height, uint32_t *number, uint64_t *offset);
static ngx_electrumx_file_t *ngx_electrumx_blocks_file(
    ngx_electrumx_index_t *index, uint32_t number);
static ngx_int_t ngx_electrumx_blocks_read(int fd, u_char *p, size_t len,
    uint64_t offset);
static void ngx_electrumx_blocks_plain(const u_char *key, u_char *p,
    size_t len, uint64_t offset);


ngx_int_t
ngx_electrumx_blocks_init(ngx_electrumx_index_t *index, ngx_cycle_t *cycle)
{
    ngx_electrumx_blocks_t  *b;

    b = ngx_pcalloc(cycle->pool, sizeof(ngx_electrumx_blocks_t));
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->positions = -1;
    b->mask = ngx_electrumx_blocks_slots() - 1;

    b->files = ngx_pcalloc(cycle->pool,
                           (b->mask + 1) * sizeof(ngx_electrumx_file_t));
    if (b->files == NULL) {
        return NGX_ERROR;
    }

    index->blocks = b;

    return NGX_OK;
}


/* At most an eighth of the descriptors a worker may have; a power of two. */

static uint32_t
ngx_electrumx_blocks_slots(void)
{
    uint32_t       n;
    struct rlimit  lim;

    n = NGX_ELECTRUMX_FILES_MIN;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        while (n < NGX_ELECTRUMX_FILES_MAX && n * 2 <= lim.rlim_cur / 8) {
            n *= 2;
        }
    }

    return n;
}


void
ngx_electrumx_blocks_reset(ngx_electrumx_index_t *index)
{
    uint32_t                 i;
    ngx_electrumx_blocks_t  *b;

    b = index->blocks;

    if (b == NULL) {
        return;
    }

    while (b->nfds) {
        (void) close(b->fds[--b->nfds]);
    }

    for (i = 0; i <= b->mask; i++) {

        if (b->files[i].used && b->files[i].fd != -1) {
            (void) close(b->files[i].fd);
        }

        b->files[i].used = 0;
    }

    if (b->positions != -1) {
        (void) close(b->positions);
        b->positions = -1;
    }

    b->tried = 0;
}


void
ngx_electrumx_blocks_done(ngx_electrumx_index_t *index)
{
    ngx_electrumx_blocks_reset(index);
    index->blocks = NULL;
}


/* receiving */

ssize_t
ngx_electrumx_blocks_recv(ngx_electrumx_index_t *index, ngx_connection_t *c,
    u_char *buf, size_t size)
{
    ssize_t        n;
    ngx_err_t      err;
    struct iovec   iov;
    struct msghdr  msg;

    union {
        char            buf[CMSG_SPACE(NGX_ELECTRUMX_FDS * sizeof(int))];
        struct cmsghdr  align;
    } control;

    ngx_memzero(&msg, sizeof(struct msghdr));

    iov.iov_base = buf;
    iov.iov_len = size;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.buf;
    msg.msg_controllen = sizeof(control.buf);

    do {
        n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
        err = (n == -1) ? ngx_socket_errno : 0;
    } while (err == NGX_EINTR);

    if (n > 0) {

        /* a short read does not mean that there is no more: the kernel stops
           behind each descriptor */

        return ngx_electrumx_blocks_take(index->blocks, &msg) == NGX_OK
               ? n : NGX_ERROR;
    }

    c->read->ready = 0;

    if (n == 0) {
        c->read->eof = 1;
        return 0;
    }

    if (err == NGX_EAGAIN) {
        return NGX_AGAIN;
    }

    c->read->error = 1;

    return NGX_ERROR;
}


/* Descriptors come in the order of the frames that name them. */

static ngx_int_t
ngx_electrumx_blocks_take(ngx_electrumx_blocks_t *b, struct msghdr *msg)
{
    int              fd;
    size_t           i, n;
    ngx_int_t        rc;
    struct cmsghdr  *c;

    rc = (msg->msg_flags & MSG_CTRUNC) ? NGX_ERROR : NGX_OK;

    for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }

        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (i = 0; i < n; i++) {
            ngx_memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));

            if (b == NULL || b->nfds == NGX_ELECTRUMX_FDS) {
                (void) close(fd);
                rc = NGX_ERROR;
                continue;
            }

            b->fds[b->nfds++] = fd;
        }
    }

    return rc;
}


/* 4 number, 1 whether there is a descriptor, 8 key. */

ngx_int_t
ngx_electrumx_blocks_frame(ngx_electrumx_index_t *index, u_char *p, size_t len)
{
    int                      fd;
    uint32_t                 number;
    ngx_electrumx_file_t    *f;
    ngx_electrumx_blocks_t  *b;

    b = index->blocks;

    if (b == NULL || len != 4 + 1 + NGX_ELECTRUMX_KEY || p[4] > 1) {
        return NGX_ERROR;
    }

    if (p[4] == 0) {
        return NGX_OK;
    }

    if (b->nfds == 0) {
        return NGX_ERROR;
    }

    fd = b->fds[0];
    b->nfds--;
    ngx_memmove(b->fds, b->fds + 1, b->nfds * sizeof(int));

    number = p[0] | p[1] << 8 | p[2] << 16 | (uint32_t) p[3] << 24;
    f = &b->files[number & b->mask];

    if (!f->used || f->number != number || f->fd != -1) {
        (void) close(fd);
        return NGX_OK;
    }

    f->fd = fd;
    ngx_memcpy(f->key, p + 5, NGX_ELECTRUMX_KEY);

    return NGX_OK;
}


/* reading */

ngx_int_t
ngx_electrumx_blocks_tx(ngx_electrumx_index_t *index,
    const struct exi_txid *txid, const struct exi_txpos *pos, u_char **raw)
{
    uint32_t                 number;
    uint64_t                 offset;
    struct exi_tx            tx;
    struct exi_txid          id;
    ngx_electrumx_file_t    *f;
    ngx_electrumx_blocks_t  *b;

    b = index->blocks;

    if (b == NULL || pos->live || pos->size > NGX_ELECTRUMX_RAW_MAX
        || ngx_electrumx_blocks_place(index, (uint32_t) pos->height, &number,
                                      &offset)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    f = ngx_electrumx_blocks_file(index, number);

    if (f == NULL) {
        return NGX_DECLINED;
    }

    offset += pos->offset;

    if (ngx_electrumx_blocks_read(f->fd, b->raw, pos->size, offset) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ngx_electrumx_blocks_plain(f->key, b->raw, pos->size, offset);

    if (exi_tx_parse_whole(&tx, b->raw, pos->size) != EXI_OK) {
        return NGX_DECLINED;
    }

    exi_tx_id(&id, &tx);

    if (ngx_memcmp(id.b, txid->b, EXI_HASH_LEN) != 0) {
        return NGX_DECLINED;
    }

    *raw = b->raw;

    return NGX_OK;
}


/* A record of DATA/blockpos: offset of the block, number of the file + 1. */

static ngx_int_t
ngx_electrumx_blocks_place(ngx_electrumx_index_t *index, uint32_t height,
    uint32_t *number, uint64_t *offset)
{
    u_char                   record[8], path[NGX_MAX_PATH];
    uint32_t                 file;
    ngx_electrumx_blocks_t  *b;

    b = index->blocks;

    if (b->positions == -1) {

        if (b->tried == ngx_time()) {
            return NGX_DECLINED;
        }

        b->tried = ngx_time();

        (void) ngx_snprintf(path, sizeof(path), "%V/blockpos%Z",
                            &index->data);
        path[sizeof(path) - 1] = '\0';

        b->positions = open((char *) path, O_RDONLY|O_CLOEXEC);

        if (b->positions == -1) {
            return NGX_DECLINED;
        }
    }

    if (ngx_electrumx_blocks_read(b->positions, record, sizeof(record),
                                  (uint64_t) height * sizeof(record))
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    file = exi_le32(record + 4);

    if (file == 0) {
        return NGX_DECLINED;
    }

    *number = file - 1;
    *offset = exi_le32(record);

    return NGX_OK;
}


/* The file, or NULL: it has been asked for. */

static ngx_electrumx_file_t *
ngx_electrumx_blocks_file(ngx_electrumx_index_t *index, uint32_t number)
{
    ngx_electrumx_file_t    *f;
    ngx_electrumx_blocks_t  *b;

    b = index->blocks;
    f = &b->files[number & b->mask];

    if (f->used && f->number == number) {

        if (f->fd != -1) {
            return f;
        }

        if (ngx_current_msec - f->asked < NGX_ELECTRUMX_FILE_RETRY) {
            return NULL;
        }
    }

    if (f->used && f->fd != -1) {
        (void) close(f->fd);
    }

    f->used = 1;
    f->number = number;
    f->fd = -1;
    f->asked = ngx_current_msec;

    (void) ngx_electrumx_indexer_file(index, number);

    return NULL;
}


/* All of it, if it is in memory. */

static ngx_int_t
ngx_electrumx_blocks_read(int fd, u_char *p, size_t len, uint64_t offset)
{
    struct iovec  iov;

    iov.iov_base = p;
    iov.iov_len = len;

    return preadv2(fd, &iov, 1, (off_t) offset, RWF_NOWAIT) == (ssize_t) len
           ? NGX_OK : NGX_DECLINED;
}


/* The node obfuscates its files by the offset in the file. */

static void
ngx_electrumx_blocks_plain(const u_char *key, u_char *p, size_t len,
    uint64_t offset)
{
    size_t    i;
    u_char    turned[NGX_ELECTRUMX_KEY];
    uint64_t  mask, word;

    for (i = 0; i < NGX_ELECTRUMX_KEY; i++) {
        turned[i] = key[(offset + i) % NGX_ELECTRUMX_KEY];
    }

    ngx_memcpy(&mask, turned, 8);

    if (mask == 0) {
        return;
    }

    for (i = 0; i + 8 <= len; i += 8) {
        ngx_memcpy(&word, p + i, 8);
        word ^= mask;
        ngx_memcpy(p + i, &word, 8);
    }

    for ( /* void */ ; i < len; i++) {
        p[i] ^= turned[i % NGX_ELECTRUMX_KEY];
    }
}
