/*
 * Inside of tidying (settle_tidy.c, settle_fold.c, settle_merge.c): not for
 * others.
 *
 *   settle_tidy.c   when, into which level, the new epoch
 *   settle_fold.c   the rows of some levels -> tables of one
 *   settle_merge.c  rows of a bucket -> one row
 */
#ifndef SETTLE_FOLD_H
#define SETTLE_FOLD_H

#include "settle_int.h"
#include "settle_runs.h"

/* What is written. */
struct settle_fold_opts {
    const struct settle_runs *runs;
    const char *from; /* the database of them: settled/<epoch>/db */
    const char *to;   /* an empty directory */
    unsigned level;   /* levels 0 ... level become this one */
    settle_stop_pt stop;
    void *stop_ctx;
};

/*
 * Makes a database in o->to: levels 0 ... o->level as one sorted run, its rows
 * merged; the tables of deeper levels linked; M and P rows made for it.  Synced
 * but for the directory above it.  Nothing in o->from is changed.
 * EXI_ESTALE: stopped; EXI_EFORMAT: a damaged row; EXI_EIO, EXI_ESPACE (errno
 * or s->err), EXI_ENOMEM.  What is in o->to then is of no use.
 */
int settle_fold_run(struct settle *s,
                    const struct settle_fold_opts *o) EXI_MUST_CHECK;

/*
 * For settle_merge.c.
 */
struct settle_fold;

/* Writes a row.  Keys ascend within `G`, and within all other kinds. */
int settle_fold_put(struct settle_fold *f, const struct exi_key *k,
                    uint64_t tag, const uint8_t *val,
                    size_t vallen) EXI_MUST_CHECK;
/* Writes the `G` rows below a key as they are. */
int settle_fold_heavy_to(struct settle_fold *f,
                         const struct exi_key *k) EXI_MUST_CHECK;
/* The same, and takes the row of that key out: the caller writes what becomes
 * of it.  *row is good until the next call of these.  EXI_EFORMAT: it is not
 * there. */
int settle_fold_heavy_take(struct settle_fold *f, const struct exi_key *k,
                           struct settle_raw *row) EXI_MUST_CHECK;

/* Rows of one bucket on their way to be one; rows come in key order. */
struct settle_merge;
/* The result goes to f; both are borrowed.  EXI_ENOMEM. */
int settle_merge_new(struct settle_merge **out, struct settle *s,
                     struct settle_fold *f) EXI_MUST_CHECK;
void settle_merge_free(struct settle_merge *m);
/* Writes the bucket under way, unless the key of the next row (of any kind) is
 * one of its rows.  EXI_EFORMAT: a row is damaged; errors of settle_fold_put. */
int settle_merge_reach(struct settle_merge *m, const uint8_t *key,
                       size_t keylen) EXI_MUST_CHECK;
/* Adds an `H`, `T` or `S` row (all is copied); settle_merge_reach() first. */
int settle_merge_add(struct settle_merge *m,
                     const struct settle_raw *row) EXI_MUST_CHECK;
/* Ends the last bucket; errors as settle_merge_reach. */
int settle_merge_end(struct settle_merge *m) EXI_MUST_CHECK;

#endif /* SETTLE_FOLD_H */
