// The admin API: who may use it, and what each operation does to connected clients.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { ADMIN_TOKEN, admin, at, configurationOf, secretOf } from './lib/admin.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { seconds, token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const api = admin(server);
const audit = async () => (await api.requestOk('GET', '/audit?limit=500')).map((entry) => `${entry.tenant}:${entry.action}`);

/** The export of a tenant that stores nothing. */
const EMPTY_EXPORT = `{"format":"parlance-export","version":1,"tenant":"any","exportedAt":1}
{"end":{"rooms":0,"messages":0,"marks":0,"receipts":0,"keys":0}}
`;

let tenants = 0;
async function freshTenant(more) {
  tenants += 1;
  const name = `tenant-${tenants}`;
  await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, more) } });
  return name;
}

test('without an admin token there is no admin API, and a wrong one is refused', async () => {
  const bare = await startServer();
  assert.equal((await admin(bare).request('GET', '/tenants')).status, 404);
  for (const bearer of ['', 'wrong', `${ADMIN_TOKEN}x`]) {
    const answer = await admin(server, bearer).request('GET', '/tenants');
    assert.equal(answer.status, 401);
    assert.equal(answer.json.code, 'unauthorized');
    assert.equal(answer.type, 'application/problem+json');
  }
  assert.ok(!server.log.includes(ADMIN_TOKEN), 'the token is in no log');
});

test('wrong tokens leave at most one line a second, and a right one is answered meanwhile', async () => {
  const own = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const lines = () => own.log.split('\n').filter((line) => line.includes('a wrong admin token was refused'));
  const begun = performance.now();
  for (let round = 0; round < 4; round += 1) {
    const wrong = Promise.all(Array.from({ length: 50 }, () => admin(own, 'wrong').request('GET', '/tenants')));
    assert.equal((await admin(own).request('GET', '/tenants')).status, 200);
    assert.ok((await wrong).every(({ status }) => status === 401));
  }
  await own.waitForOutput(/WARN.*a wrong admin token was refused.*127\.0\.0\.1/);
  assert.ok(lines().length <= (performance.now() - begun) / 1000 + 1, lines().join('\n'));
});

test('a tenant is served as soon as it is made, and after a restart', async () => {
  const name = await freshTenant();
  const ann = await connect(server, 'ann', at(name, 'ann'));
  const room = freshRoom();
  await ann.join(room);
  await ann.post(room, 'hello');
  const view = await api.requestOk('GET', `/tenants/${name}`);
  assert.deepEqual([view.namespace, view.source, view.suspended, view.connections], [`/${name}`, 'store', false, 1]);
  assert.ok(!JSON.stringify(view).includes(secretOf(name)), 'secrets are not shown');
  const usage = await api.requestOk('GET', `/tenants/${name}/usage`);
  assert.equal(usage.rooms.used, 1);
  assert.equal(usage.messageBytes.used, 'hello'.length + 128);

  await server.restart();
  await ann.connected(2);
  assert.deepEqual((await ann.join(room, { after: 0 })).messages.map((message) => message.content), ['hello']);
});

test('a change of the limits counts for clients that are connected', async () => {
  const name = await freshTenant();
  const ann = await connect(server, 'ann', at(name, 'ann'));
  const room = freshRoom();
  await ann.join(room);
  await ann.post(room, 'x'.repeat(100));
  const view = await api.requestOk('PUT', `/tenants/${name}`, {
    body: configurationOf(name, { limits: { content: 10, events_per_second: 1, event_burst: 2 } }),
  });
  assert.ok(view.revision > 0);
  assert.equal((await ann.ask('send-message', { roomId: room, content: 'x'.repeat(100) })).error.code, 'too-large');
  const answers = await Promise.all(Array.from({ length: 8 }, () => ann.ask('get-presence', [])));
  const limited = answers.find(({ error }) => error?.code === 'rate-limited');
  assert.ok(limited.error.retryAfterMs > 0 && limited.error.retryAfterMs <= 1000, JSON.stringify(limited));
  const stale = await api.request('PUT', `/tenants/${name}`, {
    body: configurationOf(name),
    headers: { 'if-match': `"${view.revision - 1}"` },
  });
  assert.equal(stale.status, 412);
  assert.deepEqual(ann.disconnects, []);
});

