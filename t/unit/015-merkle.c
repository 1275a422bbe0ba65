/*
 * exi_merkle.h against the definition, level by level, for all small trees,
 * and against the header proof that the Electrum protocol gives as an example
 * (block.header of height 5 with cp_height 8).
 */
#include "exi_merkle.h"

#include <stdlib.h>

#include "exi_hex.h"
#include "exi_sha256.h"
#include "rnd.h"
#include "tap.h"

#define NMAX 70

/* All levels of a tree of n leaves, by the definition. */
struct naive {
    unsigned depth;
    size_t width[8];
    struct exi_hash h[8][NMAX];
};

static void
naive_build(struct naive *t, const struct exi_hash *leaves, size_t n)
{
    memcpy(t->h[0], leaves, n * sizeof(*leaves));
    t->width[0] = n;
    for (t->depth = 0; t->width[t->depth] > 1; t->depth++) {
        size_t w = t->width[t->depth];
        const struct exi_hash *from = t->h[t->depth];

        t->width[t->depth + 1] = (w + 1) / 2;
        for (size_t i = 0; i < w; i += 2) {
            uint8_t pair[2 * EXI_HASH_LEN];

            memcpy(pair, from[i].b, EXI_HASH_LEN);
            memcpy(pair + EXI_HASH_LEN, from[i + 1 < w ? i + 1 : i].b,
                   EXI_HASH_LEN);
            exi_sha256d(t->h[t->depth + 1][i / 2].b, pair, sizeof(pair));
        }
    }
}

static bool
same(const struct exi_hash *a, const struct exi_hash *b)
{
    return memcmp(a->b, b->b, EXI_HASH_LEN) == 0;
}

static bool
naive_branch_is(const struct naive *t, size_t pos,
                const struct exi_hash *branch, size_t nbranch)
{
    if (nbranch != t->depth) {
        return false;
    }
    for (unsigned l = 0; l < t->depth; l++, pos /= 2) {
        size_t sibling = (pos ^ 1) < t->width[l] ? pos ^ 1 : pos;

        if (!same(&branch[l], &t->h[l][sibling])) {
            return false;
        }
    }
    return true;
}

static struct exi_hash leaves[NMAX];
static struct naive naive;

static void
check_tree(size_t n, size_t pos)
{
    struct exi_hash work[NMAX], root, branch[EXI_MERKLE_MAX], climbed;
    size_t nbranch = 99;

    memcpy(work, leaves, sizeof(work));
    if (!each(exi_merkle(&root, branch, &nbranch, work, n, pos) == EXI_OK,
              "n %zu pos %zu", n, pos)) {
        return;
    }
    each(same(&root, &naive.h[naive.depth][0]), "root, n %zu", n);
    each(naive_branch_is(&naive, pos, branch, nbranch), "branch, n %zu pos %zu",
         n, pos);
    exi_merkle_climb(&climbed, &leaves[pos], branch, nbranch, pos);
    each(same(&climbed, &root), "climb, n %zu pos %zu", n, pos);
}

static void
test_merkle(void)
{
    struct exi_hash work[NMAX], root, branch[EXI_MERKLE_MAX];
    size_t nbranch;

    for (size_t n = 1; n <= NMAX; n++) {
        naive_build(&naive, leaves, n);
        for (size_t pos = 0; pos < n; pos++) {
            check_tree(n, pos);
        }
        memcpy(work, leaves, sizeof(work));
        each(exi_merkle(&root, NULL, NULL, work, n, 0) == EXI_OK
                 && same(&root, &naive.h[naive.depth][0]),
             "root alone, n %zu", n);
    }
    each_done("1 to 70 leaves");
    is_int(exi_merkle(&root, branch, &nbranch, work, 0, 0), EXI_EAPI, "none");
    is_int(exi_merkle(&root, branch, &nbranch, work, 3, 3), EXI_EAPI, "pos");
}

/* The stored tree, and what was asked of it. */
struct store {
    struct exi_hash nodes[2 * NMAX];
    uint64_t nnodes;
    uint64_t nstored; /* leaves */
    unsigned reads;
    unsigned leaf_reads;
    int fail_after; /* calls until one fails, < 0: never */
};

