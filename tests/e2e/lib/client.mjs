// The official client, which records everything that it receives, in order.
import { io } from 'socket.io-client';
import { owned } from './scope.mjs';
import { token } from './token.mjs';
import { Conditions, TIMEOUT_MS, within } from './wait.mjs';

export class Client {
  #conditions = new Conditions();
  /** Every event received: `{event, args}`, in order. */
  received = [];
  /** The reason of each disconnect. */
  disconnects = [];
  /** The number of connects. */
  connects = 0;
  /** The errors of refused connects. */
  refusals = [];
  /** For how long `ask` waits. */
  patience = TIMEOUT_MS;

  constructor(url, user, { namespace = '/', auth, ...options } = {}) {
    this.user = user;
    this.socket = io(url + namespace, {
      transports: ['websocket'],
      forceNew: true,
      reconnectionDelay: 20,
      reconnectionDelayMax: 200,
      auth: auth ?? { token: token(user) },
      ...options,
    });
    const changed = () => this.#conditions.changed();
    this.socket.onAny((event, ...args) => {
      this.received.push({ event, args });
      changed();
    });
    this.socket.on('connect', () => {
      this.connects += 1;
      changed();
    });
    this.socket.on('disconnect', (reason) => {
      this.disconnects.push(reason);
      changed();
    });
    this.socket.on('connect_error', (error) => {
      this.refusals.push(error);
      changed();
    });
  }

  /** Waits until `probe()` is truthy, and checks after everything that arrives. */
  until(probe, what, ms) {
    return this.#conditions.until(probe, () => `${this.user}: ${what}; received ${this.#summary()}`, ms);
  }

  #summary() {
    const last = this.received.slice(-10).map(({ event, args }) => `${event} ${JSON.stringify(args)}`.slice(0, 200));
    return `${this.received.length} events, the last: [${last.join(', ')}], disconnects: [${this.disconnects}], `
      + `refusals: [${this.refusals.map((error) => error.message)}]`;
  }

  async connected(times = 1) {
    await this.until(() => this.connects >= times && this.socket.connected, `connect ${times}`);
    return this;
  }

  /** Waits for the next connect. After a disconnect by the server the library does not reconnect by itself. */
  async back() {
    const times = this.connects + (this.socket.connected ? 0 : 1);
    if (!this.socket.active) this.socket.connect();
    return this.connected(times);
  }

  /** Emits an event. A function as the last argument gets the acknowledgement. */
  emit(event, ...args) {
    const told = typeof args.at(-1) === 'function' ? args.pop() : null;
    if (!told) return void this.socket.emit(event, ...args);
    this.socket.emit(event, ...args, (answer) => {
      told(answer);
      this.#conditions.changed();
    });
  }

  /** Emits an event and returns the acknowledgement. */
  ask(event, ...args) {
    return within(
      new Promise((resolve) => this.socket.emit(event, ...args, resolve)),
      () => `the acknowledgement of ${event} to ${this.user}; received ${this.#summary()}`,
      this.patience,
    );
  }

  /** Like `ask`, but asserts that the answer is ok. */
  async askOk(event, ...args) {
    const answer = await this.ask(event, ...args);
    if (answer?.ok !== true) throw new Error(`${event} of ${this.user} failed: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** The first argument of every received `event`. */
  all(event) {
    return this.received.filter((each) => each.event === event).map((each) => each.args[0]);
  }

  /** The first `event`, past or future, whose first argument satisfies `wanted`. */
  next(event, wanted = () => true, ms) {
    return this.until(() => this.all(event).find(wanted), `${event} ${wanted}`, ms);
  }

  messages(roomId) {
    return this.all('new-message').filter((message) => message.roomId === roomId);
  }

  /** Joins a room and returns the acknowledgement. */
  join(roomId, options) {
    return options === undefined ? this.askOk('join-room', roomId) : this.askOk('join-room', roomId, options);
  }

  /** Posts a message and returns the acknowledged `{id, seq, sentAt}`. */
  async post(roomId, content, more = {}) {
    const { message } = await this.askOk('send-message', { roomId, content, ...more });
    return message;
  }

  /** Every message of the room, oldest first, page by page. */
  async history(roomId) {
    const messages = [];
    let before;
    for (;;) {
      const page = await this.askOk('history', { roomId, limit: 200, ...(before ? { before } : {}) });
      messages.unshift(...page.messages);
      if (page.complete) return messages;
      before = messages[0].seq;
    }
  }

  close() {
    this.socket.disconnect();
  }
}

/** Connects a client. */
export async function connect(server, user, options) {
  return owned(new Client(server.url, user, options)).connected();
}

/** Connects a client that must be refused, and returns the error. */
export async function refused(server, options) {
  const client = owned(new Client(server.url, 'nobody', { reconnection: false, ...options }));
  const [error] = await client.until(() => {
    if (client.connects > 0) throw new Error('it was let in');
    return client.refusals.length > 0 && client.refusals;
  }, 'a refusal');
  client.close();
  return error;
}

let rooms = 0;
/** A room id that no other test of this file uses. */
export function freshRoom(name = 'room') {
  rooms += 1;
  return `${name}-${rooms}`;
}

/** The arguments of the first such event, past or future, of a client. */
export const got = async (client, name) =>
  (await client.until(() => client.received.find(({ event }) => event === name), name)).args;

/** The received events with these names, in order. */
export const names = (client, ...among) => client.received.map(({ event }) => event).filter((name) => among.includes(name));
