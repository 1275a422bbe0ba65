/*
 * Allocations that fail: the program is linked with --wrap=malloc and so on
 * (Makefile), so that those of our own objects, and not LevelDB's, LMDB's or
 * libc's, come by here.  nomem_arm(n): the n-th one from now on returns NULL.
 * What is allocated and not freed is counted.  Include once.
 */
#ifndef NOMEM_H
#define NOMEM_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define NOMEM_SLOTS (1u << 18)

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);

static pthread_mutex_t nomem_mutex = PTHREAD_MUTEX_INITIALIZER;
static const void *nomem_slot[NOMEM_SLOTS]; /* those that are in use */
static long nomem_used;
static long nomem_calls;
static long nomem_at; /* 0: none fails */
static bool nomem_fired;

/* Removed entries leave this, so that those behind them are found. */
static const char nomem_gone;

static size_t
nomem_hash(const void *p)
{
    return (size_t) (((unsigned long long) (size_t) p >> 4)
                         * 0x9e3779b97f4a7c15ull
                     >> 40)
           & (NOMEM_SLOTS - 1);
}

static void
nomem_note(const void *p)
{
    size_t i = nomem_hash(p);

    pthread_mutex_lock(&nomem_mutex);
    while (nomem_slot[i] != NULL && nomem_slot[i] != &nomem_gone) {
        i = (i + 1) & (NOMEM_SLOTS - 1);
    }
    nomem_slot[i] = p;
    nomem_used++;
    pthread_mutex_unlock(&nomem_mutex);
}

/* What a library allocated is not here. */
static void
nomem_forget(const void *p)
{
    size_t i = nomem_hash(p);

    pthread_mutex_lock(&nomem_mutex);
    while (nomem_slot[i] != NULL && nomem_slot[i] != p) {
        i = (i + 1) & (NOMEM_SLOTS - 1);
    }
    if (nomem_slot[i] != NULL) {
        nomem_slot[i] = nomem_slot[(i + 1) & (NOMEM_SLOTS - 1)] != NULL
                            ? &nomem_gone
                            : NULL;
        nomem_used--;
    }
    pthread_mutex_unlock(&nomem_mutex);
}

static bool
nomem_fails(void)
{
    if (nomem_at == 0
        || __atomic_add_fetch(&nomem_calls, 1, __ATOMIC_RELAXED) != nomem_at) {
        return false;
    }
    nomem_fired = true;
    errno = ENOMEM;
    return true;
}

void *
__wrap_malloc(size_t n)
{
    void *p = nomem_fails() ? NULL : __real_malloc(n);

    if (p != NULL) {
        nomem_note(p);
    }
    return p;
}

void *
__wrap_calloc(size_t n, size_t size)
{
    void *p = nomem_fails() ? NULL : __real_calloc(n, size);

    if (p != NULL) {
        nomem_note(p);
    }
    return p;
}

void *
__wrap_realloc(void *old, size_t n)
{
    void *p;

    if (nomem_fails()) {
        return NULL;
    }
    if (old != NULL) {
        nomem_forget(old);
    }
    p = __real_realloc(old, n);
    if (p != NULL) {
        nomem_note(p);
    } else if (old != NULL) {
        nomem_note(old);
    }
    return p;
}

char *
__wrap_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = __wrap_malloc(n);

    return p == NULL ? NULL : memcpy(p, s, n);
}

void
__wrap_free(void *p)
{
    if (p != NULL) {
        nomem_forget(p);
        __real_free(p);
    }
}

__attribute__((unused)) static void
nomem_arm(long at)
{
    nomem_at = 0;
    nomem_calls = 0;
    nomem_fired = false;
    nomem_at = at;
}

/* True: one has failed. */
__attribute__((unused)) static bool
nomem_disarm(void)
{
    nomem_at = 0;
    return nomem_fired;
}

#endif /* NOMEM_H */
