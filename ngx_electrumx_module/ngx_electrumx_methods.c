/*
 * THE method table: what can be asked, with which arguments, in which versions
 * of the protocol it belongs.  docs/protocol.md has a row for each.
 *
 * Methods stay available in every version; since and until say where the
 * specification has them, and "electrumx_strict on" keeps to that.
 */

#include "ngx_electrumx_rpc.h"


#define NGX_ELECTRUMX_SLOTS  256              /* power of two, > 2 * methods */

#define V(a, b, c)           NGX_ELECTRUMX_V(a, b, c)
#define OTHER                NGX_ELECTRUMX_OTHER

/* required: by everybody; lenient: by ElectrumX only; added: not ElectrumX's */

#define required(name, type)                                                  \
    { name, NGX_ELECTRUMX_ARG_ ## type, NGX_ELECTRUMX_REQUIRED, 0, NULL }
#define optional(name, type, value)                                           \
    { name, NGX_ELECTRUMX_ARG_ ## type, NGX_ELECTRUMX_OPTIONAL, value, NULL }
#define lenient(name, type)                                                   \
    { name, NGX_ELECTRUMX_ARG_ ## type, NGX_ELECTRUMX_LENIENT, 0, NULL }
#define added(name, type, value)                                              \
    { name, NGX_ELECTRUMX_ARG_ ## type, NGX_ELECTRUMX_ADDED, value, NULL }
#define end                                                                   \
    { NULL, NGX_ELECTRUMX_ARG_ANY, NGX_ELECTRUMX_REQUIRED, 0, NULL }
#define scriptpubkey                                                          \
    { "scriptpubkey", NGX_ELECTRUMX_ARG_SCRIPT, NGX_ELECTRUMX_REQUIRED, 0,    \
      "spk" }


static const ngx_electrumx_method_t  ngx_electrumx_methods[] = {

    /* blocks and headers */

    { ngx_string("blockchain.block.header"),
      ngx_electrumx_block_header, V(1, 3, 0), 0, NGX_ELECTRUMX_VIEW, 25,
      { required("height", UINT), optional("cp_height", UINT, 0), end } },

    { ngx_string("blockchain.block.headers"),
      ngx_electrumx_block_headers, V(1, 2, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { required("start_height", UINT), required("count", UINT),
        optional("cp_height", UINT, 0), end } },

    { ngx_string("blockchain.headers.subscribe"),
      ngx_electrumx_headers_subscribe, V(1, 0, 0), 0, NGX_ELECTRUMX_VIEW, 25,
      { end } },

    { ngx_string("blockchain.headers.unsubscribe"),
      ngx_electrumx_headers_unsubscribe, OTHER, 0, 0, 10,
      { end } },

    { ngx_string("blockchain.headers.get_tip"),
      ngx_electrumx_headers_get_tip, OTHER, 0, NGX_ELECTRUMX_VIEW, 25,
      { end } },

    { ngx_string("blockchain.header.get"),
      ngx_electrumx_header_get, OTHER, 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 25,
      { { "block_hash", NGX_ELECTRUMX_ARG_ANY, NGX_ELECTRUMX_REQUIRED, 0,
          "height" }, end } },

    { ngx_string("blockchain.block.stats"),
      ngx_electrumx_block_stats, OTHER, 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 100,
      { required("height", UINT), end } },

    /* scripts */

    { ngx_string("blockchain.scripthash.get_balance"),
      ngx_electrumx_get_balance, V(1, 1, 0), V(1, 7, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.get_history"),
      ngx_electrumx_get_history, V(1, 1, 0), V(1, 7, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), added("from_height", UINT, 0),
        added("to_height", END, UINT64_MAX), end } },

    { ngx_string("blockchain.scripthash.get_mempool"),
      ngx_electrumx_get_mempool, V(1, 1, 0), V(1, 7, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.listunspent"),
      ngx_electrumx_listunspent, V(1, 1, 0), V(1, 7, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.subscribe"),
      ngx_electrumx_subscribe, V(1, 1, 0), V(1, 7, 0),
      NGX_ELECTRUMX_VIEW, 20,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.unsubscribe"),
      ngx_electrumx_unsubscribe, V(1, 4, 2), V(1, 7, 0), 0, 10,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.get_status"),
      ngx_electrumx_get_status, OTHER, 0, NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scripthash.get_first_use"),
      ngx_electrumx_get_first_use, OTHER, 0, NGX_ELECTRUMX_VIEW, 100,
      { required("scripthash", HASH), end } },

    { ngx_string("blockchain.scriptpubkey.get_balance"),
      ngx_electrumx_get_balance, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { scriptpubkey, end } },

    { ngx_string("blockchain.scriptpubkey.get_history"),
      ngx_electrumx_spk_history, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { scriptpubkey, added("from_height", UINT, 0),
        added("to_height", END, UINT64_MAX), end } },

    { ngx_string("blockchain.scriptpubkey.get_mempool"),
      ngx_electrumx_spk_mempool, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { scriptpubkey, end } },

    { ngx_string("blockchain.scriptpubkey.listunspent"),
      ngx_electrumx_spk_listunspent, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { scriptpubkey, end } },

    { ngx_string("blockchain.scriptpubkey.subscribe"),
      ngx_electrumx_spk_subscribe, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 20,
      { scriptpubkey, end } },

    { ngx_string("blockchain.scriptpubkey.unsubscribe"),
      ngx_electrumx_spk_unsubscribe, V(1, 7, 0), 0, 0, 10,
      { scriptpubkey, end } },

    { ngx_string("blockchain.address.get_balance"),
      ngx_electrumx_address_balance, V(1, 0, 0), V(1, 3, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.get_history"),
      ngx_electrumx_address_history, V(1, 0, 0), V(1, 3, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), added("from_height", UINT, 0),
        added("to_height", END, UINT64_MAX), end } },

    { ngx_string("blockchain.address.get_mempool"),
      ngx_electrumx_address_mempool, V(1, 0, 0), V(1, 3, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.listunspent"),
      ngx_electrumx_address_unspent, V(1, 0, 0), V(1, 3, 0),
      NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.subscribe"),
      ngx_electrumx_address_subscribe, V(1, 0, 0), V(1, 3, 0),
      NGX_ELECTRUMX_VIEW, 20,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.unsubscribe"),
      ngx_electrumx_address_unsubscribe, OTHER, 0, NGX_ELECTRUMX_VIEW, 10,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.get_scripthash"),
      ngx_electrumx_address_scripthash, OTHER, 0, NGX_ELECTRUMX_VIEW, 10,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.get_status"),
      ngx_electrumx_address_status, OTHER, 0, NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), end } },

    { ngx_string("blockchain.address.get_first_use"),
      ngx_electrumx_address_first_use, OTHER, 0, NGX_ELECTRUMX_VIEW, 100,
      { required("address", STRING), end } },

    /* transactions */

    { ngx_string("blockchain.transaction.broadcast"),
      ngx_electrumx_broadcast, V(1, 0, 0), 0, NGX_ELECTRUMX_NODE, 25,
      { required("raw_tx", HEX), end } },

    { ngx_string("blockchain.transaction.broadcast_package"),
      ngx_electrumx_broadcast_package, V(1, 6, 0), 0, NGX_ELECTRUMX_NODE, 25,
      { required("raw_txs", HEXES), optional("verbose", BOOL, 0), end } },

    { ngx_string("blockchain.transaction.get"),
      ngx_electrumx_tx_get, V(1, 0, 0), 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 100,
      { required("tx_hash", HASH), optional("verbose", BOOL, 0), end } },

    { ngx_string("blockchain.transaction.get_merkle"),
      ngx_electrumx_tx_get_merkle, V(1, 0, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { required("tx_hash", HASH), lenient("height", UINT), end } },

    { ngx_string("blockchain.transaction.id_from_pos"),
      ngx_electrumx_tx_id_from_pos, V(1, 4, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { required("height", UINT), required("tx_pos", UINT),
        optional("merkle", BOOL, 0), end } },

    { ngx_string("blockchain.transaction.testmempoolaccept"),
      ngx_electrumx_testmempoolaccept, V(1, 7, 0), 0, NGX_ELECTRUMX_NODE, 25,
      { required("raw_txs", HEXES), end } },

    { ngx_string("blockchain.transaction.get_height"),
      ngx_electrumx_tx_get_height, OTHER, 0, NGX_ELECTRUMX_VIEW, 25,
      { required("tx_hash", HASH), end } },

    { ngx_string("blockchain.transaction.get_confirmed_blockhash"),
      ngx_electrumx_tx_get_blockhash, OTHER, 0, NGX_ELECTRUMX_VIEW, 25,
      { required("tx_hash", HASH), optional("include_header", BOOL, 0),
        end } },

    { ngx_string("blockchain.utxo.get_info"),
      ngx_electrumx_utxo_info, OTHER, 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 100,
      { required("tx_hash", HASH), required("out_n", UINT), end } },

    { ngx_string("blockchain.transaction.subscribe"),
      ngx_electrumx_tx_subscribe, OTHER, 0, NGX_ELECTRUMX_VIEW, 25,
      { required("tx_hash", HASH), end } },

    { ngx_string("blockchain.transaction.unsubscribe"),
      ngx_electrumx_tx_unsubscribe, OTHER, 0, 0, 10,
      { required("tx_hash", HASH), end } },

    { ngx_string("blockchain.outpoint.subscribe"),
      ngx_electrumx_outpoint_subscribe, V(1, 7, 0), 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 100,
      { required("tx_hash", HASH), required("txout_idx", UINT),
        lenient("spk_hint", SCRIPT), end } },

    { ngx_string("blockchain.outpoint.get_status"),
      ngx_electrumx_outpoint_get_status, V(1, 7, 0), 0,
      NGX_ELECTRUMX_VIEW|NGX_ELECTRUMX_NODE, 100,
      { required("tx_hash", HASH), required("txout_idx", UINT),
        lenient("spk_hint", SCRIPT), end } },

    { ngx_string("blockchain.outpoint.unsubscribe"),
      ngx_electrumx_outpoint_unsubscribe, V(1, 7, 0), 0, 0, 10,
      { required("tx_hash", HASH), required("txout_idx", UINT), end } },

    /* mempool and fees */

    { ngx_string("blockchain.estimatefee"),
      ngx_electrumx_estimatefee, V(1, 0, 0), 0, NGX_ELECTRUMX_NODE, 10,
      { required("number", UINT), optional("mode", ANY, 0), end } },

    { ngx_string("blockchain.relayfee"),
      ngx_electrumx_relayfee, V(1, 0, 0), V(1, 6, 0), NGX_ELECTRUMX_NODE, 100,
      { end } },

    { ngx_string("mempool.get_fee_histogram"),
      ngx_electrumx_fee_histogram, V(1, 2, 0), 0, NGX_ELECTRUMX_VIEW, 10,
      { end } },

    { ngx_string("mempool.get_info"),
      ngx_electrumx_mempool_info, V(1, 6, 0), 0, NGX_ELECTRUMX_NODE, 100,
      { end } },

    { ngx_string("mempool.recent"),
      ngx_electrumx_mempool_recent, V(1, 7, 0), 0, NGX_ELECTRUMX_VIEW, 100,
      { end } },

    /* the server */

    { ngx_string("server.version"),
      ngx_electrumx_server_version, V(1, 0, 0), 0, NGX_ELECTRUMX_EXTRA, 50,
      { optional("client_name", ANY, 0), optional("protocol_version", ANY, 0),
        end } },

    { ngx_string("server.ping"),
      ngx_electrumx_server_ping, V(1, 2, 0), 0, NGX_ELECTRUMX_NOISE, 10,
      { optional("pong_len", UINT, 0), optional("data", STRING, 0), end } },

    { ngx_string("server.banner"),
      ngx_electrumx_server_banner, V(1, 0, 0), 0, 0, 50,
      { end } },

    { ngx_string("server.donation_address"),
      ngx_electrumx_server_donation, V(1, 0, 0), 0, 0, 10,
      { end } },

    { ngx_string("server.features"),
      ngx_electrumx_server_features, V(1, 1, 0), 0, NGX_ELECTRUMX_VIEW, 20,
      { end } },

    { ngx_string("server.peers.subscribe"),
      ngx_electrumx_server_peers, V(1, 0, 0), 0, 0, 100,
      { end } },

    { ngx_string("server.add_peer"),
      ngx_electrumx_server_add_peer, V(1, 1, 0), 0, 0, 10000,
      { required("features", ANY), end } },

    /* the node itself */

    { ngx_string("daemon.passthrough"),
      ngx_electrumx_passthrough, OTHER, 0,
      NGX_ELECTRUMX_NODE|NGX_ELECTRUMX_TRUSTED|NGX_ELECTRUMX_EXTRA, 100,
      { required("method", STRING), optional("params", ANY, 0), end } },
};


static ngx_uint_t  ngx_electrumx_methods_ready;
static u_char      ngx_electrumx_method_slots[NGX_ELECTRUMX_SLOTS];


/* The names differ in length and in their ends. */

static ngx_inline ngx_uint_t
ngx_electrumx_method_slot(const u_char *name, size_t len)
{
    ngx_uint_t  h;

    h = len * 31;
    h = (h ^ name[len - 1]) * 31;
    h = (h ^ name[len / 2]) * 31;
    h = (h ^ name[len - len / 4 - 1]) * 31;

    return (h ^ (h >> 7)) & (NGX_ELECTRUMX_SLOTS - 1);
}


static void
ngx_electrumx_methods_init(void)
{
    ngx_str_t   *name;
    ngx_uint_t   i, slot;

    for (i = 0;
         i < sizeof(ngx_electrumx_methods) / sizeof(ngx_electrumx_method_t);
         i++)
    {
        name = (ngx_str_t *) &ngx_electrumx_methods[i].name;
        slot = ngx_electrumx_method_slot(name->data, name->len);

        while (ngx_electrumx_method_slots[slot]) {
            slot = (slot + 1) & (NGX_ELECTRUMX_SLOTS - 1);
        }

        ngx_electrumx_method_slots[slot] = (u_char) (i + 1);
    }

    ngx_electrumx_methods_ready = 1;
}


const ngx_electrumx_method_t *
ngx_electrumx_method(const u_char *name, size_t len)
{
    ngx_uint_t                     slot;
    const ngx_electrumx_method_t  *m;

    if (len == 0) {
        return NULL;
    }

    if (!ngx_electrumx_methods_ready) {
        ngx_electrumx_methods_init();
    }

    slot = ngx_electrumx_method_slot(name, len);

    while (ngx_electrumx_method_slots[slot]) {
        m = &ngx_electrumx_methods[ngx_electrumx_method_slots[slot] - 1];

        if (m->name.len == len && ngx_memcmp(m->name.data, name, len) == 0) {
            return m;
        }

        slot = (slot + 1) & (NGX_ELECTRUMX_SLOTS - 1);
    }

    return NULL;
}


ngx_uint_t
ngx_electrumx_method_in(const ngx_electrumx_method_t *m, ngx_uint_t version)
{
    return m->since <= version && (m->until == 0 || version < m->until);
}
