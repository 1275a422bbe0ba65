/*
 * The rows of a published generation (its db/), read without LevelDB: the
 * tables are read where they lie (exi_table.h), the MANIFEST says which they
 * are, and what is still in a log is kept in memory.  Writes, locks and deletes
 * nothing; starts no thread.  (The writer's handle is indexer/settle_db.h.)
 */
#ifndef EXI_RODB_H
#define EXI_RODB_H

#include <stddef.h>
#include <stdint.h>

#include "exi_cold.h"
#include "exi_err.h"

struct exi_rodb;
struct exi_rodb_iter;

/*
 * Opens dir (a generation's db/).  EXI_EFORMAT (damage, another comparator, a
 * compressed table), EXI_EIO: err (of errlen bytes, >= 256) gets a text that
 * names the file; EXI_ESTALE: dir is not there, or was removed while it was
 * being opened; EXI_ENOMEM.  Any process, any number of times; a handle may be
 * used by several threads at once, each with its own iterators.  All tables are
 * mapped when it returns, so what happens to the directory afterwards does not
 * matter.  A descriptor for each table is held (one for all generations that
 * link it).  Waits for the disk.
 */
int exi_rodb_open(struct exi_rodb **out, const char *dir, char *err,
                  size_t errlen) EXI_MUST_CHECK;
void exi_rodb_close(struct exi_rodb *db); /* NULL is allowed */

/*
 * Looks a key up.  EXI_OK: *val is good until the handle is closed.
 * EXI_ENOTFOUND; EXI_EIO: read error or damage (exi_rodb_damage).  cold (or
 * NULL: may wait): where what is missing is noted; EXI_ECOLD.
 */
int exi_rodb_get(struct exi_rodb *db, struct exi_cold *cold, const void *key,
                 size_t keylen, const uint8_t **val,
                 size_t *vallen) EXI_MUST_CHECK;

/* The damage that was met first by any look-up, with the name of the file: a
 * text good until the handle is closed, "" if there was none.  Any thread. */
const char *exi_rodb_damage(const struct exi_rodb *db);

/* How many sorted runs a look-up may have to ask. */
size_t exi_rodb_runs(const struct exi_rodb *db);

/*
 * Iterators: one thread; ends before its handle is closed.  cold (or NULL: may
 * wait) is used by each call; after EXI_ECOLD a seek must come next.  NULL: no
 * memory.
 */
struct exi_rodb_iter *exi_rodb_iter_new(struct exi_rodb *db,
                                        struct exi_cold *cold);
void exi_rodb_iter_free(struct exi_rodb_iter *it); /* NULL is allowed */

/* To the first row whose key is not below this one. */
void exi_rodb_iter_seek(struct exi_rodb_iter *it, const void *key,
                        size_t keylen);
/*
 * The same, but only rows whose key begins with the first `prefix` bytes of
 * this one count: behind them is the end.  Cheaper than to look at keys, since
 * no block is touched just to find that out.
 */
void exi_rodb_iter_seek_in(struct exi_rodb_iter *it, const void *key,
                           size_t keylen, size_t prefix);
void exi_rodb_iter_next(struct exi_rodb_iter *it);
/* 1: at a row (key good until the next call on it, val until the handle is
 * closed), 0: past the end, EXI_EIO: read error or damage (exi_rodb_damage);
 * EXI_ECOLD: the way there is not in memory, all that the last call missed was
 * noted. */
int exi_rodb_iter_row(struct exi_rodb_iter *it, const uint8_t **key,
                      size_t *keylen, const uint8_t **val, size_t *vallen);

#endif /* EXI_RODB_H */
