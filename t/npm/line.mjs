// The two clients that speak lines: @mempool/electrum-client (TCP, TLS, batches)
// and electrum-client (TCP). Where they have a function for a method it is that
// one that is called.
import Mempool from '@mempool/electrum-client';
import Old from 'electrum-client';
import { inbox } from './flow.mjs';

const FUNCTIONS = {
    'server.features': 'server_features',
    'blockchain.scripthash.get_balance': 'blockchainScripthash_getBalance',
    'blockchain.scripthash.get_history': 'blockchainScripthash_getHistory',
    'blockchain.scripthash.get_mempool': 'blockchainScripthash_getMempool',
    'blockchain.scripthash.listunspent': 'blockchainScripthash_listunspent',
    'blockchain.scripthash.subscribe': 'blockchainScripthash_subscribe',
    'blockchain.transaction.get': 'blockchainTransaction_get',
    'blockchain.transaction.get_merkle': 'blockchainTransaction_getMerkle',
    'blockchain.transaction.broadcast': 'blockchainTransaction_broadcast',
    'blockchain.estimatefee': 'blockchainEstimatefee',
    'blockchain.relayfee': 'blockchain_relayfee',
};

function base(client, notifications) {
    const call = (method, ...params) => {
        const own = client[FUNCTIONS[method]];
        return own ? own.apply(client, params) : client.request(method, params);
    };
    for (const method of ['blockchain.headers.subscribe',
        'blockchain.scripthash.subscribe']) {
        client.subscribe.on(method, (p) => notifications.put(method, p));
    }
    return { call, subscribe: call,
        told: (method, filter) => notifications.take(method, filter),
        close: async () => client.close() };
}

export function mempool(job) {
    const client = new Mempool(job.port, job.host, job.transport, null,
        { onLog: () => {} });
    return { ...base(client, inbox()),
        async open() {
            await client.initElectrum(
                { client: 'mempool-v2', version: job.version },
                { retryPeriod: 60000, maxRetry: 0, pingPeriod: 60000,
                    callback: null });
            return client.versionInfo;
        },
        async batch(method, list) {
            const short = method.replace(/.*\./, '');
            const own = { get_balance: 'blockchainScripthash_getBalanceBatch',
                get_history: 'blockchainScripthash_getHistoryBatch',
                listunspent: 'blockchainScripthash_listunspentBatch' }[short];
            return (await client[own](list)).map(
                (m) => ({ param: m.param, result: m.result }));
        } };
}

export function old(job) {
    const client = new Old(job.port, job.host, job.transport);
    return { ...base(client, inbox()),
        async open() {
            await client.connect();
            return client.server_version('electrum-client', job.version);
        } };
}
