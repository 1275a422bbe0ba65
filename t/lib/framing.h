/*
 * Feeds the module's parsers with input cut at chosen places and writes down
 * what they find.  Each piece is a block of its own of exactly its size, freed
 * before the next one, so that the sanitizer sees each byte read or kept
 * wrongly.
 *
 * A trace has a line for each event: M <length> <message>, O (oversized),
 * P (ping) and G (pong) <data>, C <code> <reason> (close), E <code> (error).
 * Bytes outside of printable ASCII are written \xx.
 */
#ifndef FRAMING_H
#define FRAMING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_electrumx_line.h"
#include "ngx_electrumx_ws.h"

#define FRAMING_UNUSED __attribute__((unused))

struct trace {
    char *text;
    size_t len;
    size_t size;
};

/* Allocations of the parsers; the n-th fails if fail_at is n. */
static struct {
    int live;
    int count;
    int fail_at;
} framing_mem;

FRAMING_UNUSED static void *
framing_resize(void *p, size_t size)
{
    if (size == 0) {
        framing_mem.live -= p != NULL;
        free(p);
        return NULL;
    }
    if (++framing_mem.count == framing_mem.fail_at) {
        return NULL;
    }
    framing_mem.live += p == NULL;
    return realloc(p, size);
}

FRAMING_UNUSED static void
trace_add(struct trace *t, const char *s, size_t n)
{
    if (t->size - t->len < n + 1) {
        t->size = (t->size + n + 1) * 2;
        t->text = realloc(t->text, t->size);
        if (t->text == NULL) {
            abort();
        }
    }
    memcpy(t->text + t->len, s, n);
    t->len += n;
    t->text[t->len] = 0;
}

FRAMING_UNUSED static void
trace_event(struct trace *t, char kind, int number, const u_char *p, size_t n)
{
    char buf[32];

    trace_add(t, buf, (size_t) snprintf(buf, sizeof(buf), "%c", kind));
    if (number >= 0) {
        trace_add(t, buf, (size_t) snprintf(buf, sizeof(buf), " %d", number));
    }
    if (n != 0) {
        trace_add(t, " ", 1);
    }
    for (size_t i = 0; i < n; i++) {
        bool plain = p[i] >= ' ' && p[i] < 127 && p[i] != '\\';

        trace_add(
            t, buf,
            (size_t) snprintf(buf, sizeof(buf), plain ? "%c" : "\\%02x", p[i]));
    }
    trace_add(t, "\n", 1);
}

/* Where the input is cut: the length of the next piece, from 1 to left. */
struct cuts {
    size_t (*next)(struct cuts *c, size_t left);
    size_t at;
    size_t step;
    const uint8_t *more;
    size_t nmore;
};

/* Once, after `at` bytes. */
FRAMING_UNUSED static size_t
cut_once(struct cuts *c, size_t left)
{
    size_t n = c->at != 0 && c->at < left ? c->at : left;

    c->at = 0;
    return n;
}

/* Each `step` bytes. */
FRAMING_UNUSED static size_t
cut_steps(struct cuts *c, size_t left)
{
    return c->step < left ? c->step : left;
}

FRAMING_UNUSED static bool
line_piece(struct trace *t, ngx_electrumx_line_t *l, u_char *p, size_t n)
{
    u_char *pos = p, *msg;
    size_t len;

    for (;;) {
        switch (ngx_electrumx_line_next(l, &pos, p + n, &msg, &len)) {
        case NGX_ELECTRUMX_IN_AGAIN:
            return pos == p + n;
        case NGX_ELECTRUMX_IN_MESSAGE:
            trace_event(t, 'M', (int) len, msg, len);
            break;
        case NGX_ELECTRUMX_IN_OVERSIZED:
            trace_event(t, 'O', -1, NULL, 0);
            break;
        case NGX_ELECTRUMX_IN_NOMEM:
            trace_event(t, 'N', -1, NULL, 0);
            return false;
        default:
            trace_event(t, '?', -1, NULL, 0);
            return false;
        }
    }
}

FRAMING_UNUSED static bool
ws_piece(struct trace *t, ngx_electrumx_ws_t *ws, u_char *p, size_t n)
{
    u_char *pos = p, *msg = NULL;
    size_t len = 0;

    for (;;) {
        switch (ngx_electrumx_ws_next(ws, &pos, p + n, &msg, &len)) {
        case NGX_ELECTRUMX_IN_AGAIN:
            return pos == p + n;
        case NGX_ELECTRUMX_IN_MESSAGE:
            trace_event(t, 'M', (int) len, msg, len);
            break;
        case NGX_ELECTRUMX_IN_OVERSIZED:
            trace_event(t, 'O', ws->code, NULL, 0);
            break;
        case NGX_ELECTRUMX_IN_PING:
            trace_event(t, 'P', -1, msg, len);
            break;
        case NGX_ELECTRUMX_IN_PONG:
            trace_event(t, 'G', -1, msg, len);
            break;
        case NGX_ELECTRUMX_IN_CLOSE:
            trace_event(t, 'C', ws->code, msg, len);
            break;
        case NGX_ELECTRUMX_IN_ERROR:
            trace_event(t, 'E', ws->code, NULL, 0);
            break;
        case NGX_ELECTRUMX_IN_NOMEM:
            trace_event(t, 'N', -1, NULL, 0);
            return false;
        }
    }
}

/* Feeds one parser (the other is NULL) with all of in; false: it stopped. */
FRAMING_UNUSED static bool
framing_feed(struct trace *t, ngx_electrumx_line_t *l, ngx_electrumx_ws_t *ws,
             const void *in, size_t inlen, struct cuts *c)
{
    const u_char *p = in;
    bool good = true;

    while (good && inlen != 0) {
        size_t n = c->next(c, inlen);
        u_char *piece = malloc(n);

        if (piece == NULL) {
            abort();
        }
        memcpy(piece, p, n);
        good =
            l != NULL ? line_piece(t, l, piece, n) : ws_piece(t, ws, piece, n);
        free(piece);
        p += n;
        inlen -= n;
    }
    return good;
}

/* A new parser for the input; the trace is the caller's to free. */
FRAMING_UNUSED static char *
line_trace(const void *in, size_t inlen, size_t max, struct cuts c)
{
    struct trace t = { 0 };
    ngx_electrumx_line_t l;

    trace_add(&t, "", 0);
    ngx_electrumx_line_init(&l, max, framing_resize);
    framing_feed(&t, &l, NULL, in, inlen, &c);
    ngx_electrumx_line_free(&l);
    return t.text;
}

FRAMING_UNUSED static char *
ws_trace(const void *in, size_t inlen, size_t max, struct cuts c)
{
    struct trace t = { 0 };
    ngx_electrumx_ws_t ws;

    trace_add(&t, "", 0);
    ngx_electrumx_ws_init(&ws, max, framing_resize);
    framing_feed(&t, NULL, &ws, in, inlen, &c);
    ngx_electrumx_ws_free(&ws);
    return t.text;
}

#endif /* FRAMING_H */
