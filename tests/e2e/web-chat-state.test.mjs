// The chat page's rows and texts without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../examples/web-chat/client/id.js';
import { Counts } from '../../examples/web-chat/client/counts.js';
import { Outbox } from '../../examples/web-chat/client/outbox.js';
import { People } from '../../examples/web-chat/client/people.js';
import { Room } from '../../examples/web-chat/client/room.js';
import { roomSnapshot } from '../../examples/web-chat/client/snapshot.js';
import { readable } from '../../examples/web-chat/identity.js';
import { richText } from '../../examples/web-chat/rich-text.js';
import { timeline } from '../../examples/web-chat/timeline.js';

const DAY = 86_400_000;
const NOON = new Date(2026, 5, 1, 12).getTime();
const NOWHERE = { get: () => undefined, set: () => {} };

function message(seq, more = {}) {
  return { id: `id-${seq}`, seq, roomId: 'general', userId: 'ann', username: 'ann', content: `text ${seq}`, sentAt: NOON + seq, ...more };
}

/** The rows that are shown of a room with these messages. */
function rows(messages, { me = 'me', people = new People(), outgoing = [], lost } = {}) {
  const room = new Room('general');
  room.joined({}, { lastSeq: messages.at(-1)?.seq ?? 0, messages });
  if (lost) room.fill(lost, {});
  const outbox = new Outbox(NOWHERE, newId);
  for (const text of outgoing) outbox.add('general', text, undefined, NOON);
  const snapshot = roomSnapshot(room, { outbox, people, counts: new Counts(NOWHERE), loadingOlder: false, now: NOON });
  return timeline({ room: snapshot, me, nameOf: (id) => people.name(id), people: [] });
}

const kinds = (shown) => shown.map(({ kind, heads }) => (heads ? `${kind}+` : kind));
const ofMessages = (shown) => shown.filter(({ kind }) => kind === 'message');

test('the list shows days, headings and gaps', () => {
  const messages = [
    message(1),
    message(2),
    message(3, { userId: 'bob' }),
    message(4, { userId: 'bob', sentAt: NOON + DAY }),
    message(6, { userId: 'bob', sentAt: NOON + DAY }),
  ];
  assert.deepEqual(kinds(rows(messages)), ['day', 'message+', 'message', 'message+', 'day', 'message+', 'gap', 'message+']);
  const gap = (options) => rows(messages, options).find(({ kind }) => kind === 'gap');
  assert.deepEqual([gap().lost, gap({ lost: { after: 4, before: 6 } }).lost], [false, true]);
});

test('outgoing messages come last, and every row has a unique key', () => {
  const shown = rows([message(1), message(2)], { outgoing: ['one', 'two'] });
  assert.deepEqual(shown.slice(-2).map(({ kind, text }) => [kind, text]), [['outgoing', 'one'], ['outgoing', 'two']]);
  assert.equal(new Set(shown.map(({ key }) => key)).size, shown.length);
});

test('a user who has read a message has read those before it, and their own do not count', () => {
  const people = new People();
  people.hasRead('general', 'bob', 2);
  people.hasRead('general', 'bob', 1);
  people.hasRead('general', 'ann', 3);
  const shown = ofMessages(rows([1, 2, 3].map((seq) => message(seq)), { me: 'ann', people }));
  const ticks = shown.map(({ readers, lastOwn }) => [readers, lastOwn]);
  assert.deepEqual(ticks, [[['bob'], false], [['bob'], false], [[], true]]);
});

test('a name comes from the server, never from a message', () => {
  const people = new People();
  const userId = 'brave-otter-1a2b3c4d';
  const shown = (fields) => ofMessages(rows([message(1, { userId, metadata: { name: 'Administrator' }, ...fields })], { people }))[0].name;
  assert.equal(readable(userId), 'Brave Otter', 'of an earlier release there is only the id');
  people.met({ userId, username: 'Otto' });
  assert.equal(people.name(userId), 'Otto');
  people.saw({ userId, username: 'Ottilie', status: 'online', since: NOON });
  people.met({ userId, username: 'Otto' });
  assert.equal(people.name(userId), 'Ottilie', 'who is here has the name of now');
  assert.equal(shown({ username: userId }), 'Ottilie');
  assert.equal(shown({ username: 'Otto' }), 'Otto', 'a message has that of then');
});

test('changes of messages are in their rows', () => {
  const marks = [{ kind: 'reaction', value: '+1', count: 2, userIds: ['me', 'bob'] }, { kind: 'pin', value: '', count: 1, userIds: ['bob'] }];
  const [changed, deleted] = ofMessages(rows([
    message(1, { rev: 2, editedAt: NOON, marks }),
    message(2, { rev: 3, content: '', deletedAt: NOON }),
  ]));
  assert.deepEqual([changed.edited, changed.marks], [true, [{ value: '+1', count: 2, mine: true, names: ['me', 'bob'] }]]);
  assert.deepEqual([deleted.deleted, deleted.text], [true, '']);
});

const PEOPLE = [{ userId: 'ann-1', name: 'Ann' }, { userId: 'ann-2', name: 'Ann Lee' }, { userId: 'bob', name: 'Bob <b>' }];
const parts = (text, me = 'me') => richText(text, PEOPLE, me).map((part) => (part.kind === 'text' ? part.text : [part.kind, part.href ?? part.me, part.text]));

test('addresses of the web become links, and nothing else does', () => {
  assert.deepEqual(parts('see https://example.org/a?b=c#d, or http://localhost:3000/.'), [
    'see ', ['link', 'https://example.org/a?b=c#d', 'https://example.org/a?b=c#d'], ', or ',
    ['link', 'http://localhost:3000/', 'http://localhost:3000/'], '.',
  ]);
  assert.deepEqual(parts('(https://example.org/a_(b))'), ['(', ['link', 'https://example.org/a_(b)', 'https://example.org/a_(b)'], ')']);
  for (const text of ['javascript:alert(1)', 'data:text/html,x', 'file:///etc/passwd', 'https://', 'ftp://example.org', '']) {
    assert.deepEqual(richText(text, PEOPLE, 'me').filter(({ kind }) => kind !== 'text'), [], text);
  }
  assert.deepEqual(parts('<a href="https://example.org/">x</a>'), ['<a href="', ['link', 'https://example.org/', 'https://example.org/'], '">x</a>']);
});

test('names after @ are mentions of those who have them, the longest name first', () => {
  assert.deepEqual(parts('@Ann Lee and @ann: hi', 'ann-1'), [['mention', false, '@Ann Lee'], ' and ', ['mention', true, '@ann'], ': hi']);
  assert.deepEqual(parts('@Bob <b> @ann-2'), [['mention', false, '@Bob <b>'], ' ', ['mention', false, '@ann-2']]);
  for (const text of ['ann@Ann.org', '@Annabel', '@nobody', '@', '@@']) assert.deepEqual(parts(text), [text]);
});
