// Operators' decisions in a fleet: every node chooses the same version for a room, even a node that was down, and a
// deleted tenant and its data disappear from all nodes.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { guest } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const ROOMS = 30;
const stamped = (stamp, more = '') => `?settings=${encodeURIComponent(JSON.stringify({ stamp }))}${more}`;

/** The stamp of the version that handles a message of this node's client in the room. */
async function stampOf(client, room) {
  const { id } = await client.post(room, 'which?');
  return (await client.next('new-message', (message) => message.id === id)).metadata?.by;
}

/** Posts in every room on each node: `[[stamp…], [stamp…]]`. */
async function choices(clients, rooms) {
  return Promise.all(clients.map(async (client) => {
    const stamps = [];
    for (const room of rooms) stamps.push(await stampOf(client, room));
    return stamps;
  }));
}

test('a canary has the same rooms on every node, also on one that was down when it was deployed', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const api = admin(one);
  await api.deploy('default', 'stamper', guest('stamped'), stamped('old'));
  const rooms = Array.from({ length: ROOMS }, () => freshRoom());
  const client = async (node, user) => {
    const connected = await connect(node, user);
    for (const room of rooms) await connected.join(room);
    return connected;
  };
  const clients = [await client(one, 'ann'), await client(two, 'bob')];
  await eventually(async () => (await stampOf(clients[1], rooms[0])) === 'old', 'the first version on the other node');

  await api.deploy('default', 'stamper', guest('stamped'), stamped('new', '&canary=50'));
  await eventually(async () => (await choices([clients[1]], rooms))[0].includes('new'), 'the canary on the other node');
  const [ann, bob] = await choices(clients, rooms);
  assert.deepEqual(ann, bob, 'the same rooms');
  assert.ok(ann.includes('old') && ann.includes('new'), `a part of them: ${ann}`);

  await two.stop();
  await api.requestOk('POST', '/tenants/default/handlers/stamper/promote');
  await api.deploy('default', 'stamper', guest('stamped'), stamped('newest', '&canary=50'));
  await two.start();
  await clients[1].connected(2);
  for (const room of rooms) await clients[1].join(room);
  const [here, back] = await choices(clients, rooms);
  assert.deepEqual(here, back, 'the node that was away chooses alike from its first event on');
  assert.ok(back.includes('new') && back.includes('newest') && !back.includes('old'), `${back}`);
  assert.deepEqual(here.map((stamp) => stamp === 'newest'), ann.map((stamp) => stamp === 'new'), 'and canaries keep their rooms');
});

test('a version that fails too often on one node goes back on all of them', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const [here, there] = [admin(one), admin(two)];
  // The other node does not know the handler at first.
  const active = async (api) => (await api.handler('default', 'risky'))?.active;
  await here.deploy('default', 'risky', guest('stamped'));
  const room = freshRoom();
  const [ann, bob] = [await connect(one, 'ann'), await connect(two, 'bob')];
  for (const client of [ann, bob]) await client.join(room);
  await eventually(async () => (await stampOf(ann, room)) === 'stamped', 'the first version');
  await here.deploy('default', 'risky', guest('flaky'));
  await eventually(async () => (await active(there)) === 2, 'the second version on the other node');

  let going = true;
  const load = (async () => {
    while (going) await Promise.all(Array.from({ length: 10 }, () => bob.ask('send-message', { roomId: room, content: 'x' })));
  })();
  await eventually(async () => (await active(there)) === 1, 'the node that saw the failures going back');
  await eventually(async () => (await active(here)) === 1, 'the other one going back');
  const seen = Date.now();
  going = false;
  await load;
  const [entry] = await here.requestOk('GET', '/audit?limit=1');
  assert.deepEqual([entry.actor, entry.action, entry.detail.from, entry.detail.to], ['server', 'handler.rollback', 2, 1]);
  assert.ok(seen - entry.at < 10_000, `${seen - entry.at} ms until every node had gone back`);
  for (let n = 0; n < 5; n += 1) assert.equal(await stampOf(ann, room), 'stamped', 'what the node that saw no failure runs');
});

test('a tenant deleted with its data disappears from every node, and can be created again when its data is gone', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const [here, there] = [admin(one), admin(two)];
  const tenant = { name: 'acme', configuration: configurationOf('acme') };
  await here.requestOk('POST', '/tenants', { body: tenant });
  await eventually(async () => (await there.request('GET', '/tenants/acme')).json.served === true, 'the tenant elsewhere');
  const bob = await connect(two, 'bob', at('acme', 'bob'));
  const room = freshRoom();
  await bob.join(room);
  await bob.post(room, 'hello');
  assert.equal((await here.request('DELETE', '/tenants/acme?data=true')).status, 202, 'it goes on');
  await bob.until(() => bob.disconnects.length > 0, 'the disconnect');
  for (const api of [here, there]) {
    await eventually(async () => (await api.request('GET', '/tenants/acme')).status === 404, 'its end');
    const refused = await api.request('POST', '/tenants', { body: tenant });
    assert.deepEqual([refused.status, /still being removed/.test(refused.text)], [409, true], refused.text);
  }
  // It completes only after the other nodes have certainly ended what was running.
  await eventually(async () => (await there.request('POST', '/tenants', { body: tenant })).status === 201, 'room for it', 60_000);
  const ann = await connect(two, 'ann', at('acme', 'ann'));
  assert.equal((await ann.join(room, { after: 0 })).lastSeq, 0);
});

test('of two handlers of the same events that are deployed on two nodes at once, one is refused', async () => {
  const { nodes: [one, two] } = await startFleet({ nodes: 2, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const [here, there] = [admin(one), admin(two)];
  const names = ['first', 'second'];
  for (let n = 0; n < 5; n += 1) {
    const answers = await Promise.allSettled([here, there].map((api, at) => api.deploy('default', names[at], guest('stamped'))));
    const refused = answers.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 1, JSON.stringify(answers));
    assert.match(refused[0].reason.message, /409 .*message events are handled by/);
    const deployed = names[answers.findIndex(({ status }) => status === 'fulfilled')];
    await eventually(async () => (await there.handler('default', deployed)) && (await here.handler('default', deployed)), 'it everywhere');
    await here.requestOk('DELETE', `/tenants/default/handlers/${deployed}`);
    await eventually(async () => !(await there.handler('default', deployed)), 'its end elsewhere');
  }
});
