// Promise 8. Two tenants with the same names for everything; nothing of one is seen by the other.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf, secretOf } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const hostile = { handlers: { event: { component: guest('hostile') } } };
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: { tenants: { acme: configurationOf('acme', hostile), globex: configurationOf('globex', hostile) } },
});

test("8. Nobody else's: rooms, history, presence and key-value data of one tenant are not those of another", async () => {
  const room = freshRoom();
  const [ann, bob] = [await connect(server, 'ann', at('acme', 'ann')), await connect(server, 'ann', at('globex', 'ann'))];
  await ann.join(room);
  assert.deepEqual((await bob.join(room)).data.members, ['ann'], 'nobody but the own tenant’s user');
  const message = await ann.post(room, 'for acme only', { clientId: 'c-1' });
  assert.equal((await bob.post(room, 'for globex only', { clientId: 'c-1' })).seq, 1, 'its own count and its own client ids');
  await bob.next('new-message');
  assert.deepEqual((await bob.history(room)).map((each) => each.content), ['for globex only']);
  assert.deepEqual((await ann.history(room)).map((each) => each.content), ['for acme only']);
  assertFailed(await bob.ask('read-message', message.id), 'not-found');

  await ann.must('set-presence', 'away');
  const { states } = await bob.must('get-presence', ['ann']);
  assert.equal(states[0].status, 'online', 'of the asker’s own tenant');

  await ann.ask('kv-set', { key: 'k', message: 'acme' });
  assert.equal((await bob.ask('kv-get', { key: 'k' })).value ?? null, null);
  for (const [client, other] of [[ann, 'globex'], [bob, 'acme']]) {
    const heard = JSON.stringify(client.received);
    assert.ok(!heard.includes(`for ${other} only`), heard);
  }
});

test("8. Nobody else's: a token of one tenant opens no other namespace", async () => {
  const wrong = [
    ['/acme', token('ann', {}, { secret: secretOf('globex') })],
    ['/globex', token('ann', {}, { secret: secretOf('acme') })],
    ['/', token('ann', {}, { secret: secretOf('acme') })],
    ['/acme', token('ann')],
    // A claim of a tenant is a claim.
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
  assert.deepEqual((await acme.must('GET', '/tenants')).map((tenant) => tenant.name), ['acme']);
  await acme.must('GET', '/tenants/acme/handlers');
  for (const path of ['/tenants/globex', '/tenants/globex/handlers', '/tenants/globex/usage', '/tenants/globex/revocations']) {
    const refusal = await acme.request('GET', path);
    assert.equal(refusal.status, 404, path);
    const absent = await admin(other).request('GET', path.replace('globex', 'nobody'));
    assert.equal(refusal.json.title.replace('globex', 'nobody'), absent.json.title, 'as if it were not there');
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
