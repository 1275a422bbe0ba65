/*
 * The index format: sample bytes of docs/index-format.md, round trips, and
 * every truncation of every value.
 */
#include "../lib/tap.h"

#include "../lib/rnd.h"
#include "exi_format.h"
#include "exi_hex.h"

#include <stdlib.h>

static const struct exi_skey key = { { 0x8b, 0x01, 0xdf, 0x4e, 0x36, 0x8e, 0xa2,
                                       0x8f, 0x8d, 0xc0, 0x42, 0x3b, 0xcf,
                                       0x7a } };

static void
is_hex(const uint8_t *got, size_t len, const char *want, const char *name)
{
    char hex[512];

    exi_hex(hex, got, len);
    hex[2 * len] = '\0';
    is_str(hex, want, "%s", name);
}

static void
sample_keys(void)
{
    struct exi_key k;

    exi_key_bucket(&k, EXI_KIND_HISTORY, exi_bucket(key.b, 12), 7);
    is_hex(k.b, k.len, "488b00000000000007", "H key, 12 bits");
    exi_key_utxo(&k, &key, 260, 300);
    is_hex(k.b, k.len, "558b01df4e368ea28f8dc0423bcf7a0000000104812c", "U key");
    exi_key_outpoint(&k, 260, 1);
    is_hex(k.b, k.len, "4f000000010401", "O key");
    exi_key_heavy(&k, &key, 9, 258);
    is_hex(k.b, k.len, "478b01df4e368ea28f8dc0423bcf7a000000090102", "G key");
    exi_key_bucket(&k, EXI_KIND_TXID, exi_bucket(key.b, 28), 0xffffffff);
    is_hex(k.b, k.len, "548b01df40ffffffff", "T key, 28 bits");
    is_int(exi_key_chunk(k.b), 0xffffffff, "chunk of a key");
}

static void
bucket_bits(void)
{
    is_int(exi_bucket_bits(0, 40), 8, "nothing expected: 8 bits");
    is_int(exi_bucket_bits(40 << 8, 40), 8, "just full: 8 bits");
    is_int(exi_bucket_bits((40 << 8) + 1, 40), 9, "one more: 9 bits");
    is_int(exi_bucket_bits(1400000000ull, 40), 26, "mainnet: 26 bits");
    is_int(exi_bucket_bits(UINT64_MAX, 40), 28, "never above 28");
}

static void
utxo_keys(void)
{
    struct exi_key a, b;
    uint64_t num;
    uint32_t idx, i, j;

    for (int n = 0; n < 20000; n++) {
        i = (uint32_t) rnd() >> (rnd() % 32);
        j = (uint32_t) rnd() >> (rnd() % 32);
        exi_key_utxo(&a, &key, rnd() & 0xffffffffff, i);
        if (exi_key_utxo_parse(a.b, a.len, &num, &idx) != EXI_OK) {
            each(false, "index %u does not parse", i);
            continue;
        }
        exi_key_utxo(&b, &key, num, j);
        each(idx == i
                 && ((memcmp(a.b, b.b, a.len < b.len ? a.len : b.len) < 0)
                     == (i < j)),
             "order of %u and %u", i, j);
        each(exi_key_utxo_parse(a.b, a.len - 1, &num, &idx) == EXI_EFORMAT,
             "truncated");
    }
    each_done("U keys parse and sort by (txnum, index)");
}

static void
tidy(void)
{
    struct exi_tidy t = { 0x1234, { true, 840000, 1ull << 33, 0x102 } }, n;
    uint8_t b[EXI_TIDY_MAX + 1] = { 0 };
    size_t len = exi_tidy_encode(b, &t);

    is_hex(b, len,
           "34120000000000000000000000000000"
           "42000cd14002000000000000000102",
           "P row");
    is_int(exi_tidy_decode(&n, b, len), EXI_OK, "P row decodes");
    ok(n.fresh == t.fresh && n.base.known && n.base.height == t.base.height
           && n.base.txs == t.base.txs && n.base.number == t.base.number,
       "to the same");
    b[16] = 'T';
    is_int(exi_tidy_decode(&n, b, len), EXI_OK, "the key of a row");
    ok(n.fresh == t.fresh && !n.base.known, "says nothing");
    b[16] = 'B';
    is_int(exi_tidy_decode(&n, b, len - 1), EXI_OK, "a short one");
    ok(!n.base.known, "neither");
    is_int(exi_tidy_decode(&n, b, 16), EXI_OK, "nothing behind the numbers");
    ok(!n.base.known, "base is not known");
    t.base.known = false;
    is_int((int64_t) exi_tidy_encode(b, &t), 16, "no base is written");
    is_int(exi_tidy_decode(&n, b, 15), EXI_EFORMAT, "short P row");
    is_int(exi_tidy_decode(&n, b, sizeof(b)), EXI_EFORMAT, "long P row");
    b[9] = 0x13;
    is_int(exi_tidy_decode(&n, b, len), EXI_EFORMAT, "mark above fresh");
}

