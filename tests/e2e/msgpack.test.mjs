// Clients with the option `parser` of socket.io-msgpack-parser (`clients.parser`).
import assert from 'node:assert/strict';
import parser from 'socket.io-msgpack-parser';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { Raw } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const server = await startServer({
  config: { clients: { parser: 'msgpack' } },
  handlers: { event: guest('acknowledging') },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  test(`clients chat in MessagePack, over ${transports.join(' and ')}`, async () => {
    const room = freshRoom();
    const ann = await connect(server, 'ann', { parser, transports });
    const bob = await connect(server, 'bob', { parser, transports });
    for (const each of [ann, bob]) await each.join(room);
    const metadata = { a: [1, -1.5, null, true, 'é'], big: 12345678901 };
    const { id, seq } = await ann.post(room, 'hello 👋', { metadata });
    const seen = await bob.next('new-message');
    assert.deepEqual([seen.id, seen.seq, seen.content, seen.metadata], [id, seq, 'hello 👋', metadata]);
    // Binary arguments may be at any depth, and are returned at the same place.
    const sent = [{ deep: [Buffer.from('abc')] }, Buffer.from([]), 'text', undefined, 5];
    const echo = await new Promise((resolve) => ann.socket.emit('echo', ...sent, (...answer) => resolve(answer)));
    assert.deepEqual(echo, [{ deep: [Buffer.from('abc')] }, Buffer.from([]), 'text', null, 5]);
    assert.equal(await ann.ask('grüße/"x"', 1), 'grüße/"x"');
    const [refusal] = await new Promise((resolve) => ann.socket.emit('refuse', (...answer) => resolve(answer)));
    assert.equal(refusal.error.code, 'denied');
    ann.socket.disconnect();
    await bob.next('presence', ({ userId, status }) => userId === 'ann' && status === 'offline');
  });
}

test('a client with another parser than its tenant’s is refused once with the reason, and does not retry', async () => {
  const usual = await startServer();
  for (const [where, options, words] of [
    [server, {}, /^invalid: .*use socket\.io-msgpack-parser/],
    [usual, { parser }, /^invalid: .*use Socket\.IO's default parser/],
  ]) {
    for (const transport of ['websocket', 'polling']) {
      const { message } = await refused(where, { auth: { token: token('ann') }, transports: [transport], reconnection: true, ...options });
      assert.match(message, words);
    }
  }
  await usual.waitForOutput(/a connection was refused: this tenant's clients use Socket\.IO's default parser/);
});

test('each tenant has its own parser', async () => {
  const configuration = configurationOf('acme', { clients: { parser: 'default' } });
  await admin(server).requestOk('POST', '/tenants', { body: { name: 'acme', configuration } });
  const options = at('acme', 'ann');
  const { message } = await refused(server, { ...options, parser });
  assert.match(message, /default parser/);
  await connect(server, 'ann', options);
});

for (const [what, bytes] of [
  ['text of another parser', Buffer.from('4{"type":0,"nsp":"/"}')],
  ['bytes that are no MessagePack', Buffer.from([0xff, 0xfe])],
  ['a map that is no packet', Buffer.from([0x81, 0xa1, 0x78, 0x01])],
]) {
  test(`a first packet of ${what} closes the connection, with a line in the log`, async () => {
    const raw = owned(new Raw(server));
    await raw.frame('0{');
    raw.ws.send(bytes, { binary: bytes[0] !== 0x34 });
    await raw.until(() => raw.closed, 'the end');
    await server.waitForOutput(/neither in Socket\.IO's default encoding nor in that of socket\.io-msgpack-parser/);
  });
}
