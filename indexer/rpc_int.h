/*
 * What rpc.c, rpc_http.c, rpc_url.c and rpc_node.c share; for nobody else.
 */
#ifndef RPC_INT_H
#define RPC_INT_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "rpc.h"

#define RPC_DAEMONS_MAX 16

#define RPC_CODE_WARMUP (-28)

struct rpc_daemon {
    char *base; /* "http://host:port": shown in messages */
    char *path; /* of JSON-RPC, "/" */
    char *user; /* from the URL, or NULL: the cookie */
    char *pass;
    int64_t down_until_ms; /* not before then, if another one is there */
    int64_t backoff_ms;    /* 0: it answered last time */
    bool no_rest;          /* it does not offer blocks over REST */
    bool tried;            /* in the request under way */
};

struct rpc {
    struct rpc_daemon daemons[RPC_DAEMONS_MAX];
    size_t ndaemons;
    size_t cur;
    CURL *easy;
    CURLM *multi; /* holds the kept connections */
    int wake_fd;  /* eventfd, readable when cancelled */
    struct curl_slist *headers;
    char *cookie_path;
    char *cookie; /* "user:pass" as last read, or NULL */
    long timeout_ms;
    atomic_bool cancelled;
    struct rpc_error error;
    struct rpc_buf body; /* of JSON answers */
    char curl_error[CURL_ERROR_SIZE];
};

/* Decoder of an answer whose result is one string of hex digits (rpc_hex.c). */
enum rpc_hex_state {
    RPC_HEX_HEAD,
    RPC_HEX_BODY,
    RPC_HEX_TAIL,
    RPC_HEX_TEXT /* something else: collected as it is */
};
struct rpc_hex {
    enum rpc_hex_state state;
    size_t matched; /* bytes of the head */
    size_t taillen;
    char digit; /* first one of a byte, or NUL */
    char tail[64];
};

/* One HTTP request and, once it is done, its status. */
struct rpc_request {
    const char *path; /* of a GET; NULL: POST body to the daemon's own path */
    const char *body;
    size_t bodylen;
    long timeout_ms;
    size_t limit;        /* of the answer */
    struct rpc_buf *out; /* the answer */
    struct rpc_hex *hex; /* NULL: the answer is not decoded */
    bool decoded;        /* it was: out has the result's bytes */
    long status;
};

/* Options of the easy handle that never change. */
int rpc_http_setup(struct rpc *r, long connect_timeout_ms) EXI_MUST_CHECK;

/* Does one request to one daemon.  EXI_OK: an HTTP answer, see q->status. */
int rpc_http(struct rpc *r, struct rpc_daemon *d,
             struct rpc_request *q) EXI_MUST_CHECK;

/*
 * Begin of an answer; its next n bytes; its end.  decoded: out has the bytes of
 * the result, else the whole answer as text.  EXI_ENOMEM.
 */
void rpc_hex_begin(struct rpc_hex *h, struct rpc_buf *out);
int rpc_hex_data(struct rpc_hex *h, struct rpc_buf *out, const char *p,
                 size_t n) EXI_MUST_CHECK;
int rpc_hex_end(struct rpc_hex *h, struct rpc_buf *out,
                bool *decoded) EXI_MUST_CHECK;

/* What an HTTP status means where it means the same for JSON-RPC and REST;
 * EXI_OK: look at the body. */
int rpc_http_judge(struct rpc *r, const struct rpc_daemon *d,
                   const struct rpc_request *q) EXI_MUST_CHECK;

/* Length of the first line of a plain text answer, for messages. */
int rpc_http_snippet(const struct rpc_request *q);

/* Reads the cookie file anew; true if it has something, and something else
 * than before. */
bool rpc_http_cookie(struct rpc *r);

/* Parses the comma list into r->daemons; as rpc_new(). */
int rpc_url_list(struct rpc *r, const struct rpc_opts *o, char *why,
                 size_t whylen) EXI_MUST_CHECK;
void rpc_url_free(struct rpc *r);

/* Notes a failure in words and returns rc. */
int rpc_fail(struct rpc *r, int rc, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif /* RPC_INT_H */
