/*
 * Phase join: inputs that did not find their output in the table meet it here.
 *
 * A partition holds all outputs and inputs whose fingerprints begin with the
 * same bits.  Its outputs go into a hash table (in several turns if they do not
 * fit), its inputs are looked up there.  Threads take whole partitions.  They
 * do so in rounds: between two rounds nobody writes, so that the lengths of
 * all files say what is done.
 */
#include "bulk_int.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exi_coin.h"
#include "log.h"

#define ROUNDS  8 /* at least, unless there are few partitions */
#define AHEAD   16
#define TURNS   12 /* a partition is divided into 1 << TURNS at most */
#define OUT_MAX (16u << 10)
#define OUT_MIN 256

/* One thread. */
struct joiner {
    struct bulk *b;
    struct bulk_out out[BULK_KINDS]; /* HIST UTXO OUTPOINT SPENDER */
    struct bulk_coin *coins;
    size_t ncoins, cap_coins;
    uint32_t *slots; /* index of a coin + 1, or 0 */
    size_t nslots;   /* power of two */
    size_t cap_slots;
    uint8_t *inbuf;
    unsigned turn_bits, turn;
    bool twice; /* some outpoint is there twice */
};

/* A round. */
struct round {
    struct joiner *joiners;
    atomic_uint next;
    uint32_t to;
};

static const enum bulk_kind written[] = { BULK_K_HIST, BULK_K_UTXO,
                                          BULK_K_OUTPOINT, BULK_K_SPENDER };
#define NWRITTEN (sizeof(written) / sizeof(written[0]))

static int
put_unspent(struct joiner *j, const struct bulk_coin *c)
{
    int rc = bulk_put_utxo(&j->out[BULK_K_UTXO], c);

    return rc == EXI_OK ? bulk_put_outpoint(&j->out[BULK_K_OUTPOINT], j->b, c)
                        : rc;
}

static int
put_spent(struct joiner *j, const struct bulk_coin *c, uint64_t spent)
{
    int rc = bulk_put_hist(&j->out[BULK_K_HIST], c, spent);

    if (rc == EXI_OK && j->b->params.spender) {
        rc = bulk_put_spender(&j->out[BULK_K_SPENDER], j->b, c, spent);
    }
    return rc;
}

/* Does a fingerprint belong to this turn? */
static inline bool
my_turn(const struct joiner *j, uint64_t fp)
{
    return j->turn_bits == 0
           || fp << j->b->st.bits[BULK_K_CREATE] >> (64 - j->turn_bits)
                  == j->turn;
}

static inline size_t
slot_of(const struct joiner *j, uint64_t fp)
{
    return (size_t) fp & (j->nslots - 1);
}

/* Two outputs with one fingerprint must be of one outpoint. */
static int
check_twice(struct joiner *j, const struct bulk_coin *x,
            const struct bulk_coin *y)
{
    struct exi_txid a, b;
    int rc = bulk_txid(j->b, x->where >> BULK_INDEX_BITS, &a);

    if (rc == EXI_OK) {
        rc = bulk_txid(j->b, y->where >> BULK_INDEX_BITS, &b);
    }
    if (rc == EXI_OK
        && ((x->where ^ y->where) << (64 - BULK_INDEX_BITS) != 0
            || memcmp(a.b, b.b, sizeof(a.b)) != 0)) {
        log_error("bulk", "fingerprints of two outpoints are equal");
        rc = EXI_EFORMAT;
    }
    j->twice = true;
    return rc;
}

static int
enter(struct joiner *j, size_t index)
{
    const struct bulk_coin *c = &j->coins[index];
    size_t i = slot_of(j, c->fp);
    int rc = EXI_OK;

    for (; rc == EXI_OK && j->slots[i] != 0; i = (i + 1) & (j->nslots - 1)) {
        const struct bulk_coin *x = &j->coins[j->slots[i] - 1];

        if (x->fp == c->fp && x->fp2 == c->fp2) {
            rc = check_twice(j, x, c);
        }
    }
    j->slots[i] = (uint32_t) index + 1;
    return rc;
}

