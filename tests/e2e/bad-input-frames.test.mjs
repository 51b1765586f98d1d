// Frames that no client library sends. Each is answered or closes its own connection, and no other.
import assert from 'node:assert/strict';
import { connect, freshRoom } from './lib/client.mjs';
import { Raw, rawConnect, assertServerWorks } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const server = await startServer();
const bystander = await connect(server, 'bystander');

async function unharmed() {
  await assertServerWorks(bystander, freshRoom());
  assert.equal(bystander.disconnects.length, 0, 'the bystander was not cut off');
  await assertServerWorks(await connect(server, 'next'), freshRoom());
}

const FRAMES = {
  'invalid UTF-8 in an event': Buffer.concat([Buffer.from('421["send-message",{"roomId":"r","content":"'),
    Buffer.from([0xff, 0xfe, 0xc3, 0x28]), Buffer.from('"}]')]),
  'half of a surrogate pair': Buffer.from('421["send-message",{"roomId":"r","content":"\\ud800"}]'),
  'JSON cut short': '421["send-message",{"roomId":',
  'no JSON': '421hello',
  'an event that is no array': '421{"event":"join-room"}',
  'an empty array': '421[]',
  'an event name that is a number': '421[7]',
  'an acknowledgement nobody asked for': '43123[]',
  'a huge acknowledgement id': '4299999999999999999999["typing","r"]',
  'a binary event whose attachments never come': '459-["typing",{"_placeholder":true,"num":0}]',
  'a billion attachments announced': '451000000000-1["typing",{"_placeholder":true,"num":0}]',
  'a placeholder without attachment': '421["of-nobody",{"_placeholder":true,"num":7}]',
  'an unknown packet type': '49',
  'an unknown engine packet': 'x',
  'an empty frame': '',
  'thirty thousand brackets': `421["of-nobody",${'['.repeat(30_000)}${']'.repeat(30_000)}]`,
  'a megabyte of content': `421["send-message",{"roomId":"r","content":"${'x'.repeat(1024 * 1024)}"}]`,
  'a second connect': `40${JSON.stringify({ token: token('eve') })}`,
};

for (const [name, frame] of Object.entries(FRAMES)) {
  test(`${name}: answered or disconnected, without harm to others`, async () => {
    const raw = await rawConnect(server, 'eve');
    raw.send(frame);
    // After the frame the connection either works or is closed.
    if (!raw.closed) raw.send('42777["get-presence",[]]');
    await raw.answered('43777[');
    await unharmed();
  });
}

test('a megabyte of content is refused as too large before it is complete', async () => {
  const eve = await connect(server, 'eve', { reconnection: false });
  const room = freshRoom();
  await eve.join(room);
  const answered = new Promise((resolve) =>
    eve.socket.emit('send-message', { roomId: room, content: 'x'.repeat(1024 * 1024) }, resolve));
  const outcome = await Promise.race([answered, eve.until(() => eve.disconnects.length > 0 && 'disconnected', 'an end')]);
  if (outcome !== 'disconnected') assert.equal(outcome.error.code, 'too-large');
  assert.deepEqual(eve.messages(room), []);
  await unharmed();
});

test('events before the connect, and without one, reach no handler', async () => {
  const raw = owned(new Raw(server));
  await raw.frame('0{');
  raw.send('421["join-room","r"]');
  await raw.until(() => raw.closed, 'the end of a connection without a handshake');
  await unharmed();
});

test('polling with broken bodies is refused', async () => {
  const base = `${server.url}/socket.io/?EIO=4&transport=polling`;
  const open = await (await fetch(base)).text();
  const { sid } = JSON.parse(open.slice(1));
  const bodies = [Buffer.from([0x34, 0x32, 0xff, 0xfe]), 'x', '', '4'.repeat(1024 * 1024)];
  for (const body of bodies) {
    // A frame that is too large is refused without being read, so the connection may close while it is still being
    // sent.
    const response = await fetch(`${base}&sid=${sid}`, { method: 'POST', body }).catch(({ cause }) => cause);
    if (body.length > 1000 && ['EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'].includes(response.code)) continue;
    assert.ok(response.status < 500, `${response.status}`);
    await response.arrayBuffer();
  }
  const stranger = await fetch(`${base}&sid=no-such-session`);
  assert.equal(stranger.status, 400);
  await unharmed();
});

test('unknown HTTP requests get a plain error', async () => {
  for (const path of ['/no-such-page', '/socket.io/?EIO=3&transport=polling', '/socket.io/?EIO=4&transport=carrier-pigeon', '/socket.io/']) {
    const response = await fetch(server.url + path);
    assert.ok(response.status >= 400 && response.status < 500, `${path}: ${response.status}`);
  }
  await unharmed();
});
