/*
 * Generations: publish, list, prune (docs/index-format.md section 5).
 *
 *   generations/<n>.tmp   being made; removed at start
 *   generations/<n>       complete, never changed
 *   generations/dead.<n>  being removed
 *
 * A reader takes flock(LOCK_SH) on <n>/lease and then looks whether the lease
 * is still there under its name: a generation is renamed before it is removed,
 * while its lease is held exclusively for a moment.
 *
 * Numbers never repeat: the next is one above the highest directory, and the
 * highest is never removed.
 */
#include "settle_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_dblog.h"
#include "log.h"

/*
 * Depths (blocks below the settled height) at which a generation is kept for a
 * fallback; keep_generations says how many of them.
 */
static const uint32_t keep_depths[] = { 100,   1000,   5000,  20000,
                                        50000, 100000, 200000 };
#define NKEEP_DEPTHS (sizeof(keep_depths) / sizeof(keep_depths[0]))

/* generations/<n><suffix> */
int
settle_gen_path(char path[FS_PATH_MAX], const struct settle *s, uint64_t number,
                const char *suffix)
{
    return fs_path(path, "%s/generations/%010" PRIu64 "%s", s->dir, number,
                   suffix);
}

/*
 * List.
 */

static int
gens_add(struct settle *s, const struct settle_gen *g)
{
    size_t i = s->ngens;
    int rc =
        settle_grow(&s->gens, &s->cap_gens, s->ngens + 1, sizeof(*s->gens));

    if (rc != EXI_OK) {
        return rc;
    }
    for (; i > 0 && s->gens[i - 1].g.number > g->g.number; i--) {
        s->gens[i] = s->gens[i - 1];
    }
    s->gens[i] = *g;
    s->ngens++;
    return EXI_OK;
}

const struct settle_gen *
settle_gens_find(const struct settle *s, uint64_t number)
{
    for (size_t i = 0; i < s->ngens; i++) {
        if (s->gens[i].g.number == number) {
            return &s->gens[i];
        }
    }
    return NULL;
}

size_t
settle_generations(const struct settle *s, struct exi_live_gen *out, size_t max)
{
    size_t n = 0;

    for (size_t i = s->ngens; i > 0 && n < max; i--) {
        if (s->gens[i - 1].good) {
            out[n++] = s->gens[i - 1].g;
        }
    }
    return n;
}

/* Reads a manifest; false: it is damaged or not of this directory. */
static bool
read_manifest(const struct settle *s, struct settle_gen *g)
{
    const struct exi_params *p = &s->params;
    char path[FS_PATH_MAX], text[2048];
    struct exi_manifest m;
    uint32_t version;
    size_t len;

    if (settle_gen_path(path, s, g->g.number, "/manifest") != EXI_OK
        || fs_read(path, text, sizeof(text), &len) != EXI_OK
        || exi_manifest_parse(&m, &version, text, len) != EXI_OK
        || m.number != g->g.number || strcmp(m.params.network, p->network) != 0
        || memcmp(&m.params.genesis, &p->genesis, sizeof(p->genesis)) != 0
        || m.params.script_bits != p->script_bits
        || m.params.txid_bits != p->txid_bits
        || m.params.spender != p->spender) {
        return false;
    }
    g->g.height = m.height;
    g->g.block = m.block;
    g->tx_count = m.tx_count;
    return true;
}

/* A name in generations/: a generation, or what a kill left. */
static int
scan_gen(void *ctx, const char *name)
{
    struct settle *s = ctx;
    struct settle_gen g = { .good = false };
    char path[FS_PATH_MAX];
    size_t len = strlen(name);
    int rc = fs_path(path, "%s/generations/%s", s->dir, name);

    if (rc != EXI_OK) {
        return rc;
    }
    if (settle_name_number(name, &g.g.number)) {
        g.good = read_manifest(s, &g);
        if (!g.good) {
            log_error("settle", "generation %s is damaged: not used", name);
        }
        return gens_add(s, &g);
    }
    if ((len > 4 && strcmp(name + len - 4, ".tmp") == 0)
        || strncmp(name, "dead.", 5) == 0) {
        rc = fs_remove_tree(path);
        if (rc != EXI_OK) {
            log_warn("settle", "%s: %s", path, strerror(errno));
        }
    }
    return EXI_OK;
}

