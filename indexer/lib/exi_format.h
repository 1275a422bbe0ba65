/*
 * The index format (docs/index-format.md): the only code that knows offsets
 * inside keys and values.  Pure: no I/O, no allocation.  Any thread.
 */
#ifndef EXI_FORMAT_H
#define EXI_FORMAT_H

#include "exi_bytes.h"
#include "exi_err.h"
#include "exi_types.h"

#define EXI_FORMAT_VERSION 1

/* First byte of a LevelDB key. */
enum exi_kind {
    EXI_KIND_META = 'M',
    EXI_KIND_HISTORY = 'H',
    EXI_KIND_HEAVY = 'G',
    EXI_KIND_TXID = 'T',
    EXI_KIND_UTXO = 'U',
    EXI_KIND_OUTPOINT = 'O',
    EXI_KIND_SPENDER = 'S'
};

/* More entries of one script in one chunk than this go to `G` rows. */
#define EXI_HEAVY_MIN 1024
/* Entries of one `G` row at most. */
#define EXI_HEAVY_PART 4096

#define EXI_KEY_MAX 40

/* A key being built or taken apart. */
struct exi_key {
    uint8_t b[EXI_KEY_MAX];
    size_t len;
};

/* Parameters of a data directory (FORMAT). */
struct exi_params {
    char network[32];
    struct exi_blkid genesis;
    uint8_t script_bits; /* 8 ... 28 */
    uint8_t txid_bits;   /* 8 ... 28 */
    bool spender;
};

/* Bucket bits for an expected number of things, per_bucket in each. */
uint8_t exi_bucket_bits(uint64_t expected, uint32_t per_bucket);

/* Bucket (top bits, left-aligned) of the hash starting at h. */
uint32_t exi_bucket(const uint8_t *h, uint8_t bits);

/* Key `H` or `T` of a bucket and chunk (height of the batch's first block);
 * the first 5 bytes are the prefix that all chunks of the bucket share. */
void exi_key_bucket(struct exi_key *k, enum exi_kind kind, uint32_t bucket,
                    uint32_t chunk);
#define EXI_KEY_BUCKET_PREFIX 5
#define EXI_KEY_BUCKET_LEN    9
/* Chunk of such a key (EXI_KEY_BUCKET_LEN bytes at key). */
uint32_t exi_key_chunk(const uint8_t *key);

/* Key `G`. */
void exi_key_heavy(struct exi_key *k, const struct exi_skey *s, uint32_t chunk,
                   uint16_t part);
#define EXI_KEY_HEAVY_PREFIX (1 + EXI_SKEY_LEN + 4)

/* Key `U`; its first 15 bytes are the prefix of all of the script. */
void exi_key_utxo(struct exi_key *k, const struct exi_skey *s, uint64_t txnum,
                  uint32_t index);
#define EXI_KEY_UTXO_PREFIX (1 + EXI_SKEY_LEN)
int exi_key_utxo_parse(const uint8_t *key, size_t keylen, uint64_t *txnum,
                       uint32_t *index) EXI_MUST_CHECK;

/* Key `O`. */
void exi_key_outpoint(struct exi_key *k, uint64_t txnum, uint32_t index);

/* Value of `M`. */
struct exi_meta {
    uint32_t version;
    uint32_t height; /* of the last settled block */
    struct exi_blkid block;
    uint64_t tx_count; /* transactions in blocks 0 ... height */
    uint64_t utxo_count;
    uint64_t hist_count; /* history entries */
    uint64_t row_count;  /* H, G and T rows written */
};
#define EXI_META_LEN 72
void exi_meta_encode(uint8_t out[EXI_META_LEN], const struct exi_meta *m);
/* EXI_EFORMAT: wrong size; EXI_EVERSION: m->version says which. */
int exi_meta_decode(struct exi_meta *m, const uint8_t *buf,
                    size_t buflen) EXI_MUST_CHECK;

/* Key of `P`: beside that of `M`, so that both are in one table. */
#define EXI_KEY_TIDY     "MP"
#define EXI_KEY_TIDY_LEN 2
/* How far the rows of LevelDB's last level reach. */
struct exi_tidy_base {
    bool known;
    uint32_t height; /* of the last block in it */
    uint64_t txs;    /* transactions in blocks 0 ... height */
    uint64_t number; /* highest of its tables' when that was so */
};
/* Value of `P`: what tidying has to know; nothing a reader needs. */
struct exi_tidy {
    uint64_t fresh; /* bytes of write batches since the last fold */
    struct exi_tidy_base base;
};
#define EXI_TIDY_MAX (16 + EXI_KEY_MAX) /* what earlier programs wrote */
/* Returns the length. */
size_t exi_tidy_encode(uint8_t out[EXI_TIDY_MAX], const struct exi_tidy *t);
/* EXI_EFORMAT: too short, too long.  What earlier programs wrote there is
 * understood as a base that is not known. */
