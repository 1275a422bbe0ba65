/*
 * The node's block files (blkN.dat): where each wanted block lies, and reading
 * runs of them.
 *
 * A record is magic, size (LE32) and the block.  Records lie in the order in
 * which the blocks arrived, stale ones among them, with zeros after the last
 * and, after a crash, garbage between; all bytes are xored with the 8 bytes of
 * xor.dat, by their offset in the file.  The scan reads 88 bytes a record and
 * takes a record for a block only if the header has a wanted hash; where there
 * is no record it looks for the next magic.
 */
#include "source_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_bytes.h"
#include "lib/exi_sha256.h"

#define FILES_HEAD    8 /* magic and size */
#define FILES_THREADS 8
#define FILES_SEEK    ((size_t) 64 << 10)

/* Bytes between two blocks that are read along with them. */
#define FILES_GAP 64

/* ... and between two ranges that the system is told of in one. */
#define FILES_ADVISE_GAP (1 << 20)

/* Positions of the wanted hashes, by open addressing. */
struct files_scan {
    struct source_files *f;
    const struct exi_blkid *hashes;
    size_t n;
    uint32_t magic;
    uint32_t block_max;
    uint32_t first_file;
    uint32_t *table; /* position + 1; 0: free */
    size_t mask;
    uint32_t *numbers; /* of the files, ascending */
    size_t nfiles;
    pthread_mutex_t mutex; /* guards the rest, and f->recs, f->found */
    size_t next;           /* file to be scanned next */
};

/* ---- bytes of a file ---- */

/* Takes the obfuscation off bytes that were at off. */
static void
files_plain(const struct source_files *f, uint8_t *buf, size_t len,
            uint64_t off)
{
    uint8_t turned[8];
    uint64_t key, word;
    size_t i = 0;

    if (!f->obfuscated) {
        return;
    }
    for (size_t k = 0; k < 8; k++) {
        turned[k] = f->key[(off + k) % 8];
    }
    memcpy(&key, turned, 8);
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, buf + i, 8);
        word ^= key;
        memcpy(buf + i, &word, 8);
    }
    for (; i < len; i++) {
        buf[i] ^= turned[i % 8];
    }
}

/* Exactly len bytes at off, plain. */
static int
files_pread(const struct source_files *f, int fd, uint8_t *buf, size_t len,
            uint64_t off)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, buf + done, len - done, (off_t) (off + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return EXI_EIO;
        }
        done += (size_t) n;
    }
    files_plain(f, buf, len, off);
    return EXI_OK;
}

/* An open block file and its size, or -1. */
static int
files_open_file(const struct source_files *f, uint32_t number, uint64_t *size)
{
    char name[32];
    struct stat st;
    int fd;

    snprintf(name, sizeof(name), "blk%05u.dat", number);
    fd = openat(f->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -1;
    }
    *size = (uint64_t) st.st_size;
    return fd;
}

/* ---- the scan ---- */

/* Position of a wanted hash, or n. */
static size_t
files_find(const struct files_scan *c, const struct exi_blkid *hash)
{
    size_t i = (size_t) exi_le64(hash->b) & c->mask;

    for (; c->table[i] != 0; i = (i + 1) & c->mask) {
        size_t pos = c->table[i] - 1;

        if (memcmp(c->hashes[pos].b, hash->b, EXI_HASH_LEN) == 0) {
            return pos;
        }
    }
    return c->n;
}

static int
files_table(struct files_scan *c)
{
    size_t size = 16;

    while (size / 2 < c->n) {
        size *= 2;
    }
    c->mask = size - 1;
    c->table = calloc(size, sizeof(*c->table));
    if (c->table == NULL) {
        return EXI_ENOMEM;
    }
    for (size_t pos = 0; pos < c->n; pos++) {
        size_t i = (size_t) exi_le64(c->hashes[pos].b) & c->mask;

        while (c->table[i] != 0) {
            i = (i + 1) & c->mask;
        }
        c->table[i] = (uint32_t) pos + 1;
    }
    return EXI_OK;
}

