/*
 * Opening a live environment (docs/index-format.md, section 6) read-only.
 * LMDB: opened after fork and once per process (a second open of the same
 * environment would lose its locks); lock.mdb is the only file written.
 */
#include "exi_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static const char *const db_names[EXI_DB_N] = { "meta", "block", "blockids",
                                                "tx",   "raw",   "txid",
                                                "hist", "spend", "log" };

static int
env_path(char out[PATH_MAX], const struct exi_store *s, const char *name,
         const char *file)
{
    int n = snprintf(out, PATH_MAX, "%s/live/%s%s%s", s->dir, name,
                     *file ? "/" : "", file);

    return n < 0 || n >= PATH_MAX ? EXI_EIO : EXI_OK;
}

/*
 * The file was not synced: after another boot it may hold anything.  The name
 * begins with the boot id; the writer's is zeros where it could not be read.
 */
static int
check_boot(const char *name)
{
    char id[64], digits[17];
    size_t n = 0;
    ssize_t len;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(digits, '0', sizeof digits);
    if (fd >= 0) {
        len = read(fd, id, sizeof id);
        close(fd);
        for (ssize_t i = 0; i < len && n < 16; i++) {
            if (id[i] != '-' && id[i] != '\n') {
                digits[n++] = id[i];
            }
        }
    }
    return memcmp(name, digits, 16) == 0 ? EXI_OK : EXI_ENOTREADY;
}

static int
take_lease(struct exi_env *e, const char *path)
{
    struct stat st;

    e->lease_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (e->lease_fd < 0) {
        return errno == ENOENT ? EXI_ESTALE : EXI_EIO;
    }
    if (exi_lease_flock(e->lease_fd) != EXI_OK) {
        return EXI_ESTALE;
    }
    if (fstat(e->lease_fd, &st) != 0) {
        return EXI_EIO;
    }
    return st.st_nlink == 0 ? EXI_ESTALE : EXI_OK;
}

/* Handles of the named databases: good once their transaction is committed. */
static int
open_dbs(struct exi_env *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);

    if (rc == EAGAIN || rc == EACCES) {
        return EXI_EBUSY; /* LMDB locks the byte of the reader's pid */
    }
    if (rc) {
        return exi_store_mdb_err(rc);
    }
    for (int i = 0; i < EXI_DB_N && rc == 0; i++) {
        rc = mdb_dbi_open(txn, db_names[i], 0, &e->dbi[i]);
    }
    if (rc) {
        mdb_txn_abort(txn);
        return rc == MDB_NOTFOUND ? EXI_EFORMAT : exi_store_mdb_err(rc);
    }
    return exi_store_mdb_err(mdb_txn_commit(txn));
}

static int
open_env(struct exi_env *e, const char *path)
{
    int rc = mdb_env_create(&e->env);

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(e->env, 16);
    }
    if (rc == 0) {
        rc = mdb_env_open(e->env, path, MDB_RDONLY | MDB_NOTLS, 0644);
    }
    return rc ? exi_store_mdb_err(rc) : open_dbs(e);
}

static int
open_parts(struct exi_store *s, struct exi_env *e)
{
    char path[PATH_MAX];
    int rc = check_boot(e->name);

    if (rc == EXI_OK) {
        rc = env_path(path, s, e->name, "lease");
    }
    if (rc == EXI_OK) {
        rc = take_lease(e, path);
    }
    if (rc == EXI_OK) {
        rc = env_path(path, s, e->name, "");
    }
    if (rc == EXI_OK) {
        rc = open_env(e, path);
        if (rc == EXI_EBUSY) {
            exi_store_say(s, 0,
                          "%s: another reader has the same process id, %d: "
                          "containers that share an index must share the PID "
                          "namespace",
                          path, (int) getpid());
        } else if (rc) {
            exi_store_say(s, 0, "%s: %s", path, exi_strerror(rc));
        }
    }
    return rc;
}

int
exi_env_open(struct exi_store *s, const char *name, struct exi_env **out)
{
    struct exi_env *e = calloc(1, sizeof *e);
    int rc;

    if (e == NULL) {
        return EXI_ENOMEM;
    }
    e->refs = 1;
    e->lease_fd = -1;
    memcpy(e->name, name, EXI_ENV_NAME);
    rc = open_parts(s, e);
    if (rc) {
        exi_env_close(e);
        return rc;
    }
    *out = e;
    return EXI_OK;
}

void
exi_env_close(struct exi_env *e)
{
    if (e->txn != NULL) {
        mdb_txn_abort(e->txn);
    }
    if (e->env != NULL) {
        mdb_env_close(e->env);
    }
    if (e->lease_fd >= 0) {
        close(e->lease_fd);
    }
    free(e);
}

int
exi_env_state(struct exi_env *e, struct exi_live_state *st)
{
    MDB_val k = { 5, (void *) "state" }, val;
    int rc = e->txn ? mdb_txn_renew(e->txn)
                    : mdb_txn_begin(e->env, NULL, MDB_RDONLY, &e->txn);

    if (rc) {
        return exi_store_mdb_err(rc);
    }
    rc = mdb_get(e->txn, e->dbi[EXI_DB_META], &k, &val);
    if (rc == 0) {
        rc = exi_live_state_decode(st, val.mv_data, val.mv_size);
    } else {
        rc = rc == MDB_NOTFOUND ? EXI_EFORMAT : exi_store_mdb_err(rc);
    }
    mdb_txn_reset(e->txn);
    return rc;
}
