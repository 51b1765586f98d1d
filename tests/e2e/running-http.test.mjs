// What operators and their tools see over HTTP.
import assert from 'node:assert/strict';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer();

/** The samples of /metrics: `name{labels}` to value. */
async function metrics() {
  const response = await fetch(`${server.url}/metrics`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/plain/);
  const lines = (await response.text()).split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => {
    const at = line.lastIndexOf(' ');
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

/** The sum of all samples whose name and labels match. */
const sum = (samples, pattern) => [...samples].reduce((total, [key, value]) => (pattern.test(key) ? total + value : total), 0);

test('/healthz and /readyz say that all is well', async () => {
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
});

test('/metrics counts connections up and down', async () => {
  const connections = async () => sum(await metrics(), /^parlance_connections(\{|$)/);
  const before = await connections();
  const clients = [await connect(server, 'ann'), await connect(server, 'bob')];
  await eventually(async () => (await connections()) === before + 2, 'two more connections');
  for (const client of clients) client.close();
  await eventually(async () => (await connections()) === before, 'two fewer connections');
});

test('/metrics counts events, their latency, guest time and commit batches', async () => {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  const before = await metrics();
  await ann.join(room);
  for (let i = 0; i < 20; i += 1) await ann.post(room, `${i}`);
  const risen = async (pattern) => sum(await metrics(), pattern) - sum(before, pattern);
  await eventually(async () => (await risen(/^parlance_events_total.*"message"/)) === 20, '20 events counted');
  assert.ok((await risen(/^parlance_event_seconds_count/)) >= 21, 'latency from packet to delivery');
  assert.ok((await risen(/^parlance_guest_seconds_count/)) >= 21, 'guest time');
  assert.equal(await risen(/^parlance_commit_batch_events_sum/), 20, 'commit batches');
  assert.equal(await risen(/^parlance_messages_total/), 20);
});

test('/metrics counts refusals and failures by code', async () => {
  const ann = await connect(server, 'ann');
  const before = await metrics();
  await ann.ask('typing', freshRoom());
  await refused(server, { auth: {} });
  const oneMore = [/^parlance_event_failures_total.*"denied"/, /^parlance_refused_total/];
  await eventually(async () => {
    const now = await metrics();
    return oneMore.every((pattern) => sum(now, pattern) === sum(before, pattern) + 1);
  }, 'one more of each');
});

test('labels come from the server, never from a client', async () => {
  const ann = await connect(server, 'ann');
  await ann.ask('an-event-name-of-the-clients-own');
  await ann.join('a-room-name-of-the-clients-own');
  const text = await (await fetch(`${server.url}/metrics`)).text();
  assert.ok(!text.includes('clients-own'));
});

test('the demo page is there in development only', async () => {
  assert.equal((await fetch(`${server.url}/`)).status, 404);
});

test('CORS follows FRONTEND_URL', async () => {
  const origins = ['https://one.example', 'https://two.example'];
  const own = await startServer({ env: { FRONTEND_URL: origins.join(',') } });
  const allowed = async (origin) => {
    const response = await fetch(`${own.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin } });
    await response.text();
    return response.headers.get('access-control-allow-origin');
  };
  for (const origin of origins) assert.equal(await allowed(origin), origin);
  assert.equal(await allowed('https://evil.example'), null);
});
