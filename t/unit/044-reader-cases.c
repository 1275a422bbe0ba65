/*
 * The read-only side, case by case: limits, long histories, damaged or missing
 * files, a view that is held while the writer moves on, another environment.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <fcntl.h>

#define BLOCKS 90

static struct lr r;

/*
 * Limits and long histories.
 */

struct counted {
    uint64_t n;
    int stop_at;
};

static int
count_hist(void *ctx, const struct exi_hist *h)
{
    struct counted *c = ctx;

    (void) h;
    return (int) ++c->n == c->stop_at ? 77 : 0;
}

static int
count_utxo(void *ctx, const struct exi_utxo *u)
{
    (void) u;
    ++((struct counted *) ctx)->n;
    return 0;
}

/* Entries of script 0 in the model: all, confirmed, unspent. */
static void
model_counts(int *all, int *conf, int *unspent)
{
    const struct lb *lb = r.lb;
    struct lb_entry *e = malloc(LB_MAX_TX * sizeof *e);

    *all = lb_history(lb, &lb->st, 0, e);
    *conf = *unspent = 0;
    for (int i = 0; i < *all; i++) {
        *conf += e[i].height > 0;
        for (int j = 0; j < lb->tx[e[i].tx].nout; j++) {
            *unspent += lb->tx[e[i].tx].out[j].script == 0
                        && lb_spender(lb, &lb->st, e[i].tx, (uint32_t) j) < 0;
        }
    }
    free(e);
}

static int
hist_count(struct exi_view *v, unsigned flags, int limit, struct counted *c)
{
    c->n = 0;
    return exi_history(v, &lb_arena, &r.lb->skey[0], flags, (uint64_t) limit,
                       count_hist, c);
}

static int
check_limits(struct lr *run, struct exi_view *v, void *ctx)
{
    const struct exi_skey *s = &run->lb->skey[0];
    int all, conf, unspent, bad = 0;
    struct counted c = { 0 };
    uint8_t d[32];
    bool some;
    (void) ctx;

    model_counts(&all, &conf, &unspent);
    bad |= hist_count(v, 3, conf, &c) != EXI_OK || (int) c.n != all;
    bad |= hist_count(v, 3, conf - 1, &c) != EXI_ELIMIT || c.n != 0;
    bad |= (hist_count(v, 1, 0, &c) != EXI_OK || (int) c.n != conf) << 1;
    bad |= (hist_count(v, 2, 1, &c) != EXI_OK || (int) c.n != all - conf) << 1;
    c.stop_at = 5;
    bad |= (hist_count(v, 3, 0, &c) != 77 || c.n != 5) << 2;
    c.n = 0;
    bad |= (exi_unspent(v, &lb_arena, s, EXI_TOKENS_INCLUDE, (uint64_t) unspent,
                        count_utxo, &c)
                != EXI_OK
            || (int) c.n != unspent)
           << 3;
    c.n = 0;
    bad |= (exi_unspent(v, &lb_arena, s, EXI_TOKENS_INCLUDE,
                        (uint64_t) unspent - 1, count_utxo, &c)
                != EXI_ELIMIT
            || c.n != 0)
           << 4;
    bad |= (exi_script_status(v, &lb_arena, s, 3, d, &some) != EXI_ELIMIT) << 5;
    printf("# %d entries, %d confirmed, %d unspent\n", all, conf, unspent);
    return bad || conf < 1100 ? EXI_EFORMAT : EXI_OK;
}

static int
check_blocks(struct lr *run, struct exi_view *v, void *ctx)
{
    uint32_t tip = exi_view_state(v)->tip_height, ntx;
    struct exi_hash root, branch[EXI_MERKLE_MAX];
    uint8_t header[EXI_HEADER_LEN];
    struct exi_blkid hash;
    struct exi_txid id = { { 1 } };
    struct exi_txpos p;
    size_t n;
    (void) run;
    (void) ctx;

    return exi_header(v, tip + 1, header) == EXI_ENOTFOUND
                   && exi_block_hash(v, tip + 1, &hash) == EXI_ENOTFOUND
                   && exi_block_ntx(v, UINT32_MAX, &ntx) == EXI_ENOTFOUND
                   && exi_block_txid(v, tip, 1000, &id) == EXI_ENOTFOUND
                   && exi_block_txid(v, 3, 1000, &id) == EXI_ENOTFOUND
                   && exi_block_branch(v, &lb_arena, 3, 1000, branch, &n)
                          == EXI_ENOTFOUND
                   && exi_header_proof(v, 3, tip + 1, &root, branch, &n)
                          == EXI_EAPI
                   && exi_header_proof(v, 4, 3, &root, branch, &n) == EXI_EAPI
                   && exi_tx_find(v, &id, &p) == EXI_ENOTFOUND
                   && exi_view_begin(v) == EXI_EAPI
                   && strcmp(exi_view_params(v)->network, "regtest") == 0
               ? EXI_OK
               : EXI_EFORMAT;
}

