/*
 * Handles of rpc.h on scripted daemons, for its unit tests.
 */
#ifndef RPCRUN_H
#define RPCRUN_H

#include "rpc.h"

#include <time.h>

#include "exi_hex.h"
#include "exi_sha256.h"
#include "fakehttp.h"
#include "tap.h"

#define RPC_UNUSED __attribute__((unused))

#define HASH_A                                                                 \
    "00000000000000000000000000000000000000000000000000000000000000aa"
#define HASH_B                                                                 \
    "00000000000000000000000000000000000000000000000000000000000000bb"

static char why[512];

/* A proxy would get every request, the password with it. */
static void
rpc_no_proxy(void)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
}

/* A handle on one or two servers; extra is "user:pass@" or "". */
static RPC_UNUSED struct rpc *
handle(struct fake *a, struct fake *b, const char *extra, const char *cookie,
       long timeout_ms)
{
    struct rpc_opts o = { .cookie = cookie, .timeout_ms = timeout_ms };
    struct rpc *r = NULL;
    char urls[256];
    int n;

    n = snprintf(urls, sizeof(urls), "http://%s127.0.0.1:%u", extra, a->port);
    if (b != NULL) {
        snprintf(urls + n, sizeof(urls) - (size_t) n, ",http://127.0.0.1:%u",
                 b->port);
    }
    o.urls = urls;
    if (rpc_new(&r, &o, why, sizeof(why)) != EXI_OK) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    return r;
}

/* Calls "ask" and drops the result. */
static RPC_UNUSED int
ask(struct rpc *r)
{
    json_t *v = NULL;
    int rc = rpc_call(r, "ask", NULL, &v);

    json_decref(v);
    return rc;
}

static RPC_UNUSED bool
says(struct rpc *r, const char *part)
{
    return ok(strstr(rpc_error(r)->message, part) != NULL, "says \"%s\": %s",
              part, rpc_error(r)->message);
}

static RPC_UNUSED int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif /* RPCRUN_H */
