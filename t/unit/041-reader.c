/*
 * Random changes of the chain and the mempool; after each one a reader in
 * another process compares every answer with a naive model, and the change
 * record must name every script whose status changed.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#define STEPS     220
#define WINDOW    14
#define REORG_MAX 8

struct run {
    struct lr r;
    struct lb_state before; /* at the last commit */
    uint64_t seq;
    char status[LB_SCRIPTS][80]; /* at the last commit */
    enum exi_change kind;
    uint32_t low;
};

static void
say_status(const struct lb *lb, const struct lb_state *st, int script,
           char out[80])
{
    struct lb_entry *e = malloc(LB_MAX_TX * sizeof *e);
    struct lb_text t = { 0 };

    lb_model_status(&t, lb, e, lb_history(lb, st, script, e));
    snprintf(out, 80, "%.*s", (int) t.n, t.p);
    free(t.p);
    free(e);
}

/*
 * One change, on the layer and on the model.
 */

static void
add_txs(struct run *u, int n)
{
    struct lb *lb = u->r.lb;

    for (int i = 0; i < n; i++) {
        int t = lb_make_tx(lb, &lb->st, lb_ok_unspent);
        if (t >= 0) {
            lr_must(lr_add(&u->r, t));
            lb->st.where[t] = LB_POOL;
        }
    }
}

/* A random mempool transaction, or -1. */
static int
random_pool(const struct lb *lb)
{
    for (int i = 0; i < 200; i++) {
        int t = (int) rnd_below((uint64_t) lb->ntx);
        if (lb->st.where[t] == LB_POOL) {
            return t;
        }
    }
    return -1;
}

static void
remove_txs(struct run *u, int n)
{
    struct lb *lb = u->r.lb;

    for (int i = 0; i < n; i++) {
        int t = random_pool(lb);
        if (t >= 0) {
            lr_must(live_mempool_remove(u->r.live, &lb->tx[t].id));
            lb_remove(lb, &lb->st, t);
        }
    }
}

static bool
ok_confirmed(const struct lb *lb, const struct lb_state *st, int tx,
             uint32_t index)
{
    int by = lb_spender(lb, st, tx, index);

    return st->where[tx] >= 0 && (by < 0 || st->where[by] == LB_POOL);
}

/* A transaction that takes the place of those it conflicts with. */
static void
replace_tx(struct run *u)
{
    struct lb *lb = u->r.lb;
    int t = lb_make_tx(lb, &lb->st, ok_confirmed), by, rc;
    bool busy = false;

    if (t < 0) {
        return;
    }
    for (int j = 0; j < lb->tx[t].nin; j++) {
        busy |=
            lb_spender(lb, &lb->st, lb->tx[t].in[j].tx, lb->tx[t].in[j].index)
            >= 0;
    }
    rc = lr_add(&u->r, t);
    each(rc == (busy ? EXI_EBUSY : EXI_OK), "add of a %s: %d",
         busy ? "rival" : "free one", rc);
    for (int j = 0; busy && j < lb->tx[t].nin; j++) {
        by = lb_spender(lb, &lb->st, lb->tx[t].in[j].tx, lb->tx[t].in[j].index);
        if (by >= 0) {
            lr_must(live_mempool_remove(u->r.live, &lb->tx[by].id));
            lb_remove(lb, &lb->st, by);
        }
    }
    if (busy) {
        lr_must(lr_add(&u->r, t));
    }
    lb->st.where[t] = LB_POOL;
}

static void
connect(struct run *u, unsigned percent)
{
    struct lb *lb = u->r.lb;
    int b = lb_make_block(lb, &lb->st, percent, (int) rnd_below(5));

    lr_must(lr_connect(&u->r, b));
    lb_connect(lb, &lb->st, b);
    if ((uint32_t) lb->st.height < u->low) {
        u->low = (uint32_t) lb->st.height;
    }
}

static void
reorg(struct run *u)
{
    struct lb *lb = u->r.lb;
    int floor = (int) u->r.gens[u->r.ngens - 1].height;
    int depth = 1 + (int) rnd_below(REORG_MAX);

    for (int i = 0; i < depth && lb->st.height > floor; i++) {
        u->low = (uint32_t) lb->st.height < u->low ? (uint32_t) lb->st.height
                                                   : u->low;
        lr_must(live_disconnect(u->r.live));
        lb_disconnect(lb, &lb->st);
    }
    for (int i = 0; i <= depth; i++) {
        connect(u, 30 + (unsigned) rnd_below(70));
    }
    u->kind = EXI_CHANGE_REORG;
}

