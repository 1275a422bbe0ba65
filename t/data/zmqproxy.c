/*
 * Passes the node's ZMQ messages on: zmqproxy FROM TO (addresses).  Lines on
 * stdin: "pass", "drop" (messages are lost), "lose N" (the next N are),
 * "repeat" (the next one comes twice).  t/515-zmq.t compiles and uses it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

static long lose;
static int drop, repeat;

static int
command(void)
{
    char line[64];

    if (fgets(line, sizeof(line), stdin) == NULL) {
        return -1;
    }
    if (strncmp(line, "lose ", 5) == 0) {
        lose = atol(line + 5);
    } else if (strncmp(line, "repeat", 6) == 0) {
        repeat = 1;
    } else {
        drop = strncmp(line, "drop", 4) == 0;
    }
    printf("ok %s", line);
    fflush(stdout);
    return 0;
}

/* One message of three parts. */
static void
pass(void *from, void *to)
{
    char part[3][512];
    int len[3], times = 1;

    for (int i = 0; i < 3; i++) {
        len[i] = zmq_recv(from, part[i], sizeof(part[i]), 0);
    }
    if (drop || lose > 0) {
        lose -= lose > 0;
        return;
    }
    times += repeat;
    repeat = 0;
    while (times-- > 0) {
        for (int i = 0; i < 3; i++) {
            zmq_send(to, part[i], (size_t) len[i], i < 2 ? ZMQ_SNDMORE : 0);
        }
    }
}

int
main(int argc, char **argv)
{
    void *ctx = zmq_ctx_new();
    void *from = zmq_socket(ctx, ZMQ_SUB), *to = zmq_socket(ctx, ZMQ_PUB);

    if (argc != 3 || zmq_connect(from, argv[1]) != 0
        || zmq_setsockopt(from, ZMQ_SUBSCRIBE, "", 0) != 0
        || zmq_bind(to, argv[2]) != 0) {
        fprintf(stderr, "zmqproxy: %s\n", zmq_strerror(zmq_errno()));
        return 1;
    }
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        zmq_pollitem_t p[2] = { { from, -1, ZMQ_POLLIN, 0 },
                                { NULL, STDIN_FILENO, ZMQ_POLLIN, 0 } };

        if (zmq_poll(p, 2, -1) < 0) {
            return 0;
        }
        if (p[1].revents != 0 && command() != 0) {
            return 0;
        }
        if (p[0].revents != 0) {
            pass(from, to);
        }
    }
}
