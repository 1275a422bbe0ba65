/*
 * Fuzz target: the readers of LevelDB's files (exi_rowblock, exi_table,
 * exi_rodb).  Checksums are made right here, or nothing would get past them.
 * The first byte says what the others are:
 *
 *     0  a block
 *     1  2 LE length of the index, blocks and the index of a table
 *     2  a version edit of a MANIFEST
 *     3  a batch of changes in a log
 *
 * Whatever they are, rows must lie inside of them, and what is found by a seek
 * must be found by walking.
 */
#include "fuzz.h"

#include "exi_crc32c.h"
#include "exi_rodb.h"
#include "exi_table.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEPS   5000
#define TRAILER 5
#define FOOTER  48

static uint32_t
masked(const void *p, size_t n)
{
    uint32_t crc = exi_crc32c(p, n);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void
check_row(const struct exi_rowblock *b, const uint8_t *p, size_t n)
{
    FUZZ_ASSERT(b->keylen <= EXI_ROWKEY_MAX);
    FUZZ_ASSERT(b->vallen <= n && b->val >= p
                && (size_t) (b->val - p) <= n - b->vallen);
}

/* Copied, so that a sanitizer sees what is read behind it. */
static void
try_block(const uint8_t *buf, size_t n)
{
    uint8_t *p = malloc(n + !n), key[EXI_ROWKEY_MAX];
    size_t keylen = n % 20 < n ? n % 20 : n, rows = 0;
    struct exi_rowblock b;

    if (n > 0) {
        memcpy(p, buf, n);
    }
    memset(key, 0, sizeof key);
    if (exi_rowblock_begin(&b, p, n) == EXI_OK) {
        while (exi_rowblock_next(&b) == 1) {
            check_row(&b, p, n);
            if (++rows == 2) { /* look for it below */
                keylen = b.keylen;
                memcpy(key, b.key, keylen);
            }
        }
        FUZZ_ASSERT(exi_rowblock_begin(&b, p, n) == EXI_OK);
        if (exi_rowblock_seek(&b, key, keylen) == 1) {
            check_row(&b, p, n);
            FUZZ_ASSERT(exi_key_order(b.key, b.keylen, key, keylen) >= 0);
        }
    }
    free(p);
}

/* Sets the checksums of the blocks that the index names. */
static void
seal_blocks(uint8_t *p, size_t n, const uint8_t *index, size_t len)
{
    struct exi_rowblock b;

    if (exi_rowblock_begin(&b, index, len) != EXI_OK) {
        return;
    }
    while (exi_rowblock_next(&b) == 1) {
        struct exi_rd rd = exi_rd(b.val, b.vallen);
        uint64_t off = exi_rd_varint(&rd), size = exi_rd_varint(&rd);

        if (!rd.bad && off <= n && size <= n - off
            && TRAILER <= n - off - size) {
            exi_put_le32(p + off + size + 1, masked(p + off, size + 1));
        }
    }
}

/* A table of these blocks and this index; its length. */
static size_t
make_table(uint8_t *t, const uint8_t *buf, size_t n, size_t indexlen)
{
    static const uint8_t meta[8] = { 0, 0, 0, 0, 1 };
    size_t at = n - indexlen, off, k;
    uint8_t *footer;

    memcpy(t, buf, at);
    seal_blocks(t, at, buf + at, indexlen);
    off = at;
    memcpy(t + off, meta, sizeof meta);
    off += sizeof meta;
    t[off] = 0;
    exi_put_le32(t + off + 1, masked(meta, sizeof meta));
    off += TRAILER;
    memcpy(t + off, buf + at, indexlen);
    t[off + indexlen] = 0;
    exi_put_le32(t + off + indexlen + 1, masked(t + off, indexlen + 1));
    footer = t + off + indexlen + TRAILER;
    memset(footer, 0, FOOTER);
    k = exi_put_varint(footer, at);
    k += exi_put_varint(footer + k, sizeof meta);
    k += exi_put_varint(footer + k, off);
    (void) exi_put_varint(footer + k, indexlen);
    exi_put_le64(footer + FOOTER - 8, 0xdb4775248b80fb57u);
    return (size_t) (footer + FOOTER - t);
}

static void
read_table(struct exi_table *t, size_t len)
{
    struct exi_table_pos p = { .t = NULL };
    uint8_t key[EXI_ROWKEY_MAX];
    size_t keylen, rows = 0;
    int rc = exi_table_seek(&p, t, NULL, (const uint8_t *) "", 0, 0);

    for (; rc == 1 && rows < STEPS; rows++) {
        FUZZ_ASSERT(p.row.vallen <= len && p.row.keylen <= EXI_ROWKEY_MAX);
        keylen = p.row.keylen;
        memcpy(key, p.row.key, keylen);
        if (rows % 8 == 0) {
            struct exi_table_pos q = { .t = NULL };

            if (exi_table_seek(&q, t, NULL, key, keylen, keylen) == 1) {
                FUZZ_ASSERT(q.row.keylen >= keylen
                            && memcmp(q.row.key, key, keylen) == 0);
            }
        }
        rc = exi_table_next(&p, NULL, key, rows % 3 == 0 ? 0 : keylen / 4);
    }
    FUZZ_ASSERT(rc != EXI_EFORMAT || p.why != NULL);
}

static void
try_table(const uint8_t *buf, size_t n)
{
    struct exi_table *t = NULL;
    const char *why = NULL;
    size_t indexlen, len;
    char path[64];
    uint8_t *p;
    int fd, rc;

    if (n < 2) {
        return;
    }
    indexlen = exi_le16(buf) % (n - 1);
    p = malloc(n + 100);
    len = make_table(p, buf + 2, n - 2, indexlen);
    fd = memfd_create("table", MFD_CLOEXEC);
    FUZZ_ASSERT(fd >= 0 && write(fd, p, len) == (ssize_t) len);
    free(p);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = exi_table_open(&t, AT_FDCWD, path, len, &why);
    FUZZ_ASSERT(rc == EXI_OK || (rc == EXI_EFORMAT && why != NULL));
    if (rc == EXI_OK) {
        read_table(t, len);
    }
    exi_table_close(t);
    close(fd);
}

/*
 * A directory with a MANIFEST and a log.
 */

static char dir[64];

static void
remove_dir(void)
{
    static const char *const names[] = { "CURRENT", "MANIFEST-000001",
                                         "000005.log" };
    char path[128];

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void
put_file(const char *name, const void *data, size_t n)
{
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    FUZZ_ASSERT(fd >= 0 && write(fd, data, n) == (ssize_t) n);
    close(fd);
}

/* A log of two records, each in one piece. */
static void
put_log(const char *name, const uint8_t *a, size_t alen, const uint8_t *b,
        size_t blen)
{
    static uint8_t log[32768];
    size_t at = 0;

    for (int i = 0; i < 2; i++) {
        size_t n = i ? blen : alen;

        if (n == 0) {
            continue;
        }
        log[at + 4] = (uint8_t) n;
        log[at + 5] = (uint8_t) (n >> 8);
        log[at + 6] = 1;
        memcpy(log + at + 7, i ? b : a, n);
        exi_put_le32(log + at, masked(log + at + 6, n + 1));
        at += 7 + n;
    }
    put_file(name, log, at);
}

static void
try_dir(const uint8_t *buf, size_t n, bool log)
{
    static const char edit[] = "\1\x1aleveldb.BytewiseComparator\2\5\3\6\4\1";
    struct exi_rodb *db = NULL;
    struct exi_rodb_iter *it;
    const uint8_t *key, *val;
    size_t keylen, vallen;
    char err[400] = "";
    int rc;

    if (n > 30000) {
        return;
    }
    if (dir[0] == '\0') {
        snprintf(dir, sizeof dir, "/tmp/exi-fuzz.XXXXXX");
        FUZZ_ASSERT(mkdtemp(dir) != NULL && atexit(remove_dir) == 0);
        put_file("CURRENT", "MANIFEST-000001\n", 16);
    }
    put_log("MANIFEST-000001", (const uint8_t *) edit, sizeof edit - 1, buf,
            log ? 0 : n);
    put_log("000005.log", buf, log ? n : 0, buf, 0);
    rc = exi_rodb_open(&db, dir, err, sizeof err);
    FUZZ_ASSERT(rc == EXI_OK || (rc == EXI_EFORMAT && err[0] != '\0'));
    if (rc == EXI_OK) {
        it = exi_rodb_iter_new(db, NULL);
        exi_rodb_iter_seek(it, "", 0);
        while ((rc = exi_rodb_iter_row(it, &key, &keylen, &val, &vallen))
               == 1) {
            const uint8_t *same;
            size_t len;

            FUZZ_ASSERT(exi_rodb_get(db, NULL, key, keylen, &same, &len)
                            == EXI_OK
                        && same == val && len == vallen);
            exi_rodb_iter_next(it);
        }
        FUZZ_ASSERT(rc == 0);
        exi_rodb_iter_free(it);
    }
    exi_rodb_close(db);
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    if (buflen < 1) {
        return 0;
    }
    switch (buf[0] % 4) {
    case 0:
        try_block(buf + 1, buflen - 1);
        break;
    case 1:
        try_table(buf + 1, buflen - 1);
        break;
    default:
        try_dir(buf + 1, buflen - 1, buf[0] % 4 == 3);
    }
    return 0;
}
