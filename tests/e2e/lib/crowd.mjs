// Official clients that post all the time, come back by themselves to whatever node there is, ask for what they have
// missed, and send again what was not acknowledged; and the check of what each of them has seen.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { owned } from './scope.mjs';
import { token } from './token.mjs';
import { eventually } from './wait.mjs';

/** How long an acknowledgement may take before the message is sent again. */
const PATIENCE_MS = 3000;
const RETRY_MS = 100;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Member {
  /** The room as this client has seen it: `seq` n is at n - 1. */
  list = [];
  /** What it should not have seen. */
  faults = [];
  /** Ids of acknowledged messages. */
  acknowledged = [];
  /** The codes of refusals, each with how often. */
  refusals = {};
  connects = 0;
  #ready = false;
  #early = [];
  #round = 0;

  constructor(crowd, user, room, node) {
    Object.assign(this, { user, room });
    const { nodes } = crowd;
    let at = node;
    this.socket = io(nodes[at].url, {
      transports: ['websocket'], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 300, timeout: 2000,
      auth: { token: token(user) },
    });
    // As behind a load balancer: the next attempt may end at another node.
    const elsewhere = () => {
      at = (at + 1) % nodes.length;
      this.socket.io.uri = nodes[at].url;
    };
    this.socket.io.on('reconnect_attempt', elsewhere);
    this.socket.on('connect', () => {
      this.connects += 1;
      this.#enter();
    });
    this.socket.on('disconnect', () => (this.#ready = false));
    this.socket.on('new-message', (message) => {
      if (message.roomId !== room) this.faults.push(`a message of ${message.roomId}`);
      else if (this.#ready) this.#see(message);
      else this.#early.push(message);
    });
  }

  #see({ seq, id }) {
    if (seq !== this.list.length + 1) this.faults.push(`${seq} after ${this.list.length}`);
    else this.list.push(id);
  }

  async #ask(...words) {
    return this.socket.timeout(PATIENCE_MS).emitWithAck(...words).catch(() => null);
  }

  /** Joins, takes what was missed from the answer and the pages before it, then what came meanwhile. */
  async #enter() {
    this.#round += 1;
    const round = this.#round;
    const here = () => round === this.#round && this.socket.connected;
    for (let attempt = 1; here(); attempt += 1) {
      this.#early = [];
      const answer = await this.#ask('join-room', this.room, { after: this.list.length });
      if (!here()) return;
      const pages = answer?.ok ? await this.#pages(answer, here) : null;
      if (!here()) return;
      if (pages) {
        this.#ready = true;
        // Who asks again may be in the room already, and then hears some of the past before the answer, which has it too.
        const early = attempt === 1 ? this.#early : this.#early.filter(({ seq }) => seq > answer.lastSeq);
        for (const message of [...pages, ...early]) this.#see(message);
        return;
      }
      // In the room, but without its past: the next answer brings both.
      await this.#ask('leave-room', this.room);
      await pause(RETRY_MS);
    }
  }

  async #pages({ messages, complete, lastSeq }, here) {
    const wanted = lastSeq - this.list.length;
    let pages = messages;
    while (pages.length < wanted && here()) {
      const before = pages[0]?.seq ?? lastSeq + 1;
      const answer = await this.#ask('history', { roomId: this.room, before, limit: 200 });
      if (!answer?.ok) return null;
      pages = [...answer.messages.filter(({ seq }) => seq > this.list.length), ...pages];
      if (answer.messages.length === 0) return null;
    }
    // Not even the last message's number is known when the past could not be read: `complete: false`, and no messages.
    return complete || (pages.length > 0 && pages.length === wanted) ? pages : null;
  }

  /** Posts at a steady rate, each message until it is acknowledged. */
  async post(perSecond, going) {
    let due = performance.now() + Math.random() * (1000 / perSecond);
    for (let n = 0; going(); n += 1) {
      const message = { roomId: this.room, content: `${this.user}:${n}`, clientId: `${this.user}:${n}` };
      for (;;) {
        const answer = this.#ready ? await this.#ask('send-message', message) : null;
        if (answer?.ok) {
          this.acknowledged.push(answer.message);
          break;
        }
        if (answer) {
          const { code, retryable } = answer.error;
          this.refusals[code] = (this.refusals[code] ?? 0) + 1;
          // A session that was resumed elsewhere is not in the room yet.
          if (!retryable && code !== 'denied') this.faults.push(`refused for good: ${JSON.stringify(answer.error)}`);
        }
        await pause(RETRY_MS);
      }
      due = Math.max(due + 1000 / perSecond, performance.now() - 1000);
      if (due > performance.now()) await pause(due - performance.now());
    }
  }
}

/** Everything stored, in order. */
function messages(postgres) {
  const rows = postgres.query(`SELECT rooms.name, seq, encode(messages.id, 'hex'), convert_from(content, 'UTF8')
    FROM messages JOIN rooms ON rooms.id = room_id ORDER BY rooms.name, seq`);
  return rows.split('\n').map((row) => {
    const [room, seq, id, content] = row.split('|');
    return { room, seq: Number(seq), id: base32(id), content };
  });
}

/** 16 bytes as clients see them: Crockford's base 32, 26 digits. */
function base32(hex) {
  let number = BigInt(`0x${hex}`);
  let text = '';
  for (let n = 0; n < 26; n += 1) {
    text = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[Number(number & 31n)] + text;
    number >>= 5n;
  }
  return text;
}

export class Crowd {
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
    return this.members.reduce((sum, member) => sum + member.acknowledged.length, 0);
  }

  /** The codes of all refusals so far. */
  get refusals() {
    const codes = {};
    for (const { refusals } of this.members) {
      for (const [code, count] of Object.entries(refusals)) codes[code] = (codes[code] ?? 0) + count;
    }
    return codes;
  }

  /** Waits until so many more messages are acknowledged. */
  progress(more, what, ms = 30_000) {
    const before = this.acknowledged;
    return eventually(() => this.acknowledged >= before + more, () => `${more} more messages ${what}`, ms);
  }

  /** Stops, and compares what every client has seen with what is stored. */
  async check() {
    this.#going = false;
    await Promise.all(this.#posting);
    const stored = new Map();
    for (const { room, seq, id, content } of messages(this.fleet.postgres)) {
      if (!stored.has(room)) stored.set(room, []);
      const list = stored.get(room);
      list.push({ id, content });
      assert.equal(seq, list.length, `${room} has a gap or a repeat in the store`);
    }
    for (const member of this.members) {
      const list = stored.get(member.room);
      await eventually(() => member.list.length >= list.length || member.faults.length > 0,
        () => `${member.user}: ${list.length} messages; it has ${member.list.length}`, 30_000);
      assert.deepEqual(member.faults, [], `${member.user} after ${member.connects} connects`);
      assert.deepEqual(member.list, list.map(({ id }) => id), `${member.user} has seen the room as it is stored`);
      for (const { id, seq } of member.acknowledged) assert.equal(list[seq - 1]?.id, id, 'an acknowledged message is lost');
      const own = list.filter(({ content }) => content.startsWith(`${member.user}:`)).map(({ content }) => Number(content.split(':')[1]));
      assert.deepEqual(own, own.map((_, n) => n), `what ${member.user} posted is there once, in the order posted`);
      assert.equal(own.length, member.acknowledged.length);
    }
  }

  close() {
    this.#going = false;
    for (const { socket } of this.members) socket.disconnect();
  }
}
