// What a message from one node to another costs, compared with two Node servers with the Redis adapter; and what each
// additional node costs with the same rooms.
//
//   node measure/nodes.mjs [SECONDS] [PER_SECOND] [NODES,NODES…]
//
// Servers run on the first core, everything else on the second, where this must be started (`taskset -c 1`).
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Client } from '../lib/client.mjs';
import { startPostgres } from '../lib/postgres.mjs';
import { startRedis } from '../lib/redis.mjs';
import { owned } from '../lib/scope.mjs';
import { SECRET, startServer } from '../lib/server.mjs';
import { metric } from '../lib/fleet.mjs';
import { eventually } from '../lib/wait.mjs';
import { percentile, seconds } from './lib.mjs';

const SECONDS = Number(process.argv[2] ?? 10);
const PER_SECOND = Number(process.argv[3] ?? 500);
const COUNTS = (process.argv[4] ?? '1,2,3,4,8').split(',').map(Number);
const WARM_UP = 3;
const ROOMS = 20;
const MEMBERS = 8;
const NODE_SERVER = resolve(import.meta.dirname, '../../bench/node/server.mjs');
const ON_FIRST_CORE = ['taskset', '--cpu-list', '0'];
/** Ticks per second in which the kernel counts processor time. */
const TICKS_PER_SECOND = 100;

const NO_LIMITS = {
  limits: { events_per_second: 100_000, event_burst: 100_000 },
  quota: { guest_cpu: '1000s', events_per_second: 1_000_000, event_burst: 1_000_000, instances: 1000 },
};

