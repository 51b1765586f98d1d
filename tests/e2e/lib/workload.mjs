// Official clients that post all the time, reconnect by themselves to any node, ask for what they have missed, and send
// again what was not acknowledged; and the history of what each of them has seen.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { History } from './history.mjs';
import { owned } from './scope.mjs';
import { token } from './token.mjs';
import { eventually } from './wait.mjs';

/** How long an acknowledgement may take before the message is sent again. */
const TIMEOUT_MS = 3000;
const RETRY_MS = 100;
const TENANT = 'default';

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Member {
  /** The `seq` of the last message that this client has seen. */
  last = 0;
  /** Errors that it should not have got. */
  faults = [];
  acknowledged = 0;
  /** The last presence that it got of each user. */
  statuses = new Map();
  /** The number of refusals with each code. */
  refusals = {};
  connects = 0;
  #workload;
  #ready = false;
  #early = [];
  #round = 0;

  constructor(workload, user, room, node) {
    Object.assign(this, { user, room });
    this.#workload = workload;
    const { nodes } = workload;
    let at = node;
    this.socket = io(nodes[at].url, {
      transports: ['websocket'], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 300, timeout: 2000,
      auth: { token: token(user) },
    });
    // As behind a load balancer, the next attempt may reach another node.
    const elsewhere = () => {
      at = (at + 1) % nodes.length;
      this.socket.io.uri = nodes[at].url;
    };
    this.socket.io.on('reconnect_attempt', elsewhere);
    this.socket.on('connect', () => {
      this.connects += 1;
      this.#enter();
    });
    this.socket.on('disconnect', () => {
      if (this.#ready) this.#record('left', { room });
      this.#ready = false;
    });
    this.socket.on('new-message', (message) => {
      if (this.#ready) this.#see(message);
      else this.#early.push(message);
    });
    this.socket.on('presence', ({ userId, status }) => this.#tell(userId, status));
  }

  #record(kind, details) {
    this.#workload.history.push({ kind, client: this.user, ...details });
  }

  /** Asserts that a message has the same id wherever it is seen. */
  #identify(content, id) {
    const { ids } = this.#workload;
    if (!ids.has(content)) ids.set(content, id);
    else if (ids.get(content) !== id) this.faults.push(`${content} is ${ids.get(content)} and ${id}`);
  }

  #see({ roomId, seq, id, content }) {
    this.#record('delivered', { room: roomId, seq, content });
    this.#identify(content, id);
    this.last = seq;
  }

  #tell(user, status) {
    this.#record('presence', { user, status });
    this.statuses.set(user, status);
  }

  async #ask(...words) {
    return this.socket.timeout(TIMEOUT_MS).emitWithAck(...words).catch(() => null);
  }

  /**
   * Joins, and takes the missed messages from the answer and the pages before it, then those that arrived meanwhile.
   */
  async #enter() {
    this.#round += 1;
    const round = this.#round;
    const here = () => round === this.#round && this.socket.connected;
    for (let attempt = 1; here(); attempt += 1) {
      this.#early = [];
      const answer = await this.#ask('join-room', this.room, { after: this.last });
      if (!here()) return;
      const pages = answer?.ok ? await this.#pages(answer, here) : null;
      if (!here()) return;
      if (pages) {
        this.#ready = true;
        const [last, after] = [answer.lastSeq, this.last];
        const messages = pages.map(({ seq, content }) => ({ seq, content }));
        this.#record('joined', { tenant: TENANT, user: this.user, room: this.room, last, after, messages });
        for (const { content, id } of pages) this.#identify(content, id);
        this.last = last;
        // A client that joins again may already be in the room. It may then receive messages that the answer contains
        // too.
        const early = attempt === 1 ? this.#early : this.#early.filter(({ seq }) => seq > last);
        for (const message of early) this.#see(message);
        await this.#look(here);
        return;
      }
      // The client is in the room, but without its past: the next answer has both.
      await this.#ask('leave-room', this.room);
      await pause(RETRY_MS);
    }
  }

  /** Reads the members' presence, since a client that was away has missed changes. */
  async #look(here) {
    const users = this.#workload.users(this.room);
    while (here()) {
      this.statuses.clear();
      const answer = await this.#ask('get-presence', users);
      if (here() && answer?.ok) {
        // Messages that arrived meanwhile are newer.
        const news = answer.states.filter(({ userId }) => !this.statuses.has(userId));
        for (const { userId, status } of news) this.#tell(userId, status);
        return;
      }
      await pause(RETRY_MS);
    }
  }

  async #pages({ messages, complete, lastSeq }, here) {
    const wanted = lastSeq - this.last;
    let pages = messages;
    while (pages.length < wanted && here()) {
      const before = pages[0]?.seq ?? lastSeq + 1;
      const answer = await this.#ask('history', { roomId: this.room, before, limit: 200 });
      if (!answer?.ok) return null;
      pages = [...answer.messages.filter(({ seq }) => seq > this.last), ...pages];
      if (answer.messages.length === 0) return null;
    }
    // If the past could not be read (`complete: false`, and no messages), not even the last `seq` is known.
    return complete || (pages.length > 0 && pages.length === wanted) ? pages : null;
  }

  /** Posts at a steady rate, and repeats each message until it is acknowledged. */
  async post(perSecond, going) {
    let due = performance.now() + Math.random() * (1000 / perSecond);
    for (let n = 0; going(); n += 1) {
      const content = `${this.user}:${n}`;
      const message = { roomId: this.room, content, clientId: content };
      this.#record('invoke', { tenant: TENANT, user: this.user, op: n, room: this.room, content });
      for (;;) {
        const answer = this.#ready ? await this.#ask('send-message', message) : null;
        if (answer?.ok) {
          this.#record('ok', { op: n, seq: answer.message.seq });
          this.#identify(content, answer.message.id);
          this.acknowledged += 1;
          break;
        }
        if (answer) {
          const { code, retryable } = answer.error;
          this.refusals[code] = (this.refusals[code] ?? 0) + 1;
          // A session that was moved to another node is not in the room yet.
          if (!retryable && code !== 'denied') this.faults.push(`refused for good: ${JSON.stringify(answer.error)}`);
        }
        await pause(RETRY_MS);
      }
      due = Math.max(due + 1000 / perSecond, performance.now() - 1000);
      if (due > performance.now()) await pause(due - performance.now());
    }
  }
}

