/*
 * Where the blocks of the initial sync come from: the node's block files, its
 * REST interface or its JSON-RPC, read ahead by threads of its own and handed
 * out in chain order.
 */
#ifndef SOURCE_H
#define SOURCE_H

#include "rpc.h"

enum source_kind {
    SOURCE_AUTO,
    SOURCE_FILES,
    SOURCE_REST,
    SOURCE_RPC
};

struct source_opts {
    const struct rpc_opts *rpc; /* copied */
    const char *blocks_dir;     /* the node's blocks folder, or NULL */
    uint32_t magic;             /* message start, LE, as in the files */
    enum source_kind kind;      /* AUTO: files, else REST, else RPC */
    size_t memory;              /* bytes of blocks read ahead at most */
    unsigned parallel;          /* requests in flight (REST, RPC), 8 */
    size_t block_max;           /* bytes of a block at most; 0 = 32 MB */
    uint32_t first_file;        /* files before it are not looked at */
};

/*
 * One block on its way.  Its header was checked against the hash; the rest of
 * it is the caller's to check (Merkle root), see source_reject().
 */
struct source_block {
    uint32_t height;
    struct exi_blkid hash;
    const uint8_t *raw; /* good until source_give_back() */
    size_t rawlen;
    void *priv;
};

struct source;

/*
 * Starts reading blocks from ... from + n - 1, whose hashes (ascending heights)
 * are given (copied).  Looks through the block files first if there are any
 * (about 3 s for 900,000 blocks in the page cache); the node is not
 * asked for anything yet.  EXI_EIO (SOURCE_FILES, but the folder can't be read
 * or has none of the blocks), EXI_EAPI (a URL), EXI_ENOMEM: why has the
 * sentence.
 */
int source_start(struct source **out, const struct source_opts *o,
                 uint32_t from, const struct exi_blkid *hashes, size_t n,
                 char *why, size_t whylen) EXI_MUST_CHECK;

/*
 * Next block in chain order.  Any thread; several threads may take blocks.
 * 1 and *b; 0: all were handed out; EXI_ENET ... EXI_ENODE (the node; may be
 * called again later), EXI_ENOTFOUND (nobody has the block), EXI_ENOMEM,
 * EXI_ENET also after source_cancel(); source_why() has the sentence.  After
 * an error the same block is next: none is lost or comes twice.  Falls back
 * (files -> REST -> RPC) by itself when a block is missing.
 *
 * Blocks that were handed out count for `memory` until they are given back: a
 * caller that keeps that much and asks for more waits for ever.
 */
int source_next(struct source *s, struct source_block *b) EXI_MUST_CHECK;
void source_give_back(struct source *s, struct source_block *b);

/*
 * The bytes of b are not those of the block after all: has the node (never the
 * files), or another daemon, send it, in the calling thread, and replaces b->raw
 * and b->rawlen by what was checked; from now on all that comes from a node is.
 * An error leaves b as it was: EXI_ENODE, nobody sends the right one, or as
 * source_next().  Any thread.
 */
int source_reject(struct source *s, struct source_block *b) EXI_MUST_CHECK;

/* Kind in use now, for the log, and bytes handed out.  Any thread. */
enum source_kind source_kind(const struct source *s);
uint64_t source_bytes(const struct source *s);

/* Words of the last failure, for the log; never credentials.  Any thread. */
void source_why(struct source *s, char *why, size_t whylen);

/*
 * Makes source_next() and source_reject() return EXI_ENET within 0.2 s in all
 * threads, from now on.  Any thread, and a signal handler.
 */
void source_cancel(struct source *s);

/*
 * Ends all threads soon, whatever they wait for, and frees everything.  Waits
 * for callers that are inside source_next(); nobody may call it any more.
 * Blocks not given back are lost.  NULL is nothing.
 */
void source_stop(struct source *s);

#endif /* SOURCE_H */
