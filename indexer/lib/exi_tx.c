/*
 * Reader of serialized transactions and blocks (BIP 144).
 *
 * exi_tx_parse walks over a transaction once and checks every count and length
 * against the bytes that are left; the iterators rely on it and check nothing.
 * Refused are the forms that a node refuses to read as well: no inputs, no
 * outputs, unknown flags, a witness flag without any witness, CompactSize
 * numbers in a longer form than needed.  Amounts and scripts are not judged.
 *
 * Litecoin (MWEB): flag 8 adds one optional part before the lock time.  In a
 * block only the last transaction, the HogEx, has the flag; its part is empty
 * (a zero byte), and an optional extension block follows the transactions.
 */
#include "exi_tx.h"

#include "exi_sha256.h"

#define FLAG_WITNESS 1
#define FLAG_MWEB    8

/* Fewest bytes of an input, an output, and a transaction with one of each. */
#define TXIN_MIN  41
#define TXOUT_MIN 9
#define TX_MIN    (4 + 1 + TXIN_MIN + 1 + TXOUT_MIN + 4)

/* Version; then marker and flag, if there are any. */
#define VERSION_LEN  4
#define MARKER_LEN   2
#define LOCKTIME_LEN 4

#define OUTPOINT_LEN 36
#define SEQUENCE_LEN 4
#define AMOUNT_LEN   8

/* A number of things of at least min bytes each: 1 ... what can be there. */
static uint32_t
read_count(struct exi_rd *r, size_t min)
{
    uint64_t n = exi_rd_compact(r);

    if (n == 0 || n > exi_rd_left(r) / min) {
        r->bad = true;
        return 0;
    }
    return (uint32_t) n;
}

/* Skips a script or witness item: its length and that many bytes. */
static inline void
skip_string(struct exi_rd *r)
{
    uint64_t n = exi_rd_compact(r);

    if (r->bad || n > exi_rd_left(r)) {
        r->bad = true;
        return;
    }
    r->p += n;
}

static void
skip_ins(struct exi_rd *r, uint32_t n)
{
    for (; n != 0 && !r->bad; n--) {
        (void) exi_rd_bytes(r, OUTPOINT_LEN);
        skip_string(r);
        (void) exi_rd_bytes(r, SEQUENCE_LEN);
    }
}

static void
skip_outs(struct exi_rd *r, uint32_t n)
{
    for (; n != 0 && !r->bad; n--) {
        (void) exi_rd_bytes(r, AMOUNT_LEN);
        skip_string(r);
    }
}

/* Skips the witnesses of nin inputs, of which at least one has items. */
static void
skip_witnesses(struct exi_rd *r, uint32_t nin)
{
    bool some = false;

    for (; nin != 0 && !r->bad; nin--) {
        uint64_t items = exi_rd_compact(r);

        if (items > exi_rd_left(r)) {
            r->bad = true;
        }
        some |= items != 0;
        for (; items != 0 && !r->bad; items--) {
            skip_string(r);
        }
    }
    r->bad |= !some;
}

static bool
is_null_outpoint(const uint8_t *p)
{
    static const uint8_t zero[EXI_HASH_LEN];

    return exi_le32(p + EXI_HASH_LEN) == UINT32_MAX
           && memcmp(p, zero, EXI_HASH_LEN) == 0;
}

/* Marker and flag after the version: the flags, 0 if there are none. */
static uint8_t
read_flags(struct exi_rd *r)
{
    uint8_t flags;

    if (exi_rd_left(r) < MARKER_LEN || r->p[0] != 0) {
        return 0;
    }
    flags = r->p[1];
    r->p += MARKER_LEN;
    if (flags == 0 || (flags & ~(FLAG_WITNESS | FLAG_MWEB)) != 0) {
        r->bad = true;
    }
    return flags;
}

/* Inputs and outputs, and their place in tx. */
static void
read_body(struct exi_rd *r, struct exi_tx *tx)
{
    tx->nin = read_count(r, TXIN_MIN);
    tx->ins = r->p;
    skip_ins(r, tx->nin);
    tx->nout = read_count(r, TXOUT_MIN);
    tx->outs = r->p;
    skip_outs(r, tx->nout);
    tx->outs_end = r->p;
}

/*
 * What stands between the outputs and the lock time.  With `whole` the buffer
 * ends with the transaction, so an MWEB part need not be understood.
 */
static void
skip_extras(struct exi_rd *r, struct exi_tx *tx, uint8_t flags, bool whole)
{
    if (flags & FLAG_WITNESS) {
        skip_witnesses(r, tx->nin);
    }
    if (flags & FLAG_MWEB) {
        uint8_t present = exi_rd_u8(r);

        tx->hogex = present == 0;
        if (present == 1 && whole && exi_rd_left(r) > LOCKTIME_LEN) {
            r->p = r->end - LOCKTIME_LEN;
        } else if (present != 0) {
            r->bad = true;
        }
    }
}

