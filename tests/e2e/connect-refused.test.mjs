// Changes during a handshake: which clients are accepted, and which errors the others get.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { Client, connect, refused } from './lib/client.mjs';
import { as, issuer, key } from './lib/issuer.mjs';
import { Raw } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const api = admin(server);

let tenants = 0;
async function freshTenant(configuration) {
  tenants += 1;
  const name = `tenant-${tenants}`;
  await api.requestOk('POST', '/tenants', { body: { name, configuration } });
  return name;
}

/** A tenant with an issuer, whose key set has been read and is refreshed only for unknown keys. */
async function tenantOf(from, first, more = {}) {
  const configuration = (auth = {}) => ({ auth: { jwks: [from.source({ refresh: '1h' })], ...auth }, ...more });
  const name = await freshTenant(configuration());
  await connect(server, 'first', { namespace: `/${name}`, ...as(first, 'first') });
  return { name, configuration, of: (key, user, claims) => ({ namespace: `/${name}`, ...as(key, user, claims) }) };
}

const put = (name, configuration) => api.requestOk('PUT', `/tenants/${name}`, { body: configuration });

async function metric(pattern) {
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(pattern));
  assert.equal(lines.length, 1, `${pattern}: ${lines}`);
  return Number(lines[0].split(' ').at(-1));
}
const refusals = (reason) => metric(`parlance_refused_total{reason="${reason}"}`);

// The user's token is valid, except for what is decided while its key is being fetched.
const decisions = {
  'the tenant is suspended': {
    decide: ({ name }) => api.requestOk('POST', `/tenants/${name}/suspend`),
    told: 'denied: the tenant is suspended',
  },
  'the tenant is deleted': {
    decide: ({ name }) => api.requestOk('DELETE', `/tenants/${name}`),
    told: 'denied: the tenant is suspended',
  },
  'the tenant gets another audience': {
    decide: ({ name, configuration }) => put(name, configuration({ audience: ['elsewhere'] })),
    told: 'Authentication error: the token is for another audience',
  },
  'the tenant is changed and then the token revoked': {
    decide: async ({ name, configuration }) => {
      await put(name, configuration({ leeway: '1s' }));
      await api.requestOk('POST', `/tenants/${name}/revocations`, { body: { tokenId: 'lost' } });
    },
    told: 'Authentication error: the token has been revoked',
  },
};
for (const [what, { decide, told }] of Object.entries(decisions)) {
  test(`a client that waits for a key while ${what} is refused`, async () => {
    const [old, fresh] = [key('old'), key('fresh')];
    const from = await issuer(old);
    const tenant = await tenantOf(from, old);
    const before = from.requests;
    const release = from.hold();
    const late = owned(new Client(server.url, 'late', tenant.of(fresh, 'late', { jti: 'lost' })));
    await eventually(async () => from.requests > before, 'a look for the key');
    await decide(tenant);
    release(old, fresh);
    await late.until(() => late.refusals.length > 0 || late.connects > 0, 'an answer');
    assert.deepEqual(late.refusals.map((error) => error.message), [told]);
    assert.equal(late.connects, 0);
  });
}

test('a client that disconnects while its key is being fetched keeps no connection permit', async () => {
  const [old, fresh] = [key('old'), key('fresh')];
  const from = await issuer(old);
  const { name, of } = await tenantOf(from, old, { quota: { connections_per_user: 1 } });
  const before = from.requests;
  const release = from.hold();
  const raw = new Raw(server);
  owned({ close: () => raw.ws.terminate() });
  await raw.frame('0{');
  raw.send(`40/${name},${JSON.stringify({ token: fresh.token('ann') })}`);
  await eventually(async () => from.requests > before, 'a look for the key');
  raw.ws.close();
  await raw.until(() => raw.closed, 'the end of the transport');
  release(old, fresh);
  // Its handshake ends together with those of others that wait for the same refresh.
  await connect(server, 'bob', of(fresh, 'bob'));
  await eventually(async () => {
    const ann = new Client(server.url, 'ann', of(fresh, 'ann'));
    await ann.until(() => ann.refusals.length > 0 || ann.connects > 0, 'an answer');
    ann.close();
    return ann.connects > 0;
  }, 'the seat to be free');
  const open = `parlance_tenant_connections{tenant="${name}"}`;
  await eventually(async () => (await metric(open)) === 2, 'the two others to be left');
});