static void
long_history(void)
{
    ok(lr_view(&r, lr_compare, &r.lb->st), "answers equal the model's");
    ok(lr_view(&r, check_limits, NULL), "limits");
    ok(lr_view(&r, check_blocks, NULL), "what is not there");
}

/*
 * Damage.
 */

/* What a fresh reader says: of the refresh, else of the view. */
static int
open_result(void)
{
    struct exi_store *s;
    struct exi_view *v;
    int status = 0, rc;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid != 0) {
        waitpid(pid, &status, 0);
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
    }
    lr_must(exi_store_new(&s, r.dir, NULL, NULL));
    lr_must(exi_view_new(s, &v));
    rc = exi_store_refresh(s);
    if (rc == EXI_OK) {
        rc = exi_view_begin(v);
        exi_view_end(v);
    }
    exi_view_free(v);
    exi_store_free(s);
    _exit(-rc);
}

static void
gen_path(char out[400], const char *file)
{
    snprintf(out, 400, "%s/generations/%010llu/%s", r.dir,
             (unsigned long long) r.gens[r.ngens - 1].number, file);
}

/* Changes one byte of a file; returns the old one. */
static int
poke(const char *file, off_t at, int value)
{
    char path[400];
    uint8_t old, b;
    int fd;

    gen_path(path, file);
    fd = open(path, O_RDWR);
    lr_must(fd >= 0 && pread(fd, &old, 1, at) == 1 ? EXI_OK : EXI_EIO);
    b = (uint8_t) (value < 0 ? old ^ 1 : value);
    lr_must(pwrite(fd, &b, 1, at) == 1 ? EXI_OK : EXI_EIO);
    close(fd);
    return old;
}

static void
without(const char *file, int want, const char *name)
{
    char path[400], away[400];

    gen_path(path, file);
    snprintf(away, sizeof away, "%s/away", r.dir);
    lr_must(rename(path, away) == 0 ? EXI_OK : EXI_EIO);
    is_int(open_result(), want, "%s", name);
    lr_must(rename(away, path) == 0 ? EXI_OK : EXI_EIO);
}

static void
damaged(void)
{
    char path[400], away[400];
    int old;

    is_int(open_result(), EXI_OK, "whole");
    old = poke("manifest", 60, -1);
    is_int(open_result(), EXI_EFORMAT, "manifest: a bit");
    (void) poke("manifest", 60, old);
    old = poke("manifest", 21, '9');
    is_int(open_result(), EXI_EVERSION, "manifest: another version");
    (void) poke("manifest", 21, old);
    without("manifest", EXI_EIO, "no manifest");
    without("lease", EXI_EIO, "no lease");
    without("flat/txids.000000", EXI_EIO, "no segment");
    without("db/CURRENT", EXI_EIO, "no CURRENT");
    gen_path(path, "flat/headers.000000");
    snprintf(away, sizeof away, "%s/away", r.dir);
    lr_must(rename(path, away) == 0 ? EXI_OK : EXI_EIO);
    old = open(path, O_WRONLY | O_CREAT, 0644);
    lr_must(ftruncate(old, 100) == 0 ? EXI_OK : EXI_EIO);
    close(old);
    is_int(open_result(), EXI_EFORMAT, "a segment that is too short");
    lr_must(rename(away, path) == 0 ? EXI_OK : EXI_EIO);
    is_int(open_result(), EXI_OK, "whole again");
}

/*
 * A view that is held.
 */

static int up[2], down[2]; /* bytes to and from the reader */

static void
tell(int fd)
{
    lr_must(write(fd, "x", 1) == 1 ? EXI_OK : EXI_EIO);
}

static void
wait_for(int fd)
{
    char c;

    lr_must(read(fd, &c, 1) == 1 ? EXI_OK : EXI_EIO);
}

/* Compares what a held view says with the model as of the fork. */
static int
hold(void)
{
    struct exi_store *s;
    struct exi_view *v, *idle;
    int rc;

    lr_must(exi_store_new(&s, r.dir, lr_log, NULL));
    lr_must(exi_store_refresh(s));
    lr_must(exi_view_new(s, &v));
    lr_must(exi_view_new(s, &idle));
    lr_must(exi_view_begin(idle));
    exi_view_end(idle);
    lr_must(exi_view_begin(v));
    tell(up[1]);
    wait_for(down[0]); /* published, trimmed, pruned */
    lr_must(exi_store_refresh(s));
    rc = lr_compare(&r, v, &r.lb->st);
    exi_view_end(v);
    lr_must(exi_view_begin(v));
    rc = exi_view_state(v)->live_floor > r.gens[r.ngens - 1].height + 1
             ? rc
             : EXI_EFORMAT;
    exi_view_end(v);
    lr_must(exi_store_refresh(s));
    tell(up[1]);
    wait_for(down[0]); /* nothing holds the old generation */
    exi_view_free(v);
    exi_view_free(idle);
    exi_store_free(s);
    return rc;
}

