/*
 * WebSocket frames from a client.
 *
 *              2 bytes         8 more bytes at most
 *     start ------------> head ---------------------> payload
 *       ^                   |                         |     |
 *       |                   +--- error                |     +--- error
 *       +---------------------------------------------+
 *         frame ends: MESSAGE, PING, PONG, or nothing (fragment)
 *
 * Every check is made as soon as the bytes it needs are there, never later, so
 * the events do not depend on where the input was cut.  CLOSE and errors end
 * the parser's work: all further input is ignored.
 */

#include "ngx_electrumx_ws.h"

#include <string.h>


/* a message may come with LF or CRLF at its end */
#define NGX_ELECTRUMX_WS_NEWLINE  2


static ngx_electrumx_in_e ngx_electrumx_ws_fail(ngx_electrumx_ws_t *ws,
    unsigned code);
static ngx_electrumx_in_e ngx_electrumx_ws_start(ngx_electrumx_ws_t *ws);
static ngx_electrumx_in_e ngx_electrumx_ws_length(ngx_electrumx_ws_t *ws);
static size_t ngx_electrumx_ws_head_size(ngx_electrumx_ws_t *ws);
static ngx_electrumx_in_e ngx_electrumx_ws_read_head(ngx_electrumx_ws_t *ws,
    u_char **pos, u_char *end);
static ngx_electrumx_in_e ngx_electrumx_ws_control(ngx_electrumx_ws_t *ws,
    u_char *p, size_t n, u_char **msg, size_t *len);
static ngx_electrumx_in_e ngx_electrumx_ws_closing(ngx_electrumx_ws_t *ws,
    u_char **msg, size_t *len);
static ngx_electrumx_in_e ngx_electrumx_ws_data(ngx_electrumx_ws_t *ws,
    u_char *p, size_t n, u_char **msg, size_t *len);
static ngx_electrumx_in_e ngx_electrumx_ws_whole(ngx_electrumx_ws_t *ws,
    u_char *p, size_t n, u_char **msg, size_t *len);
static void ngx_electrumx_ws_unmask(ngx_electrumx_ws_t *ws, u_char *p,
    size_t n);
static int ngx_electrumx_ws_code_valid(unsigned code);


void
ngx_electrumx_ws_init(ngx_electrumx_ws_t *ws, size_t max,
    void *(*resize)(void *p, size_t size))
{
    memset(ws, 0, sizeof(ngx_electrumx_ws_t));

    ws->max = max;
    ws->acc.resize = resize;
}


ngx_electrumx_in_e
ngx_electrumx_ws_next(ngx_electrumx_ws_t *ws, u_char **pos, u_char *end,
    u_char **msg, size_t *len)
{
    size_t               n;
    u_char              *p;
    ngx_electrumx_in_e   rc;

    if (ws->taken) {
        ngx_electrumx_acc_free(&ws->acc);
        ws->taken = 0;
    }

    for ( ;; ) {

        if (ws->done) {
            *pos = end;
            return NGX_ELECTRUMX_IN_AGAIN;
        }

        if (!ws->payload) {
            rc = ngx_electrumx_ws_read_head(ws, pos, end);

            if (rc != NGX_ELECTRUMX_IN_AGAIN || !ws->payload) {
                return rc;
            }
        }

        p = *pos;
        n = end - p;

        if (n > ws->left) {
            n = (size_t) ws->left;
        }

        if (n == 0 && ws->left > 0) {
            return NGX_ELECTRUMX_IN_AGAIN;
        }

        *pos = p + n;
        ws->left -= n;

        ngx_electrumx_ws_unmask(ws, p, n);

        if (ws->left == 0) {
            ws->payload = 0;
        }

        if (ws->opcode >= NGX_ELECTRUMX_WS_CLOSE) {
            rc = ngx_electrumx_ws_control(ws, p, n, msg, len);

        } else {
            rc = ngx_electrumx_ws_data(ws, p, n, msg, len);
        }

        if (rc != NGX_ELECTRUMX_IN_AGAIN) {
            return rc;
        }
    }
}


static ngx_electrumx_in_e
ngx_electrumx_ws_fail(ngx_electrumx_ws_t *ws, unsigned code)
{
    ngx_electrumx_acc_free(&ws->acc);

    ws->done = 1;
    ws->code = (uint16_t) code;

    return code == NGX_ELECTRUMX_WS_TOO_BIG ? NGX_ELECTRUMX_IN_OVERSIZED
                                            : NGX_ELECTRUMX_IN_ERROR;
}


/* Collects a head; ws->payload is set when it is complete. */

static ngx_electrumx_in_e
ngx_electrumx_ws_read_head(ngx_electrumx_ws_t *ws, u_char **pos, u_char *end)
{
    ngx_electrumx_in_e  rc;

    while (*pos < end) {

        ws->head[ws->nhead++] = *(*pos)++;

        if (ws->nhead == 2) {
            rc = ngx_electrumx_ws_start(ws);
            if (rc != NGX_ELECTRUMX_IN_AGAIN) {
                return rc;
            }
        }

        if (ws->nhead >= 2 && ws->nhead == ngx_electrumx_ws_head_size(ws)) {
            return ngx_electrumx_ws_length(ws);
        }
    }

    return NGX_ELECTRUMX_IN_AGAIN;
}


