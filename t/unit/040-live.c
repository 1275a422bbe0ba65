/*
 * The live layer's writer, case by case.  What readers see is asked in a
 * process of its own; rows are counted through the writer's own transaction.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <fcntl.h>
#include <sys/file.h>

#include "live_int.h"

static struct lr r;
static struct lb *lb;

/*
 * Making.
 */

/* Transaction with the given inputs and two outputs to `script`. */
static int
spend(struct lb_in a, struct lb_in b, int nin, int script)
{
    struct lb_tx *t = &lb->tx[lb->ntx];
    int64_t sum = 0;

    t->nin = nin;
    t->in[0] = a;
    t->in[1] = b;
    for (int i = 0; i < nin; i++) {
        sum += lb->tx[t->in[i].tx].out[t->in[i].index].value;
    }
    t->fee = 1000;
    t->nout = 3;
    t->out[0] = (struct lb_out){ script, (sum - 1000) / 2, false };
    t->out[1] = (struct lb_out){ script, sum - 1000 - (sum - 1000) / 2, false };
    t->out[2] = (struct lb_out){ -1, 0, false };
    return lb_seal_tx(lb, true);
}

static int
spend1(int tx, uint32_t index, int script)
{
    struct lb_in in = { tx, index };

    return spend(in, in, 1, script);
}

/* Coinbase to a script. */
static int
coinbase(int script)
{
    struct lb_tx *t = &lb->tx[lb->ntx];

    t->nin = 0;
    t->fee = 0;
    t->nout = 1;
    t->out[0] = (struct lb_out){ script, 5000000000, false };
    return lb_seal_tx(lb, false);
}

/* Block on the tip: a coinbase and up to three others (-1: none). */
static int
block(int a, int b, int c)
{
    struct lb_block *bl;
    int cb = coinbase(1), tx[3] = { a, b, c };

    bl = &lb->block[lb->nblocks];
    bl->ntx = 0;
    bl->tx[bl->ntx++] = cb;
    for (int i = 0; i < 3; i++) {
        if (tx[i] >= 0) {
            bl->tx[bl->ntx++] = tx[i];
        }
    }
    return lb_seal(lb, lb->st.chain[lb->st.height]);
}

/* A coinbase that is settled and unspent, to begin with. */
static int next_coin;
static int
coin(void)
{
    while (lb->tx[next_coin].nin > 0 || lb->st.where[next_coin] < 0
           || lb_spender(lb, &lb->st, next_coin, 0) >= 0
           || lb->tx[next_coin].out[0].script < 0) {
        next_coin++;
    }
    return next_coin++;
}

/*
 * Doing, on layer and model.
 */

static void
begin(void)
{
    lr_must(live_begin(r.live));
}

static void
commit(enum exi_change kind)
{
    lr_must(live_commit(r.live, kind));
}

static void
pool(int tx)
{
    lr_must(lr_add(&r, tx));
    lb->st.where[tx] = LB_POOL;
}

static void
connect(int b)
{
    lr_must(lr_connect(&r, b));
    lb_connect(lb, &lb->st, b);
}

static void
disconnect(void)
{
    lr_must(live_disconnect(r.live));
    lb_disconnect(lb, &lb->st);
}

static void
is_model(const char *name)
{
    ok(lr_view(&r, lr_compare, &lb->st), "%s", name);
}

static int
has(int tx)
{
    return live_has(r.live, &lb->tx[tx].id);
}

struct find {
    const struct exi_txid *id;
    struct exi_live_tx t;
};

static int
find_cb(void *ctx, const struct exi_live_tx *t)
{
    struct find *f = ctx;

    if (memcmp(&t->txid, f->id, 32) == 0) {
        f->t = *t;
        return 1;
    }
    return 0;
}

/* Flags of a mempool transaction, or -1. */
static int
flags(int tx)
{
    struct find f = { .id = &lb->tx[tx].id };

    return live_mempool_each(r.live, find_cb, &f) == 1 ? (int) f.t.flags : -1;
}

static int
count_cb(void *ctx, const struct exi_live_tx *t)
{
    (void) t;
    ++*(int *) ctx;
    return 0;
}

