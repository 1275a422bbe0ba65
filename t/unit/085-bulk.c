/*
 * Bulk sync against the naive model of t/lib/chainmodel.h and against
 * settle_add: every row and every flat record, for random chains, memory
 * limits and threads, and for the special rules one by one.
 */
#include "../lib/tap.h"

#include <stdlib.h>

#include "../lib/settlecheck.h"
#include "../lib/bulkrun.h"

static const char *dir;
static char why[512];

static const char *
fresh(void)
{
    static char path[300];
    static int n;

    snprintf(path, sizeof(path), "%s/%d", dir, n++);
    mkdir(path, 0755);
    return path;
}

static struct settle *
open_in(const struct cm *m, const char *data, bool spender)
{
    struct settle_opts o = sc_opts(m, data);
    struct settle *s = NULL;

    o.spender = spender;
    if (settle_open(&s, &o, why, sizeof(why)) != EXI_OK) {
        diag("open: %s", why);
        return NULL;
    }
    return s;
}

static bool
published_right(struct settle *s, const struct cm *m, const char *data)
{
    struct exi_live_gen g;
    char path[400];
    uint32_t height;
    int rc = settle_publish(s, &g);

    if (rc != EXI_OK) {
        diag("publish: %d", rc);
        return false;
    }
    snprintf(path, sizeof(path), "%s/generations/%010llu", data,
             (unsigned long long) g.number);
    if (!sc_generation(path, m, &height)) {
        diag("%s", sc_error);
        return false;
    }
    return height == settle_meta(s)->height && g.height == height;
}

/* Each output's settle_prevout; each txid's settle_txnum. */
static bool
lookups_right(struct settle *s, const struct cm *m)
{
    size_t ntxs = settle_meta(s)->tx_count;

    for (size_t i = 0; i < m->nouts; i++) {
        const struct cm_out *o = &m->outs[i];
        const struct cm_tx *t = &m->txs[o->tx];
        struct exi_skey k, want;
        int64_t value = -1;
        int rc = settle_prevout(s, &t->txid, (uint32_t) (i - t->first_out), &k,
                                &value);
        bool unspent = o->tx < ntxs && o->script >= 0
                       && (o->spent == 0 || o->spent - 1 >= ntxs);

        if (rc != (unspent ? EXI_OK : EXI_ENOTFOUND)) {
            diag("output %zu: %d", i, rc);
            return false;
        }
        want = cm_skey(o->script);
        if (unspent
            && (value != o->value_sat || memcmp(&k, &want, sizeof(k)) != 0)) {
            diag("output %zu: wrong", i);
            return false;
        }
    }
    for (size_t i = 0; i < m->ntxs; i++) {
        uint64_t txnum = 0;
        int rc = settle_txnum(s, &m->txs[i].txid, &txnum);

        if (rc != (i < ntxs ? EXI_OK : EXI_ENOTFOUND)
            || (rc == EXI_OK && txnum != i)) {
            diag("transaction %zu: %d", i, rc);
            return false;
        }
    }
    return true;
}

static struct bulk_opts
opts(size_t memory, unsigned threads, unsigned checkpoint_ms)
{
    struct bulk_opts o = { .memory = memory,
                           .threads = threads,
                           .expected_txs = 4000,
                           .checkpoint_ms = checkpoint_ms };

    return o;
}

/* Bulk sync up to `to` in a new directory; then the rest by settle_add. */
static bool
synced_right(const struct cm *m, uint32_t to, const struct bulk_opts *o,
             bool spender, bool lookups)
{
    const char *data = fresh();
    struct settle *s = open_in(m, data, spender);
    bool good;
    int rc;

    if (s == NULL) {
        return false;
    }
    rc = br_sync(s, m, to, o, why, sizeof(why));
    if (rc != EXI_OK) {
        diag("%d: %s", rc, why);
        return false;
    }
    good = settle_any(s) && settle_meta(s)->height == to && !bulk_exists(s)
           && published_right(s, m, data) && (!lookups || lookups_right(s, m));
    for (uint32_t h = to + 1; good && h < m->nblocks; h += 7) {
        uint32_t last = h + 6 < m->nblocks ? h + 6 : (uint32_t) m->nblocks - 1;

        rc = sc_settle(s, m, h, last);
        good = rc == EXI_OK && published_right(s, m, data);
    }
    settle_close(s);
    s = good ? open_in(m, data, spender) : NULL;
    good = good && s != NULL && settle_meta(s)->height == m->nblocks - 1;
    settle_close(s);
    sc_remove(data);
    return good;
}