/* The first two bytes: flags, operation, mask, 7-bit length. */

static ngx_electrumx_in_e
ngx_electrumx_ws_start(ngx_electrumx_ws_t *ws)
{
    unsigned  op, fin;

    fin = ws->head[0] >> 7;
    op = ws->head[0] & 0x0f;

    /* no extension is ever agreed on: all three reserved bits are 0 */

    if (ws->head[0] & 0x70) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
    }

    if (!(ws->head[1] & 0x80)) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
    }

    switch (op) {

    case 0:
        if (!ws->open) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }
        break;

    case NGX_ELECTRUMX_WS_TEXT:
    case NGX_ELECTRUMX_WS_BINARY:
        if (ws->open) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }

        ws->open = 1;
        ws->total = 0;
        ws->utf8.left = 0;
        break;

    case NGX_ELECTRUMX_WS_CLOSE:
    case NGX_ELECTRUMX_WS_PING:
    case NGX_ELECTRUMX_WS_PONG:
        if (!fin || (ws->head[1] & 0x7f) > NGX_ELECTRUMX_WS_CTL_MAX) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }

        ws->nctl = 0;
        break;

    default:
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
    }

    ws->opcode = op;
    ws->fin = fin;

    return NGX_ELECTRUMX_IN_AGAIN;
}


static size_t
ngx_electrumx_ws_head_size(ngx_electrumx_ws_t *ws)
{
    switch (ws->head[1] & 0x7f) {
    case 126:
        return 2 + 2 + 4;
    case 127:
        return 2 + 8 + 4;
    default:
        return 2 + 4;
    }
}


/* The whole head is there: length and mask. */

static ngx_electrumx_in_e
ngx_electrumx_ws_length(ngx_electrumx_ws_t *ws)
{
    size_t    i, n;
    uint64_t  len;

    n = ngx_electrumx_ws_head_size(ws) - 4;
    len = ws->head[1] & 0x7f;

    if (n > 2) {
        len = 0;

        for (i = 2; i < n; i++) {
            len = len << 8 | ws->head[i];
        }

        if (len < (n == 4 ? 126 : 65536) || len >> 63) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }
    }

    if (ws->opcode < NGX_ELECTRUMX_WS_CLOSE) {

        if (len > (uint64_t) ws->max + NGX_ELECTRUMX_WS_NEWLINE - ws->total) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_TOO_BIG);
        }

        ws->total += len;
    }

    memcpy(ws->mask, ws->head + n, 4);

    ws->left = len;
    ws->nmask = 0;
    ws->nhead = 0;
    ws->payload = 1;

    return NGX_ELECTRUMX_IN_AGAIN;
}


/* n more bytes of a control frame. */

static ngx_electrumx_in_e
ngx_electrumx_ws_control(ngx_electrumx_ws_t *ws, u_char *p, size_t n,
    u_char **msg, size_t *len)
{
    if (n > (size_t) NGX_ELECTRUMX_WS_CTL_MAX - ws->nctl) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
    }

    if (n) {
        memcpy(ws->ctl + ws->nctl, p, n);
        ws->nctl += (uint8_t) n;
    }

    if (ws->left > 0) {
        return NGX_ELECTRUMX_IN_AGAIN;
    }

    if (ws->opcode == NGX_ELECTRUMX_WS_CLOSE) {
        return ngx_electrumx_ws_closing(ws, msg, len);
    }

    *msg = ws->ctl;
    *len = ws->nctl;

    return ws->opcode == NGX_ELECTRUMX_WS_PING ? NGX_ELECTRUMX_IN_PING
                                               : NGX_ELECTRUMX_IN_PONG;
}


static ngx_electrumx_in_e
ngx_electrumx_ws_closing(ngx_electrumx_ws_t *ws, u_char **msg, size_t *len)
{
    unsigned               code;
    ngx_electrumx_utf8_t   utf8;

    code = NGX_ELECTRUMX_WS_NO_STATUS;
    *msg = ws->ctl;
    *len = 0;

    if (ws->nctl > 0) {

        if (ws->nctl == 1) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }

        code = (unsigned) ws->ctl[0] << 8 | ws->ctl[1];

        if (!ngx_electrumx_ws_code_valid(code)) {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_PROTOCOL);
        }

        *msg = ws->ctl + 2;
        *len = ws->nctl - 2;
        utf8.left = 0;

        if (ngx_electrumx_utf8_check(&utf8, *msg, *len) != 0
            || utf8.left != 0)
        {
            return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_BAD_DATA);
        }
    }

    ngx_electrumx_acc_free(&ws->acc);

    ws->done = 1;
    ws->code = (uint16_t) code;

    return NGX_ELECTRUMX_IN_CLOSE;
}


/* Codes that may stand in a frame: the RFC's own, the registered 1012 ... 1014
   and the ranges of libraries and applications. */

