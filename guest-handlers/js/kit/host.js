// Calls of the host: only during an event, with its refusals as `Fault`, and with arguments of the right types.
import { encode } from 'parlance-handlers/encoding.js';
import { Fault } from 'parlance-handlers/errors.js';
import { needsEvent } from 'parlance-handlers/phase.js';

/** Calls the host; what it refuses becomes a `Fault`. */
export function call(what, host, ...args) {
  needsEvent(`${what}()`);
  try {
    return host(...args);
  } catch (error) {
    throw error.payload ? new Fault(what, error.payload) : error;
  }
}

export const kind = (value) => (value === null ? 'null' : Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`);

export function text(what, value) {
  if (typeof value !== 'string') throw new TypeError(`${what} must be a string, not ${kind(value)}`);
  return value.toWellFormed();
}

/** Text as UTF-8, or a copy of bytes; `any` names what takes other values. */
export function bytes(what, value, any) {
  if (typeof value === 'string') return Uint8Array.from(encode(value));
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  throw new TypeError(`${what} must be a string or bytes, not ${kind(value)}; ${any} takes any value`);
}

export const optionalText = (what, value) => (value === null || value === undefined ? null : text(what, value));

export function whole(what, value, low, high) {
  if (typeof value !== 'number' || Number.isNaN(value)) throw new TypeError(`${what} must be a number, not ${kind(value)}`);
  return Math.min(Math.max(Math.trunc(value), low), high);
}

export function texts(what, values) {
  if (!Array.isArray(values)) throw new TypeError(`${what} must be an array of strings, not ${kind(values)}`);
  return values.map((value, index) => text(`${what}[${index}]`, value));
}

/** A Date or a number as milliseconds since the Unix epoch. */
export function moment(what, value) {
  const ms = value instanceof Date ? value.getTime() : value;
  if (typeof ms === 'number' && !Number.isNaN(ms)) return whole(what, ms, 0, Number.MAX_SAFE_INTEGER);
  throw new TypeError(`${what} must be a valid Date, or milliseconds since the Unix epoch such as Date.now() + 5000`);
}
