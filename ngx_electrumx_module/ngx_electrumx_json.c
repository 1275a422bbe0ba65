/*
 * Reader of JSON messages; see the header.
 *
 * Not jansson: that refuses integers above 64 bits, which are good as ids,
 * changes the spelling of numbers and allocates for each value.  The unit test
 * holds both equal on everything else.
 */

#include "ngx_electrumx_json.h"


typedef struct {
    u_char                    *p;
    u_char                    *last;
    ngx_electrumx_json_t      *v;
    ngx_uint_t                 n;
    ngx_uint_t                 max;
    ngx_uint_t                 depth;
    uint32_t                   stack[NGX_ELECTRUMX_JSON_DEPTH];
} ngx_electrumx_json_reader_t;


typedef enum {
    json_value = 0,            /* a value must follow */
    json_first,                /* a value or the end of the array */
    json_name,                 /* a member must follow */
    json_first_name,           /* a member or the end of the object */
    json_after                 /* a comma or the end of what is open */
} ngx_electrumx_json_state_e;


static ngx_inline void ngx_electrumx_json_space(
    ngx_electrumx_json_reader_t *r);
static ngx_int_t ngx_electrumx_json_step(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_state_e state);
static ngx_int_t ngx_electrumx_json_scalar(ngx_electrumx_json_reader_t *r);
static ngx_int_t ngx_electrumx_json_name(ngx_electrumx_json_reader_t *r);
static ngx_int_t ngx_electrumx_json_open(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_type_e type);
static ngx_int_t ngx_electrumx_json_after(ngx_electrumx_json_reader_t *r);
static ngx_int_t ngx_electrumx_json_close(ngx_electrumx_json_reader_t *r);
static ngx_int_t ngx_electrumx_json_string(ngx_electrumx_json_reader_t *r);
static u_char *ngx_electrumx_json_escape(u_char *p, u_char *last);
static u_char *ngx_electrumx_json_utf8(u_char *p, u_char *last);
static ngx_int_t ngx_electrumx_json_hex4(u_char *p, u_char *last);
static u_char *ngx_electrumx_json_put(u_char *dst, uint32_t c);
static ngx_int_t ngx_electrumx_json_number(ngx_electrumx_json_reader_t *r);
static u_char *ngx_electrumx_json_digits(u_char *p, u_char *last);
static ngx_int_t ngx_electrumx_json_word(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_type_e type, const char *word, size_t len);


#define json_digit(c)  ((c) >= '0' && (c) <= '9')


ngx_int_t
ngx_electrumx_json_parse(ngx_electrumx_json_t *v, ngx_uint_t max, u_char *text,
    size_t len)
{
    ngx_int_t                    rc;
    ngx_electrumx_json_reader_t  r;

    if (len >= NGX_MAX_INT32_VALUE) {
        return NGX_ELECTRUMX_JSON_INVALID;
    }

    r.p = text;
    r.last = text + len;
    r.v = v;
    r.n = 0;
    r.max = max;
    r.depth = 0;

    rc = json_value;

    do {
        ngx_electrumx_json_space(&r);

        if (rc == json_after && r.depth == 0) {
            return (r.p == r.last) ? (ngx_int_t) r.n
                                   : NGX_ELECTRUMX_JSON_INVALID;
        }

        if (r.p == r.last) {
            return NGX_ELECTRUMX_JSON_INVALID;
        }

        rc = ngx_electrumx_json_step(&r, rc);

    } while (rc >= 0);

    return rc;
}


static ngx_inline void
ngx_electrumx_json_space(ngx_electrumx_json_reader_t *r)
{
    while (r->p < r->last
           && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r'
               || *r->p == '\t'))
    {
        r->p++;
    }
}


/* Reads the next piece; returns the state after it or an error. */

static ngx_int_t
ngx_electrumx_json_step(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_state_e state)
{
    switch (state) {

    case json_after:
        return ngx_electrumx_json_after(r);

    case json_first_name:
        if (*r->p == '}') {
            return ngx_electrumx_json_close(r);
        }

        return ngx_electrumx_json_name(r);

    case json_name:
        return ngx_electrumx_json_name(r);

    case json_first:
        if (*r->p == ']') {
            return ngx_electrumx_json_close(r);
        }

        break;

    case json_value:
        break;
    }

    if (r->n == r->max) {
        return NGX_ELECTRUMX_JSON_MORE;
    }

    if (*r->p == '{') {
        return ngx_electrumx_json_open(r, NGX_ELECTRUMX_JSON_OBJECT);
    }

    if (*r->p == '[') {
        return ngx_electrumx_json_open(r, NGX_ELECTRUMX_JSON_ARRAY);
    }

    return ngx_electrumx_json_scalar(r);
}


