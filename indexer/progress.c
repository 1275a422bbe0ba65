/*
 * Progress of the initial sync as a text and as fields of the status.  Knows
 * nothing of how the work is done: initial.c and initial_bulk.c say where they
 * are.
 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"

#define MINUTE 60
#define HOUR   3600
#define DAY    86400

void
progress_eta(char out[PROGRESS_ETA_MAX], int64_t eta_s)
{
    long long s = (long long) eta_s;

    if (s < 0) {
        snprintf(out, PROGRESS_ETA_MAX, "?");
    } else if (s < 2 * MINUTE) {
        snprintf(out, PROGRESS_ETA_MAX, "%lld s", s);
    } else if (s < 2 * HOUR) {
        snprintf(out, PROGRESS_ETA_MAX, "%lld min", s / MINUTE);
    } else if (s < 2 * DAY) {
        snprintf(out, PROGRESS_ETA_MAX, "%lld h %lld min", s / HOUR,
                 s % HOUR / MINUTE);
    } else {
        snprintf(out, PROGRESS_ETA_MAX, "%lld d %lld h", s / DAY,
                 s % DAY / HOUR);
    }
}

/* "block 7 of 9 (2014-05-01), 210000 tx/s, 95.1 MB/s, ETA 12 min". */
static void
describe(char *out, size_t size, const struct progress *p)
{
    char eta[PROGRESS_ETA_MAX], date[32] = "", rate[40] = "";
    time_t t = (time_t) p->block_time;
    struct tm tm;

    if (t != 0 && gmtime_r(&t, &tm) != NULL) {
        strftime(date, sizeof(date), " (%Y-%m-%d)", &tm);
    }
    if (p->tx_per_s > 0) {
        snprintf(rate, sizeof(rate), " %llu tx/s,",
                 (unsigned long long) p->tx_per_s);
    }
    progress_eta(eta, p->eta_s);
    snprintf(out, size, "block %u of %u%s,%s %.1f MB/s, ETA %s", p->height,
             p->target, date, rate, p->bytes_per_s / 1e6, eta);
}

void
progress_tell(struct status *s, const struct progress *p)
{
    char text[200];

    describe(text, sizeof(text), p);
    log_progress(p->phase, p->done, p->total, text);
    s->state = STATE_SYNCING;
    s->height = p->height;
    s->target = p->target;
    s->tx_count = p->tx_count;
    s->rate = p->tx_per_s;
    s->phase = p->phase;
    s->part = p->total > 0 ? p->done / p->total : 0;
    s->block_time = p->block_time;
    s->bytes_per_s = p->bytes_per_s;
    s->eta_s = p->eta_s;
    snprintf(s->message, sizeof(s->message), "%s: %s", p->phase, text);
    status_tell(s, false);
}
