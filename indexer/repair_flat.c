/*
 * Repair of flat files.  A segment in which something must be written is copied
 * first, then put in place by rename: the old inode may be mapped by readers,
 * and generations link it.
 */
#include "repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flat.h"
#include "fsutil.h"
#include "lib/exi_merkle.h"
#include "lib/exi_sha256.h"
#include "lib/exi_tx.h"
#include "log.h"
#include "sync.h"

/* The segment of each file that is being patched. */
struct patch {
    const char *dir;
    struct {
        int fd;
        uint32_t segment;
    } file[EXI_FLAT_N];
};

static int
names(char path[FS_PATH_MAX], char tmp[FS_PATH_MAX], const struct patch *p,
      enum exi_flat f, uint32_t segment)
{
    char name[32];
    int rc;

    exi_flat_segment_name(name, sizeof(name), f, segment);
    rc = fs_path(path, "%s/%s", p->dir, name);
    return rc == EXI_OK ? fs_path(tmp, "%s/%s.tmp", p->dir, name) : rc;
}

/* Puts the copy of a segment in place. */
static int
leave(struct patch *p, enum exi_flat f)
{
    char path[FS_PATH_MAX], tmp[FS_PATH_MAX];
    int fd = p->file[f].fd;
    int rc = names(path, tmp, p, f, p->file[f].segment);

    if (fd < 0) {
        return EXI_OK;
    }
    p->file[f].fd = -1;
    if (rc == EXI_OK && (fsync(fd) != 0 || rename(tmp, path) != 0)) {
        rc = fs_error();
    }
    close(fd);
    return rc == EXI_OK ? fs_sync_dir(p->dir) : rc;
}

/* A full-length copy of what is there, even if that is short or missing. */
static int
copy_segment(const char *path, const char *tmp, enum exi_flat f)
{
    uint64_t bytes = (uint64_t) exi_flat_defs[f].record
                     << exi_flat_defs[f].shift;

    unlink(tmp);
    return fs_exists(path) ? fs_copy(path, tmp, bytes, bytes)
                           : fs_write(tmp, "", 0);
}

