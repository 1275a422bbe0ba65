/*
 * Phases txids and rows: partitions -> tables.
 *
 * A task is a range of partitions of one kind and makes its own tables, which
 * overlap with no others', so any number of threads work at tasks at once.  A
 * task counts when the state file says so, and then its input is removed.
 *
 * Phase txids comes first because it finds the transactions that were replaced
 * by one with the same txid (BIP 30): the other rows leave them out.
 */
#include "bulk_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/exi_coin.h"
#include "log.h"

#define CHUNK      0
#define TASK_BYTES (256u << 20) /* of input, about */
#define TASKS_MIN  4            /* of a kind */

/*
 * T.  a: the bytes of the txid that the row has or that choose it, c: txnum,
 * d: first 8 bytes.
 */

static size_t
decode_txid(const uint8_t *p, uint32_t part, unsigned bits, struct bulk_rec *r)
{
    r->d = (uint64_t) (part >> (bits - 8)) << 56 | exi_be64(p) >> 8;
    r->a = r->d;
    r->b = 0;
    r->c = exi_be40(p + 7);
    return BULK_TXID_LEN;
}

static int
note_dead(struct bulk_maker *m, uint64_t txnum)
{
    int rc =
        settle_grow(&m->dead, &m->cap_dead, m->ndead + 1, sizeof(*m->dead));

    if (rc == EXI_OK) {
        m->dead[m->ndead++] = txnum;
    }
    return rc;
}

/* Is the txid of r[i] that of a later one of the n records?  1, 0, error. */
static int
replaced(struct bulk_maker *m, const struct bulk_rec *r, size_t i, size_t n)
{
    struct exi_txid x, y;
    int rc;

    for (size_t k = 0; k < n; k++) {
        if (k == i || r[k].d != r[i].d || r[k].c < r[i].c) {
            continue;
        }
        rc = bulk_txid(m->b, r[i].c, &x);
        if (rc == EXI_OK) {
            rc = bulk_txid(m->b, r[k].c, &y);
        }
        if (rc != EXI_OK) {
            return rc;
        }
        if (memcmp(x.b, y.b, sizeof(x.b)) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Entries with the same 3 bytes of txid, by txnum. */
static int
txid_entries(struct bulk_maker *m, struct bulk_rec *r, size_t n)
{
    unsigned skip = m->b->params.txid_bits / 8u;
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t txid[8], *p;

        if (n > 1) {
            rc = replaced(m, r, i, n);
            if (rc == 1) {
                rc = note_dead(m, r[i].c);
                if (rc == EXI_OK) {
                    continue;
                }
            }
            if (rc < 0) {
                return rc;
            }
        }
        p = settle_buf_add(&m->row, EXI_TXID_ENTRY);
        if (p == NULL) {
            return EXI_ENOMEM;
        }
        exi_put_be64(txid, r[i].d);
        memcpy(p, txid + skip, 3);
        exi_put_be40(p + 3, r[i].c);
    }
    return EXI_OK;
}

static int
txid_row(struct bulk_maker *m, struct bulk_rec *r, size_t n)
{
    unsigned shift = 64u - m->b->params.txid_bits;
    struct exi_key key;
    size_t i, k;
    int rc = EXI_OK;

    m->row.len = 0;
    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r[k].a == r[i].a; k++) {
        }
        bulk_sort(r + i, k - i);
        rc = txid_entries(m, r + i, k - i);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    exi_key_bucket(&key, EXI_KIND_TXID,
                   (uint32_t) (r->a >> shift << shift >> 32), CHUNK);
    m->counts.rows++;
    return settle_load_add(m->load[0], key.b, key.len, m->row.p, m->row.len);
}

/* The records come sorted by 8 bytes; entries have only 3 of theirs. */
static int
txid_sorted(void *ctx, struct bulk_rec *r, size_t n)
{
    struct bulk_maker *m = ctx;
    unsigned bytes = m->b->params.txid_bits / 8u + 3;
    unsigned shift = 64u - m->b->params.txid_bits, cut = 64 - 8 * bytes;
    size_t i, k;
    int rc = EXI_OK;

    for (i = 0; i < n; i++) {
        r[i].a = r[i].a >> cut << cut;
    }
    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r[k].a >> shift == r[i].a >> shift; k++) {
        }
        rc = txid_row(m, r + i, k - i);
    }
    return rc;
}

