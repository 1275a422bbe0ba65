/*
 * Settled layer against the naive model of t/lib/chainmodel.h: every row, every
 * flat record and every look-up, for random chains cut into random batches, and
 * for the special rules one by one.
 */
#include "../lib/tap.h"

#include "../lib/settlecheck.h"
#include "lib/exi_past.h"

static const char *dir;
static char why[512];

/* A fresh data directory below the temporary one. */
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

/* Publishes and holds the generation against the model. */
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

static int
past_prevout(struct settle *s, struct exi_past *past, const struct exi_txid *id,
             uint32_t index, struct exi_skey *k, int64_t *value)
{
    struct exi_skey other;
    int64_t v = -1;
    int rc = settle_prevout(s, id, index, k, value);
    int got = exi_past_prevout(past, id, index, &other, &v);

    if (got != rc
        || (rc == EXI_OK
            && (v != *value || memcmp(&other, k, sizeof(other)) != 0))) {
        diag("exi_past_prevout: %d, not %d", got, rc);
        return EXI_EAPI;
    }
    return rc;
}

/* What is published, opened as the live layer does. */
static struct exi_past *
open_past(struct settle *s, const char *data)
{
    struct exi_past *past = NULL;
    struct exi_live_gen g;

    if (settle_publish(s, &g) != EXI_OK
        || exi_past_open(&past, data, &g, NULL, NULL) != EXI_OK) {
        return NULL;
    }
    return past;
}

/* Each output's settle_prevout, and the same of the generation; each txid's
 * settle_txnum. */