static void
meta(void)
{
    struct exi_meta m = { EXI_FORMAT_VERSION,
                          840000,
                          { { 1, 2, 3 } },
                          1ull << 33,
                          5,
                          6,
                          7 },
                    n;
    uint8_t b[EXI_META_LEN];

    exi_meta_encode(b, &m);
    is_int(exi_meta_decode(&n, b, sizeof(b)), EXI_OK, "M row decodes");
    is_mem(&n, &m, sizeof(m), "... to the same");
    is_int(exi_meta_decode(&n, b, sizeof(b) - 1), EXI_EFORMAT, "short M row");
    is_int(exi_meta_decode(&n, b, 3), EXI_EFORMAT, "very short M row");
    b[0] = 9;
    is_int(exi_meta_decode(&n, b, sizeof(b)), EXI_EVERSION, "unknown version");
    is_int(n.version, 9, "... is named");
}

/* Builds an H value of n scripts, script i having i % 7 + 1 transactions. */
static size_t
make_hist(uint8_t *out, struct exi_skey *keys, int n, uint8_t bits)
{
    size_t len = exi_put_varint(out, 1000), l;
    uint8_t list[64];

    for (int i = 0; i < n; i++) {
        keys[i] = key;
        keys[i].b[6] = (uint8_t) i;
        keys[i].b[13] = (uint8_t) (3 * i);
        memcpy(out + len, keys[i].b + bits / 8, EXI_SKEY_LEN - bits / 8);
        len += EXI_SKEY_LEN - bits / 8;
        l = 0;
        for (int j = 0; j <= i % 7; j++) {
            l +=
                exi_put_varint(list + l, (uint64_t) (j == 0 ? i : 1 + 200 * j));
        }
        len += exi_put_varint(out + len, l * 2);
        memcpy(out + len, list, l);
        len += l;
    }
    return len;
}

static void
hist(void)
{
    struct exi_skey keys[50], missing = key;
    struct exi_hist_slot slot;
    uint8_t buf[4096], heavy[64];
    uint64_t txnum, want;
    size_t len = make_hist(buf, keys, 50, 12), n;
    bool first;
    int count;

    for (int i = 0; i < 50; i++) {
        each(exi_hist_find(&slot, buf, len, &keys[i], 12) == EXI_OK
                 && !slot.heavy,
             "script %d", i);
        txnum = slot.base;
        want = 1000 + (uint64_t) i;
        first = true;
        for (count = 0; exi_txnums_next(&slot.list, &txnum, &first) == 1;
             count++) {
            want += count == 0 ? 0 : 1 + 200 * (uint64_t) count;
            each(txnum == want, "entry %d of script %d", count, i);
        }
        each(count == i % 7 + 1, "entries of script %d", i);
    }
    each_done("scripts of an H value are found with their transactions");
    missing.b[6] = 200;
    is_int(exi_hist_find(&slot, buf, len, &missing, 12), EXI_ENOTFOUND,
           "a script that is not there");
    for (n = 0; n < len; n++) {
        int rc = exi_hist_find(&slot, buf, n, &keys[49], 12);
        each(rc == EXI_EFORMAT || rc == EXI_ENOTFOUND, "cut at %zu", n);
    }
    each_done("a truncated H value never finds the last script");
    n = exi_put_varint(heavy, 0);
    memcpy(heavy + n, key.b + 1, 13);
    n += 13;
    n += exi_put_varint(heavy + n, 2 * 2 + 1);
    n += exi_put_varint(heavy + n, 5000);
    is_int(exi_hist_find(&slot, heavy, n, &key, 12), EXI_OK, "heavy script");
    ok(slot.heavy && slot.count == 5000, "... with its count");
}

static void
txnum_lists(void)
{
    const uint8_t zero[] = { 5, 0 };
    struct exi_rd rd = exi_rd(zero, 2);
    uint64_t n = 10;
    bool first = true;

    ok(exi_txnums_next(&rd, &n, &first) == 1 && n == 15, "first");
    is_int(exi_txnums_next(&rd, &n, &first), EXI_EFORMAT,
           "a difference of 0 is malformed");
    is_int(exi_txnums_next(&rd, &n, &first), EXI_EFORMAT, "... for ever");
}

static int
by_suffix(const void *a, const void *b)
{
    return memcmp(a, b, EXI_TXID_ENTRY);
}

