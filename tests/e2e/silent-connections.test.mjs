// TCP connections without a request, and requests that never end.
import assert from 'node:assert/strict';
import { connect, freshRoom } from './lib/client.mjs';
import { assertServerWorks } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { Tcp, tcp } from './lib/tcp.mjs';
import { eventually } from './lib/wait.mjs';

const GET = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
/** Timeouts of the server under test, in milliseconds, all different. */
const [HEADER, BODY, IDLE] = [400, 900, 1600];
/** How much later than its timeout a connection may be closed on a busy machine. */
const LATE = 5000;

const impatient = await startServer({
  config: { limits: { header_timeout: `${HEADER}ms`, body_timeout: `${BODY}ms`, idle_timeout: `${IDLE}ms` } },
});

const inTime = (ms, time, what) => assert.ok(ms >= time * 0.9 && ms < time + LATE, `${what} was closed after ${ms} ms`);

test('a silent connection, and one with a slow head, is closed after limits.header_timeout', async () => {
  const [silent, dripping] = [await tcp(impatient), await tcp(impatient)];
  dripping.drip(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: ${'x'.repeat(10_000)}`, 20);
  inTime(await silent.end(), HEADER, 'the silent one');
  inTime(await dripping.end(), HEADER, 'the dripping one');
  assert.equal(silent.received + dripping.received, '');
});

test('a connection with a slow body is closed after limits.body_timeout', async () => {
  const { sid } = JSON.parse((await (await fetch(`${impatient.url}/socket.io/?EIO=4&transport=polling`)).text()).slice(1));
  const dripping = await tcp(impatient);
  dripping.socket.write(`POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: localhost\r\n`
    + 'Content-Type: text/plain\r\nContent-Length: 10000\r\n\r\n');
  dripping.drip('4'.repeat(10_000), 20);
  inTime(await dripping.end(), BODY, 'the dripping one');
});

test('a connection that is idle after a response is closed after limits.idle_timeout, not sooner', async () => {
  const idle = await tcp(impatient);
  idle.socket.write(GET);
  await idle.until(() => idle.received.endsWith('ok\n'), 'an answer');
  inTime(await idle.end(), IDLE, 'the idle one');
});

test('no limit of time ends a WebSocket, a poll that waits, or a connection that is used', async () => {
  const [socket, poller] = [await connect(impatient, 'socket'), await connect(impatient, 'poller', { transports: ['polling'] })];
  const used = await tcp(impatient);
  let answers = 0;
  const begun = performance.now();
  while (performance.now() - begun < 2 * IDLE) {
    used.socket.write(GET);
    answers += 1;
    await used.until(() => used.received.split('ok\n').length > answers, `answer ${answers}`);
    await new Promise((done) => setTimeout(done, HEADER / 2));
  }
  assert.equal(used.closed, null);
  for (const client of [socket, poller]) {
    assert.deepEqual([client.disconnects, client.connects], [[], 1]);
    await assertServerWorks(client, freshRoom());
  }
});

test('1,100 silent connections do not block clients of a server with limits.connections = 10', async () => {
  const own = await startServer({ config: { limits: { connections: 10, header_timeout: '60s' } } });
  const silent = [];
  for (let n = 0; n < 1100; n += 100) {
    const some = Array.from({ length: 100 }, () => owned(new Tcp(own.port)));
    await Promise.all(some.map((each) => each.connected()));
    silent.push(...some);
  }
  await assertServerWorks(await connect(own, 'ann'), freshRoom());
  await assertServerWorks(await connect(own, 'bob', { transports: ['polling'] }), freshRoom());
  const open = () => silent.filter((each) => each.closed === null).length;
  await eventually(() => open() <= 1024, 'those beyond limits.silent_connections_per_address to be closed');
  assert.ok(open() >= 1000, 'the others stay');
});

test('of too many silent connections the oldest of that address goes, and no other address pays', async () => {
  const own = await startServer({
    config: { limits: { silent_connections_per_address: 4, silent_connections: 100, header_timeout: '60s' } },
  });
  const other = await tcp(own, '127.0.0.2');
  const mine = [];
  for (let n = 0; n < 6; n += 1) mine.push(await tcp(own));
  await mine[1].end();
  await own.waitForOutput(/a connection without a request was closed for a newer one.*127\.0\.0\.1/);
  assert.deepEqual([other, ...mine].map((each) => each.closed !== null), [false, true, true, false, false, false, false]);
  // A connection with a request is not silent.
  for (const each of mine.slice(2)) each.socket.write(GET);
  for (const each of mine.slice(2)) await each.until(() => each.received.endsWith('ok\n'), 'an answer');
});

test('the heads of requests are bounded', async () => {
  const greedy = await tcp(impatient);
  greedy.socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`);
  await greedy.until(() => greedy.received.startsWith('HTTP/1.1 431'), 'a refusal');
  await greedy.end();
});
