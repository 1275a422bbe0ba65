/*
 * Reads that must not wait for a disk.
 *
 * The settled layer is read through mappings, and a page that is not in the
 * page cache stops the thread that touches it.  So each mapped file keeps its
 * descriptor (struct exi_file), and whoever must not wait asks before it
 * touches: exi_cold_check() says whether the pages of a range are in the page
 * cache, and notes those that are not.  The noted ranges are then read by
 * another thread (exi_cold_read), and the query is run again from its start.
 *
 * mincore(2) tells nothing to a process that does not own the file, so pages
 * are asked for with preadv2(RWF_NOWAIT) (Linux 4.14), 0.6 us each; the kernel
 * begins to read a missing page then and there.  What was found is remembered
 * for EXI_COLD_SECONDS to twice that, so a warm page costs a look at a bit.  A
 * page that is evicted within that time is waited for after all.  A file system
 * that has no RWF_NOWAIT counts as always present.
 */
#ifndef EXI_COLD_H
#define EXI_COLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exi_err.h"

#define EXI_COLD_SECONDS 10
#define EXI_COLD_PAGE    4096
#define EXI_COLD_MAX     4096 /* ranges noted at once; the others come later */

/* An open file and what is known of its pages; counted.  Any thread. */
struct exi_file;

/* Takes fd (also when it fails); len: bytes, constant.  EXI_ENOMEM. */
int exi_file_new(struct exi_file **out, int fd, uint64_t len) EXI_MUST_CHECK;
void exi_file_ref(struct exi_file *f);
void exi_file_unref(struct exi_file *f);

struct exi_cold_range {
    struct exi_file *file; /* a reference */
    uint64_t off;          /* whole pages */
    uint64_t len;
};

/*
 * What one reader found missing; all zero: it may wait, and every check
 * succeeds.  One thread at a time.
 */
struct exi_cold {
    bool nowait;
    uint32_t epoch; /* of exi_cold_begin() */
    size_t n;
    size_t cap;
    struct exi_cold_range *r;
};

/* The epoch at hand: it changes every EXI_COLD_SECONDS. */
uint32_t exi_cold_now(void);

/* A new query: forgets what was noted, looks at the clock. */
void exi_cold_begin(struct exi_cold *c);
/* What `from` has noted is noted in `to`, as far as it has room. */
void exi_cold_move(struct exi_cold *to, struct exi_cold *from);
/* Gives back its memory; it may be used again. */
void exi_cold_clear(struct exi_cold *c);

/*
 * Whether bytes off ... off + len - 1 of the file can be touched without
 * waiting; they must be inside of it.  EXI_ECOLD: they were noted; EXI_EIO: the
 * system can't read them (errno); EXI_ENOMEM.
 */
int exi_cold_look(struct exi_cold *c, struct exi_file *f, uint64_t off,
                  uint64_t len) EXI_MUST_CHECK;

static inline int
exi_cold_check(struct exi_cold *c, struct exi_file *f, uint64_t off,
               uint64_t len)
{
    return c->nowait ? exi_cold_look(c, f, off, len) : EXI_OK;
}

/* Ranges on their way to a thread that may wait. */
struct exi_cold_list {
    size_t n;
    uint64_t bytes;
    struct exi_cold_range *r; /* behind it */
};

/* What was noted, as a list of its own (exi_cold_free); nothing is noted any
 * more then.  EXI_ENOTFOUND: nothing was; EXI_ENOMEM. */
int exi_cold_take(struct exi_cold *c,
                  struct exi_cold_list **out) EXI_MUST_CHECK;
/* Reads them into the page cache and waits for it; any thread.  EXI_EIO. */
int exi_cold_read(const struct exi_cold_list *l) EXI_MUST_CHECK;
/* Any thread; NULL is allowed. */
void exi_cold_free(struct exi_cold_list *l);

#endif /* EXI_COLD_H */
