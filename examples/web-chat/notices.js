// The banner about the connection, and short notes about refused events.

import { byId, el, setNote } from './dom.js';

/** How long a note stays, in milliseconds, and how many are shown at most. */
const STAYS = 12_000;
const MOST = 3;

const shown = new Map();

/** Shows a note. Showing the same note again extends its time. */
export function toast({ event, code, message }) {
  const text = `${message || 'The server refused this.'} (${event ? `${event}: ` : ''}${code})`;
  const known = shown.get(text);
  if (known) {
    clearTimeout(known.timer);
    known.timer = setTimeout(() => drop(text), STAYS);
    return;
  }
  if (shown.size >= MOST) drop(shown.keys().next().value);
  const node = el(
    'div',
    { class: 'toast', role: 'alert', 'data-code': code },
    el('p', {}, text),
    el('button', { type: 'button', class: 'small', 'aria-label': 'Dismiss', onclick: () => drop(text) }, '✕'),
  );
  shown.set(text, { node, timer: setTimeout(() => drop(text), STAYS) });
  byId('toasts').append(node);
}

/** @returns {boolean} whether there was one to take away */
export function dropNewestToast() {
  const newest = [...shown.keys()].at(-1);
  if (newest !== undefined) drop(newest);
  return newest !== undefined;
}

function drop(text) {
  const known = shown.get(text);
  if (!known) return;
  clearTimeout(known.timer);
  const hadFocus = known.node.contains(document.activeElement);
  known.node.remove();
  shown.delete(text);
  if (hadFocus) byId('message').focus();
}

const BANNERS = {
  connecting: 'Connecting…',
  reconnecting: 'Connection lost. Reconnecting… What you write is sent afterwards.',
  'catching-up': 'Catching up…',
  live: '',
  idle: '',
};

/** @param {import('./client/index.d.ts').ClientSnapshot} client */
export function banner({ state, error, waiting }) {
  const offline = navigator.onLine === false && state !== 'live';
  const queued = waiting === 0 ? '' : ` ${waiting} waiting.`;
  const text = offline ? 'You are offline. What you write is sent when you are back.' : (BANNERS[state] ?? `Disconnected: ${error?.message ?? state}`);
  setNote(byId('banner'), text === '' ? '' : text + queued);
  byId('banner').dataset.state = offline ? 'offline' : state;
}
