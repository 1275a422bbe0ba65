/*
 * Where settled blocks lie in the node's block files: DATA/blockpos
 * (docs/index-format.md, section 9), which workers read to find transactions,
 * and the files themselves, opened for them.
 *
 * All of it can be made anew at any time; who reads a transaction by it checks
 * its txid, so a wrong position costs time, never a wrong answer.
 */
#ifndef BLOCKPOS_H
#define BLOCKPOS_H

#include "lib/exi_types.h"
#include "settle.h"

struct blockpos;

struct blockpos_opts {
    const char *data_dir;
    const char *blocks_dir; /* the node's blocks folder */
    uint32_t magic;         /* message start, as in the files, LE */
};

/* Length of the key of xor.dat. */
#define BLOCKPOS_KEY 8

/*
 * Opens or makes DATA/blockpos and starts the thread that scans the files.
 * EXI_EIO, EXI_ENOMEM: why has the sentence; the index works without.
 */
int blockpos_start(struct blockpos **out, const struct blockpos_opts *o,
                   char *why, size_t whylen) EXI_MUST_CHECK;
/* Joins the thread; NULL is fine. */
void blockpos_stop(struct blockpos *p);

/*
 * After a publish or a fallback: has the thread look for the settled blocks
 * whose place is not known.  Main thread; NULL is fine.
 */
void blockpos_update(struct blockpos *p, struct settle *s);

/* A block file for reading, the caller's to close, and its key (zeros: it is
 * plain); -1: there is none.  Any thread; NULL: none. */
int blockpos_file(struct blockpos *p, uint32_t number,
                  uint8_t key[BLOCKPOS_KEY]) EXI_MUST_CHECK;

#endif /* BLOCKPOS_H */
