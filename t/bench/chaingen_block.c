/*
 * chaingen: a block from its transactions, and the block files.
 */
#include "chaingen.h"

#include <errno.h>
#include <stdio.h>

#include "exi_err.h"
#include "exi_hex.h"

uint8_t cg_prev_hash[32];

/* ---- files ---- */

static FILE *file;
static uint64_t file_bytes;
static unsigned file_number;

void
cg_close_out(void)
{
    if (file != NULL && fclose(file) != 0) {
        cg_die("write: %s", strerror(errno));
    }
    file = NULL;
}

void
cg_open_out(void)
{
    char path[4096];

    if (cg_opts.split_mb > 0) {
        snprintf(path, sizeof(path), "%s/blk%05u.dat", cg_opts.out,
                 file_number++);
    } else {
        snprintf(path, sizeof(path), "%s", cg_opts.out);
    }
    cg_close_out();
    file = fopen(path, "wb");
    if (file == NULL) {
        cg_die("%s: %s", path, strerror(errno));
    }
    setvbuf(file, NULL, _IOFBF, 4 << 20);
    file_bytes = 0;
}

void
cg_open_after(void)
{
    char path[4096];

    cg_close_out();
    snprintf(path, sizeof(path), "%s.after", cg_opts.out);
    file = fopen(path, "wb");
    if (file == NULL) {
        cg_die("%s: %s", path, strerror(errno));
    }
    setvbuf(file, NULL, _IOFBF, 4 << 20);
    file_bytes = 0;
}

static void
put(const void *p, size_t n)
{
    if (fwrite(p, 1, n, file) != n) {
        cg_die("write: %s", strerror(errno));
    }
    file_bytes += n;
}

static void
begin_record(size_t size)
{
    uint8_t h[8] = { 0xfa, 0xbf, 0xb5, 0xda };

    if (cg_opts.split_mb > 0 && file_bytes > 0
        && file_bytes + size + 8 > (uint64_t) cg_opts.split_mb << 20) {
        cg_open_out();
    }
    cg_w32(h + 4, (uint32_t) size);
    put(h, sizeof(h));
}

void
cg_write_genesis(void)
{
    static const char hex[] =
        "0100000000000000000000000000000000000000000000000000000000000000"
        "000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa"
        "4b1e5e4adae5494dffff7f200200000001010000000100000000000000000000"
        "00000000000000000000000000000000000000000000ffffffff4d04ffff001d"
        "0104455468652054696d65732030332f4a616e2f32303039204368616e63656c"
        "6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f75742066"
        "6f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe554827"
        "1967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4"
        "f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000";
    uint8_t raw[sizeof(hex) / 2];

    if (exi_unhex(raw, hex, sizeof(hex) - 1) != EXI_OK) {
        cg_die("internal error: genesis block");
    }
    cg_sha256d(raw, 80, cg_prev_hash);
    if (cg_opts.split_mb > 0 || cg_opts.with_genesis) {
        begin_record(sizeof(raw));
        put(raw, sizeof(raw));
    }
}

/* ---- the coinbase ---- */

struct coinbase {
    uint8_t raw[512]; /* without witness */
    size_t len;
    uint8_t full[512];
    size_t fulllen;
    uint8_t txid[32];
};

/* BIP 34: the height as a script pushes it; then something random. */
static uint8_t *
coinbase_script(uint8_t *s, uint32_t height)
{
    uint8_t n[5];
    uint8_t l = 0;

    if (height <= 16) {
        *s++ = (uint8_t) (0x50 + height);
    } else {
        for (uint32_t v = height; v > 0; v >>= 8) {
            n[l++] = (uint8_t) v;
        }
        if ((n[l - 1] & 0x80) != 0) {
            n[l++] = 0;
        }
        *s++ = l;
        s = cg_wbytes(s, n, l);
    }
    *s++ = 8;
    s = cg_w64(s, cg_rnd());
    *s++ = 10;
    return cg_wbytes(s, "/chaingen/", 10);
}

static uint8_t *
coinbase_outputs(uint8_t *p, int64_t value, uint64_t key, int kind,
                 const uint8_t commitment[32])
{
    static const uint8_t head[] = { 0x26, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed };
    size_t n;

    *p++ = 2;
    p = cg_w64(p, (uint64_t) value);
    n = cg_key_script(key, kind, p + 1);
    *p = (uint8_t) n;
    p += 1 + n;
    p = cg_w64(p, 0);
    p = cg_wbytes(p, head, sizeof(head));
    return cg_wbytes(p, commitment, 32);
}