/* Room for n outputs and a table that is half full at most. */
static int
room(struct joiner *j, size_t n)
{
    size_t want = 64;

    while (want < n * 2) {
        want *= 2;
    }
    n = n > 0 ? n : 1;
    if (n > j->cap_coins) {
        free(j->coins);
        j->coins = malloc(n * sizeof(*j->coins));
        j->cap_coins = j->coins != NULL ? n : 0;
    }
    if (want > j->cap_slots) {
        free(j->slots);
        j->slots = malloc(want * sizeof(*j->slots));
        j->cap_slots = j->slots != NULL ? want : 0;
    }
    if (j->coins == NULL || j->slots == NULL) {
        return EXI_ENOMEM;
    }
    j->nslots = want;
    memset(j->slots, 0, want * sizeof(*j->slots));
    j->ncoins = 0;
    j->twice = false;
    return EXI_OK;
}

/* All outputs of the turn into memory. */
static int
load_coins(struct joiner *j, uint32_t part)
{
    struct bulk_in in = { .buf = j->inbuf };
    struct bulk_coin c;
    int rc = bulk_in_open(&in, &j->b->temp[BULK_K_CREATE], part);

    while (rc == EXI_OK && bulk_in_fill(&in)) {
        memcpy(&c, in.p, sizeof(c));
        in.p += sizeof(c);
        if (!my_turn(j, c.fp)) {
            continue;
        }
        if (j->ncoins == j->cap_coins) {
            size_t cap = j->cap_coins + j->cap_coins / 4 + 64;
            struct bulk_coin *p = realloc(j->coins, cap * sizeof(*p));

            if (p == NULL) {
                rc = EXI_ENOMEM;
                break;
            }
            j->coins = p;
            j->cap_coins = cap;
        }
        j->coins[j->ncoins++] = c;
    }
    if (rc == EXI_OK && in.left != 0) {
        rc = EXI_EIO;
    }
    bulk_in_close(&in);
    return rc;
}

static int
enter_all(struct joiner *j)
{
    int rc = EXI_OK;

    while (j->nslots < j->ncoins + j->ncoins / 2) {
        size_t n = j->ncoins;

        /* More of them in this turn than expected. */
        free(j->slots);
        j->cap_slots = j->nslots * 2;
        j->slots = calloc(j->cap_slots, sizeof(*j->slots));
        if (j->slots == NULL) {
            j->cap_slots = 0;
            return EXI_ENOMEM;
        }
        j->nslots = j->cap_slots;
        j->ncoins = n;
    }
    for (size_t i = 0; rc == EXI_OK && i < j->ncoins; i++) {
        if (i + AHEAD < j->ncoins) {
            __builtin_prefetch(&j->slots[slot_of(j, j->coins[i + AHEAD].fp)],
                               1);
        }
        rc = enter(j, i);
    }
    return rc;
}

/*
 * The output that an input of transaction `spent` means: of several, the
 * latest before it; in canonical order, if there is none, one behind it, which
 * is of the same block then.
 */
static struct bulk_coin *
find(const struct joiner *j, uint64_t fp, uint16_t fp2, uint64_t spent)
{
    struct bulk_coin *best = NULL, *behind = NULL, *c;

    for (size_t i = slot_of(j, fp); j->slots[i] != 0;
         i = (i + 1) & (j->nslots - 1)) {
        c = &j->coins[j->slots[i] - 1];
        if (c->fp != fp || c->fp2 != fp2) {
            continue;
        }
        if (c->where >> BULK_INDEX_BITS >= spent) {
            if (behind == NULL || c->where < behind->where) {
                behind = c;
            }
            continue;
        }
        if (!j->twice) {
            return c;
        }
        if (best == NULL || c->where > best->where) {
            best = c;
        }
    }
    return best == NULL && j->b->coin & EXI_COIN_CTOR ? behind : best;
}

