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

/* All txids of a block into hashes. */
static int
copy_ids(struct exi_view *v, uint32_t height, struct exi_hash *hashes,
         uint32_t ntx)
{
    const uint8_t *p;
    uint64_t first;
    uint32_t n;
    int rc;

    if (!settled(v, height)) {
        rc = live_ids(v, height, &p, &n);
        if (rc == EXI_OK) {
            memcpy(hashes, p, (size_t) ntx * EXI_HASH_LEN);
        }
        return rc;
    }
    rc = exi_view_first(v, height, &first);
    for (uint32_t i = 0; i < ntx && (rc == EXI_OK || rc == EXI_ECOLD); i++) {
        int got = exi_view_flat(v, EXI_FLAT_TXIDS, first + i, &p);
        if (got == EXI_OK) {
            memcpy(hashes[i].b, p, EXI_HASH_LEN);
        } else {
            rc = got;
        }
    }
    return rc;
}

int
exi_block_branch(struct exi_view *v, const struct exi_arena *a, uint32_t height,
                 uint32_t pos, struct exi_hash *branch, size_t *nbranch)
{
    struct exi_hash *hashes, root;
    uint32_t ntx;
    int rc = exi_block_ntx(v, height, &ntx);

    if (rc) {
        return rc;
    }
    if (pos >= ntx) {
        return EXI_ENOTFOUND;
    }
    hashes = a->alloc(a->ctx, (size_t) ntx * sizeof *hashes);
    if (hashes == NULL) {
        return EXI_ENOMEM;
    }
    rc = copy_ids(v, height, hashes, ntx);
    return rc ? rc : exi_merkle(&root, branch, nbranch, hashes, ntx, pos);
}
