/*
 * The settled layer: opening, epochs, look-ups.
 *
 *   settled/CURRENT       name of the epoch in use
 *   settled/<epoch>/db    LevelDB; its M row says what counts
 *   settled/<epoch>/flat  flat files; what lies behind the counts is nothing
 */
#include "settle_int.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exi_coin.h"
#include "lib/exi_sha256.h"
#include "lib/exi_token.h"
#include "log.h"

#define FIRST_EPOCH 1

/* Scripts in a bucket of `H`, transactions in one of `T`. */
#define PER_SCRIPT_BUCKET 40
#define PER_TXID_BUCKET   64

/* Says why and returns rc. */
static int fail(int rc, char *why, size_t whylen, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int
fail(int rc, char *why, size_t whylen, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, whylen, fmt, ap);
    va_end(ap);
    return rc;
}

/* The same for a failed system call on a file. */
static int
fail_errno(int rc, char *why, size_t whylen, const char *what)
{
    return fail(rc == EXI_ENOTFOUND ? EXI_EIO : rc, why, whylen, "%s: %s", what,
                strerror(errno));
}

bool
settle_name_number(const char *name, uint64_t *number)
{
    uint64_t n = 0;
    size_t i;

    for (i = 0; name[i] >= '0' && name[i] <= '9' && i < 10; i++) {
        n = n * 10 + (uint64_t) (name[i] - '0');
    }
    if (i != 10 || name[i] != '\0') {
        return false;
    }
    *number = n;
    return true;
}

int
settle_epoch_path(char path[FS_PATH_MAX], const struct settle *s,
                  uint64_t epoch, const char *suffix)
{
    return fs_path(path, "%s/settled/%010" PRIu64 "%s", s->dir, epoch, suffix);
}

/*
 * FORMAT.
 */

static int
format_make(struct settle *s, const struct settle_opts *o)
{
    struct exi_params *p = &s->params;
    char text[512];
    int n;

    memset(p, 0, sizeof(*p));
    snprintf(p->network, sizeof(p->network), "%s", o->network);
    p->genesis = o->genesis;
    p->script_bits = exi_bucket_bits(o->expected_txs, PER_SCRIPT_BUCKET);
    p->txid_bits = exi_bucket_bits(o->expected_txs, PER_TXID_BUCKET);
    p->spender = o->spender;
    n = exi_format_write(text, sizeof(text), p);
    return n < 0 ? n : fs_replace(s->dir, "FORMAT", text, (size_t) n);
}

static int
format_check(const struct settle *s, const struct settle_opts *o, char *why,
             size_t whylen)
{
    if (strcmp(s->params.network, o->network) != 0) {
        return fail(EXI_EAPI, why, whylen,
                    "%s holds an index of network %s, not of %s", s->dir,
                    s->params.network, o->network);
    }
    if (memcmp(s->params.genesis.b, o->genesis.b, EXI_HASH_LEN) != 0) {
        return fail(EXI_EAPI, why, whylen,
                    "%s holds an index of a chain with another genesis block",
                    s->dir);
    }
    if (s->params.spender != o->spender) {
        log_warn("settle",
                 "spender index is %s in this data directory and stays so",
                 s->params.spender ? "on" : "off");
    }
    return EXI_OK;
}

/* Reads FORMAT, or makes it in an empty directory. */
static int
format_open(struct settle *s, const struct settle_opts *o, char *why,
            size_t whylen)
{
    char path[FS_PATH_MAX], text[1024];
    uint32_t version = 0;
    size_t len;
    int rc = fs_path(path, "%s/FORMAT", s->dir);

    if (rc == EXI_OK) {
        rc = fs_read(path, text, sizeof(text), &len);
    }
    if (rc == EXI_ENOTFOUND) {
        rc = fs_path(path, "%s/settled/CURRENT", s->dir);
        if (rc == EXI_OK && fs_exists(path)) {
            return fail(EXI_EFORMAT, why, whylen,
                        "%s has an index but no FORMAT file", s->dir);
        }
        rc = format_make(s, o);
        s->coin = exi_coin_flags(s->params.network);
        return rc == EXI_OK ? rc : fail_errno(rc, why, whylen, s->dir);
    }
    if (rc != EXI_OK) {
        return fail_errno(rc, why, whylen, path);
    }
    rc = exi_format_parse(&s->params, &version, text, len);
    if (rc == EXI_EVERSION) {
        return fail(rc, why, whylen,
                    "%s is of format version %u, this program knows %d", s->dir,
                    version, EXI_FORMAT_VERSION);
    }
    if (rc != EXI_OK) {
        return fail(rc, why, whylen, "%s is damaged", path);
    }
    s->coin = exi_coin_flags(s->params.network);
    return format_check(s, o, why, whylen);
}