/* A name in settled/: the epoch in use, or what a kill left. */
static int
scan_epoch(void *ctx, const char *name)
{
    const struct settle *s = ctx;
    char path[FS_PATH_MAX];
    uint64_t n;
    int rc;

    if (strcmp(name, "CURRENT") == 0
        || (settle_name_number(name, &n) && n == s->epoch)) {
        return EXI_OK;
    }
    rc = fs_path(path, "%s/settled/%s", s->dir, name);
    if (rc == EXI_OK && fs_remove_tree(path) != EXI_OK) {
        log_warn("settle", "%s: %s", path, strerror(errno));
    }
    return rc;
}

/* Generations need hard links between settled/ and generations/. */
static int
check_links(const struct settle *s)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    int rc = fs_path(from, "%s/settled/link.tmp", s->dir);

    if (rc == EXI_OK) {
        rc = fs_write(from, "", 0);
    }
    if (rc == EXI_OK) {
        rc = fs_path(to, "%s/generations/link.tmp", s->dir);
    }
    if (rc == EXI_OK) {
        unlink(to);
        rc = fs_link(from, to);
        unlink(to);
        unlink(from);
    }
    return rc;
}

int
settle_scan(struct settle *s, char *why, size_t whylen)
{
    char path[FS_PATH_MAX];
    int rc = check_links(s);

    if (rc != EXI_OK) {
        snprintf(why, whylen,
                 "settled/ and generations/ in %s must be on one file system "
                 "that has hard links: %s",
                 s->dir, strerror(errno));
        return rc;
    }
    rc = fs_path(path, "%s/settled", s->dir);
    if (rc == EXI_OK) {
        rc = fs_each(path, scan_epoch, s);
    }
    if (rc == EXI_OK) {
        rc = fs_path(path, "%s/generations", s->dir);
    }
    if (rc == EXI_OK) {
        rc = fs_each(path, scan_gen, s);
    }
    if (rc != EXI_OK) {
        snprintf(why, whylen, "%s: %s", path, strerror(errno));
    }
    return rc;
}

/*
 * Files of a database: tables are linked, all else is copied, as LevelDB goes
 * on appending to its log and manifest.
 */

/* What the functions below share. */
struct copying {
    const char *from;
    const char *to;
    bool tables; /* which kind is being taken care of */
};

static bool
has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);

    return n > m && strcmp(name + n - m, suffix) == 0;
}

