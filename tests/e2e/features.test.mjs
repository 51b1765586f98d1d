// The features of host/features.md, one test for each row of its table, through the official client, on a server with
// shipped handlers and examples. Each test is short and asserts what users see; other files test the features in depth.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { example } from './lib/examples.mjs';
import { listen } from './lib/http.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

/** The questions that the assistant has sent to its service. A test answers them with `say(word)` and `end()`. */
const questions = [];
const service = await listen((_, response) => {
  let n = 0;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  questions.push({
    say: (word) => response.write(`id: ${n++}\ndata: ${JSON.stringify(word)}\n\n`),
    end: () => response.end(),
  });
});

const DATA_TOKEN = 'a token for the data API alone';
const team = join(await example('team'), 'target/components/team.wasm');
/** Tables that give several events the same component. */
const each = (component, ...events) => Object.fromEntries(events.map((event) => [event, { component, name: 'example' }]));
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    admin: { tokens: [{ name: 'back-end', scope: 'data', token_sha256: createHash('sha256').update(DATA_TOKEN).digest('hex') }] },
    store: { retention_every: '100ms' },
    retention: { rooms: [{ prefix: 'short', count: 3 }] },
    grants: { http: [`http://${service}`], moderate: true },
    handlers: {
      room: { settings: { members: 'lasting' } },
      assistant: { component: guest('assistant'), events: ['ask', 'stop', 'topics'], settings: { service: `http://${service}` } },
    },
    tenants: {
      team: configurationOf('team', { grants: { moderate: true }, handlers: each(team, 'message', 'room', 'connect', 'event') }),
      private: configurationOf('private', { handlers: each(guest('private-rooms'), 'room', 'event') }),
      slow: configurationOf('slow', { handlers: { message: { component: guest('slow-mode'), settings: { seconds: '1' } } } }),
    },
  },
});

let scenes = 0;
/** Connects users that no other test has to a tenant. */
function people(tenant, ...names) {
  scenes += 1;
  return Promise.all(names.map((name) => device(tenant, `${name}-${scenes}`)));
}

/** A further connection of a user. */
const device = (tenant, user) => connect(server, user, tenant === 'default' ? {} : at(tenant, user));

/** Makes a room with new users, in the tenant with the shipped handlers or in another one. */
async function inRoom(names, { tenant = 'default', room = freshRoom() } = {}) {
  const clients = await people(tenant, ...names);
  for (const client of clients) await client.join(room);
  return [room, ...clients];
}

/** Makes a room of alice's with bob and carol in the tenant of the example `team`. */
async function inTeam() {
  const [alice, bob, carol] = await people('team', 'alice', 'bob', 'carol');
  const { room: { roomId: room } } = await alice.askOk('create-room', 'Lunch');
  for (const invited of [bob, carol]) {
    await alice.askOk('invite', room, invited.user);
    await invited.join(room);
  }
  return [room, alice, bob, carol];
}

/** The messages that a newcomer gets with the join. */
async function late(room) {
  const [newcomer] = await people('default', 'late');
  return (await newcomer.join(room, { last: 50 })).messages;
}

const roomOf = async (client, room) => (await client.askOk('unread')).rooms.find(({ roomId }) => roomId === room);
const contents = (messages) => messages.map(({ content }) => content);

async function command(...args) {
  const { code, output, stdout } = await operate(server, args);
  assert.equal(code, 0, output);
  return stdout;
}

test('feature: edit', async () => {
  const [room, ann, bob, away] = await inRoom(['ann', 'bob', 'away']);
  const { id: messageId, seq } = await ann.post(room, 'helo');
  away.close();
  await ann.askOk('edit-message', { messageId, content: 'hello' });
  const { content, rev, userId } = await bob.next('message-edited', (edit) => edit.messageId === messageId);
  assert.deepEqual([content, rev, userId], ['hello', 1, ann.user]);
  const [read] = await late(room);
  assert.deepEqual([read.content, read.editedAt > read.sentAt], ['hello', true]);
  await away.back();
  const { messages, changes } = await away.join(room, { after: seq, rev: 0 });
  assert.deepEqual([messages, contents(changes)], [[], ['hello']]);
  assertFailed(await bob.ask('edit-message', { messageId, content: 'mine' }), 'denied', false);
  assert.deepEqual(contents(await late(room)), ['hello']);
});

