/*
 * Tidying: passes over the key space that leave one row for each bucket and all
 * rows in LevelDB's last level, as the initial sync does
 * (docs/architecture.md, "Tidying").
 *
 *   none --(enough was settled)--> pass: H ... U, then G --(end)--> none
 *
 * A step takes the rows of some buckets, replaces those of which there are
 * several in one synced write batch, then compacts the range of keys.  The P
 * row, written with the batch, says where the step began: after a kill it is
 * done again, which finds nothing left to merge.
 *
 * `G` goes last, since merging `H` rows adds to it.
 */
#include "settle_int.h"

#include <string.h>
#include <sys/statvfs.h>

#include "log.h"

/*
 * A pass begins when what was settled since the last one exceeds one part in
 * SHARE of the tables, and AFTER_MIN bytes.  Where the tables are so small that
 * a pass takes seconds, it is worth its while much earlier.
 */
#define SHARE       16
#define SMALL       (UINT64_C(1) << 30)
#define SMALL_SHARE 128
#define AFTER_MIN   (UINT64_C(1) << 20)

/* Free space without which no step is begun: a step's rows are in the log, and
 * twice in tables while LevelDB moves them from one level to the next. */
#define ROOM (4 * SETTLE_TIDY_STEP + (UINT64_C(256) << 20))

/* First key of a pass, and the one at which its second part begins. */
#define FIRST_KIND EXI_KIND_HISTORY
#define LAST_KIND  EXI_KIND_HEAVY

static bool
due(const struct settle *s)
{
    uint64_t fresh = s->tidy.fresh, tables;

    if (s->tidy.next.len != 0) {
        return true;
    }
    if (s->tidy_after != 0) {
        return fresh >= s->tidy_after;
    }
    if (fresh < AFTER_MIN) {
        return false;
    }
    tables = settle_db_bytes(s->db);
    return fresh >= tables / (tables < SMALL ? SMALL_SHARE : SHARE);
}

static bool
has_room(const struct settle *s)
{
    struct statvfs v;

    return statvfs(s->dir, &v) != 0
           || (uint64_t) v.f_bavail * v.f_frsize >= ROOM;
}

static void
set_key(struct exi_key *k, const uint8_t *b, size_t len)
{
    k->len = len < EXI_KEY_MAX ? len : EXI_KEY_MAX;
    memcpy(k->b, b, k->len);
}

/* Is it a row that is merged with others of its bucket? */
static bool
in_bucket(const uint8_t *key, size_t keylen)
{
    return keylen == EXI_KEY_BUCKET_LEN
           && (key[0] == EXI_KIND_HISTORY || key[0] == EXI_KIND_TXID
               || key[0] == EXI_KIND_SPENDER);
}

/* May a step end between two keys that follow each other? */
static bool
may_cut(const struct exi_key *last, const uint8_t *key, size_t keylen)
{
    return last->len < EXI_KEY_BUCKET_PREFIX || keylen < EXI_KEY_BUCKET_PREFIX
           || !in_bucket(key, keylen)
           || memcmp(last->b, key, EXI_KEY_BUCKET_PREFIX) != 0;
}

/* A step: the rows from `from` on. */
struct step {
    struct exi_key from;
    struct exi_key last; /* the last row looked at; len 0: none */
    struct exi_key next; /* the first one after it; len 0: end of the part */
    uint64_t bytes;      /* looked at */
};

/* Looks at rows until there are `most` bytes of them. */
static int
walk(struct settle *s, struct settle_merge *m, struct step *st, uint64_t most)
{
    struct settle_db_iter *it = settle_iter(s);
    const uint8_t *key, *val;
    size_t keylen, vallen;
    int rc;

    if (it == NULL) {
        return EXI_ENOMEM;
    }
    settle_db_iter_seek(it, st->from.b, st->from.len);
    while ((rc = settle_db_iter_row(it, &key, &keylen, &val, &vallen)) == 1
           && (st->from.b[0] != LAST_KIND || key[0] == LAST_KIND)) {
        if (st->bytes >= most && may_cut(&st->last, key, keylen)) {
            set_key(&st->next, key, keylen);
            break;
        }
        if (in_bucket(key, keylen)) {
            rc = settle_merge_add(m, key, val, vallen);
            if (rc != EXI_OK) {
                return rc;
            }
        }
        st->bytes += keylen + vallen;
        set_key(&st->last, key, keylen);
        settle_db_iter_next(it);
    }
    return rc < 0 ? rc : settle_merge_end(m);
}

