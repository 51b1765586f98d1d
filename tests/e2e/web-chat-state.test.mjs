// The chat page's state without a browser: messages that arrive late, twice, out of order or never.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LARGEST_PACKET_BYTES, Outbox } from '../../examples/web-chat/outbox.js';
import { People, TYPING_LASTS } from '../../examples/web-chat/people.js';
import { Room } from '../../examples/web-chat/room.js';
import { timeline } from '../../examples/web-chat/timeline.js';

const DAY = 86_400_000;
const NOON = new Date(2026, 5, 1, 12).getTime();

function message(seq, more = {}) {
  return { id: `id-${seq}`, seq, roomId: 'general', userId: 'ann', content: `text ${seq}`, sentAt: NOON + seq, ...more };
}

function messages(from, to) {
  return Array.from({ length: to - from + 1 }, (_, i) => message(from + i));
}

function seqs(room) {
  return room.messages.map(({ seq }) => seq);
}

function joinedRoom(lastSeq, loaded = []) {
  const room = new Room('general');
  room.joined(undefined, { lastSeq, messages: [] });
  room.merge(loaded);
  return room;
}

/** A storage in memory that exposes what was written last. */
function storage(entries) {
  return { entries, load: () => entries, save(now) { this.entries = structuredClone(now); } };
}

function outbox(store = storage()) {
  let count = 0;
  return new Outbox(store, () => {
    count += 1;
    return `client-${count}`;
  });
}

test('messages are shown in the order of their numbers, however they come', () => {
  const room = joinedRoom(0);
  for (const seq of [3, 1, 5, 2, 4]) room.merge([message(seq)]);
  assert.deepEqual(seqs(room), [1, 2, 3, 4, 5]);
});

test('a message that comes twice is there once, and counts as new once', () => {
  const room = joinedRoom(0);
  assert.equal(room.merge([message(1), message(1)]).added.length, 1);
  assert.equal(room.merge([message(1), message(2)]).added.length, 1);
  assert.deepEqual(seqs(room), [1, 2]);
});

test('the first join asks for nothing missed, a later one for all after the newest known', () => {
  const room = new Room('general');
  assert.equal(room.after, undefined);
  room.joined(undefined, { lastSeq: 7, messages: [], complete: true });
  assert.equal(room.after, 7);
  room.merge([message(8)]);
  assert.equal(room.after, 8);
});

test('an empty room asks for all after 0 the next time', () => {
  const room = joinedRoom(0);
  assert.equal(room.after, 0);
  assert.equal(room.atStart, true);
});

test('a complete catch-up leaves no gap', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.joined(3, { lastSeq: 6, messages: messages(4, 6), complete: true });
  assert.deepEqual(seqs(room), [1, 2, 3, 4, 5, 6]);
  assert.equal(room.gap(), undefined);
});

test('messages that the server has removed meanwhile are forgotten', () => {
  const room = joinedRoom(3, messages(1, 3));
  const { reset } = room.joined(3, { lastSeq: 6, firstSeq: 3, messages: messages(4, 6), complete: true });
  assert.deepEqual([reset, seqs(room), room.gap()], [true, [3, 4, 5, 6], undefined]);
  room.joined(6, { lastSeq: 8, firstSeq: 9, messages: [], complete: true });
  assert.deepEqual([seqs(room), room.after], [[], 8]);
});

test('a live message that overtakes the catch-up is sorted in', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.merge([message(6)]);
  assert.deepEqual(room.gap(), { after: 3, before: 6 });
  room.joined(3, { lastSeq: 6, messages: messages(4, 6) });
  assert.deepEqual(seqs(room), [1, 2, 3, 4, 5, 6]);
  assert.equal(room.gap(), undefined);
});

test('an incomplete catch-up leaves a gap that pages of history fill from its newer end', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.joined(3, { lastSeq: 500, messages: messages(301, 500), complete: false });
  const asked = [];
  for (let gap = room.gap(); gap; gap = room.gap()) {
    asked.push(gap);
    room.fill(gap, { messages: messages(Math.max(1, gap.before - 200), gap.before - 1) });
  }
  assert.deepEqual(asked, [{ after: 3, before: 301 }, { after: 3, before: 101 }]);
  assert.deepEqual(seqs(room), messages(1, 500).map(({ seq }) => seq));
});