test('a suspended tenant’s clients get the reason and can connect again later', async () => {
  const name = await freshTenant();
  const ann = await connect(server, 'ann', at(name, 'ann'));
  await api.requestOk('POST', `/tenants/${name}/suspend`);
  await ann.until(() => ann.disconnects.length > 0, 'the disconnect');
  assert.equal(ann.all('error-event')[0].message, 'the tenant is suspended');
  assert.match((await refused(server, at(name, 'ann'))).message, /suspended/);
  await api.requestOk('POST', `/tenants/${name}/resume`);
  await ann.back();
});

test('deleting a tenant ends its sockets with a reason and, when asked, its data', async () => {
  const name = await freshTenant();
  const room = freshRoom();
  for (const [query, left] of [['', 1], ['?data=true', 0]]) {
    const ann = await connect(server, 'ann', at(name, 'ann'));
    await ann.join(room);
    if (query === '') await ann.post(room, 'hello');
    await api.requestOk('DELETE', `/tenants/${name}${query}`);
    await ann.until(() => ann.disconnects.length > 0, 'the disconnect');
    assert.equal(ann.all('error-event').at(-1).message, 'the tenant was deleted');
    assert.equal((await api.request('GET', `/tenants/${name}`)).status, 404);
    await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
    const again = await connect(server, 'bob', at(name, 'bob'));
    assert.equal((await again.join(room, { after: 0 })).lastSeq, left, `after delete${query}`);
    again.close();
  }
});

test('a tenant that is deleted and made again at once is not closed with the one before', async () => {
  // As fast as possible.
  const many = { events_per_second: 100_000, event_burst: 100_000 };
  const more = { limits: many, quota: { ...many, guest_cpu: '100s' } };
  const name = await freshTenant(more);
  const ann = await connect(server, 'ann', at(name, 'ann'));
  await api.requestOk('DELETE', `/tenants/${name}`);
  await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, more) } });
  await ann.until(() => ann.disconnects.length > 0, 'the disconnect');
  const bob = await connect(server, 'bob', at(name, 'bob'));
  const room = freshRoom();
  await bob.join(room);
  // Longer than the previous tenant's namespace can take to close.
  for (const end = Date.now() + 3000; Date.now() < end;) await bob.post(room, 'x');
  assert.deepEqual(bob.disconnects, []);
  await connect(server, 'carol', at(name, 'carol'));
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  assert.match(metrics, new RegExp(`parlance_tenant_connections{tenant="${name}"} 2`));
  assert.match(metrics, new RegExp(`parlance_tenant_stored_rooms_limit{tenant="${name}"}`));
});

test('all errors of a tenant’s configuration are reported at once, each with its key, and nothing changes', async () => {
  const before = (await audit()).length;
  const wrong = await api.request('POST', '/tenants', {
    body: {
      name: 'Wrong Name',
      configuration: {
        auth: { keys: [{ algorithm: 'HS256', secret_file: '/etc/passwd' }] },
        limits: { content: 'much', connections: 5 },
        handlers: { message: { component: '/etc/passwd' } },
        quotas: {},
      },
    },
  });
  assert.equal(wrong.status, 422);
  const text = wrong.json.problems.join('\n');
  for (const key of ['name', 'auth.keys[0].secret_file', 'limits.content', 'limits.connections', 'handlers.message.component', 'quotas']) {
    assert.ok(text.includes(key), `${key} in:\n${text}`);
  }
  for (const [method, path, options, status] of [
    ['POST', '/tenants', { raw: '{', headers: { 'content-type': 'application/json' } }, 400],
    ['POST', '/tenants', { body: { name: 'default', configuration: configurationOf('default') } }, 409],
    ['PUT', '/tenants/default', { body: configurationOf('default') }, 409],
    ['DELETE', '/tenants/nobody', {}, 404],
    ['GET', '/nothing', {}, 404],
    ['GET', '/tenants/%FF', {}, 400],
    ['POST', '/tenants/default/handlers/%FF/versions', { raw: 'x' }, 400],
    ['PATCH', '/tenants', {}, 405],
    ['POST', '/openapi.json', {}, 405],
    ['POST', '/tenants', { body: { name: 'x'.repeat(257 * 1024) } }, 413],
    ['POST', '/tenants/default/handlers/x/promote', {}, 404],
    ['POST', '/tenants/default/handlers/Bad_Name/versions', { raw: 'x' }, 422],
    ['POST', '/tenants/default/revocations', { body: {} }, 422],
    ['POST', '/tenants/default/revocations', { body: { user: 'ann', expiresAt: Date.now() - 1 } }, 422],
  ]) {
    const answer = await api.request(method, path, options);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.type, 'application/problem+json');
    assert.equal(answer.json.status, status);
    if (status === 413) assert.equal(answer.json.code, 'too-large');
    if (status === 405) assert.deepEqual([answer.json.code, answer.allow?.includes('GET')], ['method-not-allowed', true]);
  }
  assert.equal((await audit()).length, before, 'what is refused leaves no entry');
});

