/*
 * progress.c: the same facts in the log line, status.json and its message.
 */
#include "progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "tap.h"

static char dir[] = "/tmp/exi-progress.XXXXXX";

static void
test_eta(void)
{
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        { -1, "?" },
        { 0, "0 s" },
        { 119, "119 s" },
        { 120, "2 min" },
        { 7199, "119 min" },
        { 7200, "2 h 0 min" },
        { 3 * 3600 + 20 * 60 + 59, "3 h 20 min" },
        { 172799, "47 h 59 min" },
        { 172800, "2 d 0 h" },
        { INT64_MAX, "106751991167300 d 15 h" },
    };
    char out[PROGRESS_ETA_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        progress_eta(out, cases[i].s);
        is_str(out, cases[i].text, "%lld", (long long) cases[i].s);
    }
}

/* status.json, parsed; the caller drops it. */
static json_t *
status_json(void)
{
    char path[100];
    json_error_t e;

    snprintf(path, sizeof(path), "%s/status.json", dir);
    return json_load_file(path, 0, &e);
}

static double
number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : -1;
}

/* What progress_tell() writes to stderr. */
static void
told(char *out, size_t size, struct status *s, const struct progress *p)
{
    int saved = dup(STDERR_FILENO), fd[2];
    ssize_t n;

    if (pipe(fd) != 0) {
        abort();
    }
    dup2(fd[1], STDERR_FILENO);
    s->last_ms = 0;
    progress_tell(s, p);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd[1]);
    n = read(fd[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    close(fd[0]);
}

static void
test_facts(void)
{
    struct status s = { .data_dir = dir, .network = "regtest" };
    struct progress p = { .phase = "reading blocks",
                          .done = 25,
                          .total = 100,
                          .height = 24,
                          .target = 99,
                          .block_time = 1398902400,
                          .tx_count = 12345,
                          .tx_per_s = 210000,
                          .bytes_per_s = 95.16e6,
                          .eta_s = 4800 };
    static const char text[] = "block 24 of 99 (2014-05-01), 210000 tx/s, "
                               "95.2 MB/s, ETA 80 min";
    char line[1000];
    json_t *o;

    log_progress_end();
    told(line, sizeof(line), &s, &p);
    ok(strstr(line, " info progress: reading blocks 25.0 %, ") != NULL
           && strstr(line, text) != NULL,
       "log line: %s", line);
    o = status_json();
    ok(o != NULL, "status.json");
    is_str(json_string_value(json_object_get(o, "state")), "syncing", "state");
    is_str(json_string_value(json_object_get(o, "phase")), "reading blocks",
           "phase");
    ok(number(o, "progress") == 0.25, "progress");
    ok(number(o, "height") == 24 && number(o, "target") == 99, "heights");
    ok(number(o, "block_time") == 1398902400, "date of the block");
    ok(number(o, "tx_count") == 12345, "transactions");
    ok(number(o, "tx_per_s") == 210000, "rate");
    ok(number(o, "mb_per_s") == 95.1, "MB/s");
    ok(number(o, "eta_s") == 4800, "time left");
    ok(strstr(json_string_value(json_object_get(o, "message")), text) != NULL,
       "message");
    json_decref(o);

    p.phase = "joining";
    p.tx_per_s = 0;
    p.block_time = 0;
    p.eta_s = -1;
    p.total = 0;
    log_progress_end();
    told(line, sizeof(line), &s, &p);
    ok(strstr(line, "joining 0.0 %, block 24 of 99, 95.2 MB/s, ETA ?") != NULL,
       "what is unknown is left out: %s", line);
    o = status_json();
    ok(json_object_get(o, "eta_s") == NULL
           && json_object_get(o, "block_time") == NULL,
       "there, too");
    json_decref(o);

    status_set(&s, STATE_LOADING, "reading recent blocks");
    o = status_json();
    ok(json_object_get(o, "phase") == NULL
           && json_object_get(o, "progress") == NULL,
       "nothing of it after the sync");
    json_decref(o);
    status_remove(&s);
}

int
main(void)
{
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    log_set_level("info");
    subtest("time left", test_eta);
    subtest("facts", test_facts);
    rmdir(dir);
    return done_testing();
}