static int
pool_count(void)
{
    int n = 0;

    lr_must(live_mempool_each(r.live, count_cb, &n));
    return n;
}

/* Rows of a named database. */
static size_t
rows(enum live_db db)
{
    MDB_stat st;

    begin();
    lr_must(live_err(mdb_stat(r.live->txn, r.live->dbi[db], &st)));
    live_abort(r.live);
    return st.ms_entries;
}

/*
 * Cases.
 */

static int P, C, G; /* parent, child, grandchild */

static void
chain_of_three(void)
{
    P = spend1(coin(), 0, 2);
    C = spend1(P, 0, 3);
    G = spend1(C, 1, 4);
    begin();
    is_int(lr_add(&r, C), EXI_ENOTFOUND, "a child before its parent");
    pool(P);
    pool(C);
    pool(G);
    commit(EXI_CHANGE_MEMPOOL);
    is_int(flags(P), 0, "parent: 0");
    is_int(flags(C), EXI_TXF_UNCONF_INPUT, "child: -1");
    is_int(flags(G), EXI_TXF_UNCONF_INPUT, "grandchild: -1");
    is_int(live_state(r.live)->mempool_count, 3, "three in the mempool");
    is_model("readers see them");
}

static int
child_touched(void *ctx, uint64_t seq, const struct exi_live_change *c)
{
    (void) seq;
    for (uint32_t i = 0; i < c->nscripts; i++) {
        for (int s = 3; s <= 4; s++) {
            if (!memcmp(c->scripts + i * EXI_SKEY_LEN, &lb->skey[s],
                        EXI_SKEY_LEN)) {
                *(int *) ctx |= 1 << s;
            }
        }
    }
    return 0;
}

static int
changes(struct lr *run, struct exi_view *v, void *ctx)
{
    int seen = 0, rc;
    (void) run;

    rc = exi_changes(v, exi_view_state(v)->instance, *(uint64_t *) ctx,
                     child_touched, &seen);
    return rc ? rc : seen == 1 << 3 || seen == 3 << 3 ? EXI_OK : EXI_EFORMAT;
}

static void
minus_one_to_zero(void)
{
    uint64_t seq = live_state(r.live)->seq;

    begin();
    connect(block(P, -1, -1));
    commit(EXI_CHANGE_BLOCK);
    is_int(has(P), 2, "parent is in the block");
    is_int(flags(C), 0, "child: 0");
    is_int(flags(G), EXI_TXF_UNCONF_INPUT, "grandchild: still -1");
    is_model("readers see it");
    ok(lr_view(&r, changes, &seq), "the child's script is in the record");

    begin();
    disconnect();
    commit(EXI_CHANGE_REORG);
    is_int(flags(P), EXI_TXF_PROVISIONAL, "parent is back, provisionally");
    is_int(flags(C), EXI_TXF_UNCONF_INPUT, "child: -1 again");
    is_model("readers see it");
    begin();
    pool(P);
    commit(EXI_CHANGE_MEMPOOL);
    is_int(flags(P), 0, "no longer provisional");
}

static void
coinbase_descendants(void)
{
    int b = block(-1, -1, -1), t, u;

    begin();
    connect(b);
    commit(EXI_CHANGE_BLOCK);
    t = spend1(lb->block[b].tx[0], 0, 5);
    u = spend1(t, 0, 6);
    begin();
    pool(t);
    connect(block(t, -1, -1));
    pool(u);
    commit(EXI_CHANGE_BLOCK);
    begin();
    disconnect();
    disconnect();
    commit(EXI_CHANGE_REORG);
    is_int(has(lb->block[b].tx[0]), 0, "coinbase is gone");
    is_int(has(t), 0, "its child, once in a block, too");
    is_int(has(u), 0, "and the grandchild");
    is_model("readers see it");
}

