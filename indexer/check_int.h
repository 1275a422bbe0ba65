/*
 * Inside of the check (check*.c): not for others.
 *
 *   check.c       the command, generations, findings, progress
 *   check_flat.c  headers, header tree, counts, txids against Merkle roots
 *   check_node.c  the same against the node's blocks
 *   check_rows.c  LevelDB rows
 *   check_cross.c rows against flat files and each other
 */
#ifndef CHECK_INT_H
#define CHECK_INT_H

#include "check.h"
#include "flat.h"
#include "fsutil.h"
#include "lib/exi_rodb.h"

/* Findings of a part that are told one by one. */
#define CHECK_TOLD 20

struct check {
    const struct check_opts *o;
    struct check_result *r;
    char dir[FS_PATH_MAX]; /* of the generation */
    int lease_fd;
    struct exi_manifest m;
    struct exi_rodb *db;
    struct flat *flat;
    uint64_t rnd; /* state of the sample's random numbers */
};

/* Tells and counts a finding. */
void check_found(struct check *c, enum check_part part, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A block whose flat records are wrong; EXI_ENOMEM. */
int check_bad(struct check *c, uint64_t height) EXI_MUST_CHECK;

/* Progress of a step; false: stop. */
bool check_step(struct check *c, const char *what, uint64_t done,
                uint64_t total);

/* A random number below n, n > 0. */
uint64_t check_random(struct check *c, uint64_t n);

/* Adds a thing of four numbers to a sum. */
void check_add(struct check_sum *s, uint64_t a, uint64_t b, uint64_t x,
               uint64_t y);
bool check_same(const struct check_sum *a, const struct check_sum *b);

/* Transactions in blocks 0 ... height - 1. */
int check_first(struct check *c, uint64_t height,
                uint64_t *txnum) EXI_MUST_CHECK;

/* check_flat.c; EXI_OK also with findings. */
int check_flat(struct check *c) EXI_MUST_CHECK;

/* check_node.c: needs o->node; node errors (logged). */
int check_node(struct check *c) EXI_MUST_CHECK;

/*
 * Rows.
 */

struct check_rows {
    struct check *c;
    struct exi_rodb_iter *it;
    struct exi_rodb_iter *heavy; /* G rows of the slot at hand */
    uint8_t *seen;               /* a bit a transaction: it has a T entry */
    uint64_t heavy_rows;         /* G rows met in the walk, and through H */
    uint64_t heavy_found;
    struct check_sum t;    /* T entries, of check_add_txid() */
    struct check_sum u, o; /* outputs, without amounts */
    struct exi_meta meta;
    bool meta_seen;
    /* Bounds of the chunk at hand: its first transaction, and that of the next
     * row of its bucket (or all). */
    uint64_t low, high;
};

/* The row at the walk, copied where the iterator moves on. */
struct check_row {
    const uint8_t *key;
    size_t keylen;
    const uint8_t *val;
    size_t vallen;
};

/* check_rows.c */

/* A finding about a row. */
void check_bad_row(struct check_rows *w, enum check_part part,
                   const struct check_row *row, const char *what);
/* Adds what a T entry says: bucket and 3 more bytes of the txid. */
void check_add_txid(struct check_sum *sum, uint32_t bucket,
                    const uint8_t more[3], uint64_t txnum);
int check_rows_open(struct check_rows *w, struct check *c) EXI_MUST_CHECK;
void check_rows_close(struct check_rows *w);
int check_rows(struct check *c) EXI_MUST_CHECK;

/* check_cross.c */

/* T entries against the flat txids; fills r->txids. */
int check_compare_txids(struct check_rows *w) EXI_MUST_CHECK;
/* U rows against O rows. */
int check_compare_outputs(struct check_rows *w) EXI_MUST_CHECK;
/* The fast level: random transactions have their T entry, random U rows their O
 * row. */
int check_rows_sample(struct check *c) EXI_MUST_CHECK;

#endif /* CHECK_INT_H */
