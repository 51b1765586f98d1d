// Promise 11: what a handler asks to happen later survives `kill -9`, and takes effect exactly once.
// ARCHITECTURE.md#11-once-in-effect says what makes it true.
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { startFleet, UNLIMITED } from './lib/fleet.mjs';
import * as keys from './lib/keys.mjs';
import { seededRandom } from './lib/random.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

// The room of `timers` is any room of a tenant without a room handler of its own.
const HANDLERS = { event: guest('keys') };
/** How many timers the fleet has; more than a test's are for a measurement. */
const COUNT = Number(process.env.PARLANCE_TIMERS ?? 900);
const server = await startServer({ config: UNLIMITED, handlers: HANDLERS });

const results = (client, ...operations) => keys.results(client, 'timers', ...operations);
const value = async (client, key) => (await keys.read(client, 'timers', ['get', key]))[0];
/** How often each of these timers has fired. */
const fired = (client, names) => keys.numbers(client, 'timers', names.map((name) => `fired/${name}`));

test('promise 11: once in effect: a timer fires at its time, with its payload', async () => {
  const ann = await connect(server, 'ann');
  await ann.join('timers');
  const before = Date.now();
  await results(ann, ['timer', 'one', 400, null, { list: 'a', more: [1, 'x'] }]);
  const { args: [name, due, now, payload] } = await ann.until(
    () => ann.received.find(({ event, args }) => event === 'timer' && args[0] === 'one'), 'the timer');
  assert.deepEqual([name, payload], ['one', { list: 'a', more: [1, 'x'] }]);
  assert.ok(due >= before + 400 && now >= due, `${before} ${due} ${now}`);
  assert.equal(await value(ann, 'a'), 'one');
  assert.equal(await value(ann, 'fired/one'), '1');
});

test('promise 11: once in effect: a timer that is replaced or cancelled does not fire', async () => {
  const ann = await connect(server, 'ann');
  await results(ann,
    ['timer', 'replaced', 100, null, { list: 'b' }], ['timer', 'cancelled', 100, null, {}],
    ['timer', 'replaced', 500, null, { list: 'c' }], ['cancel-timer', 'cancelled']);
  await results(ann, ['timer', 'after', 600, null, {}]);
  await eventually(async () => (await fired(ann, ['after']))[0] === 1, 'the last timer');
  assert.deepEqual(await fired(ann, ['replaced', 'cancelled']), [1, 0]);
  assert.deepEqual([await value(ann, 'b'), await value(ann, 'c')], [null, 'replaced']);
});

test('promise 11: once in effect: a timer repeats until it is cancelled, and a handler can set it again', async () => {
  const ann = await connect(server, 'ann');
  await results(ann, ['timer', 'every', 0, 1000, {}], ['timer', 'again', 0, null, { end: 'again' }]);
  await eventually(async () => (await fired(ann, ['every']))[0] >= 3, 'three turns');
  await results(ann, ['cancel-timer', 'every']);
  assert.deepEqual(await fired(ann, ['again']), [2], 'it set itself again once');
});

test('promise 11: once in effect: a refusal or a trap ends a timer without a trace', async () => {
  const ann = await connect(server, 'ann');
  await results(ann,
    ['timer', 'refused', 0, null, { end: 'refuse' }], ['timer', 'trapped', 0, null, { end: 'trap' }],
    ['timer', 'behind', 1, null, {}]);
  await eventually(async () => (await fired(ann, ['behind']))[0] === 1, 'the timer behind them', 60_000);
  assert.deepEqual(await fired(ann, ['refused', 'trapped']), [0, 0]);
  await eventually(() => /a handler was stopped .*name="timer"/.test(server.log), 'the line of the log');
});

test('promise 11: once in effect: a handler has at most so many timers', async () => {
  const own = await startServer({ config: { ...UNLIMITED, quota: { ...UNLIMITED.quota, timers: 2 } }, handlers: HANDLERS });
  const ann = await connect(own, 'ann');
  await results(ann, ['timer', 'a', 60_000, null, {}], ['timer', 'b', 60_000, null, {}]);
  const refused = await ann.ask('timers', ['timer', 'c', 60_000, null, {}]);
  assert.equal(refused.error.code, 'quota-exceeded');
  for (const bad of [['timer', '', 0, null, {}], ['timer', 'x'.repeat(513), 0, null, {}], ['timer', 'x', 0, 999, {}]]) {
    assert.equal((await ann.ask('timers', bad)).error.code, 'invalid', bad[1]);
  }
});

test('promise 11: once in effect: timers survive kill -9, and late ones fire in their order', async () => {
  const own = await startServer({ config: UNLIMITED, handlers: HANDLERS });
  const ann = await connect(own, 'ann');
  const names = Array.from({ length: 300 }, (_, n) => `t${String(n).padStart(3, '0')}`);
  for (let at = 0; at < names.length; at += 50) {
    await results(ann, ...names.slice(at, at + 50).map((name, n) => ['timer', name, 300 + (at + n) * 5, null, { list: 'order' }]));
  }
  await eventually(async () => (await fired(ann, names)).reduce((a, b) => a + b) > 20, 'some of them');
  await own.kill();
  // Meanwhile the rest becomes due.
  await new Promise((later) => setTimeout(later, 2000));
  await own.start();
  const bob = await connect(own, 'bob');
  await eventually(async () => (await fired(bob, names)).every((count) => count > 0), 'all of them', 60_000);
  assert.deepEqual(await fired(bob, names), names.map(() => 1));
  assert.deepEqual((await value(bob, 'order')).split(' '), names);
});

test('promise 11: once in effect: on a fleet while nodes die and the database restarts', async () => {
  const config = { quota: { ...UNLIMITED.quota, timers: COUNT }, sandbox: { wall_time: '30s' } };
  const fleet = await startFleet({ nodes: 3, config, handlers: HANDLERS });
  const clients = await Promise.all(fleet.nodes.map((node, n) => connect(node, `user-${n}`)));
  const draw = seededRandom(11);
  const names = Array.from({ length: COUNT }, (_, n) => `t${n}`);
  await Promise.all(clients.map(async (client, own) => {
    const mine = names.filter((_, n) => n % 3 === own);
    for (let at = 0; at < mine.length; at += 50) {
      await results(client, ...mine.slice(at, at + 50).map((name) => ['timer', name, 500 + draw(9 * COUNT), null, { sum: true }]));
    }
  }));
  const total = async () => Number(await value(clients[2], 'fired'));
  const some = async (count) => eventually(async () => (await total()) > count, `${count} timers`, 60_000 + COUNT * 10);
  await some(COUNT / 18);
  await fleet.nodes[0].kill();
  await some(COUNT / 5);
  await fleet.redis.stop();
  await fleet.nodes[0].start();
  await some(COUNT / 3);
  await fleet.postgres.restart();
  await fleet.redis.start();
  await fleet.nodes[1].kill();
  await clients[2].back().catch(() => {});
  await eventually(async () => (await total()) >= COUNT, 'all timers', 120_000 + COUNT * 20);
  assert.deepEqual(await fired(clients[2], names), names.map(() => 1));
});