/*
 * Epochs.
 */

/* The M row; *any false: the database is empty. */
static int
read_meta(struct settle_epoch *e, char *why, size_t whylen)
{
    static const uint8_t key[1] = { EXI_KIND_META };
    uint8_t val[EXI_META_LEN];
    size_t len;
    int rc = settle_db_get(e->db, key, sizeof(key), val, sizeof(val), &len);

    e->any = rc == EXI_OK;
    if (rc == EXI_ENOTFOUND) {
        memset(&e->meta, 0, sizeof(e->meta));
        e->meta.version = EXI_FORMAT_VERSION;
        return EXI_OK;
    }
    if (rc == EXI_OK) {
        rc = exi_meta_decode(&e->meta, val, len);
    }
    if (rc == EXI_EVERSION) {
        return fail(rc, why, whylen,
                    "the database is of format version %u, this program knows "
                    "%d",
                    e->meta.version, EXI_FORMAT_VERSION);
    }
    return rc == EXI_OK ? rc : fail(rc, why, whylen, "M row can't be read");
}

/* Do database and flat files tell of the same last block? */
static int
check_tip(struct settle_epoch *e, char *why, size_t whylen)
{
    uint8_t header[EXI_HEADER_LEN], count[8], hash[EXI_HASH_LEN];
    int rc = flat_read(e->flat, EXI_FLAT_HEADERS, e->meta.height, 1, header);

    if (rc == EXI_OK) {
        rc = flat_read(e->flat, EXI_FLAT_TXCOUNTS, e->meta.height, 1, count);
    }
    if (rc != EXI_OK) {
        return fail(rc, why, whylen, "flat files can't be read");
    }
    exi_sha256d(hash, header, sizeof(header));
    if (memcmp(hash, e->meta.block.b, EXI_HASH_LEN) != 0
        || exi_le64(count) != e->meta.tx_count) {
        return fail(EXI_EFORMAT, why, whylen,
                    "flat files do not fit the database at height %u",
                    e->meta.height);
    }
    return EXI_OK;
}

/* No row: a fresh database, or one of the initial sync. */
static int
read_tidy(struct settle_epoch *e, char *why, size_t whylen)
{
    uint8_t val[EXI_TIDY_MAX];
    size_t len;
    int rc = settle_db_get(e->db, EXI_KEY_TIDY, EXI_KEY_TIDY_LEN, val,
                           sizeof(val), &len);

    if (rc == EXI_ENOTFOUND) {
        memset(&e->tidy, 0, sizeof(e->tidy));
        return EXI_OK;
    }
    if (rc == EXI_OK) {
        rc = exi_tidy_decode(&e->tidy, val, len);
    }
    return rc == EXI_OK ? rc : fail(rc, why, whylen, "P row can't be read");
}

static int
open_flat(struct settle_epoch *e, const struct settle *s, uint64_t epoch,
          char *why, size_t whylen)
{
    char path[FS_PATH_MAX], segment[32] = "";
    struct flat_counts counts;
    int rc = settle_epoch_path(path, s, epoch, "/flat");

    if (rc != EXI_OK) {
        return rc;
    }
    settle_counts(&counts, e->any, &e->meta);
    rc = flat_open(&e->flat, path, &counts, segment, sizeof(segment));
    if (rc != EXI_OK) {
        return fail(rc, why, whylen, "%s/%s is missing or too short", path,
                    segment);
    }
    return e->any ? check_tip(e, why, whylen) : EXI_OK;
}

