/*
 * The table of subscriptions; see the header.
 *
 * Both kinds of things are found through chained hash tables that double when
 * there are more things than slots.
 */

#include "ngx_electrumx_subs.h"

#include <stdlib.h>


static uint64_t ngx_electrumx_script_hash(ngx_electrumx_table_t *t,
    const u_char *key);
static uint64_t ngx_electrumx_sub_hash(ngx_electrumx_table_t *t,
    ngx_electrumx_session_t *s, uint32_t script, const u_char *tail);
static uint32_t *ngx_electrumx_script_slot(ngx_electrumx_table_t *t,
    uint32_t i);
static uint32_t *ngx_electrumx_sub_slot(ngx_electrumx_table_t *t, uint32_t k);
static void ngx_electrumx_sub_unhash(ngx_electrumx_table_t *t, uint32_t k);
static uint32_t ngx_electrumx_slab_new(ngx_electrumx_slab_t *slab);
static void ngx_electrumx_slab_free(ngx_electrumx_slab_t *slab, uint32_t i);
static void ngx_electrumx_slab_done(ngx_electrumx_slab_t *slab);
static uint32_t *ngx_electrumx_slots_new(ngx_electrumx_slab_t *slab);
static ngx_int_t ngx_electrumx_scripts_grow(ngx_electrumx_table_t *t);
static ngx_int_t ngx_electrumx_subs_grow(ngx_electrumx_table_t *t);


#define ngx_electrumx_slot(slab, hash)                                        \
    (&(slab)->slots[(hash) & ((slab)->nslots - 1)])


void
ngx_electrumx_table_init(ngx_electrumx_table_t *t, uint64_t seed)
{
    ngx_memzero(t, sizeof(ngx_electrumx_table_t));

    t->scripts.size = sizeof(ngx_electrumx_script_t);
    t->subs.size = sizeof(ngx_electrumx_sub_t);
    t->seed = seed;
}


void
ngx_electrumx_table_done(ngx_electrumx_table_t *t)
{
    ngx_electrumx_slab_done(&t->scripts);
    ngx_electrumx_slab_done(&t->subs);
}


static ngx_inline uint64_t
ngx_electrumx_mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15ULL;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9ULL;

    return h ^ (h >> 32);
}


static uint64_t
ngx_electrumx_script_hash(ngx_electrumx_table_t *t, const u_char *key)
{
    uint64_t  a, b;

    ngx_memcpy(&a, key, 8);
    ngx_memcpy(&b, key + EXI_SKEY_LEN - 8, 8);

    return ngx_electrumx_mix(ngx_electrumx_mix(a ^ t->seed) ^ b);
}


static uint64_t
ngx_electrumx_sub_hash(ngx_electrumx_table_t *t, ngx_electrumx_session_t *s,
    uint32_t script, const u_char *tail)
{
    uint64_t  a, b;

    ngx_memcpy(&a, tail, 8);
    ngx_memcpy(&b, tail + NGX_ELECTRUMX_TAIL - 8, 8);

    a = ngx_electrumx_mix(ngx_electrumx_mix(a ^ t->seed) ^ b);

    return ngx_electrumx_mix(a ^ (s->id << 32) ^ script);
}


static uint32_t *
ngx_electrumx_script_slot(ngx_electrumx_table_t *t, uint32_t i)
{
    return ngx_electrumx_slot(&t->scripts, ngx_electrumx_script_hash(t,
                                          ngx_electrumx_script(t, i)->key));
}


static uint32_t *
ngx_electrumx_sub_slot(ngx_electrumx_table_t *t, uint32_t k)
{
    ngx_electrumx_sub_t  *sub;

    sub = ngx_electrumx_sub(t, k);

    return ngx_electrumx_slot(&t->subs, ngx_electrumx_sub_hash(t, sub->session,
                                                  sub->script, sub->tail));
}


/* Scripts */

