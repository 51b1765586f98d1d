// Lists that the server gives page by page: `unread` and `room-members`.
//
// An answer may be older than events that came before it, so the events that come during a question are applied to its
// answer too.

import { waitFor } from './outbox.js';

/** Entries per page, the most that are read, and how often a page is tried. */
const PAGE = 100;
const LONGEST = 1_000;
const TRIES = 5;

export class Lists {
  /** Events that this server does not answer. */
  #unhandled = new Set();
  /** The questions that are under way, oldest first: the name of the list, and the changes that came meanwhile. */
  #questions = new Set();

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    this.connection = connection;
  }

  /** Another connection may be to another server. */
  reset() {
    this.#unhandled.clear();
    this.#questions.clear();
  }

  /**
   * Applies what an event changes in a list, now and to the answers to questions that are under way.
   * @param {string} name of the list
   * @param {() => void} apply
   */
  change(name, apply) {
    apply();
    for (const question of this.#questions) if (question.name === name) question.changes.push(apply);
  }

  /**
   * Reads a list, and takes it with the changes that came meanwhile, unless a later question was answered first.
   * @param {string} name of the list
   * @param {[event: string, body: object, key: string, id: string]} asked as for `#read`
   * @param {(list: object[]) => void} take
   */
  async read(name, asked, take) {
    const question = { name, changes: [] };
    this.#questions.add(question);
    const list = await this.#read(...asked);
    if (list && this.#questions.has(question)) {
      this.#dropEarlier(question);
      take(list);
      for (const apply of question.changes) apply();
    }
    this.#questions.delete(question);
  }

  /** Drops the questions for the same list that were asked before this one: their answers are older. */
  #dropEarlier(question) {
    for (const earlier of this.#questions) {
      if (earlier === question) return;
      if (earlier.name === question.name) this.#questions.delete(earlier);
    }
  }

  /**
   * Asks for all pages of a list.
   * @param {string} event
   * @param {object} body
   * @param {string} key of the answer, which has the list
   * @param {string} id of an entry, by which pages are ordered
   * @returns {Promise<object[] | undefined>} undefined if this server does not have it, or the connection is lost
   */
  async #read(event, body, key, id) {
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