static ngx_int_t
ngx_electrumx_json_scalar(ngx_electrumx_json_reader_t *r)
{
    switch (*r->p) {

    case '"':
        if (ngx_electrumx_json_string(r) != NGX_OK) {
            return NGX_ELECTRUMX_JSON_INVALID;
        }

        return json_after;

    case 'n':
        return ngx_electrumx_json_word(r, NGX_ELECTRUMX_JSON_NULL, "null", 4);

    case 't':
        return ngx_electrumx_json_word(r, NGX_ELECTRUMX_JSON_TRUE, "true", 4);

    case 'f':
        return ngx_electrumx_json_word(r, NGX_ELECTRUMX_JSON_FALSE, "false",
                                       5);
    }

    return ngx_electrumx_json_number(r);
}


static ngx_int_t
ngx_electrumx_json_name(ngx_electrumx_json_reader_t *r)
{
    if (r->n == r->max) {
        return NGX_ELECTRUMX_JSON_MORE;
    }

    if (*r->p != '"' || ngx_electrumx_json_string(r) != NGX_OK) {
        return NGX_ELECTRUMX_JSON_INVALID;
    }

    ngx_electrumx_json_space(r);

    if (r->p == r->last || *r->p != ':') {
        return NGX_ELECTRUMX_JSON_INVALID;
    }

    r->p++;

    return json_value;
}


static ngx_int_t
ngx_electrumx_json_open(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_type_e type)
{
    ngx_electrumx_json_t  *v;

    if (r->depth == NGX_ELECTRUMX_JSON_DEPTH) {
        return NGX_ELECTRUMX_JSON_DEEP;
    }

    r->stack[r->depth++] = (uint32_t) r->n;

    v = &r->v[r->n++];

    v->start = r->p++;
    v->n = 0;
    v->type = (uint8_t) type;
    v->plain = 0;

    return (type == NGX_ELECTRUMX_JSON_OBJECT) ? json_first_name : json_first;
}


static ngx_int_t
ngx_electrumx_json_after(ngx_electrumx_json_reader_t *r)
{
    ngx_electrumx_json_t  *v;

    v = &r->v[r->stack[r->depth - 1]];

    v->n++;

    if (*r->p == ',') {
        r->p++;
        return (v->type == NGX_ELECTRUMX_JSON_OBJECT) ? json_name : json_value;
    }

    if (*r->p == (v->type == NGX_ELECTRUMX_JSON_OBJECT ? '}' : ']')) {
        return ngx_electrumx_json_close(r);
    }

    return NGX_ELECTRUMX_JSON_INVALID;
}


static ngx_int_t
ngx_electrumx_json_close(ngx_electrumx_json_reader_t *r)
{
    uint32_t               i;
    ngx_electrumx_json_t  *v;

    i = r->stack[--r->depth];
    v = &r->v[i];

    r->p++;

    v->len = (uint32_t) (r->p - v->start);
    v->skip = (uint32_t) r->n - i;

    return json_after;
}


/* r->p is at the opening quote, and there is a slot. */

static ngx_int_t
ngx_electrumx_json_string(ngx_electrumx_json_reader_t *r)
{
    u_char                *p;
    ngx_electrumx_json_t  *v;

    v = &r->v[r->n++];

    v->start = r->p + 1;
    v->skip = 1;
    v->n = 0;
    v->type = NGX_ELECTRUMX_JSON_STRING;
    v->plain = 1;

    p = v->start;

    while (p < r->last) {

        if (*p == '"') {
            v->len = (uint32_t) (p - v->start);
            r->p = p + 1;
            return NGX_OK;
        }

        if (*p == '\\') {
            v->plain = 0;
            p = ngx_electrumx_json_escape(p + 1, r->last);

        } else if (*p >= 0x80) {
            p = ngx_electrumx_json_utf8(p, r->last);

        } else if (*p >= ' ') {
            p++;

        } else {
            return NGX_ERROR;
        }

        if (p == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_ERROR;
}


/* p is behind the backslash; returns the place behind the escape, or NULL. */

static u_char *
ngx_electrumx_json_escape(u_char *p, u_char *last)
{
    ngx_int_t  c, low;

    if (p == last) {
        return NULL;
    }

    if (*p != 'u') {
        return ngx_strchr("\"\\/bfnrt", *p) && *p ? p + 1 : NULL;
    }

    c = ngx_electrumx_json_hex4(p + 1, last);

    if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff)) {
        return NULL;
    }

    p += 5;

    if (c < 0xd800 || c > 0xdbff) {
        return p;
    }

    if (last - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return NULL;
    }

    low = ngx_electrumx_json_hex4(p + 2, last);

    return (low >= 0xdc00 && low <= 0xdfff) ? p + 6 : NULL;
}


