/*
 * source.h with block files as a node leaves them and as it should not: what
 * is missing there comes from a scripted node.  The bound of memory, rejecting.
 */
#include "sourcerun.h"

#include "rnd.h"

static void
test_files(void)
{
    static const uint8_t key[8] = { 1, 0x82, 3, 4, 0xff, 0, 7, 8 };
    static const uint8_t none[8];
    struct source_opts o = opts(SOURCE_AUTO);
    struct out k = { NULL, 0 };

    wipe();
    save_chain(NULL);
    is_int(read_all(&o, "plain"), SOURCE_FILES, "from the files");
    o.kind = SOURCE_FILES;
    o.memory = 100;
    is_int(read_all(&o, "100 bytes of memory"), SOURCE_FILES, "the same");
    put(&k, none, 8);
    save(&k, "xor.dat");
    read_all(&o, "key of zeros");
    wipe();
    put(&k, key, 8);
    save(&k, "xor.dat");
    file_key = key;
    save_chain(NULL);
    o.parallel = 1;
    read_all(&o, "obfuscated, one worker");
    o.memory = 1 << 20;
    read_all(&o, "obfuscated, 1 MB");
}

/* Mixed up, with everything between that can be there. */
static void
save_mess(void)
{
    static const char *const names[] = { "blk00000.dat", "blk00001.dat",
                                         "blk00002.dat", "blk100000.dat" };
    static const uint8_t fake[] = { 0xfa, 0xbf, 0xb5, 0xda, 0xff,
                                    0xff, 0xff, 0x7f, 1,    2 };
    struct out o[4] = { { NULL, 0 } };
    int order[BLOCKS];

    for (int i = 0; i < BLOCKS; i++) {
        int j = (int) rnd_below((uint64_t) i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < BLOCKS; i++) {
        struct out *f = &o[rnd_below(4)];

        switch (rnd_below(12)) {
        case 0:
            put_block(f, &stale);
            break;
        case 1:
            put(f, fake, sizeof(fake)); /* a size that is too large */
            break;
        case 2:
            put_zeros(f, 1 + rnd_below(200000));
            break;
        case 3:
            put(f, fake, 1 + rnd_below(4)); /* part of a magic */
            break;
        case 4:
            put_block(f, &chain[order[i]]); /* twice */
            break;
        default:
            break;
        }
        put_block(f, &chain[order[i]]);
    }
    put_zeros(&o[3], 1 << 20);
    put_record(&o[2], &stale, (uint32_t) stale.len + 1); /* cut off */
    for (int i = 0; i < 4; i++) {
        save(&o[i], names[i]);
    }
}

static void
test_mess(void)
{
    static const uint8_t key[8] = { 9, 8, 7, 6, 5, 4, 3, 2 };
    struct source_opts o = opts(SOURCE_FILES);
    struct out k = { NULL, 0 };
    char path[128];

    wipe();
    put(&k, key, 8);
    save(&k, "xor.dat");
    file_key = key;
    save_mess();
    put(&k, "not a block file", 16);
    save(&k, "blk00003.dat");
    save(&k, "blk00004.dat");
    put(&k, "x", 1);
    save(&k, "blk1.dat");
    snprintf(path, sizeof(path), "%s/blk00005.dat", dir);
    is_int(mkdir(path, 0700), 0, "a folder with a file's name");
    read_all(&o, "mixed up");
    o.memory = 150 << 10;
    read_all(&o, "150 KB");
}

/* Damaged after the header, before it, cut off, not there. */
static void
save_damaged(void)
{
    struct out o = { NULL, 0 };

    for (int i = 0; i < BLOCKS - 5; i++) {
        struct blk b = chain[i];

        if (i % 50 == 1) {
            continue;
        }
        if (i % 50 == 2) {
            b = stale;
        }
        if (i == BLOCKS - 6) {
            b.len -= 10;
        }
        put_record(&o, &b, (uint32_t) chain[i].len);
    }
    save(&o, "blk00000.dat");
}

static void
test_missing(void)
{
    struct source_opts o;

    wipe();
    save_chain(each_fifth);
    node_up(NULL);
    o = opts(SOURCE_AUTO);
    read_all(&o, "each fifth from REST");
    is_int(count(&seen_rest), BLOCKS / 5, "the node was asked for those only");
    is_int(count(&seen_rpc), 0, "over REST");
    o.memory = 50000;
    read_all(&o, "50 KB");
    node_down();
    wipe();
    save_damaged();
    node_up(NULL);
    o = opts(SOURCE_FILES);
    read_all(&o, "damaged");
    ok(count(&seen_rest) > 5 && count(&seen_rest) < 100,
       "some from the node: %u", count(&seen_rest));
    node_down();
}

/* Files that are there at the scan and not when they are read. */
static void
test_vanish(void)
{
    struct source_opts o;
    struct source *s;
    char path[128];
    size_t n = 0;

    wipe();
    save_chain(NULL);
    node_up(NULL);
    o = opts(SOURCE_AUTO);
    o.memory = 200 << 10;
    s = start(&o);
    snprintf(path, sizeof(path), "%s/blk00012.dat", dir);
    is_int(unlink(path), 0, "a file is removed");
    snprintf(path, sizeof(path), "%s/blk00001.dat", dir);
    is_int(truncate(path, 5000), 0, "another one cut");
    is_int(drain(s, &n), 0, "the end");
    is_int(n, BLOCKS, "all");
    each_done("right");
    ok(count(&seen_rest) > BLOCKS / 2, "from the node: %u", count(&seen_rest));
    is_int(source_kind(s), SOURCE_REST, "which source_kind() says");
    source_stop(s);
    node_down();
}

static void
test_nobody(void)
{
    struct source_opts o;
    struct source *s;
    size_t n = 0;

    wipe();
    save_chain(each_fifth);
    o = opts(SOURCE_FILES);
    s = start(&o);
    is_int(drain(s, &n), EXI_ENOTFOUND, "no node: not found");
    source_why(s, why, sizeof(why));
    ok(strstr(why, "lack") != NULL, "%s", why);
    is_int(drain(s, &n), EXI_ENOTFOUND, "and again");
    is_int(n, 0, "block 0");
    source_stop(s);
    wipe();
    is_int(source_start(&s, &o, 0, hashes, BLOCKS, why, sizeof(why)), EXI_EIO,
           "files wanted, none there");
    ok(strstr(why, dir) != NULL, "%s", why);
    o.blocks_dir = "/dev/null/blocks";
    is_int(source_start(&s, &o, 0, hashes, BLOCKS, why, sizeof(why)), EXI_EIO,
           "no folder");
    ok(strstr(why, "Not a directory") != NULL, "%s", why);
    o.blocks_dir = NULL;
    is_int(source_start(&s, &o, 0, hashes, BLOCKS, why, sizeof(why)), EXI_EIO,
           "no name of a folder: %s", why);
    node_up(NULL);
    o = opts(SOURCE_AUTO);
    is_int(read_all(&o, "AUTO without files"), SOURCE_REST, "REST");
    node_down();
}

static void
test_key(void)
{
    struct source_opts o = opts(SOURCE_FILES);
    struct out k = { NULL, 0 };
    struct source *s;

    wipe();
    save_chain(NULL);
    put(&k, "1234567", 7);
    save(&k, "xor.dat");
    is_int(source_start(&s, &o, 0, hashes, BLOCKS, why, sizeof(why)), EXI_EIO,
           "a key of 7 bytes");
    ok(strstr(why, "xor.dat") != NULL, "%s", why);
    put(&k, "123456789", 9);
    save(&k, "xor.dat");
    is_int(source_start(&s, &o, 0, hashes, BLOCKS, why, sizeof(why)), EXI_EIO,
           "a key of 9 bytes");
    is_int(source_start(&s, &o, 0, NULL, 0, why, sizeof(why)), EXI_EIO,
           "for no blocks too");
    wipe();
    is_int(source_start(&s, &o, 0, NULL, 0, why, sizeof(why)), EXI_OK,
           "no blocks wanted");
    is_int(drain(s, &(size_t){ 0 }), 0, "none come");
    source_stop(s);
    source_stop(NULL);
}

static void
test_too_long(void)
{
    struct source_opts o;
    struct source *s;
    size_t n = 0;

    wipe();
    save_chain(NULL);
    node_up(NULL);
    o = opts(SOURCE_AUTO);
    o.block_max = 10000;
    s = start(&o);
    is_int(drain(s, &n), EXI_ENODE, "a block longer than block_max");
    is_int(n, 0, "at once");
    source_why(s, why, sizeof(why));
    ok(strstr(why, "something else") != NULL, "%s", why);
    source_stop(s);
    o.block_max = longest;
    read_all(&o, "block_max just enough");
    node_down();
}

/* ---- memory ---- */

/* Keeps blocks; no more than the bound may come. */
static void
keep_all(enum source_kind kind, size_t memory)
{
    struct source_opts o = opts(kind);
    struct source_block b[BLOCKS];
    struct source *s;
    size_t n = 0, held = 0, most = 0, from = 0;

    o.memory = memory;
    s = start(&o);
    while (n < BLOCKS) {
        while (n > from && (held + longest > memory / 2 || n - from > 100)) {
            held -= b[from].rawlen;
            source_give_back(s, &b[from++]);
        }
        each(source_next(s, &b[n]) == 1 && right(&b[n], n), "block %zu", n);
        held += b[n++].rawlen;
        most = held > most ? held : most;
    }
    each_done("blocks that are kept");
    ok(most <= memory, "%zu of %zu bytes", most, memory);
    while (from < n) {
        source_give_back(s, &b[from++]);
    }
    source_stop(s);
}

/* Nobody takes any: how far it reads ahead. */
static void
read_ahead(size_t memory)
{
    struct source_opts o;
    struct source *s;
    struct timespec ts = { 0, 600000000 };
    size_t bytes = 0;
    unsigned n;

    node_up(NULL);
    o = opts(SOURCE_REST);
    o.memory = memory;
    s = start(&o);
    nanosleep(&ts, NULL);
    n = count(&seen_rest);
    for (unsigned i = 0; i < n; i++) {
        bytes += chain[i].len;
    }
    ok(n > 0 && bytes <= memory, "%u blocks read ahead: %zu of %zu bytes", n,
       bytes, memory);
    source_stop(s);
    node_down();
}

static void
test_memory(void)
{
    wipe();
    save_chain(NULL);
    keep_all(SOURCE_FILES, 400 << 10);
    keep_all(SOURCE_FILES, 5 << 20);
    read_ahead(400 << 10);
    read_ahead(5 << 20);
}

/* ---- rejecting, cancelling, stopping ---- */

static atomic_int altered; /* answers that the node alters: 1 REST, 2 RPC */

/* A node whose blocks have another last byte. */
static bool
alters(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    uint8_t *raw;

    (void) f;
    (void) keep;
    if (n < 0 || (atomic_load(&altered) & (rest ? 1 : 2)) == 0) {
        return false;
    }
    raw = malloc(chain[n].len);
    memcpy(raw, chain[n].raw, chain[n].len);
    raw[chain[n].len - 1] ^= 1;
    if (rest) {
        send_rest(fd, raw, chain[n].len, chain[n].len);
    } else {
        send_rpc(fd, raw, chain[n].len);
    }
    free(raw);
    return true;
}

/* The same of a node: what was rejected once is asked for again, and looked at
 * before it is handed out. */
static void
test_reject_node(void)
{
    struct source_opts o;
    struct source_block b;
    struct source *s;

    wipe();
    atomic_store(&altered, 1);
    node_up(alters);
    o = opts(SOURCE_AUTO);
    s = start(&o);
    is_int(source_next(s, &b), 1, "a block");
    ok(memcmp(b.raw, chain[0].raw, b.rawlen) != 0, "altered");
    atomic_store(&altered, 3);
    is_int(source_reject(s, &b), EXI_ENODE, "rejected, nobody has another");
    source_why(s, why, sizeof(why));
    ok(strstr(why, "something else") != NULL, "said so: %s", why);
    atomic_store(&altered, 1);
    is_int(source_reject(s, &b), EXI_OK, "over JSON-RPC it is another");
    ok(right(&b, 0), "now it is right");
    source_give_back(s, &b);
    source_stop(s);
    node_down();
}

/* A block whose body is damaged in the files: nobody notices but the caller. */
static void
test_reject(void)
{
    struct out f = { NULL, 0 };
    struct source_opts o;
    struct source_block b;
    struct source *s;

    wipe();
    for (int i = 0; i < BLOCKS; i++) {
        put_block(&f, &chain[i]);
        f.p[f.n - 1] ^= i == 0;
    }
    save(&f, "blk00000.dat");
    node_up(NULL);
    o = opts(SOURCE_FILES);
    s = start(&o);
    is_int(source_next(s, &b), 1, "a block");
    ok(memcmp(b.raw, chain[0].raw, b.rawlen) != 0, "damaged");
    is_int(source_reject(s, &b), EXI_OK, "rejected");
    ok(right(&b, 0), "now it is right");
    is_int(source_reject(s, &b), EXI_OK, "the node's is rejected too");
    ok(right(&b, 0), "it comes again");
    source_give_back(s, &b);
    source_give_back(s, &b);
    node_down();
    is_int(source_next(s, &b), 1, "the next");
    is_int(source_reject(s, &b), EXI_ENET, "no node");
    ok(right(&b, 1), "it is still there");
    source_stop(s);
    each_done("blocks");
}

int
main(void)
{
    rnd_init();
    source_test_begin();
    subtest("block files", test_files);
    subtest("block files out of order, with garbage", test_mess);
    subtest("blocks that are not in the files", test_missing);
    subtest("files that go away", test_vanish);
    subtest("blocks that nobody has", test_nobody);
    subtest("xor.dat", test_key);
    subtest("block_max", test_too_long);
    subtest("memory", test_memory);
    subtest("source_reject()", test_reject);
    subtest("source_reject() of the node's", test_reject_node);
    source_test_end();
    return done_testing();
}
