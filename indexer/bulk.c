/*
 * Bulk sync: opening, phases, threads, the end (bulk.h).
 *
 * Until the end all is below settled/<epoch>/bulk and counts for nothing.  The
 * end makes a new epoch of it by hard links and points settled/CURRENT there.
 */
#include "bulk_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define THREADS_MAX 8
#define TICK_MS     100
#define NO_DUMP     2
#define BITS_MIN    8
#define BITS_MAX    12

/* What a transaction has, about, for the number of partitions. */
#define OUTPUTS_PER_TX 3
#define CREATES_PER_TX 2

uint64_t
bulk_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static double
cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

void
bulk_phase_begin(struct bulk *b)
{
    b->phase_wall = (double) bulk_now_ms() / 1000;
    b->phase_cpu = cpu_now();
}

void
bulk_phase_end(struct bulk *b, enum bulk_phase phase)
{
    b->stats.wall_s[phase] += (double) bulk_now_ms() / 1000 - b->phase_wall;
    b->stats.cpu_s[phase] += cpu_now() - b->phase_cpu;
    bulk_phase_begin(b);
}

size_t
bulk_share(const struct bulk *b)
{
    return b->o.memory / 8 * 5 / b->threads;
}

void
bulk_note_temp(struct bulk *b)
{
    uint64_t sum = 0;

    for (int k = 0; k < BULK_KINDS; k++) {
        sum += bulk_temp_bytes(&b->temp[k], 0, 1u << b->st.bits[k]);
    }
    sum += b->st.dump != NO_DUMP ? b->st.coins * sizeof(struct bulk_coin) : 0;
    if (sum > b->stats.temp_bytes) {
        b->stats.temp_bytes = sum;
    }
}

int
bulk_txid(struct bulk *b, uint64_t txnum, struct exi_txid *out)
{
    int rc;

    pthread_mutex_lock(&b->flat_lock);
    rc = flat_read(b->flat, EXI_FLAT_TXIDS, txnum, 1, out);
    pthread_mutex_unlock(&b->flat_lock);
    return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
}

bool
bulk_dead(const struct bulk *b, uint64_t txnum)
{
    for (size_t i = 0; i < b->st.ndead; i++) {
        if (b->st.dead[i] == txnum) {
            return true;
        }
    }
    return false;
}

/*
 * Threads.
 */

struct crew {
    struct bulk *b;
    bulk_work_pt fn;
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned left;
    int rc;
};

struct member {
    struct crew *crew;
    unsigned number;
    pthread_t thread;
};

static void *
work(void *arg)
{
    struct member *m = arg;
    struct crew *c = m->crew;
    int rc = c->fn(c->b, m->number, c->ctx);

    pthread_mutex_lock(&c->lock);
    if (rc != EXI_OK && c->rc == EXI_OK) {
        c->rc = rc;
        if (atomic_load(&c->b->stop) == 0) {
            atomic_store(&c->b->stop, rc);
        }
    }
    c->left--;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static int
tell(struct bulk *b)
{
    struct bulk_progress p;

    if (b->o.progress == NULL) {
        return 0;
    }
    p.phase = b->st.phase;
    p.done = (double) atomic_load(&b->done);
    p.total = (double) atomic_load(&b->total);
    p.height = atomic_load(&b->height);
    p.time = atomic_load(&b->time);
    p.txs = atomic_load(&b->txs);
    p.bytes = atomic_load(&b->bytes);
    return b->o.progress(b->o.ctx, &p);
}

/* Waits for the crew and tells progress; called with its lock held. */
static int
watch_locked(struct crew *c)
{
    struct timespec t;
    int said = 0;

    while (c->left > 0) {
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += TICK_MS * 1000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&c->done, &c->lock, &t);
        if (said == 0 && c->left > 0) {
            pthread_mutex_unlock(&c->lock);
            said = tell(c->b);
            if (said != 0 && atomic_load(&c->b->stop) == 0) {
                atomic_store(&c->b->stop, said);
            }
            pthread_mutex_lock(&c->lock);
        }
    }
    return c->rc != EXI_OK ? c->rc : said;
}

int
bulk_run(struct bulk *b, unsigned n, bulk_work_pt fn, void *ctx)
{
    struct member m[THREADS_MAX];
    struct crew c = { .b = b, .fn = fn, .ctx = ctx };
    unsigned started = 0;
    int rc;

    atomic_store(&b->stop, 0);
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.done, NULL);
    pthread_mutex_lock(&c.lock);
    for (; started < n; started++) {
        m[started].crew = &c;
        m[started].number = started;
        if (pthread_create(&m[started].thread, NULL, work, &m[started]) != 0) {
            break;
        }
        c.left++;
    }
    if (started < n && started == 0) {
        c.rc = EXI_ENOMEM;
    }
    rc = watch_locked(&c);
    pthread_mutex_unlock(&c.lock);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(m[i].thread, NULL);
    }
    pthread_cond_destroy(&c.done);
    pthread_mutex_destroy(&c.lock);
    return rc;
}