static void
conflicts(void)
{
    int a = coin(), b = coin();
    struct lb_in x = { a, 0 }, y = { b, 0 };
    int m = spend(x, y, 2, 7), n = spend1(m, 0, 8), o = spend1(m, 1, 9);
    struct lb_in nn = { n, 0 }, oo = { o, 0 };
    int q = spend(nn, oo, 2, 10), rival = spend1(a, 0, 11);
    uint64_t vsize = live_state(r.live)->mempool_vsize;
    int count = (int) live_state(r.live)->mempool_count;

    begin();
    pool(m);
    pool(n);
    pool(o);
    pool(q);
    is_int(lr_add(&r, rival), EXI_EBUSY, "a rival");
    commit(EXI_CHANGE_MEMPOOL);
    is_model("four more");
    begin();
    connect(block(rival, -1, -1));
    is_int(lr_add(&r, m), EXI_ENOTFOUND, "spent in a block");
    commit(EXI_CHANGE_BLOCK);
    is_int(has(m) + has(n) + has(o) + has(q), 0,
           "rival confirmed: all descendants gone");
    is_int((int) live_state(r.live)->mempool_count, count, "count");
    is_int((int) live_state(r.live)->mempool_vsize, (int) vsize, "vsize");
    is_int(pool_count(), count, "walk");
    is_model("readers see it");
    begin();
    disconnect();
    pool(rival);
    lr_must(live_mempool_remove(r.live, &lb->tx[rival].id));
    lb_remove(lb, &lb->st, rival);
    is_int(live_mempool_remove(r.live, &lb->tx[rival].id), EXI_ENOTFOUND,
           "removed twice");
    commit(EXI_CHANGE_REORG);
    is_model("as before");
}

static void
refused(void)
{
    uint8_t junk[64] = { 2 };
    struct lb_in in = { coin(), 0 };
    int unknown = spend1(coinbase(1), 0, 1);
    int burnt = spend1(P, 2, 1), beyond;
    struct exi_live_state st = *live_state(r.live);

    lb->tx[P].nout = 3;
    beyond = spend1(P, 1, 1);
    exi_put_le32(lb->tx[beyond].raw + 6 + 1 + 32, 77);
    begin();
    is_int(lr_add(&r, unknown), EXI_ENOTFOUND, "unknown input");
    is_int(lr_add(&r, burnt), EXI_ENOTFOUND, "OP_RETURN output");
    is_int(lr_add(&r, beyond), EXI_ENOTFOUND, "no such output");
    is_int(lr_add(&r, lb->block[3].tx[0]), EXI_EFORMAT, "a coinbase");
    ok(live_mempool_add(r.live, junk, sizeof junk, 0) == EXI_EFORMAT, "junk");
    ok(memcmp(&st, live_state(r.live), sizeof st) == 0, "nothing changed");
    is_int(lr_add(&r, spend(in, in, 2, 1)), EXI_EFORMAT, "one input twice");
    live_abort(r.live);
    is_int(lr_add(&r, P), EXI_EAPI, "outside of a change");
    is_int(live_fact(r.live, "x", "1", 1), EXI_EAPI, "so a fact");
    is_int(live_commit(r.live, EXI_CHANGE_MEMPOOL), EXI_EAPI, "so a commit");
    is_model("as before");
}

static void
bad_block(const char *name, int b, int want)
{
    int rc;

    begin();
    rc = lr_connect(&r, b);
    live_abort(r.live);
    is_int(rc, want, name);
}

static void
bad_blocks(void)
{
    int t = spend1(coin(), 0, 1), u = spend1(t, 0, 2), b;
    struct exi_live_state st = *live_state(r.live);

    bad_block("a transaction twice", block(t, t, -1), EXI_EFORMAT);
    bad_block("a child before its parent", block(u, t, -1), EXI_EFORMAT);
    bad_block("its parent only in the mempool", block(C, -1, -1), EXI_EFORMAT);
    bad_block("two that spend the same",
              block(t, spend1(next_coin - 1, 0, 3), -1), EXI_EFORMAT);
    bad_block("two coinbases", block(coinbase(1), -1, -1), EXI_EFORMAT);
    b = block(t, -1, -1);
    lb->block[b].hash.b[0] ^= 1;
    bad_block("another hash", b, EXI_EFORMAT);
    lb->block[b].hash.b[0] ^= 1;
    lb->block[b].height++;
    bad_block("another height", b, EXI_EAPI);
    lb->block[b].height--;
    lb->block[b].len -= 3;
    bad_block("cut short", b, EXI_EFORMAT);
    bad_block("not on the tip", 5, EXI_EAPI);
    ok(memcmp(&st, live_state(r.live), sizeof st) == 0, "nothing changed");
    is_model("as before");
}

