/*
 * exi_tx.h: the genesis block, transactions made field by field, every
 * truncation, random damage, Litecoin's MWEB forms.  Buffers are heap blocks
 * of the exact size, so that ASan sees a read past their end.
 */
#include "exi_tx.h"

#include <stdlib.h>

#include "exi_hex.h"
#include "rnd.h"
#include "tap.h"
#include "txcheck.h"
#include "txmake.h"

/* Block 0 of Bitcoin, and what is known of it. */
static const char genesis_hex[] =
    "01000000000000000000000000000000000000000000000000000000000000000000"
    "00003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c01010000000100000000000000000000000000000000"
    "00000000000000000000000000000000ffffffff4d04ffff001d0104455468652054"
    "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e20627269"
    "6e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff"
    "0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e039"
    "09a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d57"
    "8a4c702b6bf11d5fac00000000";
static const char genesis_hash[] =
    "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
static const char genesis_txid[] =
    "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";

#define GENESIS_LEN 285

static void
is_display(const uint8_t hash[EXI_HASH_LEN], const char *want, const char *name)
{
    char hex[2 * EXI_HASH_LEN + 1] = { 0 };

    exi_hex_display(hex, hash);
    is_str(hex, want, "%s", name);
}

static void
check_genesis_tx(const struct exi_tx *tx)
{
    struct exi_txin in;
    struct exi_txout out;
    struct exi_txid id;

    exi_tx_id(&id, tx);
    is_display(id.b, genesis_txid, "its id");
    is_int(tx->size, 204, "size");
    is_int(tx->stripped_size, 204, "stripped size");
    is_int(exi_tx_vsize(tx), 204, "virtual size");
    ok(tx->coinbase && !tx->hogex, "coinbase");
    is_int(tx->nin, 1, "one input");
    is_int(tx->nout, 1, "one output");
    exi_txin_next(&in, tx->ins);
    is_int(in.prev_index, 0xffffffff, "null outpoint");
    is_int(in.sequence, 0xffffffff, "sequence");
    is_int(in.scriptlen, 77, "input script");
    is_mem(in.script + 8, "The Times 03/Jan/2009", 21, "headline");
    ok(exi_txout_next(&out, tx->outs) == tx->outs_end, "end of the outputs");
    is_int(out.value_sat, 5000000000, "50 BTC");
    is_int(out.scriptlen, 67, "output script");
    is_int(out.script[66], 0xac, "its last byte");
}

static void
test_genesis(void)
{
    uint8_t buf[GENESIS_LEN], hash[EXI_HASH_LEN];
    struct exi_block b;
    struct exi_tx tx;

    is_int(sizeof(genesis_hex) - 1, 2 * GENESIS_LEN, "285 bytes");
    is_int(exi_unhex(buf, genesis_hex, 2 * GENESIS_LEN), EXI_OK, "hex");
    is_int(exi_block_open(&b, buf, GENESIS_LEN), EXI_OK, "opens");
    exi_sha256d(hash, b.header, EXI_HEADER_LEN);
    is_display(hash, genesis_hash, "block hash");
    is_int(b.ntx, 1, "one transaction");
    is_int(b.size, GENESIS_LEN, "block size");
    is_int(exi_block_next(&b, &tx), 1, "first transaction");
    is_int(tx.raw - b.buf, 81, "offset");
    check_genesis_tx(&tx);
    is_int(exi_block_next(&b, &tx), 0, "no second");
    is_int(exi_block_next(&b, &tx), 0, "still none");
}

/* A parse of a copy of exactly len bytes. */
static int
parse_copy(const uint8_t *buf, size_t len, bool whole)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct exi_tx tx;
    int rc;

    memcpy(copy, buf, len);
    rc = whole ? exi_tx_parse_whole(&tx, copy, len)
               : exi_tx_parse(&tx, copy, len);
    if (rc == EXI_OK && !txcheck(&tx, copy, len)) {
        rc = EXI_EAPI; /* accepted, but wrong */
    }
    free(copy);
    return rc;
}