static void
txids(void)
{
    static uint8_t row[300 * EXI_TXID_ENTRY];
    struct exi_txid id[300];
    uint64_t num;
    size_t pos;
    bool found;

    for (int i = 0; i < 300; i++) {
        for (int j = 0; j < 32; j++) {
            id[i].b[j] = (uint8_t) rnd();
        }
        id[i].b[1] &= 0x0f; /* some share all three suffix bytes */
        id[i].b[2] = id[i].b[3] = 0;
        exi_txid_entry(row + i * EXI_TXID_ENTRY, &id[i], 8, (uint64_t) i + 77);
    }
    qsort(row, 300, EXI_TXID_ENTRY, by_suffix);
    for (int i = 0; i < 300; i++) {
        pos = 0;
        found = false;
        while (exi_txid_find(row, sizeof(row), &id[i], 8, &pos, &num) == 1) {
            found |= num == (uint64_t) i + 77;
            each(id[num - 77].b[1] == id[i].b[1], "candidate fits");
        }
        each(found, "transaction %d", i);
    }
    each_done("every transaction is among its candidates in a T value");
    pos = 0;
    is_int(exi_txid_find(row, 9, &id[0], 8, &pos, &num), EXI_EFORMAT,
           "T value of no whole entries");
    pos = 0;
    is_int(exi_txid_find(row, 0, &id[0], 8, &pos, &num), 0, "empty T value");
}

static void
flats(void)
{
    char name[32];

    exi_flat_segment_name(name, sizeof(name), EXI_FLAT_TXIDS, 12);
    is_str(name, "txids.000012", "segment name");
    is_int(exi_flat_count(EXI_FLAT_HEADERS, 0, 1), 1, "headers at genesis");
    is_int(exi_flat_count(EXI_FLAT_HMERKLE, 0, 1), 1, "hmerkle: 1 leaf");
    is_int(exi_flat_count(EXI_FLAT_HMERKLE, 2, 9), 4, "hmerkle: 3 leaves");
    is_int(exi_flat_count(EXI_FLAT_HMERKLE, 7, 9), 15, "hmerkle: 8 leaves");
    is_int(exi_flat_count(EXI_FLAT_TXIDS, 7, 9), 9, "txids");
}

static void
manifests(void)
{
    struct exi_manifest m, n;
    struct exi_params p;
    char buf[2048], bad[2048];
    uint32_t version = 0;
    int len;

    memset(&m, 0, sizeof(m));
    strcpy(m.params.network, "regtest");
    m.number = 12;
    m.height = 345;
    m.tx_count = 6789;
    m.params.script_bits = 20;
    m.params.txid_bits = 21;
    m.params.genesis.b[31] = 0xaa;
    len = exi_manifest_write(buf, sizeof(buf), &m);
    ok(len > 0, "manifest is written");
    memset(&n, 0, sizeof(n));
    is_int(exi_manifest_parse(&n, &version, buf, (size_t) len), EXI_OK,
           "... and parsed");
    is_mem(&n, &m, sizeof(m), "... to the same");
    for (int i = 0; i < len; i++) {
        int rc = exi_manifest_parse(&n, &version, buf, (size_t) i);
        each(rc == EXI_EFORMAT || rc == EXI_EVERSION, "cut at %d", i);
        memcpy(bad, buf, (size_t) len);
        bad[i] ^= 1;
        rc = exi_manifest_parse(&n, &version, bad, (size_t) len);
        each(rc != EXI_OK, "byte %d changed", i);
    }
    each_done("a manifest cut or changed anywhere is refused");
    is_int(exi_manifest_write(buf, 100, &m), EXI_ELIMIT, "no room");
    len = exi_format_write(buf, sizeof(buf), &m.params);
    is_int(exi_format_parse(&p, &version, buf, (size_t) len), EXI_OK, "FORMAT");
    is_mem(&p, &m.params, sizeof(p), "... round trip");
    memcpy(bad, buf, (size_t) len);
    bad[strlen("electrumx-index ")] = '7';
    is_int(exi_format_parse(&p, &version, bad, (size_t) len), EXI_EVERSION,
           "FORMAT of another version");
    is_int(version, 7, "... which is named");
}

