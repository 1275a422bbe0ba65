/*
 * Streaming JSON writer.  Everything that is written goes through reserve() or
 * exi_jw_raw(), so that more() is the only way to new room.  After an error
 * the room is empty (end == pos), which leads every later call to the check of
 * err: nothing is written any more.
 */
#include "exi_json_writer.h"

#include "exi_hex.h"

/* Decimal digits of UINT64_MAX, and a sign. */
#define INT_MAX_LEN 21

/* Makes room for n <= EXI_JW_NEED_MAX bytes; false once the writer failed. */
static bool
reserve(struct exi_jw *w, size_t n)
{
    if (w->err == EXI_OK && (size_t) (w->end - w->pos) < n) {
        w->err = w->more(w, n);
        if (w->err == EXI_OK && (size_t) (w->end - w->pos) < n) {
            w->err = EXI_EAPI;
        }
        if (w->err != EXI_OK) {
            w->end = w->pos;
        }
    }
    return w->err == EXI_OK;
}

void
exi_jw_raw_slow(struct exi_jw *w, const void *buf, size_t buflen)
{
    const uint8_t *p = buf;

    while (buflen != 0 && reserve(w, 1)) {
        size_t n = (size_t) (w->end - w->pos);

        n = n < buflen ? n : buflen;
        memcpy(w->pos, p, n);
        w->pos += n;
        p += n;
        buflen -= n;
    }
}

void
exi_jw_raw(struct exi_jw *w, const void *buf, size_t buflen)
{
    exi_jw_put(w, buf, buflen);
}

void
exi_jw_char(struct exi_jw *w, char c)
{
    if (reserve(w, 1)) {
        *w->pos++ = (uint8_t) c;
    }
}

/*
 * Length of the UTF-8 sequence of more than one byte at p (n >= 1 bytes are
 * left), 0 if there is none.  RFC 3629, section 4: the second byte's range shuts out overlong
 * forms, surrogates and what is above U+10FFFF.
 */
static size_t
utf8_len(const uint8_t *p, size_t n)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;

    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    switch (p[0]) {
    case 0xe0:
        low = 0xa0;
        break;
    case 0xed:
        high = 0x9f;
        break;
    case 0xf0:
        low = 0x90;
        break;
    case 0xf4:
        high = 0x8f;
        break;
    default:
        break;
    }
    if (n < len || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

/* Length of the longest start of p that is written as it is. */
static size_t
plain_len(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t len = 1;

        if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\') {
            break;
        }
        if (p[i] >= 0x80) {
            len = utf8_len(p + i, n - i);
            if (len == 0) {
                break;
            }
        }
        i += len;
    }
    return i;
}

/* Writes a byte that plain_len stopped at. */
static void
put_special(struct exi_jw *w, uint8_t c)
{
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'
    };
    char esc[] = "\\u00..";
    char letter = (char) c;

    if (c >= 0x80) {
        exi_jw_lit(w, "\xef\xbf\xbd");
        return;
    }
    if (c < 0x20) {
        letter = letters[c];
    }
    if (letter != 0) {
        exi_jw_char(w, '\\');
        exi_jw_char(w, letter);
    } else {
        exi_hex(esc + 4, &c, 1);
        exi_jw_put(w, esc, sizeof(esc) - 1);
    }
}

void
exi_jw_str(struct exi_jw *w, const char *s, size_t len)
{
    const uint8_t *p = (const uint8_t *) s;

    exi_jw_char(w, '"');
    while (len != 0 && w->err == EXI_OK) {
        size_t n = plain_len(p, len);

        exi_jw_put(w, p, n);
        p += n;
        len -= n;
        if (len != 0) {
            put_special(w, *p++);
            len--;
        }
    }
    exi_jw_char(w, '"');
}

/* Two decimal digits of each of 0 ... 99. */
static const char decimals[] = "00010203040506070809"
                               "10111213141516171819"
                               "20212223242526272829"
                               "30313233343536373839"
                               "40414243444546474849"
                               "50515253545556575859"
                               "60616263646566676869"
                               "70717273747576777879"
                               "80818283848586878889"
                               "90919293949596979899";

/* Writes v so that it ends before `end`; returns its first digit. */
static char *
put_decimal(char *end, uint64_t v)
{
    while (v >= 100) {
        end -= 2;
        memcpy(end, decimals + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        end -= 2;
        memcpy(end, decimals + 2 * v, 2);
    } else {
        *--end = (char) ('0' + v);
    }
    return end;
}

void
exi_jw_u64(struct exi_jw *w, uint64_t v)
{
    char buf[INT_MAX_LEN];
    char *end = buf + sizeof(buf);
    char *p = put_decimal(end, v);

    exi_jw_put(w, p, (size_t) (end - p));
}

void
exi_jw_i64(struct exi_jw *w, int64_t v)
{
    char buf[INT_MAX_LEN];
    char *end = buf + sizeof(buf);
    char *p = put_decimal(end, v < 0 ? 0 - (uint64_t) v : (uint64_t) v);

    if (v < 0) {
        *--p = '-';
    }
    exi_jw_put(w, p, (size_t) (end - p));
}

void
exi_jw_hex_part(struct exi_jw *w, const uint8_t *buf, size_t buflen)
{
    while (buflen != 0 && reserve(w, 2)) {
        size_t n = (size_t) (w->end - w->pos) / 2;

        n = n < buflen ? n : buflen;
        exi_hex((char *) w->pos, buf, n);
        w->pos += 2 * n;
        buf += n;
        buflen -= n;
    }
}

void
exi_jw_hex(struct exi_jw *w, const uint8_t *buf, size_t buflen)
{
    exi_jw_char(w, '"');
    exi_jw_hex_part(w, buf, buflen);
    exi_jw_char(w, '"');
}

void
exi_jw_hash(struct exi_jw *w, const uint8_t hash[EXI_HASH_LEN])
{
    if (reserve(w, 2 * EXI_HASH_LEN + 2)) {
        w->pos[0] = '"';
        exi_hex_display((char *) w->pos + 1, hash);
        w->pos[2 * EXI_HASH_LEN + 1] = '"';
        w->pos += 2 * EXI_HASH_LEN + 2;
    }
}
