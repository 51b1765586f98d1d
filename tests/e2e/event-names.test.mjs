// Event names as various clients encode them, and frames that are not packets.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { connect } from './lib/client.mjs';
import { PYTHON } from './lib/python.mjs';
import { Raw, rawConnect } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

// Its handler returns the event's name.
const server = await startServer({ handlers: { event: guest('acknowledging') } });

const NAMES = ['a/b', 'grüße', '消息', '👋', 'say "hi"', 'back\\slash', 'new\nline', 'tab\t', ' space ', '__proto__', '\u{1}'];

for (const transports of [['websocket'], ['polling']]) {
  test(`names arrive as the official client spells them, over ${transports[0]}`, async () => {
    const ann = await connect(server, 'ann', { transports });
    for (const name of NAMES) assert.equal(await ann.ask(name, 1), name);
    assert.equal(await ann.ask(5, 1), '5');
    assert.equal(await ann.ask(-1.5, 1), '-1.5');
    assert.equal(await ann.ask('👋'.slice(0, 1), 1), '\ufffd');
  });
}

test('names arrive as encoders of other languages spell them', async () => {
  const raw = await rawConnect(server, 'ann');
  // Android's and Swift's encoders escape the slash; Python's and .NET's escape non-ASCII characters, .NET's also some
  // of ASCII.
  const spellings = {
    '"a\\/b"': 'a/b',
    '"gr\\u00fc\\u00DFe"': 'grüße',
    '"\\ud83d\\udc4b"': '👋',
    '"say \\u0022hi\\u0022"': 'say "hi"',
    '"it\\u0027s"': 'it\'s',
    '"x\\ud83d"': 'x\ufffd',
    5: '5',
    '5.0': '5',
    '1e3': '1000',
  };
  let id = 1;
  for (const [spelled, name] of Object.entries(spellings)) {
    id += 1;
    assert.deepEqual(await raw.ask(id, `[${spelled},1]`), [name], spelled);
  }
  assert.deepEqual(await raw.ask(id + 1, '["send\\u002dmessage",{}]').then(([answer]) => answer.error.code), 'invalid');
});

test('white space before the payload loses nothing', async () => {
  const raw = await rawConnect(server, 'ann');
  for (const space of [' ', '\t', ' \n ']) assert.deepEqual(await raw.ask(7, `${space}[ "x" , 1 ]`), ['x']);
});

test('names arrive as python-socketio spells them', async () => {
  const script = `
import socketio, sys
client = socketio.Client()
client.connect(sys.argv[1], auth={"token": sys.argv[2]}, transports=["websocket"])
for name in sys.argv[3:]:
    assert client.call(name, 1, timeout=10) == name, name
client.disconnect()
print("done")
`;
  const names = NAMES.filter((name) => !name.includes('\0'));
  const { stdout } = await promisify(execFile)(PYTHON, ['-c', script, server.url, token('ann'), ...names], { timeout: 60_000 });
  assert.equal(stdout.trim(), 'done');
});

test('an unrequested acknowledgement is ignored', async () => {
  const raw = await rawConnect(server, 'ann');
  for (const frame of ['43["x"]', '4399["x"]', '43[]']) raw.send(frame);
  assert.deepEqual(await raw.ask(1, '["x"]'), ['x']);
});

for (const [what, frame] of Object.entries({
  'an unknown type': '4abc',
  'a payload that is no array': '42{}',
  'a payload that is no JSON': '42["x",]',
  'an acknowledgement number that is none': '42abc["x"]',
  'an event without a name': '42[]',
  'a name that is no text': '42[null]',
  'an acknowledgement that is no array': '431{}',
  'a disconnect with a payload': '41{}',
  'a connect whose payload is no object': '40[]',
  'an answer of a server': '44{"message":"x"}',
  'text where an attachment belongs': '451-["x",{"_placeholder":true,"num":0}]\n42["x"]',
})) {
  test(`${what} closes the connection, as with Node's server`, async () => {
    const raw = await rawConnect(server, 'ann');
    for (const each of frame.split('\n')) raw.send(each);
    await raw.until(() => raw.closed, 'the end');
    // Other connections do not notice.
    const ann = await connect(server, 'ann');
    assert.equal(await ann.ask('x', 1), 'x');
  });
}

test('an invalid frame also closes a connection in no namespace', async () => {
  const raw = owned(new Raw(server));
  await raw.frame('0{');
  raw.send('4abc');
  await raw.until(() => raw.closed, 'the end');
});
