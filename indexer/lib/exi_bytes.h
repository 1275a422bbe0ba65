/*
 * Integers in byte buffers, and a bounds-checked cursor that goes bad and
 * stays bad, so that a parser checks once at its end.  Inline; any thread.
 */
#ifndef EXI_BYTES_H
#define EXI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Asks for the memory at p, which will be read soon; it need not be there.  To
 * gcc a function that does nothing but __builtin_prefetch() has no effect, and
 * it leaves the calls out: hence the empty asm.
 */
static inline void
exi_prefetch(const void *p)
{
    __builtin_prefetch(p);
    __asm__ volatile("");
}

static inline uint16_t
exi_le16(const uint8_t *p)
{
    return (uint16_t) (p[0] | p[1] << 8);
}

static inline uint32_t
exi_le32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t
exi_le64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void
exi_put_le32(uint8_t *p, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, 4);
}

static inline void
exi_put_le64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, 8);
}

static inline uint32_t
exi_be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t
exi_be40(const uint8_t *p)
{
    return (uint64_t) exi_be32(p) << 8 | p[4];
}

static inline uint64_t
exi_be64(const uint8_t *p)
{
    return (uint64_t) exi_be32(p) << 32 | exi_be32(p + 4);
}

static inline void
exi_put_be32(uint8_t *p, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, 4);
}

static inline void
exi_put_be40(uint8_t *p, uint64_t v)
{
    exi_put_be32(p, (uint32_t) (v >> 8));
    p[4] = (uint8_t) v;
}

static inline void
exi_put_be64(uint8_t *p, uint64_t v)
{
    exi_put_be32(p, (uint32_t) (v >> 32));
    exi_put_be32(p + 4, (uint32_t) v);
}

/* Longest varint (LEB128 of 64 bits) and ovarint, in bytes. */
#define EXI_VARINT_MAX  10
#define EXI_OVARINT_MAX 5

/* Writes v as varint at p (room for EXI_VARINT_MAX); returns the length. */
static inline size_t
exi_put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t) (v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t) v;
    return n;
}

/*
 * Writes v as ovarint at p (room for EXI_OVARINT_MAX); returns the length.
 * Byte order of the encodings is the order of the numbers.
 */
static inline size_t
exi_put_ovarint(uint8_t *p, uint32_t v)
{
    if (v < 0x80) {
        p[0] = (uint8_t) v;
        return 1;
    }
    if (v < 0x4000) {
        p[0] = (uint8_t) (0x80 | v >> 8);
        p[1] = (uint8_t) v;
        return 2;
    }
    if (v < 0x200000) {
        p[0] = (uint8_t) (0xc0 | v >> 16);
        p[1] = (uint8_t) (v >> 8);
        p[2] = (uint8_t) v;
        return 3;
    }
    if (v < 0x10000000) {
        exi_put_be32(p, v | 0xe0000000u);
        return 4;
    }
    p[0] = 0xf0;
    exi_put_be32(p + 1, v);
    return 5;
}

/* Reading cursor over [p, end). */
struct exi_rd {
    const uint8_t *p;
    const uint8_t *end;
    bool bad; /* a read went past the end or was malformed; stays set */
};

/* buf may be NULL if len is 0. */
static inline struct exi_rd
exi_rd(const void *buf, size_t len)
{
    const uint8_t *p = (const uint8_t *) buf;
    struct exi_rd r = { p, len != 0 ? p + len : p, false };
    return r;
}

static inline size_t
exi_rd_left(const struct exi_rd *r)
{
    return (size_t) (r->end - r->p);
}

/* n bytes, good as long as the buffer, or NULL and the cursor is bad. */
static inline const uint8_t *
exi_rd_bytes(struct exi_rd *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->bad || n > exi_rd_left(r)) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    return p;
}

static inline uint8_t
exi_rd_u8(struct exi_rd *r)
{
    const uint8_t *p = exi_rd_bytes(r, 1);
    return p ? *p : 0;
}

static inline uint32_t
exi_rd_le32(struct exi_rd *r)
{
    const uint8_t *p = exi_rd_bytes(r, 4);
    return p ? exi_le32(p) : 0;
}

static inline uint64_t
exi_rd_le64(struct exi_rd *r)
{
    const uint8_t *p = exi_rd_bytes(r, 8);
    return p ? exi_le64(p) : 0;
}

/* varint; overlong or above 64 bits makes the cursor bad. */
static inline uint64_t
exi_rd_varint(struct exi_rd *r)
{
    uint64_t v = 0;
    unsigned shift = 0;
    uint8_t c;

    do {
        if (r->bad || r->p == r->end || shift > 63) {
            r->bad = true;
            return 0;
        }
        c = *r->p++;
        if (shift == 63 && c > 1) {
            r->bad = true;
            return 0;
        }
        v |= (uint64_t) (c & 0x7f) << shift;
        shift += 7;
    } while (c & 0x80);
    if (c == 0 && shift > 7) {
        r->bad = true;
        return 0;
    }
    return v;
}

/* ovarint; a longer form than needed makes the cursor bad. */
static inline uint32_t
exi_rd_ovarint(struct exi_rd *r)
{
    static const uint32_t least[] = { 0, 0x80, 0x4000, 0x200000, 0x10000000 };
    uint8_t c = exi_rd_u8(r);
    const uint8_t *p;
    unsigned extra = c < 0x80   ? 0
                     : c < 0xc0 ? 1
                     : c < 0xe0 ? 2
                     : c < 0xf0 ? 3
                                : 4;
    uint32_t v = extra == 4 ? 0 : c & (0xffu >> (extra + (extra != 0)));

    p = exi_rd_bytes(r, extra);
    if (p == NULL) {
        return 0;
    }
    for (unsigned i = 0; i < extra; i++) {
        v = v << 8 | p[i];
    }
    if (c > 0xf0 || v < least[extra]) {
        r->bad = true;
        return 0;
    }
    return v;
}

/* Bitcoin's CompactSize; a longer form than needed makes the cursor bad. */
static inline uint64_t
exi_rd_compact(struct exi_rd *r)
{
    uint8_t c = exi_rd_u8(r);
    const uint8_t *p;
    uint64_t v;

    switch (c) {
    case 0xfd:
        p = exi_rd_bytes(r, 2);
        v = p ? exi_le16(p) : 0;
        r->bad |= v < 0xfd;
        return v;
    case 0xfe:
        v = exi_rd_le32(r);
        r->bad |= v < 0x10000;
        return v;
    case 0xff:
        v = exi_rd_le64(r);
        r->bad |= v < 0x100000000u;
        return v;
    default:
        return c;
    }
}

#endif /* EXI_BYTES_H */
