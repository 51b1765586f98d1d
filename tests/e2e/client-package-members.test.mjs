// The client package with lasting members, unread counts and moderators. A small server in this process says what the
// guide for clients has about them, so that a test decides when it says what.
import assert from 'node:assert/strict';
import { readersOf } from '../../examples/web-chat/client/index.js';
import { Chat, memoryStorage, startChat } from './lib/chat.mjs';
import { startNode } from './lib/node.mjs';
import { owned, test } from './lib/scope.mjs';
import { eventually } from './lib/wait.mjs';

const ROOM = 'team';
const message = (seq, userId = 'bob') =>
  ({ id: `id-${seq}`, seq, roomId: ROOM, userId, username: userId, content: `text ${seq}`, sentAt: seq });

/** A server whose answers are functions: `answers[event](...args)`, which may be replaced. */
async function startStub() {
  const stub = {
    asked: [],
    sockets: [],
    lastSeq: 5,
    rooms: [{ roomId: 'closed', role: 'member', lastSeq: 9, readUpTo: 7, unread: 2, mentions: 0 }, { roomId: ROOM, role: 'member', lastSeq: 5, readUpTo: 3, unread: 2, mentions: 1 }],
    members: [{ userId: 'ann', role: 'member', joinedAt: 1, readUpTo: 3 }, { userId: 'bob', role: 'moderator', joinedAt: 1, readUpTo: 5 }],
  };
  const all = () => Array.from({ length: stub.lastSeq }, (_, n) => message(n + 1));
  // A page has one entry, to be asked for one by one.
  const page = (list, key, after) => {
    const left = list.filter((entry) => after === undefined || entry[key] > after);
    return { list: left.slice(0, 1), complete: left.length <= 1 };
  };
  stub.answers = {
    'join-room': () => ({ ok: true, epoch: 'e', lastSeq: stub.lastSeq, rev: 0, messages: all(), changes: [], complete: true, data: { members: ['ann', 'bob'] } }),
    'get-presence': () => ({ ok: true, states: [] }),
    'read-message': () => ({ ok: true }),
    unread: ({ after }) => {
      const { list, complete } = page(stub.rooms, 'roomId', after);
      return { ok: true, rooms: list, complete };
    },
    'room-members': ({ after }) => {
      const { list, complete } = page(stub.members, 'userId', after);
      return { ok: true, members: list, complete };
    },
  };
  const { io, url } = await startNode();
  stub.url = url;
  stub.lets = () => undefined;
  io.use((socket, next) => next(stub.lets(socket)));
  io.on('connection', (socket) => {
    stub.sockets.push(socket);
    socket.onAny(async (event, ...args) => {
      stub.asked.push([event, ...args.filter((arg) => typeof arg !== 'function')]);
      const answer = stub.answers[event];
      args.at(-1)?.(answer ? await answer(...args) : { ok: false, error: { code: 'unhandled', message: 'no handler', retryable: false } });
    });
  });
  stub.send = (event, body) => stub.sockets.at(-1).emit(event, body);
  stub.events = () => stub.asked.map(([event]) => event);
  return stub;
}

/** A client in the room, with its counts. */
async function ann(stub, options) {
  const chat = await (await startChat(stub, 'ann', options)).joined(ROOM);
  await chat.until(({ getSnapshot }) => getSnapshot().memberships?.length === 2 && chat.client.getRoom(ROOM).members, 'the lists');
  return chat;
}

test('counts come from the server, also of rooms that are not open, and follow what happens', async () => {
  const stub = await startStub();
  const chat = await ann(stub);
  const counts = () => {
    const { unread, mentions, readUpTo } = chat.client.getRoom(ROOM);
    return [unread, mentions, readUpTo, chat.client.getUnread()];
  };
  assert.deepEqual(counts(), [2, 1, 3, 4]);
  stub.send('new-message', message(6));
  await chat.until(() => counts()[0] === 3, 'one more');
  // Another device of the user reads, and the server is one message behind.
  stub.send('unread-changed', { roomId: ROOM, role: 'member', lastSeq: 5, readUpTo: 5, unread: 0, mentions: 0 });
  await chat.until(() => counts()[2] === 5, 'what the other device has read');
  assert.deepEqual(counts(), [1, 0, 5, 3]);
  chat.client.markRead(ROOM, 6);
  assert.deepEqual(counts(), [0, 0, 6, 2]);
  await eventually(() => stub.asked.some(([event, id]) => event === 'read-message' && id === 'id-6'), 'the receipt');
  stub.send('unread-changed', { roomId: 'closed', role: null, lastSeq: 9, readUpTo: 7, unread: 2, mentions: 0 });
  await chat.until(() => chat.client.getUnread() === 0, 'the end of a membership');
  stub.rooms.push({ roomId: 'young', role: 'member', lastSeq: 3, readUpTo: 0, unread: 3, mentions: 0 });
  stub.send('member-added', { roomId: 'young', userId: 'ann', role: 'member' });
  await chat.until(({ getSnapshot }) => getSnapshot().memberships.some(({ roomId, unread }) => roomId === 'young' && unread === 3), 'the new membership');
  assert.deepEqual(chat.problems, []);
});