/* The same with marker, flag and the reserved value as witness. */
static void
coinbase_full(struct coinbase *c)
{
    uint8_t *t = cg_wbytes(c->full, c->raw, 4);

    *t++ = 0;
    *t++ = 1;
    t = cg_wbytes(t, c->raw + 4, c->len - 8);
    *t++ = 1;
    *t++ = 32;
    memset(t, 0, 32);
    t = cg_w32(t + 32, 0);
    c->fulllen = (size_t) (t - c->full);
}

static void
coinbase_make(struct coinbase *c, uint32_t height, int64_t value, uint64_t key,
              int kind)
{
    uint8_t commitment[64] = { 0 }, script[100];
    size_t n = (size_t) (coinbase_script(script, height) - script);
    uint8_t *p = cg_w32(c->raw, 2);

    memset(cg_block.wtxids[0], 0, 32);
    cg_merkle(cg_block.wtxids, cg_block.ntx, commitment);
    cg_sha256d(commitment, 64, commitment); /* root, reserved value of zeros */
    *p++ = 1;
    memset(p, 0, 32);
    p = cg_w32(p + 32, 0xffffffff);
    *p++ = (uint8_t) n;
    p = cg_wbytes(p, script, n);
    p = cg_w32(p, 0xffffffff);
    p = coinbase_outputs(p, value, key, kind, commitment);
    p = cg_w32(p, 0);
    c->len = (size_t) (p - c->raw);
    cg_sha256d(c->raw, c->len, c->txid);
    coinbase_full(c);
}

/* ---- the block ---- */

/* Header with proof of work, and the count; the length of both. */
static size_t
make_header(uint8_t *h, uint32_t time)
{
    uint32_t ntx = cg_block.ntx, nonce = 0;
    uint8_t *p = cg_w32(h, 0x20000000);

    p = cg_wbytes(p, cg_prev_hash, 32);
    cg_merkle(cg_block.txids, ntx, p);
    p = cg_w32(p + 32, time);
    p = cg_w32(p, 0x207fffff);
    do {
        cg_w32(p, nonce++);
        cg_sha256d(h, 80, cg_prev_hash);
    } while (cg_prev_hash[31] > 0x7f
             || (cg_prev_hash[31] == 0x7f && cg_prev_hash[30] == 0xff
                 && cg_prev_hash[29] == 0xff));
    return (size_t) (cg_wvar(p + 4, ntx) - h);
}

static void
write_block(uint32_t height, const uint8_t *header, size_t hlen,
            const struct coinbase *c)
{
    size_t size = hlen + c->fulllen + cg_block.txslen;
    size_t weight = 3 * (hlen + c->len + cg_block.stripped) + size;

    if (weight > CG_MAX_WEIGHT) {
        cg_die("internal error: block %u weighs %zu", height, weight);
    }
    if (weight > cg_totals.weight_max) {
        cg_totals.weight_max = weight;
    }
    begin_record(size);
    put(header, hlen);
    put(c->full, c->fulllen);
    put(cg_block.txs, cg_block.txslen);
    cg_totals.bytes += size;
}

void
cg_finish_block(uint32_t height, uint32_t time)
{
    static struct coinbase c;
    uint32_t txno = (uint32_t) ++cg_totals.txs;
    uint64_t key = cg_pool + cg_zipf(CG_MINERS);
    int kind = cg_key_kind(key);
    uint32_t halvings = height / CG_HALVING;
    int64_t value =
        (halvings >= 64 ? 0 : (50 * CG_COIN) >> halvings) + cg_block.fees;
    uint8_t header[80 + 9];
    size_t hlen;

    coinbase_make(&c, height, value, key, kind);
    memcpy(cg_block.txids[0], c.txid, 32);
    cg_count_output(key, kind, value, txno);
    cg_totals.outs++;
    cg_totals.opret++; /* the commitment */
    cg_add_utxo(c.txid, 0, value, key, height,
                height + CG_MATURITY + (uint32_t) cg_below(20));
    cg_reserve_txs(height);
    hlen = make_header(header, time);
    write_block(height, header, hlen, &c);
}
