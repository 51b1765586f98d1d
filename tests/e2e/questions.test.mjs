// Handlers' questions (`broadcast.ask`) and clients' answers (`on-answer`), with the official client.
import assert from 'node:assert/strict';
import { Client, connect, freshRoom } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { startPeer } from './lib/peer.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

/** Most open questions of a connection. */
const OPEN_MAX = 16;
/** A time, in milliseconds, that does not pass within a test. */
const LONG = 60_000;
/** A short time, in milliseconds. */
const SHORT = 300;

const handlers = { event: guest('acknowledging') };
const server = await startServer({
  handlers,
  config: { limits: { packet: '64 KiB', events_per_second: 10_000, event_burst: 10_000 } },
});

let tags = 0;
/** A tag that no other test uses. */
function freshTag() {
  tags += 1;
  return `tag-${tags}`;
}

/** A client in these rooms. */
async function member(node, user, ...rooms) {
  const client = await connect(node, user, { reconnection: false });
  for (const room of rooms) await client.join(room);
  return client;
}

/** Makes the client answer questions: `how` gets the tag and the callback for the answer. */
const answering = (client, how) => client.socket.on('question', how);

/** The answers that the handler has got so far: the user, and the arguments or null. */
const told = (listener, tag) => listener.received
  .filter(({ event, args }) => event === 'answered' && args[1] === tag)
  .map(({ args: [user, , answer] }) => [user, answer]);

async function toldOf(listener, tag, count) {
  await listener.until(() => told(listener, tag).length >= count, `${count} answers to ${tag}`);
  return told(listener, tag).sort();
}

const ask = (client, room, tag, time) =>
  client.socket.timeout(LONG).emitWithAck('ask', room, tag, time);

for (const transports of [['websocket'], ['polling']]) {
  test(`a client answers a question with any arguments, over ${transports[0]}`, async () => {
    const [room, tag] = [freshRoom(), freshTag()];
    const ann = await member(server, 'ann', 'listeners');
    const [bob, eve, liz] = await Promise.all(['bob', 'eve', 'liz'].map(async (user) => {
      const client = await connect(server, user, { transports });
      await client.join(room);
      return client;
    }));
    answering(bob, (_, answer) => answer('yes', 2, { three: [Buffer.from([1, 2, 3])] }));
    answering(eve, (_, answer) => answer());
    answering(liz, (_, answer) => answer('cut: \ud83d', null));
    assert.equal(await ask(ann, room, tag, LONG), true);
    assert.deepEqual(await toldOf(ann, tag, 3), [
      ['bob', ['yes', 2, { three: [Buffer.from([1, 2, 3])] }]],
      ['eve', []],
      ['liz', ['cut: \ufffd', null]],
    ]);
  });
}

test('a missing answer is reported: after its time, after a disconnect, or if it is too large', async () => {
  const [room, tag] = [freshRoom(), freshTag()];
  const ann = await member(server, 'ann', 'listeners');
  const [late, gone, large] = await Promise.all(['late', 'gone', 'large'].map((user) => member(server, user, room)));
  let answerLate;
  answering(late, (_, answer) => (answerLate = answer));
  answering(large, (_, answer) => answer('x'.repeat(100_000)));
  await ask(ann, room, tag, LONG);
  await gone.until(() => gone.all('question').length > 0, 'the question');
  gone.close();
  assert.deepEqual(await toldOf(ann, tag, 2), [['gone', null], ['large', null]]);

  const second = freshTag();
  await ask(ann, room, second, SHORT);
  assert.deepEqual(await toldOf(ann, second, 2), [['large', null], ['late', null]]);
  answerLate('too late');
  await late.ask('echo', 'everything before this has arrived');
  assert.deepEqual(told(ann, second).length, 2, 'once for each');
});

test('a rejected answer has no consequences', async () => {
  const room = freshRoom();
  const ann = await member(server, 'ann', room);
  answering(ann, (_, answer) => answer(1));
  await ask(ann, room, 'refuse', LONG);
  const [echoed] = await Promise.all([ann.ask('echo', 'still here')]);
  assert.equal(echoed, 'still here');
  assert.deepEqual(ann.all('error'), []);
});

test('a retryable rejection of an answer is not retried', async () => {
  const room = freshRoom();
  const ann = await member(server, 'ann', room);
  answering(ann, (_, answer) => answer(1));
  await ask(ann, room, 'unavailable', LONG);
  await server.waitForOutput(/an answer came/);
  // After the answer, on the same connection.
  assert.equal(await ann.ask('echo', 'next'), 'next');
  assert.equal(server.log.match(/an answer came/g).length, 1);
});

test('open questions of a client are limited, and it gets further ones as events', async () => {
  const [room, tag] = [freshRoom(), freshTag()];
  const ann = await member(server, 'ann', 'listeners');
  const bob = await member(server, 'bob', room);
  let wanted = 0;
  answering(bob, (...args) => { if (typeof args.at(-1) === 'function') wanted += 1; });
  for (let n = 0; n < OPEN_MAX + 6; n += 1) await ask(ann, room, tag, LONG);
  await bob.until(() => bob.all('question').length === OPEN_MAX + 6, 'all questions');
  assert.equal(wanted, OPEN_MAX);
  bob.close();
  assert.equal((await toldOf(ann, tag, OPEN_MAX)).length, OPEN_MAX);
});

test('a tag that is too long, and a time that makes no sense', async () => {
  const room = freshRoom();
  const ann = await member(server, 'ann', room, 'listeners');
  const refused = await ask(ann, room, 'x'.repeat(257), LONG);
  assert.equal(refused.error.code, 'invalid');
  assert.match(refused.error.message, /tag has at most 256 bytes/);
  const tag = freshTag();
  answering(ann, () => {});
  await ask(ann, room, tag, 0);
  assert.deepEqual(await toldOf(ann, tag, 1), [['ann', null]]);
});

test('clients of every node of a fleet are asked, and those of Node servers get the event', async () => {
  const fleet = await startFleet({ nodes: 2, handlers });
  const [first, second] = fleet.nodes;
  const peer = await startPeer(fleet.redis.url);
  const [room, tag] = [freshRoom(), freshTag()];
  const ann = await member(first, 'ann', room, 'listeners');
  const bob = await member(second, 'bob', room);
  const joe = await owned(new Client(peer.url, 'joe', { auth: { rooms: [room] } })).connected();
  answering(ann, (_, answer) => answer('here'));
  answering(bob, (_, answer) => answer('there', Buffer.from([7])));
  await ask(ann, room, tag, LONG);
  assert.deepEqual(await toldOf(ann, tag, 2), [['ann', ['here']], ['bob', ['there', Buffer.from([7])]]]);
  assert.equal((await joe.next('question')), tag);

  const missing = freshTag();
  bob.socket.off('question');
  ann.socket.off('question');
  await ask(ann, room, missing, SHORT);
  assert.deepEqual(await toldOf(ann, missing, 2), [['ann', null], ['bob', null]]);
});