/* Memory from "all fits" down to "everything is divided and spilled". */
static void
random_chains(bool cash)
{
    static const size_t memory[] = { 64 << 20, 1 << 20, 100000, 20000, 3000 };

    for (unsigned i = 0; i < 20; i++) {
        struct cm m = { .scripts = 60, .txs_max = 25, .cash = cash };
        struct bulk_opts o = opts(memory[i % 5], 1 + i % 3,
                                  i % 4 == 0   ? 0
                                  : i % 4 == 1 ? 20
                                               : 60000);

        cm_grow(&m, 150, rnd());
        o.expected_txs = i % 7 == 3 ? 100 : i % 7 == 4 ? 0 : 4000;
        each(synced_right(&m, 129, &o, i & 1, i < 6),
             "chain %u: memory %zu, %u threads", i, o.memory, o.threads);
        cm_free(&m);
    }
    each_done("random chains");
}

static void
test_random(void)
{
    random_chains(false);
}

static void
test_cash(void)
{
    random_chains(true);
}

/* The facts of both ways to sync, directly. */
static void
same(bool cash)
{
    struct cm m = { .scripts = 30, .txs_max = 30, .cash = cash };
    struct bulk_opts o = opts(50000, 2, 60000);
    const struct exi_meta *x, *y;
    struct settle *s[2];
    struct sc c[2];
    char path[2][400], cmd[1000];

    cm_grow(&m, 100, rnd());
    memset(c, 0, sizeof(c));
    for (int i = 0; i < 2; i++) {
        struct exi_live_gen g;
        const char *data = fresh();

        s[i] = open_in(&m, data, true);
        is_int(i == 0 ? sc_settle(s[0], &m, 0, 99)
                      : br_sync(s[1], &m, 99, &o, why, sizeof(why)),
               EXI_OK, "%s", i == 0 ? "settle_add" : "bulk");
        is_int(settle_publish(s[i], &g), EXI_OK, "published");
        snprintf(path[i], sizeof(path[i]), "%s/generations/%010llu", data,
                 (unsigned long long) g.number);
        c[i].params = *settle_params(s[i]);
        snprintf(cmd, sizeof(cmd), "%s/db", path[i]);
        ok(sc_read_db(&c[i], cmd), "rows can be read: %s", sc_error);
    }
    ok(sc_same_facts(&c[1].facts, &c[0].facts), "same rows: %s", sc_error);
    x = settle_meta(s[0]);
    y = settle_meta(s[1]);
    ok(x->utxo_count == y->utxo_count && x->hist_count == y->hist_count
           && x->tx_count == y->tx_count && x->height == y->height
           && memcmp(&x->block, &y->block, 32) == 0,
       "same counts");
    snprintf(cmd, sizeof(cmd), "diff -r '%s/flat' '%s/flat'", path[0], path[1]);
    is_int(system(cmd), 0, "same flat files");
    for (int i = 0; i < 2; i++) {
        free(c[i].facts.v);
        settle_close(s[i]);
    }
    cm_free(&m);
}

static void
test_same(void)
{
    same(false);
    same(true);
}

/* One block with the given coinbase. */
static void
add_block(struct cm *m, uint64_t tag, int script)
{
    struct bb b = { 0 };
    int two[2] = { script, -2 };

    cm_open(m, &b);
    cm_tx(m, &b, NULL, 0, tag, two, 2);
    cm_mature(m, m->ntxs - 1);
    cm_close(m, &b);
    bb_free(&b);
}

/* A block that spends an output; the amount depends on `amount` only. */
static void
spend(struct cm *m, size_t out, int script, uint64_t amount)
{
    uint64_t saved = rnd_state;
    struct bb b = { 0 };

    cm_open(m, &b);
    cm_tx(m, &b, NULL, 0, 777000 + m->nblocks, &script, 1);
    rnd_state = amount;
    cm_tx(m, &b, &out, 1, 0, &script, 1);
    rnd_state = saved;
    cm_close(m, &b);
    bb_free(&b);
}

/*
 * Duplicate coinbases far and near.  spends: 1 the earlier one is spent before
 * the later one comes, 2 the later one is spent, 4 both by the same
 * transaction, which comes twice then, too.
 */
