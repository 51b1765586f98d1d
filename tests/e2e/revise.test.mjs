// Changes of messages: edits, deletes and marks, with the shipped handler.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

const server = await startServer({
  config: {
    quota: { marks: 3 },
    limits: { content: 100 },
    handlers: { hostile: { component: guest('hostile'), events: ['append-then-ok'] } },
  },
});

/** A room with ann, bob, and a message of ann's. */
async function scene(content = 'helo') {
  const room = freshRoom();
  const [ann, bob] = [await connect(server, 'ann'), await connect(server, 'bob')];
  await ann.join(room);
  await bob.join(room);
  const message = await ann.post(room, content, { metadata: { thread: 1 } });
  return { room, ann, bob, message, of: { messageId: message.id } };
}

test('an author edits a message: the room is told, and whoever reads it later gets the new text', async () => {
  const { room, ann, bob, message, of } = await scene();
  const began = Date.now();
  assert.deepEqual(await ann.askOk('edit-message', { ...of, content: 'hello', metadata: { thread: 2 } }), { ok: true });
  const told = await bob.next('message-edited');
  const { editedAt, ...others } = told;
  assert.ok(editedAt >= began && editedAt <= Date.now());
  assert.deepEqual(others, {
    messageId: message.id, roomId: room, seq: 1, rev: 1, userId: 'ann', content: 'hello', metadata: { thread: 2 },
  });
  assert.deepEqual(await ann.next('message-edited'), told);
  const [read] = await bob.history(room);
  assert.deepEqual([read.content, read.metadata, read.rev, read.editedAt, read.sentAt], ['hello', { thread: 2 }, 1, editedAt, message.sentAt]);
  await ann.askOk('edit-message', { ...of, content: 'hello again' });
  const [without] = await bob.history(room);
  assert.deepEqual([without.content, without.metadata, without.rev], ['hello again', undefined, 2]);
});

/** Text that came to a message, from its first change on. Each fragment is one. */
const appended = (client) => client.all('message-appended').flatMap(({ fragments }) => fragments);

test('text that a handler adds to a message comes in few events, and is all there for whoever reads it', async () => {
  const added = async () => {
    const at = await scene('one');
    await Promise.all(Array.from({ length: 5 }, () => at.ann.askOk('append-then-ok', at.of)));
    await at.ann.askOk('append-then-ok', { ...at.of, count: 1 });
    await at.bob.until(() => appended(at.bob).length === 6, 'all text');
    return { ...at, told: at.bob.all('message-appended') };
  };
  let at = await added();
  // A busy machine may take longer than that for each.
  for (let n = 1; n < 10 && at.told.length === 6; n += 1) at = await added();
  const { room, ann, bob, message, told } = at;
  assert.ok(told.length < 6, 'what is added within 40 ms comes as one');
  let rev = 0;
  for (const each of told) {
    rev += each.fragments.length;
    const { fragments: _, done: __, ...others } = each;
    assert.deepEqual(others, { messageId: message.id, roomId: room, seq: 1, rev, userId: 'ann' });
  }
  assert.deepEqual(told.map(({ done = false }) => done), [...told.slice(1).map(() => false), true]);
  const whole = `one${appended(bob).join('')}`;
  assert.equal(whole, `one${' and more'.repeat(6)}`);
  const [read] = await bob.history(room);
  assert.deepEqual([read.content, read.rev, read.editedAt], [whole, 6, undefined]);
  const { rev: roomRev, changes } = await ann.askOk('join-room', room, { after: 1, rev: 3 });
  assert.deepEqual([roomRev, changes.map(({ content }) => content)], [6, [whole]]);
});

test('text beyond the limit, or of a message that is deleted, is not added', async () => {
  const { ann, bob, room, of } = await scene('x'.repeat(90));
  await ann.askOk('append-then-ok', { ...of, count: 1 });
  assertFailed(await ann.ask('append-then-ok', of), 'too-large', false);
  assert.equal((await bob.history(room))[0].content.length, 99);
  await ann.askOk('delete-message', of);
  assertFailed(await ann.ask('append-then-ok', of), 'not-found', false);
  assert.deepEqual(appended(bob), [' and more']);
});

