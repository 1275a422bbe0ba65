/*
 * feed_seq.h: what the node's ZMQ messages say, what was missed; feed.h: where
 * to connect to.  The track is also held against a node made up at random.
 */
#include "feed.h"

#include <stdlib.h>

#include "rnd.h"
#include "tap.h"

#include "lib/exi_bytes.h"

static struct feed_counts counts;
static bool lost;

/* One message: label 0 = none; the hash is 32 bytes from 1 on. */
static int
message(const char *topic, char label, size_t extra, uint64_t number,
        uint32_t n, struct feed_event *e)
{
    uint8_t body[64], count[4];
    size_t len = 32;

    for (uint8_t i = 0; i < 32; i++) {
        body[i] = (uint8_t) (i + 1);
    }
    if (label != 0) {
        body[len++] = (uint8_t) label;
    }
    exi_put_le64(body + len, number);
    len += extra;
    exi_put_le32(count, n);
    lost = false;
    return feed_read(&counts, topic, strlen(topic), body, len, count, 4, e,
                     &lost);
}

static void
test_read(void)
{
    struct feed_event e = { .kind = FEED_LOST };

    is_int(message("sequence", 'A', 8, 77, 5, &e), EXI_OK, "addition");
    ok(e.kind == FEED_ADD && e.number == 77 && !lost, "kind and number");
    ok(e.txid.b[0] == 32 && e.txid.b[31] == 1, "the hash is turned round");
    is_int(message("sequence", 'R', 8, 78, 6, &e), EXI_OK, "removal");
    ok(e.kind == FEED_REMOVE && !lost, "next one");
    is_int(message("sequence", 'C', 0, 0, 8, &e), EXI_OK, "block");
    ok(e.kind == FEED_BLOCK && lost, "one is missing");
    is_int(message("sequence", 'D', 0, 0, 9, &e), EXI_OK, "undone");
    ok(e.kind == FEED_BLOCK && !lost, "and goes on from there");
    is_int(message("hashblock", 0, 0, 0, 3, &e), EXI_OK, "hashblock");
    ok(e.kind == FEED_BLOCK && !lost, "has its own numbers");
    is_int(message("hashtx", 0, 0, 0, 3, &e), EXI_OK, "hashtx");
    ok(e.kind == FEED_TX && !lost, "as well");
    is_int(message("sequence", 'D', 0, 0, 0, &e), EXI_OK, "from 0 again");
    ok(lost, "the node began anew");
    is_int(message("sequence", 'D', 0, 0, UINT32_MAX, &e), EXI_OK, "the last");
    is_int(message("sequence", 'D', 0, 0, 0, &e), EXI_OK, "and the first");
    ok(!lost, "32 bits go round");
    is_int(message("sequence", 'A', 7, 1, 1, &e), EXI_EFORMAT, "too short");
    is_int(message("sequence", 'C', 8, 1, 1, &e), EXI_EFORMAT, "too long");
    is_int(message("sequence", 'X', 8, 1, 1, &e), EXI_EFORMAT, "label");
    is_int(message("sequence", 0, 0, 1, 1, &e), EXI_EFORMAT, "no label");
    is_int(message("hashtx", 'A', 0, 1, 1, &e), EXI_EFORMAT, "hashtx");
    is_int(message("rawtx", 0, 0, 1, 1, &e), EXI_ENOTFOUND, "another topic");
    is_int(
        feed_read(&counts, "hashtx", 6, e.txid.b, 32, e.txid.b, 3, &e, &lost),
        EXI_EFORMAT, "short number");
    is_int(message("sequence", 'D', 0, 0, 1, &e), EXI_OK, "still counted on");
    ok(!lost, "a bad message does not count");
}

static enum feed_fit
event(struct feed_track *t, enum feed_kind kind, uint64_t number)
{
    struct feed_event e = { .kind = kind, .number = number };

    return feed_track_event(t, &e);
}