static int
txid_task(struct bulk_maker *m, uint32_t part)
{
    unsigned bits = m->b->st.bits[BULK_K_TXID];
    struct bulk_sort_job j = { .t = { &m->b->temp[BULK_K_TXID], NULL },
                               .decode = { decode_txid, NULL },
                               .part = part,
                               .low = (uint64_t) part << (64 - bits),
                               .width = 64 - bits,
                               .row = 64u - m->b->params.txid_bits,
                               .fn = txid_sorted,
                               .ctx = m };

    return bulk_sort_run(&m->sorter, &j);
}

/*
 * O.  a: BULK_WHERE, b: piece (0: the script key, others: token data), c and d:
 * its 14 bytes.  Pieces without a script key are of a spent output.
 */

static size_t
decode_outpoint(const uint8_t *p, uint32_t part, unsigned bits,
                struct bulk_rec *r)
{
    (void) part;
    (void) bits;
    r->a = exi_be64(p);
    r->b = 0;
    r->c = exi_be64(p + 8);
    r->d = (uint64_t) exi_be32(p + 16) << 16 | (uint64_t) p[20] << 8 | p[21];
    return BULK_OUTPOINT_LEN;
}

static size_t
decode_piece(const uint8_t *p, uint32_t part, unsigned bits, struct bulk_rec *r)
{
    decode_outpoint(p, part, bits, r);
    r->b = p[BULK_OUTPOINT_LEN];
    return BULK_PIECE_LEN;
}

/* Appends a piece to the row under way. */
static int
add_piece(struct bulk_maker *m, const struct bulk_rec *r)
{
    uint8_t s[EXI_SKEY_LEN], *p;
    size_t from = r->b == 0 ? 0 : 1, n = sizeof(s);

    exi_put_be64(s, r->c);
    exi_put_be32(s + 8, (uint32_t) (r->d >> 16));
    s[12] = (uint8_t) (r->d >> 8);
    s[13] = (uint8_t) r->d;
    if (from == 1) {
        n = s[0];
        if (n >= sizeof(s)) {
            return EXI_EFORMAT;
        }
    }
    p = settle_buf_add(&m->row, n);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    memcpy(p, s + from, n);
    return EXI_OK;
}

/* The n records of one output. */
static int
outpoint_row(struct bulk_maker *m, const struct bulk_rec *r, size_t n)
{
    uint64_t txnum = r->a >> BULK_INDEX_BITS;
    struct exi_key k;
    int rc = EXI_OK;

    if (r->b != 0 || (m->b->st.ndead != 0 && bulk_dead(m->b, txnum))) {
        return EXI_OK;
    }
    m->row.len = 0;
    for (size_t i = 0; rc == EXI_OK && i < n; i++) {
        rc = add_piece(m, &r[i]);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    exi_key_outpoint(&k, txnum,
                     (uint32_t) r->a & ((1u << BULK_INDEX_BITS) - 1));
    return settle_load_add(m->load[0], k.b, k.len, m->row.p, m->row.len);
}

static int
outpoint_sorted(void *ctx, struct bulk_rec *r, size_t n)
{
    struct bulk_maker *m = ctx;
    int rc = EXI_OK;

    for (size_t i = 0, k; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n && r[k].a == r[i].a; k++) {
        }
        rc = outpoint_row(m, r + i, k - i);
    }
    return rc;
}

/*
 * S.  a: BULK_WHERE, c: spending txnum.
 */

static size_t
decode_spender(const uint8_t *p, uint32_t part, unsigned bits,
               struct bulk_rec *r)
{
    (void) part;
    (void) bits;
    r->a = exi_be64(p);
    r->b = 0;
    r->c = exi_be40(p + 8);
    r->d = 0;
    return BULK_SPENDER_LEN;
}

