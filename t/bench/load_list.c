/*
 * load: the lists of scripts and transactions, requests made of them, and a
 * look at the answers: every one must be a result.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exi_bytes.h"
#include "exi_hex.h"
#include "exi_sha256.h"

struct tx {
    char txid[65];
    uint32_t height;
};

static char (*scripts)[65];
static size_t nscripts;
static struct tx *txs;
static size_t ntxs;

/* ---- lists ---- */

static FILE *
open_list(const char *path)
{
    FILE *f = fopen(path, "r");

    if (f == NULL) {
        load_die("%s: cannot be read", path);
    }
    return f;
}

/* Whether a list "a,b,c" (NULL: all) has a name. */
static bool
listed(const char *list, const char *name)
{
    size_t n = strlen(name), len;

    for (; list != NULL; list += len + (list[len] == ',')) {
        len = strcspn(list, ",");
        if (len == 0) {
            return false;
        }
        if (len == n && memcmp(list, name, n) == 0) {
            return true;
        }
    }
    return true;
}

/* Lines: class, scripthash, ... */
static void
read_scripts(const char *path, const char *class)
{
    char line[512], name[32], hash[65];
    FILE *f = open_list(path);

    while (fgets(line, sizeof(line), f) != NULL) {
        if (line[0] == '#' || sscanf(line, "%31s %64s", name, hash) != 2
            || !listed(class, name)) {
            continue;
        }
        if (nscripts % 4096 == 0) {
            scripts =
                load_realloc(scripts, (nscripts + 4096) * sizeof(*scripts));
        }
        memcpy(scripts[nscripts++], hash, sizeof(hash));
    }
    fclose(f);
    if (nscripts == 0) {
        load_die("%s: no scripts%s%s", path, class ? " of class " : "",
                 class ? class : "");
    }
}

/* Lines: txid, height, ... */
static void
read_txs(const char *path)
{
    char line[512];
    FILE *f = open_list(path);
    struct tx t;

    while (fgets(line, sizeof(line), f) != NULL) {
        if (line[0] == '#' || sscanf(line, "%64s %u", t.txid, &t.height) != 2) {
            continue;
        }
        if (ntxs % 4096 == 0) {
            txs = load_realloc(txs, (ntxs + 4096) * sizeof(*txs));
        }
        txs[ntxs++] = t;
    }
    fclose(f);
    if (ntxs == 0) {
        load_die("%s: no transactions", path);
    }
}

void
load_lists(void)
{
    if (load_opts.scripts != NULL) {
        read_scripts(load_opts.scripts, load_opts.class);
    }
    if (load_opts.txs != NULL) {
        read_txs(load_opts.txs);
    }
}

/* ---- requests ---- */

static const char *const methods[LOAD_KINDS] = {
    [LOAD_PING] = "server.ping",
    [LOAD_HEADER] = "blockchain.block.header",
    [LOAD_HISTORY] = "blockchain.scripthash.get_history",
    [LOAD_BALANCE] = "blockchain.scripthash.get_balance",
    [LOAD_UNSPENT] = "blockchain.scripthash.listunspent",
    [LOAD_SUBSCRIBE] = "blockchain.scripthash.subscribe",
    [LOAD_TX] = "blockchain.transaction.get",
    [LOAD_MERKLE] = "blockchain.transaction.get_merkle",
};

static char *
put(char *p, const char *s)
{
    size_t n = strlen(s);

    memcpy(p, s, n);
    return p + n;
}

static char *
put_u64(char *p, uint64_t v)
{
    char buf[20];
    size_t n = sizeof(buf);

    do {
        buf[--n] = (char) ('0' + v % 10);
        v /= 10;
    } while (v > 0);
    memcpy(p, buf + n, sizeof(buf) - n);
    return p + sizeof(buf) - n;
}

static size_t
pick(uint64_t *random, size_t n)
{
    if (n == 0) {
        load_die("this kind of request needs a list");
    }
    if (load_opts.once) {
        return (size_t) (*random)++ % n;
    }
    return load_opts.hot ? 0 : load_random(random) % n;
}

size_t
load_listed(void)
{
    switch (load_opts.kind) {
    case LOAD_PING:
        return 1;
    case LOAD_HEADER:
        return load_opts.height + 1;
    case LOAD_TX:
    case LOAD_MERKLE:
        return ntxs;
    default:
        return nscripts;
    }
}

static char *
put_params(char *p, int kind, uint64_t *random)
{
    const struct tx *t;

    switch (kind) {
    case LOAD_PING:
        return p;
    case LOAD_HEADER:
        return put_u64(p, pick(random, load_opts.height + 1));
    case LOAD_TX:
    case LOAD_MERKLE:
        t = &txs[pick(random, ntxs)];
        p = put(put(put(p, "\""), t->txid), "\"");
        return kind == LOAD_TX ? p : put_u64(put(p, ","), t->height);
    default:
        return put(put(put(p, "\""), scripts[pick(random, nscripts)]), "\"");
    }
}

