// The client package's rooms against a simulated server: thousands of orders in which messages, changes, pages of history
// and answers to joins may reach a client, over lost connections, restored backups and removed messages. One seed is one
// order.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Room } from '../../examples/web-chat/client/room.js';
import { RoomSync } from '../../examples/web-chat/client/room-sync.js';
import { seededRandom } from './lib/random.mjs';

/** How many orders are tried; more than a test's are for a measurement. */
const SEEDS = Number(process.env.PARLANCE_SEEDS ?? 1500);
const STEPS = 150;
/** Messages and changes on a page of the server. */
const PAGE = 4;
const USERS = ['ann', 'bob', 'cid'];

/** Lets all promises that can go on do so. */
const settled = () => new Promise((done) => setImmediate(done));

/** The server: what is stored of one room, and one client's connection. */
class SimulatedServer {
  /** `first` is the oldest message that was not removed. */
  data = { epoch: 'e0', rev: 0, first: 1, messages: [] };
  backup = structuredClone(this.data);
  /** What is on its way to the client, in order. */
  wire = [];
  /** Questions that the server has not answered. Each may have read already what it will say. */
  questions = [];
  isIn = false;
  /** What happens between the beginning of a join and its answer, which it follows. */
  held = null;

  constructor(draw) {
    this.draw = draw;
  }

  post() {
    const seq = this.data.messages.length + 1;
    const message = { id: `${this.data.epoch}-${seq}`, seq, roomId: 'room', userId: 'ann', content: `text ${this.draw(1e6)}`, sentAt: seq };
    this.data.messages.push(message);
    this.tell('new-message', structuredClone(message));
  }

  change() {
    const message = this.data.messages[this.draw(this.data.messages.length)];
    if (!message || message.deletedAt || message.seq < this.data.first) return;
    this.data.rev += 1;
    message.rev = this.data.rev;
    const head = { messageId: message.id, roomId: 'room', seq: message.seq, rev: message.rev };
    const kind = this.draw(8);
    if (kind === 0) {
      Object.assign(message, { content: '', deletedAt: 1 });
      delete message.marks;
      this.tell('message-deleted', { ...head, userId: 'ann', deletedAt: 1 });
    } else if (kind === 1) {
      // Text that is added, as several changes.
      const fragments = Array.from({ length: 1 + this.draw(3) }, (_, n) => ` +${message.rev + n}`);
      this.data.rev += fragments.length - 1;
      message.rev = this.data.rev;
      message.content += fragments.join('');
      this.tell('message-appended', { ...head, rev: message.rev, userId: 'ann', fragments });
    } else if (kind < 4) {
      Object.assign(message, { content: `edited ${message.rev}`, editedAt: 1 });
      this.tell('message-edited', { ...head, userId: 'ann', content: message.content, editedAt: 1 });
    } else this.mark(message, head, USERS[this.draw(3)]);
  }

  mark(message, head, userId) {
    const [mark] = message.marks ?? [];
    const on = !mark?.userIds.includes(userId);
    const userIds = on ? [...(mark?.userIds ?? []), userId] : mark.userIds.filter((id) => id !== userId);
    message.marks = userIds.length > 0 ? [{ kind: 'reaction', value: '+1', count: userIds.length, userIds }] : [];
    // A node that has missed changes sends the message as it is now.
    if (this.draw(6) === 0) this.tell('message-changed', structuredClone(message));
    else this.tell('message-marked', { ...head, userId, kind: 'reaction', value: '+1', on, count: userIds.length });
  }

  /** Removes some of the oldest messages, of which nobody is told. */
  remove() {
    this.data.first = Math.min(this.data.messages.length + 1, this.data.first + this.draw(PAGE));
  }

  tell(event, body) {
    if (this.isIn) (this.held ?? this.wire).push({ event, body });
  }

  /** Answers a question, or reads for it what a later answer will say. */
  handle() {
    const n = this.draw(this.questions.length);
    const question = this.questions[n];
    if (!question) return;
    // Each is answered in steps: what it reads may be older than what overtakes its answer, or newer than the place of the
    // room that the answer names.
    if (question.event === 'history') question.answer ??= this.history(question.body);
    else if (question.place) question.answer = this.join(question.options, question.place);
    else {
      question.place = { epoch: this.data.epoch, lastSeq: this.data.messages.length, rev: this.data.rev };
      Object.assign(this, { isIn: true, held: [] });
    }
    if (!question.answer || this.draw(2) === 0) return;
    this.questions.splice(n, 1);
    this.wire.push(question);
    if (question.place) this.release();
  }

  release() {
    this.wire.push(...(this.held ?? []));
    this.held = null;
  }

  join({ after = 0, last, rev }, place) {
    if (this.draw(12) === 0) return { ok: true, epoch: place.epoch, lastSeq: after, rev: rev ?? 0, messages: [], complete: false };
    const messages = this.left();
    const newer = messages.filter(({ seq }) => seq > after && seq <= place.lastSeq);
    const page = newer.slice(-Math.min(PAGE, last ?? PAGE));
    const older = messages.filter((message) => message.seq <= after && message.rev > (rev ?? Number.POSITIVE_INFINITY));
    const changes = older.sort((a, b) => a.rev - b.rev).slice(0, PAGE);
    const complete = page.length === newer.length && changes.length === older.length;
    return { ok: true, ...place, ...(after > 0 ? { firstSeq: this.data.first } : {}), messages: page, ...(rev === undefined ? {} : { changes }), complete };
  }