/* The same transaction with another witness in the block. */
static int
other_raw(struct lr *run, struct exi_view *v, void *ctx)
{
    const uint8_t *raw;
    struct exi_txpos p;
    size_t len;
    int t = *(int *) ctx, rc = exi_tx_find(v, &run->lb->tx[t].id, &p);

    rc = rc ? rc : exi_tx_raw(v, &p, &raw, &len);
    return rc ? rc
           : len == run->lb->tx[t].len
                   && memcmp(raw, run->lb->tx[t].raw, len) == 0
               ? EXI_OK
               : EXI_EFORMAT;
}

static void
witness(void)
{
    int t = spend1(coin(), 0, 12);
    struct lb_tx *x = &lb->tx[t];
    struct lb_bytes *m = calloc(1, sizeof *m);

    begin();
    pool(t);
    commit(EXI_CHANGE_MEMPOOL);
    lb_serialize(lb, m, x, false, (uint32_t) t + 1000);
    memcpy(x->raw, m->b, m->n);
    x->len = m->n;
    free(m);
    begin();
    connect(block(t, -1, -1));
    commit(EXI_CHANGE_BLOCK);
    ok(lr_view(&r, other_raw, &t), "the block's witness counts");
    begin();
    disconnect();
    lr_must(live_mempool_remove(r.live, &x->id));
    lb_remove(lb, &lb->st, t);
    commit(EXI_CHANGE_REORG);
    is_int((int) live_state(r.live)->mempool_count, pool_count(), "count");
    is_model("as before");
}

static void
aborted(void)
{
    struct exi_live_state st = *live_state(r.live);
    struct lb_state model = lb->st;
    int n = pool_count();

    begin();
    connect(block(P, C, -1));
    pool(spend1(coin(), 0, 1));
    live_abort(r.live);
    lb->st = model;
    live_abort(r.live);
    ok(memcmp(&st, live_state(r.live), sizeof st) == 0, "state");
    is_int(pool_count(), n, "mempool");
    is_model("readers");
    begin();
    is_int(live_begin(r.live), EXI_EAPI, "begin twice");
    live_abort(r.live);
}

static void
trimmed(void)
{
    struct exi_live_gen g;
    bool done = false;
    int b = block(P, C, G), floor = lb->st.height + 1, n;

    begin();
    connect(b);
    commit(EXI_CHANGE_BLOCK);
    for (int i = 0; i < 3; i++) {
        begin();
        connect(block(spend1(coin(), 0, 13), -1, -1));
        commit(EXI_CHANGE_BLOCK);
    }
    n = pool_count();
    begin();
    is_int(live_trim(r.live, (uint32_t) floor + 1, 99, &done), EXI_EAPI,
           "not yet settled");
    live_abort(r.live);
    g = lr_settle(&r, &lb->st, lb->st.height);
    r.gens[r.ngens++] = g;
    begin();
    g.block.b[0] ^= 1;
    is_int(live_generations(r.live, &g, 1), EXI_EAPI, "another chain's");
    g.block.b[0] ^= 1;
    lr_must(live_generations(r.live, r.gens, r.ngens));
    commit(EXI_CHANGE_SETTLED);
    is_model("both generations fit");
    begin();
    is_int(live_disconnect(r.live), EXI_EAPI, "no disconnect of settled ones");
    live_abort(r.live);
    begin();
    lr_must(live_trim(r.live, g.height + 1, 2, &done));
    ok(!done, "two of four");
    commit(EXI_CHANGE_SETTLED);
    is_model("half trimmed");
    begin();
    lr_must(live_generations(r.live, &g, 1));
    lr_must(live_trim(r.live, g.height + 1, 2, &done));
    ok(done, "all of four");
    commit(EXI_CHANGE_SETTLED);
    is_model("all trimmed");
    is_int(pool_count(), n, "mempool stays");
    is_int((int) (rows(LIVE_BLOCK) + rows(LIVE_BLOCKTX) + rows(LIVE_BLOCKIDS)),
           0, "no blocks");
    is_int((int) (rows(LIVE_TX) + rows(LIVE_RAW) + rows(LIVE_TXID)), 3 * n,
           "no transactions but the mempool's");
    is_int((int) (rows(LIVE_HIST) + rows(LIVE_SPEND)), 0, "no other rows");
    begin();
    is_int(live_disconnect(r.live), EXI_EAPI, "nothing to disconnect");
    live_abort(r.live);
}