test('readers are known from the members, whoever was here when they read', async () => {
  const stub = await startStub();
  const chat = await ann(stub);
  const readers = (seq) => readersOf(chat.client.getRoom(ROOM), message(seq, 'ann'));
  assert.deepEqual([readers(5), readers(6)], [['bob'], []]);
  stub.send('member-added', { roomId: ROOM, userId: 'cid', role: 'member' });
  stub.send('member-added', { roomId: ROOM, userId: 'bob', role: 'member' });
  stub.send('message-read', { roomId: ROOM, userId: 'cid', messageId: 'id-4', readAt: 1 });
  await chat.until(() => readers(4).length === 2, 'the receipt');
  const roles = () => chat.client.getRoom(ROOM).members.map(({ userId, role, readUpTo }) => [userId, role, readUpTo]).sort();
  assert.deepEqual(roles(), [['ann', 'member', 3], ['bob', 'member', 5], ['cid', 'member', 0]]);
  stub.send('member-removed', { roomId: ROOM, userId: 'cid' });
  await chat.until(() => roles().length === 2, 'the removal');
});

test('what comes while the lists are asked for is not lost by their answers, which are older', async () => {
  const stub = await startStub();
  stub.rooms.push({ roomId: 'former', role: 'member', lastSeq: 1, readUpTo: 0, unread: 1, mentions: 0 });
  const { unread, 'room-members': members } = stub.answers;
  // The events come after the server has read the first page, and before the client has it.
  stub.answers.unread = ({ after }) => {
    if (after === undefined) {
      stub.send('unread-changed', { roomId: 'closed', role: 'owner', lastSeq: 8, readUpTo: 8, unread: 0, mentions: 3 });
      stub.send('new-message', { ...message(10), roomId: 'closed' });
      stub.send('member-removed', { roomId: 'former', userId: 'ann' });
    }
    return unread({ after });
  };
  stub.answers['room-members'] = ({ after }) => {
    if (after === undefined) {
      stub.send('member-added', { roomId: ROOM, userId: 'cid', role: 'guest' });
      stub.send('member-added', { roomId: ROOM, userId: 'ann', role: 'owner' });
      stub.send('member-removed', { roomId: ROOM, userId: 'bob' });
    }
    return members({ after });
  };
  const chat = await (await startChat(stub, 'ann')).joined(ROOM);
  await chat.until((client) => client.getRoom(ROOM).members?.length >= 2, 'the members');
  const roles = chat.client.getRoom(ROOM).members.map(({ userId, role, readUpTo }) => [userId, role, readUpTo]).sort();
  assert.deepEqual(roles, [['ann', 'owner', 3], ['cid', 'guest', 0]]);
  const memberships = await chat.until(({ getSnapshot }) => getSnapshot().memberships?.length >= 2 && getSnapshot().memberships, 'the rooms');
  const closed = { roomId: 'closed', role: 'owner', lastSeq: 10, readUpTo: 8, unread: 2, mentions: 3 };
  assert.deepEqual([memberships.find(({ roomId }) => roomId === 'closed'), memberships.map(({ roomId }) => roomId).sort()], [closed, ['closed', ROOM]]);
});