uint32_t
ngx_electrumx_script_find(ngx_electrumx_table_t *t, const u_char *key)
{
    uint32_t                 i;
    ngx_electrumx_script_t  *script;

    if (t->scripts.nslots == 0) {
        return 0;
    }

    i = *ngx_electrumx_slot(&t->scripts, ngx_electrumx_script_hash(t, key));

    while (i) {
        script = ngx_electrumx_script(t, i);

        if (ngx_memcmp(script->key, key, EXI_SKEY_LEN) == 0) {
            return i;
        }

        i = script->next;
    }

    return 0;
}


uint32_t
ngx_electrumx_script_new(ngx_electrumx_table_t *t, const u_char *key)
{
    uint32_t                 i, *slot;
    ngx_electrumx_script_t  *script;

    if (t->scripts.n >= t->scripts.nslots
        && ngx_electrumx_scripts_grow(t) != NGX_OK)
    {
        return 0;
    }

    i = ngx_electrumx_slab_new(&t->scripts);

    if (i == 0) {
        return 0;
    }

    script = ngx_electrumx_script(t, i);

    ngx_memzero(script, sizeof(ngx_electrumx_script_t));
    ngx_memcpy(script->key, key, EXI_SKEY_LEN);

    slot = ngx_electrumx_script_slot(t, i);

    script->next = *slot;
    *slot = i;

    return i;
}


void
ngx_electrumx_script_free(ngx_electrumx_table_t *t, uint32_t i)
{
    uint32_t                *slot;
    ngx_electrumx_script_t  *script;

    script = ngx_electrumx_script(t, i);

    for (slot = ngx_electrumx_script_slot(t, i);
         *slot != i;
         slot = &ngx_electrumx_script(t, *slot)->next)
    {
        /* void */
    }

    *slot = script->next;

    script->subs = 0;
    script->flags = 0;

    ngx_electrumx_slab_free(&t->scripts, i);
}


/* Subscribers */

uint32_t
ngx_electrumx_sub_find(ngx_electrumx_table_t *t, ngx_electrumx_session_t *s,
    uint32_t script, const u_char *tail)
{
    uint32_t              k;
    ngx_electrumx_sub_t  *sub;

    if (t->subs.nslots == 0) {
        return 0;
    }

    k = *ngx_electrumx_slot(&t->subs,
                            ngx_electrumx_sub_hash(t, s, script, tail));

    while (k) {
        sub = ngx_electrumx_sub(t, k);

        if (sub->session == s && sub->script == script
            && ngx_memcmp(sub->tail, tail, NGX_ELECTRUMX_TAIL) == 0)
        {
            return k;
        }

        k = sub->hash_next;
    }

    return 0;
}


uint32_t
ngx_electrumx_sub_new(ngx_electrumx_table_t *t, ngx_electrumx_session_t *s,
    uint32_t script, const u_char *tail)
{
    uint32_t                 k, *slot;
    ngx_electrumx_sub_t     *sub;
    ngx_electrumx_script_t  *of;

    if (t->subs.n >= t->subs.nslots && ngx_electrumx_subs_grow(t) != NGX_OK) {
        return 0;
    }

    k = ngx_electrumx_slab_new(&t->subs);

    if (k == 0) {
        return 0;
    }

    sub = ngx_electrumx_sub(t, k);
    of = ngx_electrumx_script(t, script);

    sub->session = s;
    sub->upper = 0;
    sub->script = script;
    ngx_memcpy(sub->tail, tail, NGX_ELECTRUMX_TAIL);

    slot = ngx_electrumx_sub_slot(t, k);

    sub->hash_next = *slot;
    *slot = k;

    sub->prev = 0;
    sub->next = of->subs;

    if (sub->next) {
        ngx_electrumx_sub(t, sub->next)->prev = k;
    }

    of->subs = k;

    sub->sprev = 0;
    sub->snext = ngx_electrumx_first(s);

    if (sub->snext) {
        ngx_electrumx_sub(t, sub->snext)->sprev = k;
    }

    s->subscriptions = (void *) (uintptr_t) k;
    s->nsubs++;

    return k;
}


