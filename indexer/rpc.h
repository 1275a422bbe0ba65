/*
 * The node's JSON-RPC and REST (libcurl).  A handle belongs to one thread at a
 * time; make one for each thread.
 */
#ifndef RPC_H
#define RPC_H

#include <jansson.h>

#include "lib/exi_err.h"
#include "lib/exi_types.h"

struct rpc;

struct rpc_opts {
    const char *urls;        /* http://user:pass@host:port, several by commas */
    const char *cookie;      /* file with user:pass, or NULL; read again when
                                it may have changed */
    long timeout_ms;         /* one request; 0 = 30,000 */
    long connect_timeout_ms; /* 0 = 5,000 */
    unsigned default_port;   /* where a URL has none; 0 = the scheme's */
};

/* Longest answers accepted: REST, and JSON (twice that for hex, and a bit). */
#define RPC_REST_MAX ((size_t) 64 << 20)
#define RPC_JSON_MAX ((size_t) 144 << 20)

/* A growing byte buffer owned by the caller: { NULL, 0, 0 } to start. */
struct rpc_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};
void rpc_buf_free(struct rpc_buf *b);
/* Appends; EXI_ENOMEM leaves it as it was.  rpc_buf_room() makes cap - len at
 * least len. */
int rpc_buf_room(struct rpc_buf *b, size_t len) EXI_MUST_CHECK;
int rpc_buf_add(struct rpc_buf *b, const void *data, size_t len) EXI_MUST_CHECK;

/* Last failure of a handle, in words for the log; never credentials.  Not
 * changed by success. */
struct rpc_error {
    int code;          /* JSON-RPC error code of the node, or 0 */
    char message[512]; /* node's message or ours */
};

/* EXI_EAPI: a URL is malformed (why says which part; password left out);
 * EXI_ENOMEM. */
int rpc_new(struct rpc **out, const struct rpc_opts *o, char *why,
            size_t whylen) EXI_MUST_CHECK;
void rpc_free(struct rpc *r);
const struct rpc_error *rpc_error(const struct rpc *r);

/* For callers of rpc_call(): the answer to this method is not what it should be.
 * Notes that in rpc_error, puts the daemon off, returns EXI_EANSWER. */
int rpc_bad_answer(struct rpc *r, const char *method);

/* The daemon that is asked now: "http://host:port". */
const char *rpc_daemon(const struct rpc *r);

/*
 * Makes a transfer under way end at once with EXI_ENET, and all later ones too
 * until rpc_resume().  Any thread, and a signal handler.
 */
void rpc_cancel(struct rpc *r);
void rpc_resume(struct rpc *r);
bool rpc_cancelled(const struct rpc *r);

/*
 * Calls a method.  params: array, taken (stolen) even on failure, NULL = none;
 * *result: new reference.  With several daemons the next one is tried when one
 * does not answer.  EXI_ENET, EXI_EAUTH, EXI_EWARMUP (-28), EXI_ENODE (rpc_error has code
 * and message), EXI_EANSWER (answer is no JSON-RPC), EXI_ENOMEM.
 */
int rpc_call(struct rpc *r, const char *method, json_t *params,
             json_t **result) EXI_MUST_CHECK;

/*
 * A call whose result is one string of hex digits (getblock 0), as bytes into
 * out (replaced): decoded as it arrives, many times faster than through
 * rpc_call() and with half the memory.  Errors as there; EXI_EANSWER too if the
 * result is something else.
 */
int rpc_call_hex(struct rpc *r, const char *method, json_t *params,
                 struct rpc_buf *out) EXI_MUST_CHECK;

/* As above with another time limit (long polls). */
int rpc_call_timeout(struct rpc *r, const char *method, json_t *params,
                     long timeout_ms, json_t **result) EXI_MUST_CHECK;

/*
 * n calls of one method in one HTTP request; params[i] are taken.  results[i]
 * becomes a new reference or NULL where that call failed (rpc_error: the first
 * of them).
 */
int rpc_batch(struct rpc *r, const char *method, json_t **params, size_t n,
              json_t **results) EXI_MUST_CHECK;

/* GET path ("/rest/...") into buf (replaced).  EXI_ENOTFOUND: 404;
 * EXI_ENODE: REST is off or another status. */
int rpc_rest(struct rpc *r, const char *path,
             struct rpc_buf *buf) EXI_MUST_CHECK;

/*
 * Serialized block into buf: REST `.bin` where the node offers it, else
 * getblock 0; which one works is remembered.  It is that block (blockcheck.h).
 * With several daemons the others are asked too.  EXI_ENOTFOUND: no daemon has
 * it (pruned, or unknown); EXI_EANSWER: they send something else.
 */
int rpc_block(struct rpc *r, const struct exi_blkid *hash,
              struct rpc_buf *buf) EXI_MUST_CHECK;

/* What the node says of itself. */
struct rpc_chain {
    uint32_t blocks;  /* height of its tip */
    uint32_t headers; /* height of its best header */
    struct exi_blkid best;
    bool ibd; /* initialblockdownload */
    bool pruned;
    double progress; /* verificationprogress */
};
int rpc_chain(struct rpc *r, struct rpc_chain *out) EXI_MUST_CHECK;

/* getbestblockhash; getblockhash (EXI_ENOTFOUND: above the tip); header of a
 * block hash: 80 bytes and its height, and whether it is in the active chain. */
int rpc_best(struct rpc *r, struct exi_blkid *out) EXI_MUST_CHECK;
int rpc_hash_at(struct rpc *r, uint32_t height,
                struct exi_blkid *out) EXI_MUST_CHECK;
int rpc_header(struct rpc *r, const struct exi_blkid *hash,
               struct exi_blkid *prev, uint32_t *height,
               bool *active) EXI_MUST_CHECK;

#endif /* RPC_H */
