/*
 * chaingen: outputs that can be spent, and the statistics of keys.
 */
#include "chaingen.h"

struct cg_totals cg_totals;
struct cg_stat *cg_stats;
struct cg_utxo *cg_utxos;
uint32_t cg_nutxos;
struct cg_vec cg_ready;
struct cg_vec cg_cold;
uint32_t *cg_due;
struct cg_reservoir cg_look, cg_spent;

static uint32_t cap;
static uint32_t free_slot = CG_NIL;

void
cg_push(struct cg_vec *a, uint32_t x)
{
    if (a->n == a->cap) {
        a->cap = a->cap > 0 ? a->cap * 2 : 1024;
        a->v = cg_realloc(a->v, a->cap * sizeof(*a->v));
    }
    a->v[a->n++] = x;
}

uint32_t
cg_pop(struct cg_vec *a)
{
    uint32_t i = (uint32_t) cg_below(a->n), x = a->v[i];

    a->v[i] = a->v[--a->n];
    return x;
}

static uint32_t
new_slot(void)
{
    uint32_t i = free_slot;

    if (i != CG_NIL) {
        free_slot = cg_utxos[i].next;
        return i;
    }
    if (cg_nutxos == cap) {
        if (cap > CG_NIL / 2) {
            cg_die("too many outputs");
        }
        cap = cap > 0 ? cap + cap / 2 : 65536;
        cg_utxos = cg_realloc(cg_utxos, (size_t) cap * sizeof(*cg_utxos));
    }
    return cg_nutxos++;
}

void
cg_free_utxo(uint32_t slot)
{
    cg_utxos[slot].key = CG_GONE;
    cg_utxos[slot].next = free_slot;
    free_slot = slot;
}

void
cg_reserve(struct cg_reservoir *r, uint64_t key, int64_t value)
{
    uint64_t n = r->seen++, i = n;

    if (cg_opts.samples == 0) {
        return;
    }
    /* Random by the key, so that --samples does not change the chain. */
    if (n >= cg_opts.samples) {
        i = (uint64_t) (((unsigned __int128) cg_mix(key * 3 + 7) * (n + 1))
                        >> 64);
    }
    if (i < cg_opts.samples) {
        r->v[i] = (struct cg_sample){ key, value };
    }
}

void
cg_touch(uint64_t key, int64_t delta, int dutxo, uint32_t txno)
{
    struct cg_stat *s;

    if (key >= CG_SINGLE) {
        return;
    }
    s = &cg_stats[key];
    if (s->last_tx != txno) {
        s->last_tx = txno;
        s->hist++;
    }
    s->balance += delta;
    s->utxos += (uint32_t) dutxo;
    s->outs += dutxo > 0;
}

void
cg_count_output(uint64_t key, int kind, int64_t value, uint32_t txno)
{
    cg_touch(key, value, 1, txno);
    cg_totals.outs++;
    cg_totals.utxos++;
    cg_totals.amount += value;
    cg_totals.kind_outs[kind]++;
    cg_totals.kind_utxos[kind]++;
    if (key < CG_SINGLE) {
        cg_totals.reused++;
        return;
    }
    cg_totals.single++;
    if (!cg_spendable(kind)) {
        cg_reserve(&cg_look, key, value);
    }
}

void
cg_add_utxo(const uint8_t txid[32], uint32_t vout, int64_t value, uint64_t key,
            uint32_t height, uint32_t when)
{
    uint32_t i = new_slot();
    struct cg_utxo *u = &cg_utxos[i];

    memcpy(u->txid, txid, sizeof(u->txid));
    u->vout = vout;
    u->value = value;
    u->key = key;
    u->height = height;
    u->next = CG_NIL;
    if (when == 0) {
        cg_push(&cg_ready, i);
    } else if (when == CG_NIL) {
        cg_push(&cg_cold, i);
    } else if (when <= cg_opts.blocks) {
        u->next = cg_due[when];
        cg_due[when] = i;
    }
}
