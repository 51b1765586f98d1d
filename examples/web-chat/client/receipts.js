// Read receipts that the server has not acknowledged yet.
//
// A user who has read a message has read those before it, so only the newest receipt of each room is kept. Each change is
// stored, so a receipt of what was read without a connection is sent after a restart of the page too.

import { waitFor } from './outbox.js';
import { StoredByRoom } from './storage.js';
import { Tasks } from './tools.js';

/**
 * How many rooms' receipts are stored at most, since some of the rooms may never be opened again. A server lets a
 * connection into as many rooms by default.
 */
const MOST_ROOMS = 256;

export class Receipts {
  #tasks = new Tasks();
  #owed;

  /**
   * @param {object} parts
   * @param {{get(key: string): unknown, set(key: string, value: unknown): void}} parts.storage
   * @param {import('./connection.js').Connection} parts.connection
   * @param {(roomId: string) => boolean} parts.isJoined
   * @param {(event: string, error: object, roomId: string) => void} parts.report
   */
  constructor({ storage, ...parts }) {
    Object.assign(this, parts);
    this.#owed = new StoredByRoom(storage, 'receipts', MOST_ROOMS);
  }

  /** The user has read this message. */
  add(roomId, messageId) {
    this.#owed.set(roomId, [messageId]);
    this.send(roomId);
  }

  /** The user has left the room. */
  forget(roomId) {
    this.#owed.delete(roomId);
  }

  /** Sends a joined room's receipt until the server has it, or refuses it for good. */
  async send(roomId) {
    const isDue = () => this.isJoined(roomId) && this.#owed.get(roomId) !== undefined;
    let failures = 0;
    await this.#tasks.repeat(roomId, isDue, async () => {
      const owed = this.#owed.get(roomId);
      const answer = await this.connection.ask('read-message', owed[0]);
      if (answer.error) this.report('read-message', answer.error, roomId);
      if (!answer.lost && !answer.error?.retryable) {
        failures = 0;
        // The user may have read more meanwhile.
        if (this.#owed.get(roomId) === owed) this.#owed.deleteOwn(roomId);
        return;
      }
      failures += 1;
      if (this.connection.isUp) await this.connection.pause(waitFor(answer.error, failures));
    });
  }
}
