/*
 * Blocks loaded at once make the rows that the same blocks make one by one,
 * whatever the number of threads and the size of chunks; and what is wrong with
 * a block is found as there.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <dirent.h>
#include <pthread.h>

#include "live_int.h"
#include "live_load.h"

#define SETTLED 60
#define ALL     260

static struct lr r;
static struct lb *lb;

/* What the callbacks of a load work on. */
static struct {
    pthread_mutex_t lock;
    struct exi_past *past[LIVE_LOAD_THREADS];
    int next;     /* height */
    int damaged;  /* height whose bytes are wrong at first, or -1 */
    int missing;  /* height that next() fails at, or -1 */
    int held;     /* blocks not given back */
    int rejected; /* blocks */
    int ticks;
} src = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const struct lb_block *
block_at(uint32_t height)
{
    return &lb->block[lb->st.chain[height]];
}

static int
next(void *ctx, struct source_block *b)
{
    const struct lb_block *x;
    int rc = 1;

    (void) ctx;
    pthread_mutex_lock(&src.lock);
    x = block_at((uint32_t) src.next);
    b->height = (uint32_t) x->height;
    b->hash = x->hash;
    b->raw = x->raw;
    b->rawlen = x->len;
    b->priv = NULL;
    if (src.next == src.missing) {
        rc = EXI_ENET;
    } else {
        if (src.next == src.damaged) {
            uint8_t *raw = malloc(x->len);
            memcpy(raw, x->raw, x->len);
            raw[x->len - 1] ^= 1;
            b->raw = b->priv = raw;
        }
        src.next++;
        src.held++;
    }
    pthread_mutex_unlock(&src.lock);
    return rc;
}

static void
give_back(void *ctx, struct source_block *b)
{
    (void) ctx;
    free(b->priv);
    pthread_mutex_lock(&src.lock);
    src.held--;
    pthread_mutex_unlock(&src.lock);
}

static int
reject(void *ctx, struct source_block *b)
{
    (void) ctx;
    pthread_mutex_lock(&src.lock);
    src.rejected++;
    pthread_mutex_unlock(&src.lock);
    if ((int) b->height != src.damaged) {
        return EXI_ENODE;
    }
    free(b->priv);
    b->priv = NULL;
    b->raw = block_at(b->height)->raw;
    return EXI_OK;
}

static int
prevouts(void *ctx, unsigned thread, struct exi_past_out *v, size_t n)
{
    (void) ctx;
    return exi_past_prevouts(src.past[thread], v, n);
}

static void
tick(void *ctx)
{
    (void) ctx;
    src.ticks++;
}

/* Loads the n blocks above the settled ones into a new environment. */
static int
load(struct live **out, unsigned threads, size_t bytes, uint32_t n)
{
    struct live_load_opts o = { .blocks = n,
                                .bytes = bytes,
                                .threads = threads,
                                .next = next,
                                .give_back = give_back,
                                .reject = reject,
                                .prevouts = prevouts,
                                .tick = tick };

    lr_must(lr_open_live(&r));
    *out = r.live;
    src.next = SETTLED + 1;
    src.held = src.rejected = 0;
    return live_load(r.live, &o);
}

/* Hash of all rows of a database; times of transactions aside. */
static uint64_t
rows(struct live *l, int db, size_t *n)
{
    uint64_t h = 1469598103934665603u;
    MDB_val k, v;
    MDB_cursor *c;
    MDB_txn *txn;

    *n = 0;
    lr_must(live_read_begin(l, &txn));
    lr_must(live_err(mdb_cursor_open(txn, l->dbi[db], &c)));
    while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
        const uint8_t *p = v.mv_data;
        ++*n;
        for (size_t i = 0; i < k.mv_size; i++) {
            h = (h ^ ((uint8_t *) k.mv_data)[i]) * 1099511628211u;
        }
        for (size_t i = 0; i < v.mv_size; i++) {
            uint8_t b = db == LIVE_TX && i >= 60 && i < 68 ? 0 : p[i];
            h = (h ^ b) * 1099511628211u;
        }
        h = (h ^ v.mv_size) * 1099511628211u;
    }
    mdb_cursor_close(c);
    live_read_end(l);
    return h;
}

