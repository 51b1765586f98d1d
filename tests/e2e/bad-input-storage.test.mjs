// Databases that cannot be used, and a disk that runs full.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { fill, smallDisk } from './lib/disk.mjs';
import { assertServerWorks } from './lib/raw.mjs';
import { test } from './lib/scope.mjs';
import { run, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';

const serve = (database, cwd) =>
  run(['serve'], { cwd, env: { PORT: '0', JWT_SECRET: SECRET, DATABASE_URL: database } });

/** Asserts that the server refused to start and named the cause. */
function assertExplained({ code, output }, path) {
  assert.ok(code > 0, `exit code ${code}`);
  assert.ok(output.includes(path), `the path is named: ${output}`);
  assert.doesNotMatch(output, /panicked|listening on/);
}

test('a database path that cannot be written stops the start and is named', async () => {
  const dir = temporaryDirectory();
  // With a file in place of a directory, not even root can write.
  const path = join(dir, 'file', 'chat.db');
  writeFileSync(join(dir, 'file'), '');
  assertExplained(await serve(`sqlite:${path}`, dir), path);
});

test('a directory as the database stops the start and is named', async () => {
  const dir = temporaryDirectory();
  assertExplained(await serve(`sqlite:${dir}`, dir), dir);
});

test('a file that is not a database stops the start, is named and stays unchanged', async () => {
  const dir = temporaryDirectory();
  const path = join(dir, 'letter.txt');
  const letter = 'Dear reader, this is not a database.\n'.repeat(200);
  writeFileSync(path, letter);
  assertExplained(await serve(`sqlite:${path}`, dir), path);
  assert.equal(readFileSync(path, 'utf8'), letter);
});

test('a database address of no known kind stops the start and is named', async () => {
  assertExplained(await serve('carrier-pigeon://loft', temporaryDirectory()), 'DATABASE_URL');
});

test('with a full disk writes are refused, reads continue, and the server recovers', async () => {
  const dir = smallDisk(16);
  const server = await startServer({ env: { DATABASE_URL: `sqlite:${join(dir, 'chat.db')}` } });
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  await ann.post(room, 'before');
  const giveBack = fill(dir);

  // Pages that the database already has may have room for a few more messages.
  const content = 'x'.repeat(16 * 1024);
  let accepted = 1;
  let answer;
  for (;;) {
    answer = await ann.ask('send-message', { roomId: room, content });
    if (!answer.ok) break;
    accepted += 1;
    assert.ok(accepted < 2000, 'the disk is full, and yet it goes on');
  }
  assertFailed(answer, 'unavailable');
  assert.equal(answer.error.retryable, true);
  assert.doesNotMatch(answer.error.message, /sqlite|\/tmp/i, 'no inner details');
  assert.equal((await ann.history(room)).length, accepted, 'reading goes on');
  await ann.askOk('typing', room);
  assert.equal(ann.disconnects.length, 0);

  giveBack();
  await assertServerWorks(ann, room);
  const bob = await connect(server, 'bob');
  await bob.join(room);
  const messages = await bob.history(room);
  assertGapless(messages, accepted + 1);
  assert.deepEqual(ann.messages(room), messages, 'what was refused was shown to nobody');
});
