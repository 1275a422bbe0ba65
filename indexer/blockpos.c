/*
 * DATA/blockpos: the place of each settled block in the node's block files.
 *
 * The main thread says which blocks are wanted, a thread of ours scans the
 * files for them (source_files.c) and writes what it finds, 8 bytes a block.
 * New blocks lie in the last files, so only those are scanned again.
 * When the indexer starts, some of the places are checked; should the node
 * have been reindexed, all are forgotten.
 */
#include "blockpos.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_bytes.h"
#include "lib/exi_sha256.h"
#include "log.h"
#include "source_int.h"

#define RECORD  8
#define SAMPLES 32

/* Blocks arrive out of order, a settled one may lie some files before. */
#define FILES_BACK 8

#define BLOCK_MAX ((size_t) 32 << 20)

struct wanted {
    uint32_t height;
    struct exi_blkid hash;
};

struct blockpos {
    int fd; /* DATA/blockpos */
    char *dir;
    uint32_t magic;
    struct source_files files; /* folder and key only */
    uint32_t next;             /* first height not looked at; main thread */
    bool checked;              /* main thread */

    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t cond;
    bool stop;
    struct wanted *wanted;
    size_t nwanted;
    size_t cap;
    uint32_t last_file; /* in which a block was found */
};

/* ---- the file ---- */

/* 0: not known. */
static uint64_t
get(const struct blockpos *p, uint32_t height)
{
    uint8_t b[RECORD];

    if (pread(p->fd, b, sizeof(b), (off_t) height * RECORD)
        != (ssize_t) sizeof(b)) {
        return 0;
    }
    return exi_le64(b);
}

/* A full disk: the block stays unknown. */
static void
put(const struct blockpos *p, uint32_t height, const struct source_rec *rec)
{
    uint8_t b[RECORD];

    exi_put_le32(b, rec->off);
    exi_put_le32(b + 4, rec->file + 1);
    if (pwrite(p->fd, b, sizeof(b), (off_t) height * RECORD)
        != (ssize_t) sizeof(b)) {
        log_debug("blockpos", "write: %s", strerror(errno));
    }
}

/* Forgets the heights from `height` on. */
static void
cut(const struct blockpos *p, uint32_t height)
{
    if (ftruncate(p->fd, (off_t) height * RECORD) != 0) {
        log_debug("blockpos", "ftruncate: %s", strerror(errno));
    }
}

/* ---- the thread ---- */

static struct wanted *
take(struct blockpos *p, size_t *n, uint32_t *first_file)
{
    struct wanted *w;

    pthread_mutex_lock(&p->mutex);
    while (p->nwanted == 0 && !p->stop) {
        pthread_cond_wait(&p->cond, &p->mutex);
    }
    w = p->stop ? NULL : p->wanted;
    *n = p->nwanted;
    *first_file = p->last_file > FILES_BACK ? p->last_file - FILES_BACK : 0;
    if (w != NULL) {
        p->wanted = NULL;
        p->nwanted = p->cap = 0;
    }
    pthread_mutex_unlock(&p->mutex);
    return w;
}

static void
found(struct blockpos *p, const struct wanted *w,
      const struct source_files *files, size_t n)
{
    uint32_t last = 0;

    for (size_t i = 0; i < n; i++) {
        const struct source_rec *rec = &files->recs[i];

        if (rec->len != 0) {
            put(p, w[i].height, rec);
            last = rec->file > last ? rec->file : last;
        }
    }
    pthread_mutex_lock(&p->mutex);
    p->last_file = last > p->last_file ? last : p->last_file;
    pthread_mutex_unlock(&p->mutex);
    log_info("blockpos", "found %zu of %zu blocks in the node's block files",
             files->found, n);
}

static void
scan(struct blockpos *p, const struct wanted *w, size_t n, uint32_t first_file)
{
    struct exi_blkid *hashes = calloc(n, sizeof(*hashes));
    struct source_opts o = { .blocks_dir = p->dir,
                             .magic = p->magic,
                             .block_max = BLOCK_MAX,
                             .first_file = first_file };
    struct source_files files = { .dir = -1 };
    char why[512] = "out of memory";

    if (hashes != NULL) {
        for (size_t i = 0; i < n; i++) {
            hashes[i] = w[i].hash;
        }
    }
    if (hashes == NULL
        || source_files_open(&files, &o, hashes, n, why, sizeof(why))
               != EXI_OK) {
        log_warn("blockpos", "block files are not used: %s", why);
    } else {
        found(p, w, &files, n);
        source_files_close(&files);
    }
    free(hashes);
}

static void *
run(void *arg)
{
    struct blockpos *p = arg;
    uint32_t first_file;
    struct wanted *w;
    size_t n;

    while ((w = take(p, &n, &first_file)) != NULL) {
        scan(p, w, n, first_file);
        free(w);
    }
    return NULL;
}

/* ---- the main thread ---- */

static bool
right(const struct blockpos *p, struct settle *s, uint32_t height,
      uint64_t place)
{
    struct source_rec rec = { (uint32_t) (place >> 32) - 1, (uint32_t) place,
                              0 };
    uint8_t header[EXI_HEADER_LEN];
    struct exi_blkid want, have;

    if (settle_block_hash(s, height, &want) != EXI_OK
        || source_files_header(&p->files, &rec, header) != EXI_OK) {
        return false;
    }
    exi_sha256d(have.b, header, sizeof(header));
    return memcmp(have.b, want.b, sizeof(have.b)) == 0;
}

