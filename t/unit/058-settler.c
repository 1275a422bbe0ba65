/*
 * The settle thread against a scripted node: jobs and their results, batches
 * bounded by memory, blocks that are settled already, a node that fails, giving
 * a job up while the node does not answer, ending.
 */
#include "settler.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../lib/tap.h"

#include "../lib/settlecheck.h"
#include "fakehttp.h"

#define BLOCKS 60

static struct cm m = { .scripts = 40, .txs_max = 12 };
static struct settle *settle;
static struct settler *s;
static char why[512], data[300];
static atomic_int fail_at = -1, hang_at = -1; /* numbers of blocks */

/* The block that is asked for by REST; -1: another request. */
static int
asked(const struct fake_request *q)
{
    char hex[65];

    for (size_t i = 0; i < m.nblocks; i++) {
        exi_hex_display(hex, m.blocks[i].hash.b);
        hex[64] = '\0';
        if (strstr(q->line, hex) != NULL) {
            return (int) i;
        }
    }
    return -1;
}

static bool
answer(struct fake *f, int fd, const struct fake_request *q)
{
    char head[128];
    int i = asked(q);

    if (i < 0) {
        fake_error(fd, -32601, "no such method");
        return true;
    }
    if (i == atomic_load(&hang_at)) {
        fake_hang(f);
        return false;
    }
    if (i == atomic_load(&fail_at)) {
        fake_http(fd, 404, "", "not found\n");
        return true;
    }
    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
             m.blocks[i].rawlen);
    fake_send(fd, head, strlen(head));
    fake_send(fd, m.blocks[i].raw, m.blocks[i].rawlen);
    return true;
}

/* Gives blocks first ... last. */
static void
give(uint32_t first, uint32_t last, uint64_t have)
{
    struct settler_job job = { .first = first, .have = have };

    job.n = last + 1 - first;
    job.hashes = calloc(job.n + 1, sizeof(*job.hashes));
    for (uint32_t i = 0; i < job.n; i++) {
        job.hashes[i] = m.blocks[first + i].hash;
    }
    settler_give(s, &job);
}

static struct settler_result
take(void)
{
    struct pollfd p = { settler_fd(s), POLLIN, 0 };
    struct settler_result r = { .rc = EXI_EAPI };

    if (poll(&p, 1, 20000) != 1 || !settler_take(s, &r)) {
        ok(false, "no result");
    }
    return r;
}

static void
test_jobs(void)
{
    struct settler_result r;
    uint64_t number;
    struct exi_skey k;
    int64_t value;

    ok(!settler_busy(s) && !settler_take(s, &r), "idle at first");
    give(0, 20, 0);
    ok(settler_busy(s), "busy");
    r = take();
    ok(!settler_busy(s), "idle");
    is_int(r.rc, EXI_OK, "settled");
    is_int(r.settled.height, 20, "height, in batches of a block");
    ok(r.past != NULL && r.gen.height == 20, "a new generation, opened");
    if (r.past != NULL) {
        is_int(exi_past_prevout(r.past, &m.txs[0].txid, 0, &k, &value),
               EXI_ENOTFOUND, "the genesis output has no row");
    }
    settler_bury(s, r.past);
    number = r.gen.number;

    give(15, 30, number);
    r = take();
    is_int(r.rc, EXI_OK, "some were settled already");
    ok(r.settled.height == 30 && r.past != NULL, "the others are now");
    settler_bury(s, r.past);
    number = r.gen.number;

    give(31, 30, number);
    r = take();
    ok(r.rc == EXI_OK && r.past == NULL, "nothing to do, nothing new");
    give(31, 30, 0);
    r = take();
    ok(r.rc == EXI_OK && r.past != NULL && r.gen.number == number,
       "the same generation for one who has not got it");
    settler_bury(s, r.past);
}

static void
test_failures(struct fake *f)
{
    struct settler_result r;
    int stop = eventfd(0, 0);

    atomic_store(&fail_at, 40);
    give(31, 45, 0);
    r = take();
    is_int(r.rc, EXI_ENOTFOUND, "the node does not have a block");
    is_int(r.settled.height, 39, "those before it are durable");
    ok(r.past == NULL, "nothing is published");
    atomic_store(&fail_at, -1);

    give(42, 45, 0);
    r = take();
    is_int(r.rc, EXI_EAPI, "blocks that do not follow");
    is_int(r.settled.height, 39, "are not settled");

    atomic_store(&hang_at, 44);
    give(40, 50, 0);
    fake_wait_hanging(f, 1);
    ok(settler_quiet(s, stop), "given up while the node does not answer");
    ok(!settler_busy(s), "idle");
    is_int(settle_meta(settle)->height, 43, "ours again");
    fake_release(f, true);
    atomic_store(&hang_at, -1);
    give(44, 50, 0);
    r = take();
    is_int(r.rc, EXI_OK, "and on it goes");
    is_int(r.settled.height, 50, "height");
    settler_bury(s, r.past);
    close(stop);
}

/* A result that nobody takes, what is buried, and a request under way. */
static void
test_end(struct fake *f)
{
    fake_release(f, false);
    atomic_store(&hang_at, 55);
    give(51, 59, 0);
    fake_wait_hanging(f, 1);
    ok(settler_stop(s, 20000), "ended while the node does not answer");
    is_int(settle_meta(settle)->height, 54, "what was done is durable");
    fake_release(f, true);
    ok(settler_stop(NULL, 0), "none");
}

int
main(void)
{
    struct fake *f;
    struct settler_opts o = { .data_dir = data, .batch_bytes = 1 };
    const char *tmp = sc_tmp();
    struct settle_opts so;
    char url[64];

    rnd_init();
    cm_grow(&m, BLOCKS, rnd());
    snprintf(data, sizeof(data), "%s/data", tmp);
    mkdir(data, 0755);
    so = sc_opts(&m, data);
    f = fake_start(answer, NULL);
    snprintf(url, sizeof(url), "http://u:p@127.0.0.1:%u", f->port);
    o.rpc.urls = url;
    is_int(settle_open(&settle, &so, why, sizeof(why)), EXI_OK, "open%s", why);
    is_int(settler_start(&s, &o, settle, why, sizeof(why)), EXI_OK, "start");
    test_jobs();
    test_failures(f);
    test_end(f);
    settle_close(settle);
    fake_stop(f);
    sc_remove(tmp);
    cm_free(&m);
    return done_testing();
}