void
ngx_electrumx_sub_free(ngx_electrumx_table_t *t, uint32_t k)
{
    ngx_electrumx_sub_t  *sub;

    ngx_electrumx_sub_unhash(t, k);

    sub = ngx_electrumx_sub(t, k);

    if (sub->tail[NGX_ELECTRUMX_TAIL - 1] == NGX_ELECTRUMX_BY_ADDRESS) {
        free(sub->address);
    }

    if (sub->next) {
        ngx_electrumx_sub(t, sub->next)->prev = sub->prev;
    }

    if (sub->prev) {
        ngx_electrumx_sub(t, sub->prev)->next = sub->next;

    } else {
        ngx_electrumx_script(t, sub->script)->subs = sub->next;
    }

    if (sub->snext) {
        ngx_electrumx_sub(t, sub->snext)->sprev = sub->sprev;
    }

    if (sub->sprev) {
        ngx_electrumx_sub(t, sub->sprev)->snext = sub->snext;

    } else {
        sub->session->subscriptions = (void *) (uintptr_t) sub->snext;
    }

    sub->session->nsubs--;

    ngx_electrumx_slab_free(&t->subs, k);
}


static void
ngx_electrumx_sub_unhash(ngx_electrumx_table_t *t, uint32_t k)
{
    uint32_t  *slot;

    for (slot = ngx_electrumx_sub_slot(t, k);
         *slot != k;
         slot = &ngx_electrumx_sub(t, *slot)->hash_next)
    {
        /* void */
    }

    *slot = ngx_electrumx_sub(t, k)->hash_next;
}


ngx_int_t
ngx_electrumx_sub_spell(ngx_electrumx_sub_t *sub,
    const ngx_str_t *spelling)
{
    size_t   i;
    u_char  *p;

    switch (sub->tail[NGX_ELECTRUMX_TAIL - 1]) {

    case NGX_ELECTRUMX_BY_ADDRESS:
        p = malloc(spelling->len + 1);

        if (p == NULL) {
            return NGX_ERROR;
        }

        *ngx_cpymem(p, spelling->data, spelling->len) = '\0';

        free(sub->address);
        sub->address = p;
        return NGX_OK;

    case NGX_ELECTRUMX_BY_SCRIPT:
        return NGX_OK;
    }

    sub->upper = 0;

    for (i = 0; i < spelling->len && i < EXI_HASH_LEN * 2; i++) {
        if (spelling->data[i] >= 'A' && spelling->data[i] <= 'F') {
            sub->upper |= (uint64_t) 1 << i;
        }
    }

    return NGX_OK;
}


void
ngx_electrumx_sub_name(ngx_electrumx_sub_t *sub,
    ngx_electrumx_script_t *script, struct exi_jw *jw)
{
    char        text[EXI_HASH_LEN * 2];
    u_char      hash[EXI_HASH_LEN];
    ngx_uint_t  i;

    switch (sub->tail[NGX_ELECTRUMX_TAIL - 1]) {

    case NGX_ELECTRUMX_BY_ADDRESS:
        exi_jw_lit(jw, "address.subscribe\",\"params\":[\"");
        exi_jw_raw(jw, sub->address, ngx_strlen(sub->address));
        return;

    case NGX_ELECTRUMX_BY_SCRIPT:
        exi_jw_lit(jw, "scriptpubkey.subscribe\",\"params\":[\"");
        break;

    default:
        exi_jw_lit(jw, "scripthash.subscribe\",\"params\":[\"");
    }

    ngx_memcpy(hash, script->key, EXI_SKEY_LEN);
    ngx_memcpy(hash + EXI_SKEY_LEN, sub->tail, EXI_HASH_LEN - EXI_SKEY_LEN);

    exi_hex_display(text, hash);

    for (i = 0; i < EXI_HASH_LEN * 2; i++) {

        if ((sub->upper >> i) & 1) {
            text[i] = (char) ngx_toupper(text[i]);
        }
    }

    exi_jw_raw(jw, text, sizeof(text));
}


/* Slabs */

