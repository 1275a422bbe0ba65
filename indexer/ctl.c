/*
 * electrumx-ctl: prints what the indexer of a data directory is doing.
 *
 * It reads status.json; whether an indexer is there to keep it up to date is
 * seen by connecting to its socket, because a killed one leaves both behind.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

#define CTL_POLL_MS 100

/* Exit codes. */
enum ctl_exit {
    CTL_READY = 0,
    CTL_NOT_READY = 1,
    CTL_USAGE = 2
};

struct ctl {
    const char *data_dir;
    const char *command;
    bool json;
    double timeout_s; /* of wait; negative: none */
};

static const char ctl_usage[] =
    "usage: electrumx-ctl -d DATA_DIR [status] [--json]\n"
    "       electrumx-ctl -d DATA_DIR wait [--timeout SECONDS] [--json]\n"
    "\n"
    "  status   prints what the indexer is doing (the default)\n"
    "  wait     waits until the index is ready, then prints\n"
    "\n"
    "Exit code 0: ready, 1: not ready or no indexer, 2: wrong usage.\n";

/* Does an indexer listen; one that we may not talk to is one, too. */
static bool
ctl_alive(const struct ctl *c)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", c->data_dir);
    int fd;
    bool alive;

    if (n < 0 || (size_t) n >= sizeof(a.sun_path)) {
        return true; /* can't be asked */
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return true;
    }
    alive = connect(fd, (struct sockaddr *) &a, sizeof(a)) == 0
            || errno == EACCES || errno == EAGAIN;
    close(fd);
    return alive;
}

/* status.json, or NULL and why. */
static json_t *
ctl_load(const struct ctl *c, char *why, size_t whylen)
{
    char path[4096];
    json_error_t e;
    json_t *o;

    snprintf(path, sizeof(path), "%s/status.json", c->data_dir);
    if (access(path, R_OK) != 0) {
        snprintf(why, whylen, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    o = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(o)) {
        snprintf(why, whylen, "%s is not a status: %s", path, e.text);
        json_decref(o);
        return NULL;
    }
    if (!ctl_alive(c)) {
        snprintf(why, whylen, "no indexer runs on %s (last seen as \"%s\")",
                 c->data_dir,
                 json_string_value(json_object_get(o, "state")) != NULL
                     ? json_string_value(json_object_get(o, "state"))
                     : "?");
        json_decref(o);
        return NULL;
    }
    return o;
}

static bool
ctl_ready(const json_t *o)
{
    const char *state = json_string_value(json_object_get(o, "state"));

    return state != NULL && strcmp(state, "ready") == 0;
}

static void
ctl_print_time(const char *key, time_t t)
{
    char text[64];
    struct tm tm;

    if (localtime_r(&t, &tm) != NULL
        && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) > 0) {
        printf("%-16s %s\n", key, text);
    }
}

static void
ctl_print_field(const char *key, json_t *v)
{
    char *text;

    if ((strcmp(key, "time") == 0 || strcmp(key, "block_time") == 0)
        && json_is_integer(v)) {
        ctl_print_time(key, (time_t) json_integer_value(v));
        return;
    }
    if (strcmp(key, "eta_s") == 0 && json_is_integer(v)) {
        char eta[PROGRESS_ETA_MAX];

        progress_eta(eta, json_integer_value(v));
        printf("%-16s %s\n", "eta", eta);
        return;
    }
    if (strcmp(key, "progress") == 0 && json_is_number(v)) {
        printf("%-16s %.1f %%\n", key, json_number_value(v) * 100);
        return;
    }
    if (json_is_string(v)) {
        if (json_string_length(v) > 0) {
            printf("%-16s %s\n", key, json_string_value(v));
        }
        return;
    }
    text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    printf("%-16s %s\n", key, text != NULL ? text : "?");
    free(text);
}

static void
ctl_print(const struct ctl *c, json_t *o)
{
    const char *key;
    json_t *v;

    if (c->json) {
        json_dumpf(o, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    json_object_foreach(o, key, v)
    {
        ctl_print_field(key, v);
    }
}

static double
ctl_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/* Prints the status; for "wait" only when it is ready or the time is over. */
static enum ctl_exit
ctl_run(const struct ctl *c)
{
    const struct timespec pause = { 0, CTL_POLL_MS * 1000000L };
    bool wait = strcmp(c->command, "wait") == 0;
    double end = ctl_now() + c->timeout_s;
    char why[5000] = "";
    bool ready;
    json_t *o;

    for (;;) {
        o = ctl_load(c, why, sizeof(why));
        ready = ctl_ready(o);
        if (ready || !wait || (c->timeout_s >= 0 && ctl_now() >= end)) {
            break;
        }
        json_decref(o);
        nanosleep(&pause, NULL);
    }
    if (o != NULL) {
        ctl_print(c, o);
    } else {
        fprintf(stderr, "electrumx-ctl: %s\n", why);
    }
    json_decref(o);
    return ready ? CTL_READY : CTL_NOT_READY;
}

/* True: run; false: *code is the exit code. */
static bool
ctl_options(struct ctl *c, int argc, char **argv, enum ctl_exit *code)
{
    static const struct option longs[] = {
        { "data-dir", required_argument, NULL, 'd' },
        { "data_dir", required_argument, NULL, 'd' },
        { "json", no_argument, NULL, 'j' },
        { "timeout", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    char *end = NULL;
    int o;

    *code = CTL_USAGE;
    while ((o = getopt_long(argc, argv, "d:h", longs, NULL)) != -1) {
        switch (o) {
        case 'd':
            c->data_dir = optarg;
            break;
        case 'j':
            c->json = true;
            break;
        case 't':
            c->timeout_s = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(c->timeout_s >= 0)) {
                fprintf(stderr, "electrumx-ctl: --timeout wants seconds\n");
                return false;
            }
            break;
        case 'h':
            fputs(ctl_usage, stdout);
            *code = CTL_READY;
            return false;
        default:
            return false;
        }
    }
    if (optind < argc) {
        c->command = argv[optind++];
    }
    if (c->data_dir == NULL || optind < argc
        || (strcmp(c->command, "status") != 0
            && strcmp(c->command, "wait") != 0)) {
        fputs(ctl_usage, stderr);
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct ctl c = { .command = "status", .timeout_s = -1 };
    enum ctl_exit code;

    if (!ctl_options(&c, argc, argv, &code)) {
        return code;
    }
    return ctl_run(&c);
}
