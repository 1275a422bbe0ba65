/*
 * The set of scripts and transactions that the change under way touched, and the change record
 * made of it.  Open addressing; slots carry a stamp, so that clearing is free.
 * The place of a key is mixed with a secret, as anyone can choose scripts.
 */
#include "live_int.h"

#include <stdlib.h>

#define KEYS_MAX ((LIVE_LOG_RECORD_MAX - EXI_LIVE_CHANGE_FIXED) / EXI_SKEY_LEN)

static size_t
place(const struct live_set *s, const uint8_t *key)
{
    uint64_t h = (exi_le64(key) ^ s->seed) * 0x9e3779b97f4a7c15u;

    h ^= h >> 29;
    h = (h + exi_le32(key + 8)) * 0xbf58476d1ce4e5b9u;
    return (size_t) (h >> 20) & (s->nslots - 1);
}

static void
insert(struct live_set *s, const uint8_t *key)
{
    size_t i = place(s, key);

    while (s->slots[i].stamp == s->stamp) {
        if (memcmp(s->slots[i].s.b, key, EXI_SKEY_LEN) == 0) {
            return;
        }
        i = (i + 1) & (s->nslots - 1);
    }
    memcpy(s->slots[i].s.b, key, EXI_SKEY_LEN);
    s->slots[i].stamp = s->stamp;
    s->n++;
}

static int
grow(struct live_set *s)
{
    struct live_set bigger = *s;

    bigger.nslots = s->nslots ? s->nslots * 2 : 4096;
    bigger.n = 0;
    bigger.stamp = 1;
    bigger.slots = calloc(bigger.nslots, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return EXI_ENOMEM;
    }
    for (size_t i = 0; i < s->nslots; i++) {
        if (s->slots[i].stamp == s->stamp) {
            insert(&bigger, s->slots[i].s.b);
        }
    }
    free(s->slots);
    *s = bigger;
    return EXI_OK;
}

int
live_touch(struct live *l, const uint8_t *scripts, uint32_t nscripts)
{
    struct live_set *s = &l->touched;

    for (uint32_t i = 0; i < nscripts && !s->full; i++) {
        if (s->n * 2 >= s->nslots) {
            int rc = grow(s);
            if (rc) {
                return rc;
            }
        }
        insert(s, scripts + (size_t) i * EXI_SKEY_LEN);
        s->full = s->n > KEYS_MAX;
    }
    return EXI_OK;
}

int
live_touch_tx(struct live *l, const struct exi_live_tx *t)
{
    int rc = live_touch(l, t->txid.b, 1);

    return rc ? rc : live_touch(l, t->scripts, t->nscripts);
}

void
live_touch_clear(struct live_set *s)
{
    s->n = 0;
    s->full = false;
    if (++s->stamp == 0) {
        s->stamp = 1;
        for (size_t i = 0; i < s->nslots; i++) {
            s->slots[i].stamp = 0;
        }
    }
}

static int
compare(const void *a, const void *b)
{
    return memcmp(a, b, EXI_SKEY_LEN);
}

/* The keys of the set, ascending; malloc'd. */
static uint8_t *
sorted(const struct live_set *s)
{
    uint8_t *keys = malloc(s->n * EXI_SKEY_LEN + 1), *p = keys;

    if (keys == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < s->nslots && s->n > 0; i++) {
        if (s->slots[i].stamp == s->stamp) {
            memcpy(p, s->slots[i].s.b, EXI_SKEY_LEN);
            p += EXI_SKEY_LEN;
        }
    }
    qsort(keys, s->n, EXI_SKEY_LEN, compare);
    return keys;
}

/* A settle step that touches scripts would hide them: that is "all". */
static enum exi_change
kind_of(const struct live_set *s, enum exi_change kind)
{
    if (s->full || (kind == EXI_CHANGE_SETTLED && s->n > 0)) {
        return EXI_CHANGE_ALL;
    }
    return kind;
}

int
live_touch_record(struct live *l, enum exi_change kind, uint8_t **out,
                  size_t *len)
{
    struct exi_live_change c = { .kind = kind_of(&l->touched, kind) };
    uint8_t *keys = NULL, *rec = NULL;
    int rc = EXI_ENOMEM;

    c.tip_height = l->now.st.tip_height;
    c.low_height = l->low < c.tip_height + 1 ? l->low : c.tip_height + 1;
    if (c.kind != EXI_CHANGE_ALL && c.kind != EXI_CHANGE_SETTLED) {
        keys = sorted(&l->touched);
        if (keys == NULL) {
            goto done;
        }
        c.nscripts = (uint32_t) l->touched.n;
        c.scripts = keys;
    }
    rec = malloc(EXI_LIVE_CHANGE_FIXED + (size_t) c.nscripts * EXI_SKEY_LEN);
    if (rec == NULL) {
        goto done;
    }
    *len = exi_live_change_encode(rec, &c);
    *out = rec;
    rc = EXI_OK;

done:
    free(keys);
    return rc;
}
