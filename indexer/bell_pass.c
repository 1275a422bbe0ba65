/*
 * Which of the node's methods a worker may have carried out as it names them
 * (daemon.passthrough).  The workers face the network, so what they may ask is
 * decided here: by default only what reads chain and mempool and costs the
 * node little, never what reads or moves coins, changes the node or stops it.
 */
#include "bell_int.h"

#include <string.h>

static const char *const bell_harmless[] = {
    "decoderawtransaction",
    "decodescript",
    "estimatesmartfee",
    "getbestblockhash",
    "getblock",
    "getblockchaininfo",
    "getblockcount",
    "getblockfilter",
    "getblockhash",
    "getblockheader",
    "getblockstats",
    "getchaintips",
    "getchaintxstats",
    "getdeploymentinfo",
    "getdifficulty",
    "getdsproof",
    "getdsprooflist",
    "getdsproofscore",
    "getindexinfo",
    "getmempoolancestors",
    "getmempooldescendants",
    "getmempoolentry",
    "getmempoolinfo",
    "getmininginfo",
    "getnetworkhashps",
    "getnetworkinfo",
    "getrawmempool",
    "getrawtransaction",
    "gettxout",
    "gettxoutproof",
    "gettxspendingprevout",
    "testmempoolaccept",
    "uptime",
    "validateaddress",
    "verifytxoutproof",
};

/* Whether a list with commas (and blanks) has the word. */
static bool
bell_listed(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != '\0') {
        size_t n = strcspn(list, ", ");

        if (n == len && memcmp(list, word, len) == 0) {
            return true;
        }
        list += n;
        list += strspn(list, ", ");
    }
    return false;
}

bool
bell_pass_allowed(const char *list, const char *method)
{
    if (list == NULL || strcmp(method, "stop") == 0 || *method == '\0') {
        return false;
    }
    if (strcmp(list, "all") == 0) {
        return true;
    }
    if (strcmp(list, "read") != 0) {
        return bell_listed(list, method);
    }
    for (size_t i = 0; i < sizeof(bell_harmless) / sizeof(bell_harmless[0]);
         i++) {
        if (strcmp(bell_harmless[i], method) == 0) {
            return true;
        }
    }
    return false;
}
