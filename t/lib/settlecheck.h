/*
 * Reads a published generation row by row and holds it against a chain model.
 * Decodes rows on its own, without libexi's finders.  Include after tap.h.
 */
#ifndef SETTLECHECK_H
#define SETTLECHECK_H

#include "chainmodel.h"

#include "exi_hex.h"
#include "exi_rodb.h"
#include "settle.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SC_UNUSED __attribute__((unused))

/* What went wrong first; "" = nothing. */
static char sc_error[512];

__attribute__((unused, format(printf, 1, 2))) static bool
sc_fail(const char *fmt, ...)
{
    va_list ap;

    if (sc_error[0] == '\0') {
        va_start(ap, fmt);
        vsnprintf(sc_error, sizeof(sc_error), fmt, ap);
        va_end(ap);
    }
    return false;
}

/* A row before the next ones are read: `H` of a heavy script. */
struct sc_heavy {
    struct exi_skey s;
    uint32_t chunk;
    uint64_t count;
};

struct sc {
    struct exi_params params;
    struct exi_meta meta;
    struct cm_facts facts;
    struct sc_heavy heavy[64];
    size_t nheavy;
    uint64_t rows;      /* H, G, T */
    uint64_t hist;      /* history entries */
    uint64_t chunks[2]; /* lowest and highest chunk seen */
    bool tidied;        /* there is a P row */
    struct exi_tidy tidy;
    uint8_t bucket[5]; /* of the last H, T or S row */
    uint64_t again;    /* such rows whose bucket has another one before */
    uint32_t base;     /* chunks up to this one are base's */
    uint32_t chunk;    /* of the last one */
    uint64_t apart;    /* such rows behind one above `base` */
};

static void
sc_hist_fact(struct sc *c, const uint8_t *skey, uint64_t txnum)
{
    uint8_t num[5];

    exi_put_be40(num, txnum);
    cm_fact(&c->facts, "H", skey, EXI_SKEY_LEN, num, 5, NULL, 0);
    c->hist++;
}

/* The parameters' bits before the suffix come from the bucket; the last bits
 * of the bucket must repeat in the suffix. */
static bool
sc_row_hist(struct sc *c, const uint8_t *key, const uint8_t *val, size_t len)
{
    unsigned skip = c->params.script_bits / 8u;
    struct exi_rd r = exi_rd(val, len), list;
    uint64_t base = exi_rd_varint(&r), head, txnum;
    uint8_t skey[EXI_SKEY_LEN], last[EXI_SKEY_LEN] = { 0 };
    const uint8_t *p;

    while (!r.bad && r.p < r.end) {
        memcpy(skey, key + 1, 4);
        p = exi_rd_bytes(&r, EXI_SKEY_LEN - skip);
        head = exi_rd_varint(&r);
        if (r.bad) {
            return sc_fail("H row is cut");
        }
        memcpy(skey + skip, p, EXI_SKEY_LEN - skip);
        list = exi_rd(exi_rd_bytes(&r, head / 2), head / 2);
        if (r.bad
            || exi_bucket(skey, c->params.script_bits) != exi_be32(key + 1)
            || memcmp(skey, last, EXI_SKEY_LEN) <= 0) {
            return sc_fail("H row: order or bucket");
        }
        memcpy(last, skey, EXI_SKEY_LEN);
        if (head & 1) {
            struct sc_heavy *h = &c->heavy[c->nheavy++ % 64];

            memcpy(h->s.b, skey, EXI_SKEY_LEN);
            h->chunk = exi_key_chunk(key);
            h->count = exi_rd_varint(&list);
            if (h->count <= EXI_HEAVY_MIN - 10) {
                return sc_fail("light script is heavy");
            }
        } else {
            txnum = base;
            for (unsigned n = 0; list.p < list.end; n++) {
                uint64_t d = exi_rd_varint(&list);

                if (list.bad || (n > 0 && d == 0) || n >= EXI_HEAVY_MIN) {
                    return sc_fail("H list");
                }
                txnum += d;
                sc_hist_fact(c, skey, txnum);
            }
        }
    }
    return r.bad ? sc_fail("H row is cut") : true;
}

