/*
 * What the files of the load generator share: options, the lists of scripts
 * and transactions to ask for, connections, requests and answers.
 *
 * One process, one or more threads; a thread has an epoll set and connections
 * of its own and shares nothing but the lists, which are constant.
 */
#ifndef LOAD_H
#define LOAD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum load_kind {
    LOAD_PING,
    LOAD_HEADER,
    LOAD_HISTORY,
    LOAD_BALANCE,
    LOAD_UNSPENT,
    LOAD_SUBSCRIBE,
    LOAD_TX,
    LOAD_MERKLE,
    LOAD_KINDS,
    LOAD_MIX = LOAD_KINDS
};

struct load_opts {
    const char *host; /* numeric IPv4 address */
    uint32_t port;
    bool tls;
    bool ws;
    uint32_t connections;
    uint32_t threads;
    uint32_t pipeline; /* requests under way on a connection */
    double seconds;    /* measured, after the warm-up */
    double warmup;
    uint64_t requests; /* 0: as many as fit; else ends after so many */
    int kind;
    bool once;           /* each of the list once, in its order */
    bool hot;            /* always the first of the list */
    const char *scripts; /* chaingen's PREFIX.samples.tsv */
    const char *class;   /* only these samples ("1,10"), or all */
    const char *txs;     /* chaingen's PREFIX.txs.tsv */
    uint32_t height;     /* of the highest header asked for */
    uint64_t seed;
    uint32_t sources; /* addresses 127.0.0.1 ... to connect from; 0: any */
    uint32_t idle;    /* idle connections (load_idle.c) */
    uint32_t subs;    /* subscriptions of each of them */
    int pids[16];     /* processes whose CPU time counts */
    size_t npids;
};

extern struct load_opts load_opts;

/* Prints a message and ends the program. */
void load_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
/* realloc() that does not fail. */
void *load_realloc(void *p, size_t n);
/* Monotonic time, ns. */
uint64_t load_now(void);
/* Random number of a thread's own state. */
uint64_t load_random(uint64_t *state);

/*
 * load_list.c: what is asked, and whether an answer is one.
 */

/* Reads the lists that load_opts names; ends the program if one is empty. */
void load_lists(void);

/* How many different requests of load_opts.kind there are. */
size_t load_listed(void);

/* Writes a request without newline for a kind and an id; at most
 * LOAD_REQUEST_MAX bytes; returns the length. */
#define LOAD_REQUEST_MAX 256
size_t load_request(char *out, int kind, uint64_t id, uint64_t *random);

/* Writes server.version, which some servers want first on each connection; its
 * id is LOAD_HELLO. */
#define LOAD_HELLO UINT32_MAX
size_t load_hello(char *out);

/* Writes the subscription of script `sub` of idle connection `conn`; number 0
 * is a script of its own, PUSH(conn) PUSH(0) OP_2DROP OP_TRUE with pushes of 4
 * bytes LE; the others are of the list. */
size_t load_subscription(char *out, uint32_t conn, uint32_t sub, uint64_t id);

/*
 * Takes a message of the server apart.  LOAD_ANSWER: a result, *id is set;
 * LOAD_NOTE: a notification; LOAD_ERROR: an error or something else, or (kind
 * >= 0) a result that can't be right for what was asked.
 */
enum load_answer {
    LOAD_ANSWER,
    LOAD_NOTE,
    LOAD_ERROR
};
enum load_answer load_check(const char *p, size_t n, uint64_t *id);

/* Whether the result of an answer is empty (null, [], ""). */
bool load_is_empty(const char *p, size_t n);

/*
 * load_conn.c: connections.
 */
struct load_conn {
    int fd; /* -1: none */
    SSL *ssl;
    uint32_t number;
    bool up;       /* connected, TLS and upgrade done */
    bool upgraded; /* WebSocket: the 101 was read */
    bool ended;    /* WebSocket: the server's close frame was read */
    bool asked;    /* the caller's */
    bool want_out; /* EPOLLOUT is set */
    char *out;     /* unsent */
    size_t outpos, outlen, outcap;
    char *in; /* unread */
    size_t inpos, inlen, incap;
    void *user;
};

/* Begins to connect and adds it to the epoll set; false: refused. */
bool load_connect(struct load_conn *c, int epfd)
    __attribute__((warn_unused_result));
/* Closes and frees the buffers. */
void load_close(struct load_conn *c);
/* Appends a message, framed. */
void load_put(struct load_conn *c, const char *msg, size_t n);
/* Goes on with the handshakes and writes what there is.  False: broken. */
bool load_flush(struct load_conn *c, int epfd)
    __attribute__((warn_unused_result));
/* Reads what there is.  False: closed or broken. */
bool load_fill(struct load_conn *c) __attribute__((warn_unused_result));
/* Next whole message in the buffer, good until load_fill(); false: none. */
bool load_next(struct load_conn *c, const char **msg, size_t *n);
/* Gives back buffers that are empty (for many idle connections). */
void load_trim(struct load_conn *c);

/* Runs the idle connections until the end of stdin; 0 or 1. */
int load_idle(void);
/* Runs the requests; 0 or 1. */
int load_run(void);

#endif /* LOAD_H */