test('a file that is not a handler is refused with the reason, and the running version continues', async () => {
  const good = readFileSync(guest('stamped'));
  const cases = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from('(component)'), /text/],
    [Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), /core module/],
    [Buffer.from('\x7fELF and so on'), /never accepted/],
    [good.subarray(0, good.length / 2), /does not compile/],
    [Buffer.from('hello'), /not a WebAssembly component/],
    [Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]), /exports none/],
  ];
  for (const [raw, reason] of cases) {
    const answer = await api.request('POST', '/tenants/default/handlers/bad/versions', { raw });
    assert.equal(answer.status, 422, answer.text);
    assert.match(answer.json.detail, reason);
  }
  assert.equal(await api.handler('default', 'bad'), undefined);
  const large = await api.request('POST', '/tenants/default/handlers/bad/versions', { raw: Buffer.alloc(33 * 1024 * 1024) });
  assert.equal(large.status, 413);
  assert.equal(large.type, 'application/problem+json');
});

test('a deployment has its turn before its component is read, and of the tenant that may have one of that size', async () => {
  const [name, other] = [await freshTenant(), await freshTenant({ sandbox: { component_size: '64KiB' } })];
  const deploy = (tenant, raw = 'x') => api.request('POST', `/tenants/${tenant}/handlers/x/versions`, { raw });
  // A deployment that has begun and stalls. If one of those below was running, it is refused, which the client only
  // learns once all of it was sent; then it starts again.
  let half;
  const begin = () => {
    half?.destroy();
    half = httpRequest(`${server.adminUrl}/admin/v1/tenants/${name}/handlers/half/versions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-length': 1000 },
    });
    half.on('error', () => {});
    half.write('x');
  };
  owned({ close: () => half.destroy() });
  let tries = 0;
  const full = await eventually(async () => {
    if (tries % 10 === 0) begin();
    tries += 1;
    const answer = await deploy(name);
    return answer.status === 429 && answer;
  }, 'a refusal');
  assert.match(full.json.detail, /a deployment of this tenant is under way/);
  assert.deepEqual([full.json.code, full.json.retryAfterMs, full.retryAfter], ['rate-limited', 1000, '1']);
  assert.equal((await deploy(other)).status, 422, 'another tenant has a turn of its own');
  half.destroy();
  await eventually(async () => (await deploy(name)).status === 422, 'the turn of one that was given up');

  const large = await deploy(other, Buffer.alloc(64 * 1024 + 1));
  assert.deepEqual([large.status, large.json.code], [413, 'too-large']);
  assert.match(large.json.detail, /65536 bytes.*sandbox\.component_size/);
  const unannounced = await fetch(`${server.adminUrl}/admin/v1/tenants/${other}/handlers/x/versions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    body: new Blob([Buffer.alloc(64 * 1024 + 1)]).stream(),
    duplex: 'half',
  });
  assert.equal(unannounced.status, 413, 'also when its size is not said before');
});

test('two deployed handlers cannot handle the same events, and each keeps a few versions', async () => {
  const name = await freshTenant({ quota: { versions: 2 } });
  await api.deploy(name, 'one', guest('stamped'));
  const conflict = await api.request('POST', `/tenants/${name}/handlers/two/versions`, { raw: readFileSync(guest('stamped')) });
  assert.equal(conflict.status, 409, conflict.text);
  for (let n = 0; n < 3; n += 1) await api.deploy(name, 'one', guest('stamped'), `?note=${n}`);
  const view = await api.handler(name, 'one');
  assert.deepEqual(view.versions.map((version) => [version.version, version.state]), [[4, 'active'], [3, 'kept']]);
  const gone = await api.request('POST', `/tenants/${name}/handlers/one/rollback`, { body: { to: 1 } });
  assert.equal(gone.status, 404);
  await server.restart();
  assert.equal((await api.handler(name, 'one')).active, 4, 'after a restart');
});

