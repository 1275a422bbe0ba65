/*
 * What source.c, source_files.c and source_http.c share; for nobody else.
 */
#ifndef SOURCE_INT_H
#define SOURCE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "source.h"

#define SOURCE_WINDOW    4096 /* slots; a power of two */
#define SOURCE_READERS   2    /* threads that read files at a time */
#define SOURCE_RUN       256  /* blocks read from the files in one go */
#define SOURCE_FDS       4    /* block files that a thread keeps open */
#define SOURCE_TICK_MS   100  /* how soon a cancelled wait ends */
#define SOURCE_BLOCK_MIN 81   /* header and a transaction count */

/* ---- block files ---- */

/* Where a block lies; len 0: not in the files. */
struct source_rec {
    uint32_t file; /* N of blkN.dat */
    uint32_t off;  /* of the block, after magic and size */
    uint32_t len;
};

struct source_files {
    int dir;        /* of the folder; -1: there is none */
    uint8_t key[8]; /* xor.dat; all zero: not obfuscated */
    bool obfuscated;
    struct source_rec *recs; /* one for each block wanted; never changed after
                                the scan */
    size_t found;            /* how many of them are there */
};

/* Files that one thread has open. */
struct source_fds {
    int fd[SOURCE_FDS]; /* -1: free */
    uint32_t file[SOURCE_FDS];
    unsigned next; /* to be replaced */
};

/* One block of a run: where it is in the buffer, and whether it is good. */
struct source_piece {
    const uint8_t *raw;
    uint32_t len;
    bool good;
};

/*
 * Reads xor.dat and the headers of all records of all files of o->blocks_dir,
 * with threads of its own, until each of the n hashes was found.  EXI_EIO,
 * EXI_ENOMEM (why has the sentence; nothing is left open).
 */
int source_files_open(struct source_files *f, const struct source_opts *o,
                      const struct exi_blkid *hashes, size_t n, char *why,
                      size_t whylen) EXI_MUST_CHECK;
void source_files_close(struct source_files *f);

/* A block file, the caller's to close; -1: there is none. */
int source_files_fd(const struct source_files *f, uint32_t number);

/* Header of the block at rec->file, rec->off.  EXI_EIO. */
int source_files_header(const struct source_files *f,
                        const struct source_rec *rec,
                        uint8_t out[EXI_HEADER_LEN]) EXI_MUST_CHECK;

/* Bytes that the block at pos adds to the buffer of a run; with_prev: its
 * predecessor is in the run too. */
size_t source_files_bytes(const struct source_files *f, size_t pos,
                          bool with_prev);

/*
 * Reads the n blocks from pos on, all of which have a record, into buf (as
 * large as source_files_bytes() adds up to), and says for each whether it
 * could be read and has a header with that hash.
 */
void source_files_read(const struct source_files *f, struct source_fds *fds,
                       size_t pos, size_t n, const struct exi_blkid *hashes,
                       uint8_t *buf, struct source_piece *pieces);

/* Asks the system to have the blocks from ... to - 1 in its cache soon. */
void source_files_advise(const struct source_files *f, struct source_fds *fds,
                         size_t from, size_t to);

void source_fds_init(struct source_fds *fds);
void source_fds_close(struct source_fds *fds);

/* ---- the node ---- */

/*
 * A block over REST, or JSON-RPC where REST is off, has not got it or lies;
 * busy or absent nodes are asked again for a while.  *kind: which it was.
 * EXI_ENET, EXI_EAUTH, EXI_EWARMUP, EXI_ENODE, EXI_ENOTFOUND, EXI_ENOMEM:
 * *words says why, until r is used again.  *buf stays the caller's to free.
 */
int source_http_get(struct source *s, struct rpc *r,
                    const struct exi_blkid *hash, struct rpc_buf *buf,
                    enum source_kind *kind, const char **words) EXI_MUST_CHECK;

/* ---- the whole ---- */

/* Memory that holds one block or, of the files, several. */
struct source_chunk {
    struct source_chunk *prev;
    struct source_chunk *next;
    uint8_t *data;
    size_t bytes;
    unsigned refs; /* blocks not given back */
};

