// What authors know from browsers and Node.
import { kv } from 'parlance-handlers';

console.log('built');

const actions = {
  console() {
    const circle = { name: 'circle' };
    circle.self = circle;
    console.trace('trace');
    console.debug('debug', 1, true, null, undefined);
    console.log('log', { a: [1, 'two'], b: new Map([[1, new Set([2])]]), c: new Uint8Array([1]), d: () => 1 });
    console.info('two\nlines');
    console.warn(circle);
    console.error(new RangeError('too far', { cause: 'a cause' }));
  },
  time() {
    const date = new Date();
    return [Date.now(), date.getTime(), performance.now(), date instanceof Date, new Date(0).toISOString(), typeof Date(), new Date(2026, 0, 2).getDate(), Date.UTC(2026, 0), Date.name];
  },
  random() {
    const numbers = Array.from({ length: 100 }, () => Math.random());
    return { inRange: numbers.every((n) => n >= 0 && n < 1), different: new Set(numbers).size, first: numbers[0] };
  },
  crypto() {
    const bytes = crypto.getRandomValues(new Uint16Array(8));
    let error;
    try {
      crypto.getRandomValues(new Uint8Array(5000));
    } catch (caught) {
      error = caught.message;
    }
    return { uuid: crypto.randomUUID(), different: new Set(bytes).size, tooMany: error };
  },
  text() {
    const bytes = new TextEncoder().encode('grüße 😀');
    return { bytes: bytes.length, text: new TextDecoder().decode(bytes), wrong: new TextDecoder().decode(Uint8Array.of(0xff, 65)) };
  },
  url() {
    const url = new URL('../b?x=1#h', 'https://user@example.com:8080/a/c');
    url.searchParams.append('y', 'ä &');
    return { href: url.href, host: url.host, wrong: URL.canParse('nothing'), params: [...new URLSearchParams('a=1&a=2')] };
  },
  clone() {
    const value = { date: new Date(5), map: new Map([['k', [1]]]) };
    const copy = structuredClone(value);
    return { date: copy.date.getTime(), list: copy.map.get('k'), same: copy.map.get('k') === value.map.get('k') };
  },
  timers() {
    setTimeout(() => {}, 1);
  },
  wellFormed() {
    kv.set('a', 'x');
    return { text: '\ud800' };
  },
};

export const onEvent = (_, name) => actions[name]();