test('after a lost connection the rest of a gap is filled', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.joined(3, { lastSeq: 400, messages: messages(201, 400), complete: false });
  room.fill(room.gap(), { messages: messages(151, 200) });
  room.joined(room.after, { lastSeq: 402, messages: messages(401, 402), complete: true });
  assert.deepEqual(room.gap(), { after: 3, before: 151 });
});

test('two gaps are both found, the newer one first', () => {
  const room = joinedRoom(9, [message(1), message(5), message(9)]);
  assert.deepEqual(room.gap(), { after: 5, before: 9 });
  room.fill(room.gap(), { messages: messages(6, 8) });
  assert.deepEqual(room.gap(), { after: 1, before: 5 });
});

test('the newest messages may be the missing ones', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.joined(3, { lastSeq: 5, messages: [] });
  assert.deepEqual(room.gap(), { after: 3, before: 6 });
});

test('a gap the server cannot fill is not asked for again', () => {
  const room = joinedRoom(9, [message(1), message(9)]);
  room.fill(room.gap(), { messages: [message(1)] });
  assert.equal(room.gap(), undefined);
  const [, gap] = timeline({ room, outgoing: [], people: new People(), me: 'me' }).filter(({ kind }) => kind !== 'day');
  assert.equal(gap.lost, true);
});

test('messages before the first loaded one are history, not a gap', () => {
  const room = joinedRoom(10, [message(13)]);
  assert.equal(room.gap(), undefined);
  assert.equal(room.before, 13);
  assert.equal(room.atStart, false);
});

test('history ends at number 1, or when a page brings nothing older', () => {
  const whole = joinedRoom(3);
  whole.page(undefined, { messages: messages(1, 3), complete: true });
  assert.equal(whole.atStart, true);
  const cut = joinedRoom(9, [message(9)]);
  cut.page(9, { messages: messages(6, 8), complete: false });
  assert.equal(cut.atStart, false);
  cut.page(6, { messages: [], complete: true });
  assert.equal(cut.atStart, true);
});

test('after a reset of the server’s data everything is read again', () => {
  const fewer = joinedRoom(5, messages(1, 5));
  assert.equal(fewer.joined(5, { lastSeq: 2, messages: [] }).reset, true);
  assert.deepEqual([fewer.messages, fewer.lastSeq], [[], 2]);
  const others = joinedRoom(5, messages(1, 5));
  const again = message(3, { id: 'another', content: 'another' });
  assert.equal(others.merge([again]).reset, true);
  assert.deepEqual(others.messages, [again]);
});

test('a delivered message replaces the provisional one', () => {
  const room = joinedRoom(0);
  room.merge([message(1, { content: 'as written', provisional: true })]);
  assert.equal(room.merge([message(1, { content: 'as posted' })]).added.length, 0);
  assert.deepEqual(room.messages.map(({ content }) => content), ['as posted']);
});

test('a message of another room, or without a sound number, is left alone', () => {
  const room = joinedRoom(0);
  room.merge([message(1, { roomId: 'random' }), message(0), message(1.5), { ...message(2), seq: '2' }, null]);
  assert.deepEqual(room.messages, []);
});

test('a room cut short reads the rest again on scroll', () => {
  const room = joinedRoom(10, messages(1, 10));
  room.trim(4);
  assert.deepEqual(seqs(room), [7, 8, 9, 10]);
  assert.deepEqual([room.atStart, room.before, room.gap()], [false, 7, undefined]);
  room.page(7, { messages: messages(1, 6) });
  assert.deepEqual(seqs(room), messages(1, 10).map(({ seq }) => seq));
});

test('one message of a room is in flight at a time, in the order written', () => {
  const box = outbox();
  const [first, second] = [box.add('general', 'one', NOON), box.add('general', 'two', NOON)];
  const elsewhere = box.add('random', 'three', NOON);
  box.sending(box.next('general'));
  assert.equal(first.state, 'sending');
  assert.equal(box.next('general'), undefined);
  assert.equal(box.next('random'), elsewhere);
  box.remove(first.clientId);
  assert.equal(box.next('general'), second);
});

