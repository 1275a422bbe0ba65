/*
 * Random numbers for tests: the same seed gives the same numbers everywhere.
 * rnd_init() prints the seed; EXI_TEST_SEED=N in the environment sets it.
 */
#ifndef RND_H
#define RND_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RND_UNUSED __attribute__((unused))

static uint64_t rnd_state;

/* Weyl sequence, mixed by the finalizer of SplitMix64. */
RND_UNUSED static uint64_t
rnd(void)
{
    uint64_t z = rnd_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

RND_UNUSED static void
rnd_init(void)
{
    const char *s = getenv("EXI_TEST_SEED");
    uint64_t seed = (uint64_t) time(NULL) * 1000003u + (uint64_t) getpid();

    if (s != NULL && *s != 0) {
        seed = strtoull(s, NULL, 0);
    }
    printf("# EXI_TEST_SEED=%llu\n", (unsigned long long) seed);
    rnd_state = seed;
}

/* 0 ... n - 1. */
RND_UNUSED static uint64_t
rnd_below(uint64_t n)
{
    return rnd() % n;
}

/* A number of random length in bits, so that small ones are common. */
RND_UNUSED static uint64_t
rnd_bits(unsigned max)
{
    unsigned bits = (unsigned) rnd_below(max + 1);

    return bits == 0 ? 0 : rnd() >> (64 - bits);
}

RND_UNUSED static void
rnd_fill(void *buf, size_t len)
{
    uint8_t *p = buf;

    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t) rnd();
    }
}

#endif /* RND_H */
