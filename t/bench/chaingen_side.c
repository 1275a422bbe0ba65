/*
 * chaingen: side files with what is true of the chain: PREFIX.samples.tsv
 * (history length, outputs and balance of sample scripts), PREFIX.txs.tsv
 * (sample transactions), PREFIX.utxos.tsv (outputs to make transactions with),
 * PREFIX.json (totals).  With --after these are of the chain before, and
 * PREFIX.after.json and so on of all of it.
 */
#include "chaingen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static const char *side_infix;

static FILE *
side_open(const char *suffix)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s%s%s", cg_opts.side, side_infix, suffix);
    f = fopen(path, "w");
    if (f == NULL) {
        cg_die("%s: %s", path, strerror(errno));
    }
    return f;
}

static void
side_close(FILE *f)
{
    if (fclose(f) != 0) {
        cg_die("write: %s", strerror(errno));
    }
}

/* ---- samples ---- */

static void
sample(FILE *f, const char *class, uint64_t key, uint32_t hist, uint32_t utxos,
       int64_t balance)
{
    uint8_t script[40], h[32];
    char shash[65], hex[81];
    int kind = cg_key_kind(key);
    size_t n = cg_key_script(key, kind, script);

    cg_sha256(script, n, h);
    cg_hex_reversed(shash, h, 32);
    cg_hex(hex, script, n);
    fprintf(f, "%s\t%s\t%u\t%u\t%" PRId64 "\t%s\t%s\n", class, shash, hist,
            utxos, balance, cg_kind_name[kind], hex);
}

static void
sample_key(FILE *f, const char *class, uint64_t key)
{
    const struct cg_stat *s = &cg_stats[key];

    sample(f, class, key, s->hist, s->utxos, s->balance);
}

/* Single-use keys, unspent: a quarter look-alikes, the others from the slots;
 * then spent ones. */
static void
sample_single(FILE *f)
{
    uint32_t want = cg_opts.samples, n = 0;
    uint32_t step = cg_nutxos / (want + 1) | 1;
    uint64_t i;

    for (i = 0; i < cg_look.seen && i < want && n < want / 4; i++, n++) {
        sample(f, "1", cg_look.v[i].key, 1, 1, cg_look.v[i].value);
    }
    i = cg_nutxos > 0 ? cg_below(step) : 0;
    for (; i < cg_nutxos && n < want; i += step) {
        for (uint64_t j = i; j < cg_nutxos && j < i + step; j++) {
            const struct cg_utxo *u = &cg_utxos[j];

            if (u->key != CG_GONE && u->key >= CG_SINGLE) {
                sample(f, "1", u->key, 1, 1, u->value);
                n++;
                break;
            }
        }
    }
    for (i = 0; i < cg_spent.seen && i < want; i++) {
        sample(f, "2", cg_spent.v[i].key, 2, 0, 0);
    }
}

/* Reused keys with a history (or number of outputs) of lo ... hi. */
static void
sample_class(FILE *f, const char *class, uint32_t lo, uint32_t hi, bool utxos,
             uint64_t *pick)
{
    uint32_t want = cg_opts.samples;
    uint64_t seen = 0;

    for (uint64_t k = 0; k < cg_pool + CG_MINERS; k++) {
        uint32_t n = utxos ? cg_stats[k].utxos : cg_stats[k].hist;

        if (n >= lo && n <= hi) {
            uint64_t i = seen < want ? seen : cg_below(seen + 1);

            seen++;
            if (i < want) {
                pick[i] = k;
            }
        }
    }
    for (uint64_t i = 0; i < seen && i < want; i++) {
        sample_key(f, class, pick[i]);
    }
}

static bool by_utxos;

static int
heavier(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
    uint32_t p = by_utxos ? cg_stats[x].utxos : cg_stats[x].hist;
    uint32_t q = by_utxos ? cg_stats[y].utxos : cg_stats[y].hist;

    return p != q ? (p < q ? 1 : -1) : (x > y) - (x < y);
}