test('of two questions for the unread rooms, the answer to the later one stays, although it comes first', async () => {
  const stub = await startStub();
  const { unread } = stub.answers;
  let release;
  stub.answers.unread = () => {
    stub.answers.unread = unread;
    const earlier = { ok: true, rooms: [...stub.rooms], complete: true };
    return new Promise((resolve) => {
      release = () => resolve(earlier);
    });
  };
  const chat = await (await startChat(stub, 'ann')).joined(ROOM);
  stub.rooms.push({ roomId: 'young', role: 'member', lastSeq: 3, readUpTo: 0, unread: 3, mentions: 0 });
  stub.send('member-added', { roomId: 'young', userId: 'ann', role: 'member' });
  await chat.until(({ getSnapshot }) => getSnapshot().memberships?.length === 3, 'the new membership');
  release();
  await new Promise(setImmediate);
  // The client has the earlier answer once it has this message, which the server sends after it.
  stub.send('new-message', message(6));
  await chat.until((client) => client.getRoom(ROOM).messages.length === 6, 'the message');
  assert.equal(chat.client.getSnapshot().memberships.length, 3);
});

test('users who leave the last shared room are asked for together, and are not shown as present any more', async () => {
  const stub = await startStub();
  const chat = await ann(stub);
  const shown = () => chat.client.getSnapshot().people.map(({ userId }) => userId).sort().join();
  const state = (userId, status) => ({ userId, username: userId, status, connections: 1, since: 1 });
  for (const user of ['ann', 'bob', 'cid', 'dan']) stub.send('presence', state(user, 'online'));
  await chat.until(() => shown() === 'ann,bob,cid,dan', 'all to be present');
  const asked = [];
  const leave = (userId) => stub.send('user-left', { roomId: ROOM, userId, username: userId });
  stub.answers['get-presence'] = (users) => {
    asked.push(users);
    // Dan leaves while the question is under way, and shares another room.
    if (asked.length === 1) leave('dan');
    return { ok: true, states: users.map((user) => state(user, user === 'dan' ? 'online' : 'offline')) };
  };
  // Eve was not present, and ann is the client's own user, who has left with another device.
  for (const user of ['bob', 'eve', 'cid', 'ann']) leave(user);
  await chat.until(() => shown() === 'ann,dan', 'those who have left to be gone');
  await eventually(() => asked.length === 2, 'the question for dan');
  // The server announces that a user goes offline before it announces that the user leaves: there is nothing to ask.
  stub.send('presence', state('dan', 'offline'));
  leave('dan');
  await new Promise((resolve) => setTimeout(resolve, 1_800));
  assert.deepEqual([asked, shown()], [[['bob', 'cid'], ['dan']], 'ann']);
});

test('a posted message that the server has removed before it came is not outgoing any more', async () => {
  const stub = await startStub();
  stub.answers['send-message'] = () => {
    stub.lastSeq += 1;
    return { ok: true, message: { id: `id-${stub.lastSeq}`, seq: stub.lastSeq, sentAt: 1, username: 'ann' } };
  };
  const error = { code: 'unavailable', message: 'not now', retryable: true, retryAfterMs: 60_000 };
  stub.answers.history = () => ({ ok: false, error });
  const chat = await ann(stub);
  const outgoing = () => chat.client.getRoom(ROOM).outgoing.map((entry) => entry.state).join();
  chat.client.send(ROOM, 'removed while away');
  await chat.until(() => outgoing() === 'posted', 'the acknowledgement');
  stub.answers['join-room'] = () => ({ ok: true, epoch: 'e', lastSeq: 20, firstSeq: 20, rev: 0, messages: [message(20)], changes: [], complete: true });
  stub.lastSeq = 20;
  chat.client.reconnect();
  await chat.until((client) => client.getRoom(ROOM).messages[0].seq === 20, 'what is left of the room');
  assert.equal(outgoing(), '');
  // The client stays connected, and the server has the message no more when it is asked for it.
  stub.answers.history = () => ({ ok: true, messages: [], complete: true });
  chat.client.send(ROOM, 'removed at once');
  await chat.until((client) => client.getRoom(ROOM).gaps[0]?.lost, 'the gap to be lost');
  assert.equal(outgoing(), '');
  assert.deepEqual(chat.problems, []);
});

