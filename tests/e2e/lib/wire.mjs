// HTTP and WebSocket byte by byte, for what no client library would send.
import { connect } from 'node:net';
import { randomBytes } from 'node:crypto';
import { owned } from './scope.mjs';
import { Conditions } from './wait.mjs';

export const OPCODE = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa };

/** A client's WebSocket frame; `options` are those that a client library does not offer. */
export function frame(opcode, payload = '', { last = true, reserved = 0, masked = true, length } = {}) {
  const bytes = Buffer.from(payload);
  const announced = length ?? bytes.length;
  const head = [(last ? 0x80 : 0) | (reserved << 4) | opcode];
  const mask = masked ? 0x80 : 0;
  if (announced < 126) head.push(mask | announced);
  else if (announced < 65_536) head.push(mask | 126, announced >> 8, announced & 0xff);
  else {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(BigInt(announced));
    head.push(mask | 127, ...wide);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), bytes]);
  const key = randomBytes(4);
  return Buffer.concat([Buffer.from(head), key, bytes.map((byte, n) => byte ^ key[n % 4])]);
}

/** The payload of a close frame. */
export function closing(code, reason = '') {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(code);
  return Buffer.concat([bytes, Buffer.from(reason)]);
}

/** A TCP connection to a server, for a request and perhaps the WebSocket after it. */
export class Wire {
  #conditions = new Conditions();
  #input = Buffer.alloc(0);
  #switched = false;
  /** The server's frames, as text: text as it is, `<0102>` for bytes, `close 1000`, `pong abc`. */
  frames = [];
  /** Whether the server has closed the connection. */
  ended = false;

  constructor(server) {
    const { hostname: host, port } = new URL(server.url);
    this.socket = connect({ host, port: Number(port), noDelay: true });
    this.socket.on('data', (bytes) => {
      this.#input = Buffer.concat([this.#input, bytes]);
      if (this.#switched) this.#read();
      this.#conditions.changed();
    });
    const end = () => {
      this.ended = true;
      this.#conditions.changed();
    };
    this.socket.on('end', end).on('error', end).on('close', end);
  }

  write(...pieces) {
    this.socket.write(Buffer.concat(pieces.map((piece) => Buffer.from(piece))));
  }

  /** Sends a request's head, and its body if there is one. */
  request(method, target, { headers = {}, body } = {}) {
    const all = { Host: 'server.example', ...headers };
    if (body !== undefined && !('Content-Length' in all)) all['Content-Length'] = Buffer.byteLength(body);
    const lines = Object.entries(all).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}\r\n`);
    this.write(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, body ?? '');
  }

  until(probe, what, ms) {
    return this.#conditions.until(probe, () => `${what}; frames ${JSON.stringify(this.frames.slice(-5))}, ended ${this.ended}, `
      + `unread ${JSON.stringify(this.#input.toString('latin1').slice(0, 300))}`, ms);
  }

  /** The response to a request: `{status, headers, body}`; null if the connection was closed instead. */
  async answer({ method = 'GET' } = {}) {
    const head = await this.until(() => {
      const at = this.#input.indexOf('\r\n\r\n');
      return (at >= 0 && { at }) || (this.ended && { at: -1 });
    }, 'an answer');
    if (head.at < 0) return null;
    const [first, ...lines] = this.#input.subarray(0, head.at).toString('latin1').split('\r\n');
    const status = Number(first.split(' ')[1]);
    const headers = Object.fromEntries(lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }));
    this.#input = this.#input.subarray(head.at + 4);
    if (status === 101) {
      this.#switched = true;
      this.#read();
      return { status, headers, body: '' };
    }
    const body = method === 'HEAD' || status === 204 ? '' : await this.#body(headers);
    return { status, headers, body };
  }

  async #body(headers) {
    if ('content-length' in headers) {
      const length = Number(headers['content-length']);
      await this.until(() => this.#input.length >= length || this.ended, 'the body');
    } else if (headers['transfer-encoding'] === 'chunked') {
      await this.until(() => this.#input.includes('0\r\n\r\n') || this.ended, 'the last chunk');
      return this.#input.toString().replace(/(^|\r\n)[0-9a-f]+\r\n/gi, '').replace(/\r\n$/, '');
    } else {
      await this.until(() => this.ended, 'the end of the body');
    }
    return this.#input.toString();
  }

  #read() {
    while (this.#input.length >= 2) {
      const opcode = this.#input[0] & 0x0f;
      let length = this.#input[1] & 0x7f;
      let at = 2;
      if (length === 126) {
        if (this.#input.length < 4) return;
        length = this.#input.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (this.#input.length < 10) return;
        length = Number(this.#input.readBigUInt64BE(2));
        at = 10;
      }
      if (this.#input.length < at + length) return;
      const payload = this.#input.subarray(at, at + length);
      this.#input = this.#input.subarray(at + length);
      this.#take(opcode, payload);
    }
  }

  #take(opcode, payload) {
    if (opcode === OPCODE.text) this.frames.push(payload.toString());
    else if (opcode === OPCODE.binary) this.frames.push(`<${payload.toString('hex')}>`);
    else if (opcode === OPCODE.ping) this.frames.push(`ping ${payload}`);
    else if (opcode === OPCODE.pong) this.frames.push(`pong ${payload}`);
    else if (opcode === OPCODE.close) {
      this.frames.push(payload.length < 2 ? 'close' : `close ${payload.readUInt16BE(0)}`);
      // RFC 6455 requires this of a client.
      if (!this.socket.destroyed && this.socket.writable) this.write(frame(OPCODE.close, payload));
    }
  }

  close() {
    this.socket.destroy();
  }
}

/** A connection that is closed when the test is over. */
export const wire = (server) => owned(new Wire(server));

/** Sends one request on a new connection and returns the response; null if the connection was closed instead. */
export async function exchange(server, method, target, options) {
  const connection = wire(server);
  connection.request(method, target, { ...options, headers: { Connection: 'close', ...options?.headers } });
  const answer = await connection.answer({ method });
  connection.close();
  return answer;
}

/** The headers of a WebSocket handshake. */
export const UPGRADE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};
