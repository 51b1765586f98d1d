// Engine.IO, protocol version 4: each case of the protocol's suite, and further rules of its specification.
import assert from 'node:assert/strict';
import { FAST, startConformance } from './lib/conformance.mjs';
import { test } from './lib/scope.mjs';
import { PATH, Polling, POLLING, SEPARATOR, Socket, summaryOf, WEBSOCKET } from './lib/sessions.mjs';
import { eventually } from './lib/wait.mjs';
import { exchange, OPCODE, UPGRADE, wire } from './lib/wire.mjs';

const server = await startConformance();
const impatient = await startConformance(FAST);

const PING = '2';
const PONG = '3';
/** An event with one attachment, and its echo. */
const BINARY = '451-["message",{"_placeholder":true,"num":0}]';
const BINARY_BACK = '451-["message-back",{"_placeholder":true,"num":0}]';

/** Checks the OPEN packet, except for the session's id. */
function assertOpen(packet, upgrades, { pingInterval, pingTimeout }) {
  assert.equal(packet[0], '0');
  const { sid, ...rest } = JSON.parse(packet.slice(1));
  assert.match(sid, /^[\w-]{20,}$/);
  assert.deepEqual(rest, { upgrades, pingInterval, pingTimeout, maxPayload: 32 * 64 * 1024 });
}

const status = async (method, target, options) => (await exchange(server, method, target, options)).status;

test('a session is opened over polling, which offers an upgrade', async () => {
  const { status: code, headers, body } = await exchange(impatient, 'GET', POLLING);
  assert.equal(code, 200);
  assert.match(headers['content-type'], /^text\/plain; *charset=utf-8$/i);
  assertOpen(body, ['websocket'], { pingInterval: 300, pingTimeout: 2000 });
});

test('a session is opened over a WebSocket, which offers no upgrade', async () => {
  const connection = wire(server);
  connection.request('GET', WEBSOCKET, { headers: UPGRADE });
  assert.equal((await connection.answer()).status, 101);
  await connection.until(() => connection.frames.length > 0, 'OPEN');
  assertOpen(connection.frames[0], [], { pingInterval: 25_000, pingTimeout: 20_000 });
});

test('a request without the version, with another one or with no number is refused', async () => {
  for (const version of ['', 'EIO=3&', 'EIO=5&', 'EIO=abc&', 'EIO=&']) {
    for (const [transport, headers] of [['polling', {}], ['websocket', UPGRADE]]) {
      const answer = await exchange(server, 'GET', `${PATH}?${version}transport=${transport}`, { headers });
      assert.equal(summaryOf(answer), '400 code 5', `${version}${transport}`);
    }
  }
});

test('a request without a transport, or with an unknown one, is refused', async () => {
  for (const transport of ['', '&transport=', '&transport=abc', '&transport=webtransport']) {
    for (const headers of [{}, UPGRADE]) {
      assert.equal(summaryOf(await exchange(server, 'GET', `${PATH}?EIO=4${transport}`, { headers })), '400 code 0', transport);
    }
  }
});

test('a session is opened by GET only', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) assert.equal(await status(method, POLLING, { body: '' }), 400, method);
});

for (const [what, packets, back] of [
  ['one text', ['42["message","hello"]'], ['42["message-back","hello"]']],
  ['several texts', [1, 2, 3].map((n) => `42["message",${n}]`), [1, 2, 3].map((n) => `42["message-back",${n}]`)],
  ['text and bytes', ['42["message","hello"]', BINARY, 'bAQIDBA=='], ['42["message-back","hello"]', BINARY_BACK, 'bAQIDBA==']],
]) {
  test(`a body of ${what} is accepted, and polls return the answers in that order`, async () => {
    const session = await Polling.join(server);
    assert.equal(summaryOf(await session.post(packets.join(SEPARATOR))), '200 ok');
    assert.deepEqual(await session.rest(), [...back, 'open']);
  });
}

test('packets that wait come with one poll', async () => {
  const session = await Polling.open(server);
  await session.post(`40${JSON.stringify(server.auth)}`);
  const packets = [];
  await eventually(async () => {
    packets.push((await session.poll()).body.split(SEPARATOR));
    return packets.flat().some((packet) => packet.startsWith('42["auth"'));
  }, 'the welcome');
  const all = Array.from({ length: 20 }, (_, n) => n);
  await session.post(all.map((n) => `42["message",${n}]`).join(SEPARATOR));
  // The acknowledgement of a later event: by then they have been handled.
  const other = await Polling.join(server);
  assert.deepEqual(await other.rest(), ['open']);
  let polls = 0;
  const back = [];
  while (back.length < all.length) {
    back.push(...(await session.poll()).body.split(SEPARATOR));
    polls += 1;
  }
  assert.deepEqual(back, all.map((n) => `42["message-back",${n}]`));
  assert.ok(polls < all.length, `${polls} polls`);
});

test('text is echoed over a WebSocket', async () => {
  const socket = await Socket.join(server);
  socket.text('42["message","hello"]');
  assert.deepEqual(await socket.rest(), ['42["message-back","hello"]', 'open']);
});

test('bytes are echoed over a WebSocket', async () => {
  const socket = await Socket.join(server);
  socket.text(BINARY);
  socket.send(OPCODE.binary, Buffer.from([1, 2, 3, 4]));
  assert.deepEqual(await socket.rest(), [BINARY_BACK, '<01020304>', 'open']);
});