test('a revoked token is refused, and clients connected with it are notified and disconnected', async () => {
  const name = await freshTenant();
  const connected = (user, claims) => connect(server, user, { ...at(name, user, claims), reconnection: false });
  const one = await connected('ann', { jti: 'token-1' });
  const other = await connected('ann', { jti: 'token-2' });
  const bob = await connected('bob', {});
  const made = await api.requestOk('POST', `/tenants/${name}/revocations`, { body: { tokenId: 'token-1' } });
  await one.until(() => one.disconnects.length > 0, 'the disconnect');
  assert.deepEqual(one.all('error-event').map((event) => [event.event, event.code, event.message]), [
    ['token', 'denied', 'the token has been revoked'],
  ]);
  assert.match((await refused(server, at(name, 'ann', { jti: 'token-1' }))).message, /revoked/);
  assert.deepEqual(other.disconnects, []);

  await api.requestOk('POST', `/tenants/${name}/revocations`, { body: { user: 'ann' } });
  await other.until(() => other.disconnects.length > 0, 'the disconnect');
  assert.deepEqual(bob.disconnects, []);
  await connected('ann', { iat: seconds(5) });

  await api.requestOk('POST', `/tenants/${name}/revocations`, { body: { issuedBefore: Date.now() + 60_000 } });
  await bob.until(() => bob.disconnects.length > 0, 'the disconnect');
  assert.equal((await api.requestOk('GET', `/tenants/${name}/revocations`)).length, 3);
  await server.restart();
  assert.match((await refused(server, at(name, 'bob'))).message, /revoked/, 'after a restart');
  await api.requestOk('DELETE', `/tenants/${name}/revocations/all`);
  await connected('bob', {});
  assert.equal((await refused(server, at(name, 'ann', { jti: 'token-1' }))).message.includes('revoked'), true, made.id);
});

test('a token’s expiry is announced once, a newer token postpones it, and then the client is notified and disconnected', async () => {
  const other = await startServer({ config: { auth: { expiring_notice: '6s', leeway: '0s' } } });
  const ann = await connect(other, 'ann', { auth: { token: token('ann', { exp: seconds(7) }) }, reconnection: false });
  const { expiresAt } = await ann.next('token-expiring');
  assert.ok(expiresAt > Date.now());
  const longer = await ann.askOk('refresh-token', token('ann', { exp: seconds(10) }));
  await ann.next('token-expiring', (event) => event.expiresAt === longer.expiresAt);
  await ann.until(() => ann.disconnects.length > 0, 'the disconnect');
  assert.ok(Date.now() >= longer.expiresAt, 'not before');
  assert.equal(ann.all('token-expiring').length, 2);
  assert.equal(ann.all('error-event').at(-1).message, 'the token has expired');
});

test('log lines and traps are seen as they happen', async () => {
  const name = await freshTenant();
  const stop = new AbortController();
  owned({ close: () => stop.abort() });
  const stream = await fetch(`${server.adminUrl}/admin/v1/logs?tenant=${name}&level=trap`, {
    headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    signal: stop.signal,
  });
  assert.equal(stream.headers.get('content-type'), 'application/x-ndjson');
  await api.deploy(name, 'hostile', guest('hostile'));
  const ann = await connect(server, 'ann', at(name, 'ann'));
  const answer = await ann.ask('kv-set-then-trap', { key: 'k' });
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  const line = JSON.parse((await reader.read()).value.split('\n')[0]);
  assert.deepEqual([line.tenant, line.handler, line.version, line.level], [name, 'hostile', 1, 'trap']);
  assert.ok(answer.error.message.includes(line.event), 'the client can name the event');
  assert.ok(!answer.error.message.includes(line.text), 'and is told nothing of the inside');
});

