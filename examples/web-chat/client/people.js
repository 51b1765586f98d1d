// Names, presence, typing and read receipts, without network.

/** How long a `user-typing` counts if it is not repeated or ended, in milliseconds: as long as the server's own limit. */
export const TYPING_LASTS = 10_000;

export class People {
  constructor(typingLasts = TYPING_LASTS) {
    this.typingLasts = typingLasts;
    this.known = new Map();
    this.typing = new Map();
    this.reads = new Map();
  }

  /** A user's state from the server: from `presence`, `get-presence` and the like. */
  saw({ userId, username, status, since }) {
    if (typeof userId !== 'string') return;
    const person = this.known.get(userId) ?? { userId, status: 'offline' };
    if (typeof username === 'string' && username !== '') person.name = username;
    if (status) Object.assign(person, { status, since, doubted: false });
    this.known.set(userId, person);
  }

  /** A sender's name from a message. It may be older than a name that is known already, so it does not replace that. */
  met({ userId, username }) {
    if (username !== userId && !this.known.get(userId)?.name) this.saw({ userId, username });
  }

  /** The user's name, or the user id if no name is known. */
  name(userId) {
    return this.known.get(userId)?.name ?? String(userId);
  }

  /** All users who are online or away, online first, sorted by name. */
  here() {
    return [...this.known.values()]
      .filter((person) => person.status !== 'offline')
      .map(({ userId, status, since }) => ({ userId, status, since, name: this.name(userId) }))
      .sort((a, b) => Number(a.status === 'away') - Number(b.status === 'away') || a.name.localeCompare(b.name));
  }

  /** A new connection: the known presence may be outdated. */
  doubtAll() {
    for (const person of this.known.values()) person.doubted = true;
    this.typing.clear();
  }

  /** @returns {string[]} the users whose presence is known from an earlier connection */
  doubted() {
    return [...this.known.values()].filter(({ doubted, status }) => doubted && status !== 'offline').map(({ userId }) => userId);
  }

  /** The presence was read again: users that it did not confirm are offline. */
  dropDoubted() {
    for (const person of this.known.values()) if (person.doubted) person.status = 'offline';
  }

  setTyping(roomId, userId, isTyping, now) {
    const room = this.typing.get(roomId) ?? new Map();
    if (isTyping) room.set(userId, now + this.typingLasts);
    else room.delete(userId);
    this.typing.set(roomId, room);
  }

  /** @returns {string[]} user ids, in the order they began */
  typingIn(roomId, now) {
    return [...(this.typing.get(roomId) ?? [])].filter(([, until]) => until > now).map(([userId]) => userId);
  }

  /** Ends the typing that was not repeated. @returns {string[]} the rooms in which somebody's has ended */
  endTyping(now) {
    const ended = [];
    for (const [roomId, room] of this.typing) {
      const over = [...room].filter(([, until]) => until <= now);
      for (const [userId] of over) room.delete(userId);
      if (over.length > 0) ended.push(roomId);
    }
    return ended;
  }

  /** When the next typing ends by itself, if nobody repeats it. */
  nextTypingEnd() {
    return Math.min(...[...this.typing.values()].flatMap((room) => [...room.values()]));
  }

  /** A user who has read a message has read those before it. */
  hasRead(roomId, userId, seq) {
    const room = this.reads.get(roomId) ?? new Map();
    room.set(userId, Math.max(room.get(userId) ?? 0, seq));
    this.reads.set(roomId, room);
  }

  /** @returns {{userId: string, seq: number}[]} up to which message each user has read the room */
  readsIn(roomId) {
    return [...(this.reads.get(roomId) ?? [])].map(([userId, seq]) => ({ userId, seq }));
  }

  forgetReads(roomId) {
    this.reads.delete(roomId);
  }
}