test('an invalid packet closes the session, over both transports', async () => {
  for (const packet of ['abc', '7', '']) {
    const session = await Polling.join(server);
    assert.equal((await session.post(packet)).status, 400, packet);
    assert.equal(summaryOf(await session.poll()), '400 code 1', packet);
    const socket = await Socket.join(server);
    socket.text(packet);
    assert.deepEqual(await socket.end(), ['close', 'ended'], packet);
  }
});

test('a second concurrent poll closes the session, and the first one is answered', async () => {
  const session = await Polling.join(server);
  const one = await session.begin('GET');
  // Whichever the server has taken first.
  const [first, second] = [await session.poll(), await one.answer()].sort((a, b) => a.status - b.status);
  assert.deepEqual([summaryOf(first), second.status], ['200 1', 400]);
  assert.equal(summaryOf(await session.poll()), '400 code 1');
});

test('a poll that its client cuts ends the session', async () => {
  const session = await Polling.join(server);
  (await session.begin('GET')).close();
  await session.gone();
});

test('pings come over polling an interval apart, and pongs keep the session', async () => {
  const begun = performance.now();
  const session = await Polling.open(impatient);
  await session.post(`40${JSON.stringify(impatient.auth)}`);
  let pings = 0;
  while (pings < 3) {
    const { status: code, body } = await session.poll();
    assert.equal(code, 200);
    if (!body.split(SEPARATOR).includes(PING)) continue;
    pings += 1;
    assert.equal(summaryOf(await session.post(PONG)), '200 ok');
  }
  const took = performance.now() - begun;
  assert.ok(took >= 3 * 300, `three pings in ${took} ms`);
});

test('pings come over a WebSocket an interval apart, and pongs keep the session', async () => {
  const begun = performance.now();
  const socket = await Socket.join(impatient);
  for (let n = 0; n < 3; n += 1) {
    assert.deepEqual(await socket.frame(PING), [PING]);
    socket.text(PONG);
  }
  const took = performance.now() - begun;
  assert.ok(took >= 3 * 300, `three pings in ${took} ms`);
  assert.deepEqual((await socket.rest()).filter((frame) => frame !== PING), ['open']);
});

test('a session whose pings are not answered ends, over both transports', async () => {
  // In a namespace, so that `limits.connect_timeout` does not end them.
  const session = await Polling.join(impatient);
  const socket = await Socket.join(impatient);
  await socket.wire.until(() => socket.wire.ended || socket.wire.frames.some((frame) => frame.startsWith('close')), 'the end');
  await eventually(async () => (await session.poll()).status === 400, 'the end of the session over polling');
});

test('CLOSE ends the session over polling, and a poll that waits is let go', async () => {
  const session = await Polling.join(server);
  const poll = await session.begin('GET');
  assert.equal(summaryOf(await session.post('1')), '200 ok');
  assert.equal((await poll.answer()).body, '6');
  assert.equal(summaryOf(await session.poll()), '400 code 1');
});

test('CLOSE between two polls lets the next one go', async () => {
  const session = await Polling.join(server);
  assert.equal(summaryOf(await session.post('1')), '200 ok');
  assert.equal((await session.poll()).body, '6');
  assert.equal(summaryOf(await session.poll()), '400 code 1');
});

test('a session closed between two polls delivers its packets to the next one', async () => {
  const session = await Polling.join(server);
  // An invalid Socket.IO packet: the server closes.
  assert.equal(summaryOf(await session.post(['42["message",1]', '4abc'].join(SEPARATOR))), '200 ok');
  assert.equal((await session.poll()).body.split(SEPARATOR).at(-1), '1');
  assert.equal(summaryOf(await session.poll()), '400 code 1');
});

test('CLOSE ends the session over a WebSocket', async () => {
  const socket = await Socket.begin(server);
  socket.text('1');
  assert.deepEqual(await socket.end(), ['close', 'ended']);
});

/** A session that was upgraded from polling to a WebSocket. */
async function upgraded() {
  const session = await Polling.join(server);
  const socket = await session.upgrade();
  socket.text('2probe');
  assert.deepEqual(await socket.frame('3'), ['3probe']);
  socket.text('5');
  assert.deepEqual(await socket.rest(), ['open']);
  return { session, socket };
}

test('a WebSocket takes over after its probe, and the waiting poll is released', async () => {
  const session = await Polling.join(server);
  const poll = await session.begin('GET');
  const socket = await session.upgrade();
  socket.text('2probe');
  assert.deepEqual(await socket.frame('3'), ['3probe']);
  assert.equal((await poll.answer()).body, '6');
  socket.text('5', '42["message","hello"]');
  assert.deepEqual(await socket.rest(), ['42["message-back","hello"]', 'open']);
});

test('a session that a WebSocket has taken over is not served over polling', async () => {
  const { session, socket } = await upgraded();
  assert.equal((await session.poll()).status, 400);
  assert.equal((await session.post('42["message",1]')).status, 400);
  assert.deepEqual(await socket.rest(), ['open']);
});

test('a second WebSocket for a session that has one is closed, and the first continues', async () => {
  const { session, socket } = await upgraded();
  const second = await session.upgrade();
  assert.equal(second.answer.status, 101);
  assert.deepEqual(await second.end(), ['close', 'ended']);
  socket.text('42["message","hello"]');
  assert.deepEqual(await socket.rest(), ['42["message-back","hello"]', 'open']);
});

test('a second WebSocket during an upgrade is closed, and the first takes over', async () => {
  const session = await Polling.join(server);
  const first = await session.upgrade();
  const second = await session.upgrade();
  assert.deepEqual(await second.end(), ['close', 'ended']);
  first.text('2probe');
  assert.deepEqual(await first.frame('3'), ['3probe']);
  first.text('5');
  assert.deepEqual(await first.rest(), ['open']);
});