/* Are the places still those of this node?  n: settled blocks. */
static void
check(struct blockpos *p, struct settle *s, uint32_t n)
{
    cut(p, n);
    for (uint32_t i = 0; i <= SAMPLES; i++) {
        uint32_t height = (uint32_t) ((uint64_t) (n - 1) * i / SAMPLES);
        uint64_t place = get(p, height);

        if (place != 0 && !right(p, s, height, place)) {
            log_info("blockpos", "the node's block files have changed, all "
                                 "are looked at again");
            cut(p, 0);
            return;
        }
    }
}

static bool
want(struct blockpos *p, uint32_t height, const struct exi_blkid *hash)
{
    if (p->nwanted == p->cap) {
        size_t cap = p->cap * 2 + 64;
        struct wanted *w = realloc(p->wanted, cap * sizeof(*w));

        if (w == NULL) {
            return false;
        }
        p->wanted = w;
        p->cap = cap;
    }
    p->wanted[p->nwanted].height = height;
    p->wanted[p->nwanted++].hash = *hash;
    return true;
}

/* Wants the unknown blocks of p->next ... n - 1.  With p->mutex held. */
static void
want_unknown(struct blockpos *p, struct settle *s, uint32_t n)
{
    bool unknown = false, gap = false;
    struct exi_blkid hash;
    uint32_t file = 0;

    for (uint32_t height = p->next; height < n; height++) {
        uint64_t place = get(p, height);

        if (place != 0) {
            gap |= unknown;
            file = (uint32_t) (place >> 32) - 1;
            continue;
        }
        unknown = true;
        if (settle_block_hash(s, height, &hash) != EXI_OK
            || !want(p, height, &hash)) {
            break;
        }
    }
    /* Only the newest are unknown: they are not in older files. */
    if (p->next == 0) {
        p->last_file = gap ? 0 : file;
    }
    p->next = n;
}

void
blockpos_update(struct blockpos *p, struct settle *s)
{
    uint32_t n;

    if (p == NULL || !settle_any(s)) {
        return;
    }
    n = settle_meta(s)->height + 1;
    if (!p->checked) {
        p->checked = true;
        check(p, s, n);
    }
    if (n < p->next) { /* a fallback */
        cut(p, n);
        p->next = n;
    }
    pthread_mutex_lock(&p->mutex);
    want_unknown(p, s, n);
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

int
blockpos_file(struct blockpos *p, uint32_t number, uint8_t key[BLOCKPOS_KEY])
{
    if (p == NULL) {
        return -1;
    }
    memcpy(key, p->files.key, BLOCKPOS_KEY);
    return source_files_fd(&p->files, number);
}

/* ---- start and stop ---- */

static int
open_all(struct blockpos *p, const struct blockpos_opts *o, char *why,
         size_t whylen)
{
    struct source_opts so = { .blocks_dir = o->blocks_dir,
                              .magic = o->magic,
                              .block_max = BLOCK_MAX };
    char path[4096];

    snprintf(path, sizeof(path), "%s/blockpos", o->data_dir);
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (p->fd < 0) {
        snprintf(why, whylen, "%s: %s", path, strerror(errno));
        return EXI_EIO;
    }
    return source_files_open(&p->files, &so, NULL, 0, why, whylen);
}

static int
start_thread(struct blockpos *p, char *why, size_t whylen)
{
    sigset_t all, old;
    int err;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    p->started = err == 0;
    if (err != 0) {
        snprintf(why, whylen, "cannot start a thread: %s", strerror(err));
    }
    return err == 0 ? EXI_OK : EXI_EIO;
}

int
blockpos_start(struct blockpos **out, const struct blockpos_opts *o, char *why,
               size_t whylen)
{
    struct blockpos *p = calloc(1, sizeof(*p));
    int rc = EXI_ENOMEM;

    if (p != NULL) {
        p->fd = p->files.dir = -1;
        p->magic = o->magic;
        p->dir = strdup(o->blocks_dir);
        pthread_mutex_init(&p->mutex, NULL);
        pthread_cond_init(&p->cond, NULL);
    }
    if (p == NULL || p->dir == NULL) {
        snprintf(why, whylen, "out of memory");
    } else {
        rc = open_all(p, o, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = start_thread(p, why, whylen);
    }
    if (rc != EXI_OK) {
        blockpos_stop(p);
        return rc;
    }
    *out = p;
    return EXI_OK;
}

void
blockpos_stop(struct blockpos *p)
{
    if (p == NULL) {
        return;
    }
    if (p->started) {
        pthread_mutex_lock(&p->mutex);
        p->stop = true;
        pthread_cond_signal(&p->cond);
        pthread_mutex_unlock(&p->mutex);
        pthread_join(p->thread, NULL);
    }
    if (p->fd >= 0) {
        close(p->fd);
    }
    source_files_close(&p->files);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->cond);
    free(p->wanted);
    free(p->dir);
    free(p);
}
