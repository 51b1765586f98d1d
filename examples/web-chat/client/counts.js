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
    const stored = (key) => new Map(Array.isArray(storage.get(key)) ? storage.get(key) : []);
    /** By room, the newest `seq` that this user has seen. */
    this.seen = stored('seen');
    /** By room, the newest `seq` when it was first joined: what was before is not unread for those who are not members. */
    this.begun = stored('begun');
  }

  /** Notes where a room began, for this user. */
  begins(roomId, lastSeq) {
    if (this.begun.has(roomId)) return;
    this.begun.set(roomId, lastSeq);
    this.#store();
  }

  /** Takes the pages of an answer to `unread`. */
  took(rooms) {
    this.memberships = new Map(rooms.map((room) => [room.roomId, room]));
  }

  /** Takes `unread-changed`. */
  changed(counts) {
    this.memberships ??= new Map();
    this.memberships.set(counts.roomId, { role: 'member', ...this.memberships.get(counts.roomId), ...counts });
  }

  /** Takes `member-added`. */
  memberAdded(me, { roomId, userId, role }) {
    if (userId === me && this.memberships && !this.memberships.has(roomId)) {
      this.memberships.set(roomId, { roomId, role, lastSeq: 0, readUpTo: 0, unread: 0, mentions: 0 });
    }
    const members = this.members.get(roomId)?.filter((member) => member.userId !== userId);
    if (members) this.members.set(roomId, [...members, { userId, role, readUpTo: 0 }]);
  }

  /** Takes `member-removed`. */
  memberRemoved(me, { roomId, userId }) {
    if (userId === me) this.memberships?.delete(roomId);
    const members = this.members.get(roomId)?.filter((member) => member.userId !== userId);
    if (members) this.members.set(roomId, members);
  }

  /** Notes that the user has seen a room up to `seq`. @returns {boolean} whether that is news */
  saw(roomId, seq) {
    if (seq <= this.readUpTo(roomId)) return false;
    this.seen.set(roomId, seq);
    this.#store();
    return true;
  }

  /** The user has left the room, or the server's data was replaced. */
  forget(roomId) {
    for (const map of [this.members, this.seen, this.begun]) map.delete(roomId);
    this.#store();
  }

  #store() {
    this.storage.set('seen', [...this.seen]);
    this.storage.set('begun', [...this.begun]);
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
    const newest = Math.max(lastSeq ?? 0, membership?.lastSeq ?? 0);
    const isServers = membership && newest === membership.lastSeq && readUpTo === membership.readUpTo;
    const unread = isServers ? membership.unread : Math.max(0, newest - readUpTo);
    return { readUpTo, unread, mentions: unread === 0 ? 0 : (membership?.mentions ?? 0) };
  }
}
