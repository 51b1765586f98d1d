// What a tenant notices of another that attacks: its p99 quiet, and during each attack.
//
//   node measure/attacks.mjs [SECONDS]
import { Worker, isMainThread, workerData, parentPort } from 'node:worker_threads';
import { attack, ATTACKS } from '../lib/attacks.mjs';
import { at as place, member, startTenants } from '../lib/tenants.mjs';
import { Pace, percentile, seconds, spread } from './lib.mjs';

const SECONDS = Number(process.argv[2] ?? 5);
const AT_ONCE = 20;

if (!isMainThread) {
  // The attackers have a thread of their own, so that what is measured is the server.
  const attackers = [];
  for (let n = 0; n < AT_ONCE; n += 1) attackers.push(await member(workerData, 'evil', `attacker-${n}`));
  parentPort.on('message', async (name) => {
    const until = performance.now() + SECONDS * 1000;
    const counts = {};
    while (performance.now() < until) {
      for (const [code, count] of Object.entries(await attack(attackers, name, 1))) counts[code] = (counts[code] ?? 0) + count;
    }
    parentPort.postMessage(counts);
  });
  parentPort.postMessage('ready');
} else {
  const server = await startTenants({ config: { limits: { events_per_second: 10_000, event_burst: 10_000 } } });
  const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2), workerData: { url: server.url } });
  const said = () => new Promise((done, failed) => worker.once('message', done).once('error', failed));
  await said();
  const pace = await Pace.start(server, { rooms: 5, perSecond: 200, at: (user) => place('good', user) });
  await seconds(2);
  const rows = {};
  let quietP99;
  const measured = async (name, during) => {
    const from = performance.now();
    const counts = await during();
    const to = performance.now();
    await seconds(1);
    const samples = pace.samples.filter(({ at }) => at >= from && at < to);
    const p99 = percentile(samples.map(({ ms }) => ms), 0.99);
    quietP99 ??= p99;
    rows[name] = { ...spread(samples), 'of quiet': (p99 / quietP99).toFixed(2), answers: JSON.stringify(counts ?? '') };
  };
  await measured('quiet', () => seconds(SECONDS * 2));
  for (const name of Object.keys(ATTACKS)) {
    await measured(name, () => {
      worker.postMessage(name);
      return said();
    });
  }
  await measured('quiet again', () => seconds(SECONDS));
  const faults = await pace.stop();
  console.log(`a tenant with 200 messages/s beside one whose ${AT_ONCE} clients attack, one event each at a time`);
  console.table(rows);
  console.log(faults.length === 0 ? 'none of its messages failed' : `FAULTS: ${faults.length}, first: ${faults[0]}`);
  await worker.terminate();
  await server.close();
  process.exit(faults.length === 0 ? 0 : 1);
}
