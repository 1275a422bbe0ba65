/*
 * Watches the node's tip in a thread of its own and wakes the main loop: by the
 * long poll `waitfornewblock` where the node has it, else by polling
 * `getbestblockhash`.
 *
 * A wake-up means "look": the best block may have changed, or the node is back
 * after it did not answer.  It may come for nothing; and with an older node a
 * block can slip in between two long polls and is then told up to
 * NOTIFY_LONG_POLL_MS late: the main loop looks by itself now and then, too.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include "rpc.h"

#define NOTIFY_LONG_POLL_MS 5000

struct notify;

/* poll_ms: between two looks if the node has no long poll.  EXI_EAPI, EXI_EIO,
 * EXI_ENOMEM: why has the sentence. */
int notify_start(struct notify **out, const struct rpc_opts *o,
                 unsigned poll_ms, char *why, size_t whylen) EXI_MUST_CHECK;

/* Ends the thread at once, whatever it waits for; NULL is fine. */
void notify_stop(struct notify *n);

/* An eventfd, readable after a wake-up; owned by n, for poll() and epoll. */
int notify_fd(const struct notify *n);

/* Makes it unreadable again: call before looking.  Returns whether it was
 * readable. */
bool notify_clear(struct notify *n);

#endif /* NOTIFY_H */
