// The client package in rooms with lasting members: what is unread on two devices, and what moderators do.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { readersOf } from '../../examples/web-chat/client/index.js';
import { startChat } from './lib/chat.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { example } from './lib/examples.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const lasting = await startServer({ config: { handlers: { room: { settings: { members: 'lasting' } } } } });
const component = join(await example('team'), 'target/components/team.wasm');
const handlers = Object.fromEntries(['message', 'room', 'connect', 'event'].map((kind) => [kind, { component, name: 'team' }]));
const team = await startServer({ config: { grants: { moderate: true }, handlers } });

const counts = (chat, room) => {
  const { unread, readUpTo } = chat.client.getRoom(room);
  return `${unread} ${readUpTo}`;
};

test('what one device reads is read on the other, and others see who has read what', async () => {
  const room = freshRoom();
  const bob = await (await startChat(lasting, 'bob')).joined(room);
  const [phone, desk] = await Promise.all([1, 2].map(async () => (await startChat(lasting, 'ann')).joined(room)));
  for (const text of ['one', 'two', 'three']) bob.client.send(room, text);
  for (const chat of [phone, desk]) await chat.until(() => counts(chat, room) === '3 0', 'three unread messages');
  phone.client.markRead(room, 2);
  await desk.until(() => counts(desk, room) === '1 2', 'what the phone has read');
  await bob.until(() => readersOf(bob.client.getRoom(room), bob.message(room, 2)).join() === 'ann', 'the receipt');
  // Who becomes a member now has nothing unread, and is no reader of what was there before.
  await (await connect(lasting, 'cid')).join(room);
  const tablet = await (await startChat(lasting, 'bob')).joined(room);
  await tablet.until(() => tablet.client.getRoom(room).members?.length === 3, 'the members');
  assert.deepEqual(readersOf(tablet.client.getRoom(room), tablet.message(room, 2)), ['ann']);
  desk.client.send(room, 'four');
  for (const chat of [phone, desk]) await chat.until(() => counts(chat, room) === '0 4', 'that the writer has read all');
  await bob.until(() => counts(bob, room) === '1 3', 'one unread message');
  // A client that comes later knows it from the server.
  const late = await (await startChat(lasting, 'ann')).joined(room);
  await late.until(({ getSnapshot }) => getSnapshot().memberships && late.client.getRoom(room).members?.length === 3, 'the lists');
  assert.equal(counts(late, room), '0 4');
  assert.deepEqual([...phone.problems, ...desk.problems, ...bob.problems], []);
});

test('who writes has read what was there, and the server and the other members know', async () => {
  const room = freshRoom();
  const ann = await (await startChat(lasting, 'ann')).joined(room);
  const bob = await (await startChat(lasting, 'bob')).joined(room);
  for (const text of ['one', 'two']) bob.client.send(room, text);
  await ann.until(() => counts(ann, room) === '2 0', 'two unread messages');
  ann.client.send(room, 'three');
  await ann.until(() => counts(ann, room) === '0 3', 'nothing to be unread');
  await bob.until(() => readersOf(bob.client.getRoom(room), bob.message(room, 2)).join() === 'ann', 'the receipt');
  const { rooms } = await (await connect(lasting, 'ann')).askOk('unread');
  assert.equal(rooms.find(({ roomId }) => roomId === room).readUpTo, 2, 'one’s own message is not a message to read');
});

test('a room is unread while it is not open, and the membership ends with leaving', async () => {
  const room = freshRoom();
  const ann = await (await startChat(lasting, 'ann')).joined(room);
  const bob = await (await startChat(lasting, 'bob')).joined(room);
  ann.close();
  bob.client.send(room, 'meanwhile');
  await bob.shows(room, ['meanwhile']);
  const again = await startChat(lasting, 'ann');
  const membership = () => again.client.getSnapshot().memberships?.find(({ roomId }) => roomId === room);
  await again.until(membership, 'the membership');
  assert.equal(membership().unread, 1);
  await again.joined(room);
  again.client.leave(room);
  await again.until(() => membership() === undefined, 'the end of the membership');
  await bob.until((client) => client.getRoom(room).members.length === 1, 'one member less');
});

test('mentions are counted, a removed user is told, and one that a moderator disconnects stays away', async () => {
  const owner = await connect(team, 'alice');
  const { room: { roomId: room } } = await owner.askOk('create-room', 'Lunch');
  await owner.askOk('invite', room, 'carol');
  const carol = await (await startChat(team, 'carol')).joined(room);
  await carol.until((client) => client.getSnapshot().memberships && client.getRoom(room).members, 'the lists');
  await owner.post(room, 'soup, @carol?');
  await carol.until((client) => client.getRoom(room).mentions === 1, 'the mention');
  await carol.until((client) => client.getSnapshot().people.some(({ userId }) => userId === 'alice'), 'who is here');
  carol.client.markRead(room, carol.client.getRoom(room).lastSeq);
  await carol.until((client) => client.getRoom(room).mentions === 0, 'that it was read');
  await owner.askOk('remove', room, 'carol');
  const { error } = await carol.until((client) => client.getRoom(room).state === 'kicked' && client.getRoom(room), 'the kick');
  assert.deepEqual([error.code, error.message], ['denied', 'you were removed from the room']);
  carol.client.open(room);
  await carol.until((client) => client.getRoom(room).state === 'refused', 'the refusal');
  const admin = await connect(team, 'root', { auth: { token: token('root', { role: 'admin' }) } });
  await admin.askOk('block', 'carol', 3600);
  await carol.until(({ getSnapshot }) => getSnapshot().state === 'closed', 'the end of the connection');
  assert.equal(carol.client.getSnapshot().error.message, 'you are blocked');
  carol.client.connect();
  assert.equal(carol.client.getSnapshot().error, null);
  const refused = await carol.until(({ getSnapshot }) => getSnapshot().error, 'the refusal');
  assert.deepEqual([refused.code, refused.message], ['denied', 'you are blocked']);
});
