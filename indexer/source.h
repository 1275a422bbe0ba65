/*
 * Where the blocks of the initial sync come from: the node's block files, its
 * REST interface or its JSON-RPC, read ahead by threads of its own and handed
 * out in chain order.
 */
#ifndef SOURCE_H
#define SOURCE_H

#include "rpc.h"

enum source_kind { SOURCE_AUTO, SOURCE_FILES, SOURCE_REST, SOURCE_RPC };

struct source_opts {
    const struct rpc_opts *rpc; /* copied */
    const char *blocks_dir;     /* the node's blocks folder, or NULL */
    uint32_t magic;             /* message start, LE, as in the files */
    enum source_kind kind;      /* AUTO: files, else REST, else RPC */
    size_t memory;              /* bytes of blocks read ahead at most */
    unsigned parallel;          /* requests in flight (REST, RPC), 8 */
};

/* One block on its way; its bytes were checked against the hash. */
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
 * are given (copied).  EXI_EIO, EXI_ENOMEM, EXI_ENET: why has the sentence.
 */
int source_start(struct source **out, const struct source_opts *o,
                 uint32_t from, const struct exi_blkid *hashes, size_t n,
                 char *why, size_t whylen) EXI_MUST_CHECK;

/*
 * Next block in chain order.  Any thread; several threads may take blocks.
 * 1 and *b; 0: all were handed out; EXI_ENET ... EXI_ENODE (the node; may be
 * called again later), EXI_ENOTFOUND (nobody has the block), EXI_ENOMEM.
 * Falls back (files -> REST -> RPC) by itself when a block is missing.
 */
int source_next(struct source *s, struct source_block *b) EXI_MUST_CHECK;
void source_give_back(struct source *s, struct source_block *b);

/* Kind in use now, for the log, and bytes handed out. */
enum source_kind source_kind(const struct source *s);
uint64_t source_bytes(const struct source *s);

/* Ends all threads soon, whatever they wait for.  Blocks not given back are
 * lost. */
void source_stop(struct source *s);

#endif /* SOURCE_H */
