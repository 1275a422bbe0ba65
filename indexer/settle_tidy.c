/*
 * Tidying: keeps the rows of the settled layer in two sorted runs, as quick to
 * ask as the one that the initial sync leaves (docs/architecture.md,
 * "Tidying").
 *
 *   level 6      base: one row a bucket
 *   level 5      recent: one row a bucket, and what says that rows of base do
 *                not count
 *   levels 0-4   batches since the last fold, as LevelDB keeps them
 *
 *   fold     levels 0-5 -> level 5, when enough is new
 *   rewrite  levels 0-6 -> level 6, when recent is a fair part of base
 *
 * Both make a new epoch, with LevelDB closed meanwhile; a kill leaves the old
 * one or the new one.
 */
#include "settle_fold.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "log.h"

#define RECENT_LEVEL 5

/*
 * What is new is folded when it is more than one part in FOLD_SHARE of the
 * recent run, on mainnet that is after each batch; the recent run is merged into
 * base when it is more than one part in REWRITE_SHARE of that.  The arithmetic
 * is in docs/architecture.md, measurements in docs/performance.md.
 */
#define FOLD_SHARE    256
#define REWRITE_SHARE 32
/* Bytes below which nothing is worth it. */
#define AFTER_MIN (UINT64_C(16) << 10)

/* Free space that is left alone. */
#define ROOM (UINT64_C(256) << 20)
/* From so many bytes on the operator is told. */
#define TOLD_FROM (UINT64_C(1) << 30)
/* After a failure: it may have written as much as a success. */
#define AGAIN_MS (UINT64_C(6) * 3600 * 1000)

/* Bytes of tables. */
struct sizes {
    uint64_t base, recent, fresh;
};

static int
db_path(char path[FS_PATH_MAX], const struct settle *s, uint64_t epoch)
{
    return settle_epoch_path(path, s, epoch, "/db");
}

static int
read_sizes(struct settle *s, struct sizes *z)
{
    struct settle_runs *r = NULL;
    char path[FS_PATH_MAX];
    int rc = db_path(path, s, s->epoch);

    if (rc == EXI_OK) {
        rc = settle_runs_open(&r, path, s->err, sizeof(s->err));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    z->base = settle_runs_bytes(r, SETTLE_LAST_LEVEL, SETTLE_LAST_LEVEL);
    z->recent = settle_runs_bytes(r, RECENT_LEVEL, RECENT_LEVEL);
    z->fresh = settle_runs_bytes(r, 0, RECENT_LEVEL - 1);
    /* The log is no table yet. */
    z->fresh = s->tidy.fresh > z->fresh ? s->tidy.fresh : z->fresh;
    settle_runs_free(r);
    return EXI_OK;
}

static bool
fold_due(const struct settle *s, const struct sizes *z)
{
    if (s->tidy_after != 0) {
        return s->tidy.fresh >= s->tidy_after;
    }
    return s->tidy.fresh >= AFTER_MIN && z->fresh >= z->recent / FOLD_SHARE;
}

static bool
rewrite_due(const struct settle *s, const struct sizes *z)
{
    uint64_t n = z->recent + z->fresh;

    return n >= (s->tidy_after != 0 ? s->tidy_after : AFTER_MIN)
           && n >= z->base / REWRITE_SHARE;
}

/* Room for tables of so many bytes? */
static bool
has_room(const struct settle *s, uint64_t bytes)
{
    struct statvfs v;

    return statvfs(s->dir, &v) != 0
           || (uint64_t) v.f_bavail * v.f_frsize >= bytes + ROOM;
}

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* May a level be made?  Not if it has a damaged row, nor shortly after it could
 * not be made for another reason. */
static bool
may_make(const struct settle *s, unsigned level)
{
    return level <= s->tidy_highest
           && (level < s->tidy_failed || now_ms() >= s->tidy_again_ms);
}

/* A line for the operator when the outcome changes: what went wrong with a
 * level is not well again before that level is. */
static void
say(struct settle *s, int rc, unsigned level)
{
    if (rc == s->tidy_rc || (rc == EXI_OK && level < s->tidy_level)) {
        return;
    }
    s->tidy_rc = rc;
    s->tidy_level = level;
    if (rc != EXI_OK) {
        log_error("settle", "tidying the index: %s; it goes on being served",
                  exi_strerror(rc));
    } else {
        log_info("settle", "tidying the index goes on");
    }
}

/*
 * The new epoch.
 */

/* What a fold has to do with. */
struct fold {
    unsigned level;
    settle_stop_pt stop;
    void *stop_ctx;
};

/* settled/<epoch>/db */
static int
make_db(struct settle *s, const struct fold *f, uint64_t epoch)
{
    struct settle_fold_opts o = { .level = f->level,
                                  .stop = f->stop,
                                  .stop_ctx = f->stop_ctx };
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    struct settle_runs *r = NULL;
    int rc = db_path(from, s, s->epoch);

    if (rc == EXI_OK) {
        rc = db_path(to, s, epoch);
    }
    if (rc == EXI_OK && (rc = fs_mkdir(to)) == EXI_OK) {
        rc = settle_runs_open(&r, from, s->err, sizeof(s->err));
    }
    if (rc == EXI_OK) {
        o.runs = r;
        o.from = from;
        o.to = to;
        rc = settle_runs_flushed(r) ? settle_fold_run(s, &o) : EXI_EIO;
    }
    settle_runs_free(r);
    return rc;
}

static int
make_epoch(struct settle *s, const struct fold *f, uint64_t epoch)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX], flat[FS_PATH_MAX];
    struct flat_counts counts;
    int rc = settle_epoch_path(to, s, epoch, "");

    if (rc == EXI_OK && (rc = fs_remove_tree(to)) == EXI_OK
        && (rc = fs_mkdir(to)) == EXI_OK) {
        rc = make_db(s, f, epoch);
    }
    settle_counts(&counts, s->any, &s->meta);
    if (rc == EXI_OK
        && (rc = settle_epoch_path(from, s, s->epoch, "/flat")) == EXI_OK
        && (rc = settle_epoch_path(flat, s, epoch, "/flat")) == EXI_OK
        && (rc = fs_mkdir(flat)) == EXI_OK
        && (rc = flat_link(from, flat, &counts, false)) == EXI_OK) {
        rc = fs_sync_dir(flat);
    }
    return rc == EXI_OK ? fs_sync_dir(to) : rc;
}

