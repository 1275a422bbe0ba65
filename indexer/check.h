/*
 * electrumx-indexer check: does the settled layer hold what it must?
 *
 * What is checked is a published generation, read-only and pinned by its lease,
 * so an indexer may be running meanwhile.  Block hashes and Merkle roots anchor
 * the flat files to the chain's proof of work; rows are compared with the flat
 * files and with each other (docs/reliability.md says what each level finds).
 */
#ifndef CHECK_H
#define CHECK_H

#include <signal.h>

#include "conf.h"
#include "lib/exi_format.h"

/* What a finding is about. */
enum check_part {
    CHECK_GENERATION, /* manifest, tables or segments missing or damaged */
    CHECK_HEADERS,
    CHECK_HMERKLE,
    CHECK_TXCOUNTS, /* and blocksizes */
    CHECK_TXIDS,    /* and txoffsets */
    CHECK_ROWS,     /* LevelDB: unreadable, malformed or out of order */
    CHECK_HISTORY,  /* H, G */
    CHECK_TXNUMS,   /* T */
    CHECK_UNSPENT,  /* U, O */
    CHECK_SPENDERS, /* S */
    CHECK_PARTS
};

struct check_opts {
    const char *data_dir;
    bool full;           /* every block and row; else all headers, a sample of
                            the rest */
    bool quiet;          /* no line for a finding, no progress */
    uint64_t generation; /* 0: the newest that is not damaged */
    const struct conf *node; /* compare all blocks with the node's, or NULL */
    volatile sig_atomic_t *stop;
};

/* Sum over a set of things that does not depend on their order. */
struct check_sum {
    uint64_t v[2];
    uint64_t n;
};

struct check_result {
    struct exi_manifest gen; /* number 0: there was none that can be opened */
    uint64_t findings[CHECK_PARTS];
    uint64_t total;
    uint32_t *bad; /* heights of blocks whose flat records are wrong, ascending,
                      each once; check_result_free() */
    size_t nbad;
    size_t cap_bad;
    /* Full level: the logical content, equal for equal chains however they
     * were indexed (batches, merged rows, bucket bits): H and G, T, U and O, S
     * rows, and SHA-256 over the flat files' records in enum exi_flat's order. */
    struct check_sum history, txids, unspent, spenders;
    uint8_t flat[EXI_HASH_LEN];
};

const char *check_part_name(enum check_part p);

/*
 * Checks; each finding is logged (the first 20 of a part).  EXI_OK: it was
 * done, r->total says how many findings; EXI_ENOTREADY: there is no generation;
 * EXI_EVERSION; EXI_ESTALE: stopped; EXI_ENOMEM, EXI_EIO.  Any process; one
 * thread.  Memory: 1 bit a transaction and 1 MB.
 */
int check_run(const struct check_opts *o,
              struct check_result *r) EXI_MUST_CHECK;
void check_result_free(struct check_result *r);

/* Tells what was found, on stdout. */
void check_print(const struct check_opts *o, const struct check_result *r);

/* Numbers of the generation directories of a data directory, descending, damaged
 * ones included: at most max of them. */
int check_generations(const char *data_dir, uint64_t *out, size_t max,
                      size_t *n) EXI_MUST_CHECK;

/*
 * The command: `electrumx-indexer check [--full] [--node] [--digest]
 * [--repair] [--generation N] [settings]`; argv[1] is "check".  Returns the exit code: 0
 * nothing found (or all repaired), 1 something found, 2 it can't be checked.
 */
int check_main(int argc, char **argv, volatile sig_atomic_t *stop);

#endif /* CHECK_H */
