// The cache of compiled components: a restarted server does not compile again, and trusts only its own entries.
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { Process, SECRET, guest, startServer, temporaryDirectory } from './lib/server.mjs';

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
