/*
 * Blocks from the node: REST, and JSON-RPC where REST does not do.
 *
 * A node that is busy (its work queue is full) or gone is asked again after
 * 50 ms, 100 ms, ... for two seconds, and each such failure halves the number
 * of requests that are in flight; it grows again with success.
 */
#include "source_int.h"

#include <string.h>

#include "blockcheck.h"
#include "lib/exi_hex.h"

#define HTTP_PAUSE_MS    50
#define HTTP_PATIENCE_MS 2000

/* bitcoind's RPC_INVALID_ADDRESS_OR_KEY and RPC_MISC_ERROR. */
#define HTTP_CODE_NOT_FOUND (-5)
#define HTTP_CODE_MISC      (-1)

static int
http_rest(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    static const char head[] = "/rest/block/";
    char path[sizeof(head) + 2 * EXI_HASH_LEN + sizeof(".bin")];
    char *p = path + sizeof(head) - 1;

    memcpy(path, head, sizeof(head));
    exi_hex_display(p, hash->b);
    memcpy(p + 2 * EXI_HASH_LEN, ".bin", sizeof(".bin"));
    return rpc_rest(r, path, buf);
}

/* JSON-RPC getblock HASH 0. */
static int
http_getblock(struct rpc *r, const struct exi_blkid *hash, struct rpc_buf *buf)
{
    char hex[2 * EXI_HASH_LEN];
    int rc;

    exi_hex_display(hex, hash->b);
    rc = rpc_call_hex(r, "getblock", json_pack("[s%,i]", hex, sizeof(hex), 0),
                      buf);
    if (rc == EXI_ENODE
        && (rpc_error(r)->code == HTTP_CODE_NOT_FOUND
            || rpc_error(r)->code == HTTP_CODE_MISC)) {
        rc = EXI_ENOTFOUND;
    }
    return rc;
}

/* The caller checks Merkle roots anyway; only when one of them was wrong it is
 * done here, too, where somebody else can be asked. */
static bool
http_good(const struct source *s, const struct exi_blkid *hash,
          const struct rpc_buf *buf)
{
    return source_fits(hash, buf->data, buf->len, s->block_max)
           && (!atomic_load(&s->doubt)
               || blockcheck(hash, buf->data, buf->len) == EXI_OK);
}

/* Once, in the order REST, JSON-RPC, other daemons. */
static int
http_once(struct source *s, struct rpc *r, const struct exi_blkid *hash,
          struct rpc_buf *buf, enum source_kind *kind, const char **words)
{
    int rc;

    *words = rpc_error(r)->message;
    if (s->want != SOURCE_RPC && !atomic_load(&s->no_rest)) {
        *kind = SOURCE_REST;
        rc = http_rest(r, hash, buf);
        if (rc == EXI_OK && http_good(s, hash, buf)) {
            return EXI_OK;
        }
        if (rc == EXI_ENODE) {
            atomic_store(&s->no_rest, true);
        } else if (rc != EXI_OK && rc != EXI_ENOTFOUND && rc != EXI_EANSWER) {
            return rc;
        }
    }
    *kind = SOURCE_RPC;
    rc = http_getblock(r, hash, buf);
    if (rc == EXI_ENOTFOUND) {
        rc = rpc_block(r, hash, buf);
    }
    if (rc == EXI_OK && !http_good(s, hash, buf)) {
        *words = "the node sends something else than the block asked for";
        rc = EXI_ENODE;
    }
    return rc == EXI_EANSWER ? EXI_ENODE : rc;
}

/* How many requests at a time the node bears. */
static void
http_adapt(struct source *s, int rc)
{
    unsigned limit = atomic_load(&s->limit);

    if (rc == EXI_ENET) {
        atomic_store(&s->no_rest, false); /* it may come back otherwise */
        atomic_store(&s->limit, limit > 1 ? limit / 2 : 1);
    } else if (rc == EXI_OK && limit < s->parallel) {
        atomic_store(&s->limit, limit + 1);
    }
}

/* Room for a block like the last ones, so that the buffer seldom grows. */
static void
http_room(struct source *s, struct rpc_buf *buf)
{
    size_t len = atomic_load(&s->typical);

    buf->len = 0;
    if (rpc_buf_room(buf, len + len / 8) != EXI_OK) {
        /* the transfer will say it */
    }
}

int
source_http_get(struct source *s, struct rpc *r, const struct exi_blkid *hash,
                struct rpc_buf *buf, enum source_kind *kind, const char **words)
{
    int64_t until = source_now_ms() + HTTP_PATIENCE_MS;
    long pause = HTTP_PAUSE_MS;
    int rc;

    http_room(s, buf);
    for (;;) {
        rc = http_once(s, r, hash, buf, kind, words);
        if (atomic_load(&s->cancelled)) {
            return EXI_ENET;
        }
        http_adapt(s, rc);
        if (rc != EXI_ENET || source_now_ms() + pause > until) {
            break;
        }
        source_pause(s, pause);
        pause *= 2;
    }
    if (rc == EXI_OK) {
        atomic_store(&s->typical, buf->len);
    }
    return rc;
}
