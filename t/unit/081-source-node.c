/*
 * source.h with a scripted node: REST and JSON-RPC and all that can go wrong
 * there, several threads, stopping.
 */
#include "sourcerun.h"

/* ---- the node ---- */

static bool
slow(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    struct timespec ts = { 0, (n * 37 % 20) * 100000 };

    (void) f;
    (void) fd;
    (void) rest;
    (void) keep;
    nanosleep(&ts, NULL);
    return false;
}

static bool
no_rest(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) n;
    (void) keep;
    if (rest) {
        fake_http(fd, 404, "", "");
    }
    return rest;
}

static void
test_node(void)
{
    struct source_opts o;

    wipe();
    node_up(slow);
    o = opts(SOURCE_REST);
    o.memory = 64 << 20;
    is_int(read_all(&o, "REST"), SOURCE_REST, "the kind");
    is_int(count(&seen_rest), BLOCKS, "one request each");
    ok(count(&seen_most) > 4 && count(&seen_most) <= 8, "in flight: %u",
       count(&seen_most));
    seen_reset(&seen_most);
    o.memory = 9 << 20;
    read_all(&o, "REST, 9 MB");
    is_int(count(&seen_most), 2, "two in flight");
    seen_reset(&seen_most);
    o.memory = 1000;
    read_all(&o, "REST, 1 KB");
    is_int(count(&seen_most), 1, "one in flight");
    o.memory = 64 << 20;
    o.kind = SOURCE_RPC;
    seen_reset(&seen_rest);
    is_int(read_all(&o, "JSON-RPC"), SOURCE_RPC, "the kind");
    is_int(count(&seen_rest), 0, "without REST");
    node_down();
    node_up(no_rest);
    o = opts(SOURCE_AUTO);
    o.memory = 64 << 20;
    is_int(read_all(&o, "REST is off"), SOURCE_RPC, "JSON-RPC");
    ok(count(&seen_rest) <= 8, "REST was tried %u times", count(&seen_rest));
    node_down();
}

/* The first answer to each block is bad, in one of many ways. */
static bool
bad_first(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    unsigned count;

    (void) f;
    pthread_mutex_lock(&seen_mutex);
    count = n >= 0 ? seen_n[n] : 9;
    pthread_mutex_unlock(&seen_mutex);
    if (count > 1 || n % 10 != 0) {
        return false;
    }
    switch (n / 10 % 7) {
    case 0: /* cut off */
        send_rest(fd, chain[n].raw, chain[n].len / 2, chain[n].len);
        return *keep = false, true;
    case 1: /* another one */
        send_rest(fd, stale.raw, stale.len, stale.len);
        return true;
    case 2:
        fake_http(fd, 503, "", "Work queue depth exceeded\r\n");
        return true;
    case 3:
        return *keep = false, true;
    case 4:
        fake_http(fd, 404, "", "not found\r\n");
        return true;
    case 5:
        send_rest(fd, chain[n].raw, 20, 20);
        return true;
    default:
        send_rest(fd, NULL, 0, 0);
        return true;
    }
    (void) rest;
}

static void
test_bad(void)
{
    struct source_opts o;

    node_up(bad_first);
    o = opts(SOURCE_REST);
    read_all(&o, "bad answers");
    ok(count(&seen_rpc) > 10, "over JSON-RPC: %u", count(&seen_rpc));
    node_down();
}

static bool
liar(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) keep;
    if (n != 200) {
        return false;
    }
    if (rest) {
        send_rest(fd, stale.raw, stale.len, stale.len);
    } else {
        send_rpc(fd, stale.raw, stale.len);
    }
    return true;
}

static bool
forgetful(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) keep;
    if (n == 200 && rest) {
        fake_http(fd, 404, "", "not found\r\n");
    } else if (n == 200) {
        fake_error(fd, -5, "Block not found");
    }
    return n == 200;
}

static bool
warming(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) n;
    (void) keep;
    if (rest) {
        fake_http(fd, 503, "",
                  "Service temporarily unavailable: Loading block index");
    } else {
        fake_error(fd, -28, "Loading block index");
    }
    return true;
}

static bool
unauthorized(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) n;
    (void) rest;
    (void) keep;
    fake_http(fd, 401, "", "");
    return true;
}

static bool
busy(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) f;
    (void) n;
    (void) rest;
    (void) keep;
    fake_http(fd, 503, "", "Work queue depth exceeded\r\n");
    return true;
}

/* An error with `t`, twice, and then no trouble any more. */
static void
errs(const char *name,
     bool (*t)(struct fake *f, int fd, int n, bool rest, bool *keep), int rc,
     size_t at)
{
    struct source_opts o;
    struct source *s;
    size_t n = 0;

    node_up(t);
    o = opts(SOURCE_REST);
    o.memory = 64 << 20;
    s = start(&o);
    is_int(drain(s, &n), rc, "%s", name);
    source_why(s, why, sizeof(why));
    ok(why[0] != '\0', "%s", why);
    is_int(drain(s, &n), rc, "again");
    is_int(n, at, "before block %zu", at);
    node_down();
    source_stop(s);
}

static void
test_errors(void)
{
    wipe();
    errs("a node that lies", liar, EXI_ENODE, 200);
    errs("a node that lacks a block", forgetful, EXI_ENOTFOUND, 200);
    errs("a node that starts", warming, EXI_EWARMUP, 0);
    errs("wrong password", unauthorized, EXI_EAUTH, 0);
    errs("a node that is busy for ever", busy, EXI_ENET, 0);
}

