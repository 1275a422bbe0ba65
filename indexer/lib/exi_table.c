/*
 * Tables in a mapping; see the header.  Whatever is read again from the mapping
 * is checked again: it may have changed on the disk since the table was opened.
 */
#include "exi_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exi_crc32c.h"
#include "exi_recent.h"

#define FOOTER    48
#define TRAILER   5
#define MAGIC     0xdb4775248b80fb57u
#define INDEX_MAX (1u << 30)
#define SLOTS     1024 /* of the list of open tables */
#define MANY      4    /* blocks in a row: as many more will be wanted */
#define MOST      256

static const char INDEX_DAMAGED[] = "its index is damaged";

/* A group of the index. */
struct group {
    uint32_t at;  /* offset in the index */
    uint32_t crc; /* of its bytes */
};

struct exi_table {
    const uint8_t *base;
    uint64_t len;
    const uint8_t *index;     /* in the mapping */
    const uint8_t *index_end; /* of its rows */
    uint32_t nblocks;
    uint32_t ngroups;
    uint64_t *heads;      /* of the first key of each group */
    struct group *groups; /* and one more, at the end of the rows */
    struct exi_file *file;
    struct exi_recent seen; /* blocks, then groups */
    /* the list of open tables */
    unsigned refs;
    dev_t dev;
    ino_t ino;
    struct exi_table *chain;
};

/* A row of the index. */
struct entry {
    const uint8_t *key;
    uint32_t keylen; /* without tag */
    uint64_t off;
    uint64_t len;
    const uint8_t *val; /* off and len */
    const uint8_t *end; /* the next row */
};

uint32_t
exi_table_blocks(const struct exi_table *t)
{
    return t->nblocks;
}

/* Reads a row of the index, all of which lies before end, but for its value.
 * Keys are never shortened. */
static inline bool
read_key(const uint8_t *p, const uint8_t *end, struct entry *e)
{
    uint32_t shared, rest, vallen;

    if (!exi_rowblock_head(&p, end, &shared, &rest, &vallen) || shared != 0
        || rest < EXI_ROWTAG) {
        return false;
    }
    e->key = p;
    e->keylen = rest - EXI_ROWTAG;
    e->val = p + rest;
    e->end = e->val + vallen;
    return true;
}

static bool
read_value(const struct exi_table *t, struct entry *e)
{
    uint64_t rows = (uint64_t) (t->index - t->base); /* bytes of all blocks */
    struct exi_rd rd = exi_rd(e->val, (size_t) (e->end - e->val));

    e->off = exi_rd_varint(&rd);
    e->len = exi_rd_varint(&rd);
    return !rd.bad && exi_rd_left(&rd) == 0 && e->off <= rows
           && e->len <= rows - e->off && TRAILER <= rows - e->off - e->len;
}

/* exi_table_head() of a key with its tag behind it, so that 8 bytes are there.
 */
static inline uint64_t
head_of(const struct entry *e)
{
    uint64_t head = exi_be64(e->key);

    return e->keylen >= 8  ? head
           : e->keylen > 0 ? head & ~0ull << (64 - 8 * e->keylen)
                           : 0;
}

/*
 * Opening.
 */

static int
varint_pair(struct exi_rd *rd, uint64_t *off, uint64_t *len)
{
    *off = exi_rd_varint(rd);
    *len = exi_rd_varint(rd);
    return rd->bad ? EXI_EFORMAT : EXI_OK;
}

/* Where the index is; metaindex, index and footer end the table. */
static const char *
find_index(struct exi_table *t, uint64_t *indexlen)
{
    const uint8_t *footer = t->base + t->len - FOOTER;
    struct exi_rd rd = exi_rd(footer, FOOTER - 8);
    uint64_t meta, metalen, off, len;

    if (exi_le64(footer + FOOTER - 8) != MAGIC) {
        return "it does not end as a table does";
    }
    if (varint_pair(&rd, &meta, &metalen) || varint_pair(&rd, &off, &len)
        || off > t->len || len > t->len || len > INDEX_MAX
        || off + len + TRAILER + FOOTER != t->len || meta > off || metalen > off
        || meta + metalen + TRAILER != off) {
        return "its footer is damaged";
    }
    t->index = t->base + off;
    *indexlen = len;
    return NULL;
}

