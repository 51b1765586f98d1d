// The list of messages: its rows, the scroll position, and which messages the user has seen.

import { byId, el, hue, KeyedList, setText } from './dom.js';
import { timeline } from './timeline.js';

/** A scroll position this close to the end, in CSS pixels, counts as the end. */
const NEAR_END = 48;

export class MessagesView {
  /**
   * @param {object} acts
   * @param {() => void} acts.older the reader comes near to the oldest message shown
   * @param {(seq: number) => void} acts.seen a message of another user is on the screen
   * @param {(id: string, value: string, on: boolean) => void} acts.react
   * @param {(id: string, text: string) => void} acts.change the author wants another text
   * @param {(id: string) => void} acts.remove
   */
  constructor(acts) {
    this.acts = acts;
    this.scroll = byId('scroll');
    this.atEnd = true;
    this.endSeq = 0;
    this.visible = new Set();
    this.seen = new IntersectionObserver((entries) => this.#onScreen(entries), { root: this.scroll });
    this.list = new KeyedList(byId('messages'), (row) => this.#row(row), {
      added: (node) => node.dataset.seq && this.seen.observe(node),
      removed: (node) => {
        this.seen.unobserve(node);
        this.visible.delete(node);
      },
    });
    this.nearTop = new IntersectionObserver(([entry]) => entry.isIntersecting && acts.older(), {
      root: this.scroll,
      rootMargin: '400px 0px 0px 0px',
    });
    this.scroll.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    // When the composer grows or a phone's keyboard opens, a user at the end of the list stays there.
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe(this.scroll);
    document.addEventListener('visibilitychange', () => this.reportSeen());
    byId('jump').addEventListener('click', () => {
      this.toEnd();
      byId('message').focus();
    });
  }

  /**
   * @param {object} view
   * @param {import('./client/index.d.ts').RoomSnapshot} view.room
   * @param {string} view.me the reader's user id
   * @param {(userId: string) => string} view.nameOf
   * @param {{userId: string, name: string}[]} view.people who can be mentioned
   */
  render(view) {
    const { room } = view;
    if (this.roomId !== room.id) {
      this.roomId = room.id;
      this.atEnd = true;
      this.list.update([]);
    }
    const anchor = this.atEnd ? undefined : this.#anchor();
    this.#renderTop(view);
    this.list.update(timeline(view));
    if (this.atEnd) this.toEnd();
    else if (anchor) this.scroll.scrollTop += (topOf(anchor.seq) ?? anchor.top) - anchor.top;
    if (this.atEnd) this.endSeq = room.lastSeq;
    this.#renderJump(room.lastSeq - this.endSeq);
    this.scroll.setAttribute('aria-busy', String(room.loadingOlder));
    // The observer only reports changes, so observe again: the page may have been short.
    this.nearTop.disconnect();
    if (room.canLoadOlder && !room.loadingOlder) this.nearTop.observe(byId('top'));
  }

  /** Shown if no room is selected. */
  renderNothing(text) {
    this.roomId = undefined;
    this.list.update([]);
    this.nearTop.disconnect();
    byId('top').hidden = false;
    setText(byId('top'), text);
    byId('jump').hidden = true;
  }

  toEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.atEnd = true;
    byId('jump').hidden = true;
  }

  reportSeen() {
    if (document.visibilityState !== 'visible') return;
    const newest = Math.max(0, ...[...this.visible].map((node) => Number(node.dataset.seq)));
    if (newest > 0) this.acts.seen(newest);
  }

  #onScreen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && target.isConnected) this.visible.add(target);
      else this.visible.delete(target);
    }
    this.reportSeen();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.atEnd) byId('jump').hidden = true;
  }

  /** The `seq` of the first message on the screen. Its row may be rebuilt when rows are inserted above it. */
  #anchor() {
    const { top } = this.scroll.getBoundingClientRect();
    for (const row of byId('messages').querySelectorAll('[data-seq]')) {
      const box = row.getBoundingClientRect();
      if (box.bottom > top) return { seq: row.dataset.seq, top: box.top };
    }
    return undefined;
  }

  #renderTop({ room }) {
    const top = byId('top');
    const empty = room.messages.length === 0 && room.outgoing.length === 0;
    let text = '';
    if (room.state === 'kicked') text = `You were removed from this room: ${room.error.message}`;
    else if (room.error && !room.error.retryable) text = `This room cannot be read: ${room.error.message} (${room.error.code})`;
    else if (room.loadingOlder || (empty && room.state === 'joining')) text = 'Loading messages…';
    else if (empty && room.atStart) text = 'No messages yet. Say hello!';
    else if (room.atStart) text = 'This is where the room begins.';
    // While there is more to load the line keeps its height, so that showing and hiding it moves nothing.
    setText(top, text || '\u00a0');
    top.hidden = text === '' && !room.canLoadOlder;
    top.classList.toggle('empty', empty);
  }

  #renderJump(unseen) {
    const jump = byId('jump');
    jump.hidden = this.atEnd;
    setText(jump, unseen > 0 ? `↓ ${unseen} new` : '↓ Newest');
  }

  #row(row) {
    if (row.kind === 'day') return el('li', { class: 'day' }, el('span', {}, day(row.at)));
    if (row.kind === 'gap') {
      return el('li', { class: 'gap' }, row.lost ? 'Some messages were deleted.' : 'Loading missed messages…');
    }
    return row.kind === 'outgoing' ? this.#outgoing(row) : message(row, this.acts);
  }

  #outgoing({ clientId, text, state, error }) {
    const failed = state === 'failed';
    const act = (name, label) =>
      el('button', { type: 'button', class: 'small', onclick: () => this.acts[name](clientId) }, label);
    const reason = error && `${error.message || 'refused'} (${error.code})`;
    let note = 'sending…';
    if (failed) note = `Not sent: ${reason ?? 'refused'}`;
    else if (reason) note = `Not sent yet, and tried again: ${reason}`;
    return el(
      'li',
      { class: `message own outgoing ${state}`, 'data-client-id': clientId, 'data-state': state },
      el('p', { class: 'text', dir: 'auto' }, text),
      el('p', { class: 'meta' }, note),
      failed
        ? el('p', { class: 'acts' }, act('retry', 'Try again'), act('edit', 'Edit'), act('discard', 'Discard'))
        : undefined,
    );
  }
}

