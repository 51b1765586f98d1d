// Waits for a condition, never for a fixed time.

/** Timeout of every wait, in milliseconds. */
export const TIMEOUT_MS = 30_000;

/**
 * The promise's value, or an error that says what was awaited.
 * @param {string | (() => string)} what
 */
export async function within(promise, what, ms = TIMEOUT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const text = typeof what === 'function' ? what() : what;
      reject(new Error(`waited ${ms} ms in vain for ${text}`));
    }, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Polls `probe` until it returns something truthy, and returns that. For states without notification.
 * @param {string | (() => string)} what
 */
export async function eventually(probe, what, ms = TIMEOUT_MS) {
  const end = performance.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain for ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Conditions that are checked again whenever `changed` is called. */
export class Conditions {
  #waiting = new Set();

  changed() {
    for (const look of this.#waiting) look();
  }

  /** Waits for the first truthy value of `probe`. */
  until(probe, what, ms = TIMEOUT_MS) {
    let look;
    const met = new Promise((resolve, reject) => {
      look = () => {
        try {
          const value = probe();
          if (value) resolve(value);
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.add(look);
      look();
    });
    return within(met, what, ms).finally(() => this.#waiting.delete(look));
  }
}
