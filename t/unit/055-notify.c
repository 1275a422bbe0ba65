/*
 * notify.h: wakes for each change of the tip, with the long poll of newer and
 * older nodes and without one; stops at once.
 */
#include "notify.h"

#include <poll.h>
#include <time.h>

#include "fakehttp.h"
#include "tap.h"

/* What the node knows and has. */
enum long_poll {
    NONE,
    PLAIN,
    NAMES_TIP
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum long_poll has;
    unsigned tip; /* 2 digits of the hash */
    bool down;
    bool hasty; /* long polls return at once */
    unsigned long_polls;
    unsigned looks;
    bool gone; /* the test is over */
} node = { .mutex = PTHREAD_MUTEX_INITIALIZER,
           .changed = PTHREAD_COND_INITIALIZER };

static char why[512];

static void
answer_tip(int fd, bool object)
{
    char text[256];
    char hash[65];

    memset(hash, '0', 64);
    hash[64] = '\0';
    snprintf(hash + 62, 3, "%02u", node.tip);
    snprintf(text, sizeof(text),
             object ? "{\"hash\":\"%s\",\"height\":1}" : "\"%s\"", hash);
    fake_result(fd, text);
}

/* Call with the mutex held; false: stopped. */
static bool
wait_for_block(const char *known)
{
    unsigned before = node.tip;

    node.long_polls++;
    pthread_cond_broadcast(&node.changed);
    if (known != NULL) {
        before = (unsigned) atoi(known + 62);
    }
    while (node.tip == before && !node.gone && !node.down && !node.hasty) {
        pthread_cond_wait(&node.changed, &node.mutex);
    }
    return !node.gone && !node.down;
}

static bool
node_long_poll(int fd, json_t *params)
{
    const char *known = json_string_value(json_array_get(params, 1));

    if (node.has == NONE) {
        fake_error(fd, -32601, "Method not found");
        return true;
    }
    if (known != NULL && node.has == PLAIN) {
        fake_error(fd, -1, "waitfornewblock ( timeout )");
        return true;
    }
    if (!wait_for_block(known)) {
        return false;
    }
    answer_tip(fd, true);
    return true;
}

static bool
node_answer(struct fake *f, int fd, const struct fake_request *q)
{
    json_t *body = json_loads(q->body, 0, NULL);
    const char *method = json_string_value(json_object_get(body, "method"));
    bool go = true;

    (void) f;
    pthread_mutex_lock(&node.mutex);
    if (node.down) {
        go = false;
    } else if (strcmp(method, "waitfornewblock") == 0) {
        go = node_long_poll(fd, json_object_get(body, "params"));
    } else {
        node.looks++;
        answer_tip(fd, false);
    }
    pthread_mutex_unlock(&node.mutex);
    json_decref(body);
    return go;
}

static void
node_begin(enum long_poll has)
{
    pthread_mutex_lock(&node.mutex);
    node.has = has;
    node.tip = 1;
    node.down = node.gone = node.hasty = false;
    node.long_polls = node.looks = 0;
    pthread_mutex_unlock(&node.mutex);
}

static void
node_set(unsigned tip, bool down, bool hasty, bool gone)
{
    pthread_mutex_lock(&node.mutex);
    node.tip = tip;
    node.down = down;
    node.hasty = hasty;
    node.gone = gone;
    pthread_cond_broadcast(&node.changed);
    pthread_mutex_unlock(&node.mutex);
}

static void
wait_long_poll(unsigned n)
{
    pthread_mutex_lock(&node.mutex);
    while (node.long_polls < n) {
        pthread_cond_wait(&node.changed, &node.mutex);
    }
    pthread_mutex_unlock(&node.mutex);
}

static unsigned
long_polls(void)
{
    unsigned n;

    pthread_mutex_lock(&node.mutex);
    n = node.long_polls;
    pthread_mutex_unlock(&node.mutex);
    return n;
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool
woken(struct notify *n, int ms)
{
    struct pollfd p = { .fd = notify_fd(n), .events = POLLIN };

    return poll(&p, 1, ms) == 1 && notify_clear(n);
}

static struct notify *
start(struct fake *f, unsigned poll_ms)
{
    char url[64];
    struct rpc_opts o = { .urls = url };
    struct notify *n = NULL;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", f->port);
    if (notify_start(&n, &o, poll_ms, why, sizeof(why)) != EXI_OK) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    return n;
}

static void
stop(struct notify *n, struct fake *f)
{
    int64_t begin = now_ms();

    notify_stop(n);
    ok(now_ms() - begin < 400, "stopped at once: %d ms",
       (int) (now_ms() - begin));
    node_set(0, false, false, true);
    fake_stop(f);
}

static void
follow(enum long_poll has)
{
    struct fake *f;
    struct notify *n;

    node_begin(has);
    f = fake_start(node_answer, NULL);
    n = start(f, 50);
    ok(woken(n, 5000), "first look");
    ok(!woken(n, 150), "then silence");
    if (has != NONE) {
        wait_long_poll(1);
    }
    node_set(2, false, false, false);
    ok(woken(n, 5000), "a block");
    if (has != NONE) {
        wait_long_poll(2);
    }
    node_set(3, false, false, false);
    ok(woken(n, 5000), "another one");
    ok(!woken(n, 150), "silence");
    stop(n, f);
}

static void
test_names_tip(void)
{
    follow(NAMES_TIP);
}

static void
test_plain(void)
{
    follow(PLAIN);
}

static void
test_polling(void)
{
    follow(NONE);
}

static void
test_down(void)
{
    struct fake *f;
    struct notify *n;

    node_begin(NAMES_TIP);
    node_set(1, true, false, false);
    f = fake_start(node_answer, NULL);
    n = start(f, 50);
    ok(!woken(n, 300), "the node does not answer");
    node_set(1, false, false, false);
    ok(woken(n, 5000), "it is there");
    wait_long_poll(1);
    node_set(1, true, false, false);
    ok(!woken(n, 300), "gone again");
    node_set(1, false, false, false);
    ok(woken(n, 5000), "back, with the same tip");
    node_set(1, true, false, false);
    ok(!woken(n, 100), "stopped while it is away");
    stop(n, f);
}

static void
test_hasty(void)
{
    struct fake *f;
    struct notify *n;
    unsigned polls;

    node_begin(NAMES_TIP);
    node_set(1, false, true, false);
    f = fake_start(node_answer, NULL);
    n = start(f, 50);
    ok(woken(n, 5000), "first look");
    ok(!woken(n, 600), "no news");
    polls = long_polls();
    ok(polls > 0 && polls < 6, "%u long polls that end at once in 0.6 s",
       polls);
    stop(n, f);
}

static void
test_refused(void)
{
    struct rpc_opts o = { .urls = "ftp://h" };
    struct notify *n = NULL;

    is_int(notify_start(&n, &o, 50, why, sizeof(why)), EXI_EAPI, "bad URL");
    ok(strstr(why, "daemon_url") != NULL, "says: %s", why);
    notify_stop(NULL);
}

int
main(void)
{
    subtest("long poll that takes the tip", test_names_tip);
    subtest("plain long poll", test_plain);
    subtest("polling", test_polling);
    subtest("node away", test_down);
    subtest("long poll that ends at once", test_hasty);
    subtest("refused", test_refused);
    return done_testing();
}
