// What a tenant notices while another tenant's packets flood its node: in windows without a flood, with one from the
// same node, and with one that another node sends to the flooding tenant's clients on this node.
//
//   node measure/floods.mjs [SECONDS] [ROUNDS]
//
// The servers run on the first core. Start this on the second (`taskset -c 1`).
import { ATTACKS } from '../lib/attacks.mjs';
import { metric } from '../lib/fleet.mjs';
import { startPostgres } from '../lib/postgres.mjs';
import { startRedis } from '../lib/redis.mjs';
import { guest, startServer } from '../lib/server.mjs';
import { at, member, tenants } from '../lib/tenants.mjs';
import { eventually } from '../lib/wait.mjs';
import { Pace, seconds, spread } from './lib.mjs';

const SECONDS = Number(process.argv[2] ?? 5);
const ROUNDS = Number(process.argv[3] ?? 3);
const PER_SECOND = 200;
const MEMBERS = 40;
const SENDERS = 10;
const FLOOD = ATTACKS.find(({ name }) => name === 'a flood of packets').guest;

const [postgres, redis] = [await startPostgres(), await startRedis()];
const unlimited = { quota: { guest_cpu: '1000s', events_per_second: 1_000_000, event_burst: 1_000_000 } };
const config = {
  limits: { events_per_second: 100_000, event_burst: 100_000 },
  tenants: tenants({ good: unlimited, [FLOOD]: { handlers: { event: { component: guest(FLOOD) } }, ...unlimited } }),
};
const start = () => startServer({
  wrapper: ['taskset', '--cpu-list', '0'],
  config,
  env: { DATABASE_URL: postgres.url, REDIS_URL: redis.url },
});
const [here, there] = [await start(), await start()];
await eventually(async () => (await metric(here, 'parlance_redis_nodes')) === 1, 'the nodes to know each other', 20_000);

let got = 0;
for (let n = 0; n < MEMBERS; n += 1) {
  const client = await member(here, FLOOD, `reader-${n}`);
  await client.join('evil');
  client.socket.offAny();
  client.socket.on('action', () => (got += 1));
}
const sendersAt = async (server) => {
  const senders = [];
  for (let n = 0; n < SENDERS; n += 1) senders.push(await member(server, FLOOD, `sender-${n}`));
  return senders;
};
const floods = { 'no flood': [], 'a flood from here': await sendersAt(here), 'a flood from the other node': await sendersAt(there) };

const pace = await Pace.start(here, { rooms: 4, perSecond: PER_SECOND, at: (user) => at('good', user) });
await seconds(3);
const windows = Object.fromEntries(Object.keys(floods).map((name) => [name, { samples: [], got: 0 }]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, senders] of Object.entries(floods)) {
    let going = true;
    const flooding = Promise.all(senders.map(async (sender) => {
      while (going) await sender.ask('attack');
    }));
    const [from, before] = [performance.now(), got];
    await seconds(SECONDS);
    const until = performance.now();
    windows[name].got += got - before;
    going = false;
    await flooding;
    // Messages that are still in flight belong to no window.
    await seconds(1);
    windows[name].samples.push(...pace.samples.filter((sample) => sample.at >= from && sample.at < until - 500));
  }
}
const faults = await pace.stop();
console.log(`${PER_SECOND} messages/s of one tenant, while ${SENDERS} clients of another have its handler emit 250 packets an event to ${MEMBERS} clients`);
console.table(Object.fromEntries(Object.entries(windows).map(([name, { samples, got: packets }]) =>
  [name, { ...spread(samples), 'flooding packets/s': Math.round(packets / (ROUNDS * SECONDS)) }])));
console.log(faults.length === 0 ? 'nothing missing' : `FAULTS: ${faults.slice(0, 5)}`);
process.exit(faults.length === 0 ? 0 : 1);
