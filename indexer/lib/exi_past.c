/*
 * One generation, read without a live layer (exi_past.h): a view that has a
 * generation and no snapshot, for the look-ups that need nothing else.
 */
#include "exi_past.h"

#include <stdlib.h>

#include "exi_store.h"

struct exi_past {
    struct exi_store *s; /* knows the directory and the log; opens nothing */
    struct exi_view v;   /* h.gen and h.iter only */
};

int
exi_past_open(struct exi_past **out, const char *data_dir,
              const struct exi_live_gen *gen, exi_log_pt log, void *log_ctx)
{
    struct exi_past *p = calloc(1, sizeof *p);
    int rc;

    if (p == NULL) {
        return EXI_ENOMEM;
    }
    rc = exi_store_new(&p->s, data_dir, log, log_ctx);
    if (rc == EXI_OK) {
        p->v.s = p->s;
        rc = exi_gen_open(p->s, gen, NULL, &p->v.h.gen);
    }
    if (rc == EXI_OK) {
        p->v.h.iter = exi_rodb_iter_new(p->v.h.gen->db, NULL);
        rc = p->v.h.iter == NULL ? EXI_ENOMEM : EXI_OK;
    }
    if (rc) {
        exi_past_close(p);
        return rc;
    }
    *out = p;
    return EXI_OK;
}

void
exi_past_close(struct exi_past *p)
{
    if (p == NULL) {
        return;
    }
    if (p->v.h.iter != NULL) {
        exi_rodb_iter_free(p->v.h.iter);
    }
    if (p->v.h.gen != NULL) {
        exi_gen_close(p->v.h.gen);
    }
    if (p->s != NULL) {
        exi_store_free(p->s);
    }
    free(p);
}

/* Amount of an unspent output: there is an `O` row, so there is a `U` row. */
static int
find_value(const struct exi_past *p, const struct exi_skey *script,
           uint64_t txnum, uint32_t index, int64_t *value_sat)
{
    struct exi_rodb_val *holder;
    const uint8_t *val;
    struct exi_key k;
    struct exi_rd rd;
    size_t vallen;
    uint64_t v;
    int rc;

    exi_key_utxo(&k, script, txnum, index);
    rc = exi_rodb_get(p->v.h.gen->db, NULL, k.b, k.len, &holder, &val, &vallen);
    if (rc) {
        return rc == EXI_ENOTFOUND ? EXI_EFORMAT : rc;
    }
    rd = exi_rd(val, vallen);
    v = exi_rd_varint(&rd);
    if (rd.bad || exi_rd_left(&rd) != 0 || v > INT64_MAX) {
        rc = EXI_EFORMAT;
    } else {
        *value_sat = (int64_t) v;
    }
    exi_rodb_val_free(holder);
    return rc;
}

int
exi_past_prevout(struct exi_past *p, const struct exi_txid *txid,
                 uint32_t index, struct exi_skey *script, int64_t *value_sat)
{
    struct exi_txpos pos = { .live = false };
    struct exi_skey k;
    int rc = exi_view_txnum(&p->v, txid, &pos.id);

    if (rc == EXI_OK) {
        rc = exi_outpoint_unspent(&p->v, &pos, index, &k);
    }
    if (rc == EXI_OK) {
        rc = find_value(p, &k, pos.id, index, value_sat);
    }
    if (rc == EXI_OK) {
        *script = k;
    }
    return rc;
}
