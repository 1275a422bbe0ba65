/*
 * Check of the flat files: each header follows the one before it, the tree of
 * headers is theirs, each block's txids have the Merkle root of its header,
 * offsets lie inside the block.  A block that fails is named by its height,
 * because that is what a repair fetches again.
 */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_hex.h"
#include "lib/exi_merkle.h"
#include "lib/exi_sha256.h"

/* Blocks of the fast level's sample. */
#define SAMPLE 1000

/* Least bytes of a transaction (one input, one output, no scripts). */
#define TX_MIN 60

#define MERKLE_ROOT 36 /* offset in a header */

/*
 * Headers.
 */

struct tree {
    struct exi_hash stack[64];
    uint64_t next; /* node */
};

/* The stored node must be this one. */
static int
tree_node(struct check *c, struct tree *t, const struct exi_hash *node,
          uint64_t height)
{
    struct exi_hash stored;
    int rc = flat_read(c->flat, EXI_FLAT_HMERKLE, t->next, 1, &stored);

    if (rc != EXI_OK) {
        return rc;
    }
    if (memcmp(&stored, node, sizeof(stored)) != 0) {
        check_found(c, CHECK_HMERKLE,
                    "node %" PRIu64 " of the header tree (block %" PRIu64
                    ") is wrong",
                    t->next, height);
    }
    t->next++;
    return EXI_OK;
}

/* Adds a leaf: it and the inner nodes it completes. */
static int
tree_add(struct check *c, struct tree *t, const struct exi_hash *leaf,
         uint64_t height)
{
    struct exi_hash node = *leaf;
    unsigned level = 0;
    int rc = tree_node(c, t, &node, height);

    for (uint64_t j = height; rc == EXI_OK && (j & 1) != 0; j >>= 1) {
        exi_sha256d_pair(node.b, t->stack[level].b, node.b);
        level++;
        rc = tree_node(c, t, &node, height);
    }
    t->stack[level] = node;
    return rc;
}

/* Which of two neighbours is wrong can't be told. */
static int
both_bad(struct check *c, uint64_t height)
{
    int rc = height > 0 ? check_bad(c, height - 1) : EXI_OK;

    return rc == EXI_OK ? check_bad(c, height) : rc;
}

static int
check_headers(struct check *c)
{
    uint64_t n = (uint64_t) c->m.height + 1;
    struct tree t = { .next = 0 };
    struct exi_hash prev, hash;
    uint8_t header[EXI_HEADER_LEN];
    int rc = EXI_OK;

    memset(&prev, 0, sizeof(prev));
    memset(&hash, 0, sizeof(hash));
    for (uint64_t i = 0; rc == EXI_OK && i < n; i++) {
        if (i % 4096 == 0 && !check_step(c, "headers", i, n)) {
            return EXI_ESTALE;
        }
        rc = flat_read(c->flat, EXI_FLAT_HEADERS, i, 1, header);
        if (rc != EXI_OK) {
            break;
        }
        exi_sha256d(hash.b, header, sizeof(header));
        if (memcmp(header + 4, prev.b, EXI_HASH_LEN) != 0) {
            check_found(c, CHECK_HEADERS,
                        "header %" PRIu64 " does not follow the one before it",
                        i);
            rc = both_bad(c, i);
        }
        if (i == 0 && memcmp(&hash, &c->m.params.genesis, sizeof(hash)) != 0) {
            check_found(c, CHECK_HEADERS, "header 0 is not the genesis block");
            rc = check_bad(c, 0);
        }
        prev = hash;
        if (rc == EXI_OK) {
            rc = tree_add(c, &t, &hash, i);
        }
    }
    if (rc == EXI_OK && memcmp(&hash, &c->m.block, sizeof(hash)) != 0) {
        check_found(c, CHECK_HEADERS, "header %u is not the manifest's block",
                    c->m.height);
        rc = check_bad(c, c->m.height);
    }
    return rc;
}

/*
 * Blocks.
 */

int
check_first(struct check *c, uint64_t height, uint64_t *txnum)
{
    uint8_t count[8];
    int rc;

    if (height == 0) {
        *txnum = 0;
        return EXI_OK;
    }
    rc = flat_read(c->flat, EXI_FLAT_TXCOUNTS, height - 1, 1, count);
    if (rc == EXI_OK) {
        *txnum = exi_le64(count);
    }
    return rc;
}

struct blocks {
    struct exi_hash *txids;
    uint8_t *offsets;
    size_t cap;
};

static int
grow(struct blocks *b, size_t n)
{
    size_t cap = n + n / 2;
    void *p;

    if (n <= b->cap) {
        return EXI_OK;
    }
    p = realloc(b->txids, cap * sizeof(*b->txids));
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    b->txids = p;
    p = realloc(b->offsets, cap * 4);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    b->offsets = p;
    b->cap = cap;
    return EXI_OK;
}

/* Offsets ascend from behind the header and the count to below the size; false:
 * they do not. */