/* Looks ahead in the inputs of the buffer: slot, then output. */
static inline void
prefetch_spends(const struct joiner *j, const struct bulk_in *in)
{
    const uint8_t *p = in->p + AHEAD * BULK_SPEND_LEN;
    uint64_t fp;
    uint32_t slot;

    if (p + 8 > in->end) {
        return;
    }
    memcpy(&fp, p, 8);
    exi_prefetch(&j->slots[slot_of(j, fp)]);
    memcpy(&fp, p - AHEAD / 2 * BULK_SPEND_LEN, 8);
    slot = j->slots[slot_of(j, fp)];
    if (slot != 0) {
        exi_prefetch(&j->coins[slot - 1]);
    }
}

static int
spend_one(struct joiner *j, const uint8_t *p)
{
    uint64_t fp, spent = exi_be40(p + 10);
    struct bulk_coin *c;
    uint16_t fp2;
    int rc;

    memcpy(&fp, p, 8);
    memcpy(&fp2, p + 8, 2);
    if (!my_turn(j, fp)) {
        return EXI_OK;
    }
    c = find(j, fp, fp2, spent);
    if (c == NULL) {
        log_error("bulk", "transaction %llu spends an output that is unknown",
                  (unsigned long long) spent);
        return EXI_EFORMAT;
    }
    rc = put_spent(j, c, spent);
    c->fp = 0; /* spent: not found again */
    return rc;
}

static int
spend_all(struct joiner *j, uint32_t part)
{
    struct bulk_in in = { .buf = j->inbuf };
    int rc = bulk_in_open(&in, &j->b->temp[BULK_K_SPEND], part);

    while (rc == EXI_OK && bulk_in_fill(&in)) {
        prefetch_spends(j, &in);
        rc = spend_one(j, in.p);
        in.p += BULK_SPEND_LEN;
    }
    if (rc == EXI_OK && in.left != 0) {
        rc = EXI_EIO;
    }
    bulk_in_close(&in);
    return rc;
}

static int
join_turn(struct joiner *j, uint32_t part, size_t expected)
{
    int rc = room(j, expected);

    if (rc == EXI_OK) {
        rc = load_coins(j, part);
    }
    if (rc == EXI_OK) {
        rc = enter_all(j);
    }
    if (rc == EXI_OK) {
        rc = spend_all(j, part);
    }
    for (size_t i = 0; rc == EXI_OK && i < j->ncoins; i++) {
        if (j->coins[i].fp != 0) {
            rc = put_unspent(j, &j->coins[i]);
        }
    }
    return rc;
}

static int
join_part(struct joiner *j, uint32_t part)
{
    size_t n = j->b->temp[BULK_K_CREATE].len[part] / sizeof(struct bulk_coin);
    size_t each = sizeof(struct bulk_coin) + 4 * sizeof(*j->slots);
    size_t max = bulk_share(j->b) / each;
    int rc = EXI_OK;

    if (n == 0 && j->b->temp[BULK_K_SPEND].len[part] == 0) {
        return EXI_OK;
    }
    j->turn_bits = 0;
    while (j->turn_bits < TURNS && n >> j->turn_bits > max) {
        j->turn_bits++;
    }
    if (j->turn_bits > 0) {
        n = (n >> j->turn_bits) + (n >> j->turn_bits) / 16;
    }
    for (j->turn = 0; rc == EXI_OK && j->turn < 1u << j->turn_bits; j->turn++) {
        rc = join_turn(j, part, n);
    }
    return rc;
}