static void
sample_heaviest(FILE *f)
{
    size_t n = cg_pool + CG_MINERS;
    uint32_t *order = cg_realloc(NULL, n * sizeof(*order));

    for (size_t k = 0; k < n; k++) {
        order[k] = (uint32_t) k;
    }
    for (int pass = 0; pass < 2; pass++) {
        by_utxos = pass == 1;
        qsort(order, n, sizeof(*order), heavier);
        for (size_t i = 0; i < 5 && i < n; i++) {
            sample_key(f, by_utxos ? "most-utxos" : "heaviest", order[i]);
        }
    }
    free(order);
}

static void
write_samples(void)
{
    static const struct {
        const char *name;
        uint32_t lo, hi;
        bool utxos;
    } classes[] = { { "10", 8, 12, false },
                    { "100", 80, 120, false },
                    { "1000", 800, 1200, false },
                    { "10000", 8000, 12000, false },
                    { "100000", 80000, 120000, false },
                    { "10-utxos", 8, 12, true } };
    uint64_t *pick =
        cg_realloc(NULL, ((size_t) cg_opts.samples + 1) * sizeof(*pick));
    FILE *f = side_open(".samples.tsv");

    fprintf(f, "#class\tscripthash\thistory\tutxos\tbalance_sat\tkind\t"
               "script_hex\n");
    sample_single(f);
    for (size_t c = 0; c < sizeof(classes) / sizeof(*classes); c++) {
        sample_class(f, classes[c].name, classes[c].lo, classes[c].hi,
                     classes[c].utxos, pick);
    }
    sample_heaviest(f);
    free(pick);
    side_close(f);
}

/* ---- transactions ---- */

struct cg_txsample *cg_txs;
uint64_t cg_txs_seen;

void
cg_reserve_txs(uint32_t height)
{
    for (uint32_t i = 0; i < cg_block.ntx; i++) {
        uint64_t at = cg_txs_seen++;

        if (at >= cg_opts.samples) {
            at = cg_mix(cg_opts.seed ^ at << 20) % (at + 1);
        }
        if (at < cg_opts.samples) {
            memcpy(cg_txs[at].txid, cg_block.txids[i], 32);
            cg_txs[at].height = height;
            cg_txs[at].pos = i;
        }
    }
}

static void
write_txs(void)
{
    FILE *f = side_open(".txs.tsv");
    char txid[65];

    fprintf(f, "#txid\theight\tposition\n");
    for (uint32_t i = 0; i < cg_opts.samples && i < cg_txs_seen; i++) {
        cg_hex_reversed(txid, cg_txs[i].txid, 32);
        fprintf(f, "%s\t%u\t%u\n", txid, cg_txs[i].height, cg_txs[i].pos);
    }
    side_close(f);
}

/* ---- outputs that can be spent ---- */

static void
write_utxo(FILE *f, const struct cg_utxo *u)
{
    uint8_t script[40], inner[16];
    char txid[65], hex[81], inner_hex[33];
    int kind = cg_key_kind(u->key);
    size_t n = cg_key_script(u->key, kind, script);
    size_t m = cg_key_inner(u->key, kind, inner);

    cg_hex_reversed(txid, u->txid, 32);
    cg_hex(hex, script, n);
    cg_hex(inner_hex, inner, m);
    fprintf(f, "%s\t%u\t%" PRId64 "\t%s\t%s\t%s\t%d\n", txid, u->vout, u->value,
            cg_kind_name[kind], hex, kind == CG_BARE ? "-" : inner_hex,
            cg_opts.pad && kind != CG_BARE ? 2 : 0);
}

/* Not a miner's, whose coinbase may not be mature. */
static bool
good_utxo(const struct cg_utxo *u)
{
    return u->key != CG_GONE && !(u->key >= cg_pool && u->key < CG_SINGLE)
           && u->value >= 5000;
}

static void
write_utxos(void)
{
    FILE *f = side_open(".utxos.tsv");
    uint32_t step = cg_nutxos / (cg_opts.dump_utxos + 1) | 1, n = 0;

    fprintf(f, "#txid\tvout\tvalue_sat\tkind\tscript_hex\t"
               "redeem_or_witness_script_hex\tdummy_items\n");
    for (uint64_t i = 0; i < cg_nutxos && n < cg_opts.dump_utxos; i += step) {
        for (uint64_t j = i; j < cg_nutxos && j < i + step; j++) {
            if (good_utxo(&cg_utxos[j])) {
                write_utxo(f, &cg_utxos[j]);
                n++;
                break;
            }
        }
    }
    side_close(f);
}

