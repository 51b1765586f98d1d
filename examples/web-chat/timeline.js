// The rows of the list of messages, as plain data with stable keys: messages, days, gaps and outgoing messages.

/** Messages of one sender that are closer together than this, in milliseconds, share one heading. */
const SAME_BREATH = 5 * 60_000;

/** @returns {Array<{key: string, kind: "day" | "gap" | "message" | "outgoing"}>} in the order shown */
export function timeline({ room, outgoing, people, me }) {
  const rows = [];
  let previous;
  let lastOwn;
  for (const message of room.messages) {
    const gap = previous !== undefined && message.seq - previous.seq > 1;
    if (gap) rows.push({ key: `gap-${previous.seq}`, kind: 'gap', lost: room.unfillableGaps.has(message.seq) });
    const newDay = dayOf(message.sentAt) !== dayOf(previous?.sentAt);
    if (newDay) rows.push({ key: `day-${message.seq}`, kind: 'day', at: message.sentAt });
    const own = message.userId === me;
    const row = {
      key: `message-${message.seq}`,
      kind: 'message',
      seq: message.seq,
      id: message.id,
      userId: message.userId,
      // Messages from before the server stored names have the user id there.
      name: message.username === message.userId ? people.name(message.userId) : message.username,
      text: asText(message.content),
      edited: message.editedAt !== undefined,
      deleted: message.deletedAt !== undefined,
      marks: (message.marks ?? []).filter(({ kind }) => kind === 'reaction').map(({ value, count, userIds }) => ({
        value,
        count,
        mine: userIds.includes(me),
        names: userIds.map((id) => people.name(id)),
      })),
      at: message.sentAt,
      own,
      heads: gap || newDay || !continues(previous, message),
      readers: own ? people.readersOf(room.id, message.seq, me).map((id) => people.name(id)) : [],
      lastOwn: false,
    };
    if (own) lastOwn = row;
    rows.push(row);
    previous = message;
  }
  if (lastOwn) lastOwn.lastOwn = true;
  for (const entry of outgoing) {
    rows.push({
      key: `outgoing-${entry.clientId}`,
      kind: 'outgoing',
      clientId: entry.clientId,
      text: asText(entry.content),
      at: entry.writtenAt,
      state: entry.state,
      error: entry.error,
    });
  }
  return rows;
}

function continues(previous, message) {
  return previous?.userId === message.userId && message.sentAt - previous.sentAt < SAME_BREATH;
}

/** A tenant's handler may deliver any JSON as content. */
function asText(content) {
  return typeof content === 'string' ? content : (JSON.stringify(content) ?? '');
}

function dayOf(time) {
  return Number.isFinite(time) ? new Date(time).toDateString() : '';
}