static void
change(struct run *u)
{
    u->kind = EXI_CHANGE_MEMPOOL;
    switch (rnd_below(10)) {
    case 0:
    case 1:
    case 2:
        u->kind = EXI_CHANGE_BLOCK;
        connect(u, 60);
        break;
    case 3:
        reorg(u);
        add_txs(u, 2);
        break;
    case 4:
        remove_txs(u, 1 + (int) rnd_below(4));
        break;
    case 5:
        replace_tx(u);
        break;
    default:
        add_txs(u, 1 + (int) rnd_below(8));
        break;
    }
}

/*
 * Checks in the other process.
 */

struct seen {
    struct run *u;
    uint8_t keys[LB_SCRIPTS];
    int records;
    enum exi_change kind;
    uint32_t low;
};

static int
on_change(void *ctx, uint64_t seq, const struct exi_live_change *c)
{
    struct seen *s = ctx;

    (void) seq;
    s->records++;
    s->kind = c->kind;
    s->low = c->low_height;
    for (uint32_t i = 0; i < c->nscripts; i++) {
        const uint8_t *k = c->scripts + i * EXI_SKEY_LEN;
        if (i > 0 && memcmp(k - EXI_SKEY_LEN, k, EXI_SKEY_LEN) >= 0) {
            return EXI_EFORMAT;
        }
        for (int j = 0; j < LB_SCRIPTS; j++) {
            s->keys[j] |= memcmp(k, &s->u->r.lb->skey[j], EXI_SKEY_LEN) == 0;
        }
    }
    return 0;
}

static int
check_changes(struct run *u, struct exi_view *v)
{
    const struct exi_live_state *st = exi_view_state(v);
    struct seen s = { .u = u };
    int rc = exi_changes(v, st->instance, u->seq, on_change, &s);

    if (rc || s.records != 1 || s.kind != u->kind
        || (u->low != UINT32_MAX && s.low != u->low)) {
        printf("# record: %d, %d records, kind %d, low %u\n", rc, s.records,
               (int) s.kind, s.low);
        return EXI_EFORMAT;
    }
    for (int i = 0; i < LB_SCRIPTS; i++) {
        char now[80];
        say_status(u->r.lb, &u->r.lb->st, i, now);
        if (strcmp(now, u->status[i]) != 0 && !s.keys[i]) {
            printf("# script %d changed without a record\n", i);
            return EXI_EFORMAT;
        }
    }
    return EXI_OK;
}

static int
check_counts(struct run *u, const struct exi_live_state *st)
{
    const struct lb *lb = u->r.lb;
    uint32_t n = 0;
    uint64_t vsize = 0;

    for (int i = 0; i < lb->ntx; i++) {
        struct exi_tx tx;
        if (lb->st.where[i] == LB_POOL
            && exi_tx_parse(&tx, lb->tx[i].raw, lb->tx[i].len) == EXI_OK) {
            n++;
            vsize += exi_tx_vsize(&tx);
        }
    }
    return n == st->mempool_count && vsize == st->mempool_vsize ? EXI_OK
                                                                : EXI_EFORMAT;
}

static int
check_proofs(struct run *u, struct exi_view *v)
{
    const struct lb_state *st = &u->r.lb->st;
    struct exi_hash all[LB_MAX_HEIGHT], root, root2, b1[40], b2[40];
    uint32_t cp = (uint32_t) rnd_below((uint64_t) st->height + 1);
    uint32_t h = (uint32_t) rnd_below((uint64_t) cp + 1);
    size_t n1, n2;
    int rc;

    for (uint32_t i = 0; i <= cp; i++) {
        memcpy(all[i].b, u->r.lb->block[st->chain[i]].hash.b, 32);
    }
    rc = exi_merkle(&root, b1, &n1, all, cp + 1, h);
    rc = rc ? rc : exi_header_proof(v, h, cp, &root2, b2, &n2);
    if (rc == EXI_OK
        && (n1 != n2 || memcmp(&root, &root2, 32) || memcmp(b1, b2, n1 * 32))) {
        rc = EXI_EFORMAT;
    }
    return rc;
}