static void
test_track(void)
{
    struct feed_track t = { .at = 0 };

    ok(feed_track_due(&t), "at first there is nothing");
    feed_track_compared(&t, 10);
    ok(!feed_track_due(&t), "compared");
    is_int(event(&t, FEED_ADD, 8), FEED_SKIP, "older than the list");
    is_int(event(&t, FEED_REMOVE, 10), FEED_APPLY, "the first that is not");
    ok(!feed_track_due(&t), "nothing is missing");
    is_int(event(&t, FEED_ADD, 14), FEED_APPLY, "a block took some numbers");
    ok(!feed_track_due(&t), "that is no loss");
    is_int(event(&t, FEED_BLOCK, 0), FEED_APPLY, "a block");
    is_int(event(&t, FEED_LOST, 0), FEED_SKIP, "a loss");
    ok(feed_track_due(&t), "compare");
    feed_track_compared(&t, 20);
    ok(!feed_track_due(&t), "compared");
    is_int(event(&t, FEED_ADD, 22), FEED_APPLY, "begins after the list");
    ok(feed_track_due(&t), "what was in between may be missing");
    feed_track_compared(&t, 23);
    ok(!feed_track_due(&t), "not after another list");
    is_int(event(&t, FEED_ADD, 3), FEED_APPLY, "the node counts anew");
    ok(feed_track_due(&t), "compare");
}

/*
 * A node with 64 transactions; messages get lost, blocks take transactions
 * without one.  Whenever the track says that events do, our set must be the
 * node's.
 */
static void
test_random(void)
{
    unsigned whole = 0, wrong = 0;

    for (int round = 0; round < 300; round++) {
        struct feed_track t = { .at = 0 };
        uint64_t node = 0, ours = 0, number = 1;

        for (int step = 0; step < 200; step++) {
            unsigned i = (unsigned) (rnd() % 64), what = rnd() % 40;
            bool in = (node >> i & 1) != 0;

            if (what == 0) {
                event(&t, FEED_LOST, 0);
                node ^= 1ull << i;
                number++;
            } else if (what == 1 && in) {
                node ^= 1ull << i; /* by a block, which we connect */
                ours &= ~(1ull << i);
                number++;
            } else {
                node ^= 1ull << i;
                if (event(&t, in ? FEED_REMOVE : FEED_ADD, number++)
                    == FEED_APPLY) {
                    ours = in ? ours & ~(1ull << i) : ours | 1ull << i;
                }
            }
            if (feed_track_due(&t) && rnd() % 3 == 0) {
                ours = node;
                feed_track_compared(&t, number);
            }
            if (!feed_track_due(&t)) {
                whole++;
                wrong += ours != node;
            }
        }
    }
    is_int(wrong, 0, "events alone keep the set");
    ok(whole > 10000, "%u times", whole);
}

static void
address(const char *bound, const char *base, const char *want)
{
    char out[FEED_ADDRESS_MAX] = "";
    bool can = feed_address(out, bound, base);

    if (want == NULL) {
        ok(!can, "%s from %s: not", bound, base);
    } else {
        ok(can, "%s from %s", bound, base);
        is_str(out, want, "address");
    }
}

static void
test_address(void)
{
    const char *here = "http://127.0.0.1:8332", *there = "http://node:8332";

    address("tcp://127.0.0.1:28332", here, "tcp://127.0.0.1:28332");
    address("tcp://0.0.0.0:28332", here, "tcp://127.0.0.1:28332");
    address("tcp://*:28332", there, "tcp://node:28332");
    address("tcp://[::]:28332", "http://[2001:db8::1]:8332",
            "tcp://[2001:db8::1]:28332");
    address("tcp://127.0.0.1:28332", there, NULL);
    address("tcp://[::1]:28332", there, NULL);
    address("tcp://192.0.2.7:28332", there, "tcp://192.0.2.7:28332");
    address("ipc:///run/zmq", here, "ipc:///run/zmq");
    address("ipc:///run/zmq", there, NULL);
    address("udp://127.0.0.1:1", here, NULL);
}

int
main(void)
{
    rnd_init();
    test_read();
    test_track();
    test_random();
    test_address();
    return done_testing();
}
