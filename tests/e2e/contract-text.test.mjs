// Text and JSON as JavaScript reads them: whatever an official server accepts is accepted, with the same meaning.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { rawConnect } from './lib/raw.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { seconds, token } from './lib/token.mjs';

const CUT = '👋'.slice(0, 1);
const REPLACED = '\ufffd';

const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  handlers: { event: guest('hostile') },
});

/** JSON with all lone surrogates replaced, also in keys. */
const wellFormed = (value) => JSON.parse(JSON.stringify(value), (_, inner) => {
  if (typeof inner === 'string') return inner.toWellFormed();
  if (inner === null || typeof inner !== 'object' || Array.isArray(inner)) return inner;
  return Object.fromEntries(Object.entries(inner).map(([key, each]) => [key.toWellFormed(), each]));
});

test('a cut emoji in a content, metadata, a room and a clientId becomes U+FFFD', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(`${room}${CUT}`);
  const metadata = { [CUT]: [`a${CUT}`, { b: CUT }] };
  const draft = { roomId: `${room}${CUT}`, content: `hi ${CUT}`, metadata, clientId: `1${CUT}` };
  const { id } = (await ann.askOk('send-message', draft)).message;
  const message = await ann.next('new-message', (each) => each.id === id);
  assert.equal(message.roomId, `${room}${REPLACED}`);
  assert.equal(message.content, `hi ${REPLACED}`);
  assert.deepEqual(message.metadata, wellFormed(metadata));
  assert.equal((await ann.askOk('send-message', draft)).message.id, id, 'a repetition');
  const [kept] = await ann.history(`${room}${REPLACED}`);
  assert.deepEqual([kept.content, kept.metadata], [message.content, message.metadata]);
});

test('a cut emoji in the arguments of an event of the tenant reaches the handler as U+FFFD', async () => {
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  await ann.ask('kv-set-then-ok', { key: `k${CUT}` });
  assert.equal((await ann.ask('kv-get', { key: `k${REPLACED}` })).value, 'an action');
});

test('a cut emoji in the name of a token becomes U+FFFD', async () => {
  const ann = await connect(server, 'ann', { auth: { token: token('ann', { name: `Ann ${CUT}` }) } });
  const room = freshRoom();
  await ann.join(room);
  const bob = await connect(server, 'bob');
  await bob.join(room);
  await ann.askOk('typing', room);
  assert.equal((await bob.next('user-typing')).username, `Ann ${REPLACED}`);
});

test('texts by chance come out as JavaScript would mend them', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const units = [0x61, 0x5c, 0x22, 0x75, 0xd83d, 0xdc4b, 0xdbff, 0xdfff, 0xe9, 0x2028];
  let state = 7;
  const chance = (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 16) % below;
  };
  for (let round = 0; round < 40; round += 1) {
    const text = String.fromCharCode(...Array.from({ length: 1 + chance(12) }, () => units[chance(units.length)]));
    const metadata = { text, [text]: [text] };
    const { id } = await ann.post(room, text, { metadata });
    const message = await ann.next('new-message', (each) => each.id === id);
    assert.equal(message.content, text.toWellFormed());
    assert.deepEqual(message.metadata, wellFormed(metadata), JSON.stringify(text));
  }
});

test('metadata is kept byte for byte, however it is spelt', async () => {
  const room = freshRoom();
  const raw = await rawConnect(server, 'ann');
  await raw.ask(1, `["join-room","${room}"]`);
  for (const metadata of ['{"b":1,"a":1.0,"b":2}', '[1e400,-0,123456789012345678901234567890]', '{ "a" : "\\u00e9\\/" }']) {
    const [answer] = await raw.ask(2, `["send-message",{"roomId":"${room}","content":"x","metadata":${metadata}}]`);
    assert.equal(answer.ok, true, JSON.stringify(answer));
    const frame = await raw.frame('42["new-message"');
    assert.ok(frame.includes(`"metadata":${metadata}`), frame);
  }
});