/* A transaction with a witness, by hand. */
static const uint8_t segwit[] = {
    0x02, 0,    0,    0, /* version */
    0,    1,             /* marker, flag */
    1,                   /* inputs */
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99,
    0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x11, 0x22,
    0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
    0xcc, 0xdd, 0xee, 0xff, 0x00, 7,    0,    0,    0, /* outpoint */
    2,    0x51, 0x52,                                  /* script */
    0xfe, 0xff, 0xff, 0xff,                            /* sequence */
    2,                                                 /* outputs */
    0x10, 0x27, 0,    0,    0,    0,    0,    0,    3,
    0x6a, 0x01, 0x41,                                  /* 10000 */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, /* most */
    2,    3,    0xa1, 0xa2, 0xa3, 0,                   /* witness */
    0x40, 0xe2, 0x01, 0,                               /* lock time */
};
/* Where its parts begin. */
#define SEGWIT_NIN     6
#define SEGWIT_OUTS    (SEGWIT_NIN + 1 + 43)
#define SEGWIT_WITNESS (SEGWIT_OUTS + 1 + 12 + 9)

static void
test_segwit(void)
{
    uint8_t stripped[sizeof(segwit)], want[EXI_HASH_LEN];
    size_t n = SEGWIT_WITNESS - SEGWIT_NIN;
    struct exi_tx tx;
    struct exi_txin in;
    struct exi_txout out;
    struct exi_txid id;
    const uint8_t *p;

    is_int(exi_tx_parse(&tx, segwit, sizeof(segwit)), EXI_OK, "parses");
    is_int(tx.size, sizeof(segwit), "size");
    is_int(tx.stripped_size, n + 8, "stripped size");
    is_int(exi_tx_vsize(&tx), (3 * (n + 8) + sizeof(segwit) + 3) / 4, "vsize");
    ok(!tx.coinbase && tx.nin == 1 && tx.nout == 2, "counts");
    p = exi_txin_next(&in, tx.ins);
    ok(p == segwit + SEGWIT_OUTS, "end of the input");
    is_mem(in.prev_txid, segwit + SEGWIT_NIN + 1, EXI_HASH_LEN, "outpoint");
    is_int(in.prev_index, 7, "index");
    is_int(in.sequence, 0xfffffffe, "sequence");
    is_mem(in.script, "\x51\x52", 2, "input script");
    p = exi_txout_next(&out, tx.outs);
    is_int(out.value_sat, 10000, "first amount");
    is_int(out.scriptlen, 3, "first script");
    p = exi_txout_next(&out, p);
    is_int(out.value_sat, INT64_MAX, "second amount");
    is_int(out.scriptlen, 0, "empty script");
    ok(p == tx.outs_end && p == segwit + SEGWIT_WITNESS, "end of the outputs");
    memcpy(stripped, segwit, 4);
    memcpy(stripped + 4, segwit + SEGWIT_NIN, n);
    memcpy(stripped + 4 + n, segwit + sizeof(segwit) - 4, 4);
    exi_sha256d(want, stripped, n + 8);
    exi_tx_id(&id, &tx);
    is_mem(id.b, want, EXI_HASH_LEN, "id is that of the stripped form");
    is_int(exi_tx_parse(&tx, stripped, n + 8), EXI_OK, "stripped form parses");
    exi_tx_id(&id, &tx);
    is_mem(id.b, want, EXI_HASH_LEN, "and has the same id");
}

/* The hand-made transaction with one byte changed. */
static int
parse_with(size_t at, uint8_t value)
{
    uint8_t buf[sizeof(segwit)];

    memcpy(buf, segwit, sizeof(buf));
    buf[at] = value;
    return parse_copy(buf, sizeof(buf), false);
}

