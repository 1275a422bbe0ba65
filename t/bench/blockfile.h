/*
 * A file of blocks (magic, size, block, as the node's block files and chaingen
 * write them; in order, genesis block first) as the source of a bulk sync.
 */
#ifndef BLOCKFILE_H
#define BLOCKFILE_H

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bulk.h"
#include "exi_bytes.h"
#include "exi_sha256.h"

struct blocks {
    int fd;
    uint64_t *at; /* of the block, after magic and size */
    uint32_t *size;
    uint32_t n;
    uint64_t txs;
    uint64_t bytes;
    uint32_t next;
    pthread_mutex_t lock;
};

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

/* Number of transactions of a block that begins with head (of 89 bytes). */
static uint64_t
count_txs(const uint8_t *head)
{
    struct exi_rd r = exi_rd(head + 80, 9);

    return exi_rd_compact(&r);
}

/* Offsets of all blocks, and how many transactions they have. */
static void
scan(struct blocks *b, const char *path)
{
    uint8_t head[8 + 80 + 9];
    uint64_t off = 0;

    b->fd = open(path, O_RDONLY);
    if (b->fd < 0) {
        die(path);
    }
    while (pread(b->fd, head, sizeof(head), (off_t) off)
               == (ssize_t) sizeof(head)
           && exi_le32(head) != 0) {
        uint32_t size = exi_le32(head + 4);

        if (b->n % 4096 == 0) {
            b->at = realloc(b->at, (b->n + 4096) * sizeof(*b->at));
            b->size = realloc(b->size, (b->n + 4096) * sizeof(*b->size));
        }
        b->at[b->n] = off + 8;
        b->size[b->n++] = size;
        b->txs += count_txs(head + 8);
        b->bytes += size;
        off += size + 8;
    }
    pthread_mutex_init(&b->lock, NULL);
}

static int
next_block(void *ctx, struct source_block *out)
{
    struct blocks *b = ctx;
    uint32_t i;
    uint8_t *raw;

    pthread_mutex_lock(&b->lock);
    i = b->next < b->n ? b->next++ : b->n;
    pthread_mutex_unlock(&b->lock);
    if (i == b->n) {
        return 0;
    }
    raw = malloc(b->size[i]);
    if (raw == NULL
        || pread(b->fd, raw, b->size[i], (off_t) b->at[i])
               != (ssize_t) b->size[i]) {
        die("read");
    }
    out->height = i;
    out->raw = raw;
    out->rawlen = b->size[i];
    exi_sha256d(out->hash.b, raw, 80);
    return 1;
}

static void
give_back(void *ctx, struct source_block *b)
{
    (void) ctx;
    free((void *) (uintptr_t) b->raw);
}

/* Seconds of a clock. */
static double
now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

#endif /* BLOCKFILE_H */
