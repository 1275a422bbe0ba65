/*
 * Reader of JSON messages (RFC 8259), strict and exact: it builds no tree but
 * a flat array of values that point into the text, so that an id can be
 * echoed byte for byte and numbers of any size are kept as they are written.
 *
 * Pure: no nginx function, no allocation, no state.
 */

#ifndef _NGX_ELECTRUMX_JSON_H_INCLUDED_
#define _NGX_ELECTRUMX_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_ELECTRUMX_JSON_DEPTH     32       /* nested arrays and objects */

/* results of ngx_electrumx_json_parse() */
#define NGX_ELECTRUMX_JSON_INVALID  -1        /* no JSON text */
#define NGX_ELECTRUMX_JSON_MORE     -2        /* more values than slots */
#define NGX_ELECTRUMX_JSON_DEEP     -3        /* nested too deeply */


typedef enum {
    NGX_ELECTRUMX_JSON_NULL = 0,
    NGX_ELECTRUMX_JSON_FALSE,
    NGX_ELECTRUMX_JSON_TRUE,
    NGX_ELECTRUMX_JSON_NUMBER,
    NGX_ELECTRUMX_JSON_STRING,
    NGX_ELECTRUMX_JSON_ARRAY,
    NGX_ELECTRUMX_JSON_OBJECT
} ngx_electrumx_json_type_e;


/*
 * A value.  Its elements follow it in the array; an object's members are
 * pairs: the name (a string), then the value.  The next sibling of v is
 * v + v->skip.
 */

typedef struct {
    u_char                    *start;         /* text; of a string: behind the
                                                 opening quote */
    uint32_t                   len;           /* text; of a string: without its
                                                 quotes, escapes as written */
    uint32_t                   skip;          /* slots taken, itself included */
    uint32_t                   n;             /* elements or members */
    uint8_t                    type;
    uint8_t                    plain;         /* string: no escapes; number: an
                                                 integer without exponent */
} ngx_electrumx_json_t;


/*
 * Reads one value and the white space around it.  v has max slots.  Returns
 * the number of slots used or one of the results above.  Texts of 4 GB and
 * more are invalid, as are NUL characters (escaped ones, too), bytes that are
 * not UTF-8 and halves of surrogate pairs.
 */
ngx_int_t ngx_electrumx_json_parse(ngx_electrumx_json_t *v, ngx_uint_t max,
    u_char *text, size_t len);

/* Decodes a string's escapes in place: its text is plain afterwards. */
void ngx_electrumx_json_unescape(ngx_electrumx_json_t *v);

/* Whether the string v is this text (without escapes). */
ngx_uint_t ngx_electrumx_json_is(const ngx_electrumx_json_t *v,
    const char *text, size_t len);

/* Value of the last member of that name, or NULL. */
ngx_electrumx_json_t *ngx_electrumx_json_get(ngx_electrumx_json_t *object,
    const char *name);

/* A number's value: an integer 0 ... 2^63 - 1, a fraction of zeros is allowed.
   NGX_DECLINED: something else. */
ngx_int_t ngx_electrumx_json_uint(const u_char *text, size_t len,
    uint64_t *value);

/* The value's text with the quotes of a string. */
void ngx_electrumx_json_raw(const ngx_electrumx_json_t *v, ngx_str_t *raw);


#endif /* _NGX_ELECTRUMX_JSON_H_INCLUDED_ */
