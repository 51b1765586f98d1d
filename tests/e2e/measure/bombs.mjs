// What a tenant notices while two others deploy compile bombs: its latency in windows with such deployments and in
// quiet ones.
//
//   node measure/bombs.mjs [SECONDS] [ROUNDS]
//
// The server and its compilers run on the first core. Start this on the second (`taskset -c 1`).
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_TOKEN, admin, configurationOf } from '../lib/admin.mjs';
import { bomb } from '../lib/bomb.mjs';
import { connect, freshRoom } from '../lib/client.mjs';
import { startServer } from '../lib/server.mjs';
import { spread } from './lib.mjs';

const SECONDS = Number(process.argv[2] ?? 5);
const ROUNDS = Number(process.argv[3] ?? 4);
const WARM_UP = 3;
const CLIENTS = 5;
/** Random interval between messages, in milliseconds, so that the pace does not coincide with anything periodic. */
const PAUSE = { least: 4, most: 6 };
const EVIL = ['one', 'two'];

const server = await startServer({
  wrapper: ['taskset', '--cpu-list', '0'],
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  // Longer than a window and the start of the child.
  config: { sandbox: { compile_time: `${SECONDS + 1}s` } },
});
const api = admin(server);
for (const name of EVIL) await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
const posters = [];
for (let n = 0; n < CLIENTS; n += 1) {
  const [client, room] = [await connect(server, `user-${n}`), freshRoom()];
  await client.join(room);
  posters.push({ client, room });
}

/** Posts for this long. Returns the time to the acknowledgement of each message, `{ms}`. */
async function window(seconds) {
  const times = [];
  const posted = [];
  const end = performance.now() + seconds * 1000;
  for (let n = 0; performance.now() < end; n += 1) {
    const { client, room } = posters[n % CLIENTS];
    const began = performance.now();
    posted.push(client.post(room, `message ${n}`).then(() => times.push({ ms: performance.now() - began })));
    await sleep(PAUSE.least + Math.random() * (PAUSE.most - PAUSE.least));
  }
  await Promise.all(posted);
  return times;
}

/** A bomb that the server has not seen before: each has a different number of locals. */
async function explode(tenant, locals) {
  const raw = bomb({ functions: 40, locals });
  const { status, text } = await api.request('POST', `/tenants/${tenant}/handlers/bomb/versions`, {
    raw,
    headers: { 'content-type': 'application/wasm' },
  });
  if (status !== 422 || !text.includes('compile_time')) throw new Error(`the bomb was answered ${status} ${text}`);
}

await window(WARM_UP);
const rows = [];
for (let round = 0; round < ROUNDS; round += 1) {
  rows.push({ window: 'quiet', ...spread(await window(SECONDS)) });
  const refused = EVIL.map((tenant, n) => explode(tenant, 1000 + round * EVIL.length + n));
  rows.push({ window: 'with two compile bombs', ...spread(await window(SECONDS)) });
  await Promise.all(refused);
}
console.log(`a tenant with some ${Math.round(2000 / (PAUSE.least + PAUSE.most))} messages/s, the server and its compilers on one core`);
console.table(rows);
