// Messages to send, without DOM or network.
//
// A message stays here until the server has acknowledged it or it has arrived in its room with its `clientId`. The
// `clientId` is chosen once, when the user presses Enter, so the server posts the message once, however often it is
// sent. The outbox is stored at every change, so a reload does not lose a message either.

/** Longest wait before a message is tried again, in milliseconds. */
const LONGEST_WAIT = 30_000;

/**
 * The server closes the connection on a packet over 64 KiB instead of answering; sending such a
 * message again after every reconnect would never end. Leaves room for the rest of the packet.
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
    /** In the order written. `state`: waiting, sending or failed. Treat as read-only. */
    this.entries = (storage.load() ?? []).map((entry) =>
      // Whether a message arrived that was in flight at a reload is unknown; sending it again is harmless.
      entry.state === 'failed' ? entry : { ...entry, state: 'waiting', attempts: 0 },
    );
  }

  /** Puts a message at the end. */
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
   * The next message of a room to send. One at a time and in order: a later one must not overtake
   * an earlier one that has to be tried again. A failed one blocks nothing, its user decides.
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

  /** The server has it: by acknowledgement, or because it came back in the room. */
  settle(clientId) {
    const entry = this.get(clientId);
    if (!entry) return undefined;
    this.entries = this.entries.filter((other) => other !== entry);
    this.#save();
    return entry;
  }

  /**
   * The server has refused it, or no answer came (`error` undefined).
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

  /** The user asks for another try of a failed message. */
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

/** What `send-message` takes. */
export function payload({ roomId, content, metadata, clientId }) {
  return { roomId, content, metadata, clientId };
}
