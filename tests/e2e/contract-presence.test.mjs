// Presence: which users are online, who is notified, and who may ask.
import assert from 'node:assert/strict';
import { assertFailed, assertNow } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({
  config: { limits: { presence_grace: '4s', typing_timeout: '3s', events_per_second: 10_000, event_burst: 10_000 } },
});

const of = (client, user) => client.all('presence').filter((each) => each.userId === user).map((each) => each.status);

async function status(asker, user) {
  const { states } = await asker.askOk('get-presence', [user]);
  assert.equal(states.length, 1);
  assert.equal(states[0].userId, user);
  return states[0].status;
}

/** Waits until nothing is in flight to `client`, that is, until a later message through the same room has arrived. */
async function waitInFlight(room, client, through) {
  const { id } = await through.post(room, 'a mark');
  await client.next('new-message', (message) => message.id === id);
}

test('only the first and the last connection of a user change their presence', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-1');
  await ann.join(room);
  const phone = await connect(server, 'bob-1');
  await phone.join(room);
  await ann.next('presence', (each) => each.userId === 'bob-1');
  const laptop = await connect(server, 'bob-1');
  await laptop.join(room);
  await waitInFlight(room, ann, laptop);
  assert.deepEqual(of(ann, 'bob-1'), ['online']);

  phone.close();
  await waitInFlight(room, ann, laptop);
  assert.equal(await status(ann, 'bob-1'), 'online');
  laptop.close();
  const gone = await ann.next('presence', (each) => each.userId === 'bob-1' && each.status === 'offline');
  assertNow(gone.since);
  assert.equal(gone.username, "bob-1's name");
  assert.deepEqual(of(ann, 'bob-1'), ['online', 'offline']);
  assert.equal(await status(ann, 'bob-1'), 'offline');
});

test('away and back reach every shared room, once each', async () => {
  const [one, two] = [freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann-2');
  const bob = await connect(server, 'bob-2');
  const eve = await connect(server, 'eve-2');
  await eve.join(freshRoom());
  for (const room of [one, two]) {
    await ann.join(room);
    await bob.join(room);
  }
  await bob.askOk('set-presence', 'away');
  await ann.next('presence', (each) => each.userId === 'bob-2' && each.status === 'away');
  assert.equal(await status(ann, 'bob-2'), 'away');
  await bob.askOk('set-presence', 'online');
  await ann.next('presence', (each) => each.userId === 'bob-2' && each.status === 'online' && of(ann, 'bob-2').includes('away'));
  await waitInFlight(one, ann, bob);
  const changes = of(ann, 'bob-2');
  assert.equal(changes.filter((each) => each === 'away').length, 1, `one notice although two rooms are shared: ${changes}`);
  assert.deepEqual(of(eve, 'bob-2'), [], 'a stranger hears nothing');
});

test('get-presence speaks only of those one shares a room with', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-3');
  const bob = await connect(server, 'bob-3');
  const eve = await connect(server, 'eve-3');
  await ann.join(room);
  await bob.join(room);
  await eve.join(freshRoom());
  assert.equal(await status(ann, 'bob-3'), 'online');
  const { states } = await eve.askOk('get-presence', ['bob-3', 'nobody-at-all', 'ann-3']);
  assert.deepEqual(states.map((each) => [each.userId, each.status]), [
    ['bob-3', 'offline'], ['nobody-at-all', 'offline'], ['ann-3', 'offline'],
  ]);
  const shape = (state) => Object.keys(state).sort();
  assert.deepEqual(shape(states[0]), shape(states[1]), 'a hidden user looks like one who does not exist');
});

test('no longer sharing a room hides a user again', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-4');
  const bob = await connect(server, 'bob-4');
  await ann.join(room);
  await bob.join(room);
  assert.equal(await status(ann, 'bob-4'), 'online');
  await ann.askOk('leave-room', room);
  assert.equal(await status(ann, 'bob-4'), 'offline');
});

test('presence knows online and away, nothing else', async () => {
  const ann = await connect(server, 'ann-5');
  for (const wrong of ['offline', 'busy', '', 7, null, {}]) {
    assertFailed(await ann.ask('set-presence', wrong), 'invalid');
  }
});

test('one sees one\'s own status before joining any room', async () => {
  const ann = await connect(server, 'ann-6');
  await ann.askOk('set-presence', 'away');
  assert.equal(await status(ann, 'ann-6'), 'away');
  const { states: [own] } = await ann.askOk('get-presence', ['ann-6']);
  assert.deepEqual([own.username, own.connections], ["ann-6's name", 1]);
  assertNow(own.since);
});

test('a user who has left is offline since then, only for users who shared a room', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-7');
  const eve = await connect(server, 'eve-7');
  await ann.join(room);
  await eve.join(freshRoom());
  const bob = await connect(server, 'bob-7');
  await bob.join(room);
  const went = Date.now();
  bob.close();
  const gone = await ann.next('presence', (each) => each.userId === 'bob-7' && each.status === 'offline');
  const { states: [state] } = await ann.askOk('get-presence', ['bob-7']);
  assert.deepEqual([state.status, state.connections, state.since], ['offline', 0, gone.since]);
  assert.ok(Math.abs(state.since - went) < 3900, `the grace does not count: ${state.since - went} ms after they went`);
  assert.equal((await eve.askOk('get-presence', ['bob-7'])).states[0].since, 0, 'a stranger learns nothing');
});

