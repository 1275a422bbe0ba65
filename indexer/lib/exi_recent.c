/* Bits that are forgotten; see the header. */
#include "exi_recent.h"

#include <stdlib.h>

void
exi_recent_init(struct exi_recent *r, uint64_t n)
{
    r->nwords = (size_t) (n / 64 + 1);
    atomic_init(&r->epoch, 0);
    atomic_init(&r->bits, NULL);
}

void
exi_recent_free(struct exi_recent *r)
{
    free((void *) atomic_load(&r->bits));
}

static void
clear_half(struct exi_recent *r, _Atomic uint64_t *bits, uint32_t epoch)
{
    for (size_t i = 0; i < r->nwords; i++) {
        atomic_store_explicit(&bits[2 * i + (epoch & 1)], 0,
                              memory_order_relaxed);
    }
}

/* Unless another reader is in a later one. */
void
exi_recent_begin(struct exi_recent *r, uint32_t epoch)
{
    uint32_t was = atomic_load_explicit(&r->epoch, memory_order_relaxed);
    _Atomic uint64_t *bits = atomic_load(&r->bits);

    if ((int32_t) (epoch - was) <= 0
        || !atomic_compare_exchange_strong(&r->epoch, &was, epoch)
        || bits == NULL) {
        return;
    }
    clear_half(r, bits, epoch);
    if (epoch - was > 1) {
        clear_half(r, bits, epoch + 1);
    }
}

void
exi_recent_set(struct exi_recent *r, uint32_t epoch, uint64_t first,
               uint64_t last)
{
    _Atomic uint64_t *bits = atomic_load(&r->bits), *none = NULL;
    uint32_t now = atomic_load_explicit(&r->epoch, memory_order_relaxed);

    if ((int32_t) (now - epoch) > 1) {
        return;
    }
    if (bits == NULL) {
        bits = calloc(2 * r->nwords, sizeof *bits);
        if (bits == NULL) {
            return;
        }
        if (!atomic_compare_exchange_strong(&r->bits, &none, bits)) {
            free((void *) bits);
            bits = none;
        }
    }
    for (uint64_t p = first; p <= last; p++) {
        atomic_fetch_or_explicit(&bits[2 * (size_t) (p / 64) + (epoch & 1)],
                                 1ull << p % 64, memory_order_relaxed);
    }
}
