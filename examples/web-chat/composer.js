// The composer: Enter sends, Shift and Enter starts a new line. Reports when the user types.

import { byId } from './dom.js';

const MOST_ROWS = 6;

export class Composer {
  /** @param {{send(text: string): void, typing(isTyping: boolean): void}} acts */
  constructor(acts) {
    this.acts = acts;
    this.input = byId('message');
    this.drafts = new Map();
    this.input.addEventListener('input', () => this.#typed());
    this.input.addEventListener('blur', () => this.acts.typing(false));
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
    if (this.roomId !== undefined) this.acts.typing(false);
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
    this.acts.send(text);
  }

  #typed() {
    this.#fit();
    if (this.roomId !== undefined) this.acts.typing(this.input.value.trim() !== '');
  }

  #fit() {
    this.input.rows = 1;
    while (this.input.rows < MOST_ROWS && this.input.scrollHeight > this.input.clientHeight + 2) this.input.rows += 1;
  }
}
