/*
 * The check command: chooses the generation, pins it, runs the parts, tells
 * what was found and what to do about it.
 */
#include "check_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "conf.h"
#include "lib/exi_hex.h"
#include "log.h"
#include "repair.h"

#define GENS_MAX 64

static const char *const part_names[CHECK_PARTS] = {
    "generation", "headers", "header tree", "counts",          "txids",
    "tables",     "history", "T rows",      "unspent outputs", "spenders"
};

const char *
check_part_name(enum check_part p)
{
    return part_names[p];
}

void
check_found(struct check *c, enum check_part part, const char *fmt, ...)
{
    uint64_t n = ++c->r->findings[part];
    char text[512];
    va_list ap;

    c->r->total++;
    if (c->o->quiet || n > CHECK_TOLD) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_error("check", "%s: %s%s", part_names[part], text,
              n == CHECK_TOLD ? " (more of this kind are only counted)" : "");
}

int
check_bad(struct check *c, uint64_t height)
{
    struct check_result *r = c->r;

    if (r->nbad == r->cap_bad) {
        size_t cap = r->cap_bad * 2 + 64;
        uint32_t *p = realloc(r->bad, cap * sizeof(*p));

        if (p == NULL) {
            return EXI_ENOMEM;
        }
        r->bad = p;
        r->cap_bad = cap;
    }
    r->bad[r->nbad++] = (uint32_t) height;
    return EXI_OK;
}

static int
by_height(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

/* Ascending, each once. */
static void
sort_bad(struct check_result *r)
{
    size_t n = 0;

    if (r->nbad == 0) {
        return;
    }
    qsort(r->bad, r->nbad, sizeof(*r->bad), by_height);
    for (size_t i = 0; i < r->nbad; i++) {
        if (n == 0 || r->bad[n - 1] != r->bad[i]) {
            r->bad[n++] = r->bad[i];
        }
    }
    r->nbad = n;
}

void
check_result_free(struct check_result *r)
{
    free(r->bad);
    r->bad = NULL;
    r->nbad = r->cap_bad = 0;
}

bool
check_step(struct check *c, const char *what, uint64_t done, uint64_t total)
{
    if (c->o->stop != NULL && *c->o->stop) {
        return false;
    }
    if (!c->o->quiet) {
        char text[64];

        snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64, done, total);
        log_progress(what, (double) done, (double) total, text);
    }
    return true;
}

/* xorshift64* */
uint64_t
check_random(struct check *c, uint64_t n)
{
    c->rnd ^= c->rnd >> 12;
    c->rnd ^= c->rnd << 25;
    c->rnd ^= c->rnd >> 27;
    return (c->rnd * 0x2545f4914f6cdd1dull) % n;
}

/* Finalizer of splitmix64. */
static uint64_t
stir(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

void
check_add(struct check_sum *s, uint64_t a, uint64_t b, uint64_t x, uint64_t y)
{
    uint64_t h = stir(stir(stir(stir(a + 0x9e3779b97f4a7c15ull) + b) + x) + y);

    s->v[0] += h;
    s->v[1] += stir(h ^ a ^ x << 17);
    s->n++;
}

bool
check_same(const struct check_sum *a, const struct check_sum *b)
{
    return a->n == b->n && a->v[0] == b->v[0] && a->v[1] == b->v[1];
}

/*
 * Generations.
 */

struct names {
    uint64_t *number;
    size_t n;
    size_t max;
};

/* Keeps the highest numbers, descending. */
static int
add_name(void *ctx, const char *name)
{
    struct names *g = ctx;
    char *end;
    uint64_t number = strtoull(name, &end, 10);
    size_t i;

    if (strlen(name) != 10 || *end != '\0') {
        return 0;
    }
    for (i = g->n; i > 0 && g->number[i - 1] < number; i--) {
        if (i < g->max) {
            g->number[i] = g->number[i - 1];
        }
    }
    if (i < g->max) {
        g->number[i] = number;
        g->n += g->n < g->max;
    }
    return 0;
}

int
check_generations(const char *data_dir, uint64_t *out, size_t max, size_t *n)
{
    struct names g = { out, 0, max };
    char path[FS_PATH_MAX];
    int rc = fs_path(path, "%s/generations", data_dir);

    if (rc == EXI_OK) {
        rc = fs_each(path, add_name, &g);
    }
    *n = g.n;
    return rc == EXI_ENOTFOUND ? EXI_OK : rc;
}

/* Pins a generation: EXI_ESTALE: it was removed just now. */
static int
take_lease(struct check *c)
{
    char path[FS_PATH_MAX];
    int rc = fs_path(path, "%s/lease", c->dir);

    if (rc != EXI_OK) {
        return rc;
    }
    c->lease_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c->lease_fd < 0) {
        return errno == ENOENT ? EXI_ESTALE : EXI_EIO;
    }
    if (flock(c->lease_fd, LOCK_SH) != 0) {
        return EXI_EIO;
    }
    return fs_exists(path) ? EXI_OK : EXI_ESTALE;
}

