/* Records of a log; see the header. */
#include "exi_dblog.h"

#include <string.h>

#include "exi_bytes.h"
#include "exi_crc32c.h"

#define BLOCK 32768
#define HEAD  7

enum piece {
    WHOLE = 1,
    FIRST = 2,
    BETWEEN = 3,
    LAST = 4
};

void
exi_dblog_begin(struct exi_dblog *l, uint8_t *p, size_t len)
{
    memset(l, 0, sizeof *l);
    l->p = p;
    l->len = len;
}

static int
damaged(struct exi_dblog *l, const char *why)
{
    l->why = why;
    return EXI_EFORMAT;
}

static int
torn(struct exi_dblog *l)
{
    l->torn = 1;
    return damaged(l, "it ends inside of a record");
}

static uint32_t
unmask(uint32_t v)
{
    v -= 0xa282ead8u;
    return v << 15 | v >> 17;
}

/* Goes behind the next piece: its kind; 0: there is none. */
static int
next_piece(struct exi_dblog *l, const uint8_t **p, size_t *n)
{
    size_t room = BLOCK - l->at % BLOCK;
    const uint8_t *h;

    if (room < HEAD) {
        l->at = l->len - l->at < room ? l->len : l->at + room;
        room = BLOCK;
    }
    if (l->at == l->len) {
        return 0;
    }
    if (l->len - l->at < HEAD) {
        return torn(l);
    }
    h = l->p + l->at;
    *n = exi_le16(h + 4);
    if (*n > room - HEAD) {
        return damaged(l, "a record's length is wrong");
    }
    if (*n > l->len - l->at - HEAD) {
        return torn(l);
    }
    if (exi_crc32c(h + 6, 1 + *n) != unmask(exi_le32(h))) {
        return damaged(l, "a record's checksum is wrong");
    }
    if (h[6] < WHOLE || h[6] > LAST) {
        return damaged(l, "a record is of unknown kind");
    }
    *p = h + HEAD;
    l->at += HEAD + *n;
    return h[6];
}

int
exi_dblog_next(struct exi_dblog *l, const uint8_t **rec, size_t *len)
{
    uint8_t *to = NULL;
    const uint8_t *p;
    size_t n, got = 0;
    int kind;

    for (;;) {
        kind = next_piece(l, &p, &n);
        if (kind < 0) {
            return kind;
        }
        if (kind == 0) {
            return to != NULL ? torn(l) : 0;
        }
        if ((to == NULL) != (kind == WHOLE || kind == FIRST)) {
            return damaged(l, "pieces of its records are in disorder");
        }
        if (to == NULL) {
            to = l->p + (p - l->p);
        } else {
            memmove(to + got, p, n);
        }
        got += n;
        if (kind == WHOLE || kind == LAST) {
            break;
        }
    }
    *rec = to;
    *len = got;
    l->whole = l->at;
    return 1;
}
