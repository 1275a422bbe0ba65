/*
 * Epochs that are made of what there is: of a published generation after a deep
 * reorganisation, or of an index that the initial sync made elsewhere.
 *
 * The new epoch is complete and has been opened before settled/CURRENT names
 * it; the old one is removed after that.  Published generations stay as they
 * are, whichever epoch they are of.
 */
#include "settle_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

/*
 * Fall back.
 */

/* settled/<epoch>: an independent continuation of a generation. */
static int
epoch_from(const struct settle *s, const struct settle_gen *g, uint64_t epoch)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    struct flat_counts counts;
    int rc = settle_gen_path(from, s, g->g.number, "");

    if (rc == EXI_OK) {
        rc = settle_epoch_path(to, s, epoch, "");
    }
    if (rc == EXI_OK) {
        rc = fs_remove_tree(to);
    }
    if (rc == EXI_OK) {
        flat_counts_of(&counts, g->g.height, g->tx_count);
        rc = settle_copy_index(from, to, &counts, true);
    }
    return rc == EXI_OK ? fs_sync_dir(to) : rc;
}

/* Does the opened epoch hold what the generation says? */
static int
check_epoch(const struct settle_epoch *e, const struct settle_gen *g)
{
    if (g == NULL) {
        return e->any ? EXI_EFORMAT : EXI_OK;
    }
    return e->any && e->meta.height == g->g.height
                   && e->meta.tx_count == g->tx_count
                   && memcmp(&e->meta.block, &g->g.block, sizeof(g->g.block))
                          == 0
               ? EXI_OK
               : EXI_EFORMAT;
}

/* Makes the epoch and opens it, before anything points to it. */
static int
prepare(struct settle *s, const struct settle_gen *g, uint64_t epoch,
        struct settle_epoch *e, char *why, size_t whylen)
{
    int rc = EXI_OK;

    if (g == NULL) {
        rc = settle_epoch_make(s, epoch, why, whylen);
    } else {
        rc = epoch_from(s, g, epoch);
        if (rc != EXI_OK) {
            snprintf(why, whylen, "generation %" PRIu64 " can't be copied: %s",
                     g->g.number, strerror(errno));
        }
    }
    if (rc == EXI_OK) {
        rc = settle_epoch_open(e, s, epoch, why, whylen);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    rc = check_epoch(e, g);
    if (rc != EXI_OK) {
        snprintf(why, whylen, "generation is not what its manifest says");
        settle_epoch_close(e);
    }
    return rc;
}

void
settle_epoch_remove(const struct settle *s, uint64_t epoch)
{
    char path[FS_PATH_MAX];

    if (settle_epoch_path(path, s, epoch, "") == EXI_OK
        && fs_remove_tree(path) != EXI_OK) {
        log_warn("settle", "%s: %s", path, strerror(errno));
    }
}

int
settle_epoch_switch(struct settle *s, uint64_t epoch, struct settle_epoch *e,
                    char *why, size_t whylen)
{
    uint64_t old = s->epoch;
    int rc = settle_epoch_choose(s, epoch);

    if (rc != EXI_OK) {
        snprintf(why, whylen, "settled/CURRENT: %s", strerror(errno));
        settle_epoch_close(e);
        /* Unless it surely names the old one, both stay. */
        if (settle_epoch_choose(s, old) == EXI_OK) {
            settle_epoch_remove(s, epoch);
        }
        return rc;
    }
    settle_db_close(s->db);
    flat_close(s->flat);
    settle_epoch_use(s, e);
    s->broken = false;
    s->epoch = epoch;
    settle_epoch_remove(s, old);
    return EXI_OK;
}

int
settle_fallback(struct settle *s, uint64_t number, char *why, size_t whylen)
{
    const struct settle_gen *g = settle_gens_find(s, number);
    uint64_t epoch = s->epoch + 1;
    struct settle_epoch e;
    int rc;

    if (number != 0 && (g == NULL || !g->good)) {
        snprintf(why, whylen, "there is no generation %" PRIu64, number);
        return EXI_EAPI;
    }
    settle_abort(s);
    rc = prepare(s, g, epoch, &e, why, whylen);
    if (rc != EXI_OK) {
        settle_epoch_remove(s, epoch);
        return rc;
    }
    return settle_epoch_switch(s, epoch, &e, why, whylen);
}

/*
 * Take over an index that was made elsewhere.
 */

/* settled/<epoch>: links to what is in `from`. */
static int
epoch_of(const struct settle *s, const char *from, const struct exi_meta *m,
         uint64_t epoch)
{
    char to[FS_PATH_MAX];
    struct flat_counts counts;
    int rc = settle_epoch_path(to, s, epoch, "");

    if (rc == EXI_OK) {
        rc = fs_remove_tree(to);
    }
    if (rc == EXI_OK) {
        flat_counts_of(&counts, m->height, m->tx_count);
        rc = settle_copy_index(from, to, &counts, false);
    }
    return rc == EXI_OK ? fs_sync_dir(to) : rc;
}

int
settle_adopt(struct settle *s, const char *from, const struct exi_meta *m,
             char *why, size_t whylen)
{
    uint64_t epoch = s->epoch + 1;
    struct settle_epoch e;
    int rc;

    if (s->any) {
        return EXI_EAPI;
    }
    settle_abort(s);
    rc = epoch_of(s, from, m, epoch);
    if (rc != EXI_OK) {
        snprintf(why, whylen, "%s: %s", from, strerror(errno));
    } else {
        rc = settle_epoch_open(&e, s, epoch, why, whylen);
    }
    if (rc == EXI_OK && (!e.any || memcmp(&e.meta, m, sizeof(*m)) != 0)) {
        snprintf(why, whylen, "the new index is not what it should be");
        settle_epoch_close(&e);
        rc = EXI_EFORMAT;
    }
    if (rc != EXI_OK) {
        settle_epoch_remove(s, epoch);
        return rc;
    }
    return settle_epoch_switch(s, epoch, &e, why, whylen);
}
