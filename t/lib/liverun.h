/*
 * A data directory with the real settled and live layers, driven by the model
 * of livebuild.h, and readers in processes of their own (an LMDB environment
 * must not be opened twice in one process).  Include tap.h, rnd.h and
 * livebuild.h first.
 */
#ifndef LIVERUN_H
#define LIVERUN_H

#include <ftw.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exi_coin.h"
#include "live.h"
#include "settle.h"

struct lr {
    struct lb *lb;
    char dir[200];
    struct settle *settle;
    struct live *live;
    struct exi_live_gen gens[EXI_LIVE_GENS_MAX];
    size_t ngens;
    size_t map_bytes;
    uint64_t expected; /* transactions, for the buckets; 0: 2,000 */
};

static int
lr_prevout(void *ctx, const struct exi_txid *txid, uint32_t index,
           struct exi_skey *script, int64_t *value_sat)
{
    return settle_prevout(ctx, txid, index, script, value_sat);
}

static int
lr_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

/* The directory to remove, and the process that does so. */
static char lr_made[200];
static pid_t lr_maker;

/* Ends the test when something that must work does not. */
#define lr_must(rc) lr_must_at((rc), #rc, __FILE__, __LINE__)
static void
lr_must_at(int rc, const char *what, const char *file, int line)
{
    if (rc != EXI_OK) {
        printf("Bail out! %s: %s at %s:%d\n", what, exi_strerror(rc), file,
               line);
        fflush(stdout);
        if (getpid() == lr_maker) {
            (void) nftw(lr_made, lr_unlink, 16, FTW_DEPTH | FTW_PHYS);
        }
        _exit(1);
    }
}

LB_UNUSED static void
lr_open_settle(struct lr *r)
{
    struct settle_opts o = { .data_dir = r->dir,
                             .network =
                                 lb_cash ? "bitcoincash-regtest" : "regtest",
                             .genesis = r->lb->block[0].hash,
                             .expected_txs = r->expected ? r->expected : 2000,
                             .keep_generations = 1 };
    char why[512] = "";
    int rc = settle_open(&r->settle, &o, why, sizeof why);

    if (rc) {
        printf("# %s\n", why);
    }
    lr_must(rc);
}

/* Settles up to a height of the state's chain and publishes. */
LB_UNUSED static struct exi_live_gen
lr_settle(struct lr *r, const struct lb_state *st, int height)
{
    struct exi_live_gen gen;
    int h =
        settle_any(r->settle) ? (int) settle_meta(r->settle)->height + 1 : 0;

    for (; h <= height; h++) {
        const struct lb_block *b = &r->lb->block[st->chain[h]];
        lr_must(settle_add(r->settle, (uint32_t) h, b->raw, b->len));
    }
    lr_must(settle_commit(r->settle));
    lr_must(settle_publish(r->settle, &gen));
    return gen;
}

/* A new live environment on the newest generation, not yet served. */
LB_UNUSED static int
lr_open_live(struct lr *r)
{
    struct live_opts o = { .data_dir = r->dir,
                           .map_bytes = r->map_bytes,
                           .coin = exi_coin_flags(
                               settle_params(r->settle)->network),
                           .prevout = lr_prevout,
                           .prevout_ctx = r->settle };

    r->ngens = settle_generations(r->settle, r->gens, 1);
    return live_create(&r->live, &o, r->gens, r->ngens,
                       settle_meta(r->settle)->tx_count);
}

LB_UNUSED static int
lr_connect(struct lr *r, int block)
{
    const struct lb_block *b = &r->lb->block[block];

    return live_connect(r->live, (uint32_t) b->height, &b->hash, b->raw,
                        b->len);
}

LB_UNUSED static int
lr_add(struct lr *r, int tx)
{
    return live_mempool_add(r->live, r->lb->tx[tx].raw, r->lb->tx[tx].len,
                            1700000000000u + (uint64_t) tx);
}

/* Where to make directories: in memory, if there is enough of it. */
static const char *
lr_tmp(void)
{
    const char *tmp = getenv("TMPDIR");
    struct statvfs v;

    if (tmp != NULL && *tmp != 0) {
        return tmp;
    }
    if (access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &v) == 0
        && (uint64_t) v.f_bavail * v.f_frsize > 1u << 30) {
        return "/dev/shm";
    }
    return "/tmp";
}

/* Makes an empty directory. */
LB_UNUSED static void
lr_dir(struct lr *r)
{
    snprintf(r->dir, sizeof r->dir, "%s/exi-live-XXXXXX", lr_tmp());
    if (mkdtemp(r->dir) == NULL) {
        lr_must(EXI_EIO);
    }
    memcpy(lr_made, r->dir, sizeof lr_made);
    lr_maker = getpid();
}

/* Model chain of genesis and n blocks in an empty directory. */
LB_UNUSED static void
lr_make(struct lr *r, int n)
{
    struct lb *lb = lb_new();

    r->lb = lb;
    r->map_bytes = 256u << 20;
    for (int i = 0; i <= n; i++) {
        lb_connect(lb, &lb->st, lb_make_block(lb, &lb->st, 0, i > 2 ? 3 : 0));
    }
    lr_dir(r);
}

/* As lr_make(), all settled, with a live environment. */
LB_UNUSED static void
lr_start(struct lr *r, int n)
{
    lr_make(r, n);
    lr_open_settle(r);
    lr_settle(r, &r->lb->st, n);
    lr_must(lr_open_live(r));
    lr_must(live_serve(r->live));
}

LB_UNUSED static void
lr_remove_dir(struct lr *r)
{
    (void) nftw(r->dir, lr_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

LB_UNUSED static void
lr_stop(struct lr *r)
{
    live_close(r->live);
    settle_close(r->settle);
    lr_remove_dir(r);
    lb_free(r->lb);
}

static void
lr_log(void *ctx, int level, const char *text)
{
    (void) ctx;
    printf("# reader: %d %s\n", level, text);
}

/* Runs fn with a fresh view in another process; true if it returned 0. */
typedef int (*lr_view_pt)(struct lr *r, struct exi_view *v, void *ctx);
LB_UNUSED static bool
lr_view(struct lr *r, lr_view_pt fn, void *ctx)
{
    struct exi_store *s;
    struct exi_view *v;
    int rc, status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid != 0) {
        waitpid(pid, &status, 0);
        return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    lr_must(exi_store_new(&s, r->dir, lr_log, NULL));
    lr_must(exi_store_refresh(s));
    lr_must(exi_view_new(s, &v));
    lr_must(exi_view_begin(v));
    rc = fn(r, v, ctx);
    if (rc) {
        printf("# view: %s\n", exi_strerror(rc));
    }
    exi_view_end(v);
    exi_view_free(v);
    exi_store_free(s);
    fflush(stdout);
    _exit(rc ? 1 : 0);
}

/* Are all answers of the view those of a model's state? */
LB_UNUSED static int
lr_compare(struct lr *r, struct exi_view *v, void *ctx)
{
    const struct lb_state *st = ctx;
    struct lb_text got = { 0 }, want = { 0 };
    int rc = lb_view_chain(&got, r->lb, v);

    lb_model_chain(&want, r->lb, st);
    for (int i = 0; i < LB_SCRIPTS && rc == EXI_OK; i++) {
        rc = lb_view_script(&got, r->lb, v, i);
        lb_model_script(&want, r->lb, st, i);
    }
    if (rc == EXI_OK && !lb_same(&got, &want)) {
        rc = EXI_EFORMAT;
    }
    free(got.p);
    free(want.p);
    return rc;
}

#endif /* LIVERUN_H */
