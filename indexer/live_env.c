/*
 * Live layer: making, serving and removing environments, and the room in their
 * file.
 *
 * An environment is a directory of its own that is never used again after its
 * indexer ended; it holds no synced data (MDB_NOSYNC), so its name begins with
 * the boot id and readers do not map one of another boot.
 *
 * MDB_WRITEMAP writes through the mapping: a page without room on the disk would
 * be a SIGBUS.  So the file (sparse, of the map's length) gets its blocks
 * by posix_fallocate() before LMDB can reach them: live_space_take() keeps
 * an upper bound of what the transaction may have taken beyond its start.
 * The same holds for lock.mdb, which is made whole before LMDB opens it.
 */
#include "live_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_hex.h"

#define NAME_LEN      33
#define LOCK_BYTES    (72u << 10) /* room for more than MAX_READERS slots */
#define MAX_READERS   1024
#define STEP_BYTES    (16u << 20)
#define RESERVE_PAGES 256
/* A page is left when the next row (below 2,032 bytes) does not fit: at least
 * half of its 4,096 bytes are used.  5 % are for branch pages. */
#define APPENDED_PAGE 1900

static const char *const db_names[LIVE_DB_N] = { "meta",     "block", "blocktx",
                                                 "blockids", "tx",    "raw",
                                                 "txid",     "hist",  "spend",
                                                 "log" };

/*
 * Room.
 */

/* Pages the transaction can have taken at most. */
static uint64_t
bound(const struct live_space *s)
{
    uint64_t n = s->overflow + s->fresh / 1024 + s->inserts / 8
                 + s->appended / APPENDED_PAGE;

    for (int i = 0; i < LIVE_DB_N; i++) {
        n += s->touches[i] < s->pages[i] ? s->touches[i] : s->pages[i];
    }
    return n + n / 256 + RESERVE_PAGES;
}

static int
reserve(struct live_space *s, uint64_t want)
{
    int err;

    do {
        err = posix_fallocate(s->fd, (off_t) s->allocated,
                              (off_t) (want - s->allocated));
    } while (err == EINTR);
    if (err) {
        return live_err(err);
    }
    s->allocated = want;
    return EXI_OK;
}

/* Makes sure of room for `pages` beyond the start of the transaction. */
static int
extend(struct live_space *s, uint64_t pages)
{
    uint64_t want = s->end + pages * s->psize;
    uint64_t step = (want + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    int rc;

    want = want < s->map ? want : s->map;
    step = step < s->map ? step : s->map;
    if (want <= s->allocated) {
        return EXI_OK;
    }
    rc = reserve(s, step);
    if (rc == EXI_ESPACE && want < step) {
        rc = reserve(s, want);
    }
    return rc;
}

int
live_space_begin(struct live *l)
{
    struct live_space *s = &l->space;
    MDB_envinfo info;
    MDB_stat st;

    mdb_env_info(l->env, &info);
    mdb_env_stat(l->env, &st);
    s->psize = st.ms_psize;
    s->map = info.me_mapsize;
    s->end = (info.me_last_pgno + 1) * s->psize;
    s->fresh = s->inserts = s->appended = 0;
    s->overflow = s->quick = s->quick_max = 0;
    for (int i = 0; i < LIVE_DB_N; i++) {
        s->touches[i] = s->pages[i] = 0;
        if (l->dbi[i] != 0) {
            int rc = live_err(mdb_stat(l->txn, l->dbi[i], &st));
            if (rc) {
                return rc;
            }
            s->pages[i] = st.ms_branch_pages + st.ms_leaf_pages;
        }
    }
    return extend(s, bound(s));
}

int
live_space_take(struct live *l, enum live_db db, size_t bytes,
                enum live_write how)
{
    struct live_space *s = &l->space;
    uint64_t large = bytes > s->psize / 2 - 64 ? bytes / s->psize + 2 : 0, need;
    int rc;

    s->touches[db]++;
    s->overflow += large;
    if (how == LIVE_APPEND) {
        s->appended += large ? 64 : bytes + 16;
    } else if (how == LIVE_INSERT) {
        s->fresh += large ? 64 : bytes + 16;
        s->inserts++;
    }
    s->quick += large + 4; /* more than the bound grows by */
    if (s->quick < s->quick_max) {
        return EXI_OK;
    }
    need = bound(s);
    rc = extend(s, need);
    if (rc == EXI_OK) {
        uint64_t have = (s->allocated - s->end) / s->psize;
        s->quick_max = s->quick + (have > need ? have - need : 0);
    }
    return rc;
}

/*
 * Names.
 */

static int
make_name(char name[NAME_LEN + 1], uint64_t *instance)
{
    char boot[16];
    size_t n = 0;
    int c;
    FILE *f;

    memset(boot, '0', sizeof boot);
    f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f != NULL) {
        while (n < sizeof boot && (c = getc(f)) != EOF) {
            if (c != '-' && c != '\n') {
                boot[n++] = (char) c;
            }
        }
        fclose(f);
    }
    do {
        if (getrandom(instance, sizeof *instance, 0) != sizeof *instance) {
            return EXI_EIO;
        }
    } while (*instance == 0);
    snprintf(name, NAME_LEN + 1, "%.16s-%016llx", boot,
             (unsigned long long) *instance);
    return EXI_OK;
}

