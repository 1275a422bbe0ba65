/*
 * Encodes and decodes every key and value of the index
 * (docs/index-format.md).  Pure functions over the caller's buffers: whatever
 * is read is treated as untrusted and every length is checked.  Text files
 * (FORMAT, manifest) are in exi_manifest.c.
 */
#include "exi_format.h"

const struct exi_flat_def exi_flat_defs[EXI_FLAT_N] = {
    [EXI_FLAT_HEADERS] = { "headers", 80, 16 },
    [EXI_FLAT_HMERKLE] = { "hmerkle", 32, 18 },
    [EXI_FLAT_TXCOUNTS] = { "txcounts", 8, 17 },
    [EXI_FLAT_BLOCKSIZES] = { "blocksizes", 4, 18 },
    [EXI_FLAT_TXIDS] = { "txids", 32, 21 },
    [EXI_FLAT_TXOFFSETS] = { "txoffsets", 4, 22 },
};

uint8_t
exi_bucket_bits(uint64_t expected, uint32_t per_bucket)
{
    uint8_t bits = 8;

    while (bits < 28 && (uint64_t) per_bucket << bits < expected) {
        bits++;
    }
    return bits;
}

uint32_t
exi_bucket(const uint8_t *h, uint8_t bits)
{
    return exi_be32(h) & (0xffffffffu << (32 - bits));
}

void
exi_key_bucket(struct exi_key *k, enum exi_kind kind, uint32_t bucket,
               uint32_t chunk)
{
    k->b[0] = (uint8_t) kind;
    exi_put_be32(k->b + 1, bucket);
    exi_put_be32(k->b + 5, chunk);
    k->len = EXI_KEY_BUCKET_LEN;
}

uint32_t
exi_key_chunk(const uint8_t *key)
{
    return exi_be32(key + 5);
}

void
exi_key_heavy(struct exi_key *k, const struct exi_skey *s, uint32_t chunk,
              uint16_t part)
{
    k->b[0] = EXI_KIND_HEAVY;
    memcpy(k->b + 1, s->b, EXI_SKEY_LEN);
    exi_put_be32(k->b + 1 + EXI_SKEY_LEN, chunk);
    k->b[EXI_KEY_HEAVY_PREFIX] = (uint8_t) (part >> 8);
    k->b[EXI_KEY_HEAVY_PREFIX + 1] = (uint8_t) part;
    k->len = EXI_KEY_HEAVY_PREFIX + 2;
}

void
exi_key_utxo(struct exi_key *k, const struct exi_skey *s, uint64_t txnum,
             uint32_t index)
{
    k->b[0] = EXI_KIND_UTXO;
    memcpy(k->b + 1, s->b, EXI_SKEY_LEN);
    exi_put_be40(k->b + EXI_KEY_UTXO_PREFIX, txnum);
    k->len = EXI_KEY_UTXO_PREFIX + 5;
    k->len += exi_put_ovarint(k->b + k->len, index);
}

int
exi_key_utxo_parse(const uint8_t *key, size_t keylen, uint64_t *txnum,
                   uint32_t *index)
{
    struct exi_rd rd = exi_rd(key, keylen);
    const uint8_t *num;
    uint32_t n;

    exi_rd_bytes(&rd, EXI_KEY_UTXO_PREFIX);
    num = exi_rd_bytes(&rd, 5);
    n = exi_rd_ovarint(&rd);
    if (rd.bad || exi_rd_left(&rd) != 0) {
        return EXI_EFORMAT;
    }
    *txnum = exi_be40(num);
    *index = n;
    return EXI_OK;
}

void
exi_key_outpoint(struct exi_key *k, uint64_t txnum, uint32_t index)
{
    k->b[0] = EXI_KIND_OUTPOINT;
    exi_put_be40(k->b + 1, txnum);
    k->len = 6 + exi_put_ovarint(k->b + 6, index);
}

void
exi_meta_encode(uint8_t out[EXI_META_LEN], const struct exi_meta *m)
{
    exi_put_le32(out, m->version);
    exi_put_le32(out + 4, m->height);
    memcpy(out + 8, m->block.b, EXI_HASH_LEN);
    exi_put_le64(out + 40, m->tx_count);
    exi_put_le64(out + 48, m->utxo_count);
    exi_put_le64(out + 56, m->hist_count);
    exi_put_le64(out + 64, m->row_count);
}

int
exi_meta_decode(struct exi_meta *m, const uint8_t *buf, size_t buflen)
{
    if (buflen < 4) {
        return EXI_EFORMAT;
    }
    m->version = exi_le32(buf);
    if (m->version != EXI_FORMAT_VERSION) {
        return EXI_EVERSION;
    }
    if (buflen != EXI_META_LEN) {
        return EXI_EFORMAT;
    }
    m->height = exi_le32(buf + 4);
    memcpy(m->block.b, buf + 8, EXI_HASH_LEN);
    m->tx_count = exi_le64(buf + 40);
    m->utxo_count = exi_le64(buf + 48);
    m->hist_count = exi_le64(buf + 56);
    m->row_count = exi_le64(buf + 64);
    return EXI_OK;
}

/* Earlier programs wrote how many of the fresh bytes there were when a pass
 * began, then a key of a row at which it went on: none of kind 'B'. */