function topOf(seq) {
  return byId('messages').querySelector(`[data-seq="${seq}"]`)?.getBoundingClientRect().top;
}

/** What a click reacts with. */
const REACTIONS = ['👍', '❤️', '😂', '🎉'];

function message(row, acts) {
  const { seq, userId, name, parts, at, own, heads, readers, lastOwn, edited, deleted, marks } = row;
  return el(
    'li',
    { class: `message ${own ? 'own' : 'other'}${heads ? ' heads' : ''}`, 'data-seq': String(seq), 'data-user': userId },
    heads && !own ? el('p', { class: `name ${hue(userId)}`, title: userId }, name) : undefined,
    own || heads ? undefined : el('span', { class: 'hidden' }, `${name}: `),
    deleted
      ? el('p', { class: 'text deleted' }, 'This message was deleted.')
      : el('p', { class: 'text', dir: 'auto' }, ...parts.map(part)),
    marks.length > 0 ? el('p', { class: 'marks' }, ...marks.map((mark) => reaction(row, mark, acts))) : undefined,
    el(
      'div',
      { class: 'meta' },
      deleted ? undefined : more(row, acts),
      edited && !deleted ? el('span', {}, 'edited') : undefined,
      time(at),
      own ? ticks(readers, lastOwn) : undefined,
    ),
  );
}

/** A piece of a message's text. A link opens beside the chat, and its page learns nothing of the chat. */
function part({ kind, text, href, me }) {
  if (kind === 'link') return el('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text);
  return kind === 'mention' ? el('span', { class: me ? 'mention me' : 'mention' }, text) : text;
}

/** A reaction with its count; a click sets the user's own, or takes it back. */
function reaction({ id }, { value, count, mine, names }, acts) {
  const label = `${value} ${count}`;
  return el(
    'button',
    {
      type: 'button',
      class: 'small mark',
      title: names.join(', '),
      'aria-pressed': String(mine),
      onclick: () => acts.react(id, value, !mine),
    },
    label,
  );
}

/** What can be done with a message, behind one button. It closes when something is done. */
function more({ id, own, text }, acts) {
  const act = (label, run) => {
    const onclick = ({ target }) => {
      target.closest('details').open = false;
      run();
    };
    return el('button', { type: 'button', class: 'small', onclick }, label);
  };
  return el(
    'details',
    { class: 'more' },
    el('summary', {}, el('span', { 'aria-hidden': 'true' }, '⋯'), el('span', { class: 'hidden' }, 'More')),
    el(
      'p',
      { class: 'acts' },
      ...REACTIONS.map((value) => act(value, () => acts.react(id, value, true))),
      own && act('Edit', () => acts.change(id, text)),
      own && act('Delete', () => acts.remove(id)),
    ),
  );
}

/** One tick: the server has it. Two ticks: read, by how many users, and for the newest message by which. */
function ticks(readers, byName) {
  if (readers.length === 0) return el('span', { class: 'ticks', title: 'Posted' }, '✓');
  const names = readers.join(', ');
  const few = readers.slice(0, 3).join(', ') + (readers.length > 3 ? ` and ${readers.length - 3} more` : '');
  return el(
    'span',
    { class: 'ticks read', title: `Read by ${names}` },
    byName ? `✓✓ Read by ${few}` : `✓✓ ${readers.length}`,
    byName ? undefined : el('span', { class: 'hidden' }, ` read by ${names}`),
  );
}

function time(at) {
  if (!Number.isFinite(at)) return undefined;
  const date = new Date(at);
  const short = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return el('time', { datetime: date.toISOString(), title: date.toLocaleString() }, short);
}

function day(at) {
  if (!Number.isFinite(at)) return 'At an unknown time';
  const date = new Date(at);
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (date.toDateString() === new Date().toDateString()) return 'Today';
  if (date.toDateString() === yesterday.toDateString()) return 'Yesterday';
  return date.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}
