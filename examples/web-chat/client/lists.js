// Lists that the server gives page by page: `unread` and `room-members`.

import { waitFor } from './outbox.js';

/** Entries per page, the most that are read, and how often a page is tried. */
const PAGE = 100;
const LONGEST = 1_000;
const TRIES = 5;

export class Lists {
  /** Events that this server does not answer. */
  #unhandled = new Set();

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    this.connection = connection;
  }

  /** Another connection may be to another server. */
  reset() {
    this.#unhandled.clear();
  }

  /**
   * Reads a list.
   * @param {string} event
   * @param {object} body
   * @param {string} key of the answer, which has the list
   * @param {string} id of an entry, by which pages are ordered
   * @returns {Promise<object[] | undefined>} undefined if this server does not have it, or the connection is lost
   */
  async read(event, body, key, id) {
    const all = [];
    let failures = 0;
    while (all.length < LONGEST && failures < TRIES && !this.#unhandled.has(event)) {
      const after = all.at(-1)?.[id];
      const answer = await this.connection.ask(event, { ...body, ...(after === undefined ? {} : { after }), limit: PAGE });
      const page = answer.ok && Array.isArray(answer[key]) ? answer[key] : undefined;
      if (page) all.push(...page);
      if (page && (answer.complete !== false || page.length === 0)) return all;
      if (page) continue;
      if (answer.error?.code === 'unhandled') this.#unhandled.add(event);
      if (!answer.error?.retryable) return undefined;
      failures += 1;
      await this.connection.pause(waitFor(answer.error, failures));
    }
    return all.length > 0 ? all : undefined;
  }
}