/* Two blocks more, settled, published, trimmed. */
static void
move_on(void)
{
    struct lb *lb = r.lb;
    struct exi_live_gen gen;
    bool done = false;

    for (int i = 0; i < 2; i++) {
        int b = lb_make_block(lb, &lb->st, 50, 2);
        lr_must(live_begin(r.live));
        lr_must(lr_connect(&r, b));
        lb_connect(lb, &lb->st, b);
        lr_must(live_commit(r.live, EXI_CHANGE_BLOCK));
    }
    gen = lr_settle(&r, &lb->st, lb->st.height);
    lr_must(live_begin(r.live));
    lr_must(live_generations(r.live, &gen, 1));
    lr_must(live_trim(r.live, gen.height + 1, 999, &done));
    lr_must(live_commit(r.live, EXI_CHANGE_SETTLED));
    r.gens[0] = gen;
    r.ngens = 1;
}

static void
held(void)
{
    uint64_t old = r.gens[r.ngens - 1].number;
    int status = 1;
    pid_t pid;

    lr_must(pipe(up) == 0 && pipe(down) == 0 ? EXI_OK : EXI_EIO);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int rc = hold();
        fflush(stdout);
        _exit(rc ? 1 : 0);
    }
    wait_for(up[0]);
    ok(settle_leased(r.settle, old), "the generation is leased");
    move_on();
    settle_prune(r.settle, r.gens, r.ngens);
    tell(down[1]);
    wait_for(up[0]);
    ok(!settle_leased(r.settle, old), "idle views let go of it");
    ok(settle_leased(r.settle, r.gens[0].number), "the new one is leased");
    tell(down[1]);
    waitpid(pid, &status, 0);
    is_int(status, 0, "a held view goes on showing what it showed");
}

/* A reader meets a new environment. */
static int
meet(void)
{
    struct exi_store *s;
    struct exi_view *v;
    uint64_t instance;

    lr_must(exi_store_new(&s, r.dir, lr_log, NULL));
    lr_must(exi_store_refresh(s));
    lr_must(exi_view_new(s, &v));
    lr_must(exi_view_begin(v));
    instance = exi_view_state(v)->instance;
    exi_view_end(v);
    tell(up[1]);
    wait_for(down[0]);
    lr_must(exi_view_begin(v));
    lr_must(exi_view_state(v)->instance == instance ? EXI_OK : EXI_EFORMAT);
    exi_view_end(v);
    lr_must(exi_store_refresh(s));
    lr_must(exi_view_begin(v));
    lr_must(exi_view_state(v)->instance != instance ? EXI_OK : EXI_EFORMAT);
    lr_must(exi_changes(v, instance, 1, NULL, NULL) == EXI_ESTALE
                ? EXI_OK
                : EXI_EFORMAT);
    exi_view_end(v);
    tell(up[1]);
    exi_view_free(v);
    exi_store_free(s);
    return 0;
}

static void
another(void)
{
    struct live *old = r.live;
    int status = 1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        _exit(meet());
    }
    wait_for(up[0]);
    lr_must(lr_open_live(&r));
    lr_must(live_serve(r.live));
    tell(down[1]);
    wait_for(up[0]);
    waitpid(pid, &status, 0);
    is_int(status, 0, "served from the old one until it looks, then the new");
    live_close(old);
}

int
main(void)
{
    rnd_init();
    lr_make(&r, 1);
    for (int i = 0; i < BLOCKS; i++) {
        lb_connect(r.lb, &r.lb->st,
                   lb_make_block(r.lb, &r.lb->st, 0, i < 3 ? 1 : 28));
    }
    lr_open_settle(&r);
    lr_settle(&r, &r.lb->st, BLOCKS + 1);
    lr_must(lr_open_live(&r));
    lr_must(live_begin(r.live));
    for (int i = 0; i < 40; i++) {
        int t = lb_make_tx(r.lb, &r.lb->st, lb_ok_unspent);
        if (t >= 0) {
            lr_must(lr_add(&r, t));
            r.lb->st.where[t] = LB_POOL;
        }
    }
    lr_must(live_commit(r.live, EXI_CHANGE_MEMPOOL));
    lr_must(live_serve(r.live));
    subtest("long history", long_history);
    subtest("damaged", damaged);
    subtest("held view", held);
    subtest("another environment", another);
    lr_stop(&r);
    return done_testing();
}
