// The example `team`, on one node and on two: members, mentions, roles, mutes, kicks, bans, blocks, and what a bot says.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { assertFailed } from './lib/assert.mjs';
import { Client, connect } from './lib/client.mjs';
import { example } from './lib/examples.mjs';
import { startFleet } from './lib/fleet.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const component = join(await example('team'), 'target/components/team.wasm');
const handlers = (settings = {}) => Object.fromEntries(
  ['message', 'room', 'connect', 'event'].map((kind) => [kind, { component, name: 'team', settings }]),
);
const config = { grants: { moderate: true }, handlers: handlers() };
const single = await startServer({ config });
const { nodes: [first, second] } = await startFleet({ config });

let users = 0;
/** A number that no other test has. */
function another() {
  users += 1;
  return users;
}

/** A room of alice's with bob and carol as members; carol has a connection on each node, and all are in the room. */
async function scene([one, two]) {
  const n = another();
  const [alice, bob, carol] = ['alice', 'bob', 'carol'].map((name) => `${name}-${n}`);
  const owner = await connect(one, alice);
  const { room: { roomId: room } } = await owner.askOk('create-room', 'Lunch');
  for (const user of [bob, carol]) await owner.askOk('invite', room, user);
  const guest = await connect(two, bob);
  const devices = [await connect(one, carol), await connect(two, carol)];
  for (const client of [guest, ...devices]) await client.join(room);
  return { room, owner, guest, devices, alice, bob, carol };
}

const unreadOf = async (client, room) => (await client.askOk('unread')).rooms.find(({ roomId }) => roomId === room);

