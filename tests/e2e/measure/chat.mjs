// What a client waits for when it comes back, and whether anybody notices retention:
//
// - a join with 1,000 messages and 200 changes of older ones;
// - the unread counts of a member of 500 rooms;
// - messages at a fixed pace while retention removes a million old ones, beside the same without it.
//
//   node measure/chat.mjs [MESSAGES] [SECONDS]
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { ADMIN_TOKEN } from '../lib/admin.mjs';
import { connect } from '../lib/client.mjs';
import { Process, startServer, temporaryDirectory } from '../lib/server.mjs';
import { Pace, percentile, seconds, spread } from './lib.mjs';

const [MESSAGES, SECONDS] = [1_000_000, 15].map((usual, n) => Number(process.argv[n + 2] ?? usual));
const PER_SECOND = 1000;
const JOINS = 100;
const IMPORT_MS = 900_000;
const UNLIMITED = {
  limits: { events_per_second: 100_000, event_burst: 100_000, rooms_per_connection: 1000, history_page_max: 1000 },
  quota: { events_per_second: 100_000, event_burst: 100_000, guest_cpu: '1000s' },
};

/** How long each of `count` calls takes, as text. */
async function timed(name, count, call) {
  const times = [];
  for (let n = 0; n < count; n += 1) {
    const began = performance.now();
    await call();
    times.push(performance.now() - began);
  }
  console.log(`${name}: p50 ${percentile(times, 0.5).toFixed(2)} ms, p90 ${percentile(times, 0.9).toFixed(2)} ms`);
}

const server = await startServer({
  config: { ...UNLIMITED, handlers: { room: { settings: { members: 'lasting' } } } },
});
const ann = await connect(server, 'ann');

await ann.join('long');
const ids = [];
for (let n = 0; n < 1200; n += 1) ids.push((await ann.post('long', `message ${n} of a usual length, as people write them`)).id);
for (let n = 0; n < 200; n += 1) await ann.askOk('edit-message', { messageId: ids[n], content: `edited ${n}` });
const place = { after: 200, rev: 0 };
await timed('a join with 1,000 messages and 200 changes', JOINS, async () => {
  const bob = await connect(server, 'bob');
  const { messages, changes } = await bob.askOk('join-room', 'long', place);
  if (messages.length !== 1000 || changes.length !== 200) throw new Error(`${messages.length} messages, ${changes.length} changes`);
  bob.close();
});
const bob = await connect(server, 'bob');
await timed('the same on a connection that is there', JOINS, async () => {
  await bob.askOk('join-room', 'long', place);
});

for (let n = 0; n < 500; n += 1) {
  await ann.join(`room-${n}`);
  await ann.post(`room-${n}`, 'hello');
}
await timed('the unread counts of 501 rooms', JOINS, async () => {
  const { rooms } = await ann.askOk('unread');
  if (rooms.length !== 501) throw new Error(`${rooms.length} rooms`);
});
for (const client of [ann, bob]) client.close();
await server.close();

// A million messages that are too old, as an export has them, in 100 rooms.
const ROOMS = 100;
const old = Date.now() - 100 * 86_400_000;
const file = join(temporaryDirectory(), 'old.ndjson');
const lines = createWriteStream(file);
const line = async (value) => lines.write(`${JSON.stringify(value)}\n`) || new Promise((done) => lines.once('drain', done));
await line({ format: 'parlance-export', version: 1, tenant: 'default', exportedAt: Date.now() });
const of = Math.floor(MESSAGES / ROOMS);
/** An id of a message: 26 digits of base 32, as Crockford writes them. */
const id = (n) => Array.from(n.toString(32), (digit) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[Number.parseInt(digit, 32)]).join('').padStart(26, '0');
for (let number = 0; number < ROOMS; number += 1) {
  const room = `old-${String(number).padStart(3, '0')}`;
  await line({ room: { id: room, firstSeq: 1, lastSeq: of, rev: 0 } });
  for (let seq = 1; seq <= of; seq += 1) {
    await line({
      message: {
        roomId: room, seq, id: id(number * of + seq), userId: 'ann', username: 'Ann', content: `message ${seq} of a usual length`, sentAt: old + seq,
      },
    });
  }
}
await line({ end: { rooms: ROOMS, messages: ROOMS * of, marks: 0, receipts: 0, keys: 0, members: 0, bans: 0 } });
lines.end();
await finished(lines);

const busy = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN }, config: UNLIMITED });
const env = { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, PARLANCE_SERVER: busy.adminUrl };
const began = performance.now();
const importing = new Process(['import', file, '--tenant', 'default'], { env });
if ((await importing.end(IMPORT_MS)).code !== 0) throw new Error(importing.output);
console.log(`${ROOMS * of} messages imported in ${((performance.now() - began) / 1000).toFixed(0)} s`);

const rows = {};
async function window(name, on) {
  const pace = await Pace.start(on, { rooms: 20, perSecond: PER_SECOND, name });
  await seconds(3);
  const from = performance.now();
  await seconds(SECONDS);
  const until = performance.now();
  const faults = await pace.stop();
  if (faults.length > 0) throw new Error(faults.slice(0, 5).join('\n'));
  rows[name] = spread(pace.samples.filter(({ at }) => at >= from && at < until));
}
await window('quiet', busy);
await busy.stop();
const removing = await startServer({
  dir: busy.dir,
  config: { ...UNLIMITED, store: { retention_every: '1s' }, retention: { age: '30d' } },
});
await window('retention', removing);
console.table(rows);
const left = await connect(removing, 'ann');
const first = await left.askOk('join-room', 'old-000', { after: 1 });
console.log(`the first room begins with message ${first.firstSeq ?? 1} now`);
await removing.close();
process.exit(0);
