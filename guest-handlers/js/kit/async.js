// What the builder's output calls for async functions, async generators and `for await`.
import { KitPromise } from 'parlance-handlers/promise.js';

/** Calls `step`, and awaits each promise that the generator yields. */
function advance(generator, method, argument, resolve, reject) {
  let result;
  try {
    result = generator[method](argument);
  } catch (error) {
    reject(error);
    return;
  }
  if (result.done) {
    resolve(result.value);
    return;
  }
  KitPromise.resolve(result.value).then(
    (value) => advance(generator, 'next', value, resolve, reject),
    (error) => advance(generator, 'throw', error, resolve, reject),
  );
}

/** An async function whose body is a generator function in which `yield` stands for `await`. */
function asyncToGenerator(body) {
  return function (...args) {
    return new KitPromise((resolve, reject) => advance(body.apply(this, args), 'next', undefined, resolve, reject));
  };
}

/** What an async generator yields without its consumer seeing it: a value to await. */
class Awaited {
  constructor(value) {
    this.value = value;
  }
}

/** Likewise a step of `yield*`: the promise of the inner iterator's result, and the method that asked for it. */
class Delegated {
  constructor(value, method) {
    this.value = value;
    this.method = method;
  }
}

/** The end of the inner iterator of `yield*`, which goes back to it. */
class End {
  constructor(read) {
    this.read = read;
  }
}

const awaitAsyncGenerator = (value) => new Awaited(value);

/** `yield*` of an async generator: each step of the inner iterator is awaited, then yielded. */
function asyncGeneratorDelegate(inner) {
  const step = (method, fallback) => (argument) => {
    if (argument instanceof End) return { done: true, value: argument.read() };
    if (!inner[method]) return fallback(argument);
    return { done: false, value: new Delegated(new KitPromise((resolve) => resolve(inner[method](argument))), method) };
  };
  return {
    [Symbol.iterator]() {
      return this;
    },
    next: step('next'),
    return: step('return', (value) => ({ done: true, value })),
    throw: step('throw', (error) => {
      throw error;
    }),
  };
}

class AsyncGenerator {
  #generator;
  #requests = [];

  constructor(generator) {
    this.#generator = generator;
  }

  #request(method, argument) {
    return new KitPromise((resolve, reject) => {
      this.#requests.push({ method, argument, resolve, reject });
      if (this.#requests.length === 1) this.#advance(method, argument);
    });
  }

  #advance(method, argument) {
    let result;
    try {
      result = this.#generator[method](argument);
    } catch (error) {
      this.#settle((request) => request.reject(error));
      return;
    }
    const yielded = result.value;
    if (yielded instanceof Delegated) {
      const end = yielded.method === 'return' ? 'return' : 'next';
      yielded.value.then(
        (inner) => {
          if (inner.done) this.#advance(end, new End(() => inner.value));
          else this.#settle((request) => request.resolve({ done: false, value: inner.value }));
        },
        (error) =>
          this.#advance(
            'next',
            new End(() => {
              throw error;
            }),
          ),
      );
      return;
    }
    KitPromise.resolve(yielded instanceof Awaited ? yielded.value : yielded).then(
      (value) => {
        if (yielded instanceof Awaited) this.#advance('next', value);
        else this.#settle((request) => request.resolve({ done: result.done, value }));
      },
      (error) => this.#advance('throw', error),
    );
  }

  #settle(answer) {
    answer(this.#requests.shift());
    const [next] = this.#requests;
    if (next) this.#advance(next.method, next.argument);
  }

  next(value) {
    return this.#request('next', value);
  }

  throw(error) {
    return this.#request('throw', error);
  }

  return(value) {
    return this.#request('return', value);
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

const wrapAsyncGenerator = (body) =>
  function (...args) {
    return new AsyncGenerator(body.apply(this, args));
  };

/** The async iterator of `for await`: that of the iterable, or its iterator with each value awaited. */
function asyncIterator(iterable) {
  const method = iterable[Symbol.asyncIterator];
  if (method) return method.call(iterable);
  const iterator = iterable[Symbol.iterator]();
  const awaited = (result) => KitPromise.resolve(result.value).then((value) => ({ done: result.done, value }));
  return {
    next: () => KitPromise.try(() => awaited(iterator.next())),
    return: (value) => KitPromise.try(() => (iterator.return ? awaited(iterator.return(value)) : { done: true, value })),
  };
}

globalThis.babelHelpers = Object.freeze({
  asyncGeneratorDelegate,
  asyncIterator,
  asyncToGenerator,
  awaitAsyncGenerator,
  wrapAsyncGenerator,
});
