// The client package, @parlance/client, with a real server: what it does over lost connections, restarts, refusals.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Chat, memoryStorage, startChat } from './lib/chat.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { run, startServer } from './lib/server.mjs';
import { seconds, token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';
import { readersOf } from '../../examples/web-chat/client/index.js';

const server = await startServer();

test('two users chat, and snapshots do not change under their readers', async () => {
  const room = freshRoom();
  const [ann, bob] = [await (await startChat(server, 'ann')).joined(room), await (await startChat(server, 'bob')).joined(room)];
  const before = ann.client.getSnapshot();
  assert.equal(ann.client.getSnapshot(), before, 'the same object while nothing changes');
  const heard = [];
  bob.client.on('message', ({ content }) => heard.push(content));
  ann.client.send(room, 'hello', { metadata: { mood: 'good' } });
  await bob.shows(room, ['hello']);
  await ann.shows(room, ['hello']);
  bob.client.send(room, 'hello yourself');
  for (const chat of [ann, bob]) await chat.shows(room, ['hello', 'hello yourself']);
  assert.deepEqual(heard, ['hello', 'hello yourself']);
  assert.deepEqual(before.rooms[0].messages, []);
  const { messages } = ann.client.getRoom(room);
  assert.deepEqual([messages[0].metadata, messages[0].userId, messages[0].username], [{ mood: 'good' }, 'ann', "ann's name"]);
  for (const object of [ann.client.getSnapshot(), messages, messages[0], messages[0].marks]) assert.ok(Object.isFrozen(object));
  assert.equal(ann.client.nameOf('bob'), "bob's name");
  assert.deepEqual(ann.problems, []);
});

test('a server without counts leaves the client working: it counts for itself, and others see who has read', async () => {
  const room = freshRoom();
  const storage = memoryStorage();
  const ann = await (await startChat(server, 'ann')).joined(room);
  const bob = await (await startChat(server, 'bob', { storage })).joined(room);
  for (const text of ['one', 'two', 'three']) ann.client.send(room, text);
  await bob.until((client) => client.getRoom(room).unread === 3, 'three unread messages');
  assert.equal(bob.client.getUnread(), 3);
  bob.client.markRead(room, 2);
  assert.deepEqual([bob.client.getRoom(room).unread, bob.client.getRoom(room).readUpTo], [1, 2]);
  await ann.until((client) => client.getRoom(room).reads.length === 1, 'the receipt');
  const readers = [1, 2, 3].map((seq) => readersOf(ann.client.getRoom(room), ann.message(room, seq)));
  assert.deepEqual(readers, [['bob'], ['bob'], []]);
  bob.close();
  const again = await (await startChat(server, 'bob', { storage })).joined(room);
  assert.equal(again.client.getRoom(room).unread, 1, 'what was seen is kept');
  assert.deepEqual([...ann.problems, ...again.problems], []);
});

test('what was written without a connection is sent once, in its order, over a reconnect', async () => {
  const room = freshRoom();
  const [ann, bob] = [await (await startChat(server, 'ann')).joined(room), await (await startChat(server, 'bob')).joined(room)];
  ann.client.send(room, 'before');
  for (const chat of [ann, bob]) await chat.shows(room, ['before']);
  ann.client.socket.io.engine.close();
  await ann.until(({ getSnapshot }) => getSnapshot().state === 'reconnecting', 'the loss of the connection');
  assert.equal(ann.client.getRoom(room).state, 'joining');
  for (const text of ['one', 'two', 'three']) ann.client.send(room, text);
  assert.deepEqual(ann.client.getRoom(room).outgoing.map(({ content, state }) => [content, state]), [['one', 'waiting'], ['two', 'waiting'], ['three', 'waiting']]);
  bob.client.send(room, 'meanwhile');
  await ann.until((client) => client.getRoom(room).messages.length === 5 && client.getRoom(room).outgoing.length === 0, 'all five');
  await bob.shows(room, ann.contents(room));
  assert.deepEqual(ann.contents(room).filter((text) => text !== 'meanwhile'), ['before', 'one', 'two', 'three']);
});

test('an acknowledgement that is lost: the message is posted once, from the storage of a client that has died too', async () => {
  const room = freshRoom();
  const storage = memoryStorage();
  const ann = await (await startChat(server, 'ann', { storage })).joined(room);
  const bob = await (await startChat(server, 'bob')).joined(room);
  // The client dies when its message has arrived, before it learns that.
  const { socket } = ann.client;
  const emit = socket.io.engine.write.bind(socket.io.engine);
  socket.io.engine.write = (...args) => {
    emit(...args);
    if (String(args[0]).includes('once')) socket.io.engine.removeAllListeners('data');
  };
  ann.client.send(room, 'once');
  await bob.shows(room, ['once']);
  assert.equal(JSON.parse([...storage.values].find(([key]) => key.endsWith('outbox'))[1]).length, 1);
  ann.close();
  const again = await (await startChat(server, 'ann', { storage })).joined(room);
  again.client.send(room, 'next');
  for (const chat of [again, bob]) await chat.shows(room, ['once', 'next']);
  assert.deepEqual(JSON.parse([...storage.values].find(([key]) => key.endsWith('outbox'))[1]), []);
});

test('kill -9 of the server while clients write: each message is there once, in its order', async () => {
  const own = await startServer();
  const room = freshRoom();
  const chats = await Promise.all(['ann', 'bob'].map(async (user) => (await startChat(own, user)).joined(room)));
  const texts = (user) => Array.from({ length: 40 }, (_, n) => `${user} ${n}`);
  for (const { user, client } of chats) for (const text of texts(user)) client.send(room, text);
  await chats[0].until((client) => client.getRoom(room).messages.length >= 10, 'some messages');
  await own.kill();
  await own.start();
  for (const chat of chats) {
    await chat.until((client) => client.getRoom(room).messages.length === 80 && client.getRoom(room).outgoing.length === 0, 'all messages');
    for (const { user } of chats) assert.deepEqual(chat.contents(room).filter((text) => text.startsWith(user)), texts(user));
    assert.deepEqual(chat.client.getRoom(room).messages.map(({ seq }) => seq), Array.from({ length: 80 }, (_, n) => n + 1));
  }
  assert.deepEqual(chats[0].client.getRoom(room).messages, chats[1].client.getRoom(room).messages);
});

test('edits, deletes and marks are seen by a client that was away, as by one that never left', async () => {
  const room = freshRoom();
  const [ann, bob, cid] = await Promise.all(['ann', 'bob', 'cid'].map(async (user) => (await startChat(server, user)).joined(room)));
  for (const text of ['helo', 'to be deleted', 'liked']) ann.client.send(room, text);
  for (const chat of [bob, cid]) await chat.shows(room, ['helo', 'to be deleted', 'liked']);
  cid.client.socket.disconnect();
  const [first, second, third] = bob.client.getRoom(room).messages;
  assert.deepEqual(await ann.client.edit(first.id, 'hello'), { ok: true });
  assert.deepEqual(await ann.client.delete(second.id), { ok: true });
  assert.deepEqual(await bob.client.mark(third.id, 'reaction', '👍'), { ok: true });
  const refusal = await bob.client.edit(first.id, 'mine');
  assert.deepEqual([refusal.ok, refusal.error.code, bob.problems.at(-1).event], [false, 'denied', 'edit-message']);
  await bob.until((client) => client.getRoom(room).messages[2].marks.length === 1, 'the mark');
  cid.client.reconnect();
  await cid.until((client) => client.getRoom(room).messages[2].marks.length === 1, 'the mark');
  assert.deepEqual(cid.client.getRoom(room).messages, bob.client.getRoom(room).messages);
  assert.deepEqual(cid.contents(room), ['hello', '', 'liked']);
  assert.deepEqual(cid.message(room, 3).marks, [{ kind: 'reaction', value: '👍', count: 1, userIds: ['bob'] }]);
  assert.ok(cid.message(room, 2).deletedAt > 0 && cid.message(room, 1).editedAt > 0);
});

test('more than a page was missed, of messages and of changes: all of it comes, and no change is lost meanwhile', async () => {
  const own = await startServer({ config: { limits: { history_page: 20, history_page_max: 20, events_per_second: 100_000, event_burst: 100_000 } } });
  const room = freshRoom();
  const ann = await connect(own, 'ann');
  await ann.join(room);
  const ids = [];
  for (let n = 1; n <= 60; n += 1) ids.push((await ann.post(room, `text ${n}`)).id);
  const [bob, stays] = [await (await startChat(own, 'bob')).joined(room), await (await startChat(own, 'cid')).joined(room)];
  for (const chat of [bob, stays]) {
    while (!chat.client.getRoom(room).atStart) await chat.client.loadOlder(room);
    assert.equal(chat.contents(room).length, 60);
  }
  bob.client.socket.disconnect();
  for (const id of ids) await ann.askOk('edit-message', { messageId: id, content: 'edited' });
  for (let n = 61; n <= 130; n += 1) await ann.post(room, `text ${n}`);
  // Changes go on while pages are read.
  const busy = (async () => {
    for (const id of ids) await ann.askOk('mark-message', { messageId: id, kind: 'reaction', value: '+1' });
  })();
  bob.client.reconnect();
  await busy;
  const whole = ({ messages, gaps }) => messages.length === 130 && gaps.length === 0 && messages[59].marks.length === 1;
  for (const chat of [bob, stays]) await chat.until((client) => whole(client.getRoom(room)), 'all messages and marks');
  assert.deepEqual(bob.client.getRoom(room).messages, stays.client.getRoom(room).messages);
});

test('after a restored backup, rooms begin anew', async () => {
  const own = await startServer();
  const database = join(own.dir, 'chat.db');
  const command = (...args) => run(args, { cwd: own.dir, env: { DATABASE_URL: `sqlite:${database}` } });
  const room = freshRoom();
  const [ann, bob] = await Promise.all(['ann', 'bob'].map(async (user) => (await startChat(own, user)).joined(room)));
  ann.client.send(room, 'before the backup');
  for (const chat of [ann, bob]) await chat.shows(room, ['before the backup']);
  const { id } = ann.message(room, 1);
  assert.equal((await command('backup', join(own.dir, 'copy.db'))).code, 0);
  ann.client.send(room, 'lost');
  await ann.client.edit(id, 'lost too');
  await bob.shows(room, ['lost too', 'lost']);
  ann.close();
  await own.stop();
  assert.equal((await command('restore', join(own.dir, 'copy.db'))).code, 0);
  await own.start();
  await bob.shows(room, ['before the backup']);
  const again = await (await startChat(own, 'ann')).joined(room);
  again.client.send(room, 'another second one');
  for (const chat of [again, bob]) await chat.shows(room, ['before the backup', 'another second one']);
  assert.deepEqual(bob.client.getRoom(room).messages, again.client.getRoom(room).messages);
});

test('a token is renewed before it ends, on the open connection, and another one after a failure', async () => {
  const own = await startServer({ config: { auth: { expiring_notice: '58s' } } });
  const reasons = [];
  const ann = owned(new Chat(own, 'ann', {
    getToken: ({ reason }) => {
      reasons.push(reason);
      // The first token is about to expire: the server says so two seconds after the connection.
      return token('ann', { exp: seconds(reasons.length === 1 ? 60 : 3600) });
    },
  }));
  ann.client.connect();
  await ann.live();
  const { id } = ann.client.socket;
  await eventually(() => reasons.length === 2, 'the renewal');
  // Its answer comes before this one.
  await ann.joined(freshRoom());
  assert.deepEqual([reasons, ann.client.socket.id, ann.problems], [['connect', 'refresh'], id, []]);

  let fails = true;
  const bob = owned(new Chat(own, 'bob', {
    getToken: () => {
      if (fails) throw new Error('the back end is down');
      return { token: token('bob'), expiresAt: Date.now() + 3_600_000 };
    },
  }));
  bob.client.connect();
  const error = await bob.until(({ getSnapshot }) => getSnapshot().error, 'a refusal');
  assert.match(error.message, /^Authentication error/);
  assert.deepEqual(bob.problems[0], { event: 'token', code: 'unavailable', message: 'the back end is down', retryable: true, retryAfterMs: undefined, roomId: undefined, until: undefined });
  fails = false;
  await bob.live();
  assert.equal(bob.client.getSnapshot().error, null);
});

test('typing shows while someone types, and ends with the message, on request, and by itself', async () => {
  const own = await startServer();
  const room = freshRoom();
  const ann = await (await startChat(own, 'ann', { typingLasts: 1500 })).joined(room);
  const bob = await (await startChat(own, 'bob')).joined(room);
  const typing = (users, what) => ann.until((client) => JSON.stringify(client.getRoom(room).typing) === JSON.stringify(users), what);
  bob.client.typing(room);
  await typing(['bob'], 'typing');
  bob.client.send(room, 'done');
  await typing([], 'the end of the typing with the message');
  bob.client.typing(room);
  await typing(['bob'], 'typing again');
  bob.client.typing(room, false);
  await typing([], 'the end on request');
  // This one never says that it has ended.
  const raw = await connect(own, 'cid');
  await raw.join(room);
  await raw.askOk('typing', room);
  await typing(['cid'], 'typing of one that goes on');
  await typing([], 'the end by itself');
});

test('a refused message fails with its reason, blocks nothing, and can be taken back or tried again', async () => {
  const room = freshRoom();
  const ann = await (await startChat(server, 'ann')).joined(room);
  const long = ann.client.send(room, 'x'.repeat(16 * 1024 + 1));
  const larger = ann.client.send(room, 'x'.repeat(200_000));
  ann.client.send(room, 'passes');
  await ann.until((client) => client.getRoom(room).messages.length === 1, 'the message that passes');
  const states = ann.client.getRoom(room).outgoing.map(({ state, error }) => [state, error.code, error.retryable]);
  assert.deepEqual(states, [['failed', 'too-large', false], ['failed', 'too-large', false]]);
  assert.deepEqual(ann.problems.map(({ event, code, roomId }) => [event, code, roomId]), [['send-message', 'too-large', room], ['send-message', 'too-large', room]]);
  assert.equal(ann.client.discard(larger).content.length, 200_000);
  ann.client.retry(long);
  await ann.until(() => ann.problems.length === 3, 'another refusal');
  ann.client.discard(long);
  await ann.shows(room, ['passes']);
});

test('a server that asks to wait is obeyed', async () => {
  const own = await startServer({ config: { limits: { events_per_second: 1, event_burst: 4 } } });
  const room = freshRoom();
  const [ann, bob] = [await (await startChat(own, 'ann')).joined(room), await (await startChat(own, 'bob')).joined(room)];
  const texts = Array.from({ length: 10 }, (_, n) => `text ${n}`);
  for (const text of texts) ann.client.send(room, text);
  const waited = await ann.until((client) => client.getRoom(room).outgoing.find(({ error }) => error?.code === 'rate-limited'), 'a refusal for a while');
  assert.ok(waited.error.retryAfterMs > 0 && waited.state === 'waiting');
  await bob.shows(room, texts);
});

test('a message that a listener writes when the last one has just gone is sent', async () => {
  const room = freshRoom();
  const [ann, bob] = [await (await startChat(server, 'ann')).joined(room), await (await startChat(server, 'bob')).joined(room)];
  const texts = Array.from({ length: 20 }, (_, n) => `text ${n}`);
  const left = texts.slice(1);
  ann.client.subscribe(() => {
    if (left.length > 0 && ann.client.getRoom(room).outgoing.length === 0) ann.client.send(room, left.shift());
  });
  ann.client.send(room, texts[0]);
  await bob.shows(room, texts);
});

test('a room is left, also while it is being joined and without a connection', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const bob = await connect(server, 'bob');
  await bob.join(room);
  const ann = await (await startChat(server, 'ann')).joined(other);
  ann.client.open(room);
  ann.client.leave(room);
  await bob.next('user-left', ({ userId }) => userId === 'ann');
  const told = [];
  ann.client.socket.onAnyOutgoing((event, argument) => told.push([event, argument]));
  ann.client.socket.io.engine.close();
  await ann.until(({ getSnapshot }) => getSnapshot().state === 'reconnecting', 'the loss of the connection');
  ann.client.leave(other);
  await ann.live();
  assert.deepEqual(told.filter(([event]) => event === 'leave-room' || event === 'join-room'), [['leave-room', other]]);
});

