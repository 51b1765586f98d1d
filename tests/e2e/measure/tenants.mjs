// What many tenants cost a server that starts: time to /readyz with and without the cache of compiled components, and
// memory of a tenant that nobody uses. Twice: all tenants with the same five components, and each with five of its own.
//
//   node measure/tenants.mjs [TENANTS]
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { Process, SECRET, temporaryDirectory } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';

const TENANTS = Number(process.argv[2] ?? 200);
const START_MS = 600_000;
const SHIPPED = process.env.PARLANCE_SHIPPED ?? join(import.meta.dirname, '../../../target/components');
const EVENTS = ['message', 'typing', 'receipt', 'presence', 'room'];

const shipped = Object.fromEntries(EVENTS.map((event) => [event, readFileSync(join(SHIPPED, `${event}.wasm`))]));

/** The component with a custom section more: other bytes, the same code. */
function variant(component, text) {
  const name = Buffer.from(`\x07variant${text}`);
  return Buffer.concat([component, Buffer.from([0, name.length]), name]);
}

function configure(dir, tenants, distinct) {
  const components = (tenant) => Object.fromEntries(EVENTS.map((event) => {
    const file = join(dir, distinct ? `${event}-${tenant}.wasm` : `${event}.wasm`);
    writeFileSync(file, distinct ? variant(shipped[event], String(tenant)) : shipped[event]);
    return [event, { component: file }];
  }));
  const one = (tenant) => [`tenant-${tenant}`, {
    auth: { keys: [{ algorithm: 'HS256', secret: `the secret of tenant ${tenant}, longer than 32 bytes` }] },
    handlers: components(tenant),
  }];
  writeFileSync(join(dir, 'parlance.toml'),
    stringify({ tenants: Object.fromEntries(Array.from({ length: tenants }, (_, n) => one(n))) }));
}

/** Starts once: seconds to /readyz, and the memory then, in MiB. */
async function start(dir) {
  const begun = performance.now();
  const server = new Process(['serve', '--config', join(dir, 'parlance.toml')], {
    cwd: dir,
    env: { PORT: '0', JWT_SECRET: SECRET, DATABASE_URL: `sqlite:${join(dir, 'chat.db')}` },
  });
  try {
    const [, port] = await server.sees(/listening on http:\/\/[^\s"]*?:(\d+)/, START_MS);
    await eventually(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, '/readyz', START_MS);
    const seconds = (performance.now() - begun) / 1000;
    const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8');
    return { seconds, mib: Number(status.match(/^VmRSS:\s+(\d+) kB$/m)[1]) / 1024 };
  } finally {
    await server.close();
  }
}

const rows = [];
for (const distinct of [false, true]) {
  const alone = temporaryDirectory();
  configure(alone, 1, distinct);
  await start(alone);
  const one = await start(alone);
  const dir = temporaryDirectory();
  configure(dir, TENANTS, distinct);
  const first = await start(dir);
  const again = await start(dir);
  rows.push({
    components: distinct ? `${TENANTS * EVENTS.length} different ones` : 'the same five',
    'first start, s': first.seconds.toFixed(2),
    'from the cache, s': again.seconds.toFixed(2),
    'memory, MiB': again.mib.toFixed(0),
    'of it for each tenant, KiB': ((again.mib - one.mib) * 1024 / (TENANTS - 1)).toFixed(0),
    'cache entries': readdirSync(join(dir, '.parlance/cache')).filter((name) => name.endsWith('.code')).length,
  });
}
console.log(`${TENANTS} tenants with ${EVENTS.length} handlers each`);
console.table(rows);
