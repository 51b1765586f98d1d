// Posts at a fixed pace and measures the time until the room has each message.
import { connect } from '../lib/client.mjs';

/** Percentile of numbers, which it sorts. */
export function percentile(numbers, share) {
  if (numbers.length === 0) return NaN;
  const sorted = Float64Array.from(numbers).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** p50 and p99 in milliseconds, as text. */
export function spread(samples) {
  const times = samples.map((sample) => sample.ms);
  return { messages: times.length, 'p50, ms': percentile(times, 0.5).toFixed(2), 'p99, ms': percentile(times, 0.99).toFixed(2) };
}

/**
 * Posts at a steady rate, independent of the answers: one poster and one reader for each room. A sample is the time
 * from a message's due time until the reader has it.
 */
export class Pace {
  /** `{at, ms}`: when the message was due on `performance.now()`, and how long it took. */
  samples = [];
  /** Errors, as text. */
  faults = [];
  #rooms = [];
  #timer;
  #open = new Map();
  #next = 0;

  static async start(server, { rooms, perSecond, name = 'paced', at = () => ({}) }) {
    const pace = new Pace();
    for (let n = 0; n < rooms; n += 1) {
      const room = `${name}-${n}`;
      const poster = await connect(server, `poster-${n}`, at(`poster-${n}`));
      const reader = await connect(server, `reader-${n}`, at(`reader-${n}`));
      await poster.join(room);
      await reader.join(room);
      // Only the samples are kept, since an hour of messages would not fit into memory.
      for (const client of [poster, reader]) client.socket.offAny();
      const state = { room, poster, reader, sent: 0, last: -1, seq: 0 };
      reader.socket.on('new-message', (message) => pace.#arrived(state, message));
      pace.#rooms.push(state);
    }
    const begun = performance.now();
    let due = 0;
    pace.#timer = setInterval(() => {
      const now = performance.now();
      while (begun + (due * 1000) / perSecond <= now) {
        pace.#post(begun + (due * 1000) / perSecond);
        due += 1;
      }
    }, 1);
    return pace;
  }

  #post(at) {
    const state = this.#rooms[this.#next++ % this.#rooms.length];
    const content = String(state.sent++);
    this.#open.set(`${state.room}/${content}`, at);
    state.poster.socket.emit('send-message', { roomId: state.room, content }, (answer) => {
      if (!answer.ok) this.faults.push(JSON.stringify(answer));
    });
  }

  #arrived(state, { seq, content }) {
    const key = `${state.room}/${content}`;
    const at = this.#open.get(key);
    if (at === undefined) return void this.faults.push(`${key} came twice, or was never sent`);
    this.#open.delete(key);
    if (seq !== ++state.seq || Number(content) !== ++state.last) this.faults.push(`${key} came out of order as ${seq}`);
    this.samples.push({ at, ms: performance.now() - at });
  }

  /** Stops, and waits until every message has arrived. */
  async stop() {
    clearInterval(this.#timer);
    const deadline = performance.now() + 30_000;
    while (this.#open.size > 0 && performance.now() < deadline) await new Promise((done) => setTimeout(done, 20));
    if (this.#open.size > 0) this.faults.push(`${this.#open.size} messages never came`);
    for (const { poster, reader } of this.#rooms) {
      for (const client of [poster, reader]) {
        if (client.disconnects.length > 0) this.faults.push(`${client.user} was disconnected: ${client.disconnects}`);
      }
    }
    return this.faults;
  }
}

/** Waits for a fixed time, since measurements have a fixed length. */
export const seconds = (count) => new Promise((done) => setTimeout(done, count * 1000));

/**
 * The component with an additional custom section: other bytes, hence a different component to compile and store, but
 * with the same code.
 */
export function variant(component, text) {
  const name = Buffer.from(`\x07variant${text}`);
  return Buffer.concat([component, Buffer.from([0, name.length]), name]);
}
