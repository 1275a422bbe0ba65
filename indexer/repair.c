/*
 * check --repair: what to do about what was found, in the order of cost.
 *
 *   1 the small files: FORMAT, settled/CURRENT, lost segments
 *   2 a full check of the newest generation that opens
 *   3 nothing found: the epoch opens, or is made again from that generation
 *     flat files only: the blocks that fail are written again, into new files
 *       that take the place of the old; an epoch is made from it, and the other
 *       generations, which link the damaged files, are given up
 *     anything else: back to the newest generation without findings, or to none
 *   4 the check again
 */
#include "repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coins.h"
#include "datadir.h"
#include "fsutil.h"
#include "lib/exi_hex.h"
#include "log.h"
#include "settle.h"

#define GENS_MAX 64
#define ROUNDS   4

struct repair {
    const struct conf *c;
    bool node; /* compare with the node's blocks, too */
    volatile sig_atomic_t *stop;
    uint64_t gens[GENS_MAX]; /* directories, descending */
    size_t ngens;
};

/* A system's or node's failure that has not been told yet. */
static int
failed(int rc, const char *what)
{
    log_error("repair", "%s: %s%s%s", what, exi_strerror(rc),
              errno != 0 ? ", " : "", errno != 0 ? strerror(errno) : "");
    return rc;
}

/*
 * 1: small files.
 */

static int
read_manifest(const struct repair *r, uint64_t number, struct exi_manifest *m)
{
    char path[FS_PATH_MAX], text[4096];
    uint32_t version;
    size_t len;
    int rc = fs_path(path, "%s/generations/%010" PRIu64 "/manifest",
                     r->c->data_dir, number);

    if (rc == EXI_OK) {
        rc = fs_read(path, text, sizeof(text), &len);
    }
    return rc == EXI_OK ? exi_manifest_parse(m, &version, text, len) : rc;
}

static int
repair_format(const struct repair *r, const struct exi_manifest *m)
{
    char path[FS_PATH_MAX], text[1024];
    struct exi_params p;
    uint32_t version = 0;
    size_t len;
    int rc = fs_path(path, "%s/FORMAT", r->c->data_dir), n;

    if (rc == EXI_OK) {
        rc = fs_read(path, text, sizeof(text), &len);
    }
    if (rc == EXI_OK) {
        rc = exi_format_parse(&p, &version, text, len);
    }
    if (rc == EXI_OK) {
        return rc;
    }
    if (rc == EXI_EVERSION) {
        log_error("repair", "FORMAT is of version %u, this program knows %d",
                  version, EXI_FORMAT_VERSION);
        return rc;
    }
    log_warn("repair", "FORMAT is written again");
    n = exi_format_write(text, sizeof(text), &m->params);
    rc = n < 0 ? n : fs_replace(r->c->data_dir, "FORMAT", text, (size_t) n);
    return rc == EXI_OK ? rc : failed(rc, "FORMAT");
}

/* For each generation; the newest manifest that can be read goes to *m. */
static int
small_files(const struct repair *r, struct exi_manifest *m)
{
    char path[FS_PATH_MAX];
    bool any = false;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < r->ngens; i++) {
        struct exi_manifest one;

        if (read_manifest(r, r->gens[i], &one) != EXI_OK) {
            continue;
        }
        if (!any) {
            *m = one;
            any = true;
        }
        rc = fs_path(path, "%s/generations/%010" PRIu64 "/flat", r->c->data_dir,
                     r->gens[i]);
        if (rc == EXI_OK) {
            rc = repair_segments(path, &one);
        }
    }
    if (rc != EXI_OK) {
        return failed(rc, "lost segments can't be made");
    }
    return any ? repair_format(r, m) : EXI_ENOTFOUND;
}

/*
 * The settled layer as the indexer opens it.
 */

