// Sessions with either server. What they observe is recorded as short texts.
import { eventually } from './wait.mjs';
import { exchange, frame, OPCODE, UPGRADE, wire } from './wire.mjs';

export const PATH = '/socket.io/';
export const POLLING = `${PATH}?EIO=4&transport=polling`;
export const WEBSOCKET = `${PATH}?EIO=4&transport=websocket`;
export const SEPARATOR = '\x1e';
/** An event that both servers acknowledge: everything before it has then been handled. */
const LAST_ID = 9999;
const LAST = `42${LAST_ID}["message-with-ack","last"]`;
const LAST_ACK = `43${LAST_ID}["last"]`;

/**
 * Normalises what is observed: ids differ between sessions, and a close frame without a status means the same as 1000.
 */
const seen = (text) => text.replaceAll(/"sid":"[^"]+"/g, '"sid":"…"').replace(/^close 1000$/, 'close');

/** A response in one line: the status, then the error's code or the body. */
export function summaryOf(answer) {
  if (answer === null) return 'cut';
  const { status, body } = answer;
  if (status === 200 || body === '') return `${status} ${seen(body)}`.trim();
  try {
    return `${status} code ${JSON.parse(body).code}`;
  } catch {
    return `${status} text`;
  }
}

/** The named headers of a response, if it has them. */
export const pickHeaders = ({ headers }, names) => names.filter((name) => name in headers).map((name) => `${name}: ${headers[name]}`);

const connectPacket = ({ auth }, namespace = '') => `40${namespace && `${namespace},`}${JSON.stringify(auth)}`;

/** A polling session. */
export class Polling {
  static async open(server, query = '') {
    const answer = await exchange(server, 'GET', POLLING + query);
    return new Polling(server, JSON.parse(answer.body.slice(1)).sid);
  }

  /** Opens a session in the namespace `/`. */
  static async join(server) {
    const session = await Polling.open(server);
    await session.post(connectPacket(server));
    await session.#pollFor('42["auth"');
    return session;
  }

  constructor(server, sid) {
    this.server = server;
    this.sid = sid;
    this.target = `${POLLING}&sid=${sid}`;
  }

  request(method, options) {
    return exchange(this.server, method, this.target, options);
  }

  poll(options) {
    return this.request('GET', options);
  }

  post(body, headers = {}) {
    return this.request('POST', { body, headers: { 'Content-Type': 'text/plain;charset=UTF-8', ...headers } });
  }

  /** Sends a request on a persistent connection and waits until the server has read it, but not for its response. */
  async begin(method, options, ...more) {
    const connection = wire(this.server);
    connection.request(method, this.target, options);
    if (more.length > 0) connection.write(...more);
    // Both servers read requests in order: once the next request is answered, this one has been read.
    for (let n = 0; n < 3; n += 1) await exchange(this.server, 'GET', PATH);
    return connection;
  }

  /** Waits until the session does not exist any more. */
  async gone() {
    await eventually(async () => (await this.post('3')).status !== 200, 'the end of the session');
    return 'ended';
  }

  async #pollFor(start) {
    const packets = [];
    for (;;) {
      const answer = await this.poll();
      if (answer?.status !== 200) return { packets, ended: true };
      packets.push(...answer.body.split(SEPARATOR));
      if (packets.some((packet) => packet.startsWith(start))) return { packets, ended: false };
    }
  }

  /** Everything until the session answers again, then whether it does: `open` or `ended`. */
  async rest() {
    const answer = await this.post(LAST);
    if (answer?.status !== 200) return ['ended'];
    const { packets, ended } = await this.#pollFor(LAST_ACK);
    return [...packets.filter((packet) => packet !== LAST_ACK).map(seen), ended ? 'ended' : 'open'];
  }

  /** Whether a session in no namespace still exists. */
  async isOpen() {
    const { status } = await this.post(connectPacket(this.server));
    if (status !== 200) return 'ended';
    const { ended } = await this.#pollFor('40');
    return ended ? 'ended' : 'open';
  }

  /** A WebSocket for an upgrade. */
  upgrade(headers) {
    return Socket.open(this.server, `&sid=${this.sid}`, headers);
  }
}

/** A WebSocket session, or a WebSocket for one. */
export class Socket {
  static async open(server, query = '', headers = {}) {
    const connection = wire(server);
    connection.request('GET', WEBSOCKET + query, { headers: { ...UPGRADE, ...headers } });
    return new Socket(server, connection, await connection.answer());
  }

  /** Opens a session in no namespace. */
  static async begin(server, headers) {
    const socket = await Socket.open(server, '', headers);
    await socket.frame('0{');
    return socket;
  }

  /** Opens a session in the namespace `/`. */
  static async join(server) {
    const socket = await Socket.begin(server);
    socket.text(connectPacket(server));
    const frames = [...await socket.frame('42["auth"'), ...socket.wire.frames.splice(0)];
    if (frames.includes('2')) socket.text('3');
    return socket;
  }

  constructor(server, connection, answer) {
    this.server = server;
    this.wire = connection;
    this.answer = answer;
  }

  text(...texts) {
    this.wire.write(...texts.map((text) => frame(OPCODE.text, text)));
  }

  send(...args) {
    this.wire.write(frame(...args));
  }

  get #isOver() {
    return this.wire.ended || this.wire.frames.some((each) => each.startsWith('close'));
  }

  /** Waits for a frame that begins with `start`, or for the end; removes and returns the frames up to it. */
  async frame(start) {
    const { at } = await this.wire.until(() => {
      const found = this.wire.frames.findIndex((each) => each.startsWith(start));
      return (found >= 0 && { at: found }) || (this.#isOver && { at: this.wire.frames.length - 1 });
    }, `a frame ${start}`);
    return this.wire.frames.splice(0, at + 1).map(seen);
  }

  /** Everything until the session answers again, then whether it does: `open` or `ended`. */
  async rest() {
    this.text(LAST);
    return this.#restUntil(LAST_ACK);
  }

  /** Like `rest`, for a session in no namespace. */
  async restBeforeConnect() {
    this.text(connectPacket(this.server));
    return this.#restUntil('42["auth"');
  }

  /** Like `rest`, for a WebSocket whose state Engine.IO packets would change: uses WebSocket pings instead. */
  async restBelow() {
    this.send(OPCODE.ping, 'last');
    return this.#restUntil('pong last');
  }

  async #restUntil(start) {
    const frames = await this.frame(start);
    const ended = this.#isOver || !frames.some((each) => each.startsWith(start));
    return [...frames.filter((each) => !each.startsWith(start)), ended ? 'ended' : 'open'];
  }

  /** Everything until the connection closes. */
  async end() {
    await this.wire.until(() => this.#isOver, 'the end');
    return [...this.wire.frames.map(seen), 'ended'];
  }
}
