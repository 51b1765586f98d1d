// Raw exchanges over HTTP and WebSocket, each with a Node server and with this one. Both must answer the same, except
// for the differences that `ws-details/differences.mjs` lists with their reasons. A difference that no longer occurs
// must be removed from the list.
import assert from 'node:assert/strict';
import { startNode } from './lib/node.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { DIFFERENCES } from './ws-details/differences.mjs';
import { EXCHANGES } from './ws-details/exchanges.mjs';
import { ALLOWED_ORIGIN, MAX_PAYLOAD } from './ws-details/settings.mjs';

const component = guest('conformance');
const parlance = await startServer({
  handlers: { event: component, presence: component },
  config: { server: { cors_origins: [ALLOWED_ORIGIN] }, limits: { packet: `${MAX_PAYLOAD / 32}B` } },
});
const node = await startNode({ maxHttpBufferSize: MAX_PAYLOAD, connectTimeout: 10_000, cors: { origin: [ALLOWED_ORIGIN] } });
node.io.on('connection', (socket) => {
  const { token: _, ...fields } = socket.handshake.auth;
  socket.emit('auth', fields);
  socket.on('message', (...args) => socket.emit('message-back', ...args));
  socket.on('message-with-ack', (...args) => {
    const answer = args.pop();
    answer(...args);
  });
});

const listed = new Map(DIFFERENCES.flatMap(({ why, exchanges }) => Object.entries(exchanges).map(([name, both]) => [name, { why, ...both }])));

for (const [name, send] of Object.entries(EXCHANGES)) {
  test(name, async () => {
    const auth = { token: token('ann') };
    const theirs = await send({ url: node.url, auth });
    const ours = await send({ url: parlance.url, auth });
    const difference = listed.get(name);
    if (!difference) return assert.deepEqual(ours, theirs, 'a difference that is not listed');
    assert.notDeepEqual(ours, theirs, `a difference that is gone: ${difference.why}`);
    return assert.deepEqual({ node: theirs, parlance: ours }, { node: difference.node, parlance: difference.parlance }, difference.why);
  });
}

test('every listed difference is of an exchange, once', () => {
  const names = DIFFERENCES.flatMap(({ exchanges }) => Object.keys(exchanges));
  assert.deepEqual(names.filter((name) => !(name in EXCHANGES)), []);
  assert.equal(listed.size, names.length);
});
