// Backups, restores, and a server whose database is damaged.
import assert from 'node:assert/strict';
import { cpSync, existsSync, openSync, closeSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { run, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const WRITERS = 8;
/** Bytes of an SQLite page. */
const PAGE = 4096;

/** Runs a command of the server with this database. */
function parlance(database, ...args) {
  return run(args, { cwd: temporaryDirectory(), env: { DATABASE_URL: `sqlite:${database}` } });
}

/** Writes until it is stopped or the server is gone; returns the acknowledged messages by room. */
async function writing(server) {
  const acknowledged = new Map();
  let stopped = false;
  const clients = await Promise.all(Array.from({ length: WRITERS }, (_, n) => connect(server, `writer-${n}`)));
  const ends = clients.map(async (client, n) => {
    const room = `room-${n}`;
    acknowledged.set(room, []);
    await client.join(room);
    for (let i = 0; !stopped && client.socket.connected; i += 1) {
      await new Promise((resolve) => {
        client.socket.once('disconnect', resolve);
        client.socket.emit('send-message', { roomId: room, content: `message ${i}` }, (answer) => {
          if (answer.ok) acknowledged.get(room).push(answer.message.id);
          client.socket.off('disconnect', resolve);
          resolve();
        });
      });
    }
    client.close();
  });
  const counted = () => [...acknowledged.values()].reduce((sum, ids) => sum + ids.length, 0);
  return {
    counted,
    soFar: () => new Map([...acknowledged].map(([room, ids]) => [room, [...ids]])),
    until: (count) => eventually(() => counted() >= count, `${count} acknowledged messages`),
    async stop() {
      stopped = true;
      await Promise.all(ends);
    },
  };
}

/** Asserts that all these messages are stored, in order and without gaps. */
async function assertStored(server, expected) {
  const reader = await connect(server, 'reader');
  for (const [room, ids] of expected) {
    await reader.join(room);
    const stored = await reader.history(room);
    assert.deepEqual(stored.map((message) => message.seq), stored.map((_, n) => n + 1), room);
    assert.deepEqual(stored.slice(0, ids.length).map((message) => message.id), ids, room);
  }
  reader.close();
}

test('a backup has every message that was acknowledged before it, and a restore after kill -9 brings them back', async () => {
  const server = await startServer();
  const database = join(server.dir, 'chat.db');
  const copy = join(server.dir, 'copy.db');
  const load = await writing(server);
  await load.until(200);
  const before = load.soFar();
  const backup = await parlance(database, 'backup', copy);
  assert.equal(backup.code, 0, backup.output);
  assert.match(backup.stdout, /copy\.db is a backup of .*chat\.db \(\d+ bytes\)/);
  assert.ok(!existsSync(`${copy}-wal`) && !existsSync(`${copy}-shm`), 'it is one file');
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  // The server has continued, and is killed while it works.
  await load.until(load.counted() + 200);
  await server.kill();
  const all = load.soFar();
  await load.stop();
  assert.ok(statSync(`${database}-wal`).size > 0, 'its log lies beside the database');

  const restore = await parlance(database, 'restore', copy);
  assert.equal(restore.code, 0, restore.output);
  assert.match(restore.stdout, /chat\.db is restored from .*copy\.db .* The database before is .*chat\.db\.before-restore/);
  await server.start();
  await assertStored(server, before);
  const writer = await connect(server, 'writer-0');
  await writer.join('room-0');
  assert.equal((await writer.post('room-0', 'goes on')).seq, (await writer.history('room-0')).length);
  await server.stop();

  // The replaced database has every acknowledged message, and is itself a valid backup.
  const back = await parlance(database, 'restore', '--force', `${database}.before-restore`);
  assert.equal(back.code, 0, back.output);
  await server.start();
  await assertStored(server, all);
});

test('a restore needs the server to be stopped, and neither command overwrites anything unasked', async () => {
  const server = await startServer();
  const database = join(server.dir, 'chat.db');
  const copy = join(server.dir, 'copy.db');
  const writer = await connect(server, 'ann');
  await writer.join('room');
  const { id } = await writer.post('room', 'one');
  assert.equal((await parlance(database, 'backup', copy)).code, 0);
  const again = await parlance(database, 'backup', copy);
  assert.equal(again.code, 1);
  assert.match(again.output, /copy\.db exists already.*--force/);
  assert.equal((await parlance(database, 'backup', '--force', copy)).code, 0);
  for (const own of [database, `${database}-wal`]) {
    const refused = await parlance(database, 'backup', '--force', own);
    assert.equal(refused.code, 1);
    assert.match(refused.output, /belongs to the database itself/);
  }
  const running = await parlance(database, 'restore', '--force', copy);
  assert.equal(running.code, 1);
  assert.match(running.output, /in use by another server/);
  const missing = await parlance(database, 'restore', join(server.dir, 'nothing.db'));
  assert.equal(missing.code, 1);
  assert.match(missing.output, /there is no database .*nothing\.db/);
  await assertStored(server, new Map([['room', [id]]]));
  await server.stop();

  assert.equal((await parlance(database, 'restore', copy)).code, 0);
  const kept = await parlance(database, 'restore', copy);
  assert.equal(kept.code, 1);
  assert.match(kept.output, /before-restore exists already/);

  const env = { DATABASE_URL: 'postgres://parlance:secret@127.0.0.1:1/chat' };
  for (const [args, tool] of [[['backup', copy, '--force'], /pg_dump/], [['restore', copy], /pg_restore/]]) {
    const other = await run(args, { cwd: server.dir, env });
    assert.equal(other.code, 2);
    assert.match(other.output, tool);
    assert.doesNotMatch(other.output, /secret/);
  }
});

for (const [what, copied] of [['an older copy with its log', ['', '-wal']], ['a log that was left of an older copy', ['-wal']]]) {
  test(`a backup in the place of ${what} is restored unchanged`, async () => {
    const server = await startServer();
    const database = join(server.dir, 'chat.db');
    const file = join(server.dir, 'copy.db');
    const ann = await connect(server, 'ann');
    await ann.join('room');
    const post = async (count) => {
      for (let n = 0; n < count; n += 1) await ann.post('room', 'x'.repeat(300));
    };
    await post(20);
    for (const end of copied) cpSync(database + end, file + end);
    await post(30);
    const refused = await parlance(database, 'backup', file);
    assert.equal(refused.code, 1, refused.output);
    assert.match(refused.output, /exists already; choose another name, or use --force/);
    const made = await parlance(database, 'backup', '--force', file);
    assert.equal(made.code, 0, made.output);
    assert.deepEqual(['-wal', '-shm', '-journal'].filter((end) => existsSync(file + end)), []);
    // A file that appears next to it later does not belong to the backup either.
    cpSync(`${database}-wal`, `${file}-wal`);
    await server.stop();
    const restored = await parlance(database, 'restore', file);
    assert.equal(restored.code, 0, restored.output);
    await server.start();
    const bob = await connect(server, 'bob');
    assert.equal((await bob.join('room')).lastSeq, 50);
  });
}

test('a backup replaces only regular files', async () => {
  const server = await startServer();
  const database = join(server.dir, 'chat.db');
  for (const [path, why] of [[server.dir, /is a directory/], ['/dev/null', /is not a file that can be replaced/]]) {
    const { code, output } = await parlance(database, 'backup', '--force', path);
    assert.equal(code, 1, output);
    assert.match(output, why);
  }
  assert.ok(statSync('/dev/null').isCharacterDevice());
});

test('a damaged database is refused before the server listens, and is neither backed up nor restored', async () => {
  const server = await startServer();
  const database = join(server.dir, 'chat.db');
  const writer = await connect(server, 'ann');
  await writer.join('room');
  for (let i = 0; i < 100; i += 1) await writer.post('room', `${i} `.repeat(1000));
  await server.stop();
  const length = statSync(database).size;
  assert.ok(length > 20 * PAGE);
  const write = (path, at, bytes) => {
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.from(bytes), 0, bytes.length, at);
    closeSync(file);
  };
  const damages = {
    'half of it is missing': (path) => truncateSync(path, length / 2),
    'its last byte is missing': (path) => truncateSync(path, length - 1),
    'bits of its beginning are flipped': (path) => write(path, 0, [~readFileSync(path)[0] & 0xff]),
    'bits of a page are flipped': (path) => {
      // The first byte of a page is its type; 13 and 10 are leaves of tables and of indices.
      const content = readFileSync(path);
      const pages = Array.from({ length: length / PAGE }, (_, n) => n * PAGE).slice(1);
      const leaf = pages.findLast((at) => content[at] === 10 || content[at] === 13);
      write(path, leaf, [~content[leaf] & 0xff]);
    },
    'it is another file': (path) => writeFileSync(path, 'no database. '.repeat(1000)),
  };
  for (const [what, damage] of Object.entries(damages)) {
    const damaged = join(server.dir, 'damaged.db');
    cpSync(database, damaged);
    damage(damaged);
    const env = { DATABASE_URL: `sqlite:${damaged}`, JWT_SECRET: 'x'.repeat(32), PORT: '0' };
    const start = await run(['serve'], { cwd: server.dir, env });
    assert.equal(start.code, 1, `${what}: ${start.output}`);
    assert.match(start.output, /damaged.*parlance restore FILE/s, what);
    assert.doesNotMatch(start.output, /listening on|panicked/, what);
    const copy = join(server.dir, 'copy.db');
    const backup = await parlance(damaged, 'backup', copy);
    assert.equal(backup.code, 1, `${what}: ${backup.output}`);
    assert.match(backup.output, /damaged/, what);
    assert.ok(!existsSync(copy), what);
    const restore = await parlance(database, 'restore', damaged);
    assert.equal(restore.code, 1, `${what}: ${restore.output}`);
    assert.match(restore.output, /damaged/, what);
  }
  // None of this has changed the database.
  await server.start();
  const ann = await connect(server, 'ann');
  await ann.join('room');
  assert.equal((await ann.history('room')).length, 100);
});
