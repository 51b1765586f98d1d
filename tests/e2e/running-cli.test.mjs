// The commands.
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import jwt from 'jsonwebtoken';
import { connect, freshRoom } from './lib/client.mjs';
import { freePort } from './lib/port.mjs';
import { test } from './lib/scope.mjs';
import { guest, run, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';

test('serve without a secret fails and says how to set one', async () => {
  const { code, output } = await run(['serve'], { cwd: temporaryDirectory(), env: { PORT: '0' } });
  assert.ok(code > 0);
  assert.match(output, /JWT_SECRET/);
  assert.doesNotMatch(output, /listening on|panicked/);
});

test('dev without a secret creates one, says so, and keeps it', async () => {
  const server = await startServer({ command: 'dev', env: { JWT_SECRET: undefined } });
  await server.waitForOutput(/secret/i);
  const minted = async () => {
    const { code, stdout, output } = await run(['token', '--user', 'ann'], { cwd: server.dir });
    assert.equal(code, 0, output);
    return stdout.trim();
  };
  const secret = await minted();
  await (await connect(server, 'ann', { auth: { token: secret } })).join(freshRoom());
  await server.stop();
  await server.start();
  await (await connect(server, 'ann', { auth: { token: secret } })).join(freshRoom());
});

test('dev FILE: the component is in service when the server listens, and is swapped when the file changes', async () => {
  const file = join(temporaryDirectory(), 'handler.wasm');
  copyFileSync(guest('stamped'), file);
  const server = await startServer({ command: 'dev', args: [file] });
  const [served, listens] = [/message events: now handled by/, /listening on/].map((pattern) => server.log.search(pattern));
  assert.ok(served >= 0 && served < listens, server.log);
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  await ann.post(room, 'by whom?');
  assert.equal((await ann.next('new-message')).metadata?.by, 'stamped');
  writeFileSync(file, 'no component');
  await server.waitForOutput(/handler\.wasm cannot be loaded[^\n]*the components before stay in service/);
  await ann.post(room, 'still?');
  assert.equal((await ann.next('new-message', ({ seq }) => seq === 2)).metadata?.by, 'stamped');
});

test('dev FILE: a file that is not a handler fails the start with the reason', async () => {
  const file = join(temporaryDirectory(), 'handler.wasm');
  writeFileSync(file, 'no component');
  const { code, output } = await run(['dev', file], { cwd: temporaryDirectory(), env: { PORT: '0' } });
  assert.equal(code, 1, output);
  assert.match(output, /parlance: .*handler\.wasm cannot be loaded: this is not a WebAssembly component/);
  assert.doesNotMatch(output, /listening on/);
});

test('dev listens on this machine only, and on every interface only if configured, with a warning', async () => {
  // The file's settings of the host are for `serve`.
  const own = await startServer({ command: 'dev', config: { server: { host: '0.0.0.0' } } });
  assert.match(own.log, /listening on http:\/\/127\.0\.0\.1:/);
  assert.doesNotMatch(own.log, /--host lets everybody/);
  const open = await startServer({ command: 'dev', args: ['--host', '0.0.0.0'] });
  await open.waitForOutput(/WARN.*--host lets everybody who reaches 0\.0\.0\.0:\d+ become any user/);
  const port = await freePort();
  const chosen = await startServer({ command: 'dev', args: ['--port', String(port)] });
  assert.equal(chosen.port, port);
});

test('dev gives tokens to its own page only: no other origin, and under no other name', async () => {
  const own = await startServer({ command: 'dev' });
  const ask = (headers, body = { user: 'ann' }) => new Promise((done, failed) => {
    const request = httpRequest(`${own.url}/dev/token`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers } });
    request.on('response', async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      done({ status: response.statusCode, text });
    });
    request.on('error', failed).end(JSON.stringify(body));
  });
  const status = async (headers) => (await ask(headers)).status;
  const at = (name) => ({ host: `${name}:${own.port}`, origin: `http://${name}:${own.port}` });
  for (const name of ['localhost', '127.0.0.1', '[::1]']) assert.equal(await status(at(name)), 200, name);
  assert.equal(await status({}), 200, 'a program');
  assert.equal(await status(at('evil.example')), 403, 'a name that leads here');
  assert.equal(await status({ host: 'evil.example' }), 403);
  for (const origin of ['https://evil.example', `http://localhost:${own.port + 1}`, 'null']) {
    assert.equal(await status({ host: `localhost:${own.port}`, origin }), 403, origin);
  }
  // No token is minted that the server would refuse.
  for (const user of ['', 'x'.repeat(129), 'a\u0000b']) {
    const { status: refusal, text } = await ask({}, { user });
    assert.equal(refusal, 400, user);
    assert.match(text, /\S/);
  }
});

