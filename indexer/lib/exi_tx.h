/*
 * Reader of serialized transactions and blocks (BIP 144): no allocation, all
 * pointers go into the caller's buffer and are good as long as it is.
 * Any thread.
 */
#ifndef EXI_TX_H
#define EXI_TX_H

#include "exi_bytes.h"
#include "exi_err.h"
#include "exi_types.h"

/* A parsed transaction. */
struct exi_tx {
    const uint8_t *raw;     /* first byte of the serialization */
    uint32_t size;          /* bytes, witness included */
    uint32_t stripped_size; /* bytes without marker, flag and witnesses */
    uint32_t nin;
    uint32_t nout;
    const uint8_t *ins;  /* first input */
    const uint8_t *outs; /* first output */
    const uint8_t *outs_end;
    bool coinbase; /* one input whose previous outpoint is null */
    bool hogex;    /* Litecoin: flag 8 with an empty MWEB part */
};

struct exi_txin {
    const uint8_t *prev_txid; /* 32 bytes, internal order */
    uint32_t prev_index;
    const uint8_t *script;
    uint32_t scriptlen;
    uint32_t sequence;
};

struct exi_txout {
    int64_t value_sat;
    const uint8_t *script;
    uint32_t scriptlen;
};

/*
 * Parses one transaction at the start of buf; trailing bytes are left alone
 * (tx->size says what was used).  Every count and length is checked against
 * buflen, so that the iterators below cannot run out.  Accepts Litecoin's
 * flag 8 with an empty MWEB part (HogEx).  EXI_EFORMAT: not a transaction.
 */
int exi_tx_parse(struct exi_tx *tx, const uint8_t *buf,
                 size_t buflen) EXI_MUST_CHECK;

/*
 * As exi_tx_parse, for a buffer that is exactly one transaction (a mempool's):
 * trailing bytes are an error, and a Litecoin MWEB part that is not empty is
 * accepted unread (a peg-in waiting in the mempool has one).
 */
int exi_tx_parse_whole(struct exi_tx *tx, const uint8_t *buf,
                       size_t buflen) EXI_MUST_CHECK;

/* SHA-256d of the serialization without witness and MWEB part. */
void exi_tx_id(struct exi_txid *out, const struct exi_tx *tx);

/* Virtual size, BIP 141: (3 * stripped + size + 3) / 4. */
static inline uint32_t
exi_tx_vsize(const struct exi_tx *tx)
{
    return (uint32_t) (((uint64_t) tx->stripped_size * 3 + tx->size + 3) / 4);
}

/*
 * Iterate over inputs / outputs of a parsed transaction:
 *     const uint8_t *p = tx.ins;
 *     for (uint32_t i = 0; i < tx.nin; i++) { p = exi_txin_next(&in, p); ... }
 */
const uint8_t *exi_txin_next(struct exi_txin *in, const uint8_t *p);
const uint8_t *exi_txout_next(struct exi_txout *out, const uint8_t *p);

/* A block being read. */
struct exi_block {
    const uint8_t *header; /* 80 bytes */
    const uint8_t *buf;
    uint32_t size;
    uint32_t ntx;
    uint32_t next; /* number of the transaction that exi_block_next gives */
    bool hogex;    /* the last one given was Litecoin's HogEx */
    struct exi_rd rd;
};

/*
 * Starts reading a block of exactly buflen bytes.  EXI_EFORMAT: shorter than a
 * header, or the transaction count can't be true.
 */
int exi_block_open(struct exi_block *b, const uint8_t *buf,
                   size_t buflen) EXI_MUST_CHECK;

/*
 * Next transaction: 1 and *tx, 0 after the last (bytes after it must be none,
 * or Litecoin's MWEB block after a HogEx), EXI_EFORMAT (and from then on).
 * The transaction's offset in the block is tx->raw - b->buf.
 */
int exi_block_next(struct exi_block *b, struct exi_tx *tx) EXI_MUST_CHECK;

#endif /* EXI_TX_H */