/*
 * Opening.
 */

static int
dir_of(char path[FS_PATH_MAX], const struct settle *s)
{
    return settle_epoch_path(path, s, s->epoch, "/bulk");
}

bool
bulk_exists(const struct settle *s)
{
    char path[FS_PATH_MAX];

    return dir_of(path, s) == EXI_OK && fs_exists(path);
}

int
bulk_drop(struct settle *s)
{
    char path[FS_PATH_MAX];
    int rc = dir_of(path, s);

    return rc == EXI_OK ? fs_remove_tree(path) : rc;
}

/* Bits of a kind, so that a partition of `bytes` in all fits into a share. */
static uint8_t
choose_bits(const struct bulk *b, uint64_t bytes, unsigned most)
{
    unsigned bits = BITS_MIN;

    most = most < BITS_MAX ? most : BITS_MAX;
    while (bits < most && bytes >> bits > bulk_share(b) / 2) {
        bits++;
    }
    return (uint8_t) bits;
}

/* How many partitions: known for good once the first record is written. */
static void
choose_partitions(struct bulk *b)
{
    uint64_t txs = b->o.expected_txs, rec = sizeof(struct bulk_rec);
    struct bulk_state *st = &b->st;

    st->bits[BULK_K_HIST] = st->bits[BULK_K_UTXO] =
        choose_bits(b, txs * OUTPUTS_PER_TX * rec, b->params.script_bits);
    st->bits[BULK_K_TXID] = choose_bits(b, txs * rec, b->params.txid_bits);
    st->bits[BULK_K_CREATE] = st->bits[BULK_K_SPEND] =
        choose_bits(b, txs * CREATES_PER_TX * 56, BITS_MAX);
    /* By txnum: one more bit, should the chain be longer than expected. */
    st->bits[BULK_K_OUTPOINT] = st->bits[BULK_K_SPENDER] =
        (uint8_t) (choose_bits(b, txs * OUTPUTS_PER_TX * rec, BITS_MAX - 1)
                   + 1);
    st->span = 6;
    while (txs >> st->span >= 1u << (st->bits[BULK_K_OUTPOINT] - 1)) {
        st->span++;
    }
}

static int
make_key(struct bulk_key *k)
{
    return getrandom(k, sizeof(*k), 0) == (ssize_t) sizeof(*k) ? EXI_OK
                                                               : EXI_EIO;
}

static int
make_dirs(const struct bulk *b)
{
    static const char *const names[] = { "db", "flat" };
    char path[FS_PATH_MAX];
    int rc = fs_mkdir(b->dir);

    for (size_t i = 0; rc == EXI_OK && i < 2; i++) {
        rc = fs_path(path, "%s/%s", b->dir, names[i]);
        if (rc == EXI_OK) {
            rc = fs_mkdir(path);
        }
    }
    return rc;
}

static void
state_free(struct bulk *b)
{
    for (int k = 0; k < BULK_KINDS; k++) {
        bulk_temp_free(&b->temp[k]);
    }
    free(b->st.dead);
    free(b->st.tasks);
    free(b->st.tables);
    memset(&b->st, 0, sizeof(b->st));
    b->cap_dead = b->cap_tables = 0;
}

/* Begins with nothing. */
static int
open_new(struct bulk *b)
{
    int rc = fs_remove_tree(b->dir);

    state_free(b);
    b->st.dump = NO_DUMP;
    b->st.next_table = 1;
    choose_partitions(b);
    if (rc == EXI_OK) {
        rc = make_dirs(b);
    }
    if (rc == EXI_OK) {
        rc = make_key(&b->st.key);
    }
    for (int k = 0; rc == EXI_OK && k < BULK_KINDS; k++) {
        rc = bulk_temp_init(&b->temp[k], b->dir, (enum bulk_kind) k,
                            b->st.bits[k]);
    }
    return rc;
}

static bool
bits_right(const struct bulk *b)
{
    const uint8_t *bits = b->st.bits;

    return bits[BULK_K_HIST] == bits[BULK_K_UTXO]
           && bits[BULK_K_CREATE] == bits[BULK_K_SPEND]
           && bits[BULK_K_OUTPOINT] == bits[BULK_K_SPENDER]
           && bits[BULK_K_HIST] >= BITS_MIN && bits[BULK_K_TXID] >= BITS_MIN
           && bits[BULK_K_HIST] <= b->params.script_bits
           && bits[BULK_K_TXID] <= b->params.txid_bits;
}

