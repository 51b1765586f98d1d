// The global names that a handler has beside the language's own. They are here so that no types of browsers or Node are
// needed: set `"lib": ["ES2023"]` and `"types": []` in tsconfig.json.
//
// `Date`, `Date.now()` and `performance.now()` give the time at which the event arrived, which stands still during it.
// `Math.random()` is seeded anew for each event. There is no `setTimeout` and no `fetch`.

/** Lines in the server's log, of the level that the name says; `log` is `info`. */
declare const console: {
  trace(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};

declare const crypto: {
  /** Fills an array of integers, of at most 4096 bytes, from the host's secure source. */
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  /** A random UUID (version 4). */
  randomUUID(): string;
};

declare const performance: { readonly timeOrigin: number; now(): number };

/** Runs the function after what runs now, within the event. */
declare function queueMicrotask(callback: () => void): void;
/** A deep copy. */
declare function structuredClone<T>(value: T): T;

declare class TextEncoder {
  readonly encoding: 'utf-8';
  encode(text?: string): Uint8Array;
  encodeInto(text: string, target: Uint8Array): { read: number; written: number };
}

/** Decodes UTF-8. */
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: 'utf-8';
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(input?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}

declare class URLSearchParams implements Iterable<[string, string]> {
  constructor(init?: string | Iterable<readonly [string, string]> | Record<string, string>);
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void): void;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  entries(): IterableIterator<[string, string]>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
  toString(): string;
}

/** A URL. Host names must be ASCII (`xn--…`). */
declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string | URL, base?: string | URL): boolean;
  static parse(url: string | URL, base?: string | URL): URL | null;
  href: string;
  readonly origin: string;
  readonly protocol: string;
  readonly username: string;
  readonly password: string;
  readonly host: string;
  readonly hostname: string;
  readonly port: string;
  pathname: string;
  search: string;
  hash: string;
  readonly searchParams: URLSearchParams;
  toString(): string;
  toJSON(): string;
}
