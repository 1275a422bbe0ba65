/*
 * The LevelDB that is written: C API over LevelDB's C++ one, with an Env that
 * can hold deletions back while a generation is made.  Used by settle*.c only.
 * All functions belong to one thread; LevelDB compacts in a thread of its own.
 * err (of errlen >= 256 bytes) gets LevelDB's text on failure.
 */
#ifndef SETTLE_DB_H
#define SETTLE_DB_H

#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct settle_db;
struct settle_db_iter;
struct settle_db_batch;

/*
 * Opens the database in dir; create: makes it if there is none.  EXI_EFORMAT:
 * corrupt; EXI_EBUSY: another process has it open; EXI_ESPACE, EXI_EIO.
 */
int settle_db_open(struct settle_db **out, const char *dir, int create,
                   char *err, size_t errlen) EXI_MUST_CHECK;
/* Waits for a compaction step under way.  NULL is allowed. */
void settle_db_close(struct settle_db *db);

/*
 * Copies a value of at most buflen bytes.  EXI_ENOTFOUND; EXI_EFORMAT: longer;
 * EXI_EIO: read error or corruption.
 */
int settle_db_get(struct settle_db *db, const void *key, size_t keylen,
                  uint8_t *buf, size_t buflen, size_t *vallen) EXI_MUST_CHECK;

/* Iterators see the database as it was when they were made; they are freed
 * before it is closed.  NULL: no memory. */
struct settle_db_iter *settle_db_iter_new(struct settle_db *db);
void settle_db_iter_free(struct settle_db_iter *it);
void settle_db_iter_seek(struct settle_db_iter *it, const void *key,
                         size_t keylen);
void settle_db_iter_next(struct settle_db_iter *it);
/* 1: at a row (key and value good until the next call on it), 0: past the end,
 * EXI_EIO: read error or corruption. */
int settle_db_iter_row(struct settle_db_iter *it, const uint8_t **key,
                       size_t *keylen, const uint8_t **val, size_t *vallen);

/* A batch of changes; the bytes are copied.  NULL: no memory. */
struct settle_db_batch *settle_db_batch_new(void);
void settle_db_batch_free(struct settle_db_batch *b);
int settle_db_put(struct settle_db_batch *b, const void *key, size_t keylen,
                  const void *val, size_t vallen) EXI_MUST_CHECK;
int settle_db_delete(struct settle_db_batch *b, const void *key,
                     size_t keylen) EXI_MUST_CHECK;

/* Bytes of a batch. */
size_t settle_db_batch_bytes(const struct settle_db_batch *b);

/*
 * Applies a batch: all or nothing, durable when it returns.  After a failure
 * (EXI_ESPACE, EXI_EIO) whether it was applied is known only after closing and
 * opening again, and nothing can be written before that.
 */
int settle_db_write(struct settle_db *db, struct settle_db_batch *b, char *err,
                    size_t errlen) EXI_MUST_CHECK;

/* Writes what is in memory to tables, so that the log is empty.  Does not wait
 * for compactions.  EXI_ESPACE, EXI_EIO. */
int settle_db_flush(struct settle_db *db, char *err,
                    size_t errlen) EXI_MUST_CHECK;

/* From hold to release no file of the database is deleted. */
void settle_db_hold(struct settle_db *db);
void settle_db_release(struct settle_db *db);

#ifdef __cplusplus
}
#endif

#endif /* SETTLE_DB_H */
