// Records events of a live server, round by round, and runs them again on the same version. Counts the events that
// differ, of which there should be none, and measures how long the backtests take. No part of `make measure`, since a
// million events take half an hour.
//
//   node measure/backtests.mjs [ROUNDS] [EVENTS]
//
// A round records EVENTS messages of a handler in Rust that reads and sets keys: examples/slow-mode.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN } from '../lib/admin.mjs';
import { connect } from '../lib/client.mjs';
import { guest, Process, run, startServer, temporaryDirectory } from '../lib/server.mjs';

const [ROUNDS, EVENTS] = [100, 10_000].map((usual, n) => Number(process.argv[n + 2] ?? usual));
const CLIENTS = 20;
const IN_FLIGHT = 20;
const component = guest('slow-mode');
const env = { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN };

const server = await startServer({
  env,
  config: {
    limits: { events_per_second: 100_000, event_burst: 100_000 },
    quota: {
      guest_cpu: '1000s', events_per_second: 1_000_000, event_burst: 1_000_000,
      recording_bytes: '1GiB', recording_events_per_second: 100_000,
    },
    handlers: { message: { component } },
  },
});
env.PARLANCE_SERVER = server.adminUrl;
const clients = await Promise.all(Array.from({ length: CLIENTS }, async (_, n) => {
  const client = await connect(server, `user-${n}`);
  await client.join('room');
  client.socket.offAny();
  return client;
}));

let [events, different, milliseconds] = [0, 0, 0];
for (let round = 0; round < ROUNDS; round += 1) {
  const file = join(temporaryDirectory(), 'events.ndjson');
  const recording = new Process(['record', '--with-content', '--limit', String(EVENTS), '-o', file], { env });
  await recording.waitForOutput(/recording on the node/);
  let ended = false;
  const end = recording.end().then((result) => {
    ended = true;
    return result;
  });
  await Promise.all(clients.flatMap((client) => Array.from({ length: IN_FLIGHT }, async () => {
    while (!ended) await client.ask('send-message', { roomId: 'room', content: `message ${events}` });
  })));
  const { code } = await end;
  if (code !== 0) throw new Error(recording.output);
  const began = performance.now();
  const backtest = await run(['backtest', component, '--from', file]);
  milliseconds += performance.now() - began;
  const [, of, differ] = /(\d+) events: \d+ the same, (\d+) differ/.exec(backtest.output) ?? [];
  if (of === undefined) throw new Error(backtest.output);
  events += Number(of);
  different += Number(differ);
  rmSync(file);
  if (differ !== '0') console.log(backtest.output);
  if ((round + 1) % 10 === 0) console.log(`${events} events, ${different} different`);
}
console.log(`${different} of ${events} events differ on the same version; 10,000 events take ${((milliseconds / events) * 10).toFixed(2)} s`);
process.exit(different === 0 ? 0 : 1);
