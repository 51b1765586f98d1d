// Messages to send, without DOM or network.
//
// A message stays here until the server has acknowledged it or it has arrived in its room with its `clientId`. The
// `clientId` is chosen once, when the user presses Enter, so the server posts the message once, however often it is
// sent. The outbox is stored at every change, so a reload does not lose a message either.

/** Longest wait before a message is sent again, in milliseconds. */
const LONGEST_WAIT = 30_000;

/**
 * The server closes the connection after a packet over 64 KiB, so such a message would be sent again after every
 * reconnect, forever. This leaves room for the rest of the packet.
 */
export const LARGEST_PACKET_BYTES = 60 * 1024;

export class Outbox {
  /**
   * @param {{load(): object[] | undefined, save(entries: object[]): void}} storage
   * @param {() => string} newId
   */
  constructor(storage, newId) {
    this.storage = storage;
    this.newId = newId;
    /**
     * The messages, in the order in which they were written. `state`: waiting, sending or failed. Treat as read-only.
     */
    this.entries = (storage.load() ?? []).map((entry) =>
      // Whether a message arrived that was in flight at a reload is unknown; sending it again is harmless.
      entry.state === 'failed' ? entry : { ...entry, state: 'waiting', attempts: 0 },
    );
  }

  /** Appends a message. */
  add(roomId, content, now) {
    const clientId = this.newId();
    const entry = {
      clientId,
      roomId,
      content,
      writtenAt: now,
      state: 'waiting',
      attempts: 0,
    };
    const bytes = new TextEncoder().encode(JSON.stringify(payload(entry))).length;
    if (bytes > LARGEST_PACKET_BYTES) {
      entry.state = 'failed';
      entry.error = { code: 'too-large', message: 'This message is too long to be sent at all.', retryable: false };
    }
    this.entries.push(entry);
    this.#save();
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
    const first = this.of(roomId).find((entry) => entry.state !== 'failed');
    return first?.state === 'waiting' ? first : undefined;
  }

  sending(entry) {
    entry.state = 'sending';
    entry.attempts += 1;
    delete entry.error;
    this.#save();
  }

  /** Removes a message that the server has (it was acknowledged, or has arrived in the room), or that the user gives up. */
  remove(clientId) {
    const entry = this.get(clientId);
    if (!entry) return undefined;
    this.entries = this.entries.filter((other) => other !== entry);
    this.#save();
    return entry;
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
    this.#save();
    return entry.state === 'failed' ? undefined : Math.min(LONGEST_WAIT, 500 * 2 ** Math.min(entry.attempts, 10));
  }

  /** The user wants to send a failed message again. */
  retry(clientId) {
    const entry = this.get(clientId);
    if (entry?.state !== 'failed') return;
    entry.state = 'waiting';
    entry.attempts = 0;
    this.#save();
  }

  #save() {
    this.storage.save(this.entries);
  }
}

/** The argument of `send-message`. */
export function payload({ roomId, content, metadata, clientId }) {
  return { roomId, content, metadata, clientId };
}
