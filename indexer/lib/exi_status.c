/*
 * Status of a script hash: the text "txid:height:txid:height:..." is hashed as
 * it is produced and never held.  The order of the transactions is the
 * caller's (confirmed by chain position, then height 0 before -1, each by
 * displayed txid).
 */
#include "exi_status.h"

#include "exi_hex.h"

/* 64 digits, ':', sign and 10 digits, ':'. */
#define ENTRY_MAX (2 * EXI_HASH_LEN + 13)

void
exi_status_init(struct exi_status *s)
{
    exi_sha256_init(&s->sha);
    s->n = 0;
}

/* Decimal text of v at out; returns the length. */
static size_t
put_height(char *out, int32_t v)
{
    uint32_t u = v < 0 ? 0 - (uint32_t) v : (uint32_t) v;
    char digits[10];
    size_t n = 0, len = 0;

    do {
        digits[n++] = (char) ('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0) {
        out[len++] = '-';
    }
    while (n != 0) {
        out[len++] = digits[--n];
    }
    return len;
}

void
exi_status_add(struct exi_status *s, const struct exi_txid *txid,
               int32_t height)
{
    char entry[ENTRY_MAX];
    size_t len = 2 * (size_t) EXI_HASH_LEN;

    exi_hex_display(entry, txid->b);
    entry[len++] = ':';
    len += put_height(entry + len, height);
    entry[len++] = ':';
    exi_sha256_update(&s->sha, entry, len);
    s->n++;
}

bool
exi_status_final(struct exi_status *s, uint8_t out[EXI_HASH_LEN])
{
    if (s->n == 0) {
        return false;
    }
    exi_sha256_final(&s->sha, out);
    return true;
}
