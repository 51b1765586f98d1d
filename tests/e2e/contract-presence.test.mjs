// Presence: who is there, who hears of it, and who may ask.
import assert from 'node:assert/strict';
import { assertFailed, assertNow } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const server = await startServer();

const of = (client, user) => client.all('presence').filter((each) => each.userId === user).map((each) => each.status);

async function status(asker, user) {
  const { states } = await asker.must('get-presence', [user]);
  assert.equal(states.length, 1);
  assert.equal(states[0].userId, user);
  return states[0].status;
}

/** Proof that nothing else is under way to `client`: something sent later through the same room has come. */
async function settled(room, client, through) {
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
  await settled(room, ann, laptop);
  assert.deepEqual(of(ann, 'bob-1'), ['online']);

  phone.close();
  await settled(room, ann, laptop);
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
  await bob.must('set-presence', 'away');
  await ann.next('presence', (each) => each.userId === 'bob-2' && each.status === 'away');
  assert.equal(await status(ann, 'bob-2'), 'away');
  await bob.must('set-presence', 'online');
  await ann.next('presence', (each) => each.userId === 'bob-2' && each.status === 'online' && of(ann, 'bob-2').includes('away'));
  await settled(one, ann, bob);
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
  const { states } = await eve.must('get-presence', ['bob-3', 'nobody-at-all', 'ann-3']);
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
  await ann.must('leave-room', room);
  assert.equal(await status(ann, 'bob-4'), 'offline');
});

test('presence knows online and away, nothing else', async () => {
  const ann = await connect(server, 'ann-5');
  for (const wrong of ['offline', 'busy', '', 7, null, {}]) {
    assertFailed(await ann.ask('set-presence', wrong), 'invalid');
  }
});
