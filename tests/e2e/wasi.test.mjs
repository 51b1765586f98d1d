// A component from a JavaScript tool chain, with the WASI that it imports.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect } from './lib/client.mjs';
import { javascriptGuest } from './lib/javascript.mjs';
import { test } from './lib/scope.mjs';
import { run, startServer } from './lib/server.mjs';

const component = await javascriptGuest('wasi');
// On a slow machine the interpreter needs more than the usual time for the flood below.
const server = await startServer({ handlers: { event: component }, config: { sandbox: { guest_time: '1s' } } });

test('wasi: parlance inspect accepts the component and lists its imports', async () => {
  const { code, output } = await run(['inspect', component]);
  assert.equal(code, 0, output);
  assert.match(output, /imports.*\bwasi:/s);
  assert.match(output, /handles\s+event/);
});

test('wasi: output is in the log, in order, line by line', async () => {
  const client = await connect(server, 'printer');
  await client.askOk('print');
  const printed = ['printed first', 'logged second', 'printed third,', 'in two lines'];
  await server.waitForOutput(/in two lines/);
  const at = printed.map((text) => server.log.split('\n').findIndex((line) => line.includes(text)));
  assert.ok(at.every((line) => line >= 0), server.log);
  assert.deepEqual(at, [...at].sort((a, b) => a - b), 'in the order printed');
  assert.equal(new Set(at).size, printed.length, 'each on a line of its own');
  await server.waitForOutput(/printed as an error/);
});

test('wasi: output beyond the limit is cut, and the event is answered', async () => {
  const client = await connect(server, 'flooder');
  const before = server.log.length;
  await client.askOk('flood', { count: 60 });
  await client.askOk('clock');
  await server.waitForOutput(/line 0 x/);
  assert.ok(server.log.length - before < 32 * 1024, `${server.log.length - before} bytes of log`);
  assert.doesNotMatch(server.log, /line 59 /);
});

test('wasi: the clock is that of the event', async () => {
  const client = await connect(server, 'watcher');
  const { clock, ambient } = await client.askOk('clock');
  assert.ok(clock >= ambient && clock - ambient < 10_000, `${clock} and ${ambient}`);
  assert.ok(Math.abs(Date.now() - clock) < 60_000);
});

test('wasi: the engine’s error message is in the log, and the client does not get it', async () => {
  const client = await connect(server, 'unlucky');
  const answer = await client.ask('fail');
  assertFailed(answer, 'handler-failed');
  assert.doesNotMatch(JSON.stringify(answer), /property|undefined|wasm/);
  await server.waitForOutput(/cannot read property 'property' of undefined/);
  await client.askOk('clock');
});

test('wasi: a rejection is a rejection, and the next event is handled', async () => {
  const client = await connect(server, 'stranger');
  assertFailed(await client.ask('no-such-action', {}), 'invalid');
  await client.askOk('clock');
});
