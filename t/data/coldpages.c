/*
 * LD_PRELOAD for nginx: a page cache that forgets.  A page is there when it was
 * read with pread(2), for 2 s and until preadv2(RWF_NOWAIT) has said so once.
 * The clock by which readers forget what they know of pages (CLOCK_BOOTTIME)
 * goes five times as fast.
 *
 * COLD_DELAY_US: how long pread() of a file that was asked for takes.
 * COLD_FAIL: such a pread() fails with EIO as long as this file exists.
 * COLD_HOLD: such a pread() does not end as long as this file exists.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (1u << 20)
#define PAGE  4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t pages[SLOTS]; /* hashes of (inode, page); 0: none */
static uint32_t read_ms[SLOTS];
static ino_t asked[4096];
static unsigned nasked;
static useconds_t delay;
static char *fail, *hold;

/* nginx's workers have no environment. */
__attribute__((constructor)) static void
settings(void)
{
    const char *d = getenv("COLD_DELAY_US"), *f = getenv("COLD_FAIL");
    const char *h = getenv("COLD_HOLD");

    delay = d != NULL ? (useconds_t) atoi(d) : 0;
    fail = f != NULL ? strdup(f) : NULL;
    hold = h != NULL ? strdup(h) : NULL;
}

static unsigned
slot_of(uint64_t key)
{
    unsigned i = (unsigned) (key % SLOTS);

    while (pages[i] != 0 && pages[i] != key) {
        i = (i + 1) % SLOTS;
    }
    return i;
}

static uint64_t
key_of(ino_t ino, uint64_t page)
{
    return ((ino * 0x9e3779b97f4a7c15ull) ^ (page * 0xbf58476d1ce4e5b9ull)) | 1;
}

static bool
was_asked(ino_t ino)
{
    for (unsigned i = 0; i < nasked; i++) {
        if (asked[i] == ino) {
            return true;
        }
    }
    return false;
}

static uint32_t
now_ms(void)
{
    struct timespec ts = { 0, 0 };

    (void) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (uint32_t) (ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

/* A removed page leaves its slot marked with a key that none has. */
static bool
is_there(ino_t ino, uint64_t first, uint64_t last, bool forget)
{
    for (uint64_t p = first; p <= last; p++) {
        unsigned i = slot_of(key_of(ino, p));
        if (pages[i] == 0 || now_ms() - read_ms[i] > 2000) {
            return false;
        }
    }
    for (uint64_t p = first; forget && p <= last; p++) {
        pages[slot_of(key_of(ino, p))] = 2;
    }
    return true;
}

ssize_t
preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    ssize_t want = 0;
    struct stat st;
    bool there;

    for (int i = 0; i < n; i++) {
        want += (ssize_t) iov[i].iov_len;
    }
    if (!(flags & RWF_NOWAIT) || want == 0 || fstat(fd, &st) != 0) {
        return syscall(SYS_preadv2, fd, iov, n, off, 0, flags);
    }
    pthread_mutex_lock(&lock);
    if (!was_asked(st.st_ino) && nasked < 4096) {
        asked[nasked++] = st.st_ino;
    }
    there = is_there(st.st_ino, (uint64_t) off / PAGE,
                     (uint64_t) (off + want - 1) / PAGE, true);
    pthread_mutex_unlock(&lock);
    if (!there) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_preadv2, fd, iov, n, off, 0, 0);
}

static ssize_t
read_slowly(int fd, void *buf, size_t n, off_t off)
{
    struct stat st;
    bool slow;

    if (fstat(fd, &st) != 0 || n == 0) {
        return syscall(SYS_pread64, fd, buf, n, off);
    }
    pthread_mutex_lock(&lock);
    slow = was_asked(st.st_ino);
    pthread_mutex_unlock(&lock);
    if (slow && fail != NULL && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    while (slow && hold != NULL && access(hold, F_OK) == 0) {
        usleep(1000);
    }
    if (slow && delay > 0) {
        usleep(delay);
    }
    pthread_mutex_lock(&lock);
    for (uint64_t p = (uint64_t) off / PAGE; slow && p * PAGE < off + n; p++) {
        uint64_t key = key_of(st.st_ino, p);
        unsigned i = slot_of(key);
        pages[i] = key;
        read_ms[i] = now_ms();
    }
    pthread_mutex_unlock(&lock);
    return syscall(SYS_pread64, fd, buf, n, off);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int) syscall(SYS_clock_gettime, id, ts);

    if (id == CLOCK_BOOTTIME) {
        ts->tv_sec = ts->tv_sec * 5 + ts->tv_nsec / 200000000;
    }
    return rc;
}

ssize_t
pread(int fd, void *buf, size_t n, off_t off)
{
    return read_slowly(fd, buf, n, off);
}

ssize_t
pread64(int fd, void *buf, size_t n, off_t off)
{
    return read_slowly(fd, buf, n, off);
}

ssize_t
preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    return preadv2(fd, iov, n, off, flags);
}
