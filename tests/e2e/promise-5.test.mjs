// Promise 5: a thousand events of every kind are sent without waiting. A model that handles them one by one, in the
// order sent, predicts each answer. ARCHITECTURE.md#5-in-order says what makes it true.
import assert from 'node:assert/strict';
import { seededRandom } from './lib/random.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const EVENTS = 1000;
const server = await startServer();

const failure = (answer) => ({ ok: false, code: answer.error.code });

/** An answer without the ids and times, which cannot be predicted. */
function essence(event, answer) {
  if (!answer.ok) return failure(answer);
  const contents = (messages) => messages.map(({ seq, content }) => [seq, content]);
  switch (event) {
    case 'join-room': return { ok: true, lastSeq: answer.lastSeq, messages: contents(answer.messages) };
    case 'send-message': return { ok: true, seq: answer.message.seq };
    case 'history': return { ok: true, messages: contents(answer.messages), complete: answer.complete };
    case 'get-presence': return { ok: true, status: answer.states[0].status };
    default: return { ok: true };
  }
}

/** The model: a client alone in its rooms. */
class Model {
  #rooms;
  status = 'online';

  constructor(rooms) {
    this.#rooms = new Map(rooms.map((room) => [room, { joined: false, contents: [] }]));
  }

  #messages({ contents }, from, to) {
    return contents.slice(from, to).map((content, i) => [from + i + 1, content]);
  }

  foretell(event, argument, second) {
    const room = this.#rooms.get(argument?.roomId ?? argument);
    const denied = { ok: false, code: 'denied' };
    switch (event) {
      case 'join-room':
        room.joined = true;
        return { ok: true, lastSeq: room.contents.length, messages: this.#messages(room, second.after) };
      case 'leave-room':
        room.joined = false;
        return { ok: true };
      case 'send-message':
        if (!room.joined) return denied;
        room.contents.push(argument.content);
        return { ok: true, seq: room.contents.length };
      case 'typing':
        return room.joined ? { ok: true } : denied;
      case 'history': {
        if (!room.joined) return denied;
        const from = Math.max(0, room.contents.length - argument.limit);
        return { ok: true, messages: this.#messages(room, from), complete: from === 0 };
      }
      case 'set-presence':
        this.status = argument;
        return { ok: true };
      case 'read-message':
        return { ok: false, code: 'not-found' };
      default:
        return { ok: false, code: 'unhandled' };
    }
  }

  joined(room) {
    return this.#rooms.get(room).joined;
  }

  size(room) {
    return this.#rooms.get(room).contents.length;
  }
}

/** A random event, but never a leave of a room that is not joined. */
function pick(random, rooms, model, i) {
  const room = rooms[random(rooms.length)];
  const kind = random(10);
  if (kind < 3) return ['send-message', { roomId: room, content: `event ${i}` }];
  if (kind < 5) return ['join-room', room, { after: random(model.size(room) + 1) }];
  if (kind === 5 && model.joined(room)) return ['leave-room', room];
  if (kind === 6) return ['history', { roomId: room, limit: 1 + random(20) }];
  if (kind === 7) return ['set-presence', random(2) ? 'away' : 'online'];
  if (kind === 8) return random(2) ? ['read-message', `no-such-message-${i}`] : ['of-nobody', i];
  return ['typing', room, true];
}

test('promise 5: in order', async () => {
  const random = seededRandom(5);
  const rooms = Array.from({ length: 4 }, () => freshRoom());
  const model = new Model(rooms);
  const ann = await connect(server, 'ann');
  const witness = await connect(server, 'witness');
  for (const room of rooms) await witness.join(room);

  const expected = [];
  const answers = [];
  const order = [];
  for (let i = 0; i < EVENTS; i += 1) {
    const [event, ...args] = pick(random, rooms, model, i);
    expected.push([event, args, model.foretell(event, ...args)]);
    ann.emit(event, ...args, (answer) => {
      order.push(i);
      answers[i] = [event, args, essence(event, answer)];
    });
  }
  await ann.join(rooms[0]);
  const final = await ann.askOk('get-presence', [ann.user]);

  assert.deepEqual(answers, expected);
  const swapped = order.flatMap((i, at) => (i < order[at - 1] ? [`${expected[i][0]} (${i}) after ${expected[order[at - 1]][0]}`] : []));
  assert.deepEqual(swapped, [], 'acknowledged in the order sent');
  assert.equal(final.states[0].status, model.status);
  const kinds = new Set(expected.map(([event]) => event));
  assert.equal(kinds.size, 8, 'every kind of event took part');

  for (const room of rooms) {
    const sent = expected.filter(([event, [draft], { ok }]) => ok && event === 'send-message' && draft.roomId === room);
    await witness.until(() => witness.messages(room).length >= sent.length, 'every message');
    const contents = sent.map(([, [draft]]) => draft.content);
    assert.deepEqual(witness.messages(room).map((message) => message.content), contents);
  }
});