test('a message without an answer is tried again under the same client id, and holds back the next', () => {
  const box = outbox();
  const first = box.add('general', 'one', NOON);
  box.add('general', 'two', NOON);
  box.sending(first);
  assert.ok(box.refused(first.clientId, undefined) > 0);
  assert.equal(box.next('general'), first);
  assert.equal(first.clientId, 'client-1');
});

test('the wait between two tries grows, and has an end', () => {
  const box = outbox();
  const entry = box.add('general', 'one', NOON);
  const waits = Array.from({ length: 12 }, () => {
    box.sending(entry);
    return box.refused(entry.clientId, { code: 'unavailable', message: '', retryable: true });
  });
  assert.ok(waits[1] > waits[0]);
  assert.equal(Math.max(...waits), 30_000);
});

test('a refusal for good waits for its writer, and lets the next one pass', () => {
  const box = outbox();
  const first = box.add('general', 'one', NOON);
  const second = box.add('general', 'two', NOON);
  box.sending(first);
  const wait = box.refused(first.clientId, { code: 'denied', message: 'no', retryable: false });
  assert.deepEqual([wait, first.state, box.next('general')], [undefined, 'failed', second]);
  box.retry(first.clientId);
  assert.equal(box.next('general'), first);
});

test('a late refusal of a message that has arrived is ignored', () => {
  const box = outbox();
  const entry = box.add('general', 'one', NOON);
  box.sending(entry);
  box.remove(entry.clientId);
  assert.equal(box.refused(entry.clientId, undefined), undefined);
  assert.deepEqual(box.entries, []);
});

test('the outbox survives a reload, and messages in flight are sent again', () => {
  const store = storage();
  const before = outbox(store);
  before.sending(before.add('general', 'one', NOON));
  before.add('general', 'two', NOON);
  const after = outbox(storage(store.entries));
  assert.deepEqual(after.entries.map(({ content, clientId, state }) => [content, clientId, state]), [
    ['one', 'client-1', 'waiting'],
    ['two', 'client-2', 'waiting'],
  ]);
});

test('a message no packet can hold is refused here, at the edge', () => {
  const box = outbox();
  const room = LARGEST_PACKET_BYTES - new TextEncoder().encode(
    JSON.stringify({ roomId: 'general', content: '', clientId: 'client-1' }),
  ).length;
  assert.equal(box.add('general', 'x'.repeat(room), NOON).state, 'waiting');
  const over = box.add('general', 'x'.repeat(room + 1), NOON);
  assert.deepEqual([over.state, over.error.code], ['failed', 'too-large']);
});

test('the list shows days, headings and gaps', () => {
  const room = joinedRoom(6, [
    message(1),
    message(2),
    message(3, { userId: 'bob' }),
    message(4, { userId: 'bob', sentAt: NOON + DAY }),
    message(6, { userId: 'bob', sentAt: NOON + DAY }),
  ]);
  const rows = timeline({ room, outgoing: [], people: new People(), me: 'me' });
  assert.deepEqual(rows.map(({ kind, heads }) => (heads ? `${kind}+` : kind)), [
    'day', 'message+', 'message', 'message+', 'day', 'message+', 'gap', 'message+',
  ]);
});

test('outgoing messages come last, and every row has a unique key', () => {
  const box = outbox();
  box.add('general', 'one', NOON);
  box.add('general', 'two', NOON);
  const rows = timeline({ room: joinedRoom(2, messages(1, 2)), outgoing: box.of('general'), people: new People(), me: 'me' });
  assert.deepEqual(rows.slice(-2).map(({ kind, text }) => [kind, text]), [['outgoing', 'one'], ['outgoing', 'two']]);
  assert.equal(new Set(rows.map(({ key }) => key)).size, rows.length);
});

test('a user who has read a message has read those before it, and their own do not count', () => {
  const people = new People();
  people.hasRead('general', 'bob', 2);
  people.hasRead('general', 'bob', 1);
  people.hasRead('general', 'ann', 3);
  const rows = timeline({ room: joinedRoom(3, messages(1, 3)), outgoing: [], people, me: 'ann' });
  const ticks = rows.filter(({ kind }) => kind === 'message').map(({ readers, lastOwn }) => [readers, lastOwn]);
  assert.deepEqual(ticks, [[['bob'], false], [['bob'], false], [[], true]]);
});