static int
parse(struct exi_tx *out, const uint8_t *buf, size_t buflen, bool whole)
{
    size_t max = buflen < UINT32_MAX ? buflen : UINT32_MAX;
    struct exi_rd r = exi_rd(buf, max);
    struct exi_tx tx = { .raw = buf };
    uint8_t flags;

    (void) exi_rd_bytes(&r, VERSION_LEN);
    flags = read_flags(&r);
    read_body(&r, &tx);
    skip_extras(&r, &tx, flags, whole);
    (void) exi_rd_bytes(&r, LOCKTIME_LEN);
    if (r.bad || (whole && exi_rd_left(&r) != 0)) {
        return EXI_EFORMAT;
    }
    tx.size = (uint32_t) (r.p - buf);
    tx.stripped_size = (uint32_t) (tx.outs_end - buf) + LOCKTIME_LEN;
    if (flags != 0) {
        tx.stripped_size -= MARKER_LEN;
    }
    tx.coinbase = tx.nin == 1 && is_null_outpoint(tx.ins);
    *out = tx;
    return EXI_OK;
}

int
exi_tx_parse(struct exi_tx *tx, const uint8_t *buf, size_t buflen)
{
    return parse(tx, buf, buflen, false);
}

int
exi_tx_parse_whole(struct exi_tx *tx, const uint8_t *buf, size_t buflen)
{
    if (buflen > UINT32_MAX) {
        return EXI_EFORMAT;
    }
    return parse(tx, buf, buflen, true);
}

void
exi_tx_id(struct exi_txid *out, const struct exi_tx *tx)
{
    const uint8_t *body = tx->raw + VERSION_LEN + MARKER_LEN;
    struct exi_sha256 s;

    if (tx->stripped_size == tx->size) {
        exi_sha256d(out->b, tx->raw, tx->size);
        return;
    }
    exi_sha256_init(&s);
    exi_sha256_update(&s, tx->raw, VERSION_LEN);
    exi_sha256_update(&s, body, (size_t) (tx->outs_end - body));
    exi_sha256_update(&s, tx->raw + tx->size - LOCKTIME_LEN, LOCKTIME_LEN);
    exi_sha256d_final(&s, out->b);
}

/* CompactSize below 2^32 that was checked before. */
static inline const uint8_t *
get_compact(uint32_t *v, const uint8_t *p)
{
    switch (*p) {
    case 0xfd:
        *v = exi_le16(p + 1);
        return p + 3;
    case 0xfe:
        *v = exi_le32(p + 1);
        return p + 5;
    default: /* ff would be 2^32 or more, longer than any buffer */
        *v = *p;
        return p + 1;
    }
}

const uint8_t *
exi_txin_next(struct exi_txin *in, const uint8_t *p)
{
    in->prev_txid = p;
    in->prev_index = exi_le32(p + EXI_HASH_LEN);
    in->script = get_compact(&in->scriptlen, p + OUTPOINT_LEN);
    p = in->script + in->scriptlen;
    in->sequence = exi_le32(p);
    return p + SEQUENCE_LEN;
}

const uint8_t *
exi_txout_next(struct exi_txout *out, const uint8_t *p)
{
    out->value_sat = (int64_t) exi_le64(p);
    out->script = get_compact(&out->scriptlen, p + AMOUNT_LEN);
    return out->script + out->scriptlen;
}

int
exi_block_open(struct exi_block *b, const uint8_t *buf, size_t buflen)
{
    struct exi_rd r = exi_rd(buf, buflen);
    const uint8_t *header = exi_rd_bytes(&r, EXI_HEADER_LEN);
    uint32_t ntx = read_count(&r, TX_MIN);

    if (r.bad || buflen > UINT32_MAX) {
        return EXI_EFORMAT;
    }
    b->header = header;
    b->buf = buf;
    b->size = (uint32_t) buflen;
    b->ntx = ntx;
    b->next = 0;
    b->hogex = false;
    b->rd = r;
    return EXI_OK;
}

/* What may follow the last transaction. */
static int
block_end(struct exi_block *b)
{
    if (b->hogex && b->ntx >= 2) {
        uint8_t present = exi_rd_u8(&b->rd);

        if (present == 1 && exi_rd_left(&b->rd) != 0) {
            b->rd.p = b->rd.end;
        } else if (present != 0) {
            b->rd.bad = true;
        }
        b->hogex = false;
    }
    return b->rd.bad || exi_rd_left(&b->rd) != 0 ? EXI_EFORMAT : 0;
}

int
exi_block_next(struct exi_block *b, struct exi_tx *tx)
{
    if (b->rd.bad) {
        return EXI_EFORMAT;
    }
    if (b->next == b->ntx) {
        return block_end(b);
    }
    if (exi_tx_parse(tx, b->rd.p, exi_rd_left(&b->rd)) != EXI_OK) {
        b->rd.bad = true;
        return EXI_EFORMAT;
    }
    b->rd.p += tx->size;
    b->hogex = tx->hogex;
    b->next++;
    return 1;
}
