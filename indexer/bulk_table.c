/*
 * Hash table of unspent outputs by fingerprint: open addressing, linear
 * probing, entries moved back when one before them leaves, so that no slot is
 * wasted on what is gone.  The fingerprint is a hash already.
 */
#include "bulk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIRST_SLOTS 4096
#define SAVE_BYTES  (1u << 20)

static struct bulk_coin *
slots_new(uint64_t n)
{
    size_t bytes = n * sizeof(struct bulk_coin);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static void
slots_free(struct bulk_coin *slots, uint64_t n)
{
    if (slots != NULL) {
        munmap(slots, n * sizeof(*slots));
    }
}

/* The full size is reached by doubling, so that it is met exactly. */
int
bulk_table_init(struct bulk_table *t, uint64_t max_bytes)
{
    t->max_slots = max_bytes / sizeof(*t->slots);
    if (t->max_slots < 64) {
        t->max_slots = 64;
    }
    t->nslots = t->max_slots;
    while (t->nslots > FIRST_SLOTS) {
        t->nslots = (t->nslots + 1) / 2;
    }
    t->count = 0;
    t->slots = slots_new(t->nslots);
    return t->slots != NULL ? EXI_OK : EXI_ENOMEM;
}

void
bulk_table_free(struct bulk_table *t)
{
    slots_free(t->slots, t->nslots);
    t->slots = NULL;
    t->count = 0;
}

/* At most three quarters are used. */
bool
bulk_table_full(const struct bulk_table *t, uint64_t n)
{
    return t->count + n > t->nslots - t->nslots / 4;
}

/* Enters what is not there. */
static void
insert(struct bulk_table *t, const struct bulk_coin *c)
{
    uint64_t i = bulk_table_home(t, c->fp);

    while (t->slots[i].fp != 0) {
        i = i + 1 < t->nslots ? i + 1 : 0;
    }
    t->slots[i] = *c;
    t->count++;
}

/* Entries that found no place while the table grew. */
struct stash {
    struct bulk_coin *c;
    size_t n, cap;
};

/* Moves the entry of slot i of the old table to its place behind i; stashes it
 * if that is not behind i or beyond the end. */
static int
spread(struct bulk_table *t, uint64_t i, struct stash *s)
{
    struct bulk_coin c = t->slots[i];
    uint64_t k = bulk_table_home(t, c.fp);
    int rc = EXI_OK;

    t->slots[i].fp = 0;
    while (k > i && k < t->nslots && t->slots[k].fp != 0) {
        k++;
    }
    if (k > i && k < t->nslots) {
        t->slots[k] = c;
        return EXI_OK;
    }
    rc = settle_grow(&s->c, &s->cap, s->n + 1, sizeof(*s->c));
    if (rc == EXI_OK) {
        s->c[s->n++] = c;
    }
    return rc;
}

/*
 * In place, as memory for both tables is not to be had: slots are in the order
 * of fingerprints but for their displacement, so that going down from the end
 * each entry moves up into what was emptied.  The few near the begin that do
 * not are put in afterwards.
 */
int
bulk_table_grow(struct bulk_table *t)
{
    uint64_t old = t->nslots, n = old * 2;
    struct stash s = { NULL, 0, 0 };
    int rc = EXI_OK;
    void *p;

    n = n < t->max_slots ? n : t->max_slots;
    if (n == old) {
        return 0;
    }
    p = mremap(t->slots, old * sizeof(*t->slots), n * sizeof(*t->slots),
               MREMAP_MAYMOVE);
    if (p == MAP_FAILED) {
        return EXI_ENOMEM;
    }
    madvise(p, n * sizeof(*t->slots), MADV_HUGEPAGE);
    t->slots = p;
    t->nslots = n;
    for (uint64_t i = old; rc == EXI_OK && i > 0; i--) {
        if (t->slots[i - 1].fp != 0) {
            rc = spread(t, i - 1, &s);
        }
    }
    t->count -= s.n;
    for (size_t i = 0; i < s.n; i++) {
        insert(t, &s.c[i]);
    }
    free(s.c);
    return rc == EXI_OK ? 1 : rc;
}

bool
bulk_table_put(struct bulk_table *t, const struct bulk_coin *c,
               struct bulk_coin *old)
{
    uint64_t i = bulk_table_home(t, c->fp);

    while (t->slots[i].fp != 0) {
        if (t->slots[i].fp == c->fp && t->slots[i].fp2 == c->fp2) {
            *old = t->slots[i];
            t->slots[i] = *c;
            return true;
        }
        i = i + 1 < t->nslots ? i + 1 : 0;
    }
    t->slots[i] = *c;
    t->count++;
    return false;
}

/* Frees slot i and moves back the entries that it kept from their place. */
static void
free_slot(struct bulk_table *t, uint64_t i)
{
    uint64_t k = i, home;

    for (;;) {
        k = k + 1 < t->nslots ? k + 1 : 0;
        if (t->slots[k].fp == 0) {
            break;
        }
        home = bulk_table_home(t, t->slots[k].fp);
        /* Is home outside of (i, k], cyclically? */
        if (i <= k ? home <= i || home > k : home <= i && home > k) {
            t->slots[i] = t->slots[k];
            i = k;
        }
    }
    t->slots[i].fp = 0;
    t->count--;
}

bool
bulk_table_take(struct bulk_table *t, const struct bulk_spend *in,
                struct bulk_coin *out)
{
    uint64_t i = bulk_table_home(t, in->fp);

    while (t->slots[i].fp != 0) {
        if (t->slots[i].fp == in->fp && t->slots[i].fp2 == in->fp2) {
            *out = t->slots[i];
            free_slot(t, i);
            return true;
        }
        i = i + 1 < t->nslots ? i + 1 : 0;
    }
    return false;
}

/* Freeing a slot may put another entry into it: it is looked at again.  An
 * entry that wraps from the end to the begin was looked at before. */
int
bulk_table_evict(struct bulk_table *t, uint64_t where, bulk_table_pt fn,
                 void *ctx)
{
    int rc = EXI_OK;

    for (uint64_t i = 0; rc == EXI_OK && i < t->nslots;) {
        if (t->slots[i].fp != 0 && t->slots[i].where < where) {
            rc = fn(ctx, &t->slots[i]);
            free_slot(t, i);
        } else {
            i++;
        }
    }
    return rc;
}

/* By counting in 4,096 steps between the lowest and the highest. */
uint64_t
bulk_table_median(const struct bulk_table *t)
{
    uint64_t low = UINT64_MAX, high = 0, step, sum = 0;
    uint32_t n[4096] = { 0 };

    for (uint64_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].fp != 0) {
            low = t->slots[i].where < low ? t->slots[i].where : low;
            high = t->slots[i].where > high ? t->slots[i].where : high;
        }
    }
    if (low >= high) {
        return high + 1;
    }
    step = (high - low) / 4096 + 1;
    for (uint64_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].fp != 0) {
            n[(t->slots[i].where - low) / step]++;
        }
    }
    for (uint64_t i = 0; i < 4096; i++) {
        sum += n[i];
        if (sum >= t->count / 2) {
            return low + (i + 1) * step;
        }
    }
    return high + 1;
}