static void
same_rows(struct live *a, struct live *b, const char *name)
{
    static const char *const names[] = { "meta",     "block", "blocktx",
                                         "blockids", "tx",    "raw",
                                         "txid",     "hist",  "spend" };
    const struct exi_live_state *x = live_state(a), *y = live_state(b);

    for (int db = LIVE_BLOCK; db <= LIVE_SPEND; db++) {
        size_t n, m;
        uint64_t h = rows(a, db, &n), g = rows(b, db, &m);
        ok(h == g && n == m && n > 0, "%s: %s, %zu rows and %zu", name,
           names[db], n, m);
    }
    ok(x->tip_height == y->tip_height && x->live_floor == y->live_floor
           && memcmp(&x->tip, &y->tip, sizeof x->tip) == 0
           && x->mempool_count == 0 && y->mempool_count == 0
           && a->now.next_id == b->now.next_id
           && a->now.tx_count == b->now.tx_count,
       "%s: state", name);
}

/* Environment made block by block, to compare with. */
static struct live *
one_by_one(void)
{
    lr_must(lr_open_live(&r));
    for (int h = SETTLED + 1; h <= ALL; h++) {
        lr_must(live_begin(r.live));
        lr_must(lr_connect(&r, lb->st.chain[h]));
        lr_must(live_commit(r.live, EXI_CHANGE_BLOCK));
    }
    return r.live;
}

static void
as_one_by_one(void)
{
    static const struct {
        unsigned threads;
        size_t bytes;
        const char *name;
    } t[] = { { 1, 1 << 20, "one thread" },
              { 3, 1 << 20, "three threads" },
              { 2, 20000, "chunks" },
              { LIVE_LOAD_THREADS, 1, "chunks of a block or some" } };
    struct live *want = one_by_one(), *got;

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        is_int(load(&got, t[i].threads, t[i].bytes, ALL - SETTLED), EXI_OK,
               "%s: loaded", t[i].name);
        is_int(src.held, 0, "%s: all blocks given back", t[i].name);
        same_rows(want, got, t[i].name);
        live_close(got);
    }
    live_close(want);
    r.live = NULL;
}

/* Goes on as any environment does. */
static void
goes_on(void)
{
    struct lb_state st = lb->st;
    struct live_load_opts none = { .threads = 1 };
    struct live *l;

    is_int(load(&l, 2, 30000, ALL - SETTLED), EXI_OK, "loaded");
    lr_must(live_serve(l));
    ok(lr_view(&r, lr_compare, &st), "what a reader sees");
    is_int(live_load(l, &none), EXI_EAPI, "no more once it is served");
    lr_must(live_begin(l));
    for (int i = 0; i < 5; i++) {
        lr_must(live_disconnect(l));
    }
    for (int h = ALL - 4; h <= ALL; h++) {
        lr_must(lr_connect(&r, st.chain[h]));
    }
    lr_must(live_commit(l, EXI_CHANGE_REORG));
    ok(lr_view(&r, lr_compare, &st), "after a reorganisation");
    live_close(l);
    r.live = NULL;
}

static void
repaired(void)
{
    struct live *l;

    src.damaged = SETTLED + 7;
    is_int(load(&l, 3, 1 << 20, ALL - SETTLED), EXI_OK, "loaded");
    is_int(src.rejected, 1, "another copy was asked for");
    is_int(src.held, 0, "all blocks given back");
    is_int(live_state(l)->tip_height, ALL, "all there");
    src.damaged = -1;
    live_close(l);
    r.live = NULL;
}

