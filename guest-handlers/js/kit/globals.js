// The global names that authors know from browsers and Node, over the host's time, chance and log.
import { nowMs, randomU64 } from 'parlance:chat/ambient@0.1.0';
import { TextDecoder, TextEncoder } from 'parlance-handlers/encoding.js';
import { format, log } from 'parlance-handlers/log.js';
import { needsEvent } from 'parlance-handlers/phase.js';
import { enqueue, KitPromise } from 'parlance-handlers/promise.js';
import { structuredClone } from 'parlance-handlers/structured-clone.js';
import { URL, URLSearchParams } from 'parlance-handlers/url.js';

const printer =
  (level) =>
  (...values) =>
    log(level, format(values));

const console = {
  trace: printer('trace'),
  debug: printer('debug'),
  log: printer('info'),
  info: printer('info'),
  warn: printer('warn'),
  error: printer('error'),
};

const EngineDate = Date;

function now() {
  needsEvent('the time');
  return nowMs();
}

function HostDate(...args) {
  if (!new.target) return new EngineDate(now()).toString();
  return Reflect.construct(EngineDate, args.length > 0 ? args : [now()], new.target);
}
Object.defineProperty(HostDate, 'name', { value: 'Date' });
Object.defineProperty(HostDate, 'length', { value: 7 });
HostDate.prototype = EngineDate.prototype;
HostDate.prototype.constructor = HostDate;
HostDate.now = now;
HostDate.parse = EngineDate.parse;
HostDate.UTC = EngineDate.UTC;

/**
 * The runtime gives 64 bits as a number, whose upper 48 bits are exact. The lower ones are added for tests, where the
 * numbers are 1, 2, 3 …
 */
function random48() {
  const bits = randomU64();
  return (Math.floor(bits / 0x10000) + (bits % 0x10000)) % 0x1000000000000;
}

/** xorshift128, seeded from the host at the first use in an event. */
let seed;

function random32() {
  seed ??= [random48() >>> 0, random48() >>> 0, random48() >>> 0, (random48() >>> 0) | 1];
  let [t] = seed;
  t ^= t << 11;
  t ^= t >>> 8;
  const last = seed[3];
  seed = [seed[1], seed[2], last, (t ^ last ^ (last >>> 19)) >>> 0];
  return seed[3];
}

function random() {
  needsEvent('Math.random()');
  return ((random32() >>> 5) * 0x4000000 + (random32() >>> 6)) / 0x20000000000000;
}

/** Six bytes for each call of the host, of which an event has 1000 by default. */
const MAX_RANDOM_BYTES = 4096;

const crypto = {
  getRandomValues(array) {
    needsEvent('crypto.getRandomValues()');
    if (!ArrayBuffer.isView(array) || array instanceof Float32Array || array instanceof Float64Array) {
      throw new TypeError('crypto.getRandomValues() takes an array of integers, such as a Uint8Array');
    }
    if (array.byteLength > MAX_RANDOM_BYTES) {
      throw new RangeError(`crypto.getRandomValues() gives at most ${MAX_RANDOM_BYTES} bytes, not ${array.byteLength}`);
    }
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let bits = 0;
    for (let index = 0; index < bytes.length; index += 1) {
      if (index % 6 === 0) bits = random48();
      bytes[index] = bits % 256;
      bits = Math.floor(bits / 256);
    }
    return array;
  },
  randomUUID() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  },
};

function queueMicrotask(callback) {
  if (typeof callback !== 'function') throw new TypeError('queueMicrotask() takes a function');
  enqueue(callback);
}

const absent = (name, instead) => () => {
  throw new Error(`${name} does not exist in a handler: ${instead}`);
};
const NO_TIMERS = 'an instance lives for one event; for later, set a timer of the host with timers.set(), which calls onTimer';
const NO_FETCH = 'send a request of the host with requests.send(), which calls onResponse with the answer';

const globals = {
  console,
  crypto,
  Date: HostDate,
  Promise: KitPromise,
  TextDecoder,
  TextEncoder,
  URL,
  URLSearchParams,
  queueMicrotask,
  structuredClone,
  performance: { timeOrigin: 0, now },
  setTimeout: absent('setTimeout', NO_TIMERS),
  setInterval: absent('setInterval', NO_TIMERS),
  setImmediate: absent('setImmediate', NO_TIMERS),
  fetch: absent('fetch', NO_FETCH),
  require: absent('require', 'write `import`'),
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}
Math.random = random;
// These give or take the engine's own promises, whose jobs nobody runs.
delete Array.fromAsync;

/** Forgets the seed, so that a warm instance's events do not share one. */
export function reset() {
  seed = undefined;
}
