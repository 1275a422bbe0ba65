/*
 * chaingen: random numbers, and logarithm and power by series without libm, so
 * that a seed gives the same chain everywhere.
 */
#include "chaingen.h"

static uint64_t state[4], kept[4];

uint64_t
cg_mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void
cg_seed(uint64_t seed)
{
    for (uint64_t i = 0; i < 4; i++) {
        state[i] = cg_mix(seed + i);
    }
}

void
cg_seed_keep(void)
{
    memcpy(kept, state, sizeof(kept));
}

void
cg_seed_back(void)
{
    memcpy(state, kept, sizeof(state));
}

static uint64_t
rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* xoshiro256** */
uint64_t
cg_rnd(void)
{
    uint64_t r = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return r;
}

double
cg_rndf(void)
{
    return (double) (cg_rnd() >> 11) * 0x1p-53;
}

bool
cg_chance(double p)
{
    return cg_rndf() < p;
}

uint64_t
cg_below(uint64_t n)
{
    return (uint64_t) (((unsigned __int128) cg_rnd() * n) >> 64);
}

void
cg_fill(uint8_t *p, size_t n)
{
    while (n > 0) {
        uint64_t r = cg_rnd();
        size_t m = n < 8 ? n : 8;

        memcpy(p, &r, m);
        p += m;
        n -= m;
    }
}

double
cg_log2(double x)
{
    double t, t2, s = 0;
    int e = 0;

    for (; x >= 1.4142135623730951; e++) {
        x *= 0.5;
    }
    for (; x < 0.70710678118654752; e--) {
        x *= 2.0;
    }
    t = (x - 1) / (x + 1);
    t2 = t * t;
    for (int k = 21; k >= 1; k -= 2) {
        s = s * t2 + 1.0 / k;
    }
    return e + 2 * t * s * 1.4426950408889634;
}

double
cg_exp2(double x)
{
    int i = (int) x;
    double f, s = 1;

    if (i > x) {
        i--;
    }
    f = (x - i) * 0.69314718055994531;
    for (int k = 15; k >= 1; k--) {
        s = 1 + s * f / k;
    }
    if (i >= 0) {
        return s * (double) ((uint64_t) 1 << (i > 62 ? 62 : i));
    }
    return s / (double) ((uint64_t) 1 << (-i > 62 ? 62 : -i));
}

double
cg_pow(double b, double e)
{
    return b <= 0 ? 0 : cg_exp2(e * cg_log2(b));
}

uint64_t
cg_zipf(uint64_t n)
{
    static uint64_t last_n;
    static double l2;
    uint64_t k;
    double x;

    if (n <= 1) {
        return 0;
    }
    if (cg_opts.zipf > 0.999 && cg_opts.zipf < 1.001) {
        if (n != last_n) {
            last_n = n;
            l2 = cg_log2((double) n + 1);
        }
        x = cg_exp2(cg_rndf() * l2);
    } else {
        double a = 1 - cg_opts.zipf, m = cg_pow((double) n + 1, a);

        x = cg_pow(1 + cg_rndf() * (m - 1), 1 / a);
    }
    k = (uint64_t) x;
    k = k > 0 ? k - 1 : 0;
    return k < n ? k : n - 1;
}

int64_t
cg_log_uniform(double lo, double hi)
{
    return (int64_t) (lo * cg_exp2(cg_rndf() * cg_log2(hi / lo)));
}
