/*
 * The tables of a LevelDB that nobody has open for writing, and their rows as
 * they are, those that say that a row was removed included.  LevelDB's own
 * iterator hides those, and it needs the database open, in which a thread of
 * its own moves tables about.
 * Used by settle*.c only; one thread.  err (of errlen >= 256 bytes) gets a text
 * on failure.
 */
#ifndef SETTLE_RUNS_H
#define SETTLE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"
#include "settle_load.h"

#ifdef __cplusplus
extern "C" {
#endif

struct settle_runs;
struct settle_cursor;

/* Reads the manifest in dir, which may be that of an open database: what was
 * appended last may be missing then.  EXI_EFORMAT, EXI_EIO. */
int settle_runs_open(struct settle_runs **out, const char *dir, char *err,
                     size_t errlen) EXI_MUST_CHECK;
/* After its cursors.  NULL is allowed. */
void settle_runs_free(struct settle_runs *r);

/* All tables, in no order; good until settle_runs_free. */
size_t settle_runs_tables(const struct settle_runs *r,
                          const struct settle_table **out);
/* Bytes of the tables in levels from ... to. */
uint64_t settle_runs_bytes(const struct settle_runs *r, unsigned from,
                           unsigned to);
/* A number above all files', and the highest sequence number. */
uint64_t settle_runs_next(const struct settle_runs *r);
uint64_t settle_runs_sequence(const struct settle_runs *r);
/* Are all rows in tables, none in a log? */
bool settle_runs_flushed(const struct settle_runs *r);

/* A row as a table has it: good until the cursor moves. */
struct settle_raw {
    const uint8_t *key;
    size_t keylen;
    uint64_t tag;
    const uint8_t *val;
    size_t vallen;
};

/*
 * Goes over the rows of levels 0 ... level whose key begins with `from` or is
 * above it, ascending; of those of one key only the newest is seen.  Takes some
 * tables' indexes of memory and a descriptor for each run.  Block checksums are
 * verified.
 */
int settle_cursor_new(struct settle_cursor **out, const struct settle_runs *r,
                      unsigned level, uint8_t from) EXI_MUST_CHECK;
void settle_cursor_free(struct settle_cursor *c);
/* 1: *row is set; 0: past the end; EXI_EFORMAT: a damaged table; EXI_EIO. */
int settle_cursor_row(struct settle_cursor *c, struct settle_raw *row);
void settle_cursor_next(struct settle_cursor *c);

#ifdef __cplusplus
}
#endif

#endif /* SETTLE_RUNS_H */