/* Spenders of live transactions, and nothing false. */
static int
check_spenders(struct run *u, struct exi_view *v)
{
    const struct lb *lb = u->r.lb;

    for (int i = lb->ntx - 1; i > 0 && i > lb->ntx - 300; i--) {
        for (int j = 0; j < lb->tx[i].nout; j++) {
            int by = lb_spender(lb, &lb->st, i, (uint32_t) j);
            struct exi_txid id;
            int32_t height;
            int rc =
                exi_spender_live(v, &lb->tx[i].id, (uint32_t) j, &id, &height);
            bool must =
                by >= 0
                && (lb->st.where[by] == LB_POOL
                    || lb->st.where[by] >= (int) exi_view_state(v)->live_floor);
            if (rc == EXI_ENOTFOUND && !must) {
                continue;
            }
            if (rc || by < 0 || memcmp(&id, &lb->tx[by].id, 32) != 0) {
                return EXI_EFORMAT;
            }
        }
    }
    return EXI_OK;
}

static int
check(struct lr *r, struct exi_view *v, void *ctx)
{
    struct run *u = ctx;
    int rc = lr_compare(r, v, &r->lb->st);

    rc = rc ? rc : check_changes(u, v);
    rc = rc ? rc : check_counts(u, exi_view_state(v));
    rc = rc ? rc : check_proofs(u, v);
    return rc ? rc : check_spenders(u, v);
}

static void
begin(struct run *u)
{
    u->before = u->r.lb->st;
    u->seq = live_state(u->r.live)->seq;
    u->low = UINT32_MAX;
    for (int i = 0; i < LB_SCRIPTS; i++) {
        say_status(u->r.lb, &u->r.lb->st, i, u->status[i]);
    }
    lr_must(live_begin(u->r.live));
}

static void
commit(struct run *u, const char *what, int step)
{
    lr_must(live_commit(u->r.live, u->kind));
    each(lr_view(&u->r, check, u), "step %d: %s", step, what);
}

/* Settles a few blocks; the rows below go in steps. */
static void
settle_some(struct run *u, int step)
{
    struct lr *r = &u->r;
    const struct lb_state *st = &r->lb->st;
    int height = st->height - WINDOW + 3;
    bool done = false;

    if (st->height < (int) r->gens[r->ngens - 1].height + WINDOW) {
        return;
    }
    r->gens[r->ngens++] = lr_settle(r, st, height);
    begin(u);
    u->kind = EXI_CHANGE_SETTLED;
    lr_must(live_generations(r->live, r->gens, r->ngens));
    commit(u, "publish", step);
    memmove(r->gens, r->gens + 1, --r->ngens * sizeof *r->gens);
    while (!done) {
        begin(u);
        lr_must(live_generations(r->live, r->gens, r->ngens));
        lr_must(live_trim(r->live, r->gens[0].height + 1,
                          1 + (uint32_t) rnd_below(9), &done));
        commit(u, "trim", step);
    }
    settle_prune(r->settle, r->gens, r->ngens);
}

/* A change that is taken back. */
static void
abort_some(struct run *u, int step)
{
    struct exi_live_state st = *live_state(u->r.live);

    begin(u);
    change(u);
    change(u);
    live_abort(u->r.live);
    u->r.lb->st = u->before;
    each(memcmp(&st, live_state(u->r.live), sizeof st) == 0,
         "step %d: state after abort", step);
}

static void
random_changes(void)
{
    struct run *u = calloc(1, sizeof *u);

    lr_start(&u->r, 12);
    for (int i = 0; i < STEPS; i++) {
        if (rnd_below(6) == 0) {
            abort_some(u, i);
        }
        begin(u);
        change(u);
        commit(u, "change", i);
        settle_some(u, i);
    }
    each_done("answers equal the model's after each change");
    ok(live_state(u->r.live)->live_floor > 13, "blocks were trimmed: floor %u",
       live_state(u->r.live)->live_floor);
    lr_stop(&u->r);
    free(u);
}

int
main(void)
{
    rnd_init();
    subtest("random changes", random_changes);
    lb_cash = true;
    subtest("Bitcoin Cash: canonical order, tokens", random_changes);
    return done_testing();
}