int
bulk_table_save(const struct bulk_table *t, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), rc;
    struct bulk_coin *buf = malloc(SAVE_BYTES);
    size_t max = SAVE_BYTES / sizeof(*buf), n = 0;
    uint64_t off = 0;

    rc = fd < 0 ? fs_error() : buf == NULL ? EXI_ENOMEM : EXI_OK;
    for (uint64_t i = 0; rc == EXI_OK && i <= t->nslots; i++) {
        if (i < t->nslots && t->slots[i].fp != 0) {
            buf[n++] = t->slots[i];
        }
        if (n == max || i == t->nslots) {
            rc = fs_pwrite(fd, buf, n * sizeof(*buf), off);
            off += n * sizeof(*buf);
            n = 0;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    free(buf);
    return rc;
}

int
bulk_table_each(const char *path, uint64_t n, bulk_table_pt fn, void *ctx)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
    struct bulk_coin *buf = malloc(SAVE_BYTES);
    uint64_t off = 0, end = n * sizeof(*buf);
    size_t whole = SAVE_BYTES / sizeof(*buf) * sizeof(*buf);

    rc = fd < 0 ? fs_error() : buf == NULL ? EXI_ENOMEM : EXI_OK;
    while (rc == EXI_OK && off < end) {
        size_t want = end - off < whole ? (size_t) (end - off) : whole;
        ssize_t got = pread(fd, buf, want, (off_t) off);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        got -= got > 0 ? got % (ssize_t) sizeof(*buf) : 0;
        if (got <= 0) {
            rc = got < 0 ? fs_error() : EXI_EFORMAT;
            break;
        }
        for (ssize_t i = 0; rc == EXI_OK && i < got / (ssize_t) sizeof(*buf);
             i++) {
            rc = buf[i].fp != 0 ? fn(ctx, &buf[i]) : EXI_EFORMAT;
        }
        off += (uint64_t) got;
    }
    if (fd >= 0) {
        close(fd);
    }
    free(buf);
    return rc;
}