/* n records of 64 transactions. */
static int
spender_row(struct bulk_maker *m, const struct bulk_rec *r, size_t n)
{
    uint64_t base = UINT64_MAX;
    struct exi_key k;
    uint8_t *p;

    for (size_t i = 0; i < n; i++) {
        base = r[i].c < base ? r[i].c : base;
    }
    m->row.len = 0;
    p = settle_buf_add(&m->row, (n + 1) * 2 * EXI_VARINT_MAX);
    if (p == NULL) {
        return EXI_ENOMEM;
    }
    p += exi_put_varint(p, base);
    for (size_t i = 0; i < n; i++) {
        p += exi_put_varint(p, r[i].a >> BULK_INDEX_BITS & 63);
        p += exi_put_ovarint(p,
                             (uint32_t) r[i].a & ((1u << BULK_INDEX_BITS) - 1));
        p += exi_put_varint(p, r[i].c - base);
    }
    exi_key_bucket(&k, EXI_KIND_SPENDER,
                   (uint32_t) (r->a >> (BULK_INDEX_BITS + 6)), CHUNK);
    return settle_load_add(m->load[0], k.b, k.len, m->row.p,
                           (size_t) (p - m->row.p));
}

static int
spender_sorted(void *ctx, struct bulk_rec *r, size_t n)
{
    struct bulk_maker *m = ctx;
    size_t i, k;
    int rc = EXI_OK;

    for (i = 0; rc == EXI_OK && i < n; i = k) {
        for (k = i + 1; k < n
                        && r[k].a >> (BULK_INDEX_BITS + 6)
                               == r[i].a >> (BULK_INDEX_BITS + 6);
             k++) {
        }
        rc = spender_row(m, r + i, k - i);
    }
    return rc;
}

/* O or S of one partition by txnum. */
static int
txnum_task(struct bulk_maker *m, enum bulk_kind kind, uint32_t part)
{
    unsigned width = m->b->st.span + BULK_INDEX_BITS;
    bool o = kind == BULK_K_OUTPOINT;
    struct bulk_sort_job j = { .t = { &m->b->temp[kind], NULL },
                               .decode = { !o ? decode_spender
                                           : m->b->coin & EXI_COIN_TOKENS
                                               ? decode_piece
                                               : decode_outpoint,
                                           NULL },
                               .part = part,
                               .low = (uint64_t) part << width,
                               .width = width,
                               .row = o ? 0 : BULK_INDEX_BITS + 6,
                               .fn = o ? outpoint_sorted : spender_sorted,
                               .ctx = m };

    return bulk_sort_run(&m->sorter, &j);
}

/*
 * Tasks.
 */

static const enum bulk_kind kinds[] = { BULK_K_TXID, BULK_K_HIST,
                                        BULK_K_OUTPOINT, BULK_K_SPENDER };
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static enum bulk_phase
phase_of(const struct bulk_task *t)
{
    return t->kind == BULK_K_TXID ? BULK_TXIDS : BULK_ROWS;
}

static uint64_t
part_bytes(const struct bulk *b, enum bulk_kind kind, uint32_t part)
{
    return b->temp[kind].len[part]
           + (kind == BULK_K_HIST ? b->temp[BULK_K_UTXO].len[part] : 0);
}

/* Divides a kind into tasks of about equal input. */
static int
plan_kind(struct bulk *b, enum bulk_kind kind, size_t *cap)
{
    uint32_t parts = 1u << b->st.bits[kind], from = 0;
    uint64_t total = 0, sum = 0, n;

    for (uint32_t i = 0; i < parts; i++) {
        total += part_bytes(b, kind, i);
    }
    n = total / TASK_BYTES < TASKS_MIN ? TASKS_MIN : total / TASK_BYTES;
    for (uint32_t i = 0; i < parts; i++) {
        sum += part_bytes(b, kind, i);
        if (sum > 0 && (sum >= total / n || i + 1 == parts)) {
            struct bulk_task t = { kind, from, i + 1, sum, false, false };
            int rc =
                settle_grow(&b->st.tasks, cap, b->st.ntasks + 1, sizeof(t));

            if (rc != EXI_OK) {
                return rc;
            }
            b->st.tasks[b->st.ntasks++] = t;
            from = i + 1;
            sum = 0;
        }
    }
    return EXI_OK;
}