static int
read_manifest(struct check *c, uint64_t number, const char **why)
{
    char path[FS_PATH_MAX], text[4096];
    uint32_t version = 0;
    size_t len;
    int rc = fs_path(path, "%s/manifest", c->dir);

    *why = "its manifest can't be read";
    if (rc == EXI_OK) {
        rc = fs_read(path, text, sizeof(text), &len);
    }
    if (rc == EXI_OK) {
        rc = exi_manifest_parse(&c->m, &version, text, len);
    }
    if (rc == EXI_EVERSION) {
        *why = "it is of another format version";
    } else if (rc == EXI_EFORMAT) {
        *why = "its manifest is damaged";
    } else if (rc == EXI_OK && c->m.number != number) {
        *why = "its manifest is another one's";
        rc = EXI_EFORMAT;
    }
    return rc;
}

static int
open_parts(struct check *c, const char **why)
{
    static char err[512], segment[32];
    struct flat_counts counts;
    char path[FS_PATH_MAX];
    int rc = fs_path(path, "%s/db", c->dir);

    if (rc == EXI_OK) {
        rc = exi_rodb_open(&c->db, path, err, sizeof(err));
        *why = err;
    }
    if (rc == EXI_OK) {
        rc = fs_path(path, "%s/flat", c->dir);
    }
    if (rc == EXI_OK) {
        flat_counts_of(&counts, c->m.height, c->m.tx_count);
        rc = flat_open(&c->flat, path, &counts, segment, sizeof(segment));
        if (rc == EXI_EFORMAT) {
            snprintf(err, sizeof(err), "flat file %s is missing or too short",
                     segment);
            *why = err;
        }
    }
    return rc;
}

static void
close_parts(struct check *c)
{
    exi_rodb_close(c->db);
    flat_close(c->flat);
    if (c->lease_fd >= 0) {
        close(c->lease_fd);
    }
    c->db = NULL;
    c->flat = NULL;
    c->lease_fd = -1;
}

/* Opens one; what is wrong with it is a finding.  EXI_ESTALE: it is gone. */
static int
open_generation(struct check *c, uint64_t number)
{
    const char *why = "it can't be read";
    int rc =
        fs_path(c->dir, "%s/generations/%010" PRIu64, c->o->data_dir, number);

    c->lease_fd = -1;
    if (rc == EXI_OK) {
        rc = take_lease(c);
    }
    if (rc == EXI_OK) {
        rc = read_manifest(c, number, &why);
    }
    if (rc == EXI_ENOTFOUND) { /* settle_discard() */
        log_info("check", "generation %" PRIu64 " was given up", number);
        rc = EXI_ESTALE;
    }
    if (rc == EXI_OK) {
        rc = open_parts(c, &why);
    }
    if (rc != EXI_OK && rc != EXI_ESTALE) {
        check_found(c, CHECK_GENERATION, "%" PRIu64 ": %s", number, why);
    }
    if (rc != EXI_OK) {
        close_parts(c);
    }
    return rc;
}

/* The newest that opens (or the one asked for) is left open. */
static int
choose(struct check *c)
{
    uint64_t g[GENS_MAX];
    size_t n;
    int rc = check_generations(c->o->data_dir, g, GENS_MAX, &n);

    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        if (c->o->generation != 0 && g[i] != c->o->generation) {
            continue;
        }
        if (open_generation(c, g[i]) == EXI_OK) {
            c->r->gen = c->m;
            return EXI_OK;
        }
    }
    return rc == EXI_OK ? EXI_ENOTREADY : rc;
}

/* The others open, too?  (Their contents are linked files for the most part.) */
static int
check_others(struct check *c)
{
    uint64_t g[GENS_MAX];
    struct check other = *c;
    size_t n;
    int rc = check_generations(c->o->data_dir, g, GENS_MAX, &n);

    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        if (g[i] < c->m.number) {
            other.db = NULL;
            other.flat = NULL;
            if (open_generation(&other, g[i]) == EXI_OK) {
                close_parts(&other);
            }
        }
    }
    return rc;
}

int
check_run(const struct check_opts *o, struct check_result *r)
{
    struct check c;
    int rc;

    memset(r, 0, sizeof(*r));
    memset(&c, 0, sizeof(c));
    c.o = o;
    c.r = r;
    c.rnd = (uint64_t) time(NULL) * 2654435761u | 1;
    rc = choose(&c);
    if (rc != EXI_OK) {
        return rc == EXI_ENOTREADY && r->total > 0 ? EXI_OK : rc;
    }
    if (o->generation == 0) {
        rc = check_others(&c);
    }
    if (rc == EXI_OK) {
        rc = check_flat(&c);
    }
    if (rc == EXI_OK && o->node != NULL) {
        rc = check_node(&c);
    }
    if (rc == EXI_OK) {
        rc = o->full ? check_rows(&c) : check_rows_sample(&c);
    }
    if (!o->quiet) {
        log_progress_end();
    }
    sort_bad(r);
    close_parts(&c);
    return rc;
}

