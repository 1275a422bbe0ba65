/*
 * Faults at system calls: this file defines the calls that change files, so
 * that the linker takes these instead of libc's, for LevelDB too.  Each call
 * counts; from call number fault_at on something goes wrong:
 *
 *     FAULT_KILL   the process gets SIGKILL before the call
 *     FAULT_SPACE  calls that need space fail with ENOSPC, half of a write is
 *                  written first
 *
 * fault_reset() ends it.  Include once.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum fault {
    FAULT_NONE,
    FAULT_KILL,
    FAULT_SPACE
};

static volatile enum fault fault_kind;
static volatile long fault_at;
static volatile long fault_calls;

__attribute__((unused)) static void
fault_set(enum fault kind, long at)
{
    fault_kind = FAULT_NONE;
    fault_calls = 0;
    fault_at = at;
    fault_kind = kind;
}

__attribute__((unused)) static void
fault_reset(void)
{
    fault_kind = FAULT_NONE;
}

/* Counts a call; true: it is to fail. */
static bool
fault_here(bool needs_space)
{
    long n = __atomic_add_fetch(&fault_calls, 1, __ATOMIC_RELAXED);

    if (fault_kind == FAULT_NONE || n < fault_at) {
        return false;
    }
    if (fault_kind == FAULT_KILL) {
        kill(getpid(), SIGKILL);
        pause();
    }
    if (needs_space) {
        errno = ENOSPC;
    }
    return needs_space;
}

ssize_t
write(int fd, const void *buf, size_t len)
{
    /* Not for the test's own output. */
    if (fd > 2 && fault_here(true)) {
        if (len > 1) {
            (void) syscall(SYS_write, fd, buf, len / 2);
        }
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_write, fd, buf, len);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t off)
{
    if (fault_here(true)) {
        if (len > 1) {
            (void) syscall(SYS_pwrite64, fd, buf, len / 2, off);
        }
        errno = ENOSPC;
        return -1;
    }
    /* Short writes happen. */
    if (len > 100 && fault_calls % 3 == 0) {
        len -= len / 3;
    }
    return syscall(SYS_pwrite64, fd, buf, len, off);
}

int
fsync(int fd)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_fdatasync, fd);
}

int
rename(const char *a, const char *b)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_rename, a, b);
}

int
link(const char *a, const char *b)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_link, a, b);
}

int
mkdir(const char *path, mode_t mode)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_mkdir, path, mode);
}

int
ftruncate(int fd, off_t len)
{
    return fault_here(true) ? -1 : (int) syscall(SYS_ftruncate, fd, len);
}

int
unlink(const char *path)
{
    return fault_here(false) ? -1 : (int) syscall(SYS_unlink, path);
}

int
unlinkat(int dir, const char *path, int flags)
{
    return fault_here(false) ? -1
                             : (int) syscall(SYS_unlinkat, dir, path, flags);
}

#endif /* FAULTS_H */
