/*
 * Partition files of the bulk sync: append-only, written through one buffer
 * for each partition and thread.
 *
 * A flush reserves its place in the file first, so several threads may write
 * to one partition.  Files are open only while they are written or read:
 * there are thousands of them.  Which bytes count is said by the state file.
 */
#include "bulk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_coin.h"

static const char kind_letters[BULK_KINDS + 1] = "hutcsop";

static int
part_path(char path[FS_PATH_MAX], const struct bulk_temp *t, uint32_t part)
{
    return fs_path(path, "%s/%c.%04x", t->dir, kind_letters[t->kind], part);
}

int
bulk_temp_init(struct bulk_temp *t, const char *dir, enum bulk_kind kind,
               unsigned bits)
{
    t->kind = kind;
    t->bits = bits;
    t->len = calloc((size_t) 1 << bits, sizeof(*t->len));
    if (t->len == NULL) {
        return EXI_ENOMEM;
    }
    return fs_path(t->dir, "%s", dir);
}

void
bulk_temp_free(struct bulk_temp *t)
{
    free(t->len);
    t->len = NULL;
}

/* Cuts one file to its recorded length. */
static int
cut_one(const struct bulk_temp *t, uint32_t part)
{
    char path[FS_PATH_MAX];
    uint64_t len = t->len[part];
    struct stat st;
    int rc = part_path(path, t, part);

    if (rc != EXI_OK) {
        return rc;
    }
    if (len == 0) {
        return unlink(path) == 0 || errno == ENOENT ? EXI_OK : fs_error();
    }
    if (stat(path, &st) != 0) {
        return fs_error();
    }
    if ((uint64_t) st.st_size < len) {
        return EXI_EFORMAT;
    }
    return (uint64_t) st.st_size == len || truncate(path, (off_t) len) == 0
               ? EXI_OK
               : fs_error();
}

int
bulk_temp_cut(struct bulk_temp *t)
{
    int rc = EXI_OK;

    for (uint32_t i = 0; rc == EXI_OK && i < 1u << t->bits; i++) {
        rc = cut_one(t, i);
    }
    return rc;
}

void
bulk_temp_remove(struct bulk_temp *t, uint32_t from, uint32_t to)
{
    char path[FS_PATH_MAX];

    for (uint32_t i = from; i < to; i++) {
        if (t->len[i] != 0 && part_path(path, t, i) == EXI_OK) {
            unlink(path);
        }
        t->len[i] = 0;
    }
}

uint64_t
bulk_temp_bytes(const struct bulk_temp *t, uint32_t from, uint32_t to)
{
    uint64_t sum = 0;

    for (uint32_t i = from; i < to; i++) {
        sum += t->len[i];
    }
    return sum;
}

/*
 * Writing.
 */

int
bulk_out_init(struct bulk_out *o, struct bulk_temp *t, uint32_t size)
{
    size_t n = (size_t) 1 << t->bits;

    o->t = t;
    o->size = size;
    o->buf = malloc(n * size);
    o->fill = calloc(n, sizeof(*o->fill));
    return o->buf != NULL && o->fill != NULL ? EXI_OK : EXI_ENOMEM;
}

void
bulk_out_free(struct bulk_out *o)
{
    free(o->buf);
    free(o->fill);
    memset(o, 0, sizeof(*o));
}

int
bulk_out_flush_one(struct bulk_out *o, uint32_t part)
{
    uint32_t n = o->fill[part];
    char path[FS_PATH_MAX];
    uint64_t at;
    int rc, fd;

    if (n == 0) {
        return EXI_OK;
    }
    rc = part_path(path, o->t, part);
    if (rc != EXI_OK) {
        return rc;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return fs_error();
    }
    at = atomic_fetch_add(&o->t->len[part], n);
    rc = fs_pwrite(fd, o->buf + (size_t) part * o->size, n, at);
    close(fd);
    o->fill[part] = 0;
    return rc;
}

int
bulk_out_flush(struct bulk_out *o)
{
    int rc = EXI_OK;

    for (uint32_t i = 0; rc == EXI_OK && i < 1u << o->t->bits; i++) {
        rc = bulk_out_flush_one(o, i);
    }
    return rc;
}

/*
 * Reading.
 */

int
bulk_in_open(struct bulk_in *in, const struct bulk_temp *t, uint32_t part)
{
    char path[FS_PATH_MAX];
    int rc = part_path(path, t, part);

    in->p = in->end = in->buf;
    in->off = 0;
    in->left = t->len[part];
    in->fd = -1;
    if (rc != EXI_OK || in->left == 0) {
        return rc;
    }
    in->fd = open(path, O_RDONLY | O_CLOEXEC);
    return in->fd < 0 ? fs_error() : EXI_OK;
}