static int
copy_one(const struct copying *c, const char *name, bool as_link)
{
    char a[FS_PATH_MAX], b[FS_PATH_MAX];
    int rc = fs_path(a, "%s/%s", c->from, name);

    if (rc == EXI_OK) {
        rc = fs_path(b, "%s/%s", c->to, name);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    return as_link ? fs_link(a, b) : fs_copy(a, b, UINT64_MAX, 0);
}

static int
copy_name(void *ctx, const char *name)
{
    const struct copying *c = ctx;
    int rc = EXI_OK;

    if (c->tables && has_suffix(name, ".ldb")) {
        rc = copy_one(c, name, true);
        /* A table that a compaction gave up; the manifest never named it. */
        return rc == EXI_ENOTFOUND ? EXI_OK : rc;
    }
    if (!c->tables && has_suffix(name, ".log")) {
        rc = copy_one(c, name, false);
    }
    return rc;
}

/* Length of the whole records of a MANIFEST; of all of it, if it is damaged:
 * readers say so. */
static int
whole_records(const char *path, uint64_t *whole)
{
    size_t room, len = 0;
    struct exi_dblog log;
    const uint8_t *rec;
    struct stat st;
    char *p;
    int rc;

    do { /* it may grow in between */
        if (stat(path, &st) != 0) {
            return EXI_EIO;
        }
        room = (size_t) st.st_size + 65536;
        p = malloc(room);
        if (p == NULL) {
            return EXI_ENOMEM;
        }
        rc = fs_read(path, p, room, &len);
        if (rc != EXI_OK) {
            free(p);
        }
    } while (rc == EXI_ELIMIT);
    if (rc != EXI_OK) {
        return rc;
    }
    *whole = len;
    exi_dblog_begin(&log, (uint8_t *) p, len);
    while ((rc = exi_dblog_next(&log, &rec, &len)) == 1) {
    }
    if (rc != 0 && log.torn && log.whole > 0) {
        *whole = log.whole;
    }
    free(p);
    return EXI_OK;
}

/* LevelDB may be writing to it, so the copy ends behind its last whole record:
 * readers take a torn one for damage. */
static int
copy_manifest(const struct copying *c, const char *name)
{
    char a[FS_PATH_MAX], b[FS_PATH_MAX];
    uint64_t len = 0;
    int rc = fs_path(a, "%s/%s", c->from, name);

    if (rc == EXI_OK) {
        rc = fs_path(b, "%s/%s", c->to, name);
    }
    if (rc == EXI_OK) {
        rc = whole_records(a, &len);
    }
    return rc == EXI_OK ? fs_copy(a, b, len, 0) : rc;
}

/*
 * Manifest first: a copy of its first part is a valid older state; logs and
 * tables that it names are still there, as deletions are held back.
 */
static int
copy_db(const char *from, const char *to)
{
    struct copying c = { from, to, false };
    char path[FS_PATH_MAX], manifest[64];
    size_t len;
    int rc = fs_path(path, "%s/CURRENT", from);

    if (rc == EXI_OK) {
        rc = fs_read(path, manifest, sizeof(manifest), &len);
    }
    if (rc == EXI_OK && (len < 2 || manifest[len - 1] != '\n')) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        rc = fs_path(path, "%s/CURRENT", to);
    }
    if (rc == EXI_OK) {
        rc = fs_write(path, manifest, len);
    }
    if (rc == EXI_OK) {
        manifest[len - 1] = '\0';
        rc = copy_manifest(&c, manifest);
    }
    if (rc == EXI_OK) {
        rc = fs_each(from, copy_name, &c);
    }
    if (rc == EXI_OK) {
        c.tables = true;
        rc = fs_each(from, copy_name, &c);
    }
    return rc == EXI_OK ? fs_sync_dir(to) : rc;
}

/* Fills a new directory `to` with db/ and flat/ out of directory `from`. */
int
settle_copy_index(const char *from, const char *to,
                  const struct flat_counts *counts, bool own_last)
{
    char a[FS_PATH_MAX], b[FS_PATH_MAX];
    int rc = fs_mkdir(to);

    if (rc == EXI_OK && (rc = fs_path(a, "%s/db", from)) == EXI_OK
        && (rc = fs_path(b, "%s/db", to)) == EXI_OK
        && (rc = fs_mkdir(b)) == EXI_OK) {
        rc = copy_db(a, b);
    }
    if (rc == EXI_OK && (rc = fs_path(a, "%s/flat", from)) == EXI_OK
        && (rc = fs_path(b, "%s/flat", to)) == EXI_OK
        && (rc = fs_mkdir(b)) == EXI_OK
        && (rc = flat_link(a, b, counts, own_last)) == EXI_OK) {
        rc = fs_sync_dir(b);
    }
    return rc;
}

/*
 * Leases and removal.
 */

/* Descriptor of the lease, or -1 (errno). */
static int
lease_open(const struct settle *s, uint64_t number)
{
    char path[FS_PATH_MAX];

    if (settle_gen_path(path, s, number, "/lease") != EXI_OK) {
        return -1;
    }
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Removes a generation that nobody holds; false: it is still there. */
static bool
remove_generation(const struct settle *s, uint64_t number)
{
    char path[FS_PATH_MAX], dead[FS_PATH_MAX];
    int fd = lease_open(s, number);
    bool gone = false;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return false;
    }
    if (settle_gen_path(path, s, number, "") == EXI_OK
        && fs_path(dead, "%s/generations/dead.%010" PRIu64, s->dir, number)
               == EXI_OK) {
        gone = rename(path, dead) == 0 || errno == ENOENT;
    }
    /* From here on a reader sees that the name is gone. */
    if (fd >= 0) {
        close(fd);
    }
    if (gone && fs_remove_tree(dead) != EXI_OK) {
        log_warn("settle", "%s: %s", dead, strerror(errno));
    }
    return gone;
}