test('feature: delete', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const { id: messageId } = await ann.post(room, 'a secret', { metadata: { secret: true } });
  await bob.post(room, 'what?');
  assertFailed(await bob.ask('delete-message', { messageId }), 'denied', false);
  await ann.askOk('delete-message', { messageId });
  assert.equal((await bob.next('message-deleted')).messageId, messageId);
  const [place, next] = await late(room);
  assert.deepEqual([place.content, place.metadata, place.userId, place.deletedAt > 0], ['', undefined, ann.user, true]);
  assert.deepEqual([next.seq, next.content], [2, 'what?']);
  assertFailed(await ann.ask('edit-message', { messageId, content: 'again' }), 'not-found', false);
});

test('feature: reactions', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const { id: messageId } = await ann.post(room, 'done');
  const react = (client, on) => client.ask('mark-message', { messageId, kind: 'reaction', value: '🎉', on });
  for (const client of [bob, bob, ann]) await react(client, true);
  await bob.until(() => bob.all('message-marked').length === 2, 'two reactions');
  assert.deepEqual(bob.all('message-marked').map(({ userId, count }) => [userId, count]), [[bob.user, 1], [ann.user, 2]]);
  const shown = async () => (await late(room))[0].marks;
  assert.deepEqual(await shown(), [{ kind: 'reaction', value: '🎉', count: 2, userIds: [bob.user, ann.user] }]);
  await react(bob, false);
  assert.equal((await ann.next('message-marked', ({ on }) => !on)).count, 1);
  assert.deepEqual(await shown(), [{ kind: 'reaction', value: '🎉', count: 1, userIds: [ann.user] }]);
  const [stranger] = await people('default', 'stranger');
  assertFailed(await react(stranger, true), 'not-found');
});

test('feature: threads by metadata', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const { id: thread } = await ann.post(room, 'Which day?');
  const { id: messageId } = await bob.post(room, 'Munday', { metadata: { thread } });
  await bob.post(room, 'Something else');
  assert.deepEqual((await ann.next('new-message', ({ content }) => content === 'Munday')).metadata, { thread });
  await bob.askOk('edit-message', { messageId, content: 'Monday', metadata: { thread } });
  assert.deepEqual((await ann.next('message-edited')).metadata, { thread });
  const replies = (messages) => contents(messages.filter(({ metadata }) => metadata?.thread === thread));
  assert.deepEqual([replies(await ann.history(room)), replies(await late(room))], [['Monday'], ['Monday']]);
  await ann.askOk('delete-message', { messageId: thread });
  assert.deepEqual(replies(await late(room)), ['Monday'], 'the thread goes on without its first message');
  await bob.askOk('edit-message', { messageId, content: 'Monday!' });
  assert.deepEqual(replies(await late(room)), [], 'an edit that does not pass the metadata on takes the message out');
  assertFailed(await bob.ask('send-message', { roomId: room, content: 'x', metadata: { thread, more: 'x'.repeat(5000) } }), 'too-large', false);
});

test('feature: pins', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const { id: messageId } = await ann.post(room, 'The rules');
  await ann.post(room, 'Hello');
  const pin = (client, on) => client.ask('mark-message', { messageId, kind: 'pin', value: 'pinned', on });
  const pinned = async () => contents((await late(room)).filter(({ marks }) => marks?.some(({ kind }) => kind === 'pin')));
  await pin(bob, true);
  const { kind, on, userId } = await ann.next('message-marked');
  assert.deepEqual([kind, on, userId], ['pin', true, bob.user]);
  assert.deepEqual(await pinned(), ['The rules']);
  await pin(ann, false);
  assert.deepEqual(await pinned(), ['The rules'], 'a pin belongs to the user who has set it');
  await pin(bob, false);
  await ann.next('message-marked', (mark) => !mark.on);
  assert.deepEqual(await pinned(), []);
  const [stranger] = await people('default', 'stranger');
  assertFailed(await pin(stranger, true), 'not-found');
});

