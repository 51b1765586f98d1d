// HTTP for operators and their tools.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { Client, connect, freshRoom, refused } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { run, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer();

/** The samples of /metrics: `name{labels}` to value. */
async function metrics(of = server) {
  const response = await fetch(`${of.adminUrl}/metrics`);
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
  const wanted = new Map([
    [/^parlance_events_total.*"message"/, (count) => count === 20],
    [/^parlance_event_seconds_count/, (count) => count >= 21],
    [/^parlance_guest_seconds_count/, (count) => count >= 21],
    [/^parlance_commit_batch_events_sum/, (count) => count === 20],
    [/^parlance_messages_total/, (count) => count === 20],
  ]);
  let risen;
  await eventually(async () => {
    const now = await metrics();
    risen = [...wanted.keys()].map((pattern) => [pattern, sum(now, pattern) - sum(before, pattern)]);
    return risen.every(([pattern, count]) => wanted.get(pattern)(count));
  }, () => `20 messages and a join to be counted: ${risen.join('; ')}`);
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

test('/metrics shows the rooms of each tenant apart', async () => {
  const own = await startServer({ config: { tenants: { acme: configurationOf('acme') } } });
  const ann = await connect(own, 'ann');
  const bob = await connect(own, 'bob', at('acme', 'bob'));
  for (const room of ['one', 'two']) await ann.join(room);
  await bob.join('one');
  const rooms = async () => [...await metrics(own)].filter(([name]) => name.startsWith('parlance_tenant_rooms{'));
  const wanted = [['parlance_tenant_rooms{tenant="acme"}', 1], ['parlance_tenant_rooms{tenant="default"}', 2]];
  await eventually(async () => isDeepStrictEqual(await rooms(), wanted), 'one room and two');
  await ann.askOk('leave-room', 'one');
  await eventually(async () => (await rooms())[1][1] === 1, 'one room and one');
});

test('/metrics shows the build and the process’s resources, and each name has one unit', async () => {
  const samples = await metrics();
  assert.equal(sum(samples, /^parlance_build_info\{profile="(debug|release)",version="\d+\.\d+\.\d+"\}$/), 1);
  for (const name of ['resident_memory_bytes', 'open_fds', 'max_fds', 'threads', 'start_time_seconds']) {
    assert.ok(samples.get(`process_${name}`) > 0, name);
  }
  assert.ok(samples.has('process_cpu_seconds_total'));
  // https://prometheus.io/docs/practices/naming: values with different units are different metrics.
  assert.deepEqual([...samples.keys()].filter((name) => /[{,]limit=/.test(name)), []);
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    assert.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`);
    if (/byte/.test(name)) assert.match(name, /_bytes(_total|_per_second)?$/);
    if (/second/.test(name)) assert.match(name, /_seconds(_total)?$|_per_second$/);
  }
});

test('labels come from the server, never from a client', async () => {
  const ann = await connect(server, 'ann');
  await ann.ask('an-event-name-of-the-clients-own');
  await ann.join('a-room-name-of-the-clients-own');
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  assert.ok(!text.includes('clients-own'));
});

test('the demo page is there in development only', async () => {
  assert.equal((await fetch(`${server.url}/`)).status, 404);
});

/** Performs a WebSocket handshake by hand and returns the status. */
function upgrade(url, headers) {
  return new Promise((done, failed) => {
    const request = httpRequest(`${url}/socket.io/?EIO=4&transport=websocket`, {
      headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', ...headers },
    });
    request.on('upgrade', (response, socket) => {
      socket.destroy();
      done(response.statusCode);
    });
    request.on('response', (response) => {
      response.resume();
      done(response.statusCode);
    });
    request.on('error', failed).end();
  });
}

test('CORS follows FRONTEND_URL, and lets pages send headers of their own', async () => {
  const origins = ['https://one.example', 'https://two.example:443', 'http://three.example:8080'];
  const own = await startServer({ env: { FRONTEND_URL: origins.join(',') } });
  const poll = `${own.url}/socket.io/?EIO=4&transport=polling`;
  const allowed = async (origin) => {
    const response = await fetch(poll, { headers: { origin } });
    await response.text();
    return response.headers.get('access-control-allow-origin');
  };
  for (const origin of ['https://one.example', 'https://two.example', 'http://three.example:8080']) {
    assert.equal(await allowed(origin), origin);
  }
  for (const origin of ['https://evil.example', 'http://one.example', 'https://one.example:8443', 'null']) {
    assert.equal(await allowed(origin), null, origin);
  }
  const asked = await fetch(poll, {
    method: 'OPTIONS',
    headers: {
      origin: 'https://one.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,x-of-the-application',
    },
  });
  assert.match(asked.headers.get('access-control-allow-headers'), /x-of-the-application/);
  assert.equal(asked.headers.get('access-control-allow-credentials'), 'true');
});

test('a WebSocket of a page that may not connect is refused, and the log says why', async () => {
  const own = await startServer({ env: { FRONTEND_URL: 'https://one.example:443' } });
  for (const origin of ['https://one.example', 'https://one.example:443', own.url, `http://localhost:${own.port}`]) {
    const host = origin.startsWith('http://localhost') ? { host: `localhost:${own.port}` } : {};
    assert.equal(await upgrade(own.url, { origin, ...host }), 101, origin);
  }
  for (const origin of ['https://evil.example', 'https://one.example:444', 'http://one.example', 'null', `http://localhost:${own.port + 1}`]) {
    assert.equal(await upgrade(own.url, { origin }), 403, origin);
  }
  assert.equal(await upgrade(own.url, {}), 101, 'a program is not a page');
  await own.waitForOutput(/a WebSocket was refused.*server\.cors_origins/);
  // The official client, as in a page from such an origin.
  const foreign = owned(new Client(own.url, 'foreign', { extraHeaders: { origin: 'https://evil.example' } }));
  await foreign.until(() => foreign.refusals.length > 0, 'a refusal');
  assert.equal(foreign.connects, 0);
  await connect(own, 'allowed', { extraHeaders: { origin: 'https://one.example' } });

  const any = await startServer({ env: { FRONTEND_URL: '*' } });
  assert.equal(await upgrade(any.url, { origin: 'https://evil.example' }), 101);
});

test('operators have a port of their own: nothing of theirs is on the clients’', async () => {
  const own = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const status = async (url) => {
    const response = await fetch(url, { headers });
    await response.text();
    return response.status;
  };
  assert.notEqual(own.adminUrl, own.url);
  const paths = ['/metrics', '/admin/v1/tenants', '/admin/v1/openapi.json', '/healthz', '/readyz'];
  const all = (base) => Promise.all(paths.map((path) => status(`${base}${path}`)));
  assert.deepEqual(await all(own.adminUrl), [200, 200, 200, 200, 200]);
  assert.deepEqual(await all(own.url), [404, 404, 404, 200, 200]);
  assert.equal(await status(`${own.adminUrl}/socket.io/?EIO=4&transport=polling`), 404);

  const shared = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, PARLANCE_ADMIN_ADDRESS: 'shared' } });
  assert.equal(shared.adminUrl, shared.url);
  assert.deepEqual(await all(shared.url), [200, 200, 200, 200, 200]);

  const off = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, PARLANCE_ADMIN_ADDRESS: 'off' } });
  assert.doesNotMatch(off.log, /for operators/);
  assert.deepEqual(await all(off.url), [404, 404, 404, 200, 200]);
});

