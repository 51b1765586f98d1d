// Promise 11 for requests: what a handler asks of a web service is sent at least once with one key, and each part of the
// answer takes effect once. ARCHITECTURE.md#11-once-in-effect says what makes it true.
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { startFleet, UNLIMITED } from './lib/fleet.mjs';
import * as keys from './lib/keys.mjs';
import { seededRandom } from './lib/random.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { startService } from './lib/service.mjs';
import { eventually } from './lib/wait.mjs';

const HANDLERS = { event: guest('keys') };
/** How many requests the fleet sends; more than a test's are for a measurement. */
const COUNT = Number(process.env.PARLANCE_REQUESTS ?? 300);
const service = await startService();
const CONFIG = { ...UNLIMITED, grants: { http: [`http://${service.authority}`] } };
const server = await startServer({ config: CONFIG, handlers: HANDLERS });

const results = (client, ...operations) => keys.results(client, 'keys', ...operations);
const request = async (client, path, tag, options = {}) => (await results(client, ['request', service.url(path), tag, options]))[0];
/** The parts that the room was told of: `[number, what]`. */
const parts = (client, tag) =>
  client.received.filter(({ event, args }) => event === 'response' && args[1] === tag).map(({ args }) => args.slice(2));
const isLast = ([, what]) => what === 'end' || what.failed !== undefined || what.whole !== undefined;
async function allParts(client, tag, time) {
  await client.until(() => parts(client, tag).some(isLast), `the answer to ${tag}`, time);
  return parts(client, tag);
}
/** How often the part of this number was handled, for each tag. */
const answered = (client, tags, number = 0) => keys.numbers(client, 'keys', tags.map((tag) => `answered/${tag}/${number}`));
async function listener(own, user = 'ann') {
  const client = await connect(own, user);
  await client.join('responses');
  return client;
}

test('promise 11: once in effect: a request is sent once committed, and its answer is an event', async () => {
  const ann = await listener(server);
  const id = await request(ann, '/echo', 'ask', { body: 'how are you?', headers: { 'x-own': 'yes' } });
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.deepEqual(await allParts(ann, 'ask'), [[0, { whole: 'how are you?', status: 200 }]]);
  const [sent] = service.seen.filter(({ key }) => key === id);
  assert.deepEqual([sent.method, sent.url, sent.body, sent.headers['x-own']], ['POST', '/echo', 'how are you?', 'yes']);
  const refused = await ann.ask('keys', ['request', service.url('/echo'), 'never', { body: 'never' }], ['refuse']);
  assert.equal(refused.error.code, 'denied');
  assert.equal((await results(ann, ['get', 'answered/ask/0']))[0], '1');
  await request(ann, '/echo', 'later', { body: 'later' });
  await allParts(ann, 'later');
  assert.equal(service.seen.some(({ body }) => body === 'never'), false);
  assert.deepEqual(parts(ann, 'never'), []);
});

test('promise 11: once in effect: an answer comes in lines, or in server-sent events', async () => {
  const ann = await listener(server);
  await request(ann, '/lines/3', 'lines', { parts: 'lines' });
  assert.deepEqual(await allParts(ann, 'lines'), [
    [0, { head: 200 }], [1, { line: 'line 0' }], [2, { line: 'line 1' }], [3, { line: 'line 2' }], [4, 'end']]);
  // The first answer breaks off after two events; the service goes on from there.
  const id = await request(ann, '/events/4', 'events', { parts: 'events' });
  const word = (n) => ({ event: 'word', data: `word ${n}`, id: `${n}` });
  assert.deepEqual(await allParts(ann, 'events', 20_000), [
    [0, { head: 200 }], ...[0, 1, 2, 3].map((n) => [n + 1, word(n)]), [5, 'end']]);
  assert.deepEqual(service.seen.filter(({ key }) => key === id).map(({ headers }) => headers['last-event-id']), [undefined, '1']);
});

