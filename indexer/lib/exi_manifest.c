/*
 * The text files of DATA: FORMAT and a generation's manifest
 * (docs/index-format.md, sections 2 and 5).  Lines "name value" in a fixed
 * order; whatever is read is treated as untrusted.
 */
#include "exi_format.h"
#include "exi_hex.h"
#include "exi_sha256.h"

#include <stdio.h>
#include <string.h>

void
exi_flat_segment_name(char *out, size_t outlen, enum exi_flat f,
                      uint32_t segment)
{
    snprintf(out, outlen, "%s.%06u", exi_flat_defs[f].name, segment);
}

static int
checked(int n, size_t outlen)
{
    return n < 0 || (size_t) n >= outlen ? EXI_ELIMIT : n;
}

static void
display(char out[65], const uint8_t *hash)
{
    exi_hex_display(out, hash);
    out[64] = '\0';
}

int
exi_format_write(char *out, size_t outlen, const struct exi_params *p)
{
    char genesis[65];

    display(genesis, p->genesis.b);
    return checked(snprintf(out, outlen,
                            "electrumx-index %d\nnetwork %s\ngenesis %s\n"
                            "script_bits %u\ntxid_bits %u\nspender %d\n",
                            EXI_FORMAT_VERSION, p->network, genesis,
                            p->script_bits, p->txid_bits, p->spender),
                   outlen);
}

/* Text being read line by line; bad stays bad. */
struct lines {
    const char *p;
    const char *end;
    bool bad;
};

/* Value of the next line, which must have this name; *len its length. */
static const char *
line_value(struct lines *l, const char *name, size_t *len)
{
    size_t n = strlen(name), left = (size_t) (l->end - l->p);
    const char *eol, *v;

    *len = 0;
    eol = l->bad || left == 0 ? NULL : memchr(l->p, '\n', left);
    if (eol == NULL || (size_t) (eol - l->p) < n + 1
        || memcmp(l->p, name, n) != 0 || l->p[n] != ' ') {
        l->bad = true;
        return "";
    }
    v = l->p + n + 1;
    *len = (size_t) (eol - v);
    l->p = eol + 1;
    return v;
}

static uint64_t
line_number(struct lines *l, const char *name, uint64_t max)
{
    size_t len;
    const char *v = line_value(l, name, &len);
    uint64_t n = 0;

    if (len == 0 || len > 19) {
        l->bad = true;
        return 0;
    }
    while (len-- > 0) {
        if (*v < '0' || *v > '9') {
            l->bad = true;
            return 0;
        }
        n = n * 10 + (uint64_t) (*v++ - '0');
    }
    if (n > max) {
        l->bad = true;
        return 0;
    }
    return n;
}

static void
line_hash(struct lines *l, const char *name, uint8_t *hash)
{
    size_t len;
    const char *v = line_value(l, name, &len);

    if (!l->bad && exi_unhex_display(hash, v, len) != EXI_OK) {
        l->bad = true;
    }
}

static void
line_network(struct lines *l, char *out, size_t outlen)
{
    size_t len;
    const char *v = line_value(l, "network", &len);

    if (len == 0 || len >= outlen) {
        l->bad = true;
        return;
    }
    memcpy(out, v, len);
    out[len] = '\0';
}

static void
line_params(struct lines *l, struct exi_params *p)
{
    p->script_bits = (uint8_t) line_number(l, "script_bits", 28);
    p->txid_bits = (uint8_t) line_number(l, "txid_bits", 28);
    p->spender = line_number(l, "spender", 1) != 0;
    if (p->script_bits < 8 || p->txid_bits < 8) {
        l->bad = true;
    }
}

int
exi_format_parse(struct exi_params *p, uint32_t *version, const char *buf,
                 size_t buflen)
{
    struct lines l = { buf, buf + buflen, false };
    struct exi_params q;

    memset(&q, 0, sizeof(q));
    *version = (uint32_t) line_number(&l, "electrumx-index", UINT32_MAX);
    if (l.bad) {
        return EXI_EFORMAT;
    }
    if (*version != EXI_FORMAT_VERSION) {
        return EXI_EVERSION;
    }
    line_network(&l, q.network, sizeof(q.network));
    line_hash(&l, "genesis", q.genesis.b);
    line_params(&l, &q);
    if (l.bad || l.p != l.end) {
        return EXI_EFORMAT;
    }
    *p = q;
    return EXI_OK;
}

int
exi_manifest_write(char *out, size_t outlen, const struct exi_manifest *m)
{
    char genesis[65], block[65], check[65];
    uint8_t sum[EXI_HASH_LEN];
    int n, k;

    display(genesis, m->params.genesis.b);
    display(block, m->block.b);
    n = snprintf(out, outlen,
                 "electrumx-generation %d\nnumber %llu\nnetwork %s\n"
                 "genesis %s\nheight %u\nblock_hash %s\ntx_count %llu\n"
                 "script_bits %u\ntxid_bits %u\nspender %d\n",
                 EXI_FORMAT_VERSION, (unsigned long long) m->number,
                 m->params.network, genesis, m->height, block,
                 (unsigned long long) m->tx_count, m->params.script_bits,
                 m->params.txid_bits, m->params.spender);
    n = checked(n, outlen);
    if (n < 0) {
        return n;
    }
    exi_sha256(sum, out, (size_t) n);
    exi_hex(check, sum, sizeof(sum));
    check[64] = '\0';
    k = checked(snprintf(out + n, outlen - (size_t) n, "check %s\n", check),
                outlen - (size_t) n);
    return k < 0 ? k : n + k;
}

/* True if the check line at l says the SHA-256 of all before it. */
static bool
check_line(struct lines *l, const char *buf)
{
    uint8_t sum[EXI_HASH_LEN];
    char hex[64];
    size_t len, before = (size_t) (l->p - buf);
    const char *v = line_value(l, "check", &len);

    if (l->bad || len != sizeof(hex)) {
        return false;
    }
    exi_sha256(sum, buf, before);
    exi_hex(hex, sum, sizeof(sum));
    return memcmp(v, hex, sizeof(hex)) == 0;
}

int
exi_manifest_parse(struct exi_manifest *m, uint32_t *version, const char *buf,
                   size_t buflen)
{
    struct lines l = { buf, buf + buflen, false };
    struct exi_manifest q;

    memset(&q, 0, sizeof(q));
    *version = (uint32_t) line_number(&l, "electrumx-generation", UINT32_MAX);
    if (l.bad) {
        return EXI_EFORMAT;
    }
    if (*version != EXI_FORMAT_VERSION) {
        return EXI_EVERSION;
    }
    q.number = line_number(&l, "number", UINT64_MAX);
    line_network(&l, q.params.network, sizeof(q.params.network));
    line_hash(&l, "genesis", q.params.genesis.b);
    q.height = (uint32_t) line_number(&l, "height", UINT32_MAX - 1);
    line_hash(&l, "block_hash", q.block.b);
    q.tx_count = line_number(&l, "tx_count", (uint64_t) 1 << 40);
    line_params(&l, &q.params);
    if (l.bad || !check_line(&l, buf) || l.p != l.end) {
        return EXI_EFORMAT;
    }
    *m = q;
    return EXI_OK;
}