test('the OpenAPI document lists all operations, and each was called here', async () => {
  const document = JSON.parse((await api.request('GET', '/openapi.json')).text);
  assert.match(document.openapi, /^3\.1/);
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`));
  assert.ok(operations.length >= 18, operations.join('\n'));
  for (const operation of operations) {
    const [method, path] = operation.split(' ');
    const answer = await fetch(server.adminUrl + path.replace(/\{\w+\}/g, 'nothing'), { method });
    assert.equal(answer.status, 401, `${operation} is there and asks for a token`);
  }
  // In an order in which each operation has an effect, except a few: there are no other servers, recorded events or requests.
  const [configuration, component] = [configurationOf('called'), { raw: readFileSync(guest('stamped')) }];
  const [users, tenant, handler] = [{ users: ['ann'] }, '/tenants/{tenant}', '/tenants/{tenant}/handlers/{handler}'];
  const calls = [
    ['POST', '/tenants', { body: { name: 'called', configuration } }, 201],
    ['GET', '/tenants', {}, 200],
    ['GET', tenant, {}, 200],
    ['PUT', tenant, { body: configuration }, 200],
    ['POST', `${tenant}/suspend`, {}, 200],
    ['POST', `${tenant}/resume`, {}, 200],
    ['GET', `${tenant}/usage`, {}, 200],
    ['POST', `${tenant}/data`, { raw: EMPTY_EXPORT, headers: { 'content-type': 'application/x-ndjson' } }, 200],
    ['GET', `${tenant}/data`, {}, 200],
    ['GET', `${tenant}/users/{user}/data`, {}, 200],
    ['DELETE', `${tenant}/users/{user}/data`, {}, 200],
    ['GET', `${tenant}/users/{user}/erasure`, {}, 200],
    ['POST', `${handler}/versions`, component, 201],
    ['POST', `${handler}/versions?canary=10`, component, 201],
    ['GET', `${tenant}/handlers`, {}, 200],
    ['POST', `${handler}/canary`, { body: { percent: 20 } }, 200],
    ['POST', `${handler}/promote`, {}, 200],
    ['POST', `${handler}/rollback`, { body: {} }, 200],
    ['POST', `${tenant}/revocations`, { body: { tokenId: 'known' } }, 201],
    ['GET', `${tenant}/revocations`, {}, 200],
    ['DELETE', `${tenant}/revocations/{id}`, {}, 204],
    ['GET', '/audit', {}, 200],
    ['GET', `${tenant}/requests`, {}, 200],
    ['POST', `${tenant}/requests/{handler}/{id}/retry`, {}, 404],
    ['DELETE', `${tenant}/requests/{handler}/{id}`, {}, 404],
    ['POST', `${tenant}/clients/find`, { body: users }, 200],
    ['POST', `${tenant}/clients/emit`, { body: { event: 'x', to: users } }, 204],
    ['POST', `${tenant}/clients/disconnect`, { body: users }, 204],
    ['POST', `${tenant}/servers/emit`, { body: { event: 'x' } }, 409],
    ['POST', `${tenant}/recording`, { body: { limit: 1 } }, 201],
    ['GET', `${tenant}/recording`, {}, 200],
    ['POST', `${handler}/backtest`, component, 409],
    ['POST', `${tenant}/recording/stop`, {}, 200],
    ['GET', `${tenant}/recording/events`, {}, 200],
    ['DELETE', `${tenant}/recording`, {}, 204],
    ['POST', `${tenant}/rooms/{room}/messages`, { body: { bot: 'b', content: 'x' } }, 201],
    ['GET', `${tenant}/rooms/{room}/messages`, {}, 200],
    ['GET', `${tenant}/rooms`, {}, 200],
    ['PUT', `${tenant}/rooms/{room}/members/{user}`, { body: { role: 'member' } }, 204],
    ['GET', `${tenant}/rooms/{room}/members`, {}, 200],
    ['DELETE', `${tenant}/rooms/{room}/members/{user}`, {}, 204],
    ['GET', `${tenant}/messages/{message}`, {}, 200],
    ['PATCH', `${tenant}/messages/{message}`, { body: { content: 'y' } }, 200],
    ['DELETE', `${tenant}/messages/{message}`, {}, 200],
    ['DELETE', handler, {}, 204],
    ['DELETE', tenant, {}, 204],
  ];
  const names = { tenant: 'called', handler: 'h', id: 'token:known', room: 'lobby', user: 'ann' };
  for (const [method, path, options, status] of calls) {
    const answer = await api.request(method, path.replace(/\{(\w+)\}/g, (_, name) => names[name]), options);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    if (status === 201 && path.endsWith('/messages')) names.message = answer.json.id;
  }
  // Its response does not end by itself.
  const stop = new AbortController();
  const stream = await fetch(`${server.adminUrl}/admin/v1/logs`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, signal: stop.signal });
  assert.equal(stream.status, 200);
  stop.abort();
  const called = calls.map(([method, path]) => `${method} /admin/v1${path.split('?')[0]}`);
  assert.deepEqual([...new Set([...called, 'GET /admin/v1/logs'])].sort(), operations.toSorted());
  for (const reference of JSON.stringify(document).match(/#\/components\/schemas\/\w+/g)) {
    assert.ok(document.components.schemas[reference.split('/').at(-1)], reference);
  }
});

test('every change is in the audit log, once', async () => {
  const name = await freshTenant();
  await api.deploy(name, 'h', guest('stamped'));
  await api.deploy(name, 'h', guest('stamped'), '?canary=10');
  await api.requestOk('POST', `/tenants/${name}/handlers/h/canary`, { body: { percent: 20 } });
  await api.requestOk('POST', `/tenants/${name}/handlers/h/promote`);
  await api.requestOk('POST', `/tenants/${name}/handlers/h/rollback`, { body: {} });
  await api.requestOk('DELETE', `/tenants/${name}/handlers/h`);
  await api.requestOk('POST', `/tenants/${name}/revocations`, { body: { tokenId: 't' } });
  await api.requestOk('DELETE', `/tenants/${name}/revocations/token:t`);
  await api.requestOk('PUT', `/tenants/${name}`, { body: configurationOf(name) });
  await api.requestOk('POST', `/tenants/${name}/suspend`);
  await api.requestOk('POST', `/tenants/${name}/resume`);
  await api.requestOk('DELETE', `/tenants/${name}`);
  const own = (await audit()).filter((entry) => entry.startsWith(`${name}:`)).map((entry) => entry.split(':')[1]);
  assert.deepEqual(own.reverse(), [
    'tenant.create', 'handler.deploy', 'handler.deploy', 'handler.canary', 'handler.promote', 'handler.rollback',
    'handler.remove', 'token.revoke', 'token.unrevoke', 'tenant.replace', 'tenant.suspend', 'tenant.resume', 'tenant.delete',
  ]);
});

test('events for clients: without other nodes too, in bounds, and within the tenant', async () => {
  const room = freshRoom();
  const client = await connect(server, 'reached');
  await client.join(room);
  const clients = '/tenants/default/clients';
  const emit = (body) => api.request('POST', `${clients}/emit`, { body });
  assert.equal((await emit({ event: 'hello', arguments: ['you'], to: { rooms: [room] } })).status, 204);
  await client.until(() => client.received.some(({ event, args }) => event === 'hello' && args[0] === 'you'), 'the event');
  const { sockets, complete } = await api.requestOk('POST', `${clients}/find`, { body: { users: ['reached'] } });
  assert.deepEqual([sockets.length, complete, sockets[0].rooms, sockets[0].data.userId], [1, true, [room], 'reached']);

  for (const [body, status, words] of [
    [{ event: 'x', to: {} }, 422, /name the clients/],
    [{ event: 'x', to: { rooms: ['a\u0000b'] } }, 422, /rooms:/],
    [{ event: '', to: { rooms: [room] } }, 422, /event name/],
    [{ event: 'disconnect', to: { rooms: [room] } }, 422, /reserved by Socket.IO/],
    [{ event: 'x', to: { rooms: Array.from({ length: 101 }, (_, n) => `r${n}`) } }, 422, /at most 100/],
    [{ event: 'x', to: { room } }, 400, /unknown field/],
  ]) {
    const answer = await emit(body);
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, words);
  }
  // The limit is `sandbox.emit`, as for handlers.
  const large = await emit({ event: 'x', arguments: ['x'.repeat(128 * 1024)], to: { rooms: [room] } });
  assert.deepEqual([large.status, large.json.code], [413, 'too-large']);
  assert.match(large.json.detail, /sandbox\.emit/);
  const fits = await emit({ event: 'x', arguments: ['x'.repeat(128 * 1024 - 4)], to: { rooms: [room] } });
  assert.equal(fits.status, 204, fits.text);
  const servers = await api.request('POST', '/tenants/default/servers/emit', { body: { event: 'x' } });
  assert.equal(servers.status, 409, servers.text);
  assert.match(servers.json.detail, /redis\.url is not set/);

  assert.equal((await api.request('POST', `${clients}/disconnect`, { body: { rooms: [room] } })).status, 204);
  await client.until(() => client.disconnects.length === 1, 'being disconnected');
});
