// Promise 10: who was away ends in the state of one that never left. Random histories of posts, edits, deletes and marks,
// of clients that come and go, and of faults; in the end all clients show the same, which is what the store has.
// ARCHITECTURE.md#10-converges says what makes it true.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { connect, freshRoom } from './lib/client.mjs';
import { startFleet, UNLIMITED } from './lib/fleet.mjs';
import { seededRandom } from './lib/random.mjs';
import { test } from './lib/scope.mjs';
import { guest, run, startServer } from './lib/server.mjs';
import { View } from './lib/view.mjs';
import { eventually } from './lib/wait.mjs';

/** How often a client acts; more than a test's is for a measurement. */
const STEPS = Number(process.env.PARLANCE_STEPS ?? 60);
/** After how long an event counts as unanswered. Its client goes on. */
const PATIENCE_MS = 3000;

/** With a handler that adds text to messages. */
const SHIPPED = {
  handlers: { hostile: { component: guest('hostile'), events: ['append-then-ok'] } },
  limits: { ...UNLIMITED.limits, history_page_max: 1000 },
  quota: UNLIMITED.quota,
};

/** Emits an event, and waits for its answer for a while. */
const attempt = (client, event, ...args) =>
  new Promise((resolve) => client.socket.timeout(PATIENCE_MS).emit(event, ...args, (error, answer) => resolve(error ? null : answer)));

/** A client that shows a room, whenever it is connected. */
class Viewer {
  constructor(client, room) {
    Object.assign(this, { client, view: new View(room), isIn: false });
    client.socket.on('disconnect', () => (this.isIn = false));
    client.socket.onAny((event, body) => this.isIn && this.view.event(event, body));
  }

  /** Joins, until that has succeeded. */
  async join() {
    while (!this.isIn) {
      await this.client.connected(this.client.connects + (this.client.socket.connected ? 0 : 1));
      await new Promise((resolve) => {
        // At once when the answer comes: what follows it is about the room as it is then.
        this.client.socket.timeout(PATIENCE_MS).emit('join-room', this.view.roomId, this.view.place, (error, answer) => {
          if (!error && answer.ok && answer.complete) this.isIn = this.view.joined(answer);
          resolve();
        });
      });
    }
  }

  async away(ms) {
    this.client.socket.disconnect();
    await new Promise((done) => setTimeout(done, ms));
    this.client.socket.connect();
  }
}

async function act(viewer, draw) {
  const ids = viewer.view.messageIds();
  const messageId = ids[draw(ids.length)];
  const kind = draw(12);
  if (kind < 3 || !messageId) return attempt(viewer.client, 'send-message', { roomId: viewer.view.roomId, content: `${draw(1e6)}`, clientId: `${draw(1e9)}` });
  if (kind < 5) return attempt(viewer.client, 'edit-message', { messageId, content: `edited ${draw(1e6)}` });
  if (kind === 5) return attempt(viewer.client, 'delete-message', { messageId });
  if (kind > 9) return attempt(viewer.client, 'append-then-ok', { messageId, count: draw(2) });
  return attempt(viewer.client, 'mark-message', { messageId, kind: 'reaction', value: ['👍', '🎉'][draw(2)], on: draw(3) > 0 });
}

/** Lets clients act on all nodes while `faults` happen, and compares what they show. */
async function history(nodes, seed, faults = async () => {}) {
  const room = freshRoom();
  const draw = seededRandom(seed);
  const users = ['ann', 'bob', 'cid', 'dan'];
  const viewers = await Promise.all(users.map(async (user, n) => new Viewer(await connect(nodes[n % nodes.length], user), room)));
  // On the last node, which no fault takes away.
  const stays = new Viewer(await connect(nodes.at(-1), 'eve'), room);
  for (const viewer of [...viewers, stays]) await viewer.join();
  const acting = viewers.map(async (viewer) => {
    const own = seededRandom(draw(1e9));
    for (let step = 0; step < STEPS; step += 1) {
      if (own(12) === 0) await viewer.away(own(600));
      await viewer.join();
      await act(viewer, own);
    }
    await viewer.join();
  });
  await Promise.all([...acting, faults()]);
  await stays.join();
  const { place: last } = stays.view;
  const fresh = new Viewer(await connect(nodes.at(-1), 'fay'), room);
  await fresh.join();
  const expected = () => JSON.stringify(fresh.view.shown());
  await eventually(() => [...viewers, stays].every(({ view }) => JSON.stringify(view.shown()) === expected()),
    () => `seed ${seed}: all to show the same: ${[...viewers, stays].map(({ view }) => JSON.stringify(view.place))}, and not ${JSON.stringify(fresh.view.place)}`, 60_000)
    .catch((error) => {
      for (const { view } of [...viewers, stays]) assert.deepEqual(view.shown(), fresh.view.shown(), `seed ${seed}`);
      throw error;
    });
  // Much has happened, although faults have cost some events.
  assert.ok(last.after > STEPS / 4 && last.rev > STEPS / 4, JSON.stringify(last));
}

test('promise 10: converges: over a restored backup, after which numbers are given a second time', async () => {
  const server = await startServer({ config: SHIPPED });
  const database = join(server.dir, 'chat.db');
  const command = (...args) => run(args, { cwd: server.dir, env: { DATABASE_URL: `sqlite:${database}` } });
  const room = freshRoom();
  const [ann, bob] = [new Viewer(await connect(server, 'ann'), room), new Viewer(await connect(server, 'bob'), room)];
  await ann.join();
  await bob.join();
  const { id } = await ann.client.post(room, 'before the backup');
  assert.equal((await command('backup', join(server.dir, 'copy.db'))).code, 0);
  await ann.client.post(room, 'lost');
  await ann.client.askOk('edit-message', { messageId: id, content: 'lost too' });
  await bob.client.next('message-edited');
  assert.equal(bob.view.rev, 1);
  await server.stop();
  assert.equal((await command('restore', join(server.dir, 'copy.db'))).code, 0);
  await server.start();
  await ann.join();
  await ann.client.post(room, 'another second one');
  await ann.client.askOk('mark-message', { messageId: id, kind: 'reaction', value: '+1' });
  await bob.join();
  assert.deepEqual(bob.view.shown(), ann.view.shown());
  assert.deepEqual(bob.view.shown().messages.map(({ text }) => text.content), ['before the backup', 'another second one']);
});

test('promise 10: converges: on one node, over a restart', async () => {
  const server = await startServer({ config: SHIPPED });
  for (const seed of [1, 2]) await history([server], seed);
  await history([server], 3, async () => {
    await server.kill();
    await server.start();
  });
});

test('promise 10: converges: on a fleet, while a node dies and Redis and PostgreSQL go', async () => {
  const fleet = await startFleet({ nodes: 3, config: SHIPPED });
  const [one, two] = fleet.nodes;
  await history(fleet.nodes, 4);
  await history(fleet.nodes, 5, async () => {
    two.toRedis.cut();
    await new Promise((done) => setTimeout(done, 1500));
    two.toRedis.restore();
  });
  await history(fleet.nodes, 6, async () => {
    await fleet.redis.stop();
    await one.kill();
    await fleet.redis.start();
    await one.start();
  });
  await history(fleet.nodes, 7, async () => fleet.postgres.restart());
});
