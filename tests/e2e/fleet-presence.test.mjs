// Presence while nodes die and Redis loses its data: each change is announced once, and no user stays online by
// mistake.
import assert from 'node:assert/strict';
import { connect, freshRoom } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { eventually } from './lib/wait.mjs';

/** The settings of `startFleet`, with enough time to observe the lease on a busy machine. */
const OFFLINE_WITHIN_MS = 30_000;

const statesOf = async (client, ...users) => (await client.askOk('get-presence', users)).states;
const saidOf = (watcher, user) => watcher.all('presence').filter(({ userId }) => userId === user).map(({ status }) => status);

test("a dead node's users are offline when its lease ends, once; users with a device on another node stay online", async () => {
  const { nodes: [one, two, three] } = await startFleet({ nodes: 3 });
  const room = freshRoom();
  const watchers = [await connect(one, 'w1'), await connect(two, 'w2')];
  for (const watcher of watchers) await watcher.join(room);
  const alone = await connect(three, 'alone', { reconnection: false });
  const devices = [await connect(three, 'both', { reconnection: false }), await connect(one, 'both')];
  for (const client of [alone, ...devices]) await client.join(room);
  for (const watcher of watchers) {
    await watcher.until(() => saidOf(watcher, 'alone').length === 1 && saidOf(watcher, 'both').length === 1, 'both online');
    await eventually(async () => (await statesOf(watcher, 'both'))[0].connections === 2, 'two devices');
  }

  await three.kill();

  for (const watcher of watchers) {
    await watcher.until(() => saidOf(watcher, 'alone').length === 2, 'offline', OFFLINE_WITHIN_MS);
    await eventually(async () => (await statesOf(watcher, 'both'))[0].connections === 1, 'one device');
    const [gone, there] = await statesOf(watcher, 'alone', 'both');
    assert.deepEqual([gone.status, gone.connections, there.status], ['offline', 0, 'online']);
    assert.deepEqual([saidOf(watcher, 'alone'), saidOf(watcher, 'both')], [['online', 'offline'], ['online']]);
  }
  // The node restarts with a new id, and has no users until one connects.
  await three.start();
  const again = await connect(three, 'alone');
  await again.join(room);
  for (const watcher of watchers) await watcher.until(() => saidOf(watcher, 'alone').length === 3, 'online again');
  await eventually(async () => (await statesOf(again, 'both'))[0].connections === 1, 'the device on another node');
});

test('after Redis lost its data, all users are known again, and none who has left meanwhile', async () => {
  const { nodes: [one, two], redis } = await startFleet({ nodes: 2 });
  const room = freshRoom();
  const here = await connect(one, 'here');
  const there = await connect(two, 'there');
  const leaver = await connect(two, 'leaver');
  for (const client of [here, there, leaver]) await client.join(room);
  await here.until(() => saidOf(here, 'leaver').length === 1 && saidOf(here, 'there').length === 1, 'both online');

  await redis.stop();
  leaver.close();
  const comer = await connect(two, 'comer');
  await comer.join(room);
  await redis.start();

  await here.until(() => saidOf(here, 'comer').length > 0 && saidOf(here, 'leaver').length > 1, 'who came and who left', OFFLINE_WITHIN_MS);
  await eventually(async () => {
    const seen = await Promise.all([here, there].map((client) => statesOf(client, 'here', 'there', 'leaver', 'comer')));
    return seen.every((states) => states.map(({ connections }) => connections).join() === '1,1,0,1');
  }, 'both nodes to agree', OFFLINE_WITHIN_MS);
  assert.deepEqual(saidOf(here, 'leaver'), ['online', 'offline']);
  assert.deepEqual(saidOf(here, 'comer'), ['online']);
});

test('a node that cannot reach Redis is taken for dead and is back with its users, without having lost one', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2 });
  const room = freshRoom();
  const here = await connect(one, 'here');
  const there = await connect(two, 'there');
  for (const client of [here, there]) await client.join(room);
  await here.until(() => saidOf(here, 'there').length === 1, 'online');

  two.toRedis.cut();
  await here.until(() => saidOf(here, 'there').length === 2, 'offline when the lease has ended', OFFLINE_WITHIN_MS);
  two.toRedis.restore();

  await here.until(() => saidOf(here, 'there').length === 3, 'online again', OFFLINE_WITHIN_MS);
  assert.deepEqual(saidOf(here, 'there'), ['online', 'offline', 'online']);
  assert.deepEqual([here.disconnects, there.disconnects], [[], []]);
});

