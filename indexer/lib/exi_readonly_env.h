/*
 * A read-only LevelDB handle on a published generation: writes, locks, deletes
 * and compacts nothing.  C API over a small C++ file; no C++ exception leaves
 * it.  (The writer's handle is indexer/settle_db.h.)
 */
#ifndef EXI_READONLY_ENV_H
#define EXI_READONLY_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "exi_cold.h"
#include "exi_err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct exi_rodb;
struct exi_rodb_iter;

/*
 * Opens dir (a generation's db/) read-only.  EXI_EIO / EXI_EFORMAT: err (of
 * errlen bytes, >= 256) gets LevelDB's text; EXI_ESTALE: dir is not there, or
 * was removed while it was being opened.  Any process, any number of
 * times; a handle may be used by several threads at once, each with its own
 * iterators and value buffers.  All tables are mapped when it returns, so what
 * happens to the directory afterwards does not matter.  A descriptor for each
 * table is held (one for all generations that link it), and its index in
 * memory; no thread.  Every block that is read has its checksum verified.
 */
int exi_rodb_open(struct exi_rodb **out, const char *dir, char *err,
                  size_t errlen) EXI_MUST_CHECK;
void exi_rodb_close(struct exi_rodb *db);

/*
 * Looks a key up.  EXI_OK: the value is appended nowhere but given to the
 * caller as *val, owned by *holder, until exi_rodb_val_free(*holder).
 * EXI_ENOTFOUND, EXI_EIO (corruption included).  cold (or NULL: may wait): where
 * what is missing is noted; EXI_ECOLD.
 */
struct exi_rodb_val;
int exi_rodb_get(struct exi_rodb *db, struct exi_cold *cold, const void *key,
                 size_t keylen, struct exi_rodb_val **holder,
                 const uint8_t **val, size_t *vallen) EXI_MUST_CHECK;
void exi_rodb_val_free(struct exi_rodb_val *holder);

/*
 * Iterators: one thread; ends before its handle is closed.  cold (or NULL: may
 * wait) is used by each call; after EXI_ECOLD a seek must come next.
 */
struct exi_rodb_iter *exi_rodb_iter_new(struct exi_rodb *db,
                                        struct exi_cold *cold);
void exi_rodb_iter_free(struct exi_rodb_iter *it);
void exi_rodb_iter_seek(struct exi_rodb_iter *it, const void *key,
                        size_t keylen);
void exi_rodb_iter_next(struct exi_rodb_iter *it);
/* 1: at a row (key and value good until the next call on it), 0: past the end,
 * EXI_EIO: read error or corruption; EXI_ECOLD: the way there is not in memory,
 * all that the last call missed was noted. */
int exi_rodb_iter_row(struct exi_rodb_iter *it, const uint8_t **key,
                      size_t *keylen, const uint8_t **val, size_t *vallen);

#ifdef __cplusplus
}
#endif

#endif /* EXI_READONLY_ENV_H */