static bool
sc_row_heavy(struct sc *c, const uint8_t *key, size_t keylen,
             const uint8_t *val, size_t len)
{
    struct exi_rd r = exi_rd(val, len);
    uint64_t txnum = 0, n = 0;

    if (keylen != 21) {
        return sc_fail("G key");
    }
    while (r.p < r.end) {
        uint64_t d = exi_rd_varint(&r);

        if (r.bad || (n > 0 && d == 0) || n == EXI_HEAVY_PART) {
            return sc_fail("G list");
        }
        txnum += d;
        n++;
        sc_hist_fact(c, key + 1, txnum);
    }
    /* Counts are settled in sc_heavy_done: subtract here. */
    for (size_t i = 0; i < c->nheavy; i++) {
        if (memcmp(c->heavy[i].s.b, key + 1, EXI_SKEY_LEN) == 0
            && c->heavy[i].chunk == exi_be32(key + 15)) {
            c->heavy[i].count -= n;
            return true;
        }
    }
    /* `G` sorts before `H`: note a negative count. */
    c->heavy[c->nheavy].count = (uint64_t) 0 - n;
    memcpy(c->heavy[c->nheavy].s.b, key + 1, EXI_SKEY_LEN);
    c->heavy[c->nheavy].chunk = exi_be32(key + 15);
    c->nheavy++;
    return true;
}

static bool
sc_row_txid(struct sc *c, const uint8_t *key, const uint8_t *val, size_t len)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        if (i > 0 && memcmp(val + i - 8, val + i, 8) >= 0) {
            return sc_fail("T order");
        }
        cm_fact(&c->facts, "T", key + 1, 4, val + i, 8, NULL, 0);
    }
    return len % 8 == 0 && len > 0 ? true : sc_fail("T length");
}

static bool
sc_row_utxo(struct sc *c, const uint8_t *key, size_t keylen, const uint8_t *val,
            size_t len)
{
    struct exi_rd k = exi_rd(key + 20, keylen - 20), v = exi_rd(val, len);
    uint32_t index = exi_rd_ovarint(&k);
    uint64_t amount = exi_rd_varint(&v);
    uint8_t num[12];

    exi_put_be32(num, index);
    exi_put_be64(num + 4, amount);
    cm_fact(&c->facts, "U", key + 1, 19, num, 12, NULL, 0);
    return !k.bad && !v.bad && k.p == k.end && v.p == v.end ? true
                                                            : sc_fail("U row");
}

static bool
sc_row_outpoint(struct sc *c, const uint8_t *key, size_t keylen,
                const uint8_t *val, size_t len)
{
    struct exi_rd k = exi_rd(key + 6, keylen - 6);
    uint32_t index = exi_rd_ovarint(&k);
    uint8_t num[4], fact[EXI_SKEY_LEN + 8];

    if (k.bad || k.p != k.end || len < EXI_SKEY_LEN) {
        return sc_fail("O row");
    }
    exi_put_be32(num, index);
    memcpy(fact, val, EXI_SKEY_LEN);
    cm_token_hash(fact + EXI_SKEY_LEN, val + EXI_SKEY_LEN, len - EXI_SKEY_LEN);
    cm_fact(&c->facts, "O", key + 1, 5, num, 4, fact, sizeof(fact));
    return true;
}

static bool
sc_row_spender(struct sc *c, const uint8_t *key, const uint8_t *val, size_t len)
{
    struct exi_rd r = exi_rd(val, len);
    uint64_t base = exi_rd_varint(&r), last = 0;

    while (!r.bad && r.p < r.end) {
        uint64_t mod = exi_rd_varint(&r);
        uint32_t index = exi_rd_ovarint(&r);
        uint64_t by = base + exi_rd_varint(&r);
        uint8_t from[5], to[5], num[4];

        if (mod > 63 || (mod << 32 | index) + 1 <= last) {
            return sc_fail("S order");
        }
        last = (mod << 32 | index) + 1;
        exi_put_be40(from, (uint64_t) exi_be32(key + 1) * 64 + mod);
        exi_put_be40(to, by);
        exi_put_be32(num, index);
        cm_fact(&c->facts, "S", from, 5, num, 4, to, 5);
    }
    return r.bad ? sc_fail("S row") : true;
}