test('a user who reconnects to another node within the grace period was never offline, and is still away', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2 });
  const room = freshRoom();
  const watchers = [await connect(one, 'w1'), await connect(two, 'w2')];
  for (const watcher of watchers) await watcher.join(room);
  const before = await connect(one, 'mover', { reconnection: false });
  await before.join(room);
  await before.askOk('set-presence', 'away');
  for (const watcher of watchers) await watcher.until(() => saidOf(watcher, 'mover').at(-1) === 'away', 'away');
  const said = watchers.map((watcher) => saidOf(watcher, 'mover').join());
  const [{ since }] = await statesOf(watchers[0], 'mover');

  before.socket.io.engine.close();
  for (const watcher of watchers) {
    await eventually(async () => (await statesOf(watcher, 'mover'))[0].connections === 0, 'no connection');
  }
  const after = await connect(two, 'mover');
  await after.join(room);
  for (const watcher of watchers) {
    await eventually(async () => (await statesOf(watcher, 'mover'))[0].connections === 1, 'one connection');
  }
  // Longer than the grace period would have lasted, after another user has left.
  const mark = await connect(one, 'mark');
  await mark.join(room);
  for (const watcher of watchers) await watcher.until(() => saidOf(watcher, 'mark').length === 1, 'online');
  mark.close();
  for (const watcher of watchers) await watcher.until(() => saidOf(watcher, 'mark').at(-1) === 'offline', 'a later departure');
  assert.deepEqual(watchers.map((watcher) => saidOf(watcher, 'mover').join()), said);
  for (const watcher of watchers) {
    const [state] = await statesOf(watcher, 'mover');
    assert.deepEqual([state.status, state.since], ['away', since]);
    assert.ok(!watcher.all('user-left').some((each) => each.userId === 'mover'));
  }
});

test("a user's status has begun when it began, whichever of their devices is left", async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2 });
  const room = freshRoom();
  const watchers = [await connect(one, 'w1'), await connect(two, 'w2')];
  for (const watcher of watchers) await watcher.join(room);
  const phone = await connect(one, 'both');
  await phone.join(room);
  for (const watcher of watchers) await watcher.until(() => saidOf(watcher, 'both').length === 1, 'online');
  const [{ since }] = await statesOf(watchers[0], 'both');
  const laptop = await connect(two, 'both');
  await laptop.join(room);
  for (const watcher of watchers) {
    await eventually(async () => (await statesOf(watcher, 'both'))[0].connections === 2, 'two devices');
  }
  phone.close();
  for (const watcher of watchers) {
    await eventually(async () => (await statesOf(watcher, 'both'))[0].connections === 1, 'one device');
    assert.equal((await statesOf(watcher, 'both'))[0].since, since);
    assert.deepEqual(saidOf(watcher, 'both'), ['online']);
  }
});

test('a client that reconnects at once to the same node has not left, as members on another node see it', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2 });
  const room = freshRoom();
  const watchers = [await connect(one, 'here'), await connect(two, 'there')];
  for (const each of watchers) await each.join(room);
  const before = await connect(one, 'ann', { reconnection: false });
  await before.join(room);
  for (const each of watchers) await each.next('user-joined', ({ userId }) => userId === 'ann');
  // So close together that the other node gets both as one change.
  before.socket.io.engine.close();
  const after = await connect(one, 'ann');
  await after.join(room);
  after.close();
  for (const each of watchers) {
    await each.next('user-left', ({ userId }) => userId === 'ann');
    const seen = each.received.filter(({ args: [{ userId }] }) => userId === 'ann').map(({ event, args: [{ status }] }) => status ?? event);
    assert.deepEqual(seen, ['online', 'user-joined', 'offline', 'user-left'], each.user);
  }
});
