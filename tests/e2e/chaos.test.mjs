// Promise 3 on a fleet with faults: three nodes, 500 messages a second, and a check of what every client has seen
// against what is stored.
import assert from 'node:assert/strict';
import { startFleet } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { Workload } from './lib/workload.mjs';

const seconds = (count) => new Promise((done) => setTimeout(done, count * 1000));
/** Messages that must be acknowledged before, during and after each fault, so that it happens under load. */
const SOME = 500;

// Each fault: how to cause and repair it, and the error codes that it may cause besides those of a closed connection.
const CHAOS = {
  'kill -9 of a node': async ({ nodes: [node] }) => {
    await node.kill();
    await seconds(3);
    await node.start();
  },
  'Redis stopped for ten seconds': async ({ redis }) => {
    await redis.stop();
    await seconds(10);
    await redis.start();
  },
  'Redis restarted, empty': async ({ redis }) => {
    await redis.stop();
    await redis.start();
  },
  'Redis half a second slow': async ({ nodes }) => {
    for (const { toRedis } of nodes) toRedis.delay = 250;
    await seconds(5);
    for (const { toRedis } of nodes) toRedis.delay = 0;
  },
  'a node that cannot reach Redis': async ({ nodes: [node] }) => {
    node.toRedis.cut();
    await seconds(6);
    node.toRedis.restore();
  },
  'a node that cannot reach PostgreSQL': async ({ nodes: [node] }) => {
    node.toPostgres.cut();
    await seconds(5);
    node.toPostgres.restore();
  },
  'PostgreSQL restarted': async ({ postgres }) => postgres.restart(),
  'PostgreSQL stopped for ten seconds': async ({ postgres }, workload) => {
    await postgres.stop();
    await seconds(10);
    await postgres.start();
    assert.ok(workload.refusals.unavailable > 0, `events were refused meanwhile: ${JSON.stringify(workload.refusals)}`);
  },
  'a rolling restart of all nodes': async ({ nodes }, workload) => {
    for (const node of nodes) {
      const { code } = await node.stop();
      assert.equal(code, 0);
      await node.start();
      await workload.progress(SOME / 5, 'between two restarts');
    }
  },
};

for (const [what, breaks] of Object.entries(CHAOS)) {
  test(`3. One order: ${what}`, async () => {
    const fleet = await startFleet({ nodes: 3, config: { server: { drain_time: '2s' } } });
    const workload = new Workload(fleet);
    await workload.progress(SOME, 'before');
    await breaks(fleet, workload);
    await workload.progress(SOME, 'after');
    await workload.check();
  });
}
