// Stands in for modules that the suites of the Redis adapter and the emitter import: one of their servers becomes a node
// of Parlance, their clients show a token, and their Redis clients go to the Redis of the run.
const Module = require('node:module');
const { join } = require('node:path');
const { ParlanceServer, clients, underway } = require('./parlance.cjs');

const TESTS = join(process.cwd(), 'test');
const { redisUrl, tokens, servers: SERVERS, place: PLACE } = JSON.parse(process.env.PARLANCE_FLEET);

const parlances = [];
let made = 0;
let last = Promise.resolve();

/** Has a server's first `connection` wait for those of the servers made before it: the suites number servers by it. */
function inOrder(server, place) {
  const before = place === 0 ? null : last;
  let reached;
  last = new Promise((done) => (reached = done));
  const { on } = server;
  server.on = (event, listener) => on.call(server, event, event !== 'connection' ? listener : async (socket) => {
    await before;
    listener(socket);
    reached();
  });
  return server;
}

/** Makes a server: the node when it is its turn. */
function server(NodeServer, http, options) {
  const place = made % SERVERS;
  made += 1;
  if (place !== PLACE) return inOrder(new NodeServer(http, options), place);
  const parlance = new ParlanceServer(http);
  parlances.push(parlance);
  return inOrder(parlance, place);
}

/** Has clients show a token, and tells the node of its own. */
function withTokens(real) {
  const { prototype } = real.Manager;
  const { socket } = prototype;
  prototype.socket = function withToken(namespace, options) {
    const made = socket.call(this, namespace, { auth: { token: tokens[namespace] }, ...options });
    if (clients.has(made)) return made;
    clients.add(made);
    const parlance = parlances.find((each) => each.serves(this));
    if (parlance && namespace === '/') parlance.take(made);
    return made;
  };
  return real;
}

let queue = null;
/** Sends something to Redis after the joins that the node has not acknowledged yet, in the order of the calls. */
function afterJoins(send) {
  if (!queue && underway.size === 0) return send();
  const turn = (queue ?? Promise.resolve()).then(() => Promise.all(underway)).then(send);
  const settled = turn.catch(() => {}).then(() => {
    if (queue === settled) queue = null;
  });
  queue = settled;
  return turn;
}

/** A client of the Redis of the run. */
function redisClient(createClient, options) {
  const made = createClient({ url: redisUrl, ...options });
  for (const name of ['publish', 'sPublish']) {
    const send = made[name];
    made[name] = (...args) => afterJoins(() => send.apply(made, args));
  }
  return made;
}

const STAND_INS = {
  'socket.io': (real) => ({ ...real, Server: function Server(...args) { return server(real.Server, ...args); } }),
  'socket.io-client': withTokens,
  redis: (real) => ({ ...real, createClient: (options) => redisClient(real.createClient, options) }),
};
const loaded = new Map();
const { _load } = Module;
Module._load = function load(name, parent, isMain) {
  if (!parent?.filename?.startsWith(TESTS)) return _load(name, parent, isMain);
  // The emitter's suite imports the package's build, which is not made here.
  if (name === '..') return _load('../lib', parent, isMain);
  if (!(name in STAND_INS)) return _load(name, parent, isMain);
  if (!loaded.has(name)) loaded.set(name, STAND_INS[name](_load(name, parent, isMain)));
  return loaded.get(name);
};