/* A record with this header; of several of one block the first counts. */
static void
files_note(struct files_scan *c, const struct source_rec *rec,
           const uint8_t *header)
{
    struct exi_blkid hash;
    struct source_rec *have;
    size_t pos;

    exi_sha256d(hash.b, header, EXI_HEADER_LEN);
    pos = files_find(c, &hash);
    if (pos == c->n) {
        return;
    }
    pthread_mutex_lock(&c->mutex);
    have = &c->f->recs[pos];
    c->f->found += have->len == 0;
    if (have->len == 0 || rec->file < have->file
        || (rec->file == have->file && rec->off < have->off)) {
        *have = *rec;
    }
    pthread_mutex_unlock(&c->mutex);
}

/* Offset of the first magic at or after off; size if there is none. */
static uint64_t
files_seek(const struct files_scan *c, int fd, uint64_t off, uint64_t size,
           uint8_t *buf)
{
    uint8_t magic[4];

    exi_put_le32(magic, c->magic);
    while (off + sizeof(magic) <= size) {
        size_t len =
            size - off < FILES_SEEK ? (size_t) (size - off) : FILES_SEEK;
        const uint8_t *p;

        if (files_pread(c->f, fd, buf, len, off) != EXI_OK) {
            break;
        }
        p = memmem(buf, len, magic, sizeof(magic));
        if (p != NULL) {
            return off + (uint64_t) (p - buf);
        }
        off += len - (sizeof(magic) - 1);
    }
    return size;
}

static void
files_scan_file(struct files_scan *c, uint32_t number, uint8_t *buf)
{
    uint8_t head[FILES_HEAD + EXI_HEADER_LEN];
    uint64_t off = 0, size = 0;
    int fd = files_open_file(c->f, number, &size);

    if (fd < 0) {
        return;
    }
    (void) posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    while (off + FILES_HEAD + SOURCE_BLOCK_MIN <= size
           && off + FILES_HEAD <= UINT32_MAX
           && files_pread(c->f, fd, head, sizeof(head), off) == EXI_OK) {
        struct source_rec rec = { number, (uint32_t) (off + FILES_HEAD),
                                  exi_le32(head + 4) };

        if (exi_le32(head) != c->magic || rec.len < SOURCE_BLOCK_MIN
            || rec.len > c->block_max || rec.len > size - rec.off) {
            off = files_seek(c, fd, off + 1, size, buf);
            continue;
        }
        files_note(c, &rec, head + FILES_HEAD);
        off = (uint64_t) rec.off + rec.len;
    }
    close(fd);
}

/* Next file to be scanned; false: none, or nothing is missing any more. */
static bool
files_next(struct files_scan *c, uint32_t *number)
{
    bool more;

    pthread_mutex_lock(&c->mutex);
    more = c->next < c->nfiles && c->f->found < c->n;
    if (more) {
        *number = c->numbers[c->next++];
    }
    pthread_mutex_unlock(&c->mutex);
    return more;
}

static void *
files_thread(void *arg)
{
    struct files_scan *c = arg;
    uint8_t *buf = malloc(FILES_SEEK);
    uint32_t number;

    while (buf != NULL && files_next(c, &number)) {
        files_scan_file(c, number, buf);
    }
    free(buf);
    return NULL;
}

/* Scans with threads, or without where there can't be any. */
static void
files_run(struct files_scan *c)
{
    pthread_t threads[FILES_THREADS];
    size_t n = 0;

    while (n < FILES_THREADS && n + 1 < c->nfiles
           && pthread_create(&threads[n], NULL, files_thread, c) == 0) {
        n++;
    }
    files_thread(c);
    while (n > 0) {
        pthread_join(threads[--n], NULL);
    }
}

/* ---- the folder ---- */

static int
files_number_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}

/* N of "blkN.dat" as the node writes it, or false. */
static bool
files_number(const char *name, uint32_t *number)
{
    char again[32];
    unsigned long v;

    if (strncmp(name, "blk", 3) != 0 || name[3] < '0' || name[3] > '9') {
        return false;
    }
    v = strtoul(name + 3, NULL, 10);
    if (v > 9999999) {
        return false;
    }
    *number = (uint32_t) v;
    snprintf(again, sizeof(again), "blk%05u.dat", *number);
    return strcmp(again, name) == 0;
}

