/*
 * Memory that runs out: each of our allocations fails once, in opening and
 * reading an index, settling and publishing, following in the live layer, the
 * settings and the client of the node.  What is called says EXI_ENOMEM (or gets
 * along without), nothing crashes, nothing is leaked, and the same again with
 * memory succeeds.
 */
#include "tap.h"

#include "nomem.h"
#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include "conf.h"
#include "rpc.h"

#define BLOCKS 14
#define DEEP   10 /* settled */
#define MOST   4000

static struct lr r;

typedef int (*job_pt)(void);

/* Fails the 1st, 2nd ... allocation of a job until it gets by without. */
static void
each_one(const char *name, job_pt job)
{
    long n, said = 0, fine = 0, other = 0, leaks = 0;
    bool fired = true;
    int rc;

    rc = job(); /* what is made once */
    is_int(rc, EXI_OK, "%s: with memory", name);
    for (n = 1; fired && n < MOST; n++) {
        long before = nomem_used;

        nomem_arm(n);
        rc = job();
        fired = nomem_disarm();
        if (nomem_used != before) {
            diag("%s: allocation %ld: %ld leaked", name, n,
                 nomem_used - before);
            leaks++;
        }
        if (fired && rc != EXI_OK && rc != EXI_ENOMEM) {
            diag("%s: allocation %ld: %s", name, n, exi_strerror(rc));
            other++;
        }
        said += fired && rc == EXI_ENOMEM;
        fine += fired && rc == EXI_OK;
    }
    diag("%s: %ld failures: %ld said so, %ld got along", name, n - 2, said,
         fine);
    ok(n > 3 && !fired, "%s: all %ld allocations failed", name, n - 2);
    is_int((int) leaks, 0, "%s: leaks", name);
    is_int((int) other, 0, "%s: other errors than out of memory", name);
    is_int(rc, EXI_OK, "%s: with memory again", name);
}

/*
 * Settled layer: a new index of some blocks, published.
 */
static int
settle_blocks(struct settle *s)
{
    struct exi_live_gen gen;
    int rc = EXI_OK;

    for (int h = 0; h <= DEEP && rc == EXI_OK; h++) {
        const struct lb_block *b = &r.lb->block[r.lb->st.chain[h]];

        rc = settle_add(s, (uint32_t) h, b->raw, b->len);
    }
    if (rc == EXI_OK) {
        rc = settle_commit(s);
    }
    return rc == EXI_OK ? settle_publish(s, &gen) : rc;
}

