// Events of other servers of the fleet (`serverSideEmit`) in a handler (`on-server-event`).
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { startFleet } from './lib/fleet.mjs';
import { startPeer } from './lib/peer.mjs';
import { test } from './lib/scope.mjs';
import { guest } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const NODES = 3;
const component = guest('acknowledging');
const fleet = await startFleet({ nodes: NODES, handlers: { event: component, server_event: component } });
const peer = await startPeer(fleet.redis.url);
await eventually(async () => Number(fleet.redis.command('PUBSUB', 'NUMSUB', 'socket.io-request#/#').split('\n')[1]) === NODES + 1,
  'all servers to listen');
const members = await Promise.all(fleet.nodes.map(async (node, n) => {
  const client = await connect(node, `member-${n}`);
  await client.join('listeners');
  return client;
}));

/** The answers of the servers. */
async function ask(...args) {
  const answers = await new Promise((resolve, reject) => {
    peer.io.serverSideEmit(...args, (error, all) => (error ? reject(error) : resolve(all)));
  });
  assert.equal(answers.length, NODES, 'every server answers');
  const told = answers.filter((answer) => answer !== null);
  assert.ok(told.length <= 1, `one of them has handled it: ${JSON.stringify(answers)}`);
  return told[0] ?? null;
}

const counted = (client) => client.all('counted');

test('one node handles a server’s event, its answer is returned, and all members get the effects once', async () => {
  // Until each node knows all others, two may consider themselves the first.
  await eventually(async () => {
    const all = await new Promise((resolve) => { peer.io.serverSideEmit('count', 0, (_, answers) => resolve(answers)); });
    return all.filter((answer) => answer !== null).length === 1;
  }, 'the nodes to know each other');
  const before = await ask('count', 0);
  assert.equal(await ask('count', 5), before + 5);
  assert.equal(await ask('count', 2), before + 7);
  for (const member of members) {
    await member.next('counted', (sum) => sum === before + 7);
    assert.deepEqual(counted(member).filter((sum) => sum > before), [before + 5, before + 7]);
  }
});

test('a server that waits for nothing, and a back end’s emitter, reach the handler too', async () => {
  const before = await ask('count', 0);
  peer.io.serverSideEmit('count', 10);
  for (const member of members) await member.next('counted', (sum) => sum === before + 10);
  peer.emitter.serverSideEmit('count', 10);
  for (const member of members) await member.next('counted', (sum) => sum === before + 20);
  assert.equal(await ask('count', 0), before + 20, 'once each');
});

test('a refusal and invalid events are answered with errors, and no result with null', async () => {
  assert.deepEqual(await ask('refuse'), { ok: false, error: { code: 'conflict', message: 'as told', retryable: false } });
  assert.equal((await ask('count', 'no number')).error.code, 'invalid');
  assert.equal((await ask('x'.repeat(129))).error.code, 'invalid');
  assert.equal(await ask('anything else', { deep: [1] }), null);
});

test('nothing is done on behalf of a client', async () => {
  for (const [what, denied] of await ask('on-behalf')) assert.ok(denied, what);
  assert.deepEqual(members[0].messages('listeners'), []);
});
