// Makes the component's exports of the author's functions.
import { retryAfter } from 'parlance:chat/refusal@0.1.0';
import { Rejection } from 'parlance-handlers/errors.js';
import * as globals from 'parlance-handlers/globals.js';
import { texts } from 'parlance-handlers/host.js';
import { fromWire, json, parseJson, toWire } from 'parlance-handlers/json.js';
import { describeError, frames, inspect, log } from 'parlance-handlers/log.js';
import { drain, firstUnhandled, KitPromise, reset } from 'parlance-handlers/promise.js';
import { readPart } from 'parlance-handlers/requests.js';
import { readChange } from 'parlance-handlers/revise.js';

const CODES = ['denied', 'invalid', 'not-found', 'conflict', 'too-large', 'rate-limited', 'quota-exceeded', 'unavailable'];
const MAX_RETRY_MS = 86_400_000;

/**
 * After how many events a warm instance looks for garbage that refers to itself; all other garbage goes at once. The
 * engine does not do it by itself: in a fresh instance that could fall into every event, and would be worth nothing.
 */
const EVENTS_BETWEEN_COLLECTIONS = 100;
const { runGc } = globalThis.__cqjs;
let events = 0;

function cleanUp() {
  reset();
  globals.reset();
  events += 1;
  if (events % EVENTS_BETWEEN_COLLECTIONS === 0) runGc();
}

/** The value of what a handler returned, with all promises settled. */
function settled(name, result) {
  const isPromise = typeof result === 'object' && result !== null && typeof result.then === 'function';
  let outcome = isPromise ? undefined : { value: result };
  if (isPromise) {
    KitPromise.resolve(result).then(
      (value) => (outcome = { value }),
      (error) => (outcome = { error }),
    );
  }
  drain();
  if (!outcome) {
    throw new Error(`the promise of ${name} never settles: nothing can resolve it once the event is over`);
  }
  if ('error' in outcome) throw outcome.error;
  const lost = firstUnhandled();
  if (lost) {
    const [reason] = lost;
    const text = `${name} has finished, but a promise that it did not await was rejected: is an \`await\` missing?`;
    log('warn', [text, ...frames(reason?.stack)].join('\n'));
    throw reason;
  }
  return outcome.value;
}

/** What the runtime makes of a thrown error: with a payload it is the rejection, otherwise a trap. */
function failure(name, error) {
  if (error instanceof Rejection && CODES.includes(error.code)) {
    const { retryAfterMs } = error;
    if (Number.isFinite(retryAfterMs)) retryAfter(Math.min(Math.max(Math.trunc(retryAfterMs), 1), MAX_RETRY_MS));
    return { payload: { tag: error.code, val: String(error.message).toWellFormed() } };
  }
  const text =
    error instanceof Error
      ? describeError(error)
      : `${name} threw ${inspect(error)}: throw a Rejection, such as new Denied('…'), to refuse the event, or an Error`;
  log('error', text);
  return new Error(text);
}

/** A handler's function as the component exports it: `read` makes its arguments, `write` the result. */
const exported = (read, write) => (name, handler) => {
  if (typeof handler !== 'function') throw new TypeError(`${name} must be a function, not ${inspect(handler)}`);
  return {
    handle(...args) {
      try {
        return write(settled(name, handler(...read(args))), name);
      } catch (error) {
        throw failure(name, error);
      } finally {
        cleanUp();
      }
    },
  };
};

const data = (value, name) => (value === undefined || value === null ? null : json(`what ${name} returns`, value));
const nothing = () => undefined;

const change = ({ tag, val }) => (tag === 'set' ? { type: 'set', status: val } : { type: tag });

function acknowledgement(value, name) {
  if (value === undefined || value === null) return { tag: 'silent' };
  if (!Array.isArray(value)) throw new TypeError(`${name} must return an array, the arguments of the acknowledgement, or nothing`);
  const { json, attachments } = toWire(`what ${name} returns`, value);
  return { tag: 'answer', val: { arguments: json, attachments } };
}

export const wrap = {
  onMessage: exported(([context, message]) => [context, { ...message, metadata: parseJson(message.metadata) }], data),
  onTyping: exported((args) => args, nothing),
  onReceipt: exported((args) => args, nothing),
  onRevise: exported(([context, message, asked]) => [context, message, readChange(asked)], data),
  onPresence: exported(([context, event]) => [context, change(event)], nothing),
  onConnect: exported(
    (args) => args,
    (rooms, name) => texts(`what ${name} returns`, rooms ?? []),
  ),
  onRoom: exported(([context, request]) => [context, { type: request.tag, room: request.val }], data),
  onEvent: exported(([context, name, args, attachments]) => [context, name, fromWire(args, attachments)], data),
  onEventAck: exported(([context, name, args, attachments]) => [context, name, fromWire(args, attachments)], acknowledgement),
  onAnswer: exported(
    ([context, tag, answer]) => [context, tag, answer === null ? null : fromWire(answer.arguments, answer.attachments)],
    nothing,
  ),
  onServerEvent: exported(([receivedAt, name, args]) => [receivedAt, name, fromWire(args, [])], data),
  onTimer: exported(([name, dueMs, payload]) => [name, parseJson(payload), dueMs], nothing),
  onResponse: exported(([id, tag, number, part]) => [{ id, tag, number, part: readPart(part) }], nothing),
};
