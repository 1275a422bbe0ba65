/* What the files of exi_rodb share. */
#ifndef EXI_RODB_INT_H
#define EXI_RODB_INT_H

#include <stdatomic.h>

#include "exi_rodb.h"
#include "exi_table.h"

#define EXI_RODB_LEVELS 7
#define EXI_RODB_TEXT   320

/* A table as the MANIFEST has it.  Keys without tags. */
struct exi_rodb_table {
    uint64_t number;
    uint64_t len;
    unsigned level;
    uint32_t smalllen;
    uint32_t largelen;
    uint64_t smalltag;
    uint64_t largetag;
    const uint8_t *small;
    const uint8_t *large;
    struct exi_table *t;
};

/* Tables without common keys, in their order: a level; or one of level 0. */
struct exi_run {
    size_t n;
    struct exi_rodb_table *v; /* in exi_rodb's tables */
};

/* A row of a log. */
struct exi_memrow {
    const uint8_t *key;
    const uint8_t *val;
    uint32_t keylen;
    uint32_t vallen;
    uint64_t tag;
};

struct exi_rodb {
    char *dir;
    size_t ntables;
    struct exi_rodb_table *tables; /* by run */
    uint64_t *heads;               /* of the largest key of each */
    uint8_t *manifest;             /* has their keys */
    size_t nruns;
    struct exi_run *runs; /* the newest first */
    size_t nrows;
    size_t caprows;
    struct exi_memrow *rows; /* newer than all runs */
    size_t nlogs;
    uint8_t **logs;          /* have the rows' bytes */
    atomic_int damage_state; /* 0: none, 1: being written, 2: damage is good */
    char damage[EXI_RODB_TEXT];
};

/* What the MANIFEST says beside the tables. */
struct exi_rodb_logs {
    uint64_t from; /* this log and later ones */
    uint64_t also; /* and this one */
};

/* Where an error's text goes. */
struct exi_text {
    char *p;
    size_t len;
};

__attribute__((format(printf, 3, 4))) int
exi_rodb_say(struct exi_text *t, int rc, const char *fmt, ...);

/* Reads a file of the directory, to be freed; at most `most` bytes.
 * EXI_ENOTFOUND, EXI_EIO, EXI_EFORMAT (longer), EXI_ENOMEM. */
int exi_rodb_read(int dirfd, const char *name, size_t most, uint8_t **out,
                  size_t *len) EXI_MUST_CHECK;

/* MANIFEST -> db->tables, heads, runs; the tables are opened. */
int exi_rodb_load(struct exi_rodb *db, int dirfd, const char *name,
                  struct exi_rodb_logs *logs,
                  struct exi_text *err) EXI_MUST_CHECK;

/* Logs -> db->rows. */
int exi_rodb_replay(struct exi_rodb *db, int dirfd,
                    const struct exi_rodb_logs *logs,
                    struct exi_text *err) EXI_MUST_CHECK;

#endif /* EXI_RODB_INT_H */