test('feature: mentions', async () => {
  const [room, alice, bob, carol] = await inTeam();
  const tablet = await device('team', bob.user);
  carol.close();
  await alice.post(room, `soup, @${bob.user} and @${carol.user}?`);
  for (const client of [bob, tablet]) assert.equal((await client.next('unread-changed', ({ mentions }) => mentions === 1)).roomId, room);
  await carol.back();
  assert.equal((await roomOf(carol, room)).mentions, 1, 'for a user who was away, too');
  assert.equal((await roomOf(alice, room)).mentions, 0);
  const { id } = await alice.post(room, 'at noon');
  await bob.askOk('read-message', id);
  await tablet.next('unread-changed', ({ mentions, unread }) => mentions === 0 && unread === 0);
  const [stranger] = await people('team', 'stranger');
  await alice.post(room, `or with @${stranger.user}`);
  assert.deepEqual((await stranger.askOk('unread')).rooms, []);
});

test('feature: unread', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  bob.close();
  const posted = [];
  for (const text of ['one', 'two', 'three']) posted.push(await ann.post(room, text));
  const [phone, tablet] = [await device('default', bob.user), await device('default', bob.user)];
  assert.equal((await roomOf(phone, room)).unread, 3);
  assert.deepEqual(contents((await phone.join(room, { after: 0 })).messages), ['one', 'two', 'three']);
  await phone.askOk('read-message', posted[1].id);
  await tablet.next('unread-changed', ({ roomId, unread }) => roomId === room && unread === 1);
  await phone.askOk('read-message', posted[0].id);
  assert.equal((await roomOf(tablet, room)).unread, 1, 'nobody reads backwards');
});

test('feature: slow mode', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob'], { tenant: 'slow' });
  const before = Date.now();
  const send = (content) => ann.ask('send-message', { roomId: room, content });
  const [first, second] = await Promise.all([send('one'), send('two')]);
  assert.equal(first.ok, true);
  assertFailed(second, 'rate-limited', true);
  assert.ok(second.error.retryAfterMs <= 1000, JSON.stringify(second));
  await bob.post(room, 'mine');
  const { message } = await eventually(async () => {
    const answer = await send('two');
    return answer.ok && answer;
  }, 'the end of the pause');
  assert.ok(message.sentAt >= before + 1000, 'not before');
  await bob.next('new-message', ({ seq }) => seq === 3);
  assert.deepEqual(contents(bob.messages(room)), ['one', 'mine', 'two']);
});

test('feature: mute', async () => {
  const [room, alice, bob, carol] = await inTeam();
  const send = () => carol.ask('send-message', { roomId: room, content: 'hello?' });
  assertFailed(await bob.ask('mute', room, carol.user, 60), 'denied', false);
  await alice.askOk('mute', room, carol.user, 60);
  const { error } = await send();
  assert.deepEqual([error.code, error.message, error.retryAfterMs > 1000], ['rate-limited', 'you are muted', true]);
  await bob.post(room, 'I can speak');
  await carol.next('new-message', ({ content }) => content === 'I can speak');
  const before = Date.now();
  await alice.askOk('mute', room, carol.user, 1);
  const { message } = await eventually(async () => {
    const answer = await send();
    return answer.ok && answer;
  }, 'the end of the mute');
  assert.ok(message.sentAt >= before + 1000, 'not before');
  await bob.next('new-message', ({ content }) => content === 'hello?');
});

