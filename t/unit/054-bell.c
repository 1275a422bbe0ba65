/*
 * bell.h: the socket protocol of docs/index-format.md section 7: connections,
 * frames, state and bell, workers that are slow, gone or wrong.
 */
#include "bellrun.h"

static void
refuse(const char *where, const char *url, int rc, const char *part)
{
    struct rpc_opts r = { .urls = url };
    struct bell_opts o = { .path = where, .mode = 0600, .rpc = &r };
    struct bell *b = NULL;

    is_int(bell_start(&b, &o, why, sizeof(why)), rc, "refused: %s", part);
    ok(strstr(why, part) != NULL, "says: %s", why);
}

static void
test_socket(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    char moved[80];
    int fd;
    struct stat st;

    ok(stat(path, &st) == 0 && S_ISSOCK(st.st_mode), "there");
    is_int(st.st_mode & 0777, 0600, "its permissions");
    snprintf(moved, sizeof(moved), "%s.moved", path);
    ok(rename(path, moved) == 0, "moved away");
    bell_stop(b);
    ok(stat(moved, &st) == 0, "a socket of another name is left alone");
    ok(rename(moved, path) == 0, "left over, as by a killed indexer");
    b = start(f, 0, 0);
    fd = dial();
    ok(fd >= 0, "replaced");
    close(fd);
    bell_stop(b);
    ok(stat(path, &st) != 0, "removed");
    bell_stop(NULL);
    fake_stop(f);
}

static void
test_refused(void)
{
    char name[200];
    FILE *file;

    snprintf(name, sizeof(name), "%s/none/socket", dir);
    refuse(name, "http://h", EXI_EIO, "none/socket: No such file");
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    refuse(name, "http://h", EXI_EIO, "too long for a socket");
    file = fopen(path, "we");
    fclose(file);
    refuse(path, "http://h", EXI_EIO, "is there and not a socket");
    unlink(path);
    refuse(path, "ftp://h", EXI_EAPI, "daemon_url, URL 1");
    ok(access(path, F_OK) != 0, "nothing is left behind");
}

static void
test_news(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int one = worker(), two;

    ok(wait_workers(b, 1), "a worker");
    bell_state(b, "{\"state\":\"syncing\"}", 19);
    is_state(one, "{\"state\":\"syncing\"}");
    bell_ring(b, 0x0102030405060708, 5);
    is_bell(one, 0x0102030405060708, 5);
    two = worker();
    is_state(two, "{\"state\":\"syncing\"}");
    is_bell(two, 0x0102030405060708, 5);
    ok(wait_workers(b, 2), "two workers");
    bell_ring(b, 1, 6);
    is_bell(one, 1, 6);
    is_bell(two, 1, 6);
    close(one);
    ok(wait_workers(b, 1), "one left");
    bell_state(b, "{}", 2);
    is_state(two, "{}");
    close(two);
    bell_stop(b);
    fake_stop(f);
}

/* A worker that does not read for a while gets few bells, the last one right. */
static void
test_joined(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker();
    uint64_t seq = 0, last;
    unsigned bells = 0;
    bool rising = true;

    ok(wait_workers(b, 1), "a worker");
    for (uint64_t i = 1; i <= 200000; i++) {
        bell_ring(b, 1, i);
    }
    while (seq != 200000) {
        uint8_t *body;
        size_t len;

        if (get_frame(fd, &body, &len) != 'B') {
            free(body);
            break;
        }
        last = seq;
        seq = exi_le64(body + 8);
        rising &= seq > last;
        bells++;
        free(body);
    }
    is_int(seq, 200000, "the last one came");
    ok(rising, "in order");
    ok(bells < 100000, "%u bells", bells);
    close(fd);
    bell_stop(b);
    fake_stop(f);
}

static void
test_deadline(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 300);
    int fd = worker();
    int64_t begin = now_ms();

    put_call(fd, 1, "broadcast", "[\"hang\"]");
    put_call(fd, 2, "mempoolinfo", "[]");
    is_reply(fd, 1, 1,
             "{\"code\":2,\"message\":\"the node did not answer in time\"}",
             "under way");
    is_reply(fd, 2, 1,
             "{\"code\":2,\"message\":\"the node did not answer in time\"}",
             "waiting");
    ok(now_ms() - begin >= 300 && now_ms() - begin < 3000, "took %d ms",
       (int) (now_ms() - begin));
    fake_release(f, true);
    is_call(fd, "estimatefee", "[6]", 0, "0.00001");
    ok(!node_count("getmempoolinfo"), "the one that waited was not asked");
    fake_release(f, false);
    put_call(fd, 3, "broadcast", "[\"hang\"]");
    fake_wait_hanging(f, 1);
    begin = now_ms();
    bell_stop(b);
    ok(now_ms() - begin < 1000, "stops at once: %d ms",
       (int) (now_ms() - begin));
    close(fd);
    fake_stop(f);
}