int
settle_epoch_open(struct settle_epoch *e, const struct settle *s,
                  uint64_t epoch, char *why, size_t whylen)
{
    char path[FS_PATH_MAX], err[256] = "";
    int rc = settle_epoch_path(path, s, epoch, "/db");

    memset(e, 0, sizeof(*e));
    if (rc != EXI_OK) {
        return rc;
    }
    rc = settle_db_open(&e->db, path, 0, err, sizeof(err));
    if (rc != EXI_OK) {
        return fail(rc, why, whylen, "%.200s: %.200s", path, err);
    }
    rc = read_meta(e, why, whylen);
    if (rc == EXI_OK) {
        rc = read_tidy(e, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = open_flat(e, s, epoch, why, whylen);
    }
    if (rc != EXI_OK) {
        settle_epoch_close(e);
    }
    return rc;
}

void
settle_epoch_close(struct settle_epoch *e)
{
    settle_db_close(e->db);
    flat_close(e->flat);
    memset(e, 0, sizeof(*e));
}

/* An empty database, complete before CURRENT names it: a missing one is an
 * error later, not an empty index. */
int
settle_epoch_make(const struct settle *s, uint64_t epoch, char *why,
                  size_t whylen)
{
    char path[FS_PATH_MAX], db[FS_PATH_MAX], flat[FS_PATH_MAX], err[256] = "";
    struct settle_db *d = NULL;
    int rc = settle_epoch_path(path, s, epoch, "");

    if (rc == EXI_OK) {
        rc = settle_epoch_path(db, s, epoch, "/db");
    }
    if (rc == EXI_OK) {
        rc = settle_epoch_path(flat, s, epoch, "/flat");
    }
    if (rc == EXI_OK && (rc = fs_remove_tree(path)) == EXI_OK
        && (rc = fs_mkdir(path)) == EXI_OK && (rc = fs_mkdir(db)) == EXI_OK) {
        rc = fs_mkdir(flat);
    }
    if (rc != EXI_OK) {
        return fail_errno(rc, why, whylen, path);
    }
    rc = settle_db_open(&d, db, 1, err, sizeof(err));
    if (rc != EXI_OK) {
        return fail(rc, why, whylen, "%.200s: %.200s", db, err);
    }
    settle_db_close(d);
    rc = fs_sync_dir(db);
    if (rc == EXI_OK) {
        rc = fs_sync_dir(path);
    }
    return rc == EXI_OK ? rc : fail_errno(rc, why, whylen, path);
}

int
settle_epoch_choose(const struct settle *s, uint64_t epoch)
{
    char dir[FS_PATH_MAX], name[32];
    int rc = fs_path(dir, "%s/settled", s->dir), n;

    if (rc == EXI_OK) {
        rc = fs_sync_dir(dir);
    }
    n = snprintf(name, sizeof(name), "%010" PRIu64 "\n", epoch);
    return rc == EXI_OK ? fs_replace(dir, "CURRENT", name, (size_t) n) : rc;
}

/* Highest number among the names in a directory. */
static int
max_number(void *ctx, const char *name)
{
    uint64_t *max = ctx, n;

    if (settle_name_number(name, &n) && n > *max) {
        *max = n;
    }
    return EXI_OK;
}

/*
 * settled/CURRENT is not there.  In a new directory that is as it should be;
 * one with generations has lost it, and must not be taken for empty.
 */
static int
lost_epoch(struct settle *s, bool repair, char *why, size_t whylen)
{
    uint64_t epoch = 0, generation = 0;
    char path[FS_PATH_MAX];
    int rc = fs_path(path, "%s/generations", s->dir);

    if (rc == EXI_OK) {
        rc = fs_each(path, max_number, &generation);
    }
    if (rc == EXI_OK) {
        rc = fs_path(path, "%s/settled", s->dir);
    }
    if (rc == EXI_OK) {
        rc = fs_each(path, max_number, &epoch);
    }
    if (rc != EXI_OK) {
        return fail_errno(rc, why, whylen, path);
    }
    if (repair) {
        s->epoch = epoch;
        return EXI_OK;
    }
    return generation == 0
               ? EXI_ENOTFOUND
               : fail(EXI_EFORMAT, why, whylen, "%s/CURRENT is lost", path);
}

/* Reads settled/CURRENT, or makes the first epoch. */
static int
find_epoch(struct settle *s, bool repair, char *why, size_t whylen)
{
    char path[FS_PATH_MAX], text[32];
    size_t len;
    int rc = fs_path(path, "%s/settled/CURRENT", s->dir);

    if (rc == EXI_OK) {
        rc = fs_read(path, text, sizeof(text), &len);
    }
    if (rc == EXI_ENOTFOUND) {
        rc = lost_epoch(s, repair, why, whylen);
        if (rc != EXI_ENOTFOUND) {
            return rc;
        }
        s->epoch = FIRST_EPOCH;
        rc = settle_epoch_make(s, s->epoch, why, whylen);
        if (rc != EXI_OK) {
            return rc;
        }
        rc = settle_epoch_choose(s, s->epoch);
        return rc == EXI_OK ? rc : fail_errno(rc, why, whylen, path);
    }
    if (rc != EXI_OK) {
        return fail_errno(rc, why, whylen, path);
    }
    text[len - (len > 0)] = '\0';
    if (!settle_name_number(text, &s->epoch)) {
        return repair ? lost_epoch(s, true, why, whylen)
                      : fail(EXI_EFORMAT, why, whylen, "%s is damaged", path);
    }
    return EXI_OK;
}

static int
make_dirs(const struct settle *s, char *why, size_t whylen)
{
    static const char *const names[] = { "settled", "generations" };
    char path[FS_PATH_MAX];
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < 2; i++) {
        rc = fs_path(path, "%s/%s", s->dir, names[i]);
        if (rc == EXI_OK) {
            rc = fs_mkdir(path);
        }
    }
    if (rc == EXI_OK) {
        rc = fs_sync_dir(s->dir);
    }
    return rc == EXI_OK ? rc : fail_errno(rc, why, whylen, s->dir);
}

