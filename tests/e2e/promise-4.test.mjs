// Promise 4: the same `clientId` from the same user posts once.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const server = await startServer();

/** The room's messages once everything before has been delivered. */
async function delivered(room, client) {
  const { id } = await client.post(room, 'the end');
  await client.next('new-message', (message) => message.id === id);
  return client.messages(room).filter((message) => message.id !== id);
}

test('promise 4: send twice, post once: one after the other', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const first = await ann.post(room, 'hello', { clientId: 'one' });
  const again = await ann.post(room, 'hello', { clientId: 'one' });
  assert.deepEqual(again, first, 'the acknowledgement is the first one');
  const other = await ann.post(room, 'hello', { clientId: 'two' });
  assert.equal(other.seq, 2);
  assert.deepEqual((await delivered(room, ann)).map((each) => each.id), [first.id, other.id]);
});

test('promise 4: send twice, post once: all at the same moment, from two devices', async () => {
  const room = freshRoom();
  const devices = [await connect(server, 'ann'), await connect(server, 'ann')];
  for (const device of devices) await device.join(room);
  const clientIds = Array.from({ length: 10 }, (_, i) => `id ${i}`);
  const answers = await Promise.all(devices.flatMap((device) => clientIds.flatMap((clientId) =>
    Array.from({ length: 5 }, async () => [clientId, await device.post(room, clientId, { clientId })]))));
  const messages = await delivered(room, devices[0]);
  assertGapless(messages, clientIds.length);
  const byContent = new Map(messages.map(({ content, id, seq, sentAt }) => [content, { id, seq, sentAt }]));
  for (const [clientId, answer] of answers) assert.deepEqual(answer, byContent.get(clientId));
});

test('promise 4: send twice, post once: over a reconnect', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const first = await ann.post(room, 'hello', { clientId: 'lasting' });
  ann.socket.io.engine.close();
  await ann.until(() => ann.disconnects.length === 1, 'the cut');
  await ann.back();
  const { messages } = await ann.join(room, { after: 0 });
  assert.equal(messages.length, 1);
  assert.deepEqual(await ann.post(room, 'hello', { clientId: 'lasting' }), first);
});

test('promise 4: send twice, post once: over a restart', async () => {
  const own = await startServer();
  const room = freshRoom();
  const ann = await connect(own, 'ann');
  await ann.join(room);
  const first = await ann.post(room, 'hello', { clientId: 'lasting' });
  await own.restart();
  const later = await connect(own, 'ann');
  await later.join(room);
  assert.deepEqual(await later.post(room, 'hello', { clientId: 'lasting' }), first);
  assert.equal((await later.history(room)).length, 1);
});

test('promise 4: another user may use the same `clientId`', async () => {
  const room = freshRoom();
  const [ann, bob] = [await connect(server, 'ann'), await connect(server, 'bob')];
  for (const client of [ann, bob]) await client.join(room);
  const [one, two] = [await ann.post(room, 'of ann', { clientId: '1' }), await bob.post(room, 'of bob', { clientId: '1' })];
  assert.notEqual(one.id, two.id);
  assert.deepEqual((await ann.history(room)).map((each) => each.content), ['of ann', 'of bob']);
});

test('promise 4: without a `clientId` every sending posts', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  for (let i = 0; i < 3; i += 1) await ann.post(room, 'same text');
  assert.equal((await ann.history(room)).length, 3);
});
