/*
 * Flat files (flat.h).
 *
 * Writing goes to one open segment of each file by pwrite; a segment that is
 * left is synced first.  Reading maps segments, which holds no descriptors:
 * there are a thousand segments in a full index.  A segment has its full
 * (sparse) length from the start, so a mapping never ends before a record.
 */
#include "flat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsutil.h"

struct file {
    uint64_t count;
    const uint8_t **maps; /* by segment; NULL: not mapped yet */
    uint32_t nmaps;
    uint32_t segment; /* the open one */
    int fd;           /* of that, or -1 */
    bool dirty;       /* it has unsynced records */
};

struct flat {
    char dir[FS_PATH_MAX];
    struct file files[EXI_FLAT_N];
    bool new_names; /* the directory has unsynced ones */
};

static uint64_t
segment_bytes(enum exi_flat file)
{
    return (uint64_t) exi_flat_defs[file].record << exi_flat_defs[file].shift;
}

static uint64_t
segment_records(enum exi_flat file)
{
    return (uint64_t) 1 << exi_flat_defs[file].shift;
}

/* Segments that hold n records. */
static uint32_t
segments_of(enum exi_flat file, uint64_t n)
{
    return (uint32_t) ((n + segment_records(file) - 1)
                       >> exi_flat_defs[file].shift);
}

static int
segment_path(char path[FS_PATH_MAX], const char *dir, enum exi_flat file,
             uint32_t segment)
{
    char name[32];

    exi_flat_segment_name(name, sizeof(name), file, segment);
    return fs_path(path, "%s/%s", dir, name);
}

void
flat_counts_of(struct flat_counts *c, uint32_t height, uint64_t tx_count)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        c->n[i] = exi_flat_count((enum exi_flat) i, height, tx_count);
    }
}

/* Do all segments of a file exist in their full length? */
static int
check_segments(const char *dir, enum exi_flat file, uint64_t count,
               char *segment, size_t segmentlen)
{
    char path[FS_PATH_MAX];
    struct stat st;
    int rc;

    for (uint32_t i = 0; i < segments_of(file, count); i++) {
        rc = segment_path(path, dir, file, i);
        if (rc != EXI_OK) {
            return rc;
        }
        if (stat(path, &st) != 0
            || (uint64_t) st.st_size < segment_bytes(file)) {
            exi_flat_segment_name(segment, segmentlen, file, i);
            return EXI_EFORMAT;
        }
    }
    return EXI_OK;
}

int
flat_open(struct flat **out, const char *dir, const struct flat_counts *counts,
          char *segment, size_t segmentlen)
{
    struct flat *f = calloc(1, sizeof(*f));
    int rc = f == NULL ? EXI_ENOMEM : fs_path(f->dir, "%s", dir);

    for (int i = 0; rc == EXI_OK && i < EXI_FLAT_N; i++) {
        f->files[i].fd = -1;
        f->files[i].count = counts->n[i];
        rc = check_segments(dir, (enum exi_flat) i, counts->n[i], segment,
                            segmentlen);
    }
    if (rc != EXI_OK) {
        free(f);
        return rc;
    }
    *out = f;
    return EXI_OK;
}

void
flat_close(struct flat *f)
{
    if (f == NULL) {
        return;
    }
    for (int i = 0; i < EXI_FLAT_N; i++) {
        struct file *x = &f->files[i];

        for (uint32_t k = 0; k < x->nmaps; k++) {
            if (x->maps[k] != NULL) {
                munmap((void *) (uintptr_t) x->maps[k],
                       segment_bytes((enum exi_flat) i));
            }
        }
        free(x->maps);
        if (x->fd >= 0) {
            close(x->fd);
        }
    }
    free(f);
}

uint64_t
flat_count(const struct flat *f, enum exi_flat file)
{
    return f->files[file].count;
}

/* Syncs and closes the open segment. */
static int
leave_segment(struct file *x)
{
    if (x->fd < 0) {
        return EXI_OK;
    }
    if (x->dirty && fdatasync(x->fd) != 0) {
        return fs_error();
    }
    close(x->fd);
    x->fd = -1;
    x->dirty = false;
    return EXI_OK;
}

/* Gives the open segment its full length, if it is new. */
static int
stretch_segment(struct flat *f, enum exi_flat file)
{
    struct file *x = &f->files[file];
    struct stat st;

    if (fstat(x->fd, &st) != 0) {
        return fs_error();
    }
    if ((uint64_t) st.st_size >= segment_bytes(file)) {
        return EXI_OK;
    }
    f->new_names = true;
    x->dirty = true;
    return ftruncate(x->fd, (off_t) segment_bytes(file)) == 0 ? EXI_OK
                                                              : fs_error();
}