void
settle_epoch_use(struct settle *s, const struct settle_epoch *e)
{
    s->db = e->db;
    s->flat = e->flat;
    s->any = e->any;
    s->meta = e->meta;
    s->tidy = e->tidy;
}

static int
open_all(struct settle *s, const struct settle_opts *o, char *why,
         size_t whylen)
{
    struct settle_epoch e;
    int rc = make_dirs(s, why, whylen);

    if (rc == EXI_OK) {
        rc = format_open(s, o, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = find_epoch(s, o->no_epoch, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = settle_scan(s, why, whylen);
    }
    if (rc != EXI_OK || o->no_epoch) {
        return rc;
    }
    rc = settle_epoch_open(&e, s, s->epoch, why, whylen);
    if (rc == EXI_OK) {
        settle_epoch_use(s, &e);
    }
    return rc;
}

int
settle_open(struct settle **out, const struct settle_opts *o, char *why,
            size_t whylen)
{
    struct settle *s = calloc(1, sizeof(*s));
    int rc;

    if (s == NULL) {
        return fail(EXI_ENOMEM, why, whylen, "no memory");
    }
    s->keep_generations = o->keep_generations;
    s->tidy_after = o->tidy_after;
    s->tidy_highest = UINT_MAX; /* nothing is damaged */
    settle_batch_init(&s->batch);
    rc = fs_path(s->dir, "%s", o->data_dir);
    if (rc != EXI_OK) {
        fail(rc, why, whylen, "name of the data directory is too long");
    } else {
        rc = open_all(s, o, why, whylen);
    }
    if (rc != EXI_OK) {
        settle_close(s);
        return rc;
    }
    *out = s;
    return EXI_OK;
}

void
settle_close(struct settle *s)
{
    if (s == NULL) {
        return;
    }
    settle_iter_drop(s);
    settle_batch_free(&s->batch);
    settle_db_close(s->db);
    flat_close(s->flat);
    free(s->gens);
    free(s);
}

bool
settle_any(const struct settle *s)
{
    return s->any;
}

const struct exi_meta *
settle_meta(const struct settle *s)
{
    return &s->meta;
}

const struct exi_params *
settle_params(const struct settle *s)
{
    return &s->params;
}

/*
 * Look-ups.
 */

struct settle_db_iter *
settle_iter(struct settle *s)
{
    if (s->it == NULL) {
        s->it = settle_db_iter_new(s->db);
    }
    return s->it;
}

void
settle_iter_drop(struct settle *s)
{
    settle_db_iter_free(s->it);
    s->it = NULL;
}

/* Candidates of one `T` row. */
static int
match_txids(struct settle *s, const uint8_t *val, size_t vallen,
            const struct exi_txid *txid, uint64_t *best, bool *found)
{
    struct exi_txid other;
    uint64_t txnum;
    size_t pos = 0;
    int rc;

    while ((rc = exi_txid_find(val, vallen, txid, s->params.txid_bits, &pos,
                               &txnum))
           == 1) {
        rc = flat_read(s->flat, EXI_FLAT_TXIDS, txnum, 1, &other);
        if (rc != EXI_OK) {
            return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
        }
        if (memcmp(other.b, txid->b, EXI_HASH_LEN) == 0
            && (!*found || txnum > *best)) {
            *best = txnum;
            *found = true;
        }
    }
    return rc;
}

int
settle_find_txid(struct settle *s, const struct exi_txid *txid, uint64_t *txnum)
{
    struct settle_db_iter *it = settle_iter(s);
    const uint8_t *key, *val;
    size_t keylen, vallen;
    bool found = false;
    struct exi_key k;
    int rc;

    if (it == NULL) {
        return EXI_ENOMEM;
    }
    exi_key_bucket(&k, EXI_KIND_TXID, exi_bucket(txid->b, s->params.txid_bits),
                   0);
    settle_db_iter_seek(it, k.b, k.len);
    while ((rc = settle_db_iter_row(it, &key, &keylen, &val, &vallen)) == 1
           && keylen == EXI_KEY_BUCKET_LEN
           && memcmp(key, k.b, EXI_KEY_BUCKET_PREFIX) == 0) {
        rc = match_txids(s, val, vallen, txid, txnum, &found);
        if (rc != EXI_OK) {
            return rc;
        }
        settle_db_iter_next(it);
    }
    if (rc < 0) {
        return rc;
    }
    return found ? EXI_OK : EXI_ENOTFOUND;
}

int
settle_get(struct settle *s, const struct exi_key *k, uint8_t *buf,
           size_t buflen, size_t *vallen)
{
    struct settle_db_iter *it = settle_iter(s);
    const uint8_t *key, *val;
    size_t keylen, len;
    int rc;

    if (it == NULL) {
        return EXI_ENOMEM;
    }
    settle_db_iter_seek(it, k->b, k->len);
    rc = settle_db_iter_row(it, &key, &keylen, &val, &len);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || keylen != k->len || memcmp(key, k->b, keylen) != 0) {
        return EXI_ENOTFOUND;
    }
    if (len > buflen) {
        return EXI_EFORMAT;
    }
    memcpy(buf, val, len);
    *vallen = len;
    return EXI_OK;
}

int
settle_find_out(struct settle *s, uint64_t txnum, uint32_t index,
                struct exi_skey *script)
{
    uint8_t val[EXI_SKEY_LEN + EXI_TOKEN_MAX];
    struct exi_key k;
    size_t len;
    int rc;

    exi_key_outpoint(&k, txnum, index);
    rc = settle_get(s, &k, val, sizeof(val), &len);
    if (rc == EXI_OK && !exi_outpoint_len_right(len, s->coin)) {
        return EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        memcpy(script->b, val, EXI_SKEY_LEN);
    }
    return rc;
}

int
settle_txnum(struct settle *s, const struct exi_txid *txid, uint64_t *txnum)
{
    uint64_t n;
    int rc = settle_ready(s);

    if (rc == EXI_OK) {
        rc = settle_find_txid(s, txid, &n);
    }
    if (rc == EXI_OK) {
        *txnum = n;
    }
    return rc;
}

/* Amount of an unspent output. */
static int
find_value(struct settle *s, const struct exi_skey *script, uint64_t txnum,
           uint32_t index, int64_t *value_sat)
{
    uint8_t val[EXI_VARINT_MAX];
    struct exi_key k;
    struct exi_rd rd;
    uint64_t v;
    size_t len;
    int rc;

    exi_key_utxo(&k, script, txnum, index);
    rc = settle_get(s, &k, val, sizeof(val), &len);
    if (rc != EXI_OK) {
        /* There is an O row: there must be a U row. */
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    rd = exi_rd(val, len);
    v = exi_rd_varint(&rd);
    if (rd.bad || exi_rd_left(&rd) != 0 || v > INT64_MAX) {
        return EXI_EFORMAT;
    }
    *value_sat = (int64_t) v;
    return EXI_OK;
}

int
settle_prevout(struct settle *s, const struct exi_txid *txid, uint32_t index,
               struct exi_skey *script, int64_t *value_sat)
{
    struct exi_skey k;
    uint64_t txnum;
    int rc = settle_ready(s);

    if (rc == EXI_OK) {
        rc = settle_find_txid(s, txid, &txnum);
    }
    if (rc == EXI_OK) {
        rc = settle_find_out(s, txnum, index, &k);
    }
    if (rc == EXI_OK) {
        rc = find_value(s, &k, txnum, index, value_sat);
    }
    if (rc == EXI_OK) {
        *script = k;
    }
    return rc;
}

int
settle_block_hash(struct settle *s, uint32_t height, struct exi_blkid *out)
{
    uint8_t header[EXI_HEADER_LEN];
    int rc = settle_ready(s);

    if (rc == EXI_OK) {
        rc = flat_read(s->flat, EXI_FLAT_HEADERS, height, 1, header);
    }
    if (rc == EXI_OK) {
        exi_sha256d(out->b, header, sizeof(header));
    }
    return rc;
}
