/*
 * Hexadecimal, by tables: two digits are written with one 16-bit copy, and a
 * digit is read with one look-up whose flag bit says whether it was one, so
 * that reading has no branch per character.  The *_display functions are the
 * only place of the project where bytes of a hash are reversed.
 */
#include "exi_hex.h"

#include <string.h>

#define ROW(h)                                                                 \
    h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" h "8" h "9" h "a" h "b" h  \
      "c" h "d" h "e" h "f"

/* The two digits of byte v at 2 * v. */
static const char pairs[] =
    ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7")
        ROW("8") ROW("9") ROW("a") ROW("b") ROW("c") ROW("d") ROW("e") ROW("f");

/* Set in each entry of values[] that stands for a digit. */
#define DIGIT 0x10

static const uint8_t values[256] = {
    ['0'] = DIGIT | 0,  ['1'] = DIGIT | 1,  ['2'] = DIGIT | 2,
    ['3'] = DIGIT | 3,  ['4'] = DIGIT | 4,  ['5'] = DIGIT | 5,
    ['6'] = DIGIT | 6,  ['7'] = DIGIT | 7,  ['8'] = DIGIT | 8,
    ['9'] = DIGIT | 9,  ['a'] = DIGIT | 10, ['b'] = DIGIT | 11,
    ['c'] = DIGIT | 12, ['d'] = DIGIT | 13, ['e'] = DIGIT | 14,
    ['f'] = DIGIT | 15, ['A'] = DIGIT | 10, ['B'] = DIGIT | 11,
    ['C'] = DIGIT | 12, ['D'] = DIGIT | 13, ['E'] = DIGIT | 14,
    ['F'] = DIGIT | 15,
};

void
exi_hex(char *out, const uint8_t *buf, size_t buflen)
{
    for (size_t i = 0; i < buflen; i++) {
        memcpy(out + 2 * i, pairs + 2 * (size_t) buf[i], 2);
    }
}

void
exi_hex_display(char *out, const uint8_t hash[EXI_HASH_LEN])
{
    for (size_t i = 0; i < EXI_HASH_LEN; i++) {
        memcpy(out + 2 * i, pairs + 2 * (size_t) hash[EXI_HASH_LEN - 1 - i], 2);
    }
}

/* Value of two digits; clears DIGIT in *ok if one of them is none. */
static inline uint8_t
unhex_byte(const char *hex, uint8_t *ok)
{
    uint8_t hi = values[(uint8_t) hex[0]];
    uint8_t lo = values[(uint8_t) hex[1]];

    *ok &= hi & lo;
    return (uint8_t) (hi << 4 | (lo & 0x0f));
}

int
exi_unhex(uint8_t *out, const char *hex, size_t hexlen)
{
    uint8_t ok = DIGIT;

    if (hexlen % 2 != 0) {
        return EXI_EFORMAT;
    }
    for (size_t i = 0; i < hexlen / 2; i++) {
        out[i] = unhex_byte(hex + 2 * i, &ok);
    }
    return ok ? EXI_OK : EXI_EFORMAT;
}

int
exi_unhex_display(uint8_t hash[EXI_HASH_LEN], const char *hex, size_t hexlen)
{
    uint8_t ok = DIGIT;

    if (hexlen != 2 * (size_t) EXI_HASH_LEN) {
        return EXI_EFORMAT;
    }
    for (size_t i = 0; i < EXI_HASH_LEN; i++) {
        hash[EXI_HASH_LEN - 1 - i] = unhex_byte(hex + 2 * i, &ok);
    }
    return ok ? EXI_OK : EXI_EFORMAT;
}
