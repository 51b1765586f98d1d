// Logs for machines and people.
import assert from 'node:assert/strict';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';
import { token } from './lib/token.mjs';

const server = await startServer({
  config: { log: { format: 'json', level: 'info,parlance=debug' } },
  handlers: { event: guest('hostile') },
});

/** Waits for a log line that satisfies `wanted` and returns it. */
async function logged(wanted, what) {
  let line;
  const found = () => {
    line = lines().find(wanted);
    return line ?? null;
  };
  await server.waitForOutput({ [Symbol.match]: found, toString: () => what });
  return line;
}

function lines() {
  // The last piece may be an incomplete line.
  return server.log.split('\n').slice(0, -1).filter(Boolean).map((line) => JSON.parse(line));
}

/** The fields of a line, including those of its span. */
const fields = (line) => Object.assign({}, ...(line.spans ?? []), line.span, line.fields, line);

test('every line is JSON with a time, a level and a target', async () => {
  await connect(server, 'ann');
  for (const line of lines()) {
    assert.ok(!Number.isNaN(Date.parse(line.timestamp)), JSON.stringify(line));
    assert.match(line.level, /^(TRACE|DEBUG|INFO|WARN|ERROR)$/);
    assert.equal(typeof line.target, 'string');
  }
});

test('a failing event is logged with its connection, its id and its handler', async () => {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  await ann.ask('post-then-trap', { roomId: room });
  await ann.ask('post-then-trap', { roomId: room });
  const isIt = (line) => line.level !== 'DEBUG' && JSON.stringify(line).includes('post-then-trap');
  await eventually(() => lines().filter(isIt).length >= 2, 'a line about each trap');
  const [first, second] = lines().filter(isIt).map(fields);
  assert.ok(first.connection && first.event && first.handler, JSON.stringify(first));
  assert.equal(first.connection, second.connection);
  assert.notEqual(first.event, second.event);
});

test('a guest’s lines are in the log, with their event', async () => {
  const ann = await connect(server, 'ann');
  await ann.ask('log', { message: 'a word\u001b[31m from the guest\nin two lines' });
  const line = fields(await logged((each) => JSON.stringify(each).includes('a word'), "the guest's words"));
  assert.ok(line.connection && line.event && line.handler, JSON.stringify(line));
});

test('neither tokens nor contents of messages are logged', async () => {
  const room = freshRoom();
  const secret = token('ann');
  const ann = await connect(server, 'ann', { auth: { token: secret } });
  await ann.join(room);
  await ann.post(room, 'something private');
  await ann.ask('refresh-token', secret);
  await ann.ask('send-message', { roomId: room, content: 'something private', clientId: 7 });
  await ann.ask('log', { message: 'after all that' });
  await server.waitForOutput(/after all that/);
  assert.ok(!server.log.includes(secret));
  assert.ok(!server.log.includes('something private'));
});

test('no line has a path of the machine that built the server', async () => {
  const talkative = await startServer({ config: { log: { format: 'json', level: 'info,refinery_core=info' } } });
  await connect(talkative, 'ann');
  assert.match(talkative.log, /"log\.target"/, 'libraries that use `log` are in the log');
  const paths = talkative.log.split('\n').filter((line) => /\.cargo|registry\/src|rustc\/|"log\.file"|\/host\/src/.test(line));
  assert.deepEqual(paths, []);
  const usual = await startServer({ config: { log: { format: 'json', level: 'info' } } });
  assert.doesNotMatch(usual.log, /refinery/, 'what migrations say is there for who asks for it');
});

const TURNED = 'a\u202ettxet\u2066\u061c';

for (const format of ['text', 'json']) {
  test(`controls of the writing direction do not reach the log (${format}), from any source`, async () => {
    const own = await startServer({
      config: { log: { format, level: 'info,parlance=debug' } },
      handlers: { event: guest('hostile') },
    });
    const ann = await connect(own, 'ann');
    await ann.ask('log', { message: `by a handler ${TURNED}` });
    await ann.ask('reject', { message: TURNED });
    await ann.ask(`an event ${TURNED}`, {});
    await own.waitForOutput(/by a handler/);
    await own.waitForOutput(/an event /);
    assert.doesNotMatch(own.log, /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u);
    assert.ok(own.log.includes(format === 'json' ? '\\u202e' : '\\u{202e}'), 'they are escaped');
    if (format === 'json') for (const line of own.log.split('\n').slice(0, -1).filter(Boolean)) JSON.parse(line);
  });
}
