/*
 * The store: which live environment and which generation are in use
 * (docs/architecture.md, "The cut", rules 2 and 4).
 *
 * A new environment is installed together with a generation that fits it; as
 * long as either can't be opened, what is open goes on being served.
 */
#include "exi_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRIES 8

int
exi_store_mdb_err(int mdb_rc)
{
    switch (mdb_rc) {
    case 0:
        return EXI_OK;
    case MDB_NOTFOUND:
        return EXI_ENOTFOUND;
    case ENOMEM:
        return EXI_ENOMEM;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return EXI_EFORMAT;
    case MDB_VERSION_MISMATCH:
        return EXI_EVERSION;
    default:
        if (mdb_rc > 0) {
            errno = mdb_rc;
        }
        return EXI_EIO;
    }
}

void
exi_store_say(struct exi_store *s, int level, const char *fmt, ...)
{
    char text[sizeof s->last_log] = "";
    va_list ap;
    bool news;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&s->lock);
    news = strcmp(text, s->last_log) != 0;
    memcpy(s->last_log, text, sizeof text);
    pthread_mutex_unlock(&s->lock);
    if (s->log != NULL && news) {
        s->log(s->log_ctx, level, text);
    }
}

int
exi_store_new(struct exi_store **out, const char *data_dir, exi_log_pt log,
              void *log_ctx)
{
    struct exi_store *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return EXI_ENOMEM;
    }
    s->dir = strdup(data_dir);
    if (s->dir == NULL
        || exi_mcache_new(&s->merkle, EXI_STORE_MERKLE) != EXI_OK) {
        free(s->dir);
        free(s);
        return EXI_ENOMEM;
    }
    s->log = log;
    s->log_ctx = log_ctx;
    pthread_mutex_init(&s->refreshing, NULL);
    pthread_mutex_init(&s->opening, NULL);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return EXI_OK;
}

void
exi_store_free(struct exi_store *s)
{
    if (s == NULL) {
        return;
    }
    exi_store_unref_gen(s, s->gen);
    exi_store_unref_env(s, s->env);
    pthread_mutex_destroy(&s->refreshing);
    pthread_mutex_destroy(&s->opening);
    pthread_mutex_destroy(&s->lock);
    exi_mcache_free(s->merkle);
    free(s->dir);
    free(s);
}

/*
 * Closing is done outside of the lock but inside of `opening`, as generations
 * share segments whose counts have no lock of their own.
 */
void
exi_store_unref_gen(struct exi_store *s, struct exi_gen *g)
{
    bool last;

    if (g == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    last = --g->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) {
        pthread_mutex_lock(&s->opening);
        exi_gen_close(g);
        pthread_mutex_unlock(&s->opening);
    }
}

struct exi_gen *
exi_store_ref_gen(struct exi_store *s, struct exi_gen *g)
{
    pthread_mutex_lock(&s->lock);
    g->refs++;
    pthread_mutex_unlock(&s->lock);
    return g;
}

void
exi_store_unref_env(struct exi_store *s, struct exi_env *e)
{
    bool last;

    if (e == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    last = --e->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) {
        exi_env_close(e);
    }
}

bool
exi_store_fits(const struct exi_live_state *st, const struct exi_gen *g)
{
    if (g == NULL || (uint64_t) g->m.height + 1 < st->live_floor) {
        return false;
    }
    for (uint32_t i = 0; i < st->ngens; i++) {
        if (st->gens[i].number == g->m.number) {
            return memcmp(&st->gens[i].block, &g->m.block, sizeof g->m.block)
                       == 0
                   && st->gens[i].height == g->m.height;
        }
    }
    return false;
}

/* Opens the newest listed generation that can be opened. */
static int
open_listed(struct exi_store *s, const struct exi_live_state *st,
            const struct exi_gen *near, struct exi_gen **out)
{
    int worst = EXI_ESTALE;

    for (uint32_t i = st->ngens; i-- > 0;) {
        int rc;
        if ((uint64_t) st->gens[i].height + 1 < st->live_floor) {
            continue;
        }
        rc = exi_gen_open(s, &st->gens[i], near, out);
        if (rc == EXI_OK) {
            return rc;
        }
        if (rc != EXI_ESTALE) {
            exi_store_say(s, 0, "generation %llu: %s",
                          (unsigned long long) st->gens[i].number,
                          exi_strerror(rc));
            worst = rc;
        }
    }
    return worst;
}

/* The store's generation with a new reference, if it fits. */
static struct exi_gen *
ref_fitting(struct exi_store *s, const struct exi_live_state *st)
{
    struct exi_gen *g = NULL;

    pthread_mutex_lock(&s->lock);
    if (exi_store_fits(st, s->gen)) {
        g = s->gen;
        g->refs++;
    }
    pthread_mutex_unlock(&s->lock);
    return g;
}

int
exi_store_gen(struct exi_store *s, const struct exi_live_state *st,
              struct exi_gen **out)
{
    struct exi_gen *old = NULL, *g;
    int rc = EXI_OK;

