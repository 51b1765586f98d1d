// Rooms: which members get which events, and what requires membership.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const server = await startServer();

test('posting, typing and reading history take membership', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const eve = await connect(server, 'eve');
  await ann.join(room);
  assertFailed(await eve.ask('send-message', { roomId: room, content: 'let me in' }), 'denied');
  assertFailed(await eve.ask('typing', room), 'denied');
  assertFailed(await eve.ask('history', { roomId: room }), 'denied');
  await ann.post(room, 'alone');
  await ann.next('new-message', (message) => message.roomId === room);
  assert.deepEqual(ann.messages(room).map((message) => message.content), ['alone']);
  assert.deepEqual(ann.all('user-typing'), []);
});

test('a denial does not tell whether the room exists', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const eve = await connect(server, 'eve');
  await ann.join(room);
  await ann.post(room, 'secret');
  const there = await eve.ask('history', { roomId: room });
  const nowhere = await eve.ask('history', { roomId: freshRoom('nowhere') });
  assertFailed(there, 'denied');
  assert.deepEqual(there, nowhere);
});

test('leaving a room ends delivery at once', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann');
  const bob = await connect(server, 'bob');
  for (const client of [ann, bob]) {
    await client.join(room);
    await client.join(other);
  }
  await bob.askOk('leave-room', room);
  await ann.post(room, 'unheard');
  await ann.askOk('typing', room);
  await ann.post(other, 'heard');
  await bob.next('new-message', (message) => message.content === 'heard');
  assert.deepEqual(bob.messages(room), []);
  assert.deepEqual(bob.all('user-typing'), []);
  assertFailed(await bob.ask('send-message', { roomId: room, content: 'still here?' }), 'denied');
});

test('joining twice is joining once', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  await ann.join(room);
  await ann.post(room, 'one');
  await ann.post(room, 'two');
  await ann.next('new-message', (message) => message.content === 'two');
  assert.equal(ann.messages(room).length, 2);
  await ann.askOk('leave-room', room);
  assertFailed(await ann.ask('typing', room), 'denied');
});

test('rooms do not hear each other', async () => {
  const names = ['a', 'A', 'a:b', 'a/b', 'a b', 'ä', '/', '*', '__proto__', '{"json":true}', `${'x'.repeat(128)}`];
  const ann = await connect(server, 'ann');
  for (const name of names) await ann.join(name);
  for (const name of names) await ann.post(name, `in ${name}`);
  await ann.until(() => ann.all('new-message').length === names.length, 'every message');
  for (const name of names) {
    assert.deepEqual(ann.messages(name).map((message) => [message.content, message.seq]), [[`in ${name}`, 1]]);
  }
});

test('the devices of one user are members each for itself', async () => {
  const room = freshRoom();
  const phone = await connect(server, 'ann');
  const laptop = await connect(server, 'ann');
  await phone.join(room);
  assertFailed(await laptop.ask('send-message', { roomId: room, content: 'not joined here' }), 'denied');
  await laptop.join(room);
  await laptop.post(room, 'from the laptop');
  await phone.next('new-message', (message) => message.content === 'from the laptop');
  await laptop.askOk('typing', room);
  await phone.next('user-typing', (each) => each.userId === 'ann');
  await laptop.askOk('leave-room', room);
  await phone.post(room, 'still here');
  await phone.next('new-message', (message) => message.content === 'still here');
});

test('join-room returns the members', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const bob = await connect(server, 'bob');
  await ann.join(room);
  const { data } = await bob.join(room);
  assert.deepEqual([...data.members].sort(), ['ann', 'bob']);
  assert.deepEqual([data.memberCount, data.membersComplete], [2, true]);
});

test('a room is notified of joins and leaves, once for each user', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const [phone, laptop] = [await connect(server, 'bob'), await connect(server, 'bob')];
  await phone.join(room);
  const joined = await ann.next('user-joined', (each) => each.roomId === room);
  assert.deepEqual(joined, { roomId: room, userId: 'bob', username: "bob's name" });
  await laptop.join(room);
  await phone.askOk('leave-room', room);
  await ann.post(room, 'a mark');
  await ann.next('new-message', (message) => message.roomId === room);
  assert.deepEqual(ann.all('user-left'), [], 'one of their devices is still there');
  await laptop.askOk('leave-room', room);
  assert.deepEqual(await ann.next('user-left'), joined);
  assert.equal(ann.all('user-joined').filter((each) => each.userId === 'bob').length, 1);
});

