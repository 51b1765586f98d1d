// What user interfaces are given: frozen objects, which are made anew when something in them has changed.

/** @returns {import('./index.d.ts').RoomSnapshot} */
export function roomSnapshot(room, { outbox, people, counts, loadingOlder, now }) {
  const members = counts.members.get(room.id);
  const gaps = room.gaps();
  return Object.freeze({
    id: room.id,
    state: room.state,
    error: room.error,
    retryAt: room.retryAt,
    messages: Object.freeze(room.messages),
    gaps: frozenList(gaps),
    outgoing: frozenList(outbox.of(room.id)),
    lastSeq: room.lastSeq ?? 0,
    atStart: room.atStart && gaps[0]?.after !== 0,
    canLoadOlder: room.state === 'joined' && room.error === null && !room.atStart,
    loadingOlder,
    ...counts.unread(room.id, room.lastSeq),
    typing: Object.freeze(people.typingIn(room.id, now)),
    reads: frozenList(people.readsIn(room.id)),
    members: members ? frozenList(members) : null,
  });
}

/** @returns {import('./index.d.ts').ClientSnapshot} */
export function clientSnapshot({ state, error, userId, rooms, people, outbox, counts }) {
  const memberships = counts.memberships && [...counts.memberships.values()];
  return Object.freeze({
    state,
    error,
    userId,
    rooms: Object.freeze(rooms),
    people: frozenList(people.here()),
    waiting: outbox.entries.filter((entry) => entry.state === 'waiting' || entry.state === 'sending').length,
    memberships: memberships ? frozenList(memberships) : null,
  });
}

function frozenList(list) {
  return Object.freeze(list.map((each) => Object.freeze({ ...each })));
}

/**
 * Users who have read a message of the room, its sender left out. A lasting member has read nothing from before the
 * membership, although the unread messages are counted from there on.
 * @param {import('./index.d.ts').RoomSnapshot} room
 * @param {{seq: number, userId: string, sentAt: number}} message
 * @returns {string[]} user ids
 */
export function readersOf(room, { seq, userId, sentAt }) {
  const readers = room.reads.filter((read) => read.seq >= seq && read.userId !== userId).map((read) => read.userId);
  if (readers.length === 0 || !room.members) return readers;
  const later = new Set(room.members.filter(({ joinedAt }) => joinedAt > sentAt).map((member) => member.userId));
  return readers.filter((reader) => !later.has(reader));
}