static void
test_refused(void)
{
    static const uint8_t empty[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    uint8_t none[sizeof(segwit)];
    size_t rest = sizeof(segwit) - SEGWIT_WITNESS - 6;
    struct exi_tx tx;

    is_int(exi_tx_parse(&tx, NULL, 0), EXI_EFORMAT, "NULL, no bytes");
    is_int(exi_tx_parse(&tx, empty, sizeof(empty)), EXI_EFORMAT,
           "no inputs, no outputs");
    is_int(parse_with(5, 0), EXI_EFORMAT, "flag 0");
    is_int(parse_with(5, 2), EXI_EFORMAT, "flag 2");
    is_int(parse_with(5, 3), EXI_EFORMAT, "flag 3");
    is_int(parse_with(5, 0x11), EXI_EFORMAT, "flag 17");
    is_int(parse_with(SEGWIT_NIN, 0), EXI_EFORMAT, "no inputs");
    is_int(parse_with(SEGWIT_NIN, 2), EXI_EFORMAT, "more inputs than bytes");
    is_int(parse_with(SEGWIT_NIN, 0xff), EXI_EFORMAT, "very many inputs");
    is_int(parse_with(SEGWIT_OUTS, 0), EXI_EFORMAT, "no outputs");
    is_int(parse_with(SEGWIT_OUTS, 0xfe), EXI_EFORMAT, "very many outputs");
    is_int(parse_with(SEGWIT_WITNESS, 0xfd), EXI_EFORMAT, "very many items");
    is_int(parse_with(SEGWIT_WITNESS + 1, 12), EXI_EFORMAT, "long item");
    memcpy(none, segwit, SEGWIT_WITNESS);
    none[SEGWIT_WITNESS] = 0;
    memcpy(none + SEGWIT_WITNESS + 1, segwit + sizeof(segwit) - rest, rest);
    is_int(exi_tx_parse(&tx, none, SEGWIT_WITNESS + 1 + rest), EXI_EFORMAT,
           "witness flag, no witness");
    none[SEGWIT_WITNESS] = 1;
    none[SEGWIT_WITNESS + 1] = 0;
    memcpy(none + SEGWIT_WITNESS + 2, segwit + sizeof(segwit) - rest, rest);
    is_int(exi_tx_parse(&tx, none, SEGWIT_WITNESS + 2 + rest), EXI_OK,
           "an empty item is a witness");
}

/* A script length that overflows when something is added to it. */
static void
test_overflow(void)
{
    static const uint8_t lengths[][9] = {
        { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
        { 0xff, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
        { 0xff, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00 },
        { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
        { 0xfe, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00 },
    };
    static const size_t places[] = { SEGWIT_NIN,     SEGWIT_NIN + 37,
                                     SEGWIT_OUTS,    SEGWIT_OUTS + 9,
                                     SEGWIT_WITNESS, SEGWIT_WITNESS + 1 };
    uint8_t buf[sizeof(segwit) + 8];

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
            size_t at = places[k];

            memcpy(buf, segwit, at);
            memcpy(buf + at, lengths[i], 9);
            memcpy(buf + at + 9, segwit + at + 1, sizeof(segwit) - at - 1);
            each(parse_copy(buf, sizeof(buf), false) == EXI_EFORMAT,
                 "number %zu at %zu", i, at);
        }
    }
    each_done("absurd numbers");
}

static struct txmake
random_tx(void)
{
    static const uint8_t flags[] = { 0, 0, 1, 1, 1, 8, 9 };
    struct txmake t = { .nin = 1 + (unsigned) rnd_bits(3),
                        .nout = 1 + (unsigned) rnd_bits(3),
                        .max_script = (unsigned) rnd_bits(9),
                        .flags = flags[rnd_below(sizeof(flags))] };

    t.coinbase = t.nin == 1 && rnd_below(4) == 0;
    return t;
}

#define BUF_LEN 1200000

/* Parses what txmake() made, followed by other bytes. */
static void
check_made(const struct made *m, const struct txmake *t, const char *what)
{
    uint8_t *copy = malloc(m->len);
    struct exi_tx tx;
    struct exi_txid id;
    int rc;

    memcpy(copy, m->b, m->len);
    rc = exi_tx_parse(&tx, copy, m->len);
    if (each(rc == EXI_OK, "%s: rc %d", what, rc)) {
        exi_tx_id(&id, &tx);
        each(memcmp(id.b, t->id.b, EXI_HASH_LEN) == 0, "%s: id", what);
        each(tx.size == t->size && tx.stripped_size == t->stripped,
             "%s: sizes %u, %u", what, tx.size, tx.stripped_size);
        each(tx.nin == t->nin && tx.nout == t->nout, "%s: counts", what);
        each(tx.coinbase == t->coinbase, "%s: coinbase", what);
        each(tx.hogex == (t->flags >= 8), "%s: hogex", what);
        each(txcheck(&tx, copy, m->len), "%s: consistent", what);
    }
    each(exi_tx_parse_whole(&tx, copy, m->len)
             == (m->len == t->size ? EXI_OK : EXI_EFORMAT),
         "%s: whole", what);
    free(copy);
}

static void
test_made(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };

    for (int i = 0; i < 3000; i++) {
        struct txmake t = random_tx();

        m.len = 0;
        txmake(&m, &t);
        made_random(&m, (size_t) rnd_bits(4));
        check_made(&m, &t, "random");
    }
    for (unsigned nin = 250; nin <= 256; nin++) {
        struct txmake t = {
            .nin = nin, .nout = 506 - nin, .max_script = 30, .flags = nin % 2
        };

        m.len = 0;
        txmake(&m, &t);
        check_made(&m, &t, "about 253 of each");
    }
    for (int i = 0; i < 8; i++) {
        struct txmake t = {
            .nin = 1, .nout = 2, .max_script = 140000, .flags = 1
        };

        m.len = 0;
        txmake(&m, &t);
        check_made(&m, &t, "long scripts");
    }
    each(!m.full, "the buffer is long enough");
    each_done("made and read");
    free(m.b);
}

static void
test_truncated(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };

    for (size_t n = 0; n < sizeof(segwit); n++) {
        each(parse_copy(segwit, n, false) == EXI_EFORMAT, "hand-made to %zu",
             n);
        each(parse_copy(segwit, n, true) == EXI_EFORMAT, "whole to %zu", n);
    }
    for (int i = 0; i < 60; i++) {
        struct txmake t = random_tx();

        m.len = 0;
        txmake(&m, &t);
        for (size_t n = 0; n < m.len; n++) {
            each(parse_copy(m.b, n, false) == EXI_EFORMAT,
                 "random %d of %zu cut to %zu", i, m.len, n);
        }
    }
    each_done("every truncation");
    free(m.b);
}

