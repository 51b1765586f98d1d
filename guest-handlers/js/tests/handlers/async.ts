// Async handlers, and the mistakes that one makes with them.
import { Denied, kv, type OnEvent, type OnMessage, messages } from 'parlance-handlers';

async function check(word: string): Promise<string> {
  await null;
  if (word === 'bad') throw new Denied('no bad words');
  return word;
}

async function* numbers(): AsyncGenerator<number> {
  yield 1;
  yield* (async function* () {
    yield await Promise.resolve(2);
  })();
}

class Counter {
  #count = 0;
  async add(): Promise<number> {
    const add = async (): Promise<number> => (this.#count += 1);
    return await add();
  }
}

const ready = await Promise.resolve('ready');

const events: Record<string, (context: never) => unknown> = {
  async awaits() {
    const counter = new Counter();
    const found: unknown[] = [ready, await check('good'), await counter.add(), await counter.add()];
    for await (const number of numbers()) found.push(number);
    for await (const number of [Promise.resolve(3)]) found.push(number);
    found.push(await Promise.all([1, check('all')]), await Promise.race([new Promise(() => {}), check('race')]));
    try {
      await check('bad');
    } catch (error) {
      found.push((error as Denied).code);
    } finally {
      found.push('finally');
    }
    return found;
  },
  async order() {
    const order: string[] = [];
    queueMicrotask(() => order.push('microtask'));
    Promise.resolve().then(() => order.push('then'));
    order.push('sync');
    await null;
    order.push('awaited');
    return order;
  },
  async rejects() {
    await check('bad');
  },
  async throws() {
    await null;
    const nothing = undefined as unknown as { property: string };
    return nothing.property;
  },
  forgottenAwait() {
    check('bad');
    kv.set('done', 'x');
  },
  forgottenAwaitOfTheReply() {
    return { word: check('good') };
  },
  neverSettles() {
    return new Promise(() => {});
  },
  async runsToTheEnd() {
    kv.set('first', 'x');
    void check('good').then(() => kv.set('second', 'x'));
  },
};

export const onEvent: OnEvent = (context, name) => events[name]!(context as never) as never;

export const onMessage: OnMessage = async (_, message) => {
  await check(message.content);
  messages.post(message);
};