/* Goes on from the state file: what came after it is cut off. */
static int
open_old(struct bulk *b)
{
    int rc = bulk_state_load(b);

    if (rc == EXI_OK && !bits_right(b)) {
        rc = EXI_EFORMAT;
    }
    if (rc == EXI_OK) {
        bulk_temp_remove(&b->temp[BULK_K_CREATE], 0, b->st.joined);
        bulk_temp_remove(&b->temp[BULK_K_SPEND], 0, b->st.joined);
        b->temp[BULK_K_CREATE].removed = b->st.joined;
        rc = bulk_rows_recover(b);
    }
    for (int k = 0; rc == EXI_OK && k < BULK_KINDS; k++) {
        rc = bulk_temp_cut(&b->temp[k]);
    }
    return rc;
}

static int
open_flat(struct bulk *b)
{
    char path[FS_PATH_MAX], segment[32] = "";
    struct flat_counts counts;
    int rc = fs_path(path, "%s/flat", b->dir);

    memset(&counts, 0, sizeof(counts));
    if (b->st.blocks > 0) {
        flat_counts_of(&counts, b->st.blocks - 1, b->st.txs);
    }
    return rc == EXI_OK
               ? flat_open(&b->flat, path, &counts, segment, sizeof(segment))
               : rc;
}

/* The table as it was at the checkpoint. */
static int
open_table(struct bulk *b)
{
    char path[FS_PATH_MAX];
    int rc = bulk_read_begin(b);

    if (rc == EXI_OK && b->st.dump != NO_DUMP) {
        rc = fs_path(path, "%s/table.%u", b->dir, b->st.dump);
        if (rc == EXI_OK) {
            rc = bulk_read_restore(b, path);
        }
    }
    return rc;
}

static int
open_all(struct bulk *b, bool fresh)
{
    int rc = fresh ? open_new(b) : open_old(b);

    if (rc == EXI_OK) {
        rc = open_flat(b);
    }
    if (rc == EXI_OK && b->st.phase == BULK_READ) {
        rc = open_table(b);
    }
    return rc;
}

static void
close_all(struct bulk *b)
{
    bulk_read_end(b);
    flat_close(b->flat);
    b->flat = NULL;
    state_free(b);
}

static void
set_opts(struct bulk *b, const struct bulk_opts *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    b->o = *o;
    b->threads = o->threads != 0 ? o->threads
                 : cores > 0     ? (unsigned) cores
                                 : 1;
    b->threads = b->threads < THREADS_MAX ? b->threads : THREADS_MAX;
}

int
bulk_open(struct bulk **out, struct settle *s, const struct bulk_opts *o)
{
    struct bulk *b;
    int rc;

    if (settle_any(s)) {
        return EXI_EAPI;
    }
    b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return EXI_ENOMEM;
    }
    b->settle = s;
    b->params = s->params;
    b->coin = s->coin;
    set_opts(b, o);
    pthread_mutex_init(&b->lock, NULL);
    pthread_mutex_init(&b->flat_lock, NULL);
    rc = dir_of(b->dir, s);
    if (rc == EXI_OK) {
        rc = open_all(b, false);
    }
    if (rc == EXI_EFORMAT || rc == EXI_ENOTFOUND || rc == EXI_ELIMIT) {
        if (rc != EXI_ENOTFOUND) {
            log_warn("bulk", "unfinished sync can't be continued: removed");
        }
        close_all(b);
        rc = open_all(b, true);
    }
    if (rc != EXI_OK) {
        bulk_close(b);
        return rc;
    }
    atomic_store(&b->txs, b->st.txs);
    atomic_store(&b->height, b->st.blocks > 0 ? b->st.blocks - 1 : 0);
    b->saved_ms = bulk_now_ms();
    bulk_phase_begin(b);
    *out = b;
    return EXI_OK;
}

void
bulk_close(struct bulk *b)
{
    if (b != NULL) {
        close_all(b);
        pthread_mutex_destroy(&b->lock);
        pthread_mutex_destroy(&b->flat_lock);
        free(b);
    }
}

bool
bulk_reading(const struct bulk *b)
{
    return b->st.phase == BULK_READ;
}

uint32_t
bulk_blocks(const struct bulk *b, struct exi_blkid *tip)
{
    if (b->st.blocks > 0 && tip != NULL) {
        *tip = b->st.tip;
    }
    return b->st.blocks;
}

void
bulk_stats(const struct bulk *b, struct bulk_stats *out)
{
    *out = b->stats;
}

/*
 * Phases.
 */

/* The next phase begins; a checkpoint if one is due. */
static int
enter_phase(struct bulk *b, enum bulk_phase next)
{
    enum bulk_phase last = b->st.phase;
    int rc = EXI_OK;

    b->st.phase = next;
    bulk_note_temp(b);
    if (bulk_checkpoint_due(b)) {
        rc = bulk_checkpoint(b);
        if (rc == EXI_OK) {
            bulk_rows_clean(b);
        }
    }
    bulk_phase_end(b, last);
    return rc;
}