static int
ngx_electrumx_ws_code_valid(unsigned code)
{
    if (code >= 3000) {
        return code <= 4999;
    }

    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}


/* n more bytes of a text or binary frame. */

static ngx_electrumx_in_e
ngx_electrumx_ws_data(ngx_electrumx_ws_t *ws, u_char *p, size_t n,
    u_char **msg, size_t *len)
{
    int  whole;

    if (ngx_electrumx_utf8_check(&ws->utf8, p, n) != 0) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_BAD_DATA);
    }

    whole = (ws->fin && ws->left == 0);

    if (whole && ws->utf8.left != 0) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_BAD_DATA);
    }

    if (whole && ws->acc.len == 0) {
        ws->open = 0;
        return ngx_electrumx_ws_whole(ws, p, n, msg, len);
    }

    if (ngx_electrumx_acc_add(&ws->acc, p, n) != 0) {
        ws->done = 1;
        return NGX_ELECTRUMX_IN_NOMEM;
    }

    if (!whole) {
        return NGX_ELECTRUMX_IN_AGAIN;
    }

    ws->open = 0;
    ws->taken = 1;

    return ngx_electrumx_ws_whole(ws, ws->acc.data, ws->acc.len, msg, len);
}


/* The n bytes at p are a message: AGAIN for an empty one. */

static ngx_electrumx_in_e
ngx_electrumx_ws_whole(ngx_electrumx_ws_t *ws, u_char *p, size_t n,
    u_char **msg, size_t *len)
{
    if (n > 0 && p[n - 1] == '\n') {
        n--;

        if (n > 0 && p[n - 1] == '\r') {
            n--;
        }
    }

    if (n > ws->max) {
        return ngx_electrumx_ws_fail(ws, NGX_ELECTRUMX_WS_TOO_BIG);
    }

    if (n == 0) {
        ngx_electrumx_acc_free(&ws->acc);
        ws->taken = 0;
        return NGX_ELECTRUMX_IN_AGAIN;
    }

    *msg = p;
    *len = n;

    return NGX_ELECTRUMX_IN_MESSAGE;
}


static void
ngx_electrumx_ws_unmask(ngx_electrumx_ws_t *ws, u_char *p, size_t n)
{
    size_t    i;
    u_char    m[8];
    uint64_t  mask, word;

    for (i = 0; i < 8; i++) {
        m[i] = ws->mask[(ws->nmask + i) & 3];
    }

    memcpy(&mask, m, 8);

    for (i = 0; i + 8 <= n; i += 8) {
        memcpy(&word, p + i, 8);
        word ^= mask;
        memcpy(p + i, &word, 8);
    }

    for ( /* void */ ; i < n; i++) {
        p[i] ^= m[i & 7];
    }

    ws->nmask = (uint8_t) ((ws->nmask + n) & 3);
}


/* The first byte of a character says how many follow and what the second may
   be (no overlong forms, no surrogates, nothing above U+10FFFF). */

int
ngx_electrumx_utf8_check(ngx_electrumx_utf8_t *u, const u_char *p, size_t n)
{
    u_char         c;
    uint64_t       word;
    const u_char  *end;

    end = p + n;

    while (p < end) {

        if (u->left == 0 && end - p >= 8) {
            memcpy(&word, p, 8);

            if (!(word & 0x8080808080808080ULL)) {
                p += 8;
                continue;
            }
        }

        c = *p++;

        if (u->left) {
            if (c < u->low || c > u->high) {
                return -1;
            }

            u->left--;
            u->low = 0x80;
            u->high = 0xbf;
            continue;
        }

        if (c < 0x80) {
            continue;
        }

        if (c < 0xc2 || c > 0xf4) {
            return -1;
        }

        u->left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        u->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        u->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }

    return 0;
}


void
ngx_electrumx_ws_free(ngx_electrumx_ws_t *ws)
{
    ngx_electrumx_acc_free(&ws->acc);

    ws->taken = 0;
    ws->done = 1;
}


size_t
ngx_electrumx_ws_head(u_char *out, unsigned opcode, uint64_t len)
{
    size_t  i;

    out[0] = (u_char) (0x80 | opcode);

    if (len < 126) {
        out[1] = (u_char) len;
        return 2;
    }

    if (len < 65536) {
        out[1] = 126;
        out[2] = (u_char) (len >> 8);
        out[3] = (u_char) len;
        return 4;
    }

    out[1] = 127;

    for (i = 0; i < 8; i++) {
        out[2 + i] = (u_char) (len >> (56 - 8 * i));
    }

    return 10;
}


size_t
ngx_electrumx_ws_close(u_char *out, unsigned code)
{
    if (code == NGX_ELECTRUMX_WS_NO_STATUS) {
        return ngx_electrumx_ws_head(out, NGX_ELECTRUMX_WS_CLOSE, 0);
    }

    (void) ngx_electrumx_ws_head(out, NGX_ELECTRUMX_WS_CLOSE, 2);

    out[2] = (u_char) (code >> 8);
    out[3] = (u_char) code;

    return 4;
}
