// Client libraries of other languages, each through a small program, against a server of the test's own.
// README.md says which; `make clients` runs this.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from '../e2e/lib/admin.mjs';
import { freshRoom } from '../e2e/lib/client.mjs';
import { test } from '../e2e/lib/scope.mjs';
import { guest, startServer } from '../e2e/lib/server.mjs';
import { token } from '../e2e/lib/token.mjs';
import { casesOf, java, runCase, rust } from './programs.mjs';

/** How long a program waits for anything, in seconds, and for what is known not to come. */
const PATIENCE = 20;
const SHORT_PATIENCE = 5;

/** What a program says when a case fails, but not when it cannot be run. */
const FAILURE = /waited in vain|no acknowledgement of|AssertionError: found/;

// Those of Rust's libraries fail in the same way with Node's server, socket.io 4.8.
const BYTE = {
  'bytes of every value go there and back over WebSocket':
    'the library splits what comes in a WebSocket frame at each byte 30, as only bodies are to be split',
};
const CLOSED = {
  'connects again over polling after the server stopped in order and started again':
    'the library does not connect again after the server has closed the session',
};
const PARTS = {
  'a large message goes there and back over polling':
    'the library takes each part of a body for a body, so what does not come in one part is lost',
};
const IDS = {
  'its ids in two namespaces differ': 'the server gives one id to all namespaces of a connection, where Node gives one to each',
};

/** What is run: how many cases each program has, and which of them are known to fail, with the reason. */
const LIBRARIES = [
  { name: 'rust_socketio 0.6.0, with threads', build: () => rust('rust_socketio'), cases: 35, known: { ...BYTE, ...CLOSED } },
  { name: 'rust_socketio 0.6.0, with futures', build: () => rust('rust_socketio_async'), cases: 35, known: { ...BYTE, ...PARTS } },
  { name: 'tf-rust-socketio 0.9.3, with threads', build: () => rust('tf_rust_socketio'), cases: 36, known: { ...BYTE, ...CLOSED } },
  { name: 'tf-rust-socketio 0.9.3, with futures', build: () => rust('tf_rust_socketio_async'), cases: 36, known: { ...BYTE, ...PARTS } },
  { name: 'io.socket:socket.io-client 2.1.2 for Java', build: () => java(), cases: 39, known: IDS },
];

/** The guest `conformance` answers custom events; in the tenant `names` the guest `acknowledging` does. */
function start() {
  const tenant = (name, component) => [name, configurationOf(name, { handlers: { event: { component: guest(component) } } })];
  return startServer({
    handlers: { event: guest('conformance') },
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
    config: {
      // A case waits for longer than both. Content as long as an event may be.
      limits: { ping_interval: '1s', ping_timeout: '4s', content: '60KiB' },
      tenants: Object.fromEntries([tenant('acme', 'conformance'), tenant('names', 'acknowledging')]),
    },
  });
}

/** What the programs ask for. `ids` has the users' ids by the names that the programs use. */
function actionsOf(server, ids) {
  const api = admin(server);
  const tenant = '/tenants/default';
  return {
    emit: (names) => {
      const [event] = JSON.parse(names);
      return api.requestOk('POST', `${tenant}/clients/emit`, { body: { event, arguments: [event], to: { users: [ids.ann] } } });
    },
    disconnect: (user) => api.requestOk('POST', `${tenant}/clients/disconnect`, { body: { users: [ids[user]] } }),
    revoke: (user) => api.requestOk('POST', `${tenant}/revocations`, { body: { user: ids[user] } }),
    kill: () => server.restart(),
    stop: async () => {
      await server.stop();
      await server.start();
    },
  };
}

/** Runs one case, with a room and users of its own: other programs may have ended without a word to the server. */
async function run(program, name, server, patience = PATIENCE) {
  const room = freshRoom();
  const ids = Object.fromEntries(['ann', 'bob', 'carol'].map((user) => [user, `${user}-of-${room}`]));
  const env = { PARLANCE_URL: server.url, PARLANCE_ROOM: room, PARLANCE_PATIENCE: String(patience) };
  for (const [user, id] of Object.entries(ids)) env[`${user.toUpperCase()}_TOKEN`] = token(id, { name: user });
  for (const tenant of ['acme', 'names']) env[`${tenant.toUpperCase()}_TOKEN`] = at(tenant, ids.ann).auth.token;
  const actions = actionsOf(server, ids);
  await runCase(program, name, env, (verb, argument) => actions[verb](argument));
}

for (const { name, build, cases, known } of LIBRARIES) {
  test(name, async (t) => {
    const program = build();
    const names = casesOf(program);
    assert.equal(names.length, cases, 'cases');
    assert.deepEqual(Object.keys(known).filter((each) => !names.includes(each)), [], 'known failures of no case');
    const server = await start();
    for (const each of names) {
      if (each in known) {
        const title = `known to fail: ${each}: ${known[each]}`;
        await t.test(title, () => assert.rejects(run(program, each, server, SHORT_PATIENCE), FAILURE));
      } else {
        await t.test(each, () => run(program, each, server));
      }
    }
  });
}