static bool
sc_row(struct sc *c, const uint8_t *key, size_t keylen, const uint8_t *val,
       size_t len)
{
    if (keylen == EXI_KEY_BUCKET_LEN && strchr("HTS", key[0]) != NULL) {
        bool again = memcmp(c->bucket, key, sizeof(c->bucket)) == 0;

        c->again += again;
        c->apart += again && c->chunk > c->base;
        c->chunk = exi_be32(key + sizeof(c->bucket));
        memcpy(c->bucket, key, sizeof(c->bucket));
    }
    switch (key[0]) {
    case 'M':
        if (keylen == 2 && key[1] == 'P') {
            c->tidied = exi_tidy_decode(&c->tidy, val, len) == EXI_OK;
            return c->tidied ? true : sc_fail("P");
        }
        return keylen == 1 && exi_meta_decode(&c->meta, val, len) == EXI_OK
                   ? true
                   : sc_fail("M");
    case 'H':
        c->rows++;
        return keylen == 9 ? sc_row_hist(c, key, val, len) : sc_fail("H key");
    case 'G':
        c->rows++;
        return sc_row_heavy(c, key, keylen, val, len);
    case 'T':
        c->rows++;
        return keylen == 9 ? sc_row_txid(c, key, val, len) : sc_fail("T key");
    case 'U':
        return sc_row_utxo(c, key, keylen, val, len);
    case 'O':
        return sc_row_outpoint(c, key, keylen, val, len);
    case 'S':
        return keylen == 9 ? sc_row_spender(c, key, val, len)
                           : sc_fail("S key");
    default:
        return sc_fail("row of unknown kind %02x", key[0]);
    }
}

/* `G` rows came first with negative counts; `H` rows add theirs. */
static bool
sc_heavy_done(const struct sc *c)
{
    for (size_t i = 0; i < c->nheavy; i++) {
        uint64_t sum = 0;

        for (size_t k = 0; k < c->nheavy; k++) {
            if (memcmp(&c->heavy[i].s, &c->heavy[k].s, EXI_SKEY_LEN) == 0
                && c->heavy[i].chunk == c->heavy[k].chunk) {
                sum += c->heavy[k].count;
            }
        }
        if (sum != 0) {
            return sc_fail("count of a heavy script");
        }
    }
    return true;
}

/* Reads all rows of the database in dir. */
static bool
sc_read_db(struct sc *c, const char *dir)
{
    struct exi_rodb *db = NULL;
    struct exi_rodb_iter *it;
    const uint8_t *key, *val;
    size_t keylen, vallen;
    char err[256] = "";
    bool good = true;
    int rc = exi_rodb_open(&db, dir, err, sizeof(err));

    if (rc != EXI_OK) {
        return sc_fail("open %s: %d %s", dir, rc, err);
    }
    it = exi_rodb_iter_new(db, NULL);
    exi_rodb_iter_seek(it, "", 0);
    while (good
           && (rc = exi_rodb_iter_row(it, &key, &keylen, &val, &vallen)) == 1) {
        good = sc_row(c, key, keylen, val, vallen);
        exi_rodb_iter_next(it);
    }
    exi_rodb_iter_free(it);
    exi_rodb_close(db);
    cm_sort(&c->facts);
    if (good && rc != 0) {
        return sc_fail("iterator: %d", rc);
    }
    return good && sc_heavy_done(c);
}

static bool
sc_same_facts(const struct cm_facts *got, const struct cm_facts *want)
{
    size_t i;
    char a[2 * CM_FACT + 1] = "", b[2 * CM_FACT + 1] = "";

    for (i = 0; i < got->n && i < want->n; i++) {
        if (memcmp(got->v[i], want->v[i], CM_FACT) != 0) {
            break;
        }
    }
    if (i == got->n && i == want->n) {
        return true;
    }
    if (i < got->n) {
        exi_hex(a, got->v[i], CM_FACT);
    }
    if (i < want->n) {
        exi_hex(b, want->v[i], CM_FACT);
    }
    return sc_fail("fact %zu: got %c %s, want %c %s (%zu, %zu)", i,
                   i < got->n ? got->v[i][0] : '-', a,
                   i < want->n ? want->v[i][0] : '-', b, got->n, want->n);
}