static void
duplicates(uint32_t first, uint32_t second, size_t memory, int spends)
{
    struct cm m = { .scripts = 10, .txs_max = 4 };
    struct bulk_opts o = opts(memory, 2, 60000);
    size_t early = 0;

    while (m.nblocks < 60) {
        if (m.nblocks == first || m.nblocks == second) {
            add_block(&m, 4242, 3);
            if (m.nblocks == first + 1) {
                early = m.nouts - 2;
            }
        } else if (m.nblocks == first + 1 || m.nblocks == second + 1) {
            add_block(&m, 4343, 3);
        } else if (spends & 1 && m.nblocks == first + 4) {
            spend(&m, early, 2, 1);
        } else if (spends & 2 && m.nblocks == second + 4) {
            spend(&m, m.txs[m.blocks[second].tx_count - 1].first_out, 2,
                  spends & 4 ? 1 : 2);
        } else {
            add_block(&m, m.nblocks, (int) m.nblocks % 7);
        }
    }
    each(synced_right(&m, 59, &o, true, false),
         "duplicates at %u and %u, memory %zu, spends %d", first, second,
         memory, spends);
    cm_free(&m);
}

static void
test_duplicates(void)
{
    for (int spends = 0; spends < 8; spends++) {
        if (spends > 3 && spends != 7) {
            continue;
        }
        duplicates(10, 20, 1 << 20, spends);
        duplicates(10, 40, 1000, spends);
        duplicates(1, 50, 1000, spends);
        duplicates(9, 15, 1000, spends);
    }
    each_done("duplicates");
}

/* Scripts with thousands of entries; one is in a transaction that is replaced;
 * with little memory they exceed what a thread should use. */
static void
test_heavy(void)
{
    static const unsigned sizes[] = { 1020, 1023, 1024, 4096, 4097, 9000 };
    struct cm m = { .scripts = 10, .txs_max = 4 };

    add_block(&m, 0, 1);
    add_block(&m, 4242, 2);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bb b = { 0 };
        int two[2] = { 2, 2 }, script = 2;
        size_t coin = m.coins[m.ncoins - 1];

        cm_open(&m, &b);
        cm_tx(&m, &b, NULL, 0, i == 2 || i == 4 ? 4243 : 100 + i,
              i == 2 || i == 4 ? two : &script, i == 2 || i == 4 ? 2 : 1);
        for (unsigned k = 1; k < sizes[i]; k++) {
            int other = k % 50 == 0 ? 5 : 2;

            cm_tx(&m, &b, &coin, 1, 0, other == 2 ? two : &other, 1);
            coin = m.nouts - 1;
        }
        m.coins[m.ncoins - 1] = coin;
        cm_close(&m, &b);
        bb_free(&b);
        for (size_t n = sizes[i]; i < 2 && m.nblocks < n; n /= 2) {
            add_block(&m, 7000 + m.nblocks, 4);
        }
    }
    for (int i = 0; i < 3; i++) {
        struct bulk_opts o = opts(i == 0 ? 16 << 20 : 5000, 2, 60000);

        o.expected_txs = i == 2 ? 1000000 : 4000;
        each(synced_right(&m, (uint32_t) m.nblocks - 1, &o, true, false),
             "memory %zu", o.memory);
    }
    each_done("heavy scripts");
    cm_free(&m);
}

/* Starts a bulk sync with one block replaced; how it ends. */
static int
with_block(const struct cm *m, uint32_t at, const uint8_t *raw, size_t rawlen,
           size_t memory)
{
    struct bulk_opts o = opts(memory, 2, 60000);
    const char *data = fresh();
    struct settle *s = open_in(m, data, true);
    struct br_source src = { .m = m, .bad = at, .raw = raw, .rawlen = rawlen };
    struct bulk *b = NULL;
    int rc = bulk_open(&b, s, &o);

    if (rc == EXI_OK) {
        rc = br_read(b, &src, at);
    }
    if (rc == EXI_OK) {
        rc = bulk_finish(b, why, sizeof(why));
        each((rc == EXI_OK) == settle_any(s), "nothing by halves");
    }
    bulk_close(b);
    each(bulk_drop(s) == EXI_OK, "dropped");
    settle_close(s);
    sc_remove(data);
    return rc;
}