/* Writes what a step merged, and where it began. */
static int
write_step(struct settle *s, struct settle_db_batch *wb,
           const struct settle_merge *m, const struct step *st)
{
    struct exi_meta meta = s->meta;
    struct exi_tidy t = s->tidy;
    int rc;

    meta.row_count += (uint64_t) settle_merge_row_diff(m);
    t.next = st->from;
    rc = settle_put_state(wb, &meta, &t);
    if (rc != EXI_OK) {
        return rc;
    }
    rc = settle_db_write(s->db, wb, s->err, sizeof(s->err));
    if (rc != EXI_OK) {
        settle_broke(s);
        return rc;
    }
    s->meta = meta;
    s->tidy = t;
    return EXI_OK;
}

/* Where a pass goes on after a step.  The end is written with the next batch,
 * or its last step is done again. */
static void
advance(struct settle *s, const struct step *st)
{
    struct exi_tidy *t = &s->tidy;

    if (st->next.len != 0) {
        t->next = st->next;
    } else if (st->from.b[0] != LAST_KIND) {
        t->next.b[0] = LAST_KIND;
        t->next.len = 1;
    } else {
        /* Each step wrote these two. */
        settle_db_compact(s->db, EXI_KEY_TIDY, 1, EXI_KEY_TIDY,
                          EXI_KEY_TIDY_LEN);
        t->next.len = 0;
        t->fresh -= t->mark;
        t->mark = 0;
        log_debug("settle", "tidy: end of a pass");
    }
}

static int
run_step(struct settle *s, uint64_t most, uint64_t *bytes)
{
    struct settle_db_batch *wb = settle_db_batch_new();
    struct settle_merge *m = NULL;
    struct step st = { .from = s->tidy.next };
    int rc = wb == NULL ? EXI_ENOMEM : settle_merge_new(&m, s, wb);

    if (rc == EXI_OK) {
        rc = walk(s, m, &st, most);
    }
    /* It would keep tables that are compacted away. */
    settle_iter_drop(s);
    if (rc == EXI_OK) {
        rc = write_step(s, wb, m, &st);
    }
    if (rc == EXI_OK && st.last.len != 0) {
        settle_db_compact(s->db, st.from.b, st.from.len, st.last.b,
                          st.last.len);
    }
    if (rc == EXI_OK) {
        advance(s, &st);
        *bytes += st.bytes;
    }
    settle_merge_free(m);
    settle_db_batch_free(wb);
    return rc;
}

static void
begin_pass(struct settle *s)
{
    s->tidy.next.b[0] = FIRST_KIND;
    s->tidy.next.len = 1;
    s->tidy.mark = s->tidy.fresh;
    log_debug("settle", "tidy: begin of a pass, %llu bytes were settled",
              (unsigned long long) s->tidy.fresh);
}

/* A line for the operator when the outcome changes. */
static void
say(struct settle *s, int rc)
{
    if (rc == s->tidy_rc) {
        return;
    }
    s->tidy_rc = rc;
    if (rc != EXI_OK) {
        log_error("settle", "tidying the index: %s; it goes on being served",
                  exi_strerror(rc));
    } else {
        log_info("settle", "tidying the index goes on");
    }
}

int
settle_tidy(struct settle *s, uint64_t max_bytes, bool *more)
{
    uint64_t bytes = 0;
    int rc = settle_writable(s);

    *more = false;
    if (rc != EXI_OK || !s->any || !due(s)) {
        return rc;
    }
    if (!has_room(s)) {
        say(s, EXI_ESPACE);
        return EXI_ESPACE;
    }
    if (s->tidy.next.len == 0) {
        begin_pass(s);
    }
    do {
        uint64_t most = max_bytes - bytes < SETTLE_TIDY_STEP ? max_bytes - bytes
                                                             : SETTLE_TIDY_STEP;

        rc = run_step(s, most, &bytes);
    } while (rc == EXI_OK && s->tidy.next.len != 0 && bytes < max_bytes);
    *more = rc == EXI_OK && s->tidy.next.len != 0;
    s->tidied = s->tidied || (rc == EXI_OK && !*more);
    say(s, rc);
    return rc;
}
