/* Pages in the page cache or not; see the header. */
#include "exi_cold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "exi_recent.h"

#define PIECES 32 /* pages asked for at once */
#define START  16 /* ranges */

struct exi_file {
    atomic_uint refs;
    int fd;
    uint64_t len;
    atomic_bool blind;       /* the file system does not tell */
    struct exi_recent pages; /* that are there */
};

int
exi_file_new(struct exi_file **out, int fd, uint64_t len)
{
    struct exi_file *f = calloc(1, sizeof *f);

    if (f == NULL) {
        close(fd);
        return EXI_ENOMEM;
    }
    /* One missing page is one page to read, not a window of read-ahead. */
    (void) posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    atomic_init(&f->refs, 1);
    f->fd = fd;
    f->len = len;
    exi_recent_init(&f->pages, len / EXI_COLD_PAGE + 1);
    *out = f;
    return EXI_OK;
}

void
exi_file_ref(struct exi_file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void
exi_file_unref(struct exi_file *f)
{
    if (f != NULL && atomic_fetch_sub(&f->refs, 1) == 1) {
        close(f->fd);
        exi_recent_free(&f->pages);
        free(f);
    }
}

uint32_t
exi_cold_now(void)
{
    struct timespec now = { 0, 0 };

    (void) clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint32_t) (now.tv_sec / EXI_COLD_SECONDS) + 2;
}

void
exi_cold_begin(struct exi_cold *c)
{
    while (c->n > 0) {
        exi_file_unref(c->r[--c->n].file);
    }
    c->epoch = exi_cold_now();
}

void
exi_cold_clear(struct exi_cold *c)
{
    while (c->n > 0) {
        exi_file_unref(c->r[--c->n].file);
    }
    free(c->r);
    c->r = NULL;
    c->cap = 0;
}

/*
 * Asking.
 */

/* Asks for the pages of `len` bytes, at most PIECES of them: EXI_OK, EXI_ECOLD,
 * EXI_EIO. */
static int
probe(struct exi_file *f, uint64_t off, uint64_t len)
{
    char scratch[EXI_COLD_PAGE];
    struct iovec iov[PIECES + 1];
    uint64_t left = len;
    ssize_t got;
    int n = 0;

    for (; left > 0; n++) {
        iov[n].iov_base = scratch;
        iov[n].iov_len = left < sizeof scratch ? (size_t) left : sizeof scratch;
        left -= iov[n].iov_len;
    }
    do {
        got = preadv2(f->fd, iov, n, (off_t) off, RWF_NOWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0
        && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        atomic_store(&f->blind, true);
        return EXI_OK;
    }
    if (got < 0) {
        return errno == EAGAIN ? EXI_ECOLD : EXI_EIO;
    }
    return (uint64_t) got == len ? EXI_OK : EXI_ECOLD;
}

/* The same for any number of pages; as few bytes as touch them all are read. */
static int
probe_pages(struct exi_file *f, uint64_t off, uint64_t first, uint64_t last)
{
    int rc = EXI_OK;

    if (first == last) {
        return probe(f, off, 1);
    }
    for (uint64_t p = first; p < last && rc == EXI_OK; p += PIECES) {
        uint64_t to = last - p < PIECES ? last : p + PIECES;
        uint64_t from = (p + 1) * EXI_COLD_PAGE - 1;
        rc = probe(f, from, to * EXI_COLD_PAGE - from + 1);
    }
    return rc;
}

static int
note(struct exi_cold *c, struct exi_file *f, uint64_t off, uint64_t end)
{
    struct exi_cold_range *r = c->n > 0 ? &c->r[c->n - 1] : NULL;

    if (r != NULL && r->file == f && off >= r->off && off <= r->off + r->len) {
        r->len = end > r->off + r->len ? end - r->off : r->len;
        return EXI_ECOLD;
    }
    if (c->n == EXI_COLD_MAX) {
        return EXI_ECOLD;
    }
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : START;
        r = realloc(c->r, cap * sizeof *r);
        if (r == NULL) {
            return c->n > 0 ? EXI_ECOLD : EXI_ENOMEM;
        }
        c->r = r;
        c->cap = cap;
    }
    exi_file_ref(f);
    c->r[c->n++] = (struct exi_cold_range){ f, off, end - off };
    return EXI_ECOLD;
}

void
exi_cold_move(struct exi_cold *to, struct exi_cold *from)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct exi_cold_range *r = &from->r[i];
        (void) note(to, r->file, r->off, r->off + r->len);
    }
    exi_cold_begin(from);
}

int
exi_cold_look(struct exi_cold *c, struct exi_file *f, uint64_t off,
              uint64_t len)
{
    uint64_t first = off / EXI_COLD_PAGE, last, end;
    int rc;

    if (len == 0 || atomic_load_explicit(&f->blind, memory_order_relaxed)) {
        return EXI_OK;
    }
    if (off >= f->len || len > f->len - off) {
        return EXI_EIO;
    }
    last = (off + len - 1) / EXI_COLD_PAGE;
    if (exi_recent_known(&f->pages, c->epoch, first, last)) {
        return EXI_OK;
    }
    rc = probe_pages(f, off, first, last);
    if (rc == EXI_OK) {
        exi_recent_set(&f->pages, c->epoch, first, last);
        return EXI_OK;
    }
    end = (last + 1) * EXI_COLD_PAGE;
    return rc == EXI_ECOLD
               ? note(c, f, first * EXI_COLD_PAGE, end < f->len ? end : f->len)
               : rc;
}

/*
 * Lists.
 */

int
exi_cold_take(struct exi_cold *c, struct exi_cold_list **out)
{
    struct exi_cold_list *l;

    if (c->n == 0) {
        return EXI_ENOTFOUND;
    }
    l = malloc(sizeof *l + c->n * sizeof l->r[0]);
    if (l == NULL) {
        return EXI_ENOMEM;
    }
    l->r = (struct exi_cold_range *) (l + 1);
    l->n = c->n;
    l->bytes = 0;
    memcpy(l->r, c->r, c->n * sizeof l->r[0]);
    for (size_t i = 0; i < l->n; i++) {
        l->bytes += l->r[i].len;
    }
    c->n = 0;
    exi_cold_clear(c);
    *out = l;
    return EXI_OK;
}

static int
read_range(const struct exi_cold_range *r)
{
    char scratch[4 * EXI_COLD_PAGE];
    uint64_t off = r->off, end = r->off + r->len;

    while (off < end) {
        size_t n =
            end - off < sizeof scratch ? (size_t) (end - off) : sizeof scratch;
        ssize_t got = pread(r->file->fd, scratch, n, (off_t) off);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return EXI_EIO;
        }
        off += (uint64_t) got;
    }
    return EXI_OK;
}

int
exi_cold_read(const struct exi_cold_list *l)
{
    int rc = EXI_OK;

    /* all are under way before the first is waited for */
    for (size_t i = 0; i < l->n && l->n > 1; i++) {
        (void) posix_fadvise(l->r[i].file->fd, (off_t) l->r[i].off,
                             (off_t) l->r[i].len, POSIX_FADV_WILLNEED);
    }
    for (size_t i = 0; i < l->n && rc == EXI_OK; i++) {
        rc = read_range(&l->r[i]);
    }
    return rc;
}

void
exi_cold_free(struct exi_cold_list *l)
{
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        exi_file_unref(l->r[i].file);
    }
    free(l);
}
