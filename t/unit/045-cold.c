/*
 * Queries that must not wait for a disk (exi_cold.h).  The page cache is
 * played: each mapped page of the settled layer can't be touched (PROT_NONE)
 * until this program's preadv2() has said that it is there, so a query that
 * touches a page without asking ends the test.  Every query begins with all
 * pages missing, fails, has read what it noted, is run again ..., and must then
 * say what the model says.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "exi_cold.h"

#define BLOCKS 90
#define FILES  512
#define PAGE   4096
#define ROUNDS 400

/*
 * The page cache.
 */

struct played {
    dev_t dev;
    ino_t ino;
    uint8_t *base;
    size_t len;
    bool *there; /* of each page */
};

static struct played files[FILES];
static int nfiles;
static bool armed;
static time_t later; /* seconds, added to the clock */
static unsigned evict_percent = 100;
static int probes, reads;
static bool failing; /* reads end with EIO */
static bool unknown; /* the file system can't say */

static bool
is_settled(int fd)
{
    char link[64], path[400];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0) {
        return false;
    }
    path[n] = '\0';
    return strstr(path, "/generations/") != NULL;
}

void *
mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    void *p = (void *) syscall(SYS_mmap, at, len, prot, flags, fd, off);
    struct stat st;

    if (p != MAP_FAILED && fd >= 0 && nfiles < FILES && is_settled(fd)
        && fstat(fd, &st) == 0) {
        files[nfiles++] = (struct played){ st.st_dev, st.st_ino, p, len,
                                           calloc(len / PAGE + 1, 1) };
    }
    return p;
}

/* Tails of tables are copied, then. */
int
mlock(const void *p, size_t len)
{
    (void) p;
    (void) len;
    errno = ENOMEM;
    return -1;
}

static struct played *
played(int fd)
{
    struct stat st;

    if (!armed || fstat(fd, &st) != 0) {
        return NULL;
    }
    for (int i = 0; i < nfiles; i++) {
        if (files[i].dev == st.st_dev && files[i].ino == st.st_ino) {
            return &files[i];
        }
    }
    return NULL;
}

ssize_t
preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    struct played *f = played(fd);
    size_t want = 0, got = 0;

    for (int i = 0; i < n; i++) {
        want += iov[i].iov_len;
    }
    if (unknown) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (f == NULL || !(flags & RWF_NOWAIT)) {
        return (ssize_t) want;
    }
    probes++;
    while (got < want && f->there[((size_t) off + got) / PAGE]) {
        got++;
    }
    errno = EAGAIN;
    return got > 0 ? (ssize_t) got : -1;
}

ssize_t
pread(int fd, void *buf, size_t n, off_t off)
{
    struct played *f = played(fd);
    size_t first = (size_t) off / PAGE;

    if (f != NULL && failing) {
        errno = EIO;
        return -1;
    }
    for (size_t p = first; f != NULL && n > 0 && p * PAGE < (size_t) off + n;
         p++) {
        f->there[p] = true;
        reads++;
        lr_must(mprotect(f->base + p * PAGE, PAGE, PROT_READ) == 0 ? EXI_OK
                                                                   : EXI_EIO);
    }
    return syscall(SYS_pread64, fd, buf, n, off);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int) syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += later;
    return rc;
}

/* Takes pages out of the page cache and lets time pass. */
static void
evict(struct exi_view *v)
{
    exi_view_end(v);
    for (int i = 0; i < nfiles; i++) {
        struct played *f = &files[i];
        for (size_t p = 0; p * PAGE < f->len; p++) {
            bool keep = rnd_below(100) >= evict_percent;
            f->there[p] = keep;
            lr_must(
                mprotect(f->base + p * PAGE, PAGE, keep ? PROT_READ : PROT_NONE)
                        == 0
                    ? EXI_OK
                    : EXI_EIO);
        }
    }
    armed = true;
    later += 60;
    lr_must(exi_view_begin(v));
}

/*
 * Queries.
 */

struct query {
    struct lr *r;
    struct exi_view *v;
    int script;
    uint32_t height;
    int n; /* callbacks of the last round */
    struct lb_text got;
};

typedef int (*query_pt)(struct query *q);

