// The state of the client package without a server: messages and changes that come late, twice, out of order or never.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counts } from '../../examples/web-chat/client/counts.js';
import { LARGEST_PACKET_BYTES, Outbox } from '../../examples/web-chat/client/outbox.js';
import { People, TYPING_LASTS } from '../../examples/web-chat/client/people.js';
import { Room } from '../../examples/web-chat/client/room.js';
import { StoredByRoom } from '../../examples/web-chat/client/storage.js';

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

function contents(room) {
  return room.messages.map(({ content }) => content);
}

/** A room that is joined, with these messages. */
function joinedRoom(lastSeq, loaded = []) {
  const room = new Room('general');
  room.joined({}, { lastSeq, messages: [], complete: true, epoch: 'one' });
  room.merge(loaded);
  return room;
}

/** What a join with the room's question was answered. */
function rejoin(room, answer) {
  return room.joined(room.question(50), { rev: room.rev, changes: [], complete: true, epoch: 'one', ...answer });
}

/** A storage in memory that exposes what was written last. */
function storage(values = {}) {
  return { values, get: (key) => values[key], set(key, value) { values[key] = JSON.parse(JSON.stringify(value)); } };
}

/** Makes ids that a test can foretell. */
function numberedIds() {
  let count = 0;
  return () => {
    count += 1;
    return `client-${count}`;
  };
}

function outbox(store = storage()) {
  return new Outbox(store, numberedIds());
}

/** An outbox adds without metadata, at noon. */
const add = (box, roomId, content) => box.add(roomId, content, undefined, NOON);

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
  assert.equal(room.question(50).after, undefined);
  room.joined({}, { lastSeq: 7, messages: [], epoch: 'one' });
  assert.equal(room.question(50).after, 7);
  room.merge([message(8)]);
  assert.equal(room.question(50).after, 8);
});

test('an empty room asks for all after 0 the next time', () => {
  const room = joinedRoom(0);
  assert.equal(room.question(50).after, 0);
  assert.equal(room.atStart, true);
});

test('a complete catch-up leaves no gap', () => {
  const room = joinedRoom(3, messages(1, 3));
  rejoin(room, { lastSeq: 6, messages: messages(4, 6), complete: true });
  assert.deepEqual(seqs(room), [1, 2, 3, 4, 5, 6]);
  assert.equal(room.gap(), undefined);
});

test('messages that the server has removed meanwhile are forgotten', () => {
  const room = joinedRoom(3, messages(1, 3));
  const { reset } = rejoin(room, { lastSeq: 6, firstSeq: 3, messages: messages(4, 6), complete: true });
  assert.deepEqual([reset, seqs(room), room.gap(), room.atStart], [false, [3, 4, 5, 6], undefined, true]);
  rejoin(room, { lastSeq: 8, firstSeq: 9, messages: [], complete: true });
  assert.deepEqual([seqs(room), room.question(50).after], [[], 8]);
});

test('a live message that overtakes the catch-up is sorted in', () => {
  const room = joinedRoom(3, messages(1, 3));
  room.merge([message(6)]);
  assert.deepEqual(room.gap(), { after: 3, before: 6 });
  rejoin(room, { lastSeq: 6, messages: messages(4, 6) });
  assert.deepEqual(seqs(room), [1, 2, 3, 4, 5, 6]);
  assert.equal(room.gap(), undefined);
});

test('an incomplete catch-up leaves a gap that pages of history fill from its newer end', () => {
  const room = joinedRoom(3, messages(1, 3));
  rejoin(room, { lastSeq: 500, messages: messages(301, 500), complete: false });
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
  rejoin(room, { lastSeq: 400, messages: messages(201, 400), complete: false });
  room.fill(room.gap(), { messages: messages(151, 200) });
  rejoin(room, { lastSeq: 402, messages: messages(401, 402), complete: true });
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
  rejoin(room, { lastSeq: 5, messages: [] });
  assert.deepEqual(room.gap(), { after: 3, before: 6 });
});

test('messages before the first loaded one are history, not a gap', () => {
  const room = joinedRoom(10, [message(13)]);
  assert.equal(room.gap(), undefined);
  assert.equal(room.before, 13);
  assert.equal(room.atStart, false);
});

