/*
 * Makes a LevelDB of sorted rows: tables by LevelDB's TableBuilder, then a
 * manifest that puts them into their levels.  Nothing is logged, merged or
 * compacted, and the result is a database like any other.
 * Used by bulk*.c and settle_fold.c only.  err (of errlen >= 256 bytes) gets a text on failure.
 */
#ifndef SETTLE_LOAD_H
#define SETTLE_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"
#include "lib/exi_format.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The level of the initial sync's tables. */
#define SETTLE_LAST_LEVEL 6

/* Tag of a row: sequence number << 8, and 1, or 0 for one that says that rows
 * of older tables with this key do not count. */
#define SETTLE_TAG_ROW   1
#define SETTLE_TAG_FIRST (UINT64_C(1) << 8 | SETTLE_TAG_ROW)

/* A finished table: dir/<number>.ldb, with the first and last key in it. */
struct settle_table {
    uint64_t number;
    uint64_t bytes;
    uint64_t rows; /* not known of one that was found in a manifest */
    struct exi_key first;
    struct exi_key last;
    uint64_t first_tag;
    uint64_t last_tag;
    unsigned level; /* SETTLE_LAST_LEVEL, unless the caller changes it */
};

/* A thread's row of tables. */
struct settle_load;

/* Gives numbers of tables, each once.  Any thread. */
typedef uint64_t (*settle_load_number_pt)(void *ctx);

/* Begins a row of tables in dir.  EXI_ENOMEM. */
int settle_load_new(struct settle_load **out, const char *dir,
                    settle_load_number_pt number, void *ctx) EXI_MUST_CHECK;
/* Adds a row; its key is above the one before.  EXI_EIO, EXI_ESPACE;
 * EXI_EAPI: order or length of the key. */
int settle_load_add(struct settle_load *l, const void *key, size_t keylen,
                    const void *val, size_t vallen) EXI_MUST_CHECK;
/* The same with a tag of its own (settle_load_add: SETTLE_TAG_FIRST). */
int settle_load_add_tagged(struct settle_load *l, const void *key,
                           size_t keylen, uint64_t tag, const void *val,
                           size_t vallen) EXI_MUST_CHECK;
/* Ends the last table.  Not synced: the caller does that for all files. */
int settle_load_end(struct settle_load *l, char *err,
                    size_t errlen) EXI_MUST_CHECK;
/* Tables finished so far, good until the next call. */
size_t settle_load_tables(const struct settle_load *l,
                          const struct settle_table **out);
/* Leaves a table that was not ended.  NULL is allowed. */
void settle_load_free(struct settle_load *l);

/* Writes MANIFEST and CURRENT for tables that do not overlap within a level,
 * synced.  number: above all theirs; sequence: the highest in a tag. */
int settle_load_manifest(const char *dir, const struct settle_table *tables,
                         size_t n, uint64_t number, uint64_t sequence,
                         char *err, size_t errlen) EXI_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* SETTLE_LOAD_H */
