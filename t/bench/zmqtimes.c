/*
 * Prints "TIME HASH" (Unix time in seconds, hash as displayed) for each
 * hashblock message of the node at ADDRESS: t/bench/latency.pl's clock.
 */
#include <stdio.h>
#include <time.h>

#include <zmq.h>

int
main(int argc, char **argv)
{
    void *ctx = zmq_ctx_new(), *sock = zmq_socket(ctx, ZMQ_SUB);
    unsigned char topic[16], hash[32], number[8];

    if (argc != 2 || zmq_connect(sock, argv[1]) != 0
        || zmq_setsockopt(sock, ZMQ_SUBSCRIBE, "hashblock", 9) != 0) {
        fprintf(stderr, "zmqtimes: %s\n", zmq_strerror(zmq_errno()));
        return 1;
    }
    while (zmq_recv(sock, topic, sizeof(topic), 0) >= 0
           && zmq_recv(sock, hash, sizeof(hash), 0) == sizeof(hash)) {
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        (void) zmq_recv(sock, number, sizeof(number), 0);
        printf("%lld.%06ld ", (long long) t.tv_sec, t.tv_nsec / 1000);
        for (int i = 0; i < 32; i++) {
            printf("%02x", hash[i]);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
