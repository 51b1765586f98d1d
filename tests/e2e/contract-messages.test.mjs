// Messages, history and the answers to joins.
import assert from 'node:assert/strict';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const server = await startServer();

async function roomWith(count, user = 'ann') {
  const room = freshRoom();
  const client = await connect(server, user);
  await client.join(room);
  await Promise.all(Array.from({ length: count }, (_, i) => client.post(room, `message ${i + 1}`)));
  return { room, client };
}

test('a message without metadata has no such field', async () => {
  const { room, client } = await roomWith(1);
  const message = await client.next('new-message', (each) => each.roomId === room);
  assert.deepEqual(Object.keys(message).sort(), ['content', 'id', 'roomId', 'sentAt', 'seq', 'userId', 'username']);
});

test('join-room without `after` returns no messages but the last seq', async () => {
  const { room } = await roomWith(3);
  const answer = await (await connect(server, 'bob')).join(room);
  assert.equal(answer.lastSeq, 3);
  assert.deepEqual(answer.messages, []);
  assert.equal(answer.complete, true);
});

test('join-room with `after` returns exactly the missed messages, oldest first', async () => {
  const { room, client } = await roomWith(7);
  const answer = await (await connect(server, 'bob')).join(room, { after: 4 });
  assert.deepEqual(answer.messages, client.messages(room).slice(4));
  assert.equal(answer.lastSeq, 7);
  assert.equal(answer.complete, true);
});

test('join-room with `after` at or past the end brings nothing', async () => {
  const { room } = await roomWith(2);
  const bob = await connect(server, 'bob');
  for (const after of [2, 1_000_000]) {
    const answer = await bob.join(room, { after });
    assert.deepEqual(answer.messages, []);
    assert.equal(answer.complete, true);
    assert.equal(answer.lastSeq, 2);
  }
});

test('a join that missed more than a page returns the newest messages and complete: false', async () => {
  const { room } = await roomWith(205);
  const bob = await connect(server, 'bob');
  const cut = await bob.join(room, { after: 2 });
  assert.equal(cut.complete, false);
  assert.deepEqual(cut.messages.map((message) => message.seq), Array.from({ length: 200 }, (_, i) => i + 6));
  const whole = await bob.join(room, { after: 5 });
  assert.equal(whole.complete, true);
  assert.deepEqual(whole.messages.map((message) => message.seq), Array.from({ length: 200 }, (_, i) => i + 6));
});

test('history pages back from the newest: 50 by default, 200 at most, ascending', async () => {
  const { room, client } = await roomWith(260);
  const first = await client.askOk('history', { roomId: room });
  assert.deepEqual(first.messages.map((message) => message.seq), Array.from({ length: 50 }, (_, i) => i + 211));
  assert.equal(first.complete, false);
  const small = await client.askOk('history', { roomId: room, before: 4, limit: 2 });
  assert.deepEqual(small.messages.map((message) => message.seq), [2, 3]);
  assert.equal(small.complete, false);
  const last = await client.askOk('history', { roomId: room, before: 4, limit: 3 });
  assert.deepEqual(last.messages.map((message) => message.seq), [1, 2, 3]);
  assert.equal(last.complete, true);
  const capped = await client.askOk('history', { roomId: room, limit: 100_000 });
  assert.equal(capped.messages.length, 200);
  assert.equal(capped.complete, false);
  assertGapless(await client.history(room), 260);
});

test('history pages forwards with `after`, and reports the end', async () => {
  const { room, client } = await roomWith(12);
  const page = async (request) => {
    const { messages, complete, ...rest } = await client.askOk('history', { roomId: room, ...request });
    assert.deepEqual(Object.keys(rest), ['ok']);
    return [messages.map((message) => message.seq), complete];
  };
  assert.deepEqual(await page({ after: 0, limit: 5 }), [[1, 2, 3, 4, 5], false]);
  assert.deepEqual(await page({ after: 5, limit: 5 }), [[6, 7, 8, 9, 10], false]);
  assert.deepEqual(await page({ after: 10, limit: 5 }), [[11, 12], true]);
  assert.deepEqual(await page({ after: 12, limit: 5 }), [[], true]);
  assert.deepEqual(await page({ after: 2, before: 6 }), [[3, 4, 5], true]);
  assert.deepEqual(await page({ after: 2, before: 6, limit: 2 }), [[3, 4], false]);
});

test('a page that is too large is cut, at its newer end when read forwards', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  for (let n = 0; n < 20; n += 1) await ann.post(room, 'x'.repeat(16 * 1024));
  const forwards = await ann.askOk('history', { roomId: room, after: 0 });
  assert.deepEqual([forwards.messages[0].seq, forwards.complete], [1, false]);
  const backwards = await ann.askOk('history', { roomId: room });
  assert.deepEqual([backwards.messages.at(-1).seq, backwards.complete], [20, false]);
  const rest = await ann.askOk('history', { roomId: room, after: forwards.messages.at(-1).seq });
  assertGapless([...forwards.messages, ...rest.messages], 20);
  assert.equal(rest.complete, true);
});

test('join-room with `last` returns the newest messages', async () => {
  const { room, client } = await roomWith(10);
  const joined = async (options) => {
    const { messages, complete, lastSeq } = await (await connect(server, 'bob')).join(room, options);
    assert.equal(lastSeq, 10);
    return [messages, complete];
  };
  const posted = client.messages(room);
  assert.deepEqual(await joined({ last: 3 }), [posted.slice(-3), false]);
  assert.deepEqual(await joined({ last: 10 }), [posted, true]);
  assert.deepEqual(await joined({ last: 100_000 }), [posted, true]);
  assert.deepEqual(await joined({ after: 5, last: 3 }), [posted.slice(-3), false]);
  assert.deepEqual(await joined({ after: 8, last: 3 }), [posted.slice(-2), true]);
  assert.deepEqual(await joined({ last: 0 }), [[], true], 'as without');
  assert.deepEqual((await (await connect(server, 'bob')).join(freshRoom(), { last: 5 })).complete, true);
});