test('a tenant that is deleted and made again at once can be connected to, then and later', async () => {
  // On a busy machine many connections of bob's are still ending.
  const more = { quota: { connections_per_user: 10_000 } };
  const name = await freshTenant(configurationOf(`tenant-${tenants + 1}`, more));
  const ann = await connect(server, 'ann', { ...at(name, 'ann'), reconnection: false });
  await api.requestOk('DELETE', `/tenants/${name}`);
  await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, more) } });
  await ann.until(() => ann.disconnects.length > 0, 'the end of the old tenant');
  // The old namespace is removed within two seconds after its last client has left.
  const end = performance.now() + 2500;
  do {
    const bob = await connect(server, 'bob', at(name, 'bob'));
    bob.close();
  } while (performance.now() < end);
});

test('a change of the tenant keeps the keys that were read, and asks the issuer no sooner', async () => {
  const good = key('good');
  const from = await issuer(good);
  const { name, configuration, of } = await tenantOf(from, good);
  const before = from.requests;
  for (let connections = 100; connections < 110; connections += 1) {
    await put(name, { ...configuration(), quota: { connections } });
  }
  from.answer = (response) => response.destroy();
  for (const change of ['suspend', 'resume']) await api.requestOk('POST', `/tenants/${name}/${change}`);
  await put(name, { ...configuration(), quota: { connections: 50 } });
  await connect(server, 'ann', of(good, 'ann'));
  assert.equal(from.requests, before);
  // Other intervals keep the keys, and the issuer is asked at the new intervals.
  await put(name, { auth: { jwks: [from.source({ refresh: '1s' })] } });
  await eventually(async () => from.requests > before + 1, 'looks in the new interval');
  await connect(server, 'ann', of(good, 'ann'));
});

test('each tenant configures how long before its expiry a token is announced', async () => {
  const name = await freshTenant(configurationOf('tenant'));
  const ours = (auth) => ({ auth: { ...configurationOf(name).auth, ...auth } });
  await put(name, ours({}));
  const ann = await connect(server, 'ann', at(name, 'ann'));
  await put(name, ours({ expiring_notice: '2h' }));
  const { expiresAt } = await ann.next('token-expiring');
  assert.ok(expiresAt > Date.now() + 60_000, 'long before the minute that is usual');
  // Other tenants are not affected: the default tenant has the default.
  const other = await connect(server, 'other');
  const late = await connect(server, 'late', at(name, 'late'));
  await late.next('token-expiring');
  assert.deepEqual(other.all('token-expiring'), []);
});

test('limits of connections are reported in a machine-readable form, and each reason is counted', async () => {
  const full = async (options, on = server) => {
    const { message } = await refused(on, options);
    const [, code, words, wait] = message.match(/^([a-z-]+): ([^;]+); retryAfterMs=(\d+)$/) ?? assert.fail(message);
    assert.ok(Number(wait) > 0);
    return `${code}: ${words}`;
  };
  const name = await freshTenant({ ...configurationOf(`tenant-${tenants + 1}`), quota: { connections: 2, connections_per_user: 1 } });
  await connect(server, 'ann', at(name, 'ann'));
  const [quota, token, closed] = [await refusals('quota'), await refusals('token'), await refusals('closed')];
  assert.equal(await full(at(name, 'ann')), 'quota-exceeded: the user has no room for another connection');
  await connect(server, 'bob', at(name, 'bob'));
  assert.equal(await full(at(name, 'eve')), 'quota-exceeded: the tenant has no room for another connection');
  assert.equal(await refusals('quota'), quota + 2);
  await refused(server, { namespace: `/${name}`, auth: { token: 'garbage' } });
  await api.requestOk('POST', `/tenants/${name}/suspend`);
  assert.equal((await refused(server, at(name, 'ann'))).message, 'denied: the tenant is suspended');
  assert.deepEqual([await refusals('token'), await refusals('closed')], [token + 1, closed + 1]);
  assert.equal(await refusals('quota'), quota + 2);

  const small = await startServer({ config: { limits: { connections: 1 } } });
  await connect(small, 'ann');
  assert.equal(await full({}, small), 'unavailable: the server has no room for another connection');
  const text = await (await fetch(`${small.adminUrl}/metrics`)).text();
  assert.match(text, /^parlance_refused_total\{reason="server-full"\} 1$/m);
});
