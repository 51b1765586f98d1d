// The handshake data that handlers get (`identity.handshake`).
import assert from 'node:assert/strict';
import { connect, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const server = await startServer({
  config: { server: { handshake_headers: ['X-App', 'user-agent'] }, limits: { handshake: '1KiB' } },
  handlers: { event: guest('acknowledging') },
});

async function handshake(options) {
  const ann = await connect(server, 'ann', options);
  const [auth, query, address, transport, headers] = await new Promise((resolve) => {
    ann.socket.emit('handshake', {}, (...answer) => resolve(answer));
  });
  return { auth: JSON.parse(auth), query, address, transport, headers };
}

for (const transport of ['websocket', 'polling']) {
  test(`a handler sees auth without the token, the query, the address and named headers, over ${transport}`, async () => {
    const seen = await handshake({
      transports: [transport],
      auth: { token: token('ann'), device: 'phone', nested: { a: [1, 'é'] } },
      query: { app: 'web chat', v: '2&3' },
      extraHeaders: { 'X-App': 'one', 'X-Other': 'two', 'User-Agent': 'me', Cookie: 'secret=1' },
    });
    assert.deepEqual(seen, {
      auth: { device: 'phone', nested: { a: [1, 'é'] } },
      query: [['app', 'web chat'], ['v', '2&3']],
      address: '127.0.0.1',
      transport,
      headers: [['x-app', 'one'], ['user-agent', 'me']],
    });
  });
}

test('a connection that began with polling reports that after its upgrade', async () => {
  const seen = await handshake({ transports: ['polling', 'websocket'] });
  assert.equal(seen.transport, 'polling');
});

test('a handshake that is too large is refused with the limit', async () => {
  for (const options of [
    { auth: { token: token('ann'), note: 'x'.repeat(2000) } },
    { query: { note: 'x'.repeat(2000) } },
    { extraHeaders: { 'X-App': 'x'.repeat(2000) } },
  ]) {
    const refusal = await refused(server, { auth: { token: token('ann') }, ...options });
    assert.match(refusal.message, /^too-large: auth \(without the token\), query and headers have \d+ bytes; at most 1024/);
  }
});