/* Counts the rows of the index and looks at each of them. */
static const char *
count_blocks(struct exi_table *t, uint64_t indexlen)
{
    struct exi_rowblock b;
    struct entry e;
    uint64_t expect = 0, n = 0;

    if (!exi_crc32c_block(t->index, indexlen + TRAILER)) {
        return "the checksum of its index is wrong";
    }
    if (t->index[indexlen] != 0) {
        return "it is compressed";
    }
    if (exi_rowblock_begin(&b, t->index, indexlen) != EXI_OK) {
        return INDEX_DAMAGED;
    }
    t->index_end = b.end;
    for (const uint8_t *p = t->index; p != t->index_end; p = e.end, n++) {
        if (!read_key(p, t->index_end, &e) || !read_value(t, &e)
            || e.off != expect) {
            return INDEX_DAMAGED;
        }
        expect = e.off + e.len + TRAILER;
    }
    if (n == 0) {
        return "it is empty";
    }
    t->nblocks = (uint32_t) n;
    return NULL;
}

static int
summarize(struct exi_table *t)
{
    const uint8_t *p = t->index, *from;
    struct entry e;

    t->ngroups = (t->nblocks + EXI_TABLE_GROUP - 1) / EXI_TABLE_GROUP;
    t->heads = malloc(t->ngroups * sizeof *t->heads);
    t->groups = malloc((t->ngroups + 1) * sizeof *t->groups);
    if (t->heads == NULL || t->groups == NULL) {
        return EXI_ENOMEM;
    }
    for (uint32_t g = 0; g < t->ngroups; g++) {
        from = p;
        for (int i = 0; i < EXI_TABLE_GROUP && p != t->index_end; i++) {
            if (!read_key(p, t->index_end, &e)) {
                return EXI_EFORMAT;
            }
            if (i == 0) {
                t->heads[g] = head_of(&e);
            }
            p = e.end;
        }
        t->groups[g].at = (uint32_t) (from - t->index);
        t->groups[g].crc = exi_crc32c(from, (size_t) (p - from));
    }
    t->groups[t->ngroups].at = (uint32_t) (t->index_end - t->index);
    exi_recent_init(&t->seen, (uint64_t) t->nblocks + t->ngroups);
    return EXI_OK;
}

static void
free_table(struct exi_table *t)
{
    if (t->base != NULL) {
        munmap((void *) (uintptr_t) t->base, t->len);
    }
    exi_file_unref(t->file);
    exi_recent_free(&t->seen);
    free(t->heads);
    free(t->groups);
    free(t);
}

/* Takes fd. */
static int
map_table(struct exi_table *t, int fd, const char **why)
{
    void *p = mmap(NULL, t->len, PROT_READ, MAP_SHARED, fd, 0);
    uint64_t indexlen = 0;

    *why = "it can't be mapped";
    if (p == MAP_FAILED) {
        close(fd);
        return errno == ENOMEM ? EXI_ENOMEM : EXI_EIO;
    }
    t->base = p;
    /* as the kernel's read-ahead turns a look-up into a megabyte otherwise */
    (void) madvise(p, t->len, MADV_RANDOM);
    if (exi_file_new(&t->file, fd, t->len) != EXI_OK) {
        *why = "out of memory";
        return EXI_ENOMEM;
    }
    *why = find_index(t, &indexlen);
    if (*why == NULL) {
        (void) posix_fadvise(fd, t->index - t->base, (off_t) indexlen,
                             POSIX_FADV_WILLNEED);
        *why = count_blocks(t, indexlen);
    }
    return *why == NULL ? EXI_OK : EXI_EFORMAT;
}

/*
 * The list of open tables of this process.
 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct exi_table *slots[SLOTS];

static struct exi_table **
slot_of(dev_t dev, ino_t ino)
{
    return &slots[((uint64_t) ino ^ (uint64_t) dev * 31) % SLOTS];
}

/* A table that was linked while it was still being written is longer when it
 * is named, so the length counts. */
