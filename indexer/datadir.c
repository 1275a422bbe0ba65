/*
 * Making and locking the data directory.
 */
#include "datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* Says who holds the lock: the file has its pid. */
static void
say_locked(const char *path, int fd)
{
    char pid[32];
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    log_error("main",
              "the data directory is in use by another indexer, process %s "
              "(%s)",
              *pid ? pid : "unknown", path);
}

int
datadir_lock(const char *dir)
{
    char path[4096], pid[32];
    int fd, n;

    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        log_error("main", "cannot make the data directory %s: %s", dir,
                  strerror(errno));
        return -1;
    }
    if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int) sizeof(path)) {
        log_error("main", "data_dir is too long");
        return -1;
    }
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0) {
        log_error("main", "cannot write in the data directory %s: %s", dir,
                  strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        say_locked(path, fd);
        close(fd);
        return -1;
    }
    n = snprintf(pid, sizeof(pid), "%ld\n", (long) getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t) n, 0) != n) {
        log_warn("main", "cannot write %s: %s", path, strerror(errno));
    }
    return fd;
}