static int
enter(struct patch *p, enum exi_flat f, uint32_t segment)
{
    char path[FS_PATH_MAX], tmp[FS_PATH_MAX];
    uint64_t bytes = (uint64_t) exi_flat_defs[f].record
                     << exi_flat_defs[f].shift;
    int rc = leave(p, f);

    if (rc == EXI_OK) {
        rc = names(path, tmp, p, f, segment);
    }
    if (rc == EXI_OK) {
        rc = copy_segment(path, tmp, f);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    p->file[f].fd = open(tmp, O_WRONLY | O_CLOEXEC);
    p->file[f].segment = segment;
    if (p->file[f].fd < 0 || ftruncate(p->file[f].fd, (off_t) bytes) != 0) {
        return fs_error();
    }
    return EXI_OK;
}

/* Writes one record. */
static int
put(struct patch *p, enum exi_flat f, uint64_t index, const void *record)
{
    const struct exi_flat_def *d = &exi_flat_defs[f];
    uint32_t segment = (uint32_t) (index >> d->shift);
    uint64_t at = index & (((uint64_t) 1 << d->shift) - 1);
    int rc = EXI_OK;

    if (p->file[f].fd < 0 || p->file[f].segment != segment) {
        rc = enter(p, f, segment);
    }
    return rc == EXI_OK
               ? fs_pwrite(p->file[f].fd, record, d->record, at * d->record)
               : rc;
}

static int
finish(struct patch *p, int rc)
{
    for (int f = 0; f < EXI_FLAT_N; f++) {
        if (rc == EXI_OK) {
            rc = leave(p, (enum exi_flat) f);
        } else if (p->file[f].fd >= 0) {
            close(p->file[f].fd);
            p->file[f].fd = -1;
        }
    }
    return rc;
}

static void
start(struct patch *p, const char *dir)
{
    p->dir = dir;
    for (int f = 0; f < EXI_FLAT_N; f++) {
        p->file[f].fd = -1;
    }
}

/*
 * Blocks.
 */

/* Writes all that a block says; first: number of its first transaction. */
static int
put_block(struct patch *p, const struct rpc_buf *raw, uint32_t height,
          uint64_t first, uint64_t *next)
{
    struct exi_block b;
    struct exi_txid txid;
    struct exi_tx tx;
    uint8_t num[8];
    int rc = exi_block_open(&b, raw->data, raw->len), more = 0;

    if (rc == EXI_OK) {
        rc = put(p, EXI_FLAT_HEADERS, height, b.header);
    }
    while (rc == EXI_OK && (more = exi_block_next(&b, &tx)) == 1) {
        exi_tx_id(&txid, &tx);
        rc = put(p, EXI_FLAT_TXIDS, first, &txid);
        exi_put_le32(num, (uint32_t) (tx.raw - b.buf));
        if (rc == EXI_OK) {
            rc = put(p, EXI_FLAT_TXOFFSETS, first++, num);
        }
    }
    if (rc == EXI_OK && more < 0) {
        rc = more;
    }
    if (rc == EXI_OK) {
        exi_put_le64(num, first);
        rc = put(p, EXI_FLAT_TXCOUNTS, height, num);
    }
    if (rc == EXI_OK) {
        exi_put_le32(num, b.size);
        rc = put(p, EXI_FLAT_BLOCKSIZES, height, num);
    }
    *next = first;
    return rc;
}

struct fetch {
    struct sync s;
    struct flat *flat; /* as it was */
};

/* Number of the first transaction: after the block before it, which is the one
 * written last or was not damaged. */
static int
first_of(struct fetch *f, uint32_t height, uint32_t last, uint64_t last_next,
         uint64_t *first)
{
    uint8_t num[8];
    int rc;

    if (height == 0) {
        *first = 0;
        return EXI_OK;
    }
    if (height == last + 1 && last_next != 0) {
        *first = last_next;
        return EXI_OK;
    }
    rc = flat_read(f->flat, EXI_FLAT_TXCOUNTS, height - 1, 1, num);
    *first = exi_le64(num);
    return rc;
}

static int
fetch_blocks(struct fetch *f, struct patch *p, const struct check_result *found)
{
    uint64_t first = 0, next = 0;
    uint32_t last = 0;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < found->nbad; i++) {
        uint32_t height = found->bad[i];
        struct exi_blkid hash;

        rc = first_of(f, height, last, next, &first);
        if (rc == EXI_OK) {
            rc = rpc_hash_at(f->s.rpc, height, &hash);
        }
        if (rc == EXI_OK) {
            rc = sync_fetch(&f->s, &hash);
        }
        if (rc == EXI_OK) {
            rc = put_block(p, &f->s.block, height, first, &next);
        }
        if (rc == EXI_OK) {
            log_info("repair", "block %u is written again", height);
        } else {
            log_error("repair", "block %u can't be had from the node: %s",
                      height, exi_strerror(rc));
        }
        last = height;
    }
    return rc;
}

/* The node must have the chain that was indexed. */
static int
check_node(struct fetch *f, const struct exi_manifest *m)
{
    struct exi_blkid at;
    int rc = rpc_hash_at(f->s.rpc, m->height, &at);

    if (rc == EXI_OK && memcmp(&at, &m->block, sizeof(at)) != 0) {
        rc = EXI_EFORMAT;
        log_error("repair", "the node has another block at height %u",
                  m->height);
    } else if (rc != EXI_OK) {
        log_error("repair", "the node: %s (%s)", exi_strerror(rc),
                  rpc_error(f->s.rpc)->message);
    }
    return rc;
}

static int
repair_blocks(const struct conf *c, const char *dir,
              const struct exi_manifest *m, const struct check_result *found,
              struct flat *flat)
{
    struct rpc_opts o;
    struct fetch f;
    struct patch p;
    char why[512];
    int rc;

