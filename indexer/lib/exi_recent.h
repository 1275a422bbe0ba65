/*
 * Bits that are forgotten: what was found out about the parts of a file (its
 * pages are in memory, a block's checksum is right) holds for one to two
 * epochs, for a page may be dropped and come anew from the disk.  Any thread.
 *
 * There are two bits for each part: of the present epoch and of the one before
 * it.  A part is known when either is set; when an epoch begins, the older ones
 * are cleared and take their place.  Threads that share a set may lose each
 * other's bits in that moment, which costs a question more.
 */
#ifndef EXI_RECENT_H
#define EXI_RECENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exi_recent {
    size_t nwords; /* of 64 parts */
    _Atomic uint32_t epoch;
    _Atomic(_Atomic uint64_t *) bits; /* of a word: of even, of odd epochs */
};

/* For n parts; allocates nothing yet. */
void exi_recent_init(struct exi_recent *r, uint64_t n);
void exi_recent_free(struct exi_recent *r);

/* Begins an epoch (exi_recent_begin() does the work). */
void exi_recent_begin(struct exi_recent *r, uint32_t epoch);

/*
 * Are the parts first ... last known in this epoch?
 */
static inline bool
exi_recent_known(struct exi_recent *r, uint32_t epoch, uint64_t first,
                 uint64_t last)
{
    _Atomic uint64_t *bits;

    if ((int32_t) (epoch
                   - atomic_load_explicit(&r->epoch, memory_order_relaxed))
        > 0) {
        exi_recent_begin(r, epoch);
    }
    bits = atomic_load_explicit(&r->bits, memory_order_acquire);
    if (bits == NULL) {
        return false;
    }
    for (uint64_t p = first; p <= last; p++) {
        size_t w = (size_t) (p / 64) * 2;
        uint64_t set =
            atomic_load_explicit(&bits[w], memory_order_relaxed)
            | atomic_load_explicit(&bits[w + 1], memory_order_relaxed);
        if (!(set >> p % 64 & 1)) {
            return false;
        }
    }
    return true;
}

/* They are, from now on; forgotten at once when there is no memory, or when
 * others are two epochs ahead. */
void exi_recent_set(struct exi_recent *r, uint32_t epoch, uint64_t first,
                    uint64_t last);

#endif /* EXI_RECENT_H */
