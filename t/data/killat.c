/*
 * Preloaded into a program: counts the calls that change files and kills the
 * process in the middle of the one numbered KILLAT (half of a write is done,
 * any other call is not done; with KILLAT_AFTER=1 it is done).  With
 * KILLAT_COUNT=FILE the number so far is kept in that file.  With
 * KILLAT_ERRNO=number it does not die: that call and the KILLAT_TIMES - 1 next
 * ones fail so (a write having written half).
 * t/430-kill-steps.t and t/435-io-errors.t compile and use it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static void *
next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* Tells the count without stdio, which would count itself. */
static void
tell(long n)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    static int fd = -1;
    const char *path = getenv("KILLAT_COUNT");
    char text[32];

    if (path == NULL) {
        return;
    }
    if (real == NULL) {
        real = next("pwrite");
    }
    if (fd < 0) {
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    }
    (void) !real(fd, text, (size_t) snprintf(text, sizeof(text), "%9ld\n", n),
                 0);
}

static long
times(void)
{
    const char *n = getenv("KILLAT_TIMES");

    return n != NULL ? atol(n) : 1;
}

/* 1 when the process is to die (or fail) in this call. */
static int
due(void)
{
    const char *at = getenv("KILLAT");
    long n = atomic_fetch_add(&calls, 1) + 1;

    tell(n);
    return at != NULL && n >= atol(at) && n < atol(at) + times();
}

/* The error of a call that is due; 0: it dies. */
static int
error(void)
{
    const char *number = getenv("KILLAT_ERRNO");

    return number != NULL ? atoi(number) : 0;
}

static void
die(void)
{
    raise(SIGKILL);
}

static int
after(void)
{
    return getenv("KILLAT_AFTER") != NULL;
}

static int
is_file(int fd)
{
    struct stat st;

    return fd > 2 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define PLAIN(ret, name, params, args)                                        \
    ret name params;                                                          \
    ret name params                                                           \
    {                                                                         \
        static ret (*real) params;                                            \
        int now = due();                                                      \
        ret r;                                                                \
                                                                              \
        if (real == NULL) {                                                   \
            real = next(#name);                                               \
        }                                                                     \
        if (now && error()) {                                                 \
            errno = error();                                                  \
            return -1;                                                        \
        }                                                                     \
        if (now && !after()) {                                                \
            die();                                                            \
        }                                                                     \
        r = real args;                                                        \
        if (now) {                                                            \
            die();                                                            \
        }                                                                     \
        return r;                                                             \
    }

PLAIN(int, rename, (const char *a, const char *b), (a, b))
PLAIN(int, renameat, (int d, const char *a, int e, const char *b),
      (d, a, e, b))
PLAIN(int, link, (const char *a, const char *b), (a, b))
PLAIN(int, linkat, (int d, const char *a, int e, const char *b, int f),
      (d, a, e, b, f))
PLAIN(int, unlink, (const char *a), (a))
PLAIN(int, unlinkat, (int d, const char *a, int f), (d, a, f))
PLAIN(int, mkdir, (const char *a, mode_t m), (a, m))
PLAIN(int, rmdir, (const char *a), (a))
PLAIN(int, fsync, (int fd), (fd))
PLAIN(int, fdatasync, (int fd), (fd))
PLAIN(int, ftruncate, (int fd, off_t n), (fd, n))

ssize_t
write(int fd, const void *buf, size_t len)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (real == NULL) {
        real = next("write");
    }
    if (is_file(fd) && due()) {
        (void) !real(fd, buf, len / 2);
        if (error()) {
            errno = error();
            return -1;
        }
        die();
    }
    return real(fd, buf, len);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);

    if (real == NULL) {
        real = next("pwrite");
    }
    if (is_file(fd) && due()) {
        (void) !real(fd, buf, len / 2, at);
        if (error()) {
            errno = error();
            return -1;
        }
        die();
    }
    return real(fd, buf, len, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at);
ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
    return pwrite(fd, buf, len, (off_t) at);
}
