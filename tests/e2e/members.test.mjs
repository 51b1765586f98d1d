// Lasting members of rooms, with the shipped handlers: what is unread, on all devices, over restarts and page by page.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const lasting = { handlers: { room: { settings: { members: 'lasting' } } } };
const server = await startServer({ config: lasting });

let users = 0;
/** A user whom no other test has. */
function fresh(name) {
  users += 1;
  return `${name}-${users}`;
}
const roomOf = async (client, room) => (await client.askOk('unread')).rooms.find(({ roomId }) => roomId === room);

test('what is unread is counted for who is away, and read on one device is read on all', async () => {
  const room = freshRoom();
  const [ann, bob] = [fresh('ann'), fresh('bob')];
  const [phone, poster] = [await connect(server, ann), await connect(server, bob)];
  await phone.join(room);
  await poster.join(room);
  const expected = { roomId: room, role: 'member', lastSeq: 0, readUpTo: 0, unread: 0, mentions: 0 };
  assert.deepEqual(await phone.next('unread-changed'), expected);
  assert.deepEqual(await phone.next('member-added', ({ userId }) => userId === bob), { roomId: room, userId: bob, role: 'member' });
  phone.close();
  const ids = [];
  for (let n = 1; n <= 3; n += 1) ids.push((await poster.post(room, `${n}`)).id);
  const [again, tablet] = [await connect(server, ann), await connect(server, ann)];
  assert.deepEqual(await again.askOk('unread'), {
    ok: true, rooms: [{ ...expected, lastSeq: 3, unread: 3 }], complete: true,
  });
  await again.join(room, { after: 0 });
  await again.askOk('read-message', ids[1]);
  const changed = { ...expected, lastSeq: 3, readUpTo: 2, unread: 1 };
  for (const device of [again, tablet]) assert.deepEqual(await device.next('unread-changed', ({ readUpTo }) => readUpTo === 2), changed);
  await again.askOk('read-message', ids[0]);
  assert.deepEqual(await roomOf(tablet, room), changed, 'nobody reads backwards');
  const { members, complete } = await again.askOk('room-members', { roomId: room });
  assert.ok(complete);
  assert.deepEqual(members.map(({ joinedAt: _, ...member }) => member), [
    { userId: ann, role: 'member', readUpTo: 2 }, { userId: bob, role: 'member', readUpTo: 0 },
  ]);
});

test('membership lasts over a kill -9, and ends with leave-room', async () => {
  const own = await startServer({ config: lasting });
  const room = freshRoom();
  let ann = await connect(own, 'ann');
  await ann.join(room);
  const { id } = await ann.post(room, 'hello');
  await ann.askOk('read-message', id);
  await own.kill();
  await own.start();
  ann = await connect(own, 'ann');
  assert.deepEqual((await ann.askOk('unread')).rooms, [{ roomId: room, role: 'member', lastSeq: 1, readUpTo: 1, unread: 0, mentions: 0 }]);
  await ann.join(room);
  await ann.askOk('leave-room', room);
  assert.equal((await ann.next('unread-changed', ({ role }) => role === null)).roomId, room);
  assert.deepEqual((await ann.askOk('unread')).rooms, []);
});

test('rooms and members come page by page, and what is malformed is refused', async () => {
  const [ann, bob] = [await connect(server, fresh('ann')), await connect(server, fresh('bob'))];
  const rooms = Array.from({ length: 7 }, (_, n) => `${freshRoom()}-${n}`);
  for (const room of rooms) await ann.join(room);
  for (const room of rooms) await bob.join(room);
  const found = [];
  for (let after; ;) {
    const page = await ann.askOk('unread', { limit: 3, ...(after ? { after } : {}) });
    found.push(...page.rooms.map(({ roomId }) => roomId));
    assert.ok(page.rooms.length <= 3);
    if (page.complete) break;
    after = page.rooms.at(-1).roomId;
  }
  assert.deepEqual(found, rooms.toSorted());
  const first = await ann.askOk('room-members', { roomId: rooms[0], limit: 1 });
  assert.deepEqual([first.members.length, first.complete], [1, false]);
  const rest = await ann.askOk('room-members', { roomId: rooms[0], after: first.members[0].userId });
  assert.deepEqual([rest.members.length, rest.complete], [1, true]);
  assertFailed(await ann.ask('room-members', { roomId: freshRoom() }), 'denied');
  assertFailed(await ann.ask('room-members', {}), 'invalid');
  assertFailed(await ann.ask('unread', { after: '' }), 'invalid');
  assert.deepEqual((await ann.askOk('unread', { limit: 0, more: 1 })).unknown, ['more']);
});

test('five hundred rooms come in one answer', async () => {
  const ann = fresh('ann');
  const poster = await connect(server, fresh('bob'));
  const rooms = Array.from({ length: 500 }, (_, n) => `many-${ann}-${String(n).padStart(3, '0')}`);
  // A connection may be in 256 rooms.
  for (let from = 0; from < rooms.length; from += 250) {
    const client = await connect(server, ann);
    await Promise.all(rooms.slice(from, from + 250).map((room) => client.join(room)));
    client.close();
  }
  await poster.join(rooms[77]);
  await poster.post(rooms[77], 'new');
  const client = await connect(server, ann);
  const answer = await client.askOk('unread');
  assert.deepEqual(answer.rooms.map(({ roomId }) => roomId), rooms);
  assert.deepEqual(answer.rooms.filter(({ unread }) => unread > 0).map(({ roomId }) => roomId), [rooms[77]]);
  assert.ok(answer.complete);
});
