// SIGTERM under load: what was acknowledged is there, clients are told, and the end comes in time.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { rawConnect } from './lib/raw.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const LIMIT_MS = 10_000;

test('SIGTERM under load: in-flight work is finished, clients are told, exit code 0 within 10 s', async () => {
  const server = await startServer();
  const room = freshRoom();
  const acked = [];
  const failed = [];
  let enough;
  const underLoad = new Promise((resolve) => (enough = resolve));
  const clients = await Promise.all(Array.from({ length: 10 }, async (_, i) => {
    // Some only listen, over polling: they must be told as well.
    const transports = i < 3 ? ['polling'] : ['websocket'];
    const client = await connect(server, `user-${i}`, { transports, reconnection: false });
    await client.join(room);
    return client;
  }));
  const post = (client) => {
    client.socket.emit('send-message', { roomId: room, content: client.user }, (answer) => {
      if (answer.ok) acked.push(answer.message);
      else failed.push(answer);
      if (acked.length >= 300) enough();
      if (client.socket.connected) post(client);
    });
  };
  for (const client of clients.slice(3)) for (let i = 0; i < 5; i += 1) post(client);
  await underLoad;

  const { code, signal, ms } = await server.stop();
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
  assert.ok(ms < LIMIT_MS, `${ms} ms`);
  for (const client of clients) {
    await client.until(() => client.disconnects.length > 0, 'a disconnect');
    // Reasons on which clients reconnect by themselves. engineioxide may answer the poll of a session that it has
    // closed with an error, which such a client reports as it is.
    const polling = clients.indexOf(client) < 3;
    const reasons = polling ? ['transport close', 'transport error'] : ['transport close'];
    assert.equal(client.disconnects.length, 1, `${client.user} was told once`);
    assert.ok(reasons.includes(client.disconnects[0]), `${client.user}: ${client.disconnects}`);
  }
  for (const { error } of failed) assert.deepEqual([error.code, error.retryable], ['unavailable', true]);

  await server.start();
  const reader = await connect(server, 'reader');
  await reader.join(room);
  const history = await reader.history(room);
  assertGapless(history);
  const ids = new Set(history.map((message) => message.id));
  for (const { id } of acked) assert.ok(ids.has(id), 'an acknowledged message is lost');
  for (const client of clients) {
    for (const { id } of client.all('new-message')) assert.ok(ids.has(id), 'a delivered message is lost');
  }
});

test('a client is told that the server goes, and comes back by itself when there is one again', async () => {
  const server = await startServer();
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const over = await connect(server, 'bob', { transports: ['polling'] });
  const raw = await rawConnect(server, 'raw');
  for (const client of [ann, over]) await client.join(room);
  const before = await ann.post(room, 'before');
  await server.stop();
  await raw.until(() => raw.closeCode !== null, 'the close of the WebSocket');
  assert.notEqual(raw.closeCode, 1006, 'cut without a word');
  await server.start();
  for (const client of [ann, over]) {
    await client.connected(2);
    const { messages } = await client.join(room, { after: 0 });
    assert.deepEqual(messages.map((message) => message.id), [before.id]);
  }
});

test('SIGINT, as from a terminal, ends it as well', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann', { reconnection: false });
  const { code } = await server.stop('SIGINT');
  assert.equal(code, 0);
  await ann.until(() => ann.disconnects.length > 0, 'a disconnect');
});
