/*
 * ngx_electrumx_subs.h against a plain array: random subscribing,
 * unsubscribing and closing, with script keys that only differ in their last
 * bytes and script hashes that only differ in their tails; and its memory.
 */
#include "ngx_electrumx_subs.c"

#include "rnd.h"
#include "tap.h"

#define SESSIONS 12
#define KEYS     400
#define TAILS    3

static ngx_electrumx_table_t table;
static struct ngx_electrumx_session_s session[SESSIONS];
static bool model[SESSIONS][KEYS][TAILS];

static void
make(int key, int tail, u_char hash[EXI_HASH_LEN + 1])
{
    memset(hash, 0x5a, EXI_HASH_LEN);
    hash[EXI_HASH_LEN] = NGX_ELECTRUMX_BY_HASH;
    hash[EXI_SKEY_LEN - 2] = (u_char) (key >> 8);
    hash[EXI_SKEY_LEN - 1] = (u_char) key;
    hash[EXI_HASH_LEN - 1] = (u_char) tail;
}

static void
add(int s, int key, int tail)
{
    u_char h[EXI_HASH_LEN + 1];
    uint32_t i;
    uint32_t k;

    make(key, tail, h);
    i = ngx_electrumx_script_find(&table, h);
    if (i == 0) {
        i = ngx_electrumx_script_new(&table, h);
    }
    k = ngx_electrumx_sub_find(&table, &session[s], i, h + EXI_SKEY_LEN);
    each((k != 0) == model[s][key][tail], "%d has %d.%d", s, key, tail);
    if (k == 0) {
        k = ngx_electrumx_sub_new(&table, &session[s], i, h + EXI_SKEY_LEN);
    }
    each(i && k && ngx_electrumx_sub(&table, k)->session == &session[s]
             && ngx_electrumx_sub(&table, k)->script == i,
         "%d gets %d.%d", s, key, tail);
    model[s][key][tail] = true;
}

static void
drop(uint32_t k)
{
    uint32_t i = ngx_electrumx_sub(&table, k)->script;

    ngx_electrumx_sub_free(&table, k);
    if (ngx_electrumx_script(&table, i)->subs == 0) {
        ngx_electrumx_script_free(&table, i);
    }
}

static void
take(int s, int key, int tail)
{
    u_char h[EXI_HASH_LEN + 1];
    uint32_t i;
    uint32_t k;

    make(key, tail, h);
    i = ngx_electrumx_script_find(&table, h);
    k = i ? ngx_electrumx_sub_find(&table, &session[s], i, h + EXI_SKEY_LEN)
          : 0;
    each((k != 0) == model[s][key][tail], "%d loses %d.%d", s, key, tail);
    if (k) {
        drop(k);
    }
    model[s][key][tail] = false;
}

static void
close_session(int s)
{
    while (ngx_electrumx_first(&session[s])) {
        drop(ngx_electrumx_first(&session[s]));
    }
    each(session[s].nsubs == 0, "%d is empty", s);
    memset(model[s], 0, sizeof(model[s]));
}

/* Every list says the same as the model. */
static void
compare(void)
{
    size_t scripts = 0;
    size_t subs = 0;

    for (int key = 0; key < KEYS; key++) {
        u_char h[EXI_HASH_LEN + 1];
        size_t want = 0;
        size_t got = 0;
        uint32_t prev = 0;
        uint32_t i;

        for (int s = 0; s < SESSIONS; s++) {
            for (int tail = 0; tail < TAILS; tail++) {
                want += model[s][key][tail];
            }
        }
        make(key, 0, h);
        i = ngx_electrumx_script_find(&table, h);
        each((i != 0) == (want != 0), "script %d", key);
        for (uint32_t k = i ? ngx_electrumx_script(&table, i)->subs : 0; k;
             k = ngx_electrumx_sub(&table, k)->next) {
            const ngx_electrumx_sub_t *sub = ngx_electrumx_sub(&table, k);
            int s = (int) (sub->session - session);

            each(sub->prev == prev, "links of script %d", key);
            each(model[s][key][sub->tail[NGX_ELECTRUMX_TAIL - 2]],
                 "script %d has %d", key, s);
            prev = k;
            got++;
        }
        each(got == want, "script %d has %zu of %zu", key, got, want);
        scripts += want != 0;
        subs += want;
    }
    each(table.scripts.n == scripts && table.subs.n == subs, "counts");
    for (int s = 0; s < SESSIONS; s++) {
        size_t n = 0;

        for (uint32_t k = ngx_electrumx_first(&session[s]); k;
             k = ngx_electrumx_sub(&table, k)->snext) {
            n++;
        }
        each(n == session[s].nsubs, "list of session %d", s);
        subs -= n;
    }
    each(subs == 0, "all of them in lists of sessions");
}

static void
test_random(void)
{
    for (int s = 0; s < SESSIONS; s++) {
        session[s].id = (uint64_t) s + 1;
    }
    ngx_electrumx_table_init(&table, rnd());
    for (int round = 0; round < 40; round++) {
        for (int n = 0; n < 1000; n++) {
            int s = (int) rnd_below(SESSIONS);
            int key = (int) rnd_below(KEYS);
            int tail = (int) rnd_below(TAILS);

            if (rnd_below(100) < (round % 4 == 3 ? 20 : 60)) {
                add(s, key, tail);
            } else {
                take(s, key, tail);
            }
            if (rnd_below(300) == 0) {
                close_session(s);
            }
        }
        compare();
    }
    for (int s = 0; s < SESSIONS; s++) {
        close_session(s);
    }
    compare();
    ngx_electrumx_table_done(&table);
    add(0, 1, 0);
    close_session(0);
    ngx_electrumx_table_done(&table);
    each_done("as the model");
}

/* All that the table allocates for scripts with one subscriber each. */
static void
test_memory(void)
{
    u_char h[EXI_HASH_LEN + 1];
    const uint32_t n = 100000;
    size_t bytes = 0;

    ngx_electrumx_table_init(&table, rnd());
    for (uint32_t i = 0; i < n; i++) {
        memset(h, 0, sizeof(h));
        memcpy(h, &i, sizeof(i));
        add(0, 0, 0);
        close_session(0);
        ngx_electrumx_sub_new(&table, &session[i % SESSIONS],
                              ngx_electrumx_script_new(&table, h),
                              h + EXI_SKEY_LEN);
    }
    for (int i = 0; i < 2; i++) {
        ngx_electrumx_slab_t *slab = i ? &table.scripts : &table.subs;

        bytes += (size_t) slab->nchunks
                     * ((size_t) slab->size << NGX_ELECTRUMX_CHUNK_SHIFT)
                 + slab->nchunks * 2 * sizeof(u_char *)
                 + slab->nslots * sizeof(uint32_t);
    }
    each_done("adding");
    ok(bytes / n <= 150, "%zu bytes a subscription", bytes / n);
    for (int s = 0; s < SESSIONS; s++) {
        close_session(s);
    }
    ngx_electrumx_table_done(&table);
}

int
main(void)
{
    rnd_init();
    subtest("random", test_random);
    subtest("memory", test_memory);
    return done_testing();
}
