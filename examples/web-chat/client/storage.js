// Values that outlive the page. If the storage forbids or fails something, the client works on without it.

/** Values by room, each a list, with a copy in the storage. */
export class StoredByRoom {
  #values;

  /**
   * @param {{get(key: string): unknown, set(key: string, value: unknown): void}} storage
   * @param {string} key
   * @param {number} [most] how many rooms are stored at most: those whose values have changed last
   */
  constructor(storage, key, most = Number.POSITIVE_INFINITY) {
    Object.assign(this, { storage, key, most });
    this.#values = this.#stored();
  }

  /** @returns {unknown[] | undefined} */
  get(roomId) {
    return this.#values.get(roomId);
  }

  set(roomId, value) {
    this.#values.set(roomId, value);
    this.#store(roomId, value);
  }

  delete(roomId) {
    this.#values.delete(roomId);
    this.#store(roomId, undefined);
  }

  /** Deletes the value, and what is stored only if it is this value: another tab may have stored a newer one. */
  deleteOwn(roomId) {
    const own = this.#values.get(roomId);
    this.#values.delete(roomId);
    const stored = this.#stored().get(roomId);
    if (JSON.stringify(stored) === JSON.stringify(own)) this.#store(roomId, undefined);
  }

  #stored() {
    const stored = this.storage.get(this.key);
    const entries = Array.isArray(stored) ? stored.filter((entry) => Array.isArray(entry)) : [];
    return new Map(entries.map(([roomId, ...value]) => [roomId, value]));
  }

  /** Stores the value of one room. Another tab may have stored what it knows of others. */
  #store(roomId, value) {
    const stored = this.#stored();
    stored.delete(roomId);
    if (value !== undefined) stored.set(roomId, value);
    this.storage.set(this.key, [...stored].slice(-this.most).map(([id, values]) => [id, ...values]));
  }
}

/**
 * Keeps JSON values in a storage such as `localStorage`.
 * @param {() => import('./index.d.ts').StorageLike | undefined} area called at each use, since a browser that forbids
 *   storage throws at the mere mention of it
 * @param {string} prefix of all keys
 */
export function jsonStorage(area, prefix) {
  return {
    get(key) {
      try {
        return JSON.parse(area()?.getItem(prefix + key) ?? 'null') ?? undefined;
      } catch {
        return undefined;
      }
    },
    set(key, value) {
      try {
        area()?.setItem(prefix + key, JSON.stringify(value));
      } catch {
        // The value stays in memory only.
      }
    },
  };
}
