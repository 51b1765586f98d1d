// `isolation = "warm"`: instances are kept for one version, and an instance that traps is not used again.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });

async function counted(pattern) {
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  return Number(text.match(new RegExp(`^${pattern} (.*)$`, 'm'))?.[1] ?? 0);
}
const events = (instance) => counted(`parlance_warm_events_total\\{instance="${instance}"\\}`);

test('a handler that is deployed as warm handles its events in instances that stay', async () => {
  const deployed = await operate(server, ['deploy', guest('stamped'), '--handler', 'stamper', '--isolation', 'warm', '--setting', 'stamp=kept']);
  assert.equal(deployed.code, 0, deployed.output);
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  for (let n = 0; n < 20; n += 1) {
    const { id } = await ann.post(room, String(n));
    assert.equal((await ann.next('new-message', (message) => message.id === id)).metadata.by, 'kept');
  }
  assert.equal((await events('new')) + (await events('reused')), 20);
  assert.ok((await events('new')) < 5, 'one after the other they need few instances');
});

test('a trap drops its instance and fails only its own event', async () => {
  const api = admin(server);
  await api.deploy('default', 'hostile', guest('hostile'), '?isolation=warm');
  const bob = await connect(server, 'bob');
  assert.equal((await bob.ask('kv-get', { key: 'k' })).ok, true);
  const before = await counted('parlance_warm_retired_total\\{reason="failed"\\}');
  const failed = await bob.ask('kv-set-then-trap', { key: 'k' });
  assert.deepEqual([failed.ok, failed.error.code], [false, 'handler-failed']);
  assert.equal(await counted('parlance_warm_retired_total\\{reason="failed"\\}'), before + 1);
  assert.equal((await bob.ask('kv-get', { key: 'k' })).ok, true);
  // The client gets the event's number to ask about, and the log has the rest.
  const [, connection, event] = failed.error.message.match(/^the handler failed \(event ([\w-]{16})-(\d+)\)$/);
  const line = new RegExp(`a handler was stopped .*connection=${connection} event=${event} .*trap=.*unreachable.*\n +0: .* at 0x`);
  await eventually(() => line.test(server.log), () => `the line of the log: ${line}`);
});
