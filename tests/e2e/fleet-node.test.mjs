// A Node Socket.IO server and an emitter in a fleet with two nodes of Parlance, as during a gradual migration.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { Client, connect, freshRoom, got, names } from './lib/client.mjs';
import { metric, startFleet } from './lib/fleet.mjs';
import { startPeer } from './lib/peer.mjs';
import { rawConnect } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const fleet = await startFleet({
  nodes: 2,
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  handlers: { event: guest('acknowledging') },
});
const [FIRST, SECOND] = fleet.nodes;
const peer = await startPeer(fleet.redis.url);
await eventually(async () => Number(fleet.redis.command('PUBSUB', 'NUMSUB', 'socket.io-request#/#').split('\n')[1]) === 3,
  'all three servers to listen');

/** A client of the Node server in these rooms. */
function atPeer(user, ...rooms) {
  return owned(new Client(peer.url, user, { auth: { rooms } })).connected();
}

/** A client of a node of Parlance in this room. */
async function at(node, user, room) {
  const client = await connect(node, user);
  await client.join(room);
  return client;
}

test('messages and typing of Parlance reach exactly the clients of a Node server in the room', async () => {
  const room = freshRoom();
  const inside = await atPeer('inside', room);
  const outside = await atPeer('outside', freshRoom());
  const ann = await at(FIRST, 'ann', room);
  const { id, seq } = await ann.post(room, 'hello');
  const seen = await inside.next('new-message', (message) => message.id === id);
  assert.deepEqual([seen.seq, seen.content, seen.userId, seen.roomId], [seq, 'hello', 'ann', room]);
  await ann.askOk('typing', room, true);
  assert.equal((await inside.next('user-typing')).userId, 'ann');
  peer.io.local.emit('end');
  await got(outside, 'end');
  assert.deepEqual(names(outside, 'new-message', 'user-typing'), []);
});

test('a Node server and an emitter reach clients of Parlance: rooms, all but some rooms, all clients, binary', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const ann = await at(FIRST, 'ann', room);
  const bob = await at(SECOND, 'bob', room);
  const eve = await at(SECOND, 'eve', other);
  await bob.join(other);
  peer.io.to(room).emit('to-room', { n: 1 }, Buffer.from([1, 2, 255]));
  const [object, bytes] = await got(ann, 'to-room');
  assert.deepEqual(object, { n: 1 });
  assert.deepEqual([...bytes], [1, 2, 255]);
  peer.io.to(room).except(other).emit('to-some');
  await got(ann, 'to-some');
  peer.emitter.to([room, other]).emit('of-emitter');
  peer.io.emit('to-all');
  for (const client of [ann, bob, eve]) await got(client, 'to-all');
  const all = ['to-room', 'to-some', 'of-emitter', 'to-all'];
  assert.deepEqual(names(ann, ...all), all);
  assert.deepEqual(names(bob, ...all), ['to-room', 'of-emitter', 'to-all']);
  assert.deepEqual(names(eve, ...all), ['of-emitter', 'to-all']);
});

test('a Node server sees the sockets of Parlance, moves them and disconnects them', async () => {
  const room = freshRoom();
  const ann = await at(FIRST, 'ann', room);
  const bob = await at(SECOND, 'bob', room);
  const found = await peer.io.in(room).fetchSockets();
  assert.deepEqual(found.map(({ data }) => data.userId).sort(), ['ann', 'bob']);
  assert.ok(found.every((socket) => socket.rooms.has(room) && socket.rooms.has(socket.id)));
  assert.deepEqual(found.map(({ handshake }) => handshake.address), ['127.0.0.1', '127.0.0.1']);
  const rooms = await peer.io.of('/').adapter.allRooms();
  for (const each of [room, ann.socket.id, bob.socket.id]) assert.ok(rooms.has(each), each);
  const ofAnn = found.find(({ data }) => data.userId === 'ann');
  const more = freshRoom();
  peer.io.in(ofAnn.id).socketsJoin(more);
  await eventually(async () => (await peer.io.in(more).fetchSockets()).length === 1, 'the socket to have joined');
  peer.io.to(more).emit('to-more');
  await got(ann, 'to-more');
  peer.emitter.in(ofAnn.id).socketsLeave(more);
  await eventually(async () => (await peer.io.in(more).fetchSockets()).length === 0, 'the socket to have left');
  peer.io.in(ofAnn.id).disconnectSockets();
  await ann.until(() => ann.disconnects.length === 1, 'being disconnected');
  await eventually(async () => (await peer.io.in(room).fetchSockets()).map(({ data }) => data.userId).join() === 'bob', 'one to be left');
  assert.deepEqual([names(bob, 'to-more'), bob.disconnects], [[], []]);
});

