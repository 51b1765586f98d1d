// A tenant's admin token on every route: for its own tenant, and for another.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const TOKEN = 'the admin token of acme alone';
const BUSY_TOKEN = 'the admin token of busy alone';
const tokenOf = (tenant, token) => ({ name: `${tenant}-ci`, tenant, token_sha256: createHash('sha256').update(token).digest('hex') });
const hostile = { handlers: { event: { component: guest('hostile') } } };
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    admin: { tokens: [tokenOf('acme', TOKEN), tokenOf('busy', BUSY_TOKEN)] },
    tenants: { acme: configurationOf('acme', hostile), busy: configurationOf('busy') },
  },
});
const [operator, acme, busy] = [admin(server), admin(server, TOKEN), admin(server, BUSY_TOKEN)];
await operator.requestOk('POST', '/tenants', { body: { name: 'globex', configuration: configurationOf('globex') } });
for (const tenant of ['acme', 'globex']) {
  await operator.deploy(tenant, 'stamped', guest('stamped'));
  await operator.deploy(tenant, 'stamped', guest('stamped'), '?canary=10');
  await operator.requestOk('POST', `/tenants/${tenant}/revocations`, { body: { tokenId: 'known' } });
}
// A tenant of the admin API cannot name files.
await operator.deploy('globex', 'hostile', guest('hostile'));

/** A message of acme. */
const { id: MESSAGE } = await operator.requestOk('POST', '/tenants/acme/rooms/lobby/messages', { body: { bot: 'b', content: 'hello' } });

const document = JSON.parse((await operator.request('GET', '/openapi.json')).text);
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.keys(item).map((method) => [method.toUpperCase(), path.replace('/admin/v1', '')]));

/** The operations that only operators may use, each with a request that is valid except for the role. */
const OPERATORS_ONLY = ['POST /tenants', 'PUT /tenants/{tenant}', 'DELETE /tenants/{tenant}', 'POST /tenants/{tenant}/suspend',
  'POST /tenants/{tenant}/resume', 'POST /tenants/{tenant}/data'];
/** Operations that fail for every role, since there are no other servers, and no recorded events, requests or erasures. */
const FAILS = {
  'POST /tenants/{tenant}/servers/emit': /no other/,
  'POST /tenants/{tenant}/handlers/{handler}/backtest': /recorded event/,
  'POST /tenants/{tenant}/requests/{handler}/{id}/retry': /has no request/,
  'DELETE /tenants/{tenant}/requests/{handler}/{id}': /has no request/,
  'GET /tenants/{tenant}/users/{user}/erasure': /no erasure/,
};
const BODIES = {
  'POST /tenants': { name: 'mine', configuration: configurationOf('mine') },
  'PUT /tenants/{tenant}': configurationOf('globex'),
  'POST /tenants/{tenant}/handlers/{handler}/canary': { percent: 20 },
  'POST /tenants/{tenant}/handlers/{handler}/rollback': {},
  'POST /tenants/{tenant}/revocations': { user: 'ann' },
  'POST /tenants/{tenant}/clients/find': { users: ['ann'] },
  'POST /tenants/{tenant}/clients/emit': { event: 'x', to: { users: ['ann'] } },
  'POST /tenants/{tenant}/clients/disconnect': { users: ['ann'] },
  'POST /tenants/{tenant}/servers/emit': { event: 'x' },
  'POST /tenants/{tenant}/recording': { limit: 1 },
  'POST /tenants/{tenant}/rooms/{room}/messages': { bot: 'b', content: 'hello' },
  'PUT /tenants/{tenant}/rooms/{room}/members/{user}': { role: 'member' },
  'PATCH /tenants/{tenant}/messages/{message}': { content: 'hello again' },
};

function ask(api, operation, tenant) {
  const [method, path] = operation.split(' ');
  const url = path.replace('{tenant}', tenant).replace('{handler}', 'stamped').replace('{id}', 'token:known')
    .replace('{room}', 'lobby').replace('{user}', 'ann').replace('{message}', MESSAGE);
  if (/\/(versions|backtest)$/.test(url)) return api.request(method, url, { raw: readFileSync(guest('stamped')) });
  return api.request(method, url, { body: BODIES[operation] });
}

/** Asks until the tenant's share of changes in a second is there for it. */
const unhurried = (request) => eventually(async () => {
  const answer = await request();
  return answer.status !== 429 && answer;
}, 'the changes of the next second');

const names = operations.map((each) => each.join(' '));
const ofTenants = names.filter((name) => name.includes('{tenant}'));

test('every route belongs to one tenant or is listed here', () => {
  const others = names.filter((name) => !name.includes('{tenant}'));
  assert.deepEqual(others.sort(), ['GET /audit', 'GET /logs', 'GET /tenants', 'POST /tenants']);
  assert.ok(ofTenants.length >= 17, ofTenants.join('\n'));
  for (const name of [...Object.keys(BODIES), ...OPERATORS_ONLY]) assert.ok(names.includes(name), name);
});

