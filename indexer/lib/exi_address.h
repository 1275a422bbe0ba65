/* Addresses of Bitcoin-like coins -> scriptPubKey. */
#ifndef EXI_ADDRESS_H
#define EXI_ADDRESS_H

#include "exi_err.h"
#include "exi_types.h"

/* Longest script that an address stands for: a witness program of 40 bytes. */
#define EXI_ADDRESS_SCRIPT_MAX 42

/* Longest address that is looked at (BIP 173). */
#define EXI_ADDRESS_MAX 90

/* How the addresses of a network begin. */
struct exi_address_kinds {
    const char *network;
    uint8_t p2pkh;
    uint8_t p2sh;
    uint8_t p2sh2;    /* older version byte, or p2sh again */
    const char *hrp;  /* of bech32; NULL: the coin has no such addresses */
    const char *cash; /* prefix of cashaddr, or NULL */
};

/* Those of a network (exi_params.network), or NULL: not known. */
const struct exi_address_kinds *exi_address_kinds(const char *network);

/*
 * Script of an address: base58check (pay to public key hash, to script hash),
 * bech32 (BIP 173, witness version 0), bech32m (BIP 350, versions 1 ... 16) or
 * cashaddr (CashAddr specification; with or without its prefix; types P2PKH and
 * P2SH, also of 32 bytes, and those of CHIP-2022-02 that say the owner knows
 * tokens, which are the same scripts).
 * script has EXI_ADDRESS_SCRIPT_MAX bytes.  EXI_EFORMAT: no address of this
 * network.  Any thread.
 */
int exi_address_script(uint8_t *script, size_t *scriptlen,
                       const struct exi_address_kinds *kinds,
                       const char *address, size_t len) EXI_MUST_CHECK;

#endif /* EXI_ADDRESS_H */