static int
store_read(void *ctx, uint64_t index, struct exi_hash *out)
{
    struct store *s = ctx;

    if (s->fail_after >= 0 && s->fail_after-- == 0) {
        return EXI_EIO;
    }
    s->reads++;
    if (index >= s->nnodes) {
        return EXI_ENOTFOUND;
    }
    *out = s->nodes[index];
    return EXI_OK;
}

static int
store_leaf(void *ctx, uint64_t i, struct exi_hash *out)
{
    struct store *s = ctx;

    if (s->fail_after >= 0 && s->fail_after-- == 0) {
        return EXI_EIO;
    }
    s->leaf_reads++;
    if (i < s->nstored || i >= NMAX) {
        return EXI_EAPI; /* a stored leaf is to be read as a node */
    }
    *out = leaves[i];
    return EXI_OK;
}

static struct store store;

/* Appends leaves until n are stored. */
static void
store_grow(uint64_t n)
{
    while (store.nstored < n) {
        struct exi_hash out[64];
        size_t nout = 0;

        each(exi_hmerkle_append(out, &nout, store.nstored,
                                &leaves[store.nstored], store_read, &store)
                 == EXI_OK,
             "append %llu", (unsigned long long) store.nstored);
        each(store.nnodes + nout == exi_hmerkle_nodes(store.nstored + 1),
             "number of nodes, %llu", (unsigned long long) store.nstored);
        memcpy(&store.nodes[store.nnodes], out, nout * sizeof(out[0]));
        store.nnodes += nout;
        store.nstored++;
    }
}

static void
store_reset(void)
{
    memset(&store, 0, sizeof(store));
    store.fail_after = -1;
}

static void
test_append(void)
{
    store_reset();
    store_grow(NMAX);
    each_done("appended");
    naive_build(&naive, leaves, NMAX);
    for (unsigned l = 0; l <= naive.depth; l++) {
        for (uint64_t j = 0; (j + 1) << l <= NMAX; j++) {
            uint64_t at = exi_hmerkle_index(l, j);

            each(at < store.nnodes && same(&store.nodes[at], &naive.h[l][j]),
                 "node %u, %llu at %llu", l, (unsigned long long) j,
                 (unsigned long long) at);
        }
    }
    each_done("nodes at their places");
    is_int(exi_hmerkle_nodes(0), 0, "nodes of none");
    is_int(exi_hmerkle_nodes(1), 1, "nodes of one");
    is_int(exi_hmerkle_nodes(7), 11, "nodes of seven");
    is_int(exi_hmerkle_nodes(8), 15, "nodes of eight");
    is_int(exi_hmerkle_index(0, 5), 8, "leaf 5");
    is_int(exi_hmerkle_index(3, 0), 14, "root of eight");
}

static void
check_proof(uint64_t pos, uint64_t n, uint64_t nstored)
{
    struct exi_hash root, branch[EXI_MERKLE_MAX];
    size_t nbranch = 99;
    int rc = exi_hmerkle_proof(&root, branch, &nbranch, pos, n, nstored,
                               store_read, store_leaf, &store);

    if (!each(rc == EXI_OK, "rc %d, pos %d, n %d, stored %d", rc, (int) pos,
              (int) n, (int) nstored)) {
        return;
    }
    each(same(&root, &naive.h[naive.depth][0])
             && naive_branch_is(&naive, (size_t) pos, branch, nbranch),
         "proof, pos %d, n %d, stored %d", (int) pos, (int) n, (int) nstored);
}

static void
test_proof(void)
{
    store_reset();
    for (uint64_t stored = 0; stored <= NMAX; stored++) {
        store_grow(stored);
        for (uint64_t n = 1; n <= NMAX; n++) {
            naive_build(&naive, leaves, (size_t) n);
            for (uint64_t pos = 0; pos < n; pos++) {
                check_proof(pos, n, stored);
            }
        }
    }
    each_done("all proofs up to 70 leaves, any number of them stored");
}

static void
test_cost(void)
{
    struct exi_hash root, branch[EXI_MERKLE_MAX];
    size_t nbranch;

    store_reset();
    store_grow(64);
    each_done("store of 64");
    for (uint64_t n = 1; n <= NMAX; n++) {
        for (uint64_t pos = 0; pos < n; pos++) {
            store.reads = store.leaf_reads = 0;
            each(exi_hmerkle_proof(&root, branch, &nbranch, pos, n, 64,
                                   store_read, store_leaf, &store)
                         == EXI_OK
                     && store.reads <= 14
                     && store.leaf_reads <= (n > 64 ? n - 64 : 0),
                 "n %d, pos %d: %u reads, %u leaves", (int) n, (int) pos,
                 store.reads, store.leaf_reads);
        }
    }
    each_done("few reads, each new leaf at most once");
}

