/* CRC-32C: known values, both ways of computing it, every flipped bit. */
#include "../lib/tap.h"

#include "../lib/rnd.h"
#include "exi_bytes.h"
#include "exi_crc32c.h"

#include <stdlib.h>

/* RFC 3720, appendix B.4. */
static void
known(void)
{
    uint8_t b[32] = { 0 };

    is_int(exi_crc32c(b, 32), 0x8a9136aa, "zeros");
    memset(b, 0xff, 32);
    is_int(exi_crc32c(b, 32), 0x62a8ab43, "ones");
    for (int i = 0; i < 32; i++) {
        b[i] = (uint8_t) i;
    }
    is_int(exi_crc32c(b, 32), 0x46dd794e, "ascending");
    is_int(exi_crc32c("123456789", 9), 0xe3069283, "digits");
    is_int(exi_crc32c("", 0), 0, "nothing");
}

static void
both_ways(void)
{
    uint8_t *b = malloc(9000);

    for (size_t i = 0; i < 9000; i++) {
        b[i] = (uint8_t) rnd();
    }
    for (size_t n = 0; n < 4000; n++) {
        size_t at = rnd_below(16);

        each(exi_crc32c(b + at, n) == exi_crc32c_portable(b + at, n),
             "%zu bytes", n);
    }
    each(exi_crc32c(b, 9000) == exi_crc32c_portable(b, 9000), "9000 bytes");
    each_done("with and without the instruction");
    free(b);
}

static void
blocks(void)
{
    enum {
        LEN = 1100
    };
    uint8_t b[LEN];
    uint32_t crc;

    for (size_t i = 0; i < LEN; i++) {
        b[i] = (uint8_t) rnd();
    }
    crc = exi_crc32c(b, LEN - 4);
    exi_put_le32(b + LEN - 4, (crc >> 15 | crc << 17) + 0xa282ead8u);
    ok(exi_crc32c_block(b, LEN), "a whole block");
    for (size_t i = 0; i < LEN * 8; i++) {
        b[i / 8] ^= (uint8_t) (1 << i % 8);
        each(!exi_crc32c_block(b, LEN), "bit %zu", i);
        b[i / 8] ^= (uint8_t) (1 << i % 8);
    }
    each_done("each flipped bit is seen");
    ok(exi_crc32c_block(b, LEN), "whole again");
    for (size_t n = 0; n < 5; n++) {
        each(!exi_crc32c_block(b, n), "%zu bytes", n);
    }
    each_done("too short for a block");
}

int
main(void)
{
    rnd_init();
    subtest("known values", known);
    subtest("both ways", both_ways);
    subtest("blocks", blocks);
    return done_testing();
}