test('the messages of a join with `last` and later ones have no gap and no repetition', async () => {
  const { room, client } = await roomWith(5);
  let going = true;
  const posting = (async () => {
    while (going) await client.post(room, 'live');
  })();
  for (let n = 0; n < 5; n += 1) {
    const late = await connect(server, `late-${n}`);
    const { messages } = await late.join(room, { last: 3 });
    await late.until(() => late.messages(room).length > 5, 'live messages');
    const seqs = [...messages, ...late.messages(room)].map(({ seq }) => seq);
    assert.deepEqual(seqs, seqs.map((_, i) => seqs[0] + i));
    late.close();
  }
  going = false;
  await posting;
});

test('a key that a request does not know is named in its answer', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  assert.deepEqual((await ann.join(room, { since: 4 })).unknown, ['since']);
  const { unknown } = await ann.askOk('send-message', { roomId: room, content: 'x', clientID: '1', meta: { roomId: 'y' } });
  assert.deepEqual(unknown, ['clientID', 'meta']);
  assert.deepEqual((await ann.askOk('history', { roomId: room, form: 1 })).unknown, ['form']);
  assert.deepEqual((await ann.ask('history', { roomId: freshRoom(), form: 1 })).error.unknown, ['form']);
  assert.match((await ann.ask('send-message', { room, content: 'x' })).error.message, /`roomId`; unknown: room/);
  assert.equal((await ann.askOk('history', { roomId: room, after: 0, before: 9, limit: 1 })).unknown, undefined);
});

test('the sender’s verified name is the same everywhere', async () => {
  const room = freshRoom();
  const name = 'Ann of the Hill 👋';
  const ann = await connect(server, 'ann', { auth: { token: token('ann', { name }) } });
  const bob = await connect(server, 'bob');
  await bob.join(room);
  await ann.join(room);
  const metadata = { name: 'Administrator' };
  const told = await ann.post(room, 'hello', { metadata, clientId: 'mine', username: 'Administrator' });
  assert.deepEqual([told.username, told.clientId], [name, 'mine']);
  const delivered = await bob.next('new-message');
  assert.deepEqual(
    [delivered.username, delivered.clientId, delivered.userId, delivered.metadata],
    [name, 'mine', 'ann', metadata],
  );
  assert.deepEqual(await bob.history(room), [delivered]);
  assert.deepEqual((await (await connect(server, 'cyd')).join(room, { last: 1 })).messages, [delivered]);
  // A later name does not change the messages under this one.
  const later = await connect(server, 'ann', { auth: { token: token('ann', { name: 'Anna' }) } });
  await later.join(room);
  assert.equal((await later.post(room, 'hello', { metadata, clientId: 'mine' })).username, name);
  assert.equal((await later.post(room, 'hi')).username, 'Anna');
  assert.deepEqual((await bob.history(room)).map((each) => [each.username, each.clientId]), [[name, 'mine'], ['Anna', undefined]]);
});

test('history of an empty room is empty and complete', async () => {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  const { messages, complete } = await ann.askOk('history', { roomId: room });
  assert.deepEqual(messages, []);
  assert.equal(complete, true);
});

test('history and delivered messages agree in every field', async () => {
  const { room, client } = await roomWith(5);
  await client.post(room, 'with metadata', { metadata: { a: 1.5, 'b"c': '\u2028', nested: { deep: [true] } } });
  await client.until(() => client.messages(room).length === 6, '6 messages');
  assert.deepEqual(await client.history(room), client.messages(room));
});

test('a receipt is announced once, however often it is sent', async () => {
  const { room, client: ann } = await roomWith(2);
  const bob = await connect(server, 'bob');
  await bob.join(room);
  const [first, second] = await ann.history(room);
  await bob.askOk('read-message', first.id);
  await bob.askOk('read-message', first.id);
  await bob.askOk('read-message', second.id);
  await ann.next('message-read', (each) => each.messageId === second.id);
  assert.equal(ann.all('message-read').filter((each) => each.messageId === first.id).length, 1);
});

test('a message in a room that one has not joined looks like a missing one', async () => {
  const { room, client: ann } = await roomWith(1);
  const [message] = await ann.history(room);
  const eve = await connect(server, 'eve');
  await eve.join(freshRoom());
  const hidden = await eve.ask('read-message', message.id);
  const absent = await eve.ask('read-message', `${message.id}x`);
  assertFailed(hidden, 'not-found');
  assertFailed(absent, 'not-found');
  await ann.post(room, 'afterwards');
  await ann.next('new-message', (each) => each.content === 'afterwards');
  assert.deepEqual(ann.all('message-read'), []);
});

test('seq continues after a restart', async () => {
  const own = await startServer();
  const room = freshRoom();
  const ann = await connect(own, 'ann');
  await ann.join(room);
  const before = await ann.post(room, 'before');
  await own.stop();
  await ann.until(() => ann.disconnects.length >= 1, 'the end of the server');
  await own.start();
  await ann.back();
  const answer = await ann.join(room, { after: 0 });
  assert.deepEqual(answer.messages.map((message) => message.id), [before.id]);
  assert.equal((await ann.post(room, 'after')).seq, 2);
});