/* One record of a flat file of a generation. */
static bool
sc_flat(const char *dir, enum exi_flat file, uint64_t i, void *out)
{
    const struct exi_flat_def *d = &exi_flat_defs[file];
    char name[32], path[1200];
    ssize_t n;
    int fd;

    exi_flat_segment_name(name, sizeof(name), file, (uint32_t) (i >> d->shift));
    snprintf(path, sizeof(path), "%s/flat/%s", dir, name);
    fd = open(path, O_RDONLY);
    if (fd < 0) {
        return sc_fail("%s is missing", path);
    }
    n = pread(fd, out, d->record,
              (off_t) ((i & ((1u << d->shift) - 1)) * d->record));
    close(fd);
    return n == (ssize_t) d->record ? true : sc_fail("%s is short", path);
}

static bool
sc_check_block(const char *dir, const struct cm *m, uint32_t h)
{
    const struct cm_block *b = &m->blocks[h];
    uint8_t header[80], n8[8], n4[4], node[32];
    uint64_t leaf = 2 * (uint64_t) h - (uint64_t) __builtin_popcount(h);

    if (!sc_flat(dir, EXI_FLAT_HEADERS, h, header)
        || !sc_flat(dir, EXI_FLAT_TXCOUNTS, h, n8)
        || !sc_flat(dir, EXI_FLAT_BLOCKSIZES, h, n4)
        || !sc_flat(dir, EXI_FLAT_HMERKLE, leaf, node)) {
        return false;
    }
    return memcmp(header, b->raw, 80) == 0 && exi_le64(n8) == b->tx_count
                   && exi_le32(n4) == b->rawlen
                   && memcmp(node, &b->hash, 32) == 0
               ? true
               : sc_fail("flat files at height %u", h);
}

static bool
sc_check_tx(const char *dir, const struct cm *m, size_t tx)
{
    struct exi_txid txid;
    uint8_t n4[4];

    if (!sc_flat(dir, EXI_FLAT_TXIDS, tx, &txid)
        || !sc_flat(dir, EXI_FLAT_TXOFFSETS, tx, n4)) {
        return false;
    }
    return memcmp(&txid, &m->txs[tx].txid, 32) == 0
                   && exi_le32(n4) == m->txs[tx].offset
               ? true
               : sc_fail("flat files of transaction %zu", tx);
}

/* The root over all headers, from the stored tree, must be the naive one. */
static int
sc_node(void *ctx, uint64_t index, struct exi_hash *out)
{
    return sc_flat(ctx, EXI_FLAT_HMERKLE, index, out) ? EXI_OK : EXI_EIO;
}

static bool
sc_check_hmerkle(char *dir, const struct cm *m, uint32_t height)
{
    struct exi_hash root, naive, branch[EXI_MERKLE_MAX], *all;
    size_t n = height + 1u, nbranch;
    bool good;

    all = malloc(n * sizeof(*all));
    for (size_t i = 0; i < n; i++) {
        memcpy(&all[i], &m->blocks[i].hash, 32);
    }
    good = exi_merkle(&naive, NULL, NULL, all, n, 0) == EXI_OK
           && exi_hmerkle_proof(&root, branch, &nbranch, 0, n, n, sc_node, NULL,
                                dir)
                  == EXI_OK
           && memcmp(&root, &naive, 32) == 0;
    free(all);
    return good ? true : sc_fail("header tree");
}

static bool
sc_read_manifest(const char *dir, struct exi_manifest *m)
{
    char path[1200], text[2048];
    uint32_t version;
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/manifest", dir);
    f = fopen(path, "r");
    if (f == NULL) {
        return sc_fail("%s is missing", path);
    }
    n = fread(text, 1, sizeof(text), f);
    fclose(f);
    return exi_manifest_parse(m, &version, text, n) == EXI_OK
               ? true
               : sc_fail("%s is damaged", path);
}

static bool
sc_check_flat(char *dir, const struct cm *m, const struct exi_manifest *man)
{
    for (uint32_t h = 0; h <= man->height; h++) {
        if (!sc_check_block(dir, m, h)) {
            return false;
        }
    }
    for (size_t tx = 0; tx < man->tx_count; tx++) {
        if (!sc_check_tx(dir, m, tx)) {
            return false;
        }
    }
    return sc_check_hmerkle(dir, m, man->height);
}