test('a refused connection says why, and is tried again when the server has said', async () => {
  const own = await startServer({ config: { quota: { connections_per_user: 1 } } });
  const first = await startChat(own, 'ann');
  const second = owned(new Chat(own, 'ann'));
  second.client.connect();
  const error = await second.until(({ getSnapshot }) => getSnapshot().error, 'the refusal');
  assert.deepEqual([error.code, error.retryable, error.retryAfterMs > 0], ['quota-exceeded', true, true]);
  assert.doesNotMatch(error.message, /retryAfterMs/);
  first.close();
  await second.live();
});

test('a refused room says why, and the others go on', async () => {
  const ann = await startChat(server, 'ann');
  const name = 'ü'.repeat(128);
  ann.client.open(name);
  const room = await ann.until((client) => client.getRoom(name).state === 'refused' && client.getRoom(name), 'the refusal');
  assert.equal(room.error.code, 'invalid');
  ann.client.leave(name);
  assert.equal(ann.client.getRoom(name), undefined);
  await ann.joined(freshRoom());
});

test('while the server refuses the join of one room for now, the client is live and its other room works', async () => {
  // For `unread` and the join of the first room.
  const own = await startServer({ config: { limits: { events_per_second: 1, event_burst: 2 } } });
  const [first, second] = [freshRoom(), freshRoom()];
  const bob = await (await startChat(own, 'bob')).joined(first);
  const ann = owned(new Chat(own, 'ann'));
  for (const room of [first, second]) ann.client.open(room);
  const begun = Date.now();
  ann.client.connect();
  await ann.live();
  const [joined, waiting] = ann.client.getSnapshot().rooms;
  assert.deepEqual([joined.state, joined.retryAt, waiting.state, waiting.error?.code], ['joined', null, 'joining', 'rate-limited']);
  assert.ok(waiting.retryAt > begun && waiting.error.retryAfterMs > 0);
  assert.ok(ann.problems.some(({ event, code, roomId }) => event === 'join-room' && code === 'rate-limited' && roomId === second));
  bob.client.send(first, 'hello');
  await ann.shows(first, ['hello']);
  await ann.until((client) => client.getRoom(second).state === 'joined', 'the other room');
  assert.deepEqual([ann.client.getRoom(second).error, ann.client.getRoom(second).retryAt], [null, null]);
});

