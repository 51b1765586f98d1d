// structuredClone of the types that handlers have.

const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** A deep copy. An object with a class of its own becomes a plain one; a function cannot be copied. */
export function structuredClone(value, options) {
  if (options?.transfer?.length > 0) throw new TypeError('structuredClone() cannot transfer here: leave `transfer` out');
  return clone(value, new Map());
}

function clone(value, copies) {
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new TypeError(`structuredClone() cannot copy a ${typeof value}`);
  }
  if (typeof value !== 'object' || value === null) return value;
  if (copies.has(value)) return copies.get(value);
  const keep = (copy) => {
    copies.set(value, copy);
    return copy;
  };
  if (value instanceof Date) return keep(new Date(value.getTime()));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (value instanceof Boolean || value instanceof Number || value instanceof String) return keep(Object(value.valueOf()));
  if (value instanceof DataView) {
    return keep(new DataView(clone(value.buffer, copies), value.byteOffset, value.byteLength));
  }
  if (ArrayBuffer.isView(value)) {
    return keep(new value.constructor(clone(value.buffer, copies), value.byteOffset, value.length));
  }
  if (value instanceof Map) {
    const copy = keep(new Map());
    for (const [key, item] of value) copy.set(clone(key, copies), clone(item, copies));
    return copy;
  }
  if (value instanceof Set) {
    const copy = keep(new Set());
    for (const item of value) copy.add(clone(item, copies));
    return copy;
  }
  if (value instanceof Error) {
    const copy = keep(new (ERRORS[value.name] ?? Error)(value.message));
    copy.stack = value.stack;
    if ('cause' in value) copy.cause = clone(value.cause, copies);
    return copy;
  }
  const copy = keep(Array.isArray(value) ? new Array(value.length) : {});
  for (const key of Object.keys(value)) copy[key] = clone(value[key], copies);
  return copy;
}