class NodeServer {
  async start(redis) {
    const [command, ...rest] = ['setpriv', '--pdeathsig', 'KILL', ...ON_FIRST_CORE, 'node', NODE_SERVER];
    const env = { ...process.env, JWT_SECRET: SECRET, PORT: '0', REDIS_URL: redis.url, NODE_ENV: 'production' };
    this.child = spawn(command, rest, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    this.pid = this.child.pid;
    const [, url] = await new Promise((done, failed) => {
      this.child.on('exit', (code) => failed(new Error(`the Node server ended with ${code}`)));
      this.child.stdout.setEncoding('utf8').on('data', (text) => {
        const found = text.match(/listening on (\S+)/);
        if (found) done(found);
      });
    });
    this.url = url;
    return this;
  }

  close() {
    this.child.removeAllListeners('exit').kill('SIGKILL');
  }
}

/** Starts this many servers with one Redis: `{servers, redis, postgres?, close()}`. */
async function start(kind, count) {
  const redis = await startRedis();
  const parts = [redis];
  const fleet = { redis, servers: [] };
  if (kind === 'Parlance') {
    // Synced to disk, as in production.
    fleet.postgres = await startPostgres(['fsync=on']);
    parts.push(fleet.postgres);
  }
  for (let n = 0; n < count; n += 1) {
    const server = fleet.postgres
      ? await startServer({ wrapper: ON_FIRST_CORE, config: NO_LIMITS, env: { DATABASE_URL: fleet.postgres.url, REDIS_URL: redis.url } })
      : await owned(new NodeServer()).start(redis);
    fleet.servers.push(server);
    parts.push(server);
  }
  if (fleet.postgres) {
    const known = async (server) => (await metric(server, 'parlance_redis_nodes')) === count - 1;
    await eventually(async () => (await Promise.all(fleet.servers.map(known))).every(Boolean), 'the nodes to know each other', 20_000);
  }
  fleet.close = async () => {
    for (const part of parts.reverse()) await part.close();
  };
  return fleet;
}

/** Seconds of processor time that these processes have used. */
function processorTime(servers) {
  const ticks = ({ pid }) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  return servers.reduce((sum, server) => sum + ticks(server), 0) / TICKS_PER_SECOND;
}

/** The counters of Redis and PostgreSQL. */
function counted({ redis, postgres, servers }) {
  const calls = (name) => Number(redis.command('INFO', 'commandstats').match(new RegExp(`cmdstat_${name}:calls=(\\d+)`))?.[1] ?? 0);
  const bytes = Number(redis.command('INFO', 'stats').match(/total_net_output_bytes:(\d+)/)[1]);
  const transactions = postgres ? Number(postgres.query("SELECT xact_commit FROM pg_stat_database WHERE datname = 'chat'")) : 0;
  return { published: calls('publish'), bytes, transactions, processor: processorTime(servers) };
}

/** Posts at a steady rate and measures. The members of each room are spread over the nodes. */
async function load(fleet) {
  const { servers } = fleet;
  const rooms = [];
  for (let n = 0; n < ROOMS; n += 1) {
    const room = { id: `room-${n}`, members: [] };
    for (let m = 0; m < MEMBERS; m += 1) {
      const client = await owned(new Client(servers[m % servers.length].url, `user-${n}-${m}`)).connected();
      const joined = await client.socket.emitWithAck('join-room', room.id);
      if (!joined.ok) throw new Error(JSON.stringify(joined));
      client.socket.offAny();
      room.members.push(client);
    }
    rooms.push(room);
  }
  const sent = new Map();
  let measuring = false;
  const crossing = [];
  let [delivered, refused] = [0, 0];
  for (const { members } of rooms) {
    for (const [m, client] of members.entries()) {
      client.socket.on('new-message', ({ content }) => {
        const message = sent.get(content);
        delivered += 1;
        if (message?.counts && message.from % servers.length !== m % servers.length) crossing.push(performance.now() - message.at);
      });
    }
  }
  const begun = performance.now();
  let due = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    for (; begun + (due * 1000) / PER_SECOND <= now; due += 1) {
      const room = rooms[due % ROOMS];
      const from = Math.floor(due / ROOMS) % MEMBERS;
      const content = String(due);
      sent.set(content, { at: begun + (due * 1000) / PER_SECOND, from, counts: measuring });
      room.members[from].socket.emit('send-message', { roomId: room.id, content }, ({ ok }) => (refused += ok ? 0 : 1));
    }
  }, 1);
  await seconds(WARM_UP);
  // PostgreSQL's counters are up to a second late, both at the start and at the end.
  const [before, first] = [counted(fleet), due];
  measuring = true;
  await seconds(SECONDS);
  measuring = false;
  const [after, messages] = [counted(fleet), due - first];
  clearInterval(timer);
  await eventually(() => delivered >= due * MEMBERS, 'every message at every member', 30_000).catch(() => {});
  const each = (name) => ((after[name] - before[name]) / messages).toFixed(2);
  const row = {
    'crossing p50, ms': percentile(crossing, 0.5).toFixed(2),
    'p99, ms': percentile(crossing, 0.99).toFixed(2),
    'µs of processor': (((after.processor - before.processor) * 1e6) / messages).toFixed(0),
    'published': each('published'),
    'bytes out of Redis': each('bytes'),
    'transactions': fleet.postgres ? each('transactions') : '',
    'missing': due * MEMBERS - delivered,
    'refused': refused,
  };
  for (const { members } of rooms) for (const client of members) client.close();
  return row;
}

async function measured(kind, count) {
  const fleet = await start(kind, count);
  try {
    return await load(fleet);
  } finally {
    await fleet.close();
  }
}

console.log(`${PER_SECOND} messages/s in ${ROOMS} rooms of ${MEMBERS}, ${SECONDS} s each; figures are per message`);
const beside = {};
for (const round of [1, 2]) {
  for (const kind of round % 2 ? ['Node', 'Parlance'] : ['Parlance', 'Node']) {
    beside[`two of ${kind}, round ${round}`] = await measured(kind, 2);
  }
}
console.table(beside);
const nodes = {};
for (const count of COUNTS) nodes[`${count} of Parlance`] = await measured('Parlance', count);
console.table(nodes);
const faults = [...Object.values(beside), ...Object.values(nodes)].filter(({ missing, refused }) => missing || refused);
console.log(faults.length === 0 ? 'nothing missing, nothing refused' : `FAULTS: ${JSON.stringify(faults)}`);
process.exit(faults.length === 0 ? 0 : 1);