    memset(&o, 0, sizeof(o));
    memset(&f, 0, sizeof(f));
    f.flat = flat;
    f.s.conf = c;
    f.s.coin = coin_find(c->network);
    o.urls = c->daemon_url;
    o.cookie = c->daemon_cookie;
    o.timeout_ms = (long) c->daemon_timeout_ms;
    o.default_port = f.s.coin->rpc_port;
    rc = rpc_new(&f.s.rpc, &o, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("repair", "%s", why);
        return rc;
    }
    start(&p, dir);
    rc = check_node(&f, m);
    if (rc == EXI_OK) {
        rc = finish(&p, fetch_blocks(&f, &p, found));
    }
    rpc_buf_free(&f.s.block);
    rpc_free(f.s.rpc);
    return rc;
}

/*
 * The header tree, out of the headers.
 */

static int
tree_node(struct patch *p, struct flat *flat, uint64_t index,
          const struct exi_hash *node)
{
    struct exi_hash stored;

    if (flat_read(flat, EXI_FLAT_HMERKLE, index, 1, &stored) == EXI_OK
        && memcmp(&stored, node, sizeof(stored)) == 0) {
        return EXI_OK;
    }
    return put(p, EXI_FLAT_HMERKLE, index, node);
}

static int
repair_tree(const char *dir, const struct exi_manifest *m, struct flat *flat)
{
    struct exi_hash stack[64], node;
    uint8_t header[EXI_HEADER_LEN];
    uint64_t index = 0;
    struct patch p;
    int rc = EXI_OK;

    start(&p, dir);
    for (uint64_t i = 0; rc == EXI_OK && i <= m->height; i++) {
        unsigned level = 0;

        rc = flat_read(flat, EXI_FLAT_HEADERS, i, 1, header);
        if (rc != EXI_OK) {
            break;
        }
        exi_sha256d(node.b, header, sizeof(header));
        rc = tree_node(&p, flat, index++, &node);
        for (uint64_t j = i; rc == EXI_OK && (j & 1) != 0; j >>= 1) {
            exi_sha256d_pair(node.b, stack[level++].b, node.b);
            rc = tree_node(&p, flat, index++, &node);
        }
        stack[level] = node;
    }
    return finish(&p, rc);
}

int
repair_flat(const struct conf *c, const char *dir, const struct exi_manifest *m,
            const struct check_result *found)
{
    struct flat_counts counts;
    struct flat *flat = NULL;
    char segment[32];
    int rc;

    flat_counts_of(&counts, m->height, m->tx_count);
    rc = flat_open(&flat, dir, &counts, segment, sizeof(segment));
    if (rc == EXI_OK && found->nbad > 0) {
        rc = repair_blocks(c, dir, m, found, flat);
        flat_close(flat); /* it maps the old segments */
        flat = NULL;
        if (rc == EXI_OK) {
            rc = flat_open(&flat, dir, &counts, segment, sizeof(segment));
        }
    }
    if (rc == EXI_OK) {
        rc = repair_tree(dir, m, flat);
    }
    flat_close(flat);
    return rc;
}

/* 0: it is not there. */
static uint64_t
size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t) st.st_size : 0;
}

static int
complete_file(struct patch *p, enum exi_flat f, uint64_t records)
{
    const struct exi_flat_def *d = &exi_flat_defs[f];
    uint64_t bytes = (uint64_t) d->record << d->shift;
    uint64_t n = (records + ((uint64_t) 1 << d->shift) - 1) >> d->shift;
    int rc = EXI_OK;

    for (uint64_t i = 0; rc == EXI_OK && i < n; i++) {
        char path[FS_PATH_MAX], tmp[FS_PATH_MAX];

        rc = names(path, tmp, p, f, (uint32_t) i);
        if (rc == EXI_OK && size_of(path) < bytes) {
            log_warn("repair", "%s is missing or too short: made anew", path);
            rc = enter(p, f, (uint32_t) i);
        }
    }
    return rc;
}

int
repair_segments(const char *dir, const struct exi_manifest *m)
{
    struct flat_counts counts;
    struct patch p;
    int rc = EXI_OK;

    flat_counts_of(&counts, m->height, m->tx_count);
    start(&p, dir);
    for (int f = 0; rc == EXI_OK && f < EXI_FLAT_N; f++) {
        rc = complete_file(&p, (enum exi_flat) f, counts.n[f]);
    }
    return finish(&p, rc);
}