/* Damages up to 4 bytes. */
static void
damage(uint8_t *buf, size_t len)
{
    for (uint64_t k = 1 + rnd_below(4); k != 0; k--) {
        uint8_t *p = buf + rnd_below(len);

        if (rnd_below(2)) {
            *p ^= (uint8_t) (1u << rnd_below(8));
        } else {
            *p = (uint8_t) (rnd_below(2) ? 0xfd + rnd_below(3) : rnd());
        }
    }
}

static void
test_damaged(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };
    uint8_t *copy = malloc(BUF_LEN);

    for (int i = 0; i < 400; i++) {
        struct txmake t = random_tx();

        m.len = 0;
        txmake(&m, &t);
        for (int k = 0; k < 50; k++) {
            int rc;

            memcpy(copy, m.b, m.len);
            damage(copy, m.len);
            rc = parse_copy(copy, m.len, false);
            each(rc == EXI_OK || rc == EXI_EFORMAT, "damage %d.%d", i, k);
            rc = parse_copy(copy, m.len, true);
            each(rc == EXI_OK || rc == EXI_EFORMAT, "whole %d.%d", i, k);
        }
    }
    each_done("damaged transactions");
    free(copy);
    free(m.b);
}

/* Reads a copy of a block to its end: transactions read, or an error. */
static int
read_block(const uint8_t *buf, size_t len, const struct txmake *want)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct exi_block b;
    struct exi_tx tx;
    int rc, n = 0;

    memcpy(copy, buf, len);
    rc = exi_block_open(&b, copy, len);
    while (rc == EXI_OK && (rc = exi_block_next(&b, &tx)) == 1) {
        struct exi_txid id;

        exi_tx_id(&id, &tx);
        rc = EXI_OK;
        if (!txcheck(&tx, tx.raw, (size_t) (copy + len - tx.raw))
            || (want && memcmp(id.b, want[n].id.b, sizeof(id.b)) != 0)) {
            rc = EXI_EAPI;
        }
        n++;
    }
    free(copy);
    return rc == EXI_OK ? n : rc;
}

