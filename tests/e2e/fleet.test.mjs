// Two nodes with Redis and PostgreSQL appear to clients as one server.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { Client, connect, freshRoom } from './lib/client.mjs';
import { startFleet, UNLIMITED } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { guest } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const { nodes } = await startFleet({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const [one, two] = nodes;

test('messages and other events of a room reach the other node', async () => {
  const room = freshRoom();
  const ann = await connect(one, 'ann');
  const bob = await connect(two, 'bob');
  await ann.join(room);
  await bob.join(room);
  const { id, seq } = await ann.post(room, 'hello', { metadata: { n: 1 } });
  const seen = await bob.next('new-message', (message) => message.id === id);
  assert.deepEqual([seen.seq, seen.content, seen.metadata, seen.userId], [seq, 'hello', { n: 1 }, 'ann']);
  await bob.askOk('typing', room, true);
  assert.equal((await ann.next('user-typing')).userId, 'bob');
  await bob.askOk('read-message', id);
  assert.equal((await ann.next('message-read')).messageId, id);
});

test('a message that is sent again on the other node is one message, and its sender has one name everywhere', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = [await connect(one, 'ann'), await connect(two, 'ann')];
  const bob = await connect(two, 'bob');
  for (const client of [...ann, bob]) for (const each of [room, other]) await client.join(each);
  const message = { roomId: room, content: 'once', clientId: 'fleet' };
  const { message: first } = await ann[0].askOk('send-message', message);
  const seen = await bob.next('new-message', ({ id }) => id === first.id);
  assert.deepEqual([seen.username, seen.clientId], ["ann's name", 'fleet']);
  assert.deepEqual((await ann[1].askOk('send-message', message)).message, first);
  assertFailed(await ann[1].ask('send-message', { ...message, roomId: other }), 'conflict');
  // At the same time on both, so that the database decides.
  for (let n = 0; n < 10; n += 1) {
    const same = { roomId: room, content: `same ${n}`, clientId: `same ${n}` };
    const [left, right] = await Promise.all(ann.map((client) => client.askOk('send-message', same)));
    assert.deepEqual(left, right);
    const answers = await Promise.all(ann.map((client, i) =>
      client.ask('send-message', { roomId: [room, other][i], content: 'raced', clientId: `raced ${n}` })));
    assert.deepEqual(answers.map(({ ok }) => ok).sort(), [false, true]);
    assertFailed(answers.find(({ ok }) => !ok), 'conflict');
  }
  const { lastSeq } = await bob.join(room);
  await bob.until(() => bob.messages(room).length >= lastSeq, 'all of them');
  assertGapless(bob.messages(room), lastSeq);
  assert.deepEqual(await bob.history(room), bob.messages(room));
  assert.equal(lastSeq + (await bob.join(other)).lastSeq, 1 + 10 + 10);
});

test('posters on both nodes make one order, the same for all members', async () => {
  const room = freshRoom();
  const clients = [];
  for (let n = 0; n < 8; n += 1) clients.push(await connect(nodes[n % 2], `poster-${n}`));
  for (const client of clients) await client.join(room);
  const EACH = 50;
  await Promise.all(clients.map(async (client) => {
    for (let n = 0; n < EACH; n += 1) await client.post(room, `${client.user}:${n}`);
  }));
  const total = EACH * clients.length;
  for (const client of clients) {
    await client.until(() => client.messages(room).length >= total, `${total} messages`);
    assertGapless(client.messages(room), total);
    assert.deepEqual(client.messages(room).map(({ id }) => id), clients[0].messages(room).map(({ id }) => id));
  }
});

test('a client that joins while others post gets every message once: the past from the answer, the rest live', async () => {
  const room = freshRoom();
  const poster = await connect(one, 'poster');
  await poster.join(room);
  let going = true;
  const posting = (async () => {
    for (let n = 0; going; n += 1) await poster.post(room, String(n));
  })();
  for (let n = 0; n < 10; n += 1) {
    const late = await connect(two, `late-${n}`);
    const { messages, lastSeq, complete } = await late.join(room, { after: 0 });
    // Up to `lastSeq`: all messages, or as many as a page has.
    assert.equal(messages.length, complete ? lastSeq : 200);
    assert.deepEqual(messages.map(({ seq }) => seq), messages.map((_, i) => lastSeq - messages.length + 1 + i));
    await late.until(() => late.messages(room).length > 20, 'live messages');
    const live = late.messages(room).map(({ seq }) => seq);
    assert.deepEqual(live, live.map((_, i) => lastSeq + 1 + i), 'live messages begin where the answer ends');
    late.close();
  }
  going = false;
  await posting;
});

test('a user with a connection on each node has two', async () => {
  const first = await connect(one, 'carol');
  const second = await connect(two, 'carol');
  const states = async (client) => (await client.askOk('get-presence', ['carol'])).states[0];
  const room = freshRoom();
  await first.join(room);
  await second.join(room);
  await eventually(async () => (await states(first)).connections === 2 && (await states(second)).connections === 2,
    'both nodes to count both');
});

test('online and offline are announced once, whatever the nodes of the devices', async () => {
  const room = freshRoom();
  const watchers = [await connect(one, 'w1'), await connect(two, 'w2')];
  for (const watcher of watchers) await watcher.join(room);
  const seen = (watcher) => watcher.all('presence').filter(({ userId }) => userId === 'dave').map(({ status }) => status);

  const phone = await connect(one, 'dave');
  await phone.join(room);
  for (const watcher of watchers) await watcher.until(() => seen(watcher).length === 1, 'online');
  const laptop = await connect(two, 'dave');
  await laptop.join(room);
  const states = async (client) => (await client.askOk('get-presence', ['dave'])).states[0];
  for (const watcher of watchers) await eventually(async () => (await states(watcher)).connections === 2, 'two devices');
  phone.close();
  for (const watcher of watchers) await eventually(async () => (await states(watcher)).connections === 1, 'one device');
  assert.ok(watchers.every((watcher) => seen(watcher).join() === 'online'), 'still the one word');
  laptop.close();
  for (const watcher of watchers) {
    await watcher.until(() => seen(watcher).length === 2, 'offline');
    assert.deepEqual(seen(watcher), ['online', 'offline']);
    assert.equal((await states(watcher)).connections, 0);
  }
});

test('a version that is deployed on one node is in service on the other', async () => {
  const room = freshRoom();
  const api = [admin(one), admin(two)];
  await api[0].deploy('default', 'stamper', guest('stamped'));
  const bob = await connect(two, 'bob2');
  await bob.join(room);
  await eventually(async () => {
    const { id } = await bob.post(room, 'x');
    return (await bob.next('new-message', (message) => message.id === id)).metadata?.by === 'stamped';
  }, 'the version on the other node');
  await api[1].requestOk('DELETE', '/tenants/default/handlers/stamper');
  await eventually(async () => (await api[0].requestOk('GET', '/tenants/default/handlers')).length === 0, 'the removal');
});

test('the limits of a tenant count connections on all nodes', async () => {
  const configuration = configurationOf('small', { quota: { connections: 3 } });
  await admin(one).requestOk('POST', '/tenants', { body: { name: 'small', configuration } });
  await eventually(async () => (await admin(two).request('GET', '/tenants/small')).status === 200, 'the tenant on the other node');
  for (const user of ['a', 'b', 'c']) await connect(one, user, at('small', user));
  // The other node learns of them with the next heartbeat.
  await eventually(async () => {
    const client = new Client(two.url, 'd', { reconnection: false, ...at('small', 'd') });
    await client.until(() => client.refusals.length > 0 || client.connects > 0, 'an answer');
    client.close();
    return client.refusals.some((error) => /no room for another connection/.test(error.message));
  }, 'the fourth to be refused', 20_000);
});

test('a receipt does not come before its message, however the reader has got it', async () => {
  const { nodes: [here, there] } = await startFleet({ config: { redis: { heartbeat: '300ms', lease: '2s', poll: '4s', sweep: '60s' } } });
  const room = freshRoom();
  const [poster, member, reader] = [await connect(here, 'poster'), await connect(there, 'member'), await connect(there, 'reader')];
  for (const client of [poster, member, reader]) await client.join(room);
  await poster.post(room, 'first');
  await member.next('new-message');
  there.toRedis.cut();
  const { id, seq } = await poster.post(room, 'second');
  const page = await reader.askOk('history', { roomId: room });
  assert.equal(page.messages.at(-1).id, id);
  await reader.askOk('read-message', id);
  await member.next('message-read', (each) => each.messageId === id);
  const seen = member.received.filter(({ event }) => event === 'new-message' || event === 'message-read').map(({ args: [each] }) => each.seq ?? 'read');
  assert.deepEqual(seen, [1, seq, 'read']);
  there.toRedis.restore();
});

test('a flood from another node is paced here: requests are answered meanwhile, and none is refused', async () => {
  // In total, about fifteen seconds' worth of bytes for the receivers here.
  const { nodes: [there, here] } = await startFleet({ config: { quota: { ...UNLIMITED.quota, outbound_bytes_per_second: '256KiB' } } });
  const room = freshRoom();
  const poster = await connect(there, 'poster');
  await poster.join(room);
  for (let n = 0; n < 8; n += 1) await (await connect(here, `receiver-${n}`)).join(room);
  const asker = await connect(here, 'asker');
  await asker.join(freshRoom());
  let posted = 0;
  for (let n = 0; n < 60; n += 1) {
    poster.emit('send-message', { roomId: room, content: 'x'.repeat(8_000) }, ({ ok }) => (posted += ok ? 1 : 0));
  }
  await poster.until(() => posted === 60, 'the flood to be made', 30_000);
  for (const begun = performance.now(); performance.now() - begun < 4_000;) {
    const asked = performance.now();
    await asker.askOk('get-presence', ['asker']);
    assert.ok(performance.now() - asked < 6_000, `answered after ${performance.now() - asked} ms`);
  }
});

test('the log names each cause of an outage of Redis: not only the first', async () => {
  const { nodes: [node], redis } = await startFleet({ nodes: 1 });
  redis.command('CONFIG', 'SET', 'requirepass', 'secret');
  node.toRedis.cut();
  await node.waitForOutput(/no connection to Redis, other nodes are out of reach until there is one/);
  node.toRedis.restore();
  await node.waitForOutput(/no connection to Redis, .*NOAUTH|no connection to Redis, .*[Aa]uthentication/);
});
