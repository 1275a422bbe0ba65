/*
 * blockcheck.h: blocks of 1 to 40 transactions, with and without witness; every
 * altered byte that is not in a witness, every truncation, a list whose end is
 * there twice (CVE-2012-2459), another block's hash.
 */
#include "blockcheck.h"

#include <stdlib.h>
#include <string.h>

#include "exi_merkle.h"
#include "exi_sha256.h"
#include "rnd.h"
#include "tap.h"
#include "txmake.h"

#define ROOM 100000

struct block {
    uint8_t b[ROOM];
    size_t len;
    struct exi_blkid hash;
    size_t at[64]; /* of each transaction, and the end */
    struct exi_hash txids[64];
};

static void
make(struct block *k, unsigned n, uint8_t flags)
{
    struct made m = { k->b, 0, ROOM, false };
    struct exi_hash leaves[64], root;

    made_random(&m, EXI_HEADER_LEN);
    made_compact(&m, n);
    for (unsigned i = 0; i < n; i++) {
        struct txmake t = { .nin = 1 + rnd() % 3,
                            .nout = 1 + rnd() % 3,
                            .max_script = 40,
                            .flags = flags,
                            .coinbase = i == 0 };

        k->at[i] = m.len;
        txmake(&m, &t);
        memcpy(k->txids[i].b, t.id.b, EXI_HASH_LEN);
    }
    k->at[n] = k->len = m.len;
    memcpy(leaves, k->txids, n * sizeof(*leaves));
    ok(!m.full && exi_merkle(&root, NULL, NULL, leaves, n, 0) == EXI_OK,
       "a block of %u transactions", n);
    memcpy(k->b + 36, root.b, EXI_HASH_LEN);
    exi_sha256d(k->hash.b, k->b, EXI_HEADER_LEN);
}

/* On a heap block of the exact size. */
static int
check(const struct block *k, const uint8_t *b, size_t len)
{
    uint8_t *copy = malloc(len + !len);
    int rc;

    memcpy(copy, b, len);
    rc = blockcheck(&k->hash, copy, len);
    free(copy);
    return rc;
}

static void
damaged(struct block *k, unsigned n)
{
    unsigned bad = 0;
    size_t last = k->at[n - 1];

    for (size_t i = 0; i < k->len; i++) {
        k->b[i] ^= 0x40;
        bad += check(k, k->b, k->len) != EXI_EFORMAT;
        k->b[i] ^= 0x40;
    }
    is_int(bad, 0, "each altered byte is noticed");
    for (size_t len = 0; len < k->len; len++) {
        bad += check(k, k->b, len) != EXI_EFORMAT;
    }
    is_int(bad, 0, "each truncation is noticed");
    if (n > 1) {
        k->b[EXI_HEADER_LEN] = (uint8_t) (n - 1);
        is_int(check(k, k->b, last), EXI_EFORMAT, "without the last one");
        k->b[EXI_HEADER_LEN] = (uint8_t) n;
    }
    k->hash.b[3] ^= 1;
    is_int(check(k, k->b, k->len), EXI_EFORMAT, "another block was asked for");
    k->hash.b[3] ^= 1;
}

/* The last `again` transactions once more: the root is the same. */
static void
twice(struct block *k, unsigned n, unsigned again)
{
    size_t from = k->at[n - again];
    struct exi_hash leaves[128], root;

    memcpy(k->b + k->len, k->b + from, k->len - from);
    memcpy(leaves, k->txids, n * sizeof(*leaves));
    memcpy(leaves + n, k->txids + n - again, again * sizeof(*leaves));
    k->b[EXI_HEADER_LEN] = (uint8_t) (n + again);
    is_int(exi_merkle(&root, NULL, NULL, leaves, n + again, 0), EXI_OK, "root");
    is_mem(root.b, k->b + 36, EXI_HASH_LEN, "is the same");
    is_int(check(k, k->b, k->len + k->len - from), EXI_EFORMAT,
           "%u of %u transactions twice", again, n);
    k->b[EXI_HEADER_LEN] = (uint8_t) n;
}

int
main(void)
{
    static const unsigned counts[] = { 1, 2, 3, 5, 6, 7, 8, 40 };
    static struct block k;

    rnd_init();
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        for (unsigned flags = 0; flags < 2; flags++) {
            make(&k, counts[i], (uint8_t) flags);
            is_int(check(&k, k.b, k.len), EXI_OK, "is what it is");
            if (flags == 0) {
                damaged(&k, counts[i]);
            }
        }
    }
    make(&k, 3, 0);
    twice(&k, 3, 1);
    make(&k, 6, 1);
    twice(&k, 6, 2);
    return done_testing();
}
