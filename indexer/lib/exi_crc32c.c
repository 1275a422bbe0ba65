/*
 * CRC-32C.  Every block that is read from a table is checked, so this is in the
 * path of each look-up: the CPU's instruction has a latency of three cycles and
 * a throughput of one, so three streams of STREAM bytes are taken side by side
 * and their sums joined by a table that appends STREAM zero bytes to a sum.
 * Tables are made once, at the first call.
 */
#include "exi_crc32c.h"

#include <pthread.h>

#include "exi_bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAVE_CRC_INSTRUCTION 1
#endif

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define STREAM     256
#define TRAILER    5

static uint32_t slices[8][256]; /* sum of a byte and 0 ... 7 zero bytes */
static pthread_once_t once = PTHREAD_ONCE_INIT;
#ifdef HAVE_CRC_INSTRUCTION
static uint32_t zeros[4][256]; /* effect of STREAM zero bytes on a sum */
static bool has_instruction;
#endif

static void
make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int bit = 0; bit < 8; bit++) {
            c = c >> 1 ^ (c & 1 ? POLYNOMIAL : 0);
        }
        slices[0][i] = c;
    }
    for (int k = 1; k < 8; k++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = slices[k - 1][i];

            slices[k][i] = c >> 8 ^ slices[0][c & 255];
        }
    }
#ifdef HAVE_CRC_INSTRUCTION
    for (int k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i << (8 * k);

            for (int n = 0; n < STREAM; n++) {
                c = c >> 8 ^ slices[0][c & 255];
            }
            zeros[k][i] = c;
        }
    }
    has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

/* c is the sum so far, inverted; so is what is returned. */
static uint32_t
portable(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t lo = exi_le32(p) ^ c, hi = exi_le32(p + 4);

        c = slices[7][lo & 255] ^ slices[6][lo >> 8 & 255]
            ^ slices[5][lo >> 16 & 255] ^ slices[4][lo >> 24]
            ^ slices[3][hi & 255] ^ slices[2][hi >> 8 & 255]
            ^ slices[1][hi >> 16 & 255] ^ slices[0][hi >> 24];
    }
    for (; n > 0; p++, n--) {
        c = c >> 8 ^ slices[0][(c ^ *p) & 255];
    }
    return c;
}

#ifdef HAVE_CRC_INSTRUCTION
static uint32_t
append_zeros(uint32_t c)
{
    return zeros[0][c & 255] ^ zeros[1][c >> 8 & 255] ^ zeros[2][c >> 16 & 255]
           ^ zeros[3][c >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 3 * STREAM; p += 3 * STREAM, n -= 3 * STREAM) {
        uint64_t x = c, y = 0, z = 0;

        for (size_t i = 0; i < STREAM; i += 8) {
            x = _mm_crc32_u64(x, exi_le64(p + i));
            y = _mm_crc32_u64(y, exi_le64(p + STREAM + i));
            z = _mm_crc32_u64(z, exi_le64(p + 2 * STREAM + i));
        }
        c = append_zeros((uint32_t) x) ^ (uint32_t) y;
        c = append_zeros(c) ^ (uint32_t) z;
    }
    for (; n >= 8; p += 8, n -= 8) {
        c = (uint32_t) _mm_crc32_u64(c, exi_le64(p));
    }
    for (; n > 0; p++, n--) {
        c = _mm_crc32_u8(c, *p);
    }
    return c;
}
#endif

uint32_t
exi_crc32c_portable(const void *p, size_t n)
{
    pthread_once(&once, make_tables);
    return ~portable(~0u, p, n);
}

uint32_t
exi_crc32c(const void *p, size_t n)
{
    pthread_once(&once, make_tables);
#ifdef HAVE_CRC_INSTRUCTION
    if (has_instruction) {
        return ~by_instruction(~0u, p, n);
    }
#endif
    return ~portable(~0u, p, n);
}

bool
exi_crc32c_block(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint32_t masked, crc;

    if (n < TRAILER) {
        return false;
    }
    masked = exi_le32(b + n - 4) - 0xa282ead8u;
    crc = masked << 15 | masked >> 17;
    return exi_crc32c(b, n - 4) == crc;
}