test('a configuration with key sets only is right, and the log names them', async () => {
  const cwd = temporaryDirectory();
  writeFileSync(join(cwd, 'jwks.json'), JSON.stringify({ keys: [] }));
  writeFileSync(join(cwd, 'parlance.toml'), '[[auth.jwks]]\nfile = "jwks.json"\n');
  const checked = await run(['check-config', '--config', 'parlance.toml'], { cwd });
  assert.equal(checked.code, 0);
  assert.doesNotMatch(checked.output, /will not start/);
  const own = await startServer({ dir: cwd, config: '[[auth.jwks]]\nfile = "jwks.json"', env: { JWT_SECRET: undefined } });
  await own.waitForOutput(/tokens are verified with: the key set in .*jwks\.json/);
});

test('token mints a token that the server accepts', async () => {
  const server = await startServer();
  const env = { JWT_SECRET: SECRET };
  const { code, stdout } = await run(['token', '--user', 'ann', '--name', 'Ann A.', '--ttl', '2h'], { cwd: server.dir, env });
  assert.equal(code, 0);
  const text = stdout.trim();
  const claims = jwt.verify(text, SECRET, { algorithms: ['HS256'] });
  assert.equal(claims.sub, 'ann');
  assert.equal(claims.name, 'Ann A.');
  assert.ok(Math.abs(claims.exp - Date.now() / 1000 - 7200) < 60);
  const room = freshRoom();
  const watcher = await connect(server, 'watcher');
  await watcher.join(room);
  await (await connect(server, 'ann', { auth: { token: text } })).join(room);
  const { username } = await watcher.next('presence', (each) => each.userId === 'ann');
  assert.equal(username, 'Ann A.');
});

test('token without a user, or with an invalid lifetime, reports the error', async () => {
  const env = { JWT_SECRET: SECRET };
  const cwd = temporaryDirectory();
  const nobody = await run(['token'], { cwd, env });
  assert.ok(nobody.code > 0);
  assert.match(nobody.output, /--user/);
  const endless = await run(['token', '--user', 'ann', '--ttl', 'forever'], { cwd, env });
  assert.ok(endless.code > 0);
  assert.match(endless.output, /ttl/);
});

test('--help lists every command, and each has its own help', async () => {
  const { code, output } = await run(['--help']);
  assert.equal(code, 0);
  const commands = ['serve', 'dev', 'new', 'build', 'token', 'check-config', 'inspect', 'deploy', 'canary', 'promote', 'rollback', 'remove',
    'versions', 'logs', 'tenants', 'revoke', 'revocations', 'unrevoke', 'audit'];
  for (const command of commands) assert.match(output, new RegExp(`^\\s+${command}\\s+\\S+`, 'm'));
  for (const command of commands) {
    const help = await run([command, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.output, /Usage: parlance/);
  }
  for (const variable of ['PORT', 'JWT_SECRET', 'FRONTEND_URL', 'DATABASE_URL']) assert.match(output, new RegExp(variable));
  assert.match((await run(['--version'])).output, /^parlance \d+\.\d+\.\d+/);
});

test('an unknown command is refused', async () => {
  const { code, output } = await run(['sevre']);
  assert.ok(code > 0);
  assert.match(output, /serve/, 'the likely one is proposed');
});

test('inspect shows imports, exports, size and the handled interfaces', async () => {
  const { code, output } = await run(['inspect', guest('hostile')]);
  assert.equal(code, 0, output);
  assert.match(output, /parlance:chat\/on-event@0\.1\.0/);
  assert.match(output, /parlance:chat\/(messages|kv|broadcast)@0\.1\.0/);
  assert.match(output, /\d+(\.\d+)? ?(bytes|B|KiB|MiB)/);
});

test('inspect of a file that is not a component says so', async () => {
  const dir = temporaryDirectory();
  const path = join(dir, 'letter.wasm');
  writeFileSync(path, 'Dear reader');
  for (const wrong of [path, join(dir, 'absent.wasm')]) {
    const { code, output } = await run(['inspect', wrong]);
    assert.ok(code > 0);
    assert.ok(output.includes(wrong), output);
    assert.doesNotMatch(output, /panicked/);
  }
});
