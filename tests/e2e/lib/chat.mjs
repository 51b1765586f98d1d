// A client of the package @parlance/client, connected to a server of the test.
import { io } from 'socket.io-client';
import { createClient } from '../../../examples/web-chat/client/index.js';
import { owned } from './scope.mjs';
import { token } from './token.mjs';
import { Conditions } from './wait.mjs';

/** A storage as browsers have it, in memory. */
export function memoryStorage() {
  const values = new Map();
  return { values, getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value) };
}

export class Chat {
  #conditions = new Conditions();
  /** Everything that was reported. */
  problems = [];

  constructor(server, user, { namespace = '', ...options } = {}) {
    this.user = user;
    this.client = createClient({
      io,
      url: server.url + namespace,
      userId: user,
      getToken: () => token(user),
      ...options,
      socketOptions: { forceNew: true, transports: ['websocket'], reconnectionDelay: 20, reconnectionDelayMax: 200, ...options.socketOptions },
    });
    this.client.on('problem', (problem) => this.problems.push(problem));
    this.client.subscribe(() => this.#conditions.changed());
  }

  /** Waits until `probe(client)` is truthy, and returns that. */
  until(probe, what, ms) {
    return this.#conditions.until(() => probe(this.client), () => `${this.user}: ${what}; ${this.diagnosis()}`, ms);
  }

  live() {
    return this.until(({ getSnapshot }) => getSnapshot().state === 'live', 'to be live');
  }

  async joined(room) {
    this.client.open(room);
    await this.until((client) => client.getRoom(room)?.state === 'joined', `to have joined ${room}`);
    return this;
  }

  contents(room) {
    return this.client.getRoom(room).messages.map(({ content }) => content);
  }

  /** Waits until the room has exactly these messages, and nothing is on its way out. */
  shows(room, expected) {
    const wanted = JSON.stringify(expected);
    return this.until((client) => client.getRoom(room) && client.getRoom(room).outgoing.length === 0
      && JSON.stringify(this.contents(room)) === wanted, `${room} to show ${wanted}`);
  }

  message(room, seq) {
    return this.client.getRoom(room).messages.find((message) => message.seq === seq);
  }

  close() {
    this.client.close();
  }

  diagnosis() {
    const { state, error, rooms } = this.client.getSnapshot();
    const shown = rooms.map(({ id, state: of, error: why, messages, outgoing, gaps }) =>
      ({ id, of, why, gaps, outgoing, last: messages.slice(-5).map(({ seq, content }) => `${seq} ${content}`.slice(0, 60)) }));
    return `${this.user} is ${state} ${JSON.stringify({ error, rooms: shown, problems: this.problems.slice(-5) })}`;
  }
}

/** Makes a client and waits until it is connected. */
export async function startChat(server, user, options) {
  const chat = owned(new Chat(server, user, options));
  chat.client.connect();
  await chat.live();
  return chat;
}
