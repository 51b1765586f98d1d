// Promises whose jobs the kit itself runs. QuickJS's own queue of jobs runs only while the component is built: the
// runtime has no call that runs it during an event. The builder turns async functions into generators that use these.
import { isBuilding } from 'parlance-handlers/phase.js';

const NativePromise = globalThis.Promise;

let jobs = [];
let drainIsScheduled = false;
/** Rejected promises that nobody has handled yet. */
const unhandled = new Set();

/** Adds a job, which runs after the code that runs now. */
export function enqueue(job) {
  jobs.push(job);
  // Only while the component is built does the engine run this.
  if (isBuilding() && !drainIsScheduled) {
    drainIsScheduled = true;
    NativePromise.resolve().then(() => {
      drainIsScheduled = false;
      drain();
    });
  }
}

/** Runs all jobs, and those that they add. */
export function drain() {
  while (jobs.length > 0) {
    const batch = jobs;
    jobs = [];
    for (const job of batch) job();
  }
}

/** Drops what an event has left behind, so that a warm instance's next event does not inherit it. */
export function reset() {
  if (jobs.length > 0) jobs = [];
  if (unhandled.size > 0) unhandled.clear();
}

/** The reason of a rejected promise that nobody handles, in a one-element array; otherwise nothing. */
export function firstUnhandled() {
  if (unhandled.size === 0) return undefined;
  const [promise] = unhandled;
  return [reasonOf(promise)];
}

let reasonOf;

export class KitPromise {
  #state = 'pending';
  #value;
  #reactions = [];

  static {
    reasonOf = (promise) => promise.#value;
  }

  constructor(executor) {
    if (typeof executor !== 'function') throw new TypeError('new Promise() takes a function');
    const { resolve, reject } = this.#resolvers();
    try {
      executor(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  /** The two functions that settle this promise: only the first call counts. */
  #resolvers() {
    let isResolved = false;
    const once = (action) => (value) => {
      if (isResolved) return;
      isResolved = true;
      action(value);
    };
    return { resolve: once((value) => this.#resolve(value)), reject: once((reason) => this.#settle('rejected', reason)) };
  }

  #resolve(value) {
    if (value === this) {
      this.#settle('rejected', new TypeError('a promise cannot be resolved with itself'));
      return;
    }
    let then;
    try {
      then = value !== null && (typeof value === 'object' || typeof value === 'function') ? value.then : undefined;
    } catch (error) {
      this.#settle('rejected', error);
      return;
    }
    if (typeof then !== 'function') {
      this.#settle('fulfilled', value);
      return;
    }
    enqueue(() => {
      const { resolve, reject } = this.#resolvers();
      try {
        then.call(value, resolve, reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  #settle(state, value) {
    const reactions = this.#reactions;
    this.#state = state;
    this.#value = value;
    this.#reactions = undefined;
    if (state === 'rejected' && reactions.length === 0) unhandled.add(this);
    for (const reaction of reactions) enqueue(() => reaction(state, value));
  }

  // biome-ignore lint/suspicious/noThenProperty: a promise has it
  then(onFulfilled, onRejected) {
    return new KitPromise((resolve, reject) => {
      const reaction = (state, value) => {
        const callback = state === 'fulfilled' ? onFulfilled : onRejected;
        if (typeof callback !== 'function') {
          (state === 'fulfilled' ? resolve : reject)(value);
          return;
        }
        try {
          resolve(callback(value));
        } catch (error) {
          reject(error);
        }
      };
      if (this.#state === 'pending') {
        this.#reactions.push(reaction);
      } else {
        unhandled.delete(this);
        enqueue(() => reaction(this.#state, this.#value));
      }
    });
  }

  catch(onRejected) {
    return this.then(undefined, onRejected);
  }

  finally(callback) {
    if (typeof callback !== 'function') return this.then(callback, callback);
    return this.then(
      (value) => KitPromise.resolve(callback()).then(() => value),
      (reason) =>
        KitPromise.resolve(callback()).then(() => {
          throw reason;
        }),
    );
  }

  /** Without this a promise that somebody forgot to await would be sent as `{}`. */
  toJSON() {
    throw new TypeError('a Promise cannot be sent: `await` it first');
  }

  get [Symbol.toStringTag]() {
    return 'Promise';
  }

  static resolve(value) {
    return value instanceof KitPromise ? value : new KitPromise((resolve) => resolve(value));
  }

  static reject(reason) {
    return new KitPromise((_, reject) => reject(reason));
  }

  static withResolvers() {
    const result = {};
    result.promise = new KitPromise((resolve, reject) => Object.assign(result, { resolve, reject }));
    return result;
  }

  static try(callback, ...args) {
    return new KitPromise((resolve) => resolve(callback(...args)));
  }

  static race(promises) {
    return new KitPromise((resolve, reject) => {
      for (const promise of promises) KitPromise.resolve(promise).then(resolve, reject);
    });
  }

  static all(promises) {
    return collect(promises, (promise, index, { put, reject }) => promise.then((value) => put(index, value), reject));
  }

  static allSettled(promises) {
    return collect(promises, (promise, index, { put }) =>
      promise.then(
        (value) => put(index, { status: 'fulfilled', value }),
        (reason) => put(index, { status: 'rejected', reason }),
      ),
    );
  }

  static any(promises) {
    return collect(
      promises,
      (promise, index, { put, resolve }) => promise.then(resolve, (reason) => put(index, reason)),
      (errors) => KitPromise.reject(new AggregateError(errors, 'all promises were rejected')),
    );
  }
}

Object.defineProperty(KitPromise, 'name', { value: 'Promise' });

/** A promise of one value for each of `promises`, as `watch` puts them. */
function collect(promises, watch, finish = (values) => values) {
  return new KitPromise((resolve, reject) => {
    const values = [];
    let missing = 1;
    const arrived = () => {
      missing -= 1;
      if (missing === 0) resolve(finish(values));
    };
    const put = (index, value) => {
      values[index] = value;
      arrived();
    };
    let index = 0;
    for (const promise of promises) {
      missing += 1;
      watch(KitPromise.resolve(promise), index, { put, resolve, reject });
      index += 1;
    }
    arrived();
  });
}
