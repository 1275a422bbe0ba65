/*
 * Settings: one table says everything about each.  A value is checked where it
 * is read, so that the message can name file and line, or the option.  Values
 * are repeated in messages only where they can't be secret.
 */
#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "coins.h"
#include "lib/exi_err.h"

#define CONF_LINE_MAX 4096

enum conf_type {
    CONF_TEXT,
    CONF_INT,
    CONF_BOOL,
    CONF_NETWORK, /* a name of the coin table */
    CONF_LEVEL,   /* a log level */
    CONF_SOURCE,  /* a source of blocks */
    CONF_MODE     /* octal permission bits */
};

struct conf_row {
    const char *name;
    enum conf_type type;
    size_t field;     /* offset in struct conf */
    const char *def;  /* as it would stand in the file, or NULL */
    int64_t min, max; /* CONF_INT */
    const char *help;
};

#define FIELD(f) offsetof(struct conf, f)

static const struct conf_row conf_rows[] = {
    { "network", CONF_NETWORK, FIELD(network), "mainnet", 0, 0,
      "chain to index" },
    { "data_dir", CONF_TEXT, FIELD(data_dir), NULL, 0, 0,
      "directory of the index; must be given" },
    { "daemon_url", CONF_TEXT, FIELD(daemon_url), NULL, 0, 0,
      "http://user:password@host:port of the node, several by commas;"
      " default: this machine, the network's usual port" },
    { "daemon_cookie", CONF_TEXT, FIELD(daemon_cookie), NULL, 0, 0,
      "the node's cookie file, for URLs without a password" },
    { "blocks_dir", CONF_TEXT, FIELD(blocks_dir), NULL, 0, 0,
      "the node's blocks directory, if it can be read" },
    { "block_source", CONF_SOURCE, FIELD(block_source), "auto", 0, 0,
      "auto, files, rest or rpc: where the initial sync reads blocks" },
    { "daemon_timeout_ms", CONF_INT, FIELD(daemon_timeout_ms), "30000", 1000,
      600000, "longest wait for an answer of the node" },
    { "poll_ms", CONF_INT, FIELD(poll_ms), "500", 50, 60000,
      "time between two looks at the node's mempool and tip" },
    { "zmq", CONF_TEXT, FIELD(zmq), "auto", 0, 0,
      "auto: where the node says it publishes; addresses; or off" },
    { "live_window", CONF_INT, FIELD(live_window), "100", 10, 500,
      "blocks below the tip that can still be undone" },
    { "settle_batch", CONF_INT, FIELD(settle_batch), "10", 1, 1000,
      "blocks that are settled together" },
    { "memory_mb", CONF_INT, FIELD(memory_mb), "2048", 128, 1048576,
      "bound of the memory used" },
    { "live_map_mb", CONF_INT, FIELD(live_map_mb), "16384", 64, 16777216,
      "address space of the live layer" },
    { "keep_generations", CONF_INT, FIELD(keep_generations), "2", 1, 64,
      "published generations kept for a deep reorg" },
    { "spender", CONF_BOOL, FIELD(spender), "off", 0, 0,
      "index which transaction spends an output" },
    { "socket_mode", CONF_MODE, FIELD(socket_mode), "0660", 0, 0,
      "permission bits of the workers' socket, octal" },
    { "passthrough", CONF_TEXT, FIELD(passthrough), "read", 0, 0,
      "what daemon.passthrough may ask of the node: none, read, all, or "
      "methods by commas" },
    { "log_level", CONF_LEVEL, FIELD(log_level), "info", 0, 0,
      "error, warn, info or debug" },
    { "progress", CONF_BOOL, FIELD(progress), "on", 0, 0,
      "progress bar where stderr is a terminal" },
};

#define CONF_NROWS (sizeof(conf_rows) / sizeof(conf_rows[0]))

/* Where messages go and what they begin with. */
struct conf_reader {
    struct conf *c;
    char *why;
    size_t whylen;
    char where[512]; /* "file:line" or "option --name" */
};

static int __attribute__((format(printf, 2, 3)))
conf_fail(struct conf_reader *rd, const char *fmt, ...)
{
    va_list ap;
    int n = 0;

    if (rd->where[0] != '\0') {
        n = snprintf(rd->why, rd->whylen, "%s: ", rd->where);
    }
    if (n >= 0 && (size_t) n < rd->whylen) {
        va_start(ap, fmt);
        vsnprintf(rd->why + n, rd->whylen - (size_t) n, fmt, ap);
        va_end(ap);
    }
    return EXI_EAPI;
}