int exi_tidy_decode(struct exi_tidy *t, const uint8_t *buf,
                    size_t buflen) EXI_MUST_CHECK;

/*
 * Finds a script in an `H` value.  EXI_OK: *heavy false: *list is a cursor over
 * len bytes of varints (first relative to *base, then differences);
 * *heavy true: *count entries are in `G` rows of the same chunk.
 * EXI_ENOTFOUND, EXI_EFORMAT.  Pointers go into buf.
 */
struct exi_hist_slot {
    bool heavy;
    uint64_t count; /* heavy only */
    uint64_t base;
    struct exi_rd list;
};
int exi_hist_find(struct exi_hist_slot *slot, const uint8_t *buf, size_t buflen,
                  const struct exi_skey *s, uint8_t script_bits) EXI_MUST_CHECK;

/*
 * Next txnum of a list (of a slot, or a `G` value with base 0): 1 and *txnum,
 * 0 at its end, EXI_EFORMAT.  Start with *txnum = base.
 */
int exi_txnums_next(struct exi_rd *list, uint64_t *txnum,
                    bool *first) EXI_MUST_CHECK;

/* Length in bytes of a `T` entry, and its parts. */
#define EXI_TXID_ENTRY 8
void exi_txid_entry(uint8_t out[EXI_TXID_ENTRY], const struct exi_txid *txid,
                    uint8_t txid_bits, uint64_t txnum);
/*
 * Next candidate at or after *pos (start with 0) in a `T` value: 1 and *txnum,
 * 0: no more, EXI_EFORMAT: length is no multiple of an entry.
 */
int exi_txid_find(const uint8_t *buf, size_t buflen,
                  const struct exi_txid *txid, uint8_t txid_bits, size_t *pos,
                  uint64_t *txnum) EXI_MUST_CHECK;

/*
 * Flat files.
 */
enum exi_flat {
    EXI_FLAT_HEADERS,
    EXI_FLAT_HMERKLE,
    EXI_FLAT_TXCOUNTS,
    EXI_FLAT_BLOCKSIZES,
    EXI_FLAT_TXIDS,
    EXI_FLAT_TXOFFSETS,
    EXI_FLAT_N
};

struct exi_flat_def {
    const char *name;
    uint32_t record; /* bytes */
    uint8_t shift;   /* 1 << shift records a segment */
};
extern const struct exi_flat_def exi_flat_defs[EXI_FLAT_N];

/* Records that count in file f for a chain of height and tx_count. */
uint64_t exi_flat_count(enum exi_flat f, uint32_t height, uint64_t tx_count);

/* "headers.000012" into out (>= 32 bytes). */
void exi_flat_segment_name(char *out, size_t outlen, enum exi_flat f,
                           uint32_t segment);

/*
 * Text files.  Writers return the length written, without a NUL, or
 * EXI_ELIMIT; parsers EXI_OK, EXI_EFORMAT, EXI_EVERSION (*version says which).
 */
int exi_format_write(char *out, size_t outlen,
                     const struct exi_params *p) EXI_MUST_CHECK;
int exi_format_parse(struct exi_params *p, uint32_t *version, const char *buf,
                     size_t buflen) EXI_MUST_CHECK;

struct exi_manifest {
    uint64_t number;
    struct exi_params params;
    uint32_t height;
    struct exi_blkid block;
    uint64_t tx_count;
};
int exi_manifest_write(char *out, size_t outlen,
                       const struct exi_manifest *m) EXI_MUST_CHECK;
int exi_manifest_parse(struct exi_manifest *m, uint32_t *version,
                       const char *buf, size_t buflen) EXI_MUST_CHECK;

/*
 * Live layer (LMDB).
 */
#define EXI_LIVE_MAGIC    0x31564c45u /* "ELV1" LE */
#define EXI_LIVE_VERSION  1
#define EXI_LIVE_GENS_MAX 8

struct exi_live_gen {
    uint64_t number;
    uint32_t height;
    struct exi_blkid block;
};

struct exi_live_state {
    uint64_t instance;
    uint64_t seq;        /* last change record */
    uint64_t oldest_seq; /* oldest change record kept; seq + 1 if none */
    uint32_t tip_height;
    struct exi_blkid tip;
    uint32_t live_floor; /* lowest height in `block`; tip + 1 if none */
    uint32_t mempool_count;
    uint64_t mempool_vsize;
    uint64_t time_ms; /* of the commit, Unix */
    uint32_t ngens;
    struct exi_live_gen gens[EXI_LIVE_GENS_MAX]; /* ascending by number */
};
#define EXI_LIVE_STATE_MAX (96 + EXI_LIVE_GENS_MAX * 44)
size_t exi_live_state_encode(uint8_t out[EXI_LIVE_STATE_MAX],
                             const struct exi_live_state *s);