static int
files_list(struct files_scan *c)
{
    int fd = openat(c->f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t cap = 0;
    const struct dirent *e;
    uint32_t number;

    if (d == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return EXI_EIO;
    }
    while ((e = readdir(d)) != NULL) {
        if (!files_number(e->d_name, &number) || number < c->first_file) {
            continue;
        }
        if (c->nfiles == cap) {
            uint32_t *p =
                realloc(c->numbers, (cap * 2 + 64) * sizeof(*c->numbers));

            if (p == NULL) {
                closedir(d);
                return EXI_ENOMEM;
            }
            c->numbers = p;
            cap = cap * 2 + 64;
        }
        c->numbers[c->nfiles++] = number;
    }
    closedir(d);
    if (c->nfiles > 0) {
        qsort(c->numbers, c->nfiles, sizeof(*c->numbers), files_number_cmp);
    }
    return EXI_OK;
}

/* The key of xor.dat; none if there is no such file. */
static int
files_key(struct source_files *f)
{
    static const uint8_t zero[sizeof(f->key)];
    uint8_t buf[sizeof(f->key) + 1];
    int fd = openat(f->dir, "xor.dat", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0) {
        return errno == ENOENT ? EXI_OK : EXI_EIO;
    }
    n = read(fd, buf, sizeof(buf));
    close(fd);
    if (n != (ssize_t) sizeof(f->key)) {
        return EXI_EIO;
    }
    memcpy(f->key, buf, sizeof(f->key));
    f->obfuscated = memcmp(f->key, zero, sizeof(f->key)) != 0;
    return EXI_OK;
}

static int
files_prepare(struct source_files *f, struct files_scan *c, const char *dir,
              char *why, size_t whylen)
{
    f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir < 0 || files_list(c) == EXI_EIO) {
        snprintf(why, whylen, "%s: %s", dir, strerror(errno));
        return EXI_EIO;
    }
    if (files_key(f) != EXI_OK) {
        snprintf(why, whylen, "%s/xor.dat: can't be read, or not 8 bytes", dir);
        return EXI_EIO;
    }
    f->recs = calloc(c->n + 1, sizeof(*f->recs));
    if (f->recs == NULL || files_table(c) != EXI_OK) {
        snprintf(why, whylen, "out of memory");
        return EXI_ENOMEM;
    }
    return EXI_OK;
}

int
source_files_open(struct source_files *f, const struct source_opts *o,
                  const struct exi_blkid *hashes, size_t n, char *why,
                  size_t whylen)
{
    struct files_scan c = { .f = f,
                            .hashes = hashes,
                            .n = n,
                            .magic = o->magic,
                            .block_max = (uint32_t) o->block_max,
                            .first_file = o->first_file,
                            .mutex = PTHREAD_MUTEX_INITIALIZER };
    int rc = files_prepare(f, &c, o->blocks_dir, why, whylen);

    if (rc == EXI_OK) {
        files_run(&c);
    } else {
        source_files_close(f);
    }
    free(c.table);
    free(c.numbers);
    return rc;
}

int
source_files_fd(const struct source_files *f, uint32_t number)
{
    uint64_t size;

    return files_open_file(f, number, &size);
}

int
source_files_header(const struct source_files *f, const struct source_rec *rec,
                    uint8_t out[EXI_HEADER_LEN])
{
    int fd = source_files_fd(f, rec->file);
    int rc = EXI_EIO;

    if (fd >= 0) {
        rc = files_pread(f, fd, out, EXI_HEADER_LEN, rec->off);
        close(fd);
    }
    return rc;
}

void
source_files_close(struct source_files *f)
{
    if (f->dir >= 0) {
        close(f->dir);
    }
    free(f->recs);
    memset(f, 0, sizeof(*f));
    f->dir = -1;
}

/* ---- reading ---- */

void
source_fds_init(struct source_fds *fds)
{
    for (size_t i = 0; i < SOURCE_FDS; i++) {
        fds->fd[i] = -1;
    }
    fds->next = 0;
}

