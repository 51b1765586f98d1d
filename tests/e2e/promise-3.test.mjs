// Promise 3, on one node: everybody sees the same list, those who reconnect too.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const CLIENTS = 10;
const EACH = 40;
const TOTAL = CLIENTS * EACH;

const server = await startServer();

/** Loses its connection whenever it has seen `every` more messages, and catches up by `after`. */
async function flaky(room, every) {
  const seen = [];
  const client = await connect(server, 'flaky');
  const take = (message) => {
    // Deliveries and the catch-up may overlap; the list is what a careful client shows.
    if (message.seq > (seen.at(-1)?.seq ?? 0)) seen.push(message);
  };
  let joining = true;
  const early = [];
  let cuts = 0;
  client.socket.on('new-message', (message) => {
    if (joining) return early.push(message);
    take(message);
    if (seen.length < TOTAL && seen.length >= (cuts + 1) * every) {
      cuts += 1;
      client.socket.io.engine.close();
    }
    return undefined;
  });
  const join = async () => {
    joining = true;
    const last = seen.at(-1)?.seq ?? 0;
    const answer = await client.join(room, { after: last });
    assert.equal(answer.complete, true, 'less than a page was missed');
    for (const message of [...answer.messages, ...early.splice(0)]) take(message);
    joining = false;
  };
  await join();
  client.socket.on('connect', () => join().catch((error) => (client.failure = error)));
  return { client, seen, cuts: () => cuts };
}

test('promise 3: one order', async () => {
  const room = freshRoom();
  const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => connect(server, `user-${i}`)));
  await Promise.all(clients.map((client) => client.join(room)));
  const unsteady = await flaky(room, 60);

  const acked = (await Promise.all(clients.map((client) =>
    Promise.all(Array.from({ length: EACH }, (_, i) => client.post(room, `${client.user} ${i}`)))))).flat();

  await Promise.all(clients.map((client) => client.until(() => client.messages(room).length >= TOTAL, `${TOTAL} messages`)));
  await unsteady.client.until(() => {
    if (unsteady.client.failure) throw unsteady.client.failure;
    return unsteady.seen.length >= TOTAL;
  }, 'all messages, cuts and all');
  const lists = clients.map((client) => client.messages(room));
  assertGapless(lists[0], TOTAL);
  for (const list of [...lists, unsteady.seen]) assert.deepEqual(list, lists[0]);
  assert.ok(unsteady.cuts() >= 3, 'the reconnects happened');
  assert.deepEqual(await clients[0].history(room), lists[0], 'the history is the same list');
  assert.deepEqual(new Set(acked.map((each) => each.id)), new Set(lists[0].map((each) => each.id)));
  for (const { user } of clients) {
    const own = lists[0].filter((each) => each.userId === user).map((each) => each.content);
    assert.deepEqual(own, Array.from({ length: EACH }, (_, i) => `${user} ${i}`), 'each sender in its own order');
  }
});

test('promise 3: one order in each of many rooms at once', async () => {
  const rooms = Array.from({ length: 5 }, () => freshRoom());
  const clients = await Promise.all(Array.from({ length: 4 }, (_, i) => connect(server, `member-${i}`)));
  for (const client of clients) for (const room of rooms) await client.join(room);
  await Promise.all(clients.flatMap((client) => rooms.flatMap((room) =>
    Array.from({ length: 10 }, (_, i) => client.post(room, `${i}`)))));
  for (const room of rooms) {
    for (const client of clients) {
      await client.until(() => client.messages(room).length >= 40, '40 messages');
      assertGapless(client.messages(room), 40);
      assert.deepEqual(client.messages(room), clients[0].messages(room));
    }
  }
});
