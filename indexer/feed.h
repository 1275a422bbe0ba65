/*
 * What the node tells by ZMQ, received in a thread of its own: new blocks, and
 * transactions that come and go.  Finds the addresses by `getzmqnotifications`,
 * looks for them again now and then, and goes on without when there are none:
 * then the tip is watched by notify.h and the mempool compared.
 *
 * Nothing depends on the messages to be complete: what is lost is noticed by
 * numbers (feed_seq.h) or told as FEED_LOST, and a mempool that differs without
 * a message is noticed by the main loop.
 */
#ifndef FEED_H
#define FEED_H

#include "feed_seq.h"
#include "rpc.h"

struct feed;

#define FEED_ADDRESS_MAX 256

/*
 * setting: "auto" or addresses separated by commas ("tcp://host:port").
 * EXI_ENOTREADY: built without ZMQ; EXI_EAPI, EXI_EIO, EXI_ENOMEM; why (of
 * whylen bytes) has the sentence.
 */
int feed_start(struct feed **out, const struct rpc_opts *o, const char *setting,
               char *why, size_t whylen) EXI_MUST_CHECK;

/* Ends the thread at once; NULL is fine. */
void feed_stop(struct feed *f);

/* An eventfd, readable when there are events; for poll(). */
int feed_fd(const struct feed *f);

/*
 * Takes all events, in order; *out is the caller's to free().  Returns how many
 * (0: *out is NULL).  Call it before the node is asked about what they say.
 */
size_t feed_take(struct feed *f, struct feed_event **out);

/* Topics (bits of feed_seq.h) that are listened to now; 0: none.  Any thread. */
unsigned feed_topics(const struct feed *f);

/*
 * Where to connect to, for an address that the node says it is bound to; base:
 * "http://host:port" of its RPC.  A wildcard becomes the RPC's host.  False:
 * it can't be reached (loopback or ipc of another machine), or is too long.
 */
bool feed_address(char out[FEED_ADDRESS_MAX], const char *address,
                  const char *base);

#endif /* FEED_H */
