// Data of people on two nodes with Redis and PostgreSQL.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { eventually } from './lib/wait.mjs';

const { nodes } = await startFleet({
  config: {
    store: { retention_every: '100ms' },
    redis: { heartbeat: '300ms', lease: '2s', poll: '60s', sweep: '5s' },
    retention: { rooms: [{ prefix: 'short', count: 5 }] },
  },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});
const [one, two] = nodes;
const seqs = (messages) => messages.map(({ seq }) => seq);

test('a node that missed messages goes on without those that were removed meanwhile', async () => {
  const room = freshRoom('short');
  const [ann, bob] = [await connect(one, 'ann'), await connect(two, 'bob')];
  await ann.join(room);
  await bob.join(room);
  await ann.post(room, 'first');
  await bob.until(() => bob.messages(room).length === 1, 'the first message');
  // Node two looks into the store once a minute meanwhile.
  two.toRedis.cut();
  for (let n = 2; n <= 30; n += 1) await ann.post(room, `message ${n}`);
  await eventually(async () => (await ann.history(room)).length === 5, 'the newest five messages');
  two.toRedis.restore();
  await bob.until(() => bob.messages(room).some(({ seq }) => seq === 30), 'the last message');
  await ann.post(room, 'next');
  await bob.until(() => bob.messages(room).some(({ seq }) => seq === 31), 'the next message');
  assert.deepEqual(seqs(bob.messages(room)), [1, 26, 27, 28, 29, 30, 31]);
  await ann.until(() => ann.messages(room).length === 31, 'all messages, to who was there');
});

test('an erasure reaches members on the other node, and goes on there when its node dies', async () => {
  const rooms = Array.from({ length: 30 }, () => freshRoom('long'));
  const alice = await connect(one, 'alice');
  const members = [await connect(one, 'bob'), await connect(two, 'cid')];
  for (const room of rooms) {
    for (const client of [alice, ...members]) await client.join(room);
    await alice.post(room, 'hers');
  }
  const view = async (node) => admin(node).requestOk('GET', '/tenants/default/users/alice/erasure');
  const asking = admin(one).request('DELETE', '/tenants/default/users/alice/data').catch(() => null);
  // A deletion whose node died before it told the others is found by a sweep, as `message-changed`.
  const deleted = (client) => {
    const events = [...client.all('message-deleted'), ...client.all('message-changed').filter(({ deletedAt }) => deletedAt !== undefined)];
    return new Set(events.filter(({ userId }) => userId === 'alice').map(({ roomId }) => roomId));
  };
  for (const member of members) await member.until(() => deleted(member).size > 0, 'a first deletion');
  // Either node may do the work.
  await one.kill();
  await asking;
  const [, cid] = members;
  await eventually(async () => (await view(two)).done, 'the end of the erasure', 60_000);
  await cid.until(() => deleted(cid).size === rooms.length, 'all deletions');
  for (const room of rooms) {
    const [message] = await cid.history(room);
    assert.deepEqual([message.content, message.username, message.deletedAt !== undefined], ['', 'alice', true]);
  }
});