/* Does the new epoch hold what the old one does? */
static bool
is_same(const struct settle *s, const struct settle_epoch *e)
{
    struct exi_meta m = e->meta;

    m.row_count = s->meta.row_count;
    return e->any && memcmp(&m, &s->meta, sizeof(m)) == 0;
}

/* Makes the epoch and goes over to it; LevelDB is closed. */
static int
replace_epoch(struct settle *s, const struct fold *f)
{
    uint64_t epoch = s->epoch + 1;
    struct settle_epoch e;
    char why[512] = "";
    int rc = make_epoch(s, f, epoch);

    if (rc == EXI_OK) {
        rc = settle_epoch_open(&e, s, epoch, why, sizeof(why));
    }
    if (rc == EXI_OK && !is_same(s, &e)) {
        settle_epoch_close(&e);
        rc = EXI_EFORMAT;
    }
    if (rc != EXI_OK) {
        settle_epoch_remove(s, epoch);
    } else {
        rc = settle_epoch_switch(s, epoch, &e, why, sizeof(why));
    }
    if (*why != '\0') {
        log_error("settle", "tidy: %s", why);
    }
    return rc;
}

static int
fold(struct settle *s, const struct fold *f)
{
    int rc = settle_db_flush(s->db, s->err, sizeof(s->err)), again;

    if (rc != EXI_OK) {
        settle_broke(s);
        return rc;
    }
    settle_iter_drop(s);
    settle_db_close(s->db);
    flat_close(s->flat);
    s->db = NULL;
    s->flat = NULL;
    s->tried_ms = 0;
    rc = replace_epoch(s, f);
    if (rc == EXI_OK) {
        s->tidied = true;
        return EXI_OK;
    }
    again = settle_ready(s);
    return again != EXI_OK ? again : rc;
}

/*
 * When.
 */

/* The level that is to be made now, 0: none; *more: base is to be rewritten,
 * which was not asked for. */
static unsigned
choose(struct settle *s, const struct sizes *z, bool all, bool *more)
{
    *more = false;
    if (rewrite_due(s, z) && may_make(s, SETTLE_LAST_LEVEL)) {
        if (has_room(s, z->base + z->recent + z->fresh)) {
            *more = !all;
            return all ? SETTLE_LAST_LEVEL : 0;
        }
        say(s, EXI_ESPACE, SETTLE_LAST_LEVEL);
    }
    if (!fold_due(s, z) || !may_make(s, RECENT_LEVEL)) {
        return 0;
    }
    if (!has_room(s, z->recent + z->fresh)) {
        say(s, EXI_ESPACE, RECENT_LEVEL);
        return 0;
    }
    return RECENT_LEVEL;
}

static void
tell(const char *what, unsigned level, uint64_t bytes)
{
    const char *name = level == SETTLE_LAST_LEVEL ? "rewrite" : "fold";

    if (bytes >= TOLD_FROM) {
        log_info("settle", "tidy: %s of a %s, %" PRIu64 " MB", what, name,
                 bytes >> 20);
    } else {
        log_debug("settle", "tidy: %s of a %s, %" PRIu64 " bytes", what, name,
                  bytes);
    }
}

/* After a fold: is base to be rewritten? */
static bool
rewrite_waits(struct settle *s)
{
    struct sizes z;
    bool more;

    return read_sizes(s, &z) == EXI_OK && choose(s, &z, false, &more) == 0
           && more;
}

static void
note_outcome(struct settle *s, int rc, unsigned level)
{
    if (rc == EXI_OK) {
        s->tidy_again_ms = level >= s->tidy_failed ? 0 : s->tidy_again_ms;
    } else {
        s->tidy_failed = now_ms() < s->tidy_again_ms && s->tidy_failed < level
                             ? s->tidy_failed
                             : level;
        s->tidy_again_ms = now_ms() + AGAIN_MS;
    }
}

int
settle_tidy(struct settle *s, bool all, settle_stop_pt stop, void *ctx,
            bool *more)
{
    struct fold f = { 0, stop, ctx };
    struct sizes z;
    uint64_t bytes;
    int rc = settle_writable(s);

    *more = false;
    if (rc != EXI_OK || !s->any) {
        return rc;
    }
    rc = read_sizes(s, &z);
    if (rc != EXI_OK) {
        say(s, rc, SETTLE_LAST_LEVEL);
        return rc;
    }
    f.level = choose(s, &z, all, more);
    if (f.level == 0) {
        return EXI_OK;
    }
    bytes = z.recent + z.fresh + (f.level == SETTLE_LAST_LEVEL ? z.base : 0);
    tell("begin", f.level, bytes);
    rc = fold(s, &f);
    if (rc == EXI_ESTALE) {
        tell("stop", f.level, bytes);
        return rc;
    }
    say(s, rc, f.level);
    note_outcome(s, rc, f.level);
    if (rc == EXI_OK) {
        tell("end", f.level, bytes);
        *more = rewrite_waits(s);
    } else if (rc == EXI_EFORMAT) {
        s->tidy_highest = f.level - 1;
    }
    return rc;
}
