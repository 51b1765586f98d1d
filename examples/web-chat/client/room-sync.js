// Brings a room up to date: joins it, and reads what is missing of its history.

import { waitFor } from './outbox.js';
import { LARGEST_GAP_FILLED } from './room.js';
import { Tasks } from './tools.js';

/** Messages per page of history, and the most that the server returns. */
const PAGE = 50;
const LARGEST_PAGE = 200;

const NOT_LET_IN = Object.freeze({
  ok: false,
  error: Object.freeze({ code: 'denied', message: 'The server has not let the user into this room.', retryable: false }),
});

export class RoomSync {
  #tasks = new Tasks();

  /**
   * @param {object} parts
   * @param {import('./connection.js').Connection} parts.connection
   * @param {(room: object) => boolean} parts.has whether the room is still open
   * @param {(room: object, result: {added: object[], reset: boolean}) => void} parts.took
   * @param {(room: object) => void} parts.dropped messages were dropped, since too many are missing after them
   * @param {(event: string, error: object, roomId: string) => void} parts.report
   * @param {(roomId: string) => void} parts.changed
   */
  constructor(parts) {
    Object.assign(this, parts);
  }

  /**
   * Joins a room until that has succeeded, is refused for good, or the connection is lost; once at a time.
   * @returns {Promise<object | undefined>} the last answer, if the room is joined
   */
  join(room) {
    const { number } = this.connection;
    if (room.joining?.number === number) return room.joining.done;
    let waits;
    const waiting = new Promise((resolve) => {
      waits = resolve;
    });
    const done = this.#join(room, number, waits).finally(() => {
      if (room.joining?.done === done) room.joining = undefined;
    });
    room.joining = { number, done, waiting };
    return done;
  }

  /** Ends once the join that has been begun must be tried again later; never if the first try ends it. */
  waiting(room) {
    return room.joining.waiting;
  }

  async #join(room, number, waits) {
    const { connection } = this;
    const isCurrent = () => number === connection.number && connection.isUp && this.has(room) && room.state !== 'kicked';
    for (let attempts = 0; isCurrent(); attempts += 1) {
      const asked = room.question(PAGE);
      let answer = await connection.ask('join-room', room.id, asked);
      if (!isCurrent()) return undefined;
      // A handler may take the event without letting the user in.
      if (answer.ok && !Number.isSafeInteger(answer.lastSeq)) answer = NOT_LET_IN;
      const outcome = answer.ok ? room.joined(asked, answer) : undefined;
      if (outcome) this.took(room, outcome);
      if (outcome?.next === 'done') {
        Object.assign(room, { state: 'joined', error: null });
        this.changed(room.id);
        return answer;
      }
      if (outcome?.next === 'again') continue;
      if (answer.error) this.report('join-room', answer.error, room.id);
      if (answer.error && !answer.error.retryable) {
        Object.assign(room, { state: 'refused', error: Object.freeze(answer.error) });
        this.changed(room.id);
        return undefined;
      }
      if (outcome?.next === 'unreadable') await connection.ask('leave-room', room.id);
      const wait = waitFor(answer.error, attempts);
      Object.assign(room, { error: answer.error ? Object.freeze(answer.error) : null, retryAt: Date.now() + wait });
      this.changed(room.id);
      waits();
      await connection.pause(wait);
      room.retryAt = null;
      this.changed(room.id);
    }
    return undefined;
  }

  isLoadingOlder(roomId) {
    return this.#tasks.isRunning(`older ${roomId}`);
  }

  /** Reads the next older page of a room, once at a time. */
  async older(room) {
    await this.#tasks.once(`older ${room.id}`, async () => {
      this.changed(room.id);
      const { before } = room;
      const asked = { limit: PAGE, ...(before === undefined ? {} : { before }) };
      const answer = await this.#history(room, asked, (page) => room.page(before, page));
      if (answer.ok) return;
      if (answer.error) this.report('history', answer.error, room.id);
      if (answer.error && !answer.error.retryable) room.error = Object.freeze(answer.error);
      else await this.connection.pause(waitFor(answer.error, 1));
    });
    this.changed(room.id);
  }

  /** Reads the messages that are missing between those that are here. */
  fillGaps(room) {
    const isOpen = () => this.has(room) && room.state === 'joined';
    return this.#tasks.once(`gaps ${room.id}`, async () => {
      let failures = 0;
      for (let gap = room.gap(); gap && isOpen(); gap = room.gap()) {
        const missing = gap.before - gap.after - 1;
        if (missing > LARGEST_GAP_FILLED) {
          room.keepFrom(gap.before);
          this.dropped(room);
          continue;
        }
        const asked = { before: gap.before, limit: Math.min(LARGEST_PAGE, missing) };
        const answer = await this.#history(room, asked, (page) => room.fill(gap, page));
        failures = answer.ok ? 0 : failures + 1;
        if (answer.ok) continue;
        if (answer.lost || answer.error.retryable) await this.connection.pause(waitFor(answer.error, failures));
        else return this.report('history', answer.error, room.id);
      }
    });
  }

  /** Reads a page, and takes it before changes that have overtaken it are forgotten. */
  #history(room, body, take) {
    return room.reading(async () => {
      const answer = await this.connection.ask('history', { roomId: room.id, ...body });
      if (answer.ok) this.took(room, take(answer));
      return answer;
    });
  }
}
