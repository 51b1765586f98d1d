// Messages in memory: they are lost when the process ends.

import { randomUUID } from "node:crypto";

/** Returns an empty store. `sqlite.mjs` has the same functions. */
export function open() {
  /** The messages of each room, oldest first; `seq` is the index plus one. */
  const rooms = new Map();
  /** The room of each message id. */
  const roomOf = new Map();

  return {
    lastSeq: (roomId) => rooms.get(roomId)?.length ?? 0,

    /** At most `limit` messages with `after < seq < before`, the newest ones, oldest first. */
    page(roomId, after, before, limit) {
      const messages = rooms.get(roomId) ?? [];
      const end = Math.min(messages.length, before - 1);
      return messages.slice(Math.max(after, end - limit), end);
    },

    /** Calls `done(undefined, message, true)` with the stored message. */
    append({ roomId, userId, content, metadata }, done) {
      if (!rooms.has(roomId)) rooms.set(roomId, []);
      const messages = rooms.get(roomId);
      const sentAt = new Date().toISOString();
      const message = { id: randomUUID(), seq: messages.length + 1, roomId, userId, content, metadata, sentAt };
      messages.push(message);
      roomOf.set(message.id, roomId);
      done(undefined, message, true);
    },

    roomOf: (messageId) => roomOf.get(messageId),

    /** Calls `done(undefined, readAt, true)`. Nothing is kept. */
    markRead(_messageId, _userId, done) {
      done(undefined, new Date().toISOString(), true);
    },

    close() {},
  };
}
