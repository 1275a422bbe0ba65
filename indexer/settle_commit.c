/*
 * The settled layer: making a batch durable, and what follows from a failure.
 *
 * The commit point is the synced write batch with the new M row; the flat
 * files are synced before.
 *
 * After a failed write LevelDB refuses all others, and whether the batch will
 * be found in its log is open; it can still be read, and shows the state before
 * it.  So it goes on being read (the live layer needs that on a full disk), and
 * is closed and opened again before the next write.
 */
#include "settle_int.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "log.h"

/* Pause between vain tries to open the database again. */
#define REOPEN_MS 200
/* Free space below which it is not closed for being opened again. */
#define REOPEN_ROOM (UINT64_C(256) << 20)

void
settle_counts(struct flat_counts *c, bool any, const struct exi_meta *m)
{
    memset(c, 0, sizeof(*c));
    if (any) {
        flat_counts_of(c, m->height, m->tx_count);
    }
}

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

int
settle_ready(struct settle *s)
{
    struct settle_epoch e;
    char why[512] = "";
    int rc;

    if (s->db != NULL) {
        return EXI_OK;
    }
    if (now_ms() - s->tried_ms < REOPEN_MS) {
        return EXI_EIO;
    }
    rc = settle_epoch_open(&e, s, s->epoch, why, sizeof(why));
    if (rc != EXI_OK) {
        s->tried_ms = now_ms();
        log_error("settle", "%s", why);
        return rc;
    }
    settle_epoch_use(s, &e);
    s->broken = false;
    return EXI_OK;
}

/* Is there room to replay the log, without which it can't be opened? */
static bool
has_room(const struct settle *s)
{
    struct statvfs v;

    return statvfs(s->dir, &v) != 0
           || (uint64_t) v.f_bavail * v.f_frsize >= REOPEN_ROOM;
}

int
settle_writable(struct settle *s)
{
    if (s->db != NULL && s->broken) {
        if (!has_room(s)) {
            return EXI_ESPACE;
        }
        settle_iter_drop(s);
        settle_db_close(s->db);
        flat_close(s->flat);
        s->db = NULL;
        s->flat = NULL;
        s->tried_ms = 0;
    }
    return settle_ready(s);
}

void
settle_broke(struct settle *s)
{
    log_error("settle", "database: %s", s->err);
    s->broken = true;
}

/* Integers of a flat file as its bytes, LE, in place. */
static void
to_le32(uint32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        exi_put_le32((uint8_t *) &v[i], v[i]);
    }
}

static void
to_le64(uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        exi_put_le64((uint8_t *) &v[i], v[i]);
    }
}

/* Appends the batch to the flat files and syncs them. */
static int
commit_flat(struct settle *s)
{
    const struct settle_batch *b = &s->batch;
    const struct {
        enum exi_flat file;
        const void *records;
        uint64_t n;
    } parts[] = {
        { EXI_FLAT_HEADERS, b->headers, b->nblocks },
        { EXI_FLAT_HMERKLE, b->hmerkle, b->nhmerkle },
        { EXI_FLAT_TXCOUNTS, b->txcounts, b->nblocks },
        { EXI_FLAT_BLOCKSIZES, b->sizes, b->nblocks },
        { EXI_FLAT_TXIDS, b->txids, b->ntx },
        { EXI_FLAT_TXOFFSETS, b->offsets, b->ntx },
    };
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < EXI_FLAT_N; i++) {
        rc = flat_append(s->flat, parts[i].file, parts[i].records, parts[i].n);
    }
    if (rc == EXI_OK) {
        rc = flat_sync(s->flat);
    }
    if (rc != EXI_OK) {
        log_error("settle", "flat files: %s", strerror(errno));
    }
    return rc;
}

int
settle_put_state(struct settle_db_batch *wb, const struct exi_meta *m,
                 const struct exi_tidy *t)
{
    static const uint8_t meta[1] = { EXI_KIND_META };
    uint8_t val[EXI_META_LEN], progress[EXI_TIDY_MAX];
    int rc;

    exi_meta_encode(val, m);
    rc = settle_db_put(wb, meta, sizeof(meta), val, sizeof(val));
    if (rc == EXI_OK) {
        rc = settle_db_put(wb, EXI_KEY_TIDY, EXI_KEY_TIDY_LEN, progress,
                           exi_tidy_encode(progress, t));
    }
    return rc;
}

/* Makes all rows of the batch, and the M and P rows that go with them. */
static int
commit_rows(struct settle *s, struct settle_db_batch *wb, struct exi_meta *m,
            struct exi_tidy *t)
{
    const struct settle_batch *b = &s->batch;
    int rc;

    *m = s->meta;
    m->version = EXI_FORMAT_VERSION;
    m->height = b->first_height + b->nblocks - 1;
    m->block = b->tip;
    m->tx_count = b->first_txnum + b->ntx;
    rc = settle_dup_outs(s);
    if (rc == EXI_OK) {
        rc = settle_rows(s, wb, m);
    }
    if (rc == EXI_OK) {
        rc = settle_dup_rows(s, wb, m);
    }
    if (rc == EXI_OK) {
        *t = s->tidy;
        t->fresh += settle_db_batch_bytes(wb);
        rc = settle_put_state(wb, m, t);
    }
    return rc;
}

/*
 * Writes all; *again: the database was broken by an earlier failure and has
 * been opened again, so that a second try makes sense.
 */
static int
commit_write(struct settle *s, struct settle_db_batch *wb,
             const struct exi_meta *m, const struct exi_tidy *t, bool *again)
{
    struct flat_counts before;
    int rc;

    *again = false;
    settle_counts(&before, s->any, &s->meta);
    rc = commit_flat(s);
    if (rc != EXI_OK) {
        flat_rewind(s->flat, &before);
        return rc;
    }
    rc = settle_db_write(s->db, wb, s->err, sizeof(s->err));
    if (rc == EXI_OK) {
        s->meta = *m;
        s->tidy = *t;
        s->any = true;
        return EXI_OK;
    }
    flat_rewind(s->flat, &before);
    settle_broke(s);
    if (settle_writable(s) != EXI_OK) {
        return rc;
    }
    if (s->any && memcmp(&s->meta.block, &m->block, sizeof(m->block)) == 0) {
        return EXI_OK;
    }
    *again = true;
    return rc;
}

int
settle_commit(struct settle *s)
{
    struct settle_batch *b = &s->batch;
    struct settle_db_batch *wb;
    struct exi_tidy t;
    struct exi_meta m;
    bool again;
    int rc;

    if (b->nblocks == 0) {
        return EXI_OK;
    }
    wb = settle_db_batch_new();
    rc = wb == NULL ? EXI_ENOMEM : settle_writable(s);
    if (rc == EXI_OK && b->first_txnum != (s->any ? s->meta.tx_count : 0)) {
        rc = EXI_EAPI;
    }
    if (rc == EXI_OK) {
        rc = commit_rows(s, wb, &m, &t);
    }
    if (rc == EXI_OK) {
        to_le64(b->txcounts, b->nblocks);
        to_le32(b->sizes, b->nblocks);
        to_le32(b->offsets, b->ntx);
        rc = commit_write(s, wb, &m, &t, &again);
        if (rc != EXI_OK && again) {
            rc = commit_write(s, wb, &m, &t, &again);
        }
    }
    settle_db_batch_free(wb);
    settle_abort(s);
    return rc;
}
