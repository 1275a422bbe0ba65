/*
 * Opening and closing a generation's rows.  A generation is renamed before it
 * is removed: what was opened is whole only if CURRENT is still in its place.
 */
#include "exi_rodb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CURRENT_MAX 64

int
exi_rodb_say(struct exi_text *t, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(t->p, t->len, fmt, ap);
    va_end(ap);
    return rc;
}

static int
read_all(int fd, uint8_t *p, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = read(fd, p + got, len - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return EXI_EIO;
        }
        got += (size_t) n;
    }
    return EXI_OK;
}

int
exi_rodb_read(int dirfd, const char *name, size_t most, uint8_t **out,
              size_t *len)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC), rc;
    struct stat st;
    uint8_t *p;

    if (fd < 0) {
        return errno == ENOENT ? EXI_ENOTFOUND : EXI_EIO;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return EXI_EIO;
    }
    if ((uint64_t) st.st_size > most) {
        close(fd);
        return EXI_EFORMAT;
    }
    p = malloc((size_t) st.st_size + 1);
    rc = p == NULL ? EXI_ENOMEM : read_all(fd, p, (size_t) st.st_size);
    close(fd);
    if (rc) {
        free(p);
        return rc;
    }
    *out = p;
    *len = (size_t) st.st_size;
    return EXI_OK;
}

/* Inode of dir/CURRENT; 0: there is none. */
static ino_t
current_inode(const char *dir)
{
    char path[4200];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/CURRENT", dir);

    return n > 0 && (size_t) n < sizeof path && stat(path, &st) == 0 ? st.st_ino
                                                                     : 0;
}

/* CURRENT: the name of the MANIFEST and a newline. */
static int
read_current(const struct exi_rodb *db, int dirfd, char name[CURRENT_MAX + 1],
             struct exi_text *err)
{
    static const char begins[] = "MANIFEST-";
    const size_t b = sizeof begins - 1;
    size_t len = 0;
    uint8_t *p;
    int rc = exi_rodb_read(dirfd, "CURRENT", CURRENT_MAX, &p, &len);

    if (rc == EXI_OK) {
        memcpy(name, p, len);
        free(p);
        rc = len > b + 1 && memcmp(name, begins, b) == 0
                     && name[len - 1] == '\n'
                     && strspn(name + b, "0123456789") == len - b - 1
                 ? EXI_OK
                 : EXI_EFORMAT;
    }
    if (rc) {
        return exi_rodb_say(err, rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc,
                            "%s/CURRENT: it does not name a MANIFEST", db->dir);
    }
    name[len - 1] = '\0';
    return EXI_OK;
}

static int
open_into(struct exi_rodb *db, int dirfd, struct exi_text *err)
{
    struct exi_rodb_logs logs = { 0, 0 };
    char name[CURRENT_MAX + 1] = "";
    int rc = read_current(db, dirfd, name, err);

    if (rc == EXI_OK) {
        rc = exi_rodb_load(db, dirfd, name, &logs, err);
    }
    if (rc == EXI_OK) {
        rc = exi_rodb_replay(db, dirfd, &logs, err);
    }
    return rc;
}

int
exi_rodb_open(struct exi_rodb **out, const char *dir, char *err, size_t errlen)
{
    struct exi_text text = { err, errlen };
    ino_t current = current_inode(dir);
    struct exi_rodb *db;
    int dirfd, rc;

    exi_rodb_say(&text, 0, "%s: out of memory", dir);
    db = calloc(1, sizeof *db);
    if (db == NULL || (db->dir = strdup(dir)) == NULL) {
        free(db);
        return EXI_ENOMEM;
    }
    atomic_init(&db->damage_state, 0);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = dirfd >= 0 ? open_into(db, dirfd, &text) : EXI_ESTALE;
    if (dirfd >= 0) {
        close(dirfd);
    }
    if (current == 0 || current_inode(dir) != current) {
        rc = exi_rodb_say(&text, EXI_ESTALE,
                          "%s is not there, or was removed meanwhile", dir);
    }
    if (rc) {
        exi_rodb_close(db);
        return rc;
    }
    err[0] = '\0';
    *out = db;
    return EXI_OK;
}

void
exi_rodb_close(struct exi_rodb *db)
{
    if (db == NULL) {
        return;
    }
    for (size_t i = 0; i < db->ntables; i++) {
        exi_table_close(db->tables[i].t);
    }
    for (size_t i = 0; i < db->nlogs; i++) {
        free(db->logs[i]);
    }
    free(db->logs);
    free(db->rows);
    free(db->runs);
    free(db->heads);
    free(db->tables);
    free(db->manifest);
    free(db->dir);
    free(db);
}

size_t
exi_rodb_runs(const struct exi_rodb *db)
{
    return db->nruns + (db->nrows > 0);
}

const char *
exi_rodb_damage(const struct exi_rodb *db)
{
    return atomic_load(&db->damage_state) == 2 ? db->damage : "";
}
