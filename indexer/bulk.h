/*
 * Initial sync of an empty index, many times faster than settle_add():
 * nothing is looked up at random and no row is written twice.
 *
 *   read    blocks -> flat files; inputs meet their outputs in a hash table of
 *           bounded size; what is left goes to partition files by fingerprint
 *           of the outpoint, finished records to others by their row's key
 *   join    each fingerprint partition in memory: inputs meet their outputs
 *   txids   `T` rows; finds the transactions that a duplicate replaces
 *   rows    each partition is sorted and becomes LevelDB tables
 *   (end)   a new epoch is made of the tables and flat files
 *
 * All is in settled/<epoch>/bulk (docs/index-format.md, section 8) until then.
 * The functions belong to the main thread; the work is done by threads that
 * exist only while bulk_read() and bulk_finish() run.
 */
#ifndef BULK_H
#define BULK_H

#include "settle.h"
#include "source.h"

struct bulk;

enum bulk_phase {
    BULK_READ,
    BULK_JOIN,
    BULK_TXIDS,
    BULK_ROWS,
    BULK_LINK,
    BULK_PHASES
};

struct bulk_progress {
    enum bulk_phase phase;
    double done, total; /* of the phase: blocks (READ), else bytes */
    uint32_t height;    /* last block read */
    uint32_t time;      /* of its header */
    uint64_t txs;       /* transactions read */
    uint64_t bytes;     /* of blocks, read since bulk_open */
};

/* Called about ten times a second in the main thread while work goes on; a
 * value other than 0 ends it soon and is returned by the function at work. */
typedef int (*bulk_progress_pt)(void *ctx, const struct bulk_progress *p);

struct bulk_opts {
    size_t memory;          /* bytes it may use; the blocks are the source's */
    unsigned threads;       /* 0: one for each core, 8 at most */
    uint64_t expected_txs;  /* at the target: how many partitions */
    unsigned checkpoint_ms; /* a kill loses about that much work; 0: at every
                             * opportunity */
    bulk_progress_pt progress; /* or NULL */
    void *ctx;
};

/* Where blocks come from: source_next(), source_give_back() and
 * source_reject() (or NULL: a damaged block is EXI_EFORMAT; else as it says). */
struct bulk_source {
    int (*next)(void *ctx, struct source_block *b);
    void (*give_back)(void *ctx, struct source_block *b);
    int (*reject)(void *ctx, struct source_block *b);
    void *ctx;
};

/* What was used, for a benchmark. */
struct bulk_stats {
    double wall_s[BULK_PHASES];
    double cpu_s[BULK_PHASES]; /* of the process */
    uint64_t temp_bytes;       /* most that lay in temporary files */
    uint64_t spills;           /* outputs that left the table unspent */
    uint64_t misses;           /* inputs that did not find theirs in it */
};

/* Is there an unfinished bulk sync in the settled layer? */
bool bulk_exists(const struct settle *s);

/* Removes it. */
int bulk_drop(struct settle *s) EXI_MUST_CHECK;

/*
 * Begins a bulk sync, or goes on with an unfinished one at its last
 * checkpoint (one that can't be read is removed).  s must be empty
 * (settle_any() false: else EXI_EAPI) and is used by nobody else until
 * bulk_close().  EXI_EIO, EXI_ESPACE, EXI_ENOMEM.
 */
int bulk_open(struct bulk **out, struct settle *s,
              const struct bulk_opts *o) EXI_MUST_CHECK;
/* Frees it, without a checkpoint.  NULL is allowed. */
void bulk_close(struct bulk *b);

/* True while blocks can be added: bulk_finish() has not begun. */
bool bulk_reading(const struct bulk *b);
/* Blocks read so far, and the hash of the last one if there are any. */
uint32_t bulk_blocks(const struct bulk *b, struct exi_blkid *tip);

/*
 * Reads blocks number bulk_blocks() ... `to` from src, which hands out exactly
 * those, and ends with a checkpoint if one is due, src failed or it was
 * stopped.
 * EXI_EFORMAT: a block is damaged; EXI_EAPI: it does not link to the one
 * before; an error of src; EXI_EIO, EXI_ESPACE, EXI_ENOMEM, EXI_ELIMIT.
 * After an error of src it may be called again; after any other the bulk sync
 * must be closed (and can be opened again: it goes back to its checkpoint).
 */
int bulk_read(struct bulk *b, const struct bulk_source *src,
              uint32_t to) EXI_MUST_CHECK;

/*
 * Makes the index of what was read and lets s have it.  EXI_EFORMAT: an input
 * spends an output that does not exist (the bulk sync is of no use then:
 * bulk_drop); EXI_EIO, EXI_ESPACE, EXI_ENOMEM.
 */
int bulk_finish(struct bulk *b, char *why, size_t whylen) EXI_MUST_CHECK;

void bulk_stats(const struct bulk *b, struct bulk_stats *out);

#endif /* BULK_H */
