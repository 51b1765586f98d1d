// The cache of compiled components: a restarted server does not compile again, and trusts only its own entries.
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { Process, SECRET, guest, run, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const COMPILED = /component compiled/g;
const compiled = (server) => (server.log.match(COMPILED) ?? []).length;
const cacheOf = (server) => join(server.dir, '.parlance/cache');
const entries = (server) => readdirSync(cacheOf(server)).filter((name) => name.endsWith('.code'));

async function answers(server) {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  assert.equal((await ann.post(room, 'hello')).seq, 1);
}

test('compiled components are loaded from the cache at the next start', async () => {
  const server = await startServer({ handlers: { message: guest('stamped') } });
  const count = compiled(server);
  assert.equal(entries(server).length, count);
  assert.ok(count >= 5, `four shipped handlers and one of ours: ${server.log}`);
  assert.equal(statSync(cacheOf(server)).mode & 0o777, 0o700);
  await server.restart();
  assert.equal(compiled(server), 0, server.log);
  await answers(server);
});

test('a modified entry is not used', async () => {
  const server = await startServer();
  const count = compiled(server);
  for (const name of entries(server)) {
    const path = join(cacheOf(server), name);
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(path, bytes);
  }
  await server.restart();
  assert.match(server.log, /a cached component is damaged or not from this server; compiling it again/);
  assert.equal(compiled(server), count, server.log);
  await answers(server);
});

/** Builds a handler in JavaScript, whose answers have its name. */
async function interpreted(name) {
  const cwd = temporaryDirectory();
  const package_ = { name, version: '1.0.0', type: 'module', main: 'handler.js' };
  writeFileSync(join(cwd, 'package.json'), JSON.stringify(package_));
  writeFileSync(join(cwd, 'handler.js'), `export const onEvent = () => '${name}';\n`);
  const { code, output } = await run(['build'], { cwd });
  assert.equal(code, 0, output);
  return join(cwd, `target/components/${name}.wasm`);
}

test('handlers of one interpreter share its code, which is compiled once', async () => {
  const env = { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN };
  const server = await startServer({ env });
  const api = admin(server);
  const deploy = async (name) => {
    const lines = () => server.log.match(/component compiled.*\n/g) ?? [];
    const before = lines().length;
    await api.deploy('default', 'event', await interpreted(name));
    await eventually(() => lines().length > before, 'a line about it');
    const [, libraries, bytes] = lines().at(-1).match(/libraries=(\d+) library_bytes=(\d+)/);
    assert.equal(libraries, '1');
    return Number(bytes);
  };
  const answers = async (name) => {
    const client = await connect(server, 'ann');
    assert.equal(await client.ask('which'), name);
    client.close();
  };
  assert.ok(await deploy('one') > 1_000_000, 'the interpreter');
  await answers('one');
  assert.equal(await deploy('two'), 0, 'nothing of it again');
  await answers('two');
  await server.restart();
  assert.equal(compiled(server), 0, server.log);
  await answers('two');
  // The largest entry is the interpreter's.
  const size = (name) => statSync(join(cacheOf(server), name)).size;
  const [largest] = entries(server).sort((a, b) => size(b) - size(a));
  rmSync(join(cacheOf(server), largest));
  await server.restart();
  assert.equal(compiled(server), 1, server.log);
  await answers('two');
  assert.ok(entries(server).includes(largest));
});

test('a cache that others could write to is refused, with advice', async () => {
  const server = await startServer();
  chmodSync(cacheOf(server), 0o777);
  await server.kill();
  const process = owned(new Process(['serve'], { cwd: server.dir, env: { PORT: '0', JWT_SECRET: SECRET } }));
  const { code } = await process.end();
  assert.equal(code, 1);
  assert.match(process.output, /\.parlance\/cache is open to others.*mode 0700.*sandbox\.cache/);
});

test('without a cache nothing is left on disk', async () => {
  const server = await startServer({ config: { sandbox: { cache: 'none' } } });
  assert.ok(!readdirSync(server.dir).includes('.parlance'));
  await answers(server);
});

test('without a usable cache directory the server runs without cache, and logs it', async () => {
  const dir = temporaryDirectory();
  writeFileSync(join(dir, '.parlance'), 'a file where the directory would be');
  const server = await startServer({ dir });
  assert.match(server.log, /cannot be used for compiled components \(sandbox\.cache\).*compiled at each start/);
  await answers(server);
});
