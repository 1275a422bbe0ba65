/*
 * Log lines and the progress bar on stderr.
 *
 * A line is composed in one buffer and written by one write(2), so that lines
 * of several threads never mix.  Control characters (a node's message may hold
 * any) become blanks: one event stays one line.  On a terminal the bar is the
 * last line; a log line takes its place and the bar is drawn anew below.
 */
#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX     2048
#define LOG_BAR_CELLS    24
#define LOG_REDRAW_MS    100
#define LOG_LINE_EACH_MS 10000
#define LOG_CLEAR_LINE   "\r\033[K"

static const char *const log_names[] = { "error", "warn", "info", "debug" };

static atomic_int log_level_now = LOG_INFO_;

/* Guards what follows and the order of writes. */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_bar[512];  /* the bar that is on the terminal, "" = none */
static int64_t log_bar_ms; /* when it or its line was last written, 0 = never */
static char log_what[64];  /* what it was about */

bool
log_set_level(const char *name)
{
    for (size_t i = 0; i < sizeof(log_names) / sizeof(log_names[0]); i++) {
        if (strcmp(name, log_names[i]) == 0) {
            atomic_store(&log_level_now, (int) i);
            return true;
        }
    }
    return false;
}

bool
log_enabled(enum log_level level)
{
    return (int) level <= atomic_load(&log_level_now);
}

static int64_t
log_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Nothing can be done about a log that can't be written. */
static void
log_write(const char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, buf, len);

        if (n > 0) {
            buf += n;
            len -= (size_t) n;
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

/* "2026-01-31T12:00:00.123Z level area: " */
static size_t
log_head(char *buf, size_t size, enum log_level level, const char *area)
{
    struct timespec ts;
    struct tm tm;
    size_t n;
    int m;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
    m = snprintf(buf + n, size - n, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000,
                 log_names[level], area);
    return n + (m > 0 ? (size_t) m : 0);
}

void
log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    char buf[LOG_LINE_MAX];
    const size_t room = sizeof(buf) - 1; /* for the newline */
    va_list ap;
    size_t n;
    int m;

    if (!log_enabled(level)) {
        return;
    }
    n = log_head(buf, room, level, area);
    if (n >= room) {
        n = room - 1;
    }
    va_start(ap, fmt);
    m = vsnprintf(buf + n, room - n, fmt, ap);
    va_end(ap);
    if (m > 0) {
        n += (size_t) m < room - n ? (size_t) m : room - n - 1;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char) buf[i] < 0x20 || buf[i] == 0x7f) {
            buf[i] = ' ';
        }
    }
    buf[n++] = '\n';

    pthread_mutex_lock(&log_mutex);
    if (log_bar[0] != '\0') {
        log_write(LOG_CLEAR_LINE, sizeof(LOG_CLEAR_LINE) - 1);
    }
    log_write(buf, n);
    log_write(log_bar, strlen(log_bar));
    pthread_mutex_unlock(&log_mutex);
}

static void
log_draw(const char *what, double part, const char *text)
{
    char cells[LOG_BAR_CELLS + 1];
    int full = (int) (part * LOG_BAR_CELLS);

    for (int i = 0; i < LOG_BAR_CELLS; i++) {
        cells[i] = i < full ? '#' : '.';
    }
    cells[LOG_BAR_CELLS] = '\0';

    pthread_mutex_lock(&log_mutex);
    snprintf(log_bar, sizeof(log_bar), LOG_CLEAR_LINE "%s [%s] %5.1f %%  %s",
             what, cells, part * 100, text);
    log_write(log_bar, strlen(log_bar));
    pthread_mutex_unlock(&log_mutex);
}

void
log_progress(const char *what, double done, double total, const char *text)
{
    bool tty = isatty(STDERR_FILENO) == 1;
    int64_t now = log_now_ms();
    double part = total > 0 ? done / total : 0;

    if (log_bar_ms != 0 && strncmp(what, log_what, sizeof(log_what) - 1) == 0
        && now - log_bar_ms < (tty ? LOG_REDRAW_MS : LOG_LINE_EACH_MS)) {
        return;
    }
    log_bar_ms = now;
    snprintf(log_what, sizeof(log_what), "%s", what);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    if (tty) {
        log_draw(what, part, text);
    } else {
        log_info("progress", "%s %.1f %%, %s", what, part * 100, text);
    }
}

void
log_progress_end(void)
{
    pthread_mutex_lock(&log_mutex);
    if (log_bar[0] != '\0') {
        log_write("\n", 1);
    }
    log_bar[0] = '\0';
    log_bar_ms = 0;
    pthread_mutex_unlock(&log_mutex);
}
