/* Queries about blocks: flat files up to the generation's height, `block` and
 * `blockids` rows above. */
#include "exi_store.h"

#include "exi_merkle.h"

static bool
settled(const struct exi_view *v, uint32_t height)
{
    return height <= v->h.gen->m.height;
}

int
exi_header(struct exi_view *v, uint32_t height, uint8_t out[EXI_HEADER_LEN])
{
    struct exi_live_block b;
    const uint8_t *p;
    int rc;

    if (height > v->st.tip_height) {
        return EXI_ENOTFOUND;
    }
    if (settled(v, height) && height < v->st.live_floor) {
        rc = exi_view_flat(v, EXI_FLAT_HEADERS, height, &p);
        if (rc == EXI_OK) {
            memcpy(out, p, EXI_HEADER_LEN);
        }
        return rc;
    }
    rc = exi_view_live_block(v, height, &b);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    memcpy(out, b.header, EXI_HEADER_LEN);
    return EXI_OK;
}

/* Node of the settled header tree. */
static int
read_node(void *ctx, uint64_t index, struct exi_hash *out)
{
    const uint8_t *p;
    int rc = exi_view_flat(ctx, EXI_FLAT_HMERKLE, index, &p);

    if (rc == EXI_OK) {
        memcpy(out->b, p, EXI_HASH_LEN);
    }
    return rc;
}

int
exi_block_hash(struct exi_view *v, uint32_t height, struct exi_blkid *out)
{
    struct exi_live_block b;
    struct exi_hash h;
    int rc;

    if (height > v->st.tip_height) {
        return EXI_ENOTFOUND;
    }
    if (settled(v, height)) {
        rc = read_node(v, exi_hmerkle_index(0, height), &h);
        if (rc == EXI_OK) {
            memcpy(out->b, h.b, EXI_HASH_LEN);
        }
        return rc;
    }
    rc = exi_view_live_block(v, height, &b);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    *out = b.hash;
    return EXI_OK;
}

static int
read_leaf(void *ctx, uint64_t i, struct exi_hash *out)
{
    struct exi_blkid h;
    int rc = exi_block_hash(ctx, (uint32_t) i, &h);

    if (rc == EXI_OK) {
        memcpy(out->b, h.b, EXI_HASH_LEN);
    }
    return rc;
}

int
exi_header_proof(struct exi_view *v, uint32_t height, uint32_t cp_height,
                 struct exi_hash *root, struct exi_hash *branch,
                 size_t *nbranch)
{
    uint64_t n = (uint64_t) cp_height + 1;
    uint64_t nstored = (uint64_t) v->h.gen->m.height + 1;

    if (height > cp_height || cp_height > v->st.tip_height) {
        return EXI_EAPI;
    }
    return exi_hmerkle_proof(root, branch, nbranch, height, n,
                             nstored < n ? nstored : n, read_node, read_leaf,
                             v);
}

/* First transaction and number of transactions of a settled block. */
static int
settled_range(const struct exi_view *v, uint32_t height, uint64_t *first,
              uint32_t *ntx)
{
    uint64_t end;
    int rc = exi_view_first(v, height, first);

    if (rc == EXI_OK) {
        rc = exi_view_first(v, height + 1, &end);
    }
    if (rc) {
        return rc;
    }
    if (end <= *first || end - *first > UINT32_MAX) {
        return EXI_EFORMAT;
    }
    *ntx = (uint32_t) (end - *first);
    return EXI_OK;
}

/* Txids of a live block, EXI_HASH_LEN each. */
static int
live_ids(struct exi_view *v, uint32_t height, const uint8_t **ids,
         uint32_t *ntx)
{
    uint8_t key[4];
    MDB_val val;
    int rc;

    exi_put_be32(key, height);
    rc = exi_view_get(v, EXI_DB_BLOCKIDS, key, sizeof key, &val);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    if (val.mv_size % EXI_HASH_LEN != 0 || val.mv_size == 0) {
        return EXI_EFORMAT;
    }
    *ids = val.mv_data;
    *ntx = (uint32_t) (val.mv_size / EXI_HASH_LEN);
    return EXI_OK;
}

int
exi_block_ntx(struct exi_view *v, uint32_t height, uint32_t *ntx)
{
    const uint8_t *ids;
    uint64_t first;

    if (height > v->st.tip_height) {
        return EXI_ENOTFOUND;
    }
    if (settled(v, height)) {
        return settled_range(v, height, &first, ntx);
    }
    return live_ids(v, height, &ids, ntx);
}

int
exi_block_txid(struct exi_view *v, uint32_t height, uint32_t pos,
               struct exi_txid *out)
{
    const uint8_t *p;
    uint64_t first;
    uint32_t ntx;
    int rc;

