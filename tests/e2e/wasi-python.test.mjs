// A component from a Python tool chain: CPython with all of WASI that it imports, within the default limits.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect } from './lib/client.mjs';
import { pythonGuest } from './lib/python.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const component = pythonGuest('wasi');
const handlers = { event: { component }, count: { component, events: ['count'], isolation: 'warm' } };
const server = await startServer({ config: { handlers } });

test('wasi from Python: events are handled, each in a fresh instance', async () => {
  const client = await connect(server, 'asker');
  for (let n = 0; n < 3; n += 1) assert.deepEqual((await client.askOk('echo', { n })).action, { n });
  const { clock, ambient } = await client.ask('clock', {});
  assert.ok(clock >= ambient && clock - ambient < 10_000, `${clock} and ${ambient}`);
  const numbers = [];
  for (let n = 0; n < 3; n += 1) numbers.push((await client.ask('chance', {})).number);
  assert.equal(new Set(numbers).size, 3, `chance of the host: ${numbers}`);
  assertFailed(await client.ask('no-such-action', {}), 'invalid');
});

test('wasi from Python: output is in the log, in order', async () => {
  const client = await connect(server, 'printer');
  await client.askOk('print', {});
  await server.waitForOutput(/printed as an error/);
  const lines = server.log.split('\n');
  const at = ['printed first', 'logged second'].map((text) => lines.findIndex((line) => line.includes(text)));
  assert.ok(at[0] >= 0 && at[0] < at[1], server.log);
});

test('wasi from Python: a trace is in the log, the client learns nothing of it, and the next event is handled', async () => {
  const client = await connect(server, 'unlucky');
  const answer = await client.ask('fail', {});
  assertFailed(answer, 'handler-failed');
  assert.doesNotMatch(JSON.stringify(answer), /RuntimeError|app\.py|expects/);
  await server.waitForOutput(/RuntimeError: nobody expects this/);
  await server.waitForOutput(/app\.py", line \d+, in fail/);
  await client.askOk('echo', {});
});

test('wasi from Python: within the default limits a warm instance stays', async () => {
  const client = await connect(server, 'asker');
  const counts = [];
  for (let n = 0; n < 4; n += 1) counts.push((await client.askOk('count', {})).count);
  assert.deepEqual(counts, [1, 2, 3, 4]);
});

test('wasi from Python: there are no files', async () => {
  const client = await connect(server, 'burglar');
  for (const path of ['/etc/passwd', '/proc/self/environ', 'app.py', '/']) {
    assertFailed(await client.ask('files', { path }), 'handler-failed');
  }
  await server.waitForOutput(/FileNotFoundError/);
});
