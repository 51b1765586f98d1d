// Promise 12: events read and write keys as if each ran alone.
// ARCHITECTURE.md#12-no-lost-update says what makes it true.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect } from './lib/client.mjs';
import { metric, startFleet, UNLIMITED } from './lib/fleet.mjs';
import { seededRandom } from './lib/random.mjs';
import { test } from './lib/scope.mjs';
import { anomalies, assertSerializable } from './lib/serializable.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const HANDLERS = { event: guest('keys') };
/** Keys are used as if there were no other events. */
const UNCHECKED = { handlers: { event: { component: guest('keys'), isolation_level: 'none' } } };

/** Sends operations until they are done, as a client does that is told that trying again makes sense. */
async function retried(client, ...operations) {
  for (let tries = 1; ; tries += 1) {
    const began = performance.now();
    const answer = await client.ask('keys', ...operations);
    if (answer.results) return { results: answer.results, began, ended: performance.now(), tries };
    assert.deepEqual([answer.ok, answer.error.code, answer.error.retryable], [false, 'conflict', true]);
    await new Promise((again) => setTimeout(again, answer.error.retryAfterMs * Math.random()));
  }
}

const value = async (client, key) => (await client.ask('get', ['get', key])).results[0];

const connectAll = (servers, count) =>
  Promise.all(Array.from({ length: count }, (_, n) => connect(servers[n % servers.length], `user-${n}`)));

const server = await startServer({ config: UNLIMITED, handlers: HANDLERS });

test('promise 12: no lost update: of twenty users who change a key at once, all are kept', async () => {
  const clients = await connectAll([server], 20);
  await Promise.all(clients.map((client) => retried(client, ['append', 'reactions', client.user])));
  const kept = (await value(clients[0], 'reactions')).split(' ').sort();
  assert.deepEqual(kept, clients.map((client) => client.user).sort());
});

test('promise 12: no lost update: each user reads a prefix and adds a key to it, and only one is the first', async () => {
  const clients = await connectAll([server], 20);
  const runs = await Promise.all(clients.map((client) =>
    retried(client, ['scan', 'first/', null, 100], ['set', `first/${client.user}`, 'here'])));
  const seen = runs.map(({ results: [page] }) => page.length).sort((a, b) => a - b);
  assert.deepEqual(seen, clients.map((_, n) => n), 'each saw one more than the one before');
});

test('promise 12: no lost update: nobody sees an earlier run, and the last one says how often it ran', async () => {
  const clients = await connectAll([server], 10);
  await Promise.all(clients.map((client) => retried(client, ['append', 'seen', client.user])));
  const ids = clients.map((client) => `connection=${client.socket.id} `);
  const lines = () => server.log.split('\n').filter((line) => line.includes('keys: 1 operations') && ids.some((id) => line.includes(id)));
  await eventually(() => lines().length >= clients.length, 'a line of each event');
  assert.equal(lines().length, clients.length, 'one line of each event');
  assert.ok(lines().some((line) => /runs=[2-9]/.test(line)), lines().join('\n'));
  assert.ok((await metric(server, 'parlance_reruns_total')) > 0);
});

test('promise 12: no lost update: an event that always comes second fails as a conflict', async () => {
  const own = await startServer({ config: { ...UNLIMITED, sandbox: { reruns: 0 } }, handlers: HANDLERS });
  const clients = await connectAll([own], 20);
  const answers = await Promise.all(clients.map((client) => client.ask('keys', ['append', 'k', client.user])));
  const refused = answers.filter((answer) => answer.error);
  for (const answer of refused) assertFailed(answer, 'conflict');
  assert.ok(refused.every((answer) => answer.error.retryable && answer.error.retryAfterMs > 0));
  assert.equal((await value(clients[0], 'k')).split(' ').length, 20 - refused.length);
  assert.ok(refused.length > 0, 'some came second');
});

test('promise 12: no lost update: increments of twenty users do not run again', async () => {
  const own = await startServer({ config: UNLIMITED, handlers: HANDLERS });
  const clients = await connectAll([own], 20);
  await Promise.all(clients.map((client) => client.ask('keys', ['increment', 'n', 1], ['increment', 'n', 1])));
  assert.equal(await value(clients[0], 'n'), '40');
  assert.equal(await metric(own, 'parlance_reruns_total'), 0);
});

test('promise 12: no lost update: compare and set is safe without the check too', async () => {
  const own = await startServer({ config: { ...UNLIMITED, ...UNCHECKED } });
  const clients = await connectAll([own], 20);
  await Promise.all(clients.map((client) => retried(client, ['swap-append', 'k', client.user])));
  assert.equal((await value(clients[0], 'k')).split(' ').length, 20);
});