/*
 * The command.
 */

struct args {
    bool full, node, digest, repair;
    uint64_t generation;
    int argc; /* what is left: settings */
    char **argv;
};

/* Takes our own options out of argv. */
static bool
take_args(struct args *a, int argc, char **argv)
{
    char *end;
    int n = 1;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) {
            a->full = true;
        } else if (strcmp(argv[i], "--node") == 0) {
            a->full = a->node = true;
        } else if (strcmp(argv[i], "--digest") == 0) {
            a->full = a->digest = true;
        } else if (strcmp(argv[i], "--repair") == 0) {
            a->full = a->repair = true;
        } else if (strcmp(argv[i], "--generation") == 0) {
            i++;
            a->generation = i < argc ? strtoull(argv[i], &end, 10) : 0;
            if (a->generation == 0 || *end != '\0') {
                fprintf(stderr, "electrumx-indexer: --generation needs a "
                                "number\n");
                return false;
            }
        } else {
            argv[n++] = argv[i];
        }
    }
    a->argc = n;
    a->argv = argv;
    return true;
}

static void
print_sum(const char *name, const struct check_sum *s)
{
    printf("%-9s %016" PRIx64 "%016" PRIx64 " %" PRIu64 "\n", name, s->v[0],
           s->v[1], s->n);
}

static void
print_digest(const struct check_result *r)
{
    char hex[2 * EXI_HASH_LEN + 1];

    exi_hex(hex, r->flat, EXI_HASH_LEN);
    hex[2 * EXI_HASH_LEN] = '\0';
    print_sum("history", &r->history);
    print_sum("txids", &r->txids);
    print_sum("unspent", &r->unspent);
    print_sum("spenders", &r->spenders);
    printf("flat      %s\n", hex);
}

void
check_print(const struct check_opts *o, const struct check_result *r)
{
    if (r->gen.number == 0) {
        printf("no generation can be opened\n");
        return;
    }
    printf("generation %" PRIu64 ", height %u, %" PRIu64 " transactions: ",
           r->gen.number, r->gen.height, r->gen.tx_count);
    if (r->total == 0) {
        printf("%s, nothing is wrong\n",
               o->full ? "all was checked"
                       : "headers and a sample were checked");
        return;
    }
    printf("%" PRIu64 " findings\n", r->total);
    for (int p = 0; p < CHECK_PARTS; p++) {
        if (r->findings[p] > 0) {
            printf("  %s: %" PRIu64 "\n", part_names[p], r->findings[p]);
        }
    }
}

static int
cannot(int rc)
{
    fprintf(stderr, "electrumx-indexer: %s\n",
            rc == EXI_ENOTREADY ? "there is no index to check yet"
            : rc == EXI_ESTALE  ? "stopped"
                                : exi_strerror(rc));
    return 2;
}

static int
check_only(const struct conf *conf, const struct args *a,
           volatile sig_atomic_t *stop)
{
    struct check_result r;
    struct check_opts o;
    int rc;

    memset(&o, 0, sizeof(o));
    o.data_dir = conf->data_dir;
    o.full = a->full;
    o.generation = a->generation;
    o.node = a->node ? conf : NULL;
    o.stop = stop;
    rc = check_run(&o, &r);
    if (rc != EXI_OK) {
        rc = cannot(rc);
    } else {
        check_print(&o, &r);
        if (a->digest) {
            print_digest(&r);
        }
        rc = r.total > 0;
        if (rc != 0) {
            printf("stop the indexer and run: electrumx-indexer check "
                   "--repair%s\n",
                   a->node ? " --node" : "");
        }
    }
    check_result_free(&r);
    return rc;
}

int
check_main(int argc, char **argv, volatile sig_atomic_t *stop)
{
    struct args a = { .argc = 0 };
    enum conf_action action = CONF_RUN;
    struct conf conf;
    char why[1024];
    int rc;

    if (!take_args(&a, argc, argv)) {
        return 2;
    }
    if (conf_load(&conf, &action, a.argc, a.argv, why, sizeof(why)) != EXI_OK) {
        fprintf(stderr, "electrumx-indexer: %s\n", why);
        return 2;
    }
    if (action != CONF_RUN) {
        conf_help(stdout);
        return 0;
    }
    log_set_level(conf.log_level);
    if (a.repair) {
        rc = repair_run(&conf, a.node, stop) == EXI_OK ? 0 : 1;
    } else {
        rc = check_only(&conf, &a, stop);
    }
    conf_free(&conf);
    return rc;
}