test('feature: ban', async () => {
  const [room, alice, bob, carol] = await inTeam();
  assertFailed(await bob.ask('ban', room, carol.user, 3600), 'denied', false);
  await alice.askOk('ban', room, carol.user, 3600);
  const { reason, until } = await carol.next('kicked');
  assert.deepEqual([reason, until > Date.now()], ['you are banned from the room', true]);
  await bob.next('user-left', ({ userId }) => userId === carol.user);
  await alice.post(room, 'she is gone');
  await alice.askOk('invite', room, carol.user);
  assertFailed(await carol.ask('join-room', room), 'denied', false);
  assertFailed(await carol.ask('history', { roomId: room }), 'denied');
  assert.deepEqual(carol.messages(room).filter(({ content }) => content === 'she is gone'), []);
  await carol.join('general');
  await alice.askOk('unban', room, carol.user);
  assert.ok(contents((await carol.join(room, { last: 50 })).messages).includes('she is gone'));
});

test('feature: private rooms', async () => {
  const [alice, eve] = await people('private', 'alice', 'eve');
  const { room: { roomId: room } } = await alice.askOk('create-room', 'Lunch');
  const [there, nowhere] = [await eve.ask('join-room', room), await eve.ask('join-room', `${room.slice(0, -1)}x`)];
  assertFailed(there, 'not-found');
  assert.deepEqual(there, nowhere, 'a refusal does not say that there is a room');
  await alice.post(room, 'a secret');
  assertFailed(await eve.ask('history', { roomId: room }), 'denied');
  assertFailed(await eve.ask('send-message', { roomId: room, content: 'let me in' }), 'denied');
  await eve.join('general');
  assert.deepEqual(eve.messages(room), []);
  const tablet = await device('private', alice.user);
  const { messages, data } = await tablet.join(room, { last: 50 });
  assert.deepEqual([contents(messages), data.title, data.members], [['a secret'], 'Lunch', [alice.user]]);
});

test('feature: invitations', async () => {
  const [alice, bob, carol] = await people('private', 'alice', 'bob', 'carol');
  const { room: { roomId } } = await alice.askOk('create-room', 'Lunch');
  await alice.askOk('invite', roomId, bob.user);
  const { room, by } = await bob.next('invitation');
  assert.deepEqual([room, by], [{ roomId, title: 'Lunch' }, `${alice.user}'s name`]);
  await bob.join(roomId);
  assertFailed(await bob.ask('invite', roomId, carol.user), 'denied', false);
  await alice.askOk('invite', roomId, carol.user);
  await alice.askOk('withdraw', roomId, carol.user);
  await carol.next('invitation-withdrawn', (id) => id === roomId);
  assertFailed(await carol.ask('join-room', roomId), 'not-found');

  // In the example `team` an invitation also waits for a user who is away.
  const [owner, away] = await people('team', 'owner', 'away');
  away.close();
  const { room: { roomId: other } } = await owner.askOk('create-room', 'Lunch');
  await owner.askOk('invite', other, away.user);
  await owner.post(other, 'soup?');
  await away.back();
  assert.equal((await roomOf(away, other)).role, 'member');
  assert.equal((await away.join(other, { last: 1 })).messages[0].content, 'soup?');
});

test('feature: read by whom', async () => {
  const [room, ann, bob, cid] = await inRoom(['ann', 'bob', 'cid']);
  const [first, second] = [await ann.post(room, 'one'), await ann.post(room, 'two')];
  await bob.askOk('read-message', second.id);
  await cid.askOk('read-message', first.id);
  for (const [reader, { id }] of [[bob, second], [cid, first]]) {
    const { messageId } = await ann.next('message-read', ({ userId }) => userId === reader.user);
    assert.equal(messageId, id);
  }
  for (const client of [bob, ann]) client.close();
  const tablet = await device('default', ann.user);
  await tablet.join(room);
  const { members } = await tablet.askOk('room-members', { roomId: room });
  const readers = ({ seq }) => members.filter(({ readUpTo }) => readUpTo >= seq).map(({ userId }) => userId);
  assert.deepEqual([readers(first), readers(second)], [[bob.user, cid.user], [bob.user]], 'a client that joins later knows it, too');
  const [stranger] = await people('default', 'stranger');
  assertFailed(await stranger.ask('read-message', first.id), 'not-found');
  assertFailed(await stranger.ask('room-members', { roomId: room }), 'denied');
});

