// The client package over a restart of its page: what the storage keeps of rooms whose data were replaced meanwhile, and
// read receipts that were not sent.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { readersOf } from '../../examples/web-chat/client/index.js';
import { memoryStorage, startChat } from './lib/chat.mjs';
import { freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { run, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer();

/** What the storage of a client has under a key. */
const stored = (storage, user, key) => JSON.parse(storage.getItem(`parlance.${user}.${key}`));

/** Two users in a room, in which the first one has posted these messages. */
async function talk(at, room, texts, storage) {
  const ann = await (await startChat(at, 'ann')).joined(room);
  const bob = await (await startChat(at, 'bob', { storage })).joined(room);
  for (const text of texts) ann.client.send(room, text);
  for (const chat of [ann, bob]) await chat.shows(room, texts);
  return [ann, bob];
}

const counts = ({ client }, room) => [client.getRoom(room).unread, client.getRoom(room).readUpTo];

/** The users who have read a message, as its room shows it; none while the message itself is still to come. */
function readers(chat, room, seq) {
  const message = chat.message(room, seq);
  return message ? readersOf(chat.client.getRoom(room), message) : [];
}

test('after a restored backup and a restart of the page, rooms begin anew', async () => {
  const own = await startServer();
  const command = (...args) => run(args, { cwd: own.dir, env: { DATABASE_URL: `sqlite:${join(own.dir, 'chat.db')}` } });
  const [room, empty] = [freshRoom(), freshRoom()];
  const storage = memoryStorage();
  const [ann, bob] = await talk(own, room, ['before the backup'], storage);
  assert.equal((await command('backup', join(own.dir, 'copy.db'))).code, 0);
  for (const text of ['lost', 'lost too']) ann.client.send(room, text);
  await bob.shows(room, ['before the backup', 'lost', 'lost too']);
  bob.client.markRead(room, 3);
  await ann.until(() => readers(ann, room, 3).join() === 'bob', 'the receipt');
  // In this room bob has seen nothing, but knows where it began.
  await ann.joined(empty);
  for (const text of ['lost', 'lost too']) ann.client.send(empty, text);
  await ann.shows(empty, ['lost', 'lost too']);
  await bob.joined(empty);
  const { epoch } = await bob.client.socket.emitWithAck('join-room', room);
  assert.deepEqual([stored(storage, 'bob', 'seen'), stored(storage, 'bob', 'begun')], [[[room, 3, epoch]], [[room, 0, epoch], [empty, 2, epoch]]]);
  for (const chat of [ann, bob]) chat.close();
  await own.stop();
  assert.equal((await command('restore', join(own.dir, 'copy.db'))).code, 0);
  await own.start();

  const [writer, again] = [await startChat(own, 'ann'), await startChat(own, 'bob', { storage })];
  for (const chat of [writer, again]) for (const id of [room, empty]) await chat.joined(id);
  assert.deepEqual([counts(again, room), counts(again, empty)], [[0, 1], [0, 0]], 'the rooms begin anew');
  for (const id of [room, empty]) writer.client.send(id, 'after the restore');
  await again.until(() => again.client.getUnread() === 2, 'one unread message in each room');
  again.client.markRead(room, 2);
  await writer.until(() => readers(writer, room, 2).join() === 'bob', 'the receipt of a number that was seen before');
  assert.deepEqual([counts(again, room), again.problems], [[0, 2], []]);
  const [[, seq, other]] = stored(storage, 'bob', 'seen');
  assert.ok(seq === 2 && typeof other === 'string' && other !== epoch, 'the storage has the other epoch');
});

test('a restart of the page keeps what was seen, also in the format of releases without epochs', async () => {
  const room = freshRoom();
  const storage = memoryStorage();
  const [, bob] = await talk(server, room, ['one', 'two', 'three'], storage);
  bob.client.markRead(room, 2);
  bob.close();
  for (const key of ['seen', 'begun']) storage.setItem(`parlance.bob.${key}`, JSON.stringify(stored(storage, 'bob', key).map((entry) => entry.slice(0, 2))));
  const again = await (await startChat(server, 'bob', { storage })).joined(room);
  assert.deepEqual(counts(again, room), [1, 2]);
  assert.equal(typeof stored(storage, 'bob', 'begun')[0][2], 'string', 'the epoch is known from now on');
});

test('a receipt of a message that was read without a connection is sent once, after a restart of the page', async () => {
  const room = freshRoom();
  const storage = memoryStorage();
  const [ann, bob] = await talk(server, room, ['one', 'two', 'three'], storage);
  bob.client.socket.disconnect();
  for (const seq of [1, 2]) bob.client.markRead(room, seq);
  assert.deepEqual(stored(storage, 'bob', 'receipts'), [[room, ann.message(room, 2).id]], 'the newest one only');
  bob.close();
  const again = await (await startChat(server, 'bob', { storage })).joined(room);
  await ann.until(() => readers(ann, room, 2).join() === 'bob', 'the receipt');
  assert.deepEqual(readers(ann, room, 3), []);
  await eventually(() => stored(storage, 'bob', 'receipts').length === 0, 'the acknowledgement');
  assert.deepEqual(again.problems, []);
  again.close();
  const last = await startChat(server, 'bob', { storage });
  const events = [];
  last.client.socket.onAnyOutgoing((event) => events.push(event));
  await last.joined(room);
  last.client.send(room, 'four');
  await last.shows(room, ['one', 'two', 'three', 'four']);
  assert.deepEqual(events.filter((event) => event === 'read-message' || event === 'send-message'), ['send-message', 'read-message'], 'the first receipt is that of what was read by writing');
});

test('a receipt is not sent again once the server has refused it for good, or the user has left its room', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const storage = memoryStorage();
  const [ann, bob] = await talk(server, room, ['one'], storage);
  for (const chat of [ann, bob]) await chat.joined(other);
  ann.client.send(other, 'one');
  await bob.shows(other, ['one']);
  bob.client.socket.disconnect();
  for (const id of [room, other]) bob.client.markRead(id, 1);
  assert.deepEqual(stored(storage, 'bob', 'receipts').map(([id]) => id), [room, other]);
  bob.client.leave(other);
  bob.close();
  assert.deepEqual(stored(storage, 'bob', 'receipts').map(([id]) => id), [room]);
  storage.setItem('parlance.bob.receipts', JSON.stringify([[room, '00000000-0000-4000-8000-000000000000']]));
  const again = await (await startChat(server, 'bob', { storage })).joined(room);
  const problem = await eventually(() => again.problems[0], 'the refusal');
  assert.deepEqual([problem.event, problem.roomId, problem.retryable], ['read-message', room, false]);
  await eventually(() => stored(storage, 'bob', 'receipts').length === 0, 'the end of the receipt');
  assert.deepEqual(readers(ann, other, 1), []);
});
