// Names, presence, typing and read receipts, without DOM or network.

/** How long a `user-typing` counts if it is not repeated or ended, in milliseconds. */
export const TYPING_LASTS = 6_000;

export class People {
  constructor() {
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

  name(userId) {
    const person = this.known.get(userId);
    return person?.name ?? readable(userId);
  }

  /** All users who are online or away, online first, sorted by name. */
  here() {
    return [...this.known.values()]
      .filter((person) => person.status !== 'offline')
      .map((person) => ({ ...person, name: this.name(person.userId) }))
      .sort((a, b) => Number(a.status === 'away') - Number(b.status === 'away') || a.name.localeCompare(b.name));
  }

  /** A new connection: the known presence may be outdated. */
  doubtAll() {
    for (const person of this.known.values()) person.doubted = true;
    this.typing.clear();
  }

  /** The presence was read again: users that it did not confirm are offline. */
  dropDoubted() {
    for (const person of this.known.values()) if (person.doubted) person.status = 'offline';
  }

  setTyping(roomId, userId, isTyping, now) {
    const room = this.typing.get(roomId) ?? new Map();
    if (isTyping) room.set(userId, now + TYPING_LASTS);
    else room.delete(userId);
    this.typing.set(roomId, room);
  }

  /** @returns {string[]} names, in the order they began */
  typingIn(roomId, now) {
    return [...(this.typing.get(roomId) ?? [])].filter(([, until]) => until > now).map(([userId]) => this.name(userId));
  }

  /** A user who has read a message has read those before it. */
  hasRead(roomId, userId, seq) {
    const room = this.reads.get(roomId) ?? new Map();
    room.set(userId, Math.max(room.get(userId) ?? 0, seq));
    this.reads.set(roomId, room);
  }

  /** @returns {string[]} ids of those who have read the message with this number, its sender left out */
  readersOf(roomId, seq, senderId) {
    return [...(this.reads.get(roomId) ?? [])]
      .filter(([userId, upTo]) => upTo >= seq && userId !== senderId)
      .map(([userId]) => userId);
  }

  forgetReads(roomId) {
    this.reads.delete(roomId);
  }
}

/** The display form of an id: `brave-otter-3f2a`, an id that this page generates, becomes "Brave Otter". */
function readable(userId) {
  const made = /^([a-z]+)-([a-z]+)-[0-9a-f]{4,}$/.exec(userId);
  if (!made) return String(userId);
  return made
    .slice(1)
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join(' ');
}