test('all servers of a fleet know a client by its own socket.id', async () => {
  const room = freshRoom();
  const ann = await at(FIRST, 'ann', room);
  const bob = await at(SECOND, 'bob', room);
  peer.io.to(ann.socket.id).emit('to-ann');
  await got(ann, 'to-ann');
  peer.emitter.to(bob.socket.id).emit('to-bob');
  await got(bob, 'to-bob');
  peer.io.to(room).except(bob.socket.id).emit('not-to-bob');
  await got(ann, 'not-to-bob');
  const found = await peer.io.in(room).fetchSockets();
  assert.deepEqual(found.map(({ id }) => id).sort(), [ann.socket.id, bob.socket.id].sort());
  const more = freshRoom();
  peer.io.in(bob.socket.id).socketsJoin(more);
  await eventually(async () => (await peer.io.in(more).fetchSockets()).length === 1, 'the socket to have joined');
  peer.io.in(bob.socket.id).disconnectSockets();
  await bob.until(() => bob.disconnects.length === 1, 'being disconnected');
  assert.deepEqual(names(bob, 'to-ann', 'to-bob', 'not-to-bob'), ['to-bob']);
  assert.deepEqual(names(ann, 'to-ann', 'to-bob', 'not-to-bob'), ['to-ann', 'not-to-bob']);
});

test('a Node server sees a client’s handshake and the data that a handler keeps with it', async () => {
  const room = freshRoom();
  const ann = await connect(fleet.nodes[1], 'ann', {
    auth: { token: token('ann'), device: 'phone' },
    query: { app: 'web' },
    extraHeaders: { 'user-agent': 'test' },
  });
  await ann.join(room);
  assert.equal(await ann.ask('set-data', { level: 3, userId: 'forged', deep: [{}] }), true);
  for (const wrong of [[1], 'text', 5, null, { long: 'x'.repeat(5000) }]) {
    assert.equal((await ann.ask('set-data', wrong)).ok, false, JSON.stringify(wrong).slice(0, 20));
  }
  const [{ handshake, data }] = await peer.io.in(room).fetchSockets();
  assert.deepEqual(data, { level: 3, deep: [{}], userId: 'ann', username: 'ann\'s name' });
  assert.deepEqual(handshake, { address: '127.0.0.1', headers: { 'user-agent': 'test' }, query: { app: 'web' }, auth: { device: 'phone' } });
});

test('typing ends in a room that a Node server takes the client out of', async () => {
  const room = freshRoom();
  const [ann, bob] = await Promise.all(fleet.nodes.map((node, n) => connect(node, ['ann', 'bob'][n])));
  for (const each of [ann, bob]) await each.join(room);
  await bob.askOk('typing', room, true);
  await ann.next('user-typing', ({ userId, typing }) => userId === 'bob' && typing);
  const sockets = await peer.io.in(room).fetchSockets();
  peer.io.in(sockets.find(({ data }) => data.userId === 'bob').id).socketsLeave(room);
  await ann.next('user-typing', ({ userId, typing }) => userId === 'bob' && !typing);
});