static bool
is_name(const char *s)
{
    if (strlen(s) != NAME_LEN) {
        return false;
    }
    for (int i = 0; i < NAME_LEN; i++) {
        if (i == 16 ? s[i] != '-' : strchr("0123456789abcdef", s[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* DATA/live[/name[/file]], malloc'd. */
static char *
path(const struct live *l, const char *name, const char *file)
{
    char *p = NULL;
    int n = asprintf(&p, "%s/live%s%s%s%s", l->dir, name ? "/" : "",
                     name ? name : "", file ? "/" : "", file ? file : "");

    return n < 0 ? NULL : p;
}

/*
 * Making.
 */

static int
make_dirs(struct live *l)
{
    char *top = path(l, NULL, NULL), *dir = path(l, l->name, NULL);
    int rc = EXI_ENOMEM;

    if (top != NULL && dir != NULL) {
        rc = EXI_OK;
        if ((mkdir(top, 0777) != 0 && errno != EEXIST)
            || mkdir(dir, 0777) != 0) {
            rc = live_err(errno);
        }
    }
    free(top);
    free(dir);
    return rc;
}

/* Makes a file of zeros in the environment's directory; keeps it open in *fd
 * if fd is not NULL. */
static int
make_file(const struct live *l, const char *name, size_t bytes, int *fd)
{
    char *p = path(l, l->name, name);
    struct stat st;
    int rc = EXI_OK, f;

    if (p == NULL) {
        return EXI_ENOMEM;
    }
    f = open(p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    free(p);
    if (f < 0) {
        return live_err(errno);
    }
    if (bytes > 0) {
        rc = live_err(posix_fallocate(f, 0, (off_t) bytes));
        /* Workers of the same group write their reader slots. */
        if (rc == EXI_OK
            && (fstat(f, &st) != 0 || fchmod(f, st.st_mode | 0060) != 0)) {
            rc = live_err(errno);
        }
    }
    if (fd != NULL && rc == EXI_OK) {
        *fd = f;
    } else {
        close(f);
    }
    return rc;
}

static int
open_env(struct live *l)
{
    const unsigned flags = MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS;
    char *p = path(l, l->name, NULL);
    int rc;

    if (p == NULL) {
        return EXI_ENOMEM;
    }
    rc = mdb_env_create(&l->env);
    if (rc == 0) {
        rc = mdb_env_set_mapsize(l->env, l->o.map_bytes);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(l->env, MAX_READERS);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxdbs(l->env, LIVE_DB_N);
    }
    if (rc == 0) {
        rc = mdb_env_open(l->env, p, flags, 0644);
    }
    if (rc == 0) {
        rc = mdb_env_get_fd(l->env, &l->space.fd);
    }
    free(p);
    return live_err(rc);
}

/* The first transaction: databases and state. */
static int
fill(struct live *l)
{
    uint8_t buf[EXI_LIVE_STATE_MAX];
    size_t len;
    int rc = live_err(mdb_txn_begin(l->env, NULL, 0, &l->txn));

    if (rc) {
        l->txn = NULL;
        return rc;
    }
    rc = live_space_begin(l);
    for (int i = 0; i < LIVE_DB_N && rc == EXI_OK; i++) {
        rc =
            live_err(mdb_dbi_open(l->txn, db_names[i], MDB_CREATE, &l->dbi[i]));
    }
    if (rc == EXI_OK) {
        l->now.st.time_ms = live_now_ms();
        len = exi_live_state_encode(buf, &l->now.st);
        rc = live_put(l, LIVE_META, "state", 5, buf, len, 0);
    }
    if (rc == EXI_OK) {
        rc = live_err(mdb_txn_commit(l->txn));
    } else {
        mdb_txn_abort(l->txn);
    }
    l->txn = NULL;
    return rc;
}

static void
first_state(struct live *l, uint64_t instance, const struct exi_live_gen *gens,
            size_t ngens, uint64_t tx_count)
{
    struct exi_live_state *st = &l->now.st;

    st->instance = instance;
    st->oldest_seq = 1;
    st->tip_height = gens[ngens - 1].height;
    st->tip = gens[ngens - 1].block;
    st->live_floor = st->tip_height + 1;
    st->ngens = (uint32_t) ngens;
    memcpy(st->gens, gens, ngens * sizeof *gens);
    l->now.next_id = 1;
    l->now.tx_count = tx_count;
    l->touched.stamp = 1;
    l->touched.seed = instance * 0x94d049bb133111ebu;
}

/* Removes an environment's directory. */
static void
remove_env(const struct live *l, const char *name)
{
    static const char *const files[] = { "lease", "data.mdb", "lock.mdb" };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *p = path(l, name, files[i]);
        if (p != NULL) {
            (void) unlink(p);
        }
        free(p);
    }
    char *dir = path(l, name, NULL);
    if (dir != NULL) {
        (void) rmdir(dir);
    }
    free(dir);
}

static int
check_opts(const struct live_opts *o, const struct exi_live_gen *gens,
           size_t ngens)
{
    if (o->data_dir == NULL || o->prevout == NULL || ngens == 0
        || ngens > EXI_LIVE_GENS_MAX) {
        return EXI_EAPI;
    }
    for (size_t i = 1; i < ngens; i++) {
        if (gens[i].number <= gens[i - 1].number
            || gens[i].height < gens[i - 1].height) {
            return EXI_EAPI;
        }
    }
    return EXI_OK;
}

static int
make_all(struct live *l)
{
    int rc = make_dirs(l);

    if (rc == EXI_OK) {
        rc = make_file(l, "lease", 0, &l->lease_fd);
    }
    if (rc == EXI_OK && flock(l->lease_fd, LOCK_SH | LOCK_NB) != 0) {
        rc = EXI_EIO;
    }
    if (rc == EXI_OK) {
        rc = make_file(l, "lock.mdb", LOCK_BYTES, NULL);
    }
    if (rc == EXI_OK) {
        rc = open_env(l);
    }
    return rc ? rc : fill(l);
}

int
live_create(struct live **out, const struct live_opts *o,
            const struct exi_live_gen *gens, size_t ngens, uint64_t tx_count)
{
    uint64_t instance;
    struct live *l;
    int rc = check_opts(o, gens, ngens);

    if (rc) {
        return rc;
    }
    l = calloc(1, sizeof *l);
    if (l == NULL) {
        return EXI_ENOMEM;
    }
    l->o = *o;
    l->lease_fd = -1;
    l->dir = strdup(o->data_dir);
    rc = l->dir ? make_name(l->name, &instance) : EXI_ENOMEM;
    if (rc == EXI_OK) {
        first_state(l, instance, gens, ngens, tx_count);
        rc = make_all(l);
        if (rc) {
            remove_env(l, l->name);
        }
    }
    if (rc) {
        live_close(l);
        return rc;
    }
    *out = l;
    return EXI_OK;
}

void
live_close(struct live *l)
{
    if (l == NULL) {
        return;
    }
    if (l->env != NULL) {
        live_abort(l);
        if (l->rtxn != NULL) {
            mdb_txn_abort(l->rtxn);
        }
        mdb_env_close(l->env);
        if (!l->served) {
            remove_env(l, l->name);
        }
    }
    if (l->lease_fd >= 0) {
        close(l->lease_fd);
    }
    free(l->touched.slots);
    free(l->pool.words);
    free(l->pool.flips.v);
    free(l->rows.e);
    free(l->rows.fund);
    free(l->rows.spend);
    free(l->children.v);
    free(l->again.v);
    free(l->stack.v);
    free(l->rec.p);
    free(l->ids.p);
    free(l->txids.p);
    free(l->dir);
    free(l);
}

/*
 * Serving.
 */

/* Writes the pointer beside its place and renames it. */
static int
point(const struct live *l)
{
    char *cur = path(l, "CURRENT", NULL), *tmp = path(l, "CURRENT.tmp", NULL);
    char line[NAME_LEN + 2];
    int n = snprintf(line, sizeof line, "%s\n", l->name), fd, rc = EXI_OK;

    if (cur == NULL || tmp == NULL) {
        rc = EXI_ENOMEM;
        goto done;
    }
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = live_err(errno);
        goto done;
    }
    if (write(fd, line, (size_t) n) != n) {
        rc = EXI_ESPACE;
    }
    if (close(fd) != 0 && rc == EXI_OK) {
        rc = live_err(errno);
    }
    if (rc == EXI_OK && rename(tmp, cur) != 0) {
        rc = live_err(errno);
    }

done:
    free(cur);
    free(tmp);
    return rc;
}

/* Removes an environment unless a process holds its lease. */
static void
remove_unused(const struct live *l, const char *name)
{
    char *p = path(l, name, "lease");
    int fd = p ? open(p, O_RDONLY | O_CLOEXEC) : -1;

    free(p);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return;
    }
    remove_env(l, name);
    if (fd >= 0) {
        close(fd);
    }
}

int
live_serve(struct live *l)
{
    struct dirent *d;
    char *top;
    DIR *dir;
    int rc = point(l);

    if (rc) {
        return rc;
    }
    l->served = true;
    top = path(l, NULL, NULL);
    dir = top ? opendir(top) : NULL;
    free(top);
    if (dir == NULL) {
        return EXI_OK; /* being tidy can wait */
    }
    while ((d = readdir(dir)) != NULL) {
        if (is_name(d->d_name) && strcmp(d->d_name, l->name) != 0) {
            remove_unused(l, d->d_name);
        }
    }
    closedir(dir);
    return EXI_OK;
}