test('another tenant is refused on every route like a missing one, and nothing happens to it', async () => {
  const ann = await connect(server, 'ann', at('globex', 'ann'));
  const state = async () => {
    const [view, ...lists] = await Promise.all(['', '/handlers', '/revocations'].map((path) => operator.requestOk('GET', `/tenants/globex${path}`)));
    return JSON.stringify([view, lists]);
  };
  const before = await state();
  const entries = await operator.requestOk('GET', '/audit?tenant=globex&limit=500');
  for (const name of ofTenants) {
    const refusal = await ask(acme, name, 'globex');
    const absent = await ask(acme, name, 'nobody');
    assert.equal(refusal.status, OPERATORS_ONLY.includes(name) ? 403 : 404, `${name}: ${refusal.text}`);
    assert.equal(refusal.text.replaceAll('globex', 'nobody'), absent.text, name);
  }
  assert.equal(await state(), before);
  assert.deepEqual(await operator.requestOk('GET', '/audit?tenant=globex&limit=500'), entries);
  assert.deepEqual([ann.disconnects, ann.received.map(({ event }) => event).filter((event) => event === 'x')], [[], []]);
});

test('its own tenant is served on every route but those of operators', async () => {
  // In an order in which each operation finds what it needs: a canary ends with its promotion or the next deployment,
  // a recording must be over for its events to end, and deletions come last.
  const ranks = [/\/canary$/, /\/promote$/, /^POST .*\/recording$/, /\/recording\/stop$/, /^(?!DELETE)/, /^DELETE/];
  const rank = (name) => ranks.findIndex((words) => words.test(name));
  for (const name of ofTenants.toSorted((a, b) => rank(a) - rank(b))) {
    const answer = await unhurried(() => ask(acme, name, 'acme'));
    if (OPERATORS_ONLY.includes(name)) {
      assert.equal(answer.status, 403, `${name}: ${answer.text}`);
      assert.equal(answer.json.code, 'forbidden');
    } else {
      const served = FAILS[name] ? answer.status >= 400 && FAILS[name].test(answer.text) : answer.status < 300;
      assert.ok(served, `${name}: ${answer.status} ${answer.text}`);
    }
  }
});

test('of data about all tenants it sees only its own', async () => {
  assert.equal((await unhurried(() => ask(acme, 'POST /tenants'))).status, 403);
  assert.deepEqual((await acme.requestOk('GET', '/tenants')).map(({ name }) => name), ['acme']);
  for (const path of ['/audit?tenant=globex', '/logs?tenant=globex']) assert.equal((await acme.request('GET', path)).status, 404, path);
  const entries = await acme.requestOk('GET', '/audit?limit=500');
  assert.ok(entries.length > 0);
  assert.deepEqual([...new Set(entries.map(({ tenant }) => tenant))], ['acme']);

  const stop = new AbortController();
  owned({ close: () => stop.abort() });
  const stream = await fetch(`${server.adminUrl}/admin/v1/logs`, {
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: stop.signal,
  });
  for (const tenant of ['globex', 'acme']) {
    const client = await connect(server, 'bob', at(tenant, 'bob'));
    await client.askOk('log', { message: `a word of ${tenant}, ${freshRoom()}` });
  }
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  assert.equal(JSON.parse(value.split('\n')[0]).tenant, 'acme');
});

test('a tenant’s tokens change so much in a second, and read and send events besides', async () => {
  const find = () => busy.request('POST', '/tenants/busy/clients/find', { body: { users: ['ann'] } });
  const many = (what, n) => Promise.all(Array.from({ length: n }, what));
  const full = await eventually(async () => (await many(find, 40)).find(({ status }) => status === 429), 'a refusal');
  assert.equal(full.json.code, 'rate-limited');
  assert.ok(full.json.retryAfterMs > 0 && full.json.retryAfterMs <= 1000, full.text);
  assert.equal(full.retryAfter, '1');

  const emit = () => busy.request('POST', '/tenants/busy/clients/emit', { body: { event: 'x', to: { users: ['ann'] } } });
  assert.deepEqual([...new Set((await many(emit, 60)).map(({ status }) => status))], [204]);
  await busy.requestOk('GET', '/tenants/busy');
  await operator.requestOk('POST', '/tenants/busy/clients/find', { body: { users: ['ann'] } });
});

test('the number of followers of a tenant’s log is limited, and operators do not count', async () => {
  const follow = async (bearer) => {
    const stop = new AbortController();
    owned({ close: () => stop.abort() });
    const headers = { authorization: `Bearer ${bearer}` };
    return { stop, answer: await fetch(`${server.adminUrl}/admin/v1/logs?tenant=busy`, { headers, signal: stop.signal }) };
  };
  const followers = await Promise.all(Array.from({ length: 16 }, () => follow(BUSY_TOKEN)));
  assert.deepEqual([...new Set(followers.map(({ answer }) => answer.status))], [200]);
  const { answer } = await follow(BUSY_TOKEN);
  const { code, retryAfterMs } = await answer.json();
  assert.deepEqual([answer.status, code, retryAfterMs, answer.headers.get('retry-after')], [429, 'rate-limited', 5000, '5']);
  assert.equal((await follow(ADMIN_TOKEN)).answer.status, 200);

  followers[0].stop.abort();
  await eventually(async () => {
    const next = await follow(BUSY_TOKEN);
    if (next.answer.status !== 200) await next.answer.text();
    return next.answer.status === 200;
  }, 'the place of one that has gone');
});