test('promise 11: once in effect: an answer that breaks off is asked for again, and no line comes twice', async () => {
  const ann = await listener(server);
  const id = await request(ann, '/torn/6', 'torn', { parts: 'lines' });
  const lines = [0, 1, 2, 3, 4, 5].map((n) => [n + 1, { line: `line ${n}` }]);
  assert.deepEqual(await allParts(ann, 'torn', 20_000), [[0, { head: 200 }], ...lines, [7, 'end']]);
  assert.equal(service.keys.get(id), 2);
});

test('promise 11: once in effect: a request is tried again, not before the service says so, and then it has failed', async () => {
  const ann = await listener(server);
  service.fail = ({ times, body }) => {
    if (body === 'busy' && times === 1) return { status: 429, headers: { 'retry-after': '2' } };
    if (body === 'reset' && times === 1) return 'reset';
    if (body === 'down') return 503;
    return body === 'silent' ? 'silent' : undefined;
  };
  const began = Date.now();
  const id = await request(ann, '/echo', 'busy', { body: 'busy' });
  await request(ann, '/echo', 'reset', { body: 'reset' });
  await request(ann, '/echo', 'down', { body: 'down', attempts: 2 });
  await request(ann, '/echo', 'silent', { body: 'silent', attempts: 1, timeout: 300 });
  await request(ann, '/big/2000000', 'big');
  assert.deepEqual((await allParts(ann, 'busy', 20_000))[0][1], { whole: 'busy', status: 200 });
  assert.ok(Date.now() - began >= 2000);
  assert.equal(service.keys.get(id), 2);
  assert.deepEqual((await allParts(ann, 'reset', 20_000))[0][1], { whole: 'reset', status: 200 });
  assert.deepEqual((await allParts(ann, 'down', 20_000))[0][1], { whole: 'not now', status: 503 });
  const failed = async (tag) => {
    const [[, { failed: reason, attempts }]] = await allParts(ann, tag, 20_000);
    return [reason, attempts];
  };
  assert.deepEqual([await failed('silent'), await failed('big')], [['Timeout', 1], ['TooLarge', 1]]);
  service.fail = () => undefined;
});

test('promise 11: once in effect: what may not be sent is refused at once', async () => {
  const ann = await listener(server);
  const code = async (url, options = {}) => (await ann.ask('keys', ['request', url, 'x', options])).error.code;
  assert.equal(await code('http://127.0.0.1:1/'), 'denied');
  assert.equal(await code(`http://user@${service.authority}/`), 'denied');
  for (const url of ['', 'x', 'http://', 'ftp://x/']) assert.match(await code(url), /invalid|denied/, url);
  for (const options of [{ timeout: 0 }, { timeout: 600_001 }, { attempts: 0 }, { attempts: 21 }, { method: 'CONNECT' },
    { method: 'A B' }, { headers: { host: 'x' } }, { headers: { 'a b': 'x' } }, { headers: { a: 'x\ny' } }]) {
    assert.equal(await code(service.url('/'), options), 'invalid', JSON.stringify(options));
  }
  assert.equal(await code(service.url(`/${'x'.repeat(9000)}`)), 'too-large');
  assert.equal(await code(service.url('/'), { headers: { a: 'x'.repeat(17_000) } }), 'too-large');
});

test('promise 11: once in effect: a request that is cancelled has no answer; a refusal or a trap ends one', async () => {
  const ann = await listener(server);
  service.fail = ({ body }) => (body === 'cancelled' ? 'silent' : undefined);
  const id = await request(ann, '/echo', 'cancelled', { body: 'cancelled' });
  await eventually(() => service.keys.get(id) === 1, 'the request at the service');
  await results(ann, ['cancel-request', id]);
  await request(ann, '/lines/3', 'refuse', { parts: 'lines' });
  await request(ann, '/lines/3', 'trap', { parts: 'lines' });
  await eventually(() => (server.log.match(/a request has failed/g) ?? []).length >= 2, 'both to end', 30_000);
  await request(ann, '/echo', 'after', { body: 'after' });
  await allParts(ann, 'after');
  assert.deepEqual(await answered(ann, ['refuse', 'trap', 'cancelled', 'after']), [0, 0, 0, 1]);
  assert.equal(service.keys.get(id), 1);
  service.fail = () => undefined;
});

