/*
 * The naive model's answers and a view's, as text, one line an answer, so that
 * a difference can be read.  Part of livebuild.h.
 */
#ifndef LIVEDUMP_H
#define LIVEDUMP_H

struct lb_text {
    char *p;
    size_t n;
    size_t cap;
};

__attribute__((format(printf, 2, 3), unused)) static void
lb_say(struct lb_text *t, const char *fmt, ...)
{
    va_list ap;

    if (t->cap - t->n < 1024) {
        t->cap = t->cap ? t->cap * 2 : 65536;
        t->p = realloc(t->p, t->cap);
    }
    va_start(ap, fmt);
    t->n += (size_t) vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
}

LB_UNUSED static void
lb_say_hash(struct lb_text *t, const uint8_t *h)
{
    char hex[65] = "";

    exi_hex_display(hex, h);
    lb_say(t, "%s", hex);
}

struct lb_entry {
    int tx;
    int height; /* 0, -1 in the mempool */
    int pos;
    const uint8_t *id;
};

LB_UNUSED static int
lb_compare(const void *x, const void *y)
{
    const struct lb_entry *a = x, *b = y;
    bool pa = a->height < 1, pb = b->height < 1;

    if (pa != pb) {
        return pa ? 1 : -1;
    }
    if (a->height != b->height) {
        return pa ? b->height - a->height : a->height - b->height;
    }
    if (!pa) {
        return a->pos - b->pos;
    }
    for (int i = 31; i >= 0; i--) {
        if (a->id[i] != b->id[i]) {
            return a->id[i] - b->id[i];
        }
    }
    return 0;
}

LB_UNUSED static bool
lb_touches(const struct lb *lb, int tx, int script)
{
    const struct lb_tx *t = &lb->tx[tx];

    for (int i = 0; i < t->nout; i++) {
        if (t->out[i].script == script) {
            return true;
        }
    }
    for (int i = 0; i < t->nin; i++) {
        if (lb->tx[t->in[i].tx].out[t->in[i].index].script == script) {
            return true;
        }
    }
    return false;
}

/* The script's history; returns the number of entries. */
LB_UNUSED static int
lb_history(const struct lb *lb, const struct lb_state *st, int script,
           struct lb_entry *out)
{
    int n = 0;

    for (int i = 1; i < lb->ntx; i++) { /* 0: genesis has no rows */
        if (st->where[i] == LB_ABSENT || !lb_touches(lb, i, script)) {
            continue;
        }
        out[n].tx = i;
        out[n].height = st->where[i];
        out[n].pos = st->pos[i];
        out[n].id = lb->tx[i].id.b;
        if (st->where[i] == LB_POOL) {
            out[n].height = 0;
            for (int j = 0; j < lb->tx[i].nin; j++) {
                if (st->where[lb->tx[i].in[j].tx] == LB_POOL) {
                    out[n].height = -1;
                }
            }
        }
        n++;
    }
    qsort(out, (size_t) n, sizeof *out, lb_compare);
    return n;
}

LB_UNUSED static void
lb_model_status(struct lb_text *t, const struct lb *lb,
                const struct lb_entry *e, int n)
{
    struct exi_status s;
    uint8_t d[32];

    exi_status_init(&s);
    for (int i = 0; i < n; i++) {
        exi_status_add(&s, &lb->tx[e[i].tx].id, e[i].height);
    }
    lb_say(t, "status ");
    if (exi_status_final(&s, d)) {
        lb_say_hash(t, d);
    }
    lb_say(t, "\n");
}

/* Does an output count? */
LB_UNUSED static bool
lb_counts(const struct lb_out *o, int script, enum exi_tokens tokens)
{
    return o->script == script
           && (tokens == EXI_TOKENS_INCLUDE
               || o->tokens == (tokens == EXI_TOKENS_ONLY));
}

/* Unspent outputs and balance; e[0 ... n - 1]: the history. */
LB_UNUSED static void
lb_model_unspent(struct lb_text *t, const struct lb *lb,
                 const struct lb_state *st, int script, enum exi_tokens tokens,
                 const struct lb_entry *e, int n)
{
    int64_t conf = 0, unconf = 0;

    for (int i = 0; i < n; i++) {
        const struct lb_tx *x = &lb->tx[e[i].tx];
        int64_t *sum = e[i].height > 0 ? &conf : &unconf;

        for (int j = 0; j < x->nin; j++) {
            const struct lb_out *o = &lb->tx[x->in[j].tx].out[x->in[j].index];

            *sum -= lb_counts(o, script, tokens) ? o->value : 0;
        }
        for (int j = 0; j < x->nout; j++) {
            if (!lb_counts(&x->out[j], script, tokens)) {
                continue;
            }
            *sum += x->out[j].value;
            if (lb_spender(lb, st, e[i].tx, (uint32_t) j) < 0) {
                lb_say(t, "unspent ");
                lb_say_hash(t, x->id.b);
                lb_say(t, ":%d %d %lld%s\n", j,
                       e[i].height > 0 ? e[i].height : 0,
                       (long long) x->out[j].value,
                       x->out[j].tokens ? " tokens as expected" : "");
            }
        }
    }
    lb_say(t, "balance %lld %lld\n", (long long) conf, (long long) unconf);
}