/*
 * Publish.
 */

static int
write_manifest(const struct settle *s, const char *dir,
               const struct settle_gen *g)
{
    struct exi_manifest m = { .number = g->g.number,
                              .params = s->params,
                              .height = g->g.height,
                              .block = g->g.block,
                              .tx_count = g->tx_count };
    char path[FS_PATH_MAX], text[2048];
    int rc = fs_path(path, "%s/lease", dir), n;

    if (rc == EXI_OK) {
        rc = fs_write(path, "", 0);
    }
    if (rc == EXI_OK) {
        rc = fs_path(path, "%s/manifest", dir);
    }
    n = exi_manifest_write(text, sizeof(text), &m);
    if (n < 0) {
        return n;
    }
    if (rc == EXI_OK) {
        rc = fs_write(path, text, (size_t) n);
    }
    return rc == EXI_OK ? fs_sync_dir(dir) : rc;
}

/* Empties the log.  An error may be that of a compaction long ago: opening
 * again shows. */
static int
flush(struct settle *s)
{
    int rc = settle_db_flush(s->db, s->err, sizeof(s->err));

    if (rc != EXI_OK) {
        settle_broke(s);
        if (settle_writable(s) != EXI_OK) {
            return rc;
        }
        rc = settle_db_flush(s->db, s->err, sizeof(s->err));
        if (rc != EXI_OK) {
            settle_broke(s);
        }
    }
    return rc;
}

/* generations/<n>.tmp, complete and durable. */
static int
make_generation(struct settle *s, const char *tmp, const struct settle_gen *g)
{
    char epoch[FS_PATH_MAX];
    struct flat_counts counts;
    int rc = settle_epoch_path(epoch, s, s->epoch, "");

    if (rc == EXI_OK) {
        rc = fs_remove_tree(tmp);
        /* Of a try that failed after its rename. */
        remove_generation(s, g->g.number);
    }
    if (rc == EXI_OK) {
        rc = flush(s);
    }
    if (rc == EXI_OK) {
        flat_counts_of(&counts, g->g.height, g->tx_count);
        settle_db_hold(s->db);
        rc = settle_copy_index(epoch, tmp, &counts, false);
        settle_db_release(s->db);
    }
    return rc == EXI_OK ? write_manifest(s, tmp, g) : rc;
}

