/*
 * Inside of the settled layer (settle*.c): not for others.
 *
 *   settle.c          opening, epochs, look-ups
 *   settle_commit.c   making a batch durable
 *   settle_batch.c    blocks -> batch in memory
 *   settle_rows.c     batch -> rows
 *   settle_dup.c      duplicate coinbases (BIP 30)
 *   settle_publish.c  generations: publish, list, prune
 *   settle_fallback.c epochs made of a generation or of the initial sync
 *   settle_tidy.c     keeping the rows merged and in two sorted runs
 *   settle_fold.c     rows of some levels -> tables of one
 *   settle_merge.c    rows of a bucket -> one row
 *   settle_runs.cc    tables and rows of a LevelDB that is closed
 *   settle_sort.c     sorting
 *   settle_db.cc      the LevelDB that is written
 */
#ifndef SETTLE_INT_H
#define SETTLE_INT_H

#include "flat.h"
#include "fsutil.h"
#include "settle.h"
#include "settle_db.h"
#include "settle_sort.h"

/* An output of the batch. */
struct settle_out {
    int64_t value_sat;
    struct exi_skey s;
    uint8_t state;
};
enum {
    OUT_UNSPENT,
    OUT_SPENT,
    OUT_REPLACED,
    OUT_NO_ROWS
};

/* Token data of an output of the batch. */
struct settle_token {
    uint32_t out;
    uint32_t at; /* in token_bytes */
    uint32_t len;
};

/* A settled output that the batch removes. */
struct settle_del {
    uint64_t txnum;
    uint32_t index;
    struct exi_skey s;
    bool replaced; /* by a duplicate, not spent: see settle_dup.c */
};

/* An input, for the spender index. */
struct settle_spend {
    uint64_t txnum; /* of the output */
    uint32_t index;
    uint32_t by; /* transaction of the batch */
};

/* A settled coinbase that has the same txid as one of the batch. */
struct settle_dup {
    uint64_t old_txnum;
    uint32_t tx;
};

/*
 * Blocks that are added but not durable.  Transactions are numbered from 0
 * ("tx"); the chain's number is first_txnum + tx.  Arrays grow and are kept
 * until settle_close.
 */
struct settle_batch {
    uint32_t first_height;
    uint32_t nblocks;
    uint64_t first_txnum;
    struct exi_blkid tip;

    uint8_t *headers;   /* 80 bytes a block */
    uint64_t *txcounts; /* cumulative */
    uint32_t *sizes;
    struct exi_hash *hmerkle;
    size_t nhmerkle;

    struct exi_txid *txids;
    uint32_t *offsets;   /* in the block */
    uint32_t *first_out; /* index into outs; [ntx] is nout */
    size_t ntx;

    struct settle_out *outs;
    size_t nout;
    struct settle_token *tokens; /* ascending by out */
    size_t ntoken;
    uint8_t *token_bytes;
    size_t ntoken_bytes;
    struct settle_rec *hist; /* script key, tx; with repetitions */
    size_t nhist;
    struct settle_del *dels;
    size_t ndel;
    struct settle_spend *spends;
    size_t nspend;
    struct settle_dup *dups;
    size_t ndup;
    uint32_t *dead; /* transactions replaced by a later one of the batch */
    size_t ndead;

    uint32_t *slots; /* hash table: tx + 1, or 0 */
    size_t nslots;   /* power of two */
    uint64_t hash_key;

    struct exi_hash *leaves; /* scratch for the Merkle root */

    /* Room of the arrays above. */
    size_t cap_blocks, cap_hmerkle, cap_tx, cap_out, cap_hist, cap_del,
        cap_spend, cap_dup, cap_dead, cap_leaves, cap_token, cap_token_bytes;
};

/* A published generation on disk. */
struct settle_gen {
    struct exi_live_gen g;
    uint64_t tx_count;
    bool good; /* its manifest can be read and is of this directory */
};

