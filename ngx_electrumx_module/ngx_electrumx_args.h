/*
 * Arguments of a request against the parameters of a method, and the
 * negotiation of the protocol version.  Pure, as ngx_electrumx_json.h.
 */

#ifndef _NGX_ELECTRUMX_ARGS_H_INCLUDED_
#define _NGX_ELECTRUMX_ARGS_H_INCLUDED_


#include "ngx_electrumx_json.h"
#include "exi_types.h"


#define NGX_ELECTRUMX_MAX_ARGS       4


typedef enum {
    NGX_ELECTRUMX_ARG_HASH = 0,   /* 64 hex digits, display order */
    NGX_ELECTRUMX_ARG_SCRIPT,     /* scriptPubKey in hex, may be empty */
    NGX_ELECTRUMX_ARG_UINT,       /* integer >= 0, a string of digits, too */
    NGX_ELECTRUMX_ARG_END,        /* the same, or -1: UINT64_MAX */
    NGX_ELECTRUMX_ARG_BOOL,       /* true, false, 1, 0 */
    NGX_ELECTRUMX_ARG_STRING,
    NGX_ELECTRUMX_ARG_HEX,        /* hex digits, an even number, at least 2 */
    NGX_ELECTRUMX_ARG_HEXES,      /* non-empty array of such */
    NGX_ELECTRUMX_ARG_ANY
} ngx_electrumx_arg_type_e;


/* Whether a parameter must be given. */

typedef enum {
    NGX_ELECTRUMX_REQUIRED = 0,
    NGX_ELECTRUMX_OPTIONAL,
    NGX_ELECTRUMX_LENIENT,        /* optional here, required by ElectrumX */
    NGX_ELECTRUMX_ADDED           /* optional here, unknown to ElectrumX */
} ngx_electrumx_need_e;


/* Flags of ngx_electrumx_args(). */
#define NGX_ELECTRUMX_ARGS_EXTRA     1        /* superfluous ones pass */
#define NGX_ELECTRUMX_ARGS_STRICT    2        /* as ElectrumX has them */


/* A list of them ends with one that has no name. */

typedef struct {
    const char                *name;
    ngx_electrumx_arg_type_e   type;
    ngx_electrumx_need_e       need;
    uint64_t                   value;         /* default of UINT, END, BOOL */
    const char                *alias;         /* another name, or NULL */
} ngx_electrumx_param_t;


typedef struct {
    ngx_electrumx_json_t      *value;         /* NULL: default */
    uint64_t                   num;           /* UINT, END, BOOL */
    ngx_str_t                  str;           /* HASH, STRING, HEX: the text;
                                                 SCRIPT: its bytes */
    u_char                     hash[EXI_HASH_LEN];  /* HASH: internal order;
                                                       SCRIPT: its hash */
} ngx_electrumx_arg_t;


/*
 * Checks params (an array, an object, null or NULL) and fills args, one for
 * each parameter.  Strings are decoded in place.  Flags: EXTRA lets arguments
 * pass that are too many or of an unknown name; STRICT takes no ADDED ones and
 * requires LENIENT ones.  NGX_DECLINED: why says what is wrong, ended by NUL.
 */
ngx_int_t ngx_electrumx_args(const ngx_electrumx_param_t *param,
    ngx_electrumx_json_t *params, ngx_uint_t flags, ngx_electrumx_arg_t *args,
    char *why, size_t whylen);

/*
 * "1.4.2" is 10402; parts above 99 count as 99, those after the third do not
 * count.  NGX_DECLINED: not numbers with dots.
 */
ngx_int_t ngx_electrumx_version_parse(const ngx_str_t *text,
    ngx_uint_t *version);

/*
 * Electrum protocol, server.version: wanted is a string, an array [min, max]
 * or NULL (1.4); server_min ... server_max is what the server speaks.  The
 * answer is in the client's own spelling if one of its two is chosen.
 * NGX_DECLINED: no common version, or malformed.
 */
ngx_int_t ngx_electrumx_version_choose(ngx_electrumx_json_t *wanted,
    ngx_uint_t server_min, ngx_uint_t server_max, ngx_uint_t *version,
    ngx_str_t *spelling);

/* 10402 is "1.4.2", 10600 is "1.6"; buf has 16 bytes.  Returns the length. */
size_t ngx_electrumx_version_text(ngx_uint_t version, char *buf);


#endif /* _NGX_ELECTRUMX_ARGS_H_INCLUDED_ */