test('a deleted message leaves its place, and nothing of its text', async () => {
  const { room, ann, bob, message, of } = await scene();
  await bob.askOk('mark-message', { ...of, kind: 'reaction', value: '+1' });
  await ann.askOk('delete-message', of);
  const { deletedAt, ...others } = await bob.next('message-deleted');
  assert.deepEqual(others, { messageId: message.id, roomId: room, seq: 1, rev: 2, userId: 'ann' });
  const [tombstone] = await bob.history(room);
  assert.deepEqual([tombstone.content, tombstone.metadata, tombstone.marks, tombstone.deletedAt], ['', undefined, undefined, deletedAt]);
  for (const [event, more] of [['edit-message', { content: 'x' }], ['delete-message', {}], ['mark-message', { kind: 'a', value: 'b' }]]) {
    assertFailed(await ann.ask(event, { ...of, ...more }), 'not-found', false);
  }
  assertFailed(await bob.ask('read-message', message.id), 'not-found', false);
  assert.equal((await ann.post(room, 'next')).seq, 2);
});

test('only the author changes a message, members of the room mark it, and others find nothing', async () => {
  const { ann, bob, of } = await scene();
  const cid = await connect(server, 'cid');
  for (const [event, more] of [['edit-message', { content: 'mine' }], ['delete-message', {}]]) {
    assertFailed(await bob.ask(event, { ...of, ...more }), 'denied', false);
    assertFailed(await cid.ask(event, { ...of, ...more }), 'not-found', true);
  }
  assertFailed(await cid.ask('mark-message', { ...of, kind: 'pin', value: 'x' }), 'not-found', true);
  await bob.askOk('mark-message', { ...of, kind: 'pin', value: 'x' });
  assert.equal((await ann.next('message-marked')).userId, 'bob');
});

test('marks are counted and named, set once, and taken back', async () => {
  const { room, ann, bob, of } = await scene();
  const mark = (client, value, on) => client.askOk('mark-message', { ...of, kind: 'reaction', value, ...(on === undefined ? {} : { on }) });
  await mark(ann, '👍');
  await mark(bob, '👍');
  await mark(bob, '👍', true);
  await mark(bob, '🎉');
  const marked = await ann.until(() => ann.all('message-marked').length === 3 && ann.all('message-marked'), 'three marks');
  assert.deepEqual(marked.map(({ rev, userId, value, on, count }) => [rev, userId, value, on, count]), [
    [1, 'ann', '👍', true, 1], [2, 'bob', '👍', true, 2], [3, 'bob', '🎉', true, 1],
  ]);
  assertFailed(await ann.ask('mark-message', { ...of, kind: 'reaction', value: 'one too many' }), 'quota-exceeded', false);
  await mark(bob, '👍', false);
  const [read] = await ann.history(room);
  assert.deepEqual(read.marks, [
    { kind: 'reaction', value: '👍', count: 1, userIds: ['ann'] },
    { kind: 'reaction', value: '🎉', count: 1, userIds: ['bob'] },
  ]);
  assert.equal(read.rev, 4);
});

test('a client that was away is told what has changed of the messages that it has', async () => {
  const { room, ann, bob, of } = await scene();
  const second = await ann.post(room, 'second');
  const third = await ann.post(room, 'third');
  await bob.next('new-message', ({ seq }) => seq === 3);
  bob.close();
  await ann.askOk('edit-message', { ...of, content: 'hello' });
  await ann.askOk('delete-message', { messageId: second.id });
  await ann.askOk('mark-message', { messageId: third.id, kind: 'pin', value: '1' });
  await ann.askOk('edit-message', { ...of, content: 'hello!' });
  const fourth = await ann.post(room, 'fourth');
  await ann.askOk('edit-message', { messageId: fourth.id, content: 'fourth!' });
  await bob.back();
  const { messages, changes, data, epoch, ...place } = await bob.join(room, { after: 3, rev: 0 });
  assert.equal(data.memberCount, 2);
  assert.match(epoch, /^[0-9a-f]{16}$/);
  assert.deepEqual(place, { ok: true, lastSeq: 4, rev: 5, complete: true });
  assert.deepEqual(messages.map(({ seq, content, rev }) => [seq, content, rev]), [[4, 'fourth!', 5]]);
  assert.deepEqual(changes.map(({ seq, content, rev }) => [seq, content, rev]), [[2, '', 2], [3, 'third', 3], [1, 'hello!', 4]]);
  const later = await bob.join(room, { after: 4, rev: 3 });
  assert.deepEqual(later.changes.map(({ seq, rev }) => [seq, rev]), [[1, 4], [4, 5]]);
  const plain = await bob.join(room, { after: 4 });
  assert.deepEqual([plain.changes, plain.rev], [undefined, 5]);
  await ann.askOk('edit-message', { ...of, content: 'on' });
  assert.equal((await bob.next('message-edited')).rev, 6);
});

