/*
 * Logs -> rows in memory.  A published generation has empty logs, as the writer
 * makes a table of what it holds before it publishes; one that it could not
 * empty, or the copy of an index, may have some.
 *
 *     record: 8 LE sequence number of the first change, 4 LE changes; each:
 *             1 kind (0 deleted, 1 value), varint length, key; of a value also
 *             varint length, value
 *
 * A log is whole, since it was synced before its copy was published: one that
 * ends inside of a record is damaged.
 */
#include "exi_rodb_int.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "exi_dblog.h"

#define LOG_MAX ((size_t) 1 << 30)

static int
by_key(const void *a, const void *b)
{
    const struct exi_memrow *x = a, *y = b;
    int c = exi_key_order(x->key, x->keylen, y->key, y->keylen);

    return c ? c : (x->tag < y->tag) - (x->tag > y->tag);
}

static int
add_row(struct exi_rodb *db, const struct exi_memrow *row)
{
    if (db->nrows == db->caprows) {
        size_t cap = db->caprows ? db->caprows * 2 : 1024;
        struct exi_memrow *v = realloc(db->rows, cap * sizeof *v);
        if (v == NULL) {
            return EXI_ENOMEM;
        }
        db->rows = v;
        db->caprows = cap;
    }
    db->rows[db->nrows++] = *row;
    return EXI_OK;
}

static const uint8_t *
read_bytes(struct exi_rd *rd, uint32_t most, uint32_t *len)
{
    uint64_t n = exi_rd_varint(rd);

    rd->bad |= n > most;
    *len = (uint32_t) n;
    return exi_rd_bytes(rd, *len);
}

static int
add_record(struct exi_rodb *db, const uint8_t *p, size_t len)
{
    struct exi_rd rd = exi_rd(p, len);
    uint64_t seq = exi_rd_le64(&rd);
    uint32_t n = exi_rd_le32(&rd);
    int rc = EXI_OK;

    while (rc == EXI_OK && !rd.bad && exi_rd_left(&rd) > 0 && n > 0) {
        struct exi_memrow row = { .val = NULL };
        uint8_t kind = exi_rd_u8(&rd);

        row.key = read_bytes(&rd, EXI_ROWKEY_MAX, &row.keylen);
        if (kind == EXI_ROW_VALUE) {
            row.val = read_bytes(&rd, UINT32_MAX, &row.vallen);
        }
        row.tag = seq << 8 | kind;
        seq++;
        n--;
        if (rd.bad || kind > EXI_ROW_VALUE) {
            return EXI_EFORMAT;
        }
        rc = add_row(db, &row);
    }
    return rc ? rc : rd.bad || n > 0 || exi_rd_left(&rd) ? EXI_EFORMAT : EXI_OK;
}

static int
replay(struct exi_rodb *db, int dirfd, uint64_t number, struct exi_text *err)
{
    struct exi_dblog log;
    const uint8_t *rec;
    uint8_t **logs;
    char name[40];
    size_t len;
    int rc;

    snprintf(name, sizeof name, "%06" PRIu64 ".log", number);
    logs = realloc(db->logs, (db->nlogs + 1) * sizeof *logs);
    if (logs == NULL) {
        return EXI_ENOMEM;
    }
    db->logs = logs;
    rc = exi_rodb_read(dirfd, name, LOG_MAX, &logs[db->nlogs], &len);
    if (rc) {
        return exi_rodb_say(err, rc == EXI_ENOTFOUND ? EXI_EIO : rc,
                            "%s/%s: it can't be read", db->dir, name);
    }
    exi_dblog_begin(&log, logs[db->nlogs++], len);
    while ((rc = exi_dblog_next(&log, &rec, &len)) == 1) {
        rc = add_record(db, rec, len);
        if (rc) {
            log.why = "a record is damaged";
            break;
        }
    }
    return rc == EXI_EFORMAT
               ? exi_rodb_say(err, rc, "%s/%s: %s", db->dir, name, log.why)
               : rc;
}

/* The number of a log's name, of digits only; false: no log. */
static bool
log_number(const char *name, uint64_t *number)
{
    uint64_t n = 0;
    size_t i = 0;

    for (; name[i] >= '0' && name[i] <= '9' && i < 18; i++) {
        n = n * 10 + (uint64_t) (name[i] - '0');
    }
    *number = n;
    return i > 0 && strcmp(name + i, ".log") == 0;
}

static int
by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Numbers of the logs that count, ascending. */
static int
find_logs(int dirfd, const struct exi_rodb_logs *logs, uint64_t **out,
          size_t *n)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    uint64_t *v = NULL, *more, number;
    struct dirent *e;

    if (d == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return EXI_EIO;
    }
    *n = 0;
    while ((e = readdir(d)) != NULL) {
        if (!log_number(e->d_name, &number)
            || (number < logs->from && (number == 0 || number != logs->also))) {
            continue;
        }
        more = realloc(v, (*n + 1) * sizeof *v);
        if (more == NULL) {
            free(v);
            closedir(d);
            return EXI_ENOMEM;
        }
        v = more;
        v[(*n)++] = number;
    }
    closedir(d);
    if (*n > 0) {
        qsort(v, *n, sizeof *v, by_number);
    }
    *out = v;
    return EXI_OK;
}

int
exi_rodb_replay(struct exi_rodb *db, int dirfd,
                const struct exi_rodb_logs *logs, struct exi_text *err)
{
    uint64_t *v = NULL;
    size_t n = 0;
    int rc = find_logs(dirfd, logs, &v, &n);

    if (rc) {
        return exi_rodb_say(err, rc, "%s: it can't be listed", db->dir);
    }
    for (size_t i = 0; i < n && rc == EXI_OK; i++) {
        rc = replay(db, dirfd, v[i], err);
    }
    free(v);
    if (rc == EXI_OK && db->nrows > 0) {
        qsort(db->rows, db->nrows, sizeof *db->rows, by_key);
    }
    return rc;
}