test('an operators’ address that is in use, or that of clients, is reported with advice', async () => {
  const taken = server.adminUrl.replace('http://', '');
  const start = (env) => run(['serve'], { cwd: temporaryDirectory(), env: { JWT_SECRET: SECRET, PORT: '0', ...env } });
  const inUse = await start({ PARLANCE_ADMIN_ADDRESS: taken });
  assert.equal(inUse.code, 1);
  assert.match(inUse.output, /is in use by another process.*PARLANCE_ADMIN_ADDRESS or server\.admin_address/s);
  const same = await start({ PORT: '4711', PARLANCE_ADMIN_ADDRESS: '127.0.0.1:4711' });
  assert.equal(same.code, 2);
  assert.match(same.output, /server\.admin_address.*has the port of the clients.*"shared"/s);
});

test('a client’s address comes from trusted proxies, in the log and for back ends', async () => {
  const own = await startServer({
    config: { server: { trusted_proxies: ['127.0.0.0/8'] } },
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  });
  const through = (...hops) => ({ extraHeaders: { 'x-forwarded-for': hops.join(', ') } });
  await connect(own, 'ann', through('198.51.100.1', '203.0.113.9', '127.0.0.7'));
  await connect(own, 'bob', { ...through('203.0.113.10'), transports: ['polling'] });
  await connect(own, 'eve');
  // A client may notice that it is connected before the metrics show it.
  const find = (base, user) => eventually(async () => {
    const { sockets } = await admin(base).requestOk('POST', '/tenants/default/clients/find', { body: { users: [user] } });
    return sockets[0]?.address;
  }, `${user} to be found`);
  assert.deepEqual(await Promise.all(['ann', 'bob', 'eve'].map((user) => find(own, user))), ['203.0.113.9', '203.0.113.10', '127.0.0.1']);
  await refused(own, { auth: { token: 'garbage' }, ...through('203.0.113.11') });
  await own.waitForOutput(/a connection was refused: Authentication error.*203\.0\.113\.11/);

  const trusting = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  await connect(trusting, 'ann', through('203.0.113.9'));
  assert.equal(await find(trusting, 'ann'), '127.0.0.1', 'nobody is believed who is not named');
});

test('refused connections leave one line a second for each reason, with the reason and how many were left out', async () => {
  const own = await startServer({ config: { quota: { connections_per_user: 1 } } });
  const lines = (pattern) => own.log.split('\n').filter((line) => pattern.test(line));
  const begun = performance.now();
  for (let n = 0; n < 50; n += 1) await refused(own, { auth: { token: 'garbage' } });
  await connect(own, 'ann');
  const full = await refused(own, { auth: { token: token('ann') } });
  assert.match(full.message, /quota-exceeded/);
  const seconds = (performance.now() - begun) / 1000;
  await own.waitForOutput(/INFO.*a connection was refused: the user has no room for another connection.*127\.0\.0\.1/);
  const tokens = /INFO.*a connection was refused: Authentication error/;
  await own.waitForOutput(tokens);
  assert.ok(lines(tokens).length <= seconds + 1, `${lines(tokens).length} lines in ${seconds} s`);
  // The next line says how many lines were left out before it.
  await eventually(async () => {
    await refused(own, { auth: { token: 'garbage' } });
    return lines(/a connection was refused: Authentication error.*suppressed=[1-9]/).length > 0;
  }, 'a line with what was left out');
});