#define NTX_MAX 40

/* A block of n transactions, the last one with these flags. */
static void
make_block(struct made *m, struct txmake *t, unsigned n, uint8_t last_flags)
{
    m->len = 0;
    made_random(m, EXI_HEADER_LEN);
    made_compact(m, n);
    for (unsigned i = 0; i < n; i++) {
        t[i] = random_tx();
        t[i].max_script = 40;
        t[i].flags &= 1;
        if (i == n - 1) {
            t[i].flags = last_flags;
        }
        txmake(m, &t[i]);
    }
}

static void
test_blocks(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };
    struct txmake t[NTX_MAX];

    for (int i = 0; i < 200; i++) {
        unsigned n = 1 + (unsigned) rnd_below(NTX_MAX);

        make_block(&m, t, n, (uint8_t) rnd_below(2));
        each(read_block(m.b, m.len, t) == (int) n, "block %d of %u", i, n);
        made_le(&m, 0, 1);
        each(read_block(m.b, m.len, t) == EXI_EFORMAT, "a byte more");
        m.b[EXI_HEADER_LEN]++;
        each(read_block(m.b, m.len - 1, t) == EXI_EFORMAT, "one too few");
        m.b[EXI_HEADER_LEN] = 0;
        each(read_block(m.b, m.len - 1, t) == EXI_EFORMAT, "none");
    }
    each_done("blocks");

    make_block(&m, t, 5, 1);
    for (size_t n = 0; n < m.len; n++) {
        each(read_block(m.b, n, t) == EXI_EFORMAT, "cut to %zu", n);
    }
    each_done("every truncation of a block");

    for (int i = 0; i < 2000; i++) {
        uint8_t *copy = malloc(m.len);
        int rc;

        memcpy(copy, m.b, m.len);
        damage(copy, m.len);
        rc = read_block(copy, m.len, NULL);
        each(rc > 0 || rc == EXI_EFORMAT, "damage %d: %d", i, rc);
        free(copy);
    }
    each_done("damaged blocks");
    free(m.b);
}

static void
test_bad_stays(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };
    struct txmake t[NTX_MAX];
    struct exi_block b;
    struct exi_tx tx;

    make_block(&m, t, 3, 0);
    is_int(exi_block_open(&b, m.b, m.len - 1), EXI_OK, "opens");
    is_int(exi_block_next(&b, &tx), 1, "first");
    is_int(exi_block_next(&b, &tx), 1, "second");
    is_int(exi_block_next(&b, &tx), EXI_EFORMAT, "third is cut off");
    is_int(exi_block_next(&b, &tx), EXI_EFORMAT, "it stays so");
    is_int(exi_block_open(&b, m.b, 79), EXI_EFORMAT, "less than a header");
    is_int(exi_block_open(&b, m.b, 80), EXI_EFORMAT, "a header alone");
    is_int(exi_block_open(&b, NULL, 0), EXI_EFORMAT, "NULL, no bytes");
    free(m.b);
}