static atomic_bool down, rest_off;

static bool
maybe_down(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    if (n == 150 && count(&seen_n[n]) == 1) {
        atomic_store(&down, true);
    }
    if (atomic_load(&down)) {
        return *keep = false, true;
    }
    return atomic_load(&rest_off) && no_rest(f, fd, n, rest, keep);
}

/* The node goes away at block 150 and comes back, perhaps without REST. */
static void
restart(bool with_rest)
{
    struct source_opts o;
    struct source *s;
    size_t n = 0, before;

    atomic_store(&down, false);
    node_up(maybe_down);
    o = opts(SOURCE_REST);
    s = start(&o);
    is_int(drain(s, &n), EXI_ENET, "the node is gone");
    before = n;
    ok(n <= 150 && n > 130, "after %zu blocks", n);
    is_int(drain(s, &n), EXI_ENET, "still gone");
    is_int(n, before, "no block more");
    seen_reset(&seen_rpc);
    atomic_store(&rest_off, !with_rest);
    atomic_store(&down, false);
    is_int(drain(s, &n), 0, "it is back");
    is_int(n, BLOCKS, "all blocks, none twice");
    each_done("each right");
    ok(with_rest ? count(&seen_rpc) == 0
                 : count(&seen_rpc) + 20 >= BLOCKS - before,
       "by JSON-RPC: %u", count(&seen_rpc));
    source_stop(s);
    node_down();
    atomic_store(&rest_off, false);
}

static void
test_restart(void)
{
    restart(true);
    restart(false);
}

/* ---- threads ---- */

static unsigned taken[BLOCKS];

struct consumer {
    struct source *s;
    size_t n;
    bool ok;
};

static void *
consume(void *arg)
{
    struct consumer *c = arg;
    struct source_block b;
    uint32_t last = 0;
    int rc;

    c->ok = true;
    while ((rc = source_next(c->s, &b)) == 1) {
        size_t n = b.height - FROM;

        c->ok &= b.height > last && b.rawlen == chain[n].len
                 && memcmp(b.raw, chain[n].raw, b.rawlen) == 0;
        last = b.height;
        __atomic_add_fetch(&taken[n], 1, __ATOMIC_RELAXED);
        c->n++;
        source_give_back(c->s, &b);
    }
    c->ok &= rc == 0;
    return NULL;
}

static void
many(const char *name, const struct source_opts *o)
{
    struct source *s = start(o);
    struct consumer c[6] = { { NULL, 0, false } };
    pthread_t threads[6];
    size_t sum = 0;

    memset(taken, 0, sizeof(taken));
    for (int i = 0; i < 6; i++) {
        c[i].s = s;
        pthread_create(&threads[i], NULL, consume, &c[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        each(c[i].ok, "%s: thread %d", name, i);
        sum += c[i].n;
    }
    for (int i = 0; i < BLOCKS; i++) {
        each(taken[i] == 1, "%s: block %d: %u times", name, i, taken[i]);
    }
    each_done(name);
    is_int(sum, BLOCKS, "all blocks");
    source_stop(s);
}

static void
test_threads(void)
{
    struct source_opts o;

    wipe();
    save_chain(each_fifth);
    node_up(bad_first);
    o = opts(SOURCE_AUTO);
    many("six threads", &o);
    o.memory = 10000;
    many("six threads, 10 KB", &o);
    o.kind = SOURCE_REST;
    o.memory = 64 << 20;
    many("six threads, REST", &o);
    node_down();
}

/* ---- stopping ---- */

static bool
hang(struct fake *f, int fd, int n, bool rest, bool *keep)
{
    (void) fd;
    (void) n;
    (void) rest;
    (void) keep;
    fake_hang(f);
    return false;
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *
waits(void *arg)
{
    struct source_block b;

    return source_next(arg, &b) == EXI_ENET ? arg : NULL;
}

static void
test_stop(void)
{
    struct source_opts o;
    struct source_block b;
    struct source *s;
    pthread_t threads[3];
    void *end;
    int64_t t;

    wipe();
    node_up(hang);
    o = opts(SOURCE_REST);
    o.memory = 64 << 20;
    s = start(&o);
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, waits, s);
    }
    fake_wait_hanging(node, 8);
    t = now_ms();
    source_cancel(s);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &end);
        each(end == s, "thread %d", i);
    }
    each_done("cancelled callers return EXI_ENET");
    is_int(source_next(s, &b), EXI_ENET, "later ones too");
    source_stop(s);
    ok(now_ms() - t < 2000, "all of it in %d ms", (int) (now_ms() - t));
    s = start(&o);
    pthread_create(&threads[0], NULL, waits, s);
    fake_wait_hanging(node, 8);
    t = now_ms();
    source_stop(s);
    pthread_join(threads[0], &end);
    ok(end == s && now_ms() - t < 2000, "stopped with a caller inside");
    node_down();
    save_chain(NULL);
    o = opts(SOURCE_FILES);
    for (int i = 0; i < 20; i++) {
        s = start(&o);
        each(source_next(s, &b) == 1, "a block");
        source_stop(s);
    }
    each_done("stopped at once, a block not given back");
}

int
main(void)
{
    source_test_begin();
    subtest("REST and JSON-RPC", test_node);
    subtest("bad answers", test_bad);
    subtest("errors", test_errors);
    subtest("a node that comes back", test_restart);
    subtest("threads", test_threads);
    subtest("stopping", test_stop);
    source_test_end();
    return done_testing();
}