/* Opens a segment for writing; makes it in its full length if need be. */
static int
enter_segment(struct flat *f, enum exi_flat file, uint32_t segment)
{
    struct file *x = &f->files[file];
    char path[FS_PATH_MAX];
    int rc = leave_segment(x);

    if (rc == EXI_OK) {
        rc = segment_path(path, f->dir, file, segment);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    x->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (x->fd < 0) {
        return fs_error();
    }
    x->segment = segment;
    rc = stretch_segment(f, file);
    if (rc != EXI_OK) {
        int saved = errno;

        close(x->fd);
        errno = saved;
        x->fd = -1;
    }
    return rc;
}

int
flat_append(struct flat *f, enum exi_flat file, const void *records, uint64_t n)
{
    const struct exi_flat_def *def = &exi_flat_defs[file];
    struct file *x = &f->files[file];
    const uint8_t *p = records;
    int rc;

    while (n > 0) {
        uint32_t segment = (uint32_t) (x->count >> def->shift);
        uint64_t at = x->count & (segment_records(file) - 1);
        uint64_t some = segment_records(file) - at;

        some = some < n ? some : n;
        if (x->fd < 0 || x->segment != segment) {
            rc = enter_segment(f, file, segment);
            if (rc != EXI_OK) {
                return rc;
            }
        }
        x->dirty = true;
        rc = fs_pwrite(x->fd, p, some * def->record, at * def->record);
        if (rc != EXI_OK) {
            return rc;
        }
        p += some * def->record;
        x->count += some;
        n -= some;
    }
    return EXI_OK;
}

int
flat_sync(struct flat *f)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        struct file *x = &f->files[i];

        if (x->fd >= 0 && x->dirty) {
            if (fdatasync(x->fd) != 0) {
                return fs_error();
            }
            x->dirty = false;
        }
    }
    if (f->new_names) {
        int rc = fs_sync_dir(f->dir);

        if (rc != EXI_OK) {
            return rc;
        }
        f->new_names = false;
    }
    return EXI_OK;
}

void
flat_rewind(struct flat *f, const struct flat_counts *counts)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        if (f->files[i].count > counts->n[i]) {
            f->files[i].count = counts->n[i];
        }
    }
}

static int
map_segment(struct flat *f, enum exi_flat file, uint32_t segment)
{
    char path[FS_PATH_MAX];
    int rc = segment_path(path, f->dir, file, segment), fd;
    void *p;

    if (rc != EXI_OK) {
        return rc;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return EXI_EIO;
    }
    p = mmap(NULL, segment_bytes(file), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        return EXI_EIO;
    }
    madvise(p, segment_bytes(file), MADV_RANDOM);
    f->files[file].maps[segment] = p;
    return EXI_OK;
}

/* Memory of a segment. */
static int
segment_map(struct flat *f, enum exi_flat file, uint32_t segment,
            const uint8_t **out)
{
    struct file *x = &f->files[file];
    int rc;

    if (segment >= x->nmaps) {
        uint32_t n = segment + 16;
        const uint8_t **maps = realloc(x->maps, n * sizeof(*maps));

        if (maps == NULL) {
            return EXI_ENOMEM;
        }
        memset(maps + x->nmaps, 0, (n - x->nmaps) * sizeof(*maps));
        x->maps = maps;
        x->nmaps = n;
    }
    if (x->maps[segment] == NULL) {
        rc = map_segment(f, file, segment);
        if (rc != EXI_OK) {
            return rc;
        }
    }
    *out = x->maps[segment];
    return EXI_OK;
}

int
flat_read(struct flat *f, enum exi_flat file, uint64_t index, uint64_t n,
          void *out)
{
    const struct exi_flat_def *def = &exi_flat_defs[file];
    uint64_t count = f->files[file].count;
    const uint8_t *base;
    uint8_t *p = out;
    int rc;

    if (index > count || n > count - index) {
        return EXI_ENOTFOUND;
    }
    while (n > 0) {
        uint64_t at = index & (segment_records(file) - 1);
        uint64_t some = segment_records(file) - at;

        some = some < n ? some : n;
        rc = segment_map(f, file, (uint32_t) (index >> def->shift), &base);
        if (rc != EXI_OK) {
            return rc;
        }
        memcpy(p, base + at * def->record, some * def->record);
        p += some * def->record;
        index += some;
        n -= some;
    }
    return EXI_OK;
}

/* Links or copies one segment, of which `counted` records count. */
static int
link_segment(const char *from, const char *to, enum exi_flat file,
             uint32_t segment, uint64_t counted, bool copy)
{
    char a[FS_PATH_MAX], b[FS_PATH_MAX];
    int rc = segment_path(a, from, file, segment);

    if (rc == EXI_OK) {
        rc = segment_path(b, to, file, segment);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (copy) {
        return fs_copy(a, b, counted * exi_flat_defs[file].record,
                       segment_bytes(file));
    }
    return fs_link(a, b);
}

int
flat_link(const char *from, const char *to, const struct flat_counts *counts,
          bool own_last)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        enum exi_flat file = (enum exi_flat) i;
        uint64_t left = counts->n[i], per = segment_records(file);

        for (uint32_t k = 0; left > 0; k++) {
            uint64_t here = left < per ? left : per;
            int rc =
                link_segment(from, to, file, k, here, own_last && here < per);

            if (rc != EXI_OK) {
                return rc;
            }
            left -= here;
        }
    }
    return EXI_OK;
}
