// Compressed WebSockets (`server.compression`, RFC 7692), as the official client and others use them.
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ config: { server: { compression: true } }, handlers: { event: guest('acknowledging') } });
const plain = await startServer();

/** The WebSocket of a client. */
const socketOf = (client) => client.socket.io.engine.transport.ws;
/** Bytes that it has received and sent. */
const traffic = (client) => [socketOf(client)._socket.bytesRead, socketOf(client)._socket.bytesWritten];

/** A text of this many characters, such as in a chat. */
const long = (length) => 'the quick brown fox, héé '.repeat(length / 24 + 1).slice(0, length);

test('long messages travel compressed, whole, in both directions', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const bob = await connect(server, 'bob', { transports: ['polling', 'websocket'] });
  await eventually(() => bob.socket.io.engine.transport.name === 'websocket', 'the upgrade');
  for (const each of [ann, bob]) {
    await each.join(room);
    assert.match(socketOf(each).extensions, /permessage-deflate/);
  }
  const [before, sent] = [traffic(bob)[0], traffic(ann)[1]];
  for (const length of [1, 1000, 1023, 1024, 5000, 12_000]) await ann.post(room, long(length));
  await bob.until(() => bob.messages(room).length === 6, 'all messages');
  assert.deepEqual(bob.messages(room).map(({ content }) => content.length), [1, 1000, 1023, 1024, 5000, 12_000]);
  assert.equal(bob.messages(room).at(-1).content, long(12_000));
  for (const bytes of [traffic(bob)[0] - before, traffic(ann)[1] - sent]) assert.ok(bytes < 6000, `${bytes} bytes for 20,000`);
});

test('binary arguments survive compression', async () => {
  const ann = await connect(server, 'ann');
  const before = traffic(ann);
  const sent = [Buffer.alloc(5000, 7), long(5000)];
  const back = await new Promise((resolve) => ann.socket.emit('echo', ...sent, (...all) => resolve(all)));
  assert.deepEqual(back, sent);
  for (const [n, bytes] of traffic(ann).entries()) assert.ok(bytes - before[n] < 1000, `${bytes - before[n]} bytes for 10,000`);
});

test('a client that offers no compression gets none, and by default no server compresses', async () => {
  const without = await connect(server, 'ann', { perMessageDeflate: false });
  assert.equal(socketOf(without).extensions, '');
  const room = freshRoom();
  await without.join(room);
  await without.post(room, long(5000));
  assert.equal((await without.next('new-message')).content, long(5000));
  assert.equal(socketOf(await connect(plain, 'ann')).extensions, '');
});

test('a small message that inflates to a huge one closes its own connection', async () => {
  const url = `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
  const bomber = new WebSocket(url, { perMessageDeflate: { threshold: 0 } });
  const closed = new Promise((resolve) => bomber.on('close', resolve));
  bomber.on('error', () => {});
  await new Promise((resolve) => bomber.once('message', resolve));
  bomber.send(`40{"token":"${token('eve')}"}`);
  await new Promise((resolve) => bomber.once('message', resolve));
  bomber.send(`42["x","${'0'.repeat(50_000_000)}"]`);
  assert.equal(await closed, 1009);
  await connect(server, 'ann');
});
