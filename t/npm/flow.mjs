// What every client is made to do. Nothing is judged here: all that the client
// hands out is reported to the test, which knows what is right.
//
//   flow(client, job, report)
//
// client: { open, call, subscribe, told, batch?, close }, see line.mjs, cash.mjs
// job:    { scripts, watch, tx, old, height }
// report: sends one object to the test

async function ask(client, job) {
    const r = { scripts: {} };
    r.tip = await client.subscribe('blockchain.headers.subscribe');
    r.features = await client.call('server.features');
    for (const sh of job.scripts) {
        const name = (what) => 'blockchain.scripthash.' + what;
        r.scripts[sh] = {
            balance: await client.call(name('get_balance'), sh),
            history: await client.call(name('get_history'), sh),
            mempool: await client.call(name('get_mempool'), sh),
            unspent: await client.call(name('listunspent'), sh),
        };
    }
    r.header = await client.call('blockchain.block.header', job.height);
    r.headers = await client.call('blockchain.block.headers', 1, 20);
    r.raw = await client.call('blockchain.transaction.get', job.old);
    r.merkle = await client.call('blockchain.transaction.get_merkle', job.old,
        job.height);
    r.fee = await client.call('blockchain.estimatefee', 6);
    r.relay = await client.call('blockchain.relayfee');
    r.wrong = await client.call('no.such.method', '\u00e4\u20bf').then(
        (value) => ({ value }), (e) => ({ message: e.message }));
    if (client.batch) {
        r.batch = {};
        for (const what of ['get_balance', 'get_history', 'listunspent']) {
            r.batch[what] = await client.batch(
                'blockchain.scripthash.' + what, job.scripts);
        }
    }
    r.status = await client.subscribe('blockchain.scripthash.subscribe',
        job.watch);
    return r;
}

export async function flow(client, job, report) {
    const mine = (params) => params[0] === job.watch;

    await report({ opened: await client.open() });
    await report({ asked: await ask(client, job) });
    const txid = await client.call('blockchain.transaction.broadcast', job.tx);
    await report({ sent: { txid,
        told: await client.told('blockchain.scripthash.subscribe', mine) } });
    await report({ mined: {
        tip: await client.told('blockchain.headers.subscribe'),
        told: await client.told('blockchain.scripthash.subscribe', mine) } });
    await client.close();
    await report({ ended: true });
}

// Notifications in the order they came, taken out by name.
export function inbox() {
    const heard = [];
    const waiting = [];
    return {
        put(method, params) {
            heard.push({ method, params });
            waiting.splice(0).forEach((wake) => wake());
        },
        async take(method, filter = () => true) {
            for (;;) {
                const i = heard.findIndex((n) => n.method === method
                    && filter(n.params));
                if (i >= 0) return heard.splice(i, 1)[0].params;
                await new Promise((wake) => waiting.push(wake));
            }
        },
    };
}

// Posts what the clients report; the test answers with an empty page.
export function reporter(url, name) {
    return (what) => fetch(url, { method: 'POST', mode: 'no-cors',
        headers: { 'Content-Type': 'text/plain' },
        body: JSON.stringify({ client: name, ...what }) });
}

export async function run(client, job, url) {
    const report = reporter(url, job.name);
    try {
        await flow(client, job, report);
    } catch (e) {
        await report({ failed: String(e && e.stack || e) });
    }
}
