// Messages in SQLite, with the promise that Parlance makes: a message is on disk before anyone hears of it, and a
// repetition with the same `clientId` stores nothing new.
//
// Commits are grouped, since each waits for the disk: all writes of one turn of the event loop share a transaction.

import { randomUUID } from "node:crypto";
import Database from "better-sqlite3";

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS messages (
    roomId TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE,
    userId TEXT NOT NULL,
    content TEXT NOT NULL,
    metadata TEXT,
    sentAt TEXT NOT NULL,
    clientId TEXT,
    PRIMARY KEY (roomId, seq)
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX IF NOT EXISTS byClientId ON messages (userId, clientId) WHERE clientId IS NOT NULL;
  CREATE TABLE IF NOT EXISTS receipts (
    messageId TEXT NOT NULL,
    userId TEXT NOT NULL,
    readAt TEXT NOT NULL,
    PRIMARY KEY (messageId, userId)
  ) WITHOUT ROWID;
`;
const COLUMNS = "id, seq, roomId, userId, content, metadata, sentAt, clientId";

/** A row without its NULLs, and with its metadata as the client sent it. */
const toMessage = ({ metadata, clientId, ...row }) => ({
  ...row,
  metadata: metadata === null ? undefined : JSON.parse(metadata),
  clientId: clientId ?? undefined,
});

/** Opens the store in a file. `memory.mjs` has the same functions. */
export function open(file) {
  const database = new Database(file);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.exec(SCHEMA);

  const insert = database.prepare(
    `INSERT INTO messages (${COLUMNS}) VALUES (@id, @seq, @roomId, @userId, @content, @metadata, @sentAt, @clientId)`,
  );
  const sent = database.prepare(`SELECT ${COLUMNS} FROM messages WHERE userId = ? AND clientId = ?`);
  const newest = database.prepare("SELECT max(seq) FROM messages WHERE roomId = ?").pluck();
  const between = database.prepare(
    `SELECT ${COLUMNS} FROM messages WHERE roomId = ? AND seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?`,
  );
  const holding = database.prepare("SELECT roomId FROM messages WHERE id = ?").pluck();
  const note = database.prepare("INSERT OR IGNORE INTO receipts (messageId, userId, readAt) VALUES (?, ?, ?)");
  const noted = database.prepare("SELECT readAt FROM receipts WHERE messageId = ? AND userId = ?").pluck();

  /** Writes of this turn, in order: `{write(), done(error, result, isNew)}`. `write` returns `[result, isNew]`. */
  let waiting = [];

  const writeAll = database.transaction((batch) => batch.map(({ write }) => write()));

  /** Commits what waits, then reports each result in order. */
  function commit() {
    const batch = waiting;
    waiting = [];
    let results;
    try {
      results = writeAll(batch);
    } catch (error) {
      for (const { done } of batch) done(error);
      return;
    }
    for (const [index, { done }] of batch.entries()) done(undefined, ...results[index]);
  }

  function enqueue(write, done) {
    // After all sockets that are readable in this turn.
    if (waiting.length === 0) setImmediate(commit);
    waiting.push({ write, done });
  }

  const lastSeq = (roomId) => newest.get(roomId) ?? 0;

  return {
    lastSeq,

    /** At most `limit` messages with `after < seq < before`, the newest ones, oldest first. */
    page: (roomId, after, before, limit) =>
      between
        .all(roomId, after, before === Infinity ? Number.MAX_SAFE_INTEGER : before, limit)
        .reverse()
        .map(toMessage),

    /**
     * Stores a message. Calls `done(error)` if the commit failed, else `done(undefined, message, isNew)`, where a
     * repeated `clientId` gives the first message.
     */
    append({ roomId, userId, content, metadata, clientId }, done) {
      const write = () => {
        const first = clientId === undefined ? undefined : sent.get(userId, clientId);
        if (first) return [toMessage(first), false];
        const [id, seq, sentAt] = [randomUUID(), lastSeq(roomId) + 1, new Date().toISOString()];
        const message = { id, seq, roomId, userId, content, metadata, sentAt, clientId };
        const kept = metadata === undefined ? null : JSON.stringify(metadata);
        insert.run({ ...message, metadata: kept, clientId: clientId ?? null });
        return [message, true];
      };
      enqueue(write, done);
    },

    roomOf: (messageId) => holding.get(messageId),

    /** Stores a receipt. Calls `done(error)`, or `done(undefined, readAt, isNew)` with the time of the first one. */
    markRead(messageId, userId, done) {
      const write = () => {
        const readAt = new Date().toISOString();
        if (note.run(messageId, userId, readAt).changes > 0) return [readAt, true];
        return [noted.get(messageId, userId), false];
      };
      enqueue(write, done);
    },

    close() {
      commit();
      database.close();
    },
  };
}
