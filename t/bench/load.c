/*
 * load: sends Electrum requests to a server and counts: requests a second,
 * latency, errors, and the CPU time of the server's processes for a request.
 *
 *     load --port 50001 --kind history --scripts chain.dat.samples.tsv
 *          --class 10 --pid WORKER --pid INDEXER
 *
 * Works with any Electrum server (newline framing or WebSocket, TLS): --pid
 * names the processes to count.  Prints one line of NAME=VALUE; times are in
 * microseconds.  Ends with 1 if any answer was not a result, or was empty.
 * --idle N: idle connections instead, see load_idle.c.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct load_opts load_opts = {
    .host = "127.0.0.1",
    .port = 50001,
    .connections = 1,
    .threads = 1,
    .pipeline = 100,
    .seconds = 3,
    .warmup = 0.5,
    .seed = 1,
    .subs = 10,
};

void
load_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(2);
}

void *
load_realloc(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL) {
        load_die("out of memory");
    }
    return p;
}

uint64_t
load_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

/* splitmix64 */
uint64_t
load_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- options ---- */

enum type {
    FLAG,
    U32,
    U64,
    REAL,
    TEXT,
    KIND,
    PID
};

static const struct row {
    const char *name;
    enum type type;
    void *value;
    const char *text;
} rows[] = {
    { "host", TEXT, &load_opts.host, "IPv4 address [127.0.0.1]" },
    { "port", U32, &load_opts.port, "[50001]" },
    { "tls", FLAG, &load_opts.tls, "TLS; no certificate is checked" },
    { "ws", FLAG, &load_opts.ws, "WebSocket" },
    { "connections", U32, &load_opts.connections, "[1]" },
    { "threads", U32, &load_opts.threads, "of the load generator [1]" },
    { "pipeline", U32, &load_opts.pipeline,
      "requests under way on a connection [100]" },
    { "seconds", REAL, &load_opts.seconds, "to measure [3]" },
    { "warmup", REAL, &load_opts.warmup, "seconds before [0.5]" },
    { "requests", U64, &load_opts.requests,
      "a thread sends, instead of --seconds" },
    { "kind", KIND, &load_opts.kind,
      "ping header history balance listunspent subscribe tx merkle mix" },
    { "once", FLAG, &load_opts.once,
      "each of the list (or --requests of them) once, then end; one thread" },
    { "hot", FLAG, &load_opts.hot, "always the first of the list" },
    { "scripts", TEXT, &load_opts.scripts, "chaingen's PREFIX.samples.tsv" },
    { "class", TEXT, &load_opts.class, "of the samples, or a list [all]" },
    { "txs", TEXT, &load_opts.txs, "chaingen's PREFIX.txs.tsv" },
    { "height", U32, &load_opts.height, "of the highest header to ask for" },
    { "seed", U64, &load_opts.seed, "[1]" },
    { "sources", U32, &load_opts.sources,
      "addresses 127.0.0.2 ... to connect from [any]" },
    { "idle", U32, &load_opts.idle, "idle connections" },
    { "subs", U32, &load_opts.subs, "subscriptions of each of them [10]" },
    { "pid", PID, NULL, "process whose CPU time counts, several times" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void
usage(void)
{
    fprintf(stderr, "usage: load [options]\n");
    for (size_t i = 0; i < ROWS; i++) {
        fprintf(stderr, "  --%-12s %s\n", rows[i].name, rows[i].text);
    }
    exit(2);
}

static int
kind_of(const char *name)
{
    static const char *const names[] = { "ping",    "header",      "history",
                                         "balance", "listunspent", "subscribe",
                                         "tx",      "merkle",      "mix" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return (int) i;
        }
    }
    load_die("unknown kind %s", name);
}

static double
number(const struct row *r, const char *arg)
{
    char *end;
    double v = strtod(arg, &end);

    if (end == arg || *end != '\0' || v < 0 || v > 4e9) {
        load_die("--%s: '%s' is not a number", r->name, arg);
    }
    return v;
}

static void
set(const struct row *r, const char *arg)
{
    switch (r->type) {
    case FLAG:
        *(bool *) r->value = true;
        break;
    case U32:
        *(uint32_t *) r->value = (uint32_t) number(r, arg);
        break;
    case U64:
        *(uint64_t *) r->value = (uint64_t) number(r, arg);
        break;
    case REAL:
        *(double *) r->value = number(r, arg);
        break;
    case TEXT:
        *(const char **) r->value = arg;
        break;
    case KIND:
        *(int *) r->value = kind_of(arg);
        break;
    case PID:
        if (load_opts.npids
            == sizeof(load_opts.pids) / sizeof(load_opts.pids[0])) {
            load_die("too many processes");
        }
        load_opts.pids[load_opts.npids++] = (int) number(r, arg);
        break;
    }
}

static void
read_options(int argc, char **argv)
{
    struct option list[ROWS + 1] = { { NULL, 0, NULL, 0 } };
    int c, i = 0;

    for (size_t k = 0; k < ROWS; k++) {
        list[k].name = rows[k].name;
        list[k].has_arg = rows[k].type == FLAG ? 0 : 1;
    }
    while ((c = getopt_long(argc, argv, "", list, &i)) == 0) {
        set(&rows[i], optarg);
    }
    if (c != -1 || optind != argc) {
        usage();
    }
    if (load_opts.threads == 0 || load_opts.pipeline == 0
        || load_opts.connections < load_opts.threads) {
        load_die("at least one connection a thread, and one request");
    }
}

int
main(int argc, char **argv)
{
    struct rlimit lim;

    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    load_lists();
    if (load_opts.once) {
        load_opts.threads = 1;
        if (load_opts.requests == 0 || load_opts.requests > load_listed()) {
            load_opts.requests = load_listed();
        }
    }
    return load_opts.idle > 0 ? load_idle() : load_run();
}
