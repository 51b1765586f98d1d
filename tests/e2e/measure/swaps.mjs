// 100 swaps in 60 s under 2,000 messages a second: counts lost, repeated and reordered messages, and measures the cost.
// Every swap is to a different component, which is compiled, checked, stored and put into service.
//
//   node measure/swaps.mjs [SWAPS] [SECONDS] [PER_SECOND]
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin } from '../lib/admin.mjs';
import { guest, startServer } from '../lib/server.mjs';
import { Pace, seconds, spread, variant } from './lib.mjs';

const [SWAPS, SECONDS, PER_SECOND] = [100, 60, 2000].map((usual, n) => Number(process.argv[n + 2] ?? usual));

const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    limits: { events_per_second: 100000, event_burst: 100000 },
    quota: { guest_cpu: '100s', events_per_second: 1000000, event_burst: 1000000 },
  },
});
const api = admin(server);
const stamped = readFileSync(guest('stamped'));
const deploy = (n) => api.requestOk('POST', '/tenants/default/handlers/swapped/versions', { raw: variant(stamped, String(n)) });
/** Components that were compiled and stored since the server's start. */
const compiled = () => ({
  compiled: server.log.match(/component compiled/g)?.length ?? 0,
  kept: readdirSync(join(server.dir, '.parlance/cache')).filter((name) => name.endsWith('.code')).length,
});
await deploy('first');
const before = compiled();
const pace = await Pace.start(server, { rooms: 20, perSecond: PER_SECOND });
await seconds(5);
const from = performance.now();
await seconds(20);
const to = performance.now();
/** When each deployment was sent and when it was answered. */
const swaps = [];
for (let n = 0; n < SWAPS; n += 1) {
  const sent = performance.now();
  await deploy(n);
  swaps.push({ sent, answered: performance.now() });
  const wait = to + ((n + 1) * SECONDS * 1000) / SWAPS - performance.now();
  if (wait > 0) await seconds(wait / 1000);
}
const end = performance.now();
const faults = await pace.stop();
const after = compiled();
const quiet = pace.samples.filter(({ at }) => at >= from && at < to);
const swapping = pace.samples.filter(({ at }) => at >= to && at < end);
/** The number of the current second, shifted so that swaps, which are sent on time, are in the middle of one. */
const second = (at) => Math.round((at - to) / 1000);
/** The seconds in which a deployment was running. */
const busy = new Set(swaps.flatMap(({ sent, answered }) => {
  const [first, last] = [second(sent), second(answered)];
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}));
const ofSwap = ({ at }) => busy.has(second(at));
const took = swaps.map(({ sent, answered }) => ({ ms: answered - sent }));
const [compiledNow, keptNow] = [after.compiled - before.compiled, after.kept - before.kept];
console.log(`${SWAPS} deployments in ${((end - to) / 1000).toFixed(1)} s at ${PER_SECOND} messages/s in 20 rooms; `
  + `${compiledNow} components were compiled, ${keptNow} kept`);
const others = swapping.filter((sample) => !ofSwap(sample));
console.table({
  'before, 20 s': spread(quiet),
  'in the seconds of a swap': spread(swapping.filter(ofSwap)),
  // With a swap every 600 ms there are none.
  ...(others.length > 0 ? { 'in the other seconds meanwhile': spread(others) } : {}),
});
const { 'p50, ms': half, 'p99, ms': most } = spread(took);
console.log(`a deployment took ${half} ms (p50), ${most} ms (p99); it was under way in ${busy.size} of ${Math.ceil((end - to) / 1000)} seconds`);
if (compiledNow < SWAPS) faults.push(`only ${compiledNow} of ${SWAPS} components were compiled`);
console.log(faults.length === 0 ? 'nothing lost, doubled or out of order; no socket closed' : `FAULTS: ${faults.length}, first: ${faults[0]}`);
await server.close();
process.exit(faults.length === 0 ? 0 : 1);
