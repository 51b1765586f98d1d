// Requests in hard cases: streams that break off, answers that are too large, and many requests that wait.
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { UNLIMITED } from './lib/fleet.mjs';
import { listen } from './lib/http.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const asked = [];
/** Events that a service gives, from the one after `last`; the first answer breaks off after those up to `breaksAfter`. */
const streams = {
  '/own-header': { events: [6, 7, 8].map((id) => [`${id}`, `e${id}`]), breaksAfter: 2 },
  '/no-id': { events: [['1', 'a'], [null, 'b'], ['2', 'c']], breaksAfter: 2 },
  '/control': { events: [['a\u0007', 'a'], ['b\u0007', 'b'], ['c\u0007', 'c']], breaksAfter: 2 },
};
const authority = await listen((request, response) => {
  const times = asked.filter(({ url }) => url === request.url).length;
  asked.push(request);
  const stream = streams[request.url];
  if (request.url === '/slow') return void setTimeout(() => response.end(), 1000);
  if (!stream) return void (request.url === '/silent' ? null : response.end(`xx\n${'y'.repeat(3000)}`));
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const last = request.headers['last-event-id'];
  const from = stream.events.findIndex(([id]) => id === last) + 1;
  stream.events.slice(from).forEach(([id, data], n) => {
    if (times === 0 && from + n >= stream.breaksAfter) return;
    response.write(`${id === null ? '' : `id: ${id}\n`}data: ${data}\n\n`);
  });
  if (times > 0) return void response.end();
  setTimeout(() => request.socket.destroy(), 300);
});
const config = (more = {}) => ({ ...UNLIMITED, grants: { http: [`http://${authority}`] }, ...more });
async function start(more, handlers = { event: guest('keys') }) {
  const server = await startServer({ config: config(more), handlers });
  const ann = await connect(server, 'ann');
  await ann.join('responses');
  return ann;
}
const parts = (client, tag) =>
  client.received.filter(({ event, args }) => event === 'response' && args[1] === tag).map(({ args }) => args[3]);
const isLast = (what) => what === 'end' || what.failed !== undefined || what.whole !== undefined;
async function all(client, path, options) {
  await client.ask('keys', ['request', `http://${authority}${path}`, path, options]);
  await client.until(() => parts(client, path).some(isLast), path, 20_000);
  return parts(client, path);
}
const data = (found) => found.flatMap((part) => (part.data === undefined ? [] : [part.data]));

test('an event is handled once where the handler has begun with a Last-Event-ID of its own', async () => {
  assert.deepEqual(data(await all(await start(), '/own-header', { parts: 'events', headers: { 'last-event-id': '5' } })), ['e6', 'e7', 'e8']);
});
test('an event without an id of its own is handled once', async () => {
  assert.deepEqual(data(await all(await start(), '/no-id', { parts: 'events' })), ['a', 'b', 'c']);
});
test('an event whose id no header can carry is handled once', async () => {
  assert.deepEqual(data(await all(await start(), '/control', { parts: 'events' })), ['a', 'b', 'c']);
});
test('lines before one that is too large are handled', async () => {
  const found = await all(await start({ sandbox: { http_bytes: '1KiB' } }), '/too-large', { parts: 'lines', attempts: 1 });
  assert.deepEqual(found.map((part) => Object.keys(part)[0]), ['head', 'line', 'attempts']);
});
test('a POST without a body says so', async () => {
  await all(await start(), '/post', { body: '' });
  assert.equal(asked.find(({ url }) => url === '/post').headers['content-length'], '0');
});
test('cancelled requests make room, however many wait', async () => {
  const ann = await start({ quota: { ...UNLIMITED.quota, http_requests_per_second: 10_000 } });
  const silent = Array.from({ length: 50 }, () => ['request', `http://${authority}/silent`, 'w', { timeout: 30_000 }]);
  for (let n = 0; n < 8; n += 1) assert.ok((await ann.ask('keys', ...silent)).results);
  const waiting = () => asked.filter(({ url }) => url === '/silent');
  await eventually(() => waiting().length === 16, '16 requests');
  await ann.ask('keys', ...waiting().map(({ headers }) => ['cancel-request', headers['idempotency-key']]));
  await eventually(() => waiting().length === 32, '16 more', 15_000);
});
test('a handler whose requests wait does not keep those of another handler from being sent', async () => {
  const ann = await start({ handlers: { event: { component: guest('keys') }, other: { component: guest('keys'), events: ['other'] } }, quota: { ...UNLIMITED.quota, http_requests_per_second: 10_000 } }, {});
  const slow = Array.from({ length: 50 }, () => ['request', `http://${authority}/slow`, 'slow']);
  for (let n = 0; n < 8; n += 1) assert.ok((await ann.ask('keys', ...slow)).results);
  await ann.ask('other', ['request', `http://${authority}/other`, 'other']);
  // Each second 16 places become free.
  await ann.until(() => parts(ann, 'other').some(isLast), () => 'the answer', 15_000);
});
