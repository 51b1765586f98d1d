// Socket.IO, protocol version 5: each case of the protocol's suite that does not belong to Engine.IO, and further rules
// of its specification.
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { FAST, startConformance } from './lib/conformance.mjs';
import { test } from './lib/scope.mjs';
import { Polling, SEPARATOR, Socket, summaryOf } from './lib/sessions.mjs';
import { OPCODE } from './lib/wire.mjs';

const server = await startConformance();
const impatient = await startConformance(FAST);

const connectTo = (namespace, auth) => `40${namespace === '/' ? '' : `${namespace},`}${JSON.stringify(auth)}`;
const head = (namespace) => (namespace === '/' ? '' : `${namespace},`);

for (const namespace of ['/', '/custom']) {
  const auth = namespace === '/' ? server.auth : server.customAuth;

  test(`CONNECT to ${namespace} is answered with an id, then the handler's packets come`, async () => {
    const socket = await Socket.begin(server);
    socket.text(connectTo(namespace, auth));
    const frames = await socket.frame(`42${head(namespace)}`);
    assert.deepEqual(frames, [`40${head(namespace)}{"sid":"…"}`, `42${head(namespace)}["auth",{}]`]);
  });

  test(`CONNECT to ${namespace} passes the client’s auth to the handler`, async () => {
    const socket = await Socket.begin(server);
    socket.text(connectTo(namespace, { ...auth, device: '123', more: [1, { a: null }] }));
    const frames = await socket.frame(`42${head(namespace)}`);
    assert.equal(frames[1], `42${head(namespace)}["auth",{"device":"123","more":[1,{"a":null}]}]`);
  });
}

test('the id is not the secret of the session, and another in each namespace and connection', async () => {
  const ids = new Set();
  for (let n = 0; n < 2; n += 1) {
    const session = await Polling.open(server);
    await session.post([connectTo('/', server.auth), connectTo('/custom', server.customAuth)].join(SEPARATOR));
    const packets = [];
    while (packets.filter((packet) => packet.startsWith('40')).length < 2) packets.push(...(await session.poll()).body.split(SEPARATOR));
    const [main, custom] = ['40{', '40/custom,{'].map((start) => packets.find((packet) => packet.startsWith(start)));
    ids.add(session.sid).add(JSON.parse(main.slice(2)).sid);
    assert.equal(typeof JSON.parse(custom.slice('40/custom,'.length)).sid, 'string');
  }
  assert.equal(ids.size, 4);
});

test('CONNECT to a missing namespace is refused, and the session continues', async () => {
  for (const packet of ['40/random', '40/random,', '40/random,{"token":"a"}']) {
    const socket = await Socket.begin(server);
    socket.text(packet);
    assert.deepEqual(await socket.frame('4'), ['44/random,{"message":"Invalid namespace"}']);
    socket.text(connectTo('/', server.auth));
    assert.deepEqual(await socket.frame('40'), ['40{"sid":"…"}']);
  }
});

