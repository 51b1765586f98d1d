// The rooms in which the user is a lasting member, with their unread counts, and the lasting members of open rooms.
//
// Rooms without lasting members, and servers that do not answer `unread`, are counted here: from the newest message to
// the newest one that this user has seen, which the storage keeps.

export class Counts {
  /** @param {{get(key: string): unknown, set(key: string, value: unknown): void}} storage */
  constructor(storage) {
    this.storage = storage;
    /** By room; undefined while the server has not answered `unread`, or does not know it. */
    this.memberships = undefined;
    /** The members of each room that the server has named. */
    this.members = new Map();
    /** By room, the newest `seq` that this user has seen. */
    this.seen = new Map(this.#stored('seen'));
    /** By room, the newest `seq` when it was first joined: what was before is not unread for those who are not members. */
    this.begun = new Map(this.#stored('begun'));
  }

  /** Takes the answer to `unread`. */
  took(rooms) {
    this.memberships = new Map(rooms.map((room) => [room.roomId, room]));
  }

  /** Takes `unread-changed`: an entry of the answer to `unread` as it is now, with the role null if there is none now. */
  changed({ roomId, ...now }) {
    this.memberships ??= new Map();
    const before = this.memberships.get(roomId);
    if (now.role === null) {
      this.memberships.delete(roomId);
      return;
    }
    // The server may be one message behind, and two of these may come in another order than they were made.
    const lastSeq = Math.max(now.lastSeq ?? 0, before?.lastSeq ?? 0);
    const readUpTo = Math.max(now.readUpTo ?? 0, before?.readUpTo ?? 0);
    this.memberships.set(roomId, { ...before, ...now, roomId, lastSeq, readUpTo, unread: Math.max(0, lastSeq - readUpTo) });
  }

  /** A message was posted in a room. */
  posted(roomId, seq) {
    const before = this.memberships?.get(roomId);
    if (before && before.lastSeq < seq) this.changed({ ...before, lastSeq: seq });
  }

  /** Takes `member-added`, which comes for another role too. */
  memberAdded({ roomId, userId, role }) {
    const members = this.members.get(roomId);
    if (!members) return;
    const before = members.find((member) => member.userId === userId);
    this.members.set(roomId, [...members.filter((member) => member !== before), { readUpTo: 0, ...before, userId, role }]);
  }

  /** Takes `member-removed`. */
  memberRemoved(me, { roomId, userId }) {
    if (userId === me) this.memberships?.delete(roomId);
    const members = this.members.get(roomId);
    if (members) this.members.set(roomId, members.filter((member) => member.userId !== userId));
  }

  /** Notes where a room began, for this user. */
  begins(roomId, lastSeq) {
    if (this.begun.has(roomId)) return;
    this.begun.set(roomId, lastSeq);
    this.#store('begun', roomId);
  }

  /** Notes that the user has seen a room up to `seq`. @returns {boolean} whether that is news */
  saw(roomId, seq) {
    if (seq <= this.readUpTo(roomId)) return false;
    this.seen.set(roomId, seq);
    this.#store('seen', roomId);
    return true;
  }

  /** The user has left the room, or the server's data was replaced. */
  forget(roomId) {
    for (const name of ['members', 'seen', 'begun']) this[name].delete(roomId);
    this.#store('seen', roomId);
    this.#store('begun', roomId);
  }

  #stored(name) {
    const stored = this.storage.get(name);
    return Array.isArray(stored) ? stored.filter((entry) => Array.isArray(entry)) : [];
  }

  /** Stores what is known of one room. Another tab may have stored what it knows of others. */
  #store(name, roomId) {
    const stored = new Map(this.#stored(name));
    const known = this[name].get(roomId);
    if (known === undefined) stored.delete(roomId);
    else stored.set(roomId, known);
    this.storage.set(name, [...stored]);
  }

  /** The newest message that the user has seen, on any device as far as the server says. */
  readUpTo(roomId) {
    const before = this.memberships?.get(roomId)?.readUpTo ?? this.begun.get(roomId) ?? 0;
    return Math.max(before, this.seen.get(roomId) ?? 0);
  }

  /**
   * What the user has not read of a room.
   * @param {number | undefined} lastSeq the newest message that is known here
   */
  unread(roomId, lastSeq) {
    const membership = this.memberships?.get(roomId);
    if (!membership && !this.begun.has(roomId)) return { readUpTo: 0, unread: 0, mentions: 0 };
    const readUpTo = this.readUpTo(roomId);
    const unread = Math.max(0, Math.max(lastSeq ?? 0, membership?.lastSeq ?? 0) - readUpTo);
    return { readUpTo, unread, mentions: unread === 0 ? 0 : (membership?.mentions ?? 0) };
  }
}
