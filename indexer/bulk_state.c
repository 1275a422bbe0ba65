/*
 * The state file of a bulk sync and its checkpoints (docs/index-format.md,
 * section 8).  Everything that the state tells of is durable before it is
 * written: one syncfs() for thousands of files.
 */
#include "bulk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/exi_sha256.h"
#include "log.h"

#define MAGIC   "EXIBULK1"
#define NO_DUMP 2
#define TXS_MAX ((uint64_t) 1 << 40)

/*
 * Writing.
 */

struct writer {
    struct settle_buf b;
    bool bad; /* no memory */
};

static void
put(struct writer *w, const void *p, size_t n)
{
    uint8_t *to = w->bad ? NULL : settle_buf_add(&w->b, n);

    if (to == NULL) {
        w->bad = true;
    } else if (n > 0) {
        memcpy(to, p, n);
    }
}

static void
put_num(struct writer *w, uint64_t v)
{
    uint8_t le[8];

    exi_put_le64(le, v);
    put(w, le, sizeof(le));
}

static void
put_key(struct writer *w, const struct exi_key *k)
{
    put_num(w, k->len);
    put(w, k->b, k->len);
}

static void
put_lists(struct writer *w, const struct bulk *b)
{
    const struct bulk_state *st = &b->st;

    put_num(w, st->ndead);
    for (size_t i = 0; i < st->ndead; i++) {
        put_num(w, st->dead[i]);
    }
    put_num(w, st->ntasks);
    for (size_t i = 0; i < st->ntasks; i++) {
        put_num(w, st->tasks[i].kind);
        put_num(w, st->tasks[i].from);
        put_num(w, st->tasks[i].to);
        put_num(w, st->tasks[i].bytes);
        put_num(w, st->tasks[i].done);
    }
    put_num(w, st->ntables);
    for (size_t i = 0; i < st->ntables; i++) {
        put_num(w, st->tables[i].number);
        put_num(w, st->tables[i].bytes);
        put_num(w, st->tables[i].rows);
        put_key(w, &st->tables[i].first);
        put_key(w, &st->tables[i].last);
    }
    for (int k = 0; k < BULK_KINDS; k++) {
        for (uint32_t i = 0; i < 1u << st->bits[k]; i++) {
            put_num(w, b->temp[k].len[i]);
        }
    }
}

static void
put_state(struct writer *w, const struct bulk *b)
{
    const struct bulk_state *st = &b->st;

    put(w, MAGIC, 8);
    put_num(w, st->phase);
    put_num(w, st->blocks);
    put(w, st->tip.b, EXI_HASH_LEN);
    put_num(w, st->txs);
    put_num(w, st->coins);
    put_num(w, st->dump);
    for (size_t i = 0; i < 8; i++) {
        put_num(w, st->key.k[i]);
    }
    for (int k = 0; k < BULK_KINDS; k++) {
        put_num(w, st->bits[k]);
    }
    put_num(w, st->span);
    put_num(w, st->joined);
    put_num(w, st->counts.utxos);
    put_num(w, st->counts.hist);
    put_num(w, st->counts.rows);
    put_num(w, st->next_table);
    put_lists(w, b);
}

static int
write_state(const struct bulk *b)
{
    struct writer w = { .bad = false };
    uint8_t sum[EXI_HASH_LEN];
    int rc;

    put_state(&w, b);
    if (!w.bad) {
        exi_sha256(sum, w.b.p, w.b.len);
        put(&w, sum, sizeof(sum));
    }
    rc = w.bad ? EXI_ENOMEM : fs_replace(b->dir, "state", w.b.p, w.b.len);
    free(w.b.p);
    return rc;
}

/*
 * Reading.
 */

static uint64_t
get_num(struct exi_rd *r, uint64_t max)
{
    uint64_t v = exi_rd_le64(r);

    if (v > max) {
        r->bad = true;
        return 0;
    }
    return v;
}

static void
get_bytes(struct exi_rd *r, void *to, size_t n)
{
    const uint8_t *p = exi_rd_bytes(r, n);

    if (p != NULL && n > 0) {
        memcpy(to, p, n);
    }
}