#define TIDY_BASE     'B'
#define TIDY_BASE_LEN 31

size_t
exi_tidy_encode(uint8_t out[EXI_TIDY_MAX], const struct exi_tidy *t)
{
    exi_put_le64(out, t->fresh);
    exi_put_le64(out + 8, 0);
    if (!t->base.known) {
        return 16;
    }
    out[16] = TIDY_BASE;
    exi_put_be32(out + 17, t->base.height);
    exi_put_be40(out + 21, t->base.txs);
    exi_put_be40(out + 26, t->base.number);
    return TIDY_BASE_LEN;
}

int
exi_tidy_decode(struct exi_tidy *t, const uint8_t *buf, size_t buflen)
{
    if (buflen < 16 || buflen > EXI_TIDY_MAX
        || exi_le64(buf + 8) > exi_le64(buf)) {
        return EXI_EFORMAT;
    }
    memset(t, 0, sizeof(*t));
    t->fresh = exi_le64(buf);
    t->base.known = buflen == TIDY_BASE_LEN && buf[16] == TIDY_BASE;
    if (t->base.known) {
        t->base.height = exi_be32(buf + 17);
        t->base.txs = exi_be40(buf + 21);
        t->base.number = exi_be40(buf + 26);
    }
    return EXI_OK;
}

int
exi_hist_find(struct exi_hist_slot *slot, const uint8_t *buf, size_t buflen,
              const struct exi_skey *s, uint8_t script_bits)
{
    struct exi_rd rd = exi_rd(buf, buflen);
    size_t skip = script_bits / 8, suffixlen = EXI_SKEY_LEN - skip;
    const uint8_t *want = s->b + skip, *suffix, *list;
    uint64_t head, base;
    int order;

    if (script_bits > 28) {
        return EXI_EFORMAT;
    }
    base = exi_rd_varint(&rd);
    while (!rd.bad && exi_rd_left(&rd) > 0) {
        suffix = exi_rd_bytes(&rd, suffixlen);
        head = exi_rd_varint(&rd);
        if (rd.bad || head >> 1 > exi_rd_left(&rd)) {
            return EXI_EFORMAT;
        }
        list = exi_rd_bytes(&rd, (size_t) (head >> 1));
        order = memcmp(suffix, want, suffixlen);
        if (order > 0) {
            return EXI_ENOTFOUND;
        }
        if (order == 0) {
            slot->heavy = head & 1;
            slot->base = base;
            slot->list = exi_rd(list, (size_t) (head >> 1));
            slot->count = slot->heavy ? exi_rd_varint(&slot->list) : 0;
            return slot->list.bad ? EXI_EFORMAT : EXI_OK;
        }
    }
    return rd.bad ? EXI_EFORMAT : EXI_ENOTFOUND;
}

int
exi_txnums_next(struct exi_rd *list, uint64_t *txnum, bool *first)
{
    uint64_t d;

    if (list->bad) {
        return EXI_EFORMAT;
    }
    if (exi_rd_left(list) == 0) {
        return 0;
    }
    d = exi_rd_varint(list);
    if (list->bad || (d == 0 && !*first) || d > UINT64_MAX - *txnum) {
        list->bad = true;
        return EXI_EFORMAT;
    }
    *first = false;
    *txnum += d;
    return 1;
}

void
exi_txid_entry(uint8_t out[EXI_TXID_ENTRY], const struct exi_txid *txid,
               uint8_t txid_bits, uint64_t txnum)
{
    memcpy(out, txid->b + txid_bits / 8, 3);
    exi_put_be40(out + 3, txnum);
}

int
exi_txid_find(const uint8_t *buf, size_t buflen, const struct exi_txid *txid,
              uint8_t txid_bits, size_t *pos, uint64_t *txnum)
{
    const uint8_t *want = txid->b + txid_bits / 8;
    size_t n = buflen / EXI_TXID_ENTRY, lo = 0, hi = n, mid;

    if (buflen % EXI_TXID_ENTRY != 0 || txid_bits > 28) {
        return EXI_EFORMAT;
    }
    if (*pos == 0) {
        while (lo < hi) {
            mid = lo + (hi - lo) / 2;
            if (memcmp(buf + mid * EXI_TXID_ENTRY, want, 3) < 0) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
    } else {
        lo = *pos;
    }
    if (lo >= n || memcmp(buf + lo * EXI_TXID_ENTRY, want, 3) != 0) {
        *pos = n;
        return 0;
    }
    *txnum = exi_be40(buf + lo * EXI_TXID_ENTRY + 3);
    *pos = lo + 1;
    return 1;
}

uint64_t
exi_flat_count(enum exi_flat f, uint32_t height, uint64_t tx_count)
{
    uint64_t blocks = (uint64_t) height + 1;

    switch (f) {
    case EXI_FLAT_HEADERS:
    case EXI_FLAT_TXCOUNTS:
    case EXI_FLAT_BLOCKSIZES:
        return blocks;
    case EXI_FLAT_HMERKLE:
        return 2 * blocks - (uint64_t) __builtin_popcountll(blocks);
    case EXI_FLAT_TXIDS:
    case EXI_FLAT_TXOFFSETS:
        return tx_count;
    case EXI_FLAT_N:
        break;
    }
    return 0;
}