static char *
put_head(char *p, uint64_t id, const char *method)
{
    p = put(p, "{\"jsonrpc\":\"2.0\",\"id\":");
    p = put(put_u64(p, id), ",\"method\":\"");
    return put(put(p, method), "\",\"params\":[");
}

size_t
load_request(char *out, int kind, uint64_t id, uint64_t *random)
{
    char *p;

    if (kind == LOAD_MIX) {
        kind = (int) (load_random(random) % LOAD_KINDS);
    }
    p = put_head(out, id, methods[kind]);
    p = put(put_params(p, kind, random), "]}");
    return (size_t) (p - out);
}

size_t
load_hello(char *out)
{
    char *p = put_head(out, LOAD_HELLO, "server.version");

    return (size_t) (put(p, "\"load\",[\"1.4\",\"1.6\"]]}") - out);
}

size_t
load_subscription(char *out, uint32_t conn, uint32_t sub, uint64_t id)
{
    uint8_t script[] = { 4, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0x6d, 0x51 };
    char own[65] = "";
    const char *hash = own;
    uint8_t h[32];
    char *p;

    if (sub > 0 && nscripts > 0) {
        size_t i = (size_t) conn * (load_opts.subs - 1) + sub - 1;

        hash = scripts[i % nscripts];
    } else {
        exi_put_le32(script + 1, conn);
        exi_put_le32(script + 6, sub);
        exi_sha256(h, script, sizeof(script));
        exi_hex_display(own, h);
    }
    p = put_head(out, id, methods[LOAD_SUBSCRIBE]);
    p = put(put(put(p, "\""), hash), "\"]}");
    return (size_t) (p - out);
}

/* ---- answers ---- */

/* Past a string that begins at p; NULL: it does not end. */
static const char *
skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        p += *p == '\\';
    }
    return p < end ? p + 1 : NULL;
}

/* Past a value that begins at p (nothing is checked but strings and
 * brackets); NULL: it does not end. */
static const char *
skip_value(const char *p, const char *end)
{
    int depth = 0;

    while (p != NULL && p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            if (depth == 0) {
                return p;
            }
            continue;
        }
        if (depth == 0 && (*p == ',' || *p == '}' || *p == ']')) {
            return p;
        }
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p++;
        if (depth == 0 && (p[-1] == '}' || p[-1] == ']')) {
            return p;
        }
    }
    return NULL;
}

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\r' || *p == '\n')) {
        p++;
    }
    return p;
}

/* The next member of an object; false: its end, or it is broken (*p NULL). */
static bool
member(const char **p, const char *end, const char **name, const char **value,
       size_t *len)
{
    const char *q = skip_space(*p, end);

    if (q < end && *q == ',') {
        q = skip_space(q + 1, end);
    }
    if (q < end && *q == '}') {
        *p = q + 1;
        return false;
    }
    *p = NULL;
    if (q >= end || *q != '"') {
        return false;
    }
    *name = q + 1;
    q = skip_string(q, end);
    if (q == NULL || (q = skip_space(q, end)) >= end || *q != ':') {
        return false;
    }
    *value = skip_space(q + 1, end);
    q = skip_value(*value, end);
    if (q == NULL) {
        return false;
    }
    *len = (size_t) (q - *value);
    *p = q;
    return true;
}

static bool
is(const char *name, const char *want)
{
    size_t n = strlen(want);

    return memcmp(name, want, n) == 0 && name[n] == '"';
}

static bool
is_null(const char *value, size_t len)
{
    return len >= 4 && memcmp(value, "null", 4) == 0;
}

enum load_answer
load_check(const char *p, size_t n, uint64_t *id)
{
    const char *end = p + n, *name, *value;
    bool result = false, error = false, have_id = false, note = false;
    size_t len;

    p = skip_space(p, end);
    if (p >= end || *p++ != '{') {
        return LOAD_ERROR;
    }
    while (member(&p, end, &name, &value, &len)) {
        if (is(name, "result")) {
            result = true;
        } else if (is(name, "error")) {
            error = !is_null(value, len);
        } else if (is(name, "method")) {
            note = true;
        } else if (is(name, "id") && *value >= '0' && *value <= '9') {
            have_id = true;
            *id = strtoull(value, NULL, 10);
        }
    }
    if (p == NULL || skip_space(p, end) != end || error) {
        return LOAD_ERROR;
    }
    if (note && !have_id) {
        return LOAD_NOTE;
    }
    return result && have_id ? LOAD_ANSWER : LOAD_ERROR;
}

bool
load_is_empty(const char *p, size_t n)
{
    const char *end = p + n, *name, *value;
    size_t len;

    p = skip_space(p, end) + 1;
    while (member(&p, end, &name, &value, &len)) {
        if (is(name, "result")) {
            return is_null(value, len) || len <= 2;
        }
    }
    return true;
}