static void
get_key(struct exi_rd *r, struct exi_key *k)
{
    k->len = (size_t) get_num(r, EXI_KEY_MAX);
    get_bytes(r, k->b, k->len);
}

/* Room for a list, whose elements take at least min bytes here. */
static void *
get_list(struct exi_rd *r, size_t *n, size_t size, size_t min)
{
    void *p;

    *n = (size_t) get_num(r, exi_rd_left(r) / min);
    p = calloc(*n + 1, size);
    if (p == NULL) {
        r->bad = true;
        *n = 0;
    }
    return p;
}

static void
get_task(struct exi_rd *r, const struct bulk_state *st, struct bulk_task *t)
{
    t->kind = (enum bulk_kind) get_num(r, BULK_KINDS - 1);
    t->from = (uint32_t) get_num(r, 1u << st->bits[t->kind]);
    t->to = (uint32_t) get_num(r, 1u << st->bits[t->kind]);
    t->bytes = get_num(r, UINT64_MAX);
    t->done = get_num(r, 1) != 0;
    r->bad |= t->from >= t->to;
}

static int
get_lists(struct exi_rd *r, struct bulk *b)
{
    struct bulk_state *st = &b->st;
    int rc = EXI_OK;

    st->dead = get_list(r, &st->ndead, sizeof(*st->dead), 8);
    b->cap_dead = st->ndead;
    for (size_t i = 0; i < st->ndead; i++) {
        st->dead[i] = get_num(r, TXS_MAX);
    }
    st->tasks = get_list(r, &st->ntasks, sizeof(*st->tasks), 40);
    for (size_t i = 0; i < st->ntasks; i++) {
        get_task(r, st, &st->tasks[i]);
    }
    st->tables = get_list(r, &st->ntables, sizeof(*st->tables), 40);
    b->cap_tables = st->ntables;
    for (size_t i = 0; i < st->ntables; i++) {
        st->tables[i].number = get_num(r, UINT64_MAX);
        st->tables[i].bytes = get_num(r, UINT64_MAX);
        st->tables[i].rows = get_num(r, UINT64_MAX);
        get_key(r, &st->tables[i].first);
        get_key(r, &st->tables[i].last);
        st->tables[i].first_tag = SETTLE_TAG_FIRST;
        st->tables[i].last_tag = SETTLE_TAG_FIRST;
        st->tables[i].level = SETTLE_LAST_LEVEL;
    }
    for (int k = 0; rc == EXI_OK && !r->bad && k < BULK_KINDS; k++) {
        rc = bulk_temp_init(&b->temp[k], b->dir, (enum bulk_kind) k,
                            st->bits[k]);
        for (uint32_t i = 0; rc == EXI_OK && i < 1u << st->bits[k]; i++) {
            b->temp[k].len[i] = get_num(r, INT64_MAX);
        }
    }
    return rc;
}

static int
get_state(struct exi_rd *r, struct bulk *b)
{
    struct bulk_state *st = &b->st;
    char magic[8] = "";
    int rc;

    get_bytes(r, magic, 8);
    if (memcmp(magic, MAGIC, 8) != 0) {
        return EXI_EFORMAT;
    }
    st->phase = (enum bulk_phase) get_num(r, BULK_LINK);
    st->blocks = (uint32_t) get_num(r, UINT32_MAX);
    get_bytes(r, st->tip.b, EXI_HASH_LEN);
    st->txs = get_num(r, TXS_MAX);
    st->coins = get_num(r, UINT64_MAX / sizeof(struct bulk_coin));
    st->dump = (uint8_t) get_num(r, NO_DUMP);
    for (size_t i = 0; i < 8; i++) {
        st->key.k[i] = get_num(r, UINT64_MAX);
    }
    for (int k = 0; k < BULK_KINDS; k++) {
        st->bits[k] = (uint8_t) get_num(r, 16);
    }
    st->span = (uint8_t) get_num(r, 39);
    st->joined = (uint32_t) get_num(r, 1u << st->bits[BULK_K_CREATE]);
    st->counts.utxos = get_num(r, UINT64_MAX);
    st->counts.hist = get_num(r, UINT64_MAX);
    st->counts.rows = get_num(r, UINT64_MAX);
    st->next_table = get_num(r, UINT64_MAX);
    rc = r->bad ? EXI_EFORMAT : get_lists(r, b);
    return rc == EXI_OK && (r->bad || exi_rd_left(r) != 0) ? EXI_EFORMAT : rc;
}