static void
test_errors(void)
{
    struct exi_hash root, branch[EXI_MERKLE_MAX], out[64];
    size_t nbranch = 99, nout = 99;
    int calls;

    store_reset();
    store_grow(63);
    is_int(exi_hmerkle_proof(&root, branch, &nbranch, 5, 5, 3, store_read,
                             store_leaf, &store),
           EXI_EAPI, "pos = n");
    is_int(exi_hmerkle_proof(&root, branch, &nbranch, 0, 0, 0, store_read,
                             store_leaf, &store),
           EXI_EAPI, "empty tree");
    is_int(exi_hmerkle_proof(&root, branch, &nbranch, 0, UINT64_MAX, 0,
                             store_read, store_leaf, &store),
           EXI_EAPI, "a branch that is too long");
    for (calls = 0; calls < 100; calls++) {
        int rc;

        store.fail_after = calls;
        rc = exi_hmerkle_proof(&root, branch, &nbranch, 62, NMAX, 63,
                               store_read, store_leaf, &store);
        if (rc == EXI_OK) {
            break;
        }
        each(rc == EXI_EIO && nbranch == 99, "call %d fails", calls);
    }
    each_done("errors of read and leaf are passed on");
    ok(calls > 5 && calls < 100, "%d calls", calls);
    for (calls = 0; calls < 6; calls++) {
        store.fail_after = calls;
        each(exi_hmerkle_append(out, &nout, 63, &leaves[63], store_read, &store)
                     == EXI_EIO
                 && nout == 99,
             "read %d fails", calls);
    }
    each_done("errors while appending");
}

static const char header5_hex[] =
    "0100000085144a84488ea88d221c8bd6c059da090e88f8a2c99690ee55dbba4e"
    "00000000e11c48fecdd9e72510ca84f023370c9a38bf91ac5cae88019bee94d2"
    "4528526344c36649ffff001d1d03e477";
static const char *const branch5_hex[] = {
    "000000004ebadb55ee9096c9a2f8880e09da59c0d68b1c228da88e48844a1485",
    "96cbbc84783888e4cc971ae8acf86dd3c1a419370336bb3c634c97695a8c5ac9",
    "965ac94082cebbcffe458075651e9cc33ce703ab0115c72d9e8b1a9906b2b636",
    "89e5daa6950b895190716dd26054432b564ccdc2868188ba1da76de8e1dc7591",
};
static const char root8_hex[] =
    "e347b1c43fd9b5415bf0d92708db8284b78daf4d0e24f9c3405f45feb85e25db";

static void
test_example(void)
{
    uint8_t header[EXI_HEADER_LEN];
    struct exi_hash leaf, branch[4], root;
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };

    is_int(exi_unhex(header, header5_hex, sizeof(header5_hex) - 1), EXI_OK,
           "header");
    exi_sha256d(leaf.b, header, sizeof(header));
    for (int i = 0; i < 4; i++) {
        is_int(exi_unhex_display(branch[i].b, branch5_hex[i], 64), EXI_OK,
               "sibling %d", i);
    }
    exi_merkle_climb(&root, &leaf, branch, 4, 5);
    exi_hex_display(hex, root.b);
    is_str(hex, root8_hex, "root of blocks 0 to 8");
    exi_merkle_climb(&root, &leaf, branch, 4, 4);
    exi_hex_display(hex, root.b);
    ok(strcmp(hex, root8_hex) != 0, "not from another position");
    exi_merkle_climb(&root, &leaf, NULL, 0, 0);
    ok(same(&root, &leaf), "an empty branch leads to the leaf");
}

int
main(void)
{
    rnd_init();
    rnd_fill(leaves, sizeof(leaves));
    subtest("trees of transactions", test_merkle);
    subtest("header tree", test_append);
    subtest("header proofs", test_proof);
    subtest("cost of a proof", test_cost);
    subtest("errors", test_errors);
    subtest("example of the protocol", test_example);
    return done_testing();
}
