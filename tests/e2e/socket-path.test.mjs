// Socket.IO at another path (`server.path`), and the official client below it in development mode.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, refused } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { run, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';

test('clients connect at the path that the configuration names, and nowhere else', async () => {
  const server = await startServer({ config: { server: { path: '/chat/io/' } } });
  for (const transport of ['websocket', 'polling']) {
    const ann = await connect(server, 'ann', { path: '/chat/io', transports: [transport] });
    await ann.askOk('get-presence', []);
    const lost = await refused(server, { auth: { token: token('ann') }, transports: [transport] });
    assert.match(lost.message, /websocket error|xhr poll error/);
  }
});

test('a path that cannot be is refused with the reason', async () => {
  for (const [path, why] of [
    ['socket.io', /does not begin with a slash/],
    ['/', /the root/],
    ['/a//b', /a part that is empty/],
    ['/a b', /characters that a path must encode/],
    ['/admin/socket.io', /below \/admin, which is the server's own/],
  ]) {
    const file = join(temporaryDirectory(), 'parlance.toml');
    writeFileSync(file, `[server]\npath = ${JSON.stringify(path)}\n`);
    const { code, output } = await run(['check-config', '--config', file], { env: { JWT_SECRET: 'x'.repeat(32) } });
    assert.equal(code, 2, output);
    assert.match(output, /server\.path/);
    assert.match(output, why);
  }
});

test('development mode has the official client below the path, as Node’s server has; nothing else has', async () => {
  const dev = await startServer({ command: 'dev', config: { server: { path: '/chat/io' } } });
  for (const name of ['socket.io.js', 'socket.io.min.js', 'socket.io.msgpack.min.js', 'socket.io.esm.min.js']) {
    const answer = await fetch(`${dev.url}/chat/io/${name}`);
    assert.equal(answer.status, 200, name);
    assert.match(answer.headers.get('content-type'), /^text\/javascript/);
    assert.ok((await answer.text()).length > 10_000, name);
  }
  assert.deepEqual(await (await fetch(`${dev.url}/dev/settings`)).json(), { path: '/chat/io', hasBuilds: false });
  const server = await startServer();
  for (const path of ['/socket.io/socket.io.js', '/dev/settings']) assert.equal((await fetch(server.url + path)).status, 404);
});