/* The whole file; the caller frees it. */
static int
slurp(const char *path, uint8_t **out, size_t *len)
{
    size_t size = 1u << 20;
    uint8_t *p = NULL, *q;
    int rc = EXI_ELIMIT;

    while (rc == EXI_ELIMIT && size <= 1u << 30) {
        size *= 2;
        q = realloc(p, size);
        if (q == NULL) {
            rc = EXI_ENOMEM;
            break;
        }
        p = q;
        rc = fs_read(path, (char *) p, size, len);
    }
    if (rc != EXI_OK) {
        free(p);
        return rc;
    }
    *out = p;
    return EXI_OK;
}

int
bulk_state_load(struct bulk *b)
{
    char path[FS_PATH_MAX];
    uint8_t *buf, sum[EXI_HASH_LEN];
    struct exi_rd r;
    size_t len = 0;
    int rc = fs_path(path, "%s/state", b->dir);

    if (rc == EXI_OK) {
        rc = slurp(path, &buf, &len);
    }
    if (rc != EXI_OK) {
        return rc;
    }
    if (len < EXI_HASH_LEN) {
        free(buf);
        return EXI_EFORMAT;
    }
    exi_sha256(sum, buf, len - EXI_HASH_LEN);
    if (memcmp(sum, buf + len - EXI_HASH_LEN, EXI_HASH_LEN) != 0) {
        free(buf);
        return EXI_EFORMAT;
    }
    r = exi_rd(buf, len - EXI_HASH_LEN);
    rc = get_state(&r, b);
    free(buf);
    return rc;
}

/*
 * Checkpoints.
 */

bool
bulk_checkpoint_due(const struct bulk *b)
{
    return bulk_now_ms() - b->saved_ms >= b->o.checkpoint_ms;
}

int
bulk_sync(const struct bulk *b)
{
    int fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = EXI_OK;

    if (fd < 0) {
        return fs_error();
    }
    if (syncfs(fd) != 0) {
        rc = fs_error();
    }
    close(fd);
    return rc;
}

/* The table to the file that the last state does not name. */
static int
dump_table(struct bulk *b)
{
    char path[FS_PATH_MAX];
    uint8_t to = b->st.dump == 0 ? 1 : 0;
    int rc = fs_path(path, "%s/table.%u", b->dir, to);

    if (rc == EXI_OK) {
        rc = bulk_table_save(&b->table, path);
    }
    if (rc == EXI_OK) {
        b->st.dump = to;
        b->st.coins = b->table.count;
    }
    return rc;
}

/* The other file is of no use any more. */
static void
drop_dump(const struct bulk *b)
{
    char path[FS_PATH_MAX];

    for (unsigned i = 0; i < 2; i++) {
        if (i != b->st.dump && fs_path(path, "%s/table.%u", b->dir, i) == 0) {
            unlink(path);
        }
    }
}

int
bulk_checkpoint(struct bulk *b)
{
    uint64_t begin = bulk_now_ms();
    int rc = EXI_OK;

    if (b->st.phase == BULK_READ) {
        rc = bulk_read_flush(b);
        if (rc == EXI_OK) {
            rc = dump_table(b);
        }
    } else {
        b->st.dump = NO_DUMP;
        b->st.coins = 0;
    }
    if (rc == EXI_OK) {
        rc = bulk_sync(b);
    }
    if (rc == EXI_OK) {
        rc = write_state(b);
    }
    if (rc != EXI_OK) {
        log_error("bulk", "checkpoint: %s", strerror(errno));
        return rc == EXI_ENOTFOUND ? EXI_EIO : rc;
    }
    drop_dump(b);
    b->saved_ms = bulk_now_ms();
    log_debug("bulk", "checkpoint at %u blocks, phase %d: %llu ms",
              b->st.blocks, (int) b->st.phase,
              (unsigned long long) (b->saved_ms - begin));
    return EXI_OK;
}