test('a name comes from the server, never from a message', () => {
  const people = new People();
  const userId = 'brave-otter-1a2b3c4d';
  const shown = (fields) => {
    const room = joinedRoom(1, [message(1, { userId, metadata: { name: 'Administrator' }, ...fields })]);
    return timeline({ room, outgoing: [], people, me: 'me' }).find(({ kind }) => kind === 'message').name;
  };
  assert.equal(shown({ username: userId }), 'Brave Otter', 'kept by an earlier release');
  people.met({ userId, username: 'Otto' });
  assert.equal(people.name(userId), 'Otto');
  people.saw({ userId, username: 'Ottilie', status: 'online', since: NOON });
  people.met({ userId, username: 'Otto' });
  assert.equal(people.name(userId), 'Ottilie', 'who is here has the name of now');
  assert.equal(shown({ username: 'Otto' }), 'Otto', 'a message has that of then');
});

test('after a reconnect only those confirmed are here', () => {
  const people = new People();
  for (const userId of ['ann', 'bob', 'cat']) people.saw({ userId, status: 'online', since: NOON });
  people.doubtAll();
  people.saw({ userId: 'bob', status: 'away', since: NOON });
  people.saw({ userId: 'cat', status: 'online', since: NOON });
  people.dropDoubted();
  assert.deepEqual(people.here().map(({ userId }) => userId), ['cat', 'bob']);
});

test('typing ends on request, or by itself', () => {
  const people = new People();
  people.setTyping('general', 'ann', true, NOON);
  people.setTyping('general', 'bob', true, NOON);
  assert.deepEqual(people.typingIn('general', NOON), ['ann', 'bob']);
  people.setTyping('general', 'ann', false, NOON);
  assert.deepEqual(people.typingIn('general', NOON + TYPING_LASTS - 1), ['bob']);
  assert.deepEqual(people.typingIn('general', NOON + TYPING_LASTS), []);
  assert.deepEqual(people.typingIn('random', NOON), []);
});

test('a change of a message that is here is shown, an older one is not', () => {
  const room = joinedRoom(2, messages(1, 2));
  room.change('message-edited', { seq: 1, rev: 1, content: 'new', editedAt: NOON });
  room.change('message-marked', { seq: 1, rev: 2, kind: 'reaction', value: '+1', on: true, count: 1, userId: 'bob' });
  room.change('message-marked', { seq: 1, rev: 3, kind: 'reaction', value: '+1', on: true, count: 2, userId: 'cid' });
  room.change('message-edited', { seq: 1, rev: 1, content: 'old', editedAt: NOON });
  room.change('message-edited', { seq: 9, rev: 4, content: 'unknown', editedAt: NOON });
  assert.deepEqual([room.messages[0].content, room.messages[0].marks, room.rev], [
    'new', [{ kind: 'reaction', value: '+1', count: 2, userIds: ['bob', 'cid'] }], 4,
  ]);
  room.change('message-marked', { seq: 1, rev: 5, kind: 'reaction', value: '+1', on: false, count: 1, userId: 'bob' });
  room.change('message-marked', { seq: 1, rev: 6, kind: 'reaction', value: '+1', on: false, count: 0, userId: 'cid' });
  assert.deepEqual(room.messages[0].marks, []);
  room.change('message-deleted', { seq: 1, rev: 7, deletedAt: NOON });
  const [row] = timeline({ room, outgoing: [], people: new People(), me: 'ann' }).filter(({ kind }) => kind === 'message');
  assert.deepEqual([row.deleted, row.text, seqs(room)], [true, '', [1, 2]]);
});

test('a rejoin brings what has changed, and asks for the rest from there', () => {
  const room = joinedRoom(3, messages(1, 3));
  const changed = (seq, rev) => message(seq, { content: `changed ${seq}`, rev, editedAt: NOON });
  room.joined(3, { lastSeq: 3, rev: 9, messages: [], changes: [changed(2, 4), changed(1, 6)], complete: false });
  assert.deepEqual([room.rev, room.messages.map(({ content }) => content)], [6, ['changed 1', 'changed 2', 'text 3']]);
  room.joined(3, { lastSeq: 3, rev: 9, messages: [], changes: [changed(3, 9), changed(8, 8)], complete: true });
  assert.deepEqual([room.rev, room.messages.map(({ content }) => content)], [9, ['changed 1', 'changed 2', 'changed 3']]);
});
