// The handler's key-value space, and typed keys, maps and sets over it. `index.d.ts` says what each does.
import * as kvHost from 'parlance:chat/kv@0.1.0';
import { TextDecoder } from 'parlance-handlers/encoding.js';
import { bytes as toBytes, call, optionalText, text, texts, whole } from 'parlance-handlers/host.js';
import { json } from 'parlance-handlers/json.js';

/** Most keys that the host returns in one page. */
const PAGE = 200;
/** The value of a set's members. */
const MEMBER = '1';

const bytes = (what, value) => toBytes(`the value of ${what}()`, value, 'kv.setJson()');
const decode = (value) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(value);
const parse = (value) => (value === null ? undefined : JSON.parse(decode(value)));
const key = (what, name) => text(`the key of ${what}()`, name);
const ttl = (what, { ttlMs } = {}) =>
  ttlMs === undefined || ttlMs === null ? null : whole(`ttlMs of ${what}()`, ttlMs, 0, Number.MAX_SAFE_INTEGER);

export const kv = {
  get: (name) => call('kv.get', kvHost.get, key('kv.get', name)),
  getText(name) {
    const value = kv.get(name);
    return value === null ? null : decode(value);
  },
  getJson: (name) => parse(kv.get(name)),
  getMany: (names) => call('kv.getMany', kvHost.getMany, texts('the keys of kv.getMany()', names)),
  scan(prefix, { after, limit = PAGE } = {}) {
    const start = optionalText('after of kv.scan()', after);
    const most = whole('limit of kv.scan()', limit, 0, PAGE);
    return call('kv.scan', kvHost.scan, text('the prefix of kv.scan()', prefix), start, most);
  },
  set: (name, value, options) =>
    call('kv.set', kvHost.set, key('kv.set', name), bytes('kv.set', value), ttl('kv.set', options)),
  setJson: (name, value, options) => kv.set(name, json('the value of kv.setJson()', value), options),
  swap(name, expected, value, options) {
    const before = expected === null || expected === undefined ? null : bytes('kv.swap', expected);
    return call('kv.swap', kvHost.swap, key('kv.swap', name), before, bytes('kv.swap', value), ttl('kv.swap', options));
  },
  setIfAbsent: (name, value, options) =>
    call(
      'kv.setIfAbsent',
      kvHost.setIfAbsent,
      key('kv.setIfAbsent', name),
      bytes('kv.setIfAbsent', value),
      ttl('kv.setIfAbsent', options),
    ),
  delete: (name) => call('kv.delete', kvHost.delete, key('kv.delete', name)),
  increment: (name, by = 1) =>
    call(
      'kv.increment',
      kvHost.increment,
      key('kv.increment', name),
      whole('the second argument of kv.increment()', by, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    ),
};

const ESCAPES = { '%': '%25', '/': '%2F', ':': '%3A' };

/**
 * The key of a name's parts. Neither `/` nor `:` is within a part, so the first `:` of a key ends the name, and no two
 * names have a key in common.
 */
function join(what, parts) {
  if (parts.length === 0) throw new TypeError(`new ${what}() takes a name: new ${what}('votes', poll)`);
  return texts(`the name of new ${what}()`, parts)
    .map((part) => part.replace(/[%/:]/g, (letter) => ESCAPES[letter]))
    .join('/');
}

const jsonOf = (value) => json('the value of a key', value);

class TypedKey {
  constructor(key) {
    this.key = key;
  }
  get() {
    return kv.getJson(this.key);
  }
  set(value, options) {
    kv.set(this.key, jsonOf(value), options);
  }
  setIfAbsent(value, options) {
    return kv.setIfAbsent(this.key, jsonOf(value), options);
  }
  update(change) {
    for (;;) {
      const before = kv.get(this.key);
      const after = change(parse(before));
      // Another event can change the key between the two calls.
      if (kv.swap(this.key, before, jsonOf(after))) return after;
    }
  }
  increment(by) {
    return kv.increment(this.key, by);
  }
  delete() {
    kv.delete(this.key);
  }
}

export class KvKey extends TypedKey {
  constructor(...name) {
    super(join('KvKey', name));
  }
}

/** The keys that begin with a prefix, with their values. A page is read when it is needed. */
function* scanned(prefix) {
  let after = null;
  for (;;) {
    const page = kv.scan(prefix, { after });
    if (page.length === 0) return;
    yield* page;
    after = page.at(-1).key;
  }
}

/** What maps and sets have in common. */
class Members {
  constructor(what, name) {
    this.prefix = `${join(what, name)}:`;
  }
  get size() {
    let count = 0;
    for (const _ of scanned(this.prefix)) count += 1;
    return count;
  }
  has(member) {
    return kv.get(keyOf(this, member)) !== null;
  }
  delete(member) {
    const wasThere = this.has(member);
    if (wasThere) kv.delete(keyOf(this, member));
    return wasThere;
  }
}

const keyOf = ({ prefix }, member) => prefix + text('a member', member);

export class KvMap extends Members {
  constructor(...name) {
    super('KvMap', name);
  }
  key(member) {
    return new TypedKey(keyOf(this, member));
  }
  get(member) {
    return this.key(member).get();
  }
  set(member, value, options) {
    this.key(member).set(value, options);
  }
  *[Symbol.iterator]() {
    for (const { key, value } of scanned(this.prefix)) yield [key.slice(this.prefix.length), parse(value)];
  }
}

export class KvSet extends Members {
  constructor(...name) {
    super('KvSet', name);
  }
  add(member) {
    return kv.setIfAbsent(keyOf(this, member), MEMBER);
  }
  *[Symbol.iterator]() {
    for (const { key } of scanned(this.prefix)) yield key.slice(this.prefix.length);
  }
}