/* ---- totals ---- */

static void
json_u64(FILE *f, const char *name, uint64_t v)
{
    fprintf(f, "  \"%s\": %" PRIu64 ",\n", name, v);
}

static void
json_list(FILE *f, const char *name, const char *const *names,
          const uint64_t *v, size_t n)
{
    fprintf(f, "  \"%s\": {", name);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", names[i], v[i]);
    }
    fprintf(f, "},\n");
}

static void
json_chain(FILE *f, uint32_t height, int64_t time)
{
    const struct cg_totals *t = &cg_totals;
    char tip[65];

    cg_hex_reversed(tip, cg_prev_hash, 32);
    json_u64(f, "seed", cg_opts.seed);
    json_u64(f, "height", height);
    fprintf(f, "  \"tip\": \"%s\",\n  \"tip_time\": %" PRId64 ",\n", tip, time);
    json_u64(f, "blocks", height);
    json_u64(f, "txs", t->txs);
    json_u64(f, "txs_with_genesis", t->txs + 1);
    json_u64(f, "txs_with_witness_not_coinbase", t->witness_txs);
    json_u64(f, "inputs_not_coinbase", t->ins);
    json_u64(f, "outputs", t->outs);
    json_u64(f, "op_return_outputs", t->opret);
    json_u64(f, "utxos", t->utxos);
    json_u64(f, "utxo_total_sat", (uint64_t) t->amount);
    json_u64(f, "fees_sat", (uint64_t) t->fees);
    json_u64(f, "block_bytes", t->bytes);
    json_u64(f, "max_block_weight", t->weight_max);
}

static void
json_scripts(FILE *f)
{
    static const char *const names[] = { "1000", "10000", "100000", "1000000" };
    static const uint32_t least[] = { 1000, 10000, 100000, 1000000 };
    uint64_t over[4] = { 0 }, used = 0, hist = 0, utxos = 0, many = 0;

    for (uint64_t k = 0; k < cg_pool + CG_MINERS; k++) {
        const struct cg_stat *s = &cg_stats[k];

        used += s->hist > 0;
        many += s->utxos > 10000;
        hist = s->hist > hist ? s->hist : hist;
        utxos = s->utxos > utxos ? s->utxos : utxos;
        for (int i = 0; i < 4; i++) {
            over[i] += s->hist >= least[i];
        }
    }
    json_u64(f, "distinct_scripts", used + cg_totals.single);
    json_u64(f, "single_use_scripts", cg_totals.single);
    json_u64(f, "outputs_to_reused_scripts", cg_totals.reused);
    json_u64(f, "pool_keys", cg_pool);
    json_u64(f, "max_history", hist);
    json_u64(f, "max_utxos_of_a_script", utxos);
    json_list(f, "scripts_with_history_ge", names, over, 4);
    json_u64(f, "scripts_with_utxos_gt_10000", many);
}

static void
write_totals(uint32_t height, int64_t time, double seconds)
{
    static const char *const ages[] = { "0",     "1",        "2-6",
                                        "7-144", "145-1000", ">1000" };
    FILE *f = side_open(".json");
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);
    fprintf(f, "{\n");
    json_chain(f, height, time);
    json_scripts(f);
    json_list(f, "outputs_by_kind", cg_kind_name, cg_totals.kind_outs,
              CG_KINDS);
    json_list(f, "utxos_by_kind", cg_kind_name, cg_totals.kind_utxos, CG_KINDS);
    json_list(f, "spend_age_blocks", ages, cg_totals.age, 6);
    fprintf(f,
            "  \"seconds\": %.2f,\n  \"txs_per_second\": %.0f,\n"
            "  \"max_rss_mb\": %ld\n}\n",
            seconds, (double) cg_totals.txs / seconds, ru.ru_maxrss / 1024);
    side_close(f);
}

void
cg_write_side(const char *infix, uint32_t height, int64_t time, double seconds)
{
    side_infix = infix;
    write_samples();
    write_txs();
    write_utxos();
    write_totals(height, time, seconds);
}
