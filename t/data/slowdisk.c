/*
 * Preloaded into a program: fsync() and fdatasync() take as many milliseconds
 * as the file named by SLOWDISK says, or fail with ENOSPC when it says "full".
 * With no such file they are as usual.  t/425-slow-disk.t compiles and uses it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What the file says; "": nothing. */
static void
said(char out[32])
{
    const char *path = getenv("SLOWDISK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 31);

    out[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

/* 0, or -1 and errno. */
static int
disk(void)
{
    struct timespec t;
    char text[32];
    long ms;

    said(text);
    if (strncmp(text, "full", 4) == 0) {
        errno = ENOSPC;
        return -1;
    }
    ms = atol(text);
    t.tv_sec = ms / 1000;
    t.tv_nsec = ms % 1000 * 1000000;
    while (ms > 0 && nanosleep(&t, &t) != 0) {
        /* the rest of it */
    }
    return 0;
}

int
fdatasync(int fd)
{
    static int (*real)(int);

    if (real == NULL) {
        *(void **) &real = dlsym(RTLD_NEXT, "fdatasync");
    }
    return disk() != 0 ? -1 : real(fd);
}

int
fsync(int fd)
{
    static int (*real)(int);

    if (real == NULL) {
        *(void **) &real = dlsym(RTLD_NEXT, "fsync");
    }
    return disk() != 0 ? -1 : real(fd);
}
