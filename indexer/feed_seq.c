/*
 * Reading the node's ZMQ messages and their numbers (feed_seq.h).
 *
 * Is anything missing between the comparison (number n) and the events?  Not
 * when the first event since the last loss has a number <= n: the stream began
 * before the list was read.  Otherwise what came in between was missed, or was
 * a block's; one more comparison tells, and is read when the stream has begun.
 */
#include "feed_seq.h"

#include <string.h>

#include "lib/exi_bytes.h"

#define NUMBER_LEN 4
#define LABEL_AT   EXI_HASH_LEN
#define MEMPOOL_AT (LABEL_AT + 1)

/* Hashes are sent as they are displayed. */
static void
take_hash(struct exi_txid *out, const uint8_t *body)
{
    for (size_t i = 0; i < EXI_HASH_LEN; i++) {
        out->b[i] = body[EXI_HASH_LEN - 1 - i];
    }
}

static bool
is_topic(const void *topic, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(topic, name, len) == 0;
}

static int
read_sequence(const uint8_t *body, size_t len, struct feed_event *e)
{
    if (len <= LABEL_AT) {
        return EXI_EFORMAT;
    }
    take_hash(&e->txid, body);
    switch (body[LABEL_AT]) {
    case 'C':
    case 'D':
        e->kind = FEED_BLOCK;
        return len == MEMPOOL_AT ? EXI_OK : EXI_EFORMAT;
    case 'A':
    case 'R':
        if (len != MEMPOOL_AT + 8) {
            return EXI_EFORMAT;
        }
        e->kind = body[LABEL_AT] == 'A' ? FEED_ADD : FEED_REMOVE;
        e->number = exi_le64(body + MEMPOOL_AT);
        return EXI_OK;
    }
    return EXI_EFORMAT;
}

static int
read_hash(const uint8_t *body, size_t len, enum feed_kind kind,
          struct feed_event *e)
{
    if (len != EXI_HASH_LEN) {
        return EXI_EFORMAT;
    }
    take_hash(&e->txid, body);
    e->kind = kind;
    return EXI_OK;
}

int
feed_read(struct feed_counts *c, const void *topic, size_t topiclen,
          const uint8_t *body, size_t bodylen, const uint8_t *number,
          size_t numberlen, struct feed_event *e, bool *lost)
{
    uint32_t n;
    int rc, i;

    e->number = 0;
    if (numberlen != NUMBER_LEN) {
        return EXI_EFORMAT;
    }
    if (is_topic(topic, topiclen, "sequence")) {
        i = 0;
        rc = read_sequence(body, bodylen, e);
    } else if (is_topic(topic, topiclen, "hashblock")) {
        i = 1;
        rc = read_hash(body, bodylen, FEED_BLOCK, e);
    } else if (is_topic(topic, topiclen, "hashtx")) {
        i = 2;
        rc = read_hash(body, bodylen, FEED_TX, e);
    } else {
        return EXI_ENOTFOUND;
    }
    if (rc == EXI_OK) {
        n = exi_le32(number);
        *lost = c->known[i] && n != c->next[i];
        c->known[i] = true;
        c->next[i] = n + 1;
    }
    return rc;
}

static void
judge(struct feed_track *t)
{
    t->whole = t->compared && (!t->first_seen || t->first <= t->at);
}

enum feed_fit
feed_track_event(struct feed_track *t, const struct feed_event *e)
{
    if (e->kind == FEED_LOST) {
        memset(t, 0, sizeof(*t));
        return FEED_SKIP;
    }
    if (e->kind != FEED_ADD && e->kind != FEED_REMOVE) {
        return FEED_APPLY;
    }
    if (t->first_seen && e->number <= t->last) {
        /* the node began to count anew */
        memset(t, 0, sizeof(*t));
    }
    t->last = e->number;
    if (!t->first_seen) {
        t->first_seen = true;
        t->first = e->number;
        judge(t);
    }
    return t->compared && e->number < t->at ? FEED_SKIP : FEED_APPLY;
}

void
feed_track_compared(struct feed_track *t, uint64_t at)
{
    t->compared = true;
    t->at = at;
    judge(t);
}

bool
feed_track_due(const struct feed_track *t)
{
    return !t->whole;
}
