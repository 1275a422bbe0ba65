/*
 * Opening a generation (docs/index-format.md, section 5): lease, manifest,
 * LevelDB, segments.  What the manifest says is compared with the snapshot's
 * list, and the directory is looked at again at the end: all was there when it
 * was still in its place, so it is complete, and what is removed later stays
 * mapped.
 */
#include "exi_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MANIFEST_MAX 4096

static int
sys_err(void)
{
    return errno == ENOENT || errno == ENOTDIR ? EXI_ESTALE
           : errno == ENOMEM                   ? EXI_ENOMEM
                                               : EXI_EIO;
}

/* Path of a file of a generation into out (PATH_MAX). */
static int
gen_path(char out[PATH_MAX], const struct exi_store *s, uint64_t number,
         const char *file)
{
    int n = snprintf(out, PATH_MAX, "%s/generations/%010llu%s%s", s->dir,
                     (unsigned long long) number, *file ? "/" : "", file);

    return n < 0 || n >= PATH_MAX ? EXI_EIO : EXI_OK;
}

/*
 * The indexer holds the exclusive lock for some microseconds whenever it asks
 * whether a lease is held, so a refusal is tried again before it is believed:
 * who is refused for longer meets a directory that is being removed.
 */
int
exi_lease_flock(int fd)
{
    const struct timespec pause = { 0, 100000 };

    for (int i = 0; i < 20; i++) {
        if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
            return EXI_OK;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return EXI_EIO;
        }
        nanosleep(&pause, NULL);
    }
    return EXI_ESTALE;
}

static int
take_lease(struct exi_gen *g, const char *path)
{
    g->lease_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (g->lease_fd < 0) {
        return sys_err();
    }
    return exi_lease_flock(g->lease_fd);
}

/* Is the lease we hold still the one in the generation's place? */
static int
check_lease(const struct exi_gen *g, const char *path)
{
    struct stat ours, there;

    if (fstat(g->lease_fd, &ours) != 0 || stat(path, &there) != 0) {
        return sys_err();
    }
    return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino
               ? EXI_OK
               : EXI_ESTALE;
}

static int
read_manifest(struct exi_store *s, struct exi_gen *g, const char *path,
              const struct exi_live_gen *want)
{
    char buf[MANIFEST_MAX];
    uint32_t version = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0) {
        return sys_err();
    }
    n = read(fd, buf, sizeof buf);
    close(fd);
    if (n < 0) {
        return EXI_EIO;
    }
    rc = exi_manifest_parse(&g->m, &version, buf, (size_t) n);
    if (rc == EXI_EVERSION) {
        exi_store_say(s, 0, "%s: format version %u, this program reads %u",
                      path, version, EXI_FORMAT_VERSION);
        return rc;
    }
    if (rc) {
        exi_store_say(s, 0, "%s: damaged", path);
        return rc;
    }
    if (g->m.number != want->number || g->m.height != want->height
        || memcmp(&g->m.block, &want->block, sizeof want->block) != 0) {
        exi_store_say(s, 0, "%s: not what the live layer lists", path);
        return EXI_EFORMAT;
    }
    return EXI_OK;
}

/*
 * Segments.
 */

static void
unref_seg(struct exi_seg *seg)
{
    if (seg == NULL || --seg->refs > 0) {
        return;
    }
    if (seg->file == NULL) {
        free(seg->base);
    } else {
        munmap(seg->base, seg->len);
        exi_file_unref(seg->file);
    }
    free(seg);
}

/* Reads what counts of a segment into memory of its own. */
static int
copy_seg(struct exi_seg *seg, int fd)
{
    size_t got = 0;

    seg->base = malloc(seg->filled);
    if (seg->base == NULL) {
        return EXI_ENOMEM;
    }
    while (got < seg->filled) {
        ssize_t n = pread(fd, seg->base + got, seg->filled - got, (off_t) got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            free(seg->base);
            return EXI_EIO;
        }
        got += (size_t) n;
    }
    return EXI_OK;
}

/* Takes fd. */
static int
map_seg(struct exi_seg *seg, int fd)
{
    void *p = mmap(NULL, seg->len, PROT_READ, MAP_SHARED, fd, 0);
    int rc;

    if (p == MAP_FAILED) {
        close(fd);
        return EXI_ENOMEM;
    }
    (void) madvise(p, seg->len, MADV_RANDOM);
    rc = exi_file_new(&seg->file, fd, seg->len);
    if (rc) {
        munmap(p, seg->len);
        return rc;
    }
    seg->base = p;
    return EXI_OK;
}

/* filled: bytes that count; a copy holds only those. */
static int
open_seg(int dir, const char *name, const struct stat *st, size_t len,
         size_t filled, bool copy, struct exi_seg **out)
{
    struct exi_seg *seg = calloc(1, sizeof *seg);
    int fd, rc;

    if (seg == NULL) {
        return EXI_ENOMEM;
    }
    fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        free(seg);
        return sys_err();
    }
    seg->refs = 1;
    seg->dev = st->st_dev;
    seg->ino = st->st_ino;
    seg->len = len;
    seg->filled = copy ? filled : len;
    if (copy) {
        rc = copy_seg(seg, fd);
        close(fd);
    } else {
        rc = map_seg(seg, fd);
    }
    if (rc) {
        free(seg);
        return rc;
    }
    *out = seg;
    return EXI_OK;
}

