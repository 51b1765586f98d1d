// Asks the server for users' presence.

import { waitFor } from './outbox.js';
import { Tasks } from './tools.js';

/** Users of one `get-presence`: the server takes 200 (`limits.presence_users`). */
export const PRESENCE_PAGE = 100;
/** How often one page is asked for. */
const TRIES = 8;
/** How long users who leave are collected before the server is asked for them, in milliseconds. */
const COLLECTS_FOR = 1_000;

export class PresenceSync {
  #tasks = new Tasks();
  /** Users who have left a room since the server was last asked for such users. */
  #left = new Set();

  /**
   * @param {object} parts
   * @param {import('./connection.js').Connection} parts.connection
   * @param {import('./people.js').People} parts.people
   * @param {(event: string, error: object) => void} parts.report
   * @param {() => void} parts.changed
   */
  constructor(parts) {
    Object.assign(this, parts);
  }

  /** Takes users' states, of which only the user id must be there. */
  saw(states) {
    for (const state of states) this.people.saw(state);
    this.changed();
  }

  /**
   * Asks for these users, and again while the server asks to wait.
   * @param {string[]} users
   * @returns {Promise<boolean>} whether all were answered
   */
  async ask(users) {
    const left = [...new Set(users)];
    for (let failures = 0; left.length > 0; ) {
      const answer = await this.connection.ask('get-presence', left.slice(0, PRESENCE_PAGE));
      if (answer.ok) {
        this.saw(answer.states ?? []);
        left.splice(0, PRESENCE_PAGE);
        failures = 0;
        continue;
      }
      if (answer.error) this.report('get-presence', answer.error);
      failures += 1;
      if (!answer.error?.retryable || failures === TRIES) return false;
      await this.connection.pause(waitFor(answer.error, failures));
    }
    return true;
  }

  /**
   * A user has left a room. If it was the last one that both users share, the other user appears offline from now on, and
   * no event announces that. So the server is asked, once for all users who leave within a moment or during a question.
   */
  left(userId) {
    this.#left.add(userId);
    const isDue = () => this.#left.size > 0;
    this.#tasks.repeat('left', isDue, async () => {
      // Up to a half longer, so that the clients of a room do not all ask at once.
      await this.connection.pause(COLLECTS_FOR * (1 + Math.random() / 2));
      const isShown = new Set(this.people.here().map((person) => person.userId));
      const users = [...this.#left].filter((each) => isShown.has(each));
      this.#left.clear();
      // If the connection is lost meanwhile, the next one asks for everyone who is shown.
      await this.ask(users);
    });
  }
}
