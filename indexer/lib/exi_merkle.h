/*
 * Merkle trees: Bitcoin's, where an odd last node of a level is paired with
 * itself.  Electrum protocol: blockchain.transaction.get_merkle and cp_height.
 * Any thread.
 */
#ifndef EXI_MERKLE_H
#define EXI_MERKLE_H

#include "exi_err.h"
#include "exi_types.h"

/* Levels above n leaves; 0 for one leaf. */
unsigned exi_merkle_depth(size_t n);

/*
 * Replaces the *n nodes of one level by those `levels` levels above, where no
 * level but the last may be the root's: the nodes may be a part of their level
 * that begins at a multiple of 2^levels.  branch (or NULL) gets the siblings
 * on the way from *pos; *n and *pos follow.
 */
void exi_merkle_up(struct exi_hash *hashes, size_t *n, size_t *pos,
                   unsigned levels, struct exi_hash *branch);

/*
 * Root of n hashes (n >= 1), and, if branch is not NULL, the siblings of leaf
 * pos from the bottom up (branch has room for EXI_MERKLE_MAX).  The array is
 * used as scratch and destroyed.  EXI_EAPI: n is 0 or pos >= n.
 */
int exi_merkle(struct exi_hash *root, struct exi_hash *branch, size_t *nbranch,
               struct exi_hash *hashes, size_t n, size_t pos) EXI_MUST_CHECK;

/* Root that a branch leads to from leaf at pos (to verify). */
void exi_merkle_climb(struct exi_hash *root, const struct exi_hash *leaf,
                      const struct exi_hash *branch, size_t nbranch,
                      uint64_t pos);

/*
 * The post-order tree of header hashes (docs/index-format.md, section 3).
 */

/* Number of nodes of a tree of n leaves. */
uint64_t exi_hmerkle_nodes(uint64_t nleaves);

/* Index of node j of level (0 = leaves), a complete node. */
uint64_t exi_hmerkle_index(unsigned level, uint64_t j);

/* Reads node `index`: returns EXI_OK or an error that is passed on. */
typedef int (*exi_hmerkle_read_pt)(void *ctx, uint64_t index,
                                   struct exi_hash *out);

/*
 * Appends leaf number nleaves: out (room for 64) gets the new nodes in the
 * order they are to be written, *nout their number (1 + completed inner ones).
 */
int exi_hmerkle_append(struct exi_hash *out, size_t *nout, uint64_t nleaves,
                       const struct exi_hash *leaf, exi_hmerkle_read_pt read,
                       void *ctx) EXI_MUST_CHECK;

/* Reads leaf i (hash of header i), stored or not. */
typedef int (*exi_hmerkle_leaf_pt)(void *ctx, uint64_t i, struct exi_hash *out);

/*
 * Proof for header `pos` in the tree of `n` leaves (cp_height + 1) of which the
 * first nstored are in the stored post-order tree; the others come from leaf().
 * O(log n) reads plus O(n - nstored) hashing.  branch has room for
 * EXI_MERKLE_MAX.  EXI_EAPI: pos >= n.
 */
int exi_hmerkle_proof(struct exi_hash *root, struct exi_hash *branch,
                      size_t *nbranch, uint64_t pos, uint64_t n,
                      uint64_t nstored, exi_hmerkle_read_pt read,
                      exi_hmerkle_leaf_pt leaf, void *ctx) EXI_MUST_CHECK;

#endif /* EXI_MERKLE_H */