static void
test_bad_blocks(void)
{
    struct cm m = { .scripts = 10, .txs_max = 8 };
    uint8_t *raw;
    size_t len;

    cm_grow(&m, 10, rnd());
    len = m.blocks[5].rawlen;
    raw = malloc(len);
    for (int k = 0; k < 60; k++) {
        size_t n = (size_t) rnd_below(len), i = (size_t) rnd_below(len);
        int rc;

        memcpy(raw, m.blocks[5].raw, len);
        rc = with_block(&m, 5, raw, n, 1 << 20);
        each(rc == EXI_ENODE, "%zu bytes: %d", n, rc);
        raw[i] ^= (uint8_t) (1 + rnd_below(255));
        rc = with_block(&m, 5, raw, len, 1 << 20);
        each(rc == EXI_ENODE || rc == EXI_EAPI || (i >= 68 && rc == EXI_OK)
                 || (i < 4 && rc == EXI_OK),
             "byte %zu: %d", i, rc);
    }
    each_done("damaged blocks");
    each(with_block(&m, 4, m.blocks[5].raw, len, 1 << 20) == EXI_EAPI,
         "a block in another's place");
    each(with_block(&m, 0, m.blocks[1].raw, m.blocks[1].rawlen, 1 << 20)
             == EXI_EAPI,
         "another genesis block");
    each_done("links");
    {
        struct bulk_opts o = opts(1 << 20, 2, 60000);
        const char *data = fresh();
        struct settle *s = open_in(&m, data, true);
        struct br_source src = { .m = &m, .bad = 5, .mend = true };
        struct bulk *b = NULL;

        memcpy(raw, m.blocks[5].raw, len);
        raw[len - 3] ^= 1;
        src.raw = raw;
        src.rawlen = len - 1;
        is_int(bulk_open(&b, s, &o), EXI_OK, "open");
        is_int(br_read(b, &src, 9), EXI_OK, "the node has the right one");
        is_int(bulk_finish(b, why, sizeof(why)), EXI_OK, "finish");
        bulk_close(b);
        ok(published_right(s, &m, data), "rows");
        settle_close(s);
    }
    free(raw);
    cm_free(&m);
}

/* A block number 4 with n transactions that spend (tx, index). */
static int
try_spend(const struct cm *m, size_t tx, uint32_t index, int n, size_t memory)
{
    struct bb b = { 0 };
    struct exi_txid id;
    struct exi_blkid hash;
    struct bb_out out = { 5, (const uint8_t *) "\x51", 1 };
    struct bb_in in = { m->txs[tx].txid, index };
    int rc;

    bb_begin(&b, &m->blocks[3].hash, 9);
    bb_tx(&b, &id, NULL, 77, &out, 1, false);
    for (int k = 0; k < n; k++) {
        bb_tx(&b, &id, &in, 1, &out, 1, k == 1);
        out.value_sat++;
    }
    bb_finish(&b, &hash);
    rc = with_block(m, 4, b.raw, b.rawlen, memory);
    bb_free(&b);
    return rc;
}

static void
test_bad_spends(void)
{
    struct cm m = { .scripts = 10, .txs_max = 4 };

    for (int i = 0; i < 5; i++) {
        add_block(&m, (uint64_t) i, 1);
    }
    for (size_t memory = 1 << 20; memory >= 100; memory /= 100) {
        each(try_spend(&m, 1, 0, 1, memory) == EXI_OK, "once");
        each(try_spend(&m, 1, 0, 2, memory) == EXI_EFORMAT, "twice");
        each(try_spend(&m, 3, 0, 2, memory) == EXI_EFORMAT, "twice");
        each(try_spend(&m, 0, 0, 1, memory) == EXI_EFORMAT, "genesis");
        each(try_spend(&m, 1, 1, 1, memory) == EXI_EFORMAT, "OP_RETURN");
        each(try_spend(&m, 1, 2, 1, memory) == EXI_EFORMAT, "no such output");
        each(try_spend(&m, 4, 0, 1, memory) == EXI_EFORMAT, "later one");
    }
    each_done("spends");
    cm_free(&m);
}

static bool
change_byte(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    uint8_t c;
    bool good = fd >= 0 && pread(fd, &c, 1, at) == 1;

    c ^= 1;
    good = good && pwrite(fd, &c, 1, at) == 1;
    close(fd);
    return good;
}

static unsigned calls;

static int
stop_at_third(void *ctx, const struct bulk_progress *p)
{
    (void) ctx;
    return p->total >= p->done && ++calls % 3 == 0 ? 17 : 0;
}

