// A user is erased, while the user and others are connected.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { Client, connect, freshRoom } from './lib/client.mjs';
import { filesHave } from './lib/files.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const NAME = 'Alice Unmistakable';
const event = { component: guest('keys'), settings: { user_keys: 'warnings/{user}, {user}/' } };
const server = await startServer({ config: { handlers: { event } }, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const api = admin(server);
const dataOf = (user) => `/tenants/default/users/${user}/data`;

/** Connects a user whose token has a name. */
const named = (user, name) => owned(new Client(server.url, user, { auth: { token: token(user, { name }) } })).connected();

test('messages, marks, receipts, the name and named keys of a user go; those of others stay', async () => {
  const [one, two] = [freshRoom(), freshRoom()];
  const [alice, bob, away] = [await named('alice', NAME), await connect(server, 'bob'), await connect(server, 'away')];
  for (const client of [alice, bob, away]) for (const room of [one, two]) await client.join(room);
  const mine = [];
  for (let n = 0; n < 30; n += 1) {
    mine.push(await alice.post(n % 2 ? one : two, `secret-of-alice ${n}`, { clientId: `client-id-of-alice-${n}` }));
    await bob.post(n % 2 ? one : two, `bob ${n}`);
  }
  await alice.askOk('delete-message', { messageId: mine[0].id });
  const bobs = (await bob.history(one)).filter(({ userId }) => userId === 'bob');
  await alice.askOk('mark-message', { messageId: bobs[0].id, kind: 'reaction', value: '+1' });
  await bob.askOk('mark-message', { messageId: bobs[0].id, kind: 'reaction', value: '+1' });
  await bob.askOk('mark-message', { messageId: mine[1].id, kind: 'reaction', value: '+1' });
  await alice.askOk('read-message', bobs[0].id);
  await bob.askOk('read-message', bobs[0].id);
  const set = (key) => ['set', key, 'value-of-a-key'];
  await alice.ask('keys', set('warnings/alice'), set('alice/a'), set('alice/b'), set('alicea'), set('warnings/bob'));
  const place = await away.join(one, { after: 0, rev: 0 });
  away.socket.disconnect();

  const erased = await api.requestOk('DELETE', dataOf('alice'));
  assert.deepEqual([erased.done, erased.messages, erased.marks, erased.receipts, erased.keys], [true, 29, 1, 1, 3]);

  await bob.until(() => bob.all('message-deleted').length === 30, 'all deletions');
  const taken = await bob.next('message-marked', ({ on }) => !on);
  assert.deepEqual([taken.messageId, taken.userId, taken.count], [bobs[0].id, 'alice', 1]);
  assert.ok(bob.all('message-deleted').every(({ userId }) => userId === 'alice'));
  for (const room of [one, two]) {
    for (const message of await bob.history(room)) {
      const isHers = message.userId === 'alice';
      assert.equal(message.content === '', isHers);
      assert.equal(message.username, isHers ? 'alice' : "bob's name");
      assert.equal(message.clientId, undefined);
    }
  }
  await away.back();
  const { changes, complete, rev } = await away.join(one, { after: place.lastSeq, rev: place.rev });
  assert.equal(complete, true);
  assert.equal(changes.filter(({ deletedAt }) => deletedAt !== undefined).length, 15);
  assert.deepEqual(changes.find(({ id }) => id === bobs[0].id).marks, [{ kind: 'reaction', value: '+1', count: 1, userIds: ['bob'] }]);
  assert.ok(rev > place.rev);
  const { results } = await bob.ask('keys', ['get-many', ['warnings/alice', 'alice/a', 'alice/b', 'alicea', 'warnings/bob']]);
  assert.deepEqual(results[0], [null, null, null, 'value-of-a-key', 'value-of-a-key']);
  for (const text of ['secret-of-alice', 'client-id-of-alice', NAME]) {
    await eventually(() => !filesHave(server, text), `${text} to be in no file`);
  }

  // The user is still connected, and goes on under the same name.
  assert.ok((await alice.post(one, 'here again')).seq > mine.at(-1).seq);
  // What was erased is not posted when a client repeats it.
  const repeated = await alice.ask('send-message', { roomId: two, content: 'secret-of-alice 2', clientId: 'client-id-of-alice-2' });
  assert.equal(repeated.error.code, 'conflict');

  const [done, asked] = await api.requestOk('GET', '/audit?tenant=default&limit=2');
  assert.deepEqual([asked.action, asked.actor, asked.detail.user], ['user.erase', 'environment', 'alice']);
  assert.deepEqual([done.action, done.actor, done.detail.messages], ['user.erased', 'server', 29]);
  assert.equal(JSON.stringify(done.detail).includes('alice'), false);
  const known = await api.requestOk('GET', '/tenants/default/users/alice/erasure');
  assert.deepEqual([known.done, known.messages], [true, 29]);
});

test('an erasure goes on after kill -9, while messages go on', async () => {
  const rooms = Array.from({ length: 40 }, () => freshRoom('many'));
  const [alice, bob] = [await named('cara', NAME), await connect(server, 'bob')];
  for (const room of rooms) {
    await alice.join(room);
    await bob.join(room);
    for (let n = 0; n < 3; n += 1) await alice.post(room, `secret-of-cara ${n}`);
  }
  // Not to be waited for: the server dies meanwhile.
  const asking = api.request('DELETE', dataOf('cara')).catch(() => null);
  await bob.until(() => bob.all('message-deleted').some(({ userId }) => userId === 'cara'), 'a first deletion');
  await server.restart();
  await asking;
  await bob.back();
  for (const room of rooms) await bob.join(room);
  const posting = (async () => {
    for (let n = 0; n < 50; n += 1) await bob.post(rooms[n % rooms.length], `bob ${n}`);
  })();
  await eventually(async () => (await api.requestOk('GET', '/tenants/default/users/cara/erasure')).done, 'the end of the erasure');
  await posting;
  for (const room of rooms) {
    const hers = (await bob.history(room)).filter(({ userId }) => userId === 'cara');
    assert.deepEqual(hers.map(({ content, deletedAt }) => [content, deletedAt !== undefined]), Array(3).fill(['', true]));
  }
  await eventually(() => !filesHave(server, 'secret-of-cara'), 'the text to be in no file');
});

test('keys are found with the user’s id as the kits write it, and as it is', async () => {
  const bob = await connect(server, 'bob');
  const keys = ['warnings/eve%3Ax%2F1%25', 'warnings/eve:x/1%', 'eve%3Ax%2F1%25/a', 'eve:x/1%/a', 'warnings/eve:x'];
  await bob.ask('keys', ...keys.map((key) => ['set', key, 'kept']));
  const erased = await operate(server, ['erase-user', 'eve:x/1%']);
  assert.match(erased.stdout, /4 keys/);
  const { results } = await bob.ask('keys', ['get-many', keys]);
  assert.deepEqual(results[0], [null, null, null, null, 'kept']);
});

test('the command says what was erased, and what cannot be', async () => {
  const room = freshRoom();
  const dora = await connect(server, 'dora');
  await dora.join(room);
  await dora.post(room, 'one');
  const { code, stdout } = await operate(server, ['erase-user', 'dora']);
  assert.deepEqual([code, stdout], [0, 'erased: 1 messages, 0 marks, 0 receipts, 0 keys\n']);
  const nobody = await operate(server, ['erase-user', 'nobody', '--json']);
  assert.deepEqual(JSON.parse(nobody.stdout).messages, 0);
  const elsewhere = await operate(server, ['erase-user', 'dora', '--tenant', 'elsewhere']);
  assert.equal(elsewhere.code, 1);
  assert.match(elsewhere.output, /there is no tenant "elsewhere"/);
  assert.equal((await api.request('GET', '/tenants/default/users/never/erasure')).status, 404);
  assert.equal((await api.request('DELETE', dataOf('%0A'))).status, 422);
});
