// Node servers with the sharded adapter in a fleet with two nodes of Parlance, one for each subscription mode.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { Client, connect, freshRoom, got, names } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { startPeer } from './lib/peer.mjs';
import { startRedis } from './lib/redis.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const component = guest('acknowledging');
const fleet = await startFleet({
  nodes: 2,
  config: { redis: { heartbeat: '300ms', lease: '2s', adapter: 'sharded' } },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  handlers: { event: component, server_event: component },
});
const [FIRST, SECOND] = fleet.nodes;
const peers = {
  dynamic: await startPeer(fleet.redis.url, { subscriptionMode: 'dynamic' }),
  'dynamic-private': await startPeer(fleet.redis.url, { subscriptionMode: 'dynamic-private' }),
  static: await startPeer(fleet.redis.url, { subscriptionMode: 'static' }),
};
const listeners = (channel) => Number(fleet.redis.command('PUBSUB', 'SHARDNUMSUB', channel).split('\n')[1]);
await eventually(async () => listeners('socket.io#/#') === 5, 'all five servers to listen');

/** A client of a node of Parlance in this room, to whose channel the node listens. */
async function at(node, user, room) {
  const client = await connect(node, user);
  await client.join(room);
  await eventually(async () => listeners(`socket.io#/#${room}#`) > 0, 'somebody to listen to the room');
  return client;
}

for (const [mode, peer] of Object.entries(peers)) {
  /** A client of the Node server in this room. */
  const atPeer = (user, room) => owned(new Client(peer.url, user, { auth: { rooms: [room] } })).connected();

  test(`${mode}: messages of Parlance reach exactly the clients of a Node server in the room`, async () => {
    const room = freshRoom();
    const inside = await atPeer('inside', room);
    const outside = await atPeer('outside', freshRoom());
    const ann = await at(FIRST, 'ann', room);
    const { id, seq } = await ann.post(room, 'hello');
    const seen = await inside.next('new-message', (message) => message.id === id);
    assert.deepEqual([seen.seq, seen.content, seen.userId, seen.roomId], [seq, 'hello', 'ann', room]);
    peer.io.local.emit('end');
    await got(outside, 'end');
    assert.deepEqual(names(outside, 'new-message'), []);
  });

  test(`${mode}: a Node server reaches clients of Parlance: rooms, all but some rooms, all clients, one, binary`, async () => {
    const [room, other] = [freshRoom(), freshRoom()];
    const ann = await at(FIRST, 'ann', room);
    const bob = await at(SECOND, 'bob', other);
    await eventually(async () => listeners(`socket.io#/#${bob.socket.id}#`) === 1, 'the node to listen to a connection');
    await bob.join(room);
    await eventually(async () => listeners(`socket.io#/#${room}#`) === 2, 'both nodes to listen to the room');
    peer.io.to(room).emit('to-room', { n: 1.5, text: 'é👋' });
    for (const client of [ann, bob]) assert.deepEqual(await got(client, 'to-room'), [{ n: 1.5, text: 'é👋' }]);
    peer.io.to(room).emit('bytes', { n: 1 }, Buffer.from([1, 2, 255]));
    const [object, bytes] = await got(ann, 'bytes');
    assert.deepEqual([object, [...bytes]], [{ n: 1 }, [1, 2, 255]]);
    peer.io.to(room).except(other).emit('to-some');
    await got(ann, 'to-some');
    peer.io.to([room, other]).emit('to-rooms');
    peer.io.to(bob.socket.id).emit('to-bob');
    peer.io.emit('to-all');
    for (const client of [ann, bob]) await got(client, 'to-all');
    const all = ['to-room', 'bytes', 'to-some', 'to-rooms', 'to-bob', 'to-all'];
    assert.deepEqual(names(ann, ...all).sort(), ['bytes', 'to-all', 'to-room', 'to-rooms', 'to-some']);
    assert.deepEqual(names(bob, ...all).sort(), ['bytes', 'to-all', 'to-bob', 'to-room', 'to-rooms']);
  });

  test(`${mode}: a Node server sees the sockets of Parlance, moves them and disconnects them`, async () => {
    const room = freshRoom();
    const ann = await at(FIRST, 'ann', room);
    const bob = await at(SECOND, 'bob', room);
    const found = await peer.io.in(room).fetchSockets();
    assert.deepEqual(found.map(({ data }) => data.userId).sort(), ['ann', 'bob']);
    assert.ok(found.every((socket) => socket.rooms.has(room) && socket.rooms.has(socket.id)));
    const more = freshRoom();
    peer.io.in(ann.socket.id).socketsJoin(more);
    await eventually(async () => listeners(`socket.io#/#${more}#`) === 1, 'the socket to have joined');
    peer.io.to(more).emit('to-more');
    await got(ann, 'to-more');
    peer.io.in(ann.socket.id).socketsLeave(more);
    await eventually(async () => (await peer.io.in(more).fetchSockets()).length === 0, 'the socket to have left');
    await eventually(async () => listeners(`socket.io#/#${more}#`) === 0, 'nobody to listen to an empty room');
    peer.io.in(ann.socket.id).disconnectSockets();
    await ann.until(() => ann.disconnects.length === 1, 'being disconnected');
    assert.deepEqual([names(bob, 'to-more'), bob.disconnects], [[], []]);
  });

  test(`${mode}: clients of Parlance acknowledge a Node server’s events, and a server-side event is answered`, async () => {
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
    // The other Node server has a listener that answers as well.
    for (const each of Object.values(peers)) each.io.on('count', (_, answer) => answer?.(null));
    const served = await new Promise((done) => peer.io.serverSideEmit('count', 0, (error, all) => done([error, all])));
    for (const each of Object.values(peers)) each.io.removeAllListeners('count');
    assert.equal(served[0], null);
    assert.equal(served[1].length, 4, 'every other server answers');
    assert.ok(served[1].some((answer) => typeof answer === 'number'), `a handler answers: ${JSON.stringify(served[1])}`);
  });
}

test('through the admin API a back end finds and reaches clients of all servers', async () => {
  const room = freshRoom();
  const [ann, bob] = [await at(FIRST, 'ann', room), await at(SECOND, 'bob', room)];
  await eventually(async () => listeners(`socket.io#/#${room}#`) === 2, 'both nodes to listen to the room');
  const local = await owned(new Client(peers.static.url, 'local', { auth: { rooms: [room] } })).connected();
  const clients = '/tenants/default/clients';
  const api = admin(FIRST);
  const found = await api.requestOk('POST', `${clients}/find`, { body: { rooms: [room] } });
  assert.equal(found.complete, true);
  assert.equal(found.sockets.length, 3);
  await api.requestOk('POST', `${clients}/emit`, { body: { event: 'to-room', arguments: [1], to: { rooms: [room] } } });
  for (const client of [ann, bob, local]) assert.deepEqual(await got(client, 'to-room'), [1]);
});

test('the log reports servers on one Redis with different adapters, and names the setting', async () => {
  for (const [adapter, other, subscriptionMode] of [
    ['classic', 'sharded', 'dynamic'],
    ['sharded', 'classic', undefined],
  ]) {
    const redis = await startRedis();
    await startPeer(redis.url, { subscriptionMode });
    const node = await startServer({ config: { redis: { adapter, heartbeat: '100ms' } }, env: { REDIS_URL: redis.url } });
    await connect(node, 'ann');
    await eventually(() => new RegExp(`do not hear each other.*redis.adapter = .*${other}`).test(node.log), 'a line in the log', 30_000);
  }
});
