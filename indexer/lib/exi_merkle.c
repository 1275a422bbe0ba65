/*
 * Merkle trees in Bitcoin's manner: node j of level l+1 is the double SHA-256
 * of nodes 2j and 2j+1 of level l, and a last node without a partner is paired
 * with itself.
 *
 * The header tree is stored in post-order and holds complete nodes only, those
 * whose 2^l leaves all exist: they never change when leaves are added, and
 * they have the same value in every tree that contains those leaves.  Nodes on
 * the right edge of a tree, and nodes above leaves that are not stored, are
 * computed for each proof.
 */
#include "exi_merkle.h"

#include "exi_sha256.h"

void
exi_merkle_up(struct exi_hash *hashes, size_t *n, size_t *pos, unsigned levels,
              struct exi_hash *branch)
{
    for (unsigned l = 0; l < levels; l++) {
        if (branch != NULL) {
            branch[l] = hashes[(*pos ^ 1) < *n ? *pos ^ 1 : *pos];
        }
        for (size_t i = 0; i < *n; i += 2) {
            size_t right = i + 1 < *n ? i + 1 : i;

            exi_sha256d_pair(hashes[i / 2].b, hashes[i].b, hashes[right].b);
        }
        *n = (*n + 1) / 2;
        *pos /= 2;
    }
}

unsigned
exi_merkle_depth(size_t n)
{
    unsigned depth = 0;

    for (; n > 1; n = (n + 1) / 2) {
        depth++;
    }
    return depth;
}

int
exi_merkle(struct exi_hash *root, struct exi_hash *branch, size_t *nbranch,
           struct exi_hash *hashes, size_t n, size_t pos)
{
    unsigned depth = exi_merkle_depth(n);

    if (n == 0 || pos >= n) {
        return EXI_EAPI;
    }
    exi_merkle_up(hashes, &n, &pos, depth, branch);
    *root = hashes[0];
    if (branch != NULL) {
        *nbranch = depth;
    }
    return EXI_OK;
}

void
exi_merkle_climb(struct exi_hash *root, const struct exi_hash *leaf,
                 const struct exi_hash *branch, size_t nbranch, uint64_t pos)
{
    struct exi_hash h = *leaf;

    for (size_t i = 0; i < nbranch; i++, pos >>= 1) {
        if (pos & 1) {
            exi_sha256d_pair(h.b, branch[i].b, h.b);
        } else {
            exi_sha256d_pair(h.b, h.b, branch[i].b);
        }
    }
    *root = h;
}

uint64_t
exi_hmerkle_nodes(uint64_t nleaves)
{
    return 2 * nleaves - (uint64_t) __builtin_popcountll(nleaves);
}

uint64_t
exi_hmerkle_index(unsigned level, uint64_t j)
{
    /* Leaf i stands where a tree of i leaves ends. */
    return exi_hmerkle_nodes(((j + 1) << level) - 1) + level;
}

int
exi_hmerkle_append(struct exi_hash *out, size_t *nout, uint64_t nleaves,
                   const struct exi_hash *leaf, exi_hmerkle_read_pt read,
                   void *ctx)
{
    unsigned level = 0;

    out[0] = *leaf;
    /* An odd node is the right child of one that it completes. */
    for (uint64_t j = nleaves; j & 1; j >>= 1, level++) {
        struct exi_hash left;
        int rc = read(ctx, exi_hmerkle_index(level, j - 1), &left);

        if (rc != EXI_OK) {
            return rc;
        }
        exi_sha256d_pair(out[level + 1].b, left.b, out[level].b);
    }
    *nout = (size_t) level + 1;
    return EXI_OK;
}

/* A tree of n leaves being read; nstored <= n. */
struct htree {
    uint64_t n;
    uint64_t nstored;
    exi_hmerkle_read_pt read;
    exi_hmerkle_leaf_pt leaf;
    void *ctx;
};

/* Number of nodes of a level. */
static uint64_t
htree_width(const struct htree *t, unsigned level)
{
    return ((t->n - 1) >> level) + 1;
}

/*
 * Node j of a level (j < width).  Goes down only where a node is not stored:
 * along the right edge of the tree and above leaves >= nstored.
 */
static int
htree_node(const struct htree *t, struct exi_hash *out, unsigned level,
           uint64_t j)
{
    struct exi_hash right;
    int rc;

    if ((j + 1) << level <= t->nstored) {
        return t->read(t->ctx, exi_hmerkle_index(level, j), out);
    }
    if (level == 0) {
        return t->leaf(t->ctx, j, out);
    }
    rc = htree_node(t, out, level - 1, 2 * j);
    if (rc != EXI_OK) {
        return rc;
    }
    if (2 * j + 1 == htree_width(t, level - 1)) {
        exi_sha256d_pair(out->b, out->b, out->b);
        return EXI_OK;
    }
    rc = htree_node(t, &right, level - 1, 2 * j + 1);
    if (rc == EXI_OK) {
        exi_sha256d_pair(out->b, out->b, right.b);
    }
    return rc;
}

int
exi_hmerkle_proof(struct exi_hash *root, struct exi_hash *branch,
                  size_t *nbranch, uint64_t pos, uint64_t n, uint64_t nstored,
                  exi_hmerkle_read_pt read, exi_hmerkle_leaf_pt leaf, void *ctx)
{
    struct htree t = { n, nstored < n ? nstored : n, read, leaf, ctx };
    struct exi_hash h;
    uint64_t j = pos;
    unsigned level;
    int rc;

    if (pos >= n || (n - 1) >> EXI_MERKLE_MAX != 0) {
        return EXI_EAPI;
    }
    rc = htree_node(&t, &h, 0, pos);
    for (level = 0; rc == EXI_OK && htree_width(&t, level) > 1; level++) {
        struct exi_hash *sibling = &branch[level];

        if ((j ^ 1) < htree_width(&t, level)) {
            rc = htree_node(&t, sibling, level, j ^ 1);
        } else {
            *sibling = h;
        }
        if (rc == EXI_OK) {
            exi_merkle_climb(&h, &h, sibling, 1, j);
        }
        j >>= 1;
    }
    if (rc == EXI_OK) {
        *root = h;
        *nbranch = level;
    }
    return rc;
}
