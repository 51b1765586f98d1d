// Promise 3, on one node: all members see the same list, also those that reconnect. ARCHITECTURE.md#3-one-order says
// what makes it true.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const CLIENTS = 10;
/** Fewest messages that each client posts, and how many are in flight. */
const EACH = 40;
const AT_A_TIME = 4;
const CUTS = 4;

const server = await startServer();

/** A client that loses its connection whenever it has seen `every` more messages, and catches up with `after`. */
async function flaky(room, every) {
  const client = await connect(server, 'flaky');
  const self = { client, seen: [], cuts: 0 };
  self.failed = new Promise((_, reject) => (self.fail = reject));
  const early = [];
  let joining = true;
  const take = (message) => {
    // Deliveries and the answer to a join may overlap; the list is what a careful client shows.
    if (message.seq > (self.seen.at(-1)?.seq ?? 0)) self.seen.push(message);
  };
  const join = async () => {
    joining = true;
    const answer = await client.join(room, { after: self.seen.at(-1)?.seq ?? 0 });
    const missed = answer.complete ? answer.messages : await client.history(room);
    for (const message of [...missed, ...early.splice(0)]) take(message);
    joining = false;
  };
  client.socket.on('new-message', (message) => {
    if (joining) return void early.push(message);
    take(message);
    if (self.cuts >= CUTS || self.seen.length < (self.cuts + 1) * every) return;
    self.cuts += 1;
    joining = true;
    client.socket.io.engine.close();
  });
  await join();
  client.socket.on('connect', () => join().catch(self.fail));
  return self;
}

test('promise 3: one order', async () => {
  const room = freshRoom();
  const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => connect(server, `user-${i}`)));
  await Promise.all(clients.map((client) => client.join(room)));
  const unsteady = await flaky(room, 60);

  // All clients keep posting until every cut has happened.
  const acked = (await Promise.all(clients.map(async (client) => {
    const own = [];
    while (own.length < EACH || (unsteady.cuts < CUTS && own.length < 50 * EACH)) {
      const contents = Array.from({ length: AT_A_TIME }, (_, i) => `${client.user} ${own.length + i}`);
      own.push(...await Promise.all(contents.map((content) => client.post(room, content))));
    }
    return own;
  }))).flat();
  const total = acked.length;

  await Promise.all(clients.map((client) => client.until(() => client.messages(room).length >= total, `${total} messages`)));
  await Promise.race([unsteady.failed, eventually(() => unsteady.seen.length >= total, 'all messages in spite of the cuts')]);
  const lists = clients.map((client) => client.messages(room));
  assertGapless(lists[0], total);
  for (const list of [...lists, unsteady.seen]) assert.deepEqual(list, lists[0]);
  assert.equal(unsteady.cuts, CUTS, 'the reconnects happened');
  assert.deepEqual(await clients[0].history(room), lists[0], 'the history is the same list');
  assert.deepEqual(new Set(acked.map((each) => each.id)), new Set(lists[0].map((each) => each.id)));
  for (const { user } of clients) {
    const own = lists[0].filter((each) => each.userId === user).map((each) => each.content);
    assert.deepEqual(own, own.map((_, i) => `${user} ${i}`), 'each sender in its own order');
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
