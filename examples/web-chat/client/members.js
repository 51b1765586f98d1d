// Keeps the memberships and the lasting members up to date, by the server's lists (`unread`, `room-members`) and events.

import { Lists } from './lists.js';

/** The names under which `Lists` knows the user's rooms, and the lasting members of one room. */
const UNREAD = 'unread';
const membersOf = (roomId) => `members of ${roomId}`;

export class MembersSync {
  #lists;

  /**
   * @param {object} parts
   * @param {import('./connection.js').Connection} parts.connection
   * @param {string} parts.userId
   * @param {import('./counts.js').Counts} parts.counts
   * @param {import('./people.js').People} parts.people
   * @param {(room: object) => boolean} parts.has whether the room is still open
   * @param {(roomId: string) => void} parts.changed
   * @param {() => void} parts.changedAll
   */
  constructor(parts) {
    Object.assign(this, parts);
    this.#lists = new Lists(parts.connection);
    this.#listen();
  }

  /** There is another connection. */
  reset() {
    this.#lists.reset();
  }

  #listen() {
    const { connection: { socket }, counts, userId: me } = this;
    socket.on('unread-changed', (now) => {
      this.#lists.change(UNREAD, () => counts.changed(now));
      this.changed(now.roomId);
    });
    socket.on('member-added', (member) => {
      this.#lists.change(membersOf(member.roomId), () => counts.memberAdded(member));
      this.changed(member.roomId);
      // The server knows how much of the room is unread.
      if (member.userId === me) this.askUnread();
    });
    socket.on('member-removed', (member) => {
      const { roomId, userId } = member;
      if (userId === me) this.#lists.change(UNREAD, () => counts.membershipEnded(roomId));
      this.#lists.change(membersOf(roomId), () => counts.memberRemoved(member));
      this.changed(roomId);
    });
  }

  /** A message was posted. */
  posted({ roomId, seq }) {
    this.#lists.change(UNREAD, () => this.counts.posted(roomId, seq));
    this.changed(roomId);
  }

  /** Asks for the user's rooms, and what is unread there. */
  async askUnread() {
    await this.#lists.read(UNREAD, ['unread', {}, 'rooms', 'roomId'], (rooms) => this.counts.took(rooms));
    this.changedAll();
  }

  /** @returns {Promise<string[]>} the room's lasting members */
  async askMembers(room) {
    const asked = ['room-members', { roomId: room.id }, 'members', 'userId'];
    await this.#lists.read(membersOf(room.id), asked, (members) => {
      if (!this.has(room)) return;
      this.counts.members.set(room.id, members);
      for (const { userId, readUpTo } of members) if (readUpTo > 0) this.people.hasRead(room.id, userId, readUpTo);
    });
    if (!this.has(room)) return [];
    this.changed(room.id);
    return (this.counts.members.get(room.id) ?? []).map(({ userId }) => userId);
  }
}