/** The error of an operation that would succeed after a join. */
function assertNotJoined(answer, code = 'denied') {
  assertFailed(answer, code);
  assert.equal(answer.error.retryable, true, JSON.stringify(answer));
  assert.match(answer.error.message, /^not joined yet: /);
}

test('operations of members are refused before the join as retryable', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const { id } = await ann.post(room, 'hello');
  const eve = await connect(server, 'eve');
  const tried = () => [
    eve.ask('send-message', { roomId: room, content: 'early', clientId: 'early' }),
    eve.ask('typing', room),
    eve.ask('history', { roomId: room }),
  ];
  for (const answer of await Promise.all(tried())) assertNotJoined(answer);
  // Outside all rooms no message can be marked, and the error does not reveal whether it exists.
  const [there, absent] = [await eve.ask('read-message', id), await eve.ask('read-message', 'x')];
  assertNotJoined(there, 'not-found');
  assert.deepEqual(there, absent);
  await eve.join(other);
  for (const answer of await Promise.all(tried())) assertNotJoined(answer);
  const elsewhere = await eve.ask('read-message', id);
  assertFailed(elsewhere, 'not-found');
  assert.equal(elsewhere.error.retryable, false);
  await eve.join(room);
  for (const answer of await Promise.all(tried())) assert.equal(answer.ok, true, JSON.stringify(answer));
  await eve.askOk('read-message', id);
  await eve.askOk('leave-room', room);
  for (const answer of (await Promise.all(tried())).slice(1)) assertNotJoined(answer);
});

test('a message typed offline is not lost: the library sends it before the join, and the refusal is retryable', async () => {
  const room = freshRoom();
  const watcher = await connect(server, 'watcher');
  await watcher.join(room);
  // A typical client: it emits when the user types, and joins in the `connect` handler.
  const socket = io(server.url, { transports: ['websocket'], forceNew: true, reconnectionDelay: 20, auth: { token: token('dan') } });
  owned({ close: () => socket.disconnect() });
  const joins = [];
  socket.on('connect', () => joins.push(socket.emitWithAck('join-room', room)));
  const ends = [];
  const send = async (content) => {
    const answers = [];
    for (;;) {
      const answer = await socket.emitWithAck('send-message', { roomId: room, content, clientId: content });
      answers.push(answer);
      if (answer.ok || !answer.error.retryable) return ends.push(answers);
      await joins.at(-1);
    }
  };
  const seen = (content) => watcher.next('new-message', (message) => message.content === content);
  const before = send('typed before the first connect');
  const typing = socket.emitWithAck('typing', room);
  await seen('typed before the first connect');
  await before;
  assertNotJoined(await typing);
  const gone = new Promise((resolve) => socket.on('disconnect', resolve));
  socket.io.engine.close();
  await gone;
  const offline = send('typed offline');
  await seen('typed offline');
  await offline;
  for (const [early, last, ...more] of ends) {
    assertNotJoined(early);
    assert.deepEqual([last.ok, more], [true, []], JSON.stringify(last));
  }
  assert.equal(watcher.messages(room).length, 2, 'each once');
});

test('a handler’s refusal for another reason is not reported as "not joined yet"', async () => {
  const server = await startServer({
    config: { handlers: { message: { component: guest('moderation'), settings: { words: 'darn' } } } },
  });
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  for (const content of ['darn', 'fine']) {
    const { error } = await ann.ask('send-message', { roomId: room, content });
    assert.deepEqual([error.code, error.retryable, /^not joined yet/.test(error.message)], ['denied', content === 'fine', content === 'fine']);
  }
  for (const event of [['typing', room], ['history', { roomId: room }]]) {
    const { error } = await ann.ask(...event);
    assert.match(error.message, /^not joined yet/, event[0]);
    assert.equal(error.retryable, true);
  }
});
