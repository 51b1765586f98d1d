// Requests to web services, and the parts of their answers. `requests.d.ts` says what each does.
import * as requestsHost from 'parlance:chat/requests@0.1.0';
import { TextDecoder, encode } from 'parlance-handlers/encoding.js';
import { bytes, call, kind, text, whole } from 'parlance-handlers/host.js';
import { json } from 'parlance-handlers/json.js';
import { URL } from 'parlance-handlers/url.js';

const PARTS = ['whole', 'lines', 'server-sent-events'];
const U32_MAX = 2 ** 32 - 1;
const U8_MAX = 255;

const isGiven = (value) => value !== undefined && value !== null;
const optionalWhole = (what, value, high) => (isGiven(value) ? whole(what, value, 0, high) : null);

/** Headers as pairs, from an object or an iterable of pairs. */
function headerPairs(headers) {
  if (!isGiven(headers)) return [];
  if (typeof headers !== 'object') {
    throw new TypeError(`the headers of requests.send() must be an object or an array of pairs, not ${kind(headers)}`);
  }
  const pairs = typeof headers[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers);
  return pairs.map((pair) => {
    if (!Array.isArray(pair)) throw new TypeError(`each header of requests.send() must be a pair of name and value, not ${kind(pair)}`);
    const name = text('the name of a header of requests.send()', pair[0]);
    return [name, text(`the header ${name} of requests.send()`, pair[1])];
  });
}

/** The bytes of the body, or null. Adds the content type of JSON to the headers, unless they have one. */
function content(options, headers) {
  // `null` is a value of JSON, but no body.
  if (options.json === undefined) return isGiven(options.body) ? bytes('the body of requests.send()', options.body, 'the option `json`') : null;
  if (isGiven(options.body)) throw new TypeError('requests.send() takes a body or a value as json, not both');
  if (!headers.some(([name]) => name.toLowerCase() === 'content-type')) headers.push(['content-type', 'application/json']);
  return Uint8Array.from(encode(json('the json of requests.send()', options.json)));
}

export const requests = {
  send(url, options = {}) {
    if (typeof options !== 'object' || options === null) {
      throw new TypeError(`the options of requests.send() must be an object, not ${kind(options)}`);
    }
    const { tag = '', parts = 'whole' } = options;
    if (!PARTS.includes(parts)) {
      throw new TypeError(`the parts of requests.send() are 'whole', 'lines' or 'server-sent-events', not ${String(parts)}`);
    }
    const headers = headerPairs(options.headers);
    const body = content(options, headers);
    const method = options.method ?? (body ? 'POST' : 'GET');
    return call(
      'requests.send',
      requestsHost.send,
      {
        method: text('the method of requests.send()', method).toUpperCase(),
        url: text('the url of requests.send()', url instanceof URL ? url.href : url),
        headers,
        body: body ?? new Uint8Array(),
      },
      {
        tag: text('the tag of requests.send()', tag),
        parts,
        timeoutMs: optionalWhole('timeoutMs of requests.send()', options.timeoutMs, U32_MAX),
        attempts: optionalWhole('attempts of requests.send()', options.attempts, U8_MAX),
      },
    );
  },
  cancel: (id) => call('requests.cancel', requestsHost.cancel, text('the id of requests.cancel()', id)),
};

class Head {
  kind = 'head';

  constructor({ status, headers }) {
    this.status = status;
    this.headers = headers;
  }

  header(name) {
    const wanted = text('the name of a header', name).toLowerCase();
    return this.headers.find(([own]) => own.toLowerCase() === wanted)?.[1];
  }
}

class Whole extends Head {
  kind = 'whole';

  constructor(response) {
    super(response);
    this.body = response.body;
  }

  get ok() {
    return this.status >= 200 && this.status < 300;
  }

  text() {
    return new TextDecoder().decode(this.body);
  }

  json() {
    return JSON.parse(this.text());
  }
}

const READERS = {
  whole: (response) => new Whole(response),
  head: (head) => new Head(head),
  line: (line) => ({ kind: 'line', line }),
  event: ({ event, data, id }) => ({ kind: 'event', event, data, id }),
  end: () => ({ kind: 'end' }),
  failed: ({ reason, message, attempts }) => ({ kind: 'failed', reason, message, attempts }),
};

/** A part of an answer, of what the host gives. */
export const readPart = ({ tag, val }) => READERS[tag](val);
