/*
 * Flat files against plain arrays: appending across segments, reading, opening
 * again, rewinding, linking and copying, faults in the middle.
 */
#include "../lib/tap.h"

#include "../lib/faults.h"
#include "../lib/rnd.h"
#include "flat.h"
#include "fsutil.h"

#include <stdlib.h>

/* Two files whose segments are passed often enough, and one that is big. */
#define F_A EXI_FLAT_HEADERS
#define F_B EXI_FLAT_TXCOUNTS

static char base[200];
static uint8_t *model[EXI_FLAT_N];
static struct flat_counts counts;

static const char *
sub(const char *name)
{
    static char path[2][300];
    static int which;

    which = !which;
    snprintf(path[which], sizeof(path[which]), "%s/%s", base, name);
    return path[which];
}

static struct flat *
open_flat(const char *name)
{
    char segment[32] = "";
    struct flat *f = NULL;

    if (flat_open(&f, sub(name), &counts, segment, sizeof(segment)) != EXI_OK) {
        diag("segment %s", segment);
    }
    return f;
}

/* Appends n random records to a file and its model. */
static int
append(struct flat *f, enum exi_flat file, uint64_t n)
{
    uint32_t rec = exi_flat_defs[file].record;
    uint64_t old = flat_count(f, file);
    uint8_t *m;

    m = model[file] = realloc(model[file], (old + n) * rec + 1);
    for (uint64_t i = old * rec; i < (old + n) * rec; i += 4) {
        exi_put_le32(m + i, (uint32_t) rnd());
    }
    return flat_append(f, file, m + old * rec, n);
}

/* Random ranges of a file, up to n records. */
static bool
right(struct flat *f, enum exi_flat file, uint64_t n)
{
    uint32_t rec = exi_flat_defs[file].record;
    uint8_t *buf = malloc((n + 1) * rec);
    bool good = true;

    for (int i = 0; i < 50 && good; i++) {
        uint64_t at = n ? rnd_below(n) : 0;
        uint64_t k = rnd_below((i % 10 == 0 ? n : (n < 9 ? n : 9)) + 1);

        k = k < n - at ? k : n - at;
        good = flat_read(f, file, at, k, buf) == EXI_OK
               && (k == 0 || memcmp(buf, model[file] + at * rec, k * rec) == 0);
    }
    good = good && flat_read(f, file, n, 1, buf) == EXI_ENOTFOUND
           && flat_read(f, file, n + 5, 0, buf) == EXI_ENOTFOUND
           && flat_read(f, file, 0, n + 1, buf) == EXI_ENOTFOUND
           && flat_read(f, file, UINT64_MAX, 2, buf) == EXI_ENOTFOUND;
    free(buf);
    return good;
}

static bool
all_right(struct flat *f)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        if (flat_count(f, (enum exi_flat) i) != counts.n[i]
            || !right(f, (enum exi_flat) i, counts.n[i])) {
            diag("file %d", i);
            return false;
        }
    }
    return true;
}

/* Grows all files to new counts. */
static bool
grow(struct flat *f)
{
    for (int i = 0; i < EXI_FLAT_N; i++) {
        uint64_t n = i == F_A || i == F_B ? rnd_below(50000) : rnd_below(300);

        if (append(f, (enum exi_flat) i, n) != EXI_OK) {
            return false;
        }
        counts.n[i] += n;
    }
    return true;
}

static void
test_append(void)
{
    struct flat *f = open_flat("w");

    ok(f != NULL && all_right(f), "an empty directory");
    for (int i = 0; i < 12; i++) {
        each(grow(f), "append");
        each(all_right(f), "read back");
        if (i % 4 == 1) {
            each(flat_sync(f) == EXI_OK, "sync");
            flat_close(f);
            f = open_flat("w");
            each(f != NULL && all_right(f), "open again");
        }
    }
    each_done("appends");
    ok(counts.n[F_A] > UINT64_C(2) << exi_flat_defs[F_A].shift,
       "several segments");
    flat_close(f);
}