static int
end_read(struct bulk *b)
{
    int rc;

    if (b->st.blocks == 0) {
        return EXI_EAPI;
    }
    rc = bulk_read_spill(b);
    bulk_read_end(b);
    return rc == EXI_OK ? enter_phase(b, BULK_JOIN) : rc;
}

static int
end_join(struct bulk *b)
{
    int rc = bulk_join(b);

    if (rc == EXI_OK) {
        rc = bulk_rows_plan(b);
    }
    return rc == EXI_OK ? enter_phase(b, BULK_TXIDS) : rc;
}

static int
run_phases(struct bulk *b)
{
    int rc = EXI_OK;

    while (rc == EXI_OK && b->st.phase != BULK_LINK) {
        switch (b->st.phase) {
        case BULK_READ:
            rc = end_read(b);
            break;
        case BULK_JOIN:
            rc = end_join(b);
            break;
        case BULK_TXIDS:
            rc = bulk_rows(b, BULK_TXIDS);
            rc = rc == EXI_OK ? enter_phase(b, BULK_ROWS) : rc;
            break;
        case BULK_ROWS:
            rc = bulk_rows(b, BULK_ROWS);
            rc = rc == EXI_OK ? enter_phase(b, BULK_LINK) : rc;
            break;
        case BULK_LINK:
        case BULK_PHASES:
            break;
        }
    }
    return rc;
}

/*
 * The end.
 */

static uint64_t
number_one(void *ctx)
{
    return *(uint64_t *) ctx;
}

/* The M and P rows, in a table of their own and the last one. */
static int
meta_table(struct bulk *b, const char *dir, const struct exi_meta *m,
           struct settle_table *out, char *why, size_t whylen)
{
    static const uint8_t key[1] = { EXI_KIND_META };
    struct exi_tidy tidy = {
        0, { true, m->height, m->tx_count, b->st.next_table + 1 }
    };
    const struct settle_table *t;
    struct settle_load *l = NULL;
    uint8_t val[EXI_META_LEN], p[EXI_TIDY_MAX];
    int rc = settle_load_new(&l, dir, number_one, &b->st.next_table);

    if (rc != EXI_OK) {
        return rc;
    }
    exi_meta_encode(val, m);
    rc = settle_load_add(l, key, sizeof(key), val, sizeof(val));
    if (rc == EXI_OK) {
        rc = settle_load_add(l, EXI_KEY_TIDY, EXI_KEY_TIDY_LEN, p,
                             exi_tidy_encode(p, &tidy));
    }
    if (rc == EXI_OK || rc == EXI_EIO) {
        rc = settle_load_end(l, why, whylen);
    }
    if (rc == EXI_OK && settle_load_tables(l, &t) == 1) {
        *out = *t;
    }
    settle_load_free(l);
    return rc;
}

static void
make_meta(const struct bulk *b, struct exi_meta *m)
{
    memset(m, 0, sizeof(*m));
    m->version = EXI_FORMAT_VERSION;
    m->height = b->st.blocks - 1;
    m->block = b->st.tip;
    m->tx_count = b->st.txs;
    m->utxo_count = b->st.counts.utxos;
    m->hist_count = b->st.counts.hist;
    m->row_count = b->st.counts.rows;
}

/* Completes bulk/db: the M row and the manifest of all tables. */
static int
complete_db(struct bulk *b, const struct exi_meta *m, char *why, size_t whylen)
{
    char dir[FS_PATH_MAX];
    size_t n = b->st.ntables;
    int rc = fs_path(dir, "%s/db", b->dir);

    if (rc == EXI_OK) {
        rc = settle_grow(&b->st.tables, &b->cap_tables, n + 1,
                         sizeof(*b->st.tables));
    }
    if (rc == EXI_OK) {
        rc = meta_table(b, dir, m, &b->st.tables[n], why, whylen);
    }
    return rc == EXI_OK ? settle_load_manifest(
               dir, b->st.tables, n + 1, b->st.next_table + 1, 1, why, whylen)
                        : rc;
}

int
bulk_finish(struct bulk *b, char *why, size_t whylen)
{
    struct exi_meta m;
    int rc;

    *why = '\0';
    bulk_phase_begin(b);
    rc = run_phases(b);
    if (rc == EXI_OK) {
        make_meta(b, &m);
        rc = complete_db(b, &m, why, whylen);
    }
    if (rc == EXI_OK) {
        rc = bulk_sync(b);
    }
    if (rc == EXI_OK) {
        rc = settle_adopt(b->settle, b->dir, &m, why, whylen);
    }
    bulk_phase_end(b, BULK_LINK);
    if (rc != EXI_OK && *why == '\0') {
        snprintf(why, whylen, "%s", rc < 0 ? exi_strerror(rc) : "stopped");
    }
    return rc;
}