int
bulk_rows_plan(struct bulk *b)
{
    size_t cap = 0;
    int rc = EXI_OK;

    free(b->st.tasks);
    b->st.tasks = NULL;
    b->st.ntasks = 0;
    for (size_t i = 0; rc == EXI_OK && i < NKINDS; i++) {
        rc = plan_kind(b, kinds[i], &cap);
    }
    return rc;
}

static int
do_task(struct bulk_maker *m, const struct bulk_task *t)
{
    int rc = EXI_OK;

    if (t->kind == BULK_K_HIST) {
        return bulk_hist_task(m, t->from, t->to);
    }
    for (uint32_t i = t->from; rc == EXI_OK && i < t->to; i++) {
        rc = t->kind == BULK_K_TXID ? txid_task(m, i)
                                    : txnum_task(m, t->kind, i);
        atomic_fetch_add(&m->b->done, m->b->temp[t->kind].len[i]);
        if (rc == EXI_OK) {
            rc = atomic_load(&m->b->stop);
        }
    }
    return rc;
}

static int
compare_txnum(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return x < y ? -1 : x > y;
}

/* What the task made becomes part of the state; b->lock is held. */
static int
take_over(struct bulk *b, struct bulk_maker *m, struct bulk_task *t)
{
    const struct settle_table *tables;
    int rc = EXI_OK;

    for (size_t i = 0; rc == EXI_OK && i < 3; i++) {
        size_t n = settle_load_tables(m->load[i], &tables);

        rc = settle_grow(&b->st.tables, &b->cap_tables, b->st.ntables + n,
                         sizeof(*tables));
        if (rc == EXI_OK && n > 0) {
            memcpy(b->st.tables + b->st.ntables, tables, n * sizeof(*tables));
            b->st.ntables += n;
        }
    }
    if (rc == EXI_OK) {
        rc = settle_grow(&b->st.dead, &b->cap_dead, b->st.ndead + m->ndead,
                         sizeof(*b->st.dead));
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (m->ndead > 0) {
        memcpy(b->st.dead + b->st.ndead, m->dead, m->ndead * sizeof(*m->dead));
        b->st.ndead += m->ndead;
        qsort(b->st.dead, b->st.ndead, sizeof(*b->st.dead), compare_txnum);
    }
    b->st.counts.utxos += m->counts.utxos;
    b->st.counts.hist += m->counts.hist;
    b->st.counts.rows += m->counts.rows;
    t->done = true;
    if (bulk_checkpoint_due(b)) {
        rc = bulk_checkpoint(b);
        if (rc == EXI_OK) {
            bulk_rows_clean(b);
        }
    }
    return rc;
}

void
bulk_rows_clean(struct bulk *b)
{
    for (size_t i = 0; i < b->st.ntasks; i++) {
        struct bulk_task *t = &b->st.tasks[i];

        if (t->done && !t->removed) {
            bulk_temp_remove(&b->temp[t->kind], t->from, t->to);
            if (t->kind == BULK_K_HIST) {
                bulk_temp_remove(&b->temp[BULK_K_UTXO], t->from, t->to);
            }
            t->removed = true;
        }
    }
}

static uint64_t
next_number(void *ctx)
{
    struct bulk *b = ctx;
    uint64_t n;

    pthread_mutex_lock(&b->lock);
    n = b->st.next_table++;
    pthread_mutex_unlock(&b->lock);
    return n;
}

/* Begins or (end) ends the tables of a task. */
static int
loads_begin(struct bulk_maker *m)
{
    char dir[FS_PATH_MAX];
    int rc = fs_path(dir, "%s/db", m->b->dir);

    for (size_t i = 0; rc == EXI_OK && i < 3; i++) {
        rc = settle_load_new(&m->load[i], dir, next_number, m->b);
    }
    memset(&m->counts, 0, sizeof(m->counts));
    m->ndead = 0;
    return rc;
}

static int
loads_end(struct bulk_maker *m, int rc)
{
    char err[256] = "";

    for (size_t i = 0; i < 3; i++) {
        if (m->load[i] != NULL && rc <= 0) {
            int end = settle_load_end(m->load[i], err, sizeof(err));

            rc = rc == EXI_OK || (rc == EXI_EIO && end != EXI_OK) ? end : rc;
        }
    }
    if (*err != '\0') {
        log_error("bulk", "table: %s", err);
    }
    return rc;
}

static void
loads_free(struct bulk_maker *m)
{
    for (size_t i = 0; i < 3; i++) {
        settle_load_free(m->load[i]);
        m->load[i] = NULL;
    }
}

/* What the threads of a phase share. */
struct tasks {
    enum bulk_phase phase;
    atomic_size_t next;
};

static struct bulk_task *
next_task(struct bulk *b, struct tasks *ts)
{
    size_t i;

    while ((i = atomic_fetch_add(&ts->next, 1)) < b->st.ntasks) {
        if (phase_of(&b->st.tasks[i]) == ts->phase && !b->st.tasks[i].done) {
            return &b->st.tasks[i];
        }
    }
    return NULL;
}

static int
rows_worker(struct bulk *b, unsigned worker, void *ctx)
{
    struct bulk_maker m;
    struct bulk_task *t;
    int rc;

    (void) worker;
    memset(&m, 0, sizeof(m));
    m.b = b;
    rc = bulk_sorter_init(&m.sorter, bulk_share(b));
    while (rc == EXI_OK && (t = next_task(b, ctx)) != NULL) {
        rc = loads_begin(&m);
        if (rc == EXI_OK) {
            rc = do_task(&m, t);
        }
        rc = loads_end(&m, rc);
        if (rc == EXI_OK) {
            pthread_mutex_lock(&b->lock);
            rc = take_over(b, &m, t);
            pthread_mutex_unlock(&b->lock);
        }
        loads_free(&m);
    }
    bulk_sorter_free(&m.sorter);
    free(m.row.p);
    free(m.list.p);
    free(m.txnums);
    free(m.dead);
    return rc;
}

int
bulk_rows(struct bulk *b, enum bulk_phase phase)
{
    struct tasks ts = { .phase = phase };
    uint64_t total = 0;

    for (size_t i = 0; i < b->st.ntasks; i++) {
        if (phase_of(&b->st.tasks[i]) == phase && !b->st.tasks[i].done) {
            total += b->st.tasks[i].bytes;
        }
    }
    atomic_store(&b->done, 0);
    atomic_store(&b->total, total);
    return bulk_run(b, b->threads, rows_worker, &ts);
}

/* A file in bulk/db: removed unless it is a table of the state. */
static int
recover_one(void *ctx, const char *name)
{
    const struct bulk *b = ctx;
    char path[FS_PATH_MAX], own[32];
    int rc;

    for (size_t i = 0; i < b->st.ntables; i++) {
        snprintf(own, sizeof(own), "%06" PRIu64 ".ldb", b->st.tables[i].number);
        if (strcmp(name, own) == 0) {
            return EXI_OK;
        }
    }
    rc = fs_path(path, "%s/db/%s", b->dir, name);
    if (rc == EXI_OK && unlink(path) != 0 && errno != ENOENT) {
        rc = fs_error();
    }
    return rc;
}

int
bulk_rows_recover(struct bulk *b)
{
    char dir[FS_PATH_MAX];
    int rc = fs_path(dir, "%s/db", b->dir);

    bulk_rows_clean(b);
    return rc == EXI_OK ? fs_each(dir, recover_one, b) : rc;
}
