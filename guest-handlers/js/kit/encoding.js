// TextEncoder and TextDecoder, for UTF-8 only.

export class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return Uint8Array.from(encode(String(text)));
  }

  encodeInto(text, target) {
    let read = 0;
    let written = 0;
    for (const character of String(text)) {
      const bytes = encode(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

/** The UTF-8 bytes of a text; a lone surrogate becomes U+FFFD. */
export function encode(text) {
  const bytes = [];
  for (let index = 0; index < text.length; index += 1) {
    let code = text.charCodeAt(index);
    if (code >= 0xd800 && code < 0xe000) {
      code = text.codePointAt(index);
      if (code > 0xffff) index += 1;
      else code = 0xfffd;
    }
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return bytes;
}

const LABELS = ['utf-8', 'utf8', 'unicode-1-1-utf-8'];
/** Texts are built in pieces of this many UTF-16 units, which is well below the engine's limit of arguments. */
const PIECE = 4096;

export class TextDecoder {
  #rest = [];
  #isAtStart = true;

  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!LABELS.includes(String(label).trim().toLowerCase())) {
      throw new RangeError(`TextDecoder knows only utf-8, not ${label}`);
    }
    this.fatal = Boolean(fatal);
    this.ignoreBOM = Boolean(ignoreBOM);
  }

  get encoding() {
    return 'utf-8';
  }

  decode(input = new Uint8Array(), { stream = false } = {}) {
    const view = ArrayBuffer.isView(input)
      ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
      : new Uint8Array(input);
    const bytes = this.#rest.length > 0 ? [...this.#rest, ...view] : view;
    const { text, rest } = decode(bytes, this.fatal, stream);
    this.#rest = rest;
    const hasMark = this.#isAtStart && !this.ignoreBOM && text.charCodeAt(0) === 0xfeff;
    this.#isAtStart = !stream || (this.#isAtStart && text === '');
    return hasMark ? text.slice(1) : text;
  }
}

/** What a first byte says of its sequence: how many bytes follow, and the range of the second. */
function lead(byte) {
  if (byte >= 0xc2 && byte <= 0xdf) return [1, 0x80, 0xbf];
  if (byte >= 0xe0 && byte <= 0xef) return [2, byte === 0xe0 ? 0xa0 : 0x80, byte === 0xed ? 0x9f : 0xbf];
  if (byte >= 0xf0 && byte <= 0xf4) return [3, byte === 0xf0 ? 0x90 : 0x80, byte === 0xf4 ? 0x8f : 0xbf];
  return undefined;
}

/** The text of UTF-8 bytes. With `stream` a sequence that is cut off is left for the next call, as `rest`. */
function decode(bytes, fatal, stream) {
  let text = '';
  let units = [];
  let index = 0;
  const put = (code) => {
    if (code > 0xffff) units.push(0xd7c0 + (code >> 10), 0xdc00 | (code & 0x3ff));
    else units.push(code);
    if (units.length >= PIECE) {
      text += String.fromCharCode(...units);
      units = [];
    }
  };
  const wrong = () => {
    if (fatal) throw new TypeError(`the bytes are not UTF-8 (at byte ${index})`);
    put(0xfffd);
  };
  while (index < bytes.length) {
    const first = bytes[index];
    if (first < 0x80) {
      put(first);
      index += 1;
      continue;
    }
    const sequence = lead(first);
    if (!sequence) {
      wrong();
      index += 1;
      continue;
    }
    const [more, low, high] = sequence;
    let code = first & (0x3f >> more);
    let length = 1;
    while (length <= more && index + length < bytes.length) {
      const byte = bytes[index + length];
      if (byte < (length === 1 ? low : 0x80) || byte > (length === 1 ? high : 0xbf)) break;
      code = (code << 6) | (byte & 0x3f);
      length += 1;
    }
    if (length > more) put(code);
    else if (stream && index + length === bytes.length) return { text: text + String.fromCharCode(...units), rest: [...bytes.slice(index)] };
    else wrong();
    index += length;
  }
  return { text: text + String.fromCharCode(...units), rest: [] };
}