/* Runs it until it needs nothing more; returns the rounds, < 0: an error. */
static int
run(struct query *q, query_pt fn)
{
    struct exi_cold_list *l;
    size_t start = q->got.n;
    int rc;

    evict(q->v);
    for (int i = 1; i <= ROUNDS; i++) {
        q->got.n = start;
        q->n = 0;
        rc = fn(q);
        if (rc != EXI_ECOLD) {
            return rc ? rc : exi_view_cold(q->v) ? EXI_EAPI : i;
        }
        lr_must(exi_view_cold(q->v) ? EXI_OK : EXI_EAPI);
        lr_must(exi_view_cold_take(q->v, &l));
        lr_must(exi_view_cold(q->v) ? EXI_EAPI : EXI_OK);
        rc = exi_cold_read(l);
        exi_cold_free(l);
        if (rc) {
            return rc;
        }
        /* as a request that is run again does */
        exi_view_end(q->v);
        lr_must(exi_view_begin(q->v));
    }
    return EXI_ELIMIT;
}

static int
say_script(struct query *q)
{
    return lb_view_script(&q->got, q->r->lb, q->v, q->script);
}

static int
say_chain(struct query *q)
{
    return lb_view_chain(&q->got, q->r->lb, q->v);
}

static int
count_hist(void *ctx, const struct exi_hist *h)
{
    (void) h;
    ((struct query *) ctx)->n++;
    return EXI_OK;
}

static int
count_utxo(void *ctx, const struct exi_utxo *u)
{
    (void) u;
    ((struct query *) ctx)->n++;
    return EXI_OK;
}

static int
ask_history(struct query *q)
{
    return exi_history(q->v, &lb_arena, &q->r->lb->skey[q->script], 3, 0,
                       count_hist, q);
}

static int
ask_unspent(struct query *q)
{
    return exi_unspent(q->v, &lb_arena, &q->r->lb->skey[q->script],
                       EXI_TOKENS_INCLUDE, 0, count_utxo, q);
}

static int
ask_balance(struct query *q)
{
    int64_t a, b;

    return exi_balance(q->v, &lb_arena, &q->r->lb->skey[q->script],
                       EXI_TOKENS_INCLUDE, &a, &b);
}

static int
ask_branch(struct query *q)
{
    struct exi_hash branch[EXI_MERKLE_MAX];
    size_t n;

    return exi_block_branch(q->v, &lb_arena, q->height, 0, branch, &n);
}

/* Outputs of each transaction: found, unspent, by whom spent. */
static int
say_outputs(struct query *q)
{
    const struct lb_tx *t = &q->r->lb->tx[q->n = q->script];
    struct exi_txpos pos;
    struct exi_txid by;
    struct exi_skey key;
    int32_t height = 0;
    int rc = exi_tx_find(q->v, &t->id, &pos);

    lb_say(&q->got, "tx %d: %d", q->script, rc);
    for (uint32_t i = 0; i < (uint32_t) t->nout && rc == EXI_OK && !pos.live;
         i++) {
        rc = exi_outpoint_unspent(q->v, &pos, i, &key);
        lb_say(&q->got, " %d", rc);
        if (rc != EXI_ENOTFOUND) {
            continue;
        }
        rc = exi_spender_settled(q->v, &pos, i, &by, &height);
        lb_say(&q->got, "/%d@%d", rc, height);
        rc = rc == EXI_ECOLD ? rc : EXI_OK;
    }
    lb_say(&q->got, "\n");
    return rc == EXI_ECOLD ? rc : EXI_OK;
}

/*
 * Tests, each in a process of its own.
 */

static int
compare_all(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v };
    struct lb_text want = { 0 };
    int rc, most = 0;

    evict_percent = *(unsigned *) ctx;
    exi_view_nowait(v, true);
    rc = run(&q, say_chain);
    lb_model_chain(&want, r->lb, &r->lb->st);
    for (int i = 0; i < LB_SCRIPTS && rc > 0; i++) {
        q.script = i;
        rc = run(&q, say_script);
        most = rc > most ? rc : most;
        lb_model_script(&want, r->lb, &r->lb->st, i);
    }
    printf("# %d files, %d questions, %d pages read, at most %d rounds\n",
           nfiles, probes, reads, most);
    if (rc > 0 && !lb_same(&q.got, &want)) {
        rc = EXI_EFORMAT;
    }
    return rc < 0 ? rc : reads > 0 && nfiles > 0 ? EXI_OK : EXI_EAPI;
}

/* What does not come from the model: the same as without the page cache. */
static int
compare_outputs(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v }, warm = { .r = r, .v = v };
    int rc = EXI_OK;
    (void) ctx;

    for (int i = 0; i < r->lb->ntx && i < 400; i++) {
        warm.script = i;
        lr_must(say_outputs(&warm));
    }
    exi_view_nowait(v, true);
    for (int i = 0; i < r->lb->ntx && i < 400 && rc >= 0; i++) {
        q.script = i;
        rc = run(&q, say_outputs);
    }
    return rc < 0 ? rc : lb_same(&q.got, &warm.got) ? EXI_OK : EXI_EFORMAT;
}

