// @electrum-cash/network over @electrum-cash/web-socket, in Node and in the
// browser. It hands out the first answer of a subscription as a notification.
import { ElectrumClient } from '@electrum-cash/network';
import { ElectrumWebSocket } from '@electrum-cash/web-socket';
import { inbox } from './flow.mjs';

export function cash(job) {
    const socket = new ElectrumWebSocket(job.host, job.port,
        job.transport === 'wss', 20000);
    const client = new ElectrumClient('electrumx tests', job.version, socket);
    const notifications = inbox();
    client.on('notification', (n) => notifications.put(n.method, n.params));
    return {
        async open() {
            await client.connect();
            return [client.software, job.version];
        },
        async call(method, ...params) {
            const value = await client.request(method, ...params);
            if (value instanceof Error) throw value;
            return value;
        },
        async subscribe(method, ...params) {
            await client.subscribe(method, ...params);
            return (await notifications.take(method)).at(-1);
        },
        told: (method, filter) => notifications.take(method, filter),
        close: () => client.disconnect(),
    };
}