static int
job_settle(void)
{
    static int n;
    struct settle_opts o = { .network = "regtest",
                             .genesis = r.lb->block[0].hash,
                             .expected_txs = 2000,
                             .keep_generations = 1 };
    struct settle *s = NULL;
    char path[300], why[512] = "";
    int rc;

    snprintf(path, sizeof(path), "%s/s%d", r.dir, n++);
    mkdir(path, 0755);
    o.data_dir = path;
    rc = settle_open(&s, &o, why, sizeof(why));
    if (rc == EXI_OK) {
        rc = settle_blocks(s);
        settle_close(s);
    }
    (void) nftw(path, lr_unlink, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

/*
 * Live layer: the blocks above, the mempool, a block undone.
 */
static int
live_work(void)
{
    int rc = EXI_OK;

    for (int h = DEEP + 1; h <= BLOCKS && rc == EXI_OK; h++) {
        rc = live_begin(r.live);
        if (rc == EXI_OK) {
            rc = lr_connect(&r, r.lb->st.chain[h]);
        }
        if (rc == EXI_OK && h == BLOCKS) {
            rc = live_disconnect(r.live);
        }
        if (rc == EXI_OK && h == BLOCKS) {
            rc = lr_connect(&r, r.lb->st.chain[h]);
        }
        if (rc == EXI_OK) {
            rc = live_commit(r.live, EXI_CHANGE_BLOCK);
        } else {
            live_abort(r.live);
        }
    }
    return rc;
}

static int
live_pool(void)
{
    int rc = live_begin(r.live);

    if (rc != EXI_OK) {
        return rc;
    }
    for (int t = 0; t < r.lb->ntx && rc == EXI_OK; t++) {
        if (r.lb->st.where[t] == LB_POOL) {
            rc = lr_add(&r, t);
        }
    }
    if (rc == EXI_OK) {
        return live_commit(r.live, EXI_CHANGE_MEMPOOL);
    }
    live_abort(r.live);
    return rc;
}

static int
job_live(void)
{
    int rc;

    r.live = NULL;
    rc = lr_open_live(&r);
    if (rc == EXI_OK) {
        rc = live_work();
    }
    if (rc == EXI_OK) {
        rc = live_pool();
    }
    if (rc == EXI_OK) {
        rc = live_serve(r.live);
    }
    if (r.live != NULL) {
        live_close(r.live);
        r.live = NULL;
    }
    return rc;
}

/*
 * A reader's life, from opening to closing.
 */
static void
no_log(void *ctx, int level, const char *text)
{
    (void) ctx;
    (void) level;
    (void) text;
}

static int
nothing(void *ctx, uint64_t seq, const struct exi_live_change *c)
{
    (void) ctx;
    (void) seq;
    (void) c;
    return EXI_OK;
}

/* What queries ask memory for, given back after each. */
static void *given[64];
static size_t ngiven;

static void *
give(void *ctx, size_t n)
{
    void *p = ngiven < 64 ? malloc(n) : NULL;

    (void) ctx;
    if (p != NULL) {
        given[ngiven++] = p;
    }
    return p;
}

static void
take_back(void)
{
    while (ngiven > 0) {
        free(given[--ngiven]);
    }
}

static int
on_hist(void *ctx, const struct exi_hist *h)
{
    (void) h;
    (*(int *) ctx)++;
    return EXI_OK;
}

static int
on_utxo(void *ctx, const struct exi_utxo *u)
{
    (void) u;
    (*(int *) ctx)++;
    return EXI_OK;
}

static int
ask_script(struct exi_view *v, const struct exi_skey *k)
{
    static const struct exi_arena arena = { give, NULL };
    uint8_t status[EXI_HASH_LEN];
    int64_t confirmed, unconfirmed;
    bool some;
    int n = 0;
    int rc = exi_history(v, &arena, k, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, 0,
                         on_hist, &n);

    if (rc == EXI_OK) {
        rc = exi_unspent(v, &arena, k, EXI_TOKENS_INCLUDE, 0, on_utxo, &n);
    }
    if (rc == EXI_OK) {
        rc = exi_balance(v, &arena, k, EXI_TOKENS_INCLUDE, &confirmed,
                         &unconfirmed);
    }
    if (rc == EXI_OK) {
        rc = exi_script_status(v, &arena, k, 0, status, &some);
    }
    take_back();
    return rc;
}

static int
ask_block(struct exi_view *v, uint32_t height)
{
    static const struct exi_arena arena = { give, NULL };
    struct exi_hash branch[64], root;
    uint8_t header[EXI_HEADER_LEN];
    size_t n = 0;
    int rc = exi_header(v, height, header);

    if (rc == EXI_OK) {
        rc = exi_block_branch(v, &arena, height, 0, branch, &n);
    }
    if (rc == EXI_OK) {
        rc = exi_header_proof(v, height, height + 1, &root, branch, &n);
    }
    take_back();
    return rc;
}

static int
ask(struct exi_view *v)
{
    const struct exi_live_state *st = exi_view_state(v);
    int rc = exi_changes(v, st->instance, 0, nothing, NULL);

    rc = rc == EXI_ESTALE ? EXI_OK : rc;
    for (int i = 0; i < 4 && rc == EXI_OK; i++) {
        rc = ask_script(v, &r.lb->skey[i]);
    }
    for (uint32_t h = 3; h < BLOCKS && rc == EXI_OK; h += 4) {
        rc = ask_block(v, h);
    }
    return rc;
}

static int
job_read(void)
{
    struct exi_store *s = NULL;
    struct exi_view *v = NULL;
    int rc = exi_store_new(&s, r.dir, no_log, NULL);

    if (rc != EXI_OK) {
        return rc;
    }
    rc = exi_store_refresh(s);
    if (rc == EXI_OK) {
        rc = exi_view_new(s, &v);
    }
    if (rc == EXI_OK) {
        rc = exi_view_begin(v);
        if (rc == EXI_OK) {
            rc = ask(v);
            exi_view_end(v);
        }
        exi_view_free(v);
    }
    exi_store_free(s);
    return rc;
}

/*
 * Settings and the client of a node that is not there.
 */
static int
job_rpc(void)
{
    struct rpc_opts o = { .urls = "http://u:p@127.0.0.1:1,http://127.0.0.1:1",
                          .cookie = "/nonexistent",
                          .timeout_ms = 200 };
    struct rpc *rpc = NULL;
    json_t *v = NULL;
    char why[256];
    int rc = rpc_new(&rpc, &o, why, sizeof(why));

    if (rc != EXI_OK) {
        return rc;
    }
    rc = rpc_call(rpc, "getblockcount", json_array(), &v);
    rpc_free(rpc);
    return rc == EXI_ENET ? EXI_OK : rc;
}

static int
job_conf(void)
{
    static char program[] = "electrumx-indexer", d[] = "--data-dir",
                path[] = "/d", n[] = "--network", regtest[] = "regtest",
                u[] = "--daemon-url", url[] = "http://127.0.0.1:1";
    char *argv[] = { program, d, path, n, regtest, u, url, NULL };
    enum conf_action action = CONF_RUN;
    struct conf c;
    char why[512] = "";
    int rc = conf_load(&c, &action, 7, argv, why, sizeof(why));

    if (rc == EXI_OK) {
        conf_free(&c);
        return rc;
    }
    return strstr(why, "memory") != NULL ? EXI_ENOMEM : rc;
}

int
main(void)
{
    rnd_init();
    lr_make(&r, BLOCKS);
    for (int i = 0; i < 5; i++) {
        int t = lb_make_tx(r.lb, &r.lb->st, lb_ok_unspent);

        if (t >= 0) {
            r.lb->st.where[t] = LB_POOL;
        }
    }
    each_one("settings", job_conf);
    each_one("node", job_rpc);
    each_one("settled layer", job_settle);
    lr_open_settle(&r);
    lr_settle(&r, &r.lb->st, DEEP);
    each_one("live layer", job_live);
    each_one("reader", job_read);
    settle_close(r.settle);
    lr_remove_dir(&r);
    lb_free(r.lb);
    return done_testing();
}
