/*
 * The subscribed socket of feed.c: libzmq, and what replaces it where it was
 * not there to build with.  For feed.c only; one thread.
 */
#ifndef FEED_ZMQ_H
#define FEED_ZMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"

struct feed_sock;

/* One message of three parts; longer parts are cut, which no topic has. */
struct feed_msg {
    char topic[16];
    uint8_t body[64];
    uint8_t number[8];
    size_t topiclen, bodylen, numberlen;
};

enum feed_news {
    FEED_NEWS_NONE, /* time is over, or stop_fd is readable */
    FEED_NEWS_MESSAGE,
    FEED_NEWS_LINK /* a connection came or went */
};

/* Is it built in? */
bool feed_sock_there(void);

/* A socket without connections.  NULL: why (of whylen bytes) says what is
 * wrong. */
struct feed_sock *feed_sock_new(char *why, size_t whylen);
void feed_sock_free(struct feed_sock *s);

/* Connects (in the background, again and again) and subscribes. */
int feed_sock_connect(struct feed_sock *s, const char *address) EXI_MUST_CHECK;
int feed_sock_subscribe(struct feed_sock *s, const char *topic) EXI_MUST_CHECK;

/* Waits for up to ms. */
enum feed_news feed_sock_wait(struct feed_sock *s, int stop_fd, long ms,
                              struct feed_msg *m);

#endif /* FEED_ZMQ_H */