static void
test_rewind(void)
{
    struct flat *f = open_flat("w");
    struct flat_counts saved = counts;

    ok(grow(f), "grow");
    flat_rewind(f, &saved);
    counts = saved;
    ok(all_right(f), "as before");
    ok(grow(f) && all_right(f), "grown differently");
    is_int(flat_sync(f), EXI_OK, "sync");
    flat_rewind(f, &counts);
    ok(all_right(f), "nothing to rewind");
    flat_close(f);
    flat_close(NULL);
}

static ino_t
inode(const char *dir, enum exi_flat file, uint64_t record)
{
    char name[32], path[400];
    struct stat st;

    exi_flat_segment_name(name, sizeof(name), file,
                          (uint32_t) (record >> exi_flat_defs[file].shift));
    snprintf(path, sizeof(path), "%s/%s", sub(dir), name);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* A link sees what counted, however the original goes on; an own last segment
 * goes on apart from it. */
static void
test_link(void)
{
    struct flat *w = open_flat("w"), *l, *c;
    struct flat_counts then = counts, now;
    uint64_t last = counts.n[F_A] - 1;
    uint8_t *other;

    mkdir(sub("link"), 0755);
    mkdir(sub("copy"), 0755);
    is_int(flat_link(sub("w"), sub("link"), &counts, false), EXI_OK, "link");
    is_int(flat_link(sub("w"), sub("copy"), &counts, true), EXI_OK, "copy");
    is_int(inode("link", F_A, last), inode("w", F_A, last), "linked");
    ok(inode("copy", F_A, last) != inode("w", F_A, last), "last one copied");
    is_int(inode("copy", F_A, 0), inode("w", F_A, 0), "full one linked");
    l = open_flat("link");
    c = open_flat("copy");
    ok(all_right(l) && all_right(c), "both are right");
    ok(grow(w) && flat_sync(w) == EXI_OK, "the original goes on");
    now = counts;
    counts = then;
    ok(all_right(l) && all_right(c), "both are as before");
    other = model[F_A];
    model[F_A] = malloc(now.n[F_A] * 80);
    memcpy(model[F_A], other, now.n[F_A] * 80);
    ok(append(c, F_A, 1000) == EXI_OK && right(c, F_A, then.n[F_A] + 1000),
       "the copy goes on");
    free(model[F_A]);
    model[F_A] = other;
    counts = now;
    ok(all_right(w), "the original is as it was");
    flat_close(w);
    flat_close(l);
    flat_close(c);
}

static void
test_missing(void)
{
    struct flat *f = NULL;
    struct flat_counts few = { .n = { [EXI_FLAT_TXIDS] = 1 } };
    char segment[32] = "";
    char path[400];

    snprintf(path, sizeof(path), "%s/txids.000000", sub("copy"));
    is_int(truncate(path, 1000), 0, "a segment cut short");
    is_int(flat_open(&f, sub("copy"), &few, segment, sizeof(segment)),
           EXI_EFORMAT, "is refused");
    is_str(segment, "txids.000000", "by name");
    is_int(flat_open(&f, sub("none"), &counts, segment, sizeof(segment)),
           EXI_EFORMAT, "so is a missing one");
    is_str(segment, "headers.000000", "by name");
    is_int(flat_link(sub("none"), sub("copy"), &counts, false), EXI_ENOTFOUND,
           "nothing to link");
}

/* Faults at each call in turn; afterwards the same records go in. */
static void
test_faults(void)
{
    struct flat *f = open_flat("w");
    unsigned failed = 0;

    for (long at = 1; at < 40; at++) {
        struct flat_counts saved = counts;
        int rc = EXI_OK;

        fault_set(FAULT_SPACE, at);
        for (int i = 0; rc == EXI_OK && i < EXI_FLAT_N; i++) {
            rc = append(f, (enum exi_flat) i, i == F_A ? 60000 : 100);
        }
        if (rc == EXI_OK) {
            rc = flat_sync(f);
        }
        fault_reset();
        failed += rc != EXI_OK;
        each(rc == EXI_OK || rc == EXI_ESPACE, "error %d", rc);
        flat_rewind(f, &saved);
        each(all_right(f), "as before");
        for (int i = 0; i < EXI_FLAT_N; i++) {
            each(append(f, (enum exi_flat) i, 10) == EXI_OK, "append");
            counts.n[i] += 10;
        }
        each(flat_sync(f) == EXI_OK && all_right(f), "goes on");
    }
    each_done("no space at any call");
    ok(failed > 10, "%u failed", failed);
    flat_close(f);
    f = open_flat("w");
    ok(f != NULL && all_right(f), "open again");
    flat_close(f);
}

/* The file operations themselves. */
static int
count_name(void *ctx, const char *name)
{
    (void) name;
    ++*(int *) ctx;
    return EXI_OK;
}

static void
test_fsutil(void)
{
    char text[20], path[FS_PATH_MAX];
    size_t len;
    int n = 0;

    is_int(fs_replace(base, "f", "hello", 5), EXI_OK, "replace");
    is_int(fs_read(sub("f"), text, sizeof(text), &len), EXI_OK, "read");
    is_str(text, "hello", "contents");
    is_int(fs_replace(base, "f", "bye", 3), EXI_OK, "replace again");
    is_int(fs_read(sub("f"), text, sizeof(text), &len), EXI_OK, "read");
    is_str(text, "bye", "contents");
    is_int(fs_read(sub("f"), text, 3, &len), EXI_ELIMIT, "longer than asked");
    is_int(fs_read(sub("g"), text, 3, &len), EXI_ENOTFOUND, "not there");
    for (long at = 1; at < 5; at++) {
        fault_set(FAULT_SPACE, at);
        is_int(fs_replace(base, "f", "no", 2), EXI_ESPACE, "no space");
        fault_reset();
        each(fs_read(sub("f"), text, sizeof(text), &len) == EXI_OK
                 && (strcmp(text, "bye") == 0 || at == 4),
             "old contents");
    }
    each_done("replace fails whole");
    is_int(fs_copy(sub("f"), sub("f2"), 1, 7), EXI_OK,
           "copy one byte of seven");
    is_int(fs_read(sub("f2"), text, sizeof(text), &len), EXI_OK, "read");
    is_int(len, 7, "length");
    is_int(fs_copy(sub("f"), sub("f2"), 1, 7), EXI_EIO, "copy over a file");
    is_int(fs_mkdir(sub("d")), EXI_OK, "mkdir");
    is_int(fs_mkdir(sub("d")), EXI_OK, "is there");
    is_int(fs_mkdir(sub("x/y")), EXI_ENOTFOUND, "nowhere");
    is_int(fs_mkdir(sub("d/e")), EXI_OK, "mkdir below");
    is_int(fs_write(sub("d/e/f"), "x", 1), EXI_OK, "file below");
    is_int(fs_link(sub("d/e/f"), sub("d/g")), EXI_OK, "link");
    is_int(fs_each(sub("d"), count_name, &n), EXI_OK, "list");
    is_int(n, 2, "two names");
    is_int(fs_rename(sub("d"), "g", "h"), EXI_OK, "rename");
    ok(fs_exists(sub("d/h")) && !fs_exists(sub("d/g")), "is renamed");
    is_int(fs_remove_tree(sub("d")), EXI_OK, "remove");
    is_int(fs_remove_tree(sub("d")), EXI_OK, "nothing to remove");
    ok(!fs_exists(sub("d")), "removed");
    is_int(fs_path(path, "%2000d", 1), EXI_ELIMIT, "path too long");
}

int
main(void)
{
    const char *tmp = getenv("TMPDIR");

    rnd_init();
    snprintf(base, sizeof(base), "%s/exi-flat.XXXXXX", tmp ? tmp : "/tmp");
    if (mkdtemp(base) == NULL || mkdir(sub("w"), 0755) != 0) {
        return 1;
    }
    subtest("append and read", test_append);
    subtest("rewind", test_rewind);
    subtest("link and copy", test_link);
    subtest("missing segments", test_missing);
    subtest("no space", test_faults);
    subtest("file operations", test_fsutil);
    ok(fs_remove_tree(base) == EXI_OK, "removed");
    for (int i = 0; i < EXI_FLAT_N; i++) {
        free(model[i]);
    }
    return done_testing();
}
