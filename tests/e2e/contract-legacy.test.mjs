// A client written for the usual Node server: no acknowledgements, no sequence numbers, a token with `id` and
// `username`. It works unchanged, and gets errors as an event.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { assertNow } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { within } from './lib/wait.mjs';

const server = await startServer();

function legacy(user) {
  const socket = io(server.url, {
    forceNew: true,
    auth: { token: token(undefined, { id: user, username: `${user} the old` }) },
  });
  owned({ close: () => socket.disconnect() });
  return socket;
}

const once = (socket, event) => within(new Promise((resolve) => socket.once(event, resolve)), event);

test('a client without acknowledgements chats unchanged', async () => {
  const room = freshRoom();
  const watcher = await connect(server, 'watcher');
  await watcher.join(room);
  const [ann, bob] = [legacy('ann'), legacy('bob')];
  // The old client does not wait: it emits as soon as it exists.
  for (const socket of [ann, bob]) socket.emit('join-room', room);
  const there = (user) => watcher.next('presence', (each) => each.userId === user);
  await Promise.all([there('ann'), there('bob')]);

  const typing = once(bob, 'user-typing');
  ann.emit('typing', room, true);
  assert.deepEqual(await typing, { roomId: room, userId: 'ann', username: 'ann the old', typing: true });

  const message = once(bob, 'new-message');
  const echo = once(ann, 'new-message');
  ann.emit('send-message', { roomId: room, content: 'hello' });
  const { id, content, userId } = await message;
  assert.deepEqual([content, userId], ['hello', 'ann']);
  assert.equal((await echo).id, id);

  const read = once(ann, 'message-read');
  bob.emit('read-message', id);
  const receipt = await read;
  assert.equal(receipt.messageId, id);
  assert.equal(receipt.userId, 'bob');
  assertNow(receipt.readAt);

  bob.emit('leave-room', room);
  ann.emit('send-message', { roomId: room, content: 'bye' });
  await watcher.next('new-message', (each) => each.content === 'bye');
});

test('a failure without an acknowledgement arrives as error-event', async () => {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  const cases = [
    ['send-message', [{ roomId: room, content: 'not joined' }], 'denied'],
    ['typing', [room], 'denied'],
    ['send-message', [{ roomId: room }], 'invalid'],
    ['join-room', [], 'invalid'],
    ['read-message', ['no-such-message'], 'not-found'],
    ['of-nobody', [1, 2], 'unhandled'],
  ];
  for (const [event, args] of cases) ann.emit(event, ...args);
  await ann.until(() => ann.all('error-event').length === cases.length, 'every error');
  const errors = ann.all('error-event');
  assert.deepEqual(errors.map(({ event, code }) => [event, code]), cases.map(([event, , code]) => [event, code]));
  for (const error of errors) {
    assert.deepEqual(Object.keys(error).sort(), ['code', 'event', 'message', 'retryable']);
    assert.equal(typeof error.message, 'string');
    assert.equal(typeof error.retryable, 'boolean');
  }
});

test('a failure with an acknowledgement is not reported twice', async () => {
  const ann = await connect(server, 'ann');
  const answer = await ann.ask('typing', freshRoom());
  assert.equal(answer.error.code, 'denied');
  await ann.askOk('get-presence', []);
  assert.deepEqual(ann.all('error-event'), []);
});