static void
test_mweb_tx(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };
    struct txmake t = { .nin = 1, .nout = 2, .max_script = 30, .flags = 8 };
    struct exi_tx tx;
    struct exi_txid id;
    uint8_t *copy;
    size_t len;

    txmake(&m, &t);
    is_int(exi_tx_parse(&tx, m.b, m.len), EXI_OK, "HogEx");
    ok(tx.hogex, "is one");
    len = m.len;
    m.b[len - 5] = 2;
    is_int(exi_tx_parse(&tx, m.b, len), EXI_EFORMAT, "optional part is 0 or 1");
    m.len = len - 5;
    made_le(&m, 1, 1);
    made_random(&m, 100);
    made_le(&m, 12345, 4);
    is_int(exi_tx_parse(&tx, m.b, m.len), EXI_EFORMAT,
           "MWEB part of unknown length");
    copy = malloc(m.len);
    memcpy(copy, m.b, m.len);
    is_int(exi_tx_parse_whole(&tx, copy, m.len), EXI_OK, "whole buffer");
    ok(!tx.hogex, "is no HogEx");
    is_int(tx.size, m.len, "size");
    is_int(tx.stripped_size, t.stripped, "stripped size");
    ok(txcheck(&tx, copy, m.len), "consistent");
    copy[m.len - 1] ^= 1;
    exi_tx_id(&id, &tx);
    ok(txcheck(&tx, copy, m.len) && memcmp(id.b, t.id.b, sizeof(id.b)) != 0,
       "the last 4 bytes are the lock time");
    for (size_t n = 0; n < m.len; n++) {
        each(parse_copy(copy, n, true) == (n > len ? EXI_OK : EXI_EFORMAT),
             "cut to %zu", n);
    }
    each_done("truncations of a whole one");
    free(copy);
    free(m.b);
}

static void
test_mweb_block(void)
{
    struct made m = { .b = malloc(BUF_LEN), .cap = BUF_LEN };
    struct txmake t[NTX_MAX];
    size_t len;

    make_block(&m, t, 4, 8);
    len = m.len;
    is_int(read_block(m.b, len, t), EXI_EFORMAT, "HogEx and nothing after it");
    made_le(&m, 0, 1);
    is_int(read_block(m.b, m.len, t), 4, "no MWEB block");
    made_le(&m, 0, 1);
    is_int(read_block(m.b, m.len, t), EXI_EFORMAT, "and something after it");
    m.len = len;
    made_le(&m, 1, 1);
    is_int(read_block(m.b, m.len, t), EXI_EFORMAT, "MWEB block without bytes");
    made_random(&m, 500);
    is_int(read_block(m.b, m.len, t), 4, "MWEB block");
    m.b[len] = 2;
    is_int(read_block(m.b, m.len, t), EXI_EFORMAT, "neither 0 nor 1");
    for (size_t n = 0; n <= len; n++) {
        each(read_block(m.b, n, t) == EXI_EFORMAT, "cut to %zu", n);
    }
    each_done("truncations before the MWEB block");
    make_block(&m, t, 1, 8);
    is_int(read_block(m.b, m.len, t), 1, "alone it is no HogEx");
    made_le(&m, 0, 1);
    is_int(read_block(m.b, m.len, t), EXI_EFORMAT, "nor is anything after it");
    free(m.b);
}

int
main(void)
{
    rnd_init();
    subtest("genesis block", test_genesis);
    subtest("witness by hand", test_segwit);
    subtest("refused", test_refused);
    subtest("overflow", test_overflow);
    subtest("made", test_made);
    subtest("truncated", test_truncated);
    subtest("damaged", test_damaged);
    subtest("blocks", test_blocks);
    subtest("bad block stays bad", test_bad_stays);
    subtest("MWEB transactions", test_mweb_tx);
    subtest("MWEB blocks", test_mweb_block);
    return done_testing();
}