/* A source that fails, a stop, an opening with other settings. */
static void
test_interrupted(void)
{
    struct cm m = { .scripts = 30, .txs_max = 30 };
    struct bulk_opts o = opts(100000, 2, 60000);
    struct br_source src = { .m = &m, .fail_at = 33, .error = EXI_ENET };
    const char *data = fresh();
    struct settle *s;
    struct exi_blkid tip;
    struct bulk *b;
    char path[600];
    uint32_t n;
    int rc;

    cm_grow(&m, 120, rnd());
    s = open_in(&m, data, true);
    ok(!bulk_exists(s), "there is none");
    is_int(bulk_open(&b, s, &o), EXI_OK, "open");
    ok(bulk_exists(s) && bulk_reading(b), "there is one");
    is_int(br_read(b, &src, 99), EXI_ENET, "the source fails");
    /* A second thread may have asked again already. */
    n = bulk_blocks(b, &tip);
    ok(n >= 33 && n <= 35, "up to that block: %u", n);
    is_mem(&tip, &m.blocks[n - 1].hash, 32, "tip");
    is_int(br_read(b, &src, 50), EXI_OK, "it goes on");
    is_int(bulk_blocks(b, &tip), 51, "to the end");
    bulk_close(b);

    is_int(bulk_open(&b, s, &o), EXI_OK, "no checkpoint was due");
    is_int(bulk_blocks(b, NULL), n, "but when the source failed");
    bulk_close(b);
    o.checkpoint_ms = 0;
    is_int(bulk_open(&b, s, &o), EXI_OK, "open");
    is_int(br_read(b, &src, 60), EXI_OK, "read");
    bulk_close(b);
    settle_close(s);

    s = open_in(&m, data, true);
    o.memory = 3000;
    o.threads = 1;
    is_int(bulk_open(&b, s, &o), EXI_OK, "less memory");
    is_int(bulk_blocks(b, &tip), 61, "goes on where it was");
    is_mem(&tip, &m.blocks[60].hash, 32, "tip");
    is_int(br_read(b, &src, 90), EXI_OK, "read");
    bulk_close(b);

    o.memory = 1 << 20;
    o.threads = 3;
    o.progress = stop_at_third;
    for (int i = 0; i < 100; i++) {
        is_int(bulk_open(&b, s, &o), EXI_OK, "open");
        rc = bulk_reading(b) ? br_read(b, &src, 99) : EXI_OK;
        if (rc == EXI_OK) {
            rc = bulk_finish(b, why, sizeof(why));
        }
        bulk_close(b);
        if (rc != 17) {
            break;
        }
    }
    is_int(rc, EXI_OK, "finished");
    ok(published_right(s, &m, data), "rows");
    is_int(bulk_open(&b, s, &o), EXI_EAPI, "not again");
    settle_close(s);

    data = fresh();
    s = open_in(&m, data, true);
    o.progress = NULL;
    o.checkpoint_ms = 0;
    is_int(bulk_open(&b, s, &o), EXI_OK, "another one");
    is_int(br_read(b, &src, 60), EXI_OK, "read");
    bulk_close(b);
    snprintf(path, sizeof(path), "%s/settled/0000000001/bulk/state", data);
    ok(change_byte(path, 99), "its state is damaged");
    is_int(bulk_open(&b, s, &o), EXI_OK, "open");
    is_int(bulk_blocks(b, NULL), 0, "begins again");
    bulk_close(b);
    is_int(bulk_drop(s), EXI_OK, "drop");
    ok(!bulk_exists(s), "gone");
    is_int(sc_settle(s, &m, 0, 50), EXI_OK, "the other way");
    ok(published_right(s, &m, data), "rows");
    settle_close(s);
    cm_free(&m);
}

int
main(void)
{
    /* Many errors are provoked, and logged. */
    if (getenv("EXI_TEST_LOG") == NULL
        && freopen("/dev/null", "w", stderr) == NULL) {
        return 1;
    }
    rnd_init();
    dir = sc_tmp();
    subtest("random chains", test_random);
    subtest("canonical order and tokens", test_cash);
    subtest("the same as settle_add", test_same);
    subtest("duplicate coinbases", test_duplicates);
    subtest("heavy scripts", test_heavy);
    subtest("damaged blocks", test_bad_blocks);
    subtest("bad spends", test_bad_spends);
    subtest("interrupted", test_interrupted);
    sc_remove(dir);
    return done_testing();
}