/* A name matches with '-' for '_'. */
static bool
conf_name_is(const char *row, const char *name, size_t len)
{
    if (strlen(row) != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (row[i] != (name[i] == '-' ? '_' : name[i])) {
            return false;
        }
    }
    return true;
}

static const struct conf_row *
conf_row(const char *name, size_t len)
{
    for (size_t i = 0; i < CONF_NROWS; i++) {
        if (conf_name_is(conf_rows[i].name, name, len)) {
            return &conf_rows[i];
        }
    }
    return NULL;
}

static int
conf_set_text(struct conf_reader *rd, const struct conf_row *row,
              const char *value)
{
    char **field = (char **) ((char *) rd->c + row->field);
    char *copy = strdup(value);

    if (copy == NULL) {
        return conf_fail(rd, "out of memory");
    }
    free(*field);
    *field = copy;
    return EXI_OK;
}

static int
conf_set_int(struct conf_reader *rd, const struct conf_row *row,
             const char *value)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || isspace((unsigned char) value[0])) {
        return conf_fail(rd, "%s is not a whole number: \"%s\"", row->name,
                         value);
    }
    if (errno == ERANGE || v < row->min || v > row->max) {
        return conf_fail(rd, "%s must be between %lld and %lld, not %s",
                         row->name, (long long) row->min, (long long) row->max,
                         value);
    }
    *(int64_t *) ((char *) rd->c + row->field) = v;
    return EXI_OK;
}

/* 1, 0, or -1: not a word for either. */
static int
conf_bool(const char *value)
{
    static const char *const words[] = { "off",   "on",   "no", "yes",
                                         "false", "true", "0",  "1" };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(value, words[i]) == 0) {
            return (int) (i & 1);
        }
    }
    return -1;
}

static int
conf_set_bool(struct conf_reader *rd, const struct conf_row *row,
              const char *value)
{
    int v = conf_bool(value);

    if (v < 0) {
        return conf_fail(rd, "%s must be on or off, not \"%s\"", row->name,
                         value);
    }
    *(bool *) ((char *) rd->c + row->field) = v == 1;
    return EXI_OK;
}

static int
conf_set_network(struct conf_reader *rd, const struct conf_row *row,
                 const char *value)
{
    char names[256] = "";
    const struct coin *coin;

    if (coin_find(value) != NULL) {
        return conf_set_text(rd, row, value);
    }
    for (size_t i = 0; (coin = coin_at(i)) != NULL; i++) {
        size_t n = strlen(names);

        snprintf(names + n, sizeof(names) - n, "%s%s", i > 0 ? ", " : "",
                 coin->network);
    }
    return conf_fail(rd, "network \"%s\" is not known; one of %s", value,
                     names);
}

static int
conf_set_level(struct conf_reader *rd, const struct conf_row *row,
               const char *value)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(value, levels[i]) == 0) {
            return conf_set_text(rd, row, value);
        }
    }
    return conf_fail(rd,
                     "log_level must be error, warn, info or debug, "
                     "not \"%s\"",
                     value);
}

static int
conf_set_source(struct conf_reader *rd, const struct conf_row *row,
                const char *value)
{
    static const char *const sources[] = { "auto", "files", "rest", "rpc" };

    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (strcmp(value, sources[i]) == 0) {
            return conf_set_text(rd, row, value);
        }
    }
    return conf_fail(rd,
                     "block_source must be auto, files, rest or rpc, "
                     "not \"%s\"",
                     value);
}

static int
conf_set_mode(struct conf_reader *rd, const struct conf_row *row,
              const char *value)
{
    size_t n = strspn(value, "01234567");

    if (n == 0 || n > 4 || value[n] != '\0' || strtoul(value, NULL, 8) > 0777) {
        return conf_fail(rd,
                         "%s must be octal permission bits such as 0660, "
                         "not \"%s\"",
                         row->name, value);
    }
    return conf_set_text(rd, row, value);
}