test('two devices of a user show the same, and messages of one are nobody’s outgoing ones on the other', async () => {
  const room = freshRoom();
  const [phone, desk] = await Promise.all([1, 2].map(async () => (await startChat(server, 'ann')).joined(room)));
  phone.client.send(room, 'from the phone');
  await desk.shows(room, ['from the phone']);
  desk.client.send(room, 'from the desk');
  for (const chat of [phone, desk]) await chat.shows(room, ['from the phone', 'from the desk']);
  assert.deepEqual(phone.client.getRoom(room).messages, desk.client.getRoom(room).messages);
  assert.equal(desk.client.getRoom(room).unread, 0);
});

test('presence comes and goes, and is asked for after a reconnect', async () => {
  const room = freshRoom();
  const ann = await (await startChat(server, 'ann')).joined(room);
  const bob = await (await startChat(server, 'bob')).joined(room);
  const status = (user) => ann.client.getSnapshot().people.find(({ userId }) => userId === user)?.status;
  await ann.until(() => status('bob') === 'online', 'bob to be online');
  bob.client.setPresence('away');
  await ann.until(() => status('bob') === 'away', 'bob to be away');
  ann.client.reconnect();
  await ann.live();
  await ann.until(() => status('bob') === 'away', 'bob to be away still');
  // Said without a connection, and within the server's grace.
  bob.client.socket.disconnect();
  bob.client.setPresence('online');
  bob.client.reconnect();
  await ann.until(() => status('bob') === 'online', 'bob to be back');
  // No event announces that users who share no room any more appear offline.
  bob.client.leave(room);
  await ann.until(() => status('bob') === undefined, 'bob not to be seen from outside');
  await bob.joined(room);
  await ann.until(() => status('bob') === 'online', 'bob to be in the room again');
  bob.close();
  await ann.until(() => status('bob') === undefined, 'bob to be gone');
});