bool
bulk_in_fill(struct bulk_in *in)
{
    size_t have = (size_t) (in->end - in->p), room;
    ssize_t n;

    if (have >= BULK_REC_MAX || in->left == 0) {
        return have > 0;
    }
    memmove(in->buf, in->p, have);
    in->p = in->buf;
    in->end = in->buf + have;
    while (in->left > 0 && in->end < in->buf + BULK_IN_SIZE) {
        room = (size_t) (in->buf + BULK_IN_SIZE - in->end);
        room = room < in->left ? room : (size_t) in->left;
        n = pread(in->fd, in->buf + (in->end - in->buf), room, (off_t) in->off);
        if (n <= 0) {
            if (n < 0 && errno == EINTR) {
                continue;
            }
            return false;
        }
        in->end += n;
        in->off += (uint64_t) n;
        in->left -= (uint64_t) n;
    }
    return true;
}

void
bulk_in_close(struct bulk_in *in)
{
    if (in->fd >= 0) {
        close(in->fd);
        in->fd = -1;
    }
}

/*
 * Records.
 */

int
bulk_put_hist(struct bulk_out *o, const struct bulk_coin *c, uint64_t spent)
{
    uint32_t part = bulk_part(c->s.b, o->t->bits);
    uint64_t txnum = c->where >> BULK_INDEX_BITS;
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    if (spent != 0 && spent < txnum) { /* canonical order: the two are equals */
        uint64_t swap = spent;

        spent = txnum;
        txnum = swap;
    }
    memcpy(p, c->s.b + 1, EXI_SKEY_LEN - 1);
    exi_put_be40(p + 13, txnum);
    o->fill[part] +=
        18 + (uint32_t) exi_put_varint(p + 18, spent ? spent - txnum : 0);
    return EXI_OK;
}

int
bulk_put_txid(struct bulk_out *o, const struct exi_hash *txid, uint64_t txnum)
{
    uint32_t part = bulk_part(txid->b, o->t->bits);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    memcpy(p, txid->b + 1, 7);
    exi_put_be40(p + 7, txnum);
    o->fill[part] += BULK_TXID_LEN;
    return EXI_OK;
}

static uint32_t
fp_part(const struct bulk_out *o, uint64_t fp)
{
    return o->t->bits == 0 ? 0 : (uint32_t) (fp >> (64 - o->t->bits));
}

int
bulk_put_create(struct bulk_out *o, const struct bulk_coin *c)
{
    uint32_t part = fp_part(o, c->fp);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    memcpy(p, c, sizeof(*c));
    o->fill[part] += sizeof(*c);
    return EXI_OK;
}

int
bulk_put_spend(struct bulk_out *o, const struct bulk_spend *in, uint64_t txnum)
{
    uint32_t part = fp_part(o, in->fp);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    memcpy(p, &in->fp, 8);
    memcpy(p + 8, &in->fp2, 2);
    exi_put_be40(p + 10, txnum);
    o->fill[part] += BULK_SPEND_LEN;
    return EXI_OK;
}

int
bulk_put_utxo(struct bulk_out *o, const struct bulk_coin *c)
{
    uint32_t part = bulk_part(c->s.b, o->t->bits);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    memcpy(p, c->s.b + 1, EXI_SKEY_LEN - 1);
    exi_put_be64(p + 13, c->where);
    exi_put_be64(p + 21, (uint64_t) c->value_sat);
    o->fill[part] += BULK_UTXO_LEN;
    return EXI_OK;
}

/* A record of 14 bytes about the output at `where`; piece: only of a coin with
 * tokens. */
static int
put_piece(struct bulk_out *o, const struct bulk *b, uint64_t where,
          const uint8_t *data, uint8_t piece)
{
    uint32_t part = bulk_part_tx(b, where >> BULK_INDEX_BITS);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    exi_put_be64(p, where);
    memcpy(p + 8, data, EXI_SKEY_LEN);
    p[BULK_OUTPOINT_LEN] = piece; /* there is room, BULK_REC_MAX */
    o->fill[part] +=
        b->coin & EXI_COIN_TOKENS ? BULK_PIECE_LEN : BULK_OUTPOINT_LEN;
    return EXI_OK;
}

int
bulk_put_outpoint(struct bulk_out *o, const struct bulk *b,
                  const struct bulk_coin *c)
{
    return put_piece(o, b, c->where, c->s.b, 0);
}

int
bulk_put_token(struct bulk_out *o, const struct bulk *b, uint64_t where,
               const uint8_t *data, size_t len)
{
    uint8_t buf[EXI_SKEY_LEN];
    uint8_t piece = 1;
    int rc = EXI_OK;

    for (size_t at = 0; rc == EXI_OK && at < len; piece++) {
        size_t n = len - at < sizeof(buf) - 1 ? len - at : sizeof(buf) - 1;

        memset(buf, 0, sizeof(buf));
        buf[0] = (uint8_t) n;
        memcpy(buf + 1, data + at, n);
        rc = put_piece(o, b, where, buf, piece);
        at += n;
    }
    return rc;
}

int
bulk_put_spender(struct bulk_out *o, const struct bulk *b,
                 const struct bulk_coin *c, uint64_t spent)
{
    uint32_t part = bulk_part_tx(b, c->where >> BULK_INDEX_BITS);
    uint8_t *p = bulk_out_room(o, part);

    if (p == NULL) {
        return o->rc;
    }
    exi_put_be64(p, c->where);
    exi_put_be40(p + 8, spent);
    o->fill[part] += BULK_SPENDER_LEN;
    return EXI_OK;
}
