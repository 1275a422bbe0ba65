/*
 * Settings of the indexer: one table gives name, type, default, bounds and
 * unit of each; the same names in the file ("name = value") and as long options
 * ("--live-window 100").  Read once at start, then constant.
 */
#ifndef CONF_H
#define CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct conf {
    char *network; /* name in the coin table, "mainnet" ... */
    char *data_dir;
    char *daemon_url;    /* comma list */
    char *daemon_cookie; /* file, or NULL */
    char *blocks_dir;    /* or NULL */
    char *block_source;  /* auto, files, rest, rpc */
    char *log_level;
    char *socket_mode;    /* octal */
    char *passthrough;    /* none, read, all, or methods with commas */
    int64_t live_window;  /* blocks, 10 ... 500, default 100 */
    int64_t settle_batch; /* blocks, 1 ... 1000, default 10 */
    int64_t memory_mb;    /* bound of the process, 256 ..., default 2048 */
    int64_t live_map_mb;  /* address space of the live layer, 16384 */
    int64_t poll_ms;      /* mempool and tip poll, 50 ... 60000, 500 */
    char *zmq;            /* auto, off or addresses */
    int64_t daemon_timeout_ms;
    int64_t keep_generations; /* 2 */
    bool spender;
    bool progress; /* bar allowed */
};

/*
 * Defaults, then the file, then the options.  On failure returns EXI_EAPI and
 * why has a sentence naming file and line or option, and the allowed values.
 * Sets *action to what was asked for: run, help, version.
 */
enum conf_action {
    CONF_RUN,
    CONF_HELP,
    CONF_VERSION
};
int conf_load(struct conf *c, enum conf_action *action, int argc, char **argv,
              char *why, size_t whylen);
void conf_free(struct conf *c);
/* Writes the table of options with defaults, for --help. */
void conf_help(FILE *out);

#endif /* CONF_H */
