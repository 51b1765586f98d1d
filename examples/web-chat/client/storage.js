// Values that outlive the page. If the storage forbids or fails something, the client works on without it.

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
