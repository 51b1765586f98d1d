// Small tools: listeners, and tasks of which one runs at a time.

/** Functions to call when something happens, by its name. */
export class Listeners {
  #byName = new Map();
  #isNotifying = false;

  /** @returns {() => void} ends it */
  on(name, listener) {
    const listeners = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, listeners);
    // A function of its own, so that the same listener can be added twice.
    const own = (...args) => listener(...args);
    listeners.add(own);
    return () => listeners.delete(own);
  }

  emit(name, ...args) {
    for (const listener of [...(this.#byName.get(name) ?? [])]) {
      try {
        listener(...args);
      } catch (error) {
        // The client goes on, and the listener's mistake is reported as any uncaught one.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Calls the listeners of `change` once for all changes of this moment. */
  changed() {
    if (this.#isNotifying) return;
    this.#isNotifying = true;
    queueMicrotask(() => {
      this.#isNotifying = false;
      this.emit('change');
    });
  }
}

/** Tasks by name, each once at a time. */
export class Tasks {
  #running = new Set();

  isRunning(name) {
    return this.#running.has(name);
  }

  /** Runs `task` unless one with this name is running. @returns {Promise<boolean>} whether it has run */
  async once(name, task) {
    if (this.#running.has(name)) return false;
    this.#running.add(name);
    try {
      await task();
    } finally {
      this.#running.delete(name);
    }
    return true;
  }

  /**
   * Runs `step` as long as `isDue()`, unless it is running under this name. A call after the last `isDue()` runs anew, so
   * nothing that gets due is missed.
   */
  async repeat(name, isDue, step) {
    if (this.#running.has(name)) return;
    this.#running.add(name);
    try {
      while (isDue()) await step();
    } finally {
      this.#running.delete(name);
    }
  }
}