test('a server without these events leaves the client working, and is asked again at the next connection', async () => {
  const stub = await startStub();
  const { unread } = stub.answers;
  stub.answers.unread = undefined;
  stub.answers['room-members'] = undefined;
  const storage = memoryStorage();
  const chat = await (await startChat(stub, 'ann', { storage })).joined(ROOM);
  await eventually(() => stub.events().includes('unread'), 'the question');
  assert.deepEqual([chat.client.getSnapshot().memberships, chat.client.getRoom(ROOM).members, chat.problems], [null, null, []]);
  stub.send('new-message', message(6));
  await chat.until((client) => client.getRoom(ROOM).unread === 1, 'a count of its own');
  stub.answers.unread = unread;
  chat.client.reconnect();
  await chat.until(({ getSnapshot }) => getSnapshot().memberships?.length === 2, 'the counts');
});

test('a kicked user is told why, stays out, and may try again', async () => {
  const stub = await startStub();
  const chat = await ann(stub);
  stub.send('kicked', { roomId: ROOM, reason: 'spam', until: 99 });
  const room = await chat.until((client) => client.getRoom(ROOM).state === 'kicked' && client.getRoom(ROOM), 'the kick');
  assert.deepEqual([room.error.code, room.error.message, room.error.until], ['denied', 'spam', 99]);
  assert.deepEqual(chat.problems.map(({ event, roomId, message: why }) => [event, roomId, why]), [['kicked', ROOM, 'spam']]);
  chat.client.send(ROOM, 'waits');
  const joins = () => stub.events().filter((event) => event === 'join-room').length;
  chat.client.reconnect();
  await chat.until(({ getSnapshot }) => getSnapshot().state === 'reconnecting', 'the loss');
  await chat.live();
  assert.deepEqual([joins(), stub.events().includes('send-message')], [1, false]);
  chat.client.open(ROOM);
  await chat.until((client) => client.getRoom(ROOM).state === 'joined', 'the room');
  await eventually(() => stub.events().includes('send-message'), 'the message');
});

test('a connection that a handler refuses is tried again, one that it closes is not, and both say why', async () => {
  const stub = await startStub();
  stub.lets = () => new Error('denied: not today');
  const chat = owned(new Chat(stub, 'ann'));
  chat.client.connect();
  const error = await chat.until(({ getSnapshot }) => getSnapshot().error, 'the refusal');
  assert.deepEqual(error, { code: 'denied', message: 'not today', retryable: false });
  stub.lets = () => undefined;
  await chat.live();
  assert.equal(chat.client.getSnapshot().error, null);
  stub.send('disconnect-reason', { reason: 'maintenance' });
  stub.sockets.at(-1).disconnect();
  await chat.until(({ getSnapshot }) => getSnapshot().state === 'closed', 'the end');
  assert.deepEqual([chat.client.getSnapshot().error.message, chat.problems.at(-1).event], ['maintenance', 'disconnect-reason']);
  chat.client.connect();
  await chat.live();
  // Any other end of the server's is one to come back from.
  stub.sockets.at(-1).disconnect();
  await chat.until(({ getSnapshot }) => getSnapshot().state === 'reconnecting', 'another end');
  await chat.live();
});

test('a handler that takes the join without letting the user in refuses the room', async () => {
  const stub = await startStub();
  stub.answers['join-room'] = () => ({ ok: true, data: { place: 3 } });
  const chat = await startChat(stub, 'ann');
  chat.client.open(ROOM);
  const room = await chat.until((client) => client.getRoom(ROOM).state === 'refused' && client.getRoom(ROOM), 'the refusal');
  assert.equal(room.error.code, 'denied');
});

test('a past that cannot be read is asked for again, after leaving', async () => {
  const stub = await startStub();
  const join = stub.answers['join-room'];
  stub.answers['leave-room'] = () => ({ ok: true });
  stub.answers['join-room'] = (_, { after }) => {
    if (after === undefined) return join();
    stub.answers['join-room'] = join;
    stub.lastSeq = 7;
    return { ok: true, epoch: 'e', lastSeq: after, rev: 0, messages: [], changes: [], complete: false };
  };
  const chat = await ann(stub);
  chat.client.reconnect();
  await chat.until((client) => client.getRoom(ROOM).messages.length === 7, 'what was missed');
  const asked = stub.events().filter((event) => event.endsWith('-room'));
  assert.deepEqual(asked, ['join-room', 'join-room', 'leave-room', 'join-room']);
});