static struct exi_table *
find_open(const struct stat *st)
{
    struct exi_table *t;

    pthread_mutex_lock(&lock);
    for (t = *slot_of(st->st_dev, st->st_ino); t != NULL; t = t->chain) {
        if (t->dev == st->st_dev && t->ino == st->st_ino
            && t->len == (uint64_t) st->st_size) {
            t->refs++;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return t;
}

static void
list(struct exi_table *t)
{
    struct exi_table **slot = slot_of(t->dev, t->ino);

    pthread_mutex_lock(&lock);
    t->chain = *slot;
    *slot = t;
    pthread_mutex_unlock(&lock);
}

void
exi_table_close(struct exi_table *t)
{
    struct exi_table **p;
    bool last;

    if (t == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    last = --t->refs == 0;
    if (last) {
        for (p = slot_of(t->dev, t->ino); *p != t; p = &(*p)->chain) {
        }
        *p = t->chain;
    }
    pthread_mutex_unlock(&lock);
    if (last) {
        free_table(t);
    }
}

/* Takes fd. */
static int
open_new(struct exi_table **out, int fd, const struct stat *st,
         const char **why)
{
    struct exi_table *t = calloc(1, sizeof *t);
    int rc;

    if (t == NULL) {
        close(fd);
        *why = "out of memory";
        return EXI_ENOMEM;
    }
    t->refs = 1;
    t->len = (uint64_t) st->st_size;
    t->dev = st->st_dev;
    t->ino = st->st_ino;
    rc = map_table(t, fd, why);
    if (rc == EXI_OK) {
        rc = summarize(t);
        *why = rc == EXI_ENOMEM ? "out of memory" : INDEX_DAMAGED;
    }
    if (rc) {
        free_table(t);
        return rc;
    }
    list(t);
    *out = t;
    return EXI_OK;
}

static int
sys_error(int fd, const char **why)
{
    int e = errno;

    if (fd >= 0) {
        close(fd);
    }
    errno = e;
    *why = e == ENOENT ? "it is missing" : "it can't be opened";
    return e == ENOENT ? EXI_ENOTFOUND : EXI_EIO;
}

int
exi_table_open(struct exi_table **out, int dirfd, const char *name,
               uint64_t len, const char **why)
{
    struct stat st;
    int fd;

    /* most are open already, by the generation before */
    if (fstatat(dirfd, name, &st, 0) == 0 && (uint64_t) st.st_size == len
        && (*out = find_open(&st)) != NULL) {
        return EXI_OK;
    }
    fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return sys_error(fd, why);
    }
    if ((uint64_t) st.st_size != len || len < FOOTER) {
        close(fd);
        *why = "its length is not what the manifest says";
        return EXI_EFORMAT;
    }
    return open_new(out, fd, &st, why);
}

/*
 * Touching.
 */

static int
damaged(struct exi_table_pos *p, uint64_t at, const char *why)
{
    p->why = why;
    p->at = at;
    return EXI_EFORMAT;
}

/* Who may wait looks at the clock for each block. */
static inline uint32_t
epoch_of(const struct exi_cold *cold)
{
    return cold != NULL && cold->epoch != 0 ? cold->epoch : exi_cold_now();
}

/* Are these bytes in memory?  If not, the blocks behind them are noted, too,
 * when many were read in a row: so a long list takes few rounds. */
static int
in_memory(const struct exi_table_pos *p, struct exi_cold *cold, uint64_t off,
          uint64_t len)
{
    const struct exi_table *t = p->t;
    uint64_t n = p->blocks < MOST ? p->blocks : MOST, left;
    int rc;

    if (cold == NULL || !cold->nowait) {
        return EXI_OK;
    }
    rc = exi_cold_look(cold, t->file, off, len);
    left = (uint64_t) (t->index - t->base) - off;
    if (rc == EXI_ECOLD && p->blocks >= MANY && left > len) {
        n *= EXI_COLD_PAGE;
        n = n < left - len ? n : left - len;
        (void) (exi_cold_look(cold, t->file, off + len, n) == EXI_OK);
    }
    return rc;
}

/* Group g of the index can be looked at. */
static int
touch_group(struct exi_table_pos *p, struct exi_cold *cold, uint32_t g)
{
    struct exi_table *t = p->t;
    const struct group *x = &t->groups[g];
    uint32_t epoch = epoch_of(cold), len = x[1].at - x->at;
    uint64_t part = (uint64_t) t->nblocks + g;
    uint64_t off = (uint64_t) (t->index - t->base) + x->at;
    int rc;

    if (exi_recent_known(&t->seen, epoch, part, part)) {
        return EXI_OK;
    }
    rc = cold != NULL && cold->nowait ? exi_cold_look(cold, t->file, off, len)
                                      : EXI_OK;
    if (rc) {
        return rc;
    }
    if (exi_crc32c(t->index + x->at, len) != x->crc) {
        return damaged(p, off, "its index has changed");
    }
    exi_recent_set(&t->seen, epoch, part, part);
    return EXI_OK;
}

/* The block of e is the one to be entered. */
static int
choose_block(struct exi_table_pos *p, struct entry *e)
{
    const uint8_t *b;

    if (!read_value(p->t, e)) {
        return damaged(p, (uint64_t) (e->key - p->t->base), INDEX_DAMAGED);
    }
    p->off = e->off;
    p->len = e->len;
    p->entry = e->end;
    p->bound = e->key;
    p->boundlen = e->keylen;
    b = p->t->base + e->off;
    __builtin_prefetch(b);
    __builtin_prefetch(b + e->len);
    return EXI_OK;
}

/* Goes to the beginning of the block chosen. */
static int
enter_block(struct exi_table_pos *p, struct exi_cold *cold)
{
    struct exi_table *t = p->t;
    uint32_t epoch = epoch_of(cold);
    const uint8_t *b = t->base + p->off;
    int rc;

    if (!exi_recent_known(&t->seen, epoch, p->block, p->block)) {
        rc = in_memory(p, cold, p->off, p->len + TRAILER);
        if (rc) {
            return rc;
        }
        if (!exi_crc32c_block(b, p->len + TRAILER)) {
            return damaged(p, p->off, "a block's checksum is wrong");
        }
        exi_recent_set(&t->seen, epoch, p->block, p->block);
    }
    if (b[p->len] != 0) {
        return damaged(p, p->off, "a block is compressed");
    }
    if (exi_rowblock_begin(&p->row, b, p->len) != EXI_OK) {
        return damaged(p, p->off, "a block is damaged");
    }
    p->blocks++;
    return EXI_OK;
}

/* The row of the index at `at`, in group g. */
static inline int
key_at(struct exi_table_pos *p, uint32_t g, const uint8_t *at, struct entry *e)
{
    const struct exi_table *t = p->t;

    return read_key(at, t->index + t->groups[g + 1].at, e)
               ? EXI_OK
               : damaged(p, (uint64_t) (at - t->base), INDEX_DAMAGED);
}

/*
 * Looking up.
 */

static uint32_t
heads_below(const struct exi_table *t, uint64_t head)
{
    const uint64_t *from = t->heads;
    uint32_t n = t->ngroups;

    while (n > 1) {
        uint32_t half = n / 2;
        from += from[half - 1] < head ? half : 0;
        n -= half;
    }
    return (uint32_t) (from - t->heads) + (n == 1 && *from < head);
}

/* Groups whose first key is below the one looked for. */
static int
groups_below(struct exi_table_pos *p, struct exi_cold *cold, const uint8_t *key,
             size_t keylen, uint32_t *n)
{
    const struct exi_table *t = p->t;
    uint64_t head = exi_table_head(key, keylen);
    uint32_t lo = heads_below(t, head), hi = lo, mid;
    struct entry e;
    int rc;

    /* those that begin alike: by the keys themselves */
    if (lo < t->ngroups && t->heads[lo] == head) {
        hi = head == UINT64_MAX ? t->ngroups : heads_below(t, head + 1);
    }
    while (lo < hi) {
        mid = lo + (hi - lo) / 2;
        rc = touch_group(p, cold, mid);
        if (rc == EXI_OK) {
            rc = key_at(p, mid, t->index + t->groups[mid].at, &e);
        }
        if (rc) {
            return rc;
        }
        if (exi_key_order(e.key, e.keylen, key, keylen) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    *n = lo;
    return EXI_OK;
}

/* head: of the key. */
static inline bool
below(const struct entry *e, uint64_t head, const uint8_t *key, size_t keylen)
{
    uint64_t h = head_of(e);

    return h != head ? h < head
                     : exi_key_order(e->key, e->keylen, key, keylen) < 0;
}

/* The first block whose bound is not below the key: 1, 0: there is none. */
static int
find_block(struct exi_table_pos *p, struct exi_cold *cold, const uint8_t *key,
           size_t keylen, struct entry *e)
{
    const struct exi_table *t = p->t;
    uint64_t head = exi_table_head(key, keylen);
    const uint8_t *at, *end;
    uint32_t g = 0;
    int rc = groups_below(p, cold, key, keylen, &g);

    /* it is in the last of these groups, or is the first of the next one */
    for (g = g > 0 ? g - 1 : 0; rc == EXI_OK && g < t->ngroups; g++) {
        rc = touch_group(p, cold, g);
        at = t->index + t->groups[g].at;
        end = t->index + t->groups[g + 1].at;
        p->block = g * EXI_TABLE_GROUP;
        for (; rc == EXI_OK && at != end; at = e->end, p->block++) {
            rc = p->block < t->nblocks
                     ? key_at(p, g, at, e)
                     : damaged(p, (uint64_t) (at - t->base), INDEX_DAMAGED);
            if (rc == EXI_OK && !below(e, head, key, keylen)) {
                return 1;
            }
        }
    }
    return rc;
}

static inline bool
begins(const uint8_t *a, size_t alen, const uint8_t *key, size_t prefix)
{
    return prefix == 0 || (alen >= prefix && memcmp(a, key, prefix) == 0);
}

/* The row at hand, or the first one of the next blocks; rc: what reading the
 * row gave. */
static int
settle_on(struct exi_table_pos *p, struct exi_cold *cold, int rc,
          const uint8_t *key, size_t prefix)
{
    const struct exi_table *t = p->t;
    struct entry e;
    uint32_t g;

    while (rc == 0) {
        /* what is behind the block is behind its bound */
        if (p->block + 1 == t->nblocks
            || !begins(p->bound, p->boundlen, key, prefix)) {
            return 0;
        }
        p->block++;
        g = p->block / EXI_TABLE_GROUP;
        rc = touch_group(p, cold, g);
        if (rc == EXI_OK) {
            rc = key_at(p, g, p->entry, &e);
        }
        if (rc == EXI_OK) {
            rc = choose_block(p, &e);
        }
        if (rc == EXI_OK) {
            rc = enter_block(p, cold);
        }
        if (rc == EXI_OK) {
            rc = exi_rowblock_next(&p->row);
        }
    }
    if (rc == EXI_EFORMAT && p->why == NULL) {
        return damaged(p, (uint64_t) (p->row.p - t->base), "a row is damaged");
    }
    return rc == 1 && !begins(p->row.key, p->row.keylen, key, prefix) ? 0 : rc;
}

int
exi_table_find(struct exi_table_pos *p, struct exi_table *t,
               struct exi_cold *cold, const uint8_t *key, size_t keylen)
{
    struct entry e;
    int rc;

    p->t = t;
    p->blocks = 0;
    p->why = NULL;
    rc = find_block(p, cold, key, keylen, &e);
    if (rc == 1) {
        rc = choose_block(p, &e);
        return rc ? rc : 1;
    }
    return rc;
}

int
exi_table_enter(struct exi_table_pos *p, struct exi_cold *cold,
                const uint8_t *key, size_t keylen, size_t prefix)
{
    int rc = enter_block(p, cold);

    return rc ? rc
              : settle_on(p, cold, exi_rowblock_seek(&p->row, key, keylen), key,
                          prefix);
}

int
exi_table_seek(struct exi_table_pos *p, struct exi_table *t,
               struct exi_cold *cold, const uint8_t *key, size_t keylen,
               size_t prefix)
{
    int rc = exi_table_find(p, t, cold, key, keylen);

    return rc == 1 ? exi_table_enter(p, cold, key, keylen, prefix) : rc;
}

int
exi_table_next(struct exi_table_pos *p, struct exi_cold *cold,
               const uint8_t *key, size_t prefix)
{
    return settle_on(p, cold, exi_rowblock_next(&p->row), key, prefix);
}