    if (height > v->st.tip_height) {
        return EXI_ENOTFOUND;
    }
    if (settled(v, height)) {
        rc = settled_range(v, height, &first, &ntx);
        if (rc || pos >= ntx) {
            return rc ? rc : EXI_ENOTFOUND;
        }
        rc = exi_view_flat(v, EXI_FLAT_TXIDS, first + pos, &p);
        if (rc) {
            return rc;
        }
    } else {
        rc = live_ids(v, height, &p, &ntx);
        if (rc || pos >= ntx) {
            return rc ? rc : EXI_ENOTFOUND;
        }
        p += (size_t) pos * EXI_HASH_LEN;
    }
    memcpy(out->b, p, EXI_HASH_LEN);
    return EXI_OK;
}

/* n txids of a block, from position pos on, into hashes. */
static int
copy_ids(struct exi_view *v, uint32_t height, uint32_t pos,
         struct exi_hash *hashes, uint32_t n)
{
    const uint8_t *p;
    uint64_t first;
    uint32_t ntx;
    int rc;

    if (!settled(v, height)) {
        rc = live_ids(v, height, &p, &ntx);
        if (rc == EXI_OK) {
            memcpy(hashes, p + (size_t) pos * EXI_HASH_LEN,
                   (size_t) n * EXI_HASH_LEN);
        }
        return rc;
    }
    rc = exi_view_first(v, height, &first);
    for (uint32_t i = 0; i < n && (rc == EXI_OK || rc == EXI_ECOLD); i++) {
        int got = exi_view_flat(v, EXI_FLAT_TXIDS, first + pos + i, &p);
        if (got == EXI_OK) {
            memcpy(hashes[i].b, p, EXI_HASH_LEN);
        } else {
            rc = got;
        }
    }
    return rc;
}

/* Computes the whole tree, and keeps its middle levels. */
static int
whole_branch(struct exi_view *v, const struct exi_arena *a, uint32_t height,
             uint32_t ntx, uint32_t at, struct exi_hash *branch,
             size_t *nbranch)
{
    struct exi_hash *hashes, root;
    struct exi_blkid block;
    size_t n = ntx, pos = at, done = 0;
    int rc;

    hashes = a->alloc(a->ctx, n * sizeof *hashes);
    if (hashes == NULL) {
        return EXI_ENOMEM;
    }
    rc = copy_ids(v, height, 0, hashes, ntx);
    if (rc == EXI_OK && exi_merkle_depth(ntx) > EXI_MCACHE_LOW) {
        struct exi_hash *nodes = NULL;

        exi_merkle_up(hashes, &n, &pos, EXI_MCACHE_LOW, branch);
        done = EXI_MCACHE_LOW;
        rc = exi_block_hash(v, height, &block);
        nodes = rc ? NULL : a->alloc(a->ctx, n * sizeof *nodes);
        if (nodes != NULL) {
            memcpy(nodes, hashes, n * sizeof *nodes);
            exi_mcache_add(v->s->merkle, &block, ntx, nodes);
        }
    }
    if (rc == EXI_OK) {
        rc = exi_merkle(&root, branch + done, nbranch, hashes, n, pos);
        *nbranch += done;
    }
    return rc;
}

/* The lowest levels of the 16 transactions around it, which are at hand. */
static int
low_branch(struct exi_view *v, uint32_t height, uint32_t ntx, uint32_t pos,
           struct exi_hash *branch)
{
    struct exi_hash hashes[1 << EXI_MCACHE_LOW];
    uint32_t first = pos & ~((1u << EXI_MCACHE_LOW) - 1);
    size_t n = 1 << EXI_MCACHE_LOW, in = pos - first;
    int rc;

    n = ntx - first < n ? ntx - first : n;
    rc = copy_ids(v, height, first, hashes, (uint32_t) n);
    if (rc == EXI_OK) {
        exi_merkle_up(hashes, &n, &in, EXI_MCACHE_LOW, branch);
    }
    return rc;
}

int
exi_block_branch(struct exi_view *v, const struct exi_arena *a, uint32_t height,
                 uint32_t pos, struct exi_hash *branch, size_t *nbranch)
{
    struct exi_blkid block;
    uint32_t ntx;
    size_t n;
    int rc = exi_block_ntx(v, height, &ntx);

    if (rc == EXI_OK && pos >= ntx) {
        rc = EXI_ENOTFOUND;
    }
    if (rc) {
        return rc;
    }
    if (exi_merkle_depth(ntx) <= EXI_MCACHE_LOW) {
        return whole_branch(v, a, height, ntx, pos, branch, nbranch);
    }
    rc = exi_block_hash(v, height, &block);
    if (rc == EXI_ECOLD) {
        /* with its name are read the txids that are needed in any case */
        int got = low_branch(v, height, ntx, pos, branch);
        return got == EXI_OK ? rc : got;
    }
    if (rc == EXI_OK) {
        rc = exi_mcache_branch(v->s->merkle, a, &block, ntx,
                               pos >> EXI_MCACHE_LOW, branch + EXI_MCACHE_LOW,
                               &n);
    }
    if (rc == EXI_ENOTFOUND) {
        return whole_branch(v, a, height, ntx, pos, branch, nbranch);
    }
    if (rc == EXI_OK) {
        rc = low_branch(v, height, ntx, pos, branch);
        *nbranch = n + EXI_MCACHE_LOW;
    }
    return rc;
}
