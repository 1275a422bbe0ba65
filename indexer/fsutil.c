/*
 * Files and directories (fsutil.h).  What must survive a power failure is
 * synced file by file and directory by directory, never the whole file system.
 */
#include "fsutil.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deepest tree that is removed: ours have three levels. */
#define TREE_DEPTH 6

#define COPY_CHUNK (64 << 10)

int
fs_error(void)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
        return EXI_ESPACE;
    case ENOENT:
        return EXI_ENOTFOUND;
    case ENOMEM:
        return EXI_ENOMEM;
    default:
        return EXI_EIO;
    }
}

int
fs_path(char path[FS_PATH_MAX], const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(path, FS_PATH_MAX, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= FS_PATH_MAX) {
        errno = ENAMETOOLONG;
        return EXI_ELIMIT;
    }
    return EXI_OK;
}

/* close() that keeps the errno of an earlier failure. */
static void
close_quietly(int fd)
{
    int saved = errno;

    if (fd >= 0) {
        close(fd);
    }
    errno = saved;
}

int
fs_mkdir(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST) {
        return EXI_OK;
    }
    return fs_error();
}

bool
fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int
fs_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = EXI_OK;

    if (fd < 0) {
        return fs_error();
    }
    /* Some network file systems refuse this and need no such sync. */
    if (fsync(fd) != 0 && errno != EINVAL) {
        rc = fs_error();
    }
    close_quietly(fd);
    return rc;
}

int
fs_sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = EXI_OK;

    if (fd < 0) {
        return fs_error();
    }
    if (fdatasync(fd) != 0) {
        rc = fs_error();
    }
    close_quietly(fd);
    return rc;
}

int
fs_pwrite(int fd, const void *buf, size_t buflen, uint64_t off)
{
    const uint8_t *p = buf;
    ssize_t n;

    while (buflen > 0) {
        n = pwrite(fd, p, buflen, (off_t) off);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return fs_error();
        }
        p += n;
        buflen -= (size_t) n;
        off += (uint64_t) n;
    }
    return EXI_OK;
}

int
fs_write(const char *path, const void *buf, size_t buflen)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int rc;

    if (fd < 0) {
        return fs_error();
    }
    rc = fs_pwrite(fd, buf, buflen, 0);
    if (rc == EXI_OK && fsync(fd) != 0) {
        rc = fs_error();
    }
    close_quietly(fd);
    return rc;
}

int
fs_replace(const char *dir, const char *name, const void *buf, size_t buflen)
{
    char path[FS_PATH_MAX], tmp[64];
    int rc;

    if (snprintf(tmp, sizeof(tmp), "%s.tmp", name) >= (int) sizeof(tmp)) {
        return EXI_ELIMIT;
    }
    rc = fs_path(path, "%s/%s", dir, tmp);
    if (rc == EXI_OK) {
        rc = fs_write(path, buf, buflen);
    }
    if (rc == EXI_OK) {
        rc = fs_rename(dir, tmp, name);
    }
    return rc;
}

int
fs_read(const char *path, char *buf, size_t buflen, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = EXI_OK;
    size_t have = 0;
    ssize_t n;

    if (fd < 0) {
        return fs_error();
    }
    do {
        n = read(fd, buf + have, buflen - have);
        have += n > 0 ? (size_t) n : 0;
    } while (have < buflen && (n > 0 || (n < 0 && errno == EINTR)));
    if (n < 0) {
        rc = fs_error();
    } else if (have == buflen) {
        rc = EXI_ELIMIT;
    } else {
        buf[have] = '\0';
        *len = have;
    }
    close_quietly(fd);
    return rc;
}

/* Copies up to max bytes between descriptors; *copied says how many. */
static int
copy_bytes(int in, int out, uint64_t max, uint64_t *copied)
{
    uint8_t buf[COPY_CHUNK];
    uint64_t off = 0;
    ssize_t n;
    int rc;

    while (off < max) {
        size_t want =
            max - off < sizeof(buf) ? (size_t) (max - off) : sizeof(buf);
        n = pread(in, buf, want, (off_t) off);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fs_error();
        }
        if (n == 0) {
            break;
        }
        rc = fs_pwrite(out, buf, (size_t) n, off);
        if (rc != EXI_OK) {
            return rc;
        }
        off += (uint64_t) n;
    }
    *copied = off;
    return EXI_OK;
}

int
fs_copy(const char *from, const char *to, uint64_t max, uint64_t size)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc;
    uint64_t copied = 0;

    if (in < 0) {
        return fs_error();
    }
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    rc = out < 0 ? fs_error() : copy_bytes(in, out, max, &copied);
    if (rc == EXI_OK && size > copied && ftruncate(out, (off_t) size) != 0) {
        rc = fs_error();
    }
    if (rc == EXI_OK && fsync(out) != 0) {
        rc = fs_error();
    }
    close_quietly(in);
    close_quietly(out);
    return rc;
}

int
fs_link(const char *from, const char *to)
{
    return link(from, to) == 0 ? EXI_OK : fs_error();
}

int
fs_rename(const char *dir, const char *from, const char *to)
{
    char a[FS_PATH_MAX], b[FS_PATH_MAX];
    int rc;

    rc = fs_path(a, "%s/%s", dir, from);
    if (rc == EXI_OK) {
        rc = fs_path(b, "%s/%s", dir, to);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (rename(a, b) != 0) {
        return fs_error();
    }
    return fs_sync_dir(dir);
}

static int remove_below(int parent, const char *name, int depth);

/* Removes what is in the directory behind d, which is closed. */
static int
remove_entries(DIR *d, int depth)
{
    struct dirent *e;
    int rc = EXI_OK, one;

    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        one = remove_below(dirfd(d), e->d_name, depth);
        if (rc == EXI_OK) {
            rc = one;
        }
    }
    closedir(d);
    return rc;
}

static int
remove_below(int parent, const char *name, int depth)
{
    int fd, rc;
    DIR *d;

    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return EXI_OK;
    }
    if ((errno != EISDIR && errno != EPERM) || depth == 0) {
        return fs_error();
    }
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        rc = fs_error();
        close_quietly(fd);
        return rc;
    }
    rc = remove_entries(d, depth - 1);
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && rc == EXI_OK) {
        rc = fs_error();
    }
    return rc;
}

int
fs_remove_tree(const char *path)
{
    return remove_below(AT_FDCWD, path, TREE_DEPTH);
}

int
fs_each(const char *path, fs_each_pt fn, void *ctx)
{
    DIR *d = opendir(path);
    struct dirent *e;
    int rc = EXI_OK;

    if (d == NULL) {
        return fs_error();
    }
    while (rc == EXI_OK && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            rc = fn(ctx, e->d_name);
        }
    }
    closedir(d);
    return rc;
}
