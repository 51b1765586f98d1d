// Tokens: the user's identity, and how long it is valid.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, configurationOf } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { seconds, token } from './lib/token.mjs';

const server = await startServer();

/** The user id and name that others see of a token's bearer. */
async function appearance(claims) {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const other = await connect(server, 'other', { auth: { token: token(undefined, claims) } });
  await other.join(room);
  await other.askOk('typing', room);
  const { userId, username } = await ann.next('user-typing', (each) => each.roomId === room);
  return [userId, username];
}

test('the user is `sub`, or else `id`; the name is `name`, or else `username`', async () => {
  assert.deepEqual(await appearance({ sub: 's', name: 'N' }), ['s', 'N']);
  assert.deepEqual(await appearance({ id: 'i', username: 'U' }), ['i', 'U']);
  assert.deepEqual(await appearance({ sub: 's', id: 'i', name: 'N', username: 'U' }), ['s', 'N']);
});

test('a connection ends when its token does, unless the token was refreshed', async () => {
  const exact = await startServer({ config: { auth: { leeway: '0s' } } });
  const exp = seconds(8);
  const [lapsing, renewing] = await Promise.all(['lapsing', 'renewing'].map((user) =>
    connect(exact, user, { auth: { token: token(user, { exp }) }, reconnection: false })));
  const { expiresAt } = await renewing.askOk('refresh-token', token('renewing', { exp: seconds(600) }));
  assert.ok(expiresAt > Date.now() + 500_000);
  await lapsing.until(() => lapsing.disconnects.length > 0, 'the end of the token');
  assert.deepEqual(lapsing.disconnects, ['io server disconnect']);
  assert.ok(Date.now() >= exp * 1000, 'not before the token ends');
  await renewing.join(freshRoom());
});

test('another user’s token, or an invalid one, refreshes nothing', async () => {
  const ann = await connect(server, 'ann');
  const bad = {
    'the token is another user\'s': token('bob'),
    'Authentication error: the token\'s signature is not accepted here':
      token('ann', {}, { secret: 'another secret that is longer than 32 bytes' }),
    'Authentication error: the token has expired': token('ann', { exp: seconds(-600) }),
    'Authentication error: the token is malformed': 'garbage',
    'Authentication error: no token was sent': '',
  };
  for (const [why, each] of Object.entries(bad)) {
    const answer = await ann.ask('refresh-token', each);
    assertFailed(answer, 'denied');
    assert.equal(answer.error.message, why);
  }
  await ann.join(freshRoom());
});

test('a tenant’s own keys rotate under live sockets', async () => {
  const rotating = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const api = admin(rotating);
  const [first, second] = ['the first secret, longer than 32 bytes', 'the second secret, longer than 32 bytes'];
  const keys = (...secrets) => ({ auth: { keys: secrets.map((secret) => ({ algorithm: 'HS256', secret })) } });
  const as = (user, secret) => ({ namespace: '/acme', auth: { token: token(user, {}, { secret }) } });
  const put = (configuration) => api.requestOk('PUT', '/tenants/acme', { body: configuration });
  await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme', keys(first)) } });
  const room = freshRoom();
  const ann = await connect(rotating, 'ann', as('ann', first));
  await ann.join(room);

  // Both keys for a while, as operators do it.
  await put(keys(first, second));
  const bob = await connect(rotating, 'bob', as('bob', second));
  await bob.join(room);
  await connect(rotating, 'late', as('late', first));

  await put(keys(second));
  assert.match((await refused(rotating, as('late', first))).message, /^Authentication error/);
  assertFailed(await ann.ask('refresh-token', token('ann', {}, { secret: first })), 'denied');
  await ann.post(room, 'a connection lives as long as the token that it began with');
  await bob.next('new-message', ({ userId }) => userId === 'ann');
  await ann.askOk('refresh-token', token('ann', {}, { secret: second }));
  await ann.post(room, 'and longer, with a newer one');
  assert.deepEqual(ann.disconnects, []);
});
