// Proxies that cannot carry a WebSocket: the official client stays on polling, and nothing is lost.
import assert from 'node:assert/strict';
import net from 'node:net';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer();
const EVENTS = 40;

/**
 * A proxy in front of the server that breaks WebSockets: `swallow` relays the 101 and nothing after it, `cut` closes
 * the connection at the client's first frame, `silent` never relays the 101.
 */
async function proxy(kind) {
  const seen = { requests: 0, upgrades: 0, relayed: 0 };
  const sockets = new Set();
  const listener = net.createServer((client) => {
    const upstream = net.connect(server.port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    let websocket = false;
    client.on('data', (data) => {
      const text = data.toString('latin1');
      if (websocket) {
        seen.relayed += 1;
        if (kind === 'cut') client.destroy();
        return;
      }
      if (/upgrade: websocket/i.test(text)) {
        websocket = true;
        seen.upgrades += 1;
      }
      seen.requests += text.match(/(GET|POST) \/socket\.io/g)?.length ?? 0;
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (!websocket || (kind !== 'silent' && data.toString('latin1').startsWith('HTTP/1.1 101'))) client.write(data);
    });
  });
  await new Promise((done) => listener.listen(0, '127.0.0.1', done));
  owned({
    close: () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
    },
  });
  return { url: `http://127.0.0.1:${listener.address().port}`, seen };
}

for (const kind of ['swallow', 'cut', 'silent']) {
  test(`an upgrade that fails leaves the session on polling: a proxy that ${kind === 'silent' ? 'never relays the 101' : `${kind}s frames`}`, async () => {
    const { url, seen } = await proxy(kind);
    const ann = await connect({ ...server, url }, 'ann', { transports: ['polling', 'websocket'] });
    const room = freshRoom();
    await ann.join(room);
    await eventually(() => seen.upgrades > 0 && (kind === 'silent' || seen.relayed > 0), 'the client tries to upgrade');
    for (let n = 0; n < EVENTS; n += 1) await ann.post(room, `message ${n}`);
    await eventually(() => ann.messages(room).length === EVENTS, 'every message');
    assert.equal(ann.disconnects.length, 0, 'the session lives');
    assert.equal(ann.socket.io.engine.transport.name, 'polling');
    // Each event takes a body and about two polls; polls that return at once without a packet would be noticed.
    assert.ok(seen.requests < EVENTS * 5 + 40, `${seen.requests} requests`);
  });
}

test('a WebSocket that a client does not ask for in the connection header is not made', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  owned({ close: () => socket.destroy() });
  let answer = '';
  socket.on('data', (data) => (answer += data));
  socket.write('GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n'
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await eventually(() => answer.includes('\r\n\r\n'), 'an answer');
  assert.match(answer, /^HTTP\/1\.1 400/);
});

test('a WebSocket with an unknown session is answered 400 before it is made', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  owned({ close: () => socket.destroy() });
  let answer = '';
  socket.on('data', (data) => (answer += data));
  socket.write(`GET /socket.io/?EIO=4&transport=websocket&sid=${'a'.repeat(22)} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n`
    + 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await eventually(() => answer.includes('Session ID unknown'), 'an answer');
  assert.match(answer, /^HTTP\/1\.1 400/);
});