test('clients of Parlance acknowledge a Node server’s events, and a server-side event is answered', async () => {
  const room = freshRoom();
  const local = await atPeer('local', room);
  local.socket.on('ask', (question, answer) => answer(`local:${question}`));
  const ann = await at(FIRST, 'ann', room);
  ann.socket.on('ask', (question, answer) => answer(`ann:${question}`));
  const bob = await at(SECOND, 'bob', room);
  bob.socket.on('ask', (_, answer) => answer(Buffer.from([7])));
  const answers = await peer.io.to(room).timeout(5_000).emitWithAck('ask', 'why');
  const texts = answers.map((answer) => (typeof answer === 'string' ? answer : [...answer].join()));
  assert.deepEqual(texts.sort(), ['7', 'ann:why', 'local:why']);
  // Handlers do not get such events, and the asking server need not wait for a timeout.
  const served = await new Promise((done) => peer.io.serverSideEmit('question', 1, (error, all) => done([error, all])));
  assert.deepEqual(served, [null, [null, null]]);
});

test('through the admin API a back end finds, reaches and disconnects clients of all servers', async () => {
  const room = freshRoom();
  const [ann, bob] = [await at(FIRST, 'ann', room), await at(SECOND, 'bob', room)];
  const local = await atPeer('local', room);
  const clients = `/tenants/default/clients`;
  const api = admin(FIRST);

  const found = await api.requestOk('POST', `${clients}/find`, { body: { rooms: [room] } });
  assert.equal(found.complete, true);
  assert.deepEqual(found.sockets.map(({ data }) => data.userId ?? 'at the Node server').sort(), ['ann', 'at the Node server', 'bob']);
  assert.ok(found.sockets.every(({ rooms }) => rooms.includes(room)));

  const emit = (event, to, except) => api.requestOk('POST', `${clients}/emit`, { body: { event, arguments: [{ n: 1 }, 'two'], to, except } });
  await emit('to-room', { rooms: [room] });
  for (const client of [ann, bob, local]) assert.deepEqual(await got(client, 'to-room'), [{ n: 1 }, 'two']);
  await emit('to-others', { rooms: [room] }, { users: ['bob'] });
  await emit('to-user', { users: ['bob'] });
  for (const client of [ann, local]) await got(client, 'to-others');
  await got(bob, 'to-user');
  const all = ['to-room', 'to-others', 'to-user'];
  assert.deepEqual([ann, bob, local].map((client) => names(client, ...all)),
    [['to-room', 'to-others'], ['to-room', 'to-user'], ['to-room', 'to-others']]);

  await api.requestOk('POST', `${clients}/disconnect`, { body: { users: ['bob'] } });
  await bob.until(() => bob.disconnects.length === 1, 'being disconnected');
  assert.deepEqual([ann.disconnects, local.disconnects], [[], []]);
});

test('through the admin API a back end emits to the servers, and has their answers', async () => {
  const seen = [];
  peer.io.on('reload', (what, answer) => {
    seen.push(what);
    answer?.('reloaded');
  });
  const api = admin(SECOND);
  const emit = (body) => api.requestOk('POST', '/tenants/default/servers/emit', { body: { event: 'reload', arguments: ['prices'], ...body } });
  assert.deepEqual(await emit({}), { answers: [], complete: false });
  await eventually(() => seen.length === 1, 'the event at the Node server');
  const { answers, complete } = await emit({ answers: true });
  assert.deepEqual([answers.toSorted(), complete], [[null, null, 'reloaded'].toSorted(), true]);
  assert.deepEqual(seen, ['prices', 'prices']);
});

