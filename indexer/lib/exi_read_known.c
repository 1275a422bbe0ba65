/*
 * What is known of a script from before: midstates and sums belong to a block,
 * and count in every view whose chain has that block.
 */
#include "exi_store.h"

int
exi_view_has(struct exi_view *v, uint32_t height, const struct exi_blkid *block)
{
    const struct exi_manifest *m = &v->h.gen->m;
    struct exi_blkid id;

    if (height > m->height) {
        return 0;
    }
    if (height == m->height) {
        id = m->block;
    } else {
        int rc = exi_block_hash(v, height, &id);
        if (rc) {
            return rc;
        }
    }
    return memcmp(id.b, block->b, sizeof id.b) == 0;
}
