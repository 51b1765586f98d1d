// What a tenant notices of another that attacks: its p99 during each attack, beside that of the quiet seconds before.
// An attacker sends no faster than its connection may (limits.events_per_second): what it sends beyond that costs this
// machine's load generator as much as the server, which share two cores.
//
//   node measure/attacks.mjs [SECONDS] [ROUNDS]
import { Worker, isMainThread, workerData, parentPort } from 'node:worker_threads';
import { attack, ATTACKS } from '../lib/attacks.mjs';
import { at as place, member, startTenants } from '../lib/tenants.mjs';
import { Pace, percentile, seconds } from './lib.mjs';

const SECONDS = Number(process.argv[2] ?? 4);
/** Of each attack; a shared machine stands still at times, so the median round is shown. */
const ROUNDS = Number(process.argv[3] ?? 3);
const AT_ONCE = 20;
/** Between two events of one attacker: 1,000 a second in all. At twice that the load generator itself is short of time. */
const PACE_MS = 20;
const WARM_UP = 8;

if (!isMainThread) {
  // The attackers have a thread of their own, so that what is measured is the server.
  const attackers = [];
  for (let n = 0; n < AT_ONCE; n += 1) attackers.push(await member(workerData, 'evil', `attacker-${n}`));
  parentPort.on('message', async (name) => {
    const until = performance.now() + SECONDS * 1000;
    const counts = {};
    await Promise.all(attackers.map(async (attacker) => {
      while (performance.now() < until) {
        const pause = seconds(PACE_MS / 1000);
        for (const [code, count] of Object.entries(await attack([attacker], name, 1))) counts[code] = (counts[code] ?? 0) + count;
        await pause;
      }
    }));
    parentPort.postMessage(counts);
  });
  parentPort.postMessage('ready');
} else {
  const server = await startTenants();
  const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2), workerData: { url: server.url } });
  const said = () => new Promise((done, failed) => worker.once('message', done).once('error', failed));
  await said();
  const pace = await Pace.start(server, { rooms: 5, perSecond: 200, at: (user) => place('good', user) });
  await seconds(WARM_UP);
  const rounds = [];
  const quiet = [];
  const measured = async (name, during) => {
    const from = performance.now();
    const counts = await during();
    const to = performance.now();
    await seconds(1);
    const samples = pace.samples.filter(({ at }) => at >= from && at < to);
    const p99 = percentile(samples.map(({ ms }) => ms), 0.99);
    if (counts === undefined) return void quiet.push(p99);
    rounds.push({ name, p99, p50: percentile(samples.map(({ ms }) => ms), 0.5), answers: JSON.stringify(counts) });
  };
  for (let round = 0; round < ROUNDS; round += 1) for (const name of Object.keys(ATTACKS)) {
    await measured('quiet', () => seconds(SECONDS));
    await measured(name, () => {
      worker.postMessage(name);
      return said();
    });
  }
  const faults = await pace.stop();
  console.log(`a tenant with 200 messages/s beside one whose ${AT_ONCE} clients attack, each one event every ${PACE_MS} ms at most`);
  const median = (numbers) => percentile(numbers, 0.5);
  const calm = median(quiet);
  const rows = { quiet: { 'p99, ms': calm.toFixed(2), 'of all rounds': quiet.map((p99) => p99.toFixed(1)).join(' ') } };
  for (const name of Object.keys(ATTACKS)) {
    const own = rounds.filter((round) => round.name === name);
    const p99 = median(own.map((round) => round.p99));
    rows[name] = {
      'p50, ms': median(own.map((round) => round.p50)).toFixed(2),
      'p99, ms': p99.toFixed(2),
      ratio: (p99 / calm).toFixed(2),
      'of all rounds': own.map((round) => round.p99.toFixed(1)).join(' '),
      answers: own[0].answers,
    };
  }
  console.table(rows);
  console.log(faults.length === 0 ? 'none of its messages failed' : `FAULTS: ${faults.length}, first: ${faults[0]}`);
  await worker.terminate();
  await server.close();
  process.exit(faults.length === 0 ? 0 : 1);
}
