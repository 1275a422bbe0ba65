/*
 * The node's ZMQ messages: what one says, and whether any were missed.  Pure:
 * no socket, no clock.
 *
 * Each topic numbers its messages (4 bytes LE, from 0 at the node's start): a
 * jump is a loss.  Topic `sequence` also carries the mempool's own number of
 * each addition and removal, which getrawmempool tells too: a list read at
 * number n has all before n, and what follows are the messages from n on.
 * (Confirmed transactions take numbers without a message, so a jump of these
 * alone is no loss.)
 */
#ifndef FEED_SEQ_H
#define FEED_SEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"
#include "lib/exi_types.h"

enum feed_kind {
    FEED_ADD,    /* a transaction came into the mempool */
    FEED_REMOVE, /* one left it, not by a block */
    FEED_TX,     /* one came into the mempool or a block (topic hashtx) */
    FEED_BLOCK,  /* the best block changed */
    FEED_LOST    /* messages may be missing from here on */
};

/* Topics, as bits. */
#define FEED_SEQUENCE  1u
#define FEED_HASHBLOCK 2u
#define FEED_HASHTX    4u

struct feed_event {
    enum feed_kind kind;
    struct exi_txid txid; /* ADD, REMOVE, TX */
    uint64_t number;      /* ADD, REMOVE: the mempool's */
};

/* Where the numbering of each topic is. */
struct feed_counts {
    bool known[3];
    uint32_t next[3];
};

/*
 * Reads one message of three parts.  *lost: the topic's number is not the one
 * that was expected.  EXI_OK; EXI_ENOTFOUND: a topic that is not known;
 * EXI_EFORMAT.
 */
int feed_read(struct feed_counts *c, const void *topic, size_t topiclen,
              const uint8_t *body, size_t bodylen, const uint8_t *number,
              size_t numberlen, struct feed_event *e,
              bool *lost) EXI_MUST_CHECK;

/* How events fit the last comparison with the node's list. */
struct feed_track {
    bool compared;   /* there was one since the last loss */
    uint64_t at;     /* its number: what it has is before */
    bool whole;      /* nothing was missed since then: events alone do */
    bool first_seen; /* an event with a number came since the last loss ... */
    uint64_t first;  /* ... this one */
    uint64_t last;   /* number of the last one */
};

enum feed_fit {
    FEED_APPLY, /* do what the event says */
    FEED_SKIP   /* the comparison had it already */
};

/* Takes in an event (kinds ADD, REMOVE and LOST matter). */
enum feed_fit feed_track_event(struct feed_track *t,
                               const struct feed_event *e);

/* Takes in a comparison with a list of number `at`. */
void feed_track_compared(struct feed_track *t, uint64_t at);

/* Is a comparison needed? */
bool feed_track_due(const struct feed_track *t);

#endif /* FEED_SEQ_H */
