/*
 * A chain, block files and a scripted node for the tests of source.h.  Include
 * once; source_test_begin() first, source_test_end() last.
 */
#ifndef SOURCERUN_H
#define SOURCERUN_H

#include "source.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "blockbuild.h"
#include "exi_hex.h"
#include "fakehttp.h"
#include "tap.h"

#define SR_UNUSED __attribute__((unused))
#define MAGIC     0xdab5bffau
#define FROM      100
#define BLOCKS    400
#define BIG       7 /* each 7th block has about 100 KB */

/* ---- the chain ---- */

struct blk {
    uint8_t *raw;
    size_t len;
    struct exi_blkid hash;
};

static struct blk chain[BLOCKS];
static struct blk stale;
static struct exi_blkid hashes[BLOCKS];
static size_t longest;

SR_UNUSED static void
make_block(struct blk *b, const struct exi_blkid *prev, uint32_t n,
           size_t scriptlen)
{
    static uint8_t script[100000];
    struct bb_out out = { 50, script, scriptlen };
    struct exi_txid txid;
    struct bb bb = { 0 };

    memset(script, (int) n, sizeof(script));
    bb_begin(&bb, prev, n);
    bb_tx(&bb, &txid, NULL, n, &out, 1, false);
    bb_finish(&bb, &b->hash);
    b->raw = malloc(bb.rawlen);
    b->len = bb.rawlen;
    memcpy(b->raw, bb.raw, bb.rawlen);
    bb_free(&bb);
}

SR_UNUSED static void
make_chain(void)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        size_t len = i % BIG == 0 ? 90000 + i * 10 : i * 13 % 3000;

        make_block(&chain[i], i > 0 ? &hashes[i - 1] : NULL, i, len);
        hashes[i] = chain[i].hash;
        longest = chain[i].len > longest ? chain[i].len : longest;
    }
    make_block(&stale, &hashes[3], 99999, 50);
}

SR_UNUSED static int
number_of(const char *hex)
{
    struct exi_blkid h;

    if (exi_unhex_display(h.b, hex, 64) == EXI_OK) {
        for (int i = 0; i < BLOCKS; i++) {
            if (memcmp(h.b, hashes[i].b, EXI_HASH_LEN) == 0) {
                return i;
            }
        }
    }
    return -1;
}

/* ---- block files ---- */

static char dir[64];
static const uint8_t *file_key; /* 8 bytes, or NULL */

struct out {
    uint8_t *p;
    size_t n;
};

SR_UNUSED static void
put(struct out *o, const void *buf, size_t len)
{
    o->p = realloc(o->p, o->n + len + 1);
    memcpy(o->p + o->n, buf, len);
    o->n += len;
}

SR_UNUSED static void
put_zeros(struct out *o, size_t len)
{
    uint8_t *z = calloc(1, len);

    put(o, z, len);
    free(z);
}

SR_UNUSED static void
put_record(struct out *o, const struct blk *b, uint32_t size)
{
    uint8_t head[8];

    exi_put_le32(head, MAGIC);
    exi_put_le32(head + 4, size);
    put(o, head, 8);
    put(o, b->raw, b->len);
}

SR_UNUSED static void
put_block(struct out *o, const struct blk *b)
{
    put_record(o, b, (uint32_t) b->len);
}

SR_UNUSED static void
save(struct out *o, const char *name)
{
    char path[128];
    FILE *f;

    for (size_t i = 0; file_key != NULL && i < o->n; i++) {
        o->p[i] ^= file_key[i % 8];
    }
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f == NULL || (o->n > 0 && fwrite(o->p, o->n, 1, f) != 1)
        || fclose(f) != 0) {
        printf("Bail out! %s\n", path);
        exit(1);
    }
    free(o->p);
    memset(o, 0, sizeof(*o));
}

/* All that is in the folder. */
SR_UNUSED static void
wipe(void)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) != 0) {
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
    }
    closedir(d);
    file_key = NULL;
}

/* All blocks, but those that skip() says, in three files. */
SR_UNUSED static void
save_chain(bool (*skip_block)(int i))
{
    static const char *const names[] = { "blk00000.dat", "blk00001.dat",
                                         "blk00012.dat" };
    struct out o[3] = { { NULL, 0 } };

    for (int i = 0; i < BLOCKS; i++) {
        if (skip_block == NULL || !skip_block(i)) {
            put_block(&o[i * 3 / BLOCKS], &chain[i]);
        }
    }
    for (int i = 0; i < 3; i++) {
        save(&o[i], names[i]);
    }
}

/* ---- a scripted node ---- */

/* What the node does with the request for a block (-1: none of ours): true,
 * if it has answered. */
static bool (*trouble)(struct fake *f, int fd, int n, bool rest, bool *keep);

static pthread_mutex_t seen_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned seen_rest, seen_rpc, seen_now, seen_most, seen_n[BLOCKS];
static struct fake *node;

SR_UNUSED static void
send_rest(int fd, const uint8_t *raw, size_t len, size_t claim)
{
    char head[128];
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", claim);

    fake_send(fd, head, (size_t) n);
    fake_send(fd, raw, len);
}

SR_UNUSED static void
send_rpc(int fd, const uint8_t *raw, size_t len)
{
    char *text = malloc(2 * len + 3);

    text[0] = '"';
    exi_hex(text + 1, raw, len);
    strcpy(text + 1 + 2 * len, "\"");
    fake_result(fd, text);
    free(text);
}