static int
open_settled(const struct repair *r, bool no_epoch, struct settle **s,
             char *why, size_t whylen)
{
    const struct coin *coin = coin_find(r->c->network);
    struct settle_opts o;

    memset(&o, 0, sizeof(o));
    o.data_dir = r->c->data_dir;
    o.network = coin->network;
    o.spender = r->c->spender;
    o.keep_generations = (uint32_t) r->c->keep_generations;
    o.no_epoch = no_epoch;
    if (exi_unhex_display(o.genesis.b, coin->genesis, 64) != EXI_OK) {
        return EXI_EAPI;
    }
    return settle_open(s, &o, why, whylen);
}

/* A new epoch out of a generation (0: an empty one). */
static int
go_back(const struct repair *r, uint64_t number)
{
    struct settle *s;
    char why[512];
    int rc = open_settled(r, true, &s, why, sizeof(why));

    if (rc == EXI_OK) {
        rc = settle_fallback(s, number, why, sizeof(why));
        settle_close(s);
    }
    if (rc != EXI_OK) {
        log_error("repair", "%s", why);
    }
    return rc;
}

static bool
readable(const struct repair *r, uint64_t number)
{
    struct exi_manifest m;

    return read_manifest(r, number, &m) == EXI_OK && m.number == number;
}

/* Gives up the generations above a number, those with a damaged manifest, and
 * with `older` those below; then there is one of what is settled. */
static int
give_up(const struct repair *r, uint64_t number, bool older)
{
    struct exi_live_gen g;
    struct settle *s;
    char why[512];
    int rc = open_settled(r, false, &s, why, sizeof(why));

    if (rc != EXI_OK) {
        log_error("repair", "%s", why);
        return rc;
    }
    for (size_t i = 0; rc == EXI_OK && i < r->ngens; i++) {
        if (r->gens[i] > number || (older && r->gens[i] < number)
            || !readable(r, r->gens[i])) {
            rc = settle_discard(s, r->gens[i]);
        }
    }
    if (rc == EXI_OK && settle_any(s)) {
        rc = settle_publish(s, &g);
    }
    settle_close(s);
    return rc == EXI_OK ? rc : failed(rc, "giving up a generation");
}

/*
 * 3: what to do.
 */

static int
check_one(const struct repair *r, uint64_t number, struct check_result *found)
{
    struct check_opts o;

    memset(&o, 0, sizeof(o));
    o.data_dir = r->c->data_dir;
    o.full = true;
    o.node = r->node ? r->c : NULL;
    o.generation = number;
    o.stop = r->stop;
    return check_run(&o, found);
}

/* The epoch, which nobody but an indexer can look at. */
static int
see_epoch(const struct repair *r, uint64_t number)
{
    struct settle *s;
    char why[512];
    int rc = open_settled(r, false, &s, why, sizeof(why));

    if (rc == EXI_OK) {
        settle_close(s);
        return EXI_OK;
    }
    if (rc == EXI_EAPI || rc == EXI_EBUSY || rc == EXI_EVERSION
        || rc == EXI_ESPACE || rc == EXI_ENOMEM) {
        log_error("repair", "%s", why);
        return rc;
    }
    log_warn("repair", "%s: made again from generation %" PRIu64, why, number);
    return go_back(r, number);
}

static bool
only_flat(const struct check_result *found)
{
    for (int p = 0; p < CHECK_PARTS; p++) {
        if (found->findings[p] != 0 && p != CHECK_HEADERS && p != CHECK_HMERKLE
            && p != CHECK_TXCOUNTS && p != CHECK_TXIDS) {
            return false;
        }
    }
    return true;
}

static int
repair_files(const struct repair *r, const struct check_result *found)
{
    char path[FS_PATH_MAX];
    int rc;

    log_info("repair",
             "flat files of generation %" PRIu64 " are written again, %zu "
             "blocks from the node",
             found->gen.number, found->nbad);
    rc = fs_path(path, "%s/generations/%010" PRIu64 "/flat", r->c->data_dir,
                 found->gen.number);
    if (rc == EXI_OK) {
        rc = repair_flat(r->c, path, &found->gen, found);
    }
    if (rc == EXI_OK) {
        rc = go_back(r, found->gen.number);
    }
    return rc == EXI_OK ? give_up(r, found->gen.number, true) : rc;
}