static bool
check_offsets(struct check *c, const uint8_t *offsets, uint64_t n,
              uint32_t size, uint64_t height)
{
    uint32_t want = EXI_HEADER_LEN + (n < 0xfd ? 1 : n <= 0xffff ? 3 : 5);
    uint32_t at = exi_le32(offsets);

    if (at != want) {
        check_found(c, CHECK_TXIDS,
                    "block %" PRIu64 ": its first transaction is said to be at "
                    "%u, not %u",
                    height, at, want);
        return false;
    }
    for (uint64_t i = 1; i <= n; i++) {
        uint32_t next = i < n ? exi_le32(offsets + i * 4) : size;

        if (next < at || next - at < TX_MIN) {
            check_found(c, CHECK_TXIDS,
                        "block %" PRIu64 ": offset or size of transaction "
                        "%" PRIu64 " is wrong",
                        height, i - 1);
            return false;
        }
        at = next;
    }
    return true;
}

/* EXI_OK: the block's records could be read. */
static int
check_block(struct check *c, struct blocks *b, uint64_t height)
{
    uint8_t header[EXI_HEADER_LEN], size[4];
    uint64_t from, to, n;
    struct exi_hash root;
    int rc = check_first(c, height, &from);

    if (rc == EXI_OK) {
        rc = check_first(c, height + 1, &to);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    n = to - from;
    if (to <= from || to > c->m.tx_count || n > UINT32_MAX / TX_MIN) {
        check_found(c, CHECK_TXCOUNTS,
                    "block %" PRIu64 ": its number of transactions is wrong",
                    height);
        return check_bad(c, height);
    }
    rc = grow(b, n);
    if (rc == EXI_OK) {
        rc = flat_read(c->flat, EXI_FLAT_TXIDS, from, n, b->txids);
    }
    if (rc == EXI_OK) {
        rc = flat_read(c->flat, EXI_FLAT_TXOFFSETS, from, n, b->offsets);
    }
    if (rc == EXI_OK) {
        rc = flat_read(c->flat, EXI_FLAT_HEADERS, height, 1, header);
    }
    if (rc == EXI_OK) {
        rc = flat_read(c->flat, EXI_FLAT_BLOCKSIZES, height, 1, size);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (!check_offsets(c, b->offsets, n, exi_le32(size), height)) {
        return check_bad(c, height);
    }
    rc = exi_merkle(&root, NULL, NULL, b->txids, n, 0);
    if (rc == EXI_OK
        && memcmp(root.b, header + MERKLE_ROOT, EXI_HASH_LEN) != 0) {
        check_found(c, CHECK_TXIDS,
                    "block %" PRIu64 ": its txids do not have the Merkle root "
                    "of its header",
                    height);
        rc = check_bad(c, height);
    }
    return rc;
}

static int
check_blocks(struct check *c)
{
    uint64_t all = (uint64_t) c->m.height + 1;
    uint64_t n = c->o->full || all <= SAMPLE ? all : SAMPLE;
    struct blocks b = { NULL, NULL, 0 };
    int rc = EXI_OK;

    for (uint64_t i = 0; rc == EXI_OK && i < n; i++) {
        if (i % 64 == 0 && !check_step(c, "blocks", i, n)) {
            rc = EXI_ESTALE;
            break;
        }
        rc = check_block(c, &b, n == all ? i : check_random(c, all));
    }
    free(b.txids);
    free(b.offsets);
    return rc;
}

static int
check_count(struct check *c)
{
    uint64_t n;
    int rc = check_first(c, (uint64_t) c->m.height + 1, &n);

    if (rc == EXI_OK && n != c->m.tx_count) {
        check_found(c, CHECK_TXCOUNTS,
                    "%" PRIu64 " transactions, the manifest says %" PRIu64, n,
                    c->m.tx_count);
    }
    return rc;
}

/* Hash of all records. */
static int
digest(struct check *c)
{
    struct exi_sha256 sha;
    uint8_t buf[64 * EXI_HEADER_LEN];

    exi_sha256_init(&sha);
    for (int f = 0; f < EXI_FLAT_N; f++) {
        uint32_t record = exi_flat_defs[f].record;
        uint64_t all = flat_count(c->flat, (enum exi_flat) f), n, i;

        for (i = 0; i < all; i += n) {
            int rc;

            n = all - i < 64 ? all - i : 64;
            if (i % (1 << 20) == 0 && !check_step(c, "digest", i, all)) {
                return EXI_ESTALE;
            }
            rc = flat_read(c->flat, (enum exi_flat) f, i, n, buf);
            if (rc != EXI_OK) {
                return rc;
            }
            exi_sha256_update(&sha, buf, n * record);
        }
    }
    exi_sha256_final(&sha, c->r->flat);
    return EXI_OK;
}

int
check_flat(struct check *c)
{
    int rc = check_count(c);

    if (rc == EXI_OK) {
        rc = check_headers(c);
    }
    if (rc == EXI_OK) {
        rc = check_blocks(c);
    }
    return rc == EXI_OK && c->o->full ? digest(c) : rc;
}
