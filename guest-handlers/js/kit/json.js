// JSON from and to the host, where binary arguments are attachments and their places are marked.

/** The value of a JSON text; `null` for none. */
export const parseJson = (text) => (text === null ? null : JSON.parse(text));

/** The JSON of a value; `what` names it in the error if it has none. */
export function json(what, value) {
  const text = write(what, value);
  if (text === undefined) throw new TypeError(`${what} cannot be a ${typeof value}`);
  return text;
}

function write(what, value, replace) {
  try {
    const text = JSON.stringify(value, replace);
    // Half of a surrogate pair is written as an escape, which the host does not take for text.
    return text?.includes('\\ud') ? JSON.stringify(value, (key, item) => wellFormed(replace ? replace(key, item) : item)) : text;
  } catch (error) {
    throw new TypeError(`${what} cannot be written as JSON: ${error.message}`);
  }
}

const wellFormed = (value) => (typeof value === 'string' ? value.toWellFormed() : value);

const MAX_ATTACHMENTS = 10;

/** Arguments as the host takes them: each binary one is an attachment. */
export function toWire(what, args) {
  if (!Array.isArray(args)) throw new TypeError(`${what} must be an array`);
  const found = [];
  const attach = (_key, value) => {
    if (!ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)) return value;
    if (!found.includes(value)) found.push(value);
    return { _placeholder: true, num: found.indexOf(value) };
  };
  const text = write(what, args, attach);
  if (found.length > MAX_ATTACHMENTS) throw new RangeError(`${what} have more than ${MAX_ATTACHMENTS} binary values`);
  return { json: text, attachments: found.map(copy) };
}

function copy(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
}

/** The arguments that the host gives, with the binary ones in their places. */
export function fromWire(text, attachments) {
  const args = JSON.parse(text);
  return attachments.length > 0 ? place(args, attachments) : args;
}

function place(value, attachments) {
  if (typeof value !== 'object' || value === null) return value;
  if (value._placeholder === true && attachments[value.num] !== undefined) return attachments[value.num];
  for (const key of Object.keys(value)) value[key] = place(value[key], attachments);
  return value;
}