static void
test_busy(void)
{
    static const char busy[] = "{\"code\":-102,\"message\":\"server busy\"}";
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 0);
    int fds[5];
    unsigned replies = 0;

    node_set(0, 0, true);
    for (int w = 0; w < 5; w++) {
        fds[w] = worker();
        for (uint64_t i = 0; i < 256 && w < 4; i++) {
            put_call(fds[w], i, "mempoolinfo", "[]");
        }
    }
    put_call(fds[0], 999, "mempoolinfo", "[]");
    is_reply(fds[0], 999, 1, busy, "257th of a worker");
    fake_wait_hanging(f, 1);
    for (int w = 0; w < 4; w++) { /* a reply shows that all before was read */
        put_call(fds[w], 999, "mempoolinfo", "[]");
        is_reply(fds[w], 999, 1, busy, "all are in");
    }
    put_call(fds[4], 1, "mempoolinfo", "[]"); /* 1 under way, 1,023 wait */
    put_call(fds[4], 2, "mempoolinfo", "[]");
    is_reply(fds[4], 2, 1, busy, "1,025th that waits");
    node_set(0, 0, false);
    fake_release(f, true);
    is_reply(fds[4], 1, 0, "{\"mempoolminfee\":0.00001,\"total_fee\":0.0}",
             "the one before it");
    for (int w = 0; w < 4; w++) {
        uint8_t *body;
        size_t len;

        for (int i = 0; i < 256; i++) {
            replies += get_frame(fds[w], &body, &len) == 'R' && body[8] == 0;
            free(body);
        }
    }
    is_int(replies, 1024, "all others are answered");
    for (int w = 0; w < 5; w++) {
        close(fds[w]);
    }
    bell_stop(b);
    fake_stop(f);
}

static void
test_unread(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int fd = worker(), other = worker();
    uint8_t *body;
    size_t len;
    unsigned replies = 0;

    ok(wait_workers(b, 2), "two workers");
    for (uint64_t i = 0; i < 40; i++) {
        put_call(fd, i, "networkinfo", "[]");
    }
    ok(wait_workers(b, 1), "the one that does not read is dropped");
    while (get_frame(fd, &body, &len) == 'R') {
        replies++;
        free(body);
    }
    free(body);
    ok(replies < 30, "%u of 40 MB", replies);
    put_call(other, 1, "networkinfo", "[]");
    ok(get_frame(other, &body, &len) == 'R' && len == ((1u << 20) + 11),
       "the other is served");
    free(body);
    close(fd);
    close(other);
    bell_stop(b);
    fake_stop(f);
}

/* What a worker gone leaves behind: only broadcasts are still carried out. */
static void
test_gone(void)
{
    const struct timespec pause = { 0, 2000000 };
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 1, 0);
    int fd = worker(), other = worker();

    put_call(fd, 1, "broadcast", "[\"hang\"]");
    put_call(fd, 2, "mempoolinfo", "[]");
    put_call(fd, 3, "broadcast", "[\"beef\"]");
    fake_wait_hanging(f, 1);
    ok(wait_workers(b, 2), "two workers");
    close(fd);
    ok(wait_workers(b, 1), "one is gone");
    fake_release(f, true);
    is_call(other, "estimatefee", "[6]", 0, "0.00001");
    for (int i = 0; i < 1000 && !node_count("[\"beef\"]"); i++) {
        nanosleep(&pause, NULL);
    }
    ok(node_saw("sendrawtransaction [\"beef\"]"), "the broadcast went out");
    is_int(node_count("getmempoolinfo"), 0, "the question did not");
    close(other);
    bell_stop(b);
    fake_stop(f);
}

static void
test_malformed(void)
{
    struct fake *f = fake_start(node_answer, NULL);
    struct bell *b = start(f, 0, 0);
    int good = worker(), fd;
    char hello[13] = "\x09\0\0\0H\x01\0\0\0\x05\0\0\0";

    ok(wait_workers(b, 1), "a good one");
    fd = dial();
    fake_send(fd, "\0\0\0\0", 4);
    ok(hung_up(fd), "empty frame");
    close(fd);
    fd = dial();
    fake_send(fd, "\x01\0\0\x01", 4);
    ok(hung_up(fd), "frame of 16 MB and a byte");
    close(fd);
    fd = dial();
    put_hello(fd, 2);
    ok(hung_up(fd), "another protocol");
    close(fd);
    fd = dial();
    put_frame(fd, 'H', "abc", 3);
    ok(hung_up(fd), "short hello");
    close(fd);
    fd = dial();
    put_call(fd, 1, "mempoolinfo", "[]");
    ok(hung_up(fd), "call before hello");
    close(fd);
    fd = worker();
    put_hello(fd, 1);
    ok(hung_up(fd), "hello twice");
    close(fd);
    fd = worker();
    put_frame(fd, 'C', "12345678\x20name", 13);
    ok(hung_up(fd), "name longer than the frame");
    close(fd);
    fd = worker();
    put_frame(fd, 'X', "", 0);
    ok(hung_up(fd), "unknown type");
    close(fd);
    fd = dial();
    for (size_t i = 0; i < sizeof(hello); i++) {
        fake_send(fd, hello + i, 1);
    }
    ok(wait_workers(b, 2), "byte by byte");
    is_call(fd, "estimatefee", "[6]", 0, "0.00001");
    is_call(good, "estimatefee", "[6]", 0, "0.00001");
    close(fd);
    close(good);
    bell_stop(b);
    fake_stop(f);
}

static void
all(void)
{
    subtest("socket", test_socket);
    subtest("refused", test_refused);
    subtest("state and bell", test_news);
    subtest("joined bells", test_joined);
    subtest("deadline", test_deadline);
    subtest("busy", test_busy);
    subtest("worker that does not read", test_unread);
    subtest("worker gone", test_gone);
    subtest("malformed frames", test_malformed);
}

int
main(void)
{
    return bell_main(all);
}