static ngx_int_t
ngx_electrumx_json_hex4(u_char *p, u_char *last)
{
    u_char      c;
    ngx_int_t   value;
    ngx_uint_t  i;

    if (last - p < 4) {
        return NGX_ERROR;
    }

    value = 0;

    for (i = 0; i < 4; i++) {
        c = p[i];

        if (json_digit(c)) {
            value = value * 16 + (c - '0');

        } else {
            c = (u_char) (c | 0x20);

            if (c < 'a' || c > 'f') {
                return NGX_ERROR;
            }

            value = value * 16 + (c - 'a' + 10);
        }
    }

    return value;
}


/* One character of two bytes and more (RFC 3629, section 4), or NULL. */

static u_char *
ngx_electrumx_json_utf8(u_char *p, u_char *last)
{
    u_char  low, high;
    size_t  i, n;

    low = 0x80;
    high = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 2;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 3;
        low = (*p == 0xe0) ? 0xa0 : 0x80;
        high = (*p == 0xed) ? 0x9f : 0xbf;

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 4;
        low = (*p == 0xf0) ? 0x90 : 0x80;
        high = (*p == 0xf4) ? 0x8f : 0xbf;

    } else {
        return NULL;
    }

    if ((size_t) (last - p) < n || p[1] < low || p[1] > high) {
        return NULL;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return NULL;
        }
    }

    return p + n;
}


static ngx_int_t
ngx_electrumx_json_number(ngx_electrumx_json_reader_t *r)
{
    u_char                *p;
    ngx_uint_t             plain;
    ngx_electrumx_json_t  *v;

    p = r->p;
    plain = 1;

    if (*p == '-') {
        p++;
    }

    if (p < r->last && *p == '0') {
        p++;

    } else {
        p = ngx_electrumx_json_digits(p, r->last);
    }

    if (p && p < r->last && *p == '.') {
        plain = 0;
        p = ngx_electrumx_json_digits(p + 1, r->last);
    }

    if (p && p < r->last && (*p == 'e' || *p == 'E')) {
        plain = 0;
        p++;

        if (p < r->last && (*p == '+' || *p == '-')) {
            p++;
        }

        p = ngx_electrumx_json_digits(p, r->last);
    }

    if (p == NULL) {
        return NGX_ELECTRUMX_JSON_INVALID;
    }

    v = &r->v[r->n++];

    v->start = r->p;
    v->len = (uint32_t) (p - r->p);
    v->skip = 1;
    v->n = 0;
    v->type = NGX_ELECTRUMX_JSON_NUMBER;
    v->plain = (uint8_t) plain;

    r->p = p;

    return json_after;
}


/* At least one digit; NULL: none. */

static u_char *
ngx_electrumx_json_digits(u_char *p, u_char *last)
{
    if (p >= last || !json_digit(*p)) {
        return NULL;
    }

    while (p < last && json_digit(*p)) {
        p++;
    }

    return p;
}


static ngx_int_t
ngx_electrumx_json_word(ngx_electrumx_json_reader_t *r,
    ngx_electrumx_json_type_e type, const char *word, size_t len)
{
    ngx_electrumx_json_t  *v;

    if ((size_t) (r->last - r->p) < len || ngx_memcmp(r->p, word, len) != 0) {
        return NGX_ELECTRUMX_JSON_INVALID;
    }

    v = &r->v[r->n++];

    v->start = r->p;
    v->len = (uint32_t) len;
    v->skip = 1;
    v->n = 0;
    v->type = (uint8_t) type;
    v->plain = 0;

    r->p += len;

    return json_after;
}


