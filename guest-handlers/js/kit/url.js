// URL and URLSearchParams as browsers have them, but for host names that are not ASCII, which are refused.
import { encode, TextDecoder } from 'parlance-handlers/encoding.js';

const PORTS = { 'ftp:': '21', 'file:': '', 'http:': '80', 'https:': '443', 'ws:': '80', 'wss:': '443' };
const isSpecial = (protocol) => protocol in PORTS;

/** Encodes what is not visible ASCII, and the characters of `also`, as `%XX`. */
function percentEncode(text, also) {
  let result = '';
  for (const character of text) {
    if (character > ' ' && character <= '~' && !also.includes(character)) result += character;
    else for (const byte of encode(character)) result += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return result;
}

const FRAGMENT = '"<>`';
const QUERY = '"#<>';
const PATH = '"#<>?`{}^';
const USER = `${PATH}/:;=@[\\]|`;

/** Decodes `%XX`; what is not well-formed stays. */
function percentDecode(text) {
  if (!text.includes('%')) return text;
  const bytes = [];
  for (let index = 0; index < text.length; ) {
    const hex = /^%[0-9a-f]{2}/i.test(text.slice(index, index + 3));
    if (hex) {
      bytes.push(Number.parseInt(text.slice(index + 1, index + 3), 16));
      index += 3;
    } else {
      const character = String.fromCodePoint(text.codePointAt(index));
      bytes.push(...encode(character));
      index += character.length;
    }
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

export class URLSearchParams {
  #pairs = [];
  #changed;

  constructor(init = '', changed = undefined) {
    this.#changed = changed;
    if (typeof init === 'string') this.#pairs = parsePairs(init.replace(/^\?/, ''));
    else if (init?.[Symbol.iterator]) for (const [name, value] of init) this.#pairs.push([String(name), String(value)]);
    else for (const [name, value] of Object.entries(init)) this.#pairs.push([name, String(value)]);
  }

  #set(pairs) {
    this.#pairs = pairs;
    this.#changed?.(this.toString());
  }

  get size() {
    return this.#pairs.length;
  }

  append(name, value) {
    this.#set([...this.#pairs, [String(name), String(value)]]);
  }

  delete(name, value) {
    this.#set(this.#pairs.filter(([key, item]) => key !== String(name) || (value !== undefined && item !== String(value))));
  }

  get(name) {
    return this.#pairs.find(([key]) => key === String(name))?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([key]) => key === String(name)).map(([, value]) => value);
  }

  has(name, value) {
    return this.#pairs.some(([key, item]) => key === String(name) && (value === undefined || item === String(value)));
  }

  set(name, value) {
    const first = this.#pairs.findIndex(([key]) => key === String(name));
    if (first < 0) {
      this.append(name, value);
      return;
    }
    const others = this.#pairs.filter(([key], index) => index <= first || key !== String(name));
    this.#set(others.with(first, [String(name), String(value)]));
  }

  sort() {
    this.#set(this.#pairs.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b))));
  }

  forEach(callback, self) {
    for (const [name, value] of this.#pairs) callback.call(self, value, name, this);
  }

  keys() {
    return this.#pairs.map(([name]) => name).values();
  }

  values() {
    return this.#pairs.map(([, value]) => value).values();
  }

  entries() {
    return this.#pairs.map((pair) => [...pair]).values();
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    const form = (text) => percentEncode(text, '!"#$%&\'()+,/:;<=>?@[\\]^`{|}~').replaceAll('%20', '+');
    return this.#pairs.map(([name, value]) => `${form(name)}=${form(value)}`).join('&');
  }
}

function parsePairs(query) {
  const decode = (text) => percentDecode(text.replaceAll('+', ' '));
  return query
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const end = part.indexOf('=');
      return end < 0 ? [decode(part), ''] : [decode(part.slice(0, end)), decode(part.slice(end + 1))];
    });
}

/** The parts of an absolute URL, or of one that is relative to `base`. */
function parse(text, base) {
  const input = text.replace(/^[\0- ]+|[\0- ]+$/g, '').replace(/[\t\n\r]/g, '');
  const wrong = (why) => new TypeError(`Invalid URL: ${JSON.stringify(text)}${why}`);
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(input);
  if (!scheme && !base) throw wrong(': it has no scheme, such as https:');
  const protocol = scheme ? `${scheme[1].toLowerCase()}:` : base.protocol;
  const special = isSpecial(protocol);
  let rest = scheme ? input.slice(scheme[0].length) : input;
  const isRelative = base && (!scheme || (special && protocol === base.protocol && !/^[/\\]{2}/.test(rest)));
  if (isRelative && base.isOpaque && !rest.startsWith('#')) throw wrong(`: ${base.protocol} URLs have no relative ones`);

  const [beforeHash, ...afterHash] = rest.split('#');
  const hash = afterHash.length > 0 ? percentEncode(afterHash.join('#'), FRAGMENT) : null;
  const [beforeQuery, ...afterQuery] = beforeHash.split('?');
  const search = afterQuery.length > 0 ? percentEncode(afterQuery.join('?'), special ? `${QUERY}'` : QUERY) : null;
  rest = special ? beforeQuery.replaceAll('\\', '/') : beforeQuery;

  const url = { protocol, username: '', password: '', host: '', port: '', path: '', search, hash, isOpaque: false };
  if (isRelative && !rest.startsWith('//')) {
    const { username, password, host, port, isOpaque } = base;
    Object.assign(url, { username, password, host, port, isOpaque });
    if (rest === '') Object.assign(url, { path: base.path, search: search ?? base.search });
    else url.path = normalize(rest.startsWith('/') ? rest : base.path.replace(/[^/]*$/, '') + rest);
    return url;
  }
  if (!special && !rest.startsWith('//')) {
    url.isOpaque = !rest.startsWith('/');
    url.path = url.isOpaque ? percentEncode(rest, '') : normalize(rest);
    return url;
  }
  rest = special && protocol !== 'file:' ? rest.replace(/^\/*/, '') : rest.replace(/^\/\//, '');
  const end = rest.indexOf('/');
  const authority = end < 0 ? rest : rest.slice(0, end);
  url.path = normalize(end < 0 ? (special ? '/' : '') : rest.slice(end));
  const at = authority.lastIndexOf('@');
  if (at >= 0) {
    const [username, ...password] = authority.slice(0, at).split(':');
    url.username = percentEncode(username, USER);
    url.password = percentEncode(password.join(':'), USER);
  }
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::(\d*))?$/i.exec(authority.slice(at + 1));
  if (!match) throw wrong(': the host or port is malformed');
  url.host = host(match[1], special, wrong);
  if (special && protocol !== 'file:' && url.host === '') throw wrong(': it has no host');
  url.port = port(match[2] ?? '', protocol, wrong);
  return url;
}

function host(text, special, wrong) {
  if (!special) return percentEncode(text, '');
  const name = percentDecode(text).toLowerCase();
  if (/[^\0-~]/.test(name)) throw wrong(': write the host name in ASCII, as xn--…');
  if (/[\0- #%/<>?@\\^|]/.test(name)) throw wrong(': the host has a character that it must not have');
  return name;
}

function port(text, protocol, wrong) {
  if (text === '') return '';
  const number = Number(text);
  if (number > 65535) throw wrong(': the port is above 65535');
  return String(number) === PORTS[protocol] ? '' : String(number);
}

/** A path with `.` and `..` applied. */
function normalize(path) {
  const parts = [];
  const segments = path.split('/').slice(1);
  segments.forEach((segment, index) => {
    const isLast = index === segments.length - 1;
    const plain = segment.replace(/%2e/gi, '.');
    if (plain === '..') parts.pop();
    if (plain !== '.' && plain !== '..') parts.push(percentEncode(segment, PATH));
    else if (isLast) parts.push('');
  });
  return path === '' ? '' : `/${parts.join('/')}`;
}

export class URL {
  #url;
  #params;

  constructor(text, base = undefined) {
    this.#url = parse(String(text), base === undefined ? undefined : new URL(String(base)).#url);
    this.#renewParams();
  }

  static canParse(text, base) {
    return URL.parse(text, base) !== null;
  }

  static parse(text, base) {
    try {
      return new URL(text, base);
    } catch {
      return null;
    }
  }

  #renewParams() {
    this.#params = new URLSearchParams(this.#url.search ?? '', (query) => {
      this.#url.search = query === '' ? null : query;
    });
  }

  get href() {
    const { path, isOpaque, protocol, host } = this.#url;
    const start = isOpaque || (host === '' && protocol !== 'file:') ? protocol : `${protocol}//${this.#user}${this.host}`;
    return start + path + this.search + (this.#url.hash === null ? '' : `#${this.#url.hash}`);
  }

  set href(text) {
    this.#url = parse(String(text));
    this.#renewParams();
  }

  get #user() {
    const { username, password } = this.#url;
    if (username === '' && password === '') return '';
    return `${username}${password === '' ? '' : `:${password}`}@`;
  }

  get origin() {
    const { protocol } = this.#url;
    return isSpecial(protocol) && protocol !== 'file:' ? `${protocol}//${this.host}` : 'null';
  }

  get protocol() {
    return this.#url.protocol;
  }

  get username() {
    return this.#url.username;
  }

  get password() {
    return this.#url.password;
  }

  get host() {
    const { host, port } = this.#url;
    return port === '' ? host : `${host}:${port}`;
  }

  get hostname() {
    return this.#url.host;
  }

  get port() {
    return this.#url.port;
  }

  get pathname() {
    return this.#url.path;
  }

  set pathname(path) {
    if (this.#url.isOpaque) return;
    this.#url.path = normalize(`/${String(path).replace(/^\//, '')}`);
  }

  get search() {
    return this.#url.search ? `?${this.#url.search}` : '';
  }

  set search(query) {
    const text = String(query).replace(/^\?/, '');
    this.#url.search = text === '' ? null : percentEncode(text, isSpecial(this.#url.protocol) ? `${QUERY}'` : QUERY);
    this.#renewParams();
  }

  get hash() {
    return this.#url.hash ? `#${this.#url.hash}` : '';
  }

  set hash(fragment) {
    const text = String(fragment).replace(/^#/, '');
    this.#url.hash = text === '' ? null : percentEncode(text, FRAGMENT);
  }

  get searchParams() {
    return this.#params;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }
}