static int
publish_new(struct settle *s, const struct settle_gen *g)
{
    char tmp[FS_PATH_MAX], dir[FS_PATH_MAX], from[48], to[32];
    int rc = settle_gen_path(tmp, s, g->g.number, ".tmp");

    if (rc == EXI_OK) {
        rc = fs_path(dir, "%s/generations", s->dir);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    snprintf(to, sizeof(to), "%010" PRIu64, g->g.number);
    snprintf(from, sizeof(from), "%s.tmp", to);
    rc = make_generation(s, tmp, g);
    if (rc == EXI_OK) {
        rc = fs_rename(dir, from, to);
    }
    if (rc != EXI_OK) {
        log_error("settle", "generation %s: %s", to, strerror(errno));
        fs_remove_tree(tmp);
        /* Renamed, but not surely durable: not published. */
        remove_generation(s, g->g.number);
        return rc == EXI_ENOTFOUND ? EXI_EIO : rc;
    }
    return EXI_OK;
}

/*
 * Does the newest generation have the durable state?  Another one that has it
 * is of no use: numbers must ascend for readers.
 */
static bool
is_published(const struct settle *s)
{
    const struct settle_gen *g = s->ngens ? &s->gens[s->ngens - 1] : NULL;

    return g != NULL && g->good && !s->tidied && g->g.height == s->meta.height
           && memcmp(&g->g.block, &s->meta.block, sizeof(g->g.block)) == 0;
}

int
settle_publish(struct settle *s, struct exi_live_gen *gen)
{
    struct settle_gen g = { .good = true };
    int rc = settle_writable(s);

    if (rc != EXI_OK) {
        return rc;
    }
    if (!s->any) {
        return EXI_EAPI;
    }
    if (is_published(s)) {
        *gen = s->gens[s->ngens - 1].g;
        return EXI_OK;
    }
    settle_iter_drop(s);
    g.g.number = s->ngens ? s->gens[s->ngens - 1].g.number + 1 : 1;
    g.g.height = s->meta.height;
    g.g.block = s->meta.block;
    g.tx_count = s->meta.tx_count;
    /* Room first: what is on disk must be in the list. */
    rc = settle_grow(&s->gens, &s->cap_gens, s->ngens + 1, sizeof(*s->gens));
    if (rc == EXI_OK) {
        rc = publish_new(s, &g);
    }
    if (rc == EXI_OK) {
        rc = gens_add(s, &g);
    }
    if (rc == EXI_OK) {
        s->tidied = false;
        *gen = g.g;
    }
    return rc;
}

/*
 * Prune.
 */

bool
settle_leased(const struct settle *s, uint64_t number)
{
    int fd = lease_open(s, number);
    bool leased;

    if (fd < 0) {
        return false;
    }
    leased = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return leased;
}

static bool
in_list(const struct exi_live_gen *keep, size_t nkeep, uint64_t number)
{
    for (size_t i = 0; i < nkeep; i++) {
        if (keep[i].number == number) {
            return true;
        }
    }
    return false;
}

/* Is it part of the chain that is settled now? */
static bool
on_chain(struct settle *s, const struct settle_gen *g)
{
    struct exi_blkid hash;

    return g->good && s->any && g->g.height <= s->meta.height
           && settle_block_hash(s, g->g.height, &hash) == EXI_OK
           && memcmp(&hash, &g->g.block, sizeof(hash)) == 0;
}

/*
 * Marks what is kept for fallbacks.  For each depth two: the highest that is as
 * deep, and the lowest that is not yet, which takes over when it has sunk that
 * far.  So there is always one between the depth and about twice of it.  Of two
 * of one height the newer: it has its tables in common with the index.
 */
static void
mark_kept(struct settle *s, bool *kept)
{
    for (size_t d = 0; d < NKEEP_DEPTHS && d < s->keep_generations; d++) {
        size_t deep = s->ngens, next = s->ngens;

        for (size_t i = 0; i < s->ngens; i++) {
            const struct settle_gen *g = &s->gens[i];

            if (!on_chain(s, g)) {
                continue;
            }
            if (s->meta.height - g->g.height >= keep_depths[d]) {
                if (deep == s->ngens || g->g.height >= s->gens[deep].g.height) {
                    deep = i;
                }
            } else if (next == s->ngens
                       || g->g.height <= s->gens[next].g.height) {
                next = i;
            }
        }
        if (deep < s->ngens) {
            kept[deep] = true;
        }
        if (next < s->ngens) {
            kept[next] = true;
        }
    }
}

void
settle_prune(struct settle *s, const struct exi_live_gen *keep, size_t nkeep)
{
    bool *kept = calloc(s->ngens + 1, sizeof(*kept));
    size_t n = 0;

    if (kept == NULL) {
        return;
    }
    mark_kept(s, kept);
    for (size_t i = 0; i < s->ngens; i++) {
        uint64_t number = s->gens[i].g.number;

        if (i + 1 == s->ngens || kept[i] || in_list(keep, nkeep, number)
            || !remove_generation(s, number)) {
            s->gens[n++] = s->gens[i];
        }
    }
    s->ngens = n;
    free(kept);
}

int
settle_discard(struct settle *s, uint64_t number)
{
    char path[FS_PATH_MAX];
    int rc = settle_gen_path(path, s, number, "/manifest");

    if (rc == EXI_OK && unlink(path) != 0 && errno != ENOENT) {
        rc = fs_error();
    }
    if (rc == EXI_OK) {
        rc = settle_gen_path(path, s, number, "");
    }
    if (rc == EXI_OK) {
        rc = fs_sync_dir(path);
    }
    for (size_t i = 0; rc == EXI_OK && i < s->ngens; i++) {
        if (s->gens[i].g.number == number) {
            s->gens[i].good = false;
        }
    }
    return rc;
}
