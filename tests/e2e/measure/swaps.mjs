// 100 swaps in 60 s under 2,000 messages a second: is anything lost, doubled, reordered, and what do they cost?
//
//   node measure/swaps.mjs [SWAPS] [SECONDS] [PER_SECOND]
import { ADMIN_TOKEN, admin } from '../lib/admin.mjs';
import { guest, startServer } from '../lib/server.mjs';
import { Pace, seconds, spread } from './lib.mjs';

const [SWAPS, SECONDS, PER_SECOND] = [100, 60, 2000].map((usual, n) => Number(process.argv[n + 2] ?? usual));
/** A sample belongs to a swap when its message was due in the second from it on; here there is one every 600 ms. */
const NEAR_MS = 100;

const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    limits: { events_per_second: 100000, event_burst: 100000 },
    quota: { guest_cpu: '100s', events_per_second: 1000000, event_burst: 1000000 },
  },
});
const api = admin(server);
await api.deploy('default', 'swapped', guest('stamped'));
const pace = await Pace.start(server, { rooms: 20, perSecond: PER_SECOND });
await seconds(5);
const from = performance.now();
await seconds(20);
const to = performance.now();
const swaps = [];
for (let n = 0; n < SWAPS; n += 1) {
  swaps.push(performance.now());
  await api.deploy('default', 'swapped', guest('stamped'), `?note=${n}`);
  const wait = to + ((n + 1) * SECONDS * 1000) / SWAPS - performance.now();
  if (wait > 0) await seconds(wait / 1000);
}
const end = performance.now();
const faults = await pace.stop();
const quiet = pace.samples.filter(({ at }) => at >= from && at < to);
const swapping = pace.samples.filter(({ at }) => at >= to && at < end);
const near = swapping.filter(({ at }) => swaps.some((swap) => at >= swap && at < swap + NEAR_MS));
console.log(`${SWAPS} deployments in ${((end - to) / 1000).toFixed(1)} s at ${PER_SECOND} messages/s in 20 rooms`);
console.table({
  'before, 20 s': spread(quiet),
  'while versions change': spread(swapping),
  [`in the ${NEAR_MS} ms after a deployment was sent`]: spread(near),
});
console.log(faults.length === 0 ? 'nothing lost, doubled or out of order; no socket closed' : `FAULTS: ${faults.length}, first: ${faults[0]}`);
await server.close();
process.exit(faults.length === 0 ? 0 : 1);
