/*
 * Flat files: arrays of fixed-size records cut into segments
 * (docs/index-format.md section 3), all six of a directory together.
 *
 * How many records count is the caller's knowledge (the M row, a manifest);
 * what lies behind is overwritten by the next append.  One thread.
 */
#ifndef FLAT_H
#define FLAT_H

#include "lib/exi_format.h"

struct flat;

/* Number of records that count, for each file. */
struct flat_counts {
    uint64_t n[EXI_FLAT_N];
};

/* Counts of a chain of height and tx_count. */
void flat_counts_of(struct flat_counts *c, uint32_t height, uint64_t tx_count);

/*
 * Opens the files in dir, of which *counts records are there.  EXI_EFORMAT: a
 * segment is missing or short (*segment, of >= 32 bytes, names it); EXI_EIO,
 * EXI_ENOMEM.
 */
int flat_open(struct flat **out, const char *dir,
              const struct flat_counts *counts, char *segment,
              size_t segmentlen) EXI_MUST_CHECK;
/* NULL is allowed. */
void flat_close(struct flat *f);

/* Records there are, appended ones included. */
uint64_t flat_count(const struct flat *f, enum exi_flat file);

/*
 * Appends n records.  EXI_ESPACE, EXI_EIO: some of them may be written, which
 * does not matter: call flat_rewind.
 */
int flat_append(struct flat *f, enum exi_flat file, const void *records,
                uint64_t n) EXI_MUST_CHECK;

/* Makes all that was appended durable. */
int flat_sync(struct flat *f) EXI_MUST_CHECK;

/* Forgets the records from *counts on. */
void flat_rewind(struct flat *f, const struct flat_counts *counts);

/* Copies records index ... index + n - 1.  EXI_ENOTFOUND: there are fewer;
 * EXI_EIO. */
int flat_read(struct flat *f, enum exi_flat file, uint64_t index, uint64_t n,
              void *out) EXI_MUST_CHECK;

/*
 * Links the segments that hold *counts records into the directory `to`.  With
 * own_last the last segments, if not full, are copied instead, so that they may
 * be continued independently (what does not count is left out).
 * EXI_ESPACE, EXI_EIO.  The caller syncs the directory.
 */
int flat_link(const char *from, const char *to,
              const struct flat_counts *counts, bool own_last) EXI_MUST_CHECK;

#endif /* FLAT_H */