test('promise 11: once in effect: what an answer leads to is once too', async () => {
  const ann = await listener(server);
  await request(ann, '/echo', `again ${service.url('/echo')}`);
  assert.deepEqual(await allParts(ann, 'second'), [[0, { whole: 'hello', status: 200 }]]);
});

test('promise 11: once in effect: requests survive kill -9', async () => {
  const own = await startServer({ config: CONFIG, handlers: HANDLERS });
  const ann = await listener(own);
  const tags = Array.from({ length: 200 }, (_, n) => `k${n}`);
  const draw = seededRandom(11);
  // Some wait for the service when the server is killed.
  service.fail = ({ times, body }) => (body.startsWith('k') && times === 1 && draw(3) === 0 ? 'silent' : undefined);
  for (let at = 0; at < tags.length; at += 50) {
    await results(ann, ...tags.slice(at, at + 50).map((tag) => ['request', service.url('/echo'), tag, { body: tag, timeout: 1500 }]));
  }
  await eventually(async () => (await answered(ann, tags)).filter(Boolean).length > 20, 'some answers', 30_000);
  await own.kill();
  await own.start();
  const bob = await connect(own, 'bob');
  await eventually(async () => (await answered(bob, tags)).every(Boolean), 'all answers', 120_000);
  assert.deepEqual(await answered(bob, tags), tags.map(() => 1));
  service.fail = () => undefined;
});

test('promise 11: once in effect: requests on a fleet while nodes, the database, Redis and the service go', async () => {
  const quota = { ...UNLIMITED.quota, requests: COUNT, http_requests_per_second: 10_000, requests_at_once: 64 };
  const fleet = await startFleet({ nodes: 3, config: { grants: CONFIG.grants, quota, sandbox: { wall_time: '30s' } }, handlers: HANDLERS });
  const clients = await Promise.all(fleet.nodes.map((node, n) => connect(node, `user-${n}`)));
  const tags = Array.from({ length: COUNT }, (_, n) => `sum${n}`);
  const draw = seededRandom(12);
  let away = false;
  service.fail = ({ body }) => {
    if (!body.startsWith('sum')) return undefined;
    return away ? 'reset' : { 0: 503, 1: 'reset' }[draw(12)];
  };
  await Promise.all(clients.map(async (client, own) => {
    const mine = tags.filter((_, n) => n % 3 === own);
    for (let at = 0; at < mine.length; at += 50) {
      await results(client, ...mine.slice(at, at + 50).map((tag) => ['request', service.url('/echo'), tag, { body: tag, attempts: 20, timeout: 10_000 }]));
    }
  }));
  let last = 0;
  const total = async () => (last = Number((await keys.read(clients[2], 'keys', ['get', 'answered']))[0]));
  const some = async (count) => eventually(async () => (await total()) > count, `${count} answers`, 60_000 + COUNT * 10);
  await some(COUNT / 15);
  await fleet.nodes[0].kill();
  away = true;
  await fleet.redis.stop();
  await fleet.postgres.restart();
  await fleet.nodes[0].start();
  away = false;
  await fleet.redis.start();
  await fleet.nodes[1].kill();
  await clients[2].back().catch(() => {});
  await eventually(async () => (await total()) >= COUNT, () => `all answers, not ${last}`, 200_000 + COUNT * 40);
  assert.deepEqual(await answered(clients[2], tags), tags.map(() => 1));
  service.fail = () => undefined;
});