/* All answers about one script, from the model. */
LB_UNUSED static void
lb_model_script(struct lb_text *t, const struct lb *lb,
                const struct lb_state *st, int script)
{
    struct lb_entry *e = malloc(LB_MAX_TX * sizeof *e);
    int n = lb_history(lb, st, script, e);

    lb_say(t, "script %d\n", script);
    for (int i = 0; i < n; i++) {
        lb_say_hash(t, e[i].id);
        lb_say(t, " %d %lld\n", e[i].height,
               e[i].height > 0 ? -1 : (long long) lb->tx[e[i].tx].fee);
    }
    for (int i = 0; i <= (lb_cash ? EXI_TOKENS_ONLY : 0); i++) {
        lb_model_unspent(t, lb, st, script, (enum exi_tokens) i, e, n);
    }
    lb_model_status(t, lb, e, n);
    free(e);
}

/* Blocks and transactions, from the model. */
LB_UNUSED static void
lb_model_chain(struct lb_text *t, const struct lb *lb,
               const struct lb_state *st)
{
    lb_say(t, "tip %d\n", st->height);
    for (int h = 0; h <= st->height; h++) {
        const struct lb_block *b = &lb->block[st->chain[h]];
        lb_say(t, "block %d ", h);
        lb_say_hash(t, b->hash.b);
        lb_say(t, " %d", b->ntx);
        for (int i = 0; i < b->ntx; i++) {
            lb_say(t, " %02x%02x", lb->tx[b->tx[i]].id.b[0],
                   lb->tx[b->tx[i]].id.b[1]);
        }
        lb_say(t, "\n");
    }
    for (int i = 0; i < lb->ntx; i++) {
        if (st->where[i] >= 0) {
            lb_say(t, "tx %d in %d:%d\n", i, st->where[i], st->pos[i]);
        } else if (st->where[i] == LB_POOL) {
            lb_say(t, "tx %d mempool %lld\n", i, (long long) lb->tx[i].fee);
        } else {
            lb_say(t, "tx %d none\n", i);
        }
    }
}

LB_UNUSED static void *
lb_alloc(void *ctx, size_t n)
{
    (void) ctx;
    return malloc(n); /* lost: tests are short */
}
static const struct exi_arena lb_arena LB_UNUSED = { lb_alloc, NULL };

LB_UNUSED static int
lb_hist_cb(void *ctx, const struct exi_hist *h)
{
    lb_say_hash(ctx, h->txid.b);
    lb_say(ctx, " %d %lld\n", h->height, (long long) h->fee_sat);
    return h->confirmed == (h->height > 0) ? 0 : EXI_EFORMAT;
}

/* The view that is being asked. */
static struct exi_view *lb_asked;

/* Has the index the token data of the output? */
LB_UNUSED static const char *
lb_token_right(const struct exi_utxo *u)
{
    uint8_t data[EXI_TOKEN_MAX];
    size_t len = 0;

    return exi_utxo_token(lb_asked, u, data, &len) == EXI_OK
                   && len == sizeof lb_token && memcmp(data, lb_token, len) == 0
               ? " tokens as expected"
               : " other tokens";
}

LB_UNUSED static int
lb_utxo_cb(void *ctx, const struct exi_utxo *u)
{
    lb_say(ctx, "unspent ");
    lb_say_hash(ctx, u->txid.b);
    lb_say(ctx, ":%u %d %lld%s\n", u->index, u->height,
           (long long) u->value_sat, u->tokens ? lb_token_right(u) : "");
    return 0;
}

