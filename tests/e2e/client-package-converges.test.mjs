// Promise 10 through the client package: random histories of posts, edits, deletes and marks, of clients that come and
// go, and of faults. In the end a client that was away shows what one shows that never left, and nothing was posted twice.
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { startChat } from './lib/chat.mjs';
import { freshRoom } from './lib/client.mjs';
import { startFleet, UNLIMITED } from './lib/fleet.mjs';
import { seededRandom } from './lib/random.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

/** How often a client acts; more than a test's is for a measurement. */
const STEPS = Number(process.env.PARLANCE_STEPS ?? 60);
/** So few that a client which was away misses more than a page. */
const CONFIG = { limits: { ...UNLIMITED.limits, history_page: 15, history_page_max: 15 }, quota: UNLIMITED.quota };
/** A short patience, so that events whose answer a fault has taken do not hold a test up. */
const PATIENCE = { answerWithin: 2000 };

/** What a room shows, to be compared: which users have set a mark has no order. */
function shown(chat, room) {
  const { messages, outgoing, gaps } = chat.client.getRoom(room);
  return {
    outgoing: outgoing.length,
    gaps,
    messages: messages.map((message) => ({
      ...message,
      marks: message.marks.map((mark) => ({ ...mark, userIds: [...mark.userIds].sort() })).sort((a, b) => (a.value < b.value ? -1 : 1)),
    })),
  };
}

async function act({ client }, room, own, texts) {
  const { messages } = client.getRoom(room);
  const messageId = messages[own(messages.length)]?.id;
  const kind = own(10);
  if (kind < 3 || !messageId) {
    const text = `${client.userId} ${texts.length}`;
    texts.push(text);
    client.send(room, text);
  } else if (kind < 5) await client.edit(messageId, `edited ${own(1e6)}`);
  else if (kind === 5) await client.delete(messageId);
  else await client.mark(messageId, 'reaction', ['👍', '🎉'][own(2)], own(3) > 0);
}

/** Lets clients act on all nodes while `faults` happen, and compares what they show. */
async function history(nodes, seed, faults = async () => {}) {
  const room = freshRoom();
  const draw = seededRandom(seed);
  const users = ['ann', 'bob', 'cid', 'dan'];
  const chats = await Promise.all(users.map(async (user, n) => (await startChat(nodes[n % nodes.length], user, PATIENCE)).joined(room)));
  // On the last node, which no fault takes away.
  const stays = await (await startChat(nodes.at(-1), 'eve', PATIENCE)).joined(room);
  const sent = users.map(() => []);
  const acting = chats.map(async (chat, n) => {
    const own = seededRandom(draw(1e9));
    for (let step = 0; step < STEPS; step += 1) {
      if (own(12) === 0) {
        chat.client.socket.disconnect();
        await new Promise((done) => setTimeout(done, own(600)));
        chat.client.reconnect();
      }
      // Without a connection only messages wait; the rest is tried when there is one again.
      if (own(3) > 0) await chat.until((client) => client.getRoom(room).state === 'joined', 'to be in the room');
      await act(chat, room, own, sent[n]);
    }
  });
  await Promise.all([...acting, faults()]);
  const all = [...chats, stays];
  const count = sent.flat().length;
  const complete = ({ client }) => client.getRoom(room).messages.length === count && shown({ client }, room).outgoing === 0;
  await eventually(() => all.every(complete) && all.every((chat) => isDeepStrictEqual(shown(chat, room), shown(stays, room))),
    () => `seed ${seed}: all to show the same ${count} messages: ${all.map((chat) => chat.diagnosis()).join('\n')}`, 40_000)
    .catch((error) => {
      for (const chat of chats) assert.deepEqual(shown(chat, room), shown(stays, room), `seed ${seed}: ${chat.user}`);
      throw error;
    });
  const { messages } = stays.client.getRoom(room);
  assert.equal(new Set(messages.map(({ clientId }) => clientId)).size, count, 'each was posted once');
  // As the server has it: a client that comes now reads it page by page.
  const late = await (await startChat(nodes.at(-1), 'fay', PATIENCE)).joined(room);
  while (late.client.getRoom(room).canLoadOlder) await late.client.loadOlder(room);
  assert.deepEqual(shown(late, room), shown(stays, room), `seed ${seed}: as stored`);
  assert.ok(Math.max(...messages.map(({ rev }) => rev)) > STEPS / 4, 'much has changed');
}

test('the package converges on one node, while clients come and go', async () => {
  const server = await startServer({ config: CONFIG });
  for (const seed of [1, 2]) await history([server], seed);
});

test('the package converges over kill -9 of the server, twice', async () => {
  const server = await startServer({ config: CONFIG });
  await history([server], 3, async () => {
    for (let n = 0; n < 2; n += 1) {
      await server.kill();
      await server.start();
    }
  });
});

test('the package converges on three nodes, while Redis is cut off and a node dies', async () => {
  const { nodes } = await startFleet({ nodes: 3, config: CONFIG });
  const [one, two] = nodes;
  await history(nodes, 4, async () => {
    two.toRedis.cut();
    await new Promise((done) => setTimeout(done, 1500));
    two.toRedis.restore();
  });
  await history(nodes, 5, async () => {
    await one.kill();
    await one.start();
  });
});