test("a room named like a connection's id reaches its members alone; events of a Node server to the id reach the connection", async () => {
  const ann = await at(FIRST, 'ann', freshRoom());
  const { id } = ann.socket;
  const [bob, eve] = [await at(SECOND, 'bob', id), await at(FIRST, 'eve', id)];
  await bob.askOk('typing', id, true);
  await eve.next('user-typing', (each) => each.userId === 'bob');
  const { id: message } = await bob.post(id, 'not for ann');
  await eve.next('new-message', (each) => each.id === message);
  await eve.askOk('read-message', message);
  await bob.next('message-read', (each) => each.messageId === message);
  peer.io.to(id).emit('to-id');
  for (const client of [ann, bob, eve]) await got(client, 'to-id');
  peer.emitter.to(id).emit('of-emitter');
  await got(ann, 'of-emitter');
  assert.deepEqual(names(ann, 'user-typing', 'new-message', 'message-read', 'user-joined'), []);
  await admin(SECOND).requestOk('POST', '/tenants/default/clients/emit', { body: { event: 'of-back-end', arguments: [], to: { rooms: [id] } } });
  for (const client of [ann, bob, eve]) await got(client, 'of-back-end');
});

test('JSON reaches the other node byte for byte, and a Node server as Node itself reads it, at once', async () => {
  const room = freshRoom();
  const inside = await atPeer('inside', room);
  const [ann, bob] = [await rawConnect(FIRST, 'ann'), await rawConnect(SECOND, 'bob')];
  for (const raw of [ann, bob]) await raw.ask(1, `["join-room","${room}"]`);
  // What the bus does not carry is found by the periodic sweep, seconds later.
  const lost = async () => await metric(FIRST, 'parlance_redis_dropped_total') + await metric(SECOND, 'parlance_redis_malformed_total');
  const before = await lost();
  for (const metadata of [
    '{"a":1}',
    '"\\ud83d"',
    '1e400',
    '-0',
    '{"z":1e400,"big":123456789012345678901234567890,"z":18446744073709551617,"a":[1.0,-0,1E2,"\\u00e9\\/"]}',
    '{"id":9007199254740993,"max":18446744073709551615,"min":-9223372036854775808}',
    `${'['.repeat(64)}${']'.repeat(64)}`,
  ]) {
    const [answer] = await ann.ask(2, `["send-message",{"roomId":"${room}","content":"x","metadata":${metadata}}]`);
    assert.equal(answer.ok, true, `${metadata}: ${JSON.stringify(answer)}`);
    const kept = metadata.replace('\\ud83d', '\ufffd');
    for (const raw of [ann, bob]) {
      const frame = await raw.frame('42["new-message"');
      assert.ok(frame.includes(`"metadata":${kept}`), frame);
    }
    const seen = await inside.next('new-message', ({ id }) => id === answer.message.id);
    // On the socket Infinity becomes null, also from a Node server.
    const asSent = (value) => JSON.parse(JSON.stringify(value));
    assert.deepEqual(seen.metadata, asSent(JSON.parse(kept)), metadata);
  }
  assert.equal(await lost(), before, 'nothing was left to the sweep');
});

test('events of back ends reach the other node byte for byte', async () => {
  const room = freshRoom();
  const inside = await atPeer('inside', room);
  const bob = await rawConnect(SECOND, 'bob');
  await bob.ask(1, `["join-room","${room}"]`);
  const argument = '{"z":12345678901234567890123,"a":1.0,"m":"\\u00e9"}';
  await admin(FIRST).requestOk('POST', '/tenants/default/clients/emit', {
    raw: `{"event":"price","arguments":[${argument}],"to":{"rooms":["${room}"]}}`,
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(await bob.frame('42["price"'), `42["price",${argument}]`);
  assert.deepEqual(await got(inside, 'price'), [JSON.parse(argument)]);
});

test('half an emoji in a server-side event of a Node server is read', async () => {
  const served = await new Promise((done) =>
    peer.io.serverSideEmit('question', '\ud83d', (error, all) => done([error, all])));
  assert.deepEqual(served, [null, [null, null]]);
});

test('on PostgreSQL a token id with U+0000 is refused, not unavailable, and an audit of no tenant likewise', async () => {
  const api = admin(FIRST);
  assert.equal((await api.request('POST', '/tenants/default/revocations', { body: { tokenId: 'a\u0000b' } })).status, 422);
  assert.equal((await api.request('GET', '/audit?tenant=%00')).status, 400);
});
