/*
 * Streaming JSON writer: appends to a buffer that its owner refills, builds no
 * tree.  Commas and nesting are the caller's (it writes what it means); once
 * an append failed the writer stays failed.  One thread at a time.
 */
#ifndef EXI_JSON_WRITER_H
#define EXI_JSON_WRITER_H

#include <string.h>

#include "exi_err.h"
#include "exi_types.h"

/* Most room that more() is ever asked for. */
#define EXI_JW_NEED_MAX 4096

struct exi_jw {
    uint8_t *pos; /* next byte to write */
    uint8_t *end; /* end of the room at pos */
    /*
     * Called when fewer than `need` bytes are left: must set pos and end to
     * at least `need` (<= EXI_JW_NEED_MAX) bytes of room, or return an error.
     * What was written ends at pos, which may be before end.
     */
    int (*more)(struct exi_jw *w, size_t need);
    void *ctx; /* owner's */
    int err;   /* EXI_OK or the first error of more() */
};

/* Raw bytes of any length, cut over several buffers if need be. */
void exi_jw_raw(struct exi_jw *w, const void *buf, size_t buflen);

/* The part of exi_jw_put that calls more(); not for callers. */
void exi_jw_raw_slow(struct exi_jw *w, const void *buf, size_t buflen);

/* As exi_jw_raw, inline for short pieces. */
static inline void
exi_jw_put(struct exi_jw *w, const void *buf, size_t buflen)
{
    if (buflen != 0 && (size_t) (w->end - w->pos) >= buflen) {
        memcpy(w->pos, buf, buflen);
        w->pos += buflen;
    } else {
        exi_jw_raw_slow(w, buf, buflen);
    }
}

/* A C string constant, raw. */
#define exi_jw_lit(w, s) exi_jw_put((w), (s), sizeof(s) - 1)

/* One character, raw. */
void exi_jw_char(struct exi_jw *w, char c);

/*
 * A JSON string with quotes; control characters, quote and backslash escaped;
 * each byte that is not part of valid UTF-8 becomes U+FFFD.
 */
void exi_jw_str(struct exi_jw *w, const char *s, size_t len);

void exi_jw_i64(struct exi_jw *w, int64_t v);
void exi_jw_u64(struct exi_jw *w, uint64_t v);

/* "hex" with quotes; of any length. */
void exi_jw_hex(struct exi_jw *w, const uint8_t *buf, size_t buflen);

/* Hex digits without quotes (for concatenating). */
void exi_jw_hex_part(struct exi_jw *w, const uint8_t *buf, size_t buflen);

/* A 32-byte hash in display order with quotes. */
void exi_jw_hash(struct exi_jw *w, const uint8_t hash[EXI_HASH_LEN]);

#endif /* EXI_JSON_WRITER_H */