test('feature: rooms that I am in', async () => {
  const [one, ann, bob] = await inRoom(['ann', 'bob']);
  const two = freshRoom();
  await ann.join(two);
  ann.close();
  const [phone, tablet] = [await device('default', ann.user), await device('default', ann.user)];
  const mine = async (client) => (await client.askOk('unread')).rooms.map(({ roomId }) => roomId);
  assert.deepEqual([await mine(phone), await mine(bob)], [[one, two].toSorted(), [one]]);
  await phone.join(two);
  await phone.askOk('leave-room', two);
  assert.equal((await tablet.next('unread-changed', ({ role }) => role === null)).roomId, two);
  assert.deepEqual(await mine(tablet), [one]);
  // In the example `team` a connection begins in the user's rooms.
  const [room, alice, carol] = await inTeam();
  carol.close();
  const again = await device('team', carol.user);
  await roomOf(again, room);
  await alice.post(room, 'are you there?');
  await again.next('new-message', ({ content }) => content === 'are you there?');
});

test('feature: retention', async () => {
  const [room, ann, away] = await inRoom(['ann', 'away'], { room: freshRoom('short') });
  const { id: gone, seq } = await ann.post(room, 'one');
  await away.next('new-message', (message) => message.seq === seq);
  away.close();
  for (const text of ['two', 'three', 'four', 'five']) await ann.post(room, text);
  await eventually(async () => (await ann.history(room)).length === 3, 'the newest three messages');
  assert.deepEqual(contents(await late(room)), ['three', 'four', 'five']);
  await away.back();
  const { firstSeq, messages, complete } = await away.join(room, { after: seq });
  assert.deepEqual([firstSeq, contents(messages), complete], [3, ['three', 'four', 'five'], true]);
  assertFailed(await ann.ask('edit-message', { messageId: gone, content: 'x' }), 'not-found', false);
  assertFailed(await ann.ask('read-message', gone), 'not-found', false);
  assert.equal((await ann.post(room, 'six')).seq, 6);
});

test('feature: export', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  await ann.post(room, 'written by ann');
  const { id: messageId } = await bob.post(room, 'written by bob');
  await ann.askOk('mark-message', { messageId, kind: 'reaction', value: '🎉' });
  await ann.askOk('read-message', messageId);
  const text = await command('export', '--user', ann.user);
  const records = text.trimEnd().split('\n').slice(1).map((line) => JSON.parse(line));
  assert.deepEqual(records.map((record) => Object.keys(record)[0]), ['message', 'mark', 'receipt', 'member', 'end']);
  assert.deepEqual([records[0].message.content, text.includes('written by bob'), text.includes(bob.user)], ['written by ann', false, false]);

  // The whole tenant: clients find its data in another one.
  const file = join(temporaryDirectory(), 'all.ndjson');
  writeFileSync(file, await command('export', '--tenant', 'default'));
  await admin(server).requestOk('POST', '/tenants', { body: { name: 'copy', configuration: configurationOf('copy') } });
  await command('import', file, '--tenant', 'copy');
  const there = await device('copy', ann.user);
  assert.deepEqual((await there.join(room, { last: 50 })).messages, await bob.history(room));
  assert.deepEqual(await roomOf(there, room), await roomOf(ann, room));
});

test('feature: erase', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const mine = { roomId: room, content: 'written by ann', clientId: 'one' };
  await ann.askOk('send-message', mine);
  const { id: messageId } = await bob.post(room, 'written by bob');
  await ann.askOk('mark-message', { messageId, kind: 'reaction', value: '🎉' });
  assert.match(await command('erase-user', ann.user), /^erased: 1 messages, 1 marks, 0 receipts, /);
  assert.equal((await bob.next('message-deleted')).userId, ann.user);
  assert.equal((await bob.next('message-marked', ({ on }) => !on)).count, 0);
  assert.equal((await bob.next('member-removed')).userId, ann.user);
  const shown = (await late(room)).map(({ username, content, marks }) => [username, content, marks]);
  assert.deepEqual(shown, [[ann.user, '', undefined], [`${bob.user}'s name`, 'written by bob', undefined]], 'her name is gone, too');
  assertFailed(await ann.ask('send-message', mine), 'conflict', false);
});