static int
conf_set(struct conf_reader *rd, const struct conf_row *row, const char *value)
{
    if (value[0] == '\0') {
        return conf_fail(rd, "%s has no value", row->name);
    }
    switch (row->type) {
    case CONF_TEXT:
        return conf_set_text(rd, row, value);
    case CONF_INT:
        return conf_set_int(rd, row, value);
    case CONF_BOOL:
        return conf_set_bool(rd, row, value);
    case CONF_NETWORK:
        return conf_set_network(rd, row, value);
    case CONF_LEVEL:
        return conf_set_level(rd, row, value);
    case CONF_SOURCE:
        return conf_set_source(rd, row, value);
    case CONF_MODE:
        return conf_set_mode(rd, row, value);
    }
    return EXI_EAPI;
}

static char *
conf_trim(char *s)
{
    size_t n;

    s += strspn(s, " \t\r\n");
    n = strlen(s);
    while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL) {
        s[--n] = '\0';
    }
    return s;
}

/* "name = value", a comment or nothing. */
static int
conf_line(struct conf_reader *rd, char *line)
{
    const struct conf_row *row;
    char *name = conf_trim(line);
    char *eq;

    if (name[0] == '\0' || name[0] == '#') {
        return EXI_OK;
    }
    eq = strchr(name, '=');
    if (eq == NULL) {
        return conf_fail(rd, "a line must be \"name = value\"");
    }
    *eq = '\0';
    name = conf_trim(name);
    row = conf_row(name, strlen(name));
    if (row == NULL) {
        return conf_fail(rd, "there is no setting \"%s\" (--help lists all)",
                         name);
    }
    return conf_set(rd, row, conf_trim(eq + 1));
}

static int
conf_file(struct conf_reader *rd, const char *path)
{
    char line[CONF_LINE_MAX];
    FILE *f = fopen(path, "re");
    unsigned number = 0;
    int rc = EXI_OK;

    rd->where[0] = '\0';
    if (f == NULL) {
        return conf_fail(rd, "cannot read %s: %s", path, strerror(errno));
    }
    while (rc == EXI_OK && fgets(line, sizeof(line), f) != NULL) {
        snprintf(rd->where, sizeof(rd->where), "%s:%u", path, ++number);
        if (strchr(line, '\n') == NULL && !feof(f)) {
            rc = conf_fail(rd, "line is longer than %d bytes",
                           CONF_LINE_MAX - 2);
            break;
        }
        rc = conf_line(rd, line);
    }
    if (rc == EXI_OK && ferror(f)) {
        rd->where[0] = '\0';
        rc = conf_fail(rd, "cannot read %s: %s", path, strerror(errno));
    }
    fclose(f);
    return rc;
}

/* The arguments, walked twice: files first, then options. */
struct conf_args {
    int argc;
    char **argv;
    int at; /* next argument */
};

/* Value of the option at argv[at - 1]: after '=', or the next argument. */
static const char *
conf_value(struct conf_args *a, const struct conf_row *row, char *eq)
{
    if (eq != NULL) {
        return eq + 1;
    }
    if (row->type == CONF_BOOL
        && (a->at >= a->argc || conf_bool(a->argv[a->at]) < 0)) {
        return "on";
    }
    return a->at < a->argc ? a->argv[a->at++] : "";
}

static int
conf_option(struct conf_reader *rd, struct conf_args *a, bool set)
{
    char *name = a->argv[a->at++] + 2;
    char *eq = strchr(name, '=');
    size_t len = eq != NULL ? (size_t) (eq - name) : strlen(name);
    const struct conf_row *row = conf_row(name, len);
    const char *value;

    snprintf(rd->where, sizeof(rd->where), "option --%.*s", (int) len, name);
    if (row == NULL) {
        return conf_fail(rd, "there is no such option (--help lists all)");
    }
    value = conf_value(a, row, eq);
    return set ? conf_set(rd, row, value) : EXI_OK;
}

/* Is arg the option, short or long; *value then says where its value is, NULL:
 * in the next argument. */
static bool
conf_is(const char *arg, const char *shortopt, const char *longopt,
        const char **value)
{
    size_t n = strlen(longopt);

    *value = NULL;
    if (strcmp(arg, shortopt) == 0 || strcmp(arg, longopt) == 0) {
        return true;
    }
    if (strncmp(arg, longopt, n) == 0 && arg[n] == '=') {
        *value = arg + n + 1;
        return true;
    }
    return false;
}

static int
conf_arg(struct conf_reader *rd, struct conf_args *a, bool options,
         enum conf_action *action)
{
    const char *arg = a->argv[a->at];
    const char *value;