/*
 * The change record.
 */

static int
count_changes(void *ctx, uint64_t seq, const struct exi_live_change *c)
{
    (void) seq;
    *(enum exi_change *) ctx = c->kind;
    return 0;
}

static int
last_kind(struct lr *run, struct exi_view *v, void *ctx)
{
    const struct exi_live_state *st = exi_view_state(v);
    enum exi_change kind = 0;
    int rc = exi_changes(v, st->instance, st->seq - 1, count_changes, &kind);
    (void) run;

    return rc ? rc : kind == *(enum exi_change *) ctx ? EXI_OK : EXI_EFORMAT;
}

static int
oldest(struct lr *run, struct exi_view *v, void *ctx)
{
    const struct exi_live_state *st = exi_view_state(v);
    enum exi_change kind;
    (void) run;
    (void) ctx;

    return exi_changes(v, st->instance, st->oldest_seq - 2, count_changes,
                       &kind)
                       == EXI_ESTALE
                   && exi_changes(v, st->instance, st->oldest_seq - 1,
                                  count_changes, &kind)
                          == EXI_OK
                   && exi_changes(v, st->instance, st->seq, count_changes,
                                  &kind)
                          == EXI_OK
                   && exi_changes(v, st->instance, st->seq + 1, count_changes,
                                  &kind)
                          == EXI_ESTALE
                   && exi_changes(v, st->instance + 1, st->seq, count_changes,
                                  &kind)
                          == EXI_ESTALE
               ? EXI_OK
               : EXI_EFORMAT;
}

static void
records(void)
{
    enum exi_change kind = EXI_CHANGE_ALL;
    uint8_t key[EXI_SKEY_LEN] = { 0 };
    uint64_t n;

    begin();
    for (uint32_t i = 0; i < 300000; i++) {
        exi_put_be32(key + 6, i);
        lr_must(live_touch(r.live, key, 1));
    }
    commit(EXI_CHANGE_BLOCK);
    ok(lr_view(&r, last_kind, &kind), "too large a record is of kind 4");
    begin();
    lr_must(live_touch(r.live, key, 1));
    commit(EXI_CHANGE_SETTLED);
    ok(lr_view(&r, last_kind, &kind), "scripts hidden by a settle step: 4");
    for (int i = 0; i < 20; i++) {
        begin();
        for (uint32_t j = 0; j < 290000; j++) {
            exi_put_be32(key + 6, j * 20 + (uint32_t) i);
            lr_must(live_touch(r.live, key, 1));
        }
        commit(EXI_CHANGE_BLOCK);
    }
    n = live_state(r.live)->seq - live_state(r.live)->oldest_seq + 1;
    ok(n < 18, "64 MB bound the log: %llu records", (unsigned long long) n);
    is_int((int) rows(LIVE_LOG), (int) n, "rows");
    for (int i = 0; i < LIVE_LOG_RECORDS + 100; i++) {
        begin();
        commit(EXI_CHANGE_MEMPOOL);
    }
    n = live_state(r.live)->seq - live_state(r.live)->oldest_seq + 1;
    is_int((int) n, LIVE_LOG_RECORDS, "65,536 records bound it");
    is_int((int) rows(LIVE_LOG), (int) n, "rows");
    ok(lr_view(&r, oldest, NULL), "readers learn that older ones are gone");
}

static int
fact(struct lr *run, struct exi_view *v, void *ctx)
{
    const char *json;
    size_t len;
    int rc = exi_fact(v, "fees", &json, &len);
    (void) run;
    (void) ctx;

    if (rc == EXI_OK && (len != 7 || memcmp(json, "[[1,2]]", 7) != 0)) {
        rc = EXI_EFORMAT;
    }
    return rc == EXI_OK && exi_fact(v, "state", &json, &len) == EXI_ENOTFOUND
               ? EXI_OK
               : EXI_EFORMAT;
}