test('promise 12: no lost update: events of one connection stay in order when one runs again', async () => {
  const clients = await connectAll([server], 5);
  const answers = clients.flatMap((client) =>
    Array.from({ length: 20 }, (_, n) => retried(client, ['append', 'order', `${client.user}:${n}`])));
  await Promise.all(answers);
  const all = (await value(clients[0], 'order')).split(' ');
  assert.equal(new Set(all).size, 100);
  assert.equal(all.length, 100);
});

test('promise 12: no lost update: an event that runs alone may leave a room in which its client types', async () => {
  // One component, so that typing shares the lane of the events.
  const own = { component: guest('keys'), name: 'keys' };
  const server = await startServer({ config: { ...UNLIMITED, handlers: { event: own, typing: own } } });
  const clients = await connectAll([server], 12);
  const [typist] = clients;
  for (let round = 0; round < 5; round += 1) {
    await typist.join('general');
    await typist.askOk('typing', 'general', true);
    await Promise.all(clients.flatMap((client) => Array.from({ length: 4 }, (_, n) =>
      retried(client, ['append', `alone/${round}`, `${client.user}:${n}`], ...(client === typist && n === 2 ? [['leave', 'general']] : [])))));
    assert.equal((await value(typist, `alone/${round}`)).split(' ').length, 48);
  }
});

const KEYS = ['list/a', 'list/b', 'list/c', 'list/d'];

/** Random reads, appends, scans and swaps of a few keys by clients at once. Returns `{events, final}`. */
async function race(clients, seed, rounds) {
  const draw = seededRandom(seed);
  const chance = (percent) => draw(100) < percent;
  const events = [];
  let number = 0;
  await Promise.all(clients.map(async (client) => {
    for (let round = 0; round < rounds; round += 1) {
      number += 1;
      const id = `e${number}`;
      const operations = [];
      const append = KEYS[draw(KEYS.length)];
      for (const key of KEYS) if (key !== append && chance(40)) operations.push(['get', key]);
      if (chance(30)) operations.push(['scan', 'list/', null, 100]);
      if (chance(70)) operations.push([chance(30) ? 'swap-append' : 'append', append, id]);
      if (operations.length === 0) operations.push(['get-many', KEYS]);
      const { results, began, ended } = await retried(client, ...operations);
      const event = { id, reads: [], appends: [], began, ended };
      operations.forEach(([what, key], at) => {
        const result = results[at];
        if (what === 'get') event.reads.push([key, result]);
        if (what === 'get-many') event.reads.push(...KEYS.map((each, n) => [each, result[n]]));
        if (what === 'scan') for (const each of KEYS) event.reads.push([each, new Map(result).get(each) ?? null]);
        if (what.endsWith('append')) event.appends.push([key, result, id]);
      });
      events.push(event);
    }
  }));
  const values = (await clients[0].ask('get', ['get-many', KEYS])).results[0];
  return { events, final: new Map(KEYS.map((key, n) => [key, values[n] ?? ''])) };
}

test('promise 12: no lost update: random histories of one node are serializable, and not without the check', async () => {
  const { events, final } = await race(await connectAll([server], 10), 1, 30);
  assertSerializable(events, final);
  const unchecked = await startServer({ config: { ...UNLIMITED, ...UNCHECKED } });
  const without = await race(await connectAll([unchecked], 10), 1, 30);
  assert.ok(anomalies(without.events, without.final).length > 0, 'the checker finds what is lost without the check');
});

test('promise 12: no lost update: on three nodes', async () => {
  const fleet = await startFleet({ nodes: 3, handlers: HANDLERS });
  const clients = await connectAll(fleet.nodes, 12);
  const { events, final } = await race(clients, 2, 25);
  assertSerializable(events, final);
});

test('promise 12: no lost update: a thousand clients race on one key through three nodes', async () => {
  const fleet = await startFleet({ nodes: 3, handlers: HANDLERS });
  const clients = await connectAll(fleet.nodes, 1000);
  for (const client of clients) client.patience = 180_000;
  const answers = await Promise.all(clients.map((client, n) => retried(client, ['append', 'k', `${n}`])));
  const kept = (await value(clients[0], 'k')).split(' ');
  assert.equal(kept.length, 1000);
  assert.equal(new Set(kept).size, 1000);
  const conflicts = answers.reduce((sum, { tries }) => sum + tries - 1, 0);
  const reruns = await Promise.all(fleet.nodes.map((node) => metric(node, 'parlance_reruns_total')));
  console.log(`1,000 of 1,000 kept; ${conflicts} conflicts answered, ${reruns.reduce((a, b) => a + b)} runs again`);
});
