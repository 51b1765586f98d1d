// The rooms in which the user is a lasting member, with their unread counts, and the lasting members of open rooms.
//
// Rooms without lasting members, and servers that do not answer `unread`, are counted here: from the newest message to
// the newest one that this user has seen, which the storage keeps.
//
// Each `seq` is stored with the `epoch` of the server's data that it belongs to. Once those data were replaced, as by a
// restored backup, the room gives the same `seq` to other messages, so what was stored is forgotten.

import { StoredByRoom } from './storage.js';

export class Counts {
  /** @param {{get(key: string): unknown, set(key: string, value: unknown): void}} storage */
  constructor(storage) {
    /** By room; undefined while the server has not answered `unread`, or does not know it. */
    this.memberships = undefined;
    /** The members of each room that the server has named. */
    this.members = new Map();
    /** By room, the newest `seq` that this user has seen, and its epoch. */
    this.seen = new StoredByRoom(storage, 'seen');
    /**
     * By room, the newest `seq` when it was first joined, and its epoch: what was before is not unread for those who are
     * not members.
     */
    this.begun = new StoredByRoom(storage, 'begun');
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

  /** The user is not a member of the room any more. */
  membershipEnded(roomId) {
    this.memberships?.delete(roomId);
  }

  /** Takes `member-removed`. */
  memberRemoved({ roomId, userId }) {
    const members = this.members.get(roomId);
    if (members) this.members.set(roomId, members.filter((member) => member.userId !== userId));
  }

  /** Notes where a room began, for this user. */
  begins(roomId, lastSeq, epoch) {
    const [seq = lastSeq, storedEpoch] = this.begun.get(roomId) ?? [];
    // Releases before this one have stored no epoch.
    if (!storedEpoch) this.begun.set(roomId, [seq, epoch]);
  }

  /**
   * Notes that the user has seen a room up to `seq`.
   * @param {string | undefined} epoch undefined while the room is not joined
   * @returns {boolean} whether that is news
   */
  saw(roomId, seq, epoch) {
    if (seq <= this.readUpTo(roomId)) return false;
    this.seen.set(roomId, [seq, epoch]);
    return true;
  }

  /**
   * Whether what is stored of a room belongs to other data than the room has now, as after a restart of the page, if the
   * server's data were replaced meanwhile.
   * @param {{id: string, epoch?: string, lastSeq?: number}} room
   */
  isOutdated({ id, epoch, lastSeq }) {
    // Before the join is answered, nothing is known of the room's data.
    if (epoch === undefined) return false;
    const stored = [this.seen.get(id), this.begun.get(id)].filter((entry) => entry !== undefined);
    return stored.some(([seq, storedEpoch]) => (storedEpoch ?? epoch) !== epoch || seq > lastSeq);
  }

  /** The user has left the room, or the server's data was replaced. */
  forget(roomId) {
    for (const known of [this.members, this.seen, this.begun]) known.delete(roomId);
  }

  /** The newest message that the user has seen, on any device as far as the server says. */
  readUpTo(roomId) {
    const [begun = 0] = this.begun.get(roomId) ?? [];
    const [seen = 0] = this.seen.get(roomId) ?? [];
    return Math.max(this.memberships?.get(roomId)?.readUpTo ?? begun, seen);
  }

  /**
   * What the user has not read of a room.
   * @param {number | undefined} lastSeq the newest message that is known here
   */
  unread(roomId, lastSeq) {
    const membership = this.memberships?.get(roomId);
    if (!membership && !this.begun.get(roomId)) return { readUpTo: 0, unread: 0, mentions: 0 };
    const readUpTo = this.readUpTo(roomId);
    const unread = Math.max(0, Math.max(lastSeq ?? 0, membership?.lastSeq ?? 0) - readUpTo);
    return { readUpTo, unread, mentions: unread === 0 ? 0 : (membership?.mentions ?? 0) };
  }
}