/* The newest generation below `below` without findings; 0: none. */
static int
find_whole(const struct repair *r, uint64_t below, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < r->ngens; i++) {
        struct check_result found;
        bool whole;
        int rc;

        if (r->gens[i] >= below) {
            continue;
        }
        log_info("repair", "looking at generation %" PRIu64, r->gens[i]);
        rc = check_one(r, r->gens[i], &found);
        whole = rc == EXI_OK && found.total == 0;
        check_result_free(&found);
        if (rc == EXI_ESTALE || rc == EXI_ENOMEM) {
            return rc;
        }
        if (whole) {
            *number = r->gens[i];
            return EXI_OK;
        }
    }
    return EXI_OK;
}

static int
repair_rows(const struct repair *r, uint64_t below)
{
    uint64_t number;
    int rc = find_whole(r, below, &number);

    if (rc != EXI_OK) {
        return rc;
    }
    if (number != 0) {
        log_warn("repair",
                 "going back to generation %" PRIu64
                 "; the indexer will settle the rest again",
                 number);
    } else {
        log_warn("repair", "no generation is whole: the indexer will make the "
                           "index again");
    }
    rc = go_back(r, number);
    return rc == EXI_OK ? give_up(r, number, false) : rc;
}

static int
repair_found(const struct repair *r, const struct check_result *found)
{
    if (found->gen.number == 0) {
        return repair_rows(r, UINT64_MAX);
    }
    if (found->total == found->findings[CHECK_GENERATION]) {
        int rc = see_epoch(r, found->gen.number);

        return rc == EXI_OK && found->total != 0
                   ? give_up(r, found->gen.number, false)
                   : rc;
    }
    if (only_flat(found)) {
        return repair_files(r, found);
    }
    return repair_rows(r, found->gen.number);
}

/* A check, the last word when nothing is found, else a repair. */
static int
look_and_repair(struct repair *r, int round, bool *again)
{
    struct check_result found;
    struct check_opts o;
    int rc = check_one(r, 0, &found);

    *again = false;
    if (rc == EXI_OK) {
        rc = check_generations(r->c->data_dir, r->gens, GENS_MAX, &r->ngens);
    }
    if (rc == EXI_OK && (found.total != 0 || round == 0)) {
        if (round + 1 == ROUNDS) {
            log_error("repair", "there are still findings");
            rc = EXI_EFORMAT;
        } else {
            rc = repair_found(r, &found);
            *again = true;
        }
    } else if (rc == EXI_OK) {
        memset(&o, 0, sizeof(o));
        o.full = true;
        check_print(&o, &found);
    }
    check_result_free(&found);
    return rc;
}

static int
repair_all(struct repair *r)
{
    struct exi_manifest m;
    bool again;
    int rc = check_generations(r->c->data_dir, r->gens, GENS_MAX, &r->ngens);

    if (rc == EXI_OK) {
        rc = small_files(r, &m);
    }
    if (rc == EXI_ENOTFOUND) {
        log_error("repair",
                  "there is no generation with a readable manifest: "
                  "if the indexer does not start, remove %s",
                  r->c->data_dir);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    /* Wrong rows show only when the flat files are right. */
    for (int round = 0; rc == EXI_OK && round < ROUNDS; round++) {
        rc = look_and_repair(r, round, &again);
        if (!again) {
            break;
        }
    }
    if (rc == EXI_ENOTREADY) {
        printf("the index is empty now; start the indexer\n");
        rc = EXI_OK;
    }
    return rc;
}

int
repair_run(const struct conf *c, bool node, volatile sig_atomic_t *stop)
{
    struct repair r = { .c = c, .node = node, .stop = stop };
    int lock = datadir_lock(c->data_dir), rc;

    if (lock < 0) {
        return EXI_EBUSY;
    }
    rc = repair_all(&r);
    close(lock);
    return rc;
}