/** All stored messages, in order. */
function stored(postgres) {
  const rows = postgres.query(`SELECT rooms.name, seq, encode(messages.id, 'hex'), sender, convert_from(content, 'UTF8')
    FROM messages JOIN rooms ON rooms.id = room_id ORDER BY rooms.name, seq`);
  return rows.split('\n').map((row) => {
    const [room, seq, id, user, content] = row.split('|');
    return { room, seq: Number(seq), id: base32(id), user, content };
  });
}

/** A message id of 16 bytes as clients see it: 26 digits of Crockford's base 32. */
function base32(hex) {
  let number = BigInt(`0x${hex}`);
  let text = '';
  for (let n = 0; n < 26; n += 1) {
    text = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[Number(number & 31n)] + text;
    number >>= 5n;
  }
  return text;
}

export class Workload {
  history = new History();
  /** The id of each message, by content. */
  ids = new Map();
  #going = true;
  #posting = [];

  /** `rooms` rooms with `each` members, `perSecond` messages in all. */
  constructor(fleet, { rooms = 5, each = 6, perSecond = 500 } = {}) {
    this.fleet = fleet;
    this.nodes = fleet.nodes;
    this.members = [];
    for (let room = 0; room < rooms; room += 1) {
      for (let n = 0; n < each; n += 1) {
        this.members.push(new Member(this, `u${room}-${n}`, `room-${room}`, n % this.nodes.length));
      }
    }
    for (const member of this.members) {
      this.#posting.push(member.post(perSecond / this.members.length, () => this.#going));
    }
    owned(this);
  }

  get acknowledged() {
    return this.members.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }

  users(room) {
    return this.members.filter((member) => member.room === room).map(({ user }) => user);
  }

  /** The number of all refusals so far, by code. */
  get refusals() {
    const codes = {};
    for (const { refusals } of this.members) {
      for (const [code, count] of Object.entries(refusals)) codes[code] = (codes[code] ?? 0) + count;
    }
    return codes;
  }

  /** Waits until this many more messages are acknowledged. */
  progress(more, what, ms = 30_000) {
    const before = this.acknowledged;
    return eventually(() => this.acknowledged >= before + more, () => `${more} more messages ${what}`, ms);
  }

  /** Stops, and checks what every client has seen. */
  async check() {
    this.#going = false;
    await Promise.all(this.#posting);
    const all = stored(this.fleet.postgres);
    const rooms = new Map(this.members.map(({ room }) => [room, []]));
    for (const { room, seq, content, user } of all) rooms.get(room).push({ seq, content, user });
    const isThrough = ({ room, last, statuses }) => last >= rooms.get(room).length
      && this.users(room).every((user) => statuses.get(user) === 'online');
    // The checker reports what a client still waits for.
    await eventually(() => this.members.every(isThrough), 'all members', 30_000).catch(() => {});
    for (const { user: client, room } of this.members) {
      for (const user of this.users(room)) this.history.push({ kind: 'truth-presence', client, user, status: 'online' });
    }
    for (const [room, messages] of rooms) this.history.push({ kind: 'stored', tenant: TENANT, room, messages });
    const { ops, acknowledged } = this.history.check();
    assert.deepEqual([ops, acknowledged], [this.acknowledged, this.acknowledged], 'each message was acknowledged');
    for (const { content, id } of all) assert.equal(this.ids.get(content), id, `the id of ${content}`);
    for (const { user, connects, faults } of this.members) assert.deepEqual(faults, [], `${user} after ${connects} connects`);
  }

  close() {
    this.#going = false;
    for (const { socket } of this.members) socket.disconnect();
  }
}
