// What many tenants cost a server at its start: time to /readyz with and without the cache of compiled components, and
// the memory of an idle tenant. The tenants are either in the file or in the catalog, created and deployed to through
// the admin API. Both are measured twice: all tenants with the same five components, and each with five different ones.
//
//   node measure/tenants.mjs [TENANTS]
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { ADMIN_TOKEN, admin } from '../lib/admin.mjs';
import { Process, SECRET, temporaryDirectory } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { variant } from './lib.mjs';

const TENANTS = Number(process.argv[2] ?? 200);
const START_MS = 600_000;
const SHIPPED = process.env.PARLANCE_SHIPPED ?? join(import.meta.dirname, '../../../target/components');
const EVENTS = ['message', 'typing', 'receipt', 'presence', 'room'];

const shipped = Object.fromEntries(EVENTS.map((event) => [event, readFileSync(join(SHIPPED, `${event}.wasm`))]));

const auth = (tenant) => ({ keys: [{ algorithm: 'HS256', secret: `the secret of tenant ${tenant}, longer than 32 bytes` }] });
const component = (event, tenant, distinct) => (distinct ? variant(shipped[event], String(tenant)) : shipped[event]);

/** Tenants in the file. */
function inFile(dir, tenants, distinct) {
  const components = (tenant) => Object.fromEntries(EVENTS.map((event) => {
    const file = join(dir, distinct ? `${event}-${tenant}.wasm` : `${event}.wasm`);
    writeFileSync(file, component(event, tenant, distinct));
    return [event, { component: file }];
  }));
  const one = (tenant) => [`tenant-${tenant}`, { auth: auth(tenant), handlers: components(tenant) }];
  writeFileSync(join(dir, 'parlance.toml'),
    stringify({ tenants: Object.fromEntries(Array.from({ length: tenants }, (_, n) => one(n))) }));
}

/** Tenants in the catalog: they are created and deployed to with a server that is then stopped. */
async function inCatalog(dir, tenants, distinct) {
  writeFileSync(join(dir, 'parlance.toml'), '');
  await serving(dir, async ({ adminUrl }) => {
    const api = admin({ adminUrl });
    for (let tenant = 0; tenant < tenants; tenant += 1) {
      const name = `tenant-${tenant}`;
      await api.requestOk('POST', '/tenants', { body: { name, configuration: { auth: auth(tenant) } } });
      for (const event of EVENTS) {
        await api.requestOk('POST', `/tenants/${name}/handlers/${event}/versions`, { raw: component(event, tenant, distinct) });
      }
    }
  });
}

/** Starts a server, runs a function with it, and stops it. */
async function serving(dir, work) {
  const begun = performance.now();
  const server = new Process(['serve', '--config', join(dir, 'parlance.toml')], {
    cwd: dir,
    env: { PORT: '0', JWT_SECRET: SECRET, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, DATABASE_URL: `sqlite:${join(dir, 'chat.db')}` },
  });
  try {
    const [, port] = await server.waitForOutput(/listening on http:\/\/[^\s"]*?:(\d+)/, START_MS);
    const url = `http://127.0.0.1:${port}`;
    const [, adminUrl] = server.output.match(/for operators: (http:\S+)/);
    await eventually(async () => (await fetch(`${url}/readyz`)).ok, '/readyz', START_MS);
    return await work({ adminUrl, pid: server.child.pid, seconds: (performance.now() - begun) / 1000 });
  } finally {
    await server.close();
  }
}

/** Starts a server once: seconds to /readyz, and its memory then, in MiB. */
const start = (dir) => serving(dir, ({ pid, seconds }) => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return { seconds, mib: Number(status.match(/^VmRSS:\s+(\d+) kB$/m)[1]) / 1024 };
});

/** Starts with an empty cache. */
function cold(dir) {
  rmSync(join(dir, '.parlance/cache'), { recursive: true, force: true });
  return start(dir);
}

const rows = [];
for (const [where, make] of [['file', inFile], ['catalog', inCatalog]]) {
  for (const distinct of [false, true]) {
    const alone = temporaryDirectory();
    await make(alone, 1, distinct);
    await start(alone);
    const one = await start(alone);
    const dir = temporaryDirectory();
    await make(dir, TENANTS, distinct);
    const first = await cold(dir);
    const again = await start(dir);
    rows.push({
      'tenants in the': where,
      components: distinct ? `${TENANTS * EVENTS.length} different ones` : 'the same five',
      'first start, s': first.seconds.toFixed(2),
      'from the cache, s': again.seconds.toFixed(2),
      'memory, MiB': again.mib.toFixed(0),
      'of it for each tenant, KiB': ((again.mib - one.mib) * 1024 / (TENANTS - 1)).toFixed(0),
      'cache entries': readdirSync(join(dir, '.parlance/cache')).filter((name) => name.endsWith('.code')).length,
    });
  }
}
console.log(`${TENANTS} tenants with ${EVENTS.length} handlers each`);
console.table(rows);
