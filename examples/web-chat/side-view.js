// The side panel: rooms, people, the user's own name. On a narrow screen it slides in from the left.

import { byId, el, hue, KeyedList, setText } from './dom.js';

export class SideView {
  /** @param {{choose(roomId: string): void, join(roomId: string): void}} acts */
  constructor(acts) {
    this.acts = acts;
    this.rooms = new KeyedList(byId('rooms'), (row) => this.#room(row));
    this.people = new KeyedList(byId('people'), person);
    byId('menu').addEventListener('click', () => this.toggle(!this.isOpen));
    byId('join').addEventListener('submit', (event) => {
      event.preventDefault();
      const input = byId('room-name');
      const name = input.value.trim().replace(/^#/, '');
      input.value = '';
      if (name !== '') acts.join(name);
    });
    document.addEventListener('click', (event) => {
      const outside = !byId('side').contains(event.target) && !byId('menu').contains(event.target);
      // A row that this click has just rebuilt is no longer in the page, so ignore it.
      if (this.isOpen && outside && event.target.isConnected) this.toggle(false);
    });
  }

  get isOpen() {
    return byId('side').classList.contains('open');
  }

  toggle(open) {
    const wasOpen = this.isOpen;
    byId('side').classList.toggle('open', open);
    byId('menu').setAttribute('aria-expanded', String(open));
    if (open) byId('rooms').querySelector('button')?.focus();
    else if (wasOpen && byId('side').contains(document.activeElement)) byId('menu').focus();
  }

  render({ rooms, people, me }) {
    this.rooms.update(rooms);
    this.people.update(
      people.map(({ userId, name, status }) => ({ key: userId, name, status, isMe: userId === me.userId })),
    );
    setText(byId('people-count'), people.length > 0 ? String(people.length) : '');
    const label = `${me.name} (you)`;
    if (this.label === label) return;
    this.label = label;
    byId('me').replaceChildren(
      el('span', { class: `face ${hue(me.userId)}`, 'aria-hidden': 'true' }, initials(me.name)),
      el('span', { class: 'name' }, me.name, el('span', { class: 'hint' }, 'Change name')),
    );
  }

  #room({ id, unread, mentions, active, refused }) {
    return el(
      'li',
      {},
      el(
        'button',
        {
          type: 'button',
          class: refused ? 'room refused' : 'room',
          'aria-current': active ? 'true' : undefined,
          onclick: () => this.acts.choose(id),
        },
        el('span', { class: 'name' }, `# ${id}`),
        refused ? el('span', { class: 'hint' }, 'refused') : undefined,
        mentions > 0
          ? el('span', { class: 'badge mentions' }, `@${mentions}`, el('span', { class: 'hidden' }, ' mentions of you'))
          : undefined,
        unread > 0
          ? el(
              'span',
              { class: 'badge' },
              unread > 99 ? '99+' : String(unread),
              el('span', { class: 'hidden' }, ' unread'),
            )
          : undefined,
      ),
    );
  }
}

function person({ key, name, status, isMe }) {
  return el(
    'li',
    { class: `person ${status}`, title: key, 'data-user': key, 'data-status': status },
    el('span', { class: `face ${hue(key)}`, 'aria-hidden': 'true' }, initials(name)),
    el('span', { class: 'name' }, name),
    isMe ? el('span', { class: 'hint' }, 'you') : undefined,
    status === 'away' ? el('span', { class: 'hint' }, 'away') : el('span', { class: 'hidden' }, status),
  );
}

function initials(name) {
  const words = name.trim().split(/\s+/).slice(0, 2);
  return words
    .map((word) => [...word][0] ?? '')
    .join('')
    .toUpperCase();
}