struct settle {
    char dir[FS_PATH_MAX]; /* DATA */
    struct exi_params params;
    unsigned coin; /* exi_coin.h */
    uint32_t keep_generations;
    uint64_t tidy_after;
    int tidy_rc; /* what was told last, and of which level that was */
    unsigned tidy_level;
    unsigned tidy_highest;  /* in higher levels there is a damaged row */
    unsigned tidy_failed;   /* the lowest level that could not be made ... */
    uint64_t tidy_again_ms; /* ... and will not before that (monotonic) */
    uint64_t epoch;
    struct settle_db *db;      /* NULL: could not be opened again */
    bool broken;               /* a write failed: readable, not writable */
    uint64_t tried_ms;         /* monotonic: last vain try to open it again */
    struct settle_db_iter *it; /* of the durable state, or NULL */
    struct flat *flat;
    bool any;
    struct exi_meta meta;
    struct exi_tidy tidy; /* as of the last write */
    struct settle_batch batch;
    struct settle_gen *gens; /* ascending by number */
    size_t ngens;
    size_t cap_gens;
    bool tidied;   /* was folded since the newest generation was made */
    char err[256]; /* LevelDB's last text */
};

/* settle.c */

/* Shared iterator over the durable state; NULL: no memory. */
struct settle_db_iter *settle_iter(struct settle *s);
void settle_iter_drop(struct settle *s);
/* Number of a transaction, the highest if there are several.  EXI_ENOTFOUND. */
int settle_find_txid(struct settle *s, const struct exi_txid *txid,
                     uint64_t *txnum) EXI_MUST_CHECK;
/*
 * Copies a row's value of at most buflen bytes, by the shared iterator:
 * LevelDB's get counts each look into a table that was in vain, and compacts
 * that table with all it overlaps when there were some (16 KB a look).
 * EXI_ENOTFOUND; EXI_EFORMAT: longer; EXI_EIO.
 */
int settle_get(struct settle *s, const struct exi_key *k, uint8_t *buf,
               size_t buflen, size_t *vallen) EXI_MUST_CHECK;
/* Script key of an unspent output.  EXI_ENOTFOUND. */
int settle_find_out(struct settle *s, uint64_t txnum, uint32_t index,
                    struct exi_skey *script) EXI_MUST_CHECK;
/* Opened files of an epoch. */
struct settle_epoch {
    struct settle_db *db;
    struct flat *flat;
    bool any;
    struct exi_meta meta;
    struct exi_tidy tidy;
};
/* Opens settled/<epoch>; why as settle_open. */
int settle_epoch_open(struct settle_epoch *e, const struct settle *s,
                      uint64_t epoch, char *why, size_t whylen) EXI_MUST_CHECK;
void settle_epoch_close(struct settle_epoch *e);
/* Takes over what was opened; the old must be closed. */
void settle_epoch_use(struct settle *s, const struct settle_epoch *e);
/* Makes an empty settled/<epoch>. */
int settle_epoch_make(const struct settle *s, uint64_t epoch, char *why,
                      size_t whylen) EXI_MUST_CHECK;
/* Points settled/CURRENT to an epoch. */
int settle_epoch_choose(const struct settle *s, uint64_t epoch) EXI_MUST_CHECK;
/* settled/<epoch><suffix> */
int settle_epoch_path(char path[FS_PATH_MAX], const struct settle *s,
                      uint64_t epoch, const char *suffix) EXI_MUST_CHECK;
/* Digits of a directory's name (epochs, generations): 10; false: another. */
bool settle_name_number(const char *name, uint64_t *number);

/* settle_commit.c */

/* Can be read; opens the database again if that failed before. */
int settle_ready(struct settle *s) EXI_MUST_CHECK;
/* Can be written; after a failed write it is closed and opened again, which may
 * tell that the failed batch is durable after all.  EXI_ESPACE: there is too
 * little room to try. */
int settle_writable(struct settle *s) EXI_MUST_CHECK;
/* Notes that a write failed. */
void settle_broke(struct settle *s);
/* The M and P rows.  EXI_ENOMEM. */
int settle_put_state(struct settle_db_batch *wb, const struct exi_meta *m,
                     const struct exi_tidy *t) EXI_MUST_CHECK;