/* A counter of the node. */
SR_UNUSED static unsigned
count(const unsigned *counter)
{
    unsigned n;

    pthread_mutex_lock(&seen_mutex);
    n = *counter;
    pthread_mutex_unlock(&seen_mutex);
    return n;
}

SR_UNUSED static void
seen_reset(unsigned *counter)
{
    pthread_mutex_lock(&seen_mutex);
    *counter = 0;
    pthread_mutex_unlock(&seen_mutex);
}

SR_UNUSED static void
seen(int n, bool rest, int more)
{
    pthread_mutex_lock(&seen_mutex);
    seen_now += (unsigned) more;
    seen_most = seen_now > seen_most ? seen_now : seen_most;
    if (more > 0) {
        seen_rest += rest;
        seen_rpc += !rest;
        seen_n[n >= 0 ? n : 0] += n >= 0;
    }
    pthread_mutex_unlock(&seen_mutex);
}

SR_UNUSED static void
answer_well(int fd, int n, bool rest)
{
    if (n < 0 && rest) {
        fake_http(fd, 404, "", "not found\r\n");
    } else if (n < 0) {
        fake_error(fd, -5, "Block not found");
    } else if (rest) {
        send_rest(fd, chain[n].raw, chain[n].len, chain[n].len);
    } else {
        send_rpc(fd, chain[n].raw, chain[n].len);
    }
}

SR_UNUSED static bool
answer(struct fake *f, int fd, const struct fake_request *q)
{
    static const char path[] = "GET /rest/block/";
    bool rest = strncmp(q->line, path, sizeof(path) - 1) == 0;
    const char *p =
        rest ? q->line + sizeof(path) - 1 : strstr(q->body, "\"params\":[\"");
    bool keep = true, done;
    int n = p != NULL ? number_of(rest ? p : p + 11) : -1;

    seen(n, rest, 1);
    done = trouble != NULL && trouble(f, fd, n, rest, &keep);
    seen(n, rest, -1);
    if (!done) {
        answer_well(fd, n, rest);
    }
    return keep;
}

SR_UNUSED static void
node_up(bool (*t)(struct fake *f, int fd, int n, bool rest, bool *keep))
{
    trouble = t;
    seen_rest = seen_rpc = seen_now = seen_most = 0;
    memset(seen_n, 0, sizeof(seen_n));
    node = fake_start(answer, NULL);
}

SR_UNUSED static void
node_down(void)
{
    fake_stop(node);
    node = NULL;
}

/* ---- reading ---- */

static char why[512];
static char urls[128];
static struct rpc_opts node_opts = { .urls = urls, .timeout_ms = 20000 };

SR_UNUSED static struct source_opts
opts(enum source_kind kind)
{
    struct source_opts o = { .magic = MAGIC,
                             .kind = kind,
                             .memory = 8 << 20,
                             .parallel = 8,
                             .blocks_dir = dir };

    if (node != NULL) {
        snprintf(urls, sizeof(urls), "http://u:p@127.0.0.1:%u", node->port);
        o.rpc = &node_opts;
    }
    return o;
}

SR_UNUSED static struct source *
start(const struct source_opts *o)
{
    struct source *s = NULL;

    if (source_start(&s, o, FROM, hashes, BLOCKS, why, sizeof(why)) != EXI_OK) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    return s;
}

SR_UNUSED static bool
right(const struct source_block *b, size_t n)
{
    return each(n < BLOCKS && b->height == FROM + n
                    && memcmp(b->hash.b, hashes[n].b, EXI_HASH_LEN) == 0
                    && b->rawlen == chain[n].len
                    && memcmp(b->raw, chain[n].raw, b->rawlen) == 0,
                "block %zu", n);
}

/* Takes blocks from number n on until something else comes; what. */
SR_UNUSED static int
drain(struct source *s, size_t *n)
{
    struct source_block b;
    int rc;

    while ((rc = source_next(s, &b)) == 1) {
        right(&b, (*n)++);
        source_give_back(s, &b);
    }
    return rc;
}

/* Reads everything; the kind of the last block. */
SR_UNUSED static enum source_kind
read_all(const struct source_opts *o, const char *name)
{
    struct source *s = start(o);
    enum source_kind kind;
    size_t n = 0, bytes = 0;

    is_int(drain(s, &n), 0, "%s: the end", name);
    is_int(n, BLOCKS, "all blocks");
    each_done("in order, each byte");
    for (size_t i = 0; i < BLOCKS; i++) {
        bytes += chain[i].len;
    }
    is_int(source_bytes(s), bytes, "source_bytes()");
    is_int(drain(s, &n), 0, "still the end");
    kind = source_kind(s);
    source_stop(s);
    return kind;
}

SR_UNUSED SR_UNUSED static bool
each_fifth(int i)
{
    return i % 5 == 0;
}

static void
source_test_begin(void)
{
    snprintf(dir, sizeof(dir), "%s/exi-source-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! %s\n", dir);
        exit(1);
    }
    make_chain();
}

SR_UNUSED static void
source_test_end(void)
{
    wipe();
    rmdir(dir);
    for (int i = 0; i < BLOCKS; i++) {
        free(chain[i].raw);
    }
    free(stale.raw);
}

#endif /* SOURCERUN_H */
