// Promise 4: the same `clientId` from the same user posts once.
// ARCHITECTURE.md#4-send-twice-post-once says what makes it true.
import assert from 'node:assert/strict';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

const server = await startServer();
const strict = await startServer({ handlers: { message: guest('strict') } });

/** The room's messages, after everything before has been delivered. */
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
  const byContent = new Map(messages.map(({ content, roomId, userId, ...told }) => [content, told]));
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

test('promise 4: a `clientId` that is used again for something else is a conflict, and nothing is lost silently', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann');
  for (const each of [room, other]) await ann.join(each);
  const message = { roomId: room, content: 'one', metadata: { a: 1 }, clientId: 'again' };
  const { message: first } = await ann.askOk('send-message', message);
  const changes = [{ roomId: other }, { content: 'two' }, { metadata: { a: 2 } }, { metadata: undefined }];
  for (const change of changes) {
    const answer = await ann.ask('send-message', { ...message, ...change });
    assertFailed(answer, 'conflict');
    assert.equal(answer.error.retryable, false);
    assert.match(answer.error.message, /clientId/);
  }
  assert.deepEqual((await ann.askOk('send-message', message)).message, first, 'the same is a repetition');
  assert.deepEqual(await ann.history(other), []);
  assert.equal((await ann.history(room)).length, 1);
});

test('promise 4: of two contents at once under one `clientId`, from two devices, one is posted and one is a conflict', async () => {
  const room = freshRoom();
  const devices = [await connect(server, 'ann'), await connect(server, 'ann')];
  for (const device of devices) await device.join(room);
  for (let n = 0; n < 20; n += 1) {
    const answers = await Promise.all(devices.map((device, i) =>
      device.ask('send-message', { roomId: room, content: `of device ${i}`, clientId: `raced ${n}` })));
    assert.deepEqual(answers.map(({ ok }) => ok).sort(), [false, true], JSON.stringify(answers));
    assertFailed(answers.find(({ ok }) => !ok), 'conflict');
  }
  assert.equal((await devices[0].history(room)).length, 20);
});

test('promise 4: a repetition is acknowledged without asking the handler, and has no other effect', async () => {
  const room = freshRoom();
  const ann = await connect(strict, 'ann');
  await ann.join(room);
  const slow = { roomId: room, content: 'slow one', clientId: 's1' };
  const { message: first, data } = await ann.askOk('send-message', slow);
  assert.equal(data, 1, 'the handler counted');
  assertFailed(await ann.ask('send-message', { ...slow, clientId: 's2' }), 'rate-limited');
  for (let n = 0; n < 3; n += 1) {
    const again = await ann.askOk('send-message', slow);
    assert.deepEqual(again, { ok: true, message: first });
  }
  // From another connection, which has not joined the room.
  assert.deepEqual((await (await connect(strict, 'ann')).askOk('send-message', slow)).message, first);
  assert.equal((await ann.askOk('send-message', { roomId: room, content: 'next', clientId: 'n' })).data, 2, 'once for each');
  assert.deepEqual(ann.all('counted'), [1, 2]);
});

test('promise 4: a repetition right behind the first one waits for it', async () => {
  const room = freshRoom();
  const bob = await connect(strict, 'bob');
  await bob.join(room);
  const slow = { roomId: room, content: 'slow two', clientId: 'pipelined' };
  const answers = await Promise.all(Array.from({ length: 5 }, () => bob.ask('send-message', slow)));
  for (const answer of answers) assert.deepEqual(answer.message, answers[0].message);
  assert.equal((await bob.askOk('send-message', { roomId: room, content: 'next' })).data, 2);
});

test('promise 4: a repetition from another connection while the first is in flight has no effect', async () => {
  const room = freshRoom();
  const devices = [];
  for (let n = 0; n < 4; n += 1) devices.push(await connect(strict, 'cyd'));
  for (const device of devices) await device.join(room);
  const COUNT = 25;
  for (let n = 0; n < COUNT; n += 1) {
    // The handler writes different content each time it runs.
    const message = { roomId: room, content: `rude ${n}`, clientId: `raced ${n}` };
    const answers = await Promise.all(devices.map((device) => device.askOk('send-message', message)));
    for (const answer of answers) assert.deepEqual(answer.message, answers[0].message);
  }
  assertGapless(await devices[0].history(room), COUNT);
  const { data } = await devices[0].askOk('send-message', { roomId: room, content: 'last', clientId: 'last' });
  assert.equal(data, COUNT + 1, 'each counted once');
  const counted = devices.flatMap((device) => device.all('counted'));
  assert.equal(counted.length, COUNT + 1, 'and said once');
});

test('promise 4: slow mode does not refuse the repetition of an accepted message, from any connection', async () => {
  const room = freshRoom();
  for (let n = 0; n < 10; n += 1) {
    const devices = [await connect(strict, `dan ${n}`), await connect(strict, `dan ${n}`)];
    for (const device of devices) await device.join(room);
    const slow = { roomId: room, content: `slow ${n}`, clientId: 'only' };
    const answers = await Promise.all(devices.map((device) => device.ask('send-message', slow)));
    for (const answer of answers) assert.deepEqual(answer.message, answers[0].message, JSON.stringify(answers));
    for (const device of devices) device.close();
  }
});

test('promise 4: one event cannot post two messages under one `clientId`', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await connect(strict, 'eve');
  for (const each of [room, other]) await ann.join(each);
  assertFailed(await ann.ask('send-message', { roomId: room, content: `mirror to ${other}`, clientId: 'm' }), 'invalid');
  assert.deepEqual([await ann.history(room), await ann.history(other)], [[], []]);
  await ann.askOk('send-message', { roomId: room, content: `mirror to ${room}`, clientId: 'm' });
  assert.equal((await ann.history(room)).length, 1, 'the same one twice is one');
});
