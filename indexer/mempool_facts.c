/*
 * Facts that workers serve as they are: the node's summary of its mempool, its
 * network info, and the fee histogram, which is made from the live layer.
 */
#include "sync.h"

#include <stdlib.h>
#include <string.h>

#include "fees.h"
#include "rpc_json.h"

#define FACTS_MS   60000
#define STORE_MS   100 /* between two commits of facts */
#define HIST_SHARE 50 /* a histogram may take one part of so many of the time */

static int
note_fee(void *ctx, const struct exi_live_tx *tx)
{
    return fees_add(ctx, tx->fee_sat, tx->vsize);
}

static int
fact_histogram(struct sync *s)
{
    struct fees *f = fees_new();
    char *json;
    int rc;

    if (f == NULL) {
        return EXI_ENOMEM;
    }
    rc = live_mempool_each(s->live, note_fee, f);
    json = rc == EXI_OK ? fees_histogram(f) : NULL;
    if (rc == EXI_OK) {
        rc = json == NULL ? EXI_ENOMEM
                          : live_fact(s->live, "fees", json, strlen(json));
    }
    free(json);
    fees_free(f);
    return rc;
}

/* Node's network info; nothing when it can't be had. */
static void
ask_network(struct sync *s, struct rpc_buf *text)
{
    json_t *r = NULL;

    if (rpc_call(s->rpc, "getnetworkinfo", json_array(), &r) == EXI_OK) {
        if (rpc_json_text(text, r) != EXI_OK) {
            text->len = 0;
        }
        json_decref(r);
    }
}

static int
store_text(struct sync *s, const char *name, const struct rpc_buf *text)
{
    return text->len == 0
               ? EXI_OK
               : live_fact(s->live, name, (const char *) text->data, text->len);
}

static int
store_facts(struct sync *s, const struct rpc_buf *network, bool histogram)
{
    int rc = live_begin(s->live);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = store_text(s, "mempoolinfo", &s->mempool_info);
    if (rc == EXI_OK) {
        rc = store_text(s, "network", network);
    }
    if (rc == EXI_OK && histogram) {
        rc = fact_histogram(s);
    }
    if (rc == EXI_OK) {
        rc = live_commit(s->live, EXI_CHANGE_MEMPOOL);
    } else {
        live_abort(s->live);
    }
    return rc;
}

/* Is the histogram due?  It takes the whole mempool to make: so that it takes
 * a small part of our time, it follows the changes the later the larger it is. */
static bool
histogram_due(const struct sync *s, uint64_t now)
{
    return s->hist_ms == 0 || now - s->hist_ms >= s->hist_cost_ms * HIST_SHARE;
}

bool
mempool_facts_due(const struct sync *s)
{
    uint64_t now = sync_now_ms();

    if (s->facts_ms != 0) {
        return now - s->facts_ms >= FACTS_MS;
    }
    return now - s->stored_ms >= STORE_MS
           && (histogram_due(s, now) || s->info_ms > s->stored_ms);
}

int
mempool_facts(struct sync *s)
{
    uint64_t now = sync_now_ms();
    bool histogram = histogram_due(s, now);
    struct rpc_buf network = { NULL, 0, 0 };
    int rc;

    if (!mempool_facts_due(s)) {
        return EXI_OK;
    }
    if (s->network_ms == 0 || now - s->network_ms >= FACTS_MS) {
        ask_network(s, &network);
        s->network_ms = now;
    }
    rc = store_facts(s, &network, histogram);
    rpc_buf_free(&network);
    if (rc == EXI_OK) {
        s->stored_ms = sync_now_ms();
        /* what the histogram does not know yet comes with the next */
        s->facts_ms = histogram ? s->stored_ms : s->facts_ms;
    }
    if (rc == EXI_OK && histogram) {
        s->hist_ms = s->stored_ms;
        s->hist_cost_ms = s->stored_ms - now;
    }
    return rc;
}
