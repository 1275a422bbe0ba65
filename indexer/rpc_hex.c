/*
 * An answer that is one long string of hex digits (getblock 0), turned into
 * bytes as it arrives.
 *
 *     HEAD  {"result":"   compared
 *     BODY  digits        decoded into the caller's buffer
 *     TAIL  ,"error":null,"id":1}    kept, looked at when the answer is whole
 *     TEXT  anything else: what was consumed is put back as text, so that the
 *           ordinary parser sees the whole answer
 */
#include "rpc_int.h"

#include <string.h>

#include "lib/exi_hex.h"

static const char head[] = "{\"result\":\"";
static const char tail[] = ",\"error\":null,\"id\":1}";

#define HEAD_LEN (sizeof(head) - 1)
#define TAIL_LEN (sizeof(tail) - 1)

void
rpc_hex_begin(struct rpc_hex *h, struct rpc_buf *out)
{
    h->state = RPC_HEX_HEAD;
    h->matched = 0;
    h->taillen = 0;
    h->digit = '\0';
    out->len = 0;
}

/* The decoded bytes become digits again, from the last one down, in place. */
static void
encode_in_place(struct rpc_buf *out, size_t at)
{
    for (size_t i = out->len; i > 0; i--) {
        uint8_t byte = out->data[i - 1];

        exi_hex((char *) out->data + at + 2 * (i - 1), &byte, 1);
    }
}

/* Goes over to TEXT: out becomes what has arrived so far. */
static int
to_text(struct rpc_hex *h, struct rpc_buf *out)
{
    enum rpc_hex_state was = h->state;
    int rc;

    h->state = RPC_HEX_TEXT;
    if (was == RPC_HEX_HEAD) {
        return rpc_buf_add(out, head, h->matched);
    }
    rc = rpc_buf_room(out, HEAD_LEN + out->len + sizeof(h->tail) + 2);
    if (rc != EXI_OK) {
        return rc;
    }
    encode_in_place(out, HEAD_LEN);
    memcpy(out->data, head, HEAD_LEN);
    out->len = HEAD_LEN + 2 * out->len;
    if (h->digit != '\0') {
        out->data[out->len++] = (uint8_t) h->digit;
    }
    if (was == RPC_HEX_TAIL) {
        out->data[out->len++] = '"';
        memcpy(out->data + out->len, h->tail, h->taillen);
        out->len += h->taillen;
    }
    return EXI_OK;
}

/* Takes n digits; EXI_EFORMAT: some are none, nothing was taken. */
static int
digits(struct rpc_hex *h, struct rpc_buf *out, const char *p, size_t n)
{
    size_t odd = h->digit != '\0' && n > 0, even = (n - odd) & ~(size_t) 1;
    int rc;

    if (odd + even < n && p[n - 1] == '\0') {
        return EXI_EFORMAT; /* h->digit could not tell it from none */
    }
    rc = rpc_buf_room(out, even / 2 + 1);
    if (rc != EXI_OK) {
        return rc;
    }
    rc = exi_unhex(out->data + out->len + odd, p + odd, even);
    if (rc == EXI_OK && odd) {
        char pair[2] = { h->digit, *p };

        rc = exi_unhex(out->data + out->len, pair, 2);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (odd) {
        h->digit = '\0';
    }
    if (odd + even < n) {
        h->digit = p[n - 1]; /* looked at together with the next one */
    }
    out->len += odd + even / 2;
    return EXI_OK;
}

static size_t
take_head(struct rpc_hex *h, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && h->matched < HEAD_LEN && p[i] == head[h->matched]) {
        i++;
        h->matched++;
    }
    if (h->matched == HEAD_LEN) {
        h->state = RPC_HEX_BODY;
    }
    return i;
}

int
rpc_hex_data(struct rpc_hex *h, struct rpc_buf *out, const char *p, size_t n)
{
    const char *end;
    int rc = EXI_OK;

    if (h->state == RPC_HEX_HEAD) {
        size_t k = take_head(h, p, n);

        p += k;
        n -= k;
        if (n > 0 && h->state == RPC_HEX_HEAD) {
            rc = to_text(h, out);
        }
    }
    if (h->state == RPC_HEX_BODY && n > 0) {
        end = memchr(p, '"', n);
        rc = digits(h, out, p, end != NULL ? (size_t) (end - p) : n);
        if (rc == EXI_EFORMAT) {
            rc = to_text(h, out);
        } else if (rc == EXI_OK && end != NULL) {
            n -= (size_t) (end + 1 - p);
            p = end + 1;
            h->state = RPC_HEX_TAIL;
        } else {
            n = 0;
        }
    }
    if (rc == EXI_OK && h->state == RPC_HEX_TAIL) {
        if (n <= sizeof(h->tail) - h->taillen) {
            memcpy(h->tail + h->taillen, p, n);
            h->taillen += n;
            return EXI_OK;
        }
        rc = to_text(h, out);
    }
    return rc == EXI_OK && h->state == RPC_HEX_TEXT ? rpc_buf_add(out, p, n)
                                                    : rc;
}

int
rpc_hex_end(struct rpc_hex *h, struct rpc_buf *out, bool *decoded)
{
    size_t n = h->taillen;

    while (n > TAIL_LEN && (h->tail[n - 1] == '\n' || h->tail[n - 1] == '\r')) {
        n--;
    }
    *decoded = h->state == RPC_HEX_TAIL && h->digit == '\0' && n == TAIL_LEN
               && memcmp(h->tail, tail, TAIL_LEN) == 0;
    return *decoded || h->state == RPC_HEX_TEXT ? EXI_OK : to_text(h, out);
}
