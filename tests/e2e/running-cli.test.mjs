// The commands, as people type them.
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import jwt from 'jsonwebtoken';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, run, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';

test('serve without a secret refuses and says how to set one', async () => {
  const { code, output } = await run(['serve'], { cwd: temporaryDirectory(), env: { PORT: '0' } });
  assert.ok(code > 0);
  assert.match(output, /JWT_SECRET/);
  assert.doesNotMatch(output, /listening on|panicked/);
});

test('dev without a secret makes one, says so, and keeps it', async () => {
  const server = await startServer({ command: 'dev', env: { JWT_SECRET: undefined } });
  await server.sees(/secret/i);
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
  const [said, served, listens] = [/compiling [^\n]*handler\.wasm/, /message events: now handled by/, /listening on/]
    .map((pattern) => server.log.search(pattern));
  assert.ok(said >= 0 && said < served && served < listens, server.log);
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  await ann.post(room, 'by whom?');
  assert.equal((await ann.next('new-message')).metadata?.by, 'stamped');
  writeFileSync(file, 'no component');
  await server.sees(/handler\.wasm is not taken[^\n]*what ran before goes on/);
  await ann.post(room, 'still?');
  assert.equal((await ann.next('new-message', ({ seq }) => seq === 2)).metadata?.by, 'stamped');
});

test('dev FILE: a file that is no handler ends the start with the reason', async () => {
  const file = join(temporaryDirectory(), 'handler.wasm');
  writeFileSync(file, 'no component');
  const { code, output } = await run(['dev', file], { cwd: temporaryDirectory(), env: { PORT: '0' } });
  assert.equal(code, 1, output);
  assert.match(output, /parlance: .*handler\.wasm is not taken: this is not a WebAssembly component/);
  assert.doesNotMatch(output, /listening on/);
});

test('token mints what was asked for, and the server takes it', async () => {
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

test('token without a user, or with a lifetime that is none, says what is wrong', async () => {
  const env = { JWT_SECRET: SECRET };
  const cwd = temporaryDirectory();
  const nobody = await run(['token'], { cwd, env });
  assert.ok(nobody.code > 0);
  assert.match(nobody.output, /--user/);
  const endless = await run(['token', '--user', 'ann', '--ttl', 'forever'], { cwd, env });
  assert.ok(endless.code > 0);
  assert.match(endless.output, /ttl/);
});

test('--help names every command, and each has a help of its own', async () => {
  const { code, output } = await run(['--help']);
  assert.equal(code, 0);
  const commands = ['serve', 'dev', 'token', 'check-config', 'inspect', 'deploy', 'canary', 'promote', 'rollback', 'remove',
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

test('a command that is none is refused', async () => {
  const { code, output } = await run(['sevre']);
  assert.ok(code > 0);
  assert.match(output, /serve/, 'the likely one is proposed');
});

test('inspect tells imports, exports, size and what would be allowed', async () => {
  const { code, output } = await run(['inspect', guest('hostile')]);
  assert.equal(code, 0, output);
  assert.match(output, /parlance:chat\/on-event@0\.1\.0/);
  assert.match(output, /parlance:chat\/(messages|kv|broadcast)@0\.1\.0/);
  assert.match(output, /\d+(\.\d+)? ?(bytes|B|KiB|MiB)/);
});

test('inspect of what is no component says so', async () => {
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