void
source_fds_close(struct source_fds *fds)
{
    for (size_t i = 0; i < SOURCE_FDS; i++) {
        if (fds->fd[i] >= 0) {
            close(fds->fd[i]);
        }
    }
    source_fds_init(fds);
}

static int
fds_get(const struct source_files *f, struct source_fds *fds, uint32_t file)
{
    uint64_t size;
    unsigned i;
    int fd;

    for (i = 0; i < SOURCE_FDS; i++) {
        if (fds->fd[i] >= 0 && fds->file[i] == file) {
            return fds->fd[i];
        }
    }
    fd = files_open_file(f, file, &size);
    if (fd >= 0) {
        i = fds->next;
        fds->next = (i + 1) % SOURCE_FDS;
        if (fds->fd[i] >= 0) {
            close(fds->fd[i]);
        }
        fds->fd[i] = fd;
        fds->file[i] = file;
    }
    return fd;
}

/* Whether the block at pos follows its predecessor in the same file. */
static bool
files_follows(const struct source_files *f, size_t pos)
{
    const struct source_rec *a = &f->recs[pos - 1];
    const struct source_rec *b = a + 1;
    uint64_t end = (uint64_t) a->off + a->len;

    return a->file == b->file && b->off >= end && b->off - end <= FILES_GAP;
}

size_t
source_files_bytes(const struct source_files *f, size_t pos, bool with_prev)
{
    const struct source_rec *r = &f->recs[pos];

    if (with_prev && files_follows(f, pos)) {
        return r->off - r[-1].off - r[-1].len + r->len;
    }
    return r->len;
}

/* n blocks that follow one another, with one read; the length of all. */
static size_t
files_read_span(const struct source_files *f, struct source_fds *fds,
                size_t pos, size_t n, const struct exi_blkid *hashes,
                uint8_t *buf, struct source_piece *pieces)
{
    const struct source_rec *r = &f->recs[pos];
    size_t len = r[n - 1].off - r->off + r[n - 1].len;
    int fd = fds_get(f, fds, r->file);
    bool whole = fd >= 0 && files_pread(f, fd, buf, len, r->off) == EXI_OK;

    for (size_t i = 0; i < n; i++) {
        struct source_piece *p = &pieces[i];

        p->raw = buf + (r[i].off - r->off);
        p->len = r[i].len;
        p->good =
            whole && source_fits(&hashes[pos + i], p->raw, p->len, p->len);
    }
    return len;
}

void
source_files_read(const struct source_files *f, struct source_fds *fds,
                  size_t pos, size_t n, const struct exi_blkid *hashes,
                  uint8_t *buf, struct source_piece *pieces)
{
    size_t end = pos + n;

    while (pos < end) {
        size_t m = 1;

        while (pos + m < end && files_follows(f, pos + m)) {
            m++;
        }
        buf += files_read_span(f, fds, pos, m, hashes, buf, pieces);
        pieces += m;
        pos += m;
    }
}

static void
files_advise_range(const struct source_files *f, struct source_fds *fds,
                   uint32_t file, uint64_t from, uint64_t to)
{
    int fd = to > from ? fds_get(f, fds, file) : -1;

    if (fd >= 0) {
        (void) posix_fadvise(fd, (off_t) from, (off_t) (to - from),
                             POSIX_FADV_WILLNEED);
    }
}

void
source_files_advise(const struct source_files *f, struct source_fds *fds,
                    size_t from, size_t to)
{
    uint64_t start = 0, end = 0;
    uint32_t file = 0;

    for (size_t pos = from; pos < to; pos++) {
        const struct source_rec *r = &f->recs[pos];

        if (r->len == 0) {
            continue;
        }
        if (end == 0 || r->file != file || r->off < end
            || r->off - end > FILES_ADVISE_GAP) {
            files_advise_range(f, fds, file, start, end);
            file = r->file;
            start = r->off;
        }
        end = (uint64_t) r->off + r->len;
    }
    files_advise_range(f, fds, file, start, end);
}
