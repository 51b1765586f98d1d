// The composer: Enter sends, Shift and Enter starts a new line. Reports when the user begins and stops typing.

import { byId } from './dom.js';

/** While the user keeps typing, `typing` is repeated after this time, before the others' indicator expires. */
const SAY_TYPING_EVERY = 3_000;
/** The user counts as typing until there was no key press for this long. */
const TYPING_ENDS_AFTER = 4_000;
const MOST_ROWS = 6;

export class Composer {
  /** @param {{send(text: string): void, typing(isTyping: boolean): void}} acts */
  constructor(acts) {
    this.acts = acts;
    this.input = byId('message');
    this.drafts = new Map();
    this.saidTypingAt = 0;
    this.input.addEventListener('input', () => this.#typed());
    this.input.addEventListener('blur', () => this.#stopped());
    this.input.addEventListener('keydown', (event) => {
      // Enter also confirms an input method's choice, and then must not send.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
      this.input.focus();
    });
  }

  /** Each room keeps its draft. */
  show(roomId) {
    if (this.roomId === roomId) return;
    this.#stopped();
    if (this.roomId !== undefined) this.drafts.set(this.roomId, this.input.value);
    this.roomId = roomId;
    this.input.value = this.drafts.get(roomId) ?? '';
    this.input.disabled = roomId === undefined;
    byId('composer').querySelector('button').disabled = roomId === undefined;
    const label = roomId === undefined ? 'Message' : `Message to ${roomId}`;
    byId('message-label').textContent = label;
    this.input.placeholder = roomId === undefined ? 'Join a room to write' : `Message #${roomId}`;
    this.#fit();
  }

  /** Puts a text back for editing, in front of the current draft. */
  edit(text) {
    this.input.value = this.input.value === '' ? text : `${text}\n${this.input.value}`;
    this.#fit();
    this.input.focus();
  }

  #send() {
    const text = this.input.value;
    if (text.trim() === '' || this.roomId === undefined) return;
    this.input.value = '';
    this.#fit();
    this.#stopped();
    this.acts.send(text);
  }

  #typed() {
    this.#fit();
    if (this.input.value.trim() === '') return this.#stopped();
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.#stopped(), TYPING_ENDS_AFTER);
    if (Date.now() - this.saidTypingAt < SAY_TYPING_EVERY) return undefined;
    this.saidTypingAt = Date.now();
    return this.acts.typing(true);
  }

  #stopped() {
    clearTimeout(this.quiet);
    if (this.saidTypingAt === 0) return;
    this.saidTypingAt = 0;
    this.acts.typing(false);
  }

  #fit() {
    this.input.rows = 1;
    while (this.input.rows < MOST_ROWS && this.input.scrollHeight > this.input.clientHeight + 2) this.input.rows += 1;
  }
}