test('CONNECT without a token, or with a wrong one, is refused in words', async () => {
  for (const packet of ['40', '40{}', '40{"token":"wrong"}', '40/custom', connectTo('/custom', server.auth)]) {
    const socket = await Socket.begin(server);
    socket.text(packet);
    const [refusal] = await socket.frame('44');
    assert.match(refusal, /^44(\/custom,)?\{"message":"Authentication error/, packet);
  }
});

test('a session that begins with something else than CONNECT ends', async () => {
  for (const packet of ['4abc', '42["message",1]', '431[]', '40[]', '40"token"', '40{"token":']) {
    const socket = await Socket.begin(server);
    socket.text(packet);
    assert.deepEqual(await socket.end(), ['close', 'ended'], packet);
  }
});

/** Waits for the end of the session, while its client sends pongs. */
async function endOf(socket) {
  const timer = setInterval(() => socket.text('3'), 100);
  try {
    await socket.end();
  } finally {
    clearInterval(timer);
  }
}

test('a session that does not ask for a namespace ends after `limits.connect_timeout`', async () => {
  const begun = performance.now();
  await endOf(await Socket.begin(impatient));
  const took = performance.now() - begun;
  assert.ok(took >= 2000, `after ${took} ms`);
});

test('a session that has left its last namespace ends after `limits.connect_timeout`, too', async () => {
  const socket = await Socket.join(impatient);
  const begun = performance.now();
  socket.text('41');
  await endOf(socket);
  const took = performance.now() - begun;
  assert.ok(took >= 2000, `after ${took} ms`);
});

test('a session that leaves out an attachment ends, and one that sends it does not', async () => {
  const [late, whole] = [await Socket.join(impatient), await Socket.join(impatient)];
  for (const socket of [late, whole]) socket.text('451-["message",{"_placeholder":true,"num":0}]');
  whole.send(OPCODE.binary, 'here');
  const timer = setInterval(() => whole.text('3'), 100);
  await endOf(late);
  clearInterval(timer);
  assert.equal((await whole.rest()).at(-1), 'open');
});

test('a flood of acknowledgements that nobody asked for ends the session, and no other', async () => {
  const [flooding, some] = [await Socket.join(server), await Socket.join(server)];
  // Each KiB counts as one.
  const large = `431["${'x'.repeat(1_000_000)}"]`;
  some.text(large, ...Array(2_000).fill('431[]'));
  flooding.text(...Array(24).fill(large));
  assert.equal((await flooding.end()).at(-1), 'ended');
  assert.deepEqual(await some.rest(), ['open']);
});

test('a flood of events for a namespace that nobody is in ends the session, whatever its name', async () => {
  for (const namespace of ['/nowhere', '/?x']) {
    const flooding = await Socket.join(server);
    flooding.text(...Array(24).fill(`2${namespace},["${'x'.repeat(1_000_000)}"]`));
    assert.equal((await flooding.end()).at(-1), 'ended', namespace);
  }
});

test('a CONNECT has no more bytes than before the first one, also of a client in a namespace', async () => {
  const socket = await Socket.join(server);
  socket.text(connectTo('/custom', { ...server.customAuth, more: 'x'.repeat(66_000) }));
  assert.equal((await socket.end()).at(-1), 'ended');
});

test('DISCONNECT leaves the namespace, and the session stays for another CONNECT', async () => {
  const socket = await Socket.join(server);
  socket.text('41');
  assert.deepEqual(await socket.restBelow(), ['open']);
  assert.deepEqual(await socket.restBeforeConnect(), ['40{"sid":"…"}', 'open']);
});

test('CONNECT right behind DISCONNECT lets the client in again', async () => {
  const socket = await Socket.join(server);
  // As many as `limits.connect_burst` allows.
  for (let n = 0; n < 30; n += 1) {
    socket.text('41', connectTo('/', server.auth));
    assert.deepEqual(await socket.frame('42["auth"'), ['40{"sid":"…"}', '42["auth",{}]']);
  }
});

test('the official client disconnects and reconnects at once', async () => {
  const ann = await connect(server, 'ann');
  for (let n = 2; n < 10; n += 1) {
    ann.socket.disconnect().connect();
    await ann.connected(n);
  }
});

test('an event after DISCONNECT ends the session', async () => {
  const socket = await Socket.join(server);
  socket.text('41');
  assert.deepEqual(await socket.restBelow(), ['open']);
  socket.text('42["message",1]');
  assert.deepEqual(await socket.end(), ['close', 'ended']);
});

test('DISCONNECT of one namespace leaves the others', async () => {
  const socket = await Socket.join(server);
  socket.text(connectTo('/custom', server.customAuth));
  await socket.frame('42/custom,["auth"');
  socket.text('41/custom', '42["message","to the main namespace"]');
  assert.deepEqual(await socket.rest(), ['42["message-back","to the main namespace"]', 'open']);
});

test('an event of one namespace is echoed in it', async () => {
  const socket = await Socket.join(server);
  socket.text(connectTo('/custom', server.customAuth));
  await socket.frame('42/custom,["auth"');
  socket.text('42/custom,["message",1]', '42/custom,7["message-with-ack",2]');
  assert.deepEqual(await socket.frame('43/custom'), ['42/custom,["message-back",1]', '43/custom,7[2]']);
});

/** The server's answer to a packet with attachments, over either transport. */
const OVER = {
  async websocket(packet, attachments) {
    const socket = await Socket.join(server);
    socket.text(packet);
    for (const bytes of attachments) socket.send(OPCODE.binary, bytes);
    return socket.rest();
  },
  async polling(packet, attachments) {
    const session = await Polling.join(server);
    await session.post([packet, ...attachments.map((bytes) => `b${bytes.toString('base64')}`)].join(SEPARATOR));
    const asFrame = (text) => text.startsWith('b') ? `<${Buffer.from(text.slice(1), 'base64').toString('hex')}>` : text;
    return (await session.rest()).map(asFrame);
  },
};
const TWO = [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])];
const PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}';

for (const [transport, send] of Object.entries(OVER)) {
  for (const [what, packet, attachments, back] of [
    ['an event', '42["message",1,"2",{"3":[true]}]', [], ['42["message-back",1,"2",{"3":[true]}]']],
    ['an event with attachments', `452-["message",${PLACEHOLDERS}]`, TWO, [`452-["message-back",${PLACEHOLDERS}]`, '<010203>', '<040506>']],
    ['an event with an acknowledgement', '42456["message-with-ack",1,"2",{"3":[false]}]', [], ['43456[1,"2",{"3":[false]}]']],
    ['an event with attachments and an acknowledgement', `452-789["message-with-ack",${PLACEHOLDERS}]`, TWO,
      [`462-789[${PLACEHOLDERS}]`, '<010203>', '<040506>']],
    ['an acknowledgement without arguments', '420["message-with-ack"]', [], ['430[]']],
  ]) {
    test(`${what} is echoed over ${transport}`, async () => {
      assert.deepEqual(await send(packet, attachments), [...back, 'open']);
    });
  }
}

for (const [what, packet] of [
  ['an unknown packet type', '4abc'],
  ['a payload that is no array', '42{}'],
  ['an event without a name', '42[]'],
  ['a name that is an object', '42[{}]'],
  ['a payload that is not JSON', '42["message",'],
  ['letters for the number of an acknowledgement', '42abc["message-with-ack",1,"2",{"3":[false]}]'],
  ['CONNECT_ERROR', '44{"message":"no"}'],
  ['an event with attachments without their number', '45["message",{"_placeholder":true,"num":0}]'],
]) {
  test(`${what} closes the session, over both transports`, async () => {
    const socket = await Socket.join(server);
    socket.text(packet);
    assert.deepEqual(await socket.end(), ['close', 'ended']);
    const session = await Polling.join(server);
    assert.equal(summaryOf(await session.post(packet)), '200 ok');
    assert.equal((await session.poll()).body, '1');
    assert.equal(summaryOf(await session.poll()), '400 code 1');
  });
}

test('a text while attachments are due, and bytes that are not, end the session', async () => {
  const early = await Socket.join(server);
  early.text('451-["message",{"_placeholder":true,"num":0}]', '42["message",1]');
  assert.deepEqual(await early.end(), ['close', 'ended']);
  const extra = await Socket.join(server);
  extra.send(OPCODE.binary, Buffer.from([1]));
  assert.deepEqual(await extra.end(), ['close', 'ended']);
});
