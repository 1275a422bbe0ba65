/*
 * Log of the indexer: one line per event on stderr, "time level area: text";
 * never credentials.  Any thread.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
    LOG_ERROR_,
    LOG_WARN_,
    LOG_INFO_,
    LOG_DEBUG_
};

/* "error", "warn", "info", "debug"; false: unknown. */
bool log_set_level(const char *name);
bool log_enabled(enum log_level level);

void log_line(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_line(LOG_ERROR_, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN_, area, __VA_ARGS__)
#define log_info(area, ...)  log_line(LOG_INFO_, area, __VA_ARGS__)
#define log_debug(area, ...)                                                   \
    do {                                                                       \
        if (log_enabled(LOG_DEBUG_)) {                                         \
            log_line(LOG_DEBUG_, area, __VA_ARGS__);                           \
        }                                                                      \
    } while (0)

/*
 * Progress: on a terminal a bar that is redrawn in place, else a line at most
 * every 10 seconds, and whenever `what` is another.  done <= total; text says the rest ("12.3 MB/s, ETA 2 min").
 * Main thread.  log_progress_end() leaves the bar.
 */
void log_progress(const char *what, double done, double total,
                  const char *text);
void log_progress_end(void);

#endif /* LOG_H */
