/*
 * Fuzz target: exi_address_script.  Byte 0 chooses the network, the rest is
 * the address.  What is accepted is a script that an address stands for, and
 * with its last character changed it is not accepted.
 */
#include "fuzz.h"

#include <string.h>

#include "exi_address.h"

static const char *const networks[] = {
    "mainnet", "testnet",  "testnet4",         "signet",
    "regtest", "litecoin", "litecoin-testnet", "litecoin-regtest",
};

#define NETWORKS (sizeof(networks) / sizeof(networks[0]))

/* The forms of BIP 16, BIP 141 and of a public key's hash. */
static int
is_script(const uint8_t *s, size_t n)
{
    if (n == 25) {
        return memcmp(s, "\x76\xa9\x14", 3) == 0
               && memcmp(s + 23, "\x88\xac", 2) == 0;
    }
    if (n == 23 && s[0] == 0xa9) {
        return s[1] == 20 && s[22] == 0x87;
    }
    if (s[0] == 0) {
        return (n == 22 || n == 34) && s[1] == n - 2;
    }
    return n >= 4 && n <= 42 && s[0] >= 0x51 && s[0] <= 0x60 && s[1] == n - 2;
}

static void
check_changed(const struct exi_address_kinds *kinds, char *text, size_t len)
{
    static const char other[] = "qp1zZQ";
    uint8_t script[EXI_ADDRESS_SCRIPT_MAX];
    size_t n;
    char was = text[len - 1];

    for (size_t i = 0; i < sizeof(other) - 1; i++) {
        if ((other[i] | 0x20) == (was | 0x20)) {
            continue;
        }
        text[len - 1] = other[i];
        FUZZ_ASSERT(exi_address_script(script, &n, kinds, text, len) != EXI_OK);
    }
    text[len - 1] = was;
}

int
LLVMFuzzerTestOneInput(const uint8_t *buf, size_t buflen)
{
    const struct exi_address_kinds *kinds;
    uint8_t script[EXI_ADDRESS_SCRIPT_MAX];
    size_t n = 0;
    char *text;
    int rc;

    if (buflen < 1) {
        return 0;
    }
    kinds = exi_address_kinds(networks[buf[0] % NETWORKS]);
    if (kinds == NULL) {
        return 0;
    }
    text = malloc(buflen);
    FUZZ_ASSERT(text != NULL);
    memcpy(text, buf + 1, buflen - 1);
    rc = exi_address_script(script, &n, kinds, text, buflen - 1);
    FUZZ_ASSERT(rc == EXI_OK || rc == EXI_EFORMAT);
    if (rc == EXI_OK) {
        FUZZ_ASSERT(buflen - 1 <= EXI_ADDRESS_MAX);
        FUZZ_ASSERT(n <= sizeof(script) && is_script(script, n));
        check_changed(kinds, text, buflen - 1);
    }
    free(text);
    return 0;
}