/* Few rounds: all ranges of a kind are noted in one.  A branch: the header and
 * some txids, then all txids, then none. */
static int
few_rounds(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v };
    int hist, unspent, balance, branch, n;
    (void) ctx;

    exi_view_nowait(v, true);
    hist = run(&q, ask_history);
    n = q.n;
    unspent = run(&q, ask_unspent);
    balance = run(&q, ask_balance);
    q.height = 20;
    branch = run(&q, ask_branch);
    printf("# rounds: history of %d %d, unspent %d, balance %d, branch %d\n", n,
           hist, unspent, balance, branch);
    return n > 1000 && hist > 0 && hist <= 12 && unspent > 0 && unspent <= 12
                   && balance > 0 && balance <= 12 && branch > 0 && branch <= 3
               ? EXI_OK
               : EXI_EAPI;
}

/*
 * Cursors: not run again, but gone on with.  The pages are taken away at every
 * step, too, so that each step lacks what it had.
 */

struct steps {
    struct lb_text *got;
    int reads; /* rounds */
    int given; /* entries */
};

static int
step_hist(void *ctx, const struct exi_hist *h)
{
    struct steps *s = ctx;

    lb_say(s->got, "%d ", h->height);
    for (int i = 0; i < EXI_HASH_LEN; i++) {
        lb_say(s->got, "%02x", h->txid.b[i]);
    }
    s->given++;
    return EXI_OK;
}

static int
step_utxo(void *ctx, const struct exi_utxo *u)
{
    struct steps *s = ctx;

    lb_say(s->got, "%d %u %lld ", u->height, u->index,
           (long long) u->value_sat);
    for (int i = 0; i < EXI_HASH_LEN; i++) {
        lb_say(s->got, "%02x", u->txid.b[i]);
    }
    s->given++;
    return EXI_OK;
}

/* Reads what was taken from a cursor. */
static void
step_read(struct steps *s, int rc, struct exi_cold_list **l)
{
    lr_must(rc);
    lr_must(exi_cold_read(*l));
    exi_cold_free(*l);
    s->reads++;
    lr_must(s->reads < 100000 ? EXI_OK : EXI_ELIMIT);
}

/* All that the script has, in slices of `budget`. */
static void
walk(struct query *q, struct steps *s, uint32_t budget, bool evicting)
{
    const struct exi_skey *key = &q->r->lb->skey[q->script];
    struct exi_cold_list *l = NULL;
    struct exi_cursor *c;
    struct exi_utxos *u;
    struct exi_sum sum = { .known = false };
    struct exi_rows *rows;
    int rc;

    lr_must(exi_rows_new(q->v, key, &rows));
    while ((rc = exi_rows_gather(rows, budget)) == 1) {
    }
    lr_must(rc);
    lr_must(exi_cursor_of(rows, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, &c));
    lr_must(exi_utxos_of(rows, &u));
    exi_rows_unref(rows);
    while ((rc = exi_cursor_count(c, budget, 0)) != EXI_OK) {
        if (rc == EXI_ECOLD) {
            step_read(s, exi_cursor_cold_take(c, &l), &l);
        } else {
            lr_must(rc == 1 ? EXI_OK : rc);
        }
    }
    while ((rc = exi_cursor_next(c, budget, step_hist, s)) != EXI_OK) {
        if (rc == EXI_ECOLD) {
            step_read(s, exi_cursor_cold_take(c, &l), &l);
        } else {
            lr_must(rc == 1 ? EXI_OK : rc);
            if (evicting) {
                evict(q->v);
            }
        }
    }
    lb_say(s->got, "\n");
    while ((rc = exi_utxos_next(u, budget, step_utxo, s)) != EXI_OK) {
        if (rc == EXI_ECOLD) {
            step_read(s, exi_utxos_cold_take(u, &l), &l);
        } else {
            lr_must(rc == 1 ? EXI_OK : rc);
            if (evicting) {
                evict(q->v);
            }
        }
    }
    exi_utxos_rewind(u);
    while ((rc = exi_utxos_sum(u, budget, &sum)) != EXI_OK) {
        if (rc == EXI_ECOLD) {
            step_read(s, exi_utxos_cold_take(u, &l), &l);
        } else {
            lr_must(rc == 1 ? EXI_OK : rc);
        }
    }
    lb_say(s->got, "%lld of %llu\n", (long long) sum.sat,
           (unsigned long long) sum.n);
    exi_cursor_free(c);
    exi_utxos_free(u);
}