static void
facts(void)
{
    begin();
    is_int(live_fact(r.live, "state", "1", 1), EXI_EAPI, "not `state`");
    lr_must(live_fact(r.live, "fees", "[]", 2));
    lr_must(live_fact(r.live, "fees", "[[1,2]]", 7));
    commit(EXI_CHANGE_MEMPOOL);
    ok(lr_view(&r, fact, NULL), "readers see the fact");
}

/* Environments: the served one is kept, others go when nobody holds them. */
static void
environments(void)
{
    char old[300], lease[300], path[300];
    struct live *second;
    int fd;

    snprintf(old, sizeof old, "%s/live/%s", r.dir, r.live->name);
    snprintf(lease, sizeof lease, "%s/live/%s/lease", r.dir, r.live->name);
    fd = open(lease, O_RDONLY);
    ok(fd >= 0 && flock(fd, LOCK_SH) == 0, "a reader's lease");
    live_close(r.live);
    lr_must(lr_open_live(&r));
    snprintf(path, sizeof path, "%s/live/%s", r.dir, r.live->name);
    lr_must(live_serve(r.live));
    ok(access(old, F_OK) == 0, "an environment in use stays");
    close(fd);
    second = r.live;
    lr_must(lr_open_live(&r));
    lr_must(live_serve(r.live));
    ok(access(old, F_OK) != 0, "unused it goes");
    ok(access(path, F_OK) == 0, "one that a writer has open stays");
    live_close(second);
    lr_must(live_serve(r.live));
    ok(access(path, F_OK) != 0, "closed it goes");
    for (int i = 0; i < lb->ntx; i++) {
        if (lb->st.where[i] == LB_POOL) {
            lb_remove(lb, &lb->st, i);
        }
    }
    is_model("an empty one is served");
}

static int
not_ready(void)
{
    struct exi_store *s;
    struct exi_view *v;
    int rc, rc2;

    lr_must(exi_store_new(&s, r.dir, NULL, NULL));
    lr_must(exi_view_new(s, &v));
    rc = exi_store_refresh(s);
    rc2 = exi_view_begin(v);
    exi_view_free(v);
    exi_store_free(s);
    return rc == EXI_ENOTREADY ? rc2 : rc;
}

static void
not_served(void)
{
    char cur[300], boot[60];
    FILE *f;

    is_int(not_ready(), EXI_ENOTREADY, "no live/CURRENT");
    snprintf(cur, sizeof cur, "%s/live/CURRENT", r.dir);
    f = fopen(cur, "w");
    fputs("../../../etc/passwd\n", f);
    fclose(f);
    is_int(not_ready(), EXI_EFORMAT, "nonsense in it");
    f = fopen(cur, "w");
    snprintf(boot, sizeof boot, "%s", r.live->name);
    boot[0] = boot[0] == '0' ? '1' : '0';
    fprintf(f, "%s\n", boot);
    fclose(f);
    is_int(not_ready(), EXI_ENOTREADY, "an environment of another boot");
    lr_must(live_serve(r.live));
    is_model("served");
}

int
main(void)
{
    char cur[300];

    rnd_init();
    lr_start(&r, 70);
    lb = r.lb;
    next_coin = 1;
    snprintf(cur, sizeof cur, "%s/live/CURRENT", r.dir);
    (void) remove(cur);
    subtest("not served", not_served);
    subtest("chain of three", chain_of_three);
    subtest("-1 to 0", minus_one_to_zero);
    subtest("coinbase and descendants", coinbase_descendants);
    subtest("conflicts", conflicts);
    subtest("refused", refused);
    subtest("bad blocks", bad_blocks);
    subtest("witness", witness);
    subtest("aborted", aborted);
    subtest("facts", facts);
    subtest("trimmed", trimmed);
    subtest("records", records);
    subtest("environments", environments);
    lr_stop(&r);
    return done_testing();
}