int exi_live_state_decode(struct exi_live_state *s, const uint8_t *buf,
                          size_t buflen) EXI_MUST_CHECK;

#define EXI_TXF_UNCONF_INPUT 1
#define EXI_TXF_COINBASE     2
#define EXI_TXF_PROVISIONAL  4

struct exi_live_tx {
    struct exi_txid txid;
    int32_t height;  /* > 0 confirmed, 0 mempool */
    uint32_t pos;    /* in the block */
    int64_t fee_sat; /* -1 coinbase */
    uint32_t size;
    uint32_t vsize;
    uint32_t flags; /* EXI_TXF_* */
    uint64_t time_ms;
    uint32_t nscripts;
    const uint8_t *scripts; /* nscripts times EXI_SKEY_LEN, into the buffer */
};
#define EXI_LIVE_TX_FIXED 76
/* out has room for EXI_LIVE_TX_FIXED + nscripts * EXI_SKEY_LEN; returns that. */
size_t exi_live_tx_encode(uint8_t *out, const struct exi_live_tx *t);
int exi_live_tx_decode(struct exi_live_tx *t, const uint8_t *buf,
                       size_t buflen) EXI_MUST_CHECK;

/* Value of `block`. */
struct exi_live_block {
    const uint8_t *header; /* 80 bytes, into the buffer */
    struct exi_blkid hash;
    uint32_t ntx;
    uint32_t size;
    uint64_t tx_count; /* in the chain up to and including this block */
};
#define EXI_LIVE_BLOCK_LEN 128
void exi_live_block_encode(uint8_t out[EXI_LIVE_BLOCK_LEN],
                           const struct exi_live_block *b);
int exi_live_block_decode(struct exi_live_block *b, const uint8_t *buf,
                          size_t buflen) EXI_MUST_CHECK;

/* Key of `hist`. */
#define EXI_LIVE_HIST_KEY (EXI_SKEY_LEN + 8)

/*
 * Value of `hist`: what one transaction does to one script.  Reading:
 * exi_live_fx_open, then nfund times exi_live_fx_fund, nspend times
 * exi_live_fx_spend (nspend is read by the first of them, or call
 * exi_live_fx_nspend), check rd.bad.
 */
struct exi_live_fund {
    uint32_t index;
    int64_t value_sat;
};
struct exi_live_spend {
    struct exi_txid txid;
    uint32_t index;
    int64_t value_sat;
};
/* Encoded size at most. */
#define EXI_LIVE_FX_MAX(nfund, nspend)                                         \
    (2 * EXI_VARINT_MAX + (nfund) * (2 * EXI_VARINT_MAX)                       \
     + (nspend) * (EXI_HASH_LEN + 2 * EXI_VARINT_MAX))
size_t exi_live_fx_encode(uint8_t *out, const struct exi_live_fund *fund,
                          size_t nfund, const struct exi_live_spend *spend,
                          size_t nspend);
/* Cursor over the outputs: returns their number. */
uint64_t exi_live_fx_open(struct exi_rd *rd, const uint8_t *buf, size_t buflen);
void exi_live_fx_fund(struct exi_rd *rd, struct exi_live_fund *out);
/* After the last output: number of inputs. */
uint64_t exi_live_fx_nspend(struct exi_rd *rd);
void exi_live_fx_spend(struct exi_rd *rd, struct exi_live_spend *out);

/* Change record. */
enum exi_change {
    EXI_CHANGE_MEMPOOL = 1,
    EXI_CHANGE_BLOCK = 2,
    EXI_CHANGE_REORG = 3,
    EXI_CHANGE_ALL = 4,
    EXI_CHANGE_SETTLED = 5
};
struct exi_live_change {
    enum exi_change kind;
    uint32_t tip_height;
    uint32_t
        low_height; /* lowest height whose block changed; tip + 1 if none */
    uint32_t nscripts;
    const uint8_t *scripts; /* nscripts times EXI_SKEY_LEN, ascending */
};
#define EXI_LIVE_CHANGE_FIXED 13
size_t exi_live_change_encode(uint8_t *out, const struct exi_live_change *c);
int exi_live_change_decode(struct exi_live_change *c, const uint8_t *buf,
                           size_t buflen) EXI_MUST_CHECK;

#endif /* EXI_FORMAT_H */
