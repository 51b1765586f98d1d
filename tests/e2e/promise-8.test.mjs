// Promise 8. Two tenants use the same names for everything, and neither sees anything of the other.
// ARCHITECTURE.md#8-nobody-elses says what makes it true.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf, secretOf } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const hostile = { handlers: { event: { component: guest('hostile') } } };
const env = { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN };
const tenants = { acme: configurationOf('acme', hostile), globex: configurationOf('globex', hostile) };
const server = await startServer({ env, config: { tenants } });

/**
 * Two tenants use the same room, users, client ids and keys, each with a user at the first and one at the last of these
 * nodes. Asserts that nothing of one tenant reaches the other.
 */
async function apart(nodes) {
  const room = freshRoom();
  const users = async (tenant) => [
    await connect(nodes[0], 'ann', at(tenant, 'ann')),
    await connect(nodes.at(-1), 'eve', at(tenant, 'eve')),
  ];
  const acme = await users('acme');
  const [ann, eve] = acme;
  await ann.join(room);
  await eve.join(room);
  const globex = await users('globex');
  const [bob, bea] = globex;
  assert.deepEqual((await bob.join(room)).data.members, ['ann'], 'nobody but the own tenant’s user');
  await bea.join(room);

  const message = await ann.post(room, 'for acme only', { clientId: 'c-1' });
  assert.equal((await bob.post(room, 'for globex only', { clientId: 'c-1' })).seq, 1, 'its own count and its own client ids');
  for (const client of acme) await client.next('new-message', ({ content }) => content === 'for acme only');
  for (const client of globex) await client.next('new-message', ({ content }) => content === 'for globex only');
  assert.deepEqual((await bea.history(room)).map((each) => each.content), ['for globex only']);
  assert.deepEqual((await eve.history(room)).map((each) => each.content), ['for acme only']);
  assertFailed(await bob.ask('read-message', message.id), 'not-found');
  await eve.askOk('read-message', message.id);

  const shown = async (client) => (await client.askOk('get-presence', ['ann'])).states[0].status;
  // A node learns of another node's users with a delay, and separately for each tenant.
  for (const client of [eve, bea]) await eventually(async () => (await shown(client)) === 'online', 'the last node to see ann');
  await ann.askOk('set-presence', 'away');
  await eventually(async () => (await shown(eve)) === 'away', 'the own tenant to see it');
  assert.equal(await shown(bea), 'online', 'of the asker’s own tenant');

  const value = async (client, key) => (await client.askOk('kv-get', { key })).value ?? null;
  await ann.askOk('kv-set-then-ok', { key: 'k' });
  assert.equal(await value(eve, 'k'), 'an action', 'the owner has it');
  assert.equal(await value(bea, 'k'), null);
  await bob.askOk('kv-delete-then-ok', { key: 'k' });
  assert.equal(await value(ann, 'k'), 'an action', 'what another deletes is another’s');
  for (const client of [ann, eve, bob]) await client.askOk('kv-increment-then-ok', { key: 'n' });
  assert.deepEqual([await value(ann, 'n'), await value(bea, 'n')], ['2', '1'], 'each counts its own');

  // Operations of back ends on clients, with the same names.
  const api = admin(nodes[0]);
  await api.requestOk('POST', '/tenants/acme/clients/emit', { body: { event: 'for-acme', to: { rooms: [room], users: ['ann'] } } });
  await api.requestOk('POST', '/tenants/globex/clients/emit', { body: { event: 'for-globex', to: { rooms: [room] } } });
  for (const client of acme) await client.until(() => client.received.some(({ event }) => event === 'for-acme'), 'for-acme');
  for (const client of globex) await client.until(() => client.received.some(({ event }) => event === 'for-globex'), 'for-globex');
  await api.requestOk('POST', '/tenants/acme/clients/disconnect', { body: { users: ['ann', 'eve'] } });
  for (const client of acme) await client.until(() => client.disconnects.length > 0, 'the disconnect');
  for (const client of globex) await client.askOk('get-presence', []);
  assert.deepEqual(globex.map((client) => client.disconnects), [[], []]);

  for (const [clients, other] of [[acme, 'globex'], [globex, 'acme']]) {
    for (const client of clients) {
      const heard = JSON.stringify(client.received);
      assert.ok(!heard.includes(`for ${other} only`) && !heard.includes(`for-${other}`), heard);
    }
  }
}

test("8. Nobody else's: rooms, history, presence and key-value data of tenants are separate", () => apart([server]));

test("8. Nobody else's: also on nodes that share a Redis and a PostgreSQL", async () => {
  const { nodes } = await startFleet({ config: { tenants }, env });
  await apart(nodes);
});

test("8. Nobody else's: a token of one tenant opens no other namespace", async () => {
  const wrong = [
    ['/acme', token('ann', {}, { secret: secretOf('globex') })],
    ['/globex', token('ann', {}, { secret: secretOf('acme') })],
    ['/', token('ann', {}, { secret: secretOf('acme') })],
    ['/acme', token('ann')],
    // A claim that names a tenant has no effect.
    ['/acme', token('ann', { tenant: 'acme' }, { secret: secretOf('globex') })],
  ];
  for (const [namespace, own] of wrong) {
    const error = await refused(server, { namespace, auth: { token: own } });
    assert.match(error.message, /^Authentication error/);
  }
  assert.match((await refused(server, { namespace: '/nobody', auth: { token: token('ann') } })).message, /namespace/i);
});

test("8. Nobody else's: an admin token of one tenant reaches that tenant only", async () => {
  const { createHash } = await import('node:crypto');
  const own = 'the admin token of acme';
  const other = await startServer({
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
    config: {
      admin: { tokens: [{ name: 'acme-ci', tenant: 'acme', token_sha256: createHash('sha256').update(own).digest('hex') }] },
      tenants: { acme: configurationOf('acme'), globex: configurationOf('globex') },
    },
  });
  const acme = admin(other, own);
  assert.deepEqual((await acme.requestOk('GET', '/tenants')).map((tenant) => tenant.name), ['acme']);
  await acme.requestOk('GET', '/tenants/acme/handlers');
  for (const path of ['/tenants/globex', '/tenants/globex/handlers', '/tenants/globex/usage', '/tenants/globex/revocations']) {
    const refusal = await acme.request('GET', path);
    assert.equal(refusal.status, 404, path);
    const absent = await acme.request('GET', path.replace('globex', 'nobody'));
    assert.equal(refusal.json.detail.replace('globex', 'nobody'), absent.json.detail, 'as if it were not there');
  }
  for (const [method, path, body] of [
    ['POST', '/tenants', { name: 'mine', configuration: configurationOf('mine') }],
    ['DELETE', '/tenants/acme'],
    ['POST', '/tenants/acme/suspend'],
  ]) {
    assert.equal((await acme.request(method, path, { body })).status, 403, `${method} ${path}`);
  }
  const deployed = await acme.request('POST', '/tenants/globex/handlers/x/versions', { raw: 'x' });
  assert.equal(deployed.status, 404);
});