/* Records of the flat files that count. */
void settle_counts(struct flat_counts *c, bool any, const struct exi_meta *m);

/* settle_batch.c */
void settle_batch_init(struct settle_batch *b);
void settle_batch_free(struct settle_batch *b);
void settle_batch_reset(struct settle_batch *b);
bool settle_batch_dead(const struct settle_batch *b, uint32_t tx);
/* Token data of an output, 0 bytes if it has none; good until the batch
 * changes. */
const uint8_t *settle_batch_token(const struct settle_batch *b, uint32_t out,
                                  size_t *len);
/* Room for need elements of size bytes each in *p. */
int settle_grow(void *p, size_t *cap, size_t need, size_t size) EXI_MUST_CHECK;

/* settle_rows.c */

/* A value being built. */
struct settle_buf {
    uint8_t *p;
    size_t len;
    size_t cap;
};
/* Appends n bytes (contents undefined); NULL: no memory. */
uint8_t *settle_buf_add(struct settle_buf *b, size_t n);
int settle_buf_varint(struct settle_buf *b, uint64_t v) EXI_MUST_CHECK;
/* Writes `G` rows of n ascending txnums; *rows their number. */
int settle_rows_heavy(struct settle_db_batch *wb, struct settle_buf *buf,
                      const struct exi_skey *s, uint32_t chunk,
                      const uint64_t *txnums, size_t n,
                      uint32_t *rows) EXI_MUST_CHECK;
/* All rows of the batch; adds to the counts of *m. */
int settle_rows(struct settle *s, struct settle_db_batch *wb,
                struct exi_meta *m) EXI_MUST_CHECK;

/* settle_dup.c */

/* Registers what a duplicate replaces: before settle_rows. */
int settle_dup_outs(struct settle *s) EXI_MUST_CHECK;
/* Takes the replaced transactions out of `T`, `H` and `G` rows. */
int settle_dup_rows(struct settle *s, struct settle_db_batch *wb,
                    struct exi_meta *m) EXI_MUST_CHECK;

/* settle_publish.c */

/* Removes what a kill left and reads the list of generations. */
int settle_scan(struct settle *s, char *why, size_t whylen) EXI_MUST_CHECK;

/* generations/<n><suffix> */
int settle_gen_path(char path[FS_PATH_MAX], const struct settle *s,
                    uint64_t number, const char *suffix) EXI_MUST_CHECK;
/* A generation of the list, or NULL; good until the list changes. */
const struct settle_gen *settle_gens_find(const struct settle *s,
                                          uint64_t number);
/* Fills a new directory `to` with db/ and flat/ out of directory `from`: tables
 * and segments linked (own_last: partly counted segments copied), all else
 * copied.  EXI_EIO, EXI_ESPACE (errno). */
int settle_copy_index(const char *from, const char *to,
                      const struct flat_counts *counts,
                      bool own_last) EXI_MUST_CHECK;

/* settle_fallback.c */

void settle_epoch_remove(const struct settle *s, uint64_t epoch);
/* An opened epoch becomes the one in use, the old one is removed.  When that
 * fails, the new one is, unless CURRENT may name it.  EXI_EIO, EXI_ESPACE. */
int settle_epoch_switch(struct settle *s, uint64_t epoch,
                        struct settle_epoch *e, char *why,
                        size_t whylen) EXI_MUST_CHECK;

/*
 * Gives an empty settled layer the index in directory `from` (db/ without a
 * log, flat/; both synced; on the same file system), of which m is the M row:
 * a new epoch with links to its files.  The old epoch's directory is removed
 * at the end, even if `from` is in it.  why as settle_open.
 */
int settle_adopt(struct settle *s, const char *from, const struct exi_meta *m,
                 char *why, size_t whylen) EXI_MUST_CHECK;

#endif /* SETTLE_INT_H */
