// A host that runs out of descriptors or memory. That counts as the host's failure, never as a version's.
import assert from 'node:assert/strict';
import { connect as dial } from 'node:net';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, Process, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';
import { token } from './lib/token.mjs';

const LIMIT = 256;

/** Connections that send nothing, until the test is over. */
function silent(server, count) {
  const sockets = Array.from({ length: count }, () => dial(server.port, '127.0.0.1').on('error', () => {}));
  owned({
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  });
  return sockets;
}

test('attack: clients take every descriptor they may have: those that are in are served, and a healthy version stays', async () => {
  const server = await startServer({
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
    wrapper: ['prlimit', `--nofile=${LIMIT}:${LIMIT}`],
    config: { deploy: { failures: 3 } },
  });
  assert.match(server.log, /limits\.connections is \d+, but the system gives 256 file descriptors, 128 of them for clients/);
  const api = admin(server);
  await api.deploy('default', 'message', guest('stamped'));
  const ann = await connect(server, 'ann', { transports: ['websocket'] });
  const room = freshRoom();
  await ann.join(room);
  const sockets = silent(server, 2 * LIMIT);
  await server.waitForOutput(/clients wait to be let in/);
  for (let n = 1; n <= 50; n += 1) assert.equal((await ann.post(room, `message ${n}`)).seq, n);
  for (const socket of sockets) socket.destroy();
  await eventually(async () => (await fetch(`${server.url}/readyz`)).ok, '/readyz');
  const { active, versions } = await api.handler('default', 'message');
  assert.deepEqual([active, versions[0].failed ?? null, versions[0].eventsFailed], [1, null, 0]);
  assert.equal(ann.connects, 1);
});

test('the soft limit of descriptors is raised to the hard one at the start', async () => {
  const server = await startServer({ wrapper: ['prlimit', '--nofile=256:4096'] });
  assert.match(server.log, /the system gives 4096 file descriptors/);
});

test('a server without the memory for an instance is not ready, says why, and answers events as retryable', async () => {
  const process = owned(new Process(['serve'], {
    cwd: temporaryDirectory(),
    env: { PORT: '0', JWT_SECRET: SECRET },
    wrapper: ['prlimit', '--as=3000000000'],
  }));
  const [, port] = await process.waitForOutput(/listening on http:\/\/[^\s"]*?:(\d+)/, 60_000);
  assert.match(process.output, /not ready: the server cannot load the component now/);
  const server = { url: `http://127.0.0.1:${port}`, port };
  const ready = await fetch(`${server.url}/readyz`);
  assert.equal(ready.status, 503);
  const { ready: isReady, sandbox, store } = await ready.json();
  assert.deepEqual([isReady, sandbox, store], [false, 'unavailable', 'ok']);
  const ann = await connect(server, 'ann', { auth: { token: token('ann') } });
  const { ok, error } = await ann.ask('join-room', freshRoom());
  assert.deepEqual([ok, error.code, error.retryable], [false, 'unavailable', true], JSON.stringify(error));
  await process.waitForOutput(/the server could not run a handler/);
});
