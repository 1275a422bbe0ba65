/*
 * LevelDB's log files, of which a MANIFEST is one: blocks of 32 KB with pieces
 * of records.
 *
 *     piece: 4 LE masked CRC-32C of kind and bytes, 2 LE length, 1 kind (1: a
 *            whole record, 2: its first piece, 3: one between, 4: its last)
 *
 * Less than 7 bytes at the end of a block are zeros.
 */
#ifndef EXI_DBLOG_H
#define EXI_DBLOG_H

#include <stddef.h>
#include <stdint.h>

#include "exi_err.h"

struct exi_dblog {
    uint8_t *p; /* the file; pieces are moved together in it */
    size_t len;
    size_t at;
    size_t whole;    /* so much of the file is whole records */
    const char *why; /* after EXI_EFORMAT: a constant text */
    int torn;        /* ... and the reason is that the file ends too soon */
};

/* len bytes at p, which are changed while they are read. */
void exi_dblog_begin(struct exi_dblog *l, uint8_t *p, size_t len);

/* The next record: 1 (good as long as p); 0: no more; EXI_EFORMAT. */
int exi_dblog_next(struct exi_dblog *l, const uint8_t **rec,
                   size_t *len) EXI_MUST_CHECK;

#endif /* EXI_DBLOG_H */