/* Number of environments below live/. */
static int
environments(void)
{
    char path[300];
    const struct dirent *e;
    DIR *d;
    int n = 0;

    snprintf(path, sizeof path, "%s/live", r.dir);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        n += strchr(e->d_name, '-') != NULL;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

static void
refused(const char *name, int height, int want)
{
    for (unsigned threads = 1; threads < 4; threads += 2) {
        for (size_t bytes = 1; bytes < 1 << 21; bytes += 1 << 20) {
            struct live *l;
            is_int(load(&l, threads, bytes, (uint32_t) (height - SETTLED)),
                   want, "%s, %u threads, chunks of %zu", name, threads, bytes);
            is_int(src.held, 0, "%s: all blocks given back", name);
            live_close(l);
            is_int(environments(), 1, "%s: only the served one is left", name);
        }
    }
    r.live = NULL;
}

/* A block on ALL - 1 blocks with these transactions after its coinbase. */
static void
put_on_top(int a, int b)
{
    struct lb_block *bl = &lb->block[lb->nblocks];
    struct lb_tx *t = &lb->tx[lb->ntx];

    t->nin = 0;
    t->nout = 1;
    t->out[0] = (struct lb_out){ 1, 5000000000, false };
    bl->ntx = 0;
    bl->tx[bl->ntx++] = lb_seal_tx(lb, false);
    if (a >= 0) {
        bl->tx[bl->ntx++] = a;
    }
    if (b >= 0) {
        bl->tx[bl->ntx++] = b;
    }
    lb->st.chain[ALL + 1] = lb_seal(lb, lb->st.chain[ALL]);
}

/* A transaction that spends an output. */
static int
spend(int tx, uint32_t index)
{
    struct lb_tx *t = &lb->tx[lb->ntx];

    t->nin = 1;
    t->in[0] = (struct lb_in){ tx, index };
    t->nout = 1;
    t->out[0] = (struct lb_out){ 2, 1, false };
    return lb_seal_tx(lb, false);
}

/* An output that is unspent at height ALL, of a block below or above the
 * settled height. */
static int
unspent(bool settled, uint32_t *index)
{
    for (int i = 1; i < lb->ntx; i++) {
        bool there =
            lb->st.where[i] >= 1 && (lb->st.where[i] <= SETTLED) == settled;
        for (int k = 0; there && k < lb->tx[i].nout; k++) {
            if (lb->tx[i].out[k].script >= 0
                && lb_spender(lb, &lb->st, i, (uint32_t) k) < 0) {
                *index = (uint32_t) k;
                return i;
            }
        }
    }
    lr_must(EXI_ENOTFOUND);
    return -1;
}

/* An output that the loaded blocks spend, its transaction below the settled
 * height or not. */
static int
spent(bool settled, uint32_t *index)
{
    for (int i = 1; i < lb->ntx; i++) {
        bool there =
            lb->st.where[i] >= 1 && (lb->st.where[i] <= SETTLED) == settled;
        for (int k = 0; there && k < lb->tx[i].nout; k++) {
            int by = lb_spender(lb, &lb->st, i, (uint32_t) k);
            if (by >= 0 && lb->st.where[by] > SETTLED) {
                *index = (uint32_t) k;
                return i;
            }
        }
    }
    lr_must(EXI_ENOTFOUND);
    return -1;
}

static void
bad_blocks(void)
{
    uint32_t k;
    int t, u;

    for (int settled = 0; settled < 2; settled++) {
        const char *what = settled ? "settled" : "live";
        t = unspent(settled, &k);
        put_on_top(spend(t, k), -1);
        refused(what, ALL + 1, EXI_OK); /* so that the others tell */
        put_on_top(spend(t, k), spend(t, k));
        refused("two that spend the same", ALL + 1, EXI_EFORMAT);
        put_on_top(spend(t, 77), -1);
        refused("no such output", ALL + 1, EXI_EFORMAT);
        t = spent(settled, &k);
        put_on_top(spend(t, k), -1);
        refused("spent before", ALL + 1, EXI_EFORMAT);
    }
    t = unspent(false, &k);
    t = spend(t, k);
    u = spend(t, 0);
    put_on_top(t, u);
    refused("parent and child", ALL + 1, EXI_OK);
    put_on_top(u, t);
    refused("a child before its parent", ALL + 1, EXI_EFORMAT);
    put_on_top(u, -1);
    refused("parent unknown", ALL + 1, EXI_EFORMAT);
    put_on_top(t, t);
    refused("a transaction twice", ALL + 1, EXI_EFORMAT);
    put_on_top(lb->block[lb->st.chain[ALL]].tx[0], -1);
    refused("two coinbases", ALL + 1, EXI_EFORMAT);
    put_on_top(lb->block[lb->st.chain[SETTLED + 3]].tx[1], -1);
    refused("a transaction of another block", ALL + 1, EXI_EFORMAT);
    put_on_top(t, -1);
    lb->block[lb->st.chain[ALL + 1]].len -= 3;
    refused("cut short", ALL + 1, EXI_EFORMAT);
    lb->block[lb->nblocks].ntx = 1;
    lb->block[lb->nblocks].tx[0] = lb->block[lb->st.chain[ALL + 1]].tx[0];
    lb->st.chain[ALL + 1] = lb_seal(lb, lb->st.chain[ALL - 1]);
    lb->block[lb->st.chain[ALL + 1]].height = ALL + 1;
    refused("does not link", ALL + 1, EXI_EAPI);
    src.missing = SETTLED + 9;
    refused("the node went away", ALL, EXI_ENET);
    src.missing = -1;
}

/* Each settled output, by itself and with all others. */
static void
settled_outputs(void)
{
    struct exi_past_out *v = calloc(LB_MAX_TX, sizeof *v);
    size_t n = 0;

    for (int i = 1; i < lb->ntx && n + LB_MAX_OUT < LB_MAX_TX; i++) {
        bool there = lb->st.where[i] >= 1 && lb->st.where[i] <= SETTLED;
        for (int k = 0; there && k < lb->tx[i].nout; k++) {
            struct exi_skey s;
            int64_t value;
            if (exi_past_prevout(src.past[0], &lb->tx[i].id, (uint32_t) k, &s,
                                 &value)
                == EXI_OK) {
                v[n].txid = lb->tx[i].id.b;
                v[n].index = (uint32_t) k;
                v[n++].tag = &lb->tx[i].out[k];
            }
        }
    }
    ok(n > 50, "%zu outputs", n);
    is_int(exi_past_prevouts(src.past[1], v, 0), EXI_OK, "none");
    is_int(exi_past_prevouts(src.past[1], v, n), EXI_OK, "all found");
    for (size_t i = 0; i < n; i++) {
        const struct lb_out *o = v[i].tag;
        each(v[i].value_sat == o->value
                 && memcmp(&v[i].script, &lb->skey[o->script], EXI_SKEY_LEN)
                        == 0,
             "output %zu", i);
    }
    each_done("script and amount of each");
    v[n / 2].index += 100;
    is_int(exi_past_prevouts(src.past[1], v, n), EXI_ENOTFOUND,
           "one is not there");
    free(v);
}

int
main(void)
{
    rnd_init();
    lr_make(&r, ALL);
    lb = r.lb;
    lr_open_settle(&r);
    lr_settle(&r, &lb->st, SETTLED);
    src.damaged = src.missing = -1;
    r.ngens = settle_generations(r.settle, r.gens, 1);
    lr_must(exi_past_open(&src.past[0], r.dir, &r.gens[0], lr_log, NULL));
    for (int i = 1; i < LIVE_LOAD_THREADS; i++) {
        lr_must(exi_past_twin(&src.past[i], src.past[0]));
    }
    subtest("settled outputs", settled_outputs);
    subtest("as one by one", as_one_by_one);
    subtest("goes on", goes_on);
    subtest("repaired", repaired);
    subtest("bad blocks", bad_blocks);
    for (int i = LIVE_LOAD_THREADS; i-- > 0;) {
        exi_past_close(src.past[i]);
    }
    lr_stop(&r);
    return done_testing();
}
