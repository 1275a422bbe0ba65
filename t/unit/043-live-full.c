/*
 * The live layer on a file system without room: EXI_ESPACE, nothing happened,
 * no SIGBUS, and it goes on when there is room.  As root on a small tmpfs of its
 * own; else with a small map, which fails alike.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#define FS_MB 96
#define BIG   400000

static struct lr r;
static bool mounted;
static char filler[300];

/* Takes all room of the file system but `leave` bytes. */
static void
fill(size_t leave)
{
    struct statvfs v;
    size_t room;
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);

    lr_must(statvfs(r.dir, &v) == 0 && fd >= 0 ? EXI_OK : EXI_EIO);
    room = (size_t) v.f_bavail * v.f_frsize;
    if (room > leave) {
        lr_must(posix_fallocate(fd, lseek(fd, 0, SEEK_END),
                                (off_t) (room - leave)));
    }
    close(fd);
}

/*
 * A large transaction: BIG bytes of OP_RETURN outputs and one that pays.
 */
static size_t
big_tx(uint8_t *raw, const struct exi_txid *prev, uint32_t index,
       struct exi_txid *id)
{
    static struct lb_bytes m;
    size_t n;

    m.n = 0;
    lb_le(&m, 2, 4);
    lb_le(&m, 1, 1);
    lb_put(&m, prev->b, 32);
    lb_le(&m, index, 4);
    lb_le(&m, 0, 1);
    lb_le(&m, 0xfffffffe, 4);
    lb_le(&m, 2, 1);
    lb_le(&m, 1000, 8);
    lb_le(&m, sizeof r.lb->script[0], 1);
    lb_put(&m, r.lb->script[1], sizeof r.lb->script[1]);
    lb_le(&m, 0, 8);
    lb_le(&m, 0xfe, 1);
    lb_le(&m, BIG, 4);
    memcpy(raw, m.b, m.n);
    n = m.n;
    memset(raw + n, 0x6a, BIG);
    n += BIG;
    memset(raw + n, 0, 4);
    n += 4;
    exi_sha256d(id->b, raw, n);
    return n;
}

/* Adds a chain of big ones until it fails; returns the error. */
static int
grow(struct exi_txid *prev, uint32_t *index, int most, int *done)
{
    uint8_t *raw = malloc(BIG + 1000);
    struct exi_txid id;
    int rc = EXI_OK;

    for (*done = 0; *done < most && rc == EXI_OK; ++*done) {
        size_t n = big_tx(raw, prev, *index, &id);
        rc = live_begin(r.live);
        if (rc == EXI_OK) {
            rc = live_mempool_add(r.live, raw, n, 1);
            if (rc) {
                live_abort(r.live);
            } else {
                rc = live_commit(r.live, EXI_CHANGE_MEMPOOL);
            }
        }
        if (rc) {
            break;
        }
        *prev = id;
        *index = 0;
    }
    free(raw);
    return rc;
}

static int
see_count(struct lr *run, struct exi_view *v, void *ctx)
{
    const uint8_t *raw;
    struct exi_txpos p;
    size_t len;
    int rc = exi_tx_find(v, ctx, &p);

    (void) run;
    rc = rc ? rc : exi_tx_raw(v, &p, &raw, &len);
    return rc ? rc : len > BIG && raw[BIG] == 0x6a ? EXI_OK : EXI_EFORMAT;
}

/* One big change that runs out of room in the middle. */
static void
middle(struct exi_txid prev, uint32_t index)
{
    struct exi_live_state st = *live_state(r.live);
    uint8_t *raw = malloc(BIG + 1000);
    struct exi_txid id;
    int rc = live_begin(r.live), n = 0;

    for (; n < 1000 && rc == EXI_OK; n++) {
        size_t len = big_tx(raw, &prev, index, &id);
        rc = live_mempool_add(r.live, raw, len, 1);
        prev = id;
        index = 0;
    }
    live_abort(r.live);
    free(raw);
    is_int(rc, EXI_ESPACE, "no room in the middle of a change (after %d)", n);
    ok(memcmp(&st, live_state(r.live), sizeof st) == 0, "nothing happened");
}

static void
make_place(void)
{
    char opts[32];

    snprintf(opts, sizeof opts, "size=%dm", FS_MB);
    lr_dir(&r);
    mounted = geteuid() == 0 && unshare(CLONE_NEWNS) == 0
              && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
              && mount("none", r.dir, "tmpfs", 0, opts) == 0;
    snprintf(filler, sizeof filler, "%s/filler", r.dir);
    diag("%s", mounted ? "on a tmpfs" : "with a small map");
}

int
main(void)
{
    struct exi_txid prev;
    uint32_t index = 0;
    char dir[sizeof r.dir];
    int n, rc, coin = 1;
    struct live *l;

    rnd_init();
    lr_make(&r, 20);
    lr_remove_dir(&r);
    make_place();
    memcpy(dir, r.dir, sizeof dir);
    lr_open_settle(&r);
    lr_settle(&r, &r.lb->st, 20);
    r.map_bytes = (mounted ? 1024u : 18u) << 20;
    lr_must(lr_open_live(&r));
    lr_must(live_serve(r.live));
    while (r.lb->tx[coin].out[0].script < 0
           || lb_spender(r.lb, &r.lb->st, coin, 0) >= 0) {
        coin++;
    }
    prev = r.lb->tx[coin].id;
    if (mounted) {
        fill(3u << 20);
    }
    middle(prev, 0);
    rc = grow(&prev, &index, 1000, &n);
    is_int(rc, EXI_ESPACE, "no room after %d changes", n);
    ok(n > 3, "some had room");
    ok(lr_view(&r, see_count, &prev), "readers see the last that had");
    rc = grow(&prev, &index, 1, &n);
    is_int(rc, EXI_ESPACE, "still none");
    if (mounted) {
        l = r.live;
        rc = lr_open_live(&r);
        is_int(rc, EXI_ESPACE, "no room for another environment");
        r.live = l;
        (void) unlink(filler);
        rc = grow(&prev, &index, 20, &n);
        is_int(rc, EXI_OK, "room again: goes on");
        ok(lr_view(&r, see_count, &prev), "readers see it");
        fill(0);
        ok(lr_view(&r, see_count, &prev), "readers need no room");
        (void) unlink(filler);
    }
    live_close(r.live);
    settle_close(r.settle);
    if (mounted) {
        lr_remove_dir(&r);
        (void) umount(dir);
    }
    lr_remove_dir(&r);
    lb_free(r.lb);
    return done_testing();
}