static int
join_worker(struct bulk *b, unsigned worker, void *ctx)
{
    struct round *r = ctx;
    struct joiner *j = &r->joiners[worker];
    uint32_t part;
    int rc = EXI_OK;

    while (rc == EXI_OK && !atomic_load(&b->stop)
           && (part = atomic_fetch_add(&r->next, 1)) < r->to) {
        rc = join_part(j, part);
        atomic_fetch_add(&b->done, b->temp[BULK_K_CREATE].len[part]
                                       + b->temp[BULK_K_SPEND].len[part]);
    }
    for (size_t i = 0; rc == EXI_OK && i < NWRITTEN; i++) {
        if (j->out[written[i]].buf != NULL) {
            rc = bulk_out_flush(&j->out[written[i]]);
        }
    }
    return rc;
}

/* Files that are joined, once the state says so. */
static void
clean(struct bulk *b)
{
    struct bulk_temp *c = &b->temp[BULK_K_CREATE];

    bulk_temp_remove(c, c->removed, b->st.joined);
    bulk_temp_remove(&b->temp[BULK_K_SPEND], c->removed, b->st.joined);
    c->removed = b->st.joined;
}

static int
join_rounds(struct bulk *b, struct joiner *joiners)
{
    uint32_t parts = 1u << b->st.bits[BULK_K_CREATE], step = parts / ROUNDS;
    struct round r = { .joiners = joiners };
    int rc = EXI_OK;

    step = step > b->threads ? step : b->threads;
    while (rc == EXI_OK && b->st.joined < parts) {
        atomic_store(&r.next, b->st.joined);
        r.to = parts - b->st.joined > step ? b->st.joined + step : parts;
        rc = bulk_run(b, b->threads, join_worker, &r);
        if (rc != EXI_OK) {
            break;
        }
        b->st.joined = r.to;
        bulk_note_temp(b);
        if (bulk_checkpoint_due(b)) {
            rc = bulk_checkpoint(b);
            if (rc == EXI_OK) {
                clean(b);
            }
        }
    }
    return rc;
}

static int
joiner_init(struct joiner *j, struct bulk *b)
{
    size_t parts = 0, size;
    int rc;

    j->b = b;
    j->inbuf = calloc(1, BULK_IN_SIZE + BULK_REC_MAX);
    rc = j->inbuf == NULL ? EXI_ENOMEM : EXI_OK;
    for (size_t i = 0; i < NWRITTEN; i++) {
        parts += (size_t) 1 << b->st.bits[written[i]];
    }
    size = b->o.memory / 8 / b->threads / parts;
    size = size > OUT_MAX ? OUT_MAX : size < OUT_MIN ? OUT_MIN : size;
    for (size_t i = 0; rc == EXI_OK && i < NWRITTEN; i++) {
        if (written[i] != BULK_K_SPENDER || b->params.spender) {
            rc = bulk_out_init(&j->out[written[i]], &b->temp[written[i]],
                               (uint32_t) size);
        }
    }
    return rc;
}

static void
joiner_free(struct joiner *j)
{
    for (size_t i = 0; i < NWRITTEN; i++) {
        bulk_out_free(&j->out[written[i]]);
    }
    free(j->coins);
    free(j->slots);
    free(j->inbuf);
}

int
bulk_join(struct bulk *b)
{
    struct joiner *joiners = calloc(b->threads, sizeof(*joiners));
    uint32_t parts = 1u << b->st.bits[BULK_K_CREATE];
    int rc = joiners == NULL ? EXI_ENOMEM : EXI_OK;

    for (unsigned i = 0; rc == EXI_OK && i < b->threads; i++) {
        rc = joiner_init(&joiners[i], b);
    }
    atomic_store(&b->done, 0);
    atomic_store(
        &b->total,
        bulk_temp_bytes(&b->temp[BULK_K_CREATE], b->st.joined, parts)
            + bulk_temp_bytes(&b->temp[BULK_K_SPEND], b->st.joined, parts));
    if (rc == EXI_OK) {
        rc = join_rounds(b, joiners);
    }
    for (unsigned i = 0; joiners != NULL && i < b->threads; i++) {
        joiner_free(&joiners[i]);
    }
    free(joiners);
    return rc;
}