static bool
sc_check_counts(const struct sc *c, const struct exi_manifest *man)
{
    uint64_t utxos = 0;

    for (size_t i = 0; i < c->facts.n; i++) {
        utxos += c->facts.v[i][0] == 'U';
    }
    if (c->meta.height != man->height || c->meta.tx_count != man->tx_count
        || memcmp(&c->meta.block, &man->block, 32) != 0) {
        return sc_fail("M row and manifest differ");
    }
    if (c->meta.utxo_count != utxos || c->meta.hist_count != c->hist
        || c->meta.row_count != c->rows) {
        return sc_fail("counts: utxo %llu %llu hist %llu %llu rows %llu %llu",
                       (unsigned long long) c->meta.utxo_count,
                       (unsigned long long) utxos,
                       (unsigned long long) c->meta.hist_count,
                       (unsigned long long) c->hist,
                       (unsigned long long) c->meta.row_count,
                       (unsigned long long) c->rows);
    }
    return true;
}

/*
 * Is the generation in dir exactly the index of blocks 0 ... (the height that
 * its manifest says) of the model?  sc_error says what not.
 */
SC_UNUSED static bool
sc_generation(const char *dir, const struct cm *m, uint32_t *height)
{
    struct exi_manifest man;
    struct cm_facts want;
    struct sc c;
    char path[1200];
    bool good;

    sc_error[0] = '\0';
    memset(&c, 0, sizeof(c));
    if (!sc_read_manifest(dir, &man)) {
        return false;
    }
    if (man.height >= m->nblocks
        || memcmp(&man.block, &m->blocks[man.height].hash, 32) != 0
        || man.tx_count != m->blocks[man.height].tx_count) {
        return sc_fail("manifest is of another chain");
    }
    c.params = man.params;
    snprintf(path, sizeof(path), "%s/db", dir);
    cm_facts(m, &want, man.height, &man.params);
    good = sc_read_db(&c, path) && sc_same_facts(&c.facts, &want)
           && sc_check_counts(&c, &man)
           && sc_check_flat((char *) (uintptr_t) dir, m, &man);
    free(want.v);
    free(c.facts.v);
    if (good && height != NULL) {
        *height = man.height;
    }
    return good;
}

/* Where temporary directories go: nothing here needs a true disk, and hundreds
 * of syncs are slow on one. */
static const char *
sc_tmp_base(void)
{
    const char *base = getenv("TMPDIR");
    struct statvfs v;

    if (base != NULL) {
        return base;
    }
    return statvfs("/dev/shm", &v) == 0 && access("/dev/shm", W_OK) == 0
                   && (uint64_t) v.f_bavail * v.f_frsize > UINT64_C(1) << 30
               ? "/dev/shm"
               : "/tmp";
}

/* A new temporary directory; sc_remove removes it. */
SC_UNUSED static const char *
sc_tmp(void)
{
    static char dir[256];

    snprintf(dir, sizeof(dir), "%s/exi-settle.XXXXXX", sc_tmp_base());
    return mkdtemp(dir);
}

SC_UNUSED static void
sc_remove(const char *dir)
{
    char cmd[600];

    snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", dir);
    if (system(cmd) != 0) {
        printf("# %s is left\n", dir);
    }
}

/* Settings for a model's chain. */
SC_UNUSED static struct settle_opts
sc_opts(const struct cm *m, const char *dir)
{
    struct settle_opts o = { .data_dir = dir,
                             .network =
                                 m->cash ? "bitcoincash-regtest" : "regtest",
                             .genesis = m->blocks[0].hash,
                             .expected_txs = 40 << 9,
                             .spender = true,
                             .keep_generations = 1 };

    return o;
}

/* For settle_tidy: never stops. */
SC_UNUSED static bool
sc_never(void *ctx)
{
    (void) ctx;
    return false;
}

/* Adds blocks from ... to of the model and commits. */
SC_UNUSED static int
sc_settle(struct settle *s, const struct cm *m, uint32_t from, uint32_t to)
{
    for (uint32_t h = from; h <= to; h++) {
        int rc = settle_add(s, h, m->blocks[h].raw, m->blocks[h].rawlen);

        if (rc != EXI_OK) {
            return rc;
        }
    }
    return settle_commit(s);
}

#endif /* SETTLECHECK_H */
