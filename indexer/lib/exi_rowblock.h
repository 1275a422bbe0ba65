/*
 * A block of a LevelDB table: rows in the order of their keys, each of which
 * leaves out what it has in common with the one before it, but for some
 * (restart points), whose places are listed at the end.
 *
 *     row:     varint shared, varint rest, varint value; rest bytes of the key;
 *              the value
 *     at last: 4 LE for each restart point, 4 LE how many there are
 *
 * A key ends with a tag of 8 bytes LE: sequence number * 256 + kind (0 deleted,
 * 1 value).  Rows are in the order of the keys without tags (bytewise), those
 * of one key from the highest tag to the lowest.
 *
 * Nothing is believed: whatever the bytes are, nothing outside of them is
 * looked at.  One thread at a time; nothing is allocated.
 */
#ifndef EXI_ROWBLOCK_H
#define EXI_ROWBLOCK_H

#include <string.h>

#include "exi_bytes.h"
#include "exi_err.h"

#define EXI_ROWKEY_MAX 120 /* bytes of a key without its tag; ours have 24 */
#define EXI_ROWTAG     8
#define EXI_ROW_VALUE  1 /* kind of a row that is there */

/* A place in a block.  key and val are good until it is moved, or as long as
 * the block. */
struct exi_rowblock {
    const uint8_t *p;
    const uint8_t *end;  /* of its rows */
    const uint8_t *next; /* the row behind this one */
    uint32_t nrestarts;
    uint32_t shared; /* bytes that the row had in common with the last one */
    uint32_t keylen; /* without tag */
    uint32_t vallen;
    const uint8_t *val;
    uint8_t key[EXI_ROWKEY_MAX + EXI_ROWTAG];
};

/* -1, 0, 1 by the order of the bytes, the shorter of two like ones first. */
static inline int
exi_key_order(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    size_t n = alen < blen ? alen : blen;
    int c = n > 0 ? memcmp(a, b, n) : 0;

    return c != 0 ? c : (alen > blen) - (alen < blen);
}

/* Tag of the row at hand. */
static inline uint64_t
exi_rowblock_tag(const struct exi_rowblock *b)
{
    return exi_le64(b->key + b->keylen);
}

/* n bytes at p; before the first row.  EXI_EFORMAT. */
int exi_rowblock_begin(struct exi_rowblock *b, const uint8_t *p,
                       size_t n) EXI_MUST_CHECK;

/* The next row: 1; 0: there is none; EXI_EFORMAT. */
int exi_rowblock_next(struct exi_rowblock *b) EXI_MUST_CHECK;

/* The first row whose key is not below this one (without tag): 1; 0: there is
 * none; EXI_EFORMAT. */
int exi_rowblock_seek(struct exi_rowblock *b, const uint8_t *key,
                      size_t keylen) EXI_MUST_CHECK;

/* The same as below, for numbers of any length. */
bool exi_rowblock_long_head(const uint8_t **p, const uint8_t *end,
                            uint32_t *shared, uint32_t *rest, uint32_t *vallen);

/* The three numbers before a row's bytes at *p, of which all must lie before
 * end; moves *p behind them.  false: malformed. */
static inline bool
exi_rowblock_head(const uint8_t **p, const uint8_t *end, uint32_t *shared,
                  uint32_t *rest, uint32_t *vallen)
{
    const uint8_t *q = *p;

    if (end - q >= 3 && (q[0] | q[1] | q[2]) < 0x80
        && q[1] + q[2] <= end - q - 3) {
        *shared = q[0];
        *rest = q[1];
        *vallen = q[2];
        *p = q + 3;
        return true;
    }
    return exi_rowblock_long_head(p, end, shared, rest, vallen);
}

#endif /* EXI_ROWBLOCK_H */
