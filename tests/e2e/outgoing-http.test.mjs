// A handler that sends HTTP requests, with a grant and without.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect } from './lib/client.mjs';
import { listen } from './lib/http.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

/** A web server in this process: its authority, and its requests. */
async function webServer() {
  const asked = [];
  const authority = await listen((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.host}`);
    if (request.url === '/silent') return;
    if (request.url === '/away') return void response.writeHead(302, { location: '/elsewhere' }).end();
    let size = 0;
    request.on('data', (chunk) => (size += chunk.length));
    request.on('end', () => response.end(`asked with ${size} bytes`));
  });
  return { authority, asked };
}

const [web, other] = [await webServer(), await webServer()];
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: { grants: { http: [`http://${web.authority}`] }, sandbox: { wall_time: '5s' } },
  handlers: { event: guest('web') },
});

test('web: a granted server is asked and answers', async () => {
  const client = await connect(server, 'asker');
  const [got, posted] = await client.ask('fetch', [
    { authority: web.authority, path: '/one' },
    { authority: web.authority, path: '/two', body: 20_000 },
  ]);
  assert.deepEqual([got.status, got.text], [200, 'asked with 0 bytes'], JSON.stringify(got));
  assert.deepEqual([posted.status, posted.text], [200, 'asked with 20000 bytes'], JSON.stringify(posted));
  assert.deepEqual(web.asked.splice(0).sort(), [`GET /one ${web.authority}`, `POST /two ${web.authority}`]);
});

test('web: a redirect is not followed', async () => {
  const client = await connect(server, 'wanderer');
  const [answer] = await client.ask('fetch', [{ authority: web.authority, path: '/away' }]);
  assert.equal(answer.status, 302);
  assert.equal(web.asked.splice(0).length, 1);
});

test('web: a server that is not granted is not asked, nor this one itself', async () => {
  const client = await connect(server, 'burglar');
  const own = `127.0.0.1:${server.port}`;
  const actions = [other.authority, own, '169.254.169.254', web.authority.replace('127.0.0.1', 'localhost')];
  const answers = await client.ask('fetch', actions.map((authority) => ({ authority, path: '/metrics' })));
  assert.deepEqual(answers.map((answer) => answer.error), actions.map(() => 'HttpRequestDenied'));
  assert.deepEqual([...web.asked, ...other.asked], []);
});

test('web: a server that does not answer fails only its own event, and others are handled meanwhile', async () => {
  const [patient, busy] = [await connect(server, 'patient'), await connect(server, 'busy')];
  const silent = patient.ask('fetch', [{ authority: web.authority, path: '/silent' }]);
  for (let n = 0; n < 20; n += 1) {
    const [answer] = await busy.ask('fetch', [{ authority: web.authority, path: '/' }]);
    assert.equal(answer.status, 200, JSON.stringify(answer));
  }
  const answer = await silent;
  assert.ok(answer.ok === false ? answer.error.code === 'timeout' : /Timeout/.test(answer[0].error), JSON.stringify(answer));
});

test('web: a tenant has its own grants and not the server’s, and they come and go without a restart', async () => {
  const api = admin(server);
  web.asked.splice(0);
  const grants = (...servers) => configurationOf('acme', { grants: { http: servers } });
  await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme') } });
  const deploy = () => api.deploy('acme', 'web', guest('web'));
  await assert.rejects(deploy(), /grants\.http/, 'the grant of the file is for the tenant default');

  await api.requestOk('PUT', '/tenants/acme', { body: grants(`http://${other.authority}`) });
  await deploy();
  const client = await connect(server, 'ann', at('acme', 'ann'));
  const ask = async (authority) => (await client.ask('fetch', [{ authority, path: '/acme' }]))[0];
  assert.equal((await ask(other.authority)).status, 200);
  assert.equal((await ask(web.authority)).error, 'HttpRequestDenied', 'what is granted to others');

  await api.requestOk('PUT', '/tenants/acme', { body: grants() });
  assert.equal((await ask(other.authority)).error, 'HttpRequestDenied', 'taken away');
  await server.restart();
  await client.connected(2);
  assert.equal((await ask(other.authority)).error, 'HttpRequestDenied', 'it handles its events still');
  await api.requestOk('PUT', '/tenants/acme', { body: grants(`http://${other.authority}`) });
  assert.equal((await ask(other.authority)).status, 200, 'given back');
  assert.equal(other.asked.splice(0).length, 2);
  assert.deepEqual(web.asked, []);
});

test('web: denied requests are in the handler’s log, and limited', async () => {
  const client = await connect(server, 'prober');
  const host = `${'x'.repeat(300)}.example`;
  const answers = await client.ask('fetch', Array.from({ length: 9 }, () => ({ authority: host, path: '/' })));
  assert.deepEqual(answers.map(({ error }) => error), [...Array(8).fill('HttpRequestDenied'), 'ConnectionLimitReached']);
  const [line] = await server.waitForOutput(/.*no grant covers it.*x{100}.*|.*x{100}.*no grant covers it.*/);
  assert.match(line, /connection=/, 'with the event it belongs to');
  assert.ok(!server.log.includes('x'.repeat(254)), 'the host is cut');
});

test('web: a tenant’s requests are counted in time, over all its events, and another’s apart from them', async () => {
  const api = admin(server);
  const grants = { http: [`http://${web.authority}`] };
  for (const [name, quota] of [['thrifty', { http_requests_per_second: 1 }], ['free', {}]]) {
    await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, { grants, quota }) } });
    await api.deploy(name, 'web', guest('web'));
  }
  const clients = [];
  for (const [tenant, user] of [['thrifty', 'ann'], ['thrifty', 'eve'], ['free', 'bob']]) {
    clients.push(await connect(server, user, at(tenant, user)));
  }
  web.asked.splice(0);
  const began = Date.now();
  const all = await Promise.all(clients.map((client) => (
    client.ask('fetch', Array.from({ length: 8 }, () => ({ authority: web.authority, path: '/' })))
  )));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  const own = [...all[0], ...all[1]];
  const sent = own.filter(({ status }) => status === 200).length;
  assert.ok(sent >= 2 && sent <= 2 + seconds, `${sent} of 16 in ${seconds} s: two at once, one more in each second`);
  assert.ok(own.every(({ status, error }) => status === 200 || error === 'ConnectionLimitReached'), JSON.stringify(own));
  assert.deepEqual(all[2].map(({ status }) => status), Array(8).fill(200));
  assert.equal(web.asked.splice(0).length, sent + 8, 'what is refused is not sent');
  await server.waitForOutput(/quota\.http_requests_per_second/);
});
