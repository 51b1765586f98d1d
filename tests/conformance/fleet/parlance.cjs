// Stands in for the `Server` of socket.io: a running node of Parlance. Joins go over the client's connection, and the
// other operations through the admin API.
const { EventEmitter } = require('node:events');
const { connect } = require('node:net');
const { Worker, MessageChannel, receiveMessageOnPort } = require('node:worker_threads');

const { url, adminUrl, adminToken } = JSON.parse(process.env.PARLANCE_FLEET);
/** How long this thread waits for the admin API, in milliseconds. */
const ANSWER_MS = 5_000;

/** The client sockets of this process, for all servers. The fleet has no others. */
const clients = new Set();
/** Joins that the node has not acknowledged yet. A Node server carries them out at once. */
const underway = new Set();

const tenantOf = (namespace) => (namespace === '/' ? 'default' : namespace.slice(1));
const idsOf = (namespace) => [...clients].filter(({ nsp, connected }) => nsp === namespace && connected).map(({ id }) => id);
const idle = () => Promise.all(underway);
const listOf = (one) => (Array.isArray(one) ? one : [one]).map(String);

/** The arguments of `fetch` for an operation on clients. */
function request(namespace, operation, body) {
  return [`${adminUrl}/admin/v1/tenants/${tenantOf(namespace)}/clients/${operation}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }];
}

/** Requests an operation on clients. */
async function ask(...operation) {
  const response = await fetch(...request(...operation));
  const text = await response.text();
  if (!response.ok) throw new Error(`${operation[1]}: ${response.status} ${text}`);
  return text && JSON.parse(text);
}

let worker = null;
/** Requests an operation and blocks until its answer is there: tests read the rooms of a socket as a set. */
function askAndWait(...operation) {
  if (!worker) {
    const { port1, port2 } = new MessageChannel();
    const answered = new Int32Array(new SharedArrayBuffer(4));
    new Worker(require.resolve('./ask.cjs'), { workerData: { port: port2, answered }, transferList: [port2] });
    worker = { port: port1, answered };
  }
  Atomics.store(worker.answered, 0, 0);
  worker.port.postMessage(request(...operation));
  Atomics.wait(worker.answered, 0, 0, ANSWER_MS);
  const received = receiveMessageOnPort(worker.port);
  if (!received) throw new Error(`${operation[1]}: no answer`);
  return JSON.parse(received.message);
}

/** The server's side of a client. */
class ServerSocket {
  constructor(client) {
    this.client = client;
    this.id = client.id;
    const { id, nsp } = client;
    this.rooms = {
      has: (room) => askAndWait(nsp, 'find', { rooms: [id] }).sockets.some((socket) => socket.id === id && socket.rooms.includes(room)),
    };
  }

  join(rooms) {
    for (const room of listOf(rooms)) {
      const done = new Promise((answered) => {
        this.client.emit('join-room', room, answered);
        // A test that failed has ended before the answer.
        this.client.once('disconnect', () => answered({ ok: true }));
      }).then((answer) => {
        underway.delete(done);
        if (!answer.ok) throw new Error(`join-room ${room}: ${JSON.stringify(answer)}`);
      });
      underway.add(done);
    }
  }
}

/** For what a back end cannot have a node do. */
const missing = (what) => () => {
  throw new Error(`Parlance has no ${what}`);
};

/** The operations of `io.to(…)` on the clients in some rooms and not in others. */
class Broadcast {
  #server;
  #namespace;
  #rooms;
  #except;

  constructor(server, namespace, rooms = [], except = []) {
    this.#server = server ?? this;
    this.#namespace = namespace;
    this.#rooms = rooms;
    this.#except = except;
  }

  to(rooms) {
    return new Broadcast(this.#server, this.#namespace, [...this.#rooms, ...listOf(rooms)], this.#except);
  }

  in(rooms) {
    return this.to(rooms);
  }

  except(rooms) {
    return new Broadcast(this.#server, this.#namespace, this.#rooms, [...this.#except, ...listOf(rooms)]);
  }

  /** The rooms to name. The admin API has no word for all clients: they are named by their ids, which are rooms too. */
  get #to() {
    return this.#rooms.length > 0 ? this.#rooms : idsOf(this.#namespace);
  }

  /** Sends through the admin API, or with binary arguments, which JSON cannot hold, through the handler. */
  async emit(event, ...args) {
    await idle();
    if (args.some((arg) => Buffer.isBuffer(arg))) {
      const own = ({ nsp, io }) => nsp === this.#namespace && this.#server.serves(io);
      [...clients].find(own).emit('send', { rooms: this.#to, event }, ...args);
    } else {
      await ask(this.#namespace, 'emit', { event, arguments: args, to: { rooms: this.#to }, except: { rooms: this.#except } });
    }
  }

  async disconnectSockets() {
    await idle();
    await ask(this.#namespace, 'disconnect', { rooms: this.#to });
  }

  async fetchSockets() {
    await idle();
    const { sockets } = await ask(this.#namespace, 'find', { rooms: this.#to });
    return sockets.map((socket) => ({ ...socket, rooms: new Set(socket.rooms) }));
  }

  get local() {
    return missing('operation for the clients of one node')();
  }

  timeout = missing('event whose sender gets the acknowledgements of other servers’ clients');
  socketsJoin = missing('operation that moves other clients into rooms');
  socketsLeave = missing('operation that moves other clients out of rooms');
  serverSideEmit = missing('event for the other servers that its own handler does not get');
}

/** A namespace of the server. */
class Namespace extends Broadcast {
  events = new EventEmitter();

  on(event, listener) {
    this.events.on(event, listener);
    return this;
  }
}

/** The node as a server, which is its main namespace too. */
class ParlanceServer extends Namespace {
  #http;
  #sockets = [];
  #connected = Promise.resolve();

  constructor(http) {
    super(null, '/');
    this.#http = http;
    relay(http);
  }

  of(name) {
    return name === '/' ? this : new Namespace(this, name);
  }

  /** Whether a client's manager is for this server. */
  serves({ uri }) {
    return Number(new URL(uri).port) === this.#http.address()?.port;
  }

  /** Announces a client of the main namespace once it is connected, in the order in which the clients were made. */
  take(client) {
    const connected = new Promise((done) => client.once('connect', done));
    this.#connected = this.#connected.then(() => connected).then(() => {
      const socket = new ServerSocket(client);
      // The handler tells every client of the node: the first is listened to.
      if (this.#sockets.length === 0) {
        // The handler has answered already: the listener's own answer goes nowhere.
        client.on('server-event', (event, ...args) => this.events.emit(event, ...args, () => {}));
      }
      this.#sockets.push(socket);
      this.events.emit('connection', socket);
    });
  }

  /** Disconnects the clients, as a Node server does when it closes. */
  async close() {
    const ids = this.#sockets.map(({ id }) => id);
    if (ids.length > 0) await ask('/', 'disconnect', { rooms: ids });
    this.#http.close();
  }
}

/** Passes the connections of an HTTP server on to the node. */
function relay(http) {
  const { hostname, port } = new URL(url);
  http.removeAllListeners('connection');
  http.on('connection', (near) => {
    const far = connect(Number(port), hostname);
    near.on('error', () => far.destroy()).pipe(far);
    far.on('error', () => near.destroy()).pipe(near);
  });
}

module.exports = { ParlanceServer, clients, underway };
