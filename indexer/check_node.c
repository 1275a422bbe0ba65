/*
 * check --node: every block's flat records against the block itself, as the node
 * has it.  It finds what nothing in the index can tell: an offset or a size that
 * is wrong but possible.
 */
#include "check_int.h"

#include <inttypes.h>
#include <string.h>

#include "lib/exi_sha256.h"
#include "lib/exi_tx.h"
#include "log.h"
#include "sync.h"

struct node {
    struct check *c;
    struct sync s; /* for its rpc and block */
};

static int
node_open(struct node *n, struct check *c)
{
    const struct conf *conf = c->o->node;
    struct rpc_opts o;
    char why[512];
    int rc;

    memset(n, 0, sizeof(*n));
    memset(&o, 0, sizeof(o));
    n->c = c;
    n->s.conf = conf;
    n->s.coin = coin_find(conf->network);
    o.urls = conf->daemon_url;
    o.cookie = conf->daemon_cookie;
    o.timeout_ms = (long) conf->daemon_timeout_ms;
    o.default_port = n->s.coin->rpc_port;
    rc = rpc_new(&n->s.rpc, &o, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("check", "%s", why);
    }
    return rc;
}

static void
node_close(struct node *n)
{
    rpc_buf_free(&n->s.block);
    if (n->s.rpc != NULL) {
        rpc_free(n->s.rpc);
    }
}

/* One transaction; false: another is recorded. */
static int
compare_tx(struct node *n, const struct exi_block *b, const struct exi_tx *tx,
           uint64_t txnum, bool *same)
{
    struct exi_txid txid, stored;
    uint8_t offset[4];
    int rc = flat_read(n->c->flat, EXI_FLAT_TXIDS, txnum, 1, &stored);

    if (rc == EXI_OK) {
        rc = flat_read(n->c->flat, EXI_FLAT_TXOFFSETS, txnum, 1, offset);
    }
    if (rc == EXI_OK) {
        exi_tx_id(&txid, tx);
        *same = memcmp(&txid, &stored, sizeof(txid)) == 0
                && exi_le32(offset) == (uint32_t) (tx->raw - b->buf);
    }
    return rc;
}

/* The block in n->s.block; *same false: something of it is recorded otherwise. */
static int
compare_block(struct node *n, uint64_t height, bool *same)
{
    uint64_t from, to;
    struct exi_block b;
    struct exi_tx tx;
    uint8_t size[4];
    int rc = check_first(n->c, height, &from), more = 0;

    if (rc == EXI_OK) {
        rc = check_first(n->c, height + 1, &to);
    }
    if (rc == EXI_OK) {
        rc = flat_read(n->c->flat, EXI_FLAT_BLOCKSIZES, height, 1, size);
    }
    if (rc == EXI_OK) {
        rc = exi_block_open(&b, n->s.block.data, n->s.block.len);
    }
    *same = rc == EXI_OK && exi_le32(size) == b.size && to - from == b.ntx;
    while (rc == EXI_OK && *same && (more = exi_block_next(&b, &tx)) == 1) {
        rc = compare_tx(n, &b, &tx, from++, same);
    }
    return rc == EXI_OK && more < 0 ? more : rc;
}

static int
check_one(struct node *n, uint64_t height)
{
    uint8_t header[EXI_HEADER_LEN];
    struct exi_blkid hash;
    bool same = true;
    int rc = flat_read(n->c->flat, EXI_FLAT_HEADERS, height, 1, header);

    if (rc != EXI_OK) {
        return rc;
    }
    exi_sha256d(hash.b, header, sizeof(header));
    rc = sync_fetch(&n->s, &hash);
    if (rc == EXI_ENOTFOUND) {
        check_found(n->c, CHECK_HEADERS,
                    "block %" PRIu64 ": the node does not have it", height);
        return check_bad(n->c, height);
    }
    if (rc == EXI_OK) {
        rc = compare_block(n, height, &same);
    }
    if (rc == EXI_OK && !same) {
        check_found(n->c, CHECK_TXIDS,
                    "block %" PRIu64 ": the node's has other sizes or "
                    "transactions",
                    height);
        rc = check_bad(n->c, height);
    }
    return rc;
}

int
check_node(struct check *c)
{
    uint64_t n = (uint64_t) c->m.height + 1;
    struct node node;
    int rc = node_open(&node, c);

    for (uint64_t i = 0; rc == EXI_OK && i < n; i++) {
        if (i % 64 == 0 && !check_step(c, "node's blocks", i, n)) {
            rc = EXI_ESTALE;
            break;
        }
        rc = check_one(&node, i);
        if (rc == EXI_ENET || rc == EXI_EAUTH || rc == EXI_ENODE) {
            log_error("check", "the node: %s", rpc_error(node.s.rpc)->message);
        }
    }
    node_close(&node);
    return rc;
}
