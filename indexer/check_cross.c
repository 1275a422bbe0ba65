/*
 * Check of rows against the flat files and each other: T entries are those of
 * the txids (each transaction has one, but those that a later one of the same
 * txid replaced, BIP 30), U and O rows are of the same outputs.  Sums tell
 * whether all is well; only when it is not, each row is looked up.
 */
#include "check_int.h"

#include <inttypes.h>
#include <string.h>

#include "lib/exi_coin.h"
#include "lib/exi_token.h"

/* Look-ups of the fast level's sample. */
#define SAMPLE 1000

/* Is it the value of an `O` row of that script? */
static bool
same_script(const struct check_rows *w, const uint8_t *val, size_t len,
            const uint8_t *skey)
{
    unsigned coin = exi_coin_flags(w->c->m.params.network);

    return exi_outpoint_len_right(len, coin)
           && memcmp(val, skey, EXI_SKEY_LEN) == 0;
}

/* Whether a later transaction has the same txid and an entry. */
static int
replaced(struct check_rows *w, const struct exi_txid *txid, uint64_t txnum,
         bool *yes)
{
    uint8_t bits = w->c->m.params.txid_bits;
    struct exi_txid other;
    struct exi_key k;
    struct check_row r;
    int rc;

    *yes = false;
    exi_key_bucket(&k, EXI_KIND_TXID, exi_bucket(txid->b, bits), 0);
    exi_rodb_iter_seek_in(w->heavy, k.b, k.len, EXI_KEY_BUCKET_PREFIX);
    while (
        (rc = exi_rodb_iter_row(w->heavy, &r.key, &r.keylen, &r.val, &r.vallen))
            == 1
        && r.keylen == k.len
        && memcmp(r.key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        uint64_t found;
        size_t pos = 0;

        while (exi_txid_find(r.val, r.vallen, txid, bits, &pos, &found) == 1) {
            rc = flat_read(w->c->flat, EXI_FLAT_TXIDS, found, 1, &other);
            if (rc == EXI_OK && found > txnum
                && memcmp(&other, txid, sizeof(other)) == 0) {
                *yes = true;
                return EXI_OK;
            }
            if (rc != EXI_OK && rc != EXI_ENOTFOUND) {
                return rc;
            }
        }
        exi_rodb_iter_next(w->heavy);
    }
    return rc < 0 ? rc : EXI_OK;
}

/* Which entries are wrong, once it is known that some are: a random read for
 * each. */
static int
find_wrong_txids(struct check_rows *w)
{
    uint8_t bits = w->c->m.params.txid_bits;
    struct exi_key k;
    struct check_row r;
    int rc;

    exi_key_bucket(&k, EXI_KIND_TXID, 0, 0);
    exi_rodb_iter_seek(w->it, k.b, 1);
    while ((rc = exi_rodb_iter_row(w->it, &r.key, &r.keylen, &r.val, &r.vallen))
               == 1
           && r.keylen == k.len && r.key[0] == EXI_KIND_TXID
           && w->c->r->findings[CHECK_TXNUMS] < CHECK_TOLD) {
        for (size_t i = 0; i < r.vallen / EXI_TXID_ENTRY; i++) {
            const uint8_t *e = r.val + i * EXI_TXID_ENTRY;
            struct exi_txid txid;

            rc = flat_read(w->c->flat, EXI_FLAT_TXIDS, exi_be40(e + 3), 1,
                           &txid);
            if (rc == EXI_ENOTFOUND) {
                continue;
            }
            if (rc != EXI_OK) {
                return rc;
            }
            if (exi_bucket(txid.b, bits) != exi_be32(r.key + 1)
                || memcmp(txid.b + bits / 8, e, 3) != 0) {
                check_bad_row(w, CHECK_TXNUMS, &r, "entry of another txid");
            }
        }
        exi_rodb_iter_next(w->it);
    }
    return rc < 0 ? rc : EXI_OK;
}

int
check_compare_txids(struct check_rows *w)
{
    struct check *c = w->c;
    uint8_t bits = c->m.params.txid_bits;
    struct check_sum want = { { 0, 0 }, 0 };
    struct exi_txid txid;
    bool yes;
    int rc;

    for (uint64_t i = 0; i < c->m.tx_count; i++) {
        if (i % (1 << 18) == 0
            && !check_step(c, "transactions", i, c->m.tx_count)) {
            return EXI_ESTALE;
        }
        rc = flat_read(c->flat, EXI_FLAT_TXIDS, i, 1, &txid);
        if (rc != EXI_OK) {
            return rc;
        }
        if ((w->seen[i / 8] & 1 << i % 8) == 0) {
            rc = replaced(w, &txid, i, &yes);
            if (rc != EXI_OK) {
                return rc;
            }
            if (!yes) {
                check_found(c, CHECK_TXNUMS,
                            "transaction %" PRIu64 " has no T entry", i);
            }
            continue;
        }
        check_add_txid(&want, exi_bucket(txid.b, bits), txid.b + bits / 8, i);
        check_add(&c->r->txids, exi_be64(txid.b), exi_be64(txid.b + 8),
                  exi_be64(txid.b + 16), i);
    }
    return check_same(&want, &w->t) ? EXI_OK : find_wrong_txids(w);
}

/* A U row without its O row (the other way round: outputs are counted). */
static int
find_wrong_outputs(struct check_rows *w)
{
    static const uint8_t from[1] = { EXI_KIND_UTXO };
    struct check_row r;
    int rc;

    exi_rodb_iter_seek(w->it, from, 1);
    while ((rc = exi_rodb_iter_row(w->it, &r.key, &r.keylen, &r.val, &r.vallen))
               == 1
           && r.key[0] == EXI_KIND_UTXO
           && w->c->r->findings[CHECK_UNSPENT] < CHECK_TOLD) {
        const uint8_t *val;
        struct exi_key k;
        uint64_t txnum;
        uint32_t index;
        size_t len;

        if (exi_key_utxo_parse(r.key, r.keylen, &txnum, &index) == EXI_OK) {
            exi_key_outpoint(&k, txnum, index);
            rc = exi_rodb_get(w->c->db, NULL, k.b, k.len, &val, &len);
            if (rc == EXI_ENOTFOUND) {
                check_bad_row(w, CHECK_UNSPENT, &r, "there is no O row for it");
            } else if (rc != EXI_OK) {
                return rc;
            } else if (!same_script(w, val, len, r.key + 1)) {
                check_bad_row(w, CHECK_UNSPENT, &r,
                              "its O row has another script");
            }
        }
        exi_rodb_iter_next(w->it);
    }
    return rc < 0 ? rc : EXI_OK;
}

int
check_compare_outputs(struct check_rows *w)
{
    if (check_same(&w->u, &w->o)) {
        return EXI_OK;
    }
    check_found(w->c, CHECK_UNSPENT,
                "%" PRIu64 " U rows and %" PRIu64
                " O rows are not of the same outputs",
                w->u.n, w->o.n);
    return find_wrong_outputs(w);
}

/*
 * The fast level: random transactions have their T entry, random U rows their
 * O row.
 */

static int
sample_txid(struct check_rows *w, uint64_t txnum)
{
    uint8_t bits = w->c->m.params.txid_bits;
    struct exi_txid txid;
    struct exi_key k;
    struct check_row r;
    int rc = flat_read(w->c->flat, EXI_FLAT_TXIDS, txnum, 1, &txid);

    if (rc != EXI_OK) {
        return rc;
    }
    exi_key_bucket(&k, EXI_KIND_TXID, exi_bucket(txid.b, bits), 0);
    exi_rodb_iter_seek(w->it, k.b, k.len);
    while ((rc = exi_rodb_iter_row(w->it, &r.key, &r.keylen, &r.val, &r.vallen))
               == 1
           && r.keylen == k.len
           && memcmp(r.key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        uint64_t found;
        size_t pos = 0;

        while (exi_txid_find(r.val, r.vallen, &txid, bits, &pos, &found) == 1) {
            if (found >= txnum) {
                return EXI_OK; /* or a later one of the same txid */
            }
        }
        exi_rodb_iter_next(w->it);
    }
    if (rc >= 0) {
        check_found(w->c, CHECK_TXNUMS,
                    "transaction %" PRIu64 " has no T entry", txnum);
    }
    return rc < 0 ? rc : EXI_OK;
}

static int
sample_utxo(struct check_rows *w)
{
    const uint8_t *val;
    struct exi_skey s;
    struct exi_key k;
    uint64_t txnum;
    uint32_t index;
    struct check_row r;
    size_t len;
    int rc;

    for (size_t i = 0; i < sizeof(s.b); i++) {
        s.b[i] = (uint8_t) check_random(w->c, 256);
    }
    exi_key_utxo(&k, &s, 0, 0);
    exi_rodb_iter_seek(w->it, k.b, k.len);
    rc = exi_rodb_iter_row(w->it, &r.key, &r.keylen, &r.val, &r.vallen);
    if (rc != 1) {
        return rc;
    }
    if (exi_key_utxo_parse(r.key, r.keylen, &txnum, &index) != EXI_OK) {
        check_bad_row(w, CHECK_UNSPENT, &r, "malformed");
        return EXI_OK;
    }
    exi_key_outpoint(&k, txnum, index);
    rc = exi_rodb_get(w->c->db, NULL, k.b, k.len, &val, &len);
    if (rc == EXI_ENOTFOUND) {
        check_bad_row(w, CHECK_UNSPENT, &r, "there is no O row for it");
        return EXI_OK;
    }
    if (rc == EXI_OK && !same_script(w, val, len, r.key + 1)) {
        check_bad_row(w, CHECK_UNSPENT, &r, "its O row has another script");
    }
    return rc;
}

int
check_rows_sample(struct check *c)
{
    struct check_rows w;
    int rc = check_rows_open(&w, c);

    for (uint64_t i = 0; rc == EXI_OK && i < SAMPLE; i++) {
        if (i % 16 == 0 && !check_step(c, "rows", i, SAMPLE)) {
            rc = EXI_ESTALE;
            break;
        }
        rc = sample_txid(&w, check_random(c, c->m.tx_count));
        if (rc == EXI_OK) {
            rc = sample_utxo(&w);
        }
    }
    if (rc == EXI_EIO) {
        check_found(c, CHECK_ROWS, "a table can't be read%s%s",
                    *exi_rodb_damage(c->db) ? ": " : "",
                    exi_rodb_damage(c->db));
        rc = EXI_OK;
    }
    check_rows_close(&w);
    return rc;
}