/* All answers about one script, from a view. */
LB_UNUSED static int
lb_view_script(struct lb_text *t, const struct lb *lb, struct exi_view *v,
               int script)
{
    const struct exi_skey *s = &lb->skey[script];
    int64_t conf, unconf;
    uint8_t d[32];
    bool some;
    int rc;

    lb_asked = v;
    lb_say(t, "script %d\n", script);
    rc = exi_history(v, &lb_arena, s, EXI_HIST_CONFIRMED | EXI_HIST_MEMPOOL, 0,
                     lb_hist_cb, t);
    for (int i = 0; rc == EXI_OK && i <= (lb_cash ? EXI_TOKENS_ONLY : 0); i++) {
        enum exi_tokens tokens = (enum exi_tokens) i;

        rc = exi_unspent(v, &lb_arena, s, tokens, 0, lb_utxo_cb, t);
        if (rc == EXI_OK) {
            rc = exi_balance(v, &lb_arena, s, tokens, &conf, &unconf);
        }
        if (rc == EXI_OK) {
            lb_say(t, "balance %lld %lld\n", (long long) conf,
                   (long long) unconf);
        }
    }
    if (rc == EXI_OK) {
        rc = exi_script_status(v, &lb_arena, s, 0, d, &some);
    }
    if (rc == EXI_OK) {
        lb_say(t, "status ");
        if (some) {
            lb_say_hash(t, d);
        }
        lb_say(t, "\n");
    }
    return rc;
}

LB_UNUSED static int
lb_view_block(struct lb_text *t, struct exi_view *v, uint32_t h)
{
    uint8_t header[EXI_HEADER_LEN], d[32];
    struct exi_hash branch[EXI_MERKLE_MAX], root, leaf;
    struct exi_blkid hash;
    struct exi_txid id;
    size_t n;
    uint32_t ntx;
    int rc = exi_block_hash(v, h, &hash);

    rc = rc ? rc : exi_header(v, h, header);
    rc = rc ? rc : exi_block_ntx(v, h, &ntx);
    if (rc) {
        return rc;
    }
    exi_sha256d(d, header, sizeof header);
    if (memcmp(d, hash.b, 32) != 0) {
        return EXI_EFORMAT;
    }
    lb_say(t, "block %u ", h);
    lb_say_hash(t, hash.b);
    lb_say(t, " %u", ntx);
    for (uint32_t i = 0; i < ntx && rc == EXI_OK; i++) {
        rc = exi_block_txid(v, h, i, &id);
        lb_say(t, " %02x%02x", id.b[0], id.b[1]);
        rc = rc ? rc : exi_block_branch(v, &lb_arena, h, i, branch, &n);
        if (rc == EXI_OK) {
            memcpy(leaf.b, id.b, 32);
            exi_merkle_climb(&root, &leaf, branch, n, i);
            rc = memcmp(root.b, header + 36, 32) ? EXI_EFORMAT : EXI_OK;
        }
    }
    lb_say(t, "\n");
    return rc;
}

/* Blocks and transactions, from a view. */
LB_UNUSED static int
lb_view_chain(struct lb_text *t, const struct lb *lb, struct exi_view *v)
{
    const struct exi_live_state *st = exi_view_state(v);
    const uint8_t *raw;
    size_t len;
    int rc = EXI_OK;

    lb_say(t, "tip %u\n", st->tip_height);
    for (uint32_t h = 0; h <= st->tip_height && rc == EXI_OK; h++) {
        rc = lb_view_block(t, v, h);
    }
    for (int i = 0; i < lb->ntx && rc == EXI_OK; i++) {
        struct exi_txpos p;
        rc = exi_tx_find(v, &lb->tx[i].id, &p);
        if (rc == EXI_ENOTFOUND) {
            lb_say(t, "tx %d none\n", i);
            rc = EXI_OK;
            continue;
        }
        if (rc) {
            break;
        }
        if (p.confirmed) {
            lb_say(t, "tx %d in %d:%u\n", i, p.height, p.pos);
        } else {
            lb_say(t, "tx %d mempool %lld\n", i, (long long) p.fee_sat);
        }
        rc = exi_tx_raw(v, &p, &raw, &len);
        if (rc == EXI_OK
            && (len != lb->tx[i].len || memcmp(raw, lb->tx[i].raw, len))) {
            rc = EXI_EFORMAT;
        }
        rc = rc == EXI_ENOTFOUND && !p.live ? EXI_OK : rc;
    }
    return rc;
}

/* Are two dumps equal?  If not, shows the first lines that differ. */
LB_UNUSED static bool
lb_same(const struct lb_text *got, const struct lb_text *want)
{
    size_t i = 0, line = 0;

    while (i < got->n && i < want->n && got->p[i] == want->p[i]) {
        if (got->p[i++] == '\n') {
            line = i;
        }
    }
    if (i == got->n && i == want->n) {
        return true;
    }
    printf("# got:  %.*s\n", (int) strcspn(got->p + line, "\n"), got->p + line);
    printf("# want: %.*s\n", (int) strcspn(want->p + line, "\n"),
           want->p + line);
    return false;
}

#endif /* LIVEDUMP_H */
