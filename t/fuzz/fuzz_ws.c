/*
 * Fuzz target: ngx_electrumx_ws.  However the input is cut, the same is found
 * in it; messages keep the limit and are UTF-8, nothing follows the end.
 * Byte 0: longest message less one, by 4; byte 1: length of the pieces less
 * one; the rest is the input.
 */
#include "fuzz.h"

#include "framing.h"

static size_t
cut_none(struct cuts *c, size_t left)
{
    (void) c;
    return left;
}

/* Each event in the input in one piece. */
static void
check(const uint8_t *buf, size_t buflen, size_t max)
{
    ngx_electrumx_ws_t ws;
    ngx_electrumx_in_e rc;
    u_char *in = malloc(buflen + 1), *pos = in, *msg = NULL;
    size_t len = 0;
    bool ended = false;

    FUZZ_ASSERT(in != NULL);
    memcpy(in, buf, buflen);
    ngx_electrumx_ws_init(&ws, max, framing_resize);
    while ((rc = ngx_electrumx_ws_next(&ws, &pos, in + buflen, &msg, &len))
           != NGX_ELECTRUMX_IN_AGAIN) {
        ngx_electrumx_utf8_t u = { 0 };

        FUZZ_ASSERT(!ended);
        FUZZ_ASSERT(pos <= in + buflen);
        switch (rc) {
        case NGX_ELECTRUMX_IN_MESSAGE:
            FUZZ_ASSERT(len != 0 && len <= max);
            FUZZ_ASSERT(ngx_electrumx_utf8_check(&u, msg, len) == 0);
            FUZZ_ASSERT(u.left == 0);
            break;
        case NGX_ELECTRUMX_IN_PING:
        case NGX_ELECTRUMX_IN_PONG:
            FUZZ_ASSERT(len <= NGX_ELECTRUMX_WS_CTL_MAX);
            break;
        case NGX_ELECTRUMX_IN_OVERSIZED:
            ended = ws.code == NGX_ELECTRUMX_WS_TOO_BIG;
            FUZZ_ASSERT(ended);
            break;
        case NGX_ELECTRUMX_IN_ERROR:
            ended = ws.code == NGX_ELECTRUMX_WS_PROTOCOL
                    || ws.code == NGX_ELECTRUMX_WS_BAD_DATA;
            FUZZ_ASSERT(ended);
            break;
        case NGX_ELECTRUMX_IN_CLOSE:
            ended = true;
            FUZZ_ASSERT(len <= NGX_ELECTRUMX_WS_CTL_MAX - 2);
            break;
        default:
            FUZZ_ASSERT(!"a known event");
        }
    }
    FUZZ_ASSERT(pos == in + buflen);
    ngx_electrumx_ws_free(&ws);
    free(in);
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    char *want, *got;
    size_t max;

    if (buflen < 2) {
        return 0;
    }
    max = (buf[0] + 1u) * 4;
    check(buf + 2, buflen - 2, max);
    want =
        ws_trace(buf + 2, buflen - 2, max, (struct cuts){ .next = cut_none });
    got = ws_trace(buf + 2, buflen - 2, max,
                   (struct cuts){ .next = cut_steps, .step = buf[1] + 1u });
    FUZZ_ASSERT(strcmp(got, want) == 0);
    FUZZ_ASSERT(framing_mem.live == 0);
    free(got);
    free(want);
    return 0;
}
