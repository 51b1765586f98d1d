// Lines in the server's log, and values and errors as text for them.
import { write } from 'parlance:chat/log@0.1.0';
import { lines } from 'parlance-handlers/lines.js';

/** How many frames of a stack are logged: the log has 8 KiB for an event. */
const MAX_FRAMES = 10;
const MAX_DEPTH = 4;
const MAX_ITEMS = 100;

/** Writes `text`, one line of the log for each of its lines, since the log escapes line breaks. */
export function log(level, text) {
  for (const line of text.toWellFormed().split('\n')) write(level, line);
}

/** The arguments of a call of `console`, as it prints them. */
export function format(values) {
  return values.map((value) => (typeof value === 'string' ? value : inspect(value))).join(' ');
}

/** The stack's frames that are in the handler's own sources, with the lines of these. */
export function frames(stack) {
  const found = [];
  for (const frame of String(stack ?? '').split('\n')) {
    const match = /^\s*at (?:(.*?) \()?(.*?):(\d+)(?::\d+)?\)?$/.exec(frame);
    if (!match) continue;
    const [, name, file, line] = match;
    const table = lines[file];
    if (!table) continue;
    const place = `${file}:${table[line - 1] ?? line}`;
    found.push(name && name !== '<anonymous>' ? `    at ${name} (${place})` : `    at ${place}`);
    if (found.length === MAX_FRAMES) break;
  }
  return found;
}

/** An error's name and message, the place at which it was made, and what caused it. */
export function describeError(error) {
  const head = `${error.name ?? 'Error'}: ${error.message}`;
  const text = [head, ...frames(error.stack)].join('\n');
  return error.cause === undefined ? text : `${text}\n  caused by ${inspect(error.cause)}`;
}

const isIdentifier = /^[A-Za-z_$][\w$]*$/;

/** A value as `console` prints it. */
export function inspect(value, depth = 0, seen = []) {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'bigint':
      return `${value}n`;
    case 'function':
      return `[Function: ${value.name || 'anonymous'}]`;
    case 'object':
      break;
    default:
      return String(value);
  }
  if (value === null) return 'null';
  if (value instanceof Error) return describeError(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (seen.includes(value)) return '[Circular]';
  if (depth > MAX_DEPTH) return Array.isArray(value) ? '[…]' : '{…}';
  const inner = (item) => inspect(item, depth + 1, [...seen, value]);
  const list = (items, write) => {
    const shown = Array.from(items).slice(0, MAX_ITEMS).map(write);
    const size = items.length ?? items.size;
    return shown.concat(size > MAX_ITEMS ? [`… ${size - MAX_ITEMS} more`] : []).join(', ');
  };
  if (Array.isArray(value)) return `[${list(value, inner)}]`;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return `${value.constructor.name}(${value.length}) [${list(value, String)}]`;
  }
  if (value instanceof Map) return `Map(${value.size}) {${list(value, ([key, item]) => `${inner(key)} => ${inner(item)}`)}}`;
  if (value instanceof Set) return `Set(${value.size}) {${list(value, inner)}}`;
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  const prefix = name && name !== 'Object' ? `${name} ` : '';
  const field = ([key, item]) => `${isIdentifier.test(key) ? key : JSON.stringify(key)}: ${inner(item)}`;
  const fields = list(Object.entries(value), field);
  return fields ? `${prefix}{ ${fields} }` : `${prefix}{}`;
}