/**
 * Cuts the transport, as a network failure does, waits until the server has noticed, and until the client is back in
 * the room.
 */
async function reconnect(client, room, watcher) {
  const times = client.connects + 1;
  client.socket.io.engine.close();
  await eventually(async () => (await watcher.askOk('get-presence', [client.user])).states[0].connections === 0, 'no connection');
  client.socket.connect();
  await client.connected(times);
  await client.join(room);
}

test('a quick reconnect shows nothing, keeps away and since when', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-8');
  const bob = await connect(server, 'bob-8', { reconnection: false });
  for (const client of [ann, bob]) await client.join(room);
  await bob.askOk('set-presence', 'away');
  const away = await ann.next('presence', (each) => each.userId === 'bob-8' && each.status === 'away');
  const before = of(ann, 'bob-8');
  for (let n = 0; n < 3; n += 1) await reconnect(bob, room, ann);
  await waitInFlight(room, ann, bob);
  const { states: [state] } = await ann.askOk('get-presence', ['bob-8']);
  assert.deepEqual([state.status, state.since, state.connections], ['away', away.since, 1]);
  assert.deepEqual(of(ann, 'bob-8'), before);
  assert.deepEqual(ann.all('user-left'), []);
  assert.equal(ann.all('user-joined').filter((each) => each.userId === 'bob-8').length, 1);
  // A status that the client sets shows at once, and a user who does not come back is offline.
  await bob.askOk('set-presence', 'online');
  await ann.next('presence', (each) => each.userId === 'bob-8' && each.status === 'online' && each.since > away.since);
  bob.close();
  await ann.next('presence', (each) => each.userId === 'bob-8' && each.status === 'offline');
  await ann.next('user-left', (each) => each.userId === 'bob-8' && each.roomId === room);
});

test('a user who reconnects without joining a room again has left it', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann-9');
  const bob = await connect(server, 'bob-9', { reconnection: false });
  for (const client of [ann, bob]) {
    await client.join(room);
    await client.join(other);
  }
  await reconnect(bob, room, ann);
  const left = await ann.next('user-left', (each) => each.userId === 'bob-9');
  assert.deepEqual(left, { roomId: other, userId: 'bob-9', username: "bob-9's name" });
  await waitInFlight(room, ann, bob);
  assert.deepEqual(of(ann, 'bob-9'), ['online']);
  assert.equal(ann.all('user-left').length, 1);
});

test('a user who joins several rooms is announced once to each member', async () => {
  const rooms = [freshRoom(), freshRoom(), freshRoom()];
  const ann = await connect(server, 'ann-10');
  const eve = await connect(server, 'eve-10');
  for (const room of rooms) await ann.join(room);
  await eve.join(rooms[2]);
  const bob = await connect(server, 'bob-10');
  for (const room of rooms) await bob.join(room);
  await waitInFlight(rooms[2], ann, bob);
  await waitInFlight(rooms[2], eve, bob);
  assert.deepEqual(of(ann, 'bob-10'), ['online']);
  assert.deepEqual(of(eve, 'bob-10'), ['online'], 'one who shares only the last room hears of it too');
  const joined = ann.all('user-joined').filter((each) => each.userId === 'bob-10').map((each) => each.roomId);
  assert.deepEqual(joined, rooms, 'each room hears who comes');
});

/** The typing events of `user` in the room that `client` got. */
const typing = (client, room, user) =>
  client.all('user-typing').filter((each) => each.roomId === room && each.userId === user).map((each) => each.typing);

test('typing ends when the tab crashes, when the room is left, and when it is not renewed', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-11');
  await ann.join(room);
  const bob = await connect(server, 'bob-11', { reconnection: false });
  await bob.join(room);
  await bob.askOk('typing', room, true);
  bob.socket.io.engine.close();
  await ann.until(() => typing(ann, room, 'bob-11').join() === 'true,false', 'an end after a crash');

  const eve = await connect(server, 'eve-11');
  await eve.join(room);
  await eve.askOk('typing', room, true);
  await eve.askOk('leave-room', room);
  await waitInFlight(room, ann, ann);
  assert.deepEqual(typing(ann, room, 'eve-11'), [true, false]);

  await eve.join(room);
  await eve.askOk('typing', room, true);
  await ann.until(() => typing(ann, room, 'eve-11').join() === 'true,false,true,false', 'an end of what is not renewed');
  assert.deepEqual(eve.all('error-event'), []);
});

test('renewed typing continues, and ends once', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann-12');
  const bob = await connect(server, 'bob-12');
  for (const client of [ann, bob]) await client.join(room);
  const begun = performance.now();
  while (performance.now() - begun < 4500) {
    await bob.askOk('typing', room, true);
    assert.ok(!typing(ann, room, 'bob-12').includes(false), 'it is renewed in time');
  }
  await bob.askOk('typing', room, false);
  await bob.askOk('leave-room', room);
  await waitInFlight(room, ann, ann);
  assert.equal(typing(ann, room, 'bob-12').filter((each) => !each).length, 1);
});
