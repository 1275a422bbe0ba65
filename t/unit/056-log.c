/*
 * log.h: one line per event whatever it holds, levels, and progress as lines
 * and as a bar on a terminal.
 */
#include "log.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define TIME_RE                                                                \
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\."                 \
    "[0-9]{3}Z "

static int saved = -1; /* the real stderr */
static int from;       /* where what was written can be read */
static char text[65536];

/* stderr becomes a pipe, or a terminal of its own. */
static bool
divert(bool tty)
{
    int to, ends[2];

    saved = dup(STDERR_FILENO);
    if (tty) {
        from = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (from < 0 || grantpt(from) != 0 || unlockpt(from) != 0) {
            return false;
        }
        to = open(ptsname(from), O_RDWR | O_NOCTTY | O_CLOEXEC);
    } else {
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return false;
        }
        from = ends[0];
        to = ends[1];
    }
    fcntl(from, F_SETFL, O_NONBLOCK);
    dup2(to, STDERR_FILENO);
    close(to);
    return true;
}

/* What was written since the last time, as text. */
static const char *
written(void)
{
    size_t len = 0;
    ssize_t n;

    while (len < sizeof(text) - 1
           && (n = read(from, text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t) n;
    }
    text[len] = '\0';
    return text;
}

static void
restore(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(from);
}

static bool
matches(const char *got, const char *pattern)
{
    char full[1024];
    regex_t re;
    bool match;

    snprintf(full, sizeof(full), "^%s$", pattern);
    if (regcomp(&re, full, REG_EXTENDED | REG_NOSUB) != 0) {
        return false;
    }
    match = regexec(&re, got, 0, NULL, 0) == 0;
    regfree(&re);
    return ok(match, "%.60s", pattern) ? true : (diag("got: %s", got), false);
}

static void
test_lines(void)
{
    static char longer[5000];

    ok(divert(false), "pipe");
    log_info("area", "number %d", 5);
    matches(written(), TIME_RE "info area: number 5\n");
    log_error("x", "a\nb\tc\033[31m\x7f");
    matches(written(), TIME_RE "error x: a b c \\[31m \n");
    log_warn("x", "%s", "\xc3\xa4");
    matches(written(), TIME_RE "warn x: \xc3\xa4\n");
    memset(longer, 'y', sizeof(longer) - 1);
    log_info("x", "%s", longer);
    matches(written(), TIME_RE "info x: y+\n");
    is_int(strlen(text), 2047, "a long one is cut and keeps its newline");
    restore();
}

static void
test_levels(void)
{
    ok(divert(false), "pipe");
    log_debug("x", "not by default");
    is_str(written(), "", "debug is off");
    ok(!log_enabled(LOG_DEBUG_) && log_enabled(LOG_INFO_), "log_enabled");
    ok(log_set_level("debug"), "debug");
    log_debug("x", "now");
    matches(written(), TIME_RE "debug x: now\n");
    ok(log_set_level("error"), "error");
    log_warn("x", "no");
    is_str(written(), "", "warnings are off");
    ok(!log_set_level("loud"), "an unknown level");
    ok(!log_enabled(LOG_WARN_), "changes nothing");
    ok(log_set_level("info"), "info");
    restore();
}

static void *
chatter(void *arg)
{
    for (int i = 0; i < 100; i++) {
        log_info("x", "%s", (const char *) arg);
    }
    return NULL;
}

static void
test_threads(void)
{
    static char words[4][41];
    pthread_t t[4];
    char *save = NULL;
    unsigned lines = 0;

    ok(divert(false), "pipe");
    for (size_t i = 0; i < 4; i++) {
        memset(words[i], 'a' + (int) i, 40);
        pthread_create(&t[i], NULL, chatter, words[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    written(); /* all of it fits into the pipe */
    for (char *p = strtok_r(text, "\n", &save); p != NULL;
         p = strtok_r(NULL, "\n", &save)) {
        const char *word = strrchr(p, ' ');

        lines++;
        each(word != NULL && strlen(word + 1) == 40
                 && strspn(word + 1, (char[]){ word[1], '\0' }) == 40,
             "whole: %s", p);
    }
    each_done("lines of several threads do not mix");
    is_int(lines, 400, "all are there");
    restore();
}

static void
test_progress_lines(void)
{
    ok(divert(false), "pipe");
    log_progress("sync", 1, 4, "12 MB/s");
    matches(written(), TIME_RE "info progress: sync 25.0 %, 12 MB/s\n");
    log_progress("sync", 2, 4, "12 MB/s");
    is_str(written(), "", "not again at once");
    log_progress_end();
    is_str(written(), "", "the end says nothing");
    log_progress("next", 9, 4, "x");
    matches(written(), TIME_RE "info progress: next 100.0 %, x\n");
    log_progress("other", 1, 2, "y");
    matches(written(), TIME_RE "info progress: other 50.0 %, y\n");
    log_progress("other", 2, 2, "y");
    is_str(written(), "", "not again at once");
    log_progress_end();
    restore();
}

static void
test_progress_bar(void)
{
    const struct timespec pause = { 0, 150000000 };

    if (!divert(true)) {
        restore();
        ok(false, "a terminal");
        return;
    }
    log_progress("sync", 1, 4, "ETA 2 min");
    matches(written(), "\r\033\\[K"
                       "sync \\[######\\.{18}\\]  25\\.0 %  ETA 2 min");
    log_info("x", "hello");
    matches(written(), "\r\033\\[K" TIME_RE "info x: hello\r\n\r\033\\[K"
                       "sync \\[######\\.{18}\\]  25\\.0 %  ETA 2 min");
    log_progress("sync", 2, 4, "");
    is_str(written(), "", "not redrawn at once");
    nanosleep(&pause, NULL);
    log_progress("sync", 2, 4, "");
    matches(written(), "\r\033\\[K"
                       "sync \\[#{12}\\.{12}\\]  50\\.0 %  ");
    log_progress_end();
    is_str(written(), "\r\n", "left as it is");
    log_info("x", "later");
    matches(written(), TIME_RE "info x: later\r\n");
    restore();
}

int
main(void)
{
    subtest("lines", test_lines);
    subtest("levels", test_levels);
    subtest("threads", test_threads);
    subtest("progress as lines", test_progress_lines);
    subtest("progress bar", test_progress_bar);
    return done_testing();
}
