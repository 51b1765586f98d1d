// Promise 2: a server is killed under load many times; nothing that it acknowledged or delivered is ever lost.
// ARCHITECTURE.md#2-durable-before-visible says what makes it true.
import assert from 'node:assert/strict';
import { assertGapless } from './lib/assert.mjs';
import { Client, connect } from './lib/client.mjs';
import { seededRandom } from './lib/random.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const KILLS = 22;
const CLIENTS = 8;
/** Messages that each client keeps in flight. */
const UNDER_WAY = 4;
const ROOM = 'the room';

/** Posts continuously until the server is gone; `sent` and `acked` map client ids to messages. */
function load(client, book, onAck) {
  let count = 0;
  const next = () => {
    const clientId = `${book.life}-${client.user}-${count}`;
    count += 1;
    const draft = { roomId: ROOM, content: `content of ${clientId}`, clientId };
    book.sent.set(clientId, { user: client.user, draft });
    client.socket.emit('send-message', draft, (answer) => {
      if (!answer.ok) return book.failed.push(answer);
      book.acked.set(clientId, answer.message);
      onAck();
      if (client.socket.connected) next();
    });
  };
  for (let i = 0; i < UNDER_WAY; i += 1) next();
}

/** One life of the server: load, `kill -9` after `acks` acknowledgements. */
async function life(server, book, acks) {
  const users = Array.from({ length: CLIENTS }, (_, i) => `user-${i}`);
  const clients = await Promise.all(users.map(async (user) => {
    const client = await connect(server, user, { reconnection: false });
    await client.join(ROOM);
    return client;
  }));
  let left = acks;
  const killed = new Promise((resolve) => {
    const onAck = () => {
      left -= 1;
      if (left === 0) resolve(server.kill());
    };
    for (const client of clients) load(client, book, onAck);
  });
  await killed;
  await Promise.all(clients.map((client) => client.until(() => client.disconnects.length > 0, 'the death')));
  for (const client of clients) {
    for (const message of client.all('new-message')) book.seen.set(message.id, message);
    client.close();
  }
}

/** Sends messages again that were not acknowledged, as their senders. */
async function resend(server, book) {
  const senders = new Map();
  for (const [clientId, { user, draft }] of book.sent) {
    if (book.acked.has(clientId)) continue;
    if (!senders.has(user)) {
      const client = await owned(new Client(server.url, user)).connected();
      await client.join(ROOM);
      senders.set(user, client);
    }
    book.acked.set(clientId, await senders.get(user).post(draft.roomId, draft.content, { clientId }));
  }
  for (const client of senders.values()) client.close();
}

async function check(server, book) {
  const reader = await connect(server, 'reader');
  await reader.join(ROOM);
  const stored = await reader.history(ROOM);
  reader.close();
  assertGapless(stored);
  const byId = new Map(stored.map((message) => [message.id, message]));
  assert.equal(byId.size, stored.length, 'no id twice');
  for (const [id, message] of book.seen) assert.deepEqual(byId.get(id), message, 'what somebody saw is there as seen');
  for (const [clientId, { id, seq, sentAt }] of book.acked) {
    const message = byId.get(id);
    assert.ok(message, `acknowledged ${clientId} is lost`);
    const { user, draft } = book.sent.get(clientId);
    const username = `${user}'s name`;
    assert.deepEqual(message, { id, seq, sentAt, roomId: ROOM, userId: user, username, content: draft.content, clientId });
  }
  assert.equal(stored.length, book.sent.size, 'each message sent is there once');
}

test('promise 2: durable before visible', async (t) => {
  const server = await startServer();
  const random = seededRandom(2);
  const book = { sent: new Map(), acked: new Map(), seen: new Map(), failed: [], life: 0 };
  for (book.life = 1; book.life <= KILLS; book.life += 1) {
    await life(server, book, 1 + random(150));
    await server.start();
    await resend(server, book);
    await check(server, book);
  }
  assert.deepEqual(book.failed, []);
  assert.ok(book.sent.size > KILLS * CLIENTS);
  t.diagnostic(`${KILLS} kills, ${book.sent.size} messages`);
});