static void
live_state_row(void)
{
    struct exi_live_state s, t;
    uint8_t b[EXI_LIVE_STATE_MAX];
    size_t len;

    memset(&s, 0, sizeof(s));
    memset(&t, 0, sizeof(t));
    s.instance = 0x1122334455667788;
    s.seq = 5;
    s.oldest_seq = 2;
    s.tip_height = 99;
    s.tip.b[0] = 7;
    s.live_floor = 50;
    s.mempool_count = 3;
    s.mempool_vsize = 555;
    s.time_ms = 1234567890123;
    s.ngens = 2;
    s.gens[0].number = 4;
    s.gens[1].number = 5;
    s.gens[1].height = 49;
    len = exi_live_state_encode(b, &s);
    is_int(exi_live_state_decode(&t, b, len), EXI_OK, "state");
    is_mem(&t, &s, sizeof(s), "... round trip");
    for (size_t i = 0; i < len; i++) {
        each(exi_live_state_decode(&t, b, i) == EXI_EFORMAT, "cut at %zu", i);
    }
    each_done("a truncated state is malformed");
    b[4] = 2;
    is_int(exi_live_state_decode(&t, b, len), EXI_EVERSION, "other version");
}

static void
live_rows(void)
{
    uint8_t buf[512], scripts[2 * EXI_SKEY_LEN] = { 1, 2, 3 };
    struct exi_live_tx t = { { { 9 } }, -1, 4, -1, 5, 6, 7, 8, 2, scripts }, u;
    struct exi_live_change c = { EXI_CHANGE_REORG, 10, 8, 2, scripts }, d;
    uint8_t header[80] = { 1 };
    struct exi_live_block b = { header, { { 3 } }, 4, 5, 6 }, e;
    size_t len = exi_live_tx_encode(buf, &t);

    is_int(exi_live_tx_decode(&u, buf, len), EXI_OK, "tx record");
    ok(u.height == -1 && u.fee_sat == -1 && u.nscripts == 2 && u.time_ms == 8
           && memcmp(u.scripts, scripts, sizeof(scripts)) == 0,
       "... round trip");
    for (size_t i = 0; i < len; i++) {
        each(exi_live_tx_decode(&u, buf, i) == EXI_EFORMAT, "cut at %zu", i);
    }
    len = exi_live_change_encode(buf, &c);
    is_int(exi_live_change_decode(&d, buf, len), EXI_OK, "change record");
    ok(d.kind == c.kind && d.tip_height == 10 && d.low_height == 8
           && d.nscripts == 2,
       "... round trip");
    for (size_t i = 0; i < len; i++) {
        each(exi_live_change_decode(&d, buf, i) == EXI_EFORMAT, "cut %zu", i);
    }
    each_done("truncated records are malformed");
    exi_live_block_encode(buf, &b);
    is_int(exi_live_block_decode(&e, buf, EXI_LIVE_BLOCK_LEN), EXI_OK, "block");
    ok(e.ntx == 4 && e.size == 5 && e.tx_count == 6 && e.header[0] == 1
           && e.hash.b[0] == 3,
       "... round trip");
    is_int(exi_live_block_decode(&e, buf, 127), EXI_EFORMAT, "short block");
}

static void
live_fx(void)
{
    struct exi_live_fund f[2] = { { 300, 21000000ll * 100000000 }, { 1, 0 } },
                         g;
    struct exi_live_spend s[1] = { { { { 5 } }, 70000, 12345 } }, t;
    uint8_t buf[EXI_LIVE_FX_MAX(2, 1)];
    size_t len = exi_live_fx_encode(buf, f, 2, s, 1);
    struct exi_rd rd;

    is_int(exi_live_fx_open(&rd, buf, len), 2, "two outputs");
    exi_live_fx_fund(&rd, &g);
    ok(g.index == 300 && g.value_sat == f[0].value_sat, "first");
    exi_live_fx_fund(&rd, &g);
    ok(g.index == 1 && g.value_sat == 0, "second");
    is_int(exi_live_fx_nspend(&rd), 1, "one input");
    exi_live_fx_spend(&rd, &t);
    ok(t.index == 70000 && t.value_sat == 12345 && t.txid.b[0] == 5, "it");
    ok(!rd.bad && exi_rd_left(&rd) == 0, "and no more");
    for (size_t i = 0; i < len; i++) {
        uint64_t n = exi_live_fx_open(&rd, buf, i);
        while (n-- > 0) {
            exi_live_fx_fund(&rd, &g);
        }
        n = exi_live_fx_nspend(&rd);
        while (n-- > 0) {
            exi_live_fx_spend(&rd, &t);
        }
        each(rd.bad, "cut at %zu", i);
    }
    each_done("truncated effects are malformed");
}

int
main(void)
{
    rnd_init();
    subtest("keys as documented", sample_keys);
    subtest("bucket bits", bucket_bits);
    subtest("U keys", utxo_keys);
    subtest("M row", meta);
    subtest("P row", tidy);
    subtest("H values", hist);
    subtest("lists of transaction numbers", txnum_lists);
    subtest("T values", txids);
    subtest("flat files", flats);
    subtest("manifest and FORMAT", manifests);
    subtest("live state", live_state_row);
    subtest("live records", live_rows);
    subtest("live effects", live_fx);
    return done_testing();
}