test('a room that was empty lacks all that was posted meanwhile, from its start on', () => {
  const room = joinedRoom(0);
  room.disconnected();
  rejoin(room, { lastSeq: 30, messages: messages(16, 30), complete: false });
  assert.deepEqual([room.gap(), room.gaps()], [{ after: 0, before: 16 }, [{ after: 0, before: 16, lost: false }]]);
  room.fill(room.gap(), { messages: messages(1, 15) });
  assert.deepEqual([room.gap(), room.gaps(), room.messages.length], [undefined, [], 30]);
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
  for (const answer of [{ lastSeq: 2 }, { lastSeq: 9, epoch: 'another' }]) {
    const room = joinedRoom(5, messages(1, 5));
    const { reset, next } = rejoin(room, { messages: [], ...answer });
    assert.deepEqual([reset, next, room.messages, room.question(50)], [true, 'again', [], { last: 50 }]);
    assert.equal(room.joined({ last: 50 }, { lastSeq: 1, messages: [message(1)], epoch: 'another' }).next, 'done');
    assert.deepEqual(seqs(room), [1]);
  }
  const others = joinedRoom(5, messages(1, 5));
  const again = message(3, { id: 'another', content: 'another' });
  assert.equal(others.merge([again]).reset, true);
  assert.deepEqual(contents(others), ['another']);
});

test('a message that is acknowledged before it comes is a gap, in an empty room too', () => {
  const room = joinedRoom(0);
  room.noteExists(1);
  assert.deepEqual([room.lacks(1), room.gap()], [true, { after: 0, before: 2 }]);
  room.fill(room.gap(), { messages: [message(1)] });
  assert.deepEqual([room.lacks(1), room.gap(), seqs(room)], [false, undefined, [1]]);
  const box = outbox();
  const entry = add(box, 'general', 'one');
  box.sending(entry);
  box.posted(entry, 1);
  assert.deepEqual([entry.state, box.storage.values.outbox], ['posted', []]);
  box.removePosted(({ seq }) => seq === 1);
  assert.deepEqual(box.entries, []);
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
  const [first, second] = [add(box, 'general', 'one'), add(box, 'general', 'two')];
  const elsewhere = add(box, 'random', 'three');
  box.sending(box.next('general'));
  assert.equal(first.state, 'sending');
  assert.equal(box.next('general'), undefined);
  assert.equal(box.next('random'), elsewhere);
  box.remove(first.clientId);
  assert.equal(box.next('general'), second);
});

test('a message without an answer is tried again under the same client id, and holds back the next', () => {
  const box = outbox();
  const first = add(box, 'general', 'one');
  add(box, 'general', 'two');
  box.sending(first);
  assert.ok(box.refused(first.clientId, undefined) > 0);
  assert.equal(box.next('general'), first);
  assert.equal(first.clientId, 'client-1');
});

test('the wait between two tries grows, and has an end', () => {
  const box = outbox();
  const entry = add(box, 'general', 'one');
  const waits = Array.from({ length: 12 }, () => {
    box.sending(entry);
    return box.refused(entry.clientId, { code: 'unavailable', message: '', retryable: true });
  });
  assert.ok(waits[1] > waits[0]);
  assert.equal(Math.max(...waits), 30_000);
});

test('a refusal for good waits for its writer, and lets the next one pass', () => {
  const box = outbox();
  const first = add(box, 'general', 'one');
  const second = add(box, 'general', 'two');
  box.sending(first);
  const wait = box.refused(first.clientId, { code: 'denied', message: 'no', retryable: false });
  assert.deepEqual([wait, first.state, box.next('general')], [undefined, 'failed', second]);
  box.retry(first.clientId);
  assert.equal(box.next('general'), first);
});

test('a late refusal of a message that has arrived is ignored', () => {
  const box = outbox();
  const entry = add(box, 'general', 'one');
  box.sending(entry);
  box.remove(entry.clientId);
  assert.equal(box.refused(entry.clientId, undefined), undefined);
  assert.deepEqual(box.entries, []);
});

