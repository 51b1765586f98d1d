// A handler of one tenant that uses the ids of another tenant's rooms, messages, users and keys.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest } from './lib/server.mjs';
import { member, startTenants } from './lib/tenants.mjs';
import { token } from './lib/token.mjs';

// Both have the same handler, so that each can read and write whatever the other can.
const handlers = { event: { component: guest('hostile') } };
const server = await startTenants({ evil: { handlers }, good: { handlers } });

/** Two tenants with the same ids: `good` has a user, a room with a message, and a key; `evil` has an attacker. */
async function scene() {
  const room = freshRoom();
  const victim = await member(server, 'good', `victim-${room}`);
  await victim.join(room);
  const message = await victim.post(room, 'a secret');
  const attacker = await member(server, 'evil', `attacker-${room}`);
  return { room, victim, attacker, messageId: message.id, key: `key-${room}` };
}

/** Asserts that the victim got nothing from the attacker: the next thing it gets is a marker that it posts itself. */
async function heardNothing({ victim, room }) {
  const before = victim.received.length;
  const mark = await victim.post(room, 'a mark');
  await victim.next('new-message', (each) => each.id === mark.id);
  const heard = victim.received.slice(before).filter(({ args }) => args[0]?.id !== mark.id);
  assert.deepEqual(heard, []);
}

test('attack: a forged room: nothing is read of it and nothing reaches it', async () => {
  const at = await scene();
  const action = { roomId: at.room, messageId: at.messageId, userId: at.victim.user };
  const { seen } = await at.attacker.askOk('spy', action);
  assert.deepEqual(seen, [
    'history: Err(Fault::Denied)',
    'message: Err(Fault::NotFound)',
    'members: Err(Fault::Denied)',
    'presence: Ok(Status::Offline)',
    'joined: false',
  ]);
  // It has the same name but is a different room: the attacker is alone in it.
  await at.attacker.join(at.room);
  const inside = (await at.attacker.askOk('spy', action)).seen;
  assert.deepEqual(inside, [
    'history: Ok(0)',
    'message: Err(Fault::NotFound)',
    'members: Ok(1)',
    'presence: Ok(Status::Offline)',
    'joined: true',
  ]);
  for (const event of ['emit-then-ok', 'post-then-ok']) await at.attacker.askOk(event, action);
  await heardNothing(at);
  assert.deepEqual((await at.victim.history(at.room)).map((each) => each.content), ['a secret', 'a mark']);
});

test('attack: a forged user: no event reaches the one of that name', async () => {
  const at = await scene();
  const twin = await member(server, 'evil', at.victim.user);
  await at.attacker.askOk('emit-user-then-ok', { userId: at.victim.user });
  await twin.next('action');
  await heardNothing(at);
  assert.deepEqual(at.victim.all('action'), []);
});

test('attack: a forged message: it cannot be marked as read', async () => {
  const at = await scene();
  assertFailed(await at.attacker.ask('mark-read-then-ok', { messageId: at.messageId }), 'not-found');
  await heardNothing(at);
});

test('attack: a forged key: each tenant has its own of that name', async () => {
  const at = await scene();
  await at.victim.askOk('kv-set-then-ok', { key: at.key });
  assert.equal((await at.attacker.askOk('kv-get', { key: at.key })).value, null);
  await at.attacker.askOk('kv-delete-then-ok', { key: at.key });
  assert.equal((await at.victim.askOk('kv-get', { key: at.key })).value, 'an action');
  // `a:b` and `c`, `a` and `b:c`: a key's prefix does not make it another handler's key.
  for (const prefix of ['good', 'good:event', 'event', '/good', 'tenant:good', '..', '../good']) {
    for (const between of [':', '/', '\u0001', '.']) {
      const key = `${prefix}${between}${at.key}`;
      assert.equal((await at.attacker.askOk('kv-get', { key })).value, null, JSON.stringify(key));
    }
  }
});

test('attack: a token of one tenant is refused by another, whatever it claims', async () => {
  const evil = (claims) => token('mallory', claims, { secret: 'the secret of evil, longer than 32 bytes' });
  for (const claims of [{}, { tenant: 'good' }, { tenant: 'good', tid: 'good', namespace: '/good' }]) {
    const error = await refused(server, { namespace: '/good', auth: { token: evil(claims) } });
    assert.match(error.message, /^Authentication error/);
  }
  await connect(server, 'mallory', { namespace: '/evil', auth: { token: evil({ tenant: 'good' }) } });
});

test('attack: a namespace of no tenant is refused', async () => {
  for (const namespace of ['/nobody', '/good/', '/GOOD', '/good%2f', '/evil/../good']) {
    const error = await refused(server, { namespace, auth: { token: token('mallory') } });
    assert.equal(error.message, 'Invalid namespace', namespace);
  }
});