void
ngx_electrumx_json_unescape(ngx_electrumx_json_t *v)
{
    u_char     *p, *last, *dst;
    uint32_t    c;
    ngx_uint_t  i;

    static const char  from[] = "bfnrt";
    static const char  to[] = "\b\f\n\r\t";

    if (v->plain || v->type != NGX_ELECTRUMX_JSON_STRING) {
        return;
    }

    p = v->start;
    last = v->start + v->len;
    dst = v->start;

    while (p < last) {

        if (*p != '\\') {
            *dst++ = *p++;
            continue;
        }

        p++;

        if (*p == 'u') {
            c = (uint32_t) ngx_electrumx_json_hex4(p + 1, last);
            p += 5;

            if (c >= 0xd800 && c <= 0xdbff) {
                c = 0x10000 + ((c - 0xd800) << 10)
                    + ((uint32_t) ngx_electrumx_json_hex4(p + 2, last)
                       - 0xdc00);
                p += 6;
            }

            dst = ngx_electrumx_json_put(dst, c);
            continue;
        }

        for (i = 0; from[i] && (u_char) from[i] != *p; i++) { /* void */ }

        *dst++ = from[i] ? (u_char) to[i] : *p;
        p++;
    }

    v->len = (uint32_t) (dst - v->start);
    v->plain = 1;
}


static u_char *
ngx_electrumx_json_put(u_char *dst, uint32_t c)
{
    if (c < 0x80) {
        *dst++ = (u_char) c;
        return dst;
    }

    if (c < 0x800) {
        *dst++ = (u_char) (0xc0 | (c >> 6));

    } else {

        if (c < 0x10000) {
            *dst++ = (u_char) (0xe0 | (c >> 12));

        } else {
            *dst++ = (u_char) (0xf0 | (c >> 18));
            *dst++ = (u_char) (0x80 | ((c >> 12) & 0x3f));
        }

        *dst++ = (u_char) (0x80 | ((c >> 6) & 0x3f));
    }

    *dst++ = (u_char) (0x80 | (c & 0x3f));

    return dst;
}


ngx_uint_t
ngx_electrumx_json_is(const ngx_electrumx_json_t *v, const char *text,
    size_t len)
{
    u_char                buf[256];
    ngx_electrumx_json_t  copy;

    if (v->type != NGX_ELECTRUMX_JSON_STRING) {
        return 0;
    }

    if (v->plain) {
        return v->len == len && ngx_memcmp(v->start, text, len) == 0;
    }

    /* "\u0069d" is "id", too */

    if (v->len > sizeof(buf) || v->len > len * 6) {
        return 0;
    }

    ngx_memcpy(buf, v->start, v->len);

    copy = *v;
    copy.start = buf;

    ngx_electrumx_json_unescape(&copy);

    return copy.len == len && ngx_memcmp(buf, text, len) == 0;
}


ngx_electrumx_json_t *
ngx_electrumx_json_get(ngx_electrumx_json_t *object, const char *name)
{
    size_t                 len;
    uint32_t               i;
    ngx_electrumx_json_t  *v, *found;

    if (object->type != NGX_ELECTRUMX_JSON_OBJECT) {
        return NULL;
    }

    len = ngx_strlen(name);
    found = NULL;
    v = object + 1;

    for (i = 0; i < object->n; i++) {

        if (ngx_electrumx_json_is(v, name, len)) {
            found = v + 1;
        }

        v++;
        v += v->skip;
    }

    return found;
}


ngx_int_t
ngx_electrumx_json_uint(const u_char *text, size_t len, uint64_t *value)
{
    size_t    i;
    uint64_t  n;

    n = 0;

    for (i = 0; i < len && json_digit(text[i]); i++) {

        if (n > (uint64_t) (INT64_MAX - 9) / 10) {
            return NGX_DECLINED;
        }

        n = n * 10 + (uint64_t) (text[i] - '0');
    }

    if (i == 0) {
        return NGX_DECLINED;
    }

    if (i < len) {

        if (text[i++] != '.' || i == len) {
            return NGX_DECLINED;
        }

        while (i < len) {
            if (text[i++] != '0') {
                return NGX_DECLINED;
            }
        }
    }

    *value = n;

    return NGX_OK;
}


void
ngx_electrumx_json_raw(const ngx_electrumx_json_t *v, ngx_str_t *raw)
{
    raw->data = v->start;
    raw->len = v->len;

    if (v->type == NGX_ELECTRUMX_JSON_STRING) {
        raw->data--;
        raw->len += 2;
    }
}
