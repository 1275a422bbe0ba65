/*
 * A LevelDB table that is read where it lies: mapped, with nothing copied but
 * the key at hand.
 *
 *     blocks of rows (exi_rowblock.h), one behind the other from offset 0
 *     the metaindex (not looked at)
 *     the index: a block with a row for each block, of the form
 *                key >= all keys of the block and < those of the next one,
 *                value: varint offset, varint length of the block
 *     footer of 48 bytes: varints offset and length of metaindex and index,
 *                zeros, 8 bytes of magic
 *
 * Each of these blocks has 5 bytes behind it: kind (0: not compressed, the only
 * one here) and checksum.
 *
 * In memory is a summary of the index: for each EXI_TABLE_GROUP rows of it the
 * beginning of the first key, its place and a checksum of our own.  The index
 * itself stays in the mapping, as the blocks do, so that all processes share it
 * in the page cache.
 *
 * Checksums: the whole index is checked when a table is opened; a block, or a
 * group of the index, when it is first touched and again when that was one to
 * two epochs ago (10 to 20 s, exi_cold.h): a page that was dropped meanwhile may
 * come back damaged.  A look-up in between pays a look at a bit.  With the same
 * bit it is known that the pages are in memory.
 *
 * Tables are shared by all who open the same file (device, inode, length):
 * generations are hard links of the same tables.  Any thread; a place
 * (struct exi_table_pos) belongs to one.
 */
#ifndef EXI_TABLE_H
#define EXI_TABLE_H

#include "exi_rowblock.h"
#include "exi_cold.h"

#define EXI_TABLE_GROUP 16 /* rows of the index */

struct exi_table;

/*
 * Opens the table `name` in the directory dirfd, of just so many bytes; waits
 * for the disk.  EXI_EFORMAT (not a table of ours), EXI_EIO (errno),
 * EXI_ENOTFOUND, EXI_ENOMEM; why: a constant text then.  A descriptor is held.
 */
int exi_table_open(struct exi_table **out, int dirfd, const char *name,
                   uint64_t len, const char **why) EXI_MUST_CHECK;
void exi_table_close(struct exi_table *t); /* NULL is allowed */

/* Blocks of rows. */
uint32_t exi_table_blocks(const struct exi_table *t);

/* A place in a table; all zero before the first seek. */
struct exi_table_pos {
    struct exi_rowblock row; /* good after a 1 */
    struct exi_table *t;
    uint32_t block;       /* number */
    uint32_t blocks;      /* read since the seek */
    uint64_t off;         /* of the block */
    uint64_t len;         /* without the 5 bytes behind it */
    const uint8_t *entry; /* the row of the index behind the block's */
    const uint8_t *bound; /* key of the block's row, without tag */
    uint32_t boundlen;
    const char *why; /* after EXI_EFORMAT: a constant text */
    uint64_t at;     /* ... offset of the block */
};

/*
 * The first row whose key (without tag) is not below `key`, if it begins with
 * the first `prefix` bytes of it (0: any row).  1; 0: there is none in this
 * table, and if a block needed not be touched to know, it was not; EXI_ECOLD
 * (noted), EXI_EIO, EXI_EFORMAT: damage.  cold: NULL: may wait.
 */
int exi_table_seek(struct exi_table_pos *p, struct exi_table *t,
                   struct exi_cold *cold, const uint8_t *key, size_t keylen,
                   size_t prefix) EXI_MUST_CHECK;

/*
 * The same in two steps, so that memory can work on the first steps of several
 * tables side by side: finds the block (1; 0: there is none), then the row.
 */
int exi_table_find(struct exi_table_pos *p, struct exi_table *t,
                   struct exi_cold *cold, const uint8_t *key,
                   size_t keylen) EXI_MUST_CHECK;
int exi_table_enter(struct exi_table_pos *p, struct exi_cold *cold,
                    const uint8_t *key, size_t keylen,
                    size_t prefix) EXI_MUST_CHECK;

/* The next row, after a 1, in the same way; prefix: these bytes of key. */
int exi_table_next(struct exi_table_pos *p, struct exi_cold *cold,
                   const uint8_t *key, size_t prefix) EXI_MUST_CHECK;

/* The first 8 bytes of a key as a number, so that most keys are told apart by
 * one comparison. */
static inline uint64_t
exi_table_head(const uint8_t *key, size_t keylen)
{
    uint8_t b[8] = { 0 };

    if (keylen >= sizeof b) {
        return exi_be64(key);
    }
    memcpy(b, key, keylen);
    return exi_be64(b);
}

#endif /* EXI_TABLE_H */