for (const [where, places] of [['one node', [single, single]], ['two nodes', [first, second]]]) {
  const [one, two] = places;

  test(`${where}: who is invited while away finds the room, begins in it, and sees what is unread`, async () => {
    const n = another();
    const owner = await connect(one, `alice-${n}`);
    const { room: { roomId: room } } = await owner.askOk('create-room', 'Lunch');
    const stranger = await connect(two, `eve-${n}`);
    assertFailed(await stranger.ask('join-room', room), 'not-found');
    await owner.askOk('invite', room, `bob-${n}`);
    await owner.post(room, 'soup?');
    const guest = await connect(two, `bob-${n}`);
    const { unread, mentions, role, lastSeq } = await unreadOf(guest, room);
    assert.deepEqual([unread, mentions, role, lastSeq], [2, 0, 'member', 3]);
    await owner.post(room, 'or pasta?');
    await guest.next('new-message', ({ content }) => content === 'or pasta?');
    const { messages, data } = await guest.join(room, { after: 0 });
    assert.deepEqual(data, { title: 'Lunch', role: 'member' });
    assert.deepEqual(messages.map(({ userId, content }) => [userId, content]), [
      ['bot:team', `alice-${n}'s name made the room Lunch`], ['bot:team', `alice-${n}'s name invited bob-${n}`],
      [`alice-${n}`, 'soup?'], [`alice-${n}`, 'or pasta?'],
    ]);
    assert.deepEqual(messages[0].metadata, { system: true });
  });

  test(`${where}: a mention reaches all devices, and reading the last message ends it on all`, async () => {
    const { room, owner, devices, carol } = await scene(places);
    await owner.post(room, `soup, @${carol}, @nobody-here?`);
    for (const device of devices) await device.next('unread-changed', ({ mentions }) => mentions === 1);
    const { id, seq } = await owner.post(room, 'with bread');
    const [phone, tablet] = devices;
    const before = await phone.next('new-message', ({ content }) => content.startsWith('soup'));
    await phone.askOk('read-message', before.id);
    const { mentions, unread } = await tablet.next('unread-changed', ({ readUpTo }) => readUpTo === before.seq);
    assert.deepEqual([mentions, unread], [1, 1]);
    await phone.askOk('read-message', id);
    const read = await tablet.next('unread-changed', ({ readUpTo }) => readUpTo === seq);
    assert.deepEqual([read.mentions, read.unread], [0, 0]);
    const { members } = await owner.askOk('room-members', { roomId: room });
    assert.equal(members.find(({ userId }) => userId === carol).readUpTo, seq);
  });

  test(`${where}: who is removed is out of the room on every device, and reads no more`, async () => {
    const { room, owner, guest, devices, carol } = await scene(places);
    await owner.askOk('remove', room, carol);
    for (const device of devices) {
      assert.deepEqual(await device.next('kicked'), { roomId: room, reason: 'you were removed from the room' });
    }
    await guest.next('user-left', ({ userId }) => userId === carol);
    await owner.post(room, 'a secret');
    await guest.next('new-message', ({ content }) => content === 'a secret');
    for (const device of devices) {
      assertFailed(await device.ask('history', { roomId: room }), 'denied');
      assertFailed(await device.ask('send-message', { roomId: room, content: 'x' }), 'denied');
      assertFailed(await device.ask('join-room', room), 'not-found');
      assert.equal(device.messages(room).some(({ content }) => content === 'a secret'), false);
      assert.equal(device.socket.connected, true);
    }
  });

  test(`${where}: a ban holds against whoever invites, until it is lifted`, async () => {
    const { room, owner, devices, carol } = await scene(places);
    await owner.askOk('ban', room, carol, 3600);
    const { until, reason } = await devices[1].next('kicked');
    assert.ok(until > Date.now() + 3_500_000 && until < Date.now() + 3_700_000);
    assert.equal(reason, 'you are banned from the room');
    await owner.askOk('invite', room, carol);
    for (const device of devices) assertFailed(await device.ask('join-room', room), 'denied');
    const again = await connect(two, carol);
    assertFailed(await again.ask('history', { roomId: room }), 'denied');
    await owner.askOk('unban', room, carol);
    await devices[0].join(room);
  });

  test(`${where}: a ban ends by itself`, async () => {
    const { room, owner, devices: [device], carol } = await scene(places);
    await owner.askOk('ban', room, carol, 1);
    const { until } = await device.next('kicked');
    await owner.askOk('invite', room, carol);
    let answer;
    do answer = await device.ask('join-room', room); while (!answer.ok && Date.now() < until + 10_000);
    assert.equal(answer.ok, true);
    assert.ok(Date.now() >= until - 50, 'not before');
  });

  test(`${where}: who is blocked is disconnected everywhere, and refused from then on`, async () => {
    const { devices, carol } = await scene(places);
    const admin = await connect(one, 'root', { auth: { token: token('root', { role: 'admin' }) } });
    assertFailed(await devices[0].ask('block', 'root', 60), 'denied');
    await admin.askOk('block', carol, 3600);
    for (const device of devices) {
      assert.deepEqual(await device.next('disconnect-reason'), { reason: 'you are blocked' });
      await device.until(() => device.disconnects.includes('io server disconnect'), 'the end');
    }
    const again = owned(new Client(two.url, carol));
    await again.until(() => again.refusals.length > 0, 'a refusal');
    assert.equal(again.refusals[0].message, 'denied: you are blocked');
    assert.equal(again.connects, 0);
  });

  test(`${where}: roles decide, a muted member waits, and the owner is safe`, async () => {
    const { room, owner, guest, devices, alice, bob, carol } = await scene(places);
    assertFailed(await guest.ask('mute', room, carol, 60), 'denied');
    await owner.askOk('set-role', room, bob, 'moderator');
    assert.equal((await guest.next('unread-changed', ({ role }) => role === 'moderator')).roomId, room);
    await guest.askOk('mute', room, carol, 60);
    const refused = await devices[1].ask('send-message', { roomId: room, content: 'hello?' });
    assertFailed(refused, 'rate-limited');
    assert.ok(refused.error.retryAfterMs > 50_000);
    for (const what of ['mute', 'ban']) assertFailed(await guest.ask(what, room, alice, 60), 'denied');
    await guest.askOk('leave-team', room);
    await owner.next('member-removed', ({ userId }) => userId === bob);
    assertFailed(await guest.ask('mute', room, carol, 60), 'not-found');
  });
}

test('slow mode lets a member write once in the time', async () => {
  const server = await startServer({ config: { ...config, handlers: handlers({ slow_seconds: '60' }) } });
  const owner = await connect(server, 'alice');
  const { room: { roomId } } = await owner.askOk('create-room', 'Lunch');
  await owner.post(roomId, 'one');
  const refused = await owner.ask('send-message', { roomId, content: 'two' });
  assertFailed(refused, 'rate-limited');
  assert.ok(refused.error.retryAfterMs > 50_000);
});

test('without the grant a handler has no power, and nothing happens of the event', async () => {
  const server = await startServer({ config: { handlers: handlers() } });
  const owner = await connect(server, 'alice');
  assertFailed(await owner.ask('create-room', 'Lunch'), 'denied');
  assert.deepEqual((await owner.askOk('unread')).rooms, []);
});