    rd->where[0] = '\0';
    if (conf_is(arg, "-h", "--help", &value)) {
        *action = CONF_HELP;
    } else if (conf_is(arg, "-V", "--version", &value)) {
        *action = CONF_VERSION;
    } else if (conf_is(arg, "-c", "--config", &value)) {
        a->at++;
        if (value == NULL && a->at < a->argc) {
            value = a->argv[a->at++];
        }
        if (value == NULL || value[0] == '\0') {
            return conf_fail(rd, "option %s needs the name of a file", arg);
        }
        return options ? EXI_OK : conf_file(rd, value);
    } else if (strncmp(arg, "--", 2) == 0) {
        return conf_option(rd, a, options);
    } else {
        return conf_fail(rd,
                         "what is \"%s\" for? Settings are given as "
                         "--name value",
                         arg);
    }
    a->at++;
    return EXI_OK;
}

static int
conf_walk(struct conf_reader *rd, int argc, char **argv, bool options,
          enum conf_action *action)
{
    struct conf_args a = { argc, argv, 1 };

    while (a.at < a.argc && *action == CONF_RUN) {
        int rc = conf_arg(rd, &a, options, action);

        if (rc != EXI_OK) {
            return rc;
        }
    }
    return EXI_OK;
}

static int
conf_defaults(struct conf_reader *rd)
{
    for (size_t i = 0; i < CONF_NROWS; i++) {
        int rc = conf_rows[i].def == NULL
                     ? EXI_OK
                     : conf_set(rd, &conf_rows[i], conf_rows[i].def);

        if (rc != EXI_OK) {
            return rc;
        }
    }
    return EXI_OK;
}

/* What must be given, and what follows from the rest. */
static int
conf_complete(struct conf_reader *rd)
{
    char url[64];

    rd->where[0] = '\0';
    if (rd->c->data_dir == NULL) {
        return conf_fail(rd, "data_dir is not set: --data-dir DIR, or "
                             "\"data_dir = DIR\" in a file given with -c");
    }
    if (rd->c->daemon_url != NULL) {
        return EXI_OK;
    }
    snprintf(url, sizeof(url), "http://127.0.0.1:%u",
             (unsigned) coin_find(rd->c->network)->rpc_port);
    return conf_set_text(rd, conf_row("daemon_url", 10), url);
}

int
conf_load(struct conf *c, enum conf_action *action, int argc, char **argv,
          char *why, size_t whylen)
{
    struct conf_reader rd = { .c = c, .why = why, .whylen = whylen };
    int rc;

    memset(c, 0, sizeof(*c));
    *action = CONF_RUN;
    rc = conf_defaults(&rd);
    if (rc == EXI_OK) {
        rc = conf_walk(&rd, argc, argv, false, action);
    }
    if (rc == EXI_OK) {
        rc = conf_walk(&rd, argc, argv, true, action);
    }
    if (rc == EXI_OK && *action == CONF_RUN) {
        rc = conf_complete(&rd);
    }
    if (rc != EXI_OK) {
        conf_free(c);
    }
    return rc;
}

void
conf_free(struct conf *c)
{
    for (size_t i = 0; i < CONF_NROWS; i++) {
        if (conf_rows[i].type != CONF_INT && conf_rows[i].type != CONF_BOOL) {
            free(*(char **) ((char *) c + conf_rows[i].field));
        }
    }
    memset(c, 0, sizeof(*c));
}

void
conf_help(FILE *out)
{
    fputs("usage: electrumx-indexer [-c FILE]... [--NAME VALUE]...\n"
          "\n"
          "A file has lines \"name = value\"; options come after the files and"
          " win.\n"
          "\n",
          out);
    for (size_t i = 0; i < CONF_NROWS; i++) {
        const struct conf_row *row = &conf_rows[i];

        fprintf(out, "  --%-18s %s", row->name, row->help);
        if (row->type == CONF_INT) {
            fprintf(out, " (%s; %lld ... %lld)", row->def, (long long) row->min,
                    (long long) row->max);
        } else if (row->def != NULL) {
            fprintf(out, " (%s)", row->def);
        }
        fputc('\n', out);
    }
    fputs("  -c, --config FILE    read settings from FILE\n"
          "  -h, --help           this text\n"
          "  -V, --version        the version\n",
          out);
}