test('the outbox survives a reload, and messages in flight are sent again', () => {
  const store = storage();
  const before = outbox(store);
  before.sending(add(before, 'general', 'one'));
  add(before, 'general', 'two');
  const after = outbox(storage(store.values));
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
  assert.equal(add(box, 'general', 'x'.repeat(room)).state, 'waiting');
  const over = add(box, 'general', 'x'.repeat(room + 1));
  assert.deepEqual([over.state, over.error.code], ['failed', 'too-large']);
  box.retry(over.clientId);
  assert.deepEqual([over.state, over.error.code], ['failed', 'too-large'], 'also when it is tried again');
  const store = storage({ outbox: [{ ...over, state: 'waiting' }] });
  assert.equal(outbox(store).entries[0].state, 'failed', 'and when an earlier client has stored it');
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

test('a rejoin brings what has changed, and asks for the rest from there', () => {
  const room = joinedRoom(3, messages(1, 3));
  const changed = (seq, rev) => message(seq, { content: `changed ${seq}`, rev, editedAt: NOON });
  rejoin(room, { lastSeq: 3, rev: 9, messages: [], changes: [changed(2, 4), changed(1, 6)], complete: false });
  assert.deepEqual([room.rev, room.messages.map(({ content }) => content)], [6, ['changed 1', 'changed 2', 'text 3']]);
  rejoin(room, { lastSeq: 3, rev: 9, messages: [], changes: [changed(3, 9), changed(8, 8)], complete: true });
  assert.deepEqual([room.rev, room.messages.map(({ content }) => content)], [9, ['changed 1', 'changed 2', 'changed 3']]);
});

test('a gap the server cannot fill is not asked for again', () => {
  const room = joinedRoom(9, [message(1), message(9)]);
  assert.deepEqual(room.gaps(), [{ after: 1, before: 9, lost: false }]);
  room.fill(room.gap(), { messages: [message(1)] });
  assert.equal(room.gap(), undefined);
  assert.deepEqual(room.gaps(), [{ after: 1, before: 9, lost: true }]);
});

const edited = (seq, rev, content = `edited ${rev}`) => ['message-edited', { roomId: 'general', messageId: `id-${seq}`, seq, rev, content, editedAt: NOON }];
const marked = (seq, rev, userId, on, count) => ['message-marked', { roomId: 'general', messageId: `id-${seq}`, seq, rev, userId, kind: 'reaction', value: '+1', on, count }];

test('a change of a message that is here is shown, an older one is not', () => {
  const room = joinedRoom(2, messages(1, 2));
  room.change(...edited(1, 1, 'new'));
  room.change(...marked(1, 2, 'bob', true, 1));
  room.change(...marked(1, 3, 'cid', true, 2));
  room.change(...edited(1, 1, 'old'));
  room.change(...edited(9, 4, 'unknown'));
  assert.deepEqual([contents(room)[0], room.messages[0].marks, room.rev], ['new', [{ kind: 'reaction', value: '+1', count: 2, userIds: ['bob', 'cid'] }], 4]);
  room.change(...marked(1, 5, 'bob', false, 1));
  room.change(...marked(1, 6, 'cid', false, 0));
  assert.deepEqual(room.messages[0].marks, []);
  room.change('message-deleted', { seq: 1, rev: 7, deletedAt: NOON });
  assert.deepEqual([contents(room), room.messages[0].deletedAt, seqs(room)], [['', 'text 2'], NOON, [1, 2]]);
  room.change('message-changed', message(2, { rev: 12, content: 'as it is now' }));
  assert.deepEqual([contents(room)[1], room.rev], ['as it is now', 12]);
});

test('changes that come while others are still to be read wait for them', () => {
  const room = joinedRoom(2, messages(1, 2));
  room.disconnected();
  rejoin(room, { lastSeq: 2, rev: 3, messages: [], changes: [message(2, { rev: 1, content: 'changed 2' })], complete: false });
  assert.equal(room.change(...edited(1, 4, 'last')), true);
  assert.equal(contents(room)[0], 'text 1', 'its mark is not here yet');
  const mark = { kind: 'reaction', value: '+1', count: 1, userIds: ['bob'] };
  rejoin(room, { lastSeq: 2, rev: 3, messages: [], changes: [message(1, { rev: 3, marks: [mark] })] });
  assert.deepEqual([room.rev, contents(room), room.messages[0].marks], [4, ['last', 'changed 2'], [mark]]);
});

test('after a change that is missing the room is to be joined again, which brings it', () => {
  const room = joinedRoom(1, messages(1, 1));
  assert.equal(room.change(...edited(1, 1)), true);
  assert.equal(room.change(...edited(1, 3)), false);
  assert.equal(room.change(...edited(1, 4)), true, 'that has been said');
  assert.deepEqual([contents(room), room.question(50)], [['edited 1'], { after: 1, rev: 1 }]);
  rejoin(room, { lastSeq: 1, rev: 3, messages: [], changes: [message(1, { rev: 3, content: 'edited 3' })] });
  assert.deepEqual([contents(room), room.rev], [['edited 4'], 4]);
});

test('a change that overtakes the page with its message is not lost', async () => {
  const room = joinedRoom(5, [message(5)]);
  await room.reading(async () => {
    room.change(...edited(4, 1, 'newer than the page'));
    room.change(...edited(3, 2, 'in the page already'));
    room.page(5, { messages: [message(4), message(3, { rev: 2, content: 'as it is' })] });
  });
  assert.deepEqual(contents(room), ['as it is', 'newer than the page', 'text 5']);
  assert.deepEqual([room.reads, room.changesDuringReads.size], [0, 0]);
});

test('a past that cannot be read leaves the room as it was', () => {
  const room = joinedRoom(2, messages(1, 2));
  assert.deepEqual(rejoin(room, { lastSeq: 2, rev: 0, messages: [], complete: false }), { added: [], reset: false, next: 'unreadable' });
  assert.deepEqual([seqs(room), room.question(50)], [[1, 2], { after: 2, rev: 0 }]);
});

test('a server that asks to wait is obeyed, also for longer than by itself', () => {
  const box = outbox();
  const entry = add(box, 'general', 'one');
  box.sending(entry);
  assert.equal(box.refused(entry.clientId, { code: 'rate-limited', message: '', retryable: true, retryAfterMs: 90_000 }), 90_000);
});

test('two tabs with one storage keep each other’s messages', () => {
  const store = storage();
  const newId = numberedIds();
  const [one, two] = [new Outbox(store, newId), new Outbox(store, newId)];
  const first = add(one, 'general', 'one');
  add(two, 'general', 'two');
  one.remove(first.clientId);
  assert.deepEqual(store.values.outbox.map(({ content }) => content), ['two']);
});

test('unread messages are counted from what the server says, or from what was seen here', () => {
  const counts = new Counts(storage());
  assert.deepEqual(counts.unread('open', 7), { readUpTo: 0, unread: 0, mentions: 0 });
  counts.begins('open', 7);
  assert.deepEqual(counts.unread('open', 9), { readUpTo: 7, unread: 2, mentions: 0 });
  counts.saw('open', 8);
  assert.deepEqual(counts.unread('open', 9), { readUpTo: 8, unread: 1, mentions: 0 });

  counts.took([{ roomId: 'team', role: 'member', lastSeq: 5, readUpTo: 2, unread: 3, mentions: 1 }]);
  assert.deepEqual(counts.unread('team', undefined), { readUpTo: 2, unread: 3, mentions: 1 });
  assert.deepEqual(counts.unread('team', 6), { readUpTo: 2, unread: 4, mentions: 1 });
  // Another device has read.
  counts.changed({ roomId: 'team', role: 'moderator', lastSeq: 5, readUpTo: 5, unread: 0, mentions: 0 });
  counts.posted('team', 6);
  assert.deepEqual([counts.unread('team', 6), counts.memberships.get('team').role], [{ readUpTo: 5, unread: 1, mentions: 0 }, 'moderator']);
  counts.saw('team', 6);
  assert.equal(counts.unread('team', 6).unread, 0);
  counts.changed({ roomId: 'team', role: null, lastSeq: 6, readUpTo: 5, unread: 0, mentions: 0 });
  assert.equal(counts.memberships.size, 0);
});

test('what was seen outlives the client', () => {
  const store = storage();
  const before = new Counts(store);
  before.begins('open', 3);
  before.saw('open', 5);
  assert.deepEqual(new Counts(storage(store.values)).unread('open', 9), { readUpTo: 5, unread: 4, mentions: 0 });
});

test('what was seen is outdated by another epoch, or by a room that has fewer messages', () => {
  const counts = new Counts(storage());
  const isOutdated = (epoch, lastSeq) => counts.isOutdated({ id: 'open', epoch, lastSeq });
  assert.equal(isOutdated('one', 0), false, 'nothing was seen');
  counts.begins('open', 3, 'one');
  assert.deepEqual([isOutdated('one', 3), isOutdated('one', 2), isOutdated('two', 9)], [false, true, true]);
  assert.equal(isOutdated(undefined, undefined), false, 'the room is not joined yet');
  // A message that comes before the join is answered.
  counts.saw('open', 4, undefined);
  assert.deepEqual([isOutdated('one', 4), isOutdated('one', 3), isOutdated('two', 9)], [false, true, true]);
  counts.forget('open');
  assert.equal(isOutdated('two', 0), false);
});

test('values by room are stored for the rooms that have changed last, and those of another tab stay', () => {
  const store = storage({ key: [['old', 1], 'broken', ['young', 2, 'more']] });
  const [one, two] = [1, 2].map(() => new StoredByRoom(store, 'key', 3));
  assert.deepEqual([one.get('old'), one.get('young'), one.get('b')], [[1], [2, 'more'], undefined]);
  two.set('other tab', [3]);
  one.set('old', [4]);
  assert.deepEqual(store.values.key, [['young', 2, 'more'], ['other tab', 3], ['old', 4]]);
  one.set('new', [5]);
  assert.deepEqual(store.values.key.map(([roomId]) => roomId), ['other tab', 'old', 'new']);
  one.delete('old');
  assert.deepEqual([one.get('old'), one.get('young'), store.values.key.length], [undefined, [2, 'more'], 2]);
  two.set('new', [6]);
  one.deleteOwn('new');
  assert.deepEqual([one.get('new'), two.get('new'), store.values.key.at(-1)], [undefined, [6], ['new', 6]]);
  two.deleteOwn('new');
  assert.deepEqual(store.values.key.map(([roomId]) => roomId), ['other tab']);
});