    pthread_mutex_lock(&s->opening);
    g = ref_fitting(s, st);
    if (g == NULL) {
        /* Only this function replaces s->gen, under `opening`. */
        rc = open_listed(s, st, s->gen, &g);
        if (rc == EXI_OK) {
            pthread_mutex_lock(&s->lock);
            old = s->gen;
            s->gen = g;
            g->refs++;
            pthread_mutex_unlock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->opening);
    exi_store_unref_gen(s, old);
    if (rc == EXI_OK) {
        *out = g;
    }
    return rc;
}

/*
 * Refreshing.
 */

/* Name in live/CURRENT.  EXI_ENOTREADY: there is none. */
static int
read_current(struct exi_store *s, char name[EXI_ENV_NAME + 1], struct stat *st)
{
    char path[PATH_MAX], buf[EXI_ENV_NAME + 2];
    ssize_t n;
    int fd;

    n = snprintf(path, sizeof path, "%s/live/CURRENT", s->dir);
    if (n < 0 || (size_t) n >= sizeof path) {
        return EXI_EIO;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? EXI_ENOTREADY : EXI_EIO;
    }
    n = fstat(fd, st) == 0 ? read(fd, buf, sizeof buf) : -1;
    close(fd);
    if (n < 0) {
        return EXI_EIO;
    }
    if (n != EXI_ENV_NAME + 1 || buf[EXI_ENV_NAME] != '\n') {
        return EXI_EFORMAT;
    }
    for (int i = 0; i < EXI_ENV_NAME; i++) {
        if (i == 16 ? buf[i] != '-'
                    : strchr("0123456789abcdef", buf[i]) == NULL) {
            return EXI_EFORMAT;
        }
    }
    memcpy(name, buf, EXI_ENV_NAME);
    name[EXI_ENV_NAME] = '\0';
    return EXI_OK;
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev
           && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec
           && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* *env: the environment that CURRENT names; the store's own or a new one. */
static int
current_env(struct exi_store *s, struct exi_env **env)
{
    char path[PATH_MAX], name[EXI_ENV_NAME + 1];
    struct stat st;
    int n, rc;

    *env = s->env;
    n = snprintf(path, sizeof path, "%s/live/CURRENT", s->dir);
    if (s->env != NULL && n > 0 && (size_t) n < sizeof path
        && stat(path, &st) == 0 && same_file(&st, &s->current)) {
        return EXI_OK;
    }
    rc = read_current(s, name, &st);
    if (rc) {
        return rc;
    }
    if (s->env == NULL || strcmp(name, s->env->name) != 0) {
        rc = exi_env_open(s, name, env);
    }
    if (rc == EXI_OK && *env == s->env) {
        s->current = st;
    }
    return rc;
}

/* The newest listed generation with a new reference, or another that fits. */
static int
newest_gen(struct exi_store *s, const struct exi_live_state *st,
           struct exi_gen **out)
{
    uint64_t newest = st->gens[st->ngens - 1].number;
    struct exi_gen *g = ref_fitting(s, st);
    int rc;

    if (g != NULL && (g->m.number == newest || newest == s->bad_gen)) {
        *out = g;
        return EXI_OK;
    }
    exi_store_unref_gen(s, g);
    pthread_mutex_lock(&s->opening);
    rc = open_listed(s, st, s->gen, out);
    pthread_mutex_unlock(&s->opening);
    s->bad_gen = rc == EXI_OK && (*out)->m.number != newest ? newest : 0;
    return rc;
}

/* Makes env and gen (with the caller's references) the store's. */
static void
install(struct exi_store *s, struct exi_env *env, struct exi_gen *gen)
{
    struct exi_env *old_env = NULL;
    struct exi_gen *old_gen;

    pthread_mutex_lock(&s->opening);
    pthread_mutex_lock(&s->lock);
    if (env != s->env) {
        old_env = s->env;
        s->env = env;
        memset(&s->current, 0, sizeof s->current);
    }
    old_gen = s->gen;
    s->gen = gen;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->opening);
    exi_store_unref_gen(s, old_gen);
    exi_store_unref_env(s, old_env);
    exi_view_tidy(s);
}

static int
refresh_once(struct exi_store *s)
{
    struct exi_live_state st;
    struct exi_env *env = NULL;
    struct exi_gen *gen = NULL;
    int rc = current_env(s, &env);

    if (rc == EXI_OK) {
        rc = exi_env_state(env, &st);
    }
    if (rc == EXI_OK) {
        rc = newest_gen(s, &st, &gen);
    }
    if (rc == EXI_OK) {
        install(s, env, gen);
    } else if (env != NULL && env != s->env) {
        exi_store_unref_env(s, env);
    }
    return rc;
}

bool
exi_store_current(struct exi_store *s)
{
    char path[PATH_MAX];
    struct exi_live_state st;
    struct stat now;
    uint64_t newest;
    int n = snprintf(path, sizeof path, "%s/live/CURRENT", s->dir);

    if (s->env == NULL || s->gen == NULL || n < 0 || (size_t) n >= sizeof path
        || stat(path, &now) != 0 || !same_file(&now, &s->current)
        || exi_env_state(s->env, &st) != EXI_OK || st.ngens == 0) {
        return false;
    }
    newest = st.gens[st.ngens - 1].number;
    return exi_store_fits(&st, s->gen)
           && (s->gen->m.number == newest || newest == s->bad_gen);
}

int
exi_store_refresh(struct exi_store *s)
{
    int rc = EXI_ESTALE;

    pthread_mutex_lock(&s->refreshing);
    for (int i = 0; i < RETRIES && rc == EXI_ESTALE; i++) {
        rc = refresh_once(s);
    }
    pthread_mutex_unlock(&s->refreshing);
    if (rc == EXI_ESTALE) {
        exi_store_say(s, 0, "%s: the listed generations are not there", s->dir);
        rc = EXI_EIO;
    } else if (rc == EXI_OK) {
        pthread_mutex_lock(&s->lock);
        s->last_log[0] = '\0';
        pthread_mutex_unlock(&s->lock);
    } else if (rc != EXI_ENOTREADY) {
        exi_store_say(s, 0, "%s: %s", s->dir, exi_strerror(rc));
    }
    return rc;
}
