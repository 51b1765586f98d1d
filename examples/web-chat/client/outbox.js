// Messages to send, without network.
//
// A message stays here until the server has acknowledged it, or it has arrived in its room with its `clientId`. The
// `clientId` is chosen once, when the user sends the message, so the server posts it once, however often it is sent. Each
// change is stored, so a reload or a crash does not lose a message either.

/** Longest wait before a message is sent again, in milliseconds, unless the server asks for a longer one. */
const LONGEST_WAIT = 30_000;
const FIRST_WAIT = 500;

/**
 * The largest message that is sent, in bytes of JSON. The server refuses a packet over 64 KiB (`limits.packet`), and
 * closes the connection after a much larger one, which would then be sent again after every reconnect, forever.
 */
export const LARGEST_PACKET_BYTES = 60 * 1024;

export class Outbox {
  /**
   * @param {{get(key: string): unknown, set(key: string, value: unknown): void}} storage
   * @param {() => string} newId
   */
  constructor(storage, newId, largestPacket = LARGEST_PACKET_BYTES) {
    Object.assign(this, { storage, newId, largestPacket });
    /**
     * In the order in which they were written. `state`: waiting, sending, posted (acknowledged, but not yet in its room)
     * or failed. Treat as read-only.
     */
    this.entries = this.#stored().map((entry) =>
      // Whether a message that was in flight has arrived is unknown; sending it again is harmless.
      entry.state === 'failed' ? entry : this.#waiting({ ...entry }),
    );
  }

  /** Appends a message. */
  add(roomId, content, metadata, now) {
    const entry = this.#waiting({ clientId: this.newId(), roomId, content, metadata, writtenAt: now });
    this.entries.push(entry);
    this.#save(entry);
    return entry;
  }

  of(roomId) {
    return this.entries.filter((entry) => entry.roomId === roomId);
  }

  get(clientId) {
    return this.entries.find((entry) => entry.clientId === clientId);
  }

  /**
   * The next message of a room to send. Messages are sent one at a time and in order, so that none overtakes an earlier
   * one that must be sent again. A failed one blocks nothing: the user decides about it.
   */
  next(roomId) {
    const first = this.of(roomId).find(({ state }) => state === 'waiting' || state === 'sending');
    return first?.state === 'waiting' ? first : undefined;
  }

  sending(entry) {
    entry.state = 'sending';
    entry.attempts += 1;
    entry.error = undefined;
    this.#save(entry);
  }

  /** The server has the message, but the room does not show it yet: it does until then. */
  posted(entry, seq) {
    entry.state = 'posted';
    entry.seq = seq;
    this.#forget(entry.clientId);
  }

  /** Removes a message that is in its room, or that the user gives up. */
  remove(clientId) {
    const entry = this.get(clientId);
    if (!entry) return undefined;
    this.entries = this.entries.filter((other) => other !== entry);
    this.#forget(clientId);
    return entry;
  }

  /** Removes messages that the server has. @param {(entry: object) => boolean} which */
  removePosted(which) {
    this.entries = this.entries.filter((entry) => entry.state !== 'posted' || !which(entry));
  }

  /**
   * The server has refused the message, or did not answer (`error` undefined).
   * @returns {number | undefined} milliseconds to wait before the next try; undefined: not by itself
   */
  refused(clientId, error) {
    const entry = this.get(clientId);
    if (!entry) return undefined;
    entry.error = error;
    entry.state = error && !error.retryable ? 'failed' : 'waiting';
    this.#save(entry);
    return entry.state === 'failed' ? undefined : waitFor(error, entry.attempts);
  }

  /** The user wants to send a failed message again. */
  retry(clientId) {
    const entry = this.get(clientId);
    if (entry?.state !== 'failed') return;
    this.#save(this.#waiting(entry));
  }

  /** Has a message wait for its turn, or fail if no packet can hold it. */
  #waiting(entry) {
    Object.assign(entry, { state: 'waiting', attempts: 0 });
    const bytes = new TextEncoder().encode(JSON.stringify(payload(entry))).length;
    if (bytes > this.largestPacket) {
      entry.state = 'failed';
      entry.error = { code: 'too-large', message: 'This message is too long to be sent at all.', retryable: false };
    }
    return entry;
  }

  #stored() {
    const stored = this.storage.get('outbox');
    return Array.isArray(stored) ? stored.filter((entry) => typeof entry?.clientId === 'string') : [];
  }

  // Another tab may use the same storage: only this message is changed there.

  #save(entry) {
    const stored = this.#stored();
    const at = stored.findIndex(({ clientId }) => clientId === entry.clientId);
    if (at < 0) stored.push(entry);
    else stored[at] = entry;
    this.storage.set('outbox', stored);
  }

  #forget(clientId) {
    const stored = this.#stored();
    const left = stored.filter((entry) => entry.clientId !== clientId);
    if (left.length < stored.length) this.storage.set('outbox', left);
  }
}

/** The argument of `send-message`. */
export function payload({ roomId, content, metadata, clientId }) {
  return { roomId, content, metadata, clientId };
}

/**
 * How long to wait before the next try, in milliseconds: what the server says, or longer each time.
 * @param {{retryAfterMs?: number} | undefined} error
 * @param {number} attempts so far
 */
export function waitFor(error, attempts) {
  return Math.max(error?.retryAfterMs ?? 0, Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempts, 10)));
}
