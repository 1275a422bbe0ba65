/*
 * status.json and the socket's state frames say the same thing in the same
 * words.  Written often during a sync, so rate-limited; replaced by rename, so
 * that a reader never sees half of it.
 */
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define TELL_EVERY_MS 1000

const char *
status_name(enum state state)
{
    switch (state) {
    case STATE_CONNECTING:
        return "connecting";
    case STATE_SYNCING:
        return "syncing";
    case STATE_LOADING:
        return "loading";
    case STATE_READY:
        return "ready";
    case STATE_STALE:
        return "stale";
    }
    return "?";
}

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* Of the initial sync; an unknown time is left out. */
static void
add_phase(json_t *o, const struct status *s)
{
    double mb = (double) (int64_t) (s->bytes_per_s / 1e5) / 10;

    json_object_set_new(o, "phase", json_string(s->phase));
    json_object_set_new(o, "progress",
                        json_real((double) (int64_t) (s->part * 1e4) / 1e4));
    json_object_set_new(o, "mb_per_s", json_real(mb));
    if (s->block_time != 0) {
        json_object_set_new(o, "block_time", json_integer(s->block_time));
    }
    if (s->eta_s >= 0) {
        json_object_set_new(o, "eta_s", json_integer(s->eta_s));
    }
}

static char *
to_json(const struct status *s)
{
    json_t *o = json_object();
    char *text;

    json_object_set_new(o, "state", json_string(status_name(s->state)));
    json_object_set_new(o, "network", json_string(s->network));
    json_object_set_new(o, "height", json_integer(s->height));
    json_object_set_new(o, "settled_height", json_integer(s->settled));
    json_object_set_new(o, "target", json_integer(s->target));
    json_object_set_new(o, "mempool", json_integer(s->mempool));
    json_object_set_new(o, "tx_count", json_integer((json_int_t) s->tx_count));
    json_object_set_new(o, "tx_per_s", json_integer((json_int_t) s->rate));
    if (s->phase != NULL) {
        add_phase(o, s);
    }
    json_object_set_new(o, "message", json_string(s->message));
    json_object_set_new(o, "pid", json_integer(getpid()));
    json_object_set_new(o, "time", json_integer(time(NULL)));
    text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(8));
    json_decref(o);
    return text;
}

/* 0, or -1 and errno. */
static int
replace(const char *path, const char *text, size_t len)
{
    char tmp[4096];
    int fd, rc;

    if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int) sizeof(tmp)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(tmp, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -1;
    }
    rc = write(fd, text, len) == (ssize_t) len && write(fd, "\n", 1) == 1;
    if (close(fd) != 0 || !rc) {
        unlink(tmp);
        return -1;
    }
    return rename(tmp, path);
}

void
status_tell(struct status *s, bool now)
{
    static bool complained;
    char path[4096], *text;
    uint64_t t = now_ms();

    if (!now && t - s->last_ms < TELL_EVERY_MS) {
        return;
    }
    s->last_ms = t;
    text = to_json(s);
    if (text == NULL) {
        return;
    }
    snprintf(path, sizeof(path), "%s/status.json", s->data_dir);
    if (replace(path, text, strlen(text)) != 0) {
        if (!complained) {
            log_warn("status", "cannot write %s: %s", path, strerror(errno));
        }
        complained = true;
    } else {
        complained = false;
    }
    if (s->bell != NULL) {
        bell_state(s->bell, text, strlen(text));
    }
    free(text);
}

void
status_set(struct status *s, enum state state, const char *fmt, ...)
{
    char text[sizeof(s->message)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (state != STATE_SYNCING) {
        s->phase = NULL;
    }
    if (state == s->state && strcmp(text, s->message) == 0) {
        status_tell(s, false);
        return;
    }
    s->state = state;
    memcpy(s->message, text, sizeof(text));
    log_info("state", "%s%s%s", status_name(state), *text ? ": " : "", text);
    status_tell(s, true);
}

void
status_remove(struct status *s)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/status.json", s->data_dir);
    unlink(path);
}