test('feature: bot', async () => {
  const [room, ann] = await inRoom(['ann']);
  const bot = admin(server, DATA_TOKEN);
  const posted = await bot.requestOk('POST', `/tenants/default/rooms/${room}/messages`, { body: { bot: 'deploys', content: 'v7 is live' } });
  const { userId, username, content } = await ann.next('new-message');
  assert.deepEqual([userId, username, content], ['bot:deploys', 'deploys', 'v7 is live']);
  await bot.requestOk('PATCH', `/tenants/default/messages/${posted.id}`, { body: { content: 'v8 is live' } });
  assert.equal((await ann.next('message-edited')).userId, 'bot:deploys');
  assert.deepEqual((await late(room)).map((message) => [message.userId, message.content]), [['bot:deploys', 'v8 is live']]);
  assertFailed(await ann.ask('edit-message', { messageId: posted.id, content: 'mine' }), 'denied', false);
  assert.match((await refused(server, { auth: { token: token('bot:deploys') } })).message, /^Authentication error.*reserved for bots/);
});

test('feature: streaming bot', async () => {
  const [room, ann, bob] = await inRoom(['ann', 'bob']);
  const ask = (client) => client.ask('ask', { roomId: room, question: 'Which day?' });
  assert.equal((await ask(ann)).ok, true);
  const { say, end } = await eventually(() => questions[0], 'the question');
  say('It');
  const { id, userId, content } = await bob.next('new-message');
  assert.deepEqual([userId, content], ['bot:assistant', 'It']);
  assertFailed(await ask(bob), 'conflict', false);
  const grown = (client, after = '') => after + client.all('message-appended').filter(({ messageId }) => messageId === id)
    .flatMap(({ fragments }) => fragments).join('');
  say('is');
  await bob.until(() => grown(bob, 'It') === 'It is', 'the second word');
  const [newcomer, stranger] = await people('default', 'late', 'stranger');
  const { messages: [soFar] } = await newcomer.join(room, { last: 50 });
  assert.equal(soFar.content, 'It is');
  say('Monday.');
  end();
  await bob.next('message-appended', ({ done }) => done);
  await newcomer.next('message-appended', ({ done }) => done);
  assert.deepEqual([grown(bob, 'It'), grown(newcomer, soFar.content)], ['It is Monday.', 'It is Monday.']);
  assert.deepEqual(contents(await late(room)), ['It is Monday.']);
  assertFailed(await ask(stranger), 'denied');
});

test('feature: system messages', async () => {
  const [room, alice, bob, carol] = await inTeam();
  await bob.post(room, 'carol was removed', { metadata: { system: true } });
  await alice.askOk('remove', room, carol.user);
  const system = (messages) => messages.filter(({ userId, metadata }) => userId === 'bot:team' && metadata.system);
  const removed = await bob.next('new-message', ({ content }) => content === `${carol.user} was removed`);
  assert.deepEqual(system([removed]), [removed]);
  const tablet = await device('team', bob.user);
  const { messages } = await tablet.join(room, { last: 50 });
  assert.deepEqual(contents(system(messages)), [
    `${alice.user}'s name made the room Lunch`, `${alice.user}'s name invited ${bob.user}`,
    `${alice.user}'s name invited ${carol.user}`, `${carol.user} was removed`,
  ], 'and no message of a member with the same metadata');
  assertFailed(await alice.ask('edit-message', { messageId: removed.id, content: 'x' }), 'denied', false);
});

test('the table in host/features.md has a row for each of these tests, and each row has a test', () => {
  const page = readFileSync(new URL('../../host/features.md', import.meta.url), 'utf8');
  const rows = Array.from(page.matchAll(/^\| (?!feature |--)(.+?) \|/gm), ([, row]) => row);
  const tests = Array.from(readFileSync(import.meta.filename, 'utf8').matchAll(/^test\('feature: (.+?)',/gm), ([, name]) => name);
  assert.ok(rows.length >= 20, `only ${rows.length} rows`);
  assert.deepEqual(rows, tests);
});