static bool
is_seg(const struct exi_seg *seg, const struct stat *st, size_t len,
       size_t filled)
{
    return seg->dev == st->st_dev && seg->ino == st->st_ino && seg->len == len
           && seg->filled >= filled;
}

/* One segment: near's, when it is the same file, else mapped. */
static int
take_seg(int dir, struct exi_flat_map *m, enum exi_flat f, uint32_t i,
         const struct exi_flat_map *near)
{
    uint64_t first = (uint64_t) i << m->shift;
    uint64_t here = m->count - first;
    size_t len = (size_t) m->record << m->shift;
    char name[32];
    struct stat st;
    int rc = EXI_OK;

    here = here < 1ull << m->shift ? here : 1ull << m->shift;
    exi_flat_segment_name(name, sizeof name, f, i);
    if (fstatat(dir, name, &st, 0) != 0) {
        return sys_err();
    }
    if (st.st_size < (off_t) (here * m->record)) {
        return EXI_EFORMAT;
    }
    if (near != NULL && i < near->nsegs
        && is_seg(near->segs[i], &st, len, here * m->record)) {
        m->segs[i] = near->segs[i];
        m->segs[i]->refs++;
    } else {
        rc = open_seg(dir, name, &st, len, here * m->record,
                      f == EXI_FLAT_TXCOUNTS, &m->segs[i]);
    }
    if (rc == EXI_OK) {
        m->base[i] = m->segs[i]->base;
    }
    return rc;
}

static int
map_flat(int dir, struct exi_gen *g, enum exi_flat f,
         const struct exi_gen *near)
{
    struct exi_flat_map *m = &g->flat[f];
    int rc = EXI_OK;

    m->shift = exi_flat_defs[f].shift;
    m->record = exi_flat_defs[f].record;
    m->count = exi_flat_count(f, g->m.height, g->m.tx_count);
    m->nsegs = (uint32_t) ((m->count + (1ull << m->shift) - 1) >> m->shift);
    m->base = calloc(m->nsegs + 1, sizeof *m->base);
    m->segs = calloc(m->nsegs + 1, sizeof *m->segs);
    if (m->base == NULL || m->segs == NULL) {
        return EXI_ENOMEM;
    }
    for (uint32_t i = 0; i < m->nsegs && rc == EXI_OK; i++) {
        rc = take_seg(dir, m, f, i, near ? &near->flat[f] : NULL);
    }
    return rc;
}

/* The numbers of the manifest must fit the files: 2^40 transactions at most. */
static int
map_flats(struct exi_gen *g, const char *path, const struct exi_gen *near)
{
    int dir, rc = EXI_OK;

    if (g->m.tx_count > 1ull << 40 || g->m.tx_count <= g->m.height
        || g->m.height > INT32_MAX) {
        return EXI_EFORMAT;
    }
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return sys_err();
    }
    for (int f = 0; f < EXI_FLAT_N && rc == EXI_OK; f++) {
        rc = map_flat(dir, g, (enum exi_flat) f, near);
    }
    close(dir);
    return rc;
}

static int
open_db(struct exi_store *s, struct exi_gen *g, const char *path)
{
    char err[256] = "";
    int rc = exi_rodb_open(&g->db, path, err, sizeof err);

    if (rc && access(path, F_OK) != 0) {
        return EXI_ESTALE;
    }
    if (rc) {
        exi_store_say(s, 0, "%s: %s", path, err);
    }
    return rc;
}

static int
open_parts(struct exi_store *s, struct exi_gen *g,
           const struct exi_live_gen *want, const struct exi_gen *near)
{
    static const char *const files[] = { "lease", "manifest", "db", "flat" };
    char path[PATH_MAX];
    int rc = EXI_OK;

    for (int i = 0; i < 5 && rc == EXI_OK; i++) {
        rc = gen_path(path, s, want->number, files[i % 4]);
        if (rc) {
            break;
        }
        switch (i) {
        case 0:
            rc = take_lease(g, path);
            break;
        case 1:
            rc = read_manifest(s, g, path, want);
            break;
        case 2:
            rc = open_db(s, g, path);
            break;
        case 3:
            rc = map_flats(g, path, near);
            break;
        case 4:
            rc = check_lease(g, path);
            break;
        }
    }
    return rc;
}

int
exi_gen_open(struct exi_store *s, const struct exi_live_gen *want,
             const struct exi_gen *near, struct exi_gen **out)
{
    struct exi_gen *g = calloc(1, sizeof *g);
    int rc;

    if (g == NULL) {
        return EXI_ENOMEM;
    }
    g->refs = 1;
    g->lease_fd = -1;
    rc = open_parts(s, g, want, near);
    if (rc) {
        exi_gen_close(g);
        return rc;
    }
    *out = g;
    return EXI_OK;
}

void
exi_gen_close(struct exi_gen *g)
{
    for (int f = 0; f < EXI_FLAT_N; f++) {
        struct exi_flat_map *m = &g->flat[f];
        for (uint32_t i = 0; m->segs != NULL && i < m->nsegs; i++) {
            unref_seg(m->segs[i]);
        }
        free(m->base);
        free(m->segs);
    }
    if (g->db != NULL) {
        exi_rodb_close(g->db);
    }
    if (g->lease_fd >= 0) {
        close(g->lease_fd);
    }
    free(g);
}