test('integers are accepted in every notation, and other values are reported by name', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  for (let n = 1; n <= 4; n += 1) await ann.post(room, `${n}`);
  const raw = await rawConnect(server, 'bob');
  await raw.ask(1, `["join-room","${room}"]`);
  const history = (rest) => raw.ask(2, `["history",{"roomId":"${room}",${rest}}]`);
  for (const rest of ['"limit":2.0,"before":4.0', '"limit":2e0,"before":4', '"limit":0.2e1,"before":400e-2']) {
    const [answer] = await history(rest);
    assert.deepEqual(answer.messages?.map(({ seq }) => seq), [2, 3], `${rest}: ${JSON.stringify(answer)}`);
  }
  for (const rest of ['"limit":4294967296', '"before":1e20', '"before":18446744073709551616']) {
    const [answer] = await history(rest);
    assert.equal(answer.messages?.length, 4, `${rest}: ${JSON.stringify(answer)}`);
  }
  for (const rest of ['"limit":"10"', '"limit":1.5', '"before":-1', '"before":"x"']) {
    const [answer] = await history(rest);
    assertFailed(answer, 'invalid');
    assert.match(answer.error.message, /a whole number that is not negative/, rest);
  }
  const [joined] = await raw.ask(3, `["join-room","${room}",{"after":2.0}]`);
  assert.deepEqual(joined.messages.map(({ seq }) => seq), [3, 4]);
});

test('events of back ends keep their order, numbers and spelling', async () => {
  const room = freshRoom();
  const raw = await rawConnect(server, 'ann');
  await raw.ask(1, `["join-room","${room}"]`);
  const api = admin(server);
  const emit = (text) => api.request('POST', '/tenants/default/clients/emit', {
    raw: text,
    headers: { 'content-type': 'application/json' },
  });
  const argument = '{"z":12345678901234567890123,"a":1.0,"m":1e400}';
  const body = `\ufeff{"event":"price","arguments":[${argument},"\\ud83d"],"to":{"rooms":["${room}"]}}`;
  const answer = await emit(body);
  assert.equal(answer.status, 204, answer.text);
  assert.equal(await raw.frame('42["price"'), `42["price",${argument},"${REPLACED}"]`);
  const nested = (depth) => `{"event":"deep","arguments":${'['.repeat(depth)}${']'.repeat(depth)},"to":{"rooms":["${room}"]}}`;
  assert.equal((await emit(nested(120))).status, 204);
  assert.equal((await emit(nested(121))).status, 422);
  assert.ok((await emit(Buffer.from([0x7b, 0xff, 0x7d]))).text.includes('UTF-8'));
});

test('a clientId has no control characters', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  await ann.join(room);
  assertFailed(await ann.ask('send-message', { roomId: room, content: 'x', clientId: 'a\u0000b' }), 'invalid');
});

test('a token whose id could not be revoked is refused, and such an id is not revoked', async () => {
  const api = admin(server);
  const revoke = (tokenId) => api.request('POST', '/tenants/default/revocations', { body: { tokenId } });
  for (const id of ['a\u0000b', 'a\nb', '']) assert.equal((await revoke(id)).status, 422, JSON.stringify(id));
  assert.equal((await api.request('GET', '/audit?tenant=%00')).status, 400);
  const id = `half ${CUT}`;
  const revoked = await connect(server, 'eve', { auth: { token: token('eve', { jti: id, exp: seconds(3600) }) } });
  assert.equal((await revoke(id)).status, 201);
  await revoked.until(() => revoked.disconnects.length > 0, 'being disconnected');
});

test('an integer beyond all doubles counts as the largest, wherever one is read', async () => {
  const room = freshRoom();
  const raw = await rawConnect(server, 'ann');
  const ask = async (id, text) => (await raw.ask(id, text))[0];
  assert.equal((await ask(1, `["join-room","${room}",{"last":1e400}]`)).ok, true);
  await ask(2, `["send-message",{"roomId":"${room}","content":"one"}]`);
  for (const [key, count] of [['limit', 1], ['before', 1], ['after', 0]]) {
    const { ok, messages } = await ask(3, `["history",{"roomId":"${room}","${key}":1e400}]`);
    assert.deepEqual([ok, messages?.length], [true, count], key);
  }
  for (const wrong of ['-1e400', '1.5', '"1"', '[]']) {
    assert.equal((await ask(4, `["history",{"roomId":"${room}","limit":${wrong}}]`)).error.code, 'invalid', wrong);
  }
});