static int
cursors(struct lr *r, struct exi_view *v, void *ctx)
{
    static const unsigned percent[] = { 100, 30, 3 };
    static const uint32_t budget[] = { 1, 7, 64, 512 };
    struct lb_text want[LB_SCRIPTS] = { 0 };
    int given[LB_SCRIPTS];
    struct query q = { .r = r, .v = v };
    (void) ctx;

    for (int i = 0; i < LB_SCRIPTS; i++) {
        struct steps s = { .got = &want[i] };

        q.script = i;
        walk(&q, &s, 512, false);
        given[i] = s.given;
    }
    exi_view_nowait(v, true);
    for (int i = 0; i < 3 * LB_SCRIPTS; i++) {
        struct lb_text got = { 0 };
        struct steps s = { .got = &got };
        uint32_t n = budget[rnd_below(4)];

        q.script = i / 3;
        if (given[q.script] > 300 && n < 64) {
            n = 64;
        }
        evict_percent = percent[i % 3];
        evict(v);
        walk(&q, &s, n, true);
        if (i < 3) {
            printf("# %d entries, %u at a time, %u %% missing: %d rounds\n",
                   s.given, n, evict_percent, s.reads);
        }
        if (s.given != given[q.script] || !lb_same(&got, &want[q.script])) {
            printf("# script %d, %u at a time\n", q.script, n);
            return EXI_EFORMAT;
        }
        free(got.p);
    }
    return EXI_OK;
}

/* What is known of a page is forgotten after a while, not at once. */
static int
memory(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v, .height = 20 };
    int before, at_once, soon, late;
    (void) ctx;

    exi_view_nowait(v, true);
    lr_must(run(&q, ask_branch) > 0 ? EXI_OK : EXI_EIO);
    before = probes;
    lr_must(ask_branch(&q));
    at_once = probes - before;
    exi_view_end(v);
    later += EXI_COLD_SECONDS;
    lr_must(exi_view_begin(v));
    before = probes;
    lr_must(ask_branch(&q));
    soon = probes - before;
    exi_view_end(v);
    later += 2 * EXI_COLD_SECONDS;
    lr_must(exi_view_begin(v));
    before = probes;
    lr_must(ask_branch(&q));
    late = probes - before;
    printf("# questions: %d at once, %d in the next epoch, %d later\n", at_once,
           soon, late);
    return at_once == 0 && soon == 0 && late > 0 ? EXI_OK : EXI_EAPI;
}

/* A page that can't be read is an error, not a signal. */
static int
unreadable(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v };
    int rc;
    (void) ctx;

    exi_view_nowait(v, true);
    failing = true;
    rc = run(&q, ask_history);
    failing = false;
    lr_must(rc == EXI_EIO ? EXI_OK : EXI_EFORMAT);
    return run(&q, ask_history) > 0 ? EXI_OK : EXI_EFORMAT;
}

/* A file system that can't say counts as memory; so does a view that waits. */
static int
blind(struct lr *r, struct exi_view *v, void *ctx)
{
    struct query q = { .r = r, .v = v };
    (void) ctx;

    unknown = true;
    exi_view_nowait(v, true);
    lr_must(ask_history(&q));
    return exi_view_cold(v) ? EXI_EAPI : lr_compare(r, v, &r->lb->st);
}

static void
make(struct lr *r)
{
    lr_make(r, 1);
    for (int i = 0; i < BLOCKS; i++) {
        lb_connect(r->lb, &r->lb->st,
                   lb_make_block(r->lb, &r->lb->st, 0, i < 3 ? 1 : 28));
    }
    lr_open_settle(r);
    for (int h = 20; h <= BLOCKS - 10; h += 20) {
        lr_settle(r, &r->lb->st, h);
    }
    lr_must(lr_open_live(r));
    for (int h = BLOCKS - 9; h <= BLOCKS + 1; h++) {
        lr_must(live_begin(r->live));
        lr_must(lr_connect(r, r->lb->st.chain[h]));
        lr_must(live_commit(r->live, EXI_CHANGE_BLOCK));
    }
    lr_must(live_serve(r->live));
}

int
main(void)
{
    static const unsigned percent[] = { 100, 30, 3 };
    static struct lr r;

    rnd_init();
    make(&r);
    for (int i = 0; i < 3; i++) {
        ok(lr_view(&r, compare_all, (void *) &percent[i]),
           "%u %% of the pages missing: answers equal the model's", percent[i]);
    }
    ok(lr_view(&r, compare_outputs, NULL), "outputs and spenders");
    ok(lr_view(&r, few_rounds, NULL), "few rounds");
    ok(lr_view(&r, cursors, NULL), "cursors go on where they were");
    ok(lr_view(&r, memory, NULL), "known pages");
    ok(lr_view(&r, unreadable, NULL), "a page that can't be read");
    ok(lr_view(&r, blind, NULL), "a file system that does not say");
    lr_stop(&r);
    return done_testing();
}