static bool
lookups_right(struct settle *s, struct exi_past *past, const struct cm *m)
{
    size_t ntxs = settle_meta(s)->tx_count;

    for (size_t i = 0; i < m->nouts; i++) {
        const struct cm_out *o = &m->outs[i];
        const struct cm_tx *t = &m->txs[o->tx];
        struct exi_skey k, want;
        int64_t value = -1;
        int rc = past_prevout(s, past, &t->txid, (uint32_t) (i - t->first_out),
                              &k, &value);
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

/* A random chain in random batches, closed and opened again in between. */
static void
random_chain(bool spender)
{
    struct cm m = { .scripts = 60, .txs_max = 25 };
    const char *data = fresh();
    struct exi_past *past;
    uint32_t next = 0;
    struct settle *s;

    cm_grow(&m, 150, rnd());
    s = open_in(&m, data, spender);
    ok(s != NULL && !settle_any(s), "an empty directory opens");
    while (next < 120) {
        uint32_t to = next + (uint32_t) rnd_below(20);
        int rc;

        to = to < 119 ? to : 119;
        rc = sc_settle(s, &m, next, to);
        each(rc == EXI_OK, "settle %u ... %u: %d", next, to, rc);
        each(settle_any(s) && settle_meta(s)->height == to, "height %u", to);
        each(published_right(s, &m, data), "generation at height %u", to);
        next = to + 1;
        if (rnd_below(3) == 0) {
            settle_close(s);
            s = open_in(&m, data, spender);
            each(s != NULL && settle_meta(s)->height == to, "open again");
        }
    }
    each_done("batches");
    past = open_past(s, data);
    ok(past != NULL, "the generation, opened");
    ok(past != NULL && lookups_right(s, past, &m), "every look-up");
    exi_past_close(past);
    settle_close(s);
    cm_free(&m);
}

static void
test_random(void)
{
    random_chain(true);
    random_chain(false);
}

/* Adding and then dropping leaves nothing. */
static void
test_abort(void)
{
    struct cm m = { .scripts = 10, .txs_max = 8 };
    const char *data = fresh();
    struct exi_blkid hash;
    struct settle *s;
    struct exi_live_gen g;

    cm_grow(&m, 30, rnd());
    s = open_in(&m, data, true);
    is_int(settle_publish(s, &g), EXI_EAPI, "nothing to publish");
    is_int(settle_commit(s), EXI_OK, "an empty batch is committed");
    is_int(settle_add(s, 1, m.blocks[1].raw, m.blocks[1].rawlen), EXI_EAPI,
           "genesis block must come first");
    is_int(sc_settle(s, &m, 0, 9), EXI_OK, "ten blocks");
    for (uint32_t h = 10; h < 20; h++) {
        each(settle_add(s, h, m.blocks[h].raw, m.blocks[h].rawlen) == EXI_OK,
             "add");
    }
    each_done("ten more added");
    is_int(settle_batch_blocks(s), 10, "ten in the batch");
    ok(settle_batch_bytes(s) > 10 * 80, "it has a size");
    is_int(settle_add(s, 21, m.blocks[21].raw, m.blocks[21].rawlen), EXI_EAPI,
           "a gap is refused");
    is_int(settle_batch_blocks(s), 10, "and changes nothing");
    settle_abort(s);
    is_int(settle_batch_blocks(s), 0, "dropped");
    is_int(settle_commit(s), EXI_OK, "nothing to commit");
    is_int(settle_meta(s)->height, 9, "height is as before");
    ok(published_right(s, &m, data), "rows are as before");
    is_int(sc_settle(s, &m, 10, 19), EXI_OK, "the same blocks again");
    ok(published_right(s, &m, data), "rows");
    is_int(settle_block_hash(s, 7, &hash), EXI_OK, "hash of a block");
    is_mem(&hash, &m.blocks[7].hash, 32, "is right");
    is_int(settle_block_hash(s, 20, &hash), EXI_ENOTFOUND, "above the tip");
    settle_close(s);
    cm_free(&m);
}

/* Blocks that must be refused; the batch is dropped each time. */
static void
test_bad_blocks(void)
{
    struct cm m = { .scripts = 10, .txs_max = 8 };
    const char *data = fresh();
    struct settle *s;
    uint8_t *raw;
    size_t len;

    cm_grow(&m, 10, rnd());
    s = open_in(&m, data, true);
    is_int(sc_settle(s, &m, 0, 4), EXI_OK, "five blocks");
    len = m.blocks[5].rawlen;
    raw = malloc(len + 1);
    for (size_t i = 0; i < len + 1; i++) {
        int rc;

        memcpy(raw, m.blocks[5].raw, len);
        rc = settle_add(s, 5, raw, i);
        each(rc == (i == len ? EXI_OK : EXI_EFORMAT), "%zu bytes: %d", i, rc);
        each(i == len || settle_batch_blocks(s) == 0, "dropped");
    }
    each_done("a block cut anywhere");
    settle_abort(s);
    for (size_t i = 4; i < len; i++) {
        int rc;

        memcpy(raw, m.blocks[5].raw, len);
        raw[i] ^= (uint8_t) (1 + rnd_below(255));
        rc = settle_add(s, 5, raw, len);
        /* Time, bits and nonce of the header are the node's affair; witness
         * bytes are not under the root that is checked here. */
        each(rc == EXI_EFORMAT || rc == EXI_EAPI || (i >= 68 && rc == EXI_OK),
             "byte %zu: %d", i, rc);
        settle_abort(s);
    }
    each_done("a byte changed anywhere");
    is_int(sc_settle(s, &m, 5, 9), EXI_OK, "goes on");
    ok(published_right(s, &m, data), "rows");
    free(raw);
    settle_close(s);
    cm_free(&m);
}

/* One block with the given transactions after the coinbase. */
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

/* Spends of the wrong kind, made by hand. */
static void
test_bad_spends(void)
{
    struct cm m = { .scripts = 10, .txs_max = 4 };
    struct bb b = { 0 };
    struct exi_txid id;
    struct exi_blkid hash;
    struct bb_out out = { 5, (const uint8_t *) "\x51", 1 };
    struct bb_in in[2];
    struct settle *s;
    const char *data = fresh();

    for (int i = 0; i < 4; i++) {
        add_block(&m, (uint64_t) i, 1);
    }
    s = open_in(&m, data, true);
    is_int(sc_settle(s, &m, 0, 2), EXI_OK, "three blocks");
    is_int(settle_add(s, 3, m.blocks[3].raw, m.blocks[3].rawlen), EXI_OK,
           "one in the batch");
#define TRY(name, tx, n, want)                                                 \
    do {                                                                       \
        bb_begin(&b, &m.blocks[3].hash, 9);                                    \
        bb_tx(&b, &id, NULL, 77, &out, 1, false);                              \
        for (int k = 0; k < (n); k++) {                                        \
            in[0].txid = m.txs[tx].txid;                                       \
            in[0].index = 0;                                                   \
            bb_tx(&b, &id, in, 1, &out, 1, k == 1);                            \
            out.value_sat++;                                                   \
        }                                                                      \
        bb_finish(&b, &hash);                                                  \
        is_int(settle_add(s, 4, b.raw, b.rawlen), (want), name);               \
        settle_abort(s);                                                       \
        is_int(settle_add(s, 3, m.blocks[3].raw, m.blocks[3].rawlen), EXI_OK,  \
               "again");                                                       \
    } while (0)
    TRY("a settled output", 1, 1, EXI_OK);
    TRY("an output of the batch", 3, 1, EXI_OK);
    TRY("spent twice in a batch", 3, 2, EXI_EFORMAT);
    TRY("genesis coinbase", 0, 1, EXI_EFORMAT);
#undef TRY
    in[0].txid = m.txs[1].txid;
    in[0].index = 1;
    bb_begin(&b, &m.blocks[3].hash, 9);
    bb_tx(&b, &id, NULL, 77, &out, 1, false);
    bb_tx(&b, &id, in, 1, &out, 1, false);
    bb_finish(&b, &hash);
    is_int(settle_add(s, 4, b.raw, b.rawlen), EXI_EFORMAT, "an OP_RETURN");
    settle_abort(s);
    in[0].index = 0;
    in[1] = in[0];
    bb_begin(&b, &m.blocks[2].hash, 9);
    bb_tx(&b, &id, NULL, 77, &out, 1, false);
    bb_tx(&b, &id, in, 2, &out, 1, false);
    bb_finish(&b, &hash);
    is_int(settle_add(s, 3, b.raw, b.rawlen), EXI_OK,
           "a settled output twice: seen when sorted");
    is_int(settle_commit(s), EXI_EFORMAT, "at commit");
    is_int(settle_meta(s)->height, 2, "nothing happened");
    ok(published_right(s, &m, data), "rows");
    bb_free(&b);
    settle_close(s);
    cm_free(&m);
}

/*
 * Coinbases with the txid of an earlier one: in an earlier batch, in the same
 * batch, both at once, several rows of one bucket.
 */
static void
duplicates(uint32_t first, uint32_t second, uint32_t batch)
{
    struct cm m = { .scripts = 10, .txs_max = 4 };
    const char *data = fresh();
    uint32_t h = 0;
    struct settle *s;
    uint64_t txnum;

    while (m.nblocks < 40) {
        if (m.nblocks == first || m.nblocks == second) {
            add_block(&m, 4242, 3);
        } else if (m.nblocks == first + 1 || m.nblocks == second + 1) {
            add_block(&m, 4343, 3);
        } else {
            add_block(&m, m.nblocks, (int) m.nblocks % 7);
        }
    }
    s = open_in(&m, data, true);
    while (h < 40) {
        uint32_t to = h + batch - 1 < 39 ? h + batch - 1 : 39;

        each(sc_settle(s, &m, h, to) == EXI_OK, "settle");
        each(published_right(s, &m, data), "height %u", to);
        h = to + 1;
    }
    each_done("duplicates");
    is_int(settle_txnum(s, &m.txs[m.blocks[second].tx_count - 1].txid, &txnum),
           EXI_OK, "txid is found");
    is_int(txnum, m.blocks[second].tx_count - 1, "at the later height");
    settle_close(s);
    cm_free(&m);
}

static void
test_duplicates(void)
{
    duplicates(10, 20, 5);  /* other batch, both in one */
    duplicates(10, 20, 40); /* same batch */
    duplicates(10, 20, 1);  /* each block a batch */
    duplicates(9, 12, 10);  /* batch limit between a pair */
    duplicates(10, 12, 11);
}

/* A script with thousands of entries in a batch; also one that is replaced. */
static void
test_heavy(void)
{
    static const unsigned sizes[] = { 1020, 1023, 1024, 4096, 4097, 9000 };
    struct cm m = { .scripts = 10, .txs_max = 4 };
    const char *data = fresh();
    uint32_t next = 0;
    struct settle *s;

    add_block(&m, 0, 1);
    add_block(&m, 4242, 2);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bb b = { 0 };
        int two[2] = { 2, 2 }, script = 2;
        size_t coin = m.coins[m.ncoins - 1];

        cm_open(&m, &b);
        /* The last one replaces a transaction in a heavy list. */
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
        if (i == 0) {
            add_block(&m, 7, 4);
        }
    }
    s = open_in(&m, data, true);
    while (next < m.nblocks) {
        each(sc_settle(s, &m, next, next) == EXI_OK, "settle");
        each(published_right(s, &m, data), "height %u", next);
        next++;
    }
    each_done("heavy scripts");
    settle_close(s);
    data = fresh();
    s = open_in(&m, data, true);
    is_int(sc_settle(s, &m, 0, (uint32_t) m.nblocks - 1), EXI_OK, "in one");
    ok(published_right(s, &m, data), "rows");
    settle_close(s);
    cm_free(&m);
}

/* What settle_open refuses. */
static void
test_refusals(void)
{
    struct cm m = { .scripts = 10, .txs_max = 4 }, other = m;
    const char *data = fresh();
    struct settle_opts o;
    struct settle *s;
    char path[400], cmd[1000];
    FILE *f;

    cm_grow(&m, 5, 1);
    cm_grow(&other, 5, 2);
    s = open_in(&m, data, true);
    is_int(sc_settle(s, &m, 0, 4), EXI_OK, "an index");
    ok(settle_params(s)->script_bits == 9 && settle_params(s)->txid_bits == 9,
       "bits fit the expected number");
    ok(published_right(s, &m, data), "rows");
    settle_close(s);

    o = sc_opts(&m, data);
    o.network = "testnet";
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EAPI, "network");
    ok(strstr(why, "regtest") && strstr(why, "testnet"), "why: %s", why);
    o = sc_opts(&other, data);
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EAPI, "genesis");
    ok(strstr(why, "genesis"), "why: %s", why);

    o = sc_opts(&m, data);
    snprintf(path, sizeof(path), "%s/settled/0000000001/flat/headers.000000",
             data);
    snprintf(cmd, sizeof(cmd), "%s.away", path);
    rename(path, cmd);
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EFORMAT, "no segment");
    ok(strstr(why, "headers.000000"), "why: %s", why);
    rename(cmd, path);

    f = fopen(path, "r+");
    fseek(f, 4 * 80 + 70, SEEK_SET);
    fputs("xx", f);
    fclose(f);
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EFORMAT, "wrong header");
    ok(strstr(why, "flat files"), "why: %s", why);

    snprintf(path, sizeof(path), "%s/FORMAT", data);
    snprintf(cmd, sizeof(cmd),
             "sed -i 's/^electrumx-index 1/electrumx-index 7/' '%s'", path);
    is_int(system(cmd), 0, "another version");
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EVERSION, "is refused");
    ok(strstr(why, "7") && strstr(why, "knows 1"), "why: %s", why);
    unlink(path);
    is_int(settle_open(&s, &o, why, sizeof(why)), EXI_EFORMAT, "no FORMAT");
    ok(strstr(why, "FORMAT"), "why: %s", why);
    cm_free(&m);
    cm_free(&other);
}

int
main(void)
{
    rnd_init();
    dir = sc_tmp();
    subtest("random chains", test_random);
    subtest("abort", test_abort);
    subtest("bad blocks", test_bad_blocks);
    subtest("bad spends", test_bad_spends);
    subtest("duplicate coinbases", test_duplicates);
    subtest("heavy scripts", test_heavy);
    subtest("refusals", test_refusals);
    sc_remove(dir);
    return done_testing();
}