/*
 *   IDLE --taken--> BUSY --read--> READY --handed out--> IDLE (of another)
 *                    | ^
 *             failed v | taken
 *                   AGAIN
 */
enum source_state {
    SLOT_IDLE,
    SLOT_BUSY,
    SLOT_READY,
    SLOT_AGAIN
};

/* A block between admission and handing out. */
struct source_slot {
    struct source_chunk *chunk; /* of a READY one */
    const uint8_t *raw;
    uint32_t len;
    enum source_state state;
    bool nofile;     /* what the files have of it is bad */
    size_t reserved; /* bytes counted in `used` before it is READY */
};

struct source_worker {
    struct source *s;
    pthread_t thread;
    struct rpc *rpc; /* NULL: there is no node */
    struct source_fds fds;
    struct source_piece pieces[SOURCE_RUN];
};

struct source {
    /* never changed after source_start() */
    uint32_t from;
    size_t n;
    struct exi_blkid *hashes;
    enum source_kind want;
    size_t memory;
    size_t block_max;
    size_t run_max; /* bytes of a run */
    struct source_files files;
    struct source_worker *workers;
    unsigned parallel; /* requests in flight at most */
    unsigned nworkers;
    unsigned nthreads; /* that run */
    struct rpc *rpc;   /* of source_reject() */
    pthread_mutex_t rpc_mutex;

    atomic_bool cancelled;
    atomic_bool no_rest;
    atomic_bool doubt;     /* a block was rejected: each is checked wholly */
    atomic_int kind;       /* of the last block that was read */
    atomic_size_t typical; /* length of a recent block from the node */
    atomic_uint limit;     /* requests in flight that the node bears */
    atomic_uint_fast64_t bytes;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t work;   /* workers wait */
    pthread_cond_t ready;  /* callers wait */
    size_t next_in;        /* first block not admitted */
    size_t next_out;       /* block to be handed out next */
    size_t advised;        /* first block the system was not told of */
    size_t ahead;          /* bytes of blocks next_in ... advised - 1 */
    size_t used;           /* bytes held or reserved */
    size_t nagain;         /* slots to be tried again */
    unsigned nfile;        /* workers that read files */
    unsigned nhttp;        /* workers that ask the node */
    unsigned inside;       /* callers in source_next() */
    int fail;              /* to be reported; no work begins until then */
    size_t fail_pos;
    struct source_chunk *chunks;
    struct source_slot *slots; /* ring */
    char why[512];
};

/* ---- of source_work.c; all but source_thread() and source_ask_node() with
 * s->mutex held ---- */

void *source_thread(void *worker);

/* Wakes who can go on now. */
void source_wake(struct source *s);

/* The block from the node, as a chunk; takes no lock.  *words: the reason of a
 * failure, until r is used again.  r NULL: EXI_ENOTFOUND. */
int source_ask_node(struct source *s, struct rpc *r,
                    const struct exi_blkid *hash, struct source_chunk **out,
                    enum source_kind *kind, const char **words) EXI_MUST_CHECK;

void source_chunk_link(struct source *s, struct source_chunk *c);

/* Drops a reference; what is returned, the chunk or NULL, is to be freed. */
struct source_chunk *source_chunk_unref(struct source *s,
                                        struct source_chunk *c);
void source_chunk_free(struct source_chunk *c); /* no mutex needed */

static inline struct source_slot *
source_slot_at(const struct source *s, size_t pos)
{
    return &s->slots[pos % SOURCE_WINDOW];
}

/* ---- of source.c ---- */

/* Waits with s->mutex held; a tick at most, as a signal handler that cancels
 * can't wake anybody. */
void source_wait(struct source *s, pthread_cond_t *cond);

/* Waits, unless cancelled. */
void source_pause(struct source *s, long ms);

/* Milliseconds of a clock that only goes forward. */
int64_t source_now_ms(void);

/* Whether these bytes can be that block: length and header. */
bool source_fits(const struct exi_blkid *hash, const uint8_t *raw, size_t len,
                 size_t max);

#endif /* SOURCE_INT_H */