test('more changes than a page: the join says that it is not complete', async () => {
  const { room, ann, bob } = await scene();
  const posted = await Promise.all(Array.from({ length: 210 }, (_, n) => ann.post(room, `${n}`)));
  await Promise.all(posted.map(({ id }) => ann.askOk('edit-message', { messageId: id, content: 'changed' })));
  const cut = await bob.join(room, { after: 211, rev: 0 });
  assert.deepEqual([cut.changes.length, cut.complete, cut.rev], [200, false, 210]);
  const rest = await bob.join(room, { after: 211, rev: cut.changes.at(-1).rev });
  assert.deepEqual([rest.changes.length, rest.complete], [10, true]);
});

test('what is malformed or too large is refused with the reason', async () => {
  const { ann, of } = await scene();
  const wrong = [
    ['edit-message', { ...of, content: '' }, 'invalid'],
    ['edit-message', { content: 'x' }, 'invalid'],
    ['edit-message', { ...of, content: 'x'.repeat(17_000) }, 'too-large'],
    ['delete-message', of.messageId, 'invalid'],
    ['delete-message', { messageId: 'no id' }, 'not-found'],
    ['mark-message', { ...of, kind: '', value: 'x' }, 'invalid'],
    ['mark-message', { ...of, kind: 'x', value: 'y'.repeat(65) }, 'invalid'],
    ['mark-message', { ...of, kind: 'x', value: 1 }, 'invalid'],
  ];
  for (const [event, body, code] of wrong) {
    const answer = await ann.ask(event, body);
    assertFailed(answer, code, false);
    assert.ok(answer.error.message.length > 10, answer.error.message);
  }
  const { unknown } = await ann.askOk('edit-message', { ...of, content: 'x', rom: 1 });
  assert.deepEqual(unknown, ['rom']);
});

test('the operator says for how long authors may change their messages', async () => {
  for (const [time, code] of [['1m', undefined], ['0s', 'denied'], ['forever', undefined], ['soon', 'unavailable']]) {
    const own = await startServer({ config: { handlers: { revise: { component: 'shipped', settings: { change_time: time } } } } });
    const ann = await connect(own, 'ann');
    await ann.join('room');
    const { id } = await ann.post('room', 'text');
    // The clock has moved on when the next event arrives.
    await ann.until(() => Date.now() > ann.messages('room')[0]?.sentAt, 'a millisecond');
    const answer = await ann.ask('delete-message', { messageId: id });
    assert.equal(answer.error?.code, code, `${time}: ${JSON.stringify(answer)}`);
  }
});

test('changes survive kill -9, of messages that were just posted too', async () => {
  const own = await startServer();
  const ann = await connect(own, 'ann');
  await ann.join('room');
  const posted = await Promise.all(Array.from({ length: 60 }, (_, n) => ann.post('room', `text ${n}`)));
  await Promise.all(posted.map(({ id }, n) => {
    if (n % 3 === 0) return ann.askOk('edit-message', { messageId: id, content: `edited ${n}` });
    if (n % 3 === 1) return ann.askOk('delete-message', { messageId: id });
    return ann.askOk('mark-message', { messageId: id, kind: 'reaction', value: '+1' });
  }));
  const before = await ann.history('room');
  await own.kill();
  await own.start();
  const bob = await connect(own, 'bob');
  await bob.join('room');
  assert.deepEqual(await bob.history('room'), before);
  assert.deepEqual([...new Set(before.map(({ rev }) => rev))].sort((a, b) => a - b), Array.from({ length: 60 }, (_, n) => n + 1));
});
