// Old messages are removed, and the rooms go on.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { filesHave } from './lib/files.mjs';
import { metric } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({
  config: {
    store: { retention_every: '100ms', retention_batch: 7 },
    retention: {
      count: 20,
      rooms: [{ prefix: 'dm-', age: '300ms', count: 0 }, { prefix: 'dm-kept', age: '0s', count: 0 }],
    },
  },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});
const api = admin(server);
const messageBytes = async () => (await api.requestOk('GET', '/tenants/default/usage')).messageBytes.used;
const seqs = (messages) => messages.map(({ seq }) => seq);
const upTo = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** Posts messages, one after the other, and returns their seqs. */
async function post(client, room, count, text = 'text') {
  const posted = [];
  for (let n = 0; n < count; n += 1) posted.push((await client.post(room, `${text} ${n}`)).seq);
  return posted;
}

test('the newest messages of a room are kept, while members go on, and one that was away learns where it begins', async () => {
  const room = freshRoom('lobby');
  const [ann, bob, away] = [await connect(server, 'ann'), await connect(server, 'bob'), await connect(server, 'away')];
  for (const client of [ann, bob]) await client.join(room);
  assert.deepEqual(await post(ann, room, 5, 'gone-by-count'), upTo(1, 5));
  const first = await away.join(room, { after: 0, rev: 0 });
  assert.deepEqual(seqs(first.messages), upTo(1, 5));
  assert.equal(first.firstSeq, undefined);
  away.socket.disconnect();
  await ann.askOk('mark-message', { messageId: first.messages[1].id, kind: 'reaction', value: '+1' });
  await ann.askOk('read-message', first.messages[1].id);
  // While messages are removed, others come.
  assert.deepEqual(await post(ann, room, 95), upTo(6, 100));
  const left = await eventually(async () => {
    const messages = await ann.history(room);
    return messages.length === 20 && messages;
  }, 'the newest 20 messages');
  assert.deepEqual(seqs(left), upTo(81, 100));
  await eventually(async () => (await metric(server, 'parlance_removed_messages_total')) === 80, 'the removals to be counted');
  await bob.until(() => bob.messages(room).length === 100, 'all messages');
  assert.deepEqual(seqs(bob.messages(room)), upTo(1, 100));
  await away.back();
  const back = await away.join(room, { after: 5, rev: 0 });
  assert.deepEqual([back.firstSeq, back.lastSeq, back.complete, back.rev], [81, 100, true, 1]);
  assert.deepEqual([seqs(back.messages), back.changes], [upTo(81, 100), []]);
  const newcomer = await connect(server, 'new');
  const { firstSeq, messages, complete } = await newcomer.join(room, { last: 50 });
  assert.deepEqual([firstSeq, seqs(messages), complete], [undefined, upTo(81, 100), true]);
  assert.deepEqual((await newcomer.ask('read-message', first.messages[1].id)).error.code, 'not-found');
  await eventually(() => !filesHave(server, 'gone-by-count'), 'the removed text to be in no file');
});

test('a prefix has its own rule, a room that is emptied goes on counting, and a repetition of what is gone is posted', async () => {
  const [room, kept] = [freshRoom('dm'), freshRoom('dm-kept')];
  const [ann, bob] = [await connect(server, 'ann'), await connect(server, 'bob')];
  for (const client of [ann, bob]) for (const each of [room, kept]) await client.join(each);
  const message = { roomId: room, content: 'gone-by-age', clientId: 'the same' };
  assert.equal((await ann.askOk('send-message', message)).message.seq, 1);
  await post(ann, room, 30);
  await post(ann, kept, 30);
  await eventually(async () => (await ann.history(room)).length === 0, 'an empty room');
  const page = await ann.askOk('history', { roomId: room });
  assert.deepEqual([page.messages, page.complete], [[], true]);
  assert.equal((await ann.history(kept)).length, 30);
  const again = await bob.join(room, { after: 3 });
  assert.deepEqual([again.firstSeq, again.lastSeq, again.messages, again.complete], [32, 31, [], true]);
  const { seq } = (await ann.askOk('send-message', message)).message;
  assert.equal(seq, 32, 'the id is known no more, and the seq is new');
  assert.deepEqual(await bob.next('new-message', (one) => one.seq === 32 && one.roomId === room).then(({ content }) => content), 'gone-by-age');
  await eventually(async () => (await ann.history(room)).length === 0, 'an empty room again');
  await server.restart();
  await ann.back();
  await ann.join(room);
  assert.deepEqual(await post(ann, room, 1), [33], 'after a restart, too');
  await eventually(() => !filesHave(server, 'gone-by-age'), 'the removed text to be in no file');
});

test('messages that are removed are unread no more', async () => {
  const own = await startServer({
    config: {
      store: { retention_every: '100ms' },
      retention: { count: 2, rooms: [{ prefix: 'dm-', age: '300ms', count: 0 }] },
      handlers: { room: { settings: { members: 'lasting' } } },
    },
  });
  const [ann, bob] = [await connect(own, 'ann'), await connect(own, 'bob')];
  for (const room of ['lobby', 'dm-1']) {
    for (const client of [ann, bob]) await client.join(room);
    await post(ann, room, 6);
  }
  const unread = async () => Object.fromEntries((await bob.askOk('unread')).rooms.map(({ roomId, ...counts }) => [roomId, [counts.lastSeq, counts.readUpTo, counts.unread]]));
  await eventually(async () => JSON.stringify(await unread()) === JSON.stringify({ 'dm-1': [6, 6, 0], lobby: [6, 4, 2] }),
    'what is left to be unread');
});

test('what is removed counts for no quota', async () => {
  const room = freshRoom('dm');
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const before = await messageBytes();
  await ann.post(room, 'x'.repeat(10_000));
  await eventually(async () => (await ann.history(room)).length === 0, 'an empty room');
  // Others may have been removed as well.
  assert.ok((await messageBytes()) <= before);
});
