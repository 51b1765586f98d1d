// SIGTERM under load: acknowledged messages are stored, clients are notified, and the server exits in time.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { Raw, rawConnect } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const LIMIT_MS = 10_000;
/** Timeout on a busy machine; a quiet one takes a twentieth of it. */
const IDLE_MS = 1500;

test('SIGTERM under load: in-flight work is finished, clients are notified, exit code 0 within 10 s', async () => {
  const server = await startServer();
  const room = freshRoom();
  const acked = [];
  const failed = [];
  let enough;
  const underLoad = new Promise((resolve) => (enough = resolve));
  const clients = await Promise.all(Array.from({ length: 10 }, async (_, i) => {
    // Some only listen, over polling: they must be notified as well.
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
    // Reasons after which clients reconnect by themselves. engineioxide may answer the poll of a closed session with an
    // error, which such a client reports as it is.
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

test('a client is notified of the shutdown, and reconnects by itself after a restart', async () => {
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

test('clients that do not read, and unauthenticated ones, do not delay the shutdown or harm the others', async () => {
  const server = await startServer();
  const room = freshRoom();
  const lazy = await rawConnect(server, 'lazy');
  assert.deepEqual((await lazy.ask(1, JSON.stringify(['join-room', room])))[0].ok, true);
  const stranger = owned(new Raw(server));
  await stranger.frame('0{');
  const readers = await Promise.all(['ann', 'bob'].map((user) => connect(server, user, { reconnection: false })));
  for (const reader of readers) await reader.join(room);
  lazy.ws._socket.pause();
  // More than the kernel's buffers hold, so that some of it waits in the server.
  const count = 300;
  for (let n = 0; n < count; n += 1) await readers[0].post(room, 'x'.repeat(16_000));
  for (const reader of readers) await reader.until(() => reader.all('new-message').length === count, 'all of them');
  const { code, ms } = await server.stop();
  assert.equal(code, 0);
  assert.ok(ms < LIMIT_MS, `${ms} ms`);
  assert.match(server.log, /clients that did not read what was sent to them, .* were cut off connections=1\b/);
  for (const reader of readers) {
    await reader.until(() => reader.disconnects.length > 0, 'the end');
    assert.deepEqual(reader.disconnects, ['transport close']);
  }
});

test('SIGINT, as from a terminal, ends it as well', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann', { reconnection: false });
  const { code } = await server.stop('SIGINT');
  assert.equal(code, 0);
  await ann.until(() => ann.disconnects.length > 0, 'a disconnect');
});

test('a server with nothing in flight exits at once, and logs no warning', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann', { reconnection: false });
  await ann.join(freshRoom());
  const { code, ms } = await server.stop();
  assert.equal(code, 0);
  assert.ok(ms < IDLE_MS, `${ms} ms`);
  assert.doesNotMatch(server.log, /some events were not committed|cut off/);
});

test('two signals within half a second are one: a terminal and a supervisor may both pass on a Ctrl-C', async () => {
  const server = await startServer({ config: { server: { drain_time: '2s' } } });
  await connect(server, 'ann', { reconnection: false });
  const stopped = server.stop('SIGINT');
  server.signal('SIGTERM');
  const { code } = await stopped;
  assert.equal(code, 0);
  assert.match(server.log, /stopped\n/);
});

test('a second signal after that ends it at once', async () => {
  const server = await startServer({ config: { server: { drain_time: '15s' } } });
  // One client is disconnected each tenth of a second: there are enough for two seconds.
  await Promise.all(Array.from({ length: 20 }, (_, n) => connect(server, `user-${n}`, { reconnection: false })));
  const stopped = server.stop('SIGINT');
  await server.waitForOutput(/leaving: no new connections/);
  // Repeatedly: it does not matter which is the first after half a second.
  const again = setInterval(() => server.signal('SIGINT'), 50);
  const { code, ms } = await stopped;
  clearInterval(again);
  assert.equal(code, 1);
  assert.ok(ms >= 450 && ms < LIMIT_MS, `${ms} ms`);
});

test('SIGHUP does not stop the server: the log says that the configuration is not read again', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  server.signal('SIGHUP');
  await server.waitForOutput(/SIGHUP is refused/);
  assert.equal((await ann.post(room, 'still here')).seq, 1);
  assert.equal(ann.connects, 1);
});

test('a node of a fleet sends its clients away one after the other, and serves those that are left', async () => {
  const server = await startServer({ config: { server: { drain_time: '4s' } } });
  const room = freshRoom();
  const transports = [['websocket'], ['polling', 'websocket'], ['polling']];
  const clients = await Promise.all(Array.from({ length: 12 }, (_, i) =>
    connect(server, `user-${i}`, { transports: transports[i % 3], reconnection: i % 2 === 0 })));
  for (const client of clients) await client.join(room);
  const left = () => clients.filter((client) => client.disconnects.length === 0);
  const stopped = server.stop();

  await eventually(async () => (await fetch(`${server.url}/readyz`)).status === 503, '/readyz to say that it leaves');
  const handshake = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`);
  assert.equal(handshake.status, 503);
  await eventually(() => left().length < clients.length, 'a first client that goes');
  // Clients that are still connected and were not notified get an answer; the others are told to try again.
  const answered = [];
  await eventually(async () => {
    const answers = await Promise.all(left().map((client) => Promise.race([
      client.ask('send-message', { roomId: room, content: client.user }),
      client.until(() => client.disconnects.length > 0, 'an end'),
    ])));
    for (const answer of answers) {
      if (answer.ok) answered.push(answer.message);
      else if (answer.error) assert.deepEqual([answer.error.code, answer.error.retryable], ['unavailable', true]);
    }
    return left().length < 4;
  }, 'most of the clients to have gone', 20_000);
  assert.ok(answered.length > 0, 'those that were left were served');
  const { code, ms } = await stopped;
  assert.equal(code, 0);
  assert.ok(ms < 15_000, `${ms} ms`);
  for (const client of clients) {
    await client.until(() => client.disconnects.length > 0, 'a disconnect');
    assert.ok(['transport close', 'transport error'].includes(client.disconnects[0]), `${client.user}: ${client.disconnects}`);
  }

  await server.start();
  for (const client of clients.filter((_, i) => i % 2 === 0)) await client.connected(2);
  const reader = await connect(server, 'reader');
  await reader.join(room);
  const ids = new Set((await reader.history(room)).map((message) => message.id));
  for (const { id } of answered) assert.ok(ids.has(id), 'an acknowledged message is lost');
});
