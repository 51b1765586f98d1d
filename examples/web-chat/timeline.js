// The rows of the list of messages, as plain data with stable keys: messages, days, gaps and outgoing messages.

import { readersOf } from './client/index.js';
import { richText } from './rich-text.js';

/** Messages of one sender that are closer together than this, in milliseconds, share one heading. */
const SAME_BREATH = 5 * 60_000;

/**
 * @param {object} view
 * @param {import('./client/index.d.ts').RoomSnapshot} view.room
 * @param {string} view.me the reader's user id
 * @param {(userId: string) => string} view.nameOf
 * @param {{userId: string, name: string}[]} view.people who can be mentioned
 * @returns {Array<{key: string, kind: "day" | "gap" | "message" | "outgoing"}>} in the order shown
 */
export function timeline({ room, me, nameOf, people }) {
  const rows = [];
  const lost = new Set(room.gaps.filter((gap) => gap.lost).map(({ before }) => before));
  let previous;
  let lastOwn;
  for (const message of room.messages) {
    const gap = previous !== undefined && message.seq - previous.seq > 1;
    if (gap) rows.push({ key: `gap-${previous.seq}`, kind: 'gap', lost: lost.has(message.seq) });
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
      name: message.username === message.userId ? nameOf(message.userId) : message.username,
      text: asText(message.content),
      parts: richText(asText(message.content), people, me),
      edited: message.editedAt !== undefined,
      deleted: message.deletedAt !== undefined,
      marks: message.marks.filter(({ kind }) => kind === 'reaction').map(({ value, count, userIds }) => ({
        value,
        count,
        mine: userIds.includes(me),
        names: userIds.map(nameOf),
      })),
      at: message.sentAt,
      own,
      heads: gap || newDay || !continues(previous, message),
      readers: own ? readersOf(room, message).map(nameOf) : [],
      lastOwn: false,
    };
    if (own) lastOwn = row;
    rows.push(row);
    previous = message;
  }
  if (lastOwn) lastOwn.lastOwn = true;
  for (const entry of room.outgoing) {
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