static uint32_t
ngx_electrumx_slab_new(ngx_electrumx_slab_t *slab)
{
    u_char    **chunks;
    uint32_t    i;

    if (slab->free) {
        i = slab->free;
        ngx_memcpy(&slab->free, ngx_electrumx_slab(slab, i), sizeof(uint32_t));
        slab->n++;

        return i;
    }

    i = slab->last + 1;

    if (i >> NGX_ELECTRUMX_CHUNK_SHIFT == slab->nchunks) {

        /* room for pointers doubles when a power of two is reached */

        if ((slab->nchunks & (slab->nchunks - 1)) == 0) {

            chunks = realloc(slab->chunks, sizeof(u_char *)
                             * (slab->nchunks ? slab->nchunks * 2 : 1));
            if (chunks == NULL) {
                return 0;
            }

            slab->chunks = chunks;
        }

        slab->chunks[slab->nchunks] = malloc((size_t) slab->size
                                         << NGX_ELECTRUMX_CHUNK_SHIFT);

        if (slab->chunks[slab->nchunks] == NULL) {
            return 0;
        }

        slab->nchunks++;
    }

    slab->last = i;
    slab->n++;

    return i;
}


/* Free things are linked by their first bytes. */

static void
ngx_electrumx_slab_free(ngx_electrumx_slab_t *slab, uint32_t i)
{
    ngx_memcpy(ngx_electrumx_slab(slab, i), &slab->free, sizeof(uint32_t));

    slab->free = i;
    slab->n--;
}


static void
ngx_electrumx_slab_done(ngx_electrumx_slab_t *slab)
{
    uint32_t  i;

    for (i = 0; i < slab->nchunks; i++) {
        free(slab->chunks[i]);
    }

    free(slab->chunks);
    free(slab->slots);

    slab->chunks = NULL;
    slab->nchunks = 0;
    slab->last = 0;
    slab->free = 0;
    slab->n = 0;
    slab->slots = NULL;
    slab->nslots = 0;
}


/* Twice as many slots, empty. */

static uint32_t *
ngx_electrumx_slots_new(ngx_electrumx_slab_t *slab)
{
    size_t  n;

    n = slab->nslots ? (size_t) slab->nslots * 2 : 256;

    if (n > (size_t) 1 << 31) {
        return NULL;
    }

    return calloc(n, sizeof(uint32_t));
}


static ngx_int_t
ngx_electrumx_scripts_grow(ngx_electrumx_table_t *t)
{
    uint32_t                 i, n, next, *old, *slot;
    ngx_electrumx_slab_t    *slab;
    ngx_electrumx_script_t  *script;

    slab = &t->scripts;
    old = slab->slots;
    n = slab->nslots;

    slot = ngx_electrumx_slots_new(slab);

    if (slot == NULL) {
        return NGX_ERROR;
    }

    slab->slots = slot;
    slab->nslots = n ? n * 2 : 256;

    while (n--) {

        for (i = old[n]; i; i = next) {
            script = ngx_electrumx_script(t, i);
            next = script->next;

            slot = ngx_electrumx_script_slot(t, i);
            script->next = *slot;
            *slot = i;
        }
    }

    free(old);

    return NGX_OK;
}


static ngx_int_t
ngx_electrumx_subs_grow(ngx_electrumx_table_t *t)
{
    uint32_t               k, n, next, *old, *slot;
    ngx_electrumx_sub_t   *sub;
    ngx_electrumx_slab_t  *slab;

    slab = &t->subs;
    old = slab->slots;
    n = slab->nslots;

    slot = ngx_electrumx_slots_new(slab);

    if (slot == NULL) {
        return NGX_ERROR;
    }

    slab->slots = slot;
    slab->nslots = n ? n * 2 : 256;

    while (n--) {

        for (k = old[n]; k; k = next) {
            sub = ngx_electrumx_sub(t, k);
            next = sub->hash_next;

            slot = ngx_electrumx_sub_slot(t, k);
            sub->hash_next = *slot;
            *slot = k;
        }
    }

    free(old);

    return NGX_OK;
}