  history({ before = Number.POSITIVE_INFINITY, limit }) {
    const messages = this.left().filter(({ seq }) => seq < before);
    return { ok: true, messages: messages.slice(-Math.min(limit, PAGE)), complete: messages.length <= limit };
  }

  left() {
    return structuredClone(this.data.messages).filter(({ seq }) => seq >= this.data.first);
  }

  lose() {
    this.isIn = false;
    for (const { done } of [...this.wire, ...this.questions]) done?.({ ok: false, lost: true });
    Object.assign(this, { wire: [], questions: [], held: null });
  }

  restore(epoch) {
    this.data = { ...structuredClone(this.backup), epoch };
  }
}

/** The client: a room, and a connection to the server. */
class SimulatedClient {
  room = new Room('room');
  connection = { number: 0, isUp: false, ask: (event, body, options) => this.ask(event, body, options), pause: () => this.pause() };
  pauses = [];

  constructor(server) {
    this.server = server;
    this.sync = new RoomSync({
      connection: this.connection,
      has: () => true,
      took: () => {},
      dropped: () => {},
      report: (event, error) => assert.fail(`${event}: ${JSON.stringify(error)}`),
      changed: () => {},
    });
  }

  ask(event, body, options) {
    if (!this.connection.isUp) return { ok: false, lost: true };
    if (event === 'leave-room') {
      this.server.isIn = false;
      return { ok: true };
    }
    return new Promise((done) => this.server.questions.push({ event, body, options, done }));
  }

  pause() {
    return new Promise((done) => this.pauses.push(done));
  }

  connect() {
    this.connection.number += 1;
    this.connection.isUp = true;
    this.join();
  }

  join() {
    this.sync.join(this.room).then((answer) => answer && this.sync.fillGaps(this.room));
  }

  disconnect() {
    this.connection.isUp = false;
    this.server.lose();
    this.room.disconnected();
    this.resume();
  }

  resume() {
    for (const done of this.pauses.splice(0)) done();
  }

  /** Takes the next thing from the wire. */
  take() {
    const { event, body, done, answer } = this.server.wire.shift() ?? {};
    if (done) done(answer);
    else if (event === 'new-message') {
      this.room.merge([body]);
      if (this.room.state === 'joined') this.sync.fillGaps(this.room);
    } else if (event && !this.room.change(event, body) && this.room.state === 'joined') this.join();
  }

  older() {
    if (this.room.state === 'joined' && !this.room.atStart) this.sync.older(this.room);
  }
}

/** What must be in a room that has the messages from `from` on. */
function expected({ messages }, from) {
  return messages.filter(({ seq }) => seq >= from).map((message) => ({ ...message, rev: message.rev ?? 0, marks: message.marks ?? [] }));
}

async function run(seed) {
  const draw = seededRandom(seed);
  const server = new SimulatedServer(draw);
  const client = new SimulatedClient(server);
  const steps = [
    [6, () => server.post()],
    [8, () => server.change()],
    [12, () => server.handle()],
    [16, () => client.take()],
    [4, () => client.resume()],
    [2, () => client.older()],
    [1, () => (client.connection.isUp ? client.disconnect() : client.connect())],
    [2, () => client.connection.isUp || client.connect()],
    // Several messages may come in one piece, without a moment between them for promises.
    [2, () => { for (let n = 0; n < 3; n += 1) client.take(); }],
  ];
  const lots = steps.flatMap(([weight, step]) => Array(weight).fill(step));
  for (let n = 0; n < STEPS; n += 1) {
    lots[draw(lots.length)]();
    if (draw(4) > 0) await settled();
    if (draw(80) === 0) server.remove();
    if (draw(60) === 0) server.backup = structuredClone(server.data);
    if (draw(100) === 0) {
      client.disconnect();
      server.restore(`e${n + 1}`);
    }
  }
  if (!client.connection.isUp) client.connect();
  const isQuiet = () => server.wire.length + server.questions.length + client.pauses.length === 0;
  for (let quiet = 0, rounds = 0; quiet < 3; rounds += 1) {
    assert.ok(rounds < 5000, `seed ${seed}: the client does not come to rest`);
    quiet = isQuiet() ? quiet + 1 : 0;
    server.handle();
    client.take();
    client.resume();
    await settled();
  }
  const { room } = client;
  const gaps = room.gaps().filter(({ lost, before }) => !lost || before > server.data.first);
  assert.deepEqual([room.state, gaps, room.lastSeq, room.rev], ['joined', [], server.data.messages.length, server.data.rev], `seed ${seed}`);
  // A client that stays connected keeps what it shows of messages that were removed.
  const from = Math.max(room.before ?? 1, server.data.first);
  const inOrder = (messages) => messages.map((message) => ({ ...message, marks: message.marks.map((mark) => ({ ...mark, userIds: [...mark.userIds].sort() })) }));
  assert.deepEqual(inOrder(room.messages.filter(({ seq }) => seq >= from)), inOrder(expected(server.data, from)), `seed ${seed}`);
  return room.messages.length;
}

test('in whatever order things come, a room ends as it is stored', async () => {
  let shown = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) shown += await run(seed);
  assert.ok(shown > SEEDS * 5, `only ${shown} messages were shown`);
});
