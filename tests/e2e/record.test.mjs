// What a live server records, and its replay in another directory, without a server.
// The promise is that an event runs again to the byte.
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, Process, run, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ handlers: { event: guest('hostile') }, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });

/** The lines of a recording: its header, contexts by number, events. */
function read(text) {
  const [header, ...lines] = text.trim().split('\n').map((line) => JSON.parse(line));
  const contexts = new Map(lines.filter((line) => line.context).map((line) => [line.context, line]));
  return { header, contexts, events: lines.filter((line) => line.event) };
}

/** Records while `act` runs. Returns the file's path and its text. */
async function record(at, args, act) {
  const file = join(temporaryDirectory(), 'events.ndjson');
  const recording = owned(new Process(['record', ...args, '-o', file], {
    env: { PARLANCE_SERVER: at.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  }));
  await recording.waitForOutput(/recording on the node/);
  await act();
  const { code } = await recording.end();
  assert.equal(code, 0, recording.output);
  return { file, text: readFileSync(file, 'utf8'), output: recording.output };
}

/** Replays a file in a directory of its own. */
function replay(file, ...args) {
  return run(['replay', file, ...args], { cwd: temporaryDirectory() });
}

test('a trap of a live server is the same trap offline, with its backtrace', async () => {
  const client = await connect(server, 'ann');
  const room = await client.join(freshRoom()).then(() => freshRoom());
  const { file, text } = await record(server, ['--handler', 'event', '--traps', '--limit', '1', '--with-content'], async () => {
    await client.ask('kv-get', { key: 'k' });
    const answer = await client.ask('kv-set-then-trap', { roomId: room, key: 'k' });
    assert.equal(answer.error.code, 'handler-failed');
  });
  const { header, events: [event, ...others] } = read(text);
  assert.equal(header.parlanceRecording, 1);
  assert.deepEqual([others, event.outcome.end.is, event.outcome.end.trap], [[], 'trapped', 'guest']);
  const replayed = await replay(file, '--component', guest('hostile'));
  assert.equal(replayed.code, 0, replayed.output);
  assert.match(replayed.stdout, /event 1 \(event, event\): the same trap: guest: wasm trap: .*`unreachable`.*\n {4}0: /);
  assert.match(replayed.stdout, /1 events on the component that was recorded: 1 the same to the byte/);
});