test('a room whose join is refused for now does not hold up the client, and is tried again after longer each time', async () => {
  const stub = await startStub();
  const { 'join-room': join, 'get-presence': presence } = stub.answers;
  const error = { code: 'unavailable', message: 'not now', retryable: true };
  stub.answers['join-room'] = (roomId) => (roomId === ROOM ? { ok: false, error } : { ...join(), messages: [], lastSeq: 0, data: { members: ['ann'] } });
  const chat = owned(new Chat(stub, 'ann'));
  for (const roomId of [ROOM, 'other']) chat.client.open(roomId);
  const waits = [];
  const begun = Date.now();
  chat.client.subscribe(() => {
    const { retryAt } = chat.client.getRoom(ROOM);
    if (retryAt !== null && retryAt !== waits.at(-1)) waits.push(retryAt);
  });
  chat.client.connect();
  await chat.live();
  const room = chat.client.getRoom(ROOM);
  assert.deepEqual([room.state, room.error, room.canLoadOlder, chat.client.getRoom('other').state], ['joining', error, false, 'joined']);
  assert.ok(room.retryAt > begun, 'the room says when it is joined again');
  await chat.until(() => waits.length === 3, 'two more refusals');
  assert.ok(waits[2] - waits[1] > 1800 && waits[1] - waits[0] > 900, `each wait is longer: ${waits.map((at) => at - begun)}`);
  assert.deepEqual(chat.problems.map(({ event, code, roomId }) => [event, code, roomId]), Array(3).fill(['join-room', 'unavailable', ROOM]));
  assert.equal(chat.client.getSnapshot().state, 'live');
  // A new connection tries at once, and the room that is joined later says who is there.
  stub.answers['get-presence'] = (users) => (users.includes('bob') ? { ok: true, states: [{ userId: 'bob', status: 'online', connections: 1, since: 1 }] } : presence());
  chat.client.send(ROOM, 'waits');
  chat.client.reconnect();
  await chat.until((client) => client.getSnapshot().state === 'reconnecting' && client.getRoom(ROOM).retryAt === null, 'the loss');
  await chat.live();
  await chat.until((client) => client.getRoom(ROOM).retryAt !== null, 'another refusal');
  stub.answers['join-room'] = join;
  await chat.until((client) => client.getRoom(ROOM).state === 'joined', 'the room');
  assert.deepEqual([chat.client.getRoom(ROOM).error, chat.client.getRoom(ROOM).retryAt], [null, null]);
  await chat.until(({ getSnapshot }) => getSnapshot().people.some(({ userId }) => userId === 'bob'), 'who is there');
  await eventually(() => stub.events().includes('send-message'), 'the message');
  // Who was shown before is asked for again, since nobody names them, and the server shows them to members only.
  const state = (status) => ({ userId: 'bob', status, connections: 1, since: 1 });
  stub.answers['get-presence'] = () => ({ ok: true, states: [state('offline')] });
  stub.answers['room-members'] = () => ({ ok: true, members: [], complete: true });
  stub.answers['join-room'] = (roomId) => (roomId === ROOM ? { ok: false, error } : join());
  chat.client.reconnect();
  await chat.until(({ getSnapshot }) => getSnapshot().people.every(({ userId }) => userId !== 'bob'), 'bob is not seen from outside');
  stub.answers['get-presence'] = (users) => ({ ok: true, states: users.includes('bob') ? [state('online')] : [] });
  stub.answers['join-room'] = () => ({ ...join(), data: undefined });
  await chat.until(({ getSnapshot }) => getSnapshot().people.some(({ userId }) => userId === 'bob'), 'bob is there still');
});

test('a receipt that is refused for now is sent again on the same connection, as the newest one of its room', async () => {
  const stub = await startStub();
  const chat = await ann(stub);
  const accept = stub.answers['read-message'];
  stub.answers['read-message'] = () => {
    stub.answers['read-message'] = accept;
    return { ok: false, error: { code: 'rate-limited', message: 'slowly', retryable: true, retryAfterMs: 1 } };
  };
  for (const seq of [4, 5]) chat.client.markRead(ROOM, seq);
  const sent = () => stub.asked.filter(([event]) => event === 'read-message').map(([, id]) => id);
  await eventually(() => sent().length === 2, 'the second try');
  assert.deepEqual([sent(), chat.problems.map(({ event, code }) => [event, code])], [['id-4', 'id-5'], [['read-message', 'rate-limited']]]);
});
