/*
 * Noise for clients of 1.7 on: notifications "server.ping" of the length of a
 * status, so that somebody who sees only encrypted traffic learns less about
 * what a client is subscribed to.  As ElectrumX has it: a client that was told
 * fewer than two things about a block gets one for sure, each client a few more
 * by chance; between blocks there is one in ten minutes or so.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_NOISE_LEN      128      /* hex digits */
#define NGX_ELECTRUMX_NOISE_MOST     8        /* by chance, for a block */
#define NGX_ELECTRUMX_NOISE_TURN     5000     /* ms between looks */
#define NGX_ELECTRUMX_NOISE_MEAN     600000   /* ms between mempool noise */


static void ngx_electrumx_noise_of_block(ngx_electrumx_session_t *s);
static void ngx_electrumx_noise_ping(ngx_electrumx_session_t *s);


void
ngx_electrumx_noise_block(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state)
{
    ngx_queue_t              *q;
    ngx_electrumx_session_t  *s;

    state->block = 1;

    for (q = ngx_queue_head(&index->sessions);
         q != ngx_queue_sentinel(&index->sessions);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_electrumx_session_t, queue);
        s->nnotified = 0;
    }
}


void
ngx_electrumx_noise_send(ngx_electrumx_index_t *index,
    ngx_electrumx_state_t *state)
{
    ngx_uint_t                block, chance;
    ngx_msec_t                elapsed;
    ngx_queue_t              *q;
    ngx_electrumx_session_t  *s;

    block = state->block;
    elapsed = ngx_current_msec - state->noise;

    if (!block && elapsed < NGX_ELECTRUMX_NOISE_TURN) {
        return;
    }

    state->block = 0;
    state->noise = ngx_current_msec;

    /* a pause does not make up for the noise it was without */

    chance = NGX_ELECTRUMX_NOISE_MEAN / NGX_ELECTRUMX_NOISE_TURN;

    for (q = ngx_queue_head(&index->sessions);
         q != ngx_queue_sentinel(&index->sessions);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_electrumx_session_t, queue);

        if (s->protocol < NGX_ELECTRUMX_V(1, 7, 0)) {
            continue;
        }

        if (block) {
            ngx_electrumx_noise_of_block(s);

        } else if (ngx_random() % chance == 0) {
            ngx_electrumx_noise_ping(s);
        }
    }
}


static void
ngx_electrumx_noise_of_block(ngx_electrumx_session_t *s)
{
    ngx_uint_t  i;

    if (s->nnotified < 2) {
        ngx_electrumx_noise_ping(s);
    }

    for (i = 0; i < NGX_ELECTRUMX_NOISE_MOST && ngx_random() % 10 == 0; i++) {
        ngx_electrumx_noise_ping(s);
    }
}


static void
ngx_electrumx_noise_ping(ngx_electrumx_session_t *s)
{
    char                  zeros[NGX_ELECTRUMX_NOISE_LEN];
    ngx_electrumx_out_t  *out;

    out = ngx_electrumx_out_new(s);

    if (out == NULL) {
        ngx_electrumx_session_close(s, NGX_ERROR);
        return;
    }

    ngx_memset(zeros, '0', sizeof(zeros));

    exi_jw_lit(&out->jw, "{\"jsonrpc\":\"2.0\",\"method\":\"server.ping\","
                         "\"params\":[\"");
    exi_jw_raw(&out->jw, zeros, sizeof(zeros));
    exi_jw_lit(&out->jw, "\"]}");

    ngx_electrumx_out_send(out);
}
